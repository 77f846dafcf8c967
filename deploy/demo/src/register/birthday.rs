//! Birthdays, and who was born on a day: a bijection, so that a search need not look at everybody.
//!
//! Those of a province who are born in a year can be counted: a block of lanes has the same cohort everywhere, and a
//! province has so many blocks. An affine permutation mixes their places; the mixed place, modulo the days of the year,
//! is the birthday. Read backwards it gives the few thousand of the country who share a day.

use std::sync::LazyLock;

use jiff::civil::Date;

use super::{
    demo, draw,
    household::{BLOCK, Household, Member, Person, blocks, years},
    province::Province,
};

/// The date of birth; it lies in the number's year.
pub(super) fn of(person: Person) -> Date {
    if let Some(written) = demo::born(person) {
        return written;
    }
    let Household { province, base, lane } = person.household;
    let cohort = cohort(person.year());
    let cell = Cell { base, slot: lane % BLOCK, member: person.member };
    // Everybody is in the cohort of the year; the other arm cannot be reached.
    let at = cohort.binary_search(&cell).unwrap_or_else(|at| at) as u64;
    let mixed = Mix::of(province, person.year()).forth(at * blocks(province) + lane / BLOCK);
    day(person.year(), mixed % days(person.year()))
}

/// Everybody whose birthday this is, in no order that means anything.
pub(super) fn born_on(date: Date) -> impl Iterator<Item = Person> {
    let year = date.year();
    let first = u64::from(date.day_of_year().unsigned_abs()).saturating_sub(1);
    let computed = Province::all().flat_map(move |province| {
        let mix = Mix::of(province, year);
        let same_day = (first..mix.size).step_by(days(year) as usize);
        same_day.filter_map(move |mixed| person(province, year, mix.back(mixed)))
    });
    let written = demo::ALL.into_iter().filter(move |known| known.date_of_birth == date);
    computed.filter(|person| demo::born(*person).is_none()).chain(written.filter_map(|known| Person::of(known.number)))
}

/// One person of a block of lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cell {
    base: i16,
    slot: u64,
    member: Member,
}

/// `place * PRIME + shift` modulo the size of the cohort.
#[derive(Clone, Copy, Debug)]
struct Mix {
    size: u64,
    shift: u64,
    inverse: u64,
}

impl Mix {
    fn of(province: Province, year: i16) -> Self {
        let size = (cohort(year).len() as u64 * blocks(province)).max(1);
        let seed = draw(u64::from(province.code()), u64::from(year.unsigned_abs()));
        Self { size, shift: seed % size, inverse: inverse(PRIME % size, size) }
    }

    fn forth(self, place: u64) -> u64 {
        (place * PRIME + self.shift) % self.size
    }

    fn back(self, mixed: u64) -> u64 {
        (mixed + self.size - self.shift) % self.size * self.inverse % self.size
    }
}

fn person(province: Province, year: i16, place: u64) -> Option<Person> {
    let (cell, block) = (place / blocks(province), place % blocks(province));
    let Cell { base, slot, member } = *cohort(year).get(usize::try_from(cell).ok()?)?;
    Household::new(province, base, block * BLOCK + slot).map(|home| home.person(member))
}

/// Those of a block who are born in a year, sorted.
fn cohort(year: i16) -> &'static [Cell] {
    static COHORTS: LazyLock<Vec<Vec<Cell>>> = LazyLock::new(|| {
        let mut cohorts = vec![Vec::new(); usize::from(super::LAST_YEAR.abs_diff(EARLIEST)) + 1];
        for base in years() {
            for slot in 0..BLOCK {
                // A composition depends on the year and the slot only: that of any province will do.
                for person in (Household { province: Province::FIRST, base, lane: slot }).members() {
                    let at = usize::from(person.year().abs_diff(EARLIEST));
                    if let Some(cohort) = cohorts.get_mut(at) {
                        cohort.push(Cell { base, slot, member: person.member });
                    }
                }
            }
        }
        cohorts.iter_mut().for_each(|cohort| cohort.sort_unstable());
        cohorts
    });
    if year < EARLIEST {
        return &[];
    }
    COHORTS.get(usize::from(year.abs_diff(EARLIEST))).map_or(&[], Vec::as_slice)
}

