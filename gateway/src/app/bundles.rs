//! The bundle of a node: which of those that are offered comes into force, that it is kept and recorded, and which one comes back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use popgate_policy::bundle::{Digest, Loaded, Source};
use popgate_policy::problem::Problem;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::admin::{BundleAsk, BundleDesk};
use crate::admit::Gates;
use crate::app::bundle_store::{Entry, History, How, NotFound, Rollback, Store, StoreError};
use crate::app::config::Config;
use crate::app::node::{Live, Node, ReloadError};
use crate::app::{bundle_files, diff, plugins};
use crate::audit::Action;
use crate::clock::Clock;
use crate::suspend::{MOST_REASON, is_plain};

mod offer;

use offer::{Offer, Offered, again, checked, compiled, load, offer, take_rollback};

/// What is kept of the bundles of a node.
#[derive(Debug)]
pub struct Bundles {
    store: Store,
    // Shared with the thread that lets go of old ones.
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    history: History,
    letting_go: bool,
}

/// What a node starts with.
pub(super) struct First {
    pub(super) source: Source,
    pub(super) loaded: Loaded,
    pub(super) bundles: Bundles,
    /// Why the bundle in the folder is not the one.
    pub(super) problems: Vec<Problem>,
}

/// Why an older bundle does not come back. Nothing changed then.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// A text that cannot be recorded.
    #[error("the reason {0}")]
    Reason(&'static str),
    /// What was named is no bundle.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// It is in force.
    #[error("bundle {0} is in force already")]
    InForce(Digest),
    /// Nobody had to sign it then, or those who did may no longer, and somebody has to now.
    #[error(
        "bundle {0} is not known to be signed by as many of those in `[bundle.keys]` as it needs, and `[bundle] require_signatures` is on; have it signed as a new version"
    )]
    Unsigned(Digest),
    /// Another bundle came into force since it was asked for.
    #[error("another bundle came into force after the rollback was asked for, at {0}; ask again if it is still wanted")]
    Late(Timestamp),
    /// The bundle cannot be used.
    #[error(transparent)]
    Refused(#[from] ReloadError),
}

/// For operators.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BundlesStatus {
    /// Each coming into force, oldest first.
    pub bundles: Vec<BundleEntry>,
    /// Whether signatures are required.
    pub signatures_required: bool,
}

/// One coming into force.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BundleEntry {
    /// What is remembered of it.
    #[serde(flatten)]
    pub entry: Entry,
    /// Whether it is what is in force.
    pub in_force: bool,
    /// Whether its files are still kept.
    pub kept: bool,
}

impl BundlesStatus {
    /// Of a history, on the machine itself or by the node.
    pub fn of(history: &History, store: &Store, signatures_required: bool) -> Self {
        let last = history.entries.len().wrapping_sub(1);
        let entries = history.entries.iter().enumerate();
        let bundles = entries.map(|(at, entry)| BundleEntry {
            entry: entry.clone(),
            in_force: at == last,
            kept: store.has(&entry.digest),
        });
        Self { bundles: bundles.collect(), signatures_required }
    }
}

/// The bundle that a name means for a rollback; the one before, without a name.
///
/// # Errors
/// If it cannot come back.
pub fn rollback_target(history: &History, to: Option<&str>, signed: bool) -> Result<Digest, RollbackError> {
    let digest = match to {
        Some(name) => history.find(name)?,
        None => history.before()?,
    };
    if history.last().is_some_and(|last| last.digest == digest) {
        return Err(RollbackError::InForce(digest));
    }
    match history.latest(&digest) {
        Some(entry) if !signed || entry.signatures > 0 => Ok(digest),
        _ => Err(RollbackError::Unsigned(digest)),
    }
}

/// Why a gateway of that configuration would not take what stands in the folder; empty if it would, or has it already.
pub fn refused(config: &Config, now: Timestamp) -> Vec<Problem> {
    let store = Store::new(&config.state);
    let offered = store.history().map_err(ReloadError::from).and_then(|history| {
        let signed = history.last().filter(|last| last.signatures > 0);
        let baseline = || signed.map(|last| Ok(load(&store, &last.digest)?.1.bundle)).transpose();
        offer(config, &history, (UNKNOWN, How::Reload, now), baseline, None)
    });
    offered.map_or_else(|error| error.problems(), |_| Vec::new())
}

