//! Policies that are wrong.

use popgate_policy::problem::Severity::{Error, Warning};

use super::Edit::{Replace, Write};
use super::Row;

const POLICY: &str = "policies/tax.cedar";
const MORE: &str = "policies/more.cedar";

/// An error in the base bundle's policy, for a text that stands there once.
const fn row(
    name: &'static str,
    (old, new): (&'static str, &'static str),
    code: &'static str,
    line: &'static str,
    says: &'static [&'static str],
) -> Row {
    Row { name, edit: Replace(POLICY, old, new), severity: Error, code, file: POLICY, line, says }
}

/// A policy file more.
const fn more(
    name: &'static str,
    text: &'static str,
    (severity, code): (popgate_policy::problem::Severity, &'static str),
    line: &'static str,
    says: &'static [&'static str],
) -> Row {
    Row { name, edit: Write(MORE, text), severity, code, file: MORE, line, says }
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = names();
    rows.extend(annotations());
    rows.extend(expressions());
    rows.extend(second_looks());
    rows
}

fn names() -> Vec<Row> {
    vec![
        row(
            "an unknown group",
            ("\"identity\"", "\"identiy\""),
            "unknown-group",
            "identiy",
            &["did you mean `identity`?"],
        ),
        row(
            "an unknown agency",
            ("Agency::\"tax\"", "Agency::\"tex\""),
            "unknown-agency",
            "tex",
            &["did you mean `tax`?"],
        ),
        row(
            "an unknown sector",
            ("Agency::\"tax\"", "Sector::\"helth\""),
            "unknown-sector",
            "helth",
            &["known here: `tax`"],
        ),
        row("an unknown level", ("Agency::\"tax\"", "Level::\"centre\""), "unknown-level", "centre", &["`central`"]),
        row(
            "an unknown system",
            ("in Agency::\"tax\"", "== System::\"tax/etx\""),
            "unknown-system",
            "etx",
            &["`tax/etax`"],
        ),
        row(
            "an unknown operation",
            ("citizen.read", "citizen.raed"),
            "unknown-action",
            "raed",
            &["did you mean `citizen.read`?"],
        ),
        row(
            "an unknown action group",
            ("== Action::\"citizen.read\"", "in Action::\"with-provnce\""),
            "unknown-action",
            "with-provnce",
            &["did you mean `with-province`?"],
        ),
        row(
            "an unknown field",
            ("in Group::\"identity\"", "== Field::\"Citizen.birth_date\""),
            "unknown-field",
            "birth_date",
            &["`Citizen.date_of_birth`"],
        ),
        row(
            "an unknown class",
            ("Group::\"identity\"", "Class::\"secret\""),
            "unknown-class",
            "secret",
            &["`sensitive`"],
        ),
        row(
            "an unknown register",
            ("Group::\"identity\"", "Register::\"populaton\""),
            "unknown-register",
            "populaton",
            &["`population`"],
        ),
        row(
            "an unknown purpose",
            ("\"identity\");", "\"identity\")\nwhen { context.purpose == Purpose::\"assesment\" };"),
            "unknown-purpose",
            "assesment",
            &["did you mean `assessment`?"],
        ),
        row("an unknown type", ("Group::\"identity\"", "Grup::\"identity\""), "unknown-type", "Grup", &["Group"]),
        row(
            "the request by name",
            ("\"identity\");", "\"identity\")\nwhen { Env::\"request\".hour < 8 };"),
            "unnameable",
            "Env",
            &["`context.env`"],
        ),
    ]
}

