//! A node in virtual time: event loops that do what is ready in turns, under a load that does not wait.

use std::collections::VecDeque;

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
    /// The part of each ten milliseconds in which the node may run at all: a quota of processor time.
    pub(super) duty: f64,
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
        duty: 1.0,
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
}

/// One event loop.
struct Core {
    lane: Lane,
    due: f64,
    now: f64,
    waiting: VecDeque<Request>,
    /// How many of those waiting are of this turn.
    turn: usize,
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
    let core = |lane| Core { lane, due: BEAT.as_secs_f64(), now: 0.0, waiting: VecDeque::new(), turn: 0 };
    let mut cores: Vec<Core> = lanes.into_iter().map(core).collect();
    let mut chance = Chance(world.seed);
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
                let class = match chance.below(100) {
                    n if n < group.mix[0] => Class::Emergency,
                    n if n < group.mix[0] + group.mix[1] => Class::Interactive,
                    _ => Class::Batch,
                };
                let slot = group.from + chance.below(group.count as u64) as usize;
                arrivals.push(Request { at: *next, group: of, slot, class });
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
        moment.standing = controller.tick(Duration::from_secs_f64(end), None);
        moments.push(moment);
    }
    moments
}

impl Core {
    fn advance(&mut self, end: f64, world: &World, chance: &mut Chance, moment: &mut Moment) {
        while self.now < end {
            let period = (self.now / PERIOD).floor();
            if self.now - period * PERIOD >= world.duty * PERIOD {
                self.now = (period + 1.0) * PERIOD + 1e-9;
                continue;
            }
            if self.turn == 0 {
                if self.now >= self.due {
                    self.due = self.now + self.lane.beat(Duration::from_secs_f64(self.now)).as_secs_f64();
                }
                self.turn = self.waiting.iter().take_while(|request| request.at <= self.now).count();
                if self.turn == 0 {
                    let arrival = self.waiting.front().map_or(end, |request| request.at);
                    self.now = arrival.min(self.due).min(end);
                }
                continue;
            }
            self.turn -= 1;
            let request = self.waiting.pop_front().unwrap();
            let admitted = self.lane.admit(request.slot, request.class, (chance.next() >> 32) as u32);
            let share = if admitted { chance.exponential() } else { world.shed_cost };
            self.now += share * world.service / (world.speed)(self.now);
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
}

/// Seconds in which a quota is counted.
const PERIOD: f64 = 0.01;
