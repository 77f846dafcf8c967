//! Promise: what an operator suspends is refused within a second on live connections, whatever happens to files, bundles and
//! processes, until it is resumed or over; the kill switch only takes away; and the audit log says who used it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use popgate::audit::{Action, What, read};
use popgate::cli::node as admin;
use popgate::pki::{Client as Subject, Validity};
use popgate::suspend::{Kind, Order, Target};
use popgate_demo::client::{Answer, Http, Session, get, post};
use popgate_demo::deployment::{OPERATORS, Options, Register, Site};
use popgate_demo::register::demo::HOA;
use popgate_demo::scenario::{LOOKUP, VERIFY, keys_of_hoa, read_path};
use popgate_tests::node::{self, Node};
use popgate_tests::{Harness, build, eventually, promised, refusal};
use serde_json::{Value, json};

const REASON: &str = "asks for thousands by night, INC-77";
const PROMPT: Duration = Duration::from_secs(1);

/// The reference deployment; the binary is built before, so that no connection waits for that.
fn started(settings: &str) -> Harness {
    build::popgate();
    Harness::start_with(settings)
}

/// What `popgate` says, and whether it succeeded.
fn popgate(arguments: &[&str]) -> (bool, String) {
    let output = node::run(arguments);
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
    (output.status.success(), said)
}

/// On the node itself.
fn local(site: &Site, arguments: &[&str]) -> (bool, String) {
    let config = site.config_file();
    popgate(&[arguments, &["--config", config.to_str().unwrap()]].concat())
}

fn suspend(site: &Site, kind: &str, id: &str, more: &[&str]) -> String {
    let (good, said) = local(site, &[&["suspend", kind, id, "--reason", REASON], more].concat());
    assert!(good, "{said}");
    said
}

fn resume(site: &Site, kind: &str, id: &str) -> String {
    let (good, said) = local(site, &["resume", kind, id]);
    assert!(good, "{said}");
    said
}

fn ask(system: &str) -> Request<Full<Bytes>> {
    match system {
        "tax/etax" => get(&read_path(HOA.number), Some("assessment")),
        "telecom-a/crm" => post(LOOKUP, Some("subscriber-verification"), &keys_of_hoa()),
        "bank-a/ekyc" => post(VERIFY, None, &keys_of_hoa()),
        other => panic!("{other}"),
    }
}

