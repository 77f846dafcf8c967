//! Promise: nobody is answered without a certificate that is good now and enrolled, on new, resumed and live connections.

use std::time::{Duration, Instant};
use std::{fs, io};

use http::{Request, StatusCode};
use http_body_util::Full;
use jiff::{SignedDuration, Timestamp};
use popgate::accept::tls::HandshakeFailure;
use popgate::pki::{Authority, Client as Subject, Issued, Usage, Validity};
use popgate_demo::client::{Client, ClientError, Credentials, Http, Session, get, post};
use popgate_demo::deployment::AGENCIES;
use popgate_demo::register::demo::HOA;
use popgate_demo::scenario::{LOOKUP, keys_of_hoa, read_path};
use popgate_tests::made::edit;
use popgate_tests::{Harness, eventually, refusal};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const BOTH: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
/// What a revocation may take, from the file's change.
const REVOCATION: Duration = Duration::from_secs(2);

#[tokio::test]
async fn who_shows_no_good_certificate_gets_an_alert_that_says_why_and_nothing_else() {
    let harness = Harness::start();
    let site = &harness.deployment.site;
    let now = Timestamp::now();
    let days = Validity::days(now, 1);
    let ours = site.authority(AGENCIES).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let foreign = Authority::create(elsewhere.path(), "elsewhere", days).unwrap();
    let namesake = Authority::create(elsewhere.path(), AGENCIES, days).unwrap();
    let revoked = ours.issue_client(&etax(Usage::Client), days).unwrap();
    ours.revoke(&revoked.serial, now, SignedDuration::from_hours(24)).unwrap();
    let node = harness.deployment.gateway.node();
    eventually("the list is in force", || node.trust().crls().iter().any(|crl| crl.revoked == 1)).await;

    let issued = |issued: Issued| harness.credentials(&issued);
    let without = Credentials { identity: None, ..issued(ours.issue_client(&etax(Usage::Client), days).unwrap()) };
    let cases = [
        ("none", without, AlertDescription::CertificateRequired, HandshakeFailure::CertificateMissing),
        (
            "another authority's",
            issued(foreign.issue_client(&etax(Usage::Client), days).unwrap()),
            AlertDescription::UnknownCA,
            HandshakeFailure::AuthorityUnknown,
        ),
        (
            "an authority's of our authority's name",
            issued(namesake.issue_client(&etax(Usage::Client), days).unwrap()),
            AlertDescription::DecryptError,
            HandshakeFailure::CertificateInvalid,
        ),
        (
            "expired",
            issued(ours.issue_client(&etax(Usage::Client), Validity::expired(now)).unwrap()),
            AlertDescription::CertificateExpired,
            HandshakeFailure::CertificateExpired,
        ),
        (
            "for servers only",
            issued(ours.issue_client(&etax(Usage::Server), days).unwrap()),
            AlertDescription::UnsupportedCertificate,
            HandshakeFailure::CertificateInvalid,
        ),
        ("revoked", issued(revoked), AlertDescription::CertificateRevoked, HandshakeFailure::CertificateRevoked),
    ];
    for (name, credentials, expected, reason) in cases {
        for version in BOTH {
            let before = failures(&harness, reason);
            let client = with_version(&harness, &credentials, Http::One, version);
            assert_eq!(alert(&client).await, Some(expected), "{name}, {version:?}");
            eventually("the reason is counted", || failures(&harness, reason) == before + 1).await;
        }
    }
    assert_eq!(harness.deployment.register.faults.requests(), 0);
    // The same authority and system, with nothing wrong: it was the certificate each time.
    let good = issued(ours.issue_client(&etax(Usage::Any), days).unwrap());
    for version in BOTH {
        let client = with_version(&harness, &good, Http::One, version);
        assert_eq!(client.send(hoa()).await.unwrap().status, StatusCode::OK, "{version:?}");
    }
}

