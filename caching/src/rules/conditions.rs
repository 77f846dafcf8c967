//! Conditional requests against a stored response (RFC 9110 section 13; RFC 9111 section 4.3.2).

use http::header::{self, HeaderName};
use http::{HeaderMap, Method};

use super::date;
use super::tag::{self, Tag};

/// What the conditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The response goes as it would without them.
    Proceed,
    /// The client has it: 304.
    NotModified,
    /// A condition is not met: 412.
    Failed,
}

/// Judges the conditions of a request by the fields of the response that it would get with 200.
///
/// In the order of RFC 9110 section 13.2.2. `arrived` is when the response came, in seconds since 1970: it stands for
/// `Last-Modified` and `Date` where both are missing (RFC 9111 section 4.3.2).
pub fn evaluate(method: &Method, request: &HeaderMap, response: &HeaderMap, arrived: i64) -> Judgement {
    if !meets_match(request, response, arrived) {
        return Judgement::Failed;
    }
    let safe = *method == Method::GET || *method == Method::HEAD;
    let changed = if request.contains_key(header::IF_NONE_MATCH) {
        !names(request, &header::IF_NONE_MATCH, response, |one, other| one.is_like(other))
    } else if safe {
        modified_since(request, response, arrived)
    } else {
        true
    };
    match (changed, safe) {
        (true, _) => Judgement::Proceed,
        (false, true) => Judgement::NotModified,
        (false, false) => Judgement::Failed,
    }
}

/// `If-Match`, else `If-Unmodified-Since`.
fn meets_match(request: &HeaderMap, response: &HeaderMap, arrived: i64) -> bool {
    if request.contains_key(header::IF_MATCH) {
        return names(request, &header::IF_MATCH, response, |one, other| one.is(other));
    }
    let since = date::only(request, &header::IF_UNMODIFIED_SINCE, arrived);
    match (since, date::only(response, &header::LAST_MODIFIED, arrived)) {
        (Some(since), Some(changed)) => changed <= since,
        // RFC 9110 section 13.1.4: without a date on either side the condition is ignored.
        _ => true,
    }
}

fn modified_since(request: &HeaderMap, response: &HeaderMap, arrived: i64) -> bool {
    let Some(since) = date::only(request, &header::IF_MODIFIED_SINCE, arrived) else {
        return true;
    };
    let changed = date::only(response, &header::LAST_MODIFIED, arrived);
    changed.or_else(|| date::only(response, &header::DATE, arrived)).unwrap_or(arrived) > since
}

/// Whether a list of tags names the response; `*` names any.
fn names(
    request: &HeaderMap,
    field: &HeaderName,
    response: &HeaderMap,
    same: impl Fn(&Tag<'_>, &Tag<'_>) -> bool,
) -> bool {
    let ours = Tag::of_response(response);
    tag::all(request, field).any(|theirs| theirs.opaque == b"*" || ours.is_some_and(|ours| same(&ours, &theirs)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const EARLY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATE: &str = "Mon, 07 Nov 1994 08:49:37 GMT";
    const ARRIVED: i64 = 1_790_000_000;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn get(request: &[(&'static str, &str)], response: &[(&'static str, &str)]) -> Judgement {
        evaluate(&Method::GET, &headers(request), &headers(response), ARRIVED)
    }

    /// RFC 9110 section 13.1.2: weak comparison, any of several; `*`.
    #[test]
    fn if_none_match() {
        let strong = [("etag", "\"a\"")];
        for text in ["\"a\"", "W/\"a\"", "\"x\", \"a\", \"y\"", "*"] {
            assert_eq!(get(&[("if-none-match", text)], &strong), Judgement::NotModified, "{text}");
        }
        assert_eq!(get(&[("if-none-match", "\"b\"")], &strong), Judgement::Proceed);
        assert_eq!(get(&[("if-none-match", "a")], &strong), Judgement::Proceed);
        assert_eq!(get(&[("if-none-match", "\"a\"")], &[]), Judgement::Proceed);
        let post = evaluate(&Method::POST, &headers(&[("if-none-match", "*")]), &headers(&strong), ARRIVED);
        assert_eq!(post, Judgement::Failed);
    }

    /// RFC 9110 section 13.2.2: `If-None-Match` decides alone.
    #[test]
    fn if_none_match_outweighs_if_modified_since() {
        let response = [("etag", "\"a\""), ("last-modified", LATE)];
        let hit = [("if-none-match", "\"a\""), ("if-modified-since", EARLY)];
        assert_eq!(get(&hit, &response), Judgement::NotModified);
        let miss = [("if-none-match", "\"b\""), ("if-modified-since", LATE)];
        assert_eq!(get(&miss, &response), Judgement::Proceed);
    }

    /// RFC 9110 section 13.1.3, RFC 9111 section 4.3.2.
    #[test]
    fn if_modified_since() {
        let asked = [("if-modified-since", LATE)];
        assert_eq!(get(&asked, &[("last-modified", EARLY)]), Judgement::NotModified);
        assert_eq!(get(&asked, &[("last-modified", LATE)]), Judgement::NotModified);
        assert_eq!(get(&[("if-modified-since", EARLY)], &[("last-modified", LATE)]), Judgement::Proceed);
        assert_eq!(get(&asked, &[("date", EARLY)]), Judgement::NotModified, "the date stands for it");
        assert_eq!(get(&asked, &[]), Judgement::Proceed, "when it came stands for it");
        assert_eq!(get(&[("if-modified-since", "soon")], &[("last-modified", EARLY)]), Judgement::Proceed);
    }

    /// RFC 9110 sections 13.1.1 and 13.1.4.
    #[test]
    fn if_match_and_if_unmodified_since() {
        assert_eq!(get(&[("if-match", "\"a\"")], &[("etag", "\"a\"")]), Judgement::Proceed);
        assert_eq!(get(&[("if-match", "\"a\"")], &[("etag", "W/\"a\"")]), Judgement::Failed, "strong comparison");
        assert_eq!(get(&[("if-match", "*")], &[]), Judgement::Proceed);
        assert_eq!(get(&[("if-unmodified-since", EARLY)], &[("last-modified", LATE)]), Judgement::Failed);
        assert_eq!(get(&[("if-unmodified-since", EARLY)], &[]), Judgement::Proceed);
        let both = [("if-match", "\"b\""), ("if-none-match", "\"a\"")];
        assert_eq!(get(&both, &[("etag", "\"a\"")]), Judgement::Failed, "it comes first");
    }
}
