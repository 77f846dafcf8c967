//! The arithmetic of shared limits: what a node may hold, and what its own share is.

use std::num::NonZeroU32;
use std::time::Duration;

/// A token bucket (GCRA) that all nodes share: `count` tokens each `per`, at most `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Tokens per [`Rate::per`].
    pub count: NonZeroU32,
    /// The period.
    pub per: Duration,
    /// The most tokens at once. Less than the number of nodes counts as the number of nodes: each may admit one.
    pub burst: NonZeroU32,
}

impl Rate {
    /// Tokens a microsecond.
    pub(super) fn speed(&self) -> f64 {
        f64::from(self.count.get()) / micros(self.per).max(1.0)
    }

    pub(super) fn burst(&self) -> f64 {
        f64::from(self.burst.get())
    }

    /// The most that one node may hold without asking: half of the burst, split among the nodes.
    pub(super) fn credit(&self, nodes: u32) -> f64 {
        (self.burst() / (2.0 * f64::from(nodes))).floor().max(1.0)
    }

    /// What the shared bucket holds: the burst without what the nodes may hold.
    ///
    /// A node is given tokens only while the level is one or more, and then holds at most its credit beyond what it
    /// settled. So what was really spent never passes the level by more than `nodes * credit - 1`, and in any time `t`
    /// at most `speed * t + capacity + nodes * credit - 1` tokens are spent: the burst.
    pub(super) fn capacity(&self, nodes: u32) -> f64 {
        (self.burst() - f64::from(nodes) * self.credit(nodes) + 1.0).max(1.0)
    }

    /// The most that a node's own share holds while it is alone.
    pub(super) fn own_burst(&self, nodes: u32) -> f64 {
        (self.burst() / f64::from(nodes)).max(1.0)
    }
}

/// A bucket of a node alone. Times are microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    level: f64,
    at: u64,
    /// What the node had spent when the bucket was last charged.
    seen: u64,
    /// Nothing was spent of it yet.
    whole: bool,
}

impl Own {
    /// `whole`: nothing is owed to anybody.
    pub(super) fn new(level: f64, whole: bool, spent: u64, now: u64) -> Self {
        Self { level, at: now, seen: spent, whole }
    }

    /// Lets tokens in and charges what was spent since. Returns what may be spent.
    pub(super) fn turn(&mut self, rate: &Rate, nodes: u32, spent: u64, now: u64) -> f64 {
        let most = rate.own_burst(nodes);
        // Charged first: a token cannot be spent before it came in.
        self.level -= as_tokens(spent.saturating_sub(self.seen));
        self.whole &= spent <= self.seen;
        self.seen = self.seen.max(spent);
        self.level += as_tokens(now.saturating_sub(self.at)) * rate.speed() / f64::from(nodes);
        self.level = self.level.min(most);
        self.at = self.at.max(now);
        self.level
    }

    /// How far it is from full, if anything was spent.
    pub(super) fn lack(&self, rate: &Rate, nodes: u32) -> f64 {
        if self.whole { 0.0 } else { (rate.own_burst(nodes) - self.level).max(0.0) }
    }
}

/// The most of a quota that one node may lease at once: a hundredth of it, split among the nodes; a few of a small one, so that requests that
/// come together find something in hand.
pub(super) fn lease(quota: u64, nodes: u32) -> u64 {
    let nodes = u64::from(nodes).max(1);
    (quota / 100 / nodes).max((quota / (8 * nodes)).min(HELD)).max(1)
}

/// What a node that is asked nothing keeps in hand at most.
pub(super) const HELD: u64 = 16;

pub(super) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Whole microseconds; what does not fit is very long.
pub(super) fn whole_micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Exact up to 2⁵³, as Redis' scripts are.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(super) fn as_tokens(count: u64) -> f64 {
    count as f64
}

/// Whole tokens; nothing of what is below zero.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, which is what is wanted")]
pub(super) fn as_count(tokens: f64) -> u64 {
    tokens.max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(burst: u32) -> Rate {
        Rate {
            count: NonZeroU32::new(1000).unwrap(),
            per: Duration::from_secs(1),
            burst: NonZeroU32::new(burst).unwrap(),
        }
    }

    #[test]
    fn what_is_shared_and_what_nodes_hold_is_the_burst() {
        for nodes in 1..20 {
            for burst in 1..500 {
                let rate = rate(burst);
                let most = rate.capacity(nodes) + f64::from(nodes) * rate.credit(nodes) - 1.0;
                assert!((most - f64::from(burst.max(nodes))).abs() < 1e-9, "{nodes} nodes, {burst}: {most}");
            }
        }
    }

    #[test]
    fn a_bucket_alone_lets_in_its_share() {
        let rate = rate(100);
        let mut own = Own::new(3.0, false, 10, 0);
        assert_eq!(as_count(own.turn(&rate, 4, 13, 10_000)), 2);
        assert_eq!(as_count(own.turn(&rate, 4, 13, 10_000_000)), 25);
        assert_eq!(as_count(own.lack(&rate, 4)), 0);
        assert_eq!(as_count(own.turn(&rate, 4, 33, 10_000_000)), 5);
        assert_eq!(as_count(own.lack(&rate, 4)), 20);
    }
}
