//! The node: what every core shares, and how parts of it are swapped while requests run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::{ArcSwap, Guard};
use popgate_plugins::{Chain, OpenError, Unusable};
use popgate_policy::bundle::{Bundle, Loaded, Source};
use popgate_policy::disclose::Secrets;
use popgate_policy::model::{DisclosureId, RegisterId};
use popgate_policy::problem::{Problem, Severity};
use tokio::sync::watch;

use crate::accept::Counters;
use crate::accept::trust::{Trust, TrustError, Warning};
use crate::admit::{Gates, Ground, Guesses, Quotas, Shedder, Tripped, Watch};
use crate::app::break_glass::BreakGlass;
use crate::app::bundle_store;
use crate::app::bundles::{Bundles, First};
use crate::app::changes::Hearing;
use crate::app::config::Config;
use crate::app::overload::Overload;
use crate::app::plugins::{self, SiteFiles};
use crate::app::seals::Seals;
use crate::app::shadow::Shadow;
use crate::app::suspensions::Suspensions;
use crate::app::tables::{self, Maker};
use crate::audit::{Audit, Unavailable};
use crate::cache::{self, Cache};
use crate::clock::Clock;
use crate::forward::pool::Pool;
use crate::forward::registers::{Around, RegisterError, Registers};
use crate::forward::tend;
use crate::metrics::{ExchangeTable, Metrics, OperationTable, PluginMetrics, RegisterMetrics, Tls12Table};
use crate::publish::Views;
use crate::share::Share;
use crate::suspend::StoreError;

/// What every core shares.
#[derive(Debug)]
pub struct Node {
    /// What differs by site.
    pub config: Config,
    /// The time.
    pub clock: Clock,
    /// Raw records.
    pub cache: Cache,
    /// The durable record.
    pub audit: Audit,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Failed guesses.
    pub guesses: Guesses,
    /// What limits stand on.
    pub(super) ground: Ground,
    /// What is shed, if anything may be.
    pub overload: Option<Arc<Overload>>,
    /// The keys for what is shown.
    pub secrets: Secrets,
    /// What operators have suspended.
    pub suspensions: Suspensions,
    /// What is lent.
    pub break_glass: BreakGlass,
    /// The bundles that were in force.
    pub bundles: Bundles,
    live: ArcSwap<Live>,
    trust: ArcSwap<Trust>,
    trust_changed: watch::Sender<Arc<Trust>>,
    registers: Arc<ArcSwap<Registers>>,
    /// Held while a bundle's files are read and put in force: of two reloads at once, the one that read older files must not come last.
    pub(super) reloading: Mutex<()>,
    /// Likewise of certificates and revocation lists, which MUST NOT wait for a bundle to be compiled.
    trusting: Mutex<()>,
    last: Mutex<LastReload>,
    /// Held while a bundle is narrowed and swapped: short, unlike `reloading`, so that no suspension waits for a compilation.
    swapping: Mutex<()>,
    /// Makes the policies' tables beforehand.
    tables: Maker,
    /// What the listener counts.
    pub counters: Arc<Counters>,
    /// Each register's counters.
    pub upstream: BTreeMap<RegisterId, RegisterMetrics>,
    /// What narrows permits further.
    pub plugins: Chain,
    /// Each plugin's counters, in the chain's order.
    pub plugin_metrics: Box<[PluginMetrics]>,
    /// Who is sealed, if `[sealed]` says so.
    pub seals: Option<Seals>,
    /// The candidate bundle, if `[shadow]` says so.
    pub shadow: Option<Shadow>,
    /// How it stands with changes that registers tell over NATS, if `[changes]` says where.
    pub(super) hearing: OnceLock<Hearing>,
}

