//! What is promised under overload, held against thousands of nodes in virtual time.

use std::time::Instant;

use super::simulation::*;
use super::*;

/// Fewer where they are slow.
fn seeds(many: u64) -> u64 {
    if cfg!(debug_assertions) { many / 25 } else { many }
}

/// What happened in an interval.
#[derive(Debug, Default)]
struct Summary {
    /// Served, as a share of what the node can do if it sheds nothing.
    served: f64,
    /// In milliseconds.
    delay: f64,
    /// By group: the share that was shed.
    groups: Vec<f64>,
    classes: PerClass<f64>,
    /// How long emergencies took, in milliseconds.
    emergencies: Times,
}

#[derive(Default)]
struct Times(Vec<f64>);

impl fmt::Debug for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} emergencies", self.0.len())
    }
}

fn share([came, shed]: [u64; 2]) -> f64 {
    shed as f64 / came.max(1) as f64
}

fn summary(world: &World, moments: &[Moment], from: f64, until: f64) -> Summary {
    let moments: Vec<&Moment> =
        moments.iter().filter(|it| it.at > from + world.tick / 2.0 && it.at < until + world.tick / 2.0).collect();
    let seconds = moments.len() as f64 * world.tick;
    let served = moments.iter().map(|it| it.took.len() as f64).sum::<f64>();
    let delay = moments.iter().map(|it| it.standing.loops.mean.as_secs_f64()).sum::<f64>();
    let add = |a: [u64; 2], b: [u64; 2]| [a[0] + b[0], a[1] + b[1]];
    let of = |which: &dyn Fn(&Moment) -> [u64; 2]| share(moments.iter().map(|it| which(it)).fold([0; 2], add));
    let took = moments.iter().flat_map(|it| &it.took).filter(|it| it.0 == Class::Emergency);
    Summary {
        served: served / seconds * world.service / world.cores as f64,
        delay: delay / moments.len() as f64 * 1e3,
        groups: (0..world.groups.len()).map(|at| of(&|it| it.groups[at])).collect(),
        classes: PerClass::from_fn(|class| of(&|it| it.classes.of(class))),
        emergencies: Times(took.map(|it| it.1 * 1e3).collect()),
    }
}

/// What is left to be served at so many times the load.
fn left(times: f64, shed_cost: f64) -> f64 {
    ((1.0 - shed_cost * times) / (1.0 - shed_cost)).min(times)
}

fn percentile(values: &mut [f64], of_100: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() as f64 * of_100 / 100.0) as usize).min(values.len() - 1)]
}

/// How long 99 of 100 emergencies take at most while there is half the load.
fn unloaded(world: &World) -> f64 {
    let group = Group { load: |_| 0.5, ..world.groups[0] };
    let world = World { groups: &[group], ..*world };
    let mut took: Vec<f64> =
        (0..4).flat_map(|seed| summary(&world, &run(&World { seed, ..world }), 0.5, 9.0).emergencies.0).collect();
    percentile(&mut took, 99.0)
}

/// A node of some kind.
fn some(seed: u64, groups: &[Group]) -> World<'_> {
    let mut chance = Chance(seed ^ 0x5eed);
    let mut between = |low: f64, high: f64| low + (high - low) * chance.below(1000) as f64 / 1000.0;
    World {
        seed,
        groups,
        service: between(0.0003, 0.001),
        shed_cost: between(0.04, 0.12),
        cores: between(1.0, 3.99) as usize,
        tick: if between(0.0, 1.0) < 0.5 { 0.05 } else { 0.1 },
        ..World::PLAIN
    }
}

#[expect(clippy::print_stdout, reason = "figures for whoever asks to see them")]
fn say(what: fmt::Arguments<'_>) {
    println!("{what}");
}

type Course = fn(f64) -> f64;

const MIXED: Group = Group { from: 0, count: 50, mix: [5, 75], load: |_| 1.0, clients: 0 };

