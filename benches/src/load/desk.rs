//! Where the requests of one agent wait for its connections, and where their ends are counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::tally::{End, Figures, Window};
use super::{Agent, Plan};
use crate::Failure;

/// One agent's requests. One thread uses it; the locks are never waited for.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) agent: Agent,
    inner: Mutex<Inner>,
    wake: Notify,
    over: AtomicBool,
}

#[derive(Debug)]
struct Inner {
    waiting: VecDeque<Job>,
    figures: Figures,
    /// From the begin on.
    times: Option<Times>,
    /// Handed out, not ended.
    open: usize,
    next: u64,
    /// Why the last connection could not be made.
    trouble: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    window: Window,
    last: Instant,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    /// When it was due.
    pub(super) due: Instant,
    /// Its number within the agent.
    pub(super) number: u64,
}

impl Desk {
    pub(super) fn new(agent: Agent, plan: &Plan) -> Result<Self, Failure> {
        let slices = plan.measure.as_nanos().div_ceil(plan.slice.as_nanos().max(1));
        let inner = Inner {
            waiting: VecDeque::new(),
            figures: Figures::new(usize::try_from(slices)?)?,
            times: None,
            open: 0,
            next: 0,
            trouble: None,
        };
        Ok(Self { agent, inner: Mutex::new(inner), wake: Notify::new(), over: AtomicBool::new(false) })
    }

    /// From now on closed loops run, and what was due in `measure` counts.
    pub(super) fn begin(&self, begin: Instant, plan: &Plan) {
        let from = begin + plan.warm_up;
        let window = Window { from, to: from + plan.measure, slice: plan.slice };
        self.inner().times = Some(Times { window, last: begin + plan.whole() });
        self.wake.notify_waiters();
    }

    /// A request is due.
    pub(super) fn push(&self, due: Instant) {
        let mut inner = self.inner();
        let job = Job { due, number: inner.next };
        inner.next += 1;
        if inner.waiting.len() >= self.agent.queue {
            inner.count(job, due, End::Dropped);
            return;
        }
        inner.waiting.push_back(job);
        drop(inner);
        self.wake.notify_one();
    }

    /// Waits for the next request that is due and whose patience has not ended; `None` when all is over.
    pub(super) async fn next(&self) -> Option<Job> {
        loop {
            // Before the look, so that no word is missed between the two.
            let woken = self.wake.notified();
            if self.is_over() {
                return None;
            }
            if let Some(job) = self.take(Instant::now()) {
                return Some(job);
            }
            woken.await;
        }
    }

    /// It was not sent after all.
    pub(super) fn put_back(&self, job: Job) {
        let mut inner = self.inner();
        inner.open = inner.open.saturating_sub(1);
        inner.waiting.push_front(job);
        drop(inner);
        self.wake.notify_one();
    }

    /// A request that was handed out has ended. An answer that comes with the end of patience, because timers are late
    /// under load, is none.
    pub(super) fn ended(&self, job: Job, end: End) {
        let now = Instant::now();
        let end = if now > job.due + self.agent.timeout { End::TimedOut } else { end };
        let mut inner = self.inner();
        inner.open = inner.open.saturating_sub(1);
        inner.count(job, now, end);
    }

    /// Nothing waits and nothing is in flight.
    pub(super) fn is_idle(&self) -> bool {
        let inner = self.inner();
        inner.waiting.is_empty() && inner.open == 0
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// A connection could not be made.
    pub(super) fn trouble(&self, why: String) {
        self.inner().trouble = Some(why);
    }

    /// Why the last connection that failed could not be made.
    pub(super) fn last_trouble(&self) -> String {
        self.inner().trouble.clone().unwrap_or_else(|| "no answer".to_owned())
    }

    /// Ends it. What still waits has waited in vain.
    pub(super) fn finish(&self) -> Figures {
        self.over.store(true, Ordering::Relaxed);
        self.wake.notify_waiters();
        let mut inner = self.inner();
        while let Some(job) = inner.waiting.pop_front() {
            inner.count(job, Instant::now(), End::TimedOut);
        }
        inner.figures.clone()
    }

    fn take(&self, now: Instant) -> Option<Job> {
        let mut inner = self.inner();
        while let Some(job) = inner.waiting.pop_front() {
            if now < job.due + self.agent.timeout {
                inner.open += 1;
                return Some(job);
            }
            inner.count(job, now, End::TimedOut);
        }
        if self.agent.arrivals.is_closed() && inner.times.is_some_and(|times| now < times.last) {
            let job = Job { due: now, number: inner.next };
            inner.next += 1;
            inner.open += 1;
            return Some(job);
        }
        None
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn count(&mut self, job: Job, now: Instant, end: End) {
        if let Some(times) = self.times {
            self.figures.count(job.due, now, end, &times.window);
        }
    }
}
