//! How many different persons there were, in little memory and without keeping who they were.

use std::fmt;

use super::Unreadable;

/// A count of different keyed hashes. It is exact up to 256 (but for two that agree in their upper 32 bits, one
/// chance in 100,000), then a HyperLogLog of 2,048 registers with a standard error of 2.3 % at any count. What is in
/// two sketches counts once in their union, and the union is as exact as either.
///
/// Only the upper 32 bits of a hash are used: at ten million persons that hides 0.1 % of them, at 86 million 1 %.
///
/// The hashes MUST be keyed, under a key that no caller of the gateway knows: who can choose hashes can make the
/// count say anything, and who has the key can try which numbers are in a small sketch. `Debug` says only how many.
#[derive(Clone)]
pub struct Sketch(Form);

#[derive(Clone)]
enum Form {
    /// The hashes, in ascending order, each once.
    Few(Vec<u32>),
    Many(Box<Registers>),
}

// INVARIANT: `counts` says how many of `ranks` there are of each.
#[derive(Clone)]
struct Registers {
    ranks: [u8; REGISTERS],
    counts: [u16; RANKS],
}

impl Sketch {
    /// Counts a hash; whether it changed anything.
    pub fn insert(&mut self, hash: u64) -> bool {
        self.insert_short((hash >> 32) as u32)
    }

    /// Counts all that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        match &other.0 {
            Form::Few(hashes) => hashes.iter().for_each(|hash| {
                self.insert_short(*hash);
            }),
            Form::Many(theirs) => match &mut self.0 {
                Form::Many(ours) => ours.merge(theirs),
                Form::Few(hashes) => {
                    let mut union = theirs.clone();
                    hashes.iter().for_each(|hash| {
                        union.insert(*hash);
                    });
                    self.0 = Form::Many(union);
                }
            },
        }
    }

    /// How many different hashes were counted, more or less.
    pub fn estimate(&self) -> f64 {
        match &self.0 {
            Form::Few(hashes) => hashes.len() as f64,
            Form::Many(registers) => registers.estimate(),
        }
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Form::Few(hashes) if hashes.is_empty())
    }

    /// Gives back memory that only further hashes would need.
    pub fn shrink(&mut self) {
        if let Form::Few(hashes) = &mut self.0 {
            hashes.shrink_to_fit();
        }
    }

    /// The bytes that this takes on the heap: 2,094 at most.
    pub fn heap(&self) -> usize {
        match &self.0 {
            Form::Few(hashes) => hashes.capacity() * size_of::<u32>(),
            Form::Many(_) => size_of::<Registers>(),
        }
    }

    /// Appends the sketch to `out`: how many hashes (16 bits, little-endian) and the hashes, or 65,535 and the
    /// registers.
    pub fn write(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Form::Few(hashes) => {
                out.extend(u16::try_from(hashes.len()).unwrap_or(MANY).to_le_bytes());
                out.extend(hashes.iter().flat_map(|hash| hash.to_le_bytes()));
            }
            Form::Many(registers) => {
                out.extend(MANY.to_le_bytes());
                out.extend(registers.ranks);
            }
        }
    }

    /// Takes a sketch from the front of `bytes`.
    ///
    /// # Errors
    /// [`Unreadable::Damaged`] for what [`Sketch::write`] does not write.
    pub fn read(bytes: &mut &[u8]) -> Result<Self, Unreadable> {
        let (head, rest) = bytes.split_first_chunk().ok_or(Unreadable::Damaged)?;
        let count = u16::from_le_bytes(*head);
        if count == MANY {
            let (ranks, rest) = rest.split_first_chunk().ok_or(Unreadable::Damaged)?;
            *bytes = rest;
            return Ok(Self(Form::Many(Box::new(Registers::new(*ranks)?))));
        }
        let (hashes, rest) = rest.split_at_checked(usize::from(count) * size_of::<u32>()).ok_or(Unreadable::Damaged)?;
        *bytes = rest;
        let (chunks, _) = hashes.as_chunks();
        let hashes: Vec<u32> = chunks.iter().map(|chunk| u32::from_le_bytes(*chunk)).collect();
        if hashes.len() > FEW || !hashes.is_sorted_by(|one, next| one < next) {
            return Err(Unreadable::Damaged);
        }
        Ok(Self(Form::Few(hashes)))
    }

    fn insert_short(&mut self, hash: u32) -> bool {
        let hashes = match &mut self.0 {
            Form::Many(registers) => return registers.insert(hash),
            Form::Few(hashes) => hashes,
        };
        let Err(at) = hashes.binary_search(&hash) else { return false };
        if hashes.len() < FEW {
            hashes.insert(at, hash);
        } else {
            let mut registers = Box::new(Registers::default());
            hashes.iter().chain([&hash]).for_each(|hash| {
                registers.insert(*hash);
            });
            self.0 = Form::Many(registers);
        }
        true
    }
}

