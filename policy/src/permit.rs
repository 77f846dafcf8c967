//! The permit: what the policies answer, as a value that the next stage cannot be called without.

use std::net::IpAddr;
use std::sync::Arc;

use crate::contract::{Arguments, Operation, UpstreamRequest};
use crate::directory::{Purpose, System};
use crate::disclose::{PseudonymKey, Raw, Redacted, Tally, Unreadable};
use crate::engine::{Outcome, Table};
use crate::model::{DisclosureId, FieldSet};

/// What a request asks, once its caller is known and its parameters are read.
#[derive(Debug)]
pub struct Ask<'a> {
    /// The disclosure that a permit would begin.
    pub disclosure: DisclosureId,
    /// Who asks.
    pub system: &'a Arc<System>,
    /// What is asked.
    pub operation: &'a Arc<Operation>,
    /// What for; valid and enrolled, the first two gates are the caller's.
    pub purpose: &'a Arc<Purpose>,
    /// The parameters' values.
    pub arguments: Arguments,
    /// The circumstances.
    pub env: Env,
}

/// The circumstances of a request, for `context.env` in policies.
#[derive(Clone, Debug)]
pub struct Env {
    /// Local date at the gateway's site.
    pub date: jiff::civil::Date,
    /// Local hour, 0 to 23.
    pub hour: i8,
    /// The address that the connection came from.
    pub source: IpAddr,
    /// `Gateway-Assurance`, as the agency says (`claimed_assurance`).
    pub claimed_assurance: Option<String>,
    /// Whether the agency names an end user (`claimed_user`).
    pub claimed_user: bool,
}

/// Why a request may not be put to the register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The policies show this caller nothing of this operation for this purpose.
    Nothing,
    /// The policies do not let this caller use a parameter: it needs at least `match` on the field that it is bound to.
    Parameter {
        /// The parameter's name.
        name: String,
    },
}

/// A request that may not be put to the register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Why.
    pub why: Denial,
    /// Fields that were withheld because a policy failed to evaluate: an alarm, also where nothing is shown.
    pub policy_errors: u32,
}

/// What one disclosure may show. Made only by [`crate::bundle::Bundle::decide`], changed only by
/// [`Permit::narrow`], used up by [`Permit::open`].
#[derive(Debug)]
#[must_use = "a permit that is not used was a decision for nothing"]
pub struct Permit {
    pub(crate) disclosure: DisclosureId,
    pub(crate) system: Arc<System>,
    pub(crate) operation: Arc<Operation>,
    pub(crate) purpose: Arc<Purpose>,
    pub(crate) table: Arc<Table>,
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) env: Env,
    pub(crate) arguments: Arguments,
    pub(crate) upstream: UpstreamRequest,
    // INVARIANT: holds every field that the record phase could still show, so that the audit's intent is never too narrow.
    pub(crate) widest: FieldSet,
    /// What was taken away since it was made.
    pub(crate) limits: Option<Box<crate::narrow::Limits>>,
}

/// Why a record was not shown.
#[derive(Debug)]
pub enum Unopened {
    /// The caller gets the answer for an unknown person; what was counted on the way shows nothing.
    NoMatch(Hidden, Tally),
    /// The record is about somebody else: the upstream connection MUST NOT be used again.
    SubjectMismatch,
    /// The record could not be read strictly.
    Unreadable(Unreadable),
}

/// Why an existing record is answered as unknown. For counters and the audit; never for the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hidden {
    /// A guard parameter is not borne out by the record.
    Guard,
    /// No claimed attribute is right.
    Claims,
    /// The policies show nothing of this record, or withhold a field that a parameter is bound to.
    Record,
}

impl Permit {
    /// The disclosure that this permit is for.
    pub fn disclosure(&self) -> DisclosureId {
        self.disclosure
    }

    /// The operation that it permits.
    pub fn operation(&self) -> &Arc<Operation> {
        &self.operation
    }

    /// Whom it was given to.
    pub fn system(&self) -> &Arc<System> {
        &self.system
    }

    /// The purpose it was given for.
    pub fn purpose(&self) -> &Arc<Purpose> {
        &self.purpose
    }

    /// What to ask the register.
    pub fn upstream(&self) -> &UpstreamRequest {
        &self.upstream
    }

    /// Every field that opening a record with this permit could disclose anything about.
    pub fn widest(&self) -> FieldSet {
        self.widest
    }

    /// The subject's number, as asked for.
    pub fn subject(&self) -> Option<&crate::model::Personal<String>> {
        self.arguments.value(self.operation.subject?)
    }

    /// Whether an answer "no" to this permit must be counted as a failed guess.
    pub fn guesses(&self) -> bool {
        !self.operation.guard.is_empty() || self.operation.answer == crate::contract::Answer::Match
    }

    /// Opens the register's answer: checks whom it is about, applies guard, record conditions and masks, and redacts.
    ///
    /// # Errors
    /// [`Unopened`]; nothing of the record is in it.
    pub fn open(self, raw: &Raw, pseudonyms: &PseudonymKey) -> Result<Redacted, Unopened> {
        crate::disclose::open(self, raw, pseudonyms)
    }
}
