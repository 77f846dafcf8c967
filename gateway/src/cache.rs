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
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use popgate_caching::mark::{Key, Mark, Marker};
use popgate_caching::purges::Verdict;
use popgate_caching::rules::{Asked, Limits, Rulebook, Stored, Times};
use popgate_caching::store::{self, Evictions, Fetch, Record, Store, Worth};
use popgate_policy::contract::{self, Answer as Form, CacheRule, CacheScope, UpstreamRequest};
use popgate_policy::disclose::arena::{Arena, Shelter};
use popgate_policy::model::{AgencyId, RegisterId};
use popgate_policy::permit::Permit;

use crate::clock::{Clock, Moment};
use crate::forward::{Answer, Found, Origin, Unanswered};
use crate::refusal::Refusal;

mod entry;
mod flight;
#[cfg(test)]
mod tests;

use entry::{Entry, Terms, Use};
use flight::{Flights, Landed, Landing, Marks, Role};

/// Records that registers allowed to be kept, and fetches under way.
#[derive(Clone, Debug)]
pub struct Cache(Arc<Inner>);

/// How a cache is made.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// All that is stored, in bytes; zero stores nothing, fetches are still shared.
    pub capacity_bytes: u64,
    /// Whether records are wiped when they go, and how their memory is kept.
    pub shelter: Option<Shelter>,
    /// How long what is stored is believed without hearing from other nodes, if there are any.
    pub believed: Option<Duration>,
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
    /// Dropped, the sweep ends.
    _sweep: Option<mpsc::SyncSender<()>>,
}

/// What is known of a register's answers.
#[derive(Debug)]
struct Register {
    mark: Mark,
    /// The shortest time that a record of it was fresh in the last hours, in milliseconds; none was seen yet: 0.
    freshness: [AtomicU64; 2],
    /// In milliseconds after the cache's origin.
    turned: AtomicU64,
}

/// How a request wants its record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// No older than that; zero: the register must be asked now (RFC 9111, sections 5.2.1.1 and 5.2.1.4).
    pub youngest: Option<Duration>,
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
    /// What the register has.
    pub found: Found,
    /// Of which kind the hit is.
    pub source: Source,
    /// Of a record.
    pub life: Option<Life>,
    /// Whether the caller's agency filled it itself: no other may be told of it (RFC 9211, section 6).
    pub own: bool,
    /// What "no match" about it needs.
    pub kept: Kept,
    /// The duty to fetch it anew in the background.
    pub refresh: Option<Box<Leader>>,
}

/// How far a stored record is in its life.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// How old it is.
    pub age: Duration,
    /// Seconds until it is stale; below zero once it is.
    pub ttl: i64,
}

/// What the fetch stage yields, from cache or register.
#[derive(Debug)]
pub struct Fetched {
    /// What was found.
    pub found: Found,
    /// The connection, if one was used for this very answer.
    pub origin: Option<Origin>,
    /// Whether it was stored.
    pub kept: Kept,
}

/// Whether a record was stored already, as far as "no match" must not tell.
#[derive(Debug)]
pub enum Kept {
    /// The register was asked.
    No,
    /// It was asked so lately that it need not be asked again to answer "no match".
    Lately,
    /// It was not asked: to answer "no match" it must be.
    Unasked(Unasked),
    /// It stands in for this.
    Stale(Refusal),
}

