//! `gateway.toml`: what differs by site. What was typed becomes [`Config`], once; every later stage trusts it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use popgate_plugins::Configured;
use popgate_policy::directory::Identity;
use popgate_policy::model::RegisterId;
use popgate_policy::problem::Problem;

pub use break_glass::BreakGlass;
pub use bundle::{Signing, trust};
pub use changes::Changes;
pub use limits::{Harvest, Limits, Overload};
use popgate_policy::disclose::arena::Shelter;
pub use register::{Check, Endpoint, Protocol, Register};
pub use shadow::Shadow;
pub use share::Share;

mod admin;
mod break_glass;
mod bundle;
mod changes;
mod limits;
mod parse;
mod read;
mod register;
mod section;
mod shadow;
mod share;
mod signers;
#[cfg(test)]
mod tests;
pub(crate) mod units;

/// One node's configuration. Relative paths are relative to the file's folder; here all are resolved.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that it was read from.
    pub file: PathBuf,
    /// Where agencies and operators connect.
    pub listen: Listen,
    /// How many data-plane threads (one runtime each); the machine's cores if not given.
    pub cores: usize,
    /// The IANA time zone in which policies read the hour and purposes the date.
    pub time_zone: String,
    /// The agency side's TLS.
    pub tls: Tls,
    /// The data centre that the node is in, for registers whose endpoints say theirs.
    pub zone: Option<String>,
    /// The registers, by the id that contracts use.
    pub registers: BTreeMap<RegisterId, Register>,
    /// The bundle's folder.
    pub bundle: PathBuf,
    /// The candidate bundle that runs beside it, if there is to be one.
    pub shadow: Option<Shadow>,
    /// Who must have signed it.
    pub signing: Signing,
    /// The audit log.
    pub audit: Audit,
    /// The folder of what outlives the process and is no log: suspensions.
    pub state: PathBuf,
    /// The cache of raw records.
    pub cache: Cache,
    /// How many failed guesses are tolerated.
    pub guesses: Guesses,
    /// What becomes of limits.
    pub limits: Limits,
    /// When a party counts as one that copies a register.
    pub harvest: Harvest,
    /// When the node has too much to do.
    pub overload: Overload,
    /// Through what nodes share limits, if they do.
    pub share: Option<Share>,
    /// Where registers tell what they changed, beside the admin listener.
    pub changes: Option<Changes>,
    /// The operators' side.
    pub admin: Admin,
    /// Key files.
    pub keys: Keys,
    /// The sealed persons.
    pub sealed: Option<Sealed>,
    /// Whose break-glass orders are taken.
    pub break_glass: Option<BreakGlass>,
    /// The plugins, in the order in which they are asked.
    pub plugins: Vec<Configured>,
    /// Bounds on what a client may make us hold.
    pub http: Http,
    /// How long requests in flight may go on after a shutdown was asked for.
    pub drain: Duration,
}

impl Config {
    /// Reads and parses a `gateway.toml`. No other file is touched: what the paths name is opened by those who use it.
    ///
    /// # Errors
    /// Every mistake in the file, each with its place.
    pub fn read(file: &Path) -> Result<Self, ConfigErrors> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            let name = file.display().to_string();
            let problem = Problem::error("unreadable-file", &name, format!("cannot read `{name}`: {error}"));
            ConfigErrors { problems: vec![problem.help("name the file with --config")] }
        })?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::parse(&text, file, cores)
    }

    /// The pure part of [`Config::read`]: `file` names the text in messages and its folder is what relative paths are
    /// relative to; `cores` is the default of `cores`.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn parse(text: &str, file: &Path, cores: usize) -> Result<Self, ConfigErrors> {
        parse::config(text, file, cores)
    }
}

/// Everything that is wrong with a `gateway.toml`; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// In the order of the file.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// `[listen]`.
#[derive(Clone, Debug)]
pub struct Listen {
    /// HTTP/1.1 and 2 over mTLS on TCP, HTTP/3 on UDP.
    pub https: SocketAddr,
    /// The admin listener.
    pub admin: Option<SocketAddr>,
    /// The listener that tells a client what is wrong with it.
    pub whoami: Option<SocketAddr>,
}

