//! What a record says of itself: whose it is, and what policies may ask about it.

use crate::contract::{Attribute, Derive, Kind};
use crate::document::{Entry, Node, Sheet};
use crate::model::FieldIx;

use super::record::Leaves;
use super::schema::Resolved;

/// The leaf of `x-gateway-subject`.
pub(super) fn subject(
    sheet: &mut Sheet<'_>,
    entry: &Entry,
    schema: &Resolved<'_>,
    leaves: &Leaves<'_>,
) -> Option<FieldIx> {
    let Some(node) = schema.node("x-gateway-subject") else {
        let message = format!("the record `{}` does not say whose it is", entry.key);
        let problem = sheet.error("missing-subject", &entry.at, message);
        sheet.push(problem.help("add `x-gateway-subject`, the property that holds the person's number"));
        return None;
    };
    let found = leaves.at(sheet, node, "`x-gateway-subject`");
    if let Some(leaf) = found.filter(|leaf| leaf.field.kind != Kind::String || leaf.repeated || leaf.field.whole) {
        let message = format!("`{}` cannot be the subject: it is not a single string", leaf.field.name);
        sheet.push(sheet.error("subject-unfit", &node.span, message));
        return None;
    }
    found.map(|leaf| leaf.field.index)
}

/// `x-gateway-attributes`.
pub(super) fn attributes(sheet: &mut Sheet<'_>, schema: &Resolved<'_>, leaves: &Leaves<'_>) -> Vec<Attribute> {
    let Some(table) = schema.node("x-gateway-attributes") else { return Vec::new() };
    let Some(table) = sheet.table(table, "`x-gateway-attributes`") else { return Vec::new() };
    table.entries.iter().filter_map(|entry| attribute(sheet, entry, leaves)).collect()
}

fn attribute(sheet: &mut Sheet<'_>, entry: &Entry, leaves: &Leaves<'_>) -> Option<Attribute> {
    let name = entry.key.as_str();
    if !is_attribute_name(name) {
        let message = format!("`{name}` cannot be the name of an attribute");
        let problem = sheet.error("bad-name", &entry.at, message);
        sheet.push(
            problem
                .help("a lower-case letter, then lower-case letters, digits and `_`; no word of the policy language"),
        );
    }
    let place = format!("the attribute `{name}`");
    let table = sheet.table(&entry.node, &place)?;
    sheet.check_keys(table, &place, &["from", "derive"]);
    let derive = match table.node("derive") {
        Some(node) => derive(sheet, node)?,
        None => Derive::Value,
    };
    let from = sheet.required(table, &entry.at, &place, "from")?;
    let leaf = leaves.at(sheet, from, "`from`")?;
    let needs = match derive {
        _ if leaf.field.whole => Some("a value that the record holds, not a whole field"),
        Derive::Value if leaf.field.kind != Kind::String => Some("a string"),
        Derive::Under(_) if leaf.field.kind != Kind::Date => Some("a string of `format: date`"),
        Derive::Value | Derive::Under(_) if leaf.repeated => Some("a single value, not an array"),
        Derive::Present if leaf.repeated && !leaf.field.array => Some("a single value, not an array"),
        _ => None,
    };
    if let Some(needs) = needs {
        let message = format!("{place} cannot be taken from `{}`: it needs {needs}", leaf.field.name);
        let help = "`derive` is `under-<years>` for dates, `present` for anything, and nothing for strings";
        sheet.push(sheet.error("attribute-unfit", &from.span, message).help(help));
    }
    Some(Attribute { name: name.to_owned(), from: leaf.field.index, derive })
}

fn derive(sheet: &mut Sheet<'_>, node: &Node) -> Option<Derive> {
    let typed = sheet.text(node, "`derive`")?;
    let years = typed
        .strip_prefix("under-")
        .and_then(|years| years.parse::<u8>().ok())
        .filter(|years| (1..=150).contains(years));
    match (typed, years) {
        ("value", _) => Some(Derive::Value),
        ("present", _) => Some(Derive::Present),
        (_, Some(years)) => Some(Derive::Under(years)),
        _ => {
            let problem = sheet.error("bad-derive", &node.span, format!("`derive` cannot be `{typed}`"));
            let problem = problem.suggest(typed, ["value", "present", "under-18"]);
            sheet.push(problem);
            None
        }
    }
}

fn is_attribute_name(name: &str) -> bool {
    const RESERVED: [&str; 9] = ["true", "false", "if", "then", "else", "in", "is", "like", "has"];
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_')
        && !RESERVED.contains(&name)
}
