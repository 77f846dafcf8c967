//! The store: records under keyed hashes, bounded by bytes, purged in constant time, shared by the cores of a node.
//!
//! Two shelves: what people ask for is on the main one, and what bulk and search brought on a small one, from where it comes to the
//! main one when somebody asks for it. Whether an entry may be served is found out when it is looked up; the sweep takes out what
//! may not be any more, so that nothing stays in memory for longer than a round of it takes.

use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quick_cache::sync::{Cache, Iter};
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

use crate::mark::{Key, Mark};
use crate::purges::{About, Purge, Purges, Slot, Ticket, Verdict, slots};

/// How large a store is, and how long it believes itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// All records, what they cost beside, and what the allocator loses, in bytes; the purges' cells come on top.
    pub bytes: u64,
    /// A record of usual size, in bytes: tables are laid out for that many; a wrong guess costs memory or time, no record.
    pub usual_bytes: usize,
    /// 16 bytes for each of 2 to the power of this many cells for purges; see [`Purges::new`].
    pub purge_bits: u32,
    /// With other nodes: how long what is stored may be served fresh without hearing what they purged. `None`: there are none.
    pub unsynced: Option<Duration>,
}

/// Records of this node; shared by its cores.
pub struct Store<V> {
    main: Shelf<V>,
    side: Shelf<V>,
    purges: Purges,
    causes: Causes,
    origin: Instant,
    /// Milliseconds after `origin` until which all purges of other nodes are known.
    synced: AtomicU64,
    /// Milliseconds.
    unsynced: u64,
}

/// Whether a record is worth a place beside those that people ask for one by one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Worth {
    /// Somebody asked for it.
    Usual,
    /// Bulk or search came by it: it takes no place of, and changes no standing among, what people ask for.
    Scan,
}

/// A fetch that is about to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Fetch {
    ticket: Ticket,
    /// Milliseconds after the origin.
    at: u64,
}

/// What is stored.
pub struct Record<'a, V> {
    /// The record.
    pub value: V,
    /// What it takes on the heap beside the `V` itself, in bytes.
    pub bytes: usize,
    /// What purges find it by.
    pub about: About<'a>,
    /// When it is of no more use, not even to be validated.
    pub until: Instant,
}

/// What is known of a record.
#[derive(Clone, Debug)]
pub enum Lookup<V> {
    /// It was not purged. Whether it is fresh by its own age is for the caller to say.
    Hit(Found<V>),
    /// It MUST be validated before it is served, and MUST NOT stand in for a register that fails.
    Stale(Found<V>),
    /// It is not here.
    Miss,
}

/// A stored record, shared: it outlives its place in the store.
pub struct Found<V>(Arc<Kept<V>>);

/// Why entries left, so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Evictions {
    /// There was no place for them.
    pub size: u64,
    /// They were of no more use.
    pub expired: u64,
    /// They were purged, and then looked up, swept or late.
    pub purged: u64,
    /// A newer one took their place.
    pub replaced: u64,
    /// [`Store::remove`].
    pub explicit: u64,
}

/// A round of the sweep.
pub struct Sweep<'a, V> {
    store: &'a Store<V>,
    main: Iter<'a, Mark, Arc<Kept<V>>, Weigh, Even, Tell>,
    side: Iter<'a, Mark, Arc<Kept<V>>, Weigh, Even, Tell>,
}

type Shelf<V> = Cache<Mark, Arc<Kept<V>>, Weigh, Even, Tell>;

struct Kept<V> {
    value: V,
    ticket: Ticket,
    /// The count of purges at which it was last found not to be purged.
    known: AtomicU64,
    /// Milliseconds after the origin.
    fetched_at: u64,
    until: u64,
    slots: Box<[Slot]>,
    weight: u64,
}

impl<V> Store<V> {
    /// What a record with so many bytes on the heap weighs, if it is about one person and has no tags.
    pub fn weight_of(bytes: usize) -> u64 {
        classed(size_of::<Kept<V>>() + COUNTS) + classed(bytes) + classed(size_of::<[Slot; 3]>()) + OVERHEAD
    }

