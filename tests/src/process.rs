//! The real binary in a process of its own, over a real site.

use std::io::BufRead as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use popgate_demo::client::{Client, Http};
use popgate_demo::deployment::{DeploymentError, Options, Register, Site};

/// A node that runs as `popgate serve`. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    /// Its folder.
    pub site: Site,
    /// The register that it asks, in this process.
    pub register: Register,
    /// Where agencies connect.
    pub address: SocketAddr,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
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
        let mut child = Command::new(binary()?)
            .args(["serve", "--log-format", "json", "--config"])
            .arg(site.config_file())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let log = Arc::new(Mutex::new(Vec::new()));
        if let Some(stderr) = child.stderr.take() {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                for line in std::io::BufReader::new(stderr).lines().map_while(Result::ok) {
                    log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                }
            });
        }
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut process = Self { site, register, address: unknown, child, log, _dir: dir };
        let since = Instant::now();
        loop {
            let serving = process.log().iter().find_map(|line| address_in(line));
            if let Some(address) = serving {
                process.address = address;
                return Ok(process);
            }
            if since.elapsed() > Duration::from_secs(20) || process.child.try_wait()?.is_some() {
                return Err(process.log().join("\n").into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
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
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it has ended.
    #[expect(clippy::panic, reason = "a node that is not there ends the test")]
    pub fn signal(&self, signal: Signal) {
        let sent = i32::try_from(self.child.id()).map(|id| kill(Pid::from_raw(id), signal));
        if !matches!(sent, Ok(Ok(()))) {
            panic!("no {signal} for the node: {sent:?}");
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end in time.
    #[expect(clippy::panic, reason = "a node that does not end fails the test")]
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let since = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return status,
                Ok(None) if since.elapsed() < within => tokio::time::sleep(Duration::from_millis(10)).await,
                other => panic!("the node goes on: {other:?}\n{}", self.log().join("\n")),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn address_in(line: &str) -> Option<SocketAddr> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    // Fields stand beside the message, or in an object of their own.
    let field = |name: &str| line.get("fields").unwrap_or(&line).get(name)?.as_str();
    (field("message") == Some("serving")).then(|| field("https")?.parse().ok())?
}

/// The binary beside the test's own, built if it is missing or older than the test.
fn binary() -> Result<PathBuf, Box<dyn std::error::Error>> {
    let test = std::env::current_exe()?;
    let profile = test.parent().and_then(Path::parent).ok_or("no target folder")?;
    let binary = profile.join("popgate");
    let built = |file: &Path| file.metadata().and_then(|metadata| metadata.modified()).ok();
    if built(&binary) < built(&test) {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--package", "popgate", "--bin", "popgate", "--target-dir"]);
        cargo.arg(profile.parent().ok_or("no target folder")?).current_dir(env!("CARGO_MANIFEST_DIR"));
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        if !cargo.status()?.success() {
            return Err("`cargo build --package popgate` failed".into());
        }
    }
    Ok(binary)
}
