//! What a client is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use jiff::Timestamp;
use jiff::civil::Date;
use popgate_policy::directory::{Directory, Exchange, Holder, Purpose, Requirement, System, TlsVersion};
use popgate_policy::xroad::MemberId;
use rustls::pki_types::CertificateDer;
use rustls::{ProtocolVersion, ServerConnection};
use serde::Serialize;
use serde_json::json;

use super::checks::{self, Check, Outcome, Shown};
use super::text;
use crate::app::Node;
use crate::certificate::facts::Facts;

/// What is seen of a client, the same for each of its requests.
#[derive(Debug)]
pub(super) struct Seen {
    peer: SocketAddr,
    version: TlsVersion,
    connection: Connection,
    shown: Shown,
}

/// What was agreed for a connection.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Connection {
    pub(super) tls: &'static str,
    pub(super) cipher_suite: String,
    pub(super) group: String,
    pub(super) alpn: Option<String>,
}

/// The whole answer.
#[derive(Debug, Serialize)]
pub(super) struct Answer<'a> {
    /// Whether a request from this client, on the agencies' address, would get as far as its purpose.
    pub(super) accepted: bool,
    pub(super) gateway_time: Timestamp,
    /// Where the connection comes from, as the gateway sees it.
    pub(super) source: String,
    pub(super) connection: &'a Connection,
    pub(super) certificate: Option<&'a Facts>,
    /// The certificates that were sent behind it; `null` for one that cannot be read.
    pub(super) chain: &'a [Option<Facts>],
    pub(super) system: Option<Enrolled<'a>>,
    pub(super) exchange: Option<Speaks<'a>>,
    pub(super) clock_skew_seconds: Option<i64>,
    pub(super) checks: Vec<Check>,
}

/// Who it is.
#[derive(Debug, Serialize)]
pub(super) struct Enrolled<'a> {
    pub(super) agency: &'a str,
    pub(super) agency_name: &'a BTreeMap<String, String>,
    pub(super) system: &'a str,
    pub(super) purposes: Vec<Usable<'a>>,
}

/// An exchange server, and for whom it may ask.
#[derive(Debug, Serialize)]
pub(super) struct Speaks<'a> {
    pub(super) agency: &'a str,
    pub(super) agency_name: &'a BTreeMap<String, String>,
    pub(super) exchange: &'a str,
    pub(super) members: Vec<&'a str>,
    /// What to name in `X-Road-Client`, and the system that it stands for.
    pub(super) clients: BTreeMap<&'a str, &'a str>,
}

/// A purpose that the system may use.
#[derive(Debug, Serialize)]
pub(super) struct Usable<'a> {
    pub(super) purpose: &'a str,
    pub(super) name: &'a BTreeMap<String, String>,
    pub(super) basis: &'a str,
    /// The headers that a request for it must bring.
    pub(super) requires: Vec<&'static str>,
    pub(super) valid_from: Option<Date>,
    pub(super) valid_until: Option<Date>,
    pub(super) valid_today: bool,
    pub(super) suspended: bool,
    /// Until when it is lent to the system, which is not enrolled for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lent_until: Option<Timestamp>,
}

