//! The book of one quota on one node.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Again, Ask, More};
use crate::share::cell::SharedQuota;
use crate::share::script::{Call, QuotaArgs};
use crate::share::terms::{HELD, lease};

#[derive(Debug)]
pub(super) struct Book {
    cell: Arc<SharedQuota>,
    alone: bool,
    /// Until then the own share limits as well.
    until: Option<u64>,
}

impl Book {
    pub(super) fn new(cell: Arc<SharedQuota>) -> Self {
        Self { cell, alone: false, until: None }
    }

    /// Adds a call for each period that something happened in, and for the newest one.
    pub(super) fn asks(&mut self, slots: u32, live: u32, asks: &mut Vec<Ask>) {
        self.cell.unmark();
        let quota = self.cell.quota.load(Ordering::Relaxed);
        let mut periods = self.cell.periods();
        let newest = periods.iter().map(|it| it.id).max();
        for it in periods.iter_mut().filter(|it| it.dirty || Some(it.id) == newest) {
            // Nothing was asked for since the last answer: all but a few goes back.
            let idle = !it.dirty && it.since == it.seen;
            let credit = if idle { lease(quota, slots).min(HELD) } else { lease(quota, slots) };
            it.ceiling = it.ceiling.min(it.since.saturating_add(credit));
            it.dirty = false;
            it.call += 1;
            let args = QuotaArgs {
                key: format!("{}/{}", self.cell.key, it.id),
                run: it.run,
                call: it.call,
                base: it.base,
                since: it.since,
                left: it.ceiling.saturating_sub(it.since),
                credit,
                quota,
                nodes: live,
                known: it.total,
                kept: KEPT,
            };
            asks.push(Ask { id: self.cell.id, period: it.id, spent: it.since, call: Call::Quota(args) });
        }
    }

    /// When to ask again. None: another process goes under this node's name.
    #[expect(clippy::too_many_arguments, reason = "one caller; each is a plain number")]
    pub(super) fn answered(
        &mut self,
        ask: &Ask,
        current: bool,
        base: u64,
        total: u64,
        left: u64,
        run: u64,
        lift: u64,
        now: u64,
    ) -> Option<Again> {
        let mut periods = self.cell.periods();
        let Some(it) = periods.iter_mut().find(|it| it.id == ask.period) else {
            return Some(Again { not_before: now, at: None });
        };
        if !current {
            it.dirty = true;
            if run > it.run {
                // A clock that was set back gave this process too low a number.
                let joined = it.base.is_some();
                it.run = run + 1;
                self.cell.skip_runs(run + 2);
                return (!joined).then_some(Again { not_before: now, at: Some(now + IDLE / 100) });
            }
            return Some(Again { not_before: now, at: Some(now + IDLE / 100) });
        }
        let idle = it.since == it.seen && !it.dirty;
        it.base = Some(base);
        it.total = it.total.max(total);
        it.seen = ask.spent;
        it.ceiling = it.ceiling.max(ask.spent.saturating_add(left)).min(it.share);
        it.age = 0;
        // Where others hold the rest, asking at once is in vain.
        let in_vain = left == 0;
        it.low = in_vain;
        if std::mem::take(&mut self.alone) {
            self.until = Some(lift);
        }
        // Not all at the same time.
        let at = if idle && left <= 1 { REFRESH - self.cell.id % 64 * (REFRESH / 128) } else { IDLE };
        let not_before = if in_vain { now + IDLE / 40 } else { now };
        Some(Again { not_before, at: Some(now + at) })
    }

    /// More than half of a lease is in hand still: others may be settled first.
    pub(super) fn at_ease(&self) -> bool {
        !self.alone && self.until.is_none() && self.cell.periods().iter().all(|it| it.base.is_some() && !it.low)
    }

    pub(super) fn failed(&mut self, period: u64) {
        if let Some(it) = self.cell.periods().iter_mut().find(|it| it.id == period) {
            it.dirty = true;
        }
    }

    /// Whether the node is alone with it, and whether to look further.
    pub(super) fn tick(&mut self, unanswered: bool, slots: u32, now: u64) -> (bool, More) {
        if self.cell.periods().is_empty() {
            return (false, More::No);
        }
        if unanswered {
            (self.alone, self.until) = (true, None);
        }
        if self.until.is_some_and(|until| now >= until) {
            self.until = None;
            self.cell.periods().iter_mut().for_each(|it| it.share = u64::MAX);
            return (false, More::Ask);
        }
        if !self.alone && self.until.is_none() {
            return (false, More::No);
        }
        let quota = self.cell.quota.load(Ordering::Relaxed);
        for it in self.cell.periods().iter_mut() {
            if it.share == u64::MAX {
                let share = quota.saturating_sub(it.total) / u64::from(slots);
                it.share = it.ceiling.max(it.seen.saturating_add(share));
            }
            if self.alone {
                it.ceiling = it.share;
            }
        }
        (self.alone, More::Yes)
    }

    /// Nobody holds it, and nothing is owed. Periods that are long over are forgotten.
    pub(super) fn idle(&mut self) -> bool {
        let mut periods = self.cell.periods();
        let newest = periods.iter().map(|it| it.id).max();
        periods.retain_mut(|it| {
            it.age += 1;
            Some(it.id) == newest || it.dirty || it.since != it.seen || it.age < SWEEPS
        });
        let settled = periods.iter().all(|it| !it.dirty && it.since == it.seen);
        settled && Arc::strong_count(&self.cell) == 1
    }
}

/// After this long without a request, what was leased goes back, in microseconds.
const IDLE: u64 = 2_000_000;
/// How often the count of all nodes is heard of while nobody asks.
const REFRESH: u64 = 15_000_000;
/// A period is remembered for so many sweeps after its last answer.
const SWEEPS: u32 = 24;
/// Redis keeps a period for so long after its last settlement, in milliseconds: three days after the last month.
const KEPT: u64 = 34 * 86_400_000;
