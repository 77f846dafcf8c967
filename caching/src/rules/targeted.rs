//! Targeted cache control (RFC 9213): a field for this cache alone, which outweighs `Cache-Control` and `Expires`.

use http::HeaderMap;

use super::directives::Response;
use super::settings::Settings;
use super::structured;

/// The field for this gateway.
pub const GATEWAY: &str = "gateway-cache-control";
/// The field for any cache of an operator (RFC 9213 section 3.1); behind [`Settings::honour_cdn`].
pub const CDN: &str = "cdn-cache-control";

/// What counts: the first valid and not empty field of the target list, else `Cache-Control`.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) directives: Response,
    /// `Expires` does not count then (RFC 9213 section 2.2).
    pub(crate) targeted: bool,
}

impl Control {
    pub(crate) fn of(headers: &HeaderMap, settings: &Settings) -> Self {
        let targeted = names(settings).find_map(|name| {
            let lines = headers.get_all(name).iter().map(http::HeaderValue::as_bytes);
            let members = structured::dictionary(lines)?;
            if members.is_empty() { None } else { Response::of_dictionary(&members) }
        });
        match targeted {
            Some(directives) => Self { directives, targeted: true },
            None => Self { directives: Response::of(headers), targeted: false },
        }
    }
}

/// The target list.
pub(crate) fn names(settings: &Settings) -> impl Iterator<Item = &'static str> {
    std::iter::once(GATEWAY).chain(settings.honour_cdn.then_some(CDN))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;
    use http::header::{CACHE_CONTROL, HeaderName};

    use super::*;

    fn of(pairs: &[(&'static str, &'static str)], honour_cdn: bool) -> Control {
        let named = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        Control::of(&pairs.iter().map(named).collect(), &Settings { honour_cdn, ..Settings::default() })
    }

    /// RFC 9213 section 2.2: the first of the list counts, and only it.
    #[test]
    fn the_first_valid_field_counts_and_nothing_else() {
        let all = [(CACHE_CONTROL.as_str(), "no-store"), (CDN, "max-age=2"), (GATEWAY, "max-age=3")];
        let all =
            all.map(|(name, value)| if name == "cache-control" { ("cache-control", value) } else { (name, value) });
        let read = of(&all, true);
        assert_eq!((read.targeted, read.directives.max_age), (true, Some(Duration::from_secs(3))));
        assert!(!read.directives.no_store);
        assert_eq!(of(&all[..2], true).directives.max_age, Some(Duration::from_secs(2)));
        assert!(of(&all[..2], false).directives.no_store, "that switch is off");
    }

    /// RFC 9213 section 2.1: what is empty or not a Dictionary is as if it were not there.
    #[test]
    fn an_invalid_field_is_no_field() {
        for bad in
            ["", "max-age=10000, &&&&&", "max-age=\"10000\"", "max-age", "MaX-aGe=3600", "max-age =100", "max-age=1.5"]
        {
            let read = of(&[("cache-control", "no-store"), (GATEWAY, bad)], false);
            assert!(!read.targeted && read.directives.no_store, "{bad}");
        }
    }

    /// RFC 9213 section 2.1: names of fields as a String or a list.
    #[test]
    fn restricting_directives_hold_whatever_their_value_is() {
        for (text, all) in [("private", true), ("private=1.5", true), ("private=(1)", true), ("private=\"a\"", false)] {
            let read = of(&[(GATEWAY, text)], false).directives.private;
            assert_eq!(read == Some(crate::rules::Scope::All), all, "{text}");
        }
        assert_eq!(of(&[(GATEWAY, "private=?0")], false).directives.private, None);
        assert_eq!(of(&[(GATEWAY, "max-age=-5")], false).directives.max_age, Some(Duration::ZERO));
    }
}
