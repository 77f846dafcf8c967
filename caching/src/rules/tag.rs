//! Entity tags (RFC 9110 section 8.8.3).

use http::HeaderMap;
use http::header::ETAG;

use super::list;

/// An entity tag.
///
/// What is not in the form of one is kept as it came: it is weak, and equal only to the same bytes. Servers send such
/// tags, and they come back as they were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag<'a> {
    /// Whether it stands for the very bytes.
    pub strong: bool,
    /// With its quotes.
    pub opaque: &'a [u8],
}

impl<'a> Tag<'a> {
    /// Reads one.
    pub fn of(value: &'a [u8]) -> Self {
        let (weak, opaque) = match value.strip_prefix(b"W/") {
            Some(opaque) => (true, opaque),
            None => (false, value),
        };
        if is_opaque(opaque) { Self { strong: !weak, opaque } } else { Self { strong: false, opaque: value } }
    }

    /// The tag of a response.
    pub fn of_response(headers: &'a HeaderMap) -> Option<Self> {
        headers.get(ETAG).map(|value| Self::of(value.as_bytes())).filter(|tag| !tag.opaque.is_empty())
    }

    /// Whether the very bytes are the same (RFC 9110 section 8.8.3.2: strong comparison).
    pub fn is(&self, other: &Tag<'_>) -> bool {
        self.strong && other.strong && self.opaque == other.opaque
    }

    /// Whether they stand for the same (weak comparison).
    pub fn is_like(&self, other: &Tag<'_>) -> bool {
        self.opaque == other.opaque
    }
}

/// The tags in a list of them, over all lines.
pub(crate) fn all<'a>(headers: &'a HeaderMap, name: &http::header::HeaderName) -> impl Iterator<Item = Tag<'a>> {
    headers.get_all(name).iter().flat_map(|line| list::members(line.as_bytes())).map(Tag::of)
}

fn is_opaque(value: &[u8]) -> bool {
    let inner = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    inner.is_some_and(|inner| inner.iter().all(|byte| *byte == 0x21 || (0x23..=0x7e).contains(byte) || *byte >= 0x80))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9110 section 8.8.3.2: the table.
    #[test]
    fn strong_and_weak_comparison() {
        let of = |text: &'static str| Tag::of(text.as_bytes());
        let rows = [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
            ("abc", "abc", false, true),
            ("abc", "\"abc\"", false, false),
            ("w/\"1\"", "\"1\"", false, false),
        ];
        for (a, b, strong, weak) in rows {
            assert_eq!((of(a).is(&of(b)), of(a).is_like(&of(b))), (strong, weak), "{a} {b}");
        }
    }
}
