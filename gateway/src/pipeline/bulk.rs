//! A bulk request: each line is a request of its own, some of them at once, answered in their order.
//!
//! Everything is asked anew for each line: whether the certificate is still good, what the bundle in force says, whether there is a
//! token. Lines are taken only while the answer is being read, so that a client that stops reading stops the register's work too, and
//! at any length no more is held than the lines in flight.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::{FuturesOrdered, Stream as _};
use popgate_policy::directory::Priority;
use tokio::task::JoinHandle;

use super::{Asked, question};
use crate::accept::Connection;
use crate::admit::{Gates, Standing, Ticket};
use crate::app::{Core, Live};
use crate::decide::Agreed;
use crate::identify::Caller;
use crate::pipeline::exchange::Exchange;
use crate::refusal::Refusal;
use crate::respond::{Answers, Covered, Cut, LineAnswer};
use crate::route::{Call, Line};
use crate::xroad::Behalf;
use crate::{admit, decide, identify, route};

/// The answers to the lines, made as they are asked for.
pub(super) struct Lines {
    bulk: Rc<Bulk>,
    lines: route::Lines,
    in_flight: FuturesOrdered<Running>,
    /// No more lines are taken.
    ended: bool,
    /// The answer ends here.
    cut: bool,
}

/// What all lines have in common.
struct Bulk {
    core: Rc<Core>,
    connection: Arc<Connection>,
    behalf: Behalf,
    call: Call,
    /// The limits that it began under.
    gates: Arc<Gates>,
    system: usize,
}

/// What becomes of a line.
struct Step {
    answer: LineAnswer,
    /// Whether the caller has lost the right to go on.
    last: bool,
    /// What operators had suspended when it was decided.
    generation: u64,
    /// What it was decided under.
    live: Arc<Live>,
    /// Whether its purpose is lent, and may have been taken back since.
    lent: bool,
}

