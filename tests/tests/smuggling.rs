//! Promise: bytes that two parsers could read as different requests are refused, and nothing hidden in them is ever asked.

use std::time::Duration;

use http::StatusCode;
use popgate_demo::client::{Client, Http, get};
use popgate_demo::deployment::Options;
use popgate_demo::register::demo::{HOA, SON};
use popgate_demo::scenario::{LOOKUP, read_path};
use popgate_tests::wire::{self, Reply, frame};
use popgate_tests::{Harness, eventually};
use tokio::io::AsyncWriteExt as _;

const PATIENCE: Duration = Duration::from_secs(8);
const SETTINGS: &str = "\n[http]\nbody_timeout = \"1s\"\nheader_timeout = \"3s\"\nmax_control_frames = 200\n";

/// A deployment whose cache holds one record; asking about anybody else reaches the register.
async fn warm() -> (Harness, Client) {
    let options = Options { settings: SETTINGS.into(), cores: 1, ..Options::default() };
    let harness = Harness::start_options(&options);
    let client = harness.client("tax/etax");
    let answer = client.send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(harness.deployment.register.faults.requests(), 1);
    (harness, client)
}

fn head(start: &str, fields: &str) -> String {
    format!("{start} HTTP/1.1\r\nHost: localhost\r\nGateway-Purpose: assessment\r\n{fields}\r\n")
}

fn get_of(number: popgate_demo::register::Number, fields: &str) -> String {
    head(&format!("GET {}", read_path(number)), fields)
}

fn post_of(fields: &str) -> String {
    head(&format!("POST {LOOKUP}"), &format!("Content-Type: application/json\r\n{fields}"))
}

/// What would reach the register, if it were taken for a request.
fn hidden() -> String {
    get_of(SON.number, "")
}

fn keys() -> String {
    serde_json::json!({"id": SON.number.to_string(), "full_name": SON.full_name, "date_of_birth": SON.date_of_birth})
        .to_string()
}

