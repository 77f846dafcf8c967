//! The one answer that is no disclosure: the caller's own view of the contracts.

use std::sync::Arc;

use http::Response;

use super::exchange::Exchange;
use crate::accept::{Inbound, framing};
use crate::app::{Core, Live};
use crate::refusal::Refusal;
use crate::respond::Body;
use crate::xroad::Behalf;
use crate::{admit, decide, identify, respond, route};

/// `accept → identify → route → admit → decide → respond`: nobody's data is in it, so nothing is fetched, redacted or recorded.
pub(super) async fn view(
    core: &Core,
    live: &Live,
    inbound: Inbound,
    exchange: &mut Exchange,
) -> Result<Response<Body>, Refusal> {
    let node = &*core.node;
    let Inbound { connection, request } = inbound;
    let (parts, _) = request.into_parts();

    let holder = identify::caller(&connection, &live.bundle, &node.trust(), &node.clock)?;
    // Its path is no service's: an exchange server that asks for it sends no message, and gets none back.
    exchange.held_by(&holder);
    framing::check(&parts, connection.protocol).map_err(|reason| Refusal::RequestMalformed { reason })?;
    let behalf = Behalf::of(&parts.headers);
    let caller =
        identify::on_behalf(&holder, &behalf, &connection, &live.bundle).map_err(|why| exchange.named(&behalf, why))?;
    exchange.identified(&caller, &behalf);
    if caller.exchange().is_some() {
        // Its paths are not those of an exchange server's messages.
        return Err(Refusal::ServiceUnknown);
    }
    node.suspensions.switch().caller(caller.system(), caller.exchange(), &node.clock)?;
    let wanted = route::wanted(&parts)?;
    admit::connection(&live.gates, caller.system().index, &connection.place)?;
    admit::view(&live.gates, caller.system().index)?;
    let purpose = wanted.purpose.as_deref().map(|named| decide::enrolled(&live.bundle, &caller, named)).transpose()?;
    let (views, system) = (Arc::clone(&live.views), Arc::clone(caller.system()));
    let made = tokio::task::spawn_blocking(move || match purpose {
        Some(purpose) => views.view_for(&system, &purpose.id),
        None => views.view(&system),
    });
    let view = made.await.ok().flatten().ok_or(Refusal::Internal)?;
    let response = respond::view(&view, &wanted, exchange.id);
    exchange.told(response.status());
    Ok(response)
}
