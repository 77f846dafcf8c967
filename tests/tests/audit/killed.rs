//! A node is killed (SIGKILL) under load at random instants. `POPGATE_KILL_ROUNDS` sets how often, `POPGATE_KILL_SEED` repeats a run.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use popgate::audit::read;
use popgate_demo::client::{Answer, Client, Http, Session, get, post};
use popgate_demo::deployment::{Options, Register, Site};
use popgate_demo::register::{Citizen, population};
use popgate_demo::scenario::{LOOKUP, VERIFY, read_path};
use popgate_tests::node::Node;
use serde_json::json;
use tokio::task::LocalSet;

use super::{entries, intent};

/// What a client saw the beginning of.
#[derive(Clone)]
struct Seen {
    id: String,
    system: &'static str,
    operation: &'static str,
    subject: String,
    /// Whether all of it arrived.
    whole: bool,
}

const LOAD: [(&str, &str, Http); 8] = [
    ("tax/etax", "assessment", Http::One),
    ("tax/etax", "assessment", Http::Two),
    ("ha-noi/portal", "residence-management", Http::One),
    ("hospital-north/his", "treatment", Http::Two),
    ("telecom-a/crm", "subscriber-verification", Http::One),
    ("telecom-a/crm", "subscriber-verification", Http::Two),
    ("bank-a/ekyc", "e-kyc", Http::One),
    ("bank-a/ekyc", "e-kyc", Http::Two),
];

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the seed repeats the run, and the figures are the proof")]
async fn what_a_client_received_of_a_killed_node_has_its_record() {
    let rounds = number("POPGATE_KILL_ROUNDS").unwrap_or(10);
    let clock = || SystemTime::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64);
    let seed = number("POPGATE_KILL_SEED").unwrap_or_else(clock);
    println!("POPGATE_KILL_SEED={seed}");
    let mut random = seed | 1;

    let dir = tempfile::tempdir().unwrap();
    let site = Site::make(dir.path()).unwrap();
    let register = Register::start(&site).unwrap();
    // Small segments: kills hit their beginnings and ends, too.
    let audit = "min_free = \"1MiB\"\nsegment = \"64KiB\"".to_owned();
    site.write_config(register.address, &Options { audit: Some(audit), ..Options::default() }).unwrap();

    let mut seen: Vec<Seen> = Vec::new();
    let mut torn = 0;
    for round in 0..rounds {
        let node = Node::start(&site, &["--log", "info"]);
        let clients = LOAD.map(|(system, purpose, http)| (system, purpose, node.client(&site, system, http)));
        let local = LocalSet::new();
        let received = Rc::new(RefCell::new(Vec::new()));
        let warm = Rc::new(Cell::new(0));
        let mut tasks = Vec::new();
        for (system, purpose, client) in clients {
            let first = next(&mut random);
            tasks.push(local.spawn_local(hammer(
                client,
                system,
                purpose,
                first,
                Rc::clone(&received),
                Rc::clone(&warm),
            )));
        }
        let after = Duration::from_micros(50_000 + next(&mut random) % 350_000);
        local
            .run_until(async {
                // Under load: every client has had an answer, in a fresh process the slowest of all.
                while warm.get() < LOAD.len() && tasks.iter().all(|task| !task.is_finished()) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                tokio::time::sleep(after).await;
                node.kill();
                for task in tasks {
                    task.await.unwrap();
                }
            })
            .await;
        seen.extend(received.take());

        // As an auditor finds it, nothing repaired yet.
        let report =
            read::verify(&site.audit()).unwrap_or_else(|damage| panic!("round {round}, seed {seed}: {damage}"));
        assert!(!report.closed, "a killed node does not seal its log");
        torn = report.torn.len();
        prove(&site, &seen, &format!("round {round}, seed {seed}"));
    }

    // A node that starts again repairs the log, goes on with it, and says so.
    let node = Node::start(&site, &["--log", "info"]);
    let (good, said) = node.terminate();
    assert!(good);
    let opened = said.iter().find(|line| line.contains("the audit log is open")).unwrap();
    assert!(opened.contains("\"clean\":false"), "{opened}");
    let report = read::verify(&site.audit()).unwrap();
    assert!(report.closed && report.segments > rounds, "{report}");
    prove(&site, &seen, "after the repair");

    let whole = seen.iter().filter(|seen| seen.whole).count();
    println!(
        "{rounds} kills: {} answers begun, {whole} of them whole, none without its record; {} intents, {} of them possibly \
         seen; {} segments, {torn} torn; chain verified after each kill",
        seen.len(),
        report.intents,
        report.open,
        report.segments
    );
    assert!(seen.len() as u64 > 10 * rounds, "too little load to show anything: {}", seen.len());
}

