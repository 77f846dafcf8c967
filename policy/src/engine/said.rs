//! What each policy says by itself: for tests of policies, never for an answer.

use crate::cedar::{Force, Rule};
use crate::condition::{Failed, Known};
use crate::contract::{Field, Operation};
use crate::directory::System;
use crate::engine::{Engine, Fact, Ladder, Rank};
use crate::model::{FieldSet, PurposeId, Treatment};
use crate::permit::Env;

/// What one policy says of the fields of one request's record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said<'e> {
    /// Its position in [`Engine::policies`].
    pub(crate) policy: usize,
    rule: &'e Rule,
    /// The fields that its scope takes in.
    within: FieldSet,
    /// The fields for which it is satisfied.
    pub(crate) satisfied: FieldSet,
    /// The fields for which it fails.
    pub(crate) failed: FieldSet,
}

impl Engine {
    /// What every policy says whose scope takes in the system and the operation, in the order of the files; `None` if one of them is
    /// not of this bundle. The attributes of the record are as in [`crate::engine::Trial::of`].
    pub(crate) fn said(
        &self,
        system: &System,
        operation: &Operation,
        purpose: &PurposeId,
        env: &Env,
        record: &[Option<Fact<'_>>],
    ) -> Option<Vec<Said<'_>>> {
        let shape = self.shapes.get(*self.shape_of.get(&system.id)?)?;
        let asked = self.operations.get(operation.index).filter(|asked| asked.operation.id == operation.id)?;
        let purpose = self.purposes.get(*self.purpose_at.get(purpose)?)?;
        let known = Known {
            entities: &self.model.entities,
            principal: shape,
            action: &asked.action,
            resource: None,
            purpose,
            record: &operation.record,
        };
        let facts = |at: usize| record.get(at).copied().flatten();
        let within = |rule: &Rule| rule.scope.takes_action(&asked.action) && rule.scope.takes_principal(shape);
        let rules = self.rules.iter().enumerate().filter(|(_, rule)| within(rule));
        let said = rules.map(|(policy, rule)| {
            let of = |resource| rule.condition.fold(&Known { resource, ..known }).holds(env, &facts);
            let of_all = (!rule.by_resource).then(|| of(None));
            let mut said = Said { policy, rule, within: FieldSet::EMPTY, satisfied: FieldSet::EMPTY, failed: FieldSet::EMPTY };
            for (field, lineage) in operation.record.fields.iter().zip(&asked.fields) {
                if !rule.scope.takes_resource(lineage) {
                    continue;
                }
                said.within.insert(field.index);
                match of_all.unwrap_or_else(|| of(Some(lineage))) {
                    Ok(true) => said.satisfied.insert(field.index),
                    Ok(false) => {}
                    Err(Failed) => said.failed.insert(field.index),
                }
            }
            said
        });
        Some(said.collect())
    }
}

impl Said<'_> {
    /// Whether it permits; else it forbids or caps.
    pub(crate) fn permits(&self) -> bool {
        matches!(self.rule.force, Force::Permit(_))
    }

    /// Whether it permits something of the field, as far as its scope says.
    pub(crate) fn may_permit(&self, field: &Field) -> bool {
        self.permits() && self.within.contains(field.index) && self.rank(field).is_some()
    }

    /// The rung that it gives where it permits and leaves where it forbids; `None` for a mask that the field does not have.
    pub(crate) fn rank(&self, field: &Field) -> Option<Rank> {
        let ladder = Ladder::of(field);
        match self.rule.force {
            Force::Permit(treatment) => ladder.rank(treatment),
            Force::Forbid => ladder.rank(Treatment::Withhold),
            Force::Cap(treatment) => Some(ladder.cap(treatment)),
        }
    }
}

/// What a field gets of those policies together. Where one fails it is withheld.
pub(crate) fn together<'s>(field: &Field, said: impl Iterator<Item = &'s Said<'s>>) -> Treatment {
    let ladder = Ladder::of(field);
    let mut standing = ladder.start();
    for said in said {
        if said.failed.contains(field.index) {
            return Treatment::Withhold;
        }
        if said.satisfied.contains(field.index) {
            standing = ladder.apply(standing, said.rule.force);
        }
    }
    ladder.treatment(standing)
}
