//! Deciding a request.

use crate::contract::{Answer, Arguments, Field, Operation};
use crate::engine::{Engine, Outcome};
use crate::model::{FieldSet, Treatment};
use crate::permit::{Ask, Denial, Denied, Permit};

impl Engine {
    /// See [`crate::bundle::Bundle::decide`].
    pub(crate) fn decide(&self, ask: Ask<'_>) -> Result<Permit, Denied> {
        let operation = ask.operation;
        let table = self
            .table(ask.system, operation, &ask.purpose.id)
            .ok_or(Denied { why: Denial::Nothing, policy_errors: 0 })?;
        let outcome = table.at_request(&ask.env);
        let policy_errors = u32::try_from(outcome.errors.len()).unwrap_or(u32::MAX);
        let denied = |why| Denied { why, policy_errors };
        let question = Question { operation, arguments: &ask.arguments };
        if !could_answer(&outcome, &question) {
            return Err(denied(Denial::Nothing));
        }
        if let Some(name) = unusable(&outcome, &question) {
            return Err(denied(Denial::Parameter { name }));
        }
        let upstream = operation.upstream_request(&ask.arguments).ok_or_else(|| {
            let subject = operation.subject.and_then(|subject| operation.parameters.get(subject.0));
            denied(Denial::Parameter { name: subject.map(|subject| subject.name.clone()).unwrap_or_default() })
        })?;
        Ok(Permit {
            disclosure: ask.disclosure,
            system: ask.system.clone(),
            operation: operation.clone(),
            purpose: ask.purpose.clone(),
            widest: widest(&outcome, &question),
            table,
            outcome,
            env: ask.env,
            arguments: ask.arguments,
            upstream,
            limits: None,
        })
    }
}

/// What is asked, as far as it decides what an answer could hold.
pub(crate) struct Question<'a> {
    pub(crate) operation: &'a Operation,
    pub(crate) arguments: &'a Arguments,
}

/// A parameter of the request whose field is withheld whatever the record says: its name.
pub(crate) fn unusable(outcome: &Outcome, ask: &Question<'_>) -> Option<String> {
    let mut given = ask.arguments.given().filter_map(|(at, _)| ask.operation.parameters.get(at.0));
    let withheld = given.find(|parameter| outcome.most.of(parameter.field) == Treatment::Withhold)?;
    Some(withheld.name.clone())
}

/// Whether the answer could hold anything: a shown field of the record, or the match of any parameter.
pub(crate) fn could_answer(outcome: &Outcome, ask: &Question<'_>) -> bool {
    match &ask.operation.answer {
        Answer::Record | Answer::Whole(_) => !shown(outcome, ask).is_empty(),
        Answer::List(list) => shown(outcome, ask).iter().any(|field| !list.envelope.contains(field)),
        Answer::Match => {
            let parameters = &ask.operation.parameters;
            parameters.iter().any(|parameter| outcome.most.of(parameter.field) != Treatment::Withhold)
        }
    }
}

/// Every field that the answer could disclose something about.
pub(crate) fn widest(outcome: &Outcome, ask: &Question<'_>) -> FieldSet {
    let operation = ask.operation;
    let matched = ask.arguments.given().filter(|(at, _)| operation.bears_out(*at));
    let matched =
        matched.filter_map(|(at, _)| operation.parameters.get(at.0)).map(|parameter| parameter.field).collect();
    match operation.answer {
        Answer::Record | Answer::List(_) | Answer::Whole(_) => shown(outcome, ask).union(matched),
        Answer::Match => matched,
    }
}

/// Fields that the record phase could still show, as they are or through a mask.
fn shown(outcome: &Outcome, ask: &Question<'_>) -> FieldSet {
    // A field that is given by itself is no part of any record, and nothing else is part of its own answer.
    let here = |field: &&Field| match &ask.operation.answer {
        Answer::Whole(whole) => field.index == whole.field,
        Answer::Record | Answer::List(_) | Answer::Match => !field.whole,
    };
    let fields = ask.operation.record.fields.iter().filter(here).map(|field| field.index);
    fields.filter(|field| matches!(outcome.most.of(*field), Treatment::Reveal | Treatment::Mask(_))).collect()
}
