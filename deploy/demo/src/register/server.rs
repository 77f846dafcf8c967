//! The register's HTTPS: HTTP/1.1 and HTTP/2 by ALPN, a client certificate required.

use std::{convert::Infallible, future::Future, io, sync::Arc, time::Duration};

use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{Faults, Service, answer::answer};

/// Serves the synthetic population until `shutdown` is ready, then lets requests in flight finish for `GRACE` and closes.
///
/// Needs a tokio runtime with network and time, of any flavour. Connections that fail concern their peers only.
pub async fn serve(listener: TcpListener, tls: Arc<ServerConfig>, faults: Faults, shutdown: impl Future<Output = ()>) {
    serve_one(listener, tls, Service::default(), faults, shutdown).await;
}

/// [`serve`], of any register.
pub async fn serve_one(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    service: Service,
    faults: Faults,
    shutdown: impl Future<Output = ()>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let (stop, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (acceptor, service) = (acceptor.clone(), service.clone());
                    connections.spawn(connection(stream, acceptor, service, faults.clone(), stopping.clone()));
                }
                // Out of descriptors, most likely: others need a moment to close theirs.
                Err(_) => sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop((listener, stop));
    let _ = timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
}

/// TLS for [`serve`]: PEM of the certificate chain, of its key, and of the authorities whose clients are let in.
///
/// # Errors
/// Where a part is no PEM of its kind, key and certificate do not belong together, or there is no authority.
pub fn server_config(
    certificate: &[u8],
    key: &[u8],
    client_authorities: &[u8],
) -> Result<Arc<ServerConfig>, RegisterError> {
    let certificates = |pem, what| {
        let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().ok();
        chain.filter(|chain| !chain.is_empty()).ok_or(RegisterError::Pem(what))
    };
    let mut roots = RootCertStore::empty();
    for authority in certificates(client_authorities, "client authority certificate")? {
        roots.add(authority)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build()?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| RegisterError::Pem("private key"))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(certificate, "certificate")?, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Why a register does not start.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// What was looked for.
    #[error("no {0} in the PEM given for it")]
    Pem(&'static str),
    /// Certificate, key or versions.
    #[error("tls: {0}")]
    Tls(#[from] rustls::Error),
    /// The authorities.
    #[error("client authorities: {0}")]
    Authorities(#[from] rustls::server::VerifierBuilderError),
    /// The population's database.
    #[error(transparent)]
    Database(#[from] super::database::DatabaseError),
    /// `--database` with another register.
    #[error("only the population can be served from a database: leave out --database, or --register")]
    OnlyPopulation,
    /// Asked to print a record that does not exist.
    #[error("no citizen has this number")]
    Unknown,
    /// An address, file or thread; `what` is the operator's own word for it.
    #[error("`{what}`: {cause}")]
    Io {
        /// The address or file.
        what: String,
        /// What the system said.
        cause: io::Error,
    },
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    service: Service,
    faults: Faults,
    stopping: watch::Receiver<()>,
) {
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(stream)).await else { return };
    let _open = faults.connected();
    // Errors of a connection are the peer's, or what a fault asked for.
    let _ = speak(stream, service, &faults, stopping).await;
}

async fn speak(
    stream: TlsStream<TcpStream>,
    register: Service,
    faults: &Faults,
    mut stopping: watch::Receiver<()>,
) -> hyper::Result<()> {
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(|request: Request<Incoming>| {
        let (register, faults) = (register.clone(), faults.clone());
        async move { Ok::<_, Infallible>(answer(&request, &register, &faults).await) }
    });
    // The sender is dropped, never used: any change means stop.
    let stop = async move { while stopping.changed().await.is_ok() {} };
    let mut stop = std::pin::pin!(stop);
    macro_rules! until_stopped {
        ($connection:expr) => {{
            let mut connection = std::pin::pin!($connection);
            tokio::select! {
                result = &mut connection => return result,
                () = &mut stop => connection.as_mut().graceful_shutdown(),
            }
            connection.await
        }};
    }
    let stream = TokioIo::new(stream);
    if http2 {
        let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new()).max_concurrent_streams(STREAMS);
        until_stopped!(http.serve_connection(stream, service))
    } else {
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEADERS);
        until_stopped!(http.serve_connection(stream, service))
    }
}

/// How long requests in flight may take after the shutdown.
const GRACE: Duration = Duration::from_secs(2);
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Also how long an idle HTTP/1.1 connection is kept.
const HEADERS: Duration = Duration::from_secs(120);
const STREAMS: u32 = 1024;
