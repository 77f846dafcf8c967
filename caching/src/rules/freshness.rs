//! How long a response may be used, and how (RFC 9111 section 4.2; RFC 5861).

use std::time::Duration;

use http::header::{DATE, EXPIRES, LAST_MODIFIED};
use http::{HeaderMap, StatusCode};

use super::date;
use super::directives::{LONGEST, Scope};
use super::settings::{Heuristic, Limits};
use super::targeted::Control;

/// How a stored response may be used. Times count from its age zero, or from the end of its freshness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Fresh that long.
    pub fresh_for: Duration,
    /// Then for that long it answers while it is fetched anew.
    pub stale_while_revalidate: Duration,
    /// Then for that long it answers where the origin fails.
    pub stale_if_error: Duration,
    /// Whether the origin itself said how long for either: where it did not, a contract may.
    pub says_how_stale: Says,
    /// Then for that long at most it answers a request that accepts it (`max-stale`).
    pub max_stale: Duration,
    /// It is never used without asking the origin (`no-cache`).
    pub always_validate: bool,
    /// It is never used stale (`must-revalidate`, `proxy-revalidate`, `s-maxage`, `no-cache`).
    pub never_stale: bool,
}

/// What of RFC 5861 a response says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Says {
    /// `stale-while-revalidate`.
    pub while_revalidate: bool,
    /// `stale-if-error`.
    pub if_error: bool,
}

impl Policy {
    /// What a response allows, shortened by the contract.
    pub(crate) fn of(
        control: &Control,
        status: StatusCode,
        headers: &HeaderMap,
        got: i64,
        heuristic: Option<Heuristic>,
        limits: &Limits,
    ) -> Self {
        let said = &control.directives;
        let fresh_for = explicit(control, headers, got)
            .or_else(|| heuristic.and_then(|heuristic| by_change(control, status, headers, got, heuristic)))
            .unwrap_or_default();
        let always_validate = said.no_cache == Some(Scope::All);
        let at_most = |time: Option<Duration>, most: Option<Duration>| {
            let time = time.unwrap_or_default();
            most.map_or(time, |most| time.min(most))
        };
        Self {
            fresh_for: at_most(Some(fresh_for), limits.fresh_at_most),
            stale_while_revalidate: at_most(said.stale_while_revalidate, limits.stale_while_revalidate_at_most),
            stale_if_error: at_most(said.stale_if_error, limits.stale_if_error_at_most),
            says_how_stale: Says {
                while_revalidate: said.stale_while_revalidate.is_some(),
                if_error: said.stale_if_error.is_some(),
            },
            max_stale: at_most(Some(LONGEST), limits.max_stale_at_most),
            always_validate,
            // RFC 9111 section 5.2.2.10: `s-maxage` says `proxy-revalidate` as well.
            never_stale: always_validate || said.must_revalidate || said.proxy_revalidate || said.s_maxage.is_some(),
        }
    }
}

/// Whether a response says how long it is fresh (RFC 9111 section 3).
pub(crate) fn is_explicit(control: &Control, headers: &HeaderMap) -> bool {
    let said = &control.directives;
    said.max_age.is_some() || said.s_maxage.is_some() || (!control.targeted && headers.contains_key(EXPIRES))
}

/// Whether its status may be fresh without saying so (RFC 9110 section 15.1), or `public` says that it may.
pub(crate) fn may_be_guessed(control: &Control, status: StatusCode) -> bool {
    HEURISTIC.contains(&status.as_u16()) || control.directives.public
}

/// RFC 9111 section 4.2.1, in its order. An `Expires` that is no date, or more than one, is in the past (section 5.3).
fn explicit(control: &Control, headers: &HeaderMap, got: i64) -> Option<Duration> {
    let said = &control.directives;
    let by_directive = said.s_maxage.or(said.max_age);
    if by_directive.is_some() || control.targeted || !headers.contains_key(EXPIRES) {
        return by_directive;
    }
    let made = date::only(headers, &DATE, got).unwrap_or(got);
    Some(date::only(headers, &EXPIRES, got).map_or(Duration::ZERO, |expires| date::between(made, expires)))
}

/// RFC 9111 section 4.2.2.
fn by_change(
    control: &Control,
    status: StatusCode,
    headers: &HeaderMap,
    got: i64,
    heuristic: Heuristic,
) -> Option<Duration> {
    if !may_be_guessed(control, status) {
        return None;
    }
    let changed = date::only(headers, &LAST_MODIFIED, got)?;
    let made = date::only(headers, &DATE, got).unwrap_or(got);
    let since = date::between(changed, made);
    Some(since.checked_mul(heuristic.percent).map_or(heuristic.at_most, |time| (time / 100).min(heuristic.at_most)))
}

/// RFC 9110 section 15.1, without 206: parts are not kept.
const HEURISTIC: [u16; 11] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];
