//! Strict framing: what two parsers could read differently is refused (RFC 9112, sections 2.2, 3.2, 5.1, 6; CVE-2026-2835).
//!
//! What hyper 1.12 refuses by itself with a bare 400, before any service sees it: Transfer-Encoding in HTTP/1.0, a last
//! coding other than `chunked`, Content-Lengths that differ or are no number, obs-fold, a space before the colon, invalid
//! chunk sizes and their overflow. What it lets through and hides: Content-Length beside Transfer-Encoding (the length is
//! dropped), Content-Length given twice with one value, bare LF as a line's end. What it lets through visibly: repeated
//! or stacked Transfer-Encoding, no or two Hosts, an absolute target for another host, underscores in names.
//! The hidden ones are seen by an `Observer` on the decrypted bytes; [`check`] refuses all of them.
//! In HTTP/3, h3 0.0.8 refuses by itself names in upper case, missing `:method`, `:scheme` or `:path`, and an `:authority` that
//! differs from Host. What it hides: a pseudo-header field given twice or after others, and a DATA frame cut short; these are
//! seen below it. What it lets through visibly: connection headers, and a Content-Length that the body does not have.
//! Chunk extensions are read over, as RFC 9112, section 7.1.1, demands; hyper bounds them.

mod observe;

pub(super) use observe::Observer;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method, Version};

use super::Protocol;

/// Whether a request is framed so that nobody could read it differently. To be asked before anything else of it is used.
///
/// # Errors
/// What must be mended: the reason of [`Refusal::RequestMalformed`](crate::refusal::Refusal).
pub fn check(parts: &Parts, protocol: Protocol) -> Result<(), &'static str> {
    if let Some(Fault(reason)) = parts.extensions.get::<Fault>() {
        return Err(reason);
    }
    if parts.method == Method::CONNECT {
        return Err("do not use CONNECT");
    }
    if parts.headers.keys().any(|name| name.as_str().contains('_')) {
        return Err("do not use underscores in header names");
    }
    if parts.headers.get_all(CONTENT_LENGTH).iter().count() > 1 {
        return Err("send one Content-Length");
    }
    match protocol {
        Protocol::H1 => {
            check_coding(parts)?;
            check_host(parts)
        }
        Protocol::H2 => check_authority(parts),
        Protocol::H3 => {
            check_fields(parts)?;
            check_authority(parts)
        }
    }
}

/// What was seen on the wire, as an extension of the request that it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault(pub(super) &'static str);

fn check_coding(parts: &Parts) -> Result<(), &'static str> {
    let mut codings = parts.headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err("send Transfer-Encoding: chunked once, and no other coding");
    }
    if parts.headers.contains_key(CONTENT_LENGTH) {
        return Err(BOTH_LENGTHS);
    }
    Ok(())
}

fn check_host(parts: &Parts) -> Result<(), &'static str> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let Some(host) = hosts.next() else {
        return if parts.version == Version::HTTP_10 { Ok(()) } else { Err("send a Host header") };
    };
    if hosts.next().is_some() {
        return Err("send one Host header");
    }
    let host = authority(host.as_bytes())?;
    match parts.uri.authority() {
        Some(target) if *target != host => Err("the target names another host than the Host header"),
        _ => Ok(()),
    }
}

/// What hyper checks by itself in HTTP/2 (RFC 9114, sections 4.2 and 4.1.2). Against the length, the body is held as it comes.
fn check_fields(parts: &Parts) -> Result<(), &'static str> {
    let of_the_connection = [CONNECTION, TRANSFER_ENCODING, UPGRADE];
    if of_the_connection.iter().any(|name| parts.headers.contains_key(name))
        || ["keep-alive", "proxy-connection"].iter().any(|name| parts.headers.contains_key(*name))
    {
        return Err("do not send headers of the connection, such as Connection or Transfer-Encoding");
    }
    if parts.headers.get_all(TE).iter().any(|value| value != "trailers") {
        return Err("send no TE but `trailers`");
    }
    if parts.headers.contains_key(CONTENT_LENGTH) && content_length(&parts.headers).is_none() {
        return Err("Content-Length must be a number");
    }
    Ok(())
}

/// The length that the client announces, if it does so in a valid way.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(CONTENT_LENGTH)?.to_str().ok()?;
    // `parse` takes a sign, which the grammar does not.
    if !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    value.parse().ok()
}

