//! The harvest guard for operators: `GET /harvest`, and `DELETE /harvest/{kind}/{id}?reason=...`, which ends a party's trips.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use axum::routing::{delete, get};
use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::AdminState;
use super::routes::{Who, json, problem};
use super::suspensions::{decoded, of_a_page};
use crate::admit::Tripped;
use crate::app::config::Role;
use crate::audit::Unavailable;

/// What operators ask of the harvest guard.
#[derive(Clone)]
pub struct HarvestGuard {
    /// Whom it tripped for, or nearly.
    pub list: Arc<dyn Fn() -> Vec<Tripped> + Send + Sync>,
    /// Ends the trips of a party, for an operator and a reason; `false` if it has none.
    pub pardon: Pardon,
}

type Pardon = Arc<dyn Fn(&str, &str, &str) -> Result<bool, Unavailable> + Send + Sync>;

pub(super) fn routes() -> Router<AdminState> {
    // A system's id holds a slash.
    Router::new().route(PATH, get(list)).route("/harvest/{kind}/{*id}", delete(pardon))
}

async fn list(who: Who, State(state): State<AdminState>) -> Response {
    match who.lacks_any(&[Role::Viewer, Role::Sre, Role::Approver], PATH) {
        Some(refusal) => refusal,
        None => who.seen(PATH, json(StatusCode::OK, &json!({ "tripped": (state.harvest.list)() }))),
    }
}

async fn pardon(
    who: Who,
    State(state): State<AdminState>,
    Path((kind, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = who.lacks_any(&[Role::Sre, Role::Approver], PATH) {
        return refusal;
    }
    if let Some(refusal) = of_a_page(&headers) {
        return who.seen(PATH, refusal);
    }
    let reason = query.as_deref().and_then(|query| query.strip_prefix("reason=")).and_then(decoded);
    let reason = reason.filter(|reason| !reason.trim().is_empty() && reason.len() <= LONGEST);
    let (Some(reason), true) = (reason, matches!(kind.as_str(), "agency" | "system")) else {
        let detail = "DELETE /harvest/agency/{id} or /harvest/system/{id}, with ?reason= and a percent-encoded text of at most 200 bytes";
        return who.seen(PATH, problem(StatusCode::BAD_REQUEST, "pardon_invalid", "the order cannot be read", detail));
    };
    let party = format!("{kind} {id}");
    let (pardon, by, named) = (state.harvest.pardon, who.name.clone(), party.clone());
    let done = tokio::task::spawn_blocking(move || pardon(&named, &by, &reason)).await;
    let response = match done.unwrap_or(Err(Unavailable::Closed)) {
        Ok(true) => json(StatusCode::OK, &json!({ "pardoned": party })),
        Ok(false) => {
            let detail = "`GET /harvest` lists who is tripped";
            problem(StatusCode::NOT_FOUND, "not_tripped", "the harvest guard has not tripped for it", detail)
        }
        Err(error) => {
            let detail = error.to_string();
            problem(StatusCode::SERVICE_UNAVAILABLE, "audit_unavailable", "it cannot be recorded", &detail)
        }
    };
    who.seen(PATH, response)
}

const PATH: &str = "/harvest";
/// Bytes of a reason.
const LONGEST: usize = 200;
