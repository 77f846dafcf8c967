//! Promise: the reference bundle loads clean, every national register has operations in it, what each of those who ask gets of
//! them is as written here, and the young, the dead, the residents of other provinces and everybody's sensitive data are
//! protected in every register, whatever else is permitted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use popgate::app::bundle_files;
use popgate_demo::deployment::reference_bundle;
use popgate_demo::register::Citizen;
use popgate_demo::register::demo::HOA;
use popgate_policy::bundle::{Bundle, Loaded, Source};
use popgate_policy::contract::{Answer, Class, Kind, Location, Operation, Parameter, RequestParts, Role, Route};
use popgate_policy::directory::{Purpose, System};
use popgate_policy::disclose::cursor::CursorKey;
use popgate_policy::disclose::{PseudonymKey, Raw, Redacted, Secrets};
use popgate_policy::model::{DisclosureId, FieldIx, FieldSet};
use popgate_policy::permit::{Ask, Denial, Env, Hidden, Permit, Unopened};
use serde_json::{Map, Value, json};

mod personas;

#[test]
fn the_reference_bundle_loads_and_its_warnings_are_explained() {
    let Loaded { warnings, .. } = Bundle::load(&source()).unwrap();
    let readme = std::fs::read_to_string(reference_bundle().join("README.md")).unwrap();
    for warning in warnings {
        assert!(readme.contains(&format!("`{}`", warning.code)), "{}: {}", warning.file, warning.message);
    }
}

#[test]
fn every_register_has_operations_about_one_person_and_every_act_is_known_by_age_death_and_province() {
    let reference = Reference::load();
    let mut of_register: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in reference.bundle.contracts().operations() {
        of_register.entry(operation.upstream.register.as_str()).or_default().push(operation);
    }
    assert_eq!(
        of_register.keys().copied().collect::<Vec<_>>(),
        [
            "business",
            "civil-status",
            "driving-licences",
            "health-insurance",
            "land",
            "population",
            "social-insurance",
            "tax",
            "vaccination",
            "vehicles",
        ]
    );
    for (register, operations) in of_register {
        assert!(operations.len() >= 2, "{register}");
        assert!(operations.iter().any(|operation| operation.answer == Answer::Record), "{register}");
        for operation in operations {
            assert!(operation.template.starts_with(&format!("/{register}/v")), "{}", operation.id);
            assert!(!operation.summary.is_empty(), "{}", operation.id);
            // The forbids in `common.cedar` reach an operation by these groups of actions.
            for attribute in ["deceased", "minor", "province"] {
                let has = operation.record.attributes.iter().any(|known| known.name == attribute);
                assert!(has, "{} is not in `with-{attribute}`", operation.id);
            }
        }
    }
}

