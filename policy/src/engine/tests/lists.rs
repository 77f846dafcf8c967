//! What the engine promises about lists, cursors and whole fields; over a small bundle in text.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::bundle::{Bundle, Source};
use crate::contract::{RequestParts, Route};
use crate::disclose::{Raw, Redacted, Strays};
use crate::engine::fixture::{policy, secrets, show, ten};
use crate::model::DisclosureId;
use crate::narrow::Narrowing;
use crate::permit::{Ask, Denial, Hidden, Permit, Unopened};

mod strict;

struct World(Arc<Bundle>);

impl World {
    fn new(policies: &[(&str, &str)]) -> Self {
        Self::of(contract(), policies)
    }

    fn of(contract: String, policies: &[(&str, &str)]) -> Self {
        let text: String = policies.iter().map(|(id, rest)| policy(id, rest)).collect();
        let files = [
            ("contracts/population.openapi.yaml", contract),
            ("purposes.toml", "[work]\nname = { vi = \"w\", en = \"w\" }\nbasis = \"Law 1\"\n".to_owned()),
            ("agencies/tax.toml", agency("tax", "central", "")),
            ("agencies/hanoi.toml", agency("hanoi", "province", "province = \"001\"\n")),
            ("policies/test.cedar", text),
        ];
        let files: BTreeMap<String, String> = files.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
        match Bundle::load(&Source { files }) {
            Ok(loaded) => Self(loaded.bundle),
            Err(problems) => panic!("{}", show(&problems)),
        }
    }

    fn ask(&self, system: &str, method: &str, path: &str, body: &str) -> Result<Permit, Denial> {
        let Route::Operation(operation, captures) = self.0.contracts().route(method, path) else { panic!("{path}") };
        let parts = RequestParts { captures: &captures, query: "", body: body.as_bytes() };
        let ask = Ask {
            disclosure: DisclosureId::from_random(7),
            system: self.0.directory().systems().iter().find(|known| known.id.as_str() == system).unwrap(),
            operation,
            purpose: self.0.directory().purpose("work").unwrap(),
            arguments: operation.arguments(parts).unwrap(),
            env: ten(),
            cursors: &secrets().cursors,
            seals: None,
        };
        self.0.decide(ask).map_err(|denied| denied.why)
    }

    fn search(&self, system: &str, body: &str) -> Permit {
        self.ask(system, "POST", "/search", body).unwrap()
    }
}

fn agency(id: &str, level: &str, more: &str) -> String {
    format!(
        "name = {{ vi = \"{id}\", en = \"{id}\" }}\nsector = \"{id}\"\nlevel = \"{level}\"\n{more}purposes = [\"work\"]\n\
         [systems.desk]\nidentity = \"spiffe://gov.test/{id}\"\nlimits = {{ rate = \"1/s\", burst = 1, concurrent = 1 }}\n"
    )
}

fn open(permit: Permit, answer: &str) -> Result<Redacted, Unopened> {
    permit.open(&Raw::seal(Bytes::copy_from_slice(answer.as_bytes())), &secrets())
}

fn text(redacted: Redacted) -> String {
    let bytes: Vec<u8> = redacted.into_chunks().into_iter().flat_map(|chunk| chunk.into_bytes().to_vec()).collect();
    String::from_utf8(bytes).unwrap()
}

