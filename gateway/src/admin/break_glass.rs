//! Break-glass orders for operators: `GET` and `POST /break-glass`, `POST /break-glass/judge`, `POST /break-glass/{id}/end` and
//! `/review`.

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
use crate::app::config::Role;
use crate::break_glass::CarryError;

/// What an operator asks of the orders.
#[derive(Clone, Debug)]
pub enum BreakGlassAsk {
    /// Every order, and what is wrong.
    List,
    /// What would become of an order.
    Judge {
        /// The envelope.
        order: Bytes,
    },
    /// Lend what an order lends.
    Activate {
        /// The envelope.
        order: Bytes,
        /// Who brings it.
        by: String,
    },
    /// End an order before its time.
    End {
        /// Which.
        id: String,
        /// Who ends it.
        by: String,
        /// Why.
        reason: String,
    },
    /// Note a review.
    Review {
        /// Of which.
        id: String,
        /// Who reviewed.
        by: String,
        /// What was found.
        note: String,
    },
}

/// Answers what operators ask of the orders. It writes files: called on a thread that may block.
pub type GlassDesk = Arc<dyn Fn(BreakGlassAsk) -> Result<Value, CarryError> + Send + Sync>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Review {
    note: String,
}

pub(super) fn routes() -> Router<AdminState> {
    Router::new()
        .route(PATH, get(list).post(activate))
        .route("/break-glass/judge", post(judge))
        .route("/break-glass/{id}/end", post(end))
        .route("/break-glass/{id}/review", post(review))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
}

async fn list(who: Who, State(state): State<AdminState>) -> Response {
    match who.lacks_any(&SEE, PATH) {
        Some(refusal) => refusal,
        None => ask(who, state, PATH, StatusCode::OK, BreakGlassAsk::List).await,
    }
}

async fn judge(who: Who, State(state): State<AdminState>, headers: HeaderMap, order: Bytes) -> Response {
    match who.lacks_any(&SEE, JUDGE).or_else(|| unfit(&who, JUDGE, &headers)) {
        Some(refusal) => refusal,
        None => ask(who, state, JUDGE, StatusCode::OK, BreakGlassAsk::Judge { order }).await,
    }
}

async fn activate(who: Who, State(state): State<AdminState>, headers: HeaderMap, order: Bytes) -> Response {
    if let Some(refusal) = who.lacks_any(&OPERATE, PATH).or_else(|| unfit(&who, PATH, &headers)) {
        return refusal;
    }
    let by = who.name.clone();
    ask(who, state, PATH, StatusCode::CREATED, BreakGlassAsk::Activate { order, by }).await
}

async fn end(
    who: Who,
    State(state): State<AdminState>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(refusal) = who.lacks_any(&OPERATE, END).or_else(|| unfit(&who, END, &headers)) {
        return refusal;
    }
    let Ok(End { reason }) = serde_json::from_slice(&body) else {
        return who.seen(END, invalid("send {\"reason\": \"...\"}"));
    };
    let by = who.name.clone();
    ask(who, state, END, StatusCode::OK, BreakGlassAsk::End { id, by, reason }).await
}

async fn review(
    who: Who,
    State(state): State<AdminState>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(refusal) = who.lacks_any(&REVIEW, REVIEWED).or_else(|| unfit(&who, REVIEWED, &headers)) {
        return refusal;
    }
    let Ok(Review { note }) = serde_json::from_slice(&body) else {
        return who.seen(REVIEWED, invalid("send {\"note\": \"...\"}"));
    };
    let by = who.name.clone();
    ask(who, state, REVIEWED, StatusCode::OK, BreakGlassAsk::Review { id, by, note }).await
}

async fn ask(who: Who, state: AdminState, path: &'static str, good: StatusCode, ask: BreakGlassAsk) -> Response {
    let answered = tokio::task::spawn_blocking(move || (state.break_glass)(ask)).await;
    let response = match answered {
        Ok(Ok(answer)) => json(good, &answer),
        Ok(Err(error)) => refused(&error),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the gateway failed", "see the log"),
    };
    who.seen(path, response)
}

fn unfit(who: &Who, path: &'static str, headers: &HeaderMap) -> Option<Response> {
    of_a_page(headers).or_else(|| not_json(headers)).map(|refusal| who.seen(path, refusal))
}

fn refused(error: &CarryError) -> Response {
    let detail = error.to_string();
    match error {
        CarryError::Text { .. } | CarryError::Envelope(_) => invalid(&detail),
        CarryError::Refused(_) => {
            problem(StatusCode::UNPROCESSABLE_ENTITY, "order_refused", "the order does not count", &detail)
        }
        CarryError::Unknown(_) => problem(StatusCode::NOT_FOUND, "unknown_order", "there is no such order", &detail),
        CarryError::Over { .. } | CarryError::Open { .. } | CarryError::Reviewed { .. } => {
            problem(StatusCode::CONFLICT, "order_stage", "the order is elsewhere in its life", &detail)
        }
        CarryError::Own { .. } => {
            problem(StatusCode::FORBIDDEN, "own_order", "nobody reviews what they did themselves", &detail)
        }
        CarryError::Nowhere => {
            problem(StatusCode::NOT_FOUND, "no_orders", "break-glass orders are not taken here", &detail)
        }
        CarryError::Store(_) => {
            problem(StatusCode::CONFLICT, "orders_unwritable", "the orders cannot be changed", &detail)
        }
    }
}

fn invalid(detail: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, "order_invalid", "the order cannot be read", detail)
}

const PATH: &str = "/break-glass";
const JUDGE: &str = "/break-glass/judge";
const END: &str = "/break-glass/{id}/end";
const REVIEWED: &str = "/break-glass/{id}/review";
const SEE: [Role; 4] = [Role::Viewer, Role::Sre, Role::Approver, Role::Auditor];
/// Who may lend and end: those who may use the kill switch. What is lent, and to whom, is the signers' to say.
const OPERATE: [Role; 2] = [Role::Sre, Role::Approver];
const REVIEW: [Role; 2] = [Role::Approver, Role::Auditor];
const MOST_BYTES: usize = 128 << 10;
