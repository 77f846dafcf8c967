//! The reference deployment in one process: throw-away PKI, reference bundle, synthetic registers, gateway.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use jiff::{SignedDuration, Timestamp};
use popgate::app::config::{Config, ConfigErrors};
use popgate::app::{Running, StartError};
use popgate::pki::{Authority, Client as Subject, Issued, PkiError, Serial, Validity};

use crate::client::{Client, ClientError, Credentials, Http};
use crate::postgres::PostgresError;
use crate::register;

mod registers;

pub use registers::{Endpoints, Others, Register, SEEDED};

/// What may differ from the reference.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The agencies' port; 0 takes a free one.
    pub port: u16,
    /// The data-plane threads; 0 takes two.
    pub cores: usize,
    /// Appended to `gateway.toml`.
    pub settings: String,
    /// The population's endpoint in `gateway.toml`, if another than the synthetic register's own.
    pub register: Option<SocketAddr>,
    /// Further endpoints of the population.
    pub replicas: Vec<SocketAddr>,
    /// What `[registers.population]` says beside its endpoints and files in `gateway.toml`.
    pub population: String,
    /// Whether the population is read from a throw-away PostgreSQL with [`SEEDED`] citizens, and not computed.
    pub postgres: bool,
    /// What `[bundle]` says beside `path` in `gateway.toml`, and sections below it.
    pub bundle: String,
    /// What `[audit]` says beside `dir` in `gateway.toml`, if something else than the reference.
    pub audit: Option<String>,
}

/// A running deployment. Dropped, everything in it stops; its folder stays.
#[derive(Debug)]
pub struct Deployment {
    /// Everything that was made.
    pub site: Site,
    /// The gateway.
    pub gateway: Running,
    /// The population register's controls.
    pub register: Register,
    /// The other registers.
    pub others: Others,
}

/// The folder of a deployment.
#[derive(Clone, Debug)]
pub struct Site {
    dir: PathBuf,
}

/// Why there is no deployment.
#[derive(Debug, thiserror::Error)]
pub enum DeploymentError {
    /// A file or folder.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A certificate.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The register.
    #[error(transparent)]
    Register(#[from] register::RegisterError),
    /// The throw-away PostgreSQL.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The configuration.
    #[error("{0}")]
    Config(String),
    /// The gateway.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A client.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl From<ConfigErrors> for DeploymentError {
    fn from(errors: ConfigErrors) -> Self {
        Self::Config(errors.to_string())
    }
}

impl Deployment {
    /// Makes a site in an empty (or missing) folder, and starts everything in it.
    ///
    /// # Errors
    /// If anything of it fails; what was started is stopped.
    pub fn start(dir: &Path, options: &Options) -> Result<Self, DeploymentError> {
        let site = Site::make(dir)?;
        let mut others = Others::start(&site)?;
        let register = others.population(&site, options.postgres)?;
        let population = options.register.unwrap_or(register.address);
        let gateway = site.start_gateway(others.endpoints(population), options)?;
        Ok(Self { site, gateway, register, others })
    }

    /// A system's client, by `agency/system`, over HTTP/1.1.
    ///
    /// # Errors
    /// If its certificate cannot be made.
    pub fn client(&self, system: &str) -> Result<Client, DeploymentError> {
        self.client_over(system, Http::One)
    }