/// A stored record that "no match" may not be answered of before the register was asked.
#[derive(Debug)]
pub struct Unasked {
    entry: store::Found<Entry>,
    origin: Instant,
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

/// Waits for somebody else's fetch.
#[derive(Debug)]
pub struct Follower {
    flight: u64,
    landing: tokio::sync::watch::Receiver<Option<Landed>>,
    needs: Needs,
}

/// What somebody else's fetch came to for who waited.
#[derive(Debug)]
pub enum Followed {
    /// The record.
    Served(Fetched, Source),
    /// It is of no use for this request: look again.
    Again,
    /// It failed: look again, once.
    Failed(Refusal),
}

/// The duty to fetch a record. Dropped before it lands, a follower takes over.
#[derive(Debug)]
pub struct Leader {
    question: Question,
    fetch: Fetch,
    began: SystemTime,
    stale: Option<store::Found<Entry>>,
    landing: Option<Landing>,
}

/// Who needs a record, and how.
#[derive(Clone, Debug)]
struct Question {
    needs: Needs,
    agency: AgencyId,
    /// Whom it is about, if the question says so.
    subject: Option<Mark>,
    worth: Worth,
    /// Answers to what is no GET are not kept (RFC 9111, section 3).
    post: bool,
}

/// A stored record that the register is asked about.
#[derive(Debug)]
pub struct Compared {
    cache: Arc<Inner>,
    stored: Option<Stored>,
}

/// What a request needs, and under which rule.
#[derive(Clone, Debug)]
struct Needs {
    cache: Arc<Inner>,
    key: Key,
    register: RegisterId,
    rule: CacheRule,
    most_bytes: usize,
    /// About a sealed person: whatever a register answers is dropped unread.
    sealed: bool,
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
        let Settings { capacity_bytes, shelter, believed, key } = settings;
        let marker = Marker::new(&key);
        let register = |id: &RegisterId| {
            let mark = marker.register(id.as_str().as_bytes());
            (id.clone(), Register { mark, freshness: Default::default(), turned: AtomicU64::new(0) })
        };
        let registers = registers.into_iter().map(register).collect();
        let stores = capacity_bytes > 0;
        let cells = (capacity_bytes / CELL_OF).max(1).ilog2().clamp(LEAST_CELLS, MOST_CELLS);
        let limits = store::Limits { bytes: capacity_bytes, usual_bytes: USUAL, purge_bits: cells, unsynced: believed };
        let arena = match shelter.filter(|_| stores) {
            Some(shelter) => Some(Arena::new(usize::try_from(capacity_bytes).unwrap_or(usize::MAX), shelter)?),
            None => None,
        };
        let store = Arc::new(Store::new(limits, now));
        let sweep = match stores {
            true => Some(sweep(Arc::clone(&store), clock.clone())?),
            false => None,
        };
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
            _sweep: sweep,
        })))
    }

    /// Looks for the record that a permit needs.
    pub fn lookup(&self, permit: &Permit, wish: Wish, at: Moment) -> Lookup {
        Question::of(&self.0, permit).lookup(wish, at)
    }

    /// Forgets the record that a permit needed: it is about somebody else, or cannot be read.
    pub fn evict(&self, upstream: &UpstreamRequest, agency: &AgencyId) {
        for scope in [CacheScope::Shared, CacheScope::Agency] {
            self.0.store.remove(&self.0.key(upstream, agency, scope, false));
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

    /// How many records had no place in the memory that is sheltered, so far: they were wiped all the same, but neither locked nor
    /// left out of core dumps.
    pub fn unsheltered(&self) -> u64 {
        self.0.arena.as_ref().map_or(0, Arena::outside)
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
        let register = upstream.register.as_str().as_bytes();
        let mark = self.marker.upstream(&[register, method, upstream.target.expose().as_bytes()]);
        let own = scope == CacheScope::Agency;
        // Nothing is shared between who may know of a sealed person and who may not. No agency's id begins like that.
        let mut whose = if sealed { b"\0sealed ".to_vec() } else { Vec::new() };
        if own {
            whose.extend_from_slice(agency.as_str().as_bytes());
        }
        Key::new(mark, (own || sealed).then(|| self.marker.agency(&whose)))
    }

    fn millis(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.origin))
    }

    /// How long after the register was asked "no match" may be answered without asking it: not for longer than its records are
    /// fresh, or how fast the answer comes would tell whether there is one.
    fn no_match(&self, register: &RegisterId, rule: &CacheRule) -> Duration {
        let seen = self.registers.get(register).map_or(0, Register::freshness);
        rule.no_match.min(rule.fresh).min(Duration::from_millis(seen))
    }
}

impl Register {
    fn freshness(&self) -> u64 {
        let seen = self.freshness.iter().map(|slot| slot.load(Ordering::Relaxed)).filter(|slot| *slot > 0);
        seen.min().unwrap_or_default().saturating_sub(1)
    }

