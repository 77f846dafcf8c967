//! Admit: whether the system may ask now. A ticket is a token of each of its limits and a slot; it travels with the answer's body.
//!
//! Limits stand at two levels, the system's and its agency's, and the same kinds at both: requests of an operation, of all operations,
//! for a purpose, in a day, in a month, in flight, and bytes. A limit can be soft: then it only warns; and a whole site can run dry:
//! then none refuses, and what would have been refused is counted.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, RateLimiter};
use http::HeaderValue;
use popgate_policy::bundle::Bundle;
use popgate_policy::directory::{Agency, Limits, Names, Priority, System};
use popgate_policy::model::{AgencyId, ExchangeId, OperationId, Personal, PurposeId, SystemId};

use crate::clock::Clock;
use crate::metrics::LimitMetrics;
use crate::refusal::Refusal;
use crate::share::Share;

mod bucket;
mod gate;
mod guesses;
pub mod harvest;
pub mod overload;
mod quota;
mod shedder;
mod standing;
mod watch;

pub use guesses::{Counted, Guess, Guesses};
pub use quota::Quotas;
pub use shedder::{Shedder, Slots, Told};
pub use standing::Standing;
pub use watch::{Standing as Tripped, Watch};

use gate::{Gate, Uses};
use harvest::{Action, Rules, Verdict};
use watch::Watched;

/// The gates of one bundle.
#[derive(Debug)]
pub struct Gates {
    /// By the system's index.
    systems: Box<[Arc<Party>]>,
    by_id: HashMap<Box<str>, usize>,
    agencies: HashMap<AgencyId, Arc<Watching>>,
    /// For messages of exchange servers for clients that they do not speak for: such a refusal is recorded.
    strangers: HashMap<ExchangeId, Arc<Small>>,
    clock: Clock,
    quotas: Arc<Quotas>,
    watch: Arc<Watch>,
    share: Option<Arc<Share>>,
    metrics: LimitMetrics,
    effect: Effect,
}

/// What gates are made with, whatever the bundle says.
#[derive(Debug, Clone)]
pub struct Ground {
    /// The time.
    pub clock: Clock,
    /// What was used of quotas.
    pub quotas: Arc<Quotas>,
    /// What the harvest guard saw.
    pub watch: Arc<Watch>,
    /// The limits that nodes share, if they do.
    pub share: Option<Arc<Share>>,
    /// Whose requests count together where not everybody can be served.
    pub slots: Arc<Slots>,
    /// What is counted.
    pub metrics: LimitMetrics,
    /// Whether limits refuse, or what they would refuse is only counted.
    pub enforced: bool,
}

/// A system with its agency.
#[derive(Debug)]
struct Party {
    id: SystemId,
    own: Watching,
    agency: Arc<Watching>,
    /// By the operation's index: the header that tells of its limits.
    policies: Box<[OnceLock<HeaderValue>]>,
    /// The agency's, where not everybody can be served.
    slot: usize,
    /// For views: they cost no register anything, and none of what a system may ask of one.
    views: Arc<Small>,
}

/// A gate, and what the harvest guard sees of whose it is.
#[derive(Debug)]
struct Watching {
    gate: Gate,
    watched: Arc<Watched>,
    rules: Rules,
}

type Small = RateLimiter<NotKeyed, InMemoryState, Clock, NoOpMiddleware<Instant>>;

/// What comes of a limit that is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Effect {
    Refused,
    Soft,
    DryRun,
}

/// What gates need to know of the node.
#[derive(Clone, Copy)]
struct Around<'a> {
    clock: &'a Clock,
    quotas: &'a Quotas,
    watch: &'a Watch,
    share: Option<&'a Share>,
    metrics: &'a LimitMetrics,
    effect: Effect,
}

/// A limit that is reached, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Over {
    limit: &'static str,
    wait: Duration,
    of_quota: bool,
}

impl Over {
    /// Whether it is no more than a moment: what nodes share is on its way.
    fn is_soon(&self) -> bool {
        self.wait <= Duration::from_secs(1)
    }
}

