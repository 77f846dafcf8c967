//! Enumerating the citizens, without storing them.

use std::sync::LazyLock;

use super::{
    Number,
    household::{BLOCK, Household, blocks, composition, years},
    province::Province,
};

/// How many citizens exist: a little more than 100 million.
pub fn size() -> u64 {
    LAYOUT.block * LAYOUT.first_block.last().copied().unwrap_or_default()
}

/// The number of the citizen of this index. Indices below [`size`] give each citizen once, neighbours far apart;
/// greater ones start again.
pub fn citizen(n: u64) -> Number {
    // A multiplication by a number that shares no divisor with the size permutes the indices.
    let size = u128::from(size());
    in_order((u128::from(n) * STRIDE % size) as u64)
}

/// The citizens in the order of their households.
fn in_order(index: u64) -> Number {
    let layout = &*LAYOUT;
    let (block, rest) = (index / layout.block, index % layout.block);
    let province = layout.first_block.partition_point(|first| *first <= block).saturating_sub(1);
    let first_block = layout.first_block.get(province).copied().unwrap_or_default();
    let home = layout.first_person.partition_point(|first| *first <= rest).saturating_sub(1);
    let first_person = layout.first_person.get(home).copied().unwrap_or_default();
    let (year, slot) = (home as u64 / BLOCK, home as u64 % BLOCK);

    let household = Household {
        province: Province::all().nth(province).unwrap_or(Province::FIRST),
        base: years().start() + year as i16,
        lane: (block - first_block) * BLOCK + slot,
    };
    let mut members = household.members();
    let head = household.person(super::household::Member::Head);
    members.nth((rest - first_person) as usize).unwrap_or(head).number()
}

struct Layout {
    /// Persons in one block of lanes, all years.
    block: u64,
    /// The index of each province's first block, and the count of all.
    first_block: Vec<u64>,
    /// The index of each household's first person in a block.
    first_person: Vec<u64>,
}

static LAYOUT: LazyLock<Layout> = LazyLock::new(|| {
    let sizes = years().flat_map(|base| (0..BLOCK).map(move |slot| composition(base, slot).size()));
    let (first_person, block) = starts(sizes);
    let (mut first_block, all) = starts(Province::all().map(blocks));
    first_block.push(all);
    Layout { block, first_block, first_person }
});

/// The sum before each, and the sum of all.
fn starts(sizes: impl Iterator<Item = u64>) -> (Vec<u64>, u64) {
    let mut sum = 0;
    let starts = sizes
        .map(|size| {
            let start = sum;
            sum += size;
            start
        })
        .collect();
    (starts, sum)
}

const STRIDE: u128 = 61_803_399_961;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::register::{Citizen, REFERENCE_DATE, household::Person};

    #[test]
    fn the_population_is_about_a_hundred_million() {
        assert!((100_000_000..103_000_000).contains(&size()), "{}", size());
        assert_eq!(gcd(STRIDE as u64, size()), 1);
    }

    #[test]
    fn every_index_is_another_existing_citizen() {
        let mut seen = HashSet::new();
        for n in (0..100_000).chain(size() - 1000..size()) {
            let number = citizen(n);
            assert!(Person::of(number).is_some(), "{number}");
            assert!(seen.insert(number), "{number} twice");
        }
        assert_eq!(citizen(size()), citizen(0));
        let block: HashSet<Number> = (0..LAYOUT.block).map(in_order).collect();
        assert_eq!(block.len() as u64, LAYOUT.block);
    }

    #[test]
    fn ages_are_plausible() {
        for n in 0..20_000 {
            let citizen = Citizen::of(citizen(n)).unwrap();
            let age = (REFERENCE_DATE - citizen.date_of_birth).get_days() / 365;
            assert!((0..=100).contains(&age), "{age}");
        }
    }

    fn gcd(a: u64, b: u64) -> u64 {
        if b == 0 { a } else { gcd(b, a % b) }
    }
}
