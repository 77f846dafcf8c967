//! Thousands of schedules in virtual time: targets that die, hang, fail in part and come back, under a load that does not wait.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::tests::{places, rules};
use super::*;

/// What a target does to a request that reaches it.
#[derive(Clone, Copy, Debug)]
enum Illness {
    /// It cannot be connected to.
    Gone,
    /// It says nothing until the try is over.
    Hangs,
    /// It fails so many of 100, at once.
    Fails(u64),
    /// It answers, so many times slower.
    Slow(u32),
}

#[derive(Clone, Copy, Debug)]
struct Fault {
    target: usize,
    illness: Illness,
    from: u64,
    until: u64,
}

/// What came of a schedule.
#[derive(Debug, Default)]
struct Outcome {
    requests: u64,
    retries: u64,
    refused: u64,
    failed: u64,
    /// Failed or refused after the last fault was over for a while.
    late: u64,
    /// The most targets out at once.
    most_out: usize,
    /// Requests that reached targets while every one of them was gone, in the last seconds of that.
    in_vain: u64,
    /// Answered by each target in the end.
    shares: Vec<u64>,
}

enum What {
    Arrives,
    Ends { attempt: Try, well: bool, waited: bool, retried: bool },
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0) % end
    }
}

/// Milliseconds between two requests, and from one request to its answer.
const EVERY: u64 = 20;
const USUAL: u64 = 20;
const TRY: u64 = 1000;
const END: u64 = 90_000;

fn run(seed: u64, count: usize, faults: &[Fault]) -> Outcome {
    let start = Instant::now();
    let fleet = Arc::new(Fleet::new(rules(), places(count), seed, start));
    let at = |millis: u64| start + Duration::from_millis(millis);
    let mut chance = Chance(mixed(seed));
    let mut outcome = Outcome { shares: vec![0; count], ..Outcome::default() };
    let mut events: BinaryHeap<Reverse<(u64, u64)>> = BinaryHeap::new();
    let mut whats: std::collections::HashMap<u64, What> = std::collections::HashMap::new();
    let mut next = 0;
    let mut push = |events: &mut BinaryHeap<_>, whats: &mut std::collections::HashMap<u64, What>, when, what| {
        events.push(Reverse((when, next)));
        whats.insert(next, what);
        next += 1;
    };
    push(&mut events, &mut whats, 0, What::Arrives);
    let over = faults.iter().map(|fault| fault.until).max().unwrap_or(0);
    let all_gone = |now: u64| {
        (0..count).all(|at| {
            let gone = |it: &&Fault| {
                it.target == at && matches!(it.illness, Illness::Gone) && (it.from..it.until).contains(&now)
            };
            faults.iter().any(|fault| gone(&fault))
        })
    };
    let began = |attempt: Try, now: u64, retried: bool, chance: &mut Chance| {
        let target = attempt.target().endpoint();
        let ill = faults.iter().find(|fault| fault.target == target && (fault.from..fault.until).contains(&now));
        let usual = USUAL / 2 + chance.below(USUAL);
        let (took, well, waited) = match ill.map(|fault| fault.illness) {
            None => (usual, true, true),
            Some(Illness::Gone) => (1, false, false),
            Some(Illness::Hangs) => (TRY, false, true),
            Some(Illness::Fails(percent)) => (usual, chance.below(100) >= percent, true),
            Some(Illness::Slow(times)) => (usual * u64::from(times), true, true),
        };
        (now + took, What::Ends { attempt, well, waited, retried })
    };
    let mut last_tended = 0;
    while let Some(Reverse((now, id))) = events.pop() {
        if now / 1000 > last_tended {
            last_tended = now / 1000;
            fleet.tend(at(now));
        }
        let out = fleet.targets().iter().filter(|it| !matches!(it.standing(at(now)), Standing::In)).count();
        outcome.most_out = outcome.most_out.max(out);
        match whats.remove(&id).unwrap() {
            What::Arrives => {
                if now + EVERY < END {
                    push(&mut events, &mut whats, now + 1 + chance.below(2 * EVERY - 1), What::Arrives);
                }
                outcome.requests += 1;
                if fleet.way(at(now)) == Way::Open {
                    outcome.refused += 1;
                    outcome.late += u64::from(now > over + 20_000);
                    continue;
                }
                fleet.deposit(at(now));
                let attempt = fleet.choose(None, &[], at(now)).unwrap();
                outcome.in_vain += u64::from(all_gone(now) && all_gone(now.saturating_sub(8_000)));
                let (when, what) = began(attempt, now, false, &mut chance);
                push(&mut events, &mut whats, when, what);
            }
            What::Ends { attempt, well: true, .. } => {
                if now > END - 10_000 {
                    outcome.shares[attempt.target().endpoint()] += 1;
                }
                attempt.answered(at(now));
                fleet.ended(true, at(now));
            }
            What::Ends { attempt, waited, retried, .. } => {
                let id = attempt.target().id();
                attempt.failed(waited, at(now));
                let again =
                    (!retried && fleet.may_retry(at(now))).then(|| fleet.choose(None, &[id], at(now))).flatten();
                match again {
                    Some(attempt) => {
                        outcome.retries += 1;
                        let (when, what) = began(attempt, now, true, &mut chance);
                        push(&mut events, &mut whats, when, what);
                    }
                    None => {
                        fleet.ended(false, at(now));
                        outcome.failed += 1;
                        outcome.late += u64::from(now > over + 20_000);
                    }
                }
            }
        }
    }
    assert!(fleet.targets().iter().all(|target| target.in_flight() == 0), "every request ended");
    outcome
}

