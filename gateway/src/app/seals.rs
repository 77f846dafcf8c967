//! The list of sealed persons that is in force. See [`popgate_policy::seal`] for what it means.

use std::sync::Arc;

use arc_swap::ArcSwap;
use popgate_plugins::keyed::Keyed;
use popgate_plugins::keyed::sealed::Sealed;
use popgate_plugins::{Files as _, Unusable};
use popgate_policy::directory::System;
use popgate_policy::model::Personal;
use popgate_policy::seal;

use crate::app::config;
use crate::app::node::Node;
use crate::app::plugins::SiteFiles;
use crate::metrics::Reloads;

/// `[sealed]`, read.
#[derive(Debug)]
pub struct Seals {
    files: config::Sealed,
    // One request sees one list from its decision to its answer.
    in_force: ArcSwap<Arc<dyn seal::Seals>>,
    /// What became of changed files.
    pub reloads: Reloads,
}

/// One version of the list.
#[derive(Debug)]
struct InForce {
    keyed: Keyed,
    list: Sealed,
}

impl seal::Seals for InForce {
    fn hides(&self, person: &Personal<String>, from: &System) -> bool {
        self.list.hides(&self.keyed.tag(person), from.id.as_str(), from.agency.id.as_str())
    }
}

impl Seals {
    /// Reads key and list.
    ///
    /// # Errors
    /// If one of them cannot be used: a node does not start without its list.
    pub fn open(files: &config::Sealed, reloads: Reloads) -> Result<Self, Unusable> {
        let (_, list) = read(files)?;
        Ok(Self { files: files.clone(), in_force: ArcSwap::from_pointee(list), reloads })
    }

    /// The list in force.
    pub fn in_force(&self) -> Arc<Arc<dyn seal::Seals>> {
        self.in_force.load_full()
    }

    fn reload(&self) -> Result<usize, Unusable> {
        let (persons, list) = read(&self.files).inspect_err(|_| self.reloads.refused.inc())?;
        self.in_force.store(Arc::new(list));
        self.reloads.accepted.inc();
        Ok(persons)
    }
}

/// Puts a changed list in force; a broken one is said, and the last good one stays.
pub fn reload(node: &Node) {
    match node.seals.as_ref().map(Seals::reload) {
        None => {}
        Some(Ok(persons)) => tracing::info!(persons, "the list of sealed persons was read again"),
        Some(Err(error)) => {
            tracing::error!(%error, "the list of sealed persons is refused; the last good one stays in force");
        }
    }
}

fn read(files: &config::Sealed) -> Result<(usize, Arc<dyn seal::Seals>), Unusable> {
    let keyed = Keyed::new(&SiteFiles.key(&files.key)?);
    let list = Sealed::parse(&SiteFiles.text(&files.list)?, &keyed);
    let list = list.map_err(|wrong| Unusable(format!("`{}`: {wrong}", files.list.display())))?;
    Ok((list.len(), Arc::new(InForce { keyed, list })))
}
