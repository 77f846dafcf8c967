//! What a contract means, and what is refused of one.

use super::*;
use crate::contract::{
    Answer, CacheRule, CacheScope, Class, Compare, Contracts, Derive, Kind, Location, ParamIx, Route, Segment, Shape,
};
use crate::model::MaskKind;

mod lists;
mod strict;

/// A contract of three operations, in which every extension is used.
pub(crate) const CONTRACT: &str = include_str!("tests.openapi.yaml");

/// Reads one contract, which may be wrong.
pub(crate) fn read(text: &str) -> (Contracts, Vec<String>) {
    let mut source = Source::default();
    source.files.insert("contracts/population.openapi.yaml".to_owned(), text.to_owned());
    let mut problems = Vec::new();
    let contracts = load(&source, &mut problems);
    (contracts, problems.iter().map(ToString::to_string).collect())
}

/// [`CONTRACT`], read.
pub(crate) fn contracts() -> Contracts {
    let (contracts, problems) = read(CONTRACT);
    assert_eq!(problems, [] as [String; 0]);
    contracts
}

#[test]
fn a_contract_is_read_as_it_is_written() {
    let contracts = contracts();
    let ids: Vec<&str> = contracts.operations().iter().map(|operation| operation.id.as_str()).collect();
    assert_eq!(ids, ["citizen.read", "citizen.lookup", "citizen.verify"]);
    let read = contracts.operation("citizen.read").unwrap();
    assert_eq!(read.upstream.register.as_str(), "population");
    assert_eq!(read.upstream.segments, [Segment::Literal("/persons/".to_owned()), Segment::Parameter(ParamIx(0))]);
    assert_eq!(read.cache.scope, CacheScope::Agency);
    assert_eq!(read.cache.stale_if_error.as_secs(), 600);
    assert_eq!(read.summary, "Reads one citizen");
    let lookup = contracts.operation("citizen.lookup").unwrap();
    let guard: Vec<&str> = lookup.guard.iter().map(|at| lookup.parameters[at.0].name.as_str()).collect();
    assert_eq!(guard, ["full_name", "date_of_birth"]);
    let verify = contracts.operation("citizen.verify").unwrap();
    assert_eq!(verify.answer, Answer::Match);
    assert!(verify.parameters.iter().all(|known| known.location == Location::Body));
    assert_eq!(verify.parameters.iter().filter(|known| known.required).count(), 1);
    assert_eq!(contracts.records().len(), 1);
}

#[test]
fn leaves_keep_the_order_of_the_schema_and_inherit_from_the_objects_around_them() {
    let contracts = contracts();
    let record = &contracts.records()[0];
    let names: Vec<&str> = record.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "Citizen.id",
            "Citizen.full_name",
            "Citizen.date_of_birth",
            "Citizen.date_of_death",
            "Citizen.phones",
            "Citizen.permanent_residence.province_code",
            "Citizen.permanent_residence.street",
            "Citizen.temporary_residence.province_code",
            "Citizen.temporary_residence.street",
            "Citizen.children.id",
            "Citizen.children.height",
        ]
    );
    let field = |name: &str| record.field_named(name).unwrap();
    assert_eq!(field("Citizen.date_of_birth").kind, Kind::Date);
    assert_eq!(field("Citizen.date_of_birth").masks, [MaskKind::Month, MaskKind::Year]);
    assert_eq!(field("Citizen.full_name").compare, Compare::Folded);
    assert!(field("Citizen.phones").array);
    assert_eq!(field("Citizen.permanent_residence.street").group.as_str(), "residence");
    assert_eq!(field("Citizen.temporary_residence.street").group.as_str(), "stay");
    assert_eq!(field("Citizen.temporary_residence.street").class, Class::Basic);
    assert_eq!(field("Citizen.children.height").kind, Kind::Number);
    assert_eq!(record.field(record.subject).unwrap().name.as_str(), "Citizen.id");
    let derived: Vec<(&str, Derive)> =
        record.attributes.iter().map(|known| (known.name.as_str(), known.derive)).collect();
    assert_eq!(derived, [("province", Derive::Value), ("minor", Derive::Under(18)), ("deceased", Derive::Present)]);
    let Some((_, Shape::Array(children))) = record.shape.member(b"children") else { panic!() };
    assert_eq!(children.member(b"id").unwrap().1, &Shape::Leaf(field("Citizen.children.id").index));
}

