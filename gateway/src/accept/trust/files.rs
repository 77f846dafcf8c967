//! Reads the files of a snapshot.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

use super::rewrite::may_constrain_policies;
use super::verifier::alone;
use super::{Authority, Crl, List, Own, TrustError, Warning};
use crate::accept::tls::provider;
use crate::app::config;
use crate::certificate::{subject, unix};
use crate::custody;

/// The gateway's chain, its key, and when its certificate expires.
pub(super) fn server(tls: &config::Tls, now: UnixTime, warnings: &mut Vec<Warning>) -> Result<Own, TrustError> {
    let file = &tls.certificate;
    let content = |problem: String| TrustError::Content { file: file.clone(), problem };
    let chain = certificates(&read(file)?).map_err(content)?;
    let own = chain.first().ok_or_else(|| content("no PEM certificate in it; put the gateway's chain there".into()))?;
    let (_, own) = X509Certificate::from_der(own)
        .map_err(|_| content("its first certificate cannot be read; export it again".into()))?;
    let (from, until) = (unix(own.validity().not_before.timestamp()), unix(own.validity().not_after.timestamp()));
    if until.as_secs() <= now.as_secs() {
        warn(warnings, file, format!("the gateway's certificate expired at {}: clients will refuse it", at(until)));
    } else if from.as_secs() > now.as_secs() {
        warn(warnings, file, format!("the gateway's certificate is not valid before {}", at(from)));
    }
    let pem = custody::private_file(&tls.key)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TrustError::Content {
        file: tls.key.clone(),
        problem: "no PEM private key that can be read; PKCS#8, PKCS#1 and SEC1 without a passphrase will do".into(),
    })?;
    let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            content(format!("the certificate does not belong to the key in `{}`", tls.key.display()))
        }
        error => content(format!("the certificate or its key cannot be used: {error}")),
    })?;
    Ok(Own { certified: Arc::new(certified), expires: until })
}

/// The authorities of clients.
pub(super) fn authorities(
    pattern: &Path,
    now: UnixTime,
    warnings: &mut Vec<Warning>,
) -> Result<(RootCertStore, Vec<Authority>), TrustError> {
    let mut roots = RootCertStore::empty();
    let mut known = Vec::new();
    let mut left_out = Vec::new();
    for file in expand(pattern)? {
        let found = match read(&file).map_err(|error| error.to_string()).and_then(|pem| certificates(&pem)) {
            Ok(found) => found,
            Err(problem) => {
                warn(&mut left_out, &file, format!("left out: {problem}"));
                continue;
            }
        };
        if found.is_empty() {
            warn(&mut left_out, &file, "left out: no PEM certificate in it".into());
        }
        for der in found {
            match authority(&file, &der, now) {
                Err(problem) => warn(&mut left_out, &file, format!("left out: {problem}")),
                Ok(authority) => match roots.add(der) {
                    Ok(()) => known.push(authority),
                    Err(error) => warn(&mut left_out, &file, format!("left out: {} {error}", authority.subject)),
                },
            }
        }
    }
    if known.is_empty() {
        return Err(TrustError::NoAuthority { pattern: pattern.to_owned(), warnings: left_out });
    }
    warnings.append(&mut left_out);
    Ok((roots, known))
}

/// The revocation lists, of each scope the newest. Where there is a `previous` set, a file that cannot be used is put among
/// the refused, and counts with the lists that it held then.
pub(super) fn crls(
    pattern: Option<&Path>,
    (roots, authorities): (&Arc<RootCertStore>, &[Authority]),
    now: UnixTime,
    previous: Option<&[List]>,
    (warnings, refused): (&mut Vec<Warning>, &mut Vec<TrustError>),
) -> Result<Vec<List>, TrustError> {
    let Some(pattern) = pattern else { return Ok(Vec::new()) };
    let mut lists: Vec<List> = Vec::new();
    let files = expand(pattern)?;
    if files.is_empty() {
        warn(warnings, pattern, "no revocation list there: no certificate is known to be revoked".into());
    }
    for file in files {
        let found = match (lists_of(&file, roots), previous) {
            (Ok(found), _) => found,
            (Err(error), Some(previous)) => {
                refused.push(error);
                previous.iter().filter(|(crl, _)| crl.file == file).cloned().collect()
            }
            (Err(error), None) => return Err(error),
        };
        for (crl, der) in found {
            match crl.next_update {
                Some(next) if next.as_secs() < now.as_secs() => warn(
                    warnings,
                    &file,
                    format!("the revocation list of {} was due for renewal at {}", crl.issuer, at(next)),
                ),
                Some(_) => {}
                None => {
                    warn(warnings, &file, format!("the list of {} never expires: it has no nextUpdate", crl.issuer))
                }
            }
            if !authorities.iter().any(|authority| authority.issuer == crl.scope.0) {
                // It may be an intermediate authority's, which only the client's chain will show.
                warn(warnings, &file, format!("{} is none of the authorities in `client_cas`", crl.issuer));
            }
            match lists.iter_mut().find(|(other, _)| other.scope == crl.scope) {
                Some(other) => {
                    let older = if other.0.issued.as_secs() < crl.issued.as_secs() {
                        std::mem::replace(other, (crl, der)).0
                    } else {
                        crl
                    };
                    warn(warnings, &older.file, format!("left out: there is a newer list of {}", older.issuer));
                }
                None => lists.push((crl, der)),
            }
        }
    }
    Ok(lists)
}