#[test]
fn five_times_the_load_is_borne_within_a_second_and_forgotten_within_another() {
    let step = |at: f64| if (1.0..4.0).contains(&at) { 5.0 } else { 0.5 };
    let mut worst = (f64::MAX, 0.0_f64, f64::MAX, 0.0_f64);
    let (mut goodput, mut slow) = (0.0, 0);
    for seed in 0..seeds(1000) {
        let groups = [Group { load: step, ..MIXED }];
        let world = World { until: 6.0, ..some(seed, &groups) };
        let moments = run(&world);
        let calm = summary(&world, &moments, 0.0, 1.0);
        // A second after it began; with slow ticks half a second more.
        let soon = if world.tick < 0.06 { 2.0 } else { 2.5 };
        let first = summary(&world, &moments, soon - 0.2, soon + 0.2);
        let then = summary(&world, &moments, soon, 4.0);
        let after = summary(&world, &moments, 5.0, 6.0);
        let left = left(5.0, world.shed_cost);
        let said = || {
            format!("seed {seed}, {} cores, tick {}: {calm:?} {first:?} {then:?} {after:?}", world.cores, world.tick)
        };
        assert_eq!(calm.groups, [0.0], "{}", said());
        assert!(first.delay < 2.0 * 10.0, "{}", said());
        assert!(then.delay < 12.0, "{}", said());
        assert!(then.served > 0.86 * left, "{} of {left}: {}", then.served, said());
        assert_eq!(then.classes.emergency, 0.0, "{}", said());
        assert_eq!(after.groups, [0.0], "{}", said());
        // It does not swing: no quarter of a second is much worse than the others.
        for quarter in (soon * 4.0) as u32..16 {
            let at = f64::from(quarter) / 4.0;
            let it = summary(&world, &moments, at, at + 0.25);
            worst.2 = worst.2.min(it.served / left);
            worst.3 = worst.3.max(it.delay);
            assert!(it.served > 0.6 * left && it.delay < 40.0, "{at}: {it:?} {}", said());
        }
        goodput += then.served / left;
        slow += u32::from(first.delay > 10.0);
        worst = (worst.0.min(then.served / left), worst.1.max(then.delay), worst.2, worst.3);
    }
    goodput /= seeds(1000) as f64;
    say(format_args!(
        "step to 5x: goodput {goodput:.3} of what is left, least of a run {:.3}; delay at most {:.1} ms in a run; \
        worst quarter of a second {:.3}, {:.1} ms; {slow} runs not yet under 10 ms after a second",
        worst.0, worst.1, worst.2, worst.3
    ));
    assert!(goodput > 0.93);
}

#[test]
fn quiet_agencies_do_not_notice_a_noisy_one_whatever_its_class() {
    let (mut most, mut all, mut noticed) = (0.0_f64, 0.0, 0);
    for seed in 0..seeds(600) {
        let mix = [[0, 100], [0, 0], [0, 75]][(seed % 3) as usize];
        // What the others ask for must be less than what shedding leaves.
        let (quiet, loud): (Course, Course) = match seed % 2 {
            0 => (|_| 0.4, |at| if at < 1.0 { 0.01 } else { 4.6 }),
            _ => (|_| 0.65, |at| if at < 1.0 { 0.01 } else { 1.8 }),
        };
        let groups = [
            Group { from: 0, count: 99, mix: [5, 75], load: quiet, clients: 0 },
            Group { from: 99, count: 1, mix, load: loud, clients: 0 },
        ];
        let some = some(seed, &groups);
        let world = World { until: 5.0, shed_cost: some.shed_cost.min(0.1), ..some };
        let moments = run(&world);
        let first = summary(&world, &moments, 1.0, 2.0);
        let then = summary(&world, &moments, if world.tick < 0.06 { 2.0 } else { 2.5 }, 5.0);
        most = most.max(then.groups[0]);
        noticed += u32::from(then.groups[0] > 0.005);
        let said = || format!("seed {seed}: {first:?} {then:?}");
        assert!(then.groups[0] <= 0.02, "{}", said());
        all += then.groups[0] / seeds(600) as f64;
        assert!(then.classes.emergency == 0.0 && then.delay < 15.0, "{}", said());
        let left = left(quiet(0.0) + loud(2.0), world.shed_cost);
        assert!(then.served > 0.86 * left, "{left} {}", said());
    }
    say(format_args!(
        "99 quiet, one noisy: of a run's quiet requests at most {:.4} % shed, \
         of all {:.4} %; more than 0.5 % in {noticed} runs",
        most * 100.0,
        all * 100.0
    ));
    assert!(all < 0.002);
}

