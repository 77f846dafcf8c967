//! Overload on a node: the thread that decides what is shed, and what operators see of it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

use crate::admit::Shedder;
use crate::admit::overload::{Controller, Lane, Load, Rules, Standing};
use crate::app::config;
use crate::clock::Clock;

/// What is shed on a node, and how it stands.
#[derive(Debug)]
pub struct Overload {
    lanes: Vec<Lane>,
    standing: Mutex<Standing>,
    /// Nobody new is let in while refusing alone is more than the node can do.
    pause: Arc<AtomicBool>,
    origin: Instant,
    clock: Clock,
}

impl Overload {
    /// Begins to watch the loops of so many cores, for about so many agencies.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub(super) fn open(
        config: &config::Overload,
        agencies: usize,
        cores: usize,
        clock: &Clock,
    ) -> io::Result<Option<Arc<Self>>> {
        if !config.on {
            return Ok(None);
        }
        let rules = Rules { target: config.target, dry_run: !config.enforced, ..Rules::default() };
        let origin = clock.now();
        let (controller, lanes) = Controller::new(rules, (2 * agencies).max(LEAST_SLOTS), cores, Duration::ZERO);
        let (standing, pause, clock) = (Mutex::default(), Arc::default(), clock.clone());
        let overload = Arc::new(Self { lanes, standing, pause, origin, clock });
        let watched = Arc::downgrade(&overload);
        std::thread::Builder::new().name("overload".into()).spawn(move || {
            let mut controller = controller;
            let mut used = Used::default();
            loop {
                std::thread::sleep(TICK);
                let Some(overload) = watched.upgrade() else { return };
                overload.tick(&mut controller, &mut used);
            }
        })?;
        Ok(Some(overload))
    }

    /// One core's part.
    pub(super) fn shedder(&self, core: usize) -> Option<Shedder> {
        let mut seed = [0; 8];
        // Without a seed chance is the same at each start, which harms nobody.
        let _ = aws_lc_rs::rand::fill(&mut seed);
        let lane = self.lanes.get(core)?.clone();
        Some(Shedder::new(lane, u64::from_ne_bytes(seed), self.origin, self.clock.clone()))
    }

    /// Whether nobody new is to be let in.
    pub(super) fn pause(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.pause)
    }

    /// How the node stands.
    pub fn standing(&self) -> Standing {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self, controller: &mut Controller, used: &mut Used) {
        let now = self.clock.now().saturating_duration_since(self.origin);
        let standing = controller.tick(now, &Load { queue: None, processor: used.share(now) });
        self.pause.store(standing.saturated, Ordering::Relaxed);
        let mut last = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if standing.overloaded != last.overloaded {
            let delay_ms = standing.loops.mean.as_millis();
            if standing.overloaded {
                tracing::warn!(delay_ms, "the node is overloaded: what is asked too much is refused");
            } else {
                tracing::info!(delay_ms, "the node is no longer overloaded");
            }
        }
        *last = standing;
    }
}

/// The processor time that the process used.
#[derive(Debug, Default)]
struct Used {
    at: Duration,
    micros: i64,
    /// The most that it got lately, in microseconds a second.
    most: f64,
}

impl Used {
    /// What it used since the last time, of the most that it got lately. A node that uses clearly less than it could get has pauses, however late
    /// its loops are: a quota, or other processes, make them so.
    fn share(&mut self, now: Duration) -> Option<f64> {
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
        let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        let elapsed = now.saturating_sub(self.at).as_secs_f64().max(0.001);
        let rate = (micros - self.micros) as f64 / elapsed;
        (self.at, self.micros) = (now, micros);
        self.most = (self.most * FORGOTTEN).max(self.most.min(rate));
        self.most += FOLLOWED * (rate - self.most).max(0.0);
        Some((rate / self.most.max(1.0)).clamp(0.0, 1.0))
    }
}

/// How much of the most is left after a tick in which less was used, and how fast more is believed.
const FORGOTTEN: f64 = 0.999;
const FOLLOWED: f64 = 0.2;
const TICK: Duration = Duration::from_millis(50);
/// Agencies that may be told apart at least.
const LEAST_SLOTS: usize = 1024;
