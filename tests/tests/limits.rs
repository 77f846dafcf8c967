//! Promise: limits hold at every level that has one (system, agency, purpose, day, month, bytes, connections), callers are told how they
//! stand by the fields that clients know, and what is only to warn refuses nothing.

use http::{HeaderMap, Request, StatusCode};
use http_body_util::Full;
use popgate::app::config::Config;
use popgate_demo::client::{Answer, Client, Http, Session, get, post};
use popgate_demo::deployment::Site;
use popgate_demo::register::demo::HOA;
use popgate_demo::scenario::{LOOKUP, VERIFY, keys_of_hoa, read_path};
use popgate_tests::made::{edit, write};
use popgate_tests::{Harness, refusal};
use serde_json::Value;

#[tokio::test]
async fn an_agency_s_limit_is_shared_by_its_systems_and_leaves_others_alone() {
    let harness = telecom("limits = { total = \"3/h\" }", "rate = \"100/s\"");
    let (mut crm, mut shops) = (harness.session("telecom-c/crm").await, harness.session("telecom-c/shops").await);
    assert_eq!(ask(&mut crm).await, "200 ");
    assert_eq!(ask(&mut shops).await, "200 ");
    let last = crm.send(lookup()).await.unwrap();
    assert_eq!(last.status, StatusCode::OK);
    assert_eq!(
        told(&last.headers, "ratelimit-policy"),
        "\"operation\";q=100;w=1, \"concurrent\";q=64;qu=\"concurrent-requests\", \"agency-total\";q=3;w=3600"
    );
    let left = told(&last.headers, "ratelimit");
    assert!(left.starts_with("\"operation\";r=") && left.contains(", \"agency-total\";r=0;t=36"), "{left}");
    for session in [&mut crm, &mut shops] {
        let over = session.send(lookup()).await.unwrap();
        assert_eq!(refusal(&over), "429 rate_exceeded");
        let document: Value = serde_json::from_slice(&over.body).unwrap();
        assert_eq!(document["violated-policies"], serde_json::json!(["agency-total"]));
        let wait: u64 = told(&over.headers, "retry-after").parse().unwrap();
        assert!((1100..=1200).contains(&wait), "one token in twenty minutes: {wait}");
        assert!(told(&over.headers, "ratelimit").contains("\"agency-total\";r=0;t="), "{:?}", over.headers);
    }
    assert_eq!(ask(&mut harness.session("telecom-a/crm").await).await, "200 ");
    assert_eq!(harness.metric("popgate_limits_reached_total{effect=\"refused\",limit=\"agency-total\"}").await, 2);
}

#[tokio::test]
async fn an_agency_s_limit_of_an_operation_counts_that_operation_alone() {
    let harness = telecom("limits = { operations = { \"citizen.verify\" = \"1/h\" } }", "rate = \"100/s\"");
    let (mut crm, mut shops) = (harness.session("telecom-c/crm").await, harness.session("telecom-c/shops").await);
    assert_eq!(refusal(&crm.send(post(VERIFY, None, &keys_of_hoa())).await.unwrap()), "200 ");
    let over = shops.send(post(VERIFY, None, &keys_of_hoa())).await.unwrap();
    assert_eq!(refusal(&over), "429 rate_exceeded");
    assert_eq!(ask(&mut shops).await, "200 ");
}

#[tokio::test]
async fn a_purpose_has_a_limit_of_its_own() {
    let rate = "rate = \"10/s\", burst = 20, concurrent = 8 }";
    let limited = "rate = \"10/s\", burst = 20, concurrent = 8, purposes = { tax-debt = \"1/h\" } }";
    let harness = Harness::start_made("", |site| edit(site, "agencies/tax.toml", rate, limited), |_| {});
    let mut session = harness.session("tax/inspection").await;
    let mut with = async |purpose| {
        let mut request = get(&read_path(HOA.number), Some(purpose));
        request.headers_mut().insert("gateway-case", "TD-1".parse().unwrap());
        request.headers_mut().insert("gateway-user", "inspector-7".parse().unwrap());
        session.send(request).await.unwrap()
    };
    assert_ne!(with("tax-debt").await.status, StatusCode::TOO_MANY_REQUESTS);
    let over = with("tax-debt").await;
    assert_eq!(refusal(&over), "429 rate_exceeded");
    assert!(told(&over.headers, "ratelimit").contains("\"purpose\";r=0"), "{:?}", over.headers);
    assert_eq!(refusal(&with("assessment").await), "200 ", "another purpose is not affected");
}

#[tokio::test]
async fn a_day_s_quota_outlives_a_restart_and_ends_with_the_day() {
    let harness = telecom("", "rate = \"100/s\", per_day = 3, per_month = 50");
    let mut session = harness.session("telecom-c/crm").await;
    let answer = session.send(lookup()).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    let left = told(&answer.headers, "ratelimit");
    assert!(left.contains("\"day\";r=2;t=") && left.contains("\"month\";r=49;t="), "{left}");
    assert!(told(&answer.headers, "ratelimit-policy").contains("\"day\";q=3;w=86400"), "{:?}", answer.headers);
    assert_eq!(ask(&mut session).await, "200 ");
    let (site, _dir) = harness.stop().await;

    // Without its register: what is left of the quota is used by asking.
    let gateway = popgate::app::start(Config::read(&site.config_file()).unwrap(), false).unwrap();
    let client = Client::new(gateway.https(), &site.credentials("telecom-c/crm").unwrap(), Http::One).unwrap();
    assert_eq!(refusal(&client.send(lookup()).await.unwrap()), "503 register_unavailable");
    let over = client.send(lookup()).await.unwrap();
    assert_eq!(refusal(&over), "429 quota_exceeded");
    let wait: u64 = told(&over.headers, "retry-after").parse().unwrap();
    assert!((1..=86_400).contains(&wait), "{wait}");
    // Refused, it used nothing of the month.
    assert!(!told(&over.headers, "ratelimit").contains("month"), "{:?}", over.headers);
    gateway.drain().await;
}

