//! Reading values out of a record: for subject checks, guards, record attributes and match answers.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use super::reader::Reader;
use super::sink::{Frame, Scalar, Sink, Spot, Want, within};
use crate::contract::{Field, RecordSchema};
use crate::disclose::{Strays, Unreadable};
use crate::model::{FieldIx, FieldSet};

/// Reads a whole record in one strict pass and returns the values of the wanted leaves.
///
/// # Errors
/// The record is not strictly readable; the same records are refused as by [`super::Redactor`], with the same error.
pub fn capture<'b>(record: &RecordSchema, wanted: FieldSet, bytes: &'b Bytes) -> Result<Captures<'b>, Unreadable> {
    capture_into(record, Found::new(wanted, bytes), bytes)
}

/// The same, which tells the names of members that are not declared, as far as they may be told.
pub(crate) fn capture_naming<'b>(
    record: &RecordSchema,
    wanted: FieldSet,
    strays: &mut Strays,
    bytes: &'b Bytes,
) -> Result<Captures<'b>, Unreadable> {
    capture_into(record, Found { strays: Some(strays), ..Found::new(wanted, bytes) }, bytes)
}

/// The same without the values that begin at those offsets (sorted).
pub(crate) fn capture_without<'b>(
    record: &RecordSchema,
    wanted: FieldSet,
    cuts: &[usize],
    bytes: &'b Bytes,
) -> Result<Captures<'b>, Unreadable> {
    capture_into(record, Found { cuts, ..Found::new(wanted, bytes) }, bytes)
}

fn capture_into<'b>(
    record: &RecordSchema,
    mut found: Found<'b, '_>,
    bytes: &'b Bytes,
) -> Result<Captures<'b>, Unreadable> {
    let mut reader = Reader::new(record);
    reader.feed(bytes, &mut found)?;
    let undeclared = reader.finish()?;
    Ok(Captures { values: found.values, undeclared })
}

/// The values of the wanted leaves of one record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Captures<'b> {
    values: Vec<(FieldIx, Captured<'b>)>,
    undeclared: u32,
}

impl<'b> Captures<'b> {
    /// The value of a leaf, [`Captured::Absent`] if the record has none (or it was not wanted). A leaf inside an array
    /// of objects may occur many times: this is the first one, and [`Captures::values`] are all.
    pub fn value(&self, field: FieldIx) -> &Captured<'b> {
        self.values(field).next().unwrap_or(&Captured::Absent)
    }

    /// Every occurrence of a leaf, in the order of the record.
    pub fn values(&self, field: FieldIx) -> impl Iterator<Item = &Captured<'b>> {
        self.values.iter().filter(move |(index, _)| *index == field).map(|(_, value)| value)
    }

    /// Members of the record that the contract does not declare.
    pub fn undeclared(&self) -> u32 {
        self.undeclared
    }
}

/// A leaf's value. `Debug` prints no part of it.
#[derive(Clone, PartialEq, Eq)]
pub enum Captured<'b> {
    /// The record has no such member.
    Absent,
    /// `null`.
    Null,
    /// A string, decoded.
    Text(Cow<'b, str>),
    /// A number, as written.
    Number(Cow<'b, str>),
    /// `true` or `false`.
    Boolean(bool),
    /// The elements of an array leaf: none of them `Absent` or `Array`.
    Array(Vec<Captured<'b>>),
    /// A value of another JSON type than the contract declares. It MUST NOT count as evidence of anything.
    Mistyped,
}

impl fmt::Debug for Captured<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("<absent>"),
            Self::Null => f.write_str("<null>"),
            Self::Text(text) => write!(f, "<text, {} bytes>", text.len()),
            Self::Number(number) => write!(f, "<number, {} bytes>", number.len()),
            Self::Boolean(_) => f.write_str("<boolean>"),
            Self::Array(elements) => write!(f, "<array, {} elements>", elements.len()),
            Self::Mistyped => f.write_str("<mistyped>"),
        }
    }
}

/// What was found so far.
struct Found<'b, 'c> {
    bytes: &'b [u8],
    wanted: FieldSet,
    cuts: &'c [usize],
    strays: Option<&'c mut Strays>,
    values: Vec<(FieldIx, Captured<'b>)>,
    /// The elements of the array leaf that is being read.
    list: Option<Vec<Captured<'b>>>,
}

impl<'b> Found<'b, '_> {
    fn new(wanted: FieldSet, bytes: &'b [u8]) -> Self {
        Self { bytes, wanted, cuts: &[], strays: None, values: Vec::with_capacity(wanted.len()), list: None }
    }

    fn add(&mut self, field: FieldIx, value: Captured<'b>) {
        match &mut self.list {
            Some(list) => list.push(value),
            None => self.values.push((field, value)),
        }
    }
}

impl<'a> Sink<'a> for Found<'_, '_> {
    fn want(&self, field: &'a Field) -> Want {
        if self.wanted.contains(field.index) { Want::Hold } else { Want::Nothing }
    }

    fn skips(&self, at: usize) -> bool {
        self.cuts.binary_search(&at).is_ok()
    }

    fn passing(&mut self, _spot: Spot<'_, 'a>) {}

    fn piece(&mut self, _at: Range<usize>) {}

    fn scalar(&mut self, spot: Spot<'_, 'a>, scalar: &Scalar<'_>) {
        // The record is one chunk: its own bytes outlive the token's.
        let raw = self.bytes.get(scalar.at.clone()).unwrap_or_default();
        self.add(spot.field.index, scalar.captured_from(raw));
    }

    fn mistyped(&mut self, spot: Spot<'_, 'a>) {
        self.add(spot.field.index, Captured::Mistyped);
    }

    fn list_begins(&mut self, _spot: Spot<'_, 'a>, _at: usize) {
        self.list = Some(Vec::new());
    }

    fn list_ends(&mut self, spot: Spot<'_, 'a>, _at: usize) {
        let elements = self.list.take().unwrap_or_default();
        self.values.push((spot.field.index, Captured::Array(elements)));
    }

    #[cold]
    fn stray(&mut self, record: &'a RecordSchema, frames: &[Frame<'a>], name: &[u8]) {
        if let Some(strays) = &mut self.strays {
            strays.add(within(record, frames), name);
        }
    }

    fn leave(&mut self, _frame: &Frame<'a>, _root: bool, _at: usize) {}
}
