//! Nodes that share: what is let through, whichever of them is asked.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::load::{node, nodes, rate, shared, used_whole};
use super::server::{Server, until};
use popgate::share::{Exhausted, Place, SharedRate};

/// Until the share of a node alone does not limit it any more.
const WARM: Duration = Duration::from_millis(3_500);

#[test]
fn a_rate_holds_over_all_nodes_and_is_used_whoever_asks() {
    let server = Server::start(&[]);
    let shares = nodes(4, &|_| Place::One(server.url()));
    let rates = [rate(1_000, 1_000), rate(1_000, 100), rate(200, 50), rate(5_000, 5_000)];
    let all: Vec<Vec<Arc<SharedRate>>> =
        rates.iter().map(|rate| shares.iter().map(|it| it.rate("tax", *rate)).collect()).collect();
    shared(&shares);
    until(Duration::from_secs(5), "all nodes are seen", || shares.iter().all(|it| it.nodes() == 4));
    thread::sleep(WARM);
    for (rate, limits) in rates.iter().zip(&all) {
        // One node busy, two unevenly, all.
        for shape in [[4, 0, 0, 0], [3, 1, 0, 0], [1, 1, 1, 1]] {
            let demand = |part: &u32| rate.count.get() * part;
            let load: Vec<_> = limits.iter().cloned().zip(shape.iter().map(demand)).filter(|it| it.1 > 0).collect();
            used_whole(&format!("{}/s, burst {}, demand {shape:?}", rate.count, rate.burst), &load, *rate);
        }
    }
    println!("{:?}", shares[0].figures());
}

#[test]
fn a_quota_holds_over_all_nodes_to_one_token_a_node() {
    let server = Server::start(&[]);
    let shares = nodes(4, &|_| Place::One(server.url()));
    let limits: Vec<_> = shares.iter().map(|it| it.quota("persons", 20_000)).collect();
    limits.iter().for_each(|it| it.expect(20_261_130));
    shared(&shares);
    thread::sleep(Duration::from_millis(100));
    let spend = |limit: Arc<popgate::share::SharedQuota>| {
        thread::spawn(move || {
            let (mut counted, end) = (0_u64, Instant::now() + Duration::from_secs(30));
            loop {
                match limit.take(20_261_130, 1) {
                    Ok(_) => counted += 1,
                    Err(Exhausted::Spent) => return counted,
                    Err(Exhausted::Soon(_)) if Instant::now() > end => return counted,
                    Err(Exhausted::Soon(wait)) => thread::sleep(wait.min(Duration::from_millis(5))),
                }
            }
        })
    };
    let threads: Vec<_> = limits.iter().cloned().map(spend).collect();
    let counted: Vec<u64> = threads.into_iter().map(|it| it.join().unwrap()).collect();
    let total: u64 = counted.iter().sum();
    println!("quota 20000: admitted {total}, by node {counted:?}");
    assert!((20_000 - 3..=20_000 + 3).contains(&total), "{total}");
    assert!(limits[0].take(20_261_201, 1).is_ok(), "the next day is another");
}

#[test]
fn a_quota_survives_a_restart_of_a_node_and_an_empty_redis() {
    let mut server = Server::start(&[]);
    let period = 202_611;
    let spend = |limit: &popgate::share::SharedQuota, n: u64| {
        for _ in 0..n {
            until(Duration::from_secs(5), "a token", || limit.take(period, 1).is_ok());
        }
    };
    let total = |server: &Server| -> u64 {
        let all = server.ask("HVALS popgate:q:{persons/202611}");
        let counts =
            all.lines().filter(|it| it.contains(' ')).filter_map(|it| it.split(' ').next()?.parse::<u64>().ok());
        counts.sum()
    };
    let other = node(1, 2, Place::One(server.url()));
    let its = other.quota("persons", 10_000);
    let first = node(0, 2, Place::One(server.url()));
    let limit = first.quota("persons", 10_000);
    spend(&limit, 1_000);
    spend(&its, 500);
    until(Duration::from_secs(5), "all is settled", || total(&server) == 1_500);
    drop((limit, first));
    let first = node(0, 2, Place::One(server.url()));
    let limit = first.quota("persons", 10_000);
    spend(&limit, 200);
    until(Duration::from_secs(5), "what the node counted before is counted still", || total(&server) == 1_700);
    server.kill();
    spend(&limit, 10);
    server.again();
    let back = until(Duration::from_secs(10), "each node says again what it counted", || {
        let _ = its.take(period, 0);
        total(&server) == 1_710
    });
    println!("an empty Redis knows all counts again after {back:?}");
}

#[test]
fn a_limit_that_nobody_holds_is_forgotten() {
    let server = Server::start(&[]);
    let share = node(0, 1, Place::One(server.url()));
    let limits: Vec<_> = (0..100).map(|it| share.rate(&format!("limit-{it}"), rate(10, 10))).collect();
    let kept = share.rate("limit-0", rate(10, 10));
    assert!(Arc::ptr_eq(&kept, &limits[0]));
    until(Duration::from_secs(5), "all are there", || share.figures().limits == 100);
    kept.take(1, Instant::now()).unwrap();
    drop(limits);
    until(Duration::from_secs(20), "all but one are forgotten", || share.figures().limits == 1);
}

#[test]
fn a_password_is_read_from_a_file() {
    let server = Server::start(&["--requirepass", "of-this-test"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "wrong\n").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut config = popgate::share::Config::new(Place::One(server.url()), "node-0", 1);
    config.login.password_file = Some(file.clone());
    let clock = popgate::clock::Clock::system("Asia/Ho_Chi_Minh").unwrap();
    let share = popgate::share::Share::open(config, clock, 1).unwrap();
    let denied =
        |it: popgate::share::State| matches!(it, popgate::share::State::Local { why: popgate::share::Why::Denied, .. });
    until(Duration::from_secs(10), "it is said that Redis denies", || denied(share.state()));
    std::fs::write(&file, "of-this-test\n").unwrap();
    shared(&[share]);
}
