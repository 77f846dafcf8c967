//! Cache: raw records behind the permit. One stored record serves every operation and agency, each through its own permit.
//!
//! The key is the upstream request, never the operation or the caller; the rule of the operation that asks says how long what is
//! stored may be used. Requests for a record that is being fetched wait for that one fetch. A fetch that others wait for is not given
//! up with the request that began it, and one that fails, or takes long, fails nobody but that request: it is made once more for all
//! of the others.
//!
//! "No match" must not tell whether there is a record. So it is answered without the register only while the register was asked
//! lately, whether or not it knew anybody, and never for longer than its records were seen to be fresh.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use popgate_caching::mark::{Key, Mark, Marker};
use popgate_caching::rules::Rulebook;
use popgate_caching::store::{self, Evictions, Store, Worth};
use popgate_policy::contract::{self, CacheScope, UpstreamRequest};
use popgate_policy::disclose::arena::{Arena, Shelter};
use popgate_policy::model::{AgencyId, RegisterId};
use popgate_policy::permit::Permit;

use crate::admit::overload::Class;
use crate::clock::Clock;
use crate::forward::{Found, Origin};
use crate::refusal::Refusal;
use crate::share;

mod entry;
mod flight;
mod leader;
pub mod nodes;
pub mod order;
mod purge;
mod question;
mod register;
#[cfg(test)]
mod tests;

use entry::Entry;
use flight::Flights;
pub use leader::{Compared, Leader, Validators};
use nodes::{BELIEVED, Nodes};
pub use question::{Followed, Follower, Question};
use register::Register;

/// Records that registers allowed to be kept, and fetches under way.
#[derive(Clone, Debug)]
pub struct Cache(Arc<Inner>);

/// How a cache is made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// All that is stored, in bytes; zero stores nothing, fetches are still shared.
    pub capacity_bytes: u64,
    /// Whether records are wiped when they go, and how their memory is kept.
    pub shelter: Option<Shelter>,
    /// Through what nodes share purges, if there are others.
    pub share: Option<share::Config>,
    /// What requests, persons and tags are hashed under; the same on all nodes that share purges.
    pub key: [u8; 16],
}

#[derive(Debug)]
struct Inner {
    store: Arc<Store<Entry>>,
    stores: bool,
    flights: Flights,
    marker: Marker,
    arena: Option<Arena>,
    rules: Rulebook,
    registers: HashMap<RegisterId, Register>,
    origin: Instant,
    nodes: Option<Nodes>,
    /// Dropped, the sweep ends.
    _sweep: Option<mpsc::SyncSender<()>>,
}

/// How a request wants its record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// No older than that; zero: the register must be asked now (RFC 9111, sections 5.2.1.1 and 5.2.1.4).
    pub youngest: Option<Duration>,
    /// Nothing that is stored: the register must be asked, as it would be about somebody unknown.
    pub unstored: bool,
    /// A fetch not to be waited for: it took long, or failed.
    pub avoided: Option<u64>,
    /// Enough of waiting for others.
    pub alone: bool,
}

/// What is known about a record before anybody asks the register.
#[derive(Debug)]
pub enum Lookup {
    /// It is here and may be used.
    Hit(Box<Hit>),
    /// Somebody is fetching it: wait for [`Follower::landed`].
    Follow(Follower),
    /// The caller fetches it, for itself and whoever waits.
    Lead(Box<Leader>),
}

/// A stored answer that may be used.
#[derive(Debug)]
pub struct Hit {
    /// The answer.
    pub fetched: Fetched,
    /// The duty to fetch it anew in the background.
    pub refresh: Option<Box<Leader>>,
}

/// What the fetch stage yields, from cache or register.
#[derive(Debug)]
pub struct Fetched {
    /// What was found.
    pub found: Found,
    /// Where it came from.
    pub source: Source,
    /// The connection, if one was used for this very answer.
    pub origin: Option<Origin>,
    /// Whether it was stored.
    pub kept: Kept,
    /// Of a stored record.
    pub life: Option<Life>,
    /// Whether the caller's agency filled it itself: no other may be told of it (RFC 9211, section 6).
    pub own: bool,
}

/// How far a stored record is in its life.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// How old it is.
    pub age: Duration,
    /// Seconds until it is stale; below zero once it is.
    pub ttl: i64,
}

/// Whether a record was stored already, as far as "no match" must not tell.
#[derive(Debug)]
pub enum Kept {
    /// The register was asked.
    No,
    /// It was asked so lately that it need not be asked again to answer "no match".
    Lately,
    /// It was not asked: to answer "no match" it must be.
    Unasked,
    /// It stands in for this.
    Stale(Refusal),
}

/// Where a record came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// It was stored and fresh.
    Stored,
    /// It was stored and stale, and is fetched anew meanwhile.
    Meanwhile,
    /// It was known that the register knows nobody of that number.
    Unknown,
    /// The register was asked.
    Register,
    /// It was stored, and the register said that it is still the same.
    Validated,
    /// Somebody else's fetch was waited for.
    Collapsed,
    /// It was stored, and stood in for a register that failed.
    Stale,
    /// The register was asked, and nothing may be stored.
    Uncached,
}

impl Source {
    /// Its name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "hit",
            Self::Meanwhile => "meanwhile",
            Self::Unknown => "unknown",
            Self::Register => "miss",
            Self::Validated => "validated",
            Self::Collapsed => "collapsed",
            Self::Stale => "stale",
            Self::Uncached => "off",
        }
    }
}

impl Fetched {
    /// Nothing is known beside.
    fn new(found: Found, source: Source) -> Self {
        Self { found, source, origin: None, kept: Kept::No, life: None, own: false }
    }
}

