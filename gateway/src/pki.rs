//! A small certificate authority (ECDSA P-256), for tests, the demo and small sites. A country's own authority is better
//! where there is one: the gateway only reads PEM files and revocation lists, wherever they come from.

mod files;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams,
    SanType, SerialNumber,
};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

pub use files::new_key;

use files::{pem_der, read, replace, write_new};

/// Why the authority cannot do it.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error("`{}`: {source}", file.display())]
    Io {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is there already.
    #[error("`{}` exists; move it away first if you want a new one", .0.display())]
    Exists(PathBuf),
    /// A key that others can read, or that cannot be read.
    #[error(transparent)]
    Key(#[from] crate::custody::CustodyError),
    /// A file holds something else than it should.
    #[error("`{}`: {problem}", file.display())]
    Content {
        /// Which.
        file: PathBuf,
        /// What.
        problem: String,
    },
    /// What was asked for cannot be put into a certificate.
    #[error("{0}")]
    Invalid(String),
    /// A certificate or list cannot be made.
    #[error("cannot make it: {0}")]
    Make(#[from] rcgen::Error),
}

/// A certificate authority in a folder: `<name>.pem`, `<name>.key` (mode 0600) and `<name>.crl`, its revocation list,
/// which is also its memory of what was revoked.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
    name: String,
    issuer: Issuer<'static, KeyPair>,
}

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// `notBefore`.
    pub from: Timestamp,
    /// `notAfter`.
    pub until: Timestamp,
}

impl Validity {
    /// From an hour ago (clocks differ) for that many days.
    pub fn days(now: Timestamp, days: u32) -> Self {
        Self::lasting(now, SignedDuration::from_hours(24 * i64::from(days)))
    }

    /// From an hour ago, until that long after `now`.
    pub fn lasting(now: Timestamp, life: SignedDuration) -> Self {
        Self { from: shifted(now, -SignedDuration::from_hours(1)), until: shifted(now, life) }
    }

    /// Over since a day.
    pub fn expired(now: Timestamp) -> Self {
        Self {
            from: shifted(now, -SignedDuration::from_hours(48)),
            until: shifted(now, -SignedDuration::from_hours(24)),
        }
    }
}

/// What a client certificate shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// URI in the subject alternative name.
    pub uri: Option<String>,
    /// CN.
    pub common_name: String,
    /// O.
    pub organization: Option<String>,
    /// C.
    pub country: Option<String>,
    /// The extended key usage.
    pub usage: Usage,
}

/// Extended key usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Usage {
    /// For clients.
    #[default]
    Client,
    /// For servers: the gateway refuses such a client.
    Server,
    /// Not said: for anything.
    Any,
}

/// A certificate that was issued, with its key.
#[derive(Debug)]
pub struct Issued {
    /// PEM.
    pub certificate: String,
    /// PEM, PKCS#8.
    pub key: String,
    /// To revoke it by.
    pub serial: Serial,
}

impl Issued {
    /// Writes `<stem>.pem` and `<stem>.key` (mode 0600), and answers their paths.
    ///
    /// # Errors
    /// If one of them exists or cannot be written.
    pub fn write(&self, stem: &Path) -> Result<(PathBuf, PathBuf), PkiError> {
        let (certificate, key) = (with_ending(stem, "pem"), with_ending(stem, "key"));
        write_new(&key, self.key.as_bytes(), 0o600)?;
        write_new(&certificate, self.certificate.as_bytes(), 0o644)?;
        Ok((certificate, key))
    }
}

/// A certificate's serial number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// From hex digits, with or without colons.
    ///
    /// # Errors
    /// If it is something else.
    pub fn parse(text: &str) -> Result<Self, PkiError> {
        let digits: String = text.chars().filter(|c| *c != ':').collect();
        let digits = if digits.len() % 2 == 1 { format!("0{digits}") } else { digits };
        let byte = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match (0..digits.len()).step_by(2).map(byte).collect() {
            Some(bytes) if !digits.is_empty() => Ok(Self(normal(bytes))),
            _ => Err(PkiError::Invalid(format!("`{text}` is no serial number: give its hex digits"))),
        }
    }

    /// Of a PEM certificate.
    ///
    /// # Errors
    /// If the file is something else.
    pub fn of(file: &Path) -> Result<Self, PkiError> {
        let der = pem_der(file, &read(file)?)?;
        let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| content(file, "no certificate"))?;
        Ok(Self(normal(certificate.raw_serial().to_vec())))
    }
}

