//! Promise: `popgate explain REQUEST-ID` says of any request in the audit log who asked what for what, which gate let it pass or did not,
//! and which policy showed or withheld each field, by the bundle that was in force then; to auditors, and of no person.

use std::path::Path;

use http::{HeaderValue, Request};
use popgate::app::bundle_files;
use popgate::app::bundle_store::Store;
use popgate::app::trace::{self, FindError};
use popgate::pki::{Client as Subject, Validity};
use popgate::suspend::{Kind, Order, Target};
use popgate_demo::client::{Answer, get, post};
use popgate_demo::deployment::{OPERATORS, Site};
use popgate_demo::register::demo::{HOA, RESIDENT_OF_079};
use popgate_demo::scenario::{LOOKUP, VERIFY, keys_of_hoa, read_path};
use popgate_policy::model::DisclosureId;
use popgate_tests::made::write;
use popgate_tests::{Harness, node};
use serde_json::{Value, json};

fn id(answer: &Answer) -> String {
    answer.headers["gateway-request-id"].to_str().unwrap().to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What `popgate explain` says, and its exit code.
fn explain(arguments: &[&str]) -> (i32, String) {
    let output = node::run(&[&["explain"], arguments].concat());
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
    for value in [HOA.number.to_string(), HOA.full_name.to_string(), "1987-03-14".into(), "CASE-7".into()] {
        assert!(!said.contains(&value), "it names a person or a case: {said}");
    }
    (output.status.code().unwrap(), said)
}

fn parsed(said: &str) -> Value {
    serde_json::from_str(said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn field<'v>(traced: &'v Value, name: &str) -> &'v Value {
    let fields = traced["fields"].as_array().unwrap();
    fields.iter().find(|field| field["field"] == name).unwrap_or_else(|| panic!("{name} in {traced}"))
}

fn gate<'v>(traced: &'v Value, name: &str) -> &'v Value {
    traced["gates"].as_array().unwrap().iter().find(|gate| gate["gate"] == name).unwrap()
}

fn enrol(site: &Site, name: &str) {
    let uri = Some(format!("spiffe://gov.vn/operator/{name}"));
    let subject = Subject { uri, common_name: name.into(), ..Subject::default() };
    let life = Validity::days(jiff::Timestamp::now(), 1);
    let issued = site.authority(OPERATORS).unwrap().issue_client(&subject, life).unwrap();
    site.write_identity(&format!("operator-{name}"), &issued).unwrap();
}

