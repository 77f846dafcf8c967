//! Cedar: the schema generated from contracts and directory, the policies as read from files, and what is wrong with them.

mod parse;
mod schema;
mod scope;
mod speaks;
mod text;
mod validate;

pub use schema::schema_text;

pub use parse::Validity;
pub(crate) use parse::{Force, Phase, Read, Rule, parse};
pub(crate) use schema::{Model, entity, record_type, uid};
pub(crate) use scope::Lineage;
pub(crate) use speaks::Speaks;
pub(crate) use validate::{head, known_ids, lint, relied_on, validate};

/// The annotations that a policy may carry.
const ANNOTATIONS: [&str; 6] = ["id", "basis", "mask", "at_most", "valid_from", "valid_until"];
/// The name of the weakest disclosure in `@mask("match")` and `@at_most("match")`.
const MATCH: &str = "match";
