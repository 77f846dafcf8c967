//! When requests are due: evenly or at random (Poisson), at a rate that may change by steps.

use std::time::Duration;

/// When the requests of an agent are due.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrivals {
    kind: Kind,
    /// From when, in seconds from the begin, how many a second; the first from 0, in order.
    steps: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Constant,
    Poisson,
    Closed,
}

impl Arrivals {
    /// Evenly, `rate` a second.
    pub fn constant(rate: f64) -> Self {
        Self { kind: Kind::Constant, steps: vec![(0.0, rate)] }
    }

    /// At random and independently of each other, `rate` a second on average.
    pub fn poisson(rate: f64) -> Self {
        Self { kind: Kind::Poisson, steps: vec![(0.0, rate)] }
    }

    /// Closed loop: each connection sends its next request when the one before was answered. To find a capacity; its
    /// latencies say nothing about users.
    pub fn closed() -> Self {
        Self { kind: Kind::Closed, steps: Vec::new() }
    }

    /// From `at` after the begin on (warm-up included), `rate` a second. Steps MUST be given in order of time.
    #[must_use]
    pub fn step(mut self, at: Duration, rate: f64) -> Self {
        self.steps.push((at.as_secs_f64(), rate));
        self
    }

    pub(super) fn is_closed(&self) -> bool {
        self.kind == Kind::Closed
    }

    /// The moments, from the begin; the same seed gives the same ones.
    pub(super) fn clock(&self, seed: u64) -> Clock {
        let mut clock =
            Clock { kind: self.kind, steps: self.steps.clone(), at: 0, now: 0.0, dice: Dice(seed), first: true };
        clock.dice.roll();
        clock
    }
}

/// The moments of one agent.
#[derive(Debug)]
pub(super) struct Clock {
    kind: Kind,
    steps: Vec<(f64, f64)>,
    at: usize,
    now: f64,
    dice: Dice,
    first: bool,
}

impl Iterator for Clock {
    type Item = Duration;

    /// A request is due when the rate, summed over time, has grown by one (evenly) or by what the dice say (Poisson).
    fn next(&mut self) -> Option<Duration> {
        let mut wanted = match self.kind {
            Kind::Closed => return None,
            // Agents of the same rate do not march in step.
            Kind::Constant if std::mem::take(&mut self.first) => self.dice.unit(),
            Kind::Constant => 1.0,
            Kind::Poisson => -(1.0 - self.dice.unit()).ln(),
        };
        loop {
            let (_, rate) = *self.steps.get(self.at)?;
            let until = self.steps.get(self.at + 1).map_or(f64::INFINITY, |(from, _)| *from);
            let left = (until - self.now) * rate;
            if rate > 0.0 && wanted <= left {
                self.now += wanted / rate;
                return Duration::try_from_secs_f64(self.now).ok();
            }
            if until.is_infinite() {
                return None;
            }
            wanted -= left.max(0.0);
            self.now = until.max(self.now);
            self.at += 1;
        }
    }
}

/// SplitMix64 (Steele et al. 2014).
#[derive(Clone, Copy, Debug)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    fn unit(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_in(arrivals: &Arrivals, from: f64, to: f64) -> usize {
        let seconds = arrivals.clock(7).map(|due| due.as_secs_f64());
        seconds.skip_while(|due| *due < from).take_while(|due| *due < to).count()
    }

    #[test]
    fn constant_arrivals_come_evenly() {
        let due: Vec<f64> = Arrivals::constant(50.0).clock(3).take(100).map(|due| due.as_secs_f64()).collect();
        assert!(due[0] < 0.02);
        assert!(due.windows(2).all(|pair| (pair[1] - pair[0] - 0.02).abs() < 1e-6));
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_spread_of_an_exponential() {
        let due: Vec<f64> = Arrivals::poisson(200.0).clock(1).take(50_000).map(|due| due.as_secs_f64()).collect();
        let gaps: Vec<f64> = due.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean * 200.0 - 1.0).abs() < 0.02, "{mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.03, "{variance}");
    }

    #[test]
    fn steps_change_the_rate_and_none_is_due_at_rate_nought() {
        let second = Duration::from_secs;
        let arrivals = Arrivals::constant(100.0).step(second(2), 0.0).step(second(4), 1000.0).step(second(5), 0.0);
        assert!((199..=201).contains(&due_in(&arrivals, 0.0, 2.0)));
        assert_eq!(due_in(&arrivals, 2.01, 4.0), 0);
        assert!((999..=1001).contains(&due_in(&arrivals, 4.0, 5.0)));
        assert_eq!(arrivals.clock(7).filter(|due| due.as_secs_f64() > 5.0).count(), 0);
    }

    #[test]
    fn a_seed_gives_the_same_moments_again() {
        let of = |seed| Arrivals::poisson(10.0).clock(seed).take(20).collect::<Vec<_>>();
        assert_eq!(of(5), of(5));
        assert_ne!(of(5), of(6));
    }
}
