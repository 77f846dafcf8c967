//! Whether anybody new is let in: all the time, but for a node that has more to do than it can.
//!
//! A handshake costs more than an answer. Clients that lose their patience connect again, and a node that did nothing but greet them would
//! answer nobody: under overload handshakes have a part of the processor time, and who comes beyond that waits.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Clock;

/// The way in, shared by all who accept. Times are processor time, in microseconds.
#[derive(Debug)]
pub struct Door {
    closed: AtomicBool,
    bounded: AtomicBool,
    /// What handshakes took since the start.
    spent: AtomicU64,
    /// What those under way are going to take.
    pending: AtomicU64,
    /// How much both together may become.
    allowed: AtomicU64,
    /// What a handshake takes.
    each: AtomicU64,
}

/// Somebody came in, whose handshake will take what others take. Dropped, it does not any more.
#[derive(Debug)]
pub(super) struct Entered {
    door: Arc<Door>,
    micros: u64,
}

impl Default for Door {
    fn default() -> Self {
        Self {
            closed: AtomicBool::new(false),
            bounded: AtomicBool::new(false),
            spent: AtomicU64::new(0),
            pending: AtomicU64::new(0),
            allowed: AtomicU64::new(0),
            each: AtomicU64::new(USUAL),
        }
    }
}

impl Door {
    /// Lets nobody in, or again.
    pub fn close(&self, closed: bool) {
        self.closed.store(closed, Ordering::Relaxed);
    }

    /// Lets handshakes take so much more until this is called again, or as much as they want. What they took too much is owed.
    pub fn allow(&self, greeting: Option<Duration>) {
        let Some(greeting) = greeting else { return self.bounded.store(false, Ordering::Relaxed) };
        let (grant, spent) = (micros(greeting), self.spent.load(Ordering::Relaxed));
        let least = spent.saturating_sub(grant.saturating_mul(LONGEST_DEBT));
        let before = match self.bounded.swap(true, Ordering::Relaxed) {
            true => self.allowed.load(Ordering::Relaxed).max(least),
            false => spent,
        };
        self.allowed.store((before + grant).min(spent + 2 * grant), Ordering::Relaxed);
    }

    /// What handshakes took since the start.
    pub fn spent(&self) -> Duration {
        Duration::from_micros(self.spent.load(Ordering::Relaxed))
    }

    /// Whether somebody may come in now.
    pub(super) fn is_open(&self) -> bool {
        let taken = || self.spent.load(Ordering::Relaxed) + self.pending.load(Ordering::Relaxed);
        let has_room = || taken() < self.allowed.load(Ordering::Relaxed);
        !self.closed.load(Ordering::Relaxed) && (!self.bounded.load(Ordering::Relaxed) || has_room())
    }

    /// Somebody comes in.
    pub(super) fn enter(self: &Arc<Self>) -> Entered {
        let micros = self.each.load(Ordering::Relaxed);
        self.pending.fetch_add(micros, Ordering::Relaxed);
        Entered { door: Arc::clone(self), micros }
    }

    /// Goes through with a handshake, and counts what it takes.
    pub(super) async fn greet<T>(&self, clock: &Clock, handshake: impl Future<Output = T>) -> T {
        let mut handshake = pin!(handshake);
        let mut took = 0;
        let done = poll_fn(|context| {
            let before = clock.cpu_of_thread();
            let done = handshake.as_mut().poll(context);
            let step = micros(clock.cpu_of_thread().saturating_sub(before));
            self.spent.fetch_add(step, Ordering::Relaxed);
            took += step;
            done
        })
        .await;
        // Of several at once any may win: it is an estimate.
        let before = self.each.load(Ordering::Relaxed);
        self.each.store((before - before / 8 + took / 8).max(LEAST), Ordering::Relaxed);
        done
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.door.pending.fetch_sub(self.micros, Ordering::Relaxed);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What a handshake takes before any was seen, and at least.
const USUAL: u64 = 300;
const LEAST: u64 = 20;
/// How many grants may be owed.
const LONGEST_DEBT: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn under_overload_handshakes_take_no_more_than_their_part() {
        let (door, clock) = (Arc::new(Door::default()), Clock::system("Asia/Ho_Chi_Minh").unwrap());
        let handshake = async || {
            let until = clock.cpu_of_thread() + Duration::from_millis(2);
            while clock.cpu_of_thread() < until {}
        };
        door.greet(&clock, handshake()).await;
        let spent = door.spent();
        assert!(spent >= Duration::from_millis(2), "{spent:?}");
        assert!(door.is_open(), "there is no overload");
        door.allow(Some(Duration::from_millis(5)));
        let mut entered = Vec::new();
        while door.is_open() {
            entered.push(door.enter());
        }
        assert!((5..=20).contains(&entered.len()), "{}: they count before they are through", entered.len());
        assert_eq!(door.spent(), spent, "and nothing was spent yet");
        entered.clear();
        assert!(door.is_open(), "who is gone does not count");
        // Three handshakes of 2 ms are more than 5 ms: what is too much is owed.
        for _ in 0..6 {
            door.greet(&clock, handshake()).await;
        }
        assert!(!door.is_open());
        door.allow(Some(Duration::from_millis(5)));
        assert!(!door.is_open(), "12 of 10 ms");
        door.allow(Some(Duration::from_millis(5)));
        assert!(door.is_open());
        door.close(true);
        door.allow(None);
        assert!(!door.is_open());
        door.close(false);
        assert!(door.is_open());
    }
}
