//! What files are like, without reading them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::app::bundle_files::is_ignored;

/// Every file below some paths with what changes when it does. Symbolic links are followed; what cannot be read is not there.
#[derive(PartialEq, Eq, Default)]
pub(super) struct Fingerprint(BTreeMap<PathBuf, Stamp>);

/// Device, inode, length, modification and change time (a rename or a changed mode is a change too).
type Stamp = (u64, u64, u64, i64, i64, i64, i64);

impl Fingerprint {
    /// Of files, folders with everything below, and patterns.
    pub(super) fn of<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let mut print = Self::default();
        for path in paths {
            for path in expand(path).unwrap_or_default() {
                print.add(&path, 0);
            }
        }
        print
    }

    fn add(&mut self, path: &Path, depth: usize) {
        let Ok(meta) = fs::metadata(path) else { return };
        if meta.is_dir() && depth < MAX_DEPTH {
            for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                if !entry.file_name().to_str().is_some_and(is_ignored) {
                    self.add(&entry.path(), depth + 1);
                }
            }
        } else {
            let stamp =
                (meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
            self.0.insert(path.to_owned(), stamp);
        }
    }
}

/// The files that a path means: itself, or, if its last part holds one `*`, those in its folder that fit, sorted. A `*` does not
/// stand for a leading dot, nor for what editors leave behind.
///
/// # Errors
/// If the folder of a pattern cannot be read.
pub fn expand(path: &Path) -> io::Result<Vec<PathBuf>> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some((head, tail)) = name.split_once('*') else { return Ok(vec![path.to_owned()]) };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder_of(path))? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !is_ignored(name)) else { continue };
        let fits = name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail);
        if fits && fs::metadata(entry.path()).is_ok_and(|meta| meta.is_file()) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// The folders in which something must happen for one of the paths to change.
pub(super) fn folders<'a>(paths: impl IntoIterator<Item = &'a Path>) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for path in paths {
        let folder = folder_of(path);
        // Its own folder may be swapped or missing: the one above sees that.
        found.insert(existing(folder));
        found.insert(existing(folder_of(folder)));
        for file in expand(path).unwrap_or_default() {
            below(&file, 0, &mut found);
        }
    }
    found
}

/// The folder and those below; where a link leads, the folder of its target.
fn below(path: &Path, depth: usize, found: &mut BTreeSet<PathBuf>) {
    let Ok(meta) = fs::symlink_metadata(path) else { return };
    if meta.is_symlink()
        && let Ok(target) = fs::canonicalize(path)
    {
        found.insert(folder_of(&target).to_owned());
    }
    if depth >= MAX_DEPTH || !fs::metadata(path).is_ok_and(|meta| meta.is_dir()) {
        return;
    }
    found.insert(path.to_owned());
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if !is_file && !entry.file_name().to_str().is_some_and(is_ignored) {
            below(&entry.path(), depth + 1, found);
        }
    }
}

/// Device and inode.
pub(super) fn id_of(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

fn existing(path: &Path) -> PathBuf {
    path.ancestors().map(named).find(|path| path.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

fn folder_of(path: &Path) -> &Path {
    named(path.parent().unwrap_or(path))
}

/// The folder above a bare name is written `.`.
fn named(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

const MAX_DEPTH: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_the_files_that_fit_sorted() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.pem", "a.pem", "a.txt", ".c.pem", "d.pem~", ".pem"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        fs::create_dir(dir.path().join("e.pem")).unwrap();
        let found = expand(&dir.path().join("*.pem")).unwrap();
        assert_eq!(found, [dir.path().join("a.pem"), dir.path().join("b.pem")]);
        assert_eq!(expand(&dir.path().join("x.pem")).unwrap(), [dir.path().join("x.pem")]);
        assert!(expand(&dir.path().join("none/*.pem")).is_err());
    }

    #[test]
    fn a_missing_folder_is_watched_for_from_above() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/c/*.pem");
        assert_eq!(folders([path.as_path()]), [dir.path().to_owned()].into());
    }
}
