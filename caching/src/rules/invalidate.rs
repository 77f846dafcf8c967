//! What an answer to a method that may change something makes invalid (RFC 9111 section 4.4).

use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, StatusCode, Uri};

use super::Rulebook;
use super::settings::Asked;

impl Rulebook {
    /// The targets whose stored responses go: the target itself and, of the same origin only, what `Location` and
    /// `Content-Location` name. Empty where the method is safe, or the answer is an error.
    pub fn invalidated(&self, asked: &Asked<'_>, status: StatusCode, headers: &HeaderMap) -> Vec<Uri> {
        if is_safe(asked.method) || !(status.is_success() || status.is_redirection()) {
            return Vec::new();
        }
        let mut all = vec![asked.uri.clone()];
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            let named = headers.get(name).and_then(|value| resolve(value, asked.uri));
            all.extend(named.filter(|uri| same_origin(uri, asked.uri)));
        }
        all.dedup();
        all
    }
}

/// Methods that ask for no change (RFC 9110 section 9.2.1). What is not known may change something.
fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method)
}

/// A reference against its base (RFC 3986 section 5.2); without its fragment.
pub(crate) fn resolve(value: &HeaderValue, base: &Uri) -> Option<Uri> {
    let text = value.to_str().ok()?.trim_ascii();
    let text = text.split_once('#').map_or(text, |(before, _)| before);
    let scheme = base.scheme_str()?;
    let authority = base.authority()?.as_str();
    let absolute = if text.is_empty() {
        return Some(base.clone());
    } else if has_scheme(text) {
        text.to_owned()
    } else if let Some(rest) = text.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if text.starts_with('/') {
        format!("{scheme}://{authority}{}", without_dots(text))
    } else if text.starts_with('?') {
        format!("{scheme}://{authority}{}{text}", base.path())
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{}", without_dots(&format!("{folder}/{text}")))
    };
    absolute.parse().ok()
}

/// RFC 3986 section 5.2.4.
fn without_dots(text: &str) -> String {
    let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    for (n, segment) in segments.iter().enumerate() {
        let last = n + 1 == segments.len();
        match *segment {
            "." | ".." => {
                if *segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    let path = format!("/{}", kept.join("/"));
    query.map_or(path.clone(), |query| format!("{path}?{query}"))
}

fn has_scheme(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once(':') else { return false };
    let mut bytes = scheme.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// RFC 9110 section 4.3.1: scheme, host and port.
fn same_origin(one: &Uri, other: &Uri) -> bool {
    origin(one) == origin(other)
}

fn origin(uri: &Uri) -> (Option<&str>, Option<String>, Option<u16>) {
    let usual = match uri.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    };
    (uri.scheme_str(), uri.host().map(str::to_ascii_lowercase), uri.port_u16().or(usual))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "http://a.example/one/two?x=1";

    fn to(text: &str) -> String {
        let value = HeaderValue::from_str(text).unwrap();
        resolve(&value, &BASE.parse().unwrap()).map(|uri| uri.to_string()).unwrap_or_default()
    }

    /// RFC 3986 section 5.4, some of its rows.
    #[test]
    fn references_are_resolved_against_the_target() {
        let rows = [
            ("three", "http://a.example/one/three"),
            ("../three?y", "http://a.example/three?y"),
            ("./", "http://a.example/one/"),
            ("/x/../y#z", "http://a.example/y"),
            ("?q", "http://a.example/one/two?q"),
            ("", BASE),
            ("//b.example/c", "http://b.example/c"),
            ("https://a.example/c", "https://a.example/c"),
            ("../../../up", "http://a.example/up"),
        ];
        rows.iter().for_each(|(text, expected)| assert_eq!(to(text), *expected, "{text}"));
    }

    fn invalid(method: Method, status: u16, pairs: &[(header::HeaderName, &'static str)]) -> Vec<String> {
        let uri = BASE.parse().unwrap();
        let asked = Asked { method: &method, uri: &uri, headers: &HeaderMap::new() };
        let headers = pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        let all = Rulebook::default().invalidated(&asked, StatusCode::from_u16(status).unwrap(), &headers);
        all.iter().map(Uri::to_string).collect()
    }

    /// RFC 9111 section 4.4: unsafe and unknown methods, answers that are no errors, and one origin.
    #[test]
    fn what_may_have_changed_is_invalid() {
        let pairs = [(header::LOCATION, "three"), (header::CONTENT_LOCATION, "http://A.example:80/four")];
        let all = [BASE, "http://a.example/one/three", "http://A.example:80/four"];
        assert_eq!(invalid(Method::POST, 201, &pairs), all);
        assert_eq!(invalid(Method::from_bytes(b"M-SEARCH").unwrap(), 303, &[]), [BASE]);
        let others = [(header::LOCATION, "http://b.example/"), (header::CONTENT_LOCATION, "https://a.example/")];
        assert_eq!(invalid(Method::DELETE, 200, &others), [BASE], "of another origin");
        assert!(invalid(Method::PUT, 500, &pairs).is_empty());
        assert!(invalid(Method::GET, 200, &pairs).is_empty());
    }
}
