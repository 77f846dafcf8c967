//! What the parts of one connection share: its service, its streams, and whoever watches it.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use crate::accept::Protocol;
use crate::accept::counters::Counters;
use crate::accept::framing::{Fault, Observer};
use crate::accept::io::Watch;
use crate::accept::listen::Core;
use crate::accept::meter::{Flood, FrameKind, Meter};
use crate::clock::Clock;

/// What the parts of one connection share. It never leaves its core.
#[derive(Debug)]
pub(in crate::accept) struct State {
    pub(super) signals: Cell<Signals>,
    waker: RefCell<Option<Waker>>,
    watch: RefCell<Watch>,
    counters: Arc<Counters>,
    /// Requests whose response body is not sent yet.
    pub(super) in_flight: Cell<usize>,
    /// Of those, the ones that wait for us and not for the client.
    waiting: Cell<usize>,
    served: Cell<u64>,
    pub(super) idle_since: Cell<Instant>,
    /// HTTP/1: when the head began of which a part has arrived.
    pub(super) head_since: Cell<Option<Instant>>,
    pub(super) bytes_sent: Cell<u64>,
    /// Not counted in [`Counters`] yet.
    new_in: Cell<u64>,
    new_out: Cell<u64>,
    /// The client does not take what is written: hyper may have let go of the body that it belongs to.
    blocked: Cell<bool>,
    pub(super) flood: Cell<Option<FrameKind>>,
    /// The last response is a refusal that closes the connection.
    pub(super) refused: Cell<bool>,
    /// Why the gateway ends the connection, if not because all is done.
    pub(super) why: Cell<&'static str>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signals {
    pub(super) trust: bool,
    pub(super) close: bool,
    pub(super) drain: bool,
    /// At once, whatever is in flight.
    pub(super) abort: bool,
}

impl State {
    pub(super) fn new<S>(core: &Core<S>, protocol: Protocol) -> Self {
        let watch = match protocol {
            Protocol::H1 => Watch::H1(Observer::new(core.http.max_headers)),
            Protocol::H2 => Watch::H2(Meter::new(core.http.max_control_frames)),
            Protocol::H3 => Watch::H3(Meter::new(core.http.max_control_frames)),
        };
        Self {
            signals: Cell::default(),
            waker: RefCell::default(),
            watch: RefCell::new(watch),
            counters: core.counters.clone(),
            in_flight: Cell::new(0),
            waiting: Cell::new(0),
            served: Cell::new(0),
            idle_since: Cell::new(core.clock.now()),
            head_since: Cell::new(None),
            bytes_sent: Cell::new(0),
            new_in: Cell::new(0),
            new_out: Cell::new(0),
            blocked: Cell::new(false),
            flood: Cell::new(None),
            refused: Cell::new(false),
            why: Cell::new(""),
        }
    }

    /// The client certificate may no longer be good.
    pub(in crate::accept) fn trust_changed(&self) {
        self.signal(|signals| signals.trust = true);
    }

    /// The node shuts down.
    pub(in crate::accept) fn drain(&self) {
        self.signal(|signals| signals.drain = true);
    }

    /// The node's patience with what is in flight is over.
    pub(in crate::accept) fn abort(&self) {
        self.signal(|signals| signals.abort = true);
    }

