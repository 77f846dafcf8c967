//! Promise: what is purged at one node is purged at all of them, at once where Redis tells it, and whatever happens to Redis, no node
//! serves as fresh what the log of purges took away longer ago than a node may believe itself.

mod weather;

use std::sync::Arc;
use std::time::{Duration, Instant};

use popgate::cache::nodes::{BELIEVED, Nodes, State, Told};
use popgate::clock::Clock;
use popgate::share::{Config, Place, Why};
use popgate_caching::mark::{Key, Mark, Marker};
use popgate_caching::purges::{About, Kind, Purge, Scope, Verdict};
use popgate_caching::store::{Fetch, Limits, Lookup, Record, Store, Worth};
use popgate_demo::client::get;
use popgate_demo::deployment::Site;
use popgate_demo::register::demo::HOA;
use popgate_demo::scenario::read_path;
use popgate_tests::{Harness, eventually};

use super::share::server::{Road, Server, until};
use super::share::several::{Watched, cluster};

/// A machine of many tests is slow; what is promised comes sooner.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn the_channel_tells_a_purge_to_all_nodes() {
    let server = Server::start(&[]);
    let nodes = started(3, &|_| Place::One(server.url()));
    let [first, second, third] = &nodes[..] else { panic!() };
    until(SOON, "all of them listen", || server.ask("PUBSUB NUMSUB popgate:purges").contains(":3"));
    nodes.iter().for_each(|node| node.keep(1, 10));
    nodes.iter().for_each(|node| node.keep(2, 20));
    assert_eq!(third.look(1), Seen::Fresh(10));
    let readings = third.nodes.figures().readings;
    let told = first.purge(1, Kind::Hard);
    assert_eq!(first.look(1), Seen::Nothing, "at this node at once");
    until(SOON, "others hear it", || second.look(1) == Seen::Nothing && third.look(1) == Seen::Nothing);
    // The reading of each second would have found it, too.
    assert!(third.nodes.figures().readings <= readings + 1);
    assert!(told.wait(SOON));
    assert_eq!(third.look(2), Seen::Fresh(20), "and nothing else");
    second.purge(2, Kind::Soft);
    until(SOON, "softly too", || first.look(2) == Seen::Stale(20));
    until(SOON, "it was counted", || {
        let [first, third] = [first, third].map(|node| node.nodes.figures());
        (first.published, first.waiting, third.heard, third.resets, third.failures) == (1, 0, 2, 0, 0)
    });
}

#[test]
fn what_the_channel_does_not_tell_is_found_in_the_log() {
    let server = Server::start(&[]);
    let nodes = started(2, &|_| Place::One(server.url()));
    let [first, second] = &nodes[..] else { panic!() };
    // Nobody may publish or subscribe any more; who listens is disconnected.
    assert!(server.ask("ACL SETUSER default resetchannels").starts_with("+OK"));
    until(SOON, "nobody listens", || server.ask("CLIENT LIST TYPE pubsub").starts_with("$0"));
    let heard = second.nodes.figures().heard;
    for person in 0..50 {
        second.keep(person, 1);
        assert!(first.purge(person, Kind::Hard).wait(SOON), "the log has it");
    }
    until(SOON, "the log is read", || (0..50).all(|person| second.look(person) == Seen::Nothing));
    assert_eq!((second.nodes.figures().heard, second.nodes.figures().resets), (heard, 0));
    assert_eq!(second.nodes.state(), State::Shared);
    assert!(server.ask("ACL SETUSER default allchannels").starts_with("+OK"));
    until(SOON, "the channel tells again", || {
        first.purge(0, Kind::Soft);
        second.nodes.figures().heard > heard
    });
}

