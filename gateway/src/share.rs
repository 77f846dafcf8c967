//! Limits that the nodes of a cluster share, through Redis, without any request that waits for it.
//!
//! Each node may spend a little of each limit in advance, and settles what it spent every ten milliseconds. While Redis
//! does not answer, each node admits by its own share of each limit: never without one. A limit is forgotten when
//! nobody holds it any more.
//!
//! While Redis answers, no window of any length lets more through than the rate and the burst; a quota that is
//! exhausted lets through at most one more on each node but one.

pub(crate) mod backoff;
mod cell;
mod driver;
mod ledger;
#[cfg(test)]
mod model;
mod script;
mod terms;
pub(crate) mod wire;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::clock::Clock;
use cell::Desk;
use ledger::Ledger;
use terms::whole_micros;

pub use cell::{Exhausted, Left, QuotaLeft, SharedQuota, SharedRate, Wait};
pub use terms::Rate;
pub use wire::{Login, Place, Why};

/// What limits are shared through, and how.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where Redis is.
    pub place: Place,
    /// How this node proves who it is.
    pub login: Login,
    /// What keys begin with, such as `popgate:`.
    pub prefix: String,
    /// This node. No other may have the name; it stays the same over restarts.
    pub node: String,
    /// Nodes that there are meant to be: what a node alone may do is a share of this many.
    pub nodes: u32,
    /// How often what was spent is settled.
    pub round: Duration,
    /// How long an answer may take.
    pub limit: Duration,
    /// How long without an answer a node relies on what it was given.
    pub stale: Duration,
}

impl Config {
    /// With the usual times: settled every 10 ms, answered within 200 ms, alone after one second.
    pub fn new(place: Place, node: &str, nodes: u32) -> Self {
        Self {
            place,
            login: Login::default(),
            prefix: "popgate:".to_owned(),
            node: node.to_owned(),
            nodes,
            round: Duration::from_millis(10),
            limit: Duration::from_millis(200),
            stale: Duration::from_secs(1),
        }
    }
}

/// How it stands with the sharing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Limits hold over all nodes.
    Shared,
    /// This node, or some of its limits, live on the node's own share.
    Local {
        /// Since when.
        since: Instant,
        /// Why, as last seen.
        why: Why,
    },
}

/// What was done so far, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Calls that were answered.
    pub settlements: u64,
    /// Calls that were not.
    pub failures: u64,
    /// Rounds; each is one exchange with Redis.
    pub rounds: u64,
    /// How long all rounds took, in microseconds.
    pub micros: u64,
    /// How long the last one took, in microseconds.
    pub last_micros: u64,
    /// Limits on this node.
    pub limits: u64,
    /// Of these, on the node's own share.
    pub alone: u64,
    /// Settlements of another process under this node's name.
    pub conflicts: u64,
}

