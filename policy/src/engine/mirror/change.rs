//! Whether a field is shown more or less than before.

use super::Found;
use crate::model::{FieldIx, MaskKind, Treatment};

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
    /// From one treatment of a field to another. Of two masks the contract's order says which hides more; one that it does not know
    /// counts as more, so that somebody looks.
    pub fn change(&self, field: FieldIx, before: Treatment, after: Treatment) -> Change {
        let known = self.operation.record.field(field);
        let hides = |mask: MaskKind| known.and_then(|field| field.masks.iter().position(|it| *it == mask));
        match (before, after) {
            (before, after) if before == after => Change::Same,
            (Treatment::Mask(before), Treatment::Mask(after)) => match (hides(before), hides(after)) {
                (Some(before), Some(after)) if after > before => Change::Less,
                _ => Change::More,
            },
            (before, after) if rung(after) > rung(before) => Change::Less,
            _ => Change::More,
        }
    }
}

/// The higher the less is shown.
fn rung(treatment: Treatment) -> u8 {
    match treatment {
        Treatment::Reveal => 0,
        Treatment::Mask(_) => 1,
        Treatment::Match => 2,
        Treatment::Withhold => 3,
    }
}

/// Whether an answer shows something of the field, as it is or through a mask.
pub fn shows(treatment: Treatment) -> bool {
    matches!(treatment, Treatment::Reveal | Treatment::Mask(_))
}
