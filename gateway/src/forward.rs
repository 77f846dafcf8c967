//! Forward: asks the register. What comes back is sealed; hyper's upstream body type is named in [`pool`] alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use popgate_policy::contract::{self, UpstreamRequest};
use popgate_policy::disclose::Raw;
use popgate_policy::disclose::arena::Arena;
use popgate_policy::model::{Personal, RegisterId};
use popgate_policy::permit::WholePermit;

use crate::admit::overload::Class;
use crate::cache::Validators;
use crate::clock::Clock;
use crate::metrics::FleetMetrics;
use crate::refusal::Refusal;

pub mod breaker;
mod budget;
pub mod cap;
pub mod fleet;
pub mod gradient;
pub mod health;
mod load;
pub mod pool;
pub mod registers;
pub mod tend;
mod tries;
mod window;

use fleet::{Fleet, Target};
use gradient::Outcome;
use pool::{Pool, Trouble};
use registers::Register;
pub use tries::Question;

/// What a register has about a person.
#[derive(Clone, Debug)]
pub enum Found {
    /// A record that nobody may see yet.
    Record(Raw),
    /// Nobody of that number.
    Unknown,
}

impl Found {
    /// The record, if there is one.
    pub fn record(&self) -> Option<&Raw> {
        match self {
            Self::Record(raw) => Some(raw),
            Self::Unknown => None,
        }
    }

    /// The same in memory of its own, see [`Raw::compact`].
    pub fn compact(&self, arena: Option<&Arena>) -> Option<Self> {
        Some(match self {
            Self::Record(raw) => Self::Record(raw.compact(arena)?),
            Self::Unknown => Self::Unknown,
        })
    }
}

/// A register's answer.
#[derive(Debug)]
pub struct Answer {
    /// What it found; `None` for "not modified".
    pub found: Option<Found>,
    /// The status.
    pub status: StatusCode,
    /// The headers: for the cache's rules, never for the agency.
    pub headers: HeaderMap,
    /// The connection that it came over.
    pub origin: Origin,
}

/// Why there is no answer.
#[derive(Debug)]
pub struct Unanswered {
    /// What the caller is told.
    pub refusal: Refusal,
    /// Whether the register fails (RFC 5861, section 4), so that a stored record may stand in. One that answers, and refuses,
    /// does not.
    pub failing: bool,
}

impl Unanswered {
    fn failing(refusal: Refusal) -> Self {
        Self { refusal, failing: true }
    }
}

/// An upstream connection, as far as others may judge it.
#[derive(Clone, Debug, Default)]
pub struct Origin(Arc<Line>);

#[derive(Debug, Default)]
struct Line {
    condemned: AtomicBool,
    target: Option<Blamed>,
}

/// Whose failure it is when a connection is condemned: its answer had looked well.
#[derive(Debug)]
struct Blamed {
    fleet: Arc<Fleet>,
    metrics: FleetMetrics,
    /// A target that is gone is kept by nobody's connection.
    target: Weak<Target>,
    clock: Clock,
}

impl Origin {
    fn of(register: &Register, target: &Arc<Target>, clock: &Clock) -> Self {
        let (fleet, metrics) = (Arc::clone(&register.fleet), register.metrics.clone());
        let blamed = Blamed { fleet, metrics, target: Arc::downgrade(target), clock: clock.clone() };
        Self(Arc::new(Line { condemned: AtomicBool::new(false), target: Some(blamed) }))
    }

    /// The connection answered about somebody else, or with what cannot be read: it may be desynchronised and MUST NOT be used again.
    /// For the target that is a failure as any other.
    pub fn condemn(&self) {
        if self.0.condemned.swap(true, Ordering::Relaxed) {
            return;
        }
        let Some(Blamed { fleet, metrics, target, clock }) = &self.0.target else { return };
        let Some(target) = target.upgrade() else { return };
        if let Some(cause) = fleet.blame(&target, clock.now()) {
            metrics.ejected(cause);
            tracing::warn!(target = target.label(), cause = cause.as_str(), "a target is ejected for what it answers");
        }
    }

    fn is_condemned(&self) -> bool {
        self.0.condemned.load(Ordering::Relaxed)
    }
}

/// What a register is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    upstream: &'a UpstreamRequest,
    subject: Option<&'a Personal<String>>,
    media_type: &'a str,
    most_bytes: usize,
    class: Class,
}

impl<'a> Wanted<'a> {
    /// The record, or the list of records, of an upstream request.
    pub fn record_of(upstream: &'a UpstreamRequest, most_bytes: usize, class: Class) -> Self {
        Self { upstream, subject: None, media_type: "application/json", most_bytes, class }
    }

    /// The same person is asked of the same target, where the register wants that.
    #[must_use]
    pub fn about(self, subject: Option<&'a Personal<String>>) -> Self {
        Self { subject, ..self }
    }

    /// The field that is given by itself.
    pub fn whole(permit: &'a WholePermit, class: Class) -> Self {
        let (upstream, media_type, most_bytes) = (permit.upstream(), permit.media_type(), permit.most_bytes());
        Self { upstream, subject: None, media_type, most_bytes, class }
    }

