//! Making the register misbehave. A handle of the process that runs it; nothing here is reachable over HTTP.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    HeaderMap, Method, StatusCode, Uri,
    header::{HeaderName, HeaderValue},
};

use super::Number;

/// What to do differently in an answer. The default does nothing.
#[derive(Clone, Debug, Default)]
pub struct Fault {
    /// Wait before the head of the response.
    pub delay_head: Option<Duration>,
    /// Wait in the middle of the body.
    pub delay_body: Option<Duration>,
    /// Answer with this status; with a problem document where `body` says nothing and the status is an error.
    pub status: Option<StatusCode>,
    /// Send these bytes as the record, whatever they are.
    pub body: Option<Bytes>,
    /// Send so many bytes of the body, then drop the connection (HTTP/1.1) or reset the stream (HTTP/2).
    pub cut_after: Option<usize>,
    /// Say `Content-Length` or not.
    pub framing: Framing,
    /// `Cache-Control` instead of the register's own; an empty value leaves the header out.
    pub cache_control: Option<HeaderValue>,
    /// Appended to the response; may repeat or contradict what is there.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Ignore `If-None-Match`.
    pub ignore_validators: bool,
}

/// How the end of a body is marked. HTTP/2 marks it by itself, then this is about the header only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`.
    #[default]
    Sized,
    /// Chunked, in two chunks.
    Chunked,
}

/// The head of a request that the register received.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Received {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
}

/// Controls and counters of a running register; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Whether `plan` says anything: requests of a register that behaves take no lock.
    armed: AtomicBool,
    plan: RwLock<Plan>,
    requests: AtomicU64,
    open: AtomicU64,
    accepted: AtomicU64,
    keeping: AtomicBool,
    received: Mutex<Vec<Received>>,
}

#[derive(Debug, Default)]
struct Plan {
    everyone: Option<Fault>,
    persons: HashMap<Number, Fault>,
    swapped: HashMap<Number, Number>,
}

impl Faults {
    /// A register that behaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies to requests for this number from now on, instead of what was said for everyone.
    pub fn set(&self, number: Number, fault: Fault) {
        self.change(|plan| drop(plan.persons.insert(number, fault)));
    }

    /// Applies to all requests for persons without a fault of their own, and to searches.
    pub fn set_everyone(&self, fault: Fault) {
        self.change(|plan| plan.everyone = Some(fault));
    }

    /// Answers each of the two numbers with the other's record, as a desynchronised connection would.
    pub fn swap(&self, one: Number, other: Number) {
        self.change(|plan| plan.swapped.extend([(one, other), (other, one)]));
    }

    /// Behaves again. Counters go on.
    pub fn clear(&self) {
        self.change(|plan| *plan = Plan::default());
        self.0.armed.store(false, Relaxed);
    }

    /// Requests received so far, of all kinds.
    pub fn requests(&self) -> u64 {
        self.0.requests.load(Relaxed)
    }

    /// Connections that are open now, handshake done.
    pub fn open_connections(&self) -> u64 {
        self.0.open.load(Relaxed)
    }

    /// Connections that completed a handshake so far.
    pub fn connections(&self) -> u64 {
        self.0.accepted.load(Relaxed)
    }

    /// Keeps the heads of requests from now on, for [`Self::received`].
    pub fn keep_received(&self) {
        self.0.keeping.store(true, Relaxed);
    }

    /// The heads kept so far, oldest first; they are kept no longer.
    pub fn received(&self) -> Vec<Received> {
        std::mem::take(&mut *self.0.received.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn count<B>(&self, request: &hyper::Request<B>) {
        self.0.requests.fetch_add(1, Relaxed);
        if self.0.keeping.load(Relaxed) {
            let received = Received {
                method: request.method().clone(),
                uri: request.uri().clone(),
                headers: request.headers().clone(),
            };
            self.0.received.lock().unwrap_or_else(PoisonError::into_inner).push(received);
        }
    }

    /// Counts a connection until the result is dropped.
    pub(super) fn connected(&self) -> Connected {
        self.0.open.fetch_add(1, Relaxed);
        self.0.accepted.fetch_add(1, Relaxed);
        Connected(self.clone())
    }

    /// Whose record to answer with, and how.
    pub(super) fn plan(&self, number: Number) -> (Number, Option<Fault>) {
        if !self.0.armed.load(Relaxed) {
            return (number, None);
        }
        let plan = self.0.plan.read().unwrap_or_else(PoisonError::into_inner);
        let fault = plan.persons.get(&number).or(plan.everyone.as_ref()).cloned();
        (plan.swapped.get(&number).copied().unwrap_or(number), fault)
    }

    /// How to answer a request that is about no one person.
    pub(super) fn plan_of_everyone(&self) -> Option<Fault> {
        if !self.0.armed.load(Relaxed) {
            return None;
        }
        self.0.plan.read().unwrap_or_else(PoisonError::into_inner).everyone.clone()
    }

    fn change(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.0.plan.write().unwrap_or_else(PoisonError::into_inner));
        self.0.armed.store(true, Relaxed);
    }
}

/// An open connection.
pub(super) struct Connected(Faults);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Relaxed);
    }
}
