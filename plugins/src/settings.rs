//! Reading a plugin's table so that every mistake is found in one pass, each with its place.

use std::cell::RefCell;
use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use popgate_policy::bundle::Bundle;
use popgate_policy::model::RegisterId;
use popgate_policy::narrow::Scope;
use popgate_policy::problem::Problem;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The configuration that tables stand in; collects what is wrong with them.
#[derive(Debug)]
pub struct Document<'r> {
    /// Its name in messages.
    pub file: &'r str,
    /// Its text.
    pub text: &'r str,
    /// What relative paths are relative to.
    pub folder: &'r Path,
    /// The registers that are configured.
    pub registers: &'r [&'r str],
    problems: RefCell<Vec<Problem>>,
}

impl<'r> Document<'r> {
    /// Nothing is wrong with it yet.
    pub fn new(file: &'r str, text: &'r str, folder: &'r Path, registers: &'r [&'r str]) -> Self {
        Self { file, text, folder, registers, problems: RefCell::default() }
    }

    /// What was found.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }

    fn push(&self, problem: Problem, span: Range<usize>) {
        self.problems.borrow_mut().push(problem.at(self.text, span));
    }
}

/// One table. Each key that is asked for becomes a known one; [`Settings::finish`] refuses the others.
#[derive(Debug)]
pub struct Settings<'r> {
    document: &'r Document<'r>,
    /// As written between brackets.
    path: String,
    table: &'r DeTable<'r>,
    span: Range<usize>,
    known: RefCell<Vec<&'static str>>,
    mentions: RefCell<Vec<Mention>>,
}

/// A value as typed, with its place.
pub type Value<'r> = &'r Spanned<DeValue<'r>>;

/// A name of the bundle that a table mentions. A bundle that does not have it is no error: bundles change while the node runs.
#[derive(Clone, Debug)]
pub struct Mention {
    named: Named,
    id: String,
    warning: Problem,
}

/// What a name is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// An agency.
    Agency,
    /// A system, `agency/system`.
    System,
    /// A sector of agencies.
    Sector,
    /// An operation.
    Operation,
    /// A purpose.
    Purpose,
    /// A field, an object of fields, a group, or `*`.
    Scope,
}

impl Mention {
    /// A warning, if the bundle does not have it.
    pub fn unknown_in(&self, bundle: &Bundle) -> Option<Problem> {
        let (directory, contracts) = (bundle.directory(), bundle.contracts());
        let fields = || contracts.records().iter().flat_map(|record| &record.fields);
        let known: Vec<&str> = match self.named {
            Named::Agency => directory.agencies().map(|agency| agency.id.as_str()).collect(),
            Named::System => directory.systems().iter().map(|system| system.id.as_str()).collect(),
            Named::Sector => directory.agencies().map(|agency| agency.sector.as_str()).collect(),
            Named::Operation => contracts.operations().iter().map(|operation| operation.id.as_str()).collect(),
            Named::Purpose => directory.purposes().map(|purpose| purpose.id.as_str()).collect(),
            Named::Scope => {
                let scope = Scope::parse(&self.id);
                if fields().any(|field| scope.holds(field)) {
                    return None;
                }
                match scope {
                    Scope::Field(_) => fields().map(|field| field.name.as_str()).collect(),
                    Scope::Group(_) | Scope::Everything => fields().map(|field| field.group.as_str()).collect(),
                }
            }
        };
        if known.contains(&self.id.as_str()) {
            return None;
        }
        Some(self.warning.clone().suggest(&self.id, known))
    }
}

impl<'r> Settings<'r> {
    /// The table whose name stands at `span`, written `[path]`.
    pub fn new(document: &'r Document<'r>, path: String, table: &'r DeTable<'r>, span: Range<usize>) -> Self {
        Self { document, path, table, span, known: RefCell::default(), mentions: RefCell::default() }
    }

    /// Notes a mistake.
    pub fn wrong(&self, code: &'static str, span: Range<usize>, message: impl Into<String>) {
        self.document.push(Problem::error(code, self.document.file, message), span);
    }

    /// As [`Settings::wrong`], with what to do about it.
    pub fn mend(&self, code: &'static str, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.document.push(Problem::error(code, self.document.file, message).help(help), span);
    }

