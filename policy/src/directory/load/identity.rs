//! Who a system is and where it may come from.

use std::collections::HashMap;

use ipnet::IpNet;
use unicode_normalization::UnicodeNormalization as _;

use crate::directory::Identity;
use crate::document::{Node, Sheet, Value};

/// Reads `identity`: a string or a list of strings. `taken` has the identities of all systems that were read before.
pub(super) fn read(
    sheet: &mut Sheet<'_>,
    node: &Node,
    system: &str,
    taken: &mut HashMap<Identity, String>,
) -> Vec<Identity> {
    let typed: Vec<(&str, &Node)> = match &node.value {
        Value::List(items) if items.is_empty() => {
            let problem = sheet.error("bad-identity", &node.span, format!("the system `{system}` has no identity"));
            sheet.push(problem.help(FORMS));
            Vec::new()
        }
        Value::List(_) => sheet.texts(node, "`identity`"),
        _ => sheet.text(node, "`identity`").map(|typed| (typed, node)).into_iter().collect(),
    };
    let mut identities = Vec::new();
    for (typed, node) in typed {
        let identity = match parse(typed) {
            Ok(identity) => identity,
            Err((code, message, help)) => {
                sheet.push(sheet.error(code, &node.span, message).help(help));
                continue;
            }
        };
        if let Some(other) = taken.get(&identity) {
            let message = format!("the identity `{typed}` of `{system}` is already that of `{other}`");
            let problem = sheet.error("duplicate-identity", &node.span, message);
            sheet.push(problem.help("a certificate must stand for one system"));
            continue;
        }
        taken.insert(identity.clone(), system.to_owned());
        identities.push(identity);
    }
    identities
}

/// The networks that a system may come from.
pub(super) fn networks(sheet: &mut Sheet<'_>, node: &Node) -> Vec<IpNet> {
    let mut networks = Vec::new();
    if matches!(&node.value, Value::List(items) if items.is_empty()) {
        let problem = sheet.error("bad-network", &node.span, "an empty list of networks would mean anywhere");
        sheet.push(problem.help("leave `networks` out if the system may come from anywhere, or name where it may"));
    }
    for (typed, node) in sheet.texts(node, "`networks`") {
        match typed.parse::<IpNet>() {
            Ok(network) if network.trunc() == network => networks.push(network),
            Ok(network) => {
                let message = format!("`{typed}` is an address within a network");
                let problem = sheet.error("bad-network", &node.span, message);
                sheet.push(problem.help(format!("did you mean `{}`?", network.trunc())));
            }
            Err(_) => {
                let problem = sheet.error("bad-network", &node.span, format!("`{typed}` is not a network"));
                let help = match typed.parse::<std::net::IpAddr>() {
                    Ok(address) => format!("did you mean `{}`?", IpNet::from(address)),
                    Err(_) => "such as `10.20.0.0/16` or `2001:db8::/32`".to_owned(),
                };
                sheet.push(problem.help(help));
            }
        }
    }
    networks
}

type Refused = (&'static str, String, &'static str);

/// Tells the three forms apart: `pin:sha256:...`, a URI (`scheme:...`), a distinguished name (`TYPE=...`).
fn parse(typed: &str) -> Result<Identity, Refused> {
    if let Some(pin) = typed.strip_prefix("pin:") {
        let digits = pin.strip_prefix("sha256:").filter(|digits| {
            digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        });
        return match digits {
            Some(digits) => Ok(Identity::Pin(digits.to_owned())),
            None => {
                let help = "`pin:sha256:` and the 64 lower-case hex digits of the public key's SHA-256";
                Err(("bad-pin", format!("`{typed}` is not the pin of a key"), help))
            }
        };
    }
    let (scheme, rest) = typed.split_once(':').unwrap_or_default();
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if is_scheme && !rest.is_empty() && typed.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Identity::Uri(typed.to_owned()));
    }
    // Certificates' subjects are compared in the composed form, too.
    let composed: String = typed.nfc().collect();
    match subject(&composed) {
        Some(subject) => Ok(Identity::Subject(subject)),
        None => Err(("bad-identity", format!("`{typed}` is not an identity"), FORMS)),
    }
}

/// A distinguished name in the form of [`Identity::Subject`]: white space around the commas between its parts, and around the first `=`
/// of each, is dropped; nothing else is changed. Case, order and escapes must be as RFC 4514 writes the certificate's own.
fn subject(typed: &str) -> Option<String> {
    let parts: Option<Vec<String>> = split_unescaped(typed)
        .into_iter()
        .map(|part| {
            let (kind, value) = part.split_once('=')?;
            let (kind, value) = (kind.trim(), value.trim());
            // Of an escaped space at the end only the backslash would be left, and escape the comma.
            let cut = (value.len() - value.trim_end_matches('\\').len()) % 2 == 1;
            let is_kind = !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
            (is_kind && !cut && !value.is_empty()).then(|| format!("{kind}={value}"))
        })
        .collect();
    parts.map(|parts| parts.join(","))
}

/// Splits at commas that no backslash stands before.
fn split_unescaped(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, char) in text.char_indices() {
        match char {
            ',' if !escaped => {
                parts.extend(text.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
        escaped = char == '\\' && !escaped;
    }
    parts.extend(text.get(start..));
    parts
}

const FORMS: &str = "write a URI (`spiffe://...`), a subject (`CN=...,O=...`) or a pin (`pin:sha256:...`)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_tells_the_kind() {
        let uri = "spiffe://gov.vn/tax/etax";
        assert_eq!(parse(uri), Ok(Identity::Uri(uri.to_owned())));
        let pin = "0a".repeat(32);
        assert_eq!(parse(&format!("pin:sha256:{pin}")), Ok(Identity::Pin(pin)));
        assert_eq!(parse("CN=etax"), Ok(Identity::Subject("CN=etax".to_owned())));
        let composed = Identity::Subject("O=Thu\u{1ebf}".to_owned());
        assert_eq!(parse("O=Thue\u{302}\u{301}"), Ok(composed));
        for typed in ["", "etax", "pin:sha256:00", "CN=", "=x", "a b:c", "://x", "CN=a,,O=b"] {
            assert!(parse(typed).is_err(), "{typed:?}");
        }
        let upper = format!("pin:sha256:{}", "0A".repeat(32));
        assert_eq!(parse(&upper).unwrap_err().0, "bad-pin");
    }

    #[test]
    fn only_the_space_around_separators_is_dropped_from_a_subject() {
        let typed = "CN = etax, O=Tax  Department\\, Central , C=VN";
        assert_eq!(subject(typed).as_deref(), Some("CN=etax,O=Tax  Department\\, Central,C=VN"));
        assert_eq!(subject("CN=Cục Thuế: một").as_deref(), Some("CN=Cục Thuế: một"));
    }

    #[test]
    fn a_space_that_is_escaped_is_not_dropped_from_behind_its_backslash() {
        // Dropped, the comma would be escaped instead: the subject of somebody else.
        assert_eq!(subject("CN=etax\\ ,O=Tax"), None);
        assert_eq!(subject("CN=etax\\ "), None);
        assert_eq!(subject("CN=etax\\\\ ,O=Tax").as_deref(), Some("CN=etax\\\\,O=Tax"));
    }
}
