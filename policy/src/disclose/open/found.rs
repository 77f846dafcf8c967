//! What a record says about the questions that were asked of it.

use std::sync::Arc;

use crate::contract::{Attribute, Derive, Operation, ParamIx, Role};
use crate::disclose::json::{Captured, Captures};
use crate::disclose::{mask, matching};
use crate::engine::{Fact, Outcome};
use crate::model::{FieldIx, FieldSet, Personal};
use crate::permit::Permit;

/// A parameter that the request has.
pub(super) struct Asked<'a> {
    pub(super) name: &'a str,
    /// The field that it tells something about.
    pub(super) field: FieldIx,
    value: &'a Personal<String>,
    pub(super) is_subject: bool,
    pub(super) guards: bool,
    /// Whether an answer says that the value is right.
    pub(super) borne_out: bool,
}

impl Asked<'_> {
    /// Whether the record bears it out: by any occurrence, if its field is inside an array.
    pub(super) fn is_right(&self, permit: &Permit, found: &Captures<'_>) -> bool {
        let Some(field) = permit.operation.record.field(self.field) else { return false };
        found.values(field.index).any(|value| matching::matches(field, self.value.expose(), value))
    }
}

/// What the request asks of a record, in the contract's order. What the gateway filled in asks for nobody.
pub(super) fn given(permit: &Permit) -> impl Iterator<Item = Asked<'_>> {
    let operation: &Operation = &permit.operation;
    let asked = permit.arguments.given().filter(|(at, _)| Some(*at) != permit.filled && !is_cursor(operation, *at));
    asked.filter_map(|(at, value)| {
        Some(Asked {
            name: &operation.parameters.get(at.0)?.name,
            field: operation.asked_about(at, value.expose())?,
            value,
            is_subject: Some(at) == operation.subject,
            guards: operation.guard.contains(&at),
            borne_out: operation.bears_out(at),
        })
    })
}

/// A cursor asks for no record, but for the page.
fn is_cursor(operation: &Operation, at: ParamIx) -> bool {
    operation.parameters.get(at.0).is_some_and(|parameter| parameter.role == Role::Cursor)
}

/// Every leaf that is looked at before anything is shown.
pub(super) fn wanted(permit: &Permit) -> FieldSet {
    let record = &permit.operation.record;
    let filters = permit.filter.iter().map(|(field, _)| *field);
    let parameters = given(permit).map(|asked| asked.field).chain(filters);
    parameters.chain(record.attributes.iter().map(|attribute| attribute.from)).chain([record.subject]).collect()
}

/// Whether the record is about the person who was asked for: the same number, character by character.
pub(super) fn is_about(permit: &Permit, found: &Captures<'_>) -> bool {
    let Some(asked) = permit.subject() else { return false };
    match only(found, permit.operation.record.subject) {
        Captured::Text(number) | Captured::Number(number) => *number == **asked.expose(),
        _ => false,
    }
}

/// What the policies decide about the record.
pub(super) fn decide(permit: &Permit, found: &Captures<'_>) -> Arc<Outcome> {
    permit.table.at_record(&permit.outcome, &permit.env, &|at| fact(permit, found, at))
}

/// Notes the record, where a candidate is held against what is decided about it.
pub(super) fn note(permit: &Permit, found: &Captures<'_>) {
    if let Some(note) = &permit.note {
        note.record(&permit.operation, is_about(permit, found), |at| fact(permit, found, at));
    }
}

fn fact<'f>(permit: &Permit, found: &'f Captures<'_>, at: usize) -> Option<Fact<'f>> {
    let attribute = permit.operation.record.attributes.get(at)?;
    derived(attribute, only(found, attribute.from), permit.env.date)
}

/// The attribute of a record with that value of the leaf that it is taken from; `None` if it has none then.
pub(crate) fn derived<'f>(
    attribute: &Attribute,
    value: &'f Captured<'_>,
    today: jiff::civil::Date,
) -> Option<Fact<'f>> {
    match (attribute.derive, value) {
        (_, Captured::Mistyped) => None,
        (Derive::Value, Captured::Text(text)) => Some(Fact::Text(text)),
        (Derive::Under(years), Captured::Text(text)) => {
            let birth = mask::date(text)?;
            Some(Fact::Truth(age(birth, today) < i32::from(years)))
        }
        (Derive::Present, found) => Some(Fact::Truth(!matches!(found, Captured::Absent | Captured::Null))),
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
pub(crate) fn only<'f, 'b>(found: &'f Captures<'b>, field: FieldIx) -> &'f Captured<'b> {
    let mut values = found.values(field);
    match (values.next(), values.next()) {
        (None, _) => &Captured::Absent,
        (Some(value), None) => value,
        (Some(_), Some(_)) => &Captured::Mistyped,
    }
}
