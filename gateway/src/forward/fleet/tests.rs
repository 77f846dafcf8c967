//! Which target is chosen, and what is remembered of them.

use super::*;

pub(super) fn rules() -> Rules {
    Rules {
        balance: Balance::LeastLoaded,
        health: health::tests::rules(),
        breaker: breaker::Rules { failure_percent: 80, least_requests: 20, open_for: Duration::from_secs(5) },
        retry_percent: 20,
        retries_per_second: 3,
        hedge_percent: 5,
    }
}

pub(super) fn places(count: usize) -> Vec<Place> {
    let place = |at| Place { name: format!("10.1.0.{at}:443"), endpoint: at, address: None, near: true };
    (0..count).map(place).collect()
}

fn fleet(rules: Rules, places: Vec<Place>) -> (Arc<Fleet>, Instant) {
    let start = Instant::now();
    (Arc::new(Fleet::new(rules, places, 7, start)), start)
}

/// How often each target is chosen of a thousand times, each answered at once after `took`.
fn chosen(fleet: &Arc<Fleet>, took: impl Fn(usize) -> Duration, now: Instant) -> Vec<usize> {
    let mut counts = vec![0; fleet.targets().len()];
    for _ in 0..1000 {
        let attempt = fleet.choose(None, &[], now).unwrap();
        let at = attempt.target().endpoint();
        counts[at] += 1;
        attempt.answered(now + took(at));
    }
    counts
}

#[test]
fn equals_share_the_load_and_a_slow_one_gets_less() {
    let (fleet, now) = fleet(rules(), places(3));
    let counts = chosen(&fleet, |_| Duration::from_millis(5), now);
    assert!(counts.iter().all(|count| (250..450).contains(count)), "{counts:?}");
    let counts = chosen(&fleet, |at| Duration::from_millis(if at == 1 { 100 } else { 5 }), now);
    // It is chosen only where chance names it and it was not yet known to be slow.
    assert!(counts[1] < 100, "{counts:?}");
}

#[test]
fn who_waits_is_counted_and_a_try_that_is_given_up_is_not() {
    let (fleet, now) = fleet(rules(), places(2));
    let waiting: Vec<Try> = (0..100).map(|_| fleet.choose(None, &[], now).unwrap()).collect();
    let counts = fleet.targets().iter().map(|target| target.in_flight()).collect::<Vec<_>>();
    assert!(counts.iter().all(|count| (45..=55).contains(count)), "{counts:?}");
    drop(waiting);
    assert!(fleet.targets().iter().all(|target| target.in_flight() == 0));
}

#[test]
fn no_more_than_half_are_ejected_and_a_second_try_goes_elsewhere() {
    let (fleet, now) = fleet(rules(), places(4));
    for _ in 0..1000 {
        let attempt = fleet.choose(None, &[], now).unwrap();
        let id = attempt.target().id();
        attempt.failed(false, now);
        let second = fleet.choose(None, &[id], now).unwrap();
        assert_ne!(second.target().id(), id);
        second.failed(false, now);
    }
    let out = fleet.targets().iter().filter(|target| target.standing(now) != Standing::In).count();
    assert_eq!(out, 2);
    let all: Vec<u64> = fleet.targets().iter().map(|target| target.id()).collect();
    assert!(fleet.choose(None, &all, now).is_none(), "each is tried once");
    let (alone, now) = self::fleet(rules(), places(1));
    for _ in 0..100 {
        alone.choose(None, &[], now).unwrap().failed(false, now);
    }
    assert_eq!(alone.targets()[0].standing(now), Standing::In, "there is no other");
}

#[test]
fn the_own_zone_comes_first_while_half_of_it_is_well() {
    let mut places = places(4);
    places[2].near = false;
    places[3].near = false;
    let (fleet, now) = fleet(rules(), places);
    assert_eq!(chosen(&fleet, |_| Duration::from_millis(5), now)[2..], [0, 0]);
    let eject = |at: usize| fleet.targets()[at].health.eject(&fleet.rules.health, now);
    eject(0);
    assert_eq!(chosen(&fleet, |_| Duration::from_millis(5), now), [0, 1000, 0, 0]);
    eject(1);
    let counts = chosen(&fleet, |_| Duration::from_millis(5), now);
    assert!(counts[2] > 300 && counts[3] > 300, "{counts:?}");
}

#[test]
fn a_person_stays_with_a_target_and_moves_only_if_it_is_gone_or_crowded() {
    let (fleet, now) = fleet(Rules { balance: Balance::Subject, ..rules() }, places(4));
    let of = |person: u64| {
        let attempt = fleet.choose(Some(hash_of(&person.to_string())), &[], now).unwrap();
        attempt.target().endpoint()
    };
    let before: Vec<usize> = (0..1000).map(of).collect();
    assert_eq!(before, (0..1000).map(of).collect::<Vec<_>>());
    let counts: Vec<usize> = (0..4).map(|at| before.iter().filter(|it| **it == at).count()).collect();
    assert!(counts.iter().all(|count| (180..320).contains(count)), "{counts:?}");
    fleet.place(places(3), now);
    let after: Vec<usize> = (0..1000).map(of).collect();
    let moved = before.iter().zip(&after).filter(|(before, after)| **before != 3 && before != after).count();
    assert_eq!(moved, 0, "only whose target is gone is moved");
    // A crowd that asks for one person.
    let waiting: Vec<Try> = (0..30).map(|_| fleet.choose(Some(1), &[], now).unwrap()).collect();
    let most = fleet.targets().iter().map(|target| target.in_flight()).max().unwrap();
    assert!(most <= 14, "{most}");
    drop(waiting);
}

#[test]
fn what_is_known_of_a_target_stays_when_others_come_and_go() {
    let address = |at: u8| Some(SocketAddr::from(([10, 1, 0, at], 443)));
    let place = |at: u8| Place { name: format!("r ({at})"), endpoint: 0, address: address(at), near: true };
    let unknown = Place { name: "r".into(), endpoint: 0, address: None, near: true };
    let (fleet, now) = fleet(rules(), vec![unknown]);
    fleet.place(vec![place(1), place(2)], now);
    let first = Arc::clone(&fleet.targets()[0]);
    assert_eq!(first.health.weight(fleet.rules.health.slow_start, now), 1.0, "it was there all the time");
    fleet.place(vec![place(1), place(3)], now);
    assert!(Arc::ptr_eq(&first, &fleet.targets()[0]));
    assert_eq!(fleet.targets()[1].health.weight(fleet.rules.health.slow_start, now), 0.1, "a new one begins slowly");
}

#[test]
fn where_checks_say_that_none_is_well_all_are_asked() {
    let (fleet, now) = fleet(rules(), places(2));
    for target in fleet.targets().iter() {
        assert!(fleet.checked(target, false, 1, now));
    }
    assert!(fleet.choose(None, &[], now).is_some());
}
