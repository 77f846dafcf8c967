//! What is answered from what is stored (RFC 9111 section 4; RFC 5861; RFC 9110 sections 13 to 15).

use super::world::{self, World, at, headers};
use crate::rules::{Answer, Forward, Part, Settings, Stored};
use http::{HeaderMap, Method, StatusCode};

const HIT: Answer = Answer::Hit { index: 0, refresh: false };

fn stored(cache_control: &str) -> Stored {
    World::default().keep(&[("cache-control", cache_control)]).unwrap()
}

/// What becomes of a request with this `Cache-Control`, so many seconds after the response came.
fn ask(stored: &Stored, cache_control: &str, secs: i64) -> Answer {
    let world = World::default();
    let world = if cache_control.is_empty() { world } else { world.asking(&[("cache-control", cache_control)]) };
    world.rules.answer(&world.asked(), &[stored], at(secs))
}

fn why(answer: Answer) -> Option<Forward> {
    match answer {
        Answer::Forward { why, .. } | Answer::Validate { why, .. } => Some(why),
        Answer::Hit { .. } | Answer::Unavailable => None,
    }
}

/// RFC 9111 section 4.2: fresh while the age is less than the lifetime.
#[test]
fn fresh_until_it_is_as_old_as_it_says() {
    let stored = stored("max-age=10");
    assert_eq!(ask(&stored, "", 9), HIT);
    assert_eq!(why(ask(&stored, "", 10)), Some(Forward::Stale));
    assert_eq!((stored.ttl(at(4)), stored.ttl(at(12))), (6, -2));
}

/// RFC 9111 section 4: nothing stored, or only for others.
#[test]
fn misses() {
    let world = World::default().asking(&[("a", "1")]);
    let varied = world.keep(&[("cache-control", "max-age=10"), ("vary", "a")]).unwrap();
    let other = World::default();
    let miss = |why| Answer::Forward { why, index: None, collapse: true };
    assert_eq!(other.rules.answer(&other.asked(), &[], at(0)), miss(Forward::UriMiss));
    assert_eq!(other.rules.answer(&other.asked(), &[&varied], at(0)), miss(Forward::VaryMiss));
    assert_eq!(world.rules.answer(&world.asked(), &[&varied], at(0)), HIT);
    let post = World { method: Method::POST, ..World::default() };
    assert_eq!(why(post.rules.answer(&post.asked(), &[&varied], at(0))), Some(Forward::Method));
}

/// RFC 9111 section 4.1: of several that fit, the one with the latest `Date`.
#[test]
fn the_youngest_of_several_answers() {
    let world = World::default();
    let at_date = |secs| {
        let date = world::date(secs);
        world.keep_at(&[("cache-control", "max-age=100"), ("date", &date)], 50).unwrap()
    };
    let (old, new) = (at_date(10), at_date(20));
    let answer = world.rules.answer(&world.asked(), &[&old, &new, &old], at(60));
    assert_eq!(answer, Answer::Hit { index: 1, refresh: false });
}

/// RFC 9111 section 5.2.1.
#[test]
fn what_requests_ask_for() {
    let stored = stored("max-age=100");
    assert_eq!(why(ask(&stored, "no-cache", 1)), Some(Forward::Request));
    assert_eq!(ask(&stored, "no-store", 1), HIT, "section 5.2.1.5: it is about storing");
    assert_eq!(ask(&stored, "max-age=5", 5), HIT);
    assert_eq!(why(ask(&stored, "max-age=5", 6)), Some(Forward::Request));
    assert_eq!(ask(&stored, "min-fresh=40", 60), HIT);
    assert_eq!(why(ask(&stored, "min-fresh=40", 61)), Some(Forward::Request));
    assert_eq!(ask(&stored, "max-stale=20", 120), HIT);
    assert_eq!(why(ask(&stored, "max-stale=20", 121)), Some(Forward::Stale));
    assert_eq!(ask(&stored, "max-stale", 100_000), HIT);
    assert_eq!(ask(&stored, "only-if-cached", 1), HIT);
    assert_eq!(ask(&stored, "only-if-cached", 101), Answer::Unavailable);
    let pragma = World::default().asking(&[("pragma", "no-cache")]);
    assert_eq!(why(pragma.rules.answer(&pragma.asked(), &[&stored], at(1))), Some(Forward::Request));
    let never = World::under(Settings { requests_accept_stale: false, ..Settings::default() });
    let never = never.asking(&[("cache-control", "max-stale")]);
    assert_eq!(why(never.rules.answer(&never.asked(), &[&stored], at(101))), Some(Forward::Stale));
}

