//! The strict one-pass JSON redactor.

/// The deepest nesting of objects and arrays that is read.
pub const MAX_DEPTH: usize = 64;