    /// As [`Settings::wrong`], with the known name that is closest to what was typed.
    pub fn suggest(&self, code: &'static str, span: Range<usize>, message: String, typed: &str, known: &[&str]) {
        let problem = Problem::error(code, self.document.file, message);
        self.document.push(problem.suggest(typed, known.iter().copied()), span);
    }

    /// Notes that a name of the bundle is mentioned.
    pub fn mention(&self, named: Named, id: &str, span: Range<usize>) {
        let what = match named {
            Named::Agency => "agency",
            Named::System => "system",
            Named::Sector => "sector",
            Named::Operation => "operation",
            Named::Purpose => "purpose",
            Named::Scope if id.contains('.') => "field",
            Named::Scope => "group",
        };
        let message = format!("the bundle has no {what} `{id}`: what `[{}]` says of it does nothing", self.path);
        let warning = Problem::warning("plugin-names-nothing", self.document.file, message);
        let warning = warning.at(self.document.text, span);
        self.mentions.borrow_mut().push(Mention { named, id: id.to_owned(), warning });
    }

    /// Whether the key was typed.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where the key's value stands, or else the table's name.
    pub fn place(&self, key: &str) -> Range<usize> {
        self.table.get(key).map_or_else(|| self.span.clone(), Spanned::span)
    }

