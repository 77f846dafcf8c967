//! The cache for operators and registers: `GET /cache`, `POST /cache/purge`, and `POST /cache/changes`, by which a register
//! tells what it changed.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode};
use popgate_policy::model::RegisterId;
use serde_json::Value;

use super::AdminState;
use super::routes::{Who, json, problem};
use super::suspensions::{not_json, of_a_page};
use crate::app::config::Role;
use crate::cache::order::{MOST_BYTES, OrderError};

/// What is asked of the cache.
#[derive(Clone, Debug)]
pub enum CacheAsk {
    /// How it is.
    Status,
    /// Forget something.
    Purge {
        /// What, as it was sent.
        order: Bytes,
        /// Who orders it.
        by: String,
    },
    /// Forget what a register changed.
    Changes {
        /// Which register.
        register: RegisterId,
        /// What, as it was sent.
        changes: Bytes,
        /// Under which name the register is enrolled.
        by: String,
    },
}

/// Answers what is asked of the cache. It writes files: called on a thread that may block.
pub type CacheDesk = Arc<dyn Fn(CacheAsk) -> Result<Value, OrderError> + Send + Sync>;

type Body = Result<Bytes, BytesRejection>;

pub(super) fn routes() -> Router<AdminState> {
    Router::new()
        .route(PATH, get(status))
        .route(PURGE, post(purge))
        .route(CHANGES, post(changes))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
}

async fn status(who: Who, State(state): State<AdminState>) -> Response {
    match who.lacks_any(&[Role::Viewer, Role::Sre, Role::Approver], PATH) {
        Some(refusal) => refusal,
        None => ask(who, state, PATH, CacheAsk::Status).await,
    }
}

async fn purge(who: Who, State(state): State<AdminState>, headers: HeaderMap, body: Body) -> Response {
    if let Some(refusal) = who.lacks_any(&[Role::Sre, Role::Approver], PURGE) {
        return refusal;
    }
    match fit(&headers, body) {
        Err(refusal) => who.seen(PURGE, *refusal),
        Ok(order) => {
            let by = who.name.clone();
            ask(who, state, PURGE, CacheAsk::Purge { order, by }).await
        }
    }
}

async fn changes(who: Who, State(state): State<AdminState>, headers: HeaderMap, body: Body) -> Response {
    if let Some(refusal) = who.lacks_any(&[Role::Register], CHANGES) {
        return refusal;
    }
    // The configuration gives a register to everybody of the role.
    let Some(register) = who.register.clone() else { return who.seen(CHANGES, internal()) };
    match fit(&headers, body) {
        Err(refusal) => who.seen(CHANGES, *refusal),
        Ok(changes) => {
            let by = who.name.clone();
            ask(who, state, CHANGES, CacheAsk::Changes { register, changes, by }).await
        }
    }
}

fn fit(headers: &HeaderMap, body: Body) -> Result<Bytes, Box<Response>> {
    if let Some(refusal) = of_a_page(headers).or_else(|| not_json(headers)) {
        return Err(Box::new(refusal));
    }
    body.map_err(|rejection| {
        Box::new(match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                let detail = format!("{MOST_BYTES} bytes are the most; send the rest in another request");
                problem(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "the body is too long", &detail)
            }
            _ => invalid("the body broke off"),
        })
    })
}

async fn ask(who: Who, state: AdminState, path: &'static str, ask: CacheAsk) -> Response {
    let answered = tokio::task::spawn_blocking(move || (state.cache)(ask)).await;
    let response = match answered {
        Ok(Ok(answer)) => json(StatusCode::OK, &answer),
        Ok(Err(error)) => refused(&error),
        Err(_) => internal(),
    };
    who.seen(path, response)
}

fn refused(error: &OrderError) -> Response {
    let detail = error.to_string();
    match error {
        OrderError::Json(_) | OrderError::Member { .. } => invalid(&detail),
        OrderError::Register { .. } => {
            problem(StatusCode::UNPROCESSABLE_ENTITY, "unknown_register", "there is no such register", &detail)
        }
        OrderError::Unrecorded(_) => {
            let title = "it cannot be recorded, and nothing was purged";
            problem(StatusCode::SERVICE_UNAVAILABLE, "audit_unavailable", title, &detail)
        }
        OrderError::Ending => problem(StatusCode::SERVICE_UNAVAILABLE, "ending", "the node ends", "ask another node"),
    }
}

fn invalid(detail: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, "purge_invalid", "the order cannot be read, and nothing was purged", detail)
}

fn internal() -> Response {
    problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the gateway failed", "see the log")
}

const PATH: &str = "/cache";
const PURGE: &str = "/cache/purge";
const CHANGES: &str = "/cache/changes";
