//! What the records say.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use popgate::audit::{ClosingEntry, Ended, Entry, IntentEntry, NoMatch, PurposeSource, Schema, What, read};
use popgate_demo::client::{Answer, Http, get, post};
use popgate_demo::register::demo::{HOA, RESIDENT_OF_079};
use popgate_demo::register::{Citizen, Fault};
use popgate_demo::scenario::{LOOKUP, VERIFY, keys_of_hoa, read_path};
use popgate_policy::model::FieldSet;
use popgate_tests::{Harness, eventually, node, refusal};
use serde_json::{Value, json};

use super::{entries, id, intent, leaves, refused};

#[tokio::test]
async fn the_intent_is_the_widest_and_the_closing_says_what_was_shown() {
    let harness = Harness::start();
    let mut asked = Vec::new();
    for (system, purpose, path, body) in [
        ("tax/etax", "assessment", LOOKUP, keys_of_hoa()),
        ("telecom-a/crm", "subscriber-verification", LOOKUP, keys_of_hoa()),
        ("ha-noi/portal", "residence-management", LOOKUP, keys_of_hoa()),
    ] {
        let mut request = post(path, Some(purpose), &body);
        request.headers_mut().insert("gateway-case", "CASE-7".parse().unwrap());
        request.headers_mut().insert("x-request-id", "theirs-1".parse().unwrap());
        let answer = harness.client_over(system, Http::Two).send(request).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{system}: {}", refusal(&answer));
        asked.push((system, purpose, answer));
    }
    let claims = json!({
        "id": HOA.number.to_string(), "full_name": "LE THI HOA", "date_of_birth": HOA.date_of_birth.to_string(),
        "phone": "0999999999",
    });
    let verified = harness.client("bank-a/ekyc").send(post(VERIFY, None, &claims)).await.unwrap();
    let mut head = get(&read_path(HOA.number), Some("assessment"));
    *head.method_mut() = Method::HEAD;
    let headed = harness.client("tax/etax").send(head).await.unwrap();
    let read = harness.client("tax/etax").send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap();
    assert_eq!((verified.status, headed.status, read.status), (StatusCode::OK, StatusCode::OK, StatusCode::OK));
    assert!(headed.body.is_empty());

    settled(&harness).await;
    let entries = entries(&harness.deployment.site);
    for (system, purpose, answer) in &asked {
        let (intent, closing) = disclosure(&entries, answer);
        assert_eq!((&*intent.system, &*intent.operation, &*intent.purpose), (*system, "citizen.lookup", *purpose));
        assert_eq!(intent.purpose_source, PurposeSource::Header);
        let sealed = intent.sealed.as_ref().unwrap();
        assert_eq!(sealed.subject.as_ref().unwrap().expose(), &HOA.number.to_string());
        assert_eq!(sealed.claimed.case.as_ref().unwrap().expose(), "CASE-7");
        assert_eq!(sealed.claimed.request_id.as_ref().unwrap().expose(), "theirs-1");
        assert!(intent.source.is_loopback());
        assert_eq!(intent.schema.bundle, harness.deployment.gateway.node().live().bundle.digest());
        let Ended::Complete(shown) = closing.outcome else { panic!("{system}: {closing:?}") };
        let (revealed, masked) = (names(&intent.schema, shown.revealed), names(&intent.schema, shown.masked));
        let answered = leaves(&answer.json());
        assert_eq!(revealed.union(&masked).cloned().collect::<BTreeSet<_>>(), answered, "{system}");
        assert_eq!(masked.contains("date_of_birth"), *system == "telecom-a/crm", "{system}: {masked:?}");
        let guarded: BTreeSet<_> = ["full_name", "date_of_birth"].map(str::to_owned).into();
        let matched = names(&intent.schema, shown.matched);
        assert_eq!(matched, &guarded - &revealed, "{system}: a guard that held says more than a mask");
        let widest = names(&intent.schema, intent.fields);
        assert!(widest.is_superset(&answered) && widest.is_superset(&guarded), "{system}: the intent is too narrow");
    }

    let (intent, closing) = disclosure(&entries, &verified);
    assert_eq!((&*intent.operation, intent.purpose_source), ("citizen.verify", PurposeSource::Default));
    let Ended::Complete(shown) = closing.outcome else { panic!("{closing:?}") };
    assert_eq!((shown.revealed, shown.masked), (FieldSet::EMPTY, FieldSet::EMPTY));
    let told: BTreeSet<_> = ["full_name", "date_of_birth", "phone"].map(str::to_owned).into();
    assert_eq!(names(&intent.schema, shown.matched), told, "a `no` tells something, too");
    assert_eq!(verified.json(), json!({"full_name": true, "date_of_birth": true, "phone": false}));
    assert!(names(&intent.schema, intent.fields).is_superset(&told));

    let (_, of_head) = disclosure(&entries, &headed);
    let (_, of_get) = disclosure(&entries, &read);
    assert!(matches!(of_head.outcome, Ended::Complete(_)));
    assert_eq!(of_head.outcome, of_get.outcome, "the head tells of the same fields");
}

