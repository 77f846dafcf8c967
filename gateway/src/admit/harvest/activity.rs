//! What a party did over the last hour and the last day.

use super::sketch::Sketch;
use super::{Person, Unreadable};

/// Whom a party asked about, in slices that are forgotten whole: the hour is the quarter that runs and the four
/// before it, so 60 to 75 minutes; the day is the three hours that run and the eight times three before them, so 24
/// to 27 hours. Both are rather too long than too short: what was asked in any 60 minutes is in one hour.
///
/// Slices begin at multiples of their length since the Unix epoch. Memory: 22 sketches, so 46 kB at most, and a few
/// hundred bytes for a party that asks about few.
#[derive(Debug)]
pub(super) struct Activity {
    hour: Ring<Sketch, QUARTERS>,
    blocks: Ring<Sketch, QUARTERS>,
    asks: Ring<Asks, QUARTERS>,
    day: Ring<Sketch, EIGHTHS>,
}

/// Requests, and those of them that found nobody.
#[derive(Clone, Debug, Default)]
pub(super) struct Asks {
    pub(super) asked: u64,
    pub(super) missed: u64,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Different persons asked about in the last hour.
    pub hour: f64,
    /// Different blocks of numbers that they are from.
    pub blocks: f64,
    /// Different persons asked about in the last day.
    pub day: f64,
    /// Requests in the last hour.
    pub asked: u64,
    /// Of them, those that found nobody or whose guard did not match.
    pub missed: u64,
    /// How many persons an hour are usual at this time of day; `None` while too little was seen.
    pub usual: Option<f64>,
}

/// Slices of time that follow each other, and what is in any of them.
#[derive(Debug)]
struct Ring<T, const N: usize> {
    /// Seconds.
    length: u64,
    /// The slice that runs, counted from the epoch. Slice `i` is at `i % N`.
    at: u64,
    slices: [T; N],
    // INVARIANT: the union of `slices`.
    all: T,
}

/// What a slice counts.
trait Slice: Default {
    fn merge(&mut self, other: &Self);
    /// Nothing more comes.
    fn close(&mut self) {}
}

impl Activity {
    /// Nothing was asked before `now`, in seconds since the epoch.
    pub(super) fn new(now: u64) -> Self {
        let (hour, blocks) = (Ring::new(QUARTER, now), Ring::new(QUARTER, now));
        Self { hour, blocks, asks: Ring::new(QUARTER, now), day: Ring::new(EIGHTH, now) }
    }

    /// Counts a person.
    pub(super) fn person(&mut self, person: &Person) {
        self.hour.insert(person.hash);
        self.day.insert(person.hash);
        // One without a block of its own is a block of its own: it must not make others look denser.
        self.blocks.insert(person.block.unwrap_or(person.hash));
    }

    /// Counts a request.
    pub(super) fn ask(&mut self) {
        self.asks.each(|asks| asks.asked += 1);
    }

    /// Counts a request, counted already, as one that found nobody.
    pub(super) fn miss(&mut self) {
        self.asks.each(|asks| asks.missed += 1);
    }

    /// Whether `now` is in a later quarter of an hour than what was counted last.
    pub(super) fn is_behind(&self, now: u64) -> bool {
        now / QUARTER > self.hour.at
    }

    /// Forgets what is too old at `now`.
    pub(super) fn turn(&mut self, now: u64) {
        self.hour.turn(now);
        self.blocks.turn(now);
        self.asks.turn(now);
        self.day.turn(now);
    }

    /// Keeps all that was counted, as if it had been counted that much earlier: the clock was put back to `now`.
    pub(super) fn put_back(&mut self, now: u64) {
        self.hour.put_back(now);
        self.blocks.put_back(now);
        self.asks.put_back(now);
        self.day.put_back(now);
    }

    /// What is known, but for what is usual.
    pub(super) fn figures(&self) -> Figures {
        self.figures_of(&self.hour.all, &self.blocks.all, &self.asks.all, &self.day.all)
    }

    /// When slices are forgotten next, and what the figures are then if nothing is asked until then. All that is in the
    /// last item is zero.
    pub(super) fn decline(&self) -> impl Iterator<Item = (u64, Figures)> {
        let hours = (1..=QUARTERS).map(|turns| {
            let (hour, blocks, asks) = (self.hour.after(turns), self.blocks.after(turns), self.asks.after(turns));
            (self.hour.turns_at(turns), self.figures_of(&hour, &blocks, &asks, &self.day.all))
        });
        let nothing = (Sketch::default(), Asks::default());
        let days = (1..=EIGHTHS).map(move |turns| {
            let day = self.day.after(turns);
            (self.day.turns_at(turns), self.figures_of(&nothing.0, &nothing.0, &nothing.1, &day))
        });
        // Days beside hours: by then the hour is over or soon is.
        hours.chain(days)
    }

