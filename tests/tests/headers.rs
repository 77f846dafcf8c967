//! Promise: no header crosses the gateway that is not listed, in either direction; nor does anything else around the record.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::Full;
use popgate::app::config::Endpoint;
use popgate_demo::client::{Answer, Http, get, post};
use popgate_demo::register::demo::{HOA, HUSBAND, RESIDENT_OF_079, SON};
use popgate_demo::register::{Citizen, Fault, Framing, server_config};
use popgate_demo::scenario::{LOOKUP, keys_of_hoa, read_path};
use popgate_tests::{Harness, refusal};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What clients send, and registers must not see.
const OF_THE_CLIENT: [(&str, &str); 26] = [
    ("gateway-purpose", "assessment"),
    ("gateway-user", "inspector-7"),
    ("gateway-case", "TD-1"),
    ("gateway-assurance", "high"),
    ("authorization", "Bearer of.the.client"),
    ("proxy-authorization", "Basic eA=="),
    ("cookie", "session=of-the-client"),
    ("range", "bytes=0-10"),
    ("if-none-match", "\"of-the-client\""),
    ("if-match", "*"),
    ("if-modified-since", "Sat, 01 Jan 2022 00:00:00 GMT"),
    ("if-unmodified-since", "Sat, 01 Jan 2022 00:00:00 GMT"),
    ("if-range", "\"of-the-client\""),
    ("accept", "text/html"),
    ("accept-encoding", "gzip, br"),
    ("accept-language", "vi"),
    ("cache-control", "no-cache"),
    ("pragma", "no-cache"),
    ("user-agent", "curl/8"),
    ("x-forwarded-for", "10.0.0.1"),
    ("forwarded", "for=10.0.0.1;proto=https"),
    ("via", "1.1 of-the-client"),
    ("x-request-id", "of-the-client-4711"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("x-client-cert", "of-somebody-else"),
    ("x-http-method-override", "DELETE"),
];

/// What registers send, and clients must not see.
const OF_THE_REGISTER: [(&str, &str); 18] = [
    ("server", "register/1.0"),
    ("set-cookie", "register=1; Path=/"),
    ("age", "17"),
    ("via", "1.1 register"),
    ("warning", "110 register \"stale\""),
    ("link", "</persons/1>; rel=next"),
    ("location", "https://register.internal/persons/1"),
    ("content-location", "/persons/1"),
    ("content-language", "vi"),
    ("last-modified", "Sat, 01 Jan 2022 00:00:00 GMT"),
    ("expires", "Sat, 01 Jan 2050 00:00:00 GMT"),
    ("vary", "Cookie"),
    ("alt-svc", "h3=\":443\""),
    ("strict-transport-security", "max-age=1"),
    ("gateway-request-id", "00000000000000000000000000000000"),
    ("gateway-view", "register"),
    ("x-powered-by", "register"),
    ("retry-after", "77"),
];

#[tokio::test]
async fn the_register_gets_exactly_the_listed_headers() {
    let harness = Harness::start();
    let faults = &harness.deployment.register.faults;
    faults.keep_received();
    // Never fresh: the second request compares with what the first one brought.
    faults.set_everyone(Fault { cache_control: Some(HeaderValue::from_static("max-age=0")), ..Fault::default() });
    let host = format!("localhost:{}", harness.deployment.register.address.port());
    for (http, person) in [(Http::One, &HOA), (Http::Two, &HUSBAND)] {
        let mut session = harness.client_over("tax/etax", http).connect().await.unwrap();
        let mut whole = Vec::new();
        for _ in 0..2 {
            let answer = session.send(laden(get(&read_path(person.number), None))).await.unwrap();
            // The client's conditions and ranges are about nothing that it ever got from here.
            assert_eq!(answer.status, StatusCode::OK, "{}", refusal(&answer));
            whole.push(answer.body);
        }
        assert_eq!(whole[0], whole[1]);
        let received = faults.received();
        assert_eq!(received.len(), 2, "{http:?}");
        for (again, request) in received.iter().enumerate() {
            assert_eq!(request.method, http::Method::GET);
            assert_eq!(request.uri.to_string(), format!("/persons/{}", person.number));
            let mut headers = request.headers.clone();
            assert_eq!(headers.remove("host").unwrap(), host.as_str());
            assert_eq!(headers.remove("accept").unwrap(), "application/json");
            let left: u64 = headers.remove("gateway-deadline-ms").unwrap().to_str().unwrap().parse().unwrap();
            assert!((1..=2000).contains(&left), "{left}");
            // The gateway's own condition, with the register's own validator.
            let condition = headers.remove("if-none-match");
            assert_eq!(condition.is_some(), again == 1, "{http:?}");
            assert!(condition.is_none_or(|etag| etag.to_str().unwrap().starts_with("\"1-")));
            assert!(headers.is_empty(), "{http:?}: {headers:?}");
        }
    }
    // A body becomes a path, and nothing else of it crosses.
    let answer = harness.client("tax/etax").send(laden(post(LOOKUP, None, &keys_of_hoa()))).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", refusal(&answer));
    let received = faults.received();
    assert_eq!((received[0].method.as_str(), received[0].uri.path()), ("GET", &*format!("/persons/{}", HOA.number)));
    assert!(
        received[0]
            .headers
            .keys()
            .all(|name| ["host", "accept", "gateway-deadline-ms", "if-none-match"].contains(&name.as_str()))
    );
}

#[tokio::test]
async fn the_client_gets_exactly_the_listed_headers() {
    let harness = Harness::start();
    let faults = &harness.deployment.register.faults;
    let headers: Vec<(HeaderName, HeaderValue)> = OF_THE_REGISTER
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    faults.set_everyone(Fault { headers: headers.clone(), ..Fault::default() });
    faults.set(SON.number, Fault { headers: headers.clone(), framing: Framing::Chunked, ..Fault::default() });
    let failing = Fault { status: Some(StatusCode::INTERNAL_SERVER_ERROR), headers, ..Fault::default() };
    faults.set(RESIDENT_OF_079.number, failing);
    let mut ids = HashSet::new();
    for http in [Http::One, Http::Two] {
        let mut session = harness.client_over("tax/etax", http).connect().await.unwrap();
        for person in [&HOA, &SON] {
            // From the register, then from the cache.
            for _ in 0..2 {
                let answer = session.send(laden(get(&read_path(person.number), None))).await.unwrap();
                assert_eq!(answer.status, StatusCode::OK, "{}", refusal(&answer));
                let raw = Citizen::of(person.number).unwrap().to_json().len();
                assert!(answer.body.len() < raw, "tax does not see everything");
                ids.insert(listed(&answer, "application/json"));
            }
        }
        let mut head = get(&read_path(HOA.number), None);
        *head.method_mut() = http::Method::HEAD;
        let told = session.send(head).await.unwrap();
        let shown = session.send(get(&read_path(HOA.number), None)).await.unwrap();
        assert_eq!(told.headers["content-length"], shown.body.len().to_string().as_str());
        assert_eq!(names(&told.headers), names(&shown.headers));
        ids.extend([request_id(&told.headers), request_id(&shown.headers)]);
        // Refusals have a request id of their own as well, and no more of the register's headers.
        let failed = session.send(laden(get(&read_path(RESIDENT_OF_079.number), None))).await.unwrap();
        assert_eq!(refusal(&failed), "502 register_failed");
        ids.insert(listed(&failed, "application/problem+json"));
        let unknown = session.send(laden(get("/population/v1/nothing", None))).await.unwrap();
        ids.insert(listed(&unknown, "application/problem+json"));
    }
    assert_eq!(ids.len(), 16, "every answer has an id of its own");
}

#[tokio::test]
async fn early_hints_and_trailers_do_not_cross() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let harness = Harness::start_made(
        "",
        |_| {},
        |config| {
            for register in config.registers.values_mut() {
                register.endpoints = vec![Endpoint { host: "localhost".into(), port, zone: None }];
            }
        },
    );
    let pem = |name: &str| std::fs::read(harness.deployment.site.dir().join("pki").join(name)).unwrap();
    let tls = server_config(&pem("register.pem"), &pem("register.key"), &pem("site.pem")).unwrap();
    tokio::spawn(talkative(listener, tls));

    let tls = harness.client("tax/etax").connect_tls().await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(tls);
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nConnection: close\r\n\r\n",
        read_path(HOA.number)
    );
    writer.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // The gateway closes as it was asked to; without a close_notify the read ends with an error after the last byte.
    let _ = reader.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(!head.to_lowercase().contains("transfer-encoding") && !head.to_lowercase().contains("trailer"), "{head}");
    for marked in ["hint", "checksum", "Early"] {
        assert!(!answer.contains(marked), "{answer}");
    }
    assert!(head.contains(&format!("content-length: {}", body.len())), "nothing follows the body: {answer}");
    assert!(serde_json::from_str::<serde_json::Value>(body).unwrap()["full_name"] == HOA.full_name);

    // Over HTTP/2 trailers would come after the body as a frame of their own: the client's library would tell.
    let mut session = harness.client_over("tax/etax", Http::Two).connect().await.unwrap();
    let response = session.start(get(&read_path(HUSBAND.number), None)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let collected = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
    assert_eq!(collected.trailers(), None);
}