/// A line under way, as a task of its own: once taken it runs to its end whether or not its answer is read, so that it holds no
/// upstream connection, and nobody who waits for the same record, for as long as a client likes. Dropped, it is given up. Beside others it
/// has a slot of its own.
struct Running(JoinHandle<Step>, #[expect(dead_code, reason = "held until the answer is taken")] Option<Ticket>);

impl Future for Running {
    type Output = Option<Step>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Step>> {
        Pin::new(&mut self.0).poll(cx).map(Result::ok)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Lines {
    pub(super) fn new(
        core: &Rc<Core>,
        connection: &Arc<Connection>,
        behalf: Behalf,
        (call, lines): (Call, route::Lines),
        (live, system): (&Live, usize),
    ) -> Self {
        let (core, connection, gates) = (Rc::clone(core), Arc::clone(connection), Arc::clone(&live.gates));
        let bulk = Rc::new(Bulk { core, connection, behalf, call, gates, system });
        Self { bulk, lines, in_flight: FuturesOrdered::new(), ended: false, cut: false }
    }

    /// No more lines, and none of those under way.
    fn end(&mut self) {
        self.ended = true;
        self.cut = true;
        self.in_flight = FuturesOrdered::new();
    }

    fn take(&mut self, cx: &mut Context<'_>) {
        let most = self.bulk.core.node.config.http.bulk_in_flight;
        while !self.ended && self.in_flight.len() < most {
            // The request has the first line's.
            let slot = match self.in_flight.is_empty() {
                true => None,
                false => match admit::slot(&self.bulk.gates, self.bulk.system) {
                    Ok(slot) => Some(slot),
                    Err(_) => break,
                },
            };
            match self.lines.poll_next(cx) {
                Poll::Ready(Some(Ok(line))) => {
                    let bulk = Rc::clone(&self.bulk);
                    let running = tokio::task::spawn_local(async move { bulk.line(line).await });
                    self.in_flight.push_back(Running(running, slot));
                }
                Poll::Ready(Some(Err(refusal))) => {
                    // What was sent of the body is answered; that there was more is told by the reset.
                    tracing::info!(code = refusal.code(), "a bulk request broke off");
                    self.ended = true;
                    self.cut = true;
                }
                Poll::Ready(None) => self.ended = true,
                Poll::Pending => return,
            }
        }
        // The client is not slow as long as there is enough to do.
        self.lines.pause();
    }
}

impl Answers for Lines {
    fn poll_answer(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<LineAnswer, Cut>>> {
        self.take(cx);
        match Pin::new(&mut self.in_flight).poll_next(cx) {
            Poll::Ready(Some(Some(step))) if self.bulk.may_still(&step) => {
                if step.last {
                    self.end();
                }
                Poll::Ready(Some(Ok(step.answer)))
            }
            // It panicked, or an operator has suspended it since it was decided.
            Poll::Ready(Some(_)) => {
                self.end();
                Poll::Ready(Some(Err(Cut)))
            }
            Poll::Ready(None) if self.cut => Poll::Ready(Some(Err(Cut))),
            Poll::Ready(None) if self.ended => Poll::Ready(None),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Bulk {
    async fn line(&self, line: Line) -> Step {
        let Line { number, bytes } = line;
        let generation = self.core.node.suspensions.switch().generation();
        let mut exchange = Exchange::begin_line(&self.core, &self.connection, number);
        let answered = self.answer(bytes, &mut exchange).await;
        let last = answered.as_ref().is_err_and(ends_all);
        let (live, lent) = (Arc::clone(exchange.live()), exchange.is_lent());
        let answered = exchange.end_line(&self.core, answered);
        Step { answer: LineAnswer { line: number, answered }, last, generation, live, lent }
    }

    async fn answer(&self, bytes: Result<Bytes, Refusal>, exchange: &mut Exchange) -> Result<Covered, Refusal> {
        // A line that cannot be read costs no token.
        let (live, caller, call, agreed) = match &bytes {
            Ok(_) => self.admitted(exchange).await?,
            Err(_) => self.meant(&self.core.node.live(), exchange)?,
        };
        let bytes = bytes?;
        admit::moved(&live.gates, caller.system().index, bytes.len());
        let arguments = route::arguments_of_line(&call, &bytes)?;
        let (core, connection) = (&self.core, &*self.connection);
        let asked = Asked { core, live: &live, connection, caller: &caller, call: &call, agreed: &agreed };
        Box::pin(question(asked, arguments, exchange)).await
    }

    /// Waits for a token: the client cannot come again with one line alone. What is in force after that decides.
    async fn admitted(&self, exchange: &mut Exchange) -> Result<Meant, Refusal> {
        let (mut unshed, mut rated) = (false, false);
        loop {
            let live = self.core.node.live();
            let (live, caller, call, agreed) = self.meant(&live, exchange)?;
            let (gates, system) = (&live.gates, caller.system().index);
            let mut standing = Standing::default();
            let priority = Priority::of(caller.system().priority, call.operation.priority);
            // Each is asked once only, however long the next is waited for.
            unshed = unshed || admit::can(self.core.shedder.as_deref(), gates, system, priority)?;
            let mut step = || {
                if !rated {
                    admit::token(gates, system, call.operation.index, &mut standing)?;
                    rated = true;
                }
                admit::agreed(gates, system, &agreed.purpose().id, &mut standing)
            };
            let wait = match unshed.then(&mut step) {
                Some(Ok(())) => return Ok((live, caller, call, agreed)),
                Some(Err(Refusal::RateExceeded { retry_after, .. })) => retry_after.min(PATIENCE),
                Some(Err(refusal)) => return Err(refusal),
                None => PATIENCE,
            };
            // Not for long at once: what changes meanwhile is seen.
            tokio::time::sleep(wait).await;
        }
    }

    /// Who asks what for what, as it is in force now.
    fn meant(&self, live: &Arc<Live>, exchange: &mut Exchange) -> Result<Meant, Refusal> {
        let node = &*self.core.node;
        let (caller, call) = self.asker(live, exchange)?;
        let agreed = decide::purpose(&live.bundle, &caller, &call.claims, node.break_glass.lending(), &node.clock)
            .map_err(|refusal| exchange.not_agreed(&call, refusal))?;
        exchange.agreed(&agreed);
        node.suspensions.switch().call(&agreed.purpose().id, &call.operation, &node.clock)?;
        Ok((Arc::clone(live), caller, call, agreed))
    }

    /// Who asks what, as it is in force now.
    fn asker(&self, live: &Arc<Live>, exchange: &mut Exchange) -> Result<(Caller, Call), Refusal> {
        let node = &*self.core.node;
        exchange.under(live, node.clock.now());
        let holder = identify::caller(&self.connection, &live.bundle, &node.trust(), &node.clock)?;
        exchange.held_by(&holder);
        let caller = identify::on_behalf(&holder, &self.behalf, &self.connection, &live.bundle)
            .map_err(|why| exchange.named(&self.behalf, why))?;
        exchange.identified(&caller, &self.behalf);
        node.suspensions.switch().caller(caller.system(), caller.exchange(), &node.clock)?;
        let known = live.bundle.contracts().operation(self.call.operation.id.as_str());
        let operation = known.filter(|operation| operation.bulk).ok_or(Refusal::OperationUnknown)?;
        let call = self.call.of(operation);
        exchange.routed(&call);
        Ok((caller, call))
    }

    /// Whether what was decided may still be sent: nothing was suspended meanwhile that stops it, and what was lent still is.
    fn may_still(&self, step: &Step) -> bool {
        let node = &*self.core.node;
        let switch = node.suspensions.switch();
        if step.answer.answered.is_err() || (switch.generation() == step.generation && !step.lent) {
            return true;
        }
        let live = node.live();
        let asked = || {
            let holder = identify::caller(&self.connection, &live.bundle, &node.trust(), &node.clock)?;
            let caller = identify::on_behalf(&holder, &self.behalf, &self.connection, &live.bundle)?;
            switch.caller(caller.system(), caller.exchange(), &node.clock)?;
            let agreed =
                decide::purpose(&live.bundle, &caller, &self.call.claims, node.break_glass.lending(), &node.clock)?;
            switch.call(&agreed.purpose().id, &self.call.operation, &node.clock)
        };
        live.suspends_no_more_than(&step.live) && asked().is_ok()
    }
}

/// What a line is decided under: who asks what, and for what.
type Meant = (Arc<Live>, Caller, Call, Agreed);

/// Whether no later line can be answered either.
fn ends_all(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::CertificateRevoked
            | Refusal::CertificateInvalid
            | Refusal::SystemNotEnrolled
            | Refusal::ClientNotRepresented
            | Refusal::NetworkNotListed
            | Refusal::TlsVersionTooOld
            | Refusal::OperationUnknown
            | Refusal::PurposeNotEnrolled { .. }
            | Refusal::AgencySuspended { .. }
            | Refusal::SystemSuspended { .. }
            | Refusal::PurposeSuspended { .. }
            | Refusal::RegisterSuspended { .. }
            | Refusal::AuditUnavailable
    )
}

/// The longest that a waiting line goes without asking anew whether it may go on.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(500);