#[test]
fn while_redis_stands_still_purges_wait_and_nobody_believes_what_is_stored() {
    let server = Server::start(&[]);
    let nodes = started(2, &|_| Place::One(server.url()));
    let [first, second] = &nodes[..] else { panic!() };
    second.keep(1, 10);
    second.keep(2, 20);
    server.stop();
    let (began, told) = (Instant::now(), first.purge(1, Kind::Hard));
    assert!(began.elapsed() < Duration::from_secs(1), "nobody waits for Redis");
    assert_eq!(first.look(1), Seen::Nothing);
    assert!(!told.wait(Duration::from_millis(200)));
    until(BELIEVED + SOON, "what is stored is believed no longer", || second.look(2) == Seen::Stale(20));
    assert_eq!(second.look(1), Seen::Stale(10));
    assert!(matches!(second.nodes.state(), State::Alone { why: Why::Late | Why::Unreachable, .. }));
    assert!(second.nodes.figures().failures > 0 && first.nodes.figures().waiting == 1);
    server.go_on();
    assert!(told.wait(SOON), "it is told when Redis is back");
    until(SOON, "it is gone at the other node", || second.look(1) == Seen::Nothing);
    until(SOON, "the rest is believed again: the log goes on", || second.look(2) == Seen::Fresh(20));
    until(SOON, "all is well", || nodes.iter().all(|node| node.nodes.state() == State::Shared));
    assert_eq!(second.nodes.figures().resets, 0);
}

#[test]
fn a_log_that_was_emptied_makes_all_stale() {
    let server = Server::start(&[]);
    let nodes = started(2, &|_| Place::One(server.url()));
    let [first, second] = &nodes[..] else { panic!() };
    nodes.iter().for_each(|node| node.keep(1, 10));
    assert!(server.ask("FLUSHALL").starts_with("+OK"));
    until(SOON, "the other log is noticed", || nodes.iter().all(|node| node.look(1) == Seen::Stale(10)));
    assert_eq!(second.nodes.figures().resets, 1);
    second.keep(1, 11);
    assert_eq!(second.look(1), Seen::Fresh(11));
    assert!(first.purge(1, Kind::Hard).wait(SOON));
    until(SOON, "purges go on", || second.look(1) == Seen::Nothing);
}

#[test]
fn redis_that_was_restarted_makes_all_stale_and_learns_what_was_purged_meanwhile() {
    let mut server = Server::start(&[]);
    let nodes = started(2, &|_| Place::One(server.url()));
    let [first, second] = &nodes[..] else { panic!() };
    // As many as before in the log: its numbers alone would tell nothing.
    assert!(first.purge(9, Kind::Hard).wait(SOON));
    nodes.iter().for_each(|node| node.keep(1, 10));
    nodes.iter().for_each(|node| node.keep(2, 20));
    server.kill();
    let told = first.purge(1, Kind::Hard);
    assert!(!told.wait(Duration::from_millis(100)));
    server.again();
    assert!(told.wait(SOON));
    until(SOON, "what was purged is gone", || second.look(1) == Seen::Nothing);
    until(SOON, "the rest is validated", || nodes.iter().all(|node| node.look(2) == Seen::Stale(20)));
    until(SOON, "all is well", || nodes.iter().all(|node| node.nodes.state() == State::Shared));
    second.keep(2, 21);
    assert_eq!(second.look(2), Seen::Fresh(21));
}

#[test]
fn a_node_that_was_cut_off_catches_up_where_it_was() {
    let server = Server::start(&[]);
    let road = Road::to(server.port);
    let nodes = started(2, &|at| Place::One(if at == 0 { server.url() } else { road.url() }));
    let [first, second] = &nodes[..] else { panic!() };
    // As if so many had been purged: what comes now goes past the end of the ring, and begins it anew.
    server.ask("SETRANGE popgate:purges 32 0000000000065000");
    until(SOON, "the log does not go on", || nodes.iter().all(|node| node.nodes.figures().resets == 1));
    (0..3000).for_each(|person| second.keep(person, 1));
    road.cut(true);
    until(SOON, "the road is noticed", || second.nodes.figures().failures > 0);
    let told: Vec<Told> = (0..2000).map(|person| first.purge(person, Kind::Hard)).collect();
    assert!(told.iter().all(|told| told.wait(SOON)));
    until(BELIEVED + SOON, "it is alone", || {
        [0, 2500].iter().all(|person| second.look(*person) == Seen::Stale(1)) && second.nodes.state() != State::Shared
    });
    assert_eq!(first.nodes.state(), State::Shared);
    road.cut(false);
    until(SOON, "it is there again", || second.nodes.state() == State::Shared);
    assert!((0..2000).all(|person| second.look(person) == Seen::Nothing));
    let kept = (2000..3000).filter(|person| second.look(*person) == Seen::Fresh(1)).count();
    // Cells are shared by chance.
    assert!(kept > 990, "{kept}");
    assert_eq!(second.nodes.figures().resets, 1);
}

