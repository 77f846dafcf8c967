//! The ledger: who activated, ended and reviewed which order. It lends nothing by itself, and forgets nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Order, TIME, UNKNOWN};
use crate::audit::Action;

/// `ledger.json`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// Every order that ever counted here, by id.
    pub orders: BTreeMap<String, Entry>,
}

/// One order's life.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What it said.
    pub order: Order,
    /// SHA-256 of the payload that was signed, in hex.
    pub digest: String,
    /// Whose keys had signed it.
    pub signed_by: Vec<String>,
    /// Who brought it.
    pub activated: Deed,
    /// Who ended it; [`TIME`] if nobody did.
    pub ended: Option<Deed>,
    /// Who looked at what was done under it.
    pub reviewed: Option<Deed>,
}

/// What somebody did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deed {
    /// The operator, or `local:<unix user>`.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why, or what was found. It stands in the audit log without a seal: it MUST NOT name a person.
    #[serde(default)]
    pub why: String,
}

/// Where an order is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Its time has not come.
    Waiting,
    /// It is its time.
    InForce,
    /// It is over, and nobody has reviewed it.
    Ended,
    /// It is over, and was reviewed.
    Reviewed,
}

impl Stage {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::InForce => "in force",
            Self::Ended => "ended, to be reviewed",
            Self::Reviewed => "reviewed",
        }
    }
}

impl Entry {
    /// Where it is in its life, as far as the ledger knows.
    pub fn stage(&self, now: Timestamp) -> Stage {
        match (&self.reviewed, &self.ended) {
            (Some(_), _) => Stage::Reviewed,
            (None, Some(_)) => Stage::Ended,
            (None, None) if self.order.until <= now => Stage::Ended,
            (None, None) if now < self.order.from => Stage::Waiting,
            (None, None) => Stage::InForce,
        }
    }

    /// Whether its time is over and nobody has said so.
    pub fn is_lapsed(&self, now: Timestamp) -> bool {
        self.ended.is_none() && self.order.until <= now
    }

    /// That time has ended it.
    pub fn lapse(&mut self) {
        self.ended = Some(Deed { by: TIME.to_owned(), at: self.order.until, why: String::new() });
    }
}

impl Ledger {
    /// Adds what another knows. Of both, what takes away holds: what one says ended is ended.
    pub fn join(&mut self, other: &Self) {
        for (id, theirs) in &other.orders {
            match self.orders.get_mut(id) {
                None => drop(self.orders.insert(id.clone(), theirs.clone())),
                Some(ours) => {
                    ours.ended = ours.ended.take().or_else(|| theirs.ended.clone());
                    ours.reviewed = ours.reviewed.take().or_else(|| theirs.reviewed.clone());
                }
            }
        }
    }

    /// What happened to come from `before` to this, in order of time.
    pub fn actions_since(&self, before: &Self) -> Vec<Action> {
        let mut actions = Vec::new();
        for (id, entry) in &self.orders {
            let known = before.orders.get(id);
            let lent = format!("order {id}: {} to {}", entry.order.purpose, entry.order.systems.join(", "));
            let mut add = |what: &str, deed: &Deed, reason: &str, until| {
                let (by, what, target, reason) = (deed.by.clone(), what.to_owned(), lent.clone(), reason.to_owned());
                actions.push((deed.at, Action { by, what, target, reason, until }));
            };
            if known.is_none() {
                let reason = format!("{} (signed by {})", entry.order.reason, entry.signed_by.join(", "));
                add("break-glass-activate", &entry.activated, &reason, Some(entry.order.until));
            }
            let ended = entry.ended.as_ref().filter(|_| known.is_none_or(|known| known.ended.is_none()));
            if let Some(deed) = ended {
                add("break-glass-end", deed, &deed.why, None);
            }
            let reviewed = entry.reviewed.as_ref().filter(|_| known.is_none_or(|known| known.reviewed.is_none()));
            if let Some(deed) = reviewed {
                add("break-glass-review", deed, &deed.why, None);
            }
        }
        // Stable: what happened to one order at one time stays in its order.
        actions.sort_by_key(|(at, _)| *at);
        actions.into_iter().map(|(_, action)| action).collect()
    }

    /// Whether any order is not over yet.
    pub fn is_open(&self) -> bool {
        self.orders.values().any(|entry| entry.ended.is_none())
    }

    /// How many are over and wait for their review.
    pub fn unreviewed(&self, now: Timestamp) -> usize {
        self.orders.values().filter(|entry| entry.stage(now) == Stage::Ended).count()
    }
}

impl Deed {
    /// Now, with nothing to say.
    pub fn unknown(at: Timestamp, why: &str) -> Self {
        Self { by: UNKNOWN.to_owned(), at, why: why.to_owned() }
    }
}
