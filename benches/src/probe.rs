//! An open-loop client that judges every answer: whether it is whole, and about who was asked for.
//!
//! Requests are due at an even rate, whatever becomes of those before; each takes a kept connection, or makes one.
//! Latency counts from when a request was due.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::Failure;

/// Whom it asks, and for what.
#[derive(Clone)]
pub struct Probe {
    /// The proxy.
    pub target: SocketAddr,
    /// With a client certificate. Protocols (ALPN) are set here.
    pub tls: Arc<ClientConfig>,
    /// The path of a request, without the person's number.
    pub path: String,
    /// The number of the n-th person; nobody should come twice.
    pub person: fn(u64) -> String,
    /// Whether the body of a 200 is whole, and about that person.
    pub is_right: fn(&str, &[u8]) -> bool,
    /// A second, evenly.
    pub rate: f64,
    /// At first fewer: the rate grows from nothing so long, so that connections are not all made at once.
    pub ramp: Duration,
    /// For how long.
    pub lasts: Duration,
    /// From when a request was due: how long it is waited for.
    pub patience: Duration,
    /// The most connections at once.
    pub connections: usize,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 200, whole, about the person.
    Right,
    /// 200 and complete by its framing, but no whole record of the person.
    Wrong,
    /// Another status.
    Refused(u16),
    /// The connection or the answer broke off.
    Broken,
    /// Nothing whole in time.
    Late,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Since the begin.
    pub due: Duration,
    /// From then to the last byte, or to what went wrong.
    pub took: Duration,
    /// By how much the probe itself was late to begin it; part of `took`.
    pub lag: Duration,
    /// What became of it.
    pub verdict: Verdict,
}

impl Probe {
    /// Asks until `lasts` is over, and waits for the last answers. `first` is the first person.
    ///
    /// # Errors
    /// If the machine gives no runtime.
    pub fn run(self, first: u64, begun: &std::sync::mpsc::Sender<std::time::Instant>) -> Result<Vec<Seen>, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.ask(first, begun))
    }

    async fn ask(self, first: u64, begun: &std::sync::mpsc::Sender<std::time::Instant>) -> Result<Vec<Seen>, Failure> {
        let mut tls = (*self.tls).clone();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let asker = Arc::new(Asker {
            tls: TlsConnector::from(Arc::new(tls)),
            idle: Mutex::default(),
            slots: Semaphore::new(self.connections),
            probe: self,
        });
        let begin = Instant::now() + Duration::from_millis(10);
        begun.send(begin.into_std())?;
        let mut tasks = Vec::new();
        for n in 0.. {
            let since = asker.probe.due(n);
            if since >= asker.probe.lasts {
                break;
            }
            let due = begin + since;
            tokio::time::sleep_until(due).await;
            let (asker, lag) = (Arc::clone(&asker), due.elapsed());
            tasks.push(tokio::spawn(async move {
                let answered = tokio::time::timeout_at(due + asker.probe.patience, asker.one(first + n)).await;
                let verdict = answered.unwrap_or(Ok(Verdict::Late)).unwrap_or(Verdict::Broken);
                Seen { due: since, took: due.elapsed(), lag, verdict }
            }));
        }
        let mut all = Vec::with_capacity(tasks.len());
        for task in tasks {
            all.push(task.await?);
        }
        Ok(all)
    }
}

impl Probe {
    /// When the n-th request is due, since the begin.
    fn due(&self, n: u64) -> Duration {
        let (n, ramp) = (n as f64, self.ramp.as_secs_f64());
        let in_ramp = self.rate * ramp / 2.0;
        let seconds = if n < in_ramp { (2.0 * ramp * n / self.rate).sqrt() } else { ramp + (n - in_ramp) / self.rate };
        Duration::from_secs_f64(seconds)
    }
}

struct Asker {
    probe: Probe,
    tls: TlsConnector,
    idle: Mutex<Vec<SendRequest<Empty<Bytes>>>>,
    slots: Semaphore,
}

impl Asker {
    async fn one(&self, n: u64) -> Result<Verdict, Failure> {
        let person = (self.probe.person)(n);
        let _slot = self.slots.acquire().await?;
        loop {
            let kept = self.locked().pop();
            let is_kept = kept.is_some();
            let mut line = match kept {
                Some(line) => line,
                None => self.connect().await?,
            };
            if line.ready().await.is_err() {
                if is_kept {
                    continue;
                }
                return Ok(Verdict::Broken);
            }
            let mut request = Request::get(format!("{}{person}", self.probe.path)).body(Empty::new())?;
            request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
            let response = match line.try_send_request(request).await {
                Ok(response) => response,
                // It had ended before it took the request.
                Err(failed) if is_kept && failed.message().is_some() => continue,
                Err(failed) => return Err(failed.into_error().into()),
            };
            let status = response.status().as_u16();
            let body = response.into_body().collect().await?.to_bytes();
            self.locked().push(line);
            return Ok(match status {
                200 if (self.probe.is_right)(&person, &body) => Verdict::Right,
                200 => Verdict::Wrong,
                status => Verdict::Refused(status),
            });
        }
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, Failure> {
        let tcp = TcpStream::connect(self.probe.target).await?;
        tcp.set_nodelay(true)?;
        let tls = self.tls.connect(ServerName::try_from("localhost")?, tcp).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(tls)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Vec<SendRequest<Empty<Bytes>>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
