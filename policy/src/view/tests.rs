//! What a view shows of a small bundle, and what it does not.

use serde_json::{Value, json};

use super::*;
use crate::bundle::Source;

const CONTRACT: &str = r"openapi: 3.1.0
info: { title: Register, version: 1.0.0 }
x-gateway-register: population
x-internal: { host: register.internal }
tags: [{ name: people }, { name: unused }]
paths:
  /v1/people/{id}:
    parameters:
      - { $ref: '#/components/parameters/Id' }
    get:
      operationId: person.read
      tags: [people]
      x-gateway-upstream: population GET /persons/{path.id}
      x-gateway-effect: read
      x-gateway-subject: path.id
      parameters:
        - { name: name, in: query, schema: { type: string }, x-gateway-field: Person.full_name }
        - { name: phone, in: query, schema: { type: string }, x-gateway-field: Person.phone }
      responses:
        '200':
          description: The person
          headers: { X-Register: { schema: { type: string } } }
          content:
            application/json:
              schema: { $ref: '#/components/schemas/Person' }
              examples:
                hoa:
                  value:
                    id: '001187000017'
                    full_name: Lê Thị Hoa
                    date_of_birth: '1987-03-14'
                    phone: '0912345678'
                    phones: ['0912345678', null]
                    home: { province: '001', street: Phố Huế }
                    mother: { id: '001160000017', full_name: Trần Thị Lan }
                    note: nothing declares this
        '500': { description: What the register says }
  /v1/people/verify:
    post:
      operationId: person.verify
      x-gateway-upstream: population GET /persons/{body.id}
      x-gateway-effect: read
      x-gateway-subject: body.id
      x-gateway-answer: match
      x-gateway-record: Person
      requestBody:
        content:
          application/json:
            schema: { $ref: '#/components/schemas/Claims' }
            example: { id: '001187000017', full_name: Hoa, phone: '0912345678' }
      responses:
        '200':
          description: Yes or no
          content:
            application/json:
              schema:
                type: object
                required: [full_name, phone]
                properties: { full_name: { type: boolean }, phone: { type: boolean } }
components:
  parameters:
    Id: { name: id, in: path, required: true, schema: { type: string, pattern: '^[0-9]{12}$' }, x-gateway-field: Person.id }
  schemas:
    Claims:
      type: object
      required: [id, full_name]
      properties:
        id: { type: string, x-gateway-field: Person.id }
        full_name: { type: string, x-gateway-field: Person.full_name }
        phone: { type: string, x-gateway-field: Person.phone }
    Person:
      type: object
      description: A person
      x-gateway-subject: id
      x-gateway-attributes: { minor: { from: date_of_birth, derive: under-18 } }
      x-gateway-group: identity
      required: [id, full_name, date_of_birth, phones, home, mother]
      properties:
        id: { type: string, x-gateway-masks: [last4, pseudonym] }
        full_name: { type: string, minLength: 1, x-gateway-masks: [initials] }
        date_of_birth: { type: [string, null], format: date, x-gateway-masks: [month, year, decade], example: '1987-03-14' }
        phone: { type: [string, 'null'], x-gateway-group: contact, x-gateway-masks: [last3, exists] }
        phones: { type: array, items: { type: [string, 'null'] }, x-gateway-group: contact, x-gateway-masks: [last3, exists] }
        home:
          type: object
          required: [province]
          x-gateway-group: residence
          properties: { province: { type: string }, street: { type: string } }
        mother: { $ref: '#/components/schemas/Relative', description: The mother, x-gateway-group: family }
        father: { $ref: '#/components/schemas/Relative', x-gateway-group: family }
    Relative:
      type: [object, 'null']
      description: A relative
      required: [id]
      properties:
        id: { type: string }
        full_name: { type: string }
";

