//! Overload: when the node cannot do all that is asked of it, what is asked too much is refused early and cheaply.
//!
//! [`Controller::tick`] learns how much the node can do from two things: how late its event loops are, and how much processor
//! time requests cost of that which there is. It divides that among the agencies and their classes (`share`), and leaves for each
//! the odds that a request is shed. [`Lane::admit`] only
//! counts a request and looks its odds up. A request that is shed costs [`Rules::shed_cost`] of one that is served: it
//! must be judged before anything dear.

mod governor;
mod pulse;
mod share;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use popgate_policy::directory::Priority;

pub use governor::Rules;
use governor::{Budget, Governor, Seen};
use pulse::Pulse;
pub use pulse::{BEAT, Delay, FAST_BEAT};
use share::{Demand, Levels};

/// How much a request matters, the most first. Who may call a request an emergency is for the policy to say, not for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A life may depend on it: squeezed last.
    Emergency,
    /// Somebody waits for it.
    Interactive,
    /// Nobody waits for it: squeezed first.
    Batch,
}

impl Class {
    /// All, the most important first.
    pub const ALL: [Self; CLASSES] = [Self::Emergency, Self::Interactive, Self::Batch];

    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Emergency => "emergency",
            Self::Interactive => "interactive",
            Self::Batch => "batch",
        }
    }
}

impl From<Priority> for Class {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Emergency => Self::Emergency,
            Priority::Interactive => Self::Interactive,
            Priority::Batch => Self::Batch,
        }
    }
}

/// One of each for every class.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PerClass<T> {
    /// For [`Class::Emergency`].
    pub emergency: T,
    /// For [`Class::Interactive`].
    pub interactive: T,
    /// For [`Class::Batch`].
    pub batch: T,
}

impl<T: Copy> PerClass<T> {
    /// What it makes of each class.
    pub fn from_fn(mut of: impl FnMut(Class) -> T) -> Self {
        Self { emergency: of(Class::Emergency), interactive: of(Class::Interactive), batch: of(Class::Batch) }
    }

    /// The class's.
    pub fn of(&self, class: Class) -> T {
        match class {
            Class::Emergency => self.emergency,
            Class::Interactive => self.interactive,
            Class::Batch => self.batch,
        }
    }
}

/// What one data-plane thread asks for each request. Threads that share a lane count right, but get in each other's
/// way.
#[derive(Clone, Debug)]
pub struct Lane {
    rhythm: Arc<Rhythm>,
    counts: Arc<Counts>,
    shared: Arc<Shared>,
}

/// How late a lane's event loop is, and what it does about that by itself until the next tick.
#[derive(Debug)]
struct Rhythm {
    pulse: Pulse,
    /// What it sheds more than the odds say: 0 for as they say, [`AS_MUCH`] for all that is squeezed at all; less than
    /// 0 for less.
    more: AtomicI32,
}

/// What a lane counted, never reset: the controller takes differences.
struct Counts {
    /// By slot and class: how many came.
    came: Box<[AtomicU32]>,
    shed: PerLane,
}

type PerLane = [AtomicU64; CLASSES];

/// What the controller leaves for all lanes. Written only when it changes, so that it stays in every core's cache.
struct Shared {
    /// By slot and class: a request is shed if its random number is below.
    odds: Box<[AtomicU32]>,
    /// The delay that a loop should have under overload, in microseconds.
    aim: AtomicU32,
    /// Over how many seconds those who were shed should come back.
    spread: AtomicU32,
    /// How long at most one waits for its refusal, in microseconds.
    hold: AtomicU32,
    /// Whether loops should look often how late they are.
    overloaded: AtomicBool,
    slots: usize,
    dry_run: bool,
}

impl Lane {
    /// Whether a request may go on: one relaxed increment, one relaxed load; no lock, no allocation.
    ///
    /// MUST be called once for each request, also where the answer would be no anyway, or the arrivals are estimated
    /// too low. `random` is uniform and new each time. All agencies beyond the last slot share that one.
    pub fn admit(&self, slot: usize, class: Class, random: u32) -> bool {
        let at = slot.min(self.shared.slots - 1) * CLASSES + class as usize;
        if let Some(came) = self.counts.came.get(at) {
            came.fetch_add(1, Ordering::Relaxed);
        }
        let odds = self.shared.odds.get(at).map_or(0, |odds| odds.load(Ordering::Relaxed));
        odds == 0 || self.draw(odds, class, random)
    }

