//! What a contract with `x-gateway-strict` means.

use super::{CONTRACT, read};

const LISTS: &str = include_str!("lists.openapi.yaml");

/// The contract with those texts replaced.
fn edited(contract: &str, edits: &[(&str, &str)]) -> String {
    edits.iter().fold(contract.to_owned(), |text, (old, new)| {
        assert_eq!(text.matches(old).count(), 1, "{old}");
        text.replace(old, new)
    })
}

fn must_have(text: &str, operation: &str) -> Vec<String> {
    let (contracts, problems) = read(text);
    assert_eq!(problems, [] as [String; 0]);
    contracts.operation(operation).unwrap().must_have().into_iter().collect()
}

/// Where `Citizen` may say that it is strict.
const CITIZEN: &str = "    Citizen:\n      type: object\n";
const STRICT: &str = "    Citizen:\n      type: object\n      x-gateway-strict: true\n";
const NONE: [&str; 0] = [];

#[test]
fn a_strict_record_must_have_what_is_required_at_every_level() {
    assert_eq!(must_have(CONTRACT, "citizen.read"), NONE, "unless it is said");
    let strict = edited(CONTRACT, &[(CITIZEN, STRICT)]);
    assert_eq!(must_have(&strict, "citizen.read"), ["Citizen.id"]);
    let address = "    Address:\n      type: object\n";
    let deep = edited(
        &strict,
        &[
            ("derive: present }\n      required: [id]", "derive: present }\n      required: [id, children]"),
            (address, &format!("{address}      required: [province_code]\n")),
            ("items: { type: object, properties:", "items: { type: object, required: [id], properties:"),
        ],
    );
    // An object that need not be there has what is required of it where it is.
    let expected = [
        "Citizen.children",
        "Citizen.children.id",
        "Citizen.id",
        "Citizen.permanent_residence.province_code",
        "Citizen.temporary_residence.province_code",
    ];
    assert_eq!(must_have(&deep, "citizen.read"), expected);
    assert_eq!(must_have(&deep, "citizen.verify"), expected, "whatever is asked");
    let off = edited(&deep, &[("x-gateway-strict: true", "x-gateway-strict: false")]);
    assert_eq!(must_have(&off, "citizen.read"), NONE);
}

#[test]
fn of_a_list_the_record_and_the_envelope_are_strict_each_by_itself() {
    let record = (CITIZEN, &*format!("{STRICT}      required: [id, born]\n"));
    let page = "    CitizenPage:\n      type: object\n";
    let envelope = (page, &*format!("{page}      x-gateway-strict: true\n      required: [items, total]\n"));
    let of_record = ["Citizen.born", "Citizen.id"];
    let text = edited(LISTS, &[record]);
    for operation in ["citizen.read", "citizen.search", "household.read", "citizen.portrait", "citizen.verify.bulk"] {
        assert_eq!(must_have(&text, operation), of_record, "{operation}");
    }
    let text = edited(LISTS, &[envelope]);
    assert_eq!(must_have(&text, "citizen.search"), ["CitizenPage.items", "CitizenPage.total"]);
    assert_eq!(must_have(&text, "citizen.read"), NONE);
    let text = edited(LISTS, &[record, envelope]);
    assert_eq!(must_have(&text, "citizen.search").len(), 4);
    assert_eq!(must_have(&text, "household.read"), of_record);
}

#[test]
fn what_cannot_be_meant_is_refused_where_it_stands() {
    let refused = |contract: &str, old: &str, new: &str| {
        let (_, problems) = read(&edited(contract, &[(old, new)]));
        assert!(!problems.is_empty(), "{new}");
        problems
    };
    let one = |contract: &str, old: &str, new: &str| {
        let problems = refused(contract, old, new);
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems[0].clone()
    };
    for value in ["'yes'", "1", "[id]", "null"] {
        let problem = one(CONTRACT, CITIZEN, &STRICT.replace("true", value));
        assert!(problem.starts_with("error[wrong-type]"), "{problem}");
        assert!(problem.contains("`x-gateway-strict` must be `true` or `false`"), "{problem}");
    }
    let slip = one(CONTRACT, CITIZEN, &STRICT.replace("strict", "stritc"));
    assert!(slip.starts_with("error[unknown-extension]") && slip.contains("x-gateway-strict"), "{slip}");
    for place in ["      operationId: citizen.read\n", "    Address:\n      type: object\n"] {
        for problem in refused(CONTRACT, place, &format!("{place}      x-gateway-strict: true\n")) {
            assert!(problem.contains("`x-gateway-strict` has no meaning on"), "{problem}");
        }
    }
    let idle = one(LISTS, CITIZEN, STRICT);
    assert!(idle.contains("`Citizen` is strict, and nothing of it is `required`"), "{idle}");
    let whole = one(LISTS, CITIZEN, &format!("{STRICT}      required: [id, portrait]\n"));
    assert!(whole.contains("`Citizen.portrait` cannot be required of a strict record"), "{whole}");
}
