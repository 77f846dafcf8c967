//! Identify: who asks, from the client certificate; checked again on every request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use popgate_policy::bundle::Bundle;
use popgate_policy::directory::System;

use crate::accept::Connection;
use crate::accept::trust::Trust;
use crate::clock::Clock;
use crate::refusal::Refusal;

/// A certificate that was verified under the trust now in force and mapped to an enrolled system.
#[derive(Clone, Debug)]
pub struct Caller {
    system: Arc<System>,
}

impl Caller {
    /// The enrolled system.
    pub fn system(&self) -> &Arc<System> {
        &self.system
    }
}

/// What was found out about a connection, and under which trust and bundle. Kept with the connection, so that the usual
/// request pays two comparisons.
#[derive(Debug)]
pub struct Verdict {
    trust_generation: u64,
    bundle: Arc<Bundle>,
    checked: Instant,
    caller: Result<Caller, Refusal>,
}

/// How long a verdict may be relied on although nothing was reloaded: an authority's certificate can expire meanwhile.
const RECHECK: Duration = Duration::from_secs(30);

/// Says who is at the other end of a connection.
///
/// # Errors
/// If the certificate is no longer good, nobody is enrolled for it, or the connection is not one that the system may use.
pub fn caller(connection: &Connection, bundle: &Arc<Bundle>, trust: &Trust, clock: &Clock) -> Result<Caller, Refusal> {
    if connection.expires < clock.unix() {
        return Err(Refusal::CertificateInvalid);
    }
    let now = clock.now();
    if let Some(verdict) = &*connection.verdict.load()
        && verdict.trust_generation == trust.generation()
        && Arc::ptr_eq(&verdict.bundle, bundle)
        && now.duration_since(verdict.checked) < RECHECK
    {
        return verdict.caller.clone();
    }
    let caller = trust.recheck(&connection.chain, clock.unix()).and_then(|()| enrolled(connection, bundle));
    connection.verdict.store(Some(Arc::new(Verdict {
        trust_generation: trust.generation(),
        bundle: Arc::clone(bundle),
        checked: now,
        caller: caller.clone(),
    })));
    caller
}

fn enrolled(connection: &Connection, bundle: &Bundle) -> Result<Caller, Refusal> {
    let system = bundle.directory().identify(&connection.identities).ok_or(Refusal::SystemNotEnrolled)?;
    if connection.tls < system.min_tls {
        return Err(Refusal::TlsVersionTooOld);
    }
    if !system.admits_source(connection.peer.ip()) {
        return Err(Refusal::NetworkNotListed);
    }
    Ok(Caller { system: Arc::clone(system) })
}
