//! The strict one-pass JSON engine: sans-I/O, safe, and the same for every split of its input.
//!
//! Both doors, [`Redactor`] and [`capture`], share one reader, so that they accept the same records. It is stricter
//! than RFC 8259, because two readers of one record must never see two records:
//!
//! - the whole grammar holds, inside values that are dropped too; nothing but white space may follow the record;
//! - all text is UTF-8, without a byte order mark and without escaped lone surrogates;
//! - a declared key stands once in its object, compared decoded (`"\u0063itizen"` is `"citizen"`);
//! - nesting ends at [`MAX_DEPTH`]; keys and numbers longer than [`MAX_BUFFERED`](super::MAX_BUFFERED) bytes are refused;
//! - a declared object, or array of objects, is one, or `null` (then it counts as absent); an array leaf holds scalars;
//! - an object has each member that its contract says it must have ([`ObjectShape::requiring`](crate::contract::ObjectShape::requiring)),
//!   whoever may see it and if only as `null`.
//!
//! Whether a record is readable depends on the record and its schema alone, never on who asks.
//!
//! What is written, in the order of the input and without white space:
//!
//! - members that are not declared are withheld and counted ([`Tally::undeclared`]);
//! - a leaf of another JSON type than [`Field::kind`] is withheld and counted ([`Tally::mistyped`]); `null` fits every kind,
//!   a fraction or an exponent fits no integer. An element of an array leaf that does not fit is left out likewise;
//! - a mask replaces the value, or each element of an array leaf. `null` stays `null`, except under `exists`, which
//!   says `false`. `exists` over an array leaf is one Boolean: whether it has an element that is not `null`;
//! - an array leaf that is shown is shown even when it is empty; an object, or an array of objects, in which nothing
//!   is shown is left out, key and all. The record itself is always written, if only as `{}`.

use bytes::Bytes;

use crate::contract::{Field, RecordSchema};
use crate::disclose::mask::{self, Pseudonym};
use crate::disclose::{Strays, Tally, Treatments, Unreadable};
use crate::model::{MaskKind, Treatment};

mod capture;
mod cut;
mod number;
mod reader;
mod sink;
mod split;
mod text;
mod write;

pub use capture::{Captured, Captures, capture};
pub use write::LONG_RUN;

pub(crate) use capture::{capture_naming, capture_without};
pub(crate) use cut::{Cut, cut};
pub(crate) use number::canonical;
pub(super) use split::split;

use reader::Reader;
use sink::{Frame, Scalar, Sink, Spot, Want, within};
use write::Writer;

/// The deepest nesting of objects and arrays that is read.
pub const MAX_DEPTH: usize = 64;

/// Redacts one record, chunk by chunk.
///
/// Any split of the record into chunks gives the same bytes. A kept run of at least [`LONG_RUN`] bytes within one chunk
/// comes out as a slice of that chunk; shorter runs are copied once, into one buffer a push.
#[derive(Debug)]
pub struct Redactor<'a> {
    reader: Reader<'a>,
    shown: Shown<'a>,
    failed: Option<Unreadable>,
}

impl<'a> Redactor<'a> {
    /// Begins a record of that schema. `pseudonym` is for fields whose treatment is [`MaskKind::Pseudonym`].
    pub fn new(record: &'a RecordSchema, treatments: &'a Treatments, pseudonym: Pseudonym<'a>) -> Self {
        Self {
            reader: Reader::new(record),
            shown: Shown {
                treatments,
                pseudonym,
                writer: Writer::default(),
                tally: Tally::default(),
                lead: &[],
                cuts: &[],
                strays: None,
                exists: false,
            },
            failed: None,
        }
    }

    /// Writes bytes before everything that the first push shows. They are none of the record's.
    pub(super) fn begin_with(&mut self, lead: &'a [u8]) {
        self.shown.lead = lead;
    }

    /// Takes the values that begin at those offsets for members and elements that are not there; sorted.
    pub(super) fn without(&mut self, cuts: &'a [usize]) {
        self.shown.cuts = cuts;
    }

    /// Tells the names of members that are not declared, as far as they may be told.
    pub(super) fn naming(&mut self, strays: &'a mut Strays) {
        self.shown.strays = Some(strays);
    }

    /// Reads the next bytes of the record and appends what may be shown of them.
    ///
    /// # Errors
    /// The record is not strictly readable. Nothing is appended by this push or any later one; what earlier pushes
    /// appended MUST NOT pass as a complete answer.
    pub fn push(&mut self, chunk: Bytes, out: &mut Vec<Bytes>) -> Result<(), Unreadable> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        self.shown.writer.begin(chunk.clone());
        let lead = std::mem::take(&mut self.shown.lead);
        if !lead.is_empty() {
            self.shown.writer.put(lead);
        }
        match self.reader.feed(&chunk, &mut self.shown) {
            Ok(()) => {
                self.shown.writer.end(out);
                Ok(())
            }
            Err(unreadable) => {
                self.failed = Some(unreadable);
                Err(unreadable)
            }
        }
    }

    /// Ends the record. Everything has been written by then.
    ///
    /// # Errors
    /// [`Unreadable::Truncated`] if the record is incomplete; the error of an earlier push, if one failed.
    pub fn finish(self) -> Result<Tally, Unreadable> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let undeclared = self.reader.finish()?;
        Ok(Tally { undeclared, copied: self.shown.writer.copied(), ..self.shown.tally })
    }
}

