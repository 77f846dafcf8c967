//! cli.
pub mod audit;
