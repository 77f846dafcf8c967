//! Consents, asked of a real register.

use std::time::Duration;

use aws_lc_rs::hmac;
use popgate_demo::client::Http;
use popgate_demo::deployment::{Options, Register, Site};
use popgate_demo::register::demo::{HOA, HUSBAND, Known};
use popgate_tests::consent::Consents;
use popgate_tests::node::Node;
use popgate_tests::{Harness, refusal};

use super::{ask, failures, lookup, read, recorded, with_plugins};

const KEY: [u8; 32] = [9; 32];
const TABLE: &str = r#"
[plugins.consent]
kind         = "consent"
applies_to   = { sectors = ["health"] }
register     = "consent"
path         = "/consents/{pseudonym}?purpose={purpose}&agency={agency}"
key          = "keys/consent.key"
remember_no  = "1s"
"#;

fn start(consents: &mut Consents, table: &str) -> Harness {
    with_plugins(&(consents.settings() + table), |site| {
        write_key(&site.dir().join("keys/consent.key"));
        consents.serve(site);
    })
}

fn write_key(file: &std::path::Path) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let open = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file);
    open.unwrap().write_all(&KEY).unwrap();
}

fn target(known: &Known, purpose: &str, agency: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &KEY), known.number.to_string().as_bytes());
    let tag: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("/consents/{tag}?purpose={purpose}&agency={agency}")
}

