//! A client over HTTP/3, for what no well-behaved one does as well: it can be slow, and send frames as it likes.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use h3::client::{RequestStream, SendRequest};
use h3_quinn::{BidiStream, OpenStreams};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use popgate_demo::client::{Answer, Credentials};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ConnectionError, Endpoint, TransportConfig, VarInt};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// A system that can connect over QUIC.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    config: quinn::ClientConfig,
}

/// One open connection.
pub struct Session {
    /// What lies under HTTP/3.
    pub quic: quinn::Connection,
    sender: SendRequest<OpenStreams, Bytes>,
    driver: tokio::task::JoinHandle<h3::error::ConnectionError>,
    // Last: the others need it.
    _endpoint: Endpoint,
}

/// A request whose answer has begun.
pub struct Begun(RequestStream<BidiStream<Bytes>, Bytes>);

/// Why there is no answer.
pub type Failed = Box<dyn std::error::Error + Send + Sync>;

impl Client {
    /// A client for a gateway at that address, whose certificate must name `localhost`.
    ///
    /// # Errors
    /// If the credentials cannot be used.
    pub fn new(address: SocketAddr, credentials: &Credentials) -> Result<Self, Failed> {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(&credentials.authorities) {
            roots.add(authority?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots);
        let mut tls = match &credentials.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = CertificateDer::pem_slice_iter(identity).collect::<Result<Vec<_>, _>>()?;
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(identity)?)?
            }
        };
        tls.alpn_protocols = vec![b"h3".to_vec()];
        tls.enable_early_data = true;
        Ok(Self { address, config: quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?)) })
    }

    /// The same client, which takes so many bytes of an answer and no more before it reads.
    #[must_use]
    pub fn with_window(mut self, bytes: u32) -> Self {
        let mut transport = TransportConfig::default();
        transport.stream_receive_window(bytes.into());
        self.config.transport_config(Arc::new(transport));
        self
    }

    /// Begins a connection from a socket of its own.
    ///
    /// # Errors
    /// If there is no socket.
    pub fn begin(&self) -> Result<(Endpoint, quinn::Connecting), Failed> {
        let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
        let connecting = endpoint.connect_with(self.config.clone(), self.address, "localhost")?;
        Ok((endpoint, connecting))
    }

    /// Opens a connection. The gateway has not looked at the certificate yet when it is open.
    ///
    /// # Errors
    /// If the gateway does not take it.
    pub async fn connect(&self) -> Result<Session, Failed> {
        let (endpoint, connecting) = self.begin()?;
        let quic = connecting.await?;
        let (mut driver, sender) = h3::client::new(h3_quinn::Connection::new(quic.clone())).await?;
        let driver = tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
        Ok(Session { quic, sender, driver, _endpoint: endpoint })
    }

    /// Opens a connection, sends one request and receives its answer.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, Failed> {
        self.connect().await?.send(request).await
    }
}

impl Session {
    /// Sends one request and receives its answer.
    ///
    /// # Errors
    /// If there is no answer, or not a whole one.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, Failed> {
        let (response, begun) = self.start(request).await?;
        begun.rest(response).await
    }

    /// Sends one request and receives the head of its answer.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn start(&mut self, request: Request<Full<Bytes>>) -> Result<(Response<()>, Begun), Failed> {
        let mut stream = self.ask(request).await?;
        let response = stream.recv_response().await?;
        Ok((response, Begun(stream)))
    }

    /// Sends one request.
    ///
    /// # Errors
    /// If the connection is closed.
    pub async fn ask(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<RequestStream<BidiStream<Bytes>, Bytes>, Failed> {
        let (mut parts, body) = request.into_parts();
        parts.uri = format!("https://localhost{}", parts.uri).parse()?;
        let body = body.collect().await?.to_bytes();
        let mut stream = self.sender.send_request(Request::from_parts(parts, ())).await?;
        if !body.is_empty() {
            stream.send_data(body).await?;
        }
        stream.finish().await?;
        Ok(stream)
    }

    /// Sends bytes as a request's stream, ends it, and reads what is in the DATA frames of the answer.
    ///
    /// # Errors
    /// If the stream or the connection is cut off.
    pub async fn raw(&self, bytes: &[u8]) -> Result<Answered, Failed> {
        let (mut send, mut recv) = self.quic.open_bi().await?;
        send.write_all(bytes).await?;
        send.finish()?;
        let answer = recv.read_to_end(1 << 20).await?;
        Ok(Answered(answer))
    }

    /// Waits until the gateway closes the connection: the application's code and reason.
    ///
    /// # Errors
    /// If it ends in another way, or not within ten seconds.
    pub async fn closed(&self) -> Result<(u64, String), Failed> {
        match tokio::time::timeout(Duration::from_secs(10), self.quic.closed()).await? {
            ConnectionError::ApplicationClosed(close) => {
                Ok((close.error_code.into_inner(), String::from_utf8_lossy(&close.reason).into_owned()))
            }
            other => Err(other.into()),
        }
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.quic.close_reason().is_some()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
        self.quic.close(VarInt::from_u32(0x100), b"");
    }
}

impl Begun {
    /// Receives the rest of an answer.
    ///
    /// # Errors
    /// If it breaks off.
    pub async fn rest(mut self, response: Response<()>) -> Result<Answer, Failed> {
        let mut body = BytesMut::new();
        while let Some(mut data) = self.0.recv_data().await? {
            body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
        let (parts, ()) = response.into_parts();
        Ok(Answer { status: parts.status, headers: parts.headers, body: body.freeze() })
    }
}

/// An answer's stream as it came.
#[derive(Debug)]
pub struct Answered(Vec<u8>);

impl Answered {
    /// All of it as text, frames and encoded heads included.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// The code of the refusal in it; empty if it is none.
    pub fn code(&self) -> String {
        let from = self.0.windows(2).position(|two| two == b"{\"").unwrap_or_default();
        let document: serde_json::Value =
            serde_json::from_slice(self.0.get(from..).unwrap_or_default()).unwrap_or_default();
        document.get("code").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    }
}

/// An HTTP/3 frame (RFC 9114, section 7.1).
pub fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [varint(kind), varint(payload.len() as u64)].concat();
    bytes.extend(payload);
    bytes
}

/// A variable-length integer (RFC 9000, section 16), in four bytes.
pub fn varint(value: u64) -> Vec<u8> {
    u32::try_from(value & 0x3fff_ffff).unwrap_or_default().saturating_add(0x8000_0000).to_be_bytes().to_vec()
}

/// An encoded header section (RFC 9204) of literal fields.
pub fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    let mut string = |mark: u8, most: usize, text: &str| {
        match text.len().checked_sub(most) {
            None => bytes.push(mark | u8::try_from(text.len()).unwrap_or_default()),
            Some(more) => {
                bytes.push(mark | u8::try_from(most).unwrap_or_default());
                bytes.push(u8::try_from(more.min(127)).unwrap_or_default());
            }
        }
        bytes.extend(text.as_bytes());
    };
    for (name, value) in fields {
        string(0x20, 7, name);
        string(0x00, 127, value);
    }
    bytes
}

/// DATA.
pub const DATA: u64 = 0x0;
/// HEADERS.
pub const HEADERS: u64 = 0x1;
