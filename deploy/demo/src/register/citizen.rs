//! The record of a citizen, in the shape of the contract's `Citizen`.

use std::borrow::Cow;

use jiff::civil::Date;
use serde::Serialize;

use super::{
    Number, Sex, chance, demo, draw,
    household::{Household, Member, Person},
    life::{self, age, is_alive},
    name, pick,
    province::Province,
    residence,
};

/// Computed of words that are compiled in, or read from a database.
pub type Text = Cow<'static, str>;

/// A record. Every key is always present; what is unknown or does not apply is `null`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the contract describes each field")]
pub struct Citizen {
    pub id: Number,
    pub old_id: Option<String>,
    pub full_name: String,
    pub other_names: Vec<Text>,
    pub date_of_birth: Date,
    pub sex: Sex,
    pub place_of_birth: Text,
    pub birth_registration_place: Text,
    pub home_town: String,
    pub ethnicity: Text,
    pub religion: Option<Text>,
    pub nationality: Text,
    pub blood_type: Option<Text>,
    pub marital_status: MaritalStatus,
    pub permanent_residence: PermanentResidence,
    pub temporary_residence: Option<TemporaryResidence>,
    pub current_residence: CurrentResidence,
    pub declared_absence: Option<Text>,
    pub father: Option<Relative>,
    pub mother: Option<Relative>,
    pub spouse: Option<Relative>,
    pub children_ids: Vec<Number>,
    pub legal_representative: Option<Relative>,
    pub household: HouseholdEntry,
    pub date_of_death: Option<Date>,
    pub phone: Option<String>,
    pub email: Option<String>,
    pub eid_level: u8,
}

/// A marriage ends in the register by divorce or by the death of the *other* spouse; the spouse stays on record after
/// a death, on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum MaritalStatus {
    Single,
    Married,
    Divorced,
    Widowed,
}

/// Where the household is registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the contract describes each field")]
pub struct PermanentResidence {
    pub province: Text,
    pub province_code: String,
    pub ward: String,
    pub address: String,
}

/// Where a person stays for work or study.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the contract describes each field")]
pub struct TemporaryResidence {
    pub province: Text,
    pub address: String,
}

/// Where a person really lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the contract describes each field")]
pub struct CurrentResidence {
    pub province: Text,
    pub ward: String,
    pub address: String,
}

/// Another citizen of the register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the contract describes each field")]
pub struct Relative {
    pub id: Number,
    pub full_name: String,
}

/// The person's place in the household.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the contract describes each field")]
pub struct HouseholdEntry {
    pub id: String,
    pub head_id: Number,
    pub relation_to_head: Relation,
}

/// What a member is to the head of the household.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Relation {
    Head,
    Spouse,
    Child,
}

impl MaritalStatus {
    /// As records write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Married => "married",
            Self::Divorced => "divorced",
            Self::Widowed => "widowed",
        }
    }

    pub(super) fn of_word(word: &str) -> Option<Self> {
        [Self::Single, Self::Married, Self::Divorced, Self::Widowed].into_iter().find(|status| status.word() == word)
    }
}

impl Relation {
    /// As records write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Spouse => "spouse",
            Self::Child => "child",
        }
    }

    pub(super) fn of_word(word: &str) -> Option<Self> {
        [Self::Head, Self::Spouse, Self::Child].into_iter().find(|relation| relation.word() == word)
    }
}

impl Citizen {
    /// The record of this number, if there is such a citizen.
    pub fn of(number: Number) -> Option<Self> {
        Person::of(number).map(|person| Self::record(person, number))
    }

    /// The record as the register sends it: compact JSON, UTF-8.
    pub fn to_json(&self) -> Vec<u8> {
        super::json(self)
    }

