//! Refusals: every answer that is not data. One closed enum, one status, one stable code, one remedy each.

use std::time::Duration;

use http::StatusCode;
use popgate_policy::contract::Mistake;

mod catalogue;

pub use catalogue::refusable;

/// Why a request is refused. What the client is told follows from it; what only the operator may know is logged beside it.
///
/// Names and lists in the variants come from the bundle, never from the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The client certificate is on a revocation list.
    CertificateRevoked,
    /// The client certificate is no longer valid (expired, or its authority was withdrawn) on a live connection.
    CertificateInvalid,
    /// The certificate is good, but no system is enrolled for it.
    SystemNotEnrolled,
    /// The connection comes from a network that the system is not enrolled for.
    NetworkNotListed,
    /// The connection's TLS version is older than the system may use.
    TlsVersionTooOld,
    /// The exchange server does not speak for that client, or no system is enrolled as it.
    ClientNotRepresented,
    /// An exchange server's path names no service of a contract.
    ServiceUnknown,
    /// No operation at that path.
    OperationUnknown,
    /// The path exists, not with that method.
    MethodNotAllowed {
        /// The `Allow` header.
        allow: String,
    },
    /// A malformed request target, a forbidden header, an upgrade, or framing that two parsers could read differently.
    RequestMalformed {
        /// What must be mended.
        reason: &'static str,
    },
    /// A gateway header is malformed.
    HeaderInvalid {
        /// Which.
        name: &'static str,
        /// What it must be.
        reason: &'static str,
    },
    /// The body is of another media type than the operation takes, or encoded.
    MediaTypeUnsupported {
        /// The media type that it takes.
        accepted: &'static str,
    },
    /// The body is longer than allowed.
    BodyTooLarge {
        /// Bytes.
        limit: usize,
    },
    /// The body did not arrive in time.
    BodyTimeout,
    /// A parameter is undeclared, missing or invalid.
    ParameterInvalid {
        /// Names the first one, never its value.
        detail: String,
        /// Every mistake that was found.
        errors: Vec<Mistake>,
    },
    /// No `Gateway-Purpose`, and the system is enrolled for more than one (or none).
    PurposeMissing {
        /// What the system may use.
        enrolled: Vec<String>,
    },
    /// The registry of purposes has no such purpose.
    PurposeUnknown,
    /// The registry has it, but it is not valid today.
    PurposeExpired,
    /// The directory does not let this agency or system use it.
    PurposeNotEnrolled {
        /// What the system may use.
        enrolled: Vec<String>,
    },
    /// The purpose requires a header that is not there.
    EvidenceMissing {
        /// Which header.
        header: &'static str,
    },
    /// The policies show nothing of this operation for this purpose.
    PolicyDenied,
    /// The policies do not let this caller use a parameter.
    ParameterDenied {
        /// Which.
        name: String,
    },
    /// A plugin of this site takes it away, or leaves nothing of it.
    PluginRefused {
        /// What to do, in words of the plugin or of the contract.
        remedy: String,
    },
    /// A plugin of this site failed, so nothing is disclosed.
    PluginFailed,
    /// Unknown person, guard mismatch, or a record hidden whole: one and the same answer.
    NoMatch,
    /// An operator has suspended the agency. Why, only operators are told.
    AgencySuspended {
        /// When it ends, if that is known.
        retry_after: Option<Duration>,
    },
    /// An operator has suspended the system.
    SystemSuspended {
        /// When it ends, if that is known.
        retry_after: Option<Duration>,
    },
    /// An operator has suspended the purpose.
    PurposeSuspended {
        /// When it ends, if that is known.
        retry_after: Option<Duration>,
    },
    /// An operator has suspended the register.
    RegisterSuspended {
        /// When it ends, if that is known.
        retry_after: Option<Duration>,
    },
    /// Over a rate.
    RateExceeded {
        /// The limit's name, as in `RateLimit-Policy`.
        limit: &'static str,
        /// When to come again.
        retry_after: Duration,
    },
    /// The quota of a day or a month is used up.
    QuotaExceeded {
        /// The limit's name, likewise.
        limit: &'static str,
        /// When the next one begins.
        retry_after: Duration,
    },
    /// Too many requests in flight.
    ConcurrencyExceeded {
        /// The limit's name, likewise.
        limit: &'static str,
    },
    /// The system has too many connections.
    ConnectionsExceeded,
    /// The system, or its agency, looks as if it copied the register.
    HarvestSuspected {
        /// When to come again.
        retry_after: Duration,
    },
    /// The node has more to do than it can.
    Overloaded {
        /// When to come again.
        retry_after: Duration,
    },
    /// The register is asked as much as it can bear.
    RegisterBusy {
        /// When to come again.
        retry_after: Duration,
    },
    /// The register cannot be reached.
    RegisterUnavailable,
    /// The register did not answer in time.
    RegisterTimeout,
    /// The register answered something else than a record or "unknown".
    RegisterFailed,
    /// The register's record cannot be read strictly.
    RecordUnreadable,
    /// The register's record lacks a field that its contract says it must have.
    RecordIncomplete,
    /// The register's record is larger than can be decided on.
    RecordTooLarge,
    /// The register answered about somebody else.
    SubjectMismatch,
    /// No durable record can be written, so nothing is disclosed.
    AuditUnavailable,
    /// An invariant did not hold. Nothing was disclosed.
    Internal,
}

