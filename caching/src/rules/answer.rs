//! What to do for a request with what is stored (RFC 9111 section 4; RFC 5861).

use std::time::SystemTime;

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::conditions::{Judgement, evaluate};
use super::directives::Request;
use super::keep::Stored;
use super::settings::Asked;
use super::{Rulebook, date};

/// What to do. An index is one into the responses that were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Answer from this one.
    Hit {
        /// Which one.
        index: usize,
        /// It is stale: fetch it anew in the background, as [`Answer::Validate`] says (RFC 5861 section 3).
        refresh: bool,
    },
    /// Ask the origin whether this one is still good: without the client's own conditions and range, with these
    /// (RFC 9111 section 4.3.1). Everybody who waits for it may share the answer where `collapse` says so.
    Validate {
        /// Which one.
        index: usize,
        /// The conditions.
        conditions: Vec<(HeaderName, HeaderValue)>,
        /// Why.
        why: Forward,
        /// Whether one request may serve several.
        collapse: bool,
    },
    /// Ask the origin.
    Forward {
        /// Why.
        why: Forward,
        /// This one may stand in where the origin fails, if [`Rulebook::covers_failure`] says so then.
        index: Option<usize>,
        /// Whether one request may serve several; the client's own conditions and range are not in it then.
        collapse: bool,
    },
    /// Answer 504: only what is stored was wanted (RFC 9111 section 5.2.1.7).
    Unavailable,
}

/// Why the origin is asked (RFC 9211 section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// The cache was told not to handle it.
    Bypass,
    /// The method is not one that is answered from a cache.
    Method,
    /// Nothing is stored for the target.
    UriMiss,
    /// What is stored is for other requests.
    VaryMiss,
    /// The request says so.
    Request,
    /// What is stored is stale.
    Stale,
}

impl Forward {
    /// As in `Cache-Status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
        }
    }
}

impl Rulebook {
    /// What to do for a request, when these responses are stored for its target.
    pub fn answer(&self, asked: &Asked<'_>, stored: &[&Stored], now: SystemTime) -> Answer {
        if *asked.method != Method::GET && *asked.method != Method::HEAD {
            return forward(Forward::Method, None, false);
        }
        if asked.has_content() {
            return forward(Forward::Bypass, None, false);
        }
        let said = Request::of(asked.headers);
        let shares = may_share(asked, &said);
        let collapse = shares && !asked.is_particular();
        let Some((index, chosen)) = choose(asked, stored) else {
            let why = if stored.is_empty() { Forward::UriMiss } else { Forward::VaryMiss };
            return unless_only_cached(&said, forward(why, None, collapse));
        };
        let (use_it, why) = self.usable(&said, chosen, now);
        if let Some(refresh) = use_it {
            return match self.is_the_origins(asked, chosen) {
                false => Answer::Hit { index, refresh },
                true => unless_only_cached(&said, forward(Forward::Request, None, false)),
            };
        }
        let validate = chosen.has_validator() && *asked.method == Method::GET && !self.is_the_origins(asked, chosen);
        let answer = match validate {
            // It carries our conditions, not the client's; so a client with conditions may share it.
            true => Answer::Validate { index, conditions: conditions(chosen), why, collapse: shares },
            false => forward(why, Some(index), collapse),
        };
        unless_only_cached(&said, answer)
    }

    /// Whether a stored response answers although the origin failed: with this status, or `None`: not at all (RFC 5861
    /// section 4; RFC 9111 section 4.2.4).
    pub fn covers_failure(
        &self,
        asked: &Asked<'_>,
        stored: &Stored,
        status: Option<StatusCode>,
        now: SystemTime,
    ) -> bool {
        let failed = status.is_none_or(|status| matches!(status.as_u16(), 500 | 502 | 503 | 504));
        let policy = &stored.policy;
        let said = Request::of(asked.headers);
        if !failed || policy.never_stale || said.no_cache || !stored.variant.matches(asked.headers) {
            return false;
        }
        let staleness = stored.staleness(now);
        if status.is_none() && self.settings().stale_when_disconnected && staleness <= policy.max_stale {
            return true;
        }
        let accepted = said.stale_if_error.filter(|_| self.settings().requests_accept_stale);
        let accepted = accepted.map(|time| time.min(policy.max_stale)).unwrap_or_default();
        staleness < policy.stale_if_error.max(accepted)
    }

    /// Whether it answers: `Some(false)` as it is, `Some(true)` while it is fetched anew; and why not.
    fn usable(&self, said: &Request, stored: &Stored, now: SystemTime) -> (Option<bool>, Forward) {
        let policy = &stored.policy;
        let age = stored.age(now);
        let left = stored.fresh_left(now);
        if said.no_cache {
            return (None, Forward::Request);
        }
        if policy.always_validate {
            return (None, Forward::Stale);
        }
        let young = said.max_age.is_none_or(|most| age <= most);
        match left {
            Some(left) => {
                let good = young && said.min_fresh.is_none_or(|least| left >= least);
                (good.then_some(false), Forward::Request)
            }
            None if policy.never_stale || said.min_fresh.is_some() => (None, Forward::Stale),
            None => {
                let staleness = stored.staleness(now);
                let accepts = said.max_stale.filter(|_| self.settings().requests_accept_stale);
                let accepted = accepts.is_some_and(|most| staleness <= most.min(policy.max_stale));
                let meanwhile = staleness < policy.stale_while_revalidate;
                let good = young && (accepted || meanwhile);
                (good.then_some(meanwhile), Forward::Stale)
            }
        }
    }

    /// Whether `If-Match` or `If-Unmodified-Since` asks for what is not stored: that is for the origin to refuse.
    fn is_the_origins(&self, asked: &Asked<'_>, stored: &Stored) -> bool {
        let arrived = date::seconds(stored.arrived);
        !self.settings().answers_preconditions
            && evaluate(asked.method, asked.headers, &stored.headers, arrived) == Judgement::Failed
    }
}

/// The youngest that is for such a request (RFC 9111 section 4.1: the most recent `Date`).
pub(crate) fn choose<'a>(asked: &Asked<'_>, stored: &[&'a Stored]) -> Option<(usize, &'a Stored)> {
    let fit = stored.iter().enumerate().filter(|(_, stored)| stored.variant.matches(asked.headers));
    fit.max_by_key(|(_, stored)| (stored.made, stored.arrived)).map(|(index, stored)| (index, *stored))
}

/// RFC 9111 section 4.3.1.
fn conditions(stored: &Stored) -> Vec<(HeaderName, HeaderValue)> {
    let pairs = [(header::ETAG, header::IF_NONE_MATCH), (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE)];
    let pair = |(from, to): (HeaderName, HeaderName)| stored.headers.get(from).map(|value| (to, value.clone()));
    pairs.into_iter().filter_map(pair).collect()
}

/// Whoever wants it younger than what is stored wants the origin asked after now; so that is for nobody else.
fn may_share(asked: &Asked<'_>, said: &Request) -> bool {
    let wants_newer = said.no_cache || said.no_store || said.max_age.is_some() || said.min_fresh.is_some();
    let guards = [header::IF_MATCH, header::IF_UNMODIFIED_SINCE];
    *asked.method == Method::GET && !wants_newer && guards.iter().all(|name| !asked.headers.contains_key(name))
}

fn forward(why: Forward, index: Option<usize>, collapse: bool) -> Answer {
    Answer::Forward { why, index, collapse }
}

fn unless_only_cached(said: &Request, answer: Answer) -> Answer {
    if said.only_if_cached { Answer::Unavailable } else { answer }
}
