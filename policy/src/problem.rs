//! What is wrong with a bundle, said so that its author can mend it.

use std::fmt;

/// One mistake (or one warning) in a bundle, with the place where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether the bundle is refused for it.
    pub severity: Severity,
    /// A stable kebab-case code, such as `unknown-field`.
    pub code: &'static str,
    /// The file, relative to the bundle's root.
    pub file: String,
    /// 1-based line and column; `None` where the whole file is meant.
    pub at: Option<(usize, usize)>,
    /// The offending text, as typed.
    pub text: Option<String>,
    /// Lower case, no full stop, the author's own input in backticks.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// How much a [`Problem`] weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The bundle loads; the author should look.
    Warning,
    /// The bundle is refused.
    Error,
}

impl Problem {
    /// An error at a place that [`Problem::at`] and [`Problem::help`] may refine.
    pub fn error(code: &'static str, file: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            file: file.to_owned(),
            at: None,
            text: None,
            message: message.into(),
            help: None,
        }
    }

    /// A warning, otherwise as [`Problem::error`].
    pub fn warning(code: &'static str, file: &str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, file, message) }
    }

    /// Sets the place by byte offsets into the file's text: line, column and the offending text follow from it.
    #[must_use]
    pub fn at(mut self, source: &str, span: std::ops::Range<usize>) -> Self {
        let start = span.start.min(source.len());
        let before = source.get(..start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        self.at = Some((line, column));
        self.text = source
            .get(span)
            .map(|text| text.lines().next().unwrap_or_default().trim().chars().take(120).collect())
            .filter(|text: &String| !text.is_empty());
        self
    }

    /// Sets what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Sets a suggestion if one of the known names is close to what was typed, else lists them.
    #[must_use]
    pub fn suggest<'a>(self, typed: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let mut known: Vec<&str> = known.into_iter().collect();
        known.sort_unstable();
        known.dedup();
        match nearest(typed, known.iter().copied()) {
            Some(name) => self.help(format!("did you mean `{name}`?")),
            None if known.is_empty() => self,
            None => {
                let listed: Vec<String> = known.iter().take(12).map(|name| format!("`{name}`")).collect();
                let more = if known.len() > listed.len() { ", ..." } else { "" };
                self.help(format!("known here: {}{more}", listed.join(", ")))
            }
        }
    }
}

/// The known name that was most likely meant, if one is close.
pub(crate) fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::damerau_levenshtein(typed, name), name))
        .min()
        .filter(|(distance, name)| *distance <= 1 + name.chars().count() / 4)
        .map(|(_, name)| name)
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}[{}] {}", self.code, self.file)?;
        if let Some((line, column)) = self.at {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(text) = &self.text {
            write!(f, "\n    | {text}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n    = {help}")?;
        }
        Ok(())
    }
}
