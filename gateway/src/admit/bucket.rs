//! Token buckets: of requests, and of bytes.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use popgate_policy::directory::{Rate, Volume};

use crate::clock::Clock;
use crate::share::{self, Share, SharedRate};

/// What is left of a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Left {
    /// Requests, or bytes.
    pub(super) left: u64,
    /// When it is whole again.
    pub(super) reset: Duration,
}

/// Requests by GCRA: this node's alone, or all nodes' together.
#[derive(Debug)]
pub(super) struct Bucket(Kind);

#[derive(Debug)]
enum Kind {
    Own(Own),
    Shared(Arc<SharedRate>, Clock),
}

#[derive(Debug)]
struct Own {
    limiter: RateLimiter<NotKeyed, InMemoryState, Clock, StateInformationMiddleware>,
    every: Duration,
    burst: NonZeroU32,
}

impl Bucket {
    /// A bucket of that name, the same on all nodes that share it.
    pub(super) fn new(rate: Rate, name: &str, share: Option<&Share>, clock: &Clock) -> Self {
        Self(match share {
            Some(share) => {
                let Rate { count, per, burst } = rate;
                Kind::Shared(share.rate(name, share::Rate { count, per, burst }), clock.clone())
            }
            None => Kind::Own(Own::new(rate, clock)),
        })
    }

    /// Takes a token.
    ///
    /// # Errors
    /// How long it takes until there is one.
    pub(super) fn take(&self) -> Result<Left, Duration> {
        match &self.0 {
            Kind::Own(own) => own.take(),
            Kind::Shared(shared, clock) => match shared.take(1, clock.now()) {
                Ok(left) => Ok(Left { left: left.remaining, reset: left.reset }),
                Err(share::Wait(wait)) => Err(wait),
            },
        }
    }
}

impl Own {
    fn new(rate: Rate, clock: &Clock) -> Self {
        let every = rate.per.checked_div(rate.count.get()).filter(|every| !every.is_zero());
        let every = every.unwrap_or(Duration::from_nanos(1));
        let quota = Quota::with_period(every).unwrap_or_else(|| Quota::per_second(rate.count)).allow_burst(rate.burst);
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone()).with_middleware();
        Self { limiter, every, burst: rate.burst }
    }

    fn take(&self) -> Result<Left, Duration> {
        match self.limiter.check() {
            Ok(state) => {
                let left = state.remaining_burst_capacity();
                let reset = self.every.saturating_mul(self.burst.get().saturating_sub(left));
                Ok(Left { left: left.into(), reset })
            }
            Err(not_until) => Err(not_until.wait_time_from(governor::clock::Clock::now(self.limiter.clock()))),
        }
    }
}

/// Bytes by GCRA. How many an answer has is known when it was given: it is charged then, and whoever is in debt waits.
#[derive(Debug)]
pub(super) struct Bytes {
    volume: Volume,
    base: Instant,
    /// When all of what was charged is paid, in nanoseconds since `base`.
    paid: AtomicU64,
}

impl Bytes {
    pub(super) fn new(volume: Volume, now: Instant) -> Self {
        Self { volume, base: now, paid: AtomicU64::new(0) }
    }

    /// Whether anything more may be asked.
    ///
    /// # Errors
    /// How long it takes until the debt is paid.
    pub(super) fn check(&self, now: Instant) -> Result<Left, Duration> {
        let (now, burst) = (self.nanos(now), self.cost(self.volume.burst.get()));
        let owed = self.paid.load(Ordering::Relaxed).saturating_sub(now);
        if owed > burst {
            return Err(Duration::from_nanos(owed - burst));
        }
        let left = u128::from(burst - owed) * u128::from(self.volume.bytes.get()) / self.volume.per.as_nanos().max(1);
        Ok(Left { left: u64::try_from(left).unwrap_or(u64::MAX), reset: Duration::from_nanos(owed) })
    }

    /// Charges bytes that were received or sent.
    pub(super) fn charge(&self, bytes: u64, now: Instant) {
        let (now, cost) = (self.nanos(now), self.cost(bytes));
        let more = |paid: u64| Some(paid.max(now).saturating_add(cost));
        // It always says what comes next.
        let _ = self.paid.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.base).as_nanos()).unwrap_or(u64::MAX)
    }

    fn cost(&self, bytes: u64) -> u64 {
        let nanos = self.volume.per.as_nanos().saturating_mul(bytes.into()) / u128::from(self.volume.bytes.get());
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    #[test]
    fn bytes_are_charged_when_they_are_known_and_a_debt_is_waited_for() {
        let start = Instant::now();
        let (bytes, burst) = (NonZeroU64::new(1000).unwrap(), NonZeroU64::new(3000).unwrap());
        let meter = Bytes::new(Volume { bytes, per: Duration::from_secs(1), burst }, start);
        assert_eq!(meter.check(start).unwrap(), Left { left: 3000, reset: Duration::ZERO });
        meter.charge(2500, start);
        assert_eq!(meter.check(start).unwrap(), Left { left: 500, reset: Duration::from_millis(2500) });
        // One answer may be larger than what is left: the next waits for it.
        meter.charge(5000, start);
        assert_eq!(meter.check(start), Err(Duration::from_millis(4500)));
        assert!(meter.check(start + Duration::from_millis(4499)).is_err());
        assert_eq!(meter.check(start + Duration::from_millis(4600)).unwrap().left, 100);
        // What was not used does not add up beyond the burst.
        assert_eq!(meter.check(start + Duration::from_secs(3600)).unwrap().left, 3000);
        meter.charge(1000, start + Duration::from_secs(3600));
        assert_eq!(meter.check(start + Duration::from_secs(3600)).unwrap().left, 2000);
    }

    #[test]
    fn what_is_left_of_a_bucket_is_told_with_when_it_is_whole_again() {
        let (count, burst) = (NonZeroU32::new(2).unwrap(), NonZeroU32::new(3).unwrap());
        let rate = Rate { count, per: Duration::from_secs(60), burst };
        let bucket = Bucket::new(rate, "a", None, &Clock::system("UTC").unwrap());
        let left: Vec<u64> = (0..3).map(|_| bucket.take().unwrap().left).collect();
        assert_eq!(left, [2, 1, 0]);
        let wait = bucket.take().unwrap_err();
        assert!(wait > Duration::from_secs(28) && wait <= Duration::from_secs(30), "{wait:?}");
    }
}
