//! Who still uses TLS 1.2: one counter a system that does. No label is made for who does not, nor for who is not enrolled.

use std::sync::{Arc, OnceLock};

use popgate_policy::directory::{Directory, System};
use prometheus::{IntCounter, IntCounterVec};

/// The handles for the systems of one bundle; kept beside it. Counts go on over reloads.
#[derive(Debug)]
pub struct Tls12Table {
    family: IntCounterVec,
    /// By [`System::index`].
    rows: Vec<(Arc<System>, OnceLock<IntCounter>)>,
}

impl Tls12Table {
    pub(super) fn new(directory: &Directory, family: &IntCounterVec) -> Self {
        let rows = directory.systems().iter().map(|system| (Arc::clone(system), OnceLock::new())).collect();
        Self { family: family.clone(), rows }
    }

    /// Counts a request of a system of the bundle that the table was made for.
    pub fn record(&self, system: usize) {
        let Some((system, counter)) = self.rows.get(system) else { return };
        let labels = [system.agency.id.as_str(), system.id.as_str()];
        counter.get_or_init(|| self.family.with_label_values(&labels)).inc();
    }
}