const AGENCY: &str = r#"name = { vi = "Cục Thuế", en = "Tax Department" }
sector = "tax"
level = "central"
purposes = ["assessment", "debt"]
[systems.etax]
identity = "spiffe://gov.vn/tax/etax"
limits = { rate = "200/s", burst = 400, concurrent = 64, operations = { "person.verify" = { rate = "5/m" } } }
[systems.twin]
identity = "spiffe://gov.vn/tax/twin"
limits = { rate = "200/s", burst = 400, concurrent = 64, operations = { "person.verify" = { rate = "5/m" } } }
[systems.single]
identity = "spiffe://gov.vn/tax/single"
purposes = ["assessment"]
limits = { rate = "200/s", burst = 400, concurrent = 64 }
"#;

const PURPOSES: &str = r#"[assessment]
name = { vi = "Tính thuế", en = "Tax assessment" }
basis = "Law 1"
[debt]
name = { vi = "Nợ", en = "Collection of debt" }
basis = "Law 2"
requires = ["case"]
valid_until = 2027-12-31
"#;

fn bundle(policies: &str) -> std::sync::Arc<Bundle> {
    let mut source = Source::default();
    for (file, text) in [
        ("contracts/population.openapi.yaml", CONTRACT),
        ("agencies/tax.toml", AGENCY),
        ("purposes.toml", PURPOSES),
        ("policies/a.cedar", policies),
    ] {
        source.files.insert(file.to_owned(), text.to_owned());
    }
    Bundle::load(&source).unwrap_or_else(|problems| panic!("{problems:#?}")).bundle
}

/// A policy for `assessment`, unless it says otherwise.
fn policy(id: &str, annotations: &str, effect: &str, resource: &str, more: &str) -> String {
    let purpose = if more.contains("purpose") { "" } else { "when { context.purpose == Purpose::\"assessment\" }" };
    format!(
        "@id(\"{id}\") @basis(\"Law 1\") {annotations}\n{effect} (principal, action, {resource}) {purpose} {more};\n"
    )
}

fn reveal(id: &str, resource: &str, more: &str) -> String {
    policy(id, "", "permit", resource, more)
}

fn mask(id: &str, kind: &str, field: &str, more: &str) -> String {
    policy(id, &format!("@mask(\"{kind}\")"), "permit", &format!("resource == Field::\"Person.{field}\""), more)
}

fn identity() -> String {
    reveal("identity", "resource in Group::\"identity\"", "")
}

const FOR_DEBT: &str = "when { context.purpose == Purpose::\"debt\" }";

const REFUSALS: [Refusable; 3] = [
    Refusable { code: "no_match", status: 404, title: "no record", of_bodies: false },
    Refusable { code: "body_too_large", status: 413, title: "too large", of_bodies: true },
    Refusable { code: "rate_exceeded", status: 429, title: "too often", of_bodies: false },
];

fn view_of(bundle: &Bundle, system: &str, purposes: Option<&[&str]>) -> View {
    let system = bundle.directory().systems().iter().find(|known| known.id.as_str() == system).unwrap();
    let named: Vec<PurposeId> = purposes.into_iter().flatten().map(|id| PurposeId::new(id)).collect();
    bundle.view(system, if purposes.is_some() { &named } else { &system.purposes }, &REFUSALS)
}

fn shown(bundle: &Bundle, purposes: Option<&[&str]>) -> Value {
    serde_json::from_slice(view_of(bundle, "tax/etax", purposes).json()).unwrap()
}

fn read(view: &Value) -> &Value {
    &view["paths"]["/v1/people/{id}"]["get"]
}

fn verify(view: &Value) -> &Value {
    &view["paths"]["/v1/people/verify"]["post"]
}

