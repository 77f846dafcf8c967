//! From a method and a path to an operation.

use std::sync::Arc;

use crate::contract::{Contracts, Method, Operation};
use crate::model::Personal;

/// Where a request goes.
#[derive(Debug)]
pub enum Route<'a> {
    /// To this operation.
    Operation(&'a Arc<Operation>, Captures),
    /// The path exists, with these other methods.
    MethodNotAllowed(Vec<&'static str>),
    /// Nowhere.
    NotFound,
}

/// The path parameters that a template captured, in the template's order, still percent-encoded.
#[derive(Clone, Debug, Default)]
pub struct Captures(pub(crate) Vec<Personal<String>>);

/// The compiled routing table: a tree of path segments.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    root: Branch,
}

#[derive(Debug, Default)]
struct Branch {
    /// INVARIANT: sorted by segment.
    fixed: Vec<(Box<str>, Branch)>,
    parameter: Option<Box<Branch>>,
    get: Option<usize>,
    post: Option<usize>,
}

impl Contracts {
    /// Finds the operation for a request. `HEAD` is routed as `GET`. A path with an encoded slash, an empty or a dot
    /// segment is routed nowhere: what two parsers could read differently is not for us to interpret.
    ///
    /// A segment that is written in a template goes before a parameter in the same place. It allocates for captures only.
    pub fn route(&self, method: &str, path: &str) -> Route<'_> {
        let Some(rest) = path.strip_prefix('/').filter(|rest| rest.split('/').all(is_plain)) else {
            return Route::NotFound;
        };
        let mut captures = Vec::new();
        let Some(branch) = self.routes.root.find(Some(rest), &mut captures) else {
            return Route::NotFound;
        };
        let index = match method {
            "GET" | "HEAD" => branch.get,
            "POST" => branch.post,
            _ => None,
        };
        match index.and_then(|index| self.operations.get(index)) {
            Some(operation) => {
                let captures = captures.into_iter().map(|value| Personal::new(value.to_owned())).collect();
                Route::Operation(operation, Captures(captures))
            }
            None => Route::MethodNotAllowed(branch.methods()),
        }
    }
}

impl Routes {
    /// Adds an operation; the template has been checked.
    pub(super) fn insert(&mut self, template: &str, method: Method, index: usize) {
        let mut branch = &mut self.root;
        for segment in template.split('/').skip(1) {
            branch =
                if segment.starts_with('{') { branch.parameter.get_or_insert_default() } else { branch.fixed(segment) };
        }
        match method {
            Method::Get => branch.get = Some(index),
            Method::Post => branch.post = Some(index),
        }
    }
}

impl Branch {
    fn fixed(&mut self, segment: &str) -> &mut Self {
        let at = match self.fixed.binary_search_by(|(known, _)| (**known).cmp(segment)) {
            Ok(at) => at,
            Err(at) => {
                self.fixed.insert(at, (Box::from(segment), Self::default()));
                at
            }
        };
        #[expect(clippy::indexing_slicing, reason = "the position was just found or filled")]
        &mut self.fixed[at].1
    }

    /// `rest` is what follows the last slash, `None` after the last segment. Depth and width are bounded by the templates.
    fn find<'b, 'p>(&'b self, rest: Option<&'p str>, captures: &mut Vec<&'p str>) -> Option<&'b Self> {
        let Some(rest) = rest else {
            return (self.get.is_some() || self.post.is_some()).then_some(self);
        };
        let (segment, rest) = match rest.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (rest, None),
        };
        let fixed = self.fixed.binary_search_by(|(known, _)| (**known).cmp(segment)).ok();
        if let Some((_, branch)) = fixed.and_then(|at| self.fixed.get(at))
            && let Some(found) = branch.find(rest, captures)
        {
            return Some(found);
        }
        let branch = self.parameter.as_ref()?;
        let captured = captures.len();
        captures.push(segment);
        let found = branch.find(rest, captures);
        if found.is_none() {
            captures.truncate(captured);
        }
        found
    }

    fn methods(&self) -> Vec<&'static str> {
        let get: &[&'static str] = if self.get.is_some() { &["GET", "HEAD"] } else { &[] };
        let post = self.post.map(|_| Method::Post.as_str());
        get.iter().copied().chain(post).collect()
    }
}

/// Why a segment cannot stand in a template.
pub(super) fn wrong_segment(segment: &str) -> Option<&'static str> {
    let inner = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_');
    match (segment, inner) {
        ("", _) => Some("has an empty segment"),
        ("." | "..", _) => Some("has a dot segment"),
        (_, Some(name)) if is_name(name) => None,
        _ if segment.contains(['{', '}']) => Some("has a segment that is not a parameter as a whole"),
        _ if segment.chars().all(|char| char.is_ascii_alphanumeric() || "-._~".contains(char)) => None,
        _ => Some("has characters that cannot stand in a segment"),
    }
}

/// Whether there is only one way to read the segment: RFC 3986 `segment-nz`, no encoded slash, backslash or control character, not `.`
/// or `..` in any spelling.
fn is_plain(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    let (mut at, mut dots, mut others) = (0, 0, 0);
    while let Some(byte) = bytes.get(at) {
        let (decoded, width) = match byte {
            b'%' => match (hex(bytes.get(at + 1)), hex(bytes.get(at + 2))) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => return false,
            },
            byte if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(byte) => (*byte, 1),
            _ => return false,
        };
        match decoded {
            b'/' | b'\\' | 0x7f | 0..=0x1f => return false,
            b'.' => dots += 1,
            _ => others += 1,
        }
        at += width;
    }
    others > 0 || dots > 2
}

/// The value of a hexadecimal digit.
pub(super) fn hex(digit: Option<&u8>) -> Option<u8> {
    char::from(*digit?).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'r>(routes: &'r Routes, path: &str) -> Option<(&'r Branch, Vec<String>)> {
        let rest = path.strip_prefix('/')?;
        let mut captures = Vec::new();
        let branch = routes.root.find(Some(rest), &mut captures)?;
        Some((branch, captures.into_iter().map(str::to_owned).collect()))
    }

    #[test]
    fn what_is_written_goes_before_what_is_captured() {
        let mut routes = Routes::default();
        routes.insert("/p/citizens/{id}", Method::Get, 0);
        routes.insert("/p/citizens/lookup", Method::Post, 1);
        routes.insert("/p/{kind}/lookup/x", Method::Get, 2);
        assert_eq!(found(&routes, "/p/citizens/001").unwrap().0.get, Some(0));
        assert_eq!(found(&routes, "/p/citizens/lookup").unwrap().0.post, Some(1));
        let (branch, captures) = found(&routes, "/p/citizens/lookup/x").unwrap();
        assert_eq!((branch.get, captures), (Some(2), vec!["citizens".to_owned()]));
        assert!(found(&routes, "/p/citizens").is_none());
        assert!(found(&routes, "/p/citizens/1/2").is_none());
    }

    #[test]
    fn a_segment_that_two_parsers_could_read_differently_is_not_plain() {
        for segment in [
            "", ".", "..", "%2e", "%2E.", ".%2e", "a%2fb", "a%2Fb", "a%5cb", "%", "%1", "%zz", "a%00", "ễ", "a b",
            "a\\b", "a?b", "a#b",
        ] {
            assert!(!is_plain(segment), "{segment:?}");
        }
        for segment in ["a", "...", "a.b", "001099000001", "%C3%AA", "a;b=c", "%25"] {
            assert!(is_plain(segment), "{segment:?}");
        }
    }
}
