//! The upstream connections of one core: HTTP/1.1 over mTLS, kept and used again, the warmest first.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use popgate_policy::disclose::Raw;
use popgate_policy::model::RegisterId;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsConnector;

use crate::clock::Clock;
use crate::forward::Origin;
use crate::forward::registers::{Endpoint, Register, Registers};
use crate::gather::{self, Failed};

/// The upstream connections of one core.
#[derive(Debug)]
pub struct Pool {
    registers: Arc<ArcSwap<Registers>>,
    clock: Clock,
    // One core's tasks share it, so the lock is never contended; it is never held across an await.
    lanes: Mutex<HashMap<(RegisterId, usize), Arc<Lane>>>,
}

/// The connections to one endpoint.
#[derive(Debug)]
struct Lane {
    slots: Arc<Semaphore>,
    idle: Mutex<Vec<Line>>,
}

/// One connection.
#[derive(Debug)]
struct Line {
    sender: SendRequest<Empty<Bytes>>,
    origin: Origin,
    generation: u64,
    used: Instant,
}

/// Why a register gave no answer.
#[derive(Debug)]
pub enum Trouble {
    /// No endpoint could be connected to.
    Unreachable(io::Error),
    /// Every connection is in use.
    Busy,
    /// The answer broke off or was no HTTP.
    Broken(hyper::Error),
    /// The answer is longer than is read.
    TooLarge,
}

/// How long a connection may wait to be used again.
const IDLE: Duration = Duration::from_secs(60);

impl Pool {
    /// No connection yet.
    pub fn new(registers: Arc<ArcSwap<Registers>>, clock: Clock) -> Self {
        Self { registers, clock, lanes: Mutex::default() }
    }

    /// How long a register may take, from the decision to the last byte.
    pub fn deadline(&self, register: &RegisterId) -> Duration {
        self.registers.load().register(register).map_or(Duration::ZERO, |register| register.deadline)
    }

    /// Sends a request and receives the whole answer, sealed.
    ///
    /// Each endpoint has its share of the deadline to give a connection: one that swallows packets must not use up the time of
    /// the next. The caller MUST bound the whole.
    ///
    /// # Errors
    /// [`Trouble`], after every endpoint was tried.
    pub async fn exchange(
        &self,
        register: &RegisterId,
        request: Request<()>,
        most_bytes: usize,
    ) -> Result<(Response<Raw>, Origin), Trouble> {
        let registers = self.registers.load_full();
        let Some(known) = registers.register(register) else {
            let missing = format!("no [registers.{register}] in the configuration");
            return Err(Trouble::Unreachable(io::Error::new(io::ErrorKind::NotFound, missing)));
        };
        let mut trouble = Trouble::Busy;
        for (at, endpoint) in known.endpoints.iter().enumerate() {
            let lane = self.lane(register, at, known);
            let slot = Arc::clone(&lane.slots).acquire_owned();
            let Ok(Ok(slot)) = tokio::time::timeout(known.patience(), slot).await else { continue };
            match self.over(&lane, known, endpoint, registers.generation(), (&request, most_bytes), slot).await {
                Err(Trouble::Unreachable(error)) => trouble = Trouble::Unreachable(error),
                answered => return answered,
            }
        }
        Err(trouble)
    }

    async fn over(
        &self,
        lane: &Lane,
        register: &Register,
        endpoint: &Endpoint,
        generation: u64,
        (request, most_bytes): (&Request<()>, usize),
        _slot: OwnedSemaphorePermit,
    ) -> Result<(Response<Raw>, Origin), Trouble> {
        while let Some(mut line) = lane.take(generation, self.clock.now()) {
            if line.sender.ready().await.is_err() {
                continue;
            }
            match line.sender.try_send_request(outgoing(request, endpoint)).await {
                Ok(response) => return lane.receive(line, response, most_bytes, &self.clock).await,
                // The register closed a kept connection before it took the request: nothing was asked yet.
                Err(failed) if failed.message().is_some() => {}
                // It broke while the answer was awaited; a read may be asked again, once, on a new connection.
                Err(_) => break,
            }
        }
        let connecting = connect(register, endpoint, generation, self.clock.now());
        let mut line = tokio::time::timeout(register.patience(), connecting)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(Trouble::Unreachable)?;
        let response = line.sender.send_request(outgoing(request, endpoint)).await.map_err(Trouble::Broken)?;
        lane.receive(line, response, most_bytes, &self.clock).await
    }

    fn lane(&self, register: &RegisterId, endpoint: usize, known: &Register) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.entry((register.clone(), endpoint)).or_insert_with(|| {
            Arc::new(Lane { slots: Arc::new(Semaphore::new(known.connections)), idle: Mutex::default() })
        });
        Arc::clone(lane)
    }
}

impl Lane {
    /// The connection that was used last, if it may still be used.
    fn take(&self, generation: u64, now: Instant) -> Option<Line> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|line| line.is_usable(generation, now));
        idle.pop()
    }

    /// Receives the answer whole, and keeps the connection. Dropped half-way, the connection is closed: what is left of an
    /// answer must not be taken for the next one.
    async fn receive(
        &self,
        mut line: Line,
        response: Response<Incoming>,
        most_bytes: usize,
        clock: &Clock,
    ) -> Result<(Response<Raw>, Origin), Trouble> {
        let (parts, body) = response.into_parts();
        let raw = Raw::seal(gather::whole(body, most_bytes).await.map_err(|failed| match failed {
            Failed::TooLarge => Trouble::TooLarge,
            Failed::Broken(error) => Trouble::Broken(error),
        })?);
        let origin = line.origin.clone();
        line.used = clock.now();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        Ok((Response::from_parts(parts, raw), origin))
    }
}

impl Line {
    fn is_usable(&self, generation: u64, now: Instant) -> bool {
        self.generation == generation
            && !self.origin.is_condemned()
            && !self.sender.is_closed()
            && now.duration_since(self.used) < IDLE
    }
}

async fn connect(register: &Register, endpoint: &Endpoint, generation: u64, now: Instant) -> io::Result<Line> {
    let tcp = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
    tcp.set_nodelay(true)?;
    let tls = TlsConnector::from(Arc::clone(&register.tls)).connect(endpoint.name.clone(), tcp).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(tls)).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an upstream connection ended");
        }
    });
    Ok(Line { sender, origin: Origin::default(), generation, used: now })
}

fn outgoing(request: &Request<()>, endpoint: &Endpoint) -> Request<Empty<Bytes>> {
    let mut outgoing = request.clone().map(|()| Empty::new());
    if let Ok(host) = HeaderValue::from_str(&endpoint.authority()) {
        outgoing.headers_mut().insert(header::HOST, host);
    }
    outgoing
}