#[tokio::test]
async fn a_good_certificate_is_not_enough_if_the_directory_says_otherwise() {
    let harness = Harness::start();
    let faults = &harness.deployment.register.faults;
    let refused = |system: &'static str, version| {
        let credentials = harness.deployment.site.credentials(system).unwrap();
        let clients = [Http::One, Http::Two].map(|http| with_version(&harness, &credentials, http, version));
        async move {
            let mut seen = Vec::new();
            for client in clients {
                let answer = client.send(hoa()).await.unwrap();
                assert!(!answer.told("detail").is_empty(), "{system}: no remedy");
                seen.push(refusal(&answer));
            }
            assert_eq!(seen[0], seen[1], "{system}: over both protocols");
            seen.remove(0)
        }
    };
    assert_eq!(refused("tax/nobody", &TLS13).await, "403 system_not_enrolled");
    assert_eq!(refused("statistics/warehouse", &TLS13).await, "403 network_not_listed");
    assert_eq!(refused("tax/inspection", &TLS12).await, "403 tls_version_too_old");
    assert_eq!(faults.requests(), 0);

    for (system, versions) in [("tax/etax", &BOTH[..]), ("tax/inspection", &BOTH[1..])] {
        let credentials = harness.deployment.site.credentials(system).unwrap();
        for (version, http) in versions.iter().flat_map(|version| [(version, Http::One), (version, Http::Two)]) {
            let answer = with_version(&harness, &credentials, http, version).send(hoa()).await.unwrap();
            assert_eq!(answer.status, StatusCode::OK, "{system}, {version:?}, {http:?}: {}", refusal(&answer));
        }
    }
}

#[tokio::test]
async fn a_subject_and_a_key_pin_identify_as_well_as_a_uri() {
    let harness = Harness::start();
    let site = &harness.deployment.site;
    let ours = site.authority(AGENCIES).unwrap();
    let days = Validity::days(Timestamp::now(), 1);
    let dispatch = Subject {
        common_name: "dispatch".into(),
        organization: Some("Traffic Police Department".into()),
        country: Some("VN".into()),
        ..Subject::default()
    };
    let billing = Subject { common_name: "billing".into(), ..Subject::default() };
    let asked_by = |issued: &Issued, purpose: &str| {
        let client = with_version(&harness, &harness.credentials(issued), Http::One, &TLS13);
        let mut request = post(LOOKUP, Some(purpose), &keys_of_hoa());
        request.headers_mut().insert("gateway-user", "officer-17".parse().unwrap());
        async move { client.send(request).await.unwrap() }
    };

    let shown = asked_by(&ours.issue_client(&dispatch, days).unwrap(), "road-safety").await;
    assert_eq!(shown.json()["full_name"], HOA.full_name, "{}", refusal(&shown));
    // Part of a subject is another subject.
    let namesake = Subject { organization: None, ..dispatch };
    let refused = asked_by(&ours.issue_client(&namesake, days).unwrap(), "road-safety").await;
    assert_eq!(refusal(&refused), "403 system_not_enrolled");

    let pinned = ours.issue_client(&billing, days).unwrap();
    assert_eq!(refusal(&asked_by(&pinned, "utility-contract").await), "403 system_not_enrolled");
    let pin = pin_of(&pinned);
    let before = harness.deployment.gateway.node().live().bundle.digest();
    edit(site, "agencies/electricity.toml", ENROLLED_PIN, &pin);
    let node = harness.deployment.gateway.node();
    eventually("the new pin is in force", || node.live().bundle.digest() != before).await;
    let shown = asked_by(&pinned, "utility-contract").await;
    assert_eq!(shown.status, StatusCode::OK, "{}", refusal(&shown));
    // The same subject with another key is not pinned.
    let rekeyed = ours.issue_client(&billing, days).unwrap();
    assert_eq!(refusal(&asked_by(&rekeyed, "utility-contract").await), "403 system_not_enrolled");
}

