//! The folder of orders: `<id>.json` for each, and the ledger beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use popgate_policy::problem::Problem;

use super::sealed::KIND;
use super::{Ledger, Sealed};
use crate::beside;
use crate::signed::is_name;

/// A folder of orders and their ledger.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

/// What was found in it.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The ledger; `None` if there is none.
    pub ledger: Option<Ledger>,
    /// Every order's file by the id that names it; a broken one has what is wrong with it.
    pub orders: BTreeMap<String, Result<Sealed, Problem>>,
    /// Files that are no orders' at all.
    pub strangers: Vec<Problem>,
    /// Those that were too many.
    pub unread: BTreeSet<String>,
}

/// Why the folder cannot be used.
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
    /// The ledger cannot be read as one.
    #[error("{0}")]
    Ledger(Box<Problem>),
}

impl StoreError {
    /// For those who show problems.
    pub fn problem(&self, dir: &Path) -> Problem {
        match self {
            Self::Io { .. } => Problem::error("unreadable", &dir.display().to_string(), self.to_string()),
            Self::Ledger(problem) => Problem::clone(problem),
        }
    }
}

impl Store {
    /// The store in a folder, which need not exist yet.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the gateway watches.
    pub fn pattern(&self) -> PathBuf {
        self.dir.join("*.json")
    }

    /// Where an order's file stands.
    pub fn file_of(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }

    /// Where the ledger stands.
    pub fn ledger_file(&self) -> PathBuf {
        self.dir.join(LEDGER)
    }

    /// Reads everything, while nobody changes it. A folder that is not there holds nothing.
    ///
    /// # Errors
    /// If folder or ledger cannot be read; a broken order is no error.
    pub fn read(&self) -> Result<Found, StoreError> {
        if !self.dir.exists() {
            return Ok(Found::default());
        }
        let _alone = self.lock()?;
        self.read_locked()
    }

    /// Changes ledger and orders: alone. Nothing is changed if `change` refuses. What it returns beside is written into the folder
    /// first: an order without an entry is somebody's, an entry without its order would be an order that was taken away.
    ///
    /// # Errors
    /// If the folder cannot be read or written, or `change` refuses.
    pub fn change<T, E: From<StoreError>>(
        &self,
        change: impl FnOnce(&mut Ledger) -> Result<(T, Option<Sealed>), E>,
    ) -> Result<T, E> {
        self.make()?;
        let _alone = self.lock()?;
        let before = self.ledger()?;
        let mut ledger = before.clone().unwrap_or_default();
        let (done, order) = change(&mut ledger)?;
        let file = order.as_ref().map(|sealed| self.file_of(&sealed.order().id));
        let is_new = file.as_ref().is_some_and(|file| !file.exists());
        if let (Some(sealed), Some(file)) = (&order, &file) {
            write(file, &sealed.to_json())?;
        }
        if before.as_ref() != Some(&ledger) {
            write_ledger(&self.ledger_file(), &ledger).inspect_err(|_| {
                // What nobody is told of must not come into force; if it cannot be removed either, the gateway tells of it.
                let _ = file.as_ref().filter(|_| is_new).map(fs::remove_file);
            })?;
        }
        Ok(done)
    }

