//! Disclosure: from bytes that nobody may see to the bytes that this caller may.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use self::arena::Arena;

use crate::model::{DisclosureId, FieldIx, FieldSet, Personal, Treatment};

pub mod arena;
pub mod cursor;
pub mod json;
pub mod mask;
pub mod matching;
mod open;
mod strays;
mod verdict;

#[cfg(test)]
pub(crate) use open::outcome_of;
pub use strays::Strays;

pub(crate) use open::{derived, only, open, open_record_of_whole, open_whole, persons};

/// Upstream bytes that nobody may see yet: one register's answer, shared by reference count.
///
/// Outside this crate it can be kept, counted and handed to [`crate::permit::Permit::open`], and nothing else.
#[derive(Clone)]
pub struct Raw(Bytes);

impl Raw {
    /// Seals bytes as they came from the register.
    pub fn seal(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The same in memory of its own, for keeping: what was read from a socket holds the whole buffer that it was read into. In an
    /// arena it is wiped when nobody holds it any more; `None` where that has no place for it.
    pub fn compact(&self, arena: Option<&Arena>) -> Option<Self> {
        Some(Self(match arena {
            Some(arena) => arena.copy(&self.0)?,
            None => Bytes::copy_from_slice(&self.0),
        }))
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<raw, {} bytes>", self.0.len())
    }
}

/// What one disclosure shows, ready to be released against its receipt.
#[derive(Debug)]
pub struct Redacted {
    /// The disclosure.
    pub(crate) disclosure: DisclosureId,
    /// The answer, in order.
    pub(crate) chunks: Vec<RedactedChunk>,
    /// What it shows and what it counted; of a list, apart from its persons.
    pub(crate) tally: Tally,
    /// The persons whom only the answer named; the one at position `n` is entry `n + 1` of the disclosure.
    pub(crate) persons: Vec<Person>,
    /// What the answer is, if it is no JSON.
    pub(crate) media_type: Option<Box<str>>,
}

/// A person whom only the answer named, and what it shows of them.
#[derive(Clone, Debug)]
pub struct Person {
    /// Their number.
    pub subject: Personal<String>,
    /// What is shown.
    pub tally: Tally,
}

impl Redacted {
    /// The disclosure that this belongs to.
    pub fn disclosure(&self) -> DisclosureId {
        self.disclosure
    }

    /// What it shows.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// The persons whom only the answer named: each needs an entry of their own before their chunk is released.
    pub fn persons(&self) -> &[Person] {
        &self.persons
    }

    /// The answer's media type.
    pub fn media_type(&self) -> &str {
        self.media_type.as_deref().unwrap_or("application/json")
    }

    /// The length of the answer in bytes.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes.len()).sum()
    }

    /// Whether the answer has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The chunks in order.
    pub fn into_chunks(self) -> Vec<RedactedChunk> {
        self.chunks
    }
}

/// A piece of an answer, stamped with the disclosure whose receipt releases it.
pub struct RedactedChunk {
    pub(crate) disclosure: DisclosureId,
    pub(crate) last_seq: u32,
    pub(crate) bytes: Bytes,
}

impl RedactedChunk {
    /// The disclosure that this belongs to.
    pub fn disclosure(&self) -> DisclosureId {
        self.disclosure
    }

    /// The last person's entry (counted from 0 within the disclosure) whose record must be durable before release.
    pub fn last_seq(&self) -> u32 {
        self.last_seq
    }

    /// The bytes. MUST be called only where a receipt of the same disclosure was checked.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

impl fmt::Debug for RedactedChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<redacted, {} bytes>", self.bytes.len())
    }
}

