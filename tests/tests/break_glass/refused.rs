//! Every way in which an order does not count.

use super::*;

/// An order's file with its payload changed after it was signed.
fn tampered(file: &Path, old: &str, new: &str) {
    use std::process::{Command, Stdio};
    let mut envelope: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let base64 = |arguments: &[&str], input: &[u8]| -> Vec<u8> {
        use std::io::Write as _;
        let mut child =
            Command::new("base64").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap().stdout
    };
    let payload = String::from_utf8(base64(&["-d"], envelope["payload"].as_str().unwrap().as_bytes())).unwrap();
    assert!(payload.contains(old), "{payload}");
    let changed = base64(&["-w0"], payload.replace(old, new).as_bytes());
    envelope["payload"] = String::from_utf8(changed).unwrap().into();
    fs::write(file, envelope.to_string()).unwrap();
}

#[tokio::test]
async fn an_order_that_does_not_count_lends_nothing_however_it_comes() {
    let signers = Signers::new();
    let harness = Harness::start_with(&signers.settings);
    let (operators, node) = (Operators::of(&harness), harness.deployment.gateway.node());
    let site = &harness.deployment.site;
    let folder = site.dir().join("break-glass");

    let one = signers.draft("one", &[]);
    signers.sign(&one, &["an"]);
    let twice = signers.draft("twice", &[]);
    signers.sign(&twice, &["an", "an"]);
    // The same key by another's name.
    let (order, an) = (twice.to_str().unwrap(), signers.path("an.key"));
    assert!(popgate(&["break-glass", "sign", order, "--key", an.to_str().unwrap(), "--name", "binh"]).0);
    let unknown = signers.draft("unknown", &[]);
    signers.sign(&unknown, &["an", "stranger"]);
    let changed = signers.signed("changed", &[]);
    tampered(&changed, "health/registry", "bank-a/ekyc");
    let member = signers.signed("member", &[]);
    tampered(&member, "\"case\":", "\"force\":true,\"case\":");
    let other_site = signers.signed("elsewhere", &["--site", "pop-hcm-1"]);
    let long = signers.signed("long", &["--for", "7h"]);
    let past = (Timestamp::now() - jiff::SignedDuration::from_hours(3)).to_string();
    let over = signers.signed("over", &["--from", &past]);
    let misspelt = signers.signed("misspelt", &["--purpose", "disaster-respons"]);
    let ordinary = signers.signed("ordinary", &["--purpose", "treatment"]);
    let nobody = signers.signed("nobody", &["--system", "health/registri"]);
    let garbage = signers.path("garbage.json");
    fs::write(&garbage, "{\"payloadType\": 1}").unwrap();
    let statement = signers.path("statement.json");
    fs::write(
        &statement,
        json!({ "payloadType": "application/vnd.in-toto+json", "payload": "", "signatures": [] }).to_string(),
    )
    .unwrap();
    let cases: &[(&Path, &[&str])] = &[
        (&one, &["1 of the 2 signatures", "(an)", "`popgate break-glass sign`"]),
        (&twice, &["1 of the 2 signatures", "(an)"]),
        (&unknown, &["1 of the 2 signatures", "(an; 1 is of an unknown key or over another text)"]),
        (&changed, &["0 of the 2 signatures", "(nobody's; 2 are of unknown keys or over another text)"]),
        (&member, &["unknown field `force`"]),
        (&other_site, &["it is for the site `pop-hcm-1`, and this is `pop-test`"]),
        (&long, &["it would last 7h, and `longest` is 6h"]),
        (&over, &["it was over at "]),
        (&misspelt, &["the bundle has no purpose `disaster-respons`; did you mean `disaster-response`?"]),
        (&ordinary, &["the purpose `treatment` is not lent"]),
        (&nobody, &["the bundle has no system `health/registri`; did you mean `health/registry`?"]),
        (&garbage, &["no DSSE envelope"]),
        (&statement, &["its payloadType is not"]),
    ];
    for (order, says) in cases {
        let (good, said) = operators.glass("linh", &["activate", order.to_str().unwrap()]);
        assert!(!good && says.iter().all(|part| said.contains(part)), "{}: {said}", order.display());
        assert!(!said.contains("panicked"), "{said}");
    }
    let written =
        fs::read_dir(&folder).unwrap().filter(|it| it.as_ref().unwrap().path().extension().unwrap() == "json");
    assert_eq!(written.count(), 0, "nothing of it was written");
    // Nor by hand: each is told, with its file.
    for (order, _) in cases {
        fs::copy(order, folder.join(order.file_name().unwrap())).unwrap();
    }
    fs::copy(signers.signed("renamed", &[]), folder.join("another-name.json")).unwrap();
    fs::copy(signers.path("one.json"), folder.join("Not An Id.json")).unwrap();
    eventually("all are told", || node.orders_status(true).problems.len() == cases.len() + 2).await;
    for (order, says) in cases {
        let problems = node.orders_status(true).problems;
        let name = order.file_name().unwrap().to_str().unwrap();
        let problem = problems.iter().find(|it| it.file.ends_with(&format!("/{name}"))).unwrap();
        assert!(says.iter().all(|part| problem.message.contains(part)), "{problem:?}");
    }
    assert_eq!(harness.metric("popgate_break_glass_refused").await, cases.len() as u64 + 2);
    assert_eq!(harness.metric("popgate_break_glass_in_force").await, 0);
    for system in ["health/registry", "health/ehr", "bank-a/ekyc"] {
        let answer = harness.client(system).send(ask()).await.unwrap();
        assert_eq!(told(&answer), "purpose_not_enrolled");
    }
    assert_eq!(whats(site), [""; 0], "and nothing was activated");
    let (good, said) = operators.glass("vy", &["list"]);
    assert!(good && said.contains("over.json: it was over at "), "{said}");
}

