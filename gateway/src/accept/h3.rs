//! HTTP/3 (RFC 9114) over QUIC, by h3 and quinn. No other file names either, but those in `h3/`.
//!
//! h3 reads requests and writes the heads of responses. What it hides is done around it: [`streams`] lies between it and quinn,
//! counts bytes and holds frames to the grammar; the bodies of responses are framed here, because h3 would copy them.

mod body;
mod endpoint;
mod fields;
mod frames;
mod probe;
mod session;
mod streams;

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h3::error::{Code, StreamError};
use h3::server::RequestResolver;
use http::HeaderValue;
use http::header::DATE;
use http_body::Body as _;
use popgate_policy::directory::TlsVersion;
use quinn::ConnectionError;
use rustls::pki_types::CertificateDer;
use tokio::sync::Notify;
use tokio::task::JoinSet;

pub(super) use endpoint::{Acceptor, Knock, alt_svc, bind, server_config};

use self::body::Upload;
use self::probe::Probe;
use self::session::{DETAIL, Shaken};
use self::streams::{Link, Outlet, Side, Streams};
use super::connection::{Broken, Graceful, State, Turn, drive, established};
use super::framing::content_length;
use super::listen::{Core, Seat};
use super::tls::{self, Failed, HandshakeFailure};
use super::trust::Trust;
use super::{ClientBody, CloseConnection, Connection, Inbound, Protocol};
use crate::clock::Clock;
use crate::respond::{Body, Cut};

/// Serves one connection that knocked, to its end.
pub(super) async fn run<S, F>(core: Rc<Core<S>>, knock: Knock, seat: Seat)
where
    S: Fn(Inbound) -> F + 'static,
    F: Future<Output = http::Response<Body>> + 'static,
{
    core.quic.set(true);
    let peer = knock.peer();
    let trust = core.trust.borrow().clone();
    let generation = trust.generation();
    let handshake = Box::pin(handshake(&trust, knock, peer, &core.clock));
    let outcome = match tokio::time::timeout(core.http.handshake_timeout, handshake).await {
        Ok(outcome) => outcome,
        Err(_) => Err(HandshakeFailure::Timeout.into()),
    };
    drop(trust);
    match outcome {
        Ok((connection, resumed, quic)) => {
            let (state, _registered) = established(&core, &connection, resumed);
            serve(&core, Arc::new(connection), generation, quic, &state).await;
            state.count_bytes();
        }
        Err(Failed { reason, detail, .. }) => {
            core.counters.failed(reason);
            tracing::info!(%peer, reason = reason.name(), detail, "handshake failed");
        }
    }
    // quinn's task for the connection was woken before this one: it sends the end of the connection while this one waits.
    tokio::task::yield_now().await;
    drop(seat);
}

async fn handshake(
    trust: &Trust,
    knock: Knock,
    peer: SocketAddr,
    clock: &Clock,
) -> Result<(Connection, bool, quinn::Connection), Failed> {
    let (connecting, pending) = knock.accept(trust).map_err(|error| failure(&error))?;
    let quic = connecting.await.map_err(|error| failure(&error))?;
    drop(pending);
    known(trust, &quic, peer, clock)
        .inspect_err(|reason| end(&quic, Code::H3_NO_ERROR, reason.name()))
        .map(|(connection, resumed)| (connection, resumed, quic))
        .map_err(Failed::from)
}

type Chain = Vec<CertificateDer<'static>>;

fn known(
    trust: &Trust,
    quic: &quinn::Connection,
    peer: SocketAddr,
    clock: &Clock,
) -> Result<(Connection, bool), HandshakeFailure> {
    let identity = quic.peer_identity().and_then(|identity| identity.downcast::<Chain>().ok());
    let chain = *identity.ok_or(HandshakeFailure::CertificateMissing)?;
    let shaken = quic.handshake_data().and_then(|data| data.downcast::<Shaken>().ok());
    let Shaken { group, resumed } = *shaken.ok_or(HandshakeFailure::Protocol)?;
    // A resumed session brings its certificates from the first handshake, which no verifier has seen since.
    if resumed {
        trust.admit(&chain, clock.unix())?;
    }
    Ok((tls::known(chain, peer, TlsVersion::Tls13, Protocol::H3, group)?, resumed))
}

