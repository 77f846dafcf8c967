//! The real binary in a process of its own, over a site and a register of its own.

use std::net::SocketAddr;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use popgate_demo::client::{Client, Http};
use popgate_demo::deployment::{DeploymentError, Options, Register, Site};

use crate::node::Node;

/// A node that runs as `popgate serve`. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    /// Its folder.
    pub site: Site,
    /// The register that it asks, in this process.
    pub register: Register,
    /// Where agencies connect.
    pub address: SocketAddr,
    node: Node,
    // Last: the node writes there until its end.
    _dir: tempfile::TempDir,
}

impl Process {
    /// Starts a node over a new site, and waits until it serves.
    ///
    /// # Panics
    /// If it does not: no test can go on.
    #[expect(clippy::panic, reason = "a node that does not start ends the test")]
    pub fn start(options: &Options) -> Self {
        match Self::try_start(options) {
            Ok(process) => process,
            Err(error) => panic!("the node does not start: {error}"),
        }
    }

    fn try_start(options: &Options) -> Result<Self, Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let site = Site::make(dir.path())?;
        let register = Register::start(&site)?;
        site.write_config(register.address, options)?;
        let node = Node::start(&site, &[]);
        Ok(Self { site, register, address: node.https, node, _dir: dir })
    }

    /// A system's client.
    ///
    /// # Errors
    /// If its certificate cannot be made.
    pub fn client(&self, system: &str, http: Http) -> Result<Client, DeploymentError> {
        Ok(Client::new(self.address, &self.site.credentials(system)?, http)?)
    }

    /// What it logged so far.
    pub fn log(&self) -> Vec<String> {
        self.node.said()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it has ended.
    pub fn signal(&self, signal: Signal) {
        self.node.signal(signal);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end in time.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        self.node.ended(within).await
    }
}
