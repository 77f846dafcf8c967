//! Marks: keyed hashes that stand for requests, persons, tags and registers, so that none of those is kept in the store or sent.

use std::fmt;
use std::hash::{Hash, Hasher};

use siphasher::sip128::{Hasher128, SipHasher24};

/// Makes marks. Nodes that share purges share its key; who has the key can find out whom a mark stands for.
#[derive(Clone)]
pub struct Marker(SipHasher24);

/// A keyed 128-bit hash (SipHash-2-4). Marks of different kinds never stand for the same by design, only by chance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u128);

/// What a record is kept under: an upstream request, and the agency if only that one may share it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    upstream: Mark,
    id: Mark,
}

/// The tags of a record cannot all be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooMany;

impl Marker {
    /// Makes marks under that key.
    pub fn new(key: &[u8; 16]) -> Self {
        Self(SipHasher24::new_with_key(key))
    }

    /// Of an upstream request, by its parts (register, method, target, body), in that order.
    pub fn upstream(&self, parts: &[&[u8]]) -> Mark {
        self.mark(b'u', parts)
    }

    /// Of an agency.
    pub fn agency(&self, agency: &[u8]) -> Mark {
        self.mark(b'a', &[agency])
    }

    /// Of a person, by their number, across registers.
    pub fn subject(&self, number: &[u8]) -> Mark {
        self.mark(b's', &[number])
    }

    /// Of a register.
    pub fn register(&self, register: &[u8]) -> Mark {
        self.mark(b'r', &[register])
    }

    /// Of a tag that a register gave; the same tag of another register is another.
    pub fn tag(&self, register: &[u8], tag: &[u8]) -> Mark {
        self.mark(b't', &[register, tag])
    }

    /// Of the tags in the values of `Surrogate-Key` (between spaces) and `Cache-Tag` (between commas).
    ///
    /// # Errors
    /// More than [`TAGS`], or one longer than [`TAG_BYTES`]: the record MUST NOT be stored, a purge would miss it.
    pub fn tags<'a>(&self, register: &[u8], values: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Mark>, TooMany> {
        let mut marks = Vec::new();
        let tags = values.into_iter().flat_map(|value| value.split(|byte| matches!(byte, b' ' | b'\t' | b',')));
        for tag in tags.filter(|tag| !tag.is_empty()) {
            if tag.len() > TAG_BYTES {
                return Err(TooMany);
            }
            let mark = self.tag(register, tag);
            if marks.contains(&mark) {
                continue;
            }
            if marks.len() == TAGS {
                return Err(TooMany);
            }
            marks.push(mark);
        }
        Ok(marks)
    }

    fn mark(&self, kind: u8, parts: &[&[u8]]) -> Mark {
        let mut hasher = self.0;
        hasher.write(&[kind]);
        for part in parts {
            // Lengths are hashed too: parts cannot run into each other.
            hasher.write(&(part.len() as u64).to_le_bytes());
            hasher.write(part);
        }
        Mark(hasher.finish128().as_u128())
    }
}

impl fmt::Debug for Marker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Marker")
    }
}

impl Mark {
    /// As it is sent to other nodes.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// As another node sent it.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The low and the high half.
    pub(crate) fn halves(self) -> (u64, u64) {
        (self.0 as u64, (self.0 >> 64) as u64)
    }
}

/// Marks may stand for persons: they are not for logs.
impl fmt::Debug for Mark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Mark(..)")
    }
}

impl Hash for Mark {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The key makes it even already.
        state.write_u64(self.0 as u64);
    }
}

impl Key {
    /// What that agency asked of the upstream, or anybody.
    pub fn new(upstream: Mark, agency: Option<Mark>) -> Self {
        // Both are keyed hashes of different kinds: their sum is as even as each.
        let id = agency.map_or(upstream, |agency| Mark(upstream.0 ^ agency.0));
        Self { upstream, id }
    }

    /// The upstream request, whoever shares it.
    pub fn upstream(&self) -> Mark {
        self.upstream
    }

    pub(crate) fn id(&self) -> Mark {
        self.id
    }
}

/// How many tags a record may have.
pub const TAGS: usize = 32;
/// How long a tag may be, in bytes.
pub const TAG_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_in_kind_parts_or_key_has_another_mark() {
        let marker = Marker::new(&[1; 16]);
        let other = Marker::new(&[2; 16]);
        let marks = [
            marker.subject(b"1"),
            marker.register(b"1"),
            marker.agency(b"1"),
            marker.upstream(&[b"1"]),
            marker.upstream(&[b"1", b""]),
            marker.upstream(&[b"", b"1"]),
            other.subject(b"1"),
        ];
        for (n, mark) in marks.iter().enumerate() {
            assert!(!marks[..n].contains(mark), "{n}");
            assert_eq!(Mark::from_bytes(mark.to_bytes()), *mark);
        }
        assert_eq!(marker.subject(b"1"), Marker::new(&[1; 16]).subject(b"1"));
        assert_eq!(format!("{:?} {marker:?}", marks[0]), "Mark(..) Marker");
    }

    #[test]
    fn more_or_longer_tags_than_can_be_kept_are_an_error() {
        let marker = Marker::new(&[1; 16]);
        let tags = marker.tags(b"r", [b"a b,c,, a".as_slice(), b"c d".as_slice()]).unwrap();
        assert_eq!(tags, [b"a", b"b", b"c", b"d"].map(|tag| marker.tag(b"r", tag)));
        let many: String = (0..=TAGS).map(|n| format!("{n} ")).collect();
        assert_eq!(marker.tags(b"r", [many.as_bytes()]), Err(TooMany));
        assert_eq!(marker.tags(b"r", ["x".repeat(TAG_BYTES + 1).as_bytes()]), Err(TooMany));
    }
}
