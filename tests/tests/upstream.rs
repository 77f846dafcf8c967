//! Promise: a register that fails or lies never leaks, and never stalls others.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use popgate_demo::client::{Answer, get};
use popgate_demo::deployment::Options;
use popgate_demo::register::demo::{DECEASED, HOA, HUSBAND, MINOR, RESIDENT_OF_079, SON};
use popgate_demo::register::{Citizen, Fault, Framing, Number};
use popgate_demo::scenario::read_path;
use popgate_tests::wire::Reply;
use popgate_tests::{Harness, eventually, refusal};
use serde_json::Value;

mod raw;

use raw::{RawRegister, Script};

#[tokio::test]
async fn answers_about_somebody_else_leak_nothing_and_are_not_kept() {
    let harness = Harness::start_options(&Options { cores: 1, ..Options::default() });
    let faults = &harness.deployment.register.faults;
    let client = harness.client("tax/etax");
    assert_eq!(ask(&harness, SON.number).await.status, StatusCode::OK);
    assert_eq!(faults.connections(), 1);

    faults.swap(HOA.number, HUSBAND.number);
    for number in [HOA.number, HUSBAND.number] {
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: localhost\r\nGateway-Purpose: assessment\r\nConnection: close\r\n\r\n",
            read_path(number)
        );
        let reply = Reply::to(&client, request.as_bytes(), Duration::from_secs(5)).await;
        assert_eq!(reply.statuses(), [502]);
        assert!(reply.text().contains(r#""code":"subject_mismatch""#), "{}", reply.text());
        for value in [HOA.number, HUSBAND.number].into_iter().flat_map(words) {
            assert!(!reply.text().contains(&value), "`{value}` was received");
        }
    }
    assert_eq!(faults.connections(), 2, "the second one was asked over a new connection");
    assert_eq!(harness.deployment.gateway.node().metrics.subject_mismatches.get(), 2);

    faults.clear();
    for known in [HOA, HUSBAND] {
        let answer = ask(&harness, known.number).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.json()["id"], known.number.to_string());
    }
    assert_eq!(faults.connections(), 3, "neither connection was used again");
    assert_eq!(faults.requests(), 5, "nothing of the swapped answers was served from the cache");
    eventually("the desynchronised connections are closed", || faults.open_connections() == 1).await;
}