#[tokio::test]
async fn an_answer_that_a_client_left_unread_is_partial() {
    let harness = Harness::start();
    // A record that is sent in several pieces.
    let mut record = serde_json::to_value(Citizen::of(HOA.number).unwrap()).unwrap();
    record["permanent_residence"]["address"] = json!("Số 1 phố Dài ".repeat(300));
    let body = Some(record.to_string().into());
    harness.deployment.register.faults.set(HOA.number, Fault { body, ..Fault::default() });
    let tls = harness.client_over("tax/etax", Http::Two).connect_tls().await.unwrap();
    // No room for a byte of a body: the head arrives, the rest stays here.
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(0)
        .handshake::<_, Full<bytes::Bytes>>(TokioIo::new(tls))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let mut request = get(&format!("https://localhost{}", read_path(HOA.number)), Some("assessment"));
    *request.version_mut() = http::Version::HTTP_2;
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let id = response.headers()["gateway-request-id"].to_str().unwrap().to_owned();
    let before = entries(&harness.deployment.site);
    assert!(intent(&before, &id).is_some(), "recorded before its head");
    assert_eq!(closing(&before, &id), None, "nothing is known of what became of it");
    drop((response, sender));
    connection.abort();

    settled(&harness).await;
    let entries = entries(&harness.deployment.site);
    let intent = intent(&entries, &id).unwrap();
    let Some(Ended::Partial(shown)) = closing(&entries, &id).map(|closing| closing.outcome.clone()) else {
        panic!("{:?}", closing(&entries, &id));
    };
    assert!(names(&intent.schema, shown.revealed).contains("full_name"), "what it would have shown");
}

#[tokio::test]
async fn the_log_knows_why_an_answer_was_no_match_and_who_was_refused() {
    let harness = Harness::start_with("[guesses]\nper_subject = 3\n");
    let mut wrong = keys_of_hoa();
    wrong["date_of_birth"] = json!("1987-03-15");
    let mut unknown = keys_of_hoa();
    unknown["id"] = json!("001187999999");
    let elsewhere = json!({
        "id": RESIDENT_OF_079.number.to_string(),
        "full_name": RESIDENT_OF_079.full_name,
        "date_of_birth": RESIDENT_OF_079.date_of_birth.to_string(),
    });
    let lies = json!({ "id": HOA.number.to_string(), "full_name": "Trần Văn Sai", "date_of_birth": "1950-01-01" });
    let unmatched = [
        ("tax/etax", None, LOOKUP, &wrong, NoMatch::Guard),
        ("tax/etax", None, LOOKUP, &unknown, NoMatch::Unknown),
        ("ha-noi/portal", Some("residence-management"), LOOKUP, &elsewhere, NoMatch::Hidden),
        ("bank-a/ekyc", None, VERIFY, &lies, NoMatch::Claims),
        ("tax/etax", None, LOOKUP, &wrong, NoMatch::Guard),
        ("tax/etax", None, LOOKUP, &keys_of_hoa(), NoMatch::Throttled),
    ];
    let mut answers = Vec::new();
    for (system, purpose, path, body, reason) in unmatched {
        let answer = harness.client(system).send(post(path, purpose, body)).await.unwrap();
        assert_eq!(refusal(&answer), "404 no_match", "{reason:?}");
        answers.push((answer, reason));
    }
    let refusals = [
        ("ha-noi/portal", post(LOOKUP, None, &keys_of_hoa()), "purpose_missing"),
        ("tax/inspection", post(LOOKUP, Some("data-cleaning-2025"), &keys_of_hoa()), "purpose_expired"),
        ("tax/etax", post(LOOKUP, Some("treatment"), &keys_of_hoa()), "purpose_not_enrolled"),
        ("tax/etax", post(LOOKUP, Some("no-such-purpose"), &keys_of_hoa()), "purpose_unknown"),
        ("telecom-a/crm", get(&read_path(HOA.number), Some("subscriber-verification")), ""),
    ];
    let mut refusals_seen = Vec::new();
    for (system, mut request, code) in refusals {
        request.headers_mut().insert("gateway-case", "CASE-9".parse().unwrap());
        let answer = harness.client(system).send(request).await.unwrap();
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert!(code.is_empty() || answer.code() == code, "{}", refusal(&answer));
        refusals_seen.push((system, answer));
    }
    // A mistake of form is no evidence of anything.
    let malformed = harness.client("tax/etax").send(post(LOOKUP, None, &json!([]))).await.unwrap();
    assert_eq!(malformed.status, StatusCode::BAD_REQUEST);

    settled(&harness).await;
    let (site, _dir) = harness.stop().await;
    let entries = entries(&site);
    for (answer, reason) in &answers {
        let (_, closing) = disclosure(&entries, answer);
        assert_eq!(closing.outcome, Ended::NoMatch(*reason));
    }
    for (system, answer) in &refusals_seen {
        let refused = refused(&entries, &id(answer)).unwrap_or_else(|| panic!("{} is not recorded", refusal(answer)));
        assert_eq!((&*refused.system, refused.code.to_string()), (*system, answer.code()));
        assert_eq!(refused.sealed.as_ref().unwrap().claimed.case.as_ref().unwrap().expose(), "CASE-9");
        assert!(intent(&entries, &id(answer)).is_none(), "nothing was going to be shown");
    }
    assert!(refused(&entries, &id(&malformed)).is_none() && intent(&entries, &id(&malformed)).is_none());
}

