//! The upstream connections of one core, over mTLS, kept and used again: HTTP/1.1, the warmest first, and HTTP/2.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use popgate_policy::disclose::Raw;
use popgate_policy::model::RegisterId;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::app::config::Protocol;
use crate::clock::Clock;
use crate::forward::Origin;
use crate::forward::cap::Cap;
use crate::forward::fleet::Target;
use crate::forward::registers::{Register, Registers};
use crate::gather::{self, Failed};

/// The upstream connections of one core.
#[derive(Debug)]
pub struct Pool {
    registers: Arc<ArcSwap<Registers>>,
    clock: Clock,
    // One core's tasks share it, so the lock is never contended; it is never held across an await.
    lanes: Mutex<Lanes>,
}

#[derive(Debug, Default)]
struct Lanes {
    of: HashMap<u64, Arc<Lane>>,
    /// When connections that nobody may use any more were closed.
    swept: Option<Instant>,
}

/// The connections to one target.
#[derive(Debug)]
struct Lane {
    /// Nobody else asks a target that is gone: then its connections go too.
    target: Weak<Target>,
    /// A request over HTTP/2 takes one, one over HTTP/1.1 a connection's whole: [`STREAMS`].
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    idle: Mutex<Vec<Line>>,
    shared: Mutex<Vec<Shared>>,
    /// Held while a connection is made that many would share.
    opening: tokio::sync::Mutex<()>,
    /// The register does not speak HTTP/2.
    is_plain: AtomicBool,
    limits: Limits,
}

/// How long a connection may wait to be used again, and how old it may become.
#[derive(Clone, Copy, Debug)]
struct Limits {
    idle: Duration,
    max_age: Duration,
}

/// A connection over HTTP/1.1.
#[derive(Debug)]
struct Line {
    sender: http1::SendRequest<Empty<Bytes>>,
    life: Life,
}

/// A connection over HTTP/2.
#[derive(Clone, Debug)]
struct Shared {
    sender: http2::SendRequest<Empty<Bytes>>,
    life: Life,
    streams: Arc<AtomicUsize>,
}

/// What says whether a connection may be used again.
#[derive(Clone, Debug)]
struct Life {
    origin: Origin,
    generation: u64,
    born: Instant,
    used: Instant,
}

/// Why a register gave no answer.
#[derive(Debug)]
pub enum Trouble {
    /// No target could be connected to.
    Unreachable(io::Error),
    /// Every connection is in use, and enough wait for one.
    Busy,
    /// Nearly everything failed lately: nobody waits for it now.
    Open,
    /// It did not answer in time.
    Late,
    /// The answer broke off or was no HTTP.
    Broken(hyper::Error),
    /// The answer is longer than is read.
    TooLarge,
}

/// What a target is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent<'a> {
    /// The path, query and headers.
    pub(super) request: &'a Request<()>,
    /// The longest answer that is read.
    pub(super) most_bytes: usize,
    /// When nobody waits for it any more.
    pub(super) until: Instant,
    /// Is told when it was sent.
    pub(super) began: &'a Cell<Option<Instant>>,
}

impl Pool {
    /// No connection yet.
    pub fn new(registers: Arc<ArcSwap<Registers>>, clock: Clock) -> Self {
        Self { registers, clock, lanes: Mutex::default() }
    }

    /// How long a register may take, from the decision to the last byte.
    pub fn deadline(&self, register: &RegisterId) -> Duration {
        self.registers.load().register(register).map_or(Duration::ZERO, |register| register.config.deadline)
    }

    /// What a register is asked at most.
    pub(super) fn cap(&self, register: &RegisterId) -> Option<Arc<Cap>> {
        self.registers.load().register(register).map(|register| Arc::clone(&register.cap))
    }

