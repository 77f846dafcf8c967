//! How many requests a register is asked at once: as many as it answers no slower for.
//!
//! What a request takes when the register has nothing else to do is the baseline. While requests take hardly longer,
//! more are let through; when they take longer than [`Rules::tolerance`] times that, or fail, fewer are. Nothing is
//! changed while far fewer are under way than may be: what is slow then is not slow because of them.
//!
//! A baseline that only ever falls, or that follows what is measured, is wrong sooner or later: a register that has
//! become slower for good would be asked ever less, and a queue that stands long enough would count as usual. So the
//! baseline is tried: now and then, and whenever fewer were asked and it did not become faster, for a moment about half
//! as many are let through. If that makes it no faster, this is how fast it is.

#[cfg(test)]
mod simulation;
mod times;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::admit::overload::Class;
use times::Times;

/// How the limit is found. The defaults are meant for all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// The limit is at least this; at least 1.
    pub least: u32,
    /// And at most this.
    pub most: u32,
    /// Where it begins.
    pub first: u32,
    /// How many times as long as alone a request may take in the median, 1.1 to 4.
    pub tolerance: f64,
    /// The limit is judged after so long at the earliest, ...
    pub window: Duration,
    /// ... and after so many answers.
    pub answers: u32,
    /// The baseline is tried after so many windows in which it was not seen.
    pub try_after: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            least: 4,
            most: 2000,
            first: 20,
            tolerance: 1.5,
            window: Duration::from_millis(200),
            answers: 50,
            try_after: 60,
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered. So is what the register refuses for a reason that lies in the request.
    Answered,
    /// It failed, soon or late; how long that took says nothing.
    Failed,
    /// It was given up after it took so long: it failed, and is slow.
    TimedOut,
    /// Nobody waited for it any more: it says nothing.
    Abandoned,
}

/// The right to one request. It MUST be given back to [`Gradient::release`] exactly once, also when the request is
/// dropped; who holds it puts it into something that does so when it is dropped.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a place that is not given back is lost"]
pub struct Place(u32);

impl Place {
    /// How many were under way when it was given, with this one.
    pub fn under_way(&self) -> u32 {
        self.0
    }
}

/// The limit of one register, shared by all threads without a lock.
#[derive(Debug)]
pub struct Gradient {
    rules: Rules,
    limit: AtomicU32,
    under_way: AtomicU32,
    /// The most that were under way, and whether any were refused, in this window.
    peak: AtomicU32,
    refused: AtomicU32,
    failed: AtomicU32,
    times: Times,
    /// Microseconds: before `opens` nothing counts, after `closes` the limit is judged; `closes` is endless while
    /// somebody judges.
    opens: AtomicU64,
    closes: AtomicU64,
    /// What whoever judges knows, and nobody else touches.
    known: Known,
}

/// Numbers of a judge, in atomics only because judges take turns.
#[derive(Debug, Default)]
struct Known {
    /// The limit, with its fraction; bits of an `f64`, as the other two.
    exact: AtomicU64,
    /// What a request takes alone, in microseconds; 0 while it is not known.
    baseline: AtomicU64,
    /// What it took in the last window.
    recent: AtomicU64,
    /// Windows since the baseline was seen; as many as can be if it was never tried.
    unseen: AtomicU32,
    /// The limit and the time before it was lowered, if that is being watched; 0 otherwise.
    from_limit: AtomicU64,
    from_time: AtomicU64,
    /// Whether the limit was lowered in order to try the baseline.
    trying: AtomicU32,
}

/// How a limit stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Requests at once.
    pub limit: u32,
    /// Requests under way now.
    pub under_way: u32,
    /// What one takes alone, in the median, as far as it is known.
    pub baseline: Duration,
    /// What one took in the last window, in the median.
    pub recent: Duration,
}

