//! Chance that can be had again.

/// A sequence of numbers that look like chance, the same for the same seed (SplitMix64).
pub(super) struct Dice(u64);

impl Dice {
    /// The seed is mixed first: sequences of seeds that follow each other would be one sequence, begun one later.
    pub(super) fn new(seed: u64) -> Self {
        Self(mixed(seed.wrapping_mul(STEP)))
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mixed(self.0)
    }

    pub(super) fn below(&mut self, end: i64) -> i64 {
        i64::try_from(self.roll() % u64::try_from(end).unwrap()).unwrap()
    }

    pub(super) fn one_in(&mut self, many: i64) -> bool {
        self.below(many) == 0
    }

    pub(super) fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[usize::try_from(self.below(i64::try_from(all.len()).unwrap())).unwrap()]
    }
}

fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
