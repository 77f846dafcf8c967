//! Promise: a system gets the rate, the burst and the concurrency that its agency's file says, each system and operation by itself,
//! and what is over is refused with the time to come again.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use popgate::app::config::Config;
use popgate_demo::client::{Answer, ClientError, Http, Session, get, post};
use popgate_demo::deployment::Site;
use popgate_demo::register::demo::HOA;
use popgate_demo::register::{Citizen, Fault, Number, population};
use popgate_demo::scenario::{LOOKUP, VERIFY, keys_of_hoa, read_path};
use popgate_tests::made::{edit, write};
use popgate_tests::{Harness, eventually, refusal};
use serde_json::json;
use tokio::task::JoinHandle;

#[tokio::test]
async fn the_sixth_at_once_of_five_a_second_is_told_when_to_come_again() {
    let harness = Harness::start();
    let mut other = harness.session("telecom-a/crm").await;
    let mut session = harness.client_over("telecom-b/crm", Http::Two).connect().await.unwrap();
    // The record is cached and the policies are compiled: from here on an answer takes no time that matters.
    assert_eq!(ask(&mut other, lookup()).await, "200 ");
    for round in 0..2 {
        let begun = Instant::now();
        let mut shown = 0;
        let over = loop {
            let answer = session.send(lookup()).await.unwrap();
            if answer.status != StatusCode::OK {
                break answer;
            }
            shown += 1;
        };
        // A machine that is busy may take so long that a token more has come.
        let more = u32::try_from(begun.elapsed().as_millis() / 200).unwrap();
        assert!((5..=5 + more).contains(&shown), "round {round}: {shown} passed in {:?}", begun.elapsed());
        assert_eq!(refusal(&over), "429 rate_exceeded");
        let wait = retry_after(&over);
        assert_eq!(wait, Duration::from_secs(1));
        assert_eq!(ask(&mut other, lookup()).await, "200 ", "another system is not affected");
        // The time that was told is enough, and refills all five.
        tokio::time::sleep(wait).await;
    }
}

#[tokio::test]
async fn rates_count_by_system_and_by_operation() {
    let harness = Harness::start_made(
        "",
        |site| {
            write(site, "agencies/telecom-c.toml", &telecom_c(["crm", "shops"], "6/m", 3, 8, "citizen.verify", 1));
        },
        |_| {},
    );
    let mut crm = harness.session("telecom-c/crm").await;
    for expected in ["200 ", "200 ", "200 ", "429 rate_exceeded", "429 rate_exceeded"] {
        assert_eq!(ask(&mut crm, lookup()).await, expected);
    }
    let over = crm.send(lookup()).await.unwrap();
    // One token in ten seconds; whole seconds, rounded up.
    assert!((1..=10).contains(&retry_after(&over).as_secs()), "{:?}", over.headers);
    // An operation with its own rate has its own burst, and the first one's use does not count against it.
    for expected in ["200 ", "429 rate_exceeded"] {
        assert_eq!(ask(&mut crm, verify()).await, expected);
    }
    // A third one is still whole: what it answers does not matter.
    for expected in ["403 policy_denied", "403 policy_denied", "403 policy_denied", "429 rate_exceeded"] {
        assert_eq!(ask(&mut crm, read(HOA.number)).await, expected);
    }
    // The same system over another connection and protocol is the same system.
    let mut again = harness.client_over("telecom-c/crm", Http::Two).connect().await.unwrap();
    assert_eq!(ask(&mut again, lookup()).await, "429 rate_exceeded");
    for other in ["telecom-c/shops", "telecom-a/crm", "telecom-b/crm"] {
        assert_eq!(ask(&mut harness.session(other).await, lookup()).await, "200 ", "{other}");
    }
}

