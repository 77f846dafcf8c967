//! The popgate appliance.
//!
//! [`pipeline`] tells the life of a request once; every other module is one stage of it, named by its verb, or what the
//! stages stand on ([`app`], [`suspend`], [`metrics`], [`clock`], [`custody`]). A stage may import another stage's proof type, never its functions.

pub mod accept;
pub mod admin;
pub mod admit;
pub mod app;
pub mod audit;
mod beside;
pub mod break_glass;
pub mod cache;
pub mod certificate;
pub mod changes;
pub mod cli;
pub mod clock;
pub mod custody;
pub mod decide;
pub mod forward;
pub mod gather;
pub mod identify;
pub mod listing;
pub mod manifest;
pub mod metrics;
pub mod narrow;
mod networks;
pub mod pipeline;
pub mod pki;
pub mod publish;
pub mod records;
pub mod redact;
pub mod refusal;
pub mod replay;
pub mod respond;
pub mod route;
pub mod share;
pub mod signed;
pub mod suspend;
pub mod whoami;
pub mod xroad;
