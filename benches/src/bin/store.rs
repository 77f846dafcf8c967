//! The cache's store: `ratio EXPONENT` (hits against a plain LRU), `cost ENTRIES`, `bound 0..3` (resident memory), `arena`; each writes
//! `results/*.json`, and `plot` draws the hit ratios from there.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measurement that cannot go on stops, and prints what it found"
)]

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use plotters::prelude::*;
use popgate_benches::zipf::{Chance, Zipf, mixed, resident};
use popgate_caching::mark::{Key, Mark, Marker};
use popgate_caching::purges::{About, Kind, Purge, Purges, Scope};
use popgate_caching::store::{Limits, Lookup, Record, Store, Worth};
use popgate_policy::disclose::arena::{Arena, Shelter};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SUBJECTS: u64 = 104_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let argument = |n: usize| arguments.get(n).map(String::as_str).unwrap_or_default();
    let out = match argument(1) {
        "ratio" => ratio(argument(2).parse().unwrap()),
        "cost" => cost(argument(2).parse().unwrap()),
        "bound" => bound(argument(2).parse().unwrap()),
        "arena" => arena(),
        "plot" => return plot(),
        other => panic!("{other}"),
    };
    fs::create_dir_all("results").unwrap();
    let name = format!("results/{}{}.json", argument(1), argument(2));
    fs::write(name, serde_json::to_string_pretty(&out).unwrap()).unwrap();
    println!("{out}");
}

fn mark(n: u64) -> Mark {
    let bytes = (u128::from(mixed(n)) << 64) | u128::from(mixed(!n));
    Mark::from_bytes(bytes.to_be_bytes())
}

fn limits<V>(entries: u64, bytes: usize) -> Limits {
    Limits {
        bytes: entries * Store::<V>::weight_of(bytes) * 64 / 63 * 5 / 4,
        usual_bytes: bytes,
        purge_bits: 19,
        unsynced: None,
    }
}

fn put<V>(store: &Store<V>, n: u64, value: V, bytes: usize, now: Instant) {
    let about = About { register: mark(1 << 60), subjects: &[mark(n | 1 << 61)], tags: &[] };
    let record = Record { value, bytes, about, until: now + Duration::from_secs(3600) };
    store.insert(&Key::new(mark(n), None), store.begin(now), record, Worth::Usual);
}

fn ratio(exponent: f64) -> Value {
    let law = Zipf::new(SUBJECTS, exponent);
    let mut rows = vec![];
    for percent in [0.1, 0.3, 1.0, 3.0, 10.0] {
        let capacity = (SUBJECTS as f64 * percent / 100.0) as u64;
        let (warm, count) = (
            (capacity
                * if exponent < 0.9 {
                    3
                } else if exponent < 1.0 {
                    6
                } else {
                    14
                })
            .clamp(4_000_000, 30_000_000),
            3_000_000,
        );
        let engine = |lru: bool| {
            let law = law.clone();
            thread::spawn(move || {
                let mut chance = Chance(11);
                let mut hits = 0_u64;
                let full = if lru {
                    let mut lru = Lru::new(capacity as usize);
                    for round in 0..warm + count {
                        hits += u64::from(lru.ask(law.rank(&mut chance) as u32) && round >= warm);
                    }
                    lru.list.len() > capacity as usize
                } else {
                    let now = Instant::now();
                    let store = Store::new(limits::<()>(capacity, 8), now);
                    for round in 0..warm + count {
                        let n = law.rank(&mut chance);
                        if matches!(store.lookup(&Key::new(mark(n), None), Worth::Usual, now), Lookup::Hit(_)) {
                            hits += u64::from(round >= warm);
                        } else {
                            put(&store, n, (), 8, now);
                        }
                    }
                    store.evictions().size > 0
                };
                (hits as f64 / count as f64, full)
            })
        };
        let (store, lru) = (engine(false), engine(true));
        let ((store, store_full), (lru, full)) = (store.join().unwrap(), lru.join().unwrap());
        println!("{exponent} {percent} %: {store:.4} {lru:.4} full {store_full} {full}");
        rows.push(json!({"percent": percent, "entries": capacity, "store": store, "lru": lru, "warm_up": warm, "full": store_full && full, "requests": count}));
    }
    json!({"exponent": exponent, "subjects": SUBJECTS, "rows": rows})
}

/// A plain list by last use.
struct Lru {
    places: HashMap<u32, u32, std::hash::BuildHasherDefault<Mix>>,
    list: Vec<(u32, u32, u32)>,
    capacity: usize,
}

#[derive(Default)]
struct Mix(u64);

impl std::hash::Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
    fn write_u32(&mut self, n: u32) {
        self.0 = mixed(u64::from(n));
    }
}

impl Lru {
    fn new(capacity: usize) -> Self {
        // The first is the head of the ring.
        Self {
            places: HashMap::with_capacity_and_hasher(capacity, Default::default()),
            list: vec![(0, 0, 0)],
            capacity,
        }
    }

