//! Whether a target is trusted with requests: ejected by what becomes of requests, or by checks that ask for it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::window::Window;

/// When a target is ejected, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// So many requests failed one after the other; 0: that is no reason.
    pub consecutive: u32,
    /// So many of 100 requests of the last ten seconds failed; 0: that is no reason.
    pub failure_percent: u32,
    /// Of that many at least.
    pub least_requests: u32,
    /// How long it is ejected the first time; the second time twice as long, and so on.
    pub eject_for: Duration,
    /// How long at most.
    pub most_for: Duration,
    /// How many of 100 targets may be ejected at once.
    pub most_ejected_percent: u32,
    /// How long a target that is back, or new, gets fewer requests than others.
    pub slow_start: Duration,
}

/// Why a target is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// [`Rules::consecutive`].
    Consecutive,
    /// [`Rules::failure_percent`].
    FailureShare,
    /// Its trial failed.
    Trial,
}

impl Cause {
    /// For metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consecutive => "consecutive",
            Self::FailureShare => "failure_share",
            Self::Trial => "trial",
        }
    }
}

/// How a target stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It gets requests.
    In,
    /// Its ejection is over; one request finds out whether it is well.
    Due,
    /// It is ejected.
    Ejected,
    /// Checks say that it is not well.
    Unhealthy,
}

impl Standing {
    /// As operators read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Due => "due",
            Self::Ejected => "ejected",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What is known of a target's health. Nothing here takes a lock.
#[derive(Debug)]
pub(super) struct Health {
    origin: Instant,
    consecutive: AtomicU32,
    /// What was answered, and what was not.
    window: Window,
    /// Milliseconds after `origin` at which the ejection is over; 0 if it is not ejected.
    until: AtomicU64,
    /// Ejections one after the other.
    times: AtomicU32,
    /// Whether a request finds out.
    on_trial: AtomicBool,
    /// Milliseconds after `origin` since which it gets requests.
    since: AtomicU64,
    /// Milliseconds after `origin` since which an ejection may be forgotten.
    calm: AtomicU64,
    unhealthy: AtomicBool,
    /// Checks one after the other that say the contrary.
    contrary: AtomicU32,
}

impl Health {
    /// Well until the contrary shows. A target that was there from the start needs no slow start.
    pub(super) fn new(origin: Instant, now: Instant, slowly: Option<Duration>) -> Self {
        let health = Self {
            origin,
            consecutive: AtomicU32::new(0),
            window: Window::new(origin),
            until: AtomicU64::new(0),
            times: AtomicU32::new(0),
            on_trial: AtomicBool::new(false),
            since: AtomicU64::new(0),
            calm: AtomicU64::new(0),
            unhealthy: AtomicBool::new(false),
            contrary: AtomicU32::new(0),
        };
        if slowly.is_some() {
            health.since.store(health.millis(now).max(1), Ordering::Relaxed);
        }
        health
    }

    pub(super) fn standing(&self, now: Instant) -> Standing {
        if self.unhealthy.load(Ordering::Relaxed) {
            return Standing::Unhealthy;
        }
        match self.until.load(Ordering::Relaxed) {
            0 => Standing::In,
            until if self.millis(now) < until => Standing::Ejected,
            _ => Standing::Due,
        }
    }

    /// Takes the trial, if nobody else has it. Who takes it MUST tell how it ended.
    pub(super) fn take_trial(&self) -> bool {
        !self.on_trial.swap(true, Ordering::Relaxed)
    }

    /// The trial came to nothing: somebody gave up.
    pub(super) fn leave_trial(&self) {
        self.on_trial.store(false, Ordering::Relaxed);
    }

    /// From 0.1 to 1: how much of its part a target gets that came back not long ago.
    pub(super) fn weight(&self, slow_start: Duration, now: Instant) -> f32 {
        let since = self.since.load(Ordering::Relaxed);
        if since == 0 || slow_start.is_zero() {
            return 1.0;
        }
        let millis = self.millis(now).saturating_sub(since) as f32;
        (millis / slow_start.as_millis() as f32).clamp(0.1, 1.0)
    }

