//! What a record, as a register answers, says of itself to policies.

use bytes::Bytes;

use crate::contract::Operation;
use crate::disclose::json::capture;
use crate::disclose::{Unreadable, derived, only};
use crate::engine::Fact;

/// The attributes of a record. It holds what the record says about a person, and prints none of it.
pub struct Facts(Vec<Option<Owned>>);

/// As [`Fact`].
enum Owned {
    Text(String),
    Truth(bool),
}

impl Facts {
    /// Reads a record of the operation as the gateway does.
    ///
    /// # Errors
    /// If it is not strictly readable.
    pub fn read(operation: &Operation, record: &Bytes, today: jiff::civil::Date) -> Result<Self, Unreadable> {
        let schema = &operation.record;
        let found = capture(schema, schema.attributes.iter().map(|attribute| attribute.from).collect(), record)?;
        let owned = |attribute| match derived(attribute, only(&found, attribute.from), today)? {
            Fact::Text(text) => Some(Owned::Text(text.to_owned())),
            Fact::Truth(truth) => Some(Owned::Truth(truth)),
        };
        Ok(Self(schema.attributes.iter().map(owned).collect()))
    }

    /// By position in the schema's attributes.
    pub fn facts(&self) -> Vec<Option<Fact<'_>>> {
        self.0.iter().map(|owned| owned.as_ref().map(Owned::fact)).collect()
    }
}

impl Owned {
    fn fact(&self) -> Fact<'_> {
        match self {
            Self::Text(text) => Fact::Text(text),
            Self::Truth(truth) => Fact::Truth(*truth),
        }
    }
}

impl std::fmt::Debug for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<facts about a record, {} attributes>", self.0.len())
    }
}
