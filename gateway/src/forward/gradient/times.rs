//! How long requests took, counted without a lock: eight counters to each doubling.

use std::sync::atomic::{AtomicU32, Ordering};

/// Counts of times from 16 microseconds to about four and a half minutes; what is shorter or longer counts as that.
#[derive(Debug)]
pub(super) struct Times {
    counts: [AtomicU32; COUNTS],
    total: AtomicU32,
}

impl Default for Times {
    fn default() -> Self {
        Self { counts: [const { AtomicU32::new(0) }; COUNTS], total: AtomicU32::new(0) }
    }
}

impl Times {
    /// Counts one, in microseconds.
    pub(super) fn count(&self, micros: u64) {
        if let Some(count) = self.counts.get(place(micros)) {
            count.fetch_add(1, Ordering::Relaxed);
            self.total.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many were counted.
    pub(super) fn total(&self) -> u32 {
        self.total.load(Ordering::Relaxed)
    }

    /// Their median, in microseconds, and how many they were; and begins anew.
    pub(super) fn take(&self) -> (f64, u32) {
        self.total.store(0, Ordering::Relaxed);
        let counts: [u32; COUNTS] =
            std::array::from_fn(|at| self.counts.get(at).map_or(0, |it| it.swap(0, Ordering::Relaxed)));
        let total: u32 = counts.iter().sum();
        let half = f64::from(total) / 2.0;
        let mut below = 0.0;
        for (at, count) in counts.iter().enumerate() {
            let count = f64::from(*count);
            if count > 0.0 && below + count >= half {
                return (begin(at as f64 + (half - below) / count), total);
            }
            below += count;
        }
        (0.0, total)
    }
}

fn place(micros: u64) -> usize {
    let micros = micros.max(1 << LOWEST);
    let doublings = micros.ilog2();
    // The three bits below the highest one.
    let eighths = (micros >> (doublings - 3)) & 7;
    ((doublings - LOWEST) as usize * 8 + eighths as usize).min(COUNTS - 1)
}

/// Where a place begins, or a point between two places.
fn begin(place: f64) -> f64 {
    let doublings = (place / 8.0).floor();
    (1.0 + place / 8.0 - doublings) * (doublings + f64::from(LOWEST)).exp2()
}

const LOWEST: u32 = 4;
const COUNTS: usize = 24 * 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_right_within_an_eighth_of_a_doubling() {
        let times = Times::default();
        for middle in [20_u64, 100, 1234, 20_000, 3_000_000, 200_000_000] {
            for n in 1..=101 {
                times.count(middle * n / 51);
            }
            let (median, count) = times.take();
            assert_eq!(count, 101);
            assert!((median / middle as f64 - 1.0).abs() < 0.07, "{median} of {middle}");
        }
        assert_eq!(times.take(), (0.0, 0));
        for extreme in [0, u64::MAX] {
            times.count(extreme);
        }
        assert_eq!(times.take().1, 2);
    }
}
