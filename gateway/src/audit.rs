//! Audit: the durable record without which nothing leaves.
//!
//! A disclosure's intent (the widest that its permit allows) is made durable before the first byte of the answer is released; the
//! [`Receipt`] is the proof. A closing record says afterwards what was really shown; it is not awaited, but its slot was
//! reserved with the intent, so it can always be written, also from `Drop`.
//!
//! The log is a folder of segments (`0000000001.log`, ...), chained by SHA-256 from batch to batch and from segment to segment;
//! [`read::verify`] checks it while it is written. Whoever may write the folder may also write another log: keep the head that
//! `popgate audit verify` prints elsewhere, and it proves everything before it.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

mod decode;
mod encode;
mod key;
mod log;
pub mod read;
mod record;
mod storage;
#[cfg(test)]
mod tests;
mod wire;
mod writer;

pub use decode::{ClosingEntry, Ended, Entry, IntentEntry, RefusedEntry, Schema, Unsealed, What};
pub use key::{AuditKey, SubjectTag};
pub use log::{Damage, Torn, Wrong};
pub use record::{Action, Brought, Claimed, Intent, NoMatch, Outcome, PurposeSource, Refused, Shown, Unavailable};
pub use writer::Receipt;

use crate::clock::Clock;
use log::{Judge, Tail, Walker};
use storage::{Folder, Storage};
use writer::{Close, Command, Gauges, Writer};

/// A handle on the log; clones share it. The last one that goes waits until everything is written.
#[derive(Clone)]
pub struct Audit(Arc<Shared>);

/// What an operator may choose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// A new segment is begun past that many bytes.
    pub segment_bytes: u64,
    /// No disclosure when the disk has fewer free bytes.
    pub min_free_bytes: u64,
    /// The most records that are queued or reserved. A disclosure under way holds one or two.
    pub slots: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, min_free_bytes: 256 << 20, slots: 1 << 16 }
    }
}

/// What was found when a log was opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// Records that the log holds.
    pub records: u64,
    /// What a stopped writer left and the log does not count: SHOULD be logged.
    pub torn: Vec<Torn>,
    /// Whether the log was closed properly (or is new).
    pub clean: bool,
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The folder cannot be used.
    #[error("audit log `{path}`: {source}")]
    Io {
        /// What.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Another process writes it.
    #[error("audit log `{path}` is in use by another process")]
    Locked {
        /// What.
        path: String,
    },
    /// The chain does not hold; nothing may be appended to it.
    #[error("audit log `{path}` is broken: {damage}; move it away for the auditors, and a new one is begun")]
    Broken {
        /// What.
        path: String,
        /// Where.
        damage: Damage,
    },
}

/// Figures for metrics.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Stats {
    /// Records made durable since the start.
    pub records: u64,
    /// Batches made durable since the start.
    pub batches: u64,
    /// Bytes made durable since the start.
    pub bytes: u64,
    /// Writes and fdatasyncs that failed.
    pub failures: u64,
    /// Refusals that were not recorded.
    pub lost_refusals: u64,
    /// Slots in use.
    pub queued: usize,
    /// Free bytes on the disk.
    pub free_bytes: u64,
    /// The disk's size; 0 if it did not say.
    pub total_bytes: u64,
    /// How long the last fdatasync took.
    pub sync_micros: u64,
}

impl Stats {
    /// The free share of the disk, 0 to 1. Below 0.2 is time for an alarm.
    pub fn free_share(&self) -> f64 {
        if self.total_bytes == 0 { 0.0 } else { self.free_bytes as f64 / self.total_bytes as f64 }
    }
}

struct Shared {
    commands: Sender<Command>,
    writer: Mutex<Option<JoinHandle<()>>>,
    gauges: Arc<Gauges>,
    clock: Clock,
    slots: usize,
    tickets: AtomicU64,
}

impl Audit {
    /// Opens a log, or begins one: locks the folder, checks the chain (of a very long log the newest [`CHECKED_AT_OPEN`]
    /// bytes), leaves out what a stopped writer left unfinished, makes a new segment durable and starts the writer's thread.
    ///
    /// # Errors
    /// If the folder cannot be used, another process uses it, or the chain is broken.
    pub fn open(dir: &Path, options: Options, key: AuditKey, clock: Clock) -> Result<(Self, Opened), AuditError> {
        let folder = Folder::open(dir)?;
        let (opened, tail) = recover(dir, &folder)?;
        let audit = Self::start(folder, options, key, clock, tail)
            .map_err(|source| AuditError::Io { path: dir.display().to_string(), source })?;
        Ok((audit, opened))
    }

