//! The directives of `Cache-Control` (RFC 9111 section 5.2; RFC 5861).
//!
//! What is unclear is read in the way that keeps and reuses less: a time that is not a number is none at all, two times
//! that differ are none (RFC 9111 section 4.2.1), and a field that ends within a quoted string may hide anything, so it
//! forbids storing.

use std::time::Duration;

use http::HeaderMap;
use http::header::{CACHE_CONTROL, HeaderName, PRAGMA};

use super::list;
use super::structured::Item;

/// What a directive with optional field names is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The response.
    All,
    /// These fields of it.
    Fields(Vec<HeaderName>),
}

/// What a response says (RFC 9111 section 5.2.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// `max-age`.
    pub max_age: Option<Duration>,
    /// `s-maxage`.
    pub s_maxage: Option<Duration>,
    /// `stale-while-revalidate` (RFC 5861 section 3).
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error` (RFC 5861 section 4).
    pub stale_if_error: Option<Duration>,
    /// `no-cache`.
    pub no_cache: Option<Scope>,
    /// `private`.
    pub private: Option<Scope>,
    /// `no-store`.
    pub no_store: bool,
    /// `public`.
    pub public: bool,
    /// `must-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`.
    pub proxy_revalidate: bool,
    /// `must-understand`.
    pub must_understand: bool,
}

/// What a request says (RFC 9111 section 5.2.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `max-age`.
    pub max_age: Option<Duration>,
    /// `max-stale`; the longest time where it stands alone.
    pub max_stale: Option<Duration>,
    /// `min-fresh`.
    pub min_fresh: Option<Duration>,
    /// `stale-if-error` (RFC 5861 section 4).
    pub stale_if_error: Option<Duration>,
    /// `no-cache`, or `Pragma: no-cache` where there is no `Cache-Control` (RFC 9111 section 5.4).
    pub no_cache: bool,
    /// `no-store`.
    pub no_store: bool,
    /// `only-if-cached`.
    pub only_if_cached: bool,
}

impl Response {
    /// What `Cache-Control` says.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut out = Self::default();
        let mut times = Times::default();
        for line in headers.get_all(CACHE_CONTROL) {
            out.no_store |= !list::is_closed(line.as_bytes());
            for (name, value) in list::members(line.as_bytes()).map(directive) {
                out.take(&name, value, &mut times);
            }
        }
        out
    }

    /// What a targeted field says, already read (RFC 9213 section 2.1). `None` where a time is not an Integer: the
    /// field is invalid then.
    pub(crate) fn of_dictionary(members: &[(String, Item)]) -> Option<Self> {
        let mut out = Self::default();
        let mut times = Times::default();
        for (name, item) in members {
            let value = match item {
                Item::Boolean(false) => continue,
                Item::Boolean(true) => None,
                Item::Integer(number) => Some(number.to_string().into_bytes()),
                Item::String(text) | Item::Token(text) => Some(text.clone().into_bytes()),
                Item::List(items) => Some(names(items).into_bytes()),
                Item::Other => Some(Vec::new()),
            };
            if TIMES.contains(&name.as_str()) && !matches!(item, Item::Integer(_)) {
                return None;
            }
            out.take(name, value, &mut times);
        }
        Some(out)
    }

    fn take(&mut self, name: &str, value: Option<Vec<u8>>, times: &mut Times) {
        let time = |slot: &mut Option<Duration>, seen: &mut bool| {
            let next = value.as_deref().and_then(delta).unwrap_or_default();
            *slot = Some(if *seen && *slot != Some(next) { Duration::ZERO } else { next });
            *seen = true;
        };
        match name {
            "max-age" => time(&mut self.max_age, &mut times.max_age),
            "s-maxage" => time(&mut self.s_maxage, &mut times.s_maxage),
            "stale-while-revalidate" => time(&mut self.stale_while_revalidate, &mut times.revalidate),
            "stale-if-error" => time(&mut self.stale_if_error, &mut times.error),
            "no-cache" => widen(&mut self.no_cache, value.as_deref()),
            "private" => widen(&mut self.private, value.as_deref()),
            "no-store" => self.no_store = true,
            "public" => self.public = true,
            "must-revalidate" => self.must_revalidate = true,
            "proxy-revalidate" => self.proxy_revalidate = true,
            "must-understand" => self.must_understand = true,
            _ => {}
        }
    }
}

impl Request {
    /// What a request says.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut out = Self::default();
        for (name, value) in
            headers.get_all(CACHE_CONTROL).iter().flat_map(|line| list::members(line.as_bytes())).map(directive)
        {
            let time = value.as_deref().and_then(delta);
            match name.as_str() {
                "max-age" => out.max_age = Some(out.max_age.unwrap_or(LONGEST).min(time.unwrap_or_default())),
                "max-stale" if value.is_none() => out.max_stale = Some(LONGEST),
                "max-stale" => out.max_stale = time,
                "min-fresh" => out.min_fresh = Some(out.min_fresh.unwrap_or_default().max(time.unwrap_or(LONGEST))),
                "stale-if-error" => out.stale_if_error = time,
                "no-cache" => out.no_cache = true,
                "no-store" => out.no_store = true,
                "only-if-cached" => out.only_if_cached = true,
                _ => {}
            }
        }
        if !headers.contains_key(CACHE_CONTROL) {
            let mut pragma = headers.get_all(PRAGMA).iter().flat_map(|line| list::members(line.as_bytes()));
            out.no_cache = pragma.any(|member| member.eq_ignore_ascii_case(b"no-cache"));
        }
        out
    }
}

/// Which times were said already.
#[derive(Default)]
struct Times {
    max_age: bool,
    s_maxage: bool,
    revalidate: bool,
    error: bool,
}

/// Seconds (RFC 9111 section 1.2.2); beyond the longest time it is the longest.
pub(crate) fn delta(value: &[u8]) -> Option<Duration> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = value.iter().fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Some(Duration::from_secs(number).min(LONGEST))
}

/// A name in lower case, and its value out of its quotes. Spaces about the `=` are part of either and spoil both.
fn directive(member: &[u8]) -> (String, Option<Vec<u8>>) {
    let at = member.iter().position(|byte| *byte == b'=');
    let (name, value) = match at {
        Some(at) => (member.get(..at).unwrap_or_default(), member.get(at + 1..)),
        None => (member, None),
    };
    // What has a space before its `=` is the directive it looks like, without a time.
    let spoilt = name.len() != name.trim_ascii().len();
    let name = String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase();
    let value =
        value.map(|value| if spoilt { Vec::new() } else { list::unquoted(value).unwrap_or_else(|| value.to_vec()) });
    (name, value)
}

/// A directive without field names outweighs those with some.
fn widen(scope: &mut Option<Scope>, value: Option<&[u8]>) {
    let fields = value.map(|value| list::members(value).map(HeaderName::from_bytes).collect::<Result<Vec<_>, _>>());
    *scope = Some(match (scope.take(), fields) {
        (Some(Scope::All), _) | (_, None | Some(Err(_))) => Scope::All,
        (_, Some(Ok(more))) if more.is_empty() => Scope::All,
        (None, Some(Ok(more))) => Scope::Fields(more),
        (Some(Scope::Fields(mut known)), Some(Ok(more))) => {
            known.extend(more);
            Scope::Fields(known)
        }
    });
}

fn names(items: &[Item]) -> String {
    let text = |item: &Item| match item {
        Item::String(text) | Item::Token(text) => text.clone(),
        _ => "?".to_owned() + " ",
    };
    items.iter().map(text).collect::<Vec<_>>().join(",")
}

const TIMES: [&str; 4] = ["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"];

/// RFC 9111 section 1.2.2: 2^31 seconds stand for all that is more.
pub(crate) const LONGEST: Duration = Duration::from_secs(1 << 31);

#[cfg(test)]
#[path = "directives/tests.rs"]
mod tests;
