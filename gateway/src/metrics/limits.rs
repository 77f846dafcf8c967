//! What limits refuse, and what those would that only warn.

use prometheus::{Gauge, IntCounterVec, IntGauge, Registry, Result};

use super::{counters, float, follow, gauge, whole};
use crate::admit::overload::{Class, Standing};

/// `popgate_limits_reached_total{limit, effect}`, `popgate_harvest_*`.
#[derive(Debug, Clone)]
pub struct LimitMetrics {
    reached: IntCounterVec,
    trips: IntCounterVec,
    shed: IntCounterVec,
    overloaded: IntGauge,
    delay: Gauge,
    capacity: Gauge,
    parties: IntGauge,
    tripped: IntGauge,
    bytes: IntGauge,
}

impl LimitMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self> {
        let help = "Requests that met a limit that was used up: `refused`, or only counted, `soft` and `dry-run`.";
        Ok(Self {
            reached: counters(r, "popgate_limits_reached_total", help, &["limit", "effect"])?,
            trips: counters(
                r,
                "popgate_harvest_trips_total",
                "Rules of the harvest guard that tripped: an alarm. Audit log and log name who.",
                &["rule", "effect"],
            )?,
            shed: counters(
                r,
                "popgate_overload_shed_total",
                "Requests refused because the node had too much to do; in a dry run, those that would have been.",
                &["class"],
            )?,
            overloaded: gauge(r, "popgate_overloaded", "1 while the node has more to do than it can.")?,
            delay: float(r, "popgate_core_delay_seconds", "How long what comes to a core has to wait for it, a mean.")?,
            capacity: float(
                r,
                "popgate_overload_capacity",
                "Requests a second that the node can serve, as measured under overload; 0 if it never was.",
            )?,
            parties: gauge(r, "popgate_harvest_parties", "Systems and agencies that the harvest guard remembers.")?,
            tripped: gauge(r, "popgate_harvest_tripped", "Of these, the ones that are tripped, or near.")?,
            bytes: gauge(r, "popgate_harvest_bytes", "The memory that the harvest guard takes.")?,
        })
    }

    /// Shows how the node stands.
    pub fn show(&self, standing: &Standing) {
        self.overloaded.set(standing.overloaded.into());
        self.delay.set(standing.loops.mean.as_secs_f64());
        self.capacity.set(standing.capacity.round());
        for class in Class::ALL {
            follow(&self.shed.with_label_values(&[class.as_str()]), standing.shed.of(class));
        }
    }

    /// How many parties the harvest guard remembers, the bytes that they take, and how many of them are tripped, or near.
    pub fn watching(&self, parties: u64, bytes: u64, tripped: u64) {
        self.parties.set(whole(parties));
        self.bytes.set(whole(bytes));
        self.tripped.set(whole(tripped));
    }

    /// A rule of the harvest guard tripped.
    pub fn harvest(&self, rule: &str, effect: &str) {
        self.trips.with_label_values(&[rule, effect]).inc();
    }

    /// A request met a limit that was used up.
    pub fn reached(&self, limit: &str, effect: &str) {
        self.reached.with_label_values(&[limit, effect]).inc();
    }
}
