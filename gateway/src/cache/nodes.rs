//! Purges on all nodes of a cluster, through Redis, without any request that waits for it.
//!
//! What a node believes, and when it no longer does, is for [`Spread`]; this is its way to Redis. All purges are in a log, which
//! each node reads every second. Beside that they are told on a channel, which is why most take effect within milliseconds; in a
//! Redis cluster there is no channel, and the log alone is read. Either way a node serves what it stored as fresh for no longer
//! than [`BELIEVED`] after it last read the log: what the log took is stale everywhere after that time.
//!
//! That holds as long as there is one master. One that is cut off from its sentinels together with a node goes on for that node, and
//! another takes the purges of all others: `min-replicas-to-write 1` at Redis ends that, because a log is read by a write. What a
//! master took and did not hand on before it died is lost, and noticed: its follower is another life, and all is validated.
//!
//! Redis learns keyed hashes only. Whoever may write there can purge, and can keep purges from other nodes; it can make no node
//! serve what a register did not answer.

mod channel;
mod driver;
mod log;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io, thread};

use popgate_caching::purges::Purge;
use popgate_caching::spread::{Action, Life, Logged, Reading, Rules, Spread};
use popgate_caching::store::Store;
use tokio::sync::{Notify, mpsc};

use crate::clock::Clock;
use crate::share::{Config, Why};

/// Where purges take effect on this node.
pub trait Sink: Send + Sync {
    /// Purges. It MUST NOT wait for anything.
    fn apply(&self, purge: Purge);

    /// All that other nodes purged before then was applied.
    fn synced(&self, at: Instant);
}

impl<V: Send + Sync> Sink for Store<V> {
    fn apply(&self, purge: Purge) {
        self.purge(purge);
    }

    fn synced(&self, at: Instant) {
        Store::synced(self, at);
    }
}

/// How it stands with the purges of other nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// They are known here: what is stored is believed.
    Shared,
    /// They are not: what was stored longer than [`BELIEVED`] ago is validated before it is served.
    Alone {
        /// Since when.
        since: Instant,
        /// Why, as last seen.
        why: Why,
    },
}

/// What was done so far, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Purges of this node that the log took.
    pub published: u64,
    /// Purges that the channel told, those of this node among them.
    pub heard: u64,
    /// Purges that took effect here, whoever asked for them; those of this node do when they are asked for and again from the log.
    pub applied: u64,
    /// Readings of the log.
    pub readings: u64,
    /// What Redis did not answer, or refused.
    pub failures: u64,
    /// Purges of this node that wait for the log.
    pub waiting: u64,
    /// How often the log did not go on from where it had been read to: all that was stored had to be validated.
    pub resets: u64,
}

/// The purges that this node shares with others. Dropped, it stops.
pub struct Nodes {
    inner: Arc<Inner>,
    thread: Option<thread::JoinHandle<()>>,
}

/// A purge that took effect at this node. Others know it at the latest [`BELIEVED`] after the log took it.
pub struct Told {
    inner: Arc<Inner>,
    name: u64,
}

impl Nodes {
    /// Starts to keep up, on a thread of its own. It does not wait for Redis: the state is [`State::Alone`] until the first answer.
    ///
    /// # Errors
    /// If there can be no thread.
    /// `fingerprint` stands for the key that all nodes hash under: one that has another knows no purge of theirs, and is alone.
    pub fn open(share: Config, fingerprint: u64, sink: Arc<dyn Sink>, clock: Clock) -> io::Result<Self> {
        let (ask, asks) = mpsc::unbounded_channel();
        let inner = Arc::new(Inner {
            spread: Mutex::new(Spread::new(RULES)),
            took: Condvar::new(),
            ask,
            sink,
            fingerprint,
            said: AtomicU8::new(0),
            standing: Mutex::new(Standing { opened: clock.now(), synced: None, known: None, why: Why::Starting }),
            clock,
            tally: Tally::default(),
            over: Notify::new(),
            closed: AtomicBool::new(false),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let its = Arc::clone(&inner);
        let run = move || {
            runtime.block_on(driver::drive(share, &its, asks));
            // Not waiting for a name that is still being looked up.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("purges".to_owned()).spawn(run)?;
        Ok(Self { inner, thread: Some(thread) })
    }

    /// Purges: here before it returns, and at other nodes as soon as Redis lets it. It never waits for Redis.
    pub fn purge(&self, purge: Purge) -> Told {
        let (name, actions) = self.inner.spread().purge(purge, self.inner.clock.now());
        self.inner.carry_out(actions);
        Told { inner: Arc::clone(&self.inner), name }
    }

    /// How it stands.
    pub fn state(&self) -> State {
        self.inner.state()
    }

    /// What was done so far.
    pub fn figures(&self) -> Figures {
        let tally = &self.inner.tally;
        let read = |it: &AtomicU64| it.load(Ordering::Relaxed);
        Figures {
            published: read(&tally.published),
            heard: read(&tally.heard),
            applied: read(&tally.applied),
            readings: read(&tally.readings),
            failures: read(&tally.failures),
            waiting: self.inner.spread().waiting() as u64,
            resets: read(&tally.resets),
        }
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Nodes").field("state", &self.state()).finish_non_exhaustive()
    }
}

/// What was purged just before is told still, if Redis answers.
impl Drop for Nodes {
    fn drop(&mut self) {
        self.inner.over.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let spread = self.inner.spread();
        if spread.waiting() > 0 {
            tracing::error!(
                purges = spread.waiting(),
                "the node ends, and other nodes do not know what it purged: purge there, too"
            );
        }
        self.inner.closed.store(true, Ordering::Release);
        self.inner.took.notify_all();
    }
}

impl Told {
    /// Waits until the log took the purge, or for so long; whether it did. It blocks: not for a core.
    pub fn wait(&self, at_most: Duration) -> bool {
        let waits = |spread: &mut Spread| !spread.is_published(self.name) && !self.inner.closed.load(Ordering::Acquire);
        let waited = self.inner.took.wait_timeout_while(self.inner.spread(), at_most, waits);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_published(self.name)
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Told(..)")
    }
}

/// What the handles and the one that keeps up have in common.
struct Inner {
    fingerprint: u64,
    /// What was logged last: nothing yet, that it is alone, or that it is not.
    said: AtomicU8,
    spread: Mutex<Spread>,
    /// The log took something, or it is over.
    took: Condvar,
    ask: mpsc::UnboundedSender<Ask>,
    sink: Arc<dyn Sink>,
    standing: Mutex<Standing>,
    clock: Clock,
    tally: Tally,
    over: Notify,
    closed: AtomicBool,
}

/// What Redis is to be asked.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Read { reading: u64, known: Option<Life>, after: u64 },
    Publish { publishing: u64, purge: Purge },
}

#[derive(Debug)]
struct Standing {
    opened: Instant,
    /// All that other nodes purged before then is known here.
    synced: Option<Instant>,
    /// Whose log was read.
    known: Option<Life>,
    /// Why Redis last failed.
    why: Why,
}

impl Inner {
    /// Takes a step, and does what follows from it.
    fn step(&self, step: impl FnOnce(&mut Spread, Instant) -> Vec<Action>) {
        let actions = step(&mut self.spread(), self.clock.now());
        self.carry_out(actions);
    }

    /// Not under the lock: who purges waits for nothing that the store does. One thread alone reads and hears, so that what it
    /// applies is applied in order.
    fn carry_out(&self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Apply(purge) => {
                    self.sink.apply(purge);
                    count(&self.tally.applied);
                }
                Action::Synced(at) => {
                    self.sink.synced(at);
                    self.standing().synced = Some(at);
                    count(&self.tally.readings);
                }
                Action::Read { reading, after } => {
                    let known = self.standing().known;
                    self.send(Ask::Read { reading, known, after });
                }
                Action::Publish { publishing, purge } => self.send(Ask::Publish { publishing, purge }),
            }
        }
    }

