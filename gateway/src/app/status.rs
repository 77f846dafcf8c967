//! What operators are told of a node: readiness, what is in force, and figures that others count.

use std::sync::Arc;

use popgate_policy::model::RegisterId;

use crate::accept::trust::Trust;
use crate::admin::{BundleStatus, ProblemStatus, RegisterStatus, ShareStatus, Status, TargetStatus, TrustStatus};
use crate::app::diff::Counts;
use crate::app::node::Node;
use crate::app::shadow::Shadow;
use crate::cache::nodes;
use crate::forward::fleet::Target;
use crate::forward::registers::Register;
use crate::metrics::{Metrics, follow, whole};
use crate::share::{Share, State};

/// The status of a node that is, or is not, draining.
pub fn of(node: &Node, draining: bool) -> Status {
    let live = node.live();
    let last = node.last_reload();
    let history = node.bundles.history();
    let standing = history.last();
    let warnings = live.warnings.iter().cloned().chain(live.bundle.expiring(node.clock.local().date(), SOON));
    let mut not_ready = Vec::new();
    if draining {
        not_ready.push("draining".to_owned());
    }
    if !node.audit.is_serving() {
        not_ready.push("the audit log cannot record disclosures".to_owned());
    }
    Status {
        not_ready,
        bundle: Some(BundleStatus {
            digest: live.bundle.digest().to_string(),
            version: standing.and_then(|entry| entry.version),
            signed_by: standing.map(|entry| entry.signed_by.clone()).unwrap_or_default(),
            loaded: live.since,
            counts: Counts::of(&live.source, &live.bundle),
            warnings: warnings.map(|problem| ProblemStatus::from(&problem)).collect(),
            changes: last.changes,
        }),
        bundle_refused: last.bundle_problems.iter().map(ProblemStatus::from).collect(),
        trust: TrustStatus {
            generation: node.trust().generation(),
            warnings: last.trust_warnings,
            refused: last.trust_problem,
        },
        registers: registers(node),
        harvest: node.harvest(),
        share: node.share().map(|share| share_status(node, share)),
        changes: node.changes_status(),
        suspensions: node.suspensions_status(),
        break_glass: node.orders_status(false),
        shadow: node.shadow.as_ref().map(Shadow::status),
    }
}

fn share_status(node: &Node, share: &Share) -> ShareStatus {
    let (alone_for_seconds, why) = match share.state() {
        State::Shared => (None, None),
        State::Local { since, why } => {
            (Some(node.clock.now().saturating_duration_since(since).as_secs()), Some(why.to_string()))
        }
    };
    ShareStatus { nodes: share.nodes(), alone_for_seconds, why }
}

fn registers(node: &Node) -> Vec<RegisterStatus> {
    let now = node.clock.now();
    let target = |target: &Arc<Target>| TargetStatus {
        target: target.label(),
        standing: target.standing(now).as_str(),
        in_flight: target.in_flight(),
        latency_ms: (target.latency(now).as_secs_f64() * 1e6).round() / 1e3,
    };
    let register = |(id, register): (&RegisterId, &Arc<Register>)| RegisterStatus {
        id: id.to_string(),
        open: register.fleet.is_open(),
        targets: register.fleet.targets().iter().map(target).collect(),
    };
    node.registers().all().map(register).collect()
}

/// Brings into the metrics what listener, cache and audit log count for themselves.
pub fn collect(node: &Node) {
    let metrics = &*node.metrics;
    listener(metrics, node);
    cache(metrics, node);
    audit(metrics, node);
    node.show_suspensions();
    node.show_orders();
    metrics.expiry.show(&node.live().loaded.expiries(), node.clock.local().date(), |day| node.clock.end_of(day));
    if let Some(share) = node.share() {
        metrics.share.show(share);
    }
    node.show_hearing();
    if let Some(overload) = &node.overload {
        metrics.limits.show(&overload.standing());
    }
    metrics.fleets.show(&node.registers(), node.clock.now());
    metrics.tables.show(node.live().bundle.engine().footprint());
    certificates(metrics, &node.trust());
    follow(&metrics.guesses_failed, node.guesses.failures());
}

fn listener(metrics: &Metrics, node: &Node) {
    let counters = &node.counters;
    follow(&metrics.connections.h1, counters.h1.value());
    follow(&metrics.connections.h2, counters.h2.value());
    follow(&metrics.connections.h3, counters.h3.value());
    follow(&metrics.quic_retries, counters.retried.value());
    follow(&metrics.tls_versions.tls12, counters.tls12.value());
    follow(&metrics.tls_versions.tls13, counters.tls13.value());
    metrics.connections_open.set(whole(counters.open.value()));
    follow(&metrics.connections_refused.full, counters.refused_full.value());
    follow(&metrics.connections_refused.address, counters.refused_address.value());
    follow(&metrics.connections_refused.waited, counters.refused_waiting.value());
    follow(&metrics.connections_refused.left, counters.left_waiting.value());
    follow(&metrics.certificates_revoked_live, counters.ended_revoked.value());
    follow(&metrics.handshakes("ok"), counters.handshakes.value());
    for (failure, count) in counters.failures() {
        follow(&metrics.handshakes(failure.name()), count);
    }
    for (frame, count) in counters.floods() {
        follow(&metrics.floods(frame.name()), count);
    }
}

fn cache(metrics: &Metrics, node: &Node) {
    let (entries, bytes) = node.cache.size();
    metrics.cache.entries.set(whole(entries));
    metrics.cache.bytes.set(whole(bytes));
    let evictions = node.cache.evictions();
    follow(&metrics.cache.evictions.size, evictions.size);
    follow(&metrics.cache.evictions.expired, evictions.expired);
    follow(&metrics.cache.evictions.purged, evictions.purged);
    follow(&metrics.cache.evictions.replaced, evictions.replaced);
    follow(&metrics.cache.evictions.refused, evictions.explicit);
    follow(&metrics.cache.no_block, node.cache.without_block());
    if let Some((state, figures)) = node.cache.nodes() {
        metrics.cache.alone.set(i64::from(state != nodes::State::Shared));
        metrics.cache.purges_waiting.set(whole(figures.waiting));
        follow(&metrics.cache.purge_failures, figures.failures);
        follow(&metrics.cache.purge_resets, figures.resets);
    }
}

fn audit(metrics: &Metrics, node: &Node) {
    let stats = node.audit.stats();
    follow(&metrics.audit.records, stats.records);
    follow(&metrics.audit.batches, stats.batches);
    follow(&metrics.audit.bytes, stats.bytes);
    follow(&metrics.audit.failures, stats.failures);
    follow(&metrics.audit.lost_refusals, stats.lost_refusals);
    metrics.audit.queue_depth.set(whole(stats.queued as u64));
    metrics.audit.fsync_seconds.set(stats.sync_micros as f64 / 1e6);
    metrics.audit.serving.set(i64::from(node.audit.is_serving()));
    metrics.audit.disk_free_ratio.set(stats.free_share());
}

fn certificates(metrics: &Metrics, trust: &Trust) {
    metrics.clear_certificates();
    metrics.certificate_expiry("server", whole(trust.expires().as_secs()));
    for authority in trust.authorities() {
        metrics.certificate_expiry(&authority.subject, whole(authority.expires.as_secs()));
    }
    for crl in trust.crls() {
        metrics.crl_next_update(&crl.issuer, crl.next_update.map_or(0, |due| whole(due.as_secs())));
    }
}

/// Days before its end that an operator is warned of a policy or purpose.
pub(crate) const SOON: i32 = 30;
