//! Differences put together so that a person can read them.

use std::collections::{BTreeMap, BTreeSet};

use super::compare::Found;
use super::{Because, Change, Direction};
use crate::analysis::whom::whom;
use crate::analysis::words::Shown;
use crate::bundle::Bundle;
use crate::model::{OperationId, PurposeId, SystemId};

/// What became of a field, for one caller.
pub(in crate::analysis) struct Difference {
    pub(in crate::analysis) system: SystemId,
    pub(in crate::analysis) operation: OperationId,
    pub(in crate::analysis) purpose: PurposeId,
    /// Whether the system may use the purpose, in the old and in the new bundle.
    pub(in crate::analysis) enrolled: [bool; 2],
    /// Whether there is such an operation.
    pub(in crate::analysis) exists: [bool; 2],
    pub(in crate::analysis) found: Found,
}

/// First the callers that see the same of it, then the fields, the operations and the purposes of which the same is true.
pub(in crate::analysis) fn group(differences: &[Difference], bundles: [&Bundle; 2]) -> Vec<Change> {
    let mut by_systems: BTreeMap<(Effect, &PurposeId, &OperationId, &str), Group> = BTreeMap::new();
    for difference in differences {
        let found = &difference.found;
        let key = (Effect::of(difference), &difference.purpose, &difference.operation, found.field.as_str());
        let group = by_systems.entry(key).or_default();
        group.systems.insert(difference.system.clone());
        group.because.extend(because(difference, bundles));
    }
    let mut by_fields: BTreeMap<(Effect, Systems, &PurposeId, &OperationId), Group> = BTreeMap::new();
    for ((effect, purpose, operation, field), one) in by_systems {
        let group = by_fields.entry((effect, one.systems.clone(), purpose, operation)).or_default();
        group.fields.insert(field.to_owned());
        group.because.extend(one.because);
    }
    let mut by_operations: BTreeMap<(Effect, Systems, Names, &PurposeId), Group> = BTreeMap::new();
    for ((effect, systems, purpose, operation), one) in by_fields {
        let group = by_operations.entry((effect, systems, one.fields, purpose)).or_default();
        group.operations.insert(operation.to_string());
        group.because.extend(one.because);
    }
    let mut by_purposes: BTreeMap<Same, Group> = BTreeMap::new();
    for ((effect, systems, fields, purpose), one) in by_operations {
        let group = by_purposes.entry((effect, systems, fields, one.operations)).or_default();
        group.purposes.insert(purpose.clone());
        group.because.extend(one.because);
    }
    let directories = bundles.map(Bundle::directory);
    let change = |((effect, systems, fields, operations), group): (Same, Group)| Change {
        direction: effect.direction,
        whom: whom(&systems, &group.purposes, directories),
        systems: systems.iter().map(ToString::to_string).collect(),
        operations,
        purposes: group.purposes.iter().map(ToString::to_string).collect(),
        fields,
        before: effect.before,
        after: effect.after,
        sensitive: effect.sensitive,
        because: group.because,
        unsure: effect.unsure,
    };
    by_purposes.into_iter().map(change).collect()
}

type Systems = BTreeSet<SystemId>;
type Names = BTreeSet<String>;
/// What changed how, for which systems, of which fields, in which operations.
type Same = (Effect, Systems, Names, Names);

/// What is the same for all of a group.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Effect {
    direction: Direction,
    sensitive: bool,
    before: Shown,
    after: Shown,
    unsure: BTreeSet<String>,
}

#[derive(Default)]
struct Group {
    systems: BTreeSet<SystemId>,
    fields: BTreeSet<String>,
    operations: BTreeSet<String>,
    purposes: BTreeSet<PurposeId>,
    because: BTreeSet<Because>,
}

impl Effect {
    fn of(difference: &Difference) -> Self {
        let found = &difference.found;
        Self {
            direction: match (found.widens, found.narrows) {
                (true, true) => Direction::Both,
                (true, false) => Direction::Widens,
                (false, true) => Direction::Narrows,
                (false, false) => Direction::None,
            },
            sensitive: found.sensitive,
            before: found.before.clone(),
            after: found.after.clone(),
            unsure: found.unsure.clone(),
        }
    }
}

fn because(difference: &Difference, bundles: [&Bundle; 2]) -> BTreeSet<Because> {
    let [was_there, is_there] = difference.exists;
    let [was_enrolled, is_enrolled] = difference.enrolled;
    if was_there != is_there {
        return BTreeSet::from([Because::Operation]);
    }
    if was_enrolled != is_enrolled {
        return BTreeSet::from([Because::Enrolment]);
    }
    let [old, new] = bundles;
    let named = |bundle: &Bundle, at: &usize| {
        let policy = bundle.engine().policies().get(*at)?;
        Some((policy.id.clone(), (*at, format!("{}:{}", policy.file, policy.line))))
    };
    let gone: BTreeMap<String, (usize, String)> =
        difference.found.gone.iter().filter_map(|at| named(old, at)).collect();
    let came: BTreeMap<String, (usize, String)> =
        difference.found.came.iter().filter_map(|at| named(new, at)).collect();
    let lost = gone.iter().filter(|(policy, _)| !came.contains_key(*policy));
    let lost = lost.map(|(policy, (_, place))| Because::Gone { policy: policy.clone(), place: place.clone() });
    let made = came.iter().filter_map(|(policy, (at, place))| {
        let (policy, place) = (policy.clone(), place.clone());
        match gone.get(&policy) {
            // What it names means something else: that is told by what else bears on it.
            Some((before, _)) if text(old, *before) == text(new, *at) => None,
            Some(_) => Some(Because::Changed { policy, place }),
            None => Some(Because::Came { policy, place }),
        }
    });
    let all: BTreeSet<Because> = lost.chain(made).collect();
    if all.is_empty() { BTreeSet::from([Because::Meaning]) } else { all }
}

/// What a policy says, whatever the entities that it names are in.
fn text(bundle: &Bundle, at: usize) -> Option<serde_json::Value> {
    bundle.engine().rules().get(at)?.policy.to_json().ok()
}