    fn ask(&mut self, key: u32) -> bool {
        let (place, hit) = match self.places.get(&key) {
            Some(place) => (*place, true),
            None if self.list.len() <= self.capacity => {
                self.list.push((key, u32::MAX, u32::MAX));
                (self.list.len() as u32 - 1, false)
            }
            None => {
                let last = self.list[0].1;
                self.places.remove(&self.list[last as usize].0);
                self.list[last as usize].0 = key;
                (last, false)
            }
        };
        let (_, before, after) = self.list[place as usize];
        if before != u32::MAX {
            self.list[before as usize].2 = after;
            self.list[after as usize].1 = before;
        }
        let first = self.list[0].2;
        self.list[place as usize].1 = 0;
        self.list[place as usize].2 = first;
        self.list[first as usize].1 = place;
        self.list[0].2 = place;
        if !hit {
            self.places.insert(key, place);
        }
        hit
    }
}

/// Nanoseconds that this thread had a processor: others use the machine too.
fn ran() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

fn nanos(count: u64, mut run: impl FnMut(u64)) -> f64 {
    let start = ran();
    (0..count).for_each(&mut run);
    ((ran() - start) as f64 / count as f64 * 10.0).round() / 10.0
}

fn cost(entries: u64) -> Value {
    let now = Instant::now();
    let before = resident();
    let store: Store<Box<[u8]>> = Store::new(limits::<Box<[u8]>>(entries * 11 / 10, 100), now);
    let insert = nanos(entries, |n| put(&store, n, Box::new([1; 100]), 100, now));
    let beside = (resident().saturating_sub(before)) as f64 / entries as f64 - 100.0;
    let (kept, weight) = store.size();
    let law = Zipf::new(entries, 0.99);
    let mut chance = Chance(1);
    let uniform: Vec<u64> = (0..2_000_000).map(|_| chance.below(entries)).collect();
    let zipf: Vec<u64> = (0..2_000_000).map(|_| law.rank(&mut chance) - 1).collect();
    let mut hits = 0_u64;
    let mut ask = |keys: &[u64]| {
        nanos(keys.len() as u64, |n| {
            let found = store.lookup(&Key::new(mark(keys[n as usize]), None), Worth::Usual, now);
            hits += u64::from(matches!(found, Lookup::Hit(_)));
        })
    };
    ask(&uniform[..200_000]);
    let (even_hit, zipf_hit) = (ask(&uniform), ask(&zipf));
    let miss = ask(&uniform.iter().map(|n| n | 1 << 50).collect::<Vec<_>>());
    let threads = {
        let times: Vec<u64> = thread::scope(|scope| {
            let run = |skip: usize| {
                let (store, zipf) = (&store, &zipf);
                scope.spawn(move || {
                    let start = ran();
                    for n in zipf.iter().skip(skip) {
                        black_box(matches!(store.lookup(&Key::new(mark(*n), None), Worth::Usual, now), Lookup::Hit(_)));
                    }
                    ran() - start
                })
            };
            let runs = [run(0), run(1)];
            runs.map(|run| run.join().unwrap()).to_vec()
        });
        times.iter().sum::<u64>() as f64 / (2 * zipf.len()) as f64
    };
    // A purge of somebody between lookups: every lookup then looks at the cells of its marks.
    let purge = |n: u64| store.purge(Purge { scope: Scope::Subject(mark(n)), kind: Kind::Hard });
    let purge_cost = nanos(500_000, |n| purge(n % 1000 + (1 << 40)));
    let checked = nanos(500_000, |n| {
        purge(1 << 41);
        let found = store.lookup(&Key::new(mark(uniform[n as usize]), None), Worth::Usual, now);
        black_box(matches!(found, Lookup::Hit(_)));
    });
    let start = ran();
    let mut sweep = store.sweep();
    let mut steps = vec![];
    loop {
        let begun = Instant::now();
        let more = sweep.step(256, now);
        steps.push(begun.elapsed().as_nanos() as u64 / 1000);
        if !more {
            break;
        }
    }
    let swept = (ran() - start) as f64 / entries as f64;
    steps.sort_unstable();
    let (middle, most) = (steps[steps.len() / 2], steps[steps.len() * 99 / 100]);
    let over = nanos(entries / 4, |n| put(&store, n + (1 << 45), Box::new([1; 100]), 100, now));
    let marker = Marker::new(&[1; 16]);
    let hashing = nanos(1_000_000, |n| {
        black_box(marker.upstream(&[b"population", b"GET", b"/persons/19121212", &n.to_le_bytes()]));
    });
    json!({
        "entries": entries, "kept": kept, "weight_an_entry": weight as f64 / kept as f64, "resident_beside_value": beside,
        "weight_beside_value": weight as f64 / kept as f64 - 100.0,
        "insert_ns": insert, "insert_full_ns": over, "uniform_hit_ns": even_hit, "zipf_hit_ns": zipf_hit, "zipf_hit_ns_two_threads": threads,
        "hits": hits, "miss_ns": miss, "purge_ns": purge_cost, "purge_and_checked_hit_ns": checked, "sweep_ns_an_entry": swept,
        "sweep_step_of_256_us_median": middle, "sweep_step_of_256_us_99": most, "key_hash_ns": hashing,
    })
}

