//! Reading `cases/*.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::bundle::Source;
use crate::cases::{Against, Case, Cases, Circumstances, Expected, Stated, expect};
use crate::contract::{Derive, Operation, Role};
use crate::directory::{Purpose, System};
use crate::document::{self, Entry, Node, Sheet, Span, Table, Value};
use crate::problem::{Problem, Severity};

pub(super) fn load(source: &Source, against: &Against<'_>) -> Result<Cases, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut cases = Vec::new();
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for (file, text) in &source.files {
        if !(file.starts_with("cases/") && file.ends_with(".toml")) {
            let problem = Problem::error("unknown-file", file, format!("`{file}` holds no cases"));
            problems.push(problem.help("cases are named `cases/<sector or theme>.toml`"));
            continue;
        }
        let sheet = &mut Sheet { file, text, problems: &mut problems };
        let Some(table) = document::parse_toml(sheet) else { continue };
        let file: Arc<str> = Arc::from(file.as_str());
        for entry in &table.entries {
            let line = text.get(..entry.at.start).unwrap_or_default().matches('\n').count() + 1;
            match names.get(&entry.key) {
                Some(first) => {
                    let problem =
                        sheet.error("duplicate-case", &entry.at, format!("case `{}` is there twice", entry.key));
                    sheet.push(problem.help(format!("the first is at {first}")));
                }
                None => drop(names.insert(entry.key.clone(), format!("{file}:{line}"))),
            }
            cases.extend(Reader { sheet, against }.case(entry, &file, line));
        }
    }
    if problems.iter().any(|problem| problem.severity == Severity::Error) { Err(problems) } else { Ok(Cases(cases)) }
}

struct Reader<'r, 's> {
    sheet: &'r mut Sheet<'s>,
    against: &'r Against<'r>,
}

impl Reader<'_, '_> {
    fn case(&mut self, entry: &Entry, file: &Arc<str>, line: usize) -> Option<Case> {
        let place = format!("the case `{}`", entry.key);
        let table = self.sheet.table(&entry.node, &place)?;
        let known: Vec<&str> = KEYS.into_iter().chain(expect::KEYS).collect();
        self.sheet.check_keys(table, &place, &known);
        if let Some(node) = table.node("about") {
            self.sheet.text(node, "`about`");
        }
        // Each is read whatever is wrong with the others, so that all mistakes are told at once.
        let systems = self.systems(table, &entry.at, &place);
        let operation = self.operation(table, &entry.at, &place);
        let purpose = self.sheet.required(table, &entry.at, &place, "purpose").and_then(|node| {
            let typed = self.sheet.text(node, "`purpose`")?;
            let found = self.against.directory.purpose(typed);
            if found.is_none() {
                let known = self.against.directory.purposes().map(|purpose| purpose.id.as_str());
                let problem = self.sheet.error("unknown-purpose", &node.span, format!("there is no purpose `{typed}`"));
                self.sheet.push(problem.suggest(typed, known));
            }
            found.cloned()
        });
        let circumstances = self.circumstances(table);
        let whatever = table.node("whatever_is_permitted").and_then(|node| self.truth(node, "`whatever_is_permitted`"));
        let operation = operation?;
        let asks = self.asks(table, &operation);
        let record = self.record(table, &operation);
        let expected = Expected::read(self.sheet, table, &entry.at, &place, &operation);
        Some(Case {
            name: entry.key.clone(),
            file: Arc::clone(file),
            line,
            systems: enrolled(systems?, purpose.as_ref()?),
            purpose: purpose?,
            circumstances,
            asks,
            record,
            whatever_is_permitted: whatever.unwrap_or(false),
            expected: expected?,
            operation,
        })
    }

    /// `system`, or every system of an `agency` or a `sector`: one of the three.
    fn systems(&mut self, table: &Table, at: &Span, place: &str) -> Option<Vec<Arc<System>>> {
        let mut given = WHO.into_iter().filter_map(|(key, of)| Some((key, of, table.entry(key)?)));
        let (Some((key, of, entry)), None) = (given.next(), given.next()) else {
            let problem = self.sheet.error("missing-key", at, format!("{place} must say in one way who asks"));
            self.sheet.push(
                problem.help("write one of `system = \"agency/system\"`, `agency = \"...\"`, `sector = \"...\"`"),
            );
            return None;
        };
        let typed = self.sheet.text(&entry.node, &format!("`{key}`"))?;
        let all = self.against.directory.systems();
        let found: Vec<_> = all.iter().filter(|system| of(system) == typed).cloned().collect();
        if found.is_empty() {
            let (code, message) = match key {
                "system" => ("unknown-system", format!("there is no system `{typed}`")),
                "agency" => ("unknown-agency", format!("there is no agency `{typed}` that has systems")),
                _ => ("unknown-sector", format!("there is no sector `{typed}` that has systems")),
            };
            let problem = self.sheet.error(code, &entry.node.span, message);
            self.sheet.push(problem.suggest(typed, all.iter().map(|system| of(system))));
            return None;
        }
        Some(found)
    }

    fn operation(&mut self, table: &Table, at: &Span, place: &str) -> Option<Arc<Operation>> {
        let node = self.sheet.required(table, at, place, "operation")?;
        let typed = self.sheet.text(node, "`operation`")?;
        let found = self.against.contracts.operation(typed);
        if found.is_none() {
            let known = self.against.contracts.operations().iter().map(|operation| operation.id.as_str());
            let problem = self.sheet.error("unknown-operation", &node.span, format!("there is no operation `{typed}`"));
            self.sheet.push(problem.suggest(typed, known));
        }
        found.cloned()
    }

