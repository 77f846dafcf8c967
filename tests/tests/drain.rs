//! Promise: a node that is told to stop finishes what it has begun, takes nothing new, and leaves a whole log.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use nix::sys::signal::Signal;
use popgate::audit::{self, Ended, Entry, What};
use popgate_demo::client::{Http, get};
use popgate_demo::deployment::{Deployment, Options};
use popgate_demo::register::demo::{HOA, HUSBAND, SON};
use popgate_demo::register::{Citizen, Fault, Number, population};
use popgate_demo::scenario::read_path;
use popgate_tests::process::Process;
use popgate_tests::wire::{self, Reply, frame};
use popgate_tests::{Harness, eventually};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn requests_in_flight_are_answered_and_nothing_new_is_taken() {
    let harness = Harness::start();
    let clients = [Http::One, Http::Two].map(|http| harness.client_over("tax/etax", http));
    let Deployment { site, gateway, register, .. } = harness.deployment;
    register.faults.set_everyone(Fault { delay_head: Some(Duration::from_secs(1)), ..Fault::default() });
    let mut idle = Vec::new();
    let mut asking = Vec::new();
    for (client, number) in clients.iter().zip([HOA.number, HUSBAND.number]) {
        let mut waiting = client.connect().await.unwrap();
        let refused = waiting.send(get("/nothing", None)).await.unwrap();
        assert_eq!(refused.status, StatusCode::NOT_FOUND);
        idle.push(waiting);
        let mut session = client.connect().await.unwrap();
        asking.push(tokio::spawn(async move {
            let answer = session.send(get(&read_path(number), Some("assessment"))).await;
            (answer, session)
        }));
    }
    let half = wire::open(&clients[0]).await;
    eventually("both are with the register", || register.faults.requests() == 2).await;

    let (address, since) = (gateway.https(), Instant::now());
    let drain = tokio::spawn(gateway.drain());
    eventually("new connections are refused", || std::net::TcpStream::connect(address).is_err()).await;
    eventually("idle connections are closed", || idle.iter().all(|session| session.is_closed())).await;
    assert!(since.elapsed() < Duration::from_secs(5), "idle ones were closed after {:?}", since.elapsed());
    for asked in asking {
        let (answer, session) = asked.await.unwrap();
        assert_eq!(answer.unwrap().status, StatusCode::OK);
        eventually("and its connection ends", || session.is_closed()).await;
    }
    drop(half);
    drain.await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(5), "what was done did not wait for the deadline");
    let log = audit::read::verify(&site.audit()).unwrap();
    assert!(log.closed);
    assert_eq!((log.intents, log.closings, log.open), (2, 2, 0));
}

