//! Whoever fetches a record: what the register is asked, and what becomes of its answer.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use popgate_caching::rules::{Asked, Limits, Stored, Times};
use popgate_caching::store::{self, Fetch, Record, Worth};
use popgate_policy::contract::{self, CacheScope};

use super::entry::{Entry, Terms};
use super::flight::{Landed, Landing, Marks};
use super::question::Question;
use super::register::Register;
use super::{Fetched, Inner, Source};
use crate::clock::Moment;
use crate::forward::{Answer, Found, Origin, Unanswered};
use crate::refusal::Refusal;

/// The duty to fetch a record. Dropped before it lands, a follower takes over.
#[derive(Debug)]
pub struct Leader {
    pub(super) question: Arc<Question>,
    pub(super) fetch: Fetch,
    pub(super) began: SystemTime,
    /// As in the wish.
    pub(super) youngest: Option<Duration>,
    /// What the register is asked about.
    pub(super) stale: Option<store::Found<Entry>>,
    pub(super) landing: Option<Landing>,
}

/// What purges find an answer by, and whether it may answer those who waited.
type Kept = (Marks, bool);

/// A stored record that the register is asked about.
#[derive(Debug)]
pub struct Compared {
    cache: Arc<Inner>,
    stored: Option<Stored>,
}

impl Leader {
    /// What is fetched.
    pub fn question(&self) -> &Arc<Question> {
        &self.question
    }

    /// What the register may be asked to compare with.
    pub fn compared(&self) -> Compared {
        let terms = self.stale.as_ref().and_then(|stale| stale.terms.as_ref());
        Compared { cache: Arc::clone(&self.question.cache), stored: terms.map(Terms::to_stored) }
    }

    /// Whether somebody waits for it.
    pub fn is_awaited(&self) -> bool {
        self.landing.as_ref().is_some_and(Landing::is_awaited)
    }

    /// Takes the register's answer: keeps it if register and contract allow, and tells whoever waits.
    ///
    /// # Errors
    /// The refusal that the fetch came to, if nothing stored may stand in for it.
    pub fn land(mut self, answer: Result<Answer, Unanswered>, at: Moment) -> Result<Fetched, Refusal> {
        let arrived = match answer {
            // Of a sealed person whatever a register answers is dropped unread; only that it does not is told to anybody.
            Ok(_) | Err(Unanswered { failing: false, .. }) if self.question.sealed => {
                Ok((Found::Unknown, None, Source::Register, self.keep_unknown(at)))
            }
            Ok(answer) => self.arrived(answer, at),
            Err(unanswered) => Err(unanswered),
        };
        // Before whoever waits is told: whoever looks again must find it over.
        let landing = self.landing.take();
        if let Some(landing) = &landing {
            self.question.cache.flights.end(&self.question.key, landing);
        }
        match arrived {
            Ok((found, origin, source, (marks, shared))) => {
                if let Some(landing) = landing {
                    let (found, marks) = (found.clone(), Arc::new(marks));
                    landing.tell(Landed::Arrived { found, fetch: self.fetch, marks, shared });
                }
                let source = if self.question.rule.scope == CacheScope::Off { Source::Uncached } else { source };
                Ok(Fetched { origin, ..Fetched::new(found, source) })
            }
            Err(Unanswered { refusal, failing }) => {
                if let Some(landing) = landing {
                    let (most_bytes, class) = (self.question.most_bytes, self.question.class);
                    landing.tell(Landed::Failed { refusal: refusal.clone(), failing, most_bytes, class });
                }
                if failing { self.question.stand_in(refusal, self.youngest, at) } else { Err(refusal) }
            }
        }
    }

    fn arrived(&self, answer: Answer, at: Moment) -> Result<(Found, Option<Origin>, Source, Kept), Unanswered> {
        let Answer { found, headers, status, origin } = answer;
        let (found, source, kept) = match (found, &self.stale) {
            (Some(Found::Unknown), _) => (Found::Unknown, Source::Register, self.keep_unknown(at)),
            (Some(found), _) => {
                let kept = self.keep(&found, status, &headers, at);
                (found, Source::Register, kept)
            }
            (None, Some(stale)) => {
                let kept = self.keep_validated(stale, &headers, at);
                (stale.found.clone(), Source::Validated, kept)
            }
            // "Not modified" answers only our own validators; without them it is no answer.
            (None, None) => return Err(Unanswered { refusal: Refusal::RegisterFailed, failing: true }),
        };
        Ok((found, Some(origin), source, kept))
    }

