//! Metrics: handles that are resolved once, and the text that Prometheus reads.
//!
//! Labels hold names of the bundle and of the configuration, never anything that a client sent.

use std::fmt;
use std::time::Duration;

use popgate_plugins::Decided;
use popgate_policy::bundle::Bundle;
use popgate_policy::directory::Directory;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    Result, TextEncoder,
};

mod audit;
mod break_glass;
mod cache;
mod changes;
mod exchanges;
mod expiry;
mod fleet;
mod limits;
mod operations;
mod process;
mod seals;
mod shadow;
mod share;
mod suspensions;
mod tables;
#[cfg(test)]
mod tests;
mod tls12;
mod undeclared;

pub use audit::AuditMetrics;
pub use break_glass::BreakGlassMetrics;
pub use cache::CacheMetrics;
pub use changes::{ChangeMetrics, HeardMetrics};
pub use exchanges::ExchangeTable;
pub use expiry::ExpiryMetrics;
pub use fleet::{FleetMetrics, Fleets};
pub use limits::LimitMetrics;
pub use operations::{Code, OperationTable};
pub use shadow::ShadowMetrics;
pub use share::ShareMetrics;
pub use suspensions::SuspensionMetrics;
pub use tables::TableMetrics;
pub use tls12::Tls12Table;
pub use undeclared::UndeclaredMetrics;

/// A struct of counters that are one family with one label, each with its value fixed.
macro_rules! family {
    ($(#[$doc:meta])* $family:ident, $handle:ty, $vec:ty, $label:literal { $($(#[$field_doc:meta])* $field:ident = $value:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $family { $($(#[$field_doc])* pub $field: $handle,)+ }

        impl $family {
            pub(super) fn new(registry: &Registry, name: &str, help: &str) -> Result<Self> {
                let family = <$vec>::new(Opts::new(name, help), &[$label])?;
                registry.register(Box::new(family.clone()))?;
                Ok(Self { $($field: family.with_label_values(&[$value]),)+ })
            }
        }
    };
}

use family;

family!(
    /// `popgate_connections_total{protocol}`: connections whose handshake is done.
    Connections, IntCounter, IntCounterVec, "protocol" {
        /// HTTP/1.1.
        h1 = "http/1.1",
        /// HTTP/2.
        h2 = "h2",
        /// HTTP/3.
        h3 = "h3",
    }
);
family!(
    /// `popgate_connections_refused_total{reason}`: connections closed at once.
    ConnectionsRefused, IntCounter, IntCounterVec, "reason" {
        /// There were too many.
        full = "full",
        /// Their address had too many, or came too often.
        address = "address",
        /// They waited in vain to be let in while there was too much to do.
        waited = "waited",
        /// They went away while they waited.
        left = "left",
    }
);
family!(
    /// `popgate_tls_versions_total{version}`: handshakes by version.
    TlsVersions, IntCounter, IntCounterVec, "version" {
        /// TLS 1.2.
        tls12 = "1.2",
        /// TLS 1.3.
        tls13 = "1.3",
    }
);
family!(
    /// `popgate_*_reloads_total{outcome}`: what became of changed files.
    Reloads, IntCounter, IntCounterVec, "outcome" {
        /// They are in force.
        accepted = "accepted",
        /// They are wrong; what was in force stays.
        refused = "refused",
        /// They say what was in force already.
        unchanged = "unchanged",
    }
);

/// Every metric of a node. Each node has its own; nothing is global.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    refusals: IntCounterVec,
    tls12_requests: IntCounterVec,
    exchange_requests: IntCounterVec,
    handshakes: IntCounterVec,
    floods: IntCounterVec,
    upstream_requests: IntCounterVec,
    upstream_durations: HistogramVec,
    deprecated: IntCounterVec,
    bundle_info: IntGaugeVec,
    certificate_expiry: IntGaugeVec,
    crl_next_update: IntGaugeVec,
    plugin_decisions: IntCounterVec,
    plugin_failures: IntCounterVec,
    /// Connections by protocol.
    pub connections: Connections,
    /// Connections now open, handshakes included.
    pub connections_open: IntGauge,
    /// Connections closed at once.
    pub connections_refused: ConnectionsRefused,
    /// QUIC clients that had to prove their address first.
    pub quic_retries: IntCounter,
    /// Handshakes by TLS version.
    pub tls_versions: TlsVersions,
    /// The cache.
    pub cache: CacheMetrics,
    /// The audit log.
    pub audit: AuditMetrics,
    /// Bundles.
    pub bundle_reloads: Reloads,
    /// Certificates, authorities and revocation lists.
    pub trust_reloads: Reloads,
    /// Files of plugins.
    pub plugin_reloads: Reloads,
    /// When the bundle in force was loaded, in seconds since 1970.
    pub bundle_loaded: IntGauge,
    /// Fields withheld because a policy failed to evaluate: an alarm.
    pub policy_errors: IntCounter,
    /// Members of records that no contract declares; they were withheld.
    pub undeclared_fields: UndeclaredMetrics,
    /// Declared members whose value has another type than the contract says; they were withheld.
    pub mistyped_fields: IntCounter,
    /// Requests whose client went away before there was an answer.
    pub requests_abandoned: IntCounter,
    /// Registers' answers about somebody else: an alarm.
    pub subject_mismatches: IntCounter,
    /// Guards and claims that did not match, and numbers that no register knows.
    pub guesses_failed: IntCounter,
    /// Requests answered "no match" because a limit of guesses was reached.
    pub guesses_throttled: IntCounter,
    /// Live connections ended because their certificate was revoked.
    pub certificates_revoked_live: IntCounter,
    /// Bytes of records sent to agencies.
    pub disclosed_bytes: IntCounter,
    /// Of those, bytes that were copied once on their way.
    pub copied_bytes: IntCounter,
    /// What is suspended.
    pub suspensions: SuspensionMetrics,
    /// What registers tell of their changes.
    pub changes: ChangeMetrics,
    /// What is lent.
    pub break_glass: BreakGlassMetrics,
    /// What a candidate bundle would have decided otherwise.
    pub shadow: ShadowMetrics,
    /// What ends.
    pub expiry: ExpiryMetrics,
    /// What is compiled.
    pub tables: TableMetrics,
    /// How registers' failures are borne.
    pub fleets: Fleets,
    /// What limits refuse, or would.
    pub limits: LimitMetrics,
    /// What nodes share.
    pub share: ShareMetrics,
    /// 1 while the node drains.
    pub draining: IntGauge,
}

