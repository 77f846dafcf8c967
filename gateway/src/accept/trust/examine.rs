//! What is wrong with a chain: all of it, where a handshake ends at the first thing.

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{ExtendedKeyUsageValidator, KeyPurposeIdIter, UnknownStatusPolicy};

use super::rewrite::Rewritten;
use super::verifier::{Lists, NotUnderstood, TooLong, Verifier, not_understood};
use crate::accept::tls::HandshakeFailure;

/// What a chain is like, each question answered for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examination {
    /// Why a handshake is refused now; `None` if it is not.
    pub refused: Option<HandshakeFailure>,
    /// The positions in the chain of the certificates that lead from the client's own, which is the first, to an authority in
    /// force; without regard to time, revocation, usage and extensions that are not understood.
    pub path: Result<Vec<usize>, NoPath>,
    /// Unchecked without a path: what is not an authority's own is not answered.
    pub revocation: Revocation,
    /// Why a chain is refused for its critical extensions.
    pub not_understood: NotUnderstood,
}

/// Why a chain leads to no authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPath {
    /// It ends at an issuer that is no authority here, and whose certificate is not in the chain.
    IssuerUnknown,
    /// A certificate was not signed by the key of the issuer that it names.
    Forged,
    /// It breaks another rule: in words.
    Broken(&'static str),
}

/// What the lists say of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// Nothing in it is revoked.
    Good,
    /// Nothing in it is known to be revoked, but not every issuer in it has a list.
    NoList,
    /// A certificate in it is.
    Revoked,
    /// A list that it depends on is past its grace.
    TooOld,
    /// A list that it depends on cannot be relied on.
    Unusable,
    /// There is no path.
    Unchecked,
}

impl Verifier {
    /// Looks at a chain from all sides. It is not kept, and nobody is let in for it.
    pub fn examine(&self, chain: &[CertificateDer<'static>], now: UnixTime) -> Examination {
        let refused = match chain.split_first() {
            Some((own, others)) => self.verify(own, others, now, false).err().map(|error| HandshakeFailure::of(&error)),
            None => Some(HandshakeFailure::CertificateMissing),
        };
        if TooLong::check(chain.len().saturating_sub(1)).is_err() {
            let path = Err(NoPath::Broken("it holds more than six certificates beside the client's own"));
            let not_understood = NotUnderstood::of(chain);
            return Examination { refused, path, revocation: Revocation::Unchecked, not_understood };
        }
        let rewritten = Rewritten::for_diagnosis(chain);
        let path = self.build(&rewritten, now, Anything, Lists::None, false).map_err(|error| no_path(&error));
        let revocation = if path.is_ok() { self.revocation(&rewritten, now) } else { Revocation::Unchecked };
        let idle = Rewritten::without_idle_policies(chain);
        // Where policies could have an effect, none is idle.
        let idle = idle.filter(|_| self.build(&rewritten, now, Anything, Lists::None, true).is_ok() || path.is_err());
        let judged = idle.as_ref().map_or(chain, Rewritten::chain);
        let within = |at: usize| path.as_ref().map_or(at == 0, |path| path.contains(&at));
        let judged = judged.iter().enumerate().filter(|(at, _)| within(*at));
        let not_understood = NotUnderstood(judged.flat_map(|(_, der)| not_understood(der)).collect());
        Examination { refused, path, revocation, not_understood }
    }

    fn revocation(&self, rewritten: &Rewritten, now: UnixTime) -> Revocation {
        let held_against = |lists| self.build(rewritten, now, Anything, lists, false);
        match held_against(Lists::All(UnknownStatusPolicy::Allow)) {
            Err(webpki::Error::CertRevoked) => return Revocation::Revoked,
            Err(_) => return Revocation::Unusable,
            Ok(_) => {}
        }
        if self.too_old(now).any(|list| held_against(Lists::Fresh(list)).is_err()) {
            return Revocation::TooOld;
        }
        match (self.has_lists(), held_against(Lists::All(UnknownStatusPolicy::Deny))) {
            (true, Ok(_)) => Revocation::Good,
            _ => Revocation::NoList,
        }
    }
}

/// Any usage will do.
struct Anything;

impl ExtendedKeyUsageValidator for Anything {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

fn no_path(error: &webpki::Error) -> NoPath {
    use webpki::Error as E;
    match error {
        E::UnknownIssuer => NoPath::IssuerUnknown,
        E::InvalidSignatureForPublicKey => NoPath::Forged,
        E::CaUsedAsEndEntity => NoPath::Broken("the client's own certificate is an authority's"),
        E::EndEntityUsedAsCa => NoPath::Broken("a certificate was issued by one that is no authority's"),
        E::PathLenConstraintViolated => NoPath::Broken("an authority in the chain may not have authorities below it"),
        E::NameConstraintViolation => NoPath::Broken(
            "it does not keep to an authority's name constraints, or they are of a kind that is always refused here \
             (directory names, URIs, e-mail addresses)",
        ),
        E::UnsupportedCertVersion => NoPath::Broken("a certificate in it is not of X.509 version 3"),
        E::EmptyEkuExtension => NoPath::Broken("an extended key usage is empty"),
        E::SignatureAlgorithmMismatch => NoPath::Broken("a certificate names two signature algorithms"),
        E::UnsupportedSignatureAlgorithmContext(_) | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            NoPath::Broken(
                "a signature's algorithm or key is refused here (accepted are RSA from 2048 bits, ECDSA over P-256, P-384 \
                 and P-521, and Ed25519, with SHA-2)",
            )
        }
        E::MaximumSignatureChecksExceeded
        | E::MaximumPathBuildCallsExceeded
        | E::MaximumPathDepthExceeded
        | E::MaximumNameConstraintComparisonsExceeded => NoPath::Broken("it is too long or too intricate"),
        _ => NoPath::Broken("a certificate in it is malformed"),
    }
}
