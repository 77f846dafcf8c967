//! Promise: what a break-glass purpose shows is lent by an order that several have signed, to the systems that it names, until its
//! very end; whatever is against an order is told and lends nothing; an order is alarmed, recorded, and listed until somebody else
//! has reviewed it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use jiff::Timestamp;
use popgate::audit::{Action, What, read};
use popgate::cli::node as admin;
use popgate::pki::{Client as Subject, Validity};
use popgate_demo::client::{Answer, Client, Http, Session, get};
use popgate_demo::deployment::{OPERATORS, Options, Register, Site};
use popgate_demo::register::demo::HOA;
use popgate_demo::scenario::read_path;
use popgate_tests::node::{self, Node};
use popgate_tests::{Harness, build, eventually, promised, refusal};
use serde_json::{Value, json};

mod lines;
mod page;
mod refused;

const PURPOSE: &str = "disaster-response";
const REASON: &str = "lũ ở Huế, PCTT-12";

/// Who may sign, with the keys in a folder of their own.
struct Signers {
    dir: tempfile::TempDir,
    settings: String,
}

impl Signers {
    /// Keys made by the command line, and `[break_glass]` with the lines that it printed.
    fn new() -> Self {
        build::popgate();
        let dir = tempfile::tempdir().unwrap();
        let mut settings = "\n[break_glass]\nsite = \"pop-test\"\nlongest = \"6h\"\n[break_glass.keys]\n".to_owned();
        for name in ["an", "binh", "chi"] {
            settings += &key(dir.path(), name);
        }
        key(dir.path(), "stranger");
        for (name, role) in [("hanh", "approver"), ("duc", "auditor"), ("vy", "viewer")] {
            settings += &format!(
                "[admin.operators.{name}]\nidentity = \"spiffe://gov.vn/operator/{name}\"\nroles = [\"{role}\"]\n"
            );
        }
        Self { dir, settings }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A drafted order for two hours and one system, but for what `more` says.
    fn draft(&self, id: &str, more: &[&str]) -> PathBuf {
        let file = self.path(&format!("{id}.json"));
        let usual = [
            ("--purpose", PURPOSE),
            ("--system", "health/registry"),
            ("--for", "2h"),
            ("--reason", REASON),
            ("--case", "PCTT-12"),
            ("--site", "pop-test"),
        ];
        let usual = usual.iter().filter(|(name, _)| !more.contains(name)).flat_map(|(name, value)| [*name, *value]);
        let usual: Vec<&str> = usual.collect();
        let head = ["break-glass", "draft", "--id", id, "--out", file.to_str().unwrap()];
        let (good, said) = popgate(&[&head[..], &usual, more].concat());
        assert!(good && said.contains("which nobody has signed"), "{said}");
        file
    }

    fn sign(&self, order: &Path, keys: &[&str]) {
        for name in keys {
            let (order, key) = (order.to_str().unwrap(), self.path(&format!("{name}.key")));
            let (good, said) = popgate(&["break-glass", "sign", order, "--key", key.to_str().unwrap()]);
            assert!(good && said.contains(&format!("signed as {name}")), "{said}");
        }
    }

    fn signed(&self, id: &str, more: &[&str]) -> PathBuf {
        let order = self.draft(id, more);
        self.sign(&order, &["an", "binh"]);
        order
    }
}

/// Makes a key; the line for `gateway.toml` that it prints.
fn key(dir: &Path, name: &str) -> String {
    let file = dir.join(format!("{name}.key"));
    let (good, said) = popgate(&["break-glass", "key", name, "--out", file.to_str().unwrap()]);
    assert!(good, "{said}");
    let line = said.lines().find(|line| line.starts_with(&format!("{name} = \"ed25519:"))).unwrap();
    format!("{line}\n")
}

/// What `popgate` says, and whether it succeeded.
fn popgate(arguments: &[&str]) -> (bool, String) {
    let output = node::run(arguments);
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
    (output.status.success(), said)
}

fn local(site: &Site, arguments: &[&str]) -> (bool, String) {
    let config = site.config_file();
    popgate(&[&["break-glass"], arguments, &["--config", config.to_str().unwrap()]].concat())
}

/// Operators' certificates, and how they ask the node.
struct Operators {
    url: String,
    site: Site,
}

impl Operators {
    fn of(harness: &Harness) -> Self {
        let site = harness.deployment.site.clone();
        for name in ["hanh", "duc", "vy"] {
            let uri = Some(format!("spiffe://gov.vn/operator/{name}"));
            let subject = Subject { uri, common_name: name.into(), ..Subject::default() };
            let life = Validity::days(Timestamp::now(), 1);
            let issued = site.authority(OPERATORS).unwrap().issue_client(&subject, life).unwrap();
            site.write_identity(&format!("operator-{name}"), &issued).unwrap();
        }
        Self { url: format!("https://localhost:{}", harness.deployment.gateway.admin().unwrap().port()), site }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.site.dir().join(format!("clients/operator-{name}.pem"))
    }

