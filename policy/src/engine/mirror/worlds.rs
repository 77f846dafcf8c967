//! Records worth trying: one of each kind that the policies can tell apart.

use std::collections::BTreeSet;

use super::{Found, asks::Asks};
use crate::contract::{Derive, RecordSchema};
use crate::engine::{Decided, Fact, Trial};

/// What each side makes of the same record, in the order of the sides.
pub type World = Vec<Decided>;

/// Every combination of outcomes that some record brings about; one, if no side waits for the record. `None` if there are too many kinds
/// of records, or policies ask in a way that leaves their number open.
pub fn worlds(sides: &[(&Found, &Trial)]) -> Option<Vec<World>> {
    if sides.iter().all(|(_, trial)| trial.is_decided()) {
        return Some(vec![sides.iter().map(|(_, trial)| trial.of(&[])).collect()]);
    }
    let mut asks = Asks::default();
    sides.iter().for_each(|(found, _)| asks.join(found.asks()));
    if asks.open {
        return None;
    }
    let records: Vec<&RecordSchema> = sides.iter().map(|(found, _)| &*found.operation.record).collect();
    let mut tried = Vec::new();
    for name in &asks.record {
        if let Some(values) = values(name, &records, &asks.texts)? {
            tried.push((name.as_str(), values));
        }
    }
    let count = tried.iter().try_fold(1usize, |count, (_, values)| count.checked_mul(values.len()))?;
    if count > MOST_RECORDS {
        return None;
    }
    let mut worlds: Vec<World> = Vec::new();
    for number in 0..count {
        let record = record(&tried, number);
        let side = |(found, trial): &(&Found, &Trial)| {
            let fact = |name: &str| record.iter().find(|(known, _)| *known == name).and_then(|(_, fact)| *fact);
            let attributes = &found.operation.record.attributes;
            trial.of(&attributes.iter().map(|attribute| fact(&attribute.name)).collect::<Vec<_>>())
        };
        let world = sides.iter().map(side).collect();
        if !worlds.contains(&world) {
            worlds.push(world);
        }
    }
    Some(worlds)
}

/// What an attribute may be, as far as the policies can tell; `Some(None)` if no record has it, `None` if it is of several kinds.
#[expect(clippy::option_option, reason = "not there, and not known, are not the same")]
fn values<'a>(
    name: &str,
    records: &[&RecordSchema],
    texts: &'a BTreeSet<String>,
) -> Option<Option<Vec<Option<Fact<'a>>>>> {
    let mut kinds = records.iter().filter_map(|record| {
        let attribute = record.attributes.iter().find(|attribute| attribute.name == name)?;
        Some(attribute.derive == Derive::Value)
    });
    let Some(is_text) = kinds.next() else { return Some(None) };
    if kinds.any(|other| other != is_text) {
        return None;
    }
    let missing = std::iter::once(None);
    Some(Some(if is_text {
        let known = texts.iter().map(|text| Some(Fact::Text(text)));
        missing.chain(known).chain([Some(Fact::Text(OTHER))]).collect()
    } else {
        missing.chain([true, false].map(|truth| Some(Fact::Truth(truth)))).collect()
    }))
}

/// The combination of that number.
fn record<'a>(tried: &[(&'a str, Vec<Option<Fact<'a>>>)], mut number: usize) -> Vec<(&'a str, Option<Fact<'a>>)> {
    tried
        .iter()
        .map(|(name, values)| {
            let value = values.get(number % values.len().max(1)).copied().flatten();
            number /= values.len().max(1);
            (*name, value)
        })
        .collect()
}

/// A text that stands in no policy.
const OTHER: &str = "\u{0}another";
const MOST_RECORDS: usize = 4096;
