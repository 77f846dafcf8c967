//! The audit log's metrics.

use prometheus::{Gauge, IntCounter, IntGauge, Registry, Result};

use super::{counter, float, gauge};

/// `popgate_audit_*`.
#[derive(Debug, Clone)]
pub struct AuditMetrics {
    /// Records made durable.
    pub records: IntCounter,
    /// Group commits.
    pub batches: IntCounter,
    /// Bytes written.
    pub bytes: IntCounter,
    /// Writes that failed: an alarm.
    pub failures: IntCounter,
    /// Refusals that could not be recorded.
    pub lost_refusals: IntCounter,
    /// Records waiting for the writer.
    pub queue_depth: IntGauge,
    /// How long the last durable write took.
    pub fsync_seconds: Gauge,
    /// 1 while records can be made durable; else nothing is disclosed.
    pub serving: IntGauge,
    /// The free part of the log's disk, 0 to 1.
    pub disk_free_ratio: Gauge,
}

impl AuditMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self> {
        let fsync_seconds = float(r, "popgate_audit_fsync_seconds", "How long the last durable write took.")?;
        let disk_free_ratio = float(r, "popgate_audit_disk_free_ratio", "The free part of the log's disk, 0 to 1.")?;
        Ok(Self {
            records: counter(r, "popgate_audit_records_total", "Records made durable.")?,
            batches: counter(r, "popgate_audit_batches_total", "Group commits.")?,
            bytes: counter(r, "popgate_audit_bytes_total", "Bytes written to the log.")?,
            failures: counter(r, "popgate_audit_failures_total", "Writes that failed.")?,
            lost_refusals: counter(r, "popgate_audit_lost_refusals_total", "Refusals that could not be recorded.")?,
            queue_depth: gauge(r, "popgate_audit_queue_depth", "Records waiting for the writer.")?,
            fsync_seconds,
            serving: gauge(
                r,
                "popgate_audit_serving",
                "1 while records can be made durable; else nothing is disclosed.",
            )?,
            disk_free_ratio,
        })
    }
}