/// The bundle in force and what belongs to it. A request sees one from start to end.
#[derive(Clone, Debug)]
pub struct Live {
    /// The bundle, without suspended permits.
    pub bundle: Arc<Bundle>,
    /// The bundle as it was loaded.
    pub loaded: Arc<Bundle>,
    /// Policies that are suspended.
    suspended: BTreeSet<String>,
    /// The files that it was loaded from.
    pub source: Arc<Source>,
    /// Its systems' limits.
    pub gates: Arc<Gates>,
    /// Its operations' counters.
    pub requests: Arc<OperationTable>,
    /// Its systems' counters of requests over TLS 1.2.
    pub tls12: Arc<Tls12Table>,
    /// Its exchange servers' counters.
    pub exchanges: Arc<ExchangeTable>,
    /// Its systems' views.
    pub views: Arc<Views>,
    /// What its author should still look at.
    pub warnings: Vec<Problem>,
    /// Since when it has been in force.
    pub since: jiff::Timestamp,
}

/// What one data-plane thread has to itself.
#[derive(Debug)]
pub struct Core {
    /// What it shares.
    pub node: Arc<Node>,
    /// Its upstream connections.
    pub pool: Pool,
    /// Its part in shedding what is too much.
    pub shedder: Option<Rc<Shedder>>,
}

/// How the last reloads went, for operators.
#[derive(Clone, Debug, Default)]
pub struct LastReload {
    /// What the last accepted bundle changed.
    pub changes: Vec<String>,
    /// Why the last offered bundle was refused, if it was the last thing that happened.
    pub bundle_problems: Vec<Problem>,
    /// What an operator should look at in the certificates and revocation lists in force.
    pub trust_warnings: Vec<String>,
    /// Why the last offered certificates or revocation lists were refused, likewise.
    pub trust_problem: Option<String>,
}

/// Why a bundle, certificates or revocation lists were not put in force.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The bundle's folder cannot be read.
    #[error("the bundle: {0}")]
    Files(#[from] std::io::Error),
    /// The bundle cannot be kept, or those that were kept cannot be read.
    #[error("the bundles that were in force: {0}")]
    Kept(#[from] bundle_store::StoreError),
    /// The bundle has errors.
    #[error("the bundle in `{}` has {} error(s)", dir.display(), errors(problems))]
    Bundle {
        /// Where.
        dir: PathBuf,
        /// Every problem found.
        problems: Vec<Problem>,
    },
    /// The agency side's TLS files.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A register's TLS files.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// A plugin's files.
    #[error(transparent)]
    Plugin(#[from] OpenError),
    /// The list of sealed persons.
    #[error("sealed persons: {0}")]
    Sealed(Unusable),
    /// The suspensions.
    #[error(transparent)]
    Suspensions(#[from] StoreError),
    /// The cache's memory, or the thread that sweeps it.
    #[error(
        "the memory of `[cache]`: {0}; with `lock` the limit of locked memory (LimitMEMLOCK) must be above `capacity`"
    )]
    Cache(std::io::Error),
    /// The shadow's thread.
    #[error("the shadow: {0}")]
    Shadow(std::io::Error),
    /// The thread that settles what nodes share.
    #[error("no thread to share limits: {0}")]
    Share(std::io::Error),
    /// The thread that watches how late the node is.
    #[error("no thread to watch for overload: {0}")]
    Overload(std::io::Error),
    /// The thread that resolves and checks registers.
    #[error("no thread to tend to the registers: {0}")]
    Tend(std::io::Error),
}

impl ReloadError {
    /// As those who show problems see it.
    pub fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Bundle { problems, .. } => problems.clone(),
            other => vec![Problem::error("unreadable", ".", other.to_string())],
        }
    }
}

