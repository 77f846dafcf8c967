//! How busy a target is, and how fast it answers: what choosing between two compares.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Requests in flight, and the latency as a peak-sensitive moving average: a slow answer counts at once, fast ones by and by.
#[derive(Debug)]
pub(super) struct Load {
    origin: Instant,
    in_flight: AtomicU32,
    /// Microseconds as `f32` (upper half), seen so many milliseconds after `origin` (lower half, wrapping).
    latency: AtomicU64,
}

impl Load {
    pub(super) fn new(origin: Instant) -> Self {
        Self { origin, in_flight: AtomicU32::new(0), latency: AtomicU64::new(0) }
    }

    pub(super) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Takes an answer into account.
    pub(super) fn observe(&self, took: Duration, now: Instant) {
        let took = took.as_secs_f32() * 1e6;
        let now = self.stamp(now);
        let _ = self.latency.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |before| {
            let (known, share) = (of(before), decay(before, now));
            let latency = if took >= known { took } else { known * share + took * (1.0 - share) };
            Some((u64::from(latency.to_bits()) << 32) | u64::from(now))
        });
    }

    /// Nothing is known of its latency any more.
    pub(super) fn forget(&self) {
        self.latency.store(0, Ordering::Relaxed);
    }

    /// The latency as it is believed now: what was slow once is asked again some day.
    pub(super) fn latency(&self, now: Instant) -> Duration {
        let known = self.latency.load(Ordering::Relaxed);
        Duration::from_secs_f32(of(known) * decay(known, self.stamp(now)) / 1e6)
    }

    /// What one more request would cost it, in no unit: the latency, once for each that is in flight.
    pub(super) fn cost(&self, now: Instant) -> f32 {
        let latency = (self.latency(now).as_secs_f32() * 1e6).max(LEAST);
        latency * (self.in_flight() as f32 + 1.0)
    }

    fn stamp(&self, now: Instant) -> u32 {
        let millis = now.saturating_duration_since(self.origin).as_millis();
        u32::try_from(millis & u128::from(u32::MAX)).unwrap_or_default()
    }
}

fn of(latency: u64) -> f32 {
    f32::from_bits(u32::try_from(latency >> 32).unwrap_or_default())
}

/// How much of what was known then still counts.
fn decay(latency: u64, now: u32) -> f32 {
    let then = u32::try_from(latency & u64::from(u32::MAX)).unwrap_or_default();
    let age = now.wrapping_sub(then);
    // Two cores may see the clock in another order.
    let age = if age > u32::MAX / 2 { 0 } else { age };
    (-(age as f32) / TAU_MILLIS).exp()
}

/// After that long a latency counts for 37 % (1/e).
const TAU_MILLIS: f32 = 5_000.0;
/// Microseconds below which latencies are no difference.
const LEAST: f32 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_answer_counts_at_once_and_is_forgotten_by_and_by() {
        let start = Instant::now();
        let load = Load::new(start);
        let at = |millis: u64| start + Duration::from_millis(millis);
        load.observe(Duration::from_millis(2), at(0));
        load.observe(Duration::from_millis(100), at(10));
        let millis = |now| load.latency(now).as_secs_f32() * 1e3;
        assert!((99.0..=101.0).contains(&millis(at(10))));
        load.observe(Duration::from_millis(2), at(1010));
        assert!((75.0..85.0).contains(&millis(at(1010))), "{}", millis(at(1010)));
        for n in 0..100 {
            load.observe(Duration::from_millis(2), at(1010 + n * 1000));
        }
        assert!(millis(at(101_000)) < 3.0);
        assert!(load.latency(at(400_000)) < Duration::from_micros(1));
        let idle = load.cost(at(400_000));
        load.begin();
        assert!((load.cost(at(400_000)) / idle - 2.0).abs() < 0.01);
        load.end();
        assert_eq!(load.in_flight(), 0);
    }
}
