//! A node as a process of its own: the real binary, to be killed, stopped, and read from outside.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use popgate_demo::client::{Client, Http};
use popgate_demo::deployment::Site;

use crate::build::popgate;

/// A running `popgate serve`. Killed when it is dropped.
#[derive(Debug)]
pub struct Node {
    /// Where agencies connect.
    pub https: SocketAddr,
    /// Where operators connect.
    pub admin: SocketAddr,
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Node {
    /// Starts a node of a site whose `gateway.toml` is written, with more arguments for `popgate serve`.
    ///
    /// # Panics
    /// If it does not serve within a minute.
    pub fn start(site: &Site, arguments: &[&str]) -> Self {
        Self::start_under(site, arguments, &[])
    }

    /// The same with more in its environment.
    ///
    /// # Panics
    /// If it does not serve within a minute.
    #[expect(clippy::panic, reason = "without a node the test cannot go on")]
    pub fn start_under(site: &Site, arguments: &[&str], environment: &[(&str, &OsStr)]) -> Self {
        let mut child = match Command::new(popgate())
            .args(["serve", "--log-format", "json", "--config"])
            .arg(site.config_file())
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
        {
            Ok(child) => child,
            Err(error) => panic!("popgate serve: {error}"),
        };
        let said = Arc::new(Mutex::new(Vec::new()));
        let reader = child.stderr.take().map(|stderr| {
            let said = Arc::clone(&said);
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    said.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                }
            })
        });
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut node = Self { https: nowhere, admin: nowhere, child, said, reader };
        let since = Instant::now();
        loop {
            let serving = node.said().into_iter().find_map(|line| {
                let line: serde_json::Value = serde_json::from_str(&line).ok()?;
                let address = |name: &str| line.get(name)?.as_str()?.parse().ok();
                (line.get("message")? == "serving").then(|| Some((address("https")?, address("admin")?)))?
            });
            if let Some((https, admin)) = serving {
                (node.https, node.admin) = (https, admin);
                return node;
            }
            let ended = node.child.try_wait().ok().flatten();
            if ended.is_some() || since.elapsed() > Duration::from_secs(60) {
                panic!("popgate serve does not serve ({ended:?}): {:#?}", node.said());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A system's client.
    ///
    /// # Panics
    /// If its certificate cannot be made.
    #[expect(clippy::panic, reason = "without a client the test cannot go on")]
    pub fn client(&self, site: &Site, system: &str, http: Http) -> Client {
        match site.credentials(system).map(|credentials| Client::new(self.https, &credentials, http)) {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => panic!("no client for {system}: {error}"),
            Err(error) => panic!("no client for {system}: {error}"),
        }
    }

    /// The lines that it wrote to standard error so far.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// SIGKILL: nothing in it runs any more. What it said is returned.
    pub fn kill(mut self) -> Vec<String> {
        let _ = self.child.kill();
        self.silent()
    }

    /// SIGTERM, until it has drained. What it said is returned, and whether it succeeded.
    ///
    /// # Panics
    /// If it has ended before.
    pub fn terminate(mut self) -> (bool, Vec<String>) {
        self.signal(Signal::SIGTERM);
        let good = self.child.wait().is_ok_and(|status| status.success());
        (good, self.silent())
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
                other => panic!("the node goes on: {other:?}\n{}", self.said().join("\n")),
            }
        }
    }

    /// Waits until all that it said was read.
    fn silent(&mut self) -> Vec<String> {
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        self.said()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        self.silent();
    }
}

/// What `popgate` with these arguments says.
///
/// # Panics
/// If it cannot be run.
#[expect(clippy::panic, reason = "without the binary the test cannot go on")]
pub fn run(arguments: &[&str]) -> Output {
    match Command::new(popgate()).args(arguments).output() {
        Ok(output) => output,
        Err(error) => panic!("popgate {arguments:?}: {error}"),
    }
}
