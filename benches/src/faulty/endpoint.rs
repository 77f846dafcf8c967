//! The register's process: its endpoints, and what becomes of a request at one that fails.

use std::io::{self, BufRead as _, Write as _};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Fault, Files, SERVICE};
use crate::Failure;

/// The record of a person, by number: JSON.
pub type Record = fn(&str) -> String;

/// Serves until the standard input ends. Meant for a process of its own.
///
/// # Errors
/// If a file is no such file, or a port is taken.
pub fn serve(files: &Files, ports: &[u16], record: Record) -> Result<(), Failure> {
    let tls = TlsAcceptor::from(Arc::new(tls(files)?));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (lines, mut commands) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                break;
            }
        }
    });
    runtime.block_on(async {
        let mut endpoints = Vec::new();
        for port in ports {
            let (tell, fault) = watch::channel(Fault::Well);
            let endpoint = Endpoint { port: *port, tls: tls.clone(), fault, asked: Arc::default(), record };
            endpoints.push((tell, Arc::clone(&endpoint.asked)));
            let listener = endpoint.bind().await?;
            tokio::spawn(endpoint.run(listener));
        }
        while let Some(line) = commands.recv().await {
            let answer = obey(&endpoints, &line).unwrap_or_else(|wrong| wrong);
            // So that who reads the answer finds it done.
            tokio::task::yield_now().await;
            let mut out = io::stdout().lock();
            writeln!(out, "{answer}")?;
            out.flush()?;
        }
        Ok(())
    })
}

type Handle = (watch::Sender<Fault>, Arc<AtomicU64>);

fn obey(endpoints: &[Handle], line: &str) -> Result<String, String> {
    if line == "asked" {
        let counts: Vec<_> = endpoints.iter().map(|(_, asked)| asked.load(Ordering::Relaxed).to_string()).collect();
        return Ok(counts.join(" "));
    }
    let (endpoint, fault) = line.split_once(' ').ok_or("what is that?")?;
    let at: usize = endpoint.parse().map_err(|_| "no number of an endpoint")?;
    let (tell, _) = endpoints.get(at).ok_or("no such endpoint")?;
    tell.send_replace(fault.parse()?);
    Ok("ok".to_owned())
}

#[derive(Clone)]
struct Endpoint {
    port: u16,
    tls: TlsAcceptor,
    fault: watch::Receiver<Fault>,
    asked: Arc<AtomicU64>,
    record: Record,
}

impl Endpoint {
    async fn bind(&self) -> io::Result<TcpListener> {
        TcpListener::bind(("127.0.0.1", self.port)).await
    }