    /// A system's client.
    ///
    /// # Errors
    /// If its certificate cannot be made.
    pub fn client_over(&self, system: &str, http: Http) -> Result<Client, DeploymentError> {
        Ok(Client::new(self.gateway.https(), &self.site.credentials(system)?, http)?)
    }
}

impl Site {
    /// Makes authorities, certificates, keys, and a copy of the reference bundle.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn make(dir: &Path) -> Result<Self, DeploymentError> {
        let dir = std::path::absolute(dir).map_err(|source| failed("the folder", dir, source))?;
        for part in ["pki", "clients", "keys", "bundle"] {
            let part = dir.join(part);
            fs::create_dir_all(&part).map_err(|source| failed("make", &part, source))?;
        }
        let site = Self { dir };
        let now = Timestamp::now();
        let (authority_life, life) = (Validity::days(now, 3650), Validity::days(now, 30));
        for name in [AGENCIES, SITE, OPERATORS] {
            let authority = Authority::create(&site.pki(), name, authority_life)?;
            authority.renew_crl(now, SignedDuration::from_hours(24 * 30))?;
        }
        let own = site.authority(SITE)?;
        own.issue_server(&["localhost".into(), "127.0.0.1".into()], life)?.write(&site.pki().join("gateway"))?;
        own.issue_server(&["localhost".into(), "127.0.0.1".into()], life)?.write(&site.pki().join("register"))?;
        let upstream = Subject { common_name: "popgate".into(), ..Subject::default() };
        own.issue_client(&upstream, life)?.write(&site.pki().join("gateway-to-register"))?;
        let operator = Subject {
            uri: Some("spiffe://gov.vn/operator/linh".into()),
            common_name: "linh".into(),
            ..Subject::default()
        };
        let issued = site.authority(OPERATORS)?.issue_client(&operator, life)?;
        site.write_identity("operator-linh", &issued)?;
        for key in ["pseudonym", "audit"] {
            popgate::pki::new_key(&site.dir.join("keys").join(format!("{key}.key")))?;
        }
        copy_folder(&reference_bundle(), &site.bundle())?;
        Ok(site)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The copy of the reference bundle.
    pub fn bundle(&self) -> PathBuf {
        self.dir.join("bundle")
    }

    /// The audit log.
    pub fn audit(&self) -> PathBuf {
        self.dir.join("audit")
    }

    /// The gateway's configuration.
    pub fn config_file(&self) -> PathBuf {
        self.dir.join("gateway.toml")
    }

    /// The authority of that name, of this deployment.
    ///
    /// # Errors
    /// If its files cannot be read.
    pub fn authority(&self, name: &str) -> Result<Authority, DeploymentError> {
        Ok(Authority::load(&self.pki(), name)?)
    }

    /// The PEM file with the gateway's authority, for `curl --cacert`.
    pub fn gateway_authority(&self) -> PathBuf {
        self.pki().join(format!("{SITE}.pem"))
    }

    /// The PEM file with certificate and key of a system (`agency/system`); made at the first use.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn identity(&self, system: &str) -> Result<PathBuf, DeploymentError> {
        let file = self.dir.join("clients").join(format!("{}.pem", system.replace('/', "-")));
        if !file.exists() {
            let subject = Subject {
                uri: Some(format!("spiffe://gov.vn/{system}")),
                common_name: system.replace('/', "."),
                ..Subject::default()
            };
            let issued = self.authority(AGENCIES)?.issue_client(&subject, Validity::days(Timestamp::now(), 30))?;
            self.write_identity(&system.replace('/', "-"), &issued)?;
        }
        Ok(file)
    }

    /// What a system needs to connect.
    ///
    /// # Errors
    /// If its certificate cannot be made.
    pub fn credentials(&self, system: &str) -> Result<Credentials, DeploymentError> {
        let identity = self.identity(system)?;
        let read = |file: &Path| fs::read(file).map_err(|source| failed("read", file, source));
        Ok(Credentials { authorities: read(&self.gateway_authority())?, identity: Some(read(&identity)?) })
    }

    /// Puts a system's certificate on the revocation list.
    ///
    /// # Errors
    /// If the list cannot be written.
    pub fn revoke(&self, system: &str) -> Result<(), DeploymentError> {
        let serial = Serial::of(&self.identity(system)?)?;
        self.authority(AGENCIES)?.revoke(&serial, Timestamp::now(), SignedDuration::from_hours(24 * 30))?;
        Ok(())
    }

