//! YAML 1.2 into a tree.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Budget, DuplicateKeyPolicy, Location, Options, Spanned};

use super::{Entry, Node, Sheet, Span, Table, Value};

/// Reads a whole document. `None` if it is not YAML; keys that stand twice are reported, and the first one stays.
pub(crate) fn parse(sheet: &mut Sheet<'_>) -> Option<Node> {
    let lines = Lines::new(sheet.text);
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(sheet.text, options()) {
        Ok(raw) => Some(lines.node(raw, sheet)),
        Err(error) => {
            let message = error.without_snippet().to_string();
            let message = message.split(" at line ").next().unwrap_or_default().trim().to_lowercase();
            let problem = match error.location() {
                Some(location) => {
                    sheet.error("yaml-syntax", &lines.to_line_end(location), format!("not yaml: {message}"))
                }
                None => crate::problem::Problem::error("yaml-syntax", sheet.file, format!("not yaml: {message}")),
            };
            sheet.push(problem);
            None
        }
    }
}

/// The document as plain JSON, without places; `Null` if it is not YAML. For what is derived from a document that was read already.
pub(crate) fn json(text: &str) -> serde_json::Value {
    serde_saphyr::from_str_with_options(text, options()).unwrap_or_default()
}

fn options() -> Options {
    Options {
        budget: Some(Budget { max_depth: MAX_DEPTH, max_documents: 1, ..Budget::default() }),
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        strict_booleans: true,
        with_snippet: false,
        ..Options::default()
    }
}

/// A value whose parts still stand at lines and columns.
enum Raw {
    Null,
    Bool(bool),
    Integer(i64),
    Other(&'static str),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Table(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(i64::try_from(value).map_or(Raw::Other("a huge number"), Raw::Integer))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Other("a fraction"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut table = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            table.push(entry);
        }
        Ok(Raw::Table(table))
    }
}

/// Turns lines and columns (which the parser counts in characters) into byte offsets.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    fn node(&self, raw: Spanned<Raw>, sheet: &mut Sheet<'_>) -> Node {
        let place = raw.referenced;
        let (value, span) = match raw.value {
            Raw::Null => (Value::Null, self.to_line_end(place)),
            Raw::Bool(value) => (Value::Bool(value), self.scalar(place)),
            Raw::Integer(value) => (Value::Integer(value), self.scalar(place)),
            Raw::Other(name) => (Value::Other(name), self.scalar(place)),
            Raw::Text(text) => (Value::Text(text), self.scalar(place)),
            Raw::List(items) => {
                (Value::List(items.into_iter().map(|item| self.node(item, sheet)).collect()), self.to_line_end(place))
            }
            Raw::Table(raw) => (Value::Table(self.table(raw, sheet)), self.to_line_end(place)),
        };
        Node { value, span }
    }

    fn table(&self, raw: Vec<(Spanned<String>, Spanned<Raw>)>, sheet: &mut Sheet<'_>) -> Table {
        let mut table = Table::default();
        for (key, value) in raw {
            let at = self.scalar(key.referenced);
            let node = self.node(value, sheet);
            if table.entry(&key.value).is_some() {
                sheet.push(sheet.error("duplicate-key", &at, format!("the key `{}` stands twice", key.value)));
            } else {
                table.entries.push(Entry { key: key.value, at, node });
            }
        }
        table
    }

    fn scalar(&self, place: Location) -> Span {
        let start = self.offset(place);
        let rest = self.text.get(start..).unwrap_or_default();
        let length = rest.char_indices().nth(place.span().len()).map_or(rest.len(), |(at, _)| at);
        if length == 0 { self.to_line_end(place) } else { start..start + length }
    }

    fn to_line_end(&self, place: Location) -> Span {
        let start = self.offset(place);
        let rest = self.text.get(start..).unwrap_or_default();
        start..start + rest.find('\n').unwrap_or(rest.len())
    }

    fn offset(&self, place: Location) -> usize {
        let line = usize::try_from(place.line()).unwrap_or_default().saturating_sub(1);
        let column = usize::try_from(place.column()).unwrap_or_default().saturating_sub(1);
        let start = self.starts.get(line).copied().unwrap_or(self.text.len());
        let rest = self.text.get(start..).unwrap_or_default();
        start + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at)
    }
}

/// Far more than OpenAPI needs, far less than a stack.
const MAX_DEPTH: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Node>, Vec<String>) {
        let mut problems = Vec::new();
        let node = parse(&mut Sheet { file: "a.yaml", text, problems: &mut problems });
        (node, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn places_are_byte_offsets_even_after_vietnamese_text() {
        let text = "tên: Lê Thị Hoa\nb: { ồ: [ễ, c] }\n";
        let (node, problems) = read(text);
        assert!(problems.is_empty(), "{problems:?}");
        let node = node.unwrap();
        let table = node.as_table().unwrap();
        assert_eq!(&text[table.entries[0].node.span.clone()], "Lê Thị Hoa");
        let inner = table.node("b").unwrap().as_table().unwrap();
        assert_eq!(&text[inner.entries[0].at.clone()], "ồ");
        let Value::List(list) = &inner.entries[0].node.value else { panic!() };
        assert_eq!(&text[list[1].span.clone()], "c");
    }

    #[test]
    fn a_key_that_stands_twice_is_reported_at_its_second_place() {
        let (_, problems) = read("a: 1\nb:\n  c: 1\n  c: 2\n");
        assert_eq!(problems, ["error[duplicate-key] a.yaml:4:3: the key `c` stands twice\n    | c"]);
    }

    #[test]
    fn broken_yaml_is_reported_with_its_place() {
        let (node, problems) = read("a: [1\nb: 2\n");
        assert!(node.is_none());
        assert!(problems[0].starts_with("error[yaml-syntax] a.yaml:2:"), "{problems:?}");
    }

    #[test]
    fn depth_is_bounded() {
        let (node, problems) = read(&format!("a: {}{}\n", "[".repeat(100_000), "]".repeat(100_000)));
        assert!(node.is_none() && problems.len() == 1, "{problems:?}");
    }

    #[test]
    fn off_and_dates_stay_strings() {
        let (node, _) = read("a: off\nb: 1990-01-01\nc: 1.0.0\n");
        let node = node.unwrap();
        assert!(node.as_table().unwrap().entries.iter().all(|entry| entry.node.as_text().is_some()));
    }
}
