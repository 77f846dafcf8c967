//! The life of a request, told once.
//!
//! `accept → identify → route → admit → decide → fetch → redact → audit → respond`: [`answer`] is what the protocol adapters
//! call, it records and converts; `disclose` and `question` name the stages in order. Nothing leaves but through [`respond`].

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Response;
use popgate_policy::contract::{Answer, Arguments};
use popgate_policy::directory::Priority;
use popgate_policy::disclose::{Person, Redacted, Tally};
use popgate_policy::model::RegisterId;
use popgate_policy::permit::Permit;

use crate::accept::{Connection, Inbound, framing};
use crate::admit::overload::Class;
use crate::app::seals::Seals;
use crate::app::{Core, Live};
use crate::audit::{Intent, Receipt, Shown};
use crate::cache::{Fetched, Validators};
use crate::decide::Agreed;
use crate::forward::Wanted;
use crate::identify::Caller;
use crate::redact::Opened;
use crate::refusal::Refusal;
use crate::respond::{Body, Covered};
use crate::route::Call;
use crate::xroad::Behalf;
use crate::{admit, decide, forward, identify, narrow, redact, respond, route};

mod bulk;
mod exchange;
mod fetch;
mod view;

use exchange::Exchange;
use fetch::{ask_for_nobody, counted, fetch, forget};

/// Answers one request, whatever the protocol it came by.
pub async fn answer(core: &Rc<Core>, inbound: Inbound) -> Response<Body> {
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
    core: &Rc<Core>,
    live: &Arc<Live>,
    inbound: Inbound,
    exchange: &mut Exchange,
) -> Result<Response<Body>, Refusal> {
    let node = &*core.node;
    let (bundle, clock) = (&live.bundle, &node.clock);
    let Inbound { connection, request } = inbound;
    let (parts, body) = request.into_parts();

    let holder = identify::caller(&connection, bundle, &node.trust(), clock)?;
    exchange.held(&holder, &parts);
    framing::check(&parts, connection.protocol).map_err(|reason| Refusal::RequestMalformed { reason })?;
    let behalf = Behalf::of(&parts.headers);
    let caller =
        identify::on_behalf(&holder, &behalf, &connection, bundle).map_err(|why| exchange.named(&behalf, why))?;
    exchange.identified(&caller, &behalf);
    let routed = route::call(bundle, &caller, &parts);
    // Whatever becomes of it: what is refused for another reason has its cost too.
    let asked_for = routed.as_ref().map_or(Some(Priority::Batch), |call| call.operation.priority);
    let priority = Priority::of(caller.system().priority, asked_for);
    let told = &connection.told;
    admit::shed(core.shedder.as_deref(), &live.gates, caller.system().index, priority, told).await?;
    node.suspensions.switch().caller(caller.system(), caller.exchange(), clock)?;
    let call = routed?;
    exchange.routed(&call);
    let (system, operation) = (caller.system().index, call.operation.index);
    let bulk = call.operation.bulk;
    if bulk && caller.exchange().is_some() {
        // The hash of an X-Road message is known when its last line is read: too late for its head.
        return Err(Refusal::ServiceUnknown);
    }
    // Each line of a bulk request takes a token of its own, and so does its opening: it may be refused and recorded.
    if caller.exchange().is_none() {
        admit::connection(&live.gates, system, &connection.place)?;
    }
    let ticket = admit::ticket(&live.gates, system, operation, &mut exchange.standing)?;
    let agreed = decide::purpose(bundle, &caller, &call.claims, node.break_glass.lending(), clock)
        .map_err(|refusal| exchange.not_agreed(&call, refusal))?;
    exchange.agreed(&agreed);
    node.suspensions.switch().call(&agreed.purpose().id, &call.operation, clock)?;
    if bulk {
        let lines = route::lines(&call, &parts.headers, body, &node.config.http)?;
        let answers = bulk::Lines::new(core, &connection, behalf, (call, lines), (live, system));
        return Ok(respond::bulk(Box::pin(answers), exchange.id, ticket));
    }
    admit::agreed(&live.gates, system, &agreed.purpose().id, &mut exchange.standing)?;
    let (arguments, body) = route::arguments(&call, &parts.headers, body, &node.config.http).await?;
    exchange.received(&body);
    ticket.moved(body.len());
    let asked = Asked { core, live, connection: &connection, caller: &caller, call: &call, agreed: &agreed };
    // Large, and needless for what is refused before.
    let covered = Box::pin(question(asked, arguments, exchange)).await?;
    respond::disclosure(covered, ticket, call.head)
}

/// Who asks what for what purpose.
#[derive(Clone, Copy)]
struct Asked<'a> {
    core: &'a Rc<Core>,
    live: &'a Live,
    connection: &'a Connection,
    caller: &'a Caller,
    call: &'a Call,
    agreed: &'a Agreed,
}

