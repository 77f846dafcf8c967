//! What a request touches: a limit of this node, without a wait for anybody.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::terms::{Rate, as_count, as_tokens, lease, whole_micros};

/// A rate limit that the nodes share.
#[derive(Debug)]
pub struct SharedRate {
    pub(super) id: u64,
    pub(super) key: String,
    pub(super) run: u64,
    pub(super) rate: Rate,
    desk: Arc<Desk>,
    /// All that this node ever admitted.
    pub(super) spent: AtomicU64,
    /// What `spent` may become before the next settlement.
    pub(super) ceiling: AtomicU64,
    /// At this much spent a settlement is wanted in the next round, or, if it is pressing, at once.
    pub(super) low: AtomicU64,
    pub(super) pressing: AtomicBool,
    /// Whole tokens in the shared bucket, as last heard.
    pub(super) level: AtomicU64,
    /// When there will be a token again, in microseconds of the desk.
    pub(super) ready: AtomicU64,
    /// The most that this node may be given at once.
    pub(super) credit: AtomicU64,
    marked: AtomicBool,
}

/// What is left of a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Tokens, as far as this node knows.
    pub remaining: u64,
    /// When all tokens would be there again.
    pub reset: Duration,
}

/// Refused; a token is expected after this time at the earliest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait(pub Duration);

impl SharedRate {
    pub(super) fn new(id: u64, key: &str, rate: Rate, nodes: u32, desk: Arc<Desk>) -> Self {
        let credit = as_count(rate.credit(nodes));
        Self {
            id,
            key: key.to_owned(),
            run: desk.runs.fetch_add(1, Ordering::Relaxed),
            rate,
            desk,
            spent: AtomicU64::new(0),
            ceiling: AtomicU64::new(credit),
            low: AtomicU64::new(credit - credit / 2),
            pressing: AtomicBool::new(false),
            level: AtomicU64::new(as_count(rate.capacity(nodes))),
            ready: AtomicU64::new(0),
            credit: AtomicU64::new(credit),
            marked: AtomicBool::new(false),
        }
    }

    /// Takes `n` tokens, all or none. No lock is taken except by the first spender after a settlement.
    ///
    /// # Errors
    /// How long to wait, if this node may not spend so many now. More than [`SharedRate::most`] are never there at once.
    pub fn take(&self, n: u32, now: Instant) -> Result<Left, Wait> {
        let n = u64::from(n);
        let mut spent = self.spent.load(Ordering::Relaxed);
        loop {
            let after = spent.saturating_add(n);
            let ceiling = self.ceiling.load(Ordering::Relaxed);
            if after > ceiling {
                self.touched(after);
                return Err(self.wait(n, now));
            }
            match self.spent.compare_exchange_weak(spent, after, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => {
                    self.touched(after);
                    return Ok(self.left(ceiling - after));
                }
                Err(other) => spent = other,
            }
        }
    }

    /// The most tokens that [`SharedRate::take`] can take in one call on this node.
    pub fn most(&self) -> u64 {
        self.credit.load(Ordering::Relaxed)
    }

    /// Whether a spender or one that was refused asks for a settlement. Asked before `spent` is read.
    pub(super) fn unmark(&self) -> bool {
        self.marked.swap(false, Ordering::AcqRel)
    }

    fn touched(&self, spent: u64) {
        if !self.marked.load(Ordering::Relaxed) && !self.marked.swap(true, Ordering::AcqRel) {
            self.desk.mark(self.id);
        }
        if spent >= self.low.load(Ordering::Relaxed) {
            self.ran_low();
        }
    }

    #[cold]
    fn ran_low(&self) {
        if self.low.swap(u64::MAX, Ordering::Relaxed) == u64::MAX {
            return;
        }
        self.desk.mark(self.id);
        if self.pressing.load(Ordering::Relaxed) {
            self.desk.bell.notify_one();
        }
    }

    fn left(&self, here: u64) -> Left {
        let remaining = (here + self.level.load(Ordering::Relaxed)).min(u64::from(self.rate.burst.get()));
        let micros = (self.rate.burst() - as_tokens(remaining)) / self.rate.speed();
        Left { remaining, reset: Duration::from_micros(as_count(micros)) }
    }

    #[cold]
    fn wait(&self, n: u64, now: Instant) -> Wait {
        if n > self.most() {
            return Wait(Duration::MAX);
        }
        let micros = self.ready.load(Ordering::Relaxed).saturating_sub(self.desk.micros(now));
        Wait(Duration::from_micros(micros).max(SHORTEST_WAIT))
    }
}

/// A quota in calendar periods that the nodes share.
#[derive(Debug)]
pub struct SharedQuota {
    pub(super) id: u64,
    pub(super) key: String,
    pub(super) quota: AtomicU64,
    desk: Arc<Desk>,
    periods: Mutex<Vec<Period>>,
    marked: AtomicBool,
}

/// What this node knows of one period.
#[derive(Clone, Debug)]
pub(super) struct Period {
    pub(super) id: u64,
    pub(super) run: u64,
    pub(super) call: u64,
    /// What this run admitted.
    pub(super) since: u64,
    /// What `since` may become before the next settlement.
    pub(super) ceiling: u64,
    /// What `ceiling` may become at most: the node's own share, while it is alone and until the others are back as well.
    pub(super) share: u64,
    /// What earlier runs of this node admitted, once that is known.
    pub(super) base: Option<u64>,
    /// What all nodes admitted, as last heard, and `since` of then.
    pub(super) total: u64,
    pub(super) seen: u64,
    pub(super) dirty: bool,
    /// It was said that little is in hand.
    pub(super) low: bool,
    pub(super) age: u32,
}

