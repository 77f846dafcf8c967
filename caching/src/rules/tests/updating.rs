//! What a 304 and a HEAD change (RFC 9111 sections 3.2, 4.3.4 and 4.3.5).

use super::world::{self, World, at, headers, times};
use crate::rules::{HeadEffect, NotStored, Stored};
use http::{Method, StatusCode};

fn stored(pairs: &[(&'static str, &str)]) -> Stored {
    World::default().keep(&[&[("cache-control", "max-age=10")], pairs].concat()).unwrap()
}

fn identify(all: &[&Stored], sent: usize, pairs: &[(&'static str, &str)]) -> Vec<usize> {
    World::default().rules.identify(all, sent, &headers(pairs))
}

/// RFC 9111 section 4.3.4: a strong validator names all that have it, a weak one the youngest, none the one asked for.
#[test]
fn which_stored_responses_a_304_is_about() {
    let (a, b, weak) = (stored(&[("etag", "\"a\"")]), stored(&[("etag", "\"b\"")]), stored(&[("etag", "W/\"w\"")]));
    let all = [&a, &b, &a, &weak];
    assert_eq!(identify(&all, 1, &[("etag", "\"a\"")]), [0, 2]);
    assert_eq!(identify(&all, 1, &[("etag", "\"c\"")]), [0_usize; 0], "it tells nothing");
    assert_eq!(identify(&all, 0, &[("etag", "W/\"w\"")]), [3]);
    assert_eq!(identify(&all, 3, &[("etag", "\"w\"")]), [0_usize; 0], "strong against weak");
    assert_eq!(identify(&all, 1, &[]), [1]);
    assert_eq!(identify(&all, 9, &[]), [0_usize; 0]);
    let (early, late) = (world::date(-500), world::date(-100));
    let (one, two) = (stored(&[("last-modified", &early)]), stored(&[("last-modified", &late)]));
    assert_eq!(identify(&[&one, &two], 0, &[("last-modified", &late)]), [1]);
    assert_eq!(identify(&[&one, &two], 0, &[("last-modified", &early)]), [0]);
    assert_eq!(identify(&[&one, &two], 0, &[("last-modified", &world::date(0))]), [0_usize; 0]);
}

/// RFC 9111 section 3.2.
#[test]
fn which_fields_a_304_changes() {
    let world = World::default();
    let old = stored(&[
        ("etag", "\"a\""),
        ("x", "1"),
        ("y", "1"),
        ("y", "2"),
        ("content-length", "36"),
        ("content-type", "text/plain"),
        ("content-encoding", "gzip"),
    ]);
    let news = headers(&[
        ("cache-control", "max-age=100"),
        ("y", "3"),
        ("content-length", "0"),
        ("content-type", "text/html"),
        ("content-encoding", "br"),
        ("connection", "z"),
        ("z", "1"),
        ("age", "7"),
    ]);
    let merged = world.rules.freshen(&world.asked(), &old, &news, times(50), &world.limits);
    assert_eq!(merged.keep, Ok(()));
    let new = merged.stored;
    let value = |name: &str| {
        new.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>().join("|")
    };
    let got = ["x", "y", "content-length", "content-type", "content-encoding", "z", "age", "cache-control"].map(value);
    assert_eq!(got, ["1", "3", "36", "text/plain", "gzip", "", "", "max-age=100"]);
    assert_eq!((new.policy.fresh_for.as_secs(), new.age(at(60)).as_secs()), (100, 17));
    assert_eq!(value("date"), world::date(50), "the old one would make it old");
}

/// RFC 9111 section 3.2: the new fields decide whether it stays.
#[test]
fn a_304_may_end_the_storing() {
    let old = stored(&[("etag", "\"a\"")]);
    let freshen = |world: World, pairs: &[(&'static str, &str)]| {
        world.rules.freshen(&world.asked(), &old, &headers(pairs), times(50), &world.limits).keep
    };
    assert_eq!(freshen(World::default(), &[("cache-control", "no-store")]), Err(NotStored::NoStore));
    let known = World::default().asking(&[("authorization", "x")]);
    let why = freshen(known, &[]).unwrap_err();
    assert!(why.is_the_requests(), "what is stored may stay: {why:?}");
}

/// RFC 9111 section 4.1: a 304 for one request does not make a response one for others.
#[test]
fn a_304_keeps_the_variant() {
    let one = World::default().asking(&[("a", "1")]);
    let other = World::default().asking(&[("a", "2")]);
    let old = one.keep(&[("cache-control", "max-age=1"), ("etag", "\"a\""), ("vary", "a")]).unwrap();
    let merged = other.rules.freshen(&other.asked(), &old, &headers(&[]), times(5), &other.limits);
    assert!(merged.stored.variant.matches(&one.request) && !merged.stored.variant.matches(&other.request));
    let news = headers(&[("vary", "a, b")]);
    let merged = other.rules.freshen(&other.asked(), &old, &news, times(5), &other.limits);
    assert_eq!(merged.keep, Err(NotStored::Vary));
}

/// RFC 9111 section 4.3.5.
#[test]
fn what_a_head_changes() {
    let world = World { method: Method::HEAD, ..World::default() };
    let old = stored(&[("etag", "\"a\""), ("content-length", "3"), ("x", "1")]);
    let head = |status: StatusCode, pairs: &[(&'static str, &str)]| {
        world.rules.head(&world.asked(), &old, status, &headers(pairs), times(50), &world.limits)
    };
    let HeadEffect::Update(new) = head(StatusCode::OK, &[("etag", "\"a\""), ("content-length", "3"), ("x", "2")])
    else {
        panic!("not updated")
    };
    assert_eq!((new.headers["x"].to_str().unwrap(), new.age(at(50)).as_secs()), ("2", 0));
    assert!(matches!(head(StatusCode::OK, &[("x", "2")]), HeadEffect::Update(_)), "nothing speaks against it");
    assert_eq!(head(StatusCode::OK, &[("etag", "\"b\"")]), HeadEffect::Invalidate);
    assert_eq!(head(StatusCode::OK, &[("content-length", "4")]), HeadEffect::Invalidate);
    assert_eq!(head(StatusCode::OK, &[("cache-control", "no-store")]), HeadEffect::Invalidate);
    assert_eq!(head(StatusCode::GONE, &[("etag", "\"b\"")]), HeadEffect::None);
}
