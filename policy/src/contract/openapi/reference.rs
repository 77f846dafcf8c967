//! Leaves that hold other persons' numbers.

use crate::contract::{Kind, Reference};
use crate::document::{Node, Sheet, Value};
use crate::model::{FieldIx, FieldSet};

use super::record::{Leaf, Leaves};

/// Reads `x-gateway-person` of every leaf: `true`, or the full names of leaves elsewhere that tell of the same person.
pub(super) fn references(sheet: &mut Sheet<'_>, leaves: &Leaves<'_>) -> Vec<Reference> {
    leaves.leaves.iter().filter_map(|leaf| reference(sheet, leaves, leaf, leaf.person?)).collect()
}

fn reference(sheet: &mut Sheet<'_>, leaves: &Leaves<'_>, leaf: &Leaf<'_>, node: &Node) -> Option<Reference> {
    let field = &leaf.field;
    let with = match &node.value {
        Value::Bool(false) => return None,
        Value::Bool(true) => FieldSet::EMPTY,
        Value::List(_) => named(sheet, leaves, node),
        _ => {
            sheet.wrong_type(node, "`x-gateway-person`", "`true`, or a list of fields");
            return None;
        }
    };
    if field.whole || !matches!(field.kind, Kind::String | Kind::Integer) {
        let message = format!("`{}` cannot hold a person's number: it is neither a string nor an integer", field.name);
        sheet.push(sheet.error("person-unfit", &node.span, message).help("mark the leaf that holds the number"));
        return None;
    }
    let around = field.path.split_last().map(|(_, around)| around).unwrap_or_default();
    let beside = |other: &&Leaf<'_>| {
        other.field.index != field.index && other.field.path.starts_with(around) && !around.is_empty() && !field.array
    };
    let within = leaves.leaves.iter().filter(beside).map(|other| other.field.index).collect();
    Some(Reference { leaf: field.index, with, within })
}

fn named(sheet: &mut Sheet<'_>, leaves: &Leaves<'_>, node: &Node) -> FieldSet {
    let known = || leaves.leaves.iter().map(|leaf| leaf.field.name.as_str());
    let mut with = FieldSet::EMPTY;
    for (typed, node) in sheet.texts(node, "`x-gateway-person`") {
        let found: Option<FieldIx> =
            leaves.leaves.iter().find(|leaf| leaf.field.name.as_str() == typed).map(|leaf| leaf.field.index);
        match found {
            Some(field) => with.insert(field),
            None if leaves.whole => {
                let problem = sheet.error("unknown-field", &node.span, format!("there is no field `{typed}`"));
                sheet.push(problem.suggest(typed, known()));
            }
            None => {}
        }
    }
    with
}