#[tokio::test]
async fn a_revocation_reaches_live_connections_within_two_seconds_and_nobody_else() {
    const REVOKED: &str = "hospital-north/his";
    let harness = Harness::start();
    let mut idle = Vec::new();
    let mut live = Vec::new();
    let mut others = Vec::new();
    for http in [Http::One, Http::Two] {
        idle.push(opened(&harness, REVOKED, "treatment", http).await);
        live.push(opened(&harness, REVOKED, "treatment", http).await);
        others.push(opened(&harness, "tax/etax", "assessment", http).await);
    }
    harness.deployment.site.revoke(REVOKED).unwrap();
    let changed = Instant::now();
    let told = live.into_iter().map(|session| tokio::spawn(told_of_revocation(session)));
    let told: Vec<_> = told.collect();
    for task in told {
        let refused_at = task.await.unwrap();
        assert!(refused_at - changed < REVOCATION, "a live connection was refused after {:?}", refused_at - changed);
    }
    eventually("idle connections are closed", || idle.iter().all(Session::is_closed)).await;
    assert!(changed.elapsed() < REVOCATION, "idle connections were closed after {:?}", changed.elapsed());
    for session in &mut others {
        assert!(!session.is_closed());
        assert_eq!(session.send(hoa()).await.unwrap().status, StatusCode::OK);
    }
    assert_eq!(harness.metric("popgate_certificates_revoked_live_total").await, 4);
    let client = harness.client(REVOKED);
    assert_eq!(alert(&client).await, Some(AlertDescription::CertificateRevoked));
}

#[tokio::test]
async fn a_session_of_a_revoked_certificate_is_not_resumed() {
    let harness = Harness::start();
    let node = harness.deployment.gateway.node();
    let systems = ["bank-a/ekyc", "bank-b/ekyc"];
    let mut clients = Vec::new();
    for (system, version) in systems.into_iter().zip(BOTH) {
        let credentials = harness.deployment.site.credentials(system).unwrap();
        let client = with_version(&harness, &credentials, Http::One, version);
        let before = node.counters.resumed.value();
        for _ in 0..2 {
            client.send(get("/", None)).await.unwrap();
        }
        assert_eq!(node.counters.resumed.value(), before + 1, "{version:?}: the second connection resumes");
        clients.push(client);
    }
    let generation = node.trust().generation();
    for system in systems {
        harness.deployment.site.revoke(system).unwrap();
    }
    eventually("both are on the list", || node.trust().crls().iter().any(|crl| crl.revoked == 2)).await;
    assert!(node.trust().generation() > generation);
    let resumed = node.counters.resumed.value();
    for (client, version) in clients.iter().zip(BOTH) {
        assert_eq!(alert(client).await, Some(AlertDescription::CertificateRevoked), "{version:?}");
    }
    assert_eq!(node.counters.resumed.value(), resumed);
}

