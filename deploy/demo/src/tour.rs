//! A longer walk than the scenario: one stop for each kind of question that the gateway answers, and for what operators can do. Everything
//! printed happened in the run that prints it.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use popgate::suspend::{Kind, Order, Target};
use serde_json::{Value, json};

use crate::client::{Answer, Session, get, post};
use crate::deployment::Deployment;
use crate::register::demo::{HOA, RESIDENT_OF_079};
use crate::register::{Citizen, population};
use crate::scenario::{ScenarioError, expect, keys_of_hoa, open, send};

/// One stop of the tour.
#[derive(Debug)]
pub struct Stop {
    /// What it is about.
    pub title: &'static str,
    /// Who asked what.
    pub asked: String,
    /// What came of it, in figures and field names.
    pub came: String,
}

/// Walks all of it.
///
/// # Errors
/// At the first stop where something went otherwise than it must.
pub async fn run(deployment: &Deployment) -> Result<Vec<Stop>, ScenarioError> {
    Ok(vec![
        household(deployment).await?,
        search(deployment).await?,
        bulk(deployment).await?,
        bulk_verification(deployment).await?,
        portrait(deployment).await?,
        insurance(deployment).await?,
        marriage(deployment).await?,
        exchange(deployment).await?,
        view(deployment).await?,
        suspended(deployment).await?,
    ])
}

/// The stops as people read them.
pub fn text(stops: &[Stop]) -> String {
    let mut out = String::from("The tour\n");
    for Stop { title, asked, came } in stops {
        // Writing to a string cannot fail.
        let _ = writeln!(out, " {title:<15}  {asked}\n {:15}  {came}", "");
    }
    out
}

async fn household(deployment: &Deployment) -> Result<Stop, ScenarioError> {
    let path = format!("/population/v1/citizens/{}/household", HOA.number);
    let mut portal = open(deployment, "ha-noi/portal").await?;
    let answer = send(&mut portal, get(&path, Some(RESIDENCE))).await?;
    expect("a household", &answer, StatusCode::OK, "")?;
    let elsewhere = format!("/population/v1/citizens/{}/household", RESIDENT_OF_079.number);
    let hidden = send(&mut portal, get(&elsewhere, Some(RESIDENCE))).await?;
    expect("a household of another province", &hidden, StatusCode::NOT_FOUND, "no_match")?;
    let members = length(&answer, "members");
    Ok(Stop {
        title: "household",
        asked: "ha-noi/portal reads the household of a resident, and one in another province".into(),
        came: format!("{members} members, each an entry of their own in the log; the other: 404 no_match"),
    })
}

async fn search(deployment: &Deployment) -> Result<Stop, ScenarioError> {
    let mut portal = open(deployment, "ha-noi/portal").await?;
    let mut question = json!({"date_of_birth": HOA.date_of_birth.to_string(), "sort": "id", "limit": 100});
    let (mut pages, mut persons, mut total) = (0, 0, 0);
    loop {
        let answer = send(&mut portal, post(SEARCH, Some(RESIDENCE), &question)).await?;
        expect("a search", &answer, StatusCode::OK, "")?;
        pages += 1;
        persons += length(&answer, "items");
        total = answer.json().get("total").and_then(Value::as_u64).unwrap_or(total);
        match answer.json().get("next") {
            Some(Value::String(next)) => question = with(question, "cursor", json!(next)),
            _ => break,
        }
    }
    if persons as u64 != total {
        return Err(unexpected("a search", &format!("{total} persons"), &persons.to_string()));
    }
    Ok(Stop {
        title: "search",
        asked: format!("ha-noi/portal looks for residents born on {}", HOA.date_of_birth),
        came: format!(
            "{persons} persons on {pages} pages; the register was told to filter by the province, so they may be counted"
        ),
    })
}

async fn bulk(deployment: &Deployment) -> Result<Stop, ScenarioError> {
    let began = Instant::now();
    let mut etax = open(deployment, "tax/etax").await?;
    let answer = send(&mut etax, lines("/population/v1/bulk/lookup", "assessment", LINES)).await?;
    expect("a bulk lookup", &answer, StatusCode::OK, "")?;
    let text = String::from_utf8_lossy(&answer.body);
    let count = |status: &str| text.lines().filter(|line| line.contains(&format!("\"status\":{status}"))).count();
    let (shown, unknown) = (count("200"), count("404"));
    if shown + unknown != LINES as usize || unknown != LINES as usize / 10 {
        return Err(unexpected("a bulk lookup", &format!("{LINES} lines"), &format!("{shown} and {unknown}")));
    }
    Ok(Stop {
        title: "bulk",
        asked: format!("tax/etax sends {LINES} lines of number, name and birth date, one in ten of them wrong"),
        came: format!(
            "{shown} records and {unknown} no_match in {:.1} s, in their order; a token and an entry for each line",
            began.elapsed().as_secs_f64()
        ),
    })
}

