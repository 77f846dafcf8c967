//! Redis in several processes: a master with a replica under sentinels, and a cluster.

use std::time::Duration;

use popgate::share::Place;

use super::server::{Server, free_port, until};

/// A master, its replica, and three sentinels that make it the master when the first one dies.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) master: Server,
    pub(crate) replica: Server,
    /// Where nodes find whichever is the master.
    pub(crate) place: Place,
    _sentinels: Vec<Server>,
    _dir: tempfile::TempDir,
}

impl Watched {
    /// Starts them; the sentinels know the master by that name.
    pub(crate) fn start(service: &str) -> Self {
        let master = Server::start(&[]);
        let replica = Server::start(&["--replicaof", &format!("127.0.0.1 {}", master.port)]);
        until(Duration::from_secs(10), "the replica follows", || {
            replica.ask("INFO replication").contains("link_status:up")
        });
        let dir = tempfile::tempdir().unwrap();
        let sentinels: Vec<Server> = (0..3)
            .map(|at| {
                let (port, file) = (free_port(), dir.path().join(format!("sentinel-{at}.conf")));
                let text = format!(
                    "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {service} 127.0.0.1 {} 2\n\
                     sentinel down-after-milliseconds {service} 1000\nsentinel failover-timeout {service} 3000\n",
                    dir.path().display(),
                    master.port
                );
                std::fs::write(&file, text).unwrap();
                Server::sentinel(&file, port)
            })
            .collect();
        let knows = |it: &Server| {
            let said = it.ask(&format!("SENTINEL master {service}"));
            said.contains("num-other-sentinels\r\n$1\r\n2") && said.contains("num-slaves\r\n$1\r\n1")
        };
        until(Duration::from_secs(30), "sentinels know each other", || sentinels.iter().all(knows));
        let place = Place::Sentinel {
            sentinels: sentinels.iter().map(|it| format!("127.0.0.1:{}", it.port)).collect(),
            service: service.to_owned(),
            tls: false,
        };
        Self { master, replica, place, _sentinels: sentinels, _dir: dir }
    }
}

/// A cluster of three masters.
pub(crate) fn cluster() -> Vec<Server> {
    let options =
        ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no"];
    let servers: Vec<Server> = (0..3).map(|_| Server::start(&options)).collect();
    for (at, server) in servers.iter().enumerate() {
        let (from, until) = (at * 5_462, (at * 5_462 + 5_461).min(16_383));
        assert!(server.ask(&format!("CLUSTER ADDSLOTSRANGE {from} {until}")).starts_with("+OK"));
        assert!(server.ask(&format!("CLUSTER MEET 127.0.0.1 {}", servers[0].port)).starts_with("+OK"));
    }
    let ready = |it: &Server| {
        let said = it.ask("CLUSTER INFO");
        said.contains("cluster_state:ok") && said.contains("cluster_size:3")
    };
    until(Duration::from_secs(30), "the cluster is whole", || servers.iter().all(ready));
    servers
}
