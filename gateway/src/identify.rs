//! identify.

/// What a check of a connection found.
#[derive(Debug)]
pub struct Verdict;
