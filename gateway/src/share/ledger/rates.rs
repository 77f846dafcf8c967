//! The account of one rate limit on one node.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Again, Ask, More};
use crate::share::cell::SharedRate;
use crate::share::script::{Call, RateArgs};
use crate::share::terms::{Own, as_count, as_tokens};

/// What a node owes, what it was given, and its own share while it is alone.
#[derive(Debug)]
pub(super) struct Account {
    cell: Arc<SharedRate>,
    /// At this much spent, this much was owed. Owed grows with what is spent, except while the node is alone: what its
    /// own share let in owes nobody.
    base: (u64, u64),
    /// The most that was ever said to be owed, and the most that was answered.
    said: u64,
    acknowledged: u64,
    /// The shared bucket, as last heard.
    level: f64,
    heard: Option<u64>,
    /// What may be spent by the last answer.
    granted: u64,
    own: Option<Own>,
    /// Until then the own share limits as well. None: it alone does.
    until: Option<u64>,
}

impl Account {
    /// `alone`: the own share limits, for ever or until then.
    pub(super) fn new(cell: Arc<SharedRate>, alone: bool, until: Option<u64>, now: u64) -> Self {
        let granted = cell.ceiling.load(Ordering::Relaxed);
        let own = alone.then(|| Own::new(as_tokens(granted), true, 0, now));
        Self { cell, base: (0, 0), said: 0, acknowledged: 0, level: 0.0, heard: None, granted, own, until }
    }

    pub(super) fn ask(&mut self, slots: u32, live: u32, now: u64) -> Ask {
        self.cell.unmark();
        let spent = self.cell.spent.load(Ordering::Acquire);
        let rate = self.cell.rate;
        let alone = if self.until.is_none() { self.own.as_mut() } else { None };
        let (due, unknown, most) = match alone {
            Some(own) => {
                own.turn(&rate, slots, spent, now);
                // The others will be charged what they lack of a full share likewise: together that is what the shared
                // bucket lacks.
                let lack = as_count(own.lack(&rate, slots).ceil());
                self.base = (spent, self.said + lack);
                (self.base.1, lack, lack)
            }
            None => {
                let due = self.base.1 + spent.saturating_sub(self.base.0);
                (due, due.saturating_sub(self.acknowledged), u64::from(u32::MAX))
            }
        };
        self.said = self.said.max(due);
        let capacity = rate.capacity(slots);
        let level = self
            .heard
            .map_or(capacity, |heard| (self.level + as_tokens(now.saturating_sub(heard)) * rate.speed()).min(capacity));
        let args = RateArgs {
            key: format!("{}/{}/{}/{}", self.cell.key, rate.count, rate.per.as_millis(), rate.burst),
            run: self.cell.run,
            due,
            unknown,
            most,
            level,
            speed: rate.speed(),
            capacity,
            credit: rate.credit(slots),
            nodes: live,
        };
        Ask { id: self.cell.id, period: 0, spent, call: Call::Rate(args) }
    }

    #[expect(clippy::too_many_arguments, reason = "one caller; each is a plain number")]
    pub(super) fn answered(
        &mut self,
        ask: &Ask,
        grant: u64,
        level: f64,
        slots: u32,
        round: u64,
        lift: u64,
        now: u64,
    ) -> Again {
        let Call::Rate(args) = &ask.call else { return Again { not_before: now, at: None } };
        let rate = self.cell.rate;
        self.acknowledged = self.acknowledged.max(args.due);
        self.level = level;
        self.heard = Some(now);
        self.granted = ask.spent + grant;
        if self.own.is_some() && self.until.is_none() {
            self.until = Some(lift);
        }
        let spent = self.cell.spent.load(Ordering::Acquire);
        let mut ceiling = self.granted;
        if let Some(own) = &mut self.own {
            ceiling = ceiling.min(spent + as_count(own.turn(&rate, slots, spent, now)));
        }
        let credit = rate.credit(slots);
        let soon = |tokens: f64| now + as_count((tokens / rate.speed()).min(LONGEST)).max(round);
        // Where the bucket would overflow before the next round, it is not waited for.
        let pressing = grant > 0 && level + 2.0 * as_tokens(round) * rate.speed() > args.capacity / 2.0;
        // From there on it is not at ease.
        let low = if grant == 0 { u64::MAX } else { self.granted.saturating_sub(as_count(credit) / 2) };
        let not_before = if grant == 0 { now + as_count(((1.0 - level) / rate.speed()).min(LONGEST)) } else { now };
        self.cell.ready.store(if grant == 0 { soon(1.0 - level) } else { now + round }, Ordering::Relaxed);
        self.cell.level.store(as_count(level), Ordering::Relaxed);
        self.cell.credit.store(as_count(credit), Ordering::Relaxed);
        self.cell.ceiling.store(ceiling, Ordering::Release);
        self.cell.pressing.store(pressing, Ordering::Relaxed);
        self.cell.low.store(low, Ordering::Relaxed);
        let full = grant >= as_count(credit) && spent == ask.spent;
        Again { not_before, at: (!full).then(|| soon(args.capacity - level)) }
    }

    /// Whether the node is alone with it, and whether to look further.
    pub(super) fn tick(&mut self, unanswered: bool, slots: u32, round: u64, now: u64) -> (bool, More) {
        let cell = &self.cell;
        let rate = cell.rate;
        let spent = cell.spent.load(Ordering::Acquire);
        if unanswered && (self.own.is_none() || self.until.is_some()) {
            let in_hand = cell.ceiling.load(Ordering::Relaxed).saturating_sub(spent);
            let whole = in_hand >= as_count(rate.credit(slots));
            let own = self.own.take().unwrap_or_else(|| Own::new(as_tokens(in_hand), whole, spent, now));
            (self.own, self.until) = (Some(own), None);
        }
        if self.until.is_some_and(|until| now >= until) {
            (self.own, self.until) = (None, None);
            cell.ceiling.store(self.granted, Ordering::Release);
            return (false, More::Ask);
        }
        let Some(own) = &mut self.own else { return (false, More::No) };
        let level = own.turn(&rate, slots, spent, now);
        let own_ceiling = spent + as_count(level);
        let alone = self.until.is_none();
        if alone {
            let wait = (1.0 - level).max(0.0) * f64::from(slots) / rate.speed();
            cell.ready.store(now + as_count(wait.min(LONGEST)).max(round), Ordering::Relaxed);
            cell.level.store(0, Ordering::Relaxed);
            cell.low.store(u64::MAX, Ordering::Relaxed);
            cell.ceiling.store(own_ceiling, Ordering::Release);
        } else {
            cell.ceiling.store(own_ceiling.min(self.granted), Ordering::Release);
        }
        (alone, More::Yes)
    }

    /// Half of what it was given is in hand still: others may be settled first.
    pub(super) fn at_ease(&self) -> bool {
        let spent = self.cell.spent.load(Ordering::Acquire);
        let in_hand = self.granted.saturating_sub(spent);
        self.own.is_none() && 2 * in_hand > self.cell.credit.load(Ordering::Relaxed) && in_hand > 1
    }

    /// Nobody holds it, and it is as if it had never been.
    pub(super) fn idle(&mut self, slots: u32) -> bool {
        let spent = self.cell.spent.load(Ordering::Acquire);
        let whole = self.granted.saturating_sub(spent) >= as_count(self.cell.rate.credit(slots));
        Arc::strong_count(&self.cell) == 1 && self.own.is_none() && whole
    }
}

/// A debt that takes longer is asked about in between, in microseconds.
const LONGEST: f64 = 1_000_000.0;
