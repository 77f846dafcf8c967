//! The `x-gateway-*` keys: which there are, and where each may stand.

use crate::document::{Node, Sheet, Table, Value};

pub(super) const DOCUMENT: &[&str] = &["x-gateway-register", "x-gateway-xroad"];
pub(super) const OPERATION: &[&str] = &[
    "x-gateway-upstream",
    "x-gateway-effect",
    "x-gateway-subject",
    "x-gateway-guard",
    "x-gateway-answer",
    "x-gateway-record",
    "x-gateway-cache",
    "x-gateway-pushdown",
    "x-gateway-whole",
    "x-gateway-max-body",
    "x-gateway-priority",
    "x-gateway-deprecated-since",
    "x-gateway-sunset",
    "x-gateway-successor",
];
pub(super) const INFO: &[&str] = &["x-gateway-deprecated-since", "x-gateway-sunset"];
pub(super) const PARAMETER: &[&str] = &["x-gateway-field", "x-gateway-role", "x-gateway-sort"];
pub(super) const RECORD: &[&str] =
    &["x-gateway-subject", "x-gateway-attributes", "x-gateway-group", "x-gateway-class", "x-gateway-strict"];
/// Of the envelope of a list.
pub(super) const ENVELOPE: &[&str] = &["x-gateway-group", "x-gateway-class", "x-gateway-strict"];
/// Of an object within a record or an envelope.
pub(super) const BRANCH: &[&str] = &["x-gateway-group", "x-gateway-class"];
pub(super) const LEAF: &[&str] = &[
    "x-gateway-group",
    "x-gateway-class",
    "x-gateway-masks",
    "x-gateway-implies",
    "x-gateway-compare",
    "x-gateway-whole",
    "x-gateway-person",
];
/// Of a leaf in the envelope of a list.
pub(super) const ENVELOPE_LEAF: &[&str] = &[
    "x-gateway-group",
    "x-gateway-class",
    "x-gateway-masks",
    "x-gateway-implies",
    "x-gateway-compare",
    "x-gateway-whole",
    "x-gateway-person",
    "x-gateway-role",
];

/// Reports each `x-gateway-*` key of the whole document that does not exist, and each other `x-` key that looks like a slip of one:
/// a mistyped restriction that is silently ignored would disclose.
pub(super) fn check_spelling(sheet: &mut Sheet<'_>, node: &Node) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| check_spelling(sheet, item)),
        Value::Table(table) => {
            for entry in &table.entries {
                let key = entry.key.as_str();
                if is_meant_for_us(key) && !all().any(|known| known == key) {
                    let problem = sheet.error("unknown-extension", &entry.at, format!("unknown extension `{key}`"));
                    sheet.push(problem.suggest(key, all()));
                }
                check_spelling(sheet, &entry.node);
            }
        }
        _ => {}
    }
}

/// Reports each existing `x-gateway-*` key that has no meaning in this place.
pub(super) fn check_place(sheet: &mut Sheet<'_>, table: &Table, place: &str, allowed: &[&str]) {
    for entry in &table.entries {
        let key = entry.key.as_str();
        if all().any(|known| known == key) && !allowed.contains(&key) {
            let message = format!("`{key}` has no meaning on {place}");
            let listed: Vec<String> = allowed.iter().map(|key| format!("`{key}`")).collect();
            let help = if listed.is_empty() {
                "remove it".to_owned()
            } else {
                format!("these may stand here: {}", listed.join(", "))
            };
            sheet.push(sheet.error("misplaced-extension", &entry.at, message).help(help));
        }
    }
}

fn all() -> impl Iterator<Item = &'static str> {
    [DOCUMENT, OPERATION, PARAMETER, RECORD, LEAF].into_iter().flatten().copied()
}

fn is_meant_for_us(key: &str) -> bool {
    key.starts_with("x-gateway")
        || (key.starts_with("x-") && all().any(|known| strsim::damerau_levenshtein(key, known) <= 2))
}
