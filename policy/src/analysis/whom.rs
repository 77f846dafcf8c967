//! Many systems in few words.

use std::collections::{BTreeMap, BTreeSet};

use super::seat::may_use;
use crate::directory::{Directory, System};
use crate::model::{AgencyId, PurposeId, SystemId};

/// `tax`, `3 telecom agencies`, `34 province agencies`, `tax/etax, bank-a`: agencies where all their systems that may use one of the purposes
/// are meant, sectors and levels where all such agencies are.
pub(super) fn whom(
    systems: &BTreeSet<SystemId>,
    purposes: &BTreeSet<PurposeId>,
    directories: [&Directory; 2],
) -> String {
    let known = || {
        let mut seen = BTreeSet::new();
        let all = directories
            .iter()
            .rev()
            .flat_map(|directory| directory.systems().iter().map(move |system| (*directory, system)));
        all.filter(move |(_, system)| seen.insert(system.id.clone())).collect::<Vec<_>>()
    };
    let uses = |directory: &Directory, system: &System| {
        systems.contains(&system.id)
            || purposes
                .iter()
                .filter_map(|purpose| directory.purpose(purpose.as_str()))
                .any(|purpose| may_use(system, purpose))
    };
    let mut agencies: BTreeMap<AgencyId, Vec<(std::sync::Arc<System>, bool)>> = BTreeMap::new();
    for (_, system) in known().into_iter().filter(|(directory, system)| uses(directory, system)) {
        agencies.entry(system.agency.id.clone()).or_default().push((system.clone(), systems.contains(&system.id)));
    }
    let total = agencies.len();
    let all = agencies.values().flatten().all(|(_, meant)| *meant);
    let mut said = Vec::new();
    for (least, of) in [(2, SECTOR), (4, LEVEL)] {
        let mut sorts: BTreeMap<String, Vec<AgencyId>> = BTreeMap::new();
        for (agency, members) in &agencies {
            if let Some((system, _)) = members.first() {
                sorts.entry(of(system)).or_default().push(agency.clone());
            }
        }
        for (name, members) in sorts {
            let systems = || members.iter().filter_map(|agency| agencies.get(agency)).flatten();
            let missing: Vec<&str> =
                systems().filter(|(_, meant)| !meant).map(|(system, _)| system.id.as_str()).collect();
            // A few exceptions are shorter than a long list.
            if members.len() >= least && missing.len() <= MOST_MISSING.min(members.len() / 8) {
                let without =
                    if missing.is_empty() { String::new() } else { format!(" without {}", missing.join(" and ")) };
                said.push(format!("{} {name} agencies{without}", members.len()));
                agencies.retain(|agency, _| !members.contains(agency));
            }
        }
    }
    let mut names = Vec::new();
    for (agency, members) in &agencies {
        if members.iter().all(|(_, meant)| *meant) {
            names.push(agency.to_string());
        } else {
            names.extend(members.iter().filter(|(_, meant)| *meant).map(|(system, _)| system.id.to_string()));
        }
    }
    if all && said.len() + names.len() > MOST_NAMES {
        return format!("all {total} agencies that may ask");
    }
    names.sort_unstable();
    let more = names.len().saturating_sub(MOST_NAMES);
    said.extend(names.into_iter().take(MOST_NAMES));
    match more {
        0 => said.join(", "),
        more => format!("{} and {more} more", said.join(", ")),
    }
}

const SECTOR: fn(&System) -> String = |system| system.agency.sector.clone();
const LEVEL: fn(&System) -> String = |system| system.agency.level.clone();
/// The most agencies that are named one by one.
const MOST_NAMES: usize = 5;
/// The most systems that are named as exceptions.
const MOST_MISSING: usize = 2;
