//! Promise: a register that moves by DNS is followed within `resolve`, without a request that fails; where its name means nothing any
//! more, the addresses before stay.
//!
//! The node asks the system's resolver, as it does at a site. `libnss_wrapper` gives that a file of hosts of the test's own.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::StatusCode;
use popgate_demo::client::{Client, Http, get};
use popgate_demo::deployment::{Options, Register, Site};
use popgate_demo::register::Service;
use popgate_demo::register::population::citizen;
use popgate_demo::scenario::read_path;
use popgate_tests::node::Node;
use popgate_tests::{eventually, promised};
use tokio::task::JoinHandle;

const NAME: &str = "population.registers.test";
const RESOLVE: Duration = Duration::from_millis(250);

/// What the node's resolver says.
struct Hosts {
    file: PathBuf,
    written: SystemTime,
}

impl Hosts {
    fn say(file: PathBuf, text: &str) -> Self {
        let mut hosts = Self { file, written: SystemTime::now() };
        hosts.say_now(text);
        hosts
    }

    /// From now on. The file is another one at once, never half of one; and some seconds younger, as it is read again only if it is
    /// younger by whole seconds.
    fn say_now(&mut self, text: &str) {
        self.written += Duration::from_secs(2);
        let next = self.file.with_extension("next");
        std::fs::write(&next, text).unwrap();
        File::options().write(true).open(&next).unwrap().set_modified(self.written).unwrap();
        std::fs::rename(&next, &self.file).unwrap();
    }
}

/// Requests over several connections, one after the other on each, until they are told to stop.
struct Askers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<(u64, Vec<String>)>>,
}

impl Askers {
    fn start(client: &Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ask = |asker: u64| {
            let (client, stop) = (client.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut session = client.connect().await.unwrap();
                let (mut asked, mut bad) = (0, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let person = citizen((asked * ASKERS + asker) * 7919);
                    match session.send(get(&read_path(person), Some("assessment"))).await {
                        Ok(answer) if matches!(answer.status, StatusCode::OK | StatusCode::NOT_FOUND) => {}
                        Ok(answer) => bad.push(String::from_utf8_lossy(&answer.body).into_owned()),
                        Err(error) => {
                            bad.push(error.to_string());
                            break;
                        }
                    }
                    asked += 1;
                    // Within the system's rate.
                    tokio::time::sleep(Duration::from_millis(40)).await;
                }
                (asked, bad)
            })
        };
        let tasks = (0..ASKERS).map(ask).collect();
        Self { stop, tasks }
    }

    /// How many requests there were, and what was answered to those that failed.
    async fn stop(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let (mut asked, mut bad) = (0, Vec::new());
        for task in self.tasks {
            let (some, failed) = task.await.unwrap();
            asked += some;
            bad.extend(failed);
        }
        (asked, bad)
    }
}

const ASKERS: u64 = 4;

/// A node whose population is at [`NAME`], on the port of that register.
fn node(site: &Site, register: &Register, hosts: &Path) -> Node {
    let options = Options {
        // The register's certificate is for `localhost`.
        population: format!("server_name = \"localhost\"\nresolve = \"{}ms\"\n", RESOLVE.as_millis()),
        settings: "\n[cache]\ncapacity = 0\n".to_owned(),
        cores: 1,
        ..Options::default()
    };
    site.write_config(register.address, &options).unwrap();
    let written = std::fs::read_to_string(site.config_file()).unwrap();
    let named = written.replace("https://localhost:", &format!("https://{NAME}:"));
    assert_ne!(named, written);
    std::fs::write(site.config_file(), named).unwrap();
    let environment = [("LD_PRELOAD", OsStr::new("libnss_wrapper.so")), ("NSS_WRAPPER_HOSTS", hosts.as_os_str())];
    let node = Node::start_under(site, &[], &environment);
    let preloaded = !node.said().iter().any(|line| line.contains("cannot be preloaded"));
    assert!(preloaded, "Debian's libnss-wrapper is not installed");
    node
}

/// Waits until the node asks there; how long that took. A resolver is asked every [`RESOLVE`], by a thread that looks at the clock a few
/// times a second.
async fn moved_to(register: &Register) -> Duration {
    let (since, before) = (Instant::now(), register.faults.requests());
    eventually("the register at the new address is asked", || register.faults.requests() > before).await;
    since.elapsed()
}

#[tokio::test]
async fn a_register_that_moves_is_followed_and_no_request_fails() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::make(dir.path()).unwrap();
    let one = Register::start(&site).unwrap();
    let port = one.address.port();
    let other = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), port));
    let other = Register::start_bound(&site, Service::default(), other).unwrap();
    let mut hosts = Hosts::say(dir.path().join("hosts"), &format!("127.0.0.1 {NAME}\n"));
    let node = node(&site, &one, &hosts.file);
    let client = node.client(&site, "tax/etax", Http::Two);
    let first = client.send(get(&read_path(citizen(1)), Some("assessment"))).await.unwrap();
    assert!(matches!(first.status, StatusCode::OK | StatusCode::NOT_FOUND), "{}", first.status);

    let askers = Askers::start(&client);
    moved_to(&one).await;
    assert_eq!(other.faults.requests(), 0);

    hosts.say_now(&format!("127.0.0.2 {NAME}\n"));
    let took = moved_to(&other).await;
    assert!(took < promised(RESOLVE + Duration::from_secs(1)), "{took:?}");
    // Who was being asked when the address changed may still answer; nobody is asked there afterwards.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let left = one.faults.requests();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(one.faults.requests(), left, "nothing goes to the old address");
    eventually("its connections are closed", || one.faults.open_connections() == 0).await;

    hosts.say_now("127.0.0.3 others.registers.test\n");
    let told = |line: &String| line.contains("a register's name cannot be resolved; the addresses before stay");
    eventually("the name means nothing any more", || node.said().iter().any(told)).await;
    let before = other.faults.requests();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(other.faults.requests() > before, "the address before stays");
    assert_eq!(one.faults.requests(), left);

    hosts.say_now(&format!("127.0.0.1 {NAME}\n"));
    moved_to(&one).await;

    let (asked, bad) = askers.stop().await;
    assert!(bad.is_empty(), "{} of {asked} failed: {bad:?}", bad.len());
    assert!(asked > 50, "{asked}");
    let (good, said) = node.terminate();
    assert!(good, "{}", said.join("\n"));
}
