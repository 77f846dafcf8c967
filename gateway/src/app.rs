//! What the stages stand on: configuration, the shared node, reload and shutdown.

pub mod bundle_files;
pub mod config;
pub mod diff;
pub mod logs;
pub mod watch;
