//! What other parts count for themselves, brought in at each scrape.

use std::time::Duration;

use super::{Metrics, follow};
use crate::accept::{Counters, Trust};
use crate::audit::Audit;
use crate::cache::Cache;

impl Metrics {
    /// Connections and handshakes.
    pub fn collect_listener(&self, counters: &Counters) {
        follow(&self.connections.h1, counters.h1.value());
        follow(&self.connections.h2, counters.h2.value());
        self.connections_open.set(signed(counters.open.value()));
        follow(&self.connections_refused, counters.refused_full.value());
        follow(&self.certificates_revoked_live, counters.ended_revoked.value());
        follow(&self.handshakes("ok"), counters.handshakes.value());
        for (reason, count) in counters.failures() {
            follow(&self.handshakes(reason.name()), count);
        }
        for (frame, count) in counters.floods() {
            follow(&self.floods(frame.name()), count);
        }
    }

    /// When what the node shows and trusts ends.
    pub fn collect_trust(&self, trust: &Trust) {
        // Authorities and lists may have gone since the last time.
        self.certificate_expiry.reset();
        self.crl_next_update.reset();
        self.certificate_expiry("server", signed(trust.expires().as_secs()));
        for authority in trust.authorities() {
            self.certificate_expiry(&authority.subject, signed(authority.expires.as_secs()));
        }
        for crl in trust.crls() {
            let due = crl.next_update.map_or(0, |due| due.as_secs());
            self.crl_next_update.with_label_values(&[crl.issuer.as_str()]).set(signed(due));
        }
    }

    /// The audit log.
    pub fn collect_audit(&self, audit: &Audit) {
        let stats = audit.stats();
        follow(&self.audit.records, stats.records);
        follow(&self.audit.batches, stats.batches);
        follow(&self.audit.bytes, stats.bytes);
        follow(&self.audit.failures, stats.failures);
        follow(&self.audit.lost_refusals, stats.lost_refusals);
        self.audit.queue_depth.set(i64::try_from(stats.queued).unwrap_or(i64::MAX));
        self.audit.fsync_seconds.set(Duration::from_micros(stats.sync_micros).as_secs_f64());
        self.audit.disk_free_ratio.set(stats.free_share());
        self.audit.serving.set(i64::from(audit.is_serving()));
    }

    /// The cache.
    pub fn collect_cache(&self, cache: &Cache) {
        let (entries, bytes) = cache.size();
        self.cache_entries.set(signed(entries));
        self.cache_bytes.set(signed(bytes));
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