/// Whose fault a refusal is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blame {
    /// The agency's side.
    Downstream,
    /// The register's side.
    Upstream,
    /// This node.
    Gateway,
}

impl Refusal {
    /// The stable code: what clients may branch on, and the metric's label.
    pub fn code(&self) -> &'static str {
        self.row().0
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.row().1
    }

    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        self.row().2
    }

    /// A short, constant description of the code (RFC 9457, section 3.1.3).
    pub fn title(&self) -> &'static str {
        self.row().3
    }

    /// What to do about it, for the integrator who reads the answer.
    pub fn remedy(&self) -> String {
        match self {
            Self::CertificateRevoked => "ask your certificate authority for a new certificate".into(),
            Self::CertificateInvalid => "renew the client certificate and reconnect".into(),
            Self::SystemNotEnrolled => "ask the gateway's operator to enrol this certificate's identity".into(),
            Self::NetworkNotListed => "connect from an enrolled network, or have this one enrolled".into(),
            Self::TlsVersionTooOld => "connect with TLS 1.3".into(),
            Self::ClientNotRepresented => {
                "send the X-Road-Client of an enrolled system, of a member that this exchange server is enrolled to speak for"
                    .into()
            }
            Self::ServiceUnknown => {
                "use /r1/{instance}/{class}/{member}/{subsystem}/{service}/... of a service of this gateway".into()
            }
            Self::OperationUnknown => "use a path of the contract".into(),
            Self::MethodNotAllowed { allow } => format!("use one of: {allow}"),
            Self::RequestMalformed { reason } => (*reason).into(),
            Self::HeaderInvalid { name, reason } => format!("{name}: {reason}"),
            Self::MediaTypeUnsupported { accepted } => {
                format!("send Content-Type: {accepted}, in utf-8, without Content-Encoding")
            }
            Self::BodyTooLarge { limit } => format!("send at most {limit} bytes"),
            Self::BodyTimeout => "send the whole body without pauses".into(),
            Self::ParameterInvalid { detail, .. } => detail.clone(),
            Self::PurposeMissing { enrolled } => format!("add Gateway-Purpose: one of {}", listed(enrolled)),
            Self::PurposeUnknown => "use a purpose of the purpose registry".into(),
            Self::PurposeExpired => "use a purpose that is valid today".into(),
            Self::PurposeNotEnrolled { enrolled } => {
                format!("use one of {}, or have the purpose enrolled", listed(enrolled))
            }
            Self::EvidenceMissing { header } => format!("add {header}: this purpose requires it"),
            Self::PolicyDenied => "no policy shows this operation's fields for this purpose".into(),
            Self::ParameterDenied { name } => {
                format!("parameter `{name}`: no policy lets this system use it for this purpose")
            }
            Self::PluginRefused { remedy } => remedy.clone(),
            Self::PluginFailed => "retry later; if it goes on, report the request id to the gateway's operator".into(),
            Self::NoMatch => "check the identity number and every attribute that must match".into(),
            Self::AgencySuspended { .. }
            | Self::SystemSuspended { .. }
            | Self::PurposeSuspended { .. }
            | Self::RegisterSuspended { .. } => "ask the gateway's operator".into(),
            Self::RateExceeded { retry_after, .. } => format!("retry after {} s", seconds(*retry_after)),
            Self::QuotaExceeded { limit, .. } => {
                format!("wait for the next {}, or have more enrolled", limit.rsplit('-').next().unwrap_or(limit))
            }
            Self::ConcurrencyExceeded { .. } => "wait for answers before sending more requests".into(),
            Self::ConnectionsExceeded => "send more requests over fewer connections".into(),
            Self::HarvestSuspected { .. } => "ask the gateway's operator".into(),
            Self::Overloaded { .. } | Self::RegisterBusy { .. } => "retry later, and less at once".into(),
            Self::RegisterUnavailable | Self::RegisterTimeout => "retry later".into(),
            Self::RegisterFailed
            | Self::RecordUnreadable
            | Self::RecordIncomplete
            | Self::RecordTooLarge
            | Self::SubjectMismatch => "report the request id to the gateway's operator".into(),
            Self::AuditUnavailable => "retry, on another node if there is one".into(),
            Self::Internal => "report the request id to the gateway's operator".into(),
        }
    }

    /// When to come again, in whole seconds (`Retry-After`, RFC 9110, section 10.2.3).
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::RateExceeded { retry_after, .. }
            | Self::QuotaExceeded { retry_after, .. }
            | Self::HarvestSuspected { retry_after }
            | Self::Overloaded { retry_after }
            | Self::RegisterBusy { retry_after } => Some(seconds(*retry_after).max(1)),
            Self::AgencySuspended { retry_after }
            | Self::SystemSuspended { retry_after }
            | Self::PurposeSuspended { retry_after }
            | Self::RegisterSuspended { retry_after } => retry_after.map(seconds),
            Self::ConcurrencyExceeded { .. }
            | Self::ConnectionsExceeded
            | Self::RegisterUnavailable
            | Self::RegisterTimeout
            | Self::AuditUnavailable
            | Self::PluginFailed => Some(1),
            Self::CertificateRevoked
            | Self::CertificateInvalid
            | Self::SystemNotEnrolled
            | Self::NetworkNotListed
            | Self::TlsVersionTooOld
            | Self::ClientNotRepresented
            | Self::ServiceUnknown
            | Self::OperationUnknown
            | Self::MethodNotAllowed { .. }
            | Self::RequestMalformed { .. }
            | Self::HeaderInvalid { .. }
            | Self::MediaTypeUnsupported { .. }
            | Self::BodyTooLarge { .. }
            | Self::BodyTimeout
            | Self::ParameterInvalid { .. }
            | Self::PurposeMissing { .. }
            | Self::PurposeUnknown
            | Self::PurposeExpired
            | Self::PurposeNotEnrolled { .. }
            | Self::EvidenceMissing { .. }
            | Self::PolicyDenied
            | Self::ParameterDenied { .. }
            | Self::PluginRefused { .. }
            | Self::NoMatch
            | Self::RegisterFailed
            | Self::RecordUnreadable
            | Self::RecordIncomplete
            | Self::RecordTooLarge
            | Self::SubjectMismatch
            | Self::Internal => None,
        }
    }

    /// Of what is not the caller's fault: which side of the gateway failed, and how (`Proxy-Status`, RFC 9209, section 2.3).
    pub fn proxy_status(&self) -> Option<&'static str> {
        match self {
            Self::RegisterUnavailable | Self::RegisterSuspended { .. } => {
                Some("popgate; error=destination_unavailable")
            }
            Self::RegisterBusy { .. } => Some("popgate; error=connection_limit_reached"),
            Self::RegisterTimeout => Some("popgate; error=http_response_timeout"),
            Self::RegisterFailed | Self::RecordUnreadable | Self::RecordIncomplete | Self::SubjectMismatch => {
                Some("popgate; error=http_protocol_error")
            }
            Self::RecordTooLarge => Some("popgate; error=http_response_body_size"),
            Self::PluginFailed | Self::AuditUnavailable | Self::Overloaded { .. } | Self::Internal => {
                Some("popgate; error=proxy_internal_error")
            }
            _ => None,
        }
    }

    /// Whether the connection is closed after the answer.
    pub fn closes_connection(&self) -> bool {
        matches!(
            self,
            Self::CertificateRevoked
                | Self::CertificateInvalid
                | Self::RequestMalformed { .. }
                | Self::BodyTooLarge { .. }
                | Self::BodyTimeout
                | Self::ConnectionsExceeded
        )
    }

    /// The limit that is reached, by its name in `RateLimit-Policy`.
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::RateExceeded { limit, .. }
            | Self::QuotaExceeded { limit, .. }
            | Self::ConcurrencyExceeded { limit } => Some(limit),
            _ => None,
        }
    }

    fn row(&self) -> (&'static str, StatusCode, Blame, &'static str) {
        use Blame::{Downstream, Gateway, Upstream};
        use StatusCode as S;
        match self {
            Self::CertificateRevoked => {
                ("certificate_revoked", S::FORBIDDEN, Downstream, "the client certificate was revoked")
            }
            Self::CertificateInvalid => {
                ("certificate_invalid", S::FORBIDDEN, Downstream, "the client certificate is no longer valid")
            }
            Self::SystemNotEnrolled => {
                ("system_not_enrolled", S::FORBIDDEN, Downstream, "no system is enrolled for this certificate")
            }
            Self::NetworkNotListed => {
                ("network_not_listed", S::FORBIDDEN, Downstream, "the system may not connect from this network")
            }
            Self::TlsVersionTooOld => {
                ("tls_version_too_old", S::FORBIDDEN, Downstream, "the system may not use this TLS version")
            }
            Self::ClientNotRepresented => (
                "client_not_represented",
                S::FORBIDDEN,
                Downstream,
                "the exchange server does not speak for this client",
            ),
            Self::ServiceUnknown => {
                ("service_unknown", S::NOT_FOUND, Downstream, "there is no X-Road service at this path")
            }
            Self::OperationUnknown => {
                ("operation_unknown", S::NOT_FOUND, Downstream, "there is no operation at this path")
            }
            Self::MethodNotAllowed { .. } => (
                "method_not_allowed",
                S::METHOD_NOT_ALLOWED,
                Downstream,
                "the operation at this path has another method",
            ),
            Self::RequestMalformed { .. } => {
                ("request_malformed", S::BAD_REQUEST, Downstream, "the request is malformed")
            }
            Self::HeaderInvalid { .. } => {
                ("header_invalid", S::BAD_REQUEST, Downstream, "a gateway header is not valid")
            }
            Self::MediaTypeUnsupported { .. } => (
                "media_type_unsupported",
                S::UNSUPPORTED_MEDIA_TYPE,
                Downstream,
                "the body's media type is not supported",
            ),
            Self::BodyTooLarge { .. } => {
                ("body_too_large", S::PAYLOAD_TOO_LARGE, Downstream, "the request's body is too large")
            }
            Self::BodyTimeout => {
                ("body_timeout", S::REQUEST_TIMEOUT, Downstream, "the request's body did not arrive in time")
            }
            Self::ParameterInvalid { .. } => {
                ("parameter_invalid", S::BAD_REQUEST, Downstream, "a parameter is not as the contract says")
            }
            Self::PurposeMissing { .. } => {
                ("purpose_missing", S::FORBIDDEN, Downstream, "the request names no purpose")
            }
            Self::PurposeUnknown => {
                ("purpose_unknown", S::FORBIDDEN, Downstream, "the purpose registry has no such purpose")
            }
            Self::PurposeExpired => ("purpose_expired", S::FORBIDDEN, Downstream, "the purpose is not valid today"),
            Self::PurposeNotEnrolled { .. } => {
                ("purpose_not_enrolled", S::FORBIDDEN, Downstream, "the system is not enrolled for this purpose")
            }
            Self::EvidenceMissing { .. } => {
                ("evidence_missing", S::FORBIDDEN, Downstream, "the purpose requires more evidence")
            }
            Self::PolicyDenied => ("policy_denied", S::FORBIDDEN, Downstream, "the policies show nothing of this"),
            Self::ParameterDenied { .. } => {
                ("parameter_denied", S::FORBIDDEN, Downstream, "the policies do not allow this parameter")
            }
            Self::PluginRefused { .. } => {
                ("plugin_refused", S::FORBIDDEN, Downstream, "the rules of this site do not allow this")
            }
            Self::PluginFailed => {
                ("plugin_failed", S::SERVICE_UNAVAILABLE, Gateway, "a rule of this site could not be applied")
            }
            Self::NoMatch => ("no_match", S::NOT_FOUND, Downstream, "no record matches the request"),
            Self::AgencySuspended { .. } => ("agency_suspended", S::FORBIDDEN, Downstream, "the agency is suspended"),
            Self::SystemSuspended { .. } => ("system_suspended", S::FORBIDDEN, Downstream, "the system is suspended"),
            Self::PurposeSuspended { .. } => {
                ("purpose_suspended", S::FORBIDDEN, Downstream, "the purpose is suspended")
            }
            Self::RegisterSuspended { .. } => {
                ("register_suspended", S::SERVICE_UNAVAILABLE, Gateway, "the register is suspended")
            }
            Self::RateExceeded { .. } => {
                ("rate_exceeded", S::TOO_MANY_REQUESTS, Downstream, "the system is over its rate")
            }
            Self::QuotaExceeded { .. } => {
                ("quota_exceeded", S::TOO_MANY_REQUESTS, Downstream, "the quota of the day or month is used up")
            }
            Self::ConnectionsExceeded => {
                ("connections_exceeded", S::TOO_MANY_REQUESTS, Downstream, "the system has too many connections")
            }
            Self::HarvestSuspected { .. } => (
                "harvest_suspected",
                S::TOO_MANY_REQUESTS,
                Downstream,
                "the requests look like a copy of the register being made",
            ),
            Self::Overloaded { .. } => {
                ("overloaded", S::SERVICE_UNAVAILABLE, Gateway, "the gateway has more to do than it can")
            }
            Self::RegisterBusy { .. } => {
                ("register_busy", S::SERVICE_UNAVAILABLE, Upstream, "the register is asked as much as it can bear")
            }
            Self::ConcurrencyExceeded { .. } => {
                ("concurrency_exceeded", S::TOO_MANY_REQUESTS, Downstream, "the system has too many requests in flight")
            }
            Self::RegisterUnavailable => {
                ("register_unavailable", S::SERVICE_UNAVAILABLE, Upstream, "the register cannot be reached")
            }
            Self::RegisterTimeout => {
                ("register_timeout", S::GATEWAY_TIMEOUT, Upstream, "the register did not answer in time")
            }
            Self::RegisterFailed => {
                ("register_failed", S::BAD_GATEWAY, Upstream, "the register did not answer with a record")
            }
            Self::RecordUnreadable => {
                ("record_unreadable", S::BAD_GATEWAY, Upstream, "the register's record cannot be read strictly")
            }
            Self::RecordIncomplete => {
                ("record_incomplete", S::BAD_GATEWAY, Upstream, "the register's record lacks a field that it must have")
            }
            Self::RecordTooLarge => {
                ("record_too_large", S::BAD_GATEWAY, Upstream, "the register's record is too large")
            }
            Self::SubjectMismatch => {
                ("subject_mismatch", S::BAD_GATEWAY, Upstream, "the register answered about somebody else")
            }
            Self::AuditUnavailable => {
                ("audit_unavailable", S::SERVICE_UNAVAILABLE, Gateway, "no durable record can be written")
            }
            Self::Internal => ("internal", S::INTERNAL_SERVER_ERROR, Gateway, "the gateway failed"),
        }
    }
}

fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "(none enrolled)".into() } else { names.join(", ") }
}
