//! Break-glass orders, and what was answered under them.

use prometheus::{IntCounterVec, IntGauge, Registry, Result};

use super::{counters, gauge};

/// `popgate_break_glass_*`.
#[derive(Debug, Clone)]
pub struct BreakGlassMetrics {
    requests: IntCounterVec,
    /// Orders in force: an alarm.
    pub in_force: IntGauge,
    /// Orders that are over and not reviewed.
    pub unreviewed: IntGauge,
    /// What is wrong with files of orders: an alarm.
    pub refused: IntGauge,
    /// 1 while what was done with orders is not in the audit log yet.
    pub unrecorded: IntGauge,
}

impl BreakGlassMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self> {
        Ok(Self {
            requests: counters(
                r,
                "popgate_break_glass_requests_total",
                "Requests answered under a lent purpose.",
                &["purpose", "system"],
            )?,
            in_force: gauge(r, "popgate_break_glass_in_force", "Break-glass orders in force.")?,
            unreviewed: gauge(
                r,
                "popgate_break_glass_unreviewed",
                "Break-glass orders that are over and not reviewed.",
            )?,
            refused: gauge(r, "popgate_break_glass_refused", "What is wrong with the files of break-glass orders.")?,
            unrecorded: gauge(
                r,
                "popgate_break_glass_unrecorded",
                "1 while what was done with break-glass orders is not in the audit log yet.",
            )?,
        })
    }

    /// Counts a request that was answered under a lent purpose; both are names of the bundle.
    pub fn answered(&self, purpose: &str, system: &str) {
        self.requests.with_label_values(&[purpose, system]).inc();
    }
}
