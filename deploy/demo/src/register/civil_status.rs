//! The synthetic register of civil status: births, marriages and deaths, as functions of the population's records.

use jiff::civil::Date;
use serde::Serialize;

use super::{
    Citizen, Number, Sex, chance,
    citizen::{MaritalStatus, PermanentResidence, Text, spouse},
    draw,
    household::{MEMBERS, Member, PLACES, Person},
    life,
    number::SERIALS,
    province::Province,
    residence,
};

/// `GET /births/{number}`. Every key is always present, here and in the others; what does not apply is `null`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the contract describes each field")]
pub struct Birth {
    pub id: Number,
    #[serde(flatten)]
    pub entry: Entry,
    pub full_name: String,
    pub date_of_birth: Date,
    pub sex: Sex,
    pub place_of_birth: Text,
    pub home_town: String,
    pub ethnicity: Text,
    pub nationality: Text,
    pub father_id: Option<Number>,
    pub father_full_name: Option<String>,
    pub mother_id: Option<Number>,
    pub mother_full_name: Option<String>,
    pub declared_by: Declarant,
    pub late: bool,
    pub date_of_death: Option<Date>,
    pub residence_province: Text,
    pub residence_province_code: String,
}

/// `GET /marriages/{number}`, as told of the one who was asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the contract describes each field")]
pub struct Marriage {
    pub id: Number,
    #[serde(flatten)]
    pub entry: Entry,
    pub full_name: String,
    pub date_of_birth: Date,
    pub sex: Sex,
    pub spouse_id: Option<Number>,
    pub spouse_full_name: Option<String>,
    pub spouse_date_of_birth: Option<Date>,
    pub status: MaritalStatus,
    pub ended_on: Option<Date>,
    pub ended_by: Option<End>,
    pub date_of_death: Option<Date>,
    pub residence_province: Text,
    pub residence_province_code: String,
}

/// `GET /deaths/{number}`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the contract describes each field")]
pub struct Death {
    pub id: Number,
    #[serde(flatten)]
    pub entry: Entry,
    pub full_name: String,
    pub date_of_birth: Date,
    pub sex: Sex,
    pub date_of_death: Date,
    pub place_of_death: &'static str,
    pub cause: &'static str,
    pub declared_by_id: Option<Number>,
    pub declared_by_full_name: Option<String>,
    pub residence_province: Text,
    pub residence_province_code: String,
}

/// Where and when something was entered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the contract describes each field")]
pub struct Entry {
    pub registration_number: String,
    pub registered_on: Date,
    pub registry: String,
    pub registry_province: &'static str,
    pub registry_province_code: String,
}

/// Who declared a birth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Declarant {
    Father,
    Mother,
    Relative,
}

/// What ended a marriage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum End {
    Divorce,
    Death,
}

impl Birth {
    /// Of this number's citizen: everybody was born once.
    pub fn of(number: Number) -> Option<Self> {
        let (person, citizen) = (Person::of(number)?, Citizen::of(number)?);
        let (seed, born) = (draw(number.seed(), 0x90), citizen.date_of_birth);
        let late = chance(seed, 0, 30);
        let days = if late { 61 + draw(seed, 1) % 340 } else { draw(seed, 1) % 61 };
        let last = citizen.date_of_death.unwrap_or(LAST_DAY).min(LAST_DAY);
        let registered_on = after(born, days).min(last);
        let province = number.parts().map_or(person.household.province, |parts| parts.province);
        // Serials are given by province, sex and year of birth; an entry may be of one of the two years after.
        let sequence = u64::from(born.year().unsigned_abs()) % 4 * 2 + u64::from(citizen.sex == Sex::Male);
        let which = sequence * SERIALS + number.serial();
        Some(Self {
            id: citizen.id,
            entry: Entry::new("KS", province, which, registered_on, draw(seed, 2)),
            full_name: citizen.full_name,
            date_of_birth: born,
            sex: citizen.sex,
            place_of_birth: citizen.place_of_birth,
            home_town: citizen.home_town,
            ethnicity: citizen.ethnicity,
            nationality: citizen.nationality,
            declared_by: match (&citizen.father, draw(seed, 3) % 10) {
                (Some(_), ..6) => Declarant::Father,
                (Some(_), 6..9) => Declarant::Mother,
                _ => Declarant::Relative,
            },
            father_id: citizen.father.as_ref().map(|father| father.id),
            father_full_name: citizen.father.map(|father| father.full_name),
            mother_id: citizen.mother.as_ref().map(|mother| mother.id),
            mother_full_name: citizen.mother.map(|mother| mother.full_name),
            late: (registered_on - born).get_days() > 60,
            date_of_death: citizen.date_of_death,
            residence_province: citizen.permanent_residence.province,
            residence_province_code: citizen.permanent_residence.province_code,
        })
    }
}

