//! What was redacted cannot be answered with before its receipt is there.

use popgate::audit::{Closing, Pending};
use popgate::respond::Covered;
use popgate_policy::disclose::Redacted;

fn covered(redacted: Redacted, pending: Pending, closing: Closing) -> Covered {
    Covered { redacted, receipt: pending, closing, persons: vec![] } //~ E0308
}

fn main() {}
