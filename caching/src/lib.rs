//! The cache without its I/O: what may be kept and answered from it, where it is kept, and how it is purged. No clock is read here;
//! what is now is an argument.

pub mod mark;
pub mod purges;
pub mod rules;
pub mod spread;
pub mod store;