    fn record(person: Person, id: Number) -> Self {
        let (seed, home) = (id.seed(), person.household);
        let (born, died) = life::span(person, id);
        let age = age(born);
        let grown_and_alive = age >= 18 && died.is_none();
        let registered_in = id.parts().map_or(home.province, |parts| parts.province);
        let parents = person.parents();
        let father = parents.map(|home| home.person(Member::Head));
        let mother = parents.and_then(Household::spouse);
        let children = if matches!(person.member, Member::Child(_)) { Vec::new() } else { home.children() };

        let permanent_residence = permanent_residence(home);
        let studies = matches!(person.member, Member::Child(_)) && age >= 18;
        let stays_away = grown_and_alive && chance(seed, 0x10, if studies { 300 } else { 60 }) && !is_known(id);
        let (temporary_residence, current_residence) = if stays_away {
            let province = Province::attracting(seed);
            let address = residence::address(seed);
            let ward = residence::ward(province, seed);
            let stay = TemporaryResidence { province: province.name().into(), address: address.clone() };
            (Some(stay), CurrentResidence { province: province.name().into(), ward, address })
        } else {
            let PermanentResidence { province, ward, address, .. } = permanent_residence.clone();
            (None, CurrentResidence { province, ward, address })
        };

        Self {
            id,
            old_id: (born.year() <= 2001 && chance(seed, 0x11, 850))
                .then(|| format!("{:03}{:06}", registered_in.code(), draw(seed, 0x12) % 1_000_000)),
            full_name: full_name(person, id),
            other_names: name::others(person.sex(), seed).into_iter().map(Text::from).collect(),
            date_of_birth: born,
            sex: person.sex(),
            place_of_birth: if chance(seed, 0x13, 940) { registered_in.name() } else { home.province.name() }.into(),
            birth_registration_place: registered_in.name().into(),
            home_town: format!("{}, {}", residence::ward(home.province, person.line()), home.province.name()),
            ethnicity: home.province.ethnicity(person.line()).into(),
            religion: chance(seed, 0x14, 140).then(|| pick(RELIGION, seed, 0x15).into()),
            nationality: "VNM".into(),
            blood_type: chance(seed, 0x16, 700).then(|| pick(BLOOD_TYPE, seed, 0x17).into()),
            marital_status: marital_status(person, died, seed),
            permanent_residence,
            temporary_residence,
            current_residence,
            declared_absence: (stays_away && chance(seed, 0x18, 250)).then(|| pick(ABSENCE, seed, 0x19).into()),
            father: father.map(relative),
            mother: mother.map(relative),
            spouse: spouse(person).map(relative),
            children_ids: children.into_iter().map(Person::number).collect(),
            legal_representative: if age < 18 {
                father.into_iter().chain(mother).find(|parent| is_alive(*parent)).map(relative)
            } else {
                None
            },
            household: household_entry(person),
            date_of_death: died,
            phone: phone(id, age, died.is_none()),
            email: (grown_and_alive && chance(seed, 0x1a, 400))
                .then(|| format!("nguoidan.{:08}@example.vn", draw(seed, 0x1b) % 100_000_000)),
            eid_level: match draw(seed, 0x1c) % 100 {
                _ if age < 14 || died.is_some() => 0,
                0..70 => 2,
                70..90 => 1,
                _ => 0,
            },
        }
    }
}

fn relative(person: Person) -> Relative {
    let id = person.number();
    Relative { id, full_name: full_name(person, id) }
}

pub(super) fn spouse(person: Person) -> Option<Person> {
    match person.member {
        Member::Head => person.household.spouse(),
        Member::Spouse => Some(person.household.person(Member::Head)),
        Member::Child(_) => None,
    }
}

pub(super) fn full_name(person: Person, id: Number) -> String {
    match demo::rewritten(id) {
        Some(known) => known.full_name.to_owned(),
        None => name::full(person.line(), person.sex(), person.year(), id.seed()),
    }
}

fn is_known(id: Number) -> bool {
    demo::rewritten(id).is_some()
}

fn marital_status(person: Person, died: Option<Date>, seed: u64) -> MaritalStatus {
    let Some(spouse) = spouse(person) else {
        let divorced = life::divorce(person, seed).is_some();
        return if divorced { MaritalStatus::Divorced } else { MaritalStatus::Single };
    };
    match (life::span(spouse, spouse.number()).1, died) {
        (None, _) => MaritalStatus::Married,
        (Some(theirs), Some(own)) if own <= theirs => MaritalStatus::Married,
        (Some(_), _) => MaritalStatus::Widowed,
    }
}

