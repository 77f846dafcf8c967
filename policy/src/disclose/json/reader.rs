//! The reader: one strict pass over a record, resumable at every byte, that knows the record's shape.

use super::MAX_DEPTH;
use super::number::Number;
use super::sink::{Frame, List, NOWHERE, Place, Scalar, Sink, Spot, Token, Want, inside};
use super::text::{Text, decode};
use crate::contract::{Field, Kind, ObjectShape, RecordSchema, Shape};
use crate::disclose::{MAX_BUFFERED, Unreadable};
use crate::model::FieldIx;

/// The reader's state between two chunks.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    record: &'a RecordSchema,
    state: State,
    /// What the next value is.
    slot: Slot<'a>,
    /// What becomes of the scalar that is being read.
    fate: Fate,
    place: Place<'a>,
    frames: Vec<Frame<'a>>,
    list: Option<List<'a>>,
    /// Open containers inside a dropped value: how many, and which are objects (the last one is the lowest bit).
    dropped: usize,
    dropped_objects: u64,
    /// The offset of the current chunk.
    base: usize,
    /// The offset of the current token.
    token: usize,
    /// The offset of the last comma.
    comma: usize,
    /// What earlier chunks held of the current token, if it is wanted whole.
    carry: Vec<u8>,
    text: Text,
    undeclared: u32,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Value,
    FirstElement,
    FirstKey,
    NextKey,
    Key,
    Colon,
    Text,
    Number(Number),
    /// What is left of a literal.
    Literal(Token, &'static [u8]),
    After,
    End,
}

