//! Starting a node, keeping it current, and shutting it down.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use popgate_policy::disclose::cursor::CursorKey;
use popgate_policy::disclose::{PseudonymKey, Secrets};
use popgate_policy::problem::Severity;
use tokio::signal::unix::{SignalKind, signal};

use crate::accept;
use crate::admin::{self, AdminState};
use crate::app::break_glass;
use crate::app::bundles;
use crate::app::cache;
use crate::app::changes;
use crate::app::config::Config;
use crate::app::node::{Core, Node, Parts, ReloadError};
use crate::app::plugins;
use crate::app::reads;
use crate::app::seals;
use crate::app::shadow::Shadow;
use crate::app::status;
use crate::app::suspensions;
use crate::app::watch::{self, Targets, Watcher};
use crate::audit::{Audit, AuditError, AuditKey, Options};
use crate::changes::Changes;
use crate::clock::Clock;
use crate::custody::{self, CustodyError};
use crate::metrics::Metrics;
use crate::share::State;
use crate::{pipeline, whoami};

/// A node that serves. Dropped without [`Running::drain`], it stops at once.
#[derive(Debug)]
pub struct Running {
    // In this order: the file watch ends before what it reloads.
    watchers: Vec<Watcher>,
    serving: accept::Serving,
    admin: Option<admin::Serving>,
    whoami: Option<whoami::Serving>,
    changes: Option<Changes>,
    draining: Arc<AtomicBool>,
    node: Arc<Node>,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The time zone.
    #[error("time_zone `{zone}`: {source}")]
    TimeZone {
        /// As configured.
        zone: String,
        /// Why.
        source: jiff::Error,
    },
    /// A key.
    #[error(transparent)]
    Custody(#[from] CustodyError),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Bundle, certificates or registers.
    #[error(transparent)]
    Load(#[from] ReloadError),
    /// The agencies' listener.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The admin listener.
    #[error(transparent)]
    Admin(#[from] admin::AdminError),
    /// The thread that hears what registers changed.
    #[error("no thread to hear what registers changed: {0}")]
    Changes(#[source] io::Error),
    /// The file watch, or a signal handler.
    #[error("cannot watch files or signals: {0}")]
    Watch(#[source] io::Error),
}

/// Starts a node: reads its files, opens its log, listens.
///
/// With `sighup`, that signal reloads bundle, certificates and revocation lists; changed files do in any case.
///
/// # Errors
/// [`StartError`]; nothing listens then.
pub fn start(config: Config, sighup: bool) -> Result<Running, StartError> {
    let clock = Clock::system(&config.time_zone)
        .map_err(|source| StartError::TimeZone { zone: config.time_zone.clone(), source })?;
    let cursors = match &config.keys.cursor {
        Some(file) => custody::symmetric_key(file)?,
        None => custody::passing_key()?,
    };
    let pseudonyms = custody::symmetric_key(&config.keys.pseudonym)?;
    let watch_key = custody::derived(&pseudonyms, "harvest guard");
    let cache_key = custody::derived(&pseudonyms, "cache");
    let secrets = Secrets { pseudonyms: PseudonymKey::new(pseudonyms), cursors: CursorKey::new(cursors) };
    let audit_key = AuditKey::new(custody::symmetric_key(&config.keys.audit)?);
    let options = Options {
        segment_bytes: config.audit.segment_bytes,
        min_free_bytes: config.audit.min_free_bytes,
        ..Options::default()
    };
    let (audit, opened) = Audit::open(&config.audit.dir, options, audit_key, clock.clone())?;
    tracing::info!(records = opened.records, clean = opened.clean, "the audit log is open");
    for torn in &opened.torn {
        tracing::warn!(%torn, "the audit log was repaired");
    }
    let metrics = Arc::new(Metrics::new());
    let (targets, switches) = (Targets::of(&config), Targets::of_suspensions(&config));
    let (orders, bundles) = (Targets::of_orders(&config), Targets::of_bundle(&config));
    let candidate = config.shadow.as_ref().map(Targets::of_shadow);
    // Before anything of it is read.
    let seen_candidate = candidate.as_ref().map(Targets::seen);
    let (seen_files, seen_suspensions, seen_orders) = (targets.seen(), switches.seen(), orders.seen());
    let seen_bundles = bundles.seen();
    let (http, cores, listen) = (config.http.clone(), config.cores, config.listen.clone());
    let parts = Parts { config, clock: clock.clone(), audit, secrets, watch_key, cache_key, metrics };
    let node = Node::new(parts)?;
    let changes = changes::listen(&node).map_err(StartError::Changes)?;

    let cores_of = Arc::clone(&node);
    let door = node.overload.as_ref().map(|overload| overload.door()).unwrap_or_default();
    let serving = accept::serve(
        accept::Options { listen: listen.https, cores, http, door },
        node.trust_changes(),
        clock,
        Arc::clone(&node.counters),
        move |index| {
            let shedder = cores_of.overload.as_ref().and_then(|overload| overload.shedder(index)).map(Rc::new);
            if let Some(shedder) = shedder.clone() {
                // It ends with the core's runtime.
                drop(tokio::task::spawn_local(async move { shedder.beat().await }));
            }
            let core = Rc::new(Core { pool: cores_of.pool(), node: Arc::clone(&cores_of), shedder });
            move |inbound| {
                let core = Rc::clone(&core);
                async move { pipeline::answer(&core, inbound).await }
            }
        },
    )
    .map_err(|source| StartError::Listen { address: listen.https, source })?;

    let draining = Arc::new(AtomicBool::new(false));
    let (seen, observed, collected) = (Arc::clone(&draining), Arc::clone(&node), Arc::clone(&node));
    let state = AdminState {
        metrics: Arc::clone(&node.metrics),
        status: Arc::new(move || status::of(&observed, seen.load(Ordering::Relaxed))),
        collect: Arc::new(move || status::collect(&collected)),
        suspensions: suspensions::operator_side(&node),
        harvest: harvest_guard(&node),
        break_glass: break_glass::operator_side(&node),
        bundles: bundles::operator_side(&node),
        cache: cache::operator_side(&node),
        reads: reads::operator_side(&node),
    };
    let admin = admin::serve(&node.config, state)?;
    let whoami = whoami::serve(&node)
        .map_err(|source| StartError::Listen { address: listen.whoami.unwrap_or(listen.https), source })?;
    let (reloaded, reload_admin) = (Arc::clone(&node), admin.as_ref().map(admin::Serving::reloader));
    let watcher = watch::watch(targets, seen_files, sighup, move |changed| {
        // A hangup; the files have a watch of their own.
        if changed.suspensions {
            suspensions::reload(&reloaded);
        }
        if changed.orders {
            reloaded.reload_orders();
        }
        if changed.trust {
            reload_credentials(&reloaded);
        }
        if let (true, Some(admin)) = (changed.admin, &reload_admin) {
            admin.reload();
        }
        if changed.plugins {
            plugins::reload(&reloaded);
            seals::reload(&reloaded);
        }
    })
    .map_err(StartError::Watch)?;
    let renewed = Arc::clone(&node);
    let bundles = watch::watch(bundles, seen_bundles, sighup, move |_| reload_bundle(&renewed));
    let suspended = Arc::clone(&node);
    let switch = watch::watch(switches, seen_suspensions, false, move |_| suspensions::reload(&suspended));
    let lender = Arc::clone(&node);
    let lent = watch::watch(orders, seen_orders, false, move |_| lender.reload_orders());
    let own = [bundles, switch, lent].into_iter().collect::<Result<Vec<_>, _>>().map_err(StartError::Watch)?;
    let mut watchers = vec![watcher];
    watchers.extend(own);
    if let (Some(candidate), Some(seen)) = (candidate, seen_candidate) {
        let shadowed = Arc::clone(&node);
        let reload = move |_| shadowed.shadow.iter().for_each(Shadow::reload);
        watchers.push(watch::watch(candidate, seen, sighup, reload).map_err(StartError::Watch)?);
    }
    let renewed = Arc::downgrade(&node);
    std::thread::Builder::new()
        .name("renew-trust".into())
        .spawn(move || renew_trust(&renewed))
        .map_err(StartError::Watch)?;
    Ok(Running { watchers, serving, admin, whoami, changes, draining, node })
}

/// Serves until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// As [`start`].
pub fn serve(config: Config) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Watch)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Watch)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Watch)?;
        let running = start(config, true)?;
        let (admin, whoami) = (running.admin(), running.whoami());
        let (admin, whoami) = (admin.map(tracing::field::display), whoami.map(tracing::field::display));
        tracing::info!(https = %running.https(), admin, whoami, "serving");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("draining");
        running.drain().await;
        tracing::info!("drained");
        Ok(())
    })
}

