//! The pseudo-header fields of a request (RFC 9114, section 4.3), read strictly out of its encoded header section (RFC 9204).
//!
//! h3 0.0.8 takes the last of two `:path`s, takes them after other fields, and takes a `:status`. Two parsers could read such a
//! request differently. Only names are looked at here, and no field of a dynamic table: none is offered to the client.

/// Checks a whole encoded header section.
///
/// # Errors
/// What must be mended. What is no QPACK at all is let through: h3 ends the connection for it.
pub(super) fn check(section: &[u8]) -> Result<(), &'static str> {
    let mut section = Section(section);
    let mut fields = Fields::default();
    // The required insert count and the base, both of the dynamic table.
    if section.integer(8).and(section.integer(7)).is_none() {
        return Ok(());
    }
    while let Some(name) = section.name() {
        fields.name(name)?;
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Name {
    Method,
    Scheme,
    Authority,
    Path,
    /// A pseudo-header field that no request has.
    Wrong,
    Regular,
}

#[derive(Default)]
struct Fields {
    seen: Vec<Name>,
    regular: bool,
}

impl Fields {
    fn name(&mut self, name: Name) -> Result<(), &'static str> {
        match name {
            Name::Regular => self.regular = true,
            Name::Wrong => return Err("send only the pseudo-header fields of a request"),
            _ if self.regular => return Err("send pseudo-header fields before all others"),
            _ if self.seen.contains(&name) => return Err("send each pseudo-header field once"),
            _ => self.seen.push(name),
        }
        Ok(())
    }
}

/// What is left of a header section.
struct Section<'a>(&'a [u8]);

impl<'a> Section<'a> {
    /// The name of the next field line, whose value is skipped; `None` at the end, or where this is no QPACK.
    fn name(&mut self) -> Option<Name> {
        let first = *self.0.first()?;
        if first & 0x80 != 0 {
            // Indexed (section 4.5.2).
            return Some(of_table(self.integer(6)?));
        }
        let name = if first & 0x40 != 0 {
            // A literal with a name of the table (section 4.5.4).
            of_table(self.integer(4)?)
        } else if first & 0x20 != 0 {
            // A literal with a literal name (section 4.5.6).
            let huffman = first & 0x08 != 0;
            let length = self.integer(3)?;
            of_literal(self.take(length)?, huffman)
        } else {
            return None;
        };
        let length = self.integer(7)?;
        self.take(length)?;
        Some(name)
    }

    /// An integer that begins with the low bits of a byte (RFC 7541, section 5.1).
    fn integer(&mut self, bits: u32) -> Option<u64> {
        let (first, mut rest) = self.0.split_first()?;
        let most = (1u64 << bits) - 1;
        let mut value = u64::from(*first) & most;
        if value == most {
            for shift in (0..).step_by(7) {
                let (byte, after) = rest.split_first()?;
                rest = after;
                value = value.checked_add(u64::from(byte & 0x7f).checked_mul(1u64.checked_shl(shift)?)?)?;
                if byte & 0x80 == 0 {
                    break;
                }
            }
        }
        self.0 = rest;
        Some(value)
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }
}

/// Of the static table (RFC 9204, appendix A).
fn of_table(index: u64) -> Name {
    match index {
        0 => Name::Authority,
        1 => Name::Path,
        15..=21 => Name::Method,
        22 | 23 => Name::Scheme,
        24..=28 | 63..=71 => Name::Wrong,
        _ => Name::Regular,
    }
}

fn of_literal(name: &[u8], huffman: bool) -> Name {
    match (huffman, name) {
        (false, b":method") | (true, b"\xb9\x49\x53\x39\xe4") => Name::Method,
        (false, b":scheme") | (true, b"\xb8\x82\x4e\x5a\x4b") => Name::Scheme,
        (false, b":authority") | (true, b"\xb8\x3b\x53\x39\xec\x32\x7d\x7f") => Name::Authority,
        (false, b":path") | (true, b"\xb9\x58\xd3\x3f") => Name::Path,
        (false, [b':', ..]) => Name::Wrong,
        // A colon is the seven bits 1011100.
        (true, [first, ..]) if first >> 1 == 0b101_1100 => Name::Wrong,
        _ => Name::Regular,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METHOD: &[u8] = b"\xd1";
    const SCHEME: &[u8] = b"\xd7";
    const AUTHORITY: &[u8] = b"\x50\x01g";
    const PATH: &[u8] = b"\x51\x02/a";
    /// `accept: */*`, and `x: y`.
    const OTHER: &[u8] = b"\xdd\x21x\x01y";

    fn check_all(lines: &[&[u8]]) -> Result<(), &'static str> {
        check(&[&b"\x00\x00"[..], &lines.concat()].concat())
    }

    #[test]
    fn an_honest_request_is_let_through() {
        assert_eq!(check_all(&[METHOD, SCHEME, AUTHORITY, PATH, OTHER]), Ok(()));
        let long = [b"\x5f\x4b\x7f\x81\x02".to_vec(), vec![b'v'; 0x7f + 0x101]].concat();
        assert_eq!(check_all(&[PATH, &long, OTHER]), Ok(()));
        assert_eq!(check(b""), Ok(()));
    }

    #[test]
    fn what_h3_takes_and_two_parsers_could_read_differently_is_refused() {
        let cases: [&[&[u8]]; 12] = [
            &[METHOD, PATH, PATH],
            &[METHOD, METHOD],
            &[METHOD, b"\xd4"],
            &[SCHEME, b"\xd6"],
            &[AUTHORITY, b"\x27\x03:authority\x01g"],
            &[PATH, b"\x25:path\x01/"],
            &[PATH, b"\x2c\xb9\x58\xd3\x3f\x01/"],
            &[METHOD, OTHER, PATH],
            &[METHOD, b"\xd9"],
            &[METHOD, b"\xff\x00"],
            &[METHOD, b"\x27\x02:protocol\x01x"],
            &[METHOD, b"\x2f\x00\xb9\x5d\x87\x49\xc8\x7a\x3f\x01x"],
        ];
        for (n, case) in cases.iter().enumerate() {
            assert!(check_all(case).is_err(), "case {n}");
        }
    }

    #[test]
    fn no_bytes_make_it_fail() {
        for byte in 0..=255u8 {
            for length in 0..20 {
                let _ = check(&vec![byte; length]);
            }
        }
        let _ = check(b"\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff");
    }
}
