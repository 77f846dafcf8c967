//! A released chunk comes from `release` alone: a redacted chunk and a receipt.

use bytes::Bytes;
use popgate::audit::Receipt;
use popgate::respond::{self, Released};
use popgate_policy::disclose::RedactedChunk;

fn without_receipt(chunk: RedactedChunk) -> Released {
    Released(chunk.into_bytes()) //~ E0423
}

fn without_chunk(bytes: Bytes, receipt: &Receipt) -> Released {
    respond::release(bytes, receipt).unwrap() //~ E0308
}

fn read(released: Released) -> Bytes {
    released.0 //~ E0616
}

fn main() {}
