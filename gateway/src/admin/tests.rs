//! Over real TLS, with a throw-away authority.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use popgate_policy::directory::Identity;
use popgate_policy::model::DisclosureId;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::*;
use crate::app::config::Role;
use crate::app::trace::Trace;

mod cache;

struct Site {
    dir: tempfile::TempDir,
    authority: Issuer<'static, KeyPair>,
    authority_pem: String,
}

struct Answer {
    status: u16,
    kind: String,
    body: String,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (authority, authority_pem) = authority();
        let site = Self { dir, authority, authority_pem };
        fs::write(site.path("ca.pem"), &site.authority_pem).unwrap();
        site.issue_server("server");
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn issue_server(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        fs::set_permissions(self.path(&format!("{name}.key")), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn settings(&self) -> Settings {
        let operator = |name: &str, roles: &[Role]| {
            let identity = Identity::Uri(format!("spiffe://gov.vn/operator/{name}"));
            (name.to_owned(), Operator { identity, roles: roles.to_vec(), register: None })
        };
        Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            certificate: self.path("server.pem"),
            key: self.path("server.key"),
            client_cas: self.path("ca.pem"),
            crls: None,
            operators: [operator("linh", &[Role::Viewer]), operator("minh", &[Role::Auditor])].into(),
        }
    }

    /// A list that revokes one serial number, or none.
    fn revocation_list(&self, serial: &[u8]) -> String {
        let revoked = (!serial.is_empty()).then(|| rcgen::RevokedCertParams {
            serial_number: rcgen::SerialNumber::from_slice(serial),
            revocation_time: rcgen::date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(if serial.is_empty() { 2025 } else { 2026 }, 1, 1),
            next_update: rcgen::date_time_ymd(2100, 1, 1),
            crl_number: rcgen::SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.into_iter().collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        params.signed_by(&self.authority).unwrap().pem().unwrap()
    }

    /// Asks as an operator; `None` without a certificate.
    async fn get(&self, address: SocketAddr, operator: Option<&str>, path: &str) -> Result<Answer, String> {
        let identity = operator.map(|name| client(&self.authority, name));
        get(&self.authority_pem, address, identity, path).await
    }
}

fn authority() -> (Issuer<'static, KeyPair>, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).unwrap();
    let pem = certificate.pem();
    (Issuer::new(params, key), pem)
}

type ClientIdentity = (CertificateDer<'static>, PrivateKeyDer<'static>);

fn client(authority: &Issuer<'static, KeyPair>, name: &str) -> ClientIdentity {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    let uri = format!("spiffe://gov.vn/operator/{name}");
    params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())];
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
}

async fn get(
    trusted: &str,
    address: SocketAddr,
    identity: Option<ClientIdentity>,
    path: &str,
) -> Result<Answer, String> {
    let request = http::Request::get(path).header("host", "localhost").body(Empty::<bytes::Bytes>::new()).unwrap();
    send(trusted, address, identity, request).await
}

async fn send<B>(
    trusted: &str,
    address: SocketAddr,
    identity: Option<ClientIdentity>,
    request: http::Request<B>,
) -> Result<Answer, String>
where
    B: http_body::Body<Data = bytes::Bytes, Error = std::convert::Infallible> + Send + 'static,
{
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match identity {
        Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    let stream = tokio::net::TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("localhost").unwrap();
    let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(io).await.map_err(|error| format!("{error:?}"))?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| format!("{error:?}"))?;
    let status = response.status().as_u16();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    Ok(Answer { status, kind, body: String::from_utf8(body.to_vec()).unwrap() })
}

fn state(not_ready: &[&str]) -> AdminState {
    let not_ready: Vec<String> = not_ready.iter().map(|reason| (*reason).to_owned()).collect();
    AdminState {
        metrics: Arc::new(Metrics::new()),
        status: Arc::new(move || Status {
            not_ready: not_ready.clone(),
            bundle: None,
            bundle_refused: vec![],
            trust: TrustStatus { generation: 7, warnings: vec![], refused: None },
            registers: vec![],
            shadow: None,
            harvest: Vec::new(),
            share: None,
            changes: None,
            suspensions: SuspensionsStatus::default(),
            break_glass: BreakGlassStatus::default(),
        }),
        collect: Arc::new(|| ()),
        suspensions: Arc::new(|ask| Ok(format!("{ask:?}").into())),
        harvest: HarvestGuard { list: Arc::new(Vec::new), pardon: Arc::new(|_, _, _| Ok(false)) },
        break_glass: Arc::new(|ask| Ok(format!("{ask:?}").into())),
        bundles: Arc::new(|ask| Ok(format!("{ask:?}").into())),
        cache: Arc::new(|ask| Ok(format!("{ask:?}").into())),
        reads: Arc::new(Told),
    }
}

/// Tells what it was asked for instead of a log.
struct Told;

impl Reads for Told {
    fn bundle(&self) -> Option<(Arc<popgate_policy::bundle::Bundle>, jiff::civil::Date)> {
        None
    }