/// One register's handles.
#[derive(Debug, Clone)]
pub struct RegisterMetrics {
    /// A record came.
    pub ok: IntCounter,
    /// It knows no such person.
    pub not_found: IntCounter,
    /// The stored record is still good (304).
    pub not_modified: IntCounter,
    /// It answered something else.
    pub failed: IntCounter,
    /// It did not answer in time.
    pub timeout: IntCounter,
    /// It could not be reached.
    pub unavailable: IntCounter,
    /// It was not asked: as many were under way as it can bear.
    pub busy: IntCounter,
    /// From the first attempt to the end of the answer.
    pub duration: Histogram,
}

impl Metrics {
    /// Registers every metric.
    #[expect(
        clippy::expect_used,
        reason = "names and labels are constants: registering fails in every test or in none"
    )]
    pub fn new() -> Self {
        Self::register_all().expect("metric names are valid and stand once")
    }

    fn register_all() -> Result<Self> {
        let registry = Registry::new();
        let r = &registry;
        let metrics = Self {
            requests: counters(r, "popgate_requests_total", "Requests that ended.", &["operation", "code"])?,
            durations: histograms(
                r,
                "popgate_request_duration_seconds",
                "From the end of a request's headers to the last byte of its answer.",
                "operation",
            )?,
            refusals: counters(r, "popgate_refusals_total", "Refused requests.", &["code"])?,
            exchange_requests: counters(
                r,
                "popgate_exchange_requests_total",
                "Requests that came by an exchange server.",
                &["exchange"],
            )?,
            tls12_requests: counters(
                r,
                "popgate_tls12_requests_total",
                "Requests over TLS 1.2, by the system that should move to TLS 1.3.",
                &["agency", "system"],
            )?,
            handshakes: counters(r, "popgate_handshakes_total", "TLS handshakes by outcome.", &["outcome"])?,
            floods: counters(
                r,
                "popgate_floods_total",
                "HTTP/2 and HTTP/3 connections ended for a flood of frames.",
                &["frame"],
            )?,
            upstream_requests: counters(
                r,
                "popgate_upstream_requests_total",
                "Requests to registers.",
                &["register", "outcome"],
            )?,
            upstream_durations: histograms(
                r,
                "popgate_upstream_duration_seconds",
                "From the first attempt to the end of a register's answer.",
                "register",
            )?,
            deprecated: counters(
                r,
                "popgate_deprecated_requests_total",
                "Requests for deprecated operations, by who still asks.",
                &["operation", "system"],
            )?,
            bundle_info: gauges(r, "popgate_bundle_info", "The bundle in force.", "digest")?,
            certificate_expiry: gauges(
                r,
                "popgate_certificate_expiry_timestamp_seconds",
                "When a certificate or an authority of this node ends, in seconds since 1970.",
                "certificate",
            )?,
            crl_next_update: gauges(
                r,
                "popgate_crl_next_update_timestamp_seconds",
                "When the next revocation list of an authority is due, in seconds since 1970; 0 if it does not say.",
                "issuer",
            )?,
            plugin_decisions: counters(
                r,
                "popgate_plugin_decisions_total",
                "What plugins decided.",
                &["plugin", "decision"],
            )?,
            plugin_failures: counters(
                r,
                "popgate_plugin_failures_total",
                "Plugins that failed: an alarm. The request was refused, unless the plugin's table says otherwise.",
                &["plugin"],
            )?,
            connections: Connections::new(r, "popgate_connections_total", "Connections by protocol.")?,
            connections_open: gauge(r, "popgate_connections_open", "Connections now open, handshakes included.")?,
            connections_refused: ConnectionsRefused::new(
                r,
                "popgate_connections_refused_total",
                "Connections closed at once: there were too many, or their address had too many or came too often.",
            )?,
            quic_retries: counter(
                r,
                "popgate_quic_retries_total",
                "QUIC clients that had to prove their address first, because many handshakes were pending.",
            )?,
            tls_versions: TlsVersions::new(r, "popgate_tls_versions_total", "Handshakes by TLS version.")?,
            cache: CacheMetrics::new(r)?,
            audit: AuditMetrics::new(r)?,
            bundle_reloads: Reloads::new(r, "popgate_bundle_reloads_total", "Changed bundles.")?,
            trust_reloads: Reloads::new(
                r,
                "popgate_trust_reloads_total",
                "Changed certificates, authorities and revocation lists.",
            )?,
            plugin_reloads: Reloads::new(r, "popgate_plugin_reloads_total", "Changed files of plugins.")?,
            bundle_loaded: gauge(
                r,
                "popgate_bundle_loaded_timestamp_seconds",
                "When the bundle in force was loaded, in seconds since 1970.",
            )?,
            policy_errors: counter(
                r,
                "popgate_policy_errors_total",
                "Fields withheld because a policy failed to evaluate.",
            )?,
            undeclared_fields: UndeclaredMetrics::new(r)?,
            mistyped_fields: counter(
                r,
                "popgate_mistyped_fields_total",
                "Members of records with another type than declared, withheld.",
            )?,
            requests_abandoned: counter(
                r,
                "popgate_requests_abandoned_total",
                "Requests whose client went away before there was an answer.",
            )?,
            subject_mismatches: counter(
                r,
                "popgate_subject_mismatch_total",
                "Answers of registers about somebody else than was asked for.",
            )?,
            guesses_failed: counter(
                r,
                "popgate_guesses_failed_total",
                "Guards, claims and numbers that did not match.",
            )?,
            guesses_throttled: counter(
                r,
                "popgate_guesses_throttled_total",
                "Requests answered \"no match\" because a limit of guesses was reached.",
            )?,
            certificates_revoked_live: counter(
                r,
                "popgate_certificates_revoked_live_total",
                "Live connections ended because their certificate was revoked.",
            )?,
            disclosed_bytes: counter(r, "popgate_disclosed_bytes_total", "Bytes of records sent to agencies.")?,
            copied_bytes: counter(
                r,
                "popgate_copied_bytes_total",
                "Bytes of records sent to agencies that were copied once on their way.",
            )?,
            suspensions: SuspensionMetrics::new(r)?,
            changes: ChangeMetrics::new(r)?,
            break_glass: BreakGlassMetrics::new(r)?,
            shadow: ShadowMetrics::new(r)?,
            expiry: ExpiryMetrics::new(r)?,
            tables: TableMetrics::new(r)?,
            fleets: Fleets::new(r)?,
            limits: LimitMetrics::new(r)?,
            share: ShareMetrics::new(r)?,
            draining: gauge(r, "popgate_draining", "1 while the node drains.")?,
            registry,
        };
        Ok(metrics)
    }

    /// The handles for the operations of a bundle that is being swapped in, which is also shown as the one in force.
    /// `loaded` is in seconds since 1970.
    pub fn bundle(&self, bundle: &Bundle, loaded: i64) -> OperationTable {
        self.bundle_info.reset();
        self.bundle_info.with_label_values(&[&bundle.digest().to_string()]).set(1);
        self.bundle_loaded.set(loaded);
        self.operations(bundle.contracts().operations().iter().map(|operation| operation.id.as_str()))
    }

    /// The handles for the exchange servers of a bundle that is being swapped in.
    pub fn exchanges(&self, directory: &Directory) -> ExchangeTable {
        ExchangeTable::new(directory, &self.exchange_requests)
    }

    /// The handles for the systems of a bundle that is being swapped in.
    pub fn tls12(&self, directory: &Directory) -> Tls12Table {
        Tls12Table::new(directory, &self.tls12_requests)
    }

    /// The handles for one register.
    pub fn register(&self, id: &str) -> RegisterMetrics {
        self.undeclared_fields.begin(id);
        let outcome = |outcome| self.upstream_requests.with_label_values(&[id, outcome]);
        RegisterMetrics {
            ok: outcome("ok"),
            not_found: outcome("not_found"),
            not_modified: outcome("not_modified"),
            failed: outcome("failed"),
            timeout: outcome("timeout"),
            unavailable: outcome("unavailable"),
            busy: outcome("busy"),
            duration: self.upstream_durations.with_label_values(&[id]),
        }
    }

    /// The handles for how one register's failures are borne.
    pub fn fleet(&self, id: &str) -> FleetMetrics {
        self.fleets.of(id)
    }

    /// The handles for one plugin.
    pub fn plugin(&self, name: &str) -> PluginMetrics {
        let decision = |decided: &Decided| self.plugin_decisions.with_label_values(&[name, decided.as_str()]);
        PluginMetrics {
            decisions: Decided::ALL.iter().map(decision).collect(),
            failures: self.plugin_failures.with_label_values(&[name]),
        }
    }

    /// `popgate_handshakes_total{outcome}`: `ok`, or the name of a failure. A label lookup: hold the handle.
    pub fn handshakes(&self, outcome: &str) -> IntCounter {
        self.handshakes.with_label_values(&[outcome])
    }

    /// `popgate_deprecated_requests_total{operation, system}`: both names are the bundle's. A label lookup: hold the handle.
    pub fn deprecated(&self, operation: &str, system: &str) -> IntCounter {
        self.deprecated.with_label_values(&[operation, system])
    }

    /// `popgate_floods_total{frame}`: HTTP/2 and HTTP/3 connections ended for a flood, by the frame. A label lookup: hold the handle.
    pub fn floods(&self, frame: &str) -> IntCounter {
        self.floods.with_label_values(&[frame])
    }

    /// Forgets every certificate, authority and revocation list: some may have gone since they were last shown.
    pub fn clear_certificates(&self) {
        self.certificate_expiry.reset();
        self.crl_next_update.reset();
    }

    /// When the next revocation list of an authority is due, in seconds since 1970; 0 if it does not say.
    pub fn crl_next_update(&self, issuer: &str, due: i64) {
        self.crl_next_update.with_label_values(&[issuer]).set(due);
    }

    /// When a certificate ends (`server`, or an authority's subject), in seconds since 1970.
    pub fn certificate_expiry(&self, certificate: &str, not_after: i64) {
        self.certificate_expiry.with_label_values(&[certificate]).set(not_after);
    }

    /// The text that Prometheus reads (text format 0.0.4). Takes milliseconds: never on a data-plane core.
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(64 << 10);
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics cannot be encoded");
        }
        process::append(&mut text);
        text
    }

    fn operations<'a>(&self, operations: impl IntoIterator<Item = &'a str>) -> OperationTable {
        OperationTable::new(operations, &self.requests, &self.durations, &self.refusals)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// A count as a gauge takes it.
pub fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Sets a counter to a total that somebody else counts. It never goes down.
pub fn follow(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

impl RegisterMetrics {
    /// Records how long an answer took.
    pub fn took(&self, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
    }
}

/// One plugin's counters.
#[derive(Debug)]
pub struct PluginMetrics {
    decisions: Box<[IntCounter]>,
    failures: IntCounter,
}

impl PluginMetrics {
    /// Counts a decision.
    pub fn decided(&self, decided: Decided) {
        if let Some(counter) = self.decisions.get(decided as usize) {
            counter.inc();
        }
        if matches!(decided, Decided::Failed | Decided::Ignored) {
            self.failures.inc();
        }
    }
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter> {
    let counter = IntCounter::new(name, help)?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge> {
    let gauge = IntGauge::new(name, help)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

fn float(registry: &Registry, name: &str, help: &str) -> Result<Gauge> {
    let gauge = Gauge::new(name, help)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
    let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

fn gauges(registry: &Registry, name: &str, help: &str, label: &str) -> Result<IntGaugeVec> {
    let gauges = IntGaugeVec::new(Opts::new(name, help), &[label])?;
    registry.register(Box::new(gauges.clone()))?;
    Ok(gauges)
}

fn histograms(registry: &Registry, name: &str, help: &str, label: &str) -> Result<HistogramVec> {
    let histograms = HistogramVec::new(HistogramOpts::new(name, help).buckets(BUCKETS.to_vec()), &[label])?;
    registry.register(Box::new(histograms.clone()))?;
    Ok(histograms)
}

/// Seconds: a cache hit takes tens of microseconds, a deadline is a few seconds.
const BUCKETS: [f64; 15] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
