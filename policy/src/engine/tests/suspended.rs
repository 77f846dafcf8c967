//! A suspended permit only narrows, whatever the other policies are, and only where it could bear.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::oracle::{loads, policy_text};
use super::{all_but, policies};
use crate::engine::fixture::*;
use crate::engine::{Engine, Fact, Ladder, Outcome};
use crate::permit::{Denial, Env};

fn ids(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|id| (*id).to_owned()).collect()
}

/// The world with some policies suspended.
fn without(world: World, suspended: &[&str]) -> World {
    World { engine: world.engine.without(&ids(suspended)), ..world }
}

/// Each field's rung once the record is known: 0 reveals, higher hides more.
fn rungs(world: &World, engine: &Engine, who: &str, why: &str, env: &Env, record: &Record) -> Vec<usize> {
    let fields = &world.contracts.operation("citizen.read").unwrap().record.fields;
    let outcome = outcome(world, engine, who, why, env, record);
    fields.iter().map(|field| Ladder::of(field).rank(outcome.treatments.of(field.index)).unwrap()).collect()
}

/// Of each field, whether it is withheld because a policy failed to evaluate.
fn failing(world: &World, engine: &Engine, who: &str, why: &str, env: &Env, record: &Record) -> Vec<bool> {
    let fields = &world.contracts.operation("citizen.read").unwrap().record.fields;
    let outcome = outcome(world, engine, who, why, env, record);
    fields.iter().map(|field| outcome.errors.contains(field.index)).collect()
}

fn outcome(world: &World, engine: &Engine, who: &str, why: &str, env: &Env, record: &Record) -> Arc<Outcome> {
    let operation = world.contracts.operation("citizen.read").unwrap();
    let purpose = &world.directory.purpose(why).unwrap().id;
    let table = engine.table(world.system(who), operation, purpose, false).unwrap();
    // As `fixture` declares them.
    let facts = [record.province.map(Fact::Text), record.minor.map(Fact::Truth), Some(Fact::Truth(record.deceased))];
    table.at_record(&table.at_request(env), env, &|at| facts[at])
}

#[derive(Clone, Debug)]
struct Record {
    province: Option<&'static str>,
    minor: Option<bool>,
    deceased: bool,
}

