//! The one thread that writes. It takes whatever waits, appends it as one batch by one write, makes it durable by one
//! fdatasync, and then tells everybody: natural group commit, no timer.
//!
//! After a failed write or fdatasync nothing is known of the file (the kernel may drop the dirty pages and report success the next
//! time), so the segment is abandoned, and the log stays closed until a new segment's first batch is durable.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use popgate_policy::model::DisclosureId;
use tokio::sync::oneshot;

use super::Options;
use super::encode::Encoder;
use super::key::AuditKey;
use super::log::Tail;
use super::record::{Action, Intent, Outcome, Refused, Unavailable};
use super::storage::Storage;
use super::wire::{Header, Kind, commit, frame};
use crate::clock::Clock;

/// Proof that the intent of a disclosure is durable. Made here and nowhere else, after the fdatasync.
#[derive(Debug)]
#[must_use = "without it nothing can be released"]
pub struct Receipt {
    disclosure: DisclosureId,
    durable_upto: u32,
}

impl Receipt {
    fn attest(disclosure: DisclosureId, durable_upto: u32) -> Self {
        Self { disclosure, durable_upto }
    }

    /// The disclosure.
    pub fn disclosure(&self) -> DisclosureId {
        self.disclosure
    }

    /// The last person's entry (counted from 0 within the disclosure) whose record is durable.
    pub fn durable_upto(&self) -> u32 {
        self.durable_upto
    }
}

/// What an intent's waiter hears.
pub(super) type Answer = oneshot::Sender<Result<Receipt, Unavailable>>;

/// What an action's waiter hears. It waits on a thread of its own, not on a core's.
pub(super) type Done = SyncSender<Result<(), Unavailable>>;

/// What the writer is asked.
pub(super) enum Command {
    Intend {
        intent: Box<Intent>,
        at: i64,
        ticket: u64,
        answer: Answer,
    },
    /// The entries 1 and on of a disclosure whose entry 0 is durable; the tickets count on from the first.
    Persons {
        disclosure: DisclosureId,
        intents: Vec<Intent>,
        at: i64,
        ticket: u64,
        answer: Answer,
    },
    Close(Close),
    Refuse {
        refused: Box<Refused>,
        at: i64,
    },
    Act {
        action: Box<Action>,
        at: i64,
        done: Done,
    },
    Stop,
}

/// The closing of an intent.
#[derive(Clone, Copy)]
pub(super) struct Close {
    pub(super) ticket: u64,
    pub(super) at: i64,
    pub(super) outcome: Outcome,
}

/// What the writer and its callers share.
#[derive(Default)]
pub(super) struct Gauges {
    /// Records that may still be handed over, or are reserved.
    pub(super) slots: AtomicUsize,
    pub(super) closing: AtomicBool,
    pub(super) failing: AtomicBool,
    pub(super) full: AtomicBool,
    pub(super) records: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) lost_refusals: AtomicU64,
    pub(super) sync_micros: AtomicU64,
    pub(super) free: AtomicU64,
    pub(super) total: AtomicU64,
}

/// The writer's state.
pub(super) struct Writer<S> {
    storage: S,
    options: Options,
    key: AuditKey,
    clock: Clock,
    gauges: Arc<Gauges>,
    tail: Tail,
    next_number: u64,
    segment: Option<Encoder>,
    /// Intents that are durable (or in this batch) and have no closing yet: ticket to sequence number.
    open: HashMap<u64, u64>,
    batch: Batch,
    /// Closings of durable intents that a failed batch held.
    again: Vec<Close>,
    /// A segment whose first batch failed: MUST be gone before another is begun.
    debris: Option<u64>,
    failed_at: Option<Instant>,
    looked_at: Option<Instant>,
}

/// What is being put together.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    records: u64,
    waiting: Vec<Waiting>,
    closings: Vec<(Close, u64)>,
    refusals: u64,
    actions: Vec<Done>,
}

