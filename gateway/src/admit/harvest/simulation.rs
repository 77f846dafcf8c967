//! Weeks in virtual time: parties that use the register, which nothing may trip, and harvesters, which something must.

#![expect(clippy::print_stdout, reason = "what came of it, in figures")]

use super::tests::{Chance, MIDNIGHT, none, person};
use super::*;
use std::time::Duration;

const DAY: u64 = 24 * HOUR;

/// Where an honest party's persons are from: a province of 1.6 million, 200 cohorts of 8,000 that follow each other.
struct Place {
    province: u64,
    /// Some who were asked about before: patients come back.
    known: Vec<u64>,
}

impl Place {
    fn new(province: u64) -> Self {
        Self { province, known: Vec::new() }
    }

    fn number(&mut self, chance: &mut Chance) -> u64 {
        if !self.known.is_empty() && chance.below(100) < 30 {
            return self.known[chance.below(self.known.len() as u64) as usize];
        }
        let number = self.province * 1_000_000_000 + chance.below(200) * 1_000_000 + chance.below(8_000);
        if self.known.len() < 64 {
            self.known.push(number);
        } else {
            self.known[chance.below(64) as usize] = number;
        }
        number
    }
}

/// What came of it: when each rule tripped, in seconds from the start, and how many were answered.
#[derive(Default)]
struct Outcome {
    trips: Vec<(u64, Rule)>,
    answered: u64,
    /// The most that a party took.
    most_bytes: usize,
}

impl Outcome {
    fn count(&mut self, verdict: &Verdict, now: u64) {
        self.trips.extend(verdict.newly.iter().map(|trip| (now - MIDNIGHT, trip.rule)));
    }

    fn first(&self, rule: Rule) -> Option<u64> {
        self.trips.iter().find(|trip| trip.1 == rule).map(|trip| trip.0)
    }
}

/// An hour of honest requests, evenly spread with some noise; two of 100 find nobody.
fn hour(party: &mut Party, rules: &Rules, from: u64, count: u64, place: &mut Place, chance: &mut Chance) -> Outcome {
    let mut outcome = Outcome::default();
    for at in 0..count {
        let now = from + (at * HOUR + chance.below(HOUR)) / count;
        let verdict = party.asked(rules, &person(place.number(chance)), now);
        outcome.count(&verdict, now);
        outcome.answered += u64::from(verdict.action != Some(Action::Stop));
        if chance.below(100) < 2 {
            outcome.count(&party.missed(rules, now), now);
        }
    }
    outcome
}

/// Days of an honest party, by how many it asks about in an hour of a day.
fn days(days: u64, rules: &Rules, seed: u64, rhythm: impl Fn(u64, u64) -> u64) -> (Party, Outcome) {
    let mut chance = Chance::new(seed);
    let mut party = Party::new(MIDNIGHT);
    let mut place = Place::new(seed % 96);
    let mut outcome = Outcome::default();
    for at in 0..days * 24 {
        let mean = rhythm(at / 24, at % 24);
        let count = mean * (60 + chance.below(81)) / 100 + u64::from(mean > 0 && chance.below(2) == 0);
        let one = hour(&mut party, rules, MIDNIGHT + at * HOUR, count, &mut place, &mut chance);
        outcome.trips.extend(one.trips);
        outcome.answered += one.answered;
        outcome.most_bytes = outcome.most_bytes.max(party.bytes());
    }
    (party, outcome)
}

fn usual_rules() -> Rules {
    Rules {
        persons_per_hour: Some(Most { persons: 2_000, action: Action::Stop }),
        persons_per_day: Some(Most { persons: 10_000, action: Action::Stop }),
        near_percent: Some(80),
        density: Some(Density { persons: 4, least: 100, action: Action::Stop }),
        misses: Some(Misses { percent: 40, least: 30, action: Action::Stop }),
        change: Some(Change { times: 5, least: 300, action: Action::Slow(Duration::from_secs(1)) }),
        ..none()
    }
}

fn office(hour: u64, persons: u64) -> u64 {
    if (8..17).contains(&hour) { persons } else { 0 }
}

fn is_weekend(day: u64) -> bool {
    day % 7 >= 5
}