impl Default for Sketch {
    fn default() -> Self {
        Self(Form::Few(Vec::new()))
    }
}

impl fmt::Debug for Sketch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sketch(about {:.0})", self.estimate())
    }
}

impl Default for Registers {
    fn default() -> Self {
        let mut counts = [0; RANKS];
        if let Some(zeros) = counts.first_mut() {
            *zeros = REGISTERS as u16;
        }
        Self { ranks: [0; REGISTERS], counts }
    }
}

impl Registers {
    fn new(ranks: [u8; REGISTERS]) -> Result<Self, Unreadable> {
        let mut counts = [0; RANKS];
        for rank in ranks {
            *counts.get_mut(usize::from(rank)).ok_or(Unreadable::Damaged)? += 1;
        }
        Ok(Self { ranks, counts })
    }

    fn insert(&mut self, hash: u32) -> bool {
        let rank = (hash << INDEX_BITS).leading_zeros().min(RANK_BITS) as u8 + 1;
        match self.ranks.get_mut((hash >> RANK_BITS) as usize) {
            Some(register) => raise(register, rank, &mut self.counts),
            None => false,
        }
    }

    fn merge(&mut self, other: &Self) {
        for (register, rank) in self.ranks.iter_mut().zip(&other.ranks) {
            raise(register, *rank, &mut self.counts);
        }
    }

    /// O. Ertl, "New cardinality estimation algorithms for HyperLogLog sketches" (2017), the improved raw estimator: no
    /// table and no switch between two formulas, so that there is no bias in between.
    fn estimate(&self) -> f64 {
        let registers = REGISTERS as f64;
        let share = |count: Option<&u16>| f64::from(count.copied().unwrap_or_default()) / registers;
        let full = registers * tau(1.0 - share(self.counts.last()));
        let inner = self.counts.iter().skip(1).rev().skip(1);
        let sum = inner.fold(full, |sum, count| 0.5 * (sum + f64::from(*count)));
        let sum = sum + registers * sigma(share(self.counts.first()));
        (registers * registers / (2.0 * std::f64::consts::LN_2 * sum)).min(f64::from(u32::MAX))
    }
}

/// Raises a register to `rank`; whether that changed it.
fn raise(register: &mut u8, rank: u8, counts: &mut [u16; RANKS]) -> bool {
    if rank <= *register {
        return false;
    }
    if let Some(count) = counts.get_mut(usize::from(*register)) {
        *count -= 1;
    }
    if let Some(count) = counts.get_mut(usize::from(rank)) {
        *count += 1;
    }
    *register = rank;
    true
}

/// x + x² + 2x⁴ + 4x⁸ + ..., for 0 ≤ x < 1: what registers that are still zero say.
fn sigma(x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut power, mut factor, mut sum) = (x * x, 1.0, x);
    while power * factor > sum * f64::EPSILON {
        sum += power * factor;
        power *= power;
        factor *= 2.0;
    }
    sum
}

