//! What is lent, where requests see it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use popgate_policy::directory::{Purpose, System};
use popgate_policy::model::{PurposeId, SystemId};

use super::Order;
use crate::clock::Clock;

/// Lends. Nobody but who asks for a break-glass purpose asks it; while nothing is lent, that is one atomic load.
#[derive(Default)]
pub struct Lending(ArcSwapOption<Lent>);

/// From when until when each purpose is lent to each system.
type Lent = HashMap<PurposeId, HashMap<SystemId, Vec<(Timestamp, Timestamp)>>>;

impl Lending {
    /// From now on these orders lend, each in its time, and nothing else does.
    pub fn set<'a>(&self, orders: impl Iterator<Item = &'a Order>) {
        let mut lent = Lent::new();
        for order in orders {
            let systems = lent.entry(PurposeId::new(&order.purpose)).or_default();
            for system in &order.systems {
                systems.entry(SystemId::new(system)).or_default().push((order.from, order.until));
            }
        }
        self.0.store((!lent.is_empty()).then(|| Arc::new(lent)));
    }

    /// Whether the purpose is lent to the system at this instant. The clock is read each time: the end is exact.
    pub fn lends(&self, purpose: &Purpose, system: &System, clock: &Clock) -> bool {
        self.until(purpose, system, clock).is_some()
    }

    /// Until when it is lent to the system, if it is.
    pub fn until(&self, purpose: &Purpose, system: &System, clock: &Clock) -> Option<Timestamp> {
        if !purpose.break_glass {
            return None;
        }
        let lent = self.0.load();
        let times = lent.as_ref()?.get(&purpose.id)?.get(&system.id)?;
        let now = clock.wall();
        times.iter().filter(|(from, until)| *from <= now && now < *until).map(|(_, until)| *until).max()
    }
}

impl fmt::Debug for Lending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.load().as_ref().map_or(0, |lent| lent.len());
        write!(f, "<{count} purposes lent>")
    }
}