#[tokio::test]
async fn ambiguous_requests_are_refused_and_their_connection_ends() {
    let (harness, client) = warm().await;
    let keys = keys();
    let (length, hidden) = (keys.len(), hidden());
    let chunked = format!("{length:x}\r\n{keys}\r\n0\r\n\r\n");
    let te = "Transfer-Encoding: chunked\r\n";
    let read = format!("GET {} HTTP/1.1\r\n", read_path(SON.number));
    let purpose = "Gateway-Purpose: assessment\r\n";
    let mut cases: Vec<(String, String)> = Vec::new();
    let mut case = |what: &str, bytes: String| cases.push((what.to_owned(), bytes));

    // Two lengths.
    case("length and coding", post_of(&format!("Content-Length: {length}\r\n{te}")) + &chunked + &hidden);
    case(
        "coding and length",
        post_of(&format!("{te}Content-Length: {}\r\n", 5 + hidden.len())) + "0\r\n\r\n" + &hidden,
    );
    case(
        "two lengths that differ",
        post_of(&format!("Content-Length: {length}\r\nContent-Length: 0\r\n")) + &keys + &hidden,
    );
    case(
        "two lengths that agree",
        post_of(&format!("Content-Length: {length}\r\nContent-Length: {length}\r\n")) + &keys + &hidden,
    );
    for value in ["{n}, {n}", "+{n}", "-1", "0x{n}", "{n} 1", "{n}a", "", "18446744073709551616", "{n}\u{b}", "٣"] {
        let value = value.replace("{n}", &length.to_string());
        case(&format!("length `{value}`"), post_of(&format!("Content-Length: {value}\r\n")) + &keys + &hidden);
    }
    // Codings.
    case("coding twice", post_of(&format!("{te}{te}")) + &chunked + &hidden);
    for value in [
        "gzip, chunked",
        "chunked, chunked",
        "xchunked",
        "identity",
        "chunked, identity",
        "chunked;q=1",
        "\u{b}chunked",
        "\"chunked\"",
        "",
    ] {
        case(&format!("coding `{value}`"), post_of(&format!("Transfer-Encoding: {value}\r\n")) + &chunked + &hidden);
    }
    let old = |fields: &str| post_of(fields).replace("HTTP/1.1", "HTTP/1.0");
    case("coding in HTTP/1.0", old(te) + &chunked + &hidden);
    case("coding in HTTP/1.0, kept alive", old(&format!("{te}Connection: keep-alive\r\n")) + &chunked + &hidden);
    // Chunks.
    for size in ["ffffffffffffffffff", "-1", "+5", "0x5", "", "g", " 5", "5\u{b}", "5,5"] {
        case(&format!("chunk size `{size}`"), post_of(te) + size + "\r\n" + &keys + "\r\n0\r\n\r\n" + &hidden);
    }
    case("a chunk longer than its size", post_of(te) + &format!("{:x}\r\n{keys}\r\n0\r\n\r\n", length - 1) + &hidden);
    case("a chunk's line ends with LF", post_of(te) + &chunked.replace("\r\n", "\n") + &hidden);
    // Lines.
    case("LF ends lines", get_of(SON.number, "").replace("\r\n", "\n"));
    case("LF ends one line", get_of(SON.number, "X-A: b\nX-C: d\r\n"));
    case("CR within a value", get_of(SON.number, "X-A: b\rX-C: d\r\n"));
    case("NUL within a value", get_of(SON.number, "X-A: b\0c\r\n"));
    case("NUL within a name", get_of(SON.number, "X-\0A: b\r\n"));
    case("a folded line", get_of(SON.number, "X-A: b\r\n c\r\n"));
    case("a folded coding", post_of("Transfer-Encoding:\r\n chunked\r\n") + &chunked + &hidden);
    case("a space before the colon", post_of(&format!("Content-Length : {length}\r\n")) + &keys + &hidden);
    case("a tab before the colon", post_of("Transfer-Encoding\t: chunked\r\n") + &chunked + &hidden);
    case("no colon", get_of(SON.number, "X-A\r\n"));
    case("an empty name", get_of(SON.number, ": b\r\n"));
    case("a space before the first field", format!("{read} Host: localhost\r\n{purpose}\r\n"));
    // Names.
    case("an underscore", get_of(SON.number, "Gateway_Purpose: treatment\r\n"));
    case("a length with an underscore", post_of(&format!("Content_Length: {length}\r\n")) + &keys + &hidden);
    // Hosts and targets.
    case("no host", format!("{read}{purpose}\r\n"));
    case("two hosts", get_of(SON.number, "Host: localhost\r\n"));
    for host in ["", "other@localhost", "local host", "localhost/evil", "localhost,other", "localhost:99999:1"] {
        case(&format!("host `{host}`"), format!("{read}Host: {host}\r\n{purpose}\r\n"));
    }
    let target = read_path(SON.number);
    for target in [
        format!("https://other.example{target}"),
        format!("https://a@localhost{target}"),
        format!("{target}#x"),
        String::new(),
    ] {
        case(&format!("target `{target}`"), head(&format!("GET {target}"), ""));
    }
    case("CONNECT", head("CONNECT localhost:443", "") + &hidden);
    case(
        "CONNECT to the register",
        "CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n".to_owned() + &hidden,
    );
    for what in ["websocket", "h2c", "TLS/1.0"] {
        let fields = format!("Connection: Upgrade\r\nUpgrade: {what}\r\nContent-Length: {length}\r\n");
        case(&format!("upgrade to {what}"), post_of(&fields) + &keys + &hidden);
        case(
            &format!("upgrade to {what} without body"),
            get_of(HOA.number, &format!("Connection: Upgrade\r\nUpgrade: {what}\r\n")) + &hidden,
        );
    }
    // Request lines.
    for line in [
        format!("GET  {target} HTTP/1.1"),
        format!("GET {target}  HTTP/1.1"),
        format!("GET\t{target}\tHTTP/1.1"),
        format!("GET {target}"),
        format!("GET {target} HTTP/2.0"),
        format!("GET {target} HTTP/1.2"),
        format!("GET {target} http/1.1"),
        format!("GET {target} x HTTP/1.1"),
        format!(" GET {target} HTTP/1.1"),
        format!("G\0T {target} HTTP/1.1"),
        format!("GET {target}\0 HTTP/1.1"),
        format!("GET(x) {target} HTTP/1.1"),
        "PRI * HTTP/2.0".into(),
    ] {
        case(&format!("request line `{}`", line.escape_debug()), format!("{line}\r\nHost: localhost\r\n{purpose}\r\n"));
    }
    // Sizes.
    case("a long value", get_of(SON.number, &format!("X-A: {}\r\n", "a".repeat(20_000))));
    case("a long name", get_of(SON.number, &format!("X-{}: a\r\n", "a".repeat(20_000))));
    case("many fields", get_of(SON.number, &"X-A: b\r\n".repeat(3000)));
    case("a long target", head(&format!("GET {target}?{}", "a".repeat(70_000)), ""));
    case("an announced long body", post_of("Content-Length: 100000\r\n") + &hidden.repeat(200));
    case("a long body in chunks", post_of(te) + &format!("{:x}\r\n{}\r\n", 100_000, "a".repeat(100_000)) + &hidden);
    case("a body that never ends", post_of("Content-Length: 5000\r\n") + &hidden);
    case("a chunk that never ends", post_of(te) + "5000\r\n" + &hidden);

    for (what, bytes) in cases {
        let reply = Reply::to(&client, bytes.as_bytes(), PATIENCE).await;
        let statuses = reply.statuses();
        assert!(reply.closed, "{what}: the connection stays open after {statuses:?}");
        assert!(statuses.len() <= 1, "{what}: {statuses:?}, {}", reply.text());
        assert!(statuses.iter().all(|status| (400..500).contains(status) || *status == 505), "{what}: {statuses:?}");
        assert_eq!(harness.deployment.register.faults.requests(), 1, "{what}: it reached the register");
    }
    let answer = client.send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "others are served");
}

