//! Reading a log: no lock, no key needed, and while it is being written.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::vec;

use super::decode::{Entry, What};
use super::key::AuditKey;
use super::log::{Damage, Judge, Torn, Walker};

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
