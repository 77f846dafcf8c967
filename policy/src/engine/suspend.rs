//! Suspending permits, and whom a decision concerns.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::cedar::{Force, Rule};
use crate::contract::Operation;
use crate::directory::System;
use crate::engine::Engine;
use crate::engine::tables::{Row, Tables};
use crate::model::{PurposeId, Treatment};

impl Engine {
    /// See [`crate::bundle::Bundle::without`].
    ///
    /// A suspended permit is still evaluated, and gives nothing. Were it left out, one that fails to evaluate would no longer
    /// withhold its fields, and suspending it would show more. Tables that it cannot bear on are shared in both directions.
    pub(crate) fn without(&self, suspended: &BTreeSet<String>) -> Self {
        let is_suspended = |rule: &Rule| matches!(rule.force, Force::Permit(_)) && suspended.contains(&rule.id);
        let gone: Vec<&Rule> = self.rules.iter().filter(|rule| is_suspended(rule)).collect();
        let mut rows = Vec::with_capacity(self.shapes.len() * self.operations.len());
        for (at, shape) in self.shapes.iter().enumerate() {
            for (operation, asked) in self.operations.iter().enumerate() {
                let bears =
                    |rule: &&Rule| rule.scope.takes_action(&asked.action) && rule.scope.takes_principal(&shape.lineage);
                let touched = gone.iter().any(bears);
                let row = self.tables.row(at, operation).filter(|_| !touched).cloned();
                rows.push(row.unwrap_or_else(|| Row::new(&shape.purposes)));
            }
        }
        let narrowed = |rule: &Rule| {
            let force = if is_suspended(rule) { Force::Permit(Treatment::Withhold) } else { rule.force };
            Rule { force, ..rule.clone() }
        };
        self.with_rules(self.rules.iter().map(narrowed).collect(), rows)
    }

    /// The same contracts and directory under other rules; `rows` as in [`Tables`].
    pub(super) fn with_rules(&self, rules: Vec<Rule>, rows: Vec<Row>) -> Self {
        Self {
            rules,
            policies: Arc::clone(&self.policies),
            model: Arc::clone(&self.model),
            operations: Arc::clone(&self.operations),
            shapes: Arc::clone(&self.shapes),
            shape_of: Arc::clone(&self.shape_of),
            purposes: Arc::clone(&self.purposes),
            tables: Tables::new(self.operations.len(), rows, Arc::clone(self.tables.pool())),
            doubtful: self.doubtful.clone(),
        }
    }

    /// See [`crate::bundle::Bundle::discloses`].
    pub(crate) fn discloses(&self, system: &System, operation: &Operation, purpose: &PurposeId) -> bool {
        let Some(table) = self.table(system, operation, purpose, false) else { return false };
        let most = &table.fixed.most;
        operation.record.fields.iter().any(|field| most.of(field.index) != Treatment::Withhold)
    }

    /// See [`crate::bundle::Bundle::bears_on`].
    pub(crate) fn bears_on(&self, policy: &str, system: &System, operation: &Operation, purpose: &PurposeId) -> bool {
        self.is_live(policy, system, operation, purpose).unwrap_or(false)
    }

    /// Whether a policy is satisfied, or may yet be, for any field; `None` if one of the names is not of this bundle.
    fn is_live(&self, policy: &str, system: &System, operation: &Operation, purpose: &PurposeId) -> Option<bool> {
        let rule = self.rules.iter().position(|rule| rule.id == policy)?;
        let shape = &self.shapes.get(self.shape(system)?)?.lineage;
        let asked = self.operations.get(operation.index).filter(|asked| asked.operation.id == operation.id)?;
        let purpose = self.purposes.get(purpose)?;
        // Most policies are ruled out by their scope alone.
        let scope = &self.rules.get(rule)?.scope;
        let within = scope.takes_action(&asked.action) && scope.takes_principal(shape);
        Some(within && self.build(shape, asked, purpose).live.values().any(|live| live.contains(&rule)))
    }
}
