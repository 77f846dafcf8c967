//! The list: kept by the command line, watched, and needed.

use std::fs;

use popgate_demo::deployment::{Options, Site};
use popgate_demo::register::demo::{HOA, HUSBAND, Known, MINOR};
use popgate_tests::build::popgate;
use popgate_tests::{Harness, eventually, refusal};

use super::{SETTINGS, ask, prepare, read, run, sealing};

fn done(harness: &Harness, command: &str, more: &[&str], persons: &[&Known]) -> String {
    let numbers: String = persons.iter().map(|known| format!("{}\n", known.number)).collect();
    let output = run(&harness.deployment.site.config_file(), command, more, &numbers);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Changes the list and waits until the gateway has taken it up.
async fn change(harness: &Harness, command: &str, more: &[&str], persons: &[&Known]) {
    let reloads = &harness.deployment.gateway.node().seals.as_ref().unwrap().reloads;
    let before = reloads.accepted.get();
    done(harness, command, more, persons);
    eventually("the list is in force", || reloads.accepted.get() > before).await;
}

#[tokio::test]
async fn the_list_is_in_force_from_the_moment_it_says_so_on_live_connections_too() {
    // Built before the connection is open, which would be idle for too long meanwhile.
    popgate();
    let harness = sealing("", &[]);
    let mut session = harness.session("tax/etax").await;
    assert_eq!(refusal(&session.send(read(&HUSBAND)).await.unwrap()), "200 ");
    change(&harness, "add", &["--seen-by", "tax/inspection"], &[&HUSBAND]).await;
    assert_eq!(refusal(&session.send(read(&HUSBAND)).await.unwrap()), "404 no_match");
    assert_eq!(refusal(&ask(&harness, "tax/inspection", read(&HUSBAND)).await), "200 ");
    change(&harness, "add", &["--seen-by", "tax"], &[&HUSBAND]).await;
    assert_eq!(refusal(&session.send(read(&HUSBAND)).await.unwrap()), "200 ");
    change(&harness, "add", &[], &[&HUSBAND]).await;
    assert_eq!(refusal(&ask(&harness, "tax/inspection", read(&HUSBAND)).await), "404 no_match", "nobody is excepted");
    change(&harness, "remove", &[], &[&HUSBAND]).await;
    assert_eq!(refusal(&session.send(read(&HUSBAND)).await.unwrap()), "200 ");
    assert!(!session.is_closed());
    assert_eq!(harness.metric("popgate_sealed_reloads_total{outcome=\"accepted\"}").await, 4);
}

#[tokio::test]
async fn a_broken_list_is_refused_and_the_last_good_one_stays() {
    let harness = sealing("", &[&HUSBAND]);
    let file = harness.deployment.site.dir().join("sealed.list");
    let good = fs::read_to_string(&file).unwrap();
    let reloads = &harness.deployment.gateway.node().seals.as_ref().unwrap().reloads;
    let cut = good.lines().next().unwrap().to_owned() + "\n";
    let opted_out = good.replace("sealed list", "opt-out list");
    for broken in [Some(""), Some("nonsense"), Some(&cut), Some(&opted_out), None] {
        let before = reloads.refused.get();
        match broken {
            Some(text) => fs::write(&file, text).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        eventually("it is refused", || reloads.refused.get() > before).await;
        assert_eq!(refusal(&ask(&harness, "tax/etax", read(&HUSBAND)).await), "404 no_match");
        assert_eq!(refusal(&ask(&harness, "tax/etax", read(&HOA)).await), "200 ");
    }
    let before = reloads.accepted.get();
    fs::write(&file, &good).unwrap();
    eventually("it is good again", || reloads.accepted.get() > before).await;
    change(&harness, "add", &[], &[&HOA]).await;
    assert_eq!(refusal(&ask(&harness, "tax/etax", read(&HOA)).await), "404 no_match");
}

#[tokio::test]
async fn the_list_is_kept_by_the_command_line_and_names_nobody() {
    let harness = sealing("", &[]);
    let site = &harness.deployment.site;
    let said = done(&harness, "add", &["--seen-by", "tax/inspection", "--seen-by", "courts"], &[&HOA, &HUSBAND]);
    assert!(said.ends_with("sealed.list: 2 of 2 persons sealed; 2 persons on it now\n"), "{said}");
    assert!(done(&harness, "add", &[], &[&HOA, &HOA]).contains("1 of 2 persons sealed"));
    let said = done(&harness, "find", &[], &[&HOA, &MINOR, &HUSBAND]);
    assert_eq!(said, "sealed\nno\nsealed, seen by courts tax/inspection\n");
    let listed = done(&harness, "list", &[], &[]);
    assert_eq!(listed.lines().count(), 2);
    assert!(done(&harness, "remove", &[], &[&HUSBAND, &MINOR]).contains("1 of 2 persons unsealed; 1 person on it now"));
    let file = site.dir().join("sealed.list");
    let before = fs::read_to_string(&file).unwrap();
    assert!(!(before.clone() + &listed).contains(&HOA.number.to_string()));
    let wrong = |command: &str, more: &[&str], input: &str, says: &str| {
        let output = run(&site.config_file(), command, more, input);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(says) && !told.contains("001187974118"), "{told}");
        assert_eq!(fs::read_to_string(&file).unwrap(), before);
    };
    wrong("add", &[], "001187974118\n001187974118 and more\n", "standard input, line 2: not one person's number");
    wrong("add", &["--seen-by", "The Courts"], "001187974118\n", "`The Courts` is neither an agency's id");
    fs::remove_file(site.dir().join("keys/sealing.key")).unwrap();
    wrong("add", &[], "001187974118\n", "sealing.key");
}

#[test]
fn a_node_does_not_start_without_its_list() {
    for (broken, says) in [
        (None, "sealed.list"),
        (Some("popgate sealed list 1, key 0000000000000000\nend 0\n"), "line 1: the list was made under another key"),
        (Some("001187974118\n"), "line 1: the first line must begin with"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let site = Site::make(dir.path()).unwrap();
        prepare(&site, &[]);
        let file = dir.path().join("sealed.list");
        match broken {
            Some(text) => fs::write(&file, text).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
        let options = Options { settings: SETTINGS.to_owned(), ..Options::default() };
        let config = site.write_config(nowhere, &options).unwrap();
        let error = popgate::app::start(config, false).expect_err(says).to_string();
        assert!(error.contains("sealed persons: ") && error.contains(says) && error.contains("sealed.list"), "{error}");
        assert!(!error.contains("001187974118"), "{error}");
    }
}
