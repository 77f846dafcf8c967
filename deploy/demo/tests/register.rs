//! The register over real TLS, as the gateway meets it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking too")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{HeaderMap, Method, Request, StatusCode, client::conn, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use popgate_demo::register::{Citizen, Fault, Faults, Framing, demo, serve, server_config};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn a_record_comes_with_its_validators_on_both_protocols() {
    let register = Register::start().await;
    for alpn in ["h2", "http/1.1"] {
        let mut client = register.client(alpn).await;
        let first = client.person(demo::HOA.number, &[]).await;
        assert_eq!(first.status, StatusCode::OK);
        assert_eq!(first.body, Citizen::of(demo::HOA.number).unwrap().to_json());
        assert_eq!(first.headers[header::CONTENT_TYPE], "application/json");
        assert_eq!(first.headers[header::CACHE_CONTROL], "max-age=60");
        assert_eq!(first.headers[header::CONTENT_LENGTH], first.body.len().to_string());
        let key = first.headers["surrogate-key"].to_str().unwrap();
        assert!(key.starts_with("household-") && key.ends_with(" register-population"), "{key}");
        assert!(!key.contains(&demo::HOA.number.to_string()));

        let etag = first.headers[header::ETAG].to_str().unwrap().to_owned();
        assert!(etag.starts_with('"') && etag.ends_with('"'));
        for known in [etag.clone(), format!("\"x\", W/{etag}"), "*".to_owned()] {
            let again = client.person(demo::HOA.number, &[("if-none-match", &known)]).await;
            assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0), "{known}");
            assert_eq!(again.headers[header::ETAG], etag);
        }
        let other = client.person(demo::MINOR.number, &[("if-none-match", &etag)]).await;
        assert_eq!(other.status, StatusCode::OK);
        assert_ne!(other.headers[header::ETAG], etag);
    }
    assert_eq!(register.faults.requests(), 10);
}

#[tokio::test]
async fn anything_else_is_refused() {
    let register = Register::start().await;
    let mut client = register.client("http/1.1").await;
    for (method, path, status) in [
        (Method::GET, "/persons/000000000000", 404),
        (Method::GET, "/persons/1", 404),
        (Method::GET, "/persons/0011879741180", 404),
        (Method::GET, "/persons/%30", 404),
        (Method::GET, "/", 404),
        (Method::POST, "/nothing", 404),
        (Method::POST, "/persons/001187974118", 405),
        (Method::DELETE, "/healthz", 405),
    ] {
        let answer = client.send(method.clone(), path, &[]).await.unwrap();
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json");
        assert!(!answer.headers.contains_key(header::ETAG));
    }
    assert_eq!(client.send(Method::GET, "/healthz", &[]).await.unwrap().status, 200);
}

#[tokio::test]
async fn without_a_certificate_of_its_authority_nobody_is_answered() {
    let register = Register::start().await;
    let stranger = Pki::new();
    for identity in [None, Some(stranger.leaf())] {
        let Ok(mut client) = register.connect("http/1.1", identity).await else { continue };
        assert!(client.send(Method::GET, "/healthz", &[]).await.is_err());
    }
    assert_eq!((register.faults.requests(), register.faults.connections()), (0, 0));
}

