//! How much an operation shows: for listings, not for decisions.

use crate::contract::{Answer, Operation, ParamIx, Role};
use crate::directory::System;
use crate::engine::Engine;
use crate::model::{FieldIx, FieldSet, PurposeId, Treatment};

/// How many fields an operation shows a system for a purpose at the most. A field is counted once, by the most that it can get.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shows {
    /// As they are.
    pub revealed: usize,
    /// Through a mask.
    pub masked: usize,
    /// Of which only is told whether a claimed value is right.
    pub matched: usize,
    /// Of all these, the ones that the circumstances or the returned record may still take.
    pub conditional: usize,
}

impl Shows {
    /// Whether that is nothing at all.
    pub fn is_nothing(&self) -> bool {
        self.revealed + self.masked + self.matched == 0
    }
}

impl Engine {
    /// See [`crate::bundle::Bundle::shows`].
    pub(crate) fn shows(&self, system: &System, operation: &Operation, purpose: &PurposeId) -> Shows {
        let Some(table) = self.table(system, operation, purpose, false) else { return Shows::default() };
        let (fixed, most) = (&table.fixed.treatments, &table.fixed.most);
        let answered = answered(operation);
        let of = |wanted: fn(Treatment) -> bool| -> FieldSet {
            answered.iter().filter(|field| wanted(most.of(*field))).collect()
        };
        let revealed = of(|treatment| treatment == Treatment::Reveal);
        let masked = of(|treatment| matches!(treatment, Treatment::Mask(_)));
        if revealed.union(masked).is_empty() && operation.answer != Answer::Match {
            return Shows::default();
        }
        let shown = revealed.union(masked);
        let matched = borne_out(operation).iter().filter(|field| most.of(*field) != Treatment::Withhold);
        let matched: FieldSet = matched.filter(|field| !shown.contains(*field)).collect();
        let all = shown.union(matched);
        Shows {
            revealed: revealed.len(),
            masked: masked.len(),
            matched: matched.len(),
            conditional: all.iter().filter(|field| fixed.of(*field) != most.of(*field)).count(),
        }
    }

    /// The fields of which an operation tells a system anything for a purpose, at the most.
    pub(crate) fn given(&self, system: &System, operation: &Operation, purpose: &PurposeId) -> FieldSet {
        let Some(table) = self.table(system, operation, purpose, false) else { return FieldSet::EMPTY };
        let most = |field: FieldIx| table.fixed.most.of(field);
        let is_shown = |field: &FieldIx| matches!(most(*field), Treatment::Reveal | Treatment::Mask(_));
        let shown: FieldSet = answered(operation).iter().filter(is_shown).collect();
        if shown.is_empty() && operation.answer != Answer::Match {
            return FieldSet::EMPTY;
        }
        let matched = borne_out(operation).iter().filter(|field| most(*field) != Treatment::Withhold);
        shown.union(matched.collect())
    }
}

/// The fields that an answer can hold.
fn answered(operation: &Operation) -> FieldSet {
    let fields = &operation.record.fields;
    match &operation.answer {
        Answer::Match => FieldSet::EMPTY,
        Answer::Whole(whole) => std::iter::once(whole.field).collect(),
        Answer::Record | Answer::List(_) => {
            fields.iter().filter(|field| !field.whole).map(|field| field.index).collect()
        }
    }
}

/// The fields of which an answer bears out what was claimed.
fn borne_out(operation: &Operation) -> FieldSet {
    let parameters = operation.parameters.iter().enumerate();
    let asks = parameters.filter(|(at, parameter)| parameter.role == Role::Asks && operation.bears_out(ParamIx(*at)));
    asks.map(|(_, parameter)| parameter.field).collect::<FieldSet>().without(subject(operation))
}

fn subject(operation: &Operation) -> Option<FieldIx> {
    operation.subject.and_then(|at| operation.parameters.get(at.0)).map(|parameter| parameter.field)
}

impl FieldSet {
    fn without(mut self, field: Option<FieldIx>) -> Self {
        if let Some(field) = field {
            self.remove(field);
        }
        self
    }
}