fn names(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn what_is_not_granted_is_not_there() {
    let bundle = bundle(&identity());
    let view = shown(&bundle, None);
    assert_eq!(names(&view["paths"]), ["/v1/people/{id}", "/v1/people/verify"]);
    assert_eq!(names(&view["components"]["schemas"]), ["Claims", "Person", "Problem"]);
    let person = &view["components"]["schemas"]["Person"];
    assert_eq!(names(&person["properties"]), ["id", "full_name", "date_of_birth"]);
    assert_eq!(person["required"], json!(["id", "full_name", "date_of_birth"]));
    let example = &read(&view)["responses"]["200"]["content"]["application/json"]["examples"]["hoa"]["value"];
    assert_eq!(names(example), ["id", "full_name", "date_of_birth"]);
    let parameters: Vec<&str> =
        read(&view)["parameters"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    let headers = ["Gateway-Purpose", "Gateway-Case", "Gateway-User", "Gateway-Assurance"];
    assert_eq!(parameters, [&headers[..], &["id", "name"]].concat(), "the telephone number may not be asked by");
    let body = &verify(&view)["requestBody"]["content"]["application/json"];
    assert_eq!(body["example"], json!({ "id": "001187000017", "full_name": "Hoa" }));
    let text = String::from_utf8(view_of(&bundle, "tax/etax", None).json().to_vec()).unwrap();
    for hidden in
        ["x-gateway", "phone", "persons/", "population", "X-Register", "register.internal", "unused", "\"debt\""]
    {
        assert!(!text.contains(hidden), "{hidden} in {text}");
    }
}

#[test]
fn an_operation_whose_required_parameter_may_not_be_used_is_not_there() {
    let bundle = bundle(&reveal("phone", "resource in Group::\"contact\"", ""));
    assert_eq!(shown(&bundle, None)["paths"], json!({}));
}

#[test]
fn a_match_shows_claims_and_no_record() {
    let policies = mask("id", "match", "id", "") + &mask("name", "match", "full_name", "");
    let bundle = bundle(&policies);
    let view = shown(&bundle, None);
    assert_eq!(names(&view["paths"]), ["/v1/people/verify"]);
    let answer = &verify(&view)["responses"]["200"]["content"]["application/json"]["schema"];
    assert_eq!((names(&answer["properties"]), &answer["required"]), (vec!["full_name"], &json!(["full_name"])));
    assert_eq!(
        verify(&view)["requestBody"]["content"]["application/json"]["schema"]["$ref"],
        "#/components/schemas/Claims"
    );
    let claims = &view["components"]["schemas"]["Claims"];
    assert_eq!(
        (names(&claims["properties"]), &claims["additionalProperties"]),
        (vec!["id", "full_name"], &json!(false))
    );
}

#[test]
fn a_masked_field_has_the_type_of_its_mask() {
    let masks = [
        ("last4", "id"),
        ("initials", "full_name"),
        ("decade", "date_of_birth"),
        ("exists", "phone"),
        ("last3", "phones"),
    ];
    let policies: String = masks.iter().map(|(kind, field)| mask(field, kind, field, "")).collect();
    let view = shown(&bundle(&policies), None);
    let person = &view["components"]["schemas"]["Person"];
    let schema = |field: &str| {
        let mut schema = person["properties"][field].clone();
        assert!(schema.as_object_mut().unwrap().remove("description").unwrap().as_str().unwrap().contains("masked"));
        schema
    };
    assert_eq!(schema("id"), json!({ "type": "string", "pattern": "^[*](.{4})?$" }));
    assert_eq!(schema("full_name"), json!({ "type": "string" }));
    assert_eq!(schema("date_of_birth"), json!({ "type": ["integer", "null"], "multipleOf": 10, "example": 1980 }));
    assert_eq!(schema("phone"), json!({ "type": "boolean" }));
    let last3 = json!({ "type": ["string", "null"], "pattern": "^[*](.{3})?$" });
    assert_eq!(schema("phones"), json!({ "type": "array", "items": last3 }));
    // A name may have no initials.
    assert_eq!(person["required"], json!(["id", "date_of_birth", "phones"]));
    let example = &read(&view)["responses"]["200"]["content"]["application/json"]["examples"]["hoa"]["value"];
    let masked = json!({ "id": "*0017", "full_name": "L. T. H.", "date_of_birth": 1980, "phone": true, "phones": ["*678", null] });
    assert_eq!(*example, masked);
}

#[test]
fn a_conditional_field_is_never_required_and_says_so() {
    let capped = policy(
        "minors",
        "@at_most(\"year\")",
        "forbid",
        "resource == Field::\"Person.date_of_birth\"",
        "when { context.record.minor }",
    );
    let by_day = reveal("residence", "resource in Group::\"residence\"", "when { context.env.hour > 6 }");
    let view = shown(&bundle(&(identity() + &capped + &by_day)), None);
    let person = &view["components"]["schemas"]["Person"];
    assert_eq!(person["required"], json!(["id", "full_name"]));
    let born = &person["properties"]["date_of_birth"];
    let forms = json!([{ "type": ["string", "null"], "format": "date", "example": "1987-03-14" },
                       { "type": ["integer", "null"], "example": 1987 }]);
    assert_eq!(born["anyOf"], forms);
    let said = born["description"].as_str().unwrap();
    assert!(said.contains("as it is, or masked, its year") && said.contains("absent where a condition"), "{said}");
    let home = &person["properties"]["home"];
    assert_eq!((names(&home["properties"]), home.get("required")), (vec!["province", "street"], None));
}

#[test]
fn an_object_is_required_if_something_in_it_is_always_shown() {
    let all = reveal("all", "resource", "");
    let view = shown(&bundle(&all), None);
    let person = &view["components"]["schemas"]["Person"];
    // The mother may be null, and is then absent.
    assert_eq!(person["required"], json!(["id", "full_name", "date_of_birth", "phones", "home"]));
    assert_eq!(
        person["properties"]["mother"],
        json!({ "$ref": "#/components/schemas/Relative", "description": "The mother" })
    );
    assert_eq!(person["properties"]["father"], json!({ "$ref": "#/components/schemas/Relative" }));
    let relative = &view["components"]["schemas"]["Relative"];
    assert_eq!((&relative["type"], &relative["description"]), (&json!("object"), &json!("A relative")));
    let street = reveal("street", "resource == Field::\"Person.home.street\"", "");
    let view = shown(&bundle(&(identity() + &street)), None);
    assert_eq!(view["components"]["schemas"]["Person"]["required"], json!(["id", "full_name", "date_of_birth"]));
}

#[test]
fn schemas_that_differ_have_names_that_differ() {
    let of = |relative: &str, field: &str| {
        reveal(&format!("{relative}-{field}"), &format!("resource == Field::\"Person.{relative}.{field}\""), "")
    };
    let view = shown(&bundle(&(identity() + &of("mother", "id") + &of("father", "full_name"))), None);
    let schemas = &view["components"]["schemas"];
    assert_eq!(
        names(schemas),
        ["Claims", "Person", "Problem", "RelativeForPersonReadFather", "RelativeForPersonReadMother"]
    );
    let person = &schemas["Person"]["properties"];
    assert_eq!(person["mother"]["$ref"], "#/components/schemas/RelativeForPersonReadMother");
    assert_eq!(person["father"]["$ref"], "#/components/schemas/RelativeForPersonReadFather");
}

#[test]
fn where_purposes_differ_it_is_said_which_shows_what() {
    let debt = mask("id-for-debt", "match", "id", FOR_DEBT)
        + &mask("born-for-debt", "year", "date_of_birth", FOR_DEBT)
        + &mask("phone-for-debt", "last3", "phone", FOR_DEBT);
    let bundle = bundle(&(identity() + &debt));
    let view = shown(&bundle, None);
    let person = &view["components"]["schemas"]["Person"];
    assert_eq!(names(&person["properties"]), ["id", "full_name", "date_of_birth", "phone"]);
    assert_eq!(person["required"], json!(["date_of_birth"]));
    assert_eq!(person["properties"]["id"]["description"], "- for `assessment`: as it is\n- for `debt`: withheld");
    assert_eq!(person["properties"]["date_of_birth"]["anyOf"].as_array().unwrap().len(), 2);
    let purpose = &read(&view)["parameters"][0];
    assert_eq!((&purpose["schema"]["enum"], &purpose["required"]), (&json!(["assessment", "debt"]), &json!(true)));
    assert!(purpose["description"].as_str().unwrap().contains("`debt`: Collection of debt (Law 2, until 2027-12-31)"));
    let case = &read(&view)["parameters"][1];
    assert_eq!((&case["name"], &case["required"]), (&json!("Gateway-Case"), &json!(false)));
    assert!(case["description"].as_str().unwrap().ends_with("Required for `debt`."));

    let narrow = shown(&bundle, Some(&["debt"]));
    let person = &narrow["components"]["schemas"]["Person"];
    assert_eq!(names(&person["properties"]), ["date_of_birth", "phone"]);
    assert_eq!(person["properties"]["date_of_birth"]["type"], json!(["integer", "null"]));
    assert_eq!(
        (&read(&narrow)["parameters"][1]["required"], narrow["paths"].as_object().unwrap().len()),
        (&json!(true), 1)
    );
    assert_eq!(read(&narrow)["parameters"][0]["schema"]["enum"], json!(["debt"]));
}

#[test]
fn limits_and_refusals_are_said_at_each_operation() {
    let bundle = bundle(&identity());
    let view = shown(&bundle, None);
    let policies = json!([
        { "name": "operation", "quota": 400, "seconds": 2, "unit": "requests" },
        { "name": "concurrent", "quota": 64, "unit": "concurrent-requests" },
    ]);
    let expected = json!({ "requests": 200, "seconds": 1, "burst": 400, "concurrent": 64, "policies": policies });
    assert_eq!(read(&view)["x-ratelimit"], expected);
    assert_eq!(verify(&view)["x-ratelimit"]["seconds"], 60);
    assert_eq!(names(&read(&view)["responses"]), ["200", "404", "429"]);
    assert_eq!(names(&verify(&view)["responses"]), ["200", "404", "413", "429"]);
    let refused = &view["components"]["responses"]["Refused429"];
    assert_eq!(refused["x-refusal-codes"], json!(["rate_exceeded"]));
    assert_eq!(refused["content"]["application/problem+json"]["schema"]["$ref"], "#/components/schemas/Problem");
    // Whoever has one purpose need not name it.
    let single: Value = serde_json::from_slice(view_of(&bundle, "tax/single", None).json()).unwrap();
    assert_eq!(read(&single)["parameters"][0]["required"], false);
}

#[test]
fn the_digest_changes_with_the_view_and_with_nothing_else() {
    let first = bundle(&identity());
    // Another comment, another order, a policy for somebody else: another bundle, and the same view.
    let other = "// Reviewed.\n".to_owned()
        + &policy("others", "", "permit", "resource", "when { context.purpose == Purpose::\"debt\" && false }")
        + &identity();
    let second = bundle(&other);
    assert_ne!(first.digest(), second.digest());
    let digest = |bundle: &Bundle, system: &str| view_of(bundle, system, None).digest();
    assert_eq!(digest(&first, "tax/etax"), digest(&second, "tax/etax"));
    assert_eq!(digest(&first, "tax/etax"), digest(&first, "tax/twin"));
    assert_ne!(digest(&first, "tax/etax"), digest(&first, "tax/single"));
    let third = bundle(&(identity() + &mask("phone", "exists", "phone", "")));
    assert_ne!(digest(&first, "tax/etax"), digest(&third, "tax/etax"));
    let group = |at: usize| first.view_group(&first.directory().systems()[at]);
    assert_eq!(group(0), group(1), "tax/etax and tax/twin");
    assert_ne!(group(0), group(2), "tax/single has fewer purposes");
    assert_eq!(digest(&first, "tax/etax").to_string().len(), 32);
}

#[test]
fn yaml_says_what_json_says() {
    let view = view_of(&bundle(&identity()), "tax/etax", None);
    let read: Value = serde_saphyr::from_slice(view.yaml()).unwrap();
    assert_eq!(read, serde_json::from_slice::<Value>(view.json()).unwrap());
}