    pub(super) fn registers(&self) -> Arc<Registers> {
        self.registers.load_full()
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Sends a request to one target and receives the whole answer, sealed. The caller MUST bound the whole.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) async fn exchange(
        &self,
        register: &Register,
        generation: u64,
        target: &Arc<Target>,
        sent: Sent<'_>,
    ) -> Result<(Response<Raw>, Origin), Trouble> {
        let lane = self.lane(target, register, generation);
        let _slot = lane.slot(register, sent.until).await?;
        while let Some(shared) = lane.shared(generation, self.clock.now()) {
            if let Some(answered) = self.over_shared(shared, register, target, sent).await {
                return answered;
            }
        }
        while let Some(mut line) = lane.take(generation, self.clock.now()) {
            if line.sender.ready().await.is_err() {
                continue;
            }
            match line.sender.try_send_request(self.outgoing(sent, register, target, false)).await {
                Ok(response) => return lane.receive(line, response, sent, &self.clock).await,
                // The register closed a kept connection before it took the request: nothing was asked yet.
                Err(failed) if failed.message().is_some() => {}
                // It broke while the answer was awaited; a read may be asked again, on a new connection, if the budget allows it.
                Err(_) if register.fleet.may_retry(self.clock.now()) => {
                    register.metrics.retries.inc();
                    break;
                }
                Err(failed) => return Err(Trouble::Broken(failed.into_error())),
            }
        }
        // Large, and seldom needed.
        match Box::pin(self.opened(&lane, register, generation, target, sent.until)).await? {
            Opened::Shared(shared) => {
                let gone = || Trouble::Unreachable(io::ErrorKind::ConnectionAborted.into());
                self.over_shared(shared, register, target, sent).await.unwrap_or_else(|| Err(gone()))
            }
            Opened::Line(mut line) => {
                let outgoing = self.outgoing(sent, register, target, false);
                let response = line.sender.send_request(outgoing).await.map_err(Trouble::Broken)?;
                lane.receive(line, response, sent, &self.clock).await
            }
        }
    }

    /// A connection that is there in time.
    async fn opened(
        &self,
        lane: &Lane,
        register: &Register,
        generation: u64,
        target: &Arc<Target>,
        until: Instant,
    ) -> Result<Opened, Trouble> {
        // Where there is no other target, nobody is waited for instead.
        let alone = register.fleet.targets().len() == 1;
        let limit = if alone { until } else { until.min(self.clock.now() + register.config.connect_timeout) };
        let may_share = register.config.protocol != Protocol::Http1 && !lane.is_plain.load(Ordering::Relaxed);
        let connecting = async {
            let opening = if may_share { Some(lane.opening.lock().await) } else { None };
            if let Some(shared) = lane.shared(generation, self.clock.now()) {
                return Ok(Opened::Shared(shared));
            }
            // Somebody found out meanwhile that there is nothing to share: then nobody waits for another's connection.
            let _opening = opening.filter(|_| !lane.is_plain.load(Ordering::Relaxed));
            let mut opened = Box::pin(connect(register, target, generation, self.clock.now())).await?;
            let origin = Origin::of(register, target, &self.clock);
            match &mut opened {
                Opened::Shared(shared) => shared.life.origin = origin,
                Opened::Line(line) => line.life.origin = origin,
            }
            match &opened {
                Opened::Shared(shared) => locked(&lane.shared).push(shared.clone()),
                Opened::Line(_) => lane.is_plain.store(true, Ordering::Relaxed),
            }
            Ok(opened)
        };
        tokio::time::timeout_at(limit.into(), connecting)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(Trouble::Unreachable)
    }

    /// `None` if the connection ended before the register took the request: nothing was asked yet.
    async fn over_shared(
        &self,
        mut shared: Shared,
        register: &Register,
        target: &Target,
        sent: Sent<'_>,
    ) -> Option<Result<(Response<Raw>, Origin), Trouble>> {
        let _stream = Stream::begin(&shared.streams);
        let origin = shared.life.origin.clone();
        let _awaited = Awaited { origin: &origin, until: sent.until, clock: &self.clock };
        if shared.sender.ready().await.is_err() {
            shared.life.origin.condemn();
            return None;
        }
        let response = match shared.sender.try_send_request(self.outgoing(sent, register, target, true)).await {
            Ok(response) => response,
            Err(failed) if failed.message().is_some() => {
                shared.life.origin.condemn();
                return None;
            }
            Err(failed) => return Some(Err(Trouble::Broken(failed.into_error()))),
        };
        let (parts, body) = response.into_parts();
        let raw = match sealed(body, sent.most_bytes).await {
            Ok(raw) => raw,
            Err(trouble) => return Some(Err(trouble)),
        };
        Some(Ok((Response::from_parts(parts, raw), shared.life.origin)))
    }