#[test]
fn each_persona_gets_exactly_the_fields_that_are_written_down() {
    let reference = Reference::load();
    let mut wrong = String::new();
    for persona in personas::all() {
        let found = reference.seen_by(&persona);
        if found != persona.sees {
            wrong += &format!("{}, {}, {}: {found:#?}\n", persona.system, persona.purpose, persona.operation);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn no_private_system_sees_sensitive_data_but_who_treats_or_vaccinates() {
    let reference = Reference::load();
    let mut decided = 0;
    for system in reference.bundle.directory().systems().iter().filter(|system| system.agency.level == "private") {
        for purpose in &system.purposes {
            let purpose = reference.bundle.directory().purpose(purpose.as_str()).unwrap();
            for operation in reference.bundle.contracts().operations() {
                let Some(permit) = reference.widest_permit(system, purpose, operation) else { continue };
                decided += 1;
                for field in sensitive(operation).iter().filter(|field| permit.widest().contains(*field)) {
                    let field = operation.record.field(field).unwrap();
                    let treats = system.agency.sector == "health"
                        && ["treatment", "vaccination"].contains(&purpose.id.as_str())
                        && ["health", "immunisation"].contains(&field.group.as_str());
                    assert!(treats, "{} sees {} for {} by {}", system.id, field.name, purpose.id, operation.id);
                }
            }
        }
    }
    assert!(decided >= 30, "only {decided} of the private systems' questions can be asked at all");
}

#[test]
fn no_operation_escapes_what_is_forbidden_for_everybody() {
    let mut source = source();
    let permit_all = "@id(\"everything\") @basis(\"test\")\npermit (principal, action, resource);\n";
    source.files.insert("policies/everything.cedar".to_owned(), permit_all.to_owned());
    let reference = Reference::of(&source);
    for operation in reference.records() {
        let seen = |system: &str, purpose: &str, change: &dyn Fn(&mut Value)| {
            let mut record = reference.example(operation);
            change(&mut record);
            let reading = operation.template.ends_with("{id}");
            let system = reference.system(system);
            let purpose = reference.bundle.directory().purpose(purpose).unwrap();
            match reference.open(system, purpose, operation, &record) {
                Ok(redacted) => (redacted.tally().revealed, Some(shown(redacted))),
                Err(Some(Unopened::NoMatch(Hidden::Record, _))) => (FieldSet::EMPTY, None),
                // By the number alone private organisations may ask nothing.
                Err(None) if reading && system.agency.level == "private" => (FieldSet::EMPTY, None),
                other => panic!("{}: {other:?}", operation.id),
            }
        };
        let group = |wanted: &[&str]| -> FieldSet {
            let fields = operation.record.fields.iter().filter(|field| wanted.contains(&field.group.as_str()));
            fields.map(|field| field.index).collect()
        };
        let none = |revealed: FieldSet, of: FieldSet| revealed.iter().all(|field| !of.contains(field));
        let attribute = |name: &str| operation.record.attributes.iter().find(|known| known.name == name).unwrap().from;
        let set = |record: &mut Value, field: FieldIx, value: Value| {
            let path = &operation.record.field(field).unwrap().path;
            *record.pointer_mut(&format!("/{}", path.join("/"))).unwrap() = value;
        };
        let (born, died, province) = (attribute("minor"), attribute("deceased"), attribute("province"));

        // A private organisation that asks for a purpose which no exception names.
        let (adult, _) = seen("bank-a/ekyc", "e-kyc", &|_| {});
        let others = group(&["family"]).union(sensitive(operation));
        assert!(none(adult, others), "{}: relatives or sensitive data", operation.id);
        let (minor, answer) = seen("bank-a/ekyc", "e-kyc", &|record| set(record, born, json!("2020-02-29")));
        let hidden = group(&["contact", "household", "co-holders"]).union(others);
        assert!(none(minor, hidden) && !minor.contains(born), "{}: a minor", operation.id);
        if let Some(answer) = answer {
            let path = &operation.record.field(born).unwrap().path;
            assert_eq!(answer.pointer(&format!("/{}", path.join("/"))), Some(&json!(2020)), "{}", operation.id);
        }
        let public = ["customs/eclearance", "customs-clearance"];
        let (dead, _) = seen(public[0], public[1], &|record| set(record, died, json!("2026-01-02")));
        assert!(none(dead, group(&["contact", "account"])), "{}: the deceased", operation.id);
        let (dead, _) = seen("ha-noi/portal", "public-service", &|record| set(record, died, json!("2026-01-02")));
        assert!(none(dead, group(&["contact", "account"])), "{}: the deceased", operation.id);
        // A province, and a record of another one.
        let (own, answer) = seen("ha-noi/portal", "residence-management", &|_| {});
        assert!(answer.is_some() && !own.is_empty(), "{}", operation.id);
        let elsewhere = |record: &mut Value| set(record, province, json!("079"));
        assert_eq!(seen("ha-noi/portal", "residence-management", &elsewhere).1, None, "{}", operation.id);
        // Sensitive data, for whom no law names it.
        for (system, purpose) in
            [("customs/eclearance", "customs-clearance"), ("employment/jobs", "employment-support")]
        {
            assert!(none(seen(system, purpose, &|_| {}).0, sensitive(operation)), "{} to {system}", operation.id);
        }
    }
}

#[test]
fn the_example_of_every_record_holds_each_of_its_fields() {
    let reference = Reference::load();
    for operation in reference.records() {
        let example = reference.example(operation);
        for field in &operation.record.fields {
            assert!(example_of(&example, &field.path).is_some(), "{} has no example", field.name);
        }
    }
}

/// What somebody gets of an operation. Fields are written without the record's name.
#[derive(Debug, PartialEq, Default)]
struct Sees {
    /// As the register has them.
    revealed: BTreeSet<String>,
    /// Through a mask, with what the mask makes of the example.
    masked: BTreeMap<String, Value>,
    /// Parameters that may be claimed.
    matched: BTreeSet<String>,
}

/// Somebody who asks, and what is expected of it.
struct Persona {
    system: &'static str,
    purpose: &'static str,
    operation: &'static str,
    /// What is different from the contract's example: JSON pointers and values.
    record: Vec<(&'static str, Value)>,
    hour: i8,
    sees: Sees,
}

/// The reference bundle, with the examples of its contracts.
struct Reference {
    bundle: Arc<Bundle>,
    /// By the record's name.
    examples: BTreeMap<String, Value>,
}

impl Reference {
    fn load() -> Self {
        Self::of(&source())
    }

    fn of(source: &Source) -> Self {
        let mut examples = BTreeMap::new();
        for (_, text) in source.files.iter().filter(|(file, _)| file.starts_with("contracts/")) {
            collect_examples(&serde_saphyr::from_str(text).unwrap(), &mut examples);
        }
        let hoa = serde_json::to_value(Citizen::of(HOA.number).unwrap()).unwrap();
        examples.insert("Citizen".to_owned(), hoa);
        Self { bundle: Bundle::load(source).unwrap().bundle, examples }
    }

    /// The operations of the other registers that show a record.
    fn records(&self) -> impl Iterator<Item = &Arc<Operation>> {
        let all = self.bundle.contracts().operations().iter();
        all.filter(|operation| operation.answer == Answer::Record && !operation.bulk)
            .filter(|operation| operation.upstream.register.as_str() != "population")
    }

    fn system(&self, id: &str) -> &Arc<System> {
        self.bundle.directory().systems().iter().find(|system| system.id.as_str() == id).unwrap()
    }

    fn example(&self, operation: &Operation) -> Value {
        let name = operation.record.name.as_str();
        self.examples.get(name).unwrap_or_else(|| panic!("{name} has no example")).clone()
    }

    fn seen_by(&self, persona: &Persona) -> Sees {
        let operation = self.bundle.contracts().operation(persona.operation).unwrap();
        let (system, purpose) =
            (self.system(persona.system), self.bundle.directory().purpose(persona.purpose).unwrap());
        assert!(system.purposes.contains(&purpose.id), "{} is not enrolled for {}", persona.system, persona.purpose);
        let mut record = self.example(operation);
        for (pointer, value) in &persona.record {
            *record.pointer_mut(pointer).unwrap() = value.clone();
        }
        let mut sees = Sees::default();
        if operation.answer == Answer::Match {
            let required: Vec<&Parameter> = operation.parameters.iter().filter(|known| known.required).collect();
            for parameter in &operation.parameters {
                let with: Vec<&Parameter> = required.iter().copied().chain([parameter]).collect();
                match self.decide(system, purpose, operation, &record, &with, persona.hour) {
                    Ok(_) => drop(sees.matched.insert(parameter.name.clone())),
                    Err(Denial::Parameter { name }) => assert_eq!(name, parameter.name, "{}", persona.operation),
                    Err(Denial::Nothing | Denial::Missing { .. } | Denial::Cursor { .. }) => {}
                }
            }
            return sees;
        }
        let all: Vec<&Parameter> = operation.parameters.iter().collect();
        let Ok(permit) = self.decide(system, purpose, operation, &record, &all, persona.hour) else { return sees };
        let Ok(redacted) = opened(permit, &record) else { return sees };
        let names = |fields: FieldSet| -> BTreeSet<String> {
            fields.iter().map(|field| operation.record.field(field).unwrap().path.join(".")).collect()
        };
        let tally = redacted.tally();
        let answer = shown(redacted);
        sees.revealed = names(tally.revealed);
        let masked = names(tally.masked).into_iter();
        let path = |name: &str| name.split('.').map(str::to_owned).collect::<Vec<_>>();
        sees.masked = masked
            .filter_map(|name| Some((example_of(&answer, &path(&name))?.clone(), name)))
            .map(|(value, name)| (name, value))
            .collect();
        sees
    }

    /// What a system can be permitted at most: with every parameter that it may use, at its best hour, with every evidence.
    fn widest_permit(
        &self,
        system: &Arc<System>,
        purpose: &Arc<Purpose>,
        operation: &Arc<Operation>,
    ) -> Option<Permit> {
        // Who asks for a list says something of one of its persons.
        let own = self.examples.get(&operation.record.name).filter(|_| !matches!(operation.answer, Answer::List(_)));
        let record = own.or(self.examples.get("Citizen")).unwrap();
        let asks = |parameter: &&Parameter| parameter.role == Role::Asks;
        let mut parameters: Vec<&Parameter> = operation.parameters.iter().filter(asks).collect();
        loop {
            match self.decide(system, purpose, operation, record, &parameters, 12) {
                Ok(permit) => return Some(permit),
                Err(Denial::Nothing | Denial::Missing { .. } | Denial::Cursor { .. }) => return None,
                Err(Denial::Parameter { name }) => {
                    if parameters.iter().any(|known| known.name == name && known.required) {
                        return None;
                    }
                    parameters.retain(|known| known.name != name);
                }
            }
        }
    }

    /// Opens a record with every parameter right; `Err(None)` if the question may not be asked.
    fn open(
        &self,
        system: &Arc<System>,
        purpose: &Arc<Purpose>,
        operation: &Arc<Operation>,
        record: &Value,
    ) -> Result<Redacted, Option<Unopened>> {
        let all: Vec<&Parameter> = operation.parameters.iter().collect();
        let permit = self.decide(system, purpose, operation, record, &all, 12).map_err(|_| None)?;
        opened(permit, record).map_err(Some)
    }

    /// Decides a request that says of each parameter what the record has.
    fn decide(
        &self,
        system: &Arc<System>,
        purpose: &Arc<Purpose>,
        operation: &Arc<Operation>,
        record: &Value,
        parameters: &[&Parameter],
        hour: i8,
    ) -> Result<Permit, Denial> {
        let mut path = operation.template.to_string();
        let (mut query, mut body) = (Vec::new(), Map::new());
        for parameter in parameters {
            let field = operation.record.field(parameter.field).unwrap();
            let value = example_of(record, &field.path).unwrap_or_else(|| panic!("{} has no example", field.name));
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            match parameter.location {
                Location::Path => path = path.replace(&format!("{{{}}}", parameter.name), &text),
                Location::Query => query.push(format!("{}={text}", parameter.name)),
                Location::Body if parameter.kind == Kind::String => {
                    drop(body.insert(parameter.name.clone(), json!(text)))
                }
                Location::Body => drop(body.insert(parameter.name.clone(), value.clone())),
            }
        }
        let Route::Operation(routed, captures) = self.bundle.contracts().route(operation.method.as_str(), &path) else {
            panic!("{path} leads nowhere");
        };
        assert_eq!(routed.id, operation.id);
        let body = if body.is_empty() { Vec::new() } else { serde_json::to_vec(&body).unwrap() };
        let parts = RequestParts { captures: &captures, query: &query.join("&"), body: &body };
        let arguments = operation.arguments(parts).unwrap_or_else(|error| panic!("{}: {error}", operation.id));
        let env = Env {
            date: jiff::civil::date(2026, 11, 22),
            hour,
            minute: 0,
            source: "10.70.0.7".parse().unwrap(),
            claimed_assurance: Some("high".to_owned()),
            claimed_user: true,
            claimed_case: false,
        };
        let disclosure = DisclosureId::from_random(7);
        let denied = self.bundle.decide(Ask {
            disclosure,
            system,
            operation,
            purpose,
            arguments,
            env,
            cursors: &CursorKey::new([8; 32]),
            seals: None,
        });
        denied.map_err(|denied| {
            assert_eq!(denied.policy_errors, 0, "{}: a policy fails", operation.id);
            denied.why
        })
    }
}

fn source() -> Source {
    bundle_files::read(&reference_bundle()).unwrap()
}

fn opened(permit: Permit, record: &Value) -> Result<Redacted, Unopened> {
    permit.open(&Raw::seal(Bytes::from(record.to_string())), &secrets())
}

/// The answer's bytes, read again.
fn shown(redacted: Redacted) -> Value {
    let bytes: Vec<u8> = redacted.into_chunks().into_iter().flat_map(|chunk| chunk.into_bytes()).collect();
    serde_json::from_slice(&bytes).unwrap()
}

fn sensitive(operation: &Operation) -> FieldSet {
    let fields = operation.record.fields.iter().filter(|field| field.class == Class::Sensitive);
    fields.map(|field| field.index).collect()
}

/// The value at a field's path; inside an array of objects that of the first, of an array of scalars its first.
fn example_of<'v>(record: &'v Value, path: &[String]) -> Option<&'v Value> {
    let mut at = record;
    for part in path {
        at = at.as_array().map_or(Some(at), |items| items.first())?.get(part)?;
    }
    Some(at.as_array().and_then(|items| items.first()).unwrap_or(at))
}

/// The examples beside a `$ref` to a schema, by the schema's name.
fn collect_examples(node: &Value, examples: &mut BTreeMap<String, Value>) {
    match node {
        Value::Object(members) => {
            let reference = node.pointer("/schema/$ref").and_then(Value::as_str);
            if let (Some(reference), Some(example)) = (reference, members.get("example")) {
                examples.insert(reference.rsplit('/').next().unwrap().to_owned(), example.clone());
            }
            members.values().for_each(|member| collect_examples(member, examples));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_examples(item, examples)),
        _ => {}
    }
}

fn secrets() -> Secrets {
    Secrets { pseudonyms: PseudonymKey::new([7; 32]), cursors: CursorKey::new([8; 32]) }
}
