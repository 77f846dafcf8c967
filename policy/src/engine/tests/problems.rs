//! What the engine says of policies that load and are still worth a second look.

use crate::engine::fixture::*;

/// The warnings of a bundle that loads: code and message.
fn warnings(policies: &str) -> Vec<(&'static str, String)> {
    World::new(policies).warnings.into_iter().map(|problem| (problem.code, problem.message)).collect()
}

#[test]
fn a_masked_permit_that_can_never_win_is_reported() {
    let narrow = policy(
        "narrow",
        r#"@mask("year") permit(principal in Agency::"tax", action == Action::"citizen.read", resource == Field::"Citizen.date_of_birth")
           when { context.purpose == Purpose::"assessment" };"#,
    );
    let wide = policy("wide", r#"permit(principal in Sector::"tax", action, resource in Group::"identity");"#);
    let same = policy(
        "same",
        r#"permit(principal in Sector::"tax", action, resource in Group::"identity") when { context.purpose == Purpose::"assessment" };"#,
    );
    let other = policy(
        "other",
        r#"permit(principal in Sector::"tax", action, resource in Group::"identity") when { context.purpose == Purpose::"residence" };"#,
    );
    for winner in [wide, same] {
        let found = warnings(&(narrow.clone() + &winner));
        assert!(matches!(&found[..], [("mask-never-wins", message)] if message.contains("`narrow`")), "{found:?}");
    }
    assert_eq!(warnings(&(narrow + &other)), []);
}

#[test]
fn a_mask_that_skips_fields_of_its_group_is_reported() {
    let found = warnings(&policy("p", r#"@mask("year") permit(principal, action, resource in Group::"identity");"#));
    assert!(matches!(&found[..], [("mask-skips-field", message)] if message.contains("`Citizen.sex`")), "{found:?}");
    let found = warnings(&policy("p", r#"@mask("year") permit(principal, action, resource in Group::"contact");"#));
    assert!(matches!(&found[..], [("mask-not-allowed", _)]), "{found:?}");
}

#[test]
fn a_permit_that_gives_away_a_withheld_field_is_reported_once() {
    let old = policy("old", r#"permit(principal, action, resource == Field::"Citizen.old_number");"#);
    let found = warnings(&old);
    assert!(
        matches!(&found[..], [("derivable", message)] if message.contains("`Citizen.old_number`") && message.contains("`Citizen.date_of_birth`")),
        "{found:?}"
    );
    let year =
        policy("year", r#"@mask("year") permit(principal, action, resource == Field::"Citizen.date_of_birth");"#);
    assert_eq!(warnings(&(old + &year)), []);
}

#[test]
fn an_operation_that_escapes_a_record_condition_is_reported() {
    let forbid = policy(
        "residents",
        r#"forbid(principal in Level::"province", action in Action::"with-province", resource in Group::"contact")
           when { context.record.province == "001" };"#,
    );
    let citizen = policy("citizen", r#"permit(principal, action, resource == Field::"Citizen.phone");"#);
    assert_eq!(warnings(&(forbid.clone() + &citizen)), []);
    let line = policy("line", r#"permit(principal in Sector::"local", action, resource == Field::"Line.phone");"#);
    let found = warnings(&(forbid.clone() + &line));
    assert!(
        matches!(&found[..], [("record-condition-escape", message)] if message.contains("`line.read`")),
        "{found:?}"
    );
    let elsewhere = policy("line", r#"permit(principal in Sector::"tax", action, resource == Field::"Line.phone");"#);
    assert_eq!(warnings(&(forbid + &elsewhere)), []);
}

#[test]
fn a_policy_that_is_never_true_is_reported() {
    let found = warnings(&policy(
        "never",
        r#"permit(principal, action, resource) when { principal in Purpose::"assessment" };"#,
    ));
    assert!(found.iter().any(|(code, _)| *code == "impossible-policy"), "{found:?}");
}

#[test]
fn one_broken_policy_hides_no_mistake_in_the_next() {
    let text = policy("a", "permit(principal, action resource);")
        + &policy("b", r#"permit(principal in Sector::"helth", action, resource);"#);
    let problems = World::load(&text).err().unwrap();
    let codes: Vec<&str> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["policy-syntax", "unknown-sector"], "{}", show(&problems));
    assert_eq!(problems[1].at, Some((4, 21)));
    assert_eq!(problems[1].text.as_deref(), Some("Sector::\"helth\""));
    assert_eq!(problems[1].help.as_deref(), Some("did you mean `health`?"));
}

#[test]
fn the_generated_schema_is_cedar() {
    let text = crate::cedar::schema_text(&contracts());
    assert!(text.contains(
        "action \"citizen.read\" in [\"register-population\", \"with-deceased\", \"with-minor\", \"with-province\"]"
    ));
    assert!(cedar_policy::Schema::from_cedarschema_str(&text).is_ok());
}

#[test]
fn policies_are_listed_with_their_place_and_basis() {
    let text =
        policy("a", "permit(principal, action, resource);") + &policy("b", "forbid(principal, action, resource);");
    let world = World::new(&text);
    let listed: Vec<_> =
        world.engine.policies().iter().map(|policy| (&*policy.id, policy.line, policy.permits)).collect();
    assert_eq!(listed, [("a", 1, true), ("b", 3, false)]);
    assert_eq!(world.engine.policies()[0].basis, "Law 1, art. 2");
}

#[test]
fn no_policy_can_ask_whether_the_record_has_an_attribute() {
    // Where it has not, such a forbid would be false instead of failing, and the field would be shown.
    let minors = |condition: &str| {
        let all = policy("all", "permit(principal, action, resource);");
        let minors = r#"forbid(principal, action in Action::"with-minor", resource == Field::"Citizen.phone")"#;
        World::load(&(all + &policy("minors", &format!("{minors} when {{ {condition} }};"))))
    };
    for condition in [
        "context.record has minor && context.record.minor",
        "context has record.minor && context.record.minor",
        "if context.record has minor then context.record.minor else false",
        "{ it: context.record }.it has minor && context.record.minor",
    ] {
        let problems = minors(condition).err().unwrap_or_else(|| panic!("{condition}"));
        assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["record-has"], "{condition}");
    }
    for condition in [
        "context.record.minor && principal has province",
        "context.record.minor && context.env has claimed_assurance",
        "context.record.minor && context has env.claimed_assurance",
    ] {
        assert!(minors(condition).is_ok(), "{condition}");
    }
}

#[test]
fn a_policy_file_under_another_name_is_not_passed_over() {
    let source = crate::bundle::Source {
        files: [("policies/minors.ceder".to_owned(), policy("minors", "forbid(principal, action, resource);"))].into(),
    };
    let mut problems = Vec::new();
    assert!(crate::cedar::parse(&source, None, &mut problems).is_empty());
    assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["unknown-file"]);
}

#[test]
fn no_policy_however_deep_or_long_overflows_the_stack() {
    let load = |count: usize, [begin, part, middle, end]: [&str; 4]| {
        let condition = format!("{begin}{}{middle}{}", part.repeat(count), end.repeat(count));
        World::load(&policy("p", &format!("permit(principal, action, resource) when {{ {condition} }};")))
    };
    let bracketed = [["", "(", "true", ")"], ["", "[", "", "]"], ["", "{a:", "1", "}"]];
    let chained = [
        ["", "true && ", "true", ""],
        ["", "context.env.hour < 3 || ", "true", ""],
        ["", "if true then ", "true", " else true"],
        ["principal", ".sector", "", ""],
        ["1", " + 1", " == 1", ""],
    ];
    for parts in bracketed.into_iter().chain(chained) {
        let problems = load(50_000, parts).err().unwrap();
        assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["policy-depth"], "{parts:?}");
    }
    // What is just not too deep is read, whatever comes of it.
    for parts in bracketed {
        let _ = load(31, parts);
    }
    for parts in chained {
        let _ = load(500, parts);
    }
    let combined = format!("{}{}true{}", "(true && ".repeat(31), "true && ".repeat(200), ")".repeat(31));
    assert!(World::load(&policy("p", &format!("permit(principal, action, resource) when {{ {combined} }};"))).is_ok());
}
