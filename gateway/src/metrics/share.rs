//! How it stands with limits that nodes share.

use prometheus::{Gauge, IntCounter, IntGauge, Registry, Result};

use super::{counter, float, follow, gauge, whole};
use crate::share::{Share, State};

/// `popgate_share_*`.
#[derive(Debug, Clone)]
pub struct ShareMetrics {
    alone: IntGauge,
    nodes: IntGauge,
    limits: IntGauge,
    settlements: IntCounter,
    failures: IntCounter,
    conflicts: IntCounter,
    round: Gauge,
}

impl ShareMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self> {
        Ok(Self {
            alone: gauge(
                r,
                "popgate_share_local",
                "1 while this node, or some of its limits, live on the node's own share: an alarm.",
            )?,
            nodes: gauge(r, "popgate_share_nodes", "Nodes that share limits with this one, itself included.")?,
            limits: gauge(r, "popgate_share_limits", "Limits of this node that are shared.")?,
            settlements: counter(r, "popgate_share_settlements_total", "Settlements that were answered.")?,
            failures: counter(r, "popgate_share_failures_total", "Settlements that were not.")?,
            conflicts: counter(
                r,
                "popgate_share_conflicts_total",
                "Settlements of another process under this node's name: an alarm.",
            )?,
            round: float(r, "popgate_share_round_seconds", "How long the last round of settlements took.")?,
        })
    }

    /// Shows how it stands.
    pub fn show(&self, share: &Share) {
        let (state, figures) = (share.state(), share.figures());
        self.alone.set(i64::from(state != State::Shared));
        self.nodes.set(share.nodes().into());
        self.limits.set(whole(figures.limits));
        follow(&self.settlements, figures.settlements);
        follow(&self.failures, figures.failures);
        follow(&self.conflicts, figures.conflicts);
        self.round.set(figures.last_micros as f64 / 1e6);
    }
}
