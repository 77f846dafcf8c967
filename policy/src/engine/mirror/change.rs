//! Whether a field is shown more or less than before.

use std::cmp::Ordering;

use super::Found;
use crate::engine::hides;
use crate::model::{FieldIx, Treatment};

/// What became of what is shown of a field.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Change {
    /// It is shown less.
    Less,
    /// It is shown as before.
    Same,
    /// It is shown more.
    More,
}

impl Found {
    /// From one treatment of a field, by `old`, to another, by this. Two masks that the contracts of both do not order alike count as
    /// more, so that somebody looks.
    pub fn change(&self, field: FieldIx, old: Option<&Self>, before: Treatment, after: Treatment) -> Change {
        let new = self.operation.record.field(field);
        let known = new.and_then(|new| old?.operation.record.field_named(new.name.as_str()));
        match hides([known, new], before, after) {
            Some(Ordering::Greater) => Change::Less,
            Some(Ordering::Equal) => Change::Same,
            Some(Ordering::Less) | None => Change::More,
        }
    }
}

/// Whether an answer shows something of the field, as it is or through a mask.
pub fn shows(treatment: Treatment) -> bool {
    matches!(treatment, Treatment::Reveal | Treatment::Mask(_))
}
