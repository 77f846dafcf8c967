//! Memory for raw records: wiped when dropped, and if wanted locked and left out of core dumps.
//!
//! One map is made at the start, cut into slabs of 1 MiB, and each slab into blocks of one size when that size is first needed.
//! A block is a slice that only its holder has; dropped, it is wiped and free for the next record of its size. What has no block is
//! not kept anywhere else: neither the bound nor what the memory promises has an exception.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use memmap2::{Advice, MmapMut};
use parking_lot::Mutex;
use zeroize::Zeroize;

/// How the memory of records is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shelter {
    /// Never written to swap (`mlock`); counts against `RLIMIT_MEMLOCK`.
    pub lock: bool,
    /// Left out of core dumps (`MADV_DONTDUMP`).
    pub no_dump: bool,
}

/// Where records are copied to.
#[derive(Clone, Debug)]
pub struct Arena(Arc<Pool>);

struct Pool {
    slabs: Mutex<Vec<&'static mut [u8]>>,
    free: Vec<Mutex<Vec<&'static mut [u8]>>>,
    refused: AtomicU64,
}

/// A record in a block of the arena.
struct Block {
    pool: Arc<Pool>,
    class: usize,
    block: Option<&'static mut [u8]>,
    length: usize,
}

/// The memory cannot be had, or not be locked or left out of core dumps.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unsheltered(String);

impl Arena {
    /// That many bytes for records, rounded up to slabs of 1 MiB; they are never given back. Pages are taken as they are first
    /// written, or at once if they are locked.
    ///
    /// # Errors
    /// The memory cannot be had, or not locked (see `RLIMIT_MEMLOCK`).
    pub fn new(bytes: usize, shelter: Shelter) -> Result<Self, Unsheltered> {
        let failed = |error: &dyn fmt::Display| Unsheltered(error.to_string());
        let length = bytes.div_ceil(SLAB).max(1) * SLAB;
        let map = MmapMut::map_anon(length).map_err(|error| failed(&error))?;
        if shelter.no_dump {
            #[cfg(target_os = "linux")]
            map.advise(Advice::DontDump).map_err(|error| failed(&error))?;
        }
        if shelter.lock {
            map.lock().map_err(|error| failed(&error))?;
        }
        // It lives as long as the process: blocks can be slices without a lock or a count.
        let map: &'static mut MmapMut = Box::leak(Box::new(map));
        let slabs = Mutex::new(map.chunks_exact_mut(SLAB).collect());
        let free = (0..CLASSES).map(|_| Mutex::default()).collect();
        Ok(Self(Arc::new(Pool { slabs, free, refused: AtomicU64::new(0) })))
    }

    /// A copy that is wiped when its last slice is dropped; `None` where no block of its size is left.
    pub fn copy(&self, record: &[u8]) -> Option<Bytes> {
        let Some((class, block)) = self.0.take(record.len()) else {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        if let Some(place) = block.get_mut(..record.len()) {
            place.copy_from_slice(record);
        }
        let pool = Arc::clone(&self.0);
        Some(Bytes::from_owner(Block { pool, class, block: Some(block), length: record.len() }))
    }

    /// For how many records there was no block so far.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }
}

impl Pool {
    fn take(&self, length: usize) -> Option<(usize, &'static mut [u8])> {
        let class = class(length);
        let free = self.free.get(class)?;
        let block = free.lock().pop();
        if block.is_some() {
            return Some((class, block?));
        }
        let slab = self.slabs.lock().pop()?;
        let mut free = free.lock();
        free.extend(slab.chunks_exact_mut(size(class)));
        Some((class, free.pop()?))
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Pool")
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        self.block.as_deref().and_then(|block| block.get(..self.length)).unwrap_or_default()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let Some(block) = self.block.take() else { return };
        if let Some(used) = block.get_mut(..self.length) {
            used.zeroize();
        }
        if let Some(free) = self.pool.free.get(self.class) {
            free.lock().push(block);
        }
    }
}

/// Four sizes between each power of two and the next, from 64 bytes to a slab.
fn class(length: usize) -> usize {
    (0..CLASSES).find(|class| size(*class) >= length).unwrap_or(CLASSES)
}

fn size(class: usize) -> usize {
    (LEAST << (class / 4)) / 4 * (4 + class % 4)
}

const SLAB: usize = 1 << 20;
const LEAST: usize = 64;
/// The last is a whole slab.
const CLASSES: usize = 14 * 4 + 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_as_large_as_records_need_and_used_again_wiped() {
        assert_eq!((size(0), size(1), size(4), size(CLASSES - 1)), (64, 80, 128, SLAB));
        for length in [0, 1, 64, 65, 1000, 4097, SLAB] {
            assert!(size(class(length)) >= length && size(class(length)) <= (length * 5 / 4).max(64), "{length}");
        }
        let arena = Arena::new(SLAB, Shelter { lock: false, no_dump: true }).unwrap();
        let kept: Vec<Bytes> = (0..1024_u32).map(|n| arena.copy(&[n as u8; 1000]).unwrap()).collect();
        assert!(kept.iter().enumerate().all(|(n, bytes)| **bytes == [n as u8; 1000]));
        assert_eq!(arena.refused(), 0);
        assert_eq!((arena.copy(b"x"), arena.refused()), (None, 1), "no slab is left for another size");
        assert_eq!((arena.copy(&vec![1; SLAB + 1]), arena.refused()), (None, 2), "no block is that large");
        let slice = kept.into_iter().next_back().unwrap().slice(10..20);
        let free = |class: usize| arena.0.free[class].lock().iter().all(|block| block.iter().all(|byte| *byte == 0));
        assert!(free(class(1000)));
        assert_eq!(arena.0.free[class(1000)].lock().len(), 1023);
        drop(slice);
        assert!(free(class(1000)));
        assert_eq!(arena.0.free[class(1000)].lock().len(), 1024);
    }
}