#[test]
fn a_node_that_stops_tells_first_what_was_purged() {
    let server = Server::start(&[]);
    let mut nodes = started(2, &|_| Place::One(server.url()));
    (0..500).for_each(|person| nodes[0].keep(person, 1));
    let last = nodes.pop().unwrap();
    let told: Vec<Told> = (0..500).map(|person| last.purge(person, Kind::Hard)).collect();
    drop(last);
    assert!(told.iter().all(|told| told.wait(Duration::ZERO)));
    until(SOON, "others know", || (0..500).all(|person| nodes[0].look(person) == Seen::Nothing));
    server.stop();
    let last = nodes.pop().unwrap();
    let (told, began) = (last.purge(1, Kind::Hard), Instant::now());
    drop(last);
    assert!(!told.wait(SOON), "nobody is left to tell it");
    assert!(began.elapsed() < SOON);
}

#[test]
fn the_replica_that_follows_a_master_has_another_log() {
    let mut redis = Watched::start("purges");
    let nodes = started(2, &|_| redis.place.clone());
    let [first, second] = &nodes[..] else { panic!() };
    nodes.iter().for_each(|node| node.keep(1, 10));
    nodes.iter().for_each(|node| node.keep(2, 20));
    assert!(first.purge(1, Kind::Hard).wait(SOON));
    until(SOON, "it is told", || second.look(1) == Seen::Nothing);
    second.keep(1, 11);
    redis.master.kill();
    let told = first.purge(1, Kind::Hard);
    assert!(told.wait(3 * SOON), "the new master takes it");
    until(SOON, "it is told", || second.look(1) == Seen::Nothing);
    until(SOON, "what the first may have lost is validated", || {
        nodes.iter().all(|node| node.nodes.state() == State::Shared && node.look(2) == Seen::Stale(20))
    });
    assert!(second.nodes.figures().resets > 0);
}

#[test]
fn in_a_cluster_the_log_alone_is_read() {
    let servers = cluster();
    let seeds: Vec<String> = servers.iter().map(Server::url).collect();
    let nodes = started(2, &|_| Place::Cluster(seeds.clone()));
    let [first, second] = &nodes[..] else { panic!() };
    second.keep(1, 10);
    second.keep(2, 20);
    assert!(first.purge(1, Kind::Hard).wait(SOON));
    until(SOON, "the log is read", || second.look(1) == Seen::Nothing);
    assert_eq!((second.look(2), second.nodes.figures().heard), (Seen::Fresh(20), 0));
    servers.iter().for_each(Server::stop);
    until(BELIEVED + SOON, "nobody believes what is stored", || second.look(2) == Seen::Stale(20));
    servers.iter().for_each(Server::go_on);
    until(2 * SOON, "it is there again", || nodes.iter().all(|node| node.nodes.state() == State::Shared));
}

/// A node with a store of its own.
struct Node {
    store: Arc<Store<u32>>,
    nodes: Nodes,
}

/// What a node would do with a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seen {
    Fresh(u32),
    Stale(u32),
    Nothing,
}

/// Who hashes under another key would purge past all others: it is told apart, and believes nothing of what it stored.
#[test]
fn a_node_with_another_key_is_alone() {
    let server = Server::start(&[]);
    let nodes = started(1, &|_| Place::One(server.url()));
    let other = Node::start_keyed(Config::new(Place::One(server.url()), "node-9", 2), 2);
    let alone = || matches!(other.nodes.state(), State::Alone { why: Why::Misconfigured, .. });
    until(SOON, "it says why", alone);
    assert!(!other.purge(1, Kind::Hard).wait(Duration::from_millis(100)));
    assert_eq!((nodes[0].nodes.state(), nodes[0].nodes.figures().resets), (State::Shared, 0), "others go on");
}

