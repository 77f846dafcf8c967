//! The fault table: what clients see of a proxy while a register behind it fails, popgate beside the proxies of others.

use std::time::Duration;

use crate::faulty::Fault;
use crate::probe::{Seen, Verdict};

mod cases;
mod plot;
mod report;
pub mod stand;

pub use cases::{Case, cases};
pub use plot::plot;
pub use report::{json, table};

/// When the fault begins and ends, since the probe's begin.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Not counted: connections are made, the proxy learns.
    pub warm_up: Duration,
    /// Before the fault.
    pub calm: Duration,
    /// The fault.
    pub fault: Duration,
    /// After it.
    pub after: Duration,
}

impl Schedule {
    /// Of a case whose fault lasts so long, if it does not say otherwise.
    pub fn of(case: &Case, fault: Duration) -> Self {
        let fault = case.lasts.unwrap_or(fault);
        Self { warm_up: Duration::from_secs(3), calm: Duration::from_secs(3), fault, after: case.after }
    }

    /// When the fault begins.
    pub fn begins(&self) -> Duration {
        self.warm_up + self.calm
    }

    /// When it is over.
    pub fn ends(&self) -> Duration {
        self.begins() + self.fault
    }

    /// When the last request is due.
    pub fn whole(&self) -> Duration {
        self.ends() + self.after
    }
}

/// What clients saw in a part of a run, by when requests were due.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// Requests that were due.
    pub due: usize,
    /// Answered rightly.
    pub right: usize,
    /// Passed on as a success, though it is no whole record of the person.
    pub wrong: usize,
    /// Refused, by status.
    pub refused: Vec<(u16, usize)>,
    /// The connection or the answer broke off.
    pub broken: usize,
    /// Nothing whole in the time that a client waits.
    pub late: usize,
    /// Of all requests, whatever became of them.
    pub p50: Duration,
    /// The same.
    pub p99: Duration,
    /// The same.
    pub most: Duration,
    /// Of right answers alone.
    pub right_p99: Duration,
    /// By how much the probe itself was late. With more than a few milliseconds the figures are the machine's.
    pub lag_p99: Duration,
}

/// One run of a case with a proxy.
#[derive(Clone, Debug)]
pub struct Run {
    /// The case's name.
    pub case: &'static str,
    /// The proxy's name.
    pub proxy: &'static str,
    /// Before the fault.
    pub calm: Window,
    /// While it lasts.
    pub fault: Window,
    /// After it.
    pub after: Window,
    /// From the begin of the fault: when the last request was due that was not answered rightly.
    pub last_failure: Option<Duration>,
    /// From the begin of the fault: when the last request was due that took longer than [`SLOW`].
    pub last_slow: Option<Duration>,
    /// How long the fault lasted.
    pub lasted: Duration,
    /// Requests that the register's endpoints had from the begin of the fault to the end of the run, for each of the
    /// clients'.
    pub tries: f64,
}

impl Window {
    /// Of these requests.
    pub fn of<'a>(seen: impl Iterator<Item = &'a Seen> + Clone) -> Self {
        let count = |verdict: Verdict| seen.clone().filter(|it| it.verdict == verdict).count();
        let mut statuses: Vec<u16> = seen
            .clone()
            .filter_map(|it| match it.verdict {
                Verdict::Refused(status) => Some(status),
                _ => None,
            })
            .collect();
        statuses.sort_unstable();
        let refused =
            statuses.chunk_by(|a, b| a == b).filter_map(|same| Some((*same.first()?, same.len()))).collect::<Vec<_>>();
        let all = sorted(seen.clone().map(|it| it.took));
        let right = sorted(seen.clone().filter(|it| it.verdict == Verdict::Right).map(|it| it.took));
        let lag = sorted(seen.clone().map(|it| it.lag));
        Self {
            due: all.len(),
            right: right.len(),
            wrong: count(Verdict::Wrong),
            refused,
            broken: count(Verdict::Broken),
            late: count(Verdict::Late),
            p50: quantile(&all, 0.5),
            p99: quantile(&all, 0.99),
            most: quantile(&all, 1.0),
            right_p99: quantile(&right, 0.99),
            lag_p99: quantile(&lag, 0.99),
        }
    }

    /// Of 100 requests, how many got no answer, and know it.
    pub fn failed_percent(&self) -> f64 {
        percent(self.due - self.right - self.wrong, self.due)
    }

    /// Of 100 requests, how many got a wrong answer, and do not know it.
    pub fn wrong_percent(&self) -> f64 {
        percent(self.wrong, self.due)
    }
}

