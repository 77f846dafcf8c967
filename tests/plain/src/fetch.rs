//! One request to the origin.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use popgate_caching::rules::{Asked, Times};
use tokio::net::TcpStream;

use super::body::Body;

/// Why the origin did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It cannot be reached, broke off, or what it said is not HTTP.
    Broken,
    /// It took too long.
    Slow,
}

/// Asks the origin, over a connection of its own.
pub(crate) async fn fetch(
    origin: SocketAddr,
    request: Request<Body>,
    at_most: Duration,
) -> Result<(Response<Incoming>, Times), Failure> {
    let asked_at = SystemTime::now();
    let response = tokio::time::timeout(at_most, send(origin, request)).await.map_err(|_| Failure::Slow)?;
    let response = response.ok_or(Failure::Broken)?;
    Ok((response, Times { asked_at, got_at: SystemTime::now() }))
}

async fn send(origin: SocketAddr, request: Request<Body>) -> Option<Response<Incoming>> {
    let stream = TcpStream::connect(origin).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    // It ends with the body of the response, or when that is dropped.
    tokio::spawn(connection);
    sender.send_request(request).await.ok()
}

/// The request as it goes on. With conditions of ours the client's own, and its range, stay behind.
pub(crate) fn onward(
    asked: &Asked<'_>,
    conditions: Option<&[(HeaderName, HeaderValue)]>,
    body: Body,
) -> Option<Request<Body>> {
    let mut headers = asked.headers.clone();
    popgate_caching::rules::drop_hop_by_hop(&mut headers);
    headers.remove(header::EXPECT);
    if let Some(conditions) = conditions {
        Asked::particular_fields().iter().for_each(|name| drop(headers.remove(name)));
        headers.extend(conditions.iter().cloned());
    }
    headers.append(header::VIA, HeaderValue::from_static("1.1 popgate-plain"));
    build(asked.method, asked.uri, headers, body)
}

fn build(method: &Method, uri: &Uri, headers: HeaderMap, body: Body) -> Option<Request<Body>> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder().method(method).uri(path).body(body).ok()?;
    *request.headers_mut() = headers;
    Some(request)
}
