//! The kill switch of a node: its file read, in force, recorded, and given back when it is over.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use popgate_policy::problem::{Problem, Severity};

use crate::admin::{Ask, KillSwitch, ProblemStatus, SuspensionStatus, SuspensionsStatus};
use crate::app::node::Node;
use crate::audit::{Action, Unavailable};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::suspend::{
    self, Book, Concern, Done, Found, Order, OrderError, Store, StoreError, Suspension, Switch, Target,
};

/// What is suspended on a node.
#[derive(Debug)]
pub struct Suspensions {
    switch: Switch,
    store: Store,
    state: ArcSwap<State>,
    /// Held while the file is read and put in force: of two changes at once, the older must not come last.
    turn: Mutex<Turn>,
}

/// What is in force, and what is wrong with what was offered since.
#[derive(Clone, Debug, Default)]
struct State {
    found: Found,
    refused: Vec<Problem>,
    unrecorded: bool,
}

#[derive(Debug)]
struct Turn {
    /// What the audit log has.
    recorded: Book,
    /// What was suspended when somebody looked last.
    active: BTreeSet<Target>,
}

impl Suspensions {
    /// Reads the file. If it has a mistake, what was last in force stands in for it.
    ///
    /// # Errors
    /// If nothing can be read that tells what is suspended.
    pub(super) fn open(dir: &Path, clock: &Clock, metrics: &Metrics) -> Result<Self, StoreError> {
        let store = Store::new(dir);
        store.make()?;
        let last = store.last();
        let (found, refused) = match (store.read(), &last) {
            (Ok(found), _) => (found, Vec::new()),
            (Err(error), Ok(Some(book))) => {
                metrics.suspensions.reloads.refused.inc();
                let problems = error.problems(&store.file());
                (Found { book: book.clone(), ..Found::default() }, problems)
            }
            (Err(error), _) => return Err(error),
        };
        say_refused(&found, &refused, &store);
        let recorded = last.unwrap_or_else(|error| {
            tracing::warn!(%error, "which suspensions are recorded is not known: they are recorded again");
            None
        });
        let (now, switch) = (clock.wall(), Switch::new());
        switch.set(&found.book, now);
        let active = active(&found.book, now);
        let turn = Mutex::new(Turn { recorded: recorded.unwrap_or_default(), active });
        Ok(Self { switch, store, state: ArcSwap::from_pointee(State { found, refused, unrecorded: false }), turn })
    }

    /// What requests ask.
    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// Writes a file that was lost again, as what is in force: an order builds on that, not on what was recorded before.
    fn restore(&self) -> Result<(), OrderError> {
        let state = self.state.load();
        let book = &state.found.book;
        if book.suspended.is_empty() || self.store.file().exists() {
            return Ok(());
        }
        self.store.change(|file| {
            file.clone_from(book);
            Ok(())
        })
    }

