//! X-Road: what is read of a message's headers, and what its answer says (X-Road: Message Protocol for REST, PR-REST, sections 4.3 and
//! 4.6). No stage: `identify`, `route` and the pipeline stand on it. Nothing of it reaches a register.

use aws_lc_rs::digest::{self, Digest, SHA512};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use popgate_policy::model::{DisclosureId, Personal};
use popgate_policy::xroad::{ClientId, ServiceId};

use crate::refusal::{Blame, Refusal};

/// Whom a request says that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behalf {
    /// No `X-Road-Client`: for who sends it.
    Own,
    /// For that client.
    Client(ClientId),
    /// `X-Road-Client` stands there and names nobody; what it must be.
    Unreadable(&'static str),
}

impl Behalf {
    /// Reads `X-Road-Client`.
    pub fn of(headers: &HeaderMap) -> Self {
        match one(headers, &CLIENT, "X-Road-Client") {
            Ok(None) => Self::Own,
            Ok(Some(text)) => match ClientId::encoded(text) {
                Some(client) => Self::Client(client),
                None => Self::Unreadable("send instance/class/member/subsystem, each part percent-encoded"),
            },
            Err(_) => Self::Unreadable("send it once, in at most 512 printable ASCII characters"),
        }
    }
}

/// What a message says beside whom it is for.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// `X-Road-UserId`.
    pub user: Option<Personal<String>>,
    /// `X-Road-Issue`.
    pub issue: Option<Personal<String>>,
    /// `X-Road-Id`.
    pub id: Option<String>,
    /// `X-Road-Represented-Party`.
    pub represented: Option<Personal<String>>,
}

impl Said {
    /// Reads the headers of a message to a service.
    ///
    /// # Errors
    /// If one stands twice, holds something else than printable ASCII, or contradicts the path.
    pub fn read(headers: &HeaderMap, service: &ServiceId) -> Result<Self, Refusal> {
        let personal = |name, shown| Ok(short(headers, name, shown)?.map(|text| Personal::new(text.to_owned())));
        if let Some(named) = one(headers, &SERVICE, "X-Road-Service")?
            && ServiceId::encoded(named).as_ref() != Some(service)
        {
            let reason = "it names another service than the path: send the path's, or leave it out";
            return Err(Refusal::HeaderInvalid { name: "X-Road-Service", reason });
        }
        let represented: Option<Personal<String>> = personal(&REPRESENTED_PARTY, "X-Road-Represented-Party")?;
        if represented.as_ref().is_some_and(|party| party.expose().split('/').count() > 2) {
            let reason = "send class/code or a code, each percent-encoded";
            return Err(Refusal::HeaderInvalid { name: "X-Road-Represented-Party", reason });
        }
        Ok(Self {
            user: personal(&USER_ID, "X-Road-UserId")?,
            issue: personal(&ISSUE, "X-Road-Issue")?,
            id: short(headers, &ID, "X-Road-Id")?.map(str::to_owned),
            represented,
        })
    }
}

/// A message that came by an exchange server, and what its answer says of it.
#[derive(Debug)]
pub struct Message {
    request_id: String,
    id: HeaderValue,
    client: Option<HeaderValue>,
    service: Option<HeaderValue>,
    /// The digest of everything before the body.
    head: Digest,
    hash: Option<HeaderValue>,
}

impl Message {
    /// A message of which nothing is known yet but its head. `request_id` is the gateway's own.
    pub fn begin(request_id: DisclosureId, parts: &Parts) -> Self {
        let request_id = uuid(request_id);
        let given = short(&parts.headers, &ID, "X-Road-Id").ok().flatten();
        // PR-REST, section 4.3: one that is not sent is made.
        let id = value(given.unwrap_or(&request_id)).unwrap_or_else(|| HeaderValue::from_static("-"));
        let head = digest::digest(&SHA512, &head(parts, given.is_none(), &request_id));
        Self { request_id, id, client: None, service: None, head, hash: None }
    }

    /// The client is known.
    pub fn is_for(&mut self, client: &ClientId) {
        self.client = value(&client.to_encoded());
    }

    /// The service is known.
    pub fn is_to(&mut self, service: &ServiceId) {
        self.service = value(&service.to_encoded());
    }

    /// The whole body is there.
    pub fn has_body(&mut self, body: &[u8]) {
        // PR-REST, section 4.3, "Request hash header": base64(SHA512(SHA512(headers) + SHA512(body))), without a body
        // base64(SHA512(headers)).
        let hash = if body.is_empty() {
            STANDARD.encode(self.head)
        } else {
            let mut both = digest::Context::new(&SHA512);
            both.update(self.head.as_ref());
            both.update(digest::digest(&SHA512, body).as_ref());
            STANDARD.encode(both.finish())
        };
        self.hash = value(&hash);
    }

    /// Writes the headers of its answer. `error` is the type of the error that the answer tells, if it is one.
    ///
    /// An error is told by `X-Road-Error`, and has no request hash (section 4.6, examples 2 to 4), as the body may not have been
    /// read.
    pub fn stamp(&self, headers: &mut HeaderMap, error: Option<&'static str>) {
        let hash = self.hash.clone().filter(|_| error.is_none());
        let all = [
            (&CLIENT, self.client.clone()),
            (&SERVICE, self.service.clone()),
            (&ID, Some(self.id.clone())),
            (&REQUEST_ID, value(&self.request_id)),
            (&REQUEST_HASH, hash),
            (&ERROR, error.map(HeaderValue::from_static)),
        ];
        for (name, value) in all {
            headers.extend(value.map(|value| (name.clone(), value)));
        }
    }
}

