//! How a caller stands: `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10).

use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use popgate_policy::directory::Bound;

use super::bucket::Left;

/// What is left of each limit that a request counted against.
#[derive(Debug, Default)]
pub struct Standing {
    /// The policies in force for the operation; none before there was one.
    policy: Option<HeaderValue>,
    left: String,
}

impl Standing {
    /// Tells it in an answer.
    pub fn tell(&self, headers: &mut HeaderMap) {
        if let Some(policy) = &self.policy {
            headers.insert(POLICY, policy.clone());
        }
        if !self.left.is_empty()
            && let Ok(left) = HeaderValue::try_from(self.left.as_str())
        {
            headers.insert(LEFT, left);
        }
    }

    /// The limits in force.
    pub(super) fn under(&mut self, policy: HeaderValue) {
        self.policy = Some(policy);
    }

    /// One more limit that is in force.
    pub(super) fn under_too(&mut self, bound: Bound) {
        if let Some(before) = self.policy.as_ref().and_then(|policy| policy.to_str().ok()) {
            let mut text = before.to_owned();
            write_bound(&mut text, &bound);
            self.policy = HeaderValue::try_from(text).ok();
        }
    }

    /// So much is left of a limit.
    pub(super) fn note(&mut self, name: &str, left: Left) {
        let comma = if self.left.is_empty() { "" } else { ", " };
        // A string takes whatever is written to it.
        let _ = write!(self.left, "{comma}\"{name}\";r={};t={}", left.left, seconds(left.reset));
    }

    /// Nothing is left of it for so long.
    pub(super) fn over(&mut self, name: &str, wait: Duration) {
        self.note(name, Left { left: 0, reset: wait });
    }
}

/// `"operation";q=400;w=2, "day";q=300000;w=86400`: what bounds requests of an operation. A quota of bytes or of requests in flight
/// says so (`qu`).
pub(super) fn policy(bounds: &[Bound]) -> HeaderValue {
    let mut text = String::new();
    bounds.iter().for_each(|bound| write_bound(&mut text, bound));
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

fn write_bound(text: &mut String, bound: &Bound) {
    let comma = if text.is_empty() { "" } else { ", " };
    let (quota, window) = bound.amount.quota();
    // A string takes whatever is written to it.
    let _ = write!(text, "{comma}\"{}\";q={quota}", bound.name);
    if bound.amount.unit() != "requests" {
        let _ = write!(text, ";qu=\"{}\"", bound.amount.unit());
    }
    if let Some(window) = window {
        let _ = write!(text, ";w={window}");
    }
}

/// Whole seconds, rounded up.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");
