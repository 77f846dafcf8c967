//! The register over real TLS, as the gateway meets it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail by panicking too")]

use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode, header};
use popgate_demo::register::{Citizen, Fault, Framing, Number, Service, demo, population};
use serde_json::Value;

#[path = "support/api.rs"]
mod api;
#[path = "support/served.rs"]
mod served;

use served::{Client, Pki, Register};

#[tokio::test]
async fn a_record_comes_with_its_validators_on_both_protocols() {
    let register = Register::start(Service::default()).await;
    for alpn in ["h2", "http/1.1"] {
        let mut client = register.client(alpn).await;
        let first = client.person(demo::HOA.number, &[]).await;
        assert_eq!(first.status, StatusCode::OK);
        assert_eq!(first.body, Citizen::of(demo::HOA.number).unwrap().to_json());
        assert_eq!(first.headers[header::CONTENT_TYPE], "application/json");
        assert_eq!(first.headers[header::CACHE_CONTROL], "max-age=60");
        assert_eq!(first.headers[header::CONTENT_LENGTH], first.body.len().to_string());
        let key = first.headers["surrogate-key"].to_str().unwrap();
        assert!(key.starts_with("household-") && key.ends_with(" register-population"), "{key}");
        assert!(!key.contains(&demo::HOA.number.to_string()));

        let etag = first.headers[header::ETAG].to_str().unwrap().to_owned();
        assert!(etag.starts_with('"') && etag.ends_with('"'));
        for known in [etag.clone(), format!("\"x\", W/{etag}"), "*".to_owned()] {
            let again = client.person(demo::HOA.number, &[("if-none-match", &known)]).await;
            assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0), "{known}");
            assert_eq!(again.headers[header::ETAG], etag);
        }
        let other = client.person(demo::MINOR.number, &[("if-none-match", &etag)]).await;
        assert_eq!(other.status, StatusCode::OK);
        assert_ne!(other.headers[header::ETAG], etag);
    }
    assert_eq!(register.faults.requests(), 10);
}

#[tokio::test]
async fn anything_else_is_refused() {
    let register = Register::start(Service::default()).await;
    let mut client = register.client("http/1.1").await;
    for (method, path, status) in [
        (Method::GET, "/persons/000000000000", 404),
        (Method::GET, "/persons/1", 404),
        (Method::GET, "/persons/0011879741180", 404),
        (Method::GET, "/persons/%30", 404),
        (Method::GET, "/", 404),
        (Method::POST, "/nothing", 404),
        (Method::POST, "/persons/001187974118", 405),
        (Method::DELETE, "/healthz", 405),
    ] {
        let answer = client.send(method.clone(), path, &[]).await.unwrap();
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json");
        assert!(!answer.headers.contains_key(header::ETAG));
    }
    assert_eq!(client.send(Method::GET, "/healthz", &[]).await.unwrap().status, 200);
}

#[tokio::test]
async fn without_a_certificate_of_its_authority_nobody_is_answered() {
    let register = Register::start(Service::default()).await;
    let stranger = Pki::new();
    for identity in [None, Some(stranger.leaf())] {
        let Ok(mut client) = register.connect("http/1.1", identity).await else { continue };
        assert!(client.send(Method::GET, "/healthz", &[]).await.is_err());
    }
    assert_eq!((register.faults.requests(), register.faults.connections()), (0, 0));
}

