//! Problems as people read them: grouped by file, the place first.

use std::collections::BTreeMap;
use std::io::{self, Write};

use popgate_policy::problem::Problem;
use serde::Deserialize;

use crate::admin::ProblemStatus;

/// A problem, found here or told by a node.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Told {
    severity: String,
    code: String,
    file: String,
    line: Option<usize>,
    column: Option<usize>,
    text: Option<String>,
    message: String,
    help: Option<String>,
}

impl Told {
    pub(super) fn is_error(&self) -> bool {
        self.severity != "warning"
    }
}

impl From<&Problem> for Told {
    fn from(problem: &Problem) -> Self {
        let ProblemStatus { severity, code, file, line, column, text, message, help } = ProblemStatus::from(problem);
        Self { severity: severity.to_owned(), code: code.to_owned(), file, line, column, text, message, help }
    }
}

/// Writes every problem under its file's name.
pub(super) fn write(problems: &[Problem], colour: bool, out: &mut dyn Write) -> io::Result<()> {
    write_told(&problems.iter().map(Told::from).collect::<Vec<_>>(), colour, out)
}

/// As [`write`].
pub(super) fn write_told(problems: &[Told], colour: bool, out: &mut dyn Write) -> io::Result<()> {
    let mut files: BTreeMap<&str, Vec<&Told>> = BTreeMap::new();
    for problem in problems {
        files.entry(&problem.file).or_default().push(problem);
    }
    for (file, problems) in &mut files {
        writeln!(out, "{}", paint(file, BOLD, colour))?;
        problems.sort_by_key(|problem| (problem.line, problem.column));
        for problem in problems {
            write_one(problem, colour, out)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// `3 errors, 1 warning in 2 files`; `None` if there is nothing.
pub(super) fn summary(problems: &[Problem]) -> Option<String> {
    summary_told(&problems.iter().map(Told::from).collect::<Vec<_>>())
}

/// As [`summary`].
pub(super) fn summary_told(problems: &[Told]) -> Option<String> {
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let warnings = problems.len() - errors;
    let mut files: Vec<&str> = problems.iter().map(|problem| problem.file.as_str()).collect();
    files.sort_unstable();
    files.dedup();
    let found = match (errors, warnings) {
        (0, 0) => return None,
        (_, 0) => plural(errors, "error"),
        (0, _) => plural(warnings, "warning"),
        (_, _) => format!("{}, {}", plural(errors, "error"), plural(warnings, "warning")),
    };
    Some(format!("{found} in {}", plural(files.len(), "file")))
}

/// `1 agency`, `82 agencies`.
pub(super) fn plural(count: usize, one: &str) -> String {
    match (count, one.strip_suffix('y')) {
        (1, _) => format!("1 {one}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {one}s"),
    }
}

/// The text in a colour, for a terminal.
pub(super) fn paint(text: &str, code: &str, colour: bool) -> String {
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

pub(super) const BOLD: &str = "1";
pub(super) const RED: &str = "1;31";
pub(super) const YELLOW: &str = "33";
pub(super) const GREEN: &str = "32";
const DIM: &str = "2";

fn write_one(problem: &Told, colour: bool, out: &mut dyn Write) -> io::Result<()> {
    let place = match (problem.line, problem.column) {
        (Some(line), Some(column)) => format!("{line}:{column} "),
        _ => String::new(),
    };
    let severity = if problem.is_error() { paint("error", RED, colour) } else { paint("warning", YELLOW, colour) };
    let code = paint(&format!("[{}]", problem.code), DIM, colour);
    writeln!(out, "  {place}{severity}: {} {code}", problem.message)?;
    if let Some(text) = &problem.text {
        writeln!(out, "      | {text}")?;
    }
    if let Some(help) = &problem.help {
        writeln!(out, "      = {help}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_grouped_by_file_in_the_order_of_its_lines() {
        let text = "[systems.etax]\nidentty = 1\n";
        let problems = [
            Problem::warning("unused-purpose", "purposes.toml", "no agency may use `census`"),
            Problem::error("unknown-key", "agencies/tax.toml", "unknown key `identty`")
                .at(text, 15..22)
                .suggest("identty", ["identity", "networks"]),
            Problem::error("missing-key", "agencies/tax.toml", "`name` is missing").at(text, 0..0),
        ];
        let mut out = Vec::new();
        write(&problems, false, &mut out).unwrap();
        let expected = "\
agencies/tax.toml
  1:1 error: `name` is missing [missing-key]
  2:1 error: unknown key `identty` [unknown-key]
      | identty
      = did you mean `identity`?

purposes.toml
  warning: no agency may use `census` [unused-purpose]

";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(summary(&problems).unwrap(), "2 errors, 1 warning in 2 files");
        assert_eq!(summary(&problems[..1]).unwrap(), "1 warning in 1 file");
        assert_eq!(summary(&[]), None);
    }

    #[test]
    fn colours_are_written_only_when_asked_for() {
        let mut out = Vec::new();
        write(&[Problem::error("x", "f", "m")], true, &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("\x1b[1;31merror\x1b[0m"));
    }
}