/// What is left of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaLeft {
    /// Of all nodes, as far as this node knows.
    pub remaining: u64,
}

/// Why a quota did not admit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// All of it is spent, until the period is over.
    Spent,
    /// This node has nothing of it in hand; it asked for more, and knows after about this time.
    Soon(Duration),
}

impl SharedQuota {
    pub(super) fn new(id: u64, key: &str, quota: u64, desk: Arc<Desk>) -> Self {
        Self {
            id,
            key: key.to_owned(),
            quota: AtomicU64::new(quota),
            desk,
            periods: Mutex::new(Vec::new()),
            marked: AtomicBool::new(false),
        }
    }

    /// Takes `n` of the quota of a period, all or none. Periods are numbers that grow, such as 20261130 for a day.
    ///
    /// # Errors
    /// If nothing is left, or nothing in hand.
    pub fn take(&self, period: u64, n: u64) -> Result<QuotaLeft, Exhausted> {
        let mut periods = self.periods();
        let at = self.open(&mut periods, period);
        let Some(it) = periods.get_mut(at) else { return Err(Exhausted::Soon(SOON)) };
        let quota = self.quota.load(Ordering::Relaxed);
        let total = it.total.saturating_add(it.since.saturating_sub(it.seen));
        if total.saturating_add(n) > quota && it.base.is_some() {
            return Err(Exhausted::Spent);
        }
        let after = it.since.saturating_add(n);
        let taken = after <= it.ceiling;
        if taken {
            it.since = after;
        }
        it.dirty = true;
        let left = it.ceiling.saturating_sub(it.since);
        let low = left.saturating_mul(2) <= lease(quota, self.desk.nodes()) && !std::mem::replace(&mut it.low, true);
        drop(periods);
        if !self.marked.swap(true, Ordering::AcqRel) || low {
            self.desk.mark(self.id);
        }
        if low {
            self.desk.bell.notify_one();
        }
        match taken {
            true => Ok(QuotaLeft { remaining: quota.saturating_sub(total.saturating_add(n)) }),
            false => Err(Exhausted::Soon(SOON)),
        }
    }

    /// Asks for something of a period in advance, so that its first request on this node finds it in hand.
    pub fn expect(&self, period: u64) {
        let mut periods = self.periods();
        let at = self.open(&mut periods, period);
        if let Some(it) = periods.get_mut(at) {
            it.dirty = true;
        }
        drop(periods);
        if !self.marked.swap(true, Ordering::AcqRel) {
            self.desk.mark(self.id);
        }
    }

    pub(super) fn unmark(&self) -> bool {
        self.marked.swap(false, Ordering::AcqRel)
    }

    /// Runs from now on have this number or a greater one.
    pub(super) fn skip_runs(&self, to: u64) {
        self.desk.runs.fetch_max(to, Ordering::Relaxed);
    }

    pub(super) fn periods(&self) -> MutexGuard<'_, Vec<Period>> {
        self.periods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the period stands. What is not there yet begins with one in hand.
    fn open(&self, periods: &mut Vec<Period>, id: u64) -> usize {
        if let Some(at) = periods.iter().position(|it| it.id == id) {
            return at;
        }
        let run = self.desk.runs.fetch_add(1, Ordering::Relaxed);
        let ceiling = self.quota.load(Ordering::Relaxed).min(1);
        periods.push(Period {
            id,
            run,
            call: 0,
            since: 0,
            ceiling,
            share: u64::MAX,
            base: None,
            total: 0,
            seen: 0,
            dirty: true,
            low: false,
            age: 0,
        });
        periods.len() - 1
    }
}

/// Where requests leave word for the one that settles.
#[derive(Debug)]
pub(super) struct Desk {
    origin: Instant,
    marked: Mutex<Vec<u64>>,
    nodes: AtomicU64,
    /// The number of the next run of a limit: greater than all of earlier processes.
    pub(super) runs: AtomicU64,
    pub(super) bell: Notify,
}

impl Desk {
    pub(super) fn new(origin: Instant, run: u64, nodes: u32) -> Self {
        Self {
            origin,
            marked: Mutex::new(Vec::new()),
            nodes: AtomicU64::new(u64::from(nodes)),
            runs: AtomicU64::new(run),
            bell: Notify::new(),
        }
    }

    pub(super) fn micros(&self, now: Instant) -> u64 {
        whole_micros(now.saturating_duration_since(self.origin))
    }

    pub(super) fn marked(&self) -> Vec<u64> {
        std::mem::take(&mut *self.marked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_nodes(&self, nodes: u32) {
        self.nodes.store(u64::from(nodes), Ordering::Relaxed);
    }

    fn nodes(&self) -> u32 {
        u32::try_from(self.nodes.load(Ordering::Relaxed)).unwrap_or(u32::MAX).max(1)
    }

    fn mark(&self, id: u64) {
        self.marked.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    }
}

const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// About one round.
const SOON: Duration = Duration::from_millis(20);
