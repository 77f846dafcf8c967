//! Contracts that are wrong: documents and operations.

use popgate_policy::problem::Severity::{Error, Warning};

use super::Edit::{Remove, Replace, Write};
use super::{CONTRACT, Row};

/// An error in the contract, for a text that stands there once.
pub(super) const fn row(
    name: &'static str,
    old: &'static str,
    new: &'static str,
    code: &'static str,
    line: &'static str,
    says: &'static [&'static str],
) -> Row {
    Row { name, edit: Replace(CONTRACT, old, new), severity: Error, code, file: CONTRACT, line, says }
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = documents();
    rows.extend(operations());
    rows
}

fn documents() -> Vec<Row> {
    vec![
        row(
            "not yaml",
            "x-gateway-effect: read\n      x-gateway-subject: path.id",
            "x-gateway-effect: [read\n      x-gateway-subject: path.id",
            "yaml-syntax",
            "",
            &["not yaml"],
        ),
        row(
            "a key twice",
            "summary: Reads one citizen",
            "operationId: citizen.again",
            "duplicate-key",
            "citizen.again",
            &["`operationId` stands twice"],
        ),
        row(
            "an older openapi",
            "openapi: 3.1.0",
            "openapi: 3.0.3",
            "openapi-version",
            "openapi: 3.0.3",
            &["`3.0.3`", "3.1.0"],
        ),
        row(
            "a path that is the gateway's own",
            "  /population/v1/citizens/verify:",
            "  /.well-known/openapi:",
            "bad-path",
            "/.well-known/openapi",
            &["the gateway's own"],
        ),
        row(
            "no register",
            "x-gateway-register: population\n",
            "",
            "missing-key",
            "openapi: 3.1.0",
            &["`x-gateway-register`"],
        ),
        row(
            "an unknown key of the document",
            "components:\n",
            "extra: {}\ncomponents:\n",
            "unknown-key",
            "extra",
            &["`extra`"],
        ),
        row(
            "an unknown extension",
            "x-gateway-effect: read\n      x-gateway-subject: path.id",
            "x-gateway-effect: read\n      x-gateway-subject: path.id\n      x-gateway-gaurd: [id]",
            "unknown-extension",
            "gaurd",
            &["did you mean `x-gateway-guard`?"],
        ),
        row(
            "an extension that is almost ours",
            "x-gateway-class: basic",
            "x-gatway-class: basic",
            "unknown-extension",
            "x-gatway-class",
            &["did you mean `x-gateway-class`?"],
        ),
        row(
            "an extension in the wrong place",
            "summary: Reads one citizen",
            "x-gateway-masks: [year]",
            "misplaced-extension",
            "x-gateway-masks: [year]",
            &["has no meaning on an operation"],
        ),
        Row {
            name: "another name in contracts/",
            edit: Write("contracts/health.yaml", "openapi: 3.1.0\n"),
            severity: Error,
            code: "unknown-file",
            file: "contracts/health.yaml",
            line: "",
            says: &["contracts/<register>.openapi.yaml"],
        },
        Row {
            name: "a file that nobody reads",
            edit: Write("notes.txt", "x\n"),
            severity: Warning,
            code: "unknown-file",
            file: "notes.txt",
            line: "",
            says: &["nothing reads `notes.txt`"],
        },
        Row {
            name: "no contract",
            edit: Remove(CONTRACT),
            severity: Error,
            code: "no-contract",
            file: "contracts",
            line: "",
            says: &["no contract"],
        },
        Row {
            name: "a route in two contracts",
            edit: Write("contracts/second.openapi.yaml", SECOND),
            severity: Error,
            code: "route-collision",
            file: "contracts/second.openapi.yaml",
            line: "{number}",
            says: &["`/population/v1/citizens/{id}`", "contracts/population.openapi.yaml:5"],
        },
    ]
}

