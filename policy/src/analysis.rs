//! What policies mean, for those who write and check them: who may see what ([`who`]), why ([`explain`]), and what a change would alter
//! ([`diff`]).
//!
//! All of it is decided by the tables that answer requests. What a table decides is a function of the request's circumstances and of the
//! returned record; conditions compare these with literals, so that a finite number of combinations stands for all of them (see
//! `analysis/unknown.rs`, `analysis/space.rs`). Where they do not, the result says that it is not exact, and why.

mod diff;
mod explain;
mod idle;
mod proof;
mod record;
mod scopes;
mod seat;
mod space;
mod unknown;
mod who;
mod whom;
mod words;

pub use diff::{Aspect, Because, Change, Diff, Direction, Verdict, diff};
pub use explain::{Answer, ConditionExplained, Explanation, FieldExplained, PolicyExplained, Situation, explain};
pub use idle::{Idle, idle};
pub use proof::{Obligation, Obligations, obligations};
pub use record::Facts;
pub use who::{Access, Bearing, who};
pub use words::{Case, Shown, treatment_words};

#[cfg(test)]
mod tests;