/// RFC 9111 sections 4.2.4, 5.2.2.2, 5.2.2.4, 5.2.2.8 and 5.2.2.10.
#[test]
fn what_is_never_used_stale() {
    for directive in ["must-revalidate", "proxy-revalidate", "s-maxage=10"] {
        let stored = stored(&format!("max-age=10, stale-while-revalidate=99, stale-if-error=99, {directive}"));
        assert_eq!(ask(&stored, "", 9), HIT);
        assert_eq!(why(ask(&stored, "max-stale", 11)), Some(Forward::Stale), "{directive}");
        let world = World::under(Settings { stale_when_disconnected: true, ..Settings::default() });
        assert!(!world.rules.covers_failure(&world.asked(), &stored, None, at(11)), "{directive}");
    }
    let world = World::default();
    let no_cache = world.keep(&[("cache-control", "max-age=10, no-cache"), ("etag", "\"a\"")]).unwrap();
    assert_eq!(why(ask(&no_cache, "max-stale", 1)), Some(Forward::Stale));
}

/// RFC 5861 section 3.
#[test]
fn stale_while_revalidate_answers_and_fetches() {
    let stored = stored("max-age=10, stale-while-revalidate=5");
    assert_eq!(ask(&stored, "", 14), Answer::Hit { index: 0, refresh: true });
    assert_eq!(why(ask(&stored, "", 15)), Some(Forward::Stale));
    assert_eq!(why(ask(&stored, "max-age=12", 13)), Some(Forward::Stale), "the request wants it younger");
}

/// RFC 5861 section 4.
#[test]
fn stale_if_error_covers_failures_of_the_origin() {
    let world = World::default();
    let covers = |stored: &Stored, status: Option<u16>, secs| {
        let status = status.map(|status| StatusCode::from_u16(status).unwrap());
        world.rules.covers_failure(&world.asked(), stored, status, at(secs))
    };
    let said = stored("max-age=10, stale-if-error=5");
    assert!([None, Some(500), Some(502), Some(503), Some(504)].iter().all(|status| covers(&said, *status, 14)));
    assert!([Some(404), Some(501), Some(200)].iter().all(|status| !covers(&said, *status, 14)));
    assert!(!covers(&said, None, 15));
    assert!(!covers(&stored("max-age=10"), None, 11));
    let asking = World::default().asking(&[("cache-control", "stale-if-error=20")]);
    assert!(asking.rules.covers_failure(&asking.asked(), &stored("max-age=10"), None, at(29)));
    let disconnected = World::under(Settings { stale_when_disconnected: true, ..Settings::default() });
    assert!(disconnected.rules.covers_failure(&disconnected.asked(), &stored("max-age=10"), None, at(9999)));
}

/// RFC 9111 section 4.3.1.
#[test]
fn validation_sends_what_is_stored_and_not_what_the_client_has() {
    let world = World::default().asking(&[("if-none-match", "\"x\""), ("range", "bytes=0-1")]);
    let changed = world::date(-50);
    let stored =
        world.keep(&[("cache-control", "max-age=1"), ("etag", "W/\"a\""), ("last-modified", &changed)]).unwrap();
    let Answer::Validate { index: 0, conditions, why: Forward::Stale, collapse: true } =
        world.rules.answer(&world.asked(), &[&stored], at(5))
    else {
        panic!("not validated")
    };
    let conditions: HeaderMap = conditions.into_iter().collect();
    assert_eq!(conditions, headers(&[("if-none-match", "W/\"a\""), ("if-modified-since", &changed)]));
}