/// `[tls]`.
#[derive(Clone, Debug)]
pub struct Tls {
    /// PEM: the gateway's chain.
    pub certificate: PathBuf,
    /// PEM: its private key; the same file if not given.
    pub key: PathBuf,
    /// PEM files with the authorities of client certificates; a path whose last part may hold `*`.
    pub client_cas: PathBuf,
    /// CRL files, PEM or DER; as above.
    pub crls: Option<PathBuf>,
    /// How long past its `nextUpdate` a CRL still lets new handshakes in; `None`: for ever.
    pub crl_grace: Option<Duration>,
}

/// `[audit]`.
#[derive(Clone, Debug)]
pub struct Audit {
    /// The folder of the log; made if missing.
    pub dir: PathBuf,
    /// A new segment is begun past that many bytes.
    pub segment_bytes: u64,
    /// No disclosure when the disk has fewer free bytes.
    pub min_free_bytes: u64,
}

/// `[cache]`.
#[derive(Clone, Debug)]
pub struct Cache {
    /// Bytes of raw records held at most; 0 switches the cache off.
    pub capacity_bytes: u64,
    /// Whether records are wiped when they go, and how their memory is kept; `None`: as any other.
    pub shelter: Option<Shelter>,
}

/// `[guesses]`: past a limit the answer stays "no match" until the period is over.
#[derive(Clone, Debug)]
pub struct Guesses {
    /// Failed guesses about one subject, over all agencies.
    pub per_subject: NonZeroU32,
    /// Failed guesses of one agency.
    pub per_agency: NonZeroU32,
    /// The period.
    pub period: Duration,
}

/// `[admin]`.
#[derive(Clone, Debug, Default)]
pub struct Admin {
    /// PEM files with the authorities of operator certificates.
    pub client_cas: Option<PathBuf>,
    /// `[admin.operators.<name>]`.
    pub operators: BTreeMap<String, Operator>,
}

/// One operator.
#[derive(Clone, Debug)]
pub struct Operator {
    /// What the operator's certificate shows.
    pub identity: Identity,
    /// What the operator may do.
    pub roles: Vec<Role>,
    /// With the role of a register: which it is.
    pub register: Option<RegisterId>,
}

/// What an operator may do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Role {
    /// Sees status, metrics and the bundle in force.
    Viewer,
    /// Proposes bundles.
    Author,
    /// Approves bundles.
    Approver,
    /// Reads the audit log.
    Auditor,
    /// Runs the node.
    Sre,
    /// A register that tells what it changed; no other role goes with it.
    Register,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] = [Self::Viewer, Self::Author, Self::Approver, Self::Auditor, Self::Sre, Self::Register];

    /// The name used in `gateway.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Author => "author",
            Self::Approver => "approver",
            Self::Auditor => "auditor",
            Self::Sre => "sre",
            Self::Register => "register",
        }
    }

    /// The role of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

/// `[keys]`: files with 32 random bytes in hex or raw, readable by their owner alone.
#[derive(Clone, Debug)]
pub struct Keys {
    /// For pseudonyms.
    pub pseudonym: PathBuf,
    /// For what is encrypted in the audit log.
    pub audit: PathBuf,
    /// For the cursors of searches; without it they end with the process.
    pub cursor: Option<PathBuf>,
}

/// `[sealed]`.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The list of persons by keyed tags.
    pub list: PathBuf,
    /// `[keys] sealing`, which the tags are made under.
    pub key: PathBuf,
}

/// `[http]`.
#[derive(Clone, Debug)]
pub struct Http {
    /// Whether HTTP/3 is served as well, on the UDP port of the same number.
    pub http3: bool,
    /// The most connections at once.
    pub max_connections: usize,
    /// The most connections of one address (of IPv6: one /64).
    pub connections_per_address: usize,
    /// The most connections of one address that begin in a second, ten times as many at once; as many as it likes, if not given.
    pub handshakes_per_address: Option<NonZeroU32>,
    /// From accept to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a request to the end of its headers.
    pub header_timeout: Duration,
    /// How long a connection may be kept alive without a request.
    pub idle_timeout: Duration,
    /// From the end of the headers to the end of the body.
    pub body_timeout: Duration,
    /// The longest request body in bytes.
    pub max_body: usize,
    /// The longest request header section in bytes.
    pub max_headers: usize,
    /// HTTP/2 and 3: the most concurrent streams.
    pub max_streams: u32,
    /// HTTP/2 and 3: the most frames a second that carry no request data (resets, pings, settings, window updates, ...).
    pub max_control_frames: u32,
    /// The lines of one bulk request that are worked on at once.
    pub bulk_in_flight: usize,
}
