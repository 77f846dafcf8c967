//! Promise: an answer about several persons is several disclosures: each person through the conditions of their own record, each
//! with an entry in the audit log of their own before anything is shown; what is hidden is neither shown nor counted.

use std::collections::BTreeMap;

use http::{HeaderValue, Request, StatusCode};
use popgate::audit::{AuditKey, Ended, What, read};
use popgate::custody;
use popgate_demo::client::{Answer, Http, get, post};
use popgate_demo::deployment::Site;
use popgate_demo::register::demo::{DECEASED, HOA, HUSBAND, MINOR, RESIDENT_OF_079, SON};
use popgate_demo::register::{Citizen, Fault, Number};
use popgate_tests::made::{edit, write};
use popgate_tests::{Harness, refusal};
use serde_json::{Value, json};

const SEARCH: &str = "/population/v1/citizens/search";

#[tokio::test]
async fn a_household_is_shown_member_by_member() {
    let harness = Harness::start();
    for http in [Http::One, Http::Two] {
        let client = harness.client_over("ha-noi/portal", http);
        let answer = client.send(with_evidence(get(&home(HOA.number), Some(RESIDENCE)))).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
        let shown = answer.json();
        let members: Vec<&str> =
            shown["members"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
        let expected = [HUSBAND, HOA, SON, MINOR].map(|known| known.number.to_string());
        let mut sorted = members.clone();
        sorted.sort_unstable();
        let mut wanted: Vec<&str> = expected.iter().map(String::as_str).collect();
        wanted.sort_unstable();
        assert_eq!(sorted, wanted);
        assert_eq!(shown["address"]["province"], "Hà Nội");
        let text = shown.to_string();
        for hidden in ["phone", "religion", "ethnicity", "blood_type", "marital_status"] {
            assert!(!text.contains(hidden), "{hidden}");
        }
    }
}

#[tokio::test]
async fn each_person_of_a_household_has_an_entry() {
    let harness = Harness::start();
    let client = harness.client("ha-noi/portal");
    let answer = client.send(with_evidence(get(&home(HOA.number), Some(RESIDENCE)))).await.unwrap();
    let id = answer.headers["gateway-request-id"].to_str().unwrap().to_owned();
    let (site, _dir) = harness.stop().await;
    let subjects = subjects(&site, &id);
    let wanted: Vec<String> = [HUSBAND, HOA, SON, MINOR].iter().map(|known| known.number.to_string()).collect();
    for number in &wanted {
        let (complete, fields) = &subjects[number];
        assert!(*complete, "{number}");
        assert!(fields.iter().any(|field| field.ends_with("full_name")), "{fields:?}");
    }
    assert_eq!(subjects.len(), wanted.len());
    assert!(subjects[&HOA.number.to_string()].1.iter().any(|field| field.starts_with("Household.")));
    assert!(!subjects[&SON.number.to_string()].1.iter().any(|field| field.contains("phone")));
}

#[tokio::test]
async fn another_provinces_household_is_unknown() {
    let harness = Harness::start();
    let client = harness.client("ha-noi/portal");
    let hidden = client.send(with_evidence(get(&home(RESIDENT_OF_079.number), Some(RESIDENCE)))).await.unwrap();
    let unknown = client.send(with_evidence(get(&home("001000000000".parse().unwrap()), Some(RESIDENCE)))).await;
    let unknown = unknown.unwrap();
    assert_eq!(refusal(&hidden), "404 no_match");
    assert_eq!(hidden.body, unknown.body);
    let names = |answer: &Answer| answer.headers.keys().map(|name| name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&hidden), names(&unknown));
}

#[tokio::test]
async fn a_household_of_somebody_else_is_a_mismatch() {
    let harness = Harness::start();
    let body = serde_json::to_vec(&json!({"id": "HH-1", "members": [record(RESIDENT_OF_079.number)]})).unwrap();
    let fault = Fault { body: Some(body.into()), ..Fault::default() };
    harness.deployment.register.faults.set(HOA.number, fault);
    let client = harness.client("social-insurance/claims");
    let answer = client.send(with_evidence(get(&home(HOA.number), Some("social-benefit")))).await.unwrap();
    assert_eq!(refusal(&answer), "502 subject_mismatch");
}

