//! Who needs a record and how, and what it is answered with: what is stored, what somebody else fetches, or a fetch of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use popgate_caching::mark::{Key, Mark};
use popgate_caching::purges::Verdict;
use popgate_caching::store::{self, Worth};
use popgate_policy::contract::{self, Answer as Form, CacheRule, CacheScope};
use popgate_policy::model::{AgencyId, RegisterId};
use popgate_policy::permit::Permit;

use super::entry::{Entry, Use};
use super::flight::{Landed, Landing, Role};
use super::leader::Leader;
use super::{Fetched, Hit, Inner, Kept, Life, Lookup, Source, Unasked, Wish, millis};
use crate::clock::Moment;
use crate::forward::Found;
use crate::refusal::Refusal;

/// Who needs a record, and how.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) needs: Needs,
    pub(super) agency: AgencyId,
    /// Whom it is about, if the question says so.
    pub(super) subject: Option<Mark>,
    pub(super) worth: Worth,
    /// Answers to what is no GET are not kept (RFC 9111, section 3).
    pub(super) post: bool,
}

/// What a request needs, and under which rule.
#[derive(Clone, Debug)]
pub(super) struct Needs {
    pub(super) cache: Arc<Inner>,
    pub(super) key: Key,
    pub(super) register: RegisterId,
    pub(super) rule: CacheRule,
    pub(super) most_bytes: usize,
    /// About a sealed person: whatever a register answers is dropped unread.
    pub(super) sealed: bool,
}

/// Waits for somebody else's fetch.
#[derive(Debug)]
pub struct Follower {
    flight: u64,
    landing: tokio::sync::watch::Receiver<Option<Landed>>,
    needs: Needs,
}

/// What somebody else's fetch came to for who waited.
#[derive(Debug)]
pub enum Followed {
    /// The record.
    Served(Fetched, Source),
    /// It is of no use for this request: look again.
    Again,
    /// It failed: look again, once.
    Failed(Refusal),
}

impl Question {
    pub(super) fn of(cache: &Arc<Inner>, permit: &Permit) -> Self {
        let (operation, upstream, agency) = (permit.operation(), permit.upstream(), &permit.system().agency.id);
        let (rule, sealed) = (operation.cache, permit.is_sealed());
        let needs = Needs {
            cache: Arc::clone(cache),
            key: cache.key(upstream, agency, rule.scope, sealed),
            register: upstream.register.clone(),
            rule,
            most_bytes: operation.most_bytes(),
            sealed,
        };
        let scan = operation.bulk || matches!(operation.answer, Form::List(_));
        Self {
            needs,
            agency: agency.clone(),
            subject: permit.subject().map(|subject| cache.marker.subject(subject.expose().as_bytes())),
            worth: if scan { Worth::Scan } else { Worth::Usual },
            post: upstream.method != contract::Method::Get,
        }
    }

    pub(super) fn lookup(self, wish: Wish, at: Moment) -> Lookup {
        let needs = &self.needs;
        let cache = Arc::clone(&needs.cache);
        if needs.rule.scope == CacheScope::Off {
            return Lookup::Lead(self.lead(None, None, at));
        }
        let (entry, purged) = match cache.looked_up(&needs.key, self.worth, at.now) {
            store::Lookup::Hit(entry) => (Some(entry), false),
            store::Lookup::Stale(entry) => (Some(entry), true),
            store::Lookup::Miss => (None, false),
        };
        let usable = entry.as_ref().filter(|_| !purged);
        if let Some((mut hit, entry)) =
            usable.and_then(|entry| Some((needs.hit(entry, &self.agency, wish, at)?, entry)))
        {
            if hit.source == Source::Meanwhile
                && let Some(landing) = cache.flights.begin(needs.key)
            {
                hit.refresh = Some(self.lead(Some(entry.clone()), Some(landing), at));
            }
            return Lookup::Hit(Box::new(hit));
        }
        let stale = entry.filter(|entry| entry.terms.is_some());
        if wish.alone || wish.youngest.is_some() {
            // Whoever wants it younger than what others wait for wants the register asked after now.
            return Lookup::Lead(self.lead(stale, None, at));
        }
        match cache.flights.join(needs.key, wish.avoided) {
            Role::Follow(flight, landing) => Lookup::Follow(Follower { flight, landing, needs: self.needs }),
            Role::Lead(landing) => Lookup::Lead(self.lead(stale, Some(landing), at)),
        }
    }

