//! Break-glass: a purpose that nobody is enrolled for is lent to some systems, for a time, by a signed order.
//!
//! What the purpose shows is written and reviewed in peace, in the bundle; an [`Order`] only lends it. An order counts if enough
//! different people signed it ([`Sealed`]), it is for this site, and nothing else is against it ([`judge`]). The [`Ledger`]
//! remembers who activated, ended and reviewed each: an id that was ended is never in force again. Requests ask the [`Lending`].
//! It is wrong on the safe side: what cannot be read lends nothing new, and what was ended stays so.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

mod alarm;
mod carry;
mod judge;
mod ledger;
mod lending;
mod sealed;
mod store;
#[cfg(test)]
mod tests;
mod verdict;

pub use alarm::{Alarm, REMINDER, Sound};
pub use carry::{Activated, CarryError, activate, end, review};
pub(crate) use judge::said;
pub use judge::{Judged, Refused, Rules, judge};
pub use ledger::{Deed, Entry, Ledger, Stage};
pub use lending::Lending;
pub use sealed::Sealed;
pub use store::{Found, Store, StoreError};
pub(crate) use store::{read_ledger, read_order, write, write_ledger};
pub use verdict::{Judgement, Verdict};

use crate::signed::is_name;
use crate::suspend::is_plain;

/// What is signed: which purpose is lent to whom, from when until when, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Its own name, never used twice.
    pub id: String,
    /// The site whose gateways it is for.
    pub site: String,
    /// A purpose of the bundle with `break_glass = true`.
    pub purpose: String,
    /// To whom it is lent: `agency/system`.
    pub systems: Vec<String>,
    /// From when.
    pub from: Timestamp,
    /// Until when; at that instant it is over.
    pub until: Timestamp,
    /// Why. It stands in the audit log without a seal: it MUST NOT name a person.
    pub reason: String,
    /// Under which number the emergency is known.
    pub case: String,
}

impl Order {
    /// Reads a payload: JSON (RFC 8259), every member once and no other.
    ///
    /// # Errors
    /// The second half of a sentence about the order.
    pub fn parse(payload: &[u8]) -> Result<Self, String> {
        let order: Self = serde_json::from_slice(payload).map_err(|error| format!("cannot be read: {error}"))?;
        order.check().map(|()| order)
    }

    /// The payload. Its bytes are what is signed.
    pub fn to_payload(&self) -> Vec<u8> {
        // Strings and times always are JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Whether its parts can stand.
    ///
    /// # Errors
    /// As [`Order::parse`].
    pub fn check(&self) -> Result<(), String> {
        if !is_name(&self.id) {
            return Err("has an `id` that cannot be one: lower-case letters, digits and `-`, at most 64".to_owned());
        }
        let texts = [
            ("site", &self.site, MOST_SITE),
            ("purpose", &self.purpose, MOST_NAME),
            ("reason", &self.reason, MOST_REASON),
            ("case", &self.case, MOST_CASE),
        ];
        for (name, text, most) in texts {
            is_plain(text, most).map_err(|wrong| format!("has a `{name}` that {wrong}"))?;
        }
        if self.systems.is_empty() || self.systems.len() > MOST_SYSTEMS {
            return Err(format!("must name 1 to {MOST_SYSTEMS} systems in `systems`"));
        }
        for system in &self.systems {
            is_plain(system, MOST_NAME).map_err(|wrong| format!("names a system that {wrong}"))?;
        }
        if self.systems.iter().collect::<BTreeSet<_>>().len() != self.systems.len() {
            return Err("names a system twice".to_owned());
        }
        if self.until <= self.from {
            return Err(format!("ends at {}, before it begins", self.until));
        }
        Ok(())
    }

    /// Whether it is its time.
    pub fn covers(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }
}

/// Where a gateway with that state folder remembers what the audit log has of its ledger.
pub fn memory_in(state: &Path) -> PathBuf {
    state.join("break-glass.json")
}

/// Characters, as the others.
pub(crate) const MOST_SITE: usize = 64;
const MOST_NAME: usize = 200;
pub(crate) const MOST_REASON: usize = 300;
const MOST_CASE: usize = 100;
const MOST_SYSTEMS: usize = 64;
const MOST_BY: usize = 100;
/// Who ended what nobody ended.
pub const TIME: &str = "time";
/// Who did what was done to the files alone.
pub const UNKNOWN: &str = "unknown";
