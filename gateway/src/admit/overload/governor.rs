//! How much may be let through: the processor time that there is, divided by what a request takes of it, and corrected by how late
//! the loops are.
//!
//! Both are measured, and neither by how many requests were answered a second. What a request costs is known in calm as well. How much
//! time the process can get, under whatever quota and beside whatever neighbours, is what it gets while it has no pause. The number
//! answered would be its own proof: a node that lets little through answers little, and where those who were refused ask again at
//! once it is busy all the same.

use std::time::Duration;

use super::{Class, Delay, PerClass, Standing};

/// When there is overload, and what is done about it. The defaults are meant for all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// The node is overloaded when the least delay stays above this for [`Rules::interval`], or is four times this
    /// once.
    pub target: Duration,
    /// See [`Rules::target`].
    pub interval: Duration,
    /// The mean delay that is aimed at under overload, or a little more where requests are dear: long enough that there
    /// is always something to do, and no longer.
    pub aim: Duration,
    /// In which time a delay above the aim is to be worked off.
    pub drain: Duration,
    /// What a shed request costs, as a share of one that is served. A guess will do: what is wrong with it the delay
    /// corrects.
    pub shed_cost: f64,
    /// How many interactive requests of its agency a batch request weighs as much as; at least 1.
    pub batch_price: f64,
    /// Of what the node can do, the most that emergencies may take from other requests that also came, 0 to 1.
    pub emergency_share: f64,
    /// Requests a second that every loop lets through whatever its delay: so few are not why it is late.
    pub floor: f64,
    /// The overload is over when nothing had to be shed for so long.
    pub rest: Duration,
    /// Sheds nothing, and counts what it would. The delay does not go back then: how much is only estimated.
    pub dry_run: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            target: Duration::from_millis(5),
            interval: Duration::from_millis(100),
            aim: Duration::from_millis(2),
            drain: Duration::from_millis(150),
            shed_cost: 0.3,
            batch_price: 4.0,
            emergency_share: 0.9,
            floor: 20.0,
            rest: Duration::from_secs(1),
            dry_run: false,
        }
    }
}

/// How many requests came since the last tick, and how many of them were shed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) came: PerClass<u64>,
    pub(super) shed: PerClass<u64>,
}

/// The shares of what is asked for that may be let through, 0 to 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) emergency: f64,
    pub(super) others: f64,
}

impl Budget {
    const ALL: Self = Self { emergency: 1.0, others: 1.0 };

    /// Whether nothing is to be shed.
    pub(super) fn calm(&self) -> bool {
        self.emergency >= 1.0 && self.others >= 1.0
    }

    /// Over how many seconds those who are shed must be spread so that no more come at once than may be let through.
    pub(super) fn spread(&self) -> u32 {
        (1.0 / self.others.max(0.01)).ceil().clamp(1.0, LONGEST_SPREAD) as u32
    }
}

#[derive(Debug)]
pub(super) struct Governor {
    rules: Rules,
    overloaded: bool,
    /// Event loops.
    loops: f64,
    /// Seconds that the least delay was over the target.
    over: f64,
    /// Seconds that nothing had to be shed.
    rested: f64,
    /// Seconds that all but emergencies was shed in vain.
    helpless: f64,
    /// Whether emergencies are squeezed as well.
    hard: bool,
    /// Seconds of processor time that a served request takes; 0 while it is not known.
    cost: f64,
    /// Seconds of processor time that the process got in a second, lately.
    got: f64,
    /// Seconds of processor time that it can get in a second.
    able: f64,
    /// Of that, what handshakes took.
    greeting: f64,
    /// Whether it had no pause.
    busy: bool,
    /// How long at most one waits for its refusal, in seconds.
    hold: f64,
    /// Requests a second that come, over about a second.
    pace: f64,
    /// By how much what it can get is raised in a tick that found the node idle.
    raise: f64,
    /// The mean delay at the last tick, in seconds.
    delay: f64,
    /// Requests a second that reach the node, over a few ticks.
    offered: PerClass<f64>,
    /// What was planned of the others, 0 to 1.
    planned: f64,
    /// How many times as many were let through as the plan says: odds made for agencies that ask seldom come too late
    /// for them.
    excess: f64,
    shares: PerClass<f64>,
}

