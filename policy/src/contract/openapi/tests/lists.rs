//! What contracts of lists, bulk and whole fields mean.

use super::read;
use crate::bundle::{Bundle, Source};
use crate::contract::{
    Answer, Arguments, CacheScope, Captures, Contracts, Field, FieldIx, List, Location, Operation, ParamIx, Pushdown,
    RequestParts, Role, Route, Segment, Shape,
};
use crate::model::{FieldSet, Personal};

const CONTRACT: &str = include_str!("lists.openapi.yaml");

fn contracts() -> Contracts {
    let (contracts, problems) = read(CONTRACT);
    assert_eq!(problems, [] as [String; 0]);
    contracts
}

fn names(fields: &[Field]) -> Vec<&str> {
    fields.iter().map(|field| field.name.as_str()).collect()
}

fn list(operation: &Operation) -> &List {
    let Answer::List(list) = &operation.answer else { panic!("{:?}", operation.answer) };
    list
}

/// A body that asks `citizen.search`.
fn search(body: &str) -> Result<Arguments, String> {
    let contracts = contracts();
    let parts = RequestParts { captures: &Captures::default(), query: "", body: body.as_bytes() };
    contracts.operation("citizen.search").unwrap().arguments(parts).map_err(|error| error.to_string())
}

const OF_CITIZEN: [&str; 7] = [
    "Citizen.id",
    "Citizen.name",
    "Citizen.born",
    "Citizen.phones",
    "Citizen.residence.province_code",
    "Citizen.residence.ward",
    "Citizen.portrait",
];

#[test]
fn a_list_has_the_fields_of_its_records_and_after_them_those_of_its_envelope() {
    let contracts = contracts();
    let citizen = &contracts.operation("citizen.read").unwrap().record;
    assert_eq!(names(&citizen.fields), OF_CITIZEN);
    for (id, name, records, own) in [
        (
            "household.read",
            "Household",
            "members",
            &["Household.id", "Household.address.province_code", "Household.address.ward"][..],
        ),
        ("citizen.search", "CitizenPage", "items", &["CitizenPage.total", "CitizenPage.next"]),
    ] {
        let operation = contracts.operation(id).unwrap();
        let (record, list) = (&operation.record, list(operation));
        assert_eq!(record.name, name);
        assert_eq!(names(&record.fields), [&OF_CITIZEN[..], own].concat());
        assert!(record.fields.iter().enumerate().all(|(at, field)| usize::from(field.index.0) == at));
        assert_eq!(record.fields[..OF_CITIZEN.len()], citizen.fields[..]);
        assert_eq!((record.subject, &record.attributes), (citizen.subject, &citizen.attributes));
        assert_eq!(record.shape, citizen.shape);
        assert_eq!((&*list.records, &list.page.name, &list.page.fields), (records, &record.name, &record.fields));
        let envelope: FieldSet = (OF_CITIZEN.len()..record.fields.len()).map(|at| FieldIx(at as u16)).collect();
        assert_eq!(list.envelope, envelope);
        assert_eq!(list.page.shape.member(records.as_bytes()).unwrap().1, &Shape::Array(citizen.shape.clone()));
    }
    let all: Vec<&str> = contracts.records().iter().map(|record| record.name.as_str()).collect();
    assert_eq!(all, ["Citizen", "CitizenPage", "Household"]);
    assert_eq!(contracts.fields().count(), OF_CITIZEN.len() + 5);
}

#[test]
fn an_envelope_has_objects_groups_and_a_cursor_of_its_own() {
    let contracts = contracts();
    let household = contracts.operation("household.read").unwrap();
    let group = |name: &str| household.record.field_named(name).unwrap().group.as_str();
    assert_eq!((group("Household.id"), group("Household.address.ward")), ("household", "residence"));
    // What stands around the records is not inherited by them.
    assert_eq!(group("Citizen.id"), "identity");
    assert_eq!(household.record.field_named("Household.address.ward").unwrap().path, ["address", "ward"]);
    let Some((_, Shape::Object(address))) = list(household).page.shape.member(b"address") else { panic!() };
    assert_eq!(address.member(b"ward").unwrap().1, &Shape::Leaf(FieldIx(9)));
    assert_eq!(list(household).cursor, None);
    let search = contracts.operation("citizen.search").unwrap();
    let next = search.record.field_named("CitizenPage.next").unwrap();
    assert_eq!(list(search).cursor, Some(next.index));
}

#[test]
fn a_list_may_be_about_somebody_or_nobody_in_particular() {
    let contracts = contracts();
    assert_eq!(contracts.operation("household.read").unwrap().subject, Some(ParamIx(0)));
    assert_eq!(contracts.operation("citizen.search").unwrap().subject, None);
}

