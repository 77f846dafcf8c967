//! Bytes on the wire, as no well-behaved client would send them.

use std::time::Duration;

use popgate_demo::client::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// What came back for raw bytes.
#[derive(Debug)]
pub struct Reply {
    /// Everything that was received.
    pub bytes: Vec<u8>,
    /// Whether the gateway ended the connection.
    pub closed: bool,
}

impl Reply {
    /// Sends bytes on a new connection, and reads until the gateway ends it, or for that long.
    ///
    /// # Panics
    /// If the gateway does not take the connection.
    pub async fn to(client: &Client, bytes: &[u8], patience: Duration) -> Self {
        let mut stream = open(client).await;
        // The gateway may have ended it before it was all sent.
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
        Self::read(&mut stream, patience).await
    }

    /// Reads until the gateway ends the connection, or for that long.
    pub async fn read(stream: &mut TlsStream<TcpStream>, patience: Duration) -> Self {
        let mut reply = Self { bytes: Vec::new(), closed: false };
        let read = async { while let Ok(1..) = stream.read_buf(&mut reply.bytes).await {} };
        reply.closed = tokio::time::timeout(patience, read).await.is_ok();
        reply
    }

    /// The bytes as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The statuses of the HTTP/1.1 responses in it.
    pub fn statuses(&self) -> Vec<u16> {
        let text = self.text();
        text.split("HTTP/1.1 ").skip(1).filter_map(|rest| rest.get(..3)?.parse().ok()).collect()
    }
}

/// A TLS connection of a system.
///
/// # Panics
/// If the gateway does not take it.
#[expect(clippy::panic, reason = "without a connection the test cannot go on")]
pub async fn open(client: &Client) -> TlsStream<TcpStream> {
    match client.connect_tls().await {
        Ok(stream) => stream,
        Err(error) => panic!("cannot connect: {error}"),
    }
}

/// One HTTP/2 frame (RFC 9113, section 4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut bytes = vec![a, b, c, kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A connection preface with these SETTINGS.
pub fn preface(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in settings {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &payload));
    bytes
}

/// The header block of a `GET` for a purpose, without dynamic table (RFC 7541).
pub fn header_block(path: &str, purpose: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x87];
    let mut literal = |prefix: &[u8], value: &str| {
        block.extend(prefix);
        block.push(u8::try_from(value.len()).unwrap_or(0));
        block.extend(value.as_bytes());
    };
    literal(&[0x04], path);
    literal(&[0x01], "localhost");
    literal(b"\x00\x0fgateway-purpose", purpose);
    block
}

/// DATA.
pub const DATA: u8 = 0x0;
/// HEADERS.
pub const HEADERS: u8 = 0x1;
/// `RST_STREAM`.
pub const RST_STREAM: u8 = 0x3;
/// SETTINGS.
pub const SETTINGS: u8 = 0x4;
/// PING.
pub const PING: u8 = 0x6;
/// GOAWAY.
pub const GOAWAY: u8 = 0x7;
/// `WINDOW_UPDATE`.
pub const WINDOW_UPDATE: u8 = 0x8;
/// CONTINUATION.
pub const CONTINUATION: u8 = 0x9;
/// `END_STREAM`.
pub const END_STREAM: u8 = 0x1;
/// `END_HEADERS`.
pub const END_HEADERS: u8 = 0x4;
