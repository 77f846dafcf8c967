//! Who am I: a listener that tells a client what the gateway sees of it, and everything that keeps it from being answered.
//!
//! An integrator whose handshake fails learns an alert's number; here, what is wrong and what to do. The listener takes any client
//! certificate or none, has a thread of its own, reaches no register and shows no person's data. Three things keep it from being
//! of use to anybody else: the client must have the key of the certificate that it asks about; whatever is not written in that
//! certificate (enrolment, revocation) is told only if an authority in force vouches for it; and each network gets little.

mod answer;
pub mod checks;
pub(crate) mod text;
mod tls;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::app::Node;
use crate::networks::{Networks, Rules, Seat};
use answer::Seen;

/// A running listener. Dropping it ends it and all its connections.
#[derive(Debug)]
pub struct Serving {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the listener on a thread of its own; `None` if the configuration has none.
///
/// # Errors
/// If the address is taken, or the thread cannot be had.
pub fn serve(node: &Arc<Node>) -> io::Result<Option<Serving>> {
    let Some(address) = node.config.listen.whoami else { return Ok(None) };
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel();
    let desk = Arc::new(Desk {
        networks: Arc::new(Networks::new(NETWORKS, &node.clock)),
        tls: Mutex::default(),
        node: Arc::clone(node),
    });
    let thread = std::thread::Builder::new().name("whoami".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = desk.accept(listener) => {}
                _ = stopped => {}
            }
        });
    })?;
    Ok(Some(Serving { address, stop: Some(stop), thread: Some(thread) }))
}

impl Serving {
    /// Where it listens: the port that was chosen, if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends by itself; if it panicked that was reported already.
            let _ = thread.join();
        }
    }
}

/// What the connections share.
struct Desk {
    node: Arc<Node>,
    networks: Arc<Networks>,
    /// By the generation of the trust that it was made of.
    tls: Mutex<Option<(u64, Arc<ServerConfig>)>>,
}

impl Desk {
    /// Accepts for ever; the tasks end with the runtime.
    async fn accept(self: &Arc<Self>, listener: TcpListener) {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "the whoami listener cannot be used");
                return;
            }
        };
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => {
                    let network = self.networks.of(peer.ip());
                    // Whoever asked too much is not even shaken hands with: that is what costs.
                    let seat = self.networks.admits(network).then(|| self.networks.seat(network)).flatten();
                    match seat {
                        Some(seat) => {
                            tokio::spawn(Arc::clone(self).connection(socket, peer, seat));
                        }
                        None => tracing::debug!(%peer, "a whoami connection was refused: too many"),
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a whoami connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, socket: TcpStream, peer: SocketAddr, seat: Seat) {
        match tokio::time::timeout(HANDSHAKE, self.handshake(socket)).await {
            Ok(Ok(stream)) => {
                // A diagnosis is one request, or a few: no connection is kept for longer.
                let _ = tokio::time::timeout(LIFE, self.http(stream, peer)).await;
            }
            // The library's errors name what broke, never what a certificate says.
            Ok(Err(error)) => tracing::info!(%peer, %error, "a whoami handshake failed"),
            Err(_) => tracing::info!(%peer, "a whoami handshake took too long"),
        }
        drop(seat);
    }

    async fn handshake(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        socket.set_nodelay(true)?;
        TlsAcceptor::from(self.config()?).accept(socket).await
    }

    async fn http(self: Arc<Self>, stream: TlsStream<TcpStream>, peer: SocketAddr) {
        let seen = Seen::of(stream.get_ref().1, peer);
        let h2 = seen.is_h2();
        let service = service_fn(move |request| self.answered(&seen, &request));
        let ended = if h2 {
            http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(STREAMS)
                .max_header_list_size(HEADERS)
                .max_pending_accept_reset_streams(RESETS)
                .max_local_error_reset_streams(RESETS)
                .serve_connection(TokioIo::new(stream), service)
                .await
        } else {
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HANDSHAKE)
                .max_headers(64)
                .max_buf_size(HEADERS as usize)
                .serve_connection(TokioIo::new(stream), service)
                .await
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "a whoami connection ended");
        }
    }

    fn answered<B>(&self, seen: &Seen, request: &Request<B>) -> Ready<Result<Response<Full<Bytes>>, Infallible>> {
        let admitted = self.networks.admits(self.networks.of(seen.peer().ip()));
        ready(Ok(if admitted { seen.answer(&self.node, request) } else { answer::too_many() }))
    }

    /// The configuration with the certificate in force.
    fn config(&self) -> io::Result<Arc<ServerConfig>> {
        let trust = self.node.trust();
        let mut made = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some((generation, config)) if *generation == trust.generation() => Ok(Arc::clone(config)),
            _ => {
                let config = tls::config(&trust).map_err(io::Error::other)?;
                *made = Some((trust.generation(), Arc::clone(&config)));
                Ok(config)
            }
        }
    }
}

/// For the handshake, and for the head of a request.
const HANDSHAKE: Duration = Duration::from_secs(5);
const LIFE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);
const STREAMS: u32 = 4;
const RESETS: usize = 4;
/// Bytes.
const HEADERS: u32 = 16 << 10;
/// A handshake costs a token, and so does each request.
const NETWORKS: Rules = Rules {
    bits: (24, 56),
    rate: Some((NonZeroU32::MIN.saturating_add(3), NonZeroU32::MIN.saturating_add(59))),
    of_one: 16,
    of_all: 64,
    remembered: 4096,
    crowded: false,
};
