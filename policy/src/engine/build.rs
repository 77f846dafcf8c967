//! Making a table: slice the policies by their scopes, evaluate what can be evaluated, keep the rest.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use cedar_policy::{Context, Entities, EntityUid, Policy, PolicySet, Request, RestrictedExpression};

use crate::cedar::{Force, Lineage, Phase, Rule, in_scope, record_type, uid};
use crate::engine::ladder::Ladder;
use crate::engine::table::{Late, LateField, Outcome, PolicyFailed, REQUEST, RETURNED, Rules};
use crate::engine::{Asked, Engine, Table};
use crate::model::{FieldIx, FieldSet, Treatment};

/// A table and how it came about.
pub(super) struct Built {
    pub(super) table: Table,
    /// Per field, the policies (by position in [`Engine::rules`]) that are satisfied or may yet be.
    pub(super) live: BTreeMap<FieldIx, Vec<usize>>,
}

impl Engine {
    /// Makes the table. What cannot be built is closed and counts as failed policies.
    pub(super) fn build(&self, system: &Lineage, asked: &Asked, purpose: &EntityUid) -> Built {
        self.build_for(system, asked, purpose, asked.operation.record.fields.iter().map(|field| field.index).collect())
    }

    /// Makes the table for some fields and withholds the others.
    pub(super) fn build_for(&self, system: &Lineage, asked: &Asked, purpose: &EntityUid, only: FieldSet) -> Built {
        self.try_build(system, asked, purpose, only).unwrap_or_else(|_| {
            let mut fixed = Outcome::closed(asked.fields.len());
            fixed.errors = asked.operation.record.fields.iter().map(|field| field.index).collect();
            let table = Table {
                fixed: Arc::new(fixed),
                late: Vec::new(),
                entities: Entities::empty(),
                record: Arc::clone(&asked.operation.record),
            };
            Built { table, live: BTreeMap::new() }
        })
    }

    fn try_build(&self, system: &Lineage, asked: &Asked, purpose: &EntityUid, only: FieldSet) -> Result<Built, String> {
        let record = &asked.operation.record;
        let returned = record_type(record);
        let context = context(purpose, &returned)?;
        let mut fixed = Outcome::closed(record.fields.len());
        let mut late = Vec::new();
        let mut live = BTreeMap::new();
        let mut needed: HashSet<EntityUid> = system.all().chain(asked.action.all()).cloned().collect();
        for (slice, fields) in self.slices(system, asked, only) {
            let Some(lineage) = fields.first().and_then(|field| asked.fields.get(usize::from(field.0))) else {
                continue;
            };
            let request =
                Request::new(system.uid.clone(), asked.action.uid.clone(), lineage.uid.clone(), context.clone(), None)
                    .map_err(|error| error.to_string())?;
            let prefixes = rules(slice.iter().filter_map(|at| self.rules.get(*at)).map(|rule| &rule.prefix))?;
            let satisfied = match prefixes.satisfied(&request, &self.model.entities) {
                Ok(ids) => ids,
                Err(PolicyFailed) => {
                    fixed.errors = fixed.errors.union(fields.into_iter().collect::<FieldSet>());
                    continue;
                }
            };
            let kept: Vec<usize> = slice
                .into_iter()
                .filter(|at| self.rules.get(*at).is_some_and(|rule| satisfied.contains(rule.policy.id())))
                .collect();
            let (waiting, done): (Vec<&Rule>, Vec<&Rule>) =
                kept.iter().filter_map(|at| self.rules.get(*at)).partition(|rule| rule.phase.is_some());
            let mut undecided = Vec::new();
            for field in fields.iter().filter_map(|field| record.field(*field)) {
                live.insert(field.index, kept.clone());
                let ladder = Ladder::of(field);
                let standing = done.iter().fold(ladder.start(), |standing, rule| ladder.apply(standing, rule.force));
                let known = LateField { index: field.index, ladder, standing };
                let permits = waiting.iter().filter(|rule| matches!(rule.force, Force::Permit(_)));
                let most = known.treatment(permits.map(|rule| rule.force));
                if waiting.is_empty() || most == Treatment::Withhold {
                    fixed.set(field.index, most, most);
                } else {
                    fixed.set(field.index, Treatment::Withhold, most);
                    undecided.push(known);
                }
            }
            if !undecided.is_empty() {
                let literals = waiting.iter().flat_map(|rule| rule.policy.entity_literals());
                let literals: Vec<Lineage> = literals.map(|uid| Lineage::of(uid, &self.model.entities)).collect();
                needed.extend(literals.iter().chain([lineage]).flat_map(Lineage::all).cloned());
                let phase = waiting.iter().filter_map(|rule| rule.phase).max().unwrap_or(Phase::Record);
                let (early, rest): (Vec<&Rule>, Vec<&Rule>) =
                    waiting.iter().partition(|rule| rule.phase == Some(Phase::Env));
                let mixed = phase == Phase::Record && !early.is_empty();
                let permits = rest.iter().filter(|rule| matches!(rule.force, Force::Permit(_)));
                late.push(Late {
                    phase,
                    early: mixed.then(|| rules(early.iter().map(|rule| &rule.policy))).transpose()?,
                    hoped: permits.map(|rule| rule.force).collect(),
                    request,
                    rules: rules(waiting.iter().map(|rule| &rule.policy))?,
                    forces: waiting.iter().map(|rule| (rule.policy.id().clone(), rule.force)).collect(),
                    fields: undecided,
                });
            }
        }
        let needed = needed.iter().filter_map(|uid| self.model.entities.get(uid).cloned());
        let entities = if late.is_empty() {
            Entities::empty()
        } else {
            Entities::from_entities(needed, None).map_err(|error| error.to_string())?
        };
        Ok(Built { table: Table { fixed: Arc::new(fixed), late, entities, record: Arc::clone(record) }, live })
    }

