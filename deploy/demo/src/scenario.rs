//! The demonstration's scenario: what one citizen looks like to five callers, who is refused and why, what it costs, and
//! the proof. Everything printed happened in the run that prints it.

use std::time::{Duration, Instant};

use http::StatusCode;
use popgate::audit;
use serde_json::{Value, json};

use crate::client::{Answer, ClientError, Http, Session, get, post};
use crate::deployment::{Deployment, DeploymentError, SEEDED};
use crate::register::demo::{ALL, HOA, RESIDENT_OF_079};
use crate::register::{Citizen, Number, population};

pub mod cost;
pub mod table;

use table::{Cell, Column, FIELDS};

/// What the scenario found.
#[derive(Debug)]
pub struct Report {
    /// One citizen as each caller sees her.
    pub columns: Vec<Column>,
    /// Who was refused.
    pub refusals: Vec<Refused>,
    /// How long after the revocation list changed a live connection was refused.
    pub revoked_after: Duration,
    /// What a request cost.
    pub cost: cost::Cost,
    /// Answers that disclosed or refused by policy.
    pub requests: u64,
    /// What the log holds.
    pub log: audit::read::Report,
}

/// One refusal.
#[derive(Debug)]
pub struct Refused {
    /// Status and stable code.
    pub code: String,
    /// What the client is told to do, or what was tried.
    pub remedy: String,
}

/// A step that went otherwise than it must.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The deployment.
    #[error(transparent)]
    Deployment(#[from] DeploymentError),
    /// A client.
    #[error("{step}: {source}")]
    Client {
        /// Where.
        step: &'static str,
        /// Why.
        source: ClientError,
    },
    /// An answer.
    #[error("{step}: expected {expected}, got {got}")]
    Unexpected {
        /// Where.
        step: String,
        /// What must have come.
        expected: String,
        /// What came: a status and a code, never data.
        got: String,
    },
    /// The log.
    #[error("the audit log: {0}")]
    Log(String),
}

/// Runs the scenario.
///
/// # Errors
/// At the first step that went wrong.
pub async fn run(deployment: &Deployment) -> Result<Report, ScenarioError> {
    let mut counted = 0;
    let mut columns = Vec::new();
    for caller in CALLERS {
        columns.push(caller.ask(deployment).await?);
        counted += 1;
    }
    let mut refusals = refusals(deployment, &mut counted).await?;
    let (revoked, revoked_after) = revoked(deployment, &mut counted).await?;
    refusals.push(revoked);
    let cost = cost::measure(deployment).await?;
    counted += cost.requests;
    let log = settled_log(deployment).await?;
    Ok(Report { columns, refusals, revoked_after, cost, requests: counted, log })
}

/// One of the five.
struct Caller {
    title: &'static str,
    system: &'static str,
    purpose: &'static str,
    verifies: bool,
}

const CALLERS: [Caller; 5] = [
    Caller { title: "tax", system: "tax/etax", purpose: "assessment", verifies: false },
    Caller { title: "province", system: "ha-noi/portal", purpose: "residence-management", verifies: false },
    Caller { title: "hospital", system: "hospital-north/his", purpose: "treatment", verifies: false },
    Caller { title: "telecom", system: "telecom-a/crm", purpose: "subscriber-verification", verifies: false },
    Caller { title: "bank", system: "bank-a/ekyc", purpose: "e-kyc", verifies: true },
];

impl Caller {
    async fn ask(&self, deployment: &Deployment) -> Result<Column, ScenarioError> {
        let record = known_record();
        let (path, body) = if self.verifies { (VERIFY, claims_of_hoa()) } else { (LOOKUP, keys_of_hoa()) };
        let client = deployment.client_over(self.system, Http::Two)?;
        let sent = client.send(post(path, Some(self.purpose), &body)).await;
        let answer = sent.map_err(|source| ScenarioError::Client { step: self.title, source })?;
        expect(self.title, &answer, StatusCode::OK, "")?;
        let shown = answer.json();
        let cells = FIELDS.iter().map(|field| Cell::of(field, &record, &shown, &body, self.verifies)).collect();
        Ok(Column::new(self.title, self.purpose, cells, &record, &shown, &body, self.verifies))
    }
}

