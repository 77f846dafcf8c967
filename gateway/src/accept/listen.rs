//! The listener: one acceptor hands connections to the cores evenly; each core is one thread with one runtime.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, watch};

use super::Inbound;
use super::connection::{self, State};
use super::counters::Counters;
use super::trust::Trust;
use crate::app::config;
use crate::clock::Clock;
use crate::respond::Body;

/// What a listener needs to know of the configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen.
    pub listen: SocketAddr,
    /// How many data-plane threads.
    pub cores: usize,
    /// Bounds on clients.
    pub http: config::Http,
}

/// Binds, starts the threads, and serves until [`Serving::drain`].
///
/// `make(core)` is called once on each data-plane thread: what it returns answers the requests of that core and never
/// leaves it, so that neither it nor its futures need be `Send`. A new value of `trust` MUST have a new generation.
///
/// # Errors
/// If the address cannot be bound or a thread cannot be started.
pub fn serve<M, S, F>(
    options: Options,
    trust: watch::Receiver<Arc<Trust>>,
    clock: Clock,
    counters: Arc<Counters>,
    make: M,
) -> io::Result<Serving>
where
    M: Fn(usize) -> S + Send + Sync + 'static,
    S: Fn(Inbound) -> F + 'static,
    F: Future<Output = http::Response<Body>> + 'static,
{
    let listener = bind(options.listen)?;
    let local_addr = listener.local_addr()?;
    let (phase, phases) = watch::channel(Phase::Serving);
    let make = Arc::new(make);
    let mut desks = Vec::new();
    let mut threads = Vec::new();
    for index in 0..options.cores.max(1) {
        let (sender, accepted) = mpsc::unbounded_channel();
        let desk = Desk { sender, live: Arc::default(), left: Arc::default() };
        let (trust, clock, counters, make) = (trust.clone(), clock.clone(), counters.clone(), make.clone());
        let (http, phase, live, left) = (options.http.clone(), phases.clone(), desk.live.clone(), desk.left.clone());
        threads.push(spawn(&format!("core-{index}"), move |started| {
            let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => runtime,
                Err(error) => return started(Err(error)),
            };
            started(Ok(()));
            runtime.block_on(async move {
                let service = make(index);
                let core = Rc::new(Core { service, trust, phase, clock, http, counters, connections: Rc::default() });
                core.run(accepted, &live, &left).await;
            });
        })?);
        desks.push(desk);
    }
    let acceptor = Acceptor { desks, next: 0, max: options.http.max_connections, counters };
    threads.push(spawn("accept", move |started| {
        let runtime = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return started(Err(error)),
        };
        runtime.block_on(async move {
            match TcpListener::from_std(listener) {
                Ok(listener) => {
                    started(Ok(()));
                    acceptor.run(listener, phases).await;
                }
                Err(error) => started(Err(error)),
            }
        });
    })?);
    Ok(Serving { local_addr, phase, threads })
}

/// A running listener. If it is dropped without [`Serving::drain`], all connections end at once.
#[derive(Debug)]
pub struct Serving {
    local_addr: SocketAddr,
    phase: watch::Sender<Phase>,
    threads: Vec<JoinHandle<()>>,
}

impl Serving {
    /// Where it listens: the port that was given if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Stops accepting, lets requests in flight end (HTTP/2: GOAWAY; HTTP/1: the connection closes after the response),
    /// and ends what still goes on after `grace`. Returns when all threads have ended.
    pub async fn drain(mut self, grace: Duration) {
        self.phase.send_replace(Phase::Draining);
        let threads = std::mem::take(&mut self.threads);
        let mut joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // A thread that panicked has ended, too.
                let _ = thread.join();
            }
        });
        if tokio::time::timeout(grace, &mut joined).await.is_err() {
            self.phase.send_replace(Phase::Ended);
            let _ = joined.await;
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Ended);
    }
}

/// How far the node's shutdown has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Serving,
    Draining,
    Ended,
}

/// What the connections of one core share.
pub(super) struct Core<S> {
    pub(super) service: S,
    pub(super) trust: watch::Receiver<Arc<Trust>>,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) clock: Clock,
    pub(super) http: config::Http,
    pub(super) counters: Arc<Counters>,
    pub(super) connections: Rc<Connections>,
}

impl<S, F> Core<S>
where
    S: Fn(Inbound) -> F + 'static,
    F: Future<Output = http::Response<Body>> + 'static,
{
    async fn run(self: Rc<Self>, mut accepted: mpsc::UnboundedReceiver<Accepted>, live: &AtomicUsize, left: &Notify) {
        let (mut trust, mut phase) = (self.trust.clone(), self.phase.clone());
        let mut trusted = true;
        loop {
            tokio::select! {
                next = accepted.recv() => match next {
                    Some((socket, peer, seat)) => {
                        tokio::task::spawn_local(connection::run(self.clone(), socket, peer, seat));
                    }
                    // The acceptor has ended: no more connections come.
                    None => break,
                },
                changed = trust.changed(), if trusted => {
                    trusted = changed.is_ok();
                    self.connections.each(State::trust_changed);
                }
            }
        }
        self.connections.each(State::drain);
        loop {
            let one_left = left.notified();
            if live.load(Ordering::Acquire) == 0 || *phase.borrow_and_update() == Phase::Ended {
                return;
            }
            tokio::select! {
                () = one_left => {}
                changed = phase.changed() => if changed.is_err() { return },
                changed = trust.changed(), if trusted => {
                    trusted = changed.is_ok();
                    self.connections.each(State::trust_changed);
                }
            }
        }
    }
}