/// What is shown of the record.
#[derive(Debug)]
struct Shown<'a> {
    treatments: &'a Treatments,
    pseudonym: Pseudonym<'a>,
    writer: Writer,
    tally: Tally,
    /// What is still to be written before everything else.
    lead: &'a [u8],
    /// Where the values begin that are not there for this caller.
    cuts: &'a [usize],
    /// Who is told the names of what is not declared.
    strays: Option<&'a mut Strays>,
    /// Whether the array leaf that is being read under `exists` has an element that is not null.
    exists: bool,
}

impl<'a> Shown<'a> {
    fn is_exists(&self, field: &Field) -> bool {
        self.treatments.of(field.index) == Treatment::Mask(MaskKind::Exists)
    }

    fn masked(&mut self, kind: MaskKind, spot: Spot<'_, 'a>, scalar: &Scalar<'_>) {
        // A text too long to be held has no value here: it exists, and no other mask can be computed.
        let value = match scalar.overlong {
            true if kind == MaskKind::Exists => Captured::Boolean(true),
            true => Captured::Mistyped,
            false => scalar.captured(),
        };
        match mask::apply(kind, &value, spot.field, &self.pseudonym) {
            Some(json) => {
                self.tally.masked.insert(spot.field.index);
                self.writer.prefix(spot);
                self.writer.put(json.as_bytes());
            }
            None => self.mistyped(spot),
        }
    }
}

impl<'a> Sink<'a> for Shown<'a> {
    fn want(&self, field: &'a Field) -> Want {
        // A field that is given by itself is no part of a record, whatever a register writes there.
        if field.whole {
            return Want::Nothing;
        }
        match self.treatments.of(field.index) {
            Treatment::Reveal => Want::Pass,
            Treatment::Mask(_) => Want::Hold,
            Treatment::Match | Treatment::Withhold => Want::Nothing,
        }
    }

    fn skips(&self, at: usize) -> bool {
        self.cuts.binary_search(&at).is_ok()
    }

    fn passing(&mut self, spot: Spot<'_, 'a>) {
        self.tally.revealed.insert(spot.field.index);
        self.writer.prefix(spot);
    }

    fn piece(&mut self, at: std::ops::Range<usize>) {
        self.writer.keep(at);
    }

    fn scalar(&mut self, spot: Spot<'_, 'a>, scalar: &Scalar<'_>) {
        match self.treatments.of(spot.field.index) {
            Treatment::Reveal => {
                self.tally.revealed.insert(spot.field.index);
                self.writer.prefix(spot);
                self.writer.keep_or(scalar.at.clone(), scalar.raw);
            }
            Treatment::Mask(MaskKind::Exists) if spot.list.is_some() => self.exists |= !scalar.is_null(),
            Treatment::Mask(kind) => self.masked(kind, spot, scalar),
            Treatment::Match | Treatment::Withhold => {}
        }
    }

    fn mistyped(&mut self, _spot: Spot<'_, 'a>) {
        self.tally.mistyped = self.tally.mistyped.saturating_add(1);
    }

    fn list_begins(&mut self, spot: Spot<'_, 'a>, at: usize) {
        if self.is_exists(spot.field) {
            self.exists = false;
            return;
        }
        match self.treatments.of(spot.field.index) {
            Treatment::Reveal => self.tally.revealed.insert(spot.field.index),
            _ => self.tally.masked.insert(spot.field.index),
        }
        self.writer.prefix(spot);
        self.writer.mark(at, b'[');
    }

    fn list_ends(&mut self, spot: Spot<'_, 'a>, at: usize) {
        if self.is_exists(spot.field) {
            self.tally.masked.insert(spot.field.index);
            self.writer.prefix(spot);
            self.writer.put(if self.exists { b"true" } else { b"false" });
        } else {
            self.writer.mark(at, b']');
        }
    }

    #[cold]
    fn stray(&mut self, record: &'a RecordSchema, frames: &[Frame<'a>], name: &[u8]) {
        if let Some(strays) = &mut self.strays {
            strays.add(within(record, frames), name);
        }
    }

    fn leave(&mut self, frame: &Frame<'a>, root: bool, at: usize) {
        if frame.opened {
            self.writer.mark(at, if frame.list { b']' } else { b'}' });
        } else if root {
            self.writer.put(b"{}");
        }
    }
}

#[cfg(test)]
mod tests;