impl Governor {
    pub(super) fn new(rules: &Rules, loops: f64) -> Self {
        Self {
            rules: *rules,
            loops,
            overloaded: false,
            over: 0.0,
            rested: 0.0,
            helpless: 0.0,
            hard: false,
            cost: 0.0,
            got: 0.0,
            able: loops,
            greeting: 0.0,
            busy: false,
            hold: 0.0,
            pace: 0.0,
            raise: LEAST_RAISE,
            delay: 0.0,
            offered: PerClass::default(),
            planned: 1.0,
            excess: 1.0,
            shares: PerClass::default(),
        }
    }

    /// What may be let through until the next tick. The processor time of the process since the last one is `used`, of which handshakes took
    /// the second.
    pub(super) fn step(&mut self, seen: &Seen, delay: Delay, [used, greeting]: [f64; 2], elapsed: f64) -> Budget {
        // What came to be judged since the last tick had reached the node in a time that is shorter by what the delay
        // grew.
        let grew = (delay.mean.as_secs_f64() - self.delay) / (self.able / self.loops).clamp(0.1, 1.0);
        let reached = (elapsed - grew).clamp(elapsed / MOST_STEEPER, elapsed * MOST_STEEPER);
        self.delay = delay.mean.as_secs_f64();
        let follow = |class: Class| {
            let (came, before) = (seen.came.of(class) as f64, self.offered.of(class));
            let chance = (came - before * reached).abs() <= 3.0 * (before * reached + 1.0).sqrt();
            let follow = if chance { FOLLOW * elapsed / USUAL_TICK } else { FOLLOW_AT_ONCE };
            before + follow.min(0.5) * (came / reached - before)
        };
        self.offered = PerClass::from_fn(follow);
        let share = |class: Class| seen.shed.of(class) as f64 / seen.came.of(class).max(1) as f64;
        self.shares = PerClass::from_fn(share);
        let shed = if self.rules.dry_run { 0.0 } else { sum(&seen.shed) as f64 };
        let came = sum(&seen.came) as f64;
        self.pace += (FORGET * elapsed / USUAL_TICK).min(1.0) * (came / elapsed - self.pace);
        self.got += (elapsed / LATELY).min(1.0) * (used / elapsed - self.got);
        self.greeting += (elapsed / LATELY).min(1.0) * (greeting / elapsed - self.greeting);
        self.weigh(came - shed, shed, (used - greeting).max(0.0), elapsed);
        self.declare(delay.least, used, elapsed);
        if self.overloaded && self.cost == 0.0 {
            self.rest(&Budget::ALL, delay.mean.as_secs_f64() - self.aim(), elapsed);
        }
        if !self.overloaded || self.cost == 0.0 {
            self.hold = 0.0;
            return Budget::ALL;
        }
        let refusing = shed * self.rules.shed_cost * self.cost / elapsed / self.able;
        self.hold = (self.hold + (refusing - MOST_REFUSING) * elapsed).clamp(0.0, LONGEST_HOLD);
        let late = delay.mean.as_secs_f64() - self.aim();
        self.busy = late > -self.aim() * NO_PAUSE;
        self.learn(late);
        self.compare(seen);
        let budget = self.plan(late, elapsed);
        self.rest(&budget, late, elapsed);
        if self.overloaded { budget } else { Budget::ALL }
    }

    /// The mean delay that is aimed at, in seconds: some requests' time, or a loop would have nothing to do now and
    /// then.
    pub(super) fn aim(&self) -> f64 {
        (DEEP * self.cost).min(2.0 * self.rules.target.as_secs_f64()).max(self.rules.aim.as_secs_f64())
    }

    /// How long at most one waits for its refusal that asked again too early, in seconds.
    pub(super) fn hold(&self) -> f64 {
        self.hold
    }

    /// Requests a second that the node could serve if it shed none; 0 while it is not known.
    fn capacity(&self) -> f64 {
        if self.cost > 0.0 { (self.able - self.greeting).max(0.1 * self.able) / self.cost } else { 0.0 }
    }

    /// The processor time that handshakes may take until the next tick.
    fn may_greet(&self) -> Duration {
        // What it may be able to get is a guess; a node without a pause has what it gets.
        let able = if self.busy { self.got.min(self.able) } else { self.able };
        Duration::from_secs_f64(MOST_GREETING * able.max(0.0) * USUAL_TICK)
    }

    pub(super) fn standing(&self) -> Standing {
        Standing {
            overloaded: self.overloaded,
            saturated: self.helpless >= SATURATED,
            pressure: self.shares.emergency + self.shares.interactive + self.shares.batch,
            offered: sum_of(&self.offered),
            greeting: (self.overloaded && !self.rules.dry_run).then(|| self.may_greet()),
            capacity: self.capacity(),
            shares: self.shares,
            ..Standing::default()
        }
    }

