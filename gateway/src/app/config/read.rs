//! Reading single values; each function notes what is wrong and then answers `None`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use popgate_policy::directory::Identity;
use toml::Spanned;
use toml::de::DeValue;

use super::section::Reader;
use super::{Endpoint, Role, units};

type Value<'r> = &'r Spanned<DeValue<'r>>;

/// A string that is not empty.
pub(super) fn text<'r>(reader: &Reader<'_>, value: Value<'r>) -> Option<&'r str> {
    match value.get_ref().as_str() {
        Some("") => {
            reader.wrong("empty-text", value.span(), "the text must not be empty");
            None
        }
        Some(text) => Some(text),
        None => wrong_type(reader, value, "a text in quotes"),
    }
}

/// A path, relative to `folder`.
pub(super) fn path(folder: &Path) -> impl Fn(&Reader<'_>, Value<'_>) -> Option<PathBuf> {
    move |reader, value| {
        let typed = text(reader, value)?;
        if typed.contains('*') {
            let message = format!("`{typed}` must name one file or folder, without `*`");
            reader.wrong("bad-path", value.span(), message);
            return None;
        }
        Some(folder.join(typed))
    }
}

/// A path, relative to `folder`, whose last part may hold one `*`.
pub(super) fn pattern(folder: &Path) -> impl Fn(&Reader<'_>, Value<'_>) -> Option<PathBuf> {
    move |reader, value| {
        let typed = text(reader, value)?;
        let path = folder.join(typed);
        let last = Path::new(typed).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if last.is_empty() || typed.matches('*').count() > 1 || typed.contains('*') != last.contains('*') {
            let message = format!("in `{typed}` only the last part may hold a `*`, and only one");
            reader.mend("bad-path", value.span(), message, "such as `\"tls/ca/*.pem\"`");
            return None;
        }
        Some(path)
    }
}

/// An IP address and a port.
pub(super) fn address(reader: &Reader<'_>, value: Value<'_>) -> Option<SocketAddr> {
    let typed = text(reader, value)?;
    let parsed = typed.parse().ok();
    if parsed.is_none() {
        let message = format!("`{typed}` is not an IP address with a port");
        reader.mend("bad-address", value.span(), message, "such as `\"0.0.0.0:8443\"` or `\"[::]:8443\"`");
    }
    parsed
}

/// A duration above zero.
pub(super) fn duration(reader: &Reader<'_>, value: Value<'_>) -> Option<Duration> {
    duration_or_zero(reader, value).and_then(|duration| {
        if duration.is_zero() {
            reader.wrong("out-of-range", value.span(), "the time must be longer than zero");
            return None;
        }
        Some(duration)
    })
}

/// A duration.
pub(super) fn duration_or_zero(reader: &Reader<'_>, value: Value<'_>) -> Option<Duration> {
    if let Some(number) = value.get_ref().as_integer() {
        let message = format!("`{number}` has no unit");
        reader.mend("bad-duration", value.span(), message, units::DURATION_HELP);
        return None;
    }
    let typed = text(reader, value)?;
    match units::duration(typed) {
        Ok(duration) => Some(duration),
        Err(reason) => {
            reader.mend("bad-duration", value.span(), format!("`{typed}` {reason}"), units::DURATION_HELP);
            None
        }
    }
}

/// A duration, or `"forever"`, which is `None`.
pub(super) fn duration_or_forever(reader: &Reader<'_>, value: Value<'_>) -> Option<Option<Duration>> {
    if value.get_ref().as_str() == Some("forever") {
        return Some(None);
    }
    duration_or_zero(reader, value).map(Some)
}

/// A number of bytes within a range.
pub(super) fn size(least: u64, most: u64) -> impl Fn(&Reader<'_>, Value<'_>) -> Option<u64> {
    move |reader, value| {
        let parsed = match value.get_ref() {
            DeValue::Integer(number) => units::size(&number.to_string()).map_err(|reason| (number.to_string(), reason)),
            DeValue::String(typed) => units::size(typed).map_err(|reason| (typed.to_string(), reason)),
            _ => return wrong_type(reader, value, "a size"),
        };
        match parsed {
            Err((typed, reason)) => {
                reader.mend("bad-size", value.span(), format!("`{typed}` {reason}"), units::SIZE_HELP);
                None
            }
            Ok(size) if size < least || size > most => {
                let message = format!("{size} bytes are out of range: from {least} to {most}");
                reader.wrong("out-of-range", value.span(), message);
                None
            }
            Ok(size) => Some(size),
        }
    }
}