#[test]
fn a_path_leads_to_its_operation_and_to_no_other() {
    let contracts = contracts();
    let routed = |method: &str, path: &str| match contracts.route(method, path) {
        Route::Operation(operation, captures) => format!("{} {}", operation.id, captures.0.len()),
        Route::MethodNotAllowed(methods) => methods.join(" "),
        Route::NotFound => "-".to_owned(),
    };
    assert_eq!(routed("GET", "/population/v1/citizens/001099000001"), "citizen.read 1");
    assert_eq!(routed("HEAD", "/population/v1/citizens/001099000001"), "citizen.read 1");
    assert_eq!(routed("POST", "/population/v1/citizens/lookup"), "citizen.lookup 0");
    assert_eq!(routed("DELETE", "/population/v1/citizens/001099000001"), "GET HEAD");
    assert_eq!(routed("GET", "/population/v1/citizens/lookup"), "POST");
    assert_eq!(routed("get", "/population/v1/citizens/1"), "GET HEAD");
    for path in [
        "",
        "/",
        "population/v1/citizens/1",
        "/population/v1/citizens/",
        "/population//citizens/1",
        "/population/v1/./citizens/1",
        "/population/v1/citizens/1%2f2",
        "/population/v1/citizens/%2e%2E",
        "/population/v1/citizens/1/",
    ] {
        assert_eq!(routed("GET", path), "-", "{path}");
    }
}

#[test]
fn a_record_with_sensitive_fields_is_not_stored_unless_the_contract_says_so() {
    let line = "      x-gateway-cache: { scope: agency, fresh: 60s, stale-if-error: 10m }\n";
    let sensitive = CONTRACT.replace("x-gateway-class: basic", "x-gateway-class: sensitive");
    let (contracts, problems) = read(&sensitive);
    assert_eq!(contracts.operation("citizen.lookup").unwrap().cache.scope, CacheScope::Off);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("warning[cache-sensitive]"), "{problems:?}");
    let (_, problems) = read(&sensitive.replace(line, ""));
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn what_may_be_answered_stale_or_unknown_is_said_by_the_contract() {
    let line = "{ scope: agency, fresh: 60s, stale-if-error: 10m }";
    let said = |rule: &str| read(&CONTRACT.replace(line, rule));
    let rule = |contracts: &Contracts| contracts.operation("citizen.read").unwrap().cache;
    let (contracts, problems) = said("{ scope: agency, stale-while-revalidate: 30s, no-match: 5s }");
    assert!(problems.is_empty(), "{problems:?}");
    let CacheRule { fresh, stale_if_error, stale_while_revalidate, no_match, .. } = rule(&contracts);
    let seconds = [fresh, stale_if_error, stale_while_revalidate, no_match].map(|time| time.as_secs());
    assert_eq!(seconds, [60, 0, 30, 5]);
    let (contracts, problems) = said("{ scope: agency, no-match: 2m }");
    assert!(problems[0].starts_with("error[bad-cache]") && problems[0].contains("longer than 60 s"), "{problems:?}");
    assert_eq!(rule(&contracts).no_match.as_secs(), 60);
    let (_, problems) = said("{ scope: agency, no-matches: 2m }");
    assert!(problems[0].contains("no-match"), "{problems:?}");
}

