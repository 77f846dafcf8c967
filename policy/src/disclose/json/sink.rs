//! What the reader finds: tokens, where they stand, and whom they are told.

use std::ops::Range;

use super::Captured;
use super::text::decode;
use crate::contract::{Field, Kind, ObjectShape, RecordSchema};

/// What a reader's findings are for.
pub(super) trait Sink<'a> {
    /// What to do with values of that field.
    fn want(&self, field: &'a Field) -> Want;
    /// Whether the value that begins at that offset is to be read over, as if it were not declared.
    fn skips(&self, _at: usize) -> bool {
        false
    }
    /// A string that is passed begins; its bytes follow by [`Sink::piece`], quotes included.
    fn passing(&mut self, spot: Spot<'_, 'a>);
    /// Bytes of the string that is being passed, all within the current chunk.
    fn piece(&mut self, at: Range<usize>);
    /// A scalar of the declared type, or null; a leaf's whole value or an element of an array leaf.
    fn scalar(&mut self, spot: Spot<'_, 'a>, scalar: &Scalar<'_>);
    /// A wanted leaf, or an element of one, is of another JSON type than declared.
    fn mistyped(&mut self, spot: Spot<'_, 'a>);
    /// The value of a wanted array leaf begins.
    fn list_begins(&mut self, spot: Spot<'_, 'a>, at: usize);
    /// The value of a wanted array leaf ends.
    fn list_ends(&mut self, spot: Spot<'_, 'a>, at: usize);
    /// A member of the innermost of those containers is not declared; its name is decoded.
    fn stray(&mut self, _record: &'a RecordSchema, _frames: &[Frame<'a>], _name: &[u8]) {}
    /// A declared object, or array of objects, ends.
    fn leave(&mut self, frame: &Frame<'a>, root: bool, at: usize);
}

/// What a [`Sink`] wants of a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Want {
    /// Nothing.
    Nothing,
    /// Each scalar, whole.
    Hold,
    /// Strings in pieces, other scalars whole.
    Pass,
}

/// A scalar token.
#[derive(Debug)]
pub(super) struct Scalar<'r> {
    pub(super) token: Token,
    /// The token's bytes; a string's quotes included. Empty if `overlong`.
    pub(super) raw: &'r [u8],
    /// Where it stands; before the current chunk if it began there.
    pub(super) at: Range<usize>,
    /// A string longer than [`MAX_BUFFERED`] bytes, which was read and not held.
    pub(super) overlong: bool,
}

impl<'r> Scalar<'r> {
    pub(super) fn is_null(&self) -> bool {
        self.token == Token::Null
    }

    /// The value.
    pub(super) fn captured(&self) -> Captured<'r> {
        self.captured_from(self.raw)
    }

    /// The value, borrowed from another copy of the token's bytes.
    pub(super) fn captured_from<'b>(&self, raw: &'b [u8]) -> Captured<'b> {
        match self.token {
            Token::Text => Captured::Text(decode(inside(raw))),
            // INVARIANT: a number that was scanned is ASCII.
            Token::Number => Captured::Number(String::from_utf8_lossy(raw)),
            Token::True => Captured::Boolean(true),
            Token::False => Captured::Boolean(false),
            Token::Null => Captured::Null,
        }
    }
}

/// Where a value stands that is being shown.
pub(super) struct Spot<'r, 'a> {
    /// The declared containers around it, outermost first.
    pub(super) frames: &'r mut [Frame<'a>],
    /// The array leaf around it, if it is an element of one.
    pub(super) list: Option<&'r mut List<'a>>,
    pub(super) place: &'r Place<'a>,
    pub(super) field: &'a Field,
}

/// The tokens before a value, as offsets; [`NOWHERE`] where there is none to point at.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    /// The member whose value it is; `None` for an element and for the record itself.
    pub(super) member: Option<(&'a ObjectShape, usize)>,
    /// The key with its quotes; [`NOWHERE`] if it is not written in canonical form.
    pub(super) key: Range<usize>,
    pub(super) colon: usize,
    pub(super) comma: usize,
}

/// An open container that is declared.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) shape: &'a ObjectShape,
    /// Whether it is an array of objects of that shape.
    pub(super) list: bool,
    /// The members that it had, by ordinal.
    pub(super) seen: u128,
    pub(super) place: Place<'a>,
    /// Where its opening bracket stands.
    pub(super) at: usize,
    /// For the writer: whether its opening bracket is written.
    pub(super) opened: bool,
    /// For the writer: whether a member or element of it is written.
    pub(super) filled: bool,
}

/// An open array leaf.
#[derive(Debug)]
pub(super) struct List<'a> {
    pub(super) field: &'a Field,
    pub(super) want: Want,
    pub(super) place: Place<'a>,
    /// For the writer: whether an element of it is written.
    pub(super) filled: bool,
}

/// The kinds of scalar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Token {
    Text,
    Number,
    True,
    False,
    Null,
}

/// The names that lead to the innermost of those containers, the record's first.
pub(super) fn within<'r, 'a>(
    record: &'a RecordSchema,
    frames: &'r [Frame<'a>],
) -> impl Iterator<Item = &'a str> + Clone + use<'r, 'a> {
    let members = frames.iter().filter_map(|frame| frame.place.member);
    let names = members.filter_map(|(shape, ordinal)| shape.members().nth(ordinal)).map(|(name, _)| name);
    std::iter::once(record.name.as_str()).chain(names)
}

impl Place<'_> {
    pub(super) fn element(comma: usize) -> Self {
        Self { member: None, key: NOWHERE..NOWHERE, colon: NOWHERE, comma }
    }
}

impl Token {
    pub(super) fn fits(self, kind: Kind) -> bool {
        match kind {
            Kind::String | Kind::Date => self == Self::Text,
            // That an integer has no fraction is known at its end.
            Kind::Integer | Kind::Number => self == Self::Number,
            Kind::Boolean => matches!(self, Self::True | Self::False),
        }
    }
}

/// A string token without its quotes.
pub(super) fn inside(token: &[u8]) -> &[u8] {
    token.get(1..token.len().saturating_sub(1)).unwrap_or_default()
}

/// The offset of a token that does not stand in the input.
pub(super) const NOWHERE: usize = usize::MAX;
