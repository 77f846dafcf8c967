//! The handshake on the agency side: TLS 1.3 and 1.2, ECDHE and AEAD only, a client certificate always.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use popgate_policy::directory::TlsVersion;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ServerSessionMemoryCache;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{
    AlertDescription, CertificateError, HandshakeKind, NamedGroup, ProtocolVersion, ServerConfig, ServerConnection,
    SupportedProtocolVersion, version,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::trust::{NotUnderstood, TooLong, Trust};
use super::{Connection, Protocol};
use crate::admit::{Place, Told};
use crate::certificate;
use crate::clock::Clock;

/// Why there was no connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum HandshakeFailure {
    /// The client sent no certificate.
    CertificateMissing,
    /// No authority of ours has issued it.
    AuthorityUnknown,
    /// It is expired, or not valid yet.
    CertificateExpired,
    /// It is on a revocation list.
    CertificateRevoked,
    /// The revocation list of its authority is too old.
    RevocationUnknown,
    /// It, or an authority's certificate with it, has a critical extension that is not understood.
    CriticalExtension,
    /// It is not for clients, malformed, or its signature is bad.
    CertificateInvalid,
    /// No common version, cipher suite, group or protocol; or not TLS at all.
    Protocol,
    /// The client sent an alert: it does not trust us, most often.
    ClientAlert,
    /// The client went away.
    Disconnected,
    /// The client took too long.
    Timeout,
}

impl HandshakeFailure {
    /// Every one.
    const ALL: [Self; 11] = [
        Self::CertificateMissing,
        Self::AuthorityUnknown,
        Self::CertificateExpired,
        Self::CertificateRevoked,
        Self::RevocationUnknown,
        Self::CriticalExtension,
        Self::CertificateInvalid,
        Self::Protocol,
        Self::ClientAlert,
        Self::Disconnected,
        Self::Timeout,
    ];

    /// The one of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|failure| failure.name() == name)
    }

    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::CertificateMissing => "certificate_missing",
            Self::AuthorityUnknown => "authority_unknown",
            Self::CertificateExpired => "certificate_expired",
            Self::CertificateRevoked => "certificate_revoked",
            Self::RevocationUnknown => "revocation_unknown",
            Self::CriticalExtension => "critical_extension",
            Self::CertificateInvalid => "certificate_invalid",
            Self::Protocol => "protocol",
            Self::ClientAlert => "client_alert",
            Self::Disconnected => "disconnected",
            Self::Timeout => "timeout",
        }
    }

    pub(super) fn of(error: &rustls::Error) -> Self {
        use CertificateError as C;
        match error {
            rustls::Error::NoCertificatesPresented => Self::CertificateMissing,
            rustls::Error::InvalidCertificate(problem) => match problem {
                C::Revoked => Self::CertificateRevoked,
                C::Expired | C::ExpiredContext { .. } | C::NotValidYet | C::NotValidYetContext { .. } => {
                    Self::CertificateExpired
                }
                C::UnknownIssuer => Self::AuthorityUnknown,
                C::UnknownRevocationStatus | C::ExpiredRevocationList | C::ExpiredRevocationListContext { .. } => {
                    Self::RevocationUnknown
                }
                C::Other(other) if other.0.is::<NotUnderstood>() => Self::CriticalExtension,
                _ => Self::CertificateInvalid,
            },
            rustls::Error::InvalidCertRevocationList(_) => Self::RevocationUnknown,
            rustls::Error::AlertReceived(AlertDescription::CloseNotify) => Self::Disconnected,
            rustls::Error::AlertReceived(_) => Self::ClientAlert,
            _ => Self::Protocol,
        }
    }
}

/// A connection with its client known.
pub(super) struct Handshaken {
    pub(super) connection: Connection,
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) resumed: bool,
}

/// Why there is none.
pub(super) struct Failed {
    pub(super) reason: HandshakeFailure,
    /// More of it, for the log.
    pub(super) detail: Option<String>,
    /// If there is an alert on it that the client should read.
    pub(super) stream: Option<TcpStream>,
}

impl Failed {
    fn to(error: &rustls::Error, stream: TcpStream) -> Self {
        Self { reason: HandshakeFailure::of(error), detail: detail(error), stream: Some(stream) }
    }
}

impl From<HandshakeFailure> for Failed {
    fn from(reason: HandshakeFailure) -> Self {
        Self { reason, detail: None, stream: None }
    }
}

/// More of why a handshake failed, for the log: nothing that a certificate says of its holder.
pub(super) fn detail(error: &rustls::Error) -> Option<String> {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else { return None };
    let not_understood = other.0.downcast_ref::<NotUnderstood>().map(ToString::to_string);
    not_understood.or_else(|| other.0.downcast_ref::<TooLong>().map(ToString::to_string))
}