#[test]
fn a_suspended_permit_is_as_if_it_were_not_there() {
    let all = || {
        World::new(&policies(&[
            ("number", r#"permit(principal, action, resource == Field::"Citizen.id");"#),
            ("month", r#"@mask("month") permit(principal, action, resource == Field::"Citizen.date_of_birth");"#),
            ("birth", r#"permit(principal in Agency::"tax", action, resource == Field::"Citizen.date_of_birth");"#),
        ]))
    };
    assert_eq!(json(all().read("tax/etax", "assessment", HOA).unwrap())["date_of_birth"], "1987-03-14");
    let one = without(all(), &["birth"]);
    assert_eq!(json(one.read("tax/etax", "assessment", HOA).unwrap())["date_of_birth"], "1987-03");
    let both = without(all(), &["birth", "month", "never-heard-of"]);
    assert_eq!(json(both.read("tax/etax", "assessment", HOA).unwrap()), serde_json::json!({ "id": HOA_ID }));
    let none = without(all(), &["birth", "month", "number"]);
    let denied = none.decide("tax/etax", "citizen.read", "assessment", &[], ten());
    assert_eq!(denied.unwrap_err(), Denial::Nothing);
}

#[test]
fn a_forbid_cannot_be_suspended() {
    let contact = r#"forbid(principal, action, resource in Group::"contact");"#;
    let world = without(all_but(&[("contact", contact)]), &["contact"]);
    assert!(json(world.read("tax/etax", "assessment", HOA).unwrap()).get("phone").is_none());
}

#[test]
fn a_permit_that_fails_to_evaluate_withholds_its_fields_also_when_it_is_suspended() {
    let broken = r#"permit(principal, action, resource in Group::"contact")
        when { context.env.hour + 9223372036854775800 > 0 };"#;
    let world = without(all_but(&[("broken", broken)]), &["broken"]);
    let tally = world.read("tax/etax", "assessment", HOA).unwrap().tally();
    assert_eq!((tally.policy_errors, tally.revealed.contains(super::PHONE)), (1, false));
}

#[test]
fn tables_that_a_suspension_cannot_bear_on_are_shared() {
    let world = all_but(&[(
        "more",
        r#"permit(principal in Sector::"telecom", action, resource) when { context.env.hour < 12 };"#,
    )]);
    let narrowed = world.engine.without(&ids(&["more"]));
    let operation = world.contracts.operation("citizen.read").unwrap();
    let purpose = &world.directory.purpose("assessment").unwrap().id;
    let same = |who: &str| {
        let tables =
            [&narrowed, &world.engine].map(|engine| engine.table(world.system(who), operation, purpose, false));
        matches!(tables, [Some(one), Some(other)] if Arc::ptr_eq(&one, &other))
    };
    assert!(same("tax/etax") && !same("mobi/kyc"));
}

#[test]
fn whom_a_policy_bears_on_is_told_by_purpose() {
    let world = World::new(&policies(&[(
        "tax",
        r#"permit(principal in Agency::"tax", action == Action::"citizen.read", resource in Group::"identity")
           when { context.purpose == Purpose::"assessment" };"#,
    )]));
    let ask = |who: &str, what: &str, why: &str| {
        let (system, operation) = (world.system(who), world.contracts.operation(what).unwrap());
        let purpose = &world.directory.purpose(why).unwrap().id;
        let bears = world.engine.bears_on("tax", system, operation, purpose);
        assert_eq!(bears, world.engine.discloses(system, operation, purpose), "{who} {what} {why}");
        bears
    };
    assert!(ask("tax/etax", "citizen.read", "assessment"));
    assert!(!ask("tax/etax", "citizen.read", "residence"));
    assert!(!ask("tax/etax", "citizen.lookup", "assessment"));
    assert!(!ask("mobi/kyc", "citizen.read", "assessment"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn suspending_only_narrows(
        texts in prop::collection::vec((policy_text().prop_filter("loads", |text| loads(text)), any::<bool>()), 1..8),
        who in prop::sample::select(vec!["tax/etax", "tax/portal", "hanoi/desk", "hue/desk", "mobi/kyc"]),
        why in prop::sample::select(vec!["assessment", "residence"]),
        hour in 0i8..24,
        claimed_user in any::<bool>(),
        province in prop::sample::select(vec![Some("001"), Some("046"), None]),
        minor in prop::sample::select(vec![Some(true), Some(false), None]),
        deceased in any::<bool>(),
    ) {
        let text: String = texts.iter().enumerate().map(|(at, (text, _))| policy(&format!("p{at}"), text)).collect();
        let world = World::load(&text).map_err(|problems| TestCaseError::fail(show(&problems)))?;
        let suspended: BTreeSet<String> =
            texts.iter().enumerate().filter(|(_, (_, gone))| *gone).map(|(at, _)| format!("p{at}")).collect();
        let narrowed = world.engine.without(&suspended);
        let (env, record) = (Env { hour, claimed_user, ..ten() }, Record { province, minor, deceased });
        let before = rungs(&world, &world.engine, who, why, &env, &record);
        let after = rungs(&world, &narrowed, who, why, &env, &record);
        prop_assert!(before.iter().zip(&after).all(|(before, after)| before <= after), "{before:?} {after:?}");
        // As if they were not there, but where one of them fails to evaluate.
        let text: String = texts.iter().enumerate().filter(|(_, (text, gone))| !gone || text.contains("forbid("))
            .map(|(at, (text, _))| policy(&format!("p{at}"), text)).collect();
        let absent = World::load(&text).map_err(|problems| TestCaseError::fail(show(&problems)))?;
        let absent = rungs(&absent, &absent.engine, who, why, &env, &record);
        for ((after, absent), failed) in after.iter().zip(absent).zip(failing(&world, &narrowed, who, why, &env, &record)) {
            prop_assert!(*after == absent || failed, "{after} {absent}");
        }
        prop_assert_eq!(before, rungs(&world, &world.engine, who, why, &env, &record));
    }
}
