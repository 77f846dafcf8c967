//! Harvest: whether a party uses the register or copies it.
//!
//! A harvester asks about many persons, about persons whose numbers follow each other, about numbers that nobody has,
//! or about more than it ever did. Each of these is a rule. A [`Party`] is what is remembered of one that is watched,
//! a system or an agency; whoever spreads a copy over the systems of an agency is seen at the agency.
//!
//! **Numbers that follow each other** are seen without regard to order: persons asked about in an hour are counted,
//! and so are the blocks of 100 numbers that they are from. Honest use meets a block rarely twice, so that there are
//! 1.0 to 1.3 persons a block, and more only where very many of a small place are asked about in an hour; a scan
//! tends to 100 and a scan with a step of `s` to `100 / s`, forwards, backwards or shuffled. What evades it, plainly:
//! a step of more than `100 / Density::persons`; a scan shuffled over so many blocks that an hour's persons meet each
//! of them only once or twice (100,000 numbers, at 1,000 persons an hour); one mixed with so many persons from
//! elsewhere that the mean stays low; a list of numbers from somewhere else; and numbers that do not follow each
//! other in the register. Then only the number of persons and the change are left, and a harvester that stays below
//! them all is slow: that is what they are for.
//!
//! What else evades: a party that asks for less than every threshold for ever; one whose agency is not watched, over
//! many systems; and one that copied from its first day, as far as [`Change`] goes. And a stop ends when what led to
//! it is forgotten: a scan that is stopped at 100 persons gets as many every 75 minutes, 2,000 a day. It makes a copy
//! slow, and it tells somebody, who may suspend the party.

mod activity;
mod judge;
mod profile;
mod sketch;

use std::fmt;

use self::activity::{Activity, HOUR};
use self::judge::Trips;

pub use self::activity::Figures;
pub use self::judge::{Action, Change, Density, Misses, Most, Rule, Rules, Trip, Verdict};
pub use self::profile::{Profile, Usual};
pub use self::sketch::Sketch;

/// What is remembered of one party. Times are seconds since the Unix epoch; one that goes back by a few minutes is
/// taken for the last one, one that goes back further for a clock that was put right, and nothing is forgotten.
///
/// The figures are judged with the first request of a second and with every 64th. So a threshold is passed by 63
/// requests at most, and by the error of the count; and by what the caller already let through. What is asked while a
/// party is stopped is not counted, as nothing is answered: a client that keeps trying does not stay stopped for
/// that.
#[derive(Debug)]
pub struct Party {
    activity: Activity,
    profile: Profile,
    trips: Trips,
    now: u64,
    /// When the figures were judged last, after something was counted.
    judged: u64,
    /// When it was last looked whether trips are over, before something was.
    looked: u64,
    /// How much was counted since.
    pending: u32,
    /// The hour that runs is not one to learn from.
    spoiled: bool,
}

/// Somebody who is asked about, as hashes.
#[derive(Clone, Copy)]
pub struct Person {
    hash: u64,
    block: Option<u64>,
}

/// What of a party outlasts a restart: what is usual for it, and its day. The last hour and the trips do not.
#[derive(Clone, Debug)]
pub struct Saved {
    /// What is usual for it.
    pub profile: Profile,
    /// Whom it asked about, as keyed hashes. Who has the key can try who it was: it MUST NOT be kept beside the key.
    pub day: Vec<u8>,
}

/// Why a saved day is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Not what was written.
    Damaged,
    /// Written by another version.
    Version,
    /// Written under another key: the same persons would count twice.
    Key,
    /// Written later than now.
    Future,
}

impl Person {
    /// A person by the number as the register writes it. `hash` MUST be keyed, by one key for all parties, that lasts
    /// as long as a saved day is to be used; two writings of one number are two persons.
    pub fn new(number: &str, hash: impl Fn(&[u8]) -> u64) -> Self {
        let bytes = number.as_bytes();
        let (block, _) = bytes.split_at_checked(bytes.len().saturating_sub(BLOCK_DIGITS)).unwrap_or_default();
        let is_number = !block.is_empty() && bytes.iter().all(u8::is_ascii_digit);
        Self { hash: hash(bytes), block: is_number.then(|| hash(block)) }
    }
}

