//! A node's orders: the folder read, what counts lent, told of, recorded, and ended when its time is over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use popgate_policy::problem::Problem;

use crate::admin::{BreakGlassAsk, BreakGlassStatus, GlassDesk, OrderStatus, ProblemStatus};
use crate::app::config::{self, Config};
use crate::app::node::Node;
use crate::audit::Action;
use crate::break_glass::{
    self, Activated, Alarm, CarryError, Deed, Entry, Found, Judged, Ledger, Lending, Order, Sealed, Sound, Stage,
    Store, StoreError, Verdict, judge,
};

/// What is lent on a node.
#[derive(Debug)]
pub struct BreakGlass {
    lending: Lending,
    site: Option<Site>,
    state: ArcSwap<State>,
    /// Held while the folder is read and put in force: of two changes at once, the older must not come last.
    turn: Mutex<Turn>,
}

/// Where orders come from.
#[derive(Debug)]
struct Site {
    rules: break_glass::Rules,
    store: Store,
    /// The ledger as the audit log has it: by it a restarted gateway knows what is to be recorded, and a ledger that is lost
    /// takes no end back.
    memory: PathBuf,
}

/// What is in force, and what is wrong with what was offered.
#[derive(Clone, Debug, Default)]
struct State {
    ledger: Ledger,
    /// Orders that count, and are not over; each lends in its time, once the audit log has it.
    orders: BTreeMap<String, Order>,
    problems: Vec<Problem>,
    unrecorded: bool,
    /// The folder could not be read the last time: it is tried again.
    stale: bool,
}

#[derive(Debug, Default)]
struct Turn {
    /// What the audit log has.
    recorded: Ledger,
    alarm: Alarm,
}

impl BreakGlass {
    /// What is remembered. Nothing is lent before [`Node::reload_orders`].
    pub(super) fn open(config: &Config) -> Self {
        let site = config.break_glass.as_ref().map(|config::BreakGlass { folder, rules }| Site {
            rules: rules.clone(),
            store: Store::new(folder),
            memory: break_glass::memory_in(&config.state),
        });
        let recorded = site.as_ref().and_then(|site| {
            let read = break_glass::read_ledger(&site.memory);
            read.unwrap_or_else(|error| {
                tracing::warn!(%error, "which orders are recorded is not known: they are recorded again");
                None
            })
        });
        let recorded = recorded.unwrap_or_default();
        let state = State { ledger: recorded.clone(), ..State::default() };
        let turn = Turn { recorded, alarm: Alarm::default() };
        Self { lending: Lending::default(), site, state: ArcSwap::from_pointee(state), turn: Mutex::new(turn) }
    }

    /// What requests ask.
    pub fn lending(&self) -> &Lending {
        &self.lending
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn site(&self) -> Result<&Site, CarryError> {
        self.site.as_ref().ok_or(CarryError::Nowhere)
    }
}

impl Node {
    /// Reads the folder again. What cannot be read lends nothing new, and changes nothing of what is lent.
    pub fn reload_orders(&self) {
        self.take_up_orders(&mut self.break_glass.turn());
    }

    /// Activates an order: in force, if it is its time, when this returns. Writes files: never on a data-plane core.
    ///
    /// # Errors
    /// Everything against it.
    pub fn activate_order(&self, text: &[u8], by: &str) -> Result<Activated, CarryError> {
        let site = self.break_glass.site()?;
        let sealed = Sealed::parse(text)?;
        let mut turn = self.break_glass.turn();
        let (bundle, memory) = (Arc::clone(&self.live().loaded), self.break_glass.state.load_full());
        let now = self.clock.wall();
        let done = break_glass::activate(&site.store, &site.rules, &bundle, &sealed, &memory.ledger, by, now)?;
        self.take_up_orders(&mut turn);
        Ok(done)
    }

