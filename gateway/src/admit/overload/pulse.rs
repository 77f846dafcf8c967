//! How late an event loop is by its own doing: what everything that it does has to wait for what it does.
//!
//! A loop that was not let run, because the process used up its quota or because somebody else had the processor, is late as well. That says
//! nothing about how much is asked of it, and shedding would not make it earlier: of a delay, only as much counts as the loop's
//! thread computed since its last beat.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The heartbeat of one event loop. A task of the loop sleeps and beats, for ever; another thread reads.
#[derive(Debug)]
pub(super) struct Pulse {
    /// When the next beat is due, in microseconds.
    due: AtomicU64,
    /// Processor time of the thread at the last beat, in microseconds.
    used: AtomicU64,
    /// What the process computed, for each loop, since a reading last found a beat, in microseconds.
    meanwhile: AtomicU64,
    least: AtomicU64,
    sum: AtomicU64,
    beats: AtomicU64,
}

/// How long something had to wait, over an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delay {
    /// The least: what is over even in the best moment is a standing queue, and no burst.
    pub least: Duration,
    /// The mean.
    pub mean: Duration,
}

impl Pulse {
    /// A loop that starts now.
    pub(super) fn new(now: Duration) -> Self {
        Self {
            due: AtomicU64::new(micros(now + BEAT)),
            used: AtomicU64::new(0),
            meanwhile: AtomicU64::new(0),
            least: AtomicU64::new(u64::MAX),
            sum: AtomicU64::new(0),
            beats: AtomicU64::new(0),
        }
    }

    /// The task was woken, when its thread had used so much processor time; so late. It sleeps until `next` after `now`, and beats again.
    pub(super) fn beat(&self, now: Duration, cpu: Duration, next: Duration) -> Duration {
        let due = self.due.swap(micros(now + next), Ordering::Relaxed);
        let used = self.used.swap(micros(cpu), Ordering::Relaxed);
        let late = micros(now).saturating_sub(due).min(micros(cpu).saturating_sub(used));
        self.least.fetch_min(late, Ordering::Relaxed);
        self.sum.fetch_add(late, Ordering::Relaxed);
        self.beats.fetch_add(1, Ordering::Relaxed);
        Duration::from_micros(late)
    }

    /// What it was since the last reading. A loop that did not beat is at least as late as its next beat is overdue, but for what
    /// its part of what the process computed meanwhile (`used`) cannot explain.
    pub(super) fn read(&self, now: Duration, used: Duration) -> Delay {
        let beats = self.beats.swap(0, Ordering::Relaxed);
        let meanwhile = self.meanwhile.load(Ordering::Relaxed).saturating_add(micros(used));
        self.meanwhile.store(if beats == 0 { meanwhile } else { 0 }, Ordering::Relaxed);
        let overdue = micros(now).saturating_sub(self.due.load(Ordering::Relaxed)).min(meanwhile);
        let sum = self.sum.swap(0, Ordering::Relaxed);
        let least = self.least.swap(u64::MAX, Ordering::Relaxed);
        if beats == 0 {
            return Delay { least: Duration::from_micros(overdue), mean: Duration::from_micros(overdue) };
        }
        let mean = (sum / beats).max((sum + overdue) / (beats + 1));
        // A beat that is counted and not yet in the least must not make that endless.
        Delay { least: Duration::from_micros(least.min(mean)), mean: Duration::from_micros(mean) }
    }
}

impl Delay {
    /// Of several loops: the mean of each. Where one of them is late and others are idle, that one counts for its part.
    pub(super) fn mean_of(delays: impl IntoIterator<Item = Self>) -> Self {
        let add = |(count, sum): (u32, Self), it: Self| {
            (count + 1, Self { least: sum.least + it.least, mean: sum.mean + it.mean })
        };
        let (count, sum) = delays.into_iter().fold((0, Self::default()), add);
        let part = |whole: Duration| whole.checked_div(count).unwrap_or_default();
        Self { least: part(sum.least), mean: part(sum.mean) }
    }

    /// The longer of each.
    pub(super) fn or_longer(self, other: Self) -> Self {
        Self { least: self.least.max(other.least), mean: self.mean.max(other.mean) }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Between two beats while there is no overload, and while there is.
pub const BEAT: Duration = Duration::from_millis(10);
/// See [`BEAT`].
pub const FAST_BEAT: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_late_as_its_beats_were_or_as_the_next_one_is() {
        let at = Duration::from_millis;
        let (pulse, busy) = (Pulse::new(at(0)), at(1_000));
        let delay = |least: u64, mean: u64| Delay { least: at(least), mean: at(mean) };
        assert_eq!(pulse.read(at(10), busy), delay(0, 0));
        pulse.beat(at(12), at(12), BEAT);
        pulse.beat(at(26), at(26), BEAT);
        assert_eq!(pulse.read(at(30), busy), delay(2, 3));
        assert_eq!(pulse.read(at(86), busy), delay(50, 50), "it did not beat at all");
        pulse.beat(at(96), at(96), BEAT);
        assert_eq!(pulse.read(at(106), busy), delay(60, 60));
        assert_eq!(Delay::mean_of([delay(0, 2), delay(8, 10)]), delay(4, 6));
        assert_eq!(Delay::mean_of([]), Delay::default());
    }

    #[test]
    fn what_it_was_not_let_run_does_not_count() {
        let at = Duration::from_millis;
        let pulse = Pulse::new(at(0));
        let delay = |least: u64, mean: u64| Delay { least: at(least), mean: at(mean) };
        // 50 ms late, of which it computed three.
        assert_eq!(pulse.beat(at(60), at(3), BEAT), at(3));
        assert_eq!(pulse.read(at(60), at(4)), delay(3, 3));
        // Not heard of for 90 ms, in which the whole process computed seven, and then nine more.
        assert_eq!(pulse.read(at(100), at(7)), delay(7, 7));
        assert_eq!(pulse.read(at(160), at(9)), delay(16, 16));
    }
}
