//! A node that runs, asked over its admin listener with an operator's certificate.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Uri, header};
use http_body::Body;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio_rustls::TlsConnector;

use crate::custody::{self, CustodyError};
use settings::Settings;

mod hint;
mod settings;

/// Where to reach a node, and as whom.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(id = "remote")]
pub struct NodeArgs {
    /// Ask a node that runs, at its admin listener, such as https://gateway-1:9443
    ///
    /// Who does not want to type these four sets POPGATE_NODE, POPGATE_NODE_CERT, POPGATE_NODE_KEY and POPGATE_NODE_CA, or
    /// writes `node`, `cert`, `key` and `ca` into ~/.config/popgate/node.toml. A folder or configuration that is named goes first.
    #[arg(long, value_name = "URL")]
    pub node: Option<String>,
    /// With --node: the operator's certificate (PEM)
    #[arg(long, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// With --node: its private key (PEM)
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// With --node: the authority of the node's certificate (PEM)
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

impl NodeArgs {
    /// The node, if one was named: on the command line, in the environment, or in the operator's file.
    ///
    /// # Errors
    /// As [`Node::new`]; or if something that is needed to ask it is named nowhere.
    pub fn node(&self) -> Result<Option<Node>, NodeError> {
        let settings = Settings::of(self, |name| std::env::var_os(name))?;
        settings.map(|Settings { node, cert, key, ca }| Node::new(&node, &cert, &key, &ca)).transpose()
    }
}

/// A node's admin listener. Each call makes a connection of its own, and blocks: not for use within a runtime.
pub struct Node {
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
}

/// What a node answered: a success, always.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The address.
    #[error("`{0}` is not the address of a node: such as https://gateway-1:9443, without a path")]
    Address(String),
    /// A file.
    #[error("cannot read `{file}`: {source}")]
    File {
        /// Which.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// A file's content.
    #[error("`{file}` holds no {what} in PEM")]
    Content {
        /// Which.
        file: String,
        /// What it should hold.
        what: &'static str,
    },
    /// Nothing says how to ask.
    #[error("{what} is missing: type it, set {variable}, or write `{key}` into ~/.config/popgate/node.toml")]
    Missing {
        /// The option.
        what: &'static str,
        /// The variable in its place.
        variable: &'static str,
        /// The file's key in its place.
        key: &'static str,
    },
    /// The operator's file.
    #[error("`{file}` line {line}: {why}")]
    Settings {
        /// Which.
        file: String,
        /// 1-based.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// The private key's file.
    #[error(transparent)]
    Key(#[from] CustodyError),
    /// Certificate and key do not fit together.
    #[error("certificate and key: {0}")]
    Pair(#[from] rustls::Error),
    /// The node cannot be reached.
    #[error("cannot connect to {node}: {source}{}", hint::of_io(source))]
    Connect {
        /// Which.
        node: String,
        /// Why.
        source: io::Error,
    },
    /// The connection broke. A node that does not know the certificate's authority says so in this way.
    #[error("no answer from {node}: {why}")]
    Broken {
        /// Which.
        node: String,
        /// Why.
        why: String,
    },
    /// No answer in time.
    #[error("no answer from {node} within {seconds} s")]
    Timeout {
        /// Which.
        node: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The node refused.
    #[error("{node} refused ({status} {code}): {detail}")]
    Refused {
        /// Which.
        node: String,
        /// The HTTP status.
        status: u16,
        /// The stable code.
        code: String,
        /// What to do.
        detail: String,
    },
}

impl Node {
    /// A node at that address (`https://host[:port]`, by default port 9443), asked with an operator's certificate and key,
    /// whose own certificate is of the authority `ca`.
    ///
    /// # Errors
    /// If the address is none, or a file is not as it must be.
    pub fn new(url: &str, cert: &Path, key: &Path, ca: &Path) -> Result<Self, NodeError> {
        let address = || NodeError::Address(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| address())?;
        let host = uri.host().ok_or_else(address)?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_bare = uri.path() == "/" && uri.query().is_none() && !url.contains('@');
        if uri.scheme_str() != Some("https") || !is_bare {
            return Err(address());
        }
        let name = ServerName::try_from(host.clone()).map_err(|_| address())?;
        let mut roots = RootCertStore::empty();
        for authority in certificates(ca)? {
            roots.add(authority)?;
        }
        let private = PrivateKeyDer::from_pem_slice(&custody::private_file(key)?)
            .map_err(|_| NodeError::Content { file: key.display().to_string(), what: "private key" })?;
        let mut tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates(cert)?, private)?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { port: uri.port_u16().unwrap_or(9443), host, name, tls: Arc::new(tls) })
    }

    /// `GET`.
    ///
    /// # Errors
    /// If there is no answer, or it is a refusal.
    pub fn get(&self, path: &str) -> Result<Reply, NodeError> {
        self.ask(&Wish { method: Method::GET, path, json: None, takes: &[] })
    }

    /// `GET`, where an answer of status 503 is one too: a node that is not ready says why.
    ///
    /// # Errors
    /// If there is no answer, or it is another refusal.
    pub fn readiness(&self) -> Result<Reply, NodeError> {
        let ready = Wish { method: Method::GET, path: "/readyz", json: None, takes: &[503] };
        self.ask(&ready)
    }

    /// `GET` of something long: each piece is handed over as it comes, until `take` says that it has enough.
    ///
    /// # Errors
    /// If there is no answer, it is a refusal, or it breaks off.
    pub fn stream(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
        take: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), NodeError> {
        self.block_on(async {
            let mut request = self.request(Method::GET, path, None)?;
            for (name, value) in headers {
                let value = HeaderValue::from_str(value)
                    .map_err(|_| self.broken(format!("{name} holds what no header can")))?;
                request.headers_mut().insert(*name, value);
            }
            let patient = |_| NodeError::Timeout { node: self.to_string(), seconds: PATIENT.as_secs() };
            let response = tokio::time::timeout(PATIENT, self.exchange(request)).await.map_err(patient)??;
            if !response.status().is_success() {
                return Err(self.refused(self.whole(response).await?));
            }
            let mut body = response.into_body();
            while let Some(frame) = tokio::time::timeout(PATIENT, body.frame()).await.map_err(patient)? {
                let frame = frame.map_err(|error| self.broken(why(&error)))?;
                if frame.data_ref().is_some_and(|piece| !take(piece)) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// `POST` of JSON.
    ///
    /// # Errors
    /// As [`Node::get`].
    pub fn post(&self, path: &str, json: &Value) -> Result<Reply, NodeError> {
        self.ask(&Wish { method: Method::POST, path, json: Some(json), takes: &[] })
    }

    /// `DELETE`.
    ///
    /// # Errors
    /// As [`Node::get`].
    pub fn delete(&self, path: &str) -> Result<Reply, NodeError> {
        self.ask(&Wish { method: Method::DELETE, path, json: None, takes: &[] })
    }

    fn ask(&self, wish: &Wish<'_>) -> Result<Reply, NodeError> {
        self.block_on(async {
            let asked = async {
                let response = self.exchange(self.request(wish.method.clone(), wish.path, wish.json)?).await?;
                self.whole(response).await
            };
            let late = |_| NodeError::Timeout { node: self.to_string(), seconds: TIMEOUT.as_secs() };
            let reply = tokio::time::timeout(TIMEOUT, asked).await.map_err(late)??;
            let is_wanted = (200..300).contains(&reply.status) || wish.takes.contains(&reply.status);
            if is_wanted { Ok(reply) } else { Err(self.refused(reply)) }
        })
    }

    fn block_on<T>(&self, what: impl Future<Output = Result<T, NodeError>>) -> Result<T, NodeError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|source| NodeError::Connect { node: self.to_string(), source })?.block_on(what)
    }

    fn request(&self, method: Method, path: &str, json: Option<&Value>) -> Result<Request<Full<Bytes>>, NodeError> {
        let mut request = Request::new(Full::new(json.map_or_else(Bytes::new, |json| Bytes::from(json.to_string()))));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|_| self.broken(format!("`{path}` cannot be asked for")))?;
        let host = HeaderValue::from_str(&self.host).map_err(|_| NodeError::Address(self.to_string()))?;
        request.headers_mut().insert(header::HOST, host);
        if json.is_some() {
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(request)
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<impl Body<Data = Bytes, Error = hyper::Error> + Unpin>, NodeError> {
        let connect = |source| NodeError::Connect { node: self.to_string(), source };
        let tcp = tokio::net::TcpStream::connect((self.host.as_str(), self.port)).await.map_err(connect)?;
        let tls = TlsConnector::from(Arc::clone(&self.tls)).connect(self.name.clone(), tcp).await.map_err(connect)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.map_err(|error| self.broken(why(&error)))?;
        // It ends with the runtime.
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|error| self.broken(why(&error)))
    }

    async fn whole(
        &self,
        response: Response<impl Body<Data = Bytes, Error = hyper::Error> + Unpin>,
    ) -> Result<Reply, NodeError> {
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
        let body = body.map_err(|error| self.broken(error.to_string()))?.to_bytes();
        Ok(Reply { status, body: String::from_utf8_lossy(&body).into_owned() })
    }

    fn broken(&self, why: String) -> NodeError {
        NodeError::Broken { node: self.to_string(), why }
    }

    fn refused(&self, reply: Reply) -> NodeError {
        let problem = reply.json();
        let told = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
        NodeError::Refused { node: self.to_string(), status: reply.status, code: told("code"), detail: told("detail") }
    }
}

/// What is asked of a node, and which statuses are an answer beside success.
struct Wish<'a> {
    method: Method,
    path: &'a str,
    json: Option<&'a Value>,
    takes: &'a [u16],
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({self})")
    }
}

impl Reply {
    /// The body as JSON; `Null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// A text as a part of a path or query (RFC 3986, section 2.3); `/` stays.
pub fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, NodeError> {
    let name = || file.display().to_string();
    let bytes = std::fs::read(file).map_err(|source| NodeError::File { file: name(), source })?;
    match CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>() {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(NodeError::Content { file: name(), what: "certificate" }),
    }
}

/// hyper's own text leaves out what is underneath: TLS alerts are.
fn why(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        None => error.to_string(),
        Some(source) => {
            let hint = source.downcast_ref::<io::Error>().map_or("", hint::of_io);
            format!("{error}: {source}{hint}")
        }
    }
}

const TIMEOUT: Duration = Duration::from_secs(30);
/// For what a node reads from its disk before it answers.
const PATIENT: Duration = Duration::from_secs(600);
const MOST_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_of_a_node_is_refused_before_a_file_is_read() {
        let none = Path::new("none.pem");
        for url in ["http://a:9443", "https://a:9443/bundle", "a:9443", "https://me@a", "https://", "https://a b", ""] {
            assert!(matches!(Node::new(url, none, none, none), Err(NodeError::Address(_))), "{url}");
        }
        let error = Node::new("https://[::1]", none, none, none).unwrap_err();
        assert!(matches!(error, NodeError::File { .. }), "{error}");
    }

    #[test]
    fn texts_are_encoded_for_paths() {
        assert_eq!(encoded("bank-a/ekyc"), "bank-a/ekyc");
        assert_eq!(encoded("đã xong & rồi"), "%C4%91%C3%A3%20xong%20%26%20r%E1%BB%93i");
    }
}
