//! The load against servers whose behaviour is known.

use super::*;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};

/// Serves on a thread of its own until the process ends: each request is answered by what `answer` says, a status after
/// a time.
fn server(http: Http, answer: impl Fn(u64) -> (StatusCode, Duration) + Clone + Send + Sync + 'static) -> SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let seen = Arc::new(AtomicU64::new(0));
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (answer, seen) = (answer.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    let service = service_fn(|_| {
                        let (status, after) = answer(seen.fetch_add(1, Ordering::Relaxed));
                        async move {
                            tokio::time::sleep(after).await;
                            let body = Full::new(Bytes::from_static(b"{}"));
                            Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
                        }
                    });
                    let stream = TokioIo::new(stream);
                    match http {
                        Http::One => drop(http1::Builder::new().serve_connection(stream, service).await),
                        Http::Two => {
                            drop(http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await)
                        }
                    }
                });
            }
        });
    });
    address
}

/// On a busy machine answers take long.
const PATIENT: Duration = Duration::from_secs(20);

fn agent(target: SocketAddr) -> Agent {
    Agent::new("a", target, Arc::new(|number| Request::get(format!("/{number}")).body(Bytes::new()).unwrap()))
}

fn short() -> Plan {
    Plan { warm_up: Duration::from_millis(200), measure: Duration::from_secs(1), ..Plan::default() }
}

#[test]
fn each_request_is_counted_once_and_by_what_became_of_it() {
    for http in [Http::One, Http::Two] {
        let statuses =
            [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS, StatusCode::NOT_FOUND];
        let target = server(http, move |n| (statuses[n as usize % 4], Duration::ZERO));
        let outcome =
            run(vec![Agent { http, timeout: PATIENT, arrivals: Arrivals::constant(400.0), ..agent(target) }], &short())
                .unwrap();
        let all = outcome.total();
        assert!((399..=401).contains(&all.offered), "{}", all.offered);
        assert_eq!(all.ok + all.refused + all.failed, all.offered);
        assert!(
            all.ok.abs_diff(100) <= 2 && all.refused.abs_diff(200) <= 2 && all.failed.abs_diff(100) <= 2,
            "{all:?}"
        );
        assert_eq!(all.slices.iter().map(|slice| slice.offered).sum::<u64>(), all.offered);
        assert_eq!(all.slices.len(), 10);
    }
}

/// A server that stops for 600 ms: whoever would have asked in that time waits, and is counted as having waited.
#[test]
fn a_pause_of_the_server_shows_in_the_latency_of_all_who_were_due_in_it() {
    let began = Instant::now();
    let target = server(Http::One, move |_| {
        let since = began.elapsed();
        let stopped = Duration::from_millis(600)..Duration::from_millis(1200);
        (StatusCode::OK, if stopped.contains(&since) { stopped.end - since } else { Duration::ZERO })
    });
    let lone = Agent { connections: 1, timeout: PATIENT, arrivals: Arrivals::constant(100.0), ..agent(target) };
    let plan = Plan { warm_up: Duration::ZERO, measure: Duration::from_millis(1500), ..Plan::default() };
    let all = run(vec![lone], &plan).unwrap().total();
    // Sixty were due while it stopped, and thirty of them waited for half of that; a closed loop would have noticed one.
    let slow = all.latency.len() - all.latency.count_between(0, 300_000);
    assert!(slow >= 25, "{slow} of {}", all.ok);
    assert!(all.percentile(1.0) > Duration::from_millis(500));
}

#[test]
fn patience_ends_for_what_waits_and_what_is_in_flight_and_the_queue_is_bounded() {
    let target = server(Http::One, |_| (StatusCode::OK, Duration::from_secs(5)));
    let slow = Agent {
        connections: 2,
        queue: 10,
        timeout: Duration::from_millis(300),
        arrivals: Arrivals::constant(100.0),
        ..agent(target)
    };
    let all = run(vec![slow], &short()).unwrap().total();
    assert_eq!(all.ok, 0);
    assert_eq!(all.timed_out + all.dropped, all.offered);
    assert!(all.dropped > 40 && all.timed_out > 30, "{} {}", all.dropped, all.timed_out);
}

#[test]
fn a_closed_loop_asks_again_when_it_was_answered() {
    let target = server(Http::One, |_| (StatusCode::OK, Duration::from_millis(20)));
    let all = run(vec![Agent { arrivals: Arrivals::closed(), ..agent(target) }], &short()).unwrap().total();
    // Four connections, twenty milliseconds and something each; less on a busy machine.
    assert!((20..=200).contains(&all.ok), "{}", all.ok);
}

#[test]
fn who_cannot_connect_is_told_why() {
    let nobody = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let plan = Plan { connect_within: Duration::from_millis(300), ..short() };
    let error = run(vec![agent(nobody)], &plan).unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
}
