//! What a load found, as a whole and by label.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::tally::micros;
use super::{Figures, Plan, Share};
use crate::Failure;

/// What a load found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Label and figures of each agent.
    pub agents: Vec<(String, Figures)>,
    /// How long was counted.
    pub measure: Duration,
    /// How long a slice is.
    pub slice: Duration,
    /// Microseconds by which the generator itself was late to hand out a request that was due; part of every latency.
    /// With more than a few milliseconds at p99 the generator was the limit, and the figures are its own.
    pub lag: Histogram<u64>,
    /// Figures of nobody, in the shape of the others.
    none: Figures,
}

impl Outcome {
    pub(super) fn new(plan: &Plan) -> Result<Self, Failure> {
        let (measure, slice) = (plan.measure, plan.slice);
        Ok(Self { agents: Vec::new(), measure, slice, lag: micros()?, none: Figures::new(0)? })
    }

    pub(super) fn add(&mut self, share: Share) {
        self.agents.extend(share.agents);
        // Equal bounds: it cannot be refused.
        let _ = self.lag.add(&share.lag);
    }

    /// All agents together.
    pub fn total(&self) -> Figures {
        self.merged(|_| true)
    }

    /// The agents together whose label is chosen.
    pub fn merged(&self, chosen: impl Fn(&str) -> bool) -> Figures {
        let mut chosen = self.agents.iter().filter(|(label, _)| chosen(label)).map(|(_, figures)| figures);
        let mut sum = chosen.next().cloned().unwrap_or_else(|| self.none.clone());
        chosen.for_each(|figures| sum.merge(figures));
        sum
    }

    /// The agents of each label together.
    pub fn by_label(&self) -> BTreeMap<String, Figures> {
        let mut labels: BTreeMap<String, Figures> = BTreeMap::new();
        for (label, figures) in &self.agents {
            match labels.get_mut(label) {
                Some(sum) => sum.merge(figures),
                None => drop(labels.insert(label.clone(), figures.clone())),
            }
        }
        labels
    }

    /// 2xx answers a second, of requests that were due while counting.
    pub fn goodput(&self, figures: &Figures) -> f64 {
        self.per_second(figures.ok)
    }

    /// That many, as a rate over the time that was counted.
    pub fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.measure.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Everything, by label.
    pub fn json(&self) -> Value {
        let labels: serde_json::Map<String, Value> =
            self.by_label().into_iter().map(|(label, figures)| (label, figures.json(self.measure))).collect();
        json!({
            "measured_seconds": self.measure.as_secs_f64(),
            "slice_seconds": self.slice.as_secs_f64(),
            "generator_lag_ms": {
                "p50": self.lag.value_at_quantile(0.5) as f64 / 1e3,
                "p99": self.lag.value_at_quantile(0.99) as f64 / 1e3,
                "max": self.lag.max() as f64 / 1e3,
            },
            "total": self.total().json(self.measure),
            "labels": labels,
        })
    }
}