/// Somebody who waits for intents.
struct Waiting {
    tickets: Range<u64>,
    disclosure: DisclosureId,
    durable_upto: u32,
    answer: Answer,
}

impl<S: Storage> Writer<S> {
    /// `tail`: where the log stands; `next_number`: above every segment that there ever was.
    pub(super) fn new(
        storage: S,
        options: Options,
        key: AuditKey,
        clock: Clock,
        gauges: Arc<Gauges>,
        (tail, next_number): (Tail, u64),
    ) -> Self {
        Self {
            storage,
            options,
            key,
            clock,
            gauges,
            tail,
            next_number,
            segment: None,
            open: HashMap::new(),
            batch: Batch::default(),
            again: Vec::new(),
            debris: None,
            failed_at: None,
            looked_at: None,
        }
    }

    /// Makes a new segment durable, before anything is accepted.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        self.look_at_space();
        self.begin_segment()?;
        self.write()
    }

    /// Runs until everybody who could ask has gone, or `Stop`.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        let mut stop = false;
        while !stop {
            let first = match commands.recv_timeout(self.patience()) {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Command::Stop),
            };
            self.look_at_space();
            self.try_again(false);
            let rest = std::iter::from_fn(|| commands.try_recv().ok()).take(MAX_BATCH);
            for command in first.into_iter().chain(rest) {
                stop |= matches!(command, Command::Stop);
                self.take(command);
            }
            self.flush();
        }
        self.try_again(true);
        // What was handed over before, but did not fit into the last batch.
        commands.try_iter().for_each(|command| self.take(command));
        self.flush();
        self.seal();
    }

    fn patience(&self) -> Duration {
        let full = self.gauges.full.load(Ordering::Relaxed);
        if self.failed_at.is_some() || full { LOOK } else { IDLE }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Intend { intent, at, ticket, answer } => {
                let waiting =
                    Waiting { tickets: ticket..ticket + 1, disclosure: intent.disclosure, durable_upto: 0, answer };
                self.intend(std::slice::from_ref(&*intent), at, waiting);
            }
            Command::Persons { disclosure, intents, at, ticket, answer } => {
                let tickets = ticket..ticket + intents.len() as u64;
                let durable_upto = u32::try_from(intents.len()).unwrap_or(0);
                self.intend(&intents, at, Waiting { tickets, disclosure, durable_upto, answer });
            }
            Command::Close(close) => self.close(close),
            Command::Refuse { refused, at } => self.refuse(&refused, at),
            Command::Act { action, at, done } => self.act(&action, at, done),
            Command::Stop => {}
        }
    }

    fn intend(&mut self, intents: &[Intent], at: i64, waiting: Waiting) {
        for (done, (intent, ticket)) in intents.iter().zip(waiting.tickets.clone()).enumerate() {
            let seq = self.seq();
            let encoded = match self.ready() {
                Some((segment, out)) => segment.intent(out, seq, at, intent),
                None => None,
            };
            if encoded.is_none() {
                // What stands in the batch already stays, with its closing; nobody was shown anything of it.
                self.release(intents.len() - done);
                // Whoever no longer waits needs no answer.
                let _ = waiting.answer.send(Err(Unavailable::DiskFails));
                return;
            }
            self.batch.records += 1;
            self.open.insert(ticket, seq);
        }
        self.batch.waiting.push(waiting);
    }

    fn close(&mut self, close: Close) {
        let Some(&intent) = self.open.get(&close.ticket) else {
            // Its intent never became durable, so nothing was shown.
            self.release(1);
            return;
        };
        let seq = self.seq();
        match self.ready() {
            Some((segment, out)) => segment.closing(out, seq, close.at, intent, close.outcome),
            None => {
                self.again.push(close);
                return;
            }
        }
        self.batch.records += 1;
        self.open.remove(&close.ticket);
        self.batch.closings.push((close, intent));
    }

    fn refuse(&mut self, refused: &Refused, at: i64) {
        let seq = self.seq();
        let encoded = match self.ready() {
            Some((segment, out)) => segment.refused(out, seq, at, refused),
            None => None,
        };
        if encoded.is_none() {
            self.release(1);
            self.gauges.lost_refusals.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.batch.records += 1;
        self.batch.refusals += 1;
    }

    fn act(&mut self, action: &Action, at: i64, done: Done) {
        match self.ready() {
            Some((segment, out)) => segment.action(out, at, action),
            None => {
                self.release(1);
                // Whoever no longer waits needs no answer.
                let _ = done.try_send(Err(Unavailable::DiskFails));
                return;
            }
        }
        self.batch.records += 1;
        self.batch.actions.push(done);
    }

    /// The number that the batch's next record gets.
    fn seq(&self) -> u64 {
        self.tail.next_seq + self.batch.records
    }

    /// The segment to encode with, and the bytes to append to; a new segment is begun where
    /// there is none. `None` while the disk fails.
    fn ready(&mut self) -> Option<(&mut Encoder, &mut Vec<u8>)> {
        if self.failed_at.is_some() {
            return None;
        }
        if self.segment.is_none() && self.begin_segment().is_err() {
            self.fail();
            return None;
        }
        Some((self.segment.as_mut()?, &mut self.batch.bytes))
    }

    /// Puts a new segment's header into the batch, which MUST be empty.
    fn begin_segment(&mut self) -> io::Result<()> {
        if let Some(debris) = self.debris {
            self.storage.discard(debris)?;
            self.debris = None;
        }
        let mut salt = [0; 16];
        rand::fill(&mut salt).map_err(|_| io::Error::other("no randomness"))?;
        let number = self.next_number;
        self.next_number = number.saturating_add(1);
        let sealing = self.key.segment(number, &salt).ok_or_else(|| io::Error::other("no cipher"))?;
        self.debris = Some(number);
        self.storage.create(number)?;
        let header = Header {
            number,
            previous: self.tail.number,
            previous_end: self.tail.end,
            previous_torn: self.tail.torn,
            previous_hash: self.tail.hash,
            first_seq: self.tail.next_seq,
            created: self.clock.wall().as_microsecond(),
            salt,
            key: self.key.id(),
        };
        header.put(&mut self.batch.bytes);
        self.segment = Some(Encoder::new(self.key.clone(), sealing, header.created));
        Ok(())
    }

    fn flush(&mut self) {
        if self.batch.bytes.is_empty() {
            return;
        }
        if self.write().is_err() {
            self.fail();
        }
    }

    /// Appends the batch and makes it durable.
    fn write(&mut self) -> io::Result<()> {
        let hash = commit(&mut self.batch.bytes, &self.tail.hash);
        self.storage.append(&self.batch.bytes)?;
        let before = self.clock.now();
        self.storage.sync()?;
        let took = self.clock.now().saturating_duration_since(before);
        let length = self.batch.bytes.len() as u64;
        match self.debris.take() {
            Some(number) => self.tail = Tail { number, end: length, next_seq: self.tail.next_seq, ..Tail::default() },
            None => self.tail.end += length,
        }
        self.tail.hash = hash;
        self.tail.next_seq += self.batch.records;
        let gauges = &self.gauges;
        gauges.sync_micros.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        gauges.records.fetch_add(self.batch.records, Ordering::Relaxed);
        gauges.bytes.fetch_add(length, Ordering::Relaxed);
        gauges.batches.fetch_add(1, Ordering::Relaxed);
        gauges.slots.fetch_add(usize::try_from(self.batch.records).unwrap_or(usize::MAX), Ordering::Relaxed);
        self.batch.clear();
        for Waiting { disclosure, durable_upto, answer, .. } in self.batch.waiting.drain(..) {
            let _ = answer.send(Ok(Receipt::attest(disclosure, durable_upto)));
        }
        for done in self.batch.actions.drain(..) {
            let _ = done.try_send(Ok(()));
        }
        if self.tail.end >= self.options.segment_bytes {
            self.segment = None;
        }
        Ok(())
    }

    /// Gives the batch and its segment up. Nobody may be told that any of it is durable.
    fn fail(&mut self) {
        self.failed_at = Some(self.clock.now());
        self.gauges.failing.store(true, Ordering::Relaxed);
        self.gauges.failures.fetch_add(1, Ordering::Relaxed);
        self.segment = None;
        // A segment without a durable batch leaves the folder; of an older one the part that is durable stays.
        if self.debris.is_none() {
            self.storage.abandon(self.tail.end);
            self.tail.torn = true;
        }
        let batch = std::mem::take(&mut self.batch);
        for Waiting { tickets, answer, .. } in batch.waiting {
            for ticket in tickets {
                self.open.remove(&ticket);
                self.release(1);
            }
            let _ = answer.send(Err(Unavailable::DiskFails));
        }
        for (close, intent) in batch.closings {
            if intent < self.tail.next_seq {
                self.open.insert(close.ticket, intent);
                self.again.push(close);
            } else {
                self.release(1);
            }
        }
        for done in batch.actions {
            self.release(1);
            let _ = done.try_send(Err(Unavailable::DiskFails));
        }
        self.release(usize::try_from(batch.refusals).unwrap_or(0));
        self.gauges.lost_refusals.fetch_add(batch.refusals, Ordering::Relaxed);
    }

    /// After a failure: tries whether a new segment proves durable, with the closings that the old one lost.
    fn try_again(&mut self, at_once: bool) {
        let Some(failed_at) = self.failed_at else { return };
        if !at_once && self.clock.now().saturating_duration_since(failed_at) < BACKOFF {
            return;
        }
        self.failed_at = None;
        if self.begin_segment().is_err() {
            self.fail();
            return;
        }
        for close in std::mem::take(&mut self.again) {
            self.close(close);
        }
        self.flush();
        if self.failed_at.is_none() {
            self.gauges.failing.store(false, Ordering::Relaxed);
        }
    }

    /// Says that the log was closed, not cut off.
    fn seal(&mut self) {
        if let Some((_, out)) = self.ready() {
            frame(out, Kind::Seal, &[]);
            self.flush();
        }
        self.gauges.closing.store(true, Ordering::Relaxed);
    }

    fn look_at_space(&mut self) {
        let now = self.clock.now();
        if self.looked_at.is_some_and(|at| now.saturating_duration_since(at) < LOOK) {
            return;
        }
        self.looked_at = Some(now);
        // A disk that cannot say how much room it has is not trusted with records.
        let space = self.storage.space().ok();
        let free = space.map_or(0, |space| space.free);
        self.gauges.free.store(free, Ordering::Relaxed);
        self.gauges.total.store(space.map_or(0, |space| space.total), Ordering::Relaxed);
        self.gauges.full.store(space.is_none() || free < self.options.min_free_bytes, Ordering::Relaxed);
    }

    fn release(&self, slots: usize) {
        self.gauges.slots.fetch_add(slots, Ordering::Relaxed);
    }
}

impl Batch {
    /// Empties it for the next one, but for those who wait for this one.
    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BUFFER);
        self.records = 0;
        self.refusals = 0;
        self.closings.clear();
    }
}

/// The most records of one batch: bounds how long its first waiter waits for the others' encoding.
const MAX_BATCH: usize = 4096;
/// How often the disk is asked for its room at most, and how often it is asked while the log is closed.
const LOOK: Duration = Duration::from_millis(100);
/// How often a writer without work looks at the disk.
const IDLE: Duration = Duration::from_secs(1);
/// How long a failed disk is left alone.
const BACKOFF: Duration = Duration::from_secs(1);
/// Bytes of buffer that are kept between batches.
const KEPT_BUFFER: usize = 1 << 20;