    /// The policies that are suspended at that time.
    pub(super) fn policies(&self, now: Timestamp) -> BTreeSet<String> {
        self.state.load().found.book.policies(now)
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// Offers the file. What is in force stays, if it has a mistake; `false` if nothing changed.
    ///
    /// # Errors
    /// Every mistake.
    pub fn reload_suspensions(&self) -> Result<bool, StoreError> {
        let mut turn = self.suspensions.turn();
        self.take_up(&mut turn)
    }

    /// Suspends something: in force when this returns. Writes files: never on a data-plane core.
    ///
    /// # Errors
    /// If the order makes no sense, or cannot be written.
    pub fn suspend(&self, order: &Order, by: &str) -> Result<Done, OrderError> {
        let mut turn = self.suspensions.turn();
        let (now, bundle) = (self.clock.wall(), Arc::clone(&self.live().loaded));
        order.check(now, Some(&bundle), self.config.registers.keys())?;
        self.suspensions.restore()?;
        let before = order.carry_out(&self.suspensions.store, by, now)?;
        self.take_up(&mut turn)?;
        drop(turn);
        let concern = Some(Concern::of(&bundle, &order.target));
        Ok(Done { target: order.target.clone(), by: by.to_owned(), until: order.until, before, concern })
    }

    /// Ends a suspension before its time, likewise.
    ///
    /// # Errors
    /// If there is none, or it cannot be written.
    pub fn resume(&self, target: &Target, by: &str, reason: &str) -> Result<Suspension, OrderError> {
        let mut turn = self.suspensions.turn();
        self.suspensions.restore()?;
        let lifted = suspend::resume(&self.suspensions.store, target, by, reason, self.clock.wall())?;
        self.take_up(&mut turn)?;
        Ok(lifted)
    }

    /// For operators.
    pub fn suspensions_status(&self) -> SuspensionsStatus {
        let state = self.suspensions.state.load();
        let suspended = state.found.book.in_force(self.clock.wall());
        let suspended = suspended
            .map(|(target, suspension)| SuspensionStatus { target: target.clone(), suspension: suspension.clone() });
        let problems = state.refused.iter().chain(&self.suspension_problems()).map(ProblemStatus::from).collect();
        SuspensionsStatus { suspended: suspended.collect(), problems, unrecorded: state.unrecorded }
    }

    /// Brings into the metrics what is suspended.
    pub(super) fn show_suspensions(&self) {
        let state = self.suspensions.state.load();
        let metrics = &self.metrics.suspensions;
        let now = self.clock.wall();
        metrics.show(state.found.book.in_force(now).map(|(target, _)| (target.kind.as_str(), target.id.as_str())));
        metrics.stale.set(i64::from(!state.refused.is_empty() || state.found.is_gone));
        metrics.unrecorded.set(i64::from(state.unrecorded));
        let ignored = self.suspension_problems().iter().filter(|it| it.severity == Severity::Error).count();
        metrics.ignored.set(i64::try_from(ignored).unwrap_or(i64::MAX));
    }

    /// Once a second: gives back what is over, and records what could not be recorded before.
    pub(super) fn tend_suspensions(&self) {
        // Whoever has it now comes to the same.
        let mut turn = match self.suspensions.turn.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let state = self.suspensions.state.load_full();
        let now = self.clock.wall();
        let active = active(&state.found.book, now);
        if active != turn.active {
            for target in turn.active.difference(&active) {
                tracing::warn!(kind = target.kind.as_str(), id = target.id, "a suspension is over");
            }
            self.suspensions.switch.set(&state.found.book, now);
            self.put_in_force(None);
            turn.active = active;
        }
        if state.unrecorded {
            self.record(&mut turn);
        }
    }

    /// Records what operators did while no gateway ran.
    pub(super) fn record_suspensions(&self) {
        self.say_suspensions();
        self.record(&mut self.suspensions.turn());
    }

    /// Logs which suspensions concern nobody under the bundle in force.
    pub(super) fn say_suspensions(&self) {
        for problem in self.suspension_problems() {
            match problem.severity {
                Severity::Error => tracing::error!(%problem, "a suspension is ignored"),
                Severity::Warning => tracing::warn!(%problem, "a suspension concerns nobody"),
            }
        }
    }

    fn take_up(&self, turn: &mut Turn) -> Result<bool, StoreError> {
        let Suspensions { switch, store, state, .. } = &self.suspensions;
        let before = state.load_full();
        let found = store.read().inspect_err(|error| {
            self.metrics.suspensions.reloads.refused.inc();
            let refused = error.problems(&store.file());
            state.store(Arc::new(State { refused, ..State::clone(&before) }));
        })?;
        let found = if found.is_missing && !before.found.book.suspended.is_empty() {
            // Neither does a copy that is behind, or lost with it.
            Found { book: before.found.book.clone(), is_gone: true, ..found }
        } else {
            found
        };
        say_refused(&found, &[], store);
        let (now, is_same) = (self.clock.wall(), found.book == before.found.book);
        let actions = found.book.actions_since(&before.found.book, now);
        state.store(Arc::new(State { found, refused: Vec::new(), unrecorded: before.unrecorded }));
        if is_same {
            self.metrics.suspensions.reloads.unchanged.inc();
            return Ok(false);
        }
        let found = &state.load().found;
        switch.set(&found.book, now);
        self.put_in_force(None);
        turn.active = active(&found.book, now);
        self.metrics.suspensions.reloads.accepted.inc();
        for Action { by, what, target, until, .. } in actions {
            let until = until.map(tracing::field::display);
            tracing::warn!(by, action = what, target, until, "suspensions changed");
        }
        self.say_suspensions();
        // Only now: the disk may take its time, the switch may not.
        self.record(turn);
        Ok(true)
    }

    /// Makes the audit log know what is in force; what cannot be recorded is tried again.
    fn record(&self, turn: &mut Turn) {
        let Suspensions { store, state, .. } = &self.suspensions;
        let current = state.load_full();
        let book = &current.found.book;
        let done = self.act(book.actions_since(&turn.recorded, self.clock.wall()));
        let unrecorded = match done {
            Ok(()) => {
                // Kept on the disk after that: a change may be recorded twice, never not at all.
                let kept = if *book == turn.recorded { Ok(()) } else { store.keep(book) };
                kept.inspect_err(|error| tracing::error!(%error, "suspensions are in force, and not kept")).is_err()
            }
            Err(error) => {
                tracing::error!(%error, "suspensions are in force, and not recorded");
                true
            }
        };
        if !unrecorded {
            turn.recorded = book.clone();
        }
        if unrecorded != current.unrecorded {
            state.store(Arc::new(State { unrecorded, ..State::clone(&current) }));
        }
    }

    pub(super) fn act(&self, actions: Vec<Action>) -> Result<(), Unavailable> {
        let acted = actions.into_iter().map(|action| self.audit.act(action)).collect::<Result<Vec<_>, _>>()?;
        acted.into_iter().try_for_each(crate::audit::Acted::durable)
    }

    fn suspension_problems(&self) -> Vec<Problem> {
        let Found { book, places, .. } = &self.suspensions.state.load().found;
        let file = self.suspensions.store.file().display().to_string();
        suspend::problems(book, places, &self.live().loaded, self.config.registers.keys(), &file)
    }
}

/// What the admin listener asks.
pub(super) fn operator_side(node: &Arc<Node>) -> KillSwitch {
    let node = Arc::downgrade(node);
    Arc::new(move |ask| {
        let Some(node) = node.upgrade() else { return Ok(serde_json::Value::Null) };
        let answer = match ask {
            Ask::List => serde_json::to_value(node.suspensions_status()),
            Ask::Suspend { order, by } => serde_json::to_value(node.suspend(&order, &by)?),
            Ask::Resume { target, by, reason } => serde_json::to_value(node.resume(&target, &by, &reason)?),
        };
        Ok(answer.unwrap_or_default())
    })
}

/// Takes up a changed file; one that cannot be used is said, and changes nothing.
pub(super) fn reload(node: &Node) {
    if let Err(error) = node.reload_suspensions() {
        let problems = error.problems(&node.suspensions.store.file());
        for problem in problems {
            tracing::error!(%problem, "suspensions refused; the last ones stay in force");
        }
    }
}

fn say_refused(found: &Found, refused: &[Problem], store: &Store) {
    for problem in refused {
        tracing::error!(%problem, "suspensions refused; the last ones stay in force");
    }
    if found.is_gone && !found.book.suspended.is_empty() {
        let file = store.file();
        tracing::error!(file = %file.display(), "the file of suspensions is gone; the last ones stay in force");
    }
}

fn active(book: &Book, now: Timestamp) -> BTreeSet<Target> {
    book.in_force(now).map(|(target, _)| target.clone()).collect()
}
