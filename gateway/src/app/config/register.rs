//! `[registers.<id>]`: where a register is, how it is reached, and how its failures are borne.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::section::{Reader, Section};
use super::{Tls, read};
use crate::forward::breaker;
use crate::forward::cap::Limit;
use crate::forward::fleet::{Balance, Rules};
use crate::forward::health;

/// `[registers.<id>]`.
#[derive(Clone, Debug)]
pub struct Register {
    /// `https://host:port`; a name stands for all its addresses.
    pub endpoints: Vec<Endpoint>,
    /// From the decision to the last byte of the record, all tries included.
    pub deadline: Duration,
    /// How long one try may take.
    pub try_timeout: Duration,
    /// How long a connection may take to be there, TLS included.
    pub connect_timeout: Duration,
    /// PEM: the authorities of the register's certificate.
    pub ca: PathBuf,
    /// PEM: the gateway's client certificate and chain.
    pub certificate: PathBuf,
    /// PEM: its private key; the same file if not given.
    pub key: PathBuf,
    /// What its certificate must show, if not the host of each endpoint.
    pub server_name: Option<String>,
    /// Which HTTP it is asked over.
    pub protocol: Protocol,
    /// The most connections per core and address.
    pub connections: usize,
    /// The most requests per core and address that wait for a connection.
    pub waiting: usize,
    /// How long a connection may wait to be used again.
    pub idle: Duration,
    /// How old a connection may become.
    pub max_age: Duration,
    /// How often names are resolved again.
    pub resolve: Duration,
    /// How targets are chosen and judged.
    pub rules: Rules,
    /// After how long a second target is asked too; never, if not given.
    pub hedge_after: Option<Duration>,
    /// What it is asked at most.
    pub limit: Limit,
    /// How it is asked whether it is well, if it is.
    pub check: Option<Check>,
}

/// An upstream address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A DNS name or an IP address: also what its certificate must show.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The data centre that it is in, if that was said.
    pub zone: Option<String>,
}

/// Which HTTP a register is asked over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// HTTP/2 where the register offers it (ALPN, RFC 7301), else HTTP/1.1.
    Auto,
}

/// `[registers.<id>.check]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is asked for; a status of 200 to 299 is well.
    pub path: String,
    /// How often.
    pub every: Duration,
    /// How long the answer may take.
    pub timeout: Duration,
    /// So many one after the other make a target well again.
    pub healthy: u32,
    /// So many one after the other make it unhealthy.
    pub unhealthy: u32,
}