    fn start<S: Storage>(
        storage: S,
        options: Options,
        key: AuditKey,
        clock: Clock,
        tail: (Tail, u64),
    ) -> std::io::Result<Self> {
        let gauges = Arc::new(Gauges::default());
        gauges.slots.store(options.slots, Ordering::Relaxed);
        let mut writer = Writer::new(storage, options, key, clock.clone(), Arc::clone(&gauges), tail);
        writer.begin()?;
        let (commands, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new().name("audit".into()).spawn(move || writer.run(&receiver))?;
        Ok(Self(Arc::new(Shared {
            commands,
            writer: Mutex::new(Some(thread)),
            gauges,
            clock,
            slots: options.slots,
            tickets: AtomicU64::new(0),
        })))
    }

    /// Hands an intent to the writer, and reserves the slot of its closing. Never blocks.
    ///
    /// # Errors
    /// [`Unavailable`]; nothing was recorded, and nothing may be disclosed.
    pub fn intend(&self, intent: Intent) -> Result<(Pending, Closing), Unavailable> {
        let shared = &self.0;
        shared.serving()?;
        if !shared.reserve(2) {
            return Err(Unavailable::QueueFull);
        }
        let ticket = shared.tickets.fetch_add(1, Ordering::Relaxed);
        let (answer, pending) = oneshot::channel();
        let at = shared.clock.wall().as_microsecond();
        let command = Command::Intend { intent: Box::new(intent), at, ticket, answer };
        shared.commands.send(command).map_err(|_| Unavailable::Closed)?;
        Ok((Pending(pending), self.closing(ticket)))
    }

    /// Hands the entries of persons whom only the answer named to the writer, in one batch: entry `n + 1` of the disclosure is the
    /// intent at position `n`. `first` is the proof that entry 0 is durable.
    ///
    /// # Errors
    /// [`Unavailable`]; nothing was recorded, and nothing may be disclosed.
    pub fn intend_persons(&self, first: Receipt, intents: Vec<Intent>) -> Result<(Pending, Vec<Closing>), Unavailable> {
        let shared = &self.0;
        shared.serving()?;
        let count = intents.len();
        // The rest is for requests about one person: answers about many, left unread, must not stop everybody.
        if !shared.reserve_but(2 * count, shared.slots / 2) {
            return Err(Unavailable::QueueFull);
        }
        let ticket = shared.tickets.fetch_add(count as u64, Ordering::Relaxed);
        let (answer, pending) = oneshot::channel();
        let at = shared.clock.wall().as_microsecond();
        let command = Command::Persons { disclosure: first.disclosure(), intents, at, ticket, answer };
        shared.commands.send(command).map_err(|_| Unavailable::Closed)?;
        let closings = (ticket..ticket + count as u64).map(|ticket| self.closing(ticket)).collect();
        Ok((Pending(pending), closings))
    }

    fn closing(&self, ticket: u64) -> Closing {
        Closing { shared: Arc::clone(&self.0), ticket, shown: None, closed: false }
    }

    /// Records the refusal of an identified caller if there is room for it; counts it as lost otherwise.
    pub fn refused(&self, refused: Refused) {
        let shared = &self.0;
        let lost = || shared.gauges.lost_refusals.fetch_add(1, Ordering::Relaxed);
        // However many are refused, there is room for those who are not.
        if shared.serving().is_err() || !shared.reserve_but(1, shared.slots / 2) {
            lost();
            return;
        }
        let at = shared.clock.wall().as_microsecond();
        if shared.commands.send(Command::Refuse { refused: Box::new(refused), at }).is_err() {
            lost();
        }
    }

    /// Hands over what an operator did. Also while the disk is too full for disclosures: the kill switch is recorded as long as
    /// there is any room.
    ///
    /// # Errors
    /// [`Unavailable`]; nothing was recorded.
    pub fn act(&self, action: Action) -> Result<Acted, Unavailable> {
        let shared = &self.0;
        match shared.serving() {
            Ok(()) | Err(Unavailable::DiskFull) => {}
            Err(unavailable) => return Err(unavailable),
        }
        if !shared.reserve(1) {
            return Err(Unavailable::QueueFull);
        }
        let (done, acted) = mpsc::sync_channel(1);
        let at = shared.clock.wall().as_microsecond();
        let command = Command::Act { action: Box::new(action), at, done };
        shared.commands.send(command).map_err(|_| Unavailable::Closed)?;
        Ok(Acted(acted))
    }

    /// Whether disclosures can be recorded now.
    pub fn is_serving(&self) -> bool {
        self.0.serving().is_ok()
    }

    /// Figures for metrics.
    pub fn stats(&self) -> Stats {
        let gauges = &self.0.gauges;
        let read = |gauge: &AtomicU64| gauge.load(Ordering::Relaxed);
        Stats {
            records: read(&gauges.records),
            batches: read(&gauges.batches),
            bytes: read(&gauges.bytes),
            failures: read(&gauges.failures),
            lost_refusals: read(&gauges.lost_refusals),
            queued: self.0.slots.saturating_sub(gauges.slots.load(Ordering::Relaxed)),
            free_bytes: read(&gauges.free),
            total_bytes: read(&gauges.total),
            sync_micros: read(&gauges.sync_micros),
        }
    }

    /// Writes what was handed over, closes the log and waits for the writer's thread. Disclosures SHOULD be over by then: the
    /// closing of one that is not is lost, and its intent reads "possibly seen".
    pub fn close(self) {
        self.0.stop();
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<audit log>")
    }
}

impl Shared {
    fn serving(&self) -> Result<(), Unavailable> {
        let gauges = &self.gauges;
        if gauges.closing.load(Ordering::Relaxed) {
            Err(Unavailable::Closed)
        } else if gauges.failing.load(Ordering::Relaxed) {
            Err(Unavailable::DiskFails)
        } else if gauges.full.load(Ordering::Relaxed) {
            Err(Unavailable::DiskFull)
        } else {
            Ok(())
        }
    }