    /// The thread's heartbeat woke; after how long it is to wake again. `now` is since the origin that
    /// [`Controller::tick`] uses, `cpu` the processor time that the thread has used.
    pub fn beat(&self, now: Duration, cpu: Duration) -> Duration {
        let next = if self.shared.overloaded.load(Ordering::Relaxed) { FAST_BEAT } else { BEAT };
        let late = self.rhythm.pulse.beat(now, cpu, next);
        let over = late.as_secs_f32() - self.shared.aim.load(Ordering::Relaxed) as f32 / 1e6;
        // The cast saturates.
        let more = (over / AT_ONCE * AS_MUCH as f32) as i32;
        self.rhythm.more.store(more.clamp(-AS_MUCH / 4, AS_MUCH), Ordering::Relaxed);
        next
    }

    /// When one that was shed may ask again: whole seconds, at least one, spread by `random` so that they do not come
    /// back at once.
    pub fn retry_after(&self, class: Class, random: u32) -> Duration {
        let spread = match class {
            Class::Emergency => 1,
            Class::Interactive => self.shared.spread.load(Ordering::Relaxed).max(1),
            Class::Batch => self.shared.spread.load(Ordering::Relaxed).max(1) * 2,
        };
        let later = (u64::from(random) * u64::from(spread)) >> 32;
        Duration::from_secs(1 + later)
    }

    /// How long one waits for its refusal that was told when to ask again and did not wait until then: the longer, the more of its time the node
    /// spends on refusing, and each another time, so that they are not back all at once. Clients that ask again as soon as they are refused would otherwise keep
    /// the node busy with refusing.
    pub fn hold(&self, random: u32) -> Duration {
        let longest = self.shared.hold.load(Ordering::Relaxed);
        Duration::from_micros((u64::from(random) * u64::from(longest)) >> 32)
    }

    /// Draws for a request that may be shed. Between two ticks a loop that is late sheds more, the more who are
    /// squeezed anyway: who is hardly squeezed hardly notices, and who is not does not.
    fn draw(&self, odds: u32, class: Class, random: u32) -> bool {
        let more = i64::from(self.rhythm.more.load(Ordering::Relaxed));
        let room = odds.saturating_mul(4).min(u32::MAX - odds);
        if i64::from(random) >= i64::from(odds) + more * i64::from(room) / i64::from(AS_MUCH) {
            return true;
        }
        if let Some(shed) = self.counts.shed.get(class as usize) {
            shed.fetch_add(1, Ordering::Relaxed);
        }
        self.shared.dry_run
    }
}

/// Processor time since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Of the whole process.
    pub all: Duration,
    /// Of that, on handshakes.
    pub greeting: Duration,
}

/// How the node stands after a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Standing {
    /// Whether it is overloaded. Nothing is shed while it is not; where it is, nothing need be.
    pub overloaded: bool,
    /// Nothing but emergencies is let through for a while, and the delay does not go back: shedding alone costs more
    /// than the node can do. Whoever accepts connections should pause.
    pub saturated: bool,
    /// The processor time that handshakes may take until the next tick; without overload as much as they want.
    pub greeting: Option<Duration>,
    /// How late the event loops were: the mean over the threads.
    pub loops: Delay,
    /// How much is squeezed, 0 to 3: the shares that are shed of each class, added.
    pub pressure: f64,
    /// Requests a second that came to be judged.
    pub offered: f64,
    /// Requests a second that the node could serve if it shed none, as far as it is known; 0 if it is not.
    pub capacity: f64,
    /// The share of each class that is to be shed, 0 to 1.
    pub shares: PerClass<f64>,
    /// How many were shed since the start; in a dry run, how many would have been.
    pub shed: PerClass<u64>,
}

/// The one that decides, once in 50 or 100 ms. It belongs to a thread of its own, which does not wait for the data
/// plane.
#[derive(Debug)]
pub struct Controller {
    rules: Rules,
    governor: Governor,
    ticked: Duration,
    /// Processor time up to then.
    spent: Spent,
    lanes: Vec<Lane>,
    tenants: Vec<Tenant>,
    /// How many were seen shed.
    shed: PerClass<u64>,
    /// For sums; kept so that a tick allocates nothing.
    totals: Vec<u32>,
    demands: Vec<Demand>,
    squeezing: bool,
}

/// What is remembered of an agency.
#[derive(Clone, Copy, Debug)]
struct Tenant {
    weight: f32,
    counted: PerClass<u32>,
    /// Requests a second, over the last ten or the last second, whichever is longer; sooner when it changes beyond
    /// chance.
    rates: PerClass<f32>,
}

