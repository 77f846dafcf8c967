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
    let is_whole = |members: &[(std::sync::Arc<System>, bool)]| members.iter().all(|(_, meant)| *meant);
    let mut left: BTreeSet<AgencyId> =
        agencies.iter().filter(|(_, members)| is_whole(members)).map(|(agency, _)| agency.clone()).collect();
    let mut said = Vec::new();
    let total = agencies.len();
    if left.len() == total && total > 3 {
        return format!("all {total} agencies that may ask");
    }
    let sort = |of: &dyn Fn(&System) -> String| {
        let mut sorts: BTreeMap<String, BTreeSet<AgencyId>> = BTreeMap::new();
        for (agency, members) in &agencies {
            if let Some((system, _)) = members.first() {
                sorts.entry(of(system)).or_default().insert(agency.clone());
            }
        }
        sorts
    };
    for sorts in [sort(&|system| system.agency.sector.clone()), sort(&|system| system.agency.level.clone())] {
        for (name, members) in sorts {
            if members.len() > 1 && members.iter().all(|agency| left.contains(agency)) {
                said.push(format!("{} {name} agencies", members.len()));
                left.retain(|agency| !members.contains(agency));
            }
        }
    }
    let mut names: Vec<String> = left.iter().map(ToString::to_string).collect();
    for members in agencies.values().filter(|members| !is_whole(members)) {
        names.extend(members.iter().filter(|(_, meant)| *meant).map(|(system, _)| system.id.to_string()));
    }
    names.sort_unstable();
    let more = names.len().saturating_sub(MOST_NAMES);
    said.extend(names.into_iter().take(MOST_NAMES));
    match more {
        0 => said.join(", "),
        more => format!("{} and {more} more", said.join(", ")),
    }
}

/// The most agencies that are named one by one.
const MOST_NAMES: usize = 5;
