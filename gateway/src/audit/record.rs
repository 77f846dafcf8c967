//! What is recorded: intents, closings, refusals of the pipeline, and what operators do.

use std::net::IpAddr;
use std::sync::Arc;

use popgate_policy::bundle::Digest;
use popgate_policy::contract::RecordSchema;
use popgate_policy::disclose::Tally;
use popgate_policy::model::{DisclosureId, ExchangeId, FieldSet, OperationId, Personal, PurposeId, SystemId};
use popgate_policy::permit::Hidden;

/// What a disclosure may show, recorded before anything of it is shown.
#[derive(Clone, Debug)]
pub struct Intent {
    /// The disclosure.
    pub disclosure: DisclosureId,
    /// Who asks.
    pub system: SystemId,
    /// The exchange server that speaks for it.
    pub exchange: Option<ExchangeId>,
    /// What is asked.
    pub operation: OperationId,
    /// What for.
    pub purpose: PurposeId,
    /// Who said so.
    pub purpose_source: PurposeSource,
    /// Whom it is about; `None` for a search, where each person that it finds has an intent of their own.
    pub subject: Option<Personal<String>>,
    /// The record that the operation answers from: gives the fields their names in the log.
    pub record: Arc<RecordSchema>,
    /// The most that the permit can show.
    pub fields: FieldSet,
    /// The bundle that decided.
    pub bundle: Digest,
    /// What the agency claims.
    pub claimed: Claimed,
    /// Where the connection came from.
    pub source: IpAddr,
}

/// Who named the purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PurposeSource {
    /// The request.
    Header,
    /// The system's only enrolled purpose.
    Default,
}

/// What the agency says and nobody checked. Sealed in the log, the request id too: an agency may have put a person into it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Claimed {
    /// `Gateway-User`.
    pub user: Option<Personal<String>>,
    /// `Gateway-Case`.
    pub case: Option<Personal<String>>,
    /// `Gateway-Assurance`.
    pub assurance: Option<Personal<String>>,
    /// The client's own request id.
    pub request_id: Option<Personal<String>>,
    /// `X-Road-Represented-Party`: for whom the client itself asks.
    pub represented: Option<Personal<String>>,
    /// `X-Road-Client`, where it names nobody for whom the exchange server speaks.
    pub client: Option<Personal<String>>,
}

/// Which claims a request brought, without what they say: what policies and purposes may ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Brought {
    /// `Gateway-User`.
    pub user: bool,
    /// `Gateway-Case`.
    pub case: bool,
    /// `Gateway-Assurance`.
    pub assurance: bool,
}

impl From<&Claimed> for Brought {
    fn from(claimed: &Claimed) -> Self {
        Self { user: claimed.user.is_some(), case: claimed.case.is_some(), assurance: claimed.assurance.is_some() }
    }
}

/// A refusal of an identified caller.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The request; no disclosure came of it.
    pub disclosure: DisclosureId,
    /// Who asked; `None` if an exchange server named a client that it does not speak for.
    pub system: Option<SystemId>,
    /// The exchange server that spoke for it.
    pub exchange: Option<ExchangeId>,
    /// What was asked, if the contract knows it.
    pub operation: Option<OperationId>,
    /// What for, if the registry knows it.
    pub purpose: Option<PurposeId>,
    /// The refusal's stable code.
    pub code: &'static str,
    /// The bundle that was in force.
    pub bundle: Digest,
    /// Whom it was about, if that was read.
    pub subject: Option<Personal<String>>,
    /// What the agency claims.
    pub claimed: Claimed,
    /// Where the connection came from.
    pub source: IpAddr,
}

/// What an operator did to the gateway, such as suspending an agency. Not sealed, so that whoever checks the log can read it
/// without the key that names persons: it MUST NOT name any.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Action {
    /// Who: an operator's name, or `local:<unix user>`.
    pub by: String,
    /// What: one word, such as `suspend`.
    pub what: String,
    /// To what, such as `agency bank-a`.
    pub target: String,
    /// Why, in the operator's words; empty if there are none.
    pub reason: String,
    /// When it ends by itself.
    pub until: Option<jiff::Timestamp>,
}

/// How a disclosure ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// All of the answer was handed to the connection; whether the last piece arrived, nobody on this side can know.
    Complete(Shown),
    /// The connection broke before all of the answer was handed to it. What the whole answer would have shown.
    Partial(Shown),
    /// The caller got the answer for an unknown person.
    NoMatch(NoMatch),
    /// The caller got a refusal with that code.
    Refused(&'static str),
    /// The request was given up; nothing was sent.
    Aborted,
}

/// Fields that an answer shows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Shown {
    /// As they are.
    pub revealed: FieldSet,
    /// Through a mask.
    pub masked: FieldSet,
    /// As yes or no.
    pub matched: FieldSet,
}

impl From<Tally> for Shown {
    fn from(tally: Tally) -> Self {
        Self { revealed: tally.revealed, masked: tally.masked, matched: tally.matched.union(tally.refuted) }
    }
}

/// Why the answer was the one for an unknown person. The caller cannot tell these apart; the log can.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoMatch {
    /// The register has no such person.
    Unknown,
    /// A guard parameter was wrong.
    Guard,
    /// No claimed attribute was right.
    Claims,
    /// The policies show nothing of this record.
    Hidden,
    /// Too many failed guesses before; the register was not believed.
    Throttled,
    /// The person is sealed; what the register said was not read.
    Sealed,
}

impl NoMatch {
    // In the order of the log's format: a new one goes last.
    pub(super) const ALL: [Self; 6] =
        [Self::Unknown, Self::Guard, Self::Claims, Self::Hidden, Self::Throttled, Self::Sealed];

    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Guard => "guard",
            Self::Claims => "claims",
            Self::Hidden => "hidden",
            Self::Throttled => "throttled",
            Self::Sealed => "sealed",
        }
    }
}

impl From<Hidden> for NoMatch {
    fn from(hidden: Hidden) -> Self {
        match hidden {
            Hidden::Guard => Self::Guard,
            Hidden::Claims => Self::Claims,
            Hidden::Record => Self::Hidden,
            Hidden::Sealed => Self::Sealed,
        }
    }
}

/// Why a disclosure cannot be recorded, and therefore must not happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unavailable {
    /// More disclosures are under way than the log has slots for.
    #[error("the audit queue is full")]
    QueueFull,
    /// Fewer bytes are free than the log must leave.
    #[error("the audit disk is full")]
    DiskFull,
    /// The last write failed, and no new segment has proved durable yet.
    #[error("the audit disk fails")]
    DiskFails,
    /// The log is being closed.
    #[error("the audit log is closed")]
    Closed,
}