impl Controller {
    /// For so many agencies (one slot at least) of equal weight, and so many data-plane threads: one lane for each.
    /// Times are since any origin.
    pub fn new(rules: Rules, slots: usize, lanes: usize, now: Duration) -> (Self, Vec<Lane>) {
        let slots = slots.max(1);
        let none = |_| AtomicU32::new(0);
        let odds = (0..slots * CLASSES).map(none).collect();
        let shared = Arc::new(Shared {
            odds,
            aim: AtomicU32::new(0),
            spread: AtomicU32::new(1),
            hold: AtomicU32::new(0),
            overloaded: AtomicBool::new(false),
            slots,
            dry_run: rules.dry_run,
        });
        let counts = || Counts { came: (0..slots * CLASSES).map(none).collect(), shed: PerLane::default() };
        let rhythm = || Rhythm { pulse: Pulse::new(now), more: AtomicI32::new(0) };
        let lane = |_| Lane { rhythm: Arc::new(rhythm()), counts: Arc::new(counts()), shared: Arc::clone(&shared) };
        let lanes: Vec<Lane> = (0..lanes.max(1)).map(lane).collect();
        let tenant = Tenant { weight: 1.0, counted: PerClass::default(), rates: PerClass::default() };
        let controller = Self {
            governor: Governor::new(&rules, lanes.len() as f64),
            rules,
            ticked: now,
            spent: Spent::default(),
            lanes: lanes.clone(),
            tenants: vec![tenant; slots],
            shed: PerClass::default(),
            totals: vec![0; slots * CLASSES],
            demands: Vec::with_capacity(slots),
            squeezing: false,
        };
        (controller, lanes)
    }

    /// Gives an agency a larger or smaller part than others, whose weight is 1. Weights that make no sense become 1.
    pub fn weigh(&mut self, slot: usize, weight: f32) {
        if let Some(tenant) = self.tenants.get_mut(slot) {
            tenant.weight = if weight.is_finite() && weight > 0.0 { weight } else { 1.0 };
        }
    }

    /// Looks at what came, and decides what is shed until the next tick. `queue` is how long requests wait elsewhere on this node (for a register, say), if that is to count as overload of the node
    /// as well.
    pub fn tick(&mut self, now: Duration, spent: Spent, queue: Option<Delay>) -> Standing {
        let elapsed = now.saturating_sub(self.ticked).as_secs_f64().clamp(0.001, 1.0);
        // What the process did before it was watched says nothing.
        let before = if self.spent.all.is_zero() { spent.all } else { self.spent.all };
        let used = spent.all.saturating_sub(before);
        let greeting = spent.greeting.saturating_sub(self.spent.greeting);
        (self.ticked, self.spent) = (now, spent);
        let each = used / u32::try_from(self.lanes.len()).unwrap_or(1);
        let loops = Delay::mean_of(self.lanes.iter().map(|lane| lane.rhythm.pulse.read(now, each)));
        let seen = self.count(elapsed);
        let delay = queue.map_or(loops, |queue| queue.or_longer(loops));
        let budget = self.governor.step(&seen, delay, [used.as_secs_f64(), greeting.as_secs_f64()], elapsed);
        if budget.calm() {
            self.relax();
        } else {
            self.squeeze(&budget);
        }
        let standing = Standing { loops, shed: self.shed, ..self.governor.standing() };
        self.shared(|shared| {
            shared.spread.store(budget.spread(), Ordering::Relaxed);
            shared.hold.store((self.governor.hold() * 1e6) as u32, Ordering::Relaxed);
            shared.aim.store((self.governor.aim() * 1e6) as u32, Ordering::Relaxed);
            shared.overloaded.store(standing.overloaded, Ordering::Relaxed);
        });
        standing
    }

    /// Agencies that are squeezed now: slot, class, requests a second, and the share of them that is shed (0 to 1).
    pub fn squeezed(&self) -> impl Iterator<Item = (usize, Class, f32, f32)> {
        let odds = self.lanes.first().map(|lane| &lane.shared.odds);
        let odds = odds.into_iter().flat_map(|odds| odds.chunks_exact(CLASSES));
        self.tenants.iter().zip(odds).enumerate().flat_map(|(slot, (tenant, odds))| {
            Class::ALL.into_iter().zip(odds).filter_map(move |(class, odds)| {
                let odds = odds.load(Ordering::Relaxed);
                (odds > 0).then_some((slot, class, tenant.rates.of(class), odds as f32 / EVERY))
            })
        })
    }

