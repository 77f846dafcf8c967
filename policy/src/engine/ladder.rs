//! The order of treatments for one field.

use std::cmp::Ordering;

use crate::cedar::Force;
use crate::contract::Field;
use crate::model::{MaskKind, Treatment};

/// What a field can get, most revealing first: the value, its masks in the contract's order, a match, nothing.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Ladder {
    masks: Box<[MaskKind]>,
}

/// A rung of a [`Ladder`]: 0 reveals, higher hides more.
pub(crate) type Rank = usize;

/// What the policies that were looked at so far leave of a field.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Standing {
    /// The most revealing permit.
    best: Rank,
    /// The strictest forbid.
    cap: Rank,
}

impl Ladder {
    /// The ladder of that field.
    pub(crate) fn of(field: &Field) -> Self {
        Self { masks: field.masks.as_slice().into() }
    }

    /// The rung of a treatment; `None` for a mask that the contract does not allow for the field.
    pub(crate) fn rank(&self, treatment: Treatment) -> Option<Rank> {
        match treatment {
            Treatment::Reveal => Some(0),
            Treatment::Mask(mask) => self.masks.iter().position(|known| *known == mask).map(|at| at + 1),
            Treatment::Match => Some(self.masks.len() + 1),
            Treatment::Withhold => Some(self.bottom()),
        }
    }

    /// Where a field stands before any policy: nothing is permitted, nothing forbidden.
    pub(crate) fn start(&self) -> Standing {
        Standing { best: self.bottom(), cap: 0 }
    }

    /// Where it stands after one more satisfied policy.
    pub(crate) fn apply(&self, standing: Standing, force: Force) -> Standing {
        let Standing { best, cap } = standing;
        match force {
            // A permit through a mask that the contract does not allow for the field gives nothing.
            Force::Permit(treatment) => {
                Standing { best: self.rank(treatment).map_or(best, |rank| best.min(rank)), cap }
            }
            Force::Forbid => Standing { best, cap: self.bottom() },
            Force::Cap(treatment) => Standing { best, cap: cap.max(self.cap(treatment)) },
        }
    }

    /// What the field gets where it stands.
    pub(crate) fn treatment(&self, standing: Standing) -> Treatment {
        self.on(standing.best.max(standing.cap))
    }

    /// What is left of a treatment under a cap.
    pub(crate) fn at_most(&self, treatment: Treatment, cap: Rank) -> Treatment {
        self.on(self.rank(treatment).unwrap_or(self.bottom()).max(cap))
    }

    /// Every treatment that it may come to, most revealing first, if any of those forces may be satisfied and any may not.
    pub(crate) fn possible(&self, standing: Standing, forces: impl Iterator<Item = Force>) -> Vec<Treatment> {
        let (mut bests, mut caps) = (vec![standing.best], vec![standing.cap]);
        for force in forces {
            let after = self.apply(standing, force);
            bests.push(after.best);
            caps.push(after.cap);
        }
        let mut ranks: Vec<Rank> = bests.iter().flat_map(|best| caps.iter().map(|cap| *best.max(cap))).collect();
        ranks.sort_unstable();
        ranks.dedup();
        ranks.into_iter().map(|rank| self.on(rank)).collect()
    }

    /// The rung that a cap leaves. A mask that the field does not allow leaves the match, which hides more than any mask.
    pub(crate) fn cap(&self, treatment: Treatment) -> Rank {
        self.rank(treatment).unwrap_or(self.masks.len() + 1)
    }

    /// Which of two masks hides more: `Greater` if the second does. `None` if the contract does not allow both for the field.
    fn order(&self, first: MaskKind, second: MaskKind) -> Option<Ordering> {
        let at = |mask| self.masks.iter().position(|known| *known == mask);
        Some(at(second)?.cmp(&at(first)?))
    }

    /// The rung of nothing at all.
    fn bottom(&self) -> Rank {
        self.masks.len() + 2
    }

    /// The treatment on a rung; below the last there is nothing.
    fn on(&self, rank: Rank) -> Treatment {
        match rank.checked_sub(1) {
            None => Treatment::Reveal,
            Some(at) if at == self.masks.len() => Treatment::Match,
            Some(at) => self.masks.get(at).map_or(Treatment::Withhold, |mask| Treatment::Mask(*mask)),
        }
    }
}

/// How much `after` hides compared with `before`, of a field in an old and a new contract. `None` for two masks that the contracts do
/// not order alike: a contract cannot settle by its own order what another one gave.
pub(crate) fn hides(fields: [Option<&Field>; 2], before: Treatment, after: Treatment) -> Option<Ordering> {
    match (before, after) {
        (Treatment::Mask(first), Treatment::Mask(second)) if first != second => {
            let [old, new] = fields.map(|field| Ladder::of(field?).order(first, second));
            old.filter(|_| old == new)
        }
        (before, after) => Some(kind(after).cmp(&kind(before))),
    }
}

/// The higher the less is shown.
fn kind(treatment: Treatment) -> u8 {
    match treatment {
        Treatment::Reveal => 0,
        Treatment::Mask(_) => 1,
        Treatment::Match => 2,
        Treatment::Withhold => 3,
    }
}