#[tokio::test]
async fn who_asks_is_what_the_certificate_says_and_no_header() {
    let harness = Harness::start();
    let site = &harness.deployment.site;
    let tax = std::fs::read_to_string(site.identity("tax/etax").unwrap()).unwrap();
    let certificate = tax.split("-----BEGIN PRIVATE KEY-----").next().unwrap().replace('\n', "%0A");
    let posing = [
        ("x-client-cert", certificate.as_str()),
        ("x-ssl-client-cert", certificate.as_str()),
        ("ssl-client-cert", certificate.as_str()),
        ("client-cert", ":eA==:"),
        ("x-ssl-client-s-dn", "CN=tax.etax"),
        ("x-forwarded-client-cert", "URI=spiffe://gov.vn/tax/etax"),
        ("x-forwarded-for", "10.60.0.1"),
        ("x-real-ip", "10.60.0.1"),
        ("x-consumer-username", "tax/etax"),
    ];
    let ask = async |system, purpose, headers: &[(&'static str, &str)]| {
        let mut request = post(LOOKUP, Some(purpose), &keys_of_hoa());
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        harness.client(system).send(request).await.unwrap()
    };
    let plain = ask("telecom-a/crm", "subscriber-verification", &[]).await;
    assert_eq!(plain.status, StatusCode::OK);
    let posed = ask("telecom-a/crm", "subscriber-verification", &posing).await;
    assert_eq!(posed.body, plain.body);
    assert_eq!(refusal(&ask("telecom-a/crm", "assessment", &posing).await), "403 purpose_not_enrolled");
    // A network is the connection's, not the one that a header names.
    assert_eq!(refusal(&ask("statistics/warehouse", "statistics", &posing).await), "403 network_not_listed");
    assert_eq!(refusal(&ask("tax/nobody", "assessment", &posing).await), "403 system_not_enrolled");
}

/// Checks that an answer has exactly the headers that every answer has; its request id.
fn listed(answer: &Answer, kind: &str) -> String {
    let mut all = vec![
        "alt-svc",
        "cache-control",
        "content-length",
        "content-type",
        "date",
        "gateway-request-id",
        "gateway-view",
        "ratelimit",
        "ratelimit-policy",
        "x-content-type-options",
    ];
    // What is no operation has no limit.
    if answer.status == StatusCode::NOT_FOUND {
        all.retain(|name| !name.starts_with("ratelimit"));
    }
    // Whose fault it was, where it was not the caller's.
    if answer.status.is_server_error() {
        all.insert(7, "proxy-status");
    }
    assert_eq!(names(&answer.headers), all, "{:?}", answer.headers);
    // The gateway's own HTTP/3, not what the register says of its own.
    assert!(answer.headers["alt-svc"].to_str().unwrap().ends_with("; ma=86400"), "{:?}", answer.headers);
    assert_eq!(answer.headers["cache-control"], "private, no-store");
    assert_eq!(answer.headers["content-type"], kind);
    assert_eq!(answer.headers["content-length"], answer.body.len().to_string().as_str());
    let view = answer.headers["gateway-view"].to_str().unwrap();
    assert!(view.len() == 32 && view.bytes().all(|byte| byte.is_ascii_hexdigit()), "{view}");
    assert!(!format!("{:?}", answer.headers).contains("of-the-client"), "{:?}", answer.headers);
    request_id(&answer.headers)
}

fn request_id(headers: &HeaderMap) -> String {
    let id = headers["gateway-request-id"].to_str().unwrap().to_owned();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)), "{id}");
    assert_ne!(id, "0".repeat(32));
    id
}

