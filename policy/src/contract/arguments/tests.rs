//! Parameters are read strictly, and no refusal repeats a value.

use super::*;
use crate::contract::openapi::tests::contracts;

fn read(id: &str, captured: &[&str], query: &str, body: &str) -> Result<Vec<(String, String)>, String> {
    let contracts = contracts();
    let operation = contracts.operation(id).unwrap();
    let captures = Captures(captured.iter().map(|value| Personal::new((*value).to_owned())).collect());
    let parts = RequestParts { captures: &captures, query, body: body.as_bytes() };
    let arguments = operation.arguments(parts).map_err(|error| error.to_string())?;
    let given = arguments.given().map(|(at, value)| (operation.parameters[at.0].name.clone(), value.expose().clone()));
    Ok(given.collect())
}

const ID: &str = "001099000001";

fn get(captured: &str, query: &str) -> Result<Vec<(String, String)>, String> {
    read("citizen.read", &[captured], query, "")
}

fn verify(body: &str) -> Result<Vec<(String, String)>, String> {
    read("citizen.verify", &[], "", body)
}

fn verify_with(claim: &str) -> Result<Vec<(String, String)>, String> {
    verify(&format!(r#"{{"id":"{ID}",{claim}}}"#))
}

fn pairs(pairs: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
    Ok(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

#[test]
fn what_is_declared_is_read_decoded() {
    assert_eq!(get("0010990000%301", ""), pairs(&[("id", ID)]));
    let query = "name=L%C3%AA+Th%E1%BB%8B+Hoa&as_of=2001-12-31";
    assert_eq!(get(ID, query), pairs(&[("id", ID), ("as_of", "2001-12-31"), ("name", "Lê Thị Hoa")]));
    let body = r#" {"children": -2, "id":"001099000001", "province":null, "f\u0075ll_name":"L\u00ea", "tall":true} "#;
    assert_eq!(verify(body), pairs(&[("id", ID), ("full_name", "Lê"), ("tall", "true"), ("children", "-2")]));
}

#[test]
fn what_is_not_declared_is_refused_and_not_repeated() {
    for query in ["fields=all", "id=1", "x=Hoa", "As_of=2001-12-31"] {
        let error = get(ID, query).unwrap_err();
        assert_eq!(error, "an undeclared parameter in the query; declared are: as_of, name");
    }
    let error = verify_with(r#""nguyen van a": 1"#).unwrap_err();
    assert!(error.starts_with("an undeclared parameter in the body; declared are: id, full_name"), "{error}");
    assert_eq!(
        read("citizen.verify", &[], "a=b", "").unwrap_err(),
        "an undeclared parameter in the query; declared are: none"
    );
}

#[test]
fn what_stands_twice_is_refused() {
    let reason = |name: &str| format!("parameter `{name}` is not valid: it must be given once");
    assert_eq!(get(ID, "name=a&name=a").unwrap_err(), reason("name"));
    assert_eq!(verify_with(r#""full_name":"a","full_\u006eame":"a""#).unwrap_err(), reason("full_name"));
    assert_eq!(verify_with(r#""full_name":null,"full_name":"a""#).unwrap_err(), reason("full_name"));
}

#[test]
fn a_value_that_is_not_as_the_contract_says_is_named_but_never_shown() {
    let cases = [
        (get("00109900000x", ""), "matching ^[0-9]{12}$"),
        (get("0010990000%ff", ""), "percent-encoded utf-8"),
        (get(ID, "name=%ff"), "percent-encoded utf-8"),
        (get(ID, "name="), "not empty"),
        (get(ID, "name=abcdefghijklmnopqrstu"), "at most 20 characters"),
        (get(ID, "name=a%0Ab"), "free of control characters"),
        (get(ID, "as_of=2001-02-29"), "a date such as 2001-12-31"),
        (get(ID, "as_of=20010228"), "a date such as 2001-12-31"),
        (get(ID, "as_of=2001-02-28T00:00"), "a date such as 2001-12-31"),
        (verify_with(r#""full_name":7"#), "a string"),
        (verify_with(r#""full_name":["a"]"#), "a string"),
        (verify_with(r#""full_name":{"a":{}}"#), "a string"),
        (verify_with(r#""province":"002""#), "matching 001|079"),
        (verify_with(r#""tall":"true""#), "true or false"),
        (verify_with(r#""children":1.0"#), "an integer"),
        (verify_with(r#""children":"1""#), "an integer"),
        (verify_with(r#""children":99999999999999999999"#), "an integer"),
        (verify(r#"{"id":null}"#), "not null"),
    ];
    for (read, reason) in cases {
        let error = read.unwrap_err();
        assert!(error.ends_with(&format!("is not valid: it must be {reason}")), "{error}");
        for value in ["00109900000x", "abcdefgh", "2001-02", "99999"] {
            assert!(!error.contains(value), "{error}");
        }
    }
}

#[test]
fn what_is_required_must_be_there() {
    assert_eq!(verify("{}").unwrap_err(), "parameter `id` is missing");
    assert_eq!(read("citizen.read", &[], "", "").unwrap_err(), "parameter `id` is missing");
}

#[test]
fn a_body_is_one_json_object_or_nothing() {
    let wrong = [
        "",
        " ",
        "[]",
        "null",
        "\"a\"",
        "{",
        "{\"id\":\"001099000001\"} {}",
        "{\"id\":\"001099000001\",}",
        "{'id':1}",
        "\u{feff}{}",
        "{\"id\":\"\\ud800\"}",
    ];
    for body in wrong {
        assert_eq!(verify(body).unwrap_err(), ArgumentError::Body.to_string(), "{body:?}");
    }
    let large = format!("{}{{}}", " ".repeat(MAX_BODY));
    assert_eq!(verify(&large).unwrap_err(), ArgumentError::Body.to_string());
    assert_eq!(read("citizen.read", &[ID], "", "{}").unwrap_err(), "this operation takes no body");
    let contracts = contracts();
    let bad_utf8 = RequestParts { captures: &Captures::default(), query: "", body: b"{\"id\":\"\xff\"}" };
    assert_eq!(contracts.operation("citizen.verify").unwrap().arguments(bad_utf8).unwrap_err(), ArgumentError::Body);
}

#[test]
fn a_query_is_pairs_in_percent_encoded_utf8() {
    for query in ["name", "&", "name=a&", "%zz=a", "n%=a"] {
        assert_eq!(get(ID, query).unwrap_err(), ArgumentError::Query.to_string(), "{query:?}");
    }
}

#[test]
fn the_register_is_asked_for_exactly_the_subject() {
    let contracts = contracts();
    let operation = contracts.operation("citizen.lookup").unwrap();
    let target = |id: &str| {
        let mut arguments = Arguments(vec![None; operation.parameters.len()]);
        arguments.0[0] = Some(Personal::new(id.to_owned()));
        operation.upstream_request(&arguments).map(|request| request.target.expose().clone())
    };
    assert_eq!(target(ID).as_deref(), Some("/persons/001099000001"));
    assert_eq!(target("a/../b?x").as_deref(), Some("/persons/a%2F..%2Fb%3Fx"));
    for id in ["", ".", ".."] {
        assert_eq!(target(id), None);
    }
    assert_eq!(operation.upstream_request(&Arguments(vec![None; 3])), None);
}