#[tokio::test]
async fn bytes_are_paid_for_after_they_were_sent() {
    // One answer is more than a second's bytes, and allowed: the next waits.
    let harness = telecom("", "rate = \"100/s\", bytes = { rate = \"100B/m\", burst = \"100B\" }");
    let mut session = harness.session("telecom-c/crm").await;
    let first = session.send(lookup()).await.unwrap();
    assert_eq!(first.status, StatusCode::OK);
    let over = session.send(lookup()).await.unwrap();
    assert_eq!(refusal(&over), "429 rate_exceeded");
    let document: Value = serde_json::from_slice(&over.body).unwrap();
    assert_eq!(document["violated-policies"], serde_json::json!(["bytes"]));
    assert!(told(&over.headers, "ratelimit-policy").contains("\"bytes\";q=100;qu=\"content-bytes\";w=60"));
}

#[tokio::test]
async fn a_system_has_so_many_connections_and_the_next_is_closed() {
    let harness = telecom("", "rate = \"100/s\", connections = 2");
    let mut first = harness.session("telecom-c/crm").await;
    let mut second = harness.client_over("telecom-c/crm", Http::Two).connect().await.unwrap();
    assert_eq!((ask(&mut first).await, ask(&mut second).await), ("200 ".to_owned(), "200 ".to_owned()));
    let mut third = harness.session("telecom-c/crm").await;
    assert_eq!(ask(&mut third).await, "429 connections_exceeded");
    assert!(third.send(lookup()).await.is_err(), "the connection is closed");
    // Another system of the agency has its own; and a place that is left is free.
    assert_eq!(ask(&mut harness.session("telecom-c/shops").await).await, "200 ");
    drop(first);
    popgate_tests::eventually("the place is free", || harness.deployment.gateway.node().counters.open.value() <= 3)
        .await;
    let mut again = harness.session("telecom-c/crm").await;
    let mut last = ask(&mut again).await;
    while last == "429 connections_exceeded" {
        again = harness.session("telecom-c/crm").await;
        last = ask(&mut again).await;
    }
    assert_eq!(last, "200 ");
}

#[tokio::test]
async fn one_address_has_so_many_connections() {
    let harness = Harness::start_with("[http]\nconnections_per_address = 3\n");
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(harness.session("tax/etax").await);
    }
    assert!(harness.client("tax/etax").connect().await.is_err());
    assert!(harness.deployment.gateway.node().counters.refused_address.value() >= 1);
    assert_eq!(refusal(&held.pop().unwrap().send(get(&read_path(HOA.number), None)).await.unwrap()), "200 ");
}

#[tokio::test]
async fn a_soft_limit_refuses_nothing_and_is_counted() {
    let harness = telecom("", "rate = \"100/s\", soft = { total = \"2/h\", per_day = 3 }");
    let mut session = harness.session("telecom-c/crm").await;
    for _ in 0..5 {
        let answer = session.send(lookup()).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        assert!(!told(&answer.headers, "ratelimit").contains("total"), "callers are not told of it");
    }
    let soft = async |limit| {
        harness.metric(&format!("popgate_limits_reached_total{{effect=\"soft\",limit=\"{limit}\"}}")).await
    };
    assert_eq!((soft("total").await, soft("day").await), (3, 2));
}

#[tokio::test]
async fn a_dry_run_refuses_nothing_and_tells_what_it_would_have() {
    let limits = telecom_c("limits = { per_day = 1 }", "rate = \"2/h\", concurrent = 1");
    let dry = "[limits]\nmode = \"dry-run\"\n";
    let harness = Harness::start_made(dry, |site| write(site, "agencies/telecom-c.toml", &limits), |_| {});
    let mut session = harness.session("telecom-c/crm").await;
    for _ in 0..5 {
        assert_eq!(ask(&mut session).await, "200 ");
    }
    let dry = async |limit| {
        harness.metric(&format!("popgate_limits_reached_total{{effect=\"dry-run\",limit=\"{limit}\"}}")).await
    };
    assert_eq!((dry("operation").await, dry("agency-day").await), (3, 4));
}

/// A deployment with `telecom-c`, whose agency and whose system `crm` have these limits.
fn telecom(of_agency: &str, of_system: &str) -> Harness {
    let text = telecom_c(of_agency, of_system);
    Harness::start_made("", |site: &Site| write(site, "agencies/telecom-c.toml", &text), |_| {})
}

fn telecom_c(of_agency: &str, of_system: &str) -> String {
    format!(
        "name = {{ vi = \"Viễn thông Mây Trắng\", en = \"May Trang Telecom\" }}\nsector = \"telecom\"\nlevel = \"private\"\n\
         purposes = [\"subscriber-verification\"]\n{of_agency}\n\
         [systems.crm]\nidentity = \"spiffe://gov.vn/telecom-c/crm\"\nlimits = {{ {of_system} }}\n\
         [systems.shops]\nidentity = \"spiffe://gov.vn/telecom-c/shops\"\nlimits = {{ rate = \"100/s\" }}\n"
    )
}

fn lookup() -> Request<Full<bytes::Bytes>> {
    post(LOOKUP, None, &keys_of_hoa())
}

async fn ask(session: &mut Session) -> String {
    let answer: Answer = session.send(lookup()).await.unwrap();
    refusal(&answer)
}

fn told<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}
