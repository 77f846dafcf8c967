//! The kill switch: what operators have suspended, in force within a second on live connections, whatever the bundle says.
//!
//! It only narrows. What is suspended stands in one small file ([`Store`]) that a bundle cannot change; a file that cannot be
//! read lifts nothing. Agencies, systems, purposes and registers are refused by the [`Switch`]; permits are taken out of the
//! bundle ([`popgate_policy::bundle::Bundle::without`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use popgate_policy::contract::{Answer, Operation};
use popgate_policy::model::RegisterId;
use serde::{Deserialize, Serialize};

mod concern;
mod file;
mod order;
mod store;
mod switch;
#[cfg(test)]
mod tests;

pub use concern::{Concern, problems};
pub use file::Places;
pub use order::{Done, Order, OrderError, resume};
pub use store::{Found, Store, StoreError};
pub use switch::Switch;

use crate::audit::Action;

/// What can be suspended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// All systems of an agency.
    Agency,
    /// One system, by `agency/system`.
    System,
    /// A purpose, whoever uses it.
    Purpose,
    /// A permit, by its `@id`. A forbid cannot be suspended.
    Policy,
    /// A register: nothing of it is asked, and nothing of it is answered from the cache.
    Register,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Agency, Self::System, Self::Purpose, Self::Policy, Self::Register];

    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agency => "agency",
            Self::System => "system",
            Self::Purpose => "purpose",
            Self::Policy => "policy",
            Self::Register => "register",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl FromStr for Kind {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::parse(name).ok_or("one of agency, system, purpose, policy, register")
    }
}

/// What is suspended; it need not be in the bundle in force.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Target {
    /// Of which kind.
    pub kind: Kind,
    /// Its id in the bundle.
    pub id: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.id)
    }
}

/// One suspension.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Suspension {
    /// For operators and auditors, never for clients.
    pub reason: String,
    /// The operator, or `local:<unix user>`.
    pub by: String,
    /// When it was ordered.
    pub since: Timestamp,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
}

impl Suspension {
    /// Whether it has ended by itself.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// Who ended a suspension before its time: kept so that the audit log can name them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lifted {
    /// What was suspended.
    pub target: Target,
    /// The operator, or `local:<unix user>`.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why; empty if nothing was said.
    pub reason: String,
}

/// What the file holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Book {
    /// Suspensions, some of which may be over.
    pub suspended: BTreeMap<Target, Suspension>,
    /// The newest that were lifted, the oldest first.
    pub lifted: Vec<Lifted>,
}

impl Book {
    /// What is suspended at that time.
    pub fn in_force(&self, now: Timestamp) -> impl Iterator<Item = (&Target, &Suspension)> {
        self.suspended.iter().filter(move |(_, suspension)| !suspension.is_over(now))
    }

    /// The ids of the policies that are suspended at that time.
    pub fn policies(&self, now: Timestamp) -> BTreeSet<String> {
        let policies = self.in_force(now).filter(|(target, _)| target.kind == Kind::Policy);
        policies.map(|(target, _)| target.id.clone()).collect()
    }

    /// What operators did to come from `before` to this, in order of time. What ended by itself is nobody's doing.
    pub fn actions_since(&self, before: &Self, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        for lifted in self.lifted.iter().filter(|lifted| !before.lifted.contains(lifted)) {
            actions.push((lifted.at, lifted.to_action()));
        }
        for (target, was) in before.in_force(now).filter(|(target, _)| !self.suspended.contains_key(*target)) {
            let is_said = self.lifted.iter().any(|lifted| lifted.target == *target && lifted.at >= was.since);
            if !is_said {
                let (by, reason) = ("unknown".to_owned(), "the file was edited".to_owned());
                actions.push((now, Lifted { target: target.clone(), by, at: now, reason }.to_action()));
            }
        }
        for (target, suspension) in &self.suspended {
            if before.suspended.get(target) != Some(suspension) {
                let Suspension { reason, by, since, until } = suspension.clone();
                let action = Action { by, what: "suspend".to_owned(), target: target.to_string(), reason, until };
                actions.push((since, action));
            }
        }
        actions.sort_by_key(|(at, _)| *at);
        actions.into_iter().map(|(_, action)| action).collect()
    }

    /// Forgets what is over, and the oldest that were lifted.
    fn tidy(&mut self, now: Timestamp) {
        self.suspended.retain(|_, suspension| !suspension.is_over(now));
        let surplus = self.lifted.len().saturating_sub(MOST_LIFTED);
        self.lifted.drain(..surplus);
    }
}

impl Lifted {
    fn to_action(&self) -> Action {
        Action {
            by: self.by.clone(),
            what: "resume".to_owned(),
            target: self.target.to_string(),
            reason: self.reason.clone(),
            until: None,
        }
    }
}

/// The registers that an operation asks.
fn registers(operation: &Operation) -> impl Iterator<Item = &RegisterId> {
    let whole = match &operation.answer {
        Answer::Whole(whole) => Some(&whole.upstream.register),
        Answer::Record | Answer::List(_) | Answer::Match => None,
    };
    std::iter::once(&operation.upstream.register).chain(whole)
}

/// Whether a text may be a reason, an id or a name; `Err` is the second half of a sentence about it.
pub(crate) fn is_plain(text: &str, most: usize) -> Result<(), &'static str> {
    if text.trim().is_empty() {
        Err("is empty")
    } else if text.chars().count() > most {
        Err("is too long")
    } else if text.chars().any(char::is_control) {
        Err("holds a control character")
    } else {
        Ok(())
    }
}

/// The most that one file suspends: bounds the metrics.
const MOST_SUSPENDED: usize = 1000;
const MOST_LIFTED: usize = 100;
/// Characters.
pub(crate) const MOST_REASON: usize = 300;
const MOST_ID: usize = 200;
const MOST_BY: usize = 100;
