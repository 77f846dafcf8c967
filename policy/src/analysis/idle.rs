//! Why a policy does nothing, if it does nothing: nobody asks, it contradicts itself, or others do the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::seat::{self, Seat};
use super::space::Space;
use super::unknown::Uses;
use crate::bundle::Bundle;
use crate::contract::{Field, Operation};
use crate::directory::{Purpose, System};
use crate::engine::{Folded, Ladder, Said, together};
use crate::model::Treatment;

/// Why a policy does nothing: without it everybody would get the same, whatever they ask under whatever circumstances.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Idle {
    /// No system in its scope may use an operation in its scope for a purpose that its conditions let pass.
    Nobody,
    /// Its conditions never hold.
    Contradiction,
    /// Wherever it would do something, these do as much.
    Shadowed {
        /// Their `@id`s.
        by: BTreeSet<String>,
    },
    /// Wherever it permits more than others, these forbid it.
    Overruled {
        /// Their `@id`s.
        by: BTreeSet<String>,
    },
    /// Wherever it holds there is nothing to do: a forbid where nothing more is permitted, a permit by a mask that no field has.
    Nothing,
}

/// Why the policy of that `@id` does nothing; `None` if it does something, if it cannot be told for certain, or if there is no such policy.
///
/// Circumstances and records are tried by representatives, as in [`crate::analysis::diff`].
pub fn idle(bundle: &Bundle, policy: &str) -> Option<Idle> {
    let at = bundle.engine().policies().iter().position(|known| known.id == policy)?;
    let mut found = Found::default();
    for (system, purposes) in askers(bundle) {
        for purpose in purposes.values() {
            for operation in bundle.contracts().operations() {
                found.look(&Seat { bundle, system, operation, purpose }, at)?;
            }
        }
    }
    let names = |policies: &BTreeSet<usize>| {
        let known = bundle.engine().policies();
        policies.iter().filter_map(|at| known.get(*at)).map(|policy| policy.id.clone()).collect::<BTreeSet<String>>()
    };
    Some(match &found {
        Found { open: false, .. } => Idle::Nobody,
        Found { holds: false, .. } => Idle::Contradiction,
        Found { alike, .. } if !alike.is_empty() => Idle::Shadowed { by: names(alike) },
        Found { stricter, .. } if !stricter.is_empty() => Idle::Overruled { by: names(stricter) },
        _ => Idle::Nothing,
    })
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = |ids: &BTreeSet<String>| ids.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ");
        match self {
            Self::Nobody => {
                f.write_str("no system that it is for may use what it is about, for a purpose that it names")
            }
            Self::Contradiction => f.write_str("its conditions never hold"),
            Self::Shadowed { by } => write!(f, "wherever it would do something, others do as much: {}", listed(by)),
            Self::Overruled { by } => write!(f, "wherever it would show something, others forbid it: {}", listed(by)),
            Self::Nothing => f.write_str("wherever it holds there is nothing that it could do"),
        }
    }
}

/// One system of each shape with every purpose that those of its shape may use.
fn askers(bundle: &Bundle) -> impl Iterator<Item = (&System, BTreeMap<&str, &Purpose>)> {
    let mut found: BTreeMap<usize, (&System, BTreeMap<&str, &Purpose>)> = BTreeMap::new();
    for system in bundle.directory().systems() {
        let Some(shape) = bundle.engine().shape(system) else { continue };
        let (_, purposes) = found.entry(shape).or_insert_with(|| (system, BTreeMap::new()));
        purposes.extend(seat::purposes(bundle.directory(), system).map(|purpose| (purpose.id.as_str(), purpose)));
    }
    found.into_values()
}

/// What was found of a policy so far.
#[derive(Default)]
struct Found {
    /// It is about somebody.
    open: bool,
    /// It holds somewhere.
    holds: bool,
    /// The policies of the same effect that did as much, wherever that was so.
    alike: BTreeSet<usize>,
    /// The forbids that left no more of what it permits.
    stricter: BTreeSet<usize>,
}

impl Found {
    /// Looks at one (system, operation, purpose); `None` as soon as the policy is seen to do something, or it cannot be told.
    fn look(&mut self, seat: &Seat<'_>, at: usize) -> Option<()> {
        let Some(folded) = seat.bundle.engine().folded(seat.system, seat.operation, &seat.purpose.id) else {
            return Some(());
        };
        let folded: Vec<Folded<'_>> = folded.into_iter().filter(Folded::is_open).collect();
        if !folded.iter().any(|policy| policy.policy == at) {
            return Some(());
        }
        self.open = true;
        let mut uses = Uses::default();
        let rules = seat.bundle.engine().rules();
        let conditions = folded.iter().filter_map(|policy| rules.get(policy.policy)).map(|rule| &rule.conditions);
        conditions.for_each(|conditions| uses.add(&Uses::of(conditions)));
        let space = Space::of(&uses, &seat::asker(&[None, Some(*seat)]));
        if !space.unsure.is_empty() {
            return None;
        }
        for number in space.numbers() {
            let point = space.point(number);
            if !seat.admits(&space, &point) {
                continue;
            }
            let facts = point.facts(&seat.operation.record, 1);
            let fact = |at: usize| facts.get(at).copied().flatten();
            let said: Vec<Said<'_>> = folded.iter().map(|policy| policy.said(&point.env, &fact)).collect();
            self.weigh(seat.operation, &said, at)?;
        }
        Some(())
    }

    fn weigh(&mut self, operation: &Operation, said: &[Said<'_>], at: usize) -> Option<()> {
        let Some(own) = said.iter().find(|said| said.policy == at) else { return Some(()) };
        // One that fails withholds, whatever it would say.
        if !own.failed.is_empty() {
            let permitted =
                |field: &Field| together(field, said.iter().filter(|other| other.policy != at)) != Treatment::Withhold;
            let mut failed = own.failed.iter().filter_map(|field| operation.record.field(field));
            if failed.any(permitted) {
                return None;
            }
        }
        self.holds |= !own.satisfied.is_empty();
        for field in own.satisfied.iter().filter_map(|field| operation.record.field(field)) {
            let without = together(field, said.iter().filter(|other| other.policy != at));
            if together(field, said.iter()) != without {
                return None;
            }
            let ladder = Ladder::of(field);
            let (Some(rank), Some(got)) = (own.rank(field), ladder.rank(without)) else { continue };
            let holding = said.iter().filter(|other| other.policy != at && other.satisfied.contains(field.index));
            for other in holding {
                let Some(others) = other.rank(field) else { continue };
                match (own.permits(), other.permits()) {
                    (true, true) if others <= rank => drop(self.alike.insert(other.policy)),
                    (false, false) if others >= rank && got >= rank => drop(self.alike.insert(other.policy)),
                    (true, false) if others >= rank && others > 0 => drop(self.stricter.insert(other.policy)),
                    _ => {}
                }
            }
        }
        Some(())
    }
}