fn check_authority(parts: &Parts) -> Result<(), &'static str> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next().map(|host| authority(host.as_bytes())).transpose()?;
    if hosts.next().is_some() {
        return Err("send one Host header");
    }
    match (parts.uri.authority(), host) {
        (Some(target), _) if target.as_str().contains('@') => Err(BAD_HOST),
        (Some(target), Some(host)) if *target != host => Err(":authority names another host than the Host header"),
        (None, None) => Err("send :authority"),
        _ => Ok(()),
    }
}

/// `Authority` compares without regard to case. It takes the grammar's rarer characters, of which no host name is made but
/// which others take for lists or user names: here they are refused.
fn authority(host: &[u8]) -> Result<Authority, &'static str> {
    let plain = host.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(byte));
    if plain { Authority::try_from(host).map_err(|_| BAD_HOST) } else { Err(BAD_HOST) }
}

const BAD_HOST: &str = "the host is not valid";
const BOTH_LENGTHS: &str = "send Content-Length or Transfer-Encoding, not both";

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(build: impl FnOnce(http::request::Builder) -> http::request::Builder) -> Parts {
        build(http::Request::builder()).body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_plain_request_is_let_through() {
        let h1 = parts(|r| r.uri("/a?b=c").header("host", "gateway.test").header("content-length", "3"));
        assert_eq!(check(&h1, Protocol::H1), Ok(()));
        let chunked = parts(|r| r.uri("/").header("host", "Gateway.test:8443").header("transfer-encoding", "Chunked"));
        assert_eq!(check(&chunked, Protocol::H1), Ok(()));
        let absolute = parts(|r| r.uri("https://gateway.TEST/a").header("host", "gateway.test"));
        assert_eq!(check(&absolute, Protocol::H1), Ok(()));
        assert_eq!(check(&parts(|r| r.uri("https://gateway.test/a")), Protocol::H2), Ok(()));
    }

    #[test]
    fn what_hyper_lets_through_visibly_is_refused() {
        let host = |r: http::request::Builder| r.uri("/").header("host", "g.test");
        let h1 = [
            parts(|r| r.uri("/")),
            parts(|r| host(r).header("host", "g.test")),
            parts(|r| r.uri("/").header("host", "")),
            parts(|r| r.uri("/").header("host", "user@g.test")),
            parts(|r| r.uri("/").header("host", "g.test/evil")),
            parts(|r| r.uri("/").header("host", "g.test,other.test")),
            parts(|r| r.uri("https://other.test/").header("host", "g.test")),
            parts(|r| host(r).header("transfer-encoding", "chunked").header("transfer-encoding", "chunked")),
            parts(|r| host(r).header("transfer-encoding", "gzip, chunked")),
            parts(|r| host(r).header("transfer-encoding", "chunked").header("content-length", "3")),
            parts(|r| host(r).header("content-length", "3").header("content-length", "3")),
            parts(|r| host(r).header("gateway_purpose", "x")),
            parts(|r| r.method("CONNECT").uri("g.test:443").header("host", "g.test:443")),
            parts(|r| host(r).extension(Fault("seen on the wire"))),
        ];
        for (n, parts) in h1.iter().enumerate() {
            assert!(check(parts, Protocol::H1).is_err(), "case {n}: {parts:?}");
        }
        let h2 = [
            parts(|r| r.uri("/")),
            parts(|r| r.uri("https://g.test/").header("host", "other.test")),
            parts(|r| r.uri("https://user@g.test/")),
            parts(|r| r.uri("https://g.test/").header("a_b", "x")),
        ];
        for (n, parts) in h2.iter().enumerate() {
            assert!(check(parts, Protocol::H2).is_err(), "case {n}: {parts:?}");
            assert!(check(parts, Protocol::H3).is_err(), "case {n}: {parts:?}");
        }
        let uri = |r: http::request::Builder| r.uri("https://g.test/");
        let h3 = [
            parts(|r| uri(r).header("connection", "close")),
            parts(|r| uri(r).header("transfer-encoding", "chunked")),
            parts(|r| uri(r).header("keep-alive", "timeout=5")),
            parts(|r| uri(r).header("te", "gzip")),
            parts(|r| uri(r).header("content-length", "+3")),
            parts(|r| uri(r).header("content-length", "3").header("content-length", "3")),
            parts(|r| uri(r).header("content-length", "99999999999999999999")),
        ];
        for (n, parts) in h3.iter().enumerate() {
            assert!(check(parts, Protocol::H3).is_err(), "case {n}: {parts:?}");
        }
        let honest = parts(|r| uri(r).header("te", "trailers").header("content-length", "3"));
        assert_eq!(check(&honest, Protocol::H3), Ok(()));
    }
}
