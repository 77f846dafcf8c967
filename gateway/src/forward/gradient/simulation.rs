//! A register in virtual time: it does so many requests at once as fast as one, and makes others wait.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt;

use super::*;

/// What a register is at a time (in seconds).
#[derive(Clone, Copy)]
struct Register {
    /// How many it does at once.
    knee: fn(f64) -> usize,
    /// How long one takes then, in seconds, in the mean.
    time: fn(f64) -> f64,
    /// Requests a second, as a multiple of what it can do at its knee at the time 0.
    load: fn(f64) -> f64,
    /// Of 1000 requests, how many fail, at once.
    fails: fn(f64) -> u64,
    /// Whether it divides its time among all, instead of a queue.
    divides: bool,
    until: f64,
}

const PLAIN: Register =
    Register { knee: |_| 50, time: |_| 0.02, load: |_| 3.0, fails: |_| 0, divides: false, until: 20.0 };

struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn exponential(&mut self) -> f64 {
        let uniform = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        -(1.0 - uniform).ln()
    }

    /// A time that varies: half of it fixed.
    fn time(&mut self) -> f64 {
        0.5 + 0.5 * self.exponential()
    }
}

/// What happened in a quarter of a second.
#[derive(Clone, Debug, Default)]
struct Moment {
    at: f64,
    limit: u32,
    /// How long those took that were answered, in seconds.
    took: Vec<f64>,
    refused: [u64; 3],
    came: [u64; 3],
}

enum What {
    Arrives,
    Ends { place: Place, began: f64, failed: bool },
    Looks,
}

fn run(register: &Register, rules: Rules, seed: u64) -> Vec<Moment> {
    let gradient = Gradient::new(rules, Duration::ZERO);
    let mut chance = Chance(seed);
    let mut events: BinaryHeap<Reverse<(u64, u64)>> = BinaryHeap::new();
    let mut whats = std::collections::HashMap::new();
    let mut next = 0_u64;
    let mut push = |events: &mut BinaryHeap<_>, whats: &mut std::collections::HashMap<u64, What>, at: f64, what| {
        events.push(Reverse(((at * 1e9) as u64, next)));
        whats.insert(next, what);
        next += 1;
    };
    let most = (register.knee)(0.0) as f64 / (register.time)(0.0);
    let mut waiting: VecDeque<(Place, f64)> = VecDeque::new();
    let mut busy = 0;
    let mut moments = Vec::new();
    let mut moment = Moment::default();
    push(&mut events, &mut whats, 0.0, What::Arrives);
    push(&mut events, &mut whats, 0.25, What::Looks);
    while let Some(Reverse((nanos, id))) = events.pop() {
        let now = nanos as f64 / 1e9;
        if now > register.until {
            break;
        }
        match whats.remove(&id).unwrap() {
            What::Arrives => {
                push(
                    &mut events,
                    &mut whats,
                    now + chance.exponential() / ((register.load)(now) * most),
                    What::Arrives,
                );
                let class = match chance.next() % 20 {
                    0 => Class::Emergency,
                    n if n < 16 => Class::Interactive,
                    _ => Class::Batch,
                };
                moment.came[class as usize] += 1;
                match gradient.try_acquire(class) {
                    None => moment.refused[class as usize] += 1,
                    Some(place) if chance.next() % 1000 < (register.fails)(now) => {
                        push(&mut events, &mut whats, now + 0.001, What::Ends { place, began: now, failed: true });
                    }
                    Some(place) if register.divides => {
                        let slower = (f64::from(place.under_way()) / (register.knee)(now) as f64).max(1.0);
                        let took = chance.time() * (register.time)(now) * slower;
                        push(&mut events, &mut whats, now + took, What::Ends { place, began: now, failed: false });
                    }
                    Some(place) => waiting.push_back((place, now)),
                }
            }
            What::Ends { place, began, failed } => {
                let outcome = if failed { Outcome::Failed } else { Outcome::Answered };
                gradient.release(place, Duration::from_secs_f64(now - began), outcome, Duration::from_secs_f64(now));
                if !failed {
                    moment.took.push(now - began);
                    busy -= usize::from(!register.divides);
                }
            }
            What::Looks => {
                let standing = gradient.standing();
                moments.push(Moment { at: now, limit: standing.limit, ..std::mem::take(&mut moment) });
                push(&mut events, &mut whats, now + 0.25, What::Looks);
            }
        }
        while busy < (register.knee)(now) {
            let Some((place, began)) = waiting.pop_front() else { break };
            busy += 1;
            let ends = now + chance.time() * (register.time)(now);
            push(&mut events, &mut whats, ends, What::Ends { place, began, failed: false });
        }
    }
    moments
}