/// The limits that this node shares with others. Dropped, it stops.
#[derive(Debug)]
pub struct Share {
    inner: Arc<Inner>,
    state: watch::Receiver<State>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Share {
    /// Starts to settle, on a thread of its own. It does not wait for Redis: the state is [`State::Local`] until the
    /// first answer. `run` is greater in each process of this node: microseconds of the wall clock.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn open(config: Config, clock: Clock, run: u64) -> io::Result<Self> {
        let origin = clock.now();
        let (said, state) = watch::channel(State::Local { since: origin, why: Why::Starting });
        let inner = Arc::new(Inner {
            desk: Arc::new(Desk::new(origin, run, config.nodes.max(1))),
            clock,
            nodes: config.nodes.max(1),
            next: AtomicU64::new(1),
            limits: Mutex::default(),
            said,
            tally: Tally::default(),
            closed: AtomicBool::new(false),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (its, name) = (Arc::clone(&inner), "share".to_owned());
        let run = move || runtime.block_on(driver::drive(config, its));
        let thread = thread::Builder::new().name(name).spawn(run)?;
        Ok(Self { inner, state, thread: Some(thread) })
    }

    /// The rate limit of that name, the same for all who ask. Another rate is another limit.
    pub fn rate(&self, key: &str, rate: Rate) -> Arc<SharedRate> {
        let mut limits = self.inner.limits();
        let name = (key.to_owned(), rate);
        if let Some(known) = limits.rates.get(&name).and_then(Weak::upgrade) {
            return known;
        }
        let desk = Arc::clone(&self.inner.desk);
        let cell = Arc::new(SharedRate::new(self.inner.next(), key, rate, self.inner.nodes, desk));
        limits.rates.insert(name, Arc::downgrade(&cell));
        limits.new_rates.push(Arc::clone(&cell));
        cell
    }

    /// The quota of that name, the same for all who ask: so many in each period. If it was another before, it changes.
    pub fn quota(&self, key: &str, quota: u64) -> Arc<SharedQuota> {
        let mut limits = self.inner.limits();
        if let Some(known) = limits.quotas.get(key).and_then(Weak::upgrade) {
            known.quota.store(quota, Ordering::Relaxed);
            return known;
        }
        let desk = Arc::clone(&self.inner.desk);
        let cell = Arc::new(SharedQuota::new(self.inner.next(), key, quota, desk));
        limits.quotas.insert(key.to_owned(), Arc::downgrade(&cell));
        limits.new_quotas.push(Arc::clone(&cell));
        cell
    }

    /// How it stands.
    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Tells each change.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Nodes that live, as last heard.
    pub fn nodes(&self) -> u32 {
        u32::try_from(self.inner.tally.live.load(Ordering::Relaxed)).unwrap_or(u32::MAX)
    }

    /// What was done so far.
    pub fn figures(&self) -> Figures {
        self.inner.tally.figures()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.inner.closed.store(true, Ordering::Release);
        self.inner.desk.bell.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the handle and the one that settles have in common.
#[derive(Debug)]
struct Inner {
    desk: Arc<Desk>,
    clock: Clock,
    nodes: u32,
    next: AtomicU64,
    limits: Mutex<Limits>,
    said: watch::Sender<State>,
    tally: Tally,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Limits {
    rates: HashMap<(String, Rate), Weak<SharedRate>>,
    quotas: HashMap<String, Weak<SharedQuota>>,
    new_rates: Vec<Arc<SharedRate>>,
    new_quotas: Vec<Arc<SharedQuota>>,
}

impl Inner {
    fn closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn limits(&self) -> MutexGuard<'_, Limits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arrivals(&self, ledger: &mut Ledger, now: u64) {
        let mut limits = self.limits();
        limits.new_rates.drain(..).for_each(|cell| ledger.add_rate(cell, now));
        limits.new_quotas.drain(..).for_each(|cell| ledger.add_quota(cell, now));
    }

    /// Under the lock, so that nobody can take up again what is just forgotten.
    fn sweep(&self, ledger: &mut Ledger) {
        let mut limits = self.limits();
        if !ledger.sweep().is_empty() {
            limits.rates.retain(|_, it| it.strong_count() > 0);
            limits.quotas.retain(|_, it| it.strong_count() > 0);
        }
    }

    fn say(&self, state: State) {
        self.said.send_if_modified(|before| std::mem::replace(before, state) != state);
    }
}

#[derive(Debug, Default)]
struct Tally {
    settlements: AtomicU64,
    failures: AtomicU64,
    rounds: AtomicU64,
    micros: AtomicU64,
    last_micros: AtomicU64,
    limits: AtomicU64,
    alone: AtomicU64,
    conflicts: AtomicU64,
    live: AtomicU64,
}

impl Tally {
    fn round(&self, well: usize, ill: usize, took: Duration) {
        self.settlements.fetch_add(well as u64, Ordering::Relaxed);
        self.failures.fetch_add(ill as u64, Ordering::Relaxed);
        self.rounds.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(whole_micros(took), Ordering::Relaxed);
        self.last_micros.store(whole_micros(took), Ordering::Relaxed);
    }

    fn stand(&self, live: u32, limits: usize, alone: usize, conflicts: u64) {
        self.live.store(u64::from(live), Ordering::Relaxed);
        self.limits.store(limits as u64, Ordering::Relaxed);
        self.alone.store(alone as u64, Ordering::Relaxed);
        self.conflicts.store(conflicts, Ordering::Relaxed);
    }

    fn figures(&self) -> Figures {
        let read = |it: &AtomicU64| it.load(Ordering::Relaxed);
        Figures {
            settlements: read(&self.settlements),
            failures: read(&self.failures),
            rounds: read(&self.rounds),
            micros: read(&self.micros),
            last_micros: read(&self.last_micros),
            limits: read(&self.limits),
            alone: read(&self.alone),
            conflicts: read(&self.conflicts),
        }
    }
}
