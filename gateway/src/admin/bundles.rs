//! Bundles for operators: `GET /bundles` and `/bundles/{name}`, `POST /bundle/reload` and `/bundle/rollback`.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::AdminState;
use super::routes::{Who, json, problem};
use super::suspensions::{not_json, of_a_page};
use crate::app::bundle_store::StoreError;
use crate::app::bundles::RollbackError;
use crate::app::config::Role;
use crate::app::node::ReloadError;

/// What an operator asks about bundles.
#[derive(Clone, Debug)]
pub enum BundleAsk {
    /// Which were in force.
    List,
    /// One that is kept, by version or digest.
    Kept {
        /// Its name.
        name: String,
    },
    /// Offer the folder's files.
    Reload {
        /// Who asks.
        by: String,
    },
    /// Put an older one in force again.
    RollBack {
        /// Which, by version or digest; the one before if not named.
        to: Option<String>,
        /// Who asks.
        by: String,
        /// Why.
        reason: String,
    },
}

/// Answers what operators ask about bundles. It compiles, and writes files: called on a thread that may block.
pub type BundleDesk = Arc<dyn Fn(BundleAsk) -> Result<Value, RollbackError> + Send + Sync>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollBack {
    to: Option<String>,
    reason: String,
}

pub(super) fn routes() -> Router<AdminState> {
    Router::new()
        .route(LIST, get(list))
        .route("/bundles/{name}", get(kept))
        .route(RELOAD, post(reload))
        .route(ROLLBACK, post(roll_back))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
}

async fn list(who: Who, State(state): State<AdminState>) -> Response {
    match who.lacks_any(&SEE, LIST) {
        Some(refusal) => refusal,
        None => ask(who, state, LIST, BundleAsk::List).await,
    }
}

async fn kept(who: Who, State(state): State<AdminState>, Path(name): Path<String>) -> Response {
    match who.lacks_any(&SEE, KEPT) {
        Some(refusal) => refusal,
        None => ask(who, state, KEPT, BundleAsk::Kept { name }).await,
    }
}

async fn reload(who: Who, State(state): State<AdminState>, headers: HeaderMap) -> Response {
    if let Some(refusal) = who.lacks_any(&OFFER, RELOAD).or_else(|| unfit(&who, RELOAD, &headers)) {
        return refusal;
    }
    let by = who.name.clone();
    ask(who, state, RELOAD, BundleAsk::Reload { by }).await
}

async fn roll_back(who: Who, State(state): State<AdminState>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refusal) = who.lacks_any(&OPERATE, ROLLBACK).or_else(|| unfit(&who, ROLLBACK, &headers)) {
        return refusal;
    }
    let Ok(RollBack { to, reason }) = serde_json::from_slice(&body) else {
        let detail = "send {\"reason\": \"...\"} and, if another than the bundle before is wanted, \"to\"";
        return who.seen(ROLLBACK, invalid(detail));
    };
    let by = who.name.clone();
    ask(who, state, ROLLBACK, BundleAsk::RollBack { to, by, reason }).await
}

async fn ask(who: Who, state: AdminState, path: &'static str, ask: BundleAsk) -> Response {
    let answered = tokio::task::spawn_blocking(move || (state.bundles)(ask)).await;
    let response = match answered {
        Ok(Ok(answer)) => json(StatusCode::OK, &answer),
        Ok(Err(error)) => refused(&error),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the gateway failed", "see the log"),
    };
    who.seen(path, response)
}

fn unfit(who: &Who, path: &'static str, headers: &HeaderMap) -> Option<Response> {
    of_a_page(headers).or_else(|| not_json(headers)).map(|refusal| who.seen(path, refusal))
}

fn refused(error: &RollbackError) -> Response {
    let detail = error.to_string();
    match error {
        RollbackError::Reason(_) => invalid(&detail),
        RollbackError::NotFound(_) | RollbackError::Refused(ReloadError::Kept(StoreError::Unknown(_))) => {
            problem(StatusCode::NOT_FOUND, "unknown_bundle", "there is no such bundle", &detail)
        }
        RollbackError::InForce(_) | RollbackError::Late(_) | RollbackError::Unsigned(_) => {
            problem(StatusCode::CONFLICT, "bundle_not_to_come_back", "this bundle does not come back", &detail)
        }
        RollbackError::Refused(ReloadError::Bundle { problems, .. }) => {
            let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
            let detail = format!("{detail}: {}", told.join("; "));
            problem(StatusCode::UNPROCESSABLE_ENTITY, "bundle_refused", "the last good bundle stays in force", &detail)
        }
        RollbackError::Refused(_) => {
            problem(StatusCode::CONFLICT, "bundle_unreadable", "the bundle cannot be read or kept", &detail)
        }
    }
}

fn invalid(detail: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, "rollback_invalid", "the order cannot be read", detail)
}

const LIST: &str = "/bundles";
const KEPT: &str = "/bundles/{name}";
const RELOAD: &str = "/bundle/reload";
const ROLLBACK: &str = "/bundle/rollback";
const SEE: [Role; 5] = [Role::Viewer, Role::Author, Role::Approver, Role::Auditor, Role::Sre];
/// Who may have the folder read again: what it holds is the signers' to answer for.
const OFFER: [Role; 3] = [Role::Author, Role::Approver, Role::Sre];
/// Who may bring an older bundle back: those who may use the kill switch.
const OPERATE: [Role; 2] = [Role::Sre, Role::Approver];
const MOST_BYTES: usize = 16 << 10;
