//! The cases of C2SP/x509-limbo that are about clients. `limbo.json` says where they are from.

use std::fs;
use std::time::Duration;

use popgate::accept::Trust;
use popgate::app::config::Tls;
use popgate::clock::Clock;
use popgate::whoami::checks::{Check, Outcome, Shown, of_certificate, of_handshake};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;

/// Where the gateway is stricter than the cases ask, and why that is as it should be.
const STRICTER: [(&str, &str); 11] = [
    ("cve::cve-2024-0567", "a chain of more than 7 certificates is refused unread"),
    ("pathlen::validation-ignores-pathlen-in-leaf", AUTHORITY),
    ("pathlen::self-issued-certs-pathlen", "self-issued authorities count towards the length of a path"),
    ("rfc5280::ca-as-leaf", AUTHORITY),
    ("rfc5280::nc::permitted-dn-match", NAMES),
    ("rfc5280::nc::permitted-self-issued", NAMES),
    ("rfc5280::nc::nc-permits-email-exact", NAMES),
    ("rfc5280::nc::nc-permits-email-domain", NAMES),
    ("rfc5280::nc::nc-permits-email-literal-asterisk-exact-match", NAMES),
    ("rfc5280::nc::nc-permits-email-literal-double-asterisk", NAMES),
    ("rfc5280::nc::nc-permits-email-literal-mid-asterisk", NAMES),
];
const AUTHORITY: &str = "an authority's certificate is no client's";
const NAMES: &str = "name constraints on directory names and e-mail addresses are always refused";

/// Where the gateway is more lenient than the cases ask. None of it lets in who was not meant: each is a rule for how an
/// authority should write certificates, or for a root, whose operator's choice it is.
const LENIENT: [&str; 16] = [
    "rfc5280::nc::permitted-dns-match-noncritical",
    "rfc5280::nc::invalid-dnsname-leading-period",
    "rfc5280::nc::not-allowed-in-ee-noncritical",
    "rfc5280::nc::not-allowed-in-ee-critical",
    "rfc5280::pc::ica-noncritical-pc",
    "rfc5280::ca-empty-subject",
    "rfc5280::unknown-critical-extension-root",
    "rfc5280::root-non-critical-basic-constraints",
    "rfc5280::root-inconsistent-ca-extensions",
    "rfc5280::leaf-ku-keycertsign",
    "webpki::nc::intermediate-permitted-excluded-subtrees-both-null",
    "webpki::nc::intermediate-permitted-excluded-subtrees-both-empty-sequences",
    "webpki::eku::ee-anyeku",
    "webpki::eku::ee-critical-eku",
    "webpki::eku::ee-without-eku",
    "webpki::eku::root-has-eku",
];

#[test]
fn the_verdict_is_as_x509_limbo_expects_and_every_refusal_has_a_reason() {
    let cases: Value = serde_json::from_str(include_str!("limbo.json")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::system("UTC").unwrap();
    let mut surprises = Vec::new();
    for case in cases["cases"].as_array().unwrap() {
        let text = |name: &str| case[name].as_str().unwrap();
        let roots = dir.path().join("roots.pem");
        fs::write(&roots, text("trusted_certs")).unwrap();
        let tls = Tls {
            certificate: roots.clone(),
            key: roots.clone(),
            client_cas: roots,
            crls: None,
            crl_grace: Some(Duration::ZERO),
        };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(text("chain").as_bytes()).map(Result::unwrap).collect();
        let id = text("id");
        let mut accepted = false;
        // Roots that no client could be verified by are not taken at all.
        if let Ok((verifier, _)) = Trust::verifier_of(&tls, &clock) {
            let examination = verifier.examine(&chain, clock.unix());
            let mut checks = of_certificate(&Shown::new(chain), Some(&examination), clock.wall());
            accepted = !checks.iter().any(|check| check.outcome == Outcome::Fail);
            checks.push(of_handshake(&examination));
            // A key that cannot prove itself is good in a chain, and no use in a handshake.
            let key = checks.first().is_some_and(|check| check.outcome == Outcome::Fail);
            assert_eq!(accepted, examination.refused.is_none() && !key, "{id}: {}", told(&checks));
        }
        let known = STRICTER.iter().any(|(known, _)| *known == id) || LENIENT.contains(&id);
        if (accepted == (text("expected") == "accept")) == known {
            surprises.push(format!("{id}: expected {}, accepted: {accepted}", text("expected")));
        }
    }
    assert_eq!(surprises, Vec::<String>::new());
}

fn told(checks: &[Check]) -> String {
    let told = checks.iter().map(|check| format!("{} {:?} {}", check.check, check.outcome, check.found));
    told.collect::<Vec<_>>().join("\n")
}
