//! What one (system, operation, purpose) gets of each field.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{Authorizer, Entities, Entity, PolicyId, PolicySet, Request, RestrictedExpression};

use crate::cedar::{Force, Phase, entity, record_type, uid};
use crate::contract::RecordSchema;
use crate::disclose::Treatments;
use crate::engine::facts::{Fact, Facts};
use crate::engine::ladder::{Ladder, Standing};
use crate::model::{FieldIx, FieldSet, Treatment};
use crate::permit::Env;

/// What one (system, operation, purpose) gets of each field, as far as it is known before the request, and the policies
/// that decide the rest.
#[derive(Debug)]
pub struct Table {
    pub(super) fixed: Arc<Outcome>,
    pub(super) late: Vec<Late>,
    /// What the late policies may look up, but for the request and the record.
    pub(super) entities: Entities,
    /// What `context.record` is.
    pub(super) record: Arc<RecordSchema>,
}

/// What each field gets, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// What is decided; an undecided field is withheld.
    pub(crate) treatments: Treatments,
    /// The most that each field can still get. Equal to `treatments` where all is decided.
    pub(crate) most: Treatments,
    /// Fields that are withheld because a policy failed to evaluate.
    pub(crate) errors: FieldSet,
}

/// Fields that the same policies decide, once `phase` is reached.
#[derive(Debug)]
pub(super) struct Late {
    pub(super) phase: Phase,
    pub(super) request: Request,
    pub(super) rules: Rules,
    pub(super) forces: HashMap<PolicyId, Force>,
    pub(super) fields: Vec<LateField>,
    /// Of those that wait for the record, the rules that need none: what they leave is known before the fetch.
    pub(super) early: Option<Rules>,
    /// The permits that need the record, taken for granted until then.
    pub(super) hoped: Vec<Force>,
}

/// A field with what the policies that are already decided give it.
#[derive(Debug)]
pub(super) struct LateField {
    pub(super) index: FieldIx,
    pub(super) ladder: Ladder,
    pub(super) standing: Standing,
}

/// Permits and forbids apart: Cedar names as reasons all satisfied policies of one effect only, and skips those that fail.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) permits: PolicySet,
    pub(super) forbids: PolicySet,
}

/// The policies that are satisfied; `Err` if one failed to evaluate.
pub(super) type Satisfied = Result<Vec<PolicyId>, PolicyFailed>;

/// A policy failed to evaluate: whether it would have permitted or forbidden is not known.
#[derive(Clone, Copy, Debug)]
pub(super) struct PolicyFailed;

impl Rules {
    pub(super) fn satisfied(&self, request: &Request, entities: &Entities) -> Satisfied {
        let authorizer = Authorizer::new();
        let mut satisfied = Vec::new();
        for policies in [&self.permits, &self.forbids].into_iter().filter(|policies| !policies.is_empty()) {
            let response = authorizer.is_authorized(request, policies, entities);
            if response.diagnostics().errors().next().is_some() {
                return Err(PolicyFailed);
            }
            satisfied.extend(response.diagnostics().reason().cloned());
        }
        Ok(satisfied)
    }
}

impl LateField {
    /// The treatment, given the forces that are satisfied beside those that were before.
    pub(super) fn treatment(&self, forces: impl Iterator<Item = Force>) -> Treatment {
        self.ladder.treatment(forces.fold(self.standing, |standing, force| self.ladder.apply(standing, force)))
    }
}

impl Table {
    /// What is known once the request's circumstances are. Without policies about them this clones an [`Arc`].
    pub(crate) fn at_request(&self, env: &Env) -> Arc<Outcome> {
        if !self.decides_at(Phase::Env) {
            return Arc::clone(&self.fixed);
        }
        Arc::new(self.resolve(Phase::Env, &self.fixed, env_entity(env).map(|env| vec![env])))
    }

    /// What is known once the record is.
    pub(crate) fn at_record(&self, known: &Arc<Outcome>, env: &Env, facts: Facts<'_, '_>) -> Arc<Outcome> {
        if !self.decides_at(Phase::Record) {
            return Arc::clone(known);
        }
        let attributes = self.record.attributes.iter().enumerate().filter_map(|(at, attribute)| {
            let value = match facts(at)? {
                Fact::Text(text) => RestrictedExpression::new_string(text.to_owned()),
                Fact::Truth(truth) => RestrictedExpression::new_bool(truth),
            };
            Some((attribute.name.clone(), value))
        });
        let record = || entity(uid(&record_type(&self.record), RETURNED)?, attributes.collect(), HashSet::new());
        let entities = env_entity(env).and_then(|env| Ok(vec![env, record()?]));
        Arc::new(self.resolve(Phase::Record, known, entities))
    }

