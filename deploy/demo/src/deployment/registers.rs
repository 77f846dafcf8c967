//! The running registers of a deployment, each with a listener and a thread of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::{DeploymentError, SITE, Site, failed};
use crate::postgres::Postgres;
use crate::register::database::Database;
use crate::register::{self, Faults, Service, Source};

/// A running synthetic register. Dropped, it stops.
#[derive(Debug)]
pub struct Register {
    /// Where it listens.
    pub address: SocketAddr,
    /// How it is made to misbehave.
    pub faults: Faults,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// The registers beside the population, and the database under it. The default is none.
#[derive(Debug, Default)]
pub struct Others {
    /// `health-insurance`.
    pub health_insurance: Option<Register>,
    /// `civil-status`.
    pub civil_status: Option<Register>,
    /// With [`Options::postgres`](super::Options::postgres).
    pub postgres: Option<Postgres>,
}

/// Where registers listen, by the ids that contracts use.
#[derive(Clone, Debug, Default)]
pub struct Endpoints(Vec<(String, SocketAddr)>);

impl Register {
    /// Starts the population register with the site's certificates.
    ///
    /// # Errors
    /// If it cannot listen.
    pub fn start(site: &Site) -> Result<Self, DeploymentError> {
        Self::start_one(site, Service::default())
    }

    /// Starts the population register on a database, which was seeded.
    ///
    /// # Errors
    /// If it cannot listen.
    pub fn start_on(site: &Site, database: Database) -> Result<Self, DeploymentError> {
        Self::start_one(site, Service::Population(Source::Database(database)))
    }

    /// Starts any register with the site's certificates, on a thread of its own.
    ///
    /// # Errors
    /// If it cannot listen.
    pub fn start_one(site: &Site, service: Service) -> Result<Self, DeploymentError> {
        Self::start_at(site, service, 0)
    }

    /// The same on a port of its own, such as that of one that was stopped.
    ///
    /// # Errors
    /// If it cannot listen there.
    pub fn start_at(site: &Site, service: Service, port: u16) -> Result<Self, DeploymentError> {
        Self::start_bound(site, service, (Ipv4Addr::LOCALHOST, port).into())
    }

    /// The same at an address of its own, such as another one of the loopback's.
    ///
    /// # Errors
    /// If it cannot listen there.
    pub fn start_bound(site: &Site, service: Service, address: SocketAddr) -> Result<Self, DeploymentError> {
        let pem = |name: &str| {
            let file = site.pki().join(name);
            fs::read(&file).map_err(|source| failed("read", &file, source))
        };
        let tls = register::server_config(&pem("register.pem")?, &pem("register.key")?, &pem(&format!("{SITE}.pem"))?)?;
        let listen = |source| DeploymentError::Io { what: "the register cannot listen".into(), source };
        let listener = std::net::TcpListener::bind(address).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let faults = Faults::new();
        let (stop, stopped) = oneshot::channel::<()>();
        let shared = faults.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(listen)?;
        let thread = std::thread::Builder::new()
            .name("register".into())
            .spawn(move || {
                runtime.block_on(async move {
                    if let Ok(listener) = TcpListener::from_std(listener) {
                        let stopped = async {
                            let _ = stopped.await;
                        };
                        register::serve_one(listener, Arc::clone(&tls), service, shared, stopped).await;
                    }
                });
            })
            .map_err(listen)?;
        Ok(Self { address, faults, stop: Some(stop), thread: Some(thread) })
    }

    /// Stops it.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Register {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Others {
    /// Starts them all.
    ///
    /// # Errors
    /// If one cannot listen.
    pub fn start(site: &Site) -> Result<Self, DeploymentError> {
        Ok(Self {
            health_insurance: Some(Register::start_one(site, Service::HealthInsurance)?),
            civil_status: Some(Register::start_one(site, Service::CivilStatus)?),
            postgres: None,
        })
    }

    /// Starts the population: from a throw-away PostgreSQL that is kept here, if `postgres`, else computed.
    ///
    /// # Errors
    /// If it cannot listen, or PostgreSQL cannot be started and seeded.
    pub(super) fn population(&mut self, site: &Site, postgres: bool) -> Result<Register, DeploymentError> {
        if !postgres {
            return Register::start(site);
        }
        let postgres = Postgres::start()?;
        let database = postgres.seeded(SEEDED)?;
        self.postgres = Some(postgres);
        Register::start_on(site, database)
    }

    /// Where they and the population listen.
    pub fn endpoints(&self, population: SocketAddr) -> Endpoints {
        let mut endpoints = Endpoints::from(population);
        for (service, register) in
            [(Service::HealthInsurance, &self.health_insurance), (Service::CivilStatus, &self.civil_status)]
        {
            endpoints.0.extend(register.as_ref().map(|register| (service.id().to_owned(), register.address)));
        }
        endpoints
    }
}

impl Endpoints {
    /// Register and address.
    pub fn iter(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.0.iter().map(|(register, address)| (register.as_str(), *address))
    }
}

/// The population alone.
impl From<SocketAddr> for Endpoints {
    fn from(population: SocketAddr) -> Self {
        Self(vec![(Service::default().id().to_owned(), population)])
    }
}

/// How many citizens a throw-away database gets: seconds of work.
pub const SEEDED: u64 = 20_000;