fn hospital(day: u64, hour: u64) -> u64 {
    let all = match hour {
        0..6 => 20,
        6..8 => 120,
        8..12 => 500,
        12..17 => 350,
        17..22 => 80,
        _ => 30,
    };
    if is_weekend(day) { all / 3 } else { all }
}

fn bank(day: u64, hour: u64) -> u64 {
    match day % 30 {
        _ if is_weekend(day) => 0,
        27.. => office(hour, 800),
        _ => office(hour, 220),
    }
}

#[test]
fn a_hospital_and_a_bank_trip_nothing_in_thirty_days() {
    // 3.6 times as much at the month's end, on days that are above that by up to two fifths, in "hours" of 75 minutes:
    // that is 6.4 times what is usual.
    let change = Change { times: 8, least: 300, action: Action::Stop };
    let of_bank = Rules { change: Some(change), ..usual_rules() };
    for seed in 0..2 {
        let (_, outcome) = days(30, &usual_rules(), seed, hospital);
        assert_eq!(outcome.trips, [], "hospital {seed}");
        println!("hospital {seed}: {} requests, {} bytes at most", outcome.answered, outcome.most_bytes);
        let (_, outcome) = days(30, &of_bank, seed, bank);
        assert_eq!(outcome.trips, [], "bank {seed}");
        println!("bank {seed}: {} requests, {} bytes at most", outcome.answered, outcome.most_bytes);
    }
    let (_, outcome) = days(30, &usual_rules(), 0, bank);
    assert!(outcome.first(Rule::Change).is_some_and(|at| at > 27 * DAY), "5 times is too little for a month's end");
}

/// How many persons an hour an agency asks about: most are communes.
fn size(agency: u64) -> u64 {
    match agency % 1000 {
        0..5 => 450,
        5..20 => 60,
        20..100 => 10,
        100..300 => 2,
        _ => u64::from(agency.is_multiple_of(2)),
    }
}

fn agencies(agencies: std::ops::Range<u64>, for_days: u64) -> (u64, usize, usize) {
    let (mut answered, mut sum, mut most) = (0, 0, 0);
    for agency in agencies {
        let rhythm = |day: u64, hour: u64| match (is_weekend(day), size(agency)) {
            (true, _) => 0,
            // A commune is asked now and then.
            (_, 1) => u64::from((8..17).contains(&hour) && (hour + day + agency).is_multiple_of(3)),
            (_, size) => office(hour, size),
        };
        let (party, outcome) = days(for_days, &usual_rules(), agency, rhythm);
        assert_eq!(outcome.trips, [], "agency {agency} of {} an hour", size(agency));
        answered += outcome.answered;
        // What they take at the end of a working day, the most that each took.
        sum += outcome.most_bytes;
        most = most.max(outcome.most_bytes);
        drop(party);
    }
    (answered, sum, most)
}

#[test]
fn ten_thousand_agencies_trip_nothing_and_take_little_memory() {
    let (answered, sum, most) = agencies(0..10_000, 1);
    println!("10,000 agencies, a day: {answered} requests, {sum} bytes, {most} for the largest");
    assert!(sum < 40_000_000 && most < 48_000, "{sum} {most}");
    let (answered, ..) = agencies(1_003..1_040, 30);
    println!("37 agencies, 30 days: {answered} requests");
}

#[test]
#[ignore = "ten seconds, optimised"]
fn ten_thousand_agencies_trip_nothing_in_thirty_days() {
    let (answered, sum, most) = agencies(0..10_000, 30);
    println!("10,000 agencies, 30 days: {answered} requests, {sum} bytes, {most} for the largest");
}

