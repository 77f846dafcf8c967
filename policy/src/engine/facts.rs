//! What a returned record says of itself, for `context.record` in policies.

use std::fmt;

/// The value of one of a record's attributes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fact<'a> {
    /// Of an attribute that is the leaf's own text; a Cedar `String`.
    Text(&'a str),
    /// Of an attribute that is true or false; a Cedar `Bool`.
    Truth(bool),
}

/// Tells the attribute at that position of [`crate::contract::RecordSchema::attributes`]; `None` if the record does not have it in
/// the form that the contract says: a policy that asks for it fails.
pub(crate) type Facts<'f, 'a> = &'f dyn Fn(usize) -> Option<Fact<'a>>;

// What a record says is about a person.
impl fmt::Debug for Fact<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "<text, {} bytes>", text.len()),
            Self::Truth(_) => f.write_str("<truth>"),
        }
    }
}