/// A whole number within a range.
pub(super) fn count(least: u32, most: u32) -> impl Fn(&Reader<'_>, Value<'_>) -> Option<u32> {
    move |reader, value| {
        let Some(number) = value.get_ref().as_integer() else {
            return wrong_type(reader, value, "a whole number without quotes");
        };
        let parsed = u32::from_str_radix(number.as_str(), number.radix()).ok();
        let fit = parsed.filter(|count| (least..=most).contains(count));
        if fit.is_none() {
            let message = format!("`{number}` is out of range: from {least} to {most}");
            reader.wrong("out-of-range", value.span(), message);
        }
        fit
    }
}

/// `true` or `false`.
pub(super) fn switch(reader: &Reader<'_>, value: Value<'_>) -> Option<bool> {
    value.get_ref().as_bool().or_else(|| wrong_type(reader, value, "`true` or `false` without quotes"))
}

/// A time zone of the IANA database.
pub(super) fn time_zone(reader: &Reader<'_>, value: Value<'_>) -> Option<String> {
    let typed = text(reader, value)?;
    if jiff::tz::TimeZone::get(typed).is_ok() {
        return Some(typed.to_owned());
    }
    let message = format!("`{typed}` is not a time zone of the IANA database");
    reader.mend("bad-time-zone", value.span(), message, "a place name, such as `\"Asia/Ho_Chi_Minh\"`");
    None
}

