//! Deciding a request.

use crate::contract::{Answer, Arguments, Field, Operation, ParamIx, Role};
use crate::disclose::cursor::Scope;
use crate::engine::{Engine, Outcome, counts};
use crate::model::{FieldIx, FieldSet, Personal, Treatment};
use crate::permit::{Ask, Denial, Denied, Permit};
use crate::seal::Sealing;

impl Engine {
    /// See [`crate::bundle::Bundle::decide`].
    pub(crate) fn decide(&self, mut ask: Ask<'_>) -> Result<Permit, Denied> {
        let operation = ask.operation;
        let table = self
            .table(ask.system, operation, &ask.purpose.id, true)
            .ok_or(Denied { why: Denial::Nothing, policy_errors: 0 })?;
        let mut outcome = table.at_request(&ask.env);
        let policy_errors = u32::try_from(outcome.errors.len()).unwrap_or(u32::MAX);
        let denied = |why| Denied { why, policy_errors };
        if !could_answer(&outcome, &Question { operation, arguments: &ask.arguments, filled: None }) {
            return Err(denied(Denial::Nothing));
        }
        let filled = fill_in(&mut ask).map_err(denied)?;
        let (mut filter, mut hides) = (Vec::new(), false);
        if let (Answer::List(list), None) = (&operation.answer, operation.subject) {
            let counted = counts::of(&table, &outcome, list, &ask, filled);
            (outcome, filter, hides) = (counted.outcome, counted.filter, counted.hides);
        }
        let sealing = ask.seals.map(|seals| Sealing::begin(seals, ask.system, operation, &ask.arguments));
        if let Some(sealing) = &sealing {
            outcome = sealing.uncount(&outcome, operation);
            hides |= operation.subject.is_none();
        }
        if let Some(name) = unusable(&outcome, &Question { operation, arguments: &ask.arguments, filled }) {
            return Err(denied(Denial::Parameter { name }));
        }
        let scope = scope(&ask);
        open_cursor(&mut ask, scope).map_err(denied)?;
        let upstream = operation
            .upstream_request(&ask.arguments)
            .ok_or_else(|| denied(Denial::Parameter { name: name(operation, operation.subject) }))?;
        let widest = widest(&outcome, &Question { operation, arguments: &ask.arguments, filled });
        let mut permit = Permit {
            disclosure: ask.disclosure,
            system: ask.system.clone(),
            operation: operation.clone(),
            purpose: ask.purpose.clone(),
            widest,
            table,
            outcome,
            env: ask.env,
            arguments: ask.arguments,
            upstream,
            filled,
            filter,
            scope,
            page: None,
            limits: None,
            sealing,
            note: None,
        };
        if hides {
            permit.widen_page();
        }
        Ok(permit)
    }
}

/// What is asked, as far as it decides what an answer could hold.
pub(crate) struct Question<'a> {
    pub(crate) operation: &'a Operation,
    pub(crate) arguments: &'a Arguments,
    /// The parameter that the gateway filled in: it asks for nobody.
    pub(crate) filled: Option<ParamIx>,
}

impl Question<'_> {
    /// Each parameter that the request has, with the field that using it tells something about.
    pub(crate) fn asked(&self) -> impl Iterator<Item = (ParamIx, FieldIx)> {
        let given = self.arguments.given().filter(|(at, _)| Some(*at) != self.filled);
        given.filter_map(|(at, value)| Some((at, self.operation.asked_about(at, value.expose())?)))
    }
}

