//! Promise: who sees what, why, and what a change alters is told before the change is live: by the binary, over the reference bundle.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use popgate_tests::build;
use serde_json::Value;

fn reference() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/bundle")
}

/// A copy of the reference bundle with one text replaced in one file.
fn edited(file: &str, from: &str, to: &str) -> tempfile::TempDir {
    let dir = copied();
    let path = dir.path().join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} has `{from}`");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
    dir
}

fn copied() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(&reference(), dir.path());
    dir
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn popgate(arguments: &[&str]) -> (i32, String) {
    let output =
        Command::new(build::popgate()).args(arguments).env("XDG_CONFIG_HOME", "/nonexistent").output().unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
    assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    (output.status.code().unwrap(), said)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What `popgate policy diff` says of the reference bundle and another.
fn diff(new: &Path, more: &[&str]) -> (i32, String) {
    popgate(&[&["policy", "diff", text(&reference()), text(new)], more].concat())
}

/// The same as JSON.
fn told(new: &Path) -> (i32, Value) {
    let (code, said) = diff(new, &["--json", "--allow-widening", "a test"]);
    (code, serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}")))
}

#[test]
fn the_same_meaning_in_other_words_is_equal() {
    let (code, said) = diff(&reference(), &[]);
    assert!(code == 0 && said.starts_with("equal: the files are the same\n"), "{code} {said}");
    let new = edited(
        "policies/bank.cedar",
        "(context.env.hour < 6 || context.env.hour >= 22)",
        "!(context.env.minute_of_day >= 360 && context.env.hour <= 21)",
    );
    let (code, said) = diff(new.path(), &[]);
    assert!(code == 0 && said.starts_with("equal: the texts differ, what is shown does not\nexact: "), "{code} {said}");
}

#[test]
fn a_mask_that_is_taken_away_is_told_for_all_who_see_more() {
    let new = edited("policies/telecom.cedar", "@mask(\"last3\")\n", "");
    let (code, said) = diff(new.path(), &[]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("widens   3 telecom agencies: Citizen.phone\n"), "{said}");
    assert!(said.contains("masked (last3)") && said.contains("→ revealed"), "{said}");
    assert!(said.contains("in citizen.lookup for subscriber-verification\n"), "{said}");
    assert!(said.contains("because policy `telecom-phone-hint` changed (policies/telecom.cedar:"), "{said}");
    let back = popgate(&["policy", "diff", text(new.path()), text(&reference())]);
    assert!(back.0 == 3 && back.1.contains("narrows  3 telecom agencies: Citizen.phone\n"), "{back:?}");
}

#[test]
fn a_solver_proves_that_nobody_sees_more_or_names_a_request_that_does() {
    let phone =
        "resource == Field::\"Citizen.phone\"\n) when { context.purpose == Purpose::\"subscriber-verification\"";
    let new = edited("policies/telecom.cedar", phone, &format!("{phone} && context.env.hour < 22"));
    let (code, wider) = popgate(&["policy", "diff", text(new.path()), text(&reference()), "--prove", "--json"]);
    let wider: Value = serde_json::from_str(&wider).unwrap_or_else(|error| panic!("{error}: {wider}"));
    assert_eq!((code, &wider["proof"]["proven"]), (4, &Value::from(false)), "{wider}");
    let found = wider["proof"]["counterexamples"].to_string();
    assert!(found.contains("citizen.lookup") && found.contains("Citizen.phone"), "{found}");
    let (code, narrower) = popgate(&["policy", "diff", text(&reference()), text(new.path()), "--prove", "--json"]);
    let narrower: Value = serde_json::from_str(&narrower).unwrap_or_else(|error| panic!("{error}: {narrower}"));
    assert_eq!((code, &narrower["proof"]["proven"]), (3, &Value::from(true)), "{narrower}");
    assert!(narrower["proof"]["shown"].as_u64().unwrap() > 0, "something was left to show: {narrower}");
}

#[test]
fn a_search_that_may_leave_more_out_widens_and_two_people_must_sign() {
    let contract = "contracts/population.openapi.yaml";
    let new = edited(contract, "required: [date_of_birth, province_code]", "required: [province_code]");
    let (code, said) = diff(new.path(), &[]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("widens   operation `citizen.search` no longer requires `date_of_birth`\n"), "{said}");
    assert!(said.contains("\nwidens: 1 change widens\n"), "{said}");
    let (code, said) = popgate(&["policy", "diff", text(new.path()), text(&reference())]);
    assert!(code == 3 && said.contains("narrows  operation `citizen.search` now requires `date_of_birth`\n"), "{said}");
    let old = reference();
    let (code, said) = popgate(&["bundle", "build", text(new.path()), "--from", text(&old), "--note", "CR-1"]);
    assert!(code == 0 && said.contains("change   it widens\n") && said.contains("two people must"), "{code} {said}");
    // A lookup shows some agencies what is sensitive: whoever lets more be looked up has to say why.
    let lookup = edited(contract, "x-gateway-guard: [full_name, date_of_birth]", "x-gateway-guard: [full_name]");
    let (code, said) = diff(lookup.path(), &[]);
    assert!(code == 1 && said.contains("more is shown of sensitive fields: `Citizen."), "{code} {said}");
}

#[test]
fn a_contract_that_reorders_its_masks_does_not_make_a_widening_narrow() {
    let new = edited("policies/telecom.cedar", "@mask(\"year\")", "@mask(\"month\")");
    let path = new.path().join("contracts/population.openapi.yaml");
    let contract = fs::read_to_string(&path).unwrap();
    assert!(contract.contains("x-gateway-masks: [month, year, decade]"));
    fs::write(&path, contract.replace("[month, year, decade]", "[year, month, decade]")).unwrap();
    let (code, found) = told(new.path());
    assert_eq!((code, &found["verdict"]), (4, &Value::from("widens")), "{found}");
    assert!(found["changes"].as_array().unwrap().iter().any(|change| {
        change["direction"] == "both" && change["fields"].to_string().contains("Citizen.date_of_birth")
    }));
}

#[test]
fn a_condition_that_is_loosened_is_told_before_and_after() {
    let new = edited("policies/bank.cedar", "context.env.hour >= 22", "context.env.hour >= 23");
    let (code, found) = told(new.path());
    assert_eq!((code, &found["verdict"]), (4, &Value::from("widens")), "{found}");
    let changes = found["changes"].as_array().unwrap();
    let marital = changes.iter().find(|change| change["fields"].to_string().contains("marital_status")).unwrap();
    assert_eq!(marital["direction"], "widens");
    let when = |side: &str| marital[side][0]["when"].as_str().unwrap().to_owned();
    assert!(when("before").contains("06:00-22:00") && when("after").contains("06:00-23:00"), "{marital}");
    assert!(when("before").contains("claimed assurance is `high`"), "{marital}");
    assert_eq!(marital["purposes"], serde_json::json!(["credit-assessment"]));
}

#[test]
fn a_permit_that_is_added_is_told_with_its_place() {
    let new = copied();
    let more = "@id(\"trial\") @basis(\"Law 1, art. 2\")\npermit (principal in Agency::\"insurance-a\", action == Action::\"citizen.verify\", \
                resource == Field::\"Citizen.phone\") when { context.purpose == Purpose::\"motor-insurance\" };\n";
    fs::write(new.path().join("policies/trial.cedar"), more).unwrap();
    let (code, said) = diff(new.path(), &[]);
    assert!(code == 4 && said.contains("widens   insurance-a: Citizen.phone\n"), "{code} {said}");
    assert!(said.contains("withheld → matched"), "{said}");
    assert!(said.contains("because policy `trial` bears on it now (policies/trial.cedar:1)"), "{said}");
}

#[test]
fn a_field_that_joins_a_group_is_told_though_no_policy_changed() {
    // The phone becomes part of what identifies a person.
    let new = edited(
        "contracts/population.openapi.yaml",
        "x-gateway-group: contact\n          x-gateway-masks: [last3, exists]",
        "x-gateway-group: identity\n          x-gateway-masks: [last3, exists]",
    );
    let (code, found) = told(new.path());
    assert_eq!(code, 4, "{found}");
    let changes = found["changes"].as_array().unwrap();
    let mut wider = changes.iter().filter(|change| change["direction"] == "widens");
    assert!(wider.any(|change| change["fields"] == serde_json::json!(["Citizen.phone"])), "{found}");
}

#[test]
fn an_agency_that_joins_a_sector_is_told() {
    let new = edited("agencies/credit-information.toml", "sector   = \"finance\"", "sector   = \"bank\"");
    let (code, said) = diff(new.path(), &[]);
    let expected = "widens   credit-information: Citizen.marital_status, Citizen.permanent_residence.province
         withheld → revealed (06:00-22:00 and claimed assurance is `high`)
         in citizen.lookup for credit-assessment
         because policy `bank-borrower-circumstances` bears on it now (policies/bank.cedar:34)
";
    assert!(code == 4 && said.contains(expected), "{code} {said}");
    // The banks' nights are its nights now.
    assert!(said.contains("masked (exists) → masked (exists) (06:00-22:00)\n"), "{said}");
}

#[test]
fn a_purpose_that_is_enrolled_is_told() {
    let new =
        edited("agencies/electricity.toml", "[\"utility-contract\"]", "[\"utility-contract\", \"subscriber-audit\"]");
    let (code, said) = diff(new.path(), &[]);
    // No policy gives it anything for that purpose.
    assert!(code == 0 && said.starts_with("equal: "), "{code} {said}");
    let new = edited("agencies/electricity.toml", "[\"utility-contract\"]", "[\"motor-insurance\"]");
    let (code, said) = diff(new.path(), &[]);
    assert!(code == 3 && said.contains("narrows  electricity: "), "{code} {said}");
    assert!(said.contains("because the purpose may be used in one of the bundles only"), "{said}");
}

#[test]
fn more_of_a_sensitive_field_needs_a_reason() {
    let sensitive = edited(
        "policies/health.cedar",
        "resource == Field::\"Citizen.blood_type\"\n) when { context.purpose == Purpose::\"treatment\" };",
        "resource == Field::\"Citizen.blood_type\"\n) when { context.purpose != Purpose::\"vaccination\" };",
    );
    let (code, said) = diff(sensitive.path(), &[]);
    assert!(
        code == 1 && said.contains("error: more is shown of sensitive fields: `Citizen.blood_type`;"),
        "{code} {said}"
    );
    assert!(said.contains("say why with --allow-widening"), "{said}");
    let (code, said) = diff(sensitive.path(), &["--allow-widening", "INC-77, decided today", "--json"]);
    let found: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &found["allow_widening"]), (4, &Value::from("INC-77, decided today")));
    assert!(!found["sensitive"].as_array().unwrap().is_empty());
    let (code, said) = diff(sensitive.path(), &["--allow-widening", " "]);
    assert!(code == 2 && said.contains("say why"), "{code} {said}");
}

