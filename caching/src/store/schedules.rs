//! After a purge returned, no lookup that begins later yields what was older than it: thousands of schedules of the store's own
//! steps, and threads. The same schedules find what three wrong orders would do.

use std::sync::atomic::AtomicBool;
use std::thread;

use super::tests::{Chance, limits, marker};
use super::*;
use crate::purges::{Kind, Scope};

const SUBJECTS: usize = 3;

/// A register: versions that only grow, and those that were current at purges that returned.
struct World {
    store: Store<u64>,
    now: Instant,
    versions: [u64; SUBJECTS],
    purged: [u64; SUBJECTS],
    hits: u64,
    violations: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    Right,
    /// The ticket is taken when the answer is there.
    TicketAfterAnswer,
    /// An entry remembers a count that was read after the cells.
    CountAfterCells,
    /// A purge is counted before it is in the cells.
    CountBeforePurge,
}

enum Task {
    Idle,
    Looked { subject: usize, floor: u64, kept: Arc<Kept<u64>> },
    Counted { subject: usize, floor: u64, kept: Arc<Kept<u64>>, count: u64 },
    Judged { kept: Arc<Kept<u64>>, count: u64, verdict: Verdict, floor: u64 },
    Missed { subject: usize },
    Sent { subject: usize, fetch: Fetch },
    Answered { subject: usize, fetch: Fetch, version: u64 },
    Purging { purge: Purge, versions: [u64; SUBJECTS], number: Option<u64>, step: u8 },
}

fn key(subject: usize) -> Key {
    Key::new(marker().upstream(&[&[subject as u8]]), None)
}

fn scope(subject: usize, which: u64) -> Scope {
    match which {
        0 => Scope::Upstream(key(subject).upstream()),
        1 => Scope::Subject(marker().subject(&[subject as u8])),
        2 => Scope::Tag(marker().tag(b"r", &[subject as u8])),
        3 => Scope::Register(marker().register(b"r")),
        _ => Scope::All,
    }
}

fn insert(store: &Store<u64>, subject: usize, fetch: Fetch, version: u64, now: Instant) -> Verdict {
    let marker = marker();
    let about = About {
        register: marker.register(b"r"),
        subjects: &[marker.subject(&[subject as u8])],
        tags: &[marker.tag(b"r", &[subject as u8])],
    };
    let record = Record { value: version, bytes: 8, about, until: now + Duration::from_secs(9) };
    store.insert(&key(subject), fetch, record, Worth::Usual)
}

impl World {
    fn reaches(scope: Scope, subject: usize) -> bool {
        (0..5).any(|which| self::scope(subject, which) == scope)
    }

    /// One step of a task; each reads or writes shared state once.
    fn step(&mut self, task: Task, chance: &mut Chance, order: Order) -> Task {
        match task {
            Task::Idle => {
                let subject = chance.below(SUBJECTS as u64) as usize;
                if chance.below(3) > 0 {
                    let floor = self.purged[subject];
                    return match self.store.main.get(&key(subject).id()) {
                        Some(kept) => Task::Looked { subject, floor, kept },
                        None => Task::Missed { subject },
                    };
                }
                self.versions[subject] += 1;
                let kind = if chance.below(2) == 0 { Kind::Hard } else { Kind::Soft };
                let purge = Purge { scope: scope(subject, chance.below(5)), kind };
                Task::Purging { purge, versions: self.versions, number: None, step: 0 }
            }
            Task::Looked { subject, floor, kept } => {
                let count = self.store.purges.count();
                if kept.known.load(Ordering::Acquire) == count {
                    return self.yielded(Verdict::Fresh, &kept, floor);
                }
                Task::Counted { subject, floor, kept, count }
            }
            Task::Counted { subject, floor, kept, count } => {
                match self.store.purges.judge_slots(kept.ticket, &kept.slots) {
                    Verdict::Fresh => Task::Judged { kept, count, verdict: Verdict::Fresh, floor },
                    _ => Task::Missed { subject },
                }
            }
            Task::Judged { kept, count, verdict, floor } => {
                let count = if order == Order::CountAfterCells { self.store.purges.count() } else { count };
                kept.known.store(count, Ordering::Release);
                self.yielded(verdict, &kept, floor)
            }
            Task::Missed { subject } => Task::Sent { subject, fetch: self.store.begin(self.now) },
            Task::Sent { subject, fetch } => Task::Answered { subject, fetch, version: self.versions[subject] },
            Task::Answered { subject, fetch, version } => {
                let late = order == Order::TicketAfterAnswer;
                let fetch = if late { self.store.begin(self.now) } else { fetch };
                insert(&self.store, subject, fetch, version, self.now);
                Task::Idle
            }
            Task::Purging { purge, versions, number, step } => {
                let number = number.unwrap_or_else(|| self.store.purges.begin());
                let write = if order == Order::CountBeforePurge { [3, 4] } else { [2, 3] };
                let finish = if order == Order::CountBeforePurge { 2 } else { 4 };
                if let Some(half) = write.iter().position(|write| *write == step) {
                    self.store.purges.write_half(purge, number, half);
                } else if step == finish {
                    self.store.purges.finish();
                }
                if step < 4 {
                    return Task::Purging { purge, versions, number: Some(number), step: step.max(1) + 1 };
                }
                for subject in (0..SUBJECTS).filter(|subject| Self::reaches(purge.scope, *subject)) {
                    self.purged[subject] = self.purged[subject].max(versions[subject]);
                }
                Task::Idle
            }
        }
    }

