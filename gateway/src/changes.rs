//! What registers tell of their changes over NATS, without any request that waits for it.
//!
//! A stream (JetStream) keeps the messages, and each node reads all of them, one after the other, on a thread of its own. Where in the
//! stream a node is, it knows by itself: what was published while it could not reach NATS is there afterwards, and if the stream
//! does not go on from where it was read to, all that is stored has to be validated. A message may be applied twice, never not at all.
//!
//! Messages are by themselves no permission: who may publish under which register's subject is for NATS to see to. Whoever can
//! publish there, or change the stream, can have records asked for anew; it can make no node serve what a register did not answer.

mod driver;
mod place;
mod wire;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io, thread};

use tokio::sync::Notify;

use crate::clock::Clock;

/// Where changes are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `tls://host:port` of each server.
    pub servers: Vec<String>,
    /// The stream.
    pub stream: String,
    /// What subjects begin with: a register's are told under this, a dot, and its id.
    pub subject: String,
    /// This node. No other may have the name.
    pub node: String,
    /// How this node proves who it is.
    pub login: Login,
}

impl Config {
    /// What the stream calls this node: names of consumers have no dots.
    pub fn consumer(&self) -> String {
        self.node.replace('.', "_")
    }
}

/// How a node proves to NATS who it is. Read anew for each connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// A file of NATS' own kind: the user's token (JWT), and the key that proves it.
    pub credentials_file: Option<PathBuf>,
    /// A user by name.
    pub user: Option<String>,
    /// A file that holds the user's password, and perhaps a line end.
    pub password_file: Option<PathBuf>,
    /// A file with the certificates (PEM) of who may sign the servers' certificates; none for the machine's own.
    pub ca_file: Option<PathBuf>,
}

/// Where changes take effect on this node. Neither may wait for anything.
pub trait Sink: Send + Sync {
    /// What was told under that register's subject, as it was sent. Whether it was taken; what was not is of no use to anybody else.
    fn take(&self, register: &str, message: &[u8]) -> bool;

    /// What changed is not known: all that is stored MUST be validated before it is served again.
    fn doubt(&self);
}

/// How it stands with hearing of changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// They are heard, or were until less than [`SILENT`] ago.
    Connected,
    /// They are not.
    Away {
        /// Since when.
        since: Instant,
        /// Why, as last seen.
        why: Why,
    },
}

/// Why changes are not heard. It names no address and no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The node has just started.
    Starting,
    /// There is no connection.
    Unreachable,
    /// There was no answer in time.
    Late,
    /// NATS does not let this node in, or not do what it must.
    Denied,
    /// The configuration, or a file that it names, is of no use.
    Misconfigured,
    /// There is no such stream.
    NoStream,
    /// The stream holds other subjects than those of registers: what is missing in it could not be told.
    OtherSubjects,
    /// NATS is up, and the stream or this node's place in it is not.
    Unready,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Unreachable => "unreachable",
            Self::Late => "late",
            Self::Denied => "denied",
            Self::Misconfigured => "misconfigured",
            Self::NoStream => "no such stream",
            Self::OtherSubjects => "the stream holds other subjects",
            Self::Unready => "unready",
        })
    }
}

/// What was done so far, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Messages that were heard, refused ones among them; none counts twice.
    pub heard: u64,
    /// How often the connection ended, or none came about.
    pub failures: u64,
    /// How often the stream did not go on from where it had been read to: what changed was not known.
    pub gaps: u64,
}

/// The changes that this node hears of. Dropped, it stops.
#[derive(Debug)]
pub struct Changes {
    board: Board,
    over: Arc<Notify>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Changes {
    /// Starts to listen, on a thread of its own. It does not wait for NATS: the state is [`State::Away`] until it is connected.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn open(config: Config, sink: Arc<dyn Sink>, clock: Clock) -> io::Result<Self> {
        let standing = Standing { up: false, known: false, since: clock.now(), why: Why::Starting };
        let board = Board(Arc::new(Inner { standing: Mutex::new(standing), clock, tally: Tally::default() }));
        let over = Arc::new(Notify::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (its, end) = (board.clone(), Arc::clone(&over));
        let run = move || {
            runtime.block_on(driver::drive(&config, &*sink, &its, &end));
            // Not waiting for a name that is still being looked up.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("changes".to_owned()).spawn(run)?;
        Ok(Self { board, over, thread: Some(thread) })
    }

    /// Tells how it stands, for as long as anybody wants to know.
    pub fn board(&self) -> Board {
        self.board.clone()
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.over.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Tells how it stands; a copy tells the same.
#[derive(Clone)]
pub struct Board(Arc<Inner>);

impl Board {
    /// How it stands.
    pub fn state(&self) -> State {
        let now = self.0.clock.now();
        let Standing { up, known, since, why } = *self.standing();
        if up || known && now.saturating_duration_since(since) <= SILENT {
            return State::Connected;
        }
        State::Away { since, why }
    }

    /// What was done so far.
    pub fn figures(&self) -> Figures {
        let read = |it: &AtomicU64| it.load(Ordering::Relaxed);
        let Tally { heard, failures, gaps } = &self.0.tally;
        Figures { heard: read(heard), failures: read(failures), gaps: read(gaps) }
    }

    fn up(&self) {
        let mut standing = self.standing();
        (standing.up, standing.known) = (true, true);
    }

    fn down(&self, why: Why) {
        let now = self.0.clock.now();
        let mut standing = self.standing();
        if standing.up {
            (standing.up, standing.since) = (false, now);
        }
        standing.why = why;
        count(&self.0.tally.failures);
    }

    fn heard(&self) {
        count(&self.0.tally.heard);
    }

    fn gap(&self) {
        count(&self.0.tally.gaps);
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.0.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Board").field("state", &self.state()).finish_non_exhaustive()
    }
}

struct Inner {
    standing: Mutex<Standing>,
    clock: Clock,
    tally: Tally,
}

#[derive(Clone, Copy)]
struct Standing {
    up: bool,
    /// It was up once.
    known: bool,
    /// When it ceased to be up; if it never was, when it began.
    since: Instant,
    /// Why it last failed.
    why: Why,
}

#[derive(Default)]
struct Tally {
    heard: AtomicU64,
    failures: AtomicU64,
    gaps: AtomicU64,
}

fn count(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// How long nothing is heard before that is an alarm. A server that is restarted is back sooner, and nothing is lost meanwhile.
pub const SILENT: Duration = Duration::from_secs(5);