fn illness(chance: &mut Chance) -> Illness {
    match chance.below(4) {
        0 => Illness::Gone,
        1 => Illness::Hangs,
        2 => Illness::Fails(30 + chance.below(70)),
        _ => Illness::Slow(2 + u32::try_from(chance.below(20)).unwrap()),
    }
}

#[test]
fn whatever_falls_ill_second_tries_stay_in_their_budget_and_all_is_well_again_afterwards() {
    for seed in 0..1000 {
        let mut chance = Chance(seed);
        let count = 1 + usize::try_from(chance.below(5)).unwrap();
        let faults: Vec<Fault> = (0..1 + chance.below(4))
            .map(|_| {
                let (target, illness) = (usize::try_from(chance.below(count as u64)).unwrap(), illness(&mut chance));
                let from = chance.below(20_000);
                Fault { target, illness, from, until: from + 1000 + chance.below(10_000) }
            })
            .collect();
        let outcome = run(seed, count, &faults);
        let said = || format!("seed {seed}, {count} targets, {faults:?}: {outcome:?}");
        // A fifth of the requests, and three a second; the window of ten seconds may begin within a second.
        assert!(outcome.retries <= outcome.requests / 5 + 3 * (END / 1000) + 30, "{}", said());
        assert!(outcome.most_out <= count / 2, "{}", said());
        assert_eq!(outcome.late, 0, "{}", said());
        let (least, most) = (outcome.shares.iter().min().unwrap(), outcome.shares.iter().max().unwrap());
        assert!(least * 3 > *most, "all get their part again: {}", said());
    }
}

#[test]
fn one_of_several_that_is_gone_costs_hardly_a_request() {
    for seed in 0..100 {
        for count in 2..5 {
            let fault = Fault { target: 0, illness: Illness::Gone, from: 10_000, until: 30_000 };
            let outcome = run(seed, count, &[fault]);
            assert!(outcome.failed * 1000 <= outcome.requests && outcome.refused == 0, "seed {seed}: {outcome:?}");
        }
    }
}

#[test]
fn where_all_are_gone_few_ask_in_vain_and_it_is_noticed_soon_when_they_are_back() {
    for seed in 0..100 {
        for count in 1..4 {
            let gone = |target| Fault { target, illness: Illness::Gone, from: 10_000, until: 30_000 };
            let outcome = run(seed, count, &(0..count).map(gone).collect::<Vec<_>>());
            // In the last twelve seconds of it: one every five.
            assert!(outcome.in_vain <= 4, "seed {seed}, {count}: {outcome:?}");
            assert!(outcome.refused > 500, "seed {seed}, {count}: {outcome:?}");
            assert_eq!(outcome.late, 0, "seed {seed}, {count}: {outcome:?}");
        }
    }
}
