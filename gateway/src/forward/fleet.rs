//! The targets of a register, and which of them is asked next. Shared by all cores; nothing here waits, and no clock is read.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::breaker::{self, Breaker, Way};
use super::budget::Budget;
use super::health::{self, Cause, Health, Standing};
use super::load::Load;

/// How a register's targets are chosen and judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// How one is chosen.
    pub balance: Balance,
    /// When one is ejected.
    pub health: health::Rules,
    /// When nobody waits for any of them.
    pub breaker: breaker::Rules,
    /// Second tries for each 100 requests.
    pub retry_percent: u32,
    /// Second tries a second, however few requests there are.
    pub retries_per_second: u32,
    /// Hedged requests for each 100 requests.
    pub hedge_percent: u32,
}

/// How a target is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// The better one of two that chance names: by what is in flight and how fast it answers.
    LeastLoaded,
    /// The same for the same person while it can be, so that a register's own caches are of use.
    Subject,
}

/// One address of a register.
#[derive(Debug)]
pub struct Target {
    id: u64,
    name: String,
    endpoint: usize,
    /// Not known until the name is resolved.
    address: OnceLock<SocketAddr>,
    near: bool,
    /// Of its name or its address, the same on every node.
    hash: AtomicU64,
    load: Load,
    health: Health,
}

/// What a target is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Host and port.
    pub name: String,
    /// Which endpoint of the configuration it is of.
    pub endpoint: usize,
    /// The address, once it is known.
    pub address: Option<SocketAddr>,
    /// Whether it is in the gateway's own zone, or no zones are told apart.
    pub near: bool,
}

impl Place {
    fn hash(&self) -> u64 {
        hash_of(&self.address.map_or_else(|| self.name.clone(), |address| address.to_string()))
    }
}

/// The targets of one register.
#[derive(Debug)]
pub struct Fleet {
    rules: Rules,
    origin: Instant,
    targets: ArcSwap<Vec<Arc<Target>>>,
    breaker: Breaker,
    retries: Budget,
    hedges: Budget,
    /// Of two that would be ejected at once, the second counts the first.
    ejecting: Mutex<()>,
    dice: AtomicU64,
}

/// A request to a target, which MUST be told how it ended; dropped, it is nobody's fault.
#[derive(Debug)]
pub struct Try {
    fleet: Arc<Fleet>,
    target: Arc<Target>,
    begun: Instant,
    on_trial: bool,
}

/// What became of a register or one of its targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The target is ejected.
    Ejected(Cause),
    /// It is back.
    Back,
}

impl Fleet {
    /// A register's targets. `seed` is what chance begins with.
    pub fn new(rules: Rules, places: Vec<Place>, seed: u64, now: Instant) -> Self {
        let fleet = Self {
            rules,
            origin: now,
            targets: ArcSwap::default(),
            breaker: Breaker::new(rules.breaker, now),
            retries: Budget::new(rules.retry_percent, rules.retries_per_second, now),
            hedges: Budget::new(rules.hedge_percent, 0, now),
            ejecting: Mutex::default(),
            dice: AtomicU64::new(mixed(seed)),
        };
        let targets = places.into_iter().map(|place| fleet.target(place, None, now)).collect();
        fleet.targets.store(Arc::new(targets));
        fleet
    }

    /// All targets.
    pub fn targets(&self) -> Arc<Vec<Arc<Target>>> {
        self.targets.load_full()
    }

    /// Puts other places in force. What is known of a target that stays is kept; a new one begins slowly.
    pub fn place(&self, places: Vec<Place>, now: Instant) {
        let before = self.targets.load();
        // Only now is it known where a target was all the time: it is no new one.
        let known = |place: &Place| before.iter().find(|target| target.is_at(place));
        // What is found in the first place was there before.
        let slowly = before.iter().any(|it| it.address.get().is_some()).then_some(self.rules.health.slow_start);
        let targets: Vec<_> = places
            .into_iter()
            .map(|place| known(&place).cloned().unwrap_or_else(|| self.target(place, slowly, now)))
            .collect();
        let same = targets.len() == before.len() && targets.iter().zip(before.iter()).all(|(a, b)| Arc::ptr_eq(a, b));
        if !same {
            self.targets.store(Arc::new(targets));
        }
    }

    /// Whether a request may be sent to the register at all now.
    pub(super) fn way(&self, now: Instant) -> Way {
        self.breaker.way(now)
    }

