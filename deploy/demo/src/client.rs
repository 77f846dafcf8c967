//! An agency's side: a small HTTPS client with a client certificate, for the demonstration, the tests and the benches.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What a system needs to connect: authorities to trust, and its own certificate and key (PEM).
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The gateway's authorities.
    pub authorities: Vec<u8>,
    /// The system's chain and key in one PEM; `None` to come without.
    pub identity: Option<Vec<u8>>,
}

/// A system that can connect to the gateway.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
}

/// One open connection.
#[derive(Debug)]
pub struct Session(Sender);

#[derive(Debug)]
enum Sender {
    H1(http1::SendRequest<Full<Bytes>>),
    H2(http2::SendRequest<Full<Bytes>>),
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Which HTTP a client offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Http {
    /// HTTP/1.1.
    One,
    /// HTTP/2.
    Two,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The credentials are no PEM of their kind.
    #[error("credentials: {0}")]
    Credentials(String),
    /// TCP or TLS.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// HTTP.
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

impl Client {
    /// A client for a gateway at that address, whose certificate must name `localhost`.
    ///
    /// # Errors
    /// If the credentials cannot be used.
    pub fn new(address: SocketAddr, credentials: &Credentials, http: Http) -> Result<Self, ClientError> {
        Self::with_versions(address, credentials, http, rustls::DEFAULT_VERSIONS)
    }

    /// The same, with these TLS versions only.
    ///
    /// # Errors
    /// If the credentials cannot be used.
    pub fn with_versions(
        address: SocketAddr,
        credentials: &Credentials,
        http: Http,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Result<Self, ClientError> {
        let bad = |what: &dyn std::fmt::Display| ClientError::Credentials(what.to_string());
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(&credentials.authorities) {
            roots.add(authority.map_err(|error| bad(&error))?).map_err(|error| bad(&error))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| bad(&error))?
            .with_root_certificates(roots);
        let mut tls = match &credentials.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain: Vec<_> =
                    CertificateDer::pem_slice_iter(identity).collect::<Result<_, _>>().map_err(|error| bad(&error))?;
                let key = PrivateKeyDer::from_pem_slice(identity).map_err(|error| bad(&error))?;
                let key = provider.key_provider.load_private_key(key).map_err(|error| bad(&error))?;
                // The library's own way refuses to show certificates that it would not accept.
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key))))
            }
        };
        tls.alpn_protocols = vec![match http {
            Http::One => b"http/1.1".to_vec(),
            Http::Two => b"h2".to_vec(),
        }];
        Ok(Self { address, tls: Arc::new(tls) })
    }

    /// Where the gateway is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens the TLS connection alone.
    ///
    /// # Errors
    /// If the gateway does not take it.
    pub async fn connect_tls(&self) -> Result<TlsStream<TcpStream>, ClientError> {
        self.connect_tls_over(TcpStream::connect(self.address).await?).await
    }

    /// Opens it over a socket that is connected to [`Client::address`].
    ///
    /// # Errors
    /// If the gateway does not take it.
    pub async fn connect_tls_over(&self, tcp: TcpStream) -> Result<TlsStream<TcpStream>, ClientError> {
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").map_err(|error| ClientError::Credentials(error.to_string()))?;
        Ok(TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await?)
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// If the gateway does not take it.
    pub async fn connect(&self) -> Result<Session, ClientError> {
        let tls = self.connect_tls().await?;
        let two = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(tls);
        Ok(Session(if two {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            Sender::H2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await?;
            tokio::spawn(connection);
            Sender::H1(sender)
        }))
    }

    /// Opens a connection, sends one request and receives its answer.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, ClientError> {
        self.connect().await?.send(request).await
    }
}

impl Session {
    /// Sends one request and receives its answer.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, ClientError> {
        Answer::receive(self.start(request).await?).await
    }

    /// Sends one request and receives the head of its answer.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn start(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<hyper::body::Incoming>, ClientError> {
        match &mut self.0 {
            Sender::H1(sender) => {
                sender.ready().await?;
                request.headers_mut().insert(http::header::HOST, http::HeaderValue::from_static("localhost"));
                Ok(sender.send_request(request).await?)
            }
            Sender::H2(sender) => {
                sender.ready().await?;
                let target = format!("https://localhost{}", request.uri());
                *request.uri_mut() = target
                    .parse()
                    .map_err(|error: http::uri::InvalidUri| ClientError::Credentials(error.to_string()))?;
                Ok(sender.send_request(request).await?)
            }
        }
    }

    /// Whether the other side has closed the connection.
    pub fn is_closed(&self) -> bool {
        match &self.0 {
            Sender::H1(sender) => sender.is_closed(),
            Sender::H2(sender) => sender.is_closed(),
        }
    }
}

impl Answer {
    /// Receives the rest of an answer.
    ///
    /// # Errors
    /// If it breaks off.
    pub async fn receive(response: Response<hyper::body::Incoming>) -> Result<Self, ClientError> {
        let (parts, body) = response.into_parts();
        Ok(Self { status: parts.status, headers: parts.headers, body: body.collect().await?.to_bytes() })
    }

    /// The body as JSON; `Null` if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A refusal's stable code; empty if it is none.
    pub fn code(&self) -> String {
        self.told("code")
    }

    /// What a refusal tells under that name; empty if nothing.
    pub fn told(&self, name: &str) -> String {
        self.json().get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    }
}

/// A `GET` for a purpose.
pub fn get(path: &str, purpose: Option<&str>) -> Request<Full<Bytes>> {
    request(Method::GET, path, purpose, Bytes::new())
}

/// A `POST` of JSON for a purpose.
pub fn post(path: &str, purpose: Option<&str>, body: &serde_json::Value) -> Request<Full<Bytes>> {
    let mut request = request(Method::POST, path, purpose, Bytes::from(body.to_string()));
    request.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    request
}

fn request(method: Method, path: &str, purpose: Option<&str>, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    if let Ok(target) = path.parse() {
        *request.uri_mut() = target;
    }
    if let Some(purpose) = purpose.and_then(|purpose| http::HeaderValue::from_str(purpose).ok()) {
        request.headers_mut().insert("gateway-purpose", purpose);
    }
    request
}
