//! What is left to Cedar: expressions that have no form here.

use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use cedar_policy::{Authorizer, Context, Entities, EntityUid, Policy, PolicySet, Request, RestrictedExpression};
use serde_json::{Value as Json, json};

use super::eval::{Failed, minute_of_day};
use super::{Expr, Known};
use crate::cedar::{Lineage, Phase, Speaks, entity, record_type, uid};
use crate::contract::RecordSchema;
use crate::engine::{Fact, Facts};
use crate::permit::Env;

/// An expression that Cedar evaluates, alone or about one request.
#[derive(Clone, Debug)]
pub(crate) struct Left(Arc<State>);

#[derive(Debug)]
enum State {
    Read { body: Json, speaks: Speaks },
    Bound(Box<Bound>),
}

#[derive(Debug)]
struct Bound {
    /// What makes two of them equal, with the entities and the record: the expression, and what it may ask about.
    key: (String, [Option<EntityUid>; 4]),
    phase: Option<Phase>,
    policies: PolicySet,
    request: Request,
    /// What it may look up, but for the circumstances and the record.
    entities: Entities,
    record: Arc<RecordSchema>,
}

impl Left {
    /// An expression that is true or false.
    pub(super) fn of(body: Json) -> Self {
        let speaks = Speaks::of(&body);
        Self(Arc::new(State::Read { body, speaks }))
    }

    /// What is no expression at all: it may speak of everything, and fails.
    pub(super) fn everything(body: Json) -> Self {
        Self(Arc::new(State::Read { body, speaks: Speaks::EVERYTHING }))
    }

    pub(super) fn phase(&self) -> Option<Phase> {
        match &*self.0 {
            State::Read { speaks, .. } => speaks.phase(),
            State::Bound(bound) => bound.phase,
        }
    }

    /// Estimated: what Cedar makes of an expression is about ten times its text, and an entity with what is above it about 1 kB.
    pub(super) fn bytes(&self) -> usize {
        match &*self.0 {
            State::Read { body, .. } => 10 * body.to_string().len(),
            State::Bound(bound) => size_of::<Bound>() + 10 * bound.key.0.len() + 1024 * bound.entities.iter().count(),
        }
    }

    pub(super) fn asks_for_resource(&self) -> bool {
        matches!(&*self.0, State::Read { speaks: Speaks { resource: true, .. }, .. })
    }

    /// Puts in what is known; evaluates it if that is all.
    pub(super) fn bind(&self, known: &Known<'_>) -> Expr {
        let State::Read { body, speaks } = &*self.0 else { return Expr::Cedar(self.clone()) };
        let Ok(bound) = Bound::new(body, *speaks, known) else { return Expr::Fails };
        if bound.phase.is_some() {
            return Expr::Cedar(Self(Arc::new(State::Bound(Box::new(bound)))));
        }
        match bound.ask(&bound.entities) {
            Ok(true) => Expr::TRUE,
            Ok(false) => Expr::FALSE,
            Err(Failed) => Expr::Fails,
        }
    }

    pub(super) fn holds(&self, env: &Env, facts: Facts<'_, '_>) -> Result<bool, Failed> {
        match &*self.0 {
            State::Read { .. } => Err(Failed),
            State::Bound(bound) => bound.holds(env, facts),
        }
    }
}