/// The connections of one core, to be told of what concerns all of them.
#[derive(Debug, Default)]
pub(super) struct Connections {
    next: Cell<u64>,
    by_number: RefCell<HashMap<u64, Weak<State>>>,
}

impl Connections {
    pub(super) fn register(self: &Rc<Self>, state: &Rc<State>) -> Registered {
        let number = self.next.get();
        self.next.set(number + 1);
        self.by_number.borrow_mut().insert(number, Rc::downgrade(state));
        Registered { number, connections: self.clone() }
    }

    fn each(&self, tell: impl Fn(&State)) {
        let states: Vec<_> = self.by_number.borrow().values().filter_map(Weak::upgrade).collect();
        states.iter().for_each(|state| tell(state));
    }
}

/// A connection's entry among the others of its core.
#[derive(Debug)]
pub(super) struct Registered {
    number: u64,
    connections: Rc<Connections>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.connections.by_number.borrow_mut().remove(&self.number);
    }
}

/// A connection's place on a core, from accept to its end.
#[derive(Debug)]
pub(super) struct Seat {
    live: Arc<AtomicUsize>,
    left: Arc<Notify>,
    counters: Arc<Counters>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Ordering::Release);
        self.counters.open.sub(1);
        self.left.notify_one();
    }
}

type Accepted = (std::net::TcpStream, SocketAddr, Seat);

/// The way to one core.
struct Desk {
    sender: mpsc::UnboundedSender<Accepted>,
    live: Arc<AtomicUsize>,
    left: Arc<Notify>,
}

struct Acceptor {
    desks: Vec<Desk>,
    next: usize,
    max: usize,
    counters: Arc<Counters>,
}

impl Acceptor {
    async fn run(mut self, listener: TcpListener, mut phase: watch::Receiver<Phase>) {
        let mut pause = MIN_PAUSE;
        loop {
            let accepted = tokio::select! {
                biased;
                _ = phase.wait_for(|phase| *phase != Phase::Serving) => return,
                accepted = listener.accept() => accepted,
            };
            // `into_std` takes the socket off this thread's runtime: its core puts it on its own.
            match accepted.and_then(|(socket, peer)| Ok((socket.into_std()?, peer))) {
                Ok((socket, peer)) => {
                    pause = MIN_PAUSE;
                    self.place(socket, peer);
                }
                // The client gave up before it was accepted.
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {
                }
                Err(error) => {
                    // Too many open files, no memory: it passes when connections end. The queue waits in the kernel.
                    self.counters.accept_errors.add(1);
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    }

    /// Gives a connection to the core with the fewest; among equals, in turn.
    fn place(&mut self, socket: std::net::TcpStream, peer: SocketAddr) {
        self.counters.accepted.add(1);
        let cores = self.desks.len();
        let live: Vec<usize> = self.desks.iter().map(|desk| desk.live.load(Ordering::Acquire)).collect();
        if live.iter().sum::<usize>() >= self.max {
            self.counters.refused_full.add(1);
            return;
        }
        let turn = |index: &usize| (index + cores - self.next % cores) % cores;
        let fewest = (0..cores).min_by_key(|index| (live.get(*index).copied(), turn(index)));
        let Some((index, desk)) = fewest.and_then(|index| Some((index, self.desks.get(index)?))) else { return };
        self.next = index + 1;
        desk.live.fetch_add(1, Ordering::AcqRel);
        self.counters.open.add(1);
        let seat = Seat { live: desk.live.clone(), left: desk.left.clone(), counters: self.counters.clone() };
        // If the core has ended, so has the connection.
        let _ = desk.sender.send((socket, peer, seat));
    }
}

fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

type Started<'a> = &'a dyn Fn(io::Result<()>);

/// Starts a thread and waits for it to say that it has begun.
fn spawn(name: &str, run: impl FnOnce(Started<'_>) + Send + 'static) -> io::Result<JoinHandle<()>> {
    let (begun, beginning) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
        run(&|result| {
            // Nobody waits any more only if the caller has ended.
            let _ = begun.send(result);
        });
    })?;
    beginning.recv().unwrap_or_else(|_| Err(io::Error::other("a data-plane thread ended before it began")))?;
    Ok(thread)
}

const BACKLOG: i32 = 4096;
const MIN_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(1);
