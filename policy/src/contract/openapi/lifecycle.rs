//! The end of operations: `deprecated`, `x-gateway-deprecated-since`, `x-gateway-sunset`, `x-gateway-successor`.

use jiff::civil::Date;

use crate::contract::Lifecycle;
use crate::disclose::mask::date;
use crate::document::{Node, Sheet, Span, Table, Value};
use crate::model::OperationId;

use super::{Document, extension};

/// What is said of an end, in one place.
#[derive(Clone, Copy, Default)]
pub(super) struct Ending {
    since: Option<Date>,
    sunset: Option<Date>,
}

/// What `info` says of all operations of its document. OpenAPI knows `deprecated` at operations only: here the day alone says it.
pub(super) fn of_document(sheet: &mut Sheet<'_>, document: &Table) -> Ending {
    let Some(info) = document.entry("info") else { return Ending::default() };
    let Some(table) = sheet.table(&info.node, "`info`") else { return Ending::default() };
    extension::check_place(sheet, table, "`info`", extension::INFO);
    let ending = Ending::read(sheet, table);
    if let (None, Some(sunset)) = (ending.since, table.entry(SUNSET)) {
        let message = "`info` says when its operations end, and not since when they are deprecated";
        sheet.push(sheet.error("missing-key", &sunset.at, message).help(ADD_SINCE));
    }
    ending.check(sheet, table, Ending::default());
    ending
}

/// The end of one operation. What it says goes before what `info` says; `deprecated: false` makes it an exception.
pub(super) fn of_operation(
    sheet: &mut Sheet<'_>,
    document: &mut Document<'_>,
    table: &Table,
    at: &Span,
) -> Option<Lifecycle> {
    let said = match table.node("deprecated").map(|node| (&node.value, node)) {
        None => None,
        Some((Value::Bool(deprecated), _)) => Some(*deprecated),
        Some((_, node)) => {
            sheet.wrong_type(node, "`deprecated`", "a boolean");
            None
        }
    };
    let own = Ending::read(sheet, table);
    let inherited = if said == Some(false) { Ending::default() } else { document.ending };
    let stray = [SINCE, SUNSET, SUCCESSOR].iter().find_map(|key| table.entry(key));
    if said != Some(true) && inherited.since.is_none() {
        if let Some(entry) = stray {
            let message = format!("`{}` has no meaning on an operation that is not deprecated", entry.key);
            sheet.push(sheet.error("not-deprecated", &entry.at, message).help("add `deprecated: true`, or remove it"));
        }
        return None;
    }
    own.check(sheet, table, inherited);
    let Some(deprecated) = own.since.or(inherited.since) else {
        if table.node(SINCE).is_none() {
            let at = table.entry("deprecated").map_or(at, |entry| &entry.at);
            let message = "the operation does not say since when it is deprecated";
            sheet.push(sheet.error("missing-key", at, message).help(ADD_SINCE));
        }
        return None;
    };
    let sunset = own.sunset.or(inherited.sunset);
    let id = table.node("operationId").and_then(Node::as_text).unwrap_or_default();
    if let Some(day) = sunset {
        let at = table.entry(SUNSET).or(table.entry("operationId")).map_or(at, |entry| &entry.at);
        let message = format!("`{id}` should have ended on {day}, and is still served");
        let problem = sheet.warning("sunset-passed", at, message);
        document.sunsets.push((day, problem.help("remove it, or give its callers more time")));
    }
    let successor = table.node(SUCCESSOR).and_then(|node| successor(sheet, document, node, id));
    Some(Lifecycle { deprecated, sunset, successor })
}

impl Ending {
    fn read(sheet: &mut Sheet<'_>, table: &Table) -> Self {
        let mut day = |key: &str| table.node(key).and_then(|node| read_day(sheet, node, key));
        Self { since: day(SINCE), sunset: day(SUNSET) }
    }

    /// That it ends after it began to.
    fn check(&self, sheet: &mut Sheet<'_>, table: &Table, inherited: Self) {
        let (since, sunset) = (self.since.or(inherited.since), self.sunset.or(inherited.sunset));
        let at = table.node(SUNSET).or(table.node(SINCE));
        if let (Some(since), Some(sunset), Some(node)) = (since, sunset, at)
            && sunset <= since
        {
            let message = format!("the end, {sunset}, is not after {since}, when it is deprecated");
            let help = "callers need time to change: say a later `x-gateway-sunset`";
            sheet.push(sheet.error("bad-sunset", &node.span, message).help(help));
        }
    }
}

fn read_day(sheet: &mut Sheet<'_>, node: &Node, key: &str) -> Option<Date> {
    let typed = sheet.text(node, &format!("`{key}`"))?;
    let day = date(typed);
    if day.is_none() {
        let problem = sheet.error("bad-date", &node.span, format!("`{key}` cannot be `{typed}`"));
        sheet.push(problem.help("a day, such as `2027-06-30`"));
    }
    day
}

fn successor(sheet: &mut Sheet<'_>, document: &mut Document<'_>, node: &Node, id: &str) -> Option<OperationId> {
    let typed = sheet.text(node, "`x-gateway-successor`")?;
    if typed == id {
        sheet.push(sheet.error("bad-successor", &node.span, format!("`{id}` cannot succeed itself")));
        return None;
    }
    // There may be one in a contract that is read later.
    let problem = sheet.warning("unknown-successor", &node.span, format!("there is no operation `{typed}`"));
    document.successors.push((typed.to_owned(), problem));
    Some(OperationId::new(typed))
}

const SINCE: &str = "x-gateway-deprecated-since";
const SUNSET: &str = "x-gateway-sunset";
const SUCCESSOR: &str = "x-gateway-successor";
const ADD_SINCE: &str = "add `x-gateway-deprecated-since`, such as `2026-07-01`";
