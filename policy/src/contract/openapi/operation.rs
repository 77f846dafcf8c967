//! One operation: what it asks, of whom, and what it answers with.

use std::sync::Arc;

use crate::contract::checks::Checks;
use crate::contract::{Answer, Location, Method, Operation, ParamIx, Parameter, RecordSchema};
use crate::document::{Entry, Node, Sheet, Span, Table, Value};
use crate::model::OperationId;

use super::parameter::{self, Draft};
use super::schema::{Resolved, Type};
use super::{Document, binding, extension, is_operation_id, json_schema, lifecycle};

/// An operation whose id is still to be compared with all others.
pub(super) struct Read {
    pub(super) operation: Operation,
    /// Where its id stands.
    pub(super) id_at: Span,
}

/// `x-gateway-answer`, as it is typed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Record,
    Match,
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
    let answer = match table.node("x-gateway-answer") {
        Some(node) => {
            sheet.choice(node, "`x-gateway-answer`", "bad-answer", &[("record", How::Record), ("match", How::Match)])?
        }
        None => How::Record,
    };
    let response = response(sheet, table, at);
    let record = match answer {
        How::Record => response.and_then(|node| document.record_of_response(sheet, node)),
        How::Match => record_of_match(sheet, document, table, at),
    };
    // Nothing can be bound to a record that could not be read.
    let whole = record.as_ref().filter(|(_, whole)| *whole).map(|(record, _)| &**record);
    let drafts = parameters(sheet, document, table, place, whole);
    let (id, drafts) = (id?, drafts?);
    let parameters: Vec<Parameter> = drafts.iter().map(|draft| draft.parameter.clone()).collect();
    let upstream = sheet
        .required(table, at, "the operation", "x-gateway-upstream")
        .and_then(|node| binding::upstream(sheet, node, document.register, &parameters));
    let subject = subject(sheet, table, at, &parameters, whole);
    let guard = guard(sheet, table, &parameters);
    let record = record.map(|(record, _)| record);
    let cache = binding::cache(sheet, table.node("x-gateway-cache"), record.as_deref());
    let max_body = max_body(sheet, table);
    let lifecycle = lifecycle::of_operation(sheet, document, table, at);
    let (subject, guard) = (subject?, guard?);
    if let (How::Match, Some(node)) = (answer, response) {
        check_answers(sheet, document, node, &drafts, subject, &guard);
    }
    let (id, id_at) = id;
    let operation = Operation {
        index: 0,
        id,
        summary: table.node("summary").and_then(Node::as_text).unwrap_or_default().to_owned(),
        method: place.method,
        template: Arc::from(place.path.key.as_str()),
        upstream: upstream?,
        answer: match answer {
            How::Record => Answer::Record,
            How::Match => Answer::Match,
        },
        bulk: false,
        subject: Some(subject),
        guard,
        parameters,
        record: record?,
        pushdown: None,
        cache,
        lifecycle,
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

/// The schema of the 200 response.
fn response<'d>(sheet: &mut Sheet<'_>, table: &'d Table, at: &Span) -> Option<&'d Node> {
    let responses = sheet.required(table, at, "the operation", "responses")?;
    let responses = sheet.table(responses, "`responses`")?;
    let Some(ok) = responses.entry("200") else {
        let entry = table.entry("responses").map_or(at, |entry| &entry.at);
        sheet.push(sheet.error("missing-response", entry, "the operation has no response `200`").help("add it"));
        return None;
    };
    json_schema(sheet, &ok.node, "the response `200`")
}

fn record_of_match<'d>(
    sheet: &mut Sheet<'_>,
    document: &mut Document<'d>,
    table: &'d Table,
    at: &Span,
) -> Option<super::Record> {
    let Some(node) = table.node("x-gateway-record") else {
        let message = "an operation that answers `match` must say what the register returns";
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

fn subject(
    sheet: &mut Sheet<'_>,
    table: &Table,
    at: &Span,
    parameters: &[Parameter],
    record: Option<&RecordSchema>,
) -> Option<ParamIx> {
    let Some(node) = table.node("x-gateway-subject") else {
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
    if let Some(record) = record.filter(|record| record.subject != parameter.field) {
        let wanted = record.field(record.subject).map(|field| field.name.as_str()).unwrap_or_default();
        let message = format!("the subject `{typed}` is not bound to the record's own subject");
        let problem = sheet.error("subject-unfit", &node.span, message);
        sheet.push(problem.help(format!("bind it with `x-gateway-field: {wanted}`")));
    }
    Some(subject)
}

fn guard(sheet: &mut Sheet<'_>, table: &Table, parameters: &[Parameter]) -> Option<Vec<ParamIx>> {
    let Some(node) = table.node("x-gateway-guard") else { return Some(Vec::new()) };
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

/// The answer of a match must be one boolean for each claim: for each parameter that is neither the subject nor a guard.
fn check_answers<'d>(
    sheet: &mut Sheet<'_>,
    document: &mut Document<'d>,
    node: &'d Node,
    drafts: &[Draft<'_>],
    subject: ParamIx,
    guard: &[ParamIx],
) {
    let Some(schema) = document.schemas.resolve(sheet, node, &[]) else { return };
    schema.check(sheet, "the answer of a match", &[]);
    let properties = schema.properties(sheet);
    let claims: Vec<&Draft<'_>> = drafts
        .iter()
        .enumerate()
        .filter(|(at, _)| subject != ParamIx(*at) && !guard.contains(&ParamIx(*at)))
        .map(|(_, draft)| draft)
        .collect();

    if claims.is_empty() {
        sheet.push(sheet.error(
            "match-answer",
            &node.span,
            "an operation that answers `match` has no claims to compare",
        ));
    }
    for entry in properties {
        let name = entry.key.as_str();
        if !claims.iter().any(|claim| claim.parameter.name == name) {
            let problem = sheet.error("match-answer", &entry.at, format!("the answer `{name}` is not a claim"));
            sheet.push(problem.suggest(name, claims.iter().map(|claim| claim.parameter.name.as_str())));
        }
        check_boolean(sheet, document, entry);
    }
    for claim in claims {
        let name = claim.parameter.name.as_str();
        if !properties.iter().any(|entry| entry.key == name) {
            let problem =
                sheet.error("match-answer", claim.at, format!("the response `200` has no answer for `{name}`"));
            sheet.push(problem.help(format!("add the boolean `{name}` to it")));
        }
    }
}

fn check_boolean<'d>(sheet: &mut Sheet<'_>, document: &mut Document<'d>, entry: &'d Entry) {
    let name = entry.key.as_str();
    let resolved: Option<Resolved<'d>> = document.schemas.resolve(sheet, &entry.node, &[]);
    let Some(resolved) = resolved else { return };
    resolved.check(sheet, &format!("the answer `{name}`"), extension::PARAMETER);
    if resolved.kind(sheet, &format!("the answer `{name}`")).is_some_and(|kind| kind != BOOLEAN) {
        let message = format!("the answer `{name}` must be a boolean");
        sheet.push(sheet.error("match-answer", resolved.node("type").map_or(&entry.at, |node| &node.span), message));
    }
}

/// The largest that a node may be told to read, in bytes.
const LARGEST_BODY: i64 = 16 << 20;

const BOOLEAN: Type = Type::Scalar(crate::contract::Kind::Boolean);

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