    fn decides_at(&self, phase: Phase) -> bool {
        self.late.iter().any(|late| late.rules_at(phase).is_some())
    }

    fn resolve(&self, phase: Phase, known: &Outcome, more: Result<Vec<Entity>, String>) -> Outcome {
        let mut outcome = known.clone();
        let entities = more.ok().and_then(|more| self.entities.clone().add_entities(more, None).ok());
        for (late, rules) in self.late.iter().filter_map(|late| Some((late, late.rules_at(phase)?))) {
            let satisfied = match &entities {
                Some(entities) => rules.satisfied(&late.request, entities),
                None => Err(PolicyFailed),
            };
            for field in &late.fields {
                let (treatment, most) = match &satisfied {
                    Ok(ids) => late.outcome(field, ids, phase),
                    Err(PolicyFailed) => {
                        outcome.errors.insert(field.index);
                        (Treatment::Withhold, Treatment::Withhold)
                    }
                };
                outcome.set(field.index, treatment, most);
            }
        }
        outcome
    }
}

impl Late {
    /// The rules that can be evaluated then, if that tells anything.
    fn rules_at(&self, phase: Phase) -> Option<&Rules> {
        match phase {
            phase if phase == self.phase => Some(&self.rules),
            Phase::Env => self.early.as_ref(),
            Phase::Record => None,
        }
    }

    /// What a field gets, and the most that it can still get.
    fn outcome(&self, field: &LateField, satisfied: &[PolicyId], phase: Phase) -> (Treatment, Treatment) {
        let forces = satisfied.iter().map(|id| self.force(id));
        if phase == self.phase {
            let treatment = field.treatment(forces);
            (treatment, treatment)
        } else {
            (Treatment::Withhold, field.treatment(forces.chain(self.hoped.iter().copied())))
        }
    }

    /// What a satisfied policy does; one that is not known here forbids.
    fn force(&self, id: &PolicyId) -> Force {
        self.forces.get(id).copied().unwrap_or(Force::Forbid)
    }
}

impl Outcome {
    /// Everything withheld.
    pub(super) fn closed(fields: usize) -> Self {
        let withheld = Treatments(vec![Treatment::Withhold; fields].into());
        Self { treatments: withheld.clone(), most: withheld, errors: FieldSet::EMPTY }
    }

    pub(crate) fn set(&mut self, field: FieldIx, treatment: Treatment, most: Treatment) {
        for (treatments, value) in [(&mut self.treatments, treatment), (&mut self.most, most)] {
            if let Some(slot) = treatments.0.get_mut(usize::from(field.0)) {
                *slot = value;
            }
        }
    }
}

fn env_entity(env: &Env) -> Result<Entity, String> {
    let mut attributes = HashMap::from([
        ("today".to_owned(), RestrictedExpression::new_datetime(env.date.to_string())),
        ("weekday".to_owned(), RestrictedExpression::new_long(env.date.weekday().to_monday_one_offset().into())),
        ("hour".to_owned(), RestrictedExpression::new_long(env.hour.into())),
        ("minute_of_day".to_owned(), RestrictedExpression::new_long(i64::from(env.hour) * 60 + i64::from(env.minute))),
        ("source".to_owned(), RestrictedExpression::new_ip(env.source.to_canonical().to_string())),
        ("claimed_user".to_owned(), RestrictedExpression::new_bool(env.claimed_user)),
        ("claimed_case".to_owned(), RestrictedExpression::new_bool(env.claimed_case)),
    ]);
    if let Some(assurance) = &env.claimed_assurance {
        attributes.insert("claimed_assurance".to_owned(), RestrictedExpression::new_string(assurance.clone()));
    }
    entity(uid("Env", REQUEST)?, attributes, HashSet::new())
}

/// The id of the one `Env` of a request.
pub(super) const REQUEST: &str = "request";
/// The id of the one record of a request.
pub(super) const RETURNED: &str = "returned";
