//! What each policy says by itself: for tests of policies, never for an answer.

use std::sync::Arc;

use crate::cedar::{Force, Lineage, Rule, in_scope, uid};
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
        let facts = |at: usize| record.get(at).copied().flatten();
        let within = |rule: &Rule| in_scope(&rule.policy, Some(shape), Some(&asked.action), None);
        let rules = self.rules.iter().enumerate().filter(|(_, rule)| within(rule));
        let said = rules.map(|(policy, rule)| {
            // Alone, and as if it revealed: then what is revealed is where it is satisfied.
            let alone = Rule { force: Force::Permit(Treatment::Reveal), ..rule.clone() };
            let table = self.with_rules(vec![alone], Vec::new()).build(shape, asked, purpose).table;
            let outcome = table.at_record(&table.at_request(env), env, &facts);
            let fields = operation.record.fields.iter().map(|field| field.index);
            let satisfied = fields.filter(|field| outcome.treatments.of(*field) == Treatment::Reveal).collect();
            Said { policy, rule, satisfied, failed: outcome.errors }
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
    pub(crate) fn may_permit(&self, engine: &Engine, field: &Field) -> bool {
        let lineage = uid("Field", field.name.as_str()).map(|uid| Lineage::of(uid, &engine.model.entities));
        let within = lineage.is_ok_and(|lineage| in_scope(&self.rule.policy, None, None, Some(&lineage)));
        within && self.permits() && self.rank(field).is_some()
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

impl Engine {
    /// The same bundle's contracts and directory under other rules. `tables` as in [`Engine`], or none if only
    /// [`Engine::build`] is asked.
    pub(super) fn with_rules(&self, rules: Vec<Rule>, tables: Vec<super::Slot>) -> Self {
        Self {
            rules,
            policies: Arc::clone(&self.policies),
            model: Arc::clone(&self.model),
            operations: Arc::clone(&self.operations),
            shapes: Arc::clone(&self.shapes),
            shape_of: Arc::clone(&self.shape_of),
            purposes: Arc::clone(&self.purposes),
            purpose_at: Arc::clone(&self.purpose_at),
            tables,
        }
    }
}