impl Marriage {
    /// Of this number's citizen, who is or was married.
    pub fn of(number: Number) -> Option<Self> {
        let (person, citizen) = (Person::of(number)?, Citizen::of(number)?);
        let (home, spouse) = (person.household, spouse(person));
        let theirs = spouse.map(|spouse| life::span(spouse, spouse.number()));
        let (married, ended_on, ended_by) = match (life::wedding(home), theirs) {
            (Some(wedding), Some((_, died))) => {
                let ended = [died, citizen.date_of_death].into_iter().flatten().min();
                (wedding, ended, ended.map(|_| End::Death))
            }
            _ => {
                let (married, divorced) = life::divorce(person, number.seed())?;
                (married, Some(divorced), Some(End::Divorce))
            }
        };
        Some(Self {
            id: citizen.id,
            entry: Entry::new("KH", home.province, home.place(), married, draw(home.seed(), 0x91)),
            full_name: citizen.full_name,
            date_of_birth: citizen.date_of_birth,
            sex: citizen.sex,
            spouse_id: citizen.spouse.as_ref().map(|spouse| spouse.id),
            spouse_full_name: citizen.spouse.map(|spouse| spouse.full_name),
            spouse_date_of_birth: theirs.map(|(born, _)| born),
            status: citizen.marital_status,
            ended_on,
            ended_by,
            date_of_death: citizen.date_of_death,
            residence_province: citizen.permanent_residence.province,
            residence_province_code: citizen.permanent_residence.province_code,
        })
    }
}

impl Death {
    /// Of this number's citizen, who died.
    pub fn of(number: Number) -> Option<Self> {
        let (person, citizen) = (Person::of(number)?, Citizen::of(number)?);
        let (seed, died) = (draw(number.seed(), 0x92), citizen.date_of_death?);
        let declarant = declarant(person, &citizen);
        let PermanentResidence { province, province_code, .. } = citizen.permanent_residence;
        let old = life::age(citizen.date_of_birth) >= 75;
        Some(Self {
            id: citizen.id,
            entry: Entry::new(
                "KT",
                person.household.province,
                member_place(person),
                after(died, draw(seed, 0) % 15).min(LAST_DAY),
                draw(seed, 1),
            ),
            full_name: citizen.full_name,
            date_of_birth: citizen.date_of_birth,
            sex: citizen.sex,
            date_of_death: died,
            place_of_death: match draw(seed, 2) % 10 {
                ..6 => "home",
                6..9 => "hospital",
                _ => "elsewhere",
            },
            cause: match draw(seed, 3) % 10 {
                ..5 if old => "old-age",
                ..7 => "illness",
                7..9 => "accident",
                _ => "unknown",
            },
            declared_by_id: declarant.as_ref().map(|citizen| citizen.id),
            declared_by_full_name: declarant.map(|citizen| citizen.full_name),
            residence_province: province,
            residence_province_code: province_code,
        })
    }
}

impl Entry {
    /// `which` MUST be of no other entry of this kind, province and year, and below [`EIGHT_DIGITS`].
    fn new(kind: &str, province: Province, which: u64, registered_on: Date, seed: u64) -> Self {
        // A permutation of what has eight digits: certificates of neighbours are no neighbours.
        let serial = which * 61_803_399 % EIGHT_DIGITS;
        Self {
            registration_number: format!("{kind}-{}-{}-{serial:08}", province.code_text(), registered_on.year()),
            registered_on,
            registry: format!("UBND {}, {}", residence::ward(province, seed), province.name()),
            registry_province: province.name(),
            registry_province_code: province.code_text(),
        }
    }
}

/// Which of all members of the households of a province this is.
fn member_place(person: Person) -> u64 {
    let member = person.household.members().position(|other| other == person).unwrap_or_default() as u64;
    person.household.place() * MEMBERS + member
}

/// Who of the family lives, is grown up, and may declare a death.
fn declarant(person: Person, citizen: &Citizen) -> Option<Citizen> {
    let children = if matches!(person.member, Member::Child(_)) { &[] } else { citizen.children_ids.as_slice() };
    let spouse = citizen.spouse.iter().map(|spouse| spouse.id);
    let parents = citizen.father.iter().chain(&citizen.mother).map(|parent| parent.id);
    spouse
        .chain(children.iter().copied())
        .chain(parents)
        .filter_map(Citizen::of)
        .find(|relative| relative.date_of_death.is_none() && life::age(relative.date_of_birth) >= 18)
}

fn after(day: Date, days: u64) -> Date {
    day.checked_add(jiff::Span::new().days(days as i64)).unwrap_or(day)
}

/// The last day that the register has seen.
const LAST_DAY: Date = jiff::civil::date(super::LAST_YEAR, 12, 31);
const EIGHT_DIGITS: u64 = 100_000_000;
const _: () = assert!(8 * SERIALS <= EIGHT_DIGITS && PLACES * MEMBERS <= EIGHT_DIGITS);
