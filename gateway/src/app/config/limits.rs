//! `[limits]`: what becomes of limits on this node.

use super::read;
use super::section::Section;

/// `[limits]`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Whether limits refuse, or what they would refuse is only counted.
    pub enforced: bool,
}

pub(super) fn parse(section: Section<'_>) -> Limits {
    let modes = [("enforce", true), ("dry-run", false)];
    let enforced = section.optional("mode", |reader, value| read::one_of(reader, value, &modes)).unwrap_or(true);
    section.finish();
    Limits { enforced }
}
