//! Promise: a candidate bundle beside the live one never has a say in an answer; what it would have answered otherwise is counted, and
//! written down by field names alone; a broken one is told and changes nothing.

use std::fs;
use std::path::PathBuf;

use popgate::admin::ShadowStatus;
use popgate::suspend::{Kind, Order, Target};
use popgate_demo::client::{Answer, get, post};
use popgate_demo::register::demo::{HOA, RESIDENT_OF_079};
use popgate_demo::scenario::{LOOKUP, keys_of_hoa, read_path};
use popgate_tests::made::candidate;
use popgate_tests::{Harness, eventually};
use serde_json::{Value, json};

const WIDER: &str = "\n@id(\"telecom-reads\") @basis(\"a test\")\npermit (principal in Sector::\"telecom\", action == \
                     Action::\"citizen.read\", resource in Group::\"identity\");\n";

fn edited(file: &str, text: &str) -> Option<String> {
    match file {
        "policies/telecom.cedar" => Some(text.replacen("@mask(\"year\")", "", 1) + WIDER),
        // What else forbids it.
        "policies/common.cedar" => Some(text.replacen("    Action::\"citizen.read\",\n", "", 1)),
        "policies/province.cedar" => {
            Some(text.replacen("context.purpose != Purpose::\"civil-status-registration\"", "false", 1))
        }
        // Who reads for this no longer sees where people live.
        "policies/tax.cedar" => Some(text.to_owned() + NARROWER),
        _ => None,
    }
}

const NARROWER: &str = "\n@id(\"tax-no-residence\") @basis(\"a test\")\nforbid (principal in Agency::\"tax\", action == \
                        Action::\"citizen.read\", resource in Field::\"Citizen.permanent_residence\");\n";

/// What is asked: shown through a mask, shown whole, refused by the policies, and a record that is hidden.
async fn asked(harness: &Harness) -> Vec<Answer> {
    let elsewhere = json!({
        "id": RESIDENT_OF_079.number.to_string(), "full_name": RESIDENT_OF_079.full_name,
        "date_of_birth": RESIDENT_OF_079.date_of_birth.to_string(),
    });
    let verification = Some("subscriber-verification");
    let requests = [
        ("telecom-a/crm", post(LOOKUP, verification, &keys_of_hoa())),
        ("tax/etax", get(&read_path(HOA.number), Some("assessment"))),
        ("telecom-a/crm", get(&read_path(HOA.number), verification)),
        ("ha-noi/portal", post(LOOKUP, Some("residence-management"), &elsewhere)),
    ];
    let mut answers = Vec::new();
    for (system, request) in requests {
        answers.push(harness.client(system).send(request).await.unwrap());
    }
    answers
}

/// Everything of an answer but what differs with each request.
fn seen(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let own = ["gateway-request-id", "date", "ratelimit", "cache-status", "age"];
    let headers = answer.headers.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let body = String::from_utf8_lossy(&answer.body).replace(&id(answer), "");
    (answer.status.as_u16(), headers, body)
}

fn id(answer: &Answer) -> String {
    answer.headers["gateway-request-id"].to_str().unwrap().to_owned()
}

fn log(harness: &Harness) -> PathBuf {
    harness.deployment.site.dir().join("state/shadow/differences.jsonl")
}