    /// The policies that may bear on each field. Fields that share all of them are together, unless one of the policies
    /// asks which field it is. A field without a permit is left out: it is withheld whatever the forbids say.
    fn slices(&self, system: &Lineage, asked: &Asked, only: FieldSet) -> Vec<(Vec<usize>, Vec<FieldIx>)> {
        let candidates: Vec<(usize, &Rule)> = self
            .rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| in_scope(&rule.policy, Some(system), Some(&asked.action), None))
            .collect();
        let mut slices: BTreeMap<(Vec<usize>, Option<FieldIx>), Vec<FieldIx>> = BTreeMap::new();
        let fields = asked.operation.record.fields.iter().zip(&asked.fields);
        for (field, lineage) in fields.filter(|(field, _)| only.contains(field.index)) {
            let mut by_resource = false;
            let mut permits = false;
            let mut slice = Vec::new();
            for (at, rule) in &candidates {
                if in_scope(&rule.policy, None, None, Some(lineage)) {
                    by_resource |= rule.by_resource;
                    permits |= matches!(rule.force, Force::Permit(_));
                    slice.push(*at);
                }
            }
            if permits {
                slices.entry((slice, by_resource.then_some(field.index))).or_default().push(field.index);
            }
        }
        slices.into_iter().map(|((slice, _), fields)| (slice, fields)).collect()
    }
}

fn rules<'a>(policies: impl Iterator<Item = &'a Policy>) -> Result<Rules, String> {
    let mut rules = Rules { permits: PolicySet::new(), forbids: PolicySet::new() };
    for policy in policies {
        let set = match policy.effect() {
            cedar_policy::Effect::Permit => &mut rules.permits,
            cedar_policy::Effect::Forbid => &mut rules.forbids,
        };
        set.add(policy.clone()).map_err(|error| error.to_string())?;
    }
    Ok(rules)
}

fn context(purpose: &EntityUid, record_type: &str) -> Result<Context, String> {
    let members =
        [("purpose", purpose.clone()), ("env", uid("Env", REQUEST)?), ("record", uid(record_type, RETURNED)?)];
    let members = members.map(|(name, uid)| (name.to_owned(), RestrictedExpression::new_entity_uid(uid)));
    Context::from_pairs(members).map_err(|error| error.to_string())
}