/// Sorted, one for each value.
fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names
}

fn laden(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    for (name, value) in OF_THE_CLIENT {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    request
}

/// A register that says more than the record: a hint before it, and a trailer after it.
async fn talkative(listener: TcpListener, tls: Arc<rustls::ServerConfig>) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(tls);
    while let Ok((tcp, _)) = listener.accept().await {
        let Ok(mut stream) = acceptor.accept(tcp).await else { continue };
        tokio::spawn(async move {
            let mut head = Vec::new();
            let mut buffer = [0; 4096];
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut buffer).await {
                    Ok(read) if read > 0 => head.extend_from_slice(&buffer[..read]),
                    _ => return,
                }
            }
            let head = String::from_utf8(head).unwrap();
            let number = head.split(' ').nth(1).unwrap().rsplit('/').next().unwrap().parse().unwrap();
            let record = String::from_utf8(Citizen::of(number).unwrap().to_json()).unwrap();
            let answer = format!(
                "HTTP/1.1 103 Early Hints\r\nLink: </hint>; rel=preload\r\n\r\n\
                 HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\
                 Trailer: X-Checksum\r\nConnection: close\r\n\r\n{:x}\r\n{record}\r\n0\r\nX-Checksum: checksum\r\n\r\n",
                record.len(),
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            let _ = stream.shutdown().await;
        });
    }
}
