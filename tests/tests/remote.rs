//! Promise: what an operator reads of a node over its admin listener is what stands beside the node; by role, by certificate, and
//! with an error that says what to do.

use std::path::{Path, PathBuf};
use std::process::Command;

use popgate::audit::{Action, What, read};
use popgate::pki::{Client as Subject, Validity};
use popgate_demo::client::{get, post};
use popgate_demo::deployment::{OPERATORS, Site};
use popgate_demo::register::demo::HOA;
use popgate_demo::scenario::{LOOKUP, keys_of_hoa, read_path};
use popgate_tests::{Harness, build};
use serde_json::Value;

const REASON: &str = "yêu cầu của người dân, 2026/117";

/// The reference deployment with operators of each role that matters here, and two requests in its log.
async fn started() -> Harness {
    build::popgate();
    let operator = |(name, role): (&str, &str)| {
        format!("\n[admin.operators.{name}]\nidentity = \"spiffe://gov.vn/operator/{name}\"\nroles = [\"{role}\"]\n")
    };
    let settings: String = [("vy", "viewer"), ("an", "auditor"), ("son", "sre")].map(operator).concat();
    let harness = Harness::start_with(&settings);
    let mut tax = harness.session("tax/etax").await;
    assert_eq!(tax.send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap().status, 200);
    let mut telecom = harness.session("telecom-a/crm").await;
    let asked = post(LOOKUP, Some("subscriber-verification"), &keys_of_hoa());
    assert_eq!(telecom.send(asked).await.unwrap().status, 200);
    for name in ["vy", "an", "son", "eve"] {
        enrol(&harness.deployment.site, name, OPERATORS);
    }
    harness
}

/// The number of the person whom the log is about.
fn hoa() -> String {
    HOA.number.to_string()
}

fn enrol(site: &Site, name: &str, authority: &str) {
    let uri = Some(format!("spiffe://gov.vn/operator/{name}"));
    let subject = Subject { uri, common_name: name.into(), ..Subject::default() };
    let life = Validity::days(jiff::Timestamp::now(), 1);
    let issued = site.authority(authority).unwrap().issue_client(&subject, life).unwrap();
    site.write_identity(&format!("operator-{name}"), &issued).unwrap();
}

/// How to ask the node.
struct Remote {
    url: String,
    ca: PathBuf,
    clients: PathBuf,
}

impl Remote {
    fn of(harness: &Harness) -> Self {
        let site = &harness.deployment.site;
        Self {
            url: format!("https://localhost:{}", harness.deployment.gateway.admin().unwrap().port()),
            ca: site.gateway_authority(),
            clients: site.dir().join("clients"),
        }
    }

    /// What `popgate ARGUMENTS --node ...` says as that operator, and its exit code.
    fn ask(&self, operator: &str, arguments: &[&str]) -> (i32, String) {
        let file = self.clients.join(format!("operator-{operator}.pem"));
        let file = file.to_str().unwrap();
        let how = ["--node", &self.url, "--cert", file, "--key", file, "--ca", self.ca.to_str().unwrap()];
        popgate(&[arguments, &how].concat(), &[])
    }
}

