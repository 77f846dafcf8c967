//! Who can ever see a field: the inverse of what a caller gets.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use serde::Serialize;

use super::diff::compare::{Found, compare};
use super::diff::group::{Difference, group};
use super::diff::{Alike, Because};
use super::scopes::{Numbering, Scopes};
use super::seat::{Seat, purposes};
use super::words::Shown;
use crate::bundle::Bundle;
use crate::contract::Field;
use crate::model::Treatment;

/// Callers who can see something, and when.
#[derive(Clone, Debug, Serialize)]
pub struct Access {
    /// In few words, such as `3 telecom agencies`.
    pub whom: String,
    /// Every system, as `agency/system`.
    pub systems: BTreeSet<String>,
    /// By which operations.
    pub operations: BTreeSet<String>,
    /// For which purposes.
    pub purposes: BTreeSet<String>,
    /// Which fields.
    pub fields: BTreeSet<String>,
    /// What, and in which circumstances.
    pub shown: Shown,
    /// The policies that bear on it.
    pub policies: BTreeSet<Bearing>,
    /// Why the conditions may not be all; empty if they are. Never empty where nothing is shown.
    pub unsure: BTreeSet<String>,
}

/// A policy that bears on what is shown.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Bearing {
    /// `@id`.
    pub policy: String,
    /// Such as `policies/tax.cedar:12`.
    pub place: String,
}

/// Everybody who can ever see one of the wanted fields, be it through a mask or by asking whether a value is right; on any day, from
/// anywhere. Purposes that are only lent are for every system. Of whom that is not known, what is shown is nothing and `unsure` says why.
pub fn who(bundle: &Bundle, wanted: &dyn Fn(&Field) -> bool) -> Vec<Access> {
    let scopes = Scopes::of(bundle, &mut Numbering::default());
    let mut known: HashMap<Alike, Rc<[Found]>> = HashMap::new();
    let mut differences = Vec::new();
    let operations =
        bundle.contracts().operations().iter().filter(|operation| operation.record.fields.iter().any(wanted));
    for operation in operations {
        for system in bundle.directory().systems() {
            for purpose in purposes(bundle.directory(), system) {
                let seats = [None, Some(Seat { bundle, system, operation, purpose })];
                let alike = Alike {
                    shapes: [None, bundle.engine().shape(system)],
                    operation: operation.id.clone(),
                    purpose: purpose.id.clone(),
                };
                let found = known.entry(alike).or_insert_with(|| compare([&scopes, &scopes], &seats, wanted).into());
                // Where nothing was seen at what was tried, it is not known that nothing ever is.
                let can_be = |found: &Found| {
                    let field = operation.record.field_named(found.field.as_str());
                    let answered = |field| Some(seats.iter().flatten().next()?.answered(field, Treatment::Reveal));
                    field.and_then(answered).is_some_and(|most| most != Treatment::Withhold)
                };
                let told = found
                    .iter()
                    .filter(|found| !found.after.is_nothing() || (!found.unsure.is_empty() && can_be(found)));
                differences.extend(told.map(|found| Difference {
                    system: system.id.clone(),
                    operation: operation.id.clone(),
                    purpose: purpose.id.clone(),
                    enrolled: [true, true],
                    exists: [true, true],
                    found: found.clone(),
                }));
            }
        }
    }
    let access = |change: super::Change| Access {
        whom: change.whom,
        systems: change.systems,
        operations: change.operations,
        purposes: change.purposes,
        fields: change.fields,
        shown: change.after,
        policies: change.because.into_iter().filter_map(bearing).collect(),
        unsure: change.unsure,
    };
    group(&differences, [bundle, bundle]).into_iter().map(access).collect()
}

fn bearing(because: Because) -> Option<Bearing> {
    match because {
        Because::Came { policy, place } | Because::Changed { policy, place } | Because::Gone { policy, place } => {
            Some(Bearing { policy, place })
        }
        Because::Enrolment | Because::Operation | Because::Meaning => None,
    }
}