/// The type of an error (section 4.6): `Client` if the message is not as it must be, else the provider's side, as X-Road's servers name
/// them where one fits. `None` for what is no error of the exchange: that nobody matches is what the service answers (its category 1).
pub fn error(refusal: &Refusal) -> Option<&'static str> {
    if *refusal == Refusal::NoMatch {
        return None;
    }
    Some(match (refusal.blame(), refusal.status()) {
        (Blame::Downstream, StatusCode::FORBIDDEN) => "Server.ServerProxy.AccessDenied",
        (Blame::Downstream, StatusCode::NOT_FOUND) => "Server.ServerProxy.UnknownService",
        (Blame::Downstream, StatusCode::METHOD_NOT_ALLOWED) => "Server.ServerProxy.InvalidHttpMethod",
        (Blame::Downstream, StatusCode::UNSUPPORTED_MEDIA_TYPE) => "Server.ServerProxy.InvalidContentType",
        (Blame::Downstream, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT) => {
            "Server.ServerProxy.InvalidBody"
        }
        (Blame::Downstream, StatusCode::TOO_MANY_REQUESTS) => "Server.ServerProxy.RateExceeded",
        (Blame::Downstream, _) => "Client.BadRequest",
        (Blame::Upstream, StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT) => {
            "Server.ServerProxy.NetworkError"
        }
        (Blame::Upstream, _) => "Server.ServerProxy.ServiceFailed",
        (Blame::Gateway, _) if *refusal == Refusal::AuditUnavailable => "Server.ServerProxy.LoggingFailed",
        (Blame::Gateway, _) => "Server.ServerProxy.InternalError",
    })
}

/// The message without its body, as X-Road's servers hash it: method, target, and a line `name:value` for each header, each ended by
/// CRLF; the request id last. The specification says "headers" only. Names are in lower case here, since HTTP/2 knows no other.
fn head(parts: &Parts, without_id: bool, request_id: &str) -> Vec<u8> {
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut text = [parts.method.as_str(), "\r\n", target, "\r\n"].concat().into_bytes();
    let mut line = |name: &HeaderName, value: &[u8]| {
        for piece in [name.as_str().as_bytes(), b":", value, b"\r\n"] {
            text.extend_from_slice(piece);
        }
    };
    for (name, value) in &parts.headers {
        if !NOT_HASHED.contains(&name.as_str()) {
            line(name, value.as_bytes());
        }
    }
    line(&REQUEST_ID, request_id.as_bytes());
    if without_id {
        line(&ID, request_id.as_bytes());
    }
    text
}

/// A header that may stand once, in printable ASCII, spaces within included: X-Road's own ids, and whatever case numbers look like.
/// Section 4.3 advises to take the last `X-Road-Client` of several, which no client may send; several are refused here, because a program
/// on the way that reads the first would know another client than we do.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName, shown: &'static str) -> Result<Option<&'h str>, Refusal> {
    let invalid = |reason| Refusal::HeaderInvalid { name: shown, reason };
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid("send it once"));
    }
    // `to_str` lets tabs through beside printable ASCII.
    let text = value.to_str().ok().filter(|text| !text.contains('\t') && text.trim() == *text && !text.is_empty());
    text.filter(|text| text.len() <= 512).map(Some).ok_or_else(|| invalid(PRINTABLE))
}

fn short<'h>(headers: &'h HeaderMap, name: &HeaderName, shown: &'static str) -> Result<Option<&'h str>, Refusal> {
    match one(headers, name, shown)? {
        Some(text) if text.len() > 128 => Err(Refusal::HeaderInvalid { name: shown, reason: PRINTABLE }),
        text => Ok(text),
    }
}

/// In the form that UUIDs are written in: the digits of `Gateway-Request-Id`.
fn uuid(id: DisclosureId) -> String {
    let mut text = id.to_string();
    for at in [20, 16, 12, 8] {
        if text.is_char_boundary(at) {
            text.insert(at, '-');
        }
    }
    text
}

fn value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

const PRINTABLE: &str = "send 1 to 128 printable ASCII characters, no space at either end";

static CLIENT: HeaderName = HeaderName::from_static("x-road-client");
static SERVICE: HeaderName = HeaderName::from_static("x-road-service");
static ID: HeaderName = HeaderName::from_static("x-road-id");
static USER_ID: HeaderName = HeaderName::from_static("x-road-userid");
static ISSUE: HeaderName = HeaderName::from_static("x-road-issue");
static REPRESENTED_PARTY: HeaderName = HeaderName::from_static("x-road-represented-party");
static REQUEST_ID: HeaderName = HeaderName::from_static("x-road-request-id");
static REQUEST_HASH: HeaderName = HeaderName::from_static("x-road-request-hash");
static ERROR: HeaderName = HeaderName::from_static("x-road-error");

/// Section 4.3, "Filtered headers" and "Specially handled headers", and what the gateway sets itself.
const NOT_HASHED: [&str; 15] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-road-request-hash",
    "x-road-request-id",
];