fn popgate(arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String) {
    let output = Command::new(build::popgate())
        .args(arguments)
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
    assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    (output.status.code().unwrap(), said)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn what_is_enrolled_is_listed_alike_beside_the_node_and_over_it() {
    let harness = started().await;
    let (remote, site) = (Remote::of(&harness), &harness.deployment.site);
    let (bundle, config) = (site.bundle(), site.config_file());
    for command in [&["agency", "list"][..], &["purpose", "list"], &["operation", "list"], &["agency", "show", "tax"]] {
        // Both forms of one of them: a bundle is loaded for each.
        let forms = if command.len() == 3 { &[&[][..], &["--json"]][..] } else { &[&[][..]] };
        for json in forms {
            let asked = [command, json].concat();
            let (code, there) = remote.ask("vy", &asked);
            assert_eq!(code, 0, "{asked:?}: {there}");
            // The configuration tells the node's time zone, and so its day.
            let (code, here) = popgate(&[&asked[..], &["--config", text(&config)]].concat(), &[]);
            assert_eq!((code, here.as_str()), (0, there.as_str()), "{asked:?}");
        }
    }
    let (_, sheet) = remote.ask("vy", &["agency", "show", "tax", "--json"]);
    let sheet: Value = serde_json::from_str(&sheet).unwrap();
    let etax = sheet["system"].as_array().unwrap().iter().find(|system| system["id"] == "tax/etax").unwrap();
    let allowed = |operation: &str, purpose: &str| {
        let all = etax["operations"].as_array().unwrap();
        all.iter().find(|it| it["operation"] == operation && it["purpose"] == purpose).cloned().unwrap_or_default()
    };
    let read = allowed("citizen.read", "assessment");
    assert!(read["revealed"].as_u64().unwrap() >= 14, "{read}");
    assert!(etax["identities"].as_array().unwrap().iter().any(|it| it == "spiffe://gov.vn/tax/etax"), "{etax}");
    let (_, shown) = popgate(&["agency", "show", "bank-a", "--bundle", text(&bundle)], &[]);
    let is_row = |line: &&str| line.split_whitespace().take(2).eq(["e-kyc", "citizen.verify"]);
    let line = shown.lines().find(is_row).unwrap();
    let counts: Vec<&str> = line.split_whitespace().skip(2).take(3).collect();
    assert_eq!(counts[..2], ["0", "0"], "a bank sees nothing and learns whether it is right: {line}");
    assert!(counts[2].parse::<u32>().unwrap() >= 5, "{line}");
    let (code, said) = popgate(&["agency", "show", "bank-aa", "--bundle", text(&bundle)], &[]);
    assert!(code == 1 && said.contains("did you mean `bank-a`?"), "{said}");
    let (code, said) = remote.ask("vy", &["agency", "show", "bank-aa"]);
    assert!(code == 1 && said.contains("404 unknown_id"), "{said}");
}

#[tokio::test]
async fn check_and_status_tell_what_the_node_found_in_its_last_bundle() {
    let harness = started().await;
    let (remote, site) = (Remote::of(&harness), &harness.deployment.site);
    for json in [&[][..], &["--json"]] {
        let (code, there) = remote.ask("vy", &[&["check"], json].concat());
        let (here_code, here) = popgate(&[&["check", text(&site.bundle())], json].concat(), &[]);
        assert_eq!((code, there), (here_code, here));
    }
    let (code, said) = remote.ask("vy", &["status"]);
    assert!(code == 0 && said.contains("  ready\n") && said.contains("suspended    nothing"), "{said}");
    let (code, said) = remote.ask("an", &["status"]);
    assert!(code == 0 && said.contains("ready") && said.contains("needs the role `viewer`"), "{said}");

    let file = site.bundle().join("agencies/tax.toml");
    let wrong = std::fs::read_to_string(&file).unwrap().replacen("sector", "secter", 1);
    std::fs::write(&file, wrong).unwrap();
    assert!(harness.deployment.gateway.node().reload_bundle().is_err());
    let (code, said) = remote.ask("vy", &["check"]);
    assert!(code == 1 && said.contains("agencies/tax.toml\n") && said.contains("did you mean `sector`?"), "{said}");
    assert!(said.contains("stays in force"), "{said}");
    let (code, said) = remote.ask("vy", &["check", "--json"]);
    let found: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &found["ok"], &found["bundle"]), (1, &Value::Bool(false), &Value::Null));
    let (code, said) = remote.ask("vy", &["status"]);
    assert!(code == 0 && said.contains("the last bundle was refused"), "{said}");
}

