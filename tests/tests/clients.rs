//! Promise: the HTTP clients that agencies have work as they are, with a client certificate, over HTTP/1.1 and HTTP/2, and all are
//! answered alike. Each script in `clients/` is a sample to copy.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use jiff::Timestamp;
use popgate::pki::{Authority, Client as Subject, Validity};
use popgate_demo::client::{Http, get, post};
use popgate_demo::register::demo::HOA;
use popgate_demo::scenario::{LOOKUP, keys_of_hoa, read_path};
use popgate_tests::Harness;
use serde_json::{Value, json};

/// Enrolled for several purposes, so that it must name one.
const SYSTEM: &str = "tax/inspection";

#[test]
fn every_client_gets_the_same_answers() {
    let harness = Harness::start();
    let identity = harness.deployment.site.identity(SYSTEM).unwrap();
    let expected = expected(&harness);
    for sample in SAMPLES {
        for &version in sample.versions {
            let before = connections(&harness);
            let output = sample.run(&harness, &identity, version);
            let what = format!("{} over HTTP/{version}", sample.name);
            assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
            let told: Value = serde_json::from_slice(&output.stdout).expect(&what);
            assert_eq!(told, expected, "{what}");

            let after = connections(&harness);
            let (h1, h2) = (after.0 - before.0, after.1 - before.1);
            let (asked_for, other) = if version == "2" { (h2, h1) } else { (h1, h2) };
            assert!(asked_for > 0 && other == 0, "{what}: {h1} connections over HTTP/1.1 and {h2} over HTTP/2");
        }
    }
}

#[test]
fn every_client_reports_that_its_certificate_is_not_trusted() {
    let harness = Harness::start();
    let identity = certificate_of_another_authority(&harness);
    for sample in SAMPLES {
        for &version in sample.versions {
            let before = refused_certificates(&harness);
            let output = sample.run(&harness, &identity, version);
            let what = format!("{} over HTTP/{version}", sample.name);
            assert!(!output.status.success(), "{what} did not fail");
            assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{what} printed answers");
            let said = String::from_utf8_lossy(&output.stderr);
            let words = (sample.refused)(version);
            assert!(words.iter().any(|words| said.contains(words)), "{what}: none of {words:?} is in: {said}");
            assert!(refused_certificates(&harness) > before, "{what}: the gateway did not refuse a certificate");
        }
    }
    assert_eq!(connections(&harness), (0, 0), "no handshake led to a connection");
}

/// A program that an agency has.
struct Sample {
    name: &'static str,
    versions: &'static [&'static str],
    /// What must be installed: a command that succeeds if it is, and the Debian package.
    needs: &'static [(&'static [&'static str], &'static str)],
    /// The program and its first arguments, for the script in that folder.
    command: fn(&Path) -> Command,
    /// Whether it wants the certificate as a PKCS#12 file.
    pkcs12: bool,
    /// What its error says, by HTTP version, of a certificate that the gateway does not trust: one of these.
    refused: fn(&str) -> &'static [&'static str],
}

const SAMPLES: [Sample; 5] = [
    Sample {
        name: "curl",
        versions: &["1.1", "2"],
        needs: &[(&["curl", "--version"], "curl")],
        command: |scripts| program("bash", &[scripts.join("with_curl.sh")]),
        pkcs12: false,
        refused: |_| &["alert unknown ca"],
    },
    Sample {
        name: "Python httpx",
        versions: &["1.1", "2"],
        needs: &[(&["/usr/bin/python3", "-c", "import httpx, h2"], "python3 python3-httpx python3-h2")],
        command: |scripts| program("/usr/bin/python3", &[scripts.join("with_httpx.py")]),
        pkcs12: false,
        refused: |_| &["alert unknown ca"],
    },
    Sample {
        name: "Python requests",
        versions: &["1.1"],
        needs: &[(&["/usr/bin/python3", "-c", "import requests"], "python3 python3-requests")],
        command: |scripts| program("/usr/bin/python3", &[scripts.join("with_requests.py")]),
        pkcs12: false,
        refused: |_| &["alert unknown ca"],
    },
    Sample {
        name: "Java's HttpClient",
        versions: &["1.1", "2"],
        needs: &[(&["javac", "--version"], "openjdk-17-jdk-headless"), (&["openssl", "version"], "openssl")],
        command: |scripts| {
            program(
                "java",
                &["-XX:TieredStopAtLevel=1".into(), "-Dfile.encoding=UTF-8".into(), scripts.join("Client.java")],
            )
        },
        pkcs12: true,
        // Java does not even send a certificate of an authority that the gateway does not name. In TLS 1.3 the alert may close the
        // connection while Java begins to use it; it then reports only that.
        refused: |_| &["Received fatal alert: certificate_required", "ClosedChannelException"],
    },
    Sample {
        name: "Node's undici",
        versions: &["1.1", "2"],
        needs: &[(&["node", "--version"], "nodejs")],
        command: |scripts| {
            let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients/node_modules");
            assert!(modules.join("undici").is_dir(), "undici is missing: tests/run installs it in target/clients");
            let mut command = program("node", &[scripts.join("with_undici.js")]);
            command.env("NODE_PATH", modules);
            command
        },
        pkcs12: false,
        // Over HTTP/1.1 undici 6 reports the end of the connection in place of the alert that came before it.
        refused: |version| match version {
            "2" => &["alert unknown ca"],
            _ => &["other side closed", "ended by the other party", "alert unknown ca"],
        },
    },
];

