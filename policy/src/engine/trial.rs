//! What a request would get: for listings, comparisons and tests of policies, never for an answer.

use std::sync::Arc;

use crate::contract::{Arguments, Operation};
use crate::directory::System;
use crate::engine::{Engine, Fact, Outcome, Question, Table, could_answer, unusable};
use crate::model::{FieldIx, FieldSet, PurposeId, Treatment};
use crate::permit::{Denial, Env};

/// What one (system, operation, purpose) gets under some circumstances, and can be asked about records.
#[derive(Clone, Debug)]
pub struct Trial {
    table: Arc<Table>,
    env: Env,
    outcome: Arc<Outcome>,
}

/// What each field gets where the record is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided(Arc<Outcome>);

impl Engine {
    /// See [`crate::bundle::Bundle::trial`].
    pub(crate) fn trial(
        &self,
        system: &System,
        operation: &Operation,
        purpose: &PurposeId,
        env: &Env,
    ) -> Option<Trial> {
        let table = self.table(system, operation, purpose, false)?;
        let outcome = table.at_request(env);
        Some(Trial { table, env: env.clone(), outcome })
    }
}

impl Trial {
    /// The most that the field can still get, whatever the record says.
    pub fn most(&self, field: FieldIx) -> Treatment {
        self.outcome.most.of(field)
    }

    /// Fields that are withheld because a policy failed, whatever the record says.
    pub fn errors(&self) -> FieldSet {
        self.outcome.errors
    }

    /// Whether no field waits for the record.
    pub fn is_decided(&self) -> bool {
        self.outcome.treatments == self.outcome.most
    }

    /// Why the request is refused whatever the record says. `operation` MUST be the one that was tried.
    pub(crate) fn denial(&self, operation: &Operation, arguments: &Arguments) -> Option<Denial> {
        let question = Question { operation, arguments, filled: None };
        if !could_answer(&self.outcome, &question) {
            return Some(Denial::Nothing);
        }
        unusable(&self.outcome, &question).map(|name| Denial::Parameter { name })
    }

    /// What each field gets of a record with those attributes, by their position in [`crate::contract::RecordSchema::attributes`]; one
    /// that is `None` or missing makes the policies fail that ask for it.
    pub fn of(&self, record: &[Option<Fact<'_>>]) -> Decided {
        Decided(self.table.at_record(&self.outcome, &self.env, &|at| record.get(at).copied().flatten()))
    }
}

impl Decided {
    /// What the field gets.
    pub fn treatment(&self, field: FieldIx) -> Treatment {
        self.0.treatments.of(field)
    }

    /// Fields that are withheld because a policy failed.
    pub fn errors(&self) -> FieldSet {
        self.0.errors
    }
}