impl Run {
    /// Of what was seen, and of how many requests the register had since the fault began.
    pub fn of(case: &'static str, proxy: &'static str, schedule: Schedule, seen: &[Seen], asked: u64) -> Self {
        let (begins, ends) = (schedule.begins(), schedule.ends());
        let within = |from: Duration, to: Duration| seen.iter().filter(move |it| it.due >= from && it.due < to);
        let since = || within(begins, schedule.whole());
        let last = |chosen: &dyn Fn(&Seen) -> bool| since().filter(|it| chosen(it)).map(|it| it.due - begins).max();
        Self {
            case,
            proxy,
            calm: Window::of(within(schedule.warm_up, begins)),
            fault: Window::of(within(begins, ends)),
            after: Window::of(within(ends, schedule.whole())),
            last_failure: last(&|it| it.verdict != Verdict::Right),
            last_slow: last(&|it| it.took > SLOW),
            lasted: schedule.fault,
            tries: asked as f64 / since().count().max(1) as f64,
        }
    }

    /// Whether it is not the fault alone that is seen: requests failed before it, or the machine had no time for the
    /// probe.
    pub fn is_disturbed(&self) -> bool {
        let lag = self.calm.lag_p99.max(self.fault.lag_p99).max(self.after.lag_p99);
        self.calm.right * 1000 < self.calm.due * 999 || lag > LAG
    }
}

fn sorted(figures: impl Iterator<Item = Duration>) -> Vec<Duration> {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_unstable();
    figures
}

/// The smallest that so many are not above; zero of none.
fn quantile(sorted: &[Duration], quantile: f64) -> Duration {
    let rank = (sorted.len() as f64 * quantile).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn percent(part: usize, all: usize) -> f64 {
    part as f64 * 100.0 / all.max(1) as f64
}

/// An endpoint of the register, and what it does.
pub type Told = (usize, Fault);

/// An answer that takes longer is slow: twenty times what the register takes.
pub const SLOW: Duration = Duration::from_millis(100);

/// A probe that is later to begin a request measures its own machine.
const LAG: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_cut_by_when_requests_were_due() {
        let schedule = Schedule {
            warm_up: Duration::from_secs(1),
            calm: Duration::from_secs(1),
            fault: Duration::from_secs(1),
            after: Duration::from_secs(1),
        };
        let at = |millis: u64, verdict, took: u64| Seen {
            due: Duration::from_millis(millis),
            took: Duration::from_millis(took),
            lag: Duration::ZERO,
            verdict,
        };
        let seen = [
            at(500, Verdict::Broken, 1),
            at(1500, Verdict::Right, 6),
            at(2000, Verdict::Refused(503), 1),
            at(2500, Verdict::Wrong, 7),
            at(2600, Verdict::Right, 900),
            at(2999, Verdict::Right, 6),
            at(3100, Verdict::Late, 3000),
            at(3900, Verdict::Right, 6),
        ];
        let run = Run::of("case", "proxy", schedule, &seen, 12);
        assert_eq!((run.calm.due, run.fault.due, run.after.due), (1, 4, 2));
        assert_eq!((run.fault.failed_percent(), run.fault.wrong_percent()), (25.0, 25.0));
        assert_eq!(run.fault.refused, [(503, 1)]);
        assert_eq!((run.fault.p50, run.fault.p99), (Duration::from_millis(6), Duration::from_millis(900)));
        assert_eq!(run.last_failure, Some(Duration::from_millis(1100)));
        assert_eq!(run.last_slow, Some(Duration::from_millis(1100)));
        assert_eq!(run.tries, 2.0);
        assert!(!run.is_disturbed());
        let mut late = run.clone();
        late.after.lag_p99 = Duration::from_millis(21);
        assert!(late.is_disturbed());
        let mut ill = run;
        ill.calm.right = 0;
        assert!(ill.is_disturbed());
        assert_eq!(Window::of([].iter()).failed_percent(), 0.0);
    }
}
