//! What operators may ask.

use axum::Router;
use axum::extract::{Extension, FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use popgate_policy::model::RegisterId;
use serde::Serialize;
use serde_json::json;

use super::{AdminState, break_glass, bundles, cache, harvest, reads, suspensions};
use crate::app::config::Role;

/// The operator whom a connection belongs to.
#[derive(Clone, Debug)]
pub(super) struct Who {
    pub(super) name: String,
    pub(super) roles: Vec<Role>,
    /// The register that it is, with the role of one.
    pub(super) register: Option<RegisterId>,
}

/// The endpoints as one operator (or nobody who is enrolled) sees them.
pub(super) fn router(state: AdminState, who: Option<Who>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/bundle", get(bundle))
        .merge(suspensions::routes())
        .merge(harvest::routes())
        .merge(break_glass::routes())
        .merge(bundles::routes())
        .merge(cache::routes())
        .merge(reads::routes())
        .fallback(unknown)
        .method_not_allowed_fallback(method)
        .with_state(state)
        .layer(Extension(who))
}

async fn livez(who: Who) -> Response {
    who.seen("/livez", json(StatusCode::OK, &json!({ "live": true })))
}

async fn readyz(who: Who, State(state): State<AdminState>) -> Response {
    let reasons = (state.status)().not_ready;
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    who.seen("/readyz", json(status, &json!({ "ready": reasons.is_empty(), "reasons": reasons })))
}

async fn metrics(who: Who, State(state): State<AdminState>) -> Response {
    if let Some(refusal) = who.lacks(Role::Viewer, "/metrics") {
        return refusal;
    }
    (state.collect)();
    let mut response = state.metrics.encode().into_response();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    who.seen("/metrics", response)
}

async fn bundle(who: Who, State(state): State<AdminState>) -> Response {
    if let Some(refusal) = who.lacks(Role::Viewer, "/bundle") {
        return refusal;
    }
    who.seen("/bundle", json(StatusCode::OK, &(state.status)()))
}

async fn unknown(who: Who) -> Response {
    let detail = "use one of /livez, /readyz, /metrics, /bundle, /bundles, /suspensions, /harvest, /break-glass, /cache, /agencies, /purposes, \
                  /operations, /audit/verify, /audit/entries, /explain/<request id>";
    who.seen("unknown", problem(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path", detail))
}

async fn method(who: Who) -> Response {
    let detail = "use GET; POST /suspensions, DELETE /suspensions/<kind>/<id>, DELETE /harvest/<kind>/<id>, POST /bundle/reload, \
         POST /bundle/rollback, POST /cache/purge, POST /cache/changes, POST /break-glass and below it change something";
    let title = "this path has another method";
    who.seen("known", problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", title, detail))
}

impl Who {
    /// The refusal, if the operator does not have the role.
    fn lacks(&self, role: Role, path: &'static str) -> Option<Response> {
        self.lacks_any(&[role], path)
    }

    /// The refusal, if the operator has none of the roles.
    pub(super) fn lacks_any(&self, roles: &[Role], path: &'static str) -> Option<Response> {
        if roles.iter().any(|role| self.roles.contains(role)) {
            return None;
        }
        let roles: Vec<String> = roles.iter().map(|role| format!("`{}`", role.as_str())).collect();
        let detail =
            format!("`{path}` needs the role {}; add it to `[admin.operators.{}]`", roles.join(" or "), self.name);
        let refusal = problem(StatusCode::FORBIDDEN, "role_missing", "the operator lacks a role", &detail);
        Some(self.seen(path, refusal))
    }

    /// Every answer is logged with who asked.
    pub(super) fn seen(&self, path: &'static str, response: Response) -> Response {
        tracing::info!(operator = self.name, path, status = response.status().as_u16(), "admin request");
        response
    }
}

impl<S: Sync> FromRequestParts<S> for Who {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        parts.extensions.get::<Option<Self>>().cloned().flatten().ok_or_else(|| {
            tracing::warn!(status = 403, "admin request by a certificate that is not enrolled");
            let detail = "add a section `[admin.operators.<name>]` with an identity that this certificate shows";
            let title = "no operator is enrolled for this certificate";
            problem(StatusCode::FORBIDDEN, "operator_not_enrolled", title, detail)
        })
    }
}

pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    (status, axum::Json(body)).into_response()
}

/// RFC 9457.
pub(super) fn problem(status: StatusCode, code: &str, title: &str, detail: &str) -> Response {
    let body = json!({ "title": title, "status": status.as_u16(), "code": code, "detail": detail });
    let mut response = json(status, &body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}
