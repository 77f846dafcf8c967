//! The reference deployment of the gateway in one process: PKI, synthetic registers, gateway, and a scenario that shows what
//! it does. The tests and the benches stand on the same parts.

pub mod client;
pub mod deployment;
pub mod postgres;
pub mod print;
pub mod register;
pub mod scenario;
pub mod tour;
