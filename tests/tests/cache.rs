//! Promise: a stored record changes how fast an answer comes, never what it says, who may see it, or what is recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode};
use popgate::app::Node;
use popgate_demo::client::{Answer, Client, Http, Session, get, post};
use popgate_demo::deployment::{Options, Register, Site};
use popgate_demo::register::demo::{ALL, DECEASED, HOA, HUSBAND, Known, MINOR, RESIDENT_OF_079, SON};
use popgate_demo::register::population::citizen;
use popgate_demo::register::{Citizen, Fault, Number};
use popgate_demo::scenario::{LOOKUP, VERIFY, read_path};
use popgate_policy::directory::Identity;
use popgate_tests::{Harness, eventually, refusal};
use serde_json::{Value, json};

type Request = http::Request<http_body_util::Full<bytes::Bytes>>;

#[tokio::test]
async fn one_stored_record_under_1000_permits_equals_the_uncached_answers_in_10000_requests() {
    const PERMITS: usize = 1_000;
    const REQUESTS: usize = 10_000;
    // A wrong claim is a failed guess; here nobody guesses too often.
    let guesses = "\n[guesses]\nper_subject = 1000000\nper_agency = 1000000\n";
    let settings = |more: &str| Options { settings: format!("{guesses}{more}"), ..Options::default() };
    let dir = tempfile::tempdir().unwrap();
    let site = Site::make(dir.path()).unwrap();
    lift_limits(&site);
    let contract = site.bundle().join("contracts/population.openapi.yaml");
    let text = std::fs::read_to_string(&contract).unwrap();
    std::fs::write(&contract, text.replace("fresh: 60s", "fresh: 24h, no-match: 60s")).unwrap();
    let register = Register::start(&site).unwrap();
    let gateway = site.start_gateway(register.address, &settings("\n[cache]\ncapacity = 0\n")).unwrap();
    // For a day, so that the time that this takes says nothing.
    let day = HeaderValue::from_static("max-age=86400");
    register.faults.set_everyone(Fault { cache_control: Some(day), ..Fault::default() });

    let mut questions = Questions::of(gateway.node());
    let mut callers = Callers::new(&site, gateway.https());
    let (mut asked, mut uncached, mut denied) = (Vec::new(), Vec::new(), BTreeSet::new());
    let (mut permits, mut refused) = (BTreeSet::new(), 0);
    while permits.len() < PERMITS {
        let question = questions.next();
        let known = permits.contains(&(question.permit(), question.number.digits()));
        if known || denied.contains(&question.permit()) {
            continue;
        }
        let answer = callers.ask(&question).await;
        match answer.status {
            StatusCode::OK => drop(permits.insert((question.permit(), question.number.digits()))),
            _ => {
                refused += 1;
                denied.insert(question.permit());
            }
        }
        asked.push(question);
        uncached.push(answer);
    }
    let systems: BTreeSet<&String> = asked.iter().map(|asked| &asked.system).collect();
    assert!(systems.len() > 40 && refused > 0, "{} systems, {refused} refused", systems.len());
    assert!(register.faults.requests() >= PERMITS as u64, "without a cache each answer is fetched");
    gateway.drain().await;

    // The same keys and files: pseudonyms are the same. Records are kept where they are wiped and not dumped.
    let gateway = site.start_gateway(register.address, &settings("\n[cache]\nwipe = true\nno_dump = true\n")).unwrap();
    let before = register.faults.requests();
    let mut callers = Callers::new(&site, gateway.https());
    for n in 0..REQUESTS {
        // Each once at least, and then by chance.
        let at = if n < asked.len() { n } else { questions.below(asked.len()) };
        let (asked, uncached) = (&asked[at], &uncached[at]);
        let cached = callers.ask(asked).await;
        assert_eq!((uncached.status, &uncached.body), (cached.status, &cached.body), "{asked:?}");
        assert_eq!(names(uncached), names(&cached), "{asked:?}");
    }
    let metrics = &gateway.node().metrics;
    let requests = register.faults.requests() - before;
    let hits = metrics.cache.requests.hit.get() + metrics.cache.requests.unknown.get();
    assert!(requests <= 2 * questions.numbers.len() as u64, "{requests} requests, {hits} hits");
    assert!(hits + requests >= (REQUESTS - refused * (1 + REQUESTS / asked.len())) as u64, "{requests} + {hits}");
    assert_eq!(gateway.node().cache.without_block(), 0);
}

