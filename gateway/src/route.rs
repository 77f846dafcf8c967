//! Route: what is asked. Reads the request strictly; what two parsers could read differently is refused.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, header};
use popgate_caching::rules::RequestDirectives;
use popgate_policy::bundle::Bundle;
use popgate_policy::contract::{ArgumentError, Arguments, Captures, Operation, RequestParts, Route};
use popgate_policy::model::Personal;
use popgate_policy::xroad::{ServiceId, Target};

use crate::accept::ClientBody;
use crate::app::config;
use crate::audit::Claimed;
use crate::gather::{self, Failed};
use crate::identify::Caller;
use crate::refusal::Refusal;
use crate::xroad;

mod lines;
mod wanted;

pub use lines::{Line, Lines};
pub use wanted::{Form, Wanted, asks_for_view, wanted};

/// A request whose operation and headers are known.
#[derive(Clone, Debug)]
pub struct Call {
    /// What is asked.
    pub operation: Arc<Operation>,
    /// What the agency says about the request.
    pub claims: Claims,
    /// Whether only the header section of the answer is wanted.
    pub head: bool,
    /// The X-Road service that the path names, if an exchange server asks.
    pub service: Option<ServiceId>,
    /// No stored record that is older is wanted (`Cache-Control: no-cache`, `max-age`). The other directives of requests would tell what
    /// others asked for, and are passed over: RFC 9111, section 5.2.1, obliges to none.
    pub youngest: Option<Duration>,
    captures: Captures,
    query: Personal<String>,
}

/// The gateway's request headers, these four and no more, and the client's own request id. X-Road's headers fill the same.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// `Gateway-Purpose`.
    pub purpose: Option<String>,
    /// `Gateway-User`, or `X-Road-UserId`.
    pub user: Option<Personal<String>>,
    /// `Gateway-Case`, or `X-Road-Issue`.
    pub case: Option<Personal<String>>,
    /// `Gateway-Assurance`.
    pub assurance: Option<String>,
    /// `X-Request-Id`, or `X-Road-Id`: recorded beside the gateway's own, never used in its place.
    pub client_request_id: Option<String>,
    /// `X-Road-Represented-Party`.
    pub represented: Option<Personal<String>>,
}

/// Finds the operation and reads the headers. The framing MUST have been checked.
///
/// # Errors
/// If there is no such operation, or the request is malformed.
pub fn call(bundle: &Bundle, caller: &Caller, parts: &Parts) -> Result<Call, Refusal> {
    if parts.method == Method::CONNECT || parts.headers.contains_key(header::UPGRADE) {
        return Err(Refusal::RequestMalformed {
            reason: "send plain requests: this gateway neither tunnels nor upgrades",
        });
    }
    let (path, service) = match caller.exchange() {
        None => (Cow::Borrowed(parts.uri.path()), None),
        Some(_) => of_service(bundle, parts.uri.path()).map(|(path, service)| (path.into(), Some(service)))?,
    };
    let (operation, captures) = match bundle.contracts().route(parts.method.as_str(), &path) {
        Route::Operation(operation, captures) => (Arc::clone(operation), captures),
        Route::MethodNotAllowed(allow) => return Err(Refusal::MethodNotAllowed { allow: allow.join(", ") }),
        Route::NotFound => return Err(Refusal::OperationUnknown),
    };
    Ok(Call {
        operation,
        claims: Claims::read(&parts.headers, service.as_ref())?,
        head: parts.method == Method::HEAD,
        service,
        youngest: youngest(&parts.headers),
        captures,
        query: Personal::new(parts.uri.query().unwrap_or_default().to_owned()),
    })
}

fn youngest(headers: &HeaderMap) -> Option<Duration> {
    if !headers.contains_key(header::CACHE_CONTROL) && !headers.contains_key(header::PRAGMA) {
        return None;
    }
    let said = RequestDirectives::of(headers);
    if said.no_cache { Some(Duration::ZERO) } else { said.max_age }
}

/// The path that an exchange server's stands for: what follows the service goes behind the service's base.
fn of_service(bundle: &Bundle, path: &str) -> Result<(String, ServiceId), Refusal> {
    let Target { service, rest } = Target::of(path).ok_or(Refusal::ServiceUnknown)?;
    let base = bundle.contracts().service_base(&service).ok_or(Refusal::ServiceUnknown)?;
    Ok(([base, rest].concat(), service))
}

/// Reads the body and the parameters; the body is given back with them.
///
/// # Errors
/// If the body is too large, too slow or of another type, or a parameter is not as the contract says.
pub async fn arguments(
    call: &Call,
    headers: &HeaderMap,
    body: ClientBody,
    limits: &config::Http,
) -> Result<(Arguments, Bytes), Refusal> {
    let operation = &call.operation;
    let most = operation.max_body.map_or(limits.max_body, |most| most.min(limits.max_body));
    let body = tokio::time::timeout(limits.body_timeout, read(body, headers, most))
        .await
        .map_err(|_| Refusal::BodyTimeout)??;
    if !body.is_empty() && operation.takes_body() && !is_of(JSON, headers) {
        return Err(Refusal::MediaTypeUnsupported { accepted: JSON });
    }
    let parts = RequestParts { captures: &call.captures, query: call.query.expose(), body: &body };
    let arguments = operation
        .arguments(parts)
        .map_err(|error| Refusal::ParameterInvalid { detail: error.to_string(), errors: operation.mistakes(parts) })?;
    Ok((arguments, body))
}

