//! Framing and floods, against real hyper.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::harness::{Gateway, Site, ask, until, within};
use crate::accept::meter::FrameKind;

const LONG: Duration = Duration::from_secs(10);

/// What the gateway answers to these bytes until it closes.
async fn raw(gateway: &Gateway, site: &Site, bytes: &[u8]) -> String {
    let mut stream = gateway.connect(gateway.config(Some(&site.client()))).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut text = Vec::new();
    within(LONG, stream.read_to_end(&mut text)).await.unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn what_two_parsers_could_read_differently_is_refused_and_the_connection_closed() {
    let site = Site::new();
    let gateway = site.start();
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: gateway.test\r\n\r\n";
    let cases = [
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: +1\r\n\r\nx",
        "GET / HTTP/1.1\r\nHost: gateway.test\r\nX: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: gateway.test\nX: a\n\n",
        "GET / HTTP/1.1\r\nHost : gateway.test\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: gateway.test\r\nHost: other.test\r\n\r\n",
        "GET https://other.test/ HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: gateway.test\r\nGateway_Purpose: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\nx\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n",
        "CONNECT gateway.test:443 HTTP/1.1\r\nHost: gateway.test:443\r\n\r\n",
    ];
    for case in cases {
        let text = raw(&gateway, &site, format!("{case}{smuggled}").as_bytes()).await;
        assert!(text.starts_with("HTTP/1.1 400"), "{case:?}: {text:?}");
        assert_eq!(text.matches("HTTP/1.").count(), 1, "{case:?}: {text:?}");
    }
}

#[tokio::test]
async fn honest_requests_of_every_framing_are_answered_on_one_connection() {
    let site = Site::new();
    let gateway = site.start();
    let mut stream = gateway.connect(gateway.config(Some(&site.client()))).await.unwrap();
    for (request, read) in [
        ("GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n", 0),
        ("POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 5\r\n\r\nab\r\nc", 5),
        (
            "POST / HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\n",
            3,
        ),
        ("GET https://gateway.test/ HTTP/1.1\r\nHost: gateway.test\r\n\r\n", 0),
    ] {
        let text = ask(&mut stream, request).await.unwrap();
        assert!(text.contains(&format!("read {read}\"")), "{request:?}: {text}");
    }
}

#[tokio::test]
async fn pipelined_requests_before_a_bad_one_are_answered() {
    let site = Site::new();
    let gateway = site.start();
    let good = "GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n";
    let bad =
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let text = raw(&gateway, &site, format!("{good}{good}{bad}{good}").as_bytes()).await;
    assert_eq!((text.matches("HTTP/1.1 200").count(), text.matches("HTTP/1.1 400").count()), (2, 1), "{text}");
}

#[tokio::test]
async fn a_refusal_is_read_though_the_body_was_not() {
    let site = Site::new();
    let gateway = site.start();
    let mut request = b"POST /too-large HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 700000\r\n\r\n".to_vec();
    request.extend(vec![b'x'; 700_000]);
    for _ in 0..5 {
        let text = raw(&gateway, &site, &request).await;
        assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    }
}

#[tokio::test]
async fn too_large_and_too_slow_heads_end_the_connection() {
    let site = Site::new();
    let gateway = site.start_with(|options| options.http.header_timeout = Duration::from_millis(400));
    let large = format!("GET / HTTP/1.1\r\nHost: gateway.test\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    let text = raw(&gateway, &site, large.as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 431"), "{text}");
    let start = std::time::Instant::now();
    let mut stream = gateway.connect(gateway.config(Some(&site.client()))).await.unwrap();
    stream.write_all(b"GET / HTT").await.unwrap();
    // However it is told: the connection is over.
    let _ = within(LONG, stream.read(&mut [0; 16])).await;
    assert!(start.elapsed() < Duration::from_millis(1200), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_flood_of_frames_ends_the_connection() {
    let site = Site::new();
    let gateway = site.start();
    let config = gateway.config_for(Some(&site.client()), &[&rustls::version::TLS13], &["h2"]);
    let mut stream = gateway.connect(config).await.unwrap();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for _ in 0..1000 {
        bytes.extend(b"\0\0\x08\x06\0\0\0\0\0pingping");
    }
    stream.write_all(&bytes).await.unwrap();
    let mut rest = Vec::new();
    // However it is told: the connection is over.
    let _ = within(LONG, stream.read_to_end(&mut rest)).await;
    until("it is counted", || gateway.counters.floods() == [(FrameKind::Ping, 1)]).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_let_go() {
    let site = Site::new();
    let gateway = site.start_with(|options| options.http.header_timeout = Duration::from_millis(300));
    let mut stream = gateway.connect(gateway.config(Some(&site.client()))).await.unwrap();
    stream.write_all(b"GET /big HTTP/1.1\r\nHost: gateway.test\r\n\r\n").await.unwrap();
    until("it is counted", || gateway.counters.ended_stalled.value() == 1).await;
    until("it has left", || gateway.counters.open.value() == 0).await;
}
