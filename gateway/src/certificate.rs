//! What an end-entity certificate shows of who holds it. It was verified before; here it is only read.

pub mod facts;
pub mod layout;

use std::fmt::Write as _;
use std::time::Duration;

use aws_lc_rs::digest;
use popgate_policy::directory::Identity;
use rustls::pki_types::UnixTime;
use unicode_normalization::UnicodeNormalization as _;
use x509_parser::asn1_rs::{Any, Oid, Tag};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// A certificate that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the certificate cannot be read")]
pub struct Unreadable;

/// The identities that a DER certificate shows: the URIs of its subject alternative name in their order, its subject
/// (if not empty), and the pin of its key. The subject is in Unicode's composed form (NFC), as the directory's are: `Thuế` is one
/// name however an authority wrote it (RFC 5280, section 7.1).
///
/// # Errors
/// If it is no X.509 certificate.
pub fn identities(der: &[u8]) -> Result<Vec<Identity>, Unreadable> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| Unreadable)?;
    let names = certificate.subject_alternative_name().map_err(|_| Unreadable)?;
    let names = names.iter().flat_map(|extension| &extension.value.general_names);
    let mut identities: Vec<_> = names
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(Identity::Uri((*uri).to_owned())),
            _ => None,
        })
        .collect();
    let subject = subject(certificate.subject());
    if !subject.is_empty() {
        identities.push(Identity::Subject(normal(&subject)));
    }
    let pin = digest::digest(&digest::SHA256, certificate.public_key().raw);
    identities.push(Identity::Pin(hex(pin.as_ref())));
    Ok(identities)
}

/// When a DER certificate expires (its `notAfter`).
///
/// # Errors
/// If it is no X.509 certificate.
pub fn expires(der: &[u8]) -> Result<UnixTime, Unreadable> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| Unreadable)?;
    Ok(unix(certificate.validity().not_after.timestamp()))
}

/// A name after RFC 4514: most specific first, `,` between, `+` within a multi-valued part (whose last is first, too), no spaces
/// added, UTF-8 as it is. The same as `openssl x509 -noout -subject -nameopt RFC2253,-esc_msb,utf8`: besides the short names of the RFC
/// (section 3), openssl's for `emailAddress`, `serialNumber`, `GN`, `SN`, `title` and `organizationIdentifier`; any other
/// type is a dotted OID with its value as `#` and the hex of its DER.
pub fn subject(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let mut parts: Vec<_> = name.iter().collect();
    parts.reverse();
    for (n, part) in parts.into_iter().enumerate() {
        if n > 0 {
            text.push(',');
        }
        let mut attributes: Vec<_> = part.iter().collect();
        attributes.reverse();
        for (m, attribute) in attributes.into_iter().enumerate() {
            if m > 0 {
                text.push('+');
            }
            write_attribute(&mut text, attribute);
        }
    }
    text
}

pub(super) fn unix(timestamp: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(timestamp).unwrap_or_default()))
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The composed form of a name.
pub(crate) fn normal(name: &str) -> String {
    name.nfc().collect()
}

/// The content of an OID as people write it; hex if it is longer than any real one, which would be slow to write out.
pub(crate) fn dotted(oid: &[u8]) -> String {
    if oid.len() > 64 { hex(oid.get(..64).unwrap_or_default()) } else { Oid::new(oid.into()).to_id_string() }
}

fn write_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let oid = dotted(attribute.attr_type().as_bytes());
    let name = NAMES.iter().find(|(known, _)| *known == oid).map(|(_, name)| *name);
    match (name, string(attribute.attr_value())) {
        (Some(name), Some(value)) => {
            text.push_str(name);
            text.push('=');
            escape(text, &value);
        }
        (name, _) => {
            text.push_str(name.unwrap_or(&oid));
            text.push_str("=#");
            let value = attribute.attr_value();
            // DER of the value: an identifier octet (string types have low tags), then the length, then the content.
            text.push_str(&hex(&[u8::try_from(value.tag().0 & 0x1f).unwrap_or_default()]));
            text.push_str(&hex(&length(value.data.len())));
            text.push_str(&hex(value.data));
        }
    }
}

fn string(value: &Any<'_>) -> Option<String> {
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString => {
            std::str::from_utf8(value.data).ok().map(str::to_owned)
        }
        Tag::BmpString => {
            let (pairs, rest) = value.data.as_chunks::<2>();
            let units: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
            if rest.is_empty() { String::from_utf16(&units).ok() } else { None }
        }
        _ => None,
    }
}

