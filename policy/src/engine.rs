//! The engine: from policies to permits.
//!
//! For each (system, operation, purpose) there is one [`Table`]: what every field gets as far as that is known before the
//! request, and small sets of policies for what must wait for the request's circumstances or for the returned record.
//! Systems that no policy can tell apart share their tables; a table is made when it is first asked for.
//!
//! Cedar itself skips a policy that fails to evaluate, so that a forbid that fails would open what it should close. Here a
//! field for which any policy fails is withheld, and counted.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cedar_policy::{Effect, EntityUid};

use crate::bundle::Source;
use crate::cedar::{self, Lineage, Model, Read, Rule};
use crate::contract::{Contracts, Operation};
use crate::directory::{Directory, System};
use crate::model::{PurposeId, SystemId};
use crate::problem::{Problem, Severity};

mod assemble;
mod build;
mod counts;
mod decide;
mod facts;
mod inspect;
mod ladder;
mod memo;
pub mod mirror;
mod prospect;
mod said;
mod shows;
mod suspend;
mod table;
mod tables;
mod trial;
mod warn;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use counts::narrowed;
pub(crate) use decide::{Question, could_answer, unusable, widest};
pub use facts::Fact;
pub(crate) use facts::Facts;
use tables::Tables;

pub(crate) use ladder::{Ladder, Rank, hides};
pub(crate) use prospect::{Chance, Prospect};
pub(crate) use said::{Folded, Said, together};
pub use shows::Shows;
pub(crate) use table::Outcome;
pub use table::Table;
pub use tables::{Footprint, Wanting};
pub use trial::{Decided, Trial};

/// The policies of one bundle, validated and compiled.
#[derive(Debug)]
pub struct Engine {
    rules: Vec<Rule>,
    // Shared with the engines that suspend some of the rules, see `Engine::without`.
    policies: Arc<[PolicyInfo]>,
    model: Arc<Model>,
    operations: Arc<[Asked]>,
    shapes: Arc<[Shape]>,
    // INVARIANT: one a system, by its index.
    shape_of: Arc<[(SystemId, usize)]>,
    purposes: Arc<HashMap<PurposeId, EntityUid>>,
    tables: Tables,
    /// Policies of which the validator warned.
    doubtful: BTreeSet<String>,
}

/// What was compiled before, from which files; the contracts MUST be the same.
#[derive(Clone, Copy)]
pub(crate) struct Before<'b> {
    pub(crate) source: &'b Source,
    pub(crate) directory: &'b Directory,
    pub(crate) engine: &'b Engine,
}

/// Systems that no policy can tell apart.
#[derive(Debug)]
struct Shape {
    /// One of them, which stands for all.
    lineage: Lineage,
    /// What any of them is enrolled for, and what could be lent to them.
    purposes: Arc<[PurposeId]>,
}

/// A policy, for listings and audits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyInfo {
    /// `@id`.
    pub id: String,
    /// The file, relative to the bundle's root.
    pub file: Arc<str>,
    /// The 1-based line on which it begins.
    pub line: usize,
    /// Whether it permits; else it forbids.
    pub permits: bool,
    /// `@basis`.
    pub basis: String,
    /// `@valid_from` and `@valid_until`.
    pub validity: cedar::Validity,
}

/// An operation as Cedar sees it.
#[derive(Debug)]
struct Asked {
    operation: Arc<Operation>,
    action: Lineage,
    fields: Vec<Lineage>,
}

