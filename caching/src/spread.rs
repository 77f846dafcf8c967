//! Purges across nodes: what a node does with what it hears, and when it may no longer believe what it stored. No I/O.
//!
//! All purges are numbered in a log at Redis, and told on a channel. The channel only makes it fast; what a node may believe rests
//! on reading the log. A node that read the log from where it had read to before, at a request sent at `s`, knows all that was in
//! the log before `s`. It serves what it stored before `s` as fresh until `s` + T. So what is purged is stale at another node for
//! at most T after the log took the purge. Where the log does not go on from where the node had read to (Redis is another, was
//! emptied, went back, or the log is shorter than the gap), all that was fetched before must be validated.
//!
//! Only one clock is read, the node's own, and only differences of it count.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::purges::{Kind, Purge, Scope};

/// How a node keeps up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// The log is read this often: a fraction of T, so that one reading may be lost.
    pub read_every: Duration,
    /// A reading or a publishing that takes longer is taken for lost.
    pub give_up: Duration,
}

/// Which Redis, and which life of it: its `run_id` and an id that whoever finds none stores there, hashed into one. A restart, a
/// fail-over or a flush changes it; a restored snapshot cannot be told by numbers alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Life(pub u128);

/// A purge in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Logged {
    /// From the counter; one more than that of the purge before.
    pub number: u64,
    /// What was purged.
    pub purge: Purge,
}

/// What a reading of the log found, at one point in time (one script or transaction).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    /// Whose log it is.
    pub life: Life,
    /// The counter.
    pub head: u64,
    /// What came after the number that was asked for, oldest first, as far as the log still has it.
    pub purges: Vec<Logged>,
}

/// What a node does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Purge the store here.
    Apply(Purge),
    /// All that others purged before then was applied: tell the store, after what came before was applied.
    Synced(Instant),
    /// Read the log after that number, and answer with [`Spread::read`].
    Read {
        /// Names the reading.
        reading: u64,
        /// The last number that is known.
        after: u64,
    },
    /// Add to the log and tell on the channel (one script or transaction), and answer with [`Spread::published`].
    Publish {
        /// Names the purge; it may be published twice.
        publishing: u64,
        /// What is purged.
        purge: Purge,
    },
}

/// Purges of all nodes, as this one knows them.
#[derive(Debug)]
pub struct Spread {
    rules: Rules,
    connected: bool,
    /// Whose log was read, and up to where.
    known: Option<(Life, u64)>,
    reading: Option<Under>,
    last_read: Option<Instant>,
    /// Something was heard that does not go on from what is known.
    gap: bool,
    outbox: VecDeque<Outgoing>,
    next: u64,
}

#[derive(Clone, Copy, Debug)]
struct Under {
    name: u64,
    sent: Instant,
    /// What was known when it was sent.
    after: Option<(Life, u64)>,
}

#[derive(Debug)]
struct Outgoing {
    /// Those that it stands for, itself the last.
    first: u64,
    name: u64,
    purge: Purge,
    sent: Option<Instant>,
}

