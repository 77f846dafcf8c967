//! Redis that is slow, gone or replaced: each node lives on its own share, and shares again soon after.

use std::thread;
use std::time::{Duration, Instant};

use super::load::{Admitted, nodes, rate, shared, used_whole};
use super::server::{Road, Server, until};
use super::several::{Watched, cluster};
use popgate::share::{Place, Share, State, Why};

const WARM: Duration = Duration::from_millis(3_500);

/// Puts four nodes under four times the rate, lets something happen after three seconds and be over three seconds
/// later, and looks at every window.
fn through(what: &str, shares: &[Share], begin: impl FnOnce(), over: impl FnOnce()) {
    let (count, burst) = (1_000, 200);
    let limits: Vec<_> = shares.iter().map(|it| it.rate("tax", rate(count, burst))).collect();
    shared(shares);
    thread::sleep(WARM);
    let load: Vec<_> = limits.into_iter().map(|it| (it, count)).collect();
    let (began, all) = (Instant::now(), load.clone());
    let at = |seconds: f64| began + Duration::from_secs_f64(seconds);
    let loading = thread::spawn(move || Admitted::under(&all, Duration::from_secs(12)));
    thread::sleep(at(3.0) - Instant::now());
    begin();
    thread::sleep(at(6.0).saturating_duration_since(Instant::now()));
    let alone = shares.iter().filter(|it| it.state() != State::Shared).count();
    over();
    let ended = Instant::now();
    let back = shared(shares);
    let admitted = loading.join().unwrap();
    let share =
        |from: f64, until: f64| admitted.within(at(from), at(until)) as f64 / ((until - from) * f64::from(count));
    let most = admitted.over(rate(count, burst));
    println!(
        "{what}: {alone} of {} alone, back {back:?} after ({:?} into the load); admitted {:.1} % before, {:.1} % while it \
         lasted; over {most:.1} tokens of {burst} in any window",
        shares.len(),
        ended - began,
        100.0 * share(0.5, 3.0),
        100.0 * share(4.2, 6.0),
    );
    assert!(most <= 0.02 * 12.0 * f64::from(count), "{what}: over {most}");
    assert!(share(4.2, 6.0) <= 1.15, "{what}: never without limit");
    used_whole(&format!("{what}, afterwards"), &load, rate(count, burst));
}

#[test]
fn redis_that_stands_still() {
    let server = Server::start(&[]);
    let shares = nodes(4, &|_| Place::One(server.url()));
    through("stopped", &shares, || server.stop(), || server.go_on());
}

#[test]
fn redis_that_is_killed_and_comes_back_empty() {
    let server = std::cell::RefCell::new(Server::start(&[]));
    let url = server.borrow().url();
    let shares = nodes(4, &|_| Place::One(url.clone()));
    through("killed", &shares, || server.borrow_mut().kill(), || server.borrow_mut().again());
}

#[test]
fn redis_that_is_restarted_at_once() {
    let server = std::cell::RefCell::new(Server::start(&[]));
    let url = server.borrow().url();
    let shares = nodes(4, &|_| Place::One(url.clone()));
    let restart = || {
        server.borrow_mut().kill();
        server.borrow_mut().again();
    };
    through("restarted", &shares, restart, || {});
}

#[test]
fn a_road_that_is_cut() {
    let server = Server::start(&[]);
    let road = Road::to(server.port);
    let shares = nodes(4, &|_| Place::One(road.url()));
    through("cut", &shares, || road.cut(true), || road.cut(false));
}

#[test]
fn replies_that_vanish() {
    let server = Server::start(&[]);
    let road = Road::to(server.port);
    let shares = nodes(4, &|_| Place::One(road.url()));
    through("mute", &shares, || road.mute(true), || road.mute(false));
}

#[test]
fn replies_that_are_late() {
    let server = Server::start(&[]);
    let road = Road::to(server.port);
    let shares = nodes(4, &|_| Place::One(road.url()));
    through("50 ms late", &shares, || road.delay(50), || road.delay(0));
    road.delay(300);
    let late = |it: &Share| matches!(it.state(), State::Local { why: Why::Late, .. });
    until(Duration::from_secs(10), "an answer after the time limit is none", || shares.iter().all(late));
    road.delay(0);
    shared(&shares);
}

#[test]
fn a_master_that_dies_is_followed_by_its_replica() {
    let mut redis = Watched::start("limits");
    let shares = nodes(3, &|_| redis.place.clone());
    let quotas: Vec<_> = shares.iter().map(|it| it.quota("persons", 1_000_000)).collect();
    shared(&shares);
    let limits: Vec<_> = shares.iter().map(|it| it.rate("tax", rate(1_000, 200))).collect();
    thread::sleep(WARM);
    let mut counted = 0;
    let mut spend = |n: usize| {
        for quota in &quotas {
            for _ in 0..n {
                until(Duration::from_secs(5), "a token", || quota.take(1, 1).is_ok());
            }
        }
        counted += n * quotas.len();
        counted
    };
    spend(300);
    let load: Vec<_> = limits.into_iter().map(|it| (it, 1_000)).collect();
    let loading = thread::spawn(move || Admitted::under(&load, Duration::from_secs(16)));
    thread::sleep(Duration::from_secs(2));
    redis.master.kill();
    let began = Instant::now();
    until(Duration::from_secs(10), "nodes are alone", || shares.iter().all(|it| it.state() != State::Shared));
    let counted = spend(100);
    shared(&shares);
    let back = began.elapsed();
    let total = || -> usize {
        let all = redis.replica.ask("HVALS popgate:q:{persons/1}");
        all.lines().filter(|it| it.contains(' ')).filter_map(|it| it.split(' ').next()?.parse::<usize>().ok()).sum()
    };
    until(Duration::from_secs(10), "the new master knows all counts", || total() == counted);
    let over = loading.join().unwrap().over(rate(1_000, 200));
    println!("failover: shared again {back:?} after the master died; over {over:.1} tokens in any window");
    assert!(over <= 0.02 * 16_000.0, "over {over}");
}

#[test]
fn a_cluster_of_three_masters_of_which_one_dies() {
    let mut servers = cluster();
    let seeds: Vec<String> = servers.iter().map(Server::url).collect();
    let shares = nodes(4, &|_| Place::Cluster(seeds.clone()));
    let keys: Vec<String> = (0..30).map(|it| format!("limit-{it}")).collect();
    let limits: Vec<Vec<_>> =
        keys.iter().map(|key| shares.iter().map(|it| it.rate(key, rate(200, 100))).collect()).collect();
    shared(&shares);
    thread::sleep(WARM);
    for limits in limits.iter().take(3) {
        let load: Vec<_> = limits.iter().cloned().map(|it| (it, 200)).collect();
        used_whole("cluster", &load, rate(200, 100));
    }
    servers[2].kill();
    let began = Instant::now();
    until(Duration::from_secs(10), "limits of one part are on their own", || {
        limits.iter().flatten().for_each(|it| _ = it.take(1, Instant::now()));
        shares.iter().all(|it| it.state() != State::Shared)
    });
    let alone = began.elapsed();
    thread::sleep(Duration::from_secs(1));
    let load: Vec<_> = limits.iter().flat_map(|it| it.iter().cloned().map(|it| (it, 100))).collect();
    let admitted = Admitted::under(&load, Duration::from_secs(3));
    let most = 30.0 * (3.0 * 200.0 + 100.0);
    println!(
        "cluster without one master: alone after {alone:?}, admitted {} of at most {most}; {:?}",
        admitted.count(),
        shares[0].figures()
    );
    assert!((admitted.count() as f64) < 1.05 * most);
}
