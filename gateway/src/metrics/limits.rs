//! What limits refuse, and what those would that only warn.

use prometheus::{IntCounterVec, IntGauge, Registry, Result};

use super::{counters, gauge};

/// `popgate_limits_reached_total{limit, effect}`, `popgate_harvest_*`.
#[derive(Debug, Clone)]
pub struct LimitMetrics {
    reached: IntCounterVec,
    trips: IntCounterVec,
    /// Parties that the harvest guard remembers.
    pub parties: IntGauge,
    /// Of those, the ones that are tripped, or near.
    pub tripped: IntGauge,
    /// The bytes that they take.
    pub bytes: IntGauge,
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
            parties: gauge(r, "popgate_harvest_parties", "Systems and agencies that the harvest guard remembers.")?,
            tripped: gauge(r, "popgate_harvest_tripped", "Of these, the ones that are tripped, or near.")?,
            bytes: gauge(r, "popgate_harvest_bytes", "The memory that the harvest guard takes.")?,
        })
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