impl std::fmt::Display for Serial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::certificate::hex(&self.0))
    }
}

impl Authority {
    /// Makes an authority with an empty revocation list.
    ///
    /// # Errors
    /// If there is one of that name in the folder, or it cannot be written.
    pub fn create(dir: &Path, name: &str, validity: Validity) -> Result<Self, PkiError> {
        std::fs::create_dir_all(dir).map_err(|source| PkiError::Io { file: dir.to_owned(), source })?;
        let key = KeyPair::generate()?;
        let mut params = params(validity)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        write_new(&file(dir, name, "key"), key.serialize_pem().as_bytes(), 0o600)?;
        write_new(&file(dir, name, "pem"), certificate.pem().as_bytes(), 0o644)?;
        let authority = Self { dir: dir.to_owned(), name: name.to_owned(), issuer: Issuer::new(params, key) };
        let now = shifted(validity.from, SignedDuration::from_hours(1));
        authority.write_crl(&[], 1, now, CRL_LIFE)?;
        Ok(authority)
    }

    /// Opens the authority of that name in a folder.
    ///
    /// # Errors
    /// If it is not there, or its key is readable by others.
    pub fn load(dir: &Path, name: &str) -> Result<Self, PkiError> {
        let (certificate, key) = (file(dir, name, "pem"), file(dir, name, "key"));
        let key_pem = crate::custody::private_file(&key)?;
        let key_pem = std::str::from_utf8(&key_pem).map_err(|_| content(&key, "no PEM key"))?;
        let pair = KeyPair::from_pem(key_pem).map_err(|error| content(&key, &error.to_string()))?;
        let der = pem_der(&certificate, &read(&certificate)?)?.into();
        let issuer = Issuer::from_ca_cert_der(&der, pair).map_err(|error| content(&certificate, &error.to_string()))?;
        Ok(Self { dir: dir.to_owned(), name: name.to_owned(), issuer })
    }

    /// The file of its certificate: what goes into `client_cas`.
    pub fn certificate_file(&self) -> PathBuf {
        file(&self.dir, &self.name, "pem")
    }

    /// The file of its revocation list: what goes into `crls`.
    pub fn crl_file(&self) -> PathBuf {
        file(&self.dir, &self.name, "crl")
    }

