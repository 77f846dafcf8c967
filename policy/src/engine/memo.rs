//! What was computed before: read without a lock, never taken back, and bounded.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

/// A few values by key. What does not fit any more is computed each time.
#[derive(Debug)]
pub(super) struct Memo<K, V>(Box<[OnceLock<(K, V)>]>);

impl<K: Hash + Eq + Copy, V> Memo<K, V> {
    /// Room for what so many conditions can come to, each of which holds, does not, or fails; within limits.
    pub(super) fn of_conditions(conditions: usize) -> Self {
        let ways = u32::try_from(conditions).ok().and_then(|conditions| 3_usize.checked_pow(conditions));
        Self::of_size(ways.unwrap_or(MOST).min(MOST))
    }

    /// An empty one of the same size.
    pub(super) fn alike(&self) -> Self {
        Self::of_size(self.0.len())
    }

    /// Uses what there is for the key, or what `make` makes, which is kept if there is room.
    pub(super) fn with<T>(&self, key: K, make: impl Fn() -> V, using: impl FnOnce(&V) -> T) -> T {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let start = usize::try_from(hasher.finish() & 0xffff).unwrap_or_default();
        for step in 0..self.0.len() {
            let Some(slot) = self.0.get((start + step) % self.0.len()) else { break };
            let (known, value) = slot.get_or_init(|| (key, make()));
            if *known == key {
                return using(value);
            }
        }
        using(&make())
    }

    /// The first value that is wanted, with its key.
    pub(super) fn find(&self, wanted: impl Fn(&V) -> bool) -> Option<&(K, V)> {
        self.0.iter().filter_map(OnceLock::get).find(|(_, value)| wanted(value))
    }

    /// What it takes in memory, with what each value owns.
    pub(super) fn bytes(&self, owned: impl Fn(&V) -> usize) -> usize {
        size_of_val(&*self.0) + self.0.iter().filter_map(OnceLock::get).map(|(_, value)| owned(value)).sum::<usize>()
    }

    fn of_size(size: usize) -> Self {
        Self(std::iter::repeat_with(OnceLock::new).take(size).collect())
    }
}

const MOST: usize = 32;
