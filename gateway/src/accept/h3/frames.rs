//! A second, strict reader of HTTP/3 frames (RFC 9114, section 7) beside h3's, over the bytes of one stream of the client's.
//!
//! h3 0.0.8 gathers a whole frame of any length in memory before it looks at it, takes a DATA frame that is cut short for a
//! complete body, an empty one for the body's end, and drops frames that it does not know without counting them.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use h3::error::Code;

use super::fields;
use crate::accept::framing::Fault;
use crate::accept::meter::FrameKind;

/// A reader that the stream and the request share.
pub(super) type Shared = Rc<RefCell<Frames>>;

/// Follows the frames of one stream, however its bytes are split.
#[derive(Debug)]
pub(super) struct Frames {
    role: Role,
    state: State,
    /// The most bytes of a frame that h3 gathers.
    limit: u64,
    /// Header sections so far.
    sections: u8,
    data: u64,
    ended: bool,
    fault: Option<Fault>,
    broken: Option<Code>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Request,
    /// Its type comes first (RFC 9114, section 6.2).
    Unidirectional,
    Control,
    /// QPACK's, or one that h3 does not read either.
    Other,
}

#[derive(Debug)]
enum State {
    /// Of a stream or a frame.
    Type(Varint),
    Length(u64, Varint),
    Skip(u64),
    /// The payload of the first HEADERS.
    Section(u64, BytesMut),
}

impl Frames {
    pub(super) fn of_request(limit: usize) -> Self {
        Self::new(Role::Request, limit)
    }

    pub(super) fn of_unidirectional(limit: usize) -> Self {
        Self::new(Role::Unidirectional, limit)
    }

    fn new(role: Role, limit: usize) -> Self {
        let state = State::Type(Varint::default());
        Self { role, state, limit: limit as u64, sections: 0, data: 0, ended: false, fault: None, broken: None }
    }

    /// What the request's header section has wrong that h3 does not tell.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// How the stream broke the grammar, or a bound. Nothing more of it MUST be read.
    pub(super) fn broken(&self) -> Option<Code> {
        self.broken
    }

    /// The length of the body, once the stream has ended between two frames.
    pub(super) fn whole(&self) -> Option<u64> {
        (self.ended && self.broken.is_none()).then_some(self.data)
    }

    /// Bytes came; `count` is told of the frames in them that count.
    pub(super) fn received(&mut self, mut bytes: &[u8], mut count: impl FnMut(FrameKind)) {
        while !bytes.is_empty() && self.broken.is_none() && self.role != Role::Other {
            match &mut self.state {
                State::Type(varint) => {
                    if let Some(kind) = varint.read(&mut bytes) {
                        self.typed(kind);
                    }
                }
                State::Length(kind, varint) => {
                    if let Some(length) = varint.read(&mut bytes) {
                        let kind = *kind;
                        self.frame(kind, length, &mut count);
                    }
                }
                State::Skip(left) => {
                    *left -= take(&mut bytes, *left).len() as u64;
                    if *left == 0 {
                        self.state = State::Type(Varint::default());
                    }
                }
                State::Section(left, section) => {
                    let part = take(&mut bytes, *left);
                    section.extend_from_slice(part);
                    *left -= part.len() as u64;
                    if *left == 0 {
                        self.fault = fields::check(section).err().map(Fault);
                        self.state = State::Type(Varint::default());
                    }
                }
            }
        }
    }

    /// The client ended the stream.
    pub(super) fn end(&mut self) {
        self.ended = true;
        let between = matches!(&self.state, State::Type(varint) if varint.is_empty());
        if self.role == Role::Request && !between && self.broken.is_none() {
            self.broken = Some(Code::H3_FRAME_ERROR);
        }
    }

    fn typed(&mut self, kind: u64) {
        self.state = State::Type(Varint::default());
        match (self.role, kind) {
            (Role::Unidirectional, CONTROL) => self.role = Role::Control,
            (Role::Unidirectional, _) => self.role = Role::Other,
            _ => self.state = State::Length(kind, Varint::default()),
        }
    }

    fn frame(&mut self, kind: u64, length: u64, count: &mut impl FnMut(FrameKind)) {
        self.state = if length == 0 { State::Type(Varint::default()) } else { State::Skip(length) };
        if kind != DATA && length > self.limit {
            self.broken = Some(Code::H3_EXCESSIVE_LOAD);
            return;
        }
        match (self.role, kind) {
            (Role::Request, DATA) => {
                // Before the header section, or after the trailers.
                if self.sections != 1 {
                    self.broken = Some(Code::H3_FRAME_UNEXPECTED);
                }
                self.data = self.data.saturating_add(length);
                if length == 0 {
                    count(FrameKind::EmptyData);
                }
            }
            (Role::Request, HEADERS) => {
                match self.sections {
                    0 if length > 0 => self.state = State::Section(length, BytesMut::new()),
                    0 | 1 => {}
                    _ => {
                        self.broken = Some(Code::H3_FRAME_UNEXPECTED);
                        count(FrameKind::Headers);
                    }
                }
                self.sections += 1;
            }
            (Role::Control, SETTINGS) => count(FrameKind::Settings),
            (_, PRIORITY_UPDATE_OF_REQUEST | PRIORITY_UPDATE_OF_PUSH) => count(FrameKind::Priority),
            _ => count(FrameKind::Other),
        }
    }
}

/// A variable-length integer (RFC 9000, section 16), byte by byte.
#[derive(Debug, Default)]
struct Varint {
    value: u64,
    read: u8,
    length: u8,
}

impl Varint {
    fn is_empty(&self) -> bool {
        self.read == 0
    }

