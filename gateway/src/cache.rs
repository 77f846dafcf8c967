//! Cache: raw records behind the permit. One stored record serves every operation and agency, each through its own permit.
//!
//! The key is the upstream request, never the operation or the caller. Requests for a record that is being fetched wait for
//! that one fetch (single flight); if whoever fetches gives up, one of them takes over.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_cache_semantics::{AfterResponse, CacheOptions, CachePolicy};
use popgate_policy::contract::{CacheRule, CacheScope, UpstreamRequest};
use popgate_policy::model::AgencyId;
use popgate_policy::permit::Permit;
use tokio::sync::watch;

use crate::forward::{Answer, Fetched, Found, Kept, Unanswered};
use crate::refusal::Refusal;

/// Records that registers allowed to be kept, and fetches under way.
#[derive(Debug)]
pub struct Cache {
    stored: Option<moka::sync::Cache<Key, Arc<Stored>>>,
    flights: Flights,
}

/// Fetches under way. Those share one that let the same stand in for it: a stale record that one contract allows must not
/// reach who follows under another.
type Flights = Arc<Mutex<HashMap<(Key, Duration), watch::Receiver<Landing>>>>;

/// What a record is kept under.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Key {
    upstream: UpstreamRequest,
    /// Set where the contract lets only the agency that asked share what it fetched.
    agency: Option<AgencyId>,
    /// About a sealed person: nothing is stored under it, fetches are shared as those for somebody unknown are.
    sealed: bool,
}

#[derive(Debug)]
struct Stored {
    found: Found,
    policy: CachePolicy,
    validators: Validators,
    checked_at: SystemTime,
    fresh_until: SystemTime,
}

/// What is known about a record before anybody asks the register.
#[derive(Debug)]
pub enum Lookup<'a> {
    /// It is here and fresh.
    Hit(Found),
    /// Somebody is fetching it: wait for [`Follower::landed`].
    Follow(Follower),
    /// The caller fetches it, for itself and whoever waits.
    Lead(Leader<'a>),
}

/// Waits for somebody else's fetch.
#[derive(Debug)]
pub struct Follower(watch::Receiver<Landing>);

/// The duty to fetch a record. Dropped before it lands, a follower takes over.
#[derive(Debug)]
pub struct Leader<'a> {
    cache: &'a Cache,
    key: Key,
    rule: CacheRule,
    stale: Option<Arc<Stored>>,
    landing: Option<watch::Sender<Landing>>,
}

/// Where a record came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// It was stored and fresh.
    Stored,
    /// The register was asked.
    Register,
    /// Somebody else's fetch was waited for.
    Collapsed,
    /// It was stored, and stood in for a register that failed.
    Stale,
    /// The register was asked, and nothing may be stored.
    Uncached,
}

impl Source {
    /// Its name in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "hit",
            Self::Register => "miss",
            Self::Collapsed => "collapsed",
            Self::Stale => "stale",
            Self::Uncached => "off",
        }
    }
}

/// What a fetch under way came to; `None` while it is.
type Landing = Option<Result<Fetched, Refusal>>;

impl Cache {
    /// An empty cache that holds at most that many bytes of records; zero stores nothing, fetches are still shared.
    pub fn new(capacity_bytes: u64) -> Self {
        let stored = (capacity_bytes > 0).then(|| {
            moka::sync::Cache::builder()
                .max_capacity(capacity_bytes)
                .weigher(|key: &Key, stored: &Arc<Stored>| stored.weight(key))
                .build()
        });
        Self { stored, flights: Arc::default() }
    }