#[tokio::test]
async fn a_reader_that_is_slow_may_finish_and_one_that_stands_still_is_cut_and_recorded() {
    let harness = Harness::start();
    let client = harness.client_over("tax/etax", Http::Two);
    let Deployment { site, gateway, register, .. } = harness.deployment;
    // An answer in several pieces: what is left of it when the connection ends is known not to be sent.
    let mut record: Value = serde_json::from_slice(&Citizen::of(SON.number).unwrap().to_json()).unwrap();
    record["full_name"] = "a".repeat(4000).into();
    record["permanent_residence"]["province"] = "b".repeat(4000).into();
    register.faults.set(SON.number, Fault { body: Some(record.to_string().into()), ..Fault::default() });
    let mut readers = Vec::new();
    for number in [HOA.number, SON.number] {
        // No window: of the answer's body nothing may be sent yet.
        let mut stream = wire::open(&client).await;
        let block = wire::header_block(&read_path(number), "assessment");
        let request = frame(wire::HEADERS, wire::END_HEADERS | wire::END_STREAM, 1, &block);
        stream.write_all(&[wire::preface(&[(4, 0)]), request].concat()).await.unwrap();
        // The answer's head: a HEADERS frame of stream 1.
        let mut received = Vec::new();
        while !frames(&received).iter().any(|(kind, stream)| (*kind, *stream) == (wire::HEADERS, 1)) {
            assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
        }
        readers.push(stream);
    }
    assert_eq!(register.faults.requests(), 2);
    let [mut slow, mut still] = <[_; 2]>::try_from(readers).ok().unwrap();

    let since = Instant::now();
    let drain = tokio::spawn(gateway.drain());
    let mut received = Vec::new();
    while !frames(&received).iter().any(|(kind, _)| *kind == wire::GOAWAY) {
        assert_ne!(slow.read_buf(&mut received).await.unwrap(), 0, "told that the node goes");
    }
    slow.write_all(&frame(wire::WINDOW_UPDATE, 0, 1, &[0, 0, 0x7f, 0xff])).await.unwrap();
    let rest = Reply::read(&mut slow, Duration::from_secs(5)).await;
    assert!(rest.text().contains(HOA.full_name), "the slow one reads to the end");
    let cut = Reply::read(&mut still, Duration::from_secs(10)).await;
    assert!(cut.closed && !cut.text().contains("aa") && !cut.text().contains("bb"));
    drain.await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(9), "cut at the deadline, not after {:?}", since.elapsed());

    let log = audit::read::verify(&site.audit()).unwrap();
    assert!(log.closed);
    let ended = |entry: Entry| match entry.what {
        What::Closing(closing) => Some(closing.outcome),
        _ => None,
    };
    let outcomes: Vec<Ended> =
        audit::read::entries(&site.audit(), None).unwrap().filter_map(|entry| ended(entry.unwrap())).collect();
    assert!(matches!(outcomes[..], [Ended::Complete(_), Ended::Partial(_)]), "{outcomes:?}");
}

#[tokio::test]
async fn the_process_exits_with_0_and_every_request_that_it_took_was_answered() {
    let options = Options { settings: "\n[cache]\ncapacity = 0\n".into(), ..Options::default() };
    let mut process = Process::start(&options);
    let faults = process.register.faults.clone();
    faults.set_everyone(Fault { delay_head: Some(Duration::from_millis(100)), ..Fault::default() });
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for n in 0..12 {
        let client = process.client("tax/etax", if n % 2 == 0 { Http::One } else { Http::Two }).unwrap();
        let next = Arc::clone(&next);
        tasks.push(tokio::spawn(async move {
            let mut answered: BTreeSet<Number> = BTreeSet::new();
            // Until the node takes no more.
            while let Ok(mut session) = client.connect().await {
                loop {
                    let number = population::citizen(next.fetch_add(1, Ordering::Relaxed));
                    match session.send(get(&read_path(number), Some("assessment"))).await {
                        Ok(answer) => {
                            assert_eq!(answer.status, StatusCode::OK, "{}", answer.code());
                            assert!(answered.insert(number));
                        }
                        Err(_) => break,
                    }
                }
            }
            answered.len() as u64
        }));
    }
    eventually("load", || faults.requests() > 100).await;
    let since = Instant::now();
    process.signal(Signal::SIGTERM);
    let status = process.ended(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0), "{}", process.log().join("\n"));
    assert!(since.elapsed() < Duration::from_secs(4), "busy clients kept it for {:?}", since.elapsed());
    let mut answered = 0;
    for task in tasks {
        answered += task.await.unwrap();
    }
    assert_eq!(answered, faults.requests(), "every request that reached the register was answered in full");
    let log = audit::read::verify(&process.site.audit()).unwrap();
    assert!(log.closed);
    assert_eq!((log.intents, log.closings, log.open), (answered, answered, 0));
}

/// Kind and stream of the whole frames in it.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u32)> {
    let mut frames = Vec::new();
    while let [a, b, c, kind, _, s0, s1, s2, s3, rest @ ..] = bytes {
        let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap();
        let Some(after) = rest.get(length..) else { break };
        frames.push((*kind, u32::from_be_bytes([*s0, *s1, *s2, *s3])));
        bytes = after;
    }
    frames
}
