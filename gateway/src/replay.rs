//! Replay: what a candidate bundle would have made of the requests of an audit log.
//!
//! The log has who asked what for what purpose, from where and when, and what was shown; of the returned record it has nothing. Where
//! the candidate's answer hangs on the record, every kind of record that its policies can tell apart is tried; where those that fit what
//! was shown do not agree, the answer "depends on the record", and nothing is guessed.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use popgate_policy::bundle::Digest;
use popgate_policy::engine::mirror::{Asks, Found, Gone, Mirror, Named};
use popgate_policy::model::{DisclosureId, FieldSet};
use popgate_policy::permit::Env;

use crate::audit::{Brought, ClosingEntry, Ended, Entry, IntentEntry, NoMatch, RefusedEntry, Schema, Unsealed, What};
use crate::clock::Clock;

mod judge;
mod report;
#[cfg(test)]
mod tests;

use judge::{Case, Part, Then};
pub use judge::{Class, Verdict, Why};
pub use report::{Report, Row};

/// What the requests are held against.
pub struct Replay<'a> {
    candidate: Mirror,
    before: Before<'a>,
    clock: Clock,
    wanted: Wanted,
    /// Bundles of then, as they were asked for.
    known: HashMap<Digest, Option<Arc<Mirror>>>,
    places: HashMap<Asked, Place>,
    open: HashMap<u64, Open>,
    /// Requests whose own intent is open: further ones are of persons whom the answer named.
    begun: HashSet<DisclosureId>,
    examples: usize,
    /// Bundles that decided, and of which the files are not known.
    unknown: Vec<Digest>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

/// What the candidate is compared with.
pub enum Before<'a> {
    /// With what the records say. The function finds the files of the bundle that decided: without them more depends on the record.
    Records(&'a mut dyn FnMut(&Digest) -> Option<Mirror>),
    /// With what this bundle would have made of the requests.
    Bundle(Arc<Mirror>),
}

/// Which requests are looked at.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only since then.
    pub since: Option<Timestamp>,
    /// Only before then.
    pub until: Option<Timestamp>,
    /// Only of this agency.
    pub agency: Option<String>,
}

/// Requests that no table can tell apart but by their circumstances.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Asked {
    system: Arc<str>,
    exchange: Option<Arc<str>>,
    operation: Arc<str>,
    purpose: Arc<str>,
    /// The bundle that decided, if that is known.
    bundle: Option<Digest>,
}

struct Place {
    candidate: Result<Found, Gone>,
    before: Option<(Arc<Mirror>, Found)>,
    /// What the policies of both ask about.
    asks: Option<Asks>,
    /// The names of the fields as the log has them.
    schema: Option<Arc<Schema>>,
    /// By circumstances, as far as policies tell them apart.
    cases: HashMap<Circumstances, Case>,
}

/// What of a request's circumstances makes a difference.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Circumstances {
    env: Env,
    /// Whether `env` tells what was claimed.
    claims: Claims,
}

/// Whether it is known what the request claimed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Claims {
    /// All that policies may ask.
    Known,
    /// All but what the assurance is, which is sealed.
    AssuranceSealed,
    /// Nothing: the record is older than that this is told.
    Unknown,
}

/// An intent whose closing is still to come.
struct Open {
    asked: Asked,
    schema: Arc<Schema>,
    disclosure: DisclosureId,
    fields: FieldSet,
    part: Part,
    names_nobody: bool,
    env: Env,
    claims: Claims,
}

impl<'a> Replay<'a> {
    /// Begins one. `examples`: how many requests are named of each difference.
    pub fn new(candidate: Mirror, before: Before<'a>, clock: Clock, wanted: Wanted, examples: usize) -> Self {
        Self {
            candidate,
            before,
            clock,
            wanted,
            known: HashMap::new(),
            places: HashMap::new(),
            open: HashMap::new(),
            begun: HashSet::new(),
            examples,
            unknown: Vec::new(),
            first: None,
            last: None,
        }
    }

