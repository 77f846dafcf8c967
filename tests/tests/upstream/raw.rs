//! A register that sends whatever bytes it is told to.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use popgate_demo::deployment::{Options, Site};
use popgate_demo::register;
use popgate_tests::Harness;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The register's controls.
#[derive(Clone)]
pub(crate) struct RawRegister(Arc<Shared>);

struct Shared {
    script: Mutex<Script>,
    requests: AtomicU64,
    connections: AtomicU64,
}

/// What is sent for a request.
#[derive(Clone)]
pub(crate) struct Script {
    /// For the first request of a connection.
    pub(crate) first: Vec<u8>,
    /// For a later one; `None` closes the connection instead.
    pub(crate) later: Option<Vec<u8>>,
}

impl RawRegister {
    /// A deployment whose gateway asks this register.
    pub(crate) async fn start() -> (Harness, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let harness = Harness::start_options(&Options { register: Some(address), cores: 1, ..Options::default() });
        let shared = Arc::new(Shared {
            script: Mutex::new(Script { first: Vec::new(), later: None }),
            requests: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        });
        let acceptor = acceptor(&harness.deployment.site);
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(connection(acceptor.clone(), tcp, Arc::clone(&serving)));
            }
        });
        (harness, Self(shared))
    }

    /// Answers every request with these bytes.
    pub(crate) fn answer(&self, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        self.script(Script { first: bytes.clone(), later: Some(bytes) });
    }

    /// Answers by a script.
    pub(crate) fn script(&self, script: Script) {
        *self.0.script.lock().unwrap() = script;
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> u64 {
        self.0.connections.load(Ordering::Relaxed)
    }
}

fn acceptor(site: &Site) -> TlsAcceptor {
    let pem = |name: &str| std::fs::read(site.dir().join("pki").join(name)).unwrap();
    TlsAcceptor::from(register::server_config(&pem("register.pem"), &pem("register.key"), &pem("site.pem")).unwrap())
}

async fn connection(acceptor: TlsAcceptor, tcp: TcpStream, shared: Arc<Shared>) {
    let Ok(mut stream) = acceptor.accept(tcp).await else { return };
    shared.connections.fetch_add(1, Ordering::Relaxed);
    let mut received = Vec::new();
    let mut first = true;
    loop {
        while !received.ends_with(b"\r\n\r\n") {
            match stream.read_buf(&mut received).await {
                Ok(1..) => {}
                _ => return,
            }
        }
        received.clear();
        shared.requests.fetch_add(1, Ordering::Relaxed);
        let script = shared.script.lock().unwrap().clone();
        let answer = if std::mem::take(&mut first) { Some(script.first) } else { script.later };
        let Some(answer) = answer.filter(|answer| !answer.is_empty()) else { return };
        if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}
