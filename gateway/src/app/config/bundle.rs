//! `[bundle]`: where the bundle stands, and who must have signed it.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::section::{Reader, Section};
use super::{ConfigErrors, read, signers};
use crate::signed::Keys;

/// Whose signatures a bundle needs.
#[derive(Clone, Debug, Default)]
pub struct Signing {
    /// Whether nothing comes into force that was not signed.
    pub required: bool,
    /// Who may sign.
    pub keys: Keys,
}

/// Reads the section.
pub(super) fn parse(reader: &Reader<'_>, section: Section<'_>, folder: &Path) -> (Option<PathBuf>, Signing) {
    let path = section.required("path", read::path(folder));
    let required = section.optional("require_signatures", read::switch).unwrap_or(false);
    let keys = if required || section.has("keys") { keys(reader, &section) } else { Keys::default() };
    if required && section.has("keys") && keys.len() < LEAST_KEYS {
        let message = format!("{LEAST_KEYS} must sign a bundle that widens, and {} may", keys.len());
        let help = "add keys to `[bundle.keys]`: `popgate bundle key NAME` makes one";
        reader.mend("too-few-keys", section.place("keys"), message, help);
    }
    section.finish();
    (path, Signing { required, keys })
}

/// Reads `[bundle.keys]` of a file that need not hold anything else.
///
/// # Errors
/// Every mistake in that section.
pub fn trust(text: &str, file: &Path) -> Result<Keys, ConfigErrors> {
    let reader = Reader::new(file.display().to_string(), text);
    let (document, mistakes) = DeTable::parse_recoverable(text);
    for mistake in mistakes {
        let message = mistake.message().lines().next().unwrap_or_default().trim_end();
        reader.wrong("syntax", mistake.span().unwrap_or_default(), format!("this is not TOML: {message}"));
    }
    let keys = keys(&reader, &Section::top(&reader, document.get_ref()).section("bundle"));
    match reader.into_problems() {
        problems if problems.is_empty() => Ok(keys),
        problems => Err(ConfigErrors { problems }),
    }
}

fn keys(reader: &Reader<'_>, section: &Section<'_>) -> Keys {
    signers::keys(reader, section, "bundle", "popgate bundle key").unwrap_or_default()
}

/// Four eyes.
const LEAST_KEYS: usize = 2;
