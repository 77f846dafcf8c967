//! Where segments are kept. A trait, because a disk that fails is part of the promise and has to be tested.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::AuditError;

/// What the writer does to the disk.
pub(super) trait Storage: Send + 'static {
    /// Begins a segment; what is appended goes there. MUST fail if it exists.
    fn create(&mut self, number: u64) -> io::Result<()>;
    /// Appends to the segment. After an error nothing is known of what arrived.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns when all that was appended, and the segment's name, would survive a loss of power.
    fn sync(&mut self) -> io::Result<()>;
    /// Gives the segment up, and tries to cut off what is after its durable part: after a failed fdatasync the page cache may show
    /// bytes that the disk never got, and another process must not take them for durable.
    fn abandon(&mut self, durable: u64);
    /// Removes a segment that never had a durable batch; not an error if there is none.
    fn discard(&mut self, number: u64) -> io::Result<()>;
    /// How much room there is.
    fn space(&mut self) -> io::Result<Space>;
}

/// Room on the disk, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Space {
    pub(super) free: u64,
    pub(super) total: u64,
}

/// A folder, locked for this process.
pub(super) struct Folder {
    path: PathBuf,
    handle: File,
    segment: Option<Segment>,
    /// Held, never read: the lock ends with it.
    _lock: File,
}

struct Segment {
    file: File,
    /// Whether the folder's entry of it may not be durable yet.
    fresh: bool,
}

impl Folder {
    /// Makes the folder if needed, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, AuditError> {
        let io = |source| AuditError::Io { path: path.display().to_string(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path.join("lock"));
        let lock = lock.map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(AuditError::Locked { path: path.display().to_string() }),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let handle = File::open(path).map_err(io)?;
        Ok(Self { path: path.to_owned(), handle, segment: None, _lock: lock })
    }

    /// Puts a segment out of the chain's way that has no durable batch, and keeps it as `NNNNNNNNNN.torn`.
    pub(super) fn set_aside(&self, number: u64) -> Result<(), AuditError> {
        let from = self.path.join(file_name(number));
        let io = |source| AuditError::Io { path: from.display().to_string(), source };
        std::fs::rename(&from, self.path.join(torn_name(number))).map_err(io)?;
        self.handle.sync_all().map_err(io)
    }
}

impl Storage for Folder {
    fn create(&mut self, number: u64) -> io::Result<()> {
        self.segment = None;
        let path = self.path.join(file_name(number));
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
        self.segment = Some(Segment { file, fresh: true });
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.segment()?.file.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        let segment = self.segment()?;
        segment.file.sync_data()?;
        if std::mem::take(&mut segment.fresh) {
            self.handle.sync_all()?;
        }
        Ok(())
    }

    fn abandon(&mut self, durable: u64) {
        if let Some(segment) = self.segment.take() {
            // If it fails too, the next segment's header still says where this one ends.
            let _ = segment.file.set_len(durable);
        }
    }

    fn discard(&mut self, number: u64) -> io::Result<()> {
        self.segment = None;
        match std::fs::remove_file(self.path.join(file_name(number))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.handle.sync_all(),
        }
    }

    fn space(&mut self) -> io::Result<Space> {
        let found = nix::sys::statvfs::fstatvfs(&self.handle)?;
        let unit = found.fragment_size();
        Ok(Space { free: found.blocks_available() * unit, total: found.blocks() * unit })
    }
}

impl Folder {
    fn segment(&mut self) -> io::Result<&mut Segment> {
        self.segment.as_mut().ok_or_else(|| io::Error::other("no segment was begun"))
    }
}

/// The file of a segment.
pub(super) fn file_name(number: u64) -> String {
    format!("{number:010}.log")
}

/// Where a segment without a durable batch is put aside.
fn torn_name(number: u64) -> String {
    format!("{number:010}.torn")
}

/// The segments of a folder in order, and the highest number that was ever used in it.
pub(super) fn segments(dir: &Path) -> io::Result<(Vec<u64>, u64)> {
    let mut numbers = Vec::new();
    let mut highest = 0;
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        let Some(number) = name.split_once('.').and_then(|(stem, _)| stem.parse::<u64>().ok()) else { continue };
        let log = name == file_name(number);
        if log {
            numbers.push(number);
        }
        if log || name == torn_name(number) {
            highest = highest.max(number);
        }
    }
    numbers.sort_unstable();
    Ok((numbers, highest))
}
