//! A proxy before a real origin on a free port, and clients.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use plain::{Config, Memory, Proxy, serve};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

/// What the origin was asked; it answers when the test says what.
pub(crate) struct Call {
    pub(crate) headers: HeaderMap,
    answer: oneshot::Sender<Option<Response<Channel<Bytes, plain::Error>>>>,
}

pub(crate) struct Origin {
    calls: mpsc::UnboundedReceiver<Call>,
    count: Arc<AtomicUsize>,
}

impl Origin {
    pub(crate) async fn start() -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (send, calls) = mpsc::unbounded_channel();
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (send, counter) = (send.clone(), Arc::clone(&counter));
                let service = service_fn(move |request: Request<Incoming>| {
                    counter.fetch_add(1, Ordering::Relaxed);
                    let (answer, wait) = oneshot::channel();
                    let _ = send.send(Call { headers: request.headers().clone(), answer });
                    async move { wait.await.ok().flatten().ok_or("broken off") }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        (Self { calls, count }, address)
    }

    /// The next request that comes to it.
    pub(crate) async fn call(&mut self) -> Call {
        tokio::time::timeout(Duration::from_secs(5), self.calls.recv()).await.expect("no request came").unwrap()
    }

    /// How many came so far.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Call {
    /// Answers with these fields; the content is sent by the test.
    pub(crate) fn answer(self, status: u16, pairs: &[(&str, &str)]) -> Sender<Bytes, plain::Error> {
        let (sender, body) = Channel::new(16);
        let mut response = Response::builder().status(status);
        for (name, value) in pairs {
            response = response.header(*name, *value);
        }
        let _ = self.answer.send(Some(response.body(body).unwrap()));
        sender
    }

    /// Answers with that content.
    pub(crate) async fn whole(self, pairs: &[(&str, &str)], content: &'static str) {
        let mut sender = self.answer(200, pairs);
        let _ = sender.send_data(Bytes::from_static(content.as_bytes())).await;
    }

    /// Closes the connection instead.
    pub(crate) fn break_off(self) {
        let _ = self.answer.send(None);
    }

    /// Whether the proxy has closed the connection.
    pub(crate) async fn given_up(mut self) {
        tokio::time::timeout(Duration::from_secs(5), self.answer.closed()).await.expect("it is still wanted");
    }
}

/// A proxy before that origin.
pub(crate) async fn proxy(config: Config) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, Arc::new(Proxy::new(config, Arc::new(Memory::new(100))))));
    address
}

/// What a client got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
}

impl Got {
    /// The whole content.
    pub(crate) async fn text(self) -> String {
        String::from_utf8(self.body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    /// The next piece of it.
    pub(crate) async fn piece(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        let frame = tokio::time::timeout(Duration::from_secs(5), self.body.frame()).await.expect("nothing came");
        frame.map(|frame| frame.map(|frame| frame.into_data().unwrap()))
    }

    pub(crate) fn cache_status(&self) -> &str {
        self.headers["cache-status"].to_str().unwrap()
    }
}

/// Asks the proxy, over a connection of its own.
pub(crate) async fn get(proxy: SocketAddr, pairs: &[(&str, &str)]) -> Got {
    send(proxy, "GET", pairs).await
}

/// The same with another method.
pub(crate) async fn send(proxy: SocketAddr, method: &str, pairs: &[(&str, &str)]) -> Got {
    let stream = TcpStream::connect(proxy).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri("/r/1").header("host", "register.example");
    for (name, value) in pairs {
        request = request.header(*name, *value);
    }
    let body = Empty::<Bytes>::new().map_err(|never: Infallible| match never {});
    let (parts, body) = sender.send_request(request.body(body).unwrap()).await.unwrap().into_parts();
    Got { status: parts.status.as_u16(), headers: parts.headers, body }
}

/// Asks in the background.
pub(crate) fn ask(proxy: SocketAddr) -> tokio::task::JoinHandle<Got> {
    tokio::spawn(async move { get(proxy, &[]).await })
}

/// Until what was begun has come to the proxy.
pub(crate) async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}
