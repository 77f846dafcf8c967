//! The run: everything started, each load offered to each proxy in turn, everything ended.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;

use super::crowd::{AGENCIES, Crowd, systems};
use super::proxy::{PROCESSOR, Proxy};
use super::{Found, Kind};
use crate::confine::Quota;
use crate::load::{self, Agent, Arrivals, Http, Outcome, Plan};
use crate::register::Service;
use crate::site::{self, Options, Process, Site, System, free_port};
use crate::{Failure, say};

/// What a run is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The reference bundle's folder.
    pub bundle: PathBuf,
    /// The proxies, and their programs.
    pub proxies: Vec<(Kind, PathBuf)>,
    /// How long each load is counted.
    pub measure: Duration,
    /// The share of a processor that a proxy has, in percent; 100 does not bound it.
    pub percent: u32,
    /// Whether the directory tells priorities.
    pub priority: bool,
    /// How much the gateway logs.
    pub log: String,
    /// What clients speak.
    pub http: Http,
    /// How long they wait.
    pub patience: Duration,
    /// How the register answers.
    pub service: Service,
}

/// One load, offered to one proxy.
#[derive(Clone, Debug)]
pub struct Point {
    /// Whom.
    pub proxy: Kind,
    /// What was offered.
    pub load: Load,
    /// What became of it.
    pub outcome: Outcome,
    /// CPU time of the proxy while it was counted.
    pub cpu: Duration,
    /// Bytes that the proxy held in memory at the end.
    pub resident: u64,
}

/// What was offered.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Load {
    /// As much as it answers, in a closed loop.
    Saturating,
    /// All classes, at so many times its capacity.
    Mix(f64),
    /// The quiet agencies alone.
    Quiet,
    /// The quiet ones and the noisy one.
    Noisy,
    /// As much as it refuses, in a closed loop: systems that have used up their limits.
    Limited,
}

/// Everything that runs. Dropped, it is ended.
#[derive(Debug)]
pub struct Bench {
    settings: Settings,
    // Before the register and the folder that they use.
    proxies: Vec<Proxy>,
    crowd: Crowd,
    _register: Process,
    _site: Site,
}

impl Bench {
    /// Makes a site, and starts the register and the proxies.
    ///
    /// # Errors
    /// If one of them does not start.
    pub fn start(settings: Settings) -> Result<Self, Failure> {
        pin()?;
        let port = free_port()?;
        let site = Site::make(&Options {
            bundle: settings.bundle.clone(),
            agencies: AGENCIES,
            systems: systems(settings.priority),
            registers: vec![port],
            cores: 1,
            population: String::new(),
            // All ask the register for each answer.
            settings: "[cache]\ncapacity = 0\n[overload]\nmode = \"enforce\"\n".to_owned(),
        })?;
        let register = register(&site, Some("site.pem"), port, settings.service, PROCESSOR_OF_LOAD)?;
        let start = |(kind, program): &(Kind, PathBuf)| Proxy::start(*kind, program, &site, port, &settings.log);
        let proxies = settings.proxies.iter().map(start).collect::<Result<Vec<_>, _>>()?;
        let crowd = Crowd::make(&site, settings.http, settings.patience)?;
        let bench = Self { settings, proxies, crowd, _register: register, _site: site };
        if bench.quota().is_some() && bench.proxies.iter().any(|proxy| proxy.group.is_none()) {
            say("no writable control groups (version 1) at /sys/fs/cgroup/cpu: proxies have a whole processor\n")?;
        }
        Ok(bench)
    }

