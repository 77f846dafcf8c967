//! The admin listener: what operators see of a node, over mutual TLS, by role.
//!
//! It runs on a thread of its own and shares nothing with the data plane but what [`AdminState`] hands it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use popgate_policy::directory::Identity;
use rustls::ServerConfig;
use tokio::sync::watch;

use crate::app::config::{Config, Operator};
use crate::custody::CustodyError;
use crate::metrics::Metrics;

mod connections;
mod routes;
mod status;
#[cfg(test)]
mod tests;
mod tls;

pub use status::{BundleStatus, ProblemStatus, Refused, Status, TrustStatus};

/// What the admin listener needs of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// PEM: the chain that operators see; the same as agencies see.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
    /// PEM: the authorities of operator certificates.
    pub client_cas: PathBuf,
    /// Revocation lists; those of authorities that issue no operator certificates do no harm.
    pub crls: Option<PathBuf>,
    /// Who is enrolled.
    pub operators: BTreeMap<String, Operator>,
}

impl Settings {
    /// `None` if the configuration has no admin listener.
    pub fn of(config: &Config) -> Option<Self> {
        Some(Self {
            listen: config.listen.admin?,
            certificate: config.tls.certificate.clone(),
            key: config.tls.key.clone(),
            client_cas: config.admin.client_cas.clone()?,
            crls: config.tls.crls.clone(),
            operators: config.admin.operators.clone(),
        })
    }
}

/// What the admin listener shows.
#[derive(Clone)]
pub struct AdminState {
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// For `/readyz` and `/bundle`; called for each request, on the admin thread.
    pub status: Arc<dyn Fn() -> Status + Send + Sync>,
    /// What a DER certificate shows of its holder; empty if it cannot be read.
    pub identities: fn(&[u8]) -> Vec<Identity>,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState").finish_non_exhaustive()
    }
}

/// Why the admin listener cannot start, or take new certificates.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be listened on.
    #[error("cannot listen on `{address}`: {source}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The thread or its runtime cannot be had.
    #[error("cannot start the admin thread: {0}")]
    Thread(io::Error),
    /// A file cannot be read.
    #[error("cannot read `{file}`: {source}")]
    File {
        /// Which.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("`{file}` {reason}")]
    Content {
        /// Which.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The private key cannot be used.
    #[error(transparent)]
    Key(#[from] CustodyError),
    /// Certificate and key do not fit together.
    #[error("certificate `{certificate}` and key `{key}`: {source}")]
    Pair {
        /// The chain.
        certificate: String,
        /// The key.
        key: String,
        /// Why.
        source: rustls::Error,
    },
}

/// A running admin listener. Dropping it ends it and all its connections.
#[derive(Debug)]
pub struct AdminServer {
    address: SocketAddr,
    settings: Settings,
    /// Dropped to end the listener.
    tls: Option<watch::Sender<Arc<ServerConfig>>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the admin listener on a thread of its own.
///
/// # Errors
/// If a file is not as it must be, or the address is taken.
pub fn serve(settings: Settings, state: AdminState) -> Result<AdminServer, AdminError> {
    let config = tls::config(&settings)?;
    let bind = |source| AdminError::Bind { address: settings.listen, source };
    let listener = TcpListener::bind(settings.listen).map_err(bind)?;
    listener.set_nonblocking(true).map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AdminError::Thread)?;
    let (sender, receiver) = watch::channel(config);
    let operators = settings.operators.clone();
    let thread = std::thread::Builder::new().name("popgate-admin".into()).spawn(move || {
        runtime.block_on(connections::accept(listener, receiver, operators, state));
    });
    let thread = thread.map_err(AdminError::Thread)?;
    Ok(AdminServer { address, settings, tls: Some(sender), thread: Some(thread) })
}

impl AdminServer {
    /// Where it listens: the port that was chosen, if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Reads certificates, authorities and revocation lists again. Connections that were made under the old ones are ended.
    ///
    /// # Errors
    /// If they are not as they must be; the old ones stay in force.
    pub fn reload(&self) -> Result<(), AdminError> {
        let config = tls::config(&self.settings)?;
        if let Some(tls) = &self.tls {
            tls.send_replace(config);
        }
        Ok(())
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        drop(self.tls.take());
        if let Some(thread) = self.thread.take() {
            // It ends by itself; if it panicked that was reported already.
            let _ = thread.join();
        }
    }
}
