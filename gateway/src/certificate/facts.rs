//! What a certificate says, for people to read. Nothing here is verified.

use aws_lc_rs::digest;
use jiff::Timestamp;
use rustls::crypto::aws_lc_rs::default_provider;
use serde::Serialize;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::layout::{Elements, Extension, Layout, SEQUENCE};
use super::{Unreadable, dotted, hex, normal, subject};

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The subject after RFC 4514, in Unicode's composed form (NFC).
    pub subject: String,
    /// The issuer, likewise.
    pub issuer: String,
    /// The serial number in hex.
    pub serial: String,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// The last second in which it is valid.
    pub not_after: Timestamp,
    /// The URIs of its subject alternative name.
    pub uris: Vec<String>,
    /// SHA-256 over its key, as `identity` in an agency's file names it: `pin:sha256:...`.
    pub pin: String,
    /// The kind of its key, such as `EC P-256`.
    pub key: String,
    /// Whether a client can prove here that it has the key: whether the TLS library verifies signatures by such a one.
    #[serde(skip)]
    pub key_is_usable: bool,
    /// What the key may be used for; empty if it does not say.
    pub key_usage: Vec<&'static str>,
    /// What the certificate may be used for; empty if it does not say, which is anything.
    pub extended_key_usage: Vec<String>,
    /// Whether it is an authority's.
    pub authority: bool,
    /// The extensions that must be understood by whoever relies on it.
    pub critical: Vec<Critical>,
}

/// A critical extension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Critical {
    /// Its OID, dotted.
    pub oid: String,
    /// Its name; empty if it is not known here.
    pub name: &'static str,
}

impl Facts {
    /// Reads a DER certificate.
    ///
    /// # Errors
    /// If it is no X.509 certificate.
    pub fn of(der: &[u8]) -> Result<Self, Unreadable> {
        let layout = Layout::of(der).ok_or(Unreadable)?;
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| Unreadable)?;
        let time = |seconds| Timestamp::from_second(seconds).map_err(|_| Unreadable);
        let mut facts = Self {
            subject: normal(&subject(certificate.subject())),
            issuer: normal(&subject(certificate.issuer())),
            serial: hex(certificate.raw_serial()),
            not_before: time(certificate.validity().not_before.timestamp())?,
            not_after: time(certificate.validity().not_after.timestamp())?,
            uris: Vec::new(),
            pin: format!("pin:sha256:{}", hex(digest::digest(&digest::SHA256, certificate.public_key().raw).as_ref())),
            key: key(certificate.public_key()),
            key_is_usable: is_usable(der, &layout, certificate.public_key()),
            key_usage: Vec::new(),
            extended_key_usage: Vec::new(),
            authority: certificate.is_ca(),
            critical: layout.extensions.iter().filter_map(|extension| Critical::of(der, extension)).collect(),
        };
        for extension in certificate.extensions() {
            facts.note(extension.parsed_extension());
        }
        Ok(facts)
    }

    /// Whether subject and issuer are one: a root, or a certificate that vouches for itself.
    pub fn self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    fn note(&mut self, extension: &ParsedExtension<'_>) {
        match extension {
            ParsedExtension::SubjectAlternativeName(names) => {
                self.uris.extend(names.general_names.iter().filter_map(|name| match name {
                    GeneralName::URI(uri) => Some((*uri).to_owned()),
                    _ => None,
                }));
            }
            ParsedExtension::KeyUsage(usage) => {
                let bits = KEY_USAGES.iter().enumerate().filter(|(bit, _)| usage.flags >> bit & 1 == 1);
                self.key_usage = bits.map(|(_, name)| *name).collect();
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                let known = [
                    (usage.any, "anyExtendedKeyUsage"),
                    (usage.server_auth, "serverAuth"),
                    (usage.client_auth, "clientAuth"),
                    (usage.code_signing, "codeSigning"),
                    (usage.email_protection, "emailProtection"),
                    (usage.time_stamping, "timeStamping"),
                    (usage.ocsp_signing, "OCSPSigning"),
                ];
                let known = known.into_iter().filter(|(is, _)| *is).map(|(_, name)| name.to_owned());
                let others = usage.other.iter().map(|oid| dotted(oid.as_bytes()));
                self.extended_key_usage = known.chain(others).collect();
            }
            _ => {}
        }
    }
}

