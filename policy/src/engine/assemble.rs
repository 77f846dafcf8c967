//! Putting an engine together, with what the one before it made.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use cedar_policy::EntityUid;

use crate::bundle::Source;
use crate::cedar::{Lineage, Model, Rule, uid};
use crate::contract::Contracts;
use crate::directory::{Directory, System};
use crate::engine::tables::{Pool, Row, Tables};
use crate::engine::{Asked, Before, Engine, PolicyInfo, Shape};
use crate::model::{PurposeId, SystemId};

impl Engine {
    pub(super) fn assemble(
        rules: Vec<Rule>,
        model: Arc<Model>,
        source: &Source,
        contracts: &Contracts,
        directory: &Directory,
        before: Option<Before<'_>>,
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
        let (shapes, shape_of) = shapes(directory, &model, &named)?;
        let purposes = directory.purposes();
        let purposes = purposes.map(|purpose| Ok((purpose.id.clone(), uid("Purpose", purpose.id.as_str())?)));
        let mut engine = Self {
            policies: rules.iter().map(|rule| PolicyInfo::of(rule, source)).collect(),
            rules,
            model,
            operations,
            shapes,
            shape_of,
            purposes: Arc::new(purposes.collect::<Result<HashMap<_, _>, String>>()?),
            tables: Tables::new(0, Vec::new(), Arc::default()),
            doubtful: BTreeSet::new(),
        };
        let pool = before.map_or_else(Arc::<Pool>::default, |before| Arc::clone(before.engine.tables.pool()));
        let rows = engine.rows(directory, before.filter(|before| engine.knows_the_same(before.engine, &named)));
        engine.tables = Tables::new(engine.operations.len(), rows, pool);
        Ok(engine)
    }

    /// One a (shape, operation): those of before wherever nothing that changed is about them.
    fn rows(&self, directory: &Directory, before: Option<Before<'_>>) -> Vec<Row> {
        let changed = before.map(|before| changed(&before.engine.rules, &self.rules)).unwrap_or_default();
        let mut stands_for: Vec<Option<&Arc<System>>> = vec![None; self.shapes.len()];
        for (system, (_, shape)) in directory.systems().iter().zip(self.shape_of.iter()) {
            if let Some(known) = stands_for.get_mut(*shape) {
                known.get_or_insert(system);
            }
        }
        let mut rows = Vec::with_capacity(self.shapes.len() * self.operations.len());
        for (shape, system) in self.shapes.iter().zip(stands_for) {
            let old = before.zip(system).and_then(|(before, system)| Some((before, same_before(before, system)?)));
            let about: Vec<&&Rule> = changed.iter().filter(|rule| rule.scope.takes_principal(&shape.lineage)).collect();
            for (operation, asked) in self.operations.iter().enumerate() {
                let touched = about.iter().any(|rule| rule.scope.takes_action(&asked.action));
                let kept = old.filter(|_| !touched).and_then(|(before, old)| before.engine.tables.row(old, operation));
                rows.push(match kept {
                    // What is found of one operation may depend on policies about another.
                    Some(row) if about.is_empty() && row.purposes() == &shape.purposes => row.clone(),
                    Some(row) => row.for_purposes(&shape.purposes),
                    None => Row::new(&shape.purposes),
                });
            }
        }
        rows
    }

    /// Whether everything that policies name is in the same as before.
    fn knows_the_same(&self, before: &Self, named: &BTreeSet<EntityUid>) -> bool {
        let same = |uid: &EntityUid| {
            let of = |model: &Model| {
                let entity = model.entities.get(uid)?;
                let says = ["sector", "level", "province"].map(|name| Some(entity.attr(name)?.ok()?.to_string()));
                let above: BTreeSet<EntityUid> = model.entities.ancestors(uid)?.cloned().collect();
                Some((above, says))
            };
            of(&self.model) == of(&before.model)
        };
        Arc::ptr_eq(&self.model, &before.model) || named.iter().all(same)
    }
}

/// The shapes, and the shape of each system.
#[expect(clippy::type_complexity, reason = "the two are made together, and taken apart at once")]
fn shapes(
    directory: &Directory,
    model: &Model,
    named: &BTreeSet<EntityUid>,
) -> Result<(Arc<[Shape]>, Arc<[(SystemId, usize)]>), String> {
    let lent = directory.purposes().filter(|purpose| purpose.break_glass).map(|purpose| &purpose.id);
    let lent: BTreeSet<PurposeId> = lent.cloned().collect();
    let mut shapes: Vec<(Lineage, BTreeSet<PurposeId>)> = Vec::new();
    let mut seen = BTreeMap::new();
    let mut shape_of = Vec::with_capacity(directory.systems().len());
    for system in directory.systems() {
        let at = *seen.entry(Traits::of(system, named)?).or_insert(shapes.len());
        if at == shapes.len() {
            shapes.push((Lineage::of(uid("System", system.id.as_str())?, &model.entities), lent.clone()));
        }
        if let Some((_, purposes)) = shapes.get_mut(at) {
            purposes.extend(system.purposes.iter().cloned());
        }
        shape_of.push((system.id.clone(), at));
    }
    let shapes = shapes.into_iter();
    let shapes = shapes.map(|(lineage, purposes)| Shape { lineage, purposes: purposes.into_iter().collect() });
    Ok((shapes.collect(), shape_of.into()))
}

/// The shape that a system had, if nothing that policies can ask of it is different.
fn same_before(before: Before<'_>, system: &System) -> Option<usize> {
    let mut systems = before.directory.systems().iter();
    let old = systems.find(|old| old.id == system.id)?;
    let same = old.agency.id == system.agency.id
        && old.agency.sector == system.agency.sector
        && old.agency.level == system.agency.level
        && old.agency.province == system.agency.province;
    if same { before.engine.shape(old) } else { None }
}

/// The policies that are new, gone, or say something else.
fn changed<'r>(old: &'r [Rule], new: &'r [Rule]) -> Vec<&'r Rule> {
    let by_id = |rules: &'r [Rule]| rules.iter().map(|rule| (rule.id.as_str(), rule)).collect::<HashMap<_, _>>();
    let (before, after) = (by_id(old), by_id(new));
    let is_same = |rule: &Rule, other: &HashMap<&str, &Rule>| {
        other.get(rule.id.as_str()).is_some_and(|other| {
            rule.force == other.force && rule.scope == other.scope && rule.condition == other.condition
        })
    };
    let gone = old.iter().filter(|rule| !is_same(rule, &after));
    gone.chain(new.iter().filter(|rule| !is_same(rule, &before))).collect()
}

/// What policies can tell of a system: systems of equal traits share their tables.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Traits {
    system: Option<SystemId>,
    agency: Option<String>,
    sector: String,
    level: String,
    province: Option<String>,
}

impl Traits {
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
