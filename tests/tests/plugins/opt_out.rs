//! Persons who have opted out, by a list that names nobody.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use popgate_demo::client::get;
use popgate_demo::deployment::Site;
use popgate_demo::register::demo::{HOA, HUSBAND, Known, MINOR};
use popgate_tests::build::popgate;
use popgate_tests::{Harness, eventually, refusal};
use serde_json::json;

use super::{ask, lookup, read, recorded, same, with_plugins};

const TABLE: &str = r#"
[plugins.opt-out]
kind       = "opt-out"
applies_to = { purposes = ["assessment", "treatment", "subscriber-verification"] }
list       = "opt-out.list"
key        = "keys/opt-out.key"
"#;

/// A deployment with an empty list.
fn start(more: &str) -> Harness {
    with_plugins(&(TABLE.to_owned() + more), prepare)
}

fn prepare(site: &Site) {
    let key = site.dir().join("keys/opt-out.key");
    popgate::pki::new_key(&key).unwrap();
    let key = popgate::custody::symmetric_key(&key).unwrap();
    let empty = popgate_plugins::kinds::opt_out::List::default();
    let text = empty.to_text(&popgate_plugins::keyed::Keyed::new(&key));
    fs::write(site.dir().join("opt-out.list"), text).unwrap();
}

/// `popgate plugin opt-out ...` with these numbers on standard input.
fn run(config: &Path, command: &str, more: &[&str], numbers: &str) -> Output {
    let mut child = Command::new(popgate())
        .args(["plugin", "opt-out", command, "--config"])
        .arg(config)
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(numbers.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn done(harness: &Harness, command: &str, more: &[&str], persons: &[&Known]) -> String {
    let numbers: String = persons.iter().map(|known| format!("{}\n", known.number)).collect();
    let output = run(&harness.deployment.site.config_file(), command, more, &numbers);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Changes the list and waits until the gateway has taken it up.
async fn change(harness: &Harness, command: &str, more: &[&str], persons: &[&Known]) {
    let reloads = &harness.deployment.gateway.node().metrics.plugin_reloads;
    let before = reloads.accepted.get();
    done(harness, command, more, persons);
    eventually("the list is in force", || reloads.accepted.get() > before).await;
}

#[tokio::test]
async fn who_has_opted_out_is_answered_as_unknown_from_the_moment_the_list_says_so() {
    let harness = start("");
    let faults = &harness.deployment.register.faults;
    let mut session = harness.session("tax/etax").await;
    for known in [&HOA, &HUSBAND] {
        assert_eq!(refusal(&session.send(read(known, "assessment")).await.unwrap()), "200 ");
    }
    change(&harness, "add", &[], &[&HUSBAND]).await;
    let asked = faults.requests();
    let hidden = session.send(read(&HUSBAND, "assessment")).await.unwrap();
    assert_eq!(refusal(&hidden), "404 no_match");
    assert_eq!(refusal(&session.send(read(&HOA, "assessment")).await.unwrap()), "200 ");
    // As somebody whom nobody knows.
    // No province has that code.
    let nobody = get("/population/v1/citizens/999187974118", Some("assessment"));
    let unknown = ask(&harness, "tax/etax", nobody).await;
    assert_eq!(same(&hidden), same(&unknown));
    // A purpose that the plugin does not apply to.
    assert_eq!(refusal(&ask(&harness, "ha-noi/portal", read(&HUSBAND, "residence-management")).await), "200 ");
    let guessed = ask(&harness, "telecom-a/crm", lookup(&HUSBAND, "subscriber-verification")).await;
    assert_eq!(refusal(&guessed), "404 no_match");
    assert!(faults.requests() > asked, "the register is asked all the same");
    change(&harness, "remove", &[], &[&HUSBAND]).await;
    assert_eq!(refusal(&session.send(read(&HUSBAND, "assessment")).await.unwrap()), "200 ");
    assert!(!session.is_closed());
    let log = recorded(&harness).await;
    assert_eq!(log.iter().filter(|said| *said == "hidden").count(), 2, "{log:?}");
}

#[tokio::test]
async fn a_broken_list_is_refused_and_the_last_good_one_stays() {
    let harness = start("");
    let file = harness.deployment.site.dir().join("opt-out.list");
    change(&harness, "add", &[], &[&HUSBAND]).await;
    let good = fs::read_to_string(&file).unwrap();
    let reloads = &harness.deployment.gateway.node().metrics.plugin_reloads;
    let cut = good.lines().next().unwrap().to_owned() + "\n";
    let number = good.replace("end 1", &format!("{}\nend 2", HOA.number));
    for broken in ["", "nonsense", &cut, &number] {
        let before = reloads.refused.get();
        fs::write(&file, broken).unwrap();
        eventually("it is refused", || reloads.refused.get() > before).await;
        assert_eq!(refusal(&ask(&harness, "tax/etax", read(&HUSBAND, "assessment")).await), "404 no_match");
        assert_eq!(refusal(&ask(&harness, "tax/etax", read(&HOA, "assessment")).await), "200 ");
    }
    let before = reloads.refused.get();
    fs::remove_file(&file).unwrap();
    eventually("a missing one is refused", || reloads.refused.get() > before).await;
    assert_eq!(refusal(&ask(&harness, "tax/etax", read(&HUSBAND, "assessment")).await), "404 no_match");
    fs::write(&file, &good).unwrap();
    change(&harness, "add", &[], &[&HOA]).await;
    assert_eq!(refusal(&ask(&harness, "tax/etax", read(&HOA, "assessment")).await), "404 no_match");
}

#[tokio::test]
async fn fields_can_be_withheld_instead_and_purposes_told_apart() {
    let harness =
        start("answer = \"narrow\"\nwithhold = [\"contact\"]\ncap = { \"Citizen.date_of_birth\" = \"year\" }\n");
    change(&harness, "add", &["--purpose", "treatment"], &[&HOA]).await;
    let shown = ask(&harness, "hospital-north/his", read(&HOA, "treatment")).await.json();
    assert_eq!((&shown["full_name"], &shown["date_of_birth"]), (&json!(HOA.full_name), &json!(1987)));
    assert_eq!(shown.get("phone"), None);
    let others = ask(&harness, "hospital-north/his", read(&MINOR, "treatment")).await.json();
    assert_eq!(others["date_of_birth"], "2012-06-22");
    let shown = ask(&harness, "tax/etax", read(&HOA, "assessment")).await.json();
    assert_eq!(shown["date_of_birth"], "1987-03-14", "she has not opted out of that");
    // The keys of a lookup are matched, and shown as little as the list says.
    change(&harness, "add", &[], &[&HOA]).await;
    let shown = ask(&harness, "telecom-a/crm", lookup(&HOA, "subscriber-verification")).await.json();
    assert_eq!((&shown["date_of_birth"], shown.get("phone")), (&json!(1987), None));
}

#[tokio::test]
async fn the_list_is_kept_by_the_command_line_and_names_nobody() {
    let harness = start("");
    let site = &harness.deployment.site;
    let said = done(&harness, "add", &["--purpose", "treatment", "--purpose", "assessment"], &[&HOA, &HUSBAND]);
    assert!(said.ends_with("opt-out.list: 2 of 2 persons put on it; 2 persons on it now\n"), "{said}");
    assert!(done(&harness, "add", &[], &[&HOA, &HOA]).contains("1 of 2 persons put on it"));
    assert_eq!(done(&harness, "find", &[], &[&HOA, &MINOR, &HUSBAND]), "everything\nno\nassessment treatment\n");
    let listed = done(&harness, "list", &[], &[]);
    assert_eq!(listed.lines().count(), 2);
    assert!(
        done(&harness, "remove", &[], &[&HUSBAND, &MINOR]).contains("1 of 2 persons taken from it; 1 person on it now")
    );
    for entry in fs::read_dir(site.dir()).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        let text = fs::read_to_string(entry.path()).unwrap();
        assert!(!text.contains(&HOA.number.to_string()), "{:?}", entry.path());
    }
    let file = site.dir().join("opt-out.list");
    let before = fs::read_to_string(&file).unwrap();
    let wrong = |command: &str, more: &[&str], input: &str, says: &str| {
        let output = run(&site.config_file(), command, more, input);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(says), "{told}");
        assert!(!told.contains("001187974118"), "{told}");
        assert_eq!(fs::read_to_string(&file).unwrap(), before);
    };
    wrong("add", &[], "001187974118\n001187974118 and more\n", "standard input, line 2: not one person's number");
    wrong("add", &["--purpose", "Every Thing"], "001187974118\n", "`Every Thing` is not a purpose's id");
    wrong("add", &["--plugin", "optout"], "001187974118\n", "no such plugin");
    // The key is another one: whoever is on the list could not be found again.
    let key = site.dir().join("keys/opt-out.key");
    fs::remove_file(&key).unwrap();
    popgate::pki::new_key(&key).unwrap();
    wrong("add", &[], "001187974118\n", "line 1: the list was made under another key");
    fs::remove_file(&key).unwrap();
    wrong("add", &[], "001187974118\n", "opt-out.key");
}

#[test]
fn a_node_does_not_start_without_its_list() {
    for (broken, says) in [
        (None, "plugin `opt-out`: "),
        (Some("popgate opt-out list 1, key 0000000000000000\nend 0\n"), "line 1: the list was made under another key"),
        (Some("001187974118\n"), "line 1: the first line must begin with"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let site = Site::make(dir.path()).unwrap();
        prepare(&site);
        let file = dir.path().join("opt-out.list");
        match broken {
            Some(text) => fs::write(&file, text).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
        let options = popgate_demo::deployment::Options { settings: TABLE.to_owned(), ..Default::default() };
        let config = site.write_config(nowhere, &options).unwrap();
        let error = popgate::app::start(config, false).expect_err(says).to_string();
        assert!(error.contains(says) && error.contains("opt-out.list"), "{error}");
        assert!(!error.contains("001187974118"), "{error}");
    }
}

/// A group by another name would leave the plugin with nothing to withhold.
#[tokio::test]
async fn a_bundle_that_takes_a_name_away_which_a_plugin_needs_is_refused() {
    let harness = start("answer = \"narrow\"\nwithhold = [\"contact\"]\n");
    let node = harness.deployment.gateway.node();
    let digest = node.live().bundle.digest();
    for folder in ["contracts", "policies"] {
        for file in fs::read_dir(harness.deployment.site.bundle().join(folder)).unwrap() {
            let file = file.unwrap().path();
            let text = fs::read_to_string(&file).unwrap();
            let renamed = text.replace("x-gateway-group: contact\n", "x-gateway-group: contacts\n");
            let renamed = renamed.replace("x-gateway-group: contact,", "x-gateway-group: contacts,");
            fs::write(&file, renamed.replace("Group::\"contact\"", "Group::\"contacts\"")).unwrap();
        }
    }
    eventually("the renamed group is refused", || {
        let problems = node.last_reload().bundle_problems;
        !problems.is_empty() && problems.iter().all(|problem| problem.code == "plugin-names-nothing")
    })
    .await;
    let problem = node.last_reload().bundle_problems.remove(0);
    assert!(problem.message.contains("`contact`"), "{problem}");
    assert_eq!(node.live().bundle.digest(), digest, "the last good one stays");
}
