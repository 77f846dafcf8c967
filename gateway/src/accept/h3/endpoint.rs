//! The one QUIC endpoint: its socket, its bounds, and the thread that hands its connections to the cores.
//!
//! The thread receives every datagram and passes it on by connection. A connection's own work (decryption, timers, sending) is
//! done on its core: quinn runs it on the runtime that accepts it.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderValue;
use quinn::{Connecting, ConnectionError, Endpoint, EndpointConfig, IdleTimeout, Incoming, TokioRuntime};
use quinn::{ServerConfig, TransportConfig};
use socket2::{Domain, Socket, Type};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};

use super::session::Crypto;
use crate::accept::counters::Counters;
use crate::accept::listen::{Arrival, Desks, Phase, Started};
use crate::accept::trust::Trust;
use crate::app::config;

/// A connection that asks to be let in: its core may begin the handshake.
pub(in crate::accept) struct Knock {
    incoming: Incoming,
    config: Arc<ServerConfig>,
    pending: Pending,
}

impl Knock {
    /// Whether the client has shown that it receives what is sent to its address (RFC 9000, section 8.1).
    pub(in crate::accept) fn is_proven(&self) -> bool {
        self.incoming.remote_address_validated()
    }

    pub(in crate::accept) fn peer(&self) -> SocketAddr {
        self.incoming.remote_address()
    }

    /// Begins the handshake, on the runtime that this is called on, under the trust in force there: a handshake that begins
    /// after a revocation cannot be made under the trust before it.
    pub(super) fn accept(self, trust: &Trust) -> Result<(Connecting, Pending), ConnectionError> {
        let mut config = ServerConfig::clone(&self.config);
        config.crypto = Arc::new(Crypto::new(trust).ok_or(ConnectionError::VersionMismatch)?);
        Ok((self.incoming.accept_with(Arc::new(config))?, self.pending))
    }
}

/// A handshake that is not done.
pub(in crate::accept) struct Pending(Arc<AtomicUsize>);

impl Pending {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes connections and hands them to the cores.
pub(in crate::accept) struct Acceptor {
    socket: UdpSocket,
    config: Arc<ServerConfig>,
    /// Gone when no more connections are taken.
    desks: Option<Arc<Desks>>,
    counters: Arc<Counters>,
    pending: Arc<AtomicUsize>,
}

impl Acceptor {
    pub(in crate::accept) fn new(
        socket: UdpSocket,
        config: ServerConfig,
        desks: Arc<Desks>,
        counters: Arc<Counters>,
    ) -> Self {
        Self { socket, config: Arc::new(config), desks: Some(desks), counters, pending: Arc::default() }
    }

    /// Runs until `cores` says that all cores have ended: as long as they have connections, these need the endpoint.
    pub(in crate::accept) fn run(
        self,
        started: Started<'_>,
        phase: watch::Receiver<Phase>,
        cores: mpsc::Receiver<Infallible>,
    ) {
        let runtime = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return started(Err(error)),
        };
        runtime.block_on(async move {
            match self.endpoint() {
                Ok(endpoint) => {
                    started(Ok(()));
                    self.accept(endpoint, phase, cores).await;
                }
                Err(error) => started(Err(error)),
            }
        });
    }

    async fn accept(
        mut self,
        mut endpoint: Endpoint,
        mut phase: watch::Receiver<Phase>,
        mut cores: mpsc::Receiver<Infallible>,
    ) {
        loop {
            let incoming = tokio::select! {
                biased;
                _ = cores.recv() => return,
                _ = phase.wait_for(|phase| *phase != Phase::Serving), if self.desks.is_some() => {
                    // The cores wait for the acceptors to let go of them.
                    self.desks = None;
                    continue;
                }
                incoming = endpoint.accept() => incoming,
            };
            match (incoming, &self.desks) {
                (Some(incoming), Some(desks)) => self.receive(incoming, desks),
                // The client is told at once, and can go to another node or over TCP.
                (Some(incoming), None) => incoming.refuse(),
                (None, _) => {
                    self.counters.accept_errors.add(1);
                    tracing::error!("the UDP socket failed; HTTP/3 begins anew");
                    tokio::time::sleep(ANEW).await;
                    match self.endpoint() {
                        Ok(anew) => endpoint = anew,
                        Err(error) => tracing::error!(%error, "HTTP/3 cannot begin anew"),
                    }
                }
            }
        }
    }

    fn receive(&self, incoming: Incoming, desks: &Desks) {
        // Who sends from an address that is not its own never gets the Retry (RFC 9000, section 8.1.2), and holds nothing.
        if self.pending.load(Ordering::Relaxed) >= RETRY_PENDING && !incoming.remote_address_validated() {
            self.counters.retried.add(1);
            // It may be retried, since its address is not validated.
            let _ = incoming.retry();
            return;
        }
        let knock = Knock { incoming, config: Arc::clone(&self.config), pending: Pending::begin(&self.pending) };
        if let Some(Arrival::Quic(knock)) = desks.place(Arrival::Quic(Box::new(knock))) {
            knock.incoming.refuse();
        }
    }

    fn endpoint(&self) -> io::Result<Endpoint> {
        let mut config = EndpointConfig::default();
        config.supported_versions(vec![VERSION_1]);
        let server = ServerConfig::clone(&self.config);
        Endpoint::new(config, Some(server), self.socket.try_clone()?, Arc::new(TokioRuntime))
    }
}

/// What all connections have in common. The TLS configuration in it is for what comes before a handshake only: each is made
/// under the trust that is then in force.
///
/// # Errors
/// If the TLS library cannot do QUIC.
pub(in crate::accept) fn server_config(http: &config::Http, trust: &Trust) -> io::Result<ServerConfig> {
    let crypto = Crypto::new(trust).ok_or_else(|| io::Error::other("the TLS library cannot do QUIC"))?;
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(http.max_streams.into())
        .max_concurrent_uni_streams(UNI_STREAMS.into())
        // The connection's own bound comes first, and says why. This one is for clients that are gone.
        .max_idle_timeout(IdleTimeout::try_from(http.idle_timeout.saturating_add(GONE)).ok())
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .allow_spin(false);
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport))
        // Whom the directory lets in is decided by the address once: a connection must not take it elsewhere.
        .migration(false)
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFERS);
    Ok(config)
}

/// The UDP socket.
pub(in crate::accept) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    // One socket receives for all connections. The kernel may give less, which costs datagrams under load, no more.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// `Alt-Svc` (RFC 7838): HTTP/3 is served on that port of the same host.
pub(in crate::accept) fn alt_svc(port: u16) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("h3=\":{port}\"; ma=86400")).ok()
}

/// QUIC version 1 (RFC 9000).
const VERSION_1: u32 = 1;
/// Control, QPACK encoder and decoder, and some that a client may try (RFC 9114, section 6.2).
const UNI_STREAMS: u32 = 8;
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What a client may leave unread, over all streams of a connection.
const SEND_WINDOW: u64 = 1024 * 1024;
/// How much longer than a connection may be idle a client may be silent.
const GONE: Duration = Duration::from_secs(5);
/// With so many handshakes pending, a client must prove its address first.
const RETRY_PENDING: usize = 128;
const MAX_INCOMING: usize = 4096;
const INCOMING_BUFFER: u64 = 64 * 1024;
const INCOMING_BUFFERS: u64 = 16 * 1024 * 1024;
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;
const ANEW: Duration = Duration::from_secs(1);
