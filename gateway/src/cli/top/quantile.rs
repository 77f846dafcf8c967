//! Latencies out of a histogram's buckets.

use std::fmt;

use serde::{Serialize, Serializer};

/// Three quantiles; `None` where nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Latency {
    pub(super) p50: Option<Time>,
    pub(super) p95: Option<Time>,
    pub(super) p99: Option<Time>,
}

/// A time as a histogram knows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Time {
    /// As JSON, only these: Prometheus, too, gives the last bound for whatever is above it.
    pub(super) seconds: f64,
    /// It lies above every bound: it is longer than that.
    pub(super) is_more: bool,
}

impl Latency {
    /// From buckets, by ascending bound (the last is infinite), each with how many measurements are at most that.
    pub(super) fn of(buckets: &[(f64, f64)]) -> Self {
        let at = |share| quantile(buckets, share);
        Self { p50: at(0.5), p95: at(0.95), p99: at(0.99) }
    }
}

impl Time {
    pub(super) fn exactly(seconds: f64) -> Self {
        Self { seconds, is_more: false }
    }
}

/// Three digits and a unit, in at most nine columns.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.is_more { ">" } else { "" };
        let text = match self.seconds {
            seconds if seconds < 0.001 => format!("{more}{:.0} µs", seconds * 1e6),
            seconds if seconds < 0.01 => format!("{more}{:.2} ms", seconds * 1e3),
            seconds if seconds < 0.1 => format!("{more}{:.1} ms", seconds * 1e3),
            seconds if seconds < 1.0 => format!("{more}{:.0} ms", seconds * 1e3),
            seconds if seconds < 10.0 => format!("{more}{seconds:.2} s"),
            seconds => format!("{more}{seconds:.0} s"),
        };
        f.pad(&text)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.seconds.serialize(serializer)
    }
}

/// Within a bucket, as if what is in it were spread evenly: Prometheus reckons so, too.
fn quantile(buckets: &[(f64, f64)], share: f64) -> Option<Time> {
    let total = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
    let wanted = share * total;
    let (mut below, mut counted) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= wanted && *count > counted {
            if bound.is_infinite() {
                return Some(Time { seconds: below, is_more: true });
            }
            return Some(Time::exactly(below + (bound - below) * (wanted - counted) / (count - counted)));
        }
        (below, counted) = (*bound, *count);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_spread_over_their_bucket() {
        let latency = Latency::of(&[(0.001, 50.0), (0.01, 99.0), (f64::INFINITY, 100.0)]);
        assert_eq!(latency.p50, Some(Time::exactly(0.001)));
        assert!((latency.p95.unwrap().seconds - (0.001 + 0.009 * 45.0 / 49.0)).abs() < 1e-9);
        assert!((latency.p99.unwrap().seconds - 0.01).abs() < 1e-9, "{latency:?}");
    }

    #[test]
    fn what_is_above_every_bound_is_said_to_be_more_and_nothing_is_nothing() {
        let latency = Latency::of(&[(0.5, 0.0), (2.5, 0.0), (f64::INFINITY, 4.0)]);
        assert_eq!(latency.p50, Some(Time { seconds: 2.5, is_more: true }));
        assert_eq!(latency.p50.unwrap().to_string(), ">2.50 s");
        assert_eq!(serde_json::to_string(&latency).unwrap(), r#"{"p50":2.5,"p95":2.5,"p99":2.5}"#);
        assert_eq!(Latency::of(&[(0.5, 0.0), (f64::INFINITY, 0.0)]), Latency::default());
        assert_eq!(Latency::of(&[]), Latency::default());
    }

    #[test]
    fn times_have_three_digits() {
        let shown = [0.000_31, 0.001_24, 0.0124, 0.124, 1.24, 12.4].map(|seconds| Time::exactly(seconds).to_string());
        assert_eq!(shown, ["310 µs", "1.24 ms", "12.4 ms", "124 ms", "1.24 s", "12 s"]);
    }
}