impl Spread {
    /// A node that knows nothing yet.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            connected: false,
            known: None,
            reading: None,
            last_read: None,
            gap: false,
            outbox: VecDeque::new(),
            next: 0,
        }
    }

    /// Somebody purges at this node. It is applied here at once; `publishing` names it for [`Spread::is_published`].
    pub fn purge(&mut self, purge: Purge, now: Instant) -> (u64, Vec<Action>) {
        if self.outbox.len() >= OUTBOX {
            // Wrong in the safe direction: all nodes drop all, rather than that one of these is forgotten.
            let all = Purge { scope: Scope::All, kind: Kind::Hard };
            let name = self.name();
            let first = self.outbox.drain(..).map(|outgoing| outgoing.first).min().unwrap_or(name);
            self.outbox.push_back(Outgoing { first, name, purge: all, sent: None });
        }
        let name = self.name();
        self.outbox.push_back(Outgoing { first: name, name, purge, sent: None });
        let mut actions = vec![Action::Apply(purge)];
        self.go_on(now, &mut actions);
        (name, actions)
    }

    /// Whether the log took a purge of this node: from when it did, T runs.
    pub fn is_published(&self, publishing: u64) -> bool {
        // Names only grow, and so they stand.
        let at = self.outbox.partition_point(|outgoing| outgoing.name < publishing);
        self.outbox.get(at).is_none_or(|outgoing| publishing < outgoing.first)
    }

    /// How many purges of this node wait for the log.
    pub fn waiting(&self) -> usize {
        self.outbox.len()
    }

    /// Redis can be reached, and the channel is listened to.
    pub fn connected(&mut self, now: Instant) -> Vec<Action> {
        self.lost();
        self.connected = true;
        self.gap = true;
        let mut actions = Vec::new();
        self.go_on(now, &mut actions);
        actions
    }

    /// Redis cannot be reached, or not listened to.
    pub fn lost(&mut self) {
        self.connected = false;
        self.reading = None;
        self.outbox.iter_mut().for_each(|outgoing| outgoing.sent = None);
    }

    /// A purge was told on the channel. It is applied whatever it is; only if it is the next is the log known up to it.
    pub fn heard(&mut self, life: Life, logged: Logged, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        match &mut self.known {
            Some((known, number)) if *known == life && logged.number <= *number => return actions,
            Some((known, number)) if *known == life && logged.number == *number + 1 => *number = logged.number,
            _ => self.gap = true,
        }
        actions.push(Action::Apply(logged.purge));
        self.go_on(now, &mut actions);
        actions
    }

    /// A reading of the log came back, or failed.
    pub fn read(&mut self, reading: u64, found: Option<Reading>, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(under) = self.reading.take_if(|under| under.name == reading) else { return actions };
        let Some(found) = found else { return actions };
        let goes_on = under.after.is_some_and(|(life, after)| life == found.life && joins(after, &found));
        actions.extend(found.purges.iter().map(|logged| Action::Apply(logged.purge)));
        if goes_on {
            // The channel may have told more meanwhile.
            if let Some((_, number)) = &mut self.known {
                *number = found.head.max(*number);
            }
        } else {
            actions.push(Action::Apply(Purge { scope: Scope::All, kind: Kind::Soft }));
            self.known = Some((found.life, found.head));
        }
        actions.push(Action::Synced(under.sent));
        self.go_on(now, &mut actions);
        actions
    }

    /// The log took a purge, or did not.
    pub fn published(&mut self, publishing: u64, taken: bool, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        let at = self.outbox.partition_point(|outgoing| outgoing.name < publishing);
        if let Some(outgoing) = self.outbox.get_mut(at).filter(|outgoing| outgoing.name == publishing) {
            if !taken {
                // The next tick sends it again.
                outgoing.sent = None;
                return actions;
            }
            self.outbox.remove(at);
        }
        self.go_on(now, &mut actions);
        actions
    }

    /// Time passes. MUST be called more often than [`Rules::read_every`].
    pub fn tick(&mut self, now: Instant) -> Vec<Action> {
        let late = |sent: Instant| now.saturating_duration_since(sent) >= self.rules.give_up;
        self.reading.take_if(|under| late(under.sent));
        for outgoing in &mut self.outbox {
            outgoing.sent.take_if(|sent| late(*sent));
        }
        let mut actions = Vec::new();
        self.go_on(now, &mut actions);
        actions
    }

    /// What is to be sent now.
    fn go_on(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if !self.connected {
            return;
        }
        let due = self.last_read.is_none_or(|last| now.saturating_duration_since(last) >= self.rules.read_every);
        if (due || self.gap) && self.reading.is_none() {
            let name = self.name();
            let after = self.known.map_or(0, |(_, number)| number);
            self.reading = Some(Under { name, sent: now, after: self.known });
            self.last_read = Some(now);
            self.gap = false;
            actions.push(Action::Read { reading: name, after });
        }
        for outgoing in self.outbox.iter_mut().filter(|outgoing| outgoing.sent.is_none()).take(AT_ONCE) {
            outgoing.sent = Some(now);
            actions.push(Action::Publish { publishing: outgoing.name, purge: outgoing.purge });
        }
    }

    fn name(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// Whether a reading has all that came after a number.
fn joins(after: u64, found: &Reading) -> bool {
    let numbers = found.purges.iter().map(|logged| logged.number);
    found.head >= after && numbers.eq(after + 1..=found.head)
}

/// How many purges wait for the log at most.
const OUTBOX: usize = 16_384;
/// How many are sent in one go.
const AT_ONCE: usize = 256;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
