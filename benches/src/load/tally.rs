//! What became of requests, counted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use http::StatusCode;
use serde_json::{Value, json};

use crate::Failure;

/// What became of the requests of one agent, or of several.
#[derive(Clone, Debug)]
pub struct Figures {
    /// How many were due.
    pub offered: u64,
    /// Answered with 2xx.
    pub ok: u64,
    /// Answered with 429 or 503.
    pub refused: u64,
    /// Answered with another status, or not at all because the connection broke.
    pub failed: u64,
    /// Not answered in full within the agent's patience, whether they were sent or still waited for a connection.
    pub timed_out: u64,
    /// Never sent: too many waited already.
    pub dropped: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Bytes of all bodies.
    pub bytes: u64,
    /// Microseconds from due to the last byte, of what was `ok`.
    pub latency: Histogram<u64>,
    /// The same of what was `refused`.
    pub refusals: Histogram<u64>,
    /// By when requests were due, from the begin of counting.
    pub slices: Vec<Slice>,
}

/// What became of the requests that were due in one slice of time.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Slice {
    /// How many were due.
    pub offered: u64,
    /// Answered with 2xx.
    pub ok: u64,
    /// Answered with 429 or 503.
    pub refused: u64,
    /// Failed, timed out or dropped.
    pub failed: u64,
    /// Microseconds of the slowest that was `ok`.
    pub worst: u64,
}

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Answered(StatusCode, u64),
    Broken,
    TimedOut,
    Dropped,
}

/// Which requests count, and in which slice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) from: Instant,
    pub(super) to: Instant,
    pub(super) slice: Duration,
}

impl Figures {
    pub(super) fn new(slices: usize) -> Result<Self, Failure> {
        let histogram = micros()?;
        Ok(Self {
            offered: 0,
            ok: 0,
            refused: 0,
            failed: 0,
            timed_out: 0,
            dropped: 0,
            statuses: BTreeMap::new(),
            bytes: 0,
            latency: histogram.clone(),
            refusals: histogram,
            slices: vec![Slice::default(); slices],
        })
    }

    /// Counts a request that was due at `due` and ended at `now`, if it is one that counts.
    pub(super) fn count(&mut self, due: Instant, now: Instant, end: End, window: &Window) {
        if due < window.from || due >= window.to {
            return;
        }
        let micros = u64::try_from(now.saturating_duration_since(due).as_micros()).unwrap_or(LONGEST);
        let at = (due - window.from).as_nanos() / window.slice.as_nanos().max(1);
        let mut nowhere = Slice::default();
        let slice = usize::try_from(at).ok().and_then(|at| self.slices.get_mut(at)).unwrap_or(&mut nowhere);
        self.offered += 1;
        slice.offered += 1;
        if let End::Answered(status, bytes) = end {
            *self.statuses.entry(status.as_u16()).or_default() += 1;
            self.bytes += bytes;
        }
        match end {
            End::Answered(status, _) if status.is_success() => {
                self.ok += 1;
                slice.ok += 1;
                slice.worst = slice.worst.max(micros);
                self.latency.saturating_record(micros);
            }
            End::Answered(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, _) => {
                self.refused += 1;
                slice.refused += 1;
                self.refusals.saturating_record(micros);
            }
            End::Answered(..) | End::Broken => {
                self.failed += 1;
                slice.failed += 1;
            }
            End::TimedOut => {
                self.timed_out += 1;
                slice.failed += 1;
            }
            End::Dropped => {
                self.dropped += 1;
                slice.failed += 1;
            }
        }
    }

    /// Adds those of another agent over the same time.
    pub fn merge(&mut self, other: &Self) {
        self.offered += other.offered;
        self.ok += other.ok;
        self.refused += other.refused;
        self.failed += other.failed;
        self.timed_out += other.timed_out;
        self.dropped += other.dropped;
        self.bytes += other.bytes;
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        // Equal bounds: neither can be refused.
        let _ = self.latency.add(&other.latency);
        let _ = self.refusals.add(&other.refusals);
        if self.slices.len() < other.slices.len() {
            self.slices.resize(other.slices.len(), Slice::default());
        }
        for (slice, other) in self.slices.iter_mut().zip(&other.slices) {
            slice.offered += other.offered;
            slice.ok += other.ok;
            slice.refused += other.refused;
            slice.failed += other.failed;
            slice.worst = slice.worst.max(other.worst);
        }
    }

    /// The latency that this share (0 to 1) of the answered stayed within; zero if none was answered.
    pub fn percentile(&self, share: f64) -> Duration {
        Duration::from_micros(self.latency.value_at_quantile(share))
    }

    /// The share of the offered that was not answered with 2xx; 0 if none was offered.
    pub fn loss(&self) -> f64 {
        if self.offered == 0 { 0.0 } else { 1.0 - self.ok as f64 / self.offered as f64 }
    }

    /// As JSON; rates are over `measure`, latencies in milliseconds.
    pub fn json(&self, measure: Duration) -> Value {
        let seconds = measure.as_secs_f64().max(f64::MIN_POSITIVE);
        let statuses: serde_json::Map<String, Value> =
            self.statuses.iter().map(|(status, count)| (status.to_string(), json!(count))).collect();
        json!({
            "offered": self.offered, "ok": self.ok, "refused": self.refused, "failed": self.failed,
            "timed_out": self.timed_out, "dropped": self.dropped, "statuses": statuses, "bytes": self.bytes,
            "offered_per_second": self.offered as f64 / seconds,
            "goodput": self.ok as f64 / seconds,
            "latency_ms": percentiles(&self.latency), "refusal_ms": percentiles(&self.refusals),
            "slices": self.slices.iter()
                .map(|slice| json!([slice.offered, slice.ok, slice.refused, slice.failed, slice.worst]))
                .collect::<Vec<_>>(),
        })
    }
}

/// Of microseconds. What is longer than its bound counts as that: histograms that grow do not where they saturate.
pub(super) fn micros() -> Result<Histogram<u64>, Failure> {
    Ok(Histogram::new_with_bounds(1, LONGEST, 3)?)
}

fn percentiles(histogram: &Histogram<u64>) -> Value {
    if histogram.is_empty() {
        return Value::Null;
    }
    let at = |share| histogram.value_at_quantile(share) as f64 / 1e3;
    json!({
        "mean": histogram.mean() / 1e3, "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p99_9": at(0.999),
        "max": histogram.max() as f64 / 1e3,
    })
}

/// Two minutes in microseconds: what takes longer counts as that.
const LONGEST: u64 = 120_000_000;
