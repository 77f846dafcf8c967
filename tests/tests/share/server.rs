//! Real Redis servers in processes of their own, in a folder that goes with them, and a road to them that can be cut.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A server. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) port: u16,
    child: Child,
    arguments: Vec<String>,
    _dir: Option<tempfile::TempDir>,
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // A cluster's second port is this far off.
        if port < 55_000 {
            return port;
        }
    }
}

impl Server {
    /// A server alone, with more arguments.
    pub(crate) fn start(more: &[&str]) -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let mut arguments: Vec<String> = Vec::new();
        let (port_text, dir_text) = (port.to_string(), dir.path().display().to_string());
        let own = ["--port", &port_text, "--bind", "127.0.0.1", "--dir", &dir_text, "--save", "", "--appendonly", "no"];
        arguments.extend(own.iter().chain(more).map(|it| (*it).to_owned()));
        Self::run(arguments, port, Some(dir))
    }

    /// A sentinel over a configuration file.
    pub(crate) fn sentinel(file: &Path, port: u16) -> Self {
        Self::run(vec![file.display().to_string(), "--sentinel".to_owned()], port, None)
    }

    fn run(arguments: Vec<String>, port: u16, dir: Option<tempfile::TempDir>) -> Self {
        let child = spawn(&arguments);
        let server = Self { port, child, arguments, _dir: dir };
        server.ready();
        server
    }

    fn ready(&self) {
        until(Duration::from_secs(20), "the server listens", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    /// `redis://...`.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Stops it where it is.
    pub(crate) fn stop(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::SIGCONT);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again after it was killed: it has forgotten everything.
    pub(crate) fn again(&mut self) {
        self.child = spawn(&self.arguments);
        self.ready();
    }

    /// What it answers to one command line.
    pub(crate) fn ask(&self, line: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        stream.write_all(format!("{line}\r\nQUIT\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(arguments: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server is installed")
}

/// Waits until it is so. Returns how long that took.
pub(crate) fn until(most: Duration, what: &str, mut so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < most, "not within {most:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
    began.elapsed()
}

/// A road to a server that can be slow, or cut.
#[derive(Debug)]
pub(crate) struct Road {
    /// Where it begins.
    pub(crate) port: u16,
    rules: Arc<Rules>,
}

#[derive(Debug, Default)]
struct Rules {
    delay: AtomicU64,
    cut: AtomicBool,
    /// Replies vanish, calls arrive.
    mute: AtomicBool,
    over: AtomicBool,
}

impl Road {
    /// A road to that port.
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let begin = listener.local_addr().unwrap().port();
        let rules = Arc::new(Rules::default());
        let its = Arc::clone(&rules);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if its.over.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                if its.cut.load(Ordering::Relaxed) {
                    continue;
                }
                let Ok(other) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let _ = (stream.set_nodelay(true), other.set_nodelay(true));
                let (back, forth) = (stream.try_clone().unwrap(), other.try_clone().unwrap());
                let (one, two) = (Arc::clone(&its), Arc::clone(&its));
                thread::spawn(move || pump(stream, forth, &one, false));
                thread::spawn(move || pump(other, back, &two, true));
            }
        });
        Self { port: begin, rules }
    }

    /// `redis://...`.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Each piece of a reply takes so many milliseconds more.
    pub(crate) fn delay(&self, millis: u64) {
        self.rules.delay.store(millis, Ordering::Relaxed);
    }

    /// Ends all connections, and lets none begin.
    pub(crate) fn cut(&self, cut: bool) {
        self.rules.cut.store(cut, Ordering::Relaxed);
    }

    /// Lets replies vanish.
    pub(crate) fn mute(&self, mute: bool) {
        self.rules.mute.store(mute, Ordering::Relaxed);
    }
}

impl Drop for Road {
    fn drop(&mut self) {
        self.rules.over.store(true, Ordering::Relaxed);
        self.rules.cut.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, rules: &Rules, replies: bool) {
    let mut piece = vec![0; 65_536];
    let _ = from.set_read_timeout(Some(Duration::from_millis(20)));
    loop {
        if rules.cut.load(Ordering::Relaxed) {
            break;
        }
        match from.read(&mut piece) {
            Ok(0) => break,
            Ok(_) if replies && rules.mute.load(Ordering::Relaxed) => {}
            Ok(length) => {
                let delay = if replies { rules.delay.load(Ordering::Relaxed) } else { 0 };
                thread::sleep(Duration::from_millis(delay));
                if to.write_all(&piece[..length]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
