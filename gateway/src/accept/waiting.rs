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
    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Lets somebody wait. Where too many do, the first of the longest row is let go: it has most likely gone already.
    pub(super) fn push(&mut self, network: Network, now: Instant, arrival: T) {
        let row = self.rows.entry(network).or_default();
        if row.is_empty() {
            self.turns.push_back(network);
        }
        row.push_back((now, arrival));
        self.count += 1;
        let full = if row.len() > MOST_OF_ONE { Some(row) } else { None };
        let longest = |rows: &mut HashMap<Network, VecDeque<_>>| {
            rows.iter().max_by_key(|(_, row)| row.len()).map(|(network, _)| *network)
        };
        let full = match full {
            None if self.count > MOST => longest(&mut self.rows).and_then(|longest| self.rows.get_mut(&longest)),
            full => full,
        };
        if full.and_then(VecDeque::pop_front).is_some() {
            self.count = self.count.saturating_sub(1);
            self.gone += 1;
        }
    }

    /// Lets those go who waited for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        for row in self.rows.values_mut() {
            while row.pop_front_if(|(since, _)| now.saturating_duration_since(*since) > LONGEST).is_some() {
                self.count = self.count.saturating_sub(1);
                self.gone += 1;
            }
        }
    }

    /// The next one, if anybody waits. Who waited for too long is let go.
    pub(super) fn pop(&mut self, now: Instant) -> Option<T> {
        self.expire(now);
        while let Some(network) = self.turns.pop_front() {
            let Some(row) = self.rows.get_mut(&network) else { continue };
            let next = row.pop_front();
            if row.is_empty() {
                self.rows.remove(&network);
            } else {
                self.turns.push_back(network);
            }
            if let Some((_, arrival)) = next {
                self.count = self.count.saturating_sub(1);
                return Some(arrival);
            }
        }
        None
    }

    /// How many wait.
    pub(super) fn len(&self) -> u64 {
        self.count as u64
    }

    /// How many were let go since this was asked last.
    pub(super) fn take_gone(&mut self) -> u64 {
        std::mem::take(&mut self.gone)
    }
}

/// Each is an open socket.
const MOST: usize = 1_024;
const MOST_OF_ONE: usize = 128;
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
        assert!(waiting.is_empty());
        // Where all is full, those of the longest row make room.
        for host in 0..=8 {
            let n = if host == 8 { 10 } else { MOST_OF_ONE };
            (0..n).for_each(|n| waiting.push(network(host), now, n));
        }
        assert_eq!((waiting.count, waiting.take_gone()), (MOST, 10));
        waiting.expire(later);
        assert_eq!((waiting.is_empty(), waiting.take_gone()), (true, MOST as u64));
        assert_eq!(waiting.pop(later), None);
    }
}
