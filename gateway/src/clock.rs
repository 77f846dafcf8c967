//! The only file that reads the clock. Everything else is told the time.

use std::time::{Duration, Instant, SystemTime};

use jiff::tz::TimeZone;
use nix::time::{ClockId, clock_gettime};

/// A point in time, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Monotonic, for intervals.
    pub now: Instant,
    /// For what registers date.
    pub wall: SystemTime,
}

/// Tells the time: the machine's, in the site's time zone.
#[derive(Clone, Debug)]
pub struct Clock {
    zone: TimeZone,
    /// What [`Clock::wall`] adds to the machine's time; not zero only in tests.
    offset: jiff::SignedDuration,
}

impl Clock {
    /// The machine's clock, read in a time zone of the IANA database, such as `Asia/Ho_Chi_Minh`.
    ///
    /// # Errors
    /// If there is no such time zone.
    pub fn system(zone: &str) -> Result<Self, jiff::Error> {
        Ok(Self { zone: TimeZone::get(zone)?, offset: jiff::SignedDuration::ZERO })
    }

    /// The same clock, set forward or back: what time-dependent rules do tomorrow can be seen today.
    #[must_use]
    pub fn shifted(mut self, by: jiff::SignedDuration) -> Self {
        self.offset = by;
        self
    }

    /// Monotonic time, for deadlines and intervals.
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// Processor time that this thread has used.
    pub fn cpu_of_thread(&self) -> Duration {
        cpu(ClockId::CLOCK_THREAD_CPUTIME_ID)
    }

    /// Processor time that this process has used.
    pub fn cpu_of_process(&self) -> Duration {
        cpu(ClockId::CLOCK_PROCESS_CPUTIME_ID)
    }

    /// Wall-clock time.
    pub fn wall(&self) -> jiff::Timestamp {
        let now = jiff::Timestamp::now();
        now.checked_add(self.offset).unwrap_or(now)
    }

    /// Wall-clock time as the TLS library wants it.
    pub fn unix(&self) -> rustls::pki_types::UnixTime {
        let seconds = u64::try_from(self.wall().as_second()).unwrap_or_default();
        rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    /// Now on both clocks, as the cache's freshness rules want it.
    pub fn moment(&self) -> Moment {
        Moment { now: self.now(), wall: SystemTime::from(self.wall()) }
    }

    /// When that day is over in the site's time zone.
    pub fn end_of(&self, day: jiff::civil::Date) -> Option<jiff::Timestamp> {
        Some(day.tomorrow().ok()?.to_zoned(self.zone.clone()).ok()?.timestamp())
    }

    /// Wall-clock time in the site's time zone.
    pub fn local(&self) -> jiff::civil::DateTime {
        self.local_at(self.wall())
    }

    /// How many seconds the site's time zone is ahead of UTC now.
    pub fn ahead_of_utc(&self) -> i64 {
        self.zone.to_offset(self.wall()).seconds().into()
    }

    /// Any time in the site's time zone.
    pub fn local_at(&self, at: jiff::Timestamp) -> jiff::civil::DateTime {
        at.to_zoned(self.zone.clone()).datetime()
    }
}

/// Linux knows these clocks always; where it did not, nobody would be held busy.
fn cpu(of: ClockId) -> Duration {
    clock_gettime(of).map(Duration::from).unwrap_or_default()
}

/// What rate limiters are told.
impl governor::clock::Clock for Clock {
    type Instant = Instant;

    fn now(&self) -> Instant {
        Clock::now(self)
    }
}
