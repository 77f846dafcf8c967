//! The permit: what the policies answer, as a value that the next stage cannot be called without.

use std::net::IpAddr;
use std::sync::Arc;

use crate::contract::{Answer, Arguments, Operation, ParamIx, UpstreamRequest};
use crate::directory::{Purpose, System};
use crate::disclose::cursor::{CursorKey, Scope};
use crate::disclose::json::Captured;
use crate::disclose::{Raw, Redacted, Secrets, Strays, Tally, Unreadable};
use crate::engine::{Outcome, Table};
use crate::model::{DisclosureId, FieldIx, FieldSet};
use crate::seal::{Sealing, Seals};

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
    /// For a parameter that is a cursor.
    pub cursors: &'a CursorKey,
    /// Who is sealed, at a site that seals anybody.
    pub seals: Option<&'a Arc<dyn Seals>>,
}

/// The circumstances of a request, for `context.env` in policies.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Env {
    /// Local date at the gateway's site.
    pub date: jiff::civil::Date,
    /// Local hour, 0 to 23.
    pub hour: i8,
    /// Minute of that hour, 0 to 59.
    pub minute: i8,
    /// The address that the connection came from.
    pub source: IpAddr,
    /// `Gateway-Assurance`, as the agency says (`claimed_assurance`).
    pub claimed_assurance: Option<String>,
    /// Whether the agency names an end user (`claimed_user`).
    pub claimed_user: bool,
    /// Whether the agency names a case (`claimed_case`).
    pub claimed_case: bool,
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
    /// A required parameter is not there, and the gateway knows nothing to fill in: the agency has no province.
    Missing {
        /// The parameter's name.
        name: String,
    },
    /// The cursor is none, or that of another caller or question.
    Cursor {
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
    /// The parameter that the gateway filled in.
    pub(crate) filled: Option<ParamIx>,
    /// Every record of the list MUST have those values there: what the envelope says counts on it.
    pub(crate) filter: Vec<(FieldIx, String)>,
    /// How many records are shown at most, where the register is asked for more.
    pub(crate) page: Option<u32>,
    /// What cursors of this question are good for.
    pub(crate) scope: Scope,
    // INVARIANT: holds every field that the record phase could still show, so that the audit's intent is never too narrow.
    pub(crate) widest: FieldSet,
    /// What was taken away since it was made.
    pub(crate) limits: Option<Box<crate::narrow::Limits>>,
    /// Who is not there for this caller, at a site that seals anybody.
    pub(crate) sealing: Option<Sealing>,
    /// Where what is opened is noted, if a candidate is held against it.
    pub(crate) note: Option<crate::shadow::Note>,
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
    /// The record, or a record of the list, lacks what its contract says it must have: that member's full name.
    Incomplete(String),
    /// A record of the list is not what the register was told to filter by: nothing that it counted can be shown.
    Unfiltered,
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
    /// The person is sealed.
    Sealed,
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
        !self.operation.guard.is_empty() || self.operation.answer == Answer::Match
    }

    /// Opens the register's answer: checks whom it is about, applies guard, record conditions and masks, and redacts.
    ///
    /// # Errors
    /// [`Unopened`]; nothing of the record is in it.
    pub fn open(self, raw: &Raw, secrets: &Secrets) -> Result<Redacted, Unopened> {
        self.open_naming(raw, secrets, &mut Strays::default())
    }

    /// The same, which also tells the names of members that no contract declares: of those that [`Tally::undeclared`] counts, as many
    /// as may be told. They are for counters, and MUST NOT reach the caller.
    ///
    /// # Errors
    /// As [`Permit::open`].
    pub fn open_naming(self, raw: &Raw, secrets: &Secrets, strays: &mut Strays) -> Result<Redacted, Unopened> {
        crate::disclose::open(self, raw, secrets, strays)
    }

    /// The numbers of the persons whom a list is about, in its order: for what must look at each before the list is opened. MUST NOT
    /// leave the gateway.
    ///
    /// # Errors
    /// [`Unopened`], if the list cannot be read.
    pub fn persons(&self, raw: &Raw) -> Result<Vec<crate::model::Personal<String>>, Unopened> {
        crate::disclose::persons(self, raw)
    }

    /// Opens the record of an operation that answers with a field given by itself: the same checks, and what to ask for next. The names of
    /// members that no contract declares are told as by [`Permit::open_naming`].
    ///
    /// # Errors
    /// [`Unopened`]; nothing of the record is in it.
    pub fn open_record_of_whole(self, raw: &Raw, strays: &mut Strays) -> Result<WholePermit, Unopened> {
        crate::disclose::open_record_of_whole(self, raw, strays)
    }

    /// What is said of a record that could not be read.
    pub(crate) fn unreadable(&self, why: Unreadable) -> Unopened {
        match why {
            Unreadable::Incomplete { leaf, below, .. } => Unopened::Incomplete(self.operation.lacked(leaf, below)),
            why => Unopened::Unreadable(why),
        }
    }

    /// Whether what was read of a record fits the filter that the envelope counts on.
    pub(crate) fn is_filtered<'f, 'b: 'f>(&self, value: impl Fn(FieldIx) -> &'f Captured<'b>) -> bool {
        self.filter.iter().all(|(field, wanted)| matches!(value(*field), Captured::Text(text) if text == wanted))
    }
}

/// The right to pass on one field as the register gives it. Made only from a [`Permit`] and the record that it opened.
#[derive(Debug)]
#[must_use = "a permit that is not used was a decision for nothing"]
pub struct WholePermit {
    pub(crate) disclosure: DisclosureId,
    pub(crate) field: FieldIx,
    pub(crate) media_type: Box<str>,
    pub(crate) most_bytes: usize,
    pub(crate) upstream: UpstreamRequest,
    pub(crate) tally: Tally,
}

impl WholePermit {
    /// What to ask the register.
    pub fn upstream(&self) -> &UpstreamRequest {
        &self.upstream
    }

    /// The media type that the register must answer with.
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// The most bytes that are passed on.
    pub fn most_bytes(&self) -> usize {
        self.most_bytes
    }

    /// What was counted of the record, where the field is not there after all.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Passes the field on as it is. Its media type MUST have been checked.
    ///
    /// # Errors
    /// If it is longer than the contract says.
    pub fn open(self, raw: &Raw) -> Result<Redacted, Unopened> {
        crate::disclose::open_whole(self, raw)
    }
}
