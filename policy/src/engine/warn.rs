//! What loads and is still worth a second look: warnings that need decided tables.

use std::collections::{BTreeSet, HashMap};

use cedar_policy::EntityUid;

use crate::bundle::Source;
use crate::cedar::{Force, Phase, Rule, head, relied_on};
use crate::contract::{Answer, Field, Operation};
use crate::directory::Directory;
use crate::engine::build::Built;
use crate::engine::{Asked, Engine, Table};
use crate::model::{PurposeId, Treatment};
use crate::problem::Problem;

/// What an author should look at in one (shape, operation); policies by their ids, for positions change.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    /// A permit, the field that it reveals, and the withheld field that can be derived from it.
    derivable: BTreeSet<(String, String, String)>,
    /// A forbid, and the operation that it does not reach.
    escapes: BTreeSet<(String, String)>,
}

/// Decides every enrolled (system, operation, purpose), and those that an order could lend, and reports policies whose effect is likely not meant:
/// - `derivable`: a permit reveals a field from which a field that is withheld can be derived (`x-gateway-implies`). The
///   subject's number is passed over: whoever asks by it knows it already;
/// - `record-condition-escape`: a forbid on operations whose records have some attribute, while another operation, whose
///   record lacks it, discloses fields in the forbid's scope to the same callers.
pub(super) fn warn(engine: &Engine, source: &Source, directory: &Directory, problems: &mut Vec<Problem>) {
    let conditions: Vec<(&Rule, Vec<String>)> = engine
        .rules
        .iter()
        .filter(|rule| !matches!(rule.force, Force::Permit(_)) && rule.phase == Some(Phase::Record))
        .map(|rule| (rule, relied_on(rule)))
        .filter(|(_, attributes)| !attributes.is_empty())
        .collect();
    let lent = lent(engine, directory);
    let mut all = Findings::default();
    for (at, asked) in engine.operations.iter().enumerate() {
        let operation = &asked.operation;
        let implies =
            operation.answer != Answer::Match && operation.record.fields.iter().any(|field| !field.implies.is_empty());
        let escaped: Vec<&Rule> = conditions
            .iter()
            .filter(|(rule, attributes)| {
                !rule.scope.takes_action(&asked.action)
                    && !attributes.iter().any(|name| operation.record.attributes.iter().any(|has| has.name == *name))
            })
            .map(|(rule, _)| *rule)
            .collect();
        for (shape, row) in engine
            .shapes
            .iter()
            .enumerate()
            .filter_map(|(at_shape, shape)| Some((shape, engine.tables.row(at_shape, at)?)))
        {
            let system = &shape.lineage;
            let escaped: Vec<&Rule> =
                escaped.iter().copied().filter(|rule| rule.scope.takes_principal(system)).collect();
            if !implies && escaped.is_empty() {
                continue;
            }
            let found = row.findings.get_or_init(|| {
                let mut found = Findings::default();
                let meant = |rule: &&Rule| rule.scope.takes_action(&asked.action) && rule.scope.takes_principal(system);
                for (at, purpose) in row.purposes().iter().enumerate() {
                    let Some(entity) = engine.purposes.get(purpose) else { continue };
                    if lent.get(purpose).is_some_and(|permits| !permits.iter().any(meant)) {
                        continue;
                    }
                    let make = || engine.tables.pool().share(engine.build(system, asked, entity).table);
                    let Some(table) = row.table(at, false, make) else { continue };
                    if implies && derives(operation, &table).next().is_some() {
                        found.derivable.extend(derivations(engine, operation, &engine.build(system, asked, entity)));
                    }
                    let escapes = escaped.iter().filter(|rule| discloses_in_scope(rule, asked, &table));
                    found.escapes.extend(escapes.map(|rule| (rule.id.clone(), operation.id.to_string())));
                }
                found
            });
            all.derivable.extend(found.derivable.iter().cloned());
            all.escapes.extend(found.escapes.iter().cloned());
        }
    }
    report(engine, source, all, problems);
}

