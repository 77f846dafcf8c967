//! How a site narrows further what the policies permit.
//!
//! A plugin looks at a request for which there is a permit and answers with a [`Narrowing`]; the [`Chain`] asks the plugins of
//! `gateway.toml` in their order and puts each answer to [`Permit::narrow`], which can take away and nothing else. A plugin that
//! fails (an error, a panic, a deadline that passes) refuses the request, unless its table says `on_error = "ignore"`.
//!
//! From table to decision: the [`Registry`] finds the constructor of a `kind`, which reads its [`Settings`] and yields a
//! [`Blueprint`]; that is pure, so that `popgate check` can do it. When the node starts, the blueprint opens its [`Files`] and
//! yields the [`Plugin`]. This crate has no I/O of its own: files, registers and time are the gateway's, given as traits and
//! arguments. A kind that runs foreign code is one more constructor, in a crate of its own.
//!
//! [`Permit::narrow`]: popgate_policy::permit::Permit::narrow

mod catch;
mod chain;
mod configured;
pub mod keyed;
pub mod kinds;
mod plugin;
mod registry;
mod settings;

pub use chain::{Chain, Circumstances, Decided, Failure, Observer, OpenError, Reloaded, Stop, Stopped};
pub use configured::{AppliesTo, Configured, OnError};
pub use plugin::{
    Answer, Blueprint, Decision, Failed, Files, KeyedList, Lookup, Plugin, Question, Seen, Unanswered, Unusable,
};
pub use popgate_policy::narrow::{Narrowing, Scope};
pub use registry::{Constructor, Registry};
pub use settings::{Document, Mention, Named, Settings, Value};
