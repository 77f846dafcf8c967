//! `suspensions.toml`: read strictly, every mistake with its place, and written whole.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

use jiff::Timestamp;
use popgate_policy::problem::Problem;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{
    Book, Kind, Lifted, MOST_BY, MOST_ID, MOST_LIFTED, MOST_REASON, MOST_SUSPENDED, Suspension, Target, is_plain,
};

/// Where each suspension stands in its file: line and column, counted from 1.
pub type Places = BTreeMap<Target, (usize, usize)>;

/// Reads a file's text; `file` names it in messages.
///
/// # Errors
/// Every mistake. A file whose last line does not count its sections is one: what was cut off must not lift what it held.
pub(super) fn parse(text: &str, file: &str) -> Result<(Book, Places), Vec<Problem>> {
    let mut sheet = Sheet { file, text, problems: Vec::new() };
    let (mut book, mut places) = (Book::default(), Places::new());
    let (document, mistakes) = DeTable::parse_recoverable(text);
    for mistake in &mistakes {
        let message = mistake.message().lines().next().unwrap_or_default().trim_end();
        sheet.wrong("syntax", mistake.span().unwrap_or_default(), format!("this is not TOML: {message}"));
    }
    if mistakes.is_empty() {
        for (name, value) in document.get_ref() {
            let typed = name.get_ref().as_ref();
            match (Kind::parse(typed), typed) {
                (Some(kind), _) => sheet.kind(kind, value, &mut book, &mut places),
                (None, "lifted") => sheet.lifted(value, &mut book),
                (None, _) => {
                    let known = Kind::ALL.map(Kind::as_str);
                    let problem = sheet.problem(
                        "unknown-kind",
                        name.span(),
                        format!("nothing of kind `{typed}` can be suspended"),
                    );
                    sheet.problems.push(problem.suggest(typed, known.into_iter().chain(["lifted"])));
                }
            }
        }
    }
    if book.suspended.len() > MOST_SUSPENDED {
        sheet.wrong(
            "too-many",
            0..0,
            format!("more than {MOST_SUSPENDED} suspensions; suspend agencies, not their systems"),
        );
    }
    if sheet.problems.is_empty() {
        sheet.end(book.suspended.len() + book.lifted.len());
    }
    let mut problems = sheet.problems;
    problems.sort_by_key(|problem| problem.at);
    book.lifted.sort_by_key(|lifted| lifted.at);
    if problems.is_empty() { Ok((book, places)) } else { Err(problems) }
}

/// The file's text.
pub(super) fn render(book: &Book) -> String {
    let mut text = HEAD.to_owned();
    // Writing to a string cannot fail.
    for (target, suspension) in &book.suspended {
        let Suspension { reason, by, since, until } = suspension;
        let _ = write!(text, "\n[{}.{}]\nreason = {}\n", target.kind.as_str(), quoted(&target.id), quoted(reason));
        let _ = write!(text, "by = {}\nsince = {since}\n", quoted(by));
        if let Some(until) = until {
            let _ = writeln!(text, "until = {until}");
        }
    }
    for Lifted { target, by, at, reason } in &book.lifted {
        let (kind, id) = (target.kind.as_str(), quoted(&target.id));
        let _ = write!(text, "\n[[lifted]]\nkind = \"{kind}\"\nid = {id}\nby = {}\nat = {at}\n", quoted(by));
        if !reason.is_empty() {
            let _ = writeln!(text, "reason = {}", quoted(reason));
        }
    }
    let _ = write!(text, "\n{END}{}\n", book.suspended.len() + book.lifted.len());
    text
}

/// The file while it is read.
struct Sheet<'a> {
    file: &'a str,
    text: &'a str,
    problems: Vec<Problem>,
}

type Value<'v> = &'v Spanned<DeValue<'v>>;

