//! All mistakes of a request are told, by what the contract demands and never by what was sent.

use super::*;
use crate::contract::openapi::tests::{CONTRACT, read};
use crate::contract::{Captures, Contracts, RequestParts};

/// The test contract with more constraints on one claim, and one more on the query.
fn contracts(old: &str, new: &str) -> Contracts {
    assert!(CONTRACT.contains(old), "{old}");
    let (contracts, problems) = read(&CONTRACT.replacen(old, new, 1));
    assert_eq!(problems, [] as [String; 0]);
    contracts
}

fn plain() -> Contracts {
    contracts("openapi", "openapi")
}

fn ask(contracts: &Contracts, id: &str, captured: &[&str], query: &str, body: &str) -> (Option<String>, Vec<String>) {
    let operation = contracts.operation(id).unwrap();
    let captures = Captures(captured.iter().map(|value| Personal::new((*value).to_owned())).collect());
    let parts = RequestParts { captures: &captures, query, body: body.as_bytes() };
    let refused = operation.arguments(parts).err().map(|error| error.to_string());
    let mistakes = operation.mistakes(parts);
    assert_eq!(refused.is_some(), !mistakes.is_empty());
    assert!(mistakes.len() <= MOST_MISTAKES);
    let told = mistakes.iter().map(|mistake| match &mistake.place {
        Place::Body(pointer) => format!("{pointer}: {}", mistake.detail),
        Place::Parameter(name) => format!("{name}: {}", mistake.detail),
        Place::Query => format!("?: {}", mistake.detail),
    });
    (refused, told.collect())
}

fn look_up(body: &str) -> Vec<String> {
    ask(&plain(), "citizen.lookup", &[], "", body).1
}

fn read_one(captured: &str, query: &str) -> Vec<String> {
    ask(&plain(), "citizen.read", &[captured], query, "").1
}

const ID: &str = "001099000001";

#[test]
fn what_the_strict_reader_covers_is_not_validated_again() {
    for operation in plain().operations() {
        let checks = &operation.checks;
        assert!(checks.parameters.iter().all(|(_, check)| !check.beyond), "{}", operation.id);
        assert!(checks.body.as_ref().is_none_or(|check| !check.beyond), "{}", operation.id);
        assert_eq!(checks.body.is_some(), operation.takes_body(), "{}", operation.id);
    }
}

