//! What a party is promised, one rule at a time.

use super::*;
use std::time::Duration;

/// Splitmix64.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(mixed(seed))
    }

    pub(super) fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.any() % end
    }
}

fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The person with this number.
pub(super) fn person(number: u64) -> Person {
    Person { hash: mixed(number ^ 0x5eed), block: Some(mixed((number / 100) ^ 0xb10c_0000_0000)) }
}

pub(super) const MIDNIGHT: u64 = 20_000 * 24 * HOUR;

pub(super) fn none() -> Rules {
    Rules {
        persons_per_hour: None,
        persons_per_day: None,
        near_percent: None,
        density: None,
        misses: None,
        change: None,
        hold: Duration::from_secs(900),
        ahead_of_utc: 0,
    }
}

fn most(persons: u64, action: Action) -> Option<Most> {
    Some(Most { persons, action })
}

fn names(trips: &[Trip]) -> Vec<&'static str> {
    trips.iter().map(|trip| trip.rule.name()).collect()
}

#[test]
fn a_number_is_in_its_block_and_what_is_no_number_in_none() {
    let hash = |bytes: &[u8]| checksum(bytes);
    let block = |number: &str| Person::new(number, hash).block;
    assert_eq!(block("001099000123"), block("001099000199"));
    assert_ne!(block("001099000199"), block("001099000200"));
    assert_eq!(block("GD-4711-12"), None);
    assert_eq!(block("12"), None);
    assert_eq!(block(""), None);
    assert_eq!(block("số 12"), None);
    let one = Person::new("001099000123", hash);
    assert_ne!(one.hash, Person::new("001099000124", hash).hash);
    assert_eq!(format!("{one:?}"), "Person(..)");
}

#[test]
fn a_stop_is_one_event_counts_nothing_and_says_when_to_come_again() {
    let rules = Rules { persons_per_hour: most(100, Action::Stop), near_percent: Some(80), ..none() };
    let mut party = Party::new(MIDNIGHT);
    let mut events = Vec::new();
    let mut answered = 0;
    let mut again = None;
    for second in 0..7200 {
        let verdict = party.asked(&rules, &person(second * 1000), MIDNIGHT + second);
        events.extend(names(&verdict.newly).into_iter().map(|name| (second, name)));
        if verdict.action == Some(Action::Stop) {
            again = again.or(verdict.again);
        } else {
            answered += 1;
            assert!(second <= 100 || MIDNIGHT + second >= again.unwrap(), "{second}");
        }
    }
    // 101 are in the first quarter, which is forgotten after five; the next 100 trip again.
    assert_eq!(again, Some(MIDNIGHT + 5 * 900));
    let expected = [
        (80, "near_persons_per_hour"),
        (100, "persons_per_hour"),
        (4580, "near_persons_per_hour"),
        (4600, "persons_per_hour"),
    ];
    assert_eq!(events, expected);
    assert_eq!(answered, 200);
}

#[test]
fn a_jump_over_both_is_told_once() {
    let rules = Rules { persons_per_hour: most(50, Action::Warn), near_percent: Some(80), ..none() };
    let mut party = Party::new(MIDNIGHT);
    let told: Vec<Trip> = (0..65).flat_map(|at| party.asked(&rules, &person(at * 100), MIDNIGHT + 1).newly).collect();
    assert_eq!(names(&told), ["persons_per_hour"]);
    assert_eq!((told[0].measured, told[0].limit, told[0].until), (65.0, 50.0, MIDNIGHT + 901));
    assert_eq!(party.tripped().count(), 2);
}

#[test]
fn no_more_than_sixty_three_pass_unjudged() {
    for seed in 0..200 {
        let mut chance = Chance::new(seed);
        let rules = Rules { persons_per_hour: most(20 + chance.below(200), Action::Stop), ..none() };
        let mut party = Party::new(MIDNIGHT);
        let (mut now, mut passed) = (MIDNIGHT, 0);
        for _ in 0..1000 {
            now += u64::from(chance.below(50) == 0);
            let verdict = party.asked(&rules, &person(chance.any() >> 20), now);
            passed += u64::from(verdict.action != Some(Action::Stop));
        }
        let limit = rules.persons_per_hour.unwrap().persons;
        assert!((limit..=limit + 63).contains(&passed), "{passed} of {limit}");
    }
}

