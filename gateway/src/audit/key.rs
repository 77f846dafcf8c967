//! What is personal in the log: sealed for those who hold the key, and a tag by which entries about one person can be found.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;

/// The audit key. Never the pseudonym key: who may compare pseudonyms must not be able to read the log.
#[derive(Clone)]
pub struct AuditKey(Arc<Derived>);

struct Derived {
    root: hmac::Key,
    tag: hmac::Key,
    id: [u8; 8],
}

impl AuditKey {
    /// Takes 32 random bytes.
    pub fn new(key: [u8; 32]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let tag = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, b"popgate audit 1 subject tag").as_ref());
        let id = first(hmac::sign(&root, b"popgate audit 1 key id").as_ref());
        Self(Arc::new(Derived { root, tag, id }))
    }

    /// Which key this is; says nothing about it.
    pub(super) fn id(&self) -> [u8; 8] {
        self.0.id
    }

    /// The tag of a person: equal in every entry of the log about that person.
    pub fn tag(&self, subject: &str) -> SubjectTag {
        SubjectTag(first(hmac::sign(&self.0.tag, subject.as_bytes()).as_ref()))
    }

    /// The key of one segment. A fresh salt a segment keeps nonces unique even if a copy of the log is continued twice.
    pub(super) fn segment(&self, number: u64, salt: &[u8; 16]) -> Option<SegmentKey> {
        let mut context = hmac::Context::with_key(&self.0.root);
        context.update(b"popgate audit 1 segment");
        context.update(&number.to_le_bytes());
        context.update(salt);
        let key = UnboundKey::new(&AES_256_GCM, context.sign().as_ref()).ok()?;
        Some(SegmentKey(LessSafeKey::new(key)))
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<audit key>")
    }
}

/// HMAC-SHA-256 over a person's number, the first 16 bytes; printed as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubjectTag(pub [u8; 16]);

impl fmt::Display for SubjectTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SubjectTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "subject#{self}")
    }
}

/// Seals and opens the personal part of one segment's records.
pub(super) struct SegmentKey(LessSafeKey);

impl SegmentKey {
    /// Seals in place and appends the authentication tag. `seq` MUST NOT be used twice in a segment.
    ///
    /// `None` only if the cipher fails; the bytes must then be thrown away.
    pub(super) fn seal(&self, seq: u64, clear: &[u8], personal: &mut Vec<u8>) -> Option<()> {
        self.0.seal_in_place_append_tag(nonce(seq), Aad::from(clear), personal).ok()
    }

    /// `None` if another key sealed it, or it was changed.
    pub(super) fn open(&self, seq: u64, clear: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = sealed.to_vec();
        let length = self.0.open_in_place(nonce(seq), Aad::from(clear), &mut bytes).ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }
}

fn nonce(seq: u64) -> Nonce {
    let mut bytes = [0; 12];
    for (to, from) in bytes.iter_mut().zip(seq.to_le_bytes()) {
        *to = from;
    }
    Nonce::assume_unique_for_key(bytes)
}

fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut taken = [0; N];
    for (to, from) in taken.iter_mut().zip(bytes) {
        *to = *from;
    }
    taken
}