fn row(id: &str, province: &str) -> String {
    format!(r#"{{"id":"{id}","name":"N{id}","born":"1987-03-14","province":"{province}","secret":1}}"#)
}

fn page(rows: &[String], rest: &str) -> String {
    format!(r#"{{ "total": {}, "items": [ {} ]{rest} }}"#, rows.len(), rows.join(" , "))
}

const ALL: (&str, &str) = ("all", "permit(principal, action, resource);");
const OWN: (&str, &str) = (
    "own",
    r#"forbid(principal in Level::"province", action in Action::"with-province", resource)
       unless { principal has province && context.record.province == principal.province };"#,
);

#[test]
fn each_record_is_one_of_its_own() {
    let world = World::new(&[ALL]);
    let answer = page(&[row("1", "001"), row("2", "046")], r#", "next": "after-2", "hint": [1]"#);
    let shown = open(world.search("tax/desk", r#"{"born":"1987-03-14"}"#), &answer).unwrap();
    let subjects: Vec<_> = shown.persons().iter().map(|person| person.subject.expose().clone()).collect();
    assert_eq!(subjects, ["1", "2"]);
    assert_eq!(shown.tally().undeclared, 3, "`hint`, and `secret` of each");
    let text = text(shown);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["items"][1], serde_json::json!({"id": "2", "name": "N2", "born": "1987-03-14", "province": "046"}));
    assert_eq!(json["total"], 2);
    assert!(!text.contains("after-2") && !text.contains("secret"), "{text}");
}

#[test]
fn chunks_wait_for_the_entry_of_their_person() {
    let world = World::new(&[ALL]);
    let answer = page(&[row("1", "001"), row("2", "046")], "");
    let shown = open(world.search("tax/desk", r#"{"born":"1987-03-14"}"#), &answer).unwrap();
    let seqs: Vec<_> = shown.into_chunks().iter().map(|chunk| (chunk.last_seq(), chunk.bytes.len() > 20)).collect();
    assert_eq!(seqs.first(), Some(&(1, true)));
    assert_eq!(seqs.last().map(|(seq, _)| *seq), Some(2));
}

#[test]
fn a_hidden_record_is_dropped_and_not_counted() {
    let world = World::new(&[ALL, OWN]);
    let permit = world.ask("hanoi/desk", "POST", "/find", r#"{"born":"1987-03-14"}"#).unwrap();
    let shown = open(permit, &page(&[row("1", "046"), row("2", "001"), row("3", "046")], r#","next":"x""#)).unwrap();
    assert_eq!(shown.persons().len(), 1);
    assert_eq!(text(shown), r#"{"items":[{"id":"2","name":"N2","born":"1987-03-14","province":"001"}]}"#);
    let permit = world.ask("hanoi/desk", "POST", "/find", r#"{"born":"1987-03-14"}"#).unwrap();
    let none = open(permit, &page(&[row("1", "046")], "")).unwrap();
    assert_eq!(none.persons().len(), 0);
    assert_eq!(text(none), r#"{"items":[]}"#);
}

#[test]
fn a_condition_that_the_register_filters_by_hides_nothing() {
    let world = World::new(&[ALL, OWN]);
    let permit = world.search("hanoi/desk", r#"{"born":"1987-03-14"}"#);
    assert_eq!(permit.upstream().target.expose(), "/persons?born=1987-03-14&province=001");
    let answer = page(&[row("1", "001"), row("2", "001")], r#","next":null"#);
    assert!(text(open(permit, &answer).unwrap()).ends_with(r#"],"total":2,"next":null}"#));
    // It says what it filtered by, and did not.
    let permit = world.search("hanoi/desk", r#"{"born":"1987-03-14"}"#);
    assert!(matches!(open(permit, &page(&[row("1", "046")], "")), Err(Unopened::Unfiltered)));
    // The agency's own filter is another one: nothing of it is counted.
    let permit = world.search("hanoi/desk", r#"{"born":"1987-03-14","province":"046"}"#);
    assert_eq!(text(open(permit, &page(&[row("1", "046")], "")).unwrap()), r#"{"items":[]}"#);
    // Somebody without a province says which.
    let denied = world.ask("tax/desk", "POST", "/must", r#"{"born":"1987-03-14"}"#).unwrap_err();
    assert_eq!(denied, Denial::Missing { name: "province".into() });
}

#[test]
fn one_more_condition_on_what_is_not_filtered_hides_the_count() {
    let minors = ("minors", "forbid(principal, action, resource) when { context.record.minor };");
    let world = World::new(&[ALL, OWN, minors]);
    let none = |body: &str| text(open(world.search("hanoi/desk", body), &page(&[], "")).unwrap());
    assert_eq!(none(r#"{"sort":"name"}"#), r#"{"items":[]}"#);
    assert_eq!(none(r#"{"born":"1987-03-14"}"#), r#"{"items":[],"total":0}"#, "a date of birth says who is a minor");
    assert_eq!(none(r#"{"born":"2020-03-14"}"#), r#"{"items":[]}"#);
    let permit = world.search("hanoi/desk", r#"{"born":"1987-03-14"}"#);
    let other = row("1", "001").replace("1987", "2020");
    assert!(matches!(open(permit, &page(&[other], "")), Err(Unopened::Unfiltered)));
    // One that leaves something of each record hides no count.
    let rest = r#"@at_most("year") forbid(principal, action, resource == Field::"Person.born") when { context.record.minor };"#;
    let world = World::new(&[ALL, OWN, ("born", rest)]);
    let permit = world.search("hanoi/desk", r#"{"sort":"name"}"#);
    assert_eq!(text(open(permit, &page(&[], "")).unwrap()), r#"{"items":[],"total":0}"#);
}

#[test]
fn a_cursor_goes_on_with_its_own_question_alone() {
    let world = World::new(&[ALL]);
    let next = |system: &str, body: &str| {
        let shown = open(world.search(system, body), &page(&[row("1", "001")], r#","next":"after-1""#)).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text(shown)).unwrap();
        json["next"].as_str().unwrap().to_owned()
    };
    let cursor = next("tax/desk", r#"{"born":"1987-03-14","limit":5}"#);
    let with = |born: &str, limit: u32| format!(r#"{{"born":"{born}","limit":{limit},"cursor":"{cursor}"}}"#);
    let permit = world.search("tax/desk", &with("1987-03-14", 10));
    assert_eq!(permit.upstream().target.expose(), "/persons?born=1987-03-14&limit=10&cursor=after-1");
    for (system, body) in [("tax/desk", with("1987-03-15", 5)), ("hanoi/desk", with("1987-03-14", 5))] {
        let denied = world.ask(system, "POST", "/search", &body).unwrap_err();
        assert_eq!(denied, Denial::Cursor { name: "cursor".into() });
    }
}

#[test]
fn what_a_search_asks_by_must_be_matched_at_least() {
    let some = ("some", r#"permit(principal, action, resource) unless { resource == Field::"Person.born" };"#);
    let world = World::new(&[some]);
    let denied = world.ask("tax/desk", "POST", "/search", r#"{"born":"1987-03-14"}"#).unwrap_err();
    assert_eq!(denied, Denial::Parameter { name: "born".into() });
    let denied = world.ask("tax/desk", "POST", "/search", r#"{"sort":"born"}"#).unwrap_err();
    assert_eq!(denied, Denial::Parameter { name: "sort".into() });
    assert!(world.ask("tax/desk", "POST", "/search", r#"{"sort":"name","limit":3}"#).is_ok());
}

#[test]
fn a_page_does_not_tell_where_a_hidden_record_stands() {
    let world = World::new(&[ALL, OWN]);
    let rows = [row("1", "046"), row("2", "001"), row("3", "046"), row("4", "001")];
    for (limit, shown) in [(1, vec!["2"]), (2, vec!["2", "4"]), (3, vec!["2", "4"])] {
        let body = format!(r#"{{"sort":"name","limit":{limit}}}"#);
        let permit = world.ask("hanoi/desk", "POST", "/find", &body).unwrap();
        assert!(
            permit.upstream().target.expose().contains("limit=50"),
            "the register is asked for all that it may give"
        );
        let answer = open(permit, &page(&rows, "")).unwrap();
        let found: Vec<_> = answer.persons().iter().map(|person| person.subject.expose().clone()).collect();
        assert_eq!(found, shown, "{limit}");
    }
}

#[test]
fn who_is_hidden_by_a_plugin_is_not_counted() {
    let world = World::new(&[ALL]);
    let permit = world.search("tax/desk", r#"{"born":"1987-03-14"}"#).narrow(&Narrowing::hide()).unwrap();
    let answer = text(open(permit, &page(&[row("1", "001")], r#","next":"x""#)).unwrap());
    assert_eq!(answer, r#"{"items":[]}"#);
}

#[test]
fn a_household_is_about_the_person_who_was_asked_for() {
    let world = World::new(&[ALL, OWN]);
    let home = |rows: &[String]| format!(r#"{{"ward":"Ba Đình","members":[{}]}}"#, rows.join(","));
    let ask = |system: &str| world.ask(system, "GET", "/persons/1/home", "").unwrap();
    let shown = open(ask("tax/desk"), &home(&[row("2", "046"), row("1", "001")])).unwrap();
    assert_eq!(shown.persons().len(), 1, "the other one");
    let json: serde_json::Value = serde_json::from_str(&text(shown)).unwrap();
    assert_eq!((json["ward"].as_str(), json["members"].as_array().map(Vec::len)), (Some("Ba Đình"), Some(2)));
    assert!(matches!(open(ask("tax/desk"), &home(&[row("2", "001")])), Err(Unopened::SubjectMismatch)));
    // Another province's resident is unknown, whoever else lives there.
    let hidden = open(ask("hanoi/desk"), &home(&[row("1", "046"), row("2", "001")]));
    assert!(matches!(hidden, Err(Unopened::NoMatch(Hidden::Record, _))), "{hidden:?}");
    // A member who is hidden is left out.
    let shown = open(ask("hanoi/desk"), &home(&[row("1", "001"), row("2", "046")])).unwrap();
    assert_eq!(shown.persons().len(), 0);
    assert!(!text(shown).contains("N2"));
}

#[test]
fn what_is_not_read_strictly_is_not_shown() {
    let world = World::new(&[ALL]);
    let search = || world.search("tax/desk", r#"{"born":"1987-03-14"}"#);
    for broken in [
        r#"{"total":1,"items":[{"id":"1"}"#,
        r#"{"total":1,"items":[{"id":"1","id":"2"}]}"#,
        r#"{"items":[{"id":"1"}],"items":[]}"#,
        r#"{"items":{"id":"1"}}"#,
        r#"[{"id":"1"}]"#,
    ] {
        assert!(matches!(open(search(), broken), Err(Unopened::Unreadable(_))), "{broken}");
    }
    // Nobody could say whom it was about.
    let nameless = r#"{"items":[{"name":"N"},{"id":"2","name":"M","province":"001"}]}"#;
    assert!(matches!(open(search(), nameless), Err(Unopened::Unreadable(_))), "what counts it is shown");
    let world = World::new(&[ALL, OWN]);
    let permit = world.ask("hanoi/desk", "POST", "/find", r#"{"born":"1987-03-14"}"#).unwrap();
    let shown = open(permit, nameless).unwrap();
    assert_eq!((shown.persons().len(), shown.tally().mistyped), (1, 1));
    assert!(!text(shown).contains("\"N\""));
    // More records than may be asked for.
    let many: Vec<String> = (0..51).map(|n| row(&n.to_string(), "001")).collect();
    assert!(matches!(open(search(), &page(&many, "")), Err(Unopened::Unreadable(_))));
}

#[test]
fn a_whole_field_follows_the_record_that_decides() {
    let world = World::new(&[ALL, OWN]);
    let ask = |system: &str| world.ask(system, "GET", "/persons/1/face", "").unwrap();
    let raw = |text: &str| Raw::seal(Bytes::copy_from_slice(text.as_bytes()));
    let permit = ask("hanoi/desk").open_record_of_whole(&raw(&row("1", "001")), &mut Strays::default()).unwrap();
    assert_eq!((permit.upstream().target.expose().as_str(), permit.media_type()), ("/persons/1/face", "image/jpeg"));
    let shown = permit.open(&raw("\u{1}\u{2}not json")).unwrap();
    assert_eq!((shown.media_type(), shown.tally().revealed.len()), ("image/jpeg", 1));
    assert_eq!(text(shown), "\u{1}\u{2}not json");
    let refused = ask("hanoi/desk").open_record_of_whole(&raw(&row("1", "046")), &mut Strays::default());
    assert!(matches!(refused, Err(Unopened::NoMatch(Hidden::Record, _))));
    let refused = ask("hanoi/desk").open_record_of_whole(&raw(&row("2", "001")), &mut Strays::default());
    assert!(matches!(refused, Err(Unopened::SubjectMismatch)));
    let long = ask("tax/desk").open_record_of_whole(&raw(&row("1", "001")), &mut Strays::default()).unwrap();
    assert!(matches!(long.open(&raw(&"x".repeat(2000))), Err(Unopened::Unreadable(_))));
    // It is no part of a record, whatever the register writes there.
    let read = world.ask("tax/desk", "GET", "/persons/1", "").unwrap();
    assert!(!text(open(read, r#"{"id":"1","name":"N","face":"ZmFjZQ=="}"#).unwrap()).contains("face"));
}

/// Three searches: with a pushdown, with one that must be given, and with none.
fn contract() -> String {
    let pushed = "      x-gateway-pushdown: { province: body.province }\n";
    let required = "              required: [province]\n";
    let searches = [("search", pushed, ""), ("must", pushed, required), ("find", "", "")];
    let searches = searches.map(|(name, pushdown, required)| {
        SEARCH.replace("NAME", name).replace("PUSHDOWN\n", pushdown).replace("REQUIRED\n", required)
    });
    CONTRACT.replace("SEARCHES\n", &searches.concat())
}

const SEARCH: &str = r##"  /NAME:
    post:
      operationId: NAME
      x-gateway-upstream: population GET /persons?born={body.born}&province={body.province}&sort={body.sort}&limit={body.limit}&cursor={body.cursor}
      x-gateway-effect: read
      x-gateway-answer: list
PUSHDOWN
      requestBody:
        content:
          application/json:
            schema:
              type: object
              additionalProperties: false
REQUIRED
              properties:
                born: { type: string, format: date, x-gateway-field: Person.born }
                province: { type: string, x-gateway-field: Person.province }
                sort: { type: string, enum: [name, born], x-gateway-sort: { name: Person.name, born: Person.born } }
                limit: { type: integer, minimum: 1, maximum: 50, x-gateway-role: limit }
                cursor: { type: string, x-gateway-role: cursor }
      responses: { '200': { description: r, content: { application/json: { schema: { $ref: '#/components/schemas/Page' } } } } }
"##;

const CONTRACT: &str = r##"
openapi: 3.1.0
info: { title: T, version: 1.0.0 }
x-gateway-register: population
paths:
  /persons/{id}:
    get:
      operationId: read
      x-gateway-upstream: population GET /persons/{path.id}
      x-gateway-effect: read
      x-gateway-subject: path.id
      parameters:
        - { name: id, in: path, required: true, schema: { type: string, pattern: '^[0-9]+$' }, x-gateway-field: Person.id }
      responses: { '200': { description: r, content: { application/json: { schema: { $ref: '#/components/schemas/Person' } } } } }
  /persons/{id}/home:
    get:
      operationId: home
      x-gateway-upstream: population GET /persons/{path.id}/home
      x-gateway-effect: read
      x-gateway-answer: list
      x-gateway-subject: path.id
      parameters:
        - { name: id, in: path, required: true, schema: { type: string, pattern: '^[0-9]+$' }, x-gateway-field: Person.id }
      responses: { '200': { description: r, content: { application/json: { schema: { $ref: '#/components/schemas/Home' } } } } }
  /persons/{id}/face:
    get:
      operationId: face
      x-gateway-upstream: population GET /persons/{path.id}
      x-gateway-whole: { field: Person.face, upstream: 'population GET /persons/{path.id}/face' }
      x-gateway-effect: read
      x-gateway-answer: whole
      x-gateway-record: Person
      x-gateway-subject: path.id
      parameters:
        - { name: id, in: path, required: true, schema: { type: string, pattern: '^[0-9]+$' }, x-gateway-field: Person.id }
      responses: { '200': { description: r, content: { image/jpeg: { schema: { type: string, contentMediaType: image/jpeg } } } } }
SEARCHES
components:
  schemas:
    Person:
      type: object
      x-gateway-subject: id
      x-gateway-attributes: { province: { from: province }, minor: { from: born, derive: under-18 } }
      properties:
        id: { type: string, x-gateway-group: all }
        name: { type: string, x-gateway-group: all }
        born: { type: string, format: date, x-gateway-group: all, x-gateway-masks: [year] }
        province: { type: string, x-gateway-group: all }
        face: { type: string, contentMediaType: image/jpeg, maxLength: 1000, x-gateway-group: all, x-gateway-whole: true }
    Page:
      type: object
      properties:
        total: { type: integer, x-gateway-group: all }
        next: { type: [string, 'null'], x-gateway-group: all, x-gateway-role: cursor }
        items: { type: array, items: { $ref: '#/components/schemas/Person' } }
    Home:
      type: object
      properties:
        ward: { type: string, x-gateway-group: all }
        members: { type: array, items: { $ref: '#/components/schemas/Person' } }
"##;
