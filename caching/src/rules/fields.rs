//! Fields that belong to a connection, and others that no cache keeps (RFC 9111 section 3.1, RFC 9110 section 7.6.1).

use http::HeaderMap;
use http::header::{self, HeaderName};

use super::directives::Scope;
use super::list;

/// Leaves out what belongs to one connection: fields that are always of that kind, and those that `Connection` names.
/// For requests and responses that go on, and for what is stored.
pub fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let lines = headers.get_all(header::CONNECTION).iter();
    let named: Vec<HeaderName> = lines
        .flat_map(|line| list::members(line.as_bytes()))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .collect();
    for name in named.iter().chain(HOP_BY_HOP.iter()) {
        headers.remove(name);
    }
}

/// Whether a field is always of that kind.
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name)
}

/// What of a response is kept: not what belongs to a connection or a proxy, and not the fields in these scopes.
pub(crate) fn kept(headers: &HeaderMap, scopes: &[&Option<Scope>]) -> HeaderMap {
    let mut kept = headers.clone();
    drop_hop_by_hop(&mut kept);
    for name in scopes.iter().filter_map(|scope| fields(scope)).flatten() {
        kept.remove(name);
    }
    kept
}

fn fields(scope: &Option<Scope>) -> Option<&Vec<HeaderName>> {
    match scope {
        Some(Scope::Fields(names)) => Some(names),
        Some(Scope::All) | None => None,
    }
}

static HOP_BY_HOP: [HeaderName; 11] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// RFC 9111 section 3.1.
    #[test]
    fn what_connection_names_and_what_is_a_proxys_is_not_kept() {
        let all =
            [("connection", "A, b"), ("a", "1"), ("b", "2"), ("c", "3"), ("te", "x"), ("keep-alive", "5"), ("d", "4")];
        let all = all.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let scope = Some(Scope::Fields(vec![HeaderName::from_static("d")]));
        let kept = kept(&all.into_iter().collect(), &[&scope, &Some(Scope::All), &None]);
        assert_eq!(kept.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["c"]);
    }
}
