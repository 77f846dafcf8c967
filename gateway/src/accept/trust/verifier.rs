//! Verifies clients' chains: the TLS library's path validation, with one list of each authority enforced by its age.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientCertVerifierBuilder, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore, SignatureScheme};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, ExtendedKeyUsageValidator, KeyUsage, OwnedCertRevocationList,
    RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};

use super::rewrite::Rewritten;
use super::{Authority, Crl, List, TrustError};
use crate::accept::tls;
use crate::certificate::facts::Critical;
use crate::certificate::layout::{Elements, Layout};

/// Verifies client certificates: against all lists whatever their age, then against each list that is past its grace,
/// whose issuer's certificates are refused. So one list past its grace harms no other authority.
#[derive(Debug)]
pub struct Verifier {
    all: Arc<dyn ClientCertVerifier>,
    /// Of each list with a `nextUpdate`: from when on it is too old, and a verifier that enforces its expiry.
    aging: Vec<(u64, Arc<dyn ClientCertVerifier>)>,
    roots: Arc<RootCertStore>,
    /// The subjects of authorities that have a say in which policies a chain must have.
    constraining: Vec<Vec<u8>>,
    lists: Vec<(CertRevocationList<'static>, Option<u64>)>,
}

/// Extensions of a chain that are critical and not understood: whoever relies on it MUST refuse it (RFC 5280, section 4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotUnderstood(pub Vec<Critical>);

impl NotUnderstood {
    /// Those of a chain of which no authority is known; of one that is too long, those of its first certificates.
    pub fn of(chain: &[CertificateDer<'_>]) -> Self {
        let chain = chain.get(..=OTHERS_MOST).unwrap_or(chain);
        let idle = Rewritten::without_idle_policies(chain);
        let chain = idle.as_ref().map_or(chain, |idle| idle.chain());
        Self(chain.iter().flat_map(|der| not_understood(der)).collect())
    }
}

impl std::fmt::Display for NotUnderstood {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, extension) in self.0.iter().take(NAMED_MOST).enumerate() {
            write!(f, "{}critical extension {extension}", if at > 0 { ", " } else { "" })?;
        }
        if self.0.len() > NAMED_MOST { f.write_str(", and more") } else { Ok(()) }
    }
}

impl std::error::Error for NotUnderstood {}

/// A chain with more certificates beside the client's own than any path to an authority may have. It is refused before any is
/// looked at: building paths through many that name each other costs a core whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong(usize);

impl TooLong {
    /// Whether it is, by the number of certificates beside the client's own.
    ///
    /// # Errors
    /// If it is.
    pub(super) fn check(others: usize) -> Result<(), Self> {
        if others > OTHERS_MOST { Err(Self(others)) } else { Ok(()) }
    }
}

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} certificates beside the client's own, and at most {OTHERS_MOST} are taken", self.0)
    }
}

impl std::error::Error for TooLong {}

impl Verifier {
    pub(super) fn new(
        roots: &Arc<RootCertStore>,
        authorities: &[Authority],
        lists: &[List],
        grace: Option<Duration>,
    ) -> Result<Self, TrustError> {
        let (mut aging, mut parsed) = (Vec::new(), Vec::new());
        for (crl, der) in lists {
            let alone = alone(roots, crl, der)?;
            let mut too_old = None;
            if let (Some(next), Some(grace)) = (crl.next_update, grace) {
                too_old = Some(next.as_secs().saturating_add(grace.as_secs()));
                aging.push((next.as_secs().saturating_add(grace.as_secs()), alone));
            }
            let list = OwnedCertRevocationList::from_der(der).map_err(|error| unusable(crl, &error))?;
            parsed.push((CertRevocationList::from(list), too_old));
        }
        let ders = lists.iter().map(|(_, der)| der.clone()).collect();
        let all = verifier(roots, ders).build().map_err(|error| TrustError::Content {
            file: PathBuf::from("tls.client_cas"),
            problem: error.to_string(),
        })?;
        let constraining = authorities.iter().filter(|authority| authority.constrains_policies);
        // As the path builder keeps them: without header.
        let constraining = constraining
            .filter_map(|authority| {
                let name = Elements::of(&authority.issuer).take()?.content;
                authority.issuer.get(name).map(<[u8]>::to_vec)
            })
            .collect();
        Ok(Self { all, aging, roots: Arc::clone(roots), constraining, lists: parsed })
    }

