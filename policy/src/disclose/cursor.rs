//! Cursors: where a register's next page begins, as a value that tells the agency nothing and serves its own question alone.
//!
//! A register's cursor may hold a position, a count, or a person's number. What leaves is AES-256-GCM over it, bound to who
//! asks what for what purpose: another system, another purpose or another question cannot go on with it. The nonce is derived from
//! what is sealed, so that no randomness is needed and no two values share one.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The site's key for cursors.
#[derive(Clone)]
pub struct CursorKey([u8; 32]);

/// What a cursor is good for: SHA-256 over who asks what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scope([u8; 32]);

impl CursorKey {
    /// Wraps 32 random bytes.
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// Seals a register's cursor. `None` only if the cipher fails.
    pub(crate) fn seal(&self, scope: Scope, cursor: &str) -> Option<String> {
        let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.derived(b"nonce")));
        mac.update(&scope.0);
        mac.update(cursor.as_bytes());
        let nonce: [u8; NONCE_LEN] = mac.sign().as_ref().get(..NONCE_LEN)?.try_into().ok()?;
        let mut sealed = cursor.as_bytes().to_vec();
        self.cipher()?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(scope.0), &mut sealed)
            .ok()?;
        Some(URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// The register's cursor; `None` if this is none, or one of another question.
    pub(crate) fn open(&self, scope: Scope, sealed: &str) -> Option<String> {
        let mut bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, rest) = bytes.split_first_chunk_mut::<NONCE_LEN>()?;
        let opened =
            self.cipher()?.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(scope.0), rest).ok()?;
        String::from_utf8(opened.to_vec()).ok()
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &self.derived(b"cipher")).ok()?))
    }

    fn derived(&self, label: &[u8]) -> [u8; 32] {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.0), label);
        let mut key = [0; 32];
        key.copy_from_slice(tag.as_ref());
        key
    }
}

impl fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<cursor key>")
    }
}

impl Scope {
    /// The scope of a question, by its parts in order.
    pub(crate) fn of<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            // Every part goes behind its length, so that no two lists of parts are one message.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut scope = [0; 32];
        scope.copy_from_slice(context.finish().as_ref());
        Self(scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_serves_its_own_question_alone() {
        let key = CursorKey::new([7; 32]);
        let mine = Scope::of(["tax/etax", "citizen.search", "assessment", "1987-03-14"]);
        let sealed = key.seal(mine, "001187974118:40").unwrap();
        assert_eq!(key.open(mine, &sealed).as_deref(), Some("001187974118:40"));
        assert_eq!(key.seal(mine, "001187974118:40").unwrap(), sealed, "the same page has the same cursor");
        assert!(!sealed.contains("0011"));
        for other in [
            Scope::of(["tax/portal", "citizen.search", "assessment", "1987-03-14"]),
            Scope::of(["tax/etax", "citizen.search", "assessment", "1987-03-15"]),
            Scope::of(["tax/etaxcitizen.search", "assessment", "1987-03-14"]),
        ] {
            assert_eq!(key.open(other, &sealed), None);
        }
        assert_eq!(CursorKey::new([8; 32]).open(mine, &sealed), None);
    }

    #[test]
    fn what_was_changed_is_no_cursor() {
        let key = CursorKey::new([7; 32]);
        let scope = Scope::of(["a"]);
        let sealed = key.seal(scope, "7").unwrap();
        for at in 0..sealed.len() {
            let mut other = sealed.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            assert!(other == sealed || key.open(scope, &other).is_none(), "{at}");
        }
        for none in ["", "x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "%%%"] {
            assert_eq!(key.open(scope, none), None);
        }
    }
}