/// (1 - x - (1 - √x)²/2 - (1 - ⁴√x)²/4 - ...) / 3, for 0 ≤ x ≤ 1: what registers that cannot rise any more say.
fn tau(x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut root, mut factor, mut sum) = (x.sqrt(), 0.5, 1.0 - x);
    loop {
        let next = sum - (1.0 - root).powi(2) * factor;
        if next >= sum {
            return sum / 3.0;
        }
        (root, factor, sum) = (root.sqrt(), factor * 0.5, next);
    }
}

/// Up to this many are counted exactly.
const FEW: usize = 256;
const INDEX_BITS: u32 = 11;
const RANK_BITS: u32 = 32 - INDEX_BITS;
const REGISTERS: usize = 1 << INDEX_BITS;
/// From 0 (nothing) to one more than there are bits.
const RANKS: usize = RANK_BITS as usize + 2;
/// In place of a number of hashes: registers follow.
const MANY: u16 = u16::MAX;

#[cfg(test)]
#[expect(clippy::print_stdout, reason = "the errors that were measured")]
mod tests {
    use super::super::tests::Chance;
    use super::*;

    fn of(hashes: impl Iterator<Item = u64>) -> Sketch {
        let mut sketch = Sketch::default();
        hashes.for_each(|hash| {
            sketch.insert(hash);
        });
        sketch
    }

    /// The mean of the error and its root mean square, in per cent of the count.
    fn errors(count: u64, seeds: u64) -> (f64, f64) {
        let errors: Vec<f64> = (0..seeds)
            .map(|seed| {
                let mut chance = Chance::new(seed * 7919 + count);
                let estimate = of((0..count).map(|_| chance.any())).estimate();
                100.0 * (estimate / count as f64 - 1.0)
            })
            .collect();
        let mean = errors.iter().sum::<f64>() / seeds as f64;
        (mean, (errors.iter().map(|error| error * error).sum::<f64>() / seeds as f64).sqrt())
    }

    #[test]
    fn few_are_counted_exactly() {
        for count in 0..=FEW as u64 {
            let mut chance = Chance::new(count);
            let mut sketch = Sketch::default();
            let hashes: Vec<u64> = (0..count).map(|_| chance.any()).collect();
            assert!(hashes.iter().all(|hash| sketch.insert(*hash)));
            assert!(!hashes.iter().any(|hash| sketch.insert(*hash)), "twice is once");
            assert_eq!(sketch.estimate(), count as f64);
        }
    }

    #[test]
    fn the_standard_error_is_two_point_three_per_cent_at_any_count() {
        let counts = [(100, 100), (257, 100), (500, 100), (1000, 100), (2000, 100), (5000, 60), (7000, 60)];
        for (count, seeds) in counts.into_iter().chain([(10_000, 40), (100_000, 4)]) {
            let (mean, deviation) = errors(count, seeds);
            println!("{count:>9}: mean {mean:+.2} %, standard error {deviation:.2} %, {seeds} seeds");
            let sure = 2.3 * (1.0 + 3.0 / (2.0 * seeds as f64).sqrt());
            assert!(deviation < sure, "{count}: {deviation}");
            assert!(mean.abs() < 3.5 * 2.3 / (seeds as f64).sqrt(), "{count}: {mean}");
        }
    }

    #[test]
    #[ignore = "half a minute, optimised"]
    fn the_standard_error_holds_for_millions_and_over_many_seeds() {
        for (count, seeds) in [(1000, 5000), (5000, 5000), (10_000, 5000), (100_000, 1000), (1_000_000, 300)] {
            let (mean, deviation) = errors(count, seeds);
            println!("{count:>9}: mean {mean:+.2} %, standard error {deviation:.2} %, {seeds} seeds");
            assert!(deviation < 2.3 * (1.0 + 3.0 / (2.0 * seeds as f64).sqrt()) && mean.abs() < 0.5, "{count}");
        }
    }

