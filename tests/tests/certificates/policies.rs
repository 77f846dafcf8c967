//! Critical policy extensions: accepted where they are without effect by RFC 5280, and nowhere else.

use popgate_tests::Harness;
use popgate_tests::chains::{Ca, NO_ANY_POLICY, POLICIES, REQUIRE_POLICY, accept, extension};
use rcgen::{CertificateParams, CustomExtension};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;

use super::{BOTH, ETAX, asked};

type Extensions = Vec<CustomExtension>;

/// A policy with a qualifier that no RFC defines: 1.3.6.1.5.5.7.2.9.
const UNKNOWN_QUALIFIER: &[u8] =
    &[0x30, 23, 0x30, 21, 0x06, 3, 0x2a, 3, 4, 0x30, 14, 0x30, 12, 0x06, 8, 0x2b, 6, 1, 5, 5, 7, 2, 9, 0x30, 0];
/// `policyMappings`: 1.2.3.4 to 1.2.3.5.
const MAPPINGS: &[u8] = &[0x30, 12, 0x30, 10, 0x06, 3, 0x2a, 3, 4, 0x06, 3, 0x2a, 3, 5];

#[tokio::test]
async fn a_chain_in_which_policies_could_have_an_effect_is_refused() {
    let with = |extensions: Extensions| move |params: &mut CertificateParams| params.custom_extensions = extensions;
    let idle = || vec![extension(32, true, POLICIES)];
    let root = Ca::root("Root", |_| {});
    let requiring = Ca::root("Requiring Root", with(vec![extension(36, true, REQUIRE_POLICY)]));
    let harness = Harness::start_made(
        "",
        |site| {
            accept(site, &root);
            accept(site, &requiring);
        },
        |_| {},
    );
    let below = |extensions| root.below("Below", with(extensions));
    let client = |authority: &Ca, extensions| authority.client(&[ETAX], &[authority], with(extensions));
    let cases = [
        ("none", client(&below(vec![]), vec![]), true),
        ("idle policies", client(&below(idle()), idle()), true),
        ("no any-policy, in an authority", client(&below(vec![extension(54, true, NO_ANY_POLICY)]), idle()), true),
        ("no any-policy, in a client", client(&root, vec![extension(54, true, NO_ANY_POLICY)]), false),
        ("a policy is required", client(&below(vec![extension(36, true, REQUIRE_POLICY)]), idle()), false),
        ("and not critically", client(&below(vec![extension(36, false, REQUIRE_POLICY)]), idle()), false),
        ("by the client's own", client(&root, [idle(), vec![extension(36, false, REQUIRE_POLICY)]].concat()), false),
        ("by the root", client(&requiring, idle()), false),
        ("the same root, without policies", client(&requiring, vec![]), true),
        ("mapped", client(&below(vec![extension(33, false, MAPPINGS)]), idle()), false),
        ("mapped critically", client(&below(vec![extension(33, true, MAPPINGS)]), vec![]), false),
        ("an unknown qualifier", client(&root, vec![extension(32, true, UNKNOWN_QUALIFIER)]), false),
        ("the same, not critical", client(&root, vec![extension(32, false, UNKNOWN_QUALIFIER)]), true),
        ("malformed", client(&root, vec![extension(32, true, &[5, 0])]), false),
        ("empty", client(&root, vec![extension(32, true, &[0x30, 0])]), false),
        ("something else beside it", client(&root, [idle(), vec![extension(99, true, &[5, 0])]].concat()), false),
    ];
    for (name, pem, accepted) in cases {
        let expected = if accepted { "200" } else { "refused" };
        for version in BOTH {
            assert_eq!(asked(&harness, &pem, version).await, expected, "{name}, {version:?}");
        }
    }
}

/// The flag is shown changed to the path builder; nobody else may change it.
#[tokio::test]
async fn what_was_changed_after_it_was_signed_is_refused() {
    let root = Ca::root("Root", |_| {});
    let harness = Harness::start_made("", |site| accept(site, &root), |_| {});
    let with = |critical| {
        root.client(&[ETAX], &[], |params| params.custom_extensions = vec![extension(32, critical, POLICIES)])
    };
    let critical = with(true);
    assert_eq!(asked(&harness, &critical, &TLS13).await, "200");
    let der = CertificateDer::from_pem_slice(critical.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(critical.as_bytes()).unwrap();
    // OID, BOOLEAN: its one byte; and the policy itself.
    let flag = place(&der, &[0x55, 0x1d, 32, 0x01, 0x01]) + 5;
    let policy = place(&der, POLICIES) + POLICIES.len() - 1;
    for (at, byte) in [(flag, 0x00), (flag, 0x01), (policy, 0x05)] {
        let mut changed = der.to_vec();
        assert_ne!(changed[at], byte);
        changed[at] = byte;
        let pem = [("CERTIFICATE", &changed[..]), ("PRIVATE KEY", key.secret_der())].map(|(name, der)| pem(name, der));
        assert_eq!(asked(&harness, &pem.concat(), &TLS13).await, "refused", "{at} is {byte}");
    }
}

fn place(der: &[u8], part: &[u8]) -> usize {
    der.windows(part.len()).position(|window| window == part).unwrap()
}

fn pem(name: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in der.chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for digit in 0..4 {
            let at = bits >> (18 - 6 * digit) & 63;
            text.push(if digit <= three.len() { char::from(DIGITS[at as usize]) } else { '=' });
        }
    }
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {name}-----\n{}\n-----END {name}-----\n", lines.join("\n"))
}
