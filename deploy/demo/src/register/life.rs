//! When persons are born, marry, divorce and die, so that every record that tells of it says the same.

use jiff::civil::Date;

use super::{
    Number, birthday, chance, demo, draw,
    household::{Household, Member, Person},
};

/// Dates of birth and death.
pub(super) fn span(person: Person, id: Number) -> (Date, Option<Date>) {
    let born = birthday::of(person);
    if demo::rewritten(id).is_some() {
        return (born, None);
    }
    let seed = id.seed();
    let risk = match age(born) {
        ..18 => 1,
        18..60 => 4,
        60..75 => 30,
        75..85 => 120,
        _ => 350,
    };
    // Nobody is born to, marries or divorces a person who died in an earlier year.
    let alive_in = match person.member {
        Member::Child(_) => None,
        Member::Head | Member::Spouse => person.household.last_birth().max(last_vow(person, seed)),
    };
    let first = person.year().max(alive_in.unwrap_or_default()).max(2015) + 1;
    let years = u64::from((super::LAST_YEAR + 1 - first).max(0).unsigned_abs());
    let died = (years > 0 && chance(seed, 0x21, risk))
        .then(|| day_of(first + (draw(seed, 0x22) % years.max(1)) as i16, seed, 0x23));
    (born, died)
}

pub(super) fn is_alive(person: Person) -> bool {
    span(person, person.number()).1.is_none()
}

/// Completed years on the reference date, which is a first of January.
pub(super) fn age(born: Date) -> i16 {
    let had_birthday = (born.month(), born.day()) == (1, 1);
    super::LAST_YEAR - born.year() + i16::from(had_birthday)
}

/// The day on which the couple of a household married: both of age, before their first child.
pub(super) fn wedding(home: Household) -> Option<Date> {
    home.wedding_year().map(|year| day_of(year, home.seed(), 0x28))
}

/// The days on which a person without a spouse on record, who is divorced, married and divorced.
pub(super) fn divorce(person: Person, seed: u64) -> Option<(Date, Date)> {
    let (married, divorced) = divorce_years(person, seed)?;
    Some((day_of(married, seed, 0x29), day_of(divorced, seed, 0x2a)))
}

/// A day of the year; every month is as likely.
pub(super) fn day_of(year: i16, seed: u64, salt: u64) -> Date {
    let month = (draw(seed, salt) % 12) as i8 + 1;
    let first = Date::new(year, month, 1).unwrap_or(super::REFERENCE_DATE);
    let days = u64::from(first.days_in_month().unsigned_abs());
    let day = (draw(seed, salt + 0x1000) % days.max(1)) as i8 + 1;
    Date::new(year, month, day).unwrap_or(first)
}

/// The year of the marriage, or of its divorce.
fn last_vow(person: Person, seed: u64) -> Option<i16> {
    person.household.wedding_year().or_else(|| divorce_years(person, seed).map(|(_, divorced)| divorced))
}

fn divorce_years(person: Person, seed: u64) -> Option<(i16, i16)> {
    let year = person.year();
    let divorced = person.member == Member::Head
        && person.household.spouse().is_none()
        && year <= super::LAST_YEAR - 24
        && age(birthday::of(person)) >= 25
        && chance(seed, 0x24, 120);
    divorced.then(|| {
        let married = year + 20 + (draw(seed, 0x2b) % 3) as i16;
        let span = u64::from((super::LAST_YEAR - married).max(1).unsigned_abs());
        (married, married + 1 + (draw(seed, 0x2c) % span) as i16)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::population;

    #[test]
    fn lives_are_in_order() {
        let (mut couples, mut divorces, mut deaths) = (0, 0, 0);
        for n in 0..40_000 {
            let person = Person::of(population::citizen(n * 7919)).unwrap();
            let (born, died) = span(person, person.number());
            assert_eq!(born.year(), person.year());
            if let Some(wedding) = wedding(person.household).filter(|_| !matches!(person.member, Member::Child(_))) {
                couples += 1;
                let least = if person.member == Member::Head { 20 } else { 18 };
                assert!(wedding.year() - born.year() >= least && wedding.year() <= super::super::LAST_YEAR);
                assert!(died.is_none_or(|died| wedding < died), "married after death");
                let first = person.household.children().first().map(|child| child.year());
                assert!(first.is_none_or(|first| wedding.year() <= first), "married after the first child");
            }
            if let Some((married, divorced)) = divorce(person, person.number().seed()) {
                divorces += 1;
                assert!(married.year() - born.year() >= 20 && married < divorced);
                assert!(divorced < super::super::REFERENCE_DATE && died.is_none_or(|died| divorced < died));
            }
            deaths += usize::from(died.is_some());
        }
        assert!(couples > 10_000 && divorces > 20 && deaths > 300, "{couples} {divorces} {deaths}");
    }
}
