//! Respond: the one exit. The protocol adapters accept [`Body`] and nothing else, and a disclosure enters a body only as
//! [`Released`]: a redacted chunk that met the receipt of its own disclosure.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{
    AGE, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Frame, SizeHint};
use popgate_caching::rules::CacheStatus;
use popgate_policy::contract::{Mistake, Place};
use popgate_policy::disclose::{Person, Redacted, RedactedChunk};
use popgate_policy::model::DisclosureId;
use popgate_policy::view::View;

use crate::accept::CloseConnection;
use crate::admit::Ticket;
use crate::audit::{Closing, Outcome, Receipt, Shown};
use crate::cache::Life;
use crate::refusal::Refusal;
use crate::route::{Form, Wanted};

mod bulk;

use bulk::Bulk;
pub use bulk::{Answers, Cut, LineAnswer};

/// The header that carries the disclosure's id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("gateway-request-id");

/// The header that carries the digest of the caller's view.
pub const VIEW: HeaderName = HeaderName::from_static("gateway-view");

/// Whose fault it is (RFC 9209).
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// What a `POST` may hold (W3C Linked Data Platform, section 7.1).
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

/// Everything that this gateway can say to an agency.
pub struct Body(Kind);

enum Kind {
    /// A refusal's problem document: built from the closed enum, never from a register's bytes.
    Refusal(Option<Bytes>),
    /// What is no secret and about nobody: a [`View`], which the policy crate makes of contracts and policies alone.
    Public(Option<Bytes>),
    /// Released chunks, with what must live until the last of them was handed over.
    Disclosure(Disclosure, #[expect(dead_code, reason = "it counts as long as it is held")] Ticket),
    /// The answers to a bulk request's lines, as they come.
    Bulk(Bulk),
}

/// What is shown, the proof that it may be, and what becomes of its records.
#[derive(Debug)]
pub struct Covered {
    /// What is shown.
    pub redacted: Redacted,
    /// The proof that its entries are durable.
    pub receipt: Receipt,
    /// The closing of entry 0.
    pub closing: Closing,
    /// The closings of the entries after it, one a person.
    pub persons: Vec<Closing>,
}

struct Disclosure {
    chunks: VecDeque<Piece>,
    left: u64,
    // Dropped with chunks left, it records that the answer was cut short.
    closing: Option<Closing>,
    shown: Shown,
    /// Of each person whom only the answer named; taken with the last of their chunks.
    persons: Vec<Option<(Closing, Shown)>>,
}

/// A chunk, and whose it is.
struct Piece {
    released: Released,
    person: Option<usize>,
    /// Whether it is that person's last.
    ends: bool,
}

/// A chunk whose disclosure is durably recorded.
pub struct Released(Bytes);

/// A chunk and a receipt that do not belong together: an invariant of the pipeline is broken, nothing is released.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a chunk and a receipt of different disclosures, or a receipt that does not reach as far as the chunk")]
pub struct Mismatch;

/// Releases a chunk against the receipt of its own disclosure.
///
/// # Errors
/// [`Mismatch`], if the receipt is another disclosure's or does not cover the chunk's last person.
pub fn release(chunk: RedactedChunk, receipt: &Receipt) -> Result<Released, Mismatch> {
    let covered = chunk.disclosure() == receipt.disclosure() && chunk.last_seq() <= receipt.durable_upto();
    if covered { Ok(Released(chunk.into_bytes())) } else { Err(Mismatch) }
}

/// Answers with a disclosure.
///
/// # Errors
/// [`Refusal::Internal`], if answer, receipt and closings do not belong together.
pub fn disclosure(covered: Covered, ticket: Ticket, head: bool) -> Result<Response<Body>, Refusal> {
    let id = covered.redacted.disclosure();
    let media_type = HeaderValue::from_str(covered.redacted.media_type()).map_err(|_| Refusal::Internal)?;
    let mut disclosure = Disclosure::of(covered)?;
    let length = disclosure.left;
    if !head {
        ticket.moved(usize::try_from(length).unwrap_or(usize::MAX));
    }
    if head {
        // HEAD tells the length of what would be shown, and is a disclosure as well.
        while disclosure.next().is_some() {}
    }
    let mut response = Response::new(Body(Kind::Disclosure(disclosure, ticket)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, media_type);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    common(&mut response, id);
    Ok(response)
}

/// Answers a bulk request: one line of NDJSON for each line, in their order.
pub fn bulk(answers: Pin<Box<dyn Answers>>, id: DisclosureId, ticket: Ticket) -> Response<Body> {
    let mut response = Response::new(Body(Kind::Bulk(Bulk::new(answers, ticket))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    common(&mut response, id);
    response
}

/// Answers with the caller's view, or with 304 if it has it already (RFC 9110, section 13.1.2).
pub fn view(view: &View, wanted: &Wanted, id: DisclosureId) -> Response<Body> {
    let (kind, document, tag) = match wanted.form {
        Form::Json => ("application/json", view.json(), format!("\"{}\"", view.digest())),
        Form::Yaml => ("application/yaml", view.yaml(), format!("\"{}-yaml\"", view.digest())),
    };
    let known = wanted.has(&tag);
    let sent = !known && !wanted.head;
    let mut response = Response::new(Body(Kind::Public(sent.then(|| document.clone()))));
    common(&mut response, id);
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(document.len()));
    }
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    response
}

/// Answers with a refusal (RFC 9457). The document depends on the refusal alone, so that two refusals with one code and
/// remedy are the same bytes; the request id travels in its header.
pub fn refusal(refusal: &Refusal, id: DisclosureId, head: bool) -> Response<Body> {
    let kind = format!("urn:popgate:refusal:{}", refusal.code());
    problem(refusal, &kind, "application/problem+json", None, id, head)
}

/// Answers an exchange server with a refusal that is an error of that type to it: the same document, with the members and the media
/// type that X-Road's clients read (PR-REST, section 4.6).
pub fn refusal_to_exchange(refusal: &Refusal, kind: &'static str, id: DisclosureId, head: bool) -> Response<Body> {
    let message = format!("{}: {}", refusal.title(), refusal.remedy());
    problem(refusal, kind, "application/json;charset=utf-8", Some(message), id, head)
}

fn problem(
    refusal: &Refusal,
    kind: &str,
    media_type: &'static str,
    message: Option<String>,
    id: DisclosureId,
    head: bool,
) -> Response<Body> {
    let mut document = serde_json::json!({
        "type": kind,
        "title": refusal.title(),
        "status": refusal.status().as_u16(),
        "code": refusal.code(),
        "detail": refusal.remedy(),
    });
    if let (Some(message), Some(document)) = (message, document.as_object_mut()) {
        document.insert("message".to_owned(), message.into());
    }
    add_mistakes(refusal, &mut document);
    if let (Some(limit), Some(document)) = (refusal.limit(), document.as_object_mut()) {
        // draft-ietf-httpapi-ratelimit-headers-10, section 6.
        document.insert("violated-policies".to_owned(), serde_json::json!([limit]));
    }
    let document = Bytes::from(document.to_string());
    let length = document.len();
    let mut response = Response::new(Body(Kind::Refusal((!head).then_some(document))));
    *response.status_mut() = refusal.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if let Some(seconds) = refusal.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(status) = refusal.proxy_status() {
        headers.insert(PROXY_STATUS, HeaderValue::from_static(status));
    }
    if let Refusal::MethodNotAllowed { allow } = refusal
        && let Ok(allow) = HeaderValue::from_str(allow)
    {
        headers.insert(ALLOW, allow);
    }
    if let Refusal::MediaTypeUnsupported { accepted } = refusal {
        headers.insert(ACCEPT_POST, HeaderValue::from_static(accepted));
    }
    if refusal.closes_connection() {
        response.extensions_mut().insert(CloseConnection);
    }
    common(&mut response, id);
    response
}

/// What is wrong with each parameter, where that is known.
fn add_mistakes(refusal: &Refusal, document: &mut serde_json::Value) {
    if let (Refusal::ParameterInvalid { errors, .. }, Some(document)) = (refusal, document.as_object_mut())
        && !errors.is_empty()
    {
        document.insert("errors".to_owned(), errors.iter().map(told).collect());
    }
}

/// A mistake as an extension member of the problem document has it (RFC 9457, section 3.2).
fn told(mistake: &Mistake) -> serde_json::Value {
    match &mistake.place {
        Place::Body(pointer) => serde_json::json!({ "pointer": pointer, "detail": mistake.detail }),
        Place::Parameter(name) => serde_json::json!({ "parameter": name, "detail": mistake.detail }),
        Place::Query => serde_json::json!({ "detail": format!("the query {}", mistake.detail) }),
    }
}

/// Tells an agency of a stored record that it asked for itself (RFC 9111, section 5.1; RFC 9211).
pub fn tell_of_cache(response: &mut Response<Body>, life: Life) {
    let headers = response.headers_mut();
    headers.insert(AGE, HeaderValue::from(life.age.as_secs()));
    let status = CacheStatus { cache: "popgate", hit: true, ttl: Some(life.ttl), ..CacheStatus::default() };
    status.append_to(headers);
}

fn common(response: &mut Response<Body>, id: DisclosureId) {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(REQUEST_ID, id);
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Refusal(_) => f.write_str("<refusal>"),
            Kind::Public(_) => f.write_str("<public>"),
            Kind::Disclosure(disclosure, _) => write!(f, "<disclosure, {} bytes left>", disclosure.left),
            Kind::Bulk(_) => f.write_str("<bulk>"),
        }
    }
}