/// The right to have one request in flight. It travels with the answer's body, so that a slow reader keeps it.
#[derive(Debug)]
pub struct Ticket {
    gates: Arc<Gates>,
    party: Arc<Party>,
}

/// A connection's place among those of its system, taken by its first request.
#[derive(Debug, Default)]
pub struct Place(OnceLock<Taken>);

#[derive(Debug)]
struct Taken {
    uses: Arc<Uses>,
    admitted: bool,
}

impl Gates {
    /// The gates for a bundle. A party whose limits did not change keeps its gate, and with it what was used.
    pub fn build(bundle: &Bundle, before: Option<&Self>, ground: &Ground) -> Self {
        let effect = if ground.enforced { Effect::Refused } else { Effect::DryRun };
        let around = Around {
            clock: &ground.clock,
            quotas: &ground.quotas,
            watch: &ground.watch,
            share: ground.share.as_deref(),
            metrics: &ground.metrics,
            effect,
        };
        let ids: Vec<OperationId> = bundle.contracts().operations().iter().map(|known| known.id.clone()).collect();
        let known = before.and_then(|gates| gates.agencies.values().next().map(|agency| Arc::clone(agency.gate.ids())));
        let ids = known.filter(|known| **known == *ids).unwrap_or_else(|| ids.into());
        let agencies: HashMap<_, _> = bundle
            .directory()
            .agencies()
            .map(|agency| {
                let before = before.and_then(|gates| gates.agencies.get(&agency.id));
                (agency.id.clone(), of_agency(agency, before, &ids, &around))
            })
            .collect();
        let systems: HashMap<&SystemId, &Arc<Party>> =
            before.map(|gates| gates.systems.iter().map(|party| (&party.id, party)).collect()).unwrap_or_default();
        let party = |system: &Arc<System>| {
            let agency = agencies.get(&system.agency.id)?;
            let slot = ground.slots.of(&system.agency.id);
            Some(of_system(system, (agency, slot), systems.get(&system.id).copied(), &ids, &around))
        };
        let strangers = bundle.directory().exchanges().iter().map(|exchange| {
            let known = before.and_then(|gates| gates.strangers.get(&exchange.id).cloned());
            let bucket = || Arc::new(one_a_second(STRANGERS_AT_ONCE, &ground.clock));
            (exchange.id.clone(), known.unwrap_or_else(bucket))
        });
        Self {
            systems: bundle.directory().systems().iter().filter_map(party).collect(),
            by_id: bundle
                .directory()
                .systems()
                .iter()
                .map(|system| (system.id.as_str().into(), system.index))
                .collect(),
            agencies,
            strangers: strangers.collect(),
            clock: ground.clock.clone(),
            quotas: Arc::clone(&ground.quotas),
            watch: Arc::clone(&ground.watch),
            share: ground.share.clone(),
            metrics: ground.metrics.clone(),
            effect,
        }
    }

    fn unless_stopped(&self, verdict: &Verdict) -> Result<(), Refusal> {
        match verdict.action {
            Some(Action::Stop) => Err(Refusal::HarvestSuspected { retry_after: self.until(verdict.again) }),
            Some(Action::Slow(_) | Action::Warn) | None => Ok(()),
        }
    }

    /// From now to a time in seconds since 1970; a while, if that is not known.
    fn until(&self, again: Option<u64>) -> Duration {
        let now = u64::try_from(self.clock.wall().as_second()).unwrap_or_default();
        again.map_or(A_WHILE, |again| Duration::from_secs(again.saturating_sub(now).max(1)))
    }

    fn party(&self, system: usize) -> Result<&Arc<Party>, Refusal> {
        self.systems.get(system).ok_or(Refusal::Internal)
    }

    fn around(&self) -> Around<'_> {
        let Self { clock, quotas, watch, share, metrics, effect, .. } = self;
        Around { clock, quotas, watch, share: share.as_deref(), metrics, effect: *effect }
    }

    /// The harvest guard's rules for a party, by its name; `None` if the bundle has no such.
    pub fn rules_of(&self, name: &str) -> Option<Rules> {
        let (kind, id) = name.split_once(' ')?;
        match kind {
            "agency" => self.agencies.get(&AgencyId::new(id)).map(|gate| gate.rules.clone()),
            _ => self.systems.get(*self.by_id.get(id)?).map(|party| party.own.rules.clone()),
        }
    }
}