/// One question: `decide → fetch → redact → audit`. What comes out may be shown.
async fn question(asked: Asked<'_>, arguments: Arguments, exchange: &mut Exchange) -> Result<Covered, Refusal> {
    let Asked { core, live, connection, caller, call, agreed } = asked;
    let node = &*core.node;
    let (cursors, clock) = (&node.secrets.cursors, &node.clock);
    let seals = node.seals.as_ref().map(Seals::in_force);
    let seals = seals.as_deref();
    let permit = decide::permit(
        exchange.id,
        &live.bundle,
        connection,
        caller,
        call,
        agreed,
        arguments,
        cursors,
        seals,
        clock,
        |ask| exchange.noted(core, caller, ask),
    )
    .map_err(|denied| exchange.denied(denied))?;
    let system = caller.system().index;
    if let Some(wait) = admit::asked(&live.gates, system, permit.subject())? {
        tokio::time::sleep(wait).await;
    }
    let permit = narrow::permit(core, connection, permit).await.map_err(|stopped| exchange.stopped(stopped))?;
    let guess = node.guesses.about(&permit);
    let first = intent(asked, &permit);
    // Of a list, what the entries of its persons have in common.
    let common = matches!(permit.operation().answer, Answer::List(_)).then(|| first.clone());
    let (pending, closing) = node.audit.intend(first).map_err(|_| Refusal::AuditUnavailable)?;
    exchange.intended(closing);
    let opened = match permit.operation().answer {
        Answer::Whole(_) => whole(asked, permit, guess, exchange).await?,
        Answer::Record | Answer::Match | Answer::List(_) => record(asked, permit, guess, exchange).await?,
    };
    let receipt = pending.durable().await.map_err(|_| Refusal::AuditUnavailable)?;
    // The register may have been slow: what was suspended meanwhile, or is no longer lent, is not shown.
    let may_still = || {
        node.suspensions.switch().caller(caller.system(), caller.exchange(), clock)?;
        node.suspensions.switch().call(&agreed.purpose().id, &call.operation, clock)?;
        decide::may_use(agreed.purpose(), caller, node.break_glass.lending(), clock)?;
        if node.live().suspends_no_more_than(live) { Ok(()) } else { Err(Refusal::PolicyDenied) }
    };
    may_still()?;
    match opened {
        Opened::Shown(redacted) => {
            let closing = exchange.shown(&redacted).ok_or(Refusal::Internal)?;
            let is_list = common.is_some();
            if is_list && redacted.persons().is_empty() {
                admit::missed(&live.gates, system);
            }
            redacted.persons().iter().for_each(|person| admit::found(&live.gates, system, &person.subject));
            let covered = cover(core, redacted, receipt, closing, common).await?;
            // The disk may have been slow, too.
            if is_list {
                may_still()?;
            }
            Ok(covered)
        }
        Opened::NoMatch(reason, tally) => {
            admit::missed(&live.gates, system);
            exchange.hidden(reason, tally);
            // A record takes longer to be read than none: when "no match" leaves must not tell.
            let waited = core.node.clock.now().duration_since(exchange.started);
            tokio::time::sleep(until_next(NO_MATCH_GRID, waited)).await;
            Err(Refusal::NoMatch)
        }
    }
}

/// The record, or the list of records.
async fn record(
    asked: Asked<'_>,
    permit: Permit,
    guess: admit::Guess<'_>,
    exchange: &mut Exchange,
) -> Result<Opened, Refusal> {
    let Asked { core, connection, call, .. } = asked;
    let until = deadline(core, &permit.upstream().register);
    let class = class(&permit);
    let question = core.node.cache.question(&permit, class);
    let Fetched { found, origin, kept, .. } = fetch(core, &question, call.youngest, until, exchange).await?;
    let permit = narrow::persons(core, connection, permit, found.record()).await;
    let permit = permit.map_err(|stopped| exchange.stopped(stopped))?;
    let opened = redact::open(permit, found.record(), &core.node.secrets, exchange.strays());
    let opened = forget(core, &question, origin, opened).inspect_err(|refusal| guess.unopened(refusal))?;
    let opened = guess.judge(opened);
    if matches!(opened, Opened::NoMatch(..)) {
        ask_for_nobody(core, &question, call.youngest, kept, until).await?;
    }
    Ok(opened)
}