impl Bundles {
    /// Finds the bundle to start with: the folder's, unless it is refused and another is in force under signatures, or was set aside.
    pub(super) fn open(config: &Config, clock: &Clock) -> Result<First, ReloadError> {
        let store = Store::new(&config.state);
        let history = store.history()?;
        let mut problems = Vec::new();
        let now = clock.wall();
        if let Some(order) = take_rollback(&store) {
            let wanted = checked(&order, &history, config).and_then(|()| {
                let before = history.last().and_then(|last| load(&store, &last.digest).ok());
                let before = before.as_ref().map(|(_, loaded)| &*loaded.bundle);
                again(&store, &history, &order, config, before, now)
            });
            match wanted {
                Ok(offer) => return Self::begin(store, history, offer),
                Err(error) => tracing::error!(%error, by = order.by, "a rollback is refused"),
            }
        }
        let last = history.last().cloned();
        let signed = last.as_ref().filter(|last| config.signing.required && last.signatures > 0);
        let baseline = || match signed {
            Some(last) => Ok(Some(load(&store, &last.digest)?.1.bundle)),
            None => Ok(None),
        };
        let stays = match (offer(config, &history, (UNKNOWN, How::Start, now), baseline, None), signed) {
            (Ok(Offered::New(mut offer)), _) => {
                // Where there was nothing before, nobody did anything.
                offer.entry.recorded = last.is_none() && !config.signing.required;
                return Self::begin(store, history, *offer);
            }
            (Ok(Offered::Stays(digest)), _) => digest,
            (Err(error), None) => return Err(error),
            (Err(error), Some(last)) => {
                problems = error.problems();
                let digest = last.digest;
                tracing::error!(%error, %digest, "bundle refused; the last good one stays in force");
                for problem in &problems {
                    tracing::error!(%problem, "bundle refused");
                }
                digest
            }
        };
        let folder = bundle_files::read(&config.bundle).ok().filter(|source| Digest::of(source) == stays);
        let (source, loaded) = match folder {
            Some(source) => {
                store.keep(&source, None)?;
                let loaded = compiled(&source, config, None)?;
                (source, loaded)
            }
            None => load(&store, &stays)?,
        };
        let state = Arc::new(Mutex::new(State { history, letting_go: false }));
        Ok(First { source, loaded, bundles: Self { store, state }, problems })
    }

    fn begin(store: Store, history: History, offer: Offer) -> Result<First, ReloadError> {
        let Offer { source, manifest, loaded, entry } = offer;
        let bundles = Self { store, state: Arc::new(Mutex::new(State { history, letting_go: false })) };
        bundles.keep(&source, manifest.as_deref(), entry)?;
        Ok(First { source, loaded, bundles, problems: Vec::new() })
    }

    /// What came into force so far.
    pub fn history(&self) -> History {
        self.state().history.clone()
    }