async fn read(body: ClientBody, headers: &HeaderMap, limit: usize) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::BodyTooLarge { limit };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    gather::whole(body, limit).await.map_err(|failed| match failed {
        Failed::TooLarge => too_large(),
        Failed::Broken(_) => Refusal::RequestMalformed { reason: "send the whole body, framed correctly" },
    })
}

/// The lines of a bulk request's body. Nothing of it is read yet.
///
/// # Errors
/// If it is of another type.
pub fn lines(call: &Call, headers: &HeaderMap, body: ClientBody, limits: &config::Http) -> Result<Lines, Refusal> {
    if !is_of(NDJSON, headers) {
        return Err(Refusal::MediaTypeUnsupported { accepted: NDJSON });
    }
    let longest = call.operation.max_body.map_or(limits.max_body, |most| most.min(limits.max_body));
    Ok(Lines::new(body, longest, limits.body_timeout))
}

/// Reads the parameters of one line.
///
/// # Errors
/// If a parameter is not as the contract says.
pub fn arguments_of_line(call: &Call, line: &[u8]) -> Result<Arguments, Refusal> {
    let parts = RequestParts { captures: &call.captures, query: call.query.expose(), body: line };
    let mistakes = |error: ArgumentError| Refusal::ParameterInvalid {
        detail: error.to_string(),
        errors: call.operation.mistakes(parts),
    };
    call.operation.arguments(parts).map_err(mistakes)
}

/// Whether a body is of that media type, in UTF-8 and not encoded further.
fn is_of(kind: &str, headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(Ok(value)), None) = (types.next().map(|value| value.to_str()), types.next()) else { return false };
    let mut parts = value.split(';').map(str::trim);
    let is_utf8 = |parameter: &str| {
        let charset = parameter.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("charset"));
        charset.is_some_and(|(_, value)| value.trim_matches('"').eq_ignore_ascii_case("utf-8"))
    };
    parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case(kind))
        && parts.all(is_utf8)
        && !headers.contains_key(header::CONTENT_ENCODING)
}

impl Call {
    /// The same request of the operation as another bundle has it.
    #[must_use]
    pub fn of(&self, operation: &Arc<Operation>) -> Self {
        Self { operation: Arc::clone(operation), ..self.clone() }
    }
}

impl Claims {
    /// For the audit log.
    pub fn to_claimed(&self) -> Claimed {
        Claimed {
            user: self.user.clone(),
            case: self.case.clone(),
            assurance: self.assurance.clone().map(Personal::new),
            request_id: self.client_request_id.clone().map(Personal::new),
            represented: self.represented.clone(),
            client: None,
        }
    }

    fn read(headers: &HeaderMap, service: Option<&ServiceId>) -> Result<Self, Refusal> {
        let mut claims = Self::default();
        for name in headers.keys().filter(|name| name.as_str().starts_with("gateway-")) {
            match name.as_str() {
                "gateway-purpose" => claims.purpose = Some(one(headers, name, "Gateway-Purpose")?),
                "gateway-user" => claims.user = Some(Personal::new(one(headers, name, "Gateway-User")?)),
                "gateway-case" => claims.case = Some(Personal::new(one(headers, name, "Gateway-Case")?)),
                "gateway-assurance" => claims.assurance = Some(one(headers, name, "Gateway-Assurance")?),
                _ => {
                    return Err(Refusal::HeaderInvalid {
                        name: "Gateway-*",
                        reason: "known are Gateway-Purpose, Gateway-User, Gateway-Case and Gateway-Assurance",
                    });
                }
            }
        }
        claims.client_request_id = headers
            .get("x-request-id")
            .and_then(|value| value.to_str().ok())
            .filter(|id| is_token(id) && id.len() <= 64)
            .map(str::to_owned);
        if let Some(service) = service {
            claims.add(xroad::Said::read(headers, service)?)?;
        }
        Ok(claims)
    }

    /// Adds what X-Road's headers say of the same things; it MUST NOT differ.
    fn add(&mut self, said: xroad::Said) -> Result<(), Refusal> {
        let differs = |name, reason| Refusal::HeaderInvalid { name, reason };
        if !agree(&mut self.user, said.user) {
            return Err(differs("X-Road-UserId", "it differs from Gateway-User: send one of them"));
        }
        if !agree(&mut self.case, said.issue) {
            return Err(differs("X-Road-Issue", "it differs from Gateway-Case: send one of them"));
        }
        self.client_request_id = said.id.or(self.client_request_id.take());
        self.represented = said.represented;
        Ok(())
    }
}

/// Fills in what is not said yet. `false` if both are there and differ.
fn agree(known: &mut Option<Personal<String>>, said: Option<Personal<String>>) -> bool {
    match (known.as_ref(), &said) {
        (Some(known), Some(said)) => known == said,
        (None, Some(_)) => {
            *known = said;
            true
        }
        (_, None) => true,
    }
}

/// Reads a header that may stand once, in a charset that is safe in logs, files and terminals.
fn one(headers: &HeaderMap, name: &HeaderName, shown: &'static str) -> Result<String, Refusal> {
    let invalid = |reason| Refusal::HeaderInvalid { name: shown, reason };
    let mut values = headers.get_all(name).iter();
    let value = values.next().and_then(|value| value.to_str().ok()).unwrap_or_default();
    if values.next().is_some() {
        return Err(invalid("send it once"));
    }
    if value.is_empty() || value.len() > 128 || !is_token(value) {
        return Err(invalid("send 1 to 128 letters, digits or any of . _ : / @ + = -"));
    }
    Ok(value.to_owned())
}

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

fn is_token(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:/@+=-".contains(&byte))
}
