//! Members of records that no contract declares, by register and name.
//!
//! The names come from registers: what does not look like the name of a field never gets here ([`Strays`]), and of each register no more
//! than [`MOST_NAMES`] become labels in a process's life. The rest is counted as `(other)`, which no field can be called.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use popgate_policy::disclose::Strays;
use popgate_policy::model::RegisterId;
use prometheus::{IntCounter, IntCounterVec, Registry, Result};

use super::counters;

/// `popgate_undeclared_fields_total{register, field}`.
#[derive(Debug)]
pub struct UndeclaredMetrics {
    family: IntCounterVec,
    /// By register, the names that are labels, with their counters.
    named: Mutex<BTreeMap<RegisterId, BTreeMap<Box<str>, IntCounter>>>,
}

impl UndeclaredMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self> {
        let family = counters(
            r,
            "popgate_undeclared_fields_total",
            "Members of records that no contract declares, withheld.",
            &["register", "field"],
        )?;
        Ok(Self { family, named: Mutex::default() })
    }

    /// A register is shown from its beginning, so that its first undeclared member is seen as a change.
    pub(super) fn begin(&self, register: &str) {
        self.others(register).inc_by(0);
    }

    /// Counts what one answer of a register had: so many undeclared members in all, and some of them by name. Takes a lock and may
    /// look labels up: for answers that have any.
    pub fn count(&self, register: &RegisterId, total: u32, strays: &Strays) {
        let mut others = total;
        {
            let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
            let known = named.entry(register.clone()).or_default();
            for (name, count) in strays.iter() {
                if !known.contains_key(name) && known.len() < MOST_NAMES {
                    known.insert(name.into(), self.family.with_label_values(&[register.as_str(), name]));
                }
                if let Some(counter) = known.get(name) {
                    counter.inc_by(u64::from(count));
                    others = others.saturating_sub(count);
                }
            }
        }
        if others > 0 {
            self.others(register.as_str()).inc_by(u64::from(others));
        }
    }

    fn others(&self, register: &str) -> IntCounter {
        self.family.with_label_values(&[register, OTHERS])
    }
}

/// The label of what has no name of its own.
const OTHERS: &str = "(other)";

/// How many names of one register become labels.
const MOST_NAMES: usize = 64;
