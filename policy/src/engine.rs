//! The engine: from policies to permits.

use crate::bundle::Source;
use crate::contract::Contracts;
use crate::directory::Directory;
use crate::permit::{Ask, Denial, Permit};
use crate::problem::Problem;

/// The policies of one bundle, validated and sliced.
#[derive(Debug)]
pub struct Engine {}

/// What one (system, operation, purpose) gets of each field, as far as it is known before the request.
#[derive(Debug)]
pub struct Table {}

impl Engine {
    /// Parses, validates and slices `policies/*.cedar`; what is wrong goes to `problems`, `None` if nothing can be compiled.
    pub(crate) fn compile(
        _source: &Source,
        _contracts: &Contracts,
        _directory: &Directory,
        _problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        Some(Self {})
    }

    pub(crate) fn decide(&self, _ask: Ask<'_>) -> Result<Permit, Denial> {
        Err(Denial::Nothing)
    }
}
