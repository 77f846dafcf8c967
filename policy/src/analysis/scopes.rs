//! Which policies bear on whom, on which operation and on which field, found once for all.

use std::collections::{BTreeSet, HashMap};

use super::unknown::{Uses, purposes};
use crate::bundle::Bundle;
use crate::cedar::{Force, Lineage, Rule, in_scope};
use crate::contract::{Field, Operation};
use crate::directory::System;
use crate::model::{FieldName, PurposeId};

/// The policies of a bundle by what their scopes take in.
pub(super) struct Scopes<'a> {
    pub(super) bundle: &'a Bundle,
    rules: Vec<Known>,
    by_shape: HashMap<usize, Bits>,
    by_operation: Vec<Bits>,
    by_field: HashMap<FieldName, Bits>,
    permits: Bits,
}

/// What is known of a policy.
struct Known {
    uses: Uses,
    purposes: Option<BTreeSet<String>>,
    identity: u32,
}

/// Numbers policies so that two that say the same about the same have one number, in whichever bundle they are.
#[derive(Default)]
pub(super) struct Numbering(HashMap<String, u32>);

impl<'a> Scopes<'a> {
    pub(super) fn of(bundle: &'a Bundle, numbering: &mut Numbering) -> Self {
        let engine = bundle.engine();
        let rules = engine.rules();
        let taken = |principal: Option<&Lineage>, action: Option<&Lineage>, resource: Option<&Lineage>| {
            Bits::of(rules.iter().map(|rule| in_scope(&rule.policy, principal, action, resource)))
        };
        let shapes =
            bundle.directory().systems().iter().filter_map(|system| engine.shape(system)).collect::<BTreeSet<_>>();
        let mut by_field = HashMap::new();
        let mut by_operation = Vec::new();
        for operation in bundle.contracts().operations() {
            let Some((action, fields)) = engine.lineages(operation) else {
                by_operation.push(Bits::default());
                continue;
            };
            by_operation.push(taken(None, Some(action), None));
            for (field, lineage) in operation.record.fields.iter().zip(fields) {
                by_field.entry(field.name.clone()).or_insert_with(|| taken(None, None, Some(lineage)));
            }
        }
        Self {
            bundle,
            rules: rules.iter().map(|rule| Known::of(rule, bundle, numbering)).collect(),
            by_shape: shapes
                .into_iter()
                .filter_map(|shape| Some((shape, taken(engine.lineage(shape), None, None))))
                .collect(),
            by_operation,
            by_field,
            permits: Bits::of(rules.iter().map(|rule| matches!(rule.force, Force::Permit(_)))),
        }
    }

    /// The policies that may bear on any field, by position; `None` if no permit is among them.
    pub(super) fn on(&self, system: &System, operation: &Operation, purpose: &PurposeId) -> Option<Bits> {
        let shape = self.bundle.engine().shape(system)?;
        let mut bits = self.by_shape.get(&shape)?.and(self.by_operation.get(operation.index)?);
        if !bits.meets(&self.permits) {
            return None;
        }
        for at in bits.iter().collect::<Vec<_>>() {
            let named = self.rules.get(at).and_then(|rule| rule.purposes.as_ref());
            if named.is_some_and(|named| !named.contains(purpose.as_str())) {
                bits.remove(at);
            }
        }
        bits.meets(&self.permits).then_some(bits)
    }

    /// Those of them that bear on that field; none if no permit is among them.
    pub(super) fn on_field(&self, all: &Bits, field: &Field) -> Vec<usize> {
        let Some(bits) = self.by_field.get(&field.name).map(|bits| bits.and(all)) else { return Vec::new() };
        if bits.meets(&self.permits) { bits.iter().collect() } else { Vec::new() }
    }

    /// What those policies ask of.
    pub(super) fn uses(&self, rules: &[usize], into: &mut Uses) {
        rules.iter().filter_map(|at| self.rules.get(*at)).for_each(|rule| into.add(&rule.uses));
    }

    /// Which policies they are, whatever they are called and wherever they stand.
    pub(super) fn identities(&self, rules: &[usize]) -> Vec<u32> {
        let mut identities: Vec<u32> = rules.iter().filter_map(|at| Some(self.rules.get(*at)?.identity)).collect();
        identities.sort_unstable();
        identities
    }

    /// Which policy it is, whatever it is called and wherever it stands.
    pub(super) fn identity(&self, rule: usize) -> Option<u32> {
        self.rules.get(rule).map(|rule| rule.identity)
    }
}

impl Known {
    fn of(rule: &Rule, bundle: &Bundle, numbering: &mut Numbering) -> Self {
        let next = u32::try_from(numbering.0.len()).unwrap_or(u32::MAX);
        Self {
            uses: Uses::of(&rule.conditions),
            purposes: purposes(&rule.conditions),
            identity: *numbering.0.entry(said(rule, bundle)).or_insert(next),
        }
    }
}

/// What a policy says, without its name, basis and place; and what the entities that it names are in.
fn said(rule: &Rule, bundle: &Bundle) -> String {
    let mut json = rule.policy.to_json().unwrap_or_default();
    if let Some(members) = json.as_object_mut() {
        members.remove("annotations");
    }
    let entities = &bundle.engine().model().entities;
    let mut named: Vec<String> = rule
        .policy
        .entity_literals()
        .into_iter()
        .map(|uid| {
            let mut within: Vec<String> = Lineage::of(uid, entities).all().map(ToString::to_string).collect();
            within.sort_unstable();
            within.join(" ")
        })
        .collect();
    named.sort_unstable();
    format!("{:?} {json} {}", rule.force, named.join(";"))
}

/// A set of policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    fn of(members: impl Iterator<Item = bool>) -> Self {
        let mut words = Vec::new();
        for (at, member) in members.enumerate() {
            if at % 64 == 0 {
                words.push(0);
            }
            if let Some(word) = words.last_mut() {
                *word |= u64::from(member) << (at % 64);
            }
        }
        Self(words)
    }

    fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(mine, theirs)| mine & theirs).collect())
    }

    fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(mine, theirs)| mine & theirs != 0)
    }

    fn remove(&mut self, at: usize) {
        if let Some(word) = self.0.get_mut(at / 64) {
            *word &= !(1 << (at % 64));
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        let bits = |word: u64| (0..64).filter(move |at| word & (1 << at) != 0);
        self.0.iter().enumerate().flat_map(move |(at, word)| bits(*word).map(move |bit| at * 64 + bit))
    }
}
