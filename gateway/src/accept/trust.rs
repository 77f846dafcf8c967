//! Whom the gateway trusts on the agency side: one immutable snapshot of certificate, authorities and revocation lists.

pub mod examine;
mod files;
mod rewrite;
mod verifier;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, RootCertStore, ServerConfig};

pub use examine::{Examination, NoPath, Revocation};
pub use verifier::{NotUnderstood, TooLong, Verifier};

use super::tls::{self, HandshakeFailure};
use crate::app::config;
use crate::clock::Clock;
use crate::custody::CustodyError;
use crate::refusal::Refusal;

/// One snapshot. A change of a file makes a new one with the next generation; the last good one stays in force until then.
#[derive(Debug)]
pub struct Trust {
    generation: u64,
    server: Arc<ServerConfig>,
    quic: Arc<ServerConfig>,
    verifier: Arc<Verifier>,
    own: Own,
    authorities: Vec<Authority>,
    /// The subjects of authorities that earlier snapshots trusted: their lists may go, at once or later.
    withdrawn: Vec<Vec<u8>>,
    crls: Vec<Crl>,
    lists: Vec<List>,
    /// Chains that were verified again lately, by their digest: many connections show one certificate.
    rechecked: Mutex<HashMap<[u8; 32], Recheck>>,
}

/// An authority that client certificates may come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authority {
    /// Where it was read from.
    pub file: PathBuf,
    /// Its subject after RFC 4514.
    pub subject: String,
    /// When it expires.
    pub expires: UnixTime,
    issuer: Vec<u8>,
    /// Whether it has a say in which policies a chain must have.
    constrains_policies: bool,
}

/// A revocation list in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Crl {
    /// Where it was read from.
    pub file: PathBuf,
    /// The authority's subject after RFC 4514.
    pub issuer: String,
    /// When it was issued.
    pub issued: UnixTime,
    /// When the next one is due; past it by more than the grace, new handshakes that depend on it are refused.
    pub next_update: Option<UnixTime>,
    /// The number of certificates that it revokes.
    pub revoked: usize,
    /// What it covers: its issuer, and its issuing distribution point if it is one of several.
    scope: (Vec<u8>, Vec<u8>),
}

/// Something an operator should mend, though the snapshot is good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}`: {problem}", file.display())]
pub struct Warning {
    /// Which file.
    pub file: PathBuf,
    /// What is wrong, and what follows from it.
    pub problem: String,
    /// Whether the file was offered and refused: what it held when it was last good stays in force.
    pub refused: bool,
}