impl Engine {
    /// Parses, validates and compiles `policies/*.cedar`; what is wrong goes to `problems`, `None` if nothing can be compiled. Of
    /// `before` everything is kept on which no change bears.
    pub(crate) fn compile(
        source: &Source,
        contracts: &Contracts,
        directory: &Directory,
        before: Option<Before<'_>>,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let unsure = unsure(problems);
        let parsed = cedar::parse(source, before.map(|before| (before.source, &*before.engine.rules)), problems);
        if contracts.operations().is_empty() {
            return None;
        }
        let model = before.filter(|before| std::ptr::eq(before.directory, directory));
        let model =
            model.map_or_else(|| Model::new(contracts, directory).map(Arc::new), |it| Ok(Arc::clone(&it.engine.model)));
        let model = match model {
            Ok(model) => model,
            Err(message) => {
                problems.push(Problem::error("cedar-schema", "contracts", message));
                return None;
            }
        };
        let mut misnamed = BTreeSet::new();
        for Read { rule, statement, .. } in &parsed {
            if cedar::known_ids(rule, statement, source, &model, &unsure, problems) {
                misnamed.insert(rule.id.clone());
            }
        }
        // The schema is made of the contracts alone: what it was right about before it is right about now.
        let is_sound =
            |read: &Read| read.known && before.is_some_and(|before| !before.engine.doubtful.contains(&read.rule.id));
        let (doubted, rules): (Vec<bool>, Vec<Rule>) =
            parsed.into_iter().map(|read| (!is_sound(&read), read.rule)).unzip();
        let mut doubtful = BTreeSet::new();
        if !unsure.contains(&"Action") {
            let doubted = rules.iter().zip(doubted).filter(|(_, doubted)| *doubted).map(|(rule, _)| rule);
            doubtful = cedar::validate(doubted, &misnamed, source, &model, problems);
            cedar::lint(&rules, source, contracts, directory, &model, problems);
        }
        if problems.iter().any(|problem| problem.severity == Severity::Error) {
            return None;
        }
        match Self::assemble(rules, model, source, contracts, directory, before) {
            Ok(engine) => {
                let engine = Self { doubtful, ..engine };
                engine.tables.pool().tidy();
                Some(engine)
            }
            Err(message) => {
                problems.push(Problem::error("cedar-entities", "policies", message));
                None
            }
        }
    }

    /// Looks for what an author should look at. That makes every table.
    pub(crate) fn warn(&self, source: &Source, directory: &Directory, problems: &mut Vec<Problem>) {
        warn::warn(self, source, directory, problems);
        self.tables.pool().tidy();
    }

    /// Every policy, in the order of the files.
    pub fn policies(&self) -> &[PolicyInfo] {
        &self.policies
    }

    /// Every entity that policies can name: what Cedar's own authorizer needs to be asked the same.
    pub fn entities(&self) -> &cedar_policy::Entities {
        &self.model.entities
    }

    /// How much the tables are.
    pub fn footprint(&self) -> Footprint {
        self.tables.footprint()
    }

    /// The table for a system, operation and purpose; `None` if one of them is not of this bundle. `used` says that a request needs it.
    fn table(&self, system: &System, operation: &Operation, purpose: &PurposeId, used: bool) -> Option<Arc<Table>> {
        let at = self.shape(system)?;
        let shape = self.shapes.get(at)?;
        let asked = self.operations.get(operation.index).filter(|asked| asked.operation.id == operation.id)?;
        let make = || Some(self.build(&shape.lineage, asked, self.purposes.get(purpose)?).table);
        self.tables.table((at, operation.index, purpose), used, make)
    }

    /// Which systems share every decision: those of equal shape. `None` if it is not of this bundle.
    pub(crate) fn shape(&self, system: &System) -> Option<usize> {
        self.shape_of.get(system.index).filter(|(id, _)| *id == system.id).map(|(_, shape)| *shape)
    }
}

impl PolicyInfo {
    fn of(rule: &Rule, source: &Source) -> Self {
        let text = source.files.get(&*rule.file).map(String::as_str).unwrap_or_default();
        let before = text.get(..rule.span.start).unwrap_or_default();
        Self {
            id: rule.id.clone(),
            file: Arc::clone(&rule.file),
            line: before.matches('\n').count() + 1,
            permits: rule.policy.effect() == Effect::Permit,
            basis: rule.basis.clone(),
            validity: rule.validity,
        }
    }
}

/// The entity types whose ids are not sure because the files that declare them are broken: to complain of a policy that
/// names one would only hide the mistake that matters.
fn unsure(problems: &[Problem]) -> Vec<&'static str> {
    let broken = |prefix: &str| {
        problems.iter().any(|problem| problem.severity == Severity::Error && problem.file.starts_with(prefix))
    };
    let mut kinds = Vec::new();
    if broken("contracts") {
        kinds.extend(["Action", "Field", "Group", "Class", "Register"]);
    }
    if broken("agencies") {
        kinds.extend(["Agency", "Sector", "System"]);
    }
    if broken("purposes") {
        kinds.push("Purpose");
    }
    kinds
}
