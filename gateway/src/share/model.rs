//! The scripts once more, in Rust: the simulation's Redis. A test holds them against the real one.

use std::collections::{BTreeMap, HashMap};

use super::script::{BEAT_LIFE, Call, LEASE_LIFE, QuotaArgs, RateArgs, Reply};
use super::terms::as_tokens;

/// What Redis holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    rates: HashMap<String, Bucket>,
    quotas: HashMap<String, BTreeMap<String, Count>>,
    beats: HashMap<String, u64>,
    /// Charged to buckets in all.
    pub(super) charged: u64,
}

#[derive(Clone, Debug, Default)]
struct Bucket {
    level: f64,
    at: u64,
    nodes: HashMap<String, (u64, u64)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    count: u64,
    lease: u64,
    run: u64,
    call: u64,
    base: u64,
    at: u64,
}

impl Model {
    pub(super) fn call(&mut self, node: &str, call: &Call, now: u64) -> Reply {
        match call {
            Call::Rate(args) => self.rate(node, args, now),
            Call::Quota(args) => self.quota(node, args, now),
            Call::Beat => {
                self.beats.insert(node.to_owned(), now);
                self.beats.retain(|_, at| *at + BEAT_LIFE >= now);
                Reply::Beat { nodes: u32::try_from(self.beats.len()).unwrap() }
            }
        }
    }

    /// What all nodes counted, as Redis knows it.
    pub(super) fn counted(&self, key: &str) -> u64 {
        self.quotas.get(key).map_or(0, |nodes| nodes.values().map(|it| it.count).sum())
    }

    fn rate(&mut self, node: &str, args: &RateArgs, now: u64) -> Reply {
        let bucket = self.rates.entry(args.key.clone()).or_insert_with(|| Bucket {
            level: args.level,
            at: now,
            nodes: HashMap::new(),
        });
        if now > bucket.at {
            bucket.level += as_tokens(now - bucket.at) * args.speed;
        }
        bucket.level = bucket.level.min(args.capacity);
        bucket.at = now;
        let stored = bucket.nodes.get(node).filter(|(run, _)| *run == args.run);
        let before = stored.map_or(args.due - args.unknown, |(_, due)| *due);
        bucket.nodes.insert(node.to_owned(), (args.run, before.max(args.due)));
        if args.due > before {
            let charge = (args.due - before).min(args.most);
            bucket.level -= as_tokens(charge);
            self.charged += charge;
        }
        let grant = if bucket.level >= 1.0 {
            (bucket.level / f64::from(args.nodes)).floor().min(args.credit).max(1.0)
        } else {
            0.0
        };
        Reply::Rate { grant: super::terms::as_count(grant), level: bucket.level, time: now }
    }

    fn quota(&mut self, node: &str, args: &QuotaArgs, now: u64) -> Reply {
        let stored = self.quotas.entry(args.key.clone()).or_default();
        let (mut others, mut leased) = (0, 0);
        for (_, it) in stored.iter().filter(|(name, _)| *name != node) {
            others += it.count;
            leased += if now.saturating_sub(it.at) < LEASE_LIFE { it.lease } else { 0 };
        }
        let own = stored.get(node).copied().unwrap_or_default();
        if args.run < own.run || (args.run == own.run && args.call <= own.call) {
            let total = others + own.count;
            return Reply::Quota { current: false, base: own.base, total, left: 0, run: own.run, time: now };
        }
        let base = if args.run > own.run { own.count } else { own.base }.max(args.base.unwrap_or(0));
        let count = (base + args.since).max(own.count);
        let total = (others + count).max(args.known);
        let signed = |it: u64| i64::try_from(it).unwrap();
        let room = signed(args.quota) - signed(total) - signed(leased);
        let share = (signed(args.quota) - signed(total)).div_euclid(i64::from(args.nodes));
        let lease = share.min(signed(args.credit)).max(1).min(room).max(signed(args.left));
        let lease = u64::try_from(lease).unwrap();
        stored.insert(node.to_owned(), Count { count, lease, run: args.run, call: args.call, base, at: now });
        Reply::Quota { current: true, base, total, left: lease, run: args.run, time: now }
    }
}

mod real {
    //! The scripts in a real Redis answer as the model does.

    use std::net::{TcpListener, TcpStream};
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use super::super::script::{QuotaArgs, RateArgs};
    use super::super::wire::{Login, Place, Wire};
    use super::*;

    #[test]
    fn the_scripts_are_as_the_model() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let port_text = port.to_string();
        let arguments = ["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let mut command = Command::new("redis-server");
        command.args(arguments).current_dir(std::env::temp_dir()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = command.spawn().expect("redis-server is installed");
        for _ in 0..1_000 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(compared(format!("redis://127.0.0.1:{port}")));
        server.kill().unwrap();
        server.wait().unwrap();
    }

    async fn compared(url: String) {
        let limit = Duration::from_secs(5);
        let mut wire = Wire::connect(&Place::One(url), &Login::default(), limit).await.unwrap();
        let (mut model, mut state) = (Model::default(), 7_u64);
        let mut below = |end: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % end
        };
        for _ in 0..10_000 {
            let node = format!("node-{}", below(4));
            let key = below(20);
            let due = below(3_000);
            let speed = [1.0 / 3.0, 0.001, 0.000_017][(key % 3) as usize];
            let call = match below(9) {
                0..4 => Call::Rate(RateArgs {
                    key: key.to_string(),
                    run: below(3),
                    due,
                    unknown: below(due + 1),
                    most: below(500),
                    level: as_tokens(below(1_000)) / 7.0,
                    speed,
                    capacity: as_tokens(key + 1) * 13.0,
                    credit: as_tokens(key + 1),
                    nodes: 1 + u32::try_from(below(5)).unwrap(),
                }),
                4..8 => Call::Quota(QuotaArgs {
                    key: key.to_string(),
                    run: 1_800_000_000_000_000 + below(4),
                    call: below(50),
                    base: (below(2) == 0).then(|| below(100)),
                    since: below(2_000),
                    left: below(5),
                    credit: 1 + below(20),
                    quota: 100 + key * 200,
                    nodes: 1 + u32::try_from(below(5)).unwrap(),
                    known: below(200),
                    kept: 60_000,
                }),
                _ => Call::Beat,
            };
            let answers = wire.call(&[&call], "test:", &node).await.unwrap();
            let reply = answers.replies[0].unwrap();
            match reply {
                Reply::Rate { time, .. } | Reply::Quota { time, .. } => {
                    assert_eq!(reply, model.call(&node, &call, time), "{call:?}");
                }
                Reply::Beat { nodes } => assert!((1..=4).contains(&nodes)),
            }
        }
    }
}
