//! What the stages stand on: configuration, the node's state, reload and shutdown.

pub mod config;
pub mod node;
pub mod serve;

pub use node::{Core, Live, Node};
pub use serve::{Running, StartError, serve, start};