#[tokio::test]
async fn fifty_requests_at_once_are_one_request_to_the_register() {
    let harness = Harness::start();
    let faults = &harness.deployment.register.faults;
    let mut sessions = Vec::new();
    for n in 0..50 {
        let (system, http) = if n % 2 == 0 { ("tax/etax", Http::One) } else { ("ha-noi/portal", Http::Two) };
        sessions.push(harness.client_over(system, http).connect().await.unwrap());
    }
    faults.set(HOA.number, Fault { delay_head: Some(Duration::from_secs(1)), ..Fault::default() });
    let asking = sessions.into_iter().enumerate().map(|(n, mut session)| {
        let purpose = if n % 2 == 0 { "assessment" } else { "residence-management" };
        tokio::spawn(async move { session.send(get(&read_path(HOA.number), Some(purpose))).await.unwrap() })
    });
    let asking: Vec<_> = asking.collect();
    for asked in asking {
        let answer = asked.await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.json()["full_name"], HOA.full_name);
    }
    assert_eq!(faults.requests(), 1);
    assert_eq!(harness.deployment.gateway.node().metrics.cache.requests.collapsed.get(), 49);

    // A failure fails nobody else at once, yet a register in trouble is not asked for each: once more for all others.
    let failing = http::StatusCode::INTERNAL_SERVER_ERROR;
    let delay = Some(Duration::from_millis(500));
    faults.set(SON.number, Fault { delay_head: delay, status: Some(failing), ..Fault::default() });
    let mut sessions = Vec::new();
    for _ in 0..10 {
        sessions.push(harness.session("tax/etax").await);
    }
    let asking = sessions.into_iter().map(|mut session| {
        tokio::spawn(async move { session.send(get(&read_path(SON.number), Some("assessment"))).await.unwrap() })
    });
    let asking: Vec<_> = asking.collect();
    for asked in asking {
        assert_eq!(refusal(&asked.await.unwrap()), "502 register_failed");
    }
    assert_eq!(faults.requests(), 3);
}

#[tokio::test]
async fn a_fetch_that_others_wait_for_goes_on_when_the_client_that_began_it_gives_up() {
    let harness = Harness::start();
    let faults = &harness.deployment.register.faults;
    for (http, number) in [(Http::One, HOA.number), (Http::Two, HUSBAND.number)] {
        faults.set(number, Fault { delay_head: Some(Duration::from_millis(800)), ..Fault::default() });
        let (asked, recorded) = (faults.requests(), harness.deployment.gateway.node().audit.stats().records);
        let connect = async |http| harness.client_over("tax/etax", http).connect().await.unwrap();
        let ask = |mut session: Session| async move { session.send(get(&read_path(number), Some("assessment"))).await };
        let leader = tokio::spawn(ask(connect(http).await));
        eventually("the leader's request is with the register", || faults.requests() == asked + 1).await;
        let follower = tokio::spawn(ask(connect(Http::One).await));
        let records = || harness.deployment.gateway.node().audit.stats().records;
        eventually("both intents are recorded", || records() == recorded + 2).await;
        // What it waits for is looked up right after that.
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(faults.requests(), asked + 1);
        leader.abort();
        let answer = follower.await.unwrap().unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{http:?}");
        assert_eq!(faults.requests(), asked + 1, "{http:?}: the register was asked once");
    }
}