#[tokio::test]
async fn an_expired_authority_beside_good_ones_harms_nobody_else() {
    let now = Timestamp::now();
    let days = Validity::days(now, 1);
    let place = |site: &popgate_demo::deployment::Site| site.dir().join("pki/cas");
    let mut made = Vec::new();
    let harness = Harness::start_made(
        "",
        |site| {
            for (name, life) in [
                ("banks", days),
                ("old", Validity::expired(now)),
                // Expires on the running node.
                ("ending", Validity::lasting(now, SignedDuration::from_secs(8))),
            ] {
                made.push(Authority::create(&place(site), name, life).unwrap());
            }
            fs::copy(site.dir().join("pki/agencies.pem"), place(site).join("agencies.pem")).unwrap();
            fs::copy(site.dir().join("pki/agencies.crl"), place(site).join("agencies.crl")).unwrap();
        },
        |config| {
            config.tls.client_cas = config.tls.client_cas.with_file_name("cas").join("*.pem");
            config.tls.crls = Some(config.tls.client_cas.with_file_name("*.crl"));
        },
    );
    let issued_by = |authority: &Authority| {
        let issued = authority.issue_client(&etax(Usage::Client), days).unwrap();
        with_version(&harness, &harness.credentials(&issued), Http::One, &TLS13)
    };
    let good = async || {
        for client in [harness.client("tax/etax"), issued_by(&made[0])] {
            let answer = client.send(hoa()).await.unwrap();
            assert_eq!(answer.status, StatusCode::OK, "{}", refusal(&answer));
        }
    };
    let mut live = harness.session("tax/etax").await;
    good().await;
    assert!(alert(&issued_by(&made[1])).await.is_some(), "an expired authority's client");
    let node = harness.deployment.gateway.node();
    let warned = || node.last_reload().trust_warnings.join("\n");
    assert!(warned().contains("old.pem"), "{}", warned());

    eventually("the ending authority has ended", || warned().contains("ending.pem")).await;
    assert!(alert(&issued_by(&made[2])).await.is_some(), "an ended authority's client");
    good().await;
    assert_eq!(live.send(hoa()).await.unwrap().status, StatusCode::OK);
}

const ENROLLED_PIN: &str = "4f1c3a7be09d52d86e1f0c94ab3175e2d6083b9f5a7c412e8d90f6b1c27e35a4";

fn etax(usage: Usage) -> Subject {
    Subject {
        uri: Some("spiffe://gov.vn/tax/etax".into()),
        common_name: "tax.etax".into(),
        usage,
        ..Subject::default()
    }
}

fn hoa() -> Request<Full<bytes::Bytes>> {
    get(&read_path(HOA.number), Some("assessment"))
}

fn with_version(
    harness: &Harness,
    credentials: &Credentials,
    http: Http,
    version: &'static SupportedProtocolVersion,
) -> Client {
    Client::with_versions(harness.deployment.gateway.https(), credentials, http, &[version]).unwrap()
}

/// A connection that has answered once.
async fn opened(harness: &Harness, system: &str, purpose: &str, http: Http) -> Session {
    let mut session = harness.client_over(system, http).connect().await.unwrap();
    let answer = session.send(post(LOOKUP, Some(purpose), &keys_of_hoa())).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    session
}

/// Asks until the connection says that its certificate is revoked, and until it ends: no data in between. Answers when it was
/// told.
async fn told_of_revocation(mut session: Session) -> Instant {
    let mut told = None;
    loop {
        match session.send(post(LOOKUP, Some("treatment"), &keys_of_hoa())).await {
            Ok(answer) if answer.status == StatusCode::OK => assert!(told.is_none(), "data after the refusal"),
            Ok(answer) => {
                assert_eq!(refusal(&answer), "403 certificate_revoked");
                told.get_or_insert_with(Instant::now);
            }
            Err(_) => return told.unwrap_or_else(|| panic!("closed without a word to a client that was asking")),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The alert that a connection ends with; `None` if it does not.
async fn alert(client: &Client) -> Option<AlertDescription> {
    let ended = match client.connect_tls().await {
        // With TLS 1.3 the client hears of it when it reads.
        Ok(mut stream) => {
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
            stream.read(&mut [0; 1024]).await.err()?
        }
        Err(ClientError::Io(error)) => error,
        Err(other) => panic!("{other}"),
    };
    alert_in(&ended)
}

fn alert_in(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

fn failures(harness: &Harness, reason: HandshakeFailure) -> u64 {
    let counted = harness.deployment.gateway.node().counters.failures();
    counted.into_iter().find(|(counted, _)| *counted == reason).map_or(0, |(_, count)| count)
}

/// The SHA-256 of the key's SubjectPublicKeyInfo in hex, as a directory names it.
fn pin_of(issued: &Issued) -> String {
    use rcgen::PublicKeyData as _;
    let key = rcgen::KeyPair::from_pem(&issued.key).unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key.subject_public_key_info());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