fn failure(error: &ConnectionError) -> Failed {
    let is_alert = |code: u64| (0x100..0x200).contains(&code);
    let reason = match error {
        // `session` tells the reason by its name, and its detail behind that.
        ConnectionError::TransportError(error) => {
            let (name, detail) = match error.reason.split_once(DETAIL) {
                Some((name, detail)) => (name, Some(detail)),
                None => (&*error.reason, None),
            };
            let Some(reason) = HandshakeFailure::named(name) else { return HandshakeFailure::Protocol.into() };
            return Failed { reason, detail: detail.map(str::to_owned), stream: None };
        }
        ConnectionError::ConnectionClosed(close) if is_alert(close.error_code.into()) => HandshakeFailure::ClientAlert,
        ConnectionError::VersionMismatch | ConnectionError::CidsExhausted => HandshakeFailure::Protocol,
        ConnectionError::TimedOut => HandshakeFailure::Timeout,
        ConnectionError::ConnectionClosed(_)
        | ConnectionError::ApplicationClosed(_)
        | ConnectionError::Reset
        | ConnectionError::LocallyClosed => HandshakeFailure::Disconnected,
    };
    reason.into()
}

/// Serves the requests of one connection.
async fn serve<S, F>(
    core: &Rc<Core<S>>,
    connection: Arc<Connection>,
    generation: u64,
    quic: quinn::Connection,
    state: &Rc<State>,
) where
    S: Fn(Inbound) -> F + 'static,
    F: Future<Output = http::Response<Body>> + 'static,
{
    let leave = Rc::new(Notify::new());
    let http = Http {
        requests: Box::pin(requests(core, &connection, state, quic.clone(), Rc::clone(&leave))),
        leave: Rc::clone(&leave),
    };
    let mut http = pin!(http);
    drive(core, &connection, generation, http.as_mut(), state).await;
    let code = if state.why() == "flood" { Code::H3_EXCESSIVE_LOAD } else { Code::H3_NO_ERROR };
    // What was not sent yet is not sent any more. If the connection has ended, that stays as it was told.
    end(&quic, code, state.why());
}

struct Http<F> {
    requests: Pin<Box<F>>,
    leave: Rc<Notify>,
}

impl<F: Future<Output = Result<(), Broken>>> Graceful for Http<F> {
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.requests.as_mut().poll(cx)
    }

    fn graceful_shutdown(self: Pin<&mut Self>) {
        self.leave.notify_one();
    }
}

/// Accepts requests until the client leaves, or until `leave` and all are answered and the answers received.
async fn requests<S, F>(
    core: &Rc<Core<S>>,
    connection: &Arc<Connection>,
    state: &Rc<State>,
    quic: quinn::Connection,
    leave: Rc<Notify>,
) -> Result<(), Broken>
where
    S: Fn(Inbound) -> F + 'static,
    F: Future<Output = http::Response<Body>> + 'static,
{
    let link = Link::new(quic, Rc::clone(state), core.clock.clone(), core.http.max_headers);
    let mut probe = Probe::new(&link, core.clock.now());
    let mut builder = h3::server::builder();
    builder.max_field_section_size(core.http.max_headers as u64).send_grease(false);
    let mut h3 = builder.build::<_, Bytes>(Streams::new(Rc::clone(&link))).await.map_err(ended)?;
    // Dropped with what is in flight: a connection that ends takes its requests with it.
    let mut exchanges = JoinSet::new();
    let (mut leaving, mut accepting, mut headless) = (false, true, 0);
    let quiet = core.http.header_timeout.min(core.http.idle_timeout);
    let mut look = pin!(tokio::time::sleep(quiet.min(LOOK)));
    loop {
        tokio::select! {
            accepted = h3.accept(), if accepting => match accepted.map_err(ended)? {
                Some(resolver) => {
                    if let Some(side) = link.accepted() {
                        exchanges.spawn_local(exchange(core.clone(), connection.clone(), state.clone(), resolver, side));
                    }
                    if probe.opened() {
                        probe.look(&link, core.clock.now()).map_err(broken)?;
                    }
                }
                // The client has said that it asks no more.
                None => (leaving, accepting) = (true, false),
            },
            () = leave.notified(), if !leaving => {
                leaving = true;
                link.refuse_more();
                // One more than the last: a GOAWAY names the first request that is not answered (RFC 9114, section 5.2).
                h3.shutdown(1).await.map_err(ended)?;
            }
            Some(exchanged) = exchanges.join_next(), if !exchanges.is_empty() => {
                // A panic ends its request only, as everywhere.
                if let Ok(Exchanged::Headless) = exchanged {
                    headless += 1;
                    if headless == MAX_HEADLESS {
                        leave.notify_one();
                    }
                }
            }
            () = look.as_mut() => {
                let active = probe.look(&link, core.clock.now()).map_err(broken)?;
                let next = core.clock.now() + if active { LOOK } else { quiet.max(LOOK) };
                look.as_mut().reset(next.into());
            }
        }
        if leaving && exchanges.is_empty() {
            return Ok(());
        }
    }
}