fn annotations() -> Vec<Row> {
    vec![
        row("no id", ("@id(\"tax-identity\")\n", ""), "missing-id", "@basis", &["`@id(\"...\")`"]),
        row("no basis", ("@basis(\"Law, art. 1\")\n", ""), "missing-basis", "@id", &["law and article"]),
        row("an empty basis", ("\"Law, art. 1\"", "\" \""), "missing-basis", "@id", &["law and article"]),
        row(
            "an unknown annotation",
            ("@basis(", "@atmost(\"year\")\n@basis("),
            "unknown-annotation",
            "@atmost",
            &["did you mean `at_most`?"],
        ),
        row(
            "an annotation twice",
            ("@basis(", "@id(\"again\")\n@basis("),
            "policy-syntax",
            "@id(\"again\")",
            &["duplicate annotation"],
        ),
        row(
            "a validity that is no date",
            ("@basis(", "@valid_until(\"2027-13-01\")\n@basis("),
            "bad-validity",
            "@valid_until",
            &["is no date", "`2027-12-31`"],
        ),
        row(
            "a validity that ends before it begins",
            ("@basis(", "@valid_from(\"2027-02-01\")\n@valid_until(\"2027-01-31\")\n@basis("),
            "bad-validity",
            "@valid_until",
            &["ends on 2027-01-31, before it begins on 2027-02-01"],
        ),
        row(
            "a mask that is none",
            ("@basis(", "@mask(\"yeer\")\n@basis("),
            "unknown-mask",
            "@mask",
            &["did you mean `year`?"],
        ),
        row(
            "a cap on a permit",
            ("@basis(", "@at_most(\"year\")\n@basis("),
            "misplaced-annotation",
            "@at_most",
            &["on a permit", "`@mask(\"...\")`"],
        ),
        more(
            "a mask on a forbid",
            "@id(\"x\") @basis(\"Law\")\n@mask(\"year\")\nforbid (principal, action, resource);",
            (Error, "misplaced-annotation"),
            "@mask",
            &["on a forbid", "`@at_most(\"...\")`"],
        ),
        more(
            "an id that another policy has",
            "@basis(\"Law\")\n@id(\"x\") permit (principal, action, resource);\n@id(\"x\") @basis(\"Law\") forbid (principal, action, resource);\n",
            (Error, "duplicate-id"),
            "forbid",
            &["`x`", "used twice", "policies/more.cedar:1"],
        ),
        more(
            "a mask that the field does not allow",
            "@id(\"x\") @basis(\"Law\") @mask(\"last3\")\npermit (principal, action, resource == Field::\"Citizen.date_of_birth\");",
            (Error, "mask-not-allowed"),
            "@mask",
            &["`last3`", "allows `month`, `year`, `match`"],
        ),
    ]
}

fn expressions() -> Vec<Row> {
    vec![
        row(
            "a syntax error",
            ("action == Action", "action = Action"),
            "policy-syntax",
            "action =",
            &["try using '=='"],
        ),
        row("no semicolon", ("\"identity\");", "\"identity\")"), "policy-syntax", "identity", &["unexpected end"]),
        row(
            "a template",
            ("principal in Agency::\"tax\"", "principal in ?principal"),
            "template",
            "?principal",
            &["write the entity"],
        ),
        row(
            "an unknown attribute",
            ("\"identity\");", "\"identity\")\nwhen { context.env.huor < 8 };"),
            "unknown-attribute",
            "huor",
            &["`hour`"],
        ),
        row(
            "an attribute that not every principal has",
            ("\"identity\");", "\"identity\")\nwhen { principal.province == \"001\" };"),
            "optional-attribute",
            "province",
            &["`province`"],
        ),
        row(
            "a comparison of two types",
            ("\"identity\");", "\"identity\")\nwhen { context.env.hour < \"8\" };"),
            "policy-type",
            "\"8\"",
            &["String"],
        ),
        row(
            "an unknown function",
            ("\"identity\");", "\"identity\")\nwhen { contains(context.env.hour) };"),
            "policy-syntax",
            "contains",
            &["contains"],
        ),
        row(
            "a purpose compared with a text",
            ("\"identity\");", "\"identity\")\nwhen { context.purpose == \"assessment\" };"),
            "policy-type",
            "assessment",
            &["Purpose"],
        ),
    ]
}

fn second_looks() -> Vec<Row> {
    vec![
        more(
            "a policy that is never true",
            "@id(\"x\") @basis(\"Law\")\npermit (principal, action, resource) when { principal in Purpose::\"assessment\" };",
            (Warning, "impossible-policy"),
            "",
            &["impossible"],
        ),
        more(
            "a mask that can never win",
            "@id(\"x\") @basis(\"Law\") @mask(\"year\")\npermit (principal in Agency::\"tax\", action == Action::\"citizen.read\", resource == Field::\"Citizen.date_of_birth\");",
            (Warning, "mask-never-wins"),
            "@mask",
            &["`tax-identity` shows more"],
        ),
        more(
            "a mask that no field of the group allows",
            "@id(\"x\") @basis(\"Law\") @mask(\"year\")\npermit (principal, action, resource in Group::\"contact\");",
            (Warning, "mask-not-allowed"),
            "@mask",
            &["no field in this scope"],
        ),
    ]
}
