//! Cases are tried as a request would go, and told by what they say of which policy.

use std::collections::BTreeMap;

use super::*;
use crate::engine::fixture::{World, policy, show};

const IDENTITY: &str = r#"permit (principal in Sector::"tax", action == Action::"citizen.read", resource in Group::"identity")
    when { context.purpose == Purpose::"assessment" };"#;
const READ: &str = "system = \"tax/etax\"\noperation = \"citizen.read\"\npurpose = \"assessment\"\n";

fn world(policies: &[(&str, &str)]) -> World {
    World::new(&policies.iter().map(|(id, rest)| policy(id, rest)).collect::<String>())
}

fn against(world: &World) -> Against<'_> {
    Against { contracts: &world.contracts, directory: &world.directory, engine: &world.engine }
}

fn load(world: &World, text: &str) -> Result<Cases, Vec<Problem>> {
    let source = Source { files: BTreeMap::from([("cases/test.toml".to_owned(), text.to_owned())]) };
    read::load(&source, &against(world))
}

/// Each case and system with how it ended and what was wrong, and each policy with the cases that exercise and need it.
fn tried(world: &World, text: &str) -> (Vec<String>, Vec<String>) {
    let cases = load(world, text).unwrap_or_else(|problems| panic!("{}", show(&problems)));
    let open = world.engine.permitting_everything();
    let report = run::run(&cases.iter().collect::<Vec<_>>(), &against(world), Some(&open));
    let names = |cases: &[&Case]| cases.iter().map(|case| case.name.as_str()).collect::<Vec<_>>().join(" ");
    let one = |tried: &Tried<'_>| {
        let wrong = tried.failures.iter().map(|failure| match failure {
            Failure::End { expected } => format!("not {expected}"),
            Failure::Field { field, expected, got, policies } => {
                let policies = policies.iter().map(|(voice, policy)| format!("{voice:?} {}", policy.id));
                format!("{field} not {expected:?} but {got:?} ({})", policies.collect::<Vec<_>>().join(", "))
            }
            Failure::Error { field, expected, .. } => format!("{field} fails: {}", !expected),
        });
        let wrong = wrong.collect::<Vec<_>>().join("; ");
        format!(
            "{} {}: {}{}{wrong}",
            tried.case.name,
            tried.system,
            tried.end.as_str(),
            if wrong.is_empty() { "" } else { ": " }
        )
    };
    let covered = |it: &Exercised<'_>| format!("{}: {} / {}", it.policy.id, names(&it.by), names(&it.needed_by));
    (report.tried.iter().map(one).collect(), report.coverage.policies.iter().map(covered).collect())
}

fn problems(text: &str) -> Vec<(&'static str, usize)> {
    let world = world(&[("identity", IDENTITY)]);
    let problems = load(&world, text).expect_err("the case loads");
    problems.iter().map(|problem| (problem.code, problem.at.unwrap().0)).collect()
}

#[test]
fn a_case_goes_as_expected_only_if_every_field_gets_what_it_says() {
    let world = world(&[("identity", IDENTITY)]);
    let text = format!(
        "[all]\n{READ}reveal = [\"identity\"]\n\
         [some]\n{READ}reveal = [\"Citizen.id\"]\n\
         [some-and-any]\n{READ}reveal = [\"Citizen.id\"]\nrest = \"any\"\n\
         [more]\n{READ}reveal = [\"identity\", \"Citizen.phone\"]\n\
         [nearer]\n{READ}reveal = [\"identity\"]\nwithhold = [\"Citizen.sex\"]\n\
         [refused]\n{READ}refused = true\n"
    );
    assert_eq!(
        tried(&world, &text).0,
        [
            "all tax/etax: answered",
            "some tax/etax: answered: Citizen.full_name not Withhold but Reveal (Satisfied identity); Citizen.date_of_birth not \
             Withhold but Reveal (Satisfied identity); Citizen.sex not Withhold but Reveal (Satisfied identity)",
            "some-and-any tax/etax: answered",
            "more tax/etax: answered: Citizen.phone not Reveal but Withhold ()",
            "nearer tax/etax: answered: Citizen.sex not Withhold but Reveal (Satisfied identity)",
            "refused tax/etax: answered: not refused",
        ]
    );
}

