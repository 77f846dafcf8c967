//! Every refusal that the request for an operation can meet, for views.

use std::time::Duration;

use popgate_policy::view::Refusable;

use super::Refusal;

/// What views say of refusals: code, status and meaning. Those of paths and methods that no operation has are left out.
pub fn refusable() -> Vec<Refusable> {
    let of_bodies = |refusal: &Refusal| {
        matches!(refusal, Refusal::MediaTypeUnsupported { .. } | Refusal::BodyTooLarge { .. } | Refusal::BodyTimeout)
    };
    all()
        .iter()
        .map(|refusal| Refusable {
            code: refusal.code(),
            status: refusal.status().as_u16(),
            title: refusal.title(),
            of_bodies: of_bodies(refusal),
        })
        .collect()
}

fn all() -> Vec<Refusal> {
    vec![
        Refusal::CertificateRevoked,
        Refusal::CertificateInvalid,
        Refusal::SystemNotEnrolled,
        Refusal::NetworkNotListed,
        Refusal::TlsVersionTooOld,
        Refusal::ClientNotRepresented,
        Refusal::ServiceUnknown,
        Refusal::RequestMalformed { reason: "" },
        Refusal::HeaderInvalid { name: "", reason: "" },
        Refusal::MediaTypeUnsupported { accepted: "" },
        Refusal::BodyTooLarge { limit: 0 },
        Refusal::BodyTimeout,
        Refusal::ParameterInvalid { detail: String::new(), errors: Vec::new() },
        Refusal::PurposeMissing { enrolled: Vec::new() },
        Refusal::PurposeUnknown,
        Refusal::PurposeExpired,
        Refusal::PurposeNotEnrolled { enrolled: Vec::new() },
        Refusal::EvidenceMissing { header: "" },
        Refusal::PolicyDenied,
        Refusal::ParameterDenied { name: String::new() },
        Refusal::PluginRefused { remedy: String::new() },
        Refusal::PluginFailed,
        Refusal::NoMatch,
        Refusal::AgencySuspended { retry_after: None },
        Refusal::SystemSuspended { retry_after: None },
        Refusal::PurposeSuspended { retry_after: None },
        Refusal::RegisterSuspended { retry_after: None },
        Refusal::RateExceeded { limit: "", retry_after: Duration::ZERO },
        Refusal::QuotaExceeded { limit: "", retry_after: Duration::ZERO },
        Refusal::ConcurrencyExceeded { limit: "" },
        Refusal::ConnectionsExceeded,
        Refusal::HarvestSuspected { retry_after: Duration::ZERO },
        Refusal::Overloaded { retry_after: Duration::ZERO },
        Refusal::RegisterBusy { retry_after: Duration::ZERO },
        Refusal::RegisterUnavailable,
        Refusal::RegisterTimeout,
        Refusal::RegisterFailed,
        Refusal::RecordUnreadable,
        Refusal::RecordIncomplete,
        Refusal::RecordTooLarge,
        Refusal::SubjectMismatch,
        Refusal::AuditUnavailable,
        Refusal::Internal,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_listed_or_left_out_on_purpose() {
        let text = include_str!("../refusal.rs");
        let rows = text.split_once("fn row(&self)").unwrap().1;
        let is_code = |text: &&str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let mut codes: Vec<&str> = rows.split('"').skip(1).step_by(2).filter(is_code).collect();
        let mut listed: Vec<&str> = refusable().iter().map(|refusal| refusal.code).collect();
        listed.extend(["operation_unknown", "method_not_allowed"]);
        codes.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, codes);
    }
}
