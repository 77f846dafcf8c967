//! A node in virtual time: event loops that do what is ready in turns, under a load that does not wait.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::*;

/// A number of agencies that behave alike.
#[derive(Clone, Copy)]
pub(super) struct Group {
    pub(super) from: usize,
    pub(super) count: usize,
    /// Of 100: emergencies, interactive; the rest is batch.
    pub(super) mix: [u64; 2],
    /// What all of them ask for at a time (in seconds), as a multiple of what the node can do at first.
    pub(super) load: fn(f64) -> f64,
    /// Clients that ask one after the other as well, again as soon as they are answered; each for itself.
    pub(super) clients: usize,
}

#[derive(Clone, Copy)]
pub(super) struct World<'a> {
    pub(super) seed: u64,
    pub(super) cores: usize,
    /// Seconds a served request takes, in the mean.
    pub(super) service: f64,
    pub(super) shed_cost: f64,
    pub(super) groups: &'a [Group],
    /// How fast the node is at a time, as a multiple of what it is at first.
    pub(super) speed: fn(f64) -> f64,
    pub(super) until: f64,
    pub(super) tick: f64,
    pub(super) rules: Rules,
    /// A quota of processor time: so many seconds of each so many.
    pub(super) quota: Option<[f64; 2]>,
    /// From when on, and for how long, the node is not let run: it is moved to another machine, say.
    pub(super) still: [f64; 2],
    /// Whether one that was refused and asked again at once waits for its answer.
    pub(super) hold: bool,
}

impl World<'_> {
    pub(super) const PLAIN: World<'static> = World {
        seed: 0,
        cores: 1,
        service: 0.0005,
        shed_cost: 0.1,
        groups: &[],
        speed: |_| 1.0,
        until: 6.0,
        tick: 0.05,
        rules: Rules {
            target: Duration::from_millis(5),
            interval: Duration::from_millis(100),
            aim: Duration::from_millis(2),
            drain: Duration::from_millis(150),
            shed_cost: 0.1,
            batch_price: 4.0,
            emergency_share: 0.9,
            rest: Duration::from_secs(1),
            floor: 20.0,
            dry_run: false,
        },
        quota: None,
        still: [0.0; 2],
        hold: true,
    };
}

/// What happened in a tick.
#[derive(Clone, Default)]
pub(super) struct Moment {
    pub(super) at: f64,
    pub(super) standing: Standing,
    /// By group: came, shed.
    pub(super) groups: Vec<[u64; 2]>,
    pub(super) classes: PerClass<[u64; 2]>,
    /// How long those took that were served, in seconds, and their classes.
    pub(super) took: Vec<(Class, f64)>,
}

struct Request {
    at: f64,
    group: usize,
    slot: usize,
    class: Class,
    /// Whether it is of one of the clients that ask again, and then whether that one was just refused.
    again: Option<bool>,
}

/// One event loop.
struct Core {
    lane: Lane,
    due: f64,
    now: f64,
    waiting: VecDeque<Request>,
    /// Of clients that ask again: what they ask then, by when.
    later: BinaryHeap<Reverse<Later>>,
    turn: VecDeque<Request>,
    /// Seconds computed in all, and in this period of the quota.
    used: f64,
    of_period: f64,
    period: f64,
}

struct Later(Request);

impl PartialEq for Later {
    fn eq(&self, other: &Self) -> bool {
        self.0.at == other.0.at
    }
}

impl Eq for Later {}

impl PartialOrd for Later {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Later {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.at.total_cmp(&other.0.at)
    }
}

#[derive(Clone)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// Exponential, with a mean of 1.
    pub(super) fn exponential(&mut self) -> f64 {
        let uniform = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        -(1.0 - uniform).ln()
    }
}