/// The parts that a node is put together from.
#[derive(Debug)]
pub struct Parts {
    /// What differs by site.
    pub config: Config,
    /// The time.
    pub clock: Clock,
    /// The open audit log.
    pub audit: Audit,
    /// The keys for what is shown.
    pub secrets: Secrets,
    /// What the harvest guard tells persons apart by.
    pub watch_key: [u8; 16],
    /// What the cache hashes requests, persons and tags under.
    pub cache_key: [u8; 16],
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl Node {
    /// Reads suspensions, bundle, certificates and revocation lists, and puts the node together.
    ///
    /// # Errors
    /// If any of them cannot be used: a node does not start half.
    pub fn new(parts: Parts) -> Result<Arc<Self>, ReloadError> {
        let Parts { config, clock, audit, secrets, watch_key, cache_key, metrics } = parts;
        let suspensions = Suspensions::open(&config.state, &clock, &metrics)?;
        let First { source, loaded, bundles, problems } = Bundles::open(&config, &clock)?;
        let run = u64::try_from(clock.wall().as_microsecond()).unwrap_or_default();
        let share = config.share.as_ref().map(|share| Share::open(share.0.clone(), clock.clone(), run));
        let share = share.transpose().map_err(ReloadError::Share)?;
        let ground = Ground {
            clock: clock.clone(),
            quotas: Arc::new(Quotas::open(&config.state)),
            slots: Arc::default(),
            share: share.map(Arc::new),
            watch: Arc::new(Watch::open(
                &config.state,
                config.harvest.clone(),
                watch_key,
                &clock,
                &audit,
                &metrics.limits,
            )),
            metrics: metrics.limits.clone(),
            enforced: config.limits.enforced,
        };
        let gates = Gates::build(&loaded.bundle, None, &ground);
        let agencies = loaded.bundle.directory().agencies().count();
        let overload =
            Overload::open(&config.overload, agencies, config.cores, &clock).map_err(ReloadError::Overload)?;
        let settings = cache::Settings {
            capacity_bytes: config.cache.capacity_bytes,
            shelter: config.cache.shelter,
            share: config.share.as_ref().map(|share| share.0.clone()),
            key: cache_key,
        };
        let cache = Cache::new(settings, config.registers.keys(), &clock).map_err(ReloadError::Cache)?;
        let live = Live::new(source, loaded, gates, &metrics, &clock).without(suspensions.policies(clock.wall()));
        let (trust, trust_warnings) = load_trust(&config, 1, &clock, None)?;
        let trust = Arc::new(trust);
        let around = Around { zone: config.zone.as_deref(), metrics: &metrics, clock: &clock };
        let registers = Registers::load(&config.registers, None, around)?;
        let chain = Chain::open(&config.plugins, &SiteFiles)?;
        plugins::warn_of_unknown_names(&chain, &live.bundle);
        let open = |sealed| Seals::open(sealed, metrics.seals()).map_err(ReloadError::Sealed);
        let seals = config.sealed.as_ref().map(open).transpose()?;
        let shadow = config.shadow.as_ref().map(|shadow| Shadow::open(shadow, &metrics, &clock));
        let shadow = shadow.transpose().map_err(ReloadError::Shadow)?;
        warn_of_missing_registers(&config, &live.bundle);
        let upstream =
            config.registers.keys().map(|register| (register.clone(), metrics.register(register.as_str()))).collect();
        let (trust_changed, _) = watch::channel(Arc::clone(&trust));
        let node = Arc::new(Self {
            cache,
            guesses: Guesses::new(config.guesses.clone()),
            ground,
            overload,
            break_glass: BreakGlass::open(&config),
            bundles,
            config,
            clock,
            audit,
            plugin_metrics: chain.names().map(|name| metrics.plugin(name)).collect(),
            plugins: chain,
            seals,
            shadow,
            hearing: OnceLock::new(),
            metrics,
            secrets,
            suspensions,
            live: ArcSwap::from_pointee(live),
            trust: ArcSwap::new(trust),
            trust_changed,
            registers: Arc::new(ArcSwap::from_pointee(registers)),
            reloading: Mutex::default(),
            trusting: Mutex::default(),
            last: Mutex::new(LastReload {
                bundle_problems: problems,
                trust_warnings: trust_warnings.iter().map(ToString::to_string).collect(),
                ..LastReload::default()
            }),
            swapping: Mutex::default(),
            tables: Maker::default(),
            counters: Arc::default(),
            upstream,
        });
        node.tables.make_rest(&node.live().bundle, None);
        tend::tend(&node.registers, node.clock.clone()).map_err(ReloadError::Tend)?;
        node.record_suspensions();
        node.record_bundles();
        node.let_go_of_bundles();
        node.reload_orders();
        Ok(node)
    }

    /// The bundle in force.
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// The certificates and revocation lists in force.
    pub fn trust(&self) -> Guard<Arc<Trust>> {
        self.trust.load()
    }

    /// Tells of every change of [`Node::trust`].
    pub fn trust_changes(&self) -> watch::Receiver<Arc<Trust>> {
        self.trust_changed.subscribe()
    }

    /// Keeps what was used of quotas.
    pub(super) fn tend_limits(&self) {
        self.ground.quotas.keep(&self.clock);
        self.ground.watch.record();
    }

    /// The limits that nodes share, if they do.
    pub fn share(&self) -> Option<&Share> {
        self.ground.share.as_deref()
    }

    /// Time passes for the harvest guard.
    pub(super) fn tend_watch(&self) {
        let gates = Arc::clone(&self.live().gates);
        self.ground.watch.tend(|party| gates.rules_of(party));
    }

    /// Keeps what the harvest guard knows over a restart.
    pub(super) fn keep_watch(&self) {
        let gates = Arc::clone(&self.live().gates);
        self.ground.watch.keep(|party| gates.rules_of(party));
    }

    /// Whom the harvest guard has tripped for, or nearly.
    pub fn harvest(&self) -> Vec<Tripped> {
        let gates = Arc::clone(&self.live().gates);
        self.ground.watch.standings(|party| gates.rules_of(party))
    }

    /// Ends a party's trips; `false` if it has none.
    ///
    /// # Errors
    /// If that cannot be recorded.
    pub fn pardon(&self, party: &str, by: &str, reason: &str) -> Result<bool, Unavailable> {
        self.ground.watch.pardon(party, by, reason)
    }

    /// How the last reloads went.
    pub fn last_reload(&self) -> LastReload {
        self.last().clone()
    }

    /// The registers, as they are reached now.
    pub fn registers(&self) -> Arc<Registers> {
        self.registers.load_full()
    }

    /// A core's upstream connections.
    pub fn pool(&self) -> Pool {
        Pool::new(Arc::clone(&self.registers), self.clock.clone())
    }

    /// 128 random bits for a new disclosure.
    pub fn new_id(&self) -> DisclosureId {
        let mut bytes = [0; 16];
        // The generator fails only if the operating system gave it no seed; ids then repeat, which the audit log notices.
        if aws_lc_rs::rand::fill(&mut bytes).is_err() {
            tracing::error!("the random number generator failed");
        }
        DisclosureId::from_bytes(bytes)
    }

    /// Offers certificates, authorities and revocation lists. See [`Trust::load`] for what one bad file does to the others.
    ///
    /// # Errors
    /// If nothing of them was put in force.
    pub fn reload_trust(&self) -> Result<(), ReloadError> {
        let _alone = self.trusting();
        let before = self.trust.load();
        let generation = before.generation() + 1;
        let (trust, warnings) =
            load_trust(&self.config, generation, &self.clock, Some(&before)).inspect_err(|error| {
                self.last().trust_problem = Some(error.to_string());
                self.metrics.trust_reloads.refused.inc();
            })?;
        let trust = Arc::new(trust);
        let refused: Vec<String> = warnings.iter().filter(|it| it.refused).map(ToString::to_string).collect();
        if !refused.is_empty() {
            self.metrics.trust_reloads.refused.inc();
        }
        let mut last = self.last();
        last.trust_problem = (!refused.is_empty()).then(|| refused.join("; "));
        last.trust_warnings = warnings.iter().map(ToString::to_string).collect();
        drop(last);
        self.metrics.trust_reloads.accepted.inc();
        // The per-request check reads the one, waiting connections are woken by the other: the first must be first.
        self.trust.store(Arc::clone(&trust));
        self.trust_changed.send_replace(trust);
        Ok(())
    }

    /// Offers the registers' credentials; connections made under the old ones are not used again. Those in force stay, if
    /// one of them cannot be used. Apart from [`Node::reload_trust`]: a revocation MUST NOT wait for a register's file.
    ///
    /// # Errors
    /// For the first file that cannot be used.
    pub fn reload_registers(&self) -> Result<(), ReloadError> {
        let _alone = self.trusting();
        let before = self.registers.load();
        let around = Around { zone: self.config.zone.as_deref(), metrics: &self.metrics, clock: &self.clock };
        let registers = Registers::load(&self.config.registers, Some(&before), around)?;
        // A revocation list on the agencies' side must not cost the connections to the registers.
        if !registers.is_the_same(&before) {
            self.registers.store(Arc::new(registers));
        }
        Ok(())
    }

    /// Puts a bundle in force, or the one that is again, without the permits that are suspended now.
    pub(super) fn put_in_force(&self, live: Option<Live>) {
        // Nobody who suspends something waits for these.
        let live = live.map(|live| {
            let live = live.without(self.suspensions.policies(self.clock.wall()));
            tables::make_hot(&live.bundle, &self.live().bundle);
            live
        });
        let _alone = self.swapping.lock().unwrap_or_else(PoisonError::into_inner);
        let suspended = self.suspensions.policies(self.clock.wall());
        let current = self.live();
        let live = match live {
            Some(live) => live,
            None if current.suspended == suspended => return,
            None => Live::clone(&current),
        };
        let live = Arc::new(live.without(suspended));
        self.live.store(Arc::clone(&live));
        self.tables.make_rest(&live.bundle, Some(Arc::clone(&current.bundle)));
    }

    fn trusting(&self) -> std::sync::MutexGuard<'_, ()> {
        self.trusting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn reloading(&self) -> std::sync::MutexGuard<'_, ()> {
        self.reloading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn last(&self) -> std::sync::MutexGuard<'_, LastReload> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    pub(super) fn new(source: Source, loaded: Loaded, gates: Gates, metrics: &Metrics, clock: &Clock) -> Self {
        let since = clock.wall();
        let mut warnings = loaded.warnings;
        warnings.extend(loaded.bundle.past_sunset(clock.local().date()));
        let requests = metrics.bundle(&loaded.bundle, since.as_second());
        let tls12 = metrics.tls12(loaded.bundle.directory());
        let exchanges = metrics.exchanges(loaded.bundle.directory());
        Self {
            views: Views::of(&loaded.bundle),
            bundle: Arc::clone(&loaded.bundle),
            loaded: loaded.bundle,
            suspended: BTreeSet::new(),
            source: Arc::new(source),
            gates: Arc::new(gates),
            requests: Arc::new(requests),
            tls12: Arc::new(tls12),
            exchanges: Arc::new(exchanges),
            warnings,
            since,
        }
    }

