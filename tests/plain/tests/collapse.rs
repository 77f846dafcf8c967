//! One request to the origin for all who want the same at once; and nobody suffers from another's bad luck.

#[cfg(test)]
#[path = "collapse/world.rs"]
mod world;

use std::time::Duration;

use bytes::Bytes;
use plain::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use world::{Origin, a_moment, ask, get, proxy};

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=100")];

#[tokio::test]
async fn many_at_once_make_one_request() {
    let (mut origin, address) = Origin::start().await;
    let proxy = proxy(Config::new(address)).await;
    let clients: Vec<_> = (0..20).map(|_| ask(proxy)).collect();
    let call = origin.call().await;
    a_moment().await;
    call.whole(FRESH, "once").await;
    let mut collapsed = 0;
    for client in clients {
        let got = client.await.unwrap();
        collapsed += usize::from(got.cache_status().contains("fwd=uri-miss; collapsed"));
        assert_eq!(got.text().await, "once");
    }
    assert_eq!((origin.count(), collapsed), (1, 19));
    let got = get(proxy, &[]).await;
    assert_eq!(got.cache_status(), "popgate; hit; ttl=100");
}

#[tokio::test]
async fn followers_receive_the_body_before_it_has_ended() {
    let (mut origin, address) = Origin::start().await;
    let proxy = proxy(Config::new(address)).await;
    let (leader, follower) = (ask(proxy), ask(proxy));
    let call = origin.call().await;
    a_moment().await;
    let mut content = call.answer(200, FRESH);
    content.send_data(Bytes::from_static(b"first")).await.unwrap();
    let (mut leader, mut follower) = (leader.await.unwrap(), follower.await.unwrap());
    assert_eq!(leader.piece().await.unwrap().unwrap(), "first");
    assert_eq!(follower.piece().await.unwrap().unwrap(), "first");
    let mut late = get(proxy, &[]).await;
    assert_eq!(late.piece().await.unwrap().unwrap(), "first", "whoever comes now reads it from the beginning");
    content.send_data(Bytes::from_static(b"last")).await.unwrap();
    drop(content);
    assert_eq!(leader.text().await, "last");
    assert_eq!(follower.text().await, "last");
    assert_eq!(late.text().await, "last");
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_leader_whose_client_goes_away_hands_the_fetch_over() {
    let (mut origin, address) = Origin::start().await;
    let proxy = proxy(Config::new(address)).await;
    let leader = ask(proxy);
    let call = origin.call().await;
    let follower = ask(proxy);
    a_moment().await;
    leader.abort();
    a_moment().await;
    call.whole(FRESH, "still").await;
    assert_eq!(follower.await.unwrap().text().await, "still");
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_leader_that_goes_away_within_the_body_breaks_nothing() {
    let (mut origin, address) = Origin::start().await;
    let proxy = proxy(Config::new(address)).await;
    let leader = ask(proxy);
    let mut content = origin.call().await.answer(200, FRESH);
    content.send_data(Bytes::from_static(b"first")).await.unwrap();
    drop(leader.await.unwrap());
    a_moment().await;
    content.send_data(Bytes::from_static(b"last")).await.unwrap();
    drop(content);
    assert_eq!(get(proxy, &[]).await.text().await, "firstlast");
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn what_nobody_waits_for_given_up() {
    let (mut origin, address) = Origin::start().await;
    let proxy = proxy(Config::new(address)).await;
    let (one, other) = (ask(proxy), ask(proxy));
    let call = origin.call().await;
    a_moment().await;
    one.abort();
    other.abort();
    call.given_up().await;
    let next = ask(proxy);
    origin.call().await.whole(FRESH, "anew").await;
    assert_eq!(next.await.unwrap().text().await, "anew");
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn a_failed_leader_does_not_fail_its_followers() {
    let (mut origin, address) = Origin::start().await;
    let proxy = proxy(Config::new(address)).await;
    let leader = ask(proxy);
    let call = origin.call().await;
    let followers = [ask(proxy), ask(proxy)];
    a_moment().await;
    call.break_off();
    assert_eq!(leader.await.unwrap().status, 502);
    for _ in 0..2 {
        origin.call().await.whole(FRESH, "well").await;
    }
    for follower in followers {
        assert_eq!(follower.await.unwrap().text().await, "well");
    }
    assert_eq!(origin.count(), 3);
}

#[tokio::test]
async fn a_slow_leader_does_not_hold_its_followers() {
    let (mut origin, address) = Origin::start().await;
    let proxy = proxy(Config { patience: Duration::from_millis(200), ..Config::new(address) }).await;
    let leader = ask(proxy);
    let slow = origin.call().await;
    let follower = ask(proxy);
    origin.call().await.whole(FRESH, "quick").await;
    let got = follower.await.unwrap();
    assert!(!got.cache_status().contains("collapsed"));
    assert_eq!(got.text().await, "quick");
    slow.whole(FRESH, "slow").await;
    assert_eq!(leader.await.unwrap().text().await, "slow");
}

#[tokio::test]
async fn what_is_for_one_only_is_given_to_nobody_else() {
    let (mut origin, address) = Origin::start().await;
    let proxy = proxy(Config::new(address)).await;
    let leader = ask(proxy);
    let call = origin.call().await;
    let follower = ask(proxy);
    a_moment().await;
    call.whole(&[("cache-control", "private, max-age=100")], "mine").await;
    assert_eq!(leader.await.unwrap().text().await, "mine");
    origin.call().await.whole(&[("cache-control", "no-store")], "yours").await;
    assert_eq!(follower.await.unwrap().text().await, "yours");
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn who_asks_for_another_variant_goes_alone() {
    let (mut origin, address) = Origin::start().await;
    let proxy = proxy(Config::new(address)).await;
    let leader = ask(proxy);
    let call = origin.call().await;
    let other = tokio::spawn(async move { get(proxy, &[("accept-language", "da")]).await });
    a_moment().await;
    let varied = [FRESH[0], ("vary", "Accept-Language")];
    call.whole(&varied, "plain").await;
    origin.call().await.whole(&varied, "dansk").await;
    assert_eq!(leader.await.unwrap().text().await, "plain");
    assert_eq!(other.await.unwrap().text().await, "dansk");
    assert_eq!(get(proxy, &[]).await.text().await, "plain");
    assert_eq!(get(proxy, &[("accept-language", "DA")]).await.text().await, "dansk");
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn one_validation_serves_all() {
    let (mut origin, address) = Origin::start().await;
    let proxy = proxy(Config::new(address)).await;
    let first = ask(proxy);
    origin.call().await.whole(&[("cache-control", "max-age=0"), ("etag", "\"a\"")], "same").await;
    assert_eq!(first.await.unwrap().text().await, "same");
    let clients: Vec<_> = (0..5).map(|_| ask(proxy)).collect();
    let call = origin.call().await;
    a_moment().await;
    assert_eq!(call.headers["if-none-match"], "\"a\"");
    drop(call.answer(304, &[("cache-control", "max-age=100"), ("etag", "\"a\"")]));
    for client in clients {
        let got = client.await.unwrap();
        assert!(got.cache_status().contains("fwd=stale"), "{}", got.cache_status());
        assert_eq!(got.text().await, "same");
    }
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn a_304_about_something_else_is_asked_again() {
    let (mut origin, address) = Origin::start().await;
    let proxy = proxy(Config::new(address)).await;
    let first = ask(proxy);
    origin.call().await.whole(&[("cache-control", "max-age=0"), ("etag", "\"a\"")], "old").await;
    assert_eq!(first.await.unwrap().text().await, "old");
    let second = ask(proxy);
    drop(origin.call().await.answer(304, &[("etag", "\"b\"")]));
    let again = origin.call().await;
    assert!(!again.headers.contains_key("if-none-match"));
    again.whole(FRESH, "new").await;
    assert_eq!(second.await.unwrap().text().await, "new");
}

#[tokio::test]
async fn what_is_stale_is_fetched_once_in_the_background() {
    let (mut origin, address) = Origin::start().await;
    let proxy = proxy(Config::new(address)).await;
    let first = ask(proxy);
    let said = [("cache-control", "max-age=0, stale-while-revalidate=60"), ("etag", "\"a\"")];
    origin.call().await.whole(&said, "old").await;
    assert_eq!(first.await.unwrap().text().await, "old");
    for _ in 0..3 {
        let got = get(proxy, &[]).await;
        assert!(got.cache_status().starts_with("popgate; hit"), "{}", got.cache_status());
        assert_eq!(got.text().await, "old");
    }
    let call = origin.call().await;
    assert_eq!(call.headers["if-none-match"], "\"a\"");
    call.whole(FRESH, "new").await;
    a_moment().await;
    assert_eq!(get(proxy, &[]).await.text().await, "new");
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn what_broke_off_is_not_stored() {
    let (mut origin, address) = Origin::start().await;
    let proxy = proxy(Config::new(address)).await;
    let first = ask(proxy);
    let mut content = origin.call().await.answer(200, &[FRESH[0], ("content-length", "10")]);
    content.send_data(Bytes::from_static(b"half")).await.unwrap();
    let mut first = first.await.unwrap();
    assert_eq!(first.piece().await.unwrap().unwrap(), "half");
    content.abort("the end".into());
    assert!(first.piece().await.unwrap().is_err(), "the client must see that it is not whole");
    let next = ask(proxy);
    origin.call().await.whole(FRESH, "whole").await;
    assert_eq!(next.await.unwrap().text().await, "whole");
}

#[tokio::test]
async fn fields_for_one_client_go_to_the_one_it_was_made_for() {
    let (mut origin, address) = Origin::start().await;
    let proxy = proxy(Config::new(address)).await;
    let first = ask(proxy);
    let said = [("cache-control", "max-age=100, private=\"x\", no-cache=\"y\""), ("x", "1"), ("y", "1"), ("z", "1")];
    origin.call().await.whole(&said, "all").await;
    let (first, second) = (first.await.unwrap(), get(proxy, &[]).await);
    let has = |headers: &http::HeaderMap| ["x", "y", "z"].map(|name| headers.contains_key(name));
    assert_eq!((has(&first.headers), has(&second.headers)), ([true; 3], [false, false, true]));
}

#[tokio::test]
async fn an_error_is_covered_by_what_is_stale() {
    let (mut origin, address) = Origin::start().await;
    let proxy = proxy(Config::new(address)).await;
    let first = ask(proxy);
    origin.call().await.whole(&[("cache-control", "max-age=0, stale-if-error=60")], "old").await;
    assert_eq!(first.await.unwrap().text().await, "old");
    let second = ask(proxy);
    drop(origin.call().await.answer(503, FRESH));
    let got = second.await.unwrap();
    assert!(got.cache_status().contains("detail=\"origin error\""), "{}", got.cache_status());
    assert_eq!((got.status, got.text().await.as_str()), (200, "old"));
    let third = ask(proxy);
    origin.call().await.break_off();
    assert_eq!(third.await.unwrap().text().await, "old");
}

#[tokio::test]
async fn trailers_and_interim_responses_are_dropped() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = proxy(Config::new(listener.local_addr().unwrap())).await;
    tokio::spawn(async move {
        for cache_control in ["no-store", "max-age=100"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 2000]).await.unwrap();
            let text = format!(
                "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncache-control: {cache_control}\r\n\
                 trailer: x\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx: 1\r\n\r\n"
            );
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    });
    for _ in 0..3 {
        let mut got = get(proxy, &[]).await;
        assert_eq!(
            (got.status, got.headers.contains_key("link"), got.headers.contains_key("trailer")),
            (200, false, false)
        );
        assert_eq!(got.piece().await.unwrap().unwrap(), "body");
        assert!(got.piece().await.is_none(), "no trailers");
    }
}

#[tokio::test]
async fn who_reads_after_a_write_never_gets_what_was_before_it() {
    let (mut origin, address) = Origin::start().await;
    let proxy = proxy(Config::new(address)).await;
    let before = ask(proxy);
    let slow = origin.call().await;
    let write = tokio::spawn(async move { world::send(proxy, "POST", &[]).await });
    origin.call().await.whole(&[], "written").await;
    assert_eq!(write.await.unwrap().text().await, "written");
    let after = ask(proxy);
    let call = origin.call().await;
    slow.whole(FRESH, "old").await;
    assert_eq!(before.await.unwrap().text().await, "old", "that one asked before");
    call.whole(FRESH, "new").await;
    assert_eq!(after.await.unwrap().text().await, "new");
    assert_eq!(get(proxy, &[]).await.text().await, "new");
    assert_eq!(origin.count(), 3);
}
