//! Strings: scanning to their end, resumable at every byte, and decoding.

use std::borrow::Cow;

use crate::disclose::Unreadable;

/// How far a string has been read. Its bytes are UTF-8 up to there, but for an incomplete last character.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Text {
    step: Step,
    /// Whether there was an escape.
    pub(super) escaped: bool,
    /// The bytes of a character that the chunk's end cut.
    cut: [u8; 4],
    cut_len: usize,
}

/// Where in an escape the reader is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Step {
    #[default]
    Plain,
    Backslash,
    /// `\u`, so many digits to come; `high` is the surrogate before it.
    Hex {
        left: u8,
        unit: u32,
        high: bool,
    },
    /// After a high surrogate: the backslash of the low one.
    PairBackslash,
    /// After that: its `u`.
    PairU,
}

impl Text {
    /// Reads on from `at` (relative to the chunk, whose offset is `base`). Whether the closing quote was read.
    #[inline]
    pub(super) fn scan(&mut self, chunk: &[u8], at: &mut usize, base: usize) -> Result<bool, Unreadable> {
        if self.step == Step::Plain && self.cut_len == 0 {
            // Most strings are one run that ends in this chunk; any other one is read again from here, step by step.
            let rest = chunk.get(*at..).unwrap_or_default();
            let (len, ascii) = plain_run(rest);
            let ends = rest.get(len) == Some(&b'"');
            if ends && (ascii || std::str::from_utf8(rest.get(..len).unwrap_or_default()).is_ok()) {
                *at += len + 1;
                return Ok(true);
            }
        }
        self.scan_stepwise(chunk, at, base)
    }

    fn scan_stepwise(&mut self, chunk: &[u8], at: &mut usize, base: usize) -> Result<bool, Unreadable> {
        loop {
            if self.step == Step::Plain {
                if self.cut_len > 0 && !self.complete(chunk, at, base)? {
                    return Ok(false);
                }
                let rest = chunk.get(*at..).unwrap_or_default();
                let (len, ascii) = plain_run(rest);
                if !ascii {
                    self.validate(rest.get(..len).unwrap_or_default(), len == rest.len(), base + *at)?;
                }
                *at += len;
                match rest.get(len) {
                    None => return Ok(false),
                    Some(b'"') => {
                        *at += 1;
                        return Ok(true);
                    }
                    Some(b'\\') => {
                        *at += 1;
                        self.step = Step::Backslash;
                        self.escaped = true;
                    }
                    Some(_) => return Err(Unreadable::Grammar { offset: base + *at }),
                }
            }
            let Some(byte) = chunk.get(*at) else { return Ok(false) };
            self.step = self.step.next(*byte, base + *at)?;
            *at += 1;
        }
    }

    /// How many bytes at the end are an incomplete character.
    pub(super) fn cut_len(&self) -> usize {
        self.cut_len
    }

    /// Checks a run of the string for UTF-8; at the chunk's end, its last character may be incomplete.
    fn validate(&mut self, run: &[u8], chunk_ends: bool, offset: usize) -> Result<(), Unreadable> {
        let Err(error) = std::str::from_utf8(run) else { return Ok(()) };
        let valid = error.valid_up_to();
        let cut = run.get(valid..).unwrap_or_default();
        match (error.error_len(), self.cut.get_mut(..cut.len())) {
            (None, Some(kept)) if chunk_ends => {
                kept.copy_from_slice(cut);
                self.cut_len = cut.len();
                Ok(())
            }
            _ => Err(Unreadable::Unicode { offset: offset + valid }),
        }
    }

    /// Completes the character that the last chunk's end cut; false if this chunk ends before it does.
    fn complete(&mut self, chunk: &[u8], at: &mut usize, base: usize) -> Result<bool, Unreadable> {
        let invalid = Unreadable::Unicode { offset: (base + *at).saturating_sub(self.cut_len) };
        while let Some(byte) = chunk.get(*at) {
            *self.cut.get_mut(self.cut_len).ok_or(invalid)? = *byte;
            self.cut_len += 1;
            match std::str::from_utf8(self.cut.get(..self.cut_len).unwrap_or_default()) {
                Ok(_) => {
                    *at += 1;
                    self.cut_len = 0;
                    return Ok(true);
                }
                Err(error) if error.error_len().is_none() => *at += 1,
                Err(_) => return Err(invalid),
            }
        }
        Ok(false)
    }
}