impl Sample {
    fn run(&self, harness: &Harness, identity: &Path, version: &str) -> Output {
        for (probe, package) in self.needs {
            let found = Command::new(probe[0]).args(&probe[1..]).output().is_ok_and(|output| output.status.success());
            assert!(found, "{} needs {package}: install it, or run tests/run, which does", self.name);
        }
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let identity = if self.pkcs12 { pkcs12(identity) } else { identity.to_owned() };
        let mut command = (self.command)(&scripts);
        command.arg(format!("https://localhost:{}", harness.deployment.gateway.https().port()));
        command.args([&harness.deployment.site.gateway_authority(), &identity]).arg(version);
        command.output().unwrap_or_else(|error| panic!("{} does not start: {error}", self.name))
    }
}

fn program(name: &str, arguments: &[PathBuf]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments);
    // The runner's own settings must not decide whom a client trusts, nor through whom it goes.
    for variable in
        ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "JAVA_TOOL_OPTIONS"]
    {
        command.env_remove(variable);
    }
    command.env("NO_PROXY", "localhost").env("no_proxy", "localhost");
    command
}

fn pkcs12(pem: &Path) -> PathBuf {
    let file = pem.with_extension("p12");
    let made = Command::new("openssl")
        .args(["pkcs12", "-export", "-passout", "pass:changeit", "-in"])
        .args([pem, Path::new("-out"), &file])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    file
}

/// What every sample must print: what the project's own client is answered.
fn expected(harness: &Harness) -> Value {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = harness.client_over(SYSTEM, Http::Two);
        let looked_up = client.send(post(LOOKUP, Some("assessment"), &keys_of_hoa())).await.unwrap().json();
        let read = client.send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap().json();
        for shown in [&looked_up, &read] {
            assert_eq!(shown["full_name"], HOA.full_name);
            assert_eq!(shown["date_of_birth"], HOA.date_of_birth.to_string());
            assert_eq!(shown["permanent_residence"]["province"], "Hà Nội");
            assert_eq!(shown.get("phone"), None);
        }
        json!({
            "lookups": [looked_up, looked_up],
            "read": read,
            "verified": {"full_name": true, "date_of_birth": true, "phone": false},
            "refused": {
                "status": 403,
                "code": "purpose_missing",
                "detail": "add Gateway-Purpose: one of assessment, tax-debt, data-cleaning-2025",
            },
        })
    })
}

/// The right name, issued by an authority that the gateway does not know.
fn certificate_of_another_authority(harness: &Harness) -> PathBuf {
    let site = &harness.deployment.site;
    let life = Validity::days(Timestamp::now(), 30);
    let folder = site.dir().join("another");
    std::fs::create_dir(&folder).unwrap();
    let authority = Authority::create(&folder, "another", life).unwrap();
    let subject = Subject { uri: Some(format!("spiffe://gov.vn/{SYSTEM}")), ..Subject::default() };
    site.write_identity("another", &authority.issue_client(&subject, life).unwrap()).unwrap()
}

/// Connections so far, over HTTP/1.1 and HTTP/2.
fn connections(harness: &Harness) -> (u64, u64) {
    let counters = &harness.deployment.gateway.node().counters;
    (counters.h1.value(), counters.h2.value())
}

/// Handshakes that failed for the client's certificate: not trusted, or none sent.
fn refused_certificates(harness: &Harness) -> u64 {
    let failures: BTreeMap<&str, u64> =
        harness.deployment.gateway.node().counters.failures().iter().map(|(why, count)| (why.name(), *count)).collect();
    ["authority_unknown", "certificate_missing"].iter().filter_map(|why| failures.get(why)).sum()
}
