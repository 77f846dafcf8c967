//! What an operator orders, checked and carried out: the same on the node's command line and over the admin listener.

use jiff::Timestamp;
use popgate_policy::bundle::Bundle;
use popgate_policy::model::RegisterId;
use popgate_policy::problem::Problem;
use serde::{Deserialize, Serialize};

use super::concern::{Known, look_up};
use super::{
    Book, Concern, Lifted, MOST_BY, MOST_ID, MOST_REASON, MOST_SUSPENDED, Store, StoreError, Suspension, Target,
    is_plain,
};

/// An order to suspend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// What.
    pub target: Target,
    /// Why. It stands in the audit log without a seal: it MUST NOT name a person.
    pub reason: String,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// Also if the bundle has no such id.
    pub force: bool,
}

/// What became of an order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Done {
    /// What.
    #[serde(flatten)]
    pub target: Target,
    /// The operator.
    pub by: String,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// What stood in its place before.
    pub before: Option<Suspension>,
    /// How much it concerns; `None` if the bundle could not be read.
    pub concern: Option<Concern>,
}

/// Why an order is not carried out. Nothing changed then.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// A text that cannot stand in the file.
    #[error("the {what} {wrong}")]
    Text {
        /// Which.
        what: &'static str,
        /// What is wrong with it.
        wrong: &'static str,
    },
    /// The end has passed.
    #[error("`{until}` is not in the future: it would end before it begins")]
    Past {
        /// The end.
        until: Timestamp,
    },
    /// The bundle has no such id.
    #[error("the bundle has no {} `{}`{help}", target.kind.as_str(), target.id)]
    Unknown {
        /// What was named.
        target: Target,
        /// What may have been meant.
        help: String,
    },
    /// A forbid.
    #[error(
        "`{id}` forbids ({place}): suspending it would show more, and the kill switch only narrows; change the bundle"
    )]
    Forbid {
        /// The policy.
        id: String,
        /// Where it stands.
        place: String,
    },
    /// Whether a policy permits or forbids is not known.
    #[error(
        "whether `{id}` permits or forbids is not known while the bundle cannot be read; ask a node that runs, with --node"
    )]
    Undecided {
        /// The policy.
        id: String,
    },
    /// Nothing to lift.
    #[error("{} `{}` is not suspended", .0.kind.as_str(), .0.id)]
    NotSuspended(Target),
    /// The file is full.
    #[error("{MOST_SUSPENDED} suspensions are the most; suspend an agency rather than its systems, or resume some")]
    TooMany,
    /// The file.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Order {
    /// Whether the order makes sense. `bundle` is the one without suspensions, if it could be read; `configured` are the
    /// registers of the configuration.
    ///
    /// # Errors
    /// If it does not.
    pub fn check<'a>(
        &self,
        now: Timestamp,
        bundle: Option<&'a Bundle>,
        configured: impl Iterator<Item = &'a RegisterId>,
    ) -> Result<(), OrderError> {
        check_text("id", &self.target.id, MOST_ID)?;
        check_text("reason", &self.reason, MOST_REASON)?;
        if let Some(until) = self.until.filter(|until| *until <= now) {
            return Err(OrderError::Past { until });
        }
        let target = &self.target;
        let Some(bundle) = bundle else {
            let id = target.id.clone();
            return if target.kind == super::Kind::Policy { Err(OrderError::Undecided { id }) } else { Ok(()) };
        };
        match look_up(bundle, configured, target) {
            Known::Yes => Ok(()),
            Known::Forbid(place) => Err(OrderError::Forbid { id: target.id.clone(), place }),
            Known::No(_) if self.force => Ok(()),
            Known::No(known) => {
                let problem = Problem::error("", "", "").suggest(&target.id, known);
                let help = problem.help.map(|help| format!("; {help}")).unwrap_or_default();
                Err(OrderError::Unknown { target: target.clone(), help })
            }
        }
    }

    /// Writes it into the file; what stood in its place before is returned.
    ///
    /// # Errors
    /// If the file cannot be read or written, or is full.
    pub fn carry_out(&self, store: &Store, by: &str, now: Timestamp) -> Result<Option<Suspension>, OrderError> {
        check_text("operator's name", by, MOST_BY)?;
        store.change(|book| {
            book.tidy(now);
            let suspension = Suspension {
                reason: self.reason.clone(),
                by: by.to_owned(),
                since: to_milliseconds(now),
                until: self.until,
            };
            let before = book.suspended.insert(self.target.clone(), suspension);
            if book.suspended.len() > MOST_SUSPENDED { Err(OrderError::TooMany) } else { Ok(before) }
        })
    }
}

/// Takes a suspension out of the file, and notes who did; it is returned.
///
/// # Errors
/// If there is none, or the file cannot be read or written.
pub fn resume(
    store: &Store,
    target: &Target,
    by: &str,
    reason: &str,
    now: Timestamp,
) -> Result<Suspension, OrderError> {
    check_text("operator's name", by, MOST_BY)?;
    if !reason.is_empty() {
        check_text("reason", reason, MOST_REASON)?;
    }
    store.change(|book: &mut Book| {
        book.tidy(now);
        let lifted = book.suspended.remove(target).ok_or_else(|| OrderError::NotSuspended(target.clone()))?;
        let (by, reason) = (by.to_owned(), reason.to_owned());
        book.lifted.push(Lifted { target: target.clone(), by, at: to_milliseconds(now), reason });
        Ok(lifted)
    })
}

fn check_text(what: &'static str, text: &str, most: usize) -> Result<(), OrderError> {
    is_plain(text, most).map_err(|wrong| OrderError::Text { what, wrong })
}

/// As fine as people read times.
fn to_milliseconds(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}