#[tokio::test]
async fn a_reload_changes_the_limits_that_changed_and_forgives_nothing_else() {
    let file = |burst| telecom_c(["crm", "shops"], "6/m", burst, 8, "citizen.verify", 1);
    let harness = Harness::start_made("", |site| write(site, "agencies/telecom-c.toml", &file(2)), |_| {});
    let mut crm = harness.session("telecom-c/crm").await;
    for expected in ["200 ", "200 ", "429 rate_exceeded"] {
        assert_eq!(ask(&mut crm, lookup()).await, expected);
    }
    // Something else in the bundle changes: what was used stays used.
    let purposes = std::fs::read_to_string(harness.deployment.site.bundle().join("purposes.toml")).unwrap();
    harness.reload("purposes.toml", &purposes.replace("Tax assessment", "Assessment of taxes")).await;
    assert_eq!(ask(&mut crm, lookup()).await, "429 rate_exceeded");
    // More is allowed now, on the connection that is open; then less.
    harness.reload("agencies/telecom-c.toml", &file(4)).await;
    for expected in ["200 ", "200 ", "200 ", "200 ", "429 rate_exceeded"] {
        assert_eq!(ask(&mut crm, lookup()).await, expected);
    }
    harness.reload("agencies/telecom-c.toml", &file(1)).await;
    for expected in ["200 ", "429 rate_exceeded"] {
        assert_eq!(ask(&mut crm, lookup()).await, expected);
    }
}

#[tokio::test]
async fn one_more_than_the_slots_is_refused_until_an_answer_is_complete() {
    let harness = slow_register(3);
    let faults = &harness.deployment.register.faults;
    faults.set_everyone(Fault { delay_head: Some(Duration::from_secs(2)), ..Fault::default() });
    let waiting = in_flight(&harness, 3, Http::One).await;
    let mut session = harness.session("tax/etax").await;
    let over = session.send(read(population::citizen(100))).await.unwrap();
    assert_eq!(refusal(&over), "429 concurrency_exceeded");
    assert_eq!(retry_after(&over), Duration::from_secs(1));
    assert_eq!(faults.requests(), 3, "what is refused does not reach the register");
    assert!(waiting.iter().all(|task| !task.is_finished()));
    // Another system of the same agency has its own slots.
    let mut other = harness.session("tax/inspection").await;
    faults.set(HOA.number, Fault::default());
    assert_eq!(ask(&mut other, get(&read_path(HOA.number), Some("assessment"))).await, "200 ");
    for task in waiting {
        assert_eq!(task.await.unwrap().unwrap().status, StatusCode::OK);
    }
    // All three are free again, at once.
    let again = in_flight(&harness, 3, Http::One).await;
    assert_eq!(ask(&mut session, read(population::citizen(100))).await, "429 concurrency_exceeded");
    drop(again);
}

#[tokio::test]
async fn a_client_that_goes_away_gives_its_slots_back() {
    let harness = slow_register(2);
    let faults = &harness.deployment.register.faults;
    faults.set_everyone(Fault { delay_head: Some(Duration::from_secs(60)), ..Fault::default() });
    faults.set(HOA.number, Fault::default());
    let mut session = harness.session("tax/etax").await;
    for http in [Http::One, Http::Two] {
        let waiting = in_flight(&harness, 2, http).await;
        assert_eq!(ask(&mut session, read(HOA.number)).await, "429 concurrency_exceeded");
        for task in waiting {
            task.abort();
        }
        admitted_again(&mut session).await;
    }
}

#[tokio::test]
async fn a_client_that_reads_slowly_keeps_its_slot_until_it_has_read() {
    let harness = slow_register(1);
    let long = long_record(HOA.number);
    harness.deployment.register.faults.set(HOA.number, Fault { body: Some(long.clone()), ..Fault::default() });
    let tls = harness.client_over("tax/etax", Http::Two).connect_tls().await.unwrap();
    // The client takes a little of the answer, and no more until it reads.
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(1000)
        .handshake::<_, Full<Bytes>>(TokioIo::new(tls))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("https://localhost{}", read_path(HOA.number))).body(Full::default()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);

    let mut session = harness.session("tax/etax").await;
    let other = population::citizen(1);
    for _ in 0..3 {
        assert_eq!(ask(&mut session, read(other)).await, "429 concurrency_exceeded");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body.len() > 30_000, "{} bytes of {}", body.len(), long.len());
    admitted_again(&mut session).await;
}