impl Sheet<'_> {
    /// The last line must say how many sections there are.
    fn end(&mut self, sections: usize) {
        let before = self.text.trim_end().rfind('\n').map_or(0, |at| at + 1);
        let last = self.text.get(before..).unwrap_or_default();
        let counted = last.strip_prefix(END).and_then(|count| count.trim_end().parse::<usize>().ok());
        if counted == Some(sections) {
            return;
        }
        let message = match counted {
            Some(counted) => format!("the last line counts {counted} sections, and there are {sections}"),
            None => "the file is cut off: its last line must count its sections".to_owned(),
        };
        let problem = self.problem("cut-off", before..before, message);
        self.problems.push(problem.help(format!(
            "what was in force stays so: remove the file and lift it with `popgate resume`, or end the file with `{END}{sections}`"
        )));
    }

    fn kind(&mut self, kind: Kind, value: Value<'_>, book: &mut Book, places: &mut Places) {
        let Some(table) = self.table(value, &format!("[{}.<id>]", kind.as_str())) else { return };
        for (id, value) in table {
            let target = Target { kind, id: id.get_ref().to_string() };
            let section = format!("[{}.{}]", kind.as_str(), quoted(&target.id));
            if let Err(reason) = is_plain(&target.id, MOST_ID) {
                self.wrong("bad-id", id.span(), format!("the id in `{section}` {reason}"));
            }
            let Some(table) = self.table(value, &section) else { continue };
            self.known(table, &section, &["reason", "by", "since", "until"]);
            let reason = self.text(table, id.span(), &section, "reason", MOST_REASON);
            let by = self.text(table, id.span(), &section, "by", MOST_BY);
            let since = self.time(table, id.span(), &section, "since");
            let until = if table.contains_key("until") {
                self.time(table, id.span(), &section, "until").map(Some)
            } else {
                Some(None)
            };
            let place = self.problem("", id.span(), "").at;
            if let (Some(reason), Some(by), Some(since), Some(until), Some(place)) = (reason, by, since, until, place) {
                places.insert(target.clone(), place);
                book.suspended.insert(target, Suspension { reason, by, since, until });
            }
        }
    }

    fn lifted(&mut self, value: Value<'_>, book: &mut Book) {
        let Some(list) = value.get_ref().as_array() else {
            return self.wrong("wrong-type", value.span(), "`lifted` must be a list of sections `[[lifted]]`");
        };
        let section = "[[lifted]]";
        for value in list.iter() {
            let Some(table) = self.table(value, section) else { continue };
            self.known(table, section, &["kind", "id", "by", "at", "reason"]);
            let at = value.span();
            let kind = self.text(table, at.clone(), section, "kind", MOST_ID).and_then(|typed| {
                let kind = Kind::parse(&typed);
                if kind.is_none() {
                    let problem = self.problem("unknown-kind", at.clone(), format!("unknown kind `{typed}`"));
                    self.problems.push(problem.suggest(&typed, Kind::ALL.map(Kind::as_str)));
                }
                kind
            });
            let id = self.text(table, at.clone(), section, "id", MOST_ID);
            let by = self.text(table, at.clone(), section, "by", MOST_BY);
            let reason = if table.contains_key("reason") {
                self.text(table, at.clone(), section, "reason", MOST_REASON)
            } else {
                Some(String::new())
            };
            let time = self.time(table, at, section, "at");
            if let (Some(kind), Some(id), Some(by), Some(reason), Some(at)) = (kind, id, by, reason, time) {
                book.lifted.push(Lifted { target: Target { kind, id }, by, at, reason });
            }
        }
        if book.lifted.len() > 10 * MOST_LIFTED {
            self.wrong("too-many", value.span(), "too many sections `[[lifted]]`; remove the oldest");
        }
    }

    fn table<'v>(&mut self, value: Value<'v>, section: &str) -> Option<&'v DeTable<'v>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong("wrong-type", value.span(), format!("this must be a section `{section}`"));
        }
        table
    }

    fn known(&mut self, table: &DeTable<'_>, section: &str, known: &[&str]) {
        for name in table.keys() {
            let typed = name.get_ref().as_ref();
            if !known.contains(&typed) {
                let problem = self.problem("unknown-key", name.span(), format!("unknown key `{typed}` in `{section}`"));
                self.problems.push(problem.suggest(typed, known.iter().copied()));
            }
        }
    }

    /// A text that must be there; `at` is where its section stands.
    fn text(&mut self, table: &DeTable<'_>, at: Range<usize>, section: &str, key: &str, most: usize) -> Option<String> {
        let Some(value) = table.get(key) else { return self.miss(at, section, key) };
        let Some(text) = value.get_ref().as_str() else {
            self.wrong("wrong-type", value.span(), format!("`{key}` in `{section}` must be a text in quotes"));
            return None;
        };
        match is_plain(text, most) {
            Ok(()) => Some(text.to_owned()),
            Err(reason) => {
                self.wrong("bad-text", value.span(), format!("`{key}` in `{section}` {reason}"));
                None
            }
        }
    }

    fn time(&mut self, table: &DeTable<'_>, at: Range<usize>, section: &str, key: &str) -> Option<Timestamp> {
        let Some(value) = table.get(key) else { return self.miss(at, section, key) };
        let time = match value.get_ref() {
            DeValue::Datetime(time) => time.to_string().parse().ok(),
            _ => None,
        };
        if time.is_none() {
            let message = format!("`{key}` in `{section}` must be a time with its offset");
            let problem = self.problem("bad-time", value.span(), message);
            self.problems.push(problem.help("such as 2026-11-21T08:00:00+07:00, without quotes"));
        }
        time
    }

    fn miss<T>(&mut self, at: Range<usize>, section: &str, key: &str) -> Option<T> {
        self.wrong("missing-key", at, format!("`{key}` is missing in `{section}`"));
        None
    }

    fn wrong(&mut self, code: &'static str, span: Range<usize>, message: impl Into<String>) {
        let problem = self.problem(code, span, message);
        self.problems.push(problem);
    }

    fn problem(&self, code: &'static str, span: Range<usize>, message: impl Into<String>) -> Problem {
        Problem::error(code, self.file, message).at(self.text, span)
    }
}

/// A TOML string. The text holds no control characters.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

const HEAD: &str = "\
# What is suspended. Written by `popgate suspend` and `popgate resume`: comments do not last.
# A mistake in this file is refused whole, and what was suspended before it stays suspended.
# The last line counts the sections: without it the file is taken for cut off, and lifts nothing.
";
/// How the last line begins; the number of sections follows.
const END: &str = "# end ";
