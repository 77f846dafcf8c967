//! Nodes under load, and what any window let through.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use popgate::clock::Clock;
use popgate::share::{Config, Place, Rate, Share, SharedRate, State};

/// So many nodes of one cluster, in this process.
pub(crate) fn nodes(count: u32, place: &dyn Fn(u32) -> Place) -> Vec<Share> {
    (0..count).map(|it| node(it, count, place(it))).collect()
}

/// One node of so many.
pub(crate) fn node(at: u32, count: u32, place: Place) -> Share {
    let run = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros();
    let config = Config::new(place, &format!("node-{at}"), count);
    Share::open(config, Clock::system("Asia/Ho_Chi_Minh").unwrap(), u64::try_from(run).unwrap()).unwrap()
}

/// Tokens a second, and at once.
pub(crate) fn rate(count: u32, burst: u32) -> Rate {
    Rate { count: NonZeroU32::new(count).unwrap(), per: Duration::from_secs(1), burst: NonZeroU32::new(burst).unwrap() }
}

/// Waits until all nodes share, and how long it took.
pub(crate) fn shared(shares: &[Share]) -> Duration {
    let all = || shares.iter().all(|it| it.state() == State::Shared);
    let (most, began) = (Duration::from_secs(60), Instant::now());
    while !all() {
        let states = || shares.iter().map(Share::state).collect::<Vec<_>>();
        assert!(began.elapsed() < most, "not all nodes share: {:?}", states());
        thread::sleep(Duration::from_millis(5));
    }
    began.elapsed()
}

/// A rate that is asked for more is used whole. Threads that a busy machine wakes late ask for less, so one of a few rounds is enough; no
/// round lets more through.
pub(crate) fn used_whole(what: &str, load: &[(Arc<SharedRate>, u32)], rate: Rate) {
    const ROUNDS: usize = 6;
    const SECONDS: u32 = 6;
    let per_second = f64::from(rate.count.get()) / rate.per.as_secs_f64();
    let all = per_second * f64::from(SECONDS);
    let used = |round: usize| {
        // The burst is there again at the beginning, and does not count.
        thread::sleep(Duration::from_secs_f64(f64::from(rate.burst.get()) / per_second + 0.3));
        let began = Instant::now();
        let at = |seconds: u32| began + Duration::from_secs(u64::from(seconds));
        let admitted = Admitted::under(load, Duration::from_secs(u64::from(SECONDS)));
        let over = admitted.over(rate);
        let used = admitted.within(at(2), at(SECONDS)) as f64 / (per_second * f64::from(SECONDS - 2));
        println!(
            "{what}, round {round}: admitted {} of {all} + {}, used {:.1} %, over {over:.1} tokens ({:.2} %)",
            admitted.times.len(),
            rate.burst,
            100.0 * used,
            100.0 * over / all,
        );
        // Clocks of threads differ by what the machine is late.
        assert!(over <= 0.02 * all, "{what}: over {over}");
        used
    };
    let most = (0..ROUNDS).map(used).find(|used| *used >= 0.95);
    assert!(most.is_some(), "{what}: the rate is not used in any round");
}

/// What was admitted, when.
#[derive(Debug, Default)]
pub(crate) struct Admitted {
    times: Vec<Instant>,
}

impl Admitted {
    /// Asks each limit so many times a second, for so long, each in a thread of its own.
    pub(crate) fn under(load: &[(Arc<SharedRate>, u32)], long: Duration) -> Self {
        let end = Instant::now() + long;
        let asked = |(limit, demand): &(Arc<SharedRate>, u32)| {
            let (limit, demand) = (Arc::clone(limit), f64::from(*demand));
            thread::spawn(move || {
                let (mut times, mut asked, began) = (Vec::new(), 0.0, Instant::now());
                while Instant::now() < end {
                    while asked < began.elapsed().as_secs_f64() * demand {
                        asked += 1.0;
                        let now = Instant::now();
                        if limit.take(1, now).is_ok() {
                            times.push(now);
                        }
                    }
                    thread::sleep(Duration::from_micros(1_500));
                }
                times
            })
        };
        let threads: Vec<_> = load.iter().map(asked).collect();
        let mut times: Vec<Instant> = threads.into_iter().flat_map(|it| it.join().unwrap()).collect();
        times.sort();
        Self { times }
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.times.len()
    }

    /// How many in a time from the first.
    pub(crate) fn within(&self, from: Instant, until: Instant) -> usize {
        self.times.iter().filter(|it| **it >= from && **it < until).count()
    }

    /// The most tokens that any window let through beyond the rate and the burst.
    pub(crate) fn over(&self, rate: Rate) -> f64 {
        let (speed, burst) = (f64::from(rate.count.get()) / rate.per.as_secs_f64(), f64::from(rate.burst.get()));
        let (mut level, mut last, mut over) = (burst, None, 0_f64);
        for time in &self.times {
            let passed = last.map_or(0.0, |last| time.saturating_duration_since(last).as_secs_f64());
            level = f64::min(burst, level + passed * speed) - 1.0;
            over = over.max(-level);
            last = Some(*time);
        }
        over
    }
}