async fn refusals(deployment: &Deployment, counted: &mut u64) -> Result<Vec<Refused>, ScenarioError> {
    let mut refused = Vec::new();
    let mut note = |answer: &Answer, remedy: Option<&str>| {
        let told = answer.told("detail");
        refused.push(Refused {
            code: format!("{} {}", answer.status.as_u16(), answer.code()),
            remedy: remedy.map_or(told, str::to_owned),
        });
    };
    let hoa = keys_of_hoa();

    let portal = open(deployment, "ha-noi/portal").await?;
    let answer = ask(portal, post(LOOKUP, None, &hoa)).await?;
    expect("no purpose", &answer, StatusCode::FORBIDDEN, "purpose_missing")?;
    note(&answer, None);

    let inspection = open(deployment, "tax/inspection").await?;
    let answer = ask(inspection, post(LOOKUP, Some("data-cleaning-2025"), &hoa)).await?;
    expect("an expired purpose", &answer, StatusCode::FORBIDDEN, "purpose_expired")?;
    note(&answer, None);

    let telecom = open(deployment, "telecom-a/crm").await?;
    let answer = ask(telecom, get(&read_path(HOA.number), Some("subscriber-verification"))).await?;
    expect("a telecom reads without keys", &answer, StatusCode::FORBIDDEN, "")?;
    note(&answer, None);

    let wrong = with(hoa.clone(), [("date_of_birth", json!("1987-03-15"))]);
    let unknown = with(hoa.clone(), [("id", json!("001187999999"))]);
    let mut etax = open(deployment, "tax/etax").await?;
    let mismatch = send(&mut etax, post(LOOKUP, None, &wrong)).await?;
    let nobody = send(&mut etax, post(LOOKUP, None, &unknown)).await?;
    expect("a wrong birth date", &mismatch, StatusCode::NOT_FOUND, "no_match")?;
    same("a wrong birth date and an unknown person", &mismatch, &nobody)?;
    note(&mismatch, Some("wrong birth date: the same answer as for an unknown person"));

    let elsewhere = json!({
        "id": RESIDENT_OF_079.number.to_string(),
        "full_name": RESIDENT_OF_079.full_name,
        "date_of_birth": RESIDENT_OF_079.date_of_birth.to_string(),
    });
    let portal = open(deployment, "ha-noi/portal").await?;
    let hidden = ask(portal, post(LOOKUP, Some("residence-management"), &elsewhere)).await?;
    same("a resident of another province and an unknown person", &hidden, &nobody)?;
    note(&hidden, Some("a resident of another province: again the same answer"));
    *counted += 6;

    let mut telecom = open(deployment, "telecom-b/crm").await?;
    let answer = loop {
        let answer = send(&mut telecom, post(LOOKUP, None, &hoa)).await?;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            break answer;
        }
        expect("within the rate", &answer, StatusCode::OK, "")?;
        *counted += 1;
    };
    expect("over the rate", &answer, StatusCode::TOO_MANY_REQUESTS, "rate_exceeded")?;
    note(&answer, None);
    Ok(refused)
}

