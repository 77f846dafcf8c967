//! Promise: an enrolled system gets exactly the fields that the policies show it for its purpose, over HTTP/1.1 and HTTP/2 alike.

use http::StatusCode;
use popgate_demo::client::{Http, get, post};
use popgate_demo::register::demo::{HOA, MINOR, RESIDENT_OF_079};
use popgate_demo::scenario::{LOOKUP, VERIFY, keys_of_hoa, read_path};
use popgate_tests::{Harness, refusal};
use serde_json::json;

#[tokio::test]
async fn the_same_answer_over_http_1_and_http_2() {
    let harness = Harness::start();
    let mut answers = Vec::new();
    for http in [Http::One, Http::Two] {
        let client = harness.client_over("tax/etax", http);
        let answer = client.send(post(LOOKUP, Some("assessment"), &keys_of_hoa())).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        answers.push(answer);
    }
    assert_eq!(answers[0].body, answers[1].body);
    let shown = answers[0].json();
    assert_eq!(shown["full_name"], HOA.full_name);
    assert_eq!(shown["permanent_residence"]["province"], "Hà Nội");
    assert_eq!(shown.get("phone"), None);
    assert_eq!(shown.get("religion"), None);
}

#[tokio::test]
async fn a_system_with_one_purpose_may_omit_it() {
    let harness = Harness::start();
    let answer = harness.client("tax/etax").send(post(LOOKUP, None, &keys_of_hoa())).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    let answer = harness.client("ha-noi/portal").send(post(LOOKUP, None, &keys_of_hoa())).await.unwrap();
    assert_eq!(refusal(&answer), "403 purpose_missing");
}

#[tokio::test]
async fn read_lookup_and_verify_answer_each_in_its_way() {
    let harness = Harness::start();
    let read = harness.client("tax/etax").send(get(&read_path(MINOR.number), Some("assessment"))).await.unwrap();
    assert_eq!(read.status, StatusCode::OK);
    assert_eq!(read.json()["id"], MINOR.number.to_string());
    let claims = json!({
        "id": RESIDENT_OF_079.number.to_string(),
        "full_name": "nguyen  VAN dong",
        "date_of_birth": RESIDENT_OF_079.date_of_birth.to_string(),
        "phone": "0900000000",
    });
    let verified = harness.client("bank-a/ekyc").send(post(VERIFY, Some("e-kyc"), &claims)).await.unwrap();
    assert_eq!(verified.json(), json!({"full_name": true, "date_of_birth": true, "phone": false}));
}

#[tokio::test]
async fn head_tells_the_length_of_what_get_shows() {
    let harness = Harness::start();
    for http in [Http::One, Http::Two] {
        let client = harness.client_over("tax/etax", http);
        let path = read_path(HOA.number);
        let shown = client.send(get(&path, Some("assessment"))).await.unwrap();
        let mut head = get(&path, Some("assessment"));
        *head.method_mut() = http::Method::HEAD;
        let told = client.send(head).await.unwrap();
        assert_eq!(told.status, StatusCode::OK);
        assert_eq!(told.headers["content-length"], shown.headers["content-length"]);
        assert!(told.body.is_empty());
    }
}