    /// Verifies a chain as at a full handshake, or, if it is `live`, without regard to how old the lists are.
    pub(super) fn verify(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
        live: bool,
    ) -> Result<(), rustls::Error> {
        TooLong::check(others.len()).map_err(|error| CertificateError::Other(OtherError(Arc::new(error))))?;
        let Err(error) = self.verify_plain(own, others, now, live) else { return Ok(()) };
        let chain: Vec<CertificateDer<'_>> = std::iter::once(own).chain(others).cloned().collect();
        match Rewritten::without_idle_policies(&chain) {
            Some(rewritten) => {
                self.verify_rewritten(&rewritten, now, live).map_err(|error| named(refusal(error), rewritten.chain()))
            }
            None => Err(named(error, &chain)),
        }
    }

    fn verify_plain(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
        live: bool,
    ) -> Result<(), rustls::Error> {
        self.all.verify_client_cert(own, others, now)?;
        for (too_old, alone) in &self.aging {
            if !live && now.as_secs() > *too_old {
                alone.verify_client_cert(own, others, now)?;
            }
        }
        Ok(())
    }

    fn verify_rewritten(&self, rewritten: &Rewritten, now: UnixTime, live: bool) -> Result<(), webpki::Error> {
        let usage = KeyUsage::client_auth();
        self.build(rewritten, now, usage, Lists::All(UnknownStatusPolicy::Allow), true)?;
        for list in self.too_old(now).filter(|_| !live) {
            self.build(rewritten, now, usage, Lists::Fresh(list), true)?;
        }
        Ok(())
    }

    pub(super) fn has_lists(&self) -> bool {
        !self.lists.is_empty()
    }

    /// The lists that are past their grace.
    pub(super) fn too_old(&self, now: UnixTime) -> impl Iterator<Item = &CertRevocationList<'static>> {
        let old = self.lists.iter().filter(move |(_, too_old)| too_old.is_some_and(|limit| now.as_secs() > limit));
        old.map(|(list, _)| list)
    }

    /// Builds a path from a chain that was rewritten. Answers the positions of the certificates in it. With `idle_policies`, to
    /// no authority that has a say in which policies it must have.
    pub(super) fn build(
        &self,
        rewritten: &Rewritten,
        now: UnixTime,
        usage: impl ExtendedKeyUsageValidator,
        lists: Lists<'_>,
        idle_policies: bool,
    ) -> Result<Vec<usize>, webpki::Error> {
        let supported = tls::provider().signature_verification_algorithms;
        let algorithms = rewritten.algorithms(&supported);
        let algorithms: Vec<&dyn rustls::pki_types::SignatureVerificationAlgorithm> =
            algorithms.iter().map(|algorithm| algorithm as _).collect();
        let (own, others) = rewritten.chain().split_first().ok_or(webpki::Error::BadDer)?;
        let own = EndEntityCert::try_from(own)?;
        let all: Vec<&CertRevocationList<'_>>;
        let (lists, unknown, expiry) = match lists {
            Lists::None => (Vec::new(), UnknownStatusPolicy::Allow, ExpirationPolicy::Ignore),
            Lists::All(unknown) => {
                all = self.lists.iter().map(|(list, _)| list).collect();
                (all, unknown, ExpirationPolicy::Ignore)
            }
            Lists::Fresh(list) => (vec![list], UnknownStatusPolicy::Allow, ExpirationPolicy::Enforce),
        };
        // Without lists there are no options, and nothing is revoked.
        let revocation = RevocationOptionsBuilder::new(&lists).ok();
        let revocation = revocation.map(|it| it.with_status_policy(unknown).with_expiration_policy(expiry).build());
        let acceptable = |path: &VerifiedPath<'_>| {
            if idle_policies { self.leaves_policies_alone(path) } else { Ok(()) }
        };
        let path =
            own.verify_for_usage(&algorithms, &self.roots.roots, others, now, usage, revocation, Some(&acceptable))?;
        let within = path.intermediate_certificates().map(webpki::Cert::der);
        let positions = within.filter_map(|der| others.iter().position(|other| *other == der)).map(|at| at + 1);
        Ok(std::iter::once(0).chain(positions).collect())
    }

    /// An authority may require a policy as well as any certificate below it.
    fn leaves_policies_alone(&self, path: &VerifiedPath<'_>) -> Result<(), webpki::Error> {
        let anchor: &[u8] = &path.anchor().subject;
        if self.constraining.iter().any(|subject| subject == anchor) {
            return Err(webpki::Error::UnsupportedCriticalExtension);
        }
        Ok(())
    }
}