#[tokio::test]
async fn an_id_counts_once_and_for_one_order() {
    let signers = Signers::new();
    let harness = Harness::start_with(&signers.settings);
    let operators = Operators::of(&harness);
    let first = signers.signed("quake", &[]);
    let activate = |file: &Path| operators.glass("hanh", &["activate", file.to_str().unwrap()]);
    let (good, said) = activate(&first);
    assert!(good && said.contains("in force on https://"), "{said}");
    assert!(activate(&first).0, "twice is no harm");
    fs::rename(&first, signers.path("kept.json")).unwrap();
    let wider = signers.signed("quake", &["--system", "health/registry", "--system", "health/ehr"]);
    let (good, said) = activate(&wider);
    assert!(!good && said.contains("another order had the id `quake` before"), "{said}");
    assert!(operators.glass("hanh", &["end", "quake", "--reason", "r"]).0);
    for file in [&signers.path("kept.json"), &wider] {
        assert!(!activate(file).0);
    }
    assert_eq!(told(&harness.client("health/ehr").send(ask()).await.unwrap()), "purpose_not_enrolled");
    assert_eq!(whats(&harness.deployment.site), ["break-glass-activate hanh", "break-glass-end hanh"]);
    let (good, said) = operators.glass("hanh", &["end", "quak", "--reason", "r"]);
    assert!(!good && said.contains("404 unknown_order"), "{said}");
    let (good, said) = operators.glass("duc", &["activate", wider.to_str().unwrap()]);
    assert!(!good && said.contains("403 role_missing"), "{said}");
}

#[tokio::test]
async fn a_site_without_the_section_takes_no_orders() {
    let signers = Signers::new();
    let harness = Harness::start();
    let site = &harness.deployment.site;
    let order = signers.signed("any", &[]);
    for arguments in [&["activate", order.to_str().unwrap()][..], &["list"], &["end", "any", "--reason", "r"]] {
        let (good, said) = local(site, arguments);
        assert!(!good && said.contains("`gateway.toml` has no section `[break_glass]`"), "{said}");
    }
    let (good, said) = popgate(&["check", "--config", site.config_file().to_str().unwrap()]);
    assert!(good && said.contains("nobody can ever use the break-glass purpose `disaster-response`"), "{said}");
    assert_eq!(told(&harness.client("health/registry").send(ask()).await.unwrap()), "purpose_not_enrolled");
}

#[test]
fn what_would_be_lent_is_checked_like_what_is_enrolled() {
    let load = |careless: bool| {
        let mut source = popgate::app::bundle_files::read(&popgate_demo::deployment::reference_bundle()).unwrap();
        let policies = source.files.get_mut("policies/rescue.cedar").unwrap();
        if careless {
            // The code of the province gives its name away.
            for (old, new) in [
                ("Group::\"residence\", ", ""),
                ("Field::\"Citizen.sex\"", "Field::\"Citizen.permanent_residence.province_code\""),
            ] {
                assert!(policies.contains(old), "{old}");
                *policies = policies.replace(old, new);
            }
        }
        let warnings = popgate_policy::bundle::Bundle::load(&source).unwrap().warnings;
        warnings.into_iter().filter(|it| it.file == "policies/rescue.cedar").collect::<Vec<_>>()
    };
    assert_eq!(load(false), []);
    let [warning] = &load(true)[..] else { panic!("one warning") };
    assert_eq!(warning.code, "derivable");
    assert!(warning.message.contains("`Citizen.permanent_residence.province`"), "{warning}");
}