/// A field that is given by itself: first the record, which says whom it is about and what the policies ask, then the field.
async fn whole(
    asked: Asked<'_>,
    permit: Permit,
    guess: admit::Guess<'_>,
    exchange: &mut Exchange,
) -> Result<Opened, Refusal> {
    let Asked { core, call, .. } = asked;
    let until = deadline(core, &permit.upstream().register);
    let class = class(&permit);
    let question = core.node.cache.question(&permit, class);
    let Fetched { found, origin, kept, .. } = fetch(core, &question, call.youngest, until, exchange).await?;
    let opened = redact::open_record_of_whole(permit, found.record(), exchange.strays());
    // Judged before the field is asked for: whether it is must not tell that a guess was right.
    let opened = forget(core, &question, origin, opened).inspect_err(|refusal| guess.unopened(refusal))?;
    let permit = match guess.judge(opened) {
        Opened::Shown(permit) => permit,
        Opened::NoMatch(reason, tally) => {
            ask_for_nobody(core, &question, call.youngest, kept, until).await?;
            return Ok(Opened::NoMatch(reason, tally));
        }
    };
    let wanted = Wanted::whole(&permit, class);
    let began = core.node.clock.now();
    let answer = Box::pin(forward::ask(&core.pool, wanted, Validators::default(), until)).await;
    counted(core, wanted.register(), &answer, core.node.clock.now().duration_since(began));
    let forward::Answer { found, origin, .. } = answer.map_err(|unanswered| unanswered.refusal)?;
    let found = found.ok_or(Refusal::RegisterFailed)?;
    redact::open_whole(permit, found.record()).inspect_err(|_| origin.condemn())
}

/// Makes the entries of those durable whom only the answer named.
async fn cover(
    core: &Core,
    redacted: Redacted,
    receipt: Receipt,
    closing: crate::audit::Closing,
    common: Option<Intent>,
) -> Result<Covered, Refusal> {
    let Some(common) = common.filter(|_| !redacted.persons().is_empty()) else {
        return Ok(Covered { redacted, receipt, closing, persons: Vec::new() });
    };
    let entry = |person: &Person| Intent {
        subject: Some(person.subject.clone()),
        fields: every_field(person.tally),
        ..common.clone()
    };
    let intents = redacted.persons().iter().map(entry).collect();
    let (pending, persons) = core.node.audit.intend_persons(receipt, intents).map_err(|_| Refusal::AuditUnavailable)?;
    let receipt = pending.durable().await.map_err(|_| Refusal::AuditUnavailable)?;
    Ok(Covered { redacted, receipt, closing, persons })
}

fn every_field(tally: Tally) -> popgate_policy::model::FieldSet {
    let shown = Shown::from(tally);
    shown.revealed.union(shown.masked).union(shown.matched)
}

/// How long it is until a whole number of steps has passed.
fn until_next(step: Duration, passed: Duration) -> Duration {
    let steps = passed.as_nanos() / step.as_nanos() + 1;
    step.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX)).saturating_sub(passed)
}

/// "No match" leaves at whole numbers of this after the request came: much longer than what reading a record takes, and short for who
/// waits.
const NO_MATCH_GRID: Duration = Duration::from_millis(5);

/// How it ranks at the register.
fn class(permit: &Permit) -> Class {
    Priority::of(permit.system().priority, permit.operation().priority).into()
}

fn deadline(core: &Core, register: &RegisterId) -> Instant {
    core.node.clock.now() + core.pool.deadline(register)
}

/// What the audit log must hold before anything is shown: the widest that the permit allows.
fn intent(asked: Asked<'_>, permit: &Permit) -> Intent {
    Intent {
        disclosure: permit.disclosure(),
        system: permit.system().id.clone(),
        exchange: asked.caller.exchange().map(|exchange| exchange.id.clone()),
        operation: permit.operation().id.clone(),
        record: Arc::clone(&permit.operation().record),
        purpose: permit.purpose().id.clone(),
        purpose_source: asked.agreed.source,
        subject: permit.subject().cloned(),
        fields: permit.widest(),
        bundle: asked.live.bundle.digest(),
        claimed: asked.call.claims.to_claimed(),
        source: asked.connection.peer.ip().to_canonical(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::pool::Pool;

    /// In bytes.
    fn size_of_answer<A, B, F: Future>(_: fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    fn size_of_question<A, B, C, D, F: Future>(_: fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn no_match_leaves_on_a_grid() {
        let after = |micros| until_next(NO_MATCH_GRID, Duration::from_micros(micros)).as_micros();
        assert_eq!([after(0), after(1), after(4_999), after(5_000), after(12_345)], [5_000, 4_999, 1, 5_000, 2_655]);
    }

    /// It is moved when it is made: what is large and seldom needed is boxed.
    #[test]
    fn what_a_request_keeps_while_it_waits_is_small() {
        let answer = size_of_answer(answer as fn(&'static Rc<Core>, Inbound) -> _);
        let ask = size_of_question(forward::ask as fn(&'static Pool, Wanted<'static>, Validators, Instant) -> _);
        assert!(answer <= 3_584, "{answer}");
        assert!(ask <= 4_096, "{ask}");
    }
}