    fn circumstances(&mut self, table: &Table) -> Circumstances {
        let at = table.node("at").and_then(|node| {
            let typed = self.sheet.text(node, "`at`")?;
            self.parsed(node, typed, "bad-time", "a local time such as `2026-11-23T10:00`")
        });
        let from = table.node("from").and_then(|node| {
            let typed = self.sheet.text(node, "`from`")?;
            self.parsed(node, typed, "bad-address", "an address such as `10.20.0.5`")
        });
        let assurance = table.node("assurance").and_then(|node| self.sheet.text(node, "`assurance`"));
        Circumstances {
            at: at.unwrap_or(USUAL_TIME),
            from,
            assurance: assurance.map(str::to_owned),
            user: table.node("user").and_then(|node| self.truth(node, "`user`")),
            case: table.node("case").and_then(|node| self.truth(node, "`case`")),
        }
    }

    fn parsed<T: std::str::FromStr>(&mut self, node: &Node, typed: &str, code: &'static str, what: &str) -> Option<T> {
        let parsed = typed.parse().ok();
        if parsed.is_none() {
            let problem = self.sheet.error(code, &node.span, format!("`{typed}` is not what is wanted here"));
            self.sheet.push(problem.help(format!("write {what}")));
        }
        parsed
    }

    fn truth(&mut self, node: &Node, what: &str) -> Option<bool> {
        match node.value {
            Value::Bool(truth) => Some(truth),
            _ => {
                self.sheet.wrong_type(node, what, "`true` or `false` without quotes");
                None
            }
        }
    }

    /// The parameters that the request has: those that it must have, and those that the case names.
    fn asks(&mut self, table: &Table, operation: &Operation) -> Vec<bool> {
        let parameters = &operation.parameters;
        let mut asks: Vec<bool> = parameters.iter().map(|known| known.required).collect();
        for (typed, node) in table.node("asks").map(|node| self.sheet.texts(node, "`asks`")).unwrap_or_default() {
            let may = |known: &&crate::contract::Parameter| known.role != Role::Cursor;
            match parameters.iter().position(|known| known.name == typed && may(&known)) {
                Some(at) => asks.iter_mut().skip(at).take(1).for_each(|asks| *asks = true),
                None => {
                    let message = format!("`{}` has no parameter `{typed}` that a case could use", operation.id);
                    let problem = self.sheet.error("unknown-parameter", &node.span, message);
                    self.sheet
                        .push(problem.suggest(typed, parameters.iter().filter(may).map(|known| known.name.as_str())));
                }
            }
        }
        asks
    }

    /// `record` and `missing`.
    fn record(&mut self, table: &Table, operation: &Operation) -> Vec<Stated> {
        let attributes = &operation.record.attributes;
        let mut record = vec![Stated::Open; attributes.len()];
        let mut seen = BTreeSet::new();
        let mut set = |sheet: &mut Sheet<'_>, name: &str, at: &Span, value: Option<&Node>| {
            let Some(position) = attributes.iter().position(|attribute| attribute.name == name) else {
                let message = format!("the record of `{}` has no attribute `{name}`", operation.id);
                let problem = sheet.error("unknown-attribute", at, message);
                sheet.push(problem.suggest(name, attributes.iter().map(|attribute| attribute.name.as_str())));
                return;
            };
            if !seen.insert(position) {
                let problem = sheet.error("contradiction", at, format!("`{name}` is both given and missing"));
                sheet.push(problem.help("keep it in `record` or in `missing`"));
            }
            let is_text = attributes.get(position).is_some_and(|attribute| attribute.derive == Derive::Value);
            let stated = match value.map(|node| (node, &node.value)) {
                None => Stated::Missing,
                Some((_, Value::Text(text))) if is_text => Stated::Text(text.clone()),
                Some((_, Value::Bool(truth))) if !is_text => Stated::Truth(*truth),
                Some((node, _)) => {
                    let wanted = if is_text { "a string" } else { "`true` or `false` without quotes" };
                    return sheet.wrong_type(node, &format!("`{name}`"), wanted);
                }
            };
            record.iter_mut().skip(position).take(1).for_each(|slot| *slot = stated.clone());
        };
        let given = table.node("record").and_then(|node| self.sheet.table(node, "`record`"));
        for entry in given.iter().flat_map(|given| &given.entries) {
            set(self.sheet, &entry.key, &entry.at, Some(&entry.node));
        }
        for (name, node) in table.node("missing").map(|node| self.sheet.texts(node, "`missing`")).unwrap_or_default() {
            set(self.sheet, name, &node.span, None);
        }
        record
    }
}

/// Of several systems, those that are enrolled for the purpose; all, if none is.
fn enrolled(systems: Vec<Arc<System>>, purpose: &Purpose) -> Vec<Arc<System>> {
    let (enrolled, others): (Vec<_>, Vec<_>) =
        systems.into_iter().partition(|system| purpose.break_glass || system.purposes.contains(&purpose.id));
    if enrolled.is_empty() { others } else { enrolled }
}

/// Of a system, what the key names it by.
type Named = fn(&System) -> &str;

const WHO: [(&str, Named); 3] = [
    ("system", |system| system.id.as_str()),
    ("agency", |system| system.agency.id.as_str()),
    ("sector", |system| system.agency.sector.as_str()),
];

const KEYS: [&str; 15] = [
    "about",
    "system",
    "agency",
    "sector",
    "operation",
    "purpose",
    "at",
    "from",
    "assurance",
    "user",
    "case",
    "asks",
    "record",
    "missing",
    "whatever_is_permitted",
];

/// A Monday in the forenoon.
const USUAL_TIME: jiff::civil::DateTime = jiff::civil::datetime(2026, 11, 23, 10, 0, 0, 0);
