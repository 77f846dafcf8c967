//! The bundle: one immutable version of contracts, agencies, purposes and policies.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::contract::{Contracts, Operation};
use crate::directory::{Directory, System};
use crate::engine::{Engine, Shows, Trial};
use crate::model::PurposeId;
use crate::permit::{Ask, Denied, Env, Permit};
use crate::problem::{Problem, Severity};

/// The files of a bundle, by path relative to its root (`agencies/tax.toml`), as UTF-8 text.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Path to text; `/` separates.
    pub files: BTreeMap<String, String>,
}

/// SHA-256 over the bundle's files; printed as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

/// One immutable version of everything that decides who sees what. Swapped as a whole; a request sees one from start to end.
#[derive(Debug)]
pub struct Bundle {
    digest: Digest,
    contracts: Arc<Contracts>,
    directory: Arc<Directory>,
    engine: Engine,
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
        let mut problems = Vec::new();
        let contracts = crate::contract::load(source, &mut problems);
        let directory = crate::directory::load(source, &contracts, &mut problems);
        let engine = Engine::compile(source, &contracts, &directory, &mut problems);
        problems.sort_by(|a, b| (&a.file, a.at).cmp(&(&b.file, b.at)));
        match engine {
            Some(engine) if problems.iter().all(|problem| problem.severity == Severity::Warning) => Ok(Loaded {
                bundle: Arc::new(Self {
                    digest: Digest::of(source),
                    contracts: Arc::new(contracts),
                    directory: Arc::new(directory),
                    engine,
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
        Arc::new(Self { digest: Digest::of(&source), contracts, directory, engine })
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

impl Digest {
    fn of(source: &Source) -> Self {
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