/// As an agency sees it.
#[tokio::test]
async fn what_is_purged_at_one_gateway_is_asked_for_anew_at_the_other() {
    let server = Server::start(&[]);
    let settings = |name: &str| format!("[share]\nredis = \"{}\"\nnode = \"{name}\"\nnodes = 2\n", server.url());
    let first = Harness::start_made(&settings("gateway-1"), |_| {}, |_| {});
    let key = |site: &Site| site.dir().join("keys/pseudonym.key");
    let same = std::fs::read(key(&first.deployment.site)).unwrap();
    let second = Harness::start_made(&settings("gateway-2"), |site| std::fs::write(key(site), same).unwrap(), |_| {});
    let node = |harness: &Harness| std::sync::Arc::clone(harness.deployment.gateway.node());
    let known = |harness: &Harness| node(harness).cache.nodes().unwrap().0 == State::Shared;
    eventually("both know each other's purges", || known(&first) && known(&second)).await;
    let mut session = second.session("tax/etax").await;
    let mut read = async || {
        let answer = session.send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap();
        assert_eq!(answer.status, http::StatusCode::OK);
        second.deployment.register.faults.requests()
    };
    let before = read().await;
    assert_eq!(read().await, before, "it is stored");
    let order = format!("{{\"subject\": \"{}\", \"reason\": \"INC-1\"}}", HOA.number);
    let purging = node(&first);
    let told = tokio::task::spawn_blocking(move || purging.purge(order.as_bytes(), "linh")).await.unwrap().unwrap();
    assert_eq!((&told["everywhere"], &told["purged"]), (&true.into(), &"subject".into()), "{told}");
    let since = Instant::now();
    while read().await == before {
        assert!(since.elapsed() < SOON, "the other node hears of it");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(second.metric("popgate_cache_alone").await, 0);
}

/// So many nodes that know each other's purges.
fn started(count: u32, place: &dyn Fn(u32) -> Place) -> Vec<Node> {
    let nodes: Vec<Node> =
        (0..count).map(|at| Node::start(Config::new(place(at), &format!("node-{at}"), count))).collect();
    until(2 * SOON, "purges are shared", || nodes.iter().all(|node| node.nodes.state() == State::Shared));
    nodes
}

impl Node {
    fn start(share: Config) -> Self {
        Self::start_keyed(share, 1)
    }

    fn start_keyed(share: Config, fingerprint: u64) -> Self {
        let limits = Limits { bytes: 64 << 20, usual_bytes: 1_000, purge_bits: 20, unsynced: Some(BELIEVED) };
        let store = Arc::new(Store::new(limits, Instant::now()));
        let sink = Arc::clone(&store);
        let nodes = Nodes::open(share, fingerprint, sink, Clock::system("Asia/Ho_Chi_Minh").unwrap()).unwrap();
        Self { store, nodes }
    }

    /// Stores what a register answers about a person now.
    fn keep(&self, person: u32, value: u32) {
        let fetch = self.store.begin(Instant::now());
        assert_eq!(self.insert(person, fetch, value), Verdict::Fresh);
    }

    fn insert(&self, person: u32, fetch: Fetch, value: u32) -> Verdict {
        let (marker, subjects) = (marker(), [subject(person)]);
        let about = About { register: marker.register(b"r"), subjects: &subjects, tags: &[] };
        let record = Record { value, bytes: 8, about, until: Instant::now() + Duration::from_secs(600) };
        self.store.insert(&key(person), fetch, record, Worth::Usual)
    }

    fn look(&self, person: u32) -> Seen {
        match self.store.lookup(&key(person), Worth::Usual, Instant::now()) {
            Lookup::Hit(found) => Seen::Fresh(*found),
            Lookup::Stale(found) => Seen::Stale(*found),
            Lookup::Miss => Seen::Nothing,
        }
    }

    fn purge(&self, person: u32, kind: Kind) -> Told {
        self.nodes.purge(Purge { scope: Scope::Subject(subject(person)), kind })
    }
}

fn marker() -> Marker {
    Marker::new(&[7; 16])
}

fn subject(person: u32) -> Mark {
    marker().subject(&person.to_le_bytes())
}

fn key(person: u32) -> Key {
    Key::new(marker().upstream(&[&person.to_le_bytes()]), None)
}