#[test]
fn each_system_of_an_agency_or_a_sector_is_tried() {
    let world = world(&[("identity", IDENTITY)]);
    let text = READ.replace("system = \"tax/etax\"", "agency = \"tax\"");
    let other = READ.replace("system = \"tax/etax\"", "sector = \"local\"");
    let (went, _) = tried(&world, &format!("[a]\n{text}reveal = [\"identity\"]\n[b]\n{other}refused = true\n"));
    let expected = ["a tax/etax: answered", "a tax/portal: answered", "b hanoi/desk: refused", "b hue/desk: refused"];
    assert_eq!(went, expected);
}

#[test]
fn circumstances_and_record_decide_as_they_would_of_a_request() {
    let world = world(&[
        ("identity", r#"permit (principal, action, resource in Group::"identity") when { context.env.hour >= 8 };"#),
        (
            "residents",
            r#"forbid (principal in Level::"province", action in Action::"with-province", resource)
               unless { principal has province && context.record.province == principal.province };"#,
        ),
        (
            "minors",
            r#"@at_most("year") forbid (principal, action in Action::"with-minor", resource == Field::"Citizen.date_of_birth")
               when { context.record.minor };"#,
        ),
    ]);
    let read = READ.replace("tax/etax", "hanoi/desk");
    let text = format!(
        "[own]\n{read}reveal = [\"identity\"]\n\
         [other]\n{read}record = {{ province = \"046\" }}\nunknown = true\n\
         [early]\n{read}at = \"2026-11-23T07:59\"\nrefused = true\n\
         [minor]\n{read}record = {{ minor = true }}\nreveal = [\"identity\"]\n\
         mask = {{ \"Citizen.date_of_birth\" = \"year\" }}\n\
         [nowhere]\n{read}missing = [\"province\"]\nunknown = true\n\
         [failed]\n{READ}missing = [\"minor\"]\nreveal = [\"Citizen.id\", \"Citizen.full_name\", \"Citizen.sex\"]\nerrors = [\"Citizen.date_of_birth\"]\n\
         [unsaid]\n{READ}missing = [\"minor\"]\nreveal = [\"Citizen.id\"]\nrest = \"any\"\n"
    );
    let (went, covered) = tried(&world, &text);
    assert_eq!(
        went,
        [
            "own hanoi/desk: answered",
            "other hanoi/desk: unknown",
            "early hanoi/desk: refused",
            "minor hanoi/desk: answered",
            "nowhere hanoi/desk: unknown",
            "failed tax/etax: answered",
            "unsaid tax/etax: answered: Citizen.date_of_birth fails: true",
        ]
    );
    assert_eq!(
        covered,
        ["identity: own minor failed / own minor failed", "residents: other / other", "minors: minor / minor"]
    );
}

#[test]
fn a_request_that_the_policies_do_not_let_be_put_is_refused_whatever_they_show() {
    let shown = r#"permit (principal, action, resource == Field::"Citizen.sex");"#;
    let (went, _) = tried(&world(&[("sex", shown)]), &format!("[a]\n{READ}reveal = [\"Citizen.sex\"]\n"));
    // Nobody may ask by the number.
    assert_eq!(went, ["a tax/etax: refused: Citizen.sex not Reveal but Withhold (Satisfied sex)"]);
    let with =
        [("sex", shown), ("number", r#"@mask("match") permit (principal, action, resource == Field::"Citizen.id");"#)];
    let search = READ.replace("citizen.read", "citizen.verify");
    let text = format!(
        "[a]\n{READ}reveal = [\"Citizen.sex\"]\nmatch = [\"Citizen.id\"]\n\
         [b]\n{search}asks = [\"sex\"]\nreveal = [\"Citizen.sex\"]\nmatch = [\"Citizen.id\"]\n\
         [c]\n{search}asks = [\"phone\"]\nrefused = true\n"
    );
    assert_eq!(tried(&world(&with), &text).0, ["a tax/etax: answered", "b tax/etax: answered", "c tax/etax: refused"]);
}

#[test]
fn the_gates_before_the_policies_refuse_too() {
    let mut world = world(&[("identity", IDENTITY)]);
    let id = crate::model::PurposeId::new("assessment");
    let purpose = Purpose {
        requires: vec![Requirement::Case],
        valid_until: Some(jiff::civil::date(2026, 12, 31)),
        ..Purpose::clone(&world.directory.purposes[&id])
    };
    world.directory.purposes.insert(id, Arc::new(purpose));
    let text = format!(
        "[in-time]\n{READ}reveal = [\"identity\"]\n\
         [late]\n{READ}at = \"2027-01-01T00:00\"\nrefused = true\n\
         [without-case]\n{READ}case = false\nrefused = true\n"
    );
    let cases = load(&world, &text).unwrap();
    let report = run::run(&cases.iter().collect::<Vec<_>>(), &against(&world), None);
    let ends: Vec<&End> = report.tried.iter().map(|tried| &tried.end).collect();
    assert_eq!(ends, [&End::Answered, &End::Refused(Why::NotValid), &End::Refused(Why::Evidence(Requirement::Case))]);
    assert!(report.passed());
}

#[test]
fn a_policy_is_exercised_where_it_would_be_enough_and_needed_where_no_other_is() {
    let world = world(&[
        ("clear", r#"permit (principal in Sector::"tax", action, resource == Field::"Citizen.phone");"#),
        ("again", r#"permit (principal, action, resource in Group::"contact");"#),
        ("masked", r#"@mask("last3") permit (principal, action, resource == Field::"Citizen.phone");"#),
        ("number", r#"permit (principal, action, resource == Field::"Citizen.id");"#),
        ("unpermitted", r#"forbid (principal, action, resource == Field::"Citizen.sex");"#),
        ("cap", r#"@at_most("last3") forbid (principal in Sector::"telecom", action, resource in Group::"contact");"#),
        ("all", r#"forbid (principal in Sector::"health", action, resource in Group::"contact");"#),
        (
            "cap-of-nothing",
            r#"@at_most("last3") forbid (principal in Sector::"health", action, resource in Group::"contact");"#,
        ),
    ]);
    let telecom = READ.replace("tax/etax", "mobi/kyc");
    let health = READ.replace("tax/etax", "clinic/his");
    let text = format!(
        "[tax]\n{READ}reveal = [\"Citizen.id\", \"Citizen.phone\"]\n\
         [telecom]\n{telecom}reveal = [\"Citizen.id\"]\nmask = {{ \"Citizen.phone\" = \"last3\" }}\n\
         [health]\n{health}reveal = [\"Citizen.id\"]\n\
         [looks-at-little]\n{health}reveal = [\"Citizen.id\"]\nrest = \"any\"\n\
         [wrong]\n{health}reveal = [\"Citizen.sex\"]\nrest = \"any\"\n"
    );
    assert_eq!(
        tried(&world, &text).1,
        [
            "clear: tax / ",
            "again: tax telecom / ",
            "masked: telecom / ",
            "number: tax telecom health looks-at-little / tax telecom health looks-at-little",
            "unpermitted:  / ",
            "cap: telecom / telecom",
            "all: health / health",
            "cap-of-nothing:  / ",
        ]
    );
}

#[test]
fn forbids_are_tried_as_if_everything_were_permitted() {
    let world = world(&[
        ("identity", IDENTITY),
        ("no-contact", r#"forbid (principal in Sector::"tax", action, resource in Group::"contact");"#),
        ("belief", r#"@at_most("exists") forbid (principal, action, resource == Field::"Citizen.religion");"#),
    ]);
    let text = format!(
        "[a]\n{READ}whatever_is_permitted = true\nwithhold = [\"contact\"]\nmask = {{ \"Citizen.religion\" = \"exists\" }}\n\
         rest = \"any\"\n[b]\n{READ}reveal = [\"identity\"]\n[c]\n{READ}whatever_is_permitted = true\nreveal = [\"contact\"]\n\
         rest = \"any\"\n"
    );
    let (went, covered) = tried(&world, &text);
    let wrong = "c tax/etax: answered: Citizen.phone not Reveal but Withhold (Satisfied no-contact)";
    assert_eq!(went, ["a tax/etax: answered", "b tax/etax: answered", wrong]);
    assert_eq!(covered, ["identity: b / b", "no-contact: a / a", "belief: a / a"]);
}

#[test]
fn what_a_policy_says_alone_is_together_what_the_engine_decides() {
    use crate::engine::{fixture, together};
    let world = world(&[
        ("identity", r#"permit (principal, action, resource) when { context.env.hour < 12 };"#),
        ("year", r#"@mask("year") permit (principal, action, resource == Field::"Citizen.date_of_birth");"#),
        (
            "minors",
            r#"forbid (principal, action in Action::"with-minor", resource in Group::"contact") when { context.record.minor };"#,
        ),
        (
            "named",
            r#"@at_most("match") forbid (principal, action, resource) when { resource == Field::"Citizen.religion" };"#,
        ),
    ]);
    let operation = world.contracts.operation("citizen.read").unwrap();
    let purpose = &world.directory.purpose("assessment").unwrap().id;
    let mut compared = 0;
    for hour in [11, 12] {
        let env = crate::permit::Env { hour, ..fixture::ten() };
        for minor in [Some(Fact::Truth(true)), Some(Fact::Truth(false)), None] {
            let record = [Some(Fact::Text("001")), minor, Some(Fact::Truth(false))];
            let system = world.system("tax/etax");
            let folded = world.engine.folded(system, operation, purpose).unwrap();
            let said: Vec<_> = folded.iter().map(|policy| policy.said(&env, &|at| record[at])).collect();
            let decided = world.engine.trial(system, operation, purpose, &env).unwrap().of(&record);
            for field in &operation.record.fields {
                assert_eq!(
                    together(field, said.iter()),
                    decided.treatment(field.index),
                    "{} {hour} {minor:?}",
                    field.name
                );
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 60);
}

#[test]
fn a_mistake_is_told_with_its_line_and_all_of_them_at_once() {
    let one = |line: &str| problems(&format!("[a]\n{READ}reveal = [\"identity\"]\n{line}\n"));
    assert_eq!(one("reveel = [\"identity\"]"), [("unknown-key", 6)]);
    assert_eq!(one("at = \"tomorrow\""), [("bad-time", 6)]);
    assert_eq!(one("at = 2026-11-23T10:00:00"), [("wrong-type", 6)]);
    assert_eq!(one("from = \"10.0.0\""), [("bad-address", 6)]);
    assert_eq!(one("user = \"yes\""), [("wrong-type", 6)]);
    assert_eq!(one("record = { provinse = \"001\" }"), [("unknown-attribute", 6)]);
    assert_eq!(one("record = { minor = \"true\" }"), [("wrong-type", 6)]);
    assert_eq!(one("record = { province = 1 }"), [("wrong-type", 6)]);
    assert_eq!(one("record = { minor = true }\nmissing = [\"minor\"]"), [("contradiction", 7)]);
    assert_eq!(one("asks = [\"phone\"]"), [("unknown-parameter", 6)]);
    assert_eq!(one("withhold = [\"Citizen.fone\"]"), [("unknown-field", 6)]);
    assert_eq!(one("withhold = [\"identity\"]"), [("contradiction", 6)]);
    assert_eq!(one("mask = { \"Citizen.phone\" = \"last9\" }"), [("unknown-mask", 6)]);
    assert_eq!(one("mask = { \"Citizen.phone\" = \"year\" }"), [("mask-not-allowed", 6)]);
    assert_eq!(one("rest = \"none\""), [("unknown-rest", 6)]);
    assert_eq!(one("refused = true"), [("contradiction", 1)]);
    assert_eq!(one("refused = false"), [("wrong-type", 6)]);
    assert_eq!(problems(&format!("[a]\n{READ}")), [("no-expectation", 1)]);
    assert_eq!(problems(&format!("[a]\n{READ}rest = \"any\"\n")), [("no-expectation", 1)]);
    let nobody = "[a]\noperation = \"citizen.reed\"\npurpose = \"asessment\"\nrefused = true\n";
    assert_eq!(problems(nobody), [("missing-key", 1), ("unknown-operation", 2), ("unknown-purpose", 3)]);
    let both = format!("[a]\n{READ}agency = \"tax\"\nrefused = true\n");
    assert_eq!(problems(&both), [("missing-key", 1)]);
    assert_eq!(
        problems(&READ.replace("system", "[a]\nsystem").replace("etax", "etacks")),
        [("unknown-system", 2), ("no-expectation", 1)]
    );
}

#[test]
fn two_cases_of_one_name_and_a_file_that_holds_none_are_mistakes() {
    let world = world(&[("identity", IDENTITY)]);
    let case = format!("[a]\n{READ}reveal = [\"identity\"]\n");
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let files = [file("cases/a.toml", &case), file("cases/b.toml", &case), file("cases/notes.txt", "x")];
    let problems = read::load(&Source { files: files.into() }, &against(&world)).expect_err("the cases load");
    let told: Vec<_> = problems.iter().map(|problem| (problem.code, problem.file.as_str())).collect();
    assert_eq!(told, [("duplicate-case", "cases/b.toml"), ("unknown-file", "cases/notes.txt")]);
    assert_eq!(problems[0].help.as_deref(), Some("the first is at cases/a.toml:1"));
}
