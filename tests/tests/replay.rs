//! Promise: `popgate policy replay` tells which requests of an audit log a candidate bundle would have answered otherwise, by agency; what
//! the log cannot tell it does not guess, and of persons it says nothing.

use std::path::Path;

use popgate::app::bundle_files;
use popgate::app::bundle_store::Store;
use popgate_demo::client::{Answer, get, post};
use popgate_demo::deployment::Site;
use popgate_demo::register::demo::{HOA, RESIDENT_OF_079};
use popgate_demo::scenario::{LOOKUP, keys_of_hoa, read_path};
use popgate_tests::made::candidate;
use popgate_tests::{Harness, node};
use serde_json::{Value, json};

/// What `popgate policy replay` says about a site's log, and its exit code.
fn replay(site: &Site, bundle: &Path, more: &[&str]) -> (i32, String) {
    let config = site.config_file();
    let asked = ["policy", "replay", "--config", text(&config), "--bundle", text(bundle)];
    let output = node::run(&[&asked[..], more].concat());
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
    for value in
        [HOA.number.to_string(), RESIDENT_OF_079.number.to_string(), HOA.full_name.to_string(), "1987-03-14".into()]
    {
        assert!(!said.contains(&value), "it names a person: {said}");
    }
    (output.status.code().unwrap(), said)
}

fn parsed(said: &str) -> Value {
    serde_json::from_str(said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn id(answer: &Answer) -> String {
    answer.headers["gateway-request-id"].to_str().unwrap().to_owned()
}

fn row<'v>(said: &'v Value, agency: &str, operation: &str) -> &'v Value {
    let rows = said["by_agency"].as_array().unwrap();
    rows.iter().find(|row| row["agency"] == agency && row["operation"] == operation).unwrap()
}

#[tokio::test]
async fn yesterdays_requests_are_held_against_tomorrows_bundle() {
    let harness = Harness::start();
    let ask = async |system: &str, request| harness.client(system).send(request).await.unwrap();
    let verification = Some("subscriber-verification");
    let read = ask("tax/etax", get(&read_path(HOA.number), Some("assessment"))).await;
    let looked_up = ask("telecom-a/crm", post(LOOKUP, verification, &keys_of_hoa())).await;
    let denied = ask("telecom-a/crm", get(&read_path(HOA.number), verification)).await;
    let unenrolled = ask("tax/etax", get(&read_path(HOA.number), Some("treatment"))).await;
    let elsewhere = json!({
        "id": RESIDENT_OF_079.number.to_string(), "full_name": RESIDENT_OF_079.full_name,
        "date_of_birth": RESIDENT_OF_079.date_of_birth.to_string(),
    });
    let hidden = ask("ha-noi/portal", post(LOOKUP, Some("residence-management"), &elsewhere)).await;
    let resident = ask("ha-noi/portal", post(LOOKUP, Some("residence-management"), &keys_of_hoa())).await;
    let statuses = [&read, &looked_up, &denied, &unenrolled, &hidden, &resident].map(|answer| answer.status.as_u16());
    assert_eq!(statuses, [200, 200, 403, 403, 404, 200]);
    let (site, _dir) = harness.stop().await;
    // The bundle of then, should the node not have kept it.
    Store::new(&site.dir().join("state")).keep(&bundle_files::read(&site.bundle()).unwrap(), None).unwrap();

    let (code, said) = replay(&site, &site.bundle(), &[]);
    assert_eq!(code, 0, "the same bundle decides the same: {said}");
    assert!(said.starts_with("6 requests against candidate "), "{said}");
    assert!(said.contains("         6  answered the same"), "{said}");

    let wider = "\n@id(\"telecom-reads\") @basis(\"a test\")\npermit (principal in Sector::\"telecom\", action == Action::\"citizen.read\", \
                 resource in Group::\"identity\");\n";
    let new = candidate(&site, "candidate", |file, text| match file {
        "policies/telecom.cedar" => Some(text.replacen("@mask(\"year\")", "", 1) + wider),
        // What else forbids it.
        "policies/common.cedar" => Some(text.replacen("    Action::\"citizen.read\",\n", "", 1)),
        "policies/province.cedar" => {
            Some(text.replacen("context.purpose != Purpose::\"civil-status-registration\"", "false", 1))
        }
        "agencies/tax.toml" => Some(text.replacen("purposes = [", "purposes = [\"treatment\", ", 1)),
        _ => None,
    });
    let (code, said) = replay(&site, &new, &["--json"]);
    let said = parsed(&said);
    assert_eq!((code, &said["requests"]), (1, &json!(6)));
    let telecom = row(&said, "telecom-a", "citizen.lookup");
    assert_eq!((&telecom["differ"], &telecom["more"]), (&json!(1), &json!({"Citizen.date_of_birth": 1})), "{said}");
    assert_eq!(telecom["examples"]["more"], json!([id(&looked_up)]));
    let of_reads = row(&said, "telecom-a", "citizen.read");
    assert_eq!((&of_reads["answered_now"], &of_reads["examples"]["answered_now"]), (&json!(1), &json!([id(&denied)])));
    let province = row(&said, "ha-noi", "citizen.lookup");
    assert_eq!((&province["answered_now"], &province["same"]), (&json!(1), &json!(1)), "{province}");
    assert_eq!(province["examples"]["answered_now"], json!([id(&hidden)]));
    let tax = row(&said, "tax", "citizen.read");
    assert_eq!(tax["purpose"], "assessment");
    assert_eq!(tax["same"], 1, "{tax}");

    // By agency, and for people.
    let (code, said) = replay(&site, &new, &["--agency", "telecom-a"]);
    assert_eq!(code, 1);
    for line in
        ["telecom-a: 2 of 2 differ", "citizen.lookup for subscriber-verification", "more of Citizen.date_of_birth"]
    {
        assert!(said.contains(line), "{line} in {said}");
    }
    assert!(!said.contains("ha-noi"), "{said}");
    let (code, said) = replay(&site, &new, &["--until", "2001-01-01T00:00:00Z"]);
    assert!(code == 0 && said.starts_with("0 requests"), "{said}");
    // Against the bundle, whatever the records say.
    let before = site.bundle();
    let (code, said) = replay(&site, &new, &["--against", text(&before), "--json", "--agency", "telecom-a"]);
    let said = parsed(&said);
    assert_eq!((code, &said["answered_now"]), (1, &json!(1)), "{said}");
    assert_eq!(said["more"], json!({"Citizen.date_of_birth": 1}), "{said}");
}

