//! The synthetic register of health insurance: `GET /cards/{number}`, a card as a function of its holder's record.

use jiff::civil::{Date, date};
use serde::Serialize;

use super::{
    Citizen, Number, Sex, chance,
    citizen::{Relation, Text},
    demo, draw,
    household::{MEMBERS, PLACES, Person},
    life::age,
    residence,
};

/// A card. Every key is always present; what does not apply is `null`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the contract describes each field")]
pub struct Card {
    pub id: Number,
    pub card_number: String,
    pub social_insurance_number: String,
    pub full_name: String,
    pub date_of_birth: Date,
    pub sex: Sex,
    pub date_of_death: Option<Date>,
    pub household_id: String,
    pub province: Text,
    pub province_code: String,
    pub ward: String,
    pub address: String,
    pub category: Category,
    pub benefit_level: u8,
    pub benefit_percent: u8,
    pub valid_from: Date,
    pub valid_until: Date,
    pub status: Status,
    pub continuous_since: Option<Date>,
    pub primary_care_facility: String,
    pub primary_care_facility_code: String,
    pub contribution_payer: Payer,
    pub monthly_contribution: u64,
    pub contributed_months: u16,
    pub contributed_until: Option<Date>,
}

/// By what a person is insured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Category {
    Child,
    Student,
    Employee,
    Household,
    Pensioner,
    Poor,
    Elderly,
}

/// Of the card, on the reference date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Pays.
    Active,
    /// Was not renewed.
    Expired,
    /// Its holder died.
    Closed,
}

/// Who pays the contribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Payer {
    Employer,
    Household,
    State,
    Fund,
}

impl Card {
    /// The card of this number's citizen, if there is one.
    pub fn of(number: Number) -> Option<Self> {
        let (person, citizen) = (Person::of(number)?, Citizen::of(number)?);
        let seed = draw(number.seed(), 0x80);
        let known = demo::ALL.iter().any(|known| known.number == number);
        (known || chance(seed, 0, 930)).then(|| Self::record(person, citizen, seed))
    }

    fn record(person: Person, citizen: Citizen, seed: u64) -> Self {
        let category = Category::of(&citizen, seed);
        let (valid_from, valid_until, status) = validity(&citizen, category, seed);
        let months = months(&citizen, category, valid_from, seed);
        let social_insurance_number = social_insurance_number(person);
        let residence = citizen.permanent_residence;
        let (level, percent) = category.benefit();
        let facility = draw(seed, 1) % 1000;
        // Two digits: that of the province codes is 0.
        let province = residence.province_code.get(1..).unwrap_or_default();
        let code = format!("{province}{facility:03}");
        Self {
            id: citizen.id,
            card_number: format!("{}{level}{province}{social_insurance_number}", category.letters()),
            social_insurance_number,
            full_name: citizen.full_name,
            date_of_birth: citizen.date_of_birth,
            sex: citizen.sex,
            date_of_death: citizen.date_of_death,
            household_id: citizen.household.id,
            category,
            benefit_level: level,
            benefit_percent: percent,
            valid_from,
            valid_until,
            status,
            continuous_since: (months >= 60).then(|| earlier(valid_from, months)),
            primary_care_facility: facility_name(&code, facility),
            primary_care_facility_code: code,
            contribution_payer: category.payer(),
            monthly_contribution: category.contribution(citizen.household.relation_to_head, seed),
            contributed_months: months,
            contributed_until: (category.payer() != Payer::State).then_some(valid_until),
            province: residence.province,
            province_code: residence.province_code,
            ward: residence.ward,
            address: residence.address,
        }
    }

    /// The record as the register sends it: compact JSON, UTF-8.
    pub fn to_json(&self) -> Vec<u8> {
        super::json(self)
    }
}

impl Category {
    fn of(citizen: &Citizen, seed: u64) -> Self {
        let lot = draw(seed, 2) % 100;
        match age(citizen.date_of_birth) {
            ..6 => Self::Child,
            6..18 => Self::Student,
            18..23 if citizen.household.relation_to_head == Relation::Child && lot < 60 => Self::Student,
            80.. => Self::Elderly,
            62..80 if lot < 40 => Self::Pensioner,
            _ if lot < 8 => Self::Poor,
            18..62 if lot < 53 => Self::Employee,
            _ => Self::Household,
        }
    }