#[tokio::test]
async fn each_request_is_explained_by_the_bundle_of_then() {
    let operator = |(name, role): (&str, &str)| {
        format!("\n[admin.operators.{name}]\nidentity = \"spiffe://gov.vn/operator/{name}\"\nroles = [\"{role}\"]\n")
    };
    let harness = Harness::start_with(&[("an", "auditor"), ("vy", "viewer")].map(operator).concat());
    let site = harness.deployment.site.clone();
    Store::new(&site.dir().join("state")).keep(&bundle_files::read(&site.bundle()).unwrap(), None).unwrap();
    let ask = async |system: &str, request| harness.client(system).send(request).await.unwrap();
    let verification = Some("subscriber-verification");
    let looked_up = ask("telecom-a/crm", post(LOOKUP, verification, &keys_of_hoa())).await;
    let denied = ask("telecom-a/crm", get(&read_path(HOA.number), verification)).await;
    let unenrolled = ask("tax/etax", get(&read_path(HOA.number), Some("treatment"))).await;
    let elsewhere = json!({
        "id": RESIDENT_OF_079.number.to_string(), "full_name": RESIDENT_OF_079.full_name,
        "date_of_birth": RESIDENT_OF_079.date_of_birth.to_string(),
    });
    let hidden = ask("ha-noi/portal", post(LOOKUP, Some("residence-management"), &elsewhere)).await;
    let target = Target { kind: Kind::Policy, id: "telecom-phone-hint".into() };
    let order = Order { target, reason: "a test".into(), until: None, force: false };
    harness.deployment.gateway.node().suspend(&order, "linh").unwrap();
    let suspended = ask("telecom-a/crm", post(LOOKUP, verification, &keys_of_hoa())).await;
    assert_eq!((looked_up.status.as_u16(), suspended.status.as_u16()), (200, 200));
    assert!(suspended.json().get("phone").is_none());
    // Another bundle comes into force: it has no say about what was before.
    let policy = bundle_files::read(&site.bundle()).unwrap().files["policies/telecom.cedar"].clone();
    harness.reload("policies/telecom.cedar", &policy.replacen("@mask(\"year\")", "", 1)).await;

    let config = site.config_file();
    let beside = |answer: &Answer, more: &[&str]| {
        explain(&[&[id(answer).as_str(), "--config", text(&config)][..], more].concat())
    };
    let (code, said) = beside(&looked_up, &["--json"]);
    let traced = parsed(&said);
    assert_eq!((code, &traced["outcome"], &traced["unexplained"]), (0, &json!("complete"), &Value::Null), "{said}");
    assert_eq!((&traced["system"], &traced["purpose"]), (&json!("telecom-a/crm"), &json!("subscriber-verification")));
    let born = field(&traced, "Citizen.date_of_birth");
    assert_eq!(born["shown"], "masked");
    let policies = born["policies"].as_array().unwrap();
    let of = |policies: &[Value], id: &str| policies.iter().find(|policy| policy["policy"] == id).cloned().unwrap();
    let mask = of(policies, "telecom-year-only");
    assert_eq!((&mask["decides"], &mask["file"]), (&json!(true), &json!("policies/telecom.cedar")), "{mask}");
    let line = policy.lines().position(|line| line.contains("telecom-year-only")).unwrap() + 1;
    assert!(mask["line"].as_u64().unwrap().abs_diff(line as u64) <= 1, "{mask}");
    assert_eq!(field(&traced, "Citizen.religion")["shown"], "not shown");
    assert!(["network", "directory", "registry", "policies"].iter().all(|name| gate(&traced, name)["agreed"] == true));

    // For people: the policy, its place, and the condition that was not so.
    let (code, said) = beside(&looked_up, &["--field", "Citizen.date_of_birth"]);
    assert_eq!(code, 0, "{said}");
    for part in [
        "who       telecom-a/crm from 127.0.0.1",
        "masked        Citizen.date_of_birth",
        "telecom-year-only (policies/telecom.cedar:",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let (code, said) = beside(&looked_up, &["--field", "Citizen.nothing"]);
    assert!(code == 1 && said.contains("no field `Citizen.nothing`"), "{said}");

    let traced = parsed(&beside(&denied, &["--json"]).1);
    assert_eq!(
        (&traced["outcome"], &gate(&traced, "policies")["code"]),
        (&json!("refused: policy_denied"), &json!("policy_denied"))
    );
    let traced = parsed(&beside(&unenrolled, &["--json"]).1);
    assert_eq!(
        gate(&traced, "directory"),
        &json!({"gate": "directory", "agreed": false, "code": "purpose_not_enrolled"})
    );
    assert_eq!(gate(&traced, "policies")["agreed"], Value::Null, "not asked");
    let traced = parsed(&beside(&hidden, &["--json"]).1);
    assert_eq!(traced["outcome"], "no match (hidden)");
    let name = field(&traced, "Citizen.full_name");
    assert_eq!((&name["shown"], &name["waits_for_record"]), (&json!("not shown"), &json!(true)));
    assert!(of(name["policies"].as_array().unwrap(), "province-sees-its-residents")["decides"] == true, "{name}");
    let traced = parsed(&beside(&suspended, &["--json"]).1);
    assert_eq!(traced["suspended"], json!(["telecom-phone-hint"]));
    assert_eq!(field(&traced, "Citizen.phone")["shown"], "not shown");

    // Over the node, by role.
    for name in ["an", "vy"] {
        enrol(&site, name);
    }
    let url = format!("https://localhost:{}", harness.deployment.gateway.admin().unwrap().port());
    let authority = site.gateway_authority();
    let over = |operator: &str, id: &str| {
        let file = site.dir().join(format!("clients/operator-{operator}.pem"));
        let file = text(&file);
        explain(&[id, "--node", &url, "--cert", file, "--key", file, "--ca", text(&authority), "--json"])
    };
    let (code, there) = over("an", &id(&looked_up));
    assert_eq!((code, parsed(&there)), (0, parsed(&beside(&looked_up, &["--json"]).1)));
    let (code, said) = over("vy", &id(&looked_up));
    assert!(code == 1 && said.contains("403 role_missing") && said.contains("auditor"), "{said}");
    let nobody = "0".repeat(32);
    for (code, said) in [over("an", &nobody), explain(&[&nobody, "--config", text(&config)])] {
        assert!(code == 1 && said.contains("the log has no request"), "{said}");
    }
    assert_eq!(explain(&["123", "--config", text(&config)]).0, 2);

    // Without the bundle of then, what the log has is told, and that the rest is not known.
    let bundles = Store::new(&site.dir().join("state")).dir().to_owned();
    std::fs::rename(&bundles, bundles.with_extension("away")).unwrap();
    let (code, said) = beside(&looked_up, &[]);
    assert!(code == 1 && said.contains("outcome   complete") && said.contains("not explained: no bundle"), "{said}");
}

#[tokio::test]
async fn what_an_answer_shows_of_several_persons_is_explained_with_what_goes_around_them() {
    // One whose searches no record has a say in.
    let policy = "@id(\"test-search\") @basis(\"a test\")\n\
                  permit (principal in Sector::\"tax\", action == Action::\"citizen.search\", resource)\n\
                  when { resource in [Group::\"identity\", Group::\"residence\", Group::\"paging\"] };\n";
    let harness = Harness::start_made("", |site| write(site, "policies/test.cedar", policy), |_| {});
    let ask = async |system: &str, request| harness.client(system).send(with_case(request)).await.unwrap();
    let search = async |born: &str| {
        let question = json!({"date_of_birth": born, "province_code": "001", "limit": 3});
        ask("tax/etax", post("/population/v1/citizens/search", Some("assessment"), &question)).await
    };
    let (found, nobody) = (search(&HOA.date_of_birth.to_string()).await, search("1899-01-01").await);
    let household = format!("{}/household", read_path(HOA.number));
    let household = ask("social-insurance/claims", get(&household, Some("social-benefit"))).await;
    assert_eq!([&found, &nobody, &household].map(|answer| answer.status.as_u16()), [200; 3]);
    assert!(!found.json()["items"].as_array().unwrap().is_empty());
    let (site, _dir) = harness.stop().await;
    Store::new(&site.dir().join("state")).keep(&bundle_files::read(&site.bundle()).unwrap(), None).unwrap();
    let config = site.config_file();
    let beside = |answer: &Answer, more: &[&str]| {
        explain(&[&[id(answer).as_str(), "--config", text(&config)][..], more].concat())
    };

    let traced = parsed(&beside(&found, &["--json"]).1);
    for name in ["Citizen.id", "Citizen.full_name", "CitizenPage.total"] {
        assert_eq!(field(&traced, name)["shown"], "revealed", "{name} in {traced}");
    }
    assert_eq!(field(&traced, "Citizen.religion")["shown"], "not shown");
    // Nobody was found: no record is to be blamed for what was not shown.
    let traced = parsed(&beside(&nobody, &["--json"]).1);
    assert_eq!((&traced["outcome"], &traced["persons"]), (&json!("complete"), &json!(0)));
    let name = field(&traced, "Citizen.full_name");
    assert_eq!((&name["shown"], &name["answered"]), (&json!("not shown"), &json!("revealed")));
    assert!(!traced["notes"].to_string().contains("the record did not have it"), "{traced}");

    let traced = parsed(&beside(&household, &["--json"]).1);
    assert_eq!((&traced["outcome"], &traced["persons"]), (&json!("complete"), &json!(3)));
    for name in ["Household.id", "Household.address.province", "Citizen.full_name"] {
        assert_eq!(field(&traced, name)["shown"], "revealed", "{name} in {traced}");
    }
    assert_eq!(field(&traced, "Household.address.ward")["shown"], "not shown");
    let (code, said) = beside(&household, &["--field", "Household.address"]);
    assert!(code == 0 && said.contains("revealed      Household.address.province"), "{said}");
    // Who does not wait any more is not searched for.
    let given_up = trace::find(&site.audit(), None, DisclosureId::from_random(1), &|| true);
    assert!(matches!(given_up, Err(FindError::GivenUp)), "{given_up:?}");
}

#[tokio::test]
async fn the_gate_that_refused_is_the_one_that_the_record_names() {
    let harness = Harness::start();
    let ask = async |system: &str, request| harness.client(system).send(with_case(request)).await.unwrap();
    let mut claims = keys_of_hoa();
    claims["old_id"] = "012345678".into();
    // Which parameters a request had the log does not say, nor what was lent.
    let asked = ask("bank-a/ekyc", post(VERIFY, Some("e-kyc"), &claims)).await;
    let lent = ask("tax/etax", get(&read_path(HOA.number), Some("disaster-response"))).await;
    assert_eq!((asked.code(), lent.code()), ("parameter_denied".into(), "purpose_not_enrolled".into()));
    let (site, _dir) = harness.stop().await;
    Store::new(&site.dir().join("state")).keep(&bundle_files::read(&site.bundle()).unwrap(), None).unwrap();
    for (answer, name, after) in [(&asked, "policies", None), (&lent, "directory", Some("policies"))] {
        let traced = parsed(&explain(&[&id(answer), "--config", text(&site.config_file()), "--json"]).1);
        let shut = json!({"gate": name, "agreed": false, "code": answer.code()});
        assert_eq!(gate(&traced, name), &shut, "{traced}");
        assert!(after.is_none_or(|after| gate(&traced, after)["agreed"].is_null()), "{traced}");
        assert!(traced["notes"].to_string().contains("is not in the log"), "{traced}");
    }
}

fn with_case<B>(mut request: Request<B>) -> Request<B> {
    for name in ["gateway-user", "gateway-case"] {
        request.headers_mut().insert(name, HeaderValue::from_static("c-1"));
    }
    request
}