    fn lead(self, stale: Option<store::Found<Entry>>, landing: Option<Landing>, at: Moment) -> Box<Leader> {
        let fetch = self.needs.cache.store.begin(at.now);
        Box::new(Leader { question: self, fetch, began: at.wall, stale, landing })
    }
}

impl Needs {
    /// What is stored, if it may be used.
    fn hit(&self, entry: &store::Found<Entry>, agency: &AgencyId, wish: Wish, at: Moment) -> Option<Hit> {
        let inner = &self.cache;
        let lately = || {
            let window = inner.no_match(&self.register, &self.rule);
            wish.youngest.is_none() && entry.was_asked_within(window, inner.millis(at.now))
        };
        let Some(terms) = &entry.terms else {
            let hit = || Hit {
                found: Found::Unknown,
                source: Source::Unknown,
                life: None,
                own: false,
                kept: Kept::Lately,
                refresh: None,
            };
            return lately().then(hit);
        };
        let source = match terms.usable(&self.rule, wish.youngest, at.wall) {
            Use::Fresh => Source::Stored,
            Use::Meanwhile => Source::Meanwhile,
            Use::No => return None,
        };
        if !self.fits(&entry.found) {
            return None;
        }
        let life = Life { age: terms.age(at.wall), ttl: terms.ttl(&self.rule, at.wall) };
        let own = entry.filled_by == *agency;
        let kept = match lately() {
            true => Kept::Lately,
            false => Kept::Unasked(Unasked { entry: entry.clone(), origin: inner.origin }),
        };
        Some(Hit { found: entry.found.clone(), source, life: Some(life), own, kept, refresh: None })
    }

    /// What is stored, if it may stand in for a register that fails. It is looked up again: it may have been purged meanwhile.
    pub(super) fn stand_in(&self, refusal: Refusal, at: Moment) -> Result<(Fetched, Source), Refusal> {
        if self.sealed {
            return Err(refusal);
        }
        let store::Lookup::Hit(entry) = self.cache.looked_up(&self.key, Worth::Scan, at.now) else {
            return Err(refusal);
        };
        let may = entry.terms.as_ref().is_some_and(|terms| terms.may_stand_in(&self.rule, at.wall));
        if !may || !self.fits(&entry.found) {
            return Err(refusal);
        }
        let kept = Kept::Stale(refusal);
        Ok((Fetched { found: entry.found.clone(), origin: None, kept }, Source::Stale))
    }

    /// Another operation may have let it be longer.
    fn fits(&self, found: &Found) -> bool {
        found.record().is_none_or(|raw| raw.len() <= self.most_bytes)
    }
}

impl Unasked {
    /// The register was asked now.
    pub fn asked(&self, now: Instant) {
        let now = millis(now.saturating_duration_since(self.origin));
        self.entry.asked_at.fetch_max(now, Ordering::Relaxed);
    }
}

impl Follower {
    /// Names the fetch, for [`Wish::avoided`].
    pub fn flight(&self) -> u64 {
        self.flight
    }

    /// Waits for what the fetch comes to.
    pub async fn landed(&mut self, at: impl FnOnce() -> Moment) -> Followed {
        let landed = self.landing.wait_for(Option::is_some).await.ok().and_then(|landed| landed.clone());
        let needs = &self.needs;
        match landed {
            // Whoever fetched gave up.
            None => Followed::Again,
            Some(Landed::Arrived { found, fetch, marks }) => {
                // What was purged before this request came must not reach it.
                if needs.cache.store.judge(&needs.key, fetch, marks.about()) != Verdict::Fresh {
                    return Followed::Again;
                }
                match needs.fits(&found) {
                    true => Followed::Served(Fetched { found, origin: None, kept: Kept::No }, Source::Collapsed),
                    false => Followed::Failed(Refusal::RecordTooLarge),
                }
            }
            Some(Landed::Failed { refusal: Refusal::RecordTooLarge, most_bytes, .. })
                if most_bytes < needs.most_bytes =>
            {
                Followed::Again
            }
            Some(Landed::Failed { refusal, failing: false, .. }) => Followed::Failed(refusal),
            Some(Landed::Failed { refusal, .. }) => match needs.stand_in(refusal, at()) {
                Ok((fetched, source)) => Followed::Served(fetched, source),
                Err(refusal) => Followed::Failed(refusal),
            },
        }
    }
}
