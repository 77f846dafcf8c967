//! Policies and single conditions, evaluated by Cedar's own authorizer over everything that is known.
//!
//! Nothing of what the tables are made with is used here: it checks them.

use std::collections::{HashMap, HashSet};

use cedar_policy::{Authorizer, Context, Entities, EntityUid, Policy, PolicySet, Request, RestrictedExpression};
use serde_json::{Value, json};

use super::{Answer, ConditionExplained, Situation};
use crate::analysis::unknown::{Uses, conjuncts, disjuncts};
use crate::cedar::{Rule, entity, record_type, uid};
use crate::engine::Fact;
use crate::permit::Env;

/// What a policy says of a field.
pub(super) struct Said {
    pub(super) state: Answer,
    pub(super) conditions: Vec<ConditionExplained>,
}

/// Everything that is known.
pub(super) struct Cedar {
    principal: EntityUid,
    action: EntityUid,
    context: Context,
    entities: Entities,
    has_record: bool,
}

impl Cedar {
    /// `None` if Cedar cannot take what is known; it can take what the loader took.
    pub(super) fn new(situation: &Situation<'_>) -> Option<Self> {
        let Situation { bundle, system, operation, purpose, env, record } = *situation;
        let model = bundle.engine().model();
        let schema = &operation.record;
        let (circumstances, returned) = (uid("Env", "now").ok()?, uid(&record_type(schema), "it").ok()?);
        let facts = schema.attributes.iter().zip(record.unwrap_or_default()).filter_map(|(attribute, fact)| {
            let value = match (*fact)? {
                Fact::Text(text) => RestrictedExpression::new_string(text.to_owned()),
                Fact::Truth(truth) => RestrictedExpression::new_bool(truth),
            };
            Some((attribute.name.clone(), value))
        });
        let more = [
            entity(circumstances.clone(), attributes(env), HashSet::new()).ok()?,
            entity(returned.clone(), facts.collect(), HashSet::new()).ok()?,
        ];
        let members =
            [("purpose", uid("Purpose", purpose.id.as_str()).ok()?), ("env", circumstances), ("record", returned)];
        let members = members.map(|(name, uid)| (name.to_owned(), RestrictedExpression::new_entity_uid(uid)));
        Some(Self {
            principal: uid("System", system.id.as_str()).ok()?,
            action: uid("Action", operation.id.as_str()).ok()?,
            context: Context::from_pairs(members).ok()?,
            entities: model.entities.clone().add_entities(more, None).ok()?,
            has_record: record.is_some(),
        })
    }

    /// What a policy in whose scope the field is says of it.
    pub(super) fn said(&self, rule: &Rule, field: &EntityUid) -> Said {
        let mut conditions = Vec::new();
        // What is asked one after the other, until one settles it.
        let mut settled: Option<Answer> = None;
        for (kind, part) in parts(&rule.conditions) {
            // What is settled before the record is looked at does not wait for it.
            let waits = !self.has_record && Uses::of(part).asks_record();
            let alone = match self.evaluate(part, field) {
                Answer::Failed if waits => Answer::WaitsForRecord,
                answer => answer,
            };
            let is = match (settled, alone) {
                (Some(_), Answer::Failed | Answer::WaitsForRecord) => Answer::NotAsked,
                _ => alone,
            };
            let stops = is == if kind == "when" { Answer::False } else { Answer::True };
            if settled.is_none() {
                settled = match is {
                    _ if stops => Some(Answer::False),
                    Answer::Failed | Answer::WaitsForRecord => Some(is),
                    _ => None,
                };
            }
            conditions.push(ConditionExplained { kind, text: text(part), is, stops });
        }
        let state = match settled {
            // The whole policy, as it is written: conditions were only taken apart to be read.
            None => self.whole(rule, field),
            Some(Answer::False) if self.has_record => self.whole(rule, field),
            Some(answer) => answer,
        };
        Said { state, conditions }
    }

    fn whole(&self, rule: &Rule, field: &EntityUid) -> Answer {
        self.ask(rule.policy.clone(), field)
    }

    fn evaluate(&self, body: &Value, field: &EntityUid) -> Answer {
        policy(body).map_or(Answer::Failed, |policy| self.ask(policy, field))
    }

