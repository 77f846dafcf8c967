//! How much one network may ask, and how many networks are remembered.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::clock::Clock;

/// A network that is limited as one: who has one address of it most often has the others, too.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Network {
    /// A /24.
    V4([u8; 3]),
    /// A /56.
    V6([u8; 7]),
}

impl Network {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g])
            }
        }
    }
}

/// The limits of the listener.
#[derive(Debug)]
pub(super) struct Limits {
    rates: RateLimiter<Network, HashMapStateStore<Network>, Clock, NoOpMiddleware<Instant>>,
    /// Connections now open, by network.
    open: Mutex<HashMap<Network, usize>>,
}

/// The right to have a connection open.
#[derive(Debug)]
pub(super) struct Seat {
    limits: Arc<Limits>,
    network: Network,
}

impl Limits {
    pub(super) fn new(clock: Clock) -> Self {
        let quota = Quota::per_second(PER_SECOND).allow_burst(BURST);
        Self { rates: RateLimiter::hashmap_with_clock(quota, clock), open: Mutex::default() }
    }

    /// Takes a token. Of more networks than can be remembered, new ones are refused until others have been quiet for a while.
    pub(super) fn admits(&self, network: Network) -> bool {
        if self.rates.len() >= NETWORKS_MOST {
            self.rates.retain_recent();
            self.rates.shrink_to_fit();
            if self.rates.len() >= NETWORKS_MOST {
                return false;
            }
        }
        self.rates.check_key(&network).is_ok()
    }

    /// A seat, if there is one for that network, and one at all.
    pub(super) fn seat(self: &Arc<Self>, network: Network) -> Option<Seat> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.values().sum::<usize>() >= CONNECTIONS_MOST || open.get(&network) >= Some(&CONNECTIONS_OF_ONE) {
            return None;
        }
        *open.entry(network).or_default() += 1;
        Some(Seat { limits: Arc::clone(self), network })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.limits.open.lock().unwrap_or_else(PoisonError::into_inner);
        let left = open.get_mut(&self.network).map(|count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == Some(0) {
            open.remove(&self.network);
        }
    }
}

/// A handshake costs a token, and so does each request.
const PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);
const BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(59);
const NETWORKS_MOST: usize = 4096;
const CONNECTIONS_MOST: usize = 64;
const CONNECTIONS_OF_ONE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Arc<Limits> {
        Arc::new(Limits::new(Clock::system("UTC").unwrap()))
    }

    fn network(n: u16) -> Network {
        let [a, b] = n.to_be_bytes();
        Network::of(IpAddr::from([10, a, b, 1]))
    }

    #[test]
    fn addresses_of_one_network_share_its_limit() {
        let of = |text: &str| Network::of(text.parse().unwrap());
        assert_eq!(of("10.1.2.3"), of("::ffff:10.1.2.250"));
        assert_ne!(of("10.1.2.3"), of("10.1.3.3"));
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:ff::1"));
        assert_ne!(of("2001:db8:0:100::1"), of("2001:db8:0:1::1"));
    }

    #[test]
    fn a_network_that_asked_too_much_waits_and_others_do_not() {
        let limits = limits();
        let taken = (0..200).filter(|_| limits.admits(network(1))).count();
        assert!((60..70).contains(&taken), "{taken}");
        assert!(limits.admits(network(2)));
    }

    #[test]
    fn no_more_networks_are_remembered_than_there_is_room_for() {
        let limits = limits();
        let taken = (0..5000).filter(|n| limits.admits(network(*n))).count();
        assert!(limits.rates.len() <= NETWORKS_MOST, "{}", limits.rates.len());
        assert!(taken >= NETWORKS_MOST, "{taken}");
    }

    #[test]
    fn seats_are_few_fewer_for_one_and_come_back() {
        let limits = limits();
        let of_one: Vec<_> = std::iter::from_fn(|| limits.seat(network(1))).collect();
        assert_eq!(of_one.len(), CONNECTIONS_OF_ONE);
        let others: Vec<_> = (2..500).filter_map(|n| limits.seat(network(n))).collect();
        assert_eq!(others.len(), CONNECTIONS_MOST - CONNECTIONS_OF_ONE);
        drop(others);
        assert!(limits.seat(network(1)).is_none());
        drop(of_one);
        assert!(limits.seat(network(1)).is_some());
        assert_eq!(limits.open.lock().unwrap().len(), 0);
    }
}
