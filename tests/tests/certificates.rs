//! Promise: certificates as governments issue them are read, accepted where that is sound, and refused with a reason where it is
//! not; and TLS 1.2 is served to whoever still needs it, who is counted.

use std::net::SocketAddr;
use std::process::Command;

use http::StatusCode;
use popgate_demo::client::{Client, Http, get};
use popgate_demo::deployment::{AGENCIES, Options};
use popgate_demo::register::demo::HOA;
use popgate_demo::scenario::read_path;
use popgate_tests::chains::{Ca, NO_ANY_POLICY, POLICIES, REQUIRE_POLICY, accept, credentials, extension, file};
use popgate_tests::made::edit;
use popgate_tests::process::Process;
use popgate_tests::{Harness, eventually, refusal};
use rcgen::{
    CertificateParams, DnType, DnValue, GeneralSubtree, KeyPair, NameConstraints, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    PKCS_RSA_SHA256, RsaKeySize,
};
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use unicode_normalization::UnicodeNormalization as _;

mod limbo;
mod policies;
mod tls12;

const ETAX: &str = "spiffe://gov.vn/tax/etax";
const BOTH: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

#[tokio::test]
async fn chains_of_governments_are_accepted() {
    let root = Ca::root("Government Root", |params| {
        params.custom_extensions = vec![extension(32, true, POLICIES)];
    });
    let ministry = root.below("Ministry", |params| {
        params.custom_extensions = vec![extension(32, true, POLICIES), extension(54, true, NO_ANY_POLICY)];
    });
    let department = ministry.below("Department", |params| {
        // Critical in every certificate that has it.
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("gov.vn".into())],
            excluded_subtrees: Vec::new(),
        });
    });
    let harness = Harness::start_made("", |site| accept(site, &root), |_| {});
    let above = [&department, &ministry];
    let policies = |params: &mut CertificateParams| params.custom_extensions = vec![extension(32, true, POLICIES)];
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096).unwrap();
    let cases = [
        ("two intermediates", department.client(&[ETAX], &above, |_| {})),
        ("in another order", department.client(&[ETAX], &[&ministry, &department], |_| {})),
        ("with the root", department.client(&[ETAX], &[&department, &ministry, &root], |_| {})),
        ("critical policies", department.client(&[ETAX], &above, policies)),
        ("key usage alone", department.client(&[ETAX], &above, |params| params.extended_key_usages.clear())),
        ("neither usage", {
            department.client(&[ETAX], &above, |params| {
                params.extended_key_usages.clear();
                params.key_usages.clear();
            })
        }),
        ("RSA-4096", department.client_with(rsa, &[ETAX], &above, policies)),
        ("P-384", {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
            department.client_with(key, &[ETAX], &above, policies)
        }),
        ("Ed25519", {
            department.client_with(KeyPair::generate_for(&PKCS_ED25519).unwrap(), &[ETAX], &above, policies)
        }),
    ];
    for (name, pem) in cases {
        for version in BOTH {
            assert_eq!(asked(&harness, &pem, version).await, "200", "{name}, {version:?}");
        }
    }
}

/// However the authority wrote it: composed or not, in UTF-8 or UCS-2. The directory's own spelling may be either, too.
#[tokio::test]
async fn a_vietnamese_subject_is_the_same_in_every_spelling() {
    let name = "Cục Thuế, Chi cục số 1 – Bộ phận Thanh tra và Kiểm tra người nộp thuế";
    let (nfc, nfd): (String, String) = (name.nfc().collect(), name.nfd().collect());
    assert_ne!(nfc, nfd);
    for typed in [&nfc, &nfd] {
        let identity = format!("CN=etax,O={},C=VN", typed.replace(',', "\\\\,"));
        let harness = Harness::start_made("", |site| edit(site, "agencies/tax.toml", ETAX, &identity), |_| {});
        let agencies = Ca::of(&harness.deployment.site, AGENCIES);
        let subjects: [DnValue; 4] = [
            DnValue::Utf8String(nfc.clone()),
            DnValue::Utf8String(nfd.clone()),
            DnValue::BmpString(nfc.as_str().try_into().unwrap()),
            DnValue::BmpString(nfd.as_str().try_into().unwrap()),
        ];
        for organisation in subjects {
            let what = format!("{organisation:?}");
            let pem = agencies.client(&[], &[], |params| {
                params.distinguished_name = rcgen::DistinguishedName::new();
                params.distinguished_name.push(DnType::CountryName, "VN");
                params.distinguished_name.push(DnType::OrganizationName, organisation);
                params.distinguished_name.push(DnType::CommonName, "etax");
            });
            assert_eq!(asked(&harness, &pem, &TLS13).await, "200", "{what}");
        }
        // Another name is another system.
        let pem = agencies.client(&[], &[], |params| {
            params.distinguished_name.push(DnType::OrganizationName, nfc.replace('ế', "é"));
        });
        assert_eq!(asked(&harness, &pem, &TLS13).await, "403 system_not_enrolled");
    }
}

