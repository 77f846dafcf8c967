//! What is suspended.

use prometheus::{IntGauge, IntGaugeVec, Opts, Registry, Result};

use super::{Reloads, gauge};

/// `popgate_suspended{kind,id}` and what is said about the file.
#[derive(Debug, Clone)]
pub struct SuspensionMetrics {
    suspended: IntGaugeVec,
    /// Changed files.
    pub reloads: Reloads,
    /// Suspensions without effect because they name a forbid: an alarm.
    pub ignored: IntGauge,
    /// 1 while the file in force is refused or gone, so that what was suspended before stays: an alarm.
    pub stale: IntGauge,
    /// 1 while what operators did is not in the audit log yet.
    pub unrecorded: IntGauge,
}

impl SuspensionMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self> {
        let help = "1 for what is suspended now.";
        let suspended = IntGaugeVec::new(Opts::new("popgate_suspended", help), &["kind", "id"])?;
        r.register(Box::new(suspended.clone()))?;
        Ok(Self {
            suspended,
            reloads: Reloads::new(r, "popgate_suspensions_reloads_total", "Changed suspensions.")?,
            ignored: gauge(
                r,
                "popgate_suspensions_ignored",
                "Suspensions of policies that forbid: they stay in force.",
            )?,
            stale: gauge(
                r,
                "popgate_suspensions_stale",
                "1 while the file of suspensions is refused or gone, and those before it stay.",
            )?,
            unrecorded: gauge(
                r,
                "popgate_suspensions_unrecorded",
                "1 while a change of suspensions is not in the audit log yet.",
            )?,
        })
    }

    /// Shows what is suspended, and nothing else. The file bounds how much that is.
    pub fn show<'a>(&self, suspended: impl Iterator<Item = (&'a str, &'a str)>) {
        self.suspended.reset();
        for (kind, id) in suspended {
            self.suspended.with_label_values(&[kind, id]).set(1);
        }
    }
}
