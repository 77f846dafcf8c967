//! Promise: every caller can fetch its own contract, which holds exactly what it may use and see, and is told when it changes.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use http::{HeaderValue, Method, StatusCode};
use popgate_demo::client::{Answer, Http, Session, get, post};
use popgate_demo::register::demo::HOA;
use popgate_demo::scenario::{LOOKUP, VERIFY, keys_of_hoa, read_path};
use popgate_tests::{Harness, eventually, refusal};
use serde_json::{Value, json};

const VIEW: &str = "/.well-known/openapi";
const READ: &str = "/population/v1/citizens/{id}";

/// Systems that differ in what they may see: much, little, masked, matched, under conditions, for several purposes.
const SYSTEMS: [&str; 7] = [
    "tax/etax",
    "tax/inspection",
    "an-giang/portal",
    "telecom-a/crm",
    "bank-a/ekyc",
    "hospital-central/his",
    "statistics/warehouse",
];

#[tokio::test]
async fn views_are_valid_openapi_and_answers_are_what_they_say() {
    let harness = Harness::start();
    let mut told = json!({ "views": {}, "answers": [] });
    for system in SYSTEMS {
        let mut session = harness.session(system).await;
        let answer = session.send(get(VIEW, None)).await.unwrap();
        if refusal(&answer) == "403 network_not_listed" {
            continue;
        }
        assert_eq!(answer.status, StatusCode::OK, "{system}: {}", refusal(&answer));
        assert!(!String::from_utf8_lossy(&answer.body).contains("x-gateway"), "{system}");
        let view = answer.json();
        told["views"][system] = json!({ "json": text(&answer), "yaml": text(&yaml(&mut session).await) });
        for (path, method, request) in [
            (READ, "get", None),
            (LOOKUP, "post", Some(keys_of_hoa())),
            (VERIFY, "post", Some(json!({ "id": HOA.number.to_string(), "full_name": HOA.full_name }))),
        ] {
            let operation = &view["paths"][path][method];
            for purpose in operation["parameters"][0]["schema"]["enum"].as_array().into_iter().flatten() {
                let purpose = purpose.as_str();
                let mut request = match &request {
                    None => get(&read_path(HOA.number), purpose),
                    Some(body) => post(path, purpose, body),
                };
                for name in ["gateway-case", "gateway-user", "gateway-assurance"] {
                    request.headers_mut().insert(name, HeaderValue::from_static("substantial"));
                }
                let answer = session.send(request).await.unwrap();
                // A condition, or the day, may refuse what a view offers.
                if answer.status == StatusCode::OK {
                    let answers = told["answers"].as_array_mut().unwrap();
                    answers.push(json!({ "view": system, "path": path, "method": method, "answer": answer.json() }));
                } else {
                    let codes = operation["responses"].as_object().unwrap();
                    assert!(codes.contains_key(&answer.status.as_u16().to_string()), "{system}: {}", refusal(&answer));
                }
            }
        }
    }
    let (views, answers) = (told["views"].as_object().unwrap().len(), told["answers"].as_array().unwrap().len());
    assert!(views >= 6 && answers >= 8, "{views} views, {answers} answers");
    assert_eq!(judged(&told), "");
}