    /// Looks for the record that a permit needs.
    pub fn lookup(&self, permit: &Permit, now: SystemTime) -> Lookup<'_> {
        let rule = permit.operation().cache;
        let agency = (rule.scope == CacheScope::Agency).then(|| permit.system().agency.id.clone());
        let sealed = permit.is_sealed();
        let key = Key { upstream: permit.upstream().clone(), agency, sealed };
        if rule.scope == CacheScope::Off {
            return Lookup::Lead(Leader { cache: self, key, rule, stale: None, landing: None });
        }
        let stored = self.stored.as_ref().filter(|_| !sealed).and_then(|stored| stored.get(&key));
        if let Some(stored) = &stored
            && stored.is_fresh(&rule, now)
        {
            return Lookup::Hit(stored.found.clone());
        }
        match self.flights().entry((key.clone(), rule.stale_if_error)) {
            Slot::Occupied(flight) => Lookup::Follow(Follower(flight.get().clone())),
            Slot::Vacant(vacant) => {
                let (sender, receiver) = watch::channel(None);
                vacant.insert(receiver);
                Lookup::Lead(Leader { cache: self, key, rule, stale: stored, landing: Some(sender) })
            }
        }
    }

    /// Forgets the record that a permit needs: it is about somebody else, or cannot be read.
    pub fn evict(&self, upstream: &UpstreamRequest, agency: &AgencyId) {
        let Some(stored) = &self.stored else { return };
        for agency in [None, Some(agency.clone())] {
            stored.invalidate(&Key { upstream: upstream.clone(), agency, sealed: false });
        }
    }

    /// How many records are kept, and how many bytes they weigh.
    pub fn size(&self) -> (u64, u64) {
        self.stored.as_ref().map_or((0, 0), |stored| (stored.entry_count(), stored.weighted_size()))
    }

    fn flights(&self) -> std::sync::MutexGuard<'_, HashMap<(Key, Duration), watch::Receiver<Landing>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    /// What the fetch came to; `None` if whoever fetched gave up: look again.
    pub async fn landed(mut self) -> Option<Result<Fetched, Refusal>> {
        let landed = self.0.wait_for(Option::is_some).await.ok()?;
        landed.clone()
    }
}

impl Leader<'_> {
    /// What the register may be asked to compare with.
    pub fn validators(&self) -> Validators {
        self.stale.as_ref().map(|stale| stale.validators.clone()).unwrap_or_default()
    }

    /// Takes the register's answer: keeps it if register and contract allow, and tells whoever waits.
    ///
    /// # Errors
    /// The refusal that the fetch came to, if nothing stored may stand in for it.
    pub fn land(mut self, answer: Result<Answer, Unanswered>, now: SystemTime) -> Result<(Fetched, Source), Refusal> {
        let landed = self.resolve(answer, now);
        if let Some(landing) = self.landing.take() {
            let shared = match &landed {
                Ok((fetched, _)) => Ok(Fetched { origin: None, ..fetched.clone() }),
                Err(refusal) => Err(refusal.clone()),
            };
            landing.send_replace(Some(shared));
        }
        landed
    }

    fn resolve(&self, answer: Result<Answer, Unanswered>, now: SystemTime) -> Result<(Fetched, Source), Refusal> {
        let source = if self.rule.scope == CacheScope::Off { Source::Uncached } else { Source::Register };
        let (answer, stale) = match (answer, &self.stale) {
            // Of a sealed person whatever a register answers is dropped unread; only that it does not is told to anybody.
            (answer, _) if self.key.sealed => {
                return match answer {
                    Err(Unanswered { refusal, failing: true }) => Err(refusal),
                    Ok(_) | Err(_) => Ok((Fetched { found: Found::Unknown, origin: None, kept: Kept::No }, source)),
                };
            }
            (Ok(answer), stale) => (answer, stale),
            (Err(Unanswered { failing: true, refusal }), Some(stale)) if stale.may_stand_in(&self.rule, now) => {
                let kept = Kept::Stale(refusal);
                return Ok((Fetched { found: stale.found.clone(), origin: None, kept }, Source::Stale));
            }
            (Err(unanswered), _) => return Err(unanswered.refusal),
        };
        let Answer { found, headers, status, origin } = answer;
        let found = match (found, stale) {
            (Some(found), _) => found,
            // "Not modified" answers only our own validators; without them it is no answer.
            (None, Some(stale)) => {
                if let Some(stored) = &self.cache.stored {
                    let policy = stale.policy.after_response(&self.request(), &response(status, &headers), now);
                    let (AfterResponse::NotModified(refreshed, _) | AfterResponse::Modified(refreshed, _)) = policy;
                    self.keep(stored, &stale.found, refreshed, stale.validators.clone(), now);
                }
                stale.found.clone()
            }
            (None, None) => return Err(Refusal::RegisterFailed),
        };
        if status != StatusCode::NOT_MODIFIED
            && self.rule.scope != CacheScope::Off
            && let Some(stored) = &self.cache.stored
        {
            let policy = CachePolicy::new_options(&self.request(), &response(status, &headers), now, OPTIONS);
            self.keep(stored, &found, policy, Validators::of(&headers), now);
        }
        Ok((Fetched { found, origin: Some(origin), kept: Kept::No }, source))
    }

    fn keep(
        &self,
        stored: &moka::sync::Cache<Key, Arc<Stored>>,
        found: &Found,
        policy: CachePolicy,
        validators: Validators,
        now: SystemTime,
    ) {
        let fresh = policy.time_to_live(now).min(self.rule.fresh);
        // Nobody is stored as unknown: whoever is hidden or sealed is asked for each time, and would be told apart.
        if matches!(found, Found::Unknown) || !policy.is_storable() || (fresh.is_zero() && validators.is_empty()) {
            stored.invalidate(&self.key);
            return;
        }
        let fresh_until = now + fresh;
        // The weight counts the record alone.
        let found = found.compact();
        let kept = Stored { found, policy, validators, checked_at: now, fresh_until };
        stored.insert(self.key.clone(), Arc::new(kept));
    }

    fn request(&self) -> Request<()> {
        let mut request = Request::new(());
        if let Ok(target) = self.key.upstream.target.expose().parse() {
            *request.uri_mut() = target;
        }
        request
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        // Followers see the sender go: those who come later must find no flight that nobody flies.
        if self.rule.scope != CacheScope::Off {
            self.cache.flights().remove(&(self.key.clone(), self.rule.stale_if_error));
        }
    }
}

