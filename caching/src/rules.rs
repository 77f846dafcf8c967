//! HTTP caching for a shared cache, as pure rules: no I/O, no clock; what is now is an argument.
//!
//! RFC 9111 (caching), RFC 5861 (stale-while-revalidate, stale-if-error), RFC 9211 (`Cache-Status`), RFC 9213 (targeted
//! cache control), and of RFC 9110 what a cache answers itself: conditional requests (section 13) and ranges (14).
//! RFC 8246 (`immutable`) speaks to caches of one user and is ignored.
//!
//! The way of one request: [`Rulebook::answer`] says what to do with what is kept; [`Rulebook::reply`] shapes an answer
//! from it; [`Rulebook::keep`] judges a response that came; [`Rulebook::freshen`] takes a 304, [`Rulebook::head`] the
//! answer to a HEAD, and [`Rulebook::invalidated`] an answer to what may have changed something.

mod age;
mod answer;
mod cache_status;
mod conditions;
mod date;
mod directives;
mod fields;
mod freshness;
mod invalidate;
mod keep;
mod list;
mod range;
mod reply;
mod settings;
mod structured;
mod tag;
mod targeted;
#[cfg(test)]
mod tests;
mod update;
mod vary;

pub use answer::{Answer, Forward};
pub use cache_status::CacheStatus;
pub use conditions::{Judgement, evaluate};
pub use date::{parse as parse_date, seconds as since_epoch};
pub use directives::{Request as RequestDirectives, Response as ResponseDirectives, Scope};
pub use fields::{drop_hop_by_hop, is_hop_by_hop};
pub use freshness::{Policy, Says};
pub use keep::{NotStored, Stored, Times};
pub use reply::{Part, Reply};
pub use settings::{Asked, Heuristic, Limits, Settings};
pub use structured::{Item, dictionary};
pub use tag::Tag;
pub use targeted::{CDN, GATEWAY};
pub use update::{HeadEffect, Merged};
pub use vary::Variant;

/// The rules under one set of [`Settings`].
#[derive(Clone, Debug, Default)]
pub struct Rulebook {
    settings: Settings,
}

impl Rulebook {
    /// Rules under these settings.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// What they were made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}
