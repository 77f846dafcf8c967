//! Opening a raw record with a permit.
//!
//! A record that is hidden, a guard that does not hold and a claim that is wrong are one answer to the caller. They take
//! the same way here too: subject, conditions, guard, claims and redaction are all worked out before one of them speaks.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use cedar_policy::RestrictedExpression;

use crate::contract::{Answer, Attribute, Derive, Parameter};
use crate::disclose::json::{Captured, Captures, Redactor, capture};
use crate::disclose::mask::{self, Pseudonym};
use crate::disclose::{MAX_BUFFERED, PseudonymKey, Raw, Redacted, RedactedChunk, Tally, Unreadable, matching};
use crate::engine::Outcome;
use crate::model::{FieldIx, FieldSet, Personal, Treatment};
use crate::permit::{Hidden, Permit, Unopened};

/// See [`Permit::open`].
pub(crate) fn open(permit: Permit, raw: &Raw, pseudonyms: &PseudonymKey) -> Result<Redacted, Unopened> {
    if raw.len() > MAX_BUFFERED {
        return Err(Unopened::Unreadable(Unreadable::TooLarge));
    }
    let record = &permit.operation.record;
    let found = capture(record, wanted(&permit), raw.bytes()).map_err(Unopened::Unreadable)?;
    if !is_about(&permit, &found) {
        return Err(Unopened::SubjectMismatch);
    }
    let (outcome, hidden) = decided(&permit, &found);
    let given = || given(&permit);
    let hidden = hidden | given().any(|asked| outcome.treatments.of(asked.parameter.field) == Treatment::Withhold);
    let guarded = given().filter(|asked| asked.guards).fold(true, |held, asked| asked.is_right(&permit, &found) & held);
    let mut tally =
        Tally { policy_errors: u32::try_from(outcome.errors.len()).unwrap_or(u32::MAX), ..Tally::default() };
    let mut chunks = Vec::new();
    let answered = match permit.operation.answer {
        Answer::Record | Answer::List(_) | Answer::Whole(_) => {
            let redacted = redact(&permit, &outcome, raw, pseudonyms, &mut chunks).map_err(Unopened::Unreadable)?;
            tally = Tally { policy_errors: tally.policy_errors, ..redacted };
            let shown = tally.revealed.union(tally.masked);
            // A mask says less than that a claim is right: only what is revealed says as much.
            tally.matched = given()
                .filter(|asked| asked.borne_out && !tally.revealed.contains(asked.parameter.field))
                .map(|asked| asked.parameter.field)
                .collect();
            if shown.is_empty() { Err(Hidden::Record) } else { Ok(()) }
        }
        Answer::Match => {
            let claims: Vec<(Asked<'_>, bool)> = given()
                .filter(|asked| !asked.is_subject && !asked.guards)
                .map(|asked| {
                    let right = asked.is_right(&permit, &found);
                    (asked, right)
                })
                .collect();
            let fields = |wanted: bool| {
                claims.iter().filter(move |(_, right)| *right == wanted).map(|(asked, _)| asked.parameter.field)
            };
            let guards = given().filter(|asked| asked.guards).map(|asked| asked.parameter.field);
            tally.matched = fields(true).chain(guards).collect();
            tally.refuted = fields(false).collect();
            tally.undeclared = found.undeclared();
            let mistyped = tally
                .matched
                .union(tally.refuted)
                .iter()
                .filter(|field| matches!(only(&found, *field), Captured::Mistyped));
            tally.mistyped = u32::try_from(mistyped.count()).unwrap_or(u32::MAX);
            let answer = verdicts(&claims);
            tally.copied = answer.len();
            chunks.push(Bytes::from(answer));
            if claims.iter().any(|(_, right)| *right) { Ok(()) } else { Err(Hidden::Claims) }
        }
    };
    let nothing = tally.without_fields();
    match (hidden, guarded, answered) {
        (true, _, _) => Err(Unopened::NoMatch(Hidden::Record, nothing)),
        (false, false, _) => Err(Unopened::NoMatch(Hidden::Guard, nothing)),
        (false, true, Err(hidden)) => Err(Unopened::NoMatch(hidden, nothing)),
        (false, true, Ok(())) => {
            let disclosure = permit.disclosure;
            let stamp = |bytes| RedactedChunk { disclosure, last_seq: 0, bytes };
            Ok(Redacted { disclosure, chunks: chunks.into_iter().map(stamp).collect(), tally })
        }
    }
}

/// What this person's record gets, and whether the person is answered as unknown whatever it says.
fn decided(permit: &Permit, found: &Captures<'_>) -> (Arc<Outcome>, bool) {
    let outcome = permit.table.at_record(&permit.outcome, &permit.env, attributes(permit, found));
    let person = match only(found, permit.operation.record.subject) {
        Captured::Text(number) | Captured::Number(number) => Some(&**number),
        _ => None,
    };
    permit.limited(person, outcome)
}

/// A parameter that the request has.
struct Asked<'a> {
    parameter: &'a Parameter,
    value: &'a Personal<String>,
    is_subject: bool,
    guards: bool,
    /// Whether an answer says that the value is right.
    borne_out: bool,
}