    /// It answered; whether that ended its ejection.
    pub(super) fn answered(&self, on_trial: bool, now: Instant) -> bool {
        if self.consecutive.load(Ordering::Relaxed) != 0 {
            self.consecutive.store(0, Ordering::Relaxed);
        }
        self.window.count(false, now);
        if on_trial {
            self.leave_trial();
        }
        on_trial && self.back(now)
    }

    /// It did not; why it should be ejected, if it should.
    pub(super) fn failed(&self, rules: &Rules, on_trial: bool, now: Instant) -> Option<Cause> {
        if !on_trial && self.until.load(Ordering::Relaxed) != 0 {
            // It was under way when others found out.
            return None;
        }
        let consecutive = self.consecutive.fetch_add(1, Ordering::Relaxed) + 1;
        self.window.count(true, now);
        if on_trial {
            self.leave_trial();
            return Some(Cause::Trial);
        }
        if rules.consecutive != 0 && consecutive >= rules.consecutive {
            return Some(Cause::Consecutive);
        }
        self.fails_often(rules, now).then_some(Cause::FailureShare)
    }

    /// An answer that was counted as good was none: it counts twice, against itself as well. By its share alone, so that one bad record that
    /// somebody asks for again and again ejects nobody who answers others well.
    pub(super) fn blamed(&self, rules: &Rules, now: Instant) -> Option<Cause> {
        if self.until.load(Ordering::Relaxed) != 0 {
            return None;
        }
        self.window.count(true, now);
        self.window.count(true, now);
        self.fails_often(rules, now).then_some(Cause::FailureShare)
    }

    /// Whether such a share of the last requests failed that it should be ejected.
    fn fails_often(&self, rules: &Rules, now: Instant) -> bool {
        let (good, bad) = self.window.counts(now);
        let all = good + bad;
        rules.failure_percent != 0
            && all >= u64::from(rules.least_requests.max(1))
            && bad * 100 >= all * u64::from(rules.failure_percent)
    }

    /// Ejects it, for longer each time.
    pub(super) fn eject(&self, rules: &Rules, now: Instant) {
        let times = self.times.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let pause = rules.eject_for.saturating_mul(times).min(rules.most_for.max(rules.eject_for));
        let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.until.store(self.millis(now).saturating_add(pause).max(1), Ordering::Relaxed);
        self.consecutive.store(0, Ordering::Relaxed);
        self.window.clear();
    }

    /// It gets requests again, few at first.
    fn back(&self, now: Instant) -> bool {
        let was_out = self.until.swap(0, Ordering::Relaxed) != 0;
        if was_out {
            self.since.store(self.millis(now).max(1), Ordering::Relaxed);
            self.calm.store(self.millis(now), Ordering::Relaxed);
        }
        was_out
    }

    /// Forgets an ejection for each `eject_for` that a target did well.
    pub(super) fn forgive(&self, rules: &Rules, now: Instant) {
        let well = self.millis(now).saturating_sub(self.calm.load(Ordering::Relaxed));
        if self.until.load(Ordering::Relaxed) == 0
            && self.times.load(Ordering::Relaxed) != 0
            && u128::from(well) >= rules.eject_for.as_millis()
        {
            self.times.fetch_sub(1, Ordering::Relaxed);
            self.calm.store(self.millis(now), Ordering::Relaxed);
        }
    }

    /// What a check found; whether that changed how it stands. `needed` of them one after the other must say the same.
    pub(super) fn checked(&self, well: bool, needed: u32, now: Instant) -> bool {
        if self.unhealthy.load(Ordering::Relaxed) != well {
            self.contrary.store(0, Ordering::Relaxed);
            return false;
        }
        if self.contrary.fetch_add(1, Ordering::Relaxed) + 1 < needed.max(1) {
            return false;
        }
        self.contrary.store(0, Ordering::Relaxed);
        self.unhealthy.store(!well, Ordering::Relaxed);
        if well {
            // A check is as good as a trial.
            self.back(now);
            self.since.store(self.millis(now).max(1), Ordering::Relaxed);
        }
        true
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.origin).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::forward) fn rules() -> Rules {
        Rules {
            consecutive: 5,
            failure_percent: 50,
            least_requests: 20,
            eject_for: Duration::from_secs(10),
            most_for: Duration::from_secs(300),
            most_ejected_percent: 50,
            slow_start: Duration::from_secs(10),
        }
    }

