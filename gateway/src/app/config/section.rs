//! Walking a TOML document so that every mistake is found in one pass, each with its place.

use std::cell::RefCell;
use std::ops::Range;

use popgate_policy::problem::Problem;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// A document that is being read; collects what is wrong with it.
pub(super) struct Reader<'a> {
    file: String,
    text: &'a str,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: String, text: &'a str) -> Self {
        Self { file, text, problems: RefCell::default() }
    }

    /// Notes a mistake at a place in the text.
    pub(super) fn wrong(&self, code: &'static str, span: Range<usize>, message: impl Into<String>) {
        self.push(Problem::error(code, &self.file, message), span);
    }

    /// As [`Reader::wrong`], with what to do about it.
    pub(super) fn mend(
        &self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Problem::error(code, &self.file, message).help(help), span);
    }

    /// As [`Reader::wrong`], with the known name that is closest to what was typed.
    pub(super) fn suggest(
        &self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
        typed: &str,
        known: &[&str],
    ) {
        self.push(Problem::error(code, &self.file, message).suggest(typed, known.iter().copied()), span);
    }

    /// The document's name and text.
    pub(super) fn document(&self) -> (&str, &'a str) {
        (&self.file, self.text)
    }

    /// Notes what somebody else found.
    pub(super) fn adopt(&self, problems: Vec<Problem>) {
        self.problems.borrow_mut().extend(problems);
    }

    /// What was found, in the order of the file.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.at);
        problems
    }

    fn push(&self, problem: Problem, span: Range<usize>) {
        self.problems.borrow_mut().push(problem.at(self.text, span));
    }
}

/// One table of the document. Each key that is asked for becomes a known one; [`Section::finish`] refuses the others.
pub(super) struct Section<'r> {
    reader: &'r Reader<'r>,
    /// As written between brackets; empty for the top.
    path: String,
    table: Option<&'r DeTable<'r>>,
    span: Range<usize>,
    /// The section is missing and that was said already: its keys need not be missed one by one.
    missed: bool,
    known: RefCell<Vec<&'static str>>,
}

impl<'r> Section<'r> {
    pub(super) fn top(reader: &'r Reader<'r>, table: &'r DeTable<'r>) -> Self {
        Self { reader, path: String::new(), table: Some(table), span: 0..0, missed: false, known: RefCell::default() }
    }

    /// The section `[key]`; an empty one if it is not there.
    pub(super) fn section(&self, key: &'static str) -> Section<'r> {
        let found = self.value(key);
        let table = found.as_ref().and_then(|(_, value)| self.table_of(key, value));
        let missed = self.missed || (found.is_some() && table.is_none());
        let span = found.map_or_else(|| self.span.clone(), |(span, _)| span);
        Section { reader: self.reader, path: self.join(key), table, span, missed, known: RefCell::default() }
    }

    /// As [`Section::section`], and says so if it is not there.
    pub(super) fn required_section(&self, key: &'static str) -> Section<'r> {
        let mut section = self.section(key);
        if section.table.is_none() && !section.missed {
            section.missed = true;
            let path = &section.path;
            self.reader.wrong("missing-section", self.span.clone(), format!("section `[{path}]` is missing"));
        }
        section
    }

    /// The sections `[key.<name>]` by name.
    pub(super) fn named_sections(&self, key: &'static str) -> Vec<(String, Section<'r>)> {
        let Some((_, value)) = self.value(key) else { return Vec::new() };
        let Some(table) = self.table_of(key, value) else { return Vec::new() };
        let path = self.join(key);
        let named = table.iter().filter_map(|(name, value)| {
            let path = format!("{path}.{}", name.get_ref());
            let span = name.span();
            let Some(table) = value.get_ref().as_table() else {
                let message = format!("`{}` must be a section `[{path}]`", name.get_ref());
                self.reader.wrong("wrong-type", value.span(), message);
                return None;
            };
            let reader = self.reader;
            let section = Section { reader, path, table: Some(table), span, missed: false, known: RefCell::default() };
            Some((name.get_ref().to_string(), section))
        });
        named.collect()
    }

    /// Every name of the section `[key]` with its value, in the order of the file; `None` if there is none.
    pub(super) fn values(
        &self,
        key: &'static str,
    ) -> Option<Vec<(&'r Spanned<DeString<'r>>, &'r Spanned<DeValue<'r>>)>> {
        let (_, value) = self.value(key)?;
        let mut values: Vec<_> = self.table_of(key, value)?.iter().collect();
        values.sort_by_key(|(name, _)| name.span().start);
        Some(values)
    }

    /// The tables `[key.<name>]` as they stand, in the order of the file: for who reads them by rules of its own.
    pub(super) fn tables(&self, key: &'static str) -> Vec<(&'r str, Range<usize>, &'r DeTable<'r>)> {
        let sections = self.named_sections(key);
        let table = |name: &str| self.table?.get(key)?.get_ref().as_table()?.get_key_value(name);
        let mut tables: Vec<_> = sections
            .iter()
            .filter_map(|(name, section)| Some((table(name)?.0.get_ref().as_ref(), section.span(), section.table?)))
            .collect();
        tables.sort_by_key(|(_, span, _)| span.start);
        tables
    }

    /// The value of a key, read by `read`, which notes what is wrong with it itself.
    pub(super) fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Reader<'r>, &'r Spanned<DeValue<'r>>) -> Option<T>,
    ) -> Option<T> {
        self.value(key).and_then(|(_, value)| read(self.reader, value))
    }

    /// As [`Section::optional`], and says so if the key is not there.
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Reader<'r>, &'r Spanned<DeValue<'r>>) -> Option<T>,
    ) -> Option<T> {
        if !self.has(key) && !self.missed {
            self.miss(key);
        }
        self.optional(key, read)
    }

    /// Whether the key was typed.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Where the key's value stands, or else the section's name.
    pub(super) fn place(&self, key: &str) -> Range<usize> {
        let value = self.table.and_then(|table| table.get(key));
        value.map_or_else(|| self.span(), Spanned::span)
    }

    /// Where the section's name stands.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Refuses the keys that nobody asked for.
    pub(super) fn finish(self) {
        let known = self.known.into_inner();
        for name in self.table.into_iter().flat_map(DeTable::keys) {
            let typed = name.get_ref().as_ref();
            if !known.contains(&typed) {
                let message = match self.path.as_str() {
                    "" => format!("unknown key or section `{typed}`"),
                    path => format!("unknown key `{typed}` in `[{path}]`"),
                };
                self.reader.suggest("unknown-key", name.span(), message, typed, &known);
            }
        }
    }

    fn miss(&self, key: &'static str) {
        self.known.borrow_mut().push(key);
        let message = match self.path.as_str() {
            "" => format!("`{key}` is missing"),
            path => format!("`{key}` is missing in `[{path}]`"),
        };
        self.reader.wrong("missing-key", self.span(), message);
    }

    fn value(&self, key: &'static str) -> Option<(Range<usize>, &'r Spanned<DeValue<'r>>)> {
        self.known.borrow_mut().push(key);
        self.table?.get_key_value(key).map(|(name, value)| (name.span(), value))
    }

    fn table_of(&self, key: &str, value: &'r Spanned<DeValue<'r>>) -> Option<&'r DeTable<'r>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            let message = format!("`{key}` must be a section `[{}]`", self.join(key));
            self.reader.wrong("wrong-type", value.span(), message);
        }
        table
    }

    fn join(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}