impl Asked<'_> {
    /// Whether the record bears it out: by any occurrence, if its field is inside an array.
    fn is_right(&self, permit: &Permit, found: &Captures<'_>) -> bool {
        let Some(field) = permit.operation.record.field(self.parameter.field) else { return false };
        found.values(field.index).any(|value| matching::matches(field, self.value.expose(), value))
    }
}

/// The parameters that the request has, in the contract's order.
fn given(permit: &Permit) -> impl Iterator<Item = Asked<'_>> {
    let operation = &permit.operation;
    permit.arguments.given().filter_map(|(at, value)| {
        Some(Asked {
            parameter: operation.parameters.get(at.0)?,
            value,
            is_subject: Some(at) == operation.subject,
            guards: operation.guard.contains(&at),
            borne_out: operation.bears_out(at),
        })
    })
}

/// Every leaf that is looked at before anything is shown.
fn wanted(permit: &Permit) -> FieldSet {
    let record = &permit.operation.record;
    let parameters = given(permit).map(|asked| asked.parameter.field);
    parameters.chain(record.attributes.iter().map(|attribute| attribute.from)).chain([record.subject]).collect()
}

/// Whether the record is about the person who was asked for: the same number, character by character.
fn is_about(permit: &Permit, found: &Captures<'_>) -> bool {
    let Some(asked) = permit.subject() else { return false };
    match only(found, permit.operation.record.subject) {
        Captured::Text(number) | Captured::Number(number) => *number == **asked.expose(),
        _ => false,
    }
}

/// The record attributes that the record has in the form that the contract says; the others are left out, and a policy
/// that asks for one fails.
fn attributes(permit: &Permit, found: &Captures<'_>) -> HashMap<String, RestrictedExpression> {
    let today = permit.env.date;
    let attributes = permit.operation.record.attributes.iter();
    attributes.filter_map(|attribute| Some((attribute.name.clone(), value(attribute, found, today)?))).collect()
}

fn value(attribute: &Attribute, found: &Captures<'_>, today: jiff::civil::Date) -> Option<RestrictedExpression> {
    match (attribute.derive, only(found, attribute.from)) {
        (_, Captured::Mistyped) => None,
        (Derive::Value, Captured::Text(text)) => Some(RestrictedExpression::new_string(text.clone().into_owned())),
        (Derive::Under(years), Captured::Text(text)) => {
            let birth = mask::date(text)?;
            Some(RestrictedExpression::new_bool(age(birth, today) < i32::from(years)))
        }
        (Derive::Present, found) => {
            Some(RestrictedExpression::new_bool(!matches!(found, Captured::Absent | Captured::Null)))
        }
        _ => None,
    }
}

/// Full years. Who was born on 29 February is a year older on 1 March of a common year: a minor is rather protected a
/// day too long.
fn age(birth: jiff::civil::Date, today: jiff::civil::Date) -> i32 {
    let before = (today.month(), today.day()) < (birth.month(), birth.day());
    i32::from(today.year()) - i32::from(birth.year()) - i32::from(before)
}

/// The value of a leaf that stands for the whole record: one that occurs twice says nothing.
fn only<'f, 'b>(found: &'f Captures<'b>, field: FieldIx) -> &'f Captured<'b> {
    let mut values = found.values(field);
    match (values.next(), values.next()) {
        (None, _) => &Captured::Absent,
        (Some(value), None) => value,
        (Some(_), Some(_)) => &Captured::Mistyped,
    }
}

fn redact(
    permit: &Permit,
    outcome: &Arc<Outcome>,
    raw: &Raw,
    pseudonyms: &PseudonymKey,
    chunks: &mut Vec<Bytes>,
) -> Result<Tally, Unreadable> {
    let pseudonym = Pseudonym::new(pseudonyms, &permit.system.agency.id, &permit.purpose.id);
    let mut redactor = Redactor::new(&permit.operation.record, &outcome.treatments, pseudonym);
    redactor.push(raw.bytes().clone(), chunks)?;
    redactor.finish()
}

/// What the record phase decides about a record that can be read.
#[cfg(test)]
pub(crate) fn outcome_of(permit: &Permit, raw: &Raw) -> Option<Arc<Outcome>> {
    let found = capture(&permit.operation.record, wanted(permit), raw.bytes()).ok()?;
    Some(decided(permit, &found).0)
}

/// `{"full_name":true,"phone":false}`.
fn verdicts(claims: &[(Asked<'_>, bool)]) -> String {
    let members =
        claims.iter().map(|(asked, right)| format!("{}:{right}", serde_json::Value::from(&*asked.parameter.name)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}