    fn health() -> (Health, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        (Health::new(start, start, None), move |seconds| start + Duration::from_secs(seconds))
    }

    #[test]
    fn failures_one_after_the_other_eject_and_one_answer_between_them_does_not() {
        let (health, at) = health();
        for n in 0..100 {
            let failed = n % 5 != 0;
            if failed {
                // Four of five: their share would be a reason of its own.
                let only_consecutive = Rules { failure_percent: 0, ..rules() };
                assert_eq!(health.failed(&only_consecutive, false, at(0)), None);
            } else {
                assert!(!health.answered(false, at(0)));
            }
        }
        assert!(!health.answered(false, at(1)));
        for _ in 0..4 {
            assert_eq!(health.failed(&Rules { failure_percent: 0, ..rules() }, false, at(1)), None);
        }
        assert_eq!(health.failed(&Rules { failure_percent: 0, ..rules() }, false, at(1)), Some(Cause::Consecutive));
    }

    #[test]
    fn a_share_of_failures_ejects_once_there_are_enough_to_tell() {
        let (health, at) = health();
        let mut cause = None;
        let mut asked = 0;
        while cause.is_none() {
            health.answered(false, at(3));
            cause = health.failed(&rules(), false, at(3));
            asked += 2;
        }
        assert_eq!((cause, asked), (Some(Cause::FailureShare), 20));
    }

    #[test]
    fn an_ejected_target_is_tried_by_one_and_comes_back_slowly_or_goes_for_longer() {
        let (health, at) = health();
        health.eject(&rules(), at(0));
        assert_eq!(health.standing(at(9)), Standing::Ejected);
        assert!(
            (0..20).all(|_| health.failed(&rules(), false, at(9)).is_none()),
            "what was under way is no second reason"
        );
        assert_eq!(health.standing(at(10)), Standing::Due);
        assert!(health.take_trial() && !health.take_trial(), "one at a time");
        assert_eq!(health.failed(&rules(), true, at(10)), Some(Cause::Trial));
        health.eject(&rules(), at(10));
        assert_eq!(health.standing(at(29)), Standing::Ejected);
        assert_eq!(health.standing(at(30)), Standing::Due);
        assert!(health.take_trial() && health.answered(true, at(30)));
        assert_eq!(health.standing(at(30)), Standing::In);
        let weights = [30, 31, 35, 40, 90].map(|second| health.weight(rules().slow_start, at(second)));
        assert_eq!(weights, [0.1, 0.1, 0.5, 1.0, 1.0]);
        // What went well long enough is forgotten.
        health.forgive(&rules(), at(40));
        health.forgive(&rules(), at(50));
        assert_eq!(health.weight(rules().slow_start, at(50)), 1.0);
        health.eject(&rules(), at(60));
        assert_eq!(health.standing(at(70)), Standing::Due, "as the first time");
    }

    #[test]
    fn checks_decide_when_enough_of_them_say_the_same() {
        let (health, at) = health();
        assert!(!health.checked(false, 3, at(0)) && !health.checked(false, 3, at(1)));
        assert!(!health.checked(true, 2, at(2)), "that breaks the row");
        assert!(
            !health.checked(false, 3, at(3)) && !health.checked(false, 3, at(4)) && health.checked(false, 3, at(5))
        );
        assert_eq!(health.standing(at(5)), Standing::Unhealthy);
        assert!(!health.checked(true, 2, at(6)) && health.checked(true, 2, at(7)));
        assert_eq!(health.standing(at(7)), Standing::In);
        assert_eq!(health.weight(rules().slow_start, at(7)), 0.1);
    }
}
