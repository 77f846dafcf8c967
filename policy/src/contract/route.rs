//! From a method and a path to an operation.

use std::sync::Arc;

use crate::contract::{Contracts, Operation};
use crate::model::Personal;

/// Where a request goes.
#[derive(Debug)]
pub enum Route<'a> {
    /// To this operation.
    Operation(&'a Arc<Operation>, Captures),
    /// The path exists, with these other methods.
    MethodNotAllowed(Vec<&'static str>),
    /// Nowhere.
    NotFound,
}

/// The path parameters that a template captured, in the template's order, still percent-encoded.
#[derive(Clone, Debug, Default)]
pub struct Captures(pub(crate) Vec<Personal<String>>);

/// The compiled routing table.
#[derive(Debug, Default)]
pub(crate) struct Routes {}

impl Contracts {
    /// Finds the operation for a request. `HEAD` is routed as `GET`. A path with an encoded slash, an empty or a dot
    /// segment is routed nowhere: what two parsers could read differently is not for us to interpret.
    pub fn route(&self, _method: &str, _path: &str) -> Route<'_> {
        Route::NotFound
    }
}
