//! X-Road: the exchange servers of an agency, and the clients that systems are.

use std::collections::HashMap;
use std::sync::Arc;

use ipnet::IpNet;

use crate::bundle::Source;
use crate::directory::{Agency, Exchange, Identity, TlsVersion};
use crate::document::{Entry, Node, Sheet, Span, Table, Value};
use crate::model::{AgencyId, ExchangeId};
use crate::problem::{Problem, nearest};
use crate::xroad::{ClientId, MemberId};

use super::{Loader, identity, is_id};

/// An exchange server whose agency is still to be put into its place.
pub(super) struct Draft {
    id: ExchangeId,
    pub(super) identities: Vec<Identity>,
    networks: Vec<IpNet>,
    members: Vec<MemberId>,
    min_tls: TlsVersion,
}

impl Draft {
    pub(super) fn into_exchange(self, agency: Arc<Agency>) -> Exchange {
        let Self { id, identities, networks, members, min_tls } = self;
        Exchange { id, agency, identities, networks, members, min_tls }
    }
}

/// What is compared once every agency was read.
#[derive(Default)]
pub(super) struct Links {
    /// The system of each client.
    clients: HashMap<ClientId, Claim>,
    /// Who lists each member first.
    members: HashMap<MemberId, Claim>,
}

/// Who claims something, and where.
struct Claim {
    by: String,
    file: String,
    at: Span,
}

/// Reads `exchanges` of an agency's table.
pub(super) fn read(sheet: &mut Sheet<'_>, agency: &AgencyId, table: &Table, loader: &mut Loader<'_>) -> Vec<Draft> {
    let Some(exchanges) = table.node("exchanges").and_then(|node| sheet.table(node, "`exchanges`")) else {
        return Vec::new();
    };
    let systems = table.node("systems").and_then(Node::as_table);
    for entry in &exchanges.entries {
        if systems.is_some_and(|systems| systems.entry(&entry.key).is_some()) {
            let message = format!("`{}` is the name of a system of this agency too", entry.key);
            let problem = sheet.error("duplicate-name", &entry.at, message);
            sheet.push(problem.help("give the exchange server another name: in logs they could not be told apart"));
        }
    }
    exchanges.entries.iter().filter_map(|entry| exchange(sheet, agency, entry, loader)).collect()
}

fn exchange(sheet: &mut Sheet<'_>, agency: &AgencyId, entry: &Entry, loader: &mut Loader<'_>) -> Option<Draft> {
    let name = entry.key.as_str();
    if !is_id(name) {
        let message = format!("`{name}` cannot be the name of an exchange server");
        sheet.push(sheet.error("bad-name", &entry.at, message).help("lower-case letters, digits and `-`"));
    }
    let id = format!("{agency}/{name}");
    let place = format!("the exchange server `{id}`");
    let table = sheet.table(&entry.node, &place)?;
    sheet.check_keys(table, &place, &["identity", "networks", "members", "min_tls"]);
    let identities = match sheet.required(table, &entry.at, &place, "identity") {
        Some(node) => identity::read(sheet, node, &id, &mut loader.identities),
        None => Vec::new(),
    };
    let networks = table.node("networks").map(|node| identity::networks(sheet, node)).unwrap_or_default();
    let members = match sheet.required(table, &entry.at, &place, "members") {
        Some(node) => members(sheet, node, &id, &mut loader.links),
        None => Vec::new(),
    };
    let min_tls = table.node("min_tls").and_then(|node| super::agency::min_tls(sheet, node));
    let min_tls = min_tls.unwrap_or(TlsVersion::Tls12);
    Some(Draft { id: ExchangeId::new(&id), identities, networks, members, min_tls })
}

fn members(sheet: &mut Sheet<'_>, node: &Node, exchange: &str, links: &mut Links) -> Vec<MemberId> {
    let mut members = Vec::new();
    if matches!(&node.value, Value::List(items) if items.is_empty()) {
        let message = format!("the exchange server `{exchange}` speaks for nobody");
        let problem = sheet.error("no-member", &node.span, message);
        sheet.push(problem.help("name at least one member, such as `VN/GOV/TAX`"));
    }
    for (typed, item) in sheet.texts(node, "`members`") {
        let Some(member) = MemberId::typed(typed) else {
            let message = format!("`{typed}` is not the id of an X-Road member");
            let problem = sheet.error("bad-xroad", &item.span, message);
            let help = match ClientId::typed(typed) {
                Some(client) => format!("did you mean `{}`? it speaks for all clients of a member", client.member()),
                None => "`instance/class/member`, such as `VN/GOV/TAX`".to_owned(),
            };
            sheet.push(problem.help(help));
            continue;
        };
        if members.contains(&member) {
            sheet.push(sheet.error("duplicate-member", &item.span, format!("the member `{member}` stands twice")));
            continue;
        }
        let claim = Claim { by: exchange.to_owned(), file: sheet.file.to_owned(), at: item.span.clone() };
        links.members.entry(member.clone()).or_insert(claim);
        members.push(member);
    }
    members
}

/// Reads `xroad` of a system.
pub(super) fn client(sheet: &mut Sheet<'_>, node: &Node, system: &str, links: &mut Links) -> Option<ClientId> {
    let typed = sheet.text(node, "`xroad`")?;
    let Some(client) = ClientId::typed(typed) else {
        let problem = sheet.error("bad-xroad", &node.span, format!("`{typed}` is not the id of an X-Road client"));
        sheet.push(problem.help("`instance/class/member/subsystem`, such as `VN/GOV/TAX/ETAX`"));
        return None;
    };
    if let Some(claim) = links.clients.get(&client) {
        let message = format!("the X-Road client `{client}` of `{system}` is already that of `{}`", claim.by);
        let problem = sheet.error("duplicate-xroad", &node.span, message);
        sheet.push(problem.help("a client must stand for one system"));
        return None;
    }
    let claim = Claim { by: system.to_owned(), file: sheet.file.to_owned(), at: node.span.clone() };
    links.clients.insert(client.clone(), claim);
    Some(client)
}

/// Warns of clients that nobody speaks for, and of members without a client: each is most likely a slip in the other.
pub(super) fn warn_unlinked(links: &Links, source: &Source, problems: &mut Vec<Problem>) {
    let of_clients = || links.clients.keys().map(ClientId::member);
    let warning = |code, claim: &Claim, message: String| {
        let text = source.files.get(&claim.file).map(String::as_str).unwrap_or_default();
        Problem::warning(code, &claim.file, message).at(text, claim.at.clone())
    };
    for (client, claim) in &links.clients {
        if links.members.keys().any(|member| member.as_str() == client.member()) {
            continue;
        }
        let message = format!("no exchange server speaks for `{}`, the member of `{}`", client.member(), claim.by);
        let help = match nearest(client.member(), links.members.keys().map(MemberId::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "list it in the `members` of an exchange server, or leave `xroad` out".to_owned(),
        };
        problems.push(warning("unrepresented-client", claim, message).help(help));
    }
    for (member, claim) in &links.members {
        if of_clients().any(|known| known == member.as_str()) {
            continue;
        }
        let message = format!("no system has a client of the member `{member}`, which `{}` speaks for", claim.by);
        let help = match nearest(member.as_str(), of_clients()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "give a system `xroad = \"...\"`, or remove the member".to_owned(),
        };
        problems.push(warning("unused-member", claim, message).help(help));
    }
}
