//! Whoever fetches a record: what the register is asked, and what becomes of its answer.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use popgate_caching::rules::{Asked, Limits, Stored, Times};
use popgate_caching::store::{self, Fetch, Record};
use popgate_policy::contract::CacheScope;

use super::entry::{Entry, Terms};
use super::flight::{Landed, Landing, Marks};
use super::question::{Needs, Question};
use super::{Fetched, Inner, Kept, Source};
use crate::clock::Moment;
use crate::forward::{Answer, Found, Origin, Unanswered};
use crate::refusal::Refusal;

/// The duty to fetch a record. Dropped before it lands, a follower takes over.
#[derive(Debug)]
pub struct Leader {
    pub(super) question: Question,
    pub(super) fetch: Fetch,
    pub(super) began: SystemTime,
    /// What the register is asked about.
    pub(super) stale: Option<store::Found<Entry>>,
    pub(super) landing: Option<Landing>,
}

/// A stored record that the register is asked about.
#[derive(Debug)]
pub struct Compared {
    cache: Arc<Inner>,
    stored: Option<Stored>,
}

impl Leader {
    /// What the register may be asked to compare with.
    pub fn compared(&self) -> Compared {
        let terms = self.stale.as_ref().and_then(|stale| stale.terms.as_ref());
        Compared { cache: Arc::clone(&self.question.needs.cache), stored: terms.map(Terms::to_stored) }
    }

    /// Whether somebody waits for it.
    pub fn is_awaited(&self) -> bool {
        self.landing.as_ref().is_some_and(Landing::is_awaited)
    }

    /// Takes the register's answer: keeps it if register and contract allow, and tells whoever waits.
    ///
    /// # Errors
    /// The refusal that the fetch came to, if nothing stored may stand in for it.
    pub fn land(mut self, answer: Result<Answer, Unanswered>, at: Moment) -> Result<(Fetched, Source), Refusal> {
        let uncached = self.question.needs.rule.scope == CacheScope::Off;
        let source = if uncached { Source::Uncached } else { Source::Register };
        let arrived = match answer {
            // Of a sealed person whatever a register answers is dropped unread; only that it does not is told to anybody.
            Ok(_) | Err(Unanswered { failing: false, .. }) if self.question.needs.sealed => {
                Ok((Found::Unknown, None, source, self.keep_unknown(at)))
            }
            Ok(answer) => self.arrived(answer, source, at),
            Err(unanswered) => Err(unanswered),
        };
        // Before whoever waits is told: whoever looks again must find it over.
        let landing = self.landing.take();
        if let Some(landing) = &landing {
            self.question.needs.cache.flights.end(&self.question.needs.key, landing);
        }
        match arrived {
            Ok((found, origin, source, marks)) => {
                if let Some(landing) = landing {
                    landing.tell(Landed::Arrived { found: found.clone(), fetch: self.fetch, marks: Arc::new(marks) });
                }
                Ok((Fetched { found, origin, kept: Kept::No }, source))
            }
            Err(Unanswered { refusal, failing }) => {
                if let Some(landing) = landing {
                    let most_bytes = self.question.needs.most_bytes;
                    landing.tell(Landed::Failed { refusal: refusal.clone(), failing, most_bytes });
                }
                if failing { self.question.needs.stand_in(refusal, at) } else { Err(refusal) }
            }
        }
    }

    fn arrived(
        &self,
        answer: Answer,
        source: Source,
        at: Moment,
    ) -> Result<(Found, Option<Origin>, Source, Marks), Unanswered> {
        let Answer { found, headers, status, origin } = answer;
        let (found, source, marks) = match (found, &self.stale) {
            (Some(Found::Unknown), _) => (Found::Unknown, source, self.keep_unknown(at)),
            (Some(found), _) => {
                let marks = self.keep(&found, status, &headers, at);
                (found, source, marks)
            }
            (None, Some(stale)) => {
                let marks = self.keep_validated(stale, &headers, at);
                (stale.found.clone(), Source::Validated, marks)
            }
            // "Not modified" answers only our own validators; without them it is no answer.
            (None, None) => return Err(Unanswered { refusal: Refusal::RegisterFailed, failing: true }),
        };
        Ok((found, Some(origin), source, marks))
    }

    /// Keeps a record, if register and contract allow.
    fn keep(&self, found: &Found, status: StatusCode, headers: &HeaderMap, at: Moment) -> Marks {
        let cache = &self.question.needs.cache;
        let (marks, all) = self.marks(headers);
        let times = Times { asked_at: self.began, got_at: at.wall };
        let method = if self.question.post { Method::POST } else { Method::GET };
        let kept = cache.rules.keep(&asked(&method, &Uri::default()), status, headers, times, &Limits::default());
        let terms = kept.ok().filter(|_| all).map(|stored| Terms::of(&stored));
        // In memory of its own: the weight counts the record alone.
        self.put(terms, || found.compact(cache.arena.as_ref()), &marks, at);
        marks
    }

    /// Keeps a record that the register said is still the same (RFC 9111, section 4.3.4).
    fn keep_validated(&self, stale: &store::Found<Entry>, headers: &HeaderMap, at: Moment) -> Marks {
        let rules = &self.question.needs.cache.rules;
        let Some(old) = stale.terms.as_ref().map(Terms::to_stored) else { return self.marks(headers).0 };
        let times = Times { asked_at: self.began, got_at: at.wall };
        let merged = rules.freshen(&asked(&Method::GET, &Uri::default()), &old, headers, times, &Limits::default());
        let (marks, all) = self.marks(&merged.stored.headers);
        let terms = merged.keep.ok().filter(|()| all).map(|()| Terms::of(&merged.stored));
        self.put(terms, || Some(stale.found.clone()), &marks, at);
        marks
    }

