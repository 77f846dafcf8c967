//! Promise: nodes that share their limits through Redis let through together what one node may, whichever of them is asked;
//! while Redis is slow, gone or replaced, each admits by its own share, never without limit, and shares again soon after.

#![expect(clippy::print_stdout, reason = "what was measured")]

mod failures;
mod load;
pub(crate) mod server;
pub(crate) mod several;
mod sharing;
