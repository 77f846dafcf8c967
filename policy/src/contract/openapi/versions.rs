//! Two contracts that call a record alike.

use crate::contract::{Attribute, Field, RecordSchema};

/// What policies could see of a difference between two records of one name; `None` if they are the same to policies.
pub(super) fn differ(known: &RecordSchema, here: &RecordSchema) -> Option<String> {
    for field in &here.fields {
        let Some(there) = known.field_named(field.name.as_str()) else { continue };
        if let Some(what) = difference(there, field) {
            return Some(format!("there `{}` has another {what}", field.name));
        }
    }
    let subject = |record: &RecordSchema| record.field(record.subject).map(|field| field.name.clone());
    if subject(known) != subject(here) {
        return Some("there it has another `x-gateway-subject`".to_owned());
    }
    let attributes = |record: &RecordSchema| -> Vec<_> {
        let path = |attribute: &Attribute| record.field(attribute.from).map(|field| field.path.clone());
        let mut all: Vec<_> =
            record.attributes.iter().map(|it| (it.name.clone(), path(it), format!("{:?}", it.derive))).collect();
        all.sort();
        all
    };
    (attributes(known) != attributes(here)).then(|| "there it has other `x-gateway-attributes`".to_owned())
}

fn difference(there: &Field, here: &Field) -> Option<&'static str> {
    if (there.kind, there.array) != (here.kind, here.array) {
        Some("`type`")
    } else if there.group != here.group {
        Some("`x-gateway-group`")
    } else if there.class != here.class {
        Some("`x-gateway-class`")
    } else if there.masks != here.masks {
        Some("`x-gateway-masks`")
    } else if there.implies != here.implies {
        Some("`x-gateway-implies`")
    } else if there.compare != here.compare {
        Some("`x-gateway-compare`")
    } else if there.whole != here.whole {
        Some("`x-gateway-whole`")
    } else {
        None
    }
}
