//! Accepting operators: one small task a connection.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::AdminState;
use super::routes::{self, Who};
use crate::app::config::Operator;
use crate::certificate::identities;

/// Accepts for ever; the tasks end with the runtime.
pub(super) async fn accept(
    listener: TcpListener,
    tls: watch::Receiver<Arc<ServerConfig>>,
    operators: BTreeMap<String, Operator>,
    state: AdminState,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the admin listener cannot be used");
            return;
        }
    };
    let operators = Arc::new(operators);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "an admin connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            tracing::warn!("too many admin connections");
            continue;
        };
        let (tls, operators, state) = (tls.clone(), Arc::clone(&operators), state.clone());
        tokio::spawn(async move {
            if let Err(reason) = connection(stream, tls, &operators, state).await {
                tracing::info!(reason, "an admin connection ended");
            }
            drop(slot);
        });
    }
}

async fn connection(
    stream: TcpStream,
    mut tls: watch::Receiver<Arc<ServerConfig>>,
    operators: &BTreeMap<String, Operator>,
    state: AdminState,
) -> Result<(), String> {
    let acceptor = TlsAcceptor::from(Arc::clone(&tls.borrow_and_update()));
    let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream))
        .await
        .map_err(|_| "handshake took too long".to_owned())?
        .map_err(|error| format!("handshake failed: {error}"))?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let identities = certificate.and_then(|der| identities(der).ok()).unwrap_or_default();
    // Who could be two is neither.
    let mut known = operators.iter().filter(|(_, operator)| identities.contains(&operator.identity));
    let operator = known.next().filter(|_| known.next().is_none());
    let who = operator.map(|(name, operator)| Who {
        name: name.clone(),
        roles: operator.roles.clone(),
        register: operator.register.clone(),
    });
    let service = TowerToHyperService::new(routes::router(state, who));
    let http = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_headers(64)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(http);
    tokio::select! {
        ended = &mut http => return ended.map_err(|error| format!("{error}")),
        // New certificates: whoever may still come in, comes again.
        _ = tls.changed() => http.as_mut().graceful_shutdown(),
    }
    tokio::time::timeout(HANDSHAKE, http).await.map_or(Ok(()), |ended| ended.map_err(|error| format!("{error}")))
}

const MAX_CONNECTIONS: usize = 64;
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Longer than the usual time between two scrapes.
const IDLE: Duration = Duration::from_secs(75);
const PAUSE: Duration = Duration::from_millis(100);
