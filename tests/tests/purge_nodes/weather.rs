//! Nodes that read and purge all the time while Redis is slow, cut off, stopped, emptied and restarted.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;

use super::*;

const NODES: u32 = 3;
const PERSONS: u32 = 8;
const LONG: Duration = Duration::from_secs(30);

/// A person in the register, and what the log knows of it.
#[derive(Debug, Default)]
struct Person {
    version: AtomicU32,
    /// Since when versions before that one are purged.
    purged: Mutex<Vec<(u32, Instant)>>,
}

#[test]
fn whatever_happens_nothing_is_served_fresh_for_longer_than_nodes_believe_themselves() {
    let mut server = Server::start(&[]);
    let roads: Vec<Road> = (0..NODES).map(|_| Road::to(server.port)).collect();
    let nodes = started(NODES, &|at| Place::One(roads[at as usize].url()));
    let persons: Vec<Person> = (0..PERSONS).map(|_| Person::default()).collect();
    let (over, asked, fresh, told) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for node in &nodes {
            scope.spawn(|| {
                for person in (0..PERSONS).cycle() {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                    fresh.fetch_add(u64::from(asks(node, person, &persons[person as usize])), Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
        for (node, at) in nodes.iter().zip(0..) {
            let (over, persons, told) = (&over, &persons, &told);
            scope.spawn(move || {
                let own = (0..PERSONS).filter(|person| person % NODES == at);
                for person in own.collect::<Vec<_>>().into_iter().cycle() {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    told.fetch_add(u64::from(changes(node, person, &persons[person as usize])), Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(250));
                }
            });
        }
        let began = Instant::now();
        for turn in (0..).take_while(|_| began.elapsed() < LONG) {
            happens(turn, &mut server, &roads);
        }
        over.store(true, Ordering::Relaxed);
    });
    until(3 * SOON, "all is well again", || nodes.iter().all(|node| node.nodes.state() == State::Shared));
    let figures: Vec<_> = nodes.iter().map(|node| node.nodes.figures()).collect();
    let [asked, fresh, told] = [asked, fresh, told].map(AtomicU64::into_inner);
    assert!(fresh > asked / 10 && told > 20, "{fresh} of {asked} were fresh, {told} purges were told; {figures:?}");
    assert!(figures.iter().all(|it| it.resets > 0 && it.failures > 0 && it.heard > 0), "{figures:?}");
}

/// Somebody asks a node for a person; whether it has a fresh record.
fn asks(node: &Node, person: u32, register: &Person) -> bool {
    let now = Instant::now();
    match node.store.lookup(&key(person), Worth::Usual, now) {
        Lookup::Hit(version) => {
            for (purged, since) in register.purged.lock().unwrap().iter().filter(|(purged, _)| *version < *purged) {
                let age = now.saturating_duration_since(*since);
                assert!(age <= BELIEVED, "{} was served {age:?} after all before {purged} was purged", *version);
            }
            true
        }
        Lookup::Stale(_) | Lookup::Miss => {
            let fetch = node.store.begin(now);
            let version = register.version.load(Ordering::SeqCst);
            thread::sleep(Duration::from_millis(2));
            node.insert(person, fetch, version);
            false
        }
    }
}

/// The register changes a person and purges it at a node; whether the log took that.
fn changes(node: &Node, person: u32, register: &Person) -> bool {
    let version = register.version.fetch_add(1, Ordering::SeqCst) + 1;
    let kind = if version.is_multiple_of(2) { Kind::Hard } else { Kind::Soft };
    let told = node.purge(person, kind).wait(Duration::from_secs(2));
    if told {
        register.purged.lock().unwrap().push((version, Instant::now()));
    }
    told
}

/// Something happens to Redis, and is over a while later.
fn happens(turn: u32, server: &mut Server, roads: &[Road]) {
    let road = &roads[turn as usize % roads.len()];
    let rest = |millis| thread::sleep(Duration::from_millis(millis));
    match turn % 8 {
        0 => _ = server.ask("CLIENT KILL TYPE pubsub"),
        1 => {
            road.mute(true);
            rest(1_500);
            road.mute(false);
        }
        2 => _ = server.ask("FLUSHALL"),
        3 => {
            // Longer than a node believes itself.
            road.cut(true);
            rest(8_000);
            road.cut(false);
        }
        4 => {
            server.kill();
            server.again();
        }
        5 => {
            road.delay(300);
            rest(1_500);
            road.delay(0);
        }
        6 => {
            server.stop();
            rest(1_000);
            server.go_on();
        }
        _ => {
            server.kill();
            rest(1_500);
            server.again();
        }
    }
    rest(900);
}
