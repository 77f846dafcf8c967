//! When to try again what failed: later each time, and no two nodes at the same time.

/// Waits that grow from 50 milliseconds to two seconds, each anywhere between nothing and that.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// How long to wait after a failure, in microseconds.
    pub(crate) fn ill(&mut self, chance: u64) -> u64 {
        let most = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        chance % (most + 1)
    }

    pub(crate) fn well(&mut self) {
        self.failures = 0;
    }
}

/// How long the first call waits after the node had been alone: all nodes come back at the same time.
pub(crate) fn spread(chance: u64) -> u64 {
    chance % SPREAD
}

const FIRST: u64 = 50_000;
const LONGEST: u64 = 2_000_000;
const SPREAD: u64 = 500_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_two_seconds() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..8).map(|_| backoff.ill(u64::MAX / 4 * 3)).collect();
        assert!(waits.iter().zip([50, 100, 200, 400, 800, 1600, 2000, 2000]).all(|(it, most)| *it <= most * 1000));
        backoff.well();
        assert!(backoff.ill(u64::MAX) <= FIRST);
    }
}
