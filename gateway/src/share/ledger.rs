//! The book of one node: which limits are to be settled, what the answers allow, and what the node allows itself while
//! nobody answers. It knows no clock, socket or chance: times are microseconds that it is told.

mod quotas;
mod rates;
#[cfg(test)]
mod simulation;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use super::cell::{SharedQuota, SharedRate};
use super::script::{Call, Reply};
use quotas::Book;
use rates::Account;

/// How a node settles. Times are microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Nodes that there are meant to be: as many are reckoned with even if fewer live.
    pub(super) nodes: u32,
    /// How often what changed is settled.
    pub(super) round: u64,
    /// How long the node relies on what it was given, unanswered.
    pub(super) stale: u64,
    /// How long its own share limits it still after it was answered again: until the others are back as well.
    pub(super) lift: u64,
}

/// One call, and what the node knew when it made it.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    id: u64,
    period: u64,
    spent: u64,
    pub(super) call: Call,
}

/// How it stands with the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Shared,
    /// Nobody answers.
    Alone,
    /// For so many limits nobody answers.
    Partly(usize),
}

#[derive(Debug)]
pub(super) struct Ledger {
    rules: Rules,
    live: u32,
    entries: HashMap<u64, Entry>,
    queue: VecDeque<u64>,
    timers: BinaryHeap<Reverse<(u64, u64)>>,
    /// Entries that wait for an answer, or live on the node's own share.
    watched: Vec<u64>,
    /// When anything was last answered.
    heard: Option<u64>,
    /// When the node was answered again after it had been alone.
    back: u64,
    beat: u64,
    alone: bool,
    lonely: usize,
    pub(super) conflicts: u64,
}

#[derive(Debug)]
struct Entry {
    kind: Kind,
    /// Since when an answer is due.
    waiting: Option<u64>,
    queued: bool,
    watched: bool,
    not_before: u64,
    timer: u64,
}

#[derive(Debug)]
enum Kind {
    Rate(Account),
    Quota(Book),
}

