//! None of the proofs can be written down as a literal outside the module that makes it.

use bytes::Bytes;
use popgate::admit::Ticket;
use popgate::audit::{Closing, Receipt};
use popgate_policy::disclose::{Redacted, RedactedChunk, Tally};
use popgate_policy::model::{DisclosureId, FieldSet};
use popgate_policy::permit::Permit;
use popgate_policy::view::View;

fn receipt(disclosure: DisclosureId) -> Receipt {
    Receipt { disclosure, durable_upto: 0 } //~ E0451
}

fn chunk(disclosure: DisclosureId, bytes: Bytes) -> RedactedChunk {
    RedactedChunk { disclosure, last_seq: 0, bytes } //~ E0451
}

fn redacted(disclosure: DisclosureId, chunk: RedactedChunk) -> Redacted {
    Redacted { disclosure, chunks: vec![chunk], tally: Tally::default(), persons: vec![], media_type: None } //~ E0451
}

fn permit(permit: Permit, widest: FieldSet) -> Permit {
    Permit { widest, ..permit } //~ E0451
}

fn closing(other: Closing) -> Closing {
    let Closing { ticket, .. } = &other; //~ E0451
    other
}

fn view(other: View, bytes: Bytes) -> View {
    View { json: bytes, ..other } //~ E0451
}

fn ticket(other: &Ticket) {
    let Ticket { gates, .. } = other; //~ E0451
}

fn main() {}
