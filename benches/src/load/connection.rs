//! One connection of an agent: kept open, made again when it breaks, and what is sent over it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, StatusCode, Uri, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{sleep, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::desk::{Desk, Job};
use super::tally::End;
use super::{Agent, Http};
use crate::Failure;

/// Keeps one connection of the agent open until all is over, and says when it was there for the first time.
pub(super) async fn keep(desk: Arc<Desk>, door: Arc<Semaphore>, connected: mpsc::UnboundedSender<()>) {
    let mut first = Some((door, connected));
    let mut pause = SHORTEST_PAUSE;
    while !desk.is_over() {
        // At the begin only some handshakes at once: the server is not to be measured at those.
        let permit = match &first {
            Some((door, _)) => door.acquire().await.ok(),
            None => None,
        };
        let made = connect(&desk.agent).await;
        drop(permit);
        match made {
            Ok(connection) => {
                pause = SHORTEST_PAUSE;
                if let Some((_, connected)) = first.take() {
                    let _ = connected.send(());
                }
                connection.serve(&desk).await;
            }
            Err(error) => {
                desk.trouble(error.to_string());
                sleep(pause).await;
                pause = (2 * pause).min(LONGEST_PAUSE);
            }
        }
    }
}

struct Connection {
    sender: Sender,
    driver: JoinHandle<hyper::Result<()>>,
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

/// Why there is no whole answer.
enum Broken {
    /// Not a byte was sent: it may be tried on another connection.
    Unsent,
    Broken,
}

async fn connect(agent: &Agent) -> Result<Connection, Failure> {
    let made = timeout(CONNECT, async {
        let tcp = match agent.source {
            Some(source) => {
                let socket = TcpSocket::new_v4()?;
                socket.bind((source, 0).into())?;
                socket.connect(agent.target).await?
            }
            None => TcpStream::connect(agent.target).await?,
        };
        tcp.set_nodelay(true)?;
        match &agent.tls {
            None => speak(agent.http, tcp).await,
            Some(tls) => {
                let mut tls = rustls::ClientConfig::clone(tls);
                tls.alpn_protocols = vec![match agent.http {
                    Http::One => b"http/1.1".to_vec(),
                    Http::Two => b"h2".to_vec(),
                }];
                let name = ServerName::try_from(agent.host.clone())?;
                speak(agent.http, TlsConnector::from(Arc::new(tls)).connect(name, tcp).await?).await
            }
        }
    });
    made.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn speak<S>(http: Http, stream: S) -> Result<Connection, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let io = TokioIo::new(stream);
    Ok(match http {
        Http::One => {
            let (sender, connection) = http1::handshake(io).await?;
            Connection { sender: Sender::One(sender), driver: tokio::spawn(connection) }
        }
        Http::Two => {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            Connection { sender: Sender::Two(sender), driver: tokio::spawn(connection) }
        }
    })
}

impl Connection {
    /// Sends what is due until the connection breaks, or all is over.
    async fn serve(self, desk: &Arc<Desk>) {
        // Dropped, it tells those who wait for work on a connection that is no more.
        let (open, closed) = watch::channel(());
        let mut workers = JoinSet::new();
        let close = self.driver.abort_handle();
        match self.sender {
            Sender::One(sender) => drop(workers.spawn(work(Arc::clone(desk), Sender::One(sender), closed, close))),
            Sender::Two(sender) => {
                for _ in 0..desk.agent.streams.max(1) {
                    let sender = Sender::Two(sender.clone());
                    workers.spawn(work(Arc::clone(desk), sender, closed.clone(), close.clone()));
                }
            }
        }
        let _ = self.driver.await;
        drop(open);
        while workers.join_next().await.is_some() {}
    }
}

/// One request at a time.
async fn work(desk: Arc<Desk>, mut sender: Sender, mut closed: watch::Receiver<()>, close: AbortHandle) {
    let Some(target) = Target::of(&desk.agent) else { return };
    while sender.ready().await {
        let job = tokio::select! {
            job = desk.next() => job,
            _ = closed.changed() => return,
        };
        let Some(job) = job else { return };
        if !once(&desk, job, &mut sender, &target).await {
            // An answer that was given up may still come: nothing else can use the connection.
            if matches!(sender, Sender::One(_)) {
                close.abort();
                return;
            }
        }
    }
}

/// Sends it and counts its end; whether the connection can be used further.
async fn once(desk: &Desk, job: Job, sender: &mut Sender, target: &Target) -> bool {
    let request = target.address((desk.agent.request)(job.number), desk.agent.http);
    let patience = job.due + desk.agent.timeout;
    match timeout_at(patience.into(), sender.exchange(request)).await {
        Ok(Ok((status, bytes))) => {
            desk.ended(job, End::Answered(status, bytes));
            true
        }
        Ok(Err(Broken::Unsent)) => {
            desk.put_back(job);
            false
        }
        Ok(Err(Broken::Broken)) => {
            desk.ended(job, End::Broken);
            false
        }
        Err(_) => {
            desk.ended(job, End::TimedOut);
            false
        }
    }
}

impl Sender {
    async fn ready(&mut self) -> bool {
        match self {
            Self::One(sender) => sender.ready().await.is_ok(),
            Self::Two(sender) => sender.ready().await.is_ok(),
        }
    }

    /// The status, and how many bytes the body had.
    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<(StatusCode, u64), Broken> {
        let unsent = |mut error: TrySendError<_>| match error.take_message() {
            Some(_) => Broken::Unsent,
            None => Broken::Broken,
        };
        let response = match self {
            Self::One(sender) => sender.try_send_request(request).await.map_err(unsent)?,
            Self::Two(sender) => sender.try_send_request(request).await.map_err(unsent)?,
        };
        let (head, mut body) = response.into_parts();
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Broken::Broken)?;
            bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        Ok((head.status, bytes))
    }
}

/// How requests name the server.
struct Target {
    host: HeaderValue,
    authority: Authority,
}

impl Target {
    fn of(agent: &Agent) -> Option<Self> {
        let host = HeaderValue::from_str(&agent.host).ok()?;
        Some(Self { host, authority: agent.host.parse().ok()? })
    }

    fn address(&self, request: Request<Bytes>, http: Http) -> Request<Full<Bytes>> {
        let mut request = request.map(Full::new);
        match http {
            Http::One => drop(request.headers_mut().insert(HOST, self.host.clone())),
            Http::Two => {
                let path = request.uri().path_and_query().cloned();
                let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
                let uri = Uri::builder().scheme(Scheme::HTTPS).authority(self.authority.clone()).path_and_query(path);
                // All parts are there and valid: it cannot fail.
                *request.uri_mut() = uri.build().unwrap_or_default();
                *request.version_mut() = Version::HTTP_2;
            }
        }
        request
    }
}

/// TCP, TLS and the preface.
const CONNECT: Duration = Duration::from_secs(5);
/// Between tries to connect; doubled each time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(320);
