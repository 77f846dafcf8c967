//! Promise: a client that is refused learns here why, all of it at once, and what to do; and nobody learns anything about a
//! certificate that is not theirs.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use popgate::pki::{Authority, Client as Subject, Usage, Validity};
use popgate_demo::client::{Answer, Client, Credentials, Http, get};
use popgate_demo::deployment::AGENCIES;
use popgate_demo::register::demo::HOA;
use popgate_demo::scenario::read_path;
use popgate_tests::chains::{Ca, POLICIES, REQUIRE_POLICY, accept, credentials, extension};
use popgate_tests::{Harness, eventually, refusal};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, SupportedProtocolVersion};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;

const ETAX: &str = "spiffe://gov.vn/tax/etax";
const BOTH: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

#[tokio::test]
async fn an_enrolled_client_is_shown_as_the_gateway_sees_it() {
    let harness = harness(|_| {});
    for http in [Http::One, Http::Two] {
        let site = &harness.deployment.site;
        let told = ask_over(&harness, &site.credentials("tax/inspection").unwrap(), http, &TLS13).await;
        assert_eq!(told["accepted"], true, "{told:#}");
        assert_eq!(told["source"], "127.0.0.1");
        assert_eq!(told["connection"]["tls"], "TLS 1.3");
        assert_eq!(told["connection"]["group"], "X25519MLKEM768");
        assert_eq!(told["connection"]["alpn"], if http == Http::Two { "h2" } else { "http/1.1" });
        let certificate = &told["certificate"];
        assert_eq!(certificate["subject"], "CN=tax.inspection");
        assert_eq!(certificate["issuer"], "CN=agencies");
        assert_eq!(certificate["uris"][0], "spiffe://gov.vn/tax/inspection");
        assert_eq!(certificate["key_usage"][0], "digitalSignature");
        assert_eq!(certificate["extended_key_usage"][0], "clientAuth");
        assert!(certificate["pin"].as_str().unwrap().starts_with("pin:sha256:"), "{certificate:#}");
        assert_eq!(told["system"]["agency"], "tax");
        assert_eq!(told["system"]["agency_name"]["vi"], "Cục Thuế");
        assert_eq!(told["system"]["system"], "tax/inspection");
        let purposes = told["system"]["purposes"].as_array().unwrap();
        let named = |id: &str| purposes.iter().find(|purpose| purpose["purpose"] == id).unwrap();
        assert_eq!(purposes.len(), 3);
        assert_eq!(named("assessment")["valid_today"], true);
        assert_eq!(named("data-cleaning-2025")["valid_today"], false);
        assert_eq!(failing(&told), [""; 0]);
        let now: Timestamp = told["gateway_time"].as_str().unwrap().parse().unwrap();
        assert!(now.duration_since(Timestamp::now()).abs() < SignedDuration::from_secs(60));
    }
    assert_eq!(harness.deployment.register.faults.requests(), 0, "no register is asked");
}

