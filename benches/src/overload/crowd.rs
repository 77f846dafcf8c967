//! Who asks: the agents of a load.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use rustls::ClientConfig;

use crate::Failure;
use crate::load::{Agent, Arrivals, Http, Maker};
use crate::site::{Site, System, agency_id};

/// The classes of requests, and their shares of the load.
pub const CLASSES: [(&str, f64); 3] = [("emergency", 0.05), ("interactive", 0.75), ("batch", 0.20)];

/// How many agencies the site has.
pub(super) const AGENCIES: usize = 100;

/// The systems of each agency: one a class, and one that may ask for next to nothing.
pub(super) fn systems(priority: bool) -> Vec<System> {
    let class = |(class, _): (&str, f64)| {
        let system = System::unlimited(class);
        if priority { system.priority(class) } else { system }
    };
    let limits = r#"rate = "1/s", burst = 1, concurrent = 100000"#.to_owned();
    let limited = System { name: LIMITED.to_owned(), limits, more: String::new() };
    CLASSES.into_iter().map(class).chain([limited]).collect()
}

/// Their certificates, made once.
#[derive(Debug)]
pub(super) struct Crowd {
    /// Of each agency, one a class.
    classes: Vec<Vec<Arc<ClientConfig>>>,
    limited: Vec<Arc<ClientConfig>>,
    http: Http,
    timeout: Duration,
}

impl Crowd {
    pub(super) fn make(site: &Site, http: Http, timeout: Duration) -> Result<Self, Failure> {
        let of = |at: usize, system: &str| site.client(&format!("{}/{system}", agency_id(at)));
        let classes = (0..AGENCIES).map(|at| CLASSES.iter().map(|(class, _)| of(at, class)).collect());
        let limited = (0..MIXED).map(|at| of(at, LIMITED));
        Ok(Self {
            classes: classes.collect::<Result<_, _>>()?,
            limited: limited.collect::<Result<_, _>>()?,
            http,
            timeout,
        })
    }

    /// So many requests a second of all classes, from the first agencies; labelled by class.
    pub(super) fn mix(&self, port: u16, rate: f64) -> Vec<Agent> {
        self.mixed(port, 4, |share| Arrivals::poisson(rate * share / MIXED as f64))
    }

    /// As much of all classes as the proxy answers.
    pub(super) fn saturating(&self, port: u16) -> Vec<Agent> {
        let one_at_once = |agent| Agent { streams: 1, ..agent };
        // Few: more at once would wait, and be shed, and tell what a node does when it has too much to do.
        self.mixed(port, 1, |_| Arrivals::closed()).into_iter().take(SATURATING).map(one_at_once).collect()
    }

    /// As much as the proxy answers, of systems that have used up what they may ask for.
    pub(super) fn limited(&self, port: u16) -> Vec<Agent> {
        let agent = |(at, tls)| Agent {
            connections: 3,
            streams: 1,
            arrivals: Arrivals::closed(),
            ..self.agent(at, LIMITED, port, tls)
        };
        self.limited.iter().enumerate().map(agent).collect()
    }

    /// All agencies but one: "quiet", so many requests a second together; and that one, "noisy", if it asks for
    /// anything.
    pub(super) fn neighbours(&self, port: u16, quiet: f64, noisy: f64) -> Vec<Agent> {
        let interactive = CLASSES.iter().position(|(class, _)| *class == "interactive").unwrap_or_default();
        let each = quiet / (AGENCIES - 1) as f64;
        let mut agents = Vec::new();
        for (at, classes) in self.classes.iter().enumerate() {
            let Some(tls) = classes.get(interactive) else { continue };
            let is_noisy = at + 1 == AGENCIES;
            let (label, rate, connections) = if is_noisy { ("noisy", noisy, 128) } else { ("quiet", each, 2) };
            if rate > 0.0 {
                let arrivals = Arrivals::poisson(rate);
                agents.push(Agent { connections, arrivals, ..self.agent(at, label, port, tls) });
            }
        }
        agents
    }

    fn mixed(&self, port: u16, connections: usize, arrivals: impl Fn(f64) -> Arrivals) -> Vec<Agent> {
        let mut agents = Vec::new();
        for (agency, classes) in self.classes.iter().take(MIXED).enumerate() {
            for ((class, share), tls) in CLASSES.into_iter().zip(classes) {
                let agent = self.agent(agents.len(), class, port, tls);
                let source = Some(address_of(agency));
                agents.push(Agent { connections, arrivals: arrivals(share), source, ..agent });
            }
        }
        agents
    }

    fn agent(&self, at: usize, label: &str, port: u16, tls: &Arc<ClientConfig>) -> Agent {
        let seed = at as u64;
        Agent {
            tls: Some(Arc::clone(tls)),
            source: Some(address_of(at)),
            http: self.http,
            timeout: self.timeout,
            seed,
            ..Agent::new(label, ([127, 0, 0, 1], port).into(), reader(seed))
        }
    }
}

/// Reads one citizen after the other; agents with other seeds read others.
fn reader(seed: u64) -> Maker {
    Arc::new(move |number| {
        let citizen = (seed * 1_000_003 + number) % 1_000_000_000;
        let request = Request::get(format!("/population/v1/citizens/066{citizen:09}")).body(Bytes::new());
        // The path is digits: it cannot be refused.
        request.unwrap_or_default()
    })
}

/// Each agency comes from an address of its own.
fn address_of(agency: usize) -> IpAddr {
    let byte = |n: usize| u8::try_from(n % 250).unwrap_or_default();
    Ipv4Addr::new(127, 1, byte(agency / 250), byte(agency) + 1).into()
}

/// Systems that ask one request after the other for as much as a proxy answers.
const SATURATING: usize = 15;
/// How many agencies the mixed load is from.
const MIXED: usize = 20;
const LIMITED: &str = "limited";
