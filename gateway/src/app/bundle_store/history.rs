//! When which bundle came into force, who answers for it, and why.

use super::*;
use crate::manifest::Held;

/// Every coming into force that is remembered, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// The last one is in force.
    pub entries: Vec<Entry>,
    /// A segment of the audit log whose records name a bundle that is no longer in force.
    #[serde(default)]
    pub(super) named: BTreeMap<Digest, u64>,
}

/// One coming into force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Of which bundle.
    pub digest: Digest,
    /// Its manifest's version; `None` if it had no manifest.
    pub version: Option<u64>,
    /// When.
    pub at: Timestamp,
    /// How.
    pub how: How,
    /// The operator who asked for it; `unknown` if files were changed.
    pub by: String,
    /// The manifest's note, or a rollback's reason.
    pub why: String,
    /// Whose keys had signed it.
    #[serde(default)]
    pub signed_by: Vec<String>,
    /// How many had to; 0 if signatures were not required.
    #[serde(default)]
    pub signatures: usize,
    /// Why it may show more of sensitive fields.
    #[serde(default)]
    pub allow_widening: Option<String>,
    /// Of a rollback: the bundle that stood in the folder, which does not come back by itself.
    #[serde(default)]
    pub instead_of: Option<Digest>,
    /// Of a rollback: the sensitive fields of which it shows more again than the one before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub widened: Vec<String>,
    /// Whether the audit log has it.
    #[serde(default)]
    pub recorded: bool,
}

/// How a bundle came into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It was there when the gateway started.
    Start,
    /// The bundle's folder changed.
    Reload,
    /// An operator wanted an older one back.
    Rollback,
}

/// Why a name means no bundle.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// Nothing of that name was in force.
    #[error(
        "no bundle `{0}` was in force here: name a version or the first digits of a digest; `popgate bundle list` lists them"
    )]
    Unknown(String),
    /// Several were.
    #[error("`{0}` means several bundles; name more digits of the digest")]
    Several(String),
    /// Nothing was in force before.
    #[error("no other bundle was in force before this one")]
    First,
}

impl How {
    /// As it is written and said.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Reload => "reload",
            Self::Rollback => "rollback",
        }
    }
}

impl History {
    /// What is in force, or was when the gateway stopped.
    pub fn last(&self) -> Option<&Entry> {
        self.entries.last()
    }

    /// The highest version that was ever in force under signatures: no lower one comes after it by itself.
    pub fn highest(&self) -> Option<u64> {
        self.entries.iter().filter(|entry| entry.signatures > 0).filter_map(|entry| entry.version).max()
    }

    /// What a bundle under signatures is judged by; `None` if none was in force under signatures.
    pub fn held(&self) -> Option<Held> {
        let last = self.last()?;
        Some(Held { digest: last.digest, signatures: last.signatures, highest: self.highest()? })
    }

    /// Whether that bundle, though it stands in the folder, is not to come into force: a rollback set it aside. A higher version of
    /// the same files is another matter.
    pub fn is_set_aside(&self, digest: &Digest, version: Option<u64>) -> bool {
        let aside = self.last().is_some_and(|last| last.instead_of.as_ref() == Some(digest));
        aside && version <= self.latest(digest).and_then(|entry| entry.version)
    }

    /// Takes over where records name bundles; whether that was news.
    pub(in crate::app) fn learn(&mut self, other: Self) -> bool {
        let news = self.named != other.named;
        self.named = other.named;
        news
    }

