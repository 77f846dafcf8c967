//! What a register is asked at most, by the whole node: requests under way, found by its latency or said by the site, and a rate.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::gradient::{Gradient, Outcome, Place, Rules, Standing};
use crate::admit::overload::Class;
use crate::clock::Clock;

/// `[registers.<id>.limit]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// The most requests under way.
    pub most: u32,
    /// Fewer, if the register answers slower for them; not fewer than this. `None`: never fewer.
    pub least: Option<u32>,
    /// The most requests a second.
    pub per_second: Option<NonZeroU32>,
}

/// The limit of one register, shared by all cores; the same over changes of credentials.
#[derive(Debug)]
pub struct Cap {
    gradient: Gradient,
    rate: Option<RateLimiter<NotKeyed, InMemoryState, Clock, NoOpMiddleware<Instant>>>,
    began: Instant,
    clock: Clock,
}

/// The right to ask the register once. Dropped without [`Turn::end`], it says nothing about the register.
#[derive(Debug)]
pub struct Turn {
    cap: Arc<Cap>,
    place: Option<Place>,
    since: Instant,
}

impl Cap {
    /// A limit of which nothing is used.
    pub fn new(limit: Limit, clock: &Clock) -> Self {
        let least = limit.least.unwrap_or(limit.most).min(limit.most);
        let rules = Rules { least, most: limit.most, first: limit.most.min(FIRST).max(least), ..Rules::default() };
        let rate = limit.per_second.map(|rate| {
            // A tenth of a second's at once: the register is not to be surprised.
            let burst = NonZeroU32::new(rate.get() / 10).unwrap_or(NonZeroU32::MIN);
            RateLimiter::direct_with_clock(Quota::per_second(rate).allow_burst(burst), clock.clone())
        });
        let gradient = Gradient::new(rules, Duration::ZERO);
        Self { gradient, rate, began: clock.now(), clock: clock.clone() }
    }

    /// Takes a turn, if there is one for that class: each leaves room for those above it.
    pub fn enter(self: &Arc<Self>, class: Class) -> Option<Turn> {
        let place = self.gradient.try_acquire(class)?;
        let turn = Turn { cap: Arc::clone(self), place: Some(place), since: self.clock.now() };
        let admitted = self.rate.as_ref().is_none_or(|rate| rate.check().is_ok());
        admitted.then_some(turn)
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        self.gradient.standing()
    }

    fn release(&self, place: Place, since: Instant, outcome: Outcome) {
        let now = self.clock.now();
        let (took, at) = (now.saturating_duration_since(since), now.saturating_duration_since(self.began));
        self.gradient.release(place, took, outcome, at);
    }
}

impl Turn {
    /// The register answered, or did not.
    pub fn end(mut self, outcome: Outcome) {
        if let Some(place) = self.place.take() {
            self.cap.release(place, self.since, outcome);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.cap.release(place, self.since, Outcome::Abandoned);
        }
    }
}

/// Where a limit that is found by latency begins.
const FIRST: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_classes_leave_room_and_what_is_dropped_comes_back() {
        let cap = Arc::new(Cap::new(Limit { most: 10, least: None, per_second: None }, &Clock::system("UTC").unwrap()));
        let batch: Vec<Turn> = std::iter::from_fn(|| cap.enter(Class::Batch)).collect();
        let interactive: Vec<Turn> = std::iter::from_fn(|| cap.enter(Class::Interactive)).collect();
        let emergency: Vec<Turn> = std::iter::from_fn(|| cap.enter(Class::Emergency)).collect();
        assert_eq!([batch.len(), interactive.len(), emergency.len()], [7, 2, 1]);
        drop(batch);
        assert!(cap.enter(Class::Batch).is_some());
        drop((interactive, emergency));
        assert_eq!(cap.standing().under_way, 0);
    }

    #[test]
    fn a_rate_refuses_what_is_over_it_and_leaks_no_place() {
        let rate = NonZeroU32::new(50);
        let cap =
            Arc::new(Cap::new(Limit { most: 100, least: None, per_second: rate }, &Clock::system("UTC").unwrap()));
        let turns = (0..50).filter(|_| cap.enter(Class::Emergency).is_some()).count();
        assert!((5..15).contains(&turns), "{turns}");
        assert_eq!(cap.standing().under_way, 0);
    }
}
