//! Promise: what leaves is what the purpose's three gates and the policies permit, each refusal names the gate that did not agree,
//! and what cannot be answered is refused before the register is asked.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::Full;
use popgate_demo::client::{Answer, get, post};
use popgate_demo::register::demo::{DECEASED, HOA, HUSBAND, Known, MINOR, RESIDENT_OF_079};
use popgate_demo::register::{Citizen, Fault};
use popgate_demo::scenario::{LOOKUP, VERIFY, keys_of_hoa, read_path};
use popgate_tests::made::{edit, write, zone_where_it_is};
use popgate_tests::{Harness, refusal};
use serde_json::{Value, json};

#[tokio::test]
async fn each_gate_of_a_purpose_refuses_by_its_own_name_and_before_the_register_is_asked() {
    let harness = Harness::start_made(
        "",
        |site| edit(site, "agencies/statistics.toml", "networks = [\"10.60.0.0/16\"]\n", ""),
        |config| config.time_zone = zone_where_it_is(12),
    );
    // The registry of purposes, the directory, the validity, the policies.
    for (system, purpose, refused, names) in [
        ("tax/etax", "no-such-purpose", "403 purpose_unknown", ""),
        ("tax/etax", "treatment", "403 purpose_not_enrolled", "assessment"),
        // Of the agency, but not of this system.
        ("tax/etax", "tax-debt", "403 purpose_not_enrolled", "assessment"),
        ("tax/inspection", "data-cleaning-2025", "403 purpose_expired", ""),
        // Not valid yet.
        ("statistics/warehouse", "census-2029", "403 purpose_expired", ""),
        ("telecom-a/crm", "subscriber-verification", "403 policy_denied", ""),
        // An hour at which the policies forbid everything.
        ("statistics/warehouse", "statistics", "403 policy_denied", ""),
    ] {
        let answer = ask(&harness, system, get(&read_path(HOA.number), Some(purpose)), &[]).await;
        assert_eq!(refusal(&answer), refused, "{system} for {purpose}");
        let told = answer.told("detail");
        assert!(!told.is_empty() && told.contains(names), "{system} for {purpose}: {told}");
        assert!(!told.contains("no-such-purpose"), "the request is not echoed: {told}");
    }
    let answer = ask(&harness, "ha-noi/portal", get(&read_path(HOA.number), None), &[]).await;
    assert_eq!(refusal(&answer), "403 purpose_missing");
    for purpose in ["residence-management", "land-registration", "public-service"] {
        assert!(answer.told("detail").contains(purpose), "{}", answer.told("detail"));
    }
    assert_eq!(harness.deployment.register.faults.requests(), 0);
}

#[tokio::test]
async fn a_purpose_gets_the_evidence_that_it_requires() {
    let harness = Harness::start_made("", |_| {}, |config| config.time_zone = zone_where_it_is(12));
    let (user, case, assurance) =
        (("gateway-user", "inspector-7"), ("gateway-case", "TD-2026/17"), ("gateway-assurance", "high"));
    for (system, purpose, given, missing) in [
        ("tax/inspection", "tax-debt", vec![], "Gateway-Case"),
        ("tax/inspection", "tax-debt", vec![user, assurance], "Gateway-Case"),
        ("tax/inspection", "tax-debt", vec![case], "Gateway-User"),
        ("bank-a/loans", "credit-assessment", vec![case, user], "Gateway-Assurance"),
    ] {
        let answer = ask(&harness, system, lookup(&HOA, purpose), &given).await;
        assert_eq!(refusal(&answer), "403 evidence_missing", "{system}, {given:?}");
        assert!(answer.told("detail").contains(missing), "{system}, {given:?}: {}", answer.told("detail"));
    }
    assert_eq!(harness.deployment.register.faults.requests(), 0);
    let shown = ask(&harness, "tax/inspection", lookup(&HOA, "tax-debt"), &[case, user]).await;
    assert_eq!(shown.json().get("phone"), Some(&json!("*678")), "{}", refusal(&shown));
    let shown = ask(&harness, "bank-a/loans", lookup(&HOA, "credit-assessment"), &[case, assurance]).await;
    assert_eq!(shown.json().get("marital_status"), Some(&json!("married")), "{}", refusal(&shown));
}