fn report(engine: &Engine, source: &Source, found: Findings, problems: &mut Vec<Problem>) {
    let by_id: HashMap<&str, &Rule> = engine.rules.iter().map(|rule| (rule.id.as_str(), rule)).collect();
    let mut report = |id: &str, make: &dyn Fn(&Rule) -> Problem| {
        if let Some(rule) = by_id.get(id) {
            let text = source.files.get(&*rule.file).map(String::as_str).unwrap_or_default();
            problems.push(make(rule).at(text, head(rule, source)));
        }
    };
    for (id, from, derived) in found.derivable {
        report(&id, &|rule| {
            let message =
                format!("permit `{}` reveals `{from}`, from which the withheld `{derived}` can be derived", rule.id);
            Problem::warning("derivable", &rule.file, message).help("mask the one, or permit the other")
        });
    }
    for (id, operation) in found.escapes {
        report(&id, &|rule| {
            let message =
                format!("forbid `{}` does not reach `{operation}`, which discloses fields in its scope", rule.id);
            let help = "its condition needs an attribute that this operation's record does not have";
            Problem::warning("record-condition-escape", &rule.file, message).help(help)
        });
    }
}

/// The purposes that are lent, to whomever, and the permits that may mean each: those that name it, or no purpose at all. Who names
/// others alone is passed over: every system times every operation would be decided for nothing.
fn lent<'e>(engine: &'e Engine, directory: &Directory) -> HashMap<PurposeId, Vec<&'e Rule>> {
    let permits = || engine.rules.iter().filter(|rule| matches!(rule.force, Force::Permit(_)));
    let may_mean = |rule: &&Rule, purpose: &EntityUid| {
        let named = rule.policy.entity_literals();
        let mut purposes = named.iter().filter(|literal| literal.type_name() == purpose.type_name()).peekable();
        purposes.peek().is_none() || purposes.any(|literal| literal == purpose)
    };
    let lent = directory.purposes().filter(|purpose| purpose.break_glass);
    let lent = lent.filter_map(|purpose| Some((purpose.id.clone(), engine.purposes.get(&purpose.id)?)));
    lent.map(|(id, purpose)| (id, permits().filter(|rule| may_mean(rule, purpose)).collect())).collect()
}

/// Fields from which others can be derived, but for the one that the request itself names.
fn tells_of_others(operation: &Operation) -> impl Iterator<Item = &Field> {
    let subject =
        operation.subject.and_then(|subject| operation.parameters.get(subject.0)).map(|parameter| parameter.field);
    operation.record.fields.iter().filter(move |field| !field.implies.is_empty() && Some(field.index) != subject)
}

/// Revealed fields, with the withheld ones that can be derived from them.
fn derives<'o>(operation: &'o Operation, table: &'o Table) -> impl Iterator<Item = (&'o Field, &'o Field)> {
    let most = &table.fixed.most;
    let revealed = tells_of_others(operation).filter(|field| most.of(field.index) == Treatment::Reveal);
    revealed.flat_map(move |field| {
        let implied = field.implies.iter().filter_map(|name| operation.record.field_named(name.as_str()));
        implied.filter(|implied| most.of(implied.index) == Treatment::Withhold).map(move |implied| (field, implied))
    })
}

fn derivations(engine: &Engine, operation: &Operation, built: &Built) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for (field, implied) in derives(operation, &built.table) {
        let live = built.live.get(&field.index).into_iter().flatten().filter_map(|at| engine.rules.get(*at));
        let reveals = live.filter(|rule| rule.force == Force::Permit(Treatment::Reveal));
        found.extend(reveals.map(|rule| (rule.id.clone(), field.name.to_string(), implied.name.to_string())));
    }
    found
}

fn discloses_in_scope(rule: &Rule, asked: &Asked, table: &Table) -> bool {
    asked.operation.record.fields.iter().zip(&asked.fields).any(|(field, lineage)| {
        table.fixed.most.of(field.index) != Treatment::Withhold && rule.scope.takes_resource(lineage)
    })
}