    /// Registers as they are after so many hashes, each drawn by itself.
    fn drawn(count: f64, chance: &mut Chance) -> Registers {
        let ranks = std::array::from_fn(|_| {
            let place = (chance.any() >> 11) as f64 / (1_u64 << 53) as f64;
            let least = |rank: &u8| (-count / REGISTERS as f64 * 0.5_f64.powi(i32::from(*rank))).exp() >= place;
            (0..RANKS as u8 - 1).find(least).unwrap_or(RANKS as u8 - 1)
        });
        Registers::new(ranks).unwrap()
    }

    #[test]
    fn there_is_no_bias_up_to_billions() {
        for count in [1e5, 1e6, 1e7, 1e8, 1e9] {
            let mut chance = Chance::new(count as u64);
            let errors: Vec<f64> = (0..60).map(|_| drawn(count, &mut chance).estimate() / count - 1.0).collect();
            let mean = errors.iter().sum::<f64>() / 60.0;
            let deviation = (errors.iter().map(|error| error * error).sum::<f64>() / 60.0).sqrt();
            println!("{count:>12}: mean {:+.2} %, standard error {:.2} %", 100.0 * mean, 100.0 * deviation);
            assert!(mean.abs() < 0.011 && deviation < 0.031, "{count}: {mean} {deviation}");
        }
    }

    #[test]
    fn a_union_is_what_one_sketch_of_all_would_be() {
        let mut chance = Chance::new(7);
        for _ in 0..200 {
            let [first, second, both] = [chance.below(600), chance.below(600), chance.below(300)];
            let hashes: Vec<u64> = (0..first + second + both).map(|_| chance.any()).collect();
            let (first, second) = (first as usize, (first + both) as usize);
            let mut one = of(hashes[..second].iter().copied());
            let other = of(hashes[first..].iter().copied());
            one.merge(&other);
            let whole = of(hashes.iter().copied());
            assert_eq!(bytes(&one), bytes(&whole));
            assert_eq!(one.estimate(), whole.estimate());
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_nothing_else() {
        for count in [0, 1, 255, 256, 257, 5000] {
            let mut chance = Chance::new(count);
            let sketch = of((0..count).map(|_| chance.any()));
            let written = bytes(&sketch);
            let mut rest = written.as_slice();
            let read = Sketch::read(&mut rest).unwrap();
            assert!(rest.is_empty());
            assert_eq!(bytes(&read), written);
            assert_eq!(read.estimate(), sketch.estimate());
            for end in 0..written.len() {
                assert!(Sketch::read(&mut &written[..end]).is_err());
            }
        }
        let mut high = bytes(&of((0..5000).map(|at| Chance::new(at).any())));
        high[100] = RANKS as u8;
        assert!(Sketch::read(&mut high.as_slice()).is_err(), "a rank that there is not");
        assert!(Sketch::read(&mut [2, 0, 5, 0, 0, 0, 5, 0, 0, 0].as_slice()).is_err(), "the same twice");
        let long: Vec<u8> = 300_u16.to_le_bytes().into_iter().chain((0..300_u32).flat_map(u32::to_le_bytes)).collect();
        assert!(Sketch::read(&mut long.as_slice()).is_err(), "more than a few");
    }

    #[test]
    fn extremes_are_counted_and_debug_says_only_how_many() {
        let mut full = of((0..REGISTERS as u64).map(|index| index << (64 - INDEX_BITS)));
        assert!(full.estimate() > 1e9, "every register is as high as it goes");
        full.merge(&of([u64::MAX, 0].into_iter()));
        assert!(of((0..500).map(|at| at << 32)).estimate() > 0.0);
        assert_eq!(format!("{:?}", of([1 << 40, 2 << 40].into_iter())), "Sketch(about 2)");
        assert!(full.heap() <= 2096 && Sketch::default().heap() == 0);
    }

    fn bytes(sketch: &Sketch) -> Vec<u8> {
        let mut out = Vec::new();
        sketch.write(&mut out);
        out
    }
}