    fn log(&self, ask: &LogAsk, out: &mut dyn std::io::Write) -> Result<(), LogError> {
        match ask {
            LogAsk::Entries { about: Some(crate::records::About::Number(_)), unseal: None, .. } => {
                Err(LogError::Unexplained)
            }
            LogAsk::Entries { wanted, .. } if wanted.limit == Some(7) => {
                (0..20_000).try_for_each(|line| writeln!(out, "line {line}"))?;
                Ok(())
            }
            ask => Ok(writeln!(out, "{ask:?}")?),
        }
    }

    fn explain(&self, _id: DisclosureId, _is_given_up: &dyn Fn() -> bool) -> Result<Option<Trace>, LogError> {
        Ok(None)
    }
}

#[tokio::test]
async fn the_log_is_for_auditors_and_what_is_asked_of_it_is_read_strictly() {
    let site = Site::new();
    let server = start(site.settings(), state(&[])).unwrap();
    let table = [
        ("linh", "/audit/verify", 403, "needs the role `auditor`"),
        ("linh", "/audit/entries", 403, "needs the role `auditor`"),
        ("minh", "/audit/verify", 200, "Verify(Json)"),
        ("minh", "/audit/entries?system=tax%2Fetax&limit=3", 200, "limit: Some(3)"),
        ("minh", "/audit/entries?since=2026-11-21T08:00:00Z", 200, "since: Some(2026-11-21T08:00:00Z)"),
        ("minh", "/audit/entries?since=yesterday", 400, "`since` is a time"),
        ("minh", "/audit/entries?limit=0", 400, "from 1 to 10000"),
        ("minh", "/audit/entries?sytem=tax", 400, "the parameters are since, until"),
        ("minh", "/audit/entries?subject=000187000001", 400, "reason_missing"),
        ("minh", "/audit/entries?subject=0123456789abcdef0123456789abcdef", 200, "Tag"),
        ("minh", "/agencies", 500, "internal"),
    ];
    for (operator, path, status, part) in table {
        let answer = site.get(server.local_addr(), Some(operator), path).await.unwrap();
        assert_eq!(answer.status, status, "{operator} {path}: {}", answer.body);
        assert!(answer.body.contains(part), "{operator} {path}: {}", answer.body);
    }
    let long = site.get(server.local_addr(), Some("minh"), "/audit/entries?limit=7").await.unwrap();
    assert_eq!(long.body.lines().count(), 20_000, "every piece arrives");
    assert!(long.body.ends_with("line 19999\n"));
}

/// Reads a log that never ends.
#[derive(Default)]
struct Endless {
    readers: AtomicU64,
    /// Whether it goes on though nobody waits for it.
    deaf: bool,
    over: AtomicBool,
}

impl Reads for Endless {
    fn bundle(&self) -> Option<(Arc<popgate_policy::bundle::Bundle>, jiff::civil::Date)> {
        None
    }

    fn log(&self, _ask: &LogAsk, _out: &mut dyn std::io::Write) -> Result<(), LogError> {
        Ok(())
    }