/// What became of a record's fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Shown as they are.
    pub revealed: FieldSet,
    /// Shown through a mask.
    pub masked: FieldSet,
    /// Claims that the record bears out (a guard that held counts, as does what the register was asked by).
    pub matched: FieldSet,
    /// Claims that the record does not bear out, and were answered so.
    pub refuted: FieldSet,
    /// Members of the record that the contract does not declare.
    pub undeclared: u32,
    /// Declared fields whose value had another JSON type than declared, or could not be masked; withheld.
    pub mistyped: u32,
    /// Fields whose policies failed to evaluate; withheld. More than zero raises an alarm.
    pub policy_errors: u32,
    /// Bytes of the answer that were copied in user space; the rest are slices of what the register sent.
    pub copied: usize,
}

impl Tally {
    /// Nothing was shown, and nothing counted.
    pub const NONE: Self = Self {
        revealed: FieldSet::EMPTY,
        masked: FieldSet::EMPTY,
        matched: FieldSet::EMPTY,
        refuted: FieldSet::EMPTY,
        undeclared: 0,
        mistyped: 0,
        policy_errors: 0,
        copied: 0,
    };

    /// What was counted, where nothing is shown after all.
    #[must_use]
    pub fn without_fields(self) -> Self {
        let Self { undeclared, mistyped, policy_errors, .. } = self;
        Self { undeclared, mistyped, policy_errors, ..Self::default() }
    }
}

/// The site's keys for what is shown.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// For pseudonyms.
    pub pseudonyms: PseudonymKey,
    /// For cursors.
    pub cursors: cursor::CursorKey,
}

/// What each field of a record gets, by [`FieldIx`]; a field beyond its end is withheld.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Treatments(pub Box<[Treatment]>);

impl Treatments {
    /// What that field gets.
    pub fn of(&self, field: FieldIx) -> Treatment {
        self.0.get(usize::from(field.0)).copied().unwrap_or(Treatment::Withhold)
    }
}

/// Why a record could not be read strictly. `offset` counts bytes from the record's start; no byte of it is quoted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreadable {
    /// Not the JSON grammar of RFC 8259.
    #[error("not valid json at byte {offset}")]
    Grammar {
        /// Where.
        offset: usize,
    },
    /// Not UTF-8, a byte order mark, or an escaped lone surrogate.
    #[error("not valid unicode at byte {offset}")]
    Unicode {
        /// Where.
        offset: usize,
    },
    /// A declared key stands twice in one object.
    #[error("a declared key stands twice at byte {offset}")]
    Duplicate {
        /// Where.
        offset: usize,
    },
    /// Nested deeper than [`json::MAX_DEPTH`].
    #[error("nested too deep at byte {offset}")]
    Depth {
        /// Where.
        offset: usize,
    },
    /// The root, or a declared object or array, is of another JSON type than declared.
    #[error("not of the declared shape at byte {offset}")]
    Shape {
        /// Where.
        offset: usize,
    },
    /// An object lacks a member that the contract says it must have (`x-gateway-strict`).
    #[error("a member that the contract requires is not there at byte {offset}")]
    Incomplete {
        /// Where the object ends.
        offset: usize,
        /// The leaf that is not there, or one within the object or array that is not.
        leaf: FieldIx,
        /// How many names deeper than what is not there that leaf stands.
        below: usize,
    },
    /// The record ends too early.
    #[error("truncated after {offset} bytes")]
    Truncated {
        /// Where.
        offset: usize,
    },
    /// A record longer than [`MAX_BUFFERED`] bytes, a list longer than [`MAX_LIST`], a whole field longer than the contract says.
    #[error("longer than is read")]
    TooLarge,
}

/// The longest record that is buffered whole, in bytes.
pub const MAX_BUFFERED: usize = 64 * 1024;

/// The longest list of records that is buffered whole, in bytes; each of its records is at most [`MAX_BUFFERED`] long.
pub const MAX_LIST: usize = 1024 * 1024;

/// The site's key for pseudonyms; never the audit key.
#[derive(Clone)]
pub struct PseudonymKey(Arc<[u8; 32]>);

impl PseudonymKey {
    /// Wraps 32 random bytes.
    pub fn new(key: [u8; 32]) -> Self {
        Self(Arc::new(key))
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<pseudonym key>")
    }
}