/// Where a household is registered now: one in eight moved away.
pub(super) fn province_of_residence(home: Household) -> Province {
    let seed = home.seed();
    let moved = chance(seed, 0x25, 120) && !is_known(home.person(Member::Head).number());
    if moved { Province::attracting(seed) } else { home.province }
}

fn permanent_residence(home: Household) -> PermanentResidence {
    let (seed, province) = (home.seed(), province_of_residence(home));
    PermanentResidence {
        province: province.name().into(),
        province_code: province.code_text(),
        ward: residence::ward(province, seed),
        address: residence::address(seed),
    }
}

/// The head is the man of the couple while he lives, then his wife.
fn household_entry(person: Person) -> HouseholdEntry {
    let home = person.household;
    let man = home.person(Member::Head);
    let head = match home.spouse() {
        Some(wife) if !is_alive(man) && is_alive(wife) => wife,
        _ => man,
    };
    let relation_to_head = match person.member {
        member if member == head.member => Relation::Head,
        Member::Child(_) => Relation::Child,
        Member::Head | Member::Spouse => Relation::Spouse,
    };
    HouseholdEntry { id: home.id(), head_id: head.number(), relation_to_head }
}

fn phone(id: Number, age: i16, alive: bool) -> Option<String> {
    if let Some(known) = demo::rewritten(id) {
        return known.phone.map(str::to_owned);
    }
    let share = if age < 14 { 0 } else { 900 };
    (alive && chance(id.seed(), 0x26, share)).then(|| format!("09{:08}", draw(id.seed(), 0x27) % 100_000_000))
}

const RELIGION: &[&str] = &[
    "Phật giáo",
    "Phật giáo",
    "Phật giáo",
    "Công giáo",
    "Công giáo",
    "Công giáo",
    "Tin Lành",
    "Cao Đài",
    "Phật giáo Hòa Hảo",
];

const BLOOD_TYPE: &[&str] = &["O+", "O+", "O+", "O+", "B+", "B+", "B+", "A+", "A+", "AB+", "O-", "B-", "A-", "AB-"];

