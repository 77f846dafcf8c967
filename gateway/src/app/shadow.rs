//! Shadow: a candidate bundle beside the live one, on live traffic.
//!
//! A request leaves a note on its way and goes on; a thread holds the notes against the candidate afterwards. Nothing that happens here
//! reaches an answer: where too many notes wait they are dropped, and what fails is counted.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use popgate_policy::bundle::Bundle;
use popgate_policy::model::DisclosureId;
use popgate_policy::problem::{Problem, Severity};
use popgate_policy::shadow::Note;

use crate::admin::{ProblemStatus, ShadowStatus};
use crate::app::bundle_files;
use crate::app::config;
use crate::app::node::Live;
use crate::app::watch::Targets;
use crate::clock::Clock;
use crate::metrics::{Metrics, ShadowMetrics};

mod sample;
mod worker;

use worker::Worker;

/// `[shadow]`, running or not.
#[derive(Debug)]
pub struct Shadow {
    config: config::Shadow,
    clock: Clock,
    metrics: ShadowMetrics,
    running: Arc<ArcSwapOption<Running>>,
    notes: SyncSender<Job>,
    asked: AtomicU64,
    /// Why what is offered does not run.
    problems: Mutex<Vec<Problem>>,
}

/// The candidate.
#[derive(Debug)]
struct Running {
    bundle: Arc<Bundle>,
    since: jiff::Timestamp,
    /// Of this candidate alone: another one answers for nothing of it.
    counts: Counts,
}

/// A request that was decided.
struct Job {
    id: DisclosureId,
    note: Note,
    live: Arc<Live>,
}

/// How many requests were held against it.
#[derive(Debug, Default)]
struct Counts {
    compared: AtomicU64,
    differing: AtomicU64,
}

impl Shadow {
    /// Starts the thread, and the candidate if there is one. A broken candidate is told, and is none.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn open(config: &config::Shadow, metrics: &Metrics, clock: &Clock) -> io::Result<Self> {
        let (notes, waiting) = mpsc::sync_channel(MOST_WAITING);
        let running = Arc::new(ArcSwapOption::empty());
        let worker = Worker::new(config, &metrics.shadow, clock, &running);
        std::thread::Builder::new().name("shadow".into()).spawn(move || worker.run(&waiting))?;
        let shadow = Self {
            config: config.clone(),
            clock: clock.clone(),
            metrics: metrics.shadow.clone(),
            running,
            notes,
            asked: AtomicU64::new(0),
            problems: Mutex::default(),
        };
        shadow.reload();
        Ok(shadow)
    }

    /// Whether the next request is to be noted.
    pub fn wants(&self) -> bool {
        let (of, per_mille) = (1000, u64::from(self.config.per_mille));
        if self.running.load().is_none() {
            return false;
        }
        // Evenly, so that a share of few requests is not none of them.
        let number = self.asked.fetch_add(1, Ordering::Relaxed) % of;
        (number + 1) * per_mille / of > number * per_mille / of
    }

    /// Takes the note of a request that `live` decided. Never blocks.
    pub fn take(&self, id: DisclosureId, note: Note, live: &Arc<Live>) {
        if self.notes.try_send(Job { id, note, live: Arc::clone(live) }).is_err() {
            self.metrics.dropped.inc();
        }
    }

    /// Reads the candidate anew. A broken one is told, and the last good one goes on; one that is gone runs no more.
    pub fn reload(&self) {
        let path = self.config.path.display();
        let source = match bundle_files::read(&self.config.path) {
            Ok(source) => source,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.config.path.exists() => {
                if self.running.swap(None).is_some() {
                    tracing::info!("the candidate bundle was taken away: nothing is compared");
                }
                self.metrics.runs(None);
                self.say(Vec::new());
                return;
            }
            Err(error) => {
                self.refuse(vec![Problem::error("unreadable", ".", error.to_string())]);
                return;
            }
        };
        match Bundle::load(&source) {
            Ok(loaded) => {
                self.say(Vec::new());
                let digest = loaded.bundle.digest();
                if self.running.load().as_ref().is_some_and(|running| running.bundle.digest() == digest) {
                    self.metrics.reloads.unchanged.inc();
                    return;
                }
                tracing::info!(%digest, %path, "a candidate bundle runs beside the live one");
                self.metrics.reloads.accepted.inc();
                let running = Running { bundle: loaded.bundle, since: self.clock.wall(), counts: Counts::default() };
                self.running.store(Some(Arc::new(running)));
                self.metrics.runs(Some(&digest.to_string()));
            }
            Err(problems) => {
                self.refuse(problems.into_iter().filter(|problem| problem.severity == Severity::Error).collect());
            }
        }
    }

    /// What operators are told.
    pub fn status(&self) -> ShadowStatus {
        let running = self.running.load_full();
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |of: fn(&Counts) -> &AtomicU64| {
            running.as_ref().map(|running| of(&running.counts).load(Ordering::Relaxed)).unwrap_or_default()
        };
        ShadowStatus {
            path: self.config.path.display().to_string(),
            digest: running.as_ref().map(|running| running.bundle.digest().to_string()),
            since: running.as_ref().map(|running| running.since),
            compared: count(|counts| &counts.compared),
            differing: count(|counts| &counts.differing),
            log: self.config.log.display().to_string(),
            problems: problems.iter().map(ProblemStatus::from).collect(),
        }
    }

    fn refuse(&self, problems: Vec<Problem>) {
        self.metrics.reloads.refused.inc();
        for problem in &problems {
            tracing::error!(%problem, "candidate bundle refused; the live one is not concerned");
        }
        self.say(problems);
    }

    fn say(&self, problems: Vec<Problem>) {
        self.metrics.refused.set(i64::from(!problems.is_empty()));
        *self.problems.lock().unwrap_or_else(PoisonError::into_inner) = problems;
    }
}

impl Targets {
    /// The candidate alone: it is compiled on a thread of its own, so that nothing waits for it.
    pub fn of_shadow(shadow: &config::Shadow) -> Self {
        Self { bundle: shadow.path.clone(), ..Self::default() }
    }
}

/// The candidate without the permits that are suspended: they would be so if it were live.
fn without(bundle: &Arc<Bundle>, suspended: &BTreeSet<String>) -> Arc<Bundle> {
    if suspended.is_empty() { Arc::clone(bundle) } else { Arc::new(bundle.without(suspended)) }
}

/// Notes that wait. Each is below a kilobyte, but for lists.
const MOST_WAITING: usize = 4096;
