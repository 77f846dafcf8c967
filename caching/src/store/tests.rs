//! What the store promises: a bound, causes, purges, and that a scan costs those who ask next to nothing.

use super::*;
use crate::mark::Marker;
use crate::purges::{Kind, Scope};

pub(super) fn limits(bytes: u64) -> Limits {
    Limits { bytes, usual_bytes: 200, purge_bits: 12, unsynced: None }
}

pub(super) fn marker() -> Marker {
    Marker::new(b"a key of 16 byte")
}

fn key(n: u64) -> Key {
    Key::new(marker().upstream(&[&n.to_le_bytes()]), None)
}

/// A record about person `n`.
fn put(store: &Store<u64>, n: u64, bytes: usize, worth: Worth, now: Instant) -> Verdict {
    let fetch = store.begin(now);
    put_late(store, n, bytes, worth, fetch, now)
}

fn put_late(store: &Store<u64>, n: u64, bytes: usize, worth: Worth, fetch: Fetch, now: Instant) -> Verdict {
    let marker = marker();
    let about = About {
        register: marker.register(b"population"),
        subjects: &[marker.subject(&n.to_le_bytes())],
        tags: &[marker.tag(b"population", b"households")],
    };
    let record = Record { value: n, bytes, about, until: now + Duration::from_secs(600) };
    store.insert(&key(n), fetch, record, worth)
}

fn hit(store: &Store<u64>, n: u64, now: Instant) -> bool {
    matches!(store.lookup(&key(n), Worth::Usual, now), Lookup::Hit(_))
}

fn stale(store: &Store<u64>, n: u64, now: Instant) -> bool {
    matches!(store.lookup(&key(n), Worth::Usual, now), Lookup::Stale(_))
}

#[test]
fn the_bound_holds_whatever_the_sizes_and_every_entry_that_left_has_a_cause() {
    let now = Instant::now();
    let bytes = 96 << 20;
    let store = Store::new(limits(bytes), now);
    let mut chance = Chance(1);
    let (mut stored, most) = (0, 1 << 20);
    for round in 0..60_000_u64 {
        let n = chance.below(40_000);
        let size = match round / 10_000 % 3 {
            0 => 100,
            1 => most,
            _ => 100 << chance.below(14),
        };
        let worth = if chance.below(3) == 0 { Worth::Scan } else { Worth::Usual };
        match chance.below(20) {
            0 => store.remove(&key(n)),
            1 => store.purge(Purge { scope: Scope::Subject(marker().subject(&n.to_le_bytes())), kind: Kind::Hard }),
            2..6 => drop(store.lookup(&key(n), worth, now)),
            _ => {
                put(&store, n, size as usize, worth, now);
                stored += 1;
            }
        }
        assert!(store.size().1 <= bytes, "{}", store.size().1);
    }
    while store.sweep().step(1 << 20, now + Duration::from_secs(300)) {}
    let Evictions { size, expired, purged, replaced, explicit } = store.evictions();
    assert_eq!(stored, store.size().0 + size + expired + purged + replaced + explicit, "{:?}", store.evictions());
    assert!([size, purged, replaced, explicit].iter().all(|count| *count > 0) && expired == 0);
    while store.sweep().step(1 << 20, now + Duration::from_secs(600)) {}
    assert_eq!(store.size(), (0, 0));
    assert!(store.evictions().expired > 0);
}

#[test]
fn purges_reach_what_they_name_and_fetches_under_way() {
    let now = Instant::now();
    let store = Store::new(limits(64 << 20), now);
    let marker = marker();
    let subject = Scope::Subject(marker.subject(&1_u64.to_le_bytes()));
    let scopes = [
        subject,
        Scope::Upstream(key(1).upstream()),
        Scope::Tag(marker.tag(b"population", b"households")),
        Scope::Register(marker.register(b"population")),
        Scope::All,
    ];
    for (n, scope) in scopes.into_iter().enumerate() {
        (1..=2).for_each(|n| assert_eq!(put(&store, n, 100, Worth::Usual, now), Verdict::Fresh));
        store.purge(Purge { scope, kind: Kind::Soft });
        assert!(stale(&store, 1, now) && stale(&store, 2, now) == (n > 1), "{scope:?}");
        put(&store, 1, 100, Worth::Usual, now);
        assert!(hit(&store, 1, now), "fetched after");
        let fetch = store.begin(now);
        store.purge(Purge { scope, kind: Kind::Hard });
        assert_eq!(put_late(&store, 1, 100, Worth::Usual, fetch, now), Verdict::Gone);
        assert!(matches!(store.lookup(&key(1), Worth::Usual, now), Lookup::Miss));
        let fetch = store.begin(now);
        store.purge(Purge { scope, kind: Kind::Soft });
        assert_eq!(put_late(&store, 1, 100, Worth::Usual, fetch, now), Verdict::Stale);
        assert!(stale(&store, 1, now));
    }
}