impl Ledger {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            live: rules.nodes,
            entries: HashMap::new(),
            queue: VecDeque::new(),
            timers: BinaryHeap::new(),
            watched: Vec::new(),
            heard: None,
            back: 0,
            beat: 0,
            alone: true,
            lonely: 0,
            conflicts: 0,
        }
    }

    pub(super) fn add_rate(&mut self, cell: Arc<SharedRate>, now: u64) {
        let until = (!self.alone && now < self.back.saturating_add(self.rules.lift))
            .then(|| self.back.saturating_add(self.rules.lift));
        let id = cell.id;
        let account = Account::new(cell, self.alone || until.is_some(), until, now);
        self.add(id, Kind::Rate(account), now);
    }

    pub(super) fn add_quota(&mut self, cell: Arc<SharedQuota>, now: u64) {
        self.add(cell.id, Kind::Quota(Book::new(cell)), now);
    }

    /// Forgets limits that nobody holds any more and that owe nothing.
    pub(super) fn sweep(&mut self) -> Vec<u64> {
        let slots = self.slots();
        let gone = |(id, entry): (&u64, &mut Entry)| {
            let settled = entry.waiting.is_none() && !entry.queued;
            let idle = match &mut entry.kind {
                Kind::Rate(account) => account.idle(slots),
                Kind::Quota(book) => book.idle(),
            };
            (settled && idle).then_some(*id)
        };
        let gone: Vec<u64> = self.entries.iter_mut().filter_map(gone).collect();
        for id in &gone {
            self.entries.remove(id);
        }
        gone
    }

    /// A limit was spent of, or refused.
    pub(super) fn mark(&mut self, id: u64, now: u64) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let at_ease = match &entry.kind {
            Kind::Rate(account) => account.at_ease(),
            Kind::Quota(book) => book.at_ease(),
        };
        if at_ease && !self.alone && !entry.queued {
            self.timer(id, now.saturating_add(self.rules.stale / 5));
        } else {
            self.queue(id, now);
        }
    }

    /// There is a new connection: perhaps to a Redis that lost what it knew. It is told all counts again.
    pub(super) fn connected(&mut self, now: u64) {
        let counts = self.entries.iter().filter(|(_, entry)| matches!(entry.kind, Kind::Quota(_)));
        let counts: Vec<u64> = counts.map(|(id, _)| *id).collect();
        for id in counts {
            self.queue(id, now);
        }
    }

    /// What is true because time passed: own shares fill, and who was not answered for too long lives on its own.
    pub(super) fn tick(&mut self, now: u64) {
        self.alone = self.heard.is_none_or(|heard| now.saturating_sub(heard) > self.rules.stale);
        let (slots, stale, alone) = (self.slots(), self.rules.stale, self.alone);
        let mut lonely = 0;
        let mut again = Vec::new();
        let entries = &mut self.entries;
        self.watched.retain(|id| {
            let Some(entry) = entries.get_mut(id) else { return false };
            let unanswered = entry.waiting.is_some_and(|since| alone || now.saturating_sub(since) > stale);
            let (is_lonely, more) = match &mut entry.kind {
                Kind::Rate(account) => account.tick(unanswered, slots, self.rules.round, now),
                Kind::Quota(book) => book.tick(unanswered, slots, now),
            };
            lonely += usize::from(is_lonely);
            if matches!(more, More::Ask) {
                again.push(*id);
            }
            entry.watched = entry.waiting.is_some() || !matches!(more, More::No);
            entry.watched
        });
        self.lonely = lonely;
        for id in again {
            self.queue(id, now);
        }
        while let Some(Reverse((at, id))) = self.timers.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.timers.pop();
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            if entry.timer == at {
                entry.timer = 0;
                self.queue(id, now);
            }
        }
    }

    /// At most so many calls, to be made now. Each is to be answered, or failed.
    pub(super) fn asks(&mut self, most: usize, now: u64) -> Vec<Ask> {
        let mut asks = Vec::new();
        if now >= self.beat {
            self.beat = now + BEAT;
            asks.push(Ask { id: 0, period: 0, spent: 0, call: Call::Beat });
        }
        let (slots, live) = (self.slots(), self.live);
        for _ in 0..self.queue.len() {
            if asks.len() >= most {
                break;
            }
            let Some(id) = self.queue.pop_front() else { break };
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            entry.queued = false;
            if entry.not_before > now {
                let at = entry.not_before;
                self.timer(id, at);
                continue;
            }
            match &mut entry.kind {
                Kind::Rate(account) => asks.push(account.ask(slots, live, now)),
                Kind::Quota(book) => {
                    let before = asks.len();
                    book.asks(slots, live, &mut asks);
                    if asks.len() == before {
                        entry.waiting = None;
                    }
                }
            }
        }
        asks
    }

    pub(super) fn answered(&mut self, ask: &Ask, reply: &Reply, now: u64) {
        self.heard = Some(now);
        if self.alone {
            self.alone = false;
            self.back = now;
        }
        let lift = now.saturating_add(self.rules.lift);
        let (slots, round) = (self.slots(), self.rules.round);
        if let Reply::Beat { nodes } = *reply {
            self.live = nodes.max(1);
            return;
        }
        let Some(entry) = self.entries.get_mut(&ask.id) else { return };
        let again = match (&mut entry.kind, reply) {
            (Kind::Rate(account), Reply::Rate { grant, level, .. }) => {
                account.answered(ask, *grant, *level, slots, round, lift, now)
            }
            (Kind::Quota(book), Reply::Quota { current, base, total, left, run, .. }) => {
                match book.answered(ask, *current, *base, *total, *left, *run, lift, now) {
                    Some(again) => again,
                    None => {
                        self.conflicts += 1;
                        self.failed(ask, now);
                        return;
                    }
                }
            }
            _ => return self.failed(ask, now),
        };
        entry.waiting = entry.queued.then_some(now.max(again.not_before));
        entry.not_before = again.not_before;
        if let Some(at) = again.at {
            self.timer(ask.id, at);
        }
    }

    /// There was no answer, or none of use. It is asked again.
    pub(super) fn failed(&mut self, ask: &Ask, now: u64) {
        if matches!(ask.call, Call::Beat) {
            self.beat = now;
        }
        if let Some(entry) = self.entries.get_mut(&ask.id)
            && let Kind::Quota(book) = &mut entry.kind
        {
            book.failed(ask.period);
        }
        self.queue(ask.id, now);
    }

    pub(super) fn standing(&self) -> Standing {
        match (self.alone, self.lonely) {
            (true, _) => Standing::Alone,
            (false, 0) => Standing::Shared,
            (false, lonely) => Standing::Partly(lonely),
        }
    }

    /// Nodes that live, as last heard.
    pub(super) fn live(&self) -> u32 {
        self.live
    }

    /// Nodes that are reckoned with.
    pub(super) fn slots(&self) -> u32 {
        self.rules.nodes.max(self.live)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn add(&mut self, id: u64, kind: Kind, now: u64) {
        let entry = Entry { kind, waiting: None, queued: false, watched: false, not_before: 0, timer: 0 };
        self.entries.insert(id, entry);
        self.queue(id, now);
    }

    fn queue(&mut self, id: u64, now: u64) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if !entry.queued {
            entry.queued = true;
            entry.waiting = entry.waiting.or(Some(now.max(entry.not_before)));
            self.queue.push_back(id);
        }
        if !entry.watched {
            entry.watched = true;
            self.watched.push(id);
        }
    }

    fn timer(&mut self, id: u64, at: u64) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        // One that is earlier stays.
        if entry.timer == 0 || at < entry.timer {
            entry.timer = at;
            self.timers.push(Reverse((at, id)));
        }
    }
}

/// When a limit is to be asked about again.
#[derive(Clone, Copy, Debug)]
struct Again {
    /// Not earlier, whoever wants.
    not_before: u64,
    /// Then, even if nobody wants.
    at: Option<u64>,
}

/// Whether a limit must be looked at further.
#[derive(Clone, Copy, Debug)]
enum More {
    No,
    Yes,
    /// And asked about.
    Ask,
}

/// How often a node says that it lives.
const BEAT: u64 = 500_000;
