//! What becomes of what registers tell over NATS.

use std::io;
use std::sync::{Arc, Weak};

use popgate_policy::model::RegisterId;

use crate::admin::ChangesStatus;
use crate::app::node::Node;
use crate::cache::order::{Changes as Told, MOST_BYTES, What};
use crate::changes::{Board, Changes, Sink, State};
use crate::metrics::HeardMetrics;
use popgate_caching::purges::Kind;

/// How it stands with hearing of changes.
#[derive(Debug)]
pub(super) struct Hearing {
    board: Board,
    metrics: HeardMetrics,
}

/// Begins to listen, if the configuration says where. What is returned MUST NOT be dropped by a thread of the listener's: it waits
/// for its end.
pub(super) fn listen(node: &Arc<Node>) -> io::Result<Option<Changes>> {
    let Some(config) = &node.config.changes else { return Ok(None) };
    let ear = Arc::new(Ear(Arc::downgrade(node)));
    let changes = Changes::open(config.0.clone(), ear, node.clock.clone())?;
    // Nobody listens twice.
    let _ = node.hearing.set(Hearing { board: changes.board(), metrics: node.metrics.heard() });
    Ok(Some(changes))
}

impl Node {
    /// Forgets what a register says has changed, at this node: each hears it for itself. Whether it was of any use.
    fn hear(&self, register: &str, message: &[u8]) -> bool {
        let metrics = &self.metrics.changes;
        // A subject may hold anything: one that is no register's is not repeated.
        let Some(register) = self.config.registers.keys().find(|known| known.as_str() == register) else {
            metrics.refused(NOBODY);
            tracing::warn!("changes were told under the subject of no register of this gateway: nothing was purged");
            return false;
        };
        let told = if message.len() > MOST_BYTES { None } else { Some(Told::parse(message)) };
        match told {
            Some(Ok(told)) => self.apply(register, told),
            Some(Err(error)) => {
                metrics.refused(register.as_str());
                tracing::warn!(%register, %error, "what a register told of its changes is refused: nothing was purged");
                return false;
            }
            None => {
                metrics.refused(register.as_str());
                tracing::warn!(%register, "what a register told of its changes is too long: nothing was purged");
                return false;
            }
        }
        true
    }

    fn apply(&self, register: &RegisterId, told: Told) {
        let (subjects, tags, soft) = (told.subjects.len(), told.tags.len(), told.soft);
        let kind = if soft { Kind::Soft } else { Kind::Hard };
        let took = self.cache.purge_here(&told.into_whats(register), kind, &self.clock);
        self.metrics.cache.purge.observe(took.as_secs_f64());
        self.metrics.changes.taken(register.as_str(), subjects, tags);
        tracing::info!(%register, by = "nats", subjects, tags, soft, "a register told of changes");
    }

    /// For operators.
    pub(super) fn changes_status(&self) -> Option<ChangesStatus> {
        let board = &self.hearing.get()?.board;
        let (away_for_seconds, why) = match board.state() {
            State::Connected => (None, None),
            State::Away { since, why } => {
                (Some(self.clock.now().saturating_duration_since(since).as_secs()), Some(why.to_string()))
            }
        };
        Some(ChangesStatus { away_for_seconds, why, gaps: board.figures().gaps })
    }

    pub(super) fn show_hearing(&self) {
        if let Some(Hearing { board, metrics }) = self.hearing.get() {
            metrics.show(board);
        }
    }

    /// Says in the log when this node ceases to hear of changes, and when it does again.
    pub(super) fn say_hearing(&self, before: Option<bool>) -> Option<bool> {
        let state = self.hearing.get()?.board.state();
        let hears = state == State::Connected;
        if before != Some(hears) {
            match state {
                State::Connected => tracing::info!("what registers change is heard over NATS"),
                State::Away { why, .. } => {
                    tracing::warn!(%why, "what registers change is not heard: records are served for as long as they are fresh");
                }
            }
        }
        Some(hears)
    }
}

/// It does not keep the node.
struct Ear(Weak<Node>);

impl Sink for Ear {
    /// What comes when the node is gone was of use, as far as anybody knows.
    fn take(&self, register: &str, message: &[u8]) -> bool {
        self.0.upgrade().is_none_or(|node| node.hear(register, message))
    }

    fn doubt(&self) {
        if let Some(node) = self.0.upgrade() {
            node.cache.purge_here(&[What::All], Kind::Soft, &node.clock);
        }
    }
}

/// In the metrics, in the place of a register.
const NOBODY: &str = "unknown";
