//! What operators and registers ask of a node's cache.

use std::sync::Arc;
use std::time::Duration;

use popgate_caching::purges::Kind;
use popgate_policy::model::RegisterId;
use serde_json::{Value, json};

use crate::admin::{CacheAsk, CacheDesk};
use crate::app::node::Node;
use crate::audit::{Action, AuditKey};
use crate::cache::nodes::{Figures, State};
use crate::cache::order::{Changes, Order, OrderError, Purged, What};
use crate::custody;
use crate::metrics::CacheMetrics;

impl Node {
    /// Carries out an operator's order, which is recorded before. Writes to the disk: never on a data-plane core.
    ///
    /// # Errors
    /// If it cannot be read or recorded: nothing was purged then.
    pub fn purge(&self, order: &[u8], by: &str) -> Result<Value, OrderError> {
        let Order { what, soft, reason } = Order::parse(order, self.config.registers.keys())?;
        // While the log cannot be written nothing is disclosed: a purge that is refused for that leaves nothing open.
        let action = Action {
            by: by.to_owned(),
            what: if soft { "soft-purge" } else { "purge" }.to_owned(),
            target: what.named(|| self.audit_key()),
            reason,
            until: None,
        };
        self.act(vec![action])?;
        let kind = what.kind();
        let purged = self.forget(&[what], soft);
        tracing::warn!(by, kind, soft, everywhere = purged.everywhere, "an operator purged the cache");
        Ok(answer(json!({ "purged": kind }), soft, purged))
    }

    /// Forgets what a register says has changed. No action of a person: it is counted and logged, and not recorded.
    ///
    /// # Errors
    /// If anything in it cannot be read: nothing was purged then.
    pub fn take_changes(&self, register: &RegisterId, changes: &[u8], by: &str) -> Result<Value, OrderError> {
        let metrics = &self.metrics.changes;
        let changes = Changes::parse(changes).inspect_err(|error| {
            metrics.refused(register.as_str());
            tracing::warn!(%register, by, %error, "what a register told of its changes is refused: nothing was purged");
        })?;
        let (subjects, tags, soft) = (changes.subjects.len(), changes.tags.len(), changes.soft);
        let purged = self.forget(&changes.into_whats(register), soft);
        metrics.taken(register.as_str(), subjects, tags);
        tracing::info!(%register, by, subjects, tags, soft, everywhere = purged.everywhere, "a register told of changes");
        Ok(answer(json!({ "register": register.as_str(), "subjects": subjects, "tags": tags }), soft, purged))
    }

    fn forget(&self, whats: &[What], soft: bool) -> Purged {
        let kind = if soft { Kind::Soft } else { Kind::Hard };
        let purged = self.cache.purge(whats, kind, WAIT, &self.clock);
        self.metrics.cache.purge.observe(purged.took.as_secs_f64());
        purged
    }

    /// For operators.
    fn cache_status(&self) -> Value {
        let (entries, bytes) = self.cache.size();
        let CacheMetrics { requests, .. } = &self.metrics.cache;
        let evictions = self.cache.evictions();
        json!({
            "entries": entries,
            "bytes": bytes,
            "capacity_bytes": self.config.cache.capacity_bytes,
            "requests": {
                "hit": requests.hit.get(),
                "meanwhile": requests.meanwhile.get(),
                "unknown": requests.unknown.get(),
                "miss": requests.miss.get(),
                "validated": requests.validated.get(),
                "collapsed": requests.collapsed.get(),
                "stale": requests.stale.get(),
                "off": requests.off.get(),
            },
            "evictions": {
                "size": evictions.size,
                "expired": evictions.expired,
                "purged": evictions.purged,
                "replaced": evictions.replaced,
                "refused": evictions.explicit,
            },
            "nodes": self.cache.nodes().map(|(state, figures)| nodes(state, &figures)),
        })
    }

    /// A purge does not wait for a key that is mended: without it, it is recorded without a tag.
    fn audit_key(&self) -> Option<AuditKey> {
        let key = custody::symmetric_key(&self.config.keys.audit);
        key.inspect_err(|error| tracing::error!(%error, "what is purged is recorded without its tag"))
            .ok()
            .map(AuditKey::new)
    }
}

/// What the admin listener asks.
pub(super) fn operator_side(node: &Arc<Node>) -> CacheDesk {
    let node = Arc::downgrade(node);
    Arc::new(move |ask| {
        let node = node.upgrade().ok_or(OrderError::Ending)?;
        match ask {
            CacheAsk::Status => Ok(node.cache_status()),
            CacheAsk::Purge { order, by } => node.purge(&order, &by),
            CacheAsk::Changes { register, changes, by } => node.take_changes(&register, &changes, &by),
        }
    })
}

fn nodes(state: State, figures: &Figures) -> Value {
    let (shared, why) = match state {
        State::Shared => (true, None),
        State::Alone { why, .. } => (false, Some(why.to_string())),
    };
    json!({
        "shared": shared,
        "why": why,
        "published": figures.published,
        "heard": figures.heard,
        "waiting": figures.waiting,
        "failures": figures.failures,
        "resets": figures.resets,
    })
}

fn answer(mut told: Value, soft: bool, Purged { everywhere, took }: Purged) -> Value {
    let milliseconds = (took.as_secs_f64() * 1e6).round() / 1e3;
    let how = json!({ "soft": soft, "everywhere": everywhere, "took_ms": milliseconds });
    if let (Value::Object(told), Value::Object(how)) = (&mut told, how) {
        told.extend(how);
    }
    told
}

/// How long whoever purges waits for other nodes, at most. Those that do not answer by then hear of it all the same.
const WAIT: Duration = Duration::from_secs(1);
