//! Files beside those that a command replaces, opened so that nothing is followed: root may run the command, in a folder that
//! belongs to the gateway's user, who must not choose what root writes over or gives away.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// A new file, whatever stood at its path before.
///
/// # Errors
/// If it cannot be made.
pub(crate) fn anew(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Never through a link: `O_EXCL` with `O_CREAT` follows none.
    OpenOptions::new().create_new(true).write(true).mode(0o644).open(path)
}

/// A file to be locked, made if there is none. Its contents are left alone.
///
/// # Errors
/// If it cannot be opened, or is a link, has other names, or is no plain file.
pub(crate) fn lock_file(path: &Path) -> io::Result<File> {
    // Without waiting: at a pipe somebody else would decide when this ends.
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o644).custom_flags(flags).open(path);
    let file = match opened {
        Err(_) if fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file()) => return Err(not_plain()),
        opened => opened?,
    };
    let meta = file.metadata()?;
    if meta.is_file() && meta.nlink() <= 1 { Ok(file) } else { Err(not_plain()) }
}

/// Opens a folder, not through a link.
///
/// # Errors
/// If it cannot be opened, or is a link.
pub(crate) fn folder(path: &Path) -> io::Result<File> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY).bits();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Gives what was just made the owner of the folder that it is in, if another user made it: root on the command line must not
/// write what the gateway cannot read.
///
/// # Errors
/// If that fails for another reason than that only root may.
pub(crate) fn hand_over(file: &File, folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let (own, of) = (file.metadata()?, fs::metadata(folder)?);
    if (own.uid(), own.gid()) == (of.uid(), of.gid()) {
        return Ok(());
    }
    match fchown(file, Some(of.uid()), Some(of.gid())) {
        // Whoever may write here and is not root: the file's mode lets the gateway read it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        done => done,
    }
}

/// Replaces a file's text; it gets the owner of its folder. After a loss of power there is the old file or the new one.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut next = path.as_os_str().to_owned();
    next.push(".tmp");
    let next = PathBuf::from(next);
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = anew(&next)?;
    file.write_all(text.as_bytes())?;
    hand_over(&file, dir)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    File::open(dir)?.sync_all()
}

/// A plain file of at most so many bytes; at a pipe somebody else would decide when this ends.
///
/// # Errors
/// If it cannot be read, or is another.
pub(crate) fn read_plain(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file"));
    }
    if meta.size() > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {most} bytes")));
    }
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Makes a folder if there is none, as its parent's owner's: whoever writes first may be another user than the gateway.
///
/// # Errors
/// If it cannot be made.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o750).create(path) {
        Ok(()) => folder(path).and_then(|made| hand_over(&made, path.parent().unwrap_or(Path::new(".")))),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn not_plain() -> io::Error {
    let what = "it is a link, has other names, or is no plain file: somebody may want another file changed; remove it";
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, path) = (dir.path().join("victim"), dir.path().join("x"));
        fs::write(&victim, "kept").unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        assert!(lock_file(&path).unwrap_err().to_string().contains("is a link"));
        anew(&path).unwrap().write_all(b"new").unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "kept");
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        fs::remove_file(&path).unwrap();
        fs::hard_link(&victim, &path).unwrap();
        assert!(lock_file(&path).unwrap_err().to_string().contains("has other names"));
        anew(&path).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "kept");
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(lock_file(&path).unwrap_err().to_string().contains("no plain file"), "and it does not wait");
        fs::remove_file(&path).unwrap();
        assert!(lock_file(&path).is_ok() && lock_file(&path).is_ok());
        std::os::unix::fs::symlink(dir.path(), dir.path().join("folder")).unwrap();
        assert!(folder(&dir.path().join("folder")).is_err() && folder(dir.path()).is_ok());
    }
}
