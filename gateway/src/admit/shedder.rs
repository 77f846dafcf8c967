//! What one core asks before anything dear is done: whether the node can do it.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use popgate_policy::directory::Priority;
use popgate_policy::model::AgencyId;

use super::overload::{Class, Lane};
use crate::clock::Clock;
use crate::refusal::Refusal;

/// One core's part in shedding.
#[derive(Debug)]
pub struct Shedder {
    lane: Lane,
    /// Chance need not be secret here.
    dice: Cell<u64>,
    /// How many wait for their refusal.
    held: Cell<usize>,
    origin: Instant,
    clock: Clock,
}

/// Until when a connection's client was told to wait before it asks again, because the node is overloaded; by class, in microseconds since
/// the shedder's origin.
#[derive(Debug, Default)]
pub struct Told([AtomicU64; Class::ALL.len()]);

/// Which slot is whose; an agency keeps its own over changes of the bundle.
#[derive(Debug, Default)]
pub struct Slots(Mutex<HashMap<AgencyId, usize>>);

impl Shedder {
    /// `origin` MUST be the controller's.
    pub fn new(lane: Lane, seed: u64, origin: Instant, clock: Clock) -> Self {
        Self { lane, dice: Cell::new(seed | 1), held: Cell::new(0), origin, clock }
    }

    /// The core's heartbeat, for ever: how late it is says how long everything else on this core has to wait.
    pub async fn beat(&self) {
        loop {
            let next = self.lane.beat(self.since_origin(), self.clock.cpu_of_thread());
            tokio::time::sleep(next).await;
        }
    }

    pub(super) fn admit(&self, slot: usize, priority: Priority) -> bool {
        self.lane.admit(slot, Class::from(priority), self.roll())
    }

    /// Refuses what was not admitted: at once, but for who was told on this connection when to ask again, and did not wait until then.
    pub(super) async fn refuse(&self, priority: Priority, told: &Told) -> Refusal {
        let class = Class::from(priority);
        let retry_after = self.lane.retry_after(class, self.roll());
        let now = self.since_origin();
        let again = told.again(class, now, now + retry_after);
        if again && class != Class::Emergency && self.held.get() < MOST_HELD {
            let _held = Held::enter(&self.held);
            tokio::time::sleep(self.lane.hold(self.roll())).await;
        }
        Refusal::Overloaded { retry_after }
    }

    fn since_origin(&self) -> Duration {
        self.clock.now().saturating_duration_since(self.origin)
    }

    /// Xorshift (Marsaglia 2003).
    fn roll(&self) -> u32 {
        let mut dice = self.dice.get();
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        self.dice.set(dice);
        (dice >> 32) as u32
    }
}

impl Told {
    /// Whether it was told to wait until later than `now`. It is told anew.
    fn again(&self, class: Class, now: Duration, until: Duration) -> bool {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let told = self.0.get(class as usize);
        told.is_some_and(|told| told.swap(micros(until), Ordering::Relaxed) > micros(now))
    }
}

/// One that waits for its refusal. Dropped, it does no longer, also where the client went away.
struct Held<'a>(&'a Cell<usize>);

impl<'a> Held<'a> {
    fn enter(held: &'a Cell<usize>) -> Self {
        held.set(held.get() + 1);
        Self(held)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Slots {
    pub(super) fn of(&self, agency: &AgencyId) -> usize {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = slots.len();
        *slots.entry(agency.clone()).or_insert(next)
    }
}

/// A refusal that waits takes some kilobytes: with more of them all are refused at once.
const MOST_HELD: usize = 2_000;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::{Pin, pin};
    use std::task::Poll;

    use super::super::overload::{Controller, Delay, Rules, Spent};
    use super::*;

    /// A core of a node whose requests wait for long elsewhere, and which was told so for a while.
    fn pressed() -> Shedder {
        let (mut controller, lanes) = Controller::new(Rules::default(), 1, 1, Duration::ZERO);
        let clock = Clock::system("Asia/Ho_Chi_Minh").unwrap();
        let shedder = Shedder::new(lanes[0].clone(), 7, clock.now(), clock);
        let queue = Delay { least: Duration::from_millis(80), mean: Duration::from_millis(800) };
        for tick in 1..=40 {
            (0..5_000).for_each(|_| _ = shedder.admit(0, Priority::Batch));
            let all = Duration::from_millis(50 * tick);
            controller.tick(all, Spent { all, ..Spent::default() }, Some(queue));
        }
        shedder
    }

    /// Whether it is not done when it is first asked.
    async fn waits(mut refusal: Pin<&mut impl Future<Output = Refusal>>) -> bool {
        poll_fn(|context| Poll::Ready(refusal.as_mut().poll(context).is_pending())).await
    }

    #[tokio::test]
    async fn who_asks_again_before_it_was_told_to_waits_for_its_refusal_and_nobody_else_does() {
        let shedder = pressed();
        let refused = async |told: &Told| {
            let begun = Instant::now();
            let refusal = shedder.refuse(Priority::Batch, told).await;
            assert!(matches!(refusal, Refusal::Overloaded { retry_after } if retry_after >= Duration::from_secs(1)));
            begun.elapsed()
        };
        let (patient, hasty) = (Told::default(), Told::default());
        refused(&hasty).await;
        let mut waited = Duration::ZERO;
        for _ in 0..4 {
            waited += refused(&hasty).await;
        }
        assert!(waited > Duration::from_millis(100) && shedder.held.get() == 0, "{waited:?}");
        // Nothing in it waits: however late the machine is, it is done when it is first asked.
        assert!(!waits(pin!(shedder.refuse(Priority::Batch, &patient))).await);
    }

    #[tokio::test]
    async fn no_more_wait_for_their_refusal_than_memory_has_room_for() {
        let shedder = pressed();
        shedder.held.set(MOST_HELD);
        let told = Told::default();
        shedder.refuse(Priority::Batch, &told).await;
        assert!(!waits(pin!(shedder.refuse(Priority::Batch, &told))).await);
        assert_eq!(shedder.held.get(), MOST_HELD);
    }

    #[tokio::test]
    async fn a_client_that_goes_away_while_it_waits_leaves_its_place() {
        let shedder = pressed();
        let told = Told::default();
        shedder.refuse(Priority::Batch, &told).await;
        {
            let mut again = pin!(shedder.refuse(Priority::Batch, &told));
            assert!(waits(again.as_mut()).await);
            assert_eq!(shedder.held.get(), 1);
        }
        assert_eq!(shedder.held.get(), 0);
    }
}
