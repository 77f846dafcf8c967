//! What is done for registers whether or not anybody asks them: names are resolved again, targets are checked, ejections forgotten.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use popgate_policy::model::RegisterId;

use super::fleet::Target;
use super::pool;
use super::registers::{Register, Registers};
use crate::app::config::Check;
use crate::clock::Clock;

/// What a register's endpoints' names meant the last time that they could be resolved.
type Known = Arc<Mutex<Vec<Option<Vec<IpAddr>>>>>;

/// What is due of one register, and when.
struct Due {
    resolve: Instant,
    check: Instant,
    known: Known,
}

/// Tends to the registers, on a thread of its own, until they are gone.
///
/// # Errors
/// If there is no thread.
pub fn tend(registers: &Arc<ArcSwap<Registers>>, clock: Clock) -> io::Result<()> {
    let registers = Arc::downgrade(registers);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("registers".into()).spawn(move || {
        runtime.block_on(tended(&registers, &clock));
        // A name that takes long to resolve holds up nobody.
        runtime.shutdown_background();
    })?;
    Ok(())
}

async fn tended(registers: &Weak<ArcSwap<Registers>>, clock: &Clock) {
    let mut due: HashMap<RegisterId, Due> = HashMap::new();
    let mut forgiven = clock.now();
    loop {
        let Some(registers) = registers.upgrade().map(|registers| registers.load_full()) else { return };
        let now = clock.now();
        let is_second = now.saturating_duration_since(forgiven) >= Duration::from_secs(1);
        if is_second {
            forgiven = now;
        }
        for (id, register) in registers.all() {
            if is_second {
                register.fleet.tend(now);
            }
            let due =
                due.entry(id.clone()).or_insert_with(|| Due { resolve: now, check: now, known: Known::default() });
            if due.resolve <= now {
                due.resolve = now + register.config.resolve;
                if register.endpoints.iter().any(|endpoint| endpoint.host.parse::<IpAddr>().is_err()) {
                    tokio::spawn(resolve(id.clone(), Arc::clone(register), Arc::clone(&due.known), clock.clone()));
                }
            }
            if let Some(check) = register.config.check.as_ref().filter(|_| due.check <= now) {
                due.check = now + check.every;
                for target in register.fleet.targets().iter() {
                    let (register, target) = (Arc::clone(register), Arc::clone(target));
                    tokio::spawn(checked(id.clone(), register, target, check.clone(), clock.clone()));
                }
            }
        }
        drop(registers);
        tokio::time::sleep(TICK).await;
    }
}

async fn resolve(id: RegisterId, register: Arc<Register>, known: Known, clock: Clock) {
    let mut now_known = known.lock().unwrap_or_else(PoisonError::into_inner).clone();
    now_known.resize(register.endpoints.len(), None);
    for (endpoint, known) in register.endpoints.iter().zip(&mut now_known) {
        if endpoint.host.parse::<IpAddr>().is_ok() {
            continue;
        }
        let looked = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)));
        let found = looked.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match found.map(|found| preferred(found.map(|address| address.ip()).collect())) {
            Ok(addresses) if !addresses.is_empty() => *known = Some(addresses),
            failed => {
                register.metrics.unresolved.inc();
                let error = failed.err().map_or_else(|| "it has no address".to_owned(), |error| error.to_string());
                let (register, host) = (id.as_str(), endpoint.host.as_str());
                tracing::warn!(
                    register,
                    host,
                    error,
                    "a register's name cannot be resolved; the addresses before stay"
                );
            }
        }
    }
    register.fleet.place(register.places(&now_known), clock.now());
    *known.lock().unwrap_or_else(PoisonError::into_inner) = now_known;
}

/// IPv4 where a name has both: a machine without IPv6 would find half of its targets dead. In an order of their own.
fn preferred(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    if addresses.iter().any(IpAddr::is_ipv4) {
        addresses.retain(IpAddr::is_ipv4);
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

async fn checked(id: RegisterId, register: Arc<Register>, target: Arc<Target>, check: Check, clock: Clock) {
    let asked = tokio::time::timeout(check.timeout, pool::check(&register, &target, &check.path, clock.now()));
    let found = asked.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let well = matches!(found, Ok(200..=299));
    let needed = if well { check.healthy } else { check.unhealthy };
    if register.fleet.checked(&target, well, needed, clock.now()) {
        let (register, target) = (id.as_str(), target.label());
        match found {
            _ if well => tracing::info!(register, target, "a target is well again"),
            Ok(status) => tracing::warn!(register, target, status, "a target is not well"),
            Err(error) => tracing::warn!(register, target, %error, "a target is not well"),
        }
    }
}

/// How often it is looked for what is due.
const TICK: Duration = Duration::from_millis(250);
/// How long a name may take to be resolved.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_name_with_both_kinds_of_addresses_the_older_kind_is_asked() {
        let of = |addresses: &[&str]| preferred(addresses.iter().map(|address| address.parse().unwrap()).collect());
        let texts = |addresses: Vec<IpAddr>| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(of(&["::1", "10.1.0.12", "10.1.0.11", "10.1.0.12"])), ["10.1.0.11", "10.1.0.12"]);
        assert_eq!(texts(of(&["2001:db8::2", "2001:db8::1"])), ["2001:db8::1", "2001:db8::2"]);
    }
}
