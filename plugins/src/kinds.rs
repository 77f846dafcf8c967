//! The kinds of this crate.

use crate::registry::Constructor;

mod consent;
mod effect;
mod network;
mod office_hours;
pub mod opt_out;

pub(crate) const BUILT_IN: [(&str, Constructor); 4] = [
    ("consent", consent::read),
    ("network", network::read),
    ("office-hours", office_hours::read),
    ("opt-out", opt_out::read),
];