#[tokio::test]
async fn nothing_is_shown_without_a_consent_and_the_register_never_learns_the_number() {
    let mut consents = Consents::reserve();
    let harness = start(&mut consents, TABLE);
    consents.says(&target(&HOA, "treatment", "hospital-north"), 200, r#"{"consent":true,"since":"2026-01-01"}"#);
    consents.says(&target(&HUSBAND, "treatment", "hospital-north"), 200, r#"{"consent":false}"#);
    let mut session = harness.client_over("hospital-north/his", Http::Two).connect().await.unwrap();
    for (known, expected) in [(&HOA, "200 "), (&HUSBAND, "403 plugin_refused")] {
        let answer = session.send(read(known, "treatment")).await.unwrap();
        assert_eq!(refusal(&answer), expected);
    }
    // Of another agency there is nothing on record: 404 is no.
    let answer = ask(&harness, "hospital-south/his", read(&HOA, "treatment")).await;
    assert_eq!(refusal(&answer), "403 plugin_refused");
    assert!(answer.told("detail").contains("consent"), "{}", answer.told("detail"));
    // Other sectors are not asked about.
    assert_eq!(refusal(&ask(&harness, "tax/etax", read(&HOA, "assessment")).await), "200 ");
    let asked = consents.asked();
    assert_eq!(
        asked,
        [
            format!("GET {}", target(&HOA, "treatment", "hospital-north")),
            format!("GET {}", target(&HUSBAND, "treatment", "hospital-north")),
            format!("GET {}", target(&HOA, "treatment", "hospital-south")),
        ]
    );
    assert_eq!(recorded(&harness).await, ["complete", "plugin_refused", "plugin_refused", "complete"]);
    assert_eq!(failures(&harness, "consent").await, 0);
    let upstream = "popgate_upstream_requests_total{outcome=\"ok\",register=\"consent\"}";
    assert_eq!(harness.metric(upstream).await, 2);
}

#[tokio::test]
async fn what_the_register_said_is_remembered_for_a_while_and_asked_once_at_a_time() {
    let mut consents = Consents::reserve();
    let harness = start(&mut consents, TABLE);
    let of_hoa = target(&HOA, "treatment", "hospital-north");
    consents.says(&of_hoa, 200, r#"{"consent":false}"#);
    consents.takes(Duration::from_millis(100));
    // On both cores, and on one connection.
    let client = harness.client_over("hospital-north/his", Http::Two);
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let client = client.clone();
        waiting.spawn(async move { client.send(read(&HOA, "treatment")).await.unwrap() });
    }
    for answer in waiting.join_all().await {
        assert_eq!(refusal(&answer), "403 plugin_refused");
    }
    assert_eq!(consents.asked().len(), 1, "{:?}", consents.asked());
    // A no is remembered for a second, a yes for minutes.
    consents.says(&of_hoa, 200, r#"{"consent":true}"#);
    tokio::time::sleep(Duration::from_millis(1300)).await;
    for _ in 0..3 {
        assert_eq!(refusal(&client.send(read(&HOA, "treatment")).await.unwrap()), "200 ");
    }
    assert_eq!(consents.asked().len(), 2);
    consents.stop();
    assert_eq!(refusal(&client.send(read(&HOA, "treatment")).await.unwrap()), "200 ", "it is still remembered");
    assert_eq!(refusal(&client.send(read(&HUSBAND, "treatment")).await.unwrap()), "503 plugin_failed");
}

#[tokio::test]
async fn no_answer_is_no_consent() {
    let mut consents = Consents::reserve();
    let harness = start(&mut consents, &(TABLE.to_owned() + "deadline = \"150ms\"\n"));
    let mut session = harness.session("hospital-north/his").await;
    let answers = [
        (200, "<html>welcome</html>"),
        (200, "{}"),
        (200, r#"{"consent":"yes"}"#),
        (200, r#"{"consent":true,"consent":true}"#),
        (200, r#"{"consent":true}}"#),
        (204, ""),
        (302, ""),
        (401, ""),
        (500, r#"{"consent":true}"#),
    ];
    for (at, (status, body)) in (1..).zip(answers) {
        consents.says_otherwise(status, body);
        let answer = session.send(read(&HOA, "treatment")).await.unwrap();
        assert_eq!(refusal(&answer), "503 plugin_failed", "{status} {body}");
        assert_eq!(answer.headers.get("retry-after").unwrap(), "1");
        assert_eq!(failures(&harness, "consent").await, at, "each is an alarm");
    }
    consents.says_otherwise(200, r#"{"consent":true}"#);
    consents.takes(Duration::from_secs(5));
    let since = std::time::Instant::now();
    let answer = session.send(read(&HOA, "treatment")).await.unwrap();
    assert_eq!(refusal(&answer), "503 plugin_failed");
    assert!(since.elapsed() < Duration::from_secs(4), "its deadline is its own");
    consents.stop();
    assert_eq!(refusal(&session.send(read(&HOA, "treatment")).await.unwrap()), "503 plugin_failed");
    assert_eq!(harness.deployment.register.faults.requests(), 0, "the population register was never asked");
    // An infrastructure that fails is no evidence against the agency: metrics and log have it.
    assert_eq!(recorded(&harness).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_table_can_say_that_its_failure_is_ignored_or_that_a_missing_consent_takes_fields() {
    let mut consents = Consents::reserve();
    let table =
        TABLE.to_owned() + "on_error = \"ignore\"\nwithout = \"narrow\"\nwithhold = [\"contact\", \"health\"]\n";
    let harness = start(&mut consents, &table);
    let shown = ask(&harness, "hospital-north/his", read(&HOA, "treatment")).await.json();
    assert_eq!(shown["full_name"], HOA.full_name);
    assert_eq!(shown.get("phone"), None, "nothing is on record: the contacts are withheld");
    consents.says_otherwise(500, "");
    let shown = ask(&harness, "hospital-north/his", read(&HUSBAND, "treatment")).await.json();
    assert_eq!(shown["phone"], HUSBAND.phone.unwrap(), "as its table says: open while it fails");
    assert_eq!(failures(&harness, "consent").await, 1);
    let ignored = "popgate_plugin_decisions_total{decision=\"ignored\",plugin=\"consent\"}";
    assert_eq!(harness.metric(ignored).await, 1);
}

#[tokio::test]
async fn the_log_names_the_plugin_and_nobody_else() {
    let mut consents = Consents::reserve();
    // Without a key, by the number itself.
    let table = TABLE.replace("{pseudonym}", "{number}").replace("key          = \"keys/consent.key\"\n", "");
    let dir = tempfile::tempdir().unwrap();
    let site = Site::make(dir.path()).unwrap();
    consents.serve(&site);
    let register = Register::start(&site).unwrap();
    let options = Options { settings: consents.settings() + &table, ..Options::default() };
    site.write_config(register.address, &options).unwrap();
    let node = Node::start(&site, &["--log", "trace"]);
    let client = node.client(&site, "hospital-north/his", Http::Two);
    for (status, expected) in [(404, "403 plugin_refused"), (500, "503 plugin_failed")] {
        consents.says_otherwise(status, "{}");
        for known in [&HOA, &HUSBAND] {
            // What was said is remembered for a second.
            let path = format!("/consents/{}?purpose=treatment&agency=hospital-north", known.number);
            let answer = client.send(read(known, "treatment")).await.unwrap();
            assert_eq!(refusal(&answer), expected);
            assert!(consents.asked().contains(&format!("GET {path}")));
        }
        tokio::time::sleep(Duration::from_millis(1300)).await;
    }
    let (drained, lines) = node.terminate();
    assert!(drained);
    for says in ["a plugin refused", "a plugin failed"] {
        let said: Vec<_> = lines.iter().filter(|line| line.contains(says)).collect();
        assert_eq!(said.len(), 2, "{lines:#?}");
        assert!(
            said.iter().all(|line| line.contains("\"plugin\":\"consent\"") && line.contains("request_id")),
            "{said:?}"
        );
    }
    for known in [&HOA, &HUSBAND] {
        assert!(!lines.iter().any(|line| line.contains(&known.number.to_string())), "{lines:#?}");
    }
}

#[tokio::test]
async fn a_person_without_a_consent_can_be_answered_as_unknown() {
    let mut consents = Consents::reserve();
    let table = TABLE.replace("health", "telecom") + "without = \"unknown\"\n";
    let harness = start(&mut consents, &table);
    let answer = ask(&harness, "telecom-a/crm", lookup(&HOA, "subscriber-verification")).await;
    assert_eq!(refusal(&answer), "404 no_match");
    assert_eq!(harness.deployment.register.faults.requests(), 1, "neither the answer nor its time tells");
    assert_eq!(recorded(&harness).await, ["hidden"]);
}

#[tokio::test]
async fn a_suspended_consent_register_opens_nothing_whatever_on_error_says_and_whatever_is_remembered() {
    use popgate::suspend::{Kind, Order, Target};
    let mut consents = Consents::reserve();
    let harness = start(&mut consents, &format!("{TABLE}on_error = \"ignore\"\n"));
    consents.says(&target(&HOA, "treatment", "hospital-north"), 200, r#"{"consent":true}"#);
    let mut session = harness.client_over("hospital-north/his", Http::Two).connect().await.unwrap();
    assert_eq!(refusal(&session.send(read(&HOA, "treatment")).await.unwrap()), "200 ");
    let target = Target { kind: Kind::Register, id: "consent".into() };
    let order = Order { target, reason: "INC-78".into(), until: None, force: true };
    harness.deployment.gateway.node().suspend(&order, "hanh").unwrap();
    for known in [&HOA, &HUSBAND] {
        let answer = session.send(read(known, "treatment")).await.unwrap();
        assert_eq!(refusal(&answer), "503 plugin_failed");
    }
}
