//! The protocol adapters take no other body than `respond::Body`.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use popgate::accept::{self, Counters, Inbound, Options, Trust};
use popgate::clock::Clock;

fn serve(options: Options, trust: tokio::sync::watch::Receiver<Arc<Trust>>, clock: Clock, counters: Arc<Counters>) {
    let _ = accept::serve(options, trust, clock, counters, |_core| { //~ E0271
        |_inbound: Inbound| async { http::Response::new(Full::new(Bytes::from_static(b"everything"))) }
    });
}

fn main() {
    let _: Option<Infallible> = None;
}