#[tokio::test]
async fn a_live_log_is_verified_and_shown_by_the_command_line() {
    let harness = Harness::start();
    let client = harness.client("tax/etax");
    let first = client.send(post(LOOKUP, None, &keys_of_hoa())).await.unwrap();
    settled(&harness).await;
    let site = &harness.deployment.site;
    let folder = site.audit();
    let folder = folder.to_str().unwrap();
    let key = site.dir().join("keys/audit.key");

    let verified = node::run(&["audit", "verify", folder]);
    let said = String::from_utf8(verified.stdout).unwrap();
    assert!(verified.status.success() && said.contains("1 intents, 1 closings, 0 open, 0 refusals"), "{said}");
    assert!(said.contains("chain whole: verified, head "), "{said}");
    let report: Value = serde_json::from_slice(&node::run(&["audit", "verify", folder, "--json"]).stdout).unwrap();
    assert_eq!((&report["verified"], &report["closed"]), (&json!(true), &json!(false)), "it is being written");

    let sealed = node::run(&["audit", "show", folder]);
    let said = String::from_utf8(sealed.stdout).unwrap();
    assert!(sealed.status.success() && said.contains("tax/etax citizen.lookup for assessment"), "{said}");
    assert!(!said.contains(&HOA.number.to_string()), "without the key nobody is named: {said}");
    let opened = node::run(&["audit", "show", folder, "--json", "--key", key.to_str().unwrap()]);
    let lines: Vec<Value> =
        String::from_utf8(opened.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0]["disclosure"], id(&first));
    assert_eq!(lines[0]["subject"], HOA.number.to_string());
    assert_eq!((&lines[1]["record"], &lines[1]["outcome"]["how"]), (&json!("closing"), &json!("complete")));

    // Reading disturbed nothing.
    let second = client.send(post(LOOKUP, None, &keys_of_hoa())).await.unwrap();
    assert_eq!(second.status, StatusCode::OK);
    settled(&harness).await;
    assert_eq!(read::verify(&site.audit()).unwrap().intents, 2);
}

/// Waits until every intent has its closing.
async fn settled(harness: &Harness) {
    let folder = harness.deployment.site.audit();
    eventually("every intent is closed", || read::verify(&folder).unwrap().open == 0).await;
}

fn disclosure<'e>(entries: &'e [Entry], answer: &Answer) -> (&'e IntentEntry, &'e ClosingEntry) {
    let id = id(answer);
    let place = |found: bool| {
        entries.iter().position(|entry| match &entry.what {
            What::Intent(intent) => found && intent.disclosure.to_string() == id,
            What::Closing(closing) => !found && closing.disclosure.is_some_and(|of| of.to_string() == id),
            What::Refused(_) | What::Action(_) => false,
        })
    };
    assert!(place(true).unwrap() < place(false).unwrap(), "the intent stands first");
    (intent(entries, &id).unwrap(), closing(entries, &id).unwrap())
}

fn closing<'e>(entries: &'e [Entry], id: &str) -> Option<&'e ClosingEntry> {
    entries.iter().find_map(|entry| match &entry.what {
        What::Closing(closing) if closing.disclosure.is_some_and(|of| of.to_string() == id) => Some(closing),
        _ => None,
    })
}

/// The names of fields, without the schema's own.
fn names(schema: &Schema, set: FieldSet) -> BTreeSet<String> {
    let prefix = format!("{}.", schema.name);
    set.iter().map(|field| schema.fields[usize::from(field.0)].trim_start_matches(&prefix).to_owned()).collect()
}
