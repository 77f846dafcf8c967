//! Promise: over HTTP/3 an agency gets what it gets over TCP, under the same certificates, limits and records; a certificate that
//! is no longer good ends its connections as fast; and who breaks the protocol harms nobody but itself.

mod hostile;
mod live;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::Full;
use jiff::Timestamp;
use popgate::audit::{Ended, What, read};
use popgate::pki::{Authority, Client as Subject, Validity};
use popgate_demo::client::{Answer, Credentials, Http, get, post};
use popgate_demo::deployment::Site;
use popgate_demo::register::demo::HOA;
use popgate_demo::register::{Fault, population};
use popgate_demo::scenario::{LOOKUP, VERIFY, keys_of_hoa, read_path};
use popgate_tests::made::edit;
use popgate_tests::{Harness, eventually, refusal};
use serde_json::{Value, json};

/// Enrolled for several purposes, so that it must name one.
const SYSTEM: &str = "tax/inspection";

/// Clients that agencies have.
const CLIENTS: [&str; 2] = ["with_aioquic.py", "with_curl_cffi.py"];

#[test]
fn agencies_clients_work_as_they_are() {
    let harness = Harness::start();
    let identity = harness.deployment.site.identity(SYSTEM).unwrap();
    let expected = on_a_runtime(async {
        let client = harness.client_over(SYSTEM, Http::Two);
        let looked_up = client.send(post(LOOKUP, Some("assessment"), &keys_of_hoa())).await.unwrap().json();
        let read = client.send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap().json();
        let refused = client.send(get(&read_path(HOA.number), None)).await.unwrap();
        assert_eq!(read["full_name"], HOA.full_name);
        json!({
            "lookups": [looked_up, looked_up],
            "read": read,
            "refused": { "status": 403, "code": "purpose_missing", "detail": refused.told("detail") },
        })
    });
    let counters = &harness.deployment.gateway.node().counters;
    for script in CLIENTS {
        let before = (counters.h1.value() + counters.h2.value(), counters.h3.value());
        let output = run(script, &harness, Some(&identity));
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout).expect(script);
        assert_eq!(told, expected, "{script}");
        assert_eq!(counters.h1.value() + counters.h2.value(), before.0, "{script} went over TCP");
        assert!(counters.h3.value() > before.1, "{script}");
    }
}

#[test]
fn who_is_not_trusted_does_not_get_in_and_the_reason_is_counted() {
    let harness = Harness::start();
    let site = &harness.deployment.site;
    let revoked = site.identity("bank-a/ekyc").unwrap();
    site.revoke("bank-a/ekyc").unwrap();
    let node = harness.deployment.gateway.node();
    on_a_runtime(eventually("the list is in force", || node.trust().crls().iter().any(|crl| crl.revoked == 1)));
    let foreign = certificate_of_another_authority(&harness);
    let cases =
        [(None, "certificate_missing"), (Some(&foreign), "authority_unknown"), (Some(&revoked), "certificate_revoked")];
    for (identity, reason) in cases {
        for script in CLIENTS {
            let before = failures(&harness);
            let output = run(script, &harness, identity.map(PathBuf::as_path));
            assert!(!output.status.success(), "{script} got in: {reason}");
            assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{script} printed answers: {reason}");
            let counted = || failures(&harness).get(reason) > before.get(reason);
            on_a_runtime(eventually(&format!("{script}: {reason} is counted"), counted));
        }
        let before = failures(&harness).get(reason).copied().unwrap_or_default();
        let authorities = std::fs::read(site.gateway_authority()).unwrap();
        let client = harness
            .quic_with(&Credentials { authorities, identity: identity.map(|file| std::fs::read(file).unwrap()) });
        on_a_runtime(async {
            // The client learns of it by the alert, and the reason's name beside it.
            let told = match client.connect().await {
                Ok(session) => session.quic.closed().await.to_string(),
                Err(error) => error.to_string(),
            };
            assert!(told.contains(reason), "{told}");
        });
        on_a_runtime(eventually(reason, || failures(&harness).get(reason) == Some(&(before + 1))));
    }
    assert_eq!(node.counters.h3.value(), 0, "no handshake led to a connection");
    assert_eq!(harness.deployment.register.faults.requests(), 0);
}

