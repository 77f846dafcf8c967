//! Contracts that are wrong: queries of a register, lists. They edit a second contract beside the base bundle's.

use popgate_policy::problem::Severity::Error;

use super::Edit::Replace;
use super::Row;

pub(super) const LISTS: &str = "contracts/civil-status.openapi.yaml";
pub(super) const TEXT: &str = include_str!("base/contracts/civil-status.openapi.yaml");

/// An error in the contract of lists, for a text that stands there once.
pub(super) const fn row(
    name: &'static str,
    old: &'static str,
    new: &'static str,
    code: &'static str,
    line: &'static str,
    says: &'static [&'static str],
) -> Row {
    Row { name, edit: Replace(LISTS, old, new), severity: Error, code, file: LISTS, line, says }
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = upstreams();
    rows.extend(envelopes());
    rows
}

fn upstreams() -> Vec<Row> {
    vec![
        row(
            "a query with a value of its own",
            "&limit={body.limit}",
            "&limit=20",
            "bad-upstream",
            "limit=20",
            &["`limit=20` cannot stand in an upstream query", "`born={body.date_of_birth}`"],
        ),
        row(
            "a query with half a value",
            "&limit={body.limit}",
            "&limit=p{body.limit}",
            "bad-upstream",
            "limit=p",
            &["`limit=p{body.limit}`"],
        ),
        row(
            "a query with a pair of nothing",
            "&limit={body.limit}",
            "&&limit={body.limit}",
            "bad-upstream",
            "&&limit",
            &["cannot stand in an upstream query"],
        ),
        row(
            "a query with a name that would have to be encoded",
            "&limit={",
            "&how%20many={",
            "bad-upstream",
            "how%20many",
            &["`how%20many={body.limit}`"],
        ),
        row(
            "a query with a name twice",
            "&limit={",
            "&order={",
            "bad-upstream",
            "&order={body.sort}&order=",
            &["has `order` twice"],
        ),
        row(
            "a query with an unknown parameter",
            "{body.limit}",
            "{body.limt}",
            "unknown-parameter",
            "body.limt",
            &["did you mean `body.limit`?"],
        ),
        row(
            "a filter that the register is not told",
            "?born={body.born}&",
            "?",
            "unused-parameter",
            "born: { type: string, format: date, x-gateway-field",
            &["not told the parameter `born`", "`born={body.born}`"],
        ),
    ]
}

fn envelopes() -> Vec<Row> {
    vec![
        row(
            "a list of nothing",
            "        persons: { type: array, items: { $ref: '#/components/schemas/Person' } }\n",
            "",
            "bad-list",
            "    Family:",
            &["`Family` holds no list of records", "`items` is `$ref`"],
        ),
        row(
            "two lists",
            "        place: {",
            "        others: { type: array, items: { $ref: '#/components/schemas/Person' } }\n        place: {",
            "bad-list",
            "persons:",
            &["`others` and `persons`"],
        ),
        row(
            "records that are written out",
            "persons: { type: array, items: { $ref: '#/components/schemas/Person' } }",
            "persons: { type: array, items: { type: object, properties: { id: { type: string } } } }",
            "bad-list",
            "persons:",
            &["`Family.persons` must be referred to by name"],
        ),
        row(
            "a list within the envelope",
            "properties: { ward: { type: string } }",
            "properties: { ward: { type: array, items: { type: object, properties: { a: { type: string } } } } }",
            "bad-list",
            "ward:",
            &["`Family.place.ward` is a list of objects"],
        ),
        row(
            "a record instead of an envelope",
            "{ $ref: '#/components/schemas/Family' }",
            "{ $ref: '#/components/schemas/Person' }",
            "bad-list",
            "schemas/Person' } } } }",
            &["`Person` is a record, not the envelope"],
        ),
        row(
            "an envelope that is written out",
            "schema: { $ref: '#/components/schemas/Family' }",
            "schema: { type: object }",
            "bad-record",
            "schema: { type: object } } } }",
            &["by name"],
        ),
        row(
            "an envelope that is no object",
            "    Family:\n      type: object",
            "    Family:\n      type: string",
            "bad-list",
            "    Family:",
            &["must be an object"],
        ),
        row(
            "records of nobody",
            "      x-gateway-subject: id # of a person\n",
            "",
            "missing-subject",
            "    Person:",
            &["`Person`", "`x-gateway-subject`"],
        ),
        row(
            "a list that does not say that it is one",
            "      x-gateway-answer: list\n",
            "",
            "bad-record",
            "schemas/Family",
            &["`Family` is the envelope of a list", "`x-gateway-answer: list`", "`Person`"],
        ),
        row(
            "a match of a list",
            "x-gateway-record: Person # of a match",
            "x-gateway-record: PersonPage",
            "bad-record",
            "x-gateway-record: PersonPage",
            &["`PersonPage` is the envelope of a list", "its records are `Person`"],
        ),
        row(
            "a group on the list",
            "        persons: {",
            "        persons: { x-gateway-group: family,",
            "misplaced-extension",
            "persons:",
            &["`x-gateway-group` has no meaning on the list `Family.persons`"],
        ),
        row(
            "a group beside the reference",
            "persons: { type: array, items: { $ref: '#/components/schemas/Person'",
            "persons: { type: array, items: { x-gateway-group: family, $ref: '#/components/schemas/Person'",
            "misplaced-extension",
            "persons:",
            &["`x-gateway-group` has no meaning on the records of `Family.persons`"],
        ),
        row(
            "a leaf of the envelope without a group",
            "total: { type: integer, x-gateway-group: paging }",
            "total: { type: integer }",
            "missing-group",
            "total:",
            &["`PersonPage.total`"],
        ),
        row(
            "an attribute of the envelope",
            "      x-gateway-group: household\n",
            "      x-gateway-group: household\n      x-gateway-attributes: {}\n",
            "misplaced-extension",
            "x-gateway-attributes: {}",
            &["`Family`"],
        ),
        row(
            "an implied field that neither record nor envelope has",
            "total: { type: integer,",
            "total: { type: integer, x-gateway-implies: [Person.nmae],",
            "unknown-field",
            "total:",
            &["did you mean `Person.name`?"],
        ),
        row(
            "a guard on a list",
            "      x-gateway-answer: list # of a search\n",
            "      x-gateway-answer: list\n      x-gateway-guard: [born]\n",
            "guard-unfit",
            "x-gateway-guard",
            &["a list cannot be guarded"],
        ),
        row(
            "a parameter of a field that is neither the record's nor the envelope's",
            "x-gateway-field: Person.born",
            "x-gateway-field: Family.book",
            "unknown-field",
            "Family.book",
            &["`Family.book`"],
        ),
    ]
}
