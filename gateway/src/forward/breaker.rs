//! The circuit breaker of a register: where nearly everything fails nobody waits for it any more, but a few who find out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::window::Window;

/// When a register counts as broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// So many of 100 requests of the last ten seconds failed; 0: never.
    pub failure_percent: u32,
    /// Of that many at least.
    pub least_requests: u32,
    /// How long nobody asks it then, before one does who finds out.
    pub open_for: Duration,
}

/// Whether requests may go on.
#[derive(Debug)]
pub(super) struct Breaker {
    rules: Rules,
    origin: Instant,
    /// What was answered, and what was not.
    window: Window,
    /// Milliseconds after `origin` at which the next one may find out; 0 while all may.
    next: AtomicU64,
    /// How many of those who found out were answered, one after the other.
    well: AtomicU64,
}

/// What a request may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Go on.
    Closed,
    /// Go on, and find out for the others.
    Trial,
    /// Nobody waits for this register now.
    Open,
}

impl Breaker {
    pub(super) fn new(rules: Rules, now: Instant) -> Self {
        Self { rules, origin: now, window: Window::new(now), next: AtomicU64::new(0), well: AtomicU64::new(0) }
    }

    /// Whether a request may go on.
    pub(super) fn way(&self, now: Instant) -> Way {
        let next = self.next.load(Ordering::Relaxed);
        if next == 0 {
            return Way::Closed;
        }
        let now = self.millis(now);
        if now < next {
            return Way::Open;
        }
        // The next one finds out a little later, whatever becomes of this one.
        let later = now + u64::try_from(BETWEEN.as_millis()).unwrap_or(u64::MAX);
        match self.next.compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Way::Trial,
            Err(_) => Way::Open,
        }
    }

    /// Whether nobody is let through but those who find out.
    pub(super) fn is_open(&self) -> bool {
        self.next.load(Ordering::Relaxed) != 0
    }

    /// A register answered, or not; whether that opened or closed the breaker.
    pub(super) fn ended(&self, well: bool, now: Instant) -> Option<Way> {
        if self.is_open() {
            if !well {
                self.well.store(0, Ordering::Relaxed);
                let next = self.millis(now) + self.pause();
                self.next.store(next.max(1), Ordering::Relaxed);
                return None;
            }
            if self.well.fetch_add(1, Ordering::Relaxed) + 1 < ENOUGH {
                return None;
            }
            self.window.clear();
            self.well.store(0, Ordering::Relaxed);
            return (self.next.swap(0, Ordering::Relaxed) != 0).then_some(Way::Closed);
        }
        self.window.count(!well, now);
        if well || self.rules.failure_percent == 0 {
            return None;
        }
        let (good, bad) = self.window.counts(now);
        let all = good + bad;
        let breaks = all >= u64::from(self.rules.least_requests.max(1))
            && bad * 100 >= all * u64::from(self.rules.failure_percent);
        if !breaks {
            return None;
        }
        let next = (self.millis(now) + self.pause()).max(1);
        let opened = self.next.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        opened.then_some(Way::Open)
    }

    fn pause(&self) -> u64 {
        u64::try_from(self.rules.open_for.as_millis()).unwrap_or(u64::MAX)
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.origin).as_millis()).unwrap_or(u64::MAX)
    }
}

/// Between two who find out.
const BETWEEN: Duration = Duration::from_millis(200);
/// How many of them must be answered, one after the other.
const ENOUGH: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules { failure_percent: 80, least_requests: 20, open_for: Duration::from_secs(5) }
    }

    #[test]
    fn it_opens_when_nearly_everything_fails_and_closes_when_those_who_find_out_are_answered() {
        let start = Instant::now();
        let breaker = Breaker::new(rules(), start);
        let at = |millis: u64| start + Duration::from_millis(millis);
        for n in 0..19 {
            assert_eq!(breaker.ended(false, at(n)), None);
        }
        assert_eq!(breaker.way(at(19)), Way::Closed, "too few to tell");
        assert_eq!(breaker.ended(false, at(20)), Some(Way::Open));
        assert_eq!(breaker.ended(false, at(21)), None, "that was under way");
        assert_eq!(breaker.way(at(5000)), Way::Open);
        assert_eq!(breaker.way(at(5021)), Way::Trial);
        assert_eq!(breaker.way(at(5022)), Way::Open, "one at a time");
        assert_eq!(breaker.ended(false, at(5100)), None);
        assert_eq!(breaker.way(at(9000)), Way::Open);
        for n in 0..3 {
            assert_eq!(breaker.way(at(10_100 + n * 200)), Way::Trial);
            let expected = (n == 2).then_some(Way::Closed);
            assert_eq!(breaker.ended(true, at(10_110 + n * 200)), expected);
        }
        assert_eq!(breaker.way(at(11_000)), Way::Closed);
        assert_eq!(breaker.ended(false, at(11_000)), None, "what was before is forgotten");
    }

    #[test]
    fn a_part_that_fails_does_not_open_it() {
        let start = Instant::now();
        let breaker = Breaker::new(rules(), start);
        for n in 0..1000 {
            assert_eq!(breaker.ended(n % 4 == 0, start), None);
        }
        let never = Breaker::new(Rules { failure_percent: 0, ..rules() }, start);
        assert!((0..1000).all(|_| never.ended(false, start).is_none()));
    }
}
