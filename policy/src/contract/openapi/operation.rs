//! One operation: what it asks, of whom, and what it answers with.

use std::sync::Arc;

use crate::contract::checks::Checks;
use crate::contract::{Answer, List, Location, Method, Operation, ParamIx, Parameter, RecordSchema, Role};
use crate::directory::Priority;
use crate::document::{Entry, Node, Sheet, Span, Table, Value};
use crate::model::OperationId;

use super::parameter::{self, Draft};
use super::{Document, binding, claims, content, extension, is_operation_id, lifecycle, role, whole};

/// An operation whose id is still to be compared with all others.
pub(super) struct Read {
    pub(super) operation: Operation,
    /// Where its id stands.
    pub(super) id_at: Span,
}

/// `x-gateway-answer`, as it is typed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Record,
    Match,
    List,
    Whole,
}

/// Where an operation stands.
#[derive(Clone, Copy)]
pub(super) struct Place<'d> {
    pub(super) path: &'d Entry,
    pub(super) method: Method,
    pub(super) entry: &'d Entry,
    /// The parameters of the path item, which each of its operations has.
    pub(super) shared: Option<&'d Node>,
}

/// Reads one operation; `None` if a part without which there is none is wrong.
pub(super) fn read<'d>(sheet: &mut Sheet<'_>, document: &mut Document<'d>, place: Place<'d>) -> Option<Read> {
    let at = &place.entry.at;
    let table = sheet.table(&place.entry.node, "an operation")?;
    sheet.check_keys(table, "an operation", KEYS);
    extension::check_place(sheet, table, "an operation", extension::OPERATION);
    let id = operation_id(sheet, table, at);
    effect(sheet, table, at);
    let typed_answer = table.node("x-gateway-answer");
    let how = match typed_answer {
        Some(node) => sheet.choice(node, "`x-gateway-answer`", "bad-answer", &ANSWERS)?,
        None => How::Record,
    };
    let bulk = content::bulk(sheet, table, place.method, how);
    let response = response(sheet, table, at);
    let read = answered(sheet, document, table, at, how, response);
    // Nothing can be bound to a record that could not be read.
    let whole = read.record.as_ref().filter(|(_, whole)| *whole).map(|(record, _)| &**record);
    let drafts = parameters(sheet, document, table, place, whole);
    let (id, drafts) = (id?, drafts?);
    let parameters: Vec<Parameter> = drafts.iter().map(|draft| draft.parameter.clone()).collect();
    let upstream = sheet
        .required(table, at, "the operation", "x-gateway-upstream")
        .and_then(|node| binding::upstream(sheet, node, "`x-gateway-upstream`", document.register, &parameters));
    let subject = subject(sheet, table, at, how, &parameters, whole);
    let guard = guard(sheet, table, how, &parameters);
    let pushdown = role::pushdown(sheet, table, how == How::List, whole, &parameters);
    role::check(sheet, &drafts, how == How::List, upstream.as_ref());
    let max_body = max_body(sheet, table);
    let classes = Priority::ALL.map(|class| (class.as_str(), class));
    let priority = table
        .node("x-gateway-priority")
        .and_then(|node| sheet.choice(node, "`x-gateway-priority`", "unknown-priority", &classes))
        .or(bulk.then_some(Priority::Batch));
    let lifecycle = lifecycle::of_operation(sheet, document, table, at);
    if bulk {
        content::check_lines(sheet, &drafts);
    }
    let cache =
        binding::cache(sheet, table.node("x-gateway-cache"), how, read.record.as_ref().map(|(record, _)| &**record));
    let (subject, guard) = (subject?, guard?);
    if how != How::Whole {
        whole::check_unasked(sheet, table);
    }
    let answer = match how {
        How::Record => Some(Answer::Record),
        How::Match => {
            if let Some(Content::Json(node)) = read.content {
                claims::check(sheet, document, node, &drafts, subject, &guard);
            }
            Some(Answer::Match)
        }
        How::List => read.list.map(|list| {
            if let Some(record) = whole {
                let says = typed_answer.map_or(at, |node| &node.span);
                role::check_cursor(sheet, &drafts, record, list.cursor, says);
            }
            Answer::List(list)
        }),
        How::Whole => {
            let content = match read.content {
                Some(Content::Binary(entry)) => Some(entry),
                Some(Content::Json(_)) | None => None,
            };
            let giving = whole::Giving { table, at, content };
            whole::read(sheet, document, &giving, whole, &parameters, subject).map(Answer::Whole)
        }
    };
    let (id, id_at) = id;
    let operation = Operation {
        index: 0,
        id,
        summary: table.node("summary").and_then(Node::as_text).unwrap_or_default().to_owned(),
        method: place.method,
        template: Arc::from(place.path.key.as_str()),
        upstream: upstream?,
        answer: answer?,
        bulk,
        subject,
        guard,
        parameters,
        record: read.record?.0,
        pushdown,
        cache,
        lifecycle,
        priority,
        max_body,
        checks: Checks::default(),
    };
    Some(Read { operation, id_at })
}

