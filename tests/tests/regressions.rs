//! Promise: what broke once does not break again. Each test is named after what broke.

use std::fs;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use popgate::app::config::Config;
use popgate_demo::client::{get, post};
use popgate_demo::deployment::{Deployment, Options, Others, Register, Site};
use popgate_demo::register::Fault;
use popgate_demo::register::demo::{HOA, MINOR};
use popgate_demo::scenario::{LOOKUP, VERIFY, keys_of_hoa, read_path};
use popgate_tests::{Harness, refusal};
use serde_json::json;
use tokio::task::JoinSet;

#[test]
fn of_two_reloads_at_once_none_is_lost_and_each_has_its_own_generation() {
    let harness = Harness::start();
    let node = harness.deployment.gateway.node();
    let before = node.trust().generation();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..5).for_each(|_| node.reload_trust().unwrap()));
        }
    });
    assert_eq!(node.trust().generation(), before + 20);
}

#[tokio::test]
async fn guesses_sent_at_once_are_answered_no_oftener_than_guesses_in_turn() {
    let harness = Harness::start_with("[guesses]\nper_subject = 5\n");
    let slow = Fault { delay_head: Some(Duration::from_secs(1)), ..Fault::default() };
    harness.deployment.register.faults.set(HOA.number, slow);
    let guess = json!({"id": HOA.number.to_string(), "full_name": HOA.full_name, "phone": "0900000000"});
    let mut guesses = JoinSet::new();
    for _ in 0..20 {
        let mut session = harness.session("bank-a/ekyc").await;
        let request = post(VERIFY, Some("e-kyc"), &guess);
        guesses.spawn(async move { session.send(request).await.unwrap() });
    }
    let answers = guesses.join_all().await;
    let answered = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!(answered, 5);
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK || refusal(answer) == "404 no_match"));
}

const STALE_AT_ONCE: Option<HeaderValue> = Some(HeaderValue::from_static("max-age=0"));

#[tokio::test]
async fn a_stale_record_does_not_stand_in_for_a_register_that_answers_and_refuses() {
    let harness = Harness::start();
    let faults = &harness.deployment.register.faults;
    let client = harness.client("tax/etax");
    let read = async || client.send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap();
    faults.set(HOA.number, Fault { cache_control: STALE_AT_ONCE, ..Fault::default() });
    assert_eq!(read().await.status, StatusCode::OK);
    for (status, expected) in [(500, "200 "), (403, "502 register_failed"), (451, "502 register_failed")] {
        let status = Some(StatusCode::from_u16(status).unwrap());
        faults.set(HOA.number, Fault { status, cache_control: STALE_AT_ONCE, ..Fault::default() });
        assert_eq!(refusal(&read().await), expected, "{status:?}");
    }
}

#[tokio::test]
async fn a_stale_record_stands_in_only_where_the_operation_that_asks_allows_it() {
    let harness = Harness::start();
    let contract = harness.deployment.site.bundle().join("contracts/population.openapi.yaml");
    let text = fs::read_to_string(&contract).unwrap();
    let strict =
        text.replace("stale-if-error: 10m } # as for citizen.read", "stale-if-error: 0s } # not as for citizen.read");
    assert_ne!(text, strict);
    fs::write(&contract, strict).unwrap();
    harness.deployment.gateway.node().reload_bundle().unwrap();
    let faults = &harness.deployment.register.faults;
    let client = harness.client("tax/etax");
    faults.set(HOA.number, Fault { cache_control: STALE_AT_ONCE, ..Fault::default() });
    let read = || get(&read_path(HOA.number), Some("assessment"));
    let look_up = || post(LOOKUP, Some("assessment"), &keys_of_hoa());
    assert_eq!(client.send(read()).await.unwrap().status, StatusCode::OK);
    let delay_head = Some(Duration::from_millis(500));
    faults.set(HOA.number, Fault { status: Some(StatusCode::BAD_GATEWAY), delay_head, ..Fault::default() });
    assert_eq!(refusal(&client.send(look_up()).await.unwrap()), "502 register_failed");
    let (reading, looking) = tokio::join!(client.send(read()), client.send(look_up()));
    assert_eq!(reading.unwrap().status, StatusCode::OK);
    assert_eq!(refusal(&looking.unwrap()), "502 register_failed", "not through somebody else's fetch either");
}

#[tokio::test]
async fn reloading_the_same_credentials_costs_no_connection_to_a_register() {
    let harness = Harness::start_options(&Options { cores: 1, ..Options::default() });
    let faults = &harness.deployment.register.faults;
    let client = harness.client("tax/etax");
    for known in [HOA, MINOR] {
        let answer = client.send(get(&read_path(known.number), Some("assessment"))).await.unwrap();
        assert_eq!(refusal(&answer), "200 ");
        harness.deployment.gateway.node().reload_registers().unwrap();
    }
    assert_eq!((faults.requests(), faults.connections()), (2, 1));
}

#[tokio::test]
async fn an_endpoint_that_accepts_and_says_nothing_leaves_time_for_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::make(dir.path()).unwrap();
    let register = Register::start(&site).unwrap();
    site.write_config(register.address, &Options::default()).unwrap();
    let dead = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = fs::read_to_string(site.config_file()).unwrap();
    let both = format!("endpoints = [\"https://127.0.0.1:{}\", ", dead.local_addr().unwrap().port());
    fs::write(site.config_file(), text.replace("endpoints   = [", &both)).unwrap();
    let gateway = popgate::app::start(Config::read(&site.config_file()).unwrap(), false).unwrap();
    let deployment = Deployment { site, gateway, register, others: Others::default() };
    let client = deployment.client("tax/etax").unwrap();
    let answer = client.send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap();
    assert_eq!(refusal(&answer), "200 ");
}