#[tokio::test]
async fn openssls_multi_valued_names_are_written_as_openssl_writes_them() {
    let harness = Harness::start();
    let site = &harness.deployment.site;
    let dir = site.dir();
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").current_dir(dir).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    openssl(&[
        "req",
        "-x509",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-384",
        "-nodes",
        "-keyout",
        "multi.key",
        "-out",
        "multi.crt",
        "-CA",
        "pki/agencies.pem",
        "-CAkey",
        "pki/agencies.key",
        "-utf8",
        "-multivalue-rdn",
        "-days",
        "5",
        "-subj",
        "/C=VN/ST=Hà Nội/O=Cục Thuế+OU=Đội \\\"1\\\", số 2/CN=etax+serialNumber=0100233488/emailAddress=a@tax.test",
        "-addext",
        "keyUsage=critical,digitalSignature",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-addext",
        "certificatePolicies=critical,1.2.3.4,1.2.3.5",
    ]);
    let subject = openssl(&["x509", "-in", "multi.crt", "-noout", "-subject", "-nameopt", "RFC2253,-esc_msb,utf8"]);
    let subject = subject.trim().strip_prefix("subject=").unwrap();
    assert!(subject.contains('+') && subject.contains("Thuế"), "{subject}");
    let pem = ["multi.crt", "multi.key"].map(|name| std::fs::read_to_string(dir.join(name)).unwrap()).concat();
    assert_eq!(asked(&harness, &pem, &TLS13).await, "403 system_not_enrolled");
    let node = harness.deployment.gateway.node();
    let before = node.live().bundle.digest();
    edit(site, "agencies/tax.toml", ETAX, &subject.replace('\\', "\\\\").replace('"', "\\\""));
    eventually("the subject is enrolled", || node.live().bundle.digest() != before).await;
    for version in BOTH {
        assert_eq!(asked(&harness, &pem, version).await, "200", "{version:?}");
    }
}

#[tokio::test]
async fn a_critical_extension_that_is_not_understood_is_named_in_the_log() {
    let process = Process::start(&Options::default());
    let agencies = Ca::of(&process.site, AGENCIES);
    let pem = agencies.client(&[ETAX], &[], |params| {
        params.custom_extensions = vec![extension(36, true, REQUIRE_POLICY), extension(99, true, &[5, 0])];
    });
    let client = Client::new(process.address, &credentials(&process.site, &pem), Http::One).unwrap();
    assert!(client.send(get("/", None)).await.is_err());
    let named = "critical extension 2.5.29.36 policyConstraints, critical extension 2.5.29.99";
    let line = || process.log().into_iter().find(|line| line.contains("handshake failed"));
    eventually("the refusal is logged", || line().is_some()).await;
    let line = line().unwrap();
    assert!(line.contains(named) && line.contains("\"critical_extension\""), "{line}");
}

#[test]
fn inspect_tells_of_a_file_what_the_gateway_would_say() {
    let harness = Harness::start();
    let site = &harness.deployment.site;
    let agencies = Ca::of(site, AGENCIES);
    let config = site.config_file().display().to_string();
    let inspect = |pem: &str, more: &[&str]| {
        let file = file(site.dir(), "inspected.pem", pem);
        let output =
            Command::new(popgate_tests::build::popgate()).args(["pki", "inspect", &file]).args(more).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap(), told)
    };
    let good = agencies.client(&[ETAX], &[], |_| {});
    let (code, told) = inspect(&good, &["--config", &config]);
    assert!(code == 0 && told.contains("enrolled as tax/etax") && !told.contains("FAIL"), "{code} {told}");
    assert!(!told.contains("PRIVATE"), "{told}");
    let bad = agencies.client(&["urn:nobody"], &[], |params| {
        params.custom_extensions = vec![extension(36, true, REQUIRE_POLICY)];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    let (code, told) = inspect(&bad, &[]);
    assert_eq!(code, 1, "{told}");
    for part in ["critical extension 2.5.29.36 policyConstraints: not understood", "serverAuth, without clientAuth"] {
        assert!(told.contains(part), "{told}");
    }
    let (code, told) = inspect(&bad, &["--config", &config, "--json"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let failing = told["checks"].as_array().unwrap().iter().filter(|check| check["outcome"] == "fail");
    let failing: Vec<_> = failing.map(|check| check["code"].as_str().unwrap()).collect();
    let refused = "critical_extension";
    assert_eq!((code, failing), (1, vec!["wrong_usage", refused, refused, "system_not_enrolled"]), "{told:#}");
    let (code, told) = inspect(&agencies.pem, &[]);
    assert!(code == 1 && told.contains("an authority's"), "{told}");
    assert_eq!(inspect("nothing", &[]).0, 1);
}

/// What a client with that PEM is answered: a status and a code, or `refused` in the handshake.
async fn asked(harness: &Harness, pem: &str, version: &'static SupportedProtocolVersion) -> String {
    let credentials = credentials(&harness.deployment.site, pem);
    let address: SocketAddr = harness.deployment.gateway.https();
    let client = Client::with_versions(address, &credentials, Http::One, &[version]).unwrap();
    match client.send(get(&read_path(HOA.number), Some("assessment"))).await {
        Ok(answer) if answer.status == StatusCode::OK => "200".into(),
        Ok(answer) => refusal(&answer),
        Err(_) => "refused".into(),
    }
}
