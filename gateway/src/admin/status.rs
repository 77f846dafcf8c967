//! What a node says of itself.

use jiff::Timestamp;
use popgate_policy::problem::{Problem, Severity};
use serde::Serialize;

use crate::admit::Tripped;
use crate::app::diff::Counts;
use crate::break_glass::{Deed, Entry, Order, Stage};
use crate::suspend::{Suspension, Target};

/// What a node says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Why the node should get no requests now (draining, no bundle, audit not serving); empty if it should.
    pub not_ready: Vec<String>,
    /// The bundle in force.
    pub bundle: Option<BundleStatus>,
    /// Why the last bundle that was offered was refused; empty if it is the one in force.
    pub bundle_refused: Vec<ProblemStatus>,
    /// Certificates, authorities and revocation lists.
    pub trust: TrustStatus,
    /// The registers, by id.
    pub registers: Vec<RegisterStatus>,
    /// Whom the harvest guard has tripped for, or nearly.
    pub harvest: Vec<Tripped>,
    /// How it stands with limits that nodes share; `None` if they do not.
    pub share: Option<ShareStatus>,
    /// How it stands with changes that registers tell over NATS; `None` if they do not.
    pub changes: Option<ChangesStatus>,
    /// What is suspended.
    pub suspensions: SuspensionsStatus,
    /// What is lent, or was.
    pub break_glass: BreakGlassStatus,
    /// The candidate bundle beside it; `None` if the configuration has no `[shadow]`.
    pub shadow: Option<ShadowStatus>,
}

/// Limits that nodes share.
#[derive(Clone, Debug, Serialize)]
pub struct ShareStatus {
    /// Nodes that share them with this one, itself included.
    pub nodes: u32,
    /// For how long this node, or some of its limits, has lived on its own share; `None` if it does not.
    pub alone_for_seconds: Option<u64>,
    /// Why.
    pub why: Option<String>,
}

/// Changes that registers tell over NATS.
#[derive(Clone, Debug, Serialize)]
pub struct ChangesStatus {
    /// For how long they have not been heard; `None` if they are.
    pub away_for_seconds: Option<u64>,
    /// Why.
    pub why: Option<String>,
    /// How often what changed was not known, since the node was started, and all that was stored had to be validated.
    pub gaps: u64,
}

/// A register, as it is reached.
#[derive(Clone, Debug, Serialize)]
pub struct RegisterStatus {
    /// As contracts name it.
    pub id: String,
    /// Whether nobody waits for it now, because nearly everything failed.
    pub open: bool,
    /// Its addresses.
    pub targets: Vec<TargetStatus>,
}

/// One address of a register.
#[derive(Clone, Debug, Serialize)]
pub struct TargetStatus {
    /// Host and port, with the address that the host's name means.
    pub target: String,
    /// `in`, `due`, `ejected` or `unhealthy`.
    pub standing: &'static str,
    /// Requests that wait for it.
    pub in_flight: u32,
    /// How fast it answers, in milliseconds.
    pub latency_ms: f64,
}

/// A candidate bundle that runs beside the live one.
#[derive(Clone, Debug, Serialize)]
pub struct ShadowStatus {
    /// Its folder.
    pub path: String,
    /// Which runs; `None` if none does.
    pub digest: Option<String>,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Requests that were held against it, since it runs.
    pub compared: u64,
    /// Of those, the ones that it would have answered otherwise.
    pub differing: u64,
    /// Where these are written down.
    pub log: String,
    /// Why what is in the folder now does not run.
    pub problems: Vec<ProblemStatus>,
}

/// Break-glass orders.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BreakGlassStatus {
    /// The site whose orders are taken; `None` if none are.
    pub site: Option<String>,
    /// Orders, by id.
    pub orders: Vec<OrderStatus>,
    /// What is wrong with the folder's files.
    pub problems: Vec<ProblemStatus>,
    /// Whether the audit log does not have all of it yet: what it does not have is not lent.
    pub unrecorded: bool,
}

/// One order.
#[derive(Clone, Debug, Serialize)]
pub struct OrderStatus {
    /// What it says.
    #[serde(flatten)]
    pub order: Order,
    /// Where it is in its life.
    pub stage: Stage,
    /// Whether it lends now.
    pub lends: bool,
    /// Who signed, activated, ended and reviewed it.
    #[serde(flatten)]
    pub history: History,
}

/// Who did what with an order.
#[derive(Clone, Debug, Serialize)]
pub struct History {
    /// Whose keys had signed it.
    pub signed_by: Vec<String>,
    /// Who brought it.
    pub activated: Deed,
    /// Who ended it.
    pub ended: Option<Deed>,
    /// Who reviewed it.
    pub reviewed: Option<Deed>,
}

impl OrderStatus {
    /// Of an entry; `counts` says whether its file is good.
    pub fn of(entry: &Entry, now: Timestamp, counts: bool) -> Self {
        let stage = entry.stage(now);
        Self {
            order: entry.order.clone(),
            stage,
            lends: counts && stage == Stage::InForce,
            history: History {
                signed_by: entry.signed_by.clone(),
                activated: entry.activated.clone(),
                ended: entry.ended.clone(),
                reviewed: entry.reviewed.clone(),
            },
        }
    }
}

/// The kill switch.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SuspensionsStatus {
    /// What is in force.
    pub suspended: Vec<SuspensionStatus>,
    /// What is wrong with the file, if what was in force before it stays; ids that the bundle does not have; forbids.
    pub problems: Vec<ProblemStatus>,
    /// Whether the audit log does not have all of it yet.
    pub unrecorded: bool,
}

/// One suspension.
#[derive(Clone, Debug, Serialize)]
pub struct SuspensionStatus {
    /// What.
    #[serde(flatten)]
    pub target: Target,
    /// Why, who, and for how long.
    #[serde(flatten)]
    pub suspension: Suspension,
}

/// The bundle in force.
#[derive(Clone, Debug, Serialize)]
pub struct BundleStatus {
    /// 64 hex digits.
    pub digest: String,
    /// Its manifest's version, if it has one.
    pub version: Option<u64>,
    /// Whose keys have signed it.
    pub signed_by: Vec<String>,
    /// Since when it is in force.
    pub loaded: Timestamp,
    /// How much is in it.
    pub counts: Counts,
    /// What its author should look at.
    pub warnings: Vec<ProblemStatus>,
    /// What it changed, in words.
    pub changes: Vec<String>,
}

/// The trust in force.
#[derive(Clone, Debug, Serialize)]
pub struct TrustStatus {
    /// How many times it was replaced.
    pub generation: u64,
    /// What the operator should look at, such as a revocation list that is about to expire.
    pub warnings: Vec<String>,
    /// Why the last files that were offered were refused; `None` if they are those in force.
    pub refused: Option<String>,
}

/// A [`Problem`] as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProblemStatus {
    /// `error` or `warning`.
    pub severity: &'static str,
    /// A stable code.
    pub code: &'static str,
    /// The file, relative to the bundle's root.
    pub file: String,
    /// 1-based.
    pub line: Option<usize>,
    /// 1-based.
    pub column: Option<usize>,
    /// The offending text.
    pub text: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl From<&Problem> for ProblemStatus {
    fn from(problem: &Problem) -> Self {
        Self {
            severity: match problem.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            code: problem.code,
            file: problem.file.clone(),
            line: problem.at.map(|(line, _)| line),
            column: problem.at.map(|(_, column)| column),
            text: problem.text.clone(),
            message: problem.message.clone(),
            help: problem.help.clone(),
        }
    }
}
