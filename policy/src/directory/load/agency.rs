//! One agency's file.

use std::sync::Arc;

use ipnet::IpNet;

use crate::directory::{Agency, Identity, Limits, Priority, System, TlsVersion};
use crate::document::{Entry, Node, Sheet, Span, Table, Value};
use crate::model::{AgencyId, PurposeId, SystemId};
use crate::problem::Problem;
use crate::xroad::ClientId;

use super::{Loader, exchange, identity, is_id, limit, names};

/// A system whose agency is still to be put into its place.
pub(super) struct Draft {
    id: SystemId,
    pub(super) identities: Vec<Identity>,
    networks: Vec<IpNet>,
    purposes: Vec<PurposeId>,
    limits: Limits,
    priority: Option<Priority>,
    min_tls: TlsVersion,
    pub(super) xroad: Option<ClientId>,
}

impl Draft {
    pub(super) fn into_system(self, index: usize, agency: Arc<Agency>) -> System {
        let Self { id, identities, networks, purposes, limits, priority, min_tls, xroad } = self;
        System { index, id, agency, identities, networks, purposes, limits, priority, min_tls, xroad }
    }
}

pub(super) fn read(
    sheet: &mut Sheet<'_>,
    id: &AgencyId,
    table: &Table,
    loader: &mut Loader<'_>,
) -> Option<(Agency, Vec<Draft>)> {
    let top = 0..0;
    let place = format!("the agency `{id}`");
    sheet.check_keys(
        table,
        &place,
        &["name", "sector", "level", "province", "purposes", "limits", "systems", "exchanges"],
    );
    let name = names(sheet, table, &top, &place);
    let sector = sheet.required(table, &top, &place, "sector").and_then(|node| sector(sheet, node));
    let level = sheet
        .required(table, &top, &place, "level")
        .and_then(|node| sheet.choice(node, "`level`", "unknown-level", &LEVELS.map(|level| (level, level))));
    let province = province(sheet, table, level, &place);
    // Who has exchange servers only asks for nothing.
    let asks = table.node("systems").is_some() || table.node("exchanges").is_none();
    let given = if asks { sheet.required(table, &top, &place, "purposes") } else { table.node("purposes") };
    let purposes = match given {
        Some(node) => purposes(sheet, node, &place, |sheet, typed, at| loader.check_purpose(sheet, typed, at)),
        None => Vec::new(),
    };
    let limits = table.node("limits").and_then(|node| limit::of_agency(sheet, node, loader.names(&purposes)));
    let systems = systems(sheet, id, table, &purposes, loader);
    let agency = Agency {
        id: id.clone(),
        name,
        sector: sector?.to_owned(),
        level: level?.to_owned(),
        province,
        purposes,
        limits: limits.unwrap_or_default(),
    };
    Some((agency, systems))
}

fn sector<'n>(sheet: &mut Sheet<'_>, node: &'n Node) -> Option<&'n str> {
    let typed = sheet.text(node, "`sector`")?;
    if !is_id(typed) {
        let problem = sheet.error("bad-name", &node.span, format!("`{typed}` cannot be the name of a sector"));
        sheet.push(problem.help("lower-case letters, digits and `-`"));
    }
    Some(typed)
}

fn province(sheet: &mut Sheet<'_>, table: &Table, level: Option<&str>, place: &str) -> Option<String> {
    let Some(entry) = table.entry("province") else {
        if level == Some("province") {
            let at = table.entry("level").map_or(0..0, |entry| entry.at.clone());
            let problem =
                sheet.error("missing-province", &at, format!("{place} is of level `province` and has no `province`"));
            sheet.push(problem.help("add its code: three digits, such as `province = \"001\"`"));
        }
        return None;
    };
    if level.is_some_and(|level| level != "province") {
        let problem =
            sheet.error("stray-province", &entry.at, format!("{place} has a `province` and is not of that level"));
        sheet.push(problem.help("only an agency of `level = \"province\"` has one"));
    }
    let typed = sheet.text(&entry.node, "`province`")?;
    if typed.len() != 3 || !typed.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = format!("the province `{typed}` is not a code of three digits");
        sheet.push(sheet.error("bad-province", &entry.node.span, message).help("such as `001`"));
    }
    Some(typed.to_owned())
}

