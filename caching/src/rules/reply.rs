//! The answer from a stored response (RFC 9111 section 4; RFC 9110 sections 13.2.2, 14.2 and 15.4.5).

use std::ops::Range;
use std::time::SystemTime;

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};

use super::conditions::{Judgement, evaluate};
use super::keep::Stored;
use super::range::{self, Wanted};
use super::settings::Asked;
use super::{Rulebook, date, targeted};

/// What a client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its fields, with `Age`.
    pub headers: HeaderMap,
    /// How much of the content goes with it.
    pub part: Part,
}

/// How much of the stored content goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All.
    Whole,
    /// These bytes.
    Bytes(Range<u64>),
    /// Nothing.
    Nothing,
}

impl Rulebook {
    /// The answer to a request from a response that [`Rulebook::answer`] chose, or that was just found unchanged.
    ///
    /// `length` is how many bytes it has, as far as that is known: without it there are no ranges.
    pub fn reply(&self, asked: &Asked<'_>, stored: &Stored, length: Option<u64>, now: SystemTime) -> Reply {
        let mut headers = stored.headers.clone();
        headers.insert(header::AGE, HeaderValue::from(stored.age(now).as_secs()));
        let arrived = date::seconds(stored.arrived);
        // RFC 9110 section 13.2.1: conditions count where the answer would be a good one. The answer to another method
        // is the origin's own word.
        let reads = *asked.method == Method::GET || *asked.method == Method::HEAD;
        let judged = match reads && stored.status.is_success() {
            true => evaluate(asked.method, asked.headers, &stored.headers, arrived),
            false => Judgement::Proceed,
        };
        match judged {
            Judgement::NotModified => return self.not_modified(headers),
            Judgement::Failed if self.settings().answers_preconditions => {
                return nothing(StatusCode::PRECONDITION_FAILED, only_date(&headers));
            }
            Judgement::Failed | Judgement::Proceed => {}
        }
        if *asked.method == Method::HEAD {
            return Reply { status: stored.status, headers, part: Part::Nothing };
        }
        match (stored.status, length) {
            (StatusCode::OK, Some(length)) => ranged(asked, headers, arrived, length),
            _ => Reply { status: stored.status, headers, part: Part::Whole },
        }
    }

    /// RFC 9110 section 15.4.5: what the client may not know yet, and nothing that describes the content it has.
    fn not_modified(&self, mut headers: HeaderMap) -> Reply {
        let has_tag = headers.contains_key(header::ETAG);
        let targeted = targeted::names(self.settings()).map(HeaderName::from_static);
        let good: Vec<HeaderName> = KEPT_IN_304.iter().cloned().chain(targeted).collect();
        let doomed: Vec<HeaderName> = headers
            .keys()
            .filter(|name| !good.contains(name) || (has_tag && **name == header::LAST_MODIFIED))
            .cloned()
            .collect();
        doomed.iter().for_each(|name| drop(headers.remove(name)));
        nothing(StatusCode::NOT_MODIFIED, headers)
    }
}

fn ranged(asked: &Asked<'_>, mut headers: HeaderMap, arrived: i64, length: u64) -> Reply {
    match range::wanted(asked.method, asked.headers, &headers, arrived, length) {
        Wanted::Whole => Reply { status: StatusCode::OK, headers, part: Part::Whole },
        Wanted::Part(part) => {
            let text = format!("bytes {}-{}/{length}", part.start, part.end.saturating_sub(1));
            insert(&mut headers, header::CONTENT_RANGE, &text);
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(part.end.saturating_sub(part.start)));
            Reply { status: StatusCode::PARTIAL_CONTENT, headers, part: Part::Bytes(part) }
        }
        Wanted::Unsatisfiable => {
            let mut headers = only_date(&headers);
            insert(&mut headers, header::CONTENT_RANGE, &format!("bytes */{length}"));
            nothing(StatusCode::RANGE_NOT_SATISFIABLE, headers)
        }
    }
}

fn nothing(status: StatusCode, headers: HeaderMap) -> Reply {
    Reply { status, headers, part: Part::Nothing }
}

fn only_date(headers: &HeaderMap) -> HeaderMap {
    headers.get(header::DATE).map(|value| (header::DATE, value.clone())).into_iter().collect()
}

fn insert(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

static KEPT_IN_304: [HeaderName; 8] = [
    header::AGE,
    header::CACHE_CONTROL,
    header::CONTENT_LOCATION,
    header::DATE,
    header::ETAG,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::VARY,
];
