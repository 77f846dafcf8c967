//! What is stored, and for how long it is fresh (RFC 9111 sections 3, 4.2 and 5.2.2; RFC 9213).

use std::time::Duration;

use super::world::{self, World, at, headers};
use crate::rules::{Heuristic, Limits, NotStored, Settings};
use http::{HeaderMap, Method, StatusCode};

fn fresh_for(pairs: &[(&'static str, &str)]) -> Option<u64> {
    World::default().keep(pairs).ok().map(|stored| stored.policy.fresh_for.as_secs())
}

/// RFC 9111 section 4.2.1: `s-maxage`, then `max-age`, then `Expires` less `Date`.
#[test]
fn freshness_is_said_in_three_ways() {
    let date = ("date", "Thu, 01 Oct 2026 00:00:00 GMT");
    let expires = ("expires", "Thu, 01 Oct 2026 00:01:40 GMT");
    assert_eq!(fresh_for(&[date, expires]), Some(100));
    assert_eq!(fresh_for(&[date, expires, ("cache-control", "max-age=5")]), Some(5));
    assert_eq!(fresh_for(&[date, expires, ("cache-control", "max-age=5, s-maxage=7")]), Some(7));
    let etag = ("etag", "\"a\"");
    assert_eq!(fresh_for(&[date, ("expires", "0"), etag]), Some(0), "section 5.3: not a date is in the past");
    assert_eq!(fresh_for(&[date, expires, expires, etag]), Some(0), "section 4.2.1: more than one");
    assert_eq!(fresh_for(&[("date", "foo"), ("expires", &world::date(10))]), Some(10), "no date: when it came");
}

/// RFC 9111 section 3: at least one reason to store, and none against it.
#[test]
fn what_forbids_storing() {
    let keep = |cache_control: &str| World::default().keep(&[("cache-control", cache_control)]).map(|_| ());
    assert_eq!(keep("max-age=5"), Ok(()));
    assert_eq!(keep("max-age=5, no-store"), Err(NotStored::NoStore));
    assert_eq!(keep("max-age=5, private"), Err(NotStored::Private));
    assert_eq!(keep("max-age=5, private=\"x\""), Ok(()));
    assert_eq!(keep("max-age=0"), Err(NotStored::Useless));
    assert_eq!(keep("foo"), Err(NotStored::Useless));
    let star = [("cache-control", "max-age=5"), ("vary", "*")];
    assert_eq!(World::default().keep(&star).map(|_| ()), Err(NotStored::Vary));
    let asked = World::default().asking(&[("cache-control", "no-store")]);
    assert_eq!(asked.keep(&[("cache-control", "max-age=5")]).map(|_| ()), Err(NotStored::RequestNoStore));
}

/// RFC 9111 section 3: final statuses; parts and 304 never; RFC 9111 section 5.2.2.3 with `must-understand`.
#[test]
fn which_statuses_are_stored() {
    let keep = |status: u16, cache_control: &str| {
        let world = World { status: StatusCode::from_u16(status).unwrap(), ..World::default() };
        world.keep(&[("cache-control", cache_control)]).map(|_| ())
    };
    assert!([200, 204, 299, 301, 404, 503, 599].iter().all(|status| keep(*status, "max-age=5").is_ok()));
    assert!([100, 103, 206, 304].iter().all(|status| keep(*status, "max-age=5") == Err(NotStored::Status)));
    assert_eq!(keep(200, "max-age=5, no-store, must-understand"), Ok(()));
    assert_eq!(keep(599, "max-age=5, no-store, must-understand"), Err(NotStored::Status));
    assert_eq!(keep(599, "max-age=5, must-understand"), Err(NotStored::Status));
}

/// RFC 9111 section 3.5.
#[test]
fn answers_to_who_is_known_are_stored_only_where_others_may_have_them() {
    let keep = |cache_control: &str| {
        World::default().asking(&[("authorization", "x")]).keep(&[("cache-control", cache_control)]).map(|_| ())
    };
    assert_eq!(keep("max-age=5"), Err(NotStored::Authorization));
    assert_eq!(keep("max-age=5, proxy-revalidate"), Err(NotStored::Authorization));
    for good in ["max-age=5, public", "max-age=5, must-revalidate", "s-maxage=5"] {
        assert_eq!(keep(good), Ok(()), "{good}");
    }
}

/// RFC 9111 section 3, RFC 9110 section 9.3.3.
#[test]
fn which_methods_are_stored() {
    let keep =
        |method: Method, pairs: &[(&'static str, &str)]| World { method, ..World::default() }.keep(pairs).is_ok();
    let plain = [("cache-control", "max-age=5")];
    assert!(keep(Method::GET, &plain));
    assert!(!keep(Method::HEAD, &plain) && !keep(Method::POST, &plain) && !keep(Method::PUT, &plain));
    let own = [("cache-control", "max-age=5"), ("content-location", "/r/1?q")];
    assert!(keep(Method::POST, &own) && !keep(Method::PUT, &own));
    assert!(!keep(Method::POST, &[own[1], ("etag", "\"a\"")]), "it must say how long it is fresh");
    assert!(!keep(Method::POST, &[own[0], ("content-location", "/r/2")]));
    let body = World::default().asking(&[("content-length", "3")]);
    assert_eq!(body.keep(&plain).map(|_| ()), Err(NotStored::Method), "a GET with content");
}

/// RFC 9111 section 4.2.2, RFC 9110 section 15.1.
#[test]
fn freshness_is_guessed_only_where_that_is_switched_on() {
    let changed = [("date", world::date(0)), ("last-modified", world::date(-1000))];
    let changed = changed.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(fresh_for(&changed), Some(0), "stored to be validated");
    let guess = |status: u16, more: &[(&'static str, &str)]| {
        let heuristic = Some(Heuristic { percent: 10, at_most: Duration::from_secs(3600) });
        let status = StatusCode::from_u16(status).unwrap();
        let world = World { status, ..World::under(Settings { heuristic, ..Settings::default() }) };
        world.keep(&[&changed[..], more].concat()).ok().map(|stored| stored.policy.fresh_for.as_secs())
    };
    assert_eq!(guess(200, &[]), Some(100));
    assert_eq!(guess(200, &[("expires", "0")]), Some(0), "it says so itself");
    assert!([201, 202, 403, 502, 503, 599].iter().all(|status| guess(*status, &[]).is_none()));
    assert_eq!(guess(599, &[("cache-control", "public")]), Some(100));
}

/// A contract only shortens.
#[test]
fn limits_shorten_and_never_lengthen() {
    let said = "max-age=100, stale-while-revalidate=100, stale-if-error=100";
    let secs = |secs| Some(Duration::from_secs(secs));
    let short = Limits {
        fresh_at_most: secs(10),
        stale_while_revalidate_at_most: secs(20),
        stale_if_error_at_most: secs(30),
        max_stale_at_most: secs(40),
    };
    let of = |limits: Limits| {
        let policy = World { limits, ..World::default() }.keep(&[("cache-control", said)]).unwrap().policy;
        [policy.fresh_for, policy.stale_while_revalidate, policy.stale_if_error].map(|time| time.as_secs())
    };
    assert_eq!(of(Limits::default()), [100, 100, 100]);
    assert_eq!(of(short), [10, 20, 30]);
    let long = Limits {
        fresh_at_most: secs(1000),
        stale_while_revalidate_at_most: None,
        stale_if_error_at_most: secs(1000),
        max_stale_at_most: None,
    };
    assert_eq!(of(long), [100, 100, 100]);
}

/// RFC 9111 sections 3.1, 5.2.2.4 and 5.2.2.7; RFC 9110 section 6.6.1.
#[test]
fn which_fields_are_stored() {
    let stored = World::default()
        .keep(&[
            ("cache-control", "max-age=5, no-cache=\"a\", private=\"b\""),
            ("connection", "c"),
            ("a", "1"),
            ("b", "1"),
            ("c", "1"),
            ("d", "1"),
            ("age", "3"),
            ("set-cookie", "x=1"),
            ("set-cookie", "y=1"),
        ])
        .unwrap();
    let mut names: Vec<_> = stored.headers.keys().map(|name| name.as_str().to_owned()).collect();
    names.sort();
    assert_eq!(names, ["cache-control", "d", "date", "set-cookie"]);
    assert_eq!(stored.headers.get_all("set-cookie").iter().count(), 2);
    assert_eq!(stored.headers["date"], world::date(0).as_str(), "it had none");
    assert_eq!(stored.age(at(10)), Duration::from_secs(13));
}

/// RFC 9213 section 2.2: the targeted field decides, and `Expires` does not count beside it.
#[test]
fn a_targeted_field_decides_alone() {
    let future = world::date(1000);
    let base = [("cache-control", "no-store"), ("expires", future.as_str())];
    let with = |text: &'static str| World::default().keep(&[&base[..], &[("gateway-cache-control", text)]].concat());
    assert_eq!(with("max-age=7").unwrap().policy.fresh_for, Duration::from_secs(7));
    assert_eq!(with("foo").map(|_| ()), Err(NotStored::Useless));
    assert_eq!(with("max-age=7, private").map(|_| ()), Err(NotStored::Private));
    assert_eq!(with("max-age=\"7\"").map(|_| ()), Err(NotStored::NoStore));
}

/// RFC 9111 section 4.4.
#[test]
fn nothing_is_invalid_after_a_safe_method() {
    let world = World { method: Method::OPTIONS, ..World::default() };
    assert!(world.rules.invalidated(&world.asked(), StatusCode::OK, &HeaderMap::new()).is_empty());
    assert!(headers(&[]).is_empty());
}
