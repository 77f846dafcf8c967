//! Promise: files that change take effect within two seconds, whole or not at all, and no live connection notices.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::Signal;
use popgate::pki::{Authority, Client as Subject, Validity};
use popgate_demo::client::{Answer, Client, Credentials, Http, Session, get, post};
use popgate_demo::deployment::{AGENCIES, Options, Register, SITE, Site};
use popgate_demo::register::demo::HOA;
use popgate_demo::register::{Fault, demo};
use popgate_demo::scenario::{LOOKUP, keys_of_hoa, read_path};
use popgate_tests::process::Process;
use popgate_tests::{Harness, eventually, promised, refusal};
use serde_json::{Value, json};

const TELECOM: &str = "policies/telecom.cedar";
const YEAR: &str = "@mask(\"year\")\n";
const PROMPT: Duration = Duration::from_secs(2);
/// A changed bundle is compiled first, here by an unoptimised build beside others' that compile theirs: how fast it is says `benches/`.
const COMPILED: Duration = Duration::from_secs(10);

#[tokio::test]
async fn an_edited_policy_takes_effect_on_live_connections_and_a_broken_one_does_not() {
    let harness = Harness::start();
    let (node, bundle) = (harness.deployment.gateway.node(), harness.deployment.site.bundle());
    let mut sessions = Vec::new();
    for http in [Http::One, Http::Two] {
        sessions.push(harness.client_over("telecom-a/crm", http).connect().await.unwrap());
    }
    for session in &mut sessions {
        assert_eq!(look_up(session).await.json()["date_of_birth"], 1987);
    }
    let before = admin_bundle(&harness).await;
    let policy = fs::read_to_string(bundle.join(TELECOM)).unwrap();

    // Edited in place.
    fs::write(bundle.join(TELECOM), policy.replacen(YEAR, "", 1)).unwrap();
    let since = Instant::now();
    while look_up(&mut sessions[0]).await.json()["date_of_birth"] == 1987 {
        assert!(since.elapsed() < promised(COMPILED), "not in force after {:?}", since.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for session in &mut sessions {
        assert_eq!(look_up(session).await.json()["date_of_birth"], "1987-03-14");
    }
    let after = admin_bundle(&harness).await;
    assert_ne!(before["bundle"]["digest"], after["bundle"]["digest"]);
    let changes = after["bundle"]["changes"].to_string();
    assert!(changes.contains("telecom-year-only"), "{changes}");

    // Broken: its author is told where and what, the last good one stays.
    let broken = policy.replacen("Field::\"Citizen.date_of_birth\"", "Field::\"Citizen.date_of_brith\"", 1);
    fs::write(bundle.join(TELECOM), broken).unwrap();
    eventually("it is refused", || !node.last_reload().bundle_problems.is_empty()).await;
    let problems = node.last_reload().bundle_problems;
    assert!(problems.iter().any(|problem| problem.file == TELECOM && problem.at.is_some()), "{problems:?}");
    let refused = admin_bundle(&harness).await;
    assert_eq!(refused["bundle"]["digest"], after["bundle"]["digest"]);
    let shown = refused["bundle_refused"].to_string();
    assert!(shown.contains(TELECOM) && shown.contains("date_of_brith"), "{shown}");
    for session in &mut sessions {
        assert_eq!(look_up(session).await.json()["date_of_birth"], "1987-03-14");
    }
    // Not UTF-8, and gone altogether.
    fs::write(bundle.join(TELECOM), b"\xff\xfe").unwrap();
    eventually("it is refused too", || node.last_reload().bundle_problems.iter().any(|p| p.message.contains("UTF-8")))
        .await;
    fs::rename(&bundle, bundle.with_extension("away")).unwrap();
    eventually("a missing one is refused", || {
        node.last_reload().bundle_problems.iter().any(|p| p.message.contains("No such file"))
    })
    .await;
    assert_eq!(look_up(&mut sessions[0]).await.json()["date_of_birth"], "1987-03-14");

    // Put back, by renaming a new file over the bad one.
    fs::rename(bundle.with_extension("away"), &bundle).unwrap();
    let next = bundle.join("policies/.telecom.new");
    fs::write(&next, &policy).unwrap();
    fs::rename(&next, bundle.join(TELECOM)).unwrap();
    let same = || node.live().bundle.digest().to_string() == before["bundle"]["digest"].as_str().unwrap();
    eventually("the first one is in force again", same).await;
    assert!(node.last_reload().bundle_problems.is_empty());
    for session in &mut sessions {
        assert_eq!(look_up(session).await.json()["date_of_birth"], 1987);
        assert!(!session.is_closed());
    }
}

#[tokio::test]
async fn a_request_sees_one_version_from_start_to_end_however_often_they_are_swapped() {
    // Two versions that differ in two files and in two fields, behind a link.
    let dir = tempfile::tempdir().unwrap();
    let site = Site::make(dir.path()).unwrap();
    let versions = ["bundle-a", "bundle-b"].map(|name| dir.path().join(name));
    fs::rename(site.bundle(), &versions[0]).unwrap();
    copy(&versions[0], &versions[1]);
    let policy = fs::read_to_string(versions[1].join(TELECOM)).unwrap();
    fs::write(versions[1].join(TELECOM), policy.replacen(YEAR, "", 1)).unwrap();
    let phone = r#"
        @id("telecom-phone") @basis("a test")
        permit (principal in Sector::"telecom", action == Action::"citizen.lookup", resource == Field::"Citizen.phone")
        when { context.purpose == Purpose::"subscriber-verification" };
    "#;
    fs::write(versions[1].join("policies/a-second-file.cedar"), phone).unwrap();
    let link = |to: &Path| {
        let next = dir.path().join("next");
        std::os::unix::fs::symlink(to, &next).unwrap();
        fs::rename(&next, site.bundle()).unwrap();
    };
    link(&versions[0]);
    let register = Register::start(&site).unwrap();
    // The register takes its time, so that swaps happen within requests.
    register.faults.set_everyone(Fault { delay_head: Some(Duration::from_millis(5)), ..Fault::default() });
    let options = Options { settings: "\n[cache]\ncapacity = 0\n".into(), ..Options::default() };
    let gateway = site.start_gateway(register.address, &options).unwrap();
    let client = Client::new(gateway.https(), &site.credentials("telecom-a/crm").unwrap(), Http::One).unwrap();
    let of = |answer: &Answer| (answer.status, answer.body.clone());
    let a = of(&client.send(lookup()).await.unwrap());
    link(&versions[1]);
    gateway.node().reload_bundle().unwrap();
    let b = of(&client.send(lookup()).await.unwrap());
    assert!(a.0 == StatusCode::OK && b.0 == StatusCode::OK && a.1 != b.1);

    let swapping = Arc::new(AtomicBool::new(true));
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (client, swapping) = (client.clone(), Arc::clone(&swapping));
            tokio::spawn(async move {
                let mut session = client.connect().await.unwrap();
                let mut answers = Vec::new();
                while swapping.load(Ordering::Relaxed) {
                    answers.push(session.send(lookup()).await.unwrap());
                    // Within the system's rate.
                    tokio::time::sleep(Duration::from_millis(35)).await;
                }
                answers
            })
        })
        .collect();
    let (node, links) = (Arc::clone(gateway.node()), Arc::clone(&swapping));
    let digests = [0, 1].map(|version: usize| versions[version].clone());
    let swaps = async {
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..16 {
            link(&digests[n % 2]);
            let node = Arc::clone(&node);
            tokio::task::spawn_blocking(move || node.reload_bundle().unwrap()).await.unwrap();
            seen.insert(gateway.node().live().bundle.digest().to_string());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        links.store(false, Ordering::Relaxed);
        seen
    };
    let seen = swaps.await;
    assert_eq!(seen.len(), 2, "a version is one or the other, never some files of each: {seen:?}");
    let (mut of_a, mut of_b) = (0, 0);
    for task in tasks {
        for answer in task.await.unwrap() {
            let answer = of(&answer);
            assert!(answer == a || answer == b, "of neither version: {} {:?}", answer.0, answer.1);
            of_a += u32::from(answer == a);
            of_b += u32::from(answer == b);
        }
    }
    assert!(of_a > 5 && of_b > 5, "{of_a} answers of one version, {of_b} of the other");
}

#[tokio::test]
async fn a_new_server_certificate_is_shown_to_new_connections_and_garbage_is_not() {
    let harness = Harness::start();
    let (site, node) = (&harness.deployment.site, harness.deployment.gateway.node());
    let client = harness.client("tax/etax");
    let mut live = client.connect().await.unwrap();
    let shown = async || {
        let stream = client.connect_tls().await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let first = shown().await;
    let (certificate, key) = (site.dir().join("pki/gateway.pem"), site.dir().join("pki/gateway.key"));
    let old = fs::read(&certificate).unwrap();

    let issued = site.authority(SITE).unwrap().issue_server(&["localhost".into()], days()).unwrap();
    // The certificate alone does not go with the key in force.
    fs::write(&certificate, &issued.certificate).unwrap();
    eventually("half a change is refused", || node.last_reload().trust_problem.is_some()).await;
    assert_eq!(shown().await, first);
    fs::write(&key, &issued.key).unwrap();
    let since = Instant::now();
    while shown().await == first {
        assert!(since.elapsed() < promised(PROMPT), "not shown after {:?}", since.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(node.last_reload().trust_problem, None);
    let second = shown().await;
    fs::write(&certificate, "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n").unwrap();
    eventually("garbage is refused", || node.last_reload().trust_problem.is_some()).await;
    assert!(node.last_reload().trust_problem.unwrap().contains("gateway.pem"));
    assert_eq!(shown().await, second);
    fs::write(&certificate, old).unwrap();
    assert_eq!(read(&mut live).await.status, StatusCode::OK, "the first connection has lived through all of it");
    assert_eq!(client.send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn authorities_and_revocation_lists_come_and_go_and_concern_only_their_own() {
    let harness = Harness::start();
    let (site, node) = (&harness.deployment.site, harness.deployment.gateway.node());
    let mut bystander = harness.session("tax/etax").await;
    let pki = site.dir().join("pki");
    let (cas, crl) = (pki.join(format!("{AGENCIES}.pem")), pki.join(format!("{AGENCIES}.crl")));
    let (only, empty) = (fs::read_to_string(&cas).unwrap(), fs::read_to_string(&crl).unwrap());

    // A second authority: its clients are strangers, then known, then strangers again.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Authority::create(elsewhere.path(), "other", days()).unwrap();
    other.renew_crl(Timestamp::now(), SignedDuration::from_hours(24)).unwrap();
    let subject =
        Subject { uri: Some("spiffe://gov.vn/tax/etax".into()), common_name: "etax".into(), ..Subject::default() };
    let issued = other.issue_client(&subject, days()).unwrap();
    let credentials = Credentials {
        authorities: fs::read(site.gateway_authority()).unwrap(),
        identity: Some(format!("{}{}", issued.certificate, issued.key).into_bytes()),
    };
    let newcomer = Client::new(harness.deployment.gateway.https(), &credentials, Http::One).unwrap();
    let ask = || get(&read_path(HOA.number), Some("assessment"));
    assert!(newcomer.send(ask()).await.is_err());
    let with_other = |one: &str, other: &Path| format!("{one}{}", fs::read_to_string(other).unwrap());
    fs::write(&crl, with_other(&empty, &other.crl_file())).unwrap();
    fs::write(&cas, with_other(&only, &other.certificate_file())).unwrap();
    let since = Instant::now();
    let mut known = loop {
        if let Ok(mut session) = newcomer.connect().await
            && let Ok(answer) = session.send(ask()).await
        {
            assert_eq!(answer.status, StatusCode::OK);
            break session;
        }
        assert!(since.elapsed() < promised(COMPILED), "still a stranger after {:?}", since.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    fs::write(&cas, &only).unwrap();
    let since = Instant::now();
    loop {
        match known.send(ask()).await {
            Ok(answer) if answer.status == StatusCode::OK => {}
            Ok(answer) => break assert_eq!(refusal(&answer), "403 certificate_invalid"),
            Err(_) => break,
        }
        assert!(since.elapsed() < promised(COMPILED), "still known after {:?}", since.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(newcomer.send(ask()).await.is_err());
    assert_eq!(read(&mut bystander).await.status, StatusCode::OK);

    // Revocation: in force within two seconds, also on a live connection; garbage does not undo it.
    let mut telecom = harness.session("telecom-a/crm").await;
    assert_eq!(look_up(&mut telecom).await.status, StatusCode::OK);
    site.revoke("telecom-a/crm").unwrap();
    let since = Instant::now();
    loop {
        match telecom.send(lookup()).await {
            Ok(answer) if answer.status == StatusCode::OK => {}
            Ok(answer) => break assert_eq!(refusal(&answer), "403 certificate_revoked"),
            Err(_) => break,
        }
        assert!(since.elapsed() < promised(PROMPT), "still good after {:?}: {:?}", since.elapsed(), node.last_reload());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let revoked = fs::read(&crl).unwrap();
    let garbage: [&[u8]; 3] = [b"-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n", b"\0\x01\x02", b""];
    for garbage in garbage {
        let generation = node.trust().generation();
        fs::write(&crl, garbage).unwrap();
        eventually("it is refused", || node.last_reload().trust_problem.is_some()).await;
        assert_eq!(node.trust().generation(), generation, "{:?}", node.last_reload());
        assert!(harness.client("telecom-a/crm").send(lookup()).await.is_err(), "still revoked");
        assert_eq!(read(&mut bystander).await.status, StatusCode::OK);
        assert_eq!(harness.client("tax/etax").send(ask()).await.unwrap().status, StatusCode::OK);
        fs::write(&crl, &revoked).unwrap();
        eventually("a good one is taken", || node.last_reload().trust_problem.is_none()).await;
    }
}

#[tokio::test]
async fn a_hangup_makes_the_process_read_everything_and_drops_nobody() {
    let process = Process::start(&Options::default());
    let mut sessions = Vec::new();
    for http in [Http::One, Http::Two] {
        sessions.push(process.client("telecom-a/crm", http).unwrap().connect().await.unwrap());
    }
    for session in &mut sessions {
        assert_eq!(look_up(session).await.json()["date_of_birth"], 1987);
    }
    let reloads = || process.log().iter().filter(|line| line.contains("revocation lists reloaded")).count();
    for round in 1..=2 {
        process.signal(Signal::SIGHUP);
        eventually("nothing changed, and still all is read", || reloads() == round).await;
    }
    let file = process.site.bundle().join(TELECOM);
    let policy = fs::read_to_string(&file).unwrap();
    fs::write(&file, policy.replacen(YEAR, "", 1)).unwrap();
    process.signal(Signal::SIGHUP);
    let since = Instant::now();
    while look_up(&mut sessions[0]).await.json()["date_of_birth"] == 1987 {
        assert!(since.elapsed() < promised(COMPILED), "not in force after {:?}", since.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for session in &mut sessions {
        assert_eq!(look_up(session).await.json()["date_of_birth"], "1987-03-14");
        assert!(!session.is_closed());
    }
    let said = process.log().iter().any(|line| line.contains("bundle reloaded") && line.contains("telecom-year-only"));
    assert!(said, "{}", process.log().join("\n"));
}

fn days() -> Validity {
    Validity::days(Timestamp::now(), 1)
}

fn lookup() -> http::Request<http_body_util::Full<bytes::Bytes>> {
    post(LOOKUP, Some("subscriber-verification"), &keys_of_hoa())
}

async fn look_up(session: &mut Session) -> Answer {
    session.send(lookup()).await.unwrap()
}

async fn read(session: &mut Session) -> Answer {
    session.send(get(&read_path(demo::HOA.number), Some("assessment"))).await.unwrap()
}

/// `/bundle` of the admin listener, as an operator sees it.
async fn admin_bundle(harness: &Harness) -> Value {
    let site = &harness.deployment.site;
    let credentials = Credentials {
        authorities: fs::read(site.gateway_authority()).unwrap(),
        identity: Some(fs::read(site.dir().join("clients/operator-linh.pem")).unwrap()),
    };
    let address = harness.deployment.gateway.admin().unwrap();
    let answer = Client::new(address, &credentials, Http::One).unwrap().send(get("/bundle", None)).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert_ne!(answer.json(), json!(null));
    answer.json()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copied = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &copied);
        } else {
            fs::copy(&path, &copied).unwrap();
        }
    }
}
