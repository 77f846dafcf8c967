//! X-Road identifiers and targets (X-Road: Message Protocol for REST, PR-REST, sections 4.1, 4.2 and 4.8).
//!
//! An identifier is kept as its parts joined by `/`, not percent-encoded. A part cannot hold a `/` itself, so two identifiers are equal
//! when their texts are; letter case matters.

use std::fmt::{self, Write as _};
use std::ops::RangeInclusive;

use crate::contract::decode;

/// Declares a newtype over an identifier of so many parts.
macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $parts:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub struct $name(Box<str>);

        impl $name {
            /// Reads it as it is written in a bundle: plain text.
            pub fn typed(text: &str) -> Option<Self> {
                read(text.split('/'), false, $parts).map(Self)
            }

            /// Reads it as it travels: each part percent-encoded UTF-8.
            pub fn encoded(text: &str) -> Option<Self> {
                read(text.split('/'), true, $parts).map(Self)
            }

            /// The parts joined by `/`, as a bundle writes them.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// As it travels: each part percent-encoded.
            pub fn to_encoded(&self) -> String {
                encode(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

identifier!(
    /// A member: `instance/class/member`, such as `VN/GOV/TAX`.
    MemberId,
    3..=3
);
identifier!(
    /// A client: a member, or (as a rule) one of its subsystems: `instance/class/member/subsystem`, such as `VN/GOV/TAX/ETAX`.
    ClientId,
    3..=4
);
identifier!(
    /// A service: `instance/class/member/subsystem/service`, such as `VN/GOV/MPS/NPDB/population`. The subsystem may not be left
    /// out: where the path of the service begins could not be told.
    ServiceId,
    5..=5
);

impl ClientId {
    /// The member that it is, or is a part of.
    pub fn member(&self) -> &str {
        let end = self.0.match_indices('/').nth(2).map_or(self.0.len(), |(at, _)| at);
        self.0.get(..end).unwrap_or_default()
    }
}

/// The target of a request: `/r1/{service}/{path}`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target<'p> {
    /// The service.
    pub service: ServiceId,
    /// What follows it, still percent-encoded: empty, or from its `/` on. It may hold personal data.
    pub rest: &'p str,
}

impl<'p> Target<'p> {
    /// Takes a request's path apart. `None` if it is not of that form.
    pub fn of(path: &'p str) -> Option<Self> {
        let after = path.strip_prefix(PREFIX)?;
        let end = after.match_indices('/').nth(4).map_or(after.len(), |(at, _)| at);
        let (service, rest) = after.split_at_checked(end)?;
        Some(Self { service: ServiceId::encoded(service)?, rest })
    }
}

/// What the path of every request begins with: the protocol's version.
pub const PREFIX: &str = "/r1/";

fn read<'t>(parts: impl Iterator<Item = &'t str>, encoded: bool, count: RangeInclusive<usize>) -> Option<Box<str>> {
    let mut text = String::new();
    let mut found = 0;
    for part in parts {
        let part = if encoded { decode(part, false)? } else { part.into() };
        if !is_part(&part) {
            return None;
        }
        if found > 0 {
            text.push('/');
        }
        text.push_str(&part);
        found += 1;
    }
    count.contains(&found).then(|| text.into())
}

/// What no part of an identifier may hold (PR-REST 1.0.2, section 4.8). New ones hold letters, digits and few signs only (1.0.3), but
/// those of before stay. The length is ours.
fn is_part(part: &str) -> bool {
    let forbidden =
        |char: char| char.is_control() || matches!(char, ':' | ';' | '/' | '\\' | '%' | '\u{200b}' | '\u{feff}');
    !part.is_empty()
        && part.len() <= 255
        && part.trim() == part
        && !matches!(part, "." | "..")
        && !part.contains(forbidden)
}

fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_the_same_however_it_is_encoded() {
        let plain = ClientId::typed("VN/GOV/Thuế/E TAX").unwrap();
        assert_eq!(ClientId::encoded("VN/GOV/Thu%E1%BA%BF/E%20TAX").as_ref(), Some(&plain));
        assert_eq!(ClientId::encoded("%56N/GOV/Thu%e1%ba%bf/E%20TAX").as_ref(), Some(&plain));
        assert_eq!(plain.to_encoded(), "VN/GOV/Thu%E1%BA%BF/E%20TAX");
        assert_eq!(plain.member(), "VN/GOV/Thuế");
        assert_eq!(ClientId::typed("VN/GOV/TAX").unwrap().member(), "VN/GOV/TAX");
        assert_ne!(ClientId::typed("VN/GOV/TAX/etax"), ClientId::typed("VN/GOV/TAX/ETAX"));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_identifier() {
        for text in [
            "",
            "VN",
            "VN/GOV",
            "VN/GOV/",
            "VN//TAX",
            "/VN/GOV/TAX",
            "VN/GOV/TAX/",
            "VN/GOV/TAX/ETAX/x",
            "VN/GOV/..",
            "VN/GOV/%2e%2e",
            "VN/GOV/TAX%2FETAX",
            "VN%2FGOV%2FTAX",
            "VN/GOV/TAX:1",
            "VN/GOV/TAX%",
            "VN/GOV/%ff",
            "VN/GOV/TAX%00",
            "VN/GOV/TAX%20",
            "VN/GOV/TA%E2%80%8BX",
        ] {
            assert_eq!(ClientId::encoded(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_target_is_a_service_and_what_follows_it() {
        let read = |path| Target::of(path).map(|target| (target.service.to_string(), target.rest));
        let service = "VN/GOV/MPS/NPDB/population".to_owned();
        assert_eq!(read("/r1/VN/GOV/MPS/NPDB/population/citizens/1%2F"), Some((service.clone(), "/citizens/1%2F")));
        assert_eq!(read("/r1/VN/GOV/MPS/NPDB/population"), Some((service.clone(), "")));
        assert_eq!(read("/r1/VN/GOV/MPS/NPDB/population/"), Some((service, "/")));
        for path in ["/r2/VN/GOV/MPS/NPDB/population/a", "/r1/VN/GOV/MPS/NPDB", "/r1/VN/GOV/MPS//population/a", "/r1"] {
            assert_eq!(read(path), None, "{path}");
        }
    }
}
