//! What is asked of the register.

use crate::contract::{Answer, Arguments, Method, Operation, Segment, UpstreamTemplate};
use crate::model::{Personal, RegisterId};

/// A request to a register: the same for every operation and caller that need the same record, so it is the cache key.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UpstreamRequest {
    /// The register.
    pub register: RegisterId,
    /// The method.
    pub method: Method,
    /// The expanded path and query, percent-encoded.
    pub target: Personal<String>,
}

impl Operation {
    /// Expands the upstream template. `None` if a parameter that it needs is not given, or if its value would not stay one segment of
    /// the path (empty, `.`, `..`).
    pub fn upstream_request(&self, arguments: &Arguments) -> Option<UpstreamRequest> {
        self.expand(&self.upstream, arguments)
    }

    /// Expands the template of the whole field that it answers with; `None` if it answers with none, and as
    /// [`Operation::upstream_request`].
    pub fn whole_request(&self, arguments: &Arguments) -> Option<UpstreamRequest> {
        match &self.answer {
            Answer::Whole(whole) => self.expand(&whole.upstream, arguments),
            Answer::Record | Answer::Match | Answer::List(_) => None,
        }
    }

    fn expand(&self, template: &UpstreamTemplate, arguments: &Arguments) -> Option<UpstreamRequest> {
        let mut target = String::with_capacity(64);
        for segment in &template.segments {
            match segment {
                Segment::Literal(text) => target.push_str(text),
                Segment::Parameter(parameter) => {
                    let value = arguments.value(*parameter)?.expose();
                    if matches!(value.as_str(), "" | "." | "..") {
                        return None;
                    }
                    encode(value, &mut target);
                }
            }
        }
        let mut joint = '?';
        for (name, parameter) in &template.query {
            match arguments.value(*parameter) {
                Some(value) => {
                    target.push(joint);
                    target.push_str(name);
                    target.push('=');
                    encode(value.expose(), &mut target);
                    joint = '&';
                }
                // A filter that is required and left out would widen the question.
                None if self.parameters.get(parameter.0).is_none_or(|known| known.required) => return None,
                None => {}
            }
        }
        Some(UpstreamRequest {
            register: template.register.clone(),
            method: template.method,
            target: Personal::new(target),
        })
    }
}

/// Percent-encodes all but the unreserved characters (RFC 3986, section 2.3).
fn encode(value: &str, target: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| char::from(DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0'));
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            target.push(char::from(byte));
        } else {
            target.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_one_segment_whatever_it_holds() {
        let mut target = String::new();
        encode("a/../b?c#d%2F ê~-._", &mut target);
        assert_eq!(target, "a%2F..%2Fb%3Fc%23d%252F%20%C3%AA~-._");
    }
}
