//! `popgate-plain LISTEN ORIGIN [--cdn] [--heuristic] [--disconnected]`: a caching reverse proxy, for the public suite.

use std::net::SocketAddr;
use std::sync::Arc;

use plain::{Config, Memory, Proxy, serve};
use popgate_caching::rules::{Heuristic, Settings};

type Outcome = Result<(), Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let mut settings = Settings::default();
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--cdn" => settings.honour_cdn = true,
            "--heuristic" => settings.heuristic = Some(Heuristic::default()),
            "--disconnected" => settings.stale_when_disconnected = true,
            address => addresses.push(address.parse()?),
        }
    }
    let [listen, origin] = addresses.as_slice() else {
        return Err("usage: popgate-plain LISTEN ORIGIN [--cdn] [--heuristic] [--disconnected]".into());
    };
    let listener = tokio::net::TcpListener::bind(listen).await?;
    let proxy = Proxy::new(Config { settings, ..Config::new(*origin) }, Arc::new(Memory::new(10_000)));
    Ok(serve(listener, Arc::new(proxy)).await?)
}
