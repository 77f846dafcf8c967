//! Promise: two versions of a contract are served side by side under the same policies, and callers of the old one are told when it
//! ends and what comes after it.

use http::StatusCode;
use popgate_demo::client::{Answer, get, post};
use popgate_demo::deployment::Site;
use popgate_demo::register::demo::HOA;
use popgate_demo::scenario::{LOOKUP, keys_of_hoa, read_path};
use popgate_policy::bundle::{Bundle, Source};
use popgate_policy::problem::Problem;
use popgate_tests::made::{edit, write};
use popgate_tests::{Harness, refusal};

const V1: &str = "contracts/population.openapi.yaml";
const V2: &str = "contracts/population-v2.openapi.yaml";
const POLICIES: &str = "policies/v2.cedar";

/// One operation of the second version is granted, by group.
const GRANT: &str = r#"
@id("tax-identity-v2")
@basis("Law on Tax Administration 38/2019/QH14")
permit (principal in Sector::"tax", action == Action::"citizen.read.v2", resource in Group::"identity")
when { context.purpose == Purpose::"assessment" };
"#;

#[tokio::test]
async fn both_versions_answer_and_the_old_one_says_when_it_ends() {
    let harness = Harness::start_made("", two_versions, |_| {});
    let mut session = harness.session("tax/etax").await;
    let old = session.send(get(&read_path(HOA.number), None)).await.unwrap();
    let new = session.send(get(&read_path(HOA.number).replace("/v1/", "/v2/"), None)).await.unwrap();
    assert_eq!((old.status, new.status), (StatusCode::OK, StatusCode::OK), "{}", refusal(&new));
    assert_eq!(new.json().get("full_name"), old.json().get("full_name"));
    let refused = session.send(get("/population/v1/citizens/1", None)).await.unwrap();
    assert_eq!(refusal(&refused), "400 parameter_invalid");
    for answer in [&old, &refused] {
        assert_eq!(header(answer, "deprecation"), Some("@1782864000"));
        assert_eq!(header(answer, "sunset"), Some("Wed, 30 Jun 2027 00:00:00 GMT"));
        let link = "</.well-known/openapi#/paths/~1population~1v2~1citizens~1%7Bid%7D/get>; rel=\"successor-version\"";
        assert_eq!(header(answer, "link"), Some(link));
    }
    let lookup = session.send(post(LOOKUP, None, &keys_of_hoa())).await.unwrap();
    for answer in [&new, &lookup] {
        let ends: Vec<_> = ["deprecation", "sunset", "link"].iter().filter_map(|name| header(answer, name)).collect();
        assert_eq!(ends, Vec::<&str>::new());
    }
    let crm = harness.client("telecom-a/crm").send(get(&read_path(HOA.number), None)).await.unwrap();
    assert_eq!(refusal(&crm), "403 policy_denied");
    let calls = async |system: &str| {
        harness
            .metric(&format!("popgate_deprecated_requests_total{{operation=\"citizen.read\",system=\"{system}\"}}"))
            .await
    };
    assert_eq!((calls("tax/etax").await, calls("telecom-a/crm").await), (2, 1));
}

#[tokio::test]
async fn the_view_shows_both_and_where_the_link_leads() {
    let harness = Harness::start_made("", two_versions, |_| {});
    let mut session = harness.session("tax/etax").await;
    let view = session.send(get("/.well-known/openapi", None)).await.unwrap().json();
    let read = view.pointer("/paths/~1population~1v1~1citizens~1{id}/get").unwrap();
    assert_eq!(read["deprecated"], true);
    let said = read["description"].as_str().unwrap();
    assert!(said.ends_with("Deprecated since 2026-07-01; it ends on 2027-06-30; use `citizen.read.v2`."), "{said}");
    let headers = read["responses"]["200"]["headers"].as_object().unwrap();
    assert!(["Deprecation", "Sunset", "Link"].iter().all(|name| headers.contains_key(*name)), "{headers:?}");
    let successor = view.pointer("/paths/~1population~1v2~1citizens~1{id}/get").unwrap();
    assert_eq!((&successor["operationId"], successor.get("deprecated")), (&"citizen.read.v2".into(), None));
    // Only one operation of the second version is granted.
    assert_eq!(view["paths"].as_object().unwrap().keys().filter(|path| path.contains("/v2/")).count(), 1);
    let schemas: Vec<&String> = view["components"]["schemas"].as_object().unwrap().keys().collect();
    assert!(schemas.iter().any(|name| *name == "CitizenForCitizenReadV2"), "{schemas:?}");

    // Who may not use the successor is not told of it in the view.
    let portal = harness.client("ha-noi/portal").send(get("/.well-known/openapi", None)).await.unwrap();
    assert!(!String::from_utf8_lossy(&portal.body).contains("v2"));
    assert_eq!(portal.json().pointer("/paths/~1population~1v1~1citizens~1{id}/get").unwrap()["deprecated"], true);
}

#[tokio::test]
async fn a_forbid_that_names_a_field_reaches_every_version_of_it() {
    let forbid =
        "@id(\"nobody-sees-sex\") @basis(\"Law 1\")\nforbid (principal, action, resource == Field::\"Citizen.sex\");\n";
    let harness = Harness::start_made(
        "",
        |site| {
            two_versions(site);
            write(site, POLICIES, &format!("{GRANT}{forbid}"));
        },
        |_| {},
    );
    let mut session = harness.session("tax/etax").await;
    for path in [read_path(HOA.number), read_path(HOA.number).replace("/v1/", "/v2/")] {
        let answer = session.send(get(&path, None)).await.unwrap();
        let shown = answer.json();
        assert_eq!((answer.status, shown.get("sex")), (StatusCode::OK, None), "{path}");
        assert_eq!(shown["nationality"], "VNM", "{path}");
    }
}