/// How far one request came.
enum Exchanged {
    /// It was answered, or given up.
    Ended,
    /// It had no header section that could be read. h3 0.0.8 never forgets such a stream.
    Headless,
}

/// Answers one request.
async fn exchange<S, F>(
    core: Rc<Core<S>>,
    connection: Arc<Connection>,
    state: Rc<State>,
    resolver: RequestResolver<Streams, Bytes>,
    side: Side,
) -> Exchanged
where
    S: Fn(Inbound) -> F,
    F: Future<Output = http::Response<Body>>,
{
    let Side { outlet, frames } = side;
    let mut stopped = pin!(outlet.stopped());
    let reply = Reply { outlet, whole: false };
    let (request, stream) = match tokio::time::timeout(core.http.header_timeout, resolver.resolve_request()).await {
        Ok(Ok(resolved)) => resolved,
        // h3 has answered 431.
        Ok(Err(StreamError::HeaderTooBig { .. })) => {
            reply.leave();
            return Exchanged::Ended;
        }
        // h3 has reset the stream, or it is reset now.
        Ok(Err(_)) | Err(_) => return Exchanged::Headless,
    };
    let _ = state.arrived();
    let mut turn = Turn::new(&state, &core.clock);
    let (mut head, upload) = stream.split();
    let length = content_length(request.headers());
    let mut request = request.map(|()| ClientBody::of_stream(Upload::new(upload, length, Rc::clone(&frames))));
    if let Some(fault) = frames.borrow().fault() {
        request.extensions_mut().insert(fault);
    }
    let answer = (core.service)(Inbound { connection, request });
    let response = tokio::select! {
        biased;
        // The client wants no answer any more, or is gone.
        _ = stopped.as_mut() => return Exchanged::Ended,
        response = answer => response,
    };
    if response.extensions().get::<CloseConnection>().is_some() {
        turn.close();
    }
    turn.now_waits(false);
    let (mut parts, body) = response.into_parts();
    if let Some(date) = date(&core.clock) {
        parts.headers.insert(DATE, date);
    }
    if head.send_response(http::Response::from_parts(parts, ())).await.is_err()
        || reply.send(body, &mut turn).await.is_err()
    {
        return Exchanged::Ended;
    }
    // The connection must not be closed before the client has everything; a client that does not take it is a slow one.
    let _ = stopped.await;
    Exchanged::Ended
}

/// The sending of one answer. Dropped before it is whole, it resets the stream: what is cut short must not look complete.
struct Reply {
    outlet: Outlet,
    whole: bool,
}

impl Reply {
    async fn send(mut self, body: Body, turn: &mut Turn) -> Result<(), quinn::WriteError> {
        let mut body = pin!(body);
        while let Some(frame) = poll_fn(|cx| {
            let frame = body.as_mut().poll_frame(cx);
            turn.now_waits(frame.is_pending());
            frame
        })
        .await
        {
            // Cut off: dropped before it is whole, the stream is reset.
            let frame = frame.map_err(|Cut| quinn::WriteError::ClosedStream)?;
            if let Ok(data) = frame.into_data() {
                self.outlet.data(data).await?;
            }
        }
        self.outlet.finish();
        self.whole = true;
        Ok(())
    }

    /// The answer is somebody else's.
    fn leave(mut self) {
        self.whole = true;
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.whole {
            self.outlet.reset(Code::H3_REQUEST_CANCELLED);
        }
    }
}

fn end(quic: &quinn::Connection, code: Code, why: &str) {
    quic.close(quinn::VarInt::from_u64(code.value()).unwrap_or_default(), why.as_bytes());
}

/// How h3 ended the connection. What the client says of its own end is not repeated.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the client broke HTTP/3: {0}")]
    Local(String),
    #[error("the client, or its transport, ended the connection")]
    Remote,
    #[error("the client is silent")]
    Silent,
}

fn ended(error: h3::error::ConnectionError) -> Broken {
    broken(match &error {
        h3::error::ConnectionError::Local { .. } => Ended::Local(error.to_string()),
        h3::error::ConnectionError::Timeout { .. } => Ended::Silent,
        _ => Ended::Remote,
    })
}

fn broken(error: impl std::error::Error + 'static) -> Broken {
    Broken { linger: false, error: Box::new(error) }
}

/// `Date` (RFC 9110, section 6.6.1), which hyper adds by itself.
fn date(clock: &Clock) -> Option<HeaderValue> {
    HeaderValue::try_from(clock.wall().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()).ok()
}

/// How often the frames of an active connection are looked at, beside every so many requests.
const LOOK: Duration = Duration::from_secs(1);
/// After so many the client must connect anew.
const MAX_HEADLESS: u32 = 1000;
