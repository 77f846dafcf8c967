//! What is suspended, where requests see it.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use popgate_policy::contract::Operation;
use popgate_policy::directory::{Exchange, System};
use popgate_policy::model::{AgencyId, PurposeId, RegisterId, SystemId};

use super::{Book, Kind, registers};
use crate::clock::Clock;
use crate::refusal::Refusal;

/// Refuses what is suspended. While nothing is, a check is one atomic load.
pub struct Switch {
    /// Twice the number of changes, and 1 if anything is suspended.
    state: AtomicU64,
    held: ArcSwap<Held>,
}

/// Suspended ids, each with its end.
#[derive(Default)]
struct Held {
    agencies: HashMap<AgencyId, Option<Timestamp>>,
    systems: HashMap<SystemId, Option<Timestamp>>,
    purposes: HashMap<PurposeId, Option<Timestamp>>,
    registers: HashMap<RegisterId, Option<Timestamp>>,
}

impl Switch {
    /// Nothing is suspended.
    pub fn new() -> Self {
        Self { state: AtomicU64::new(0), held: ArcSwap::default() }
    }

    /// From now on this is suspended, and nothing else. Policies are the bundle's affair.
    pub fn set(&self, book: &Book, now: Timestamp) {
        let mut held = Held::default();
        for (target, suspension) in book.in_force(now) {
            let (id, until) = (target.id.as_str(), suspension.until);
            match target.kind {
                Kind::Agency => drop(held.agencies.insert(AgencyId::new(id), until)),
                Kind::System => drop(held.systems.insert(SystemId::new(id), until)),
                Kind::Purpose => drop(held.purposes.insert(PurposeId::new(id), until)),
                Kind::Register => drop(held.registers.insert(RegisterId::new(id), until)),
                Kind::Policy => {}
            }
        }
        let any = u64::from(!held.is_empty());
        self.held.store(held.into());
        // After what it announces. Only one thread at a time changes it.
        let before = self.state.load(Ordering::Relaxed);
        self.state.store((before | 1).wrapping_add(1) | any, Ordering::Release);
    }

    /// Different after each change: what takes long (a stream, a bulk) asks again when it is.
    pub fn generation(&self) -> u64 {
        self.state.load(Ordering::Acquire)
    }

    /// Whether the system may ask at all, and the exchange server that speaks for it may speak.
    ///
    /// # Errors
    /// [`Refusal::AgencySuspended`] or [`Refusal::SystemSuspended`].
    pub fn caller(&self, system: &System, exchange: Option<&Exchange>, clock: &Clock) -> Result<(), Refusal> {
        let exchange = exchange.map(|exchange| (&exchange.agency.id, exchange.id.as_str()));
        self.ask([Some((&system.agency.id, system.id.as_str())), exchange], clock)
    }

    /// Whether the exchange server may speak at all, for whomever.
    ///
    /// # Errors
    /// As [`Self::caller`].
    pub fn exchange(&self, exchange: &Exchange, clock: &Clock) -> Result<(), Refusal> {
        self.ask([Some((&exchange.agency.id, exchange.id.as_str()))], clock)
    }

    fn ask<const N: usize>(&self, who: [Option<(&AgencyId, &str)>; N], clock: &Clock) -> Result<(), Refusal> {
        let Some(held) = self.held() else { return Ok(()) };
        let who = || who.iter().flatten();
        if let Some(retry_after) = who().find_map(|(agency, _)| left(held.agencies.get(*agency), clock)) {
            return Err(Refusal::AgencySuspended { retry_after });
        }
        if let Some(retry_after) = who().find_map(|(_, system)| left(held.systems.get(*system), clock)) {
            return Err(Refusal::SystemSuspended { retry_after });
        }
        Ok(())
    }

    /// Whether the operation may be asked for the purpose.
    ///
    /// # Errors
    /// [`Refusal::PurposeSuspended`] or [`Refusal::RegisterSuspended`].
    pub fn call(&self, purpose: &PurposeId, operation: &Operation, clock: &Clock) -> Result<(), Refusal> {
        let Some(held) = self.held() else { return Ok(()) };
        if let Some(retry_after) = left(held.purposes.get(purpose), clock) {
            return Err(Refusal::PurposeSuspended { retry_after });
        }
        let register = registers(operation).find_map(|register| left(held.registers.get(register), clock));
        register.map_or(Ok(()), |retry_after| Err(Refusal::RegisterSuspended { retry_after }))
    }

    /// Whether a register may be asked, by whomever.
    ///
    /// # Errors
    /// [`Refusal::RegisterSuspended`].
    pub fn register(&self, register: &RegisterId, clock: &Clock) -> Result<(), Refusal> {
        let Some(held) = self.held() else { return Ok(()) };
        let left = left(held.registers.get(register), clock);
        left.map_or(Ok(()), |retry_after| Err(Refusal::RegisterSuspended { retry_after }))
    }

    /// Whether the purpose may be named, whatever is asked.
    ///
    /// # Errors
    /// [`Refusal::PurposeSuspended`].
    pub fn purpose(&self, purpose: &PurposeId, clock: &Clock) -> Result<(), Refusal> {
        let Some(held) = self.held() else { return Ok(()) };
        let left = left(held.purposes.get(purpose), clock);
        left.map_or(Ok(()), |retry_after| Err(Refusal::PurposeSuspended { retry_after }))
    }

    fn held(&self) -> Option<arc_swap::Guard<std::sync::Arc<Held>>> {
        (self.state.load(Ordering::Acquire) & 1 == 1).then(|| self.held.load())
    }
}

impl Default for Switch {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switch").field("generation", &self.generation()).finish_non_exhaustive()
    }
}

impl Held {
    fn is_empty(&self) -> bool {
        self.agencies.is_empty() && self.systems.is_empty() && self.purposes.is_empty() && self.registers.is_empty()
    }
}

/// `None` if it is not suspended (any more); else how long it still is, if that is known.
fn left(until: Option<&Option<Timestamp>>, clock: &Clock) -> Option<Option<Duration>> {
    match until? {
        None => Some(None),
        Some(until) => {
            let left = Duration::try_from(until.duration_since(clock.wall())).ok().filter(|left| !left.is_zero())?;
            Some(Some(left))
        }
    }
}