    /// A record came that is fresh for so long.
    fn saw(&self, fresh: Duration, now: u64) {
        let [this, last] = &self.freshness;
        let turned = self.turned.load(Ordering::Relaxed);
        if now.saturating_sub(turned) > WINDOW
            && self.turned.compare_exchange(turned, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            last.store(this.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
        // One more, for zero stands for none.
        let fresh = millis(fresh).saturating_add(1);
        let seen = this.load(Ordering::Relaxed);
        if seen == 0 || fresh < seen {
            this.store(fresh, Ordering::Relaxed);
        }
    }
}

impl Question {
    fn of(cache: &Arc<Inner>, permit: &Permit) -> Self {
        let (operation, upstream, agency) = (permit.operation(), permit.upstream(), &permit.system().agency.id);
        let (rule, sealed) = (operation.cache, permit.is_sealed());
        let needs = Needs {
            cache: Arc::clone(cache),
            key: cache.key(upstream, agency, rule.scope, sealed),
            register: upstream.register.clone(),
            rule,
            most_bytes: operation.most_bytes(),
            sealed,
        };
        let scan = operation.bulk || matches!(operation.answer, Form::List(_));
        Self {
            needs,
            agency: agency.clone(),
            subject: permit.subject().map(|subject| cache.marker.subject(subject.expose().as_bytes())),
            worth: if scan { Worth::Scan } else { Worth::Usual },
            post: upstream.method != contract::Method::Get,
        }
    }

    fn lookup(self, wish: Wish, at: Moment) -> Lookup {
        let needs = &self.needs;
        let cache = Arc::clone(&needs.cache);
        if needs.rule.scope == CacheScope::Off {
            return Lookup::Lead(self.lead(None, None, at));
        }
        let (entry, purged) = match cache.looked_up(&needs.key, self.worth, at.now) {
            store::Lookup::Hit(entry) => (Some(entry), false),
            store::Lookup::Stale(entry) => (Some(entry), true),
            store::Lookup::Miss => (None, false),
        };
        let usable = entry.as_ref().filter(|_| !purged);
        if let Some((mut hit, entry)) =
            usable.and_then(|entry| Some((needs.hit(entry, &self.agency, wish, at)?, entry)))
        {
            if hit.source == Source::Meanwhile
                && let Some(landing) = cache.flights.begin(needs.key)
            {
                hit.refresh = Some(self.lead(Some(entry.clone()), Some(landing), at));
            }
            return Lookup::Hit(Box::new(hit));
        }
        let stale = entry.filter(|entry| entry.terms.is_some());
        if wish.alone || wish.youngest.is_some() {
            // Whoever wants it younger than what others wait for wants the register asked after now.
            return Lookup::Lead(self.lead(stale, None, at));
        }
        match cache.flights.join(needs.key, wish.avoided) {
            Role::Follow(flight, landing) => Lookup::Follow(Follower { flight, landing, needs: self.needs }),
            Role::Lead(landing) => Lookup::Lead(self.lead(stale, Some(landing), at)),
        }
    }

    fn lead(self, stale: Option<store::Found<Entry>>, landing: Option<Landing>, at: Moment) -> Box<Leader> {
        let fetch = self.needs.cache.store.begin(at.now);
        Box::new(Leader { question: self, fetch, began: at.wall, stale, landing })
    }
}

impl Needs {
    /// What is stored, if it may be used.
    fn hit(&self, entry: &store::Found<Entry>, agency: &AgencyId, wish: Wish, at: Moment) -> Option<Hit> {
        let inner = &self.cache;
        let lately = || {
            let window = inner.no_match(&self.register, &self.rule);
            wish.youngest.is_none() && entry.was_asked_within(window, inner.millis(at.now))
        };
        let Some(terms) = &entry.terms else {
            let hit = || Hit {
                found: Found::Unknown,
                source: Source::Unknown,
                life: None,
                own: false,
                kept: Kept::Lately,
                refresh: None,
            };
            return lately().then(hit);
        };
        let source = match terms.usable(&self.rule, wish.youngest, at.wall) {
            Use::Fresh => Source::Stored,
            Use::Meanwhile => Source::Meanwhile,
            Use::No => return None,
        };
        if !self.fits(&entry.found) {
            return None;
        }
        let life = Life { age: terms.age(at.wall), ttl: terms.ttl(&self.rule, at.wall) };
        let own = entry.filled_by == *agency;
        let kept = match lately() {
            true => Kept::Lately,
            false => Kept::Unasked(Unasked { entry: entry.clone(), origin: inner.origin }),
        };
        Some(Hit { found: entry.found.clone(), source, life: Some(life), own, kept, refresh: None })
    }

    /// What is stored, if it may stand in for a register that fails. It is looked up again: it may have been purged meanwhile.
    fn stand_in(&self, refusal: Refusal, at: Moment) -> Result<(Fetched, Source), Refusal> {
        if self.sealed {
            return Err(refusal);
        }
        let store::Lookup::Hit(entry) = self.cache.looked_up(&self.key, Worth::Scan, at.now) else {
            return Err(refusal);
        };
        let may = entry.terms.as_ref().is_some_and(|terms| terms.may_stand_in(&self.rule, at.wall));
        if !may || !self.fits(&entry.found) {
            return Err(refusal);
        }
        let kept = Kept::Stale(refusal);
        Ok((Fetched { found: entry.found.clone(), origin: None, kept }, Source::Stale))
    }

    /// Another operation may have let it be longer.
    fn fits(&self, found: &Found) -> bool {
        found.record().is_none_or(|raw| raw.len() <= self.most_bytes)
    }
}

impl Unasked {
    /// The register was asked now.
    pub fn asked(&self, now: Instant) {
        let now = millis(now.saturating_duration_since(self.origin));
        self.entry.asked_at.fetch_max(now, Ordering::Relaxed);
    }
}

impl Follower {
    /// Names the fetch, for [`Wish::avoided`].
    pub fn flight(&self) -> u64 {
        self.flight
    }

    /// Waits for what the fetch comes to.
    pub async fn landed(&mut self, at: impl FnOnce() -> Moment) -> Followed {
        let landed = self.landing.wait_for(Option::is_some).await.ok().and_then(|landed| landed.clone());
        let needs = &self.needs;
        match landed {
            // Whoever fetched gave up.
            None => Followed::Again,
            Some(Landed::Arrived { found, fetch, marks }) => {
                // What was purged before this request came must not reach it.
                if needs.cache.store.judge(&needs.key, fetch, marks.about()) != Verdict::Fresh {
                    return Followed::Again;
                }
                match needs.fits(&found) {
                    true => Followed::Served(Fetched { found, origin: None, kept: Kept::No }, Source::Collapsed),
                    false => Followed::Failed(Refusal::RecordTooLarge),
                }
            }
            Some(Landed::Failed { refusal: Refusal::RecordTooLarge, most_bytes, .. })
                if most_bytes < needs.most_bytes =>
            {
                Followed::Again
            }
            Some(Landed::Failed { refusal, failing: false, .. }) => Followed::Failed(refusal),
            Some(Landed::Failed { refusal, .. }) => match needs.stand_in(refusal, at()) {
                Ok((fetched, source)) => Followed::Served(fetched, source),
                Err(refusal) => Followed::Failed(refusal),
            },
        }
    }
}

impl Leader {
    /// What the register may be asked to compare with.
    pub fn compared(&self) -> Compared {
        let terms = self.stale.as_ref().and_then(|stale| stale.terms.as_ref());
        Compared { cache: Arc::clone(&self.question.needs.cache), stored: terms.map(Terms::to_stored) }
    }

    /// Whether somebody waits for it.
    pub fn is_awaited(&self) -> bool {
        self.landing.as_ref().is_some_and(Landing::is_awaited)
    }

    /// Takes the register's answer: keeps it if register and contract allow, and tells whoever waits.
    ///
    /// # Errors
    /// The refusal that the fetch came to, if nothing stored may stand in for it.
    pub fn land(mut self, answer: Result<Answer, Unanswered>, at: Moment) -> Result<(Fetched, Source), Refusal> {
        let uncached = self.question.needs.rule.scope == CacheScope::Off;
        let source = if uncached { Source::Uncached } else { Source::Register };
        let arrived = match answer {
            // Of a sealed person whatever a register answers is dropped unread; only that it does not is told to anybody.
            Ok(_) | Err(Unanswered { failing: false, .. }) if self.question.needs.sealed => {
                Ok((Found::Unknown, None, source, self.keep_unknown(at)))
            }
            Ok(answer) => self.arrived(answer, source, at),
            Err(unanswered) => Err(unanswered),
        };
        // Before whoever waits is told: whoever looks again must find it over.
        let landing = self.landing.take();
        if let Some(landing) = &landing {
            self.question.needs.cache.flights.end(&self.question.needs.key, landing);
        }
        match arrived {
            Ok((found, origin, source, marks)) => {
                if let Some(landing) = landing {
                    landing.tell(Landed::Arrived { found: found.clone(), fetch: self.fetch, marks: Arc::new(marks) });
                }
                Ok((Fetched { found, origin, kept: Kept::No }, source))
            }
            Err(Unanswered { refusal, failing }) => {
                if let Some(landing) = landing {
                    let most_bytes = self.question.needs.most_bytes;
                    landing.tell(Landed::Failed { refusal: refusal.clone(), failing, most_bytes });
                }
                if failing { self.question.needs.stand_in(refusal, at) } else { Err(refusal) }
            }
        }
    }

    fn arrived(
        &self,
        answer: Answer,
        source: Source,
        at: Moment,
    ) -> Result<(Found, Option<Origin>, Source, Marks), Unanswered> {
        let Answer { found, headers, status, origin } = answer;
        let (found, source, marks) = match (found, &self.stale) {
            (Some(Found::Unknown), _) => (Found::Unknown, source, self.keep_unknown(at)),
            (Some(found), _) => {
                let marks = self.keep(&found, status, &headers, at);
                (found, source, marks)
            }
            (None, Some(stale)) => {
                let marks = self.keep_validated(stale, &headers, at);
                (stale.found.clone(), Source::Validated, marks)
            }
            // "Not modified" answers only our own validators; without them it is no answer.
            (None, None) => return Err(Unanswered { refusal: Refusal::RegisterFailed, failing: true }),
        };
        Ok((found, Some(origin), source, marks))
    }

    /// Keeps a record, if register and contract allow.
    fn keep(&self, found: &Found, status: StatusCode, headers: &HeaderMap, at: Moment) -> Marks {
        let cache = &self.question.needs.cache;
        let (marks, all) = self.marks(headers);
        let times = Times { asked_at: self.began, got_at: at.wall };
        let method = if self.question.post { Method::POST } else { Method::GET };
        let kept = cache.rules.keep(&asked(&method, &Uri::default()), status, headers, times, &Limits::default());
        let terms = kept.ok().filter(|_| all).map(|stored| Terms::of(&stored));
        // In memory of its own: the weight counts the record alone.
        self.put(terms, || found.compact(cache.arena.as_ref()), &marks, at);
        marks
    }

    /// Keeps a record that the register said is still the same (RFC 9111, section 4.3.4).
    fn keep_validated(&self, stale: &store::Found<Entry>, headers: &HeaderMap, at: Moment) -> Marks {
        let rules = &self.question.needs.cache.rules;
        let Some(old) = stale.terms.as_ref().map(Terms::to_stored) else { return self.marks(headers).0 };
        let times = Times { asked_at: self.began, got_at: at.wall };
        let merged = rules.freshen(&asked(&Method::GET, &Uri::default()), &old, headers, times, &Limits::default());
        let (marks, all) = self.marks(&merged.stored.headers);
        let terms = merged.keep.ok().filter(|()| all).map(|()| Terms::of(&merged.stored));
        self.put(terms, || stale.found.clone(), &marks, at);
        marks
    }

    /// Keeps that the register knows nobody of that number, for as long as any contract may want.
    fn keep_unknown(&self, at: Moment) -> Marks {
        let (marks, _) = self.marks(&HeaderMap::new());
        let cache = &self.question.needs.cache;
        if !self.stores() {
            return marks;
        }
        if self.question.needs.rule.no_match.is_zero() {
            cache.store.remove(&self.question.needs.key);
        } else {
            let until = at.now + LONGEST_NO_MATCH;
            self.insert(Entry { found: Found::Unknown, terms: None, ..self.entry(at) }, until, &marks);
        }
        marks
    }

    fn put(&self, terms: Option<Terms>, found: impl FnOnce() -> Found, marks: &Marks, at: Moment) {
        if !self.stores() {
            return;
        }
        let (cache, rule) = (&self.question.needs.cache, &self.question.needs.rule);
        if let Some(register) = cache.registers.get(&self.question.needs.register) {
            let fresh = |terms: &Terms| terms.fresh_for(rule).saturating_sub(terms.age(at.wall));
            register.saw(terms.as_ref().map_or(Duration::ZERO, fresh), cache.millis(at.now));
        }
        match terms {
            Some(terms) => {
                let until = at.now + terms.useful(rule, at.wall);
                self.insert(Entry { found: found(), terms: Some(terms), ..self.entry(at) }, until, marks);
            }
            None => cache.store.remove(&self.question.needs.key),
        }
    }

    fn stores(&self) -> bool {
        self.question.needs.cache.stores && self.question.needs.rule.scope != CacheScope::Off
    }

    fn entry(&self, at: Moment) -> Entry {
        let asked_at = AtomicU64::new(self.question.needs.cache.millis(at.now));
        Entry { found: Found::Unknown, terms: None, filled_by: self.question.agency.clone(), asked_at }
    }

    fn insert(&self, value: Entry, until: Instant, marks: &Marks) {
        let bytes = value.heap();
        let record = Record { value, bytes, about: marks.about(), until };
        self.question.needs.cache.store.insert(&self.question.needs.key, self.fetch, record, self.question.worth);
    }

    /// What purges find the answer by; and whether that is all of it.
    fn marks(&self, headers: &HeaderMap) -> (Marks, bool) {
        let Needs { cache, register, .. } = &self.question.needs;
        let id = register.as_str().as_bytes();
        let lines = TAGS.iter().flat_map(|name| headers.get_all(*name)).map(HeaderValue::as_bytes);
        let (tags, all) = match cache.marker.tags(id, lines) {
            Ok(tags) => (tags, true),
            Err(_) => {
                tracing::warn!(register = register.as_str(), "a record has more or longer tags than can be kept");
                (Vec::new(), false)
            }
        };
        let mark = cache.registers.get(register).map_or_else(|| cache.marker.register(id), |register| register.mark);
        // Whom it is about is not in the question: it goes with anybody.
        let subject = self.question.subject.unwrap_or_else(|| cache.marker.subject(ANYBODY));
        (Marks { register: mark, subjects: vec![subject], tags }, all)
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        // Followers see the sender go: those who come later must find no fetch that nobody makes.
        if let Some(landing) = &self.landing {
            self.question.needs.cache.flights.end(&self.question.needs.key, landing);
        }
    }
}

impl Compared {
    /// For the request.
    pub fn validators(&self) -> Validators {
        self.stored.as_ref().map(|stored| Validators::of(&stored.headers)).unwrap_or_default()
    }

    /// Whether a "not modified" is about another record than the one that was asked about: it tells nothing then, and the register MUST
    /// be asked again, without validators (RFC 9111, section 4.3.4).
    pub fn tells_nothing(&self, answer: &Answer) -> bool {
        let about = |stored: &Stored| self.cache.rules.identify(&[stored], 0, &answer.headers);
        answer.found.is_none() && self.stored.as_ref().is_some_and(|stored| about(stored).is_empty())
    }
}

/// What a register may be asked to compare its record with (RFC 9110, section 13.1).
#[derive(Clone, Debug, Default)]
pub struct Validators {
    etag: Option<HeaderValue>,
    last_modified: Option<HeaderValue>,
}

impl Validators {
    /// Adds `If-None-Match` and `If-Modified-Since` to a request.
    pub fn apply(&self, headers: &mut HeaderMap) {
        if let Some(etag) = &self.etag {
            headers.insert(header::IF_NONE_MATCH, etag.clone());
        }
        if let Some(last_modified) = &self.last_modified {
            headers.insert(header::IF_MODIFIED_SINCE, last_modified.clone());
        }
    }

    /// Whether there is nothing to compare with.
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }

    fn of(headers: &HeaderMap) -> Self {
        Self { etag: headers.get(header::ETAG).cloned(), last_modified: headers.get(header::LAST_MODIFIED).cloned() }
    }
}

/// What the gateway asks a register, as the rules see it: fields of its own alone, none of which an answer can vary by.
fn asked<'a>(method: &'a Method, uri: &'a Uri) -> Asked<'a> {
    static NONE: std::sync::LazyLock<HeaderMap> = std::sync::LazyLock::new(HeaderMap::new);
    Asked { method, uri, headers: &NONE }
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

/// What a register may give a record for purges to find it by.
const TAGS: [&str; 2] = ["surrogate-key", "cache-tag"];
/// Stands for whoever an answer is about, where the question does not say. No person has the number.
const ANYBODY: &[u8] = b"";
/// Bytes: what the tables are laid out for.
const USUAL: usize = 1 << 10;
/// One of 16 bytes for purges for each of so many bytes of records.
const CELL_OF: u64 = 1 << 10;
const LEAST_CELLS: u32 = 12;
const MOST_CELLS: u32 = 22;
/// In milliseconds: how long a register's shortest freshness is remembered, once to twice.
const WINDOW: u64 = 3_600_000;
/// The longest that a contract may say (`no-match`).
const LONGEST_NO_MATCH: Duration = Duration::from_secs(60);
/// A round of the sweep has so many steps.
const STEPS: u64 = 600;
const LEAST_STEP: usize = 64;
const PAUSE: Duration = Duration::from_millis(100);
