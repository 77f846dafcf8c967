//! Promise: nodes that share their limits through Redis let through together what one node may, whichever of them is asked;
//! while Redis is slow, gone or replaced, each admits by its own share, never without limit, and shares again soon after.
#![cfg(test)]
#![expect(clippy::print_stdout, reason = "what was measured")]

#[path = "share/failures.rs"]
mod failures;
#[path = "share/load.rs"]
mod load;
#[path = "share/server.rs"]
mod server;
#[path = "share/sharing.rs"]
mod sharing;