fn purposes(
    sheet: &mut Sheet<'_>,
    node: &Node,
    place: &str,
    mut check: impl FnMut(&mut Sheet<'_>, &str, &Span),
) -> Vec<PurposeId> {
    let mut purposes = Vec::new();
    for (typed, item) in sheet.texts(node, "`purposes`") {
        check(sheet, typed, &item.span);
        let purpose = PurposeId::new(typed);
        if purposes.contains(&purpose) {
            sheet.push(sheet.error("duplicate-purpose", &item.span, format!("the purpose `{typed}` stands twice")));
        } else {
            purposes.push(purpose);
        }
    }
    if matches!(&node.value, Value::List(items) if items.is_empty()) {
        let problem = sheet.error("no-purpose", &node.span, format!("{place} has no purpose"));
        sheet.push(problem.help("without a purpose nothing may be asked; name at least one"));
    }
    purposes
}

fn systems(
    sheet: &mut Sheet<'_>,
    agency: &AgencyId,
    table: &Table,
    purposes: &[PurposeId],
    loader: &mut Loader<'_>,
) -> Vec<Draft> {
    let node = table.node("systems");
    let systems = node.and_then(|node| sheet.table(node, "`systems`"));
    if (node.is_none() && table.node("exchanges").is_none())
        || systems.is_some_and(|systems| systems.entries.is_empty())
    {
        let problem = Problem::error("no-system", sheet.file, format!("the agency `{agency}` has no system"));
        sheet.push(problem.help("add a table for each: `[systems.<name>]`"));
    }
    let entries = systems.map(|systems| systems.entries.as_slice()).unwrap_or_default();
    entries.iter().filter_map(|entry| system(sheet, agency, entry, purposes, loader)).collect()
}

fn system(
    sheet: &mut Sheet<'_>,
    agency: &AgencyId,
    entry: &Entry,
    inherited: &[PurposeId],
    loader: &mut Loader<'_>,
) -> Option<Draft> {
    let name = entry.key.as_str();
    if !is_id(name) {
        let problem = sheet.error("bad-name", &entry.at, format!("`{name}` cannot be the name of a system"));
        sheet.push(problem.help("lower-case letters, digits and `-`"));
    }
    let id = format!("{agency}/{name}");
    let place = format!("the system `{id}`");
    let table = sheet.table(&entry.node, &place)?;
    sheet.check_keys(table, &place, &["identity", "networks", "purposes", "min_tls", "limits", "priority", "xroad"]);
    let identities = match sheet.required(table, &entry.at, &place, "identity") {
        Some(node) => identity::read(sheet, node, &id, &mut loader.identities),
        None => Vec::new(),
    };
    let networks = table.node("networks").map(|node| identity::networks(sheet, node)).unwrap_or_default();
    let purposes = match table.node("purposes") {
        Some(node) => purposes(sheet, node, &place, |sheet, typed, at| {
            if !inherited.iter().any(|known| known.as_str() == typed) {
                let message = format!("the purpose `{typed}` is not one of the agency's");
                let problem = sheet.error("foreign-purpose", at, message);
                sheet.push(problem.suggest(typed, inherited.iter().map(PurposeId::as_str)));
            }
        }),
        None => inherited.to_vec(),
    };
    let min_tls = table.node("min_tls").and_then(|node| min_tls(sheet, node));
    let xroad = table.node("xroad").and_then(|node| exchange::client(sheet, node, &id, &mut loader.links));
    let limits = sheet
        .required(table, &entry.at, &place, "limits")
        .and_then(|node| limit::of_system(sheet, node, loader.names(&purposes)))?;
    let classes = Priority::ALL.map(|class| (class.as_str(), class));
    let priority =
        table.node("priority").and_then(|node| sheet.choice(node, "`priority`", "unknown-priority", &classes));
    let min_tls = min_tls.unwrap_or(TlsVersion::Tls12);
    Some(Draft { id: SystemId::new(&id), identities, networks, purposes, limits, priority, min_tls, xroad })
}

pub(super) fn min_tls(sheet: &mut Sheet<'_>, node: &Node) -> Option<TlsVersion> {
    sheet.choice(node, "`min_tls`", "bad-tls", &[("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)])
}

const LEVELS: [&str; 3] = ["central", "province", "private"];