#[test]
fn classes_are_squeezed_in_their_order_and_emergencies_hardly_wait() {
    for (service, runs) in [(0.0001, 8), (0.0003, 20), (0.0005, 20)] {
        let plain = World { service, groups: &[MIXED], until: 9.0, ..World::PLAIN };
        let usual = unloaded(&plain);
        for times in [1, 2, 3, 5] {
            let load: Course = match times {
                1 => |_| 1.0,
                2 => |_| 2.0,
                3 => |_| 3.0,
                _ => |_| 5.0,
            };
            let groups = [Group { load, ..MIXED }];
            let mut took = Vec::new();
            let (mut served, mut classes) = (0.0, PerClass::<f64>::default());
            let runs = if cfg!(debug_assertions) { 8 } else { runs };
            for seed in 0..runs {
                let world = World { seed, groups: &groups, ..plain };
                let it = summary(&world, &run(&world), 2.0, 9.0);
                served += it.served / runs as f64;
                classes = PerClass::from_fn(|class| classes.of(class) + it.classes.of(class) / runs as f64);
                took.extend(it.emergencies.0);
            }
            let (left, most) = (left(f64::from(times), 0.1), percentile(&mut took, 99.0));
            say(format_args!(
                "service {:.1} ms, {times}x: goodput {:.3} of {left:.3}; shed {:.3} of batch, {:.3} of interactive, \
                 {:.3} of emergencies; their p99 {most:.1} ms, unloaded {usual:.1} ms",
                service * 1e3,
                served / left,
                classes.batch,
                classes.interactive,
                classes.emergency
            ));
            assert_eq!(classes.emergency, 0.0);
            assert!(classes.interactive < 0.03 || classes.batch > 0.95, "{classes:?}");
            assert!(served > 0.9 * left, "{served} {left}");
            // At just as much as the node can do nothing is shed yet when some wait.
            assert!(times == 1 || most < 2.0 * usual + 10.0, "{most} {usual}");
        }
    }
}

#[test]
fn load_that_comes_and_goes_and_a_node_that_becomes_slow_are_followed() {
    let (mut flapping, mut halved) = (f64::MAX, f64::MAX);
    for seed in 0..seeds(400) {
        // A second of five times the load, and a second of little.
        let groups = [Group { load: |at| if at as u32 % 2 == 1 { 5.0 } else { 0.3 }, ..MIXED }];
        let world = World { until: 8.0, shed_cost: 0.1, tick: 0.05, ..some(seed, &groups) };
        let moments = run(&world);
        for burst in [3.0, 5.0, 7.0] {
            let late = summary(&world, &moments, burst + 0.5, burst + 1.0);
            let calm = summary(&world, &moments, burst - 0.5, burst);
            flapping = flapping.min(late.served / left(5.0, 0.1));
            assert!(late.delay < 40.0 && late.classes.emergency == 0.0, "seed {seed}, {burst}: {late:?}");
            assert!(calm.groups[0] < 0.005 && calm.delay < 5.0, "seed {seed}, {burst}: {calm:?}");
            assert!(late.served > 0.5 * left(5.0, 0.1), "seed {seed}, {burst}: {late:?}");
        }
        // At once half as fast, and later as before.
        let groups = [Group { load: |_| 1.5, ..MIXED }];
        let speed = |at: f64| if (3.0..6.0).contains(&at) { 0.5 } else { 1.0 };
        let world = World { until: 9.0, speed, shed_cost: 0.1, ..some(seed, &groups) };
        let moments = run(&world);
        let slow = summary(&world, &moments, 4.0, 6.0);
        let again = summary(&world, &moments, 7.5, 9.0);
        halved = halved.min(again.served / left(1.5, 0.1));
        assert!(slow.served > 0.8 * (left(3.0, 0.1) / 2.0) && slow.delay < 15.0, "seed {seed}: {slow:?}");
        assert!(again.served > 0.8 * left(1.5, 0.1) && again.delay < 12.0, "seed {seed}: {again:?}");
    }
    say(format_args!(
        "flapping: goodput at least {flapping:.3} in the second half of a burst; again as fast: at least {halved:.3}"
    ));
}

