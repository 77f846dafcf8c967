//! Admit: whether the system may ask now. A ticket is a rate token and a concurrency slot.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, Quota, RateLimiter};
use popgate_policy::bundle::Bundle;
use popgate_policy::directory::{Limits, Rate, System};
use popgate_policy::disclose::{Redacted, Tally};
use popgate_policy::model::{AgencyId, ExchangeId, Personal, SystemId};
use popgate_policy::permit::{Permit, WholePermit};

use crate::app::config;
use crate::audit::NoMatch;
use crate::clock::Clock;
use crate::redact::Opened;
use crate::refusal::Refusal;

/// The gates of one bundle.
#[derive(Debug)]
pub struct Gates {
    /// By the system's index.
    systems: Box<[Arc<Gate>]>,
    /// For messages of exchange servers for clients that they do not speak for: such a refusal is recorded.
    strangers: HashMap<ExchangeId, Arc<Bucket>>,
}

/// The limits of one system, with what was used of them.
#[derive(Debug)]
pub struct Gate {
    system: SystemId,
    limits: Limits,
    operations: Vec<String>,
    buckets: Box<[Bucket]>,
    /// For views: they cost no register anything, and none of what a system may ask of one.
    views: Bucket,
    in_flight: AtomicU32,
}

type Bucket = RateLimiter<NotKeyed, InMemoryState, Clock, NoOpMiddleware<Instant>>;

/// The right to have one request in flight. It travels with the answer's body, so that a slow reader keeps it.
#[derive(Debug)]
pub struct Ticket {
    gate: Arc<Gate>,
}

impl Gates {
    /// The gates for a bundle. A system whose limits did not change keeps its gate, and with it what was used.
    pub fn build(bundle: &Bundle, before: Option<&Self>, clock: &Clock) -> Self {
        let operations: Vec<String> =
            bundle.contracts().operations().iter().map(|operation| operation.id.as_str().to_owned()).collect();
        let known: HashMap<&SystemId, &Arc<Gate>> =
            before.map(|gates| gates.systems.iter().map(|gate| (&gate.system, gate)).collect()).unwrap_or_default();
        let gate = |system: &Arc<System>| match known.get(&system.id) {
            Some(gate) if gate.limits == system.limits && gate.operations == operations => Arc::clone(gate),
            _ => Arc::new(Gate::new(system, &operations, clock)),
        };
        let strangers = bundle.directory().exchanges().iter().map(|exchange| {
            let known = before.and_then(|gates| gates.strangers.get(&exchange.id).cloned());
            let bucket = || Arc::new(RateLimiter::direct_with_clock(one_a_second(STRANGERS_AT_ONCE), clock.clone()));
            (exchange.id.clone(), known.unwrap_or_else(bucket))
        });
        Self { systems: bundle.directory().systems().iter().map(gate).collect(), strangers: strangers.collect() }
    }
}

