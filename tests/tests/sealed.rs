//! Promise: a sealed person is unknown to all but the listed: in bytes, headers, stages and counts, by number, in lists, and in the
//! records of others.

mod list;
mod others;

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::Full;
use popgate::audit::read::{entries, verify};
use popgate::audit::{Ended, What};
use popgate_demo::client::{Answer, Http, get, post};
use popgate_demo::deployment::Site;
use popgate_demo::register::Fault;
use popgate_demo::register::demo::{HOA, HUSBAND, Known, SON};
use popgate_demo::scenario::{LOOKUP, VERIFY, read_path};
use popgate_tests::build::popgate;
use popgate_tests::made::{edit, write};
use popgate_tests::{Harness, eventually, refusal};
use serde_json::{Value, json};

type Ask = Request<Full<bytes::Bytes>>;

const SETTINGS: &str = "[sealed]\nlist = \"sealed.list\"\n";
const SEARCH: &str = "/population/v1/citizens/search";

const POLICY: &str = r#"
@id("test-everything") @basis("test")
permit (
  principal in Sector::"tax",
  action in [
    Action::"citizen.read", Action::"citizen.lookup", Action::"citizen.verify", Action::"citizen.portrait",
    Action::"household.read", Action::"citizen.search", Action::"marriage.lookup", Action::"marriage.verify"
  ],
  resource
) when { context.purpose == Purpose::"assessment" };
"#;

/// A deployment whose tax agency sees everything of everybody, and where these are sealed against all but its inspection.
fn sealing(more: &str, persons: &[&Known]) -> Harness {
    let persons = persons.to_vec();
    Harness::start_made(&(SETTINGS.to_owned() + more), move |site| prepare(site, &persons), |_| {})
}

fn prepare(site: &Site, persons: &[&Known]) {
    let key = site.dir().join("keys/sealing.key");
    popgate::pki::new_key(&key).unwrap();
    let keyed = popgate_plugins::keyed::Keyed::new(&popgate::custody::symmetric_key(&key).unwrap());
    let mut list = popgate_plugins::keyed::sealed::Sealed::default();
    for known in persons {
        let number = popgate_policy::model::Personal::new(known.number.to_string());
        list.add(&keyed, &number, &["tax/inspection".into(), "courts".into()]);
    }
    fs::write(site.dir().join("sealed.list"), list.to_text(&keyed)).unwrap();
    edit(
        site,
        "policies/common.cedar",
        "[Purpose::\"border-control\",",
        "[Purpose::\"assessment\", Purpose::\"border-control\",",
    );
    write(site, "policies/test.cedar", POLICY);
}

