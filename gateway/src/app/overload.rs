//! Overload on a node: the thread that decides what is shed, and what operators see of it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::accept::Door;
use crate::admit::Shedder;
use crate::admit::overload::{Controller, Lane, Rules, Spent, Standing};
use crate::app::config;
use crate::clock::Clock;

/// What is shed on a node, and how it stands.
#[derive(Debug)]
pub struct Overload {
    lanes: Vec<Lane>,
    standing: Mutex<Standing>,
    /// Nobody new is let in while refusing alone is more than the node can do, and few under overload.
    door: Arc<Door>,
    /// Whether anything is refused, or only counted.
    enforced: bool,
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
        let (standing, door, clock) = (Mutex::default(), Arc::default(), clock.clone());
        let overload = Arc::new(Self { lanes, standing, door, enforced: config.enforced, origin, clock });
        let watched = Arc::downgrade(&overload);
        std::thread::Builder::new().name("overload".into()).spawn(move || {
            let mut controller = controller;
            loop {
                std::thread::sleep(TICK);
                let Some(overload) = watched.upgrade() else { return };
                overload.tick(&mut controller);
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

    /// Who is let in.
    pub(super) fn door(&self) -> Arc<Door> {
        Arc::clone(&self.door)
    }

    /// How the node stands.
    pub fn standing(&self) -> Standing {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self, controller: &mut Controller) {
        let now = self.clock.now().saturating_duration_since(self.origin);
        let spent = Spent { all: self.clock.cpu_of_process(), greeting: self.door.spent() };
        let standing = controller.tick(now, spent, None);
        self.door.close(standing.saturated && self.enforced);
        self.door.allow(standing.greeting);
        let mut last = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if standing.overloaded != last.overloaded {
            let delay_ms = standing.loops.mean.as_millis();
            if standing.overloaded {
                let enforced = self.enforced;
                tracing::warn!(
                    delay_ms,
                    enforced,
                    "the node is overloaded: what is asked too much is refused, or counted"
                );
            } else {
                tracing::info!(delay_ms, "the node is no longer overloaded");
            }
        }
        *last = standing;
    }
}

const TICK: Duration = Duration::from_millis(50);
/// Agencies that may be told apart at least.
const LEAST_SLOTS: usize = 1024;