type Knee = fn(f64) -> usize;

/// What was between two times.
#[derive(Debug)]
struct Summary {
    /// The least, the mean and the highest limit.
    limits: (u32, f64, u32),
    /// What one took in the mean, in milliseconds.
    time: f64,
    /// Answers a second, as a share of what the register could do at the time 0.
    done: f64,
    /// The share that was refused, by class.
    refused: [f64; 3],
}

fn summary(register: &Register, moments: &[Moment], from: f64, until: f64) -> Summary {
    let moments: Vec<&Moment> = moments.iter().filter(|it| it.at > from && it.at <= until).collect();
    let limits = || moments.iter().map(|it| it.limit);
    let took: Vec<f64> = moments.iter().flat_map(|it| it.took.iter().copied()).collect();
    let most = (register.knee)(0.0) as f64 / (register.time)(0.0);
    let sum = |of: &dyn Fn(&Moment) -> u64| moments.iter().map(|it| of(it)).sum::<u64>() as f64;
    Summary {
        limits: (
            limits().min().unwrap(),
            limits().map(f64::from).sum::<f64>() / moments.len() as f64,
            limits().max().unwrap(),
        ),
        time: took.iter().sum::<f64>() / took.len() as f64 * 1e3,
        done: took.len() as f64 / (until - from) / most,
        refused: [0, 1, 2].map(|class| sum(&|it| it.refused[class]) / sum(&|it| it.came[class]).max(1.0)),
    }
}

#[expect(clippy::print_stdout, reason = "figures for whoever asks to see them")]
fn say(what: fmt::Arguments<'_>) {
    println!("{what}");
}

fn seeds(many: u64) -> u64 {
    if cfg!(debug_assertions) { many.div_ceil(10) } else { many }
}

#[test]
fn the_knee_is_found_in_seconds_and_kept_at_three_times_the_load() {
    let knees: [(Knee, f64); 4] = [(|_| 4, 4.0), (|_| 12, 12.0), (|_| 50, 50.0), (|_| 400, 400.0)];
    for (knee, near) in knees {
        for divides in [false, true] {
            let (mut worst, mut low, mut high, mut done) = (0.0_f64, f64::MAX, 0.0_f64, f64::MAX);
            for seed in 0..seeds(if near > 100.0 { 2 } else { 10 }) {
                let register = Register { knee, divides, until: 40.0, ..PLAIN };
                let moments = run(&register, Rules::default(), seed);
                let it = summary(&register, &moments, 12.0, 40.0);
                (low, high) = (low.min(it.limits.1 / near), high.max(it.limits.1 / near));
                (worst, done) = (worst.max(it.time / 20.0), done.min(it.done));
                assert!(it.limits.1 > near * 0.6 && it.limits.1 < near * 2.0, "knee {near}, seed {seed}: {it:?}");
                assert!(it.time < 2.0 * 20.0 && it.done > 0.9, "knee {near}, seed {seed}: {it:?}");
                assert!(it.refused[0] < it.refused[1] && it.refused[1] < it.refused[2], "{it:?}");
                let soon = summary(&register, &moments, 6.0, 8.0);
                assert!(soon.limits.1 > near * 0.5 && soon.limits.1 < near * 2.5, "knee {near}, seed {seed}: {soon:?}");
            }
            say(format_args!(
                "knee {near}, {}: limit {low:.2} to {high:.2} of it, at most {worst:.2} times as slow as alone, \
                 at least {done:.3} done",
                if divides { "divided" } else { "queue" }
            ));
        }
    }
}

#[test]
fn a_knee_that_halves_and_doubles_is_followed() {
    for seed in 0..seeds(20) {
        let knee = |at: f64| if (20.0..40.0).contains(&at) { 25 } else { 50 };
        let register = Register { knee, until: 60.0, ..PLAIN };
        let moments = run(&register, Rules::default(), seed);
        let halved = summary(&register, &moments, 24.0, 40.0);
        let again = summary(&register, &moments, 43.0, 60.0);
        assert!(halved.limits.1 < 50.0 && halved.time < 40.0 && halved.done > 0.45, "seed {seed}: {halved:?}");
        assert!(again.limits.1 > 50.0 && again.limits.1 < 100.0 && again.done > 0.9, "seed {seed}: {again:?}");
    }
}