impl fmt::Debug for Released {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<released, {} bytes>", self.0.len())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let bytes = match &mut self.0 {
            Kind::Refusal(document) | Kind::Public(document) => document.take(),
            Kind::Disclosure(disclosure, _) => disclosure.next(),
            Kind::Bulk(bulk) => return bulk.poll_next(cx).map(|next| next.map(|bytes| bytes.map(Frame::data))),
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Refusal(document) | Kind::Public(document) => document.is_none(),
            Kind::Disclosure(disclosure, _) => disclosure.chunks.is_empty(),
            Kind::Bulk(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Refusal(document) | Kind::Public(document) => {
                SizeHint::with_exact(document.as_ref().map_or(0, |document| document.len() as u64))
            }
            Kind::Disclosure(disclosure, _) => SizeHint::with_exact(disclosure.left),
            Kind::Bulk(_) => SizeHint::default(),
        }
    }
}

impl Disclosure {
    fn of(covered: Covered) -> Result<Self, Refusal> {
        let Covered { redacted, receipt, mut closing, persons } = covered;
        let shown = Shown::from(redacted.tally());
        let left = redacted.len() as u64;
        closing.set(shown);
        if redacted.persons().len() != persons.len() {
            return Err(Refusal::Internal);
        }
        let shown_of = |person: &Person| Shown::from(person.tally);
        let persons = persons.into_iter().zip(redacted.persons().iter().map(shown_of)).map(Some).collect();
        // A person's chunks follow each other; what is behind the last one's is the envelope's end.
        let mut pieces = VecDeque::new();
        let mut chunks = redacted.into_chunks().into_iter().peekable();
        while let Some(chunk) = chunks.next() {
            let person = chunk.last_seq();
            let left = chunks.len();
            let ends = chunks.peek().is_none_or(|next| next.last_seq() != person || left == 1);
            let person = usize::try_from(person).ok().and_then(|person| person.checked_sub(1));
            let released = release(chunk, &receipt).map_err(|_| Refusal::Internal)?;
            pieces.push_back(Piece { released, person, ends });
        }
        Ok(Self { chunks: pieces, left, closing: Some(closing), shown, persons })
    }

    fn next(&mut self) -> Option<Bytes> {
        let Piece { released: Released(bytes), person, ends } = self.chunks.pop_front()?;
        self.left = self.left.saturating_sub(bytes.len() as u64);
        if let Some(slot) = person.and_then(|person| self.persons.get_mut(person)) {
            match slot.as_mut().filter(|_| !ends) {
                // Until their first chunk, a person of a list that breaks off was shown nothing.
                Some((closing, shown)) => closing.set(*shown),
                None => {
                    if let Some((closing, shown)) = slot.take() {
                        closing.close(Outcome::Complete(shown));
                    }
                }
            }
        }
        if self.chunks.is_empty()
            && let Some(closing) = self.closing.take()
        {
            closing.close(Outcome::Complete(self.shown));
        }
        Some(bytes)
    }
}
