//! What a contract says about one field: group, class, masks, comparison.

use crate::contract::{Class, Compare, Kind};
use crate::document::Sheet;
use crate::model::{GroupId, MaskKind};

use super::schema::Resolved;

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
