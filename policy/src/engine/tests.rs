//! What the engine promises about decisions.

use super::fixture::*;
use crate::disclose::Redacted;
use crate::model::{FieldIx, FieldSet};
use crate::permit::{Denial, Env, Hidden, Unopened};

mod equality;
mod lists;
mod narrow;
pub(crate) mod oracle;
mod problems;
mod suspended;

const DOB: FieldIx = FieldIx(2);
const PHONE: FieldIx = FieldIx(6);

/// The fields of a set by position.
fn set(fields: &[u16]) -> FieldSet {
    fields.iter().map(|at| FieldIx(*at)).collect()
}

fn policies(all: &[(&str, &str)]) -> String {
    all.iter().map(|(id, rest)| policy(id, rest)).collect()
}

/// Everything to everybody, and some rules on top.
fn all_but(more: &[(&str, &str)]) -> World {
    World::new(&(policy("all", "permit(principal, action, resource);") + &policies(more)))
}

fn hidden(result: Result<Redacted, Unopened>) -> Hidden {
    match result {
        Err(Unopened::NoMatch(hidden, _)) => hidden,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_shown_without_a_permit() {
    let world = World::new(&policy("tax", r#"permit(principal in Agency::"tax", action, resource);"#));
    let denied = world.decide("mobi/kyc", "citizen.read", "subscriber", &[], ten());
    assert_eq!(denied.unwrap_err(), Denial::Nothing);
    let denied = world.decide("mobi/kyc", "citizen.verify", "subscriber", &[("phone", "1")], ten());
    assert_eq!(denied.unwrap_err(), Denial::Nothing);
    assert_eq!(json(world.read("tax/etax", "assessment", HOA).unwrap())["full_name"], "Lê Thị Hoa");
}

#[test]
fn a_permit_holds_for_its_purpose_action_and_group_alone() {
    let world = World::new(&policy(
        "p",
        r#"permit(principal in Sector::"tax", action == Action::"citizen.read", resource in Group::"identity")
           when { context.purpose == Purpose::"assessment" };"#,
    ));
    let tally = world.read("tax/etax", "assessment", HOA).unwrap().tally();
    assert_eq!((tally.revealed, tally.masked), (set(&[0, 1, 2, 3]), FieldSet::EMPTY));
    assert_eq!(world.decide("tax/etax", "citizen.read", "residence", &[], ten()).unwrap_err(), Denial::Nothing);
    let lookup = world.decide("tax/etax", "citizen.lookup", "assessment", &[], ten());
    assert_eq!(lookup.unwrap_err(), Denial::Nothing);
}

#[test]
fn a_permit_on_an_object_holds_for_the_leaves_in_it() {
    let world = World::new(&policies(&[
        ("p", r#"permit(principal, action, resource in Field::"Citizen.permanent_residence");"#),
        ("id", r#"permit(principal, action, resource == Field::"Citizen.id");"#),
    ]));
    assert_eq!(world.read("tax/etax", "assessment", HOA).unwrap().tally().revealed, set(&[0, 4, 5]));
}

#[test]
fn the_most_revealing_permit_wins_in_the_fields_own_order() {
    let world = World::new(&policies(&[
        ("id", r#"permit(principal, action, resource == Field::"Citizen.id");"#),
        ("year", r#"@mask("year") permit(principal, action, resource == Field::"Citizen.date_of_birth");"#),
        ("match", r#"@mask("match") permit(principal, action, resource in Group::"identity");"#),
        (
            "month",
            r#"@mask("month") permit(principal in Sector::"tax", action, resource == Field::"Citizen.date_of_birth");"#,
        ),
    ]));
    let tax = world.read("tax/etax", "assessment", HOA).unwrap();
    assert_eq!((tax.tally().revealed, tax.tally().masked), (set(&[0]), set(&[2])));
    assert_eq!(json(tax), serde_json::json!({"id": HOA_ID, "date_of_birth": "1987-03"}));
    assert_eq!(json(world.read("mobi/kyc", "subscriber", HOA).unwrap())["date_of_birth"], 1987);
}

#[test]
fn a_mask_that_a_field_does_not_allow_gives_nothing_of_it() {
    let world = World::new(&policies(&[
        ("id", r#"permit(principal, action, resource == Field::"Citizen.id");"#),
        ("group", r#"@mask("initials") permit(principal, action, resource in Group::"identity");"#),
    ]));
    let tally = world.read("tax/etax", "assessment", HOA).unwrap().tally();
    assert_eq!((tally.revealed, tally.masked), (set(&[0]), set(&[1])));
}

#[test]
fn a_match_shows_nothing_and_lets_a_parameter_be_used() {
    let world = World::new(&policies(&[
        ("id", r#"@mask("match") permit(principal, action, resource == Field::"Citizen.id");"#),
        ("phone", r#"@mask("match") permit(principal, action, resource == Field::"Citizen.phone");"#),
    ]));
    assert_eq!(world.decide("mobi/kyc", "citizen.read", "subscriber", &[], ten()).unwrap_err(), Denial::Nothing);
    let permit = world.decide("mobi/kyc", "citizen.verify", "subscriber", &[("phone", "0912345678")], ten()).unwrap();
    assert_eq!(permit.widest(), [PHONE].into_iter().collect());
    let answer = open(permit, HOA).unwrap();
    assert_eq!(answer.tally().matched, [PHONE].into_iter().collect());
    assert_eq!(json(answer), serde_json::json!({"phone": true}));
    let denied = world.decide("mobi/kyc", "citizen.verify", "subscriber", &[("sex", "female")], ten());
    assert_eq!(denied.unwrap_err(), Denial::Parameter { name: "sex".into() });
}

#[test]
fn a_province_sees_its_residents_alone() {
    let world = all_but(&[(
        "residents",
        r#"forbid(principal in Level::"province", action in Action::"with-province", resource)
           unless { principal has province && context.record.province == principal.province };"#,
    )]);
    assert!(world.read("hanoi/desk", "residence", HOA).is_ok());
    assert!(world.read("tax/etax", "assessment", HOA).is_ok());
    assert_eq!(hidden(world.read("hue/desk", "residence", HOA)), Hidden::Record);
    let widest = world.decide("hue/desk", "citizen.read", "residence", &[], ten()).unwrap().widest();
    assert_eq!(widest.len(), 10, "what the record phase may still show is in the intent");
}

#[test]
fn a_policy_that_fails_to_evaluate_withholds_its_fields_and_is_counted() {
    let world = all_but(&[(
        "contact",
        r#"forbid(principal, action in Action::"with-province", resource in Group::"contact") when { context.record.province == "046" };"#,
    )]);
    let tally = world.read("tax/etax", "assessment", HOA).unwrap().tally();
    assert!(tally.revealed.contains(PHONE) && tally.policy_errors == 0);
    for code in ["null", "1", "[]"] {
        let record = HOA.replace("\"province_code\":\"001\"", &format!("\"province_code\":{code}"));
        match world.read("tax/etax", "assessment", &record) {
            Ok(answer) => {
                let tally = answer.tally();
                assert!(!tally.revealed.contains(PHONE), "{code}");
                assert_eq!((tally.policy_errors, tally.revealed.contains(DOB)), (1, true), "{code}");
            }
            Err(Unopened::Unreadable(_)) => assert_eq!(code, "[]"),
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_failing_permit_withholds_even_what_another_permit_gives() {
    let world = all_but(&[(
        "sum",
        r#"permit(principal, action, resource == Field::"Citizen.phone") when { context.env.hour * 9223372036854775807 > 0 };"#,
    )]);
    let permit = world.decide("tax/etax", "citizen.read", "assessment", &[], ten()).unwrap();
    assert!(!permit.widest().contains(PHONE));
    let tally = open(permit, HOA).unwrap().tally();
    assert_eq!((tally.policy_errors, tally.revealed.contains(PHONE)), (1, false));
}

#[test]
fn minors_are_never_clear_but_to_health() {
    let world = all_but(&[(
        "minors",
        r#"@at_most("year") forbid(principal, action in Action::"with-minor", resource == Field::"Citizen.date_of_birth")
           when { context.record.minor } unless { principal in Sector::"health" };"#,
    )]);
    let child = HOA.replace("1987-03-14", "2008-11-22");
    let grown = HOA.replace("1987-03-14", "2008-11-21");
    assert_eq!(json(world.read("tax/etax", "assessment", &child).unwrap())["date_of_birth"], 2008);
    assert_eq!(json(world.read("clinic/his", "treatment", &child).unwrap())["date_of_birth"], "2008-11-22");
    assert_eq!(json(world.read("tax/etax", "assessment", &grown).unwrap())["date_of_birth"], "2008-11-21");
}

#[test]
fn who_was_born_on_a_leap_day_is_grown_on_the_first_of_march() {
    let world = all_but(&[(
        "minors",
        r#"forbid(principal, action in Action::"with-minor", resource == Field::"Citizen.phone") when { context.record.minor };"#,
    )]);
    let born = HOA.replace("1987-03-14", "2008-02-29");
    for (day, shown) in [((2026, 2, 28), false), ((2026, 3, 1), true)] {
        let env = Env { date: jiff::civil::date(day.0, day.1, day.2), ..ten() };
        let permit = world.decide("tax/etax", "citizen.read", "assessment", &[], env).unwrap();
        assert_eq!(open(permit, &born).unwrap().tally().revealed.contains(PHONE), shown, "{day:?}");
    }
}

#[test]
fn a_cap_that_a_field_does_not_allow_leaves_the_match() {
    let world = all_but(&[("cap", r#"@at_most("year") forbid(principal, action, resource in Group::"contact");"#)]);
    let permit = world.decide("tax/etax", "citizen.read", "assessment", &[], ten()).unwrap();
    assert!(!permit.widest().contains(PHONE));
    assert!(world.decide("tax/etax", "citizen.verify", "assessment", &[("phone", "1")], ten()).is_ok());
}

#[test]
fn conditions_on_the_request_are_decided_before_the_register_is_asked() {
    let world = World::new(&policies(&[
        (
            "hours",
            r#"permit(principal in Sector::"tax", action, resource) when { context.env.hour >= 7 && context.env.hour < 18 };"#,
        ),
        (
            "net",
            r#"permit(principal in Sector::"telecom", action, resource) when { context.env.source.isInRange(ip("10.0.0.0/8")) };"#,
        ),
        ("user", r#"permit(principal in Sector::"health", action, resource) when { context.env.claimed_user };"#),
        (
            "assured",
            r#"permit(principal in Sector::"local", action, resource)
               when { context.env has claimed_assurance && context.env.claimed_assurance == "high" };"#,
        ),
    ]));
    let asks = |who: &str, env: Env| {
        world.decide(who, "citizen.read", "assessment", &[], env).map(|permit| permit.widest().len())
    };
    let refused = Err(Denial::Nothing);
    assert_eq!(asks("tax/etax", ten()), Ok(10));
    assert_eq!(asks("tax/etax", Env { hour: 18, ..ten() }), refused);
    assert_eq!(asks("mobi/kyc", ten()), Ok(10));
    assert_eq!(asks("mobi/kyc", Env { source: "::ffff:10.1.1.1".parse().unwrap(), ..ten() }), Ok(10));
    assert_eq!(asks("mobi/kyc", Env { source: "192.0.2.1".parse().unwrap(), ..ten() }), refused);
    assert_eq!(asks("clinic/his", ten()), refused);
    assert_eq!(asks("clinic/his", Env { claimed_user: true, ..ten() }), Ok(10));
    assert_eq!(asks("hue/desk", ten()), refused);
    assert_eq!(asks("hue/desk", Env { claimed_assurance: Some("high".into()), ..ten() }), Ok(10));
}

#[test]
fn conditions_on_request_and_record_wait_for_the_record() {
    let world = all_but(&[(
        "late",
        r#"forbid(principal, action in Action::"with-deceased", resource in Group::"contact")
           when { context.record.deceased && context.env.hour > 8 };"#,
    )]);
    let dead = HOA.replace("\"date_of_death\":null", "\"date_of_death\":\"2020-01-01\"");
    let shows = |record: &str, hour: i8| {
        let permit = world.decide("tax/etax", "citizen.read", "assessment", &[], Env { hour, ..ten() }).unwrap();
        open(permit, record).unwrap().tally().revealed.contains(PHONE)
    };
    assert_eq!([shows(HOA, 10), shows(&dead, 10), shows(&dead, 8)], [true, false, true]);
}

#[test]
fn what_the_request_forbids_does_not_wait_for_the_record() {
    let world = World::new(&policies(&[
        ("day", r#"permit(principal in Sector::"tax", action, resource) when { context.env.hour >= 7 };"#),
        (
            "dead",
            r#"permit(principal in Sector::"tax", action in Action::"with-deceased", resource == Field::"Citizen.phone")
               when { context.record.deceased };"#,
        ),
        (
            "minors",
            r#"forbid(principal in Sector::"health", action in Action::"with-minor", resource) when { context.record.minor };"#,
        ),
        ("user", r#"permit(principal in Sector::"health", action, resource) when { context.env.claimed_user };"#),
    ]));
    let widest =
        |who: &str, env: Env| world.decide(who, "citizen.read", "assessment", &[], env).map(|permit| permit.widest());
    let night = Env { hour: 3, ..ten() };
    assert_eq!(widest("tax/etax", ten()).unwrap().len(), 10);
    // At night only what the record may yet permit is left; without that, nothing is asked for.
    assert_eq!(widest("tax/etax", night), Err(Denial::Parameter { name: "id".into() }));
    assert_eq!(widest("clinic/his", ten()), Err(Denial::Nothing));
    assert_eq!(widest("clinic/his", Env { claimed_user: true, ..ten() }).unwrap().len(), 10);
}

#[test]
fn a_record_about_somebody_else_is_never_opened() {
    let world = all_but(&[]);
    for id in ["\"001187000018\"", "null", "\"01187000017\"", "1187000017"] {
        let record = HOA.replace("\"001187000017\"", id);
        assert!(matches!(world.read("tax/etax", "assessment", &record), Err(Unopened::SubjectMismatch)), "{id}");
    }
    assert!(matches!(world.read("tax/etax", "assessment", "{}"), Err(Unopened::SubjectMismatch)));
}

#[test]
fn a_guard_must_hold_in_every_part() {
    let world = all_but(&[]);
    let lookup = |name: &str, born: &str| {
        let given = [("full_name", name), ("date_of_birth", born)];
        open(world.decide("tax/etax", "citizen.lookup", "assessment", &given, ten()).unwrap(), HOA)
    };
    assert!(lookup("le thi  hoa", "1987-03-14").is_ok());
    assert_eq!(hidden(lookup("Lê Thị Hoa", "1987-03-15")), Hidden::Guard);
    assert_eq!(hidden(lookup("Lê Thị Hà", "1987-03-14")), Hidden::Guard);
}

#[test]
fn a_guard_that_held_is_counted_as_matched_where_it_is_not_shown() {
    let world = World::new(&policies(&[
        ("match", r#"@mask("match") permit(principal, action, resource in Group::"identity");"#),
        ("phone", r#"permit(principal, action, resource == Field::"Citizen.phone");"#),
    ]));
    let given = [("full_name", "Lê Thị Hoa"), ("date_of_birth", "1987-03-14")];
    let permit = world.decide("tax/etax", "citizen.lookup", "assessment", &given, ten()).unwrap();
    assert_eq!(permit.widest(), set(&[1, 2, 6]));
    let tally = open(permit, HOA).unwrap().tally();
    assert_eq!((tally.revealed, tally.matched), (set(&[6]), set(&[1, 2])));
}

#[test]
fn what_the_register_is_asked_by_is_in_the_intent() {
    let world = World::new(&policies(&[
        ("match", r#"@mask("match") permit(principal, action, resource in Group::"identity");"#),
        ("phone", r#"permit(principal, action, resource == Field::"Citizen.phone");"#),
    ]));
    // `citizen.search` asks the register by number and name, and an answer says that they belong together.
    let given = [("full_name", "Lê Thị Hoa")];
    let permit = world.decide("tax/etax", "citizen.search", "assessment", &given, ten()).unwrap();
    assert_eq!(permit.widest(), set(&[1, 6]));
    let tally = open(permit, HOA).unwrap().tally();
    assert_eq!((tally.revealed, tally.matched), (set(&[6]), set(&[1])));
}

#[test]
fn a_parameter_whose_field_the_record_hides_is_answered_as_unknown() {
    let world = all_but(&[(
        "dob",
        r#"forbid(principal, action in Action::"with-province", resource == Field::"Citizen.date_of_birth") when { context.record.province == "001" };"#,
    )]);
    let given = [("full_name", "Lê Thị Hoa"), ("date_of_birth", "1987-03-14")];
    let permit = world.decide("tax/etax", "citizen.lookup", "assessment", &given, ten()).unwrap();
    assert_eq!(hidden(open(permit, HOA)), Hidden::Record);
    let permit = world.decide("tax/etax", "citizen.verify", "assessment", &given, ten()).unwrap();
    assert_eq!(hidden(open(permit, HOA)), Hidden::Record);
}

#[test]
fn claims_are_answered_one_by_one_and_all_wrong_is_unknown() {
    let world = all_but(&[]);
    let verify = |given: &[(&str, &str)]| {
        open(world.decide("mobi/kyc", "citizen.verify", "subscriber", given, ten()).unwrap(), HOA)
    };
    let answer = verify(&[("phone", "1"), ("full_name", "LÊ THỊ HOA"), ("sex", "male")]).unwrap();
    assert_eq!((answer.tally().matched, answer.tally().refuted), (set(&[1]), set(&[3, 6])));
    let text: Vec<u8> = answer.into_chunks().into_iter().flat_map(|chunk| chunk.into_bytes()).collect();
    assert_eq!(text, br#"{"full_name":true,"sex":false,"phone":false}"#, "in the contract's order");
    assert_eq!(hidden(verify(&[("phone", "1"), ("sex", "male")])), Hidden::Claims);
    assert_eq!(hidden(verify(&[])), Hidden::Claims);
}

#[test]
fn a_record_that_is_not_strict_json_or_too_long_is_unreadable() {
    let world = all_but(&[]);
    assert!(matches!(world.read("tax/etax", "assessment", &HOA[..50]), Err(Unopened::Unreadable(_))));
    let long = HOA.replace("none", &"x".repeat(crate::disclose::MAX_BUFFERED));
    assert!(matches!(world.read("tax/etax", "assessment", &long), Err(Unopened::Unreadable(_))));
}

#[test]
fn systems_that_no_policy_tells_apart_share_their_tables() {
    let world =
        all_but(&[("x", r#"forbid(principal == System::"tax/portal", action, resource in Group::"contact");"#)]);
    assert_eq!(world.engine.shapes.len(), 6, "the named one stands alone");
    let etax = world.decide("tax/etax", "citizen.read", "assessment", &[], ten()).unwrap();
    let portal = world.decide("tax/portal", "citizen.read", "assessment", &[], ten()).unwrap();
    assert!(etax.widest().contains(PHONE) && !portal.widest().contains(PHONE));
    assert_eq!(all_but(&[]).engine.shapes.len(), 5);
}

#[test]
fn a_request_without_late_conditions_clones_its_table_and_nothing_else() {
    let world = all_but(&[(
        "late",
        r#"forbid(principal in Sector::"health", action, resource) when { context.env.hour < 6 };"#,
    )]);
    let first = world.decide("tax/etax", "citizen.read", "assessment", &[], ten()).unwrap();
    let second = world.decide("tax/portal", "citizen.read", "assessment", &[], ten()).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first.table, &second.table));
    assert!(std::sync::Arc::ptr_eq(&first.outcome, &second.outcome));
}

#[test]
fn a_policy_is_in_force_from_its_first_to_its_last_day() {
    let world = World::new(&policies(&[
        ("all", "permit(principal, action, resource);"),
        (
            "drill",
            r#"@valid_from("2026-11-20") @valid_until("2026-11-22") forbid(principal, action, resource in Group::"contact");"#,
        ),
        // Would fail if it were evaluated on other days.
        (
            "later",
            r#"@valid_from("2026-12-24") forbid(principal, action, resource == Field::"Citizen.date_of_birth")
               when { context.env.hour + 9223372036854775807 > 0 };"#,
        ),
    ]));
    let shown = |day: i8, month: i8| {
        let env = Env { date: jiff::civil::date(2026, month, day), ..ten() };
        let permit = world.decide("tax/etax", "citizen.read", "assessment", &[], env).unwrap();
        let tally = open(permit, HOA).unwrap().tally();
        (tally.revealed.contains(PHONE), tally.revealed.contains(DOB), tally.policy_errors)
    };
    assert_eq!(shown(19, 11), (true, true, 0));
    assert_eq!(shown(20, 11), (false, true, 0));
    assert_eq!(shown(22, 11), (false, true, 0));
    assert_eq!(shown(23, 11), (true, true, 0));
    assert_eq!(shown(24, 12), (true, false, 1));
}

#[test]
fn the_local_day_and_minute_can_be_asked_for() {
    let world = World::new(&policies(&[(
        "day",
        r#"permit(principal, action, resource)
           when { context.env.weekday <= 5 && context.env.minute_of_day >= 450 && context.env.today < datetime("2027-01-01") };"#,
    )]));
    let asks = |env: Env| world.decide("tax/etax", "citizen.read", "assessment", &[], env).is_ok();
    let friday = Env { date: jiff::civil::date(2026, 11, 27), hour: 7, minute: 30, ..ten() };
    assert!(asks(friday.clone()));
    assert!(!asks(Env { minute: 29, ..friday.clone() }));
    assert!(!asks(Env { date: jiff::civil::date(2026, 11, 28), ..friday.clone() }));
    assert!(!asks(Env { date: jiff::civil::date(2027, 1, 1), ..friday }));
}