#[tokio::test]
async fn faults_do_what_they_say() {
    let register = Register::start().await;
    let (hoa, minor, faults) = (demo::HOA.number, demo::MINOR.number, &register.faults);
    for alpn in ["http/1.1", "h2"] {
        let mut client = register.client(alpn).await;
        let (plain, other) = (client.person(hoa, &[]).await, client.person(minor, &[]).await);

        faults.swap(hoa, minor);
        assert_eq!(client.person(hoa, &[]).await.body, other.body);
        assert_eq!(client.person(minor, &[]).await.body, plain.body);
        faults.clear();

        faults.set(hoa, Fault { status: Some(StatusCode::SERVICE_UNAVAILABLE), ..Fault::default() });
        let answer = client.person(hoa, &[]).await;
        assert_eq!(
            (answer.status, &answer.headers[header::CONTENT_TYPE]),
            (StatusCode::SERVICE_UNAVAILABLE, &header::HeaderValue::from_static("application/problem+json"),)
        );
        assert_eq!(client.person(minor, &[]).await.status, StatusCode::OK);

        let headers = vec![(header::SET_COOKIE, header::HeaderValue::from_static("a=b"))];
        let body = Some(Bytes::from_static(b"{\"id\":"));
        let cache_control = Some(header::HeaderValue::from_static("no-store"));
        faults.set_everyone(Fault { headers, body, cache_control, ..Fault::default() });
        faults.set(hoa, Fault { framing: Framing::Chunked, ..Fault::default() });
        let answer = client.person(hoa, &[]).await;
        assert_eq!(answer.body, plain.body);
        assert!(!answer.headers.contains_key(header::CONTENT_LENGTH));
        let answer = client.person(minor, &[]).await;
        assert_eq!(answer.body, b"{\"id\":");
        assert_eq!(
            (&answer.headers[header::SET_COOKIE], &answer.headers[header::CACHE_CONTROL]),
            (&header::HeaderValue::from_static("a=b"), &header::HeaderValue::from_static("no-store"),)
        );
        assert_ne!(answer.headers[header::ETAG], other.headers[header::ETAG]);
        faults.clear();

        let pause = Some(Duration::from_millis(50));
        faults.set(hoa, Fault { delay_head: pause, delay_body: pause, ..Fault::default() });
        let start = std::time::Instant::now();
        assert_eq!(client.person(hoa, &[]).await.body, plain.body);
        assert!(start.elapsed() >= Duration::from_millis(100));

        faults.set(hoa, Fault { cut_after: Some(100), ..Fault::default() });
        let cut = client.send(Method::GET, &format!("/persons/{hoa}"), &[]).await;
        assert_eq!(cut.map(|answer| answer.body).unwrap_err(), 100, "so many bytes came before the end");
        faults.clear();
    }
}

#[tokio::test]
async fn received_heads_are_kept_when_asked_for() {
    let register = Register::start().await;
    let mut client = register.client("h2").await;
    client.person(demo::HOA.number, &[("x-before", "1")]).await;
    register.faults.keep_received();
    client.person(demo::HOA.number, &[("x-after", "1")]).await;
    let received = register.faults.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].headers["x-after"], "1");
    assert_eq!((register.faults.open_connections(), register.faults.connections()), (1, 1));
}

#[tokio::test]
async fn a_shutdown_lets_requests_finish() {
    let mut register = Register::start().await;
    let mut client = register.client("http/1.1").await;
    let delay_head = Some(Duration::from_millis(200));
    register.faults.set_everyone(Fault { delay_head, ..Fault::default() });
    let slow = tokio::spawn(async move { client.person(demo::HOA.number, &[]).await.status });
    while register.faults.requests() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(register.stop.take());
    assert_eq!(slow.await.unwrap(), StatusCode::OK);
    tokio::time::timeout(Duration::from_secs(5), register.served).await.unwrap().unwrap();
    assert_eq!(register.faults.open_connections(), 0);
}

struct Register {
    port: u16,
    pki: Pki,
    faults: Faults,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<()>,
}

impl Register {
    async fn start() -> Self {
        let pki = Pki::new();
        let (certificate, key) = pki.leaf();
        let tls = server_config(certificate.as_bytes(), key.as_bytes(), pki.authority.pem().as_bytes()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let faults = Faults::new();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let served = tokio::spawn(serve(listener, tls, faults.clone(), async move { drop(stopped.await) }));
        Self { port, pki, faults, stop: Some(stop), served }
    }

    async fn client(&self, alpn: &str) -> Client {
        self.connect(alpn, Some(self.pki.leaf())).await.unwrap()
    }

    async fn connect(&self, alpn: &str, identity: Option<(String, String)>) -> Result<Client, std::io::Error> {
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

enum Client {
    One(conn::http1::SendRequest<Empty<Bytes>>),
    Two(conn::http2::SendRequest<Empty<Bytes>>),
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Client {
    async fn person(&mut self, number: popgate_demo::register::Number, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, &format!("/persons/{number}"), headers).await.unwrap()
    }

    /// The error is how many bytes of the body came.
    async fn send(&mut self, method: Method, path: &str, headers: &[(&str, &str)]) -> Result<Answer, usize> {
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

struct Pki {
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { authority: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// Certificate and key, PEM, for either side.
    fn leaf(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.signed_by(&key, &self.authority).unwrap().pem(), key.serialize_pem())
    }
}