fn of_agency(
    agency: &Agency,
    before: Option<&Arc<Watching>>,
    ids: &Arc<[OperationId]>,
    around: &Around<'_>,
) -> Arc<Watching> {
    match before {
        Some(known) if *known.gate.limits() == agency.limits && Arc::ptr_eq(known.gate.ids(), ids) => Arc::clone(known),
        _ => {
            let name = format!("agency {}", agency.id);
            Arc::new(Watching::of(&name, &agency.limits, &Names::AGENCY, before.map(|it| &**it), ids, around))
        }
    }
}

fn of_system(
    system: &System,
    (agency, slot): (&Arc<Watching>, usize),
    before: Option<&Arc<Party>>,
    ids: &Arc<[OperationId]>,
    around: &Around<'_>,
) -> Arc<Party> {
    match before {
        Some(party)
            if *party.own.gate.limits() == system.limits
                && Arc::ptr_eq(party.own.gate.ids(), ids)
                && Arc::ptr_eq(&party.agency, agency) =>
        {
            Arc::clone(party)
        }
        _ => {
            let name = format!("system {}", system.id);
            let views = before.map(|party| Arc::clone(&party.views));
            Arc::new(Party {
                id: system.id.clone(),
                own: Watching::of(&name, &system.limits, &Names::SYSTEM, before.map(|it| &it.own), ids, around),
                agency: Arc::clone(agency),
                policies: ids.iter().map(|_| OnceLock::new()).collect(),
                slot,
                views: views.unwrap_or_else(|| Arc::new(one_a_second(VIEWS_AT_ONCE, around.clock))),
            })
        }
    }
}

impl Watching {
    /// Where the limits are as before, with what was used of them.
    fn of(
        name: &str,
        limits: &Limits,
        names: &'static Names,
        before: Option<&Self>,
        ids: &Arc<[OperationId]>,
        around: &Around<'_>,
    ) -> Self {
        let gate = match before {
            Some(before) if before.gate.limits() == limits => before.gate.renewed(ids),
            _ => {
                let uses = before.map(|before| Arc::clone(before.gate.uses())).unwrap_or_default();
                Gate::new(name.to_owned(), limits, names, ids, uses, around)
            }
        };
        Self { gate, watched: around.watch.party(name), rules: around.watch.rules(limits) }
    }
}

impl Around<'_> {
    /// The same for limits that only warn.
    fn softly(self) -> Self {
        Self { effect: Effect::Soft, ..self }
    }
}

impl Effect {
    fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Soft => "soft",
            Self::DryRun => "dry-run",
        }
    }
}

impl Over {
    fn refusal(self) -> Refusal {
        let Self { limit, wait: retry_after, of_quota } = self;
        match of_quota {
            true => Refusal::QuotaExceeded { limit, retry_after },
            false => Refusal::RateExceeded { limit, retry_after },
        }
    }
}

impl Ticket {
    /// Charges bytes of the request or of its answer.
    pub fn moved(&self, bytes: usize) {
        self.party.charge(bytes, &self.gates.around());
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.party.own.gate.leave();
        self.party.agency.gate.leave();
    }
}

impl Party {
    fn charge(&self, bytes: usize, around: &Around<'_>) {
        self.own.gate.charge(bytes as u64, around);
        self.agency.gate.charge(bytes as u64, around);
    }

    /// Which limits there are.
    fn tell(&self, operation: usize, around: &Around<'_>, standing: &mut Standing) {
        let policy = self.policies.get(operation).map(|policy| {
            policy.get_or_init(|| {
                let mut bounds = self.own.gate.bounds(operation, around).to_vec();
                bounds.extend_from_slice(self.agency.gate.bounds(operation, around));
                standing::policy(&bounds)
            })
        });
        policy.into_iter().for_each(|policy| standing.under(policy.clone()));
    }

    fn take(&self, operation: usize, around: &Around<'_>, standing: &mut Standing) -> Result<(), Over> {
        self.own.gate.take(operation, around, standing)?;
        self.agency.gate.take(operation, around, standing)
    }

