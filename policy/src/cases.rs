//! Cases: what somebody gets of an operation under given circumstances, written down beside the bundle and tried against it.
//!
//! A case goes the way of a request, through the gates of purpose registry and directory and through the policies, but for the
//! register: what a record says of itself is part of the case. It discloses nothing. Cases are no part of a bundle.

use std::net::IpAddr;
use std::sync::Arc;

use crate::bundle::{Bundle, Source};
use crate::contract::{Contracts, Operation};
use crate::directory::{Directory, Purpose, Requirement, System};
use crate::engine::{Engine, Fact, PolicyInfo};
use crate::model::{FieldName, FieldSet, SystemId, Treatment};
use crate::problem::Problem;

mod coverage;
mod expect;
mod read;
mod run;

#[cfg(test)]
mod tests;

pub use coverage::{Coverage, Exercised};
use expect::Expected;

/// The cases of a bundle, all of whose names the bundle knows.
#[derive(Debug)]
pub struct Cases(Vec<Case>);

/// One case.
#[derive(Debug)]
pub struct Case {
    /// Its name; no two cases of a bundle have the same.
    pub name: String,
    /// The file, relative to the bundle's root.
    pub file: Arc<str>,
    /// The 1-based line on which it begins.
    pub line: usize,
    /// Who asks: each of them must get the same.
    systems: Vec<Arc<System>>,
    operation: Arc<Operation>,
    purpose: Arc<Purpose>,
    circumstances: Circumstances,
    /// By position in the operation's parameters: whether the request has it.
    asks: Vec<bool>,
    /// By position in the record's attributes; one that the case leaves open is what is usual, see [`run`].
    record: Vec<Stated>,
    /// As if everything were permitted to everybody: whatever the permits come to say, the forbids leave no more.
    whatever_is_permitted: bool,
    expected: Expected,
}

/// What a case says of the circumstances; the rest follows from who asks for what.
#[derive(Debug)]
struct Circumstances {
    at: jiff::civil::DateTime,
    from: Option<IpAddr>,
    assurance: Option<String>,
    user: Option<bool>,
    case: Option<bool>,
}

/// What a case says of an attribute of the record.
#[derive(Clone, Debug)]
enum Stated {
    Open,
    Missing,
    Text(String),
    Truth(bool),
}

/// How all cases went.
#[derive(Debug)]
pub struct Report<'a> {
    /// One a case and system, in the order of the files.
    pub tried: Vec<Tried<'a>>,
    /// What the cases that went as expected say about the policies.
    pub coverage: Coverage<'a>,
}

/// How a case went for one system.
#[derive(Debug)]
pub struct Tried<'a> {
    /// Which case.
    pub case: &'a Case,
    /// Who asked.
    pub system: SystemId,
    /// What became of the request.
    pub end: End,
    /// What is not as expected; empty if all is.
    pub failures: Vec<Failure<'a>>,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It is refused, and the register is not asked.
    Refused(Why),
    /// It is answered as if there were no such person.
    Unknown,
    /// It is answered with what the policies give.
    Answered,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The purpose is not valid on that day.
    NotValid,
    /// The system is not enrolled for the purpose.
    NotEnrolled,
    /// The system may not come from that address.
    Network,
    /// The purpose requires what the request does not bring.
    Evidence(Requirement),
    /// The policies show nothing.
    Nothing,
    /// The policies do not let a parameter be used.
    Parameter(String),
}

/// Something that is not as a case expects.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure<'a> {
    /// The request ended in another way.
    End {
        /// How it should have.
        expected: &'static str,
    },
    /// A field got something else.
    Field {
        /// Which.
        field: FieldName,
        /// What it should have got.
        expected: Treatment,
        /// What it got.
        got: Treatment,
        /// The policies that are satisfied for it, the permits that are not, and those that fail.
        policies: Vec<(Voice, &'a PolicyInfo)>,
    },
    /// A policy failed for a field, and the case does not say so; or it does, and none did.
    Error {
        /// Which field.
        field: FieldName,
        /// Whether the case says so.
        expected: bool,
        /// The policies that failed.
        policies: Vec<(Voice, &'a PolicyInfo)>,
    },
}

/// What a policy says about a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// It is satisfied.
    Satisfied,
    /// It would permit the field, and is not satisfied.
    Silent,
    /// It failed to evaluate.
    Failed,
}

impl Cases {
    /// Reads `cases/*.toml`.
    ///
    /// # Errors
    /// Every mistake that could be found, not only the first.
    pub fn load(source: &Source, bundle: &Bundle) -> Result<Self, Vec<Problem>> {
        read::load(source, &Against::of(bundle))
    }

    /// Every case, in the order of the files.
    pub fn iter(&self) -> impl Iterator<Item = &Case> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tries every case, or the one of that name, against the bundle that they were loaded with.
    pub fn run<'a>(&'a self, bundle: &'a Bundle, only: Option<&str>) -> Report<'a> {
        let chosen: Vec<&Case> = self.0.iter().filter(|case| only.is_none_or(|name| case.name == name)).collect();
        let open =
            chosen.iter().any(|case| case.whatever_is_permitted).then(|| bundle.engine().permitting_everything());
        run::run(&chosen, &Against::of(bundle), open.as_ref())
    }
}

/// What cases are tried against.
struct Against<'b> {
    contracts: &'b Contracts,
    directory: &'b Directory,
    engine: &'b Engine,
}

impl<'b> Against<'b> {
    fn of(bundle: &'b Bundle) -> Self {
        Self { contracts: bundle.contracts(), directory: bundle.directory(), engine: bundle.engine() }
    }
}

impl Stated {
    /// `None` where the record does not have it in the form that the contract says.
    fn fact(&self) -> Option<Fact<'_>> {
        match self {
            Self::Open | Self::Missing => None,
            Self::Text(text) => Some(Fact::Text(text)),
            Self::Truth(truth) => Some(Fact::Truth(*truth)),
        }
    }
}

impl End {
    /// In one word: `refused`, `unknown`, `answered`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Unknown => "unknown",
            Self::Answered => "answered",
        }
    }
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotValid => f.write_str("the purpose is not valid on that day"),
            Self::NotEnrolled => f.write_str("the system is not enrolled for the purpose"),
            Self::Network => f.write_str("the system may not come from that address"),
            Self::Evidence(requirement) => {
                let missing = match requirement {
                    Requirement::Case => "case",
                    Requirement::User => "user",
                    Requirement::Assurance => "assurance",
                };
                write!(f, "the purpose requires `{missing}`")
            }
            Self::Nothing => f.write_str("the policies show nothing"),
            Self::Parameter(name) => {
                write!(f, "the policies do not let the parameter `{name}` be used: its field needs at least a match")
            }
        }
    }
}

impl Report<'_> {
    /// Whether every case went as expected.
    pub fn passed(&self) -> bool {
        self.tried.iter().all(|tried| tried.failures.is_empty())
    }
}

/// The fields of an operation's record that a name means: a field, everything below a field, or a group.
fn fields_named(operation: &Operation, name: &str) -> FieldSet {
    let below = |field: &str| field.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let fields = operation.record.fields.iter();
    let meant = fields.filter(|field| field.group.as_str() == name || below(field.name.as_str()));
    meant.map(|field| field.index).collect()
}
