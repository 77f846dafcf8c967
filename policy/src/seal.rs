//! Sealed persons: protected witnesses, undercover officers. To every system but those listed nobody of that number is known.
//!
//! A sealed person is not hidden but absent, and nothing may tell the two apart:
//!
//! - asked for by number, the answer is that for an unknown person, whatever the register says, and its record is not even read;
//! - of a list their element is dropped. What a search says of all that it found (how many, where the next page begins) is withheld
//!   wherever seals are in force, whether somebody was dropped or not. The register is asked for the contract's whole page and at
//!   most half of one is shown, so that somebody else stands where the dropped element stood: no limit can be chosen by which a gap
//!   shows. Numbers around a list about somebody (how many live here), and its cursor, are withheld likewise;
//! - in another person's record, what refers to them is not there: a leaf that the contract marks `x-gateway-person`, the object that it
//!   stands in, and what the contract says goes with it. A reference whose number cannot be read could be anybody's: it goes too.
//!
//! Claims, guards and filters are answered by what is left. Policies are asked about the record as it is: taking a reference out of it
//! must not open what a condition on it closes.

use std::fmt;
use std::sync::Arc;

use crate::contract::{Answer, Arguments, Field, Kind, Operation, RecordSchema};
use crate::directory::System;
use crate::disclose::Unreadable;
use crate::disclose::json::{Cut, cut};
use crate::engine::Outcome;
use crate::model::{FieldIx, FieldSet, Personal, Treatment};
use crate::permit::Permit;

/// Who is sealed.
pub trait Seals: fmt::Debug + Send + Sync {
    /// Whether that system must not learn that there is such a person.
    fn hides(&self, person: &Personal<String>, from: &System) -> bool;
}

/// What sealing means for one permit.
#[derive(Debug)]
pub(crate) struct Sealing {
    seals: Arc<dyn Seals>,
    system: Arc<System>,
    /// Whether the person who is asked for is sealed.
    subject: bool,
}

impl Sealing {
    /// Looks at whom a request is about.
    pub(crate) fn begin(
        seals: &Arc<dyn Seals>,
        system: &Arc<System>,
        operation: &Operation,
        arguments: &Arguments,
    ) -> Self {
        let subject = operation.subject.and_then(|at| arguments.value(at));
        let subject = subject.is_some_and(|subject| seals.hides(subject, system));
        Self { seals: Arc::clone(seals), system: Arc::clone(system), subject }
    }

    /// Takes from the envelope of a list what counts its elements.
    pub(crate) fn uncount(&self, outcome: &Arc<Outcome>, operation: &Operation) -> Arc<Outcome> {
        let Answer::List(list) = &operation.answer else { return Arc::clone(outcome) };
        let mut uncounted = Outcome::clone(outcome);
        for field in list.envelope.iter().filter_map(|field| list.page.field(field)) {
            if counts(operation, field) {
                uncounted.set(field.index, Treatment::Withhold, Treatment::Withhold);
            }
        }
        Arc::new(uncounted)
    }

    fn hides(&self, person: &str) -> bool {
        self.seals.hides(&Personal::new(person.to_owned()), &self.system)
    }
}

impl Permit {
    /// Whether the person who is asked for is sealed: then the register is asked all the same, as for an unknown person (a cache would
    /// answer sooner), and [`Permit::open`] answers "no match" whatever it says.
    pub fn is_sealed(&self) -> bool {
        self.sealing.as_ref().is_some_and(|sealing| sealing.subject)
    }

    /// Whether a person whom only the answer names is sealed.
    pub(crate) fn hides(&self, person: &str) -> bool {
        self.sealing.as_ref().is_some_and(|sealing| sealing.hides(person))
    }

    /// Whether that leaf of the envelope may count who is not there.
    pub(crate) fn uncounts(&self, page: &RecordSchema, field: FieldIx) -> bool {
        self.sealing.is_some() && page.field(field).is_none_or(|field| counts(&self.operation, field))
    }

    /// What refers to sealed persons in a record of that schema; `None` if nothing does.
    pub(crate) fn cut(&self, record: &RecordSchema, bytes: &[u8]) -> Result<Option<Cut>, Unreadable> {
        let Some(sealing) = self.sealing.as_ref().filter(|_| !record.references.is_empty()) else { return Ok(None) };
        let cut = cut(record, bytes, &|person| sealing.hides(person))?;
        Ok((!cut.is_empty()).then_some(cut))
    }
}

/// Of a search all that is said of the whole, of a list about somebody what is a number, and where it goes on.
fn counts(operation: &Operation, field: &Field) -> bool {
    let is_cursor = matches!(&operation.answer, Answer::List(list) if list.cursor == Some(field.index));
    operation.subject.is_none() || is_cursor || matches!(field.kind, Kind::Integer | Kind::Number)
}

/// What is left of the fields that are looked at.
pub(crate) fn without(mut fields: FieldSet, withheld: FieldSet) -> FieldSet {
    withheld.iter().for_each(|field| fields.remove(field));
    fields
}
