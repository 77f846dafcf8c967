//! What is counted for each request: an array index and an increment, no label lookup.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

use crate::refusal::Refusal;

/// How a request ended: `ok` or a refusal's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(u8);

impl Code {
    /// Data was disclosed.
    pub const OK: Self = Self(0);

    /// A refusal's code.
    pub fn of(refusal: &Refusal) -> Self {
        let code = refusal.code();
        let at = CODES.iter().position(|known| *known == code).or_else(|| CODES.iter().position(|c| *c == "internal"));
        Self(at.and_then(|at| u8::try_from(at).ok()).unwrap_or_default())
    }

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        CODES.get(usize::from(self.0)).copied().unwrap_or("internal")
    }
}

/// The handles for the operations of one bundle; made when the bundle is swapped in, and kept beside it. Counts go on over
/// reloads.
#[derive(Debug)]
pub struct OperationTable {
    /// For requests that no operation was found for.
    none: Row,
    rows: Vec<Row>,
    /// By code.
    refusals: Vec<IntCounter>,
}

impl OperationTable {
    pub(super) fn new<'a>(
        operations: impl IntoIterator<Item = &'a str>,
        requests: &IntCounterVec,
        durations: &HistogramVec,
        refusals: &IntCounterVec,
    ) -> Self {
        let row = |name: &str| Row {
            name: name.to_owned(),
            requests: requests.clone(),
            counters: CODES.iter().map(|_| OnceLock::new()).collect(),
            duration: durations.with_label_values(&[name]),
        };
        Self {
            none: row("none"),
            rows: operations.into_iter().map(row).collect(),
            refusals: CODES.iter().map(|code| refusals.with_label_values(&[code])).collect(),
        }
    }

    /// Counts one request that ended. `operation` is its position in the contracts of the bundle that the table was made for;
    /// `None` if the request never got that far.
    pub fn record(&self, operation: Option<usize>, code: Code, took: Duration) {
        let row = operation.and_then(|at| self.rows.get(at)).unwrap_or(&self.none);
        if let Some(counter) = row.counters.get(usize::from(code.0)) {
            // Made at the first use: most pairs of operation and code never happen.
            counter.get_or_init(|| row.requests.with_label_values(&[row.name.as_str(), code.as_str()])).inc();
        }
        row.duration.observe(took.as_secs_f64());
        if code != Code::OK
            && let Some(refusals) = self.refusals.get(usize::from(code.0))
        {
            refusals.inc();
        }
    }
}

#[derive(Debug)]
struct Row {
    name: String,
    requests: IntCounterVec,
    counters: Box<[OnceLock<IntCounter>]>,
    duration: Histogram,
}

/// Every code that a request can end with. A test compares it with `refusal.rs`.
const CODES: [&str; 46] = [
    "ok",
    "no_match",
    "rate_exceeded",
    "quota_exceeded",
    "concurrency_exceeded",
    "connections_exceeded",
    "harvest_suspected",
    "overloaded",
    "register_busy",
    "policy_denied",
    "parameter_denied",
    "purpose_missing",
    "purpose_unknown",
    "purpose_expired",
    "purpose_not_enrolled",
    "evidence_missing",
    "agency_suspended",
    "system_suspended",
    "purpose_suspended",
    "register_suspended",
    "parameter_invalid",
    "certificate_revoked",
    "certificate_invalid",
    "system_not_enrolled",
    "network_not_listed",
    "tls_version_too_old",
    "operation_unknown",
    "method_not_allowed",
    "request_malformed",
    "header_invalid",
    "media_type_unsupported",
    "body_too_large",
    "body_timeout",
    "register_unavailable",
    "register_timeout",
    "register_failed",
    "record_unreadable",
    "record_incomplete",
    "record_too_large",
    "subject_mismatch",
    "audit_unavailable",
    "internal",
    "plugin_refused",
    "plugin_failed",
    "client_not_represented",
    "service_unknown",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_counter_of_its_own() {
        let text = include_str!("../refusal.rs");
        let rows = text.split_once("fn row(&self)").unwrap().1;
        // Each row begins `("code", S::...` or, wrapped, `(` and `"code",` on a line of its own.
        let found: Vec<&str> = rows
            .split('"')
            .skip(1)
            .step_by(2)
            .filter(|text| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
            .collect();
        assert!(found.len() > 30, "{found:?}");
        for code in found {
            assert!(CODES.contains(&code), "`{code}` is missing");
        }
        assert_eq!(Code::of(&Refusal::NoMatch).as_str(), "no_match");
        assert_eq!(Code::of(&Refusal::Internal).as_str(), "internal");
    }
}