    /// Quotas last, of both: who is refused for another reason uses none.
    fn agree(&self, purpose: &PurposeId, around: &Around<'_>, standing: &mut Standing) -> Result<(), Over> {
        self.own.gate.take_purpose(purpose, around, standing)?;
        self.agency.gate.take_purpose(purpose, around, standing)?;
        self.own.gate.take_quotas(around, standing)?;
        self.agency.gate.take_quotas(around, standing).inspect_err(|_| self.own.gate.give_back())
    }
}

/// Whether the node can do it: asked once for each request, before anything dear. `told` is its connection's.
///
/// # Errors
/// [`Refusal::Overloaded`], later where the client asks again earlier than it was told.
pub async fn shed(
    shedder: Option<&Shedder>,
    gates: &Gates,
    system: usize,
    priority: Priority,
    told: &Told,
) -> Result<(), Refusal> {
    let slot = gates.party(system)?.slot;
    match shedder {
        Some(shedder) if !shedder.admit(slot, priority) => Err(Box::pin(shedder.refuse(priority, told)).await),
        _ => Ok(()),
    }
}

/// Whether the node can do a line of a bulk request now: it waits where it cannot.
///
/// # Errors
/// [`Refusal::Internal`] if there is no such system.
pub fn can(shedder: Option<&Shedder>, gates: &Gates, system: usize, priority: Priority) -> Result<bool, Refusal> {
    let slot = gates.party(system)?.slot;
    Ok(shedder.is_none_or(|shedder| shedder.admit(slot, priority)))
}

/// Takes a slot and a token of every rate, the slots first: a request that finds none costs no token.
///
/// # Errors
/// [`Refusal::ConcurrencyExceeded`] or [`Refusal::RateExceeded`].
pub fn ticket(gates: &Arc<Gates>, system: usize, operation: usize, standing: &mut Standing) -> Result<Ticket, Refusal> {
    gates.party(system)?.tell(operation, &gates.around(), standing);
    let ticket = slot(gates, system)?;
    token(gates, system, operation, standing)?;
    Ok(ticket)
}

/// Takes slots alone, for a line of a bulk request beside others.
///
/// # Errors
/// [`Refusal::ConcurrencyExceeded`].
pub fn slot(gates: &Arc<Gates>, system: usize) -> Result<Ticket, Refusal> {
    let party = gates.party(system)?;
    let around = gates.around();
    // Both are entered whatever the first says: the ticket leaves both.
    let entered = (party.own.gate.enter(&around), party.agency.gate.enter(&around));
    let ticket = Ticket { gates: Arc::clone(gates), party: Arc::clone(party) };
    match entered {
        (Ok(()), Ok(())) => Ok(ticket),
        (Err(over), _) | (_, Err(over)) => Err(Refusal::ConcurrencyExceeded { limit: over.limit }),
    }
}

/// Takes a token of every rate alone.
///
/// # Errors
/// [`Refusal::RateExceeded`].
pub fn token(gates: &Gates, system: usize, operation: usize, standing: &mut Standing) -> Result<(), Refusal> {
    gates.party(system)?.take(operation, &gates.around(), standing).map_err(Over::refusal)
}

/// Takes a token of the purpose, where the system or its agency has a limit for it, and one of each quota: the last of the limits, when
/// it is known what for something is asked.
///
/// # Errors
/// [`Refusal::RateExceeded`] or [`Refusal::QuotaExceeded`].
pub fn agreed(gates: &Gates, system: usize, purpose: &PurposeId, standing: &mut Standing) -> Result<(), Refusal> {
    gates.party(system)?.agree(purpose, &gates.around(), standing).map_err(Over::refusal)
}

