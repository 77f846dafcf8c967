//! What is asked of the register.

use crate::contract::{Arguments, Method, Operation};
use crate::model::{Personal, RegisterId};

/// A request to a register: the same for every operation and caller that need the same record, so it is the cache key.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UpstreamRequest {
    /// The register.
    pub register: RegisterId,
    /// The method.
    pub method: Method,
    /// The expanded path, percent-encoded.
    pub target: Personal<String>,
}

impl Operation {
    /// Expands the upstream template. `None` if a parameter that it needs is not given.
    pub fn upstream_request(&self, _arguments: &Arguments) -> Option<UpstreamRequest> {
        None
    }
}