/// Why a snapshot cannot be built. The caller keeps the last good one.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The private key cannot be used.
    #[error(transparent)]
    Key(#[from] CustodyError),
    /// A file cannot be read.
    #[error("cannot read `{}`: {source}", file.display())]
    Io {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds something else than it should.
    #[error("`{}`: {problem}", file.display())]
    Content {
        /// Which.
        file: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// No authority is left.
    #[error("`{}`: no usable authority: no client could connect; {}", pattern.display(), listed(warnings))]
    NoAuthority {
        /// `tls.client_cas`.
        pattern: PathBuf,
        /// What was left out.
        warnings: Vec<Warning>,
    },
    /// A list that was in force is gone or older: that would bring revoked certificates back.
    #[error(
        "`{}`: {problem}: this would make revoked certificates good again; put the newest list there, or restart if it is meant",
        file.display()
    )]
    RevocationLost {
        /// The list in force, or the older one.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl Trust {
    /// Reads the files that the configuration names. `previous` is the snapshot in force, if there is one.
    ///
    /// An authority that cannot be read or is expired is left out with a warning, if others remain. A revocation list
    /// that cannot be read is an error, and so is one that vanished or went back in time while its authority is trusted.
    ///
    /// A bad list, or a bad certificate of the gateway's own, does not keep what else changed from being in force: a
    /// revocation MUST NOT wait for another file. Of the bad file what `previous` holds stays, with a warning that says so.
    ///
    /// # Errors
    /// See [`TrustError`].
    pub fn load(
        tls: &config::Tls,
        generation: u64,
        clock: &Clock,
        previous: Option<&Self>,
    ) -> Result<(Self, Vec<Warning>), TrustError> {
        let now = clock.unix();
        let (mut warnings, mut refused) = (Vec::new(), Vec::new());
        let own = match (files::server(tls, now, &mut warnings), previous) {
            (Ok(own), _) => own,
            (Err(error), Some(previous)) => {
                refused.push(error);
                previous.own.clone()
            }
            (Err(error), None) => return Err(error),
        };
        let (roots, authorities) = files::authorities(&tls.client_cas, now, &mut warnings)?;
        let roots = Arc::new(roots);
        let before = previous.map(|trust| trust.lists.as_slice());
        let lists =
            files::crls(tls.crls.as_deref(), (&roots, &authorities), now, before, (&mut warnings, &mut refused))?;
        let crls: Vec<Crl> = lists.iter().map(|(crl, _)| crl.clone()).collect();
        let withdrawn = withdrawn(previous, &authorities);
        nothing_lost(previous, &withdrawn, &crls)?;
        if previous.is_some_and(|trust| trust.is_the_same(&own, &authorities, &lists))
            && let Some(error) = refused.pop()
        {
            return Err(error);
        }
        warnings.extend(refused.into_iter().map(|error| Warning::refused(error, tls)));
        let verifier = Arc::new(Verifier::new(&roots, &authorities, &lists, tls.crl_grace)?);
        let unusable = |error| TrustError::Content {
            file: tls.certificate.clone(),
            problem: format!("the certificate or its key cannot be used: {error}"),
        };
        let server = tls::server_config(&own.certified, verifier.clone(), clock).map_err(unusable)?;
        let quic = tls::quic_config(&own.certified, verifier.clone(), clock).map_err(unusable)?;
        let trust = Self {
            generation,
            server: Arc::new(server),
            quic: Arc::new(quic),
            verifier,
            own,
            authorities,
            withdrawn,
            crls,
            lists,
            rechecked: Mutex::default(),
        };
        Ok((trust, warnings))
    }

    /// Which snapshot this is. Never 0: that is "unchecked".
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// When the gateway's own certificate expires.
    pub fn expires(&self) -> UnixTime {
        self.own.expires
    }

    /// The authorities in force.
    pub fn authorities(&self) -> &[Authority] {
        &self.authorities
    }

    /// The revocation lists in force.
    pub fn crls(&self) -> &[Crl] {
        &self.crls
    }

    /// When an authority in force expires next. The caller MUST load a new snapshot then: rustls does not look at the
    /// validity of authorities. (Lists past their grace, and clients' certificates, are judged at each handshake.)
    pub fn reload_at(&self) -> Option<UnixTime> {
        self.authorities.iter().map(|authority| authority.expires).min()
    }

    /// Verifies the chain of a live connection again. A list past its grace stops new handshakes only, not live connections.
    ///
    /// # Errors
    /// [`Refusal::CertificateRevoked`], or [`Refusal::CertificateInvalid`] if it expired or its authority is gone.
    pub fn recheck(&self, chain: &[CertificateDer<'static>], now: UnixTime) -> Result<(), Refusal> {
        let digest = digest_of(chain);
        let mut rechecked = self.rechecked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = rechecked.get(&digest).filter(|known| (known.from..known.until).contains(&now.as_secs())) {
            return known.outcome.clone();
        }
        let verified = match chain.split_first() {
            Some((own, others)) => self.verifier.verify(own, others, now, true),
            None => Err(rustls::Error::NoCertificatesPresented),
        };
        let outcome = verified.map_err(|error| match error {
            rustls::Error::InvalidCertificate(CertificateError::Revoked) => Refusal::CertificateRevoked,
            _ => Refusal::CertificateInvalid,
        });
        if rechecked.len() >= RECHECKED_MAX {
            rechecked.clear();
        }
        let until = now.as_secs() + RECHECKED_SECONDS;
        rechecked.insert(digest, Recheck { from: now.as_secs(), until, outcome: outcome.clone() });
        outcome
    }

    fn is_the_same(&self, own: &Own, authorities: &[Authority], lists: &[List]) -> bool {
        self.own.certified.cert == own.certified.cert && self.authorities == authorities && self.lists == lists
    }

    pub(super) fn server_config(&self) -> &Arc<ServerConfig> {
        &self.server
    }

    pub(super) fn quic_config(&self) -> &Arc<ServerConfig> {
        &self.quic
    }

    /// Verifies a chain as at a full handshake.
    pub(super) fn admit(&self, chain: &[CertificateDer<'static>], now: UnixTime) -> Result<(), HandshakeFailure> {
        let (own, others) = chain.split_first().ok_or(HandshakeFailure::CertificateMissing)?;
        self.verifier.verify(own, others, now, false).map_err(|error| HandshakeFailure::of(&error))
    }

    /// What judges the chains, for whoever is to say what is wrong with one.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The gateway's own certificate and key, for another listener that shows them.
    pub fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.own.certified
    }
}

/// A revocation list as it was read.
pub type List = (Crl, CertificateRevocationListDer<'static>);

/// The gateway's own certificate and key.
#[derive(Clone, Debug)]
struct Own {
    certified: Arc<CertifiedKey>,
    expires: UnixTime,
}

impl Warning {
    fn refused(error: TrustError, tls: &config::Tls) -> Self {
        let (file, problem) = match error {
            TrustError::Content { file, problem } => (file, problem),
            TrustError::Io { file, source } => (file, source.to_string()),
            TrustError::Key(error) => (tls.key.clone(), error.to_string()),
            other => (tls.certificate.clone(), other.to_string()),
        };
        Self { file, problem: format!("refused, and what was good before stays in force: {problem}"), refused: true }
    }
}

impl Trust {
    /// What would judge chains under a configuration, for whoever has no node: neither the gateway's certificate nor its key is
    /// read.
    ///
    /// # Errors
    /// See [`TrustError`].
    pub fn verifier_of(tls: &config::Tls, clock: &Clock) -> Result<(Verifier, Vec<Warning>), TrustError> {
        let now = clock.unix();
        let (mut warnings, mut refused) = (Vec::new(), Vec::new());
        let (roots, authorities) = files::authorities(&tls.client_cas, now, &mut warnings)?;
        let roots = Arc::new(roots);
        let lists = files::crls(tls.crls.as_deref(), (&roots, &authorities), now, None, (&mut warnings, &mut refused))?;
        Ok((Verifier::new(&roots, &authorities, &lists, tls.crl_grace)?, warnings))
    }

    /// The newest revocation list of each scope, for another listener's verifier; `previous` are those that it has now. Of an
    /// authority in `roots`, none may vanish or go back in time.
    ///
    /// # Errors
    /// See [`TrustError`].
    pub fn revocation_lists(
        pattern: &Path,
        roots: &Arc<RootCertStore>,
        previous: &[List],
    ) -> Result<Vec<List>, TrustError> {
        let (mut warnings, mut refused) = (Vec::new(), Vec::new());
        let known = (!previous.is_empty()).then_some(previous);
        // The time is for warnings alone, and those the agencies' side gives: the files are the same.
        let never = UnixTime::since_unix_epoch(Duration::ZERO);
        let lists = files::crls(Some(pattern), (roots, &[]), never, known, (&mut warnings, &mut refused))?;
        let subjects = roots.subjects();
        let relevant = previous.iter().map(|(crl, _)| crl);
        let relevant = relevant.filter(|crl| subjects.iter().any(|subject| subject.as_ref() == crl.scope.0));
        let crls: Vec<Crl> = lists.iter().map(|(crl, _)| crl.clone()).collect();
        relevant.into_iter().try_for_each(|old| still_there(old, &crls))?;
        for error in refused {
            tracing::error!(%error, "revocation list refused; what was good before stays in force");
        }
        Ok(lists)
    }
}

#[derive(Debug)]
struct Recheck {
    from: u64,
    until: u64,
    outcome: Result<(), Refusal>,
}

fn withdrawn(previous: Option<&Trust>, authorities: &[Authority]) -> Vec<Vec<u8>> {
    let Some(previous) = previous else { return Vec::new() };
    let mut known: Vec<&Vec<u8>> = previous.authorities.iter().map(|authority| &authority.issuer).collect();
    known.extend(&previous.withdrawn);
    known.retain(|known| !authorities.iter().any(|authority| authority.issuer == **known));
    known.into_iter().cloned().collect()
}

/// The list of an authority that is no longer trusted may go; that of an intermediate one, which no file names, must stay.
fn nothing_lost(previous: Option<&Trust>, withdrawn: &[Vec<u8>], crls: &[Crl]) -> Result<(), TrustError> {
    for old in previous.map(Trust::crls).unwrap_or_default() {
        if withdrawn.contains(&old.scope.0) {
            continue;
        }
        still_there(old, crls)?;
    }
    Ok(())
}

fn still_there(old: &Crl, crls: &[Crl]) -> Result<(), TrustError> {
    match crls.iter().find(|new| new.scope == old.scope) {
        None => {
            let problem = format!("the revocation list of {} is gone", old.issuer);
            Err(TrustError::RevocationLost { file: old.file.clone(), problem })
        }
        Some(new) if new.issued.as_secs() < old.issued.as_secs() => {
            let problem = format!("the revocation list of {} is older than the one in force", new.issuer);
            Err(TrustError::RevocationLost { file: new.file.clone(), problem })
        }
        Some(_) => Ok(()),
    }
}

fn digest_of(chain: &[CertificateDer<'static>]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for certificate in chain {
        // DER carries its own length: concatenation is unambiguous.
        context.update(certificate);
    }
    context.finish().as_ref().try_into().unwrap_or_default()
}

fn listed(warnings: &[Warning]) -> String {
    if warnings.is_empty() {
        return "no file is there".into();
    }
    warnings.iter().map(Warning::to_string).collect::<Vec<_>>().join("; ")
}

const RECHECKED_MAX: usize = 8192;
const RECHECKED_SECONDS: u64 = 30;
