//! Who gets in.

use std::time::Duration;

use popgate_policy::directory::{Identity, TlsVersion};
use rustls::version::{TLS12, TLS13};

use super::harness::{Site, ask, within};
use crate::accept::Protocol;
use crate::accept::tls::HandshakeFailure;
use crate::pki::{Authority, Usage, Validity};

const LONG: Duration = Duration::from_secs(10);

#[tokio::test]
async fn an_enrolled_client_is_known_by_its_certificate() {
    let site = Site::new();
    let gateway = site.start();
    let client = site.client();
    let text = gateway.ask(gateway.config(Some(&client))).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
    let seen = gateway.last_seen();
    assert_eq!(seen.tls, TlsVersion::Tls13);
    assert_eq!(seen.group, "X25519MLKEM768");
    assert_eq!(seen.protocol, Protocol::H1);
    assert_eq!(seen.chain.len(), 1);
    assert_eq!(seen.identities[0], Identity::Uri("spiffe://gov.test/tax/etax".into()));
    assert_eq!(seen.identities[1], Identity::Subject("CN=etax".into()));
    assert!(seen.verdict.load().is_none());
}

#[tokio::test]
async fn tls_1_2_and_both_protocols_work() {
    let site = Site::new();
    let gateway = site.start();
    let client = site.client();
    for (version, expected) in [(&TLS12, TlsVersion::Tls12), (&TLS13, TlsVersion::Tls13)] {
        let config = gateway.config_for(Some(&client), &[version], &["http/1.1"]);
        gateway.ask(config).await.unwrap();
        assert_eq!((gateway.last_seen().tls, gateway.last_seen().protocol), (expected, Protocol::H1));
        let stream = gateway.connect(gateway.config_for(Some(&client), &[version], &["h2", "http/1.1"])).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    }
}

#[tokio::test]
async fn who_is_not_trusted_does_not_get_in_and_the_reason_is_counted() {
    let site = Site::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let now = site.clock.wall();
    let foreign = Authority::create(elsewhere.path(), "ca", Validity::days(now, 1)).unwrap();
    let days = Validity::days(now, 1);
    let revoked = site.client();
    site.ca.revoke(&revoked.serial, now, super::harness::hours(1)).unwrap();
    let gateway = site.start();
    let cases = [
        (None, HandshakeFailure::CertificateMissing),
        (Some(site.client_valid(&foreign, Usage::Client, days)), HandshakeFailure::CertificateInvalid),
        (
            Some(site.client_valid(&site.ca, Usage::Client, Validity::expired(now))),
            HandshakeFailure::CertificateExpired,
        ),
        (Some(site.client_valid(&site.ca, Usage::Server, days)), HandshakeFailure::CertificateInvalid),
        (Some(revoked), HandshakeFailure::CertificateRevoked),
    ];
    for (n, (client, expected)) in cases.iter().enumerate() {
        for version in [&TLS12, &TLS13] {
            let before = gateway.counters.failures();
            let count = |counts: &[(HandshakeFailure, u64)]| {
                counts.iter().find(|(reason, _)| reason == expected).map_or(0, |(_, count)| *count)
            };
            let config = gateway.config_for(client.as_ref(), &[version], &[]);
            let error = within(LONG, gateway.ask(config)).await.expect_err("it got in");
            // The client is told by an alert, not by a reset.
            assert!(error.to_string().contains("alert"), "case {n}: {error}");
            let counted = || count(&gateway.counters.failures()) == count(&before) + 1;
            super::harness::until(&format!("case {n} is counted"), counted).await;
        }
    }
    assert!(gateway.seen.lock().unwrap().is_empty());
    gateway.ask(gateway.config(Some(&site.client_valid(&site.ca, Usage::Any, days)))).await.unwrap();
}

#[tokio::test]
async fn a_resumed_connection_is_checked_again() {
    let site = Site::new();
    let gateway = site.start();
    let short = Validity::lasting(site.clock.wall(), jiff::SignedDuration::from_secs(2));
    let config = gateway.config(Some(&site.client_valid(&site.ca, Usage::Client, short)));
    gateway.ask(config.clone()).await.unwrap();
    gateway.ask(config.clone()).await.unwrap();
    assert_eq!(gateway.counters.resumed.value(), 1, "the second connection resumes");
    tokio::time::sleep(Duration::from_millis(3200)).await;
    assert!(within(LONG, gateway.ask(config)).await.is_err(), "the certificate has expired since");
    assert_eq!(gateway.counters.resumed.value(), 1);
}

#[tokio::test]
async fn after_a_change_of_trust_nobody_resumes() {
    let site = Site::new();
    let gateway = site.start();
    let config = gateway.config(Some(&site.client()));
    gateway.ask(config.clone()).await.unwrap();
    gateway.trust.send_replace(std::sync::Arc::new(site.trust(2)));
    gateway.ask(config).await.unwrap();
    assert_eq!((gateway.counters.handshakes.value(), gateway.counters.resumed.value()), (2, 0));
}

#[tokio::test]
async fn a_client_that_never_ends_its_handshake_stalls_nobody_and_is_let_go() {
    let site = Site::new();
    let gateway = site.start_with(|options| options.http.handshake_timeout = Duration::from_millis(500));
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(tokio::net::TcpStream::connect(gateway.address).await.unwrap());
    }
    let client = site.client();
    for _ in 0..5 {
        within(Duration::from_millis(400), gateway.ask(gateway.config(Some(&client)))).await.unwrap();
    }
    super::harness::until("the silent ones are let go", || {
        gateway.counters.failures().contains(&(HandshakeFailure::Timeout, 20))
    })
    .await;
}

#[tokio::test]
async fn connections_are_spread_evenly_and_capped() {
    let site = Site::new();
    let gateway = site.start_with(|options| options.http.max_connections = 10);
    let config = gateway.config(Some(&site.client()));
    let mut open = Vec::new();
    let mut by_core = [0; 2];
    for _ in 0..10 {
        let mut stream = gateway.connect(config.clone()).await.unwrap();
        let text = ask(&mut stream, "GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n").await.unwrap();
        by_core[usize::from(text.contains("core 1"))] += 1;
        open.push(stream);
    }
    assert_eq!(by_core, [5, 5]);
    assert!(gateway.ask(config.clone()).await.is_err());
    assert_eq!((gateway.counters.refused_full.value(), gateway.counters.open.value()), (1, 10));
    open.clear();
    super::harness::until("all have left", || gateway.counters.open.value() == 0).await;
    gateway.ask(config).await.unwrap();
}