    /// What each can do, and what it does at these multiples of that; then what the quiet see of the noisy. Proxies
    /// take turns.
    ///
    /// # Errors
    /// If a load cannot be made, or a proxy has ended.
    pub fn overload(&self, factors: &[f64]) -> Result<Found, Failure> {
        let mut points = Vec::new();
        let mut capacities = Vec::new();
        for proxy in &self.proxies {
            let point = self.offer(proxy, Load::Saturating, self.crowd.saturating(proxy.port))?;
            let capacity = point.outcome.goodput(&point.outcome.total());
            say(&format!("{:<8} can answer {capacity:.0} requests a second\n", proxy.kind.name()))?;
            capacities.push(capacity);
            points.push(point);
        }
        for factor in factors {
            for (proxy, capacity) in self.proxies.iter().zip(&capacities) {
                let agents = self.crowd.mix(proxy.port, capacity * factor);
                points.push(self.offer(proxy, Load::Mix(*factor), agents)?);
            }
        }
        for (load, noisy) in [(Load::Quiet, 0.0), (Load::Noisy, NOISY)] {
            for (proxy, capacity) in self.proxies.iter().zip(&capacities) {
                let agents = self.crowd.neighbours(proxy.port, capacity * QUIET, capacity * noisy);
                points.push(self.offer(proxy, load, agents)?);
            }
        }
        Ok(self.found(points))
    }

    /// What an answer costs the gateway, and what a refusal costs it. In turn, so many times.
    ///
    /// # Errors
    /// If a load cannot be made, or the gateway has ended.
    pub fn cost(&self, times: usize) -> Result<Found, Failure> {
        let mut points = Vec::new();
        for _ in 0..times {
            for proxy in self.proxies.iter().filter(|proxy| proxy.kind == Kind::Popgate) {
                points.push(self.offer(proxy, Load::Saturating, self.crowd.saturating(proxy.port))?);
                points.push(self.offer(proxy, Load::Limited, self.crowd.limited(proxy.port))?);
            }
        }
        Ok(self.found(points))
    }

    /// Connects at leisure, and bounds the proxy only while load is offered.
    fn offer(&self, proxy: &Proxy, load: Load, agents: Vec<Agent>) -> Result<Point, Failure> {
        let bound = |quota| proxy.group.as_ref().map_or(Ok(()), |group| group.bound(quota));
        let running = load::start(agents, &Plan { measure: self.settings.measure, ..Plan::default() })?;
        bound(self.quota())?;
        let until = |moment: Instant| std::thread::sleep(moment.saturating_duration_since(Instant::now()));
        until(running.measured_from());
        let before = proxy.process.cpu()?;
        until(running.measured_to());
        let cpu = proxy.process.cpu()?.saturating_sub(before);
        let resident = proxy.process.resident()?;
        let outcome = running.finish()?;
        bound(None)?;
        settle(proxy)?;
        let point = Point { proxy: proxy.kind, load, outcome, cpu, resident };
        say(&point.line())?;
        Ok(point)
    }

    fn quota(&self) -> Option<Quota> {
        let percent = self.settings.percent;
        (percent < 100).then(|| Quota { time: PERIOD * percent / 100, period: PERIOD })
    }

    fn found(&self, points: Vec<Point>) -> Found {
        let confined = self.quota().is_some() && self.proxies.iter().all(|proxy| proxy.group.is_some());
        let versions = self.proxies.iter().map(|proxy| (proxy.kind, proxy.version.clone())).collect();
        Found {
            points,
            versions,
            percent: if confined { self.settings.percent } else { 100 },
            measure: self.settings.measure,
        }
    }
}

