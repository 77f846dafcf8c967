//! What registers tell of their changes.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry, Result};

use super::{Metrics, counter, follow, gauge};
use crate::changes::{Board, State};

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

/// `popgate_changes_*`: how it stands with hearing of changes over NATS. A site that does not has no such metric.
#[derive(Debug, Clone)]
pub struct HeardMetrics {
    connected: IntGauge,
    failures: IntCounter,
    gaps: IntCounter,
}

impl HeardMetrics {
    fn new(r: &Registry) -> Result<Self> {
        Ok(Self {
            connected: gauge(
                r,
                "popgate_changes_connected",
                "0 while what registers change is not heard over NATS: an alarm.",
            )?,
            failures: counter(
                r,
                "popgate_changes_failures_total",
                "How often the connection to NATS ended, or none came about.",
            )?,
            gaps: counter(
                r,
                "popgate_changes_gaps_total",
                "How often what changed was not known, and all that is stored had to be validated: an alarm.",
            )?,
        })
    }

    /// Shows how it stands.
    pub fn show(&self, board: &Board) {
        let figures = board.figures();
        self.connected.set(i64::from(board.state() == State::Connected));
        follow(&self.failures, figures.failures);
        follow(&self.gaps, figures.gaps);
    }
}

impl Metrics {
    /// `popgate_changes_*`; made once a node.
    #[expect(clippy::expect_used, reason = "the names are valid, and a node begins to listen once")]
    pub fn heard(&self) -> HeardMetrics {
        HeardMetrics::new(&self.registry).expect("the names are valid and stand once")
    }
}
