//! A YAML or TOML document as a tree in which every key and every value knows where it stands, so that each mistake can be shown in
//! its place. Reading a tree by hand instead of deriving a type is what lets a loader report all mistakes of a file at once.

use std::ops::Range;

use crate::problem::Problem;

mod toml;
mod yaml;

pub(crate) use self::toml::parse as parse_toml;
pub(crate) use self::yaml::{json as yaml_to_json, parse as parse_yaml};

/// Byte offsets into the document's text.
pub(crate) type Span = Range<usize>;

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) span: Span,
}

/// What YAML and TOML have in common.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Text(String),
    /// A TOML local date.
    Date(jiff::civil::Date),
    List(Vec<Node>),
    Table(Table),
    /// Something that no file of a bundle needs (fractions, times), by its name.
    Other(&'static str),
}

/// A mapping in the order of the document, no key twice.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) struct Table {
    pub(crate) entries: Vec<Entry>,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Span,
    pub(crate) node: Node,
}

impl Table {
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    pub(crate) fn node(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.key.as_str())
    }
}

impl Node {
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Integer(_) => "a number",
            Value::Text(_) => "a string",
            Value::Date(_) => "a date",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Other(name) => name,
        }
    }
}

/// One file of a bundle while it is read, and where its mistakes go.
pub(crate) struct Sheet<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
    pub(crate) problems: &'a mut Vec<Problem>,
}

impl Sheet<'_> {
    pub(crate) fn error(&self, code: &'static str, span: &Span, message: impl Into<String>) -> Problem {
        Problem::error(code, self.file, message).at(self.text, span.clone())
    }

    pub(crate) fn warning(&self, code: &'static str, span: &Span, message: impl Into<String>) -> Problem {
        Problem::warning(code, self.file, message).at(self.text, span.clone())
    }

    pub(crate) fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// The place of a part of a node's text, so that a mistake within a longer string is shown alone.
    pub(crate) fn part(&self, node: &Node, part: &str) -> Span {
        let typed = self.text.get(node.span.clone()).unwrap_or_default();
        match typed.find(part).filter(|_| !part.is_empty()) {
            Some(at) => node.span.start + at..node.span.start + at + part.len(),
            None => node.span.clone(),
        }
    }

    /// Reports every key that is not known. Keys that begin with `x-` are the business of [`crate::contract`].
    pub(crate) fn check_keys(&mut self, table: &Table, place: &str, known: &[&str]) {
        for entry in &table.entries {
            if !known.contains(&entry.key.as_str()) && !entry.key.starts_with("x-") {
                let message = format!("unknown key `{}` in {place}", entry.key);
                self.push(self.error("unknown-key", &entry.at, message).suggest(&entry.key, known.iter().copied()));
            }
        }
    }

    /// The value of a key that must be there; `at` is where the table stands.
    pub(crate) fn required<'n>(&mut self, table: &'n Table, at: &Span, place: &str, key: &str) -> Option<&'n Node> {
        let node = table.node(key);
        if node.is_none() {
            self.push(self.error("missing-key", at, format!("{place} has no `{key}`")).help(format!("add `{key}`")));
        }
        node
    }

    pub(crate) fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        let text = node.as_text();
        if text.is_none() {
            self.wrong_type(node, what, "a string");
        }
        text
    }

    pub(crate) fn table<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n Table> {
        let table = node.as_table();
        if table.is_none() {
            self.wrong_type(node, what, "a table");
        }
        table
    }

    pub(crate) fn list<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(list) => Some(list),
            _ => {
                self.wrong_type(node, what, "a list");
                None
            }
        }
    }

    /// A list of strings, each with its node.
    pub(crate) fn texts<'n>(&mut self, node: &'n Node, what: &str) -> Vec<(&'n str, &'n Node)> {
        let list = self.list(node, what).unwrap_or_default();
        list.iter().filter_map(|item| Some((self.text(item, &format!("each of {what}"))?, item))).collect()
    }

    /// One of a few words; an unknown one is reported under `code` with a suggestion.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        node: &Node,
        what: &str,
        code: &'static str,
        known: &[(&str, T)],
    ) -> Option<T> {
        let typed = self.text(node, what)?;
        let found = known.iter().find(|(word, _)| *word == typed).map(|(_, value)| *value);
        if found.is_none() {
            let problem = self.error(code, &node.span, format!("{what} cannot be `{typed}`"));
            self.push(problem.suggest(typed, known.iter().map(|(word, _)| *word)));
        }
        found
    }

    pub(crate) fn wrong_type(&mut self, node: &Node, what: &str, wanted: &str) {
        let message = format!("{what} must be {wanted}, not {}", node.kind());
        self.push(self.error("wrong-type", &node.span, message));
    }
}
