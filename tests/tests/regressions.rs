//! Promise: what broke once does not break again. Each test is named after what broke.

use std::fs;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use popgate::app::config::Config;
use popgate_demo::client::{get, post};
use popgate_demo::deployment::{Deployment, Options, Register, Site};
use popgate_demo::register::Fault;
use popgate_demo::register::demo::HOA;
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
