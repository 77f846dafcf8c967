//! A request for a view: `GET /.well-known/openapi[?purpose=...]`.

use http::request::Parts;
use http::{HeaderMap, Method, Request, header};

use crate::accept::ClientBody;
use crate::refusal::Refusal;

/// What of a view is wanted, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// The one purpose that the view is for; all of the caller's if it does not say.
    pub purpose: Option<String>,
    /// In which form.
    pub form: Form,
    /// Whether only the header section is wanted.
    pub head: bool,
    /// The versions that the caller has already (`If-None-Match`).
    known: Vec<String>,
}

/// The forms of a view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// `application/json`, unless the caller asks for the other.
    Json,
    /// `application/yaml` (RFC 9512).
    Yaml,
}

impl Wanted {
    /// Whether the caller has the version of that entity tag. The comparison is weak (RFC 9110, section 13.1.2).
    pub fn has(&self, tag: &str) -> bool {
        self.known.iter().any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
    }
}

/// Whether a request is for a view and not for an operation. No contract can have its path.
pub fn asks_for_view(request: &Request<ClientBody>) -> bool {
    request.uri().path() == PATH
}

/// Reads the request.
///
/// # Errors
/// If it has another method than `GET` or `HEAD`, or another parameter than `purpose`.
pub fn wanted(parts: &Parts) -> Result<Wanted, Refusal> {
    let head = parts.method == Method::HEAD;
    if !head && parts.method != Method::GET {
        return Err(Refusal::MethodNotAllowed { allow: "GET, HEAD".into() });
    }
    let purpose = match parts.uri.query().map(|query| query.strip_prefix("purpose=")) {
        None => None,
        Some(Some(purpose)) if is_name(purpose) => Some(purpose.to_owned()),
        Some(_) => return Err(Refusal::ParameterInvalid { detail: ONE_PURPOSE.into(), errors: Vec::new() }),
    };
    Ok(Wanted { purpose, form: form(&parts.headers), head, known: listed(&parts.headers, header::IF_NONE_MATCH) })
}

fn form(headers: &HeaderMap) -> Form {
    let accepted = listed(headers, header::ACCEPT);
    let weight = |kind: &str| {
        accepted.iter().find_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(kind));
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
            named.then(|| weight.unwrap_or(1.0))
        })
    };
    let yaml = weight("application/yaml").unwrap_or_default();
    if yaml > weight("application/json").unwrap_or_default() { Form::Yaml } else { Form::Json }
}

/// The elements of a header that is a list. Tags of views hold no comma.
fn listed(headers: &HeaderMap, name: header::HeaderName) -> Vec<String> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|element| element.trim().to_owned()).collect()
}

/// Whether it can be the name of a purpose.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

const PATH: &str = "/.well-known/openapi";
const ONE_PURPOSE: &str = "a view takes no parameter but purpose: the name of one of your purposes";

#[cfg(test)]
mod tests {
    use super::*;

    fn form_of(accept: &str) -> Form {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        form(&headers)
    }

    #[test]
    fn yaml_is_for_those_who_ask_for_it() {
        for accept in ["application/yaml", "application/yaml, */*", "Application/YAML;q=0.9, application/json;q=0.5"] {
            assert_eq!(form_of(accept), Form::Yaml, "{accept}");
        }
        for accept in
            ["*/*", "application/json", "application/json, application/yaml", "application/yaml;q=0", "text/html"]
        {
            assert_eq!(form_of(accept), Form::Json, "{accept}");
        }
        assert_eq!(form(&HeaderMap::new()), Form::Json);
    }

    #[test]
    fn a_known_version_is_recognised_in_a_list() {
        let parts = |tags: &str| {
            let request = Request::get("/.well-known/openapi").header("if-none-match", tags).body(()).unwrap();
            wanted(&request.into_parts().0).unwrap()
        };
        assert!(parts("\"x\", W/\"a\"").has("\"a\"") && parts("*").has("\"a\""));
        assert!(!parts("\"x\", \"a-yaml\"").has("\"a\""));
    }

    #[test]
    fn a_view_takes_one_purpose_and_nothing_else() {
        let ask = |method: &str, target: &str| {
            wanted(&Request::builder().method(method).uri(target).body(()).unwrap().into_parts().0)
        };
        assert_eq!(ask("GET", "/x").unwrap().purpose, None);
        assert_eq!(ask("HEAD", "/x?purpose=tax-debt").unwrap().purpose.as_deref(), Some("tax-debt"));
        for query in ["", "purpose=", "purpose=a&purpose=b", "purposes=a", "purpose=%61"] {
            assert!(matches!(ask("GET", &format!("/x?{query}")), Err(Refusal::ParameterInvalid { .. })), "{query}");
        }
        assert!(matches!(ask("POST", "/x"), Err(Refusal::MethodNotAllowed { .. })));
    }
}