    fn read_locked(&self) -> Result<Found, StoreError> {
        let mut found = Found { ledger: self.ledger()?, ..Found::default() };
        let entries = fs::read_dir(&self.dir).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        let mut names: Vec<_> =
            entries.map_err(failed("read", &self.dir))?.into_iter().map(|entry| entry.file_name()).collect();
        names.sort();
        let mut orders = 0;
        for name in names {
            let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
            if stem.starts_with('.') || name.to_str() == Some(LEDGER) {
                continue;
            }
            let path = self.dir.join(&name);
            let file = path.display().to_string();
            orders += 1;
            if orders > MOST_FILES {
                if found.unread.is_empty() {
                    let message = format!("more than {MOST_FILES} orders: those from `{stem}` on are not read");
                    let problem = Problem::error("too-many", &self.dir.display().to_string(), message);
                    let help = "move the files of reviewed orders away; the ledger remembers them";
                    found.strangers.push(problem.help(help));
                }
                found.unread.insert(stem.to_owned());
                continue;
            }
            if !is_name(stem) || stem == "ledger" {
                let problem = Problem::error("bad-name", &file, "the file's name is no order's id");
                found.strangers.push(problem.help("an order's file is named after it: `<id>.json`"));
                continue;
            }
            let sealed = match read_order(&path) {
                Ok(sealed) if sealed.order().id == stem => Ok(sealed),
                Ok(sealed) => {
                    let id = &sealed.order().id;
                    let problem = Problem::error("bad-name", &file, format!("this is the order `{id}`"));
                    Err(problem.help(format!("name the file `{id}.json`")))
                }
                Err(wrong) => Err(Problem::error("not-an-order", &file, wrong)),
            };
            found.orders.insert(stem.to_owned(), sealed);
        }
        Ok(found)
    }

    fn ledger(&self) -> Result<Option<Ledger>, StoreError> {
        read_ledger(&self.ledger_file())
    }

    fn lock(&self) -> Result<File, StoreError> {
        let path = self.dir.join("ledger.lock");
        let open = || {
            let file = beside::lock_file(&path)?;
            beside::hand_over(&file, &self.dir)?;
            // Whoever holds it for long must not hold up those who wait for this one.
            for _ in 0..LOCK_TRIES {
                match file.try_lock() {
                    Ok(()) => return Ok(file),
                    Err(fs::TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
                    Err(fs::TryLockError::Error(error)) => return Err(error),
                }
            }
            Err(io::Error::new(io::ErrorKind::TimedOut, "somebody else holds it"))
        };
        open().map_err(failed("lock", &path))
    }

    fn make(&self) -> Result<(), StoreError> {
        beside::make_folder(&self.dir).map_err(failed("make", &self.dir))
    }
}

/// Reads a ledger; `None` if there is no such file.
///
/// # Errors
/// If it cannot be read, or is none.
pub(crate) fn read_ledger(path: &Path) -> Result<Option<Ledger>, StoreError> {
    let bytes = match beside::read_plain(path, MOST_LEDGER_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        let mut problem = Problem::error("bad-ledger", &path.display().to_string(), format!("this is no ledger: {error}"));
        problem.at = Some((error.line().max(1), error.column().max(1)));
        StoreError::Ledger(Box::new(problem.help(
            "mend the file, or put back the last good one; nothing new is lent until then, and `popgate suspend purpose` ends at once",
        )))
    })
}

/// Writes a ledger.
///
/// # Errors
/// If it cannot be written; the one before stays then.
pub(crate) fn write_ledger(path: &Path, ledger: &Ledger) -> Result<(), StoreError> {
    write(path, &render(ledger))
}

/// Reads a file that somebody brings: an order, signed or not.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read_order(path: &Path) -> Result<Sealed, String> {
    let bytes =
        beside::read_plain(path, KIND.most_bytes as u64).map_err(|error| format!("it cannot be read: {error}"))?;
    Sealed::parse(&bytes).map_err(|error| error.to_string())
}

/// After a loss of power there is the old file or the new one.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), StoreError> {
    beside::replace(path, text).map_err(failed("write", path))
}

fn render(ledger: &Ledger) -> String {
    // Strings and times always are JSON.
    let text = serde_json::to_string_pretty(ledger).unwrap_or_default();
    text + "\n"
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io { what, path: path.display().to_string(), source }
}

const LEDGER: &str = "ledger.json";
const MOST_FILES: usize = 500;
/// How often, and how long in between, the lock is tried.
const LOCK_TRIES: u32 = 30;
const LOCK_PAUSE: Duration = Duration::from_millis(100);
/// Some ten thousand orders.
const MOST_LEDGER_BYTES: u64 = 32 << 20;
