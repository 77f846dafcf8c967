//! Trying cases.
//!
//! What a case leaves open is what is usual: a request brings what its purpose requires and no more, comes from the first address of
//! the system's first network, on a Monday at ten. What is true or false of a record is false; a text is the agency's own province,
//! if it has one, and else a text that is like no other.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::cases::coverage::Coverage;
use crate::cases::{Against, Case, End, Expected, Failure, Report, Stated, Tried, Voice, Why};
use crate::contract::{Answer, Arguments, Derive, Field, Kind, Operation, ParamIx, Parameter, Role};
use crate::directory::{Requirement, System};
use crate::disclose::cursor::CursorKey;
use crate::engine::{Engine, Fact, PolicyInfo, Said};
use crate::model::{DisclosureId, FieldIx, FieldSet, Personal, Treatment};
use crate::permit::{Ask, Denial, Env};

/// Tries the cases; `open` permits everything.
pub(super) fn run<'a>(cases: &[&'a Case], against: &Against<'a>, open: Option<&Engine>) -> Report<'a> {
    let mut coverage = Coverage::of(against.engine);
    let mut tried = Vec::new();
    for case in cases {
        let engine = open.filter(|_| case.whatever_is_permitted).unwrap_or(against.engine);
        for system in &case.systems {
            let request = Request { case, system, engine, policies: against.engine.policies() };
            let outcome = request.outcome();
            let failures = request.failures(&outcome);
            if failures.is_empty() {
                coverage.add(&request, &outcome);
            }
            tried.push(Tried { case, system: system.id.clone(), end: outcome.end, failures });
        }
    }
    Report { tried, coverage }
}

/// A case as one of its systems asks it.
pub(super) struct Request<'a, 'r> {
    pub(super) case: &'a Case,
    system: &'r Arc<System>,
    engine: &'r Engine,
    policies: &'a [PolicyInfo],
}

/// What became of it.
pub(super) struct Outcome<'e> {
    pub(super) end: End,
    /// What each field gets; everything is withheld where the request is not answered.
    treatments: Vec<Treatment>,
    /// The fields that are withheld because a policy fails.
    failed: FieldSet,
    /// What the policies say, each by itself.
    pub(super) said: Vec<Said<'e>>,
}

impl Outcome<'_> {
    pub(super) fn treatment(&self, field: FieldIx) -> Treatment {
        self.treatments.get(usize::from(field.0)).copied().unwrap_or(Treatment::Withhold)
    }
}