/// What the harvest guard says of a request, before anything is fetched: how long it must wait, if it must.
///
/// # Errors
/// [`Refusal::HarvestSuspected`].
pub fn asked(gates: &Gates, system: usize, subject: Option<&Personal<String>>) -> Result<Option<Duration>, Refusal> {
    let party = gates.party(system)?;
    let person = subject.map(|subject| gates.watch.person(subject));
    let both = [&party.own, &*party.agency];
    // First of both whether they are stopped: nothing is answered then, and nobody's account grows.
    for of in both {
        let verdict = gates.watch.see(&of.watched, &of.rules, |party, rules, now| party.tend(rules, now));
        gates.unless_stopped(&verdict)?;
    }
    let mut wait = None;
    for of in both {
        let verdict = gates.watch.see(&of.watched, &of.rules, |party, rules, now| match &person {
            Some(person) => party.asked(rules, person, now),
            None => party.searched(rules, now),
        });
        gates.unless_stopped(&verdict)?;
        if let Some(Action::Slow(delay)) = verdict.action {
            wait = wait.max(Some(delay));
        }
    }
    Ok(wait)
}

/// Tells the harvest guard that a request found nobody, or that its guard did not match.
pub fn missed(gates: &Gates, system: usize) {
    let Ok(party) = gates.party(system) else { return };
    for of in [&party.own, &*party.agency] {
        gates.watch.see(&of.watched, &of.rules, |party, rules, now| party.missed(rules, now));
    }
}

/// Tells the harvest guard of a person whom only the answer named.
pub fn found(gates: &Gates, system: usize, subject: &Personal<String>) {
    let Ok(party) = gates.party(system) else { return };
    let person = gates.watch.person(subject);
    for of in [&party.own, &*party.agency] {
        gates.watch.see(&of.watched, &of.rules, |party, rules, now| party.told(rules, &person, now));
    }
}

/// Charges bytes of a bulk request's line.
pub fn moved(gates: &Gates, system: usize, bytes: usize) {
    if let Ok(party) = gates.party(system) {
        party.charge(bytes, &gates.around());
    }
}

/// Takes the connection's place among its system's, at its first request.
///
/// # Errors
/// [`Refusal::ConnectionsExceeded`], for each of its requests.
pub fn connection(gates: &Gates, system: usize, place: &Place) -> Result<(), Refusal> {
    let party = gates.party(system)?;
    let taken = place.0.get_or_init(|| {
        let uses = Arc::clone(party.own.gate.uses());
        let before = uses.connections.fetch_add(1, Ordering::Relaxed);
        let over = party.own.gate.limits().connections.is_some_and(|most| before >= most.get());
        let admitted = !over || {
            let wait = Duration::from_secs(1);
            party.own.gate.judge(CONNECTIONS, Err(wait), &gates.around(), &mut Standing::default()).is_ok()
        };
        if !admitted {
            // It is refused, and closed: it does not count.
            uses.connections.fetch_sub(1, Ordering::Relaxed);
        }
        Taken { uses, admitted }
    });
    if taken.admitted { Ok(()) } else { Err(Refusal::ConnectionsExceeded) }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.admitted {
            self.uses.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Takes a token for a view: one a second, and 20 at once.
///
/// # Errors
/// [`Refusal::RateExceeded`].
pub fn view(gates: &Gates, system: usize) -> Result<(), Refusal> {
    small(&gates.party(system)?.views, "views")
}

/// Takes a token for a message for a client that the exchange server does not speak for: one a second, and
/// 60 at once.
///
/// # Errors
/// [`Refusal::RateExceeded`].
pub fn stranger(gates: &Gates, exchange: &ExchangeId) -> Result<(), Refusal> {
    small(gates.strangers.get(exchange).ok_or(Refusal::Internal)?, "strangers")
}

fn small(bucket: &Small, limit: &'static str) -> Result<(), Refusal> {
    let wait = |not_until: NotUntil<Instant>| not_until.wait_time_from(bucket.clock().now());
    bucket.check().map_err(|not_until| Refusal::RateExceeded { limit, retry_after: wait(not_until) })
}

fn one_a_second(at_once: NonZeroU32, clock: &Clock) -> Small {
    RateLimiter::direct_with_clock(governor::Quota::per_second(NonZeroU32::MIN).allow_burst(at_once), clock.clone())
}

/// How many views a system may ask for at once.
const VIEWS_AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);
/// How often at once an exchange server may name clients that are not its members'.
const STRANGERS_AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(59);
const CONNECTIONS: &str = "connections";
const A_WHILE: Duration = Duration::from_secs(60);