    /// Ends an order before its time, likewise.
    ///
    /// # Errors
    /// If there is none, or it cannot be written.
    pub fn end_order(&self, id: &str, by: &str, reason: &str) -> Result<Entry, CarryError> {
        let site = self.break_glass.site()?;
        let mut turn = self.break_glass.turn();
        let memory = self.break_glass.state.load_full();
        let ended = break_glass::end(&site.store, &memory.ledger, id, by, reason, self.clock.wall())?;
        // Also if the folder cannot be read again just now.
        let mut next = State::clone(&memory);
        next.orders.remove(id);
        next.ledger.orders.insert(id.to_owned(), ended.clone());
        self.break_glass.state.store(Arc::new(next));
        self.lend(&turn);
        self.take_up_orders(&mut turn);
        Ok(ended)
    }

    /// Notes a review, likewise.
    ///
    /// # Errors
    /// If there is nothing to review, `by` activated or ended it, or it cannot be written.
    pub fn review_order(&self, id: &str, by: &str, note: &str) -> Result<Entry, CarryError> {
        let site = self.break_glass.site()?;
        let mut turn = self.break_glass.turn();
        let memory = self.break_glass.state.load_full();
        let done = break_glass::review(&site.store, &memory.ledger, id, (by, true), note, self.clock.wall())?;
        self.take_up_orders(&mut turn);
        Ok(done)
    }

    /// What would become of an order here.
    ///
    /// # Errors
    /// If it is none, or none are taken here.
    pub fn judge_order(&self, text: &[u8]) -> Result<(Sealed, Judged), CarryError> {
        let site = self.break_glass.site()?;
        let sealed = Sealed::parse(text)?;
        let (live, state) = (self.live(), self.break_glass.state.load());
        let known = state.ledger.orders.get(&sealed.order().id);
        let judged = judge(&sealed, &site.rules, &live.loaded, known, self.clock.wall());
        Ok((sealed, judged))
    }

    /// For operators: the orders that wait for something, or all.
    pub fn orders_status(&self, all: bool) -> BreakGlassStatus {
        let (state, now) = (self.break_glass.state.load(), self.clock.wall());
        let orders = state.ledger.orders.values().filter(|entry| all || entry.stage(now) != Stage::Reviewed);
        let orders = orders.map(|entry| OrderStatus::of(entry, now, state.orders.contains_key(&entry.order.id)));
        BreakGlassStatus {
            site: self.break_glass.site.as_ref().map(|site| site.rules.site.clone()),
            orders: orders.collect(),
            problems: state.problems.iter().map(ProblemStatus::from).collect(),
            unrecorded: state.unrecorded,
        }
    }

    /// Brings into the metrics what is lent.
    pub(super) fn show_orders(&self) {
        let (state, now) = (self.break_glass.state.load(), self.clock.wall());
        let metrics = &self.metrics.break_glass;
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        metrics.in_force.set(gauge(in_force(&state, now).len()));
        metrics.unreviewed.set(gauge(state.ledger.unreviewed(now)));
        metrics.refused.set(gauge(state.problems.len()));
        metrics.unrecorded.set(i64::from(state.unrecorded));
    }

    /// Once a second: ends what is over, tells of what is in force, and records what could not be recorded before.
    pub(super) fn tend_orders(&self) {
        // Whoever has it now comes to the same.
        let mut turn = match self.break_glass.turn.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let (state, now) = (self.break_glass.state.load_full(), self.clock.wall());
        if state.unrecorded || state.stale || state.ledger.orders.values().any(|entry| entry.is_lapsed(now)) {
            self.take_up_orders(&mut turn);
        } else if state.ledger.is_open() {
            self.tell_of_orders(&mut turn);
        }
    }

    fn take_up_orders(&self, turn: &mut Turn) {
        let Some(site) = &self.break_glass.site else { return };
        let before = self.break_glass.state.load_full();
        let now = self.clock.wall();
        let next = match site.store.read() {
            Ok(found) => self.judged(site, &before, found, now),
            Err(error) => self.kept(&before, error.problem(site.store.dir()), now),
        };
        for problem in next.problems.iter().filter(|problem| !before.problems.contains(problem)) {
            tracing::error!(%problem, "a problem with orders");
        }
        self.break_glass.state.store(Arc::new(next));
        // What was ended is ended before the disk takes its time; what is new must be in the audit log first.
        self.lend(turn);
        self.record_orders(site, turn);
        self.lend(turn);
        self.tell_of_orders(turn);
    }