impl<'a, 'r> Request<'a, 'r> {
    fn outcome(&self) -> Outcome<'r> {
        let case = self.case;
        let env = self.env();
        let closed = |end, said| Outcome {
            end,
            treatments: vec![Treatment::Withhold; case.operation.record.fields.len()],
            failed: FieldSet::EMPTY,
            said,
        };
        let record = self.record();
        let facts: Vec<Option<Fact<'_>>> = record.iter().map(Stated::fact).collect();
        let fact = |at: usize| facts.get(at).copied().flatten();
        let folded = self.engine.folded(self.system, &case.operation, &case.purpose.id).unwrap_or_default();
        let said: Vec<Said<'r>> = folded.iter().map(|policy| policy.said(&env, &fact)).collect();
        // The policies are a wall of their own: what they say of such a request counts, whichever wall is first.
        if let Some(why) = self.gate(&env) {
            return closed(End::Refused(why), said);
        }
        let decided = self.engine.decide(Ask {
            disclosure: DisclosureId::from_random(0),
            system: self.system,
            operation: &case.operation,
            purpose: &case.purpose,
            arguments: self.arguments(&record),
            env: env.clone(),
            cursors: &CursorKey::new([0; 32]),
            seals: None,
        });
        let permit = match decided {
            Ok(permit) => permit,
            Err(denied) => return closed(End::Refused(why(denied.why)), said),
        };
        let known = permit.table.at_record(&permit.outcome, &env, &fact);
        let of = |field: FieldIx| match &case.operation.answer {
            // What is said of all records waits for none of them.
            Answer::List(list) if case.operation.subject.is_none() && list.envelope.contains(field) => {
                permit.outcome.treatments.of(field)
            }
            _ => known.treatments.of(field),
        };
        let failed = known.errors;
        if !self.answers(&of) {
            return Outcome { failed, ..closed(End::Unknown, said) };
        }
        let treatments = case.operation.record.fields.iter().map(|field| of(field.index)).collect();
        Outcome { end: End::Answered, treatments, failed, said }
    }

    /// Whether a record of which each field gets that is answered with: nothing is withheld that the request asks about, and something is
    /// shown. What the request claims is taken to be right.
    pub(super) fn answers(&self, of: &dyn Fn(FieldIx) -> Treatment) -> bool {
        let operation = &self.case.operation;
        let given = self.case.asks.iter().zip(&operation.parameters).filter(|(asks, _)| **asks);
        let mut given = given.map(|(_, parameter)| parameter).filter(|parameter| parameter.role == Role::Asks);
        let shown = |field: FieldIx| matches!(of(field), Treatment::Reveal | Treatment::Mask(_));
        let mut fields = operation.record.fields.iter().filter(|field| !field.whole);
        given.all(|parameter| of(parameter.field) != Treatment::Withhold)
            && match &operation.answer {
                Answer::Record => fields.any(|field| shown(field.index)),
                Answer::Whole(whole) => of(whole.field) == Treatment::Reveal,
                Answer::List(list) => fields.any(|field| !list.envelope.contains(field.index) && shown(field.index)),
                Answer::Match => {
                    let mut claims = operation.claims().filter_map(|at| operation.parameters.get(at.0));
                    claims.any(|claim| of(claim.field) != Treatment::Withhold)
                }
            }
    }

    /// What keeps the request from being decided by policies.
    fn gate(&self, env: &Env) -> Option<Why> {
        let (purpose, system) = (&self.case.purpose, self.system);
        let is_missing = |requirement: &&Requirement| match requirement {
            Requirement::Case => !env.claimed_case,
            Requirement::User => !env.claimed_user,
            Requirement::Assurance => env.claimed_assurance.is_none(),
        };
        if !system.admits_source(env.source) {
            return Some(Why::Network);
        }
        if !purpose.is_valid_on(env.date) {
            return Some(Why::NotValid);
        }
        // A purpose that an order lends is for whom the order names: here, for who asks.
        if !purpose.break_glass && !system.purposes.contains(&purpose.id) {
            return Some(Why::NotEnrolled);
        }
        purpose.requires.iter().find(is_missing).map(|missing| Why::Evidence(*missing))
    }

    fn env(&self) -> Env {
        let (said, requires) = (&self.case.circumstances, &self.case.purpose.requires);
        let usual = self.system.networks.first().map(|network| network.hosts().next().unwrap_or(network.addr()));
        let assurance = requires.contains(&Requirement::Assurance).then(|| USUAL_ASSURANCE.to_owned());
        Env {
            date: said.at.date(),
            hour: said.at.hour(),
            minute: said.at.minute(),
            source: said.from.or(usual).unwrap_or(ANYWHERE),
            claimed_assurance: said.assurance.clone().or(assurance),
            claimed_user: said.user.unwrap_or(requires.contains(&Requirement::User)),
            claimed_case: said.case.unwrap_or(requires.contains(&Requirement::Case)),
        }
    }

    fn record(&self) -> Vec<Stated> {
        let attributes = self.case.operation.record.attributes.iter();
        let usual = |derive: Derive| match derive {
            Derive::Value => Stated::Text(self.system.agency.province.clone().unwrap_or_default()),
            Derive::Under(_) | Derive::Present => Stated::Truth(false),
        };
        let stated = attributes.zip(&self.case.record).map(|(attribute, stated)| match stated {
            Stated::Open => usual(attribute.derive),
            stated => stated.clone(),
        });
        stated.collect()
    }

    /// Values of the form that a parameter may have: what is decided does not depend on them, but for a filter, which is what the record
    /// has.
    fn arguments(&self, record: &[Stated]) -> Arguments {
        let operation: &Operation = &self.case.operation;
        let value = |(at, (asks, parameter)): (usize, (&bool, &Parameter))| {
            let pushdown = operation.pushdown.as_ref().filter(|pushdown| pushdown.parameter == ParamIx(at));
            let value = match (pushdown.and_then(|pushdown| record.get(pushdown.attribute)), &parameter.role) {
                (Some(Stated::Text(text)), _) if !text.is_empty() => text.clone(),
                (_, Role::Sort(orders)) => orders.first().map(|(order, _)| order.clone()).unwrap_or_default(),
                (_, Role::Limit(_)) => "1".to_owned(),
                _ => match parameter.kind {
                    Kind::Date => "1990-01-01".to_owned(),
                    Kind::Boolean => "true".to_owned(),
                    _ => "1".to_owned(),
                },
            };
            asks.then(|| Personal::new(value))
        };
        Arguments(self.case.asks.iter().zip(&operation.parameters).enumerate().map(value).collect())
    }

    fn failures(&self, outcome: &Outcome<'_>) -> Vec<Failure<'a>> {
        let case = self.case;
        let end = |expected| vec![Failure::End { expected }];
        match (&case.expected, &outcome.end) {
            (Expected::Refused, End::Unknown | End::Answered) => return end("refused"),
            (Expected::Unknown, End::Refused(_) | End::Answered) => return end("unknown"),
            _ => {}
        }
        let got = |field: &Field| outcome.treatment(field.index);
        let differences = case.expected.differences(&case.operation, &got, outcome.failed);
        let voiced = differences.into_iter().map(|(field, failure)| match failure {
            Failure::Field { field: name, expected, got, .. } => {
                Failure::Field { field: name, expected, got, policies: self.voices(outcome, &field) }
            }
            Failure::Error { field: name, expected, .. } => {
                let policies = self.voices(outcome, &field).into_iter().filter(|(voice, _)| *voice == Voice::Failed);
                Failure::Error { field: name, expected, policies: policies.collect() }
            }
            end @ Failure::End { .. } => end,
        });
        voiced.collect()
    }

    /// What the policies say about a field; what has no bearing on it is left out.
    fn voices(&self, outcome: &Outcome<'_>, field: &Field) -> Vec<(Voice, &'a PolicyInfo)> {
        let voice = |said: &Said<'_>| {
            let voice = if said.failed.contains(field.index) {
                Voice::Failed
            } else if said.satisfied.contains(field.index) {
                Voice::Satisfied
            } else if said.may_permit(field) {
                Voice::Silent
            } else {
                return None;
            };
            Some((voice, self.policies.get(said.policy)?))
        };
        outcome.said.iter().filter_map(voice).collect()
    }
}

fn why(denial: Denial) -> Why {
    match denial {
        Denial::Nothing => Why::Nothing,
        Denial::Parameter { name } | Denial::Missing { name } | Denial::Cursor { name } => Why::Parameter(name),
    }
}

/// What a request says of its user where the purpose wants to know.
const USUAL_ASSURANCE: &str = "high";
/// Where a system comes from that may come from anywhere.
const ANYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
