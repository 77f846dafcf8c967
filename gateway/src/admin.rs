//! The admin listener: what operators see of a node, over mutual TLS, by role.
//!
//! It runs on a thread of its own and shares nothing with the data plane but what [`AdminState`] hands it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustls::ServerConfig;
use tokio::sync::{oneshot, watch};

use crate::accept::trust::{List, TrustError};
use crate::app::config::{Config, Operator};
use crate::custody::CustodyError;
use crate::metrics::Metrics;

mod break_glass;
mod bundles;
mod cache;
mod connections;
mod harvest;
mod reads;
mod routes;
mod status;
mod suspensions;
#[cfg(test)]
mod tests;
mod tls;

pub use break_glass::{BreakGlassAsk, GlassDesk};
pub use bundles::{BundleAsk, BundleDesk};
pub use cache::{CacheAsk, CacheDesk};
pub use harvest::HarvestGuard;
pub use reads::{LogAsk, LogError, Reads, Unseal};
pub use status::{
    BreakGlassStatus, BundleStatus, ChangesStatus, OrderStatus, ProblemStatus, RegisterStatus, ShadowStatus,
    ShareStatus, Status, SuspensionStatus, SuspensionsStatus, TargetStatus, TrustStatus,
};
pub use suspensions::{Ask, KillSwitch};

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
    /// Called before the metrics are encoded: brings in what others count for themselves.
    pub collect: Arc<dyn Fn() + Send + Sync>,
    /// For `/suspensions`.
    pub suspensions: KillSwitch,
    /// The harvest guard.
    pub harvest: HarvestGuard,
    /// For `/break-glass`.
    pub break_glass: GlassDesk,
    /// For `/bundles`, `/bundle/reload` and `/bundle/rollback`.
    pub bundles: BundleDesk,
    /// For `/cache`.
    pub cache: CacheDesk,
    /// For `/agencies`, `/purposes`, `/operations` and `/audit`.
    pub reads: Arc<dyn Reads>,
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
    /// A revocation list cannot be used, or is gone.
    #[error(transparent)]
    Revocation(#[from] TrustError),
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
pub struct Serving {
    address: SocketAddr,
    reloader: Reloader,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Makes an admin listener read its files again.
#[derive(Clone, Debug)]
pub struct Reloader {
    settings: Settings,
    tls: watch::Sender<Arc<ServerConfig>>,
    /// The revocation lists in force. Held while files are read: reloads take turns.
    lists: Arc<Mutex<Vec<List>>>,
}

/// Starts the admin listener on a thread of its own; `None` if the configuration has none.
///
/// # Errors
/// If a file is not as it must be, or the address is taken.
pub fn serve(config: &Config, state: AdminState) -> Result<Option<Serving>, AdminError> {
    Settings::of(config).map(|settings| start(settings, state)).transpose()
}

fn start(settings: Settings, state: AdminState) -> Result<Serving, AdminError> {
    let mut lists = Vec::new();
    let config = tls::config(&settings, &mut lists)?;
    let bind = |source| AdminError::Bind { address: settings.listen, source };
    let listener = TcpListener::bind(settings.listen).map_err(bind)?;
    listener.set_nonblocking(true).map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AdminError::Thread)?;
    let (tls, current) = watch::channel(config);
    let (stop, stopped) = oneshot::channel();
    let operators = settings.operators.clone();
    let thread = std::thread::Builder::new().name("popgate-admin".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = connections::accept(listener, current, operators, state) => {}
                _ = stopped => {}
            }
        });
    });
    let thread = thread.map_err(AdminError::Thread)?;
    Ok(Serving {
        address,
        reloader: Reloader { settings, tls, lists: Arc::new(Mutex::new(lists)) },
        stop: Some(stop),
        thread: Some(thread),
    })
}

impl Serving {
    /// Where it listens: the port that was chosen, if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// For whoever watches the files.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Ends it and all its connections.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends by itself; if it panicked that was reported already.
            let _ = thread.join();
        }
    }
}

impl Reloader {
    /// As [`Reloader::try_reload`], and logs the outcome.
    pub fn reload(&self) {
        match self.try_reload() {
            Ok(()) => tracing::info!("certificates of the admin listener reloaded"),
            Err(error) => {
                tracing::error!(%error, "certificates of the admin listener refused; the last ones stay in force")
            }
        }
    }

    /// Reads certificates, authorities and revocation lists again. Connections that were made under the old ones are ended.
    ///
    /// # Errors
    /// If they are not as they must be; the old ones stay in force.
    pub fn try_reload(&self) -> Result<(), AdminError> {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let config = tls::config(&self.settings, &mut lists)?;
        self.tls.send_replace(config);
        Ok(())
    }
}
