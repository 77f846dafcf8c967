//! Single steps of a node.

use super::*;
use crate::mark::Marker;

fn rules() -> Rules {
    Rules { read_every: Duration::from_secs(2), give_up: Duration::from_secs(1) }
}

fn purge(n: u8) -> Purge {
    Purge { scope: Scope::Subject(Marker::new(&[0; 16]).subject(&[n])), kind: Kind::Hard }
}

fn logged(number: u64) -> Logged {
    Logged { number, purge: purge(number as u8) }
}

const LIFE: Life = Life(1);
const ALL: Action = Action::Apply(Purge { scope: Scope::All, kind: Kind::Soft });

/// A node that read the log up to 10.
fn node(now: Instant) -> Spread {
    let mut node = Spread::new(rules());
    assert_eq!(node.connected(now), [Action::Read { reading: 1, after: 0 }]);
    let actions = node.read(1, Some(Reading { life: LIFE, head: 10, purges: vec![] }), now);
    assert_eq!(actions, [ALL, Action::Synced(now)], "what was stored before is not believed");
    node
}

#[test]
fn what_the_channel_tells_in_order_needs_no_reading_and_a_gap_needs_one() {
    let now = Instant::now();
    let mut node = node(now);
    assert_eq!(node.heard(LIFE, logged(11), now), [Action::Apply(purge(11))]);
    assert_eq!(node.heard(LIFE, logged(11), now), []);
    let actions = node.heard(LIFE, logged(13), now);
    assert_eq!(actions, [Action::Apply(purge(13)), Action::Read { reading: 2, after: 11 }]);
    let purges = vec![logged(12), logged(13)];
    let actions = node.read(2, Some(Reading { life: LIFE, head: 13, purges }), now);
    assert_eq!(actions, [Action::Apply(purge(12)), Action::Apply(purge(13)), Action::Synced(now)]);
}

#[test]
fn a_log_that_does_not_go_on_makes_all_stale() {
    let now = Instant::now();
    let later = now + Duration::from_secs(2);
    let readings = [
        Reading { life: Life(2), head: 10, purges: vec![] },
        Reading { life: LIFE, head: 9, purges: vec![] },
        Reading { life: LIFE, head: 0, purges: vec![] },
        Reading { life: LIFE, head: 12, purges: vec![logged(12)] },
        Reading { life: LIFE, head: 12, purges: vec![] },
        Reading { life: LIFE, head: 12, purges: vec![logged(11)] },
    ];
    for reading in readings {
        let mut node = node(now);
        let Some(Action::Read { reading: name, after: 10 }) = node.tick(later).pop() else { panic!() };
        let actions = node.read(name, Some(reading.clone()), later);
        assert!(actions.contains(&ALL) && actions.contains(&Action::Synced(later)), "{reading:?}");
        assert_eq!(node.known, Some((reading.life, reading.head)));
    }
}

#[test]
fn a_reading_that_is_older_than_what_the_channel_told_takes_nothing_back() {
    let now = Instant::now();
    let later = now + Duration::from_secs(2);
    let mut node = node(now);
    let Some(Action::Read { reading, .. }) = node.tick(later).pop() else { panic!() };
    node.heard(LIFE, logged(11), later);
    let actions = node.read(reading, Some(Reading { life: LIFE, head: 10, purges: vec![] }), later);
    assert_eq!(actions, [Action::Synced(later)]);
    assert_eq!(node.known, Some((LIFE, 11)));
    assert_eq!(node.read(reading, Some(Reading { life: Life(3), head: 0, purges: vec![] }), later), []);
}

#[test]
fn a_purge_waits_until_the_log_took_it_and_too_many_become_one_of_all() {
    let now = Instant::now();
    let mut node = Spread::new(rules());
    let (first, actions) = node.purge(purge(1), now);
    assert_eq!((actions, node.is_published(first)), (vec![Action::Apply(purge(1))], false));
    let publish = Action::Publish { publishing: first, purge: purge(1) };
    assert!(node.connected(now).contains(&publish));
    assert_eq!(node.published(first, false, now), []);
    assert!(node.tick(now).contains(&publish));
    assert!(node.tick(now + Duration::from_secs(1)).contains(&publish), "the answer was lost");
    node.published(first, true, now);
    assert!(node.is_published(first));
    node.lost();
    let names: Vec<u64> = (0..=OUTBOX).map(|n| node.purge(purge(n as u8), now).0).collect();
    assert_eq!(node.waiting(), 2);
    assert_eq!(node.outbox[0].purge, Purge { scope: Scope::All, kind: Kind::Hard });
    assert!(!names.iter().any(|name| node.is_published(*name)));
    let published = node.outbox[0].name;
    node.published(published, true, now);
    assert!(names[..OUTBOX].iter().all(|name| node.is_published(*name)) && !node.is_published(names[OUTBOX]));
}
