//! Comma-separated lists with quoted strings in them (RFC 9110 sections 5.6.1 and 5.6.4).

/// The members of a list, trimmed, empty ones left out. A comma within a quoted string separates nothing.
pub(crate) fn members(value: &[u8]) -> Members<'_> {
    Members { rest: value }
}

/// See [`members`].
#[derive(Clone, Debug)]
pub(crate) struct Members<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Members<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let end = end_of_member(self.rest);
            let (member, rest) = self.rest.split_at(end);
            self.rest = rest.get(1..).unwrap_or_default();
            let member = member.trim_ascii();
            if !member.is_empty() {
                return Some(member);
            }
        }
        None
    }
}

/// Whether every quoted string in it ends.
pub(crate) fn is_closed(value: &[u8]) -> bool {
    let mut quoted = Quoted::default();
    value.iter().for_each(|byte| quoted.take(*byte));
    !quoted.inside
}

/// What is within the quotes, if it is a quoted string and nothing else.
pub(crate) fn unquoted(value: &[u8]) -> Option<Vec<u8>> {
    let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => out.push(*bytes.next()?),
            b'"' => return None,
            other => out.push(*other),
        }
    }
    Some(out)
}

/// Where a reader stands: within a quoted string, or not.
#[derive(Default)]
pub(crate) struct Quoted {
    pub(crate) inside: bool,
    escaped: bool,
}

impl Quoted {
    pub(crate) fn take(&mut self, byte: u8) {
        if self.escaped {
            self.escaped = false;
        } else if self.inside && byte == b'\\' {
            self.escaped = true;
        } else if byte == b'"' {
            self.inside = !self.inside;
        }
    }
}

fn end_of_member(value: &[u8]) -> usize {
    let mut quoted = Quoted::default();
    for (at, byte) in value.iter().enumerate() {
        if *byte == b',' && !quoted.inside {
            return at;
        }
        quoted.take(*byte);
    }
    value.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(value: &str) -> Vec<String> {
        members(value.as_bytes()).map(|member| String::from_utf8_lossy(member).into_owned()).collect()
    }

    /// RFC 9110 section 5.6.1.2: a recipient takes empty members and ignores them.
    #[test]
    fn empty_members_are_ignored_and_quoted_commas_kept() {
        assert_eq!(list(" , a,, b=\"x, y\" ,c\\,"), ["a", "b=\"x, y\"", "c\\"]);
        assert_eq!(list("a=\"q\\\",\", b"), ["a=\"q\\\",\"", "b"]);
        assert!(list(" , ").is_empty());
    }

    /// RFC 9110 section 5.6.4.
    #[test]
    fn quoted_strings_are_taken_out_of_their_quotes() {
        assert_eq!(unquoted(b"\"a\\\"b\"").as_deref(), Some(&b"a\"b"[..]));
        assert_eq!(unquoted(b"\"a\" b\""), None);
        assert_eq!(unquoted(b"a"), None);
        assert_eq!(unquoted(b"\"a\\\""), None, "the last quote is escaped");
        assert!(is_closed(b"a=\"b\"") && !is_closed(b"a=\"b"));
    }
}
