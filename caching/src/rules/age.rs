//! How old a response is (RFC 9111 section 4.2.3).

use std::time::Duration;

use http::HeaderMap;
use http::header::{AGE, DATE};

use super::date;
use super::directives::delta;
use super::keep::Times;
use super::list;

/// The age of a response when it came: what it says and how long it took, or how long ago it was made by its `Date`,
/// whichever is more.
pub(crate) fn at_arrival(headers: &HeaderMap, times: Times) -> Duration {
    let got = date::seconds(times.got_at);
    let apparent = date::only(headers, &DATE, got).map_or(Duration::ZERO, |made| date::between(made, got));
    let delay = times.got_at.duration_since(times.asked_at).unwrap_or_default();
    apparent.max(said(headers).saturating_add(delay))
}

/// `Age`: the first member of it; what is not a number is ignored (RFC 9111 section 5.1).
fn said(headers: &HeaderMap) -> Duration {
    let first = headers.get(AGE).and_then(|line| list::members(line.as_bytes()).next());
    first.and_then(delta).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use http::HeaderValue;

    use super::*;

    const NOW: u64 = 1_790_000_000;

    fn at(secs: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(secs)
    }

    fn age(lines: &[&'static str], made: u64, delay: u64) -> u64 {
        let mut headers: HeaderMap = lines.iter().map(|line| (AGE, HeaderValue::from_static(line))).collect();
        headers.insert(DATE, HeaderValue::from_str(&httpdate::fmt_http_date(at(made))).unwrap());
        at_arrival(&headers, Times { asked_at: at(NOW - delay), got_at: at(NOW) }).as_secs()
    }

    /// RFC 9111 section 5.1: one number; the first of several; else nothing.
    #[test]
    fn odd_ages_are_the_first_number_or_nothing() {
        for nothing in ["abc", "-7200", "7200.0", "7200;foo=bar", ""] {
            assert_eq!(age(&[nothing], NOW, 0), 0, "{nothing}");
        }
        assert_eq!(age(&["7200, 0"], NOW, 0), 7200);
        assert_eq!(age(&["0, 7200"], NOW, 0), 0);
        assert_eq!(age(&["7200", "0"], NOW, 0), 7200);
        assert_eq!(age(&["2147483649"], NOW, 0), 1 << 31);
    }

    /// RFC 9111 section 4.2.3: `corrected_initial_age`.
    #[test]
    fn the_age_at_arrival_is_the_greater_of_both_ways() {
        assert_eq!(age(&[], NOW - 100, 0), 100, "apparent_age");
        assert_eq!(age(&["30"], NOW, 4), 34, "corrected_age_value");
        assert_eq!(age(&["30"], NOW - 100, 4), 100);
        assert_eq!(age(&["30"], NOW + 100, 4), 34, "a clock ahead of ours");
    }
}
