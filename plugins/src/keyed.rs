//! Persons by keyed tags: HMAC-SHA-256 of the number under a key of the site, so that a list of persons names nobody.
//!
//! [`list`] is how such a list is written, [`sealed`] the one of sealed persons.

use std::fmt;

use aws_lc_rs::hmac;
use popgate_policy::model::Personal;

pub mod list;
pub mod sealed;

/// Makes tags.
pub struct Keyed(hmac::Key);

/// A person's tag; printed as 64 lower-case hex digits. Without the key it says nothing about the number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag([u8; 32]);

impl Keyed {
    /// Under 32 random bytes.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The tag of a person.
    pub fn tag(&self, number: &Personal<String>) -> Tag {
        self.sign(number.expose().as_bytes())
    }

    /// What tells a list under this key from one under another: 16 hex digits.
    pub fn id(&self) -> String {
        self.sign(b"popgate keyed list").to_string().chars().take(16).collect()
    }

    fn sign(&self, bytes: &[u8]) -> Tag {
        let mut tag = [0; 32];
        for (to, from) in tag.iter_mut().zip(hmac::sign(&self.0, bytes).as_ref()) {
            *to = *from;
        }
        Tag(tag)
    }
}

impl fmt::Debug for Keyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<key>")
    }
}

impl Tag {
    /// The tag that was printed so.
    pub fn parse(text: &str) -> Option<Self> {
        let mut tag = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
            return None;
        }
        for (byte, pair) in tag.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(tag))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_what_any_other_tool_computes() {
        // printf %s 001187974118 | openssl dgst -sha256 -mac HMAC -macopt hexkey:0707...07
        let tag = Keyed::new(&[7; 32]).tag(&Personal::new("001187974118".into()));
        assert_eq!(tag.to_string(), EXPECTED);
        assert_eq!(Tag::parse(EXPECTED), Some(tag));
        for bad in ["", &EXPECTED[1..], &EXPECTED.to_uppercase(), &format!("{EXPECTED} "), &"+".repeat(64)] {
            assert_eq!(Tag::parse(bad), None, "{bad}");
        }
        assert_ne!(Keyed::new(&[7; 32]).id(), Keyed::new(&[8; 32]).id());
        assert_eq!(format!("{:?}", Keyed::new(&[7; 32])), "<key>");
    }

    const EXPECTED: &str = "aea231b80fd85c9f2979bff8c89f93bedfa276d9f0d879554a8385f50e9a7dae";
}
