//! What happened in the last seconds, counted without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Two counts over the last ten seconds. A second that ends takes what it counted with it ten seconds later.
#[derive(Debug)]
pub(super) struct Window {
    origin: Instant,
    /// Which second it is (16 bits), and what was counted in it (24 bits each).
    seconds: [AtomicU64; SECONDS],
}

impl Window {
    /// Nothing was counted before `origin`.
    pub(super) fn new(origin: Instant) -> Self {
        Self { origin, seconds: Default::default() }
    }

    /// Counts one more of the first, or of the second.
    pub(super) fn count(&self, second_kind: bool, now: Instant) {
        let (at, second) = self.at(now);
        let Some(slot) = self.seconds.get(at) else { return };
        // Counts that are full stay so.
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |before| {
            let before = if before >> 48 == second { before } else { second << 48 };
            let shift = if second_kind { 0 } else { 24 };
            ((before >> shift) & MOST < MOST).then(|| before + (1 << shift))
        });
    }

    /// How many of the first and of the second were counted.
    pub(super) fn counts(&self, now: Instant) -> (u64, u64) {
        let (_, last) = self.at(now);
        let recent = self.seconds.iter().map(|slot| slot.load(Ordering::Relaxed)).filter(|slot| {
            let age = last.wrapping_sub(slot >> 48) & 0xffff;
            age < SECONDS as u64
        });
        recent.fold((0, 0), |(first, second), slot| (first + ((slot >> 24) & MOST), second + (slot & MOST)))
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.seconds.iter().for_each(|slot| slot.store(0, Ordering::Relaxed));
    }

    fn at(&self, now: Instant) -> (usize, u64) {
        let second = now.saturating_duration_since(self.origin).as_secs();
        (usize::try_from(second % SECONDS as u64).unwrap_or_default(), second & 0xffff)
    }
}

const SECONDS: usize = 10;
const MOST: u64 = (1 << 24) - 1;
/// How long something is counted.
pub(super) const SPAN: Duration = Duration::from_secs(SECONDS as u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_ten_seconds_is_forgotten() {
        let start = Instant::now();
        let window = Window::new(start);
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(window.counts(at(0)), (0, 0));
        window.count(false, at(0));
        window.count(true, at(4));
        window.count(true, at(4));
        assert_eq!(window.counts(at(4)), (1, 2));
        assert_eq!(window.counts(at(9)), (1, 2));
        assert_eq!(window.counts(at(10)), (0, 2));
        window.count(false, at(14));
        assert_eq!(window.counts(at(14)), (1, 0), "the second of then is the second of now");
        window.count(false, at(80_000));
        assert_eq!(window.counts(at(80_000)), (1, 0));
        window.clear();
        assert_eq!(window.counts(at(80_000)), (0, 0));
    }
}
