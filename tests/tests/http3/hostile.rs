//! Clients that break the protocol, are slow, or ask for more than there is.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::StatusCode;
use popgate_demo::client::{get, post};
use popgate_demo::register::demo::HOA;
use popgate_demo::register::{Citizen, Fault};
use popgate_demo::scenario::{LOOKUP, keys_of_hoa, read_path};
use popgate_tests::quic::{self, DATA, HEADERS, frame, section};
use popgate_tests::{Harness, eventually, refusal};
use serde_json::Value;
use tokio::net::UdpSocket;

#[tokio::test]
async fn what_two_parsers_could_read_differently_is_refused_and_the_connection_closed() {
    let harness = Harness::start();
    let keys = keys_of_hoa().to_string();
    let length = keys.len().to_string();
    let path = read_path(HOA.number);
    let asked = |fields: &[(&str, &str)]| frame(HEADERS, &section(fields));
    let read = |more: &[(&str, &str)]| asked(&[&start("GET", &path)[..], more].concat());
    let sent = |more: &[(&str, &str)]| {
        asked(&[&start("POST", LOOKUP)[..], &[("content-type", "application/json")], more].concat())
    };
    let data = frame(DATA, keys.as_bytes());
    let short = &data[..data.len() - 3];
    let cases: [(&str, Vec<u8>); 13] = [
        ("two paths", read(&[(":path", "/population/v1/citizens/001187974118")])),
        ("two methods", asked(&[&[(":method", "POST")], &start("GET", &path)[..]].concat())),
        (
            "a pseudo-header after others",
            asked(&[&start("GET", &path)[1..], &[("a", "b"), (":method", "GET")]].concat()),
        ),
        ("a status", read(&[(":status", "200")])),
        ("connection", read(&[("connection", "close")])),
        ("transfer-encoding", read(&[("transfer-encoding", "chunked")])),
        ("te", read(&[("te", "gzip")])),
        ("an underscore", read(&[("gateway_purpose", "assessment")])),
        ("two lengths", [sent(&[("content-length", &length), ("content-length", &length)]), data.clone()].concat()),
        ("a length with a sign", [sent(&[("content-length", &format!("+{length}"))]), data.clone()].concat()),
        ("longer than announced", [sent(&[("content-length", "5")]), data.clone()].concat()),
        ("shorter than announced", [sent(&[("content-length", "50000")]), data.clone()].concat()),
        ("a frame cut short", [sent(&[]), short.to_vec()].concat()),
    ];
    for (name, bytes) in cases {
        let session = harness.quic("tax/etax").connect().await.unwrap();
        let answered = session.raw(&bytes).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(answered.code(), "request_malformed", "{name}: {answered:?}");
        assert_eq!(session.closed().await.unwrap().0, 0x100, "{name}");
    }
    // No request that a client could have meant otherwise has reached the register.
    assert_eq!(harness.deployment.register.faults.requests(), 0);
}

#[tokio::test]
async fn an_odd_but_honest_request_is_answered_and_its_trailers_do_not_cross() {
    let harness = Harness::start();
    harness.deployment.register.faults.keep_received();
    let session = harness.quic("tax/etax").connect().await.unwrap();
    let keys = keys_of_hoa().to_string();
    let (one, two) = keys.as_bytes().split_at(20);
    let head =
        frame(HEADERS, &section(&[&start("POST", LOOKUP)[..], &[("content-type", "application/json")]].concat()));
    let trailers = frame(HEADERS, &section(&[("gateway-purpose", "treatment"), ("x-mark", "trailer")]));
    let grease = frame(0x21, b"grease");
    let bytes = [
        head,
        frame(DATA, one),
        frame(DATA, b""),
        grease.clone(),
        frame(DATA, two),
        frame(DATA, b""),
        trailers,
        grease,
    ]
    .concat();
    let answered = session.raw(&bytes).await.unwrap();
    assert_eq!(answered.code(), "");
    assert!(answered.text().contains(HOA.full_name), "{answered:?}");
    let received = harness.deployment.register.faults.received();
    assert_eq!(received.len(), 1);
    assert!(!received[0].headers.iter().any(|(_, value)| value == "trailer"));
    assert!(!session.is_closed());
}