    fn reserve(&self, count: usize) -> bool {
        self.reserve_but(count, 0)
    }

    /// Reserves slots if so many are left then.
    fn reserve_but(&self, count: usize, left: usize) -> bool {
        let slots = &self.gauges.slots;
        let take = |free: usize| free.checked_sub(count).filter(|rest| *rest >= left);
        slots.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn stop(&self) {
        self.gauges.closing.store(true, Ordering::Relaxed);
        // Neither can fail but by a writer that has ended already.
        let _ = self.commands.send(Command::Stop);
        if let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = writer.join();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An intent on its way to the disk.
#[must_use = "nothing may be released before the intent is durable"]
pub struct Pending(oneshot::Receiver<Result<Receipt, Unavailable>>);

impl Pending {
    /// Resolves after the fdatasync that made the intent durable.
    ///
    /// # Errors
    /// [`Unavailable`]: it is not known to be durable, and nothing may be disclosed.
    pub async fn durable(self) -> Result<Receipt, Unavailable> {
        self.0.await.unwrap_or(Err(Unavailable::Closed))
    }
}

/// An action on its way to the disk.
#[must_use = "an action that is not known to be durable must be recorded again"]
#[derive(Debug)]
pub struct Acted(mpsc::Receiver<Result<(), Unavailable>>);

impl Acted {
    /// Blocks until the fdatasync that made the action durable: never on a data-plane core.
    ///
    /// # Errors
    /// [`Unavailable`]: it is not known to be durable.
    pub fn durable(self) -> Result<(), Unavailable> {
        self.0.recv().unwrap_or(Err(Unavailable::Closed))
    }
}

/// The closing record of a disclosure, written exactly once: by [`Closing::close`], else by `Drop`.
#[must_use = "dropping it records that the disclosure was given up"]
pub struct Closing {
    shared: Arc<Shared>,
    ticket: u64,
    shown: Option<Shown>,
    closed: bool,
}

impl Closing {
    /// Records how the disclosure ended.
    pub fn close(mut self, outcome: Outcome) {
        self.write(outcome);
    }

    /// Says what the answer shows, before its first byte is released: from now on `Drop` records [`Outcome::Partial`].
    pub fn set(&mut self, shown: Shown) {
        self.shown = Some(shown);
    }

    fn write(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let at = self.shared.clock.wall().as_microsecond();
        // Its slot is reserved. If the writer has ended, the intent reads "possibly seen".
        let _ = self.shared.commands.send(Command::Close(Close { ticket: self.ticket, at, outcome }));
    }
}

impl fmt::Debug for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<closing>")
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let outcome = self.shown.map_or(Outcome::Aborted, Outcome::Partial);
        self.write(outcome);
    }
}

/// Where the log stands, and the number that its next segment may have.
fn recover(dir: &Path, folder: &Folder) -> Result<(Opened, (Tail, u64)), AuditError> {
    // What cannot be read is not broken for that: nobody should move it away.
    let broken = |damage: Damage| match damage.wrong {
        Wrong::Unreadable(unread) => {
            AuditError::Io { path: dir.join(&damage.segment).display().to_string(), source: unread.into() }
        }
        _ => AuditError::Broken { path: dir.display().to_string(), damage },
    };
    let mut walker = Walker::new(dir, None, Judge::Recovery, CHECKED_AT_OPEN).map_err(broken)?;
    while walker.batch().map_err(broken)?.is_some() {}
    for number in &walker.unborn {
        folder.set_aside(*number)?;
    }
    let (_, highest) =
        storage::segments(dir).map_err(|source| AuditError::Io { path: dir.display().to_string(), source })?;
    let fresh = walker.segments == 0;
    let opened = Opened {
        records: walker.tail.next_seq.saturating_sub(1),
        clean: walker.torn.is_empty() && (fresh || walker.sealed),
        torn: std::mem::take(&mut walker.torn),
    };
    Ok((opened, (walker.tail, highest.saturating_add(1))))
}

/// How much of a log's end is checked before it is continued. [`read::verify`] checks all of it.
pub const CHECKED_AT_OPEN: u64 = 1 << 30;
