//! Promise: a register of several targets is asked at those that are well; one that dies, hangs, fails or is slow costs its callers
//! hardly a request, and is asked again when it is well; where none is well, nobody waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use popgate::app::Running;
use popgate_demo::client::{Answer, Client, Http, get};
use popgate_demo::deployment::{Options, Register, Site};
use popgate_demo::register::population::citizen;
use popgate_demo::register::{Fault, Service};
use popgate_demo::scenario::read_path;
use popgate_tests::{eventually, refusal};

/// A gateway in front of several registers that hold the same.
struct Row {
    registers: Vec<Register>,
    gateway: Running,
    client: Client,
    site: Site,
    _dir: tempfile::TempDir,
}

impl Row {
    /// Without a cache, so that each request is seen.
    fn of(count: usize, population: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let site = Site::make(dir.path()).unwrap();
        let registers: Vec<Register> = (0..count).map(|_| Register::start(&site).unwrap()).collect();
        let options = Options {
            replicas: registers[1..].iter().map(|register| register.address).collect(),
            population: population.to_owned(),
            settings: "\n[cache]\ncapacity = 0\n[overload]\nmode = \"off\"\n".into(),
            cores: 1,
            ..Options::default()
        };
        let gateway = site.start_gateway(registers[0].address, &options).unwrap();
        let client = Client::new(gateway.https(), &site.credentials("tax/etax").unwrap(), Http::Two).unwrap();
        Self { registers, gateway, client, site, _dir: dir }
    }

    async fn ask(&self, at: u64) -> Answer {
        self.client.send(get(&read_path(citizen(at * 7919)), Some("assessment"))).await.unwrap()
    }

    /// Asks so often one after the other; how many were not answered, and the longest time.
    async fn ask_many(&self, times: u64) -> (u64, Duration) {
        let (mut bad, mut longest) = (0, Duration::ZERO);
        for at in 0..times {
            let began = Instant::now();
            let answer = self.ask(at).await;
            longest = longest.max(began.elapsed());
            bad += u64::from(!matches!(answer.status, StatusCode::OK | StatusCode::NOT_FOUND));
        }
        (bad, longest)
    }

    /// Asks so often at once; how many were not answered.
    async fn ask_at_once(&self, times: u64) -> u64 {
        let ask = |at: u64| {
            let (client, request) = (self.client.clone(), get(&read_path(citizen(at * 7919)), Some("assessment")));
            tokio::spawn(async move { client.send(request).await.unwrap().status })
        };
        let mut bad = 0;
        for task in (0..times).map(ask).collect::<Vec<_>>() {
            bad += u64::from(!matches!(task.await.unwrap(), StatusCode::OK | StatusCode::NOT_FOUND));
        }
        bad
    }

    fn asked(&self) -> Vec<u64> {
        self.registers.iter().map(|register| register.faults.requests()).collect()
    }

    /// Of each target, whether it gets requests.
    fn up(&self) -> Vec<bool> {
        let (registers, now) = (self.gateway.node().registers(), Instant::now());
        let (_, population) = registers.all().find(|(id, _)| id.as_str() == "population").unwrap();
        let targets = population.fleet.targets();
        targets.iter().map(|target| target.standing(now) == popgate::forward::health::Standing::In).collect()
    }

