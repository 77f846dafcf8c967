//! A real NATS server in a process of its own, whose stream outlives it.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::jetstream::{self, Context, stream};

use crate::share::server::{free_port, until};

pub(super) const STREAM: &str = "POPGATE_CHANGES";

/// A server. Dropped, it is killed.
pub(super) struct Server {
    pub(super) port: u16,
    child: Child,
    config: PathBuf,
    dir: tempfile::TempDir,
}

impl Server {
    /// A server that lets everybody do everything, without TLS.
    pub(super) fn start() -> Self {
        let own = "listen: 127.0.0.1:PORT\njetstream { store_dir: \"STORE\" }\n";
        Self::of(own)
    }

    /// A server with that configuration, but for `PORT` and `STORE`.
    pub(super) fn of(config: &str) -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let file = dir.path().join("nats.conf");
        let store = dir.path().join("store").display().to_string();
        std::fs::write(&file, config.replace("PORT", &port.to_string()).replace("STORE", &store)).unwrap();
        let server = Self { port, child: spawn(&file), config: file, dir };
        server.ready();
        server
    }

    /// Kills it: what it took is in its files.
    pub(super) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again after it was killed.
    pub(super) fn again(&mut self) {
        self.child = spawn(&self.config);
        self.ready();
    }

    fn ready(&self) {
        until(Duration::from_secs(20), "NATS listens", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    /// A client that may do everything.
    pub(super) async fn client(&self) -> Context {
        let url = format!("nats://127.0.0.1:{}", self.port);
        jetstream::new(async_nats::connect(url).await.unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = &self.dir;
    }
}

fn spawn(config: &Path) -> Child {
    let mut command = Command::new("nats-server");
    command.arg("--config").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // As deploy/CACHE.md has the passwords come.
    for user in ["SITE", "POPULATION", "GATEWAY"] {
        command.env(format!("{user}_PASSWORD"), format!("of-{}", user.to_lowercase()));
    }
    command.spawn().expect("nats-server is installed")
}

/// Makes the stream as the site does.
pub(super) async fn make_stream(nats: &Context) {
    let config = stream::Config {
        name: STREAM.to_owned(),
        subjects: vec!["popgate.changes.>".to_owned()],
        max_age: Duration::from_secs(24 * 3600),
        ..stream::Config::default()
    };
    nats.create_stream(config).await.unwrap();
}

/// Tells changes under a register's name, and waits until they are kept.
pub(super) async fn tell(nats: &Context, register: &str, changes: impl ToString) {
    let subject = format!("popgate.changes.{register}");
    nats.publish(subject, changes.to_string().into()).await.unwrap().await.unwrap();
}
