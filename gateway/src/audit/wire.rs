//! The bytes of the log: segment headers, frames, commits. Nothing here touches a file.
//!
//! A segment is a header followed by batches. A batch is some frames and one commit, appended by one write. The first batch of a
//! segment begins at byte 0, so the header is part of what its commit covers.
//!
//! ```text
//! frame  = kind u8, length varint, payload
//! commit = C7 28, magic 4, length of the batch without its commit u32, hash 32
//! hash   = SHA-256(hash of the commit before, the batch's bytes)
//! ```
//! Integers are little-endian; varints are LEB128.

use aws_lc_rs::digest;
use memchr::memmem;

/// The hash in a commit: the chain's state after its batch.
pub(super) type Hash = [u8; 32];

/// What a frame holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Intent,
    Closing,
    Refused,
    Name,
    Schema,
    Seal,
    Action,
}

impl Kind {
    pub(super) fn byte(self) -> u8 {
        match self {
            Self::Intent => 1,
            Self::Closing => 2,
            Self::Refused => 3,
            Self::Name => 4,
            Self::Schema => 5,
            Self::Seal => 6,
            Self::Action => 7,
        }
    }

    fn of(byte: u8) -> Option<Self> {
        [Self::Intent, Self::Closing, Self::Refused, Self::Name, Self::Schema, Self::Seal, Self::Action]
            .into_iter()
            .find(|kind| kind.byte() == byte)
    }

    /// Whether such a frame takes a sequence number.
    pub(super) fn is_record(self) -> bool {
        matches!(self, Self::Intent | Self::Closing | Self::Refused | Self::Action)
    }
}

/// The first bytes of a segment: where it stands in the chain, and what reading its records needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) number: u64,
    /// The segment before; 0 if this is the log's first.
    pub(super) previous: u64,
    /// Where the segment before ends.
    pub(super) previous_end: u64,
    /// Whether bytes after that end are what a failed or torn write left.
    pub(super) previous_torn: bool,
    /// The last commit before this segment.
    pub(super) previous_hash: Hash,
    /// The sequence number of this segment's first record.
    pub(super) first_seq: u64,
    /// Microseconds since 1970; the records' times are relative to it.
    pub(super) created: i64,
    /// Random: with the key it makes this segment's sealing key.
    pub(super) salt: [u8; 16],
    /// Which key that is.
    pub(super) key: [u8; 8],
}

impl Header {
    pub(super) const LEN: usize = 114;

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[VERSION, u8::from(self.previous_torn)]);
        for number in [self.number, self.previous, self.previous_end, self.first_seq] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.created.to_le_bytes());
        out.extend_from_slice(&self.previous_hash);
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&self.key);
    }

    /// `None` if these bytes do not begin a segment of this version.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        if from.bytes(MAGIC.len())? != MAGIC || from.byte()? != VERSION {
            return None;
        }
        let flags = from.byte()?;
        let mut number = || Some(u64::from_le_bytes(from.array()?));
        let (segment, previous, previous_end, first_seq) = (number()?, number()?, number()?, number()?);
        Some(Self {
            number: segment,
            previous,
            previous_end,
            previous_torn: flags & 1 != 0,
            first_seq,
            created: i64::from_le_bytes(from.array()?),
            previous_hash: from.array()?,
            salt: from.array()?,
            key: from.array()?,
        })
    }
}

/// A frame of a batch that was found whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    /// Its first byte in the segment.
    pub(super) at: usize,
    pub(super) kind: Kind,
    pub(super) payload: &'a [u8],
}

/// What stands at a place where a batch should begin.
#[derive(Debug)]
pub(super) enum Next<'a> {
    /// A batch whose commit is right.
    Batch {
        frames: Vec<Frame<'a>>,
        /// The first byte after it.
        end: usize,
        hash: Hash,
    },
    /// The segment ends.
    End,
    /// The segment ends amid a batch: what a writer that was stopped left.
    Torn,
    /// A batch that was whole once.
    Damaged(Flaw),
}

/// What is wrong with a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flaw {
    Header,
    Frame,
    Commit,
}

/// Reads the batch that begins at byte `at` of a segment, after the commit `previous`.
pub(super) fn next_batch<'a>(segment: &'a [u8], at: usize, previous: &Hash) -> Next<'a> {
    let rest = segment.get(at..).unwrap_or_default();
    if rest.is_empty() {
        return Next::End;
    }
    match whole_batch(segment, at, previous) {
        Ok((frames, end, hash)) => Next::Batch { frames, end, hash },
        // A stopped write leaves a prefix, or (after a loss of power) a hole of zeros: never a commit.
        Err(None) if commits_in(rest).next().is_none() => Next::Torn,
        Err(None) => Next::Damaged(Flaw::Frame),
        Err(Some(flaw)) => Next::Damaged(flaw),
    }
}

