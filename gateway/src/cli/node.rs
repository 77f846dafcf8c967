//! A node that runs, asked over its admin listener with an operator's certificate.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio_rustls::TlsConnector;

use crate::custody::{self, CustodyError};

/// Where to reach a node, and as whom.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(id = "remote")]
pub struct NodeArgs {
    /// Ask a node that runs, at its admin listener, such as https://gateway-1:9443
    #[arg(long, value_name = "URL", requires_all = ["cert", "key", "ca"])]
    pub node: Option<String>,
    /// With --node: the operator's certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "node")]
    pub cert: Option<PathBuf>,
    /// With --node: its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "node")]
    pub key: Option<PathBuf>,
    /// With --node: the authority of the node's certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "node")]
    pub ca: Option<PathBuf>,
}

impl NodeArgs {
    /// The node, if one was named.
    ///
    /// # Errors
    /// As [`Node::new`].
    pub fn node(&self) -> Result<Option<Node>, NodeError> {
        match (&self.node, &self.cert, &self.key, &self.ca) {
            (Some(url), Some(cert), Some(key), Some(ca)) => Node::new(url, cert, key, ca).map(Some),
            _ => Ok(None),
        }
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
    /// The private key's file.
    #[error(transparent)]
    Key(#[from] CustodyError),
    /// Certificate and key do not fit together.
    #[error("certificate and key: {0}")]
    Pair(#[from] rustls::Error),
    /// The node cannot be reached.
    #[error("cannot connect to {node}: {source}")]
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
    #[error("no answer from {node} within {} s", TIMEOUT.as_secs())]
    Timeout {
        /// Which.
        node: String,
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
        self.ask(Method::GET, path, None)
    }

    /// `POST` of JSON.
    ///
    /// # Errors
    /// As [`Node::get`].
    pub fn post(&self, path: &str, json: &Value) -> Result<Reply, NodeError> {
        self.ask(Method::POST, path, Some(json))
    }

    /// `DELETE`.
    ///
    /// # Errors
    /// As [`Node::get`].
    pub fn delete(&self, path: &str) -> Result<Reply, NodeError> {
        self.ask(Method::DELETE, path, None)
    }

    fn ask(&self, method: Method, path: &str, json: Option<&Value>) -> Result<Reply, NodeError> {
        let connect = |source| NodeError::Connect { node: self.to_string(), source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(connect)?;
        runtime.block_on(async {
            tokio::time::timeout(TIMEOUT, self.exchange(method, path, json))
                .await
                .unwrap_or_else(|_| Err(NodeError::Timeout { node: self.to_string() }))
        })
    }

    async fn exchange(&self, method: Method, path: &str, json: Option<&Value>) -> Result<Reply, NodeError> {
        let connect = |source| NodeError::Connect { node: self.to_string(), source };
        let broken = |why: String| NodeError::Broken { node: self.to_string(), why };
        let tcp = tokio::net::TcpStream::connect((self.host.as_str(), self.port)).await.map_err(connect)?;
        let tls = TlsConnector::from(Arc::clone(&self.tls)).connect(self.name.clone(), tcp).await.map_err(connect)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.map_err(|error| broken(why(&error)))?;
        // It ends with the runtime.
        tokio::spawn(connection);
        let mut request = Request::new(Full::new(json.map_or_else(Bytes::new, |json| Bytes::from(json.to_string()))));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|_| broken(format!("`{path}` cannot be asked for")))?;
        let host = HeaderValue::from_str(&self.host).map_err(|_| NodeError::Address(self.to_string()))?;
        request.headers_mut().insert(header::HOST, host);
        if json.is_some() {
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let response = sender.send_request(request).await.map_err(|error| broken(why(&error)))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST_BYTES)
            .collect()
            .await
            .map_err(|error| broken(error.to_string()))?;
        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        if status.is_success() {
            return Ok(Reply { status: status.as_u16(), body });
        }
        let problem: Value = serde_json::from_str(&body).unwrap_or_default();
        let told = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
        Err(NodeError::Refused {
            node: self.to_string(),
            status: status.as_u16(),
            code: told("code"),
            detail: told("detail"),
        })
    }
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
    std::error::Error::source(error).map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

const TIMEOUT: Duration = Duration::from_secs(30);
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
