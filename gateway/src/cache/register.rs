//! What is known of a register's answers: for how long they are fresh.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use popgate_caching::mark::Mark;

use super::millis;

/// What is known of a register's answers.
#[derive(Debug)]
pub(super) struct Register {
    pub(super) mark: Mark,
    /// The shortest time that a record of it was fresh in the last hours, in milliseconds; none was seen yet: 0.
    freshness: [AtomicU64; 2],
    /// In milliseconds after the cache's origin.
    turned: AtomicU64,
}

impl Register {
    /// Nothing is known yet.
    pub(super) fn new(mark: Mark) -> Self {
        Self { mark, freshness: Default::default(), turned: AtomicU64::new(0) }
    }

    /// The shortest, in milliseconds.
    pub(super) fn freshness(&self) -> u64 {
        let seen = self.freshness.iter().map(|slot| slot.load(Ordering::Relaxed)).filter(|slot| *slot > 0);
        seen.min().unwrap_or_default().saturating_sub(1)
    }

    /// A record came that is fresh for so long.
    pub(super) fn saw(&self, fresh: Duration, now: u64) {
        let [this, last] = &self.freshness;
        let turned = self.turned.load(Ordering::Relaxed);
        if now.saturating_sub(turned) > WINDOW
            && self.turned.compare_exchange(turned, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            last.store(this.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
        // One more, for zero stands for none.
        let fresh = millis(fresh).saturating_add(1);
        let seen = this.load(Ordering::Relaxed);
        if seen == 0 || fresh < seen {
            this.store(fresh, Ordering::Relaxed);
        }
    }
}

/// In milliseconds: how long a register's shortest freshness is remembered, once to twice.
const WINDOW: u64 = 3_600_000;