#[tokio::test]
async fn an_exchange_server_is_told_for_whom_it_may_ask() {
    let harness = harness(|_| {});
    let credentials = harness.deployment.site.credentials("data-exchange/tax").unwrap();
    let told = ask_over(&harness, &credentials, Http::One, &TLS13).await;
    assert_eq!((&told["accepted"], &told["system"]), (&Value::Bool(true), &Value::Null), "{told:#}");
    let clients = serde_json::json!({ "VN/GOV/TAX/ETAX": "tax/etax", "VN/GOV/TAX/INSPECTION": "tax/inspection" });
    let exchange = &told["exchange"];
    assert_eq!((&exchange["agency"], &exchange["exchange"]), (&"data-exchange".into(), &"data-exchange/tax".into()));
    assert_eq!((&exchange["members"], &exchange["clients"]), (&serde_json::json!(["VN/GOV/TAX"]), &clients));
    assert_eq!(check(&told, "suspension")["outcome"], check(&told, "network")["outcome"], "{told:#}");
    assert!(check(&told, "enrolment")["found"].as_str().unwrap().contains("X-Road-Client"), "{told:#}");

    popgate_tests::build::popgate();
    let config = harness.deployment.site.config_file();
    let order = ["suspend", "system", "data-exchange/tax", "--reason", "INC-77", "--config", config.to_str().unwrap()];
    assert!(popgate_tests::node::run(&order).status.success());
    let since = std::time::Instant::now();
    let told = loop {
        let told = ask_over(&harness, &credentials, Http::One, &TLS13).await;
        if told["accepted"] == false || since.elapsed() > std::time::Duration::from_secs(10) {
            break told;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(failing(&told), ["system_suspended"], "{told:#}");
}

/// A client, what is wrong with it, and whether the directory may be asked about it.
struct Case {
    name: &'static str,
    credentials: Credentials,
    version: &'static SupportedProtocolVersion,
    failing: &'static [&'static str],
    enrolled: bool,
}

#[tokio::test]
async fn every_check_that_fails_is_named_and_the_agencies_address_agrees() {
    let root = Ca::root("Government Root", |_| {});
    let middle = root.below("Ministry", |_| {});
    let stale = tempfile::tempdir().unwrap();
    let now = Timestamp::now();
    let days = Validity::days(now, 2);
    let past = Authority::create(stale.path(), "past", days).unwrap();
    let long_ago = now - SignedDuration::from_hours(72);
    past.renew_crl(long_ago, SignedDuration::from_hours(1)).unwrap();
    let harness = Harness::start_made(
        "",
        |site| {
            accept(site, &root);
            let pem = std::fs::read_to_string(past.certificate_file()).unwrap();
            let file = site.dir().join("pki/agencies.pem");
            std::fs::write(&file, std::fs::read_to_string(&file).unwrap() + &pem).unwrap();
            std::fs::copy(past.crl_file(), site.dir().join("pki/past.crl")).unwrap();
        },
        |config| {
            config.listen.whoami = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
            config.tls.crls = Some(config.tls.client_cas.with_file_name("*.crl"));
        },
    );
    let site = &harness.deployment.site;
    let ours = site.authority(AGENCIES).unwrap();
    let agencies = Ca::of(site, AGENCIES);
    let foreign = Ca::root("Elsewhere", |_| {});
    let namesake = Ca::root(AGENCIES, |_| {});
    let issued = |usage, validity| harness.credentials(&ours.issue_client(&etax(usage), validity).unwrap());
    let own = |pem: String| credentials(site, &pem);
    let revoked = ours.issue_client(&etax(Usage::Client), days).unwrap();
    // Later than the site's own list, or it would be refused as an older one.
    ours.revoke(&revoked.serial, Timestamp::now(), SignedDuration::from_hours(24)).unwrap();
    let node = harness.deployment.gateway.node();
    eventually("the list is in force", || node.trust().crls().iter().any(|crl| crl.revoked == 1)).await;
    let none = Credentials { identity: None, ..issued(Usage::Client, days) };
    let later = Validity { from: now + SignedDuration::from_mins(90), until: now + SignedDuration::from_hours(48) };
    let ended = |params: &mut rcgen::CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    };
    let case = |name, credentials, failing, enrolled| Case { name, credentials, version: &TLS13, failing, enrolled };
    let cases = [
        case("good", issued(Usage::Client, days), &[], true),
        case("without EKU", issued(Usage::Any, days), &[], true),
        case("none", none, &["certificate_missing"], false),
        case("untrusted root", own(foreign.client(&[ETAX], &[&foreign], |_| {})), &["authority_unknown"], false),
        case(
            "untrusted, alone",
            own(foreign.client(&[ETAX], &[], |_| {})),
            &["authority_unknown", "intermediate_missing"],
            false,
        ),
        case(
            "intermediate left out",
            own(middle.client(&[ETAX], &[], |_| {})),
            &["authority_unknown", "intermediate_missing"],
            false,
        ),
        case("intermediate sent", own(middle.client(&[ETAX], &[&middle], |_| {})), &[], true),
        case("namesake", own(namesake.client(&[ETAX], &[], |_| {})), &["certificate_invalid"], false),
        case("not enrolled", own(agencies.client(&["urn:nobody"], &[], |_| {})), &["system_not_enrolled"], false),
        case(
            "two systems",
            own(agencies.client(&[ETAX, "spiffe://gov.vn/bank-a/ekyc"], &[], |_| {})),
            &["identity_ambiguous"],
            false,
        ),
        case("expired", issued(Usage::Client, Validity::expired(now)), &["certificate_expired"], true),
        case("too early", issued(Usage::Client, later), &["certificate_not_yet_valid"], true),
        case("revoked", harness.credentials(&revoked), &["certificate_revoked"], false),
        case(
            "old list",
            harness.credentials(&past.issue_client(&etax(Usage::Client), days).unwrap()),
            &["revocation_unknown"],
            true,
        ),
        case("a server's", issued(Usage::Server, days), &["wrong_usage"], true),
        case("network", site.credentials("statistics/warehouse").unwrap(), &["network_not_listed"], true),
        Case {
            version: &TLS12,
            ..case("old TLS", site.credentials("tax/inspection").unwrap(), &["tls_version_too_old"], true)
        },
        case(
            "critical",
            own(agencies.client(&[ETAX], &[], |params| {
                params.custom_extensions = vec![extension(36, true, REQUIRE_POLICY), extension(99, true, POLICIES)];
            })),
            &["critical_extension"],
            true,
        ),
        case(
            "four at once",
            own(middle.client(&["urn:nobody"], &[&middle], |params| {
                ended(params);
                params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
                params.custom_extensions = vec![extension(36, true, REQUIRE_POLICY)];
            })),
            &["certificate_expired", "wrong_usage", "critical_extension", "system_not_enrolled"],
            false,
        ),
    ];
    for Case { name, credentials, version, failing: expected, enrolled } in cases {
        let told = ask_over(&harness, &credentials, Http::One, version).await;
        assert_eq!(failing(&told), expected, "{name}: {told:#}");
        assert_eq!(told["accepted"], expected.is_empty(), "{name}");
        assert_eq!(!told["system"].is_null(), enrolled, "{name}: {told:#}");
        for check in told["checks"].as_array().unwrap().iter().filter(|check| check["outcome"] == "fail") {
            assert!(!check["remedy"].as_str().unwrap_or_default().is_empty(), "{name}: {check}");
        }
        let https = Client::with_versions(harness.deployment.gateway.https(), &credentials, Http::One, &[version]);
        let answered = https.unwrap().send(get(&read_path(HOA.number), Some("assessment"))).await;
        let accepted = answered.as_ref().is_ok_and(|answer| answer.status == StatusCode::OK);
        assert_eq!(accepted, expected.is_empty(), "{name}: {:?}", answered.map(|answer| refusal(&answer)));
    }
}

