//! What registers tell of their changes.

use prometheus::{IntCounterVec, Opts, Registry, Result};

/// `popgate_cache_changes_total{register,outcome}` and `popgate_cache_changed_total{register,what}`.
#[derive(Debug, Clone)]
pub struct ChangeMetrics {
    messages: IntCounterVec,
    changed: IntCounterVec,
}

impl ChangeMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self> {
        let family = |name, help, labels: &[&str]| {
            let family = IntCounterVec::new(Opts::new(name, help), labels)?;
            r.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        Ok(Self {
            messages: family(
                "popgate_cache_changes_total",
                "Messages of registers about what they changed; refused ones are an alarm: nothing was purged.",
                &["register", "outcome"],
            )?,
            changed: family(
                "popgate_cache_changed_total",
                "Persons and tags that registers told to have changed.",
                &["register", "what"],
            )?,
        })
    }

    /// A message was taken, and what it names is purged.
    pub fn taken(&self, register: &str, subjects: usize, tags: usize) {
        self.messages.with_label_values(&[register, "taken"]).inc();
        for (what, count) in [("subject", subjects), ("tag", tags)] {
            self.changed.with_label_values(&[register, what]).inc_by(count as u64);
        }
    }

    /// A message could not be read.
    pub fn refused(&self, register: &str) {
        self.messages.with_label_values(&[register, "refused"]).inc();
    }
}