    fn count(&mut self, elapsed: f64) -> Seen {
        self.totals.fill(0);
        for lane in &self.lanes {
            for (total, came) in self.totals.iter_mut().zip(&lane.counts.came) {
                *total = total.wrapping_add(came.load(Ordering::Relaxed));
            }
        }
        let mut came = PerClass::<u64>::default();
        self.demands.clear();
        for (tenant, totals) in self.tenants.iter_mut().zip(self.totals.chunks_exact(CLASSES)) {
            let &[emergency, interactive, batch] = totals else { continue };
            let totals = PerClass { emergency, interactive, batch };
            if totals == tenant.counted && tenant.rates == PerClass::default() {
                continue;
            }
            let new = PerClass::from_fn(|class| totals.of(class).wrapping_sub(tenant.counted.of(class)));
            came = PerClass::from_fn(|class| came.of(class) + u64::from(new.of(class)));
            tenant.counted = totals;
            tenant.rates = PerClass::from_fn(|class| followed(tenant.rates.of(class), new.of(class), elapsed as f32));
            self.demands.push(Demand { weight: tenant.weight, rates: tenant.rates });
        }
        let shed_of = |class: Class| {
            let of_lane = |lane: &Lane| lane.counts.shed.get(class as usize).map_or(0, |it| it.load(Ordering::Relaxed));
            self.lanes.iter().map(of_lane).sum::<u64>()
        };
        let total = PerClass::from_fn(shed_of);
        // A request is counted before it is shed: what was shed meanwhile may have come after the count.
        let shed = PerClass::from_fn(|class| total.of(class).saturating_sub(self.shed.of(class)).min(came.of(class)));
        self.shed = total;
        Seen { came, shed }
    }

    fn squeeze(&mut self, budget: &Budget) {
        self.squeezing = true;
        let levels = Levels::divide(&self.demands, budget, self.rules.batch_price);
        let Some(lane) = self.lanes.first() else { return };
        for (tenant, odds) in self.tenants.iter().zip(lane.shared.odds.chunks_exact(CLASSES)) {
            // Where thousands ask seldom, those who did not ask lately are many as well.
            let rates = PerClass::from_fn(|class| tenant.rates.of(class).max(SELDOM));
            let granted = levels.granted(&Demand { weight: tenant.weight, rates });
            for (class, odds) in Class::ALL.into_iter().zip(odds) {
                let (rate, granted) = (rates.of(class), granted.of(class));
                // The saturating cast makes the odds of nothing granted as good as certain.
                let new = if granted < rate { ((1.0 - granted / rate) * EVERY) as u32 } else { 0 };
                put(odds, new);
            }
        }
    }

    fn relax(&mut self) {
        if self.squeezing {
            self.squeezing = false;
            self.shared(|shared| shared.odds.iter().for_each(|odds| put(odds, 0)));
        }
    }

    fn shared(&self, change: impl FnOnce(&Shared)) {
        if let Some(lane) = self.lanes.first() {
            change(&lane.shared);
        }
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counts").field("shed", &self.shed).finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("slots", &self.slots).field("dry_run", &self.dry_run).finish_non_exhaustive()
    }
}

fn put(odds: &AtomicU32, new: u32) {
    if odds.load(Ordering::Relaxed) != new {
        odds.store(new, Ordering::Relaxed);
    }
}

/// A rate after so many more: slowly while that may be chance, at once when it cannot be.
fn followed(rate: f32, new: u32, elapsed: f32) -> f32 {
    let new = new as f32;
    let expected = rate * elapsed;
    let surprising = (new - expected).abs() > 3.0 * (expected + 1.0).sqrt();
    let window = (REMEMBERED / rate.max(SELDOM)).clamp(1.0, 1.0 / SELDOM);
    let gain = if surprising { 0.5 } else { (elapsed / window).min(0.5) };
    let rate = rate + gain * (new / elapsed - rate);
    if rate < FORGOTTEN { 0.0 } else { rate }
}

/// By how many seconds a loop is later than it should be when it sheds all that is squeezed at all.
const AT_ONCE: f32 = 0.02;
const AS_MUCH: i32 = 1 << 16;
const CLASSES: usize = 3;
/// As many as there are random numbers.
const EVERY: f32 = 4_294_967_296.0;
/// Over how many requests an agency's rate is measured.
const REMEMBERED: f32 = 10.0;
/// A rate that is too low to be known.
const SELDOM: f32 = 0.1;
/// A rate at which an agency that asks nothing any more is forgotten.
const FORGOTTEN: f32 = 1e-3;