impl Cache {
    /// An empty cache for records of those registers.
    ///
    /// # Errors
    /// The memory for records cannot be had, or not be locked; or there can be no thread that sweeps.
    pub fn new<'a>(
        settings: Settings,
        registers: impl IntoIterator<Item = &'a RegisterId>,
        clock: &Clock,
    ) -> io::Result<Self> {
        let now = clock.now();
        let Settings { capacity_bytes, shelter, share, key } = settings;
        let marker = Marker::new(&key);
        let register = |id: &RegisterId| {
            let mark = marker.register(id.as_str().as_bytes());
            (id.clone(), Register::new(mark))
        };
        let registers = registers.into_iter().map(register).collect();
        let stores = capacity_bytes > 0;
        let cells = (capacity_bytes / CELL_OF).max(1).ilog2().clamp(LEAST_CELLS, MOST_CELLS);
        let limits = store::Limits {
            bytes: capacity_bytes,
            usual_bytes: USUAL,
            purge_bits: cells,
            unsynced: share.as_ref().map(|_| BELIEVED),
        };
        let arena = match shelter.filter(|_| stores) {
            Some(shelter) => {
                let bytes = usize::try_from(capacity_bytes).unwrap_or(usize::MAX);
                Some(Arena::new(bytes, shelter).map_err(io::Error::other)?)
            }
            None => None,
        };
        let store = Arc::new(Store::new(limits, now));
        let sweep = match stores {
            true => Some(sweep(Arc::clone(&store), clock.clone())?),
            false => None,
        };
        let sink = Arc::clone(&store);
        let fingerprint = marker.register(b"").to_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let nodes = share.filter(|_| stores).map(|share| Nodes::open(share, fingerprint, sink, clock.clone()));
        let nodes = nodes.transpose()?;
        let (flights, rules) = (Flights::default(), Rulebook::default());
        Ok(Self(Arc::new(Inner {
            store,
            stores,
            flights,
            marker,
            arena,
            rules,
            registers,
            origin: now,
            nodes,
            _sweep: sweep,
        })))
    }

    /// What a permit needs, for whoever ranks like that.
    pub fn question(&self, permit: &Permit, class: Class) -> Arc<Question> {
        Arc::new(Question::of(&self.0, permit, class))
    }

    /// Forgets what a question was answered with: it is about somebody else, or cannot be read.
    pub fn evict(&self, question: &Question) {
        for scope in [CacheScope::Shared, CacheScope::Agency] {
            self.0.store.remove(&self.0.key(&question.upstream, &question.agency, scope, false));
        }
    }

    /// How many records are kept, and how many bytes they weigh.
    pub fn size(&self) -> (u64, u64) {
        self.0.store.size()
    }

    /// Why records left, so far.
    pub fn evictions(&self) -> Evictions {
        self.0.store.evictions()
    }

    /// How it stands with the purges of other nodes, if there are any, and what was done so far.
    pub fn nodes(&self) -> Option<(nodes::State, nodes::Figures)> {
        self.0.nodes.as_ref().map(|nodes| (nodes.state(), nodes.figures()))
    }

    /// How many records were not kept so far, for want of a block of their size in the memory that is wiped.
    pub fn without_block(&self) -> u64 {
        self.0.arena.as_ref().map_or(0, Arena::refused)
    }
}

impl Inner {
    fn looked_up(&self, key: &Key, worth: Worth, now: Instant) -> store::Lookup<Entry> {
        if self.stores { self.store.lookup(key, worth, now) } else { store::Lookup::Miss }
    }

    fn key(&self, upstream: &UpstreamRequest, agency: &AgencyId, scope: CacheScope, sealed: bool) -> Key {
        let method = match upstream.method {
            contract::Method::Get => b"GET".as_slice(),
            contract::Method::Post => b"POST",
        };
        let mark = self.request(&upstream.register, method, upstream.target.expose());
        let own = scope == CacheScope::Agency;
        // Nothing is shared between who may know of a sealed person and who may not. No agency's id begins like that.
        let mut whose = if sealed { b"\0sealed ".to_vec() } else { Vec::new() };
        if own {
            whose.extend_from_slice(agency.as_str().as_bytes());
        }
        Key::new(mark, (own || sealed).then(|| self.marker.agency(&whose)))
    }

    fn request(&self, register: &RegisterId, method: &[u8], target: &str) -> Mark {
        self.marker.upstream(&[register.as_str().as_bytes(), method, target.as_bytes()])
    }

    fn millis(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.origin))
    }
}

/// Takes out what is purged or of no more use, all of it once a minute: nothing of a person stays in memory for much longer.
fn sweep(store: Arc<Store<Entry>>, clock: Clock) -> io::Result<mpsc::SyncSender<()>> {
    let (stop, stopped) = mpsc::sync_channel(0);
    let rounds = move || {
        loop {
            let (records, _) = store.size();
            let step = usize::try_from(records / STEPS).unwrap_or_default() + LEAST_STEP;
            let mut round = store.sweep();
            loop {
                if stopped.recv_timeout(PAUSE) != Err(mpsc::RecvTimeoutError::Timeout) {
                    return;
                }
                if !round.step(step, clock.now()) {
                    break;
                }
            }
        }
    };
    thread::Builder::new().name("popgate-sweep".to_owned()).spawn(rounds)?;
    Ok(stop)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Bytes: what the tables are laid out for.
const USUAL: usize = 1 << 10;
/// One of 16 bytes for purges for each of so many bytes of records.
const CELL_OF: u64 = 1 << 10;
const LEAST_CELLS: u32 = 12;
const MOST_CELLS: u32 = 22;
/// A round of the sweep has so many steps.
const STEPS: u64 = 600;
const LEAST_STEP: usize = 64;
const PAUSE: Duration = Duration::from_millis(100);
