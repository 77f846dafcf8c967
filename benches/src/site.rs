//! A throw-away site: certificates, a bundle with as many agencies as one likes, and a gateway and a register as
//! processes.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};
use tempfile::TempDir;

use crate::Failure;

mod pki;
mod process;

pub use process::{Gateway, Process, free_port};

/// What a site has.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of the bundle that it begins with; it is copied.
    pub bundle: PathBuf,
    /// How many agencies are added: `load-000`, `load-001`, ...
    pub agencies: usize,
    /// The systems of each of them.
    pub systems: Vec<System>,
    /// The register's ports on loopback.
    pub registers: Vec<u16>,
    /// The gateway's data-plane threads.
    pub cores: usize,
    /// What `[registers.population]` says beside endpoints and files.
    pub population: String,
    /// Sections appended to `gateway.toml`.
    pub settings: String,
}

/// A system that each of the added agencies has.
#[derive(Clone, Debug)]
pub struct System {
    /// Its id within the agency.
    pub name: String,
    /// `limits` in the directory, without the braces.
    pub limits: String,
    /// Further lines of its section.
    pub more: String,
}

/// The folder of a site. Dropped, it is removed.
#[derive(Debug)]
pub struct Site {
    dir: TempDir,
    pki: pki::Pki,
    port: u16,
    admin: u16,
}

impl System {
    /// A system whose limits are beyond what any machine can do.
    pub fn unlimited(name: &str) -> Self {
        let limits = r#"rate = "1000000/s", burst = 1000000, concurrent = 100000"#;
        Self { name: name.to_owned(), limits: limits.to_owned(), more: String::new() }
    }

    /// With this priority in the directory.
    #[must_use]
    pub fn priority(mut self, priority: &str) -> Self {
        let _ = writeln!(self.more, "priority = \"{priority}\"");
        self
    }
}

impl Site {
    /// Makes everything but the processes.
    ///
    /// # Errors
    /// If a file cannot be read or written, or there is no free port.
    pub fn make(options: &Options) -> Result<Self, Failure> {
        let dir = tempfile::Builder::new().prefix("popgate-site-").tempdir()?;
        let pki = pki::Pki::make()?;
        let site = Self { dir, pki, port: free_port()?, admin: free_port()? };
        for folder in ["pki", "keys", "audit"] {
            fs::create_dir_all(site.path(folder))?;
        }
        site.pki.write(&site.path("pki"))?;
        for (key, byte) in [("pseudonym", 1), ("audit", 2)] {
            secret(&site.path(&format!("keys/{key}.key")), &[byte; 32])?;
        }
        copy(&options.bundle, &site.path("bundle"))?;
        for at in 0..options.agencies {
            let text = agency(at, &options.systems);
            fs::write(site.path(&format!("bundle/agencies/{}.toml", agency_id(at))), text)?;
        }
        fs::write(site.path("gateway.toml"), site.configuration(options))?;
        Ok(site)
    }

    /// A file or folder of it.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.dir.path().join(inside)
    }

    /// A file of `pki/`: `agencies.pem`, `site.pem` (authorities), `gateway.pem`, `register.pem`, `client.pem` (the
    /// gateway as the register's client), each with its `.key`.
    pub fn pem(&self, name: &str) -> PathBuf {
        self.path("pki").join(name)
    }

    /// Where agencies connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Trust and certificate of a system (`load-000/interactive`). The certificate's common name is
    /// `load-000.interactive`.
    ///
    /// # Errors
    /// If its certificate cannot be made.
    pub fn client(&self, system: &str) -> Result<Arc<ClientConfig>, Failure> {
        self.pki.client(system)
    }

    /// A register's side, from the site's folder `pki`: who is let in has a certificate of this authority (`site.pem`:
    /// the gateway).
    ///
    /// # Errors
    /// If a file is no PEM of its kind.
    pub fn register_tls(pki: &Path, clients: &str) -> Result<Arc<ServerConfig>, Failure> {
        pki::register(pki, clients)
    }

    /// Starts the gateway, on the processors that `taskset` is told (all, if `None`), and waits until it serves.
    ///
    /// # Errors
    /// If it does not serve within half a minute.
    pub fn start(&self, popgate: &Path, processors: Option<&str>, log: &str) -> Result<Gateway, Failure> {
        let config = self.path("gateway.toml");
        let arguments = ["serve".as_ref(), "--config".as_ref(), config.as_os_str(), "--log".as_ref(), log.as_ref()];
        let words = self.path("popgate.log");
        let process = Process::start(popgate, &arguments, processors, &words)?;
        Gateway::wait(process, self.port).map_err(|error| {
            let said = fs::read_to_string(&words).unwrap_or_default();
            format!("{error}: {}", said.trim()).into()
        })
    }

    fn configuration(&self, options: &Options) -> String {
        let endpoints: Vec<_> = options.registers.iter().map(|port| format!("\"https://localhost:{port}\"")).collect();
        format!(
            r#"cores = {cores}
drain = "2s"
[listen]
https = "127.0.0.1:{port}"
admin = "127.0.0.1:{admin}"
[tls]
certificate = "pki/gateway.pem"
key         = "pki/gateway.key"
client_cas  = "pki/agencies.pem"
[registers.population]
endpoints   = [{endpoints}]
ca          = "pki/site.pem"
certificate = "pki/client.pem"
key         = "pki/client.key"
{population}
[bundle]
path = "bundle"
[audit]
dir = "audit"
min_free = "64MiB"
[keys]
pseudonym = "keys/pseudonym.key"
audit     = "keys/audit.key"
[admin]
client_cas = "pki/site.pem"
[admin.operators.linh]
identity = "spiffe://gov.vn/operator/linh"
roles    = ["viewer", "sre"]
{settings}
"#,
            cores = options.cores,
            port = self.port,
            admin = self.admin,
            endpoints = endpoints.join(", "),
            population = options.population,
            settings = options.settings,
        )
    }
}

/// The id of an added agency.
pub fn agency_id(at: usize) -> String {
    format!("load-{at:03}")
}

/// They are of the tax sector: the reference bundle's policies let it read citizens for an assessment.
fn agency(at: usize, systems: &[System]) -> String {
    let id = agency_id(at);
    let mut text = format!(
        "name     = {{ vi = \"Cơ quan {at}\", en = \"Agency {at}\" }}\nsector   = \"tax\"\nlevel    = \"central\"\npurposes = [\"assessment\"]\n"
    );
    for System { name, limits, more } in systems {
        let _ = write!(
            text,
            "\n[systems.{name}]\nidentity = \"spiffe://gov.vn/{id}/{name}\"\nlimits   = {{ {limits} }}\n{more}"
        );
    }
    text
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let named = |error| format!("`{}`: {error}", from.display());
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).map_err(named)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// A file that nobody else can read.
pub(crate) fn secret(file: &Path, content: &[u8]) -> Result<(), Failure> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut open = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
    Ok(open.write_all(content)?)
}
