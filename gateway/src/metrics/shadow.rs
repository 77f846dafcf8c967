//! What a candidate bundle would have decided otherwise.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, Result};

use super::{Reloads, counter, counters, gauge, gauges};

/// `popgate_shadow_*`.
#[derive(Debug, Clone)]
pub struct ShadowMetrics {
    compared: IntCounterVec,
    differences: IntCounterVec,
    bundle: IntGaugeVec,
    /// 1 while a candidate runs.
    pub running: IntGauge,
    /// 1 while the candidate that is offered cannot be loaded, and another one or none runs.
    pub refused: IntGauge,
    /// Changed candidates.
    pub reloads: Reloads,
    /// Fields that the candidate withholds because a policy fails.
    pub policy_errors: IntCounter,
    /// Requests that were not compared, because others waited already.
    pub dropped: IntCounter,
    /// Differences that could not be written down.
    pub unwritten: IntCounter,
}

impl ShadowMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self> {
        Ok(Self {
            compared: counters(
                r,
                "popgate_shadow_compared_total",
                "Requests that were held against the candidate bundle.",
                &["operation"],
            )?,
            differences: counters(
                r,
                "popgate_shadow_differences_total",
                "Requests that the candidate bundle would have answered otherwise: widened, narrowed, refused_now, answered_now, gone.",
                &["operation", "kind"],
            )?,
            bundle: gauges(r, "popgate_shadow_bundle_info", "The candidate bundle that runs.", "digest")?,
            running: gauge(r, "popgate_shadow_running", "1 while a candidate bundle runs beside the live one.")?,
            refused: gauge(
                r,
                "popgate_shadow_refused",
                "1 while the candidate bundle that is offered cannot be loaded.",
            )?,
            reloads: Reloads::new(r, "popgate_shadow_reloads_total", "Changed candidate bundles.")?,
            policy_errors: counter(
                r,
                "popgate_shadow_policy_errors_total",
                "Fields of the candidate bundle for which a policy fails to evaluate.",
            )?,
            dropped: counter(
                r,
                "popgate_shadow_dropped_total",
                "Requests that were not held against the candidate bundle, because too many waited.",
            )?,
            unwritten: counter(
                r,
                "popgate_shadow_unwritten_total",
                "Differences that could not be written to the file.",
            )?,
        })
    }

    /// Counts a request that was compared; `operation` is a name of the live bundle.
    pub fn compared(&self, operation: &str) {
        self.compared.with_label_values(&[operation]).inc();
    }

    /// Counts a kind of difference.
    pub fn differs(&self, operation: &str, kind: &str) {
        self.differences.with_label_values(&[operation, kind]).inc();
    }

    /// Shows which candidate runs.
    pub fn runs(&self, digest: Option<&str>) {
        self.bundle.reset();
        self.running.set(i64::from(digest.is_some()));
        if let Some(digest) = digest {
            self.bundle.with_label_values(&[digest]).set(1);
        }
    }
}
