//! Who needs a record and how, and what it is answered with: what is stored, what somebody else fetches, or a fetch of its own.

use std::sync::Arc;
use std::time::Duration;

use popgate_caching::mark::Key;
use popgate_caching::purges::Verdict;
use popgate_caching::store::{self, Worth};
use popgate_policy::contract::{Answer as Form, CacheRule, CacheScope, UpstreamRequest};
use popgate_policy::model::{AgencyId, Personal, RegisterId};
use popgate_policy::permit::Permit;

use super::entry::{Entry, Use};
use super::flight::{Landed, Role};
use super::leader::Leader;
use super::{Fetched, Hit, Inner, Kept, Life, Lookup, Source, Wish};
use crate::admit::overload::Class;
use crate::clock::Moment;
use crate::forward::{Found, Wanted};
use crate::refusal::Refusal;

/// Who needs a record, how, and under which rule.
#[derive(Debug)]
pub struct Question {
    pub(super) cache: Arc<Inner>,
    pub(super) key: Key,
    pub(super) upstream: UpstreamRequest,
    /// Whom it is about, if the question says so.
    pub(super) person: Option<Personal<String>>,
    pub(super) agency: AgencyId,
    pub(super) rule: CacheRule,
    pub(super) most_bytes: usize,
    pub(super) class: Class,
    /// It names many persons.
    pub(super) list: bool,
    pub(super) worth: Worth,
    /// About a sealed person: whatever a register answers is dropped unread.
    pub(super) sealed: bool,
}

/// Waits for somebody else's fetch.
#[derive(Debug)]
pub struct Follower {
    flight: u64,
    landing: tokio::sync::watch::Receiver<Option<Landed>>,
    question: Arc<Question>,
}

/// What somebody else's fetch came to for who waited.
#[derive(Debug)]
pub enum Followed {
    /// The record.
    Served(Fetched),
    /// It is of no use for this request: look again.
    Again,
    /// It is for nobody else: fetch it alone.
    Alone,
    /// It failed: look again, once.
    Failed(Refusal),
}

impl Question {
    pub(super) fn of(cache: &Arc<Inner>, permit: &Permit, class: Class) -> Self {
        let (operation, upstream, agency) = (permit.operation(), permit.upstream(), &permit.system().agency.id);
        let (rule, sealed) = (operation.cache, permit.is_sealed());
        let list = matches!(operation.answer, Form::List(_));
        Self {
            cache: Arc::clone(cache),
            key: cache.key(upstream, agency, rule.scope, sealed),
            upstream: upstream.clone(),
            person: permit.subject().cloned(),
            agency: agency.clone(),
            rule,
            most_bytes: operation.most_bytes(),
            class,
            list,
            worth: if list || operation.bulk { Worth::Scan } else { Worth::Usual },
            sealed,
        }
    }