    fn ask(&self, policy: Policy, field: &EntityUid) -> Answer {
        let request =
            Request::new(self.principal.clone(), self.action.clone(), field.clone(), self.context.clone(), None);
        let (Ok(request), Ok(policies)) = (request, PolicySet::from_policies([policy])) else { return Answer::Failed };
        let response = Authorizer::new().is_authorized(&request, &policies, &self.entities);
        let diagnostics = response.diagnostics();
        if diagnostics.errors().next().is_some() {
            Answer::Failed
        } else if diagnostics.reason().next().is_some() {
            Answer::True
        } else {
            Answer::False
        }
    }
}

/// The conditions of a policy, taken apart where that changes nothing: all that `when` joins must be true, and none that `unless` joins.
fn parts(conditions: &Value) -> Vec<(&'static str, &Value)> {
    let all = conditions.as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |condition: &'_ Value| condition.get("kind").and_then(Value::as_str) == Some("unless");
    let mut found = Vec::new();
    for condition in all {
        let Some(body) = condition.get("body") else { continue };
        if of(condition) {
            found.extend(disjuncts(body).into_iter().map(|part| ("unless", part)));
        } else {
            found.extend(conjuncts(body).into_iter().map(|part| ("when", part)));
        }
    }
    found
}

/// A permit of everything under one condition.
fn policy(body: &Value) -> Option<Policy> {
    let everything = json!({ "op": "All" });
    let policy = json!({
        "effect": "permit",
        "principal": everything,
        "action": everything,
        "resource": everything,
        "conditions": [{ "kind": "when", "body": body }],
    });
    Policy::from_json(None, policy).ok()
}

/// The condition in one line, as people write it: Cedar keeps `a >= b` as `!(a < b)`, and would print it so.
fn text(body: &Value) -> String {
    let negated = body.get("!").and_then(|inner| {
        let ways = [("<", ">="), ("<=", ">"), ("==", "!=")];
        ways.into_iter().find_map(|(of, plain)| Some((plain, inner.get("arg")?.get(of)?)))
    });
    let known = ["&&", "||", ">=", ">", "!="].into_iter().find_map(|operator| Some((operator, body.get(operator)?)));
    let sides =
        negated.or(known).and_then(|(operator, sides)| Some((operator, sides.get("left")?, sides.get("right")?)));
    let Some((operator, left, right)) = sides else { return cedar_text(body) };
    // Of operators that can stand within each other only these two differ in strength.
    let side = |side: &Value| {
        let inner = text(side);
        let weaker = ["&&", "||"].iter().any(|weaker| *weaker != operator && side.get(weaker).is_some());
        if weaker { format!("({inner})") } else { inner }
    };
    format!("{} {operator} {}", side(left), side(right))
}

fn cedar_text(body: &Value) -> String {
    let written = policy(body).and_then(|policy| policy.to_cedar()).unwrap_or_default();
    let inner = written.split_once("when").and_then(|(_, rest)| rest.split_once('{'));
    let inner = inner.and_then(|(_, rest)| rest.rsplit_once('}')).map(|(inner, _)| inner);
    inner.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn attributes(env: &Env) -> HashMap<String, RestrictedExpression> {
    let minute = i64::from(env.hour) * 60 + i64::from(env.minute);
    let known = [
        ("today", RestrictedExpression::new_datetime(env.date.to_string())),
        ("weekday", RestrictedExpression::new_long(env.date.weekday().to_monday_one_offset().into())),
        ("hour", RestrictedExpression::new_long(env.hour.into())),
        ("minute_of_day", RestrictedExpression::new_long(minute)),
        ("source", RestrictedExpression::new_ip(env.source.to_canonical().to_string())),
        ("claimed_user", RestrictedExpression::new_bool(env.claimed_user)),
        ("claimed_case", RestrictedExpression::new_bool(env.claimed_case)),
    ];
    let assurance = env.claimed_assurance.clone().map(RestrictedExpression::new_string);
    let known = known.into_iter().chain(assurance.map(|said| ("claimed_assurance", said)));
    known.map(|(name, value)| (name.to_owned(), value)).collect()
}
