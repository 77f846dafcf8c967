//! Reading the OpenAPI documents of a bundle.

use crate::bundle::Source;
use crate::contract::Contracts;
use crate::problem::Problem;

/// Reads every `*.openapi.yaml` of the bundle; what is wrong goes to `problems`.
pub(crate) fn load(_source: &Source, _problems: &mut Vec<Problem>) -> Contracts {
    Contracts::default()
}