#[derive(Clone, Copy, Debug)]
enum Slot<'a> {
    Dropped,
    Leaf(&'a Field),
    Element(&'a Field, Want),
    Object(&'a ObjectShape),
    Array(&'a ObjectShape),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Drop,
    Hold,
    Pass,
}

impl<'a> Reader<'a> {
    pub(super) fn new(record: &'a RecordSchema) -> Self {
        Self {
            record,
            state: State::Value,
            slot: Slot::Object(&record.shape),
            fate: Fate::Drop,
            place: Place::element(NOWHERE),
            frames: Vec::with_capacity(4),
            list: None,
            dropped: 0,
            dropped_objects: 0,
            base: 0,
            token: 0,
            comma: NOWHERE,
            carry: Vec::new(),
            text: Text::default(),
            undeclared: 0,
        }
    }

    /// Reads the next chunk.
    pub(super) fn feed<S: Sink<'a>>(&mut self, chunk: &[u8], sink: &mut S) -> Result<(), Unreadable> {
        let mut at = 0;
        while let Some(byte) = chunk.get(at) {
            match self.state {
                State::Key => self.key(chunk, &mut at, sink)?,
                State::Text => self.text(chunk, &mut at, sink)?,
                State::Number(number) => self.number(number, chunk, &mut at, sink)?,
                State::Literal(token, rest) => self.literal(token, rest, chunk, &mut at, sink)?,
                _ if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') => at += 1,
                _ => {
                    self.structure(*byte, self.base + at, sink)?;
                    at += 1;
                }
            }
        }
        self.pause(chunk, sink);
        self.base += chunk.len();
        Ok(())
    }

    /// Ends the record: how many members were not declared.
    pub(super) fn finish(&self) -> Result<u32, Unreadable> {
        match self.state {
            State::End => Ok(self.undeclared),
            _ => Err(Unreadable::Truncated { offset: self.base }),
        }
    }

    /// Saves what the chunk holds of a token that goes on in the next one.
    fn pause<S: Sink<'a>>(&mut self, chunk: &[u8], sink: &mut S) {
        let end = self.base + chunk.len();
        let start = self.token.max(self.base);
        let held = match (self.state, self.fate) {
            (State::Key, _) => self.dropped == 0,
            (State::Text | State::Number(_), Fate::Hold) => end - self.token <= MAX_BUFFERED,
            (State::Text, Fate::Pass) => {
                sink.piece(start..end);
                false
            }
            _ => false,
        };
        if held {
            self.carry.extend_from_slice(chunk.get(start - self.base..).unwrap_or_default());
        }
    }

    fn structure<S: Sink<'a>>(&mut self, byte: u8, at: usize, sink: &mut S) -> Result<(), Unreadable> {
        match (self.state, byte) {
            (State::Value, _) => self.value(byte, at, sink),
            (State::FirstElement, b']') | (State::FirstKey, b'}') | (State::After, b']' | b'}') => {
                self.close(byte == b'}', at, sink)
            }
            (State::FirstElement, _) => {
                self.element(NOWHERE);
                self.value(byte, at, sink)
            }
            (State::FirstKey | State::NextKey, b'"') => {
                self.token = at;
                self.text = Text::default();
                self.state = State::Key;
                Ok(())
            }
            (State::Colon, b':') => {
                self.place.colon = at;
                self.state = State::Value;
                Ok(())
            }
            (State::After, b',') => {
                self.comma = at;
                if self.in_object() {
                    self.state = State::NextKey;
                } else {
                    self.element(at);
                    self.state = State::Value;
                }
                Ok(())
            }
            _ => Err(Unreadable::Grammar { offset: at }),
        }
    }

    /// The first byte of a value.
    fn value<S: Sink<'a>>(&mut self, byte: u8, at: usize, sink: &mut S) -> Result<(), Unreadable> {
        self.token = at;
        if sink.skips(at) {
            self.slot = Slot::Dropped;
        }
        match byte {
            b'"' => {
                self.fate = self.fate(Token::Text, sink)?;
                self.text = Text::default();
                self.state = State::Text;
                if self.fate == Fate::Pass
                    && let Some(spot) = self.spot()
                {
                    sink.passing(spot);
                }
            }
            b'-' | b'0'..=b'9' => {
                self.fate = self.fate(Token::Number, sink)?;
                self.state = State::Number(Number::begin(byte));
            }
            b't' => self.begin_literal(Token::True, b"rue", sink)?,
            b'f' => self.begin_literal(Token::False, b"alse", sink)?,
            b'n' => self.begin_literal(Token::Null, b"ull", sink)?,
            b'{' => self.open_object(at, sink)?,
            b'[' => self.open_array(at, sink)?,
            // The first byte of a byte order mark.
            0xef | 0xfe | 0xff if at == 0 => return Err(Unreadable::Unicode { offset: at }),
            _ => return Err(Unreadable::Grammar { offset: at }),
        }
        Ok(())
    }

    fn begin_literal<S: Sink<'a>>(
        &mut self,
        token: Token,
        rest: &'static [u8],
        sink: &mut S,
    ) -> Result<(), Unreadable> {
        self.fate = self.fate(token, sink)?;
        self.state = State::Literal(token, rest);
        Ok(())
    }

    /// What becomes of a scalar that begins, by its slot.
    fn fate<S: Sink<'a>>(&mut self, token: Token, sink: &mut S) -> Result<Fate, Unreadable> {
        let (field, want, fits) = match self.slot {
            Slot::Dropped => return Ok(Fate::Drop),
            Slot::Object(_) | Slot::Array(_) if token == Token::Null && !self.frames.is_empty() => {
                return Ok(Fate::Drop);
            }
            Slot::Object(_) | Slot::Array(_) => return Err(Unreadable::Shape { offset: self.token }),
            Slot::Leaf(field) => (field, sink.want(field), !field.array && token.fits(field.kind)),
            Slot::Element(field, want) => (field, want, token.fits(field.kind)),
        };
        if want == Want::Nothing {
            return Ok(Fate::Drop);
        }
        if token == Token::Null || fits {
            let passed = want == Want::Pass && token == Token::Text;
            return Ok(if passed { Fate::Pass } else { Fate::Hold });
        }
        self.mistyped(field, sink);
        Ok(Fate::Drop)
    }

    fn open_object<S: Sink<'a>>(&mut self, at: usize, sink: &mut S) -> Result<(), Unreadable> {
        match self.slot {
            Slot::Object(shape) => self.enter(shape, false, at)?,
            Slot::Dropped => self.open_dropped(true, at)?,
            Slot::Leaf(field) => {
                self.mistyped(field, sink);
                self.open_dropped(true, at)?;
            }
            Slot::Element(..) | Slot::Array(_) => return Err(Unreadable::Shape { offset: at }),
        }
        self.state = State::FirstKey;
        Ok(())
    }

    fn open_array<S: Sink<'a>>(&mut self, at: usize, sink: &mut S) -> Result<(), Unreadable> {
        match self.slot {
            Slot::Array(shape) => self.enter(shape, true, at)?,
            Slot::Dropped => self.open_dropped(false, at)?,
            Slot::Leaf(field) if field.array => {
                self.check_depth(at)?;
                let want = sink.want(field);
                if want != Want::Nothing
                    && let Some(spot) = self.spot()
                {
                    sink.list_begins(spot, at);
                }
                self.list = Some(List { field, want, place: self.place.clone(), filled: false });
            }
            Slot::Leaf(field) => {
                self.mistyped(field, sink);
                self.open_dropped(false, at)?;
            }
            Slot::Element(..) | Slot::Object(_) => return Err(Unreadable::Shape { offset: at }),
        }
        self.state = State::FirstElement;
        Ok(())
    }

    fn enter(&mut self, shape: &'a ObjectShape, list: bool, at: usize) -> Result<(), Unreadable> {
        self.check_depth(at)?;
        let place = self.place.clone();
        self.frames.push(Frame { shape, list, seen: 0, place, at, opened: false, filled: false });
        // The first member has no comma before it.
        self.comma = NOWHERE;
        Ok(())
    }

    fn open_dropped(&mut self, object: bool, at: usize) -> Result<(), Unreadable> {
        self.check_depth(at)?;
        // Everything in it is dropped, until it closes and the next key or element says otherwise.
        self.slot = Slot::Dropped;
        self.dropped += 1;
        self.dropped_objects = self.dropped_objects << 1 | u64::from(object);
        Ok(())
    }

    fn check_depth(&self, at: usize) -> Result<(), Unreadable> {
        // INVARIANT: the kinds of all dropped containers fit `dropped_objects`.
        const { assert!(MAX_DEPTH <= u64::BITS as usize) };
        let depth = self.frames.len() + usize::from(self.list.is_some()) + self.dropped;
        if depth < MAX_DEPTH { Ok(()) } else { Err(Unreadable::Depth { offset: at }) }
    }

    fn close<S: Sink<'a>>(&mut self, object: bool, at: usize, sink: &mut S) -> Result<(), Unreadable> {
        if self.in_object() != object {
            return Err(Unreadable::Grammar { offset: at });
        }
        if self.dropped > 0 {
            self.dropped -= 1;
            self.dropped_objects >>= 1;
        } else if let Some(List { field, want, place, .. }) = self.list.take() {
            if want != Want::Nothing {
                sink.list_ends(Spot { frames: &mut self.frames, list: None, place: &place, field }, at);
            }
        } else if let Some(frame) = self.frames.pop() {
            if !frame.list && !frame.shape.is_complete(frame.seen) {
                return Err(incomplete(&frame, at));
            }
            sink.leave(&frame, self.frames.is_empty(), at);
        }
        self.ended();
        Ok(())
    }

    fn in_object(&self) -> bool {
        match (self.dropped, &self.list) {
            (0, Some(_)) => false,
            (0, None) => self.frames.last().is_some_and(|frame| !frame.list),
            _ => self.dropped_objects & 1 == 1,
        }
    }

    /// The next value is an element of the array that is open.
    fn element(&mut self, comma: usize) {
        self.slot = match (self.dropped, &self.list, self.frames.last()) {
            (0, Some(list), _) => Slot::Element(list.field, list.want),
            (0, None, Some(frame)) => Slot::Object(frame.shape),
            _ => return,
        };
        self.place = Place::element(comma);
    }

    fn ended(&mut self) {
        self.state = if self.frames.is_empty() { State::End } else { State::After };
    }

    fn key<S: Sink<'a>>(&mut self, chunk: &[u8], at: &mut usize, sink: &mut S) -> Result<(), Unreadable> {
        let scanned = self.text.scan(chunk, at, self.base);
        let done = self.bounded(scanned, *at)?;
        if !done {
            return Ok(());
        }
        self.state = State::Colon;
        if self.dropped > 0 {
            return Ok(());
        }
        let end = self.base + *at;
        let mut carry = std::mem::take(&mut self.carry);
        let raw = inside(token(&mut carry, chunk, self.token, self.base, *at));
        let decoded;
        let name = if self.text.escaped {
            decoded = decode(raw);
            decoded.as_bytes()
        } else {
            raw
        };
        let frame = self.frames.last_mut().ok_or(Unreadable::Grammar { offset: self.token })?;
        if let Some((ordinal, shape)) = frame.shape.member(name) {
            let bit = 1 << ordinal;
            if frame.seen & bit != 0 {
                return Err(Unreadable::Duplicate { offset: self.token });
            }
            frame.seen |= bit;
            let key = if self.text.escaped { NOWHERE..NOWHERE } else { self.token..end };
            self.place = Place { member: Some((frame.shape, ordinal)), key, colon: NOWHERE, comma: self.comma };
            self.slot = match shape {
                Shape::Leaf(field) => self.record.field(*field).map_or(Slot::Dropped, Slot::Leaf),
                Shape::Object(shape) => Slot::Object(shape),
                Shape::Array(shape) => Slot::Array(shape),
            };
        } else {
            self.undeclared = self.undeclared.saturating_add(1);
            sink.stray(self.record, &self.frames, name);
            self.slot = Slot::Dropped;
        }
        carry.clear();
        self.carry = carry;
        Ok(())
    }

    fn text<S: Sink<'a>>(&mut self, chunk: &[u8], at: &mut usize, sink: &mut S) -> Result<(), Unreadable> {
        if !self.text.scan(chunk, at, self.base)? {
            return Ok(());
        }
        let end = self.base + *at;
        match self.fate {
            Fate::Drop => {}
            Fate::Pass => sink.piece(self.token.max(self.base)..end),
            Fate::Hold => self.hold(Token::Text, chunk, *at, sink),
        }
        self.ended();
        Ok(())
    }

    fn number<S: Sink<'a>>(
        &mut self,
        mut number: Number,
        chunk: &[u8],
        at: &mut usize,
        sink: &mut S,
    ) -> Result<(), Unreadable> {
        let scanned = number.scan(chunk, at, self.base);
        self.state = State::Number(number);
        if !self.bounded(scanned, *at)? {
            return Ok(());
        }
        if self.fate == Fate::Hold {
            match self.slot {
                Slot::Leaf(field) | Slot::Element(field, _) if field.kind == Kind::Integer && !number.is_integer() => {
                    self.carry.clear();
                    self.mistyped(field, sink);
                }
                _ => self.hold(Token::Number, chunk, *at, sink),
            }
        }
        self.ended();
        Ok(())
    }

    fn literal<S: Sink<'a>>(
        &mut self,
        token: Token,
        rest: &'static [u8],
        chunk: &[u8],
        at: &mut usize,
        sink: &mut S,
    ) -> Result<(), Unreadable> {
        let given = chunk.get(*at..).unwrap_or_default();
        let same = rest.iter().zip(given).take_while(|(a, b)| a == b).count();
        *at += same;
        let (rest, given) = (rest.get(same..).unwrap_or_default(), given.get(same..).unwrap_or_default());
        if !rest.is_empty() {
            self.state = State::Literal(token, rest);
            return if given.is_empty() { Ok(()) } else { Err(Unreadable::Grammar { offset: self.base + *at }) };
        }
        if self.fate == Fate::Hold {
            let raw: &[u8] = match token {
                Token::True => b"true",
                Token::False => b"false",
                _ => b"null",
            };
            let scalar = Scalar { token, raw, at: self.token..self.base + *at, overlong: false };
            if let Some(spot) = self.spot() {
                sink.scalar(spot, &scalar);
            }
        }
        self.ended();
        Ok(())
    }

    /// Gives a string or number that ends at `at` to the sink, whole.
    fn hold<S: Sink<'a>>(&mut self, kind: Token, chunk: &[u8], at: usize, sink: &mut S) {
        let end = self.base + at;
        let overlong = end - self.token > MAX_BUFFERED;
        let mut carry = std::mem::take(&mut self.carry);
        let raw = if overlong { &[] } else { token(&mut carry, chunk, self.token, self.base, at) };
        let scalar = Scalar { token: kind, raw, at: self.token..end, overlong };
        if let Some(spot) = self.spot() {
            sink.scalar(spot, &scalar);
        }
        carry.clear();
        self.carry = carry;
    }

    /// Refuses a key or number longer than [`MAX_BUFFERED`], by how far it was read or found wrong, so that every
    /// split of the record into chunks has the same answer.
    fn bounded(&self, scanned: Result<bool, Unreadable>, at: usize) -> Result<bool, Unreadable> {
        let read = match scanned {
            Err(Unreadable::Grammar { offset } | Unreadable::Unicode { offset }) => offset,
            _ => (self.base + at).saturating_sub(self.text.cut_len()),
        };
        if read.saturating_sub(self.token) > MAX_BUFFERED { Err(Unreadable::TooLarge) } else { scanned }
    }

    fn mistyped<S: Sink<'a>>(&mut self, field: &'a Field, sink: &mut S) {
        if sink.want(field) != Want::Nothing
            && let Some(spot) = self.spot()
        {
            sink.mistyped(spot);
        }
    }

    /// Where the value of the current slot stands, if that is a leaf or an element of one.
    fn spot(&mut self) -> Option<Spot<'_, 'a>> {
        let (field, list) = match self.slot {
            Slot::Leaf(field) => (field, None),
            Slot::Element(field, _) => (field, self.list.as_mut()),
            Slot::Dropped | Slot::Object(_) | Slot::Array(_) => return None,
        };
        Some(Spot { frames: &mut self.frames, list, place: &self.place, field })
    }
}

/// What an object lacks that ends there.
#[cold]
fn incomplete(frame: &Frame<'_>, at: usize) -> Unreadable {
    let lacking = frame.shape.lacking(frame.seen).and_then(Shape::leaf);
    // The loader makes no member without a leaf.
    let (leaf, below) = lacking.unwrap_or((FieldIx(u16::MAX), 0));
    Unreadable::Incomplete { offset: at, leaf, below }
}

/// A token that begins at the offset `start` and ends at `at` of the chunk, joined with what earlier chunks held of it.
fn token<'r>(carry: &'r mut Vec<u8>, chunk: &'r [u8], start: usize, base: usize, at: usize) -> &'r [u8] {
    if start >= base {
        return chunk.get(start - base..at).unwrap_or_default();
    }
    carry.extend_from_slice(chunk.get(..at).unwrap_or_default());
    carry
}
