//! `network`: where agencies, systems and purposes may come from, on top of what the directory says of systems.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use popgate_policy::narrow::Narrowing;

use super::effect;
use crate::plugin::{Blueprint, Decision, Files, Plugin, Seen, Unusable};
use crate::settings::{Named, Settings, Value};

/// Every list that is about a request must hold the address that it comes from.
#[derive(Clone, Debug)]
struct Network {
    /// About every request that the plugin applies to.
    everywhere: Option<Vec<IpNet>>,
    lists: Vec<List>,
    outside: Narrowing,
}

#[derive(Clone, Debug)]
struct List {
    of: Named,
    id: String,
    networks: Vec<IpNet>,
}

pub(super) fn read(settings: &Settings<'_>) -> Option<Arc<dyn Blueprint>> {
    let everywhere = settings.optional("networks", networks);
    let mut good = everywhere.is_some() == settings.has("networks");
    let mut lists = Vec::new();
    for (key, of) in [("agencies", Named::Agency), ("systems", Named::System), ("purposes", Named::Purpose)] {
        for (id, span, value) in settings.entries(key) {
            settings.mention(of, id, span);
            match networks(settings, value) {
                Some(networks) => lists.push(List { of, id: id.to_owned(), networks }),
                None => good = false,
            }
        }
    }
    let outside = effect::read(settings, "outside", "refuse", REMEDY);
    if good && everywhere.is_none() && lists.is_empty() {
        let help = "add `networks = [\"10.20.0.0/16\"]`, or a list by `agencies`, `systems` or `purposes`";
        settings.mend("no-network", settings.place(""), "no network is listed: the plugin would do nothing", help);
        good = false;
    }
    Some(Arc::new(Network { everywhere, lists, outside: outside.filter(|_| good)? }))
}

impl Network {
    fn admits(&self, seen: &Seen<'_>) -> bool {
        let source = seen.source.to_canonical();
        let about = |list: &&List| match list.of {
            Named::Agency => seen.system.agency.id.as_str() == list.id,
            Named::System => seen.system.id.as_str() == list.id,
            _ => seen.purpose.id.as_str() == list.id,
        };
        let lists = self.lists.iter().filter(about).map(|list| &list.networks);
        lists.chain(&self.everywhere).all(|networks| holds(networks, source))
    }
}

impl Plugin for Network {
    fn looks_at_subject(&self) -> bool {
        false
    }

    fn decide<'a>(&'a self, seen: Seen<'a>) -> Decision<'a> {
        let narrowing = if self.admits(&seen) { Narrowing::NONE } else { self.outside.clone() };
        Box::pin(async { Ok(narrowing) })
    }
}

impl Blueprint for Network {
    fn open(&self, _: &dyn Files) -> Result<Box<dyn Plugin>, Unusable> {
        Ok(Box::new(self.clone()))
    }
}

fn networks<'r>(settings: &Settings<'r>, value: Value<'r>) -> Option<Vec<IpNet>> {
    settings.list(value, Settings::network)
}

fn holds(networks: &[IpNet], source: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&source))
}

const REMEDY: &str = "connect from a network that this site lists for it";
