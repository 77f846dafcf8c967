//! Promise: whoever sends a request that is not as the contract says is told every mistake at once, where it is and what must be;
//! what was sent is never repeated.

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use popgate_demo::client::{Answer, Http, get, post};
use popgate_demo::deployment::Site;
use popgate_demo::register::demo::HOA;
use popgate_demo::scenario::{LOOKUP, VERIFY, keys_of_hoa, read_path};
use popgate_tests::made::edit;
use popgate_tests::{Harness, refusal};
use serde_json::{Value, json};

const CONTRACT: &str = "contracts/population.openapi.yaml";
/// What no answer may repeat.
const MARKER: &str = "Zq7xy";

#[tokio::test]
async fn every_mistake_of_a_body_is_told_with_its_pointer() {
    let harness = Harness::start();
    let asked = harness.deployment.register.faults.requests();
    for http in [Http::One, Http::Two] {
        let mut session = harness.client_over("tax/etax", http).connect().await.unwrap();
        let body = json!({ "id": MARKER, "date_of_birth": "14.03.1987", MARKER: MARKER });
        let answer = session.send(post(LOOKUP, None, &body)).await.unwrap();
        assert_eq!(refusal(&answer), "400 parameter_invalid");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(
            answer.json()["errors"],
            json!([
                { "pointer": "/full_name", "detail": "is missing" },
                { "pointer": "/id", "detail": "must match ^[0-9]{12}$" },
                { "pointer": "/date_of_birth", "detail": "must be a date such as 2001-12-31" },
                { "pointer": "/date_of_birth", "detail": "must match ^[0-9]{4}-[0-9]{2}-[0-9]{2}$" },
                { "pointer": "", "detail": "must have no member but those that are declared: id, full_name, date_of_birth" },
            ])
            .as_array()
            .map(|expected| sorted(expected, &answer))
            .unwrap()
        );
        assert!(answer.told("detail").starts_with("parameter `id` is not valid"), "{}", answer.told("detail"));
        assert!(!text(&answer).contains(MARKER) && !text(&answer).contains("1987"), "{}", text(&answer));
    }
    assert_eq!(harness.deployment.register.faults.requests(), asked, "no register was asked");
}

#[tokio::test]
async fn parameters_outside_the_body_are_told_by_their_names() {
    let harness = Harness::start();
    let mut session = harness.session("tax/etax").await;
    let answer = session.send(get(&format!("/population/v1/citizens/{MARKER}?{MARKER}=1"), None)).await.unwrap();
    assert_eq!(refusal(&answer), "400 parameter_invalid");
    let query = json!({ "detail": "the query must have no parameter but those that are declared: none" });
    assert_eq!(answer.json()["errors"], json!([{ "parameter": "id", "detail": "must match ^[0-9]{12}$" }, query]));
    assert!(!text(&answer).contains(MARKER));
    let mut with_body = get(&read_path(HOA.number), None);
    *with_body.body_mut() = Full::new(Bytes::from_static(b"{}"));
    let answer = session.send(with_body).await.unwrap();
    assert_eq!(refusal(&answer), "400 parameter_invalid");
    assert_eq!(
        answer.json()["errors"],
        json!([{ "pointer": "", "detail": "must be empty: this operation takes no body" }])
    );
}

#[tokio::test]
async fn what_the_schema_says_is_enforced_whatever_the_keyword() {
    let harness = Harness::start_made("", constrained, |_| {});
    let mut session = harness.session("tax/etax").await;
    let claims = |name: &str, phone: &str| json!({ "id": HOA.number.to_string(), "full_name": name, "phone": phone });
    let answer = session.send(post(VERIFY, None, &claims("L", "0900000001"))).await.unwrap();
    assert_eq!(refusal(&answer), "400 parameter_invalid");
    let errors = json!([
        { "pointer": "/full_name", "detail": "must have at least 2 characters" },
        { "pointer": "/phone", "detail": "must be one of 0900000000, 0912345678" },
    ]);
    assert_eq!(answer.json()["errors"], errors);
    let answer = session.send(post(VERIFY, None, &claims(HOA.full_name, "0912345678"))).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", refusal(&answer));
    // The view says the same.
    let view = session.send(get("/.well-known/openapi", None)).await.unwrap().json();
    let body = &view["paths"][VERIFY]["post"]["requestBody"];
    assert_eq!(body["content"]["application/json"]["schema"]["$ref"], "#/components/schemas/Claims");
    assert_eq!(view["components"]["schemas"]["Claims"]["properties"]["full_name"]["minLength"], 2);
    assert_eq!(body["description"], "At most 300 bytes.");
}