    /// Whether the breaker is open.
    pub fn is_open(&self) -> bool {
        self.breaker.is_open()
    }

    /// A request came; its answers earn second tries for others.
    pub(super) fn deposit(&self, now: Instant) {
        self.retries.deposit(now);
        self.hedges.deposit(now);
    }

    /// How the whole request ended, after all its tries; whether that opened or closed the breaker.
    pub(super) fn ended(&self, well: bool, now: Instant) -> Option<Way> {
        self.breaker.ended(well, now)
    }

    /// Spends a second try, if there is one.
    pub(super) fn may_retry(&self, now: Instant) -> bool {
        self.retries.withdraw(now)
    }

    /// Spends a hedged request, if there is one.
    pub(super) fn may_hedge(&self, now: Instant) -> bool {
        self.hedges.withdraw(now)
    }

    /// Chooses a target that was not tried yet. `subject` is a hash of the person, the same on every node. `None` if all were.
    pub fn choose(self: &Arc<Self>, subject: Option<u64>, tried: &[u64], now: Instant) -> Option<Try> {
        let targets = self.targets.load();
        let left = targets.iter().filter(|target| !tried.contains(&target.id));
        // The first try finds out for others; should it fail, there is a second one.
        if tried.is_empty() {
            let due = targets.iter().find(|it| it.health.standing(now) == Standing::Due && it.health.take_trial());
            if let Some(due) = due {
                return Some(self.begin(due, true, now));
            }
        }
        let is_in = |target: &&Arc<Target>| target.health.standing(now) == Standing::In;
        let near_all = targets.iter().filter(|target| target.near).count();
        let near_in = targets.iter().filter(|target| target.near).filter(is_in).count();
        // The own zone is enough while half of it is well.
        let near_only = near_in * 2 >= near_all && near_in > 0;
        let choice = |target: &&Arc<Target>| is_in(target) && (target.near || !near_only);
        let chosen = self
            .among(subject, || left.clone().filter(choice), now)
            .or_else(|| self.among(subject, || left.clone().filter(is_in), now))
            // Where none is well, all are asked rather than none.
            .or_else(|| self.among(subject, || left.clone(), now))?;
        Some(self.begin(chosen, false, now))
    }

    /// Ejections that are over for long are forgotten. Once a second is often enough.
    pub fn tend(&self, now: Instant) {
        self.targets.load().iter().for_each(|target| target.health.forgive(&self.rules.health, now));
    }

    /// What a check of a target found; whether that changed how it stands.
    pub fn checked(&self, target: &Target, well: bool, needed: u32, now: Instant) -> bool {
        target.health.checked(well, needed, now)
    }

    fn among<'t, I>(&self, subject: Option<u64>, choice: impl Fn() -> I, now: Instant) -> Option<&'t Arc<Target>>
    where
        I: Iterator<Item = &'t Arc<Target>>,
    {
        let count = choice().count();
        if count <= 1 {
            return choice().next();
        }
        match subject.filter(|_| self.rules.balance == Balance::Subject) {
            Some(subject) => {
                let in_flight: u32 = choice().map(|target| target.load.in_flight()).sum();
                let most = in_flight as f32 * CROWDED / count as f32 + 1.0;
                let score = |target: &&Arc<Target>| mixed(subject ^ target.hash.load(Ordering::Relaxed));
                let free = choice().filter(|target| (target.load.in_flight() as f32) < most);
                free.max_by_key(score).or_else(|| choice().max_by_key(score))
            }
            None => {
                let roll = self.roll();
                let first = (roll >> 32) as usize % count;
                let second = (first + 1 + (roll & 0xffff_ffff) as usize % (count - 1)) % count;
                let (one, other) = (choice().nth(first)?, choice().nth(second)?);
                let cost =
                    |target: &Target| target.load.cost(now) / target.health.weight(self.rules.health.slow_start, now);
                Some(if cost(other) < cost(one) { other } else { one })
            }
        }
    }

    fn begin(self: &Arc<Self>, target: &Arc<Target>, on_trial: bool, now: Instant) -> Try {
        target.load.begin();
        Try { fleet: Arc::clone(self), target: Arc::clone(target), begun: now, on_trial }
    }

    /// An answer that had looked well was none; why the target is ejected, if it is.
    pub(super) fn blame(&self, target: &Target, now: Instant) -> Option<Cause> {
        let cause = target.health.blamed(&self.rules.health, now)?;
        self.eject(target, cause, now).then_some(cause)
    }

