//! `purposes.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::bundle::Source;
use crate::directory::{Purpose, Requirement};
use crate::document::{self, Entry, Node, Sheet, Value};
use crate::model::PurposeId;
use crate::problem::Problem;

use super::{PURPOSES, is_id, names};

/// Reads the purposes. Whether one has expired is asked at each request: a bundle has no clock.
pub(super) fn load(source: &Source, problems: &mut Vec<Problem>) -> BTreeMap<PurposeId, Arc<Purpose>> {
    let Some(text) = source.files.get(PURPOSES) else {
        let problem = Problem::error("no-purposes", PURPOSES, "the bundle has no `purposes.toml`");
        problems.push(problem.help("add it with a table for each purpose: `[assessment]`"));
        return BTreeMap::new();
    };
    let sheet = &mut Sheet { file: PURPOSES, text, problems };
    let Some(table) = document::parse_toml(sheet) else { return BTreeMap::new() };
    if table.entries.is_empty() {
        sheet.push(
            Problem::error("no-purposes", PURPOSES, "`purposes.toml` has no purpose").help("such as `[assessment]`"),
        );
    }
    let purposes = table.entries.iter().filter_map(|entry| read(sheet, entry));
    purposes.map(|purpose| (purpose.id.clone(), Arc::new(purpose))).collect()
}

/// Warns of each purpose that no agency may use, but for those that are lent: `lent`.
pub(super) fn warn_unused(sheet: &mut Sheet<'_>, enrolled: &BTreeSet<String>, lent: &BTreeSet<String>) {
    let mut ignored = Vec::new();
    let table = document::parse_toml(&mut Sheet { file: sheet.file, text: sheet.text, problems: &mut ignored });
    for entry in table.iter().flat_map(|table| &table.entries) {
        if !enrolled.contains(&entry.key) && !lent.contains(&entry.key) {
            let problem =
                sheet.warning("unused-purpose", &entry.at, format!("no agency has the purpose `{}`", entry.key));
            sheet.push(problem.help("add it to the `purposes` of an agency, or remove it"));
        }
    }
}

fn read(sheet: &mut Sheet<'_>, entry: &Entry) -> Option<Purpose> {
    let id = entry.key.as_str();
    if !is_id(id) {
        let problem = sheet.error("bad-name", &entry.at, format!("`{id}` cannot be the id of a purpose"));
        sheet.push(problem.help("lower-case letters, digits and `-`"));
    }
    let place = format!("the purpose `{id}`");
    let table = sheet.table(&entry.node, &place)?;
    sheet.check_keys(table, &place, &["name", "basis", "requires", "valid_from", "valid_until", "break_glass"]);
    let name = names(sheet, table, &entry.at, &place);
    let basis = sheet.required(table, &entry.at, &place, "basis").and_then(|node| {
        let basis = sheet.text(node, "`basis`")?;
        if basis.trim().is_empty() {
            let problem = sheet.error("empty-basis", &node.span, format!("{place} has an empty basis"));
            sheet.push(problem.help("name the law and the article: citizens see it"));
        }
        Some(basis.to_owned())
    });
    let valid_from = table.node("valid_from").and_then(|node| date(sheet, node, "`valid_from`"));
    let valid_until = table.node("valid_until").and_then(|node| date(sheet, node, "`valid_until`"));
    if let (Some(from), Some(until)) = (valid_from, valid_until)
        && until < from
    {
        let at = table.node("valid_until").map_or(&entry.at, |node| &node.span);
        let message = format!("{place} ends on {until}, before it begins on {from}");
        sheet.push(
            sheet.error("bad-validity", at, message).help("`valid_until` is the last day, `valid_from` the first"),
        );
    }
    let mut requires = table.node("requires").map(|node| requires(sheet, node)).unwrap_or_default();
    let break_glass = table.node("break_glass").and_then(|node| switch(sheet, node, "`break_glass`")).unwrap_or(false);
    if break_glass {
        // Who asked, and about which emergency, is what a review goes by.
        let missing = [Requirement::Case, Requirement::User].into_iter().filter(|it| !requires.contains(it));
        requires.extend(missing.collect::<Vec<_>>());
    }
    let (id, basis) = (PurposeId::new(id), basis.unwrap_or_default());
    Some(Purpose { id, name, basis, requires, valid_from, valid_until, break_glass })
}

fn switch(sheet: &mut Sheet<'_>, node: &Node, what: &str) -> Option<bool> {
    match node.value {
        Value::Bool(on) => Some(on),
        _ => {
            sheet.wrong_type(node, what, "`true` or `false` without quotes");
            None
        }
    }
}

fn requires(sheet: &mut Sheet<'_>, node: &Node) -> Vec<Requirement> {
    let known = [("case", Requirement::Case), ("user", Requirement::User), ("assurance", Requirement::Assurance)];
    let mut requires = Vec::new();
    for item in sheet.list(node, "`requires`").unwrap_or_default() {
        if let Some(requirement) = sheet.choice(item, "`requires`", "unknown-requirement", &known)
            && !requires.contains(&requirement)
        {
            requires.push(requirement);
        }
    }
    requires
}

fn date(sheet: &mut Sheet<'_>, node: &Node, what: &str) -> Option<jiff::civil::Date> {
    match node.value {
        Value::Date(date) => Some(date),
        _ => {
            sheet.wrong_type(node, what, "a date without quotes, such as 2027-12-31");
            None
        }
    }
}