#[tokio::test]
async fn what_the_agency_claims_is_read_strictly_and_never_repeated() {
    let harness = Harness::start();
    let long = "x".repeat(129);
    let bad: [&[u8]; 9] = [
        b"",
        b"two words",
        b"semi;colon",
        b"quote\"",
        b"tab\there",
        "Nguyễn".as_bytes(),
        b"<b>",
        b"a,b",
        long.as_bytes(),
    ];
    for name in ["Gateway-Purpose", "Gateway-User", "Gateway-Case", "Gateway-Assurance"] {
        let header: HeaderName = name.parse().unwrap();
        for value in bad {
            let mut request = get(&read_path(HOA.number), None);
            request.headers_mut().insert(&header, HeaderValue::from_bytes(value).unwrap());
            let answer = ask(&harness, "tax/etax", request, &[]).await;
            assert_eq!(refusal(&answer), "400 header_invalid", "{name}: {value:?}");
            let told = String::from_utf8(answer.body.to_vec()).unwrap();
            assert!(told.contains(name), "{told}");
            assert!(value.is_empty() || !answer.body.windows(value.len()).any(|part| part == value), "{told}");
        }
        let mut request = get(&read_path(HOA.number), None);
        for _ in 0..2 {
            request.headers_mut().append(&header, HeaderValue::from_static("assessment"));
        }
        assert_eq!(refusal(&ask(&harness, "tax/etax", request, &[]).await), "400 header_invalid", "{name} twice");
    }
    for unknown in ["gateway-porpoise", "gateway-request-id", "gateway-"] {
        let answer = ask(&harness, "tax/etax", read(&HOA, "assessment"), &[(unknown, "x")]).await;
        assert_eq!(refusal(&answer), "400 header_invalid", "{unknown}");
    }
    assert_eq!(harness.deployment.register.faults.requests(), 0);
    let most = "Az09._:/@+=-".to_owned() + &"x".repeat(116);
    let answer = ask(&harness, "tax/etax", read(&HOA, "assessment"), &[("gateway-case", &most)]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", refusal(&answer));
}

#[tokio::test]
async fn a_province_sees_its_residents_and_others_as_nobody() {
    let harness = Harness::start();
    for (system, own, other) in
        [("ha-noi/portal", &HOA, &RESIDENT_OF_079), ("ho-chi-minh/portal", &RESIDENT_OF_079, &HOA)]
    {
        let shown = ask(&harness, system, read(own, "residence-management"), &[]).await;
        assert_eq!(shown.json().get("full_name"), Some(&json!(own.full_name)), "{system}: {}", refusal(&shown));
        for request in [read(other, "residence-management"), lookup(other, "residence-management")] {
            assert_eq!(refusal(&ask(&harness, system, request, &[]).await), "404 no_match", "{system}");
        }
        // Births and marriages are registered anywhere: the forbid says so.
        let evidence = [("gateway-case", "HT-1"), ("gateway-user", "registrar-3")];
        let shown = ask(&harness, system, read(other, "civil-status-registration"), &evidence).await;
        assert_eq!(shown.json().get("full_name"), Some(&json!(other.full_name)), "{system}: {}", refusal(&shown));
    }
    // A record that does not say its province in the declared form is nobody's.
    let mut record = serde_json::to_value(Citizen::of(HUSBAND.number).unwrap()).unwrap();
    record.pointer_mut("/permanent_residence/province_code").map(|code| *code = json!(1)).unwrap();
    let odd = Fault { body: Some(Bytes::from(record.to_string())), ..Fault::default() };
    harness.deployment.register.faults.set(HUSBAND.number, odd);
    let answer = ask(&harness, "ha-noi/portal", read(&HUSBAND, "residence-management"), &[]).await;
    assert_eq!(refusal(&answer), "404 no_match");
    assert!(harness.metric("popgate_policy_errors_total").await > 0, "a policy that cannot be evaluated alarms");
    let tables = async |state| harness.metric(&format!("popgate_policy_tables{{state=\"{state}\"}}")).await;
    let (known, made, distinct) = (tables("known").await, tables("made").await, tables("distinct").await);
    assert!(0 < distinct && distinct <= made && made <= known, "{distinct} {made} {known}");
    assert!(harness.metric("popgate_policy_table_bytes").await > 0);
}

#[tokio::test]
async fn records_of_minors_and_of_the_deceased_are_capped_whatever_else_is_permitted() {
    let generous = r#"
@id("generous") @basis("test")
permit (principal in Sector::"telecom", action == Action::"citizen.lookup", resource)
when { resource in [Field::"Citizen.date_of_birth", Field::"Citizen.phone", Field::"Citizen.sex",
    Field::"Citizen.eid_level", Field::"Citizen.household"] };
"#;
    let harness = Harness::start_made("", |site| write(site, "policies/generous.cedar", generous), |_| {});
    let purpose = "subscriber-verification";
    let shown = async |known| ask(&harness, "telecom-a/crm", lookup(known, purpose), &[]).await.json();
    let adult = shown(&HOA).await;
    assert_eq!(adult["date_of_birth"], "1987-03-14");
    assert_eq!(adult["phone"], "0912345678");
    assert!(adult["eid_level"].is_number() && adult["household"]["id"].is_string(), "an adult is shown as permitted");

    // Years at most, contacts by match at most, other persons not at all.
    let minor = shown(&MINOR).await;
    assert_eq!(minor["date_of_birth"], 2012);
    assert_eq!(minor["sex"], "female");
    for withheld in ["phone", "household"] {
        assert_eq!(minor.get(withheld), None, "{withheld} of a minor");
    }
    // The record says more than the caller sees.
    assert!(Citizen::of(MINOR.number).unwrap().household.id.starts_with("HH-"));
    // A sector that the cap excepts.
    let treated = ask(&harness, "hospital-north/his", read(&MINOR, "treatment"), &[]).await.json();
    assert_eq!(treated["date_of_birth"], "2012-06-22");
    assert_eq!(treated["legal_representative"]["full_name"], HUSBAND.full_name, "consent for a minor");
    let grown = ask(&harness, "hospital-north/his", read(&HOA, "treatment"), &[]).await.json();
    assert_eq!(grown.get("legal_representative"), None);

    let deceased = shown(&DECEASED).await;
    assert_eq!(deceased["date_of_birth"], "1958-03-06");
    for withheld in ["eid_level", "phone"] {
        assert_eq!(deceased.get(withheld), None, "{withheld} of a deceased person");
    }
    // Who pays survivors sees the relatives of the deceased, and of nobody else.
    for (known, survivors) in [(&DECEASED, true), (&HUSBAND, false)] {
        let request = read(known, "social-benefit");
        let shown = ask(&harness, "social-insurance/claims", request, &[("gateway-case", "BH-9")]).await.json();
        assert_eq!(shown["full_name"], known.full_name);
        assert_eq!(shown.get("spouse").is_some(), survivors, "{}", known.full_name);
    }
}

#[tokio::test]
async fn the_circumstances_of_a_request_decide_with() {
    let case = ("gateway-case", "TD-1");
    let user = ("gateway-user", "inspector-7");
    let loan = |assurance| [case, ("gateway-assurance", assurance)];
    for (hour, debtor, borrower) in [(12, "200 ", "200 "), (2, "403 policy_denied", "403 policy_denied")] {
        let harness = Harness::start_made(
            "",
            // The supervisor's network rule is in a policy too; here the directory lets it in.
            |site| edit(site, "agencies/state-bank.toml", "networks = [\"10.30.0.0/16\"]\n", ""),
            |config| config.time_zone = zone_where_it_is(hour),
        );
        let faults = &harness.deployment.register.faults;
        let answer = ask(&harness, "tax/inspection", lookup(&HOA, "tax-debt"), &[case, user]).await;
        assert_eq!(refusal(&answer), debtor, "a debtor at {hour}");
        let answer = ask(&harness, "bank-a/loans", lookup(&HOA, "credit-assessment"), &loan("high")).await;
        assert_eq!(refusal(&answer), borrower, "a borrower at {hour}");
        let asked = faults.requests();
        assert_eq!(asked, u64::from(hour == 12), "what is refused is not asked for");
        // A lower assurance shows nothing, at any hour.
        let answer = ask(&harness, "bank-a/loans", lookup(&HOA, "credit-assessment"), &loan("substantial")).await;
        assert_eq!(refusal(&answer), "403 policy_denied");
        let answer =
            ask(&harness, "state-bank/supervision", lookup(&HOA, "anti-money-laundering"), &[case, user]).await;
        assert_eq!(refusal(&answer), "403 policy_denied", "from outside of the network that the policy names");
        assert_eq!(faults.requests(), asked);
    }
}

#[tokio::test]
async fn a_parameter_without_a_match_permission_is_refused_before_the_fetch() {
    let harness = Harness::start();
    let faults = &harness.deployment.register.faults;
    let claim = |name: &str, value: &str| {
        let mut claims = keys_of_hoa();
        claims.as_object_mut().unwrap().insert(name.into(), json!(value));
        post(VERIFY, Some("subscriber-verification"), &claims)
    };
    for (name, value) in [("permanent_residence_province", "Hà Nội"), ("old_id", "001234567")] {
        let answer = ask(&harness, "telecom-a/crm", claim(name, value), &[]).await;
        assert_eq!(refusal(&answer), "403 parameter_denied");
        assert!(answer.told("detail").contains(name), "{}", answer.told("detail"));
        assert!(!answer.told("detail").contains(value), "{}", answer.told("detail"));
    }
    // One that the contract does not know is another mistake.
    let answer = ask(&harness, "telecom-a/crm", claim("religion", "x"), &[]).await;
    assert_eq!(refusal(&answer), "400 parameter_invalid");
    assert_eq!(faults.requests(), 0);
    let answer = ask(&harness, "telecom-a/crm", claim("sex", "female"), &[]).await;
    assert_eq!(answer.json(), json!({"full_name": true, "date_of_birth": true, "sex": true}));
    assert_eq!(faults.requests(), 1);
}

#[tokio::test]
async fn a_policy_that_fails_denies_its_field_and_is_counted() {
    // A forbid that fails must not open, and a permit that fails must not be outvoted by one that does not.
    let failing = r#"
@id("failing-forbid") @basis("test")
forbid (principal in Sector::"tax", action == Action::"citizen.read", resource == Field::"Citizen.sex")
when { context.env.hour * 9223372036854775807 < 0 };
@id("failing-permit") @basis("test")
permit (principal in Sector::"tax", action == Action::"citizen.read", resource == Field::"Citizen.nationality")
when { context.env.hour * 9223372036854775807 > 0 };
@id("failing-everything") @basis("test")
forbid (principal == System::"tax/etax", action == Action::"citizen.lookup", resource)
when { context.env.hour * 9223372036854775807 < 0 };
"#;
    let harness = Harness::start_made(
        "",
        |site| write(site, "policies/failing.cedar", failing),
        |config| config.time_zone = zone_where_it_is(12),
    );
    let errors = async || harness.metric("popgate_policy_errors_total").await;
    assert_eq!(errors().await, 0);
    let shown = ask(&harness, "tax/etax", read(&HOA, "assessment"), &[]).await.json();
    assert_eq!(shown.get("sex"), None);
    assert_eq!(shown.get("nationality"), None);
    assert_eq!(shown["full_name"], HOA.full_name, "other fields are not affected");
    let first = errors().await;
    assert!(first > 0);
    // Where nothing is left to show, the register is not asked, and the failure is counted all the same.
    let asked = harness.deployment.register.faults.requests();
    let answer = ask(&harness, "tax/etax", lookup(&HOA, "assessment"), &[]).await;
    assert_eq!(refusal(&answer), "403 policy_denied");
    assert_eq!(harness.deployment.register.faults.requests(), asked);
    assert!(errors().await > first, "a failure that denies everything alarms too");
    // Who the failing policies are not about sees what it saw.
    let shown = ask(&harness, "hospital-north/his", read(&HOA, "treatment"), &[]).await.json();
    assert_eq!(shown["sex"], "female");
}

async fn ask(
    harness: &Harness,
    system: &str,
    mut request: Request<Full<Bytes>>,
    headers: &[(&'static str, &str)],
) -> Answer {
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    harness.client(system).send(request).await.unwrap()
}

fn read(known: &Known, purpose: &str) -> Request<Full<Bytes>> {
    get(&read_path(known.number), Some(purpose))
}

fn lookup(known: &Known, purpose: &str) -> Request<Full<Bytes>> {
    let keys: Value = json!({
        "id": known.number.to_string(),
        "full_name": known.full_name,
        "date_of_birth": known.date_of_birth.to_string(),
    });
    post(LOOKUP, Some(purpose), &keys)
}
