//! A register of a test's own: certificates, listener, client.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{HeaderMap, Method, Request, StatusCode, client::conn, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use popgate_demo::register::{Faults, Number, Service, serve_one, server_config};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::net::{TcpListener, TcpStream};

pub(crate) struct Register {
    pub(crate) port: u16,
    pub(crate) pki: Pki,
    pub(crate) faults: Faults,
    pub(crate) stop: Option<tokio::sync::oneshot::Sender<()>>,
    pub(crate) served: tokio::task::JoinHandle<()>,
}

impl Register {
    pub(crate) async fn start(service: Service) -> Self {
        let pki = Pki::new();
        let (certificate, key) = pki.leaf();
        let tls = server_config(certificate.as_bytes(), key.as_bytes(), pki.authority.pem().as_bytes()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let faults = Faults::new();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let served =
            tokio::spawn(serve_one(listener, tls, service, faults.clone(), async move { drop(stopped.await) }));
        Self { port, pki, faults, stop: Some(stop), served }
    }

    pub(crate) async fn client(&self, alpn: &str) -> Client {
        self.connect(alpn, Some(self.pki.leaf())).await.unwrap()
    }

    pub(crate) async fn connect(
        &self,
        alpn: &str,
        identity: Option<(String, String)>,
    ) -> Result<Client, std::io::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.pki.authority.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots);
        let mut config = match identity {
            Some((certificate, key)) => {
                let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn.as_bytes()));
        let stream = TokioIo::new(stream);
        if alpn == "h2" {
            let (client, connection) = conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
            tokio::spawn(connection);
            Ok(Client::Two(client))
        } else {
            let (client, connection) = conn::http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            Ok(Client::One(client))
        }
    }
}

pub(crate) enum Client {
    One(conn::http1::SendRequest<Empty<Bytes>>),
    Two(conn::http2::SendRequest<Empty<Bytes>>),
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) async fn person(&mut self, number: Number, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, &format!("/persons/{number}"), headers).await.unwrap()
    }

    /// The error is how many bytes of the body came.
    pub(crate) async fn send(&mut self, method: Method, path: &str, headers: &[(&str, &str)]) -> Result<Answer, usize> {
        let uri = format!("https://localhost{path}");
        let mut request = Request::builder().method(method).uri(uri).header(header::HOST, "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::new()).unwrap();
        let response = match self {
            Self::One(client) => {
                client.ready().await.map_err(|_| 0_usize)?;
                let (mut head, body) = request.into_parts();
                head.uri = path.parse().unwrap();
                client.send_request(Request::from_parts(head, body)).await
            }
            Self::Two(client) => client.send_request(request).await,
        };
        let (head, mut incoming) = response.map_err(|_| 0_usize)?.into_parts();
        let mut body = Vec::new();
        while let Some(frame) = incoming.frame().await {
            match frame {
                Ok(frame) => body.extend_from_slice(&frame.into_data().unwrap_or_default()),
                Err(_) => return Err(body.len()),
            }
        }
        Ok(Answer { status: head.status, headers: head.headers, body })
    }
}

pub(crate) struct Pki {
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { authority: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// Certificate and key, PEM, for either side.
    pub(crate) fn leaf(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.signed_by(&key, &self.authority).unwrap().pem(), key.serialize_pem())
    }
}