#[tokio::test]
async fn what_is_too_long_is_refused_before_it_is_held() {
    let harness = Harness::start();
    let mut session = harness.quic("tax/etax").connect().await.unwrap();
    // Longer than the limit as encoded: the frame's length alone is enough.
    let (mut send, mut recv) = session.quic.open_bi().await.unwrap();
    send.write_all(&[quic::varint(HEADERS), quic::varint(1 << 29)].concat()).await.unwrap();
    send.write_all(&[0; 1000]).await.unwrap();
    let error = recv.read_to_end(1000).await.unwrap_err();
    assert!(error.to_string().contains("reset"), "{error}");
    // Longer than the limit as decoded.
    let many: Vec<(String, String)> = (0..600).map(|n| (format!("x-{n}"), String::new())).collect();
    let fields: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let bytes = frame(HEADERS, &section(&[&start("GET", "/")[..], &fields].concat()));
    session.raw(&bytes).await.unwrap();
    // A body longer than the limit.
    let large = post(LOOKUP, None, &serde_json::json!({ "id": "x".repeat(70_000) }));
    assert_eq!(refusal(&session.send(large).await.unwrap()), "413 body_too_large");
    session.closed().await.unwrap();
}

#[tokio::test]
async fn floods_end_the_connection_and_nobody_elses() {
    let harness = Harness::start_with("\n[http]\nmax_control_frames = 100\n");
    let mut other = harness.quic("tax/etax").connect().await.unwrap();
    let counters = &harness.deployment.gateway.node().counters;
    let flooded = |kind: &str| counters.floods().iter().any(|(frame, _)| frame.name() == kind);

    // Requests that are taken back at once (CVE-2023-44487).
    let session = harness.quic("tax/etax").connect().await.unwrap();
    let head = frame(HEADERS, &section(&start("GET", "/nothing")));
    while !session.is_closed() {
        let Ok((mut send, recv)) = session.quic.open_bi().await else { break };
        let _ = send.write_all(&head).await;
        let _ = send.reset(0x10c_u32.into());
        drop(recv);
    }
    assert_eq!(session.closed().await.unwrap(), (0x107, "flood".to_owned()), "H3_EXCESSIVE_LOAD");
    eventually("it is counted", || flooded("rst_stream")).await;

    // Frames that nobody needs to know, on one stream.
    for (kind, payload, name) in [(0x21, &b""[..], "other"), (DATA, b"", "empty_data"), (0xf0700, b"\x00", "priority")]
    {
        let session = harness.quic("tax/etax").connect().await.unwrap();
        let (mut send, _recv) = session.quic.open_bi().await.unwrap();
        let head =
            frame(HEADERS, &section(&[&start("POST", LOOKUP)[..], &[("content-type", "application/json")]].concat()));
        let _ = send.write_all(&[head, frame(kind, payload).repeat(200)].concat()).await;
        assert_eq!(session.closed().await.unwrap(), (0x107, "flood".to_owned()), "{name}");
        eventually(&format!("{name} is counted"), || flooded(name)).await;
    }
    assert_eq!(other.send(get(&read_path(HOA.number), None)).await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn who_is_slow_is_let_go() {
    let harness = Harness::start_with("\n[http]\nheader_timeout = \"500ms\"\nbody_timeout = \"500ms\"\n");
    // Half a header section.
    let mut session = harness.quic("tax/etax").connect().await.unwrap();
    let (mut send, mut recv) = session.quic.open_bi().await.unwrap();
    let head = frame(HEADERS, &section(&start("GET", "/nothing")));
    send.write_all(&head[..head.len() / 2]).await.unwrap();
    let error = recv.read_to_end(1000).await.unwrap_err();
    assert!(error.to_string().contains("reset"), "{error}");
    assert_eq!(session.send(get(&read_path(HOA.number), None)).await.unwrap().status, StatusCode::OK);
    // Half a body.
    let (mut send, mut recv) = session.quic.open_bi().await.unwrap();
    let fields =
        [&start("POST", LOOKUP)[..], &[("content-type", "application/json"), ("content-length", "50")]].concat();
    send.write_all(&[frame(HEADERS, &section(&fields)), frame(DATA, b"{")].concat()).await.unwrap();
    let answer = recv.read_to_end(10_000).await.unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("body_timeout"));
    session.closed().await.unwrap();
    // An answer that is not read.
    let mut record: Value = serde_json::from_slice(&Citizen::of(HOA.number).unwrap().to_json()).unwrap();
    record["full_name"] = "a".repeat(30_000).into();
    let fault = Fault { body: Some(record.to_string().into()), ..Fault::default() };
    let number = popgate_demo::register::population::citizen(3);
    record["id"] = number.to_string().into();
    harness.deployment.register.faults.set(number, Fault { body: Some(record.to_string().into()), ..fault });
    let mut still = harness.quic("tax/etax").with_window(1000).connect().await.unwrap();
    let (response, _begun) = still.start(get(&read_path(number), None)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(still.closed().await.unwrap().1, "stalled");
    assert_eq!(harness.deployment.gateway.node().counters.ended_stalled.value(), 1);
}

#[tokio::test]
async fn a_client_that_takes_its_request_back_frees_its_slot() {
    let harness = Harness::start();
    let faults = &harness.deployment.register.faults;
    faults.set(HOA.number, Fault { delay_head: Some(Duration::from_millis(1500)), ..Fault::default() });
    let mut session = harness.quic("tax/etax").connect().await.unwrap();
    let mut asked = session.ask(get(&read_path(HOA.number), None)).await.unwrap();
    eventually("the register is asked", || faults.requests() == 1).await;
    asked.stop_sending(h3::error::Code::H3_REQUEST_CANCELLED);
    let metrics = &harness.deployment.gateway.node().metrics;
    eventually("it is given up", || metrics.requests_abandoned.get() == 1).await;
    assert!(!session.is_closed());
}

#[tokio::test]
async fn with_many_handshakes_pending_a_client_must_prove_its_address() {
    let harness = Harness::start_with("\n[http]\nhandshake_timeout = \"30s\"\n");
    let gateway = harness.deployment.gateway.https();
    let mut first = harness.quic("tax/etax").connect().await.unwrap();
    let counters = &harness.deployment.gateway.node().counters;
    assert_eq!(counters.retried.value(), 0);
    // Clients that never hear of the gateway, as those whose address is not their own.
    let deaf = deaf_relay(gateway).await;
    let credentials = harness.deployment.site.credentials("tax/etax").unwrap();
    let client = quic::Client::new(deaf, &credentials).unwrap();
    let mut begun = Vec::new();
    for _ in 0..140 {
        begun.push(client.begin().unwrap());
        // Not more at once than the relay's socket holds.
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    eventually("many are pending", || counters.retried.value() > 0).await;
    let before = counters.retried.value();
    let answer = harness.quic("tax/etax").send(get(&read_path(HOA.number), None)).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert!(counters.retried.value() > before, "it had to prove its address");
    assert_eq!(first.send(get(&read_path(HOA.number), None)).await.unwrap().status, StatusCode::OK);
}

/// The pseudo-header fields of a request.
fn start<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path)]
}

/// An address that passes datagrams on to the gateway, and none back.
async fn deaf_relay(gateway: SocketAddr) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut bytes = [0; 2000];
        while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
            if from != gateway {
                let _ = socket.send_to(&bytes[..length], gateway).await;
            }
        }
    });
    address
}
