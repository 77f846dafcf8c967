//! HTTP/1 and HTTP/2 over one accepted stream, by hyper. The protocol is what ALPN chose, never what the bytes look like.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::header::{ALT_SVC, CONNECTION};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::{Executor, Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::connection::{Broken, Farewell, Graceful, State, Turn, drive};
use super::io::{Metered, linger};
use super::listen::Core;
use super::{ClientBody, CloseConnection, Connection, Inbound, Protocol};
use crate::app::config;
use crate::respond::Body;

/// Serves the requests of one connection.
pub(super) async fn serve<S, F>(
    core: &Rc<Core<S>>,
    connection: Arc<Connection>,
    generation: u64,
    stream: TlsStream<TcpStream>,
    state: &Rc<State>,
) where
    S: Fn(Inbound) -> F + 'static,
    F: Future<Output = http::Response<Body>> + 'static,
{
    let stream = Rc::new(RefCell::new(stream));
    let io = TokioIo::new(Metered::new(stream.clone(), core.clock.clone(), state.clone()));
    let service = {
        let (core, connection, state) = (core.clone(), connection.clone(), state.clone());
        service_fn(move |request| answer(&core, &connection, &state, request))
    };
    let farewell = match connection.protocol {
        Protocol::H1 => {
            let http = pin!(http1(&core.http).serve_connection(io, service));
            drive(core, &connection, generation, http, state).await
        }
        // No TLS connection over TCP is offered HTTP/3.
        Protocol::H2 | Protocol::H3 => {
            let http = pin!(http2(&core.http).serve_connection(io, service));
            drive(core, &connection, generation, http, state).await
        }
    };
    if let (Farewell::Linger, Ok(stream)) = (farewell, Rc::try_unwrap(stream)) {
        linger(stream.into_inner()).await;
    }
}

impl<I, S> Graceful for http1::Connection<I, S>
where
    I: Read + Write + Unpin + 'static,
    S: HttpService<Incoming, ResBody = Outgoing, Error = Infallible>,
{
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Future::poll(self, cx).map_err(broken)
    }

    fn graceful_shutdown(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S> Graceful for http2::Connection<I, S, OnThisCore>
where
    I: Read + Write + Unpin + 'static,
    S: HttpService<Incoming, ResBody = Outgoing, Error = Infallible>,
    S::Future: 'static,
{
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Future::poll(self, cx).map_err(broken)
    }

    fn graceful_shutdown(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

fn broken(error: hyper::Error) -> Broken {
    Broken { linger: error.is_parse() || error.is_timeout(), error: Box::new(error) }
}

/// Bounds on HTTP/1. No upgrades: hyper is never asked for them.
fn http1(config: &config::Http) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // hyper's timer runs from the end of the last response: only a bound on both, `drive` times each.
        .header_read_timeout(config.idle_timeout + config.header_timeout)
        .half_close(false)
        .keep_alive(true)
        .max_header_size(config.max_headers)
        .max_buf_size(config.max_headers.max(MIN_BUFFER));
    builder
}

/// Bounds on HTTP/2 (the windows and streams of an edge proxy). No server push (hyper has none), no extended CONNECT.
fn http2(config: &config::Http) -> http2::Builder<OnThisCore> {
    let mut builder = http2::Builder::new(OnThisCore);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(u32::try_from(config.max_headers).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(LOCAL_RESETS)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

fn answer<S, F>(
    core: &Rc<Core<S>>,
    connection: &Arc<Connection>,
    state: &Rc<State>,
    request: http::Request<Incoming>,
) -> impl Future<Output = Result<http::Response<Outgoing>, Infallible>> + use<S, F>
where
    S: Fn(Inbound) -> F,
    F: Future<Output = http::Response<Body>>,
{
    let fault = state.arrived();
    let mut turn = Turn::new(state, &core.clock);
    let mut request = request.map(ClientBody::of_http);
    if let Some(fault) = fault {
        request.extensions_mut().insert(fault);
    }
    let answer = (core.service)(Inbound { connection: connection.clone(), request });
    let (protocol, alt_svc) = (connection.protocol, core.alt_svc.clone());
    async move {
        let mut response = answer.await;
        if response.extensions().get::<CloseConnection>().is_some() {
            if protocol == Protocol::H1 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            turn.close();
        }
        if let Some(alt_svc) = alt_svc {
            response.headers_mut().insert(ALT_SVC, alt_svc);
        }
        turn.now_waits(false);
        Ok(response.map(|body| Outgoing { body, turn }))
    }
}

/// The response body with its place among the connection's requests.
pub(super) struct Outgoing {
    body: Body,
    turn: Turn,
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.turn.now_waits(frame.is_pending());
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// HTTP/2 streams run as tasks on the core of their connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct OnThisCore;

impl<F: Future + 'static> Executor<F> for OnThisCore {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const MAX_FRAME: u32 = 16 * 1024;
/// Per stream: what a client may leave unread.
const SEND_BUFFER: usize = 64 * 1024;
const PENDING_RESETS: usize = 20;
const LOCAL_RESETS: usize = 256;
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// hyper panics below it.
const MIN_BUFFER: usize = 8192;
