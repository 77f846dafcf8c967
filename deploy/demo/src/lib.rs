//! The reference deployment of the gateway in one process: synthetic registers, and what is needed to try them.

pub mod register;