/// `popgate seal ...` with these numbers on standard input.
fn run(config: &Path, command: &str, more: &[&str], numbers: &str) -> Output {
    let mut child = Command::new(popgate())
        .args(["seal", command, "--config"])
        .arg(config)
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(numbers.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn with_evidence(mut request: Ask) -> Ask {
    for (name, value) in [("gateway-user", "u-1"), ("gateway-case", "c-1")] {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    request
}

async fn ask(harness: &Harness, system: &str, request: Ask) -> Answer {
    harness.client(system).send(with_evidence(request)).await.unwrap()
}

fn read(known: &Known) -> Ask {
    get(&read_path(known.number), Some("assessment"))
}

/// Every way to ask for a person by number, with the person's right keys.
fn every_way(number: &str, known: &Known) -> Vec<(&'static str, Ask)> {
    let keys = json!({"id": number, "full_name": known.full_name, "date_of_birth": known.date_of_birth.to_string()});
    let path = |rest: &str| format!("/population/v1/citizens/{number}{rest}");
    let purpose = Some("assessment");
    vec![
        ("read", get(&path(""), purpose)),
        ("lookup", post(LOOKUP, purpose, &keys)),
        ("verify", post(VERIFY, purpose, &keys)),
        ("household", get(&path("/household"), purpose)),
        ("portrait", get(&path("/portrait"), purpose)),
    ]
}

fn request_id(answer: &Answer) -> String {
    answer.headers["gateway-request-id"].to_str().unwrap().to_owned()
}

/// The headers without the two that differ from answer to answer.
fn told_apart_by(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    headers.remove("gateway-request-id").unwrap();
    headers.remove("date").unwrap();
    // How much is left depends on how much was asked, and on nothing else.
    headers.remove("ratelimit").unwrap();
    headers
}

/// How each disclosure ended, and how wide its only intent was.
async fn recorded(harness: &Harness) -> HashMap<String, (popgate_policy::model::FieldSet, Ended)> {
    let dir = harness.deployment.site.audit();
    eventually("every closing is written", || verify(&dir).unwrap().open == 0).await;
    let (mut intents, mut closings) = (HashMap::new(), HashMap::new());
    for entry in entries(&dir, None).unwrap().map(Result::unwrap) {
        match entry.what {
            What::Intent(intent) => assert!(intents.insert(intent.disclosure.to_string(), intent.fields).is_none()),
            What::Closing(closing) => {
                assert!(closings.insert(closing.disclosure.unwrap().to_string(), closing.outcome).is_none());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(intents.len(), closings.len());
    intents.into_iter().map(|(id, fields)| (id.clone(), (fields, closings.remove(&id).unwrap()))).collect()
}

/// No province has that code.
const NOBODY: &str = "999082625891";

#[tokio::test]
async fn a_sealed_person_is_an_unknown_one_in_bytes_headers_and_stages() {
    // Who guesses here is never stopped.
    let harness = sealing("[guesses]\nper_subject = 1000\n", &[&HUSBAND]);
    let faults = &harness.deployment.register.faults;
    // The record is in the cache, by somebody who may see it.
    let seen = ask(&harness, "tax/inspection", read(&HUSBAND)).await;
    assert_eq!(seen.json()["full_name"], HUSBAND.full_name);
    let sealed = HUSBAND.number.to_string();
    let mut pairs = Vec::new();
    let problems = [
        Fault::default(),
        Fault { body: Some("{\"id\":".into()), ..Fault::default() },
        Fault { body: Some(" ".repeat(100_000).into()), ..Fault::default() },
        Fault { status: Some(StatusCode::FORBIDDEN), ..Fault::default() },
    ];
    for http in [Http::One, Http::Two] {
        let mut session = harness.client_over("tax/etax", http).connect().await.unwrap();
        for (at, fault) in problems.iter().enumerate() {
            // Whatever the register says of the sealed person.
            faults.set(HUSBAND.number, fault.clone());
            let ways = every_way(NOBODY, &HUSBAND).into_iter().zip(every_way(&sealed, &HUSBAND));
            for ((way, unknown), (_, sealed)) in ways {
                let before = faults.requests();
                let unknown = session.send(with_evidence(unknown)).await.unwrap();
                let between = faults.requests();
                let sealed = session.send(with_evidence(sealed)).await.unwrap();
                let which = format!("{way} over {http:?}, answer {at}");
                assert_eq!(refusal(&sealed), "404 no_match", "{which}");
                assert_eq!(sealed.body, unknown.body, "{which}");
                assert_eq!(told_apart_by(&sealed.headers), told_apart_by(&unknown.headers), "{which}");
                let names = |answer: &Answer| answer.headers.keys().cloned().collect::<Vec<_>>();
                assert_eq!(names(&sealed), names(&unknown), "{which}: in one order");
                assert_eq!((between - before, faults.requests() - between), (1, 1), "{which}: asked all the same");
                pairs.push((which, request_id(&unknown), request_id(&sealed)));
            }
        }
    }
    let recorded = recorded(&harness).await;
    for (which, unknown, sealed) in pairs {
        let ((unknown_fields, unknown), (fields, sealed)) = (&recorded[&unknown], &recorded[&sealed]);
        assert_eq!(unknown_fields, fields, "{which}");
        let Ended::NoMatch(unknown) = unknown else { panic!("{which}: {unknown:?}") };
        let Ended::NoMatch(sealed) = sealed else { panic!("{which}: {sealed:?}") };
        assert_eq!((unknown.as_str(), sealed.as_str()), ("unknown", "sealed"), "{which}");
    }
}

#[tokio::test]
async fn a_sealed_person_is_asked_for_as_often_as_an_unknown_one_at_once_and_in_turn() {
    let harness = sealing("", &[&HUSBAND]);
    let faults = &harness.deployment.register.faults;
    let may_be_stored = HeaderValue::from_static("max-age=600");
    let delay_head = Some(Duration::from_millis(300));
    faults.set_everyone(Fault { delay_head, cache_control: Some(may_be_stored), ..Fault::default() });
    let sealed = HUSBAND.number.to_string();
    let mut counts = Vec::new();
    for number in [NOBODY, &sealed] {
        let before = faults.requests();
        let asked = || ask(&harness, "tax/etax", get(&format!("/population/v1/citizens/{number}"), Some("assessment")));
        let (one, other, third) = tokio::join!(asked(), asked(), asked());
        let at_once = faults.requests() - before;
        let later = asked().await;
        assert!([one, other, third, later].iter().all(|answer| refusal(answer) == "404 no_match"));
        counts.push((at_once, faults.requests() - before));
    }
    assert_eq!(counts, [(1, 2), (1, 2)]);
}

#[tokio::test]
async fn a_consent_on_record_does_not_tell_of_a_sealed_person() {
    let mut consents = popgate_tests::consent::Consents::reserve();
    let table = "[plugins.consent]\nkind = \"consent\"\nregister = \"consent\"\npath = \"/c/{number}\"\n";
    let settings = SETTINGS.to_owned() + &consents.settings() + table;
    let prepared = |site: &Site| {
        prepare(site, &[&HUSBAND]);
        consents.serve(site);
    };
    let harness = Harness::start_made(&settings, prepared, |_| {});
    let sealed = HUSBAND.number.to_string();
    consents.says(&format!("/c/{sealed}"), 200, "{\"consent\":true}");
    for _ in 0..2 {
        let mut answers = Vec::new();
        for number in [NOBODY, &sealed] {
            let read = get(&format!("/population/v1/citizens/{number}"), Some("assessment"));
            let before = consents.asked().len();
            let answer = ask(&harness, "tax/etax", read).await;
            answers.push((refusal(&answer), answer.body, consents.asked().len() - before));
        }
        assert_eq!(answers[0], answers[1]);
        assert_eq!(answers[0].0, "403 plugin_refused");
    }
    // The consent is good for whoever may see the person.
    assert_eq!(refusal(&ask(&harness, "tax/inspection", read(&HUSBAND)).await), "200 ");
}

#[tokio::test]
async fn a_register_that_fails_fails_for_both() {
    let harness = sealing("", &[&HUSBAND]);
    assert_eq!(refusal(&ask(&harness, "tax/inspection", read(&HUSBAND)).await), "200 ", "it is stored now");
    let down = Fault { status: Some(StatusCode::SERVICE_UNAVAILABLE), ..Fault::default() };
    harness.deployment.register.faults.set_everyone(down);
    let sealed = ask(&harness, "tax/etax", read(&HUSBAND)).await;
    let unknown =
        ask(&harness, "tax/etax", get(&format!("/population/v1/citizens/{NOBODY}"), Some("assessment"))).await;
    assert_eq!((refusal(&sealed), &sealed.body), ("503 register_unavailable".into(), &unknown.body));
}

#[tokio::test]
async fn guesses_about_a_sealed_person_fail_and_are_counted_as_about_an_unknown_one() {
    let harness = sealing("[guesses]\nper_subject = 3\n", &[&HUSBAND]);
    let mut session = harness.session("tax/etax").await;
    let sealed = HUSBAND.number.to_string();
    let mut asked = Vec::new();
    for number in [NOBODY, &sealed] {
        let mut ids = Vec::new();
        for _ in 0..5 {
            // The keys are right: nothing of them can be.
            let (_, lookup) = every_way(number, &HUSBAND).remove(1);
            let answer = session.send(with_evidence(lookup)).await.unwrap();
            assert_eq!(refusal(&answer), "404 no_match");
            ids.push(request_id(&answer));
        }
        asked.push(ids);
    }
    let recorded = recorded(&harness).await;
    let reasons = |ids: &[String]| -> Vec<&str> {
        let reason = |id: &String| match &recorded[id].1 {
            Ended::NoMatch(reason) => reason.as_str(),
            other => panic!("{other:?}"),
        };
        ids.iter().map(reason).collect()
    };
    assert_eq!(reasons(&asked[0]), ["unknown", "unknown", "unknown", "throttled", "throttled"]);
    assert_eq!(reasons(&asked[1]), ["sealed", "sealed", "sealed", "throttled", "throttled"]);
}

#[tokio::test]
async fn a_household_lacks_who_is_sealed() {
    let harness = sealing("", &[&SON]);
    let path = format!("/population/v1/citizens/{}/household", HOA.number);
    let members = |answer: &Answer| answer.json()["members"].as_array().unwrap().len();
    let whole = ask(&harness, "tax/inspection", get(&path, Some("assessment"))).await;
    let lacking = ask(&harness, "tax/etax", get(&path, Some("assessment"))).await;
    assert_eq!((members(&whole), members(&lacking)), (4, 3));
    let son = SON.number.to_string();
    let text = |answer: &Answer| String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(text(&whole).contains(&son));
    assert!(!text(&lacking).contains(&son) && !text(&lacking).contains(SON.full_name), "in no member's record");
    assert!(lacking.json()["address"].is_object(), "what counts nobody is shown");
}

#[tokio::test]
async fn a_search_neither_counts_nor_misses_who_is_sealed_whatever_its_limit() {
    let all = found(&sealing("", &[]), "tax/inspection", 100).await;
    let numbers = shown(&all);
    assert_eq!(numbers.len(), 50, "half of the largest page, of many");
    let sealed: Known = Known { number: numbers[2].parse().unwrap(), ..HOA };
    let harness = sealing("", &[&sealed]);
    let left: Vec<&String> = numbers.iter().filter(|number| **number != numbers[2]).collect();
    for limit in [1, 2, 3, 4, 49, 50, 100] {
        let page = found(&harness, "tax/etax", limit).await;
        let shown = shown(&page);
        assert_eq!(shown.len(), limit.min(50), "somebody else stands there");
        assert!(shown.iter().zip(&left).all(|(shown, left)| shown == *left), "limit {limit}");
        assert!(!shown.contains(&numbers[2]));
        assert_eq!((page.get("total"), page.get("next")), (None, None));
    }
    // The same is said where nobody is missing.
    assert_eq!((all.get("total"), all.get("next")), (None, None));
    let question = json!({
        "date_of_birth": HOA.date_of_birth.to_string(), "province_code": "001", "cursor": "AAAA",
    });
    let refused = ask(&harness, "tax/etax", post(SEARCH, Some("assessment"), &question)).await;
    assert_eq!(refusal(&refused), "403 parameter_denied");
}

fn shown(page: &Value) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

async fn found(harness: &Harness, system: &str, limit: usize) -> Value {
    let question = json!({
        "date_of_birth": HOA.date_of_birth.to_string(), "province_code": "001", "sort": "id", "limit": limit,
    });
    let answer = ask(harness, system, post(SEARCH, Some("assessment"), &question)).await;
    assert_eq!(refusal(&answer), "200 ", "{}", answer.json());
    answer.json()
}
