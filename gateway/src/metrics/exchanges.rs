//! What came by each exchange server: one counter a server, made at its first request.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use popgate_policy::directory::Directory;
use popgate_policy::model::ExchangeId;
use prometheus::{IntCounter, IntCounterVec};

/// The handles for the exchange servers of one bundle; kept beside it. Counts go on over reloads.
#[derive(Debug)]
pub struct ExchangeTable {
    family: IntCounterVec,
    rows: BTreeMap<ExchangeId, OnceLock<IntCounter>>,
}

impl ExchangeTable {
    pub(super) fn new(directory: &Directory, family: &IntCounterVec) -> Self {
        let rows = directory.exchanges().iter().map(|exchange| (exchange.id.clone(), OnceLock::new())).collect();
        Self { family: family.clone(), rows }
    }

    /// Counts a request that came by an exchange server of the bundle that the table was made for.
    pub fn record(&self, exchange: &ExchangeId) {
        let Some(counter) = self.rows.get(exchange) else { return };
        counter.get_or_init(|| self.family.with_label_values(&[exchange.as_str()])).inc();
    }
}