    fn read(&self, reading: u64, found: Reading) {
        let (life, logged) = (found.life, found.purges.len());
        self.step(|spread, now| {
            let actions = spread.read(reading, Some(found), now);
            if actions.is_empty() {
                return actions;
            }
            // Before the lock is free: the next reading says whose log is known.
            let before = self.standing().known.replace(life);
            let applied = actions.iter().filter(|action| matches!(action, Action::Apply(_))).count();
            // More than the log has: all that is stored.
            if before.is_some() && applied > logged {
                count(&self.tally.resets);
            }
            actions
        });
    }

    fn heard(&self, life: Life, logged: Logged) {
        count(&self.tally.heard);
        self.step(|spread, now| spread.heard(life, logged, now));
    }

    fn published(&self, publishing: u64, taken: Result<(), Why>) {
        match taken {
            Ok(()) => count(&self.tally.published),
            Err(why) => self.failed(why),
        }
        self.step(|spread, now| spread.published(publishing, taken.is_ok(), now));
        self.took.notify_all();
    }

    fn lost(&self, why: Why) {
        self.failed(why);
        self.spread().lost();
        self.say();
    }

    /// Logs how it stands, when that has changed.
    fn say(&self) {
        let state = self.state();
        let now = u8::from(state == State::Shared) + 1;
        if matches!(state, State::Alone { why: Why::Starting, .. }) || self.said.swap(now, Ordering::Relaxed) == now {
            return;
        }
        match state {
            State::Shared => tracing::info!("purges of all nodes are known here"),
            State::Alone { why, .. } => {
                tracing::error!(%why, "purges of other nodes are not known here: what is stored is validated before it is served");
            }
        }
    }

    fn failed(&self, why: Why) {
        count(&self.tally.failures);
        self.standing().why = why;
    }

    /// As the store sees it: it believes itself for so long after it was last told.
    fn state(&self) -> State {
        let now = self.clock.now();
        let standing = self.standing();
        let since = match standing.synced {
            Some(at) if now.saturating_duration_since(at) <= BELIEVED => return State::Shared,
            Some(at) => at + BELIEVED,
            None => standing.opened,
        };
        State::Alone { since, why: standing.why }
    }

    /// Nobody takes it only when all is over.
    fn send(&self, ask: Ask) {
        let _ = self.ask.send(ask);
    }

    fn spread(&self) -> MutexGuard<'_, Spread> {
        self.spread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Tally {
    published: AtomicU64,
    heard: AtomicU64,
    applied: AtomicU64,
    readings: AtomicU64,
    failures: AtomicU64,
    resets: AtomicU64,
}

fn count(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// T: how long what is stored may be served as fresh without hearing what other nodes purged. It is for the store's limits too
/// ([`Limits::unsynced`](popgate_caching::store::Limits::unsynced)). Long enough for three readings to be lost one after the other.
pub const BELIEVED: Duration = Duration::from_secs(5);

const RULES: Rules = Rules { read_every: Duration::from_secs(1), give_up: GIVE_UP };
/// An answer that takes longer is none.
const GIVE_UP: Duration = Duration::from_millis(500);