/// A harvester that starts at eight in the morning after so many honest days as a party of 100 persons an hour, and
/// goes on for a day, or for the 20,000 seconds that a fast one needs. `next` says which number it asks about; it
/// asks one in `every` seconds over `at_once`.
fn harvest(
    what: &str,
    honest: u64,
    every: u64,
    at_once: u64,
    miss: u64,
    next: impl Fn(u64, &mut Chance) -> u64,
) -> Outcome {
    let rules = usual_rules();
    let mut chance = Chance::new(every);
    let (mut party, outcome) = days(honest, &rules, 5, |_, hour| office(hour, 100));
    assert_eq!(outcome.trips, []);
    let start = MIDNIGHT + honest * DAY + 8 * HOUR;
    let mut outcome = Outcome::default();
    let last = if at_once > 1 { 20_000 } else { DAY };
    for at in 0..last * at_once / every {
        let now = start + at * every / at_once;
        let verdict = party.asked(&rules, &person(next(at, &mut chance)), now);
        outcome.trips.extend(verdict.newly.iter().map(|trip| (now - start, trip.rule)));
        if verdict.action != Some(Action::Stop) {
            outcome.answered += 1;
            if chance.below(100) < miss {
                let verdict = party.missed(&rules, now);
                outcome.trips.extend(verdict.newly.iter().map(|trip| (now - start, trip.rule)));
            }
        }
    }
    let told: Vec<String> = Rule::ALL
        .iter()
        .filter_map(|rule| outcome.first(*rule).map(|at| format!("{} after {at} s", rule.name())))
        .collect();
    println!("{what}: {} answered in {last} s; {}", outcome.answered, told.join(", "));
    outcome
}

fn anybody(_: u64, chance: &mut Chance) -> u64 {
    chance.below(96) * 1_000_000_000 + chance.below(200) * 1_000_000 + chance.below(8_000)
}

#[test]
fn a_fast_harvester_is_stopped_in_minutes() {
    let outcome = harvest("10 a second", 20, 1, 10, 0, anybody);
    let limit = 2_000 / 10;
    assert!(outcome.first(Rule::PersonsPerHour).is_some_and(|at| at.abs_diff(limit) < 20), "2,000 at 10 a second");
    assert!(outcome.first(Rule::Change).is_some_and(|at| (40..60).contains(&at)), "5 times 100");
    assert!(outcome.answered < 10_000 * 110 / 100);

    let outcome = harvest("10 a second, new", 0, 1, 10, 0, anybody);
    assert_eq!(outcome.first(Rule::Change), None, "nothing is usual for one that is new");
    assert!(outcome.first(Rule::PersonsPerHour).is_some_and(|at| at.abs_diff(limit) < 20));
}

#[test]
fn a_slow_harvester_is_stopped_within_the_day() {
    // 900 an hour: below the threshold of an hour, above what is usual.

    let outcome = harvest("900 an hour", 20, 4, 1, 0, anybody);
    assert!(outcome.first(Rule::PersonsPerHour).is_none());
    assert!(outcome.first(Rule::Change).is_some_and(|at| at < 2400));
    assert!(outcome.first(Rule::PersonsPerDay).is_some_and(|at| (38_000..42_000).contains(&at)), "10,000 at 900");
    // 450 an hour, new: only the day sees it, and late.

    let outcome = harvest("450 an hour, new", 0, 8, 1, 0, anybody);
    assert!(outcome.first(Rule::NearPersonsPerDay).is_some_and(|at| (60_000..68_000).contains(&at)));
    assert!(outcome.first(Rule::PersonsPerDay).is_some_and(|at| (76_000..84_000).contains(&at)));
}

#[test]
fn scans_are_stopped_at_once() {
    let from = 1_099_000_000;

    let scan = harvest("a scan", 20, 5, 1, 0, |at, _| from + at);
    assert!(scan.first(Rule::Density).is_some_and(|at| at <= 600), "100 persons at one in 5 seconds");
    // In an order that nobody can see through, within thousands: 600,000 numbers in 24 hours at that pace.

    let scan = harvest("a shuffled scan", 20, 5, 1, 0, |at, _| from + at / 2048 * 2048 + (at * 1365 + 77) % 2048);
    assert!(scan.first(Rule::Density).is_some_and(|at| at <= 900));

    let scan = harvest("a scan with step 9, a quarter of it nobody", 20, 5, 1, 25, |at, _| from + at * 9);
    assert!(scan.first(Rule::Density).is_some_and(|at| at <= 900));

    let scan = harvest("a scan shuffled over 100,000", 20, 5, 1, 0, |at, _| from + (at * 61_803 + 77) % 100_000);
    assert_eq!(scan.first(Rule::Density), None, "not seen as a scan");
}

