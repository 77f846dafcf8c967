//! Citizens that demonstrations and tests know by heart.

use std::sync::LazyLock;

use jiff::civil::{Date, date};

use super::{Number, household::Person};

/// What is known of a citizen without asking the register.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The identity number.
    pub number: Number,
    /// NFC.
    pub full_name: &'static str,
    /// As recorded.
    pub date_of_birth: Date,
    /// As recorded.
    pub phone: Option<&'static str>,
}

const fn known(number: u64, full_name: &'static str, date_of_birth: Date, phone: Option<&'static str>) -> Known {
    Known { number: Number::literal(number), full_name, date_of_birth, phone }
}

/// Resident and registered in Hà Nội (001), married, two children. The only record with a line written by hand: her
/// name and phone; all else about her is computed, but for birth dates, which are written for all of these.
pub const HOA: Known = known(1_187_974_118, "Lê Thị Hoa", date(1987, 3, 14), Some("0912345678"));

/// Hoa's husband, head of the household.
pub const HUSBAND: Known = known(1_082_625_891, "Phạm Thế Lâm", date(1982, 7, 9), Some("0950632142"));

/// Their elder child, grown up, still at home.
pub const SON: Known = known(1_207_968_903, "Phạm Văn Bảo", date(2007, 4, 28), None);

/// Their younger child, a minor until June 2030.
pub const MINOR: Known = known(1_312_763_850, "Phạm Thùy Liên", date(2012, 6, 22), None);

/// A resident of Hồ Chí Minh (079), married.
pub const RESIDENT_OF_079: Known = known(79_075_777_772, "Nguyễn Văn Đông", date(1975, 8, 22), Some("0965195760"));

/// A resident of Hà Nội who died on 2023-12-26.
pub const DECEASED: Known = known(1_058_179_927, "Vũ Văn Tùng", date(1958, 3, 6), None);

/// All of the above.
pub const ALL: [Known; 6] = [HOA, HUSBAND, SON, MINOR, RESIDENT_OF_079, DECEASED];

/// What is written by hand of this citizen.
pub(super) fn rewritten(number: Number) -> Option<&'static Known> {
    static WRITTEN: Known = HOA;
    (number == WRITTEN.number).then_some(&WRITTEN)
}

/// The birth date that is written of this citizen, instead of the computed one.
pub(super) fn born(person: Person) -> Option<Date> {
    static WRITTEN: LazyLock<[(Option<Person>, Date); ALL.len()]> =
        LazyLock::new(|| ALL.map(|known| (Person::of(known.number), known.date_of_birth)));
    WRITTEN.iter().find(|(known, _)| *known == Some(person)).map(|(_, date)| *date)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::{Citizen, Sex, citizen::MaritalStatus};

    #[test]
    fn the_register_says_the_same_of_them() {
        for known in ALL {
            let citizen = Citizen::of(known.number).unwrap();
            assert_eq!(citizen.full_name, known.full_name);
            assert_eq!(citizen.date_of_birth, known.date_of_birth);
            assert_eq!(citizen.phone.as_deref(), known.phone);
            assert_eq!(citizen.date_of_death.is_some(), known.number == DECEASED.number);
            let province = if known.number == RESIDENT_OF_079.number { "079" } else { "001" };
            assert_eq!(citizen.permanent_residence.province_code, province);
        }
    }

    #[test]
    fn hoas_family_is_as_told() {
        let hoa = Citizen::of(HOA.number).unwrap();
        assert_eq!((hoa.sex, hoa.marital_status), (Sex::Female, MaritalStatus::Married));
        assert_eq!(hoa.children_ids, [SON.number, MINOR.number]);
        assert_eq!(hoa.spouse.as_ref().map(|spouse| spouse.id), Some(HUSBAND.number));
        let representative = Citizen::of(MINOR.number).unwrap().legal_representative.unwrap();
        assert_eq!(representative.id, HUSBAND.number);
        assert_eq!(Citizen::of(MINOR.number).unwrap().mother.unwrap().full_name, HOA.full_name);
        assert_eq!(Citizen::of(SON.number).unwrap().legal_representative, None);
        let father = Citizen::of(hoa.father.unwrap().id).unwrap();
        assert!(father.full_name.starts_with("Lê ") && father.children_ids.contains(&HOA.number));
    }
}