    /// An empty store.
    pub fn new(limits: Limits, now: Instant) -> Self {
        let bytes = limits.bytes - limits.bytes / SLACK;
        let side = (bytes / SIDE).max(LEAST_SIDE).min(bytes / 2);
        let shelf = |bytes: u64| {
            // A record as large as a shard is not stored: a shard has place for a few of the largest.
            let shards = (bytes / LEAST_SHARD).clamp(1, MOST_SHARDS).next_power_of_two() as usize;
            let items = bytes / Self::weight_of(limits.usual_bytes);
            let items = items.max(1) as usize;
            let mut options = OptionsBuilder::new();
            match options.weight_capacity(bytes).estimated_items_capacity(items).shards(shards).build() {
                Ok(options) => Cache::with_options(options, Weigh, Even::default(), Tell),
                Err(_) => Cache::with(items, bytes, Weigh, Even::default(), Tell),
            }
        };
        Self {
            main: shelf(bytes - side),
            side: shelf(side),
            purges: Purges::new(limits.purge_bits),
            causes: Causes::default(),
            origin: now,
            synced: AtomicU64::new(0),
            unsynced: limits.unsynced.map_or(u64::MAX, millis),
        }
    }

    /// A fetch begins. MUST be called before the request is sent: what is purged from now on is not served from its answer.
    pub fn begin(&self, now: Instant) -> Fetch {
        Fetch { ticket: self.purges.ticket(), at: self.at(now) }
    }

    /// Whether the answer of a fetch may be served to who did not ask before it was sent, and stored.
    pub fn judge(&self, key: &Key, fetch: Fetch, about: About<'_>, now: Instant) -> Verdict {
        let synced = self.synced.load(Ordering::SeqCst);
        let verdict = self.purges.judge(fetch.ticket, key.upstream(), about);
        let unheard = self.at(now).saturating_sub(synced.max(fetch.at));
        if unheard > self.unsynced { verdict.max(Verdict::Stale) } else { verdict }
    }

    /// What is known under a key.
    pub fn lookup(&self, key: &Key, worth: Worth, now: Instant) -> Lookup<V> {
        // Before the purges are looked at: what was applied before this moved is then seen too.
        let synced = self.synced.load(Ordering::SeqCst);
        let id = key.id();
        let found = match worth {
            Worth::Usual => self.main.get(&id).map(|kept| (&self.main, kept)),
            Worth::Scan => self.main.peek(&id).map(|kept| (&self.main, kept)),
        };
        let Some((shelf, kept)) = found.or_else(|| self.side.peek(&id).map(|kept| (&self.side, kept))) else {
            return Lookup::Miss;
        };
        let now = self.at(now);
        if now >= kept.until {
            self.drop_from(shelf, &id, &kept, &self.causes.expired);
            return Lookup::Miss;
        }
        match self.verdict(&kept) {
            Verdict::Gone => {
                self.drop_from(shelf, &id, &kept, &self.causes.purged);
                return Lookup::Miss;
            }
            Verdict::Stale => return Lookup::Stale(Found(kept)),
            Verdict::Fresh => {}
        }
        if worth == Worth::Usual && std::ptr::eq(shelf, &self.side) {
            self.promote(&id);
        }
        let unheard = now.saturating_sub(synced.max(kept.fetched_at));
        if unheard > self.unsynced { Lookup::Stale(Found(kept)) } else { Lookup::Hit(Found(kept)) }
    }

    /// Stores the answer of a fetch, unless it is gone already, or that of a later fetch is there; what the purges while it was under
    /// way say of it. A record larger than a part of the store is not kept.
    pub fn insert(&self, key: &Key, fetch: Fetch, record: Record<'_, V>, worth: Worth) -> Verdict {
        let slots = slots(key.upstream(), record.about);
        let known = self.purges.count();
        let verdict = self.purges.judge_slots(fetch.ticket, &slots);
        if verdict == Verdict::Gone {
            return verdict;
        }
        if self.has_later(key, fetch) {
            return verdict;
        }
        let own = size_of::<Kept<V>>() + COUNTS;
        let kept = Arc::new(Kept {
            value: record.value,
            ticket: fetch.ticket,
            known: AtomicU64::new(if verdict == Verdict::Fresh { known } else { UNKNOWN }),
            fetched_at: fetch.at,
            until: self.at(record.until),
            weight: classed(own) + classed(record.bytes) + classed(size_of_val(&*slots)) + OVERHEAD,
            slots,
        });
        let id = key.id();
        match worth {
            Worth::Usual => {
                if self.side.contains_key(&id) && self.side.remove(&id).is_some() {
                    count(&self.causes.replaced);
                }
                self.put(&self.main, id, kept);
            }
            Worth::Scan => {
                if let Err(kept) = self.replace(id, kept) {
                    self.put(&self.side, id, kept);
                }
            }
        }
        verdict
    }

