//! Accept: listeners, TLS, and one [`Inbound`] for every protocol.
//!
//! What is constant for a connection is resolved once, at the handshake, into a [`Connection`]. The body types of hyper's and
//! h3's agency sides are named in this module only, and the one body that can be sent is [`respond::Body`](crate::respond::Body).

mod connection;
pub mod counters;
mod door;
pub mod framing;
mod h1h2;
mod h3;
mod io;
pub mod listen;
pub mod meter;
pub mod tls;
pub mod trust;
mod waiting;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use popgate_policy::directory::{Identity, TlsVersion};
use rustls::pki_types::{CertificateDer, UnixTime};

pub use counters::Counters;
pub use door::Door;
pub use listen::{Options, Serving, serve};
pub use trust::{Trust, TrustError, Warning};

use crate::admit::{Place, Told};
use crate::identify::Verdict;

/// A request, the same for every protocol.
#[derive(Debug)]
pub struct Inbound {
    /// What it came over.
    pub connection: Arc<Connection>,
    /// The request. [`framing::check`] MUST be asked before anything of it is used.
    pub request: http::Request<ClientBody>,
}

/// What is constant for a connection, resolved once.
#[derive(Debug)]
pub struct Connection {
    /// Where it comes from.
    pub peer: SocketAddr,
    /// The TLS version.
    pub tls: TlsVersion,
    /// The protocol that ALPN chose.
    pub protocol: Protocol,
    /// The key exchange group, such as `X25519MLKEM768`.
    pub group: &'static str,
    /// The certificates that the client sent, its own first. Never empty.
    pub chain: Vec<CertificateDer<'static>>,
    /// What the client's certificate shows of who holds it.
    pub identities: Vec<Identity>,
    /// The last second in which the client's own certificate is valid: after it, no request may be answered.
    pub expires: UnixTime,
    /// What `identify` found last. Empty at first, also on a resumed connection: unchecked.
    pub verdict: ArcSwapOption<Verdict>,
    /// Its place among the connections of its system.
    pub place: Place,
    /// Until when it was told to wait.
    pub told: Told,
}

/// The protocols: the first two over TCP, the third over QUIC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Protocol {
    /// HTTP/1.1 (or 1.0).
    H1,
    /// HTTP/2.
    H2,
    /// HTTP/3.
    H3,
}

impl Protocol {
    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::H1 => "http/1.1",
            Self::H2 => "h2",
            Self::H3 => "h3",
        }
    }
}

/// A response extension: the connection is closed after this response (HTTP/1: `Connection: close`; HTTP/2 and 3: GOAWAY).
#[derive(Clone, Copy, Debug)]
pub struct CloseConnection;

/// The client's request body, the same for every protocol.
pub struct ClientBody(Source);

enum Source {
    Http(hyper::body::Incoming),
    Stream(Pin<Box<dyn Body<Data = Bytes, Error = BodyBroken>>>),
}

/// The client's body did not arrive whole: it went away, or broke the framing.
#[derive(Debug, thiserror::Error)]
#[error("the client's body did not arrive whole")]
pub struct BodyBroken(#[source] Box<dyn std::error::Error + Send + Sync>);

impl ClientBody {
    fn of_http(body: hyper::body::Incoming) -> Self {
        Self(Source::Http(body))
    }

    fn of_stream(body: impl Body<Data = Bytes, Error = BodyBroken> + 'static) -> Self {
        Self(Source::Stream(Box::pin(body)))
    }
}

impl fmt::Debug for ClientBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<the client's body>")
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BodyBroken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyBroken>>> {
        match &mut self.0 {
            Source::Http(body) => Pin::new(body).poll_frame(cx).map_err(|error| BodyBroken(Box::new(error))),
            Source::Stream(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Http(body) => body.is_end_stream(),
            Source::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Http(body) => body.size_hint(),
            Source::Stream(body) => body.size_hint(),
        }
    }
}
