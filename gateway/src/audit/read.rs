//! Reading a log: no lock, no key needed, and while it is being written.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::vec;

use jiff::Timestamp;
use memchr::memmem;
use popgate_policy::bundle::Digest;

use super::decode::{Entry, What};
use super::key::AuditKey;
use super::log::{Damage, Judge, Torn, Walker};
use super::storage::{self, file_name};
use super::wire::Header;

/// What a whole log holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Disclosures that were begun.
    pub intents: u64,
    /// Disclosures of which is known what was shown.
    pub closings: u64,
    /// The others: possibly seen, or still under way.
    pub open: u64,
    /// Refusals.
    pub refusals: u64,
    /// What operators did.
    pub actions: u64,
    /// Segments.
    pub segments: u64,
    /// The last commit: who keeps it elsewhere can tell later whether the log was rewritten.
    pub head: [u8; 32],
    /// Whether the log was closed properly; `false` while it is being written.
    pub closed: bool,
    /// What stopped and failed writes left. It is not part of the log, and nobody was told that it was durable.
    pub torn: Vec<Torn>,
}

impl Report {
    /// The last commit as 64 hex digits.
    pub fn head_hex(&self) -> String {
        self.head.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { intents, closings, open, refusals, actions, segments, .. } = self;
        write!(f, "{intents} intents, {closings} closings, {open} open, {refusals} refusals, ")?;
        if *actions > 0 {
            write!(f, "{actions} actions, ")?;
        }
        write!(f, "{segments} segments, chain whole: verified, head {}", self.head_hex())
    }
}

/// Checks every hash, the order of segments, the sequence of records, and that each closing has its intent.
///
/// # Errors
/// The first damage.
pub fn verify(dir: &Path) -> Result<Report, Damage> {
    let mut walker = Walker::new(dir, None, Judge::Audit, u64::MAX)?;
    let mut report = Report::default();
    while let Some(batch) = walker.batch()? {
        for entry in batch.entries {
            match entry.what {
                What::Intent(_) => report.intents += 1,
                What::Closing(_) => report.closings += 1,
                What::Refused(_) => report.refusals += 1,
                What::Action(_) => report.actions += 1,
            }
        }
    }
    report.open = walker.open().count() as u64;
    report.segments = walker.segments;
    report.head = walker.tail.hash;
    report.closed = walker.sealed;
    report.torn = std::mem::take(&mut walker.torn);
    Ok(report)
}

/// The log's records in order. Whether an intent has a closing is known of the time of the call.
///
/// # Errors
/// If the folder cannot be read. Damage is the iterator's last item: what was read before it is as it was written.
pub fn entries(dir: &Path, key: Option<&AuditKey>) -> Result<Entries, Damage> {
    let mut walker = Walker::new(dir, None, Judge::Audit, u64::MAX)?;
    let damage = std::iter::from_fn(|| walker.batch().map(|batch| batch.map(drop)).transpose()).find_map(Result::err);
    let end = walker.tail.next_seq;
    let open = walker.open().collect();
    Ok(Entries {
        walker: Walker::new(dir, key, Judge::Audit, u64::MAX)?,
        batch: Vec::new().into_iter(),
        open,
        end,
        damage,
    })
}

/// See [`entries`].
pub struct Entries {
    walker: Walker,
    batch: vec::IntoIter<Entry>,
    open: HashSet<u64>,
    end: u64,
    damage: Option<Damage>,
}

impl Iterator for Entries {
    type Item = Result<Entry, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(mut entry) = self.batch.next() {
                if entry.seq >= self.end {
                    return self.damage.take().map(Err);
                }
                if let What::Intent(intent) = &mut entry.what {
                    intent.closed = !self.open.contains(&entry.seq);
                }
                return Some(Ok(entry));
            }
            if self.walker.tail.next_seq >= self.end {
                return self.damage.take().map(Err);
            }
            match self.walker.batch() {
                Ok(Some(batch)) => self.batch = batch.entries.into_iter(),
                Ok(None) => self.end = 0,
                Err(damage) => {
                    self.end = 0;
                    self.damage = Some(damage);
                }
            }
        }
    }
}

/// The log's records in order, read once: unlike [`entries`] it does not know which intents have a closing. With `since`, segments that
/// ended before are passed over, and with them the intents of some closings.
///
/// # Errors
/// If the folder cannot be read. Damage is the iterator's last item.
pub fn once(dir: &Path, key: Option<&AuditKey>, since: Option<Timestamp>) -> Result<Once, Damage> {
    let sizes = sizes(dir, since).unwrap_or_default();
    // Of the last segment the walker asks for no leave.
    let before_last = sizes.iter().rev().skip(1).sum();
    let newest = if since.is_some() && !sizes.is_empty() { before_last } else { u64::MAX };
    let walker = Walker::new(dir, key, Judge::Audit, newest)?;
    Ok(Once { walker, batch: Vec::new().into_iter(), bytes: sizes.iter().sum(), passed: 0, last: (0, 0), ended: false })
}

