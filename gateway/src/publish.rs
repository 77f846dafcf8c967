//! What callers are told of their contract: which operations end, and their views, made when they are first asked for and kept with
//! the bundle.
//!
//! To make one, every operation is decided for every purpose of a system; that takes tens of milliseconds, so it never happens on a
//! core. An answer names the digest of its caller's view once that is known: the first answers after a change are without.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::HeaderValue;
use popgate_policy::bundle::Bundle;
use popgate_policy::contract::Operation;
use popgate_policy::directory::System;
use popgate_policy::model::PurposeId;
use popgate_policy::view::{Refusable, View, ViewGroup};

use crate::refusal;

mod ending;

pub use ending::Ending;

/// The views of one bundle.
pub struct Views {
    bundle: Arc<Bundle>,
    refusals: Vec<Refusable>,
    slots: Box<[Slot]>,
    /// By system, its slot.
    slot_of: Box<[usize]>,
    /// By operation.
    endings: Box<[Option<Ending>]>,
    /// Held while a view is made: they are made one at a time.
    making: Mutex<()>,
    queue: Mutex<Queue>,
}

/// What systems of one group share.
#[derive(Default)]
struct Slot {
    /// Whether its view was asked for.
    asked: AtomicBool,
    whole: OnceLock<Published>,
    /// Of one purpose each, by the purpose's position.
    narrow: Box<[OnceLock<Arc<View>>]>,
}

struct Published {
    view: Arc<View>,
    digest: HeaderValue,
}

/// The systems whose views are to be made in the background.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Arc<System>>,
    /// Whether a thread is at it.
    worked: bool,
}

impl Views {
    /// The views of a bundle, none of them made.
    pub fn of(bundle: &Arc<Bundle>) -> Arc<Self> {
        let mut known: HashMap<ViewGroup, usize> = HashMap::new();
        let mut slots = Vec::new();
        let slot_of = bundle
            .directory()
            .systems()
            .iter()
            .map(|system| {
                *known.entry(bundle.view_group(system)).or_insert_with(|| {
                    let narrow = system.purposes.iter().map(|_| OnceLock::new()).collect();
                    slots.push(Slot { narrow, ..Slot::default() });
                    slots.len() - 1
                })
            })
            .collect();
        Arc::new(Self {
            bundle: Arc::clone(bundle),
            refusals: refusal::refusable(),
            slots: slots.into(),
            slot_of,
            endings: bundle.contracts().operations().iter().map(|operation| Ending::of(bundle, operation)).collect(),
            making: Mutex::default(),
            queue: Mutex::default(),
        })
    }

    /// The digest of a system's view, if it is known; else it will be soon. Never waits.
    pub fn digest(self: &Arc<Self>, system: &Arc<System>) -> Option<HeaderValue> {
        let slot = self.slot(system)?;
        if let Some(published) = slot.whole.get() {
            return Some(published.digest.clone());
        }
        if !slot.asked.swap(true, Ordering::Relaxed) {
            self.enqueue(system);
        }
        None
    }

    /// What is told of an operation's end, if it is deprecated.
    pub fn ending(&self, operation: &Operation) -> Option<&Ending> {
        self.endings.get(operation.index)?.as_ref()
    }

    /// A system's view for all of its purposes; made if it was not. MUST NOT be called on a core: it may take its time.
    pub fn view(&self, system: &System) -> Option<Arc<View>> {
        let slot = self.slot(system)?;
        let published = slot.whole.get_or_init(|| {
            let view = self.make(system, &system.purposes);
            // Hex digits always are a header's value.
            let digest = HeaderValue::from_str(&view.digest().to_string());
            Published { view, digest: digest.unwrap_or(HeaderValue::from_static("")) }
        });
        Some(Arc::clone(&published.view))
    }

    /// A system's view for one of its purposes; likewise.
    pub fn view_for(&self, system: &System, purpose: &PurposeId) -> Option<Arc<View>> {
        let at = system.purposes.iter().position(|known| known == purpose)?;
        let slot = self.slot(system)?.narrow.get(at)?;
        Some(Arc::clone(slot.get_or_init(|| self.make(system, std::slice::from_ref(purpose)))))
    }

    fn make(&self, system: &System, purposes: &[PurposeId]) -> Arc<View> {
        let _alone = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::new(self.bundle.view(system, purposes, &self.refusals))
    }

    fn slot(&self, system: &System) -> Option<&Slot> {
        self.slots.get(*self.slot_of.get(system.index)?)
    }

    fn enqueue(self: &Arc<Self>, system: &Arc<System>) {
        let mut queue = self.queue();
        queue.waiting.push_back(Arc::clone(system));
        if queue.worked {
            return;
        }
        let views = Arc::clone(self);
        let started = std::thread::Builder::new().name("views".into()).spawn(move || views.work());
        match started {
            Ok(_) => queue.worked = true,
            // The next system that is seen tries again; until then, answers are without.
            Err(error) => tracing::warn!(%error, "no thread to make views"),
        }
    }

    /// Makes the views that wait, until none does.
    fn work(&self) {
        loop {
            let mut queue = self.queue();
            let Some(system) = queue.waiting.pop_front() else {
                queue.worked = false;
                return;
            };
            drop(queue);
            self.view(&system);
        }
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = self.slots.iter().filter(|slot| slot.whole.get().is_some()).count();
        write!(f, "<views, {made} of {} made>", self.slots.len())
    }
}