#[tokio::test]
async fn what_anybody_can_make_is_told_nothing_of_the_directory() {
    let harness = harness(|_| {});
    let site = &harness.deployment.site;
    let forged = Ca::root(AGENCIES, |_| {});
    let foreign = Ca::root("Elsewhere", |_| {});
    for (authority, above) in [(&forged, vec![]), (&forged, vec![&forged]), (&foreign, vec![&foreign])] {
        // An identity that is enrolled, and one that is not, are told the same.
        let mut told = Vec::new();
        for uri in [ETAX, "spiffe://gov.vn/tax/xxxx"] {
            let answer = ask(&harness, &credentials(site, &authority.client(&[uri], &above, |_| {}))).await;
            assert_eq!(check(&answer, "enrolment")["outcome"], "unchecked", "{answer:#}");
            assert_eq!(check(&answer, "revocation")["outcome"], "unchecked", "{answer:#}");
            assert!(!answer.to_string().contains("Thuế"), "{answer:#}");
            assert!(answer["system"].is_null());
            told.push(answer["checks"].to_string());
        }
        assert_eq!(told[0], told[1]);
    }
}

#[tokio::test]
async fn the_key_must_be_the_certificates() {
    let harness = harness(|_| {});
    let site = &harness.deployment.site;
    let agencies = Ca::of(site, AGENCIES);
    let pem = agencies.client(&[ETAX], &[], |_| {});
    let other = agencies.client(&[ETAX], &[], |_| {});
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    for version in BOTH {
        for (key, works) in [(&pem, true), (&other, false)] {
            let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
            let key = provider.key_provider.load_private_key(PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap());
            let mut roots = RootCertStore::empty();
            let site_ca = std::fs::read(site.gateway_authority()).unwrap();
            roots.add(CertificateDer::from_pem_slice(&site_ca).unwrap()).unwrap();
            // Unlike the usual way, this does not look whether the two belong together.
            let shown = rustls::sign::SingleCertAndKey::from(rustls::sign::CertifiedKey::new(chain, key.unwrap()));
            let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(roots)
                .with_client_cert_resolver(Arc::new(shown));
            let tcp = tokio::net::TcpStream::connect(address(&harness)).await.unwrap();
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            let answered = async {
                use tokio::io::AsyncWriteExt as _;
                let mut tls = connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await?;
                tls.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
                let mut answer = String::new();
                tls.read_to_string(&mut answer).await?;
                Ok::<_, std::io::Error>(answer)
            };
            let answered = answered.await;
            assert_eq!(answered.is_ok(), works, "{version:?}: {answered:?}");
        }
    }
}