/// Shakes hands.
pub(super) async fn handshake(
    trust: &Trust,
    socket: std::net::TcpStream,
    peer: SocketAddr,
    clock: &Clock,
) -> Result<Handshaken, Failed> {
    let gone = |_| HandshakeFailure::Disconnected;
    socket.set_nodelay(true).map_err(gone)?;
    let socket = TcpStream::from_std(socket).map_err(gone)?;
    let accept = TlsAcceptor::from(trust.server_config().clone()).accept(socket);
    let stream = accept.into_fallible().await.map_err(|(error, stream)| {
        match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
            Some(error) => Failed::to(error, stream),
            None => HandshakeFailure::Disconnected.into(),
        }
    })?;
    let tls = stream.get_ref().1;
    match connection(trust, tls, peer, clock) {
        Ok(connection) => {
            let resumed = tls.handshake_kind() == Some(HandshakeKind::Resumed);
            Ok(Handshaken { connection, stream, resumed })
        }
        Err(reason) => Err(Failed { reason, detail: None, stream: Some(stream.into_inner().0) }),
    }
}

fn connection(
    trust: &Trust,
    tls: &ServerConnection,
    peer: SocketAddr,
    clock: &Clock,
) -> Result<Connection, HandshakeFailure> {
    let chain: Vec<CertificateDer<'static>> =
        tls.peer_certificates().unwrap_or_default().iter().map(|cert| cert.clone().into_owned()).collect();
    // A resumed session brings its certificates from the first handshake, which no verifier has seen since.
    if tls.handshake_kind() == Some(HandshakeKind::Resumed) {
        trust.admit(&chain, clock.unix())?;
    }
    let version = match tls.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => TlsVersion::Tls13,
        _ => TlsVersion::Tls12,
    };
    let protocol = if tls.alpn_protocol() == Some(H2) { Protocol::H2 } else { Protocol::H1 };
    let group = tls.negotiated_key_exchange_group().map_or("unknown", |group| group_name(group.name()));
    known(chain, peer, version, protocol, group)
}

/// A connection whose client's chain was verified.
pub(super) fn known(
    chain: Vec<CertificateDer<'static>>,
    peer: SocketAddr,
    tls: TlsVersion,
    protocol: Protocol,
    group: &'static str,
) -> Result<Connection, HandshakeFailure> {
    let own = chain.first().ok_or(HandshakeFailure::CertificateMissing)?;
    let identities = certificate::identities(own).map_err(|_| HandshakeFailure::CertificateInvalid)?;
    let expires = certificate::expires(own).map_err(|_| HandshakeFailure::CertificateInvalid)?;
    let (verdict, place) = (ArcSwapOption::empty(), Place::default());
    Ok(Connection { peer, tls, protocol, group, chain, identities, expires, verdict, place, told: Told::default() })
}

/// The crypto of both sides: aws-lc-rs, X25519MLKEM768 first, TLS 1.2 with ECDHE and AEAD only.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A server's configuration over TCP, with required client certificates.
pub(super) fn server_config(
    own: &CertifiedKey,
    verifier: Arc<dyn ClientCertVerifier>,
    clock: &Clock,
) -> Result<ServerConfig, rustls::Error> {
    config(own, verifier, clock, &[&version::TLS13, &version::TLS12], &[H2, b"http/1.1"])
}

/// The same over QUIC, which knows TLS 1.3 only.
pub(super) fn quic_config(
    own: &CertifiedKey,
    verifier: Arc<dyn ClientCertVerifier>,
    clock: &Clock,
) -> Result<ServerConfig, rustls::Error> {
    config(own, verifier, clock, &[&version::TLS13], &[b"h3"])
}

fn config(
    own: &CertifiedKey,
    verifier: Arc<dyn ClientCertVerifier>,
    clock: &Clock,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_details(provider(), Arc::new(Ticks(clock.clone())))
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(own.clone())));
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.require_ems = true;
    // 0-RTT data can be replayed: never.
    config.max_early_data_size = 0;
    // Sessions are kept here, not in tickets, and a new `Trust` starts with none: after a CRL changed, nobody resumes.
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    Ok(config)
}

/// rustls asks the time of the gateway's own clock.
#[derive(Debug)]
struct Ticks(Clock);

impl TimeProvider for Ticks {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0.unix())
    }
}

pub(super) fn group_name(group: NamedGroup) -> &'static str {
    match group {
        NamedGroup::X25519MLKEM768 => "X25519MLKEM768",
        NamedGroup::X25519 => "X25519",
        NamedGroup::secp256r1 => "secp256r1",
        NamedGroup::secp384r1 => "secp384r1",
        NamedGroup::secp521r1 => "secp521r1",
        _ => "other",
    }
}

const H2: &[u8] = b"h2";
const SESSIONS: usize = 10_240;
