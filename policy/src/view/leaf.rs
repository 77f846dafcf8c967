//! The schema of one field as it is shown.

use serde_json::{Map, Value, json};

use crate::contract::{Field, Resolved, Written};
use crate::model::{MaskKind, Treatment};

use super::example;
use super::offer::Fate;

/// The schema of a field that is shown, in one way or in several.
pub(super) fn schema(written: &Written, leaf: &Resolved<'_>, field: &Field, fate: &Fate) -> Value {
    let said = leaf.keyword("description").and_then(Value::as_str);
    let mut ways: Vec<Map<String, Value>> =
        fate.shown.iter().map(|treatment| way(written, leaf, field, *treatment)).collect();
    for way in &mut ways {
        way.shift_remove("description");
    }
    ways.dedup();
    let mut schema = match ways.len() {
        0 | 1 => ways.pop().unwrap_or_default(),
        _ => Map::from_iter([("anyOf".to_owned(), Value::Array(ways.into_iter().map(Value::Object).collect()))]),
    };
    describe(&mut schema, said, fate.note.as_deref());
    Value::Object(schema)
}

/// Puts what the contract says and what is to be added to it into one description.
pub(super) fn describe(schema: &mut Map<String, Value>, said: Option<&str>, note: Option<&str>) {
    let parts: Vec<&str> = said.into_iter().chain(note).map(str::trim_end).filter(|part| !part.is_empty()).collect();
    if !parts.is_empty() {
        schema.insert("description".to_owned(), parts.join("\n\n").into());
    }
}

/// The schema of a field that is shown in one way.
fn way(written: &Written, leaf: &Resolved<'_>, field: &Field, treatment: Treatment) -> Map<String, Value> {
    let mut schema = leaf.keywords();
    let items = leaf.keyword("items").and_then(|items| written.resolve(items));
    let Treatment::Mask(mask) = treatment else {
        if let Some(items) = items {
            schema.insert("items".to_owned(), Value::Object(items.keywords()));
        }
        return schema;
    };
    let (example, examples) = (schema.shift_remove("example"), schema.shift_remove("examples"));
    let mut masked = match (field.array, mask) {
        (true, mask) if mask != MaskKind::Exists => {
            let counts = ["minItems", "maxItems", "type"].into_iter();
            let mut list: Map<_, _> =
                counts.filter_map(|key| Some((key.to_owned(), schema.shift_remove(key)?))).collect();
            let nullable = items.is_some_and(|items| items.nullable());
            list.insert("items".to_owned(), Value::Object(masked(mask, nullable)));
            list
        }
        (_, mask) => masked(mask, leaf.nullable()),
    };
    masked.extend(
        ["title", "deprecated"].into_iter().filter_map(|key| Some((key.to_owned(), schema.shift_remove(key)?))),
    );
    let shown = |value: &Value| example::leaf(value, field, treatment);
    masked.extend(example.as_ref().and_then(shown).map(|value| ("example".to_owned(), value)));
    if let Some(Value::Array(examples)) = examples {
        masked.insert("examples".to_owned(), examples.iter().filter_map(shown).collect());
    }
    masked
}

/// The schema of a masked value; see [`MaskKind`] for what each mask makes.
fn masked(mask: MaskKind, nullable: bool) -> Map<String, Value> {
    let (kind, more) = match mask {
        MaskKind::Month => ("string", Some(("pattern", json!("^[0-9]{4}-[0-9]{2}$")))),
        MaskKind::Year => ("integer", None),
        MaskKind::Decade => ("integer", Some(("multipleOf", json!(10)))),
        MaskKind::Last3 => ("string", Some(("pattern", json!("^[*](.{3})?$")))),
        MaskKind::Last4 => ("string", Some(("pattern", json!("^[*](.{4})?$")))),
        MaskKind::Initials => ("string", None),
        MaskKind::Pseudonym => ("string", Some(("pattern", json!("^[0-9a-f]{32}$")))),
        MaskKind::Exists => ("boolean", None),
    };
    let nullable = nullable && mask != MaskKind::Exists;
    let kind = if nullable { json!([kind, "null"]) } else { json!(kind) };
    Map::from_iter([("type".to_owned(), kind)].into_iter().chain(more.map(|(key, value)| (key.to_owned(), value))))
}
