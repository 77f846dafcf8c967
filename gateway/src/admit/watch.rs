//! The harvest guard's watch: what every party (a system, an agency) is seen to do, and what follows.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use popgate_policy::directory::Limits;
use popgate_policy::model::Personal;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hasher as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::harvest::{
    Action, Change, Density, Figures, Misses, Most, Party, Person, Profile, Rules, Saved, Trip, Usual, Verdict,
};
use crate::app::config;
use crate::audit::{Acted, Action as Deed, Audit, Unavailable};
use crate::clock::Clock;
use crate::metrics::LimitMetrics;

/// Every party that was ever seen to ask; they outlive bundles and, by their file, the process.
#[derive(Debug)]
pub struct Watch {
    parties: Mutex<HashMap<String, Arc<Watched>>>,
    /// What was read of a file, until the party is seen.
    kept: Mutex<HashMap<String, Saved>>,
    /// Trips that are not known to be in the audit log yet.
    unrecorded: Mutex<Vec<(Deed, Option<Acted>)>>,
    config: config::Harvest,
    key: [u8; 16],
    file: PathBuf,
    clock: Clock,
    audit: Audit,
    metrics: LimitMetrics,
}

/// One party.
#[derive(Debug)]
pub(super) struct Watched {
    /// `system tax/etax`, `agency tax`.
    name: String,
    /// Nothing, until it asks.
    party: Mutex<Option<Box<Party>>>,
}

/// A party as an operator sees it.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// `system tax/etax`, `agency tax`.
    pub party: String,
    /// The rules that are tripped, or near.
    pub tripped: Vec<&'static str>,
    /// Different persons in the last hour, about.
    pub persons_per_hour: u64,
    /// Different persons in the last day, about.
    pub persons_per_day: u64,
    /// Persons for each block of a hundred numbers.
    pub density: f64,
    /// Requests of a hundred that found nobody.
    pub miss_percent: f64,
    /// What is usual for it in this hour, if that is known.
    pub usual: Option<f64>,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    party: String,
    /// Persons and how many hours were learned, by the hour of the day; then over all.
    usual: Vec<(f64, u32)>,
    day: String,
}

impl Watch {
    /// Reads what is usual for each party, and its day. What cannot be read is told, and begins anew.
    ///
    /// `key` hashes persons; it MUST be the same after a restart.
    pub fn open(
        state: &Path,
        config: config::Harvest,
        key: [u8; 16],
        clock: &Clock,
        audit: &Audit,
        metrics: &LimitMetrics,
    ) -> Self {
        let file = state.join(FILE);
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let mut kept = HashMap::new();
        for (at, line) in text.lines().enumerate() {
            match read(line) {
                Some((party, saved)) => drop(kept.insert(party, saved)),
                None => {
                    tracing::error!(file = %file.display(), line = at + 1, "what is usual for a party cannot be read")
                }
            }
        }
        let (clock, audit, metrics) = (clock.clone(), audit.clone(), metrics.clone());
        Self {
            parties: Mutex::default(),
            kept: Mutex::new(kept),
            unrecorded: Mutex::default(),
            config,
            key,
            file,
            clock,
            audit,
            metrics,
        }
    }

    pub(super) fn party(&self, name: &str) -> Arc<Watched> {
        let mut parties = lock(&self.parties);
        let watched = || Arc::new(Watched { name: name.to_owned(), party: Mutex::default() });
        Arc::clone(parties.entry(name.to_owned()).or_insert_with(watched))
    }

    /// The rules for a party with these limits.
    pub(super) fn rules(&self, limits: &Limits) -> Rules {
        let config = &self.config;
        // In a dry run all goes on, and is counted on.
        let follows = |action| if config.enforced { action } else { Action::Warn };
        let most = |persons: Option<std::num::NonZeroU32>| {
            persons.map(|persons| Most { persons: persons.get().into(), action: follows(config.persons) })
        };
        Rules {
            persons_per_hour: most(limits.persons_per_hour),
            persons_per_day: most(limits.persons_per_day),
            near_percent: config.near_percent,
            density: config.density.map(|it| Density { action: follows(it.action), ..it }),
            misses: config.misses.map(|it| Misses { action: follows(it.action), ..it }),
            change: config.change.map(|it| Change { action: follows(it.action), ..it }),
            hold: config.hold,
            ahead_of_utc: self.clock.ahead_of_utc(),
        }
    }