impl Bound {
    fn new(body: &Json, speaks: Speaks, known: &Known<'_>) -> Result<Self, String> {
        let any = json!({ "op": "All" });
        let policy = json!({
            "effect": "permit", "principal": any, "action": any, "resource": any,
            "conditions": [{ "kind": "when", "body": body }],
        });
        let policy = Policy::from_json(None, policy).map_err(|error| error.to_string())?;
        let returned = record_type(known.record);
        let members =
            [("purpose", known.purpose.clone()), ("env", uid("Env", REQUEST)?), ("record", uid(&returned, RETURNED)?)];
        let members = members.map(|(name, uid)| (name.to_owned(), RestrictedExpression::new_entity_uid(uid)));
        let context = Context::from_pairs(members).map_err(|error| error.to_string())?;
        // An expression that does not ask for the field is one for all fields.
        let field = known.resource.filter(|_| speaks.resource);
        let resource = field.map_or_else(|| uid("Field", ""), |field| Ok(field.uid.clone()))?;
        let (principal, action) = (known.principal.uid.clone(), known.action.uid.clone());
        let request = Request::new(principal, action, resource, context, None).map_err(|error| error.to_string())?;
        let named = policy.entity_literals();
        let named: Vec<Lineage> = named.into_iter().map(|uid| Lineage::of(uid, known.entities)).collect();
        let known_lineages = [Some(known.principal), Some(known.action), field].into_iter().flatten();
        let needed: HashSet<&EntityUid> = known_lineages.chain(&named).flat_map(Lineage::all).collect();
        let needed = needed.into_iter().filter_map(|uid| known.entities.get(uid).cloned());
        let key = [
            Some(known.principal.uid.clone()),
            Some(known.action.uid.clone()),
            field.map(|field| field.uid.clone()),
            Some(known.purpose.clone()),
        ];
        Ok(Self {
            key: (body.to_string(), key),
            phase: speaks.phase(),
            policies: PolicySet::from_policies([policy]).map_err(|error| error.to_string())?,
            request,
            entities: Entities::from_entities(needed, None).map_err(|error| error.to_string())?,
            record: Arc::clone(known.record),
        })
    }

    fn holds(&self, env: &Env, facts: Facts<'_, '_>) -> Result<bool, Failed> {
        let more = || -> Result<_, String> {
            let attributes = self.record.attributes.iter().enumerate().filter_map(|(at, attribute)| {
                let value = match facts(at)? {
                    Fact::Text(text) => RestrictedExpression::new_string(text.to_owned()),
                    Fact::Truth(truth) => RestrictedExpression::new_bool(truth),
                };
                Some((attribute.name.clone(), value))
            });
            let record = entity(uid(&record_type(&self.record), RETURNED)?, attributes.collect(), HashSet::new())?;
            let env = entity(uid("Env", REQUEST)?, circumstances(env), HashSet::new())?;
            self.entities.clone().add_entities([env, record], None).map_err(|error| error.to_string())
        };
        self.ask(&more().map_err(|_| Failed)?)
    }

    fn ask(&self, entities: &Entities) -> Result<bool, Failed> {
        let response = Authorizer::new().is_authorized(&self.request, &self.policies, entities);
        let diagnostics = response.diagnostics();
        if diagnostics.errors().next().is_some() { Err(Failed) } else { Ok(diagnostics.reason().next().is_some()) }
    }
}

/// The attributes of `context.env`.
fn circumstances(env: &Env) -> HashMap<String, RestrictedExpression> {
    let long = RestrictedExpression::new_long;
    let assurance = env.claimed_assurance.clone();
    let attributes = [
        ("today", RestrictedExpression::new_datetime(env.date.to_string())),
        ("weekday", long(env.date.weekday().to_monday_one_offset().into())),
        ("hour", long(env.hour.into())),
        ("minute_of_day", long(minute_of_day(env))),
        ("source", RestrictedExpression::new_ip(env.source.to_canonical().to_string())),
        ("claimed_user", RestrictedExpression::new_bool(env.claimed_user)),
        ("claimed_case", RestrictedExpression::new_bool(env.claimed_case)),
    ];
    let assurance = assurance.map(|said| ("claimed_assurance", RestrictedExpression::new_string(said)));
    attributes.into_iter().chain(assurance).map(|(name, value)| (name.to_owned(), value)).collect()
}

impl PartialEq for Left {
    fn eq(&self, other: &Self) -> bool {
        match (&*self.0, &*other.0) {
            (State::Read { body: a, .. }, State::Read { body: b, .. }) => a == b,
            // Not `==`: to that two entities are equal that have the same name.
            (State::Bound(a), State::Bound(b)) => {
                a.key == b.key && a.record == b.record && a.entities.deep_eq(&b.entities)
            }
            _ => false,
        }
    }
}

impl Eq for Left {}

impl Hash for Left {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &*self.0 {
            State::Read { body, .. } => body.to_string().hash(state),
            State::Bound(bound) => bound.key.hash(state),
        }
    }
}

/// The id of the one `Env` of a request.
const REQUEST: &str = "request";
/// The id of the one record of a request.
const RETURNED: &str = "returned";
