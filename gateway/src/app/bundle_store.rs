//! The bundles that were in force, kept by digest in the node's state folder: whoever reads a record of then finds what decided.
//!
//! `bundles/<digest>.json` holds a bundle's files and the manifests that it came with, `bundles/history.json` when which came into
//! force, `bundles/rollback.json` what an operator beside the node wants in force again. Only the gateway writes the first two.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use popgate_policy::bundle::{Digest, Source};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::beside;

mod history;
mod prune;

pub use history::{Entry, History, How, NotFound};

/// The folder.
#[derive(Clone, Debug)]
pub struct Store {
    state: PathBuf,
    dir: PathBuf,
}

/// A bundle as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its files.
    #[serde(flatten)]
    pub source: Source,
    /// The signed manifests (the text of `manifest.json`) that it came into force with; none if it was not signed.
    #[serde(default)]
    pub manifests: Vec<String>,
}

/// What an operator beside the node wants in force again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// Which bundle.
    pub to: Digest,
    /// Who wants it.
    pub by: String,
    /// Why. It stands in the audit log without a seal: it MUST NOT name a person.
    pub reason: String,
    /// When it was asked for.
    pub at: Timestamp,
}

/// Why bundles cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder.
    #[error("cannot {what} `{path}`: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("`{path}` is not what the gateway wrote: {why}; put back the file from a copy of the state folder")]
    Broken {
        /// Which.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no such bundle.
    #[error("no bundle {0} is kept here; `popgate bundle list` lists those that are")]
    Unknown(Digest),
}

impl Store {
    /// The store in a node's state folder, which need not exist yet.
    pub fn new(state: &Path) -> Self {
        Self { state: state.to_owned(), dir: state.join("bundles") }
    }

    /// The folder of bundles.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Reads a bundle, which is what was kept under that digest or an error.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn load(&self, digest: &Digest) -> Result<Kept, StoreError> {
        let path = self.file_of(digest);
        let kept: Kept = read(&path, MOST_BYTES)?.ok_or(StoreError::Unknown(*digest))?;
        if Digest::of(&kept.source) == *digest {
            Ok(kept)
        } else {
            Err(broken(&path, "its files have another digest".to_owned()))
        }
    }

    /// Whether a bundle is kept.
    pub fn has(&self, digest: &Digest) -> bool {
        self.file_of(digest).is_file()
    }

    /// Keeps a bundle, with the manifest that it came with beside those that it had.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep(&self, source: &Source, manifest: Option<&str>) -> Result<(), StoreError> {
        let digest = Digest::of(source);
        let path = self.file_of(&digest);
        // One that was damaged is written anew.
        let before = self.load(&digest).ok();
        let mut manifests = before.as_ref().map(|kept| kept.manifests.clone()).unwrap_or_default();
        if let Some(manifest) = manifest.filter(|text| !manifests.iter().any(|known| known == text)) {
            manifests.push(manifest.to_owned());
        } else if before.is_some() {
            return Ok(());
        }
        self.make()?;
        write(&path, &Kept { source: source.clone(), manifests })
    }

    /// The bundles that are kept.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn digests(&self) -> Result<BTreeSet<Digest>, StoreError> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            entries => entries.and_then(|entries| entries.collect::<Result<Vec<_>, _>>()),
        };
        let names = entries.map_err(failed("read", &self.dir))?.into_iter().map(|entry| entry.file_name());
        Ok(names.filter_map(|name| name.to_str()?.strip_suffix(".json")?.parse().ok()).collect())
    }

    /// When which bundle came into force; empty if none ever did.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn history(&self) -> Result<History, StoreError> {
        Ok(read(&self.history_file(), MOST_HISTORY)?.unwrap_or_default())
    }

    /// Keeps the history. Only the gateway does.
    ///
    /// # Errors
    /// If it cannot be written; the one before stays then.
    pub fn write_history(&self, history: &History) -> Result<(), StoreError> {
        self.make()?;
        write(&self.history_file(), history)
    }

    /// What a gateway watches for the rollbacks that operators order beside it.
    pub fn rollback_file(&self) -> PathBuf {
        self.dir.join("rollback.json")
    }

    /// The rollback that waits for the gateway.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn rollback(&self) -> Result<Option<Rollback>, StoreError> {
        read(&self.rollback_file(), MOST_ROLLBACK)
    }

    /// Orders a rollback, in place of one that waits.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn order_rollback(&self, rollback: &Rollback) -> Result<(), StoreError> {
        self.make()?;
        write(&self.rollback_file(), rollback)
    }

    /// Takes the order away: it was carried out, or cannot be.
    pub fn end_rollback(&self) {
        // If it stays, its time says that it is over.
        let _ = fs::remove_file(self.rollback_file());
    }

    fn file_of(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{digest}.json"))
    }

    fn history_file(&self) -> PathBuf {
        self.dir.join("history.json")
    }

    fn make(&self) -> Result<(), StoreError> {
        beside::make_folder(&self.state).map_err(failed("make", &self.state))?;
        beside::make_folder(&self.dir).map_err(failed("make", &self.dir))
    }
}