#[tokio::test]
async fn a_revocation_and_a_bundle_are_seen_as_soon_as_they_are_in_force() {
    let harness = harness(|_| {});
    let site = &harness.deployment.site;
    let credentials = site.credentials("hospital-north/his").unwrap();
    let mut session = client(&harness, &credentials, Http::One, &TLS13).connect().await.unwrap();
    assert_eq!(session.send(get("/whoami", None)).await.unwrap().json()["accepted"], true);
    site.revoke("hospital-north/his").unwrap();
    let node = harness.deployment.gateway.node();
    eventually("the list is in force", || node.trust().crls().iter().any(|crl| crl.revoked == 1)).await;
    let told = session.send(get("/whoami", None)).await.unwrap().json();
    assert_eq!(check(&told, "revocation")["code"], "certificate_revoked", "{told:#}");
    assert!(told["system"].is_null(), "who holds a revoked key is told no names");
}

#[tokio::test]
async fn a_clients_clock_is_compared() {
    let harness = harness(|_| {});
    let credentials = harness.deployment.site.credentials("tax/etax").unwrap();
    let client = client(&harness, &credentials, Http::One, &TLS13);
    for (ahead, outcome) in [(0, "pass"), (3600, "warn"), (-86_400, "warn")] {
        let mut request = get("/", None);
        let date = Timestamp::now() + SignedDuration::from_secs(ahead);
        let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        request.headers_mut().insert(header::DATE, HeaderValue::from_str(&date).unwrap());
        let told = client.send(request).await.unwrap().json();
        let skew = told["clock_skew_seconds"].as_i64().unwrap();
        assert!((skew - ahead).abs() < 30, "{skew}");
        assert_eq!(check(&told, "clock")["outcome"], outcome, "{told:#}");
        assert_eq!(told["accepted"], true, "a wrong clock alone refuses nobody");
    }
}

