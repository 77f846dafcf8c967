//! The registers of a node: endpoints and the TLS to reach them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use popgate_policy::model::RegisterId;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use crate::app::config;
use crate::custody::{self, CustodyError};

/// One immutable snapshot of every register's endpoints and credentials.
#[derive(Debug)]
pub struct Registers {
    generation: u64,
    registers: BTreeMap<RegisterId, Arc<Register>>,
}

/// How to reach one register.
#[derive(Debug)]
pub struct Register {
    /// Tried in order.
    pub endpoints: Vec<Endpoint>,
    /// From the decision to the last byte.
    pub deadline: Duration,
    /// The most connections per core and endpoint.
    pub connections: usize,
    /// Credentials and authorities.
    pub tls: Arc<ClientConfig>,
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
    /// The same host, as TLS checks it.
    pub name: ServerName<'static>,
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

impl Registers {
    /// Reads every register's certificate, key and authorities.
    ///
    /// # Errors
    /// For the first file that cannot be used.
    pub fn load(configured: &BTreeMap<RegisterId, config::Register>, generation: u64) -> Result<Self, RegisterError> {
        let registers = configured
            .iter()
            .map(|(id, register)| Ok((id.clone(), Arc::new(Register::load(id, register)?))))
            .collect::<Result<_, RegisterError>>()?;
        Ok(Self { generation, registers })
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

impl Endpoint {
    /// Host and port as in a URL: an IPv6 address stands in brackets.
    pub fn authority(&self) -> String {
        let (host, port) = (&self.host, self.port);
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl Register {
    /// How long one endpoint may take to give a connection: its share of the deadline.
    pub fn patience(&self) -> Duration {
        self.deadline / u32::try_from(self.endpoints.len()).unwrap_or(u32::MAX).max(1)
    }

    fn load(id: &RegisterId, configured: &config::Register) -> Result<Self, RegisterError> {
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
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let endpoints = configured
            .endpoints
            .iter()
            .map(|endpoint| {
                let name = ServerName::try_from(endpoint.host.clone())
                    .map_err(|error| file(&configured.ca, format!("host `{}`: {error}", endpoint.host)))?;
                Ok(Endpoint { host: endpoint.host.clone(), port: endpoint.port, name })
            })
            .collect::<Result<_, RegisterError>>()?;
        Ok(Self {
            endpoints,
            deadline: configured.deadline,
            connections: configured.connections,
            tls: Arc::new(tls),
            digest: digest.finish().as_ref().to_vec(),
        })
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<_, _>>)
        .map_err(|error| error.to_string())?;
    if certificates.is_empty() { Err("no certificate in it".into()) } else { Ok(certificates) }
}
