//! Examples as the caller would get them. Those of a contract are synthetic; what the caller may not see is left out all the same.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::contract::{Field, ObjectShape, Shape};
use crate::disclose::PseudonymKey;
use crate::disclose::json::Captured;
use crate::disclose::mask::{self, Pseudonym};
use crate::model::{AgencyId, MaskKind, PurposeId, Treatment};

use super::offer::Offer;

/// An example of a record; `None` if nothing of it is left.
pub(super) fn record(value: &Value, shape: &ObjectShape, offer: &Offer<'_>) -> Option<Value> {
    let members = value.as_object()?.iter().filter_map(|(name, value)| {
        let (_, shape) = shape.member(name.as_bytes())?;
        let shown = match shape {
            Shape::Leaf(field) => leaf(value, offer.operation.record.field(*field)?, offer.exemplary(*field)?),
            Shape::Object(shape) => record(value, shape, offer),
            Shape::Array(shape) => {
                let shown: Vec<Value> =
                    value.as_array()?.iter().filter_map(|element| record(element, shape, offer)).collect();
                (!shown.is_empty()).then_some(Value::Array(shown))
            }
        };
        Some((name.clone(), shown?))
    });
    let members: Map<String, Value> = members.collect();
    (!members.is_empty()).then_some(Value::Object(members))
}

/// An example of a field, masked as its value would be.
pub(super) fn leaf(value: &Value, field: &Field, treatment: Treatment) -> Option<Value> {
    match (treatment, value) {
        (Treatment::Reveal, value) => Some(value.clone()),
        (Treatment::Mask(MaskKind::Exists), Value::Array(elements)) => {
            Some(elements.iter().any(|element| !element.is_null()).into())
        }
        (Treatment::Mask(mask), Value::Array(elements)) => {
            Some(elements.iter().filter_map(|element| masked(element, field, mask)).collect())
        }
        (Treatment::Mask(mask), value) => masked(value, field, mask),
        (Treatment::Match | Treatment::Withhold, _) => None,
    }
}

fn masked(value: &Value, field: &Field, mask: MaskKind) -> Option<Value> {
    let captured = match value {
        Value::Null => Captured::Null,
        Value::Bool(value) => Captured::Boolean(*value),
        Value::Number(number) => Captured::Number(Cow::Owned(number.to_string())),
        Value::String(text) => Captured::Text(Cow::Borrowed(text)),
        Value::Array(_) | Value::Object(_) => return None,
    };
    // A pseudonym under no site's key.
    let (key, agency, purpose) = (PseudonymKey::new([0; 32]), AgencyId::new("example"), PurposeId::new("example"));
    let shown = mask::apply(mask, &captured, field, &Pseudonym::new(&key, &agency, &purpose))?;
    serde_json::from_str(&shown).ok()
}

/// The examples of one media type, schema or parameter, each made anew; those of which nothing is left are left out.
pub(super) fn each(from: &Map<String, Value>, to: &mut Map<String, Value>, make: &dyn Fn(&Value) -> Option<Value>) {
    if let Some(made) = from.get("example").and_then(make) {
        to.insert("example".to_owned(), made);
    }
    let made: Option<Value> = match from.get("examples") {
        // Of a schema: a list of values.
        Some(Value::Array(examples)) => Some(examples.iter().filter_map(make).collect()),
        // Of a media type or a parameter: by name, the value in a member of its own.
        Some(Value::Object(examples)) => {
            let made = examples.iter().filter_map(|(name, example)| {
                let mut shown: Map<String, Value> = example
                    .as_object()?
                    .iter()
                    .filter(|(key, _)| ["summary", "description"].contains(&key.as_str()))
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                shown.insert("value".to_owned(), make(example.get("value")?)?);
                Some((name.clone(), Value::Object(shown)))
            });
            Some(Value::Object(made.collect()))
        }
        _ => None,
    };
    let empty =
        |made: &Value| made.as_array().is_some_and(Vec::is_empty) || made.as_object().is_some_and(Map::is_empty);
    if let Some(made) = made.filter(|made| !empty(made)) {
        to.insert("examples".to_owned(), made);
    }
}
