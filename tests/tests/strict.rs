//! Promise: a record that lacks what its strict contract says every record has is shown to nobody; what no contract declares is
//! counted by name, as far as the name can be nobody's.

use std::collections::BTreeMap;

use http::StatusCode;
use popgate_demo::client::{Answer, Http, get, post};
use popgate_demo::deployment::{Options, Register, Site};
use popgate_demo::register::demo::HOA;
use popgate_demo::register::{Citizen, Fault, Faults};
use popgate_demo::scenario::{LOOKUP, VERIFY, keys_of_hoa, read_path};
use popgate_tests::made::edit;
use popgate_tests::node::Node;
use popgate_tests::{Harness, refusal};
use serde_json::{Value, json};

const UNCACHED: &str = "\n[cache]\ncapacity = 0\n";

/// Every citizen has a religion, if only `null`, and a permanent residence in a province.
fn strict(site: &Site) {
    let contract = "contracts/population.openapi.yaml";
    let record = "      description: A citizen's record. What the caller may not see is absent.\n";
    let said = format!("{record}      x-gateway-strict: true\n      required: [id, religion, permanent_residence]\n");
    edit(site, contract, record, &said);
    let residence = "        permanent_residence:\n          type: object\n";
    edit(site, contract, residence, &format!("{residence}          required: [province_code]\n"));
}

fn record() -> Value {
    serde_json::from_slice(&Citizen::of(HOA.number).unwrap().to_json()).unwrap()
}

fn without(object: &str, member: &str) -> Value {
    let mut record = record();
    let removed = record.pointer_mut(object).and_then(Value::as_object_mut).unwrap().shift_remove(member);
    assert!(removed.is_some(), "{member}");
    record
}

fn answers(faults: &Faults, record: &Value) {
    faults.set(HOA.number, Fault { body: Some(record.to_string().into()), ..Fault::default() });
}

async fn ask(harness: &Harness) -> Answer {
    harness.client("tax/etax").send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap()
}

#[tokio::test]
async fn a_record_that_lacks_what_it_must_have_is_shown_to_nobody() {
    let harness = Harness::start_made(UNCACHED, strict, |_| {});
    let faults = &harness.deployment.register.faults;
    assert_eq!(ask(&harness).await.status, StatusCode::OK);
    let lacking =
        [without("", "religion"), without("", "permanent_residence"), without("/permanent_residence", "province_code")];
    for record in &lacking {
        answers(faults, record);
        // Nobody here may see the religion: that it is missing is refused all the same, and not said.
        let claims = json!({ "id": HOA.number.to_string(), "full_name": HOA.full_name });
        let asked = [
            get(&read_path(HOA.number), Some("assessment")),
            post(LOOKUP, Some("assessment"), &keys_of_hoa()),
            post(VERIFY, Some("assessment"), &claims),
        ];
        for request in asked {
            let answer = harness.client_over("tax/etax", Http::Two).send(request).await.unwrap();
            assert_eq!(refusal(&answer), "502 record_incomplete");
            assert_eq!(answer.headers["proxy-status"], "popgate; error=http_protocol_error");
            assert_eq!(answer.told("title"), "the register's record lacks a field that it must have");
            assert_eq!(answer.told("detail"), "report the request id to the gateway's operator");
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            for secret in ["religion", "residence", "province", HOA.full_name] {
                assert!(!text.contains(secret), "{text}");
            }
        }
    }
    let mut silent = record();
    silent["religion"] = Value::Null;
    answers(faults, &silent);
    assert_eq!(ask(&harness).await.status, StatusCode::OK, "`null` says that there is none");
    faults.clear();
    assert_eq!(ask(&harness).await.status, StatusCode::OK);
    assert_eq!(harness.metric("popgate_refusals_total{code=\"record_incomplete\"}").await, 9);
}

#[tokio::test]
async fn a_contract_that_is_not_strict_takes_a_missing_field_for_absent() {
    let harness = Harness::start_with(UNCACHED);
    answers(&harness.deployment.register.faults, &without("", "full_name"));
    let answer = ask(&harness).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.json().get("full_name").is_none());
}

#[tokio::test]
async fn an_operator_reads_in_the_log_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::make(dir.path()).unwrap();
    strict(&site);
    let register = Register::start(&site).unwrap();
    site.write_config(register.address, &Options::default()).unwrap();
    let node = Node::start(&site, &[]);
    answers(&register.faults, &without("/permanent_residence", "province_code"));
    let asked = get(&read_path(HOA.number), Some("assessment"));
    let answer = node.client(&site, "tax/etax", Http::Two).send(asked).await.unwrap();
    assert_eq!(refusal(&answer), "502 record_incomplete");
    let (good, said) = node.terminate();
    assert!(good);
    let said = said.join("\n");
    assert!(said.contains("Citizen.permanent_residence.province_code"), "{said}");
    assert!(!said.contains(HOA.full_name) && !said.contains(&HOA.number.to_string()), "{said}");
}

/// What is counted as undeclared, by name.
fn undeclared(harness: &Harness) -> BTreeMap<String, u64> {
    let text = harness.deployment.gateway.node().metrics.encode();
    let samples = text.lines().filter_map(|line| line.strip_prefix("popgate_undeclared_fields_total{field=\""));
    let samples = samples.filter_map(|line| {
        let (field, rest) = line.split_once('"')?;
        Some((field.to_owned(), rest.strip_prefix(",register=\"population\"} ")?.parse().ok()?))
    });
    samples.collect()
}

fn with(more: impl IntoIterator<Item = String>) -> Value {
    let mut record = record();
    record.as_object_mut().unwrap().extend(more.into_iter().map(|name| (name, json!("x"))));
    record
}

#[tokio::test]
async fn undeclared_fields_are_counted_by_names_that_can_be_nobodys() {
    let harness = Harness::start_with(UNCACHED);
    let faults = &harness.deployment.register.faults;
    assert_eq!(undeclared(&harness), [("(other)".to_owned(), 0)].into());
    let number = HOA.number.to_string();
    let mut told =
        with(["nickname".to_owned(), number.clone(), format!("p{number}"), "Hoà".to_owned(), "line-2".to_owned()]);
    told["permanent_residence"]["floor"] = json!(3);
    answers(faults, &told);
    for _ in 0..2 {
        assert_eq!(ask(&harness).await.status, StatusCode::OK);
    }
    let expected =
        [("(other)", 6), ("Citizen.line-2", 2), ("Citizen.nickname", 2), ("Citizen.permanent_residence.floor", 2)];
    assert_eq!(undeclared(&harness), expected.map(|(name, count)| (name.to_owned(), count)).into());
    assert!(!harness.deployment.gateway.node().metrics.encode().contains(&number));
}

#[tokio::test]
async fn of_one_register_only_so_many_names_are_counted_by_themselves() {
    let harness = Harness::start_with(UNCACHED);
    let letters: Vec<char> = ('a'..='z').collect();
    for some in letters.chunks(2) {
        let names = some.iter().flat_map(|one| ["a", "b", "c", "d", "e", "f"].map(|other| format!("zz_{one}{other}")));
        answers(&harness.deployment.register.faults, &with(names));
        assert_eq!(ask(&harness).await.status, StatusCode::OK);
    }
    let mut counted = undeclared(&harness);
    // Thirteen answers with twelve names each, of which eight are told.
    assert_eq!(counted.values().sum::<u64>(), 13 * 12);
    assert_eq!(counted.remove("(other)"), Some(13 * 12 - 64));
    assert_eq!(counted.len(), 64);
}