#[test]
fn a_party_takes_48_kilobytes_at_most() {
    let rules = none();
    let mut party = Party::new(MIDNIGHT);
    let mut most = 0;
    for at in 0..120 * 300 {
        party.told(&rules, &person(at * 100), MIDNIGHT + at * 3);
        most = most.max(party.bytes());
    }
    assert!((46_000..48_000).contains(&most), "{most}");
    party.tend(&rules, MIDNIGHT + 90 * HOUR);
    assert_eq!(party.bytes(), size_of::<Party>(), "and gives it back");
    assert!(size_of::<Party>() < 1_700, "{}", size_of::<Party>());
}

/// Whatever is asked under whatever rules.
#[test]
fn one_event_a_trip_that_holds_and_a_time_to_come_again_that_is_right() {
    for seed in 0..300 {
        let mut chance = Chance::new(seed);
        let mut action =
            || [Action::Warn, Action::Slow(Duration::from_secs(1)), Action::Stop][chance.below(3) as usize];
        let [hour, day, dense, miss, change] = std::array::from_fn(|_| action());
        // Of every other seed only the number of persons counts: there `again` is exact.
        let mixed = seed % 2 == 0;
        let rules = Rules {
            persons_per_hour: most(chance.below(300), hour),
            persons_per_day: most(chance.below(900), day),
            near_percent: (chance.below(2) == 0).then_some(70),
            density: mixed.then_some(Density { persons: 2, least: 50, action: dense }),
            misses: mixed.then_some(Misses { percent: 40, least: 20, action: miss }),
            change: mixed.then_some(Change { times: 3, least: 50, action: change }),
            hold: Duration::from_secs(chance.below(4000)),
            ahead_of_utc: 25_200,
        };
        let mut party = Party::new(MIDNIGHT);
        let mut now = MIDNIGHT;
        let mut since: Vec<(Rule, u64)> = Vec::new();
        for _ in 0..3000 {
            let longest = [2, 2, 30, 900][chance.below(4) as usize];
            now += chance.below(longest);
            let who = person(chance.below(20_000) * if chance.below(3) == 0 { 100 } else { 1 });
            let verdict = party.asked(&rules, &who, now);
            for trip in &verdict.newly {
                assert!(!since.iter().any(|held| held.0 == trip.rule && now < held.1), "again within the hold");
                assert!(trip.measured >= trip.limit && trip.until == now + rules.hold.as_secs());
            }
            since.retain(|held| !verdict.newly.iter().any(|trip| trip.rule == held.0));
            since.extend(verdict.newly.iter().map(|trip| (trip.rule, trip.until)));
            for held in since.iter().filter(|held| now < held.1) {
                assert!(party.tripped().any(|rule| rule == held.0), "gone before its time");
            }
            assert_eq!(verdict.action.is_some(), party.tripped().next().is_some());
            assert_eq!(verdict.again.is_some(), verdict.action == Some(Action::Stop));
            if let Some(again) = verdict.again.filter(|_| chance.below(10) == 0) {
                assert!(mixed || again > now && again <= now + 27 * HOUR + 4000, "{}", again - now);
                if !mixed {
                    assert_eq!(party.tend(&rules, again - 1).action, Some(Action::Stop));
                    assert_ne!(party.tend(&rules, again).action, Some(Action::Stop), "{seed}");
                }
                now = now.max(again);
            }
        }
    }
}

#[test]
fn a_trip_within_the_hold_prolongs_it_without_an_event_and_ends_after_it() {
    let misses = Misses { percent: 50, least: 10, action: Action::Slow(Duration::from_secs(2)) };
    let rules = Rules { misses: Some(misses), ..none() };
    let mut party = Party::new(MIDNIGHT);
    let mut events = 0;
    let mut ask = |party: &mut Party, number: u64, missed: bool, at: u64| {
        events += party.asked(&rules, &person(number), MIDNIGHT + at).newly.len();
        if missed {
            events += party.missed(&rules, MIDNIGHT + at).newly.len();
        }
    };
    (0..10).for_each(|at| ask(&mut party, at, at >= 3, at));
    assert_eq!(party.tripped().next(), Some(Rule::Misses));
    // Good ones bring the ratio down, and bad ones up again, within the 15 minutes from the tenth request.
    (10..20).for_each(|at| ask(&mut party, at, false, at));
    (100..120).for_each(|at| ask(&mut party, at, true, at));
    assert_eq!(party.tripped().count(), 1);
    (120..200).for_each(|at| ask(&mut party, at, false, at));
    let standing = |party: &mut Party, at: u64| party.tend(&rules, MIDNIGHT + at).action;
    assert_eq!(standing(&mut party, 950), Some(Action::Slow(Duration::from_secs(2))), "prolonged past second 909");
    assert_eq!(standing(&mut party, 1030), None, "and over 15 minutes after that");
    assert_eq!(events, 1);
}