#[tokio::test]
async fn a_search_pages_through_all_of_its_records_with_cursors_that_tell_nothing() {
    let harness = Harness::start();
    let mut session = harness.session("ha-noi/portal").await;
    let mut cursor: Option<String> = None;
    let mut found = Vec::new();
    let mut total = None;
    for _ in 0..50 {
        let mut question = json!({"date_of_birth": HOA.date_of_birth.to_string(), "sort": "id", "limit": 7});
        if let Some(cursor) = &cursor {
            question["cursor"] = json!(cursor);
        }
        let answer = session.send(with_evidence(post(SEARCH, Some(RESIDENCE), &question))).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
        let page = answer.json();
        assert_eq!(*total.get_or_insert_with(|| page["total"].clone()), page["total"]);
        for item in page["items"].as_array().unwrap() {
            found.push(item["id"].as_str().unwrap().to_owned());
        }
        match page["next"].as_str() {
            Some(next) => {
                assert!(!found.iter().any(|number| next.contains(number.as_str())));
                cursor = Some(next.to_owned());
            }
            None => break,
        }
    }
    assert_eq!(total.unwrap(), found.len());
    assert!(found.len() > 7, "more than one page: {}", found.len());
    assert!(found.is_sorted());
    assert!(found.contains(&HOA.number.to_string()));
    // The cursor is good for its own question alone.
    let other = json!({"date_of_birth": HUSBAND.date_of_birth.to_string(), "sort": "id", "cursor": cursor});
    let refused = session.send(with_evidence(post(SEARCH, Some(RESIDENCE), &other))).await.unwrap();
    assert_eq!(refusal(&refused), "400 parameter_invalid");
    assert!(refused.told("detail").contains("cursor"), "{}", refused.told("detail"));
}

#[tokio::test]
async fn the_register_is_told_to_filter_by_the_agencys_own_province_and_is_checked() {
    let harness = Harness::start();
    let faults = &harness.deployment.register.faults;
    faults.keep_received();
    let mut session = harness.session("ha-noi/portal").await;
    let question = json!({"date_of_birth": HOA.date_of_birth.to_string(), "limit": 3});
    let answer = session.send(with_evidence(post(SEARCH, Some(RESIDENCE), &question))).await.unwrap();
    assert!(answer.json()["total"].as_u64().unwrap() > 0);
    // Another province is answered with nothing, and no count of it.
    let question = json!({"date_of_birth": RESIDENT_OF_079.date_of_birth.to_string(), "province_code": "079"});
    let answer = session.send(with_evidence(post(SEARCH, Some(RESIDENCE), &question))).await.unwrap();
    assert_eq!(answer.json(), json!({"items": []}));
    // A register that does not filter is not believed.
    let rows = json!({"items": [record(RESIDENT_OF_079.number)], "total": 1, "next": null});
    faults.set_everyone(Fault { body: Some(serde_json::to_vec(&rows).unwrap().into()), ..Fault::default() });
    let question = json!({"date_of_birth": RESIDENT_OF_079.date_of_birth.to_string()});
    let answer = session.send(with_evidence(post(SEARCH, Some(RESIDENCE), &question))).await.unwrap();
    assert_eq!(refusal(&answer), "502 register_failed");
}

#[tokio::test]
async fn a_search_is_recorded_though_it_finds_nobody() {
    let harness = Harness::start();
    let client = harness.client("ha-noi/portal");
    let question = json!({"date_of_birth": "1899-01-01"});
    let answer = client.send(with_evidence(post(SEARCH, Some(RESIDENCE), &question))).await.unwrap();
    assert_eq!(answer.json()["items"], json!([]));
    let id = answer.headers["gateway-request-id"].to_str().unwrap().to_owned();
    let (site, _dir) = harness.stop().await;
    let entries = subjects(&site, &id);
    assert_eq!(entries.keys().collect::<Vec<_>>(), ["nobody"]);
}

#[tokio::test]
async fn nobody_searches_without_a_policy_for_it() {
    let harness = Harness::start();
    let question = json!({"date_of_birth": HOA.date_of_birth.to_string(), "province_code": "001"});
    let answer = harness.client("tax/etax").send(post(SEARCH, Some("assessment"), &question)).await.unwrap();
    assert_eq!(refusal(&answer), "403 policy_denied");
    assert_eq!(harness.deployment.register.faults.requests(), 0);
    let mistakes = [
        (json!({"date_of_birth": "1987-03-14", "limit": 1000}), "limit"),
        (json!({"date_of_birth": "1987-03-14", "sort": "religion"}), "sort"),
        (json!({"date_of_birth": "1987-03-14", "religion": "none"}), "undeclared"),
        (json!({"limit": 5}), "date_of_birth"),
    ];
    for (question, named) in mistakes {
        let client = harness.client("ha-noi/portal");
        let answer = client.send(with_evidence(post(SEARCH, Some(RESIDENCE), &question))).await.unwrap();
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{question}");
        assert!(answer.json().to_string().contains(named), "{named}: {}", answer.json());
    }
}