    async fn run(self, listener: TcpListener) {
        let mut listener = Some(listener);
        loop {
            let mut fault = self.fault.clone();
            match listener.take() {
                Some(open) => {
                    tokio::select! {
                        biased;
                        // The listener goes; connections see it for themselves.
                        _ = fault.wait_for(|fault| *fault == Fault::Killed) => {}
                        () = self.accept(&open) => listener = Some(open),
                    }
                }
                None => {
                    if fault.wait_for(|fault| *fault != Fault::Killed).await.is_err() {
                        return;
                    }
                    listener = self.bind().await.ok();
                    if listener.is_none() {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
            }
        }
    }

    /// Accepts one connection.
    async fn accept(&self, listener: &TcpListener) {
        self.thawed().await;
        if let Ok((tcp, _)) = listener.accept().await {
            let endpoint = self.clone();
            tokio::spawn(async move {
                let mut fault = endpoint.fault.clone();
                let killed = fault.wait_for(|fault| *fault == Fault::Killed);
                tokio::select! {
                    _ = killed => {}
                    _ = endpoint.connection(tcp) => {}
                }
            });
        }
    }

    async fn connection(&self, tcp: TcpStream) -> io::Result<()> {
        self.thawed().await;
        tcp.set_nodelay(true)?;
        let mut line = self.tls.accept(tcp).await?;
        let mut received = Vec::new();
        loop {
            let Some(head) = head(&mut line, &mut received).await? else { return line.shutdown().await };
            self.thawed().await;
            let path = head.split(' ').nth(1).unwrap_or_default();
            let number = path.rsplit('/').next().unwrap_or_default();
            let is_check = path == CHECK;
            let asked = if is_check { 0 } else { self.asked.fetch_add(1, Ordering::Relaxed) };
            let record = if is_check { "{}".to_owned() } else { (self.record)(number) };
            if !self.answer(&mut line, number, &record, asked).await? {
                return Ok(());
            }
        }
    }

    /// Answers one request; whether the connection may be used again.
    async fn answer(
        &self,
        line: &mut TlsStream<TcpStream>,
        number: &str,
        record: &str,
        asked: u64,
    ) -> io::Result<bool> {
        let fault = *self.fault.borrow();
        let length = record.len();
        let half = record.get(..length / 2).unwrap_or_default();
        if let Fault::Slow(times) = fault {
            tokio::time::sleep(SERVICE * times).await;
        } else {
            tokio::time::sleep(SERVICE).await;
        }
        match fault {
            Fault::Status(status, percent) if mixed(asked) % 100 < u64::from(percent) => {
                send(line, &format!("{}{FAILED}", head_of(status, FAILED.len()))).await?;
                Ok(true)
            }
            Fault::Well | Fault::Killed | Fault::Frozen | Fault::Status(..) | Fault::Slow(_) => {
                send(line, &format!("{}{record}", head_of(200, length))).await?;
                Ok(true)
            }
            Fault::OtherPerson => {
                let other = (self.record)(&neighbour(number));
                send(line, &format!("{}{other}", head_of(200, other.len()))).await?;
                Ok(true)
            }
            Fault::LengthTooSmall => {
                send(line, &format!("{}{record}", head_of(200, length / 2))).await?;
                Ok(true)
            }
            Fault::LengthTooLarge => {
                send(line, &format!("{}{record}", head_of(200, length + 100))).await?;
                line.shutdown().await?;
                Ok(false)
            }
            Fault::Silent => {
                self.over(line).await;
                Ok(false)
            }
            Fault::HungAfterHead => {
                send(line, &head_of(200, length)).await?;
                self.over(line).await;
                Ok(false)
            }
            Fault::Drip => {
                send(line, &head_of(200, length)).await?;
                for byte in record.as_bytes() {
                    line.write_all(&[*byte]).await?;
                    line.flush().await?;
                    tokio::time::sleep(DRIP).await;
                    if *self.fault.borrow() != Fault::Drip {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Fault::ResetMidBody => {
                send(line, &format!("{}{half}", head_of(200, length))).await?;
                tokio::time::sleep(Duration::from_millis(1)).await;
                line.get_ref().0.set_zero_linger()?;
                Ok(false)
            }
            Fault::Garbage => {
                let bytes: Vec<u8> = (0..256).flat_map(|n| mixed(asked ^ (n << 32)).to_le_bytes()).collect();
                line.write_all(&bytes).await?;
                line.flush().await?;
                line.shutdown().await?;
                Ok(false)
            }
        }
    }

    /// While the process is as if stopped, nothing goes on.
    async fn thawed(&self) {
        let _ = self.fault.clone().wait_for(|fault| *fault != Fault::Frozen).await;
    }

    /// Until the other end gives up, or the fault is over.
    async fn over(&self, line: &mut TlsStream<TcpStream>) {
        let mut fault = self.fault.clone();
        let now = *fault.borrow();
        let mut rest = [0; 1024];
        let gone = pin!(async { while line.read(&mut rest).await.is_ok_and(|read| read > 0) {} });
        tokio::select! {
            _ = fault.wait_for(|fault| *fault != now) => {}
            () = gone => {}
        }
    }
}

/// A request's head; `None` at the end of the connection. Requests have no bodies.
async fn head(line: &mut TlsStream<TcpStream>, received: &mut Vec<u8>) -> io::Result<Option<String>> {
    loop {
        if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = received.drain(..end + 4).collect();
            return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
        }
        if received.len() > MOST_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if line.read_buf(received).await? == 0 {
            return Ok(None);
        }
    }
}

async fn send(line: &mut TlsStream<TcpStream>, text: &str) -> io::Result<()> {
    line.write_all(text.as_bytes()).await?;
    line.flush().await
}

fn head_of(status: u16, length: usize) -> String {
    format!("HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n")
}

/// The same number but for the last digit.
fn neighbour(number: &str) -> String {
    let mut digits: Vec<char> = number.chars().collect();
    if let Some(last) = digits.last_mut() {
        *last =
            if *last == '9' { '0' } else { char::from_digit(last.to_digit(10).unwrap_or(0) + 1, 10).unwrap_or('0') };
    }
    digits.into_iter().collect()
}

/// Looks like chance, and is the same each time (SplitMix64's last step).
fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn tls(files: &Files) -> Result<ServerConfig, Failure> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_file_iter(&files.client_ca)? {
        roots.add(authority?)?;
    }
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let chain = CertificateDer::pem_file_iter(&files.certificate)?.collect::<Result<_, _>>()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(&files.key)?)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

const CHECK: &str = "/healthz";
const FAILED: &str = r#"{"error":"failed"}"#;
const DRIP: Duration = Duration::from_millis(100);
const MOST_HEAD: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_about_that_share_and_a_neighbour_is_somebody_else() {
        let failed = (0..10_000).filter(|asked| mixed(*asked) % 100 < 50).count();
        assert!((4_800..5_200).contains(&failed), "{failed}");
        assert_eq!(neighbour("001187000001"), "001187000002");
        assert_eq!(neighbour("001187000009"), "001187000000");
    }
}