fn lists_of(file: &Path, roots: &Arc<RootCertStore>) -> Result<Vec<List>, TrustError> {
    let bytes = read(file)?;
    let content = || TrustError::Content { file: file.to_owned(), problem: BAD_CRL.into() };
    let ders: Vec<CertificateRevocationListDer<'static>> = if is_pem(&bytes) {
        CertificateRevocationListDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(|_| content())?
    } else {
        vec![bytes.into()]
    };
    let lists: Option<Vec<List>> = ders.into_iter().map(|der| Some((crl(file, &der)?, der))).collect();
    let lists = lists.filter(|lists| !lists.is_empty()).ok_or_else(content)?;
    for (crl, der) in &lists {
        alone(roots, crl, der)?;
    }
    Ok(lists)
}

fn authority(file: &Path, der: &CertificateDer<'_>, now: UnixTime) -> Result<Authority, String> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|_| "it holds a certificate that cannot be read".to_owned())?;
    let subject = subject(certificate.subject());
    let validity = certificate.validity();
    let expires = unix(validity.not_after.timestamp());
    if expires.as_secs() <= now.as_secs() {
        return Err(format!("{subject} expired at {}", at(expires)));
    }
    if unix(validity.not_before.timestamp()).as_secs() > now.as_secs() {
        return Err(format!("{subject} is not valid yet"));
    }
    if !certificate.is_ca() {
        return Err(format!("{subject} is no authority (basicConstraints CA is not set)"));
    }
    let issuer = certificate.subject().as_raw().to_vec();
    Ok(Authority { file: file.to_owned(), subject, expires, issuer, constrains_policies: may_constrain_policies(der) })
}

fn crl(file: &Path, der: &[u8]) -> Option<Crl> {
    let (rest, crl) = CertificateRevocationList::from_der(der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let scope = crl.extensions().iter().find(|extension| extension.oid.to_id_string() == ISSUING_DISTRIBUTION_POINT);
    Some(Crl {
        file: file.to_owned(),
        issuer: subject(crl.issuer()),
        issued: unix(crl.last_update().timestamp()),
        next_update: crl.next_update().map(|next| unix(next.timestamp())),
        revoked: crl.iter_revoked_certificates().count(),
        scope: (crl.issuer().as_raw().to_vec(), scope.map(|extension| extension.value.to_vec()).unwrap_or_default()),
    })
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| "its PEM cannot be read".to_owned())
}

fn is_pem(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, b"-----BEGIN").is_some()
}

fn read(file: &Path) -> Result<Vec<u8>, TrustError> {
    std::fs::read(file).map_err(|source| TrustError::Io { file: file.to_owned(), source })
}

/// The files that a path whose last part may hold `*` names, by name. Hidden files are no match, as in a shell.
fn expand(pattern: &Path) -> Result<Vec<PathBuf>, TrustError> {
    let Some(name) = pattern.file_name().and_then(|name| name.to_str()).filter(|name| name.contains('*')) else {
        return Ok(vec![pattern.to_owned()]);
    };
    let folder = pattern.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let io = |source| TrustError::Io { file: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let found = path.file_name().and_then(|name| name.to_str());
        if found.is_some_and(|found| !found.starts_with('.') && matches(name, found)) && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(found) => rest = rest.get(found + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn warn(warnings: &mut Vec<Warning>, file: &Path, problem: String) {
    warnings.push(Warning { file: file.to_owned(), problem, refused: false });
}

fn at(time: UnixTime) -> String {
    let time = i64::try_from(time.as_secs()).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "an impossible time".into(), |time| time.to_string())
}

const BAD_CRL: &str = "no revocation list that can be read, PEM or DER; put the authority's list there again, whole (write it beside and rename it)";
/// RFC 5280, section 5.2.5.
const ISSUING_DISTRIBUTION_POINT: &str = "2.5.29.28";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_part_of_a_name() {
        for (pattern, name, expected) in [
            ("*.pem", "a.pem", true),
            ("*.pem", "a.pem.bak", false),
            ("*", "anything", true),
            ("ca-*-root*.pem", "ca-tax-root-2.pem", true),
            ("ca-*-root*.pem", "ca-root.pem", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