impl Critical {
    /// `None` if the extension is not critical.
    pub fn of(der: &[u8], extension: &Extension) -> Option<Self> {
        extension.critical?;
        let oid = dotted(der.get(extension.oid.clone())?);
        let name = EXTENSIONS.iter().find(|(known, _)| *known == oid).map_or("", |(_, name)| *name);
        Some(Self { oid, name })
    }

    /// Whether the gateway takes it into account when it verifies a chain: what the TLS library does.
    pub fn is_understood(&self) -> bool {
        UNDERSTOOD.contains(&self.oid.as_str())
    }
}

impl std::fmt::Display for Critical {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.oid)?;
        if self.name.is_empty() { Ok(()) } else { write!(f, " {}", self.name) }
    }
}

fn key(info: &SubjectPublicKeyInfo<'_>) -> String {
    let curve = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    match (dotted(info.algorithm.algorithm.as_bytes()).as_str(), info.parsed()) {
        (_, Ok(PublicKey::RSA(rsa))) => format!("RSA {}", rsa.key_size()),
        ("1.2.840.10045.2.1", _) => match curve.map(|curve| dotted(curve.as_bytes())).as_deref() {
            Some("1.2.840.10045.3.1.7") => "EC P-256".into(),
            Some("1.3.132.0.34") => "EC P-384".into(),
            Some("1.3.132.0.35") => "EC P-521".into(),
            Some(other) => format!("EC {other}"),
            None => "EC".into(),
        },
        ("1.3.101.112", _) => "Ed25519".into(),
        ("1.3.101.113", _) => "Ed448".into(),
        (other, _) => other.to_owned(),
    }
}

fn is_usable(der: &[u8], layout: &Layout, info: &SubjectPublicKeyInfo<'_>) -> bool {
    let algorithm = Elements::within(der, &layout.key).expect(SEQUENCE);
    let algorithm = algorithm.and_then(|key| Elements::within(der, &key.content).expect(SEQUENCE));
    let algorithm = algorithm.and_then(|algorithm| der.get(algorithm.content));
    let known = default_provider().signature_verification_algorithms.mapping;
    let mut known = known.iter().flat_map(|(_, algorithms)| algorithms.iter());
    let is_known = algorithm.is_some_and(|wanted| known.any(|known| known.public_key_alg_id().as_ref() == wanted));
    is_known && !matches!(info.parsed(), Ok(PublicKey::RSA(rsa)) if !RSA_BITS.contains(&rsa.key_size()))
}

/// Of an RSA key that signatures are verified by.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2041..=8192;

/// By bit: RFC 5280, section 4.2.1.3.
const KEY_USAGES: [&str; 9] = [
    "digitalSignature",
    "contentCommitment",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
    "encipherOnly",
    "decipherOnly",
];

/// Extensions that certificates are known to mark as critical.
const EXTENSIONS: [(&str, &str); 18] = [
    ("2.5.29.9", "subjectDirectoryAttributes"),
    ("2.5.29.14", "subjectKeyIdentifier"),
    ("2.5.29.15", "keyUsage"),
    ("2.5.29.16", "privateKeyUsagePeriod"),
    ("2.5.29.17", "subjectAltName"),
    ("2.5.29.18", "issuerAltName"),
    ("2.5.29.19", "basicConstraints"),
    ("2.5.29.30", "nameConstraints"),
    ("2.5.29.31", "cRLDistributionPoints"),
    ("2.5.29.32", "certificatePolicies"),
    ("2.5.29.33", "policyMappings"),
    ("2.5.29.35", "authorityKeyIdentifier"),
    ("2.5.29.36", "policyConstraints"),
    ("2.5.29.37", "extKeyUsage"),
    ("2.5.29.54", "inhibitAnyPolicy"),
    ("1.3.6.1.5.5.7.1.1", "authorityInfoAccess"),
    ("1.3.6.1.5.5.7.1.3", "qcStatements"),
    ("1.3.6.1.5.5.7.1.24", "tlsFeature"),
];
/// Those that the TLS library takes into account.
const UNDERSTOOD: [&str; 6] = ["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.30", "2.5.29.31", "2.5.29.37"];
