//! What is stored of a register's answer, and how long a contract's rule lets it be used.

use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use popgate_caching::rules::{Policy, Stored, Variant};
use popgate_policy::contract::CacheRule;
use popgate_policy::model::AgencyId;

use crate::clock::Moment;
use crate::forward::Found;

/// A stored answer.
pub(super) struct Entry {
    /// What the register has.
    pub(super) found: Found,
    /// How a record may be used; of somebody unknown it is the contract alone that says.
    pub(super) terms: Option<Terms>,
    /// Who asked for it, or had it validated last.
    pub(super) filled_by: AgencyId,
    /// When the register was last asked for it, in milliseconds after the cache's origin.
    pub(super) asked_at: u64,
}

/// How a record may be used: what [`Stored`] says, in a fifth of the memory.
pub(super) struct Terms {
    policy: Policy,
    age_at_arrival: Duration,
    arrived: SystemTime,
    /// The same on the clock that is never set back.
    landed: Instant,
    made: i64,
    /// The fields that the rules may need, one a line.
    fields: Box<[u8]>,
}

/// Whether a record may be answered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Use {
    /// It is fresh.
    Fresh,
    /// It is stale, and may be used while it is fetched anew (RFC 5861, section 3).
    Meanwhile,
    /// The register has to be asked.
    No,
}

impl Entry {
    /// On the heap beside the entry itself, in bytes.
    pub(super) fn heap(&self) -> usize {
        let record = match &self.found {
            Found::Record(raw) => raw.len(),
            Found::Unknown => 0,
        };
        record + self.terms.as_ref().map_or(0, |terms| terms.fields.len())
    }

    /// Whether the register was asked so lately.
    pub(super) fn was_asked_within(&self, window: Duration, now: u64) -> bool {
        let since = now.saturating_sub(self.asked_at);
        u128::from(since) < window.as_millis()
    }
}

impl Terms {
    /// Keeps of the fields what decides over the record's further use.
    pub(super) fn of(stored: &Stored, now: Instant) -> Self {
        let mut fields = Vec::new();
        for (name, value) in stored.headers.iter().filter(|(name, _)| NEEDED.contains(&name.as_str())) {
            fields.extend_from_slice(name.as_str().as_bytes());
            fields.push(b':');
            fields.extend_from_slice(value.as_bytes());
            fields.push(b'\n');
        }
        let Stored { policy, age_at_arrival, arrived, made, .. } = *stored;
        Self { policy, age_at_arrival, arrived, landed: now, made, fields: fields.into() }
    }

    /// As the rules want it: what a 304 says goes into that.
    pub(super) fn to_stored(&self) -> Stored {
        let Self { policy, age_at_arrival, arrived, made, .. } = *self;
        let (status, variant) = (StatusCode::OK, Variant::default());
        Stored { status, headers: self.headers(), variant, policy, age_at_arrival, arrived, made }
    }

    /// The fields.
    pub(super) fn headers(&self) -> HeaderMap {
        let lines = self.fields.split(|byte| *byte == b'\n');
        let field = |line: &[u8]| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = line.split_at_checked(colon)?;
            Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value.get(1..)?).ok()?))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in lines.filter_map(field) {
            headers.append(name, value);
        }
        headers
    }

    /// How old it is (RFC 9111, section 4.2.3), whatever becomes of the wall's clock.
    pub(super) fn age(&self, at: Moment) -> Duration {
        let here = at.wall.duration_since(self.arrived).unwrap_or_default();
        self.age_at_arrival.saturating_add(here.max(at.now.saturating_duration_since(self.landed)))
    }

    /// How old it was when it came.
    pub(super) fn age_at_arrival(&self) -> Duration {
        self.age_at_arrival
    }

    /// How long the register alone would let it be fresh from its age zero.
    pub(super) fn fresh_by_register(&self) -> Duration {
        if self.policy.always_validate { Duration::ZERO } else { self.policy.fresh_for }
    }

    /// How long it is fresh from its age zero, as the register and that contract say. The rule is that of the operation that asks,
    /// which need not be the one that stored it.
    pub(super) fn fresh_for(&self, rule: &CacheRule) -> Duration {
        self.fresh_by_register().min(rule.fresh)
    }

    /// Seconds until it is stale; below zero once it is.
    pub(super) fn ttl(&self, rule: &CacheRule, at: Moment) -> i64 {
        let whole = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        whole(self.fresh_for(rule)) - whole(self.age(at))
    }

    /// Whether it may be answered with, to somebody who wants it no older than that.
    pub(super) fn usable(&self, rule: &CacheRule, youngest: Option<Duration>, at: Moment) -> Use {
        let (age, fresh_for) = (self.age(at), self.fresh_for(rule));
        if youngest.is_some_and(|most| age > most || most.is_zero()) {
            Use::No
        } else if age < fresh_for {
            Use::Fresh
        } else if !self.policy.never_stale && age < fresh_for.saturating_add(self.meanwhile(rule)) {
            Use::Meanwhile
        } else {
            Use::No
        }
    }

    /// Whether it may stand in for a register that fails (RFC 5861, section 4); never past `must-revalidate`, nor for somebody who wants
    /// it younger.
    pub(super) fn may_stand_in(&self, rule: &CacheRule, youngest: Option<Duration>, at: Moment) -> bool {
        let age = self.age(at);
        let young = youngest.is_none_or(|most| age <= most && !most.is_zero());
        young && !self.policy.never_stale && age < self.fresh_for(rule).saturating_add(self.if_error(rule))
    }

    /// How long from now it is of any use to somebody with that rule.
    pub(super) fn useful(&self, rule: &CacheRule, at: Moment) -> Duration {
        // Another operation's rule may let it be fresh for longer.
        let fresh = self.policy.fresh_for;
        let stale =
            if self.policy.never_stale { Duration::ZERO } else { self.meanwhile(rule).max(self.if_error(rule)) };
        let validated = if self.can_be_validated() { VALIDATED } else { Duration::ZERO };
        fresh.saturating_add(stale.max(validated)).saturating_sub(self.age(at)).min(LONGEST)
    }

    fn can_be_validated(&self) -> bool {
        let fields = &*self.fields;
        let has = |name: &[u8]| fields.split(|byte| *byte == b'\n').any(|line| line.starts_with(name));
        has(b"etag:") || has(b"last-modified:")
    }

    /// What the register says the contract may shorten; where it says nothing, the contract may allow it.
    fn meanwhile(&self, rule: &CacheRule) -> Duration {
        let said = self.policy.says_how_stale.while_revalidate.then_some(self.policy.stale_while_revalidate);
        said.unwrap_or(Duration::MAX).min(rule.stale_while_revalidate)
    }

    fn if_error(&self, rule: &CacheRule) -> Duration {
        let said = self.policy.says_how_stale.if_error.then_some(self.policy.stale_if_error);
        said.unwrap_or(Duration::MAX).min(rule.stale_if_error)
    }
}

/// Records are not for logs.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry(..)")
    }
}

/// The fields that the rules read of what is stored.
const NEEDED: [&str; 10] = [
    "cache-control",
    "gateway-cache-control",
    "pragma",
    "date",
    "expires",
    "etag",
    "last-modified",
    "vary",
    "surrogate-key",
    "cache-tag",
];
/// How long a stale record is kept to be validated.
const VALIDATED: Duration = Duration::from_secs(600);
/// Nothing of a person is in memory for longer without being asked for anew.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);