fn operation_id(sheet: &mut Sheet<'_>, table: &Table, at: &Span) -> Option<(OperationId, Span)> {
    let node = sheet.required(table, at, "the operation", "operationId")?;
    let typed = sheet.text(node, "`operationId`")?;
    if !is_operation_id(typed) {
        let problem = sheet.error("bad-name", &node.span, format!("`{typed}` cannot be an `operationId`"));
        let help = "letters, digits, `.`, `_` and `-`; `with-` and `register-` are the beginnings of action groups";
        sheet.push(problem.help(help));
    }
    Some((OperationId::new(typed), node.span.clone()))
}

fn max_body(sheet: &mut Sheet<'_>, table: &Table) -> Option<usize> {
    let node = table.node("x-gateway-max-body")?;
    match node.value {
        Value::Integer(bytes) if (1..=LARGEST_BODY).contains(&bytes) && table.node("requestBody").is_some() => {
            usize::try_from(bytes).ok()
        }
        _ => {
            let message = format!("`x-gateway-max-body` must be a number of bytes from 1 to {LARGEST_BODY}");
            let help = "it stands at an operation that has a `requestBody`; a node may allow less";
            sheet.push(sheet.error("bad-length", &node.span, message).help(help));
            None
        }
    }
}

fn effect(sheet: &mut Sheet<'_>, table: &Table, at: &Span) {
    let Some(node) = sheet.required(table, at, "the operation", "x-gateway-effect") else { return };
    if node.as_text() != Some("read") {
        let message = "`x-gateway-effect` can only be `read`";
        sheet.push(sheet.error("effect-refused", &node.span, message).help("this gateway does not write to registers"));
    }
}

/// What an operation answers with, as far as it could be read.
struct Answered<'d> {
    content: Option<Content<'d>>,
    record: Option<super::Record>,
    /// The envelope, if it is a list.
    list: Option<List>,
}

/// The content of the 200 response.
#[derive(Clone, Copy)]
enum Content<'d> {
    /// Its schema.
    Json(&'d Node),
    /// Its media type and what stands there.
    Binary(&'d Entry),
}

fn answered<'d>(
    sheet: &mut Sheet<'_>,
    document: &mut Document<'d>,
    table: &'d Table,
    at: &Span,
    how: How,
    response: Option<&'d Node>,
) -> Answered<'d> {
    let place = "the response `200`";
    if how == How::Whole {
        let content = response.and_then(|node| content::binary(sheet, node, place)).map(Content::Binary);
        return Answered { content, record: named_record(sheet, document, table, at, "whole"), list: None };
    }
    let schema = response.and_then(|node| content::json(sheet, node, place));
    let content = schema.map(Content::Json);
    match how {
        How::Match => Answered { content, record: named_record(sheet, document, table, at, "match"), list: None },
        How::List => match schema.and_then(|node| document.page_of_response(sheet, node)) {
            Some(page) => Answered { content, record: Some((page.record, page.sound)), list: Some(page.list) },
            None => Answered { content, record: None, list: None },
        },
        How::Record | How::Whole => {
            let record = schema.and_then(|node| document.record_of_response(sheet, node));
            Answered { content, record, list: None }
        }
    }
}