#[test]
fn what_two_versions_call_alike_must_be_alike_to_policies() {
    let second = |old: &str, new: &str| {
        let mut source = reference();
        let text = v2(source.files.get(V1).unwrap());
        assert!(text.contains(old), "{old}");
        source.files.insert(V2.to_owned(), text.replacen(old, new, 1));
        Bundle::load(&source)
            .map(|_| ())
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<String>())
    };
    assert_eq!(second("openapi", "openapi"), Ok(()));
    let sex =
        "        sex:\n          type: string\n          enum: [male, female]\n          x-gateway-group: identity\n";
    let nationality = "        nationality:\n          type: string\n          description: ISO 3166-1 alpha-3.\n          \
                       x-gateway-group: identity\n";
    assert_eq!(second(nationality, ""), Ok(()), "a field less");
    assert_eq!(second(sex, &format!("{sex}        gender: {{ type: string, x-gateway-group: identity }}\n")), Ok(()));
    for (old, new, what) in [
        (sex, sex.replace("identity", "origin"), "`Citizen.sex` has another `x-gateway-group`"),
        (
            sex,
            sex.replace("type: string\n          enum: [male, female]", "type: integer"),
            "`Citizen.sex` has another `type`",
        ),
        (sex, format!("{sex}          x-gateway-class: sensitive\n"), "`Citizen.sex` has another `x-gateway-class`"),
        ("x-gateway-masks: [month, year, decade]", "x-gateway-masks: [year]".into(), "another `x-gateway-masks`"),
        ("derive: under-18", "derive: under-16".into(), "other `x-gateway-attributes`"),
    ] {
        let said = second(old, &new).unwrap_err();
        assert!(said.contains("error[record-differs] contracts/population.openapi.yaml"), "{said}");
        assert!(said.contains(what) && said.contains("population-v2.openapi.yaml too"), "{what}: {said}");
    }
}

#[test]
fn a_sunset_that_has_passed_is_said_from_that_day_on() {
    let mut source = reference();
    let text = ending(source.files.get(V1).unwrap());
    source.files.insert(V1.to_owned(), text);
    let loaded = Bundle::load(&source).unwrap();
    let codes: Vec<&str> = loaded.warnings.iter().map(|problem| problem.code).collect();
    assert!(codes.contains(&"unknown-successor"), "there is no second version here: {codes:?}");
    let on = |day: &str| -> Vec<Problem> { loaded.bundle.past_sunset(day.parse().unwrap()) };
    assert_eq!(on("2027-06-29"), []);
    let said = on("2027-06-30");
    let [problem] = &said[..] else { panic!("{said:?}") };
    assert_eq!(problem.code, "sunset-passed");
    assert!(problem.to_string().contains("`citizen.read` should have ended on 2027-06-30"), "{problem}");
    assert_eq!(problem.text.as_deref(), Some("x-gateway-sunset"));
}

#[test]
fn a_whole_document_can_end() {
    let mut source = reference();
    let text = source.files.get(V1).unwrap();
    let info = "info:\n  x-gateway-deprecated-since: 2026-07-01\n  x-gateway-sunset: 2027-06-30\n";
    let text = text.replacen("info:\n", info, 1).replacen(
        "operationId: citizen.verify\n",
        "operationId: citizen.verify\n      deprecated: false\n",
        1,
    );
    source.files.insert(V1.to_owned(), text);
    let loaded = Bundle::load(&source).unwrap();
    let ends = |id: &str| loaded.bundle.contracts().operation(id).unwrap().lifecycle.clone();
    assert_eq!(ends("citizen.read").unwrap().sunset, Some("2027-06-30".parse().unwrap()));
    assert_eq!(ends("citizen.lookup").unwrap().deprecated, "2026-07-01".parse().unwrap());
    assert_eq!(ends("citizen.verify"), None);
}

/// The reference bundle with a second version of its contract, and an end of the first one's reading.
fn two_versions(site: &Site) {
    let text = std::fs::read_to_string(site.bundle().join(V1)).unwrap();
    write(site, V2, &v2(&text));
    write(site, POLICIES, GRANT);
    write(site, V1, &ending(&text));
    edit(
        site,
        V2,
        "          x-gateway-whole: true\n\n",
        "          x-gateway-whole: true\n        card_number: { type: string, x-gateway-group: account }\n\n",
    );
}

/// The second version has the first three operations.
fn v2(text: &str) -> String {
    let (kept, rest) = text.split_once("  /population/v1/citizens/{id}/household:\n").unwrap();
    let (_, components) = rest.split_once("\ncomponents:\n").unwrap();
    let text = format!("{kept}\ncomponents:\n{components}");
    let text = text.replace("/population/v1", "/population/v2").replace("version: 1.0.0", "version: 2.0.0");
    let text = text.replace("service: VN/GOV/MPS/NPDB/population,", "service: VN/GOV/MPS/NPDB/population-v2,");
    ["read", "lookup", "verify"].iter().fold(text, |text, name| {
        text.replace(&format!("operationId: citizen.{name}\n"), &format!("operationId: citizen.{name}.v2\n"))
    })
}

fn ending(text: &str) -> String {
    let end = "operationId: citizen.read\n      deprecated: true\n      x-gateway-deprecated-since: 2026-07-01\n      \
               x-gateway-sunset: 2027-06-30\n      x-gateway-successor: citizen.read.v2\n";
    text.replacen("operationId: citizen.read\n", end, 1)
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name).map(|value| value.to_str().unwrap())
}

fn reference() -> Source {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/bundle");
    popgate::app::bundle_files::read(&root).unwrap()
}