#[tokio::test]
async fn a_portrait_is_passed_on_whole_where_the_record_allows_it() {
    let harness = Harness::start_made("", portraits_for_tests, |_| {});
    let path = |number: Number| format!("/population/v1/citizens/{number}/portrait");
    for http in [Http::One, Http::Two] {
        let client = harness.client_over("tax/etax", http);
        let answer = client.send(get(&path(HOA.number), Some("assessment"))).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
        assert_eq!(answer.headers["content-type"], "image/jpeg");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["content-length"], answer.body.len().to_string().as_str());
        assert!(answer.body.starts_with(&[0xff, 0xd8]) && answer.body.ends_with(&[0xff, 0xd9]), "a JPEG");
    }
    let home = harness.client("ha-noi/portal");
    let own = home.send(with_evidence(get(&path(HOA.number), Some(RESIDENCE)))).await.unwrap();
    assert_eq!(own.status, StatusCode::OK);
    let away = home.send(with_evidence(get(&path(RESIDENT_OF_079.number), Some(RESIDENCE)))).await.unwrap();
    let unknown = home.send(with_evidence(get(&path("001000000000".parse().unwrap()), Some(RESIDENCE)))).await.unwrap();
    assert_eq!((refusal(&away), away.body), ("404 no_match".into(), unknown.body));
    let id = own.headers["gateway-request-id"].to_str().unwrap().to_owned();
    let (site, _dir) = harness.stop().await;
    let entries = subjects(&site, &id);
    let (complete, fields) = &entries[&HOA.number.to_string()];
    assert!(*complete && fields.iter().any(|field| field.ends_with("portrait")), "{fields:?}");
}

#[tokio::test]
async fn a_portrait_of_another_type_or_too_long_is_not_passed_on() {
    let harness = Harness::start_made("", portraits_for_tests, |_| {});
    let client = harness.client("tax/etax");
    let path = format!("/population/v1/citizens/{}/portrait", DECEASED.number);
    let page = "<script>alert(1)</script>".repeat(100_000);
    harness.deployment.register.faults.set(DECEASED.number, Fault { body: Some(page.into()), ..Fault::default() });
    let answer = client.send(get(&path, Some("assessment"))).await.unwrap();
    assert!(answer.status.is_server_error(), "{}", answer.status);
    assert!(!String::from_utf8_lossy(&answer.body).contains("script"));
    // Without a portrait in the policies nobody is asked.
    let denied = harness.client("bank-a/ekyc").send(get(&path, Some("e-kyc"))).await.unwrap();
    assert_eq!(refusal(&denied), "403 policy_denied");
}

/// Everybody's entry in a disclosure: whether it is complete, and the fields that were shown.
fn subjects(site: &Site, id: &str) -> BTreeMap<String, (bool, Vec<String>)> {
    let key = AuditKey::new(custody::symmetric_key(&site.dir().join("keys/audit.key")).unwrap());
    let entries: Vec<_> = read::entries(&site.audit(), Some(&key)).unwrap().map(Result::unwrap).collect();
    let mut found = BTreeMap::new();
    for entry in &entries {
        let What::Intent(intent) = &entry.what else { continue };
        if intent.disclosure.to_string() != id {
            continue;
        }
        let subject = intent.sealed.as_ref().and_then(|sealed| sealed.subject.clone());
        let subject = subject.map_or("nobody".to_owned(), |subject| subject.expose().clone());
        let closing = entries.iter().find_map(|other| match &other.what {
            What::Closing(closing) if closing.intent == entry.seq => Some(closing.outcome.clone()),
            _ => None,
        });
        let (complete, shown) = match closing {
            Some(Ended::Complete(shown)) => (true, shown.revealed.union(shown.masked).union(shown.matched)),
            _ => (false, intent.fields),
        };
        let fields = shown.iter().map(|at| intent.schema.fields[usize::from(at.0)].clone()).collect();
        assert!(found.insert(subject, (complete, fields)).is_none(), "one entry a person");
    }
    found
}

fn portraits_for_tests(site: &Site) {
    edit(
        site,
        "policies/common.cedar",
        "[Purpose::\"border-control\", Purpose::\"e-identity\"].contains(context.purpose)",
        "true",
    );
    let policy = |id: &str, sector: &str| {
        format!(
            "@id(\"{id}\") @basis(\"test\") permit (principal in Sector::\"{sector}\", action == Action::\"citizen.portrait\", resource)\n\
             when {{ resource in [Field::\"Citizen.id\", Field::\"Citizen.portrait\"] }};\n"
        )
    };
    write(site, "policies/test.cedar", &(policy("test-tax", "tax") + &policy("test-province", "province")));
}

fn home(number: Number) -> String {
    format!("/population/v1/citizens/{number}/household")
}

fn record(number: Number) -> Value {
    serde_json::from_slice(&Citizen::of(number).unwrap().to_json()).unwrap()
}

fn with_evidence<B>(mut request: Request<B>) -> Request<B> {
    for (name, value) in [("gateway-user", "u-1"), ("gateway-case", "c-1")] {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    request
}

const RESIDENCE: &str = "residence-management";
