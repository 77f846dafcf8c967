//! Reading a bundle's folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use popgate_policy::bundle::Source;

/// Reads every file of a bundle's folder. Dotfiles and what editors leave behind (`x~`, `#x#`, `x.swp`, ...) are not part
/// of it, nor are its manifest, what people read (`README.md`, in any folder) and the cases that it is tested with
/// ([`read_cases`]); symbolic links are followed.
///
/// # Errors
/// If something cannot be read, is not UTF-8, or is larger than a bundle can be. The error names the file.
pub fn read(dir: &Path) -> io::Result<Source> {
    let mut source = Source::default();
    let mut total = 0;
    read_folder(&root(dir)?, "", 0, &mut total, &mut source)?;
    if source.files.is_empty() {
        return Err(invalid(format!("`{}` holds no files", dir.display())));
    }
    Ok(source)
}

/// Reads the cases beside a bundle, `cases/*`; none if there is no such folder.
///
/// # Errors
/// As [`read`].
pub fn read_cases(dir: &Path) -> io::Result<Source> {
    let mut source = Source::default();
    let cases = root(dir)?.join(CASES);
    if cases.is_dir() {
        read_folder(&cases, &format!("{CASES}/"), 1, &mut 0, &mut source)?;
    }
    Ok(source)
}

fn root(dir: &Path) -> io::Result<PathBuf> {
    fs::canonicalize(dir)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot read `{}`: {error}", dir.display())))
}

/// Reads the manifest beside a bundle's files; `None` if there is none.
///
/// # Errors
/// If it cannot be read, or is larger than one can be.
pub fn read_manifest(dir: &Path) -> io::Result<Option<String>> {
    let path = dir.join(MANIFEST);
    let named = |error: io::Error| io::Error::new(error.kind(), format!("cannot read `{}`: {error}", path.display()));
    match crate::beside::read_plain(&path, MAX_FILE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => Ok(Some(String::from_utf8_lossy(&read.map_err(named)?).into_owned())),
    }
}

fn read_folder(dir: &Path, prefix: &str, depth: usize, total: &mut u64, source: &mut Source) -> io::Result<()> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("cannot read `{}`: {error}", dir.display()));
    if depth > MAX_DEPTH {
        return Err(invalid(format!("`{}` is nested too deeply: at most {MAX_DEPTH} folders", dir.display())));
    }
    for entry in fs::read_dir(dir).map_err(named)? {
        let entry = entry.map_err(named)?;
        let path = entry.path();
        let file_name = entry.file_name();
        let Some(name) = file_name.to_str() else {
            return Err(invalid(format!("the name of `{}` is not UTF-8", path.display())));
        };
        let relative = format!("{prefix}{name}");
        if is_ignored(name) || relative == MANIFEST {
            continue;
        }
        let named = |error: io::Error| io::Error::new(error.kind(), format!("cannot read `{relative}`: {error}"));
        let kind = fs::metadata(&path).map_err(named)?;
        // In this folder only: `policies/cases/` may hold a forbid.
        if kind.is_dir() && relative == CASES {
            continue;
        }
        if kind.is_dir() {
            read_folder(&path, &format!("{relative}/"), depth + 1, total, source)?;
            continue;
        }
        if !kind.is_file() {
            return Err(invalid(format!("`{relative}` is neither a file nor a folder")));
        }
        if kind.len() > MAX_FILE {
            return Err(invalid(format!("`{relative}` is too large: at most {MAX_FILE} bytes")));
        }
        *total += kind.len();
        if *total > MAX_TOTAL || source.files.len() >= MAX_FILES {
            return Err(invalid(format!("too large for a bundle: at most {MAX_FILES} files and {MAX_TOTAL} bytes")));
        }
        let text = String::from_utf8(fs::read(&path).map_err(named)?).map_err(|error| {
            let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
            let line = 1 + before.split(|byte| *byte == b'\n').count().saturating_sub(1);
            invalid(format!("`{relative}` is not UTF-8 (line {line})"))
        })?;
        source.files.insert(relative, text);
    }
    Ok(())
}

/// Whether a name is no part of a bundle.
pub(crate) fn is_ignored(name: &str) -> bool {
    name == "README.md"
        || name.starts_with('.')
        || name.ends_with('~')
        || (name.starts_with('#') && name.ends_with('#'))
        || LEFT_BEHIND.iter().any(|suffix| name.ends_with(suffix))
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

const CASES: &str = "cases";
/// What operators sign; see [`crate::manifest`].
pub(crate) const MANIFEST: &str = "manifest.json";
const LEFT_BEHIND: [&str; 7] = [".swp", ".swo", ".swx", ".bak", ".orig", ".rej", ".tmp"];
const MAX_DEPTH: usize = 8;
const MAX_FILES: usize = 10_000;
const MAX_FILE: u64 = 8 << 20;
const MAX_TOTAL: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        dir
    }

    #[test]
    fn what_editors_leave_behind_is_no_part_of_a_bundle() {
        let dir = folder(&[
            ("purposes.toml", b"a"),
            ("agencies/tax.toml", b"b"),
            ("agencies/.tax.toml.swp", b"x"),
            ("agencies/tax.toml~", b"x"),
            ("agencies/#tax.toml#", b"x"),
            ("policies/tax.cedar.orig", b"x"),
            (".git/config", b"x"),
            ("manifest.json", b"x"),
        ]);
        let source = read(dir.path()).unwrap();
        assert_eq!(source.files.keys().collect::<Vec<_>>(), ["agencies/tax.toml", "purposes.toml"]);
    }

    #[test]
    fn cases_and_what_people_read_are_no_part_of_a_bundle() {
        let files: [(&str, &[u8]); 5] = [
            ("purposes.toml", b"a"),
            ("README.md", b"x"),
            ("policies/README.md", b"x"),
            ("policies/cases/tax.cedar", b"b"),
            ("cases/tax.toml", b"c"),
        ];
        let dir = folder(&files);
        assert_eq!(
            read(dir.path()).unwrap().files.keys().collect::<Vec<_>>(),
            ["policies/cases/tax.cedar", "purposes.toml"]
        );
        assert_eq!(read_cases(dir.path()).unwrap().files.keys().collect::<Vec<_>>(), ["cases/tax.toml"]);
        assert!(read_cases(folder(&files[..1]).path()).unwrap().files.is_empty());
    }

    #[test]
    fn a_file_that_is_not_utf8_is_named_with_its_line() {
        let dir = folder(&[("agencies/tax.toml", b"one\ntwo\n\xff")]);
        let error = read(dir.path()).unwrap_err().to_string();
        assert_eq!(error, "`agencies/tax.toml` is not UTF-8 (line 3)");
    }

    #[test]
    fn a_folder_that_is_missing_or_empty_is_named() {
        let dir = folder(&[]);
        assert!(read(dir.path()).unwrap_err().to_string().ends_with("holds no files"));
        let missing = dir.path().join("bundle");
        assert!(read(&missing).unwrap_err().to_string().contains("bundle`: No such file"));
    }

    #[test]
    fn a_folder_that_links_to_itself_ends() {
        let dir = folder(&[("a/purposes.toml", b"a")]);
        std::os::unix::fs::symlink(dir.path(), dir.path().join("a/loop")).unwrap();
        assert!(read(dir.path()).unwrap_err().to_string().contains("nested too deeply"));
    }
}