/// A list, each element read by `read`.
pub(super) fn list<T>(
    read: impl Fn(&Reader<'_>, Value<'_>) -> Option<T>,
) -> impl Fn(&Reader<'_>, Value<'_>) -> Option<Vec<T>> {
    move |reader, value| match value.get_ref().as_array() {
        Some(items) => Some(items.iter().filter_map(|item| read(reader, item)).collect()),
        None => wrong_type(reader, value, "a list in brackets"),
    }
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(reader: &Reader<'_>, value: Value<'_>, known: &[(&str, T)]) -> Option<T> {
    let typed = text(reader, value)?;
    let found = known.iter().find(|(name, _)| *name == typed).map(|(_, meaning)| *meaning);
    if found.is_none() {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let message = format!("`{typed}` is none of {}", names.join(", "));
        reader.suggest("unknown-word", value.span(), message, typed, &names);
    }
    found
}

/// A DNS name or an IP address that a certificate can show.
pub(super) fn server_name(reader: &Reader<'_>, value: Value<'_>) -> Option<String> {
    let typed = text(reader, value)?;
    if rustls::pki_types::ServerName::try_from(typed).is_ok() {
        return Some(typed.to_ascii_lowercase());
    }
    reader.wrong("bad-name", value.span(), format!("`{typed}` is neither a DNS name nor an IP address"));
    None
}

/// The path and query of a URL.
pub(super) fn origin_path(reader: &Reader<'_>, value: Value<'_>) -> Option<String> {
    let typed = text(reader, value)?;
    if typed.starts_with('/') && typed.parse::<http::uri::PathAndQuery>().is_ok() {
        return Some(typed.to_owned());
    }
    let message = format!("`{typed}` is not the path of a URL");
    reader.mend("bad-path", value.span(), message, "such as `\"/health\"`");
    None
}

/// `https://host[:port]`, or a table with it as `url`, and the `zone` that it is in.
pub(super) fn endpoint(reader: &Reader<'_>, value: Value<'_>) -> Option<Endpoint> {
    let Some(table) = value.get_ref().as_table() else { return url(reader, value) };
    for name in table.keys() {
        if !["url", "zone"].contains(&name.get_ref().as_ref()) {
            let (typed, message) = (name.get_ref().as_ref(), "an endpoint has a `url` and a `zone`, and nothing else");
            reader.suggest("unknown-key", name.span(), message, typed, &["url", "zone"]);
            return None;
        }
    }
    let Some(found) = table.get("url") else {
        let help = "such as `{ url = \"https://10.1.0.11\", zone = \"ha-noi\" }`";
        reader.mend("missing-key", value.span(), "the endpoint has no `url`", help);
        return None;
    };
    let zone = match table.get("zone") {
        Some(zone) => Some(text(reader, zone)?.to_owned()),
        None => None,
    };
    Some(Endpoint { zone, ..url(reader, found)? })
}

fn url(reader: &Reader<'_>, value: Value<'_>) -> Option<Endpoint> {
    let typed = text(reader, value)?;
    let wrong = |message: String, help: String| {
        reader.mend("bad-endpoint", value.span(), message, help);
        None
    };
    let example = || "such as `\"https://10.1.0.11\"` or `\"https://register.gov.vn:8443\"`".to_owned();
    if let Some(rest) = typed.strip_prefix("http://") {
        return wrong(
            format!("`{typed}` is not encrypted: records travel over mutual TLS only"),
            format!("write `\"https://{rest}\"`"),
        );
    }
    let Some(rest) = typed.strip_prefix("https://") else {
        return wrong(format!("`{typed}` does not start with `https://`"), example());
    };
    let Some(authority) = rest.parse::<http::uri::Authority>().ok().filter(|authority| {
        !authority.host().is_empty() && !authority.as_str().contains('@') && !authority.as_str().ends_with(':')
    }) else {
        let message = format!("`{typed}` must be a host and a port, without a user, path or query");
        return wrong(message, example());
    };
    // `Authority::port` answers `None` for a port out of range as well: such a port must not become 443.
    let port = match authority.as_str().strip_prefix(authority.host()).map(|rest| rest.strip_prefix(':')) {
        Some(None) => Some(443),
        Some(Some(port)) => port.parse::<u16>().ok().filter(|port| *port > 0),
        None => None,
    };
    let Some(port) = port else {
        return wrong(format!("`{typed}` has no valid port"), example());
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    if rustls::pki_types::ServerName::try_from(host.as_str()).is_err() {
        return wrong(format!("`{host}` is neither a DNS name nor an IP address"), example());
    }
    Some(Endpoint { host, port, zone: None })
}

/// What an operator's certificate shows.
pub(super) fn identity(reader: &Reader<'_>, value: Value<'_>) -> Option<Identity> {
    let typed = text(reader, value)?;
    if let Some(pin) = typed.strip_prefix("pin:sha256:") {
        if pin.len() == 64 && pin.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Some(Identity::Pin(pin.to_ascii_lowercase()));
        }
    } else if let Some((scheme, rest)) = typed.split_once("://") {
        let letters = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if letters && !rest.is_empty() && !typed.contains(char::is_whitespace) {
            return Some(Identity::Uri(typed.to_owned()));
        }
    } else if typed.split_once('=').is_some_and(|(name, rest)| !name.contains(char::is_whitespace) && !rest.is_empty())
    {
        return Some(Identity::Subject(crate::certificate::normal(typed)));
    }
    reader.mend(
        "bad-identity",
        value.span(),
        format!("`{typed}` is not an identity that a certificate can show"),
        "a URI (`\"spiffe://...\"`), a subject (`\"CN=...\"`) or a key (`\"pin:sha256:<64 hex digits>\"`)",
    );
    None
}

/// A role's name.
pub(super) fn role(reader: &Reader<'_>, value: Value<'_>) -> Option<Role> {
    let typed = text(reader, value)?;
    let role = Role::parse(typed);
    if role.is_none() {
        let message = format!("unknown role `{typed}`");
        reader.suggest("unknown-role", value.span(), message, typed, &Role::ALL.map(Role::as_str));
    }
    role
}

fn wrong_type<T>(reader: &Reader<'_>, value: Value<'_>, wanted: &str) -> Option<T> {
    reader.wrong(
        "wrong-type",
        value.span(),
        format!("expected {wanted}, found a value of type {}", value.get_ref().type_str()),
    );
    None
}
