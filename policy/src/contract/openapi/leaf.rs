//! What a contract says about one field: group, class, masks, comparison; and about a record or envelope: whether it is strict.

use crate::contract::{Class, Compare, Kind};
use crate::document::{Sheet, Value};
use crate::model::{GroupId, MaskKind};

use super::schema::{Resolved, Type};

pub(super) fn group(sheet: &mut Sheet<'_>, schema: &Resolved<'_>) -> Option<GroupId> {
    let node = schema.node("x-gateway-group")?;
    let typed = sheet.text(node, "`x-gateway-group`")?;
    if !super::is_id(typed) {
        let problem = sheet.error("bad-name", &node.span, format!("`{typed}` cannot be the name of a group"));
        sheet.push(problem.help("lower-case letters, digits, `_` and `-`"));
    }
    Some(GroupId::new(typed))
}

pub(super) fn class(sheet: &mut Sheet<'_>, schema: &Resolved<'_>) -> Option<Class> {
    let node = schema.node("x-gateway-class")?;
    let known = [("basic", Class::Basic), ("sensitive", Class::Sensitive)];
    sheet.choice(node, "`x-gateway-class`", "unknown-class", &known)
}

pub(super) fn compare(sheet: &mut Sheet<'_>, schema: &Resolved<'_>, name: &str, kind: Kind) -> Compare {
    let Some(node) = schema.node("x-gateway-compare") else { return Compare::Exact };
    let known = [("exact", Compare::Exact), ("folded", Compare::Folded)];
    let compare = sheet.choice(node, "`x-gateway-compare`", "unknown-compare", &known).unwrap_or(Compare::Exact);
    if compare == Compare::Folded && kind != Kind::String {
        let message = format!("`{name}` cannot be compared `folded`: only strings have diacritics");
        sheet.push(sheet.error("compare-unfit", &node.span, message));
    }
    compare
}

/// The masks in the contract's order. One that does not fit the field's type is an error: it would withhold at run time what the
/// contract promises.
pub(super) fn masks(sheet: &mut Sheet<'_>, schema: &Resolved<'_>, name: &str, kind: Kind) -> Vec<MaskKind> {
    let mut masks = Vec::new();
    let Some(node) = schema.node("x-gateway-masks") else { return masks };
    for (typed, node) in sheet.texts(node, "`x-gateway-masks`") {
        let Some(mask) = MaskKind::parse(typed) else {
            let problem = sheet.error("unknown-mask", &node.span, format!("there is no mask `{typed}`"));
            sheet.push(problem.suggest(typed, MaskKind::ALL.map(MaskKind::as_str)));
            continue;
        };
        if masks.contains(&mask) {
            sheet.push(sheet.error("duplicate-mask", &node.span, format!("the mask `{typed}` stands twice")));
            continue;
        }
        if !fits(mask, kind) {
            let fitting: Vec<String> = MaskKind::ALL
                .iter()
                .filter(|mask| fits(**mask, kind))
                .map(|mask| format!("`{}`", mask.as_str()))
                .collect();
            let message = format!("the mask `{typed}` does not fit `{name}`, which is {}", described(kind));
            sheet.push(
                sheet.error("mask-unfit", &node.span, message).help(format!("fitting are {}", fitting.join(", "))),
            );
        }
        masks.push(mask);
    }
    masks
}

/// Whether a record, or the envelope of a list, must have what is `required` of it (`x-gateway-strict`).
pub(super) fn is_strict(sheet: &mut Sheet<'_>, schema: &Resolved<'_>) -> bool {
    let Some(node) = schema.node("x-gateway-strict") else { return false };
    if !matches!(node.value, Value::Bool(_)) {
        sheet.wrong_type(node, "`x-gateway-strict`", "`true` or `false`");
    }
    node.value == Value::Bool(true)
}