    /// Persons asked about since the clock hour began, on a clock that is so many seconds ahead.
    pub(super) fn since_the_hour(&self, offset: i64) -> f64 {
        let hour_of = |slice: u64| (slice * QUARTER).saturating_add_signed(offset) / HOUR;
        let hour = hour_of(self.hour.at);
        let mut union = Sketch::default();
        self.hour.known().filter(|(slice, _)| hour_of(*slice) == hour).for_each(|(_, it)| union.merge(it));
        union.estimate()
    }

    /// When what was counted last was.
    pub(super) fn at(&self) -> u64 {
        self.hour.at * QUARTER
    }

    /// Whether nothing is remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.day.all.is_empty() && self.asks.all.asked == 0
    }

    /// Bytes on the heap.
    pub(super) fn heap(&self) -> usize {
        self.hour.heap() + self.blocks.heap() + self.day.heap()
    }

    /// Appends the day to `out`.
    pub(super) fn write_day(&self, out: &mut Vec<u8>) {
        out.extend(self.day.at.to_le_bytes());
        self.day.slices.iter().for_each(|slice| slice.write(out));
    }

    /// Takes the day from `bytes`, all of them.
    ///
    /// # Errors
    /// [`Unreadable::Damaged`], or [`Unreadable::Future`] for a day after `now`.
    pub(super) fn read_day(&mut self, mut bytes: &[u8], now: u64) -> Result<(), Unreadable> {
        let (at, rest) = bytes.split_first_chunk().ok_or(Unreadable::Damaged)?;
        bytes = rest;
        let mut day = Ring::new(EIGHTH, 0);
        day.at = u64::from_le_bytes(*at);
        for slice in &mut day.slices {
            *slice = Sketch::read(&mut bytes)?;
        }
        if !bytes.is_empty() {
            return Err(Unreadable::Damaged);
        }
        if day.at > now / EIGHTH {
            return Err(Unreadable::Future);
        }
        day.unite();
        day.turn(now);
        self.day = day;
        Ok(())
    }

    fn figures_of(&self, hour: &Sketch, blocks: &Sketch, asks: &Asks, day: &Sketch) -> Figures {
        let (asked, missed) = (asks.asked, asks.missed);
        Figures { hour: hour.estimate(), blocks: blocks.estimate(), day: day.estimate(), asked, missed, usual: None }
    }
}

impl<T: Slice, const N: usize> Ring<T, N> {
    fn new(length: u64, now: u64) -> Self {
        Self { length, at: now / length, slices: std::array::from_fn(|_| T::default()), all: T::default() }
    }

    /// What runs, and what is in any slice.
    fn each(&mut self, mut count: impl FnMut(&mut T)) {
        let at = self.place(self.at);
        self.slices.get_mut(at).into_iter().for_each(&mut count);
        count(&mut self.all);
    }

    fn turn(&mut self, now: u64) {
        let to = now / self.length;
        if to <= self.at {
            return;
        }
        let place = self.place(self.at);
        self.slices.get_mut(place).into_iter().for_each(T::close);
        for slice in (self.at + 1..=to).take(N) {
            let place = self.place(slice);
            self.slices.get_mut(place).into_iter().for_each(|it| *it = T::default());
        }
        self.at = to;
        self.unite();
    }

    fn put_back(&mut self, now: u64) {
        let (from, to) = (self.place(self.at), self.place(now / self.length));
        self.slices.rotate_right((to + N - from) % N);
        self.at = now / self.length;
    }

    fn unite(&mut self) {
        let mut all = T::default();
        self.slices.iter().for_each(|slice| all.merge(slice));
        self.all = all;
    }

    /// What is left after so many turns.
    fn after(&self, turns: usize) -> T {
        let mut left = T::default();
        let stays = |slice: u64| slice + N as u64 > self.at + turns as u64;
        self.known().filter(|(slice, _)| stays(*slice)).for_each(|(_, it)| left.merge(it));
        left
    }

    /// When so many turns are over, in seconds since the epoch.
    fn turns_at(&self, turns: usize) -> u64 {
        (self.at + turns as u64) * self.length
    }

    /// The slices and which they are, the one that runs first.
    fn known(&self) -> impl Iterator<Item = (u64, &T)> {
        (0..N as u64).filter_map(|back| {
            let slice = self.at.checked_sub(back)?;
            Some((slice, self.slices.get(self.place(slice))?))
        })
    }

    fn place(&self, slice: u64) -> usize {
        (slice % N as u64) as usize
    }
}

impl<const N: usize> Ring<Sketch, N> {
    fn insert(&mut self, hash: u64) {
        let at = self.place(self.at);
        // What the slice had, the union has.
        if self.slices.get_mut(at).is_some_and(|slice| slice.insert(hash)) {
            self.all.insert(hash);
        }
    }

    fn heap(&self) -> usize {
        self.slices.iter().map(Sketch::heap).sum::<usize>() + self.all.heap()
    }
}

