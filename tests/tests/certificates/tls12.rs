//! TLS 1.2: served with forward secrecy and AEAD only, and counted by who uses it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use popgate_demo::client::{Credentials, Http, get};
use popgate_demo::register::demo::HOA;
use popgate_demo::scenario::read_path;
use popgate_tests::Harness;
use rustls::version::{TLS12, TLS13};

use super::{Client, StatusCode, refusal};

#[tokio::test]
async fn who_still_uses_it_is_counted_and_nobody_else() {
    let harness = Harness::start();
    let site = &harness.deployment.site;
    let ask = async |credentials: &Credentials, version| {
        let address = harness.deployment.gateway.https();
        let client = Client::with_versions(address, credentials, Http::Two, &[version]).unwrap();
        client.send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap()
    };
    let etax = site.credentials("tax/etax").unwrap();
    for _ in 0..2 {
        assert_eq!(ask(&etax, &TLS12).await.status, StatusCode::OK);
    }
    assert_eq!(ask(&etax, &TLS13).await.status, StatusCode::OK);
    // Not enrolled: no label is made of it.
    let nobody = site.credentials("tax/nobody").unwrap();
    assert_eq!(refusal(&ask(&nobody, &TLS12).await), "403 system_not_enrolled");
    assert_eq!(harness.metric("popgate_tls12_requests_total{agency=\"tax\",system=\"tax/etax\"}").await, 2);
    let text = harness.deployment.gateway.node().metrics.encode();
    assert_eq!(text.matches("popgate_tls12_requests_total{").count(), 1, "{text}");
}

#[tokio::test]
async fn curl_and_openssl_are_answered_over_it() {
    let harness = Harness::start();
    let site = &harness.deployment.site;
    let identity = site.identity("tax/etax").unwrap();
    let port = harness.deployment.gateway.https().port();
    let path = read_path(HOA.number);
    let curl = |more: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*", "--tls-max", "1.2"]);
        curl.args(["--write-out", "%{http_code}", "--output", "/dev/null", "-H", "Gateway-Purpose: assessment"]);
        curl.arg("--cacert").arg(site.gateway_authority()).arg("--cert").arg(&identity).args(more);
        curl.arg(format!("https://localhost:{port}{path}")).output().unwrap()
    };
    for http in ["--http1.1", "--http2"] {
        let output = curl(&[http]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "200", "{http}: {said}");
    }
    for weak in ["ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0", "AES128-GCM-SHA256:@SECLEVEL=0"] {
        assert!(!curl(&["--ciphers", weak]).status.success(), "{weak} was accepted");
    }

    let mut openssl = Command::new("openssl")
        .args(["s_client", "-tls1_2", "-quiet", "-verify_return_error", "-connect"])
        .arg(format!("localhost:{port}"))
        .arg("-CAfile")
        .arg(site.gateway_authority())
        .arg("-cert")
        .arg(&identity)
        .arg("-key")
        .arg(&identity)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nGateway-Purpose: assessment\r\nConnection: close\r\n\r\n");
    // The pipe stays open until the answer is there: at its end openssl would hang up.
    let mut stdin = openssl.stdin.take().unwrap();
    stdin.write_all(request.as_bytes()).unwrap();
    stdin.flush().unwrap();
    let output = tokio::task::spawn_blocking(move || openssl.wait_with_output()).await.unwrap().unwrap();
    drop(stdin);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with("HTTP/1.1 200"), "{said} {}", String::from_utf8_lossy(&output.stderr));
    let counted = "popgate_tls12_requests_total{agency=\"tax\",system=\"tax/etax\"}";
    assert_eq!(harness.metric(counted).await, 3);
}
