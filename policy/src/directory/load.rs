//! Reading `agencies/*.toml` and `purposes.toml`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::bundle::Source;
use crate::contract::Contracts;
use crate::directory::{Directory, Held};
use crate::document::{Sheet, Span};
use crate::model::{AgencyId, PurposeId};
use crate::problem::{Problem, Severity};

mod agency;
mod exchange;
mod identity;
mod limit;
mod purpose;

#[cfg(test)]
mod tests;

/// Reads the directory; what is wrong goes to `problems`. Agencies and systems that are wrong are left out.
pub(crate) fn load(source: &Source, contracts: &Contracts, problems: &mut Vec<Problem>) -> Directory {
    // Where a contract is wrong, its operations may be missing: that must not make every limit that names one look wrong too.
    let broken = is_broken(problems, "contracts");
    let mut directory = Directory { purposes: purpose::load(source, problems), ..Directory::default() };
    let mut loader = Loader {
        operations: (!broken).then(|| contracts.operations().iter().map(|known| known.id.as_str()).collect()),
        purposes: directory.purposes.keys().map(|id| id.as_str().to_owned()).collect(),
        lent: directory.purposes().filter(|it| it.break_glass).map(|it| it.id.as_str().to_owned()).collect(),
        purposes_known: source.files.contains_key(PURPOSES),
        enrolled: BTreeSet::new(),
        identities: HashMap::new(),
        links: exchange::Links::default(),
    };
    let mut none = true;
    for (file, text) in &source.files {
        let Some(name) = file.strip_prefix("agencies/") else { continue };
        match name.strip_suffix(".toml") {
            Some(stem) => {
                none = false;
                read(&mut Sheet { file, text, problems }, stem, &mut loader, &mut directory);
            }
            None => {
                let problem = Problem::error("unknown-file", file, format!("`{file}` is not an agency"));
                problems.push(problem.help("agencies are named `agencies/<agency>.toml`"));
            }
        }
    }
    if none {
        let problem = Problem::error("no-agency", "agencies", "the bundle has no agency");
        problems.push(problem.help("add `agencies/<agency>.toml`"));
    } else if let Some(text) = source.files.get(PURPOSES).filter(|_| !is_broken(problems, "agencies/")) {
        purpose::warn_unused(&mut Sheet { file: PURPOSES, text, problems }, &loader.enrolled, &loader.lent);
        exchange::warn_unlinked(&loader.links, source, problems);
    }
    directory
}

fn is_broken(problems: &[Problem], place: &str) -> bool {
    problems.iter().any(|problem| problem.file.starts_with(place) && problem.severity == Severity::Error)
}

/// What agencies refer to, and what no two systems may share.
struct Loader<'a> {
    /// The operations that limits may name; `None` if they are not known.
    operations: Option<Vec<&'a str>>,
    purposes: BTreeSet<String>,
    purposes_known: bool,
    /// The purposes that nobody may be enrolled for.
    lent: BTreeSet<String>,
    /// The purposes that some agency may use.
    enrolled: BTreeSet<String>,
    /// The system that each identity stands for, as `agency/system`.
    identities: HashMap<super::Identity, String>,
    links: exchange::Links,
}

impl Loader<'_> {
    /// What limits may name.
    fn names<'n>(&'n self, purposes: &'n [PurposeId]) -> limit::Names<'n> {
        limit::Names { operations: self.operations.as_deref(), purposes }
    }

    fn check_purpose(&mut self, sheet: &mut Sheet<'_>, typed: &str, at: &Span) {
        self.enrolled.insert(typed.to_owned());
        if self.lent.contains(typed) {
            let message = format!("nobody may be enrolled for the break-glass purpose `{typed}`");
            let help = "take it out: it is lent by a signed order (`popgate break-glass draft`); or take `break_glass` \
                        out of `purposes.toml`, and it is an ordinary purpose";
            sheet.push(sheet.error("break-glass-enrolled", at, message).help(help));
        }
        if self.purposes_known && !self.purposes.contains(typed) {
            let problem = sheet.error("unknown-purpose", at, format!("there is no purpose `{typed}`"));
            sheet.push(problem.suggest(typed, self.purposes.iter().map(String::as_str)));
        }
    }
}

fn read(sheet: &mut Sheet<'_>, stem: &str, loader: &mut Loader<'_>, directory: &mut Directory) {
    if !is_id(stem) {
        let problem = Problem::error("bad-name", sheet.file, format!("`{stem}` cannot be the id of an agency"));
        sheet.push(problem.help("the file's name is the id: lower-case letters, digits and `-`"));
    }
    let Some(table) = crate::document::parse_toml(sheet) else { return };
    let id = AgencyId::new(stem);
    let Some((agency, systems)) = agency::read(sheet, &id, &table, loader) else { return };
    let exchanges = exchange::read(sheet, &id, &table, loader);
    let agency = Arc::new(agency);
    for draft in systems {
        let index = directory.systems.len();
        for identity in &draft.identities {
            directory.identities.entry(identity.clone()).or_insert(Held::System(index));
        }
        directory.clients.extend(draft.xroad.clone().map(|client| (client, index)));
        directory.systems.push(Arc::new(draft.into_system(index, Arc::clone(&agency))));
    }
    for draft in exchanges {
        let index = directory.exchanges.len();
        for identity in &draft.identities {
            directory.identities.entry(identity.clone()).or_insert(Held::Exchange(index));
        }
        directory.exchanges.push(Arc::new(draft.into_exchange(Arc::clone(&agency))));
    }
    directory.agencies.insert(id, agency);
}

/// Whether it can be the id of an agency, a system, a purpose or a sector.
fn is_id(typed: &str) -> bool {
    typed.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && typed.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-')
}

/// Names by language tag: `vi` and `en` must be there.
fn names(
    sheet: &mut Sheet<'_>,
    table: &crate::document::Table,
    at: &Span,
    place: &str,
) -> std::collections::BTreeMap<String, String> {
    let mut names = std::collections::BTreeMap::new();
    let Some(node) = sheet.required(table, at, place, "name") else { return names };
    let Some(named) = sheet.table(node, "`name`") else { return names };
    let at = table.entry("name").map_or(at, |entry| &entry.at);
    for language in ["vi", "en"] {
        if named.node(language).is_none() {
            let problem = sheet.error("missing-name", at, format!("{place} has no name in `{language}`"));
            sheet.push(problem.help("write `name = { vi = \"...\", en = \"...\" }`"));
        }
    }
    for entry in &named.entries {
        if !(2..=8).contains(&entry.key.len())
            || !entry.key.chars().all(|char| char.is_ascii_lowercase() || char == '-')
        {
            let message = format!("`{}` is not the tag of a language", entry.key);
            sheet.push(sheet.error("unknown-key", &entry.at, message).suggest(&entry.key, ["vi", "en"]));
        }
        if let Some(text) = sheet.text(&entry.node, &format!("`name.{}`", entry.key)) {
            if text.trim().is_empty() {
                sheet.push(sheet.error("missing-name", &entry.node.span, format!("`name.{}` is empty", entry.key)));
            }
            names.insert(entry.key.clone(), text.to_owned());
        }
    }
    names
}

const PURPOSES: &str = "purposes.toml";
