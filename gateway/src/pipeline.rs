//! The life of a request, told once.
//!
//! `accept → identify → route → admit → decide → fetch → redact → audit → respond`: [`answer`] is what the protocol adapters
//! call, it records and converts; `disclose` names the stages in order. Nothing leaves but through [`respond`].

use std::sync::Arc;

use http::Response;
use popgate_policy::permit::Permit;

use crate::accept::{Connection, Inbound, framing};
use crate::app::{Core, Live};
use crate::audit::Intent;
use crate::cache::{Lookup, Source};
use crate::decide::Agreed;
use crate::forward::Fetched;
use crate::redact::Opened;
use crate::refusal::Refusal;
use crate::respond::Body;
use crate::route::Call;
use crate::{admit, decide, forward, identify, redact, respond, route};

mod exchange;
mod view;

use exchange::Exchange;

/// Answers one request, whatever the protocol it came by.
pub async fn answer(core: &Core, inbound: Inbound) -> Response<Body> {
    let live = core.node.live();
    let mut exchange = Exchange::begin(core, &inbound, Arc::clone(&live));
    let answered = if route::asks_for_view(&inbound.request) {
        Box::pin(view::view(core, &live, inbound, &mut exchange)).await
    } else {
        disclose(core, &live, inbound, &mut exchange).await
    };
    exchange.end(core, answered)
}

async fn disclose(
    core: &Core,
    live: &Live,
    inbound: Inbound,
    exchange: &mut Exchange,
) -> Result<Response<Body>, Refusal> {
    let node = &*core.node;
    let (bundle, clock) = (&live.bundle, &node.clock);
    let Inbound { connection, request } = inbound;
    let (parts, body) = request.into_parts();

    let caller = identify::caller(&connection, bundle, &node.trust(), clock)?;
    exchange.identified(&caller);
    framing::check(&parts, connection.protocol).map_err(|reason| Refusal::RequestMalformed { reason })?;
    let call = route::call(bundle, &parts)?;
    exchange.routed(&call);
    let ticket = admit::ticket(&live.gates, caller.system().index, call.operation.index)?;
    let agreed = decide::purpose(bundle, &caller, &call.claims, clock)?;
    exchange.agreed(&agreed);
    let arguments = route::arguments(&call, &parts.headers, body, &node.config.http).await?;
    let permit = decide::permit(exchange.id, bundle, &connection, &caller, &call, &agreed, arguments, clock)
        .map_err(|denied| exchange.denied(denied))?;
    let guess = node.guesses.about(&permit);
    let (pending, closing) = node
        .audit
        .intend(intent(live, &connection, &call, &agreed, &permit)?)
        .map_err(|_| Refusal::AuditUnavailable)?;
    exchange.intended(closing);
    let fetched = fetch(core, &permit, exchange).await?;
    let opened = open(core, permit, fetched)?;
    let opened = guess.judge(opened);
    let receipt = pending.durable().await.map_err(|_| Refusal::AuditUnavailable)?;
    match opened {
        Opened::Shown(redacted) => {
            let closing = exchange.shown(&redacted).ok_or(Refusal::Internal)?;
            respond::disclosure(redacted, &receipt, closing, ticket, call.head)
        }
        Opened::NoMatch(reason, tally) => {
            exchange.hidden(reason, tally);
            Err(Refusal::NoMatch)
        }
    }
}

/// The record: from the cache, from a fetch under way, or from the register.
async fn fetch(core: &Core, permit: &Permit, exchange: &mut Exchange) -> Result<Fetched, Refusal> {
    let clock = &core.node.clock;
    let until = clock.now() + core.pool.deadline(&permit.upstream().register);
    loop {
        match core.node.cache.lookup(permit, clock.system_time()) {
            Lookup::Hit(found) => {
                exchange.fetched(Source::Stored);
                return Ok(Fetched { found, origin: None });
            }
            Lookup::Follow(follower) => {
                exchange.fetched(Source::Collapsed);
                match tokio::time::timeout_at(until.into(), follower.landed()).await {
                    Ok(Some(landed)) => return landed.map(|found| Fetched { found, origin: None }),
                    Ok(None) => {}
                    Err(_) => return Err(Refusal::RegisterTimeout),
                }
            }
            Lookup::Lead(leader) => {
                let began = clock.now();
                let answer = forward::ask(&core.pool, permit, leader.validators(), until).await;
                exchange.asked(core, permit, &answer, clock.now().duration_since(began));
                let (fetched, source) = leader.land(answer, clock.system_time())?;
                exchange.fetched(source);
                return Ok(fetched);
            }
        }
    }
}

/// Opens the record. One that is about somebody else, or that cannot be read, is forgotten, and its connection not used again.
fn open(core: &Core, permit: Permit, fetched: Fetched) -> Result<Opened, Refusal> {
    let upstream = permit.upstream().clone();
    let system = Arc::clone(permit.system());
    let opened = redact::open(permit, fetched.found.record(), &core.node.pseudonyms);
    if opened.is_err() {
        core.node.cache.evict(&upstream, &system.agency.id);
        if let Some(origin) = fetched.origin {
            origin.condemn();
        }
    }
    opened
}

/// What the audit log must hold before anything is shown: the widest that the permit allows.
fn intent(
    live: &Live,
    connection: &Connection,
    call: &Call,
    agreed: &Agreed,
    permit: &Permit,
) -> Result<Intent, Refusal> {
    Ok(Intent {
        disclosure: permit.disclosure(),
        system: permit.system().id.clone(),
        operation: permit.operation().id.clone(),
        record: Arc::clone(&permit.operation().record),
        purpose: permit.purpose().id.clone(),
        purpose_source: agreed.source,
        subject: permit.subject().cloned().ok_or(Refusal::Internal)?,
        fields: permit.widest(),
        bundle: live.bundle.digest(),
        claimed: call.claims.to_claimed(),
        source: connection.peer.ip().to_canonical(),
    })
}