#[test]
fn a_trip_lasts_while_what_led_to_it_does() {
    let rules = Rules { persons_per_day: most(10, Action::Warn), ..none() };
    let mut party = Party::new(MIDNIGHT);
    let events: usize = (0..11).map(|at| party.asked(&rules, &person(at), MIDNIGHT + at).newly.len()).sum();
    assert_eq!(events, 1);
    for hour in 0..27 {
        let verdict = party.tend(&rules, MIDNIGHT + hour * HOUR + 20);
        assert_eq!((verdict.action, verdict.newly.len()), (Some(Action::Warn), 0), "{hour}");
    }
    assert_eq!(party.tend(&rules, MIDNIGHT + 27 * HOUR).action, None);
    assert!(party.is_idle());
}

#[test]
fn scans_are_dense_in_any_order_and_with_a_step_and_use_is_not() {
    let density = Density { persons: 4, least: 200, action: Action::Stop };
    let rules = Rules { density: Some(density), ..none() };
    let scan = |numbers: Vec<u64>| {
        let mut party = Party::new(MIDNIGHT);
        let trips = numbers.iter().zip(1..).find_map(|(number, at)| {
            let verdict = party.asked(&rules, &person(*number), MIDNIGHT + at * 3);
            verdict.newly.first().map(|_| at)
        });
        let figures = party.figures(&rules);
        (trips, figures.hour / figures.blocks)
    };
    let mut chance = Chance::new(1);
    let from = 1_099_000_000;
    let forwards: Vec<u64> = (from..from + 1000).collect();
    let mut shuffled = forwards.clone();
    (1..shuffled.len()).for_each(|at| shuffled.swap(at, chance.below(at as u64 + 1) as usize));
    let backwards: Vec<u64> = forwards.iter().rev().copied().collect();
    for numbers in [forwards, shuffled, backwards] {
        let (trips, density) = scan(numbers);
        assert_eq!(trips, Some(200), "as soon as there are enough");
        assert!(density > 15.0);
    }
    let stepped = |step: u64| (0..1000).map(|at| from + at * step).collect();
    assert_eq!(scan(stepped(7)).0, Some(200));
    assert_eq!(scan(stepped(20)).0, Some(200));
    assert_eq!(scan(stepped(33)).0, None, "three a block: evades");
    let anybody = (0..1000).map(|_| from + chance.below(8_000) + chance.below(200) * 1_000_000).collect();
    let (trips, density) = scan(anybody);
    assert_eq!(trips, None);
    assert!((0.9..1.2).contains(&density), "{density}");
}

#[test]
fn a_change_trips_and_is_not_learned() {
    let change = Change { times: 5, least: 200, action: Action::Stop };
    let rules = Rules { change: Some(change), ahead_of_utc: 7 * 3600, ..none() };
    let mut party = Party::new(MIDNIGHT);
    let hour_of = |party: &mut Party, hour: u64, persons: u64| -> Vec<Trip> {
        let ask = |at: u64| {
            let second = MIDNIGHT + hour * HOUR + at * (HOUR / persons);
            party.asked(&rules, &person((hour * 10_000 + at) * 1000), second).newly
        };
        (0..persons).flat_map(ask).collect()
    };
    for hour in 0..24 * 10 {
        assert_eq!(hour_of(&mut party, hour, 60), [], "usual");
    }
    assert_eq!(hour_of(&mut party, 240, 240), [], "four times as much");
    let before = party.figures(&rules).usual.unwrap();
    assert!((50.0..70.0).contains(&before), "{before}");
    let trips = hour_of(&mut party, 241, 900);
    assert_eq!(names(&trips)[0], "change");
    assert!(trips.len() <= 3, "at most one each time that it was let through again");
    // The hour of 240 was learned, as one of 120 and for a sixteenth.
    let usual = before + before / 16.0;
    assert!((trips[0].limit - 5.0 * usual).abs() < 5.0 && trips[0].measured < 420.0, "{:?}", trips[0]);
    let profile = party.profile.clone();
    hour_of(&mut party, 242, 900);
    hour_of(&mut party, 243, 60);
    assert_eq!(party.profile, profile, "the hours with trips are not learned");
    party.unlearn();
    assert_eq!(party.figures(&rules).usual, None);
}

