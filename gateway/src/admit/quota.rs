//! Quotas of calendar days and months, and the file by which they outlive the process.
//!
//! The file is written once a second where something changed: after a crash, at most the last second's requests are forgotten. A day and a
//! month are those of the site's time zone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::bucket::Left;
use crate::beside;
use crate::clock::Clock;
use crate::share::{Exhausted, Share, SharedQuota};

/// What a quota counts in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub(super) enum Period {
    Day,
    Month,
}

impl Period {
    const ALL: [Self; 2] = [Self::Day, Self::Month];

    fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// Which day or month it is, numbered from 1970.
    fn current(self, day: jiff::civil::Date) -> u64 {
        let number = match self {
            Self::Day => i64::from((day - EPOCH).get_days()),
            Self::Month => (i64::from(day.year()) - 1970) * 12 + i64::from(day.month()) - 1,
        };
        u64::try_from(number).unwrap_or_default()
    }

    /// How long it goes on.
    fn left(self, clock: &Clock) -> Duration {
        let day = clock.local().date();
        let last = match self {
            Self::Day => day,
            Self::Month => day.last_of_month(),
        };
        let left = clock.end_of(last).map(|end| end.duration_since(clock.wall()));
        left.and_then(|left| Duration::try_from(left).ok()).unwrap_or(Duration::from_secs(86_400))
    }
}

/// One party's quota of one period.
#[derive(Debug)]
pub(super) struct Quota {
    period: Period,
    most: u32,
    counter: Arc<Counter>,
    /// What all nodes use together.
    shared: Option<Arc<SharedQuota>>,
}

/// How much was used, and of which day or month: both in one word, so that a new day begins for everybody at once.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Quota {
    /// Takes one.
    ///
    /// # Errors
    /// How long it takes until the next period.
    pub(super) fn take(&self, clock: &Clock) -> Result<Left, Duration> {
        let now = self.period.current(clock.local().date());
        let most = u64::from(self.most);
        let taken = self.counter.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            let used = if word >> USED_BITS == now { word & USED } else { 0 };
            (used < most).then_some(now << USED_BITS | (used + 1))
        });
        let reset = self.period.left(clock);
        let Ok(word) = taken else { return Err(reset) };
        let used = if word >> USED_BITS == now { word & USED } else { 0 };
        let own = Left { left: most.saturating_sub(used + 1), reset };
        match self.shared.as_ref().map(|shared| shared.take(now, 1)) {
            None => Ok(own),
            Some(Ok(left)) => Ok(Left { left: left.remaining.min(own.left), reset }),
            Some(Err(exhausted)) => {
                self.give_back();
                Err(match exhausted {
                    Exhausted::Spent => reset,
                    Exhausted::Soon(soon) => soon,
                })
            }
        }
    }

    /// Gives one back: the request was refused for another reason. What nodes share has no way back.
    pub(super) fn give_back(&self) {
        let _ = self.counter.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            (word & USED > 0).then_some(word.wrapping_sub(1))
        });
    }
}

/// Every quota's counter by party and period; they outlive bundles and, by their file, the process.
#[derive(Debug)]
pub struct Quotas {
    counters: Mutex<BTreeMap<(String, Period), Arc<Counter>>>,
    file: PathBuf,
    /// What was written last.
    written: Mutex<String>,
    failing: AtomicBool,
}

