//! How directives are read.

use http::HeaderValue;

use super::*;

fn response(lines: &[&str]) -> Response {
    Response::of(&headers(lines))
}

fn request(lines: &[&str]) -> Request {
    Request::of(&headers(lines))
}

fn headers(lines: &[&str]) -> HeaderMap {
    lines.iter().map(|line| (CACHE_CONTROL, HeaderValue::from_str(line).unwrap())).collect()
}

fn secs(secs: u64) -> Option<Duration> {
    Some(Duration::from_secs(secs))
}

/// RFC 9111 section 5.2: names in any case, values as tokens or quoted strings, unknown ones ignored.
#[test]
fn directives_are_read_in_any_case_and_both_forms() {
    let read = response(&["foobar, MaX-aGe=\"3600\"", "No-StOrE , s-maxage=007"]);
    assert_eq!((read.max_age, read.s_maxage, read.no_store), (secs(3600), secs(7), true));
}

/// RFC 9111 section 4.2.1: what is not a time, or says two, is stale.
#[test]
fn times_that_are_none_count_as_zero() {
    for text in [
        "max-age=-1",
        "max-age='3'",
        "max-age=3.0",
        "max-age=a3",
        "max-age=3a",
        "max-age",
        "max-age=",
        "max-age =3",
        "max-age= 3",
    ] {
        assert_eq!(response(&[text]).max_age, secs(0), "{text}");
    }
    assert_eq!(response(&["max-age=1800, max-age=1"]).max_age, secs(0));
    assert_eq!(response(&["max-age=1", "max-age=1"]).max_age, secs(1));
}

/// RFC 9111 section 1.2.2.
#[test]
fn times_beyond_the_longest_are_the_longest() {
    assert_eq!(response(&["max-age=99999999999999999999999"]).max_age, Some(LONGEST));
}

/// RFC 9110 section 5.6.4: within quotes nothing is a directive; a string without an end forbids storing.
#[test]
fn what_is_quoted_is_no_directive() {
    let read = response(&["extension=\"max-age=3600, no-store\", max-age=1"]);
    assert_eq!((read.max_age, read.no_store), (secs(1), false));
    assert!(response(&["max-age=1, x=\"no-store"]).no_store);
}

/// RFC 9111 sections 5.2.2.4 and 5.2.2.7.
#[test]
fn field_names_narrow_and_their_absence_widens() {
    let names =
        |list: &[&'static str]| Some(Scope::Fields(list.iter().map(|name| HeaderName::from_static(name)).collect()));
    assert_eq!(response(&["no-cache=\"A, b\""]).no_cache, names(&["a", "b"]));
    assert_eq!(response(&["private=a"]).private, names(&["a"]));
    assert_eq!(response(&["private=\"a\", private"]).private, Some(Scope::All));
    assert_eq!(response(&["private=\"a\"", "private=\"b\""]).private, names(&["a", "b"]));
    for all in ["no-cache=\"\"", "no-cache=\"a b\"", "no-cache"] {
        assert_eq!(response(&[all]).no_cache, Some(Scope::All), "{all}");
    }
}

/// RFC 9111 section 5.2.1.
#[test]
fn requests_are_read_strictly_against_reuse() {
    let read = request(&["max-age=5, max-stale, min-fresh=x, only-if-cached"]);
    assert_eq!((read.max_age, read.max_stale, read.min_fresh), (secs(5), Some(LONGEST), Some(LONGEST)));
    assert!(read.only_if_cached && !read.no_cache);
    assert_eq!(request(&["max-age=x"]).max_age, secs(0));
    assert_eq!(request(&["max-stale=x"]).max_stale, None);
}

/// RFC 9111 section 5.4: `Pragma` counts only without `Cache-Control`.
#[test]
fn pragma_counts_alone() {
    let pragma = |cache_control: Option<&'static str>| {
        let mut all: HeaderMap = [(PRAGMA, HeaderValue::from_static("x, No-Cache"))].into_iter().collect();
        cache_control.map(|value| all.insert(CACHE_CONTROL, HeaderValue::from_static(value)));
        Request::of(&all).no_cache
    };
    assert!(pragma(None));
    assert!(!pragma(Some("foo")));
}

proptest::proptest! {
    /// Whatever a field holds: once it says `no-store` outside quotes, storing is forbidden.
    #[test]
    fn no_store_is_never_lost(before in "[a-z=,\\\\\" 0-9-]{0,30}", after in "[a-z=,\\\\\" 0-9-]{0,30}") {
        let line = format!("{before},no-store,{after}");
        let mut quoted = list::Quoted::default();
        before.bytes().for_each(|byte| quoted.take(byte));
        let read = response(&[&line]);
        proptest::prop_assert!(read.no_store || quoted.inside, "{}", line);
    }
}
