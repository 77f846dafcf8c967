//! What the listeners count. Plain atomics: the metrics read them when they are scraped.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::meter::FrameKind;
use super::tls::HandshakeFailure;

/// Counts since the start, over all cores.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections closed at once, because there were too many.
    pub refused_full: Counter,
    /// Connections closed at once, because their address had too many, or came too often.
    pub refused_address: Counter,
    /// Connections closed that had waited in vain while there was too much to do.
    pub refused_waiting: Counter,
    /// Clients that went away while they waited.
    pub left_waiting: Counter,
    /// Errors of `accept`, such as too many open files.
    pub accept_errors: Counter,
    /// Handshakes that led to a connection.
    pub handshakes: Counter,
    /// Of those, resumed ones.
    pub resumed: Counter,
    /// Connections now open, handshakes included.
    pub open: Counter,
    /// Connections over TLS 1.2.
    pub tls12: Counter,
    /// Connections over TLS 1.3.
    pub tls13: Counter,
    /// Connections over HTTP/1.
    pub h1: Counter,
    /// Connections over HTTP/2.
    pub h2: Counter,
    /// Connections over HTTP/3.
    pub h3: Counter,
    /// QUIC clients that had to prove their address first, because many handshakes were pending.
    pub retried: Counter,
    /// Live connections ended because their certificate was revoked.
    pub ended_revoked: Counter,
    /// Live connections ended because their certificate expired, or its authority was withdrawn.
    pub ended_invalid: Counter,
    /// Connections ended because the client did not read its answers.
    pub ended_stalled: Counter,
    /// Decrypted bytes from clients.
    pub bytes_in: Counter,
    /// Bytes to clients, before encryption.
    pub bytes_out: Counter,
    failures: Mutex<BTreeMap<HandshakeFailure, u64>>,
    floods: Mutex<BTreeMap<FrameKind, u64>>,
}

impl Counters {
    /// Handshakes that failed, by reason.
    pub fn failures(&self) -> Vec<(HandshakeFailure, u64)> {
        read(&self.failures)
    }

    /// HTTP/2 and HTTP/3 connections ended for a flood, by the frame that went over the limit.
    pub fn floods(&self) -> Vec<(FrameKind, u64)> {
        read(&self.floods)
    }

    pub(super) fn failed(&self, reason: HandshakeFailure) {
        increment(&self.failures, reason);
    }

    pub(super) fn flooded(&self, frame: FrameKind) {
        increment(&self.floods, frame);
    }
}

/// A number that goes up, and for gauges down.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Its value.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }
}

fn read<K: Copy>(counts: &Mutex<BTreeMap<K, u64>>) -> Vec<(K, u64)> {
    let counts = counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    counts.iter().map(|(key, count)| (*key, *count)).collect()
}

fn increment<K: Ord>(counts: &Mutex<BTreeMap<K, u64>>, key: K) {
    let mut counts = counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    *counts.entry(key).or_default() += 1;
}
