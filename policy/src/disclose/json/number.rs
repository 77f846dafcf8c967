//! Numbers: the grammar of RFC 8259, section 6, resumable at every byte; and equality of what they denote.

use crate::disclose::Unreadable;

/// How far a number has been read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    Sign,
    Power,
}

impl Number {
    /// The state after the first byte, which is a digit or a minus.
    pub(super) fn begin(first: u8) -> Self {
        match first {
            b'-' => Self::Minus,
            b'0' => Self::Zero,
            _ => Self::Integer,
        }
    }

    /// Reads on from `at` (relative to the chunk, whose offset is `base`); whether the number is complete.
    pub(super) fn scan(&mut self, chunk: &[u8], at: &mut usize, base: usize) -> Result<bool, Unreadable> {
        for byte in chunk.get(*at..).unwrap_or_default() {
            *self = match (*self, byte) {
                (Self::Minus, b'0') => Self::Zero,
                (Self::Minus | Self::Integer, b'0'..=b'9') => Self::Integer,
                (Self::Zero | Self::Integer, b'.') => Self::Point,
                (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
                (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Self::Exponent,
                (Self::Exponent, b'+' | b'-') => Self::Sign,
                (Self::Exponent | Self::Sign | Self::Power, b'0'..=b'9') => Self::Power,
                (Self::Zero | Self::Integer | Self::Fraction | Self::Power, _) => return Ok(true),
                _ => return Err(Unreadable::Grammar { offset: base + *at }),
            };
            *at += 1;
        }
        Ok(false)
    }

    /// Whether a complete number has neither fraction nor exponent.
    pub(super) fn is_integer(self) -> bool {
        matches!(self, Self::Zero | Self::Integer)
    }
}

/// A JSON number as sign, significant digits and power of ten, so that `1.50`, `15e-1` and `1.5` are equal.
/// `None` if it is not a JSON number, or its exponent is beyond all use.
pub(crate) fn canonical(number: &str) -> Option<(bool, String, i64)> {
    let bytes = number.as_bytes();
    let first = bytes.first().filter(|byte| matches!(byte, b'-' | b'0'..=b'9'))?;
    let mut at = 1;
    let mut state = Number::begin(*first);
    // A space ends the number, so that whether it is complete is the grammar's to say.
    let complete = !state.scan(bytes, &mut at, 0).ok()? && state.scan(b" ", &mut 0, 0).ok()?;
    if !complete {
        return None;
    }
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (negative, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some((false, String::new(), 0));
    }
    let power: i64 = exponent.parse().ok()?;
    let dropped = i64::try_from(digits.len() - significant.len()).ok()?;
    let power = power.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(dropped)?;
    Some((negative, significant.to_owned(), power))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_denote_the_same_are_the_same() {
        for (a, b) in [("1.50", "15e-1"), ("0", "-0.00e7"), ("100", "1E+2"), ("-7", "-7.0"), ("12", "12")] {
            assert_eq!(canonical(a), canonical(b), "{a} {b}");
            assert!(canonical(a).is_some());
        }
        for (a, b) in [("1", "-1"), ("1", "10"), ("1.05", "1.5"), ("0", "1")] {
            assert_ne!(canonical(a), canonical(b), "{a} {b}");
        }
        for bad in ["", "-", "01", "1.", ".5", "1e", "1e+", "+1", "1 ", " 1", "0x1", "1e99999999999999999999"] {
            assert_eq!(canonical(bad), None, "{bad:?}");
        }
    }
}
