//! What is stored, behind a small trait, and a store in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use popgate_caching::rules::Stored;

use super::chunks::Chunks;

/// A stored response, whose content may still be coming.
#[derive(Debug)]
pub struct Entry {
    /// All but the content.
    pub stored: Stored,
    /// The content.
    pub body: Arc<Chunks>,
}

/// Where responses are stored. Under one key there may be several, for different requests.
pub trait Store: Send + Sync {
    /// All under a key.
    fn all(&self, key: &str) -> Vec<Arc<Entry>>;
    /// Adds one, instead of those that `goes` names.
    fn put(&self, key: &str, entry: Arc<Entry>, goes: &dyn Fn(&Arc<Entry>) -> bool);
    /// Takes out those that `goes` names.
    fn take_out(&self, key: &str, goes: &dyn Fn(&Arc<Entry>) -> bool);
}

/// A store in memory: so many keys, and no more than so many responses under each; the oldest go first.
#[derive(Debug)]
pub struct Memory {
    most_keys: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<String, Vec<Arc<Entry>>>,
    order: VecDeque<String>,
}

impl Memory {
    /// For that many keys.
    pub fn new(most_keys: usize) -> Self {
        Self { most_keys, inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    fn all(&self, key: &str) -> Vec<Arc<Entry>> {
        self.lock().entries.get(key).cloned().unwrap_or_default()
    }

    fn put(&self, key: &str, entry: Arc<Entry>, goes: &dyn Fn(&Arc<Entry>) -> bool) {
        let mut inner = self.lock();
        if !inner.entries.contains_key(key) {
            inner.order.push_back(key.to_owned());
        }
        let all = inner.entries.entry(key.to_owned()).or_default();
        all.retain(|known| !goes(known));
        all.push(entry);
        if all.len() > MOST_VARIANTS {
            all.remove(0);
        }
        while inner.entries.len() > self.most_keys {
            let Some(oldest) = inner.order.pop_front() else { break };
            inner.entries.remove(&oldest);
        }
    }

    fn take_out(&self, key: &str, goes: &dyn Fn(&Arc<Entry>) -> bool) {
        let mut inner = self.lock();
        let Some(all) = inner.entries.get_mut(key) else { return };
        all.retain(|known| !goes(known));
        if all.is_empty() {
            inner.entries.remove(key);
            inner.order.retain(|known| known != key);
        }
    }
}

/// Under one key: `Vary` on something that is different in each request must not fill the store.
const MOST_VARIANTS: usize = 16;