    /// What is to be in force, of what was found.
    fn judged(&self, site: &Site, before: &State, found: Found, now: Timestamp) -> State {
        let bundle = Arc::clone(&self.live().loaded);
        if found.ledger.is_none() && is_lost(&found, &before.ledger) {
            let message =
                "ledger and orders are gone, and orders were active: those that lend go on until their time is over";
            let problem = Problem::error("ledger-gone", &site.store.dir().display().to_string(), message);
            return self.kept(
                before,
                problem.help("put the folder back, or end them with `popgate break-glass end`"),
                now,
            );
        }
        let mut ledger = found.ledger.unwrap_or_default();
        ledger.join(&before.ledger);
        let (mut orders, mut problems) = (BTreeMap::new(), found.strangers);
        for (id, sealed) in &found.orders {
            let open = ledger.orders.get(id).is_none_or(|entry| entry.ended.is_none());
            let sealed = match sealed {
                Ok(sealed) => sealed,
                Err(problem) => {
                    problems.extend(open.then(|| problem.clone()));
                    // It counted once; a file that is being written ends nothing.
                    let last = before.orders.get(id).filter(|_| open);
                    orders.extend(last.map(|order| (id.clone(), order.clone())));
                    continue;
                }
            };
            let known = ledger.orders.get(id);
            let judged = judge(sealed, &site.rules, &bundle, known, now);
            if judged.refused.is_empty() {
                orders.insert(id.clone(), sealed.order().clone());
                ledger.orders.entry(id.clone()).or_insert_with(|| Entry {
                    order: sealed.order().clone(),
                    digest: sealed.digest(),
                    signed_by: judged.signed_by,
                    activated: Deed::unknown(now, "its file was put there"),
                    ended: None,
                    reviewed: None,
                });
            } else if known.is_none() || !judged.refused.iter().all(break_glass::Refused::is_past) {
                let file = site.store.file_of(id).display().to_string();
                problems.extend(judged.refused.iter().map(|why| Problem::error(why.code(), &file, why.to_string())));
            }
        }
        for (id, entry) in &mut ledger.orders {
            if entry.is_lapsed(now) {
                entry.lapse();
            } else if found.unread.contains(id) {
                orders.extend(before.orders.get(id).map(|order| (id.clone(), order.clone())));
            } else if entry.ended.is_none() && !found.orders.contains_key(id) {
                entry.ended = Some(Deed::unknown(now, "its file was taken away"));
            }
        }
        orders.retain(|id, _| ledger.orders.get(id).is_some_and(|entry| entry.ended.is_none()));
        self.written(site, State { ledger, orders, problems, unrecorded: before.unrecorded, stale: false })
    }

    /// What was lent, but for what is over: nothing was found by which to change it.
    fn kept(&self, before: &State, problem: Problem, now: Timestamp) -> State {
        let mut next = State { problems: vec![problem], stale: true, ..before.clone() };
        next.ledger.orders.values_mut().filter(|entry| entry.is_lapsed(now)).for_each(Entry::lapse);
        next
    }

    /// Makes the ledger's file hold what was found. What it cannot hold is not lent.
    fn written(&self, site: &Site, mut next: State) -> State {
        if next.ledger.orders.is_empty() {
            return next;
        }
        let written = site.store.change(|ledger| {
            ledger.join(&next.ledger);
            Ok::<_, StoreError>(((), None))
        });
        if let Err(error) = written {
            let known = self.break_glass.state.load();
            next.orders.retain(|id, _| known.ledger.orders.contains_key(id));
            next.ledger.orders.retain(|id, entry| known.ledger.orders.contains_key(id) || entry.ended.is_some());
            next.problems.push(error.problem(site.store.dir()));
        }
        next
    }