    /// What is let through in any case.
    fn floor(&self) -> f64 {
        self.rules.floor * self.loops
    }

    /// What a request costs. The cost of refusing is a guess: what was measured counts as much as served requests were part of it.
    fn weigh(&mut self, served: f64, shed: f64, used: f64, elapsed: f64) {
        let units = served + shed * self.rules.shed_cost;
        if units < ENOUGH_UNITS {
            return;
        }
        let (is, sure) = (used / units, served / units);
        // What the process does besides weighs little only where there is much to do.
        if self.cost > 0.0 && is > self.cost && used / elapsed < BUSY * self.able {
            return;
        }
        let chance = (is - self.cost).abs() < self.cost * 0.25;
        // A cost that was too high once would last: less is believed sooner.
        let sure = if is < self.cost { sure.max(0.1) } else { sure };
        let learn = if self.cost == 0.0 { 1.0 } else { sure * if chance { LEARN } else { LEARN_AT_ONCE } };
        self.cost += learn * (is - self.cost);
    }

    /// Whether an overload begins.
    fn declare(&mut self, least: Duration, used: f64, elapsed: f64) {
        if self.overloaded {
            return;
        }
        // Clients that only connect are an overload as well.
        let few = self.pace <= self.floor() && self.greeting < MOST_GREETING * self.able;
        self.over = if least > self.rules.target && !few { self.over + elapsed } else { 0.0 };
        let stands = self.over + 0.001 >= self.rules.interval.as_secs_f64();
        if stands || (least >= self.rules.target * 4 && !few) {
            let rules = self.rules;
            // The node had no pause: what it got is what it can get.
            *self = Self {
                overloaded: true,
                able: self.got.max(used / elapsed).clamp(LEAST_ABLE * self.loops, self.most_able()),
                got: self.got,
                greeting: self.greeting,
                cost: self.cost,
                pace: self.pace,
                offered: self.offered,
                delay: self.delay,
                ..Self::new(&rules, self.loops)
            };
        }
    }

    /// How much processor time the node can get: what it got, if it had no pause.
    fn learn(&mut self, late: f64) {
        if self.busy {
            // With a delay that is no longer than it should be, it may as well have had a pause.
            let is = if late > 0.0 { self.got } else { self.got.max(self.able) };
            self.able += LEARN * (is - self.able);
            if late < self.aim() * 0.5 && self.planned < 1.0 {
                // It may be able to get more: that is tried all the time.
                self.able *= 1.0 + PROBE;
            }
            self.raise = LEAST_RAISE;
        } else if self.planned < 1.0 {
            let most = self.able.max(self.got * MOST_ABOVE);
            self.able = (self.able.max(self.got) * (1.0 + self.raise)).min(most);
            self.raise = (self.raise * 1.5).min(MOST_RAISE);
        }
        self.able = self.able.clamp(LEAST_ABLE * self.loops, self.most_able());
    }

    /// Loops are not all that computes.
    fn most_able(&self) -> f64 {
        self.loops * BESIDES
    }

    /// How what was let through compares to what was planned.
    fn compare(&mut self, seen: &Seen) {
        let came = seen.came.interactive + seen.came.batch;
        let shed = seen.shed.interactive + seen.shed.batch;
        if came >= ENOUGH && self.planned < 1.0 && self.planned > 0.01 {
            let let_through = came.saturating_sub(shed) as f64 / came as f64;
            self.excess = (self.excess * (let_through.max(0.001) / self.planned).powf(CORRECT)).clamp(1.0, 20.0);
        }
    }

