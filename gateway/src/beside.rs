//! Files beside those that a command replaces, opened so that nothing is followed: root may run the command, in a folder that
//! belongs to the gateway's user, who must not choose what root writes over or gives away.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;

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

fn not_plain() -> io::Error {
    let what = "it is a link, has other names, or is no plain file: somebody may want another file changed; remove it";
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

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
