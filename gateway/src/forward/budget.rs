//! What may be spent on second tries: a share of the requests, so that a register that fails is not asked twice as much for it.

use std::time::Instant;

use super::window::{SPAN, Window};

/// A share of the requests of the last ten seconds, and so many a second whatever they are.
#[derive(Debug)]
pub(super) struct Budget {
    percent: u32,
    least_per_second: u32,
    /// Requests, and what was spent.
    spent: Window,
}

impl Budget {
    pub(super) fn new(percent: u32, least_per_second: u32, now: Instant) -> Self {
        Self { percent, least_per_second, spent: Window::new(now) }
    }

    /// A request that came by itself.
    pub(super) fn deposit(&self, now: Instant) {
        self.spent.count(false, now);
    }

    /// Spends one, if there is one.
    pub(super) fn withdraw(&self, now: Instant) -> bool {
        let (requests, spent) = self.spent.counts(now);
        let hundredths = requests * u64::from(self.percent) + u64::from(self.least_per_second) * SPAN.as_secs() * 100;
        let may = (spent + 1) * 100 <= hundredths;
        if may {
            self.spent.count(true, now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_share_of_the_requests_may_be_tried_twice_and_a_few_whatever_they_are() {
        let start = Instant::now();
        let budget = Budget::new(20, 1, start);
        let spent = |now: Instant| (0..1000).filter(|_| budget.withdraw(now)).count();
        assert_eq!(spent(start), 10, "one a second");
        for _ in 0..200 {
            budget.deposit(start);
        }
        assert_eq!(spent(start), 40);
        assert_eq!(spent(start + Duration::from_secs(9)), 0);
        assert_eq!(spent(start + Duration::from_secs(10)), 10);
        assert!(!Budget::new(0, 0, start).withdraw(start));
    }
}
