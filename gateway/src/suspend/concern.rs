//! Whom a suspension concerns in a bundle, and which suspensions concern nobody.

use std::collections::BTreeSet;

use popgate_policy::bundle::Bundle;
use popgate_policy::contract::Operation;
use popgate_policy::directory::{Directory, Exchange, System};
use popgate_policy::model::{PurposeId, RegisterId};
use popgate_policy::problem::Problem;
use serde::{Deserialize, Serialize};

use super::{Book, Kind, Places, Target, registers};

/// How much a suspension takes away.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Concern {
    /// Systems that are shown less, or nothing.
    pub systems: usize,
    /// Operations that show them less, or nothing.
    pub operations: usize,
}

impl Concern {
    /// What a suspension takes away of that bundle, which MUST be one without suspensions. Decides every (system, operation,
    /// purpose) that it could concern: for a large bundle that takes seconds, never on a data-plane core.
    pub fn of(bundle: &Bundle, target: &Target) -> Self {
        let (mut concerned, mut operations) = (0, BTreeSet::new());
        let lent = Some(&target.id).filter(|_| target.kind == Kind::Purpose);
        let lent = lent.and_then(|id| bundle.directory().purpose(id)).filter(|purpose| purpose.break_glass);
        for system in
            bundle.directory().systems().iter().filter(|system| may_concern(target, system, bundle.directory()))
        {
            let before = operations.len();
            let mut any = matches!(target.kind, Kind::Agency | Kind::System);
            for operation in bundle.contracts().operations() {
                let mut purposes = system.purposes.iter().chain(lent.map(|purpose| &purpose.id));
                if purposes.any(|purpose| concerns(bundle, target, system, operation, purpose)) {
                    operations.insert(operation.index);
                    any = true;
                }
            }
            any |= operations.len() > before;
            concerned += usize::from(any);
        }
        Self { systems: concerned, operations: operations.len() }
    }
}

/// What an operator should know of suspensions under a bundle: ids that it does not have are kept (the next one may have them
/// again) and warned of; a forbid that is suspended is an error, and stays in force.
pub fn problems<'a>(
    book: &Book,
    places: &Places,
    bundle: &'a Bundle,
    configured: impl Iterator<Item = &'a RegisterId> + Clone,
    file: &str,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for target in book.suspended.keys() {
        let problem = match look_up(bundle, configured.clone(), target) {
            Known::Yes => continue,
            Known::Forbid(place) => {
                let message = format!("`{}` forbids, and a forbid cannot be suspended: it stays in force", target.id);
                Problem::error("forbid-suspended", file, message)
                    .help(format!("it stands at {place}; change the bundle"))
            }
            Known::No(known) => {
                let message = format!("{} `{}` is suspended, and not in the bundle", target.kind.as_str(), target.id);
                Problem::warning("unknown-id", file, message).suggest(&target.id, known)
            }
        };
        problems.push(Problem { at: places.get(target).copied(), ..problem });
    }
    problems
}

/// What a bundle knows of a target.
pub(super) enum Known<'a> {
    /// It has it, and it can be suspended.
    Yes,
    /// It is a forbid, at that place.
    Forbid(String),
    /// It has only these.
    No(Vec<&'a str>),
}

pub(super) fn look_up<'a>(
    bundle: &'a Bundle,
    configured: impl Iterator<Item = &'a RegisterId>,
    target: &Target,
) -> Known<'a> {
    let directory = bundle.directory();
    let known: Vec<&str> = match target.kind {
        Kind::Agency => directory.agencies().map(|agency| agency.id.as_str()).collect(),
        Kind::System => {
            let exchanges = directory.exchanges().iter().map(|exchange| exchange.id.as_str());
            directory.systems().iter().map(|system| system.id.as_str()).chain(exchanges).collect()
        }
        Kind::Purpose => directory.purposes().map(|purpose| purpose.id.as_str()).collect(),
        Kind::Register => {
            let asked = bundle.contracts().operations().iter().flat_map(|operation| registers(operation));
            configured.chain(asked).map(RegisterId::as_str).collect()
        }
        Kind::Policy => {
            let policies = bundle.engine().policies();
            if let Some(forbid) = policies.iter().find(|policy| policy.id == target.id && !policy.permits) {
                return Known::Forbid(format!("{}:{}", forbid.file, forbid.line));
            }
            policies.iter().filter(|policy| policy.permits).map(|policy| policy.id.as_str()).collect()
        }
    };
    if known.contains(&target.id.as_str()) { Known::Yes } else { Known::No(known) }
}

fn may_concern(target: &Target, system: &System, directory: &Directory) -> bool {
    // What an exchange server is not let ask, its members' systems are not shown by it.
    let spoken_for = |is_held: &dyn Fn(&Exchange) -> bool| {
        let mut exchanges = directory.exchanges().iter().filter(|exchange| is_held(exchange));
        exchanges.any(|exchange| system.xroad.as_ref().is_some_and(|client| exchange.speaks_for(client)))
    };
    match target.kind {
        Kind::Agency => {
            system.agency.id.as_str() == target.id || spoken_for(&|exchange| exchange.agency.id.as_str() == target.id)
        }
        Kind::System => system.id.as_str() == target.id || spoken_for(&|exchange| exchange.id.as_str() == target.id),
        // One that is lent could be anybody's.
        Kind::Purpose => {
            system.purposes.iter().any(|purpose| purpose.as_str() == target.id)
                || directory.purpose(&target.id).is_some_and(|purpose| purpose.break_glass)
        }
        Kind::Policy | Kind::Register => true,
    }
}

fn concerns(bundle: &Bundle, target: &Target, system: &System, operation: &Operation, purpose: &PurposeId) -> bool {
    match target.kind {
        Kind::Agency | Kind::System => bundle.discloses(system, operation, purpose),
        Kind::Purpose => purpose.as_str() == target.id && bundle.discloses(system, operation, purpose),
        Kind::Register => {
            registers(operation).any(|register| register.as_str() == target.id)
                && bundle.discloses(system, operation, purpose)
        }
        Kind::Policy => bundle.bears_on(&target.id, system, operation, purpose),
    }
}