/// Revokes a certificate while its connection is open, and asks until the connection is refused.
async fn revoked(deployment: &Deployment, counted: &mut u64) -> Result<(Refused, Duration), ScenarioError> {
    const SYSTEM: &str = "hospital-north/his";
    let mut session = open(deployment, SYSTEM).await?;
    let request = || post(LOOKUP, Some("treatment"), &keys_of_hoa());
    let before = send(&mut session, request()).await?;
    expect("before the revocation", &before, StatusCode::OK, "")?;
    *counted += 1;
    deployment.site.revoke(SYSTEM)?;
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(10) {
        match session.send(request()).await {
            Ok(answer) if answer.status == StatusCode::OK => *counted += 1,
            Ok(answer) => {
                expect("after the revocation", &answer, StatusCode::FORBIDDEN, "certificate_revoked")?;
                let after = since.elapsed();
                refused_at_handshake(deployment, SYSTEM).await?;
                let remedy =
                    format!("on a live connection, {:.1} s after the revocation list changed", after.as_secs_f64());
                return Ok((Refused { code: "tls certificate_revoked".into(), remedy }, after));
            }
            // The connection was closed before the next request was sent: the handshake must be refused, too.
            Err(_) => {
                let after = since.elapsed();
                refused_at_handshake(deployment, SYSTEM).await?;
                let remedy =
                    format!("live connection closed {:.1} s after the revocation list changed", after.as_secs_f64());
                return Ok((Refused { code: "tls certificate_revoked".into(), remedy }, after));
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(unexpected("a revoked certificate", "a refusal within 10 s", "none"))
}

async fn refused_at_handshake(deployment: &Deployment, system: &str) -> Result<(), ScenarioError> {
    // In TLS 1.3 the client learns of it with the first thing that it reads.
    match deployment.client(system)?.send(get("/", None)).await {
        Err(_) => Ok(()),
        Ok(answer) => Err(unexpected("a new handshake with a revoked certificate", "an alert", &status(&answer))),
    }
}

/// The log once every closing record is in it.
async fn settled_log(deployment: &Deployment) -> Result<audit::read::Report, ScenarioError> {
    let dir = deployment.site.audit();
    let mut patience = 100;
    loop {
        let report = audit::read::verify(&dir).map_err(|damage| ScenarioError::Log(damage.to_string()))?;
        if report.open == 0 || patience == 0 {
            return Ok(report);
        }
        patience -= 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn open(deployment: &Deployment, system: &str) -> Result<Session, ScenarioError> {
    let client = deployment.client(system)?;
    client.connect().await.map_err(|source| ScenarioError::Client { step: "connect", source })
}

async fn ask(
    mut session: Session,
    request: http::Request<http_body_util::Full<bytes::Bytes>>,
) -> Result<Answer, ScenarioError> {
    send(&mut session, request).await
}

pub(crate) async fn send(
    session: &mut Session,
    request: http::Request<http_body_util::Full<bytes::Bytes>>,
) -> Result<Answer, ScenarioError> {
    session.send(request).await.map_err(|source| ScenarioError::Client { step: "request", source })
}

pub(crate) fn expect(step: &str, answer: &Answer, status_wanted: StatusCode, code: &str) -> Result<(), ScenarioError> {
    if answer.status == status_wanted && (code.is_empty() || answer.code() == code) {
        return Ok(());
    }
    Err(unexpected(step, &format!("{} {code}", status_wanted.as_u16()), &status(answer)))
}

/// Two answers that must not be told apart: the same bytes and headers, but for request id, date, and what is the caller's own, as its view
/// and its limits.
fn same(step: &str, one: &Answer, other: &Answer) -> Result<(), ScenarioError> {
    let headers = |answer: &Answer| {
        let mut headers = answer.headers.clone();
        headers.remove("gateway-request-id");
        headers.remove("date");
        headers.remove("gateway-view");
        headers.remove("ratelimit");
        headers.remove("ratelimit-policy");
        headers
    };
    if one.status == other.status && one.body == other.body && headers(one) == headers(other) {
        return Ok(());
    }
    Err(unexpected(step, "the same answer", &format!("{} and {}", status(one), status(other))))
}

fn status(answer: &Answer) -> String {
    format!("{} {}", answer.status.as_u16(), answer.code())
}

fn unexpected(step: &str, expected: &str, got: &str) -> ScenarioError {
    ScenarioError::Unexpected { step: step.into(), expected: expected.into(), got: got.into() }
}

/// `citizen.lookup`.
pub const LOOKUP: &str = "/population/v1/citizens/lookup";
/// `citizen.verify`.
pub const VERIFY: &str = "/population/v1/citizens/verify";

/// `citizen.read`.
pub fn read_path(number: crate::register::Number) -> String {
    format!("/population/v1/citizens/{number}")
}

/// The three keys that a lookup needs.
pub fn keys_of_hoa() -> Value {
    json!({
        "id": HOA.number.to_string(),
        "full_name": HOA.full_name,
        "date_of_birth": HOA.date_of_birth.to_string(),
    })
}

fn claims_of_hoa() -> Value {
    let more =
        [("sex", json!("female")), ("permanent_residence_province", json!("Ha Noi")), ("phone", json!(HOA.phone))];
    with(keys_of_hoa(), more)
}

/// The body with other or more members.
fn with<const N: usize>(mut body: Value, members: [(&str, Value); N]) -> Value {
    if let Value::Object(object) = &mut body {
        object.extend(members.map(|(name, value)| (name.to_owned(), value)));
    }
    body
}

/// The whole record, from the register's own function: what no caller of this scenario is shown.
fn known_record() -> Value {
    Citizen::of(HOA.number).and_then(|citizen| serde_json::to_value(citizen).ok()).unwrap_or_default()
}

/// Citizens that nobody asked for yet: of the seeded ones, so that they are in a database, too.
fn strangers(count: u32) -> Vec<Number> {
    let everybody = population::seeded(SEEDED).filter(|number| ALL.iter().all(|known| known.number != *number));
    everybody.step_by(SEEDED as usize / count as usize - 1).take(count as usize).collect()
}
