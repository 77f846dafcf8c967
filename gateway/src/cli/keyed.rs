//! What keeps lists of persons: numbers from standard input, a lock, and files that are replaced whole.

use std::fmt::Display;
use std::fs;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use popgate_plugins::Files as _;
use popgate_plugins::keyed::Keyed;
use popgate_policy::model::Personal;

use super::report::plural;
use crate::app::plugins::SiteFiles;
use crate::beside;

/// A list of persons by keyed tags.
pub(super) trait Tags: Default {
    fn parse(text: &str, keyed: &Keyed) -> Result<Self, impl Display>;
    fn to_text(&self, keyed: &Keyed) -> String;
    fn persons(&self) -> usize;
}

/// A list as it is kept.
pub(super) struct Kept<L> {
    pub(super) keyed: Keyed,
    pub(super) list: L,
    file: PathBuf,
    /// Whoever writes it is alone with it.
    _alone: Option<Alone>,
}

impl<L: Tags> Kept<L> {
    /// Reads the list; to write, one that is not there yet is empty.
    pub(super) fn open(file: &Path, key: &Path, to_write: bool) -> io::Result<Self> {
        let keyed = Keyed::new(&SiteFiles.key(key).map_err(wrong)?);
        let alone = if to_write { Some(Alone::with(file)?) } else { None };
        let list = if !to_write || file.exists() {
            let text = SiteFiles.text(file).map_err(wrong)?;
            L::parse(&text, &keyed).map_err(|error| wrong(format!("`{}`: {error}", file.display())))?
        } else {
            L::default()
        };
        Ok(Self { keyed, list, file: file.to_owned(), _alone: alone })
    }

    /// Replaces the list, and says what was done.
    pub(super) fn write(&self, done: &str, out: &mut dyn Write) -> io::Result<()> {
        replace(&self.file, &self.list.to_text(&self.keyed))?;
        writeln!(out, "{}: {done}; {} on it now", self.file.display(), plural(self.list.persons(), "person"))
    }
}

/// Replaces a file: whoever reads it sees the one or the other. It stays its owner's, and as readable as it was: the gateway may run as
/// somebody else.
fn replace(list: &Path, text: &str) -> io::Result<()> {
    let new = with_ending(list, "new");
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("`{}`: {error}", new.display()));
    let mut file = beside::anew(&new).map_err(failed)?;
    // Of the list itself, not of what a link names: a link to another's file must not decide whose this becomes.
    if let Some(before) = fs::symlink_metadata(list).ok().filter(fs::Metadata::is_file) {
        std::os::unix::fs::fchown(&file, Some(before.uid()), Some(before.gid())).map_err(failed)?;
        file.set_permissions(before.permissions()).map_err(failed)?;
    }
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&new, list).map_err(failed)?;
    if let Some(folder) = list.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    }
    Ok(())
}

/// Two commands at once would lose the changes of one: the second is refused.
struct Alone(fs::File);

impl Alone {
    fn with(list: &Path) -> io::Result<Self> {
        let file = with_ending(list, "lock");
        let failed = |error: io::Error| io::Error::new(error.kind(), format!("`{}`: {error}", file.display()));
        let lock = beside::lock_file(&file).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self(lock)),
            Err(fs::TryLockError::WouldBlock) => {
                Err(wrong(format!("`{}`: another command is at work on the list; try again", list.display())))
            }
            Err(fs::TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // Closing the file unlocks it too.
        let _ = self.0.unlock();
    }
}

/// One number a line. A line is named by its place, never by what stands there.
pub(super) fn numbers(input: &mut dyn BufRead) -> io::Result<Vec<Personal<String>>> {
    let mut numbers = Vec::new();
    for (at, line) in (1..).zip(input.lines()) {
        let line = line.map_err(|error| wrong(format!("standard input, line {at}: {error}")))?;
        let number = line.trim();
        if number.is_empty() {
            continue;
        }
        if number.len() > LONGEST || !number.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(wrong(format!("standard input, line {at}: not one person's number; nothing was changed")));
        }
        numbers.push(Personal::new(number.to_owned()));
    }
    Ok(numbers)
}

fn with_ending(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{ending}"));
    file.with_file_name(name)
}

pub(super) fn wrong(message: impl Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message.to_string())
}

/// Longer than any number of a person.
const LONGEST: usize = 64;