#[tokio::test]
async fn what_cannot_be_replayed_is_said() {
    let harness = Harness::start();
    let tax = harness.client("tax/etax");
    assert_eq!(tax.send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap().status, 200);
    let (site, _dir) = harness.stop().await;
    let broken = candidate(&site, "broken", |file, text| {
        (file == "policies/tax.cedar").then(|| text.replacen("principal", "principle", 1))
    });
    let (code, said) = replay(&site, &broken, &[]);
    assert!(code == 1 && said.contains("popgate check") && said.contains("broken"), "{said}");
    let gone = candidate(&site, "gone", |file, text| {
        (file == "agencies/tax.toml").then(|| text.replacen("[systems.etax]", "[systems.etax-2]", 1))
    });
    let (code, said) = replay(&site, &gone, &[]);
    assert!(code == 1 && said.contains("the candidate does not have this system"), "{said}");
    // An agency that nobody has is a slip of the pen, and not one that asked for nothing.
    let (code, said) = replay(&site, &site.bundle(), &["--agency", "taxx"]);
    assert!(code == 1 && said.contains("the bundle has no agency `taxx`; did you mean `tax`?"), "{said}");
    let (code, said) = replay(&site, &site.bundle(), &["--agency", "bank-a"]);
    assert!(code == 0 && said.starts_with("0 requests"), "{said}");
    // A log that was tampered with is none.
    let log = std::fs::read_dir(site.dir().join("audit")).unwrap().map(|entry| entry.unwrap().path());
    let segment = log.filter(|path| path.extension().is_some_and(|end| end == "log")).max().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let (code, said) = replay(&site, &site.bundle(), &[]);
    assert!(code == 1 && said.contains("error: "), "{said}");
    let output = node::run(&["policy", "replay", "--bundle", "nowhere"]);
    assert_eq!(output.status.code(), Some(2), "the log is not named");
}