#[test]
fn a_register_that_becomes_slower_for_good_is_not_asked_ever_less() {
    for seed in 0..seeds(20) {
        for load in [(|_| 3.0) as fn(f64) -> f64, |_| 0.4] {
            let time = |at: f64| if at > 15.0 { 0.06 } else { 0.02 };
            let register = Register { time, load, until: 60.0, ..PLAIN };
            let moments = run(&register, Rules::default(), seed);
            let it = summary(&register, &moments, 25.0, 60.0);
            assert!(it.done > 0.9 / 3.0 && it.limits.1 > 40.0, "seed {seed}, load {}: {it:?}", load(0.0));
            assert!(it.limits.1 < 110.0, "seed {seed}, load {}: {it:?}", load(0.0));
        }
    }
}

#[test]
fn noise_at_a_low_load_changes_nothing() {
    for seed in 0..seeds(40) {
        // About five at once; now and then all take ten times as long for a moment.
        let time = |at: f64| if at % 7.0 < 0.3 { 0.2 } else { 0.02 };
        let register =
            Register { load: |_| 0.1, time, fails: |at| if at % 11.0 < 0.5 { 300 } else { 5 }, until: 60.0, ..PLAIN };
        let rules = Rules { first: 200, ..Rules::default() };
        let it = summary(&register, &run(&register, rules, seed), 0.0, 60.0);
        assert_eq!((it.limits.0, it.limits.2, it.refused), (200, 200, [0.0; 3]), "seed {seed}: {it:?}");
        // Where the limit is in use while all is slow, it comes back.
        let it = summary(&register, &run(&register, Rules::default(), seed), 5.0, 60.0);
        assert!(it.limits.1 > 10.0 && it.refused[1] < 0.02, "seed {seed}: {it:?}");
    }
}

#[test]
fn failures_lower_the_limit_and_it_comes_back() {
    for seed in 0..seeds(20) {
        let fails = |at: f64| if (15.0..18.0).contains(&at) { 600 } else { 10 };
        let register = Register { fails, until: 30.0, load: |_| 2.0, ..PLAIN };
        let moments = run(&register, Rules::default(), seed);
        let during = summary(&register, &moments, 16.0, 18.0);
        let after = summary(&register, &moments, 22.0, 30.0);
        assert!(during.limits.0 < 25, "seed {seed}: {during:?}");
        assert!(after.limits.1 > 45.0 && after.done > 0.9, "seed {seed}: {after:?}");
    }
}

#[test]
fn each_class_leaves_room_for_those_above_it() {
    let gradient = Gradient::new(Rules { first: 20, ..Rules::default() }, Duration::ZERO);
    let mut places = Vec::new();
    for (class, most) in [(Class::Batch, 14), (Class::Interactive, 18), (Class::Emergency, 20)] {
        while let Some(place) = gradient.try_acquire(class) {
            places.push(place);
        }
        assert_eq!(places.len(), most);
    }
    assert_eq!(places.last().unwrap().under_way(), 20);
    for place in places {
        gradient.release(place, Duration::ZERO, Outcome::Abandoned, Duration::ZERO);
    }
    assert_eq!(gradient.standing().under_way, 0);
}

#[test]
fn threads_may_share_it() {
    let gradient = Gradient::new(Rules::default(), Duration::ZERO);
    let before = std::time::Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let gradient = &gradient;
            scope.spawn(move || {
                for n in 0..100_000_u64 {
                    let Some(place) = gradient.try_acquire(Class::Interactive) else { continue };
                    let took = Duration::from_micros(1000 + (n * 7 + thread) % 100);
                    gradient.release(place, took, Outcome::Answered, Duration::from_micros(n * 10));
                }
            });
        }
    });
    let each = before.elapsed().as_secs_f64() / 400_000.0 * 1e9;
    let standing = gradient.standing();
    say(format_args!("a place taken and given back by four threads: {each:.0} ns; {standing:?}"));
    assert_eq!(standing.under_way, 0);
    assert!((20..=2000).contains(&standing.limit));
    assert!((standing.baseline.as_secs_f64() / 0.00105 - 1.0).abs() < 0.1);
}