impl Running {
    /// Where agencies connect.
    pub fn https(&self) -> SocketAddr {
        self.serving.local_addr()
    }

    /// Where operators connect.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(admin::Serving::local_addr)
    }

    /// Where clients learn what is wrong with them.
    pub fn whoami(&self) -> Option<SocketAddr> {
        self.whoami.as_ref().map(whoami::Serving::local_addr)
    }

    /// The node, for whoever runs it in its own process.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Stops accepting, lets requests in flight end within the configured time, and closes the audit log.
    pub async fn drain(self) {
        self.draining.store(true, Ordering::Relaxed);
        self.node.metrics.draining.set(1);
        self.serving.drain(self.node.config.drain).await;
        drop((self.watchers, self.admin, self.whoami, self.changes));
        self.node.tend_limits();
        self.node.keep_watch();
        self.node.audit.clone().close();
    }
}

/// What operators ask of the harvest guard.
fn harvest_guard(node: &Arc<Node>) -> admin::HarvestGuard {
    let (listing, pardoning) = (Arc::clone(node), Arc::clone(node));
    admin::HarvestGuard {
        list: Arc::new(move || listing.harvest()),
        pardon: Arc::new(move |party, by, reason| pardoning.pardon(party, by, reason)),
    }
}

/// Puts a changed bundle in force; one that cannot be used is said, and changes nothing.
fn reload_bundle(node: &Node) {
    match node.reload_bundle() {
        Ok(changes) if changes.is_empty() => {}
        Ok(changes) => {
            for change in changes {
                tracing::info!(%change, "bundle reloaded");
            }
        }
        Err(error) => {
            tracing::error!(%error, "bundle refused; the last good one stays in force");
            if let ReloadError::Bundle { problems, .. } = error {
                // What is only worth a second look has not changed by that, and is in `popgate check`.
                for problem in problems.iter().filter(|problem| problem.severity == Severity::Error) {
                    tracing::error!(%problem, "bundle refused");
                }
            }
        }
    }
}