async fn bulk_verification(deployment: &Deployment) -> Result<Stop, ScenarioError> {
    let mut bank = open(deployment, "bank-b/ekyc").await?;
    let answer = send(&mut bank, lines("/population/v1/bulk/verify", "e-kyc", FEWER)).await?;
    expect("a bulk verification", &answer, StatusCode::OK, "")?;
    let text = String::from_utf8_lossy(&answer.body);
    let wrong = text.lines().filter(|line| line.contains("\"date_of_birth\":false")).count();
    if wrong != FEWER as usize / 10 {
        return Err(unexpected("a bulk verification", &format!("{} wrong dates", FEWER / 10), &wrong.to_string()));
    }
    Ok(Stop {
        title: "verification",
        asked: format!("bank-b/ekyc sends {FEWER} such lines, only to hear whether they are right"),
        came: format!("{wrong} birth dates are not; nothing of any record left the gateway"),
    })
}

/// Number, name and birth date of so many citizens, a line each; one in ten has a wrong birth date.
fn lines(path: &'static str, purpose: &'static str, count: u64) -> Request<Full<bytes::Bytes>> {
    let line = |n: u64| -> Value {
        let number = population::citizen(n);
        let record: Value = Citizen::of(number)
            .and_then(|citizen| serde_json::from_slice(&citizen.to_json()).ok())
            .unwrap_or(Value::Null);
        let year =
            if n % 10 == 9 { json!("1900-01-01") } else { record.get("date_of_birth").cloned().unwrap_or_default() };
        json!({"id": number.to_string(), "full_name": record.get("full_name"), "date_of_birth": year})
    };
    let body: String = (0..count).map(|n| format!("{}\n", line(n))).collect();
    let mut request = Request::new(Full::new(body.into()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static(path);
    for (name, value) in [("content-type", "application/x-ndjson"), ("gateway-purpose", purpose)] {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    request
}

async fn portrait(deployment: &Deployment) -> Result<Stop, ScenarioError> {
    let path = format!("/population/v1/citizens/{}/portrait", HOA.number);
    let mut request = get(&path, Some("e-identity"));
    request.headers_mut().insert("gateway-assurance", HeaderValue::from_static("high"));
    let mut accounts = open(deployment, "e-identity/accounts").await?;
    let answer = send(&mut accounts, request).await?;
    expect("a portrait", &answer, StatusCode::OK, "")?;
    let mut etax = open(deployment, "tax/etax").await?;
    let denied = send(&mut etax, get(&path, Some("assessment"))).await?;
    expect("a portrait for taxes", &denied, StatusCode::FORBIDDEN, "policy_denied")?;
    Ok(Stop {
        title: "portrait",
        asked: "e-identity/accounts opens an account; tax/etax tries too".into(),
        came: format!("{} bytes of image/jpeg; 403 policy_denied, and no register was asked", answer.body.len()),
    })
}

async fn insurance(deployment: &Deployment) -> Result<Stop, ScenarioError> {
    let path = format!("/health-insurance/v1/cards/{}", HOA.number);
    let mut hospital = open(deployment, "hospital-central/his").await?;
    let answer = send(&mut hospital, get(&path, Some("treatment"))).await?;
    expect("a card", &answer, StatusCode::OK, "")?;
    let shown = answer.json();
    let fields = shown.as_object().map_or(0, serde_json::Map::len);
    Ok(Stop {
        title: "other registers",
        asked: "hospital-central/his reads the insurance card of the same citizen".into(),
        came: format!("{fields} fields of health-insurance, by the same walls"),
    })
}

async fn marriage(deployment: &Deployment) -> Result<Stop, ScenarioError> {
    let keys = keys_of_hoa();
    let mut request = post("/civil-status/v1/marriages/lookup", Some("civil-status-registration"), &keys);
    for (name, value) in [("gateway-user", "registrar-7"), ("gateway-case", "HT-2026-114")] {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let mut registrar = open(deployment, "civil-status/ehotich").await?;
    let answer = send(&mut registrar, request).await?;
    expect("a marriage", &answer, StatusCode::OK, "")?;
    let spouse = answer.json().get("spouse_id").and_then(Value::as_str).map(str::to_owned);
    let known = Citizen::of(HOA.number)
        .and_then(|citizen| serde_json::from_slice::<Value>(&citizen.to_json()).ok())
        .and_then(|record| Some(record.get("spouse")?.get("id")?.as_str()?.to_owned()));
    if spouse.is_none() || spouse != known {
        return Err(unexpected("a marriage", "the spouse of the population register", "another person or none"));
    }
    Ok(Stop {
        title: "civil status",
        asked: "civil-status/ehotich looks the marriage up".into(),
        came: "the spouse is the one that the population register knows".into(),
    })
}

async fn exchange(deployment: &Deployment) -> Result<Stop, ScenarioError> {
    let path = format!("/r1/VN/GOV/MPS/NPDB/population/citizens/{}", HOA.number);
    let mut server = open(deployment, "data-exchange/tax").await?;
    let message = |client: &'static str| {
        let mut message = get(&path, None);
        message.headers_mut().insert("x-road-client", HeaderValue::from_static(client));
        message
    };
    let (ours, others) = (message("VN/GOV/TAX/ETAX"), message("VN/GOV/MPS/PORTAL"));
    let answer = send(&mut server, ours).await?;
    expect("a message of X-Road", &answer, StatusCode::OK, "")?;
    let hashed = answer.headers.contains_key("x-road-request-hash");
    let refused = send(&mut server, others).await?;
    expect("a message for another member", &refused, StatusCode::FORBIDDEN, "client_not_represented")?;
    if !hashed || !refused.headers.contains_key("x-road-error") {
        return Err(unexpected("a message of X-Road", "its headers", "none of them"));
    }
    Ok(Stop {
        title: "X-Road",
        asked: "an exchange server of data-exchange asks for tax/etax, its member, and for another's system".into(),
        came: "what tax/etax would see, with the request's hash; 403 client_not_represented".into(),
    })
}

async fn view(deployment: &Deployment) -> Result<Stop, ScenarioError> {
    let mut counts = Vec::new();
    for system in ["tax/etax", "telecom-a/crm"] {
        let mut session = open(deployment, system).await?;
        let answer = send(&mut session, get("/.well-known/openapi", None)).await?;
        expect("a view", &answer, StatusCode::OK, "")?;
        let paths = answer.json().get("paths").and_then(Value::as_object).map_or(0, serde_json::Map::len);
        counts.push(format!("{paths} paths for {system}"));
    }
    Ok(Stop {
        title: "view",
        asked: "two systems fetch the contract that is theirs, /.well-known/openapi".into(),
        came: counts.join(", "),
    })
}

async fn suspended(deployment: &Deployment) -> Result<Stop, ScenarioError> {
    let node = deployment.gateway.node();
    let mut bank = open(deployment, "bank-a/ekyc").await?;
    let question = || post("/population/v1/citizens/verify", Some("e-kyc"), &keys_of_hoa());
    expect("before the suspension", &send(&mut bank, question()).await?, StatusCode::OK, "")?;
    let target = Target { kind: Kind::Agency, id: "bank-a".into() };
    let order = Order { target: target.clone(), reason: "shown on the tour".into(), until: None, force: false };
    let failed = |error: &dyn std::error::Error| unexpected("the suspension", "in force", &error.to_string());
    node.suspend(&order, "demo").map_err(|error| failed(&error))?;
    let since = Instant::now();
    let refused = until(&mut bank, question, StatusCode::FORBIDDEN).await?;
    let took = since.elapsed();
    expect("while it is suspended", &refused, StatusCode::FORBIDDEN, "agency_suspended")?;
    node.resume(&target, "demo", "the tour is over").map_err(|error| failed(&error))?;
    let again = until(&mut bank, question, StatusCode::OK).await?;
    expect("after it", &again, StatusCode::OK, "")?;
    Ok(Stop {
        title: "kill switch",
        asked: "an operator suspends bank-a, whose connection is open, and resumes it".into(),
        came: format!("403 agency_suspended after {} ms on the same connection; then 200 again", took.as_millis()),
    })
}

/// Asks until that status comes, for a second.
async fn until(
    session: &mut Session,
    question: impl Fn() -> Request<Full<bytes::Bytes>>,
    status: StatusCode,
) -> Result<Answer, ScenarioError> {
    let since = Instant::now();
    loop {
        let answer = send(session, question()).await?;
        if answer.status == status || since.elapsed() > Duration::from_secs(2) {
            return Ok(answer);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn length(answer: &Answer, member: &str) -> usize {
    answer.json().get(member).and_then(Value::as_array).map_or(0, Vec::len)
}

fn with(mut question: Value, name: &str, value: Value) -> Value {
    if let Some(members) = question.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
    question
}

fn unexpected(step: &str, expected: &str, got: &str) -> ScenarioError {
    ScenarioError::Unexpected { step: step.into(), expected: expected.into(), got: got.into() }
}

const SEARCH: &str = "/population/v1/citizens/search";
const RESIDENCE: &str = "residence-management";
/// Within the burst that the reference bundle allows a tax system, and a bank's.
const LINES: u64 = 300;
const FEWER: u64 = 100;
