//! What one caller gets of one operation for one purpose in two bundles.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::analysis::scopes::{Bits, Scopes};
use crate::analysis::seat::{Seat, asker, treatments};
use crate::analysis::space::Space;
use crate::analysis::unknown::Uses;
use crate::analysis::words::Shown;
use crate::contract::{Class, Field};
use crate::engine::{Ladder, hides};
use crate::model::{FieldIx, FieldName, Treatment};

/// What became of one field.
#[derive(Clone, Debug)]
pub(in crate::analysis) struct Found {
    pub(in crate::analysis) field: FieldName,
    pub(in crate::analysis) sensitive: bool,
    pub(in crate::analysis) before: Shown,
    pub(in crate::analysis) after: Shown,
    /// Somewhere more is shown.
    pub(in crate::analysis) widens: bool,
    /// Somewhere less is shown.
    pub(in crate::analysis) narrows: bool,
    /// Why there may be more to say.
    pub(in crate::analysis) unsure: BTreeSet<String>,
    /// The policies that bear on it in the old bundle and in no new one, and the other way round: by position.
    pub(in crate::analysis) gone: Vec<usize>,
    pub(in crate::analysis) came: Vec<usize>,
}

/// Compares what both give of the fields that are wanted; either may be nobody.
pub(in crate::analysis) fn compare(
    scopes: [&Scopes<'_>; 2],
    seats: &[Option<Seat<'_>>; 2],
    wanted: &dyn Fn(&Field) -> bool,
) -> Vec<Found> {
    let [old, new] = [0, 1].map(|side| Some(Half { scopes: *scopes.get(side)?, seat: (*seats.get(side)?)? }));
    let rules = [&old, &new].map(|half| half.as_ref().and_then(|half| half.scopes.on(&half.seat)));
    if rules.iter().all(Option::is_none) {
        return Vec::new();
    }
    let alike = alike(seats);
    let mut groups: BTreeMap<Uses, Vec<Pair<'_>>> = BTreeMap::new();
    for name in names(seats) {
        let fields = [&old, &new].map(|half| half.as_ref().and_then(|half| half.seat.field(name.as_str())));
        if !fields.iter().flatten().any(|field| wanted(field)) {
            continue;
        }
        let bearing = |half: &Option<Half<'_>>, rules: &Option<Bits>, field: Option<&Field>| {
            let (half, rules, field) = (half.as_ref()?, rules.as_ref()?, field?);
            Some(half.scopes.on_field(rules, field))
        };
        let left = |half: &Option<Half<'_>>, bits: Option<Bits>, field: Option<&Field>| {
            let (half, bits, field) = (half.as_ref()?, bits?, field?);
            Some(half.scopes.left(bits, &half.seat, field))
        };
        let same = |bearing: &[Bits; 2]| {
            let ([before, after], [old, new]) = (bearing, scopes);
            alike && same_field(seats, &fields) && old.identities(before) == new.identities(after)
        };
        let ([old_rules, new_rules], [old_field, new_field]) = (&rules, fields);
        let (before, after) = (bearing(&old, old_rules, old_field), bearing(&new, new_rules, new_field));
        let in_scope = [before.clone().unwrap_or_default(), after.clone().unwrap_or_default()];
        if in_scope.iter().all(Bits::is_empty) || same(&in_scope) {
            continue;
        }
        let bearing = [left(&old, before, old_field), left(&new, after, new_field)].map(Option::unwrap_or_default);
        if bearing.iter().all(Bits::is_empty) || same(&bearing) {
            continue;
        }
        let mut uses = Uses::default();
        for (scopes, rules) in scopes.iter().zip(&bearing) {
            scopes.uses(rules, &mut uses);
        }
        groups.entry(uses).or_default().push(Pair { name, fields, bearing });
    }
    groups.iter().flat_map(|(uses, pairs)| group(scopes, seats, uses, pairs)).collect()
}

/// One of the two bundles.
#[derive(Clone, Copy)]
struct Half<'a> {
    scopes: &'a Scopes<'a>,
    seat: Seat<'a>,
}

/// A field in both bundles, with the policies that may bear on it.
struct Pair<'a> {
    name: FieldName,
    fields: [Option<&'a Field>; 2],
    bearing: [Bits; 2],
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
            let change = hides(pair.fields, *before, *after);
            widens |= change.is_none_or(Ordering::is_lt);
            narrows |= change.is_none_or(Ordering::is_gt);
        }
        if !widens && !narrows && space.unsure.is_empty() {
            return None;
        }
        let [old, new] = &pair.bearing;
        let [old_scopes, new_scopes] = scopes;
        // Where nothing is permitted any more, forbids have nothing to do with it.
        let both = seats.iter().all(Option::is_some);
        let without = |mine: &Bits, of: &Scopes<'_>, theirs: Vec<u32>| -> Vec<usize> {
            let other = mine.iter().filter(|at| of.identity(*at).is_some_and(|identity| !theirs.contains(&identity)));
            other.filter(|at| !both || !theirs.is_empty() || of.is_permit(*at)).collect()
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

/// In which order treatments are told: that of the new contract's ladder, or of the old one where only that has the mask.
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