    fn metric(&self, name: &str) -> u64 {
        let text = self.gateway.node().metrics.encode();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

fn storm(status: StatusCode) -> Fault {
    Fault { status: Some(status), ..Fault::default() }
}

#[tokio::test]
async fn equals_share_the_load_and_one_that_dies_costs_nobody_an_answer() {
    let mut row = Row::of(3, "eject = { for = \"500ms\" }\nslow_start = \"0s\"");
    // Each takes its time, so that who is busy shows.
    let busy = Fault { delay_head: Some(Duration::from_millis(100)), ..Fault::default() };
    row.registers.iter().for_each(|register| register.faults.set_everyone(busy.clone()));
    for _ in 0..3 {
        assert_eq!(row.ask_at_once(30).await, 0);
    }
    let before = row.asked();
    assert!(before.iter().all(|count| *count >= 10), "{before:?}");
    row.registers.iter().for_each(|register| register.faults.clear());

    let (address, dead) = (row.registers[1].address, row.registers.remove(1));
    drop(dead);
    let began = Instant::now();
    while row.up() != [true, false, true] {
        assert!(began.elapsed() < Duration::from_secs(10), "it is not ejected: {:?}", row.up());
        assert_eq!(row.ask_at_once(20).await, 0, "another is asked instead");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(row.metric("popgate_upstream_ejections_total{cause=\"consecutive\",register=\"population\"}") >= 1);

    let back = Register::start_at(&row.site, Service::default(), address.port()).unwrap();
    row.registers.insert(1, back);
    // Whoever asks finds out.
    let began = Instant::now();
    while row.up() != [true, true, true] {
        assert!(began.elapsed() < Duration::from_secs(10), "it is not in again: {:?}", row.up());
        assert_eq!(row.ask_many(1).await.0, 0);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    row.registers.iter().for_each(|register| register.faults.set_everyone(busy.clone()));
    let mut bad = 0;
    for _ in 0..3 {
        bad += row.ask_at_once(30).await;
    }
    assert!(bad == 0 && row.registers[1].faults.requests() >= 5, "{bad} {:?}", row.asked());
    row.gateway.drain().await;
}

#[tokio::test]
async fn a_storm_of_errors_is_answered_by_the_others_within_the_budget() {
    let row = Row::of(2, "retry = { percent = 20, per_second = 1 }\neject = { for = \"60s\" }");
    assert_eq!(row.ask_many(40).await.0, 0);
    row.registers[0].faults.set_everyone(storm(StatusCode::INTERNAL_SERVER_ERROR));
    let (bad, _) = row.ask_many(100).await;
    assert_eq!(bad, 0);
    assert_eq!(row.up(), [false, true]);
    let retries = row.metric("popgate_upstream_tries_total{kind=\"retry\",register=\"population\"}");
    assert!((5..=10).contains(&retries), "{retries}: five failed before it was ejected");
    // Half of what the other one is asked fails too: second tries find nobody, and nothing is asked thrice.
    row.registers[1].faults.set_everyone(storm(StatusCode::BAD_GATEWAY));
    let before: u64 = row.asked().iter().sum();
    let (bad, _) = row.ask_many(15).await;
    let asked = row.asked().iter().sum::<u64>() - before;
    assert!(bad == 15 && asked <= 30, "{bad} {asked}");
    row.gateway.drain().await;
}

#[tokio::test]
async fn one_whose_answers_cannot_be_believed_is_ejected_as_one_that_fails() {
    let row = Row::of(2, "eject = { for = \"60s\" }");
    assert_eq!(row.ask_many(20).await.0, 0);
    // Whoever is asked for, it answers about one and the same.
    let one = bytes::Bytes::from(popgate_demo::register::Citizen::of(citizen(1)).unwrap().to_json());
    row.registers[0].faults.set_everyone(Fault { body: Some(one), ..Fault::default() });
    let mut bad = 0;
    while row.up() != [false, true] {
        bad += row.ask_many(4).await.0;
        assert!(bad < 40, "it goes on answering about somebody else");
    }
    assert_eq!(row.ask_many(20).await.0, 0);
    row.gateway.drain().await;
}

#[tokio::test]
async fn one_that_hangs_is_not_waited_for_until_the_deadline() {
    let row = Row::of(2, "deadline = \"4s\"\ntry_timeout = \"200ms\"\nretry = { per_second = 10 }");
    assert_eq!(row.ask_many(20).await.0, 0);
    row.registers[0].faults.set_everyone(Fault { delay_head: Some(Duration::from_secs(30)), ..Fault::default() });
    let (bad, longest) = row.ask_many(30).await;
    assert_eq!(bad, 0);
    assert!(longest < Duration::from_secs(3), "{longest:?}");
    // A body that drips is no better than none.
    row.registers[0].faults.set_everyone(Fault { delay_body: Some(Duration::from_secs(30)), ..Fault::default() });
    let (bad, longest) = row.ask_many(30).await;
    assert!(bad == 0 && longest < Duration::from_secs(3), "{bad} {longest:?}");
    row.gateway.drain().await;
}

#[tokio::test]
async fn a_register_that_fails_whole_is_not_asked_for_a_while_and_answers_again_by_itself() {
    let row = Row::of(1, "breaker = { least_requests = 10, for = \"400ms\" }");
    let faults = &row.registers[0].faults;
    faults.set_everyone(storm(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(row.ask_many(30).await.0, 30);
    let asked = faults.requests();
    assert!((10..=12).contains(&asked), "{asked}: then nobody asks");
    let answer = row.ask(1).await;
    assert_eq!(refusal(&answer), "503 register_unavailable");
    assert_eq!(answer.headers["proxy-status"], "popgate; error=destination_unavailable");
    assert!(answer.headers.contains_key("retry-after"));
    assert!(row.metric("popgate_upstream_breaker_refusals_total{register=\"population\"}") >= 15);
    faults.clear();
    let began = Instant::now();
    while row.ask_many(1).await.0 > 0 || row.gateway.node().registers().all().any(|(_, it)| it.fleet.is_open()) {
        assert!(began.elapsed() < Duration::from_secs(20), "it is still not asked");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(row.ask_many(20).await.0, 0);
    row.gateway.drain().await;
}

#[tokio::test]
async fn checks_take_a_target_out_and_bring_it_back_without_any_request() {
    let check = "check = { path = \"/healthz\", every = \"50ms\", timeout = \"500ms\", healthy = 2, unhealthy = 2 }";
    let mut row = Row::of(2, check);
    let address = row.registers[1].address;
    drop(row.registers.remove(1));
    eventually("it is unhealthy", || row.up() == [true, false]).await;
    assert_eq!(row.ask_many(20).await.0, 0);
    row.registers.push(Register::start_at(&row.site, Service::default(), address.port()).unwrap());
    eventually("it is well again", || row.up() == [true, true]).await;
    row.gateway.drain().await;
}

#[tokio::test]
async fn who_is_slow_is_overtaken_by_a_hedged_request() {
    let row = Row::of(2, "hedge = { after = \"50ms\", percent = 100 }");
    assert_eq!(row.ask_many(20).await.0, 0);
    // The one that would be asked next.
    let before = row.asked();
    assert_eq!(row.ask_many(1).await.0, 0);
    let next = row.asked().iter().zip(&before).position(|(after, before)| after > before).unwrap();
    let slow = Fault { delay_head: Some(Duration::from_millis(900)), ..Fault::default() };
    row.registers[next].faults.set_everyone(slow);
    let mut longest = Duration::ZERO;
    for at in 0..10 {
        let began = Instant::now();
        assert!(matches!(row.ask(at).await.status, StatusCode::OK | StatusCode::NOT_FOUND));
        longest = longest.max(began.elapsed());
    }
    assert!(longest < Duration::from_millis(800), "{longest:?}");
    assert!(row.metric("popgate_upstream_tries_total{kind=\"hedge_won\",register=\"population\"}") >= 1);
    row.gateway.drain().await;
}

#[tokio::test]
async fn the_same_person_is_asked_for_at_the_same_target() {
    let row = Row::of(3, "balance = \"subject\"");
    let mut where_asked = Vec::new();
    for round in 0..2 {
        for at in 0..20 {
            let before = row.asked();
            row.ask(at).await;
            let after = row.asked();
            let target = before.iter().zip(&after).position(|(before, after)| before != after).unwrap();
            if round == 0 { where_asked.push(target) } else { assert_eq!(where_asked[at as usize], target) }
        }
    }
    assert!((0..3).all(|target| where_asked.contains(&target)), "{where_asked:?}");
    row.gateway.drain().await;
}

#[tokio::test]
async fn over_http_2_many_requests_share_a_connection_and_each_says_how_long_it_is_waited_for() {
    let row = Row::of(1, "protocol = \"h2\"");
    row.registers[0].faults.keep_received();
    let row = Arc::new(row);
    let tasks: Vec<_> = (0..30)
        .map(|at| {
            let row = Arc::clone(&row);
            tokio::spawn(async move { row.ask(at).await.status })
        })
        .collect();
    for task in tasks {
        assert!(matches!(task.await.unwrap(), StatusCode::OK | StatusCode::NOT_FOUND));
    }
    assert_eq!(row.registers[0].faults.connections(), 1);
    let received = row.registers[0].faults.received();
    assert!(received.len() >= 30);
    for request in &received {
        let left: u64 = request.headers["gateway-deadline-ms"].to_str().unwrap().parse().unwrap();
        assert!((1..=2000).contains(&left), "{left}");
    }
    // One that does not offer it is told so, and never asked.
    let plain = Row::of(1, "protocol = \"auto\"");
    assert_eq!(plain.ask_many(5).await.0, 0);
    plain.gateway.drain().await;
}

#[tokio::test]
async fn only_a_certificate_of_the_right_name_is_believed() {
    let row = Row::of(1, "server_name = \"elsewhere.gov.vn\"");
    assert_eq!(refusal(&row.ask(1).await), "503 register_unavailable");
    assert_eq!(row.registers[0].faults.requests(), 0);
    row.gateway.drain().await;
}