#[test]
fn a_pardon_ends_trips_and_forgets_what_led_to_them() {
    let rules = Rules {
        persons_per_day: most(100, Action::Stop),
        density: Some(Density { persons: 4, least: 50, action: Action::Stop }),
        ..none()
    };
    let mut party = Party::new(MIDNIGHT);
    (0..200).for_each(|at| drop(party.asked(&rules, &person(at), MIDNIGHT + at)));
    assert_eq!(party.tripped().collect::<Vec<_>>(), [Rule::Density]);
    party.pardon(MIDNIGHT + 300);
    let verdict = party.asked(&rules, &person(1), MIDNIGHT + 300);
    assert_eq!((verdict.action, verdict.newly.len()), (None, 0));
    assert_eq!(party.figures(&rules).day, 1.0);
}

#[test]
fn the_strongest_action_counts_and_rules_that_are_taken_away_do_not() {
    let slow = |seconds| Action::Slow(Duration::from_secs(seconds));
    let rules = Rules {
        persons_per_hour: most(10, slow(1)),
        persons_per_day: most(20, slow(5)),
        density: Some(Density { persons: 2, least: 30, action: Action::Stop }),
        ..none()
    };
    let mut party = Party::new(MIDNIGHT);
    let actions: Vec<Option<Action>> =
        (1..40).map(|at| party.asked(&rules, &person(at), MIDNIGHT + at).action).collect();
    assert_eq!(actions[9], None);
    assert_eq!(actions[10], Some(slow(1)));
    assert_eq!(actions[20], Some(slow(5)));
    assert_eq!(actions[30], Some(Action::Stop));
    let rules = Rules { density: None, persons_per_day: most(20, Action::Warn), ..rules };
    assert_eq!(party.asked(&rules, &person(50), MIDNIGHT + 50).action, Some(slow(1)));
    assert_eq!(party.asked(&none(), &person(51), MIDNIGHT + 51).action, None);
}

#[test]
fn a_restart_keeps_the_day_and_the_profile() {
    let rules = Rules { persons_per_day: most(1000, Action::Stop), ..none() };
    for count in [10, 900, 3000] {
        let mut party = Party::new(MIDNIGHT);
        let unruled = none();
        (0..count).for_each(|at| drop(party.asked(&unruled, &person(at * 100), MIDNIGHT + at * 9)));
        party.profile.learn(3, 70.0);
        let saved = party.save(99);
        let later = MIDNIGHT + 9 * HOUR;
        let (mut again, read) = Party::restore(saved.clone(), 99, later);
        assert_eq!(read, Ok(()));
        assert_eq!(again.figures(&rules).day, party.figures(&rules).day);
        assert_eq!(again.figures(&rules).hour, 0.0);
        assert_eq!(again.profile, party.profile);
        let stopped = again.asked(&rules, &person(0), later).action == Some(Action::Stop);
        assert_eq!(stopped, count > 1000);
        assert!((again.figures(&rules).day - party.figures(&rules).day).abs() < 1.5, "the same person again");
        let (mut late, _) = Party::restore(saved.clone(), 99, MIDNIGHT + 40 * HOUR);
        assert_eq!(late.tend(&rules, MIDNIGHT + 40 * HOUR).action, None, "its day is over");
        assert!(late.is_idle());
        let why = |saved: Saved, key: u64, now: u64| Party::restore(saved, key, now).1.unwrap_err();
        assert_eq!(why(saved.clone(), 98, later), Unreadable::Key);
        assert_eq!(why(saved.clone(), 99, MIDNIGHT - 20 * HOUR), Unreadable::Future);
        let mut chance = Chance::new(count);
        for _ in 0..200 {
            let mut hurt = saved.clone();
            let at = chance.below(hurt.day.len() as u64) as usize;
            hurt.day[at] ^= 1 << chance.below(8);
            assert!(Party::restore(hurt.clone(), 99, later).1.is_err());
            hurt.day.truncate(at);
            assert!(Party::restore(hurt, 99, later).1.is_err());
        }
    }
}

/// A day that was forged with a right checksum is still no reason to fail.
#[test]
fn any_bytes_are_read_or_refused() {
    for seed in 0..3000 {
        let mut chance = Chance::new(seed);
        let mut day = vec![VERSION];
        day.extend(99_u64.to_le_bytes());
        let length = chance.below(80);
        let most = [2, 256][chance.below(2) as usize];
        day.extend((0..length).map(|_| chance.below(most) as u8));
        day.extend(checksum(&day).to_le_bytes());
        let (mut party, _) = Party::restore(Saved { profile: Profile::default(), day }, 99, MIDNIGHT);
        party.tend(&none(), MIDNIGHT + 5000);
    }
}