/// Each answer has the intent that it must have had before it.
fn prove(site: &Site, seen: &[Seen], when: &str) {
    let entries = entries(site);
    let intents: HashMap<_, _> = entries
        .iter()
        .filter_map(|entry| match &entry.what {
            popgate::audit::What::Intent(intent) => Some((intent.disclosure.to_string(), intent)),
            _ => None,
        })
        .collect();
    for seen in seen {
        let Some(intent) = intents.get(&seen.id) else {
            panic!("{when}: {} was received and is not recorded", seen.id)
        };
        let subject = intent.sealed.as_ref().and_then(|sealed| sealed.subject.as_ref()).unwrap();
        assert_eq!(
            (&*intent.system, &*intent.operation, subject.expose()),
            (seen.system, seen.operation, &seen.subject),
            "{when}"
        );
        assert!(!intent.fields.is_empty(), "{when}");
    }
    if let Some(last) = seen.last() {
        assert!(intent(&entries, &last.id).is_some());
    }
}

/// Asks about one citizen after another until the node is gone.
async fn hammer(
    client: Client,
    system: &'static str,
    purpose: &'static str,
    first: u64,
    received: Rc<RefCell<Vec<Seen>>>,
    warm: Rc<Cell<usize>>,
) {
    let Ok(mut session) = client.connect().await else { return };
    for n in 0.. {
        let number = population::citizen((first >> 8).wrapping_add(n) % population::size());
        let citizen = Citizen::of(number).unwrap();
        let keys = json!({
            "id": number.to_string(),
            "full_name": citizen.full_name,
            "date_of_birth": citizen.date_of_birth.to_string(),
        });
        let (operation, request) = match system {
            "bank-a/ekyc" => ("citizen.verify", post(VERIFY, Some(purpose), &keys)),
            "tax/etax" if n % 2 == 0 => ("citizen.read", get(&read_path(number), Some(purpose))),
            _ => ("citizen.lookup", post(LOOKUP, Some(purpose), &keys)),
        };
        let seen = |id: String| Seen { id, system, operation, subject: number.to_string(), whole: false };
        if receive(&mut session, request, seen, &received).await.is_none() {
            return;
        }
        if n == 0 {
            warm.set(warm.get() + 1);
        }
    }
}

async fn receive(
    session: &mut Session,
    request: http::Request<http_body_util::Full<bytes::Bytes>>,
    seen: impl FnOnce(String) -> Seen,
    received: &RefCell<Vec<Seen>>,
) -> Option<()> {
    let response = session.start(request).await.ok()?;
    let mut at = None;
    // From here on the client knows something, whether a body follows or not.
    if response.status() == http::StatusCode::OK {
        let id = response.headers()["gateway-request-id"].to_str().unwrap().to_owned();
        let mut received = received.borrow_mut();
        at = Some(received.len());
        received.push(seen(id));
    }
    Answer::receive(response).await.ok()?;
    if let Some(at) = at {
        received.borrow_mut()[at].whole = true;
    }
    Some(())
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().unwrap())
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
