//! A small bundle, and permits for it. All names and numbers are synthetic.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use popgate_policy::bundle::{Bundle, Source};
use popgate_policy::contract::{RequestParts, Route};
use popgate_policy::disclose::cursor::CursorKey;
use popgate_policy::disclose::{PseudonymKey, Secrets};
use popgate_policy::model::DisclosureId;
use popgate_policy::permit::{Ask, Env, Permit};

pub(super) static BUNDLE: LazyLock<Arc<Bundle>> = LazyLock::new(|| {
    let files = [
        ("contracts/population.openapi.yaml", CONTRACT),
        ("agencies/tax.toml", AGENCY),
        ("purposes.toml", PURPOSES),
        ("policies/all.cedar", POLICY),
    ];
    let files = BTreeMap::from(files.map(|(name, text)| (name.to_owned(), text.to_owned())));
    match Bundle::load(&Source { files }) {
        Ok(loaded) => loaded.bundle,
        Err(problems) => panic!("{problems:#?}"),
    }
});

pub(super) const HOA: &str = "001187000017";
pub(super) const RECORD: &str = r#"{"id":"001187000017","full_name":"Le Thi Hoa","date_of_birth":"1987-03-14",
    "sex":"female","phones":["0912345678"],"residence":{"province_code":"001","street":"Hang Bac"}}"#;

pub(super) fn secrets() -> Secrets {
    Secrets { pseudonyms: PseudonymKey::new([7; 32]), cursors: CursorKey::new([8; 32]) }
}

/// A permit of `tax/etax` for the record.
pub(super) fn read() -> Permit {
    let path = format!("/citizens/{HOA}");
    let Route::Operation(operation, captures) = BUNDLE.contracts().route("GET", &path) else { panic!("{path}") };
    let arguments = operation.arguments(RequestParts { captures: &captures, query: "", body: b"" }).unwrap();
    let ask = Ask {
        disclosure: DisclosureId::from_random(1),
        system: &BUNDLE.directory().systems()[0],
        operation,
        purpose: BUNDLE.directory().purpose("assessment").unwrap(),
        arguments,
        env: Env {
            date: jiff::civil::date(2026, 11, 24),
            hour: 10,
            minute: 0,
            source: [10, 20, 0, 5].into(),
            claimed_assurance: None,
            claimed_user: false,
            claimed_case: false,
        },
        cursors: &secrets().cursors,
        seals: None,
    };
    BUNDLE.decide(ask).unwrap()
}

const CONTRACT: &str = r##"
openapi: 3.1.0
info: { title: Synthetic population register, version: 1.0.0 }
x-gateway-register: population
paths:
  /citizens/{id}:
    get:
      operationId: citizen.read
      summary: Reads one citizen
      x-gateway-upstream: population GET /persons/{path.id}
      x-gateway-effect: read
      x-gateway-subject: path.id
      parameters:
        - { name: id, in: path, required: true, schema: { type: string, maxLength: 12 }, x-gateway-field: Citizen.id }
      responses:
        '200': { description: The citizen, content: { application/json: { schema: { $ref: '#/components/schemas/Citizen' } } } }
components:
  schemas:
    Citizen:
      type: object
      x-gateway-subject: id
      properties:
        id: { type: string, x-gateway-group: identity }
        full_name: { type: string, x-gateway-group: identity, x-gateway-masks: [initials] }
        date_of_birth: { type: string, format: date, x-gateway-group: identity, x-gateway-masks: [month, year, decade] }
        sex: { type: string, x-gateway-group: identity }
        phones: { type: array, items: { type: string }, x-gateway-group: contact }
        residence:
          type: object
          x-gateway-group: residence
          properties: { province_code: { type: string }, street: { type: string } }
"##;
const AGENCY: &str = r#"
name     = { vi = "Cục Thuế", en = "Tax Department" }
sector   = "tax"
level    = "central"
purposes = ["assessment"]
[systems.etax]
identity = "spiffe://gov.vn/tax/etax"
limits   = { rate = "200/s" }
"#;
const PURPOSES: &str =
    "[assessment]\nname = { vi = \"Tính thuế\", en = \"Tax assessment\" }\nbasis = \"Law, art. 1\"\n";
const POLICY: &str = "@id(\"all\") @basis(\"Law, art. 1\")\npermit (principal, action, resource);\n";