    /// Takes the log's next record.
    pub fn take(&mut self, entry: Entry) {
        let Entry { seq, at, what } = entry;
        match what {
            What::Intent(intent) if self.is_wanted(at, Some(&intent.system)) => {
                // A person whom only the answer named is recorded after the request, and before its closing.
                let part = if self.begun.insert(intent.disclosure) { Part::Request } else { Part::Person };
                let open = self.opened(at, &intent, part);
                self.open.insert(seq, open);
            }
            What::Closing(closing) => {
                if let Some(open) = self.open.remove(&closing.intent) {
                    if open.part == Part::Request {
                        self.begun.remove(&open.disclosure);
                    }
                    self.closed(open, Some(&closing));
                }
            }
            What::Refused(refused) if self.is_wanted(at, refused.system.as_ref()) => self.refused(at, *refused),
            What::Intent(_) | What::Refused(_) | What::Action(_) => {}
        }
    }

    /// Whether every intent that was taken has its closing.
    pub fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    /// Ends it: what has no closing was possibly seen.
    pub fn end(mut self) -> Report {
        for (_, open) in std::mem::take(&mut self.open) {
            self.closed(open, None);
        }
        Report::of(self)
    }

    fn is_wanted(&mut self, at: Timestamp, system: Option<&Arc<str>>) -> bool {
        let Wanted { since, until, agency } = &self.wanted;
        let of_agency = |wanted: &String| system.is_some_and(|system| agency_of(system) == wanted);
        let wanted = since.is_none_or(|since| at >= since)
            && until.is_none_or(|until| at < until)
            && agency.as_ref().is_none_or(of_agency);
        if wanted {
            self.first = Some(self.first.map_or(at, |first| first.min(at)));
            self.last = Some(self.last.map_or(at, |last| last.max(at)));
        }
        wanted
    }

    fn opened(&self, at: Timestamp, intent: &IntentEntry, part: Part) -> Open {
        let (env, claims) = self.env(at, intent.source, intent.brought, intent.sealed.as_ref());
        Open {
            asked: Asked {
                system: Arc::clone(&intent.system),
                exchange: intent.exchange.clone(),
                operation: Arc::clone(&intent.operation),
                purpose: Arc::clone(&intent.purpose),
                bundle: Some(intent.schema.bundle),
            },
            schema: Arc::clone(&intent.schema),
            disclosure: intent.disclosure,
            fields: intent.fields,
            part,
            names_nobody: intent.tag.is_none(),
            env,
            claims,
        }
    }

    fn closed(&mut self, open: Open, closing: Option<&ClosingEntry>) {
        let widest = open.fields;
        let then = match closing.map(|closing| &closing.outcome) {
            // Whom a search found has entries of their own.
            Some(Ended::Complete(_) | Ended::Partial(_)) | None if open.names_nobody => Then::Counted { widest },
            Some(_) if open.names_nobody => Then::Allowed,
            Some(Ended::Complete(shown) | Ended::Partial(shown)) => Then::Shown { shown: *shown, widest },
            Some(Ended::NoMatch(NoMatch::Hidden)) => Then::Hidden { widest },
            Some(Ended::NoMatch(_) | Ended::Refused(_) | Ended::Aborted) => Then::Allowed,
            None => Then::Open { widest },
        };
        let Open { asked, schema, disclosure, part, env, claims, .. } = open;
        self.count(asked, Some(&schema), (then, part), (&env, claims), disclosure);
    }

    fn refused(&mut self, at: Timestamp, refused: RefusedEntry) {
        let RefusedEntry {
            disclosure,
            system,
            exchange,
            operation,
            purpose,
            code,
            sealed,
            brought,
            bundle,
            source,
            ..
        } = refused;
        let unnamed = || Arc::<str>::from("-");
        let then = match (&system, &operation, &purpose) {
            (Some(_), Some(_), Some(_)) => Then::Refused(code),
            _ => Then::Unnamed(code),
        };
        let asked = Asked {
            system: system.unwrap_or_else(unnamed),
            exchange,
            operation: operation.unwrap_or_else(unnamed),
            purpose: purpose.unwrap_or_else(unnamed),
            bundle,
        };
        let (env, claims) = self.env(at, source, brought, sealed.as_ref());
        self.count(asked, None, (then, Part::Request), (&env, claims), disclosure);
    }

    fn count(
        &mut self,
        asked: Asked,
        schema: Option<&Arc<Schema>>,
        (then, part): (Then, Part),
        (env, claims): (&Env, Claims),
        disclosure: DisclosureId,
    ) {
        let then = match (&self.before, asked.bundle) {
            // What another bundle showed says nothing about this one.
            (Before::Bundle(before), bundle) if bundle != Some(before.bundle().digest()) => then.forgotten(),
            _ => then,
        };
        if !self.places.contains_key(&asked) {
            let place = self.place(&asked);
            self.places.insert(asked.clone(), place);
        }
        let Some(place) = self.places.get_mut(&asked) else { return };
        if place.schema.is_none() {
            place.schema = schema.cloned();
        }
        place.count(&self.candidate, (then, part), (env, claims), disclosure, self.examples);
    }