    /// How a bundle came into force the last time.
    pub fn latest(&self, digest: &Digest) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.digest == *digest)
    }

    /// The bundle that was in force before the one that is.
    ///
    /// # Errors
    /// If there is none.
    pub fn before(&self) -> Result<Digest, NotFound> {
        let current = self.last().map(|entry| entry.digest);
        let before = self.entries.iter().rev().map(|entry| entry.digest).find(|digest| Some(*digest) != current);
        before.ok_or(NotFound::First)
    }

    /// What a version, a digest, or the first digits of one means: such as `7` or `3f2a91bc`.
    ///
    /// # Errors
    /// If that is not one bundle.
    pub fn find(&self, name: &str) -> Result<Digest, NotFound> {
        let version = name.strip_prefix('v').unwrap_or(name).parse::<u64>().ok().filter(|_| name.len() < LEAST_DIGITS);
        let means = |entry: &&Entry| match version {
            Some(version) => entry.version == Some(version),
            None => name.len() >= LEAST_DIGITS && entry.digest.to_string().starts_with(name),
        };
        let found: BTreeSet<Digest> = self.entries.iter().filter(means).map(|entry| entry.digest).collect();
        match (found.first(), found.len()) {
            (Some(digest), 1) => Ok(*digest),
            (None, _) => Err(NotFound::Unknown(name.to_owned())),
            _ => Err(NotFound::Several(name.to_owned())),
        }
    }

    /// Adds what came into force; what is long past and no longer kept is forgotten at some time.
    pub fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
        let excess = self.entries.len().saturating_sub(MOST_ENTRIES);
        self.entries.drain(..excess);
    }
}

/// Fewer digits of a digest may be meant as a version.
const LEAST_DIGITS: usize = 8;
const MOST_ENTRIES: usize = 10_000;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::app::bundle_store) fn entry(byte: u8, version: Option<u64>, at: &str) -> Entry {
        Entry {
            digest: Digest([byte; 32]),
            version,
            at: at.parse().unwrap(),
            how: How::Reload,
            by: "unknown".into(),
            why: String::new(),
            signed_by: vec!["an".into()],
            signatures: 1,
            allow_widening: None,
            widened: Vec::new(),
            instead_of: None,
            recorded: true,
        }
    }

    #[test]
    fn a_bundle_is_found_by_version_and_by_the_first_digits_of_its_digest() {
        let at = "2026-11-21T08:00:00Z";
        let mut history = History::default();
        assert_eq!(history.before(), Err(NotFound::First));
        for (byte, version) in [(0xab, Some(1)), (0xcd, Some(2)), (0xab, None), (0xab, Some(2))] {
            history.push(entry(byte, version, at));
        }
        assert_eq!(history.find("1"), Ok(Digest([0xab; 32])));
        assert_eq!(history.find("v1"), Ok(Digest([0xab; 32])));
        assert_eq!(history.find("2"), Err(NotFound::Several("2".into())));
        assert_eq!(history.find("cdcdcdcd"), Ok(Digest([0xcd; 32])));
        assert_eq!(history.find("cdcdcd"), Err(NotFound::Unknown("cdcdcd".into())), "too few digits");
        assert_eq!(history.find("eeeeeeee"), Err(NotFound::Unknown("eeeeeeee".into())));
        assert_eq!(history.before(), Ok(Digest([0xcd; 32])));
        assert_eq!(history.highest(), Some(2));
    }

    #[test]
    fn what_a_rollback_set_aside_comes_back_as_a_higher_version_only() {
        let mut history = History::default();
        let (bad, good) = (Digest([5; 32]), Digest([4; 32]));
        history.push(entry(5, Some(5), "2026-11-21T08:00:00Z"));
        history.push(Entry { instead_of: Some(bad), ..entry(4, Some(4), "2026-11-21T09:00:00Z") });
        assert!(history.is_set_aside(&bad, Some(5)) && history.is_set_aside(&bad, None));
        assert!(!history.is_set_aside(&bad, Some(6)) && !history.is_set_aside(&good, Some(4)));
        assert_eq!(history.held(), Some(Held { digest: good, signatures: 1, highest: 5 }));
    }

    #[test]
    fn a_version_that_nobody_had_to_sign_does_not_count() {
        let mut history = History::default();
        history.push(Entry { signatures: 0, ..entry(1, Some(900), "2026-11-21T08:00:00Z") });
        assert_eq!(history.highest(), None);
    }
}
