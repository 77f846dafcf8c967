//! What one caller gets of an operation for a purpose, at every point of a space.

use super::space::{Asker, Point, Space};
use super::unknown::Axis;
use crate::bundle::Bundle;
use crate::contract::{Answer, Field, Operation, Role};
use crate::directory::{Directory, Purpose, Requirement, System};
use crate::engine::Trial;
use crate::model::{FieldIx, Treatment};

/// Who asks what, and what for, in one bundle.
#[derive(Clone, Copy)]
pub(super) struct Seat<'a> {
    pub(super) bundle: &'a Bundle,
    pub(super) system: &'a System,
    pub(super) operation: &'a Operation,
    pub(super) purpose: &'a Purpose,
}

impl<'a> Seat<'a> {
    /// The field as it is answered: what nobody can ask about is not matched, and an answer of yes or no shows nothing.
    pub(super) fn answered(&self, field: &Field, treatment: Treatment) -> Treatment {
        let shows = match &self.operation.answer {
            Answer::Match => false,
            Answer::Whole(whole) => whole.field == field.index,
            Answer::Record | Answer::List(_) => !field.whole,
        };
        match treatment {
            Treatment::Reveal | Treatment::Mask(_) if shows => treatment,
            Treatment::Withhold => treatment,
            _ if self.is_asked_about(field.index) => Treatment::Match,
            _ => Treatment::Withhold,
        }
    }

    fn is_asked_about(&self, field: FieldIx) -> bool {
        let cursor = match &self.operation.answer {
            Answer::List(list) => list.cursor,
            _ => None,
        };
        self.operation.parameters.iter().any(|parameter| match &parameter.role {
            Role::Asks => parameter.field == field,
            Role::Sort(keys) => keys.iter().any(|(_, by)| *by == field),
            Role::Cursor => cursor == Some(field),
            Role::Limit(_) => false,
        })
    }

    /// Whether a request in those circumstances gets as far as the policies, as far as the space speaks of it.
    pub(super) fn admits(&self, space: &Space, point: &Point<'_>) -> bool {
        let speaks = |axis: &Axis| space.axes.iter().any(|(known, _)| known == axis);
        let env = &point.env;
        let brings = |what: &Requirement| match what {
            Requirement::User => !speaks(&Axis::User) || env.claimed_user,
            Requirement::Case => !speaks(&Axis::Case) || env.claimed_case,
            Requirement::Assurance => !speaks(&Axis::Assurance) || env.claimed_assurance.is_some(),
        };
        (!speaks(&Axis::Day) || self.purpose.is_valid_on(env.date)) && self.purpose.requires.iter().all(brings)
    }

    pub(super) fn field(&self, name: &str) -> Option<&'a Field> {
        self.operation.record.field_named(name)
    }
}

/// Whether a system may use a purpose, be it by an order that lends it.
pub(super) fn may_use(system: &System, purpose: &Purpose) -> bool {
    purpose.break_glass || system.purposes.contains(&purpose.id)
}

/// Every purpose that a system may use.
pub(super) fn purposes<'a>(directory: &'a Directory, system: &'a System) -> impl Iterator<Item = &'a Purpose> {
    directory.purposes().map(|purpose| &**purpose).filter(|purpose| may_use(system, purpose))
}

/// Who asks, for the values of which a space is made.
pub(super) fn asker<'a>(seats: &[Option<Seat<'a>>; 2]) -> Asker<'a> {
    Asker {
        agency: seats.map(|seat| seat.map(|seat| &*seat.system.agency)),
        purpose: seats.map(|seat| seat.map(|seat| seat.purpose)),
        record: seats.map(|seat| seat.map(|seat| &*seat.operation.record)),
    }
}

/// What each of the fields gets at each point that is tried: by field, side and point. Who has no seat gets nothing.
pub(super) fn treatments(
    seats: &[Option<Seat<'_>>; 2],
    fields: &[[Option<FieldIx>; 2]],
    space: &Space,
) -> Vec<[Vec<Treatment>; 2]> {
    let mut found: Vec<[Vec<Treatment>; 2]> = fields.iter().map(|_| [Vec::new(), Vec::new()]).collect();
    let records = space.records().max(1);
    // The circumstances of the last point, and what they get: records follow each other under the same.
    let mut trials: (Option<usize>, [Option<Trial>; 2]) = (None, [None, None]);
    for number in space.numbers() {
        let point = space.point(number);
        if trials.0 != Some(number / records) {
            let trial = |seat: &Option<Seat<'_>>| {
                let seat = seat.as_ref().filter(|seat| seat.admits(space, &point))?;
                seat.bundle.trial(seat.system, seat.operation, &seat.purpose.id, &point.env)
            };
            let [old, new] = seats;
            trials = (Some(number / records), [trial(old), trial(new)]);
        }
        for (side, (trial, seat)) in trials.1.iter().zip(seats).enumerate() {
            let decided = trial
                .as_ref()
                .zip(seat.as_ref())
                .map(|(trial, seat)| (trial.of(&point.facts(&seat.operation.record, side)), seat));
            for (field, found) in fields.iter().zip(&mut found) {
                let index = field.get(side).copied().flatten();
                let treatment = decided.as_ref().zip(index).and_then(|((decided, seat), index)| {
                    Some(seat.answered(seat.operation.record.field(index)?, decided.treatment(index)))
                });
                if let Some(found) = found.get_mut(side) {
                    found.push(treatment.unwrap_or(Treatment::Withhold));
                }
            }
        }
    }
    found
}
