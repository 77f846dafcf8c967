//! Where the records of a list stand in its envelope.

use std::ops::Range;

use super::reader::Reader;
use super::sink::{Frame, Scalar, Sink, Spot, Want};
use crate::contract::{Field, ObjectShape, RecordSchema};
use crate::disclose::Unreadable;

/// Reads a whole list in one strict pass and returns where each object of the shape `element` stands, in order. `element` MUST be
/// a part of `page`'s own shape: it is recognised by its address.
///
/// # Errors
/// The list is not strictly readable; the same lists are refused as by [`super::Redactor`], with the same error.
pub(in crate::disclose) fn split(
    page: &RecordSchema,
    element: &ObjectShape,
    bytes: &[u8],
) -> Result<Vec<Range<usize>>, Unreadable> {
    let mut reader = Reader::new(page);
    let mut elements = Elements { element, found: Vec::new() };
    reader.feed(bytes, &mut elements)?;
    reader.finish()?;
    Ok(elements.found)
}

struct Elements<'e> {
    element: &'e ObjectShape,
    found: Vec<Range<usize>>,
}

impl<'a> Sink<'a> for Elements<'_> {
    fn want(&self, _field: &'a Field) -> Want {
        Want::Nothing
    }

    fn passing(&mut self, _spot: Spot<'_, 'a>) {}

    fn piece(&mut self, _at: Range<usize>) {}

    fn scalar(&mut self, _spot: Spot<'_, 'a>, _scalar: &Scalar<'_>) {}

    fn mistyped(&mut self, _spot: Spot<'_, 'a>) {}

    fn list_begins(&mut self, _spot: Spot<'_, 'a>, _at: usize) {}

    fn list_ends(&mut self, _spot: Spot<'_, 'a>, _at: usize) {}

    fn leave(&mut self, frame: &Frame<'a>, _root: bool, at: usize) {
        if !frame.list && std::ptr::eq(frame.shape, self.element) {
            self.found.push(frame.at..at + 1);
        }
    }
}
