//! From a request to an answer. Anything but `GET` of a person or of the health is refused.

use bytes::Bytes;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH},
};

use super::{Citizen, Fault, Faults, Number, body::Answer, draw};

/// Answers one request; its body, if any, is not read.
pub(super) async fn answer<B>(request: &Request<B>, faults: &Faults) -> Response<Answer> {
    faults.count(request);
    let person = match request.uri().path() {
        "/healthz" => None,
        path => match path.strip_prefix("/persons/").map(str::parse::<Number>) {
            Some(Ok(number)) => Some(number),
            _ => return problem(StatusCode::NOT_FOUND),
        },
    };
    if request.method() != Method::GET {
        let mut refusal = problem(StatusCode::METHOD_NOT_ALLOWED);
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return refusal;
    }
    let Some(number) = person else { return Response::new(Answer::whole("ok\n")) };

    let (whose, fault) = faults.plan(number);
    let Some(fault) = fault else { return record(whose, request.headers()) };
    if let Some(delay) = fault.delay_head {
        tokio::time::sleep(delay).await;
    }
    misbehave(whose, request.headers(), fault)
}

fn record(number: Number, headers: &HeaderMap) -> Response<Answer> {
    let Some(citizen) = Citizen::of(number) else { return problem(StatusCode::NOT_FOUND) };
    let json = Bytes::from(citizen.to_json());
    let etag = etag(&json);
    if is_current(headers, &etag) {
        let mut response = Response::new(Answer::Whole(None));
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        describe(response.headers_mut(), etag, surrogate_key(&citizen));
        return response;
    }
    let mut response = Response::new(Answer::whole(json));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    describe(response.headers_mut(), etag, surrogate_key(&citizen));
    response
}

fn misbehave(number: Number, headers: &HeaderMap, fault: Fault) -> Response<Answer> {
    let citizen = Citizen::of(number);
    let json = match (&fault.body, &citizen, fault.status) {
        (Some(body), _, _) => Some(body.clone()),
        (None, Some(_), Some(status)) if status.is_client_error() || status.is_server_error() => None,
        (None, citizen, _) => citizen.as_ref().map(|citizen| citizen.to_json().into()),
    };
    let mut response = match json {
        Some(json) => {
            let etag = etag(&json);
            let current = fault.status.is_none() && !fault.ignore_validators && is_current(headers, &etag);
            let mut response = Response::new(Answer::Whole(None));
            if current {
                *response.status_mut() = StatusCode::NOT_MODIFIED;
            } else {
                *response.body_mut() = Answer::with(json, &fault);
                response.headers_mut().insert(CONTENT_TYPE, JSON);
            }
            let surrogate_key = citizen.as_ref().and_then(surrogate_key);
            describe(response.headers_mut(), etag, surrogate_key);
            response
        }
        None => problem(fault.status.unwrap_or(StatusCode::NOT_FOUND)),
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

/// Groups answers for purging, without naming a person: a hash of the household, and the register.
fn surrogate_key(citizen: &Citizen) -> Option<HeaderValue> {
    let household = citizen.household.id.bytes().fold(0, |hash, byte| draw(hash, byte.into()));
    HeaderValue::try_from(format!("household-{household:016x} register-population")).ok()
}

/// An RFC 9457 document of nothing but the status.
fn problem(status: StatusCode) -> Response<Answer> {
    let title = status.canonical_reason().unwrap_or("Unknown");
    let document = format!(r#"{{"type":"about:blank","title":"{title}","status":{}}}"#, status.as_u16());
    let mut response = Response::new(Answer::whole(document));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
/// Changes with the shape of records.
const VERSION: &[u8] = b"\"1-";
