//! Promise: a bulk request is as many requests as it has lines: each decided, limited and recorded by itself, answered in the lines'
//! order, with bounded memory at any length; a client that stops reading stops its own lines and nothing else.

use std::time::Duration;

use http::StatusCode;
use popgate::audit::{What, read};
use popgate_demo::client::{Http, get};
use popgate_demo::deployment::Site;
use popgate_demo::register::demo::HOA;
use popgate_demo::register::{Citizen, population};
use popgate_demo::scenario::read_path;
use popgate_tests::made::edit;
use popgate_tests::wire::open;
use popgate_tests::{Harness, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;

const VERIFY: &str = "/population/v1/bulk/verify";
const LOOKUP: &str = "/population/v1/bulk/lookup";

#[tokio::test]
async fn each_line_is_answered_in_its_turn_whatever_became_of_it() {
    let harness = Harness::start();
    let lines = [
        line(0),
        "not json".to_owned(),
        String::new(),
        json!({"id": number(1), "full_name": "Nobody At All", "date_of_birth": "1900-01-01"}).to_string(),
        json!({"id": number(2), "shoe_size": 43}).to_string(),
        format!(r#"{{"id":"{}","full_name":"{}"}}"#, number(3), "x".repeat(70_000)),
        line(4),
    ];
    for http in [Http::One, Http::Two] {
        let mut request = http::Request::new(http_body_util::Full::new(lines.join("\n").into()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = VERIFY.parse().unwrap();
        for (name, value) in [("content-type", "application/x-ndjson"), ("gateway-purpose", "e-kyc")] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let answer = harness.client_over("bank-a/ekyc", http).send(request).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
        assert_eq!(answer.headers["content-type"], "application/x-ndjson");
        let answers: Vec<Value> = std::str::from_utf8(&answer.body)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let told: Vec<(u64, u64, &str)> = answers
            .iter()
            .map(|a| (a["line"].as_u64().unwrap(), a["status"].as_u64().unwrap(), a["code"].as_str().unwrap_or("ok")))
            .collect();
        assert_eq!(
            told,
            [
                (1, 200, "ok"),
                (2, 400, "parameter_invalid"),
                (4, 404, "no_match"),
                (5, 400, "parameter_invalid"),
                (6, 413, "body_too_large"),
                (7, 200, "ok"),
            ]
        );
        assert_eq!(answers[0]["answer"], json!({"full_name": true, "date_of_birth": true}));
        assert!(!String::from_utf8_lossy(&answer.body).contains("43"), "no value is told");
    }
}

#[tokio::test]
async fn each_line_has_a_record_of_its_own() {
    let harness = Harness::start();
    let mut bulk = Bulk::begin(&harness, "tax/etax", LOOKUP, "assessment").await;
    let answers = bulk.send_all((0..300).map(line)).await;
    assert_eq!(answers.len(), 300);
    for (at, answer) in answers.iter().enumerate() {
        assert_eq!(answer["line"], at as u64 + 1);
        assert_eq!(answer["answer"]["id"], number(at as u64), "{answer}");
    }
    let (site, _dir) = harness.stop().await;
    let mut ids = std::collections::BTreeSet::new();
    let mut closed = 0;
    for entry in read::entries(&site.audit(), None).unwrap().map(Result::unwrap) {
        match entry.what {
            What::Intent(intent) => {
                assert_eq!(&*intent.operation, "citizen.lookup.bulk");
                assert!(ids.insert(intent.disclosure.to_string()), "an id of its own");
            }
            What::Closing(_) => closed += 1,
            What::Refused(_) | What::Action(_) => panic!("nothing is refused"),
        }
    }
    assert_eq!((ids.len(), closed), (300, 300));
}

#[tokio::test]
async fn lines_wait_for_their_token() {
    let harness = Harness::start();
    let before = std::time::Instant::now();
    let mut bulk = Bulk::begin(&harness, "tax/etax", LOOKUP, "assessment").await;
    // The burst is 400, the rate 200 a second.
    let answers = bulk.send_all((0..600).map(line)).await;
    assert!(answers.iter().all(|answer| answer["status"] == 200), "none is refused for the rate");
    assert!(before.elapsed() > Duration::from_millis(900), "{:?}", before.elapsed());
}

#[tokio::test]
async fn a_client_that_stops_reading_stops_its_own_lines_alone() {
    let unlimited = |site: &Site| {
        edit(site, "agencies/tax.toml", r#"rate = "200/s", burst = 400"#, r#"rate = "100000/s", burst = 100000"#);
    };
    let harness = Harness::start_made("[http]\nbulk_in_flight = 8", unlimited, |_| {});
    let client = harness.client("tax/etax");
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = client.connect_tls_over(socket.connect(client.address()).await.unwrap()).await.unwrap();
    let mut bulk = Bulk::over(stream, LOOKUP, "assessment").await;
    // Nothing is read: the socket's buffers fill with answers, and then no more lines are taken.
    let sending = async {
        for at in 0.. {
            bulk.write_line(&line(at % 500)).await.unwrap();
        }
    };
    let resting = async {
        let (node, mut intents) = (harness.deployment.gateway.node(), 0);
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = node.audit.stats().records;
            if now > 100 && now == intents {
                break;
            }
            intents = now;
        }
    };
    let resting = async {
        tokio::select! { () = sending => {}, () = resting => {} }
    };
    tokio::time::timeout(Duration::from_secs(40), resting).await.expect("no more lines are taken after a while");
    // Another client, of the same agency, is answered.
    let answer = harness.client("tax/etax").send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_revocation_stops_it_between_two_lines_and_nobody_takes_it_for_complete() {
    let harness = Harness::start();
    let mut bulk = Bulk::begin(&harness, "tax/etax", LOOKUP, "assessment").await;
    bulk.write_line(&line(0)).await.unwrap();
    assert_eq!(bulk.read_line().await.unwrap()["status"], 200);
    harness.deployment.site.revoke("tax/etax").unwrap();
    let node = harness.deployment.gateway.node();
    let before = node.trust().generation();
    eventually("the list is in force", || {
        node.trust().generation() > before || node.counters.ended_revoked.value() > 0
    })
    .await;
    let mut last = Value::Null;
    for at in 1..100 {
        if bulk.write_line(&line(at)).await.is_err() {
            break;
        }
        match bulk.read_line().await {
            Some(answer) => last = answer,
            None => break,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(last["code"] == "certificate_revoked" || last.is_null() || last["status"] == 200, "{last}");
    assert!(bulk.read_line().await.is_none());
    assert!(!bulk.ended, "no end of the chunked body was sent");
}

#[tokio::test]
async fn a_body_of_another_type_is_refused() {
    let harness = Harness::start();
    let client = harness.client("bank-a/ekyc");
    let answer = client.send(popgate_demo::client::post(VERIFY, Some("e-kyc"), &json!({}))).await.unwrap();
    assert_eq!(popgate_tests::refusal(&answer), "415 media_type_unsupported");
}

#[tokio::test]
async fn memory_does_not_grow_with_the_length() {
    let unlimited = |site: &Site| {
        edit(site, "agencies/tax.toml", r#"rate = "200/s", burst = 400"#, r#"rate = "100000/s", burst = 100000"#);
    };
    let harness = Harness::start_made("", unlimited, |_| {});
    let mut peaks = Vec::new();
    for lines in [1_000_u64, 8_000] {
        let mut bulk = Bulk::begin(&harness, "tax/etax", LOOKUP, "assessment").await;
        let before = resident();
        let mut peak = 0;
        let mut sent = 0;
        let mut received = 0;
        while received < lines {
            while sent < lines && sent < received + 64 {
                bulk.write_line(&line(sent % 1000)).await.unwrap();
                sent += 1;
            }
            assert_eq!(bulk.read_line().await.unwrap()["line"], received + 1);
            received += 1;
            peak = peak.max(resident().saturating_sub(before));
        }
        peaks.push(peak);
    }
    // In this process are the register, the gateway and the client; the cache is warm after the first thousand.
    assert!(peaks[1] < peaks[0] + (24 << 20), "{peaks:?}");
}

/// A bulk request under way over HTTP/1.1.
struct Bulk {
    send: WriteHalf<TlsStream<TcpStream>>,
    receive: ReadHalf<TlsStream<TcpStream>>,
    read: Vec<u8>,
    body: Vec<u8>,
    headed: bool,
    /// The last chunk came.
    ended: bool,
}

impl Bulk {
    async fn begin(harness: &Harness, system: &str, path: &str, purpose: &str) -> Self {
        Self::over(open(&harness.client(system)).await, path, purpose).await
    }

    async fn over(stream: TlsStream<TcpStream>, path: &str, purpose: &str) -> Self {
        let (receive, mut send) = tokio::io::split(stream);
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ngateway-purpose: {purpose}\r\n\
             transfer-encoding: chunked\r\n\r\n"
        );
        send.write_all(head.as_bytes()).await.unwrap();
        Self { send, receive, read: Vec::new(), body: Vec::new(), headed: false, ended: false }
    }

    async fn write_line(&mut self, line: &str) -> std::io::Result<()> {
        self.send.write_all(format!("{:x}\r\n{line}\n\r\n", line.len() + 1).as_bytes()).await?;
        self.send.flush().await
    }

    async fn send_all(&mut self, lines: impl Iterator<Item = String>) -> Vec<Value> {
        let mut answers = Vec::new();
        let mut sent = 0;
        for line in lines {
            self.write_line(&line).await.unwrap();
            sent += 1;
            if sent - answers.len() > 100 {
                answers.push(self.read_line().await.unwrap());
            }
        }
        self.send.write_all(b"0\r\n\r\n").await.unwrap();
        while let Some(answer) = self.read_line().await {
            answers.push(answer);
        }
        assert!(self.ended);
        answers
    }

    /// The next line of the answer; `None` if it ends.
    async fn read_line(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.body.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.body.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            if self.ended || !self.chunk() && matches!(self.receive.read_buf(&mut self.read).await, Ok(0) | Err(_)) {
                return None;
            }
        }
    }

    /// Takes what was read apart; `false` if more must be read.
    fn chunk(&mut self) -> bool {
        if !self.headed {
            let Some(end) = find(&self.read, b"\r\n\r\n") else { return false };
            let head = String::from_utf8(self.read.drain(..end + 4).collect()).unwrap();
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            self.headed = true;
        }
        let Some(end) = find(&self.read, b"\r\n") else { return false };
        let size = usize::from_str_radix(std::str::from_utf8(&self.read[..end]).unwrap(), 16).unwrap();
        if self.read.len() < end + 2 + size + 2 {
            return false;
        }
        self.ended = size == 0;
        self.body.extend_from_slice(&self.read[end + 2..end + 2 + size]);
        self.read.drain(..end + 2 + size + 2);
        true
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Somebody's number, name and birth date: the same for the same `n`.
fn line(n: u64) -> String {
    let record: Value = serde_json::from_slice(&Citizen::of(population::citizen(n)).unwrap().to_json()).unwrap();
    json!({"id": record["id"], "full_name": record["full_name"], "date_of_birth": record["date_of_birth"]}).to_string()
}

fn number(n: u64) -> String {
    population::citizen(n).to_string()
}

/// Bytes that this process holds in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<usize>().unwrap() << 10
}

/// Its opening may be refused, and such a refusal is recorded: it costs a token, or anybody could fill the log.
#[tokio::test]
async fn what_is_refused_before_its_first_line_is_limited_too() {
    let few = |site: &Site| {
        let many = "rate = \"200/s\", burst = 400, concurrent = 64";
        edit(site, "agencies/tax.toml", many, "rate = \"1/m\", burst = 3, concurrent = 64");
    };
    let harness = Harness::start_made("", few, |_| {});
    let mut session = harness.session("tax/etax").await;
    let mut told = Vec::new();
    for _ in 0..5 {
        let mut request = http::Request::new(http_body_util::Full::default());
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = LOOKUP.parse().unwrap();
        for (name, value) in [("content-type", "application/x-ndjson"), ("gateway-purpose", "x")] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        told.push(popgate_tests::refusal(&session.send(request).await.unwrap()));
    }
    let unknown = "403 purpose_unknown";
    assert_eq!(told, [unknown, unknown, unknown, "429 rate_exceeded", "429 rate_exceeded"]);
    let (site, _dir) = harness.stop().await;
    let refusals = read::entries(&site.audit(), None).unwrap().map(Result::unwrap);
    assert_eq!(refusals.filter(|entry| matches!(entry.what, What::Refused(_))).count(), 3);
}