#[tokio::test]
async fn auditors_read_the_log_alike_and_what_is_sealed_for_a_reason_that_is_recorded() {
    let harness = started().await;
    let (remote, site) = (Remote::of(&harness), &harness.deployment.site);
    let log = site.audit();
    let key = site.dir().join("keys/audit.key");
    for asked in [
        &["audit", "verify"][..],
        &["audit", "verify", "--json"],
        &["audit", "show"],
        &["audit", "show", "--json"],
        &["audit", "show", "--system", "tax/etax"],
        &["audit", "show", "--system", "telecom-a", "--json", "--limit", "1"],
        &["audit", "show", "--since", "2999-01-01T00:00:00Z"],
        &["audit", "show", "--until", "2999-01-01T00:00:00+07:00"],
    ] {
        let (code, there) = remote.ask("an", asked);
        let (here_code, here) = popgate(&[&asked[..2], &[text(&log)], &asked[2..]].concat(), &[]);
        assert_eq!((code, there.as_str()), (here_code, here.as_str()), "{asked:?}");
        assert!(code == 0 && !there.contains(&hoa()), "{asked:?}: {there}");
    }
    let of_tax = remote.ask("an", &["audit", "show", "--system", "tax/etax", "--json"]).1;
    let of_tax: Vec<Value> = of_tax.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<_> = of_tax.iter().map(|entry| entry["record"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["intent", "closing"]);
    let tag = of_tax[0]["subject_tag"].as_str().unwrap();
    let about = remote.ask("an", &["audit", "show", "--subject", tag]).1;
    assert_eq!(about.lines().count(), 4, "both agencies asked about the same person: {about}");

    // A number links a tag to a person: not without a reason.
    let (code, said) = remote.ask("an", &["audit", "show", "--subject", &hoa()]);
    assert!(code == 1 && said.contains("400 reason_missing") && !said.contains(&hoa()), "{said}");
    for operator in ["vy", "son"] {
        let (code, said) = remote.ask(operator, &["audit", "show", "--reason", REASON]);
        assert!(code == 1 && said.contains("403 role_missing") && said.contains("`auditor`"), "{operator}: {said}");
    }
    let opened = remote.ask("an", &["audit", "show", "--subject", &hoa(), "--reason", REASON]);
    let (code, here) = popgate(&["audit", "show", text(&log), "--audit-key", text(&key), "--subject", &hoa()], &[]);
    assert_eq!(opened, (code, here));
    assert!(opened.1.contains(&format!("about {}", hoa())), "{}", opened.1);
    let (code, said) = remote.ask("an", &["audit", "show", "--reason", "\n"]);
    assert!(code == 1 && said.contains("400 query_invalid"), "{said}");
    let actions: Vec<Action> = read::entries(&log, None)
        .unwrap()
        .filter_map(|entry| match entry.unwrap().what {
            What::Action(action) => Some(*action),
            _ => None,
        })
        .collect();
    assert_eq!(actions.len(), 1, "{actions:?}");
    assert_eq!(
        (actions[0].what.as_str(), actions[0].by.as_str(), actions[0].reason.as_str()),
        ("unseal", "an", REASON)
    );
    assert!(actions[0].target.contains(&format!("subject#{tag}")), "{actions:?}");

    // Damage is told, in the same words, and fails.
    let segment = log.join("0000000001.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[120] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    for asked in [&["audit", "verify"][..], &["audit", "show"], &["audit", "verify", "--json"]] {
        let (code, there) = remote.ask("an", asked);
        let (_, here) = popgate(&[&asked[..2], &[text(&log)], &asked[2..]].concat(), &[]);
        assert_eq!((code, there), (1, here), "{asked:?}");
    }
}

#[tokio::test]
async fn who_may_not_or_cannot_ask_is_told_what_to_do() {
    let harness = started().await;
    let (remote, site) = (Remote::of(&harness), &harness.deployment.site);
    for asked in [
        &["status"][..],
        &["check"],
        &["audit", "verify"],
        &["audit", "show"],
        &["agency", "list"],
        &["purpose", "list"],
        &["operation", "list"],
        &["suspensions"],
    ] {
        let (code, said) = remote.ask("eve", asked);
        assert!(code == 1 && said.contains("403 operator_not_enrolled"), "{asked:?}: {said}");
        assert!(said.contains("`[admin.operators.<name>]`"), "{asked:?}: {said}");
    }
    let (code, said) = remote.ask("son", &["agency", "list"]);
    assert!(code == 1 && said.contains("403 role_missing") && said.contains("[admin.operators.son]"), "{said}");
    // A certificate of another authority.
    enrol(site, "mallory", "agencies");
    let (code, said) = remote.ask("mallory", &["agency", "list"]);
    assert!(code == 1 && said.contains("`[admin] client_cas`"), "{said}");
    // The node's authority is another.
    let strange = Remote { ca: site.dir().join("pki/agencies.pem"), ..Remote::of(&harness) };
    let (code, said) = strange.ask("vy", &["agency", "list"]);
    assert!(code == 1 && said.contains("with --ca"), "{said}");
    // Nobody listens.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = Remote { url: format!("https://localhost:{closed}"), ..Remote::of(&harness) };
    let (code, said) = nobody.ask("vy", &["agency", "list"]);
    assert!(code == 1 && said.contains("is the node running"), "{said}");
    // Nothing says where.
    for asked in [&["status"][..], &["check"], &["audit", "verify"], &["agency", "list"]] {
        let (code, said) = popgate(asked, &[]);
        assert!(code == 2 && said.contains("--node"), "{asked:?}: {said}");
    }
}

#[tokio::test]
async fn the_environment_and_a_file_spare_the_typing() {
    let harness = started().await;
    let remote = Remote::of(&harness);
    let file = remote.clients.join("operator-vy.pem");
    let expected = remote.ask("vy", &["purpose", "list"]);
    let variables = [
        ("POPGATE_NODE", remote.url.as_str()),
        ("POPGATE_NODE_CERT", text(&file)),
        ("POPGATE_NODE_KEY", text(&file)),
        ("POPGATE_NODE_CA", text(&remote.ca)),
    ];
    assert_eq!(popgate(&["purpose", "list"], &variables), expected);
    let (code, said) = popgate(&["purpose", "list"], &variables[..3]);
    assert!(code == 1 && said.contains("--ca is missing") && said.contains("POPGATE_NODE_CA"), "{said}");
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("popgate")).unwrap();
    let settings = format!("node = {:?}\ncert = {file:?}\nkey = {file:?}\nca = {:?}\n", remote.url, remote.ca);
    std::fs::write(home.path().join("popgate/node.toml"), settings).unwrap();
    let home = ("XDG_CONFIG_HOME", home.path().to_str().unwrap());
    assert_eq!(popgate(&["purpose", "list"], &[home]), expected);
    // What is named here is not asked of a node.
    let (code, said) = popgate(&["agency", "show", "tax", "--bundle", "no/such/bundle"], &[home]);
    assert!(code == 1 && said.contains("no/such/bundle"), "{said}");
}