/// Asks until the answer is as wanted, for the second that it may take.
async fn soon(session: &mut Session, system: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let since = Instant::now();
    loop {
        let answer = session.send(ask(system)).await.unwrap();
        if wanted(&answer) {
            return answer;
        }
        assert!(since.elapsed() < promised(PROMPT), "still {} after {:?}", refusal(&answer), since.elapsed());
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// A live connection of each protocol.
async fn both(harness: &Harness, system: &str) -> [Session; 2] {
    let connect = async |http| harness.client_over(system, http).connect().await.unwrap();
    [connect(Http::One).await, connect(Http::Two).await]
}

fn is_good(answer: &Answer) -> bool {
    answer.status == StatusCode::OK
}

fn entries(site: &Site) -> Vec<Action> {
    let entries = read::entries(&site.audit(), None).unwrap().map(Result::unwrap);
    let action = |what| match what {
        What::Action(action) => Some(*action),
        _ => None,
    };
    entries.filter_map(|entry| action(entry.what)).collect()
}

/// What was suspended and resumed, as `what target by`.
fn actions(site: &Site) -> Vec<String> {
    let about_suspensions =
        entries(site).into_iter().filter(|action| ["suspend", "resume"].contains(&action.what.as_str()));
    about_suspensions.map(|action| format!("{} {} {}", action.what, action.target, action.by)).collect()
}

fn user() -> String {
    let output = std::process::Command::new("id").arg("-un").output().unwrap();
    format!("local:{}", String::from_utf8(output.stdout).unwrap().trim())
}

#[tokio::test]
async fn each_kind_is_refused_within_a_second_on_live_connections_and_resumed_as_fast() {
    let harness = started("");
    let site = &harness.deployment.site;
    let mut bystander = harness.session("telecom-a/crm").await;
    let mut sessions = both(&harness, "tax/etax").await;
    for session in &mut sessions {
        assert!(is_good(&session.send(ask("tax/etax")).await.unwrap()));
    }
    for (kind, id, concerned, code) in [
        ("agency", "tax", " systems, ", "403 agency_suspended"),
        ("system", "tax/etax", "1 system, ", "403 system_suspended"),
        ("purpose", "assessment", " systems, ", "403 purpose_suspended"),
        ("register", "population", " systems, ", "503 register_suspended"),
    ] {
        let said = suspend(site, kind, id, &["--for", "2h"]);
        assert!(said.contains(&format!("suspended {kind} `{id}` until ")) && said.contains(concerned), "{said}");
        assert!(said.contains("(2 h from now)"), "{said}");
        for session in &mut sessions {
            let refused = soon(session, "tax/etax", |answer| refusal(answer) == code).await;
            let left: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((7000..=7200).contains(&left), "{left}");
            let told = String::from_utf8(refused.body.to_vec()).unwrap();
            assert!(told.contains("ask the gateway's operator") && !told.contains("INC-77"), "{told}");
        }
        let beside = bystander.send(ask("telecom-a/crm")).await.unwrap();
        if kind == "register" {
            assert_eq!(refusal(&beside), code);
        } else {
            assert!(is_good(&beside), "{kind}: {}", refusal(&beside));
        }
        assert!(resume(site, kind, id).contains(REASON));
        for session in &mut sessions {
            soon(session, "tax/etax", is_good).await;
            assert!(!session.is_closed());
        }
    }
    // Permits: a field less and the rest as before, or nothing at all.
    let mut telecom = both(&harness, "telecom-a/crm").await;
    let before = telecom[0].send(ask("telecom-a/crm")).await.unwrap().json();
    assert_eq!(before["date_of_birth"], 1987);
    let said = suspend(site, "policy", "telecom-phone-hint", &[]);
    assert!(said.contains("until it is resumed") && said.contains(" systems, 1 operation\n"), "{said}");
    for session in &mut telecom {
        let has_no_phone = |answer: &Answer| is_good(answer) && answer.json().get("phone").is_none();
        let narrowed = soon(session, "telecom-a/crm", has_no_phone).await;
        assert_eq!(narrowed.json()["date_of_birth"], 1987);
    }
    // The birth date guards the lookup: without its permit it may not even be compared.
    suspend(site, "policy", "telecom-year-only", &[]);
    for session in &mut telecom {
        let refused = soon(session, "telecom-a/crm", |answer| !is_good(answer)).await;
        assert!(["403 parameter_denied", "403 policy_denied"].contains(&&*refusal(&refused)), "{}", refusal(&refused));
        assert!(refused.headers.get("retry-after").is_none());
    }
    assert!(is_good(&sessions[0].send(ask("tax/etax")).await.unwrap()));
    for id in ["telecom-year-only", "telecom-phone-hint"] {
        resume(site, "policy", id);
    }
    for session in &mut telecom {
        soon(session, "telecom-a/crm", |answer| answer.json() == before).await;
    }
    let (site, _dir) = harness.stop().await;
    let report = read::verify(&site.audit()).unwrap();
    assert_eq!((report.actions, report.closed), (12, true));
    let expected = format!("suspend agency tax {}", user());
    assert_eq!(actions(&site)[0], expected);
    let shown = popgate(&["audit", "show", site.audit().to_str().unwrap()]).1;
    let line = shown.lines().find(|line| line.contains("suspend agency tax")).unwrap();
    assert!(line.contains(&user()) && line.contains(REASON) && line.contains(" until "), "{line}");
    let shown = popgate(&["audit", "show", site.audit().to_str().unwrap(), "--json"]).1;
    let line: Value =
        shown.lines().find(|line| line.contains("\"resume\"")).map(serde_json::from_str).unwrap().unwrap();
    assert_eq!(
        (&line["record"], &line["target"], &line["by"]),
        (&json!("action"), &json!("agency tax"), &json!(user()))
    );
    let refused = shown.lines().filter(|line| line.contains("\"purpose_suspended\"")).count();
    assert!(refused >= 2, "an auditor sees who asked for a suspended purpose");
}

#[tokio::test]
async fn suspensions_lapse_at_their_end_without_a_reload() {
    let harness = started("");
    let site = &harness.deployment.site;
    let (mut tax, mut telecom) = (harness.session("tax/etax").await, harness.session("telecom-a/crm").await);
    let node = harness.deployment.gateway.node();
    let since = Instant::now();
    for (kind, id) in [(Kind::Agency, "tax"), (Kind::Policy, "telecom-phone-hint")] {
        let until = Some(node.clock.wall() + jiff::SignedDuration::from_secs(4));
        let order = Order { target: Target { kind, id: id.into() }, reason: REASON.into(), until, force: false };
        node.suspend(&order, "linh").unwrap();
    }
    // No waiting: in force when the order is carried out.
    assert_eq!(refusal(&tax.send(ask("tax/etax")).await.unwrap()), "403 agency_suspended");
    assert_eq!(telecom.send(ask("telecom-a/crm")).await.unwrap().json().get("phone"), None);
    // The watch finds what it knows.
    let unchanged = || node.metrics.suspensions.reloads.unchanged.get();
    eventually("the file was looked at", || unchanged() > 0).await;
    let reloads = || node.metrics.suspensions.reloads.accepted.get();
    let before = reloads();
    loop {
        let answer = tax.send(ask("tax/etax")).await.unwrap();
        if is_good(&answer) {
            break;
        }
        assert_eq!(answer.headers["retry-after"].to_str().unwrap().parse::<u64>().map(|left| left <= 4), Ok(true));
        assert!(since.elapsed() < Duration::from_secs(15), "not over");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(since.elapsed() >= Duration::from_secs(4));
    eventually("the permit is back", || harness.deployment.gateway.node().suspensions_status().suspended.is_empty())
        .await;
    let with_phone = |answer: &Answer| answer.json().get("phone").is_some();
    while !with_phone(&telecom.send(ask("telecom-a/crm")).await.unwrap()) {
        assert!(since.elapsed() < Duration::from_secs(15), "not over");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(reloads(), before, "nothing was read again");
    let (good, said) = local(site, &["suspensions"]);
    assert!(good && said == "nothing is suspended\n", "{said}");
    let (good, said) = local(site, &["resume", "agency", "tax"]);
    assert!(!good && said.contains("agency `tax` is not suspended"), "{said}");
}

#[tokio::test]
async fn a_file_that_is_broken_or_gone_lifts_nothing_and_its_place_is_told() {
    let harness = started("");
    let site = &harness.deployment.site;
    let mut tax = harness.session("tax/etax").await;
    suspend(site, "agency", "tax", &[]);
    soon(&mut tax, "tax/etax", |answer| refusal(answer) == "403 agency_suspended").await;
    let file = site.dir().join("state/suspensions.toml");
    let good = fs::read_to_string(&file).unwrap();
    let node = harness.deployment.gateway.node();
    let told = |line: usize, part: &str| {
        let problems = node.suspensions_status().problems;
        problems.iter().any(|problem| problem.line == Some(line) && problem.message.contains(part))
    };
    for (text, line, part) in [
        (good.replace("reason", "reson"), 6, "unknown key `reson`"),
        ("[agency".to_owned(), 1, "this is not TOML"),
        (String::new(), 1, "the file is cut off"),
        (good.replace("# end 1", ""), 8, "the file is cut off"),
        (format!("{good}\n[agencies.bank-a]\n"), 12, "nothing of kind `agencies`"),
    ] {
        fs::write(&file, &text).unwrap();
        eventually(part, || told(line, part)).await;
        assert_eq!(refusal(&tax.send(ask("tax/etax")).await.unwrap()), "403 agency_suspended");
        assert_eq!(harness.metric("popgate_suspensions_stale").await, 1);
    }
    let (done, said) = local(site, &["suspend", "agency", "customs", "--reason", REASON]);
    assert!(!done && said.contains("suspensions.toml:12:2: nothing of kind"), "nothing is built on it: {said}");
    fs::write(&file, &good).unwrap();
    eventually("the file is good again", || node.suspensions_status().problems.is_empty()).await;
    assert_eq!(harness.metric("popgate_suspensions_stale").await, 0);

    fs::remove_file(&file).unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(refusal(&tax.send(ask("tax/etax")).await.unwrap()), "403 agency_suspended");
    assert_eq!(harness.metric("popgate_suspensions_stale").await, 1);
    // The next change is built on what is in force.
    suspend(site, "system", "bank-a/ekyc", &[]);
    let mut bank = harness.session("bank-a/ekyc").await;
    soon(&mut bank, "bank-a/ekyc", |answer| refusal(answer) == "403 system_suspended").await;
    assert_eq!(refusal(&tax.send(ask("tax/etax")).await.unwrap()), "403 agency_suspended");
    // Nor does a copy that is lost as well lift anything.
    fs::remove_file(site.dir().join("state/suspensions.last.toml")).unwrap();
    fs::remove_file(&file).unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(refusal(&tax.send(ask("tax/etax")).await.unwrap()), "403 agency_suspended");
    // All can be lifted by hand, in so many words, and the log says that nobody said who.
    fs::write(&file, "# end 0\n").unwrap();
    soon(&mut tax, "tax/etax", is_good).await;
    eventually("it is recorded", || actions(site).len() == 4).await;
    let found = actions(site);
    assert_eq!(found[2..], ["resume agency tax unknown", "resume system bank-a/ekyc unknown"].map(str::to_owned));
}

#[tokio::test]
async fn a_restart_and_a_new_bundle_keep_what_is_suspended_and_record_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::make(dir.path()).unwrap();
    let register = Register::start(&site).unwrap();
    site.write_config(register.address, &Options::default()).unwrap();
    // Nobody runs yet.
    suspend(&site, "agency", "tax", &[]);
    suspend(&site, "policy", "telecom-phone-hint", &[]);
    let file = site.dir().join("state/suspensions.toml");
    for broken in [false, true] {
        if broken {
            fs::write(&file, "[agency").unwrap();
        }
        let node = Node::start(&site, &[]);
        let refused = node.client(&site, "tax/etax", Http::One).send(ask("tax/etax")).await.unwrap();
        assert_eq!(refusal(&refused), "403 agency_suspended");
        let shown = node.client(&site, "telecom-a/crm", Http::Two).send(ask("telecom-a/crm")).await.unwrap();
        assert!(is_good(&shown) && shown.json().get("phone").is_none());
        if !broken {
            // The agency leaves the bundle, and comes back.
            let agency = site.bundle().join("agencies/bank-a.toml");
            suspend(&site, "agency", "bank-a", &[]);
            let text = fs::read_to_string(&agency).unwrap();
            let said = |part: &str| node.said().iter().any(|line| line.contains(part));
            fs::remove_file(&agency).unwrap();
            eventually("it is gone", || said("agency `bank-a` is suspended, and not in the bundle")).await;
            let bank = node.client(&site, "bank-a/ekyc", Http::One);
            assert_eq!(refusal(&bank.send(ask("bank-a/ekyc")).await.unwrap()), "403 system_not_enrolled");
            fs::write(&agency, text).unwrap();
            let since = Instant::now();
            let refused = loop {
                let refused = refusal(&bank.send(ask("bank-a/ekyc")).await.unwrap());
                if refused != "403 system_not_enrolled" || since.elapsed() > Duration::from_secs(20) {
                    break refused;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            assert_eq!(refused, "403 agency_suspended");
            assert!(!said(REASON), "what an operator typed is not for the log");
            assert!(said("suspensions changed"));
        } else {
            let told = node.said().into_iter().find(|line| line.contains("suspensions refused")).unwrap();
            assert!(told.contains("suspensions.toml:1:"), "{told}");
        }
        assert!(node.terminate().0);
    }
    let by = user();
    let expected = ["agency tax", "policy telecom-phone-hint", "agency bank-a"].map(|it| format!("suspend {it} {by}"));
    assert_eq!(actions(&site), expected);
    // Two bundles came into force besides.
    assert_eq!(read::verify(&site.audit()).unwrap().actions, 5);
    // Lifted while nobody runs: the next one records who did.
    fs::copy(site.dir().join("state/suspensions.last.toml"), &file).unwrap();
    resume(&site, "agency", "tax");
    let node = Node::start(&site, &[]);
    let shown = node.client(&site, "tax/etax", Http::One).send(ask("tax/etax")).await.unwrap();
    assert!(is_good(&shown), "{}", refusal(&shown));
    assert!(node.terminate().0);
    assert_eq!(actions(&site)[3..], [format!("resume agency tax {by}")]);
    // Without anything that tells what is suspended, nobody serves.
    fs::remove_file(site.dir().join("state/suspensions.last.toml")).unwrap();
    fs::write(&file, "[agency").unwrap();
    let (good, said) = local(&site, &["serve"]);
    assert!(!good && said.contains("suspensions.toml:1:"), "{said}");
}

#[tokio::test]
async fn a_forbid_cannot_be_suspended_and_a_misspelt_id_is_not_believed() {
    let harness = started("");
    let site = &harness.deployment.site;
    let forbid = "statistics-never-names";
    let (good, said) = local(site, &["suspend", "policy", forbid, "--reason", REASON]);
    assert!(!good && said.contains("forbids (policies/statistics.cedar:") && said.contains("only narrows"), "{said}");
    let (good, said) = local(site, &["suspend", "policy", forbid, "--reason", REASON, "--force"]);
    assert!(!good, "not by force either: {said}");
    let (good, said) = local(site, &["suspend", "agency", "bank-aa", "--reason", REASON]);
    assert!(!good && said.contains("has no agency `bank-aa`; did you mean `bank-a`?"), "{said}");
    let (good, said) =
        local(site, &["suspend", "agency", "tax", "--reason", REASON, "--until", "2020-01-01T00:00:00Z"]);
    assert!(!good && said.contains("is not in the future"), "{said}");
    assert!(!site.dir().join("state/suspensions.toml").exists(), "nothing of it was written");

    // By hand.
    let text = format!(
        "[policy.{forbid}]\nreason = \"r\"\nby = \"me\"\nsince = 2026-01-01T00:00:00Z\n\
         [agency.bank-aa]\nreason = \"r\"\nby = \"me\"\nsince = 2026-01-01T00:00:00Z\n# end 2\n"
    );
    fs::write(site.dir().join("state/suspensions.toml"), text).unwrap();
    let node = harness.deployment.gateway.node();
    let loaded = node.live();
    eventually("it is taken up", || node.suspensions_status().problems.len() == 2).await;
    let problems = node.suspensions_status().problems;
    let told = |line: usize| problems.iter().find(|problem| problem.line == Some(line)).unwrap();
    assert_eq!((told(1).severity, told(1).code), ("error", "forbid-suspended"));
    assert_eq!((told(5).severity, told(5).code), ("warning", "unknown-id"));
    assert_eq!(told(5).help.as_deref(), Some("did you mean `bank-a`?"));
    assert_eq!(harness.metric("popgate_suspensions_ignored").await, 1);
    // It stays in force.
    let engine = node.live();
    let system =
        engine.bundle.directory().systems().iter().find(|system| system.agency.sector == "statistics").unwrap();
    let bears = |live: &popgate::app::Live| {
        let operations = live.bundle.contracts().operations().iter();
        operations.filter(|it| system.purposes.iter().any(|why| live.bundle.bears_on(forbid, system, it, why))).count()
    };
    assert!(bears(&engine) > 0 && bears(&engine) == bears(&loaded));
}

#[tokio::test]
async fn operators_use_it_over_the_admin_listener_by_their_roles() {
    let settings = |name: &str, role: &str| {
        format!("\n[admin.operators.{name}]\nidentity = \"spiffe://gov.vn/operator/{name}\"\nroles = [\"{role}\"]\n")
    };
    let settings = settings("hanh", "approver") + &settings("vy", "viewer") + &settings("duc", "author");
    let harness = started(&settings);
    let site = &harness.deployment.site;
    let (url, ca) = (
        format!("https://localhost:{}", harness.deployment.gateway.admin().unwrap().port()),
        site.gateway_authority().to_str().unwrap().to_owned(),
    );
    for name in ["hanh", "vy", "duc"] {
        let uri = Some(format!("spiffe://gov.vn/operator/{name}"));
        let subject = Subject { uri, common_name: name.into(), ..Subject::default() };
        let life = Validity::days(jiff::Timestamp::now(), 1);
        let issued = site.authority(OPERATORS).unwrap().issue_client(&subject, life).unwrap();
        site.write_identity(&format!("operator-{name}"), &issued).unwrap();
    }
    let mut remote = Vec::new();
    let mut operator = |name: &str, arguments: &[&str]| -> (bool, String) {
        let file = site.dir().join(format!("clients/operator-{name}.pem"));
        let file = file.to_str().unwrap();
        let said = popgate(&[arguments, &["--node", &url, "--cert", file, "--key", file, "--ca", &ca]].concat());
        remote.push(said.1.clone());
        said
    };
    let order = ["suspend", "system", "bank-a/ekyc", "--reason", "đang xem xét, INC-77"];
    for name in ["vy", "duc"] {
        let (good, said) = operator(name, &order);
        assert!(!good && said.contains("403 role_missing") && said.contains("`sre` or `approver`"), "{name}: {said}");
    }
    let mut bank = harness.session("bank-a/ekyc").await;
    assert!(is_good(&bank.send(ask("bank-a/ekyc")).await.unwrap()));
    for name in ["hanh", "linh"] {
        let (good, said) = operator(name, &[&order[..], &["--for", "1h"]].concat());
        assert!(
            good && said.contains("concerned: 1 system, 3 operations") && said.contains("in force on https://"),
            "{said}"
        );
        // No waiting: it is in force when the order is answered.
        assert_eq!(refusal(&bank.send(ask("bank-a/ekyc")).await.unwrap()), "403 system_suspended");
        let (good, said) = operator("vy", &["suspensions"]);
        assert!(good && said.contains(&format!("by {name}: đang xem xét, INC-77")), "{said}");
        let (good, said) = operator("vy", &["resume", "system", "bank-a/ekyc"]);
        assert!(!good && said.contains("role_missing"), "{said}");
        assert_eq!(harness.metric("popgate_suspended{id=\"bank-a/ekyc\",kind=\"system\"}").await, 1);
        let shown = operator("vy", &["suspensions", "--json"]).1;
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["suspended"][0]["id"], "bank-a/ekyc");
        let (good, said) = operator(name, &["resume", "system", "bank-a/ekyc", "--reason", "đã rõ & xong"]);
        assert!(good && said.contains("resumed system `bank-a/ekyc`"), "{said}");
        assert!(is_good(&bank.send(ask("bank-a/ekyc")).await.unwrap()));
    }
    let (good, said) = operator("linh", &["suspend", "agency", "bank-aa", "--reason", "r"]);
    assert!(!good && said.contains("422 unknown_id") && said.contains("did you mean `bank-a`?"), "{said}");
    let (good, said) = operator("linh", &["suspend", "policy", "statistics-never-names", "--reason", "r"]);
    assert!(!good && said.contains("422 forbid_suspended"), "{said}");
    let (good, said) = operator("linh", &["resume", "agency", "tax"]);
    assert!(!good && said.contains("404 not_suspended"), "{said}");
    // `/bundle` shows it, and the log knows who and why.
    assert!(operator("linh", &["suspend", "purpose", "e-kyc", "--reason", REASON]).0);
    let file = site.dir().join("clients/operator-vy.pem");
    let asked = admin::Node::new(&url, &file, &file, Path::new(&ca)).unwrap();
    let status = tokio::task::spawn_blocking(move || asked.get("/bundle").unwrap().json()).await.unwrap();
    assert_eq!(status["suspensions"]["suspended"][0]["reason"], REASON);
    assert_eq!(status["suspensions"]["unrecorded"], false);
    let found = entries(site);
    let who: Vec<_> = found.iter().map(|action| format!("{} {} {}", action.what, action.target, action.by)).collect();
    let pairs = ["hanh", "linh"].map(|by| ["suspend", "resume"].map(|what| format!("{what} system bank-a/ekyc {by}")));
    assert_eq!(who, [pairs.concat(), vec!["suspend purpose e-kyc linh".to_owned()]].concat());
    assert_eq!((found[0].reason.as_str(), found[1].reason.as_str()), ("đang xem xét, INC-77", "đã rõ & xong"));
    assert!(remote.iter().all(|said| !said.contains("panicked")));
}
