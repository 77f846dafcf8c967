//! Gathering what is shown: long runs as slices of the input, short ones in one buffer.

use std::ops::Range;

use bytes::Bytes;

use super::sink::{Frame, NOWHERE, Place, Spot};

/// The shortest kept run of input bytes, in bytes, that is sliced and not copied.
///
/// Measured: below about 1 KB one copy is cheaper than one more link in a chain of slices.
pub const LONG_RUN: usize = 1024;

/// Collects the output of one push. Positions are offsets from the record's start, as the reader counts them.
#[derive(Debug, Default)]
pub(super) struct Writer {
    chunk: Bytes,
    /// The offset of the chunk.
    base: usize,
    /// The kept bytes of the chunk that are contiguous so far; relative to the chunk.
    run: Range<usize>,
    /// Everything of this push that is copied.
    gathered: Vec<u8>,
    /// Slices, each with the length of `gathered` that goes before it.
    slices: Vec<(usize, Bytes)>,
    copied: usize,
}

impl Writer {
    /// Begins the next chunk; MUST follow [`Writer::end`] of the one before.
    pub(super) fn begin(&mut self, chunk: Bytes) {
        self.base += self.chunk.len();
        self.chunk = chunk;
        self.run = 0..0;
    }

    /// Ends the chunk: everything shown of it is appended to `out`.
    pub(super) fn end(&mut self, out: &mut Vec<Bytes>) {
        self.flush();
        self.copied += self.gathered.len();
        let gathered = Bytes::from(std::mem::take(&mut self.gathered));
        let mut from = 0;
        for (to, slice) in self.slices.drain(..) {
            if from < to {
                out.push(gathered.slice(from..to));
            }
            out.push(slice);
            from = to;
        }
        if from == 0 && !gathered.is_empty() {
            out.push(gathered);
        } else if from < gathered.len() {
            out.push(gathered.slice(from..));
        }
    }

    /// Bytes copied so far.
    pub(super) fn copied(&self) -> usize {
        self.copied
    }

    /// Writes input bytes of the current chunk.
    #[inline]
    pub(super) fn keep(&mut self, at: Range<usize>) {
        let at = at.start.saturating_sub(self.base)..at.end.saturating_sub(self.base);
        if at.start == self.run.end {
            self.run.end = at.end;
        } else {
            self.flush();
            self.run = at;
        }
    }

    /// Writes bytes that stand in the input at `at`: kept there if that is in the current chunk, else copied.
    pub(super) fn keep_or(&mut self, at: Range<usize>, bytes: &[u8]) {
        if self.holds(at.start) {
            self.keep(at);
        } else {
            self.put(bytes);
        }
    }

    /// Writes a structural byte that stands in the input at `at`.
    #[inline]
    pub(super) fn mark(&mut self, at: usize, byte: u8) {
        if self.holds(at) {
            self.keep(at..at + 1);
        } else {
            self.put(&[byte]);
        }
    }

    /// Writes bytes that do not stand in the input.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.flush();
        self.run = self.run.end..self.run.end;
        self.reserve(bytes.len());
        self.gathered.extend_from_slice(bytes);
    }

    /// Writes what goes before a value: the containers around it that are not open yet, its comma and its key.
    pub(super) fn prefix(&mut self, spot: Spot<'_, '_>) {
        if let Some(list) = spot.list {
            self.comma(&mut list.filled, spot.place);
            return;
        }
        if spot.frames.last().is_some_and(|frame| !frame.opened) {
            self.open(spot.frames);
        }
        if let Some(frame) = spot.frames.last_mut() {
            self.comma(&mut frame.filled, spot.place);
        }
        self.key(spot.place);
    }

    fn open(&mut self, frames: &mut [Frame<'_>]) {
        let mut parent: Option<&mut Frame<'_>> = None;
        for frame in frames {
            if !frame.opened {
                if let Some(parent) = parent {
                    self.comma(&mut parent.filled, &frame.place);
                }
                self.key(&frame.place);
                self.mark(frame.at, if frame.list { b'[' } else { b'{' });
                frame.opened = true;
            }
            parent = Some(frame);
        }
    }

    #[inline]
    fn comma(&mut self, filled: &mut bool, place: &Place<'_>) {
        if *filled {
            self.mark(place.comma, b',');
        }
        *filled = true;
    }

    fn key(&mut self, place: &Place<'_>) {
        let Some((shape, ordinal)) = place.member else { return };
        if self.holds(place.key.start) {
            self.keep(place.key.clone());
        } else {
            let name = shape.members().nth(ordinal).map_or("", |(name, _)| name);
            // A string always serialises; canonical means: nothing is escaped that need not be.
            self.put(&serde_json::to_vec(name).unwrap_or_default());
        }
        self.mark(place.colon, b':');
    }

    #[inline]
    fn holds(&self, at: usize) -> bool {
        at >= self.base && at != NOWHERE
    }

    fn flush(&mut self) {
        if self.run.is_empty() {
            return;
        }
        let run = self.run.clone();
        if run.len() >= LONG_RUN {
            self.slices.push((self.gathered.len(), self.chunk.slice(run)));
        } else {
            self.reserve(run.len());
            self.gathered.extend_from_slice(self.chunk.get(run).unwrap_or_default());
        }
        self.run = self.run.end..self.run.end;
    }

    #[inline]
    fn reserve(&mut self, needed: usize) {
        if self.gathered.capacity() == 0 {
            self.gathered.reserve(self.chunk.len().min(FIRST_BUFFER).max(needed));
        }
    }
}

/// The most that is reserved before it is known how much is shown, in bytes.
const FIRST_BUFFER: usize = 16 * 1024;