/// The 200 response.
fn response<'d>(sheet: &mut Sheet<'_>, table: &'d Table, at: &Span) -> Option<&'d Node> {
    let responses = sheet.required(table, at, "the operation", "responses")?;
    let responses = sheet.table(responses, "`responses`")?;
    let Some(ok) = responses.entry("200") else {
        let entry = table.entry("responses").map_or(at, |entry| &entry.at);
        sheet.push(sheet.error("missing-response", entry, "the operation has no response `200`").help("add it"));
        return None;
    };
    Some(&ok.node)
}

/// `x-gateway-record`, of an operation whose answer is not the record.
fn named_record<'d>(
    sheet: &mut Sheet<'_>,
    document: &mut Document<'d>,
    table: &'d Table,
    at: &Span,
    answers: &str,
) -> Option<super::Record> {
    let Some(node) = table.node("x-gateway-record") else {
        let message = format!("an operation that answers `{answers}` must say what the register returns");
        sheet.push(sheet.error("missing-record", at, message).help("add `x-gateway-record`, the name of its schema"));
        return None;
    };
    let name = sheet.text(node, "`x-gateway-record`")?;
    document.record(sheet, name, node)
}

/// Every parameter: those of the path first, in the path's order, as [`Operation::parameters`] promises. `None` if one of them could not
/// be read: what refers to it is not wrong for that.
fn parameters<'d>(
    sheet: &mut Sheet<'_>,
    document: &mut Document<'d>,
    table: &'d Table,
    place: Place<'d>,
    record: Option<&RecordSchema>,
) -> Option<Vec<Draft<'d>>> {
    let mut drafts = Vec::new();
    for node in place.shared.into_iter().chain(table.node("parameters")) {
        drafts.extend(parameter::read_list(sheet, &mut document.schemas, document.parameters, node, record)?);
    }
    match (place.method, table.entry("requestBody")) {
        (Method::Post, Some(entry)) => {
            drafts.extend(parameter::read_body(sheet, &mut document.schemas, &entry.node, record)?);
        }
        (Method::Get, Some(entry)) => {
            let problem = sheet.error("bad-body", &entry.at, "a `get` operation has no body");
            sheet.push(problem.help("make it a `post` operation"));
        }
        (_, None) => {}
    }
    let mut names: Vec<&str> = Vec::new();
    for draft in &drafts {
        let name = draft.parameter.name.as_str();
        if names.contains(&name) {
            let message = format!("the parameter `{name}` stands twice");
            let help = "each name may be used once, be it in the path, the query or the body";
            sheet.push(sheet.error("duplicate-parameter", draft.at, message).help(help));
        }
        names.push(name);
    }
    let captured = captured(&place.path.key);
    let strays = drafts.iter().filter(|draft| draft.parameter.location == Location::Path);
    let strays = strays.filter(|draft| !captured.contains(&draft.parameter.name.as_str())).count();
    for name in captured.iter().filter(|_| strays == 0) {
        if !drafts.iter().any(|draft| draft.parameter.location == Location::Path && draft.parameter.name == *name) {
            let message = format!("the path has `{{{name}}}`, and no path parameter `{name}` is declared");
            let problem = sheet.error("undeclared-parameter", &place.path.at, message);
            sheet.push(problem.help(format!("add `{name}` with `in: path` to `parameters`")));
        }
    }
    for draft in drafts.iter().filter(|draft| draft.parameter.location == Location::Path) {
        let name = draft.parameter.name.as_str();
        if !captured.contains(&name) {
            let message = format!("the path has no `{{{name}}}`");
            let problem = sheet.error("undeclared-parameter", draft.at, message);
            sheet.push(problem.suggest(name, captured.iter().copied()));
        }
    }
    drafts.sort_by_key(|draft| match draft.parameter.location {
        Location::Path => captured.iter().position(|name| *name == draft.parameter.name).unwrap_or(usize::MAX - 1),
        Location::Query | Location::Body => usize::MAX,
    });
    Some(drafts)
}

