//! What callers of deprecated operations are told, and who they are.

use std::sync::OnceLock;

use http::header::LINK;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::civil::Date;
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::tz::TimeZone;
use popgate_policy::bundle::Bundle;
use popgate_policy::contract::Operation;
use popgate_policy::directory::System;
use prometheus::IntCounter;

use crate::metrics::Metrics;

/// An operation that ends.
#[derive(Debug)]
pub struct Ending {
    headers: Vec<(HeaderName, HeaderValue)>,
    /// By system, how often it called the operation; made at its first call.
    calls: Box<[OnceLock<IntCounter>]>,
}

impl Ending {
    /// `None` for an operation that is not deprecated.
    pub(super) fn of(bundle: &Bundle, operation: &Operation) -> Option<Self> {
        let lifecycle = operation.lifecycle.as_ref()?;
        let second = |day: Date| day.to_zoned(TimeZone::UTC).ok().map(|midnight| midnight.timestamp());
        let deprecated = second(lifecycle.deprecated).map(|since| format!("@{}", since.as_second()));
        let sunset = lifecycle.sunset.and_then(second);
        let sunset = sunset.and_then(|end| DateTimePrinter::new().timestamp_to_rfc9110_string(&end).ok());
        let successor = lifecycle.successor.as_ref().and_then(|id| bundle.contracts().operation(id.as_str()));
        let link = successor.map(|successor| format!("<{}>; rel=\"successor-version\"", place(successor)));
        let headers = [(DEPRECATION, deprecated), (SUNSET, sunset), (LINK, link)];
        let headers = headers.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::try_from(value?).ok()?)));
        Some(Self {
            headers: headers.collect(),
            calls: bundle.directory().systems().iter().map(|_| OnceLock::new()).collect(),
        })
    }

    /// Says it: `Deprecation` (RFC 9745), `Sunset` (RFC 8594), and a `Link` to the successor (RFC 5829).
    pub fn tell(&self, headers: &mut HeaderMap) {
        headers.extend(self.headers.iter().cloned());
    }

    /// Counts a call.
    pub fn called(&self, metrics: &Metrics, operation: &Operation, system: &System) {
        if let Some(calls) = self.calls.get(system.index) {
            calls.get_or_init(|| metrics.deprecated(operation.id.as_str(), system.id.as_str())).inc();
        }
    }
}

/// Where an operation stands in its caller's view. Its own path will not do for a link: it may hold the name of a parameter, and with the
/// caller's value in its place it would name a person.
fn place(operation: &Operation) -> String {
    let path = operation.template.replace('~', "~0").replace('/', "~1").replace('{', "%7B").replace('}', "%7D");
    format!("/.well-known/openapi#/paths/{path}/{}", operation.method.as_str().to_ascii_lowercase())
}

const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
const SUNSET: HeaderName = HeaderName::from_static("sunset");
