//! What a caller may come to get, before anything of a request is known: what views are made of.

use crate::cedar::Phase;
use crate::contract::{Answer, Field, Operation, ParamIx, Role};
use crate::directory::System;
use crate::engine::Engine;
use crate::model::{FieldIx, PurposeId, Treatment};

/// What the answers to one (system, operation, purpose) may hold.
#[derive(Debug)]
pub(crate) struct Prospect {
    // INVARIANT: one a field of the operation's record.
    fields: Vec<Chance>,
    /// Whether some field waits for the record: then what a register counts may have to be hidden too.
    by_record: bool,
}

/// What may become of one field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Chance {
    /// Everything that it may get, most revealing first; never empty.
    pub(crate) treatments: Vec<Treatment>,
    /// Whether a condition on the request or on the record decides: then it may always be withheld as well, be it by a policy
    /// that fails.
    pub(crate) conditional: bool,
}

impl Chance {
    /// The most that it may get.
    pub(crate) fn most(&self) -> Treatment {
        self.treatments.first().copied().unwrap_or(Treatment::Withhold)
    }

    /// Every way in which it may be shown.
    pub(crate) fn shown(&self) -> impl Iterator<Item = Treatment> {
        self.treatments.iter().copied().filter(|it| matches!(it, Treatment::Reveal | Treatment::Mask(_)))
    }
}

impl Engine {
    /// What a system may come to get of an operation for a purpose; `None` if one of them is not of this bundle.
    pub(crate) fn prospect(&self, system: &System, operation: &Operation, purpose: &PurposeId) -> Option<Prospect> {
        let table = self.table(system, operation, purpose, false)?;
        let decided =
            |field: &Field| Chance { treatments: vec![table.fixed.treatments.of(field.index)], conditional: false };
        let mut fields: Vec<Chance> = operation.record.fields.iter().map(decided).collect();
        for late in &table.late {
            for field in &late.fields {
                if let Some(chance) = fields.get_mut(usize::from(field.index.0)) {
                    let treatments = field.ladder.possible(field.standing, late.forces.iter().map(|(force, _)| *force));
                    *chance = Chance { treatments, conditional: true };
                }
            }
        }
        Some(Prospect { fields, by_record: table.late.iter().any(|late| late.phase == Phase::Record) })
    }
}

impl Prospect {
    /// What may become of a field of the operation's record.
    pub(crate) fn field(&self, field: FieldIx) -> Chance {
        let withheld = Chance { treatments: vec![Treatment::Withhold], conditional: false };
        self.fields.get(usize::from(field.0)).cloned().unwrap_or(withheld)
    }

    /// What may become of a field in an answer. What a register counts of a list is hidden with any record of it, and a field that is
    /// given by itself is no part of a record.
    pub(crate) fn answered(&self, operation: &Operation, field: FieldIx) -> Chance {
        let mut chance = self.field(field);
        let whole = operation.record.field(field).is_some_and(|field| field.whole);
        match &operation.answer {
            Answer::List(list) if list.envelope.contains(field) => chance.conditional |= self.by_record,
            Answer::Whole(whole) if whole.field == field => return chance,
            _ => {}
        }
        if whole {
            chance.treatments = vec![Treatment::Withhold];
        }
        chance
    }

    /// Whether a parameter may be used.
    pub(crate) fn allows(&self, operation: &Operation, parameter: ParamIx) -> bool {
        let Some(known) = operation.parameters.get(parameter.0) else { return false };
        match &known.role {
            Role::Asks => self.is_known(known.field),
            Role::Limit(_) | Role::Cursor => true,
            Role::Sort(values) => values.iter().any(|(_, field)| self.is_known(*field)),
        }
    }

    /// Whether anything of a field may be disclosed, be it whether a claim is right.
    pub(crate) fn is_known(&self, field: FieldIx) -> bool {
        self.field(field).most() != Treatment::Withhold
    }

    /// Whether an answer could hold anything.
    pub(crate) fn answers(&self, operation: &Operation) -> bool {
        let shown = |field: &Field| self.answered(operation, field.index).shown().next().is_some();
        let fields = &operation.record.fields;
        match &operation.answer {
            Answer::Record => fields.iter().any(shown),
            Answer::Whole(whole) => operation.record.field(whole.field).is_some_and(shown),
            Answer::List(list) => fields.iter().any(|field| !list.envelope.contains(field.index) && shown(field)),
            Answer::Match => operation.claims().any(|claim| self.allows(operation, claim)),
        }
    }
}
