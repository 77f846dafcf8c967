//! Whether anybody new is let in: all the time, but for a node that has more to do than it can.
//!
//! A handshake costs more than an answer. Clients that lose their patience connect again, and a node that did nothing but greet them would
//! answer nobody: under overload handshakes have a part of the processor time, and who comes beyond that waits in the kernel's queue.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Clock;

/// The way in, shared by all who accept. Times are processor time.
#[derive(Debug, Default)]
pub struct Door {
    closed: AtomicBool,
    bounded: AtomicBool,
    /// What handshakes took since the start, in microseconds; of those under way, what such a one took lately.
    spent: AtomicU64,
    /// How much that may become.
    allowed: AtomicU64,
    /// What a handshake takes, in microseconds.
    each: AtomicU64,
}

impl Door {
    /// Lets nobody in, or again.
    pub fn close(&self, closed: bool) {
        self.closed.store(closed, Ordering::Relaxed);
    }

    /// Lets handshakes take so much until this is called again, or as much as they want.
    pub fn allow(&self, greeting: Option<Duration>) {
        if let Some(greeting) = greeting {
            let allowed = self.spent.load(Ordering::Relaxed).saturating_add(micros(greeting));
            self.allowed.store(allowed, Ordering::Relaxed);
        }
        self.bounded.store(greeting.is_some(), Ordering::Relaxed);
    }

    /// What handshakes took since the start.
    pub fn spent(&self) -> Duration {
        Duration::from_micros(self.spent.load(Ordering::Relaxed))
    }

    /// Whether somebody may come in now.
    pub(super) fn is_open(&self) -> bool {
        let spent_too_much = || self.spent.load(Ordering::Relaxed) >= self.allowed.load(Ordering::Relaxed);
        !self.closed.load(Ordering::Relaxed) && !(self.bounded.load(Ordering::Relaxed) && spent_too_much())
    }

    /// Somebody comes in, whose handshake will take what others take.
    pub(super) fn enter(&self) {
        self.spent.fetch_add(self.each.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Goes through with the handshake of somebody who came in, and counts what it really takes.
    pub(super) async fn greet<T>(&self, clock: &Clock, handshake: impl Future<Output = T>) -> T {
        let expected = self.each.load(Ordering::Relaxed);
        let mut handshake = pin!(handshake);
        let mut took = Duration::ZERO;
        let done = poll_fn(|context| {
            let before = clock.cpu_of_thread();
            let done = handshake.as_mut().poll(context);
            took += clock.cpu_of_thread().saturating_sub(before);
            done
        })
        .await;
        let took = micros(took);
        self.spent.fetch_add(took, Ordering::Relaxed);
        self.spent.fetch_sub(expected, Ordering::Relaxed);
        // Of several at once any may win: it is an estimate.
        let before = self.each.load(Ordering::Relaxed);
        self.each.store(if before == 0 { took } else { before - before / 8 + took / 8 }, Ordering::Relaxed);
        done
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn under_overload_handshakes_take_no_more_than_their_part() {
        let (door, clock) = (Door::default(), Clock::system("Asia/Ho_Chi_Minh").unwrap());
        let handshake = async || {
            let until = clock.cpu_of_thread() + Duration::from_millis(2);
            while clock.cpu_of_thread() < until {}
        };
        door.enter();
        door.greet(&clock, handshake()).await;
        let spent = door.spent();
        assert!(spent >= Duration::from_millis(2), "{spent:?}");
        assert!(door.is_open(), "there is no overload");
        door.allow(Some(Duration::from_millis(5)));
        let mut entered = 0;
        while door.is_open() {
            door.enter();
            entered += 1;
        }
        assert!((1..=3).contains(&entered), "{entered}: they count before they are through");
        door.allow(Some(Duration::from_millis(1)));
        assert!(door.is_open());
        door.close(true);
        door.allow(None);
        assert!(!door.is_open());
        door.close(false);
        assert!(door.is_open());
    }
}