    /// What the register is asked.
    pub fn wanted(&self) -> Wanted<'_> {
        Wanted::record_of(&self.upstream, self.most_bytes, self.class).about(self.person.as_ref())
    }

    /// The register.
    pub fn register(&self) -> &RegisterId {
        &self.upstream.register
    }

    /// Looks for the record.
    pub fn lookup(self: &Arc<Self>, wish: Wish, at: Moment) -> Lookup {
        let cache = &self.cache;
        // Before anything is looked up: what is purged from now on is not answered with.
        let fetch = cache.store.begin(at.now);
        let lead = |stale, landing| {
            let (question, youngest) = (Arc::clone(self), wish.youngest);
            Box::new(Leader { question, fetch, began: at.wall, youngest, stale, landing })
        };
        if self.rule.scope == CacheScope::Off {
            return Lookup::Lead(lead(None, None));
        }
        let (entry, purged) = match cache.looked_up(&self.key, self.worth, at.now) {
            _ if wish.unstored => (None, false),
            store::Lookup::Hit(entry) => (Some(entry), false),
            store::Lookup::Stale(entry) => (Some(entry), true),
            store::Lookup::Miss => (None, false),
        };
        if let Some(entry) = entry.as_ref().filter(|_| !purged)
            && let Some(fetched) = self.hit(entry, wish.youngest, at)
        {
            let landing = || cache.flights.begin(self.key);
            let refresh = (fetched.source == Source::Meanwhile).then(landing).flatten();
            let refresh = refresh.map(|landing| lead(Some(entry.clone()), Some(landing)));
            return Lookup::Hit(Box::new(Hit { fetched, refresh }));
        }
        // What is too long for this request is not asked about either: "not modified" would bring it back.
        let stale = entry.filter(|entry| entry.terms.is_some() && self.fits(&entry.found));
        if wish.alone || wish.youngest.is_some() {
            // Whoever wants it younger than what others wait for wants the register asked after now.
            return Lookup::Lead(lead(stale, None));
        }
        match cache.flights.join(self.key, wish.avoided) {
            Role::Follow(flight, landing) => Lookup::Follow(Follower { flight, landing, question: Arc::clone(self) }),
            Role::Lead(landing) => Lookup::Lead(lead(stale, Some(landing))),
        }
    }

    /// What is stored, if it may be used.
    fn hit(&self, entry: &store::Found<Entry>, youngest: Option<Duration>, at: Moment) -> Option<Fetched> {
        let cache = &self.cache;
        let lately = || {
            let window = cache.registers.get(self.register()).map(|register| register.no_match(&self.rule));
            youngest.is_none() && entry.was_asked_within(window.unwrap_or_default(), cache.millis(at.now))
        };
        let Some(terms) = &entry.terms else {
            let unknown = || Fetched { kept: Kept::Lately, ..Fetched::new(Found::Unknown, Source::Unknown) };
            return lately().then(unknown);
        };
        let source = match terms.usable(&self.rule, youngest, at) {
            Use::Fresh => Source::Stored,
            Use::Meanwhile => Source::Meanwhile,
            Use::No => return None,
        };
        let kept = if lately() { Kept::Lately } else { Kept::Unasked };
        self.fits(&entry.found).then(|| self.stored(entry, source, kept, at))
    }

    fn stored(&self, entry: &store::Found<Entry>, source: Source, kept: Kept, at: Moment) -> Fetched {
        let life = entry.terms.as_ref().map(|terms| Life { age: terms.age(at), ttl: terms.ttl(&self.rule, at) });
        let own = entry.filled_by == self.agency;
        Fetched { kept, life, own, ..Fetched::new(entry.found.clone(), source) }
    }

    /// What is stored, if it may stand in for a register that fails. It is looked up again: it may have been purged meanwhile.
    pub(super) fn stand_in(
        &self,
        refusal: Refusal,
        youngest: Option<Duration>,
        at: Moment,
    ) -> Result<Fetched, Refusal> {
        let store::Lookup::Hit(entry) = self.cache.looked_up(&self.key, Worth::Scan, at.now) else {
            return Err(refusal);
        };
        let may = entry.terms.as_ref().is_some_and(|terms| terms.may_stand_in(&self.rule, youngest, at));
        if !may || self.sealed || !self.fits(&entry.found) {
            return Err(refusal);
        }
        Ok(self.stored(&entry, Source::Stale, Kept::Stale(refusal), at))
    }

    /// Another operation may have let it be longer.
    fn fits(&self, found: &Found) -> bool {
        found.record().is_none_or(|raw| raw.len() <= self.most_bytes)
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
        let question = &self.question;
        let Some(landed) = landed else {
            // Whoever fetched gave up.
            return Followed::Again;
        };
        let at = at();
        match landed {
            Landed::Arrived { found, fetch, marks, shared } => {
                // What was purged before this request came must not reach it.
                if question.cache.store.judge(&question.key, fetch, marks.about(), at.now) != Verdict::Fresh {
                    Followed::Again
                } else if !shared {
                    Followed::Alone
                } else if question.fits(&found) {
                    Followed::Served(Fetched::new(found, Source::Collapsed))
                } else {
                    Followed::Failed(Refusal::RecordTooLarge)
                }
            }
            Landed::Failed { refusal: Refusal::RecordTooLarge, most_bytes, .. } if most_bytes < question.most_bytes => {
                Followed::Again
            }
            // The register may still bear those who rank higher.
            Landed::Failed { refusal: Refusal::RegisterBusy { .. }, class, .. } if question.class < class => {
                Followed::Again
            }
            Landed::Failed { refusal, failing: false, .. } => Followed::Failed(refusal),
            Landed::Failed { refusal, .. } => match question.stand_in(refusal, None, at) {
                Ok(fetched) => Followed::Served(fetched),
                Err(refusal) => Followed::Failed(refusal),
            },
        }
    }
}
