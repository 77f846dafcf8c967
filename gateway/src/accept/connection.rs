//! The life of one connection on its core: handshake, requests, and every reason for which it ends.

mod state;

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use popgate_policy::directory::TlsVersion;

use self::state::Signals;
pub(super) use self::state::{State, Turn};

use super::h1h2;
use super::io::linger;
use super::listen::{Core, Phase, Registered, Seat};
use super::tls::{self, Failed, HandshakeFailure};
use super::{Connection, Inbound, Protocol};
use crate::refusal::Refusal;
use crate::respond::Body;

/// Serves one accepted socket to its end.
pub(super) async fn run<S, F>(core: Rc<Core<S>>, socket: std::net::TcpStream, peer: SocketAddr, mut seat: Seat)
where
    S: Fn(Inbound) -> F + 'static,
    F: Future<Output = http::Response<Body>> + 'static,
{
    let trust = core.trust.borrow().clone();
    let generation = trust.generation();
    let handshake = Box::pin(tls::handshake(&trust, socket, peer, &core.clock));
    let greeted = tokio::time::timeout(core.http.handshake_timeout, handshake);
    let outcome = match core.door.greet(&core.clock, greeted).await {
        Ok(outcome) => outcome,
        Err(_) => Err(HandshakeFailure::Timeout.into()),
    };
    drop(seat.entered.take());
    drop(trust);
    match outcome {
        Ok(accepted) => {
            let (state, _registered) = established(&core, &accepted.connection, accepted.resumed);
            h1h2::serve(&core, Arc::new(accepted.connection), generation, accepted.stream, &state).await;
            state.count_bytes();
        }
        Err(Failed { reason, detail, stream }) => {
            core.counters.failed(reason);
            tracing::info!(%peer, reason = reason.name(), detail, "handshake failed");
            if let Some(stream) = stream {
                linger(stream).await;
            }
        }
    }
    drop(seat);
}

/// Counts a connection whose handshake is done, and enters it among those of its core.
pub(super) fn established<S>(core: &Core<S>, connection: &Connection, resumed: bool) -> (Rc<State>, Registered) {
    let counters = &core.counters;
    counters.handshakes.add(1);
    counters.resumed.add(u64::from(resumed));
    let by_protocol = match connection.protocol {
        Protocol::H1 => &counters.h1,
        Protocol::H2 => &counters.h2,
        Protocol::H3 => &counters.h3,
    };
    by_protocol.add(1);
    let by_version = match connection.tls {
        TlsVersion::Tls12 => &counters.tls12,
        TlsVersion::Tls13 => &counters.tls13,
    };
    by_version.add(1);
    let state = Rc::new(State::new(core, connection.protocol));
    let registered = core.connections.register(&state);
    (state, registered)
}

/// A connection's HTTP, which can be shut down gracefully.
pub(super) trait Graceful {
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>;
    fn graceful_shutdown(self: Pin<&mut Self>);
}

/// Why a connection broke. The error names the kind of failure, never bytes of the request.
#[derive(Debug)]
pub(super) struct Broken {
    /// The client may still be sending, and should read why it is over.
    pub(super) linger: bool,
    pub(super) error: Box<dyn std::error::Error>,
}

/// Drives a connection of any protocol until it is done or must end.
pub(super) async fn drive<S, C: Graceful>(
    core: &Core<S>,
    connection: &Connection,
    generation: u64,
    mut http: Pin<&mut C>,
    state: &State,
) -> Farewell {
    let mut life = Life { core, connection, state, generation, ending: Ending::No, sent: 0 };
    let mut timer = Box::pin(tokio::time::sleep_until((core.clock.now() + tick(core)).into()));
    // What changed while the handshake went on was not signalled to this connection.
    if *core.phase.borrow() != Phase::Serving {
        state.drain();
    }
    state.trust_changed();
    poll_fn(|cx| {
        state.set_waker(cx.waker());
        loop {
            if let Poll::Ready(result) = http.as_mut().poll(cx) {
                return Poll::Ready(life.ended(result));
            }
            let step = match state.signals.take() {
                Signals { abort: true, .. } => Step::Abort,
                Signals { trust: true, close, drain, abort } => {
                    state.signal(|signals| *signals = Signals { trust: false, close, drain, abort });
                    life.trust_changed()
                }
                Signals { close: true, .. } | Signals { drain: true, .. } => life.close(),
                Signals { .. } if timer.as_mut().poll(cx).is_ready() => life.timer(),
                Signals { .. } => return Poll::Pending,
            };
            match step {
                Step::Stay => {}
                Step::Timer(at) => timer.as_mut().reset(at.into()),
                Step::Shutdown(at) => {
                    timer.as_mut().reset(at.into());
                    http.as_mut().graceful_shutdown();
                }
                Step::Abort => return Poll::Ready(Farewell::Close),
            }
        }
    })
    .await
}

