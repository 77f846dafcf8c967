//! Whole fields: what a register gives by itself, as it is.

use crate::contract::{ParamIx, Parameter, RecordSchema, Whole};
use crate::document::{Entry, Node, Sheet, Span, Table};

use super::{Document, binding, extension};

/// The operation that gives a whole field.
pub(super) struct Giving<'d> {
    pub(super) table: &'d Table,
    pub(super) at: &'d Span,
    /// The content of the response, under its media type.
    pub(super) content: Option<&'d Entry>,
}

/// Reads `x-gateway-whole: { field: Citizen.portrait, upstream: population GET /persons/{path.id}/portrait }`.
pub(super) fn read<'d>(
    sheet: &mut Sheet<'_>,
    document: &mut Document<'d>,
    giving: &Giving<'d>,
    record: Option<&RecordSchema>,
    parameters: &[Parameter],
    subject: Option<ParamIx>,
) -> Option<Whole> {
    let place = "`x-gateway-whole`";
    let Some(node) = giving.table.node("x-gateway-whole") else {
        let message = "an operation that answers `whole` must say which field, and where the register has it";
        let problem = sheet.error("missing-key", giving.at, message);
        sheet.push(problem.help("add `x-gateway-whole: { field: <name>, upstream: <register> GET <path> }`"));
        return None;
    };
    let table = sheet.table(node, place)?;
    sheet.check_keys(table, place, &["field", "upstream"]);
    let field = sheet.required(table, &node.span, place, "field");
    let upstream = sheet.required(table, &node.span, place, "upstream");
    let upstream = upstream.and_then(|node| {
        let template = binding::upstream(sheet, node, "the upstream of a whole field", document.register, parameters)?;
        // The bytes do not say whose they are: what names the subject is all there is.
        if subject.is_some_and(|subject| !template.names(subject)) {
            let message = "the upstream of a whole field does not name the subject: it could be anybody's";
            let qualified = subject.and_then(|subject| parameters.get(subject.0)).map(binding::qualified);
            let problem = sheet.error("bad-upstream", &node.span, message);
            sheet.push(problem.help(format!("put `{{{}}}` into it", qualified.unwrap_or_default())));
        }
        Some(template)
    });
    let field = field.and_then(|node| named(sheet, node, record?));
    let (field, upstream) = (field?, upstream?);
    let known = record?.field(field)?;
    let binary = document.binaries.iter().find(|binary| binary.field == known.name)?.clone();
    check_content(sheet, document, giving.content?, &binary.media_type, known.name.as_str());
    Some(Whole { field, media_type: binary.media_type, upstream, most_bytes: binary.most_bytes })
}

/// Reports `x-gateway-whole` at an operation that answers something else.
pub(super) fn check_unasked(sheet: &mut Sheet<'_>, table: &Table) {
    if let Some(entry) = table.entry("x-gateway-whole") {
        let message = "`x-gateway-whole` needs an operation that answers `whole`";
        sheet.push(sheet.error("whole-unfit", &entry.at, message).help("add `x-gateway-answer: whole`"));
    }
}

fn named(sheet: &mut Sheet<'_>, node: &Node, record: &RecordSchema) -> Option<crate::model::FieldIx> {
    let typed = sheet.text(node, "the field of `x-gateway-whole`")?;
    let Some(field) = record.field_named(typed) else {
        let problem = sheet.error("unknown-field", &node.span, format!("there is no field `{typed}`"));
        let known: Vec<&str> =
            record.fields.iter().filter(|known| known.whole).map(|known| known.name.as_str()).collect();
        sheet.push(problem.suggest(typed, known));
        return None;
    };
    if !field.whole {
        let message = format!("`{typed}` is part of the record, not a whole field");
        let problem = sheet.error("whole-unfit", &node.span, message);
        sheet.push(problem.help("a whole field has `x-gateway-whole: true` and `contentMediaType`"));
        return None;
    }
    Some(field.index)
}

fn check_content<'d>(
    sheet: &mut Sheet<'_>,
    document: &mut Document<'d>,
    content: &'d Entry,
    media_type: &str,
    name: &str,
) {
    let mut wrong = (content.key != media_type).then_some((content.key.as_str(), &content.at));
    let schema = content.node.as_table().and_then(|media| media.node("schema"));
    if let Some(schema) = schema.and_then(|schema| document.schemas.resolve(sheet, schema, &[])) {
        schema.check(sheet, "the answer of a whole field", &[]);
        let typed = schema.node("contentMediaType");
        let typed = typed.and_then(|node| Some((node.as_text()?, &node.span)));
        wrong = wrong.or(typed.filter(|(typed, _)| *typed != media_type));
    }
    // Where the field's own is missing, that was reported.
    if let Some((typed, at)) = wrong.filter(|_| !media_type.is_empty()) {
        let message = format!("the answer is `{typed}`, and `{name}` is `{media_type}`");
        sheet.push(sheet.error("bad-content", at, message).help("write the same media type in both places"));
    }
    if let Some(media) = content.node.as_table() {
        extension::check_place(sheet, media, "the content of a response", &[]);
    }
}
