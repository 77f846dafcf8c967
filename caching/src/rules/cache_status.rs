//! `Cache-Status` (RFC 9211): how this cache handled a request, in one member of a list.

use std::fmt::Write;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::answer::Forward;

/// One member. The key is never part of it: it would tell who was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStatus<'a> {
    /// The name of the cache.
    pub cache: &'a str,
    /// It was answered from what is stored, without the origin (section 2.1). Excludes `forward`.
    pub hit: bool,
    /// Why the origin was asked (section 2.2).
    pub forward: Option<Forward>,
    /// What it answered (section 2.3); left out where the client gets the same.
    pub forward_status: Option<u16>,
    /// Seconds until the response is stale (section 2.4 of the list of parameters, `ttl`).
    pub ttl: Option<i64>,
    /// It was stored (`stored`).
    pub stored: bool,
    /// It waited for the request of another (`collapsed`).
    pub collapsed: bool,
    /// What else there is to say, for people (`detail`). MUST NOT tell anything about a person.
    pub detail: Option<&'a str>,
}

impl CacheStatus<'_> {
    /// The member as text.
    pub fn member(&self) -> String {
        let mut out = name(self.cache);
        if self.hit {
            out.push_str("; hit");
        } else if let Some(why) = self.forward {
            let _ = write!(out, "; fwd={}", why.as_str());
            if let Some(status) = self.forward_status {
                let _ = write!(out, "; fwd-status={status}");
            }
            out.push_str(if self.stored { "; stored" } else { "" });
            out.push_str(if self.collapsed { "; collapsed" } else { "" });
        }
        if let Some(ttl) = self.ttl {
            let _ = write!(out, "; ttl={ttl}");
        }
        if let Some(detail) = self.detail {
            let _ = write!(out, "; detail={}", string(detail));
        }
        out
    }

    /// Adds it to a response, after what caches nearer to the origin said (section 2).
    pub fn append_to(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(&self.member()) {
            headers.append(FIELD.clone(), value);
        }
    }
}

/// A Token where it can be one, else a String.
fn name(cache: &str) -> String {
    let first = cache.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'*');
    let token = |byte: u8| super::structured::is_token(byte) || byte == b':' || byte == b'/';
    if first && cache.bytes().all(token) { cache.to_owned() } else { string(cache) }
}

/// A String; what cannot be in one is left out.
fn string(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars().filter(|letter| (' '..='~').contains(letter)) {
        if letter == '"' || letter == '\\' {
            out.push('\\');
        }
        out.push(letter);
    }
    out.push('"');
    out
}

static FIELD: HeaderName = HeaderName::from_static("cache-status");

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9211 section 3, its examples.
    #[test]
    fn members_are_written_as_in_the_examples() {
        let none = CacheStatus { cache: "ExampleCache", ..CacheStatus::default() };
        let hit = CacheStatus { hit: true, ttl: Some(30), forward: Some(Forward::Stale), ..none };
        assert_eq!(hit.member(), "ExampleCache; hit; ttl=30");
        let stale = CacheStatus { hit: true, ttl: Some(-412), ..none };
        assert_eq!(stale.member(), "ExampleCache; hit; ttl=-412");
        let fetched = CacheStatus {
            forward: Some(Forward::Stale),
            forward_status: Some(304),
            stored: true,
            collapsed: true,
            ttl: Some(5),
            detail: Some("a \"b\" \u{fc}"),
            ..none
        };
        let text = "ExampleCache; fwd=stale; fwd-status=304; stored; collapsed; ttl=5; detail=\"a \\\"b\\\" \"";
        assert_eq!(fetched.member(), text);
        assert_eq!(CacheStatus { cache: "my cache", ..none }.member(), "\"my cache\"");
    }

    /// RFC 9211 section 2: the cache nearest to the origin comes first.
    #[test]
    fn it_comes_after_what_others_said() {
        let mut headers: HeaderMap = [(FIELD.clone(), HeaderValue::from_static("Origin; hit"))].into_iter().collect();
        CacheStatus { cache: "popgate", forward: Some(Forward::UriMiss), ..CacheStatus::default() }
            .append_to(&mut headers);
        let all: Vec<_> = headers.get_all(&FIELD).iter().collect();
        assert_eq!(all, ["Origin; hit", "popgate; fwd=uri-miss"]);
    }
}
