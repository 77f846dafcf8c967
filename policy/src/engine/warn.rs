//! What loads and is still worth a second look: warnings that need decided tables.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::EntityUid;

use crate::bundle::Source;
use crate::cedar::{Force, Phase, Rule, head, in_scope, relied_on};
use crate::contract::{Answer, Field, Operation};
use crate::directory::Directory;
use crate::engine::build::Built;
use crate::engine::{Asked, Engine};
use crate::model::{FieldIx, FieldSet, Treatment};
use crate::problem::Problem;

/// Decides every enrolled (system, operation, purpose), and those that an order could lend, and reports policies whose effect is likely not meant:
/// - `derivable`: a permit reveals a field from which a field that is withheld can be derived (`x-gateway-implies`). The
///   subject's number is passed over: whoever asks by it knows it already;
/// - `record-condition-escape`: a forbid on operations whose records have some attribute, while another operation, whose
///   record lacks it, discloses fields in the forbid's scope to the same callers.
pub(super) fn warn(engine: &Engine, source: &Source, directory: &Directory, problems: &mut Vec<Problem>) {
    let conditions: Vec<(usize, &Rule, Vec<String>)> = engine
        .rules
        .iter()
        .enumerate()
        .filter(|(_, rule)| !matches!(rule.force, Force::Permit(_)) && rule.phase == Some(Phase::Record))
        .map(|(at, rule)| (at, rule, relied_on(rule)))
        .filter(|(_, _, attributes)| !attributes.is_empty())
        .collect();
    let mut derivable: BTreeSet<(usize, String, String)> = BTreeSet::new();
    let mut escapes: BTreeSet<(usize, String)> = BTreeSet::new();
    let (shapes, lent) = (enrolled(engine, directory), lent(engine, directory));
    for asked in engine.operations.iter() {
        let operation = &asked.operation;
        let implies =
            operation.answer != Answer::Match && operation.record.fields.iter().any(|field| !field.implies.is_empty());
        let escaped: Vec<_> = conditions
            .iter()
            .filter(|(_, rule, attributes)| {
                !in_scope(&rule.policy, None, Some(&asked.action), None)
                    && !attributes.iter().any(|name| operation.record.attributes.iter().any(|has| has.name == *name))
            })
            .collect();
        if !implies && escaped.is_empty() {
            continue;
        }
        for (shape, purposes) in &shapes {
            let Some(system) = engine.shapes.get(*shape) else { continue };
            let escaped: Vec<_> =
                escaped.iter().filter(|(_, rule, _)| in_scope(&rule.policy, Some(system), None, None)).collect();
            if !implies && escaped.is_empty() {
                continue;
            }
            let meant = |rule: &&Rule| in_scope(&rule.policy, Some(system), Some(&asked.action), None);
            let lent = lent.iter().filter(|(_, permits)| permits.iter().any(meant)).map(|(purpose, _)| purpose);
            for purpose in purposes.iter().chain(lent).filter_map(|purpose| engine.purposes.get(*purpose)) {
                let built = if escaped.is_empty() {
                    engine.build_for(system, asked, purpose, about_derivation(operation))
                } else {
                    engine.build(system, asked, purpose)
                };
                if implies {
                    derivable.extend(derivations(engine, operation, &built));
                }
                for (at, rule, _) in &escaped {
                    if discloses_in_scope(rule, asked, &built) {
                        escapes.insert((*at, operation.id.to_string()));
                    }
                }
            }
        }
    }
    let mut report = |at: usize, make: &dyn Fn(&Rule) -> Problem| {
        if let Some(rule) = engine.rules.get(at) {
            let text = source.files.get(&*rule.file).map(String::as_str).unwrap_or_default();
            problems.push(make(rule).at(text, head(rule, source)));
        }
    };
    for (at, from, derived) in derivable {
        report(at, &|rule| {
            let message =
                format!("permit `{}` reveals `{from}`, from which the withheld `{derived}` can be derived", rule.id);
            Problem::warning("derivable", &rule.file, message).help("mask the one, or permit the other")
        });
    }
    for (at, operation) in escapes {
        report(at, &|rule| {
            let message =
                format!("forbid `{}` does not reach `{operation}`, which discloses fields in its scope", rule.id);
            let help = "its condition needs an attribute that this operation's record does not have";
            Problem::warning("record-condition-escape", &rule.file, message).help(help)
        });
    }
}

