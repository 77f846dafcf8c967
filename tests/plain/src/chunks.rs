//! A body that is read by many while it still grows: a list of chunks that nobody copies.

use std::collections::BTreeMap;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame};

use super::body::Error;

/// The chunks so far, and whether there will be more.
#[derive(Debug, Default)]
pub struct Chunks {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    list: Vec<Bytes>,
    length: u64,
    end: Option<End>,
    waiting: BTreeMap<u64, Waker>,
    next_reader: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Whole,
    Broken,
}

impl Chunks {
    /// Adds a chunk; empty ones are left out. How many bytes there are then.
    pub fn push(&self, chunk: Bytes) -> u64 {
        let mut inner = self.lock();
        if chunk.is_empty() || inner.end.is_some() {
            return inner.length;
        }
        inner.length += chunk.len() as u64;
        inner.list.push(chunk);
        wake(inner)
    }

    /// There is no more, and nothing is missing.
    pub fn finish(&self) {
        self.end(End::Whole);
    }

    /// There is no more, and something is missing: readers get an error.
    pub fn fail(&self) {
        self.end(End::Broken);
    }

    /// How many bytes it has, once it is whole.
    pub fn whole_length(&self) -> Option<u64> {
        let inner = self.lock();
        (inner.end == Some(End::Whole)).then_some(inner.length)
    }

    /// Reads all of it, or these bytes, from the beginning, waiting for what has not come yet.
    pub fn read(self: &Arc<Self>, part: Option<Range<u64>>) -> Reader {
        let mut inner = self.lock();
        inner.next_reader += 1;
        let id = inner.next_reader;
        let (skip, left) = part.map_or((0, u64::MAX), |part| (part.start, part.end.saturating_sub(part.start)));
        Reader { chunks: Arc::clone(self), id, next: 0, skip, left }
    }

    fn end(&self, end: End) {
        let mut inner = self.lock();
        inner.end = inner.end.or(Some(end));
        wake(inner);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(mut inner: MutexGuard<'_, Inner>) -> u64 {
    let waiting = std::mem::take(&mut inner.waiting);
    let length = inner.length;
    drop(inner);
    waiting.into_values().for_each(Waker::wake);
    length
}

/// One who reads it.
#[derive(Debug)]
pub struct Reader {
    chunks: Arc<Chunks>,
    id: u64,
    next: usize,
    skip: u64,
    left: u64,
}

impl Reader {
    /// What of a chunk is within the part.
    fn cut(&mut self, mut chunk: Bytes) -> Bytes {
        let length = chunk.len() as u64;
        let skip = self.skip.min(length);
        self.skip -= skip;
        let mut chunk = chunk.split_off(usize::try_from(skip).unwrap_or(usize::MAX));
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        chunk.truncate(most);
        self.left -= chunk.len() as u64;
        chunk
    }
}

impl Body for Reader {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        loop {
            if this.left == 0 {
                return Poll::Ready(None);
            }
            let chunk = {
                let mut inner = this.chunks.lock();
                match (inner.list.get(this.next), inner.end) {
                    (Some(chunk), _) => chunk.clone(),
                    (None, Some(End::Whole)) => return Poll::Ready(None),
                    (None, Some(End::Broken)) => return Poll::Ready(Some(Err("the origin broke off".into()))),
                    (None, None) => {
                        inner.waiting.insert(this.id, cx.waker().clone());
                        return Poll::Pending;
                    }
                }
            };
            this.next += 1;
            let chunk = this.cut(chunk);
            if !chunk.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let inner = self.chunks.lock();
        self.left == 0 || (inner.end == Some(End::Whole) && self.next >= inner.list.len())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.chunks.lock().waiting.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn many_read_it_while_it_grows() {
        let chunks = Arc::new(Chunks::default());
        chunks.push(Bytes::from_static(b"ab"));
        let early = tokio::spawn(chunks.read(None).collect());
        let part = tokio::spawn(chunks.read(Some(1..5)).collect());
        tokio::task::yield_now().await;
        chunks.push(Bytes::from_static(b"cd"));
        chunks.push(Bytes::from_static(b"ef"));
        chunks.finish();
        assert_eq!(early.await.unwrap().unwrap().to_bytes(), "abcdef");
        assert_eq!(part.await.unwrap().unwrap().to_bytes(), "bcde");
        assert_eq!(chunks.read(None).collect().await.unwrap().to_bytes(), "abcdef");
        assert_eq!(chunks.whole_length(), Some(6));
    }

    #[tokio::test]
    async fn a_broken_one_ends_in_an_error() {
        let chunks = Arc::new(Chunks::default());
        chunks.push(Bytes::from_static(b"ab"));
        chunks.fail();
        chunks.finish();
        assert!(chunks.read(None).collect().await.is_err());
        assert_eq!(chunks.whole_length(), None);
        assert_eq!(chunks.read(Some(0..2)).collect().await.unwrap().to_bytes(), "ab", "that part is there");
    }
}
