//! Enumerating the citizens, without storing them.

use std::sync::LazyLock;

use super::{
    Number, demo,
    household::{BLOCK, Household, MARRIAGE, Person, blocks, composition, years},
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

/// The citizens of a database that was seeded with so many: whole households, and the rest of the last one. Those of
/// [`demo`] come first, with their families; who is among fewer is among more.
pub fn seeded(citizens: u64) -> impl Iterator<Item = Number> {
    seeded_households(citizens).flat_map(|home| home.members().map(Person::number).collect::<Vec<_>>())
}

/// Line by line, and each line with the one that its daughters marry into next, so that parents, spouses and children
/// are there, too; all provinces in proportion.
pub(super) fn seeded_households(citizens: u64) -> impl Iterator<Item = Household> {
    let mut first: Vec<(Province, u64)> = demo::ALL
        .iter()
        .filter_map(|known| Person::of(known.number))
        .flat_map(|person| person.household.kindred_lanes().map(|lane| (person.household.province, lane)))
        .collect();
    first.sort_unstable();
    first.dedup();
    let most = Province::all().map(lanes).max().unwrap_or_default();
    let rest = (0..most).flat_map(move |round| {
        // As often as its share of lanes, evenly over the rounds.
        let turn = move |province: &Province| (round + 1) * lanes(*province) / most > round * lanes(*province) / most;
        Province::all().filter(turn).map(move |province| (province, kindred(province, round * lanes(province) / most)))
    });
    let early = first.clone();
    let lines = first.into_iter().chain(rest.filter(move |line| early.binary_search(line).is_err()));
    let mut count = 0;
    lines.flat_map(|(province, lane)| years().filter_map(move |base| Household::new(province, base, lane))).take_while(
        move |home| {
            let wanted = count < citizens;
            count += home.composition().size();
            wanted
        },
    )
}

/// The lanes of a province, each once, in an order in which the next is where daughters marry.
fn kindred(province: Province, at: u64) -> u64 {
    let lanes = lanes(province).max(1);
    let period = lanes / gcd(MARRIAGE, lanes);
    (at / period + at % period * MARRIAGE) % lanes
}

fn lanes(province: Province) -> u64 {
    blocks(province) * BLOCK
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
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

/// The fewest that a database may be seeded with: those of [`demo`] are among them.
pub const LEAST: u64 = 2_500;

const STRIDE: u128 = 61_803_399_961;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::register::{Citizen, REFERENCE_DATE};

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

    #[test]
    fn a_seed_is_whole_households_and_families() {
        let seeded: Vec<Number> = seeded(20_000).collect();
        assert!((20_000..20_008).contains(&seeded.len()), "{}", seeded.len());
        let there: HashSet<Number> = seeded.iter().copied().collect();
        assert_eq!(there.len(), seeded.len(), "somebody twice");
        let few: HashSet<Number> = super::seeded(LEAST).collect();
        assert!(demo::ALL.iter().all(|known| few.contains(&known.number)) && few.is_subset(&there));
        let (mut relatives, mut missing) = (0, 0);
        for citizen in seeded.iter().step_by(7).filter_map(|number| Citizen::of(*number)) {
            let pointers = [citizen.father, citizen.mother, citizen.spouse].into_iter().flatten();
            for id in pointers.map(|relative| relative.id).chain(citizen.children_ids) {
                relatives += 1;
                missing += usize::from(!there.contains(&id));
            }
            assert!(there.contains(&citizen.household.head_id));
        }
        // Of each province the first line and the last: who married into them, or out.
        assert!(missing * 5 < relatives, "{missing} of {relatives}");
        let provinces: HashSet<String> = seeded.iter().map(|number| number.to_string()[..3].to_owned()).collect();
        assert_eq!(provinces.len(), crate::register::province::COUNT);
    }

    #[test]
    fn every_lane_has_its_turn_once() {
        for province in Province::all() {
            let all: HashSet<u64> = (0..lanes(province)).map(|at| kindred(province, at)).collect();
            assert!(all.len() as u64 == lanes(province) && all.iter().all(|lane| *lane < lanes(province)));
        }
    }
}
