//! What a proxy does when more is asked of it than it can do: popgate beside others, on the same register, with the
//! same share of a processor, under the same load.
//!
//! The load is a multiple of what each of them can do alone, so that all are overloaded alike. Requests are of three
//! classes (emergency, interactive, batch), told apart by the system that asks. A second load asks whether the quiet
//! suffer from one that is not: all agencies but one ask for three tenths of the capacity together, and one for five
//! times the capacity.

mod crowd;
mod experiment;
mod proxy;
mod report;

pub use crowd::CLASSES;
pub use experiment::{Bench, Load, Point, Settings, generator};
pub use proxy::Kind;
pub use report::{Found, markdown};
