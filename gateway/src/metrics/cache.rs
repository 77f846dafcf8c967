//! The cache's metrics.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, Result};

use super::{counter, family, gauge};

family!(
    /// `popgate_cache_requests_total{result}`: how records were come by.
    Requests, IntCounter, IntCounterVec, "result" {
        /// A fresh stored record.
        hit = "hit",
        /// A stale stored record, while it was fetched anew.
        meanwhile = "meanwhile",
        /// That nobody of that number is known was known.
        unknown = "unknown",
        /// The register was asked.
        miss = "miss",
        /// The register was asked whether a stored record is still the same, and it is.
        validated = "validated",
        /// A stored record stood in for a register that failed.
        stale = "stale",
        /// Another request's answer was waited for.
        collapsed = "collapsed",
        /// The contract or the configuration lets nothing be stored.
        off = "off",
    }
);
family!(
    /// `popgate_cache_evictions_total{cause}`: why records left the cache.
    Evictions, IntCounter, IntCounterVec, "cause" {
        /// There was no place for them.
        size = "size",
        /// They were of no more use.
        expired = "expired",
        /// They were purged.
        purged = "purged",
        /// A newer one took their place.
        replaced = "replaced",
        /// They could not be read, or were about somebody else.
        refused = "refused",
    }
);

/// `popgate_cache_*`.
#[derive(Debug, Clone)]
pub struct CacheMetrics {
    /// How records were come by.
    pub requests: Requests,
    /// Records that are kept.
    pub entries: IntGauge,
    /// What they weigh.
    pub bytes: IntGauge,
    /// Why records left.
    pub evictions: Evictions,
    /// How old records were that were answered with, in seconds.
    pub age: Histogram,
    /// How long purges took, until this node or the log that all nodes share had them, in seconds.
    pub purge: Histogram,
    /// 1 while purges of other nodes are not known, so that what is stored is validated: an alarm.
    pub alone: IntGauge,
    /// Purges of this node that wait for the log of all nodes.
    pub purges_waiting: IntGauge,
    /// What Redis did not answer of purges.
    pub purge_failures: IntCounter,
    /// How often all that was stored had to be validated, because the log of purges did not go on.
    pub purge_resets: IntCounter,
    /// Records that were not kept, for want of a block of their size in the memory that is wiped.
    pub no_block: IntCounter,
}

impl CacheMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self> {
        let no_block = "Records that were not kept: no block of their size is left in the memory that is wiped.";
        Ok(Self {
            requests: Requests::new(r, "popgate_cache_requests_total", "How records were come by.")?,
            entries: gauge(r, "popgate_cache_entries", "Records in the cache.")?,
            bytes: gauge(r, "popgate_cache_bytes", "Bytes in the cache.")?,
            evictions: Evictions::new(r, "popgate_cache_evictions_total", "Why records left the cache.")?,
            age: seconds(
                r,
                "popgate_cache_age_seconds",
                "How old stored records were that were answered with.",
                &AGES,
            )?,
            purge: seconds(r, "popgate_cache_purge_seconds", "How long purges took, other nodes included.", &PURGES)?,
            alone: gauge(
                r,
                "popgate_cache_alone",
                "Purges of other nodes are not known: what is stored is validated.",
            )?,
            purges_waiting: gauge(r, "popgate_cache_purges_waiting", "Purges that other nodes have yet to hear of.")?,
            purge_failures: counter(r, "popgate_cache_purge_failures_total", "What Redis did not answer of purges.")?,
            purge_resets: counter(r, "popgate_cache_purge_resets_total", "How often all had to be validated.")?,
            no_block: counter(r, "popgate_cache_no_block_total", no_block)?,
        })
    }
}

fn seconds(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram> {
    let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?;
    registry.register(Box::new(histogram.clone()))?;
    Ok(histogram)
}

/// Contracts let records be fresh for a minute mostly, and stand in for hours at most.
const AGES: [f64; 10] = [1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 86_400.0];
/// On this node alone it is less than a microsecond; others hear of it within milliseconds.
const PURGES: [f64; 8] = [0.000_001, 0.000_01, 0.000_1, 0.001, 0.01, 0.1, 0.5, 1.0];
