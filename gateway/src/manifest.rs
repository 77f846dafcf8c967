//! A bundle's manifest: which files it has, which version it is, why it was made. Operators sign it, and a node that requires
//! signatures takes nothing else.
//!
//! It stands beside the bundle's files as `manifest.json` and is no part of what it describes. [`inspect`] and [`Inspected::weigh`] say
//! what is against it: one signature is enough for what is shown only to narrow, everything else needs two people. Where signatures
//! are required, a bundle must follow the one in force: what was signed is that change, and no other.

use std::collections::BTreeMap;

use jiff::Timestamp;
use popgate_policy::bundle::{Digest, Source};
use serde::{Deserialize, Serialize};

use crate::signed::{Envelope, EnvelopeError, Keys, Kind, SigningKey, hex_digest};
use crate::suspend::{MOST_REASON, is_plain};

mod judge;

pub use judge::{Held, Inspected, Refused, inspect};

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Of this text: 1.
    pub format: u32,
    /// Grows from bundle to bundle.
    pub version: u64,
    /// The digest of all files.
    pub bundle: Digest,
    /// SHA-256 of each file in hex, by its path.
    pub files: BTreeMap<String, String>,
    /// The bundle that its author had before: the one in force, unless there is none.
    pub follows: Option<Digest>,
    /// When it was made.
    pub built: Timestamp,
    /// By whom.
    pub by: String,
    /// Why. It MUST NOT name a person.
    pub note: String,
    /// Why more is shown of sensitive fields, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_widening: Option<String>,
}

/// A manifest in its envelope, read from the very bytes that are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    envelope: Envelope,
    manifest: Manifest,
}

impl Manifest {
    /// Describes a bundle's files.
    pub fn of(source: &Source, version: u64, follows: Option<Digest>, by: &str, built: Timestamp, note: &str) -> Self {
        Self {
            format: FORMAT,
            version,
            bundle: Digest::of(source),
            files: source.files.iter().map(|(path, text)| (path.clone(), hex_digest(text.as_bytes()))).collect(),
            follows,
            built,
            by: by.to_owned(),
            note: note.to_owned(),
            allow_widening: None,
        }
    }

    /// Whether its parts can stand.
    ///
    /// # Errors
    /// The second half of a sentence about the manifest.
    pub fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("has format {}, and this popgate reads {FORMAT}", self.format));
        }
        if self.version == 0 {
            return Err("has version 0: versions begin with 1".to_owned());
        }
        let texts =
            [("by", Some(&self.by)), ("note", Some(&self.note)), ("allow_widening", self.allow_widening.as_ref())];
        for (name, text) in texts {
            let checked = text.map_or(Ok(()), |text| is_plain(text, MOST_REASON));
            checked.map_err(|wrong| format!("has a `{name}` that {wrong}"))?;
        }
        Ok(())
    }

    /// What is otherwise with the files than it says; one sentence each.
    pub fn differences(&self, source: &Source) -> Vec<String> {
        let mut said = Vec::new();
        for (path, digest) in &self.files {
            match source.files.get(path) {
                None => said.push(format!("`{path}` is missing")),
                Some(text) if hex_digest(text.as_bytes()) != *digest => said.push(format!("`{path}` was changed")),
                Some(_) => {}
            }
        }
        let added = source.files.keys().filter(|path| !self.files.contains_key(*path));
        said.extend(added.map(|path| format!("`{path}` was added")));
        if said.is_empty() && Digest::of(source) != self.bundle {
            said.push("the digest of all files is another".to_owned());
        }
        said
    }
}

impl Signed {
    /// Reads `manifest.json`.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn parse(text: &str) -> Result<Self, EnvelopeError> {
        let envelope = Envelope::parse(&KIND, text.as_bytes())?;
        let payload = |wrong: String| EnvelopeError::Payload(KIND.noun, wrong);
        let manifest: Manifest =
            serde_json::from_slice(envelope.payload()).map_err(|error| payload(format!("cannot be read: {error}")))?;
        manifest.check().map_err(payload)?;
        Ok(Self { envelope, manifest })
    }

    /// A manifest that nobody has signed yet.
    pub fn unsigned(manifest: Manifest) -> Self {
        // Strings, numbers and times always are JSON.
        let payload = serde_json::to_vec(&manifest).unwrap_or_default();
        Self { envelope: Envelope::unsigned(&KIND, payload), manifest }
    }

    /// What it says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whose keys have signed, each once, and how many signatures are nobody's.
    pub fn signers(&self, keys: &Keys) -> (Vec<String>, usize) {
        self.envelope.signers(keys)
    }

    /// Whose signatures it claims to have: not verified.
    pub fn claimed(&self) -> impl Iterator<Item = &str> {
        self.envelope.claimed()
    }

    /// Adds a signature, in place of one by the same key.
    ///
    /// # Errors
    /// If there are too many.
    pub fn sign(&mut self, key: &SigningKey) -> Result<(), EnvelopeError> {
        self.envelope.sign(key)
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        self.envelope.to_json()
    }
}

const FORMAT: u32 = 1;
/// Ten thousand files of a bundle, each with its path and digest, in base64.
const KIND: Kind = Kind {
    payload_type: "application/vnd.popgate.bundle+json",
    noun: "manifest",
    made_by: "popgate bundle build",
    most_bytes: 8 << 20,
};

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn source(files: &[(&str, &str)]) -> Source {
        Source { files: files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect() }
    }

    pub(super) fn manifest(version: u64, source: &Source) -> Manifest {
        Manifest::of(source, version, None, "local:linh", "2026-11-21T08:00:00Z".parse().unwrap(), "a note")
    }

    #[test]
    fn every_file_that_is_otherwise_is_named() {
        let whole = source(&[("a.toml", "a"), ("b.toml", "b")]);
        let manifest = manifest(1, &whole);
        assert!(manifest.differences(&whole).is_empty());
        let other = source(&[("a.toml", "A"), ("c.toml", "c")]);
        let said = manifest.differences(&other);
        assert_eq!(said, ["`a.toml` was changed", "`b.toml` is missing", "`c.toml` was added"]);
        let forged = Manifest { bundle: Digest([1; 32]), ..manifest };
        assert_eq!(forged.differences(&whole), ["the digest of all files is another"]);
    }

    #[test]
    fn a_manifest_is_read_strictly() {
        let signed = Signed::unsigned(manifest(7, &source(&[("a.toml", "a")])));
        assert_eq!(Signed::parse(&signed.to_json()), Ok(signed.clone()));
        let said = |manifest: Manifest| Signed::parse(&Signed::unsigned(manifest).to_json()).unwrap_err().to_string();
        let good = signed.manifest().clone();
        for (wrong, says) in [
            (Manifest { format: 2, ..good.clone() }, "the manifest has format 2, and this popgate reads 1"),
            (Manifest { version: 0, ..good.clone() }, "the manifest has version 0"),
            (Manifest { note: " ".into(), ..good.clone() }, "the manifest has a `note` that is empty"),
            (
                Manifest { allow_widening: Some("a\nb".into()), ..good },
                "`allow_widening` that holds a control character",
            ),
        ] {
            let said = said(wrong);
            assert!(said.contains(says), "{said}");
        }
    }
}
