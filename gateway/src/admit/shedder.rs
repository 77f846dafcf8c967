//! What one core asks before anything dear is done: whether the node can do it.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use popgate_policy::directory::Priority;
use popgate_policy::model::AgencyId;

use super::overload::{Class, Lane};
use crate::clock::Clock;
use crate::refusal::Refusal;

/// One core's part in shedding.
#[derive(Debug)]
pub struct Shedder {
    lane: Lane,
    /// Chance need not be secret here.
    dice: Cell<u64>,
    origin: Instant,
    clock: Clock,
}

/// Which slot is whose; an agency keeps its own over changes of the bundle.
#[derive(Debug, Default)]
pub struct Slots(Mutex<HashMap<AgencyId, usize>>);

impl Shedder {
    /// `origin` MUST be the controller's.
    pub fn new(lane: Lane, seed: u64, origin: Instant, clock: Clock) -> Self {
        Self { lane, dice: Cell::new(seed | 1), origin, clock }
    }

    /// The core's heartbeat, for ever: how late it is says how long everything else on this core has to wait.
    pub async fn beat(&self) {
        loop {
            let next = self.lane.beat(self.clock.now().saturating_duration_since(self.origin));
            tokio::time::sleep(next).await;
        }
    }

    pub(super) fn admit(&self, slot: usize, priority: Priority) -> Result<(), Refusal> {
        let class = Class::from(priority);
        if self.lane.admit(slot, class, self.roll()) {
            return Ok(());
        }
        Err(Refusal::Overloaded { retry_after: self.lane.retry_after(class, self.roll()) })
    }

    /// Xorshift (Marsaglia 2003).
    fn roll(&self) -> u32 {
        let mut dice = self.dice.get();
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        self.dice.set(dice);
        (dice >> 32) as u32
    }
}

impl Slots {
    pub(super) fn of(&self, agency: &AgencyId) -> usize {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = slots.len();
        *slots.entry(agency.clone()).or_insert(next)
    }
}
