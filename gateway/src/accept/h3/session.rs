//! TLS in QUIC (RFC 9001), by rustls. quinn has a session of its own, which hides what must be known of a handshake: why it
//! failed, in which group, and whether it was resumed.

use std::any::Any;
use std::io::Cursor;
use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::crypto::{
    ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig, Session, UnsupportedVersion,
};
use quinn::{ConnectionId, Side};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{TransportError, TransportErrorCode};
use rustls::quic::{DirectionalKeys, KeyChange, Secrets, ServerConnection, Suite, Version};
use rustls::{CipherSuite, HandshakeKind};

use crate::accept::tls::{self, HandshakeFailure};
use crate::accept::trust::Trust;

/// What a handshake agreed on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shaken {
    /// The key exchange group.
    pub(super) group: &'static str,
    /// Whether a session was resumed: nobody has verified its certificates again.
    pub(super) resumed: bool,
}

/// Between a failure's name and its detail.
pub(super) const DETAIL: &str = ": ";

/// Sessions under one trust.
pub(super) struct Crypto {
    tls: Arc<rustls::ServerConfig>,
    initial: Suite,
    retry: QuicServerConfig,
}

impl Crypto {
    /// `None` if the TLS library lacks the cipher suite that QUIC begins with.
    pub(super) fn new(trust: &Trust) -> Option<Self> {
        let tls = Arc::clone(trust.quic_config());
        let mut suites = tls.crypto_provider().cipher_suites.iter();
        let initial = suites.find(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256)?.tls13()?;
        let retry = QuicServerConfig::try_from(Arc::clone(&tls)).ok()?;
        Some(Self { initial: initial.quic_suite()?, tls, retry })
    }
}

impl ServerConfig for Crypto {
    fn initial_keys(&self, version: u32, client: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.retry.initial_keys(version, client)
    }

    fn retry_tag(&self, version: u32, client: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.retry.retry_tag(version, client, packet)
    }

    fn start_session(self: Arc<Self>, _: u32, parameters: &TransportParameters) -> Box<dyn Session> {
        let mut bytes = Vec::new();
        parameters.write(&mut bytes);
        Box::new(Tls {
            connection: ServerConnection::new(Arc::clone(&self.tls), Version::V1, bytes),
            initial: self.initial,
            told: false,
            next: None,
        })
    }
}

/// The server's side of one handshake.
struct Tls {
    /// An error only if the configuration is none for QUIC.
    connection: Result<ServerConnection, rustls::Error>,
    initial: Suite,
    /// Whether quinn was told that there is something to know of the handshake.
    told: bool,
    next: Option<Secrets>,
}

impl Session for Tls {
    fn initial_keys(&self, client: &ConnectionId, _: Side) -> Keys {
        let keys = self.initial.keys(client, rustls::Side::Server, Version::V1);
        together(keys.local, keys.remote)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        let connection = self.connection.as_ref().ok().filter(|_| self.told)?;
        let group = connection.negotiated_key_exchange_group();
        Some(Box::new(Shaken {
            group: group.map_or("unknown", |group| tls::group_name(group.name())),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        }))
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        let chain = self.connection.as_ref().ok()?.peer_certificates()?;
        Some(Box::new(chain.iter().map(|certificate| certificate.clone().into_owned()).collect::<Vec<_>>()))
    }

    /// 0-RTT data can be replayed: never.
    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        None
    }

    fn early_data_accepted(&self) -> Option<bool> {
        None
    }

    fn is_handshaking(&self) -> bool {
        self.connection.as_ref().is_ok_and(|connection| connection.is_handshaking())
    }

    /// The client is told the failure by its alert, and beside it by its name and what more there is to say.
    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        let (reason, alert) = match &mut self.connection {
            Err(error) => (reason(error), None),
            Ok(connection) => match connection.read_hs(bytes) {
                Ok(()) => {
                    // Once the client's hello is understood.
                    let known = connection.alpn_protocol().is_some() || !connection.is_handshaking();
                    return Ok(known && !std::mem::replace(&mut self.told, known));
                }
                Err(error) => (reason(&error), connection.alert()),
            },
        };
        Err(TransportError {
            code: alert
                .map_or(TransportErrorCode::PROTOCOL_VIOLATION, |alert| TransportErrorCode::crypto(alert.into())),
            frame: None,
            reason,
        })
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let parameters = self.connection.as_ref().ok().and_then(|connection| connection.quic_transport_parameters());
        let Some(bytes) = parameters else { return Ok(None) };
        Ok(Some(TransportParameters::read(Side::Server, &mut Cursor::new(bytes))?))
    }

    fn write_handshake(&mut self, bytes: &mut Vec<u8>) -> Option<Keys> {
        let keys = match self.connection.as_mut().ok()?.write_hs(bytes)? {
            KeyChange::Handshake { keys } => keys,
            KeyChange::OneRtt { keys, next } => {
                self.next = Some(next);
                keys
            }
        };
        Some(together(keys.local, keys.remote))
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let keys = self.next.as_mut()?.next_packet_keys();
        Some(KeyPair { local: Box::new(keys.local), remote: Box::new(keys.remote) })
    }

    /// A client's business.
    fn is_valid_retry(&self, _: &ConnectionId, _: &[u8], _: &[u8]) -> bool {
        false
    }

    /// Nobody asks for it.
    fn export_keying_material(&self, _: &mut [u8], _: &[u8], _: &[u8]) -> Result<(), ExportKeyingMaterialError> {
        Err(ExportKeyingMaterialError)
    }
}

/// `name`, or `name: detail`: all that quinn hands on of an error.
fn reason(error: &rustls::Error) -> String {
    let name = HandshakeFailure::of(error).name();
    tls::detail(error).map_or_else(|| name.to_owned(), |detail| format!("{name}{DETAIL}{detail}"))
}

fn together(local: DirectionalKeys, remote: DirectionalKeys) -> Keys {
    Keys {
        header: KeyPair { local: Box::new(local.header), remote: Box::new(remote.header) },
        packet: KeyPair { local: Box::new(local.packet), remote: Box::new(remote.packet) },
    }
}
