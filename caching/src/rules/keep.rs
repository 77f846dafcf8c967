//! Whether a response may be stored, and what of it is (RFC 9111 section 3).

use std::time::{Duration, SystemTime};

use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, StatusCode, Uri};

use super::directives::{Request, Scope};
use super::freshness::{self, Policy};
use super::settings::{Asked, Limits, Settings};
use super::targeted::Control;
use super::{Rulebook, age, date, fields, vary::Variant};

/// When a response was asked for, and when its fields came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Before the request was sent.
    pub asked_at: SystemTime,
    /// After the fields of the response came.
    pub got_at: SystemTime,
}

/// A stored response without its content. Plain data, so that a store may keep it anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its status.
    pub status: StatusCode,
    /// Its fields, without those that must not be stored; with a `Date`, without an `Age`.
    pub headers: HeaderMap,
    /// For which requests it is.
    pub variant: Variant,
    /// How it may be used.
    pub policy: Policy,
    /// How old it was when it came.
    pub age_at_arrival: Duration,
    /// When it came, or was last found unchanged.
    pub arrived: SystemTime,
    /// Its `Date`, in seconds since 1970: of several the latest answers.
    pub made: i64,
}

impl Stored {
    /// How old it is (RFC 9111 section 4.2.3, `current_age`).
    pub fn age(&self, now: SystemTime) -> Duration {
        self.age_at_arrival.saturating_add(now.duration_since(self.arrived).unwrap_or_default())
    }

    /// How much longer it is fresh; `None` when it is stale.
    pub fn fresh_left(&self, now: SystemTime) -> Option<Duration> {
        self.policy.fresh_for.checked_sub(self.age(now)).filter(|left| !left.is_zero())
    }

    /// For how long it has been stale.
    pub fn staleness(&self, now: SystemTime) -> Duration {
        self.age(now).saturating_sub(self.policy.fresh_for)
    }

    /// Whole seconds until it is stale; below zero once it is (RFC 9211 section 2.5).
    pub fn ttl(&self, now: SystemTime) -> i64 {
        let whole = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        whole(self.policy.fresh_for) - whole(self.age(now))
    }

    /// The same for the one client that the response was made for: with the fields that others do not get, given the
    /// fields as they came (RFC 9111 sections 5.2.2.4 and 5.2.2.7).
    pub fn for_its_client(&self, headers: &HeaderMap) -> Self {
        let mut own = headers.clone();
        fields::drop_hop_by_hop(&mut own);
        own.remove(header::AGE);
        give_date(&mut own, self.arrived);
        Self { headers: own, ..self.clone() }
    }

    /// Whether the origin can be asked if it is still the same.
    pub fn has_validator(&self) -> bool {
        has_validator(&self.headers)
    }
}

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStored {
    /// The method is not one whose responses are kept.
    Method,
    /// A part, a 304, an interim response, or a status that must be understood and is not.
    Status,
    /// The request says `no-store`.
    RequestNoStore,
    /// The response says `no-store`.
    NoStore,
    /// It is for one user.
    Private,
    /// It answers a request with `Authorization`, and does not say that others may have it.
    Authorization,
    /// No other request can match it.
    Vary,
    /// It could never be used: it is stale at once, and cannot be validated.
    Useless,
}

impl NotStored {
    /// Whether it is so because of who asked and how: what is stored already may stay.
    pub fn is_the_requests(self) -> bool {
        matches!(self, Self::Method | Self::RequestNoStore | Self::Authorization)
    }

    /// For `Cache-Status` and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Status => "status",
            Self::RequestNoStore => "request-no-store",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::Vary => "vary",
            Self::Useless => "useless",
        }
    }
}