/// The media type and the most bytes of a leaf with `x-gateway-whole`.
pub(super) fn whole(sheet: &mut Sheet<'_>, schema: &Resolved<'_>, name: &str, kind: Type) -> Option<(Box<str>, usize)> {
    let node = schema.node("x-gateway-whole")?;
    if !matches!(node.value, Value::Bool(_)) {
        sheet.wrong_type(node, "`x-gateway-whole` on a property", "`true`");
    }
    if node.value == Value::Bool(false) {
        return None;
    }
    if kind != Type::Scalar(Kind::String) {
        let message = format!("`{name}` cannot be a whole field: it is not a string");
        sheet.push(sheet.error("whole-unfit", &node.span, message).help("`type: string` stands for its bytes"));
    }
    for key in ["x-gateway-masks", "x-gateway-compare", "contentEncoding"] {
        if let Some(node) = schema.node(key) {
            let message = format!("`{key}` has no meaning on the whole field `{name}`");
            sheet.push(sheet.error("whole-unfit", &node.span, message).help("it is given as it is, or not at all"));
        }
    }
    let most_bytes = match schema.node("maxLength") {
        None => WHOLE_BYTES,
        Some(node) => match node.value {
            Value::Integer(length) if (1..=MOST_WHOLE_BYTES).contains(&length) => length,
            _ => {
                let message = format!("`maxLength` of the whole field `{name}` must be from 1 to {MOST_WHOLE_BYTES}");
                sheet.push(
                    sheet.error("bad-length", &node.span, message).help("it is the most bytes that are passed on"),
                );
                WHOLE_BYTES
            }
        },
    };
    let Some(media_type) = schema.node("contentMediaType") else {
        let problem =
            sheet.error("missing-key", &node.span, format!("the whole field `{name}` has no `contentMediaType`"));
        sheet.push(problem.help("add its media type, such as `contentMediaType: image/jpeg`"));
        return Some((Box::default(), WHOLE_BYTES as usize));
    };
    let media_type = sheet.text(media_type, "`contentMediaType`").unwrap_or_default();
    Some((Box::from(media_type), usize::try_from(most_bytes).unwrap_or_default()))
}

/// Whether a leaf of an envelope holds the next page's cursor; `None` if its role could not be read.
pub(super) fn is_cursor(
    sheet: &mut Sheet<'_>,
    schema: &Resolved<'_>,
    name: &str,
    kind: Kind,
    array: bool,
) -> Option<bool> {
    let Some(node) = schema.node("x-gateway-role") else { return Some(false) };
    sheet.choice(node, "`x-gateway-role` of a leaf", "bad-role", &[("cursor", ())])?;
    if kind != Kind::String || array {
        let message = format!("`{name}` cannot hold a cursor: it is not a single string");
        sheet.push(sheet.error("role-unfit", &node.span, message));
    }
    if let Some(masks) = schema.node("x-gateway-masks") {
        let message = format!("the cursor `{name}` cannot be masked");
        sheet.push(sheet.error("role-unfit", &masks.span, message).help("it is encrypted, and given or withheld"));
    }
    Some(true)
}

fn fits(mask: MaskKind, kind: Kind) -> bool {
    match mask {
        MaskKind::Month | MaskKind::Year | MaskKind::Decade => kind == Kind::Date,
        MaskKind::Last3 | MaskKind::Last4 | MaskKind::Initials => kind == Kind::String,
        MaskKind::Pseudonym | MaskKind::Exists => true,
    }
}

fn described(kind: Kind) -> &'static str {
    match kind {
        Kind::String => "a string without `format: date`",
        Kind::Date => "a date",
        Kind::Integer => "an integer",
        Kind::Number => "a number",
        Kind::Boolean => "a boolean",
    }
}

/// The most bytes of a whole field where the contract does not say.
const WHOLE_BYTES: i64 = 1 << 20;
/// The most that a contract may allow.
const MOST_WHOLE_BYTES: i64 = 8 << 20;