impl Party {
    /// A party that never asked before `now`.
    pub fn new(now: u64) -> Self {
        let activity = Activity::new(now);
        let profile = Profile::default();
        // An hour that is watched from somewhere in it is not a whole one.
        Self { activity, profile, trips: Trips::default(), now, judged: 0, looked: 0, pending: 0, spoiled: true }
    }

    /// It asks about a person, before anything is answered. If that is to be stopped, the caller MUST NOT answer.
    pub fn asked(&mut self, rules: &Rules, person: &Person, now: u64) -> Verdict {
        self.request(rules, Some(person), now)
    }

    /// It asks without a number, before anything is answered: a search.
    pub fn searched(&mut self, rules: &Rules, now: u64) -> Verdict {
        self.request(rules, None, now)
    }

    /// It is told about a person whom it did not ask about by number: one found by a search, or one of a household.
    pub fn told(&mut self, rules: &Rules, person: &Person, now: u64) -> Verdict {
        let newly = self.turn(rules, now);
        self.activity.person(person);
        self.counted(rules, newly)
    }

    /// What it asked, counted by [`Party::asked`] or [`Party::searched`], found nobody, or its guard did not match.
    pub fn missed(&mut self, rules: &Rules, now: u64) -> Verdict {
        let newly = self.turn(rules, now);
        self.activity.miss();
        self.counted(rules, newly)
    }

    /// Time passes: learns, forgets and ends trips. For parties that ask nothing, now and then.
    pub fn tend(&mut self, rules: &Rules, now: u64) -> Verdict {
        let mut newly = self.turn(rules, now);
        if self.pending > 0 && self.looked < self.now {
            newly.extend(self.judge(rules));
        }
        self.verdict(newly)
    }

    /// An operator ends its trips. What led to them is forgotten too, so that it does not trip again at once; what is
    /// usual for it stays, and the hour is not learned.
    pub fn pardon(&mut self, now: u64) {
        self.now = now.max(self.now);
        self.activity = Activity::new(self.now);
        self.trips = Trips::default();
        (self.judged, self.looked, self.pending, self.spoiled) = (0, 0, 0, true);
    }

    /// Forgets what is usual for it, for one that has a new task: it is learned anew, and [`Change`] is off until then.
    pub fn unlearn(&mut self) {
        self.profile = Profile::default();
    }

    /// The rules that are tripped or near.
    pub fn tripped(&self) -> impl Iterator<Item = Rule> {
        self.trips.rules()
    }

    /// What was measured at the time of the last request.
    pub fn figures(&self, rules: &Rules) -> Figures {
        let usual = self.profile.usual(hour_of_day(self.now, rules));
        Figures { usual, ..self.activity.figures() }
    }

    /// Whether nothing is remembered but the profile, which may be saved: then the party may be dropped.
    pub fn is_idle(&self) -> bool {
        self.activity.is_empty() && self.trips.is_empty()
    }