/// Which lists a path is held against.
#[derive(Clone, Copy)]
pub(super) enum Lists<'a> {
    None,
    /// All, whatever their age.
    All(UnknownStatusPolicy),
    /// One, which must not be expired.
    Fresh(&'a CertRevocationList<'static>),
}

fn verifier(
    roots: &Arc<RootCertStore>,
    lists: Vec<CertificateRevocationListDer<'static>>,
) -> ClientCertVerifierBuilder {
    WebPkiClientVerifier::builder_with_provider(roots.clone(), tls::provider())
        .with_crls(lists)
        .allow_unknown_revocation_status()
}

/// A verifier that knows one list, and enforces its expiry. The TLS library takes fewer kinds of lists than the parser.
pub(super) fn alone(
    roots: &Arc<RootCertStore>,
    crl: &Crl,
    der: &CertificateRevocationListDer<'static>,
) -> Result<Arc<dyn ClientCertVerifier>, TrustError> {
    let alone = verifier(roots, vec![der.clone()]).enforce_revocation_expiration().build();
    alone.map_err(|error| unusable(crl, &error))
}

fn unusable(crl: &Crl, error: &dyn std::fmt::Display) -> TrustError {
    TrustError::Content {
        file: crl.file.clone(),
        problem: format!("this revocation list cannot be used: {error}; ask its authority for a complete, direct one"),
    }
}

/// As the TLS library converts it, where it matters for the alert.
fn refusal(error: webpki::Error) -> rustls::Error {
    use webpki::Error as E;
    match error {
        E::CertRevoked => CertificateError::Revoked,
        E::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        E::CertNotValidYet { time, not_before } => CertificateError::NotValidYetContext { time, not_before },
        E::CrlExpired { time, next_update } => CertificateError::ExpiredRevocationListContext { time, next_update },
        E::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    }
    .into()
}

/// Names the extensions, if they are why a chain is refused.
fn named(error: rustls::Error, chain: &[CertificateDer<'_>]) -> rustls::Error {
    match &error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(other)))
            if other.downcast_ref() == Some(&webpki::Error::UnsupportedCriticalExtension) =>
        {
            let extensions = chain.iter().flat_map(|der| not_understood(der)).collect();
            CertificateError::Other(OtherError(Arc::new(NotUnderstood(extensions)))).into()
        }
        _ => error,
    }
}

/// The critical extensions of a certificate that are not understood.
pub(super) fn not_understood(der: &[u8]) -> Vec<Critical> {
    let extensions = Layout::of(der).map(|layout| layout.extensions).unwrap_or_default();
    let critical = extensions.iter().filter_map(|extension| Critical::of(der, extension));
    critical.filter(|extension| !extension.is_understood()).collect()
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.all.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify(own, others, now, false).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.all.verify_tls12_signature(message, &readable(cert), signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.all.verify_tls13_signature(message, &readable(cert), signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.all.supported_verify_schemes()
    }
}

/// The certificate as the TLS library can read its key. What its chain is worth was judged before.
fn readable<'a>(cert: &CertificateDer<'a>) -> CertificateDer<'a> {
    if not_understood(cert).is_empty() {
        return cert.clone();
    }
    let rewritten = Rewritten::without_idle_policies(std::slice::from_ref(cert));
    rewritten.and_then(|rewritten| rewritten.chain().first().cloned()).unwrap_or_else(|| cert.clone())
}

/// Certificates beside the client's own: the path builder takes no longer path (it allows so many authorities in one).
const OTHERS_MOST: usize = 6;
/// In a log's line.
const NAMED_MOST: usize = 8;
