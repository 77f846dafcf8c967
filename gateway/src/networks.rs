//! How much one network may ask of a listener, and how many networks are remembered.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::clock::Clock;

/// What a listener allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// How much of an address makes a network: bits of IPv4, and of IPv6.
    pub(crate) bits: (u8, u8),
    /// Tokens a second, and at once; as many as anybody likes, if not given.
    pub(crate) rate: Option<(NonZeroU32, NonZeroU32)>,
    /// The most connections of one network.
    pub(crate) of_one: usize,
    /// The most connections of all.
    pub(crate) of_all: usize,
    /// Of how many networks the rates are remembered.
    pub(crate) remembered: usize,
    /// Whether other networks are let in while so many are remembered.
    pub(crate) crowded: bool,
}

/// Addresses that are limited as one: who has one of them most often has the others, too.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Network(IpAddr);

/// The limits of a listener.
#[derive(Debug)]
pub(crate) struct Networks {
    rules: Rules,
    rates: Option<RateLimiter<Network, HashMapStateStore<Network>, Clock, NoOpMiddleware<Instant>>>,
    /// Connections now open, by network.
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_network: HashMap<Network, usize>,
}

/// The right to have a connection open.
#[derive(Debug)]
pub(crate) struct Seat {
    networks: Arc<Networks>,
    network: Network,
}

impl Networks {
    pub(crate) fn new(rules: Rules, clock: &Clock) -> Self {
        let rates = rules.rate.map(|(per_second, burst)| {
            RateLimiter::hashmap_with_clock(Quota::per_second(per_second).allow_burst(burst), clock.clone())
        });
        Self { rules, rates, open: Mutex::default() }
    }

    /// The network of an address.
    pub(crate) fn of(&self, address: IpAddr) -> Network {
        let (v4, v6) = self.rules.bits;
        let address = address.to_canonical();
        let bits = if address.is_ipv4() { v4 } else { v6 };
        Network(ipnet::IpNet::new(address, bits).map_or(address, |net| net.network()))
    }

    /// Takes a token. Of more networks than can be remembered, new ones are all refused, or all let in, until others have been quiet for a
    /// while.
    pub(crate) fn admits(&self, network: Network) -> bool {
        let Some(rates) = &self.rates else { return true };
        if rates.len() >= self.rules.remembered {
            rates.retain_recent();
            rates.shrink_to_fit();
            if rates.len() >= self.rules.remembered {
                return self.rules.crowded;
            }
        }
        rates.check_key(&network).is_ok()
    }

    /// A seat, if there is one for that network, and one at all.
    pub(crate) fn seat(self: &Arc<Self>, network: Network) -> Option<Seat> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= self.rules.of_all || open.by_network.get(&network) >= Some(&self.rules.of_one) {
            return None;
        }
        open.all += 1;
        *open.by_network.entry(network).or_default() += 1;
        Some(Seat { networks: Arc::clone(self), network })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.networks.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all = open.all.saturating_sub(1);
        let left = open.by_network.get_mut(&self.network).map(|count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == Some(0) {
            open.by_network.remove(&self.network);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_ONE: usize = 16;
    const OF_ALL: usize = 64;
    const REMEMBERED: usize = 4096;

    fn limits() -> Arc<Networks> {
        let rate = Some((NonZeroU32::new(4).unwrap(), NonZeroU32::new(60).unwrap()));
        let rules =
            Rules { bits: (24, 56), rate, of_one: OF_ONE, of_all: OF_ALL, remembered: REMEMBERED, crowded: false };
        Arc::new(Networks::new(rules, &Clock::system("UTC").unwrap()))
    }

    fn network(n: u16) -> Network {
        let [a, b] = n.to_be_bytes();
        limits().of(IpAddr::from([10, a, b, 1]))
    }

    #[test]
    fn addresses_of_one_network_share_its_limit() {
        let of = |text: &str| limits().of(text.parse().unwrap());
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
        assert!(limits.rates.as_ref().unwrap().len() <= REMEMBERED, "{}", limits.rates.as_ref().unwrap().len());
        assert!(taken >= REMEMBERED, "{taken}");
    }

    #[test]
    fn seats_are_few_fewer_for_one_and_come_back() {
        let limits = limits();
        let of_one: Vec<_> = std::iter::from_fn(|| limits.seat(network(1))).collect();
        assert_eq!(of_one.len(), OF_ONE);
        let others: Vec<_> = (2..500).filter_map(|n| limits.seat(network(n))).collect();
        assert_eq!(others.len(), OF_ALL - OF_ONE);
        drop(others);
        assert!(limits.seat(network(1)).is_none());
        drop(of_one);
        assert!(limits.seat(network(1)).is_some());
        assert_eq!(limits.open.lock().unwrap().by_network.len(), 0);
    }
}
