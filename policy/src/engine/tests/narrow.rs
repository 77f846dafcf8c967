//! Narrowing only narrows: whatever is said, no field gets more than before, now and once the record is known.

use bytes::Bytes;
use proptest::prelude::*;

use super::oracle::{Record, loads, policy_text};
use super::{DOB, PHONE, all_but, hidden, set};
use crate::contract::RecordSchema;
use crate::disclose::{Raw, Treatments, outcome_of};
use crate::engine::Ladder;
use crate::engine::fixture::*;
use crate::model::{FieldName, GroupId, MaskKind, Personal, Treatment};
use crate::narrow::{Narrowing, Overruling, Scope};
use crate::permit::{Env, Hidden, Permit};

fn field(name: &str) -> Scope {
    Scope::Field(FieldName::new(name))
}

fn group(name: &str) -> Scope {
    Scope::Group(GroupId::new(name))
}

fn permit(world: &World, what: &str, more: &[(&str, &str)]) -> Permit {
    world.decide("tax/etax", what, "assessment", more, ten()).unwrap()
}

#[test]
fn what_is_taken_away_is_neither_shown_nor_announced() {
    let world = all_but(&[]);
    let narrowing = Narrowing::NONE
        .withhold(group("contact"))
        .withhold(field("Citizen.permanent_residence"))
        .at_most(field("Citizen.date_of_birth"), Treatment::Mask(MaskKind::Year))
        // A mask that the field does not have leaves the match.
        .at_most(field("Citizen.sex"), Treatment::Mask(MaskKind::Year));
    let permit = permit(&world, "citizen.read", &[]).narrow(&narrowing).unwrap();
    assert_eq!(permit.widest(), set(&[0, 1, 2, 7, 8, 9]));
    assert_eq!(permit.most(DOB), Treatment::Mask(MaskKind::Year));
    assert_eq!(permit.most(PHONE), Treatment::Withhold);
    let shown = open(permit, HOA).unwrap();
    assert_eq!((shown.tally().revealed, shown.tally().masked), (set(&[0, 1, 7, 8, 9]), set(&[2])));
    let shown = json(shown);
    assert_eq!(shown["date_of_birth"], 1987);
    assert!(shown.get("phone").is_none() && shown.get("permanent_residence").is_none() && shown.get("sex").is_none());
}