    /// Takes out what is under a key: it cannot be read, or is not what the key says. For what changed, purge.
    pub fn remove(&self, key: &Key) {
        for shelf in [&self.main, &self.side] {
            if shelf.remove(&key.id()).is_some() {
                count(&self.causes.explicit);
            }
        }
    }

    /// Takes out what is under a key, unless a later fetch brought it: the answer of this one is not for keeping.
    pub fn give_up(&self, key: &Key, fetch: Fetch) {
        if !self.has_later(key, fetch) {
            self.remove(key);
        }
    }

    fn has_later(&self, key: &Key, fetch: Fetch) -> bool {
        let is_later = |kept: Arc<Kept<V>>| kept.fetched_at > fetch.at && self.verdict(&kept) != Verdict::Gone;
        [&self.main, &self.side].iter().any(|shelf| shelf.peek(&key.id()).is_some_and(is_later))
    }

    /// Purges, in constant time. Every lookup that begins after this returns sees it, on every core, and fetches under way do too.
    pub fn purge(&self, purge: Purge) {
        self.purges.purge(purge);
    }

    /// All that other nodes purged before `at` was purged here too.
    pub fn synced(&self, at: Instant) {
        self.synced.fetch_max(self.at(at), Ordering::SeqCst);
    }

    /// A round of the sweep. One MUST follow another: purged and expired records stay in memory until they are looked up or swept.
    pub fn sweep(&self) -> Sweep<'_, V> {
        Sweep { store: self, main: self.main.iter(), side: self.side.iter() }
    }

    /// How many records are kept, purged ones that were not swept yet among them, and how many bytes they weigh.
    pub fn size(&self) -> (u64, u64) {
        ((self.main.len() + self.side.len()) as u64, self.main.weight() + self.side.weight())
    }

    /// Why entries left, so far.
    pub fn evictions(&self) -> Evictions {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let causes = &self.causes;
        Evictions {
            size: read(&causes.size),
            expired: read(&causes.expired),
            purged: read(&causes.purged),
            replaced: read(&causes.replaced),
            explicit: read(&causes.explicit),
        }
    }

    /// The count is read before the cells: a purge that is over later is not among those that an entry is known to have outlived.
    fn verdict(&self, kept: &Kept<V>) -> Verdict {
        let count = self.purges.count();
        if kept.known.load(Ordering::Acquire) == count {
            return Verdict::Fresh;
        }
        let verdict = self.purges.judge_slots(kept.ticket, &kept.slots);
        if verdict == Verdict::Fresh {
            kept.known.store(count, Ordering::Release);
        }
        verdict
    }

    fn promote(&self, id: &Mark) {
        let Some((id, kept)) = self.side.remove(id) else { return };
        // Whoever stored a newer one meanwhile keeps its place.
        if self.main.contains_key(&id) {
            count(&self.causes.replaced);
        } else {
            self.put(&self.main, id, kept);
        }
    }

    /// On the main shelf, if it is there already.
    fn replace(&self, id: Mark, kept: Arc<Kept<V>>) -> Result<(), Arc<Kept<V>>> {
        let new = Arc::clone(&kept);
        let left = self.main.replace_with_lifecycle(id, kept, true).map_err(|(_, kept)| kept)?;
        self.count_left(&left, id, &new);
        Ok(())
    }

    fn put(&self, shelf: &Shelf<V>, id: Mark, kept: Arc<Kept<V>>) {
        let new = Arc::clone(&kept);
        let left = shelf.insert_with_lifecycle(id, kept);
        self.count_left(&left, id, &new);
    }

    /// What left for a new one: the one before it, or others (or itself, if it is too large) for want of place.
    fn count_left(&self, left: &Left<V>, id: Mark, new: &Arc<Kept<V>>) {
        for (key, kept) in left {
            let replaced = *key == id && !Arc::ptr_eq(kept, new);
            count(if replaced { &self.causes.replaced } else { &self.causes.size });
        }
    }

    fn drop_from(&self, shelf: &Shelf<V>, id: &Mark, kept: &Arc<Kept<V>>, cause: &AtomicU64) {
        if shelf.remove_if(id, |now| Arc::ptr_eq(now, kept)).is_some() {
            count(cause);
        }
    }

    fn at(&self, time: Instant) -> u64 {
        millis(time.saturating_duration_since(self.origin))
    }
}

