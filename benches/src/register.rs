//! A synthetic register of which nothing is real: every number has the same record of about a kilobyte, valid by the
//! population's contract, after a set time and at most so many at once.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::Failure;
use crate::site::Site;

/// How it answers.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// How long each answer takes once it is its turn.
    pub time: Duration,
    /// How many are answered at once; the others wait their turn.
    pub capacity: usize,
}

/// Serves on that port of loopback until the process ends, with the certificates of the site's folder `pki`: HTTP/1.1
/// and 2, for clients whose certificates are of the authority `clients` there; without one HTTP/1.1 in cleartext.
///
/// # Errors
/// If it cannot listen, or a file is missing.
pub fn serve(pki: &Path, clients: Option<&str>, port: u16, service: Service) -> Result<(), Failure> {
    let tls = clients.map(|clients| Site::register_tls(pki, clients)).transpose()?.map(TlsAcceptor::from);
    let turns = Arc::new(Semaphore::new(service.capacity.min(Semaphore::MAX_PERMITS)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    drop(tokio::spawn(connection(stream, tls.clone(), Arc::clone(&turns), service.time)))
                }
                // Out of descriptors, most likely: others need a moment to close theirs.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    })
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, turns: Arc<Semaphore>, time: Duration) {
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return speak(stream, false, turns, time).await };
    let Ok(stream) = tls.accept(stream).await else { return };
    let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    speak(stream, two, turns, time).await;
}

async fn speak<S>(stream: S, two: bool, turns: Arc<Semaphore>, time: Duration)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let turns = Arc::clone(&turns);
        async move {
            let _turn = turns.acquire().await;
            if !time.is_zero() {
                tokio::time::sleep(time).await;
            }
            Ok::<_, Infallible>(answer(request.uri().path()))
        }
    });
    let stream = TokioIo::new(stream);
    // Errors of a connection are the peer's.
    if two {
        let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await;
    } else {
        let _ = http1::Builder::new().serve_connection(stream, service).await;
    }
}

/// The gateway asks for `/persons/NUMBER`; proxies pass on what they are asked for.
fn answer(path: &str) -> Response<Full<Bytes>> {
    let number = path.strip_prefix("/persons/").or_else(|| path.strip_prefix("/population/v1/citizens/"));
    let known = number.filter(|number| number.len() == 12 && number.bytes().all(|byte| byte.is_ascii_digit()));
    let Some(number) = known else {
        let mut nobody = Response::new(Full::default());
        *nobody.status_mut() = if path == "/healthz" { StatusCode::OK } else { StatusCode::NOT_FOUND };
        return nobody;
    };
    let mut response = Response::new(Full::new(RECORD.replace("NUMBER", number).into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

const RECORD: &str = include_str!("register/record.json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_about_whom_it_was_asked_for_and_a_kilobyte_long() {
        let record = RECORD.replace("NUMBER", "066000000009");
        let json: serde_json::Value = serde_json::from_str(&record).unwrap();
        assert_eq!(json["id"], "066000000009");
        assert!((900..1200).contains(&record.len()), "{}", record.len());
    }

    #[test]
    fn only_numbers_of_twelve_digits_are_known() {
        assert_eq!(answer("/persons/066000000009").status(), StatusCode::OK);
        assert_eq!(answer("/population/v1/citizens/066000000009").status(), StatusCode::OK);
        assert_eq!(answer("/persons/06600000000").status(), StatusCode::NOT_FOUND);
        assert_eq!(answer("/healthz").status(), StatusCode::OK);
    }
}
