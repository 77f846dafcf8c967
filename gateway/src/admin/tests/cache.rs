//! The cache: who may ask what of it, and how refusals are told.

use http_body_util::Full;
use popgate_policy::model::RegisterId;
use serde_json::{Value, json};

use super::*;
use crate::audit::Unavailable;
use crate::cache::order::{Changes, Order, OrderError};

fn enrolled(site: &Site) -> Settings {
    let mut settings = site.settings();
    for (name, role, register) in [
        ("son", Role::Sre, None),
        ("hanh", Role::Approver, None),
        ("duc", Role::Author, None),
        ("population", Role::Register, Some(RegisterId::new("population"))),
    ] {
        let identity = Identity::Uri(format!("spiffe://gov.vn/operator/{name}"));
        settings.operators.insert(name.to_owned(), Operator { identity, roles: vec![role], register });
    }
    settings
}

/// Reads what it is asked as a node does, and tells what it understood.
fn reading() -> AdminState {
    let cache: CacheDesk = Arc::new(|ask| match ask {
        CacheAsk::Status => Ok(json!({ "entries": 3 })),
        CacheAsk::Purge { order, by } => {
            let known = [RegisterId::new("population")];
            let order = Order::parse(&order, known.iter())?;
            if order.reason == "unrecorded" {
                return Err(Unavailable::QueueFull.into());
            }
            Ok(json!({ "by": by, "kind": order.what.kind(), "soft": order.soft }))
        }
        CacheAsk::Changes { register, changes, by } => {
            let changes = Changes::parse(&changes)?;
            Ok(json!({ "by": by, "register": register.as_str(), "subjects": changes.subjects.len() }))
        }
    });
    AdminState { cache, ..state(&[]) }
}

async fn post(site: &Site, at: SocketAddr, who: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = http::Request::post(path).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(bytes::Bytes::from(body.to_owned()))).unwrap();
    send(&site.authority_pem, at, Some(client(&site.authority, who)), request).await.unwrap()
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

#[tokio::test]
async fn who_purges_is_an_sre_or_approver_and_who_tells_of_changes_is_a_register() {
    let site = Site::new();
    let server = start(enrolled(&site), reading()).unwrap();
    let at = server.local_addr();
    let order = r#"{"register": "population", "reason": "INC-1", "soft": true}"#;
    let changes = r#"{"subjects": ["000187000001"]}"#;
    let purge = "`/cache/purge` needs the role `sre` or `approver`";
    for (who, path, body, status, part) in [
        ("son", "/cache/purge", order, 200, r#""by":"son""#),
        ("hanh", "/cache/purge", order, 200, r#""kind":"register""#),
        ("linh", "/cache/purge", order, 403, purge),
        ("duc", "/cache/purge", order, 403, purge),
        ("minh", "/cache/purge", order, 403, purge),
        ("population", "/cache/purge", order, 403, purge),
        ("eve", "/cache/purge", order, 403, "operator_not_enrolled"),
        ("population", "/cache/changes", changes, 200, r#""register":"population""#),
        ("son", "/cache/changes", changes, 403, "`/cache/changes` needs the role `register`"),
        ("eve", "/cache/changes", changes, 403, "operator_not_enrolled"),
    ] {
        let answer = post(&site, at, who, path, JSON, body).await;
        assert_eq!(answer.status, status, "{who} {path}: {}", answer.body);
        assert!(answer.body.contains(part), "{who} {path}: {}", answer.body);
    }
    for (who, path, status) in [
        ("linh", "/cache", 200),
        ("son", "/cache", 200),
        ("minh", "/cache", 403),
        ("population", "/cache", 403),
        ("population", "/bundles", 403),
        ("population", "/bundle", 403),
        ("population", "/metrics", 403),
        ("son", "/cache/purge", 405),
    ] {
        let answer = site.get(at, Some(who), path).await.unwrap();
        assert_eq!(answer.status, status, "{who} {path}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_malformed_body_is_told_by_member_and_place_and_never_repeated() {
    let site = Site::new();
    let server = start(enrolled(&site), reading()).unwrap();
    let at = server.local_addr();
    let page: &[(&str, &str)] = &[("content-type", "application/json"), ("origin", "https://evil.example")];
    let long = format!(r#"{{"subjects": ["{}"]}}"#, "0".repeat(600 << 10));
    for (who, path, headers, body, status, code, part) in [
        ("son", "/cache/purge", &[][..], "{}", 415, "media_type_unsupported", "Content-Type"),
        ("son", "/cache/purge", page, "{}", 403, "origin_refused", "Origin"),
        ("son", "/cache/purge", JSON, "\"000187000001\"", 400, "purge_invalid", "send a JSON object"),
        (
            "son",
            "/cache/purge",
            JSON,
            r#"{"subject": "000187000001 x", "reason": "r"}"#,
            400,
            "purge_invalid",
            "`subject`",
        ),
        ("son", "/cache/purge", JSON, r#"{"subject": "1", "reason": "r", "hard": 1}"#, 400, "purge_invalid", "`hard`"),
        (
            "son",
            "/cache/purge",
            JSON,
            r#"{"register": "000187000001", "reason": "r"}"#,
            422,
            "unknown_register",
            "`population`",
        ),
        (
            "son",
            "/cache/purge",
            JSON,
            r#"{"all": true, "reason": "unrecorded"}"#,
            503,
            "audit_unavailable",
            "queue is full",
        ),
        (
            "population",
            "/cache/changes",
            JSON,
            r#"{"subjects": ["1", "000187000001 x"]}"#,
            400,
            "purge_invalid",
            "`subjects[1]`",
        ),
        (
            "population",
            "/cache/changes",
            JSON,
            r#"{"register": "land", "tags": ["a"]}"#,
            400,
            "purge_invalid",
            "`register`",
        ),
        ("population", "/cache/changes", JSON, &long, 413, "body_too_large", "in another request"),
    ] {
        let answer = post(&site, at, who, path, headers, body).await;
        assert_eq!((answer.status, answer.kind.as_str()), (status, "application/problem+json"), "{}", answer.body);
        let told: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(told["code"], code, "{told}");
        assert!(told["detail"].as_str().unwrap().contains(part), "{told}");
        assert!(!answer.body.contains("000187000001"), "{told}");
    }
    let ending: CacheDesk = Arc::new(|_| Err(OrderError::Ending));
    drop(server);
    let server = start(enrolled(&site), AdminState { cache: ending, ..state(&[]) }).unwrap();
    let answer = site.get(server.local_addr(), Some("linh"), "/cache").await.unwrap();
    assert_eq!(answer.status, 503, "{}", answer.body);
}
