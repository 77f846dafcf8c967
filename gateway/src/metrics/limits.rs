//! What limits refuse, and what those would that only warn.

use prometheus::{IntCounterVec, Registry, Result};

use super::counters;

/// `popgate_limits_reached_total{limit, effect}`.
#[derive(Debug, Clone)]
pub struct LimitMetrics {
    reached: IntCounterVec,
}

impl LimitMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self> {
        let help = "Requests that met a limit that was used up: `refused`, or only counted, `soft` and `dry-run`.";
        Ok(Self { reached: counters(r, "popgate_limits_reached_total", help, &["limit", "effect"])? })
    }

    /// A request met a limit that was used up.
    pub fn reached(&self, limit: &str, effect: &str) {
        self.reached.with_label_values(&[limit, effect]).inc();
    }
}