    fn lane(&self, target: &Arc<Target>, register: &Register, generation: u64) -> Arc<Lane> {
        let now = self.clock.now();
        let mut lanes = locked(&self.lanes);
        if lanes.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP) {
            lanes.swept = Some(now);
            lanes.of.retain(|_, lane| lane.target.strong_count() > 0);
            lanes.of.values().for_each(|lane| lane.sweep(generation, now));
        }
        if let Some(lane) = lanes.of.get(&target.id()) {
            return Arc::clone(lane);
        }
        let lane = Arc::new(Lane {
            target: Arc::downgrade(target),
            slots: Arc::new(Semaphore::new(register.config.connections * STREAMS)),
            waiting: AtomicUsize::new(0),
            idle: Mutex::default(),
            shared: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            is_plain: AtomicBool::new(register.config.protocol == Protocol::Http1),
            limits: Limits { idle: register.config.idle, max_age: register.config.max_age },
        });
        lanes.of.insert(target.id(), Arc::clone(&lane));
        lane
    }

    fn outgoing(&self, sent: Sent<'_>, register: &Register, target: &Target, http2: bool) -> Request<Empty<Bytes>> {
        let mut outgoing = sent.request.clone().map(|()| Empty::new());
        sent.began.set(Some(self.clock.now()));
        let left = sent.until.saturating_duration_since(self.clock.now()).as_millis();
        outgoing.headers_mut().insert(DEADLINE, HeaderValue::from(u64::try_from(left).unwrap_or(u64::MAX)));
        let Some(endpoint) = register.endpoints.get(target.endpoint()) else { return outgoing };
        if http2 {
            *outgoing.version_mut() = Version::HTTP_2;
            let path = outgoing.uri().path_and_query().cloned();
            *outgoing.uri_mut() = absolute(endpoint.authority.as_str(), path);
        } else if let Ok(host) = HeaderValue::from_str(&endpoint.authority) {
            outgoing.headers_mut().insert(header::HOST, host);
        }
        outgoing
    }
}

/// One request's part of a connection that many share.
struct Stream(Arc<AtomicUsize>);

impl Stream {
    fn begin(streams: &Arc<AtomicUsize>) -> Self {
        streams.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(streams))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

enum Opened {
    Line(Line),
    Shared(Shared),
}

impl Lane {
    /// The right to use a connection; waits for it if not too many do.
    async fn slot(&self, register: &Register, until: Instant) -> Result<OwnedSemaphorePermit, Trouble> {
        let many = if self.is_plain.load(Ordering::Relaxed) { u32::try_from(STREAMS).unwrap_or(1) } else { 1 };
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_many_owned(many) {
            return Ok(slot);
        }
        let _waits = Waits::begin(&self.waiting, register.config.waiting).ok_or(Trouble::Busy)?;
        match tokio::time::timeout_at(until.into(), Arc::clone(&self.slots).acquire_many_owned(many)).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) | Err(_) => Err(Trouble::Busy),
        }
    }

    /// The connection over HTTP/1.1 that was used last, if it may still be used.
    fn take(&self, generation: u64, now: Instant) -> Option<Line> {
        let mut idle = locked(&self.idle);
        idle.retain(|line| !line.sender.is_closed() && line.life.is_usable(generation, now, self.limits));
        idle.pop()
    }

    /// A connection over HTTP/2 that has room.
    fn shared(&self, generation: u64, now: Instant) -> Option<Shared> {
        let mut shared = locked(&self.shared);
        if shared.is_empty() {
            return None;
        }
        let usable = |it: &Shared| !it.sender.is_closed() && it.life.is_usable(generation, now, self.limits);
        // One that is too old goes when nobody uses it any more.
        shared.retain(|it| usable(it) || (!it.sender.is_closed() && it.streams.load(Ordering::Relaxed) > 0));
        let streams = |it: &Shared| it.streams.load(Ordering::Relaxed);
        let free = shared.iter_mut().filter(|it| usable(it)).min_by_key(|it| streams(it))?;
        (streams(free) < STREAMS).then(|| {
            free.life.used = now;
            free.clone()
        })
    }

    /// Closes what may not be used any more.
    fn sweep(&self, generation: u64, now: Instant) {
        locked(&self.idle).retain(|line| line.life.is_usable(generation, now, self.limits));
        self.shared(generation, now);
    }

    /// Receives the answer whole, and keeps the connection. Dropped half-way, the connection is closed: what is left of an
    /// answer must not be taken for the next one. Nor is one kept that answers what was not asked, or in two minds about its length.
    async fn receive(
        &self,
        mut line: Line,
        response: Response<Incoming>,
        sent: Sent<'_>,
        clock: &Clock,
    ) -> Result<(Response<Raw>, Origin), Trouble> {
        let (parts, body) = response.into_parts();
        let raw = sealed(body, sent.most_bytes).await?;
        let origin = line.life.origin.clone();
        let (said, asked) = (&parts.headers, sent.request.headers());
        let is_ambiguous = said.contains_key(header::TRANSFER_ENCODING) && said.contains_key(header::CONTENT_LENGTH);
        let is_unasked = parts.status == StatusCode::NOT_MODIFIED
            && !asked.contains_key(header::IF_NONE_MATCH)
            && !asked.contains_key(header::IF_MODIFIED_SINCE);
        if !is_ambiguous && !is_unasked {
            line.life.used = clock.now();
            locked(&self.idle).push(line);
        }
        Ok((Response::from_parts(parts, raw), origin))
    }
}

