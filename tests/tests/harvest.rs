//! Promise: who copies the register instead of using it is seen, told of, slowed down or stopped, as the site says; nobody else notices,
//! and no restart forgets it.

use std::time::{Duration, Instant};

use http::StatusCode;
use popgate::audit::{Action, What, read};
use popgate_demo::client::{Http, Session, get, post};
use popgate_demo::deployment::Site;
use popgate_demo::register::demo::HOA;
use popgate_demo::register::{Citizen, population};
use popgate_demo::scenario::{LOOKUP, read_path};
use popgate_tests::made::edit;
use popgate_tests::{Harness, refusal};
use serde_json::json;

/// More than are let through after a threshold: the figures are looked at with the first request of a second, and with every 64th.
const UNSEEN: u64 = 64;

#[tokio::test]
async fn who_asks_about_more_persons_than_the_agency_s_file_allows_is_stopped_and_recorded() {
    let harness = bounded("persons_per_hour = 40", "");
    let mut session = harness.client_over("tax/etax", Http::Two).connect().await.unwrap();
    let shown = until_refused(&mut session, 0).await;
    assert!((40..=40 + UNSEEN).contains(&shown), "{shown}");
    let over = session.send(get(&read_path(HOA.number), None)).await.unwrap();
    assert_eq!(refusal(&over), "429 harvest_suspected");
    let wait: u64 = over.headers.get("retry-after").unwrap().to_str().unwrap().parse().unwrap();
    assert!(wait > 600, "fifteen minutes at least: {wait}");
    // Others are not concerned, of the same agency or another.
    let mut other = harness.session("tax/inspection").await;
    let asked = other.send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap();
    assert_eq!(refusal(&asked), "200 ");
    assert_eq!(harness.metric("popgate_harvest_trips_total{effect=\"stop\",rule=\"persons_per_hour\"}").await, 1);

    // An operator ends it, for a reason.
    let node = harness.deployment.gateway.node();
    let standing = node.harvest();
    let [etax] = &standing[..] else { panic!("{standing:?}") };
    assert_eq!(etax.party, "system tax/etax");
    // With the one that tripped it.
    assert!((shown..=shown + 1).contains(&etax.persons_per_hour), "{shown}: {etax:?}");
    assert!(node.pardon("system tax/etax", "vy", "yearly settlement").unwrap());
    assert!(!node.pardon("system tax/etax", "vy", "again").unwrap(), "there is nothing to end any more");
    assert_eq!(ask(&mut session, 0).await, "200 ");
    let (site, _dir) = harness.stop().await;
    let recorded: Vec<String> =
        actions(&site).iter().map(|it| format!("{} {} {}", it.by, it.what, it.target)).collect();
    // That it was near is told as well, if it was looked at then.
    let recorded: Vec<&str> = recorded.iter().map(String::as_str).filter(|it| !it.contains("harvest-warn")).collect();
    assert_eq!(recorded, ["harvest-guard harvest-stop system tax/etax", "vy harvest-pardon system tax/etax"]);
    let stop = actions(&site).into_iter().find(|it| it.what == "harvest-stop").unwrap();
    assert!(stop.reason.starts_with("persons_per_hour: about ") && stop.reason.ends_with(", allowed 40"), "{stop:?}");
}

#[tokio::test]
async fn a_copy_that_is_spread_over_systems_is_seen_at_the_agency() {
    let agency = |site: &Site| {
        let purposes = "purposes = [\"assessment\", \"tax-debt\", \"data-cleaning-2025\"]";
        let limited = format!("{purposes}\nlimits = {{ persons_per_hour = 60 }}");
        let text = std::fs::read_to_string(site.bundle().join("agencies/tax.toml")).unwrap();
        let text = text.replacen(purposes, &limited, 1).replace("rate = \"10/s\", burst = 20", "rate = \"100/s\"");
        std::fs::write(site.bundle().join("agencies/tax.toml"), text).unwrap();
    };
    let harness = Harness::start_made("", agency, |_| {});
    let mut etax = harness.session("tax/etax").await;
    let mut inspection = harness.session("tax/inspection").await;
    let mut shown = 0;
    loop {
        let of_etax = ask(&mut etax, 2 * shown).await;
        let request = get(&read_path(population::citizen(2 * shown + 1)), Some("assessment"));
        let of_inspection = refusal(&inspection.send(request).await.unwrap());
        if of_etax == "429 harvest_suspected" || of_inspection == "429 harvest_suspected" {
            break;
        }
        assert_eq!((of_etax.as_str(), of_inspection.as_str()), ("200 ", "200 "));
        shown += 1;
        assert!(2 * shown <= 60 + UNSEEN, "{shown}");
    }
    assert!(2 * shown >= 58, "{shown}");
    let standing = harness.deployment.gateway.node().harvest();
    assert_eq!(standing.iter().map(|it| it.party.as_str()).collect::<Vec<_>>(), ["agency tax"]);
}

