//! The bundle: one immutable version of contracts, agencies, purposes and policies.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::contract::{Contracts, Operation};
use crate::directory::{Directory, System};
use crate::engine::{Before, Engine, Shows, Trial};
use crate::model::PurposeId;
use crate::permit::{Ask, Denied, Env, Permit};
use crate::problem::{Problem, Severity};

/// The files of a bundle, by path relative to its root (`agencies/tax.toml`), as UTF-8 text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Path to text; `/` separates.
    pub files: BTreeMap<String, String>,
}

/// SHA-256 over the bundle's files; printed as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// A text that is no [`Digest`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a bundle's digest is 64 lower-case hex digits")]
pub struct NoDigest;

/// One immutable version of everything that decides who sees what. Swapped as a whole; a request sees one from start to end.
#[derive(Debug)]
pub struct Bundle {
    digest: Digest,
    contracts: Arc<Contracts>,
    directory: Arc<Directory>,
    engine: Engine,
    doubts: Arc<Doubts>,
}

/// What is to be looked at in files that later bundles may share.
#[derive(Debug, Default)]
struct Doubts {
    contracts: Vec<Problem>,
    directory: Vec<Problem>,
}

/// A bundle that was accepted, with what its author should still look at.
#[derive(Debug)]
pub struct Loaded {
    /// The bundle.
    pub bundle: Arc<Bundle>,
    /// Problems of severity [`Severity::Warning`].
    pub warnings: Vec<Problem>,
}

impl Bundle {
    /// Reads, checks and compiles a bundle.
    ///
    /// # Errors
    /// Every problem that could be found, not only the first; at least one has [`Severity::Error`].
    pub fn load(source: &Source) -> Result<Loaded, Vec<Problem>> {
        Self::read(source, None, true)
    }

    /// The same for who has questions of his own: nothing is looked for that an author should look at, and no table made for it.
    ///
    /// # Errors
    /// As [`Bundle::load`].
    pub fn load_to_ask(source: &Source) -> Result<Arc<Self>, Vec<Problem>> {
        Self::read(source, None, false).map(|loaded| loaded.bundle)
    }

    /// The same, given the bundle before it and the files that this was loaded from: of it everything is kept on which no change bears,
    /// so that a small change takes milliseconds, however large the bundle is.
    ///
    /// # Errors
    /// As [`Bundle::load`].
    pub fn load_after(source: &Source, before: (&Source, &Self)) -> Result<Loaded, Vec<Problem>> {
        Self::read(source, Some(before), true)
    }

    fn read(source: &Source, before: Option<(&Source, &Self)>, warns: bool) -> Result<Loaded, Vec<Problem>> {
        let mut problems = Vec::new();
        let before = before.filter(|(old, _)| same_files(source, old, &["contracts/"]));
        let (contracts, of_contracts) = match before {
            Some((_, before)) => (Arc::clone(&before.contracts), before.doubts.contracts.clone()),
            None => {
                let contracts = Arc::new(crate::contract::load(source, &mut problems));
                (contracts, std::mem::take(&mut problems))
            }
        };
        problems.extend(of_contracts.iter().cloned());
        let kept = before.filter(|(old, _)| same_files(source, old, &["agencies/", "purposes.toml"]));
        let (directory, of_directory) = match kept {
            Some((_, before)) => (Arc::clone(&before.directory), before.doubts.directory.clone()),
            None => {
                let directory = Arc::new(crate::directory::load(source, &contracts, &mut problems));
                (directory, problems.split_off(of_contracts.len()))
            }
        };
        problems.extend(of_directory.iter().cloned());
        let compiled =
            before.map(|(source, before)| Before { source, directory: &before.directory, engine: &before.engine });
        let engine = Engine::compile(source, &contracts, &directory, compiled, &mut problems);
        if let Some(engine) = engine.as_ref().filter(|_| warns) {
            engine.warn(source, &directory, &mut problems);
        }
        problems.sort_by(|a, b| (&a.file, a.at).cmp(&(&b.file, b.at)));
        match engine {
            Some(engine) if problems.iter().all(|problem| problem.severity == Severity::Warning) => Ok(Loaded {
                bundle: Arc::new(Self {
                    digest: Digest::of(source),
                    contracts,
                    directory,
                    engine,
                    doubts: Arc::new(Doubts { contracts: of_contracts, directory: of_directory }),
                }),
                warnings: problems,
            }),
            _ => Err(problems),
        }
    }