fn lines(harness: &Harness) -> Vec<Value> {
    let text = fs::read_to_string(log(harness)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn status(harness: &Harness) -> ShadowStatus {
    harness.deployment.gateway.node().shadow.as_ref().unwrap().status()
}

async fn differences(harness: &Harness, operation: &str, kind: &str) -> u64 {
    harness.metric(&format!("popgate_shadow_differences_total{{kind=\"{kind}\",operation=\"{operation}\"}}")).await
}

#[tokio::test]
async fn a_candidate_never_has_a_say_and_what_it_would_do_is_counted_and_written_down() {
    let harness = Harness::start_with("\n[shadow]\npath = \"candidate\"\n\n[cache]\ncapacity = 0\n");
    let before = asked(&harness).await;
    assert_eq!(before.iter().map(|answer| answer.status.as_u16()).collect::<Vec<_>>(), [200, 200, 403, 404]);
    assert_eq!((status(&harness).digest, harness.metric("popgate_shadow_running").await), (None, 0));

    // Made elsewhere and put in its place at once.
    let made = candidate(&harness.deployment.site, "made", edited);
    fs::rename(&made, made.with_file_name("candidate")).unwrap();
    eventually("the candidate runs", || status(&harness).digest.is_some()).await;
    let after = asked(&harness).await;
    assert_eq!(before.iter().map(seen).collect::<Vec<_>>(), after.iter().map(seen).collect::<Vec<_>>());
    eventually("all four are compared", || status(&harness).compared == 4).await;
    eventually("all four differ", || lines(&harness).len() == 4).await;
    assert_eq!(status(&harness).differing, 4);

    let lines = lines(&harness);
    let of = |answer: &Answer| lines.iter().find(|line| line["request_id"] == id(answer)).unwrap();
    let widened = of(&after[0]);
    assert_eq!((&widened["agency"], &widened["kinds"]), (&json!("telecom-a"), &json!(["widened"])));
    let field = json!([{"field": "Citizen.date_of_birth", "live": "mask year", "candidate": "reveal"}]);
    assert_eq!(widened["fields"], field);
    let narrowed = of(&after[1]);
    assert_eq!((&narrowed["agency"], &narrowed["kinds"]), (&json!("tax"), &json!(["narrowed"])));
    let fields = narrowed["fields"].as_array().unwrap();
    assert!(
        fields.iter().all(|it| it["field"].as_str().unwrap().starts_with("Citizen.permanent_residence")),
        "{narrowed}"
    );
    assert!(!fields.is_empty());
    for answer in [&after[2], &after[3]] {
        assert_eq!(of(answer)["kinds"][0], "answered_now", "{}", of(answer));
    }
    for (operation, kind) in [
        ("citizen.lookup", "widened"),
        ("citizen.read", "narrowed"),
        ("citizen.read", "answered_now"),
        ("citizen.lookup", "answered_now"),
    ] {
        assert!(differences(&harness, operation, kind).await >= 1, "{operation} {kind}");
    }
    assert_eq!(harness.metric("popgate_shadow_compared_total{operation=\"citizen.read\"}").await, 2);
    assert_eq!(harness.metric("popgate_shadow_dropped_total").await, 0);
    // Of persons there is nothing in it.
    let text = fs::read_to_string(log(&harness)).unwrap();
    for value in
        [HOA.number.to_string(), HOA.full_name.to_string(), "1987-03-14".into(), "0912345678".into(), "\"001\"".into()]
    {
        assert!(!text.contains(&value), "{value} in {text}");
    }

    // A broken one is told; the last good one goes on, and the live one is not concerned.
    let live = harness.deployment.gateway.node().live().bundle.digest();
    let policy = harness.deployment.site.dir().join("candidate/policies/telecom.cedar");
    let good = fs::read_to_string(&policy).unwrap();
    let running = status(&harness).digest;
    fs::write(&policy, good.replacen("Sector::\"telecom\"", "Sektor::\"telecom\"", 1)).unwrap();
    eventually("it is refused", || !status(&harness).problems.is_empty()).await;
    assert_eq!(status(&harness).problems[0].file, "policies/telecom.cedar");
    assert_eq!((status(&harness).digest, harness.metric("popgate_shadow_refused").await), (running.clone(), 1));
    let again = asked(&harness).await;
    assert_eq!(before.iter().map(seen).collect::<Vec<_>>(), again.iter().map(seen).collect::<Vec<_>>());
    assert_eq!(harness.deployment.gateway.node().live().bundle.digest(), live);
    assert!(harness.deployment.gateway.node().last_reload().bundle_problems.is_empty());
    // Mended, it runs again; taken away, none does.
    fs::write(&policy, good + "\n// mended\n").unwrap();
    eventually("another one runs", || status(&harness).digest != running && status(&harness).problems.is_empty()).await;
    fs::rename(harness.deployment.site.dir().join("candidate"), &made).unwrap();
    eventually("none runs", || status(&harness).digest.is_none()).await;
    let compared = status(&harness).compared;
    assert_eq!(asked(&harness).await.len(), 4);
    assert_eq!((status(&harness).compared, harness.metric("popgate_shadow_running").await), (compared, 0));
}

#[tokio::test]
async fn what_goes_around_a_list_is_compared_and_another_candidate_is_counted_anew() {
    let settings = "\n[shadow]\npath = \"candidate\"\n\n[cache]\ncapacity = 0\n";
    let province = "    Field::\"Household.address.province\",\n";
    let wider = format!("{province}    Field::\"Household.address.address\",\n");
    let edited = |file: &str, text: &str| {
        let changed = || text.replacen(province, &wider, 1).replacen(", Group::\"paging\"]", "]", 1);
        (file == "policies/several.cedar").then(changed)
    };
    let made = |site: &popgate_demo::deployment::Site| {
        candidate(site, "candidate", edited);
    };
    let harness = Harness::start_made(settings, made, |_| {});
    eventually("the candidate runs", || status(&harness).digest.is_some()).await;
    let question = json!({"date_of_birth": HOA.date_of_birth.to_string(), "limit": 3});
    let household = format!("{}/household", read_path(HOA.number));
    let search = post("/population/v1/citizens/search", Some("residence-management"), &question);
    let requests = [("social-insurance/claims", get(&household, Some("social-benefit"))), ("ha-noi/portal", search)];
    let mut answers = Vec::new();
    for (system, mut request) in requests {
        request.headers_mut().insert("gateway-case", http::HeaderValue::from_static("c-1"));
        answers.push(harness.client(system).send(request).await.unwrap());
    }
    assert_eq!(answers.iter().map(|answer| answer.status.as_u16()).collect::<Vec<_>>(), [200, 200]);
    eventually("both are compared, and differ", || lines(&harness).len() == 2).await;
    assert_eq!((status(&harness).compared, status(&harness).differing), (2, 2));
    let lines = lines(&harness);
    let of = |answer: &Answer| lines.iter().find(|line| line["request_id"] == id(answer)).unwrap();
    let household = of(&answers[0]);
    let field = json!([{"field": "Household.address.address", "live": "withhold", "candidate": "reveal"}]);
    assert_eq!((&household["kinds"], &household["fields"]), (&json!(["widened"]), &field), "{household}");
    let search = of(&answers[1]);
    let counted = ["CitizenPage.total", "CitizenPage.next"];
    let fields = counted.map(|name| json!({"field": name, "live": "reveal", "candidate": "withhold"}));
    assert_eq!((&search["kinds"], &search["fields"]), (&json!(["narrowed"]), &json!(fields)), "{search}");

    // What one candidate would do is not said of the next.
    let before = status(&harness).digest;
    let live = fs::read_to_string(harness.deployment.site.bundle().join("policies/several.cedar")).unwrap();
    fs::write(harness.deployment.site.dir().join("candidate/policies/several.cedar"), live).unwrap();
    eventually("another one runs", || status(&harness).digest != before).await;
    assert_eq!((status(&harness).compared, status(&harness).differing), (0, 0));
}

#[tokio::test]
async fn a_share_of_the_requests_can_be_compared_and_a_suspended_permit_is_so_in_the_candidate_too() {
    let site = |site: &popgate_demo::deployment::Site| {
        candidate(site, "candidate", edited);
    };
    let settings =
        "\n[shadow]\npath = \"candidate\"\nper_mille = 500\nlog = \"differences.jsonl\"\nlog_size = \"4KiB\"\n";
    let harness = Harness::start_made(settings, site, |_| {});
    eventually("the candidate runs", || status(&harness).digest.is_some()).await;
    let mut session = harness.session("telecom-a/crm").await;
    for _ in 0..40 {
        let asked = post(LOOKUP, Some("subscriber-verification"), &keys_of_hoa());
        assert_eq!(session.send(asked).await.unwrap().status, 200);
    }
    eventually("half are compared", || status(&harness).compared == 20).await;
    let log = harness.deployment.site.dir().join("differences.jsonl");
    eventually("it is begun anew", || log.with_extension("jsonl.1").exists()).await;
    assert!(fs::metadata(&log).unwrap().len() <= 4096);
    // The mask is taken from a permit that gives nothing while it is suspended.
    let (node, differing) = (harness.deployment.gateway.node(), status(&harness).differing);
    let target = Target { kind: Kind::Policy, id: "telecom-year-only".into() };
    node.suspend(&Order { target, reason: "a test".into(), until: None, force: false }, "linh").unwrap();
    for _ in 0..10 {
        let asked = post(LOOKUP, Some("subscriber-verification"), &keys_of_hoa());
        assert_eq!(session.send(asked).await.unwrap().status, 403);
    }
    eventually("half of these too", || status(&harness).compared == 25).await;
    assert_eq!(status(&harness).differing, differing);
}
