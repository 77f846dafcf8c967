//! Promise: a client of an X-Road exchange asks without a change: its exchange server is known by certificate and speaks for the
//! members that it is enrolled for, and for nobody else; who spoke for whom is recorded, and the answer is one that X-Road understands.

use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA512, digest};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use popgate::audit::{AuditKey, PurposeSource, What, read};
use popgate_demo::client::{Answer, Http, Session, get, post};
use popgate_demo::register::demo::{HOA, HUSBAND};
use popgate_demo::scenario::{LOOKUP, keys_of_hoa, read_path};
use popgate_tests::made::edit;
use popgate_tests::{Harness, build, eventually, node, refusal};
use serde_json::Value;

const SERVER: &str = "data-exchange/tax";
const SERVICE: &str = "VN/GOV/MPS/NPDB/population";
const ETAX: &str = "VN/GOV/TAX/ETAX";
const INSPECTION: &str = "VN/GOV/TAX/INSPECTION";

/// A message to the service, for a client.
fn message(path: &str, client: &str, more: &[(&'static str, &str)]) -> Request<Full<Bytes>> {
    with(get(&format!("/r1/{SERVICE}{path}"), None), client, more)
}

fn with(mut request: Request<Full<Bytes>>, client: &str, more: &[(&'static str, &str)]) -> Request<Full<Bytes>> {
    for (name, value) in [&[("x-road-client", client), ("x-road-issue", "MT 324223 MSD")], more].concat() {
        request.headers_mut().append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    request
}

fn hoa() -> String {
    format!("/citizens/{}", HOA.number)
}

fn told<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_member_s_system_gets_what_it_would_get_itself_and_x_roads_headers() {
    let harness = Harness::start();
    let itself = harness.client("tax/etax").send(with_case(get(&read_path(HOA.number), None))).await.unwrap();
    assert_eq!(itself.status, StatusCode::OK, "{}", refusal(&itself));
    assert!(!itself.headers.keys().any(|name| name.as_str().starts_with("x-road-")), "{:?}", itself.headers);
    for http in [Http::One, Http::Two] {
        let more = [("x-road-id", "fa2e18a5-c2cb"), ("x-road-service", SERVICE), ("x-road-userid", "EE12345678901")];
        let answer = harness.client_over(SERVER, http).send(message(&hoa(), ETAX, &more)).await.unwrap();
        assert_eq!((answer.status, &answer.body), (StatusCode::OK, &itself.body), "{}", refusal(&answer));
        let headers = &answer.headers;
        assert_eq!(told(headers, "x-road-client"), ETAX);
        assert_eq!(told(headers, "x-road-service"), SERVICE);
        assert_eq!(told(headers, "x-road-id"), "fa2e18a5-c2cb");
        assert_eq!(told(headers, "x-road-error"), "");
        let id = told(headers, "x-road-request-id");
        assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{id}");
        assert_eq!(id.replace('-', ""), told(headers, "gateway-request-id"));
    }
    // Each part is percent-encoded as the client pleases, and given back in one form; an id that is not sent is made.
    let answer = harness.client(SERVER).send(message(&hoa(), "%56N/GOV/TAX/%45TAX", &[])).await.unwrap();
    assert_eq!((answer.status, told(&answer.headers, "x-road-client")), (StatusCode::OK, ETAX));
    assert_eq!(told(&answer.headers, "x-road-id"), told(&answer.headers, "x-road-request-id"));
    // HEAD is a message as well.
    let mut head = message(&hoa(), ETAX, &[]);
    *head.method_mut() = Method::HEAD;
    let answer = harness.client(SERVER).send(head).await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
    assert_eq!(told(&answer.headers, "content-length"), itself.body.len().to_string());
}

/// The hash as a security server would make it that keeps what it sent: of the head, and of the body if there is one.
#[tokio::test]
async fn the_request_hash_binds_the_answer_to_the_message() {
    let harness = Harness::start();
    let lines = |headers: &str, answer: &Answer| {
        let id = told(&answer.headers, "x-road-request-id");
        format!("{headers}x-road-request-id:{id}\r\n").into_bytes()
    };
    for http in [Http::One, Http::Two] {
        let mut session = harness.client_over(SERVER, http).connect().await.unwrap();
        // Headers for caches pass through X-Road; names of programs and hosts do not (PR-REST, section 4.3).
        let more = [("x-road-id", "a-1"), ("pragma", "no-cache"), ("user-agent", "x"), ("x-road-request-hash", "x")];
        let read = session.send(message(&hoa(), ETAX, &more)).await.unwrap();
        let client = format!("x-road-client:{ETAX}\r\nx-road-issue:MT 324223 MSD\r\nx-road-id:a-1\r\n");
        let head = lines(&format!("GET\r\n/r1/{SERVICE}{}\r\n{client}pragma:no-cache\r\n", hoa()), &read);
        assert_eq!(told(&read.headers, "x-road-request-hash"), base64(digest(&SHA512, &head).as_ref()), "{http:?}");

        let target = LOOKUP.replace("/population/v1", &format!("/r1/{SERVICE}"));
        let lookup = with(post(&target, None, &keys_of_hoa()), ETAX, &[("x-road-id", "a-1")]);
        let body = keys_of_hoa().to_string();
        let answer = session.send(lookup).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{}", refusal(&answer));
        let head = lines(&format!("POST\r\n{target}\r\ncontent-type:application/json\r\n{client}"), &answer);
        let both = [digest(&SHA512, &head).as_ref(), digest(&SHA512, body.as_bytes()).as_ref()].concat();
        assert_eq!(told(&answer.headers, "x-road-request-hash"), base64(digest(&SHA512, &both).as_ref()), "{http:?}");
    }
}

#[tokio::test]
async fn the_register_learns_nothing_of_the_exchange() {
    let harness = Harness::start();
    let faults = &harness.deployment.register.faults;
    faults.keep_received();
    let more = [("x-road-userid", "EE12345678901"), ("x-road-id", "a-1"), ("x-road-represented-party", "COM/12345")];
    let answer = harness.client(SERVER).send(message(&hoa(), ETAX, &more)).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", refusal(&answer));
    let received = faults.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].uri.path(), format!("/persons/{}", HOA.number));
    let mut names: Vec<&str> = received[0].headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "gateway-deadline-ms", "host"]);
}

#[tokio::test]
async fn who_spoke_for_whom_is_recorded() {
    let harness = Harness::start();
    let more = [("x-road-userid", "EE12345678901"), ("x-road-id", "a-1"), ("x-road-represented-party", "COM/12345")];
    let mut session = harness.session(SERVER).await;
    let shown = session.send(message(&hoa(), ETAX, &more)).await.unwrap();
    assert_eq!(shown.status, StatusCode::OK, "{}", refusal(&shown));
    // This system has several purposes, and names none; the next client is nobody's.
    assert_eq!(refusal(&session.send(message(&hoa(), INSPECTION, &more)).await.unwrap()), "403 purpose_missing");
    assert_eq!(
        refusal(&session.send(message(&hoa(), "VN/GOV/TAX/X", &more)).await.unwrap()),
        "403 client_not_represented"
    );
    assert_eq!(harness.metric("popgate_exchange_requests_total{exchange=\"data-exchange/tax\"}").await, 3);
    let (site, _dir) = harness.stop().await;
    let key = site.dir().join("keys/audit.key");
    let symmetric = AuditKey::new(popgate::custody::symmetric_key(&key).unwrap());
    let claimed = |claimed: &popgate::audit::Claimed| {
        let parts = [&claimed.user, &claimed.case, &claimed.request_id, &claimed.represented, &claimed.client];
        parts.map(|part| part.as_ref().map_or("", |part| part.expose().as_str()).to_owned())
    };
    let (mut intents, mut refusals) = (0, Vec::new());
    for entry in read::entries(&site.audit(), Some(&symmetric)).unwrap().map(Result::unwrap) {
        match entry.what {
            What::Intent(intent) => {
                intents += 1;
                assert_eq!((&*intent.system, intent.exchange.as_deref()), ("tax/etax", Some(SERVER)));
                assert_eq!((&*intent.purpose, intent.purpose_source), ("assessment", PurposeSource::Default));
                let said = claimed(&intent.sealed.unwrap().claimed);
                assert_eq!(said, ["EE12345678901", "MT 324223 MSD", "a-1", "COM/12345", ""]);
            }
            What::Refused(refused) => {
                assert_eq!(refused.exchange.as_deref(), Some(SERVER));
                let client = claimed(&refused.sealed.unwrap().claimed)[4].clone();
                refusals.push((refused.system.as_deref().map(str::to_owned), refused.code.to_string(), client));
            }
            What::Closing(_) | What::Action(_) => {}
        }
    }
    assert_eq!(intents, 1);
    let refused = |system: Option<&str>, code: &str, client: &str| {
        (system.map(str::to_owned), code.to_owned(), client.to_owned())
    };
    assert_eq!(
        refusals,
        [
            refused(Some("tax/inspection"), "purpose_missing", ""),
            refused(None, "client_not_represented", "VN/GOV/TAX/X"),
        ]
    );
    let shown = node::run(&["audit", "show", "--json", site.audit().to_str().unwrap()]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    let intent: Value = serde_json::from_str(shown.lines().next().unwrap()).unwrap();
    assert_eq!((&intent["purpose_source"], &intent["exchange"]), (&"default".into(), &SERVER.into()));
    assert!(!shown.contains("EE12345678901") && !shown.contains("VN/GOV/TAX/X"), "sealed: {shown}");
    let lines = String::from_utf8(node::run(&["audit", "show", site.audit().to_str().unwrap()]).stdout).unwrap();
    assert!(lines.contains(" tax/etax by data-exchange/tax citizen.read for assessment (its only one) "), "{lines}");
    assert!(lines.contains(" - by data-exchange/tax "), "{lines}");
}

#[tokio::test]
async fn the_clients_on_one_connection_are_told_apart() {
    let harness = Harness::start();
    for http in [Http::One, Http::Two] {
        let mut session = harness.client_over(SERVER, http).connect().await.unwrap();
        for _ in 0..3 {
            let etax = session.send(message(&hoa(), ETAX, &[])).await.unwrap();
            assert_eq!(refusal(&etax), "200 ");
            let other = session.send(message(&hoa(), "VN/GOV/HEALTH/EHR", &[])).await.unwrap();
            assert_eq!(refusal(&other), "403 client_not_represented");
            let inspection = [("gateway-purpose", "assessment")];
            let answer = session.send(message(&hoa(), INSPECTION, &inspection)).await.unwrap();
            assert_eq!((refusal(&answer).as_str(), told(&answer.headers, "x-road-client")), ("200 ", INSPECTION));
        }
    }
    let (site, _dir) = harness.stop().await;
    let systems: Vec<String> = read::entries(&site.audit(), None)
        .unwrap()
        .filter_map(|entry| match entry.unwrap().what {
            What::Intent(intent) => Some(intent.system.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(systems, ["tax/etax", "tax/inspection"].repeat(6));
}

/// What is asked, what becomes of it, and the type of the error.
#[tokio::test]
async fn what_is_not_as_it_should_be_is_refused_by_name() {
    let harness = Harness::start();
    let mut session = harness.session(SERVER).await;
    let nobody = with(get(&format!("/r1/{SERVICE}{}", hoa()), None), ETAX, &[]);
    let without = {
        let mut request = nobody;
        request.headers_mut().remove("x-road-client");
        request
    };
    let delete = {
        let mut request = message(&hoa(), ETAX, &[]);
        *request.method_mut() = Method::DELETE;
        request
    };
    let to = |path: &str| with(get(path, None), ETAX, &[]);
    let denied = "Server.ServerProxy.AccessDenied";
    let invalid = "Client.BadRequest";
    let unknown = "Server.ServerProxy.UnknownService";
    let long = "9".repeat(129);
    let cases = [
        (without, "400 header_invalid", invalid, "X-Road-Client: name the client"),
        (message(&hoa(), "VN/GOV", &[]), "400 header_invalid", invalid, "X-Road-Client: send instance/class"),
        (message(&hoa(), ETAX, &[("x-road-client", INSPECTION)]), "400 header_invalid", invalid, "once"),
        (message(&hoa(), "VN/GOV/TAX", &[]), "403 client_not_represented", denied, "enrolled system"),
        (message(&hoa(), "VN/GOV/TAX/etax", &[]), "403 client_not_represented", denied, "enrolled system"),
        (message(&hoa(), ETAX, &[("x-road-service", "VN/GOV/MPS/NPDB/other")]), "400 header_invalid", invalid, "path"),
        (message(&hoa(), ETAX, &[("x-road-userid", "\u{1ebf}")]), "400 header_invalid", invalid, "X-Road-UserId"),
        (message(&hoa(), ETAX, &[("x-road-id", &long)]), "400 header_invalid", invalid, "X-Road-Id: send 1 to 128"),
        (message(&hoa(), ETAX, &[("x-road-represented-party", "a/b/c")]), "400 header_invalid", invalid, "class/code"),
        (
            message(&hoa(), ETAX, &[("gateway-case", "TD-1")]),
            "400 header_invalid",
            invalid,
            "differs from Gateway-Case",
        ),
        (to(&read_path(HOA.number)), "404 service_unknown", unknown, "/r1/{instance}"),
        (to("/r1/VN/GOV/MPS/NPDB/other/citizens/1"), "404 service_unknown", unknown, "/r1/{instance}"),
        (message("/nothing", ETAX, &[]), "404 operation_unknown", unknown, "contract"),
        (message("/../v1/citizens/1", ETAX, &[]), "404 operation_unknown", unknown, "contract"),
        (delete, "405 method_not_allowed", "Server.ServerProxy.InvalidHttpMethod", "GET, HEAD"),
        (message(&hoa(), ETAX, &[("gateway-purpose", "treatment")]), "403 purpose_not_enrolled", denied, "assessment"),
    ];
    for (request, code, error, says) in cases {
        let what = format!("{:?} {}", request.headers(), request.uri());
        let answer = session.send(request).await.unwrap();
        assert_eq!((refusal(&answer).as_str(), told(&answer.headers, "x-road-error")), (code, error), "{what}");
        // The document is X-Road's and, with the stable code, the gateway's own (PR-REST, section 4.6).
        let document = answer.json();
        assert_eq!(told(&answer.headers, "content-type"), "application/json;charset=utf-8", "{what}");
        assert_eq!((&document["type"], &document["code"]), (&error.into(), &code[4..].into()), "{what}");
        for member in ["message", "detail"] {
            assert!(document[member].as_str().unwrap().contains(says), "{what}: {document}");
        }
        assert!(answer.headers.contains_key("x-road-request-id") && answer.headers.contains_key("x-road-id"), "{what}");
        assert!(!answer.headers.contains_key("x-road-request-hash"), "{what}");
    }
    // That nobody matches is an answer of the service: no error, and bound to its message.
    let unknown = session.send(message("/citizens/001999999999", ETAX, &[])).await.unwrap();
    assert_eq!(refusal(&unknown), "404 no_match");
    assert_eq!(told(&unknown.headers, "content-type"), "application/problem+json");
    assert!(!unknown.headers.contains_key("x-road-error") && unknown.headers.contains_key("x-road-request-hash"));
    // The same in both is no contradiction.
    let both = message(&hoa(), ETAX, &[("gateway-case", "TD-1")]);
    let (mut parts, body) = both.into_parts();
    parts.headers.insert("x-road-issue", HeaderValue::from_static("TD-1"));
    assert_eq!(refusal(&session.send(Request::from_parts(parts, body)).await.unwrap()), "200 ");
}

#[tokio::test]
async fn a_system_speaks_for_itself_alone() {
    let harness = Harness::start();
    let mut session = harness.session("tax/etax").await;
    for client in [ETAX, INSPECTION, "?"] {
        let named = session.send(with(get(&read_path(HOA.number), None), client, &[])).await.unwrap();
        assert_eq!(refusal(&named), "400 header_invalid");
        assert!(named.json()["detail"].as_str().unwrap().contains("leave it out"), "{}", named.json());
        assert!(!named.headers.contains_key("x-road-error"), "it speaks no X-Road");
    }
    let target = get(&format!("/r1/{SERVICE}{}", hoa()), None);
    assert_eq!(refusal(&session.send(target).await.unwrap()), "404 operation_unknown");
}

#[tokio::test]
async fn the_limits_are_the_systems_own() {
    let harness = Harness::start_made(
        "",
        |site| edit(site, "agencies/tax.toml", r#"rate = "200/s", burst = 400"#, r#"rate = "1/h", burst = 2"#),
        |_| {},
    );
    let mut by = harness.session(SERVER).await;
    let mut itself = harness.session("tax/etax").await;
    assert_eq!(refusal(&by.send(message(&hoa(), ETAX, &[])).await.unwrap()), "200 ");
    let own = || with_case(get(&read_path(HOA.number), None));
    assert_eq!(refusal(&itself.send(own()).await.unwrap()), "200 ");
    let over = by.send(message(&hoa(), ETAX, &[])).await.unwrap();
    assert_eq!(refusal(&over), "429 rate_exceeded");
    assert_eq!(told(&over.headers, "x-road-error"), "Server.ServerProxy.RateExceeded");
    assert!(over.headers.contains_key("retry-after"));
    assert_eq!(refusal(&itself.send(own()).await.unwrap()), "429 rate_exceeded");
    let inspection = [("gateway-purpose", "assessment")];
    assert_eq!(refusal(&by.send(message(&hoa(), INSPECTION, &inspection)).await.unwrap()), "200 ");
}

#[tokio::test]
async fn what_the_bundle_takes_back_is_over_at_the_next_request() {
    let harness = Harness::start();
    let mut session = harness.session(SERVER).await;
    let husband = format!("/citizens/{}", HUSBAND.number);
    assert_eq!(refusal(&session.send(message(&husband, ETAX, &[])).await.unwrap()), "200 ");
    let file = "agencies/data-exchange.toml";
    let text = std::fs::read_to_string(harness.deployment.site.bundle().join(file)).unwrap();
    harness.reload(file, &text.replace("VN/GOV/TAX", "VN/GOV/CUSTOMS")).await;
    assert_eq!(refusal(&session.send(message(&husband, ETAX, &[])).await.unwrap()), "403 client_not_represented");
    harness.reload(file, &text.replace("members  =", "networks = [\"192.0.2.0/24\"]\nmembers  =")).await;
    let elsewhere = session.send(message(&husband, ETAX, &[])).await.unwrap();
    assert_eq!(refusal(&elsewhere), "403 network_not_listed");
}

#[tokio::test]
async fn a_revoked_exchange_server_speaks_for_nobody() {
    let harness = Harness::start();
    let mut session = harness.session(SERVER).await;
    assert_eq!(refusal(&session.send(message(&hoa(), ETAX, &[])).await.unwrap()), "200 ");
    harness.deployment.site.revoke(SERVER).unwrap();
    let node = harness.deployment.gateway.node();
    eventually("the list is in force", || node.trust().crls().iter().any(|crl| crl.revoked == 1)).await;
    eventually("its connection ends", || session.is_closed()).await;
    assert!(harness.client(SERVER).connect().await.is_err() || is_refused(&harness).await);
    // Its members' own certificates are as good as before.
    let itself = harness.client("tax/etax").send(with_case(get(&read_path(HOA.number), None))).await.unwrap();
    assert_eq!(itself.status, StatusCode::OK);
}

#[tokio::test]
async fn a_suspended_exchange_server_speaks_for_nobody() {
    build::popgate();
    let harness = Harness::start();
    let mut session = harness.session(SERVER).await;
    assert_eq!(refusal(&session.send(message(&hoa(), ETAX, &[])).await.unwrap()), "200 ");
    let config = harness.deployment.site.config_file();
    let switch = |arguments: &[&str]| {
        let said = node::run(&[arguments, &["--config", config.to_str().unwrap()]].concat());
        assert!(said.status.success(), "{said:?}");
        String::from_utf8(said.stdout).unwrap()
    };
    let said = switch(&["suspend", "system", SERVER, "--reason", "INC-77"]);
    assert!(said.contains("2 systems"), "those that it speaks for: {said}");
    becomes(&mut session, "403 system_suspended").await;
    for client in [ETAX, INSPECTION] {
        let purpose = [("gateway-purpose", "assessment")];
        let refused = session.send(message(&hoa(), client, &purpose)).await.unwrap();
        assert_eq!(refusal(&refused), "403 system_suspended", "{client}");
        assert_eq!(told(&refused.headers, "x-road-error"), "Server.ServerProxy.AccessDenied");
    }
    // Who asks for itself is not concerned.
    let itself = harness.client("tax/etax").send(with_case(get(&read_path(HOA.number), None))).await.unwrap();
    assert_eq!(refusal(&itself), "200 ");
    switch(&["resume", "system", SERVER]);
    becomes(&mut session, "200 ").await;
}

/// What a message on a live connection is answered, soon.
async fn becomes(session: &mut Session, expected: &str) {
    let since = Instant::now();
    loop {
        let answer = session.send(message(&hoa(), ETAX, &[])).await.unwrap();
        if refusal(&answer) == expected {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(10), "{} in place of {expected}", refusal(&answer));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// TLS 1.3: the client learns of it at its first read.
async fn is_refused(harness: &Harness) -> bool {
    harness.client(SERVER).send(message(&hoa(), ETAX, &[])).await.is_err()
}

fn with_case(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    request.headers_mut().insert("gateway-case", HeaderValue::from_static("TD-1"));
    request
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().chain([&0, &0]).take(3).fold(0, |bits, byte| bits << 8 | usize::from(*byte));
        for at in 0..4 {
            let digit = char::from(ALPHABET[bits >> (18 - 6 * at) & 63]);
            text.push(if at > group.len() { '=' } else { digit });
        }
    }
    text
}

#[tokio::test]
async fn who_names_strangers_over_and_over_is_slowed_down_and_fills_no_log() {
    let harness = Harness::start();
    let mut session = harness.session(SERVER).await;
    let mut told = std::collections::BTreeMap::new();
    for at in 0..100 {
        let stranger = format!("VN/GOV/HEALTH/S{at}");
        *told.entry(refusal(&session.send(message(&hoa(), &stranger, &[])).await.unwrap())).or_insert(0) += 1;
    }
    assert!(told["403 client_not_represented"] < 70 && told["429 rate_exceeded"] > 30, "{told:?}");
    // Its members' systems are asked for as before.
    assert_eq!(refusal(&session.send(message(&hoa(), ETAX, &[])).await.unwrap()), "200 ");
}

#[tokio::test]
async fn what_a_message_cannot_be_is_no_service() {
    let harness = Harness::start();
    let mut session = harness.session(SERVER).await;
    // A bulk: its hash would come after its answer. A view: its paths are not those of messages.
    let bulk = with(post(&format!("/r1/{SERVICE}/bulk/lookup"), None, &keys_of_hoa()), ETAX, &[]);
    assert_eq!(refusal(&session.send(bulk).await.unwrap()), "404 service_unknown");
    let view = with(get("/.well-known/openapi", None), ETAX, &[]);
    assert_eq!(refusal(&session.send(view).await.unwrap()), "404 service_unknown");
}