    /// Ejects a target, unless too many are; one that was ejected stays so.
    fn eject(&self, target: &Target, cause: Cause, now: Instant) -> bool {
        let _alone = self.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        let targets = self.targets.load();
        let is_out = |target: &&Arc<Target>| matches!(target.health.standing(now), Standing::Ejected | Standing::Due);
        let others = targets.iter().filter(|other| other.id != target.id).filter(is_out).count();
        let most = targets.len() * self.rules.health.most_ejected_percent as usize / 100;
        let may = cause == Cause::Trial || (others < most && target.health.standing(now) == Standing::In);
        if may {
            target.health.eject(&self.rules.health, now);
        }
        may
    }

    fn target(&self, place: Place, slowly: Option<Duration>, now: Instant) -> Arc<Target> {
        Arc::new(Target {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            hash: AtomicU64::new(place.hash()),
            name: place.name,
            endpoint: place.endpoint,
            address: place.address.map(OnceLock::from).unwrap_or_default(),
            near: place.near,
            load: Load::new(self.origin),
            health: Health::new(self.origin, now, slowly),
        })
    }

    fn roll(&self) -> u64 {
        mixed(self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed))
    }
}

impl Target {
    /// Different for each target that the process ever had.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Host and port, with the address that the host's name means.
    pub fn label(&self) -> String {
        match self.address.get().map(|address| address.ip().to_string()) {
            Some(address) if !self.name.contains(&address) => format!("{} ({address})", self.name),
            _ => self.name.clone(),
        }
    }

    /// Whether it is there, or may be: then it is from now on.
    fn is_at(&self, place: &Place) -> bool {
        let like = self.endpoint == place.endpoint && self.near == place.near;
        match place.address {
            Some(address) if like => {
                let mut adopted = false;
                let known = self.address.get_or_init(|| {
                    adopted = true;
                    address
                });
                if adopted {
                    self.hash.store(place.hash(), Ordering::Relaxed);
                }
                *known == address
            }
            None => like,
            Some(_) => false,
        }
    }

    /// Which endpoint of the configuration it is of.
    pub fn endpoint(&self) -> usize {
        self.endpoint
    }

    /// The address, once it is known.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address.get().copied()
    }

    /// How it stands.
    pub fn standing(&self, now: Instant) -> Standing {
        self.health.standing(now)
    }

    /// Requests that wait for it.
    pub fn in_flight(&self) -> u32 {
        self.load.in_flight()
    }

    /// How fast it answers.
    pub fn latency(&self, now: Instant) -> Duration {
        self.load.latency(now)
    }
}

impl Try {
    /// When it was asked: what went before, such as a connection, is not its latency.
    pub(super) fn sent(&mut self, at: Option<Instant>) {
        self.begun = at.unwrap_or(self.begun);
    }

    /// Whom it asks.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// It answered as a register should.
    pub fn answered(mut self, now: Instant) -> Option<Event> {
        let on_trial = std::mem::take(&mut self.on_trial);
        if on_trial {
            // How slow it was when it was ill says nothing any more.
            self.target.load.forget();
        }
        self.target.load.observe(now.saturating_duration_since(self.begun), now);
        self.target.health.answered(on_trial, now).then_some(Event::Back)
    }

    /// It did not. That it `waited` for an answer says how slow it is, too.
    pub fn failed(mut self, waited: bool, now: Instant) -> Option<Event> {
        if waited {
            self.target.load.observe(now.saturating_duration_since(self.begun), now);
        }
        let on_trial = std::mem::take(&mut self.on_trial);
        let cause = self.target.health.failed(&self.fleet.rules.health, on_trial, now)?;
        self.fleet.eject(&self.target, cause, now).then_some(Event::Ejected(cause))
    }
}

impl Try {
    /// Another target answered first: it is as slow as that at least.
    pub(super) fn outrun(self, now: Instant) {
        self.target.load.observe(now.saturating_duration_since(self.begun), now);
    }
}

impl Drop for Try {
    fn drop(&mut self) {
        self.target.load.end();
        if self.on_trial {
            self.target.health.leave_trial();
        }
    }
}

/// A hash that is the same on every node and in every version (FNV-1a, mixed).
pub(super) fn hash_of(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    mixed(text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

/// SplitMix64's last step.
fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Different for each target of the process: connections are kept by it.
static IDS: AtomicU64 = AtomicU64::new(1);
/// A person's target is passed over that has so many times its part in flight.
const CROWDED: f32 = 1.25;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
