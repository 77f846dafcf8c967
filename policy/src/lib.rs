//! What may be seen.
//!
//! This crate holds every rule about who sees which field of whose record, and nothing else: it is pure and sans-I/O.
//! It knows no runtime, socket, clock or disk; bytes, time and keys are arguments. It is also the privacy wall of the
//! project: only here can a [`permit::Permit`] be made or a [`disclose::Raw`] be opened.
//!
//! The way through it, in the order of a request:
//!
//! 1. [`bundle::Bundle::load`] turns files into contracts, a directory of agencies and compiled policies;
//! 2. [`contract::Contracts::route`] and [`contract::Operation::arguments`] read a request strictly;
//! 3. [`bundle::Bundle::decide`] answers with a [`permit::Permit`] or a [`permit::Denial`];
//! 4. [`permit::Permit::narrow`] takes away what the site withholds on top;
//! 5. [`permit::Permit::open`] consumes the permit and a [`disclose::Raw`], and yields [`disclose::Redacted`] chunks.

pub mod analysis;
pub mod bundle;
pub mod cases;
pub mod cedar;
mod condition;
pub mod contract;
pub mod directory;
pub mod disclose;
mod document;
pub mod engine;
pub mod expiry;
pub mod model;
pub mod narrow;
pub mod permit;
pub mod problem;
pub mod seal;
pub mod shadow;
pub mod view;
pub mod xroad;
