//! What the stages stand on: configuration, the node's state, reload and shutdown.

pub mod break_glass;
pub mod bundle_files;
pub mod bundle_store;
pub mod bundles;
mod cache;
mod changes;
pub mod config;
pub mod diff;
pub mod logs;
pub mod node;
pub mod overload;
pub mod plugins;
mod reads;
pub mod seals;
pub mod serve;
pub mod shadow;
pub mod status;
pub mod suspensions;
mod tables;
pub mod trace;
pub mod watch;

pub use node::{Core, Live, Node};
pub use serve::{Running, StartError, serve, start};