/// `telecom-c` with two systems of these limits, and a burst of its own for one operation.
fn telecom_c(systems: [&str; 2], rate: &str, burst: u32, concurrent: u32, operation: &str, own: u32) -> String {
    let mut text = String::from(
        "name = { vi = \"Viễn thông Mây Trắng\", en = \"May Trang Telecom\" }\nsector = \"telecom\"\nlevel = \"private\"\n\
         purposes = [\"subscriber-verification\"]\n",
    );
    for (at, system) in systems.into_iter().enumerate() {
        // The limits under test are the first system's.
        let (rate, burst) = if at == 0 { (rate, burst) } else { ("100/s", 100) };
        text.push_str(&format!(
            "[systems.{system}]\nidentity = \"spiffe://gov.vn/telecom-c/{system}\"\n\
             limits = {{ rate = \"{rate}\", burst = {burst}, concurrent = {concurrent}, \
             operations = {{ \"{operation}\" = {{ rate = \"{rate}\", burst = {own} }} }} }}\n"
        ));
    }
    text
}

/// A deployment where `tax/etax` has so many slots, and the register much time.
fn slow_register(concurrent: u32) -> Harness {
    let slots = |site: &Site| edit(site, "agencies/tax.toml", "concurrent = 64", &format!("concurrent = {concurrent}"));
    let patient = |config: &mut Config| {
        config.registers.values_mut().for_each(|register| register.deadline = Duration::from_secs(90));
    };
    Harness::start_made("", slots, patient)
}

/// So many requests of `tax/etax`, about different persons, each over a connection of its own, that wait for the register.
async fn in_flight(harness: &Harness, count: u64, http: Http) -> Vec<JoinHandle<Result<Answer, ClientError>>> {
    let faults = &harness.deployment.register.faults;
    let before = faults.requests();
    let mut waiting = Vec::new();
    for n in 0..count {
        let mut session = harness.client_over("tax/etax", http).connect().await.unwrap();
        // Other persons each time: nobody's record is cached.
        let person = population::citizen(1000 + before * 10 + n);
        waiting.push(tokio::spawn(async move { session.send(read(person)).await }));
    }
    eventually("all have reached the register", || faults.requests() == before + count).await;
    waiting
}

/// Asks until there is a slot, for at most ten seconds.
async fn admitted_again(session: &mut Session) {
    let begun = Instant::now();
    loop {
        match &*ask(session, read(HOA.number)).await {
            "200 " => return,
            refused => assert_eq!(refused, "429 concurrency_exceeded"),
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "the slots do not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A record as long as one may be, nearly.
fn long_record(number: Number) -> Bytes {
    let mut record = serde_json::to_value(Citizen::of(number).unwrap()).unwrap();
    let names: Vec<String> = (0..2000).map(|n| format!("Lê Thị Hoa {n}")).collect();
    record.as_object_mut().unwrap().insert("other_names".into(), json!(names));
    Bytes::from(record.to_string())
}

fn lookup() -> Request<Full<Bytes>> {
    post(LOOKUP, None, &keys_of_hoa())
}

fn verify() -> Request<Full<Bytes>> {
    post(VERIFY, None, &keys_of_hoa())
}

fn read(number: Number) -> Request<Full<Bytes>> {
    get(&read_path(number), None)
}

async fn ask(session: &mut Session, request: Request<Full<Bytes>>) -> String {
    refusal(&session.send(request).await.unwrap())
}

fn retry_after(answer: &Answer) -> Duration {
    Duration::from_secs(answer.headers.get("retry-after").unwrap().to_str().unwrap().parse().unwrap())
}