    /// Keeps that the register knows nobody of that number, for as long as any contract may want.
    fn keep_unknown(&self, at: Moment) -> Marks {
        let (marks, _) = self.marks(&HeaderMap::new());
        let cache = &self.question.needs.cache;
        if !self.stores() {
            return marks;
        }
        if self.question.needs.rule.no_match.is_zero() {
            cache.store.remove(&self.question.needs.key);
        } else {
            let until = at.now + LONGEST_NO_MATCH;
            self.insert(Entry { found: Found::Unknown, terms: None, ..self.entry(at) }, until, &marks);
        }
        marks
    }

    fn put(&self, terms: Option<Terms>, found: impl FnOnce() -> Option<Found>, marks: &Marks, at: Moment) {
        if !self.stores() {
            return;
        }
        let (cache, rule) = (&self.question.needs.cache, &self.question.needs.rule);
        if let Some(register) = cache.registers.get(&self.question.needs.register) {
            let fresh = |terms: &Terms| terms.fresh_for(rule).saturating_sub(terms.age(at.wall));
            register.saw(terms.as_ref().map_or(Duration::ZERO, fresh), cache.millis(at.now));
        }
        match terms.and_then(|terms| Some((found()?, terms))) {
            Some((found, terms)) => {
                let until = at.now + terms.useful(rule, at.wall);
                self.insert(Entry { found, terms: Some(terms), ..self.entry(at) }, until, marks);
            }
            None => cache.store.remove(&self.question.needs.key),
        }
    }

    fn stores(&self) -> bool {
        self.question.needs.cache.stores && self.question.needs.rule.scope != CacheScope::Off
    }

    fn entry(&self, at: Moment) -> Entry {
        let asked_at = AtomicU64::new(self.question.needs.cache.millis(at.now));
        Entry { found: Found::Unknown, terms: None, filled_by: self.question.agency.clone(), asked_at }
    }

    fn insert(&self, value: Entry, until: Instant, marks: &Marks) {
        let bytes = value.heap();
        let record = Record { value, bytes, about: marks.about(), until };
        self.question.needs.cache.store.insert(&self.question.needs.key, self.fetch, record, self.question.worth);
    }

    /// What purges find the answer by; and whether that is all of it.
    fn marks(&self, headers: &HeaderMap) -> (Marks, bool) {
        let Needs { cache, register, .. } = &self.question.needs;
        let id = register.as_str().as_bytes();
        let lines = TAGS.iter().flat_map(|name| headers.get_all(*name)).map(HeaderValue::as_bytes);
        let (tags, all) = match cache.marker.tags(id, lines) {
            Ok(tags) => (tags, true),
            Err(_) => {
                tracing::warn!(register = register.as_str(), "a record has more or longer tags than can be kept");
                (Vec::new(), false)
            }
        };
        let mark = cache.registers.get(register).map_or_else(|| cache.marker.register(id), |register| register.mark);
        // Whom it is about is not in the question: it goes with anybody.
        let subject = self.question.subject.unwrap_or_else(|| cache.marker.subject(ANYBODY));
        (Marks { register: mark, subjects: vec![subject], tags }, all)
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        // Followers see the sender go: those who come later must find no fetch that nobody makes.
        if let Some(landing) = &self.landing {
            self.question.needs.cache.flights.end(&self.question.needs.key, landing);
        }
    }
}

impl Compared {
    /// For the request.
    pub fn validators(&self) -> Validators {
        self.stored.as_ref().map(|stored| Validators::of(&stored.headers)).unwrap_or_default()
    }

    /// Whether a "not modified" is about another record than the one that was asked about: it tells nothing then, and the register MUST
    /// be asked again, without validators (RFC 9111, section 4.3.4).
    pub fn tells_nothing(&self, answer: &Answer) -> bool {
        let about = |stored: &Stored| self.cache.rules.identify(&[stored], 0, &answer.headers);
        answer.found.is_none() && self.stored.as_ref().is_some_and(|stored| about(stored).is_empty())
    }
}

/// What a register may be asked to compare its record with (RFC 9110, section 13.1).
#[derive(Clone, Debug, Default)]
pub struct Validators {
    etag: Option<HeaderValue>,
    last_modified: Option<HeaderValue>,
}

impl Validators {
    /// Adds `If-None-Match` and `If-Modified-Since` to a request.
    pub fn apply(&self, headers: &mut HeaderMap) {
        if let Some(etag) = &self.etag {
            headers.insert(header::IF_NONE_MATCH, etag.clone());
        }
        if let Some(last_modified) = &self.last_modified {
            headers.insert(header::IF_MODIFIED_SINCE, last_modified.clone());
        }
    }

    /// Whether there is nothing to compare with.
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }

    fn of(headers: &HeaderMap) -> Self {
        Self { etag: headers.get(header::ETAG).cloned(), last_modified: headers.get(header::LAST_MODIFIED).cloned() }
    }
}

/// What the gateway asks a register, as the rules see it: fields of its own alone, none of which an answer can vary by.
fn asked<'a>(method: &'a Method, uri: &'a Uri) -> Asked<'a> {
    static NONE: std::sync::LazyLock<HeaderMap> = std::sync::LazyLock::new(HeaderMap::new);
    Asked { method, uri, headers: &NONE }
}

/// What a register may give a record for purges to find it by.
const TAGS: [&str; 2] = ["surrogate-key", "cache-tag"];
/// Stands for whoever an answer is about, where the question does not say. No person has the number.
pub(super) const ANYBODY: &[u8] = b"";
/// The longest that a contract may say (`no-match`).
const LONGEST_NO_MATCH: Duration = Duration::from_secs(60);
