//! The content of a body or a response: one object, lines of objects, or something that is no JSON.

use crate::contract::Method;
use crate::document::{Entry, Node, Sheet, Span, Table};

use super::operation::How;
use super::parameter::Draft;
use crate::contract::Location;

/// The schema of `content: application/json` (or of its lines) of a body or a response.
pub(super) fn json<'d>(sheet: &mut Sheet<'_>, node: &'d Node, place: &str) -> Option<&'d Node> {
    let is_json = |media_type: &str| matches!(media_type, JSON | LINES);
    let entry = only(sheet, node, place, is_json, "use `application/json`")?;
    let media = sheet.table(&entry.node, &format!("`{}`", entry.key))?;
    sheet.required(media, &entry.node.span, place, "schema")
}

/// The content of a response that is no JSON; its key is the media type.
pub(super) fn binary<'d>(sheet: &mut Sheet<'_>, node: &'d Node, place: &str) -> Option<&'d Entry> {
    let is_binary = |media_type: &str| {
        let is_name = |name: &str| {
            !name.is_empty() && name.chars().all(|char| char.is_ascii_alphanumeric() || "!#$&-^_.+".contains(char))
        };
        let parts = media_type.split_once('/');
        parts.is_some_and(|(kind, name)| is_name(kind) && is_name(name))
            && !matches!(media_type, JSON | LINES)
            && !media_type.ends_with("+json")
    };
    only(sheet, node, place, is_binary, "a whole field has a media type of its own, such as `image/jpeg`")
}

/// Whether every line of the operation's body is a request of its own. That takes lines on both sides.
pub(super) fn bulk(sheet: &mut Sheet<'_>, table: &Table, method: Method, how: How) -> bool {
    let request = table.node("requestBody").and_then(lines);
    let response = ok(table).and_then(lines);
    let Some(first) = request.or(response) else { return false };
    if matches!(how, How::List | How::Whole) {
        let what = if how == How::List { "a list" } else { "a whole field" };
        let problem = sheet.error("bulk-unfit", first, format!("{what} cannot be answered in lines"));
        sheet.push(
            problem.help("an operation in lines answers `record` or `match`, one line for each line of its body"),
        );
        return false;
    }
    if method == Method::Get {
        // That a `get` has a body is reported where it stands.
        if request.is_none() {
            let problem = sheet.error("bulk-unfit", first, "a `get` operation cannot answer in lines");
            sheet.push(problem.help("each line answers one of the body: make it a `post` operation"));
        }
        return false;
    }
    let (one, other) = if request.is_some() { ("request", "response") } else { ("response", "request") };
    if request.is_none() || response.is_none() {
        let message = format!("the {one} is in lines, and the {other} is not");
        let help = "`application/x-ndjson` in both makes a bulk, `application/json` in both a single question";
        sheet.push(sheet.error("bulk-half", first, message).help(help));
        return false;
    }
    true
}

/// Reports the parameters of a bulk that would be the same for all of its lines.
pub(super) fn check_lines(sheet: &mut Sheet<'_>, drafts: &[Draft<'_>]) {
    for draft in drafts.iter().filter(|draft| draft.parameter.location != Location::Body) {
        let message = format!("the parameter `{}` is not in the lines of the bulk", draft.parameter.name);
        let problem = sheet.error("bulk-unfit", draft.at, message);
        sheet.push(problem.help("each line is a question of its own: make it a property of the body"));
    }
}

/// The 200 response.
fn ok(operation: &Table) -> Option<&Node> {
    operation.node("responses")?.as_table()?.node("200")
}

/// Where a body or a response says that it is in lines.
fn lines(node: &Node) -> Option<&Span> {
    Some(&node.as_table()?.node("content")?.as_table()?.entry(LINES)?.at)
}

/// The one type of content.
fn only<'d>(
    sheet: &mut Sheet<'_>,
    node: &'d Node,
    place: &str,
    reads: impl Fn(&str) -> bool,
    help: &str,
) -> Option<&'d Entry> {
    let table = sheet.table(node, place)?;
    let content_node = sheet.required(table, &node.span, place, "content")?;
    let content = sheet.table(content_node, "`content`")?;
    let (read, others): (Vec<&Entry>, Vec<&Entry>) = content.entries.iter().partition(|entry| reads(&entry.key));
    for entry in &others {
        let message = format!("`{}` is not a type of content that the gateway reads here", entry.key);
        sheet.push(sheet.error("bad-content", &entry.at, message).help(help));
    }
    match read[..] {
        [only] => return Some(only),
        [] if others.is_empty() => {
            let problem = sheet.error("bad-content", &content_node.span, format!("{place} has no type of content"));
            sheet.push(problem.help(help));
        }
        [] => {}
        [_, second, ..] => {
            let message = format!("{place} has two types of content");
            let help = "an operation is asked and answers in one: write two operations";
            sheet.push(sheet.error("bad-content", &second.at, message).help(help));
        }
    }
    None
}

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";
