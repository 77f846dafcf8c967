//! Live connections: revocation, idleness, drain.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::harness::{Gateway, Site, ask, hours, until, within};
use crate::pki::Issued;

const LONG: Duration = Duration::from_secs(10);
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n";

struct Empty;

impl Body for Empty {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

type Sender = http2::SendRequest<Empty>;

async fn h2(gateway: &Gateway, client: &Issued) -> (Sender, tokio::task::JoinHandle<Result<(), hyper::Error>>) {
    let config = gateway.config_for(Some(client), &[&rustls::version::TLS13], &["h2"]);
    let stream = gateway.connect(config).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    (sender, tokio::spawn(connection))
}

async fn get(sender: &mut Sender, path: &str) -> Result<u16, hyper::Error> {
    let request = ::http::Request::get(format!("https://gateway.test{path}")).body(Empty).unwrap();
    Ok(sender.send_request(request).await?.status().as_u16())
}

fn revoke(site: &Site, gateway: &Gateway, client: &Issued, generation: u64) {
    site.ca.revoke(&client.serial, site.clock.wall(), hours(1)).unwrap();
    gateway.trust.send_replace(Arc::new(site.trust(generation)));
}

#[tokio::test]
async fn an_idle_connection_is_closed_within_a_second_of_its_revocation() {
    let site = Site::new();
    let gateway = site.start();
    let (client, other) = (site.client(), site.client());
    let mut revoked = gateway.connect(gateway.config(Some(&client))).await.unwrap();
    let mut good = gateway.connect(gateway.config(Some(&other))).await.unwrap();
    ask(&mut revoked, REQUEST).await.unwrap();
    ask(&mut good, REQUEST).await.unwrap();
    let (mut sender, connection) = h2(&gateway, &client).await;
    assert_eq!(get(&mut sender, "/").await.unwrap(), 200);
    let start = Instant::now();
    revoke(&site, &gateway, &client, 2);
    let mut rest = Vec::new();
    within(LONG, revoked.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
    within(LONG, connection).await.unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(gateway.counters.ended_revoked.value(), 2);
    assert!(ask(&mut good, REQUEST).await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_request_on_a_revoked_connection_is_told_why() {
    let site = Site::new();
    let gateway = site.start();
    let client = site.client();
    let mut stream = gateway.connect(gateway.config(Some(&client))).await.unwrap();
    ask(&mut stream, REQUEST).await.unwrap();
    let (mut sender, connection) = h2(&gateway, &client).await;
    assert_eq!(get(&mut sender, "/").await.unwrap(), 200);
    revoke(&site, &gateway, &client, 2);
    let text = ask(&mut stream, REQUEST).await.unwrap();
    assert!(
        text.starts_with("HTTP/1.1 403") && text.contains("connection: close") && text.contains("certificate_revoked"),
        "{text}"
    );
    assert_eq!(get(&mut sender, "/").await.unwrap(), 403);
    within(Duration::from_secs(1), connection).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_in_flight_on_a_revoked_connection_has_a_second() {
    let site = Site::new();
    let gateway = site.start();
    let client = site.client();
    let (mut sender, _connection) = h2(&gateway, &client).await;
    let mut stream = gateway.connect(gateway.config(Some(&client))).await.unwrap();
    stream.write_all(b"GET /never HTTP/1.1\r\nHost: gateway.test\r\n\r\n").await.unwrap();
    let never = tokio::spawn(async move { get(&mut sender, "/never").await });
    until("both have begun", || gateway.seen.lock().unwrap().len() == 2).await;
    let start = Instant::now();
    revoke(&site, &gateway, &client, 2);
    within(LONG, never).await.unwrap().unwrap_err();
    until("both have left", || gateway.counters.open.value() == 0).await;
    assert!(start.elapsed() < Duration::from_millis(1200), "{:?}", start.elapsed());
}

#[tokio::test]
async fn idle_connections_are_let_go_and_busy_ones_are_not() {
    let site = Site::new();
    let gateway = site.start_with(|options| options.http.idle_timeout = Duration::from_millis(250));
    let client = site.client();
    let (mut busy, _connection) = h2(&gateway, &client).await;
    let busy = tokio::spawn(async move {
        for _ in 0..5 {
            assert_eq!(get(&mut busy, "/slow").await.unwrap(), 200);
        }
    });
    let (_idle, connection) = h2(&gateway, &client).await;
    let mut idle = gateway.connect(gateway.config(Some(&client))).await.unwrap();
    let start = Instant::now();
    ask(&mut idle, REQUEST).await.unwrap();
    assert_eq!(within(LONG, idle.read(&mut [0; 16])).await.unwrap(), 0);
    within(LONG, connection).await.unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    busy.await.unwrap();
}

#[tokio::test]
async fn a_drain_lets_requests_end_and_closes_the_rest() {
    let site = Site::new();
    let gateway = site.start();
    let client = site.client();
    let mut idle = gateway.connect(gateway.config(Some(&client))).await.unwrap();
    ask(&mut idle, REQUEST).await.unwrap();
    let mut slow = gateway.connect(gateway.config(Some(&client))).await.unwrap();
    slow.write_all(b"GET /slow HTTP/1.1\r\nHost: gateway.test\r\n\r\n").await.unwrap();
    let (mut sender, connection) = h2(&gateway, &client).await;
    let in_flight = tokio::spawn(async move { get(&mut sender, "/slow").await });
    until("all have begun", || gateway.seen.lock().unwrap().len() == 3).await;
    let address = gateway.address;
    within(LONG, gateway.serving.drain(Duration::from_secs(5))).await;
    let mut text = String::new();
    slow.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("connection: close"), "{text}");
    assert_eq!(in_flight.await.unwrap().unwrap(), 200);
    connection.await.unwrap().unwrap();
    assert_eq!(idle.read(&mut [0; 16]).await.unwrap(), 0);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline() {
    let site = Site::new();
    let gateway = site.start();
    let mut stream = gateway.connect(gateway.config(Some(&site.client()))).await.unwrap();
    stream.write_all(b"GET /never HTTP/1.1\r\nHost: gateway.test\r\n\r\n").await.unwrap();
    until("it has begun", || gateway.seen.lock().unwrap().len() == 1).await;
    let start = Instant::now();
    within(LONG, gateway.serving.drain(Duration::from_millis(300))).await;
    assert!((Duration::from_millis(300)..Duration::from_secs(2)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!(gateway.counters.open.value(), 0);
}