/// Whether the bytes after the last right commit can be the remains of one write. After a loss of power the pages of a write
/// survive in any order, so its commit may be there while bytes before it are not. But the writer never has two writes under
/// way: where a commit is followed by anything, or closes a batch that began later, what is before it was durable once.
pub(super) fn may_be_one_write(rest: &[u8]) -> bool {
    commits_in(rest).all(|(at, length)| {
        let last = at + COMMIT_LEN == rest.len();
        let begins = at - length;
        let before = begins.checked_sub(size_of::<Hash>()).and_then(|hash| rest.get(hash..begins)?.try_into().ok());
        let later = before.is_some_and(|before| {
            let batch = rest.get(begins..at).unwrap_or_default();
            rest.ends_with(&chain(&before, batch))
        });
        last && !later
    })
}

/// Ends a batch: appends the commit and returns its hash.
pub(super) fn commit(batch: &mut Vec<u8>, previous: &Hash) -> Hash {
    let hash = chain(previous, batch);
    let length = u32::try_from(batch.len()).unwrap_or(u32::MAX);
    batch.extend_from_slice(&COMMIT);
    batch.extend_from_slice(&length.to_le_bytes());
    batch.extend_from_slice(&hash);
    hash
}

/// Appends a frame whose payload `fill` appends.
pub(super) fn frame(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    out.push(kind.byte());
    put_varint(out, payload.len() as u64);
    out.extend_from_slice(payload);
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Small numbers of either sign take few bytes.
pub(super) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// A string or byte string behind its length.
pub(super) fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes values off the front of a payload; `None` where it ends too early.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.bytes(1)?.first().copied()
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(super) fn count(&mut self) -> Option<usize> {
        usize::try_from(self.varint()?).ok()
    }

    pub(super) fn short(&mut self) -> Option<&'a [u8]> {
        let count = self.count()?;
        self.bytes(count)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.short()?).ok()
    }
}

type Whole<'a> = (Vec<Frame<'a>>, usize, Hash);

/// `Err(None)` if the segment ends first.
fn whole_batch<'a>(segment: &'a [u8], at: usize, previous: &Hash) -> Result<Whole<'a>, Option<Flaw>> {
    let mut from = Reader::new(segment.get(at..).unwrap_or_default());
    if at == 0 {
        let header = from.bytes(Header::LEN).ok_or(None)?;
        Header::read(header).ok_or_else(|| if is_hole(segment) { None } else { Some(Flaw::Header) })?;
    }
    let mut frames = Vec::new();
    loop {
        let frame_at = segment.len() - from.rest().len();
        if is_commit(from.rest()) {
            let batch = segment.get(at..frame_at).unwrap_or_default();
            let commit = from.bytes(COMMIT_LEN).ok_or(None)?;
            let expected = chain(previous, batch);
            let right = commit_length(commit) == Some(batch.len()) && commit.ends_with(&expected);
            return if right { Ok((frames, frame_at + COMMIT_LEN, expected)) } else { Err(Some(Flaw::Commit)) };
        }
        if from.rest().len() < COMMIT.len() && COMMIT.starts_with(from.rest()) || is_hole(from.rest()) {
            return Err(None);
        }
        let kind = from.byte().and_then(Kind::of).ok_or(Some(Flaw::Frame))?;
        let payload = from.short().ok_or(None)?;
        frames.push(Frame { at: frame_at, kind, payload });
    }
}

fn chain(previous: &Hash, batch: &[u8]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(previous);
    context.update(batch);
    let mut hash = Hash::default();
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// The commits in some bytes (position, length of the batch that it closes), however the bytes before them may have suffered.
fn commits_in(bytes: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    memmem::find_iter(bytes, COMMIT.as_slice()).filter_map(|at| {
        let length = commit_length(bytes.get(at..)?)?;
        // Ciphertext that looks like a commit by chance is not taken for one.
        (length <= at && at + COMMIT_LEN <= bytes.len()).then_some((at, length))
    })
}

fn is_commit(bytes: &[u8]) -> bool {
    bytes.starts_with(&COMMIT)
}

fn commit_length(commit: &[u8]) -> Option<usize> {
    let mut from = Reader::new(commit.get(COMMIT.len()..)?);
    usize::try_from(u32::from_le_bytes(from.array()?)).ok()
}

fn is_hole(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

const MAGIC: &[u8; 16] = b"\x89popgate-audit\r\n";
const VERSION: u8 = 1;
/// Kind, length of the rest (40) and four bytes that no UTF-8 text contains.
const COMMIT: [u8; 6] = [0xC7, 0x28, 0xFE, 0xC0, 0xFF, 0xEE];
const COMMIT_LEN: usize = 42;
