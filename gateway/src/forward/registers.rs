//! The registers of a node: endpoints and the TLS to reach them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use popgate_policy::model::RegisterId;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use crate::app::config::{self, Protocol};
use crate::clock::Clock;
use crate::custody::{self, CustodyError};
use crate::forward::cap::Cap;
use crate::forward::fleet::{Fleet, Place};
use crate::metrics::{FleetMetrics, Metrics};

/// One immutable snapshot of every register's endpoints and credentials.
#[derive(Debug)]
pub struct Registers {
    generation: u64,
    registers: BTreeMap<RegisterId, Arc<Register>>,
}

/// How to reach one register.
#[derive(Debug)]
pub struct Register {
    /// What the site says of it.
    pub config: config::Register,
    /// Where it is, by the endpoints' order.
    pub endpoints: Vec<Endpoint>,
    /// The addresses that are asked; the same over changes of credentials.
    pub fleet: Arc<Fleet>,
    /// What it is asked at most; likewise.
    pub cap: Arc<Cap>,
    /// Credentials and authorities.
    pub tls: Arc<ClientConfig>,
    /// What is counted of it.
    pub metrics: FleetMetrics,
    /// Of authorities, chain and key.
    digest: Vec<u8>,
}

/// An address with the name that its certificate must show.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// DNS name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Host and port as in a URL: an IPv6 address stands in brackets.
    pub authority: String,
    /// What its certificate must show.
    pub name: ServerName<'static>,
    /// Whether it is in the node's own zone, or no zones are told apart.
    near: bool,
}

/// Why a register's credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// A PEM file is missing or holds something else.
    #[error("register `{register}`: `{file}`: {reason}")]
    File {
        /// Which register.
        register: String,
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The private key cannot be used.
    #[error("register `{register}`: {source}")]
    Key {
        /// Which register.
        register: String,
        /// Why.
        source: CustodyError,
    },
}

/// What registers are made with, whatever the files say.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// The node's own zone.
    pub zone: Option<&'a str>,
    /// Where it is counted.
    pub metrics: &'a Metrics,
    /// The time.
    pub clock: &'a Clock,
}

impl Registers {
    /// Reads every register's certificate, key and authorities. What is known of its targets is that of `before`.
    ///
    /// # Errors
    /// For the first file that cannot be used.
    pub fn load(
        configured: &BTreeMap<RegisterId, config::Register>,
        before: Option<&Self>,
        around: Around<'_>,
    ) -> Result<Self, RegisterError> {
        let generation = before.map_or(1, |before| before.generation + 1);
        let registers = configured
            .iter()
            .map(|(id, register)| {
                let before = before.and_then(|before| before.registers.get(id));
                Ok((id.clone(), Arc::new(Register::load(id, register, before, around)?)))
            })
            .collect::<Result<_, RegisterError>>()?;
        Ok(Self { generation, registers })
    }

    /// Every register.
    pub fn all(&self) -> impl Iterator<Item = (&RegisterId, &Arc<Register>)> {
        self.registers.iter()
    }

    /// Which snapshot this is: connections made under another one are not used again.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the credentials are those of another snapshot.
    pub fn is_the_same(&self, other: &Self) -> bool {
        self.registers
            .iter()
            .map(|(id, it)| (id, &it.digest))
            .eq(other.registers.iter().map(|(id, it)| (id, &it.digest)))
    }

    /// The register of that id.
    pub fn register(&self, id: &RegisterId) -> Option<&Arc<Register>> {
        self.registers.get(id)
    }
}

impl Register {
    /// Where its targets are, by what its endpoints' names mean now: `None` where that is not known.
    pub fn places(&self, resolved: &[Option<Vec<IpAddr>>]) -> Vec<Place> {
        let of = |(at, endpoint): (usize, &Endpoint)| {
            let literal = endpoint.host.parse::<IpAddr>().ok().map(|address| vec![address]);
            let addresses = literal.or_else(|| resolved.get(at).cloned().flatten()).unwrap_or_default();
            let place = |address: Option<IpAddr>| Place {
                name: endpoint.authority.clone(),
                endpoint: at,
                address: address.map(|address| SocketAddr::new(address, endpoint.port)),
                near: endpoint.near,
            };
            if addresses.is_empty() {
                return vec![place(None)];
            }
            addresses.into_iter().map(|address| place(Some(address))).collect()
        };
        self.endpoints.iter().enumerate().flat_map(of).collect()
    }

    fn load(
        id: &RegisterId,
        configured: &config::Register,
        before: Option<&Arc<Self>>,
        around: Around<'_>,
    ) -> Result<Self, RegisterError> {
        let file = |file: &Path, reason: String| RegisterError::File {
            register: id.to_string(),
            file: file.to_owned(),
            reason,
        };
        let mut roots = RootCertStore::empty();
        // DER carries its own length: concatenation is unambiguous.
        let mut digest = digest::Context::new(&digest::SHA256);
        for authority in certificates(&configured.ca).map_err(|reason| file(&configured.ca, reason))? {
            digest.update(&authority);
            roots.add(authority).map_err(|error| file(&configured.ca, error.to_string()))?;
        }
        let chain = certificates(&configured.certificate).map_err(|reason| file(&configured.certificate, reason))?;
        let key = custody::private_file(&configured.key)
            .map_err(|source| RegisterError::Key { register: id.to_string(), source })?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| file(&configured.key, error.to_string()))?;
        chain.iter().for_each(|certificate| digest.update(certificate));
        digest.update(key.secret_der());
        let mut tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|error| file(&configured.certificate, error.to_string()))?;
        tls.alpn_protocols = match configured.protocol {
            Protocol::Http1 => vec![b"http/1.1".to_vec()],
            Protocol::Http2 => vec![b"h2".to_vec()],
            Protocol::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        let endpoints = configured
            .endpoints
            .iter()
            .map(|endpoint| {
                let shown = configured.server_name.as_ref().unwrap_or(&endpoint.host);
                let name = ServerName::try_from(shown.clone())
                    .map_err(|error| file(&configured.ca, format!("host `{shown}`: {error}")))?;
                let (host, port) = (endpoint.host.clone(), endpoint.port);
                let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
                let near = match (around.zone, &endpoint.zone) {
                    (Some(own), Some(zone)) => own == zone,
                    _ => true,
                };
                Ok(Endpoint { host, port, authority, name, near })
            })
            .collect::<Result<Vec<_>, RegisterError>>()?;
        let mut seed = [0; 8];
        // Without a seed chance is the same at each start, which harms nobody.
        let _ = aws_lc_rs::rand::fill(&mut seed);
        let fleet = || Arc::new(Fleet::new(configured.rules, Vec::new(), u64::from_ne_bytes(seed), around.clock.now()));
        let cap = || Arc::new(Cap::new(configured.limit, around.clock));
        let register = Self {
            config: configured.clone(),
            endpoints,
            fleet: before.map_or_else(fleet, |before| Arc::clone(&before.fleet)),
            cap: before.map_or_else(cap, |before| Arc::clone(&before.cap)),
            tls: Arc::new(tls),
            metrics: around.metrics.fleet(id.as_str()),
            digest: digest.finish().as_ref().to_vec(),
        };
        if before.is_none() {
            register.fleet.place(register.places(&[]), around.clock.now());
        }
        Ok(register)
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<_, _>>)
        .map_err(|error| error.to_string())?;
    if certificates.is_empty() { Err("no certificate in it".into()) } else { Ok(certificates) }
}
