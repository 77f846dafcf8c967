//! What analyses of policies look at; no request does.

use crate::cedar::{Lineage, Model, Rule};
use crate::contract::Operation;
use crate::directory::System;
use crate::engine::Engine;

impl Engine {
    /// Which systems share every decision: those of one number. `None` for one that is not of this bundle.
    pub fn shape_of(&self, system: &System) -> Option<usize> {
        self.shape(system)
    }

    /// Every policy, at the position that it has in [`Engine::policies`].
    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The schema, and every entity that policies can name.
    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// The system that stands for all of that shape, with what it is in.
    pub(crate) fn lineage(&self, shape: usize) -> Option<&Lineage> {
        self.shapes.get(shape).map(|shape| &shape.lineage)
    }

    /// The operation as an action, and its fields as resources; `None` if it is not of this bundle.
    pub(crate) fn lineages(&self, operation: &Operation) -> Option<(&Lineage, &[Lineage])> {
        let asked = self.operations.get(operation.index).filter(|asked| asked.operation.id == operation.id)?;
        Some((&asked.action, &asked.fields))
    }

    /// The purpose as an entity.
    pub(crate) fn purpose(&self, purpose: &crate::model::PurposeId) -> Option<&cedar_policy::EntityUid> {
        self.purposes.get(purpose)
    }

    /// Which system stands for its shape.
    pub(crate) fn stands_for(&self, system: &System) -> Option<&Lineage> {
        self.lineage(self.shape(system)?)
    }
}
