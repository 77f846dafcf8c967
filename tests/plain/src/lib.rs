//! A plain HTTP/1.1 caching reverse proxy over the [rules](popgate_caching::rules): with it the public suite is run, and collapsing tested.
//!
//! One origin, one connection to it for each request: what an origin sends beyond the end of a response can never be
//! taken for the next one. Trailers and interim responses are dropped.

mod body;
mod chunks;
mod fetch;
mod flight;
mod proxy;
mod serve;
mod store;

pub use body::{Body, Error};
pub use chunks::{Chunks, Reader};
pub use proxy::{Config, Proxy};
pub use serve::serve;
pub use store::{Entry, Memory, Store};