#[test]
fn a_record_that_permits_late_gives_no_more_than_was_left() {
    let world = World::new(
        &(policy("id", r#"permit(principal, action, resource == Field::"Citizen.id");"#)
            + &policy(
                "of-adults",
                r#"permit(principal, action in Action::"with-minor", resource) unless { context.record.minor };"#,
            )),
    );
    let narrowing = Narrowing::NONE.withhold(field("Citizen.phone"));
    let permit = permit(&world, "citizen.read", &[]).narrow(&narrowing).unwrap();
    let shown = json(open(permit, HOA).unwrap());
    assert_eq!(shown["full_name"], "Lê Thị Hoa");
    assert!(shown.get("phone").is_none());
}

#[test]
fn a_permit_of_which_nothing_is_left_is_none() {
    let world = all_but(&[]);
    let why = |what: &str, more: &[(&str, &str)], narrowing: Narrowing| {
        permit(&world, what, more).narrow(&narrowing).unwrap_err().why
    };
    let everything = || Narrowing::NONE.withhold(Scope::Everything);
    assert_eq!(why("citizen.read", &[], everything()), Overruling::Nothing);
    assert_eq!(why("citizen.verify", &[("phone", "1")], everything()), Overruling::Nothing);
    assert_eq!(
        why("citizen.verify", &[("phone", "1"), ("sex", "female")], Narrowing::NONE.withhold(group("contact"))),
        Overruling::Parameter { name: "phone".into() }
    );
    assert_eq!(why("citizen.read", &[], Narrowing::refuse("come by day")), Overruling::Refused("come by day"));
    assert_eq!(why("citizen.read", &[], Narrowing::hide().and(Narrowing::refuse("no"))), Overruling::Refused("no"));
    assert_eq!(
        why("citizen.read", &[], Narrowing::NONE.withhold(field("Citizen.phon"))),
        Overruling::UnknownField { name: "Citizen.phon".into() }
    );
    // Other records' fields and groups are none of this one's business.
    let of_others = Narrowing::NONE.withhold(field("Card.level")).withhold(group("health"));
    let permit = permit(&world, "citizen.read", &[]).narrow(&of_others).unwrap();
    assert_eq!(open(permit, HOA).unwrap().tally().revealed.len(), 10);
}

#[test]
fn who_is_hidden_is_answered_as_unknown_and_never_refused() {
    let world = all_but(&[]);
    let hide = || permit(&world, "citizen.read", &[]).narrow(&Narrowing::hide()).unwrap();
    assert_eq!(hidden(open(hide(), HOA)), Hidden::Record);
    let later = hide().narrow(&Narrowing::NONE.withhold(Scope::Everything)).unwrap();
    assert_eq!(hidden(open(later, HOA)), Hidden::Record);
    let claims = [("phone", "0912345678")];
    let verify = permit(&world, "citizen.verify", &claims).narrow(&Narrowing::hide()).unwrap();
    assert_eq!(hidden(open(verify, HOA)), Hidden::Record);
}

#[test]
fn where_each_person_must_be_looked_at_nobody_else_is_shown() {
    let world = all_but(&[]);
    let permit = || permit(&world, "citizen.read", &[]).each_person();
    let hoa = Personal::new(HOA_ID.to_owned());
    assert!(permit().wants_persons());
    assert_eq!(hidden(open(permit(), HOA)), Hidden::Record);
    let other = Personal::new("001187000018".to_owned());
    let of_other = permit().narrow_person(&other, &Narrowing::NONE).unwrap();
    assert_eq!(hidden(open(of_other, HOA)), Hidden::Record);
    let seen = permit().narrow_person(&hoa, &Narrowing::NONE.withhold(group("contact"))).unwrap();
    let shown = json(open(seen.each_person(), HOA).unwrap());
    assert!(shown.get("phone").is_none() && shown["sex"] == "female");
    let refused = permit().narrow_person(&hoa, &Narrowing::refuse("no")).unwrap();
    assert_eq!(hidden(open(refused, HOA)), Hidden::Record);
    let both = permit().narrow_person(&hoa, &Narrowing::NONE).unwrap().narrow_person(&hoa, &Narrowing::hide()).unwrap();
    assert_eq!(hidden(open(both, HOA)), Hidden::Record);
}

fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![
        Just(Scope::Everything),
        prop::sample::select(vec!["identity", "contact", "belief", "civil", "nonsense", ""]).prop_map(group),
        prop::sample::select(vec![
            "Citizen.id",
            "Citizen.full_name",
            "Citizen.date_of_birth",
            "Citizen.phone",
            "Citizen.permanent_residence",
            "Citizen.date_of_death",
            "Line.phone",
        ])
        .prop_map(field),
        "[A-Za-z_.]{0,12}".prop_map(|name| field(&name)),
        "Citizen\\.[a-z]{0,6}".prop_map(|name| field(&name)),
    ]
}

fn treatment() -> impl Strategy<Value = Treatment> {
    let masks = prop::sample::select(MaskKind::ALL.to_vec()).prop_map(Treatment::Mask);
    prop_oneof![1 => Just(Treatment::Reveal), 3 => masks, 1 => Just(Treatment::Match), 1 => Just(Treatment::Withhold)]
}

fn narrowing() -> impl Strategy<Value = Narrowing> {
    let caps = prop::collection::vec((scope(), treatment()), 0..6);
    (caps, prop_oneof![8 => Just(0), 1 => Just(1), 1 => Just(2)]).prop_map(|(caps, whole)| {
        let whole = match whole {
            0 => Narrowing::NONE,
            1 => Narrowing::hide(),
            _ => Narrowing::refuse("no"),
        };
        caps.into_iter().fold(whole, |narrowing, (scope, most)| narrowing.at_most(scope, most))
    })
}