#[tokio::test]
async fn a_record_that_cannot_be_read_strictly_is_not_passed_on() {
    let harness = Harness::start();
    let faults = &harness.deployment.register.faults;
    let record = String::from_utf8(Citizen::of(HOA.number).unwrap().to_json()).unwrap();
    let with = |extra: &str| format!("{{{extra},{}", &record[1..]).into_bytes();
    let mut not_utf8 = record.clone().into_bytes();
    let name = record.find("Hoa").unwrap();
    not_utf8[name] = 0xff;
    let unreadable: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("truncated", record.as_bytes()[..record.len() / 2].to_vec()),
        ("truncated by one byte", record.as_bytes()[..record.len() - 1].to_vec()),
        ("not UTF-8", not_utf8),
        ("a key twice", with(r#""full_name":"Somebody""#)),
        ("a key twice, once escaped", with(r#""full\u005fname":"Somebody""#)),
        (
            "a nested key twice",
            record.replace(r#""permanent_residence":{"#, r#""permanent_residence":{"province_code":"001","#).into(),
        ),
        ("something after it", format!("{record}x").into()),
        ("another record after it", format!("{record}{record}").into()),
        ("a byte order mark", format!("\u{feff}{record}").into()),
        ("a lone surrogate", with(r#""note":"\ud800""#)),
        ("nested for ever", with(&format!(r#""note":{}{}"#, "[".repeat(500), "]".repeat(500)))),
        ("no object", b"[]".to_vec()),
        ("null", b"null".to_vec()),
        ("no JSON number", with(r#""note":NaN"#)),
        ("a control character", with("\"note\":\"a\u{1}b\"")),
        ("single quotes", record.replace('"', "'").into()),
        ("a comment", format!("/* */{record}").into()),
    ];
    for (what, body) in unreadable {
        let fault = Fault { body: Some(body.into()), ..Fault::default() };
        for framing in [Framing::Sized, Framing::Chunked] {
            faults.set(HOA.number, Fault { framing, ..fault.clone() });
            let answer = ask(&harness, HOA.number).await;
            assert_eq!(refusal(&answer), "502 record_unreadable", "{what}");
            assert_clean(&answer, what);
        }
    }
    for framing in [Framing::Sized, Framing::Chunked] {
        let body = Some(with(&format!(r#""note":"{}""#, "a".repeat(64 * 1024))).into());
        faults.set(HOA.number, Fault { body, framing, ..Fault::default() });
        let answer = ask(&harness, HOA.number).await;
        assert_eq!(refusal(&answer), "502 record_too_large");
        assert_clean(&answer, "too large");
    }
    faults.clear();
    let answer = ask(&harness, HOA.number).await;
    assert_eq!(answer.status, StatusCode::OK, "what could not be read was not kept");
}

#[tokio::test]
async fn undeclared_fields_are_withheld_and_counted() {
    let harness = Harness::start();
    let record = String::from_utf8(Citizen::of(HOA.number).unwrap().to_json()).unwrap();
    let body = format!(r#"{{"secret_note":"under investigation","also":{{"x":[1,2]}},{}"#, &record[1..]);
    let plain = ask(&harness, MINOR.number).await;
    assert_eq!(plain.status, StatusCode::OK);
    let faults = &harness.deployment.register.faults;
    faults.set(HOA.number, Fault { body: Some(Bytes::from(body)), ..Fault::default() });
    let answer = ask(&harness, HOA.number).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["full_name"], HOA.full_name);
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(!text.contains("secret_note") && !text.contains("investigation") && !text.contains("also"), "{text}");
    for field in ["Citizen.secret_note", "Citizen.also"] {
        let name = format!("popgate_undeclared_fields_total{{field=\"{field}\",register=\"population\"}}");
        assert_eq!(harness.metric(&name).await, 1, "{field}");
    }
}

#[tokio::test]
async fn a_slow_or_broken_register_is_answered_in_time_and_delays_nobody_else() {
    let mut harness = Harness::start_options(&Options { cores: 1, ..Options::default() });
    let faults = harness.deployment.register.faults.clone();
    let second = Duration::from_secs(1);
    faults.set(HOA.number, Fault { delay_head: Some(second * 8), ..Fault::default() });
    faults.set(HUSBAND.number, Fault { delay_body: Some(second * 8), ..Fault::default() });
    let (hoa, husband) = (timed(&harness, HOA.number), timed(&harness, HUSBAND.number));
    let others = async {
        eventually("both slow ones are asked", || faults.requests() == 2).await;
        let mut slowest = Duration::ZERO;
        for known in [SON, MINOR, DECEASED, RESIDENT_OF_079] {
            let (answer, took) = timed(&harness, known.number).await;
            assert_eq!(answer.status, StatusCode::OK);
            slowest = slowest.max(took);
        }
        slowest
    };
    let (hoa, husband, slowest) = tokio::join!(hoa, husband, others);
    for (answer, took) in [hoa, husband] {
        assert_eq!(refusal(&answer), "504 register_timeout");
        assert_eq!(answer.headers["retry-after"], "1");
        assert_clean(&answer, "slow");
        assert!(took >= 2 * second && took < 5 * second, "after {took:?}");
    }
    assert!(slowest < 2 * second, "another one waited {slowest:?}");

    for (cut, framing) in [(0, Framing::Sized), (100, Framing::Sized), (900, Framing::Chunked), (0, Framing::Chunked)] {
        faults.set(HOA.number, Fault { cut_after: Some(cut), framing, ..Fault::default() });
        let answer = ask(&harness, HOA.number).await;
        assert_eq!(refusal(&answer), "502 register_failed", "cut after {cut}, {framing:?}");
        assert_clean(&answer, "cut");
    }
    harness.deployment.register.stop();
    let answer = ask(&harness, HOA.number).await;
    assert_eq!(refusal(&answer), "503 register_unavailable");
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(ask(&harness, MINOR.number).await.status, StatusCode::OK, "what is fresh is still answered");
}

#[tokio::test]
async fn what_is_no_record_becomes_a_refusal_and_none_of_it_crosses() {
    let (harness, register) = RawRegister::start().await;
    let record = String::from_utf8(Citizen::of(HOA.number).unwrap().to_json()).unwrap();
    let ok = |headers: &str, body: &str| {
        format!("HTTP/1.1 200 OK\r\nX-Secret: leaked-secret\r\n{headers}\r\n{body}").into_bytes()
    };
    let sized = format!("Content-Length: {}\r\n", record.len());
    let json = format!("Content-Type: application/json\r\n{sized}");
    let status = |line: &str, body: &str| {
        let length = body.len();
        format!(
            "HTTP/1.1 {line}\r\nX-Secret: leaked-secret\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    };
    let failed = "502 register_failed";
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("text", ok(&format!("Content-Type: text/plain\r\n{sized}"), &record), failed),
        ("no type", ok(&sized, &record), failed),
        ("two types", ok(&format!("Content-Type: text/html\r\n{json}"), &record), failed),
        ("two types, the right one first", ok(&format!("{json}Content-Type: text/html\r\n"), &record), failed),
        ("compressed", ok(&format!("Content-Encoding: gzip\r\n{json}"), &record), failed),
        ("redirect", status("302 Found\r\nLocation: https://leaked-secret.example/", ""), failed),
        ("error with a body", status("500 Internal Server Error", r#"{"error":"leaked-secret"}"#), failed),
        ("refused", status("403 Forbidden", r#"{"error":"leaked-secret"}"#), failed),
        ("unavailable", status("503 Service Unavailable", "leaked-secret"), "503 register_unavailable"),
        ("no content", b"HTTP/1.1 204 No Content\r\nX-Secret: leaked-secret\r\n\r\n".to_vec(), failed),
        ("partial", status("206 Partial Content", &record), failed),
        ("created", status("201 Created", &record), failed),
        ("not modified, though nobody asked", status("304 Not Modified", ""), failed),
        (
            "an upgrade",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".to_vec(),
            failed,
        ),
        ("no HTTP", b"leaked-secret leaked-secret\r\n\r\n".to_vec(), failed),
        ("another HTTP", b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(), failed),
        ("two lengths", ok(&format!("Content-Length: 5\r\n{json}"), &record), failed),
        (
            "length and chunks",
            ok(
                &format!("Transfer-Encoding: chunked\r\n{json}"),
                &format!("{:x}\r\n{record}\r\n0\r\n\r\n", record.len()),
            ),
            failed,
        ),
        (
            "an endless chunk",
            ok("Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n", "ffffffffffffffffff\r\n"),
            failed,
        ),
        ("endless headers", ok(&format!("X-Filler: {}\r\n{json}", "a".repeat(1 << 20)), &record), failed),
    ];
    for (what, bytes, expected) in cases {
        register.answer(bytes);
        let answer = ask(&harness, HOA.number).await;
        assert_eq!(refusal(&answer), expected, "{what}");
        assert_clean(&answer, what);
    }
    let hints = "HTTP/1.1 103 Early Hints\r\nX-Secret: leaked-secret\r\n\r\n".repeat(2);
    register.answer([hints.into_bytes(), ok(&json, &record)].concat());
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: localhost\r\nGateway-Purpose: assessment\r\nConnection: close\r\n\r\n",
        read_path(HOA.number)
    );
    let reply = Reply::to(&harness.client("tax/etax"), request.as_bytes(), Duration::from_secs(5)).await;
    assert_eq!(reply.statuses(), [200], "interim responses never cross");
    assert!(!reply.text().to_lowercase().contains("secret"), "{}", reply.text());
}

#[tokio::test]
async fn connections_that_the_register_closes_or_spoils_are_replaced_unnoticed() {
    let (harness, register) = RawRegister::start().await;
    let response = |number: Number| {
        let record = Citizen::of(number).unwrap().to_json();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nContent-Length: {}\r\n\r\n",
            record.len()
        );
        [head.into_bytes(), record].concat()
    };
    // Closed on the second request: it is asked again, on a new connection.
    register.script(Script { first: response(HOA.number), later: None });
    for round in 1..=3 {
        assert_eq!(ask(&harness, HOA.number).await.status, StatusCode::OK, "round {round}");
        assert_eq!(register.connections(), round);
    }
    // Closed on every request: asked once more, not for ever.
    let before = register.requests();
    register.script(Script { first: Vec::new(), later: None });
    assert_eq!(refusal(&ask(&harness, HOA.number).await), "502 register_failed");
    assert!(register.requests() - before <= 2, "{} requests", register.requests() - before);
    // A second answer that nobody asked for: it is nobody's.
    let doubled = [response(HOA.number), response(HUSBAND.number)].concat();
    register.script(Script { first: doubled.clone(), later: Some(doubled) });
    for known in [HOA, HUSBAND, HOA] {
        let answer = ask(&harness, known.number).await;
        if known.number == HUSBAND.number {
            assert_eq!(refusal(&answer), "502 subject_mismatch");
        } else {
            assert_eq!(answer.json()["id"], known.number.to_string());
        }
    }
}

async fn ask(harness: &Harness, number: Number) -> Answer {
    harness.client("tax/etax").send(get(&read_path(number), Some("assessment"))).await.unwrap()
}

async fn timed(harness: &Harness, number: Number) -> (Answer, Duration) {
    let since = Instant::now();
    let answer = ask(harness, number).await;
    (answer, since.elapsed())
}

/// A refusal that holds nothing of a record, a register's header or a register's body.
fn assert_clean(answer: &Answer, what: &str) {
    let received = format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body));
    assert!(!received.to_lowercase().contains("secret"), "{what}: {received}");
    for value in words(HOA.number) {
        assert!(!received.contains(&value), "{what}: `{value}` was received");
    }
    for header in ["location", "etag", "surrogate-key", "age", "content-encoding", "link", "upgrade"] {
        assert!(!answer.headers.contains_key(header), "{what}: {header}");
    }
}

/// The record's own words: every text of it that no refusal holds by chance.
fn words(number: Number) -> Vec<String> {
    fn collect(value: &Value, words: &mut Vec<String>) {
        match value {
            Value::String(text) if text.chars().count() > 6 => words.push(text.clone()),
            Value::Array(items) => items.iter().for_each(|item| collect(item, words)),
            Value::Object(members) => members.values().for_each(|member| collect(member, words)),
            _ => {}
        }
    }
    let mut all = Vec::new();
    collect(&serde_json::from_slice(&Citizen::of(number).unwrap().to_json()).unwrap(), &mut all);
    assert!(all.len() > 10);
    all
}
