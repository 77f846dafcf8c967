//! A listener with a throw-away PKI, and clients.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body as _;
use jiff::SignedDuration;
use popgate_policy::model::DisclosureId;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::accept::{Connection, Counters, Inbound, Options, Serving, Trust, framing, serve, tls};
use crate::app::config;
use crate::clock::Clock;
use crate::pki::{Authority, Client, Issued, Usage, Validity};
use crate::refusal::Refusal;
use crate::respond::{self, Body};

/// Every body that can be made outside the pipeline is a refusal's: this one says `text` under another status.
fn response(text: String) -> ::http::Response<Body> {
    let mut response = refused(&Refusal::ParameterInvalid { detail: text, errors: Vec::new() });
    *response.status_mut() = ::http::StatusCode::OK;
    response
}

fn refused(refusal: &Refusal) -> ::http::Response<Body> {
    respond::refusal(refusal, DisclosureId::from_random(1), false)
}

pub(super) struct Site {
    pub(super) dir: TempDir,
    pub(super) ca: Authority,
    pub(super) clock: Clock,
    pub(super) tls: config::Tls,
}

impl Site {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::system("UTC").unwrap();
        let ca = Authority::create(dir.path(), "ca", Validity::days(clock.wall(), 30)).unwrap();
        let server = ca.issue_server(&["gateway.test".into()], Validity::days(clock.wall(), 30)).unwrap();
        let (certificate, key) = server.write(&dir.path().join("gateway")).unwrap();
        let tls = config::Tls {
            certificate,
            key,
            client_cas: dir.path().join("ca*.pem"),
            crls: Some(dir.path().join("*.crl")),
            crl_grace: Some(Duration::from_secs(3600)),
        };
        Self { dir, ca, clock, tls }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn client(&self) -> Issued {
        self.client_valid(&self.ca, Usage::Client, Validity::days(self.clock.wall(), 30))
    }

    pub(super) fn client_valid(&self, ca: &Authority, usage: Usage, validity: Validity) -> Issued {
        let client = Client {
            uri: Some("spiffe://gov.test/tax/etax".into()),
            common_name: "etax".into(),
            usage,
            ..Client::default()
        };
        ca.issue_client(&client, validity).unwrap()
    }

    pub(super) fn trust(&self, generation: u64) -> Trust {
        Trust::load(&self.tls, generation, &self.clock, None).unwrap().0
    }

    pub(super) fn start(&self) -> Gateway {
        self.start_with(|_| {})
    }

    pub(super) fn start_with(&self, change: impl FnOnce(&mut Options)) -> Gateway {
        let mut options =
            Options { listen: "127.0.0.1:0".parse().unwrap(), cores: 2, http: limits(), door: Arc::default() };
        change(&mut options);
        let (trust, trusted) = watch::channel(Arc::new(self.trust(1)));
        let counters = Arc::new(Counters::default());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let make = {
            let (clock, seen, trusted) = (self.clock.clone(), seen.clone(), trusted.clone());
            move |core| {
                let (clock, seen, trusted) = (clock.clone(), seen.clone(), trusted.clone());
                move |inbound| answer(core, inbound, clock.clone(), seen.clone(), trusted.clone())
            }
        };
        let serving = serve(options, trusted, self.clock.clone(), counters.clone(), make).unwrap();
        Gateway { address: serving.local_addr(), serving, trust, counters, seen, ca: self.ca.certificate_file() }
    }
}

/// A pipeline in small: framing, then the certificate, then an answer that says on which core.
async fn answer(
    core: usize,
    inbound: Inbound,
    clock: Clock,
    seen: Arc<Mutex<Vec<Arc<Connection>>>>,
    trust: watch::Receiver<Arc<Trust>>,
) -> ::http::Response<Body> {
    let Inbound { connection, request } = inbound;
    seen.lock().unwrap().push(connection.clone());
    let (parts, mut client) = request.into_parts();
    if let Err(reason) = framing::check(&parts, connection.protocol) {
        return refused(&Refusal::RequestMalformed { reason });
    }
    let trust = trust.borrow().clone();
    if let Err(refusal) = trust.recheck(&connection.chain, clock.unix()) {
        return refused(&refusal);
    }
    match parts.uri.path() {
        "/too-large" => return refused(&Refusal::BodyTooLarge { limit: 65_536 }),
        "/slow" => tokio::time::sleep(Duration::from_millis(300)).await,
        "/never" => std::future::pending().await,
        _ => {}
    }
    let mut length = 0;
    while let Some(frame) = std::future::poll_fn(|cx| std::pin::Pin::new(&mut client).poll_frame(cx)).await {
        match frame {
            Ok(frame) => length += frame.data_ref().map_or(0, Bytes::len),
            Err(_) => return refused(&Refusal::RequestMalformed { reason: "body" }),
        }
    }
    if parts.uri.path() == "/big" {
        return response("x".repeat(8 << 20));
    }
    response(format!("core {core} read {length}"))
}

pub(super) struct Gateway {
    pub(super) address: SocketAddr,
    pub(super) serving: Serving,
    pub(super) trust: watch::Sender<Arc<Trust>>,
    pub(super) counters: Arc<Counters>,
    pub(super) seen: Arc<Mutex<Vec<Arc<Connection>>>>,
    ca: PathBuf,
}

impl Gateway {
    pub(super) async fn connect(&self, config: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("gateway.test").unwrap(), socket).await
    }

    pub(super) fn config(&self, client: Option<&Issued>) -> ClientConfig {
        self.config_for(client, &[&rustls::version::TLS13, &rustls::version::TLS12], &[])
    }

    pub(super) fn config_for(
        &self,
        client: Option<&Issued>,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&str],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.ca).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match client {
            None => builder.with_no_client_auth(),
            Some(issued) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    /// What a client of this configuration reads after one HTTP/1 request, or how the connection failed.
    pub(super) async fn ask(&self, config: ClientConfig) -> io::Result<String> {
        let mut stream = self.connect(config).await?;
        ask(&mut stream, "GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n").await
    }

    pub(super) fn last_seen(&self) -> Arc<Connection> {
        self.seen.lock().unwrap().last().unwrap().clone()
    }
}

/// Sends bytes and reads one answer with a Content-Length.
pub(super) async fn ask(stream: &mut TlsStream<TcpStream>, request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    loop {
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).await?;
        text.push_str(&String::from_utf8_lossy(&bytes[..read]));
        if read == 0 && text.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
        let got = text.split("\r\n\r\n").nth(1).map_or(0, str::len);
        if read == 0 || length.is_some_and(|length: usize| text.contains("\r\n\r\n") && got >= length) {
            return Ok(text);
        }
    }
}

pub(super) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, future).await.expect("it takes too long")
}

pub(super) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..300 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came about that {what}");
}

pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}

pub(super) fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

fn limits() -> config::Http {
    config::Http {
        http3: true,
        max_connections: 1000,
        connections_per_address: 1000,
        handshakes_per_address: None,
        handshake_timeout: Duration::from_secs(2),
        header_timeout: Duration::from_secs(2),
        idle_timeout: Duration::from_secs(2),
        body_timeout: Duration::from_secs(5),
        max_body: 65_536,
        max_headers: 16_384,
        max_streams: 100,
        max_control_frames: 100,
        bulk_in_flight: 4,
    }
}