/// `None` if there is no such file.
fn read<T: DeserializeOwned>(path: &Path, most: u64) -> Result<Option<T>, StoreError> {
    let bytes = match beside::read_plain(path, most) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(failed("read", path))?,
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| broken(path, error.to_string()))
}

fn write(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| broken(path, error.to_string()))?;
    beside::replace(path, &(text + "\n")).map_err(failed("write", path))
}

fn broken(path: &Path, why: String) -> StoreError {
    StoreError::Broken { path: path.display().to_string(), why }
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io { what, path: path.display().to_string(), source }
}

/// The bundles that are kept whatever names them, for rollbacks.
const RECENT: usize = 10;
/// Twice what a bundle can be: JSON writes some characters with two.
const MOST_BYTES: u64 = 128 << 20;
const MOST_HISTORY: u64 = 64 << 20;
const MOST_ROLLBACK: u64 = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn source(text: &str) -> Source {
        Source { files: [("purposes.toml".to_owned(), text.to_owned())].into() }
    }

    #[test]
    fn a_bundle_is_read_as_it_was_kept_and_a_changed_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(&dir.path().join("state"));
        let digest = Digest::of(&source("a"));
        assert!(matches!(store.load(&digest), Err(StoreError::Unknown(_))));
        assert!(store.digests().unwrap().is_empty());
        store.keep(&source("a"), None).unwrap();
        store.keep(&source("a"), Some("one")).unwrap();
        store.keep(&source("a"), Some("two")).unwrap();
        store.keep(&source("a"), Some("one")).unwrap();
        let kept = store.load(&digest).unwrap();
        assert_eq!(kept, Kept { source: source("a"), manifests: vec!["one".into(), "two".into()] });
        assert_eq!(store.digests().unwrap(), [digest].into());
        let file = store.file_of(&digest);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replacen("\"a\"", "\"b\"", 1)).unwrap();
        let error = store.load(&digest).unwrap_err().to_string();
        assert!(error.contains("its files have another digest"), "{error}");
        fs::write(&file, "{").unwrap();
        assert!(matches!(store.load(&digest), Err(StoreError::Broken { .. })));
        store.keep(&source("a"), None).unwrap();
        assert_eq!(store.load(&digest).unwrap().source, source("a"), "a damaged one is written anew");
    }

    #[test]
    fn a_rollback_waits_until_it_is_taken_up() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        assert_eq!(store.rollback().unwrap(), None);
        let (to, at) = (Digest::of(&source("a")), "2026-11-21T08:00:00Z".parse().unwrap());
        let order = Rollback { to, by: "local:linh".into(), reason: "INC-7".into(), at };
        store.order_rollback(&order).unwrap();
        assert_eq!(store.rollback().unwrap(), Some(order));
        store.end_rollback();
        assert_eq!(store.rollback().unwrap(), None);
    }
}
