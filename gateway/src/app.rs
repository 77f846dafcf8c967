//! What the stages stand on: configuration, the shared node, reload and shutdown.

pub mod config;