impl Gate {
    fn new(system: &System, operations: &[String], clock: &Clock) -> Self {
        let rate = |id: &String| *system.limits.operations.get(id).unwrap_or(&system.limits.default);
        Self {
            system: system.id.clone(),
            limits: system.limits.clone(),
            operations: operations.to_vec(),
            buckets: operations
                .iter()
                .map(|id| RateLimiter::direct_with_clock(quota(rate(id)), clock.clone()))
                .collect(),
            views: RateLimiter::direct_with_clock(one_a_second(VIEWS_AT_ONCE), clock.clone()),
            in_flight: AtomicU32::new(0),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.gate.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes a slot and a token, the slot first: a request that finds no slot costs no token.
///
/// # Errors
/// [`Refusal::ConcurrencyExceeded`] or [`Refusal::RateExceeded`].
pub fn ticket(gates: &Gates, system: usize, operation: usize) -> Result<Ticket, Refusal> {
    let ticket = slot(gates, system)?;
    token(gates, system, operation)?;
    Ok(ticket)
}

/// Takes a slot alone, for a line of a bulk request beside others.
///
/// # Errors
/// [`Refusal::ConcurrencyExceeded`].
pub fn slot(gates: &Gates, system: usize) -> Result<Ticket, Refusal> {
    let gate = gates.systems.get(system).ok_or(Refusal::Internal)?;
    let before = gate.in_flight.fetch_add(1, Ordering::Relaxed);
    let ticket = Ticket { gate: Arc::clone(gate) };
    if before >= gate.limits.concurrent.get() {
        return Err(Refusal::ConcurrencyExceeded);
    }
    Ok(ticket)
}

/// Takes a token alone.
///
/// # Errors
/// [`Refusal::RateExceeded`].
pub fn token(gates: &Gates, system: usize, operation: usize) -> Result<(), Refusal> {
    let gate = gates.systems.get(system).ok_or(Refusal::Internal)?;
    take(gate.buckets.get(operation).ok_or(Refusal::Internal)?)
}

/// Takes a token for a view: one a second, and 20 at once.
///
/// # Errors
/// [`Refusal::RateExceeded`].
pub fn view(gates: &Gates, system: usize) -> Result<(), Refusal> {
    take(&gates.systems.get(system).ok_or(Refusal::Internal)?.views)
}

/// Takes a token for a message for a client that the exchange server does not speak for: one a second, and
/// 60 at once.
///
/// # Errors
/// [`Refusal::RateExceeded`].
pub fn stranger(gates: &Gates, exchange: &ExchangeId) -> Result<(), Refusal> {
    take(gates.strangers.get(exchange).ok_or(Refusal::Internal)?)
}

fn take(bucket: &Bucket) -> Result<(), Refusal> {
    let wait = |not_until: NotUntil<Instant>| not_until.wait_time_from(bucket.clock().now());
    bucket.check().map_err(|not_until| Refusal::RateExceeded { retry_after: wait(not_until) })
}

/// Failed guesses (guard mismatches, wrong claims, unknown persons) by subject over all agencies, and by agency.
///
/// Past a limit the answer stays "no match" until the period is over: who guesses learns nothing from going on. Subjects
/// are kept as keyed 64-bit hashes under a key of this process: a collision can only make the gateway more careful.
#[derive(Debug)]
pub struct Guesses {
    subjects: moka::sync::Cache<u64, Arc<AtomicU32>>,
    agencies: moka::sync::Cache<AgencyId, Arc<AtomicU32>>,
    key: RandomState,
    limits: config::Guesses,
    failures: AtomicU64,
}

impl Guesses {
    /// No guess has failed yet.
    pub fn new(limits: config::Guesses) -> Self {
        let cache = |capacity| moka::sync::Cache::builder().max_capacity(capacity).time_to_live(limits.period);
        Self {
            subjects: cache(MOST_SUBJECTS).build(),
            agencies: moka::sync::Cache::builder().max_capacity(100_000).time_to_live(limits.period).build(),
            key: RandomState::new(),
            limits,
            failures: AtomicU64::new(0),
        }
    }

    /// Begins to watch what a permit's request guesses.
    pub fn about(&self, permit: &Permit) -> Guess<'_> {
        let guess = permit.guesses().then(|| permit.subject()).flatten();
        Guess { guesses: self, guess: guess.map(|subject| (permit.system().agency.id.clone(), subject.clone())) }
    }

    /// How many guesses failed.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Counts a guess if it failed, and says whether it may be answered truly. It is judged when its outcome is known, by what
    /// it finds in the same step: of many guesses at once, no more are answered than of as many in turn.
    fn count(&self, agency: &AgencyId, subject: &Personal<String>, failed: bool) -> bool {
        let subject = self.hash(subject);
        let (of_subject, of_agency) = if failed {
            self.failures.fetch_add(1, Ordering::Relaxed);
            let more = |count: Arc<AtomicU32>| count.fetch_add(1, Ordering::Relaxed);
            let of_agency = more(self.agencies.get_with(agency.clone(), Arc::default));
            (more(self.subjects.get_with(subject, Arc::default)), of_agency)
        } else {
            let now = |count: Option<Arc<AtomicU32>>| count.map_or(0, |count| count.load(Ordering::Relaxed));
            (now(self.subjects.get(&subject)), now(self.agencies.get(agency)))
        };
        of_subject < self.limits.per_subject.get() && of_agency < self.limits.per_agency.get()
    }

    fn hash(&self, subject: &Personal<String>) -> u64 {
        self.key.hash_one(subject.expose())
    }
}

/// What was counted of something opened.
pub trait Counted {
    /// The tally.
    fn tally(&self) -> Tally;
}

impl Counted for Redacted {
    fn tally(&self) -> Tally {
        self.tally()
    }
}

impl Counted for WholePermit {
    fn tally(&self) -> Tally {
        self.tally()
    }
}

/// One request's guess, if it makes one.
#[derive(Debug)]
pub struct Guess<'a> {
    guesses: &'a Guesses,
    guess: Option<(AgencyId, Personal<String>)>,
}

impl Guess<'_> {
    /// Counts a guess that failed, and hides the outcome of one that may no longer be answered truly.
    pub fn judge<T: Counted>(self, opened: Opened<T>) -> Opened<T> {
        let Some((agency, subject)) = self.guess else { return opened };
        let (failed, tally) = match &opened {
            Opened::Shown(shown) => (!shown.tally().refuted.is_empty(), shown.tally()),
            // A hidden record, and a sealed person, count like an unknown person: who counts along must not tell them apart.
            Opened::NoMatch(NoMatch::Throttled, tally) => (false, *tally),
            Opened::NoMatch(_, tally) => (true, *tally),
        };
        if self.guesses.count(&agency, &subject, failed) {
            opened
        } else {
            Opened::NoMatch(NoMatch::Throttled, tally.without_fields())
        }
    }
}

/// How many views a system may ask for at once.
const VIEWS_AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);
/// How often at once an exchange server may name clients that are not its members'.
const STRANGERS_AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(59);

fn one_a_second(at_once: NonZeroU32) -> Quota {
    Quota::per_second(NonZeroU32::MIN).allow_burst(at_once)
}

/// The most subjects with failed guesses that are remembered at once (about 100 bytes each).
const MOST_SUBJECTS: u64 = 1_000_000;

fn quota(rate: Rate) -> Quota {
    let replenish = rate.per.checked_div(rate.count.get()).filter(|every| !every.is_zero());
    Quota::with_period(replenish.unwrap_or(Duration::from_nanos(1)))
        .unwrap_or_else(|| Quota::per_second(rate.count))
        .allow_burst(rate.burst)
}
