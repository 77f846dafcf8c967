//! The site's certificates, made anew for each: nothing outlives the run.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::secret;
use crate::Failure;

/// The authorities of a site, and what they have issued to its own servers.
pub(super) struct Pki {
    agencies: CertifiedIssuer<'static, KeyPair>,
    site: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    pub(super) fn make() -> Result<Self, Failure> {
        Ok(Self { agencies: authority("agencies")?, site: authority("site")? })
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), Failure> {
        fs::write(folder.join("agencies.pem"), self.agencies.pem())?;
        fs::write(folder.join("site.pem"), self.site.pem())?;
        for (name, usage) in [
            ("gateway", ExtendedKeyUsagePurpose::ServerAuth),
            ("register", ExtendedKeyUsagePurpose::ServerAuth),
            ("client", ExtendedKeyUsagePurpose::ClientAuth),
        ] {
            let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
            params.distinguished_name.push(DnType::CommonName, name);
            let (certificate, key) = issue(&self.site, params, usage)?;
            fs::write(folder.join(format!("{name}.pem")), certificate.pem())?;
            secret(&folder.join(format!("{name}.key")), key.serialize_pem().as_bytes())?;
        }
        Ok(())
    }

    pub(super) fn client(&self, system: &str) -> Result<Arc<ClientConfig>, Failure> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, system.replace('/', "."));
        params.subject_alt_names = vec![SanType::URI(format!("spiffe://gov.vn/{system}").try_into()?)];
        let (certificate, key) = issue(&self.agencies, params, ExtendedKeyUsagePurpose::ClientAuth)?;
        let mut roots = RootCertStore::empty();
        roots.add(self.site.der().clone())?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate.der().clone()], key)?;
        Ok(Arc::new(config))
    }
}

impl std::fmt::Debug for Pki {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pki")
    }
}

/// The register's side: its certificate, and who is let in.
pub(super) fn register(folder: &Path, clients: &str) -> Result<Arc<ServerConfig>, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join(clients))?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider)).build()?;
    let chain = vec![CertificateDer::from_pem_file(folder.join("register.pem"))?];
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(folder.join("register.key"))?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn authority(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>, Failure> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

fn issue(
    by: &CertifiedIssuer<'static, KeyPair>,
    mut params: CertificateParams,
    usage: ExtendedKeyUsagePurpose,
) -> Result<(rcgen::Certificate, KeyPair), Failure> {
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, by)?, key))
}