fn operations() -> Vec<Row> {
    vec![
        row("no operation id", "      operationId: citizen.read\n", "", "missing-key", "    get:", &["`operationId`"]),
        row(
            "an operation id twice",
            "operationId: citizen.verify",
            "operationId: citizen.read",
            "duplicate-operation",
            "operationId: citizen.read",
            &["stands twice", "population.openapi.yaml:7"],
        ),
        row(
            "an operation id that looks like a group",
            "operationId: citizen.read",
            "operationId: with-citizen",
            "bad-name",
            "with-citizen",
            &["action groups"],
        ),
        row("a method that writes", "    get:\n", "    put:\n", "method-refused", "    put:", &["`put`"]),
        row(
            "no effect",
            "      x-gateway-effect: read\n      x-gateway-subject: path.id",
            "      x-gateway-subject: path.id",
            "missing-key",
            "    get:",
            &["`x-gateway-effect`"],
        ),
        row(
            "an effect other than read",
            "x-gateway-effect: read\n      x-gateway-subject: path.id",
            "x-gateway-effect: update\n      x-gateway-subject: path.id",
            "effect-refused",
            "effect: update",
            &["does not write"],
        ),
        row(
            "no upstream",
            "      x-gateway-upstream: population GET /persons/{path.id}\n",
            "",
            "missing-key",
            "    get:",
            &["`x-gateway-upstream`"],
        ),
        row(
            "an upstream without a method",
            "population GET /persons/{path.id}",
            "population /persons/{path.id}",
            "bad-upstream",
            "population /persons",
            &["a register, a method and a path"],
        ),
        row(
            "an upstream that writes",
            "population GET /persons/{path.id}",
            "population POST /persons/{path.id}",
            "bad-upstream",
            "population POST",
            &["`POST`"],
        ),
        row(
            "an upstream of another register",
            "population GET /persons/{path.id}",
            "populaton GET /persons/{path.id}",
            "unknown-register",
            "populaton GET",
            &["`populaton`", "`population`"],
        ),
        row(
            "an upstream with an unknown parameter",
            "population GET /persons/{path.id}",
            "population GET /persons/{path.di}",
            "unknown-parameter",
            "path.di",
            &["did you mean `path.id`?"],
        ),
        row(
            "an upstream that climbs",
            "population GET /persons/{path.id}",
            "population GET /persons/../{path.id}",
            "bad-upstream",
            "persons/..",
            &["dot segment"],
        ),
        row(
            "an upstream brace left open",
            "population GET /persons/{path.id}",
            "population GET /persons/{path.id",
            "bad-upstream",
            "{path.id",
            &["not closed"],
        ),
        row(
            "no subject",
            "      x-gateway-subject: path.id\n",
            "",
            "missing-subject",
            "    get:",
            &["`x-gateway-subject`"],
        ),
        row(
            "a subject that is no parameter",
            "x-gateway-subject: path.id",
            "x-gateway-subject: query.id",
            "unknown-parameter",
            "query.id",
            &["known here: `path.id`"],
        ),
        row(
            "a guard that is no parameter",
            "[date_of_birth]",
            "[date_of_brith]",
            "unknown-parameter",
            "date_of_brith",
            &["did you mean `date_of_birth`?"],
        ),
        row(
            "a guard that may be left out",
            "required: [id, date_of_birth]",
            "required: [id]",
            "guard-optional",
            "x-gateway-guard",
            &["unguarded"],
        ),
        row(
            "an unknown answer",
            "x-gateway-answer: match",
            "x-gateway-answer: mach",
            "bad-answer",
            "mach",
            &["did you mean `match`?"],
        ),
        row(
            "a match without a record",
            "      x-gateway-record: Citizen\n",
            "",
            "missing-record",
            "    post:",
            &["`x-gateway-record`"],
        ),
        row(
            "a match of an unknown record",
            "x-gateway-record: Citizen",
            "x-gateway-record: Citzen",
            "bad-ref",
            "Citzen",
            &["did you mean `Citizen`?"],
        ),
        row(
            "an answer that is no claim",
            "full_name: { type: boolean, description: Whether the name is right }",
            "full_name: { type: boolean }\n                  phone: { type: boolean }",
            "match-answer",
            "phone: { type: boolean }",
            &["`phone` is not a claim"],
        ),
        row(
            "a claim without an answer",
            "                full_name: { type: string, maxLength: 200, x-gateway-field: Citizen.full_name }\n",
            "                full_name: { type: string, x-gateway-field: Citizen.full_name }\n                sex: { type: string, x-gateway-field: Citizen.sex }\n",
            "match-answer",
            "x-gateway-field: Citizen.sex",
            &["no answer for `sex`"],
        ),
        row(
            "an answer that is no boolean",
            "full_name: { type: boolean, description",
            "full_name: { type: string, description",
            "match-answer",
            "type: string, description",
            &["must be a boolean"],
        ),
        row(
            "no response",
            "        '200': { description: The citizen",
            "        '201': { description: The citizen",
            "missing-response",
            "      responses:",
            &["no response `200`"],
        ),
        row(
            "a response of another type",
            "content: { application/json: { schema: { $ref: '#/components/schemas/Citizen'",
            "content: { text/json: { schema: { $ref: '#/components/schemas/Citizen'",
            "bad-content",
            "text/json",
            &["application/json"],
        ),
        row(
            "deprecated since nobody knows when",
            "operationId: citizen.read\n",
            "operationId: citizen.read\n      deprecated: true\n",
            "missing-key",
            "deprecated: true",
            &["since when", "x-gateway-deprecated-since"],
        ),
        row(
            "an end of what is not deprecated",
            "operationId: citizen.read\n",
            "operationId: citizen.read\n      x-gateway-sunset: 2027-06-30\n",
            "not-deprecated",
            "x-gateway-sunset",
            &["`deprecated: true`"],
        ),
        row(
            "a day that there is not",
            "operationId: citizen.read\n",
            "operationId: citizen.read\n      deprecated: true\n      x-gateway-deprecated-since: 2026-02-30\n",
            "bad-date",
            "2026-02-30",
            &["`2026-02-30`", "`2027-06-30`"],
        ),
        row(
            "an end before the beginning of the end",
            "operationId: citizen.read\n",
            "operationId: citizen.read\n      deprecated: true\n      x-gateway-deprecated-since: 2026-07-01\n      \
             x-gateway-sunset: 2026-07-01\n",
            "bad-sunset",
            "x-gateway-sunset",
            &["2026-07-01", "need time"],
        ),
        row(
            "an end in info without a beginning",
            "info: { title: Synthetic population register, version: 1.0.0 }",
            "info: { title: Register, version: 1.0.0, x-gateway-sunset: 2027-06-30 }",
            "missing-key",
            "info:",
            &["since when"],
        ),
        row(
            "an operation after itself",
            "operationId: citizen.read\n",
            "operationId: citizen.read\n      deprecated: true\n      x-gateway-deprecated-since: 2026-07-01\n      \
             x-gateway-successor: citizen.read\n",
            "bad-successor",
            "x-gateway-successor",
            &["itself"],
        ),
        Row {
            name: "a successor that there is not",
            edit: Replace(
                CONTRACT,
                "operationId: citizen.read\n",
                "operationId: citizen.read\n      deprecated: true\n      x-gateway-deprecated-since: 2026-07-01\n      \
                 x-gateway-successor: citizen.verfy\n",
            ),
            severity: Warning,
            code: "unknown-successor",
            file: CONTRACT,
            line: "citizen.verfy",
            says: &["did you mean `citizen.verify`?"],
        },
        row("a bad duration", "fresh: 60s", "fresh: 60", "wrong-type", "fresh: 60,", &["`fresh`"]),
        row(
            "a duration in an unknown unit",
            "fresh: 60s",
            "fresh: 60sec",
            "bad-duration",
            "60sec",
            &["`60sec`", "`90s`"],
        ),
        row("an unknown scope", "scope: shared", "scope: sharde", "bad-cache", "sharde", &["did you mean `shared`?"]),
        Row {
            name: "a sensitive record that is stored",
            edit: Replace(CONTRACT, "x-gateway-class: basic", "x-gateway-class: sensitive"),
            severity: Warning,
            code: "cache-sensitive",
            file: CONTRACT,
            line: "x-gateway-cache",
            says: &["`x-gateway-cache: off`"],
        },
    ]
}

const SECOND: &str = r"openapi: 3.1.0
x-gateway-register: population
paths:
  /population/v1/citizens/{number}:
    parameters: []
";
