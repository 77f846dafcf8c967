//! The admin listener's TLS: 1.3 only, operator certificates required.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::{AdminError, Settings};
use crate::accept::trust::{List, Trust};
use crate::app::watch::expand;
use crate::custody;

/// Reads the files; `known` are the revocation lists in force. A new configuration has no sessions in it: nobody resumes what
/// was agreed under an old one.
pub(super) fn config(settings: &Settings, known: &mut Vec<List>) -> Result<Arc<ServerConfig>, AdminError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let cas = &settings.client_cas;
    let roots = Arc::new(roots(cas)?);
    let lists = match &settings.crls {
        Some(crls) => Trust::revocation_lists(crls, &roots, known)?,
        None => Vec::new(),
    };
    // The lists are those of all authorities of the node; an operators' authority without one revokes nobody.
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
        .with_crls(lists.iter().map(|(_, der)| der.clone()))
        .allow_unknown_revocation_status();
    let verifier = verifier.build().map_err(|error| content(cas, format!("cannot be used: {error}")))?;
    let chain = certificates(&settings.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&custody::private_file(&settings.key)?)
        .map_err(|_| content(&settings.key, "holds no private key in PEM".into()))?;
    let pair = |source| AdminError::Pair {
        certificate: settings.certificate.display().to_string(),
        key: settings.key.display().to_string(),
        source,
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(pair)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    *known = lists;
    Ok(Arc::new(config))
}

fn roots(pattern: &Path) -> Result<RootCertStore, AdminError> {
    let mut roots = RootCertStore::empty();
    for file in files(pattern)? {
        for certificate in certificates(&file)? {
            roots.add(certificate).map_err(|error| content(&file, format!("is not an authority's: {error}")))?;
        }
    }
    if roots.is_empty() { Err(content(pattern, "names no file".into())) } else { Ok(roots) }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, AdminError> {
    let bytes = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(content(file, "holds no certificate in PEM".into())),
    }
}

fn files(pattern: &Path) -> Result<Vec<std::path::PathBuf>, AdminError> {
    expand(pattern).map_err(|source| AdminError::File { file: pattern.display().to_string(), source })
}

fn read(file: &Path) -> Result<Vec<u8>, AdminError> {
    std::fs::read(file).map_err(|source| AdminError::File { file: file.display().to_string(), source })
}

fn content(file: &Path, reason: String) -> AdminError {
    AdminError::Content { file: file.display().to_string(), reason }
}