impl Stored {
    fn is_fresh(&self, rule: &CacheRule, now: SystemTime) -> bool {
        now < self.fresh_until(rule)
    }

    /// RFC 5861, section 4, as far as the contract of the operation that asks allows it; never past `must-revalidate`.
    fn may_stand_in(&self, rule: &CacheRule, now: SystemTime) -> bool {
        now < self.fresh_until(rule) + rule.stale_if_error && !self.validators.must_revalidate
    }

    /// By the rule of the operation that asks, which need not be the one that stored it.
    fn fresh_until(&self, rule: &CacheRule) -> SystemTime {
        self.fresh_until.min(self.checked_at + rule.fresh)
    }

    fn weight(&self, key: &Key) -> u32 {
        let record = match &self.found {
            Found::Record(raw) => raw.len(),
            Found::Unknown => 0,
        };
        u32::try_from(OVERHEAD + record + key.upstream.target.expose().len()).unwrap_or(u32::MAX)
    }
}

/// What a register may be asked to compare its record with (RFC 9110, section 13.1).
#[derive(Clone, Debug, Default)]
pub struct Validators {
    etag: Option<HeaderValue>,
    last_modified: Option<HeaderValue>,
    must_revalidate: bool,
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
        let must_revalidate = headers
            .get_all(header::CACHE_CONTROL)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|directive| matches!(directive.trim(), "must-revalidate" | "proxy-revalidate" | "no-cache"));
        Self {
            etag: headers.get(header::ETAG).cloned(),
            last_modified: headers.get(header::LAST_MODIFIED).cloned(),
            must_revalidate,
        }
    }
}

fn response(status: StatusCode, headers: &HeaderMap) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    response.headers_mut().clone_from(headers);
    response
}

/// What an entry costs beside its record, in bytes, roughly: the policy's headers, the key, the store's own.
const OVERHEAD: usize = 1024;

/// A shared cache (RFC 9111), without heuristic freshness: what a register does not say is not assumed.
const OPTIONS: CacheOptions = CacheOptions {
    shared: true,
    cache_heuristic: 0.0,
    immutable_min_time_to_live: Duration::ZERO,
    ignore_cargo_cult: false,
};

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use popgate_policy::contract::Method;
    use popgate_policy::disclose::Raw;
    use popgate_policy::model::{Personal, RegisterId};

    use super::*;
    use crate::forward::Origin;

    #[test]
    fn a_stored_record_does_not_hold_the_buffer_that_it_was_read_into() {
        let cache = Cache::new(1 << 20);
        let upstream = UpstreamRequest {
            register: RegisterId::new("population"),
            method: Method::Get,
            target: Personal::new("/persons/1".into()),
        };
        let key = Key { upstream, agency: None, sealed: false };
        let rule =
            CacheRule { scope: CacheScope::Shared, fresh: Duration::from_secs(60), stale_if_error: Duration::ZERO };
        let buffer = Bytes::from(vec![b'1'; 64 << 10]);
        let answer = Answer {
            found: Some(Found::Record(Raw::seal(buffer.slice(..16)))),
            status: StatusCode::OK,
            headers: [(header::CACHE_CONTROL, HeaderValue::from_static("max-age=60"))].into_iter().collect(),
            origin: Origin::default(),
        };
        let leader = Leader { cache: &cache, key: key.clone(), rule, stale: None, landing: None };
        drop(leader.land(Ok(answer), SystemTime::UNIX_EPOCH));
        assert!(cache.stored.as_ref().unwrap().get(&key).is_some());
        assert!(buffer.is_unique());
    }
}
