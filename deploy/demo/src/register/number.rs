//! The personal identity number (Circular 59/2021): province of birth registration, century and sex, year, serial.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use super::{draw, province::Province};

/// Twelve decimal digits. That a number is well formed does not say that a citizen has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Number(u64);

impl Number {
    /// The digits as ASCII.
    pub fn digits(self) -> [u8; 12] {
        let mut rest = self.0;
        let mut digits = [b'0'; 12];
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        digits
    }

    /// `digits` MUST be below 10^12; constants of this crate only.
    pub(super) const fn literal(digits: u64) -> Self {
        Self(digits)
    }

    /// A value that seeds every draw about this person.
    pub(super) fn seed(self) -> u64 {
        draw(self.0, 0x0063_6974_697a_656e)
    }

    /// The last six digits.
    pub(super) fn serial(self) -> u64 {
        self.0 % SERIALS
    }

    /// The number whose parts these are. `serial` MUST be below [`SERIALS`].
    pub(super) fn assemble(parts: Parts) -> Self {
        let Parts { province, sex, year, serial } = parts;
        let stem = stem(province, sex, year);
        Self(stem * SERIALS + scatter(serial, stem))
    }

    /// The parts, unless the province or the century is none of the register's.
    pub(super) fn parts(self) -> Option<Parts> {
        let stem = self.0 / SERIALS;
        let province = Province::of_code(u16::try_from(stem / 1000).ok()?)?;
        let century = match stem / 100 % 10 {
            0 | 1 => 1900,
            2 | 3 => 2000,
            _ => return None,
        };
        let sex = if (stem / 100).is_multiple_of(2) { Sex::Male } else { Sex::Female };
        let year = century + (stem % 100) as i16;
        Some(Parts { province, sex, year, serial: gather(self.0 % SERIALS, stem) })
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012}", self.0)
    }
}

impl FromStr for Number {
    type Err = MalformedNumber;

    fn from_str(text: &str) -> Result<Self, MalformedNumber> {
        if text.len() != 12 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(MalformedNumber);
        }
        text.parse().map(Self).map_err(|_| MalformedNumber)
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digits = self.digits();
        serializer.serialize_str(std::str::from_utf8(&digits).unwrap_or_default())
    }
}

/// The text is not twelve digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an identity number is 12 digits")]
pub struct MalformedNumber;

/// As the register records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sex {
    /// Even century digit.
    Male,
    /// Odd century digit.
    Female,
}

impl Sex {
    /// As records write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Male => "male",
            Self::Female => "female",
        }
    }

    pub(super) fn of_word(word: &str) -> Option<Self> {
        [Self::Male, Self::Female].into_iter().find(|sex| sex.word() == word)
    }
}

/// What a number says, its serial unscattered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) province: Province,
    pub(super) sex: Sex,
    pub(super) year: i16,
    pub(super) serial: u64,
}

/// How many numbers a province, sex and year have.
pub(super) const SERIALS: u64 = 1_000_000;

/// The first six digits.
fn stem(province: Province, sex: Sex, year: i16) -> u64 {
    let century = if year < 2000 { 0 } else { 2 };
    let digit = century + u64::from(sex == Sex::Female);
    u64::from(province.code()) * 1000 + digit * 100 + u64::from(year.rem_euclid(100).unsigned_abs())
}

/// A bijection of the serials, another for each stem, so that neighbours in a household are not neighbours in number:
/// a Feistel network over two halves of three digits.
fn scatter(serial: u64, stem: u64) -> u64 {
    let (mut left, mut right) = (serial / HALF, serial % HALF);
    for round in 0..ROUNDS {
        (left, right) = (right, (left + draw(stem * HALF + right, round)) % HALF);
    }
    left * HALF + right
}

fn gather(serial: u64, stem: u64) -> u64 {
    let (mut left, mut right) = (serial / HALF, serial % HALF);
    for round in (0..ROUNDS).rev() {
        (left, right) = ((right + HALF - draw(stem * HALF + left, round) % HALF) % HALF, left);
    }
    left * HALF + right
}

const HALF: u64 = 1000;
const ROUNDS: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scattering_serials_loses_none() {
        for stem in [1_187, 79_203, 96_325] {
            let mut seen = vec![false; SERIALS as usize];
            for serial in 0..SERIALS {
                let scattered = scatter(serial, stem);
                assert_eq!(gather(scattered, stem), serial);
                assert!(!std::mem::replace(&mut seen[scattered as usize], true));
            }
        }
    }

    #[test]
    fn only_twelve_digits_are_a_number() {
        for text in ["", "00118700000", "0011870000000", "00118700000a", "+01187000000", "００１１"] {
            assert_eq!(text.parse::<Number>(), Err(MalformedNumber), "{text}");
        }
        assert_eq!("001187000001".parse::<Number>().unwrap().to_string(), "001187000001");
    }
}