impl Seen {
    pub(super) fn of(tls: &ServerConnection, peer: SocketAddr) -> Self {
        let chain: Vec<CertificateDer<'static>> =
            tls.peer_certificates().unwrap_or_default().iter().map(|der| der.clone().into_owned()).collect();
        let version = match tls.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => TlsVersion::Tls13,
            _ => TlsVersion::Tls12,
        };
        let suite = tls.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
        let group = tls.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name()));
        let connection = Connection {
            tls: checks::version(version),
            cipher_suite: suite.unwrap_or_default(),
            group: group.unwrap_or_default(),
            alpn: tls.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        };
        Self { peer, version, connection, shown: Shown::new(chain) }
    }

    pub(super) fn is_h2(&self) -> bool {
        self.connection.alpn.as_deref() == Some("h2")
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(super) fn answer<B>(&self, node: &Node, request: &Request<B>) -> Response<Full<Bytes>> {
        if !matches!(request.uri().path(), "/" | "/whoami") {
            let detail = "ask for `/` or `/whoami`";
            return problem(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path", detail);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let title = "only GET is answered";
            let mut refusal = problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", title, "use GET");
            refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        let live = node.live();
        let now = node.clock.wall();
        let skew = skew(request.headers(), now);
        let (checks, vouched) = self.checks(node, live.bundle.directory(), now, skew);
        let directory = live.bundle.directory();
        let holder = vouched.then(|| directory.holder(&self.shown.identities)).flatten();
        let (system, exchange) = match &holder {
            Some(Holder::System(system)) => (Some(system), None),
            Some(Holder::Exchange(exchange)) => (None, Some(exchange)),
            None => (None, None),
        };
        let answer = Answer {
            accepted: checks.iter().all(|check| check.outcome != Outcome::Fail),
            gateway_time: now,
            source: self.peer.ip().to_canonical().to_string(),
            connection: &self.connection,
            certificate: self.shown.own(),
            chain: self.shown.facts.get(1..).unwrap_or_default(),
            system: system.map(|system| Enrolled::of(system, directory, node)),
            exchange: exchange.map(|exchange| Speaks::of(exchange, directory)),
            clock_skew_seconds: skew,
            checks,
        };
        let failing: Vec<_> =
            answer.checks.iter().filter(|it| it.outcome == Outcome::Fail).map(|check| check.code).collect();
        tracing::info!(peer = %self.peer, failing = failing.join(","), "a client asked who it is");
        if wants_text(request.headers()) {
            return response(StatusCode::OK, "text/plain; charset=utf-8", text::of(&answer));
        }
        match serde_json::to_string_pretty(&answer) {
            Ok(body) => response(StatusCode::OK, "application/json", body + "\n"),
            Err(error) => {
                tracing::error!(%error, "an answer of whoami cannot be written");
                problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the answer cannot be written", "try again")
            }
        }
    }

    /// Every check, and whether an authority in force vouches for the certificate.
    fn checks(&self, node: &Node, directory: &Directory, now: Timestamp, skew: Option<i64>) -> (Vec<Check>, bool) {
        let shown = &self.shown;
        let examination = node.trust().verifier().examine(&shown.chain, node.clock.unix());
        let vouched = !shown.chain.is_empty() && checks::is_vouched_for(&examination);
        let mut found = checks::of_certificate(shown, Some(&examination), now);
        found.push(checks::of_handshake(&examination));
        found.extend(checks::of_system(shown, vouched, directory, Some((self.peer.ip(), self.version))));
        let switch = node.suspensions.switch();
        let suspended = vouched.then(|| directory.holder(&shown.identities)).flatten().map(|holder| match holder {
            Holder::System(system) => switch.caller(&system, None, &node.clock),
            Holder::Exchange(exchange) => switch.exchange(&exchange, &node.clock),
        });
        found.push(checks::of_suspension(suspended.map(|may| may.err().map(|why| why.code()))));
        found.push(checks::of_clock(skew));
        (found, vouched)
    }
}

impl<'a> Enrolled<'a> {
    fn of(system: &'a System, directory: &'a Directory, node: &Node) -> Self {
        let lent = |purpose: &Purpose| node.break_glass.lending().until(purpose, system, &node.clock);
        let enrolled = system.purposes.iter().filter_map(|id| directory.purpose(id.as_str()));
        let purposes = enrolled.chain(directory.purposes().filter(|purpose| lent(purpose).is_some()));
        Self {
            agency: system.agency.id.as_str(),
            agency_name: &system.agency.name,
            system: system.id.as_str(),
            purposes: purposes.map(|purpose| Usable::of(purpose, lent(purpose), node)).collect(),
        }
    }
}

impl<'a> Speaks<'a> {
    fn of(exchange: &'a Exchange, directory: &'a Directory) -> Self {
        let clients = directory.systems().iter().filter_map(|system| Some((system.xroad.as_ref()?, system)));
        let spoken_for = clients.filter(|(client, _)| exchange.speaks_for(client));
        Self {
            agency: exchange.agency.id.as_str(),
            agency_name: &exchange.agency.name,
            exchange: exchange.id.as_str(),
            members: exchange.members.iter().map(MemberId::as_str).collect(),
            clients: spoken_for.map(|(client, system)| (client.as_str(), system.id.as_str())).collect(),
        }
    }
}

impl<'a> Usable<'a> {
    fn of(purpose: &'a Purpose, lent_until: Option<Timestamp>, node: &Node) -> Self {
        let header = |requirement: &Requirement| match requirement {
            Requirement::Case => "Gateway-Case",
            Requirement::User => "Gateway-User",
            Requirement::Assurance => "Gateway-Assurance",
        };
        Self {
            purpose: purpose.id.as_str(),
            name: &purpose.name,
            basis: &purpose.basis,
            requires: purpose.requires.iter().map(header).collect(),
            valid_from: purpose.valid_from,
            valid_until: purpose.valid_until,
            valid_today: purpose.is_valid_on(node.clock.local().date()),
            suspended: node.suspensions.switch().purpose(&purpose.id, &node.clock).is_err(),
            lent_until,
        }
    }
}

/// For who asks too often.
pub(super) fn too_many() -> Response<Full<Bytes>> {
    let title = "too many questions from this network";
    let mut refusal = problem(StatusCode::TOO_MANY_REQUESTS, "rate_exceeded", title, "retry after 5 s");
    refusal.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    refusal
}

/// By how many seconds the client's `Date` (RFC 9110, section 6.6.1) is ahead of ours.
fn skew(headers: &HeaderMap, now: Timestamp) -> Option<i64> {
    let date = headers.get(header::DATE)?.to_str().ok()?;
    let date = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    Some(date.duration_since(now).as_secs())
}

/// Whether plain text is named, and not behind JSON.
fn wants_text(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let kinds =
        accepted.flat_map(|value| value.split(',')).map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let mut known = kinds.filter(|kind| ["text/plain", "application/json"].contains(kind));
    known.next() == Some("text/plain")
}

/// RFC 9457.
fn problem(status: StatusCode, code: &str, title: &str, detail: &str) -> Response<Full<Bytes>> {
    let body = json!({ "title": title, "status": status.as_u16(), "code": code, "detail": detail });
    response(status, "application/problem+json", body.to_string())
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn text_is_for_who_asks_for_it() {
        for (accept, text) in [
            ("text/plain", true),
            ("text/plain;q=0.9, application/json;q=0.1", true),
            ("application/json, text/plain", false),
            ("*/*", false),
            ("text/html, text/plain", true),
        ] {
            assert_eq!(wants_text(&headers(header::ACCEPT, accept)), text, "{accept}");
        }
        assert!(!wants_text(&HeaderMap::new()));
    }

    #[test]
    fn the_skew_is_the_clients_minus_ours() {
        let now: Timestamp = "2026-11-22T02:15:00Z".parse().unwrap();
        let date = |value| skew(&headers(header::DATE, value), now);
        assert_eq!(date("Sun, 22 Nov 2026 02:15:00 GMT"), Some(0));
        assert_eq!(date("Sun, 22 Nov 2026 02:10:00 GMT"), Some(-300));
        assert_eq!(date("Sun, 22 Nov 2026 03:15:00 GMT"), Some(3600));
        assert_eq!(date("yesterday"), None);
    }
}
