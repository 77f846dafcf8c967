//! What a change of a bundle alters: for whom, in which operation, for what purpose, of which field, and when.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use serde::Serialize;

use super::scopes::{Numbering, Scopes};
use super::seat::Seat;
use super::words::Shown;
use crate::bundle::Bundle;
use crate::directory::{Purpose, System};
use crate::model::{OperationId, PurposeId, SystemId};

mod aspects;
pub(super) mod compare;
pub(super) mod group;

use compare::{Found, compare};
use group::Difference;

/// What is different between two bundles.
#[derive(Clone, Debug, Serialize)]
pub struct Diff {
    /// All in one word.
    pub verdict: Verdict,
    /// Whether even the files are the same.
    pub same_files: bool,
    /// What more, less or otherwise is shown.
    pub changes: Vec<Change>,
    /// What else decides who may ask for what.
    pub aspects: Vec<Aspect>,
    /// Where no difference was found that is surely all: the comparison is not exact there.
    pub unsure: Vec<Change>,
    /// Sensitive fields of which more is shown.
    pub sensitive: Vec<String>,
}

/// What a change comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nobody sees anything else, whatever the texts say.
    Equal,
    /// Some see less, and nobody sees more.
    Narrows,
    /// Somebody sees more.
    Widens,
    /// Nobody was found to see more, but what was compared is not everything.
    Undecided,
}

/// A change of what is shown, to many where it is the same for many.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// More, less, or both.
    pub direction: Direction,
    /// The callers in few words, such as `3 telecom agencies`.
    pub whom: String,
    /// Every system, as `agency/system`.
    pub systems: BTreeSet<String>,
    /// The operations.
    pub operations: BTreeSet<String>,
    /// The purposes.
    pub purposes: BTreeSet<String>,
    /// The fields.
    pub fields: BTreeSet<String>,
    /// What the old bundle shows.
    pub before: Shown,
    /// What the new bundle shows.
    pub after: Shown,
    /// Whether one of the fields is of class `sensitive`, in either bundle.
    pub sensitive: bool,
    /// What did it.
    pub because: BTreeSet<Because>,
    /// Why the comparison is not exact; empty if it is.
    pub unsure: BTreeSet<String>,
}

/// Which way a change goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// More is shown.
    Widens,
    /// In some circumstances or of some records more, in others less.
    Both,
    /// Less is shown.
    Narrows,
    /// No difference was found.
    None,
}

/// What made a change.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Because {
    /// A policy says something else, or something else is in its scope.
    Changed {
        /// `@id`.
        policy: String,
        /// Where it stands in the new bundle, such as `policies/tax.cedar:12`.
        place: String,
    },
    /// A policy bears on it that did not.
    Came {
        /// `@id`.
        policy: String,
        /// Where it stands in the new bundle.
        place: String,
    },
    /// A policy bears on it no more.
    Gone {
        /// `@id`.
        policy: String,
        /// Where it stands in the old bundle.
        place: String,
    },
    /// The system may use the purpose in one of the bundles only.
    Enrolment,
    /// The operation is in one of the bundles only.
    Operation,
    /// The same policies, about another contract or directory.
    Meaning,
}

/// A difference in what else decides who may ask for what: purposes, certificates, guards.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Aspect {
    /// More can be had, less, or one cannot say.
    pub direction: Direction,
    /// In one sentence.
    pub said: String,
}

