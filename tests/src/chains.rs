//! Certificates as no small authority would issue them: with extensions, names, keys and chains of one's own.

use std::fs;
use std::path::Path;

use popgate_demo::client::Credentials;
use popgate_demo::deployment::Site;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};

/// An authority, a root or one below it.
#[derive(Debug)]
pub struct Ca {
    /// Its certificate.
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    /// A root of that name; `change` has the last word on what it says.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn root(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (params, key) = (authority(name, change), made(KeyPair::generate()));
        let pem = made(params.self_signed(&key)).pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// An authority below this one.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (params, key) = (authority(name, change), made(KeyPair::generate()));
        let pem = self.issue(&params, &key);
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// An authority of the site, by its name.
    ///
    /// # Panics
    /// If the site has none of that name.
    pub fn of(site: &Site, name: &str) -> Self {
        let read = |ending: &str| made(fs::read_to_string(site.dir().join(format!("pki/{name}.{ending}"))));
        let (pem, key) = (read("pem"), made(KeyPair::from_pem(&read("key"))));
        let issuer = made(Issuer::from_ca_cert_pem(&pem, key));
        Self { pem, issuer }
    }

    /// Issues a certificate for a key.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn issue(&self, params: &CertificateParams, key: &impl PublicKeyData) -> String {
        made(params.signed_by(key, &self.issuer)).pem()
    }

    /// A client's certificate and key, with the certificates of `above` behind it, as a client sends them.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn client(&self, uris: &[&str], above: &[&Self], change: impl FnOnce(&mut CertificateParams)) -> String {
        self.client_with(made(KeyPair::generate()), uris, above, change)
    }

    /// The same, with a key of one's own.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn client_with(
        &self,
        key: KeyPair,
        uris: &[&str],
        above: &[&Self],
        change: impl FnOnce(&mut CertificateParams),
    ) -> String {
        let mut params = named("client");
        params.subject_alt_names = uris.iter().map(|uri| SanType::URI(made((*uri).try_into()))).collect();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let above: String = above.iter().map(|authority| authority.pem.as_str()).collect();
        format!("{}{above}{}", self.issue(&params, &key), key.serialize_pem())
    }
}

/// What a client needs to connect with a PEM of its own to a site.
///
/// # Panics
/// If the site's authority cannot be read.
pub fn credentials(site: &Site, pem: &str) -> Credentials {
    Credentials { authorities: made(fs::read(site.gateway_authority())), identity: Some(pem.as_bytes().to_vec()) }
}

/// Has the site accept an authority beside its own; before the gateway starts.
///
/// # Panics
/// If the file cannot be written.
pub fn accept(site: &Site, authority: &Ca) {
    let file = site.dir().join("pki/agencies.pem");
    made(fs::write(&file, made(fs::read_to_string(&file)) + &authority.pem));
}

/// An extension below `2.5.29`.
pub fn extension(id: u64, critical: bool, value: &[u8]) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, id], value.to_vec());
    extension.set_criticality(critical);
    extension
}

/// `certificatePolicies`: one policy, 1.2.3.4.
pub const POLICIES: &[u8] = &[0x30, 7, 0x30, 5, 0x06, 3, 0x2a, 3, 4];
/// `policyConstraints`: a policy is required from here on.
pub const REQUIRE_POLICY: &[u8] = &[0x30, 3, 0x80, 1, 0];
/// `inhibitAnyPolicy`: from here on.
pub const NO_ANY_POLICY: &[u8] = &[0x02, 1, 0];

/// Writes a PEM file and answers its path as text.
///
/// # Panics
/// If it cannot be written.
pub fn file(dir: &Path, name: &str, pem: &str) -> String {
    let file = dir.join(name);
    made(fs::write(&file, pem));
    file.display().to_string()
}

fn authority(name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    change(&mut params);
    params
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

#[expect(clippy::panic, reason = "without its certificates the test cannot go on")]
fn made<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    match result {
        Ok(made) => made,
        Err(error) => panic!("{error}"),
    }
}