/// RFC 4514, section 2.4; control characters as hex pairs, as openssl does.
fn escape(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (n, c) in value.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', c]),
            ' ' if n == 0 || n == last => text.push_str("\\ "),
            '#' if n == 0 => text.push_str("\\#"),
            c if c.is_ascii_control() => {
                // Writing to a string cannot fail.
                let _ = write!(text, "\\{:02X}", u32::from(c));
            }
            c => text.push(c),
        }
    }
}

fn length(bytes: usize) -> Vec<u8> {
    let long: Vec<u8> = bytes.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    match u8::try_from(bytes) {
        Ok(short) if short < 0x80 => vec![short],
        _ => std::iter::once(0x80 | u8::try_from(long.len()).unwrap_or_default()).chain(long).collect(),
    }
}

const NAMES: [(&str, &str); 15] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.4", "SN"),
    ("2.5.4.42", "GN"),
    ("2.5.4.12", "title"),
    ("2.5.4.97", "organizationIdentifier"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SanType};

    use super::*;

    fn certificate(names: &[(DnType, DnValue)], uris: &[&str]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (name, value) in names {
            params.distinguished_name.push(name.clone(), value.clone());
        }
        params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        params.subject_alt_names.push(SanType::DnsName("etax.tax.test".try_into().unwrap()));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn subject_of(names: &[(DnType, DnValue)]) -> Option<String> {
        identities(&certificate(names, &[])).unwrap().into_iter().find_map(|identity| match identity {
            Identity::Subject(subject) => Some(subject),
            _ => None,
        })
    }

    #[test]
    fn uris_then_the_subject_then_the_pin() {
        let der = certificate(
            &[(DnType::CountryName, "VN".into()), (DnType::CommonName, "etax".into())],
            &["spiffe://gov.test/tax/etax", "urn:x:1"],
        );
        let shown = identities(&der).unwrap();
        assert_eq!(shown[0], Identity::Uri("spiffe://gov.test/tax/etax".into()));
        assert_eq!(shown[1], Identity::Uri("urn:x:1".into()));
        assert_eq!(shown[2], Identity::Subject("CN=etax,C=VN".into()));
        assert!(matches!(&shown[3], Identity::Pin(pin) if pin.len() == 64), "{shown:?}");
        assert_eq!(shown.len(), 4);
    }

    #[test]
    fn subjects_are_written_after_rfc_4514() {
        let subject = subject_of(&[
            (DnType::OrganizationName, "Cục Thuế, \"A+B\"".into()),
            (DnType::OrganizationalUnitName, DnValue::BmpString("Đội 1".try_into().unwrap())),
            (DnType::CustomDnType(vec![1, 2, 3]), "x".into()),
            (DnType::CommonName, " #a\\b ".into()),
        ]);
        assert_eq!(subject.as_deref(), Some("CN=\\ #a\\\\b\\ ,1.2.3=#0c0178,OU=Đội 1,O=Cục Thuế\\, \\\"A\\+B\\\""));
        assert_eq!(subject_of(&[(DnType::CommonName, "#1".into())]).as_deref(), Some("CN=\\#1"));
    }

    #[test]
    fn a_subject_is_the_same_composed_and_decomposed_in_utf8_and_in_bmp() {
        let composed = subject_of(&[(DnType::OrganizationName, "C\u{1ee5}c Thu\u{1ebf}".into())]);
        assert_eq!(composed.as_deref(), Some("O=C\u{1ee5}c Thu\u{1ebf}"));
        let decomposed = "Cu\u{323}c Thue\u{302}\u{301}";
        assert_eq!(subject_of(&[(DnType::OrganizationName, decomposed.into())]), composed);
        let wide = DnValue::BmpString(decomposed.try_into().unwrap());
        assert_eq!(subject_of(&[(DnType::OrganizationName, wide)]), composed);
    }

    #[test]
    fn an_oid_that_is_too_long_to_be_one_costs_nothing() {
        assert_eq!(dotted(&[0x55, 0x1d, 0x24]), "2.5.29.36");
        assert_eq!(dotted(&[0xff; 60_000]).len(), 128);
    }

    #[test]
    fn an_empty_subject_is_no_identity() {
        assert_eq!(subject_of(&[]), None);
    }

    proptest! {
        #[test]
        fn damaged_certificates_are_read_or_refused_but_nothing_panics(at in 0_usize..2000, byte: u8, cut in 0_usize..2000) {
            let mut der = certificate(&[(DnType::CommonName, "etax".into())], &["urn:x:1"]);
            let at = at % der.len();
            der[at] = byte;
            let _ = identities(&der);
            let _ = expires(&der);
            der.truncate(cut);
            let _ = identities(&der);
        }
    }
}