#[tokio::test]
async fn faults_do_what_they_say() {
    let register = Register::start(Service::default()).await;
    let (hoa, minor, faults) = (demo::HOA.number, demo::MINOR.number, &register.faults);
    for alpn in ["http/1.1", "h2"] {
        let mut client = register.client(alpn).await;
        let (plain, other) = (client.person(hoa, &[]).await, client.person(minor, &[]).await);

        faults.swap(hoa, minor);
        assert_eq!(client.person(hoa, &[]).await.body, other.body);
        assert_eq!(client.person(minor, &[]).await.body, plain.body);
        faults.clear();

        faults.set(hoa, Fault { status: Some(StatusCode::SERVICE_UNAVAILABLE), ..Fault::default() });
        let answer = client.person(hoa, &[]).await;
        assert_eq!(
            (answer.status, &answer.headers[header::CONTENT_TYPE]),
            (StatusCode::SERVICE_UNAVAILABLE, &header::HeaderValue::from_static("application/problem+json"),)
        );
        assert_eq!(client.person(minor, &[]).await.status, StatusCode::OK);

        let headers = vec![(header::SET_COOKIE, header::HeaderValue::from_static("a=b"))];
        let body = Some(Bytes::from_static(b"{\"id\":"));
        let cache_control = Some(header::HeaderValue::from_static("no-store"));
        faults.set_everyone(Fault { headers, body, cache_control, ..Fault::default() });
        faults.set(hoa, Fault { framing: Framing::Chunked, ..Fault::default() });
        let answer = client.person(hoa, &[]).await;
        assert_eq!(answer.body, plain.body);
        assert!(!answer.headers.contains_key(header::CONTENT_LENGTH));
        let answer = client.person(minor, &[]).await;
        assert_eq!(answer.body, b"{\"id\":");
        assert_eq!(
            (&answer.headers[header::SET_COOKIE], &answer.headers[header::CACHE_CONTROL]),
            (&header::HeaderValue::from_static("a=b"), &header::HeaderValue::from_static("no-store"),)
        );
        assert_ne!(answer.headers[header::ETAG], other.headers[header::ETAG]);
        faults.clear();

        let pause = Some(Duration::from_millis(50));
        faults.set(hoa, Fault { delay_head: pause, delay_body: pause, ..Fault::default() });
        let start = std::time::Instant::now();
        assert_eq!(client.person(hoa, &[]).await.body, plain.body);
        assert!(start.elapsed() >= Duration::from_millis(100));

        faults.set(hoa, Fault { cut_after: Some(100), ..Fault::default() });
        let cut = client.send(Method::GET, &format!("/persons/{hoa}"), &[]).await;
        assert_eq!(cut.map(|answer| answer.body).unwrap_err(), 100, "so many bytes came before the end");
        faults.clear();
    }
}

#[tokio::test]
async fn received_heads_are_kept_when_asked_for() {
    let register = Register::start(Service::default()).await;
    let mut client = register.client("h2").await;
    client.person(demo::HOA.number, &[("x-before", "1")]).await;
    register.faults.keep_received();
    client.person(demo::HOA.number, &[("x-after", "1")]).await;
    let received = register.faults.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].headers["x-after"], "1");
    assert_eq!((register.faults.open_connections(), register.faults.connections()), (1, 1));
}

#[tokio::test]
async fn a_shutdown_lets_requests_finish() {
    let mut register = Register::start(Service::default()).await;
    let mut client = register.client("http/1.1").await;
    let delay_head = Some(Duration::from_millis(200));
    register.faults.set_everyone(Fault { delay_head, ..Fault::default() });
    let slow = tokio::spawn(async move { client.person(demo::HOA.number, &[]).await.status });
    while register.faults.requests() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(register.stop.take());
    assert_eq!(slow.await.unwrap(), StatusCode::OK);
    tokio::time::timeout(Duration::from_secs(5), register.served).await.unwrap().unwrap();
    assert_eq!(register.faults.open_connections(), 0);
}

#[tokio::test]
async fn the_population_answers_all_that_it_is_asked() {
    let register = Register::start(Service::default()).await;
    for alpn in ["h2", "http/1.1"] {
        api::answers(&mut register.client(alpn).await, (0..40).map(|n| population::citizen(n * 7919)), None).await;
    }
}