#[tokio::test]
async fn a_record_is_fresh_as_long_as_the_register_says_and_then_asked_about() {
    let harness = Harness::start();
    let faults = &harness.deployment.register.faults;
    faults.keep_received();
    let mut session = harness.session("tax/etax").await;
    let said = |value: &'static str| Fault { cache_control: Some(HeaderValue::from_static(value)), ..Fault::default() };

    // The register's `Date` is in whole seconds: one of the three may be over when the record comes.
    faults.set(HOA.number, said("max-age=3"));
    let since = Instant::now();
    let first = read(&mut session, HOA).await;
    assert_eq!(read(&mut session, HOA).await.body, first.body);
    if since.elapsed() < Duration::from_secs(2) {
        assert_eq!(faults.requests(), 1, "within its time it is fresh");
    }
    while faults.requests() == 1 {
        assert!(since.elapsed() < Duration::from_secs(8), "its time is over");
        let answer = read(&mut session, HOA).await;
        assert_eq!((answer.status, &answer.body), (StatusCode::OK, &first.body));
        if faults.requests() > 1 {
            assert!(since.elapsed() >= Duration::from_secs(2), "asked again after {:?}", since.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let received = faults.received();
    let asked: Vec<bool> = received.iter().map(|request| request.headers.contains_key("if-none-match")).collect();
    assert_eq!(asked, [false, true], "the second time it was asked whether it changed");
    read(&mut session, HOA).await;
    assert_eq!(faults.requests(), 2, "not modified: fresh again");

    // What may not be stored, or not be used without asking, is asked for each time.
    let validators = [
        (HUSBAND, "no-store", false),
        (SON, "private, max-age=60", false),
        (MINOR, "no-cache, max-age=60", true),
        (DECEASED, "max-age=0", true),
        (RESIDENT_OF_079, "", true),
    ];
    for (known, says, asks_about) in validators {
        faults.set(known.number, said(says));
        let before = faults.requests();
        faults.keep_received();
        let bodies = [read(&mut session, known).await, read(&mut session, known).await].map(|answer| answer.body);
        assert_eq!(bodies[0], bodies[1], "`{says}`");
        assert_eq!(faults.requests(), before + 2, "`{says}`");
        let second = faults.received().pop().unwrap();
        assert_eq!(second.headers.contains_key("if-none-match"), asks_about, "`{says}`: {:?}", second.headers);
    }
}

#[tokio::test]
async fn the_contract_only_shortens_and_bounds_how_long_a_stale_record_stands_in() {
    let harness = Harness::start();
    let faults = &harness.deployment.register.faults;
    rule(&harness, "fresh: 2s, stale-if-error: 2s");
    let node = harness.deployment.gateway.node();
    let mut session = harness.session("tax/etax").await;
    let strict = HeaderValue::from_static("max-age=60, must-revalidate");
    faults.set(SON.number, Fault { cache_control: Some(strict), ..Fault::default() });

    let since = Instant::now();
    let shown = read(&mut session, HOA).await;
    let kept = Instant::now();
    assert_eq!(read(&mut session, SON).await.status, StatusCode::OK);
    let both_kept = Instant::now();
    let failing = Fault { status: Some(StatusCode::INTERNAL_SERVER_ERROR), ..Fault::default() };
    faults.set_everyone(failing.clone());
    faults.set(SON.number, failing);
    // Fresh for two seconds, of which the register's `Date` may take one, though it said a minute; then it stands in for two.
    let (mut stale, mut last_shown) = (0, Duration::ZERO);
    loop {
        let before = (kept.elapsed(), node.metrics.cache.requests.stale.get());
        let answer = read(&mut session, HOA).await;
        let stood_in = node.metrics.cache.requests.stale.get() > before.1;
        if answer.status != StatusCode::OK {
            assert_eq!(refusal(&answer), "502 register_failed");
            assert!(since.elapsed() >= Duration::from_secs(3), "given up after {:?}", since.elapsed());
            break;
        }
        assert_eq!(answer.body, shown.body);
        assert!(!stood_in || since.elapsed() >= Duration::from_secs(1), "stale while fresh");
        stale += u32::from(stood_in);
        last_shown = before.0;
        if both_kept.elapsed() >= Duration::from_secs(2) {
            let answer = read(&mut session, SON).await;
            assert_eq!(refusal(&answer), "502 register_failed", "never stale past must-revalidate");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(stale > 2, "it stood in {stale} times");
    assert!(last_shown < Duration::from_secs(4), "it still stood in after {last_shown:?}");
    assert!(faults.requests() >= 2 + u64::from(stale), "the register was asked each time");
}

#[tokio::test]
async fn a_stored_record_is_guarded_redacted_limited_and_recorded_like_any_other() {
    let harness = Harness::start();
    let (faults, node) = (&harness.deployment.register.faults, harness.deployment.gateway.node());
    let mut tax = harness.session("tax/etax").await;
    let open = read(&mut tax, HOA).await;
    assert_eq!(faults.requests(), 1);
    let keys =
        |name: &str| json!({"id": HOA.number.to_string(), "full_name": name, "date_of_birth": HOA.date_of_birth});

    let wrong = tax.send(post(LOOKUP, Some("assessment"), &keys("Lê Thị Huệ"))).await.unwrap();
    assert_eq!(refusal(&wrong), "404 no_match");
    let mut telecom = harness.session("telecom-a/crm").await;
    let masked = telecom.send(post(LOOKUP, Some("subscriber-verification"), &keys(HOA.full_name))).await.unwrap();
    assert_eq!(masked.status, StatusCode::OK);
    assert_eq!(masked.json()["date_of_birth"], 1987);
    assert_ne!(masked.json()["phone"], open.json()["phone"]);
    assert_eq!(masked.json().get("full_name").filter(|name| name.is_string()), None);
    let denied = telecom.send(get(&read_path(HOA.number), Some("subscriber-verification"))).await.unwrap();
    assert_eq!(denied.status, StatusCode::FORBIDDEN);
    assert_eq!(faults.requests(), 2, "but for \"no match\", all of that was answered from the cache");

    // An intent and a closing record for each answer; the one that was denied is a record of its own.
    eventually("all of that is recorded", || node.audit.stats().records == 3 * 2 + 1).await;
    for _ in 0..5 {
        let hit = read(&mut tax, HOA).await;
        assert_eq!(hit.body, open.body);
        assert_eq!(hit.headers["cache-control"], "private, no-store");
    }
    eventually("each hit is recorded", || node.audit.stats().records == 8 * 2 + 1).await;
    assert_eq!(faults.requests(), 2);
}

/// Sets the rule of the population's records.
fn rule(harness: &Harness, rule: &str) {
    let contract = harness.deployment.site.bundle().join("contracts/population.openapi.yaml");
    let text = std::fs::read_to_string(&contract).unwrap();
    let usual = "fresh: 60s, stale-if-error: 10m";
    assert_eq!(text.matches(usual).count(), 3);
    std::fs::write(&contract, text.replace(usual, rule)).unwrap();
    harness.deployment.gateway.node().reload_bundle().unwrap();
}

#[tokio::test]
async fn a_stale_record_is_answered_with_while_it_is_fetched_anew() {
    let harness = Harness::start();
    rule(&harness, "fresh: 1s, stale-while-revalidate: 10m");
    let (faults, node) = (&harness.deployment.register.faults, harness.deployment.gateway.node());
    let mut session = harness.session("tax/etax").await;
    let old = read(&mut session, HOA).await;
    let mut renamed = Citizen::of(HOA.number).unwrap();
    renamed.full_name = "Lê Thị Hoa Mai".to_owned();
    faults.set(HOA.number, Fault { body: Some(renamed.to_json().into()), ..Fault::default() });
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let stale = read(&mut session, HOA).await;
    assert_eq!(stale.body, old.body, "the answer does not wait for the register");
    eventually("the register was asked meanwhile", || faults.requests() == 2).await;
    let since = Instant::now();
    while read(&mut session, HOA).await.json()["full_name"] != "Lê Thị Hoa Mai" {
        assert!(since.elapsed() < Duration::from_secs(10), "what was fetched meanwhile is answered with");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(node.metrics.cache.requests.meanwhile.get() >= 1);
}

#[tokio::test]
async fn an_agency_is_told_of_its_own_fills_alone_and_may_have_the_register_asked() {
    let harness = Harness::start();
    let faults = &harness.deployment.register.faults;
    let (mut tax, mut telecom) = (harness.session("tax/etax").await, harness.session("telecom-a/crm").await);
    let first = read(&mut tax, HOA).await;
    let own = read(&mut tax, HOA).await;
    assert!(!first.headers.contains_key("cache-status") && !first.headers.contains_key("age"));
    let told = own.headers["cache-status"].to_str().unwrap();
    assert!(told.starts_with("popgate; hit; ttl="), "{told}");
    let ttl: u64 = told.rsplit('=').next().unwrap().parse().unwrap();
    let age: u64 = own.headers["age"].to_str().unwrap().parse().unwrap();
    assert!((59..=60).contains(&(ttl + age)), "{told}, {age}");
    let keys = json!({"id": HOA.number.to_string(), "full_name": HOA.full_name, "date_of_birth": HOA.date_of_birth});
    let other = telecom.send(post(LOOKUP, Some("subscriber-verification"), &keys)).await.unwrap();
    assert_eq!((other.status, faults.requests()), (StatusCode::OK, 1));
    assert!(!other.headers.contains_key("cache-status") && !other.headers.contains_key("age"));

    let young = |value: &'static str| {
        let mut request = get(&read_path(HOA.number), Some("assessment"));
        request.headers_mut().insert("cache-control", HeaderValue::from_static(value));
        request
    };
    for (says, asks) in [("no-cache", 1), ("max-age=0", 1), ("max-age=600", 0), ("only-if-cached, no-store", 0)] {
        let before = faults.requests();
        let answer = tax.send(young(says)).await.unwrap();
        assert_eq!((answer.status, &answer.body), (StatusCode::OK, &first.body), "`{says}`");
        assert_eq!(faults.requests() - before, asks, "`{says}`");
    }
    // Whether something is stored is nobody's business: what is not is fetched.
    let mut request = get(&read_path(SON.number), Some("assessment"));
    request.headers_mut().insert("cache-control", HeaderValue::from_static("only-if-cached"));
    assert_eq!(tax.send(request).await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn no_match_asks_the_register_as_often_whether_or_not_there_is_a_record() {
    let harness = Harness::start_with("\n[guesses]\nper_subject = 1000000\nper_agency = 1000000\n");
    rule(&harness, "fresh: 60s, no-match: 60s");
    let faults = &harness.deployment.register.faults;
    let mut tax = harness.session("tax/etax").await;
    // That records are fresh for a minute must have been seen.
    read(&mut tax, SON).await;
    let unknown: Number = "001099999999".parse().unwrap();
    let mut seen = Vec::new();
    for number in [HUSBAND.number, unknown] {
        let keys = json!({"id": number.to_string(), "full_name": "Ai Đó", "date_of_birth": "1990-01-01"});
        let mut requests = Vec::new();
        for _ in 0..4 {
            let before = faults.requests();
            let answer = tax.send(post(LOOKUP, Some("assessment"), &keys)).await.unwrap();
            assert_eq!(refusal(&answer), "404 no_match");
            let mut told: Vec<String> = answer.headers.keys().map(|name| name.as_str().to_owned()).collect();
            told.sort();
            requests.push((faults.requests() - before, told, answer.body.len()));
        }
        seen.push(requests);
    }
    assert_eq!(seen[0], seen[1], "the same requests, headers and lengths");
    let asked: Vec<u64> = seen[0].iter().map(|(asked, ..)| *asked).collect();
    assert_eq!(asked, [1, 0, 0, 0]);
    // Who may see the record is not answered "no match" for that.
    assert_eq!(read(&mut tax, HUSBAND).await.status, StatusCode::OK);
}

#[tokio::test]
async fn no_match_waits_and_fails_alike_whether_or_not_there_is_a_record() {
    let harness = Harness::start_with("\n[guesses]\nper_subject = 1000000\nper_agency = 1000000\n");
    let faults = &harness.deployment.register.faults;
    let mut tax = harness.session("tax/etax").await;
    read(&mut tax, HUSBAND).await;
    let unknown: Number = "001099999999".parse().unwrap();
    let guess = |number: Number| {
        let keys = json!({"id": number.to_string(), "full_name": "Ai Đó", "date_of_birth": "1990-01-01"});
        post(LOOKUP, Some("assessment"), &keys)
    };
    // Two at once are one request to the register, which is slow.
    for number in [HUSBAND.number, unknown] {
        faults.set(number, Fault { delay_head: Some(Duration::from_millis(700)), ..Fault::default() });
        let before = faults.requests();
        let (mut one, mut other) = (harness.session("tax/etax").await, harness.session("ha-noi/portal").await);
        let first = tokio::spawn(async move { one.send(guess(number)).await.unwrap() });
        eventually("the register is asked", || faults.requests() == before + 1).await;
        let mut request = guess(number);
        request.headers_mut().insert("gateway-purpose", HeaderValue::from_static("residence-management"));
        let second = other.send(request).await.unwrap();
        assert_eq!((refusal(&first.await.unwrap()), refusal(&second)), ("404 no_match".into(), "404 no_match".into()));
        assert_eq!(faults.requests() - before, 1, "{}", number == unknown);
    }
    // What the register refuses is no answer about anybody.
    for status in [StatusCode::UNAUTHORIZED, StatusCode::INTERNAL_SERVER_ERROR] {
        faults.set_everyone(Fault { status: Some(status), ..Fault::default() });
        for number in [HUSBAND.number, unknown] {
            faults.set(number, Fault { status: Some(status), ..Fault::default() });
            assert_eq!(refusal(&tax.send(guess(number)).await.unwrap()), "502 register_failed", "{status}");
        }
    }
}

async fn read(session: &mut Session, known: Known) -> Answer {
    session.send(get(&read_path(known.number), Some("assessment"))).await.unwrap()
}

/// One question of one system.
#[derive(Debug)]
struct Asked {
    system: String,
    purpose: String,
    operation: &'static str,
    number: Number,
}

impl Asked {
    /// What the policies decide on.
    fn permit(&self) -> (String, String, &'static str) {
        (self.system.clone(), self.purpose.clone(), self.operation)
    }
}

/// Questions of enrolled systems for purposes of theirs, by a fixed seed.
struct Questions {
    enrolled: Vec<(String, String)>,
    numbers: Vec<Number>,
    state: u64,
}

impl Questions {
    fn of(node: &Node) -> Self {
        let live = node.live();
        let mut enrolled = Vec::new();
        for system in live.bundle.directory().systems() {
            let (id, own) = (system.id.as_str(), format!("spiffe://gov.vn/{}", system.id.as_str()));
            if system.identities.iter().any(|identity| matches!(identity, Identity::Uri(uri) if **uri == *own)) {
                enrolled.extend(system.purposes.iter().map(|purpose| (id.to_owned(), purpose.as_str().to_owned())));
            }
        }
        assert!(enrolled.len() > 80, "{} systems with purposes", enrolled.len());
        let numbers = ALL.iter().map(|known| known.number).chain((0..30).map(citizen)).collect();
        Self { enrolled, numbers, state: 0x2545_f491_4f6c_dd1d }
    }

    fn next(&mut self) -> Asked {
        let at = self.below(self.enrolled.len());
        let (system, purpose) = self.enrolled[at].clone();
        let operation = ["citizen.read", "citizen.lookup", "citizen.verify"][self.below(3)];
        let at = self.below(self.numbers.len());
        Asked { system, purpose, operation, number: self.numbers[at] }
    }

    fn below(&mut self, n: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state % n as u64).unwrap()
    }
}

/// The systems' connections.
struct Callers<'a> {
    site: &'a Site,
    address: std::net::SocketAddr,
    sessions: BTreeMap<String, Session>,
}

impl<'a> Callers<'a> {
    fn new(site: &'a Site, address: std::net::SocketAddr) -> Self {
        Self { site, address, sessions: BTreeMap::new() }
    }

    async fn ask(&mut self, asked: &Asked) -> Answer {
        if !self.sessions.contains_key(&asked.system) {
            let credentials = self.site.credentials(&asked.system).unwrap();
            let client = Client::new(self.address, &credentials, Http::One).unwrap();
            self.sessions.insert(asked.system.clone(), client.connect().await.unwrap());
        }
        self.sessions.get_mut(&asked.system).unwrap().send(asked.request()).await.unwrap()
    }
}

impl Asked {
    fn request(&self) -> Request {
        let citizen: Value = serde_json::from_slice(&Citizen::of(self.number).unwrap().to_json()).unwrap();
        let keys = json!({
            "id": citizen["id"], "full_name": citizen["full_name"], "date_of_birth": citizen["date_of_birth"],
        });
        let mut request = match self.operation {
            "citizen.read" => get(&read_path(self.number), Some(&self.purpose)),
            "citizen.lookup" => post(LOOKUP, Some(&self.purpose), &keys),
            _ => post(VERIFY, Some(&self.purpose), &keys),
        };
        for (name, value) in [("gateway-case", "C-1"), ("gateway-user", "u1"), ("gateway-assurance", "high")] {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        request
    }
}

/// Every system may ask as fast as it can: rates are another promise.
fn lift_limits(site: &Site) {
    for entry in std::fs::read_dir(site.bundle().join("agencies")).unwrap() {
        let file = entry.unwrap().path();
        let text = std::fs::read_to_string(&file).unwrap();
        let lifted = text.lines().map(|line| match line.starts_with("limits") {
            true => "limits = { rate = \"10000/s\" }\n".to_owned(),
            false => format!("{line}\n"),
        });
        std::fs::write(&file, lifted.collect::<String>()).unwrap();
    }
}

/// The headers of an answer that are the same for equal answers: all but its id, its time, what is left of its limits, the view,
/// which is soon known, and what an agency is told of records that it asked for before.
/// Of `alt-svc` that it is there: each gateway has its own port.
fn names(answer: &Answer) -> Vec<String> {
    let mut headers = answer.headers.clone();
    for own in ["gateway-request-id", "date", "gateway-view", "ratelimit", "age", "cache-status"] {
        headers.remove(own);
    }
    if let Some(port) = headers.get_mut("alt-svc") {
        *port = HeaderValue::from_static("(its own port)");
    }
    headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect()
}