const ABSENCE: &[&str] = &["Đi làm ăn xa", "Đi học", "Đi công tác", "Đi lao động ở nước ngoài", "Chữa bệnh dài ngày"];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::register::{household::years, population};

    /// Ten thousand households drawn from everywhere.
    fn households() -> impl Iterator<Item = Household> {
        (0..10_000).filter_map(|n| Person::of(population::citizen(n * 7919))).map(|person| person.household)
    }

    fn relative_of(citizen: &Citizen) -> Relative {
        Relative { id: citizen.id, full_name: citizen.full_name.clone() }
    }

    #[test]
    fn every_pointer_points_back() {
        for home in households() {
            for person in home.members() {
                let own = Citizen::of(person.number()).expect("members exist");
                assert_eq!(Person::of(own.id), Some(person));
                for parent in own.father.iter().chain(&own.mother) {
                    let parent = Citizen::of(parent.id).expect("parents exist");
                    assert!(parent.children_ids.contains(&own.id), "{} of {}", own.id, parent.id);
                    assert!(age(parent.date_of_birth) - age(own.date_of_birth) >= 17);
                    assert!(parent.date_of_death.is_none_or(|died| died.year() >= own.date_of_birth.year()));
                }
                assert_eq!(own.father.is_some(), own.mother.is_some());
                if let Some(father) = &own.father {
                    assert_eq!(Citizen::of(father.id).map(|father| relative_of(&father)), Some(father.clone()));
                    assert_eq!(family(&father.full_name), family(&own.full_name));
                } else {
                    assert!(
                        own.date_of_birth.year() < years().start() + 40,
                        "only the oldest have no parents on record"
                    );
                }
                for child in &own.children_ids {
                    let child = Citizen::of(*child).expect("children exist");
                    let parent = if own.sex == Sex::Male { child.father } else { child.mother };
                    assert_eq!(parent, Some(relative_of(&own)));
                }
                if let Some(spouse) = &own.spouse {
                    let spouse = Citizen::of(spouse.id).expect("spouses exist");
                    assert_eq!(spouse.spouse, Some(relative_of(&own)));
                    assert_eq!(spouse.children_ids, own.children_ids);
                    assert_ne!(spouse.sex, own.sex);
                }
                assert_eq!(own.legal_representative.is_some(), age(own.date_of_birth) < 18, "{}", own.id);
            }
        }
    }

    #[test]
    fn a_household_has_one_head_and_one_address() {
        for home in households() {
            let all: Vec<Citizen> = home.members().filter_map(|person| Citizen::of(person.number())).collect();
            let heads: HashSet<Number> = all.iter().map(|citizen| citizen.household.head_id).collect();
            assert_eq!(heads.len(), 1);
            let is_head = |citizen: &&Citizen| citizen.household.relation_to_head == Relation::Head;
            assert_eq!(all.iter().filter(is_head).map(|citizen| citizen.id).collect::<HashSet<_>>(), heads);
            assert!(all.iter().all(|citizen| citizen.permanent_residence == all[0].permanent_residence));
            assert!(all.iter().all(|citizen| citizen.household.id == all[0].household.id));
        }
    }

    #[test]
    fn the_number_says_sex_year_and_province() {
        for n in 0..10_000 {
            let citizen = Citizen::of(population::citizen(n)).unwrap();
            let digits = citizen.id.to_string();
            let (year, century) =
                (citizen.date_of_birth.year(), if citizen.date_of_birth.year() < 2000 { 0 } else { 2 });
            assert_eq!(digits[3..4], (century + i32::from(citizen.sex == Sex::Female)).to_string());
            assert_eq!(digits[4..6], format!("{:02}", year % 100));
            let province = Province::of_code(digits[..3].parse().unwrap()).unwrap();
            assert_eq!(province.name(), citizen.birth_registration_place);
        }
    }

    #[test]
    fn numbers_nobody_has_are_unknown() {
        let numbers = |stem: u64| (0..1000).map(move |serial| Number::literal(stem * 1_000_000 + serial * 997));
        for stem in [2_187, 1_587, 1_930, 999_999, 1_226, 1_330] {
            assert!(numbers(stem).all(|number| Citizen::of(number).is_none()), "{stem}");
        }
        for known in numbers(1_187).filter_map(Citizen::of) {
            assert_eq!(known.date_of_birth.year(), 1987);
        }
        assert!(numbers(1_187).any(|number| Citizen::of(number).is_none()));
    }

    #[test]
    fn a_record_has_the_contracts_keys() {
        for n in 0..2000 {
            let citizen = Citizen::of(population::citizen(n)).unwrap();
            let json: serde_json::Value = serde_json::from_slice(&citizen.to_json()).unwrap();
            let object = json.as_object().unwrap();
            assert_eq!(object.keys().map(String::as_str).collect::<Vec<_>>().join(" "), KEYS);
            let leaves: usize = object.values().map(|value| value.as_object().map_or(1, serde_json::Map::len)).sum();
            let absent = [(&json["temporary_residence"], 1), (&json["father"], 1), (&json["mother"], 1)];
            let absent = absent.into_iter().chain([(&json["spouse"], 1), (&json["legal_representative"], 1)]);
            let absent: usize = absent.filter(|(value, _)| value.is_null()).map(|(_, leaves)| leaves).sum();
            assert_eq!(leaves + absent, 40, "{json}");
        }
    }

    const KEYS: &str = "id old_id full_name other_names date_of_birth sex place_of_birth birth_registration_place \
        home_town ethnicity religion nationality blood_type marital_status permanent_residence temporary_residence \
        current_residence declared_absence father mother spouse children_ids legal_representative household \
        date_of_death phone email eid_level";

    fn family(name: &str) -> &str {
        name.split(' ').next().unwrap()
    }
}