#[tokio::test]
async fn faults_concern_households_portraits_and_searches_too() {
    let register = Register::start(Service::default()).await;
    let mut client = register.client("h2").await;
    let household = format!("/persons/{}/household", demo::HOA.number);
    let search = "/persons?date_of_birth=1987-03-14&province_code=001";
    let status = Some(StatusCode::SERVICE_UNAVAILABLE);
    register.faults.set(demo::HOA.number, Fault { status, ..Fault::default() });
    assert_eq!(client.send(Method::GET, &household, &[]).await.unwrap().status, 503);
    assert_eq!(client.send(Method::GET, search, &[]).await.unwrap().status, 200);
    register.faults.clear();
    register.faults.set_everyone(Fault { body: Some(Bytes::from_static(b"{")), ..Fault::default() });
    assert_eq!(client.send(Method::GET, search, &[]).await.unwrap().body, b"{");
    register.faults.clear();
    register.faults.swap(demo::HOA.number, demo::RESIDENT_OF_079.number);
    let swapped: Value =
        serde_json::from_slice(&client.send(Method::GET, &household, &[]).await.unwrap().body).unwrap();
    assert_eq!(swapped["address"]["province_code"], "079");
}

#[tokio::test]
async fn each_register_answers_its_own_paths_only() {
    let paths = ["persons", "cards", "births", "marriages"];
    for (service, own) in [
        (Service::default(), &paths[..1]),
        (Service::HealthInsurance, &paths[1..2]),
        (Service::CivilStatus, &paths[2..]),
    ] {
        let register = Register::start(service).await;
        let mut client = register.client("h2").await;
        for path in paths {
            let expected = if own.contains(&path) { 200 } else { 404 };
            let path = format!("/{path}/{}", demo::HOA.number);
            let first = client.send(Method::GET, &path, &[]).await.unwrap();
            assert_eq!(first.status, expected, "{path}");
            if expected == 200 {
                let etag = first.headers[header::ETAG].to_str().unwrap();
                let again = client.send(Method::GET, &path, &[("if-none-match", etag)]).await.unwrap();
                assert_eq!(again.status, StatusCode::NOT_MODIFIED);
                assert_eq!(first.headers[header::CACHE_CONTROL], "max-age=60");
                let key = first.headers["surrogate-key"].to_str().unwrap();
                assert!(key.starts_with("household-"), "{key}");
            }
        }
        assert_eq!(client.send(Method::GET, "/healthz", &[]).await.unwrap().status, 200);
        assert_eq!(client.send(Method::GET, "/deaths/001187974118", &[]).await.unwrap().status, 404, "she lives");
    }
}

/// What the registers say of one person, each by its own service.
struct Said {
    citizen: Value,
    card: Option<Value>,
    birth: Value,
    marriage: Option<Value>,
    death: Option<Value>,
}

#[tokio::test]
async fn a_thousand_citizens_are_the_same_in_all_registers() {
    let services = [Service::default(), Service::HealthInsurance, Service::CivilStatus];
    let mut clients = Vec::new();
    let mut registers = Vec::new();
    for service in services {
        let register = Register::start(service).await;
        clients.push(register.client("h2").await);
        registers.push(register);
    }
    let [population, insurance, civil] = &mut clients[..] else { unreachable!("three") };
    let mut counts = [0; 4];
    let mut numbers_given = std::collections::HashSet::new();
    for number in demo::ALL.iter().map(|known| known.number).chain((0..994).map(|n| population::citizen(n * 104_729))) {
        let said = Said {
            citizen: found(population, "persons", number).await.unwrap(),
            card: found(insurance, "cards", number).await,
            birth: found(civil, "births", number).await.unwrap(),
            marriage: found(civil, "marriages", number).await,
            death: found(civil, "deaths", number).await,
        };
        said.agree();
        let records = [said.card, Some(said.birth), said.marriage, said.death];
        for (count, record) in counts.iter_mut().zip(&records) {
            *count += usize::from(record.is_some());
        }
        for given in records.iter().flatten().filter_map(|record| record["registration_number"].as_str()) {
            // Both of a couple have the same.
            assert!(numbers_given.insert(given.to_owned()) || given.starts_with("KH"), "given twice");
        }
    }
    let [cards, births, marriages, deaths] = counts;
    assert_eq!(births, 1000);
    assert!((890..970).contains(&cards) && (400..800).contains(&marriages) && deaths > 10, "{counts:?}");
}