#[tokio::test]
async fn numbers_that_follow_each_other_and_numbers_that_nobody_has_are_told_of() {
    let guard = "[harvest]\ndensity = { persons = 3, least = 30, action = \"warn\" }\n\
                 misses = { percent = 50, least = 30, action = \"slow\" }\nslow = \"300ms\"\n";
    let harness = Harness::start_with(guard);
    let mut session = harness.session("tax/etax").await;
    let begin: u64 = HOA.number.to_string().parse().unwrap();
    let mut asked = 0;
    let slowed = loop {
        let path = read_path(HOA.number).replace(&HOA.number.to_string(), &format!("{:012}", begin + asked));
        let begun = Instant::now();
        let answer = session.send(get(&path, None)).await.unwrap();
        assert!(matches!(answer.status, StatusCode::OK | StatusCode::NOT_FOUND), "{}", refusal(&answer));
        asked += 1;
        if begun.elapsed() >= Duration::from_millis(300) && asked > 30 {
            break asked;
        }
        assert!(asked < 400, "a scan goes on unseen");
    };
    assert!(slowed > 30, "{slowed}");
    // The system, and the agency.
    assert_eq!(harness.metric("popgate_harvest_trips_total{effect=\"warn\",rule=\"density\"}").await, 2);
    assert_eq!(harness.metric("popgate_harvest_trips_total{effect=\"slow\",rule=\"misses\"}").await, 2);
}

#[tokio::test]
async fn wrong_guards_count_as_unknown_persons_do() {
    let guard = "[harvest]\nmisses = { percent = 50, least = 20, action = \"stop\" }\n";
    let harness = Harness::start_with(guard);
    let mut session = harness.session("tax/etax").await;
    let mut guessed = 0;
    let told = loop {
        let person = Citizen::of(population::citizen(guessed)).unwrap();
        let keys = json!({ "id": person.id, "full_name": person.full_name, "date_of_birth": "1900-01-01" });
        let told = refusal(&session.send(post(LOOKUP, None, &keys)).await.unwrap());
        if told != "404 no_match" {
            break told;
        }
        guessed += 1;
        assert!(guessed <= 20 + UNSEEN, "guesses go on unseen");
    };
    assert_eq!(told, "429 harvest_suspected", "after {guessed}");
    assert!(guessed >= 19, "{guessed}");
}

#[tokio::test]
async fn a_dry_run_tells_and_stops_nobody() {
    let harness = bounded("persons_per_hour = 20", "[harvest]\nmode = \"dry-run\"\n");
    let mut session = harness.session("tax/etax").await;
    for n in 0..20 + UNSEEN + 20 {
        assert_eq!(ask(&mut session, n).await, "200 ");
    }
    assert_eq!(harness.metric("popgate_harvest_trips_total{effect=\"dry-run\",rule=\"persons_per_hour\"}").await, 1);
}

#[tokio::test]
async fn a_restart_does_not_begin_the_day_anew() {
    let harness = bounded("persons_per_day = 50", "");
    let mut session = harness.session("tax/etax").await;
    for n in 0..45 {
        assert_eq!(ask(&mut session, n).await, "200 ");
    }
    let (site, _dir) = harness.stop().await;
    let kept = std::fs::read_to_string(site.dir().join("state/harvest")).unwrap();
    assert!(!kept.contains(&population::citizen(3).to_string()), "nobody is named in it");

    // Without its register: to ask is enough.
    let config = popgate::app::config::Config::read(&site.config_file()).unwrap();
    let gateway = popgate::app::start(config, false).unwrap();
    let credentials = site.credentials("tax/etax").unwrap();
    let client = popgate_demo::client::Client::new(gateway.https(), &credentials, Http::Two).unwrap();
    let mut session = client.connect().await.unwrap();
    let mut more = 45;
    while ask(&mut session, more).await == "503 register_unavailable" {
        more += 1;
        assert!(more <= 50 + UNSEEN, "the day began anew");
    }
    assert_eq!(ask(&mut session, more).await, "429 harvest_suspected");
    gateway.drain().await;
}

/// The reference deployment, whose `tax/etax` has one more limit.
fn bounded(limit: &str, settings: &str) -> Harness {
    let more = format!("concurrent = 64, {limit} }}");
    Harness::start_made(settings, |site| edit(site, "agencies/tax.toml", "concurrent = 64 }", &more), |_| {})
}

/// Asks about one person after the other, from the `from`th on; how many were answered.
async fn until_refused(session: &mut Session, from: u64) -> u64 {
    let mut shown = 0;
    loop {
        match &*ask(session, from + shown).await {
            "200 " => shown += 1,
            refused => {
                assert_eq!(refused, "429 harvest_suspected");
                return shown;
            }
        }
        assert!(shown < 1000, "nobody stops it");
    }
}

/// Asks about the `n`th of the register's persons.
async fn ask(session: &mut Session, n: u64) -> String {
    refusal(&session.send(get(&read_path(population::citizen(n)), None)).await.unwrap())
}

fn actions(site: &Site) -> Vec<Action> {
    let entries = read::entries(&site.audit(), None).unwrap().map(Result::unwrap);
    let actions = entries.filter_map(|entry| match entry.what {
        What::Action(action) => Some(*action),
        _ => None,
    });
    actions.filter(|action| action.what.starts_with("harvest")).collect()
}
