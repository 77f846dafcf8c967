//! Open-loop load without coordinated omission: when a request is due does not depend on how the ones before it fare.
//!
//! An [`Agent`] is one system of an agency, with its certificate, its connections and its arrivals. Latency counts from
//! the moment a request was *due*: while all connections of its agent are busy, it waits in a bounded queue and its
//! time goes on. A generator that falls behind would put its own delay into the figures; [`Outcome::lag`] says how far
//! behind it was.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use http::Request;
use rustls::ClientConfig;
use tokio::sync::oneshot;

use crate::Failure;

mod arrivals;
mod connection;
mod desk;
mod pace;
mod report;
mod tally;

pub use arrivals::Arrivals;
pub use report::Outcome;
pub use tally::{Figures, Slice};

/// Makes the request of that number (0, 1, ... within an agent). Its URI is path and query only.
pub type Maker = Arc<dyn Fn(u64) -> Request<Bytes> + Send + Sync>;

/// One system that asks.
#[derive(Clone)]
pub struct Agent {
    /// Figures are merged by it.
    pub label: String,
    /// Whom it asks.
    pub target: SocketAddr,
    /// The address that it comes from, if it has one of its own.
    pub source: Option<IpAddr>,
    /// `Host` or `:authority`, and what the server's certificate must name.
    pub host: String,
    /// Its trust and its certificate; `None` for cleartext. Protocols (ALPN) are set by `http`.
    pub tls: Option<Arc<ClientConfig>>,
    /// What it speaks.
    pub http: Http,
    /// How many connections it holds.
    pub connections: usize,
    /// HTTP/2: how many requests at once on a connection.
    pub streams: usize,
    /// When its requests are due.
    pub arrivals: Arrivals,
    /// How many may wait for a connection; what is due beyond that is counted as dropped.
    pub queue: usize,
    /// Its patience, from the moment a request was due.
    pub timeout: Duration,
    /// Makes its requests.
    pub request: Maker,
    /// Of its random arrivals.
    pub seed: u64,
}

/// Which HTTP an agent speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Http {
    /// HTTP/1.1.
    One,
    /// HTTP/2.
    Two,
}

/// How long, and how, a load is measured. Counted is what was due in `measure`, between `warm_up` and `cool_down`.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Load before that is not counted.
    pub warm_up: Duration,
    /// Load that is counted.
    pub measure: Duration,
    /// Load after that, not counted: the last that count do not fare better than the others.
    pub cool_down: Duration,
    /// Counts are also kept by slices so long.
    pub slice: Duration,
    /// Generator threads; agents are dealt out to them.
    pub threads: usize,
    /// All agents must be connected by then; zero does not wait for them.
    pub connect_within: Duration,
}

/// A load in progress.
#[derive(Debug)]
pub struct Running {
    /// When the first request can be due.
    pub begin: Instant,
    plan: Plan,
    threads: Vec<JoinHandle<Result<Share, Failure>>>,
}

/// What one generator thread found.
pub(crate) struct Share {
    agents: Vec<(String, Figures)>,
    lag: Histogram<u64>,
}

/// Runs a load to its end.
///
/// # Errors
/// If an agent cannot connect, or the machine gives no thread.
pub fn run(agents: Vec<Agent>, plan: &Plan) -> Result<Outcome, Failure> {
    start(agents, plan)?.finish()
}

/// Connects all agents and begins.
///
/// # Errors
/// If an agent cannot connect, or the machine gives no thread.
pub fn start(agents: Vec<Agent>, plan: &Plan) -> Result<Running, Failure> {
    let (connected, all_connected) = mpsc::channel();
    let mut threads = Vec::new();
    let mut starts = Vec::new();
    for agents in dealt(agents, plan.threads.max(1)) {
        let (start, started) = oneshot::channel();
        let (plan, connected) = (*plan, connected.clone());
        let thread = std::thread::Builder::new().name("load".into());
        threads.push(thread.spawn(move || pace::run(agents, plan, &connected, started))?);
        starts.push(start);
    }
    drop(connected);
    for _ in &threads {
        // Without a word its thread has ended; `finish` says why.
        all_connected.recv().map_err(|_| "the load's threads ended before they began")??;
    }
    let begin = Instant::now() + HEAD_START;
    for start in starts {
        start.send(begin).map_err(|_| "a load thread ended before it began")?;
    }
    Ok(Running { begin, plan: *plan, threads })
}

impl Agent {
    /// An agent with usual habits: 100 requests a second, evenly, over four HTTP/1.1 connections, patient for a second.
    pub fn new(label: impl Into<String>, target: SocketAddr, request: Maker) -> Self {
        Self {
            label: label.into(),
            target,
            source: None,
            host: "localhost".into(),
            tls: None,
            http: Http::One,
            connections: 4,
            streams: 32,
            arrivals: Arrivals::constant(100.0),
            queue: 10_000,
            timeout: Duration::from_secs(1),
            request,
            seed: 0,
        }
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("label", &self.label).field("target", &self.target).finish_non_exhaustive()
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            warm_up: Duration::from_secs(1),
            measure: Duration::from_secs(5),
            cool_down: Duration::from_millis(500),
            slice: Duration::from_millis(100),
            threads: 1,
            connect_within: Duration::from_secs(20),
        }
    }
}

impl Plan {
    /// How long requests are due, from the begin.
    pub fn whole(&self) -> Duration {
        self.warm_up + self.measure + self.cool_down
    }
}

impl Running {
    /// When counting begins.
    pub fn measured_from(&self) -> Instant {
        self.begin + self.plan.warm_up
    }

    /// When counting ends.
    pub fn measured_to(&self) -> Instant {
        self.measured_from() + self.plan.measure
    }

    /// Waits for the end: of the load, and of what is still in flight.
    ///
    /// # Errors
    /// If a generator thread failed.
    pub fn finish(self) -> Result<Outcome, Failure> {
        let mut outcome = Outcome::new(&self.plan)?;
        for thread in self.threads {
            let share = thread.join().map_err(|_| "a load thread panicked")??;
            outcome.add(share);
        }
        Ok(outcome)
    }
}

fn dealt(agents: Vec<Agent>, threads: usize) -> Vec<Vec<Agent>> {
    let mut hands: Vec<Vec<Agent>> = (0..threads).map(|_| Vec::new()).collect();
    for (at, agent) in agents.into_iter().enumerate() {
        if let Some(hand) = hands.get_mut(at % threads) {
            hand.push(agent);
        }
    }
    hands
}

/// From the word to all threads until the first request can be due.
const HEAD_START: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests;