#[tokio::test]
async fn a_body_that_nobody_reads_is_never_taken_for_a_request() {
    let (harness, client) = warm().await;
    let hidden = hidden();
    let announced = format!("Content-Length: {}\r\n", hidden.len());
    let chunks = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    let json = "Content-Type: application/json\r\n";
    let unknown_purpose = |head: String| head.replace("assessment", "nothing-known");
    let cases = [
        ("of a cache hit", get_of(HOA.number, &announced) + &hidden),
        ("of a cache hit, said to be JSON", get_of(HOA.number, &format!("{json}{announced}")) + &hidden),
        ("of a cache hit, in chunks", get_of(HOA.number, "Transfer-Encoding: chunked\r\n") + &chunks),
        ("of a HEAD", get_of(HOA.number, &announced).replace("GET", "HEAD") + &hidden),
        ("of an unknown path", head("POST /nothing", &announced) + &hidden),
        ("of a wrong method", head(&format!("DELETE {LOOKUP}"), &announced) + &hidden),
        ("of an unknown purpose", unknown_purpose(post_of(&announced)) + &hidden),
        (
            "of a wrong type",
            head(&format!("POST {LOOKUP}"), &format!("Content-Type: text/plain\r\n{announced}")) + &hidden,
        ),
        ("that is no JSON", post_of(&announced) + &hidden),
        ("that is too long", post_of("Content-Length: 70000\r\n") + &hidden.repeat(70_000 / hidden.len())),
        (
            "that was to be asked for",
            unknown_purpose(post_of(&format!("Expect: 100-continue\r\n{announced}"))) + &hidden,
        ),
        (
            "of an early upgrade",
            get_of(HOA.number, &format!("Connection: upgrade\r\nUpgrade: x\r\n{announced}")) + &hidden,
        ),
    ];
    for (what, bytes) in cases {
        // Whoever pipelines a request behind it gets its own answer, or none.
        let behind = get_of(HOA.number, "Connection: close\r\n");
        let reply = Reply::to(&client, (bytes + &behind).as_bytes(), PATIENCE).await;
        let statuses = reply.statuses();
        assert!(reply.closed, "{what}: {statuses:?}");
        let (first, second) = (statuses.first().copied(), statuses.get(1).copied());
        assert!(first.is_none_or(|status| (400..500).contains(&status)), "{what}: {statuses:?}");
        assert!(second.is_none_or(|status| status == 200) && statuses.len() <= 2, "{what}: {statuses:?}");
        assert_eq!(harness.deployment.register.faults.requests(), 1, "{what}: it reached the register");
        assert!(!reply.text().contains(SON.full_name), "{what}");
    }
}

#[tokio::test]
async fn paths_mean_one_thing_or_nothing() {
    let (harness, client) = warm().await;
    let (hoa, son) = (HOA.number.to_string(), SON.number.to_string());
    let base = "/population/v1/citizens";
    let paths = [
        format!("{base}/{hoa}/../{son}"),
        format!("{base}/./{son}"),
        format!("{base}/{hoa}%2f..%2f{son}"),
        format!("{base}/{hoa}%2F{son}"),
        format!("{base}/{hoa}%5c..%5c{son}"),
        format!("{base}/{hoa}\\..\\{son}"),
        format!("{base}/%2e%2e/citizens/{son}"),
        format!("{base}/.%2e/citizens/{son}"),
        format!("{base}//{son}"),
        format!("/{base}/{son}"),
        format!("{base}/{son}/"),
        format!("{base}/{son};x=1"),
        format!("{base}/{son}%00"),
        format!("{base}/{son}%0d%0aX-A:%20b"),
        format!("{base}/{son}%20"),
        format!("{base}/{son}%zz"),
        format!("{base}/{son}?id={hoa}"),
        format!("{base}/{son}?x"),
        format!("{base}/{son}%3fx=1"),
        format!("{base}/{son}%23"),
        format!("{base}/%252e%252e/{son}"),
        "/persons/../persons".to_owned(),
        format!("/persons/{son}"),
        format!("/Population/v1/citizens/{son}"),
        "/.well-known/../persons".to_owned(),
        "*".to_owned(),
    ];
    for path in paths {
        let request = head(&format!("GET {path}"), "Connection: close\r\n");
        let reply = Reply::to(&client, request.as_bytes(), PATIENCE).await;
        let statuses = reply.statuses();
        assert!(reply.closed && statuses.len() == 1 && (400..500).contains(&statuses[0]), "{path}: {statuses:?}");
        assert_eq!(harness.deployment.register.faults.requests(), 1, "{path}: it reached the register");
    }
}