impl Slice for Sketch {
    fn merge(&mut self, other: &Self) {
        Sketch::merge(self, other);
    }

    fn close(&mut self) {
        self.shrink();
    }
}

impl Slice for Asks {
    fn merge(&mut self, other: &Self) {
        self.asked += other.asked;
        self.missed += other.missed;
    }
}

/// Seconds.
pub(super) const QUARTER: u64 = 900;
pub(super) const HOUR: u64 = 4 * QUARTER;
const EIGHTH: u64 = 3 * HOUR;
/// With the one that runs.
const QUARTERS: usize = 5;
const EIGHTHS: usize = 9;

#[cfg(test)]
mod tests {
    use super::super::tests::{Chance, person};
    use super::*;

    #[test]
    fn an_hour_is_sixty_to_seventy_five_minutes_and_a_day_up_to_twenty_seven_hours() {
        let start = 1_000 * 24 * HOUR;
        for minute in 0..15 {
            let at = start + minute * 60;
            let mut activity = Activity::new(at);
            activity.person(&person(1));
            activity.ask();
            activity.miss();
            let seen = |activity: &mut Activity, now: u64| {
                activity.turn(now);
                let figures = activity.figures();
                (figures.hour, figures.blocks, figures.day, figures.asked, figures.missed)
            };
            assert_eq!(seen(&mut activity, at + HOUR), (1.0, 1.0, 1.0, 1, 1), "after 60 minutes it is there");
            assert_eq!(seen(&mut activity, at + HOUR + QUARTER), (0.0, 0.0, 1.0, 0, 0), "after 75 it is not");
            assert_eq!(seen(&mut activity, at + 24 * HOUR).2, 1.0);
            assert_eq!(seen(&mut activity, at + 27 * HOUR).2, 0.0);
            assert!(activity.is_empty());
        }
    }

    /// Against a list of everything that was ever asked.
    #[test]
    fn turns_forget_what_is_old_and_nothing_else() {
        for seed in 0..10 {
            let mut chance = Chance::new(seed);
            let mut now = 50_000_000 + chance.below(100_000);
            let mut activity = Activity::new(now);
            let mut asked: Vec<(u64, u64)> = Vec::new();
            for _ in 0..300 {
                let most = [10, 600, 4000, 20_000][chance.below(4) as usize];
                now += chance.below(most);
                activity.turn(now);
                let who = chance.below(80);
                activity.person(&person(who * 1000));
                asked.push((now, who));
                let since = |length: u64, slices: u64| {
                    let first = (now / length).saturating_sub(slices - 1) * length;
                    let mut who: Vec<u64> = asked.iter().filter(|it| it.0 >= first).map(|it| it.1).collect();
                    who.sort_unstable();
                    who.dedup();
                    who.len() as f64
                };
                let figures = activity.figures();
                assert_eq!((figures.hour, figures.day), (since(QUARTER, 5), since(EIGHTH, 9)));
                assert_eq!(figures.blocks, figures.hour);
            }
        }
    }

    #[test]
    fn what_will_be_is_what_comes() {
        let mut chance = Chance::new(3);
        let mut now = 70_000_000;
        let mut activity = Activity::new(now);
        for _ in 0..500 {
            now += chance.below(20);
            activity.turn(now);
            activity.person(&person(chance.below(1 << 20)));
        }
        let hours: Vec<(u64, Figures)> = activity.decline().take(QUARTERS).collect();
        for (at, figures) in hours {
            activity.turn(at - 1);
            let before = activity.figures();
            activity.turn(at);
            assert_eq!(activity.figures(), figures);
            assert!(before.hour >= figures.hour);
        }
        assert_eq!(activity.decline().last().map(|it| it.1.day), Some(0.0));
    }

    #[test]
    fn a_clock_that_is_put_back_forgets_nothing() {
        let mut activity = Activity::new(90_000_000);
        for quarter in 0..4 {
            activity.turn(90_000_000 + quarter * QUARTER);
            activity.person(&person(quarter * 1000));
        }
        let now = 80_000_123;
        activity.put_back(now);
        assert_eq!(activity.figures().hour, 4.0);
        activity.turn(now + 2 * QUARTER);
        assert_eq!(activity.figures().hour, 3.0, "the oldest goes first");
        activity.turn(now + 5 * QUARTER);
        assert_eq!((activity.figures().hour, activity.figures().day), (0.0, 4.0));
    }

    #[test]
    fn a_clock_hour_is_what_was_asked_since_it_began() {
        let midnight = 1_000 * 24 * HOUR;
        let mut activity = Activity::new(midnight);
        for quarter in 0..6 {
            activity.turn(midnight + quarter * QUARTER);
            activity.person(&person(quarter * 1000));
        }
        assert_eq!(activity.since_the_hour(0), 2.0);
        assert_eq!(activity.since_the_hour(1800), 4.0, "half an hour ahead");
        assert_eq!(activity.since_the_hour(-900), 1.0);
    }
}
