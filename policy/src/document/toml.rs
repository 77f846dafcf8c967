//! TOML 1.0 into a tree.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Entry, Node, Sheet, Span, Table, Value};

/// Reads a whole document; syntax errors are reported, all of them, and what could be read is still returned for further checks only
/// if there were none.
pub(crate) fn parse(sheet: &mut Sheet<'_>) -> Option<Table> {
    let (table, errors) = DeTable::parse_recoverable(sheet.text);
    for error in &errors {
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        let place = error.span().unwrap_or_default();
        let span = shown(sheet.text, place);
        sheet.push(sheet.error("toml-syntax", &span, format!("not toml: {message}")));
    }
    errors.is_empty().then(|| convert_table(table.into_inner()))
}

/// The place to its line's end; where that is nothing, the whole line.
fn shown(text: &str, place: Span) -> Span {
    let start = place.start.min(text.len());
    let end = text.get(start..).and_then(|rest| rest.find('\n')).map_or(text.len(), |at| start + at);
    if text.get(start..end).is_some_and(|rest| !rest.trim().is_empty()) {
        return start..end;
    }
    text.get(..start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1)..end
}

fn convert_table(table: DeTable<'_>) -> Table {
    let mut entries: Vec<Entry> = table
        .into_iter()
        .map(|(key, value)| Entry { at: key.span(), key: key.into_inner().into_owned(), node: convert(value) })
        .collect();
    entries.sort_by_key(|entry| entry.at.start);
    Table { entries }
}

fn convert(node: Spanned<DeValue<'_>>) -> Node {
    let span = node.span();
    let value = match node.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Other("a huge number"), Value::Integer)
        }
        DeValue::Float(_) => Value::Other("a fraction"),
        DeValue::Boolean(value) => Value::Bool(value),
        DeValue::Datetime(value) => date(&value).map_or(Value::Other("a time"), Value::Date),
        DeValue::Array(list) => Value::List(list.into_iter().map(convert).collect()),
        DeValue::Table(table) => Value::Table(convert_table(table)),
    };
    Node { value, span }
}

fn date(value: &toml::value::Datetime) -> Option<jiff::civil::Date> {
    let date = value.date.filter(|_| value.time.is_none() && value.offset.is_none())?;
    let year = i16::try_from(date.year).ok()?;
    jiff::civil::Date::new(year, i8::try_from(date.month).ok()?, i8::try_from(date.day).ok()?).ok()
}
