//! What operators read of this node: its bundle, and its audit log.

use std::io::Write;
use std::sync::{Arc, Weak};

use jiff::civil::Date;
use popgate_policy::bundle::Bundle;
use popgate_policy::model::DisclosureId;
use tokio::sync::Semaphore;

use crate::admin::{LogAsk, LogError, Reads, Unseal};
use crate::app::bundle_store::Store;
use crate::app::node::Node;
use crate::app::trace::{self, Trace};
use crate::audit::{Action, AuditKey, read};
use crate::custody;
use crate::records::{self, Wanted};

/// What the admin listener asks.
pub(super) fn operator_side(node: &Arc<Node>) -> Arc<dyn Reads> {
    Arc::new(NodeReads { node: Arc::downgrade(node), readers: Semaphore::new(READERS) })
}

struct NodeReads {
    node: Weak<Node>,
    /// Reading a log costs disk and processor that requests need.
    readers: Semaphore,
}

impl Reads for NodeReads {
    fn bundle(&self) -> Option<(Arc<Bundle>, Date)> {
        let node = self.node.upgrade()?;
        Some((Arc::clone(&node.live().bundle), node.clock.local().date()))
    }

    fn log(&self, ask: &LogAsk, out: &mut dyn Write) -> Result<(), LogError> {
        let _reader = self.readers.try_acquire().map_err(|_| LogError::Busy)?;
        let node = self.node.upgrade().ok_or(LogError::Ending)?;
        let (dir, key, audit) = (node.config.audit.dir.clone(), node.config.keys.audit.clone(), node.audit.clone());
        // The node may go while its log is read.
        drop(node);
        let (wanted, about, form, unseal) = match ask {
            LogAsk::Verify(form) => {
                records::write_verified(&read::verify(&dir), *form, out)?;
                return Ok(());
            }
            LogAsk::Entries { wanted, about, form, unseal } => (wanted, about, *form, unseal),
        };
        let key = match unseal {
            Some(_) => Some(AuditKey::new(custody::symmetric_key(&key)?)),
            None => None,
        };
        let subject = match about {
            Some(about) => Some(about.tag(key.as_ref()).ok_or(LogError::Unexplained)?),
            None => None,
        };
        let wanted = Wanted { subject, ..wanted.clone() };
        if let Some(Unseal { by, reason }) = unseal {
            let (by, reason) = (by.clone(), reason.clone());
            tracing::warn!(by, "the audit log is opened for an operator");
            let action = Action { by, what: "unseal".to_owned(), target: described(&wanted), reason, until: None };
            audit.act(action)?.durable()?;
        }
        drop(audit);
        match read::entries(&dir, key.as_ref()) {
            Ok(entries) => records::write(entries, &wanted, form, out)?,
            Err(damage) => records::write(std::iter::once(Err(damage)), &wanted, form, out)?,
        };
        Ok(())
    }

    fn explain(&self, id: DisclosureId, is_given_up: &dyn Fn() -> bool) -> Result<Option<Trace>, LogError> {
        let _reader = self.readers.try_acquire().map_err(|_| LogError::Busy)?;
        let node = self.node.upgrade().ok_or(LogError::Ending)?;
        let (dir, store, clock) = (node.config.audit.dir.clone(), Store::new(&node.config.state), node.clock.clone());
        // The node may go while its log is read.
        drop(node);
        Ok(trace::find(&dir, None, id, is_given_up)?.map(|traced| traced.explain(&store, &clock)))
    }
}

/// What was opened; a person is named by tag.
fn described(wanted: &Wanted) -> String {
    let Wanted { since, until, system, purpose, subject, limit } = wanted;
    let parts = [
        since.map(|since| format!("since {since}")),
        until.map(|until| format!("until {until}")),
        system.as_ref().map(|system| format!("system {system}")),
        purpose.as_ref().map(|purpose| format!("purpose {purpose}")),
        subject.map(|tag| format!("subject#{tag}")),
        limit.map(|limit| format!("newest {limit}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "audit log".to_owned() } else { format!("audit log, {}", parts.join(", ")) }
}

/// At once; an audit that verifies and one that shows.
const READERS: usize = 2;
