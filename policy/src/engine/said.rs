//! What each policy says by itself: for tests of policies, never for an answer.

use crate::bundle::Source;
use crate::cedar::{self, Force, Rule};
use crate::condition::{Expr, Failed, Known};
use crate::contract::{Field, Operation};
use crate::directory::System;
use crate::engine::tables::Row;
use crate::engine::{Engine, Facts, Ladder, Rank};
use crate::model::{FieldIx, FieldSet, PurposeId, Treatment};
use crate::permit::Env;

/// What one policy says of the fields of one request's record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said<'e> {
    /// Its position in [`Engine::policies`], which does not have what only a test permits.
    pub(crate) policy: usize,
    rule: &'e Rule,
    /// The fields for which it may be satisfied, under whatever circumstances and of whatever record.
    open: FieldSet,
    /// The fields for which it is satisfied.
    pub(crate) satisfied: FieldSet,
    /// The fields for which it fails.
    pub(crate) failed: FieldSet,
}

/// One policy as far as system, operation and purpose tell of its conditions.
#[derive(Debug)]
pub(crate) struct Folded<'e> {
    /// As in [`Said`].
    pub(crate) policy: usize,
    rule: &'e Rule,
    within: FieldSet,
    /// Where it is the same for every field.
    shared: Option<Expr>,
    /// By field, where it asks which one it is about.
    own: Vec<(FieldIx, Expr)>,
}

impl Engine {
    /// Every policy whose scope takes in the system and the operation, in the order of the files; `None` if one of them is not of this
    /// bundle.
    pub(crate) fn folded(
        &self,
        system: &System,
        operation: &Operation,
        purpose: &PurposeId,
    ) -> Option<Vec<Folded<'_>>> {
        let shape = &self.shapes.get(self.shape(system)?)?.lineage;
        let asked = self.operations.get(operation.index).filter(|asked| asked.operation.id == operation.id)?;
        let purpose = self.purposes.get(purpose)?;
        let known = Known {
            entities: &self.model.entities,
            principal: shape,
            action: &asked.action,
            resource: None,
            purpose,
            record: &operation.record,
        };
        let takes = |rule: &Rule| rule.scope.takes_action(&asked.action) && rule.scope.takes_principal(shape);
        let rules = self.rules.iter().enumerate().filter(|(_, rule)| takes(rule));
        let folded = rules.map(|(policy, rule)| {
            let fields = operation.record.fields.iter().zip(&asked.fields);
            let fields = fields.filter(|(_, lineage)| rule.scope.takes_resource(lineage));
            let mut folded = Folded { policy, rule, within: FieldSet::EMPTY, shared: None, own: Vec::new() };
            for (field, lineage) in fields {
                folded.within.insert(field.index);
                if rule.by_resource {
                    let known = Known { resource: Some(lineage), ..known };
                    folded.own.push((field.index, rule.condition.fold(&known)));
                }
            }
            if !rule.by_resource {
                folded.shared = Some(rule.condition.fold(&known));
            }
            folded
        });
        Some(folded.collect())
    }
}

impl<'e> Folded<'e> {
    /// Whether it may be satisfied, or fail, for some field, whatever circumstances and record are.
    pub(crate) fn is_open(&self) -> bool {
        !self.open().is_empty()
    }

    fn open(&self) -> FieldSet {
        match &self.shared {
            Some(shared) if *shared == Expr::FALSE => FieldSet::EMPTY,
            Some(_) => self.within,
            None => self.own.iter().filter(|(_, expr)| *expr != Expr::FALSE).map(|(field, _)| *field).collect(),
        }
    }

    /// What it says under those circumstances of a record with those attributes.
    pub(crate) fn said(&self, env: &Env, facts: Facts<'_, '_>) -> Said<'e> {
        let (mut satisfied, mut failed) = (FieldSet::EMPTY, FieldSet::EMPTY);
        match self.shared.as_ref().map(|expr| expr.holds(env, facts)) {
            Some(Ok(true)) => satisfied = self.within,
            Some(Err(Failed)) => failed = self.within,
            Some(Ok(false)) | None => {}
        }
        for (field, expr) in &self.own {
            match expr.holds(env, facts) {
                Ok(true) => satisfied.insert(*field),
                Ok(false) => {}
                Err(Failed) => failed.insert(*field),
            }
        }
        Said { policy: self.policy, rule: self.rule, open: self.open(), satisfied, failed }
    }
}

impl Engine {
    /// The same with one more policy, the last, which permits everything to everybody: what is left then is what the forbids leave. It
    /// MUST be asked for no answer.
    pub(crate) fn permitting_everything(&self) -> Self {
        let everything = "@id(\"everything\") @basis(\"none\") permit (principal, action, resource);";
        let source = Source { files: [("policies/everything.cedar".to_owned(), everything.to_owned())].into() };
        let more = cedar::parse(&source, None, &mut Vec::new()).into_iter().map(|read| read.rule);
        let shapes = self.shapes.iter();
        let rows = shapes.flat_map(|shape| self.operations.iter().map(|_| Row::new(&shape.purposes)));
        self.with_rules(self.rules.iter().cloned().chain(more).collect(), rows.collect())
    }
}

impl Said<'_> {
    /// Whether it permits; else it forbids or caps.
    pub(crate) fn permits(&self) -> bool {
        matches!(self.rule.force, Force::Permit(_))
    }

    /// Whether it would permit something of the field under other circumstances or of another record.
    pub(crate) fn may_permit(&self, field: &Field) -> bool {
        self.permits() && self.open.contains(field.index) && self.rank(field).is_some()
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
