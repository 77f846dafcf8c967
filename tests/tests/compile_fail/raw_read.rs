//! A register's answer cannot be read outside the policy crate.

use bytes::Bytes;
use popgate_policy::disclose::Raw;

fn field(raw: &Raw) -> &Bytes {
    &raw.0 //~ E0616
}

fn method(raw: &Raw) -> &Bytes {
    raw.bytes() //~ E0624
}

fn dereferenced(raw: &Raw) -> &[u8] {
    &**raw //~ E0614
}

fn as_reference(raw: &Raw) -> &[u8] {
    raw.as_ref() //~ E0599
}

fn converted(raw: Raw) -> Bytes {
    raw.into() //~ E0277
}

fn printed(raw: &Raw) -> String {
    format!("{raw}") //~ E0277
}

fn serialized(raw: &Raw) -> serde_json::Value {
    serde_json::to_value(raw).unwrap() //~ E0277
}

fn compared(raw: &Raw, other: &Raw) -> bool {
    raw == other //~ E0369
}

fn main() {}
