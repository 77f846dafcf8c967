//! Citizens that demonstrations and tests know by heart.

use jiff::civil::{Date, date};

use super::Number;

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
/// f
pub const HOA: Known = known(1, "Lê Thị Hoa", date(1987, 3, 14), Some("0912345678"));

/// The members of the one household whose names, dates and phones are written by hand; all else about them is computed.
pub(super) fn rewritten(number: Number) -> Option<&'static Known> {
    HOUSEHOLD.iter().find(|known| known.number == number)
}

static HOUSEHOLD: [Known; 1] = [HOA];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::{Citizen, household::*, population, province::Province};

    #[test]
    fn search() {
        let hn = Province::of_code(1).unwrap();
        for lane in 0..20000 { for base in 1982..=1985 {
            let Some(h) = Household::new(hn, base, lane) else { continue };
            let Some(w) = h.spouse() else { continue };
            if w.year() != 1987 { continue }
            let kids = h.children();
            if kids.len() != 2 || kids[0].year() > 2007 || kids[1].year() < 2010 { continue }
            let w = Citizen::of(w.number()).unwrap();
            if !w.id.to_string().starts_with("001187") || !w.full_name.starts_with("Lê ") || w.permanent_residence.province_code != "001" || w.father.is_none() { continue }
            if w.religion.is_some() || w.email.is_none() || w.old_id.is_none() || w.blood_type.is_none() || w.eid_level != 2 {continue}
            println!("{} {base} {lane}", serde_json::to_string_pretty(&w).unwrap());
            for m in h.members() { let c = Citizen::of(m.number()).unwrap(); println!("{} {} {} {} {:?} {:?}", c.id, c.full_name, if c.sex == crate::register::Sex::Male {"m"} else {"f"}, c.date_of_birth, c.phone, c.date_of_death); }
            return;
        }}
        panic!("{}", population::size());
    }
}
