//! What is known of a register's answers: for how long they are fresh, and whether they are for others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use popgate_caching::mark::Mark;
use popgate_policy::contract::CacheRule;

use super::entry::Terms;
use super::millis;

/// What is known of a register's answers.
#[derive(Debug)]
pub(super) struct Register {
    pub(super) mark: Mark,
    /// This hour or two, and those before.
    seen: [Seen; 2],
    /// When that began, in milliseconds after the cache's origin.
    turned: AtomicU64,
}

/// Of all records that came.
#[derive(Debug)]
struct Seen {
    /// The shortest time that one stayed fresh here by the register's word, in milliseconds; none was seen: the greatest number.
    left: AtomicU64,
    /// The oldest that one was when it came, in milliseconds.
    age: AtomicU64,
    /// Whether one was for nobody else (1).
    unshared: AtomicU64,
}

impl Register {
    /// Nothing is known yet.
    pub(super) fn new(mark: Mark) -> Self {
        Self { mark, seen: [Seen::new(), Seen::new()], turned: AtomicU64::new(0) }
    }

    /// How long after the register was asked "no match" may be answered under that rule without asking it: not for longer than any of
    /// its records would be fresh, or how fast the answer comes would tell whether there is one.
    pub(super) fn no_match(&self, rule: &CacheRule) -> Duration {
        let least = |of: fn(&Seen) -> &AtomicU64| self.seen.iter().map(|seen| of(seen).load(Ordering::Relaxed)).min();
        let most = |of: fn(&Seen) -> &AtomicU64| self.seen.iter().map(|seen| of(seen).load(Ordering::Relaxed)).max();
        let left = least(|seen| &seen.left).filter(|left| *left < u64::MAX).unwrap_or_default();
        let age = most(|seen| &seen.age).unwrap_or_default();
        rule.no_match.min(rule.fresh.saturating_sub(Duration::from_millis(age))).min(Duration::from_millis(left))
    }

    /// Whether all records were for others, too: what is not known about anybody is then as well.
    pub(super) fn shares(&self) -> bool {
        self.seen.iter().all(|seen| seen.unshared.load(Ordering::Relaxed) == 0)
    }

    /// A record came, and is kept on those terms, or is not.
    pub(super) fn saw(&self, kept: Option<&Terms>, shared: bool, now: u64) {
        let [this, last] = &self.seen;
        let turned = self.turned.load(Ordering::Relaxed);
        if now.saturating_sub(turned) > WINDOW
            && self.turned.compare_exchange(turned, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            last.left.store(this.left.swap(u64::MAX, Ordering::Relaxed), Ordering::Relaxed);
            last.age.store(this.age.swap(0, Ordering::Relaxed), Ordering::Relaxed);
            last.unshared.store(this.unshared.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
        let age = kept.map(Terms::age_at_arrival).unwrap_or_default();
        let left = kept.map(|terms| terms.fresh_by_register().saturating_sub(age)).unwrap_or_default();
        this.left.fetch_min(millis(left), Ordering::Relaxed);
        this.age.fetch_max(millis(age), Ordering::Relaxed);
        this.unshared.fetch_max(u64::from(!shared), Ordering::Relaxed);
    }
}

impl Seen {
    fn new() -> Self {
        Self { left: AtomicU64::new(u64::MAX), age: AtomicU64::new(0), unshared: AtomicU64::new(0) }
    }
}

/// In milliseconds: what was seen is remembered for once to twice as long.
const WINDOW: u64 = 3_600_000;
