//! What one caller gets of one operation for one purpose in two bundles.

use std::collections::{BTreeMap, BTreeSet};

use crate::analysis::scopes::Scopes;
use crate::analysis::seat::{Seat, asker, treatments};
use crate::analysis::space::Space;
use crate::analysis::unknown::Uses;
use crate::analysis::words::Shown;
use crate::contract::{Class, Field};
use crate::engine::Ladder;
use crate::model::{FieldIx, FieldName, Treatment};

/// What became of one field.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) field: FieldName,
    pub(super) sensitive: bool,
    pub(super) before: Shown,
    pub(super) after: Shown,
    /// Somewhere more is shown.
    pub(super) widens: bool,
    /// Somewhere less is shown.
    pub(super) narrows: bool,
    /// Why there may be more to say.
    pub(super) unsure: BTreeSet<String>,
    /// The policies that bear on it in the old bundle and in no new one, and the other way round: by position.
    pub(super) gone: Vec<usize>,
    pub(super) came: Vec<usize>,
}

/// Compares what both give; either may be nobody.
pub(super) fn compare(scopes: [&Scopes<'_>; 2], seats: &[Option<Seat<'_>>; 2]) -> Vec<Found> {
    let rules = [0, 1].map(|side| {
        let (scopes, seat) = (scopes.get(side)?, seats.get(side)?.as_ref()?);
        scopes.on(seat.system, seat.operation, &seat.purpose.id)
    });
    if rules.iter().all(Option::is_none) {
        return Vec::new();
    }
    let alike = alike(seats);
    let mut groups: BTreeMap<Uses, Vec<Pair<'_>>> = BTreeMap::new();
    for name in names(seats) {
        let fields = [0, 1].map(|side| seats.get(side)?.as_ref()?.field(name.as_str()));
        let bearing = [0, 1].map(|side| {
            let on = |((scopes, rules), field): ((&&Scopes<'_>, &Option<_>), &Field)| {
                Some(scopes.on_field(rules.as_ref()?, field))
            };
            scopes.get(side).zip(rules.get(side)).zip(*fields.get(side)?).and_then(on)
        });
        let bearing = bearing.map(Option::unwrap_or_default);
        if bearing.iter().all(Vec::is_empty) {
            continue;
        }
        let [old, new] = &bearing;
        let [old_scopes, new_scopes] = scopes;
        if alike && same_field(seats, &fields) && old_scopes.identities(old) == new_scopes.identities(new) {
            continue;
        }
        let mut uses = Uses::default();
        old_scopes.uses(old, &mut uses);
        new_scopes.uses(new, &mut uses);
        groups.entry(uses).or_default().push(Pair { name, fields, bearing });
    }
    groups.iter().flat_map(|(uses, pairs)| group(scopes, seats, uses, pairs)).collect()
}

/// A field in both bundles, with the policies that may bear on it.
struct Pair<'a> {
    name: FieldName,
    fields: [Option<&'a Field>; 2],
    bearing: [Vec<usize>; 2],
}

/// Fields whose policies ask of the same.
fn group(scopes: [&Scopes<'_>; 2], seats: &[Option<Seat<'_>>; 2], uses: &Uses, pairs: &[Pair<'_>]) -> Vec<Found> {
    let space = Space::of(uses, &asker(seats));
    let indices: Vec<[Option<FieldIx>; 2]> =
        pairs.iter().map(|pair| pair.fields.map(|field| field.map(|field| field.index))).collect();
    let decided = treatments(seats, &indices, &space);
    let found = pairs.iter().zip(&decided).filter_map(|(pair, [before, after])| {
        let rank = |treatment| rank(&pair.fields, treatment);
        let (mut widens, mut narrows) = (false, false);
        for (before, after) in before.iter().zip(after) {
            let change = rank(*after).cmp(&rank(*before));
            // Two masks that no one ladder orders.
            let unordered = change.is_eq() && before != after;
            widens |= change.is_lt() || unordered;
            narrows |= change.is_gt() || unordered;
        }
        if !widens && !narrows && space.unsure.is_empty() {
            return None;
        }
        let [old, new] = &pair.bearing;
        let [old_scopes, new_scopes] = scopes;
        let without = |mine: &[usize], of: &Scopes<'_>, theirs: Vec<u32>| -> Vec<usize> {
            mine.iter()
                .copied()
                .filter(|at| of.identity(*at).is_some_and(|identity| !theirs.contains(&identity)))
                .collect()
        };
        Some(Found {
            field: pair.name.clone(),
            sensitive: pair.fields.iter().flatten().any(|field| field.class == Class::Sensitive),
            before: Shown::of(&space, before, rank),
            after: Shown::of(&space, after, rank),
            widens,
            narrows,
            unsure: space.unsure.clone(),
            gone: without(old, old_scopes, new_scopes.identities(new)),
            came: without(new, new_scopes, old_scopes.identities(old)),
        })
    });
    found.collect()
}

/// Whether policies that say the same decide the same about callers, operations and records that are that alike.
fn alike(seats: &[Option<Seat<'_>>; 2]) -> bool {
    let [Some(old), Some(new)] = seats else { return false };
    let agency = |seat: &Seat<'_>| {
        let agency = &seat.system.agency;
        (agency.sector.clone(), agency.level.clone(), agency.province.clone())
    };
    let record = |seat: &Seat<'_>| {
        let record = &seat.operation.record;
        let from = |at: FieldIx| record.field(at).map(|field| field.name.clone());
        record.attributes.iter().map(|known| (known.name.clone(), known.derive, from(known.from))).collect::<Vec<_>>()
    };
    let action = |seat: &Seat<'_>| {
        let (action, _) = seat.bundle.engine().lineages(seat.operation)?;
        Some(action.all().cloned().collect::<std::collections::HashSet<_>>())
    };
    agency(old) == agency(new) && record(old) == record(new) && action(old) == action(new)
}