    /// Issues a server certificate for DNS names and IP addresses.
    ///
    /// # Errors
    /// If a name is no name.
    pub fn issue_server(&self, names: &[String], validity: Validity) -> Result<Issued, PkiError> {
        let Some(first) = names.first() else { return Err(PkiError::Invalid("a server needs a name".into())) };
        let mut params = params(validity)?;
        params.distinguished_name.push(DnType::CommonName, first.as_str());
        let invalid = |_| PkiError::Invalid("a server's name must be a DNS name or an IP address".to_owned());
        params.subject_alt_names = CertificateParams::new(names.to_vec()).map_err(invalid)?.subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params)
    }

    /// Issues a client certificate.
    ///
    /// # Errors
    /// If the URI has other than ASCII characters.
    pub fn issue_client(&self, client: &Client, validity: Validity) -> Result<Issued, PkiError> {
        let mut params = params(validity)?;
        let subject = [
            (DnType::CountryName, client.country.as_deref()),
            (DnType::OrganizationName, client.organization.as_deref()),
            (DnType::CommonName, Some(client.common_name.as_str())),
        ];
        for (kind, value) in subject {
            if let Some(value) = value {
                params.distinguished_name.push(kind, value);
            }
        }
        if let Some(uri) = &client.uri {
            let invalid = |_| PkiError::Invalid(format!("`{uri}` is no URI: it may hold ASCII characters only"));
            params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().map_err(invalid)?)];
        }
        params.extended_key_usages = match client.usage {
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::Any => Vec::new(),
        };
        self.issue(params)
    }

    /// Revokes a certificate and writes a new list, which is valid for `life`. Answers whether it was not revoked before.
    ///
    /// # Errors
    /// If the list cannot be read or written.
    pub fn revoke(&self, serial: &Serial, now: Timestamp, life: SignedDuration) -> Result<bool, PkiError> {
        let (mut revoked, number) = self.revoked()?;
        let new = !revoked.iter().any(|(known, _)| known == serial);
        if new {
            revoked.push((serial.clone(), now));
        }
        self.write_crl(&revoked, number + 1, now, life)?;
        Ok(new)
    }

    /// Writes the list again, with new dates. Answers how many certificates it revokes.
    ///
    /// # Errors
    /// If the list cannot be read or written.
    pub fn renew_crl(&self, now: Timestamp, life: SignedDuration) -> Result<usize, PkiError> {
        let (revoked, number) = self.revoked()?;
        self.write_crl(&revoked, number + 1, now, life)?;
        Ok(revoked.len())
    }

    fn issue(&self, mut params: CertificateParams) -> Result<Issued, PkiError> {
        let key = KeyPair::generate()?;
        let serial = files::random::<16>()?;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let serial = Serial(normal(serial.to_vec()));
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem(), serial })
    }

    /// What the present list says, and its number.
    fn revoked(&self) -> Result<(Vec<(Serial, Timestamp)>, u64), PkiError> {
        let file = self.crl_file();
        let der = pem_der(&file, &read(&file)?)?;
        let (_, crl) = CertificateRevocationList::from_der(&der).map_err(|_| content(&file, "no revocation list"))?;
        let revoked = crl.iter_revoked_certificates().map(|entry| {
            let when = Timestamp::from_second(entry.revocation_date.timestamp()).unwrap_or_default();
            (Serial(normal(entry.raw_serial().to_vec())), when)
        });
        let number = crl.crl_number().and_then(|number| number.to_u64_digits().first().copied()).unwrap_or_default();
        Ok((revoked.collect(), number))
    }

    fn write_crl(
        &self,
        revoked: &[(Serial, Timestamp)],
        number: u64,
        now: Timestamp,
        life: SignedDuration,
    ) -> Result<(), PkiError> {
        let crl = CertificateRevocationListParams {
            this_update: SystemTime::from(now).into(),
            next_update: SystemTime::from(shifted(now, life.max(SignedDuration::from_secs(1)))).into(),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|(serial, when)| RevokedCertParams {
                    serial_number: SerialNumber::from_slice(&serial.0),
                    revocation_time: SystemTime::from(*when).into(),
                    reason_code: Some(RevocationReason::Unspecified),
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        replace(&self.crl_file(), crl.signed_by(&self.issuer)?.pem()?.as_bytes())
    }
}

fn params(validity: Validity) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = SystemTime::from(validity.from).into();
    params.not_after = SystemTime::from(validity.until).into();
    Ok(params)
}

fn file(dir: &Path, name: &str, ending: &str) -> PathBuf {
    dir.join(format!("{name}.{ending}"))
}

/// Unlike `Path::with_extension`, keeps the dots of a stem such as `gateway.example`.
fn with_ending(stem: &Path, ending: &str) -> PathBuf {
    let mut path = stem.as_os_str().to_owned();
    path.push(format!(".{ending}"));
    path.into()
}

/// Without leading zeros, as DER writes an integer's magnitude.
fn normal(bytes: Vec<u8>) -> Vec<u8> {
    bytes.into_iter().skip_while(|byte| *byte == 0).collect()
}

fn shifted(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(time)
}

fn content(file: &Path, problem: &str) -> PkiError {
    PkiError::Content { file: file.to_owned(), problem: problem.to_owned() }
}

/// Of a new authority's first list.
const CRL_LIFE: SignedDuration = SignedDuration::from_hours(24 * 7);

/// For [`Authority::revoke`] where nothing else is said.
pub const DEFAULT_CRL_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
