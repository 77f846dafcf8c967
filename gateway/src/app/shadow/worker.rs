//! The thread that holds notes against the candidate.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use arc_swap::ArcSwapOption;
use popgate_policy::bundle::Bundle;
use popgate_policy::engine::mirror::{Change, Mirror};
use popgate_policy::model::Treatment;
use popgate_policy::shadow::{Compared, compare};
use serde_json::json;

use super::sample::Sample;
use super::{Job, Running, without};
use crate::app::config;
use crate::app::node::Live;
use crate::clock::Clock;
use crate::metrics::ShadowMetrics;

pub(super) struct Worker {
    metrics: ShadowMetrics,
    clock: Clock,
    running: Arc<ArcSwapOption<Running>>,
    sample: Sample,
    /// What was looked up last.
    both: Option<Both>,
}

/// The live bundle and the candidate, with their names looked up.
struct Both {
    decided: Arc<Bundle>,
    live: Mirror,
    offered: Arc<Bundle>,
    suspended: BTreeSet<String>,
    candidate: Mirror,
}

impl Worker {
    pub(super) fn new(
        config: &config::Shadow,
        metrics: &ShadowMetrics,
        clock: &Clock,
        running: &Arc<ArcSwapOption<Running>>,
    ) -> Self {
        Self {
            metrics: metrics.clone(),
            clock: clock.clone(),
            running: Arc::clone(running),
            sample: Sample::new(&config.log, config.log_bytes),
            both: None,
        }
    }

    /// Until nobody can send a note any more.
    pub(super) fn run(mut self, waiting: &Receiver<Job>) {
        while let Ok(job) = waiting.recv() {
            if let Some(running) = self.running.load_full() {
                self.compare(&job, &running);
            }
        }
    }

    fn compare(&mut self, job: &Job, running: &Running) {
        let both = match self.both.take().filter(|both| both.is_of(&job.live, running)) {
            Some(both) => both,
            None => Both::of(&job.live, running),
        };
        let compared = compare(&both.live, &both.candidate, &job.note);
        self.both = Some(both);
        let operation = job.note.operation().as_str();
        self.metrics.compared(operation);
        running.counts.compared.fetch_add(1, Ordering::Relaxed);
        self.metrics.policy_errors.inc_by(compared.errors.into());
        if compared.is_same() {
            return;
        }
        running.counts.differing.fetch_add(1, Ordering::Relaxed);
        let kinds = kinds(&compared);
        for kind in &kinds {
            self.metrics.differs(operation, kind);
        }
        if let Err(error) = self.sample.write(&self.line(job, running, &compared, &kinds)) {
            self.metrics.unwritten.inc();
            tracing::warn!(%error, "a difference of the candidate bundle cannot be written down");
        }
    }

    /// Names only: nothing of a record, nor of what the request said, is in it.
    fn line(&self, job: &Job, running: &Running, compared: &Compared, kinds: &[&str]) -> String {
        let system = job.note.system().as_str();
        let fields: Vec<_> = compared
            .fields
            .iter()
            .map(|field| json!({ "field": field.name, "live": words(field.live), "candidate": words(field.candidate) }))
            .collect();
        let line = json!({
            "at": format!("{:.6}", self.clock.wall()),
            "request_id": job.id.to_string(),
            "agency": system.split('/').next(),
            "system": system,
            "operation": job.note.operation().as_str(),
            "purpose": job.note.purpose().as_str(),
            "kinds": kinds,
            "code": compared.refused_now,
            "gone": compared.gone.map(popgate_policy::engine::mirror::Gone::as_str),
            "fields": fields,
            "live": job.live.bundle.digest().to_string(),
            "candidate": running.bundle.digest().to_string(),
        });
        format!("{line}\n")
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<shadow>")
    }
}

impl Both {
    fn of(live: &Live, running: &Running) -> Self {
        Self {
            decided: Arc::clone(&live.bundle),
            live: Mirror::of(Arc::clone(&live.bundle)),
            offered: Arc::clone(&running.bundle),
            suspended: live.suspended().clone(),
            candidate: Mirror::of(without(&running.bundle, live.suspended())),
        }
    }

    fn is_of(&self, live: &Live, running: &Running) -> bool {
        Arc::ptr_eq(&self.decided, &live.bundle)
            && Arc::ptr_eq(&self.offered, &running.bundle)
            && self.suspended == *live.suspended()
    }
}

fn kinds(compared: &Compared) -> Vec<&'static str> {
    let kinds = [
        ("refused_now", compared.refused_now.is_some()),
        ("answered_now", compared.answered_now),
        ("gone", compared.gone.is_some()),
        ("widened", compared.has(Change::More)),
        ("narrowed", compared.has(Change::Less)),
    ];
    kinds.into_iter().filter(|(_, is)| *is).map(|(kind, _)| kind).collect()
}

fn words(treatment: Treatment) -> String {
    match treatment {
        Treatment::Reveal => "reveal".to_owned(),
        Treatment::Mask(mask) => format!("mask {}", mask.as_str()),
        Treatment::Match => "match".to_owned(),
        Treatment::Withhold => "withhold".to_owned(),
    }
}