/// Runs a world to its end.
pub(super) fn run(world: &World) -> Vec<Moment> {
    let slots = world.groups.iter().map(|group| group.from + group.count).max().unwrap();
    let (mut controller, lanes) = Controller::new(world.rules, slots, world.cores, Duration::ZERO);
    let core = |lane| Core {
        lane,
        due: BEAT.as_secs_f64(),
        now: 0.0,
        waiting: VecDeque::new(),
        later: BinaryHeap::new(),
        turn: VecDeque::new(),
        used: 0.0,
        of_period: 0.0,
        period: 0.0,
    };
    let mut cores: Vec<Core> = lanes.into_iter().map(core).collect();
    let mut chance = Chance(world.seed);
    for (of, group) in world.groups.iter().enumerate() {
        for client in 0..group.clients {
            let at = chance.exponential() * 0.1;
            let request = group.ask(of, at, Some(false), &mut chance);
            cores[client % world.cores].later.push(Reverse(Later(request)));
        }
    }
    let mut next: Vec<f64> = vec![0.0; world.groups.len()];
    let mut moments = Vec::new();
    let mut arrivals: Vec<Request> = Vec::new();
    let ticks = (world.until / world.tick).round() as u32;
    for tick in 1..=ticks {
        let end = f64::from(tick) * world.tick;
        let mut moment = Moment { at: end, groups: vec![[0; 2]; world.groups.len()], ..Moment::default() };
        for (of, (group, next)) in world.groups.iter().zip(&mut next).enumerate() {
            while *next < end {
                let rate = (group.load)(*next) * world.cores as f64 / world.service;
                if rate <= 0.0 {
                    *next += 0.001;
                    continue;
                }
                *next += chance.exponential() / rate;
                arrivals.push(group.ask(of, *next, None, &mut chance));
            }
        }
        arrivals.sort_by(|a, b| a.at.total_cmp(&b.at));
        for request in arrivals.drain(..) {
            let core = chance.below(world.cores as u64) as usize;
            cores[core].waiting.push_back(request);
        }
        for core in &mut cores {
            core.advance(end, world, &mut chance, &mut moment);
        }
        let all = Duration::from_secs_f64(cores.iter().map(|core| core.used).sum());
        moment.standing = controller.tick(Duration::from_secs_f64(end), Spent { all, ..Spent::default() }, None);
        moments.push(moment);
    }
    moments
}

impl Group {
    fn ask(&self, of: usize, at: f64, again: Option<bool>, chance: &mut Chance) -> Request {
        let class = match chance.below(100) {
            n if n < self.mix[0] => Class::Emergency,
            n if n < self.mix[0] + self.mix[1] => Class::Interactive,
            _ => Class::Batch,
        };
        let slot = self.from + chance.below(self.count as u64) as usize;
        Request { at, group: of, slot, class, again }
    }
}

impl Core {
    fn advance(&mut self, end: f64, world: &World, chance: &mut Chance, moment: &mut Moment) {
        while self.now < end {
            if let Some(until) = self.kept_from_running(world) {
                self.now = until;
                continue;
            }
            let Some(request) = self.turn.pop_front() else {
                self.wake(end);
                continue;
            };
            let admitted = self.lane.admit(request.slot, request.class, (chance.next() >> 32) as u32);
            let share = if admitted { chance.exponential() } else { world.shed_cost };
            let takes = share * world.service / (world.speed)(self.now);
            self.now += takes;
            self.used += takes;
            self.of_period += takes;
            self.answered(&request, admitted, world, chance);
            moment.groups[request.group][0] += 1;
            let classes = match request.class {
                Class::Emergency => &mut moment.classes.emergency,
                Class::Interactive => &mut moment.classes.interactive,
                Class::Batch => &mut moment.classes.batch,
            };
            classes[0] += 1;
            if admitted {
                moment.took.push((request.class, self.now - request.at));
            } else {
                classes[1] += 1;
                moment.groups[request.group][1] += 1;
            }
        }
    }

    /// Until when it may not run.
    fn kept_from_running(&mut self, world: &World) -> Option<f64> {
        let [from, long] = world.still;
        if self.now >= from && self.now < from + long {
            return Some(from + long);
        }
        let [time, period] = world.quota?;
        let of = (self.now / period + 1e-9).floor();
        if of > self.period {
            // What was used beyond the quota is owed.
            self.of_period = (self.of_period - time * (of - self.period)).max(0.0);
            self.period = of;
        }
        (self.of_period >= time).then_some((of + 1.0) * period)
    }

    /// Looks what is ready; with nothing, sleeps.
    fn wake(&mut self, end: f64) {
        let second = |seconds: f64| Duration::from_secs_f64(seconds);
        if self.now >= self.due {
            self.due = self.now + self.lane.beat(second(self.now), second(self.used)).as_secs_f64();
        }
        while let Some(request) = self.waiting.pop_front_if(|request| request.at <= self.now) {
            self.turn.push_back(request);
        }
        while self.later.peek().is_some_and(|Reverse(Later(request))| request.at <= self.now) {
            self.turn.extend(self.later.pop().map(|Reverse(Later(request))| request));
        }
        if self.turn.is_empty() {
            let arrival = self.waiting.front().map_or(end, |request| request.at);
            let other = self.later.peek().map_or(end, |Reverse(Later(request))| request.at);
            self.now = arrival.min(other).min(self.due).min(end);
        }
    }

    /// One of the clients that ask again does.
    fn answered(&mut self, request: &Request, admitted: bool, world: &World, chance: &mut Chance) {
        let Some(refused) = request.again else { return };
        let holds = world.hold && refused && !admitted;
        let mut hold = || self.lane.hold((chance.next() >> 32) as u32).as_secs_f64();
        let held = if holds { hold() } else { 0.0 };
        let at = self.now + held + ROAD;
        let group = &world.groups[request.group];
        self.later.push(Reverse(Later(group.ask(request.group, at, Some(!admitted), chance))));
    }
}

/// Seconds to the client and back.
const ROAD: f64 = 0.0002;
