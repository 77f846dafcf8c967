//! A redacted chunk cannot be made, relabelled or duplicated outside the policy crate.

use bytes::Bytes;
use popgate_policy::disclose::{Redacted, RedactedChunk};
use popgate_policy::model::DisclosureId;

fn from_bytes(bytes: Bytes) -> RedactedChunk {
    bytes.into() //~ E0277
}

fn relabel(chunk: &mut RedactedChunk, disclosure: DisclosureId) {
    chunk.disclosure = disclosure; //~ E0616
}

fn duplicate(chunk: &RedactedChunk) -> RedactedChunk {
    <RedactedChunk as Clone>::clone(chunk) //~ E0277
}

fn spliced(redacted: &mut Redacted, chunk: RedactedChunk) {
    redacted.chunks.push(chunk); //~ E0616
}

fn main() {}