/// Puts changed certificates and revocation lists in force, likewise.
fn reload_credentials(node: &Node) {
    reload_trust(node);
    match node.reload_registers() {
        Ok(()) => tracing::info!("registers' credentials reloaded"),
        Err(error) => tracing::error!(%error, "registers' credentials refused; the last good ones stay in force"),
    }
}

fn reload_trust(node: &Node) {
    match node.reload_trust() {
        Ok(()) => {
            tracing::info!(generation = node.trust().generation(), "certificates and revocation lists reloaded");
        }
        Err(error) => {
            tracing::error!(%error, "certificates or revocation lists refused; the last good ones stay in force");
        }
    }
}

/// Loads the trust again whenever an authority in it expires: the TLS library does not look at the validity of authorities.
/// Gives back what suspensions took that are over, and ends what was lent.
fn renew_trust(node: &Weak<Node>) {
    let mut seconds: u64 = 0;
    let (mut shared, mut heard) = (None, None);
    loop {
        std::thread::sleep(RENEWAL);
        let Some(node) = node.upgrade() else { return };
        node.tend_suspensions();
        node.tend_orders();
        node.tend_bundles();
        node.tend_limits();
        shared = say_share(&node, shared);
        heard = node.say_hearing(heard);
        seconds += 1;
        if seconds.is_multiple_of(TEND_WATCH) {
            node.tend_watch();
        }
        if seconds.is_multiple_of(KEEP_WATCH) {
            node.keep_watch();
        }
        if node.trust().reload_at().is_some_and(|at| at <= node.clock.unix()) {
            reload_trust(&node);
        }
    }
}

/// Says in the log when this node begins to live on its own share of limits, and when that ends.
fn say_share(node: &Node, before: Option<bool>) -> Option<bool> {
    let state = node.share()?.state();
    let is_shared = state == State::Shared;
    if before != Some(is_shared) {
        match state {
            State::Shared => tracing::info!("limits are shared with the other nodes"),
            State::Local { why, .. } => tracing::warn!(%why, "limits are not shared: this node lives on its own share"),
        }
    }
    Some(is_shared)
}

/// How often the authorities' validity and the suspensions' ends are looked at.
const RENEWAL: Duration = Duration::from_secs(1);
/// After how many of these time passes for the harvest guard, and what it knows is kept.
const TEND_WATCH: u64 = 10;
const KEEP_WATCH: u64 = 300;