    /// The permits that are suspended.
    pub(super) fn suspended(&self) -> &BTreeSet<String> {
        &self.suspended
    }

    /// Whether every policy that is suspended now was so then.
    pub fn suspends_no_more_than(&self, then: &Self) -> bool {
        self.suspended.is_subset(&then.suspended)
    }

    /// The same, but for permits that are suspended.
    fn without(mut self, suspended: BTreeSet<String>) -> Self {
        if self.suspended != suspended {
            self.bundle =
                if suspended.is_empty() { Arc::clone(&self.loaded) } else { Arc::new(self.loaded.without(&suspended)) };
            self.views = Views::of(&self.bundle);
            self.suspended = suspended;
        }
        self
    }
}

fn load_trust(
    config: &Config,
    generation: u64,
    clock: &Clock,
    before: Option<&Trust>,
) -> Result<(Trust, Vec<Warning>), ReloadError> {
    let (trust, warnings) = Trust::load(&config.tls, generation, clock, before)?;
    for warning in &warnings {
        if warning.refused {
            tracing::error!(%warning, "certificates and revocation lists");
        } else {
            tracing::warn!(%warning, "certificates and revocation lists");
        }
    }
    Ok((trust, warnings))
}

/// A register that a contract names and `gateway.toml` does not is no error: its operations answer `register_unavailable`.
pub(super) fn warn_of_missing_registers(config: &Config, bundle: &Bundle) {
    let mut named: Vec<&RegisterId> =
        bundle.contracts().operations().iter().map(|operation| &operation.upstream.register).collect();
    named.sort_unstable();
    named.dedup();
    for register in named.into_iter().filter(|register| !config.registers.contains_key(*register)) {
        tracing::warn!(register = register.as_str(), "a contract names a register that has no [registers] entry");
    }
}

fn errors(problems: &[Problem]) -> usize {
    problems.iter().filter(|problem| problem.severity == Severity::Error).count()
}