impl Rulebook {
    /// What of a response is stored, for later GET (and HEAD) requests to the same target.
    ///
    /// The answer to a POST may be kept where it says how long it is fresh and that it is what a GET would bring (RFC
    /// 9110 section 9.3.3); the answer to a HEAD is not kept but changes what is ([`Rulebook::head`]).
    ///
    /// # Errors
    ///
    /// Why it must not be stored.
    pub fn keep(
        &self,
        asked: &Asked<'_>,
        status: StatusCode,
        headers: &HeaderMap,
        times: Times,
        limits: &Limits,
    ) -> Result<Stored, NotStored> {
        let settings = self.settings();
        let control = Control::of(headers, settings);
        check_method(asked, status, headers, &control)?;
        check_status(status, &control)?;
        check_directives(asked, &control)?;
        let variant = Variant::of(asked.headers, headers).ok_or(NotStored::Vary)?;
        let policy = policy(&control, status, headers, times, settings, limits);
        let usable = freshness::is_explicit(&control, headers) || freshness::may_be_guessed(&control, status);
        let lasts = !policy.fresh_for.is_zero() || (!policy.never_stale && waits(&policy));
        if !usable || !(lasts || has_validator(headers)) {
            return Err(NotStored::Useless);
        }
        let scopes = [&control.directives.no_cache, &control.directives.private];
        let mut kept = fields::kept(headers, &scopes);
        kept.remove(header::AGE);
        give_date(&mut kept, times.got_at);
        let age_at_arrival = age::at_arrival(headers, times);
        let got = date::seconds(times.got_at);
        let made = date::only(&kept, &header::DATE, got).unwrap_or(got);
        Ok(Stored { status, headers: kept, variant, policy, age_at_arrival, arrived: times.got_at, made })
    }
}

fn policy(
    control: &Control,
    status: StatusCode,
    headers: &HeaderMap,
    times: Times,
    settings: &Settings,
    limits: &Limits,
) -> Policy {
    Policy::of(control, status, headers, date::seconds(times.got_at), settings.heuristic, limits)
}

fn check_method(
    asked: &Asked<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    control: &Control,
) -> Result<(), NotStored> {
    if *asked.method == Method::GET && !asked.has_content() {
        return Ok(());
    }
    let is_what_get_brings = *asked.method == Method::POST
        && status == StatusCode::OK
        && freshness::is_explicit(control, headers)
        && headers.get(header::CONTENT_LOCATION).is_some_and(|value| leads_to(value, asked.uri));
    is_what_get_brings.then_some(()).ok_or(NotStored::Method)
}

/// RFC 9111 section 3: a final status; a part and a 304 are not whole.
fn check_status(status: StatusCode, control: &Control) -> Result<(), NotStored> {
    let whole =
        !status.is_informational() && status != StatusCode::PARTIAL_CONTENT && status != StatusCode::NOT_MODIFIED;
    let understood = !control.directives.must_understand || UNDERSTOOD.contains(&status.as_u16());
    (whole && understood).then_some(()).ok_or(NotStored::Status)
}

fn check_directives(asked: &Asked<'_>, control: &Control) -> Result<(), NotStored> {
    let said = &control.directives;
    if Request::of(asked.headers).no_store {
        return Err(NotStored::RequestNoStore);
    }
    // RFC 9111 section 5.2.2.3: who understands the status passes over `no-store` beside `must-understand`.
    if said.no_store && !said.must_understand {
        return Err(NotStored::NoStore);
    }
    if said.private == Some(Scope::All) {
        return Err(NotStored::Private);
    }
    // RFC 9111 section 3.5.
    let for_others = said.public || said.must_revalidate || said.s_maxage.is_some();
    if asked.headers.contains_key(header::AUTHORIZATION) && !for_others {
        return Err(NotStored::Authorization);
    }
    Ok(())
}

fn waits(policy: &Policy) -> bool {
    !policy.stale_while_revalidate.is_zero() || !policy.stale_if_error.is_zero()
}

fn has_validator(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED)
}

/// RFC 9110 section 6.6.1: who has a clock gives a date to what has none; one that is none is replaced.
pub(crate) fn give_date(headers: &mut HeaderMap, got_at: SystemTime) {
    if date::only(headers, &header::DATE, date::seconds(got_at)).is_some() {
        return;
    }
    // What a clock says before 1970 or after 9999 is no date that can be written.
    let writable = (0..=253_402_300_799).contains(&date::seconds(got_at));
    let text = writable.then(|| httpdate::fmt_http_date(got_at));
    if let Some(value) = text.and_then(|text| HeaderValue::from_str(&text).ok()) {
        headers.insert(header::DATE, value);
    }
}

/// Whether a field with a reference in it leads to this very target.
fn leads_to(value: &HeaderValue, target: &Uri) -> bool {
    super::invalidate::resolve(value, target).is_some_and(|uri| uri == *target)
}

/// Statuses whose meaning for a cache is known (RFC 9110 section 15).
const UNDERSTOOD: [u16; 43] = [
    200, 201, 202, 203, 204, 205, 300, 301, 302, 303, 305, 307, 308, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409,
    410, 411, 412, 413, 414, 415, 417, 421, 422, 426, 428, 429, 431, 451, 500, 501, 502, 503, 504, 505,
];