/// RFC 9111 section 4: what is particular, or wants to be asked for after now, is for one only.
#[test]
fn who_may_share_a_request() {
    let shares = |pairs: &[(&'static str, &str)]| {
        let world = World::default().asking(pairs);
        matches!(world.rules.answer(&world.asked(), &[], at(0)), Answer::Forward { collapse: true, .. })
    };
    assert!(shares(&[]) && shares(&[("authorization", "x")]));
    for alone in ["range", "if-none-match", "if-modified-since", "if-match", "if-range", "if-unmodified-since"] {
        assert!(!shares(&[(alone, "x")]), "{alone}");
    }
    assert!(!shares(&[("cache-control", "no-cache")]) && !shares(&[("cache-control", "max-age=0")]));
}

/// RFC 9111 section 4.3.2: `If-Match` is for the origin, or for a gateway that stands for it.
#[test]
fn if_match_is_the_origins() {
    let pairs = [("if-match", "\"x\"")];
    let world = World::default().asking(&pairs);
    let stored = World::default().keep(&[("cache-control", "max-age=10"), ("etag", "\"a\"")]).unwrap();
    assert_eq!(why(world.rules.answer(&world.asked(), &[&stored], at(1))), Some(Forward::Request));
    let gateway = World::under(Settings { answers_preconditions: true, ..Settings::default() }).asking(&pairs);
    assert_eq!(gateway.rules.answer(&gateway.asked(), &[&stored], at(1)), HIT);
    let reply = gateway.rules.reply(&gateway.asked(), &stored, Some(3), at(1));
    assert_eq!((reply.status, reply.part), (StatusCode::PRECONDITION_FAILED, Part::Nothing));
}

/// RFC 9111 section 5.1; RFC 9110 sections 15.4.5, 15.3.7 and 15.5.17.
#[test]
fn replies() {
    let pairs = [("cache-control", "max-age=10"), ("etag", "\"a\""), ("content-type", "text/plain"), ("vary", "x")];
    let stored = World::default().keep(&pairs).unwrap();
    let reply = |pairs: &[(&'static str, &str)], length| {
        let world = World::default().asking(pairs);
        world.rules.reply(&world.asked(), &stored, length, at(3))
    };
    let whole = reply(&[], Some(10));
    assert_eq!(
        (whole.status, &whole.part, &whole.headers["age"]),
        (StatusCode::OK, &Part::Whole, &"3".parse().unwrap())
    );
    let same = reply(&[("if-none-match", "\"a\"")], Some(10));
    let mut names: Vec<_> = same.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!((same.status.as_u16(), names), (304, vec!["age", "cache-control", "date", "etag", "vary"]));
    let part = reply(&[("range", "bytes=2-4")], Some(10));
    assert_eq!((part.status.as_u16(), part.part), (206, Part::Bytes(2..5)));
    assert_eq!(
        (&part.headers["content-range"], &part.headers["content-length"]),
        (&"bytes 2-4/10".parse().unwrap(), &"3".parse().unwrap())
    );
    let beyond = reply(&[("range", "bytes=20-")], Some(10));
    assert_eq!((beyond.status.as_u16(), &beyond.headers["content-range"]), (416, &"bytes */10".parse().unwrap()));
    assert_eq!(reply(&[("range", "bytes=2-4")], None).part, Part::Whole, "its length is not known");
    let head = World { method: Method::HEAD, ..World::default() };
    assert_eq!(head.rules.reply(&head.asked(), &stored, Some(10), at(3)).part, Part::Nothing);
    let lost = World { status: StatusCode::NOT_FOUND, ..World::default() }.keep(&pairs).unwrap();
    let asking = World::default().asking(&[("if-none-match", "\"a\""), ("range", "bytes=0-1")]);
    let reply = asking.rules.reply(&asking.asked(), &lost, Some(10), at(3));
    assert_eq!((reply.status.as_u16(), reply.part), (404, Part::Whole), "RFC 9110 section 13.2.1");
}

proptest::proptest! {
    /// Whatever a request says, a stale response that must be validated is never an answer, and time only takes away.
    #[test]
    fn no_request_makes_what_must_be_validated_an_answer(
        one in "max-age=[0-9]{1,3}|max-stale|min-fresh=[0-9]|no-store|x=\"y\"",
        more in "(, ?(max-stale=[0-9]{1,5}|stale-if-error=9|public)){0,2}",
        secs in 10_i64..100_000,
    ) {
        let said = one + &more;
        let stored = stored("max-age=10, must-revalidate, stale-while-revalidate=1000000, stale-if-error=100000");
        let hit = matches!(ask(&stored, &said, secs), Answer::Hit { .. });
        proptest::prop_assert!(!hit);
    }

    /// Once it is no answer any more it never is one again.
    #[test]
    fn time_only_takes_away(max_age in 0_u32..50, swr in 1_u32..50, secs in 0_i64..120) {
        let stored = stored(&format!("max-age={max_age}, stale-while-revalidate={swr}"));
        let hit = |secs| matches!(ask(&stored, "", secs), Answer::Hit { .. });
        proptest::prop_assert!(hit(secs) || !hit(secs + 1));
    }
}