#[tokio::test]
async fn the_judge_sees_what_is_wrong() {
    let harness = Harness::start();
    let answer = harness.client("tax/etax").send(get(VIEW, None)).await.unwrap();
    let wrong = text(&answer).replace("\"operationId\"", "\"operationid\"");
    let answer = json!({ "id": 7, "religion": "none" });
    let told = json!({
        "views": { "wrong": { "json": wrong, "yaml": "openapi: 3.1.0\n" } },
        "answers": [{ "view": "wrong", "path": READ, "method": "get", "answer": answer }],
    });
    let said = judged(&told);
    for part in ["operationid", "its yaml says something else", "['id']", "/religion is in the answer"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[tokio::test]
async fn a_view_is_the_callers_own() {
    let harness = Harness::start();
    let etax = harness.client("tax/etax").send(get(VIEW, None)).await.unwrap().json();
    let crm = harness.client("telecom-a/crm").send(get(VIEW, None)).await.unwrap().json();
    let paths = |view: &Value| -> Vec<String> { view["paths"].as_object().unwrap().keys().cloned().collect() };
    let citizens = |view: &Value| -> Vec<String> {
        paths(view).into_iter().filter(|path| path.starts_with("/population/v1/citizens/")).collect()
    };
    assert_eq!(citizens(&etax), [READ, LOOKUP, VERIFY]);
    assert_eq!(citizens(&crm), [LOOKUP, VERIFY], "a telecom reads no record by its number");
    assert!(paths(&etax).iter().any(|path| path.starts_with("/tax/")));
    assert!(!paths(&crm).iter().any(|path| path.starts_with("/tax/")), "another register's are its own callers'");
    // Operations that show the same record differently have a schema each.
    let record = |view: &Value, path: &str, method: &str| -> Value {
        let answer = &view["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"];
        view.pointer(answer.as_str().unwrap().trim_start_matches('#')).unwrap()["properties"].clone()
    };
    let fields = |record: &Value| -> Vec<String> { record.as_object().unwrap().keys().cloned().collect() };
    assert!(fields(&record(&etax, READ, "get")).contains(&"children_ids".to_owned()));
    let shown = record(&crm, LOOKUP, "post");
    assert_eq!(fields(&shown), ["date_of_birth", "phone"]);
    assert_eq!(shown["date_of_birth"]["type"], "integer");
    let purposes = |view: &Value| view["paths"][LOOKUP]["post"]["parameters"][0]["schema"]["enum"].clone();
    assert_eq!((purposes(&etax), purposes(&crm)), (json!(["assessment"]), json!(["subscriber-verification"])));
    assert_eq!(etax["paths"][LOOKUP]["post"]["x-ratelimit"]["requests"], 200);

    // One purpose of several.
    let mut session = harness.session("tax/inspection").await;
    let narrow = session.send(get(&format!("{VIEW}?purpose=tax-debt"), None)).await.unwrap();
    assert_eq!(citizens(&narrow.json()), [LOOKUP]);
    assert_eq!(purposes(&narrow.json()), json!(["tax-debt"]));
    assert_ne!(narrow.headers["etag"].to_str().unwrap().trim_matches('"'), narrow.headers["gateway-view"]);
    for (query, expected) in [
        ("purpose=treatment", "403 purpose_not_enrolled"),
        ("purpose=fishing", "403 purpose_unknown"),
        ("purposes=tax-debt", "400 parameter_invalid"),
        ("purpose=tax-debt&purpose=assessment", "400 parameter_invalid"),
    ] {
        let answer = session.send(get(&format!("{VIEW}?{query}"), None)).await.unwrap();
        assert_eq!(refusal(&answer), expected, "{query}");
    }
    let answer = session.send(post(VIEW, None, &json!({}))).await.unwrap();
    assert_eq!(
        (refusal(&answer), &answer.headers["allow"]),
        ("405 method_not_allowed".into(), &HeaderValue::from_static("GET, HEAD"))
    );
    let nobody = harness.client("tax/nobody").send(get(VIEW, None)).await.unwrap();
    assert_eq!(refusal(&nobody), "403 system_not_enrolled");
    assert!(!nobody.headers.contains_key("gateway-view"));
}

#[tokio::test]
async fn a_view_is_fetched_again_only_if_it_changed() {
    let harness = Harness::start();
    for http in [Http::One, Http::Two] {
        let mut session = harness.client_over("tax/etax", http).connect().await.unwrap();
        let first = session.send(get(VIEW, None)).await.unwrap();
        assert_eq!(first.headers["cache-control"], "private, no-cache");
        assert_eq!(first.headers["content-type"], "application/json");
        assert_eq!(first.headers["vary"], "accept");
        assert_eq!(first.headers["content-length"], first.body.len().to_string().as_str());
        let tag = first.headers["etag"].clone();
        assert_eq!(tag.to_str().unwrap().trim_matches('"'), first.headers["gateway-view"]);

        let mut again = get(VIEW, None);
        again.headers_mut().insert("if-none-match", tag.clone());
        let again = session.send(again).await.unwrap();
        assert_eq!((again.status, again.body.len(), &again.headers["etag"]), (StatusCode::NOT_MODIFIED, 0, &tag));
        assert!(!again.headers.contains_key("content-length") && !again.headers.contains_key("content-type"));

        let mut head = get(VIEW, None);
        *head.method_mut() = Method::HEAD;
        let head = session.send(head).await.unwrap();
        assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
        assert_eq!(head.headers["content-length"], first.headers["content-length"]);

        let yaml = yaml(&mut session).await;
        assert_eq!(yaml.headers["content-type"], "application/yaml");
        assert_ne!(yaml.headers["etag"], tag, "another representation");
        assert!(text(&yaml).starts_with("openapi: \"3.1.0\"\ninfo:\n"), "{}", text(&yaml));
    }
}

#[tokio::test]
async fn every_answer_names_the_version_of_the_view() {
    let harness = Harness::start();
    let mut session = harness.session("tax/etax").await;
    let other = harness.client("telecom-a/crm").send(get(VIEW, None)).await.unwrap();
    let shown = session.send(get(&read_path(HOA.number), None)).await.unwrap();
    let refused = session.send(get("/nothing", None)).await.unwrap();
    assert_eq!((shown.status, refused.status), (StatusCode::OK, StatusCode::NOT_FOUND));
    let first = digest(&shown).unwrap();
    assert_eq!(Some(&first), digest(&refused).as_ref());
    assert_ne!(Some(&first), digest(&other).as_ref());

    // Another bundle, in which nothing changed for this caller.
    let path = "policies/telecom.cedar";
    let policies = std::fs::read_to_string(harness.deployment.site.bundle().join(path)).unwrap();
    harness.reload(path, &policies.replacen("@mask(\"year\")\n", "", 1)).await;
    assert_eq!(settled(&harness, &mut session, "tax/etax").await, first);
    let mut telecom = harness.session("telecom-a/crm").await;
    assert_ne!(Some(settled(&harness, &mut telecom, "telecom-a/crm").await), digest(&other));

    // Then one in which something did.
    let path = "policies/tax.cedar";
    let policies = std::fs::read_to_string(harness.deployment.site.bundle().join(path)).unwrap();
    let cut = policies.find("@id(\"tax-dependants-for-assessment\")").unwrap();
    let end = cut + policies[cut..].find(";\n").unwrap() + 2;
    harness.reload(path, &(policies[..cut].to_owned() + &policies[end..])).await;
    let changed = settled(&harness, &mut session, "tax/etax").await;
    assert_ne!(changed, first);
    let view = session.send(get(VIEW, None)).await.unwrap();
    assert_eq!(view.headers["etag"].to_str().unwrap().trim_matches('"'), changed);
    assert!(!text(&view).contains("children_ids"));
}

#[tokio::test]
async fn without_anybodys_help_the_digest_comes_with_the_answers_soon() {
    let harness = Harness::start();
    // A client that was made without its view.
    let mut session = harness.deployment.client("tax/etax").unwrap().connect().await.unwrap();
    let since = std::time::Instant::now();
    loop {
        let answer = session.send(get("/nothing", None)).await.unwrap();
        if digest(&answer).is_some() {
            break;
        }
        assert!(since.elapsed().as_secs() < 20, "no view was made");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn views_have_a_rate_of_their_own_and_leave_no_record() {
    let harness = Harness::start();
    let mut session = harness.session("tax/inspection").await;
    let before = harness.metric("popgate_audit_records_total").await;
    let mut over = None;
    for _ in 0..40 {
        let answer = session.send(get(VIEW, None)).await.unwrap();
        if answer.status != StatusCode::OK {
            over = Some(answer);
            break;
        }
    }
    let over = over.unwrap();
    assert_eq!(refusal(&over), "429 rate_exceeded");
    assert_eq!(over.headers["retry-after"], "1");
    let records = harness.metric("popgate_audit_records_total").await;
    assert_eq!(records, before, "a view discloses nothing about anybody");
    // 20 at once are what the system may ask of the register: they are all still there.
    let answer = session.send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", refusal(&answer));
}

/// The digest once it is known again after a reload.
async fn settled(harness: &Harness, session: &mut Session, system: &str) -> String {
    harness.make_view(system);
    let answer = session.send(get("/nothing", None)).await.unwrap();
    eventually("the view is made", || answer.headers.contains_key("gateway-view")).await;
    digest(&answer).unwrap()
}

fn digest(answer: &Answer) -> Option<String> {
    Some(answer.headers.get("gateway-view")?.to_str().unwrap().to_owned())
}

async fn yaml(session: &mut Session) -> Answer {
    let mut request = get(VIEW, None);
    request.headers_mut().insert("accept", HeaderValue::from_static("application/yaml"));
    session.send(request).await.unwrap()
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.to_vec()).unwrap()
}

/// What the independent judges find wrong.
fn judged(told: &Value) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("../target/clients/venv/bin/python");
    assert!(python.exists(), "openapi-spec-validator is missing: tests/run installs it in target/clients/venv");
    let mut child = Command::new(python)
        .arg(root.join("tests/view/validate.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(told.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the judge itself failed");
    String::from_utf8(output.stdout).unwrap()
}