    /// A person, as this watch tells them apart.
    pub(super) fn person(&self, number: &Personal<String>) -> Person {
        Person::new(number.expose(), |bytes| self.hash(bytes))
    }

    /// Something happens to a party: what follows for the request.
    pub(super) fn see(
        &self,
        watched: &Watched,
        rules: &Rules,
        what: impl FnOnce(&mut Party, &Rules, u64) -> Verdict,
    ) -> Verdict {
        let now = self.now();
        let verdict = what(self.awake(watched, now).as_mut(), rules, now);
        verdict.newly.iter().for_each(|trip| self.tripped(&watched.name, trip));
        verdict
    }

    /// Time passes for every party; those that are no more are forgotten. Not on a data-plane core.
    pub fn tend(&self, rules_of: impl Fn(&str) -> Option<Rules>) {
        let now = self.now();
        lock(&self.parties).retain(|name, _| rules_of(name).is_some());
        let parties: Vec<Arc<Watched>> = lock(&self.parties).values().cloned().collect();
        let (mut bytes, mut tripped) = (0, 0);
        for watched in &parties {
            let Some(rules) = rules_of(&watched.name) else { continue };
            let mut slot = lock(&watched.party);
            let Some(party) = slot.as_mut() else { continue };
            let newly = party.tend(&rules, now).newly;
            bytes += party.bytes();
            tripped += u64::from(party.tripped().next().is_some());
            if party.is_idle() {
                // What is usual for it is all that is left.
                lock(&self.kept).insert(watched.name.clone(), party.save(self.mark()));
                *slot = None;
            }
            drop(slot);
            newly.iter().for_each(|trip| self.tripped(&watched.name, trip));
        }
        self.metrics.watching(parties.len() as u64, bytes as u64, tripped);
    }

    /// Everybody who is tripped, or near.
    pub fn standings(&self, rules_of: impl Fn(&str) -> Option<Rules>) -> Vec<Standing> {
        let parties: Vec<Arc<Watched>> = lock(&self.parties).values().cloned().collect();
        let mut standings: Vec<Standing> = parties
            .iter()
            .filter_map(|watched| {
                let rules = rules_of(&watched.name)?;
                let party = lock(&watched.party);
                let party = party.as_ref()?;
                let tripped: Vec<&'static str> = party.tripped().map(|rule| rule.name()).collect();
                (!tripped.is_empty()).then(|| Standing::of(&watched.name, tripped, &party.figures(&rules)))
            })
            .collect();
        standings.sort_by(|one, other| one.party.cmp(&other.party));
        standings
    }

    /// An operator ends a party's trips; what led to them is forgotten. `false` if it has none. Not on a data-plane core.
    ///
    /// # Errors
    /// If that cannot be recorded: then nothing ended.
    pub fn pardon(&self, name: &str, by: &str, reason: &str) -> Result<bool, Unavailable> {
        let Some(watched) = lock(&self.parties).get(name).cloned() else { return Ok(false) };
        if lock(&watched.party).as_ref().is_none_or(|party| party.tripped().next().is_none()) {
            return Ok(false);
        }
        let action = Deed {
            by: by.to_owned(),
            what: "harvest-pardon".to_owned(),
            target: name.to_owned(),
            reason: reason.to_owned(),
            until: None,
        };
        self.audit.act(action)?.durable()?;
        if let Some(party) = lock(&watched.party).as_mut() {
            party.pardon(self.now());
        }
        tracing::warn!(party = name, by, "the harvest guard's trips were ended by an operator");
        Ok(true)
    }

    /// Waits until the audit log has every trip; what it has not is handed to it again. Not on a data-plane core.
    pub fn record(&self) {
        let waiting = std::mem::take(&mut *lock(&self.unrecorded));
        for (action, acted) in waiting {
            let durable = acted.map(Acted::durable);
            if durable != Some(Ok(())) {
                self.hand_over(action);
            }
        }
    }

