//! The listener: an acceptor a transport (TCP, QUIC) hands connections to the cores evenly; each core is one thread with one
//! runtime.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::fd::AsFd as _;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use http::HeaderValue;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, watch};

use super::Inbound;
use super::connection::{self, State};
use super::counters::Counters;
use super::door::{Door, Entered};
use super::h3;
use super::trust::Trust;
use super::waiting::Waiting;
use crate::app::config;
use crate::clock::Clock;
use crate::networks::{self, Networks};
use crate::respond::Body;

/// What a listener needs to know of the configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen: on TCP, and with `http3` on UDP as well.
    pub listen: SocketAddr,
    /// How many data-plane threads.
    pub cores: usize,
    /// Bounds on clients.
    pub http: config::Http,
    /// Whether anybody new is let in.
    pub door: Arc<Door>,
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
    let (listener, udp) = bind(options.listen, options.http.http3)?;
    let local_addr = listener.local_addr()?;
    let alt_svc = udp.is_some().then(|| h3::alt_svc(local_addr.port())).flatten();
    let (phase, phases) = watch::channel(Phase::Serving);
    let make = Arc::new(make);
    let mut desks = Vec::new();
    let mut threads = Vec::new();
    // Gone when all cores have ended.
    let (serving, cores) = mpsc::channel(1);
    for index in 0..options.cores.max(1) {
        let (sender, accepted) = mpsc::unbounded_channel();
        let desk = Desk { sender, live: Arc::default(), left: Arc::default() };
        let (trust, clock, counters, make) = (trust.clone(), clock.clone(), counters.clone(), make.clone());
        let (http, phase, live, left) = (options.http.clone(), phases.clone(), desk.live.clone(), desk.left.clone());
        let (alt_svc, serving, door) = (alt_svc.clone(), serving.clone(), Arc::clone(&options.door));
        threads.push(spawn(&format!("core-{index}"), move |started| {
            let _serving: mpsc::Sender<std::convert::Infallible> = serving;
            let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => runtime,
                Err(error) => return started(Err(error)),
            };
            started(Ok(()));
            runtime.block_on(async move {
                let service = make(index);
                let connections = Rc::default();
                let core = Rc::new(Core {
                    service,
                    trust,
                    phase,
                    clock,
                    http,
                    counters,
                    door,
                    connections,
                    alt_svc,
                    quic: Cell::new(false),
                });
                core.run(accepted, &live, &left).await;
                // The ends of connections over QUIC are sent, and answered: whoever is unknown by then is told to have been reset.
                if core.quic.get() {
                    tokio::time::sleep(PARTING).await;
                }
            });
        })?);
        desks.push(desk);
    }
    drop(serving);
    let max = options.http.max_connections;
    let networks = Arc::new(Networks::new(rules(&options.http), &clock));
    let desks = Arc::new(Desks {
        desks,
        next: Mutex::new(0),
        max,
        networks,
        counters: counters.clone(),
        door: Arc::clone(&options.door),
    });
    if let Some(udp) = udp {
        let config = h3::server_config(&options.http, &trust.borrow())?;
        let acceptor = h3::Acceptor::new(udp, config, Arc::clone(&desks), counters);
        let phases = phases.clone();
        threads.push(spawn("quic", move |started| acceptor.run(started, phases, cores))?);
    }
    let acceptor = Acceptor { desks, clock };
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

    /// Stops accepting, lets requests in flight end (HTTP/2 and 3: GOAWAY; HTTP/1: the connection closes after the response),
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
    pub(super) door: Arc<Door>,
    pub(super) connections: Rc<Connections>,
    /// What answers over TCP say of HTTP/3, if it is served.
    pub(super) alt_svc: Option<HeaderValue>,
    /// Whether there was a connection over QUIC.
    pub(super) quic: Cell<bool>,
}