    fn place(&mut self, asked: &Asked) -> Place {
        let named = Named {
            system: &asked.system,
            exchange: asked.exchange.as_deref(),
            operation: &asked.operation,
            purpose: &asked.purpose,
        };
        let before = self.mirror(asked.bundle);
        let before = before.and_then(|mirror| mirror.find(named).ok().map(|found| (mirror, found)));
        let candidate = self.candidate.find(named);
        let asks = candidate.as_ref().ok().map(|found| match &before {
            Some((_, before)) => found.asks().and(before.asks()),
            None => found.asks().clone(),
        });
        Place { candidate, before, asks, schema: None, cases: HashMap::new() }
    }

    /// What it is compared with, if its files are known.
    fn mirror(&mut self, bundle: Option<Digest>) -> Option<Arc<Mirror>> {
        let find = match &mut self.before {
            Before::Bundle(mirror) => return Some(Arc::clone(mirror)),
            Before::Records(find) => find,
        };
        let digest = bundle?;
        let known = self.known.entry(digest).or_insert_with(|| {
            let found = if self.candidate.bundle().digest() == digest {
                Some(Mirror::of(Arc::clone(self.candidate.bundle())))
            } else {
                find(&digest)
            };
            if found.is_none() {
                self.unknown.push(digest);
            }
            found.map(Arc::new)
        });
        known.clone()
    }

    /// The circumstances, as far as the record has them.
    fn env(
        &self,
        at: Timestamp,
        source: std::net::IpAddr,
        brought: Option<Brought>,
        sealed: Option<&Unsealed>,
    ) -> (Env, Claims) {
        let local = self.clock.local_at(at);
        let opened = sealed.map(|sealed| Brought::from(&sealed.claimed));
        let assurance = sealed.and_then(|sealed| sealed.claimed.assurance.as_ref()).map(|value| value.expose().clone());
        let (claims, told) = match (opened, brought) {
            (Some(brought), _) => (Claims::Known, brought),
            (None, Some(brought)) if brought.assurance => (Claims::AssuranceSealed, brought),
            (None, Some(brought)) => (Claims::Known, brought),
            (None, None) => (Claims::Unknown, Brought::default()),
        };
        let env = Env {
            date: local.date(),
            hour: local.hour(),
            minute: local.minute(),
            source: source.to_canonical(),
            // That there is one is what a purpose may require; what it says is asked only where it is known.
            claimed_assurance: assurance.or_else(|| told.assurance.then(String::new)),
            claimed_user: told.user,
            claimed_case: told.case,
        };
        (env, claims)
    }
}

impl fmt::Debug for Replay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<replay>")
    }
}

impl fmt::Debug for Before<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Records(_) => "<records>",
            Self::Bundle(_) => "<bundle>",
        })
    }
}

impl Place {
    fn count(
        &mut self,
        candidate: &Mirror,
        (then, part): (Then, Part),
        (env, claims): (&Env, Claims),
        disclosure: DisclosureId,
        examples: usize,
    ) {
        let mut reduced = self.asks.as_ref().map_or_else(judge::nowhere, |asks| asks.reduce(env));
        if claims != Claims::Known {
            reduced.claimed_assurance = None;
        }
        let gates = |found: &Found| found.gates(env, claims != Claims::Unknown).err();
        let gates =
            (self.candidate.as_ref().ok().and_then(gates), self.before.as_ref().and_then(|(_, found)| gates(found)));
        let circumstances = Circumstances { env: reduced, claims };
        let (found, before) = (&self.candidate, &self.before);
        let case = match self.cases.get_mut(&circumstances) {
            Some(case) => case,
            None => {
                let case = Case::of(candidate, found, before.as_ref(), &circumstances.env, claims);
                self.cases.entry(circumstances).or_insert(case)
            }
        };
        case.count(found, before.as_ref(), self.schema.as_deref(), (then, part, gates), disclosure, examples);
    }
}

fn agency_of(system: &str) -> &str {
    system.split('/').next().unwrap_or(system)
}