    /// Why the gateway ends the connection: a stable word, empty if all is done.
    pub(in crate::accept) fn why(&self) -> &'static str {
        self.flood.get().map_or(self.why.get(), |_| "flood")
    }

    /// A refusal ends the connection.
    pub(in crate::accept) fn close(&self) {
        self.refused.set(true);
        self.signal(|signals| signals.close = true);
    }

    /// A request arrived; what its bytes had wrong, if its protocol is watched for that.
    pub(in crate::accept) fn arrived(&self) -> Option<Fault> {
        let served = self.served.get() + 1;
        self.served.set(served);
        self.in_flight.set(self.in_flight.get() + 1);
        self.waiting.set(self.waiting.get() + 1);
        match &mut *self.watch.borrow_mut() {
            Watch::H1(observer) => observer.fault(served),
            Watch::H2(_) => None,
            Watch::H3(meter) => {
                meter.opened();
                None
            }
        }
    }

    /// A response waits for the client, not for us; or the reverse.
    fn turn(&self, waits_for_us: &mut bool, now_waits: bool) {
        match (*waits_for_us, now_waits) {
            (false, true) => self.waiting.set(self.waiting.get() + 1),
            (true, false) => self.waiting.set(self.waiting.get().saturating_sub(1)),
            _ => {}
        }
        *waits_for_us = now_waits;
    }

    /// A response is sent, or was given up.
    fn answered(&self, clock: &Clock) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        if self.in_flight.get() == 0 {
            self.idle_since.set(clock.now());
        }
    }

    pub(in crate::accept) fn received(&self, bytes: &[u8], clock: &Clock) -> io::Result<()> {
        self.new_in.set(self.new_in.get() + bytes.len() as u64);
        match &mut *self.watch.borrow_mut() {
            Watch::H1(observer) => {
                let served = self.served.get();
                let before = observer.fault(served);
                observer.received(bytes);
                match (observer.within_head(), self.head_since.get()) {
                    (true, None) => self.head_since.set(Some(clock.now())),
                    (false, Some(_)) => self.head_since.set(None),
                    _ => {}
                }
                match (before, observer.fault(served)) {
                    // The request was let through, and now its body is wrong.
                    (None, Some(Fault(reason))) => Err(io::Error::new(io::ErrorKind::InvalidData, reason)),
                    _ => Ok(()),
                }
            }
            Watch::H2(meter) => meter.received(bytes, || clock.now()).map_err(|flood| {
                let Flood(frame) = flood;
                self.flood.set(Some(frame));
                io::Error::new(io::ErrorKind::InvalidData, flood)
            }),
            Watch::H3(_) => Ok(()),
        }
    }

    pub(in crate::accept) fn sent(&self, bytes: usize) {
        self.bytes_sent.set(self.bytes_sent.get() + bytes as u64);
        self.new_out.set(self.new_out.get() + bytes as u64);
        if let Watch::H2(meter) | Watch::H3(meter) = &mut *self.watch.borrow_mut() {
            meter.sent(bytes);
        }
    }

    /// Frames of HTTP/3 or QUIC came that count.
    ///
    /// # Errors
    /// If they are too many: the connection MUST be ended.
    pub(in crate::accept) fn counted(&self, kind: FrameKind, frames: u64, clock: &Clock) -> Result<(), Flood> {
        let Watch::H3(meter) = &mut *self.watch.borrow_mut() else { return Ok(()) };
        let counted = match kind {
            FrameKind::WindowUpdate => meter.updates(frames, clock.now()),
            _ => meter.counted(kind, frames, clock.now()),
        };
        counted.inspect_err(|Flood(frame)| self.flood.set(Some(*frame)))
    }

    pub(in crate::accept) fn blocked(&self, blocked: bool) {
        self.blocked.set(blocked);
    }

    pub(in crate::accept) fn count_bytes(&self) {
        self.counters.bytes_in.add(self.new_in.take());
        self.counters.bytes_out.add(self.new_out.take());
    }

    pub(super) fn client_is_slow(&self) -> bool {
        self.blocked.get() || self.in_flight.get() > self.waiting.get()
    }

    pub(super) fn signal(&self, set: impl FnOnce(&mut Signals)) {
        let mut signals = self.signals.get();
        set(&mut signals);
        self.signals.set(signals);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    pub(super) fn set_waker(&self, new: &Waker) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|old| old.will_wake(new)) {
            *waker = Some(new.clone());
        }
    }
}

/// A request from its arrival until its response is sent or given up.
pub(in crate::accept) struct Turn {
    state: Rc<State>,
    clock: Clock,
    waits_for_us: bool,
}

impl Turn {
    /// The request was counted by [`State::arrived`].
    pub(in crate::accept) fn new(state: &Rc<State>, clock: &Clock) -> Self {
        Self { state: Rc::clone(state), clock: clock.clone(), waits_for_us: true }
    }

    /// Whether its response waits for us, or for the client.
    pub(in crate::accept) fn now_waits(&mut self, waits: bool) {
        self.state.turn(&mut self.waits_for_us, waits);
    }

    /// Its response is the connection's last.
    pub(in crate::accept) fn close(&self) {
        self.state.close();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.now_waits(false);
        self.state.answered(&self.clock);
    }
}