#[test]
fn clocks_that_jump_trip_nothing_and_forget_nothing() {
    let rules = Rules { persons_per_hour: most(100, Action::Stop), ..none() };
    let mut party = Party::new(MIDNIGHT);
    (0..50).for_each(|at| drop(party.asked(&rules, &person(at), MIDNIGHT + at)));
    assert_eq!(party.asked(&rules, &person(60), MIDNIGHT - 300).action, None);
    assert_eq!(party.figures(&rules).hour, 51.0);
    (100..250).for_each(|at| drop(party.asked(&rules, &person(at), MIDNIGHT - 90_000 + at)));
    let verdict = party.tend(&rules, MIDNIGHT - 90_000 + 250);
    assert_eq!(verdict.action, Some(Action::Stop), "the 50 of before count");
    let again = verdict.again.unwrap();
    assert!(again < MIDNIGHT - 90_000 + 2 * HOUR);
    assert_eq!(party.tend(&rules, again).action, None);
    // Back again while it is stopped: what is left of the stop goes with the clock.
    (0..200).for_each(|at| drop(party.asked(&rules, &person(1000 + at), again + at)));
    let first = party.tend(&rules, again + 200).again.unwrap() - (again + 200);
    let back = party.tend(&rules, again - 500_000).again.unwrap() - (again - 500_000);
    assert!(back <= first + 900, "{back} {first}");
    assert!(!format!("{party:?}").contains(&mixed(1000 ^ 0x5eed).to_string()));
}

#[test]
fn what_a_search_tells_counts_as_persons_and_not_as_requests() {
    let rules = Rules { persons_per_hour: most(100, Action::Stop), ..none() };
    let mut party = Party::new(MIDNIGHT);
    for search in 0..3 {
        assert_eq!(party.searched(&rules, MIDNIGHT + search).action, None);
        (0..50).for_each(|at| drop(party.told(&rules, &person(search * 50 + at), MIDNIGHT + search)));
    }
    let figures = party.figures(&rules);
    assert_eq!((figures.asked, figures.hour), (3, 150.0));
    assert_eq!(party.searched(&rules, MIDNIGHT + 4).action, Some(Action::Stop));
    assert_eq!(party.searched(&rules, MIDNIGHT + 4).action, Some(Action::Stop));
    assert_eq!(party.figures(&rules).asked, 4, "the one that found out, and no more");
}

#[test]
fn all_of_them_may_be_the_limit_of_misses_and_none_never_is() {
    let tripped = |percent: u32, missed: u64| {
        let rules = Rules { misses: Some(Misses { percent, least: 10, action: Action::Warn }), ..none() };
        let mut party = Party::new(MIDNIGHT);
        for at in 0..20 {
            party.asked(&rules, &person(at * 100), MIDNIGHT + at);
            if at < missed {
                party.missed(&rules, MIDNIGHT + at);
            }
        }
        party.tend(&rules, MIDNIGHT + 30).action.is_some()
    };
    assert!(tripped(100, 20) && !tripped(100, 9));
    assert!(tripped(40, 8) && tripped(1, 1) && !tripped(0, 0));
}

#[test]
fn a_stop_for_a_change_says_when_it_ends_and_ends_when_nothing_is_usual_any_more() {
    let change = Change { times: 5, least: 50, action: Action::Stop };
    let rules = Rules { change: Some(change), ..none() };
    let mut party = Party::new(MIDNIGHT);
    party.profile.hours = [Usual { persons: 20.0, learned: 9 }; 24];
    let ask = |party: &mut Party, from: u64| {
        (0..).find_map(|at| party.asked(&rules, &person((from + at) * 100), MIDNIGHT + from + at).again).unwrap()
    };
    // 40 in the first quarter, and 61 in the third.
    (0..40).for_each(|at| drop(party.asked(&rules, &person(at * 1_000_000), MIDNIGHT + at)));
    let again = ask(&mut party, 1800);
    assert_eq!(again, MIDNIGHT + 5 * 900, "when the first quarter is forgotten");
    assert_eq!(party.tend(&rules, again - 1).action, Some(Action::Stop));
    assert_eq!(party.tend(&rules, again).action, None);
    let again = ask(&mut party, again - MIDNIGHT);
    party.unlearn();
    assert_eq!(party.tend(&rules, again - 1).action, None);
}