    /// As cards write it (Decision 1351/QĐ-BHXH).
    fn letters(self) -> &'static str {
        match self {
            Self::Child => "TE",
            Self::Student => "SV",
            Self::Employee => "DN",
            Self::Household => "GD",
            Self::Pensioner => "HT",
            Self::Poor => "HN",
            Self::Elderly => "CT",
        }
    }

    /// The level, and how many per cent of the cost are paid at it.
    fn benefit(self) -> (u8, u8) {
        match self {
            Self::Child => (1, 100),
            Self::Poor | Self::Elderly => (2, 100),
            Self::Pensioner => (3, 95),
            Self::Student | Self::Employee | Self::Household => (4, 80),
        }
    }

    fn payer(self) -> Payer {
        match self {
            Self::Employee => Payer::Employer,
            Self::Student | Self::Household => Payer::Household,
            Self::Pensioner => Payer::Fund,
            Self::Child | Self::Poor | Self::Elderly => Payer::State,
        }
    }

    /// In đồng: 4.5 % of the salary, the pension or the base salary; less for pupils and for the others of a family.
    fn contribution(self, relation: Relation, seed: u64) -> u64 {
        let income = match self {
            Self::Employee => 5_000_000 + draw(seed, 3) % 250 * 100_000,
            Self::Pensioner => 3_000_000 + draw(seed, 3) % 90 * 100_000,
            Self::Student | Self::Household | Self::Child | Self::Poor | Self::Elderly => BASE_SALARY,
        };
        let reduced = self == Self::Student || (self == Self::Household && relation != Relation::Head);
        income * 45 / 1000 * if reduced { 70 } else { 100 } / 100
    }
}

fn validity(citizen: &Citizen, category: Category, seed: u64) -> (Date, Date, Status) {
    let born = citizen.date_of_birth;
    if let Some(died) = citizen.date_of_death {
        let from = Date::new(died.year(), 1, 1).unwrap_or(died);
        return (from.max(born), died, Status::Closed);
    }
    let known = demo::ALL.iter().any(|known| known.number == citizen.id);
    let from = Date::new(2021 + (draw(seed, 4) % 5) as i16, 1, 1).unwrap_or(born).max(born);
    match category {
        // A child is insured from birth to the day before it is six.
        Category::Child => {
            let six = born.checked_add(jiff::Span::new().years(6)).and_then(Date::yesterday).unwrap_or(born);
            (born, six, Status::Active)
        }
        _ if !known && chance(seed, 5, 40) => (from.min(date(2025, 1, 1)), date(2025, 6, 30), Status::Expired),
        _ => (from, date(2026, 12, 31), Status::Active),
    }
}

/// How many months are paid for: since the holder was grown up, more or less; as a child, since birth.
fn months(citizen: &Citizen, category: Category, valid_from: Date, seed: u64) -> u16 {
    let grown = if matches!(category, Category::Child | Category::Student) { 0 } else { 20 };
    let since = citizen.date_of_birth.year() + grown;
    let years = u64::from((valid_from.year() - since).max(0).unsigned_abs());
    (draw(seed, 6) % (years * 12 + 1)) as u16
}

fn earlier(day: Date, months: u16) -> Date {
    day.checked_sub(jiff::Span::new().months(months)).unwrap_or(day)
}

/// Ten digits that no two persons share: a bijection of the places of households and their members.
fn social_insurance_number(person: Person) -> String {
    let home = person.household;
    let member = home.members().position(|other| other == person).unwrap_or_default() as u64;
    // INVARIANT: below 10^10, where a multiplication by a number without a divisor in common permutes.
    let which = (home.province.index() * PLACES + home.place()) * MEMBERS + member;
    format!("{:010}", which * 6_180_339_887 % TEN_DIGITS)
}

fn facility_name(code: &str, facility: u64) -> String {
    let seed = code.bytes().fold(0x81, |hash, byte| draw(hash, byte.into()));
    let place = residence::two_words(seed);
    match facility {
        ..50 => format!("Bệnh viện đa khoa {place}"),
        50..300 => format!("Trung tâm y tế {place}"),
        _ => format!("Trạm y tế {place}"),
    }
}

const TEN_DIGITS: u64 = 10_000_000_000;
const _: () = assert!(super::province::COUNT as u64 * PLACES * MEMBERS < TEN_DIGITS);

/// Đồng a month (Decree 73/2024).
const BASE_SALARY: u64 = 2_340_000;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::register::population;

    #[test]
    fn no_two_persons_share_a_social_insurance_number() {
        let persons = (0..30_000).map(|n| Person::of(population::citizen(n * 3)).unwrap());
        let families = population::seeded_households(5_000).flat_map(|home| home.members().collect::<Vec<_>>());
        let all: HashSet<_> = persons.chain(families).map(|person| person.number()).collect();
        let given: HashSet<String> =
            all.iter().map(|number| social_insurance_number(Person::of(*number).unwrap())).collect();
        assert_eq!(given.len(), all.len());
        assert!(given.iter().all(|given| given.len() == 10));
    }

    #[test]
    fn every_category_occurs_and_pays_as_it_must() {
        let mut seen = HashSet::new();
        for card in (0..1500).filter_map(|n| Card::of(population::citizen(n * 104_729))) {
            seen.insert(card.category.letters());
            let young = matches!(card.category, Category::Child | Category::Student);
            assert!(young || age(card.date_of_birth) >= 18);
            assert_eq!(card.card_number.get(..2), Some(card.category.letters()));
            assert!(card.monthly_contribution >= 70_000 && card.benefit_percent >= 80);
            assert_eq!(card.continuous_since.is_some(), card.contributed_months >= 60);
        }
        assert_eq!(seen.len(), 7, "{seen:?}");
    }
}