/// How often a connection's bounds are looked at: what is over its time may go on for as long again.
fn tick<S>(core: &Core<S>) -> Duration {
    core.http.header_timeout.min(core.http.idle_timeout)
}

/// How a connection is taken leave of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Farewell {
    Close,
    /// The client may still be sending, and should read why it is over.
    Linger,
}

struct Life<'a, S> {
    core: &'a Core<S>,
    connection: &'a Connection,
    state: &'a State,
    /// Of the trust that the chain was last found good by.
    generation: u64,
    ending: Ending,
    /// Bytes sent when the timer fired last.
    sent: u64,
}

enum Ending {
    No,
    /// The certificate is no longer good: requests are still told so, for a moment.
    Doomed,
    /// Shut down gracefully; what is in flight has at most until the timer.
    DoomedShutdown,
    /// Shut down gracefully; what is in flight may end.
    Shutdown,
}

enum Step {
    Stay,
    Timer(Instant),
    Shutdown(Instant),
    Abort,
}

impl<S> Life<'_, S> {
    fn trust_changed(&mut self) -> Step {
        let trust = self.core.trust.borrow().clone();
        if trust.generation() == self.generation || matches!(self.ending, Ending::Doomed | Ending::DoomedShutdown) {
            return Step::Stay;
        }
        self.generation = trust.generation();
        match trust.recheck(&self.connection.chain, self.core.clock.unix()) {
            Ok(()) => Step::Stay,
            Err(refusal) => self.doom(&refusal),
        }
    }

    fn doom(&mut self, refusal: &Refusal) -> Step {
        let counters = &self.core.counters;
        match refusal {
            Refusal::CertificateRevoked => counters.ended_revoked.add(1),
            _ => counters.ended_invalid.add(1),
        }
        tracing::info!(peer = %self.connection.peer, code = refusal.code(), "ending a live connection");
        self.state.why.set(refusal.code());
        self.ending = Ending::Doomed;
        Step::Timer(self.core.clock.now() + DOOMED)
    }

    fn close(&mut self) -> Step {
        match self.ending {
            Ending::No => {
                self.ending = Ending::Shutdown;
                Step::Shutdown(self.core.clock.now() + CLOSING)
            }
            Ending::Doomed => {
                self.ending = Ending::DoomedShutdown;
                Step::Shutdown(self.core.clock.now() + DOOMED)
            }
            Ending::DoomedShutdown | Ending::Shutdown => Step::Stay,
        }
    }

    fn timer(&mut self) -> Step {
        let now = self.core.clock.now();
        let sent = std::mem::replace(&mut self.sent, self.state.bytes_sent.get());
        self.state.count_bytes();
        match self.ending {
            Ending::Doomed => return self.close(),
            Ending::DoomedShutdown => return Step::Abort,
            // A client that takes part in the shutdown is gone by now.
            Ending::Shutdown if self.state.in_flight.get() == 0 && sent == self.sent => return Step::Abort,
            Ending::Shutdown | Ending::No => {}
        }
        if self.connection.expires.as_secs() < self.core.clock.unix().as_secs() {
            return self.doom(&Refusal::CertificateInvalid);
        }
        let quiet = sent == self.sent;
        if quiet && self.state.client_is_slow() {
            self.core.counters.ended_stalled.add(1);
            self.state.why.set("stalled");
            return Step::Abort;
        }
        let since = |begun: Instant| now.saturating_duration_since(begun);
        if self.state.head_since.get().is_some_and(|begun| since(begun) >= self.core.http.header_timeout) {
            return Step::Abort;
        }
        let idle =
            if quiet && self.state.in_flight.get() == 0 { since(self.state.idle_since.get()) } else { Duration::ZERO };
        if idle >= self.core.http.idle_timeout {
            return self.close();
        }
        let left = self.core.http.idle_timeout.saturating_sub(idle).min(tick(self.core));
        Step::Timer(now + left.max(Duration::from_millis(1)))
    }

    fn ended(&self, result: Result<(), Broken>) -> Farewell {
        if let Some(frame) = self.state.flood.get() {
            self.core.counters.flooded(frame);
            tracing::warn!(peer = %self.connection.peer, frame = frame.name(), "ended a connection: a flood of frames");
            return Farewell::Close;
        }
        match result {
            Ok(()) if self.state.refused.get() => Farewell::Linger,
            Ok(()) => Farewell::Close,
            Err(Broken { linger, error }) => {
                tracing::debug!(peer = %self.connection.peer, %error, "connection ended");
                if linger || self.state.refused.get() { Farewell::Linger } else { Farewell::Close }
            }
        }
    }
}

/// How long requests on a connection whose certificate was revoked are still told so, and then how long what is in flight
/// has: a second together.
const DOOMED: Duration = Duration::from_millis(450);
/// How long a client has to take part in a graceful shutdown once nothing is in flight.
const CLOSING: Duration = Duration::from_secs(2);
