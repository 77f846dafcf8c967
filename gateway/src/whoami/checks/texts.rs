//! The words of the checks.

use popgate_policy::directory::{Identity, TlsVersion};

/// A text of a certificate, fit for a terminal and of bounded length.
pub(crate) fn shown(text: &str) -> String {
    let mut safe = String::new();
    for (at, c) in text.chars().enumerate() {
        if at == LONGEST {
            safe.push('…');
            break;
        }
        // Control characters, and those that change the direction of what stands beside them.
        if c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    if safe.is_empty() { "an empty name".into() } else { safe }
}

/// Such as `3 d 4 h`, by the two largest units.
pub(super) fn duration(seconds: i64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let mut left = seconds.max(0);
    let mut parts = Vec::new();
    for (size, unit) in units {
        if left >= size && parts.len() < 2 {
            parts.push(format!("{} {unit}", left / size));
        }
        left %= size;
    }
    if parts.is_empty() { "0 s".into() } else { parts.join(" ") }
}

pub(super) fn enrol_one_of(identities: &[Identity]) -> String {
    let written = identities.iter().take(IDENTITIES_MOST).map(|identity| match identity {
        Identity::Uri(uri) => shown(uri),
        Identity::Subject(subject) => shown(subject),
        Identity::Pin(pin) => format!("pin:sha256:{pin}"),
    });
    let written: Vec<_> = written.map(|identity| format!("`{identity}`")).collect();
    format!("ask the gateway's operator to enrol one of {}", written.join(", "))
}

/// Its name.
pub(crate) fn version(version: TlsVersion) -> &'static str {
    match version {
        TlsVersion::Tls12 => "TLS 1.2",
        TlsVersion::Tls13 => "TLS 1.3",
    }
}

pub(super) const SEND_ONE: &str = "configure the client with its certificate and key; a client that has several may hold back one \
                                   whose authority a server does not name";
pub(super) const EXPORT_AGAIN: &str = "export the certificate again, as X.509 version 3";
pub(super) const ANOTHER_KEY: &str = "ask for a certificate for another key: RSA of 2048 to 8192 bits, EC P-256, P-384 or P-521, or \
                                      Ed25519";
pub(super) const ASK_FOR_THE_AUTHORITY: &str =
    "use a certificate of an authority that the gateway's operator accepts, or have this one accepted";
pub(super) const SEND_THE_INTERMEDIATE: &str = "if that is an intermediate authority, send its certificate behind the client's own: \
                                                put both into the client's certificate file, the own first";
pub(super) const FORGED: &str = "a certificate was not signed by the key of the issuer that it names (an authority of the same name \
                                 with another key, perhaps an older or newer one)";
pub(super) const SEND_THE_RIGHT_ONES: &str =
    "send the intermediate certificates that belong to this certificate, or renew it at the present authority";
pub(super) const RENEW: &str =
    "renew the certificate; if it should still be valid, the clocks differ: see `gateway_time`";
pub(super) const WAIT: &str = "wait; if it should be valid already, the clocks differ: see `gateway_time`";
pub(super) const ASK_ANEW: &str = "ask the authority for a new certificate, with a new key";
pub(super) const RENEW_THE_LIST: &str = "tell the gateway's operator: the authority's newest list must be put there";
pub(super) const NOT_CRITICAL: &str = "ask the authority for a certificate in which this is absent or not critical; `certificatePolicies` \
                                       and an authority's `inhibitAnyPolicy` may be critical where no `policyConstraints` or \
                                       `policyMappings` are in the chain";
pub(super) const SET_THE_CLOCK: &str = "synchronise the client's clock";
const LONGEST: usize = 400;
const IDENTITIES_MOST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (90_061, "1 d 1 h"), (86_400, "1 d")] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn what_a_certificate_says_cannot_move_a_terminals_cursor() {
        assert_eq!(shown("CN=a\u{1b}[2J\u{202e}b"), "CN=a\\u{1b}[2J\\u{202e}b");
        assert_eq!(shown("Cục Thuế"), "Cục Thuế");
        assert_eq!(shown(&"x".repeat(1000)).chars().count(), 401);
    }
}
