//! The population as it is computed: households and searches.

use serde::Serialize;

use super::{
    Citizen, Number, birthday,
    citizen::{PermanentResidence, full_name, province_of_residence},
    household::Person,
    province::Province,
    residence,
    search::{BAD_CURSOR, Page, Query, Refused, Sort},
};

/// `GET /persons/{number}/household`: everybody who is registered there.
#[derive(Debug, Serialize)]
pub(super) struct HouseholdRecord {
    pub(super) id: String,
    address: PermanentResidence,
    members: Vec<Citizen>,
}

impl HouseholdRecord {
    /// Of its members, the first of the household first.
    pub(super) fn of_members(members: Vec<Citizen>) -> Option<Self> {
        let first = members.first()?;
        Some(Self { id: first.household.id.clone(), address: first.permanent_residence.clone(), members })
    }
}

pub(super) fn household(number: Number) -> Option<HouseholdRecord> {
    let members = Person::of(number)?.household.members();
    HouseholdRecord::of_members(members.filter_map(|person| Citizen::of(person.number())).collect())
}

/// Looks at those who share the birthday: some three thousand of a hundred million.
pub(super) fn search(query: &Query) -> Result<Page, Refused> {
    let code = query.province_code.parse().ok().and_then(Province::of_code);
    let mut found: Vec<(String, Number)> = match code {
        Some(province) => birthday::born_on(query.date_of_birth)
            .filter(|person| province_of_residence(person.household) == province)
            .filter(|person| query.sex.is_none_or(|sex| person.sex() == sex))
            .filter(|person| {
                let ward = || residence::ward(province, person.household.seed());
                query.ward.as_ref().is_none_or(|wanted| *wanted == ward())
            })
            .map(|person| (key(query.sort, query.full_name.is_some(), person), person.number()))
            .filter(|(name, _)| query.full_name.as_ref().is_none_or(|wanted| wanted == name))
            .collect(),
        None => Vec::new(),
    };
    found.sort_unstable();
    let start = match query.after {
        None => 0,
        Some(after) => {
            let person = Person::of(after).ok_or(BAD_CURSOR)?;
            let last = (key(query.sort, query.full_name.is_some(), person), after);
            found.partition_point(|key| *key <= last)
        }
    };
    let rest = found.get(start..).unwrap_or_default();
    let page: Vec<Number> = rest.iter().take(query.limit.into()).map(|(_, number)| *number).collect();
    let next = page.last().filter(|_| rest.len() > page.len()).map(|last| query.cursor(*last));
    Ok(Page { items: page.into_iter().filter_map(Citizen::of).collect(), total: found.len() as u64, next })
}

/// What comes before the number in the order; the name, too, where it is filtered by.
fn key(sort: Sort, by_name: bool, person: Person) -> String {
    match sort {
        Sort::Id | Sort::DateOfBirth if !by_name => String::new(),
        Sort::FullName | Sort::Id | Sort::DateOfBirth => full_name(person, person.number()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use jiff::civil::date;

    use super::*;
    use crate::register::{demo::HOA, household::BLOCK};

    fn all(query: &str) -> Vec<Citizen> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = search(&Query::parse(&format!("{query}{cursor}")).unwrap()).unwrap();
            items.extend(page.items);
            match page.next {
                Some(next) => cursor = format!("&cursor={next}"),
                None => {
                    assert_eq!(items.len() as u64, page.total, "{query}");
                    return items;
                }
            }
        }
    }

    /// Everybody who was born that day and lives there, found by looking at each household of the country that could
    /// hold one: by a scan, as the search does not.
    #[test]
    fn a_search_finds_whom_a_scan_finds() {
        let day = date(2019, 8, 17);
        let found: HashSet<Number> =
            all("date_of_birth=2019-08-17&province_code=012&limit=100").iter().map(|citizen| citizen.id).collect();
        let lai_chau = Province::of_code(12).unwrap();
        let mut scanned = HashSet::new();
        for province in Province::all() {
            // Parents of a child of 2019; and of the other provinces one lane in 401.
            let step = if province == lai_chau { 1 } else { 401 };
            for base in 1977..=1996 {
                for lane in (0..super::super::household::blocks(province) * BLOCK).step_by(step) {
                    let Some(home) = super::super::household::Household::new(province, base, lane) else { continue };
                    let children = home.members().filter(|person| person.year() == 2019);
                    for child in children.filter(|child| birthday::of(*child) == day) {
                        let lives_there = province_of_residence(home) == lai_chau;
                        assert!(!lives_there || found.contains(&child.number()));
                        if lives_there && step == 1 {
                            scanned.insert(child.number());
                        }
                    }
                }
            }
        }
        let here = |number: &&Number| Person::of(**number).unwrap().household.province == lai_chau;
        assert_eq!(found.iter().filter(here).copied().collect::<HashSet<_>>(), scanned);
        assert!(scanned.len() > 5 && found.len() > scanned.len(), "{} of {}", scanned.len(), found.len());
    }

    #[test]
    fn pages_are_in_order_and_hold_each_person_once() {
        let query = "date_of_birth=1987-03-14&province_code=001";
        let by_id = all(query);
        assert!(by_id.len() > 150 && by_id.iter().any(|citizen| citizen.id == HOA.number), "{}", by_id.len());
        assert!(by_id.windows(2).all(|pair| pair[0].id < pair[1].id));
        let of_all = |citizen: &Citizen| {
            (citizen.date_of_birth, &*citizen.permanent_residence.province_code) == (date(1987, 3, 14), "001")
        };
        assert!(by_id.iter().all(of_all));
        for limit in [1, 7, 100] {
            let by_name = all(&format!("{query}&sort=full_name&limit={limit}"));
            let key = |citizen: &Citizen| (citizen.full_name.clone(), citizen.id);
            assert!(by_name.windows(2).all(|pair| key(&pair[0]) < key(&pair[1])), "limit {limit}");
            assert_eq!(by_name.len(), by_id.len());
        }
        assert_eq!(all(&format!("{query}&sort=date_of_birth&limit=9")), by_id);
    }

    #[test]
    fn filters_leave_what_they_say() {
        let query = "date_of_birth=1987-03-14&province_code=001&limit=100";
        let everybody = all(query);
        let women = all(&format!("{query}&sex=female"));
        assert!(women.len() > 40 && women.len() < everybody.len());
        let men = all(&format!("{query}&sex=male&sort=full_name"));
        assert_eq!(women.len() + men.len(), everybody.len());
        let hoa = everybody.iter().find(|citizen| citizen.id == HOA.number).unwrap();
        for (name, value) in [("full_name", &hoa.full_name), ("ward", &hoa.permanent_residence.ward)] {
            let encoded: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let found = all(&format!("{query}&{name}={encoded}"));
            let expected: Vec<_> = everybody
                .iter()
                .filter(|citizen| [&citizen.full_name, &citizen.permanent_residence.ward].contains(&value))
                .collect();
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{name}");
            assert!(found.contains(hoa));
        }
        for nobody in ["date_of_birth=1987-03-14&province_code=002", "date_of_birth=1801-03-14&province_code=001"] {
            assert_eq!(all(nobody), [], "{nobody}");
        }
    }
}
