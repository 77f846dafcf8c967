//! How much of the bundle in force is compiled.

use popgate_policy::engine::Footprint;
use prometheus::{IntGauge, IntGaugeVec, Registry, Result};

use super::{gauge, gauges};

/// `popgate_policy_tables{state}` and `popgate_policy_table_bytes`.
#[derive(Debug, Clone)]
pub struct TableMetrics {
    tables: IntGaugeVec,
    bytes: IntGauge,
}

impl TableMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self> {
        let help = "Decision tables in force: `known` combinations of kind of caller, operation and purpose; of them `made`; of these `distinct`.";
        Ok(Self {
            tables: gauges(r, "popgate_policy_tables", help, "state")?,
            bytes: gauge(
                r,
                "popgate_policy_table_bytes",
                "Memory that the distinct decision tables take with what they remember; estimated.",
            )?,
        })
    }

    /// Shows the tables of the bundle in force.
    pub fn show(&self, footprint: Footprint) {
        let Footprint { combinations, made, distinct, bytes } = footprint;
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (state, count) in [("known", combinations), ("made", made), ("distinct", distinct)] {
            self.tables.with_label_values(&[state]).set(number(count));
        }
        self.bytes.set(number(bytes));
    }
}