#[test]
fn parameters_have_roles() {
    let contracts = contracts();
    let search = contracts.operation("citizen.search").unwrap();
    let roles: Vec<(&str, &Role)> = search.parameters.iter().map(|known| (known.name.as_str(), &known.role)).collect();
    let sort = Role::Sort(vec![("name".to_owned(), FieldIx(1)), ("born".to_owned(), FieldIx(2))]);
    assert_eq!(
        roles,
        [
            ("born", &Role::Asks),
            ("province_code", &Role::Asks),
            ("name", &Role::Asks),
            ("sort", &sort),
            ("limit", &Role::Limit(50)),
            ("cursor", &Role::Cursor),
        ]
    );
    assert!(search.parameters[3..].iter().all(|known| known.field == search.record.subject));
    assert_eq!(search.pushdown, Some(Pushdown { attribute: 0, parameter: ParamIx(1) }));
    assert!(search.parameters[1].required);
}

#[test]
fn roles_are_read_strictly() {
    let with = |more: &str| search(&format!(r#"{{"born":"1987-03-14","province_code":"001"{more}}}"#));
    let refused = |more: &str| with(more).unwrap_err();
    for (limit, good) in
        [("1", true), ("50", true), ("0", false), ("51", false), ("-1", false), ("1.0", false), ("\"9\"", false)]
    {
        assert_eq!(with(&format!(r#","limit":{limit}"#)).is_ok(), good, "{limit}");
    }
    assert_eq!(refused(r#","limit":51"#), "parameter `limit` is not valid: it must be from 1 to 50");
    assert_eq!(refused(r#","limit":99999999999"#), "parameter `limit` is not valid: it must be from 1 to 50");
    let cursor = |text: &str| with(&format!(r#","cursor":"{text}""#));
    assert!(cursor(&"aZ0_-".repeat(102)).is_ok());
    for text in [&*"a".repeat(513), "a=", "a+b", "a/b", "a.b", "à", ""] {
        assert!(cursor(text).is_err(), "{text}");
    }
    assert!(with(r#","sort":"name""#).is_ok());
    assert_eq!(refused(r#","sort":"id""#), "parameter `sort` is not valid: it must be matching name|born");
}

#[test]
fn what_is_filled_in_need_not_be_given_and_all_else_that_is_required_must() {
    let given = search(r#"{"born":"1987-03-14"}"#).unwrap();
    assert_eq!(given.value(ParamIx(1)), None);
    assert_eq!(search(r#"{"province_code":"001"}"#).unwrap_err(), "parameter `born` is missing");
    // Until it is filled in, there is no question for the register: it would be a wider one.
    let contracts = contracts();
    let operation = contracts.operation("citizen.search").unwrap();
    assert_eq!(operation.upstream_request(&given), None);
}

#[test]
fn the_register_is_told_what_is_given_and_nothing_else() {
    let contracts = contracts();
    let operation = contracts.operation("citizen.search").unwrap();
    let target = |body: &str| operation.upstream_request(&search(body).unwrap()).unwrap().target.expose().clone();
    assert_eq!(target(r#"{"province_code":"001","born":"1987-03-14"}"#), "/persons?born=1987-03-14&province=001");
    assert_eq!(
        target(
            r#"{"name":"Lê & ?#+%=/..","sort":"born","limit":7,"cursor":"a-_Z","province_code":"001","born":"1987-03-14"}"#
        ),
        "/persons?born=1987-03-14&province=001&name=L%C3%AA%20%26%20%3F%23%2B%25%3D%2F..&order=born&limit=7&after=a-_Z"
    );
    assert_eq!(operation.upstream.segments, [Segment::Literal("/persons".to_owned())]);
    assert!((0..operation.parameters.len()).all(|at| operation.upstream.names(ParamIx(at))));
}

#[test]
fn a_whole_field_is_given_by_one_operation_alone() {
    let contracts = contracts();
    let operation = contracts.operation("citizen.portrait").unwrap();
    let Answer::Whole(whole) = &operation.answer else { panic!("{:?}", operation.answer) };
    assert_eq!((whole.field, &*whole.media_type, whole.most_bytes), (FieldIx(6), "image/jpeg", 4096));
    let wholes: Vec<&str> =
        operation.record.fields.iter().filter(|field| field.whole).map(|field| field.name.as_str()).collect();
    assert_eq!(wholes, ["Citizen.portrait"]);
    let request = |query: &str| {
        let captures = Captures(vec![Personal::new("001099000001".to_owned())]);
        let arguments = operation.arguments(RequestParts { captures: &captures, query, body: b"" }).unwrap();
        let record = operation.upstream_request(&arguments).unwrap().target.expose().clone();
        (record, operation.whole_request(&arguments).unwrap().target.expose().clone())
    };
    let record = "/persons/001099000001".to_owned();
    assert_eq!(request(""), (record.clone(), format!("{record}/portrait")));
    assert_eq!(request("size=small"), (record.clone(), format!("{record}/portrait?as=small")));
    let read = contracts.operation("citizen.read").unwrap();
    assert_eq!(read.whole_request(&Arguments(vec![Some(Personal::new("1".to_owned()))])), None);
}

#[test]
fn the_most_bytes_of_a_whole_field_are_a_mebibyte_unless_said() {
    let most = |typed: &str| {
        let (contracts, problems) = read(&CONTRACT.replace("maxLength: 4096, ", typed));
        let operation = contracts.operation("citizen.portrait").map(|operation| operation.answer.clone());
        let Some(Answer::Whole(whole)) = operation else { panic!("{problems:?}") };
        (whole.most_bytes, problems.len())
    };
    assert_eq!(most(""), (1 << 20, 0));
    assert_eq!(most("maxLength: 8388608, "), (8 << 20, 0));
    assert_eq!(most("maxLength: 8388609, ").1, 1);
}

#[test]
fn a_line_of_a_bulk_is_read_as_a_body_is() {
    let contracts = contracts();
    let bulk: Vec<(&str, bool)> =
        contracts.operations().iter().map(|operation| (operation.id.as_str(), operation.bulk)).collect();
    assert_eq!(
        bulk,
        [
            ("citizen.read", false),
            ("household.read", false),
            ("citizen.portrait", false),
            ("citizen.search", false),
            ("citizen.lookup.bulk", true),
            ("citizen.verify.bulk", true),
        ]
    );
    let lookup = contracts.operation("citizen.lookup.bulk").unwrap();
    assert_eq!(
        (&lookup.answer, &lookup.guard[..], lookup.subject),
        (&Answer::Record, &[ParamIx(1)][..], Some(ParamIx(0)))
    );
    assert!(lookup.parameters.iter().all(|known| known.location == Location::Body));
    let line = |body: &str| {
        let parts = RequestParts { captures: &Captures::default(), query: "", body: body.as_bytes() };
        lookup.arguments(parts).map_err(|error| error.to_string())
    };
    assert_eq!(line(r#"{"id":"1","born":"1987-03-14"}"#).unwrap().given().count(), 2);
    assert_eq!(line(r#"{"id":"1"}"#).unwrap_err(), "parameter `born` is missing");
    assert_eq!(contracts.operation("citizen.verify.bulk").unwrap().answer, Answer::Match);
}

#[test]
fn lists_and_whole_fields_are_not_stored_unless_the_contract_says_so() {
    let contracts = contracts();
    let scope = |id: &str| contracts.operation(id).unwrap().cache.scope;
    for id in ["household.read", "citizen.search", "citizen.portrait"] {
        assert_eq!(scope(id), CacheScope::Off, "{id}");
    }
    // A whole field is never stored as part of a record, so that its class says nothing about the record.
    assert_eq!(scope("citizen.read"), CacheScope::Shared);
    let said = CONTRACT
        .replace("      x-gateway-answer: list\n", "      x-gateway-answer: list\n      x-gateway-cache: agency\n");
    let (contracts, problems) = read(&said);
    assert_eq!(problems, [] as [String; 0]);
    assert_eq!(contracts.operation("household.read").unwrap().cache.scope, CacheScope::Agency);
    let said = CONTRACT
        .replace("      x-gateway-answer: whole\n", "      x-gateway-answer: whole\n      x-gateway-cache: agency\n");
    let (_, problems) = read(&said);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("warning[cache-sensitive]"), "{problems:?}");
}

#[test]
fn a_written_segment_goes_before_a_captured_one() {
    let contracts = contracts();
    let routed = |method: &str, path: &str| match contracts.route(method, path) {
        Route::Operation(operation, _) => operation.id.to_string(),
        Route::MethodNotAllowed(methods) => methods.join(" "),
        Route::NotFound => "-".to_owned(),
    };
    assert_eq!(routed("POST", "/population/v1/citizens/search"), "citizen.search");
    assert_eq!(routed("GET", "/population/v1/citizens/search"), "POST");
    assert_eq!(routed("GET", "/population/v1/citizens/001"), "citizen.read");
    assert_eq!(routed("GET", "/population/v1/citizens/001/household"), "household.read");
    assert_eq!(routed("GET", "/population/v1/citizens/search/portrait"), "citizen.portrait");
    assert_eq!(routed("GET", "/population/v1/citizens/001/children"), "-");
}

/// Loads the contract with one agency and these policies; what `Bundle::load` says.
fn load(policies: &str) -> Vec<String> {
    let mut source = Source::default();
    let agency = "name = { vi = \"Cục Thuế\", en = \"Tax\" }\nsector = \"tax\"\nlevel = \"province\"\nprovince = \"001\"\npurposes = [\"assessment\"]\n\
                  [systems.etax]\nidentity = \"spiffe://gov.vn/tax/etax\"\nnetworks = [\"10.20.0.0/16\"]\nlimits = { rate = \"200/s\" }\n";
    let purposes = "[assessment]\nname = { vi = \"Thuế\", en = \"Tax\" }\nbasis = \"Law, art. 1\"\n";
    for (path, text) in [
        ("contracts/population.openapi.yaml", CONTRACT),
        ("agencies/tax.toml", agency),
        ("purposes.toml", purposes),
        ("policies/tax.cedar", policies),
    ] {
        source.files.insert(path.to_owned(), text.to_owned());
    }
    match Bundle::load(&source) {
        Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

fn permit(resource: &str) -> String {
    format!(
        "@id(\"p\") @basis(\"Law\") permit (principal, action == Action::\"citizen.search\", resource {resource});\n"
    )
}

#[test]
fn policies_name_the_fields_of_records_and_envelopes_by_their_own_names() {
    for resource in [
        "in Field::\"Citizen.residence\"",
        "== Field::\"Citizen.residence.ward\"",
        "in Field::\"Household.address\"",
        "== Field::\"CitizenPage.total\"",
        "in Group::\"paging\"",
        "in Register::\"population\"",
    ] {
        assert_eq!(load(&permit(resource)), [] as [String; 0], "{resource}");
    }
    for (resource, meant) in [
        ("in Field::\"CitizenPage.residence\"", "Citizen.residence"),
        ("== Field::\"CitizenPage.totl\"", "did you mean `CitizenPage.total`?"),
        ("in Field::\"Household.adress\"", "did you mean `Household.address`?"),
        ("== Field::\"Citizen.address.ward\"", "known here: `Citizen.born`"),
    ] {
        let problems = load(&permit(resource));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("error[unknown-field]") && problems[0].contains(meant), "{problems:?}");
    }
}

#[test]
fn policies_may_ask_about_the_records_of_a_list() {
    let conditional =
        permit("in Group::\"identity\"").replace(");\n", ") when { context.record.province == principal.province };\n");
    let conditional = conditional.replace("permit (principal,", "permit (principal in Level::\"province\",");
    let guarded = conditional.replace("when {", "when { principal has province && ");
    assert_eq!(load(&guarded), [] as [String; 0]);
    let grouped = guarded.replace("action == Action::\"citizen.search\"", "action in Action::\"with-minor\"");
    assert_eq!(load(&grouped), [] as [String; 0]);
}

#[test]
fn a_mask_of_one_field_is_checked_as_strictly_where_pages_have_that_field_too() {
    let problems = load(&format!("@mask(\"year\") {}", permit("== Field::\"Citizen.name\"")));
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("error[mask-not-allowed]"), "{problems:?}");
}

#[test]
fn record_and_envelope_have_together_as_many_fields_as_a_set_can_hold() {
    let filled = |count: usize| {
        let more: String =
            (0..count).map(|at| format!("        f{at}: {{ type: string, x-gateway-group: paging }}\n")).collect();
        read(&CONTRACT.replace("        total: {", &format!("{more}        total: {{"))).1
    };
    let free = FieldSet::CAPACITY - OF_CITIZEN.len() - 2;
    assert_eq!(filled(free), [] as [String; 0]);
    let problems = filled(free + 1);
    assert_eq!(problems.len(), 1, "{problems:?}");
    let told = "`CitizenPage` has more than 128 fields, the 7 of its records counted";
    assert!(problems[0].starts_with("error[too-many-fields]") && problems[0].contains(told), "{problems:?}");
}

#[test]
fn no_list_however_mangled_is_read_without_an_end() {
    let lines: Vec<&str> = CONTRACT.lines().collect();
    for at in 0..lines.len() {
        let without = lines.iter().enumerate().filter(|(line, _)| *line != at).map(|(_, line)| *line);
        read(&without.collect::<Vec<_>>().join("\n"));
        let indented = lines.iter().enumerate();
        let indented = indented.map(|(line, text)| if line == at { format!("  {text}") } else { (*text).to_owned() });
        read(&indented.collect::<Vec<_>>().join("\n"));
    }
}
