//! Promises of the listener, with real TLS clients over loopback.

mod harness;
mod http;
mod live;
mod mtls;
mod trust;