#[test]
fn who_shares_what_an_agency_fetched_is_only_that_agency_and_a_purge_reaches_all() {
    let now = Instant::now();
    let store = Store::new(limits(64 << 20), now);
    let marker = marker();
    let upstream = marker.upstream(&[b"/1"]);
    let keys =
        [None, Some(b"one"), Some(b"two")].map(|agency| Key::new(upstream, agency.map(|name| marker.agency(name))));
    let about = About { register: marker.register(b"population"), subjects: &[], tags: &[] };
    for (n, key) in keys.iter().enumerate() {
        assert!(matches!(store.lookup(key, Worth::Usual, now), Lookup::Miss));
        let record = Record { value: n, bytes: 10, about, until: now + Duration::from_secs(1) };
        store.insert(key, store.begin(now), record, Worth::Usual);
    }
    for (n, key) in keys.iter().enumerate() {
        assert!(matches!(store.lookup(key, Worth::Usual, now), Lookup::Hit(found) if *found == n));
    }
    store.purge(Purge { scope: Scope::Upstream(upstream), kind: Kind::Hard });
    assert!(keys.iter().all(|key| matches!(store.lookup(key, Worth::Usual, now), Lookup::Miss)));
}

#[test]
fn a_node_that_heard_nothing_of_the_others_for_too_long_validates() {
    let now = Instant::now();
    let at = |seconds| now + Duration::from_secs(seconds);
    let store = Store::new(Limits { unsynced: Some(Duration::from_secs(10)), ..limits(64 << 20) }, now);
    put(&store, 1, 100, Worth::Usual, now);
    assert!(hit(&store, 1, at(10)) && stale(&store, 1, at(11)));
    store.synced(at(5));
    store.synced(at(3));
    assert!(hit(&store, 1, at(15)) && stale(&store, 1, at(16)));
    put(&store, 2, 100, Worth::Usual, at(20));
    assert!(hit(&store, 2, at(30)) && stale(&store, 2, at(31)));
}

#[test]
fn a_scan_of_ten_times_the_capacity_costs_less_than_two_points() {
    let ratio = |scans: Option<Worth>| {
        let now = Instant::now();
        let (capacity, entry) = (20_000, Store::<u64>::weight_of(200));
        let store = Store::new(Limits { usual_bytes: 200, ..limits(capacity * entry) }, now);
        let mut chance = Chance(9);
        let (mut hits, mut asked) = (0, 0);
        for round in 0..1_200_000_u64 {
            // By 1/rank, over 2^21 subjects.
            let n = (chance.unit() * 21.0 * std::f64::consts::LN_2).exp() as u64;
            let found = hit(&store, n, now);
            if !found {
                put(&store, n, 200, Worth::Usual, now);
            }
            if round >= 800_000 {
                (hits, asked) = (hits + u64::from(found), asked + 1);
                // 10 times as many as have place, while people ask.
                if let Some(worth) = scans.filter(|_| round.is_multiple_of(2)) {
                    let scanned = (1 << 40) + round;
                    if matches!(store.lookup(&key(scanned), worth, now), Lookup::Miss) {
                        put(&store, scanned, 200, worth, now);
                    }
                }
            }
        }
        hits as f64 / asked as f64
    };
    let (calm, marked) = (ratio(None), ratio(Some(Worth::Scan)));
    assert!(calm > 0.5 && calm - marked < 0.02, "{calm} {marked}");
}

#[test]
fn what_a_scan_brought_comes_to_the_main_shelf_when_somebody_asks() {
    let now = Instant::now();
    let store = Store::new(limits(64 << 20), now);
    put(&store, 1, 100, Worth::Scan, now);
    assert!(matches!(store.lookup(&key(1), Worth::Scan, now), Lookup::Hit(_)));
    assert_eq!((store.main.len(), store.side.len()), (0, 1));
    assert!(hit(&store, 1, now));
    assert_eq!((store.main.len(), store.side.len()), (1, 0));
    put(&store, 1, 100, Worth::Scan, now);
    assert_eq!((store.main.len(), store.side.len(), store.evictions().replaced), (1, 0, 1));
}

pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