    /// The bytes that it takes: 48,000 at most.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.activity.heap()
    }

    /// What of it outlasts a restart. `key` says which key its persons are hashed with, without saying the key: what
    /// it makes of some fixed text.
    pub fn save(&self, key: u64) -> Saved {
        let mut day = vec![VERSION];
        day.extend(key.to_le_bytes());
        self.activity.write_day(&mut day);
        day.extend(checksum(&day).to_le_bytes());
        Saved { profile: self.profile.clone(), day }
    }

    /// A party as it was saved, without its trips and its last hour. If its day cannot be read it comes without one,
    /// and with the reason.
    pub fn restore(saved: Saved, key: u64, now: u64) -> (Self, Result<(), Unreadable>) {
        let mut party = Self { profile: saved.profile.checked(), ..Self::new(now) };
        let read = opened(&saved.day, key).and_then(|day| party.activity.read_day(day, now));
        (party, read)
    }

    fn request(&mut self, rules: &Rules, person: Option<&Person>, now: u64) -> Verdict {
        let newly = self.turn(rules, now);
        if self.trips.strongest().0 == Some(Action::Stop) {
            return self.verdict(newly);
        }
        self.activity.ask();
        person.into_iter().for_each(|person| self.activity.person(person));
        self.counted(rules, newly)
    }

    /// Comes to `now`.
    fn turn(&mut self, rules: &Rules, now: u64) -> Vec<Trip> {
        if now > self.now {
            self.now = now;
        } else if now.saturating_add(STEP) < self.now {
            self.activity.put_back(now);
            self.trips.put_back(self.now - now);
            (self.now, self.judged, self.looked, self.spoiled) = (now, 0, 0, true);
        }
        if self.activity.is_behind(self.now) {
            self.learn(rules);
            self.activity.turn(self.now);
        }
        // A trip that is over is over before the next request, not after it.
        let looks = self.looked < self.now && !self.trips.is_empty();
        if looks { self.judge(rules) } else { Vec::new() }
    }

    /// Learns the hour that runs if it is over.
    fn learn(&mut self, rules: &Rules) {
        let last = local_hour(self.activity.at(), rules);
        if local_hour(self.now, rules) == last {
            return;
        }
        if !self.spoiled {
            let persons = self.activity.since_the_hour(rules.ahead_of_utc);
            self.profile.learn((last % 24) as usize, persons);
        }
        self.spoiled = self.trips.is_tripped();
    }

    fn counted(&mut self, rules: &Rules, mut newly: Vec<Trip>) -> Verdict {
        self.pending += 1;
        if self.pending >= EVERY || self.judged < self.now {
            self.judged = self.now;
            newly.extend(self.judge(rules));
        }
        self.verdict(newly)
    }

    fn judge(&mut self, rules: &Rules) -> Vec<Trip> {
        (self.looked, self.pending) = (self.now, 0);
        let figures = self.figures(rules);
        let newly = self.trips.judge(rules, &figures, || self.activity.decline(), self.now);
        self.spoiled |= self.trips.is_tripped();
        newly
    }

    fn verdict(&self, newly: Vec<Trip>) -> Verdict {
        let (action, again) = self.trips.strongest();
        Verdict { action, again, newly }
    }
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Person(..)")
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damaged => "the saved day is damaged",
            Self::Version => "the saved day is of another version",
            Self::Key => "the saved day is under another key",
            Self::Future => "the saved day is later than now",
        })
    }
}

impl std::error::Error for Unreadable {}

/// Takes version, key and checksum off.
fn opened(bytes: &[u8], key: u64) -> Result<&[u8], Unreadable> {
    let (version, _) = bytes.split_first().ok_or(Unreadable::Damaged)?;
    if *version != VERSION {
        return Err(Unreadable::Version);
    }
    let (bytes, sum) = bytes.split_last_chunk().ok_or(Unreadable::Damaged)?;
    if u64::from_le_bytes(*sum) != checksum(bytes) {
        return Err(Unreadable::Damaged);
    }
    let (head, day) = bytes.get(1..).and_then(<[u8]>::split_first_chunk).ok_or(Unreadable::Damaged)?;
    if u64::from_le_bytes(*head) != key {
        return Err(Unreadable::Key);
    }
    Ok(day)
}

/// FNV-1a: against accidents, not against anybody.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Hours since the epoch by the clock on the wall.
fn local_hour(now: u64, rules: &Rules) -> u64 {
    now.saturating_add_signed(rules.ahead_of_utc) / HOUR
}

fn hour_of_day(now: u64, rules: &Rules) -> usize {
    (local_hour(now, rules) % 24) as usize
}

/// Figures are judged with every so many observations at least.
const EVERY: u32 = 64;
/// A block is all numbers that differ only in so many last digits.
const BLOCK_DIGITS: usize = 2;
/// A clock that goes back by more seconds was put right.
const STEP: u64 = 600;
const VERSION: u8 = 1;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