#[tokio::test]
async fn an_answer_is_the_same_as_over_http_2_but_for_alt_svc() {
    let harness = Harness::start();
    let mut two = harness.client_over(SYSTEM, Http::Two).connect().await.unwrap();
    let mut one = harness.client_over(SYSTEM, Http::One).connect().await.unwrap();
    let mut three = harness.quic(SYSTEM).connect().await.unwrap();
    let purpose = Some("assessment");
    let unknown = population::citizen(5);
    let nobody = Fault { status: Some(StatusCode::NOT_FOUND), ..Fault::default() };
    harness.deployment.register.faults.set(unknown, nobody);
    let mut head = get(&read_path(HOA.number), purpose);
    *head.method_mut() = http::Method::HEAD;
    let requests = [
        (200, post(LOOKUP, purpose, &keys_of_hoa())),
        (200, get(&read_path(HOA.number), purpose)),
        (200, post(VERIFY, purpose, &keys_of_hoa())),
        (200, head),
        (404, get(&read_path(unknown), purpose)),
        (403, get(&read_path(HOA.number), None)),
        (404, get("/nothing", purpose)),
        (405, post(&read_path(HOA.number), purpose, &json!({}))),
        (415, post_text(LOOKUP, purpose)),
        (400, post(LOOKUP, purpose, &json!({ "unknown": 1 }))),
    ];
    let alt_svc = format!("h3=\":{}\"; ma=86400", harness.deployment.gateway.https().port());
    for (status, request) in requests {
        let path = request.uri().clone();
        let over_tcp = two.send(request.clone()).await.unwrap();
        let over_quic = three.send(request.clone()).await.unwrap();
        assert_eq!(over_tcp.status.as_u16(), status, "{path}: {}", refusal(&over_tcp));
        assert_eq!((over_quic.status, &over_quic.body), (over_tcp.status, &over_tcp.body), "{path}");
        let (mut tcp, mut quic) = (over_tcp.headers.clone(), over_quic.headers.clone());
        assert_eq!(tcp.remove("alt-svc").unwrap(), alt_svc.as_str(), "{path}");
        assert_eq!(tcp.remove("ratelimit").is_some(), quic.remove("ratelimit").is_some(), "{path}");
        for own in ["date", "gateway-request-id"] {
            assert_eq!(tcp.remove(own).unwrap().len(), quic.remove(own).unwrap().len(), "{path}: {own}");
        }
        // What was asked for a moment before is stored.
        for own in ["age", "cache-status"] {
            tcp.remove(own);
            quic.remove(own);
        }
        assert_eq!(sorted(&quic), sorted(&tcp), "{path}");
    }
    let over_one = one.send(get(&read_path(HOA.number), purpose)).await.unwrap();
    assert_eq!(over_one.headers["alt-svc"], alt_svc.as_str());
    assert!(!three.is_closed());
}

#[tokio::test]
async fn a_disclosure_is_recorded_and_a_refusal_too() {
    let harness = Harness::start();
    let mut session = harness.quic(SYSTEM).connect().await.unwrap();
    let shown = session.send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap();
    let refused = session.send(get(&read_path(HOA.number), Some("treatment"))).await.unwrap();
    assert_eq!((shown.status, refusal(&refused)), (StatusCode::OK, "403 purpose_not_enrolled".to_owned()));
    let (site, _dir) = harness.stop().await;
    let report = read::verify(&site.audit()).unwrap();
    assert_eq!((report.intents, report.closings, report.open, report.refusals), (1, 1, 0, 1));
    let id = |answer: &Answer| answer.headers["gateway-request-id"].to_str().unwrap().to_owned();
    let recorded: Vec<_> = read::entries(&site.audit(), None)
        .unwrap()
        .filter_map(|entry| match entry.unwrap().what {
            What::Intent(intent) => Some(("intent", intent.disclosure.to_string())),
            What::Refused(refused) => Some(("refused", refused.disclosure.to_string())),
            What::Closing(closing) => {
                assert!(matches!(closing.outcome, Ended::Complete(_)), "{closing:?}");
                None
            }
            What::Action(_) => None,
        })
        .collect();
    assert_eq!(recorded, [("intent", id(&shown)), ("refused", id(&refused))]);
}

#[tokio::test]
async fn limits_are_of_the_system_whatever_it_comes_over() {
    let slots = |site: &Site| edit(site, "agencies/tax.toml", "concurrent = 64", "concurrent = 1");
    let harness = Harness::start_made("", slots, |_| {});
    let faults = &harness.deployment.register.faults;
    let slow = Fault { delay_head: Some(Duration::from_millis(700)), ..Fault::default() };
    faults.set(HOA.number, slow.clone());
    faults.set(population::citizen(7), slow);
    let mut three = harness.quic("tax/etax").connect().await.unwrap();
    let mut two = harness.client_over("tax/etax", Http::Two).connect().await.unwrap();
    let other = || get(&read_path(population::citizen(1)), None);

    let waiting = tokio::spawn(async move {
        let answer = two.send(get(&read_path(HOA.number), None)).await.unwrap();
        (two, answer)
    });
    eventually("the register is asked", || faults.requests() == 1).await;
    assert_eq!(refusal(&three.send(other()).await.unwrap()), "429 concurrency_exceeded");
    let (mut two, answer) = waiting.await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);

    let waiting = tokio::spawn(async move { three.send(get(&read_path(population::citizen(7)), None)).await.unwrap() });
    eventually("the register is asked again", || faults.requests() == 2).await;
    let over = two.send(other()).await.unwrap();
    assert_eq!(refusal(&over), "429 concurrency_exceeded");
    assert_eq!(over.headers["retry-after"], "1");
    assert_eq!(waiting.await.unwrap().status, StatusCode::OK);
    assert_eq!(two.send(other()).await.unwrap().status, StatusCode::OK, "the slot is free again");
}