/// The purposes that the systems of each shape are enrolled for.
fn enrolled(engine: &Engine, directory: &Directory) -> BTreeMap<usize, BTreeSet<usize>> {
    let mut shapes: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for system in directory.systems() {
        if let Some(shape) = engine.shape_of.get(&system.id) {
            let purposes = system.purposes.iter().filter_map(|purpose| engine.purpose_at.get(purpose));
            shapes.entry(*shape).or_default().extend(purposes);
        }
    }
    shapes
}

/// The purposes that are lent, to whomever, and the permits that may mean each: those that name it, or no purpose at all. Who names
/// others alone is passed over: every system times every operation would be decided for nothing.
fn lent<'e>(engine: &'e Engine, directory: &Directory) -> Vec<(usize, Vec<&'e Rule>)> {
    let purposes = directory.purposes().filter(|purpose| purpose.break_glass);
    let purposes = purposes.filter_map(|purpose| engine.purpose_at.get(&purpose.id)).copied();
    let permits = || engine.rules.iter().filter(|rule| matches!(rule.force, Force::Permit(_)));
    let may_mean = |rule: &&Rule, purpose: &EntityUid| {
        let named = rule.policy.entity_literals();
        let mut purposes = named.iter().filter(|literal| literal.type_name() == purpose.type_name()).peekable();
        purposes.peek().is_none() || purposes.any(|literal| literal == purpose)
    };
    let of = |at: usize| Some((at, engine.purposes.get(at)?));
    purposes
        .filter_map(of)
        .map(|(at, purpose)| (at, permits().filter(|rule| may_mean(rule, purpose)).collect()))
        .collect()
}

/// Fields from which others can be derived, but for the one that the request itself names.
fn tells_of_others(operation: &Operation) -> impl Iterator<Item = &Field> {
    let subject =
        operation.subject.and_then(|subject| operation.parameters.get(subject.0)).map(|parameter| parameter.field);
    operation.record.fields.iter().filter(move |field| !field.implies.is_empty() && Some(field.index) != subject)
}

/// Those fields, and what can be derived from them.
fn about_derivation(operation: &Operation) -> FieldSet {
    let implied = |field: &Field| -> Vec<FieldIx> {
        let names = field.implies.iter().filter_map(|name| operation.record.field_named(name.as_str()));
        names.map(|field| field.index).collect()
    };
    tells_of_others(operation).flat_map(|field| implied(field).into_iter().chain([field.index])).collect()
}

fn derivations(engine: &Engine, operation: &Operation, built: &Built) -> Vec<(usize, String, String)> {
    let most = &built.table.fixed.most;
    let mut found = Vec::new();
    for field in tells_of_others(operation).filter(|field| most.of(field.index) == Treatment::Reveal) {
        let withheld = field.implies.iter().filter_map(|name| operation.record.field_named(name.as_str()));
        for implied in withheld.filter(|implied| most.of(implied.index) == Treatment::Withhold) {
            let live = built.live.get(&field.index).into_iter().flatten();
            let reveals =
                |at: &&usize| engine.rules.get(**at).is_some_and(|rule| rule.force == Force::Permit(Treatment::Reveal));
            found.extend(live.filter(reveals).map(|at| (*at, field.name.to_string(), implied.name.to_string())));
        }
    }
    found
}

fn discloses_in_scope(rule: &Rule, asked: &Asked, built: &Built) -> bool {
    asked.operation.record.fields.iter().zip(&asked.fields).any(|(field, lineage)| {
        built.table.fixed.most.of(field.index) != Treatment::Withhold
            && in_scope(&rule.policy, None, None, Some(lineage))
    })
}