    fn explain(&self, _id: DisclosureId, is_given_up: &dyn Fn() -> bool) -> Result<Option<Trace>, LogError> {
        self.readers.fetch_add(1, Ordering::SeqCst);
        while !self.over.load(Ordering::SeqCst) && (self.deaf || !is_given_up()) {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.readers.fetch_sub(1, Ordering::SeqCst);
        Ok(None)
    }
}

impl Endless {
    async fn has(&self, readers: u64) {
        let counted = async {
            while self.readers.load(Ordering::SeqCst) != readers {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), counted).await.unwrap();
    }
}

#[tokio::test]
async fn a_search_for_a_request_ends_when_nobody_waits_for_it() {
    let (site, log) = (Site::new(), Arc::new(Endless::default()));
    let reads = Arc::clone(&log) as Arc<dyn Reads>;
    let server = start(site.settings(), AdminState { reads, ..state(&[]) }).unwrap();
    let path = format!("/explain/{}", "0".repeat(32));
    let mut asked = Box::pin(site.get(server.local_addr(), Some("minh"), &path));
    tokio::select! {
        answer = &mut asked => panic!("{:?}", answer.map(|answer| answer.status)),
        () = log.has(1) => {}
    }
    drop(asked);
    log.has(0).await;
}

#[tokio::test]
async fn a_node_that_drains_does_not_wait_for_who_reads_its_log() {
    let (site, log) = (Site::new(), Arc::new(Endless { deaf: true, ..Endless::default() }));
    let reads = Arc::clone(&log) as Arc<dyn Reads>;
    let server = start(site.settings(), AdminState { reads, ..state(&[]) }).unwrap();
    let path = format!("/explain/{}", "0".repeat(32));
    let mut asked = Box::pin(site.get(server.local_addr(), Some("minh"), &path));
    tokio::select! {
        answer = &mut asked => panic!("{:?}", answer.map(|answer| answer.status)),
        () = log.has(1) => {}
    }
    let stopped = tokio::task::spawn_blocking(move || server.stop());
    let stopped = tokio::time::timeout(Duration::from_secs(10), stopped).await;
    let readers = log.readers.load(Ordering::SeqCst);
    log.over.store(true, Ordering::SeqCst);
    assert!(stopped.is_ok() && readers == 1, "it stopped while the log was read");
}

#[tokio::test]
async fn each_endpoint_asks_for_its_role_and_names_it() {
    let site = Site::new();
    let server = start(site.settings(), state(&[])).unwrap();
    let at = server.local_addr();
    // (operator, path, status, a part of the answer)
    let table = [
        ("linh", "/livez", 200, "\"live\":true"),
        ("linh", "/readyz", 200, "\"ready\":true"),
        ("linh", "/metrics", 200, "# TYPE popgate_audit_serving gauge"),
        ("linh", "/bundle", 200, "\"generation\":7"),
        ("linh", "/none", 404, "/metrics"),
        ("minh", "/livez", 200, "\"live\":true"),
        ("minh", "/readyz", 200, "\"ready\":true"),
        ("minh", "/metrics", 403, "`/metrics` needs the role `viewer`"),
        ("linh", "/suspensions", 200, "List"),
        ("minh", "/suspensions", 403, "needs the role `viewer` or `sre` or `approver`"),
        ("minh", "/bundle", 403, "`[admin.operators.minh]`"),
        ("eve", "/livez", 403, "operator_not_enrolled"),
        ("eve", "/metrics", 403, "operator_not_enrolled"),
        ("eve", "/none", 403, "operator_not_enrolled"),
    ];
    for (operator, path, status, part) in table {
        let answer = site.get(at, Some(operator), path).await.unwrap();
        assert_eq!(answer.status, status, "{operator} {path}: {}", answer.body);
        assert!(answer.body.contains(part), "{operator} {path}: {}", answer.body);
        if status >= 400 {
            assert_eq!(answer.kind, "application/problem+json");
        }
    }
}

#[tokio::test]
async fn without_a_certificate_of_an_operators_authority_there_is_no_answer() {
    let site = Site::new();
    let server = start(site.settings(), state(&[])).unwrap();
    assert!(site.get(server.local_addr(), None, "/livez").await.is_err());
    let (stranger, _) = authority();
    let identity = Some(client(&stranger, "linh"));
    assert!(get(&site.authority_pem, server.local_addr(), identity, "/livez").await.is_err());
}

#[tokio::test]
async fn a_node_that_is_not_ready_says_why() {
    let site = Site::new();
    let server = start(site.settings(), state(&["draining", "no durable record can be written"])).unwrap();
    let answer = site.get(server.local_addr(), Some("minh"), "/readyz").await.unwrap();
    assert_eq!(answer.status, 503);
    assert_eq!(answer.body, r#"{"ready":false,"reasons":["draining","no durable record can be written"]}"#);
}

#[tokio::test]
async fn reloaded_authorities_hold_at_once_and_bad_ones_change_nothing() {
    let site = Site::new();
    let server = start(site.settings(), state(&[])).unwrap();
    fs::write(site.path("ca.pem"), "nonsense").unwrap();
    let error = server.reloader().try_reload().unwrap_err().to_string();
    assert!(error.ends_with("ca.pem` holds no certificate in PEM"), "{error}");
    assert!(site.get(server.local_addr(), Some("linh"), "/livez").await.is_ok());
    let (_, other) = authority();
    fs::write(site.path("ca.pem"), other).unwrap();
    server.reloader().try_reload().unwrap();
    assert!(site.get(server.local_addr(), Some("linh"), "/livez").await.is_err());
}

#[tokio::test]
async fn a_revoked_operator_is_shut_out_after_a_reload() {
    let site = Site::new();
    let settings = Settings { crls: Some(site.path("*.crl")), ..site.settings() };
    fs::write(site.path("a.crl"), site.revocation_list(&[])).unwrap();
    let server = start(settings, state(&[])).unwrap();
    let (certificate, key) = client(&site.authority, "linh");
    let ask = || get(&site.authority_pem, server.local_addr(), Some((certificate.clone(), key.clone_key())), "/livez");
    assert_eq!(ask().await.unwrap().status, 200);
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).unwrap();
    fs::write(site.path("a.crl"), site.revocation_list(parsed.raw_serial())).unwrap();
    server.reloader().try_reload().unwrap();
    assert!(ask().await.is_err());
    assert_eq!(site.get(server.local_addr(), Some("linh"), "/livez").await.unwrap().status, 200, "a new certificate");
}

#[tokio::test]
async fn a_revoked_operator_stays_out_whatever_becomes_of_the_list() {
    let site = Site::new();
    let settings = Settings { crls: Some(site.path("*.crl")), ..site.settings() };
    let (certificate, key) = client(&site.authority, "linh");
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).unwrap();
    fs::write(site.path("a.crl"), site.revocation_list(parsed.raw_serial())).unwrap();
    let server = start(settings.clone(), state(&[])).unwrap();
    let ask = || get(&site.authority_pem, server.local_addr(), Some((certificate.clone(), key.clone_key())), "/livez");
    assert!(ask().await.is_err());
    fs::write(site.path("0-old.crl"), site.revocation_list(&[])).unwrap();
    server.reloader().try_reload().unwrap();
    assert!(ask().await.is_err(), "an older list beside it");
    fs::write(site.path("a.crl"), "").unwrap();
    assert!(server.reloader().try_reload().is_ok());
    assert!(ask().await.is_err(), "a list that is half written");
    fs::remove_file(site.path("a.crl")).unwrap();
    let error = server.reloader().try_reload().unwrap_err().to_string();
    assert!(error.contains("is older than the one in force"), "{error}");
    assert!(ask().await.is_err(), "a list that is gone");
    fs::write(site.path("a.crl"), "").unwrap();
    assert!(start(settings, state(&[])).is_err(), "and no start without it");
}

#[tokio::test]
async fn a_key_that_others_can_read_is_refused() {
    let site = Site::new();
    fs::set_permissions(site.path("server.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let error = start(site.settings(), state(&[])).unwrap_err().to_string();
    assert!(error.contains("chmod 600"), "{error}");
}

#[tokio::test]
async fn a_dropped_server_lets_go_of_its_address() {
    let site = Site::new();
    let server = start(site.settings(), state(&[])).unwrap();
    let address = server.local_addr();
    drop(server);
    assert!(site.get(address, Some("linh"), "/livez").await.is_err());
}
