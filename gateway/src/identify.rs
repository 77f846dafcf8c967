//! Identify: who asks, from the client certificate; checked again on every request. An exchange server asks for a system of one of its
//! members, which `X-Road-Client` names.

use std::sync::Arc;
use std::time::{Duration, Instant};

use popgate_policy::bundle::Bundle;
use popgate_policy::directory::{Exchange, Holder, System};

use crate::accept::Connection;
use crate::accept::trust::Trust;
use crate::clock::Clock;
use crate::refusal::Refusal;
use crate::xroad::Behalf;

/// Who asks: an enrolled system, whose certificate, or whose exchange server's, was verified under the trust now in force.
#[derive(Clone, Debug)]
pub struct Caller {
    system: Arc<System>,
    exchange: Option<Arc<Exchange>>,
}

impl Caller {
    /// The enrolled system.
    pub fn system(&self) -> &Arc<System> {
        &self.system
    }

    /// The exchange server that speaks for it; `None` if it came itself.
    pub fn exchange(&self) -> Option<&Exchange> {
        self.exchange.as_deref()
    }
}

/// What was found out about a connection, and under which trust and bundle. Kept with the connection, so that the usual
/// request pays two comparisons. It holds whose certificate it is, and nothing of a single request: many clients share the
/// connection of an exchange server.
#[derive(Debug)]
pub struct Verdict {
    trust_generation: u64,
    bundle: Arc<Bundle>,
    checked: Instant,
    holder: Result<Holder, Refusal>,
}

/// How long a verdict may be relied on although nothing was reloaded: an authority's certificate can expire meanwhile.
const RECHECK: Duration = Duration::from_secs(30);

/// Says who is at the other end of a connection.
///
/// # Errors
/// If the certificate is no longer good, nobody is enrolled for it, or the connection is not one that its holder may use.
pub fn caller(connection: &Connection, bundle: &Arc<Bundle>, trust: &Trust, clock: &Clock) -> Result<Holder, Refusal> {
    if connection.expires < clock.unix() {
        return Err(Refusal::CertificateInvalid);
    }
    let now = clock.now();
    if let Some(verdict) = &*connection.verdict.load()
        && verdict.trust_generation == trust.generation()
        && Arc::ptr_eq(&verdict.bundle, bundle)
        && now.duration_since(verdict.checked) < RECHECK
    {
        return verdict.holder.clone();
    }
    let holder = trust.recheck(&connection.chain, clock.unix()).and_then(|()| enrolled(connection, bundle));
    connection.verdict.store(Some(Arc::new(Verdict {
        trust_generation: trust.generation(),
        bundle: Arc::clone(bundle),
        checked: now,
        holder: holder.clone(),
    })));
    holder
}

/// Says for which system a request is. The framing MUST have been checked: an exchange server's connection carries others' words.
///
/// # Errors
/// If an exchange server does not say, or says one that it does not speak for (whether there is such a system is not told), or if
/// a system names another than itself.
pub fn on_behalf(
    holder: &Holder,
    behalf: &Behalf,
    connection: &Connection,
    bundle: &Bundle,
) -> Result<Caller, Refusal> {
    let invalid = |reason| Err(Refusal::HeaderInvalid { name: "X-Road-Client", reason });
    let (exchange, client) = match (holder, behalf) {
        (Holder::System(system), Behalf::Own) => return Ok(Caller { system: Arc::clone(system), exchange: None }),
        (Holder::System(_), Behalf::Client(_) | Behalf::Unreadable(_)) => {
            return invalid("leave it out: only an enrolled exchange server speaks for others");
        }
        (Holder::Exchange(_), Behalf::Own) => {
            return invalid("name the client that this is for: instance/class/member/subsystem");
        }
        (Holder::Exchange(_), Behalf::Unreadable(reason)) => return invalid(reason),
        (Holder::Exchange(exchange), Behalf::Client(client)) => (exchange, client),
    };
    let system = Some(client).filter(|client| exchange.speaks_for(client));
    let system = system.and_then(|client| bundle.directory().client(client)).ok_or(Refusal::ClientNotRepresented)?;
    if connection.tls < system.min_tls {
        return Err(Refusal::TlsVersionTooOld);
    }
    Ok(Caller { system: Arc::clone(system), exchange: Some(Arc::clone(exchange)) })
}

fn enrolled(connection: &Connection, bundle: &Bundle) -> Result<Holder, Refusal> {
    let holder = bundle.directory().holder(&connection.identities).ok_or(Refusal::SystemNotEnrolled)?;
    let source = connection.peer.ip();
    let (min_tls, admitted) = match &holder {
        Holder::System(system) => (system.min_tls, system.admits_source(source)),
        Holder::Exchange(exchange) => (exchange.min_tls, exchange.admits_source(source)),
    };
    if connection.tls < min_tls {
        return Err(Refusal::TlsVersionTooOld);
    }
    if !admitted {
        return Err(Refusal::NetworkNotListed);
    }
    Ok(holder)
}
