//! Making a table: take the policies whose scopes take it in, evaluate what can be evaluated, keep the rest.

use std::collections::{BTreeMap, HashMap};

use crate::cedar::{Force, Lineage, Phase};
use crate::condition::{Expr, Known, Value};
use crate::engine::ladder::Ladder;
use crate::engine::table::{Condition, Late, LateField, Outcome};
use crate::engine::{Asked, Engine, Table};
use crate::model::{FieldIx, Treatment};

/// A table and how it came about.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) table: Table,
    /// Per field, the policies (by position in [`Engine::rules`]) that are satisfied or may yet be.
    pub(super) live: BTreeMap<FieldIx, Vec<usize>>,
}

/// What one policy says of a field before the request.
enum Said<'e> {
    Nothing,
    Force(Force),
    Waits(&'e Expr),
    Fails,
}

impl Engine {
    /// Makes the table.
    pub(super) fn build(&self, system: &Lineage, asked: &Asked, purpose: &cedar_policy::EntityUid) -> Built {
        let record = &asked.operation.record;
        let known = Known {
            entities: &self.model.entities,
            principal: system,
            action: &asked.action,
            resource: None,
            purpose,
            record,
        };
        let candidates = self.candidates(system, &asked.action);
        // What is the same for every field is evaluated once.
        let folded: Vec<Option<Expr>> = candidates
            .iter()
            .filter_map(|at| self.rules.get(*at))
            .map(|rule| (!rule.by_resource).then(|| rule.condition.fold(&known)))
            .collect();
        let mut fixed = Outcome::closed(record.fields.len());
        let mut groups = Groups::default();
        let mut live = BTreeMap::new();
        for (field, lineage) in record.fields.iter().zip(&asked.fields) {
            let in_scope: Vec<(usize, &Option<Expr>)> = candidates
                .iter()
                .zip(&folded)
                .filter(|(at, _)| self.rules.get(**at).is_some_and(|rule| rule.scope.takes_resource(lineage)))
                .map(|(at, folded)| (*at, folded))
                .collect();
            let permits = |at: usize| self.rules.get(at).is_some_and(|rule| matches!(rule.force, Force::Permit(_)));
            // Without a permit it is withheld, whatever the forbids say.
            if !in_scope.iter().any(|(at, _)| permits(*at)) {
                continue;
            }
            let of_field: Vec<Option<Expr>> = in_scope
                .iter()
                .map(|(at, folded)| match folded {
                    Some(_) => None,
                    None => {
                        let known = Known { resource: Some(lineage), ..known };
                        self.rules.get(*at).map(|rule| rule.condition.fold(&known))
                    }
                })
                .collect();
            let ladder = Ladder::of(field);
            let mut standing = ladder.start();
            let (mut kept, mut waiting, mut fails) = (Vec::new(), Vec::new(), false);
            for ((at, shared), own) in in_scope.iter().zip(&of_field) {
                let Some(rule) = self.rules.get(*at) else { continue };
                match own.as_ref().or(shared.as_ref()).map_or(Said::Fails, |expr| Said::of(expr, rule.force)) {
                    Said::Nothing => continue,
                    Said::Force(force) => standing = ladder.apply(standing, force),
                    Said::Waits(expr) => waiting.push((rule.force, expr)),
                    Said::Fails => fails = true,
                }
                kept.push(*at);
            }
            if fails {
                fixed.errors.insert(field.index);
                continue;
            }
            live.insert(field.index, kept);
            let field = LateField { index: field.index, ladder, standing };
            let hoped = waiting.iter().map(|(force, _)| *force).filter(|force| matches!(force, Force::Permit(_)));
            let most = field.treatment(hoped);
            if waiting.is_empty() || most == Treatment::Withhold {
                fixed.set(field.index, most, most);
            } else {
                fixed.set(field.index, Treatment::Withhold, most);
                groups.add(waiting, field);
            }
        }
        Built { table: groups.into_table(fixed), live }
    }

    /// The policies, by position, that are about the system and the operation.
    fn candidates(&self, system: &Lineage, action: &Lineage) -> Vec<usize> {
        let rules = self.rules.iter().enumerate();
        let about = rules.filter(|(_, rule)| rule.scope.takes_action(action) && rule.scope.takes_principal(system));
        about.map(|(at, _)| at).collect()
    }
}

impl<'e> Said<'e> {
    fn of(folded: &'e Expr, force: Force) -> Self {
        match folded {
            Expr::Is(Value::Truth(true)) => Self::Force(force),
            Expr::Is(Value::Truth(false)) => Self::Nothing,
            Expr::Is(_) | Expr::Fails => Self::Fails,
            open => Self::Waits(open),
        }
    }
}

/// Fields by what they wait for.
#[derive(Default)]
struct Groups {
    conditions: Vec<Condition>,
    at: HashMap<Condition, usize>,
    late: Vec<Late>,
    group_of: HashMap<Vec<(Force, usize)>, usize>,
    fields: Vec<Vec<LateField>>,
}

impl Groups {
    /// Policies of one force and phase are one condition: that any of them holds.
    fn add(&mut self, waiting: Vec<(Force, &Expr)>, field: LateField) {
        let mut by_force: Vec<(Force, Phase, Vec<Expr>)> = Vec::new();
        for (force, expr) in waiting {
            let phase = expr.phase().unwrap_or(Phase::Record);
            let same = by_force.iter_mut().find(|(known, when, _)| *known == force && *when == phase);
            match same {
                Some((_, _, all)) if all.contains(expr) => {}
                Some((_, _, all)) => all.push(expr.clone()),
                None => by_force.push((force, phase, vec![expr.clone()])),
            }
        }
        let phase = by_force.iter().map(|(_, phase, _)| *phase).max().unwrap_or(Phase::Record);
        let forces: Vec<(Force, usize)> = by_force
            .into_iter()
            .map(|(force, phase, mut all)| {
                let expr = match (all.pop(), all.is_empty()) {
                    (Some(only), true) => only,
                    (last, _) => Expr::Any(all.into_iter().chain(last).collect()),
                };
                (force, self.condition(Condition { phase, expr }))
            })
            .collect();
        let next = self.late.len();
        let at = *self.group_of.entry(forces.clone()).or_insert(next);
        if at == next {
            self.late.push(Late { phase, forces: forces.into(), fields: Box::default() });
            self.fields.push(Vec::new());
        }
        if let Some(fields) = self.fields.get_mut(at) {
            fields.push(field);
        }
    }

    fn condition(&mut self, condition: Condition) -> usize {
        let next = self.conditions.len();
        let at = *self.at.entry(condition.clone()).or_insert(next);
        if at == next {
            self.conditions.push(condition);
        }
        at
    }

    fn into_table(self, fixed: Outcome) -> Table {
        let late = self.late.into_iter().zip(self.fields);
        let late = late.map(|(late, fields)| Late { fields: fields.into(), ..late }).collect();
        Table::new(fixed, self.conditions, late)
    }
}