fn bound(which: usize) -> Value {
    let mut rows = vec![];
    for (name, least, bits) in [("100 B", 100, 0), ("1 KB", 1024, 0), ("1 MB", 1 << 20, 0), ("100 B to 1 MB", 100, 13)]
        .into_iter()
        .skip(which)
        .take(1)
    {
        let bytes = 1_u64 << 30;
        let now = Instant::now();
        let before = resident();
        let store: Store<Box<[u8]>> =
            Store::new(Limits { bytes, usual_bytes: least, purge_bits: 19, unsynced: None }, now);
        let mut chance = Chance(2);
        let (mut top, mut weight, mut put_bytes, mut n) = (0, 0, 0_u64, 0_u64);
        while put_bytes < 4 * bytes {
            let size = ((least as u64) << chance.below(bits + 1)) as usize;
            let size = size + chance.below(size as u64 / 4) as usize;
            put(&store, n, vec![1; size].into(), size, now);
            (n, put_bytes) = (n + 1, put_bytes + size as u64 + 300);
            if n.is_multiple_of(if size > 65536 { 8 } else { 512 }) {
                top = top.max(resident().saturating_sub(before));
                weight = weight.max(store.size().1);
            }
        }
        let entries = store.size().0;
        println!("{name} {entries} {weight} {top}");
        rows.push(
            json!({"values": name, "bound": bytes, "entries": entries, "top_weight": weight, "top_resident": top,
            "resident_of_bound": top as f64 / bytes as f64, "weight_of_bound": weight as f64 / bytes as f64}),
        );
        drop(store);
    }
    json!(rows)
}

fn arena() -> Value {
    let mut rows = vec![];
    for size in [1024_usize, 16 << 10, 256 << 10] {
        let record = vec![1_u8; size];
        let rounds = (200_000_000 / size as u64).min(200_000);
        let heap = nanos(rounds, |_| drop(black_box(bytes(&record))));
        let mut row = json!({"bytes": size, "heap_ns": heap});
        for (name, shelter) in
            [("arena_ns", Shelter { lock: false, no_dump: true }), ("locked_ns", Shelter { lock: true, no_dump: true })]
        {
            let start = Instant::now();
            row[name] = match Arena::new(64 << 20, shelter) {
                Ok(arena) => {
                    let made = start.elapsed().as_micros() as u64;
                    drop(arena.copy(&record));
                    let cost = nanos(rounds, |_| drop(black_box(arena.copy(&record))));
                    json!({"ns": cost, "made_us": made})
                }
                Err(error) => json!(error.to_string()),
            };
        }
        rows.push(row);
    }
    // How many others a purge reaches by chance, with 2^19 cells.
    let mut chances = vec![];
    for purged in [1_000_u64, 10_000, 100_000] {
        let purges = Purges::new(19);
        let ticket = purges.ticket();
        (0..purged).for_each(|n| purges.purge(Purge { scope: Scope::Subject(mark(n)), kind: Kind::Soft }));
        let reached = (1_000_000..2_000_000_u64)
            .filter(|n| {
                let about = About { register: mark(1 << 60), subjects: &[mark(*n)], tags: &[] };
                purges.judge(ticket, mark(n | 1 << 50), about) != popgate_caching::purges::Verdict::Fresh
            })
            .count();
        chances.push(json!({"purges": purged, "reached_by_chance": reached as f64 / 1e6}));
    }
    json!({"copies": rows, "chance": chances})
}

fn bytes(record: &[u8]) -> Box<[u8]> {
    record.into()
}

fn plot() {
    let area = SVGBackend::new("results/ratio.svg", (900, 560)).into_drawing_area();
    area.fill(&WHITE).unwrap();
    let mut chart = ChartBuilder::on(&area)
        .caption("Hit ratio over 104 million subjects", ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d((0.1..10.0).log_scale(), 0.0..1.0)
        .unwrap();
    chart.configure_mesh().x_desc("capacity, % of subjects").y_desc("hit ratio").draw().unwrap();
    for (exponent, colour) in [("0.8", BLUE), ("0.99", RED), ("1.1", RGBColor(0, 140, 60))] {
        let Ok(text) = fs::read_to_string(format!("results/ratio{exponent}.json")) else { continue };
        let json: Value = serde_json::from_str(&text).unwrap();
        for (engine, width) in [("store", 3), ("lru", 1)] {
            // Where one never got full there was nothing to choose: the point would say nothing.
            let points = json["rows"].as_array().unwrap().iter().filter(|row| row["full"] == true);
            let points: Vec<_> =
                points.map(|row| (row["percent"].as_f64().unwrap(), row[engine].as_f64().unwrap())).collect();
            chart
                .draw_series(LineSeries::new(points, ShapeStyle::from(colour).stroke_width(width)))
                .unwrap()
                .label(format!("Zipf {exponent}, {engine}"))
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 22, y)], ShapeStyle::from(colour).stroke_width(width))
                });
        }
    }
    chart
        .configure_series_labels()
        .border_style(BLACK)
        .background_style(WHITE)
        .position(SeriesLabelPosition::LowerRight)
        .draw()
        .unwrap();
    area.present().unwrap();
}