#[test]
fn curl_reads_it_as_text_with_a_certificate_and_without() {
    let harness = harness(|_| {});
    let site = &harness.deployment.site;
    let url = format!("https://localhost:{}/", address(&harness).port());
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*", "--cacert"])
            .arg(site.gateway_authority())
            .args(arguments)
            .arg(&url)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let identity = site.identity("tax/etax").unwrap().display().to_string();
    let text = curl(&["--cert", &identity, "-H", "Accept: text/plain", "--tls-max", "1.2"]);
    for part in
        ["verdict       accepted", "TLS 1.2", "CN=tax.etax", "Cục Thuế", "assessment: valid today", "  ok   authority"]
    {
        assert!(text.contains(part), "`{part}` in {text}");
    }
    let text = curl(&["-H", "Accept: text/plain"]);
    assert!(text.contains("NOT accepted") && text.contains("FAIL certificate  no certificate was sent"), "{text}");
    let json: Value = serde_json::from_str(&curl(&["--cert", &identity, "--http2"])).unwrap();
    assert_eq!(json["connection"]["alpn"], "h2");
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let harness = harness(|_| {});
    let client = client(&harness, &harness.deployment.site.credentials("tax/etax").unwrap(), Http::One, &TLS13);
    assert_eq!(refusal(&client.send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap()), "404 not_found");
    let mut post = get("/whoami", None);
    *post.method_mut() = Method::POST;
    let refused = client.send(post).await.unwrap();
    assert_eq!(refusal(&refused), "405 method_not_allowed");
    assert_eq!(refused.headers[header::ALLOW], "GET, HEAD");
    let told = client.send(get("/whoami", None)).await.unwrap();
    assert_eq!(told.headers[header::CACHE_CONTROL], "private, no-store");
}

#[tokio::test]
async fn a_network_that_asks_too_much_is_cut_short_and_agencies_are_not() {
    let harness = harness(|_| {});
    let credentials = harness.deployment.site.credentials("tax/etax").unwrap();
    let mut session = client(&harness, &credentials, Http::One, &TLS13).connect().await.unwrap();
    let mut limited: Option<Answer> = None;
    for _ in 0..200 {
        let answer = session.send(get("/", None)).await.unwrap();
        if answer.status != StatusCode::OK {
            limited = Some(answer);
            break;
        }
    }
    let limited = limited.expect("200 questions at once are too many");
    assert_eq!(refusal(&limited), "429 rate_exceeded");
    assert!(limited.headers.contains_key(header::RETRY_AFTER));
    // New connections of that network are closed unheard.
    assert!(client(&harness, &credentials, Http::One, &TLS13).connect().await.is_err());
    let data = harness.client("tax/etax").send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap();
    assert_eq!(data.status, StatusCode::OK, "{}", refusal(&data));
}

fn harness(change: impl FnOnce(&mut popgate::app::config::Config)) -> Harness {
    Harness::start_made(
        "",
        |_| {},
        |config| {
            config.listen.whoami = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
            change(config);
        },
    )
}

fn address(harness: &Harness) -> SocketAddr {
    harness.deployment.gateway.whoami().unwrap()
}

fn client(
    harness: &Harness,
    credentials: &Credentials,
    http: Http,
    version: &'static SupportedProtocolVersion,
) -> Client {
    Client::with_versions(address(harness), credentials, http, &[version]).unwrap()
}

async fn ask(harness: &Harness, credentials: &Credentials) -> Value {
    ask_over(harness, credentials, Http::One, &TLS13).await
}

async fn ask_over(
    harness: &Harness,
    credentials: &Credentials,
    http: Http,
    version: &'static SupportedProtocolVersion,
) -> Value {
    let answer = client(harness, credentials, http, version).send(get("/", None)).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", refusal(&answer));
    answer.json()
}

/// What fails, but for the word on the whole.
fn failing(told: &Value) -> Vec<String> {
    let checks = told["checks"].as_array().unwrap().iter().filter(|check| check["outcome"] == "fail");
    let checks = checks.filter(|check| check["check"] != "handshake");
    checks.map(|check| check["code"].as_str().unwrap().to_owned()).collect()
}

fn check<'a>(told: &'a Value, name: &str) -> &'a Value {
    told["checks"].as_array().unwrap().iter().find(|check| check["check"] == name).unwrap()
}

fn etax(usage: Usage) -> Subject {
    Subject { uri: Some(ETAX.into()), common_name: "tax.etax".into(), usage, ..Subject::default() }
}
