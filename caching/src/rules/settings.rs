//! What is decided once for a cache, what a contract shortens, and what is asked.

use std::time::Duration;

use http::{HeaderMap, Method, Uri, header};

/// What is decided once, when a cache is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether `CDN-Cache-Control` counts too, after `Gateway-Cache-Control` (RFC 9213 section 2.2: the target list).
    pub honour_cdn: bool,
    /// How long a response is fresh that does not say so (RFC 9111 section 4.2.2). `None`: not at all.
    pub heuristic: Option<Heuristic>,
    /// Whether a request may accept what is stale (`max-stale`, and `stale-if-error` in a request). Never more than the
    /// response and its [`Limits`] allow.
    pub requests_accept_stale: bool,
    /// Whether a stale response answers while the origin cannot be reached, although it does not say `stale-if-error`
    /// (RFC 9111 section 4.2.4: "disconnected").
    pub stale_when_disconnected: bool,
    /// Whether `If-Match` and `If-Unmodified-Since` are answered here with 412 (a gateway that stands for the origin),
    /// or go to the origin when what is kept does not fulfil them (RFC 9111 section 4.3.2: not for a cache).
    pub answers_preconditions: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            honour_cdn: false,
            heuristic: None,
            requests_accept_stale: true,
            stale_when_disconnected: false,
            answers_preconditions: false,
        }
    }
}

/// Freshness by the time since the last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heuristic {
    /// So many hundredths of the time between `Last-Modified` and `Date`; 10 is usual.
    pub percent: u32,
    /// At most that long.
    pub at_most: Duration,
}

impl Default for Heuristic {
    fn default() -> Self {
        Self { percent: 10, at_most: Duration::from_secs(24 * 3600) }
    }
}

/// By how much a contract shortens what an origin allows. `None`: what the origin says. It never lengthens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Fresh at most that long, counted from the age zero of the response.
    pub fresh_at_most: Option<Duration>,
    /// Stale at most that long while it is fetched anew.
    pub stale_while_revalidate_at_most: Option<Duration>,
    /// Stale at most that long while the origin fails.
    pub stale_if_error_at_most: Option<Duration>,
    /// Stale at most that long because the request accepts it.
    pub max_stale_at_most: Option<Duration>,
}

/// A request, as the rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its target, absolute (RFC 9110 section 7.1).
    pub uri: &'a Uri,
    /// Its fields.
    pub headers: &'a HeaderMap,
}

impl Asked<'_> {
    /// Whether it has content: a cache cannot know what that means in a GET (RFC 9110 section 9.3.1).
    pub fn has_content(&self) -> bool {
        let length = self.headers.get(header::CONTENT_LENGTH);
        self.headers.contains_key(header::TRANSFER_ENCODING)
            || length.is_some_and(|value| value.as_bytes().iter().any(|byte| *byte != b'0'))
    }

    /// Whether it asks for a part, or under a condition: its answer would serve nobody else.
    pub fn is_particular(&self) -> bool {
        PARTICULAR.iter().any(|name| self.headers.contains_key(name))
    }

    /// The fields for [`Self::is_particular`]: what a cache that asks for itself leaves out (RFC 9111 section 4.3.1).
    pub fn particular_fields() -> &'static [header::HeaderName] {
        &PARTICULAR
    }
}

static PARTICULAR: [header::HeaderName; 6] = [
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_MATCH,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
    header::RANGE,
];