#[tokio::test]
async fn connections_are_counted_together_and_spread_over_the_cores() {
    let harness = Harness::start_with("\n[http]\nmax_connections = 4\n");
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut session = harness.quic("tax/etax").connect().await.unwrap();
        assert_eq!(session.send(get(&read_path(HOA.number), None)).await.unwrap().status, StatusCode::OK);
        open.push(session);
    }
    let tcp = [harness.session("tax/etax").await, harness.session("tax/etax").await];
    let counters = &harness.deployment.gateway.node().counters;
    assert_eq!((counters.open.value(), counters.refused_full.value()), (4, 0));
    let error = harness.quic("tax/etax").connect().await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
    assert_eq!(counters.refused_full.value(), 1);
    drop(tcp);
    eventually("those over TCP have left", || counters.open.value() == 2).await;
    let mut session = harness.quic("tax/etax").connect().await.unwrap();
    assert_eq!(session.send(get(&read_path(HOA.number), None)).await.unwrap().status, StatusCode::OK);
    drop((open, session));
    eventually("all have left", || counters.open.value() == 0).await;
}

#[tokio::test]
async fn without_http3_nothing_listens_on_udp_and_nothing_is_said_of_it() {
    let harness = Harness::start_with("\n[http]\nhttp3 = false\n");
    let address = harness.deployment.gateway.https();
    assert!(std::net::UdpSocket::bind(address).is_ok(), "the port is free");
    for http in [Http::One, Http::Two] {
        let answer = harness.client_over("tax/etax", http).send(get(&read_path(HOA.number), None)).await.unwrap();
        assert_eq!((answer.status, answer.headers.get("alt-svc")), (StatusCode::OK, None));
    }
}

#[tokio::test]
async fn a_port_that_is_taken_on_udp_is_said_with_the_way_out() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let dir = tempfile::tempdir().unwrap();
    let options = popgate_demo::deployment::Options { port, ..Default::default() };
    let error = popgate_demo::deployment::Deployment::start(dir.path(), &options).unwrap_err().to_string();
    assert!(error.contains(&format!("cannot listen on 127.0.0.1:{port}: UDP, for HTTP/3")), "{error}");
    assert!(error.contains("http3 = false"), "{error}");
}

#[tokio::test]
async fn metrics_tell_the_protocol() {
    let harness = Harness::start();
    harness.quic("tax/etax").send(get(&read_path(HOA.number), None)).await.unwrap();
    assert_eq!(harness.metric("popgate_connections_total{protocol=\"h3\"}").await, 1);
    assert_eq!(harness.metric("popgate_handshakes_total{outcome=\"ok\"}").await, 1);
    assert_eq!(harness.metric("popgate_quic_retries_total").await, 0);
}

fn run(script: &str, harness: &Harness, identity: Option<&Path>) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("../target/clients/venv/bin/python");
    assert!(python.exists(), "aioquic and curl_cffi are missing: tests/run installs them in target/clients/venv");
    let mut command = Command::new(python);
    for variable in ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"] {
        command.env_remove(variable);
    }
    command.env("NO_PROXY", "localhost").env("no_proxy", "localhost");
    command.arg(root.join("tests/clients").join(script));
    command.arg(format!("https://localhost:{}", harness.deployment.gateway.https().port()));
    command.arg(harness.deployment.site.gateway_authority()).args(identity);
    command.output().unwrap()
}

/// The right name, issued by an authority that the gateway does not know.
fn certificate_of_another_authority(harness: &Harness) -> PathBuf {
    let site = &harness.deployment.site;
    let life = Validity::days(Timestamp::now(), 30);
    let folder = site.dir().join("another");
    std::fs::create_dir(&folder).unwrap();
    let authority = Authority::create(&folder, "another", life).unwrap();
    let subject = Subject { uri: Some(format!("spiffe://gov.vn/{SYSTEM}")), ..Subject::default() };
    site.write_identity("another", &authority.issue_client(&subject, life).unwrap()).unwrap()
}

fn failures(harness: &Harness) -> BTreeMap<&'static str, u64> {
    harness.deployment.gateway.node().counters.failures().iter().map(|(why, count)| (why.name(), *count)).collect()
}

fn sorted(headers: &HeaderMap) -> BTreeMap<String, String> {
    headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

fn post_text(path: &str, purpose: Option<&str>) -> Request<Full<Bytes>> {
    let mut request = post(path, purpose, &keys_of_hoa());
    request.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    request
}

fn on_a_runtime<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