#[test]
fn a_node_that_stands_still_for_a_moment_sheds_no_longer_than_that() {
    let mut worst: f64 = 0.0;
    for seed in 0..seeds(100) {
        let groups = [Group { load: |_| 0.6, ..MIXED }];
        // A machine that is moved to another, say.
        let world = World { until: 6.0, still: [3.0, 0.2], shed_cost: 0.1, ..some(seed, &groups) };
        let moments = run(&world);
        let (during, after) = (summary(&world, &moments, 3.0, 4.0), summary(&world, &moments, 4.0, 6.0));
        worst = worst.max(during.groups[0]);
        assert!(during.classes.emergency == 0.0 && during.groups[0] < 0.65, "seed {seed}: {during:?}");
        assert!(after.groups[0] < 0.02, "seed {seed}: {after:?}");
    }
    say(format_args!("stands still for 0.2 s: of the second from then on at most {worst:.3} shed, afterwards nothing"));
}

#[test]
fn under_a_quota_of_processor_time_only_what_is_beyond_the_quota_is_shed() {
    for period in [0.01, 0.1] {
        let quota = Some([0.3 * period, period]);
        let (mut least, mut mean, mut most): (f64, f64, f64) = (f64::MAX, 0.0, 0.0);
        for seed in 0..seeds(60) {
            // Three tenths of the time: what it can do is three tenths.
            let light = [Group { load: |_| 0.15, ..MIXED }];
            let world = World { until: 8.0, quota, shed_cost: 0.1, ..some(seed, &light) };
            let it = summary(&world, &run(&world), 1.0, 8.0);
            most = most.max(it.groups[0]);
            assert!(it.groups[0] < 0.02, "seed {seed}: {it:?}");
            let loads: [Course; 2] = [|at| if at < 1.0 { 0.15 } else { 0.9 }, |at| if at < 1.0 { 0.15 } else { 1.5 }];
            for (load, times) in loads.into_iter().zip([3.0, 5.0]) {
                let heavy = [Group { load, ..MIXED }];
                let world = World { until: 10.0, quota, shed_cost: 0.1, ..some(seed, &heavy) };
                let it = summary(&world, &run(&world), 3.0, 10.0);
                let goodput = it.served / (0.3 * left(times, 0.1));
                least = least.min(goodput);
                mean += goodput / (2.0 * seeds(60) as f64);
                assert!(goodput > 0.7 && it.classes.emergency == 0.0, "seed {seed}: {goodput} {it:?}");
            }
        }
        say(format_args!(
            "a quota of 30 % of {period} s: half of it asked, at most {most:.4} shed; \
             three and five times: goodput {mean:.3}, at least {least:.3}"
        ));
    }
}

#[test]
fn clients_that_ask_again_at_once_do_not_turn_the_node_into_one_that_only_refuses() {
    for quota in [None, Some([0.003, 0.01]), Some([0.03, 0.1])] {
        // A quarter of the time at most goes into refusing, unless those are too many for that who are back after half a second.
        for (clients, expected) in [(4, 0.9), (60, 0.65), (400, 0.5)] {
            let (mut least, mut mean, mut delay): (f64, f64, f64) = (f64::MAX, 0.0, 0.0);
            let mut shed: f64 = 0.0;
            for seed in 0..seeds(40) {
                let groups = [Group { load: |_| 0.0, clients, ..MIXED }];
                let rules = Rules { shed_cost: 0.2, ..World::PLAIN.rules };
                let world = World { until: 8.0, quota, shed_cost: 0.2, rules, ..some(seed, &groups) };
                let it = summary(&world, &run(&world), 2.0, 8.0);
                let goodput = it.served / quota.map_or(1.0, |[time, period]| time / period);
                least = least.min(goodput);
                mean += goodput / seeds(40) as f64;
                delay += it.delay / seeds(40) as f64;
                shed = shed.max(it.groups[0]);
            }
            say(format_args!(
                "{clients} clients that ask again at once, quota {quota:?}: goodput {mean:.3}, at least {least:.3}; \
                 delay {delay:.1} ms"
            ));
            // Few leave it pauses on the road: where nothing is shed, nothing more was asked.
            let good = mean > expected && least > 0.5 * expected || shed < 0.01;
            assert!(good && delay < 20.0, "{clients}: {mean} {least} {shed} {delay}");
        }
    }
}