    fn read(&mut self, bytes: &mut &[u8]) -> Option<u64> {
        while let Some((first, rest)) = bytes.split_first() {
            *bytes = rest;
            if self.read == 0 {
                self.length = 1 << (first >> 6);
                self.value = u64::from(first & 0x3f);
            } else {
                self.value = self.value << 8 | u64::from(*first);
            }
            self.read += 1;
            if self.read == self.length {
                return Some(self.value);
            }
        }
        None
    }
}

/// The header of a DATA frame.
pub(super) fn data_header(length: usize) -> Bytes {
    let mut header = BytesMut::with_capacity(9);
    header.extend_from_slice(&[0]);
    let length = length as u64;
    match length {
        0..0x40 => header.extend_from_slice(&length.to_be_bytes()[7..]),
        0x40..0x4000 => header.extend_from_slice(&(length | 0x4000).to_be_bytes()[6..]),
        0x4000..0x4000_0000 => header.extend_from_slice(&(length | 0x8000_0000).to_be_bytes()[4..]),
        _ => header.extend_from_slice(&(length | 0xc000_0000_0000_0000).to_be_bytes()),
    }
    header.freeze()
}

fn take<'a>(bytes: &mut &'a [u8], most: u64) -> &'a [u8] {
    let step = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len());
    let (taken, rest) = bytes.split_at(step);
    *bytes = rest;
    taken
}

const CONTROL: u64 = 0x0;
const DATA: u64 = 0x0;
const HEADERS: u64 = 0x1;
const SETTINGS: u64 = 0x4;
/// RFC 9218, section 7.2.
const PRIORITY_UPDATE_OF_REQUEST: u64 = 0xf_0700;
const PRIORITY_UPDATE_OF_PUSH: u64 = 0xf_0701;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1000;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend(&data_header(payload.len())[1..]);
        bytes.extend(payload);
        bytes
    }

    /// `:method GET`, `:scheme https`, `:path /`.
    fn head() -> Vec<u8> {
        frame(1, b"\x00\x00\xd1\xd7\xc1")
    }

    fn read(mut frames: Frames, bytes: &[u8], split: usize) -> (Frames, Vec<FrameKind>) {
        let mut counted = Vec::new();
        bytes.chunks(split).for_each(|bytes| frames.received(bytes, |kind| counted.push(kind)));
        (frames, counted)
    }

    #[test]
    fn an_honest_request_is_read_however_it_is_split() {
        let mut bytes = head();
        bytes.extend(frame(0, &[7; 300]));
        bytes.extend(frame(0, b""));
        bytes.extend(frame(0x21, b"grease"));
        bytes.extend(frame(0, b"abc"));
        bytes.extend(frame(1, b"\x00\x00"));
        for split in 1..=bytes.len() {
            let (mut frames, counted) = read(Frames::of_request(LIMIT), &bytes, split);
            assert_eq!(frames.whole(), None);
            frames.end();
            assert_eq!((frames.whole(), frames.fault(), frames.broken()), (Some(303), None, None), "{split}");
            assert_eq!(counted, [FrameKind::EmptyData, FrameKind::Other], "{split}");
        }
    }

    #[test]
    fn what_h3_takes_for_whole_or_gathers_is_broken() {
        let cut = {
            let mut bytes = [head(), frame(0, b"abcdef")].concat();
            bytes.truncate(bytes.len() - 3);
            bytes
        };
        let long = [vec![1], data_header(LIMIT + 1)[1..].to_vec()].concat();
        let unknown = [head(), vec![0x21], data_header(1 << 30)[1..].to_vec()].concat();
        for (bytes, code) in [
            (cut, Code::H3_FRAME_ERROR),
            (head()[..3].to_vec(), Code::H3_FRAME_ERROR),
            (long, Code::H3_EXCESSIVE_LOAD),
            (unknown, Code::H3_EXCESSIVE_LOAD),
            ([head(), frame(1, b""), frame(0, b"a")].concat(), Code::H3_FRAME_UNEXPECTED),
            ([head(), frame(1, b""), frame(1, b"")].concat(), Code::H3_FRAME_UNEXPECTED),
            (frame(0, b"a"), Code::H3_FRAME_UNEXPECTED),
        ] {
            for split in [1, 2, 7, 1000] {
                let (mut frames, _) = read(Frames::of_request(LIMIT), &bytes, split);
                frames.end();
                assert_eq!((frames.broken(), frames.whole()), (Some(code), None), "{bytes:?} by {split}");
            }
        }
    }

    #[test]
    fn frames_of_the_control_stream_count_and_other_streams_do_not() {
        let frames = [frame(4, b"\x06\x40\x80"), frame(7, b"\x00"), frame(0x0d, b"\x01")].concat();
        let (_, counted) = read(Frames::of_unidirectional(LIMIT), &[vec![0], frames.clone()].concat(), 1);
        assert_eq!(counted, [FrameKind::Settings, FrameKind::Other, FrameKind::Other]);
        let (other, counted) = read(Frames::of_unidirectional(LIMIT), &[vec![2], frames].concat(), 1);
        assert_eq!((counted, other.broken()), (vec![], None));
    }

    #[test]
    fn a_data_header_is_as_long_as_its_length_needs() {
        for (length, bytes) in [
            (5, &[0, 5][..]),
            (64, &[0, 0x40, 64]),
            (16_384, &[0, 0x80, 0, 0x40, 0]),
            (1 << 30, &[0, 0xc0, 0, 0, 0, 0x40, 0, 0, 0]),
        ] {
            assert_eq!(data_header(length), bytes);
        }
    }
}