/// The day of the year, the first being 0.
fn day(year: i16, day: u64) -> Date {
    let first = Date::new(year, 1, 1).unwrap_or(super::REFERENCE_DATE);
    first.with().day_of_year(day as i16 + 1).build().unwrap_or(first)
}

fn days(year: i16) -> u64 {
    Date::new(year, 1, 1).map_or(365, |first| u64::from(first.days_in_year().unsigned_abs()))
}

/// The inverse modulo `size`, by Euclid's extended algorithm. The two MUST have no common divisor.
fn inverse(of: u64, size: u64) -> u64 {
    let (mut rest, mut next_rest) = (size as i64, of as i64);
    let (mut sum, mut next_sum) = (0_i64, 1_i64);
    while next_rest != 0 {
        let quotient = rest / next_rest;
        (rest, next_rest) = (next_rest, rest - quotient * next_rest);
        (sum, next_sum) = (next_sum, sum - quotient * next_sum);
    }
    sum.rem_euclid(size as i64).unsigned_abs()
}

/// A spouse may be a year older than the earliest head.
const EARLIEST: i16 = 1934;

/// Greater than every cohort, hence without a divisor in common; and so small that no product overflows.
const PRIME: u64 = 2_147_483_647;

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use jiff::civil::date;

    use super::*;
    use crate::register::population;

    #[test]
    fn a_birthday_leads_back_to_all_who_have_it() {
        for n in 0..300 {
            let person = Person::of(population::citizen(n * 104_729)).unwrap();
            let born = of(person);
            assert_eq!(born.year(), person.year());
            let same: Vec<Person> = born_on(born).collect();
            assert!(same.contains(&person), "{born}");
            assert!((1..9000).contains(&same.len()), "{} on {born}", same.len());
        }
    }

    #[test]
    fn a_year_of_birthdays_is_everybody_of_the_year_once() {
        let (year, ninh_binh) = (2000, Province::of_code(37).unwrap());
        let days = date(year, 1, 1).series(jiff::Span::new().days(1)).take_while(|day| day.year() == year);
        let mut numbers = HashSet::new();
        let mut on_day: HashMap<Date, usize> = HashMap::new();
        // One province stands for all.
        for person in days.flat_map(born_on).filter(|person| person.household.province == ninh_binh) {
            assert!(numbers.insert(person.number()));
            *on_day.entry(of(person)).or_default() += 1;
        }
        assert_eq!(numbers.len() as u64, cohort(year).len() as u64 * blocks(ninh_binh));
        let (least, most) = (on_day.values().min().unwrap(), on_day.values().max().unwrap());
        assert!(on_day.len() == 366 && most - least <= 1, "{least} and {most}");
    }

    #[test]
    fn cohorts_are_the_population() {
        let blocks: u64 = Province::all().map(blocks).sum();
        let people: usize = (EARLIEST..=super::super::LAST_YEAR).map(|year| cohort(year).len()).sum();
        assert_eq!(people as u64 * blocks, population::size());
        assert!(cohort(1933).is_empty() && cohort(2026).is_empty() && cohort(i16::MIN).is_empty());
        let largest = Province::all().map(super::blocks).max().unwrap() * cohort(1990).len() as u64 * 2;
        assert!(largest < PRIME && largest.checked_mul(PRIME).is_some());
    }

    #[test]
    fn what_is_written_by_hand_is_found_where_it_is_written() {
        for known in demo::ALL {
            let found: Vec<Person> =
                born_on(known.date_of_birth).filter(|person| person.number() == known.number).collect();
            assert_eq!(found.len(), 1, "{}", known.full_name);
        }
        // The days that the known would have otherwise hold nobody with another birthday.
        for day in 1..=28 {
            for month in 1..=12 {
                let day = date(1987, month, day);
                assert!(born_on(day).filter(|person| person.household.lane < 500).all(|person| of(person) == day));
            }
        }
    }
}