    fn run(&self, name: &str, arguments: &[&str]) -> (bool, String) {
        let (file, ca) = (self.file(name), self.site.gateway_authority());
        let (file, ca) = (file.to_str().unwrap(), ca.to_str().unwrap());
        popgate(&[arguments, &["--node", &self.url, "--cert", file, "--key", file, "--ca", ca]].concat())
    }

    fn glass(&self, name: &str, arguments: &[&str]) -> (bool, String) {
        self.run(name, &[&["break-glass"], arguments].concat())
    }

    async fn get(&self, path: &'static str) -> Value {
        let (file, ca) = (self.file("vy"), self.site.gateway_authority());
        let node = admin::Node::new(&self.url, &file, &file, &ca).unwrap();
        tokio::task::spawn_blocking(move || node.get(path).unwrap().json()).await.unwrap()
    }
}

/// A request with all that a break-glass purpose needs.
fn ask() -> Request<Full<Bytes>> {
    with_evidence(get(&read_path(HOA.number), Some(PURPOSE)))
}

fn with_evidence(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    for (name, value) in [("gateway-user", "registry-7"), ("gateway-case", "PCTT-12")] {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    request
}

/// Asks until the answer is as wanted, for the second that it may take.
async fn soon(session: &mut Session, code: &str) -> Answer {
    let since = Instant::now();
    loop {
        let answer = session.send(ask()).await.unwrap();
        if told(&answer) == code {
            return answer;
        }
        assert!(since.elapsed() < promised(Duration::from_secs(1)), "still {}, not {code}", told(&answer));
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// `ok`, or the code of a refusal.
fn told(answer: &Answer) -> String {
    if answer.status == StatusCode::OK { "ok".to_owned() } else { answer.code() }
}

async fn both(harness: &Harness, system: &str) -> [Session; 2] {
    let connect = async |http| harness.client_over(system, http).connect().await.unwrap();
    [connect(Http::One).await, connect(Http::Two).await]
}

/// The log's actions, as `what by reason`.
fn actions(site: &Site) -> Vec<(String, Action)> {
    let entries = read::entries(&site.audit(), None).unwrap().map(Result::unwrap);
    let actions = entries.filter_map(|entry| match entry.what {
        What::Action(action) => Some(*action),
        _ => None,
    });
    actions.map(|action| (format!("{} {}", action.what, action.by), action)).collect()
}

fn whats(site: &Site) -> Vec<String> {
    actions(site).into_iter().map(|(what, _)| what).collect()
}

fn user() -> String {
    let output = std::process::Command::new("id").arg("-un").output().unwrap();
    format!("local:{}", String::from_utf8(output.stdout).unwrap().trim())
}

#[tokio::test]
async fn the_whole_life_of_an_order() {
    let signers = Signers::new();
    let harness = Harness::start_with(&signers.settings);
    let (site, operators) = (&harness.deployment.site, Operators::of(&harness));
    let mut sessions = both(&harness, "health/registry").await;
    for session in &mut sessions {
        assert_eq!(told(&session.send(ask()).await.unwrap()), "purpose_not_enrolled");
    }
    let order = signers.draft("flood-hue-1", &[]);
    let file = order.to_str().unwrap();
    signers.sign(&order, &["an"]);
    let (good, said) = popgate(&["break-glass", "show", file]);
    assert!(good && said.contains("signed by an, they say: not verified"), "{said}");
    let (good, said) = local(site, &["show", file]);
    assert!(!good && said.contains("it does not count") && said.contains("1 of the 2 signatures"), "{said}");
    signers.sign(&order, &["binh"]);
    let (good, said) = local(site, &["show", file]);
    assert!(good && said.contains("signed by an, binh\nit counts: once activated it is in force"), "{said}");
    for part in ["lends     disaster-response\nto        health/registry\n", REASON, "health/registry household.read: "]
    {
        assert!(said.contains(part), "{part} in {said}");
    }
    let (good, said) = operators.glass("vy", &["show", file, "--json"]);
    let judged: Value = serde_json::from_str(&said).unwrap();
    assert!(good && judged["judged"]["signed_by"] == json!(["an", "binh"]), "{said}");

    // In force within a second on live connections, for that system and purpose alone, with user and case.
    let (good, said) = local(site, &["activate", file]);
    assert!(good && said.contains("activated flood-hue-1"), "{said}");
    for session in &mut sessions {
        let shown = soon(session, "ok").await.json();
        assert_eq!((&shown["phone"], &shown["blood_type"]), (&json!("0912345678"), &json!("A+")));
        assert!(shown.get("religion").is_none() && shown.get("marital_status").is_none(), "{shown}");
        let household = with_evidence(get(&format!("/population/v1/citizens/{}/household", HOA.number), Some(PURPOSE)));
        let household = session.send(household).await.unwrap();
        assert_eq!(household.status, StatusCode::OK, "{}", refusal(&household));
        for header in ["gateway-user", "gateway-case"] {
            let mut request = ask();
            request.headers_mut().remove(header);
            assert_eq!(told(&session.send(request).await.unwrap()), "evidence_missing", "{header}");
        }
        // It is nobody's default.
        let mut request = ask();
        request.headers_mut().remove("gateway-purpose");
        let usual = session.send(request).await.unwrap().json();
        assert!(usual.get("blood_type").is_none(), "public-health is meant: {usual}");
    }
    for other in ["health/ehr", "hospital-north/his", "tax/etax"] {
        let answer = harness.client(other).send(ask()).await.unwrap();
        assert_eq!(told(&answer), "purpose_not_enrolled", "{other}");
    }

    let (whoami, credentials) =
        (harness.deployment.gateway.whoami().unwrap(), site.credentials("health/registry").unwrap());
    let seen = Client::new(whoami, &credentials, Http::One).unwrap().send(get("/", None)).await.unwrap().json();
    assert_eq!(seen["system"]["purposes"][1]["purpose"], PURPOSE);
    assert!(seen["system"]["purposes"][1]["lent_until"].is_string(), "{seen}");

    // Alarmed.
    assert_eq!(harness.metric("popgate_break_glass_in_force").await, 1);
    let counted = format!("popgate_break_glass_requests_total{{purpose=\"{PURPOSE}\",system=\"health/registry\"}}");
    assert_eq!(harness.metric(&counted).await, 4);
    let status = operators.get("/bundle").await;
    let listed = &status["break_glass"]["orders"][0];
    assert_eq!(
        (&listed["id"], &listed["stage"], &listed["lends"]),
        (&json!("flood-hue-1"), &json!("in_force"), &json!(true))
    );
    let (_, said) = operators.run("vy", &["status"]);
    assert!(said.contains("break-glass  flood-hue-1: disaster-response until ") && said.contains(", LENT\n"), "{said}");

    // The kill switch wins.
    let (good, said) = operators.run("linh", &["suspend", "purpose", PURPOSE, "--reason", "wrong district"]);
    assert!(good && !said.contains("concerned: 0 systems"), "{said}");
    for session in &mut sessions {
        assert_eq!(told(&session.send(ask()).await.unwrap()), "purpose_suspended");
    }
    assert!(operators.run("linh", &["resume", "purpose", PURPOSE]).0);
    for session in &mut sessions {
        assert_eq!(told(&session.send(ask()).await.unwrap()), "ok");
    }

    // Ended early, at once; its id never counts again.
    let (good, said) = operators.glass("vy", &["end", "flood-hue-1", "--reason", "r"]);
    assert!(!good && said.contains("`sre` or `approver`"), "{said}");
    let (good, said) = operators.glass("linh", &["review", "flood-hue-1", "--note", "n"]);
    assert!(!good && said.contains("409 order_stage") && said.contains("end it first"), "{said}");
    let (good, said) = operators.glass("linh", &["end", "flood-hue-1", "--reason", "all are safe"]);
    assert!(good, "{said}");
    for session in &mut sessions {
        assert_eq!(told(&session.send(ask()).await.unwrap()), "purpose_not_enrolled");
    }
    for (good, said) in [operators.glass("hanh", &["activate", file]), local(site, &["activate", file])] {
        assert!(!good && said.contains("it was ended at ") && said.contains("never counts again"), "{said}");
    }

    // Listed until somebody else has reviewed it.
    assert_eq!(harness.metric("popgate_break_glass_in_force").await, 0);
    assert_eq!(harness.metric("popgate_break_glass_unreviewed").await, 1);
    let (_, said) = operators.run("vy", &["status"]);
    assert!(said.contains("to be reviewed"), "{said}");
    for (good, said) in [operators.glass("vy", &["list"]), local(site, &["list"])] {
        assert!(
            good && said.starts_with("to be reviewed flood-hue-1  disaster-response to health/registry\n"),
            "{said}"
        );
        assert!(said.contains("by linh: all are safe") && said.contains("signed by an, binh"), "{said}");
    }
    let review = ["review", "flood-hue-1", "--note", "4 records, all of the district"];
    let (good, said) = operators.glass("vy", &review);
    assert!(!good && said.contains("`approver` or `auditor`"), "{said}");
    let (good, said) = operators.glass("linh", &review);
    assert!(!good && said.contains("403 own_order") && said.contains("somebody else must review it"), "{said}");
    let (good, said) = operators.glass("duc", &review);
    assert!(good, "{said}");
    let (good, said) = operators.glass("hanh", &review);
    assert!(!good && said.contains("was reviewed at ") && said.contains("by duc"), "{said}");
    let (_, said) = operators.glass("vy", &["list"]);
    assert_eq!(said, "no order is in force, and none waits for its review\n");
    let (_, said) = operators.glass("vy", &["list", "--all"]);
    assert!(said.contains("reviewed       flood-hue-1") && said.contains("4 records"), "{said}");
    assert_eq!(harness.metric("popgate_break_glass_unreviewed").await, 0);

    // What was shown under it is found by its purpose; who did what is an action each.
    let (site, _dir) = harness.stop().await;
    let expected = [
        format!("break-glass-activate {}", user()),
        "suspend linh".to_owned(),
        "resume linh".to_owned(),
        "break-glass-end linh".to_owned(),
        "break-glass-review duc".to_owned(),
    ];
    assert_eq!(whats(&site), expected);
    let activated = &actions(&site)[0].1;
    assert_eq!(activated.target, "order flood-hue-1: disaster-response to health/registry");
    assert_eq!(activated.reason, format!("{REASON} (signed by an, binh)"));
    assert!(activated.until.is_some());
    let log = site.audit();
    let (good, said) = popgate(&["audit", "show", log.to_str().unwrap(), "--purpose", PURPOSE, "--json"]);
    assert!(good, "{said}");
    let records: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let disclosures = records.iter().filter(|record| record["record"] == "intent");
    let systems: Vec<_> = disclosures.map(|record| record["system"].as_str().unwrap()).collect();
    assert!(systems.len() >= 6 && systems.iter().all(|system| *system == "health/registry"), "{systems:?}");
}

#[tokio::test]
async fn time_ends_an_order_at_its_very_end_and_begins_it_not_before() {
    let signers = Signers::new();
    let harness = Harness::start_with(&signers.settings);
    let operators = Operators::of(&harness);
    let from = Timestamp::now() + jiff::SignedDuration::from_secs(4);
    let from = Timestamp::from_second(from.as_second()).unwrap();
    let until = from + jiff::SignedDuration::from_secs(3);
    let order = signers.signed("drill-1", &["--from", &from.to_string(), "--for", "3s"]);
    let (good, said) = operators.glass("hanh", &["activate", order.to_str().unwrap()]);
    assert!(good && said.contains("begins in ") && said.contains(" has it"), "{said}");
    let [mut one, mut two] = both(&harness, "health/registry").await;
    let (mut lent, mut since) = (0, None);
    while since.is_none_or(|since: Instant| since.elapsed() < Duration::from_millis(1500)) {
        for session in [&mut one, &mut two] {
            let before = Timestamp::now();
            let answer = told(&session.send(ask()).await.unwrap());
            let after = Timestamp::now();
            match answer.as_str() {
                "ok" => {
                    assert!(after >= from && before < until, "{before} to {after}: {from} to {until}");
                    lent += 1;
                }
                "purpose_not_enrolled" => assert!(before < from || after >= until, "{before} to {after}"),
                other => panic!("{other}"),
            }
        }
        if Timestamp::now() >= until {
            since = since.or_else(|| Some(Instant::now()));
        }
        // Its rate is as it always is: 20 a second.
        tokio::time::sleep(Duration::from_millis(130)).await;
    }
    assert!(lent > 0);
    let site = &harness.deployment.site;
    eventually("its end is recorded", || whats(site).len() == 2).await;
    assert_eq!(whats(site), ["break-glass-activate hanh", "break-glass-end time"]);
    let (_, said) = operators.glass("vy", &["list"]);
    assert!(said.starts_with("to be reviewed drill-1") && said.contains(&format!("ended {until} by time")), "{said}");
    let (good, said) = operators.glass("hanh", &["review", "drill-1", "--note", "n"]);
    assert!(!good && said.contains("hanh activated the order"), "{said}");
    let (good, said) = operators.glass("linh", &["end", "drill-1", "--reason", "r"]);
    assert!(!good && said.contains("was over at"), "{said}");
    assert!(operators.glass("duc", &["review", "drill-1", "--note", "a drill"]).0);
}

#[tokio::test]
async fn files_that_are_broken_lend_nothing_and_end_nothing() {
    let signers = Signers::new();
    let harness = Harness::start_with(&signers.settings);
    let (site, node) = (&harness.deployment.site, harness.deployment.gateway.node());
    let folder = site.dir().join("break-glass");
    fs::create_dir(&folder).unwrap();
    let problems = || node.orders_status(true).problems;
    let mut session = harness.session("health/registry").await;
    // An order whose file is put there counts like any other.
    let order = fs::read_to_string(signers.signed("by-hand", &[])).unwrap();
    fs::write(folder.join("by-hand.json"), &order).unwrap();
    soon(&mut session, "ok").await;
    // Half written, or its ledger is: told with its place, and nothing changes.
    fs::write(folder.join("by-hand.json"), &order[..order.len() / 2]).unwrap();
    eventually("the broken order is told", || problems().iter().any(|it| it.message.contains("DSSE"))).await;
    assert_eq!(told(&session.send(ask()).await.unwrap()), "ok");
    assert!(harness.metric("popgate_break_glass_refused").await > 0);
    fs::write(folder.join("by-hand.json"), &order).unwrap();
    eventually("it is good again", || problems().is_empty()).await;
    let ledger = fs::read_to_string(folder.join("ledger.json")).unwrap();
    fs::write(folder.join("ledger.json"), ledger.replace("\"ended\": null", "\"ended\": nul")).unwrap();
    eventually("the broken ledger is told", || problems().iter().any(|it| it.code == "bad-ledger")).await;
    assert!(problems()[0].line.unwrap() > 10, "{:?}", problems());
    assert_eq!(told(&session.send(ask()).await.unwrap()), "ok");
    let other = signers.signed("other", &["--system", "health/ehr"]);
    fs::copy(&other, folder.join("other.json")).unwrap();
    let (good, said) = local(site, &["activate", other.to_str().unwrap()]);
    assert!(!good && said.contains("this is no ledger") && said.contains("`popgate suspend purpose`"), "{said}");
    tokio::time::sleep(Duration::from_millis(900)).await;
    let answer = harness.client("health/ehr").send(ask()).await.unwrap();
    assert_eq!(told(&answer), "purpose_not_enrolled", "nothing new is lent by a ledger that cannot be read");
    // A ledger that is lost is made again of what is remembered.
    fs::remove_file(folder.join("ledger.json")).unwrap();
    let mut ehr = harness.session("health/ehr").await;
    soon(&mut ehr, "ok").await;
    assert_eq!(told(&session.send(ask()).await.unwrap()), "ok");
    assert!(problems().is_empty() && folder.join("ledger.json").exists());
    // Whoever takes an order's file away ends it.
    fs::remove_file(folder.join("by-hand.json")).unwrap();
    soon(&mut session, "purpose_not_enrolled").await;
    fs::write(folder.join("by-hand.json"), &order).unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(told(&session.send(ask()).await.unwrap()), "purpose_not_enrolled", "and it never counts again");
    // The whole folder is gone, as when a disk is: what is lent goes on until its time is over.
    fs::rename(&folder, site.dir().join("elsewhere")).unwrap();
    eventually("it is told", || problems().iter().any(|it| it.code == "ledger-gone")).await;
    assert_eq!(told(&ehr.send(ask()).await.unwrap()), "ok");
    fs::rename(site.dir().join("elsewhere"), &folder).unwrap();
    eventually("it is back", || problems().is_empty()).await;
    assert_eq!(told(&ehr.send(ask()).await.unwrap()), "ok");
    let expected = ["break-glass-activate unknown"; 2].into_iter().chain(["break-glass-end unknown"]);
    assert_eq!(whats(site), expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_restart_goes_on_with_what_is_lent_and_records_it_once() {
    let signers = Signers::new();
    let dir = tempfile::tempdir().unwrap();
    let site = Site::make(dir.path()).unwrap();
    let register = Register::start(&site).unwrap();
    let options = Options { settings: signers.settings.clone(), ..Options::default() };
    site.write_config(register.address, &options).unwrap();
    // Nobody runs yet.
    let order = signers.signed("storm-9", &[]);
    assert!(local(&site, &["activate", order.to_str().unwrap()]).0);
    for round in 0..2 {
        let node = Node::start(&site, &[]);
        let answer = node.client(&site, "health/registry", Http::Two).send(ask()).await.unwrap();
        assert_eq!(told(&answer), "ok", "round {round}");
        let alarm = |line: &String| line.contains("WARN") && line.contains("break-glass: a purpose is lent");
        eventually("it is alarmed", || node.said().iter().any(alarm)).await;
        let said = node.kill();
        assert!(!said.iter().any(|line| line.contains(REASON)), "what somebody typed is not for the log");
    }
    // Ended while nobody runs; not even a lost ledger takes that back.
    assert!(local(&site, &["end", "storm-9", "--reason", "over"]).0);
    for lose in [false, true] {
        if lose {
            fs::remove_file(site.dir().join("break-glass/ledger.json")).unwrap();
        }
        let node = Node::start(&site, &[]);
        let answer = node.client(&site, "health/registry", Http::One).send(ask()).await.unwrap();
        assert_eq!(told(&answer), "purpose_not_enrolled");
        assert!(node.terminate().0);
    }
    let by = user();
    assert_eq!(whats(&site), [format!("break-glass-activate {by}"), format!("break-glass-end {by}")]);
}
