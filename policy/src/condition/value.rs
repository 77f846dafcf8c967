//! Values of Cedar.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use cedar_policy::{EntityUid, EvalResult};
use ipnet::IpNet;

use super::{AddressTest, Pattern};

/// A value that a policy or an entity holds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Value {
    Truth(bool),
    Long(i64),
    Text(Arc<str>),
    Entity(EntityUid),
    Set(BTreeSet<Self>),
    /// An address is a network that holds it alone.
    Address(IpNet),
    /// Ten-thousandths.
    Decimal(i64),
    /// Milliseconds since 1970 began in UTC.
    Moment(i64),
}

impl Value {
    /// An entity's attribute; `None` for what has no form here.
    pub(super) fn of(result: EvalResult) -> Option<Self> {
        Some(match result {
            EvalResult::Bool(truth) => Self::Truth(truth),
            EvalResult::Long(number) => Self::Long(number),
            EvalResult::String(text) => Self::Text(text.into()),
            EvalResult::EntityUid(uid) => Self::Entity(uid),
            EvalResult::Set(set) => Self::Set(set.iter().cloned().map(Self::of).collect::<Option<_>>()?),
            EvalResult::Record(_) | EvalResult::ExtensionValue(_) => return None,
        })
    }

    /// `ip("...")`.
    pub(super) fn address(text: &str) -> Option<Self> {
        let network = IpNet::from_str(text).ok();
        network.or_else(|| IpAddr::from_str(text).ok().map(IpNet::from)).map(Self::Address)
    }

    /// `decimal("...")`: up to four digits after the point, and one at least.
    pub(super) fn decimal(text: &str) -> Option<Self> {
        let (whole, rest) = text.split_once('.')?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole.strip_prefix('-').unwrap_or(whole)) || !digits(rest) || rest.len() > 4 {
            return None;
        }
        let part: i64 = format!("{rest:0<4}").parse().ok()?;
        let part = if whole.starts_with('-') { -part } else { part };
        Some(Self::Decimal(whole.parse::<i64>().ok()?.checked_mul(10_000)?.checked_add(part)?))
    }

    /// `datetime("...")` of a day, which begins in UTC; other forms are left to Cedar.
    pub(super) fn day(text: &str) -> Option<Self> {
        if text.len() != "2026-11-30".len() {
            return None;
        }
        text.parse().ok().map(|day| Self::Moment(midnight(day)))
    }

    /// How it can be seen while a request is evaluated.
    pub(super) fn seen(&self) -> Seen<'_> {
        match self {
            Self::Truth(truth) => Seen::Truth(*truth),
            Self::Long(number) => Seen::Long(*number),
            Self::Text(text) => Seen::Text(text),
            Self::Address(network) => Seen::Address(*network),
            Self::Moment(at) => Seen::Moment(*at),
            Self::Decimal(number) => Seen::Decimal(*number),
            Self::Entity(_) | Self::Set(_) => Seen::Other(self),
        }
    }
}

/// A value while a request is evaluated; nothing of it is owned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen<'a> {
    Truth(bool),
    Long(i64),
    Text(&'a str),
    Address(IpNet),
    Decimal(i64),
    Moment(i64),
    Other(&'a Value),
}

impl Seen<'_> {
    /// Whether a set has it.
    pub(super) fn is_in(self, set: &BTreeSet<Value>) -> bool {
        set.iter().any(|member| member.seen() == self)
    }

    pub(super) fn to_value(self) -> Value {
        match self {
            Self::Truth(truth) => Value::Truth(truth),
            Self::Long(number) => Value::Long(number),
            Self::Text(text) => Value::Text(text.into()),
            Self::Address(network) => Value::Address(network),
            Self::Decimal(number) => Value::Decimal(number),
            Self::Moment(at) => Value::Moment(at),
            Self::Other(value) => value.clone(),
        }
    }
}

impl AddressTest {
    /// As Cedar's methods: a network is what all of it is.
    pub(super) fn holds(self, network: IpNet) -> bool {
        let (v4, length) = (matches!(network, IpNet::V4(_)), network.prefix_len());
        match self {
            Self::V4 => v4,
            Self::V6 => !v4,
            Self::Loopback => network.addr().is_loopback() && length >= if v4 { 8 } else { 128 },
            Self::Multicast => network.addr().is_multicast() && length >= if v4 { 4 } else { 8 },
        }
    }
}

impl Pattern {
    /// Of wildcards (`None`) and texts. Texts that follow each other are one: Cedar gives each character by itself.
    pub(super) fn new(parts: impl Iterator<Item = Option<String>>) -> Self {
        let mut all: Vec<Option<String>> = Vec::new();
        for part in parts {
            match (all.last_mut(), part) {
                (Some(Some(text)), Some(more)) => text.push_str(&more),
                (Some(None), None) => {}
                (_, part) => all.push(part),
            }
        }
        Self(all.into_iter().map(|part| part.map(String::into_boxed_str)).collect())
    }

    /// Whether all of the text fits. Each text part is taken where it comes first: what is after a wildcard can only gain by that.
    pub(super) fn fits(&self, text: &str) -> bool {
        let (mut rest, mut loose) = (text, false);
        let mut parts = self.0.iter().peekable();
        while let Some(part) = parts.next() {
            let Some(part) = part else {
                loose = true;
                continue;
            };
            let taken = match (loose, parts.peek()) {
                (false, _) => rest.strip_prefix(&**part),
                // The last part stands at the end.
                (true, None) => return rest.ends_with(&**part),
                (true, Some(_)) => rest.split_once(&**part).map(|(_, after)| after),
            };
            let Some(after) = taken else { return false };
            (rest, loose) = (after, false);
        }
        loose || rest.is_empty()
    }
}

/// The milliseconds from 1970 to the beginning of a day in UTC.
pub(super) fn midnight(day: jiff::civil::Date) -> i64 {
    let epoch = jiff::civil::date(1970, 1, 1);
    let days = day.since(epoch).map_or(0, |span| i64::from(span.get_days()));
    days * 86_400_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_as_cedars_does_though_each_character_comes_by_itself() {
        let fits = |pattern: &str, text: &str| {
            let parts = pattern.chars().map(|c| (c != '*').then(|| c.to_string()));
            Pattern::new(parts).fits(text)
        };
        for (pattern, text) in
            [("*01", "00101"), ("*99", "00999"), ("*ab*", "axab"), ("0*46", "04046"), ("**", ""), ("", "")]
        {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("*01", "0010"), ("01*", "001"), ("ab", "abc"), ("a*b*c", "acb"), ("", "a"), ("a*a", "a")]
        {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }
}