#[test]
fn so_few_requests_are_never_why_a_node_is_late() {
    for seed in 0..seeds(50) {
        // Three requests a second, of which each takes a fifth of one.
        let groups = [Group { load: |_| 0.6, ..MIXED }];
        let world = World { until: 20.0, service: 0.2, cores: 1, groups: &groups, seed, ..World::PLAIN };
        let it = summary(&world, &run(&world), 0.0, 20.0);
        assert!(it.groups[0] == 0.0, "seed {seed}: {it:?}");
    }
}

#[test]
fn ten_thousand_agencies_that_ask_seldom_are_squeezed_as_much_as_is_needed() {
    let groups =
        [Group { from: 0, count: 10_000, mix: [5, 75], load: |at| if at < 1.0 { 0.5 } else { 3.0 }, clients: 0 }];
    let world = World { groups: &groups, until: 6.0, cores: 2, service: 0.0004, ..World::PLAIN };
    let it = summary(&world, &run(&world), 2.0, 6.0);
    say(format_args!(
        "10,000 agencies: goodput {:.3}, delay {:.1} ms, {:?}",
        it.served / left(3.0, 0.1),
        it.delay,
        it.classes
    ));
    assert!(it.served > 0.9 * left(3.0, 0.1) && it.delay < 12.0 && it.classes.emergency == 0.0, "{it:?}");
}

#[test]
fn a_flood_of_emergencies_of_one_agency_leaves_some_for_the_others() {
    let flood: Course = |at| if at < 1.0 { 0.01 } else { 4.0 };
    let groups = [
        Group { from: 0, count: 20, mix: [5, 95], load: |_| 0.5, clients: 0 },
        Group { from: 20, count: 1, mix: [100, 0], load: flood, clients: 0 },
    ];
    let world = World { groups: &groups, until: 8.0, ..World::PLAIN };
    let moments = run(&world);
    let it = summary(&world, &moments, 3.0, 8.0);
    say(format_args!("a flood of emergencies: {:?} shed, delay {:.1} ms", it.groups, it.delay));
    assert!(it.served > 0.8 * left(4.5, 0.1) && it.delay < 25.0, "{it:?}");
    assert!(it.groups[0] < 0.95);
}

#[test]
fn where_refusing_alone_is_too_much_that_is_said() {
    let groups = [Group { load: |at| if at < 1.0 { 0.5 } else { 12.0 }, ..MIXED }];
    let world = World { groups: &groups, until: 5.0, ..World::PLAIN };
    let moments = run(&world);
    assert!(moments.iter().filter(|it| it.at > 4.0).all(|it| it.standing.saturated));
    assert!(moments.iter().filter(|it| it.at < 1.5).all(|it| !it.standing.saturated));
}

#[test]
fn a_queue_elsewhere_counts_as_overload_if_it_is_told() {
    let (mut controller, lanes) = Controller::new(Rules::default(), 1, 1, Duration::ZERO);
    let queue = Delay { least: Duration::from_millis(8), mean: Duration::from_millis(80) };
    let mut standing = Standing::default();
    for tick in 1..=8_u64 {
        let mut chance = Chance(tick);
        let admitted = (0..50).filter(|_| lanes[0].admit(0, Class::Batch, chance.next() as u32)).count();
        assert!(admitted == 50 || tick > 2);
        let now = Duration::from_millis(50 * tick);
        (1..=5).for_each(|beat| {
            let at = now - Duration::from_millis(50 - 10 * beat);
            lanes[0].beat(at, at);
        });
        standing = controller.tick(now, Spent { all: now, ..Spent::default() }, Some(queue));
        assert_eq!(standing.overloaded, tick >= 2, "{tick}: {standing:?}");
    }
    assert!(standing.pressure > 0.0 && controller.squeezed().next().is_some(), "{standing:?}");
}