/// The rung of every field; the higher, the less is shown.
fn rungs(record: &RecordSchema, treatments: &Treatments) -> Vec<usize> {
    record.fields.iter().map(|field| Ladder::of(field).rank(treatments.of(field.index)).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, ..ProptestConfig::default() })]

    #[test]
    fn each_field_gets_the_stricter_of_permit_and_narrowings(
        texts in prop::collection::vec(policy_text().prop_filter("loads", |text| loads(text)), 1..8),
        narrowings in prop::collection::vec(narrowing(), 1..4),
        what in prop::sample::select(vec!["citizen.read", "citizen.verify"]),
        who in prop::sample::select(vec!["tax/etax", "hanoi/desk", "mobi/kyc"]),
        hour in 0i8..24,
        province in prop::sample::select(vec![Some("001"), Some("046"), None]),
        minor in prop::sample::select(vec![Some(true), Some(false), None]),
    ) {
        // All of it may be asked about: most requests would be refused before.
        let open_all = policy("all", "permit(principal, action, resource);");
        let text: String = texts.iter().enumerate().map(|(at, text)| policy(&format!("p{at}"), text)).collect();
        let world = World::load(&(open_all + &text)).map_err(|problems| TestCaseError::fail(show(&problems)))?;
        let claims: &[(&str, &str)] = if what == "citizen.verify" { &[("phone", "0912345678")] } else { &[] };
        let decide = || world.decide(who, what, "assessment", claims, Env { hour, ..ten() });
        let before = match decide() {
            Ok(before) => before,
            Err(_) => return Ok(()),
        };
        let record = before.operation().record.clone();
        let text = Record { province, minor, deceased: false }.json();
        let raw = Raw::seal(Bytes::copy_from_slice(text.as_bytes()));
        let mut after = decide().unwrap();
        for narrowing in &narrowings {
            after = match after.narrow(narrowing) {
                Ok(after) => after,
                Err(_) => return Ok(()),
            };
        }
        // What each field may get at most, worked out the plain way.
        let caps: Vec<usize> = record.fields.iter().map(|field| {
            let of_field = narrowings.iter().flat_map(Narrowing::caps).filter(|(scope, _)| scope.holds(field));
            of_field.map(|(_, most)| Ladder::of(field).rank(*most).unwrap_or(field.masks.len() + 1)).max().unwrap_or(0)
        }).collect();
        let met = |before: &Treatments| -> Vec<usize> {
            rungs(&record, before).into_iter().zip(&caps).map(|(rung, cap)| rung.max(*cap)).collect()
        };
        let hidden = narrowings.iter().any(Narrowing::hides);
        prop_assert_eq!(rungs(&record, &after.outcome.most), met(&before.outcome.most));
        prop_assert_eq!(rungs(&record, &after.outcome.treatments), met(&before.outcome.treatments));
        prop_assert_eq!(after.widest().union(before.widest()), before.widest());
        let (late_before, late_after) = (outcome_of(&before, &raw).unwrap(), outcome_of(&after, &raw).unwrap());
        prop_assert_eq!(rungs(&record, &late_after.treatments), met(&late_before.treatments));
        let widest = after.widest();
        match (open(before, &text), open(after, &text)) {
            (Ok(before), Ok(after)) => {
                prop_assert!(!hidden);
                let (before, after) = (before.tally(), after.tally());
                let some = before.revealed.union(before.masked);
                prop_assert_eq!(after.revealed.union(before.revealed), before.revealed);
                prop_assert_eq!(after.masked.union(some), some);
                let told = after.revealed.union(after.masked).union(after.matched).union(after.refuted);
                prop_assert_eq!(told.union(widest), widest, "the intent said so");
            }
            (Err(_), Ok(_)) => prop_assert!(false, "a narrowing showed a record"),
            (_, Err(_)) => {}
        }
    }
}
