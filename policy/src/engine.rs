//! The engine: from policies to permits.
//!
//! For each (system, operation, purpose) there is one [`Table`]: what every field gets as far as that is known before the
//! request, and small sets of policies for what must wait for the request's circumstances or for the returned record.
//! Systems that no policy can tell apart share their tables; a table is made when it is first asked for.
//!
//! Cedar itself skips a policy that fails to evaluate, so that a forbid that fails would open what it should close. Here a
//! field for which any policy fails is withheld, and counted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use cedar_policy::{Effect, EntityUid};

use crate::bundle::Source;
use crate::cedar::{self, Lineage, Model, Rule, uid};
use crate::contract::{Contracts, Operation};
use crate::directory::{Directory, System};
use crate::model::{PurposeId, SystemId};
use crate::problem::{Problem, Severity};

mod build;
mod counts;
mod decide;
mod facts;
mod inspect;
mod ladder;
mod memo;
mod prospect;
mod said;
mod shows;
mod suspend;
mod table;
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
pub(crate) use ladder::{Ladder, Rank};
pub(crate) use prospect::{Chance, Prospect};
pub(crate) use said::{Folded, Said, together};
pub use shows::Shows;
pub(crate) use table::Outcome;
pub use table::Table;
pub use trial::{Decided, Trial};

/// The policies of one bundle, validated and sliced.
#[derive(Debug)]
pub struct Engine {
    rules: Vec<Rule>,
    // Shared with the engines that suspend some of the rules, see `Engine::without`.
    policies: Arc<[PolicyInfo]>,
    model: Arc<Model>,
    operations: Arc<[Asked]>,
    shapes: Arc<[Lineage]>,
    shape_of: Arc<HashMap<SystemId, usize>>,
    purposes: Arc<[EntityUid]>,
    purpose_at: Arc<HashMap<PurposeId, usize>>,
    // INVARIANT: one a (shape, operation, purpose), see `Engine::table`.
    tables: Vec<Slot>,
}

/// A table, once it was asked for.
type Slot = Arc<OnceLock<Arc<Table>>>;

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
    /// Parses, validates and slices `policies/*.cedar`; what is wrong goes to `problems`, `None` if nothing can be compiled.
    pub(crate) fn compile(
        source: &Source,
        contracts: &Contracts,
        directory: &Directory,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let unsure = unsure(problems);
        let parsed = cedar::parse(source, problems);
        if contracts.operations().is_empty() {
            return None;
        }
        let model = match Model::new(contracts, directory) {
            Ok(model) => model,
            Err(message) => {
                problems.push(Problem::error("cedar-schema", "contracts", message));
                return None;
            }
        };
        let mut misnamed = BTreeSet::new();
        for (rule, statement) in &parsed {
            if cedar::known_ids(rule, statement, source, &model, &unsure, problems) {
                misnamed.insert(rule.id.clone());
            }
        }
        let rules: Vec<Rule> = parsed.into_iter().map(|(rule, _)| rule).collect();
        if !unsure.contains(&"Action") {
            cedar::validate(&rules, &misnamed, source, &model, problems);
            cedar::lint(&rules, source, contracts, directory, &model, problems);
        }
        if problems.iter().any(|problem| problem.severity == Severity::Error) {
            return None;
        }
        match Self::assemble(rules, model, source, contracts, directory) {
            Ok(engine) => {
                warn::warn(&engine, source, directory, problems);
                Some(engine)
            }
            Err(message) => {
                problems.push(Problem::error("cedar-entities", "policies", message));
                None
            }
        }
    }

    /// Every policy, in the order of the files.
    pub fn policies(&self) -> &[PolicyInfo] {
        &self.policies
    }

    fn assemble(
        rules: Vec<Rule>,
        model: Model,
        source: &Source,
        contracts: &Contracts,
        directory: &Directory,
    ) -> Result<Self, String> {
        let lineage = |kind: &str, id: &str| uid(kind, id).map(|uid| Lineage::of(uid, &model.entities));
        let operations = contracts
            .operations()
            .iter()
            .map(|operation| {
                let fields = &operation.record.fields;
                Ok(Asked {
                    action: lineage("Action", operation.id.as_str())?,
                    fields: fields
                        .iter()
                        .map(|field| lineage("Field", field.name.as_str()))
                        .collect::<Result<_, String>>()?,
                    operation: Arc::clone(operation),
                })
            })
            .collect::<Result<Arc<[_]>, String>>()?;
        let named: BTreeSet<EntityUid> = rules.iter().flat_map(|rule| rule.policy.entity_literals()).collect();
        let mut shapes = Vec::new();
        let mut shape_of = HashMap::new();
        let mut seen = BTreeMap::new();
        for system in directory.systems() {
            let at = *seen.entry(Shape::of(system, &named)?).or_insert(shapes.len());
            if at == shapes.len() {
                shapes.push(lineage("System", system.id.as_str())?);
            }
            shape_of.insert(system.id.clone(), at);
        }
        let ids = || directory.purposes().map(|purpose| &purpose.id);
        let purposes = ids().map(|id| uid("Purpose", id.as_str())).collect::<Result<Arc<[_]>, _>>()?;
        let purpose_at = ids().enumerate().map(|(at, id)| (id.clone(), at)).collect::<HashMap<_, _>>();
        let tables = shapes.len() * operations.len() * purposes.len();
        Ok(Self {
            policies: rules.iter().map(|rule| PolicyInfo::of(rule, source)).collect(),
            tables: std::iter::repeat_with(Slot::default).take(tables).collect(),
            rules,
            model: Arc::new(model),
            operations,
            shapes: shapes.into(),
            shape_of: Arc::new(shape_of),
            purposes,
            purpose_at: Arc::new(purpose_at),
        })
    }

    /// The table for a system, operation and purpose; `None` if one of them is not of this bundle.
    fn table(&self, system: &System, operation: &Operation, purpose: &PurposeId) -> Option<Arc<Table>> {
        let shape = *self.shape_of.get(&system.id)?;
        let purpose = *self.purpose_at.get(purpose)?;
        let asked = self.operations.get(operation.index).filter(|asked| asked.operation.id == operation.id)?;
        let slot =
            self.tables.get((shape * self.operations.len() + operation.index) * self.purposes.len() + purpose)?;
        let (shape, purpose) = (self.shapes.get(shape)?, self.purposes.get(purpose)?);
        Some(Arc::clone(slot.get_or_init(|| Arc::new(self.build(shape, asked, purpose).table))))
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

/// What policies can tell of a system: systems of equal shape share their tables.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    system: Option<SystemId>,
    agency: Option<String>,
    sector: String,
    level: String,
    province: Option<String>,
}

impl Shape {
    /// An id matters only where some policy names it.
    fn of(system: &System, named: &BTreeSet<EntityUid>) -> Result<Self, String> {
        let agency = &system.agency;
        Ok(Self {
            system: named.contains(&uid("System", system.id.as_str())?).then(|| system.id.clone()),
            agency: named.contains(&uid("Agency", agency.id.as_str())?).then(|| agency.id.to_string()),
            sector: agency.sector.clone(),
            level: agency.level.clone(),
            province: agency.province.clone(),
        })
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