    fn plan(&mut self, late: f64, elapsed: f64) -> Budget {
        let rules = self.rules;
        let drain = rules.drain.as_secs_f64();
        // In a dry run nothing is worked off, and the delay says nothing about what should be shed.
        let least = if rules.dry_run { 0.9 } else { 0.0 };
        let part = (1.0 - late / drain).clamp(least, 1.0 + MOST_RAISE);
        let emergency = self.offered.emergency;
        let others = self.offered.interactive + self.offered.batch;
        let all = emergency + others;
        let (capacity, shed_cost) = (self.capacity(), rules.shed_cost);
        let most = |part: f64| ((capacity * part - shed_cost * all) / (1.0 - shed_cost)).max(0.0);
        let most_emergency = (most(1.0) * rules.emergency_share).max(most(1.0) - others);

        // What was late is first worked off without the others. While a queue is worked off more seems to come than
        // does, so that emergencies are squeezed only when that did not help.
        let in_vain = self.planned <= 0.02 && late > rules.target.as_secs_f64();
        self.helpless = if in_vain { self.helpless + elapsed } else { 0.0 };
        self.hard = self.helpless > HELPLESS || (self.hard && emergency > 0.8 * most_emergency);
        let part_emergency = (1.0 - (late - drain).max(0.0) / (2.0 * drain)).clamp(0.0, 1.0);
        let emergency_granted = if self.hard { emergency.min(most_emergency * part_emergency) } else { emergency };

        let granted = (most(part) - emergency_granted).max(self.floor() - emergency);
        self.planned = (granted / others.max(1.0)).clamp(0.0, 1.0);
        if self.planned >= 1.0 {
            self.excess = 1.0;
        }
        Budget {
            emergency: if emergency_granted < emergency { emergency_granted / emergency } else { 1.0 },
            others: if self.planned < 1.0 { (self.planned / (self.excess / CHANCE).max(1.0)).min(0.999) } else { 1.0 },
        }
    }

    /// Whether the overload is over.
    fn rest(&mut self, budget: &Budget, late: f64, elapsed: f64) {
        let rests = budget.calm() && late < self.rules.target.as_secs_f64();
        self.rested = if rests { self.rested + elapsed } else { 0.0 };
        if self.rested >= self.rules.rest.as_secs_f64() {
            self.overloaded = false;
            self.over = 0.0;
        }
    }
}

fn sum_of(rates: &PerClass<f64>) -> f64 {
    rates.emergency + rates.interactive + rates.batch
}

fn sum(counts: &PerClass<u64>) -> u64 {
    counts.emergency + counts.interactive + counts.batch
}

/// Seconds between two ticks for which what follows is meant.
const USUAL_TICK: f64 = 0.05;
/// How much of a change of what comes is believed in a tick: where it may be chance, and where not.
const FOLLOW: f64 = 0.15;
const FOLLOW_AT_ONCE: f64 = 0.5;
/// How much of what came is forgotten in a tick.
const FORGET: f64 = 0.05;
/// Seconds over which processor time is counted: longer than the periods of quotas.
const LATELY: f64 = 0.3;
/// Served requests from which on their cost can be told, and the part of the time there is that they must have taken.
const ENOUGH_UNITS: f64 = 5.0;
const BUSY: f64 = 0.3;
/// The part of what the node can do that refusing may take before those who ask again too early wait, and for how many seconds at most.
const MOST_REFUSING: f64 = 0.25;
const LONGEST_HOLD: f64 = 1.0;
/// The part of it that handshakes may take: clients that lost their patience connect again, and each time that costs more than an answer.
const MOST_GREETING: f64 = 0.25;
/// The part of a processor for each loop that the process can get in any case.
const LEAST_ABLE: f64 = 0.05;
/// How many times as much as one processor for each loop the process may get.
const BESIDES: f64 = 1.5;
/// By how many times as much as was judged may have reached the node in a tick, or as little.
const MOST_STEEPER: f64 = 8.0;
/// How much of a change of what a request costs, or of what the node can get, is believed in a tick: where it may be chance, and where not.
const LEARN: f64 = 0.15;
const LEARN_AT_ONCE: f64 = 0.4;
/// How many requests should wait for a loop.
const DEEP: f64 = 5.0;
/// A mean delay that is shorter than the aim by so much of it means that the node had pauses.
const NO_PAUSE: f64 = 0.5;
/// How much more than it got a node is held capable of getting that is hardly later than it should be.
const PROBE: f64 = 0.003;
/// What the node may be held capable of at most, beside what it just did.
const MOST_ABOVE: f64 = 2.0;
const LEAST_RAISE: f64 = 0.02;
const MOST_RAISE: f64 = 0.1;
/// Fewer requests say nothing about a plan.
const ENOUGH: u64 = 20;
/// How much of what is wrong with the plan is put right in a tick (in logarithms).
const CORRECT: f64 = 0.1;
/// An excess that is not more may be chance.
const CHANCE: f64 = 1.1;
/// For how many seconds all but emergencies is shed in vain before these are squeezed, and before the node counts as
/// saturated.
const HELPLESS: f64 = 0.5;
const SATURATED: f64 = 1.0;
/// Clients do not remember longer.
const LONGEST_SPREAD: f64 = 8.0;
