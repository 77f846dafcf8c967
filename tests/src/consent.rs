//! A register of consents: HTTP/1.1 over TLS with client certificates, which says what a test tells it to.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as Listener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use popgate_demo::deployment::Site;
use popgate_demo::register::server_config;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// The service. Dropped, it stops.
#[derive(Debug)]
pub struct Consents {
    listener: Option<Listener>,
    address: SocketAddr,
    told: Arc<Mutex<Told>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What it answers, and what it was asked.
#[derive(Debug, Default)]
struct Told {
    by_target: HashMap<String, (u16, String)>,
    otherwise: Option<(u16, String)>,
    delay: Duration,
    asked: Vec<String>,
}

impl Consents {
    /// Takes a port; nothing is answered yet.
    ///
    /// # Panics
    /// If there is no port.
    #[expect(clippy::panic, reason = "a service that does not start ends the test")]
    pub fn reserve() -> Self {
        let bound =
            Listener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| Ok((listener.local_addr()?, listener)));
        match bound {
            Ok((address, listener)) => {
                Self { listener: Some(listener), address, told: Arc::default(), stop: None, thread: None }
            }
            Err(error) => panic!("no port for the register of consents: {error}"),
        }
    }

    /// `[registers.consent]` of a deployment's `gateway.toml`.
    pub fn settings(&self) -> String {
        format!(
            "[registers.consent]\nendpoints = [\"https://localhost:{}\"]\nca = \"pki/site.pem\"\n\
             certificate = \"pki/gateway-to-register.pem\"\nkey = \"pki/gateway-to-register.key\"\n",
            self.address.port()
        )
    }

    /// Serves with the site's certificates.
    ///
    /// # Panics
    /// If the certificates cannot be used.
    #[expect(clippy::panic, reason = "a service that does not start ends the test")]
    pub fn serve(&mut self, site: &Site) {
        if let Err(error) = self.start(site) {
            panic!("the register of consents: {error}");
        }
    }

    /// What it answers about a target from now on.
    pub fn says(&self, target: &str, status: u16, body: &str) {
        self.told().by_target.insert(target.to_owned(), (status, body.to_owned()));
    }

    /// What it answers about any other target; 404 if nothing was said.
    pub fn says_otherwise(&self, status: u16, body: &str) {
        self.told().otherwise = Some((status, body.to_owned()));
    }

    /// How long it takes from now on.
    pub fn takes(&self, delay: Duration) {
        self.told().delay = delay;
    }

    /// What it was asked: `GET target`, in order.
    pub fn asked(&self) -> Vec<String> {
        self.told().asked.clone()
    }

    /// Stops it: nobody listens any more.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    fn start(&mut self, site: &Site) -> Result<(), Box<dyn std::error::Error>> {
        let pem = |name: &str| fs::read(site.dir().join("pki").join(name));
        let tls = server_config(&pem("register.pem")?, &pem("register.key")?, &pem("site.pem")?)?;
        // The synthetic register speaks HTTP/2 too; this one does not.
        let mut tls = rustls::ServerConfig::clone(&tls);
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = self.listener.take().ok_or("it serves already")?;
        listener.set_nonblocking(true)?;
        let (stop, stopped) = oneshot::channel();
        let told = Arc::clone(&self.told);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        self.thread = Some(std::thread::Builder::new().name("consents".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = accept(listener, acceptor, told) => {}
                }
            });
        })?);
        self.stop = Some(stop);
        Ok(())
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Consents {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn accept(listener: Listener, acceptor: TlsAcceptor, told: Arc<Mutex<Told>>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, told) = (acceptor.clone(), Arc::clone(&told));
        tokio::spawn(async move {
            // Who shows no certificate is not served.
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request: Request<Incoming>| {
                let told = Arc::clone(&told);
                async move { Ok::<_, Infallible>(answer(&request, &told).await) }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: &Request<Incoming>, told: &Mutex<Told>) -> Response<Full<Bytes>> {
    let target = request.uri().to_string();
    let (said, delay) = {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        told.asked.push(format!("{} {target}", request.method()));
        let said = told.by_target.get(&target).or(told.otherwise.as_ref()).cloned();
        (said, told.delay)
    };
    tokio::time::sleep(delay).await;
    let (status, body) = said.unwrap_or((404, "{}".into()));
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