    fn lend(&self, turn: &Turn) {
        let state = self.break_glass.state.load();
        let recorded = |id: &String| turn.recorded.orders.contains_key(id);
        self.break_glass.lending.set(state.orders.iter().filter(|(id, _)| recorded(id)).map(|(_, order)| order));
    }

    /// Makes the audit log know what happened; what cannot be recorded is tried again.
    fn record_orders(&self, site: &Site, turn: &mut Turn) {
        let current = self.break_glass.state.load_full();
        let actions = current.ledger.actions_since(&turn.recorded);
        let recorded = self.act(actions.clone());
        if let Err(error) = &recorded {
            tracing::error!(%error, "what was done with orders is not recorded; what is not is not lent");
        } else {
            for Action { by, what, target, until, .. } in actions {
                let until = until.map(tracing::field::display);
                tracing::warn!(by, action = what, target, until, "an order changed");
            }
            let kept = if current.ledger == turn.recorded {
                Ok(())
            } else {
                break_glass::write_ledger(&site.memory, &current.ledger)
            };
            if let Err(error) = kept {
                tracing::error!(%error, "orders are recorded, and that they are is not kept");
            }
            turn.recorded = current.ledger.clone();
        }
        if current.unrecorded != recorded.is_err() {
            let unrecorded = recorded.is_err();
            self.break_glass.state.store(Arc::new(State { unrecorded, ..State::clone(&current) }));
        }
    }

    fn tell_of_orders(&self, turn: &mut Turn) {
        let (state, now) = (self.break_glass.state.load(), self.clock.wall());
        let recorded = in_force(&state, now).into_iter().filter(|id| turn.recorded.orders.contains_key(id)).collect();
        for (id, sound) in turn.alarm.sounds(&recorded, self.clock.now()) {
            let order = state.ledger.orders.get(&id).map(|entry| &entry.order);
            let (purpose, until) = (order.map(|it| &*it.purpose), order.map(|it| tracing::field::display(it.until)));
            let systems = order.map(|it| it.systems.join(", "));
            match sound {
                Sound::Began => tracing::warn!(order = id, purpose, systems, until, "break-glass: a purpose is lent"),
                Sound::GoesOn => tracing::warn!(order = id, purpose, systems, until, "break-glass: still lent"),
                Sound::Ended => {
                    tracing::warn!(order = id, purpose, systems, "break-glass: no longer lent");
                }
            }
        }
    }
}

/// What the admin listener asks.
pub(super) fn operator_side(node: &Arc<Node>) -> GlassDesk {
    let node = Arc::downgrade(node);
    Arc::new(move |ask| {
        let Some(node) = node.upgrade() else { return Ok(serde_json::Value::Null) };
        let status = |entry: &Entry| {
            let status = node.orders_status(true).orders.into_iter().find(|order| order.order.id == entry.order.id);
            serde_json::to_value(status)
        };
        let answer = match ask {
            BreakGlassAsk::List => serde_json::to_value(node.orders_status(true)),
            BreakGlassAsk::Judge { order } => {
                let (sealed, judged) = node.judge_order(&order)?;
                serde_json::to_value(Verdict::of(&sealed, Some(&judged), node.clock.wall()))
            }
            BreakGlassAsk::Activate { order, by } => status(&node.activate_order(&order, &by)?.entry),
            BreakGlassAsk::End { id, by, reason } => status(&node.end_order(&id, &by, &reason)?),
            BreakGlassAsk::Review { id, by, note } => status(&node.review_order(&id, &by, &note)?),
        };
        Ok(answer.unwrap_or_default())
    })
}

/// Whether an order that was active has lost its file.
fn is_lost(found: &Found, ledger: &Ledger) -> bool {
    ledger.orders.iter().any(|(id, entry)| entry.ended.is_none() && !found.orders.contains_key(id))
}

/// The orders that count and whose time it is.
fn in_force(state: &State, now: Timestamp) -> BTreeSet<String> {
    state.orders.values().filter(|order| order.covers(now)).map(|order| order.id.clone()).collect()
}