impl<S, F> Core<S>
where
    S: Fn(Inbound) -> F + 'static,
    F: Future<Output = http::Response<Body>> + 'static,
{
    async fn run(self: &Rc<Self>, mut accepted: mpsc::UnboundedReceiver<Accepted>, live: &AtomicUsize, left: &Notify) {
        let (mut trust, mut phase) = (self.trust.clone(), self.phase.clone());
        let mut trusted = true;
        loop {
            tokio::select! {
                next = accepted.recv() => match next {
                    Some((Arrival::Tcp(socket, peer), seat)) => {
                        tokio::task::spawn_local(connection::run(self.clone(), socket, peer, seat));
                    }
                    Some((Arrival::Quic(knock), seat)) => {
                        tokio::task::spawn_local(h3::run(self.clone(), *knock, seat));
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
            if live.load(Ordering::Acquire) == 0 {
                return;
            }
            if *phase.borrow_and_update() == Phase::Ended {
                break;
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
        // A connection over TCP ends with its socket; the end of one over QUIC must be sent.
        self.connections.each(State::abort);
        let gone = async {
            while live.load(Ordering::Acquire) > 0 {
                left.notified().await;
            }
        };
        // Whoever is not gone by then is cut off.
        let _ = tokio::time::timeout(PARTING, gone).await;
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
    #[expect(dead_code, reason = "it counts as long as it is held")]
    of_address: networks::Seat,
    /// Until its handshake is done.
    pub(super) entered: Option<Entered>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Ordering::Release);
        self.counters.open.sub(1);
        self.left.notify_one();
    }
}

type Accepted = (Arrival, Seat);

/// A connection that begins.
pub(super) enum Arrival {
    Tcp(std::net::TcpStream, SocketAddr),
    Quic(Box<h3::Knock>),
}

impl Arrival {
    /// Whether it comes from where it says: what others pretend must not count against those who are there.
    fn is_proven(&self) -> bool {
        match self {
            Self::Tcp(..) => true,
            Self::Quic(knock) => knock.is_proven(),
        }
    }

    fn peer(&self) -> SocketAddr {
        match self {
            Self::Tcp(_, peer) => *peer,
            Self::Quic(knock) => knock.peer(),
        }
    }
}

/// The way to one core.
struct Desk {
    sender: mpsc::UnboundedSender<Accepted>,
    live: Arc<AtomicUsize>,
    left: Arc<Notify>,
}

/// The ways to all cores, shared by the acceptors.
pub(super) struct Desks {
    desks: Vec<Desk>,
    next: Mutex<usize>,
    max: usize,
    networks: Arc<Networks>,
    counters: Arc<Counters>,
    door: Arc<Door>,
}

struct Acceptor {
    desks: Arc<Desks>,
    clock: Clock,
}

impl Acceptor {
    async fn run(self, listener: TcpListener, mut phase: watch::Receiver<Phase>) {
        let mut pause = MIN_PAUSE;
        let mut waiting = Waiting::default();
        let mut look = self.clock.now();
        loop {
            while self.desks.door.is_open()
                && let Some((socket, peer)) = waiting.pop(self.clock.now())
            {
                if has_left(&socket) {
                    // A handshake with nobody is the dearest of all.
                    self.desks.counters.left_waiting.add(1);
                    continue;
                }
                let _ = self.desks.place(Arrival::Tcp(socket, peer));
            }
            self.desks.counters.refused_waiting.add(waiting.take_gone());
            let accepted = tokio::select! {
                biased;
                _ = phase.wait_for(|phase| *phase != Phase::Serving) => {
                    self.desks.counters.refused_waiting.add(waiting.len());
                    return;
                }
                () = tokio::time::sleep_until(look.into()), if !waiting.is_empty() => {
                    waiting.expire(self.clock.now());
                    look = self.clock.now() + PAUSED;
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            // `into_std` takes the socket off this thread's runtime: its core puts it on its own.
            match accepted.and_then(|(socket, peer)| Ok((socket.into_std()?, peer))) {
                Ok((socket, peer)) => {
                    pause = MIN_PAUSE;
                    if self.desks.door.is_open() && waiting.is_empty() {
                        // Too many: dropped, the socket closes.
                        let _ = self.desks.place(Arrival::Tcp(socket, peer));
                    } else {
                        waiting.push(self.desks.networks.of(peer.ip()), self.clock.now(), (socket, peer));
                    }
                }
                // The client gave up before it was accepted.
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {
                }
                Err(error) => {
                    // Too many open files, no memory: it passes when connections end. The queue waits in the kernel.
                    self.desks.counters.accept_errors.add(1);
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    }
}

/// Whether the client has closed its side. One that has not begun its handshake has no reason to but that it is gone.
fn has_left(socket: &std::net::TcpStream) -> bool {
    let ends = PollFlags::from_bits_retain(POLLRDHUP) | PollFlags::POLLHUP | PollFlags::POLLERR;
    // Nothing else is asked for, so whatever is told is an end.
    poll(&mut [PollFd::new(socket.as_fd(), ends)], PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

impl Desks {
    /// Gives a connection to the core with the fewest; among equals, in turn. If there are too many, it is given back.
    pub(super) fn place(&self, arrival: Arrival) -> Option<Arrival> {
        // Over TCP they were let in, or waited.
        if matches!(arrival, Arrival::Quic(_)) && !self.door.is_open() {
            self.counters.refused_full.add(1);
            return Some(arrival);
        }
        self.counters.accepted.add(1);
        let cores = self.desks.len();
        // Held until the connection is counted: of two at once, both must see the other.
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let live: Vec<usize> = self.desks.iter().map(|desk| desk.live.load(Ordering::Acquire)).collect();
        if live.iter().sum::<usize>() >= self.max {
            self.counters.refused_full.add(1);
            return Some(arrival);
        }
        let network = self.networks.of(arrival.peer().ip());
        let admitted = !arrival.is_proven() || self.networks.admits(network);
        let Some(of_address) = admitted.then(|| self.networks.seat(network)).flatten() else {
            self.counters.refused_address.add(1);
            return Some(arrival);
        };
        let turn = |index: &usize| (index + cores - *next % cores) % cores;
        let fewest = (0..cores).min_by_key(|index| (live.get(*index).copied(), turn(index)));
        let (index, desk) = fewest.and_then(|index| Some((index, self.desks.get(index)?)))?;
        *next = index + 1;
        desk.live.fetch_add(1, Ordering::AcqRel);
        // What a handshake over QUIC takes is not measured: those are let in or not, and no more.
        let entered = matches!(arrival, Arrival::Tcp(..)).then(|| self.door.enter());
        self.counters.open.add(1);
        let (live, left, counters) = (desk.live.clone(), desk.left.clone(), self.counters.clone());
        let seat = Seat { live, left, counters, of_address, entered };
        // If the core has ended, so has the connection.
        let _ = desk.sender.send((arrival, seat));
        None
    }
}

/// One address of IPv4, and one network of IPv6, which one host can have.
fn rules(http: &config::Http) -> networks::Rules {
    networks::Rules {
        bits: (32, 64),
        rate: http.handshakes_per_address.and_then(|rate| Some((rate, rate.checked_mul(NonZeroU32::new(BURST)?)?))),
        of_one: http.connections_per_address,
        of_all: usize::MAX,
        remembered: REMEMBERED,
        crowded: true,
    }
}

/// Binds TCP, and UDP on the same port if HTTP/3 is served.
fn bind(address: SocketAddr, http3: bool) -> io::Result<(std::net::TcpListener, Option<std::net::UdpSocket>)> {
    let mut tries = 0;
    loop {
        let listener = bind_tcp(address)?;
        if !http3 {
            return Ok((listener, None));
        }
        match h3::bind(listener.local_addr()?) {
            Ok(udp) => return Ok((listener, Some(udp))),
            // Any free port is asked for, and this one is free on TCP only.
            Err(error) if address.port() == 0 && error.kind() == io::ErrorKind::AddrInUse && tries < PORT_TRIES => {
                tries += 1;
            }
            Err(error) => {
                let told = format!("UDP, for HTTP/3: {error}; free the port, or set `http3 = false` in `[http]`");
                return Err(io::Error::new(error.kind(), told));
            }
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

pub(super) type Started<'a> = &'a dyn Fn(io::Result<()>);

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

/// Handshakes of one address at once, in seconds of its rate.
const BURST: u32 = 10;
/// Of how many addresses it is remembered how often they came.
const REMEMBERED: usize = 65_536;
/// `POLLRDHUP` of poll(2), where nix has no name for it: x86 and ARM.
const POLLRDHUP: i16 = 0x2000;
const BACKLOG: i32 = 4096;
const PORT_TRIES: u32 = 16;
/// How long connections have to send their end, and their clients to answer it, when the node ends.
const PARTING: Duration = Duration::from_millis(200);
/// How often it is looked whether somebody may be let in again.
const PAUSED: Duration = Duration::from_millis(10);
const MIN_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{Shutdown, TcpStream};

    use super::*;

    #[test]
    fn who_has_left_is_known_though_what_it_sent_was_not_read() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        client.write_all(b"hello").unwrap();
        assert!(!has_left(&socket));
        client.shutdown(Shutdown::Write).unwrap();
        let since = std::time::Instant::now();
        while !has_left(&socket) {
            assert!(since.elapsed() < Duration::from_secs(10));
        }
    }
}