impl Quotas {
    /// Reads what was used before this process. Lines that cannot be read are told, and count as nothing used.
    pub fn open(state: &std::path::Path) -> Self {
        let file = state.join(FILE);
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                tracing::error!(file = %file.display(), %error, "what was used of quotas cannot be read: they begin anew");
                String::new()
            }
        };
        let mut counters = BTreeMap::new();
        for (at, line) in text.lines().enumerate() {
            match entry(line) {
                Some((party, period, word)) => {
                    counters.insert((party, period), Arc::new(Counter(AtomicU64::new(word))));
                }
                None => {
                    tracing::error!(file = %file.display(), line = at + 1, "what was used of a quota cannot be read")
                }
            }
        }
        Self { counters: Mutex::new(counters), file, written: Mutex::new(text), failing: AtomicBool::new(false) }
    }

    /// A party's quota. `share` is what nodes share, if they do, and the time.
    pub(super) fn quota(&self, party: &str, period: Period, most: u32, share: Option<(&Share, &Clock)>) -> Quota {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let counter = counters.entry((party.to_owned(), period)).or_default();
        let shared = share.map(|(share, clock)| {
            let shared = share.quota(&format!("{party} {}", period.as_str()), most.into());
            shared.expect(period.current(clock.local().date()));
            shared
        });
        Quota { period, most, counter: Arc::clone(counter), shared }
    }

    /// Writes what was used, if it changed, and forgets what is over.
    pub fn keep(&self, clock: &Clock) {
        let today = clock.local().date();
        let mut text = String::new();
        {
            let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
            counters.retain(|(party, period), counter| {
                let word = counter.0.load(Ordering::Relaxed);
                let (of, used) = (word >> USED_BITS, word & USED);
                let current = of == period.current(today);
                if current && used > 0 {
                    // A string takes whatever is written to it.
                    let _ = writeln!(text, "{} {of} {used} {party}", period.as_str());
                }
                current || Arc::strong_count(counter) > 1
            });
        }
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if *written == text {
            return;
        }
        match beside::replace(&self.file, &text) {
            Ok(()) => {
                *written = text;
                self.failing.store(false, Ordering::Relaxed);
            }
            Err(error) if !self.failing.swap(true, Ordering::Relaxed) => {
                tracing::error!(file = %self.file.display(), %error, "what was used of quotas cannot be kept: a restart forgives it");
            }
            Err(_) => {}
        }
    }
}

/// `day 20787 1234 system tax/etax`.
fn entry(line: &str) -> Option<(String, Period, u64)> {
    let mut words = line.splitn(4, ' ');
    let (period, of, used, party) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let period = Period::ALL.into_iter().find(|known| known.as_str() == period)?;
    let (of, used) = (of.parse::<u64>().ok()?, used.parse::<u64>().ok()?);
    (of < 1 << (64 - USED_BITS) && used <= USED).then(|| (party.to_owned(), period, of << USED_BITS | used))
}

const FILE: &str = "quotas";
const EPOCH: jiff::civil::Date = jiff::civil::date(1970, 1, 1);
const USED_BITS: u32 = 40;
const USED: u64 = (1 << USED_BITS) - 1;

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_quota_ends_with_its_day_and_is_whole_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let quotas = Quotas::open(folder.path());
        let quota = quotas.quota("system tax/etax", Period::Day, 2, None);
        let clock = Clock::system("Asia/Ho_Chi_Minh").unwrap();
        assert_eq!([quota.take(&clock).unwrap().left, quota.take(&clock).unwrap().left], [1, 0]);
        let wait = quota.take(&clock).unwrap_err();
        assert!(wait <= Duration::from_secs(86_400), "{wait:?}");
        quota.give_back();
        assert_eq!(quota.take(&clock).unwrap().left, 0, "what was given back can be taken again");
        let tomorrow = clock.clone().shifted(SignedDuration::from_hours(24));
        assert_eq!(quota.take(&tomorrow).unwrap().left, 1);
        let month = quotas.quota("agency tax", Period::Month, 1, None);
        assert!(month.take(&clock).is_ok() && month.take(&clock).is_err());
        assert!(month.take(&clock.shifted(SignedDuration::from_hours(24 * 32))).is_ok());
    }

    #[test]
    fn what_was_used_outlives_the_process_and_what_is_over_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::system("UTC").unwrap();
        let quotas = Quotas::open(folder.path());
        let quota = quotas.quota("system tax/etax", Period::Day, 5, None);
        (0..3).for_each(|_| assert!(quota.take(&clock).is_ok()));
        quotas.keep(&clock);
        drop((quota, quotas));
        let quotas = Quotas::open(folder.path());
        assert_eq!(quotas.quota("system tax/etax", Period::Day, 5, None).take(&clock).unwrap().left, 1);
        quotas.keep(&clock.shifted(SignedDuration::from_hours(48)));
        assert_eq!(std::fs::read_to_string(folder.path().join(FILE)).unwrap(), "");
    }

    #[test]
    fn a_file_that_is_damaged_is_read_as_far_as_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::system("UTC").unwrap();
        let today = Period::Day.current(clock.local().date());
        let text = format!("day {today} 4 system tax/etax\nday {today} x system tax/batch\nweek 1 2 three\n\nday 1");
        std::fs::write(folder.path().join(FILE), text).unwrap();
        let quotas = Quotas::open(folder.path());
        assert_eq!(quotas.quota("system tax/etax", Period::Day, 5, None).take(&clock).unwrap().left, 0);
        assert_eq!(quotas.quota("system tax/batch", Period::Day, 5, None).take(&clock).unwrap().left, 4);
    }
}
