//! Who came and waits to be let in, while handshakes have only a part of the processor time.
//!
//! In one row, the thousands of one agency that connects again and again would stand before everybody else's. Each network has its own
//! row, and the rows take turns.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::networks::Network;

/// The rows.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    rows: HashMap<Network, VecDeque<(Instant, T)>>,
    /// Whose turn it is; each that has a row stands here once.
    turns: VecDeque<Network>,
    count: usize,
    gone: u64,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { rows: HashMap::new(), turns: VecDeque::new(), count: 0, gone: 0 }
    }
}

impl<T> Waiting<T> {
    /// Whether there is room for another.
    pub(super) fn has_room(&self) -> bool {
        self.count < MOST
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Lets somebody wait. In a row that is too long the first is let go: it has most likely gone already.
    pub(super) fn push(&mut self, network: Network, now: Instant, arrival: T) {
        let row = self.rows.entry(network).or_default();
        if row.is_empty() {
            self.turns.push_back(network);
        }
        row.push_back((now, arrival));
        if row.len() > MOST_OF_ONE {
            row.pop_front();
            self.gone += 1;
        } else {
            self.count += 1;
        }
    }

    /// The next one, if anybody waits. Who waited for too long is let go.
    pub(super) fn pop(&mut self, now: Instant) -> Option<T> {
        while let Some(network) = self.turns.pop_front() {
            let Some(row) = self.rows.get_mut(&network) else { continue };
            let mut next = None;
            while next.is_none()
                && let Some((since, arrival)) = row.pop_front()
            {
                self.count = self.count.saturating_sub(1);
                if now.saturating_duration_since(since) <= LONGEST {
                    next = Some(arrival);
                } else {
                    self.gone += 1;
                }
            }
            if row.is_empty() {
                self.rows.remove(&network);
            } else {
                self.turns.push_back(network);
            }
            if next.is_some() {
                return next;
            }
        }
        None
    }

    /// How many were let go since this was asked last.
    pub(super) fn take_gone(&mut self) -> u64 {
        std::mem::take(&mut self.gone)
    }
}

/// Each is an open socket.
const MOST: usize = 4_096;
const MOST_OF_ONE: usize = 256;
/// Clients do not wait longer.
const LONGEST: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::networks::{Networks, Rules};

    fn networks() -> Networks {
        let rules = Rules {
            bits: (32, 64),
            rate: None,
            of_one: usize::MAX,
            of_all: usize::MAX,
            remembered: usize::MAX,
            crowded: true,
        };
        Networks::new(rules, &Clock::system("Asia/Ho_Chi_Minh").unwrap())
    }

    #[test]
    fn networks_take_turns_whoever_has_more_waiting() {
        let (networks, now, mut waiting) = (networks(), Instant::now(), Waiting::default());
        let network = |host: u8| networks.of([10, 0, 0, host].into());
        (0..100).for_each(|n| waiting.push(network(1), now, (1, n)));
        (0..2).for_each(|n| waiting.push(network(2), now, (2, n)));
        let order: Vec<_> = (0..5).filter_map(|_| waiting.pop(now)).collect();
        assert_eq!(order, [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2)]);
        waiting.push(network(3), now, (3, 0));
        let next: Vec<_> = (0..2).filter_map(|_| waiting.pop(now)).collect();
        assert_eq!(next, [(1, 3), (3, 0)]);
    }

    #[test]
    fn a_row_that_is_too_long_and_who_waited_too_long_are_let_go() {
        let (networks, now, mut waiting) = (networks(), Instant::now(), Waiting::default());
        let network = |host: u8| networks.of([10, 0, 0, host].into());
        (0..MOST_OF_ONE + 10).for_each(|n| waiting.push(network(1), now, n));
        assert_eq!(waiting.take_gone(), 10);
        assert_eq!(waiting.pop(now), Some(10));
        let later = now + LONGEST + Duration::from_millis(1);
        waiting.push(network(2), later, 9_999);
        assert_eq!((waiting.pop(later), waiting.pop(later)), (Some(9_999), None));
        assert_eq!(waiting.take_gone(), MOST_OF_ONE as u64 - 1);
        assert!(waiting.is_empty() && waiting.has_room());
        for host in 0..16 {
            (0..MOST_OF_ONE).for_each(|n| waiting.push(network(host), now, n));
        }
        assert!(!waiting.has_room());
    }
}