    /// Writes certificate and key in one PEM file, as curl takes it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_identity(&self, name: &str, issued: &Issued) -> Result<PathBuf, DeploymentError> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let file = self.dir.join("clients").join(format!("{name}.pem"));
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&file)
            .and_then(|mut open| {
                open.write_all(issued.certificate.as_bytes())?;
                open.write_all(issued.key.as_bytes())
            })
            .map_err(|source| failed("write", &file, source))?;
        Ok(file)
    }

    /// Writes `gateway.toml` and starts the gateway.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start_gateway(
        &self,
        registers: impl Into<Endpoints>,
        options: &Options,
    ) -> Result<Running, DeploymentError> {
        let config = self.write_config(registers, options)?;
        Ok(popgate::app::start(config, false)?)
    }

    /// Writes `gateway.toml` for registers at these addresses; a single one is the population's.
    ///
    /// # Errors
    /// If it cannot be written, or is not valid.
    pub fn write_config(&self, registers: impl Into<Endpoints>, options: &Options) -> Result<Config, DeploymentError> {
        let file = self.config_file();
        let mut sections = String::new();
        for (register, address) in registers.into().iter() {
            let is_population = register == "population";
            let replicas = options.replicas.iter().filter(|_| is_population);
            let endpoints: String = std::iter::once(&address)
                .chain(replicas)
                .map(|address| format!("\"https://localhost:{}\", ", address.port()))
                .collect();
            let more = if is_population { options.population.as_str() } else { "" };
            // Writing to a String cannot fail.
            let _ = write!(
                sections,
                r#"
[registers.{register}]
endpoints   = [{endpoints}]
ca          = "pki/{SITE}.pem"
certificate = "pki/gateway-to-register.pem"
key         = "pki/gateway-to-register.key"
{more}
"#,
                endpoints = endpoints.trim_end_matches(", "),
            );
        }
        let text = format!(
            r#"# Written by the demonstration. deploy/gateway.toml explains every key.
cores = {cores}
drain = "5s"

[listen]
https  = "127.0.0.1:{port}"
admin  = "127.0.0.1:0"
whoami = "127.0.0.1:0"

[tls]
certificate = "pki/gateway.pem"
key         = "pki/gateway.key"
client_cas  = "pki/{AGENCIES}.pem"
crls        = "pki/{AGENCIES}.crl"
{sections}
[bundle]
path = "bundle"
{bundle}

[audit]
dir = "audit"
{audit}

[keys]
pseudonym = "keys/pseudonym.key"
audit     = "keys/audit.key"

[admin]
client_cas = "pki/{OPERATORS}.pem"

[admin.operators.linh]
identity = "spiffe://gov.vn/operator/linh"
roles    = ["viewer", "auditor", "sre"]
{settings}"#,
            cores = if options.cores == 0 { 2 } else { options.cores },
            port = options.port,
            audit = options.audit.as_deref().unwrap_or("min_free = \"64MiB\""),
            bundle = options.bundle,
            settings = options.settings,
        );
        fs::write(&file, text).map_err(|source| failed("write", &file, source))?;
        Ok(Config::read(&file)?)
    }

    fn pki(&self) -> PathBuf {
        self.dir.join("pki")
    }
}

/// The authority of agencies' certificates.
pub const AGENCIES: &str = "agencies";
/// The authority of the site's own servers and of the gateway as the register's client.
pub const SITE: &str = "site";
/// The authority of operators' certificates.
pub const OPERATORS: &str = "operators";

/// The reference bundle of this source tree.
pub fn reference_bundle() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../bundle")
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), DeploymentError> {
    fs::create_dir_all(to).map_err(|source| failed("make", to, source))?;
    for entry in fs::read_dir(from).map_err(|source| failed("read", from, source))? {
        let entry = entry.map_err(|source| failed("read", from, source))?;
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_folder(&path, &copy)?;
        } else {
            fs::copy(&path, &copy).map_err(|source| failed("copy", &path, source))?;
        }
    }
    Ok(())
}

fn failed(what: &str, path: &Path, source: io::Error) -> DeploymentError {
    DeploymentError::Io { what: format!("{what} `{}`", path.display()), source }
}