/// How much the generator itself can do on one processor, against a server that does next to nothing on the other.
///
/// # Errors
/// If the server does not start.
pub fn generator(bundle: &Path, measure: Duration) -> Result<(), Failure> {
    pin()?;
    let systems = vec![System::unlimited("main")];
    let site = Site::make(&Options {
        bundle: bundle.to_owned(),
        agencies: 1,
        systems,
        registers: vec![1],
        cores: 1,
        population: String::new(),
        settings: String::new(),
    })?;
    let tls = site.client(&format!("{}/main", site::agency_id(0)))?;
    let service = Service { time: Duration::ZERO, capacity: usize::MAX };
    for (name, tls, http) in [
        ("HTTP/1.1 in cleartext", None, Http::One),
        ("HTTP/1.1, mTLS", Some(&tls), Http::One),
        ("HTTP/2, mTLS", Some(&tls), Http::Two),
    ] {
        let port = free_port()?;
        let _server = register(&site, tls.map(|_| "agencies.pem"), port, service, PROCESSOR)?;
        for rate in [10_000.0, 20_000.0, 25_000.0, 30_000.0, 40_000.0] {
            let maker: load::Maker = Arc::new(|n| {
                Request::get(format!("/persons/066{:09}", n % 1_000_000_000)).body(Bytes::new()).unwrap_or_default()
            });
            let agent = Agent::new(name, ([127, 0, 0, 1], port).into(), maker);
            let (connections, arrivals) = (if http == Http::Two { 4 } else { 64 }, Arrivals::poisson(rate));
            let agent = Agent { connections, arrivals, http, tls: tls.cloned(), ..agent };
            let outcome = load::run(vec![agent], &Plan { measure, ..Plan::default() })?;
            let all = outcome.total();
            say(&format!(
                "{name}: {rate:.0}/s offered, {:.0}/s answered, p50 {:.2} ms, p99 {:.2} ms, generator late p99 {:.2} ms\n",
                outcome.goodput(&all),
                all.percentile(0.5).as_secs_f64() * 1e3,
                all.percentile(0.99).as_secs_f64() * 1e3,
                outcome.lag.value_at_quantile(0.99) as f64 / 1e3,
            ))?;
        }
    }
    Ok(())
}

/// Waits until the proxy has worked off what is still queued in it, so that the next load does not pay for this one.
fn settle(proxy: &Proxy) -> Result<(), Failure> {
    let end = Instant::now() + LONGEST_SETTLE;
    let mut before = proxy.process.cpu()?;
    while Instant::now() < end {
        std::thread::sleep(SETTLE);
        let now = proxy.process.cpu()?;
        if now.saturating_sub(before) < IDLE {
            return Ok(());
        }
        before = now;
    }
    say(&format!("{} is still busy {} s after the load\n", proxy.kind.name(), LONGEST_SETTLE.as_secs()))?;
    Ok(())
}

/// This program again, as the register.
fn register(
    site: &Site,
    clients: Option<&str>,
    port: u16,
    service: Service,
    processor: &str,
) -> Result<Process, Failure> {
    let pki = site.path("pki").display().to_string();
    let (port_text, capacity) = (port.to_string(), service.capacity.to_string());
    let micros = service.time.as_micros().to_string();
    let mut arguments = vec!["register", "--pki", &pki, "--port", &port_text];
    arguments.extend(["--service-micros", &micros, "--capacity", &capacity]);
    arguments.extend(clients.into_iter().flat_map(|clients| ["--clients", clients]));
    let mut process =
        Process::start(&std::env::current_exe()?, &arguments, Some(processor), &site.path("register.log"))?;
    process.wait(port, Duration::from_secs(5)).map_err(|error| format!("the register: {error}"))?;
    Ok(process)
}

/// This process, and the threads that it will have.
fn pin() -> Result<(), Failure> {
    let id = std::process::id().to_string();
    let done = Command::new("taskset").args(["--all-tasks", "--cpu-list", "--pid", PROCESSOR_OF_LOAD, &id]).output();
    let done = done.map_err(|error| format!("taskset (Debian package util-linux): {error}"))?;
    if !done.status.success() {
        return Err(format!("taskset: {}", String::from_utf8_lossy(&done.stderr).trim()).into());
    }
    Ok(())
}

/// Of the load and the register.
const PROCESSOR_OF_LOAD: &str = "1";
/// Of the quota: a proxy that has used its share up waits no longer than that.
const PERIOD: Duration = Duration::from_millis(10);
const SETTLE: Duration = Duration::from_millis(200);
/// CPU time in [`SETTLE`] of a proxy that nobody asks for anything.
const IDLE: Duration = Duration::from_millis(10);
const LONGEST_SETTLE: Duration = Duration::from_secs(10);
/// What the quiet agencies ask for together, and the noisy one alone, in capacities.
const QUIET: f64 = 0.3;
const NOISY: f64 = 5.0;
