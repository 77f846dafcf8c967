//! The folder in which suspensions outlive the process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use popgate_policy::problem::Problem;

use super::file::{self, Places};
use super::{Book, OrderError};
use crate::beside;

/// `suspensions.toml` and, beside it, `suspensions.last.toml`: the last one that was put in force and recorded, which stands in
/// for a file that is gone, and by which a restarted gateway knows what the audit log does not have yet.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// What is suspended.
    pub book: Book,
    /// Where it stands in the file.
    pub places: Places,
    /// The file is gone, although there was one: this is what was last in force.
    pub is_gone: bool,
    /// There is no file: that lifts nothing of what is in force.
    pub is_missing: bool,
}

/// Why suspensions cannot be read or written.
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
    /// The file has mistakes.
    #[error("{}", said(problems))]
    Broken {
        /// All of them.
        problems: Vec<Problem>,
    },
}

impl StoreError {
    /// What is wrong, for those who show problems; `file` is named where there is no place.
    pub fn problems(&self, file: &Path) -> Vec<Problem> {
        match self {
            Self::Io { .. } => vec![Problem::error("unreadable", &file.display().to_string(), self.to_string())],
            Self::Broken { problems } => problems.clone(),
        }
    }
}

impl Store {
    /// The store in a folder, which need not exist yet.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// What operators edit, and the gateway watches.
    pub fn file(&self) -> PathBuf {
        self.dir.join("suspensions.toml")
    }

    /// Reads the file. If there is none, what was last in force stands in for it: a file that is lost lifts nothing.
    ///
    /// # Errors
    /// If it cannot be read, or has a mistake.
    pub fn read(&self) -> Result<Found, StoreError> {
        match read(&self.file())? {
            Some((book, places)) => Ok(Found { book, places, ..Found::default() }),
            None => {
                let last = self.last()?;
                let is_gone = last.is_some();
                Ok(Found { book: last.unwrap_or_default(), is_gone, is_missing: true, ..Found::default() })
            }
        }
    }

    /// What was last in force and recorded; `None` if nothing ever was.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn last(&self) -> Result<Option<Book>, StoreError> {
        Ok(read(&self.last_file())?.map(|(book, _)| book))
    }

    /// Keeps what is in force and recorded. Only the gateway does.
    ///
    /// # Errors
    /// If it cannot be written; what was kept before stays then.
    pub fn keep(&self, book: &Book) -> Result<(), StoreError> {
        self.make()?;
        self.write(&self.last_file(), book)
    }

    /// Changes the file: alone, and whole or not at all.
    ///
    /// # Errors
    /// If it cannot be read (nothing is built on a file with a mistake), or written, or `change` refuses.
    pub fn change<T>(&self, change: impl FnOnce(&mut Book) -> Result<T, OrderError>) -> Result<T, OrderError> {
        self.make()?;
        let lock = self.dir.join("suspensions.lock");
        let open = || {
            let file = beside::lock_file(&lock)?;
            beside::hand_over(&file, &self.dir)?;
            file.lock().map(|()| file)
        };
        let locked = open().map_err(failed("lock", &lock))?;
        let mut book = self.read()?.book;
        let changed = change(&mut book)?;
        self.write(&self.file(), &book)?;
        drop(locked);
        Ok(changed)
    }

    fn last_file(&self) -> PathBuf {
        self.dir.join("suspensions.last.toml")
    }

    /// Makes the folder if there is none, as its parent's owner's: whoever writes first may be another user than the gateway.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn make(&self) -> Result<(), StoreError> {
        beside::make_folder(&self.dir).map_err(failed("make", &self.dir))
    }

    /// After a loss of power there is the old file or the new one.
    fn write(&self, path: &Path, book: &Book) -> Result<(), StoreError> {
        beside::replace(path, &file::render(book)).map_err(failed("write", path))
    }
}

/// `None` if there is no such file.
fn read(path: &Path) -> Result<Option<(Book, Places)>, StoreError> {
    let bytes = match fs::metadata(path)
        .and_then(|meta| if meta.len() > MOST_BYTES { Err(too_large()) } else { fs::read(path) })
    {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let name = path.display().to_string();
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let before = String::from_utf8_lossy(before);
        let problem = Problem::error("not-utf8", &name, "this is not UTF-8").at(&before, before.len()..before.len());
        StoreError::Broken { problems: vec![problem] }
    })?;
    file::parse(&text, &name).map(Some).map_err(|problems| StoreError::Broken { problems })
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "it is too large for what can be suspended")
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io { what, path: path.display().to_string(), source }
}

fn said(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

const MOST_BYTES: u64 = 4 << 20;