/// A parameter of the request whose field is withheld whatever the record says: its name.
pub(crate) fn unusable(outcome: &Outcome, ask: &Question<'_>) -> Option<String> {
    let (at, _) = ask.asked().find(|(_, field)| outcome.most.of(*field) == Treatment::Withhold)?;
    Some(name(ask.operation, Some(at)))
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

/// Fills in the agency's own province where the contract lets the register filter by it and the request does not say.
fn fill_in(ask: &mut Ask<'_>) -> Result<Option<ParamIx>, Denial> {
    let Some(pushdown) = &ask.operation.pushdown else { return Ok(None) };
    let at = pushdown.parameter;
    if ask.arguments.value(at).is_some() {
        return Ok(None);
    }
    let required = ask.operation.parameters.get(at.0).is_some_and(|parameter| parameter.required);
    match &ask.system.agency.province {
        Some(province) => {
            ask.arguments.set(at, Personal::new(province.clone()));
            Ok(Some(at))
        }
        None if required => Err(Denial::Missing { name: name(ask.operation, Some(at)) }),
        None => Ok(None),
    }
}

/// What a cursor is bound to: who asks what for what purpose, and every value but the page's size and the cursor itself.
fn scope(ask: &Ask<'_>) -> Scope {
    let parameters = ask.operation.parameters.iter().enumerate();
    let asked = parameters.filter(|(_, parameter)| matches!(parameter.role, Role::Asks | Role::Sort(_)));
    let values = asked.flat_map(|(at, parameter)| {
        let value = ask.arguments.value(ParamIx(at)).map_or("", |value| value.expose());
        [parameter.name.as_str(), value]
    });
    Scope::of([ask.system.id.as_str(), ask.operation.id.as_str(), ask.purpose.id.as_str()].into_iter().chain(values))
}

/// Puts the register's cursor in the place of the agency's.
fn open_cursor(ask: &mut Ask<'_>, scope: Scope) -> Result<(), Denial> {
    let cursor = ask.operation.parameters.iter().position(|parameter| parameter.role == Role::Cursor).map(ParamIx);
    let Some((at, sealed)) = cursor.and_then(|at| Some((at, ask.arguments.value(at)?))) else { return Ok(()) };
    match ask.cursors.open(scope, sealed.expose()) {
        Some(cursor) => {
            ask.arguments.set(at, Personal::new(cursor));
            Ok(())
        }
        None => Err(Denial::Cursor { name: name(ask.operation, Some(at)) }),
    }
}

/// Every field that the answer could disclose something about.
pub(crate) fn widest(outcome: &Outcome, ask: &Question<'_>) -> FieldSet {
    let operation = ask.operation;
    let matched = ask.asked().filter(|(at, _)| operation.bears_out(*at)).map(|(_, field)| field).collect();
    match &operation.answer {
        // A search is about nobody yet: each person whom it finds has an entry of their own.
        Answer::List(list) if operation.subject.is_none() => {
            let shown = shown(outcome, ask).iter().filter(|field| list.envelope.contains(*field));
            shown.collect::<FieldSet>().union(matched)
        }
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

fn name(operation: &Operation, at: Option<ParamIx>) -> String {
    let parameter = at.and_then(|at| operation.parameters.get(at.0));
    parameter.map(|parameter| parameter.name.clone()).unwrap_or_default()
}

impl Permit {
    /// Asks the register for as many records as the contract allows, and shows as many as were asked for, half of that at most: by a
    /// page that is short of one, the place of a hidden record in the order could be found, so somebody else stands there. Where the
    /// register is not told how many to send, no request can choose the page's end.
    pub(crate) fn widen_page(&mut self) {
        let parameters = self.operation.parameters.iter().enumerate();
        let mut limits = parameters.filter_map(|(at, parameter)| match parameter.role {
            Role::Limit(most) => Some((ParamIx(at), most)),
            Role::Asks | Role::Cursor | Role::Sort(_) => None,
        });
        let told = limits.find(|(at, _)| self.operation.upstream.names(*at));
        let Some((at, most)) = told.filter(|_| self.page.is_none()) else { return };
        let half = (most / 2).max(1);
        let asked = self.arguments.value(at).and_then(|asked| asked.expose().parse().ok());
        self.page = Some(asked.map_or(half, |asked: u32| asked.min(half)));
        self.arguments.set(at, Personal::new(most.to_string()));
        if let Some(upstream) = self.operation.upstream_request(&self.arguments) {
            self.upstream = upstream;
        }
    }
}

impl Arguments {
    pub(crate) fn set(&mut self, at: ParamIx, value: Personal<String>) {
        if let Some(slot) = self.0.get_mut(at.0) {
            *slot = Some(value);
        }
    }
}
