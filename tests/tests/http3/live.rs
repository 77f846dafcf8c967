//! Live connections: revocation, resumption, idleness, drain.

use std::time::{Duration, Instant};

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use popgate::audit::{Ended, What, read};
use popgate::pki::{Client as Subject, Validity};
use popgate_demo::client::get;
use popgate_demo::deployment::{AGENCIES, Deployment};
use popgate_demo::register::demo::{HOA, HUSBAND, SON};
use popgate_demo::register::{Citizen, Fault, Number};
use popgate_demo::scenario::read_path;
use popgate_tests::quic::Session;
use popgate_tests::{Harness, eventually, promised, refusal};
use serde_json::Value;

/// From the change of the list to the end of every connection: noticed within a second, and a second for what is in flight.
const REVOCATION: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_revocation_ends_idle_connections_requests_in_flight_and_answers_in_mid_stream() {
    let harness = Harness::start();
    let faults = harness.deployment.register.faults.clone();
    faults.set(HOA.number, in_pieces(HOA.number));
    faults.set(HUSBAND.number, Fault { delay_head: Some(Duration::from_millis(1900)), ..Fault::default() });
    let client = harness.quic("tax/etax");
    let idle = opened(&harness, "tax/etax").await;
    let mut other = opened(&harness, "tax/inspection").await;
    let mut asking = client.connect().await.unwrap();
    let mut reading = client.clone().with_window(1000).connect().await.unwrap();
    let (response, begun) = reading.start(get(&read_path(HOA.number), None)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let _in_flight = asking.ask(get(&read_path(HUSBAND.number), None)).await.unwrap();
    eventually("the register is asked", || faults.requests() == 2).await;

    let changed = Instant::now();
    harness.deployment.site.revoke("tax/etax").unwrap();
    for session in [&idle, &asking, &reading] {
        let (_, reason) = session.closed().await.unwrap();
        assert_eq!(reason, "certificate_revoked");
    }
    assert!(changed.elapsed() < promised(REVOCATION), "closed after {:?}", changed.elapsed());
    assert!(begun.rest(response).await.is_err(), "an answer that is cut short is not whole");
    assert_eq!(other.send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap().status, StatusCode::OK);
    assert_eq!(harness.metric("popgate_certificates_revoked_live_total").await, 3);
    drop((idle, asking, reading, other));

    let (site, _dir) = harness.stop().await;
    let outcomes: Vec<Ended> = read::entries(&site.audit(), None)
        .unwrap()
        .filter_map(|entry| match entry.unwrap().what {
            What::Closing(closing) => Some(closing.outcome),
            _ => None,
        })
        .collect();
    assert!(outcomes.iter().any(|outcome| matches!(outcome, Ended::Partial(_))), "{outcomes:?}");
    assert!(read::verify(&site.audit()).unwrap().closed);
}

#[tokio::test]
async fn a_request_on_a_revoked_connection_is_told_why() {
    let harness = Harness::start();
    let mut session = opened(&harness, "tax/etax").await;
    let node = harness.deployment.gateway.node();
    harness.deployment.site.revoke("tax/etax").unwrap();
    eventually("the list is in force", || node.trust().crls().iter().any(|crl| crl.revoked == 1)).await;
    let told = session.send(get(&read_path(HOA.number), None)).await.unwrap();
    assert_eq!(refusal(&told), "403 certificate_revoked");
    session.closed().await.unwrap();
}

#[tokio::test]
async fn a_session_is_resumed_under_the_same_trust_only() {
    let harness = Harness::start();
    let client = harness.quic("bank-a/ekyc");
    let node = harness.deployment.gateway.node();
    for resumed in 0..3 {
        let mut session = client.connect().await.unwrap();
        assert_eq!(session.send(get("/nothing", None)).await.unwrap().status, StatusCode::NOT_FOUND);
        assert_eq!(node.counters.resumed.value(), resumed);
    }
    let generation = node.trust().generation();
    harness.deployment.site.revoke("telecom-a/crm").unwrap();
    eventually("the list is in force", || node.trust().generation() > generation).await;
    assert_eq!(client.send(get("/nothing", None)).await.unwrap().status, StatusCode::NOT_FOUND);
    assert_eq!(node.counters.resumed.value(), 2, "after a change of trust nobody resumes");
    let generation = node.trust().generation();
    harness.deployment.site.revoke("bank-a/ekyc").unwrap();
    eventually("the list is in force", || node.trust().generation() > generation).await;
    assert!(client.send(get("/nothing", None)).await.is_err());
}

#[tokio::test]
async fn a_certificate_that_expires_ends_its_connection() {
    let harness = Harness::start_with("\n[http]\nheader_timeout = \"300ms\"\n");
    let now = Timestamp::now();
    let subject = Subject { uri: Some("spiffe://gov.vn/tax/etax".into()), ..Subject::default() };
    let life = Validity::lasting(now, SignedDuration::from_secs(3));
    let issued = harness.deployment.site.authority(AGENCIES).unwrap().issue_client(&subject, life).unwrap();
    let mut session = harness.quic_with(&harness.credentials(&issued)).connect().await.unwrap();
    assert_eq!(session.send(get(&read_path(HOA.number), None)).await.unwrap().status, StatusCode::OK);
    let (_, reason) = session.closed().await.unwrap();
    assert_eq!(reason, "certificate_invalid");
    assert_eq!(harness.deployment.gateway.node().counters.ended_invalid.value(), 1);
}

#[tokio::test]
async fn an_idle_connection_is_let_go_and_a_busy_one_is_not() {
    let harness = Harness::start_with("\n[http]\nidle_timeout = \"700ms\"\n");
    harness
        .deployment
        .register
        .faults
        .set(HOA.number, Fault { delay_head: Some(Duration::from_millis(1500)), ..Fault::default() });
    let mut busy = harness.quic("tax/etax").connect().await.unwrap();
    let idle = harness.quic("tax/etax").connect().await.unwrap();
    let asking = tokio::spawn(async move { busy.send(get(&read_path(HOA.number), None)).await.unwrap() });
    let since = Instant::now();
    let (code, _) = idle.closed().await.unwrap();
    assert_eq!(code, 0x100, "H3_NO_ERROR");
    assert!(since.elapsed() < promised(Duration::from_secs(3)), "{:?}", since.elapsed());
    assert_eq!(asking.await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn a_drain_answers_what_is_in_flight_and_takes_nothing_new() {
    let harness = Harness::start();
    let client = harness.quic("tax/etax");
    let idle = opened(&harness, "tax/etax").await;
    let mut asking = client.connect().await.unwrap();
    let mut late = client.connect().await.unwrap();
    let Deployment { site, gateway, register, .. } = harness.deployment;
    register.faults.set_everyone(Fault { delay_head: Some(Duration::from_millis(900)), ..Fault::default() });
    let in_flight = asking.ask(get(&read_path(HUSBAND.number), None)).await.unwrap();
    let mut late_flight = late.ask(get(&read_path(SON.number), None)).await.unwrap();
    let before = register.faults.requests();
    eventually("the register is asked", || register.faults.requests() >= before.max(2)).await;

    let drain = tokio::spawn(gateway.drain());
    assert_eq!(idle.closed().await.unwrap().0, 0x100, "H3_NO_ERROR");
    // The connection with a request in flight is told to ask no more; what it still asks is not begun.
    let mut refused = false;
    for _ in 0..20 {
        let again =
            async { late.ask(get(&read_path(HOA.number), None)).await?.recv_response().await.map_err(Into::into) };
        let again: Result<_, popgate_tests::quic::Failed> = again.await;
        refused = refused || again.is_err();
    }
    assert!(refused, "a request after the GOAWAY was answered");
    let error = client.connect().await.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
    let mut in_flight = in_flight;
    assert_eq!(in_flight.recv_response().await.unwrap().status(), StatusCode::OK);
    assert_eq!(late_flight.recv_response().await.unwrap().status(), StatusCode::OK);
    while in_flight.recv_data().await.unwrap().is_some() {}
    while late_flight.recv_data().await.unwrap().is_some() {}
    assert_eq!(asking.closed().await.unwrap().0, 0x100);
    drain.await.unwrap();
    let log = read::verify(&site.audit()).unwrap();
    assert!(log.closed);
    assert_eq!((log.intents, log.open), (log.closings, 0));
}

#[tokio::test]
async fn at_the_end_of_its_patience_a_drain_tells_whoever_is_left() {
    let harness = Harness::start();
    let faults = harness.deployment.register.faults.clone();
    faults.set(HOA.number, in_pieces(HOA.number));
    let mut reading = harness.quic("tax/etax").with_window(1000).connect().await.unwrap();
    let (response, begun) = reading.start(get(&read_path(HOA.number), None)).await.unwrap();
    let since = Instant::now();
    harness.deployment.gateway.drain().await;
    assert!(since.elapsed() < promised(Duration::from_secs(8)), "{:?}", since.elapsed());
    reading.closed().await.unwrap();
    assert!(begun.rest(response).await.is_err());
}

/// A connection that has answered once.
async fn opened(harness: &Harness, system: &str) -> Session {
    let mut session = harness.quic(system).connect().await.unwrap();
    let answer = session.send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    session
}

/// A record whose answer has several pieces, and more of them than a client takes that does not read.
fn in_pieces(number: Number) -> Fault {
    let mut record: Value = serde_json::from_slice(&Citizen::of(number).unwrap().to_json()).unwrap();
    record["full_name"] = "a".repeat(20_000).into();
    record["permanent_residence"]["province"] = "b".repeat(20_000).into();
    Fault { body: Some(record.to_string().into()), ..Fault::default() }
}