#[test]
fn guessing_is_stopped_after_thirty() {
    let outcome = harvest("guessing", 0, 10, 1, 90, anybody);
    assert!(outcome.first(Rule::Misses).is_some_and(|at| at <= 300));

    let outcome = harvest("guessing, after an honest month", 20, 10, 1, 90, anybody);
    assert!(outcome.first(Rule::Misses).is_some_and(|at| at <= 400));
}

#[test]
fn a_copy_that_is_spread_over_five_systems_is_seen_at_the_agency() {
    let system_rules = usual_rules();
    let mut chance = Chance::new(11);
    let mut systems: Vec<Party> = (0..5).map(|_| Party::new(MIDNIGHT)).collect();
    let mut agency = Party::new(MIDNIGHT);
    let agency_rules = Rules { persons_per_hour: Some(Most { persons: 2_500, action: Action::Stop }), ..usual_rules() };
    let (mut of_systems, mut of_agency) = (Outcome::default(), Outcome::default());
    for at in 0..4 * HOUR {
        let who = person(anybody(at, &mut chance));
        let now = MIDNIGHT + at;
        of_systems.count(&systems[(at % 5) as usize].asked(&system_rules, &who, now), now);
        of_agency.count(&agency.asked(&agency_rules, &who, now), now);
    }
    assert_eq!(of_systems.trips, [], "720 an hour each");
    let at = of_agency.first(Rule::PersonsPerHour).unwrap();
    println!("five systems of 720 an hour: the agency trips after {at} s");
    assert!(at.abs_diff(2_500) < 250);
}

#[test]
fn a_harvester_that_raises_itself_slowly_needs_weeks() {
    let rules = Rules { persons_per_day: None, persons_per_hour: None, ..usual_rules() };
    let (mut party, _) = days(20, &rules, 5, |_, _| 30);
    let mut chance = Chance::new(1);
    let mut place = Place::new(3);
    let mut day = 20;
    let usual = |party: &Party| party.figures(&rules).usual.unwrap();
    let before = usual(&party);
    while usual(&party) < 10.0 * before {
        for at in 0..24 {
            // Just below what trips: 75 minutes count as an hour, 30 of 100 are asked about again.
            let count = (usual(&party) * 3.6) as u64;
            let from = MIDNIGHT + day * DAY + at * HOUR;
            let trips = hour(&mut party, &rules, from, count, &mut place, &mut chance).trips;
            assert_eq!(trips, []);
        }
        day += 1;
    }
    println!("ten times as much is usual after {} days", day - 20);
    assert!(day - 20 > 30, "{day}");
}

#[test]
#[ignore = "a measurement"]
fn what_an_observation_costs() {
    let rules = usual_rules();
    for (what, a_second, limit) in
        [("500 an hour", 1, 1 << 12), ("100 a second", 100, 1 << 40), ("tripped", 100, 1 << 40)]
    {
        let mut party = Party::new(MIDNIGHT);
        let rules = match what {
            "tripped" => rules.clone(),
            _ => Rules { persons_per_hour: None, persons_per_day: None, change: None, ..rules.clone() },
        };
        let people: Vec<Person> = (0..1_000_000).map(|at| person(at * 7919 % limit)).collect();
        let start = std::time::Instant::now();
        for (at, who) in people.iter().enumerate() {
            party.asked(&rules, who, MIDNIGHT + at as u64 / a_second);
        }
        let mean = start.elapsed() / 1_000_000;
        let one = |(at, who): (usize, &Person)| {
            let start = std::time::Instant::now();
            party.asked(&rules, who, MIDNIGHT + (at as u64 + 1_000_000) / a_second);
            start.elapsed()
        };
        let mut each: Vec<Duration> = people.iter().enumerate().map(one).collect();
        each.sort_unstable();
        let rank = |rank: usize| each[each.len() - each.len() / rank];
        let [hundredth, most, turns] = [rank(100), rank(1000), rank(10_000)];
        println!(
            "{what}: {mean:?} a mean, 99 % {hundredth:?}, 99.9 % {most:?}, 99.99 % {turns:?}, {} bytes",
            party.bytes()
        );
    }
}