impl Step {
    fn next(self, byte: u8, offset: usize) -> Result<Self, Unreadable> {
        match (self, byte) {
            (Self::Backslash, b'u') => Ok(Self::Hex { left: 4, unit: 0, high: false }),
            (Self::Backslash, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(Self::Plain),
            (Self::PairBackslash, b'\\') => Ok(Self::PairU),
            (Self::PairU, b'u') => Ok(Self::Hex { left: 4, unit: 0, high: true }),
            (Self::PairBackslash | Self::PairU, _) => Err(Unreadable::Unicode { offset }),
            (Self::Hex { left, unit, high }, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(Unreadable::Grammar { offset })?;
                let unit = unit << 4 | digit;
                match (left, unit, high) {
                    (2.., ..) => Ok(Self::Hex { left: left - 1, unit, high }),
                    (_, 0xdc00..=0xdfff, true) => Ok(Self::Plain),
                    (_, 0xd800..=0xdbff, false) => Ok(Self::PairBackslash),
                    (_, 0xdc00..=0xdfff, false) | (_, _, true) => Err(Unreadable::Unicode { offset }),
                    _ => Ok(Self::Plain),
                }
            }
            (Self::Plain | Self::Backslash, _) => Err(Unreadable::Grammar { offset }),
        }
    }
}

/// The length of the run before the first quote, backslash or control character, and whether it is all ASCII.
///
/// Eight bytes at a time; the high bit of a byte in `special` says that this byte ends the run. A borrow
/// can only set bits above the first such byte, so the lowest bit is right.
#[inline]
fn plain_run(bytes: &[u8]) -> (usize, bool) {
    let mut high = 0;
    let mut len = 0;
    for word in bytes.chunks_exact(8) {
        let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
        let special = special(word);
        if special != 0 {
            let at = special.trailing_zeros() as usize / 8;
            let before = word & !(u64::MAX << (8 * at));
            return (len + at, (high | before) & HIGH == 0);
        }
        high |= word;
        len += 8;
    }
    for byte in bytes.get(len..).unwrap_or_default() {
        if matches!(byte, b'"' | b'\\' | ..0x20) {
            break;
        }
        high |= u64::from(*byte);
        len += 1;
    }
    (len, high & HIGH == 0)
}

#[inline]
fn special(word: u64) -> u64 {
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (control | quote.wrapping_sub(ONES) & !quote | backslash.wrapping_sub(ONES) & !backslash) & HIGH
}

/// The text of a string that was scanned to its end, without its quotes.
pub(super) fn decode(raw: &[u8]) -> Cow<'_, str> {
    // INVARIANT: `raw` passed `Text::scan`, so that nothing is replaced here.
    let text = String::from_utf8_lossy(raw);
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return text;
    }
    let mut decoded = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        decoded.push_str(plain);
        let mut after = escape.chars();
        match after.next() {
            Some('b') => decoded.push('\u{8}'),
            Some('f') => decoded.push('\u{c}'),
            Some('n') => decoded.push('\n'),
            Some('r') => decoded.push('\r'),
            Some('t') => decoded.push('\t'),
            Some('u') => {
                let mut code = unit(after.as_str(), 0);
                after = after.as_str().get(4..).unwrap_or_default().chars();
                if (0xd800..0xdc00).contains(&code) {
                    code = 0x10000 + ((code - 0xd800) << 10) + unit(after.as_str(), 2).saturating_sub(0xdc00);
                    after = after.as_str().get(6..).unwrap_or_default().chars();
                }
                decoded.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(itself) => decoded.push(itself),
            None => {}
        }
        rest = after.as_str();
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

fn unit(text: &str, at: usize) -> u32 {
    text.get(at..at + 4).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0)
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_at_the_first_special_byte_wherever_it_stands() {
        for len in 0..40 {
            for special in [b'"', b'\\', 0x00, 0x1f, b'\n'] {
                for (filler, ascii) in [(b'a', true), (b'!', true), (0x7f, true), (0x80, false), (0xff, false)] {
                    let mut bytes = vec![filler; len];
                    assert_eq!(plain_run(&bytes), (len, ascii || len == 0));
                    bytes.push(special);
                    bytes.extend([0xff, special, b'x', b' ', 0x01, b'"', 0x21, 0x23, 0x5b, 0x5d, 0xa2, 0xdc]);
                    assert_eq!(plain_run(&bytes), (len, ascii || len == 0), "{len} {special} {filler}");
                }
            }
        }
    }

    #[test]
    fn every_escape_decodes_to_its_character() {
        for text in
            [r#"plain"#, r#"a\"\\\/\b\f\n\r\tz"#, r#"\u0063itizen"#, r#"L\u00ea \ud83d\ude00 x\u0000"#, r#"\\u0041"#]
        {
            let expected: String = serde_json::from_str(&format!("\"{text}\"")).unwrap();
            assert_eq!(decode(text.as_bytes()), expected);
        }
    }
}