/// The bytes of each segment that may hold records since then; of all, if that is not known.
fn sizes(dir: &Path, since: Option<Timestamp>) -> io::Result<Vec<u64>> {
    let begun = segments(dir)?;
    let first = since.and_then(|since| begun.iter().rposition(|segment| segment.at <= since)).unwrap_or_default();
    let numbers = begun.iter().skip(first).map(|segment| segment.number);
    numbers.map(|number| Ok(std::fs::metadata(dir.join(file_name(number)))?.len())).collect()
}

/// See [`once`].
pub struct Once {
    walker: Walker,
    batch: vec::IntoIter<Entry>,
    bytes: u64,
    /// Bytes of segments that are behind.
    passed: u64,
    /// The segment that is read, and how far.
    last: (u64, u64),
    ended: bool,
}

impl Once {
    /// How many bytes there are to read, as far as was known at the beginning.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many were read.
    pub fn read(&self) -> u64 {
        self.passed + self.last.1
    }
}

impl Iterator for Once {
    type Item = Result<Entry, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.batch.next() {
                return Some(Ok(entry));
            }
            if self.ended {
                return None;
            }
            match self.walker.batch() {
                Ok(Some(batch)) => {
                    let (number, end) = (self.walker.tail.number, self.walker.tail.end);
                    if number != self.last.0 {
                        self.passed += self.last.1;
                    }
                    self.last = (number, end);
                    self.batch = batch.entries.into_iter();
                }
                Ok(None) => self.ended = true,
                Err(damage) => {
                    self.ended = true;
                    return Some(Err(damage));
                }
            }
        }
    }
}

/// A segment, and when it was begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Begun {
    /// Its number, which names its file.
    pub number: u64,
    /// When.
    pub at: Timestamp,
}

/// The log's segments in order, as their headers say: hashes are [`verify`]'s to check. A segment whose header is not written yet is
/// left out.
///
/// # Errors
/// If folder or files cannot be read.
pub fn segments(dir: &Path) -> io::Result<Vec<Begun>> {
    let mut begun = Vec::new();
    for number in storage::segments(dir)?.0 {
        let mut head = [0; Header::LEN];
        match File::open(dir.join(file_name(number))).and_then(|mut file| file.read_exact(&mut head)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
            read => read?,
        }
        let created = Header::read(&head).and_then(|header| Timestamp::from_microsecond(header.created).ok());
        // Whatever it is, it may hold records: of the beginning of time, none is missed.
        begun.push(Begun { number, at: created.unwrap_or(Timestamp::MIN) });
    }
    Ok(begun)
}

/// Whether a record of that segment names the bundle: the names of records' fields are written down with its digest. That a digest stands
/// there by chance does not happen.
///
/// # Errors
/// If the segment cannot be read.
pub fn names(dir: &Path, number: u64, bundle: &Digest) -> io::Result<bool> {
    let mut file = File::open(dir.join(file_name(number)))?;
    let finder = memmem::Finder::new(&bundle.0);
    let (mut window, mut kept) = (vec![0; WINDOW], 0);
    loop {
        let (_, free) = window.split_at_mut(kept);
        let read = file.read(free)?;
        let filled = window.get(..kept + read).unwrap_or_default();
        if finder.find(filled).is_some() {
            return Ok(true);
        }
        if read == 0 {
            return Ok(false);
        }
        // A digest may lie across two reads.
        let rest = filled.len().saturating_sub(bundle.0.len() - 1);
        let end = filled.len();
        window.copy_within(rest..end, 0);
        kept = end - rest;
    }
}

/// Bytes.
const WINDOW: usize = 1 << 20;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The bytes of a segment that names a bundle, as far as [`segments`] and [`names`] look at it.
    pub(crate) fn segment(number: u64, created: &str, bundle: &Digest) -> Vec<u8> {
        let created = created.parse::<Timestamp>().unwrap().as_microsecond();
        let mut bytes = Vec::new();
        let header = Header {
            number,
            previous: 0,
            previous_end: 0,
            previous_torn: false,
            previous_hash: [0; 32],
            first_seq: 1,
            created,
            salt: [0; 16],
            key: [0; 8],
        };
        header.put(&mut bytes);
        bytes.extend_from_slice(&bundle.0);
        bytes
    }

    #[test]
    fn a_digest_across_two_reads_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let (here, other) = (Digest([7; 32]), Digest([8; 32]));
        for at in [0, WINDOW - 32, WINDOW - 31, WINDOW - 1, WINDOW, 3 * WINDOW - 60] {
            let mut bytes = vec![1; at];
            bytes.extend_from_slice(&here.0);
            bytes.extend_from_slice(&[1; 5]);
            std::fs::write(dir.path().join(file_name(3)), bytes).unwrap();
            assert!(names(dir.path(), 3, &here).unwrap(), "{at}");
            assert!(!names(dir.path(), 3, &other).unwrap(), "{at}");
        }
        assert!(names(dir.path(), 4, &here).is_err());
    }
}