#[test]
fn a_dry_run_sheds_nothing_and_counts() {
    let groups = [Group { load: |at| if at < 1.0 { 0.5 } else { 1.3 }, ..MIXED }];
    let rules = Rules { dry_run: true, ..World::PLAIN.rules };
    let world = World { groups: &groups, until: 3.0, rules, ..World::PLAIN };
    let moments = run(&world);
    let it = summary(&world, &moments, 0.0, 3.0);
    assert_eq!(it.groups, [0.0]);
    let last = moments.last().unwrap();
    assert!(last.standing.overloaded && last.standing.shed.batch > 100, "{:?}", last.standing);
    assert_eq!(last.standing.shed.emergency, 0);
}

#[test]
fn those_who_were_shed_are_asked_back_at_different_times() {
    let (_, lanes) = Controller::new(Rules::default(), 1, 1, Duration::ZERO);
    let lane = &lanes[0];
    let seconds = |class, random| lane.retry_after(class, random).as_secs();
    assert_eq!((seconds(Class::Emergency, u32::MAX), seconds(Class::Interactive, u32::MAX)), (1, 1));
    lane.shared.spread.store(5, Ordering::Relaxed);
    assert_eq!((seconds(Class::Emergency, u32::MAX), seconds(Class::Interactive, u32::MAX)), (1, 5));
    assert_eq!((seconds(Class::Interactive, 0), seconds(Class::Batch, u32::MAX)), (1, 10));
}

#[test]
fn a_tick_and_a_request_cost_little() {
    let (slots, cores) = (10_000, 8);
    let (mut controller, lanes) = Controller::new(Rules::default(), slots, cores, Duration::ZERO);
    let mut chance = Chance(1);
    let mut least = f64::MAX;
    let mut squeezing = 0;
    for tick in 1..40_u64 {
        for n in 0..40_000 {
            let random = chance.next();
            let slot = chance.below(100) * chance.below(100);
            let class = Class::ALL[chance.below(3) as usize];
            lanes[n % cores].admit(slot as usize, class, random as u32);
        }
        let now = Duration::from_millis(50 * tick);
        if tick % 4 == 0 {
            lanes.iter().for_each(|lane| assert!(lane.beat(now, now) <= BEAT));
        }
        let before = Instant::now();
        let standing = controller.tick(now, Spent { all: now, ..Spent::default() }, None);
        if standing.overloaded && standing.pressure > 0.0 {
            squeezing += 1;
            least = least.min(before.elapsed().as_secs_f64());
        }
    }
    assert!(squeezing > 10);
    let squeezed = controller.squeezed().count();
    // The least of many, as others use this machine as well.
    let each = |slot: usize, lane: &Lane| {
        let once = || {
            let before = Instant::now();
            let count = 20_000_u32;
            let admit = |n: &u32| lane.admit(slot, Class::Batch, n.wrapping_mul(0x9e37_79b9));
            assert!((0..count).filter(admit).count() <= count as usize);
            before.elapsed().as_secs_f64() / f64::from(count) * 1e9
        };
        (0..100).map(|_| once()).fold(f64::MAX, f64::min)
    };
    let (_, calm) = Controller::new(Rules::default(), slots, cores, Duration::ZERO);
    let (free, shed) = (each(7, &calm[0]), each(7, &lanes[0]));
    say(format_args!(
        "{slots} agencies, {cores} lanes: a tick {:.3} ms, {squeezed} squeezed; \
         a request {free:.1} ns, one that is shed {shed:.1} ns",
        least * 1e3
    ));
    assert!(cfg!(debug_assertions) || (least < 0.002 && free < 100.0), "with room for a busy machine");
}
