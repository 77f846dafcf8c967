//! Which policies bear on whom, on which operation and on which field, found once for all.

use std::collections::{BTreeSet, HashMap};

use super::seat::Seat;
use super::unknown::Uses;
use crate::bundle::Bundle;
use crate::cedar::{Force, Lineage, Rule};
use crate::condition::{Expr, Known as Told};
use crate::contract::Field;
use crate::model::FieldName;

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
    identity: u32,
    wording: u32,
}

/// Numbers policies so that two that say the same about the same have one number, in whichever bundle they are.
#[derive(Default)]
pub(super) struct Numbering(HashMap<String, u32>);

impl<'a> Scopes<'a> {
    pub(super) fn of(bundle: &'a Bundle, numbering: &mut Numbering) -> Self {
        let engine = bundle.engine();
        let rules = engine.rules();
        let taken = |takes: &dyn Fn(&Rule) -> bool| Bits::of(rules.iter().map(takes));
        let shapes =
            bundle.directory().systems().iter().filter_map(|system| engine.shape(system)).collect::<BTreeSet<_>>();
        let mut by_field = HashMap::new();
        let mut by_operation = Vec::new();
        for operation in bundle.contracts().operations() {
            let Some((action, fields)) = engine.lineages(operation) else {
                by_operation.push(Bits::default());
                continue;
            };
            by_operation.push(taken(&|rule| rule.scope.takes_action(action)));
            for (field, lineage) in operation.record.fields.iter().zip(fields) {
                by_field.entry(field.name.clone()).or_insert_with(|| taken(&|rule| rule.scope.takes_resource(lineage)));
            }
        }
        Self {
            bundle,
            rules: rules.iter().map(|rule| Known::of(rule, bundle, numbering)).collect(),
            by_shape: shapes
                .into_iter()
                .filter_map(|shape| {
                    let system = engine.lineage(shape)?;
                    Some((shape, taken(&|rule| rule.scope.takes_principal(system))))
                })
                .collect(),
            by_operation,
            by_field,
            permits: Bits::of(rules.iter().map(|rule| matches!(rule.force, Force::Permit(_)))),
        }
    }

    /// The policies that may bear on any field, by position; `None` if no permit is among them.
    pub(super) fn on(&self, seat: &Seat<'_>) -> Option<Bits> {
        let shape = self.bundle.engine().shape(seat.system)?;
        let bits = self.by_shape.get(&shape)?.and(self.by_operation.get(seat.operation.index)?);
        if !bits.meets(&self.permits) {
            return None;
        }
        let bits = self.without_impossible(bits, seat, None)?;
        bits.meets(&self.permits).then_some(bits)
    }

    /// Those of them that bear on that field; none if no permit is among them.
    pub(super) fn on_field(&self, all: &Bits, field: &Field) -> Bits {
        let bits = self.by_field.get(&field.name).map(|bits| bits.and(all));
        bits.filter(|bits| bits.meets(&self.permits)).unwrap_or_default()
    }

    /// Those that are left once the field is known.
    pub(super) fn left(&self, bits: Bits, seat: &Seat<'_>, field: &Field) -> Bits {
        let bits = self.without_impossible(bits, seat, Some(field)).unwrap_or_default();
        if bits.meets(&self.permits) { bits } else { Bits::default() }
    }

    /// Without the policies that are not satisfied, and do not fail, whatever the request and the record are.
    fn without_impossible(&self, mut bits: Bits, seat: &Seat<'_>, field: Option<&Field>) -> Option<Bits> {
        let engine = self.bundle.engine();
        let (action, fields) = engine.lineages(seat.operation)?;
        let told = Told {
            entities: &engine.model().entities,
            principal: engine.stands_for(seat.system)?,
            action,
            resource: field.and_then(|field| fields.get(usize::from(field.index.0))),
            purpose: engine.purpose(&seat.purpose.id)?,
            record: &seat.operation.record,
        };
        for at in bits.iter().collect::<Vec<_>>() {
            let rule = engine.rules().get(at);
            let rule = rule.filter(|rule| rule.by_resource || field.is_none());
            if rule.is_some_and(|rule| rule.condition.fold(&told) == Expr::FALSE) {
                bits.remove(at);
            }
        }
        Some(bits)
    }

    pub(super) fn is_permit(&self, rule: usize) -> bool {
        self.bundle.engine().rules().get(rule).is_some_and(|rule| matches!(rule.force, Force::Permit(_)))
    }

    /// What those policies ask of.
    pub(super) fn uses(&self, rules: &Bits, into: &mut Uses) {
        rules.iter().filter_map(|at| self.rules.get(at)).for_each(|rule| into.add(&rule.uses));
    }

    /// Which policies they are, whatever they are called and wherever they stand.
    pub(super) fn identities(&self, rules: &Bits) -> Vec<u32> {
        let mut identities: Vec<u32> = rules.iter().filter_map(|at| Some(self.rules.get(at)?.identity)).collect();
        identities.sort_unstable();
        identities
    }

    /// What it says, whatever it is called, shows at the most and names: of two bundles the same number for the same.
    pub(super) fn wording(&self, rule: usize) -> Option<u32> {
        self.rules.get(rule).map(|rule| rule.wording)
    }

    /// Which policy it is, whatever it is called and wherever it stands.
    pub(super) fn identity(&self, rule: usize) -> Option<u32> {
        self.rules.get(rule).map(|rule| rule.identity)
    }
}

impl Known {
    fn of(rule: &Rule, bundle: &Bundle, numbering: &mut Numbering) -> Self {
        let wording = wording(rule);
        let identity = numbering.number(format!("{:?} {wording} {}", rule.force, named(rule, bundle)));
        Self { uses: Uses::of(&rule.conditions), identity, wording: numbering.number(wording) }
    }
}

impl Numbering {
    fn number(&mut self, said: String) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry(said).or_insert(next)
    }
}

/// What a policy says, without its annotations.
fn wording(rule: &Rule) -> String {
    let mut json = rule.policy.to_json().unwrap_or_default();
    if let Some(members) = json.as_object_mut() {
        members.remove("annotations");
    }
    json.to_string()
}

/// What the entities that a policy names are in.
fn named(rule: &Rule, bundle: &Bundle) -> String {
    let entities = &bundle.engine().model().entities;
    let within = |uid| {
        let mut within: Vec<String> = Lineage::of(uid, entities).all().map(ToString::to_string).collect();
        within.sort_unstable();
        within.join(" ")
    };
    let mut named: Vec<String> = rule.policy.entity_literals().into_iter().map(within).collect();
    named.sort_unstable();
    named.join(";")
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

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
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