    /// Writes what outlasts the process, of parties that still are. Not on a data-plane core.
    pub fn keep(&self, rules_of: impl Fn(&str) -> Option<Rules>) {
        let mark = self.mark();
        let mut text = Vec::new();
        let mut lines: BTreeMap<String, Saved> = lock(&self.kept).clone().into_iter().collect();
        for watched in lock(&self.parties).values() {
            if let Some(party) = lock(&watched.party).as_ref() {
                lines.insert(watched.name.clone(), party.save(mark));
            }
        }
        for (party, saved) in lines.into_iter().filter(|(party, _)| rules_of(party).is_some()) {
            let mut usual: Vec<(f64, u32)> = saved.profile.hours.iter().map(|it| (it.persons, it.learned)).collect();
            usual.push((saved.profile.overall.persons, saved.profile.overall.learned));
            let line = Line { party, usual, day: BASE64_STANDARD.encode(&saved.day) };
            if serde_json::to_writer(&mut text, &line).is_ok() {
                // A vector takes whatever is written to it.
                let _ = text.write_all(b"\n");
            }
        }
        let text = String::from_utf8(text).unwrap_or_default();
        if let Err(error) = crate::beside::replace(&self.file, &text) {
            tracing::error!(file = %self.file.display(), %error, "what is usual for parties cannot be kept");
        }
    }

    fn awake<'w>(&self, watched: &'w Watched, now: u64) -> Awake<'w> {
        let mut party = lock(&watched.party);
        if party.is_none() {
            let saved = lock(&self.kept).remove(&watched.name);
            *party = Some(Box::new(match saved {
                Some(saved) => {
                    let (restored, read) = Party::restore(saved, self.mark(), now);
                    if let Err(error) = read {
                        tracing::warn!(party = watched.name, %error, "a party's day begins anew");
                    }
                    restored
                }
                None => Party::new(now),
            }));
        }
        Awake(party)
    }

    fn tripped(&self, party: &str, trip: &Trip) {
        let effect = match trip.action {
            _ if !self.config.enforced => "dry-run",
            Action::Warn => "warn",
            Action::Slow(_) => "slow",
            Action::Stop => "stop",
        };
        let (rule, measured, limit) = (trip.rule.name(), trip.measured.round(), trip.limit.round());
        self.metrics.harvest(rule, effect);
        tracing::warn!(party, rule, effect, measured, limit, "the harvest guard tripped");
        let until = i64::try_from(trip.until).ok().and_then(|until| jiff::Timestamp::from_second(until).ok());
        self.hand_over(Deed {
            by: "harvest-guard".to_owned(),
            what: format!("harvest-{effect}"),
            target: party.to_owned(),
            reason: format!("{rule}: about {measured}, allowed {limit}"),
            until,
        });
    }

    fn hand_over(&self, action: Deed) {
        let acted = self.audit.act(action.clone()).ok();
        let mut unrecorded = lock(&self.unrecorded);
        if unrecorded.len() < UNRECORDED {
            unrecorded.push((action, acted));
        } else {
            tracing::error!(party = action.target, what = action.what, "a trip of the harvest guard is not recorded");
        }
    }

    /// Says which key persons are hashed with.
    fn mark(&self) -> u64 {
        self.hash(b"which key")
    }

    fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write(bytes);
        hasher.finish()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.wall().as_second()).unwrap_or_default()
    }
}

/// A party that asks.
struct Awake<'w>(MutexGuard<'w, Option<Box<Party>>>);

impl Awake<'_> {
    fn as_mut(&mut self) -> &mut Party {
        // It was filled when this was made.
        self.0.get_or_insert_with(|| Box::new(Party::new(0)))
    }
}

impl Standing {
    fn of(party: &str, tripped: Vec<&'static str>, figures: &Figures) -> Self {
        let tenths = |value: f64| (value * 10.0).round() / 10.0;
        Self {
            party: party.to_owned(),
            tripped,
            persons_per_hour: figures.hour.round() as u64,
            persons_per_day: figures.day.round() as u64,
            density: tenths(figures.hour / figures.blocks.max(1.0)),
            miss_percent: tenths(100.0 * figures.missed as f64 / figures.asked.max(1) as f64),
            usual: figures.usual.map(tenths),
        }
    }
}

fn read(line: &str) -> Option<(String, Saved)> {
    let Line { party, usual, day } = serde_json::from_str(line).ok()?;
    let usual: Vec<Usual> = usual.into_iter().map(|(persons, learned)| Usual { persons, learned }).collect();
    let (overall, hours) = usual.split_last()?;
    let profile = Profile { hours: hours.to_vec().try_into().ok()?, overall: *overall };
    Some((party, Saved { profile, day: BASE64_STANDARD.decode(day).ok()? }))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const FILE: &str = "harvest";
/// How many trips wait for the audit log at most.
const UNRECORDED: usize = 10_000;
