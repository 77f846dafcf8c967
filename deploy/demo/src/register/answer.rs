//! From a request to an answer. Anything but `GET` of what the register has, or of the health, is refused.

use bytes::Bytes;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH},
};

use super::{
    Fault, Faults,
    body::Answer,
    service::{Asked, Document, Failure, JSON, Service},
};

/// Answers one request; its body, if any, is not read.
pub(super) async fn answer<B>(request: &Request<B>, service: &Service, faults: &Faults) -> Response<Answer> {
    faults.count(request);
    let asked = match request.uri().path() {
        "/healthz" => None,
        path => match service.asked(path) {
            Some(asked) => Some(asked),
            None => return problem(StatusCode::NOT_FOUND, None),
        },
    };
    if request.method() != Method::GET {
        let mut refusal = problem(StatusCode::METHOD_NOT_ALLOWED, None);
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return refusal;
    }
    let Some(asked) = asked else { return Response::new(Answer::whole("ok\n")) };

    let (asked, fault) = match asked {
        Asked::Of(number, record) => {
            let (whose, fault) = faults.plan(number);
            (Asked::Of(whose, record), fault)
        }
        Asked::Search => (Asked::Search, faults.plan_of_everyone()),
    };
    if let Some(delay) = fault.as_ref().and_then(|fault| fault.delay_head) {
        tokio::time::sleep(delay).await;
    }
    match (service.find(asked, request.uri()).await, fault) {
        (Err(Failure::Query(refused)), _) => problem(StatusCode::BAD_REQUEST, Some(refused.0)),
        (Err(Failure::Database(error)), _) => problem(StatusCode::SERVICE_UNAVAILABLE, Some(&error.to_string())),
        (Ok(Some(document)), None) => record(document, request.headers()),
        (Ok(None), None) => problem(StatusCode::NOT_FOUND, None),
        (Ok(found), Some(fault)) => misbehave(found, request.headers(), fault),
    }
}

fn record(document: Document, headers: &HeaderMap) -> Response<Answer> {
    let Document { body, content_type, surrogate_key } = document;
    let etag = etag(&body);
    let mut response = Response::new(Answer::Whole(None));
    if is_current(headers, &etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        *response.body_mut() = Answer::whole(body);
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    describe(response.headers_mut(), etag, surrogate_key);
    response
}

fn misbehave(found: Option<Document>, headers: &HeaderMap, fault: Fault) -> Response<Answer> {
    let is_error = fault.status.is_some_and(|status| status.is_client_error() || status.is_server_error());
    let body = match (&fault.body, &found) {
        (Some(body), _) => Some(body.clone()),
        (None, Some(_)) if is_error => None,
        (None, found) => found.as_ref().map(|document| document.body.clone()),
    };
    let mut response = match body {
        Some(body) => {
            let (content_type, surrogate_key) =
                found.map_or((JSON, None), |document| (document.content_type, document.surrogate_key));
            let etag = etag(&body);
            let current = fault.status.is_none() && !fault.ignore_validators && is_current(headers, &etag);
            let mut response = Response::new(Answer::Whole(None));
            if current {
                *response.status_mut() = StatusCode::NOT_MODIFIED;
            } else {
                *response.body_mut() = Answer::with(body, &fault);
                response.headers_mut().insert(CONTENT_TYPE, content_type);
            }
            describe(response.headers_mut(), etag, surrogate_key);
            response
        }
        None => problem(fault.status.unwrap_or(StatusCode::NOT_FOUND), None),
    };
    if let Some(status) = fault.status {
        *response.status_mut() = status;
    }
    match fault.cache_control {
        Some(value) if value.is_empty() => drop(response.headers_mut().remove(CACHE_CONTROL)),
        Some(value) => drop(response.headers_mut().insert(CACHE_CONTROL, value)),
        None => {}
    }
    for (name, value) in fault.headers {
        response.headers_mut().append(name, value);
    }
    response
}

fn describe(headers: &mut HeaderMap, etag: Option<HeaderValue>, surrogate_key: Option<HeaderValue>) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
    if let Some(etag) = etag {
        headers.insert(ETAG, etag);
    }
    if let Some(key) = surrogate_key {
        headers.insert(SURROGATE_KEY, key);
    }
}

/// Strong: equal for equal bytes only.
fn etag(body: &[u8]) -> Option<HeaderValue> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body);
    let mut tag = Vec::with_capacity(40);
    tag.extend_from_slice(VERSION);
    for byte in digest.as_ref().iter().take(16) {
        tag.extend([byte >> 4, byte & 15].map(|digit| if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }));
    }
    tag.push(b'"');
    HeaderValue::from_maybe_shared(Bytes::from(tag)).ok()
}

/// RFC 9110, section 13.1.2: weak comparison, and `*` for any representation.
fn is_current(headers: &HeaderMap, etag: &Option<HeaderValue>) -> bool {
    let Some(etag) = etag else { return false };
    headers.get_all(IF_NONE_MATCH).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
            .any(|candidate| candidate == b"*" || candidate.strip_prefix(b"W/").unwrap_or(candidate) == etag.as_bytes())
    })
}

/// An RFC 9457 document of the status, and of what to do where that is not plain.
fn problem(status: StatusCode, detail: Option<&str>) -> Response<Answer> {
    let title = status.canonical_reason().unwrap_or("Unknown");
    let mut document = serde_json::json!({"type": "about:blank", "title": title, "status": status.as_u16()});
    if let (Some(detail), Some(document)) = (detail, document.as_object_mut()) {
        document.insert("detail".into(), detail.into());
    }
    let mut response = Response::new(Answer::whole(document.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
/// Changes with the shape of records.
const VERSION: &[u8] = b"\"1-";