    /// Where they are kept.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Keeps a bundle, and that it comes into force; before it does.
    fn keep(&self, source: &Source, manifest: Option<&str>, entry: Entry) -> Result<(), StoreError> {
        let mut state = self.state();
        self.store.keep(source, manifest)?;
        let mut history = state.history.clone();
        history.push(entry);
        self.store.write_history(&history)?;
        state.history = history;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

impl Node {
    /// Offers the bundle's files. The one in force stays, if they have an error.
    ///
    /// # Errors
    /// Every problem of the files.
    pub fn reload_bundle(&self) -> Result<Vec<String>, ReloadError> {
        self.reload_bundle_for(UNKNOWN)
    }

    /// As [`Node::reload_bundle`], for an operator. What an operator beside the node wants back comes first.
    ///
    /// # Errors
    /// Every problem of the files.
    pub fn reload_bundle_for(&self, by: &str) -> Result<Vec<String>, ReloadError> {
        let alone = self.reloading();
        let mut changes = Vec::new();
        if let Some(order) = take_rollback(&self.bundles.store) {
            let history = self.bundles.history();
            let wanted = checked(&order, &history, &self.config).and_then(|()| self.bring_back(&order));
            match wanted {
                Ok(done) => changes = done,
                Err(error) => tracing::error!(%error, by = order.by, "a rollback is refused"),
            }
        }
        let (history, live) = (self.bundles.history(), self.live());
        let baseline = || Ok(history.last().filter(|last| last.signatures > 0).map(|_| Arc::clone(&live.loaded)));
        let after = Some((&*live.source, &*live.loaded));
        let offered = offer(&self.config, &history, (by, How::Reload, self.clock.wall()), baseline, after);
        let adopted = offered.and_then(|offered| match offered {
            Offered::New(offer) => self.adopt(*offer).map(Some),
            Offered::Stays(_) => Ok(None),
        });
        match &adopted {
            Ok(Some(_)) => {}
            Ok(None) => {
                self.metrics.bundle_reloads.unchanged.inc();
                self.last().bundle_problems.clear();
            }
            Err(error) => {
                self.metrics.bundle_reloads.refused.inc();
                self.last().bundle_problems = error.problems();
            }
        }
        // It reads another folder: that must not hold up certificates.
        drop(alone);
        if !changes.is_empty() || matches!(adopted, Ok(Some(_))) {
            self.reload_orders();
        }
        changes.extend(adopted?.unwrap_or_default());
        Ok(changes)
    }

    /// Puts an older bundle in force again: by version, by the first digits of its digest, or the one before. It stays until the
    /// folder holds another one than now.
    ///
    /// # Errors
    /// If it cannot come back.
    pub fn roll_back(&self, to: Option<&str>, by: &str, reason: &str) -> Result<Vec<String>, RollbackError> {
        is_plain(reason, MOST_REASON).map_err(RollbackError::Reason)?;
        let alone = self.reloading();
        let to = rollback_target(&self.bundles.history(), to, self.config.signing.required)?;
        let order = Rollback { to, by: by.to_owned(), reason: reason.to_owned(), at: self.clock.wall() };
        let changes = self.bring_back(&order)?;
        drop(alone);
        self.reload_orders();
        Ok(changes)
    }

    /// For operators.
    pub fn bundles_status(&self) -> BundlesStatus {
        BundlesStatus::of(&self.bundles.history(), &self.bundles.store, self.config.signing.required)
    }

    /// Once a second: records what could not be recorded before.
    pub(super) fn tend_bundles(&self) {
        // Whoever has it now records.
        if let Ok(_alone) = self.reloading.try_lock() {
            self.record_bundles();
        }
    }

    /// Makes the audit log know which bundles came into force; what cannot be recorded is tried again.
    pub(super) fn record_bundles(&self) {
        let history = self.bundles.history();
        let unrecorded: Vec<&Entry> = history.entries.iter().filter(|entry| !entry.recorded).collect();
        if unrecorded.is_empty() {
            return;
        }
        if let Err(error) = self.act(unrecorded.iter().map(|entry| action(entry)).collect()) {
            tracing::error!(%error, "a bundle is in force, and that is not recorded");
            return;
        }
        let mut state = self.bundles.state();
        state.history.entries.iter_mut().for_each(|entry| entry.recorded = true);
        // It may be recorded twice, never not at all.
        if let Err(error) = self.bundles.store.write_history(&state.history) {
            tracing::error!(%error, "a bundle is recorded, and that it is is not kept");
        }
    }

    /// Lets go of bundles that no record names, in a thread: it reads the log.
    pub(super) fn let_go_of_bundles(&self) {
        let mut state = self.bundles.state();
        if std::mem::replace(&mut state.letting_go, true) {
            return;
        }
        drop(state);
        let (store, state) = (self.bundles.store.clone(), Arc::clone(&self.bundles.state));
        let log = self.config.audit.dir.clone();
        let let_go = move || {
            let mut seen = locked(&state).history.clone();
            let unnamed = store.unnamed(&mut seen, &log);
            let mut state = locked(&state);
            state.letting_go = false;
            let done = unnamed.and_then(|unnamed| {
                store.remove(&unnamed, &state.history);
                if state.history.learn(seen) { store.write_history(&state.history) } else { Ok(()) }
            });
            if let Err(error) = done {
                tracing::warn!(%error, "which bundles are no longer needed is not known: all are kept");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("old-bundles".into()).spawn(let_go) {
            self.bundles.state().letting_go = false;
            tracing::warn!(%error, "no thread to let go of old bundles");
        }
    }

    fn bring_back(&self, order: &Rollback) -> Result<Vec<String>, RollbackError> {
        let now = self.clock.wall();
        let before = Arc::clone(&self.live().loaded);
        let offer = again(&self.bundles.store, &self.bundles.history(), order, &self.config, Some(&*before), now)?;
        let widened = offer.entry.widened.join(", ");
        let changes = self.adopt(offer)?;
        tracing::warn!(to = %order.to, by = order.by, widened, "an older bundle is in force again");
        Ok(changes)
    }

    /// Puts a bundle in force: kept first, recorded as soon as it is.
    fn adopt(&self, offer: Offer) -> Result<Vec<String>, ReloadError> {
        let Offer { source, manifest, loaded, entry } = offer;
        let before = self.live();
        let problems = plugins::lost_names(&self.plugins, &before.loaded, &loaded.bundle);
        if !problems.is_empty() {
            return Err(ReloadError::Bundle { dir: self.config.bundle.clone(), problems });
        }
        self.bundles.keep(&source, manifest.as_deref(), entry)?;
        let changes = diff::changes((&before.source, &before.bundle), (&source, &loaded.bundle));
        let gates = Gates::build(&loaded.bundle, Some(&before.gates), &self.ground);
        super::node::warn_of_missing_registers(&self.config, &loaded.bundle);
        plugins::warn_of_unknown_names(&self.plugins, &loaded.bundle);
        self.metrics.bundle_reloads.accepted.inc();
        // Told first: who sees the new one must not read of the old one's problems.
        let mut last = self.last();
        last.bundle_problems.clear();
        last.changes.clone_from(&changes);
        drop(last);
        self.put_in_force(Some(Live::new(source, loaded, gates, &self.metrics, &self.clock)));
        self.say_suspensions();
        self.record_bundles();
        self.let_go_of_bundles();
        Ok(changes)
    }
}

/// What the admin listener asks.
pub(super) fn operator_side(node: &Arc<Node>) -> BundleDesk {
    let node = Arc::downgrade(node);
    Arc::new(move |ask| {
        let Some(node) = node.upgrade() else { return Ok(Value::Null) };
        let done = |changes: Vec<String>| {
            let last = node.bundles.history().entries.pop();
            json!({ "changes": changes, "in_force": last })
        };
        Ok(match ask {
            BundleAsk::List => serde_json::to_value(node.bundles_status()).unwrap_or_default(),
            BundleAsk::Kept { name } => {
                let digest = node.bundles.history().find(&name)?;
                let kept = node.bundles.store.load(&digest).map_err(ReloadError::from)?;
                serde_json::to_value(kept).unwrap_or_default()
            }
            BundleAsk::Reload { by } => done(node.reload_bundle_for(&by)?),
            BundleAsk::RollBack { to, by, reason } => done(node.roll_back(to.as_deref(), &by, &reason)?),
        })
    })
}

/// As the audit log has it.
fn action(entry: &Entry) -> Action {
    let version = entry.version.map(|version| format!(" version {version}")).unwrap_or_default();
    let signed = match entry.signed_by.join(", ") {
        nobody if nobody.is_empty() => String::new(),
        people => format!(" signed by {people}"),
    };
    let widening = entry.allow_widening.as_ref().filter(|_| entry.how != How::Rollback);
    let widening = widening.map(|why| format!("; sensitive fields are widened: {why}")).unwrap_or_default();
    let widened = match entry.widened.as_slice() {
        [] => String::new(),
        fields => format!("; shows more again of {}", fields.join(", ")),
    };
    Action {
        by: entry.by.clone(),
        what: if entry.how == How::Rollback { "rollback" } else { "install" }.to_owned(),
        target: format!("bundle {}{version}{signed}", entry.digest),
        reason: format!("{}{widening}{widened}", entry.why),
        until: None,
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who changed files.
const UNKNOWN: &str = "unknown";