impl<V> Sweep<'_, V> {
    /// Looks at so many entries more; whether there are others. About 0.1 to 0.5 µs an entry: a few hundred at a time.
    pub fn step(&mut self, entries: usize, now: Instant) -> bool {
        let store = self.store;
        let now = store.at(now);
        for _ in 0..entries {
            let (shelf, next) = match self.main.next() {
                Some(next) => (&store.main, Some(next)),
                None => (&store.side, self.side.next()),
            };
            let Some((id, kept)) = next else { return false };
            if now >= kept.until {
                store.drop_from(shelf, &id, &kept, &store.causes.expired);
            } else if store.verdict(&kept) == Verdict::Gone {
                store.drop_from(shelf, &id, &kept, &store.causes.purged);
            }
        }
        true
    }
}

impl<V> Clone for Found<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V> Deref for Found<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.0.value
    }
}

/// Records are not for logs.
impl<V> std::fmt::Debug for Found<V> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Found(..)")
    }
}

impl<V> std::fmt::Debug for Record<'_, V> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Record(..)")
    }
}

impl<V> std::fmt::Debug for Store<V> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (records, bytes) = self.size();
        formatter.debug_struct("Store").field("records", &records).field("bytes", &bytes).finish_non_exhaustive()
    }
}

impl<V> std::fmt::Debug for Sweep<'_, V> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Sweep")
    }
}

#[derive(Debug, Default)]
struct Causes {
    size: AtomicU64,
    expired: AtomicU64,
    purged: AtomicU64,
    replaced: AtomicU64,
    explicit: AtomicU64,
}

#[derive(Clone, Debug)]
struct Weigh;

impl<V> Weighter<Mark, Arc<Kept<V>>> for Weigh {
    fn weight(&self, _: &Mark, kept: &Arc<Kept<V>>) -> u64 {
        kept.weight
    }
}

/// Collects what leaves for a new entry.
#[derive(Clone, Debug)]
struct Tell;

type Left<V> = Vec<(Mark, Arc<Kept<V>>)>;

impl<V> Lifecycle<Mark, Arc<Kept<V>>> for Tell {
    /// Freed when the shard's lock is free again.
    type RequestState = Left<V>;

    fn begin_request(&self) -> Self::RequestState {
        Vec::new()
    }

    fn on_evict(&self, left: &mut Self::RequestState, key: Mark, kept: Arc<Kept<V>>) {
        left.push((key, kept));
    }
}

type Even = BuildHasherDefault<Hashed>;

/// Keys are keyed hashes already.
#[derive(Clone, Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, half: u64) {
        self.0 = self.0.rotate_left(5) ^ half;
    }
}

fn count(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// What an allocator takes for so many bytes: four sizes between each power of two and the next (mimalloc).
fn classed(bytes: usize) -> u64 {
    let bytes = (bytes as u64).max(8);
    let step = (bytes.next_power_of_two() / 8).max(8);
    bytes.next_multiple_of(step)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What an entry costs in the tables, in bytes, the places for those that left lately among them. Measured: see the results.
const OVERHEAD: u64 = 160;
/// This part of the store is for what an allocator loses between records that come and go. Measured: up to a fifth of the weight.
const SLACK: u64 = 5;
/// Of an `Arc`, in bytes.
const COUNTS: usize = 16;
/// No count of purges.
const UNKNOWN: u64 = u64::MAX;
/// This part of the store is for what bulk and search bring.
const SIDE: u64 = 64;
/// In bytes.
const LEAST_SIDE: u64 = 8 << 20;
const LEAST_SHARD: u64 = 32 << 20;
const MOST_SHARDS: u64 = 64;

#[cfg(test)]
mod schedules;
#[cfg(test)]
mod tests;