impl Protocol {
    const ALL: [(&'static str, Self); 3] = [("http/1.1", Self::Http1), ("h2", Self::Http2), ("auto", Self::Auto)];
}

pub(super) fn parse(reader: &Reader<'_>, section: Section<'_>, tls: Option<&Tls>, folder: &Path) -> Option<Register> {
    let endpoints = endpoints(reader, &section);
    let time = |key, default| section.optional(key, read::duration).unwrap_or(default);
    let deadline = time("deadline", Duration::from_secs(2));
    let try_timeout = time("try_timeout", deadline / 2);
    let connect_timeout = time("connect_timeout", (deadline / 4).min(Duration::from_secs(1)));
    for (key, value) in [("try_timeout", try_timeout), ("connect_timeout", connect_timeout)] {
        if value > deadline {
            let message = format!("`{key}` is longer than the deadline, {deadline:?}: it could never end anything");
            reader.mend("timeout-beyond-deadline", section.place(key), message, "shorten it, or lengthen `deadline`");
        }
    }
    let ca = section.required("ca", read::pattern(folder));
    let certificate = section.optional("certificate", read::path(folder));
    let key = section.optional("key", read::path(folder));
    if key.is_some() && !section.has("certificate") {
        let message = "a `key` without its `certificate`";
        reader.mend("key-alone", section.place("key"), message, "add `certificate`, or remove `key`");
    }
    let server_name = section.optional("server_name", read::server_name);
    let protocol = section.optional("protocol", |reader, value| read::one_of(reader, value, &Protocol::ALL));
    let count = |key, default: usize| section.optional(key, read::count(1, 4096)).map_or(default, |it| it as usize);
    let (connections, waiting) = (count("connections", 64), count("waiting", 256));
    let (idle, max_age) = (time("idle_timeout", Duration::from_secs(60)), time("max_age", Duration::from_secs(600)));
    let resolve = time("resolve", Duration::from_secs(10));
    let balances = [("least-loaded", Balance::LeastLoaded), ("subject", Balance::Subject)];
    let balance = section.optional("balance", |reader, value| read::one_of(reader, value, &balances));
    let slow_start = section.optional("slow_start", read::duration_or_zero).unwrap_or(Duration::from_secs(10));
    let (retry_percent, retries_per_second) = retry(section.section("retry"));
    let (hedge_after, hedge_percent) = hedge(section.section("hedge"));
    let health = eject(section.section("eject"), slow_start);
    let breaker = breaker(section.section("breaker"));
    let limit = limit(section.section("limit"));
    let check = check(&section);
    section.finish();
    let (certificate, key) = match certificate {
        Some(certificate) => (certificate.clone(), key.unwrap_or(certificate)),
        None => tls.map(|tls| (tls.certificate.clone(), tls.key.clone()))?,
    };
    let balance = balance.unwrap_or(Balance::LeastLoaded);
    let rules = Rules { balance, health, breaker, retry_percent, retries_per_second, hedge_percent };
    Some(Register {
        endpoints: endpoints?,
        deadline,
        try_timeout,
        connect_timeout,
        ca: ca?,
        certificate,
        key,
        server_name,
        protocol: protocol.unwrap_or(Protocol::Http1),
        connections,
        waiting,
        idle,
        max_age,
        resolve,
        rules,
        hedge_after,
        limit,
        check,
    })
}

fn endpoints(reader: &Reader<'_>, section: &Section<'_>) -> Option<Vec<Endpoint>> {
    let endpoints = section.required("endpoints", |reader, value| {
        let endpoints = read::list(read::endpoint)(reader, value)?;
        let typed = value.get_ref().as_array().map_or(0, |items| items.len());
        (endpoints.len() == typed).then_some(endpoints)
    });
    if section.has("endpoints") && endpoints.as_ref().is_some_and(Vec::is_empty) {
        reader.mend(
            "no-endpoint",
            section.place("endpoints"),
            "a register without endpoints cannot be asked",
            "such as `endpoints = [\"https://10.1.0.11\"]`",
        );
    }
    for (at, endpoint) in endpoints.iter().flatten().enumerate() {
        let before = endpoints.iter().flatten().take(at);
        if before.clone().any(|other| (&other.host, other.port) == (&endpoint.host, endpoint.port)) {
            let message =
                format!("`{}:{}` stands here twice: it would get twice its part", endpoint.host, endpoint.port);
            reader.wrong("endpoint-twice", section.place("endpoints"), message);
        }
    }
    endpoints
}

fn retry(section: Section<'_>) -> (u32, u32) {
    let percent = section.optional("percent", read::count(0, 100)).unwrap_or(20);
    let per_second = section.optional("per_second", read::count(0, 100_000)).unwrap_or(3);
    section.finish();
    (percent, per_second)
}

fn hedge(section: Section<'_>) -> (Option<Duration>, u32) {
    let after = section.optional("after", read::duration);
    let percent = section.optional("percent", read::count(0, 100)).unwrap_or(5);
    section.finish();
    (after, percent)
}

/// Without `adaptive` no fewer than `most` are ever under way.
fn limit(section: Section<'_>) -> Limit {
    let most = section.optional("most", read::count(1, 100_000)).unwrap_or(1000);
    let least = section.optional("least", read::count(1, 100_000)).unwrap_or(10);
    let adaptive = section.optional("adaptive", read::switch).unwrap_or(false);
    let per_second = section.optional("per_second", read::count(0, 10_000_000)).unwrap_or(0);
    section.finish();
    Limit { most, least: adaptive.then_some(least), per_second: NonZeroU32::new(per_second) }
}

fn eject(section: Section<'_>, slow_start: Duration) -> health::Rules {
    let time = |key, seconds| section.optional(key, read::duration).unwrap_or(Duration::from_secs(seconds));
    let rules = health::Rules {
        consecutive: section.optional("consecutive", read::count(0, 10_000)).unwrap_or(5),
        failure_percent: section.optional("failure_percent", read::count(0, 100)).unwrap_or(50),
        least_requests: section.optional("least_requests", read::count(1, 1_000_000)).unwrap_or(20),
        eject_for: time("for", 10),
        most_for: time("at_most", 300),
        most_ejected_percent: section.optional("most_percent", read::count(0, 100)).unwrap_or(50),
        slow_start,
    };
    section.finish();
    rules
}

fn breaker(section: Section<'_>) -> breaker::Rules {
    let rules = breaker::Rules {
        failure_percent: section.optional("failure_percent", read::count(0, 100)).unwrap_or(80),
        least_requests: section.optional("least_requests", read::count(1, 1_000_000)).unwrap_or(20),
        open_for: section.optional("for", read::duration).unwrap_or(Duration::from_secs(5)),
    };
    section.finish();
    rules
}

/// Who names no path checks nothing; who names a section and no path has made a mistake.
fn check(register: &Section<'_>) -> Option<Check> {
    let named = register.has("check");
    let section = register.section("check");
    if !named {
        section.finish();
        return None;
    }
    let path = section.required("path", read::origin_path);
    let check = Check {
        path: path.unwrap_or_default(),
        every: section.optional("every", read::duration).unwrap_or(Duration::from_secs(5)),
        timeout: section.optional("timeout", read::duration).unwrap_or(Duration::from_secs(1)),
        healthy: section.optional("healthy", read::count(1, 100)).unwrap_or(2),
        unhealthy: section.optional("unhealthy", read::count(1, 100)).unwrap_or(3),
    };
    section.finish();
    Some(check)
}