    /// Keeps a record, if register and contract allow.
    fn keep(&self, found: &Found, status: StatusCode, headers: &HeaderMap, at: Moment) -> Kept {
        let cache = &self.question.cache;
        let (marks, all) = self.marks(headers);
        let times = Times { asked_at: self.began, got_at: at.wall };
        let get = self.question.upstream.method == contract::Method::Get;
        let method = if get { Method::GET } else { Method::POST };
        let stored = cache.rules.keep(&asked(&method, &Uri::default()), status, headers, times, &Limits::default());
        // In memory of its own: the weight counts the record alone.
        self.put(stored.ok(), all, || found.compact(cache.arena.as_ref()), marks, at)
    }

    /// Keeps a record that the register said is still the same (RFC 9111, section 4.3.4).
    fn keep_validated(&self, stale: &store::Found<Entry>, headers: &HeaderMap, at: Moment) -> Kept {
        let rules = &self.question.cache.rules;
        let Some(old) = stale.terms.as_ref().map(Terms::to_stored) else { return (self.marks(headers).0, false) };
        let times = Times { asked_at: self.began, got_at: at.wall };
        let merged = rules.freshen(&asked(&Method::GET, &Uri::default()), &old, headers, times, &Limits::default());
        let (marks, all) = self.marks(&merged.stored.headers);
        let stored = merged.keep.ok().map(|()| merged.stored);
        self.put(stored, all, || Some(stale.found.clone()), marks, at)
    }

    /// Keeps that the register knows nobody of that number, for as long as any contract may want: which one asks next is not known.
    fn keep_unknown(&self, at: Moment) -> Kept {
        let (marks, _) = self.marks(&HeaderMap::new());
        let cache = &self.question.cache;
        if self.stores() {
            let entry = Entry { found: Found::Unknown, terms: None, ..self.entry(at) };
            // Whoever tries numbers displaces nothing that people ask for.
            self.insert(entry, at.now + LONGEST_NO_MATCH, &marks, Worth::Scan);
        }
        let shared = cache.registers.get(self.question.register()).is_none_or(Register::shares);
        (marks, shared)
    }

    fn put(
        &self,
        stored: Option<Stored>,
        all: bool,
        found: impl FnOnce() -> Option<Found>,
        marks: Marks,
        at: Moment,
    ) -> Kept {
        let cache = &self.question.cache;
        // What could be stored may answer those who waited, unless they would have to ask whether it still may (`no-cache`).
        let shared = stored.as_ref().is_some_and(|stored| !stored.policy.always_validate);
        let terms = stored.filter(|_| all && self.stores()).map(|stored| Terms::of(&stored, at.now));
        let kept = terms.and_then(|terms| Some((found()?, terms)));
        if let Some(register) = cache.registers.get(self.question.register()) {
            register.saw(kept.as_ref().map(|(_, terms)| terms), shared, cache.millis(at.now));
        }
        match kept {
            Some((found, terms)) => {
                let until = at.now + terms.useful(&self.question.rule, at);
                let entry = Entry { found, terms: Some(terms), ..self.entry(at) };
                self.insert(entry, until, &marks, self.question.worth);
            }
            None if self.stores() => cache.store.give_up(&self.question.key, self.fetch),
            None => {}
        }
        (marks, shared)
    }

    fn stores(&self) -> bool {
        self.question.cache.stores && self.question.rule.scope != CacheScope::Off
    }

    fn entry(&self, at: Moment) -> Entry {
        let asked_at = self.question.cache.millis(at.now);
        Entry { found: Found::Unknown, terms: None, filled_by: self.question.agency.clone(), asked_at }
    }

    fn insert(&self, value: Entry, until: Instant, marks: &Marks, worth: Worth) {
        let bytes = value.heap();
        let record = Record { value, bytes, about: marks.about(), until };
        self.question.cache.store.insert(&self.question.key, self.fetch, record, worth);
    }

    /// What purges find the answer by; and whether that is all of it.
    fn marks(&self, headers: &HeaderMap) -> (Marks, bool) {
        let (cache, register) = (&self.question.cache, self.question.register());
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
        let person = self.question.person.as_ref();
        let mut subjects: Vec<_> =
            person.map(|person| cache.marker.subject(person.expose().as_bytes())).into_iter().collect();
        if self.question.list || subjects.is_empty() {
            // Whom it is about is not all in the question: it goes with anybody.
            subjects.push(cache.marker.subject(ANYBODY));
        }
        (Marks { register: mark, subjects, tags }, all)
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        // Followers see the sender go: those who come later must find no fetch that nobody makes.
        if let Some(landing) = &self.landing {
            self.question.cache.flights.end(&self.question.key, landing);
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
