//! Fetches under way: who needs a record that is being fetched waits for that one fetch.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use popgate_caching::mark::{Key, Mark};
use popgate_caching::purges::About;
use popgate_caching::store::Fetch;
use tokio::sync::watch;

use crate::admit::overload::Class;
use crate::forward::Found;
use crate::refusal::Refusal;

/// Fetches under way, of all cores.
#[derive(Debug, Default)]
pub(super) struct Flights {
    shards: [Mutex<HashMap<Key, Flight>>; SHARDS],
    numbers: AtomicU64,
}

/// One of them.
#[derive(Debug)]
struct Flight {
    number: u64,
    told: watch::Sender<Option<Landed>>,
}

/// What a fetch came to, for whoever waits.
#[derive(Clone, Debug)]
pub(super) enum Landed {
    /// The register answered.
    Arrived {
        /// What it has.
        found: Found,
        /// When it was asked, as purges count.
        fetch: Fetch,
        /// What purges find it by.
        marks: std::sync::Arc<Marks>,
        /// Whether it may answer those who waited, too (RFC 9111, section 4).
        shared: bool,
    },
    /// It did not.
    Failed {
        /// What whoever fetched is told.
        refusal: Refusal,
        /// Whether the register fails.
        failing: bool,
        /// How long a record might have been.
        most_bytes: usize,
        /// How whoever fetched ranks.
        class: Class,
    },
}

/// What purges find a record by.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    pub(super) register: Mark,
    pub(super) subjects: Vec<Mark>,
    pub(super) tags: Vec<Mark>,
}

impl Marks {
    pub(super) fn about(&self) -> About<'_> {
        About { register: self.register, subjects: &self.subjects, tags: &self.tags }
    }
}

/// What somebody does who needs a record.
pub(super) enum Role {
    /// Fetches it.
    Lead(Landing),
    /// Waits for the fetch of that number.
    Follow(u64, watch::Receiver<Option<Landed>>),
}

/// Where a fetch is told to have ended.
#[derive(Debug)]
pub(super) struct Landing {
    number: u64,
    told: watch::Sender<Option<Landed>>,
}

impl Landing {
    /// Whether anybody waits.
    pub(super) fn is_awaited(&self) -> bool {
        self.told.receiver_count() > 0
    }

    /// Tells whoever waits.
    pub(super) fn tell(self, landed: Landed) {
        self.told.send_replace(Some(landed));
    }
}

impl Flights {
    /// Joins the fetch under way, but not the one of number `avoided`, instead of which another begins.
    pub(super) fn join(&self, key: Key, avoided: Option<u64>) -> Role {
        let mut flights = self.shard(&key).lock();
        if let Some(flight) = flights.get(&key)
            && Some(flight.number) != avoided
        {
            return Role::Follow(flight.number, flight.told.subscribe());
        }
        let (landing, flight) = self.flight();
        flights.insert(key, flight);
        Role::Lead(landing)
    }

    /// Begins one, if none is under way.
    pub(super) fn begin(&self, key: Key) -> Option<Landing> {
        match self.shard(&key).lock().entry(key) {
            Slot::Occupied(_) => None,
            Slot::Vacant(vacant) => {
                let (landing, flight) = self.flight();
                vacant.insert(flight);
                Some(landing)
            }
        }
    }

    /// It is over: who comes now finds it no more.
    pub(super) fn end(&self, key: &Key, landing: &Landing) {
        let mut flights = self.shard(key).lock();
        if flights.get(key).is_some_and(|flight| flight.number == landing.number) {
            flights.remove(key);
        }
    }

    fn flight(&self) -> (Landing, Flight) {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (told, _) = watch::channel(None);
        (Landing { number, told: told.clone() }, Flight { number, told })
    }

    fn shard(&self, key: &Key) -> &Mutex<HashMap<Key, Flight>> {
        let [at, ..] = key.upstream().to_bytes();
        let [first, ..] = &self.shards;
        self.shards.get(usize::from(at) % SHARDS).unwrap_or(first)
    }
}

const SHARDS: usize = 16;