#[test]
fn who_can_see_a_field_is_told_with_conditions_and_policies() {
    let bundle = reference();
    let (code, said) = popgate(&["policy", "who", "--field", "Citizen.phone", "--bundle", text(&bundle)]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("3 telecom agencies\n  Citizen.phone: masked (last3)"), "{said}");
    assert!(said.contains("telecom-phone-hint (policies/telecom.cedar:24)"), "{said}");
    assert!(said.ends_with("; exact\n"), "{said}");
    let (code, said) = popgate(&["policy", "who", "--field", "Citizen.religion", "--bundle", text(&bundle), "--json"]);
    let found: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &found["fields"]), (0, &serde_json::json!(["Citizen.religion"])));
    let nobody = popgate(&["policy", "who", "--field", "Citizen.religion", "--bundle", text(&bundle)]);
    assert_eq!(nobody, (0, "nobody can ever see it\n0 agencies, 0 systems; exact\n".to_owned()));
    // What no circumstances that were tried make true may be true in others.
    let odd = copied();
    let like = |pattern: &str| format!("context.env.claimed_assurance like \"{pattern}\"");
    let odd_policy = format!(
        "@id(\"odd\") @basis(\"none\")\npermit (principal in Sector::\"telecom\", action == Action::\"citizen.lookup\", \
         resource == Field::\"Citizen.religion\")\nwhen {{ context.env has claimed_assurance && {} && {} }};\n",
        like("high*"),
        like("*-2"),
    );
    fs::write(odd.path().join("policies/odd.cedar"), odd_policy).unwrap();
    let (code, said) = popgate(&["policy", "who", "--field", "Citizen.religion", "--bundle", text(odd.path())]);
    assert!(code == 0 && said.contains("  Citizen.religion: withheld as far as was tried\n"), "{code} {said}");
    assert!(
        said.contains("  whether it is ever shown is not known: `claimed_assurance` is compared with a pattern\n"),
        "{said}"
    );
    assert!(
        said.contains("\nnobody is known to see it\n0 agencies, 0 systems, and perhaps ")
            && !said.ends_with("; exact\n"),
        "{said}"
    );
    let (code, said) = popgate(&["policy", "who", "--field", "Citizen.religoin", "--bundle", text(&bundle)]);
    assert!(code == 1 && said.contains("did you mean `Citizen.religion`?"), "{code} {said}");
    let (code, _) = popgate(&["policy", "who", "--bundle", text(&bundle)]);
    assert_eq!(code, 2);
}