#[tokio::test]
async fn an_operation_may_take_less_than_the_node() {
    let harness = Harness::start_made("", constrained, |_| {});
    for http in [Http::One, Http::Two] {
        let long = json!({ "id": HOA.number.to_string(), "full_name": "x".repeat(300) });
        let answer = harness.client_over("tax/etax", http).send(post(VERIFY, None, &long)).await.unwrap();
        assert_eq!(refusal(&answer), "413 body_too_large");
        assert_eq!(answer.told("detail"), "send at most 300 bytes");
        let answer = harness.client_over("tax/etax", http).send(post(LOOKUP, None, &long)).await.unwrap();
        assert_eq!(refusal(&answer), "400 parameter_invalid", "another operation reads it");
    }
}

#[tokio::test]
async fn a_body_of_another_type_is_told_which_is_taken() {
    let harness = Harness::start();
    let mut session = harness.session("tax/etax").await;
    let mut send = async |types: &[&'static str], encoding: Option<&'static str>| {
        let mut request: Request<Full<Bytes>> = post(LOOKUP, None, &keys_of_hoa());
        request.headers_mut().remove("content-type");
        for kind in types {
            request.headers_mut().append("content-type", HeaderValue::from_static(kind));
        }
        if let Some(encoding) = encoding {
            request.headers_mut().insert("content-encoding", HeaderValue::from_static(encoding));
        }
        session.send(request).await.unwrap()
    };
    for kind in ["application/json", "Application/JSON; Charset=UTF-8", "application/json;charset=\"utf-8\""] {
        let answer = send(&[kind], None).await;
        assert_eq!(answer.status, StatusCode::OK, "{kind}: {}", refusal(&answer));
    }
    for (types, encoding) in [
        (&[][..], None),
        (&["text/plain"], None),
        (&["application/json; charset=latin1"], None),
        (&["application/json; version=2"], None),
        (&["application/x-ndjson"], None),
        (&["application/json", "text/plain"], None),
        (&["application/json"], Some("gzip")),
    ] {
        let answer = send(types, encoding).await;
        assert_eq!(refusal(&answer), "415 media_type_unsupported", "{types:?}");
        assert_eq!(answer.headers["accept-post"], "application/json");
        assert!(answer.told("detail").starts_with("send Content-Type: application/json"), "{}", answer.told("detail"));
    }
}

/// A contract that says more of a claim than a length and a pattern.
fn constrained(site: &Site) {
    let phone = "          pattern: '^0[0-9]{9}$'\n          maxLength: 10\n";
    edit(site, CONTRACT, phone, "          enum: ['0900000000', '0912345678']\n");
    edit(
        site,
        CONTRACT,
        "          minLength: 1\n          maxLength: 200\n",
        "          minLength: 2\n          maxLength: 200\n",
    );
    edit(
        site,
        CONTRACT,
        "      x-gateway-answer: match\n",
        "      x-gateway-answer: match\n      x-gateway-max-body: 300\n",
    );
}

/// The expected errors in the answer's order, which is that of the schema's keywords.
fn sorted(expected: &[Value], answer: &Answer) -> Value {
    let told = answer.json().get("errors").and_then(Value::as_array).cloned().unwrap_or_default();
    let place = |error: &Value| told.iter().position(|known| known == error).unwrap_or(usize::MAX);
    let mut expected = expected.to_vec();
    expected.sort_by_key(place);
    expected.into()
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}