    fn yielded(&mut self, verdict: Verdict, kept: &Kept<u64>, floor: u64) -> Task {
        if verdict == Verdict::Fresh {
            self.hits += 1;
            self.violations += u64::from(kept.value < floor);
        }
        Task::Idle
    }
}

fn run(seed: u64, order: Order) -> (u64, u64) {
    let now = Instant::now();
    let mut chance = Chance(seed);
    let store = Store::new(Limits { purge_bits: 8, ..limits(1 << 20) }, now);
    let mut world = World { store, now, versions: [1; SUBJECTS], purged: [0; SUBJECTS], hits: 0, violations: 0 };
    let mut tasks: Vec<Task> = (0..5).map(|_| Task::Idle).collect();
    for _ in 0..400 {
        let task = &mut tasks[chance.below(5) as usize];
        *task = world.step(std::mem::replace(task, Task::Idle), &mut chance, order);
    }
    (world.hits, world.violations)
}

#[test]
fn no_schedule_yields_what_is_older_than_a_purge_that_returned() {
    let outcomes: Vec<_> = (0..20_000).map(|seed| run(seed, Order::Right)).collect();
    assert!(outcomes.iter().all(|(_, violations)| *violations == 0));
    let hits: u64 = outcomes.iter().map(|(hits, _)| hits).sum();
    assert!(hits > 100_000);
}

#[test]
fn the_schedules_find_wrong_orders() {
    for order in [Order::TicketAfterAnswer, Order::CountAfterCells, Order::CountBeforePurge] {
        let found = (0..20_000).filter(|seed| run(*seed, order).1 > 0).count();
        assert!(found > 0, "{order:?}");
    }
}

#[test]
fn threads_that_look_fetch_and_purge_do_not_see_it_either() {
    let now = Instant::now();
    let store = Store::new(limits(16 << 20), now);
    let versions: [AtomicU64; SUBJECTS] = Default::default();
    let purged: [AtomicU64; SUBJECTS] = Default::default();
    let (over, hits) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for seed in 0..3 {
            let (store, versions, purged, over, hits) = (&store, &versions, &purged, &over, &hits);
            scope.spawn(move || {
                let mut chance = Chance(seed);
                while !over.load(Ordering::Relaxed) {
                    let subject = chance.below(SUBJECTS as u64) as usize;
                    let floor = purged[subject].load(Ordering::SeqCst);
                    if let Lookup::Hit(version) = store.lookup(&key(subject), Worth::Usual, now) {
                        hits.fetch_add(1, Ordering::Relaxed);
                        assert!(*version >= floor, "{} {floor}", *version);
                    } else {
                        let fetch = store.begin(now);
                        let version = versions[subject].load(Ordering::SeqCst);
                        (0..chance.below(50)).for_each(|_| std::hint::spin_loop());
                        insert(store, subject, fetch, version, now);
                    }
                }
            });
        }
        let purger = |seed| {
            let mut chance = Chance(seed);
            for _ in 0..300_000 {
                let subject = chance.below(SUBJECTS as u64) as usize;
                let version = versions[subject].fetch_add(1, Ordering::SeqCst) + 1;
                let kind = if chance.below(2) == 0 { Kind::Hard } else { Kind::Soft };
                store.purge(Purge { scope: self::scope(subject, chance.below(5)), kind });
                purged[subject].fetch_max(version, Ordering::SeqCst);
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| purger(10));
            scope.spawn(|| purger(11));
        });
        over.store(true, Ordering::Relaxed);
    });
    assert!(hits.load(Ordering::Relaxed) > 1000);
}