/// Compares two bundles. Names are compared, not texts: what is called otherwise is another thing.
///
/// Rates, caches and what documentation says are passed over: they do not decide what is shown.
pub fn diff(old: &Bundle, new: &Bundle) -> Diff {
    if old.digest() == new.digest() {
        return Diff::of(true, Vec::new(), (Vec::new(), BTreeSet::new()));
    }
    let mut numbering = Numbering::default();
    let scopes = [Scopes::of(old, &mut numbering), Scopes::of(new, &mut numbering)];
    let mut known: HashMap<Alike, Rc<[Found]>> = HashMap::new();
    let mut differences = Vec::new();
    for system in pairs(old.directory().systems(), new.directory().systems(), |system| system.id.clone()) {
        for purpose in purposes(old, new, &system) {
            for operation in pairs(old.contracts().operations(), new.contracts().operations(), |known| known.id.clone())
            {
                let seats = [0, 1].map(|side| {
                    let bundle = if side == 0 { old } else { new };
                    Some(Seat {
                        bundle,
                        system: system.of(side)?,
                        operation: operation.of(side)?,
                        purpose: purpose.of(side)?,
                    })
                });
                let shape =
                    |seat: &Option<Seat<'_>>| seat.as_ref().and_then(|seat| seat.bundle.engine().shape(seat.system));
                let [old_seat, new_seat] = &seats;
                let alike = Alike {
                    shapes: [shape(old_seat), shape(new_seat)],
                    operation: operation.name.clone(),
                    purpose: purpose.name.clone(),
                };
                let found = known.entry(alike).or_insert_with(|| {
                    let [old, new] = &scopes;
                    compare([old, new], &seats, &|_| true).into()
                });
                differences.extend(found.iter().map(|found| Difference {
                    system: system.name.clone(),
                    operation: operation.name.clone(),
                    purpose: purpose.name.clone(),
                    enrolled: [0, 1].map(|side| system.of(side).is_some() && purpose.of(side).is_some()),
                    exists: [0, 1].map(|side| operation.of(side).is_some()),
                    found: found.clone(),
                }));
            }
        }
    }
    let changes = group::group(&differences, [old, new]);
    Diff::of(false, changes, aspects::aspects(old, new))
}

impl Diff {
    fn of(same_files: bool, changes: Vec<Change>, (aspects, widened): (Vec<Aspect>, BTreeSet<String>)) -> Self {
        let (unsure, changes): (Vec<Change>, Vec<Change>) =
            changes.into_iter().partition(|change| change.direction == Direction::None);
        let directions =
            || changes.iter().map(|change| change.direction).chain(aspects.iter().map(|aspect| aspect.direction));
        let inexact = !unsure.is_empty() || changes.iter().any(|change| !change.unsure.is_empty());
        let verdict = if directions().any(|direction| matches!(direction, Direction::Widens | Direction::Both)) {
            Verdict::Widens
        } else if inexact {
            Verdict::Undecided
        } else if directions().any(|direction| direction == Direction::Narrows) {
            Verdict::Narrows
        } else {
            Verdict::Equal
        };
        let widening = changes.iter().filter(|change| change.sensitive && change.direction != Direction::Narrows);
        let sensitive: BTreeSet<String> =
            widening.flat_map(|change| change.fields.iter().cloned()).chain(widened).collect();
        Self { verdict, same_files, changes, aspects, unsure, sensitive: sensitive.into_iter().collect() }
    }
}

/// Callers for whom the same comes of it.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Alike {
    pub(super) shapes: [Option<usize>; 2],
    pub(super) operation: OperationId,
    pub(super) purpose: PurposeId,
}

/// What has one name in both bundles.
struct Pair<'a, N, T> {
    name: N,
    sides: [Option<&'a T>; 2],
}

impl<'a, N, T> Pair<'a, N, T> {
    fn of(&self, side: usize) -> Option<&'a T> {
        self.sides.get(side).copied().flatten()
    }
}

fn pairs<'a, N: Ord + Clone, T>(
    old: &'a [std::sync::Arc<T>],
    new: &'a [std::sync::Arc<T>],
    name: impl Fn(&T) -> N,
) -> Vec<Pair<'a, N, T>> {
    let mut found: BTreeMap<N, [Option<&'a T>; 2]> = BTreeMap::new();
    for (side, all) in [old, new].into_iter().enumerate() {
        for one in all {
            if let Some(slot) = found.entry(name(one)).or_default().get_mut(side) {
                *slot = Some(one);
            }
        }
    }
    found.into_iter().map(|(name, sides)| Pair { name, sides }).collect()
}

/// The purposes that the system may use in either bundle, each where it may.
fn purposes<'a>(
    old: &'a Bundle,
    new: &'a Bundle,
    system: &Pair<'a, SystemId, System>,
) -> Vec<Pair<'a, PurposeId, Purpose>> {
    let mut found: BTreeMap<PurposeId, [Option<&'a Purpose>; 2]> = BTreeMap::new();
    for (side, bundle) in [old, new].into_iter().enumerate() {
        let Some(system) = system.of(side) else { continue };
        for purpose in super::seat::purposes(bundle.directory(), system) {
            if let Some(slot) = found.entry(purpose.id.clone()).or_default().get_mut(side) {
                *slot = Some(purpose);
            }
        }
    }
    found.into_iter().map(|(name, sides)| Pair { name, sides }).collect()
}
