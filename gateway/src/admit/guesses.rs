//! Failed guesses: past a limit nobody learns anything from going on.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use popgate_policy::disclose::{Redacted, Tally};
use popgate_policy::model::{AgencyId, Personal};
use popgate_policy::permit::{Permit, WholePermit};

use crate::app::config;
use crate::audit::NoMatch;
use crate::redact::Opened;
use crate::refusal::Refusal;

/// Failed guesses (guard mismatches, wrong claims, unknown persons) by subject over all agencies, and by agency.
///
/// Past a limit the answer stays "no match" until the period is over: who guesses learns nothing from going on. Subjects
/// are kept as keyed 64-bit hashes under a key of this process: a collision can only make the gateway more careful.
#[derive(Debug)]
pub struct Guesses {
    subjects: moka::sync::Cache<u64, Arc<AtomicU32>>,
    agencies: moka::sync::Cache<AgencyId, Arc<AtomicU32>>,
    key: RandomState,
    limits: config::Guesses,
    failures: AtomicU64,
}

impl Guesses {
    /// No guess has failed yet.
    pub fn new(limits: config::Guesses) -> Self {
        let cache = |capacity| moka::sync::Cache::builder().max_capacity(capacity).time_to_live(limits.period);
        Self {
            subjects: cache(MOST_SUBJECTS).build(),
            agencies: moka::sync::Cache::builder().max_capacity(100_000).time_to_live(limits.period).build(),
            key: RandomState::new(),
            limits,
            failures: AtomicU64::new(0),
        }
    }

    /// Begins to watch what a permit's request guesses.
    pub fn about(&self, permit: &Permit) -> Guess<'_> {
        let guess = permit.guesses().then(|| permit.subject()).flatten();
        Guess { guesses: self, guess: guess.map(|subject| (permit.system().agency.id.clone(), subject.clone())) }
    }

    /// How many guesses failed.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Counts a guess if it failed, and says whether it may be answered truly. It is judged when its outcome is known, by what
    /// it finds in the same step: of many guesses at once, no more are answered than of as many in turn.
    fn count(&self, agency: &AgencyId, subject: &Personal<String>, failed: bool) -> bool {
        let subject = self.hash(subject);
        let (of_subject, of_agency) = if failed {
            self.failures.fetch_add(1, Ordering::Relaxed);
            let more = |count: Arc<AtomicU32>| count.fetch_add(1, Ordering::Relaxed);
            let of_agency = more(self.agencies.get_with(agency.clone(), Arc::default));
            (more(self.subjects.get_with(subject, Arc::default)), of_agency)
        } else {
            let now = |count: Option<Arc<AtomicU32>>| count.map_or(0, |count| count.load(Ordering::Relaxed));
            (now(self.subjects.get(&subject)), now(self.agencies.get(agency)))
        };
        of_subject < self.limits.per_subject.get() && of_agency < self.limits.per_agency.get()
    }

    fn hash(&self, subject: &Personal<String>) -> u64 {
        self.key.hash_one(subject.expose())
    }
}

/// What was counted of something opened.
pub trait Counted {
    /// The tally.
    fn tally(&self) -> Tally;
}

impl Counted for Redacted {
    fn tally(&self) -> Tally {
        self.tally()
    }
}

impl Counted for WholePermit {
    fn tally(&self) -> Tally {
        self.tally()
    }
}

/// One request's guess, if it makes one.
#[derive(Debug)]
pub struct Guess<'a> {
    guesses: &'a Guesses,
    guess: Option<(AgencyId, Personal<String>)>,
}

impl Guess<'_> {
    /// Counts one about a record that lacks something: that it does tells that there is one. By its subject alone, for it is the register's
    /// fault: no agency is to be told "no match" of others for it.
    pub fn unopened(&self, refusal: &Refusal) {
        if let (Some((_, subject)), Refusal::RecordIncomplete) = (&self.guess, refusal) {
            let subject = self.guesses.hash(subject);
            self.guesses.subjects.get_with(subject, Arc::default).fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a guess that failed, and hides the outcome of one that may no longer be answered truly.
    pub fn judge<T: Counted>(self, opened: Opened<T>) -> Opened<T> {
        let Some((agency, subject)) = self.guess else { return opened };
        let (failed, tally) = match &opened {
            Opened::Shown(shown) => (!shown.tally().refuted.is_empty(), shown.tally()),
            // A hidden record, and a sealed person, count like an unknown person: who counts along must not tell them apart.
            Opened::NoMatch(NoMatch::Throttled, tally) => (false, *tally),
            Opened::NoMatch(_, tally) => (true, *tally),
        };
        if self.guesses.count(&agency, &subject, failed) {
            opened
        } else {
            Opened::NoMatch(NoMatch::Throttled, tally.without_fields())
        }
    }
}

/// The most subjects with failed guesses that are remembered at once (about 100 bytes each).
const MOST_SUBJECTS: u64 = 1_000_000;