impl Life {
    fn is_usable(&self, generation: u64, now: Instant, limits: Limits) -> bool {
        self.generation == generation
            && !self.origin.is_condemned()
            && now.saturating_duration_since(self.used) < limits.idle
            && now.saturating_duration_since(self.born) < limits.max_age
    }
}

/// A request over a connection that others share. Given up when its time is over, the connection gets no more: who is behind it may be
/// gone, though its other end still answers pings.
struct Awaited<'a> {
    origin: &'a Origin,
    until: Instant,
    clock: &'a Clock,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        if self.clock.now() >= self.until {
            self.origin.condemn();
        }
    }
}

/// Counts who waits, but for one too many.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<'a> Waits<'a> {
    fn begin(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        let waits = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < most).then_some(waits)
    }
}

async fn sealed(body: Incoming, most_bytes: usize) -> Result<Raw, Trouble> {
    let whole = gather::whole(body, most_bytes).await.map_err(|failed| match failed {
        Failed::TooLarge => Trouble::TooLarge,
        Failed::Broken(error) => Trouble::Broken(error),
    })?;
    Ok(Raw::seal(whole))
}

/// The status of a target's answer to a request of its own connection: how it is checked.
pub(super) async fn check(register: &Register, target: &Target, path: &str, now: Instant) -> io::Result<u16> {
    let mut request = Request::get(path).body(Empty::new()).map_err(io::Error::other)?;
    let authority = register.endpoints.get(target.endpoint()).map(|endpoint| endpoint.authority.as_str());
    let authority = authority.unwrap_or_default();
    let response = match Box::pin(connect(register, target, 0, now)).await? {
        Opened::Line(mut line) => {
            request.headers_mut().insert(header::HOST, HeaderValue::from_str(authority).map_err(io::Error::other)?);
            line.sender.send_request(request).await
        }
        Opened::Shared(mut shared) => {
            *request.uri_mut() = absolute(authority, request.uri().path_and_query().cloned());
            shared.sender.send_request(request).await
        }
    };
    Ok(response.map_err(io::Error::other)?.status().as_u16())
}

async fn connect(register: &Register, target: &Target, generation: u64, now: Instant) -> io::Result<Opened> {
    let endpoint = register.endpoints.get(target.endpoint()).ok_or(io::ErrorKind::NotFound)?;
    let tcp = match target.address() {
        Some(address) => TcpStream::connect(address).await?,
        None => TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?,
    };
    tcp.set_nodelay(true)?;
    let tls = TlsConnector::from(Arc::clone(&register.tls)).connect(endpoint.name.clone(), tcp).await?;
    let life = Life { origin: Origin::default(), generation, born: now, used: now };
    let is_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    match (is_http2, register.config.protocol) {
        (true, _) => shared(tls, life).await,
        (false, Protocol::Http2) => Err(io::Error::other("the register does not offer HTTP/2 (ALPN `h2`)")),
        (false, _) => line(tls, life).await,
    }
}

async fn line(tls: TlsStream<TcpStream>, life: Life) -> io::Result<Opened> {
    let (sender, connection) = http1::handshake(TokioIo::new(tls)).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an upstream connection ended");
        }
    });
    Ok(Opened::Line(Line { sender, life }))
}

async fn shared(tls: TlsStream<TcpStream>, life: Life) -> io::Result<Opened> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .keep_alive_while_idle(true)
        .adaptive_window(true)
        .handshake(TokioIo::new(tls))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an upstream connection ended");
        }
    });
    Ok(Opened::Shared(Shared { sender, life, streams: Arc::default() }))
}

fn absolute(authority: &str, path: Option<PathAndQuery>) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTPS);
    parts.authority = authority.parse::<Authority>().ok();
    parts.path_and_query = path.or_else(|| Some(PathAndQuery::from_static("/")));
    Uri::from_parts(parts).unwrap_or_default()
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often connections are closed that may not be used any more; by a request of the core.
const SWEEP: Duration = Duration::from_secs(5);
/// How many requests share a connection over HTTP/2.
const STREAMS: usize = 100;
/// A connection over HTTP/2 whose other end does not answer a ping for that long is dead.
const PING: Duration = Duration::from_secs(5);
/// Tells the register for how many milliseconds anybody waits for its answer.
const DEADLINE: HeaderName = HeaderName::from_static("gateway-deadline-ms");