#[tokio::test]
async fn http_2_streams_that_would_be_ambiguous_downstream_are_refused() {
    let (harness, _) = warm().await;
    let client = harness.client_over("tax/etax", Http::Two);
    let block = |fields: &[(&str, &str)]| {
        let mut block = wire::header_block(&read_path(SON.number), "assessment");
        for (name, value) in fields {
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).unwrap());
                block.extend(text.as_bytes());
            }
        }
        block
    };
    let end = wire::END_HEADERS | wire::END_STREAM;
    let whole = |fields: &[(&str, &str)]| frame(wire::HEADERS, end, 1, &block(fields));
    let cases = [
        ("a coding", whole(&[("transfer-encoding", "chunked")])),
        ("a connection field", whole(&[("connection", "close")])),
        ("an upper-case name", whole(&[("X-A", "b")])),
        ("CRLF in a value", whole(&[("x-a", "b\r\nhost: other")])),
        ("NUL in a value", whole(&[("x-a", "b\0")])),
        ("another host", whole(&[("host", "other.example")])),
        ("a second purpose", whole(&[("gateway-purpose", "treatment")])),
        ("a pseudo-header behind", whole(&[(":path", "/persons/1")])),
        ("an underscore", whole(&[("gateway_purpose", "treatment")])),
        ("two lengths", whole(&[("content-length", "0"), ("content-length", "5")])),
        ("a length without body", whole(&[("content-length", "5")])),
        (
            "a body longer than its length",
            [
                frame(wire::HEADERS, wire::END_HEADERS, 1, &block(&[("content-length", "1")])),
                frame(wire::DATA, wire::END_STREAM, 1, b"{}  "),
            ]
            .concat(),
        ),
    ];
    for (what, frames) in cases {
        let goodbye = frame(wire::GOAWAY, 0, 0, &[0; 8]);
        let bytes = [wire::preface(&[]), frames, goodbye].concat();
        let reply = Reply::to(&client, &bytes, PATIENCE).await;
        assert!(reply.closed, "{what}: the connection stays open");
        assert!(!reply.text().contains(SON.full_name), "{what}: it was answered");
        assert_eq!(harness.deployment.register.faults.requests(), 1, "{what}: it reached the register");
    }
}

#[tokio::test]
async fn floods_of_cheap_frames_end_their_connection_and_no_other() {
    let (harness, client) = warm().await;
    let attacker = harness.client_over("tax/etax", Http::Two);
    let mut bystander = harness.client_over("tax/etax", Http::Two).connect().await.unwrap();
    let block = wire::header_block(&read_path(HOA.number), "assessment");
    let resets = (0..3000_u32).flat_map(|n| {
        let stream = 2 * n + 1;
        [frame(wire::HEADERS, 5, stream, &block), frame(wire::RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    });
    let open = frame(wire::HEADERS, 0, 1, &block[..4]);
    let continued = (0..3000).flat_map(|_| frame(wire::CONTINUATION, 0, 1, b"")).collect::<Vec<_>>();
    let many = |kind, payload: &[u8]| (0..3000).flat_map(|_| frame(kind, 0, 0, payload)).collect::<Vec<_>>();
    let floods = [
        ("ping", many(wire::PING, &[7; 8])),
        ("settings", many(wire::SETTINGS, &[0, 3, 0, 0, 0, 1])),
        ("rst_stream", resets.collect()),
        ("continuation", [open, continued].concat()),
    ];
    for (kind, flood) in floods {
        let mut stream = wire::open(&attacker).await;
        // Ended half-way, the rest cannot be sent.
        let _ = stream.write_all(&[wire::preface(&[]), flood].concat()).await;
        let reply = Reply::read(&mut stream, PATIENCE).await;
        assert!(reply.closed, "{kind}: the connection stays open");
        let mut session = client.connect().await.unwrap();
        let answer = session.send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{kind}: others are served");
        let answer = bystander.send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{kind}: a connection of the same system is served");
    }
    let counters = &harness.deployment.gateway.node().counters;
    let metered: Vec<&str> = counters.floods().iter().map(|(kind, _)| kind.name()).collect();
    for kind in ["ping", "settings"] {
        assert!(metered.contains(&kind), "{kind}: ended by something else than the meter; {metered:?}");
    }
    eventually("attackers hold no connection", || counters.open.value() <= 1).await;
    assert_eq!(harness.deployment.register.faults.requests(), 1);
}
