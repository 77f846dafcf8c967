//! What operators do with orders, checked and written down: the same on the node's command line and over the admin listener.

use jiff::Timestamp;
use popgate_policy::bundle::Bundle;

use super::{Deed, Entry, Ledger, MOST_BY, MOST_REASON, Refused, Rules, Sealed, Stage, Store, StoreError, judge};
use crate::signed::EnvelopeError;
use crate::suspend::is_plain;

/// An order that was activated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Activated {
    /// As the ledger has it.
    pub entry: Entry,
    /// Whether it was active already: nothing was changed then.
    pub before: bool,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    /// A text that cannot stand in the ledger.
    #[error("the {what} {wrong}")]
    Text {
        /// Which.
        what: &'static str,
        /// What is wrong with it.
        wrong: &'static str,
    },
    /// No order.
    #[error("this is no order: {0}")]
    Envelope(#[from] EnvelopeError),
    /// An order that does not count.
    #[error("the order does not count: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Refused(Vec<Refused>),
    /// No order of that id.
    #[error("no order `{0}` was ever activated here; `popgate break-glass list` lists those that wait for something")]
    Unknown(String),
    /// It is over.
    #[error("the order `{id}` was over at {at}")]
    Over {
        /// Which.
        id: String,
        /// Since when.
        at: Timestamp,
    },
    /// It is not over.
    #[error(
        "the order `{id}` is not over until {until}: end it first with `popgate break-glass end {id} --reason TEXT`"
    )]
    Open {
        /// Which.
        id: String,
        /// Until when.
        until: Timestamp,
    },
    /// It was reviewed.
    #[error("the order `{id}` was reviewed at {at} by {by}")]
    Reviewed {
        /// Which.
        id: String,
        /// When.
        at: Timestamp,
        /// By whom.
        by: String,
    },
    /// Nobody reviews what they did themselves.
    #[error("{by} {did} the order `{id}`: somebody else must review it")]
    Own {
        /// Which.
        id: String,
        /// Who.
        by: String,
        /// What they did.
        did: &'static str,
    },
    /// This node takes no orders.
    #[error("no orders are taken here: `gateway.toml` has no section `[break_glass]`")]
    Nowhere,
    /// The files.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Puts an order into the folder and the ledger, if it counts. `memory` is what is remembered beside the file.
///
/// # Errors
/// Everything that is against it; nothing was changed then.
pub fn activate(
    store: &Store,
    rules: &Rules,
    bundle: &Bundle,
    sealed: &Sealed,
    memory: &Ledger,
    by: &str,
    now: Timestamp,
) -> Result<Activated, CarryError> {
    let by = named(by)?;
    store.change(|ledger| {
        ledger.join(memory);
        let id = &sealed.order().id;
        let judged = judge(sealed, rules, bundle, ledger.orders.get(id), now);
        if !judged.refused.is_empty() {
            return Err(CarryError::Refused(judged.refused));
        }
        let before = ledger.orders.contains_key(id);
        let entry = ledger.orders.entry(id.clone()).or_insert_with(|| Entry {
            order: sealed.order().clone(),
            digest: sealed.digest(),
            signed_by: judged.signed_by,
            activated: Deed { by, at: to_milliseconds(now), why: String::new() },
            ended: None,
            reviewed: None,
        });
        // Also if it was known: its file may be gone.
        Ok((Activated { entry: entry.clone(), before }, Some(sealed.clone())))
    })
}

/// Ends an order before its time.
///
/// # Errors
/// If there is none that is not over; nothing was changed then.
pub fn end(
    store: &Store,
    memory: &Ledger,
    id: &str,
    by: &str,
    reason: &str,
    now: Timestamp,
) -> Result<Entry, CarryError> {
    let deed = deed("reason", by, reason, now)?;
    store.change(|ledger| {
        ledger.join(memory);
        let entry = ledger.orders.get_mut(id).ok_or_else(|| CarryError::Unknown(id.to_owned()))?;
        if let Some(ended) = &entry.ended {
            return Err(CarryError::Over { id: id.to_owned(), at: ended.at });
        }
        if entry.is_lapsed(now) {
            return Err(CarryError::Over { id: id.to_owned(), at: entry.order.until });
        }
        entry.ended = Some(deed);
        Ok((entry.clone(), None))
    })
}

/// Notes that somebody looked at what was done under an order that is over.
///
/// # Errors
/// If there is none that waits for it, or `by` activated or ended it and `is_known` (an operator whom a certificate names, not only
/// a user of this machine); nothing was changed then.
pub fn review(
    store: &Store,
    memory: &Ledger,
    id: &str,
    (by, is_known): (&str, bool),
    note: &str,
    now: Timestamp,
) -> Result<Entry, CarryError> {
    let deed = deed("note", by, note, now)?;
    store.change(|ledger| {
        ledger.join(memory);
        let entry = ledger.orders.get_mut(id).ok_or_else(|| CarryError::Unknown(id.to_owned()))?;
        match (entry.stage(now), &entry.reviewed) {
            (_, Some(Deed { by, at, .. })) => {
                return Err(CarryError::Reviewed { id: id.to_owned(), at: *at, by: by.clone() });
            }
            (Stage::Waiting | Stage::InForce, None) => {
                return Err(CarryError::Open { id: id.to_owned(), until: entry.order.until });
            }
            (Stage::Ended | Stage::Reviewed, None) => {}
        }
        if entry.ended.is_none() {
            entry.lapse();
        }
        let own = |did| CarryError::Own { id: id.to_owned(), by: by.to_owned(), did };
        if is_known && entry.activated.by == by {
            return Err(own("activated"));
        }
        if is_known && entry.ended.as_ref().is_some_and(|ended| ended.by == by) {
            return Err(own("ended"));
        }
        entry.reviewed = Some(deed);
        Ok((entry.clone(), None))
    })
}

fn deed(what: &'static str, by: &str, why: &str, now: Timestamp) -> Result<Deed, CarryError> {
    is_plain(why, MOST_REASON).map_err(|wrong| CarryError::Text { what, wrong })?;
    Ok(Deed { by: named(by)?, at: to_milliseconds(now), why: why.to_owned() })
}

fn named(by: &str) -> Result<String, CarryError> {
    is_plain(by, MOST_BY).map_err(|wrong| CarryError::Text { what: "operator's name", wrong })?;
    Ok(by.to_owned())
}

/// As fine as people read times.
fn to_milliseconds(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}
