//! A request, a response and a moment, for the tests beside this file.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::rules::{Asked, Limits, NotStored, Rulebook, Settings, Stored, Times};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode, Uri};

pub(super) struct World {
    pub(super) rules: Rulebook,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) request: HeaderMap,
    pub(super) status: StatusCode,
    pub(super) limits: Limits,
}

impl Default for World {
    fn default() -> Self {
        Self::under(Settings::default())
    }
}

impl World {
    pub(super) fn under(settings: Settings) -> Self {
        Self {
            rules: Rulebook::new(settings),
            method: Method::GET,
            uri: "http://register.example/r/1?q".parse().unwrap(),
            request: HeaderMap::new(),
            status: StatusCode::OK,
            limits: Limits::default(),
        }
    }

    pub(super) fn asking(self, pairs: &[(&'static str, &str)]) -> Self {
        Self { request: headers(pairs), ..self }
    }

    pub(super) fn asked(&self) -> Asked<'_> {
        Asked { method: &self.method, uri: &self.uri, headers: &self.request }
    }

    /// A response that came at the moment 0.
    pub(super) fn keep(&self, pairs: &[(&'static str, &str)]) -> Result<Stored, NotStored> {
        self.keep_at(pairs, 0)
    }

    pub(super) fn keep_at(&self, pairs: &[(&'static str, &str)], secs: i64) -> Result<Stored, NotStored> {
        self.rules.keep(&self.asked(), self.status, &headers(pairs), times(secs), &self.limits)
    }
}

pub(super) fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair =
        |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    pairs.iter().map(pair).collect()
}

/// So many seconds from the moment 0, which is in October 2026.
pub(super) fn at(secs: i64) -> SystemTime {
    let since = u64::try_from(1_790_812_800 + secs).unwrap();
    UNIX_EPOCH + Duration::from_secs(since)
}

pub(super) fn times(secs: i64) -> Times {
    Times { asked_at: at(secs), got_at: at(secs) }
}

pub(super) fn date(secs: i64) -> String {
    httpdate::fmt_http_date(at(secs))
}
