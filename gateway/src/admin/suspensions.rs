//! The kill switch for operators: `GET /suspensions`, `POST /suspensions` and `DELETE /suspensions/{kind}/{id}`.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::response::Response;
use axum::routing::{delete, get};
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::AdminState;
use super::routes::{Who, json, problem};
use crate::app::config::Role;
use crate::suspend::{Kind, Order, OrderError, Target};

/// What an operator asks of the kill switch.
#[derive(Clone, Debug)]
pub enum Ask {
    /// What is suspended.
    List,
    /// Suspend something.
    Suspend {
        /// What, and for how long.
        order: Order,
        /// Who orders it.
        by: String,
    },
    /// End a suspension.
    Resume {
        /// Which.
        target: Target,
        /// Who orders it.
        by: String,
        /// Why; may be empty.
        reason: String,
    },
}

/// Answers what operators ask of the kill switch. It writes files: called on a thread that may block.
pub type KillSwitch = Arc<dyn Fn(Ask) -> Result<Value, OrderError> + Send + Sync>;

/// What `POST /suspensions` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ordered {
    kind: Kind,
    id: String,
    reason: String,
    until: Option<Timestamp>,
    #[serde(default)]
    force: bool,
}

pub(super) fn routes() -> Router<AdminState> {
    Router::new()
        .route(PATH, get(list).post(suspend))
        // A system's id holds a slash.
        .route("/suspensions/{kind}/{*id}", delete(resume))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
}

async fn list(who: Who, State(state): State<AdminState>) -> Response {
    match who.lacks_any(&[Role::Viewer, Role::Sre, Role::Approver], PATH) {
        Some(refusal) => refusal,
        None => ask(who, state, StatusCode::OK, Ask::List).await,
    }
}

async fn suspend(who: Who, State(state): State<AdminState>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refusal) = who.lacks_any(&OPERATE, PATH) {
        return refusal;
    }
    if let Some(refusal) = of_a_page(&headers).or_else(|| not_json(&headers)) {
        return who.seen(PATH, refusal);
    }
    let Ordered { kind, id, reason, until, force } = match serde_json::from_slice(&body) {
        Ok(ordered) => ordered,
        Err(error) => {
            let detail =
                format!("send {{\"kind\", \"id\", \"reason\"}} and, if wanted, \"until\" and \"force\": {error}");
            return who.seen(PATH, invalid(&detail));
        }
    };
    let by = who.name.clone();
    let order = Order { target: Target { kind, id }, reason, until, force };
    ask(who, state, StatusCode::CREATED, Ask::Suspend { order, by }).await
}

async fn resume(
    who: Who,
    State(state): State<AdminState>,
    Path((kind, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = who.lacks_any(&OPERATE, PATH) {
        return refusal;
    }
    if let Some(refusal) = of_a_page(&headers) {
        return who.seen(PATH, refusal);
    }
    let Some(kind) = Kind::parse(&kind) else {
        return who.seen(PATH, invalid("the kind is one of agency, system, purpose, policy, register"));
    };
    let reason = match query.as_deref().map(|query| query.strip_prefix("reason=").and_then(decoded)) {
        Some(Some(reason)) => reason,
        None => String::new(),
        Some(None) => return who.seen(PATH, invalid("the only parameter is `reason`, a percent-encoded text")),
    };
    let by = who.name.clone();
    ask(who, state, StatusCode::OK, Ask::Resume { target: Target { kind, id }, by, reason }).await
}

async fn ask(who: Who, state: AdminState, good: StatusCode, ask: Ask) -> Response {
    let answered = tokio::task::spawn_blocking(move || (state.suspensions)(ask)).await;
    let response = match answered {
        Ok(Ok(answer)) => json(good, &answer),
        Ok(Err(error)) => refused(&error),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the gateway failed", "see the log"),
    };
    who.seen(PATH, response)
}

/// A browser shows an operator's certificate to whatever page asks it to; it says so in `Origin` (RFC 6454, section 7). No page
/// acts in an operator's name.
pub(super) fn of_a_page(headers: &HeaderMap) -> Option<Response> {
    let refusal = || {
        let detail = "send it without `Origin`, as `popgate` does with `--node`";
        problem(StatusCode::FORBIDDEN, "origin_refused", "a web page may not act for an operator", detail)
    };
    headers.contains_key(header::ORIGIN).then(refusal)
}

/// What a page can send without asking first is no JSON.
pub(super) fn not_json(headers: &HeaderMap) -> Option<Response> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let refusal = || {
        let (status, detail) = (StatusCode::UNSUPPORTED_MEDIA_TYPE, "send `Content-Type: application/json`");
        problem(status, "media_type_unsupported", "an order must be JSON", detail)
    };
    (!kind.eq_ignore_ascii_case("application/json")).then(refusal)
}

fn refused(error: &OrderError) -> Response {
    let detail = error.to_string();
    match error {
        OrderError::Text { .. } | OrderError::Past { .. } => invalid(&detail),
        OrderError::Unknown { .. } => {
            let detail = format!("{detail}; with \"force\" it is suspended nevertheless");
            problem(StatusCode::UNPROCESSABLE_ENTITY, "unknown_id", "the bundle in force has no such id", &detail)
        }
        OrderError::Forbid { .. } | OrderError::Undecided { .. } => {
            problem(StatusCode::UNPROCESSABLE_ENTITY, "forbid_suspended", "a forbid cannot be suspended", &detail)
        }
        OrderError::NotSuspended(_) => {
            problem(StatusCode::NOT_FOUND, "not_suspended", "there is nothing to resume", &detail)
        }
        OrderError::TooMany | OrderError::Store(_) => {
            problem(StatusCode::CONFLICT, "suspensions_unwritable", "the suspensions cannot be changed", &detail)
        }
    }
}

/// A percent-encoded text (RFC 3986, section 2.1).
pub(super) fn decoded(text: &str) -> Option<String> {
    if text.contains(['&', '+']) {
        return None;
    }
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

fn invalid(detail: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, "suspension_invalid", "the order cannot be read", detail)
}

const PATH: &str = "/suspensions";
/// Who may use the kill switch.
const OPERATE: [Role; 2] = [Role::Sre, Role::Approver];
const MOST_BYTES: usize = 16 << 10;
