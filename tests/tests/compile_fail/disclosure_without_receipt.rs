//! What was redacted cannot be answered with before its receipt is there.

use http::Response;
use popgate::admit::Ticket;
use popgate::audit::{Closing, Pending};
use popgate::respond::{self, Body};
use popgate_policy::disclose::Redacted;

fn answer(redacted: Redacted, pending: &Pending, closing: Closing, ticket: Ticket) -> Response<Body> {
    respond::disclosure(redacted, pending, closing, ticket, false).unwrap() //~ E0308
}

fn main() {}