    /// A bundle of parts that a test made by hand.
    #[cfg(test)]
    pub(crate) fn of_parts(name: &str, contracts: Contracts, directory: Directory, engine: Engine) -> Arc<Self> {
        let source = Source { files: BTreeMap::from([(String::new(), name.to_owned())]) };
        let (contracts, directory) = (Arc::new(contracts), Arc::new(directory));
        Arc::new(Self { digest: Digest::of(&source), contracts, directory, engine, doubts: Arc::default() })
    }

    /// Which version this is.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The operations and their records.
    pub fn contracts(&self) -> &Contracts {
        &self.contracts
    }

    /// What is to be said on that day of operations that should have ended: warnings.
    pub fn past_sunset(&self, today: jiff::civil::Date) -> Vec<Problem> {
        let passed = self.contracts.sunsets.iter().filter(|(day, _)| *day <= today);
        passed.map(|(_, problem)| problem.clone()).collect()
    }

    /// Agencies, systems and purposes.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The policies.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The same bundle with some permits (by `@id`) suspended: they give nothing, and everything else is shared, so that this
    /// takes milliseconds. It only narrows: ids of forbids, and ids that no policy has, change nothing.
    #[must_use]
    pub fn without(&self, suspended: &BTreeSet<String>) -> Self {
        Self {
            digest: self.digest,
            contracts: Arc::clone(&self.contracts),
            directory: Arc::clone(&self.directory),
            engine: self.engine.without(suspended),
            doubts: Arc::clone(&self.doubts),
        }
    }

    /// Whether the operation could disclose anything to the system for the purpose, whatever circumstances and record are.
    pub fn discloses(&self, system: &System, operation: &Operation, purpose: &PurposeId) -> bool {
        self.engine.discloses(system, operation, purpose)
    }

    /// How much the operation shows the system for the purpose at the most, whatever circumstances and record are.
    pub fn shows(&self, system: &System, operation: &Operation, purpose: &PurposeId) -> Shows {
        self.engine.shows(system, operation, purpose)
    }

    /// Whether the policy bears on what the operation discloses to the system for the purpose.
    pub fn bears_on(&self, policy: &str, system: &System, operation: &Operation, purpose: &PurposeId) -> bool {
        self.engine.bears_on(policy, system, operation, purpose)
    }

    /// What the operation would get the system for the purpose under those circumstances; `None` if one of them is not of this
    /// bundle. Nothing can be disclosed by it.
    pub fn trial(&self, system: &System, operation: &Operation, purpose: &PurposeId, env: &Env) -> Option<Trial> {
        self.engine.trial(system, operation, purpose, env)
    }

    /// Decides one request. `ask` MUST name a system, operation and purpose of this bundle.
    ///
    /// # Errors
    /// [`Denied`], if the request may not be put to the register at all.
    pub fn decide(&self, ask: Ask<'_>) -> Result<Permit, Denied> {
        self.engine.decide(ask)
    }
}

/// Whether the files of those folders, or of those names, are the same.
fn same_files(new: &Source, old: &Source, of: &[&str]) -> bool {
    let wanted = |(path, _): &(&String, &String)| of.iter().any(|start| path.starts_with(start));
    new.files.iter().filter(wanted).eq(old.files.iter().filter(wanted))
}

impl Digest {
    /// That of a bundle with those files, whether or not they make one.
    pub fn of(source: &Source) -> Self {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for (path, text) in &source.files {
            for part in [path, text] {
                context.update(&(part.len() as u64).to_be_bytes());
                context.update(part.as_bytes());
            }
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Self(digest)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, NoDigest> {
        if text.len() != 64 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(NoDigest);
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| NoDigest)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NoDigest)?;
        }
        Ok(Self(digest))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_printed_and_nothing_else_is_one() {
        let source = Source { files: [("purposes.toml".to_owned(), "x".to_owned())].into() };
        let digest = Digest::of(&source);
        let text = digest.to_string();
        assert_eq!(text.parse(), Ok(digest));
        assert_eq!(serde_json::from_value::<Digest>(serde_json::json!(text)).unwrap(), digest);
        for other in [&text[1..], &text.to_uppercase(), &text.replacen(&text[..2], "+1", 1), &"é".repeat(32)] {
            assert_eq!(other.parse::<Digest>(), Err(NoDigest), "{other}");
        }
    }
}