#[test]
fn a_decision_is_explained_down_to_the_condition_that_was_false() {
    let bundle = reference();
    let ask = |more: &[&str]| {
        let base = ["policy", "explain", "--operation", "citizen.lookup", "--bundle", text(&bundle)];
        popgate(&[&base[..], more].concat())
    };
    let bank = [
        "--agency",
        "bank-a",
        "--purpose",
        "credit-assessment",
        "--field",
        "Citizen.marital_status",
        "--assurance",
        "high",
    ];
    let (code, said) = ask(&[&bank[..], &["--at", "2026-12-01T23:30"]].concat());
    assert!(
        code == 0 && said.contains("Citizen.marital_status withheld: decided by `bank-no-borrower-at-night`"),
        "{code} {said}"
    );
    assert!(said.contains("* `bank-no-borrower-at-night` forbids: applies (policies/bank.cedar:"), "{said}");
    let (code, said) = ask(&[&bank[..6], &["--at", "2026-12-01T09:30"]].concat());
    assert!(code == 0 && said.contains("no permit applies"), "{code} {said}");
    assert!(said.contains("false     when { context.env has claimed_assurance }"), "{said}");

    // A child's record, as the register answers it.
    let dir = tempfile::tempdir().unwrap();
    let record = dir.path().join("person.json");
    fs::write(
        &record,
        r#"{"id":"001220000011","full_name":"Trần Thị Mai","date_of_birth":"2020-05-05","phone":"0912345678"}"#,
    )
    .unwrap();
    let telecom = ["--agency", "telecom-a", "--field", "Citizen.phone", "--at", "2026-12-01T09:30"];
    let (code, said) = ask(&telecom);
    assert!(
        code == 0 && said.contains("at most masked (last3)") && said.contains("waits for the record"),
        "{code} {said}"
    );
    let (code, said) = ask(&[&telecom[..], &["--record", text(&record)]].concat());
    assert!(
        code == 0 && said.contains("Citizen.phone matched: decided by `minors-contact-only-matched`"),
        "{code} {said}"
    );
    assert!(
        !said.contains("0912345678") && !said.contains("001220000011") && !said.contains("Mai"),
        "nothing of the record: {said}"
    );
    let (code, said) = ask(&[&telecom[..], &["--json"]].concat());
    let found: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, &found["system"], &found["disagreements"]),
        (0, &Value::from("telecom-a/crm"), &serde_json::json!([]))
    );

    // Nobody else's operations and purposes.
    let (code, said) = ask(&["--agency", "telecom-a", "--purpose", "treatment"]);
    assert!(code == 1 && said.contains("may not use the purpose `treatment`"), "{code} {said}");
    let (code, said) = ask(&["--agency", "telecom-z"]);
    assert!(code == 1 && said.contains("did you mean `telecom-"), "{code} {said}");
}

#[test]
fn table_and_text_agree_about_every_field_of_every_enrolled_system() {
    // By the middle of a working day, without a record: each of them is evaluated both ways.
    let bundle = reference();
    for (agency, operation, purpose) in [
        ("ha-noi", "citizen.read", "residence-management"),
        ("hospital-north", "citizen.lookup", "treatment"),
        ("state-bank", "citizen.lookup", "anti-money-laundering"),
        ("bank-a", "citizen.lookup", "credit-assessment"),
        ("telecom-b", "citizen.lookup", "subscriber-verification"),
    ] {
        let base = ["policy", "explain", "--bundle", text(&bundle), "--at", "2026-12-01T10:00", "--user", "--case"];
        let (code, said) =
            popgate(&[&base[..], &["--agency", agency, "--operation", operation, "--purpose", purpose]].concat());
        assert_eq!(code, 0, "{agency} {operation} {purpose}: {said}");
    }
}