    /// The register.
    pub fn register(&self) -> &'a RegisterId {
        &self.upstream.register
    }
}

/// Asks the register for what a permit needs.
///
/// Nothing of the client's request crosses but what the contract's upstream template names; conditional headers are the
/// cache's own. What fails is asked once more, of another target, if the budget of such tries allows it: only reads are forwarded,
/// so that is safe.
///
/// # Errors
/// If the register cannot be reached, is too slow, or answers something else than a record or "unknown".
pub async fn ask(
    pool: &Pool,
    wanted: Wanted<'_>,
    validators: Validators,
    until: Instant,
) -> Result<Answer, Unanswered> {
    let Wanted { upstream, subject, media_type, most_bytes, class } = wanted;
    let turn = match pool.cap(&upstream.register) {
        Some(cap) => Some(cap.enter(class).ok_or_else(|| Unanswered::failing(BUSY))?),
        None => None,
    };
    let trouble = |trouble: Trouble| {
        let register = upstream.register.as_str();
        match trouble {
            Trouble::Unreachable(error) => {
                tracing::warn!(register, error = %error, "the register cannot be reached");
                Unanswered::failing(Refusal::RegisterUnavailable)
            }
            Trouble::Broken(error) => {
                tracing::warn!(register, error = %error, "the register broke off its answer");
                Unanswered::failing(Refusal::RegisterFailed)
            }
            Trouble::Late => Unanswered::failing(Refusal::RegisterTimeout),
            Trouble::Busy | Trouble::Open => Unanswered::failing(Refusal::RegisterUnavailable),
            Trouble::TooLarge => Unanswered { refusal: Refusal::RecordTooLarge, failing: false },
        }
    };
    let request = || {
        let mut request = Request::new(());
        *request.method_mut() = match upstream.method {
            contract::Method::Get => Method::GET,
            contract::Method::Post => Method::POST,
        };
        *request.uri_mut() =
            upstream.target.expose().parse().map_err(|_| Unanswered { refusal: Refusal::Internal, failing: false })?;
        let accept = HeaderValue::from_str(media_type);
        request.headers_mut().insert(header::ACCEPT, accept.unwrap_or(HeaderValue::from_static("*/*")));
        validators.apply(request.headers_mut());
        Ok(request)
    };
    let is_well = |response: &Response<Raw>| match response.status() {
        StatusCode::OK => is_plain(response.headers(), media_type),
        status => !status.is_server_error(),
    };
    let subject = subject.unwrap_or(&upstream.target);
    let question =
        Question { register: &upstream.register, request: &request()?, most_bytes, subject, until, is_well: &is_well };
    let answered = pool.ask(question).await;
    if let Some(turn) = turn {
        turn.end(match &answered {
            Ok((response, _)) if response.status().is_server_error() => Outcome::Failed,
            Ok(_) | Err(Trouble::TooLarge) => Outcome::Answered,
            Err(Trouble::Late) => Outcome::TimedOut,
            Err(Trouble::Unreachable(_) | Trouble::Broken(_)) => Outcome::Failed,
            Err(Trouble::Busy | Trouble::Open) => Outcome::Abandoned,
        });
    }
    let (response, origin) = answered.map_err(trouble)?;
    let (parts, raw) = response.into_parts();
    let found = match parts.status {
        StatusCode::OK if is_plain(&parts.headers, media_type) => Some(Found::Record(raw)),
        StatusCode::NOT_FOUND | StatusCode::GONE => Some(Found::Unknown),
        StatusCode::NOT_MODIFIED if !validators.is_empty() => None,
        status => {
            tracing::warn!(
                register = upstream.register.as_str(),
                status = status.as_u16(),
                "the register did not answer with a record"
            );
            let refusal = match status {
                StatusCode::SERVICE_UNAVAILABLE => Refusal::RegisterUnavailable,
                _ => Refusal::RegisterFailed,
            };
            // With 200 it failed too: that was no record. Where it does not know this gateway, that is about nobody who is asked for.
            let of_all = [
                StatusCode::OK,
                StatusCode::UNAUTHORIZED,
                StatusCode::PROXY_AUTHENTICATION_REQUIRED,
                StatusCode::TOO_MANY_REQUESTS,
            ];
            let failing = status.is_server_error() || of_all.contains(&status);
            return Err(Unanswered { refusal, failing });
        }
    };
    Ok(Answer { found, status: parts.status, headers: parts.headers, origin })
}

/// The register is asked as much as it can bear.
const BUSY: Refusal = Refusal::RegisterBusy { retry_after: Duration::from_secs(1) };

/// One answer of the type that the contract describes: neither coded nor of two minds about its type or its length.
fn is_plain(headers: &HeaderMap, media_type: &str) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(Ok(only)), None) = (types.next().map(|value| value.to_str()), types.next()) else { return false };
    let essence = only.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(media_type)
        && !headers.contains_key(header::CONTENT_ENCODING)
        && !(headers.contains_key(header::TRANSFER_ENCODING) && headers.contains_key(header::CONTENT_LENGTH))
}