impl Said {
    fn agree(&self) {
        let citizen = &self.citizen;
        let alive = citizen["date_of_death"].is_null();
        for record in [&self.card, &Some(self.birth.clone()), &self.marriage, &self.death].into_iter().flatten() {
            for same in ["id", "full_name", "date_of_birth", "sex", "date_of_death"] {
                assert_eq!(record[same], citizen[same], "{same}");
            }
            let flat = record.as_object().unwrap().values().all(|value| !value.is_object() && !value.is_array());
            assert!(flat && record.as_object().unwrap().keys().next().unwrap() == "id", "{record}");
            assert_eq!(
                record.get("residence_province_code").or(record.get("province_code")).unwrap(),
                &citizen["permanent_residence"]["province_code"]
            );
        }

        let birth = &self.birth;
        for (here, there) in [
            ("/father_id", "/father/id"),
            ("/father_full_name", "/father/full_name"),
            ("/mother_id", "/mother/id"),
            ("/mother_full_name", "/mother/full_name"),
            ("/registry_province", "/birth_registration_place"),
            ("/place_of_birth", "/place_of_birth"),
            ("/home_town", "/home_town"),
            ("/ethnicity", "/ethnicity"),
            ("/nationality", "/nationality"),
        ] {
            let there = citizen.pointer(there).unwrap_or(&Value::Null);
            assert_eq!(birth.pointer(here), Some(there), "{here}");
        }
        assert_eq!(birth["registry_province_code"].as_str(), citizen["id"].as_str().map(|id| &id[..3]));
        assert!(day(&birth["registered_on"]) >= day(&birth["date_of_birth"]));

        let status = citizen["marital_status"].as_str().unwrap();
        assert_eq!(self.marriage.is_none(), status == "single");
        if let Some(marriage) = &self.marriage {
            assert_eq!(marriage["status"], status);
            assert_eq!(marriage["spouse_id"], *citizen.pointer("/spouse/id").unwrap_or(&Value::Null));
            assert_eq!(marriage["spouse_full_name"], *citizen.pointer("/spouse/full_name").unwrap_or(&Value::Null));
            assert_eq!(marriage["ended_by"] == "divorce", status == "divorced");
            assert_eq!(marriage["ended_on"].is_null(), marriage["ended_by"].is_null());
            assert!(status != "widowed" || marriage["ended_by"] == "death");
            assert!(marriage["ended_on"].is_null() || day(&marriage["registered_on"]) < day(&marriage["ended_on"]));
        }

        assert_eq!(self.death.is_none(), alive);
        if let Some(death) = &self.death {
            assert!(day(&death["registered_on"]) >= day(&death["date_of_death"]));
            assert_eq!(death["declared_by_id"].is_null(), death["declared_by_full_name"].is_null());
        }

        if let Some(card) = &self.card {
            for same in ["province", "province_code", "ward", "address"] {
                assert_eq!(card[same], citizen["permanent_residence"][same], "{same}");
            }
            assert_eq!(card["household_id"], citizen["household"]["id"]);
            let number = card["card_number"].as_str().unwrap();
            let province = &citizen["permanent_residence"]["province_code"].as_str().unwrap()[1..];
            let parts =
                format!("{}{province}{}", card["benefit_level"], card["social_insurance_number"].as_str().unwrap());
            assert!(number.len() == 15 && number[2..] == parts, "{number}");
            assert_eq!(card["status"] == "closed", !alive);
            assert!(day(&card["valid_from"]) <= day(&card["valid_until"]));
            assert!(day(&card["valid_from"]) >= day(&card["date_of_birth"]));
            assert_eq!(card["contributed_until"].is_null(), card["contribution_payer"] == "state");
        }
    }
}

async fn found(client: &mut Client, path: &str, number: Number) -> Option<Value> {
    let answer = client.send(Method::GET, &format!("/{path}/{number}"), &[]).await.unwrap();
    (answer.status == StatusCode::OK).then(|| serde_json::from_slice(&answer.body).unwrap())
}

fn day(value: &Value) -> jiff::civil::Date {
    value.as_str().unwrap().parse().unwrap()
}
