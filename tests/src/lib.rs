//! The harness of the black-box tests: a whole deployment in a folder of its own, with real sockets, files and certificates.

use std::path::Path;
use std::time::{Duration, Instant};

use popgate_demo::client::{Answer, Client, Credentials, Http, Session};
use popgate_demo::deployment::{Deployment, Options, Site};

pub mod build;
pub mod chains;
pub mod consent;
pub mod guide;
pub mod made;
pub mod node;
pub mod process;
pub mod quic;
pub mod wire;

/// A deployment that stops, and whose folder goes, when it is dropped.
#[derive(Debug)]
pub struct Harness {
    /// The deployment.
    pub deployment: Deployment,
    // After the deployment: the log is written until the end.
    dir: Option<tempfile::TempDir>,
}

impl Harness {
    /// The reference deployment.
    ///
    /// # Panics
    /// If it does not start: no test can go on.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// The reference deployment, with more in its `gateway.toml`.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_with(settings: &str) -> Self {
        Self::start_options(&Options { settings: settings.to_owned(), ..Options::default() })
    }

    /// A deployment with any option.
    ///
    /// # Panics
    /// If it does not start.
    #[expect(clippy::panic, reason = "a harness that does not start ends the test")]
    pub fn start_options(options: &Options) -> Self {
        match tempfile::tempdir() {
            Ok(dir) => Self { deployment: deployed(dir.path(), options), dir: Some(dir) },
            Err(error) => panic!("no folder for the deployment: {error}"),
        }
    }

    /// A deployment in a folder of the test's own, which stays.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_in(folder: &Path, options: &Options) -> Self {
        Self { deployment: deployed(folder, options), dir: None }
    }

    /// Drains the gateway and stops the registers. The folder goes with what is returned beside the site.
    pub async fn stop(self) -> (Site, Option<tempfile::TempDir>) {
        let Deployment { site, gateway, register, .. } = self.deployment;
        gateway.drain().await;
        drop(register);
        (site, self.dir)
    }

    /// A system's client (`agency/system`) over HTTP/1.1.
    ///
    /// # Panics
    /// If its certificate cannot be made.
    pub fn client(&self, system: &str) -> Client {
        self.client_over(system, Http::One)
    }

    /// Makes a system's view at once, so that every answer names its digest.
    pub fn make_view(&self, system: &str) {
        let live = self.deployment.gateway.node().live();
        let systems = live.bundle.directory().systems();
        if let Some(system) = systems.iter().find(|known| known.id.as_str() == system) {
            live.views.view(system);
        }
    }

    /// A system's client. Its view is made.
    ///
    /// # Panics
    /// If its certificate cannot be made.
    #[expect(clippy::panic, reason = "without a client the test cannot go on")]
    pub fn client_over(&self, system: &str, http: Http) -> Client {
        self.make_view(system);
        match self.deployment.client_over(system, http) {
            Ok(client) => client,
            Err(error) => panic!("no client for {system}: {error}"),
        }
    }

    /// A system's client over HTTP/3.
    ///
    /// # Panics
    /// If its certificate cannot be made.
    #[expect(clippy::panic, reason = "without a client the test cannot go on")]
    pub fn quic(&self, system: &str) -> quic::Client {
        match self.deployment.site.credentials(system) {
            Ok(credentials) => self.quic_with(&credentials),
            Err(error) => panic!("no credentials for {system}: {error}"),
        }
    }

    /// A client over HTTP/3 with these credentials.
    ///
    /// # Panics
    /// If they cannot be used.
    #[expect(clippy::panic, reason = "without a client the test cannot go on")]
    pub fn quic_with(&self, credentials: &Credentials) -> quic::Client {
        match quic::Client::new(self.deployment.gateway.https(), credentials) {
            Ok(client) => client,
            Err(error) => panic!("no client: {error}"),
        }
    }

    /// An open connection of a system over HTTP/1.1.
    ///
    /// # Panics
    /// If the gateway does not take it.
    #[expect(clippy::panic, reason = "without a connection the test cannot go on")]
    pub async fn session(&self, system: &str) -> Session {
        match self.client(system).connect().await {
            Ok(session) => session,
            Err(error) => panic!("{system} cannot connect: {error}"),
        }
    }
}

#[expect(clippy::panic, reason = "a harness that does not start ends the test")]
fn deployed(folder: &Path, options: &Options) -> Deployment {
    let mut options = options.clone();
    if options.population.is_empty() {
        // Registers are made to fail over and over: that nobody waits for them any more is tested by itself.
        options.population = "breaker = { failure_percent = 0 }".into();
    }
    options.settings = unhurried(&options.settings);
    match Deployment::start(folder, &options) {
        Ok(deployment) => deployment,
        Err(error) => panic!("the deployment does not start: {error}"),
    }
}

/// Settings under which nothing is shed, unless they say themselves what is: tests share a machine, and are late for each other.
fn unhurried(settings: &str) -> String {
    if settings.contains("[overload]") {
        settings.to_owned()
    } else {
        format!("{settings}\n[overload]\nmode = \"off\"\n")
    }
}

/// A refusal, as `status code`.
pub fn refusal(answer: &Answer) -> String {
    format!("{} {}", answer.status.as_u16(), answer.code())
}

/// Waits until something holds, for at most ten seconds.
///
/// # Panics
/// If it does not come to hold.
#[expect(clippy::panic, reason = "what must come to hold and does not fails the test")]
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        if since.elapsed() > Duration::from_secs(10) {
            panic!("{what}: not within 10 s");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A time that is promised for a machine with processors to spare: longer by as much as this one's run queue is longer than
/// its processors are many.
pub fn promised(time: Duration) -> Duration {
    let load = std::fs::read_to_string("/proc/loadavg").ok();
    let load = load.and_then(|load| load.split(' ').next()?.parse::<f64>().ok()).unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
    time.mul_f64((load / processors).max(1.0))
}