#[test]
fn every_mistake_of_a_body_is_told_at_its_place() {
    let told = look_up(r#"{"id":"1234567890123","full_name":7,"date_of_birth":"14.3.1987","secret-name":1}"#);
    assert_eq!(
        told,
        [
            "/id: must have at most 12 characters",
            "/full_name: must be of type string",
            "/date_of_birth: must be a date such as 2001-12-31",
            ": must have no member but those that are declared: id, full_name, date_of_birth",
        ]
    );
    assert_eq!(look_up("{}"), ["/id: is missing", "/full_name: is missing", "/date_of_birth: is missing"]);
    let other = r#""full_name":"Hoa","date_of_birth":"1987-02-30"}"#;
    assert_eq!(
        look_up(&format!(r#"{{"id":"",{other}"#)),
        ["/id: must not be empty", "/date_of_birth: must be a date such as 2001-12-31",]
    );
}

#[test]
fn what_only_the_strict_reader_sees_is_told_too() {
    let rest = r#""full_name":"Hoa","date_of_birth":"1987-03-14"}"#;
    assert_eq!(look_up(&format!(r#"{{"id":"1","id":"2",{rest}"#)), ["/id: must be given once"]);
    assert_eq!(
        look_up(r#"{"id":"1","full_name":"a\u0007","date_of_birth":"x"}"#),
        ["/date_of_birth: must be a date such as 2001-12-31", "/full_name: must be free of control characters",]
    );
    for broken in ["", "[]", "{", "null", r#"{"id":"1"}}"#] {
        let told = look_up(broken);
        let [only] = &told[..] else { panic!("{broken}: {told:?}") };
        assert!(
            [": must be a json object of at most 65536 bytes", ": must be of type object"].contains(&only.as_str()),
            "{only}"
        );
    }
    let long = format!(r#"{{"id":"{}"}}"#, "1".repeat(70_000));
    assert_eq!(look_up(&long), [": must be a json object of at most 65536 bytes"]);
    assert_eq!(ask(&plain(), "citizen.read", &[ID], "", "{}").1, [": must be empty: this operation takes no body"]);
}

#[test]
fn parameters_of_path_and_query_are_told_by_name() {
    let long = "x".repeat(21);
    assert_eq!(
        read_one("12", &format!("as_of=1.1.2001&name={long}&secret=1&another=2")),
        [
            "id: must match ^[0-9]{12}$",
            "as_of: must be a date such as 2001-12-31",
            "name: must have at most 20 characters",
            "?: must have no parameter but those that are declared: as_of, name",
        ]
    );
    assert_eq!(read_one(ID, "name=a&name=b"), ["name: must be given once"]);
    assert_eq!(read_one(ID, "name=%FF"), ["name: must be percent-encoded utf-8"]);
    assert_eq!(read_one(ID, "name"), ["?: must be name=value pairs in percent-encoded utf-8"]);
    assert_eq!(read_one(ID, "name=Hoa"), [] as [&str; 0]);
}

#[test]
fn keywords_that_the_strict_reader_does_not_know_are_enforced() {
    let name = "full_name: { type: string, maxLength: 200, x-gateway-field";
    for (keyword, wrong, right, told) in [
        ("minLength: 3", "ab", "abc", "must have at least 3 characters"),
        ("format: email", "hoa", "hoa@example.vn", "must be an e-mail address"),
        ("format: ipv4", "1.2.3", "1.2.3.4", "must have the format ipv4"),
        ("const: Hoa", "Lan", "Hoa", "must be Hoa"),
        ("enum: [Hoa, Lan]", "Mai", "Lan", "must be one of Hoa, Lan"),
        ("pattern: 'a|b'", "ab", "b", "must match a|b"),
    ] {
        let contracts = contracts(name, &name.replace("maxLength: 200", keyword));
        let body = |value: &str| format!(r#"{{"id":"{ID}","full_name":"{value}","date_of_birth":"1987-03-14"}}"#);
        let (refused, all) = ask(&contracts, "citizen.lookup", &[], "", &body(wrong));
        assert!(refused.unwrap().starts_with("parameter `full_name` is not valid: it must"), "{keyword}");
        assert_eq!(all, [format!("/full_name: {told}")]);
        assert_eq!(ask(&contracts, "citizen.lookup", &[], "", &body(right)), (None, vec![]), "{keyword}");
    }
    let query =
        "{ name: name, in: query, schema: { type: string, maxLength: 20 }, x-gateway-field: Citizen.full_name }";
    let contracts = contracts(query, &query.replace("maxLength: 20", "minLength: 2"));
    assert_eq!(ask(&contracts, "citizen.read", &[ID], "name=x", "").1, ["name: must have at least 2 characters"]);
    assert_eq!(ask(&contracts, "citizen.read", &[ID], "name=xy", ""), (None, vec![]));
}

#[test]
fn bounds_of_integers_are_enforced_and_null_is_as_good_as_absent() {
    let children = "children: { type: integer, x-gateway-field";
    let contracts =
        contracts(children, "children: { type: integer, minimum: 0, maximum: 20, multipleOf: 2, x-gateway-field");
    let verify = |children: &str| {
        ask(&contracts, "citizen.verify", &[], "", &format!(r#"{{"id":"{ID}","children":{children}}}"#))
    };
    assert_eq!(verify("4"), (None, vec![]));
    assert_eq!(verify("null"), (None, vec![]));
    assert_eq!(verify("-1").1, ["/children: must be at least 0", "/children: must be a multiple of 2"]);
    assert_eq!(verify("22").1, ["/children: must be at most 20"]);
    assert_eq!(verify("\"4\"").1, ["/children: must be of type integer"]);
}

#[test]
fn no_mistake_repeats_what_was_sent() {
    let marker = "Zq7";
    for body in [
        format!(
            r#"{{"id":"{marker}{marker}{marker}{marker}{marker}","full_name":["{marker}"],"date_of_birth":"{marker}"}}"#
        ),
        format!(r#"{{"{marker}":"{marker}"}}"#),
        format!(r#"{{"id":{{"{marker}":1}}}}"#),
        marker.to_owned(),
    ] {
        let told = look_up(&body);
        assert!(!told.is_empty() && !told.concat().contains(marker), "{told:?}");
    }
    let told = read_one(marker, &format!("as_of={marker}&{marker}={marker}"));
    assert!(told.len() == 3 && !told.concat().contains(marker), "{told:?}");
}
