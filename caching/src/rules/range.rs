//! Ranges of a stored whole response (RFC 9110 section 14).

use std::ops::Range;

use http::header;
use http::{HeaderMap, Method};

use super::date;
use super::tag::Tag;

/// What a request for a range comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it: nothing else was asked for, or the range does not count.
    Whole,
    /// These bytes of it: never empty, within it.
    Part(Range<u64>),
    /// There are no such bytes: 416.
    Unsatisfiable,
}

/// The range that a request gets of a response with that many bytes. Several at once are given the whole, as RFC 9110
/// section 14.2 allows: a list of parts is a cheap way to make much work.
pub(crate) fn wanted(method: &Method, request: &HeaderMap, response: &HeaderMap, arrived: i64, length: u64) -> Wanted {
    let mut lines = request.get_all(header::RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Wanted::Whole;
    };
    if *method != Method::GET || !still_the_same(request, response, arrived) {
        return Wanted::Whole;
    }
    let text = line.to_str().ok().and_then(|text| text.split_once('='));
    let Some((_, set)) = text.filter(|(unit, _)| unit.eq_ignore_ascii_case("bytes")) else {
        return Wanted::Whole;
    };
    one(set.trim_ascii(), length).unwrap_or(Wanted::Whole)
}

/// `None` where it is not one range.
fn one(set: &str, length: u64) -> Option<Wanted> {
    let (first, last) = set.split_once('-')?;
    if first.is_empty() {
        let count = number(last)?;
        let start = length.saturating_sub(count);
        return Some(if count == 0 || length == 0 { Wanted::Unsatisfiable } else { Wanted::Part(start..length) });
    }
    let first = number(first)?;
    let end = if last.is_empty() { length } else { number(last)?.saturating_add(1) };
    if end <= first && !last.is_empty() {
        return None;
    }
    Some(if first >= length { Wanted::Unsatisfiable } else { Wanted::Part(first..end.min(length)) })
}

fn number(text: &str) -> Option<u64> {
    let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    good.then(|| text.parse().unwrap_or(u64::MAX))
}

/// `If-Range` (RFC 9110 section 13.1.5): a strong tag, or a date that is strong: a minute older than the response.
fn still_the_same(request: &HeaderMap, response: &HeaderMap, arrived: i64) -> bool {
    let Some(condition) = request.get(header::IF_RANGE).map(|value| value.as_bytes()) else {
        return true;
    };
    if let Some(since) = date::parse(condition, arrived) {
        let changed = date::only(response, &header::LAST_MODIFIED, arrived);
        let made = date::only(response, &header::DATE, arrived).unwrap_or(arrived);
        return changed == Some(since) && made - since >= 60;
    }
    Tag::of_response(response).is_some_and(|ours| ours.is(&Tag::of(condition)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::HeaderName;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn of_ten(range: &str) -> Wanted {
        wanted(&Method::GET, &headers(&[("range", range)]), &HeaderMap::new(), 0, 10)
    }

    /// RFC 9110 section 14.1.2.
    #[test]
    fn ranges_of_bytes() {
        assert_eq!(of_ten("bytes=0-1"), Wanted::Part(0..2));
        assert_eq!(of_ten("Bytes= 1-"), Wanted::Part(1..10));
        assert_eq!(of_ten("bytes=-1"), Wanted::Part(9..10));
        assert_eq!(of_ten("bytes=-99"), Wanted::Part(0..10));
        assert_eq!(of_ten("bytes=5-99999999999999999999999"), Wanted::Part(5..10));
    }

    /// RFC 9110 sections 14.2 and 15.5.17.
    #[test]
    fn what_is_no_range_is_the_whole_and_what_is_beyond_is_refused() {
        for whole in ["bytes=2-1", "bytes=0-1,3-4", "lines=0-1", "bytes=a-b", "bytes=-", "bytes", "bytes=1--2"] {
            assert_eq!(of_ten(whole), Wanted::Whole, "{whole}");
        }
        for beyond in ["bytes=10-", "bytes=10-12", "bytes=-0"] {
            assert_eq!(of_ten(beyond), Wanted::Unsatisfiable, "{beyond}");
        }
        let head = wanted(&Method::HEAD, &headers(&[("range", "bytes=0-1")]), &HeaderMap::new(), 0, 10);
        assert_eq!(head, Wanted::Whole, "section 14.2: for GET only");
    }

    /// RFC 9110 section 13.1.5.
    #[test]
    fn if_range_holds_the_range_to_the_same_bytes() {
        let part = |condition: &str, response: &[(&'static str, &str)]| {
            let request = headers(&[("range", "bytes=0-1"), ("if-range", condition)]);
            wanted(&Method::GET, &request, &headers(response), 0, 10) == Wanted::Part(0..2)
        };
        assert!(part("\"a\"", &[("etag", "\"a\"")]));
        assert!(!part("\"b\"", &[("etag", "\"a\"")]));
        assert!(!part("W/\"a\"", &[("etag", "W/\"a\"")]), "weak");
        let made = ("date", "Sun, 06 Nov 1994 08:50:37 GMT");
        assert!(part("Sun, 06 Nov 1994 08:49:37 GMT", &[made, ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")]));
        assert!(!part("Sun, 06 Nov 1994 08:49:38 GMT", &[made, ("last-modified", "Sun, 06 Nov 1994 08:49:38 GMT")]));
        assert!(!part("Sun, 06 Nov 1994 08:49:37 GMT", &[made]));
    }

    proptest::proptest! {
        /// A part is never empty, and never beyond the end.
        #[test]
        fn a_part_is_within_the_whole(range in "bytes=[0-9]{0,4}-[0-9]{0,4}", length in 0_u64..2000) {
            let request = headers(&[("range", &range)]);
            if let Wanted::Part(part) = wanted(&Method::GET, &request, &HeaderMap::new(), 0, length) {
                proptest::prop_assert!(part.start < part.end && part.end <= length);
            }
        }
    }
}
