//! Lists: the envelope around records.

use std::sync::Arc;

use crate::contract::{List, RecordSchema};
use crate::document::{Entry, Node, Sheet, Value};
use crate::model::FieldSet;

use super::record::{self, Around};
use super::schema::{Resolved, Schemas, Type};
use super::{Document, extension};

/// The envelope of a list, with its records.
#[derive(Clone)]
pub(super) struct Page {
    /// The record with the leaves of the envelope as further fields, named after the envelope.
    pub(super) record: Arc<RecordSchema>,
    pub(super) list: List,
    /// Whether every part of it could be read.
    pub(super) sound: bool,
}

/// Reads the component schema of that name as the envelope of a list. What is wrong is reported.
pub(super) fn read<'d>(
    sheet: &mut Sheet<'_>,
    document: &mut Document<'d>,
    name: &'d str,
    typed: &'d Node,
) -> Option<Page> {
    let entry = document.schemas.component(name)?;
    record::check_name(sheet, name, entry);
    let resolved = document.schemas.resolve(sheet, &entry.node, &[name])?;
    if resolved.node("x-gateway-subject").is_some() {
        let message = format!("`{name}` is a record, not the envelope of a list");
        sheet.push(sheet.error("bad-list", &typed.span, message).help(ENVELOPE));
        return None;
    }
    if resolved.kind(sheet, &format!("`{name}`"))? != Type::Object {
        sheet.push(sheet.error("bad-list", &entry.at, format!("`{name}` must be an object")).help(ENVELOPE));
        return None;
    }
    let records = records(sheet, &mut document.schemas, name, entry, &resolved)?;
    let (record, whole) = document.record(sheet, records.of, records.reference)?;
    let around = Around { key: &records.property.key, record: &record };
    let envelope = record::read_envelope(sheet, &mut document.schemas, name, &resolved, around)?;
    let leaves: FieldSet = envelope.fields.iter().map(|field| field.index).collect();
    let merged = RecordSchema {
        name: name.to_owned(),
        fields: record.fields.iter().cloned().chain(envelope.fields).collect(),
        references: record.references.iter().copied().chain(envelope.references).collect(),
        ..RecordSchema::clone(&record)
    };
    let list = List {
        page: Arc::new(RecordSchema { shape: envelope.shape, ..merged.clone() }),
        records: Box::from(records.property.key.as_str()),
        envelope: leaves,
        cursor: envelope.cursor,
    };
    Some(Page { record: Arc::new(merged), list, sound: whole && envelope.whole })
}

/// The name of the record in a schema that is the envelope of a list rather than a record: it says of nobody whose it is, and holds an
/// array of records that do.
pub(super) fn record_within<'d>(schemas: &Schemas<'d>, name: &str) -> Option<&'d str> {
    let envelope = schemas.peek(name)?;
    let properties = envelope.node("properties").filter(|_| envelope.node("x-gateway-subject").is_none())?;
    properties.as_table()?.entries.iter().find_map(|entry| {
        let items = entry.node.as_table()?.node("items")?.as_table()?;
        let record = schemas.referred(items.node("$ref")?)?;
        schemas.peek(record)?.node("x-gateway-subject").map(|_| record)
    })
}

/// Where the records of a list are.
struct Records<'d> {
    property: &'d Entry,
    /// The name of their schema.
    of: &'d str,
    reference: &'d Node,
}

/// The one top-level array of records.
fn records<'d>(
    sheet: &mut Sheet<'_>,
    schemas: &mut Schemas<'d>,
    name: &str,
    entry: &Entry,
    envelope: &Resolved<'d>,
) -> Option<Records<'d>> {
    let mut found: Option<Records<'d>> = None;
    let mut broken = false;
    for property in envelope.properties(sheet) {
        let Some(resolved) = schemas.resolve(sheet, &property.node, &[name]) else {
            broken = true;
            continue;
        };
        let Some(items) = resolved.node("items").filter(|_| is(&resolved, "array")) else { continue };
        let Some(target) = schemas.resolve(sheet, items, &[name]) else {
            broken = true;
            continue;
        };
        if !is(&target, "object") && target.node("properties").is_none() {
            continue;
        }
        let full_name = format!("{name}.{}", property.key);
        if let Some(first) = &found {
            let message = format!("`{name}` holds two lists: `{}` and `{}`", first.property.key, property.key);
            let help = "each answer has one list of records; write two operations";
            sheet.push(sheet.error("bad-list", &property.at, message).help(help));
            return None;
        }
        let reference = items.as_table().and_then(|items| items.node("$ref"));
        let (Some(reference), Some(of)) = (reference, target.names.first()) else {
            let message = format!("the records of `{full_name}` must be referred to by name");
            let problem = sheet.error("bad-list", &items.span, message);
            sheet.push(
                problem.help("their fields are named after it: `items: { $ref: '#/components/schemas/<name>' }`"),
            );
            return None;
        };
        resolved.check(sheet, &format!("the list `{full_name}`"), &[]);
        if let Some(items) = items.as_table() {
            extension::check_place(sheet, items, &format!("the records of `{full_name}`"), &[]);
        }
        found = Some(Records { property, of, reference });
    }
    if found.is_none() && !broken {
        sheet.push(sheet.error("bad-list", &entry.at, format!("`{name}` holds no list of records")).help(ENVELOPE));
    }
    found
}

/// Whether that is one of the schema's types.
fn is(schema: &Resolved<'_>, wanted: &str) -> bool {
    match schema.node("type").map(|node| &node.value) {
        Some(Value::Text(typed)) => typed == wanted,
        Some(Value::List(items)) => items.iter().any(|item| item.as_text() == Some(wanted)),
        _ => false,
    }
}

const ENVELOPE: &str = "the envelope of a list is an object with one array whose `items` is `$ref` of a record";