fn captured(path: &str) -> Vec<&str> {
    path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}')).collect()
}

/// The subject; only a list may be about nobody in particular.
fn subject(
    sheet: &mut Sheet<'_>,
    table: &Table,
    at: &Span,
    how: How,
    parameters: &[Parameter],
    record: Option<&RecordSchema>,
) -> Option<Option<ParamIx>> {
    let Some(node) = table.node("x-gateway-subject") else {
        if how == How::List {
            return Some(None);
        }
        let message = "the operation does not say whom it asks about";
        let problem = sheet.error("missing-subject", at, message);
        sheet.push(problem.help("add `x-gateway-subject`, such as `path.id`"));
        return None;
    };
    let typed = sheet.text(node, "`x-gateway-subject`")?;
    let subject = binding::reference(sheet, node, typed, parameters)?;
    let parameter = parameters.get(subject.0)?;
    if !parameter.required {
        let message = format!("the subject `{typed}` is optional");
        sheet.push(sheet.error("subject-unfit", &node.span, message).help("make it required"));
    }
    let unbound = |record: &&RecordSchema| record.subject != parameter.field || parameter.role != Role::Asks;
    if let Some(record) = record.filter(unbound) {
        let wanted = record.field(record.subject).map(|field| field.name.as_str()).unwrap_or_default();
        let message = format!("the subject `{typed}` is not bound to the record's own subject");
        let problem = sheet.error("subject-unfit", &node.span, message);
        sheet.push(problem.help(format!("bind it with `x-gateway-field: {wanted}`")));
    }
    Some(Some(subject))
}

fn guard(sheet: &mut Sheet<'_>, table: &Table, how: How, parameters: &[Parameter]) -> Option<Vec<ParamIx>> {
    let Some(node) = table.node("x-gateway-guard") else { return Some(Vec::new()) };
    if how == How::List {
        let problem = sheet.error("guard-unfit", &node.span, "a list cannot be guarded: its records differ");
        sheet.push(problem.help("let the register filter by the parameter: name it in `x-gateway-upstream`"));
        return None;
    }
    let mut whole = true;
    let mut guard = Vec::new();
    for (typed, item) in sheet.texts(node, "`x-gateway-guard`") {
        let found = parameters.iter().position(|known| known.name == typed || binding::qualified(known) == typed);
        let Some(index) = found else {
            let problem = sheet.error("unknown-parameter", &item.span, format!("there is no parameter `{typed}`"));
            sheet.push(problem.suggest(typed, parameters.iter().map(|parameter| parameter.name.as_str())));
            whole = false;
            continue;
        };
        if parameters.get(index).is_some_and(|parameter| !parameter.required) {
            let message = format!("the guard `{typed}` is optional: a request without it would pass unguarded");
            sheet.push(sheet.error("guard-optional", &item.span, message).help("make it required"));
        }
        if guard.contains(&ParamIx(index)) {
            sheet.push(sheet.warning("duplicate-guard", &item.span, format!("the guard `{typed}` stands twice")));
        } else {
            guard.push(ParamIx(index));
        }
    }
    whole.then_some(guard)
}

/// The largest that a node may be told to read, in bytes.
const LARGEST_BODY: i64 = 16 << 20;

const ANSWERS: [(&str, How); 4] =
    [("record", How::Record), ("match", How::Match), ("list", How::List), ("whole", How::Whole)];

const KEYS: &[&str] = &[
    "operationId",
    "summary",
    "description",
    "tags",
    "parameters",
    "requestBody",
    "responses",
    "deprecated",
    "externalDocs",
    "security",
    "servers",
];