impl Gradient {
    /// Begins at the first limit. Times are since any origin.
    pub fn new(rules: Rules, now: Duration) -> Self {
        let least = rules.least.max(1);
        let rules = Rules { least, most: rules.most.max(least), tolerance: rules.tolerance.clamp(1.1, 4.0), ..rules };
        let first = rules.first.clamp(rules.least, rules.most);
        let exact = AtomicU64::new(f64::from(first).to_bits());
        let known = Known { exact, unseen: AtomicU32::new(u32::MAX), ..Known::default() };
        Self {
            limit: AtomicU32::new(first),
            under_way: AtomicU32::new(0),
            peak: AtomicU32::new(0),
            refused: AtomicU32::new(0),
            failed: AtomicU32::new(0),
            times: Times::default(),
            opens: AtomicU64::new(0),
            closes: AtomicU64::new(micros(now + rules.window)),
            known,
            rules,
        }
    }

    /// A place, if there is one for the class.
    pub fn try_acquire(&self, class: Class) -> Option<Place> {
        let limit = u64::from(self.limit.load(Ordering::Relaxed));
        let may = u32::try_from((limit * percent(class) / 100).max(1)).unwrap_or(u32::MAX);
        let before = self.under_way.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < may).then(|| n + 1));
        match before {
            Ok(before) => {
                let now = before + 1;
                if now > self.peak.load(Ordering::Relaxed) {
                    self.peak.fetch_max(now, Ordering::Relaxed);
                }
                Some(Place(now))
            }
            Err(_) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// Gives a place back, with what became of the request and how long that took. Whoever ends a window judges the
    /// limit.
    pub fn release(&self, place: Place, took: Duration, outcome: Outcome, now: Duration) {
        let Place(_) = place;
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        let now = micros(now);
        if outcome == Outcome::Abandoned || now < self.opens.load(Ordering::Relaxed) {
            return;
        }
        if outcome != Outcome::Failed {
            self.times.count(micros(took));
        }
        if outcome != Outcome::Answered {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        let closes = self.closes.load(Ordering::Relaxed);
        if now < closes {
            return;
        }
        let seen = self.times.total() + self.failed.load(Ordering::Relaxed);
        let long_enough = now >= closes.saturating_add(micros(self.rules.window) * PATIENCE);
        if seen < self.rules.answers && !(long_enough && seen >= self.rules.answers / 5) {
            return;
        }
        if self.closes.compare_exchange(closes, u64::MAX, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            self.judge(now);
        }
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        let time = |bits: &AtomicU64| Duration::from_secs_f64(load(bits).max(0.0) / 1e6);
        Standing {
            limit: self.limit.load(Ordering::Relaxed),
            under_way: self.under_way.load(Ordering::Relaxed),
            baseline: time(&self.known.baseline),
            recent: time(&self.known.recent),
        }
    }

    /// Judges the window that ended, and opens the next one.
    fn judge(&self, now: u64) {
        let seen = Window {
            time: self.times.take(),
            peak: self.peak.swap(self.under_way.load(Ordering::Relaxed), Ordering::Relaxed),
            refused: self.refused.swap(0, Ordering::Relaxed) > 0,
            failed: self.failed.swap(0, Ordering::Relaxed),
        };
        let before = load(&self.known.exact);
        let limit = self.next(&seen, before).clamp(f64::from(self.rules.least), f64::from(self.rules.most));
        store(&self.known.exact, limit);
        self.limit.store(limit as u32, Ordering::Relaxed);
        // After a cut those under way are of the time before it, and take as long as then.
        let settle = if limit < before * 0.9 { (load(&self.known.recent) * SETTLE).min(MOST_SETTLE) as u64 } else { 0 };
        self.opens.store(now + settle, Ordering::Relaxed);
        self.closes.store(now + settle + micros(self.rules.window), Ordering::Release);
    }

    /// The limit after a window.
    fn next(&self, seen: &Window, limit: f64) -> f64 {
        let known = &self.known;
        let (median, count) = seen.time;
        let failed = f64::from(seen.failed) / f64::from((count + seen.failed).max(1));
        let used = seen.refused || f64::from(seen.peak) >= limit / 2.0;
        if count < self.rules.answers / 5 {
            return if used && failed > FEW_FAIL { limit * (1.0 - failed.min(MOST_CUT)) } else { limit };
        }
        store(&known.recent, median);
        let mut baseline = load(&known.baseline);
        if baseline <= 0.0 {
            baseline = median;
        }
        let before = baseline;
        // Faster is always believed, in part; slower only if it is not our doing.
        let faster = median < baseline;
        let believed = if faster {
            0.2
        } else if used {
            0.0
        } else {
            0.05
        };
        baseline += believed * (median - baseline);

        let trying = known.trying.swap(0, Ordering::Relaxed) == 1;
        let (from_limit, from_time) = (load(&known.from_limit), load(&known.from_time));
        let mut unseen = known.unseen.load(Ordering::Relaxed).saturating_add(1);
        let mut back = limit;
        let mut again = false;
        if trying {
            back = from_limit;
            unseen = 0;
            if median > from_time * NO_FASTER {
                baseline = baseline.max(median.min(baseline * MOST_SLOWER));
                if median > baseline * SEEN {
                    unseen = self.rules.try_after.saturating_sub(AGAIN);
                }
            } else if median < before * FASTER && limit > f64::from(self.rules.least) {
                // There was a queue even in what counted as the baseline.
                baseline = median;
                again = true;
            } else {
                back = from_limit * 0.9;
            }
        } else if unseen == u32::MAX {
            // It was never tried.
        } else if median < baseline * SEEN {
            unseen = 0;
        } else if from_limit > 0.0 && limit <= from_limit * 0.6 {
            // Fewer, and not as fast: is it slower for good?
            unseen = self.rules.try_after;
        }
        store(&known.baseline, baseline);
        known.unseen.store(unseen, Ordering::Relaxed);
        if !used {
            return limit;
        }
        if trying && !again {
            store(&known.from_limit, 0.0);
            return back;
        }
        if again || unseen >= self.rules.try_after {
            known.trying.store(1, Ordering::Relaxed);
            self.watch(limit, median);
            return limit * 0.5;
        }
        let room = self.rules.tolerance * baseline / median.max(1.0);
        if failed > FEW_FAIL || room < 1.0 {
            if load(&known.from_limit) <= 0.0 {
                self.watch(limit, median);
            }
            let cut = (1.0 - room).max(failed).clamp(0.0, MOST_CUT);
            return limit * (1.0 - cut);
        }
        // All of the step where nothing waits, and less the nearer it is to what is tolerated, so that it comes to rest
        // there.
        if limit > from_limit {
            store(&known.from_limit, 0.0);
        }
        let step = limit.sqrt().max(limit * 0.3) * ((room - 1.0) / (self.rules.tolerance - 1.0)).min(1.0);
        limit + step
    }

    fn watch(&self, limit: f64, time: f64) {
        store(&self.known.from_limit, limit);
        store(&self.known.from_time, time);
    }
}

/// What a window saw.
#[derive(Debug)]
struct Window {
    /// The median, in microseconds, and of how many.
    time: (f64, u32),
    peak: u32,
    refused: bool,
    failed: u32,
}

fn load(bits: &AtomicU64) -> f64 {
    f64::from_bits(bits.load(Ordering::Relaxed))
}

fn store(bits: &AtomicU64, value: f64) {
    bits.store(value.to_bits(), Ordering::Relaxed);
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// For how many more windows enough answers are waited for.
/// How much of the limit a class may use: each leaves room for those above it.
fn percent(class: Class) -> u64 {
    match class {
        Class::Emergency => 100,
        Class::Interactive => 90,
        Class::Batch => 70,
    }
}

const PATIENCE: u64 = 5;
/// Failures of so small a share are no reason to ask less.
const FEW_FAIL: f64 = 0.05;
/// The largest part that is taken from the limit at once.
const MOST_CUT: f64 = 0.4;
/// How many times a request's time it takes until those of before are gone, and the most, in microseconds.
const SETTLE: f64 = 2.0;
const MOST_SETTLE: f64 = 2e6;
/// It became no faster when it takes more than so much of what it took before with nearly twice as many.
const NO_FASTER: f64 = 0.85;
/// The baseline was wrong when a try takes less than so much of it.
const FASTER: f64 = 0.85;
/// How many times as slow the baseline may become in one try: others may press on the register as well. So many windows
/// later it is tried again, if that was not enough.
const MOST_SLOWER: f64 = 2.0;
const AGAIN: u32 = 5;
/// So near to the baseline it is seen.
const SEEN: f64 = 1.15;