    /// The value of a key, read by `read`, which notes what is wrong with it itself.
    pub fn optional<T>(&self, key: &'static str, read: impl FnOnce(&Self, Value<'r>) -> Option<T>) -> Option<T> {
        self.known.borrow_mut().push(key);
        read(self, self.table.get(key)?)
    }

    /// As [`Settings::optional`], and says so if the key is not there.
    pub fn required<T>(&self, key: &'static str, read: impl FnOnce(&Self, Value<'r>) -> Option<T>) -> Option<T> {
        if !self.has(key) {
            self.wrong("missing-key", self.span.clone(), format!("`{key}` is missing in `[{}]`", self.path));
        }
        self.optional(key, read)
    }

    /// The table below a key.
    pub fn section(&self, key: &'static str) -> Option<Self> {
        self.optional(key, |_, value| match value.get_ref().as_table() {
            Some(table) => Some(Self::new(self.document, format!("{}.{key}", self.path), table, value.span())),
            None => self.wrong_type(value, "a table in braces"),
        })
    }

    /// Names and values of a table whose names are the site's own, in the order of the file.
    pub fn entries(&self, key: &'static str) -> Vec<(&'r str, Range<usize>, Value<'r>)> {
        let table = self.optional(key, |_, value| match value.get_ref().as_table() {
            Some(table) => Some(table),
            None => self.wrong_type(value, "a table in braces"),
        });
        let named = table.into_iter().flatten();
        let mut entries: Vec<_> = named.map(|(name, value)| (name.get_ref().as_ref(), name.span(), value)).collect();
        entries.sort_by_key(|(_, span, _)| span.start);
        entries
    }

    /// Takes over what a table below mentions.
    pub fn adopt(&self, below: Self) {
        let mentions = below.finish();
        self.mentions.borrow_mut().extend(mentions);
    }

    /// Refuses the keys that nobody asked for; what of the bundle was mentioned.
    pub fn finish(self) -> Vec<Mention> {
        let known = self.known.borrow();
        for name in self.table.keys() {
            let typed = name.get_ref().as_ref();
            if !known.contains(&typed) {
                let message = format!("unknown key `{typed}` in `[{}]`", self.path);
                self.suggest("unknown-key", name.span(), message, typed, &known);
            }
        }
        self.mentions.take()
    }

    /// A string that is not empty.
    pub fn text(&self, value: Value<'r>) -> Option<&'r str> {
        match value.get_ref().as_str() {
            Some("") => {
                self.wrong("empty-text", value.span(), "the text must not be empty");
                None
            }
            Some(text) => Some(text),
            None => self.wrong_type(value, "a text in quotes"),
        }
    }

    /// A list that is not empty, each element read by `read`: an empty one would silently be about nothing.
    pub fn list<T>(&self, value: Value<'r>, read: impl Fn(&Self, Value<'r>) -> Option<T>) -> Option<Vec<T>> {
        let Some(items) = value.get_ref().as_array() else { return self.wrong_type(value, "a list in brackets") };
        if items.is_empty() {
            self.mend(
                "empty-list",
                value.span(),
                "the list is empty: it is about nothing",
                "fill it, or remove the key",
            );
            return None;
        }
        let read: Vec<T> = items.iter().filter_map(|item| read(self, item)).collect();
        (read.len() == items.len()).then_some(read)
    }

    /// A list of names of the bundle.
    pub fn names(&self, key: &'static str, named: Named) -> Option<Vec<String>> {
        self.optional(key, |_, value| {
            self.list(value, |_, item| {
                let name = self.text(item)?;
                self.mention(named, name, item.span());
                Some(name.to_owned())
            })
        })
    }

    /// One of some words.
    pub fn choice<T: Copy>(&self, value: Value<'r>, choices: &[(&'static str, T)]) -> Option<T> {
        let typed = self.text(value)?;
        let found = choices.iter().find(|(name, _)| *name == typed);
        if found.is_none() {
            let known: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            self.suggest("unknown-choice", value.span(), format!("unknown choice `{typed}`"), typed, &known);
        }
        found.map(|(_, choice)| *choice)
    }

    /// A path, relative to the configuration's folder.
    pub fn path(&self, value: Value<'r>) -> Option<PathBuf> {
        Some(self.document.folder.join(self.text(value)?))
    }

    /// A register that is configured.
    pub fn register(&self, value: Value<'r>) -> Option<RegisterId> {
        let typed = self.text(value)?;
        if self.document.registers.contains(&typed) {
            return Some(RegisterId::new(typed));
        }
        let message = format!("there is no section `[registers.{typed}]`");
        self.suggest("unknown-register", value.span(), message, typed, self.document.registers);
        None
    }

    /// A network, or one address.
    pub fn network(&self, value: Value<'r>) -> Option<IpNet> {
        let typed = self.text(value)?;
        let parsed = typed.parse::<IpNet>().or_else(|_| typed.parse::<IpAddr>().map(IpNet::from)).ok();
        match parsed {
            Some(network) if network.trunc() != network => {
                let (message, help) = (
                    format!("`{typed}` has bits beyond its prefix"),
                    format!("write `\"{}\"`, or the address alone", network.trunc()),
                );
                self.mend("bad-network", value.span(), message, help);
                None
            }
            Some(network) => Some(network),
            None => {
                let message = format!("`{typed}` is neither a network nor an address");
                self.mend("bad-network", value.span(), message, "such as `\"10.20.0.0/16\"` or `\"10.20.0.5\"`");
                None
            }
        }
    }

    /// A whole number within a range.
    pub fn count(&self, value: Value<'r>, least: u64, most: u64) -> Option<u64> {
        let Some(number) = value.get_ref().as_integer() else {
            return self.wrong_type(value, "a whole number without quotes");
        };
        let parsed = u64::from_str_radix(number.as_str(), number.radix()).ok();
        let fit = parsed.filter(|count| (least..=most).contains(count));
        if fit.is_none() {
            let message = format!("`{number}` is out of range: from {least} to {most}");
            self.wrong("out-of-range", value.span(), message);
        }
        fit
    }

    /// A time above zero and at most that long: `500ms`, `2s`, `10m`, `24h`, `7d`.
    pub fn duration(&self, value: Value<'r>, most: Duration) -> Option<Duration> {
        let typed = self.text(value)?;
        let parsed = duration(typed);
        if parsed.is_none() {
            let help = "a whole number above zero and a unit (ms, s, m, h or d), such as `\"2s\"`";
            self.mend("bad-duration", value.span(), format!("`{typed}` is not a duration"), help);
        } else if parsed > Some(most) {
            let message = format!("`{typed}` is too long: at most {} s", most.as_secs());
            self.wrong("out-of-range", value.span(), message);
            return None;
        }
        parsed
    }

    /// Notes that a value is of another type than wanted.
    pub fn wrong_type<T>(&self, value: Value<'r>, wanted: &str) -> Option<T> {
        let found = value.get_ref().type_str();
        self.wrong("wrong-type", value.span(), format!("expected {wanted}, found a value of type {found}"));
        None
    }
}

fn duration(text: &str) -> Option<Duration> {
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    count.checked_mul(factor).filter(|millis| *millis > 0).map(Duration::from_millis)
}