/// Whether it is one and the same field to policies and to callers.
fn same_field(seats: &[Option<Seat<'_>>; 2], fields: &[Option<&Field>; 2]) -> bool {
    let (&[Some(old_seat), Some(new_seat)], &[Some(old), Some(new)]) = (seats, fields) else { return false };
    let within = |seat: &Seat<'_>, field: &Field| {
        let (_, fields) = seat.bundle.engine().lineages(seat.operation)?;
        let lineage = fields.get(usize::from(field.index.0))?;
        Some(lineage.all().cloned().collect::<std::collections::HashSet<_>>())
    };
    let answered = |seat: &Seat<'_>, field: &Field| {
        [Treatment::Reveal, Treatment::Match].map(|treatment| seat.answered(field, treatment))
    };
    old.masks == new.masks
        && answered(&old_seat, old) == answered(&new_seat, new)
        && within(&old_seat, old) == within(&new_seat, new)
}

/// Every field of either record, each once.
fn names(seats: &[Option<Seat<'_>>; 2]) -> Vec<FieldName> {
    let mut seen = BTreeSet::new();
    let fields = seats.iter().flatten().flat_map(|seat| &seat.operation.record.fields);
    fields.map(|field| field.name.clone()).filter(|name| seen.insert(name.clone())).collect()
}

/// How much a treatment hides: on the new contract's ladder, or on the old one where only that has the mask.
fn rank(fields: &[Option<&Field>; 2], treatment: Treatment) -> usize {
    let ladders = fields.iter().rev().flatten().map(|field| Ladder::of(field));
    let most = fields.iter().flatten().map(|field| field.masks.len()).max().unwrap_or_default();
    match treatment {
        Treatment::Reveal => 0,
        Treatment::Mask(_) => ladders.filter_map(|ladder| ladder.rank(treatment)).next().unwrap_or(most),
        Treatment::Match => most + 1,
        Treatment::Withhold => most + 2,
    }
}