#[test]
fn patterns_match_the_whole_value_and_cannot_escape_their_anchors() {
    let (contracts, problems) = read(&CONTRACT.replace("'^[0-9]{12}$'", "'[0-9]{12}|x'"));
    assert!(problems.is_empty(), "{problems:?}");
    let pattern = contracts.operation("citizen.read").unwrap().parameters[0].pattern.clone().unwrap();
    assert!(pattern.is_match("001099000001") && pattern.is_match("x"));
    assert!(!pattern.is_match("001099000001\n") && !pattern.is_match("ax") && !pattern.is_match("0010990000012"));
    let (_, problems) = read(&CONTRACT.replace("'^[0-9]{12}$'", "'a)|(b'"));
    assert!(problems[0].starts_with("error[bad-pattern]"), "{problems:?}");
}

#[test]
fn every_mistake_is_reported_not_only_the_first() {
    let text = CONTRACT
        .replace("x-gateway-effect: read", "x-gateway-effect: write")
        .replace("x-gateway-masks: [month, year]", "x-gateway-masks: [month, yaer]")
        .replace("from: date_of_birth", "from: date_of_brith");
    let (_, problems) = read(&text);
    assert_eq!(problems.len(), 5, "{problems:#?}");
}

#[test]
fn a_record_has_at_most_as_many_fields_as_a_set_can_hold() {
    let grown = |extra: usize| {
        let line = "        id: { type: string, x-gateway-group: identity";
        let more: String =
            (0..extra).map(|at| format!("        more{at}: {{ type: string, x-gateway-group: more }}\n")).collect();
        read(&CONTRACT.replace(line, &format!("{more}{line}"))).1
    };
    assert_eq!(grown(117), [] as [String; 0]);
    let problems = grown(118);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].contains("`Citizen` has more than 128 fields"), "{problems:?}");
}

#[test]
fn a_schema_that_only_a_refusal_refers_to_is_no_surprise() {
    let refusal = "'404': { description: Unknown, content: { application/json: { schema: { $ref: '#/components/schemas/Problem' } } } }";
    let text = CONTRACT.replace("'404': { description: Unknown }", refusal);
    let text = text.replace("    Claims:\n", "    Problem: { type: object }\n    Claims:\n");
    assert_eq!(read(&text).1, [] as [String; 0]);
}

#[test]
fn no_contract_however_mangled_is_read_without_an_end() {
    // Each line left out in turn, and each line indented: whatever comes of it, it comes.
    let lines: Vec<&str> = CONTRACT.lines().collect();
    for at in 0..lines.len() {
        let without: Vec<&str> =
            lines.iter().enumerate().filter(|(line, _)| *line != at).map(|(_, line)| *line).collect();
        read(&without.join("\n"));
        let indented: Vec<String> = lines
            .iter()
            .enumerate()
            .map(|(line, text)| if line == at { format!("  {text}") } else { (*text).to_owned() })
            .collect();
        read(&indented.join("\n"));
    }
}

#[test]
fn a_path_that_captures_a_name_twice_is_refused() {
    let text = CONTRACT.replace("/population/v1/citizens/{id}:", "/population/{id}/citizens/{id}:");
    let (_, problems) = read(&text);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].starts_with("error[bad-path]"), "{problems:?}");
}

#[test]
fn a_record_whose_schemas_double_at_each_level_is_refused_at_once() {
    let levels: String = (0..40)
        .map(|at| {
            let next = format!("$ref: '#/components/schemas/L{}'", at + 1);
            format!("    L{at}: {{ type: object, properties: {{ a: {{ {next} }}, b: {{ {next} }} }} }}\n")
        })
        .collect();
    for last in ["{ type: string }", "{ type: object, properties: {} }"] {
        let more = "        more: { x-gateway-group: more, $ref: '#/components/schemas/L0' }\n";
        let line = "        id: { type: string, x-gateway-group: identity";
        let text = CONTRACT.replace(line, &format!("{more}{line}"));
        let (_, problems) = read(&text.replace("    Address:\n", &format!("{levels}    L40: {last}\n    Address:\n")));
        assert!(problems.iter().any(|problem| problem.contains("more than 128 fields")), "{problems:?}");
    }
}
