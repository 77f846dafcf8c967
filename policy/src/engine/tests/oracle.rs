//! Tables against a naive oracle: the plain authorizer over every policy, one by one, for every field.

use std::collections::{HashMap, HashSet};

use cedar_policy::{Authorizer, Context, Decision, Effect, Entities, Entity, PolicySet, Request, RestrictedExpression};
use proptest::prelude::*;

use crate::cedar::{Model, uid};
use crate::contract::Field;
use crate::engine::fixture::*;
use crate::model::{FieldSet, MaskKind};
use crate::permit::{Denial, Env, Hidden, Unopened};

/// What the oracle says of each field: `None` withholds because a policy failed, else the rung (0 reveals).
fn oracle(text: &str, who: &str, what: &str, why: &str, env: &Env, record: &Record) -> Vec<Option<usize>> {
    let world = (contracts(), directory());
    let model = Model::new(&world.0, &world.1).unwrap();
    let operation = world.0.operation(what).unwrap();
    let mut attributes = HashMap::from([("deceased".to_owned(), RestrictedExpression::new_bool(record.deceased))]);
    if let Some(province) = record.province {
        attributes.insert("province".to_owned(), RestrictedExpression::new_string(province.to_owned()));
    }
    if let Some(minor) = record.minor {
        attributes.insert("minor".to_owned(), RestrictedExpression::new_bool(minor));
    }
    let circumstances = HashMap::from([
        ("hour".to_owned(), RestrictedExpression::new_long(env.hour.into())),
        ("source".to_owned(), RestrictedExpression::new_ip(env.source.to_string())),
        ("claimed_user".to_owned(), RestrictedExpression::new_bool(env.claimed_user)),
    ]);
    let env = uid("Env", "now").unwrap();
    let returned = uid("CitizenRecord", "it").unwrap();
    let entities: Entities = model
        .entities
        .add_entities(
            [
                Entity::new(env.clone(), circumstances, HashSet::new()).unwrap(),
                Entity::new(returned.clone(), attributes, HashSet::new()).unwrap(),
            ],
            None,
        )
        .unwrap();
    let policies: PolicySet = text.parse().unwrap();
    let ask = |field: &Field| {
        let context = [("purpose", uid("Purpose", why).unwrap()), ("env", env.clone()), ("record", returned.clone())];
        let context = context.map(|(name, uid)| (name.to_owned(), RestrictedExpression::new_entity_uid(uid)));
        let request = Request::new(
            uid("System", who).unwrap(),
            uid("Action", what).unwrap(),
            uid("Field", field.name.as_str()).unwrap(),
            Context::from_pairs(context).unwrap(),
            None,
        )
        .unwrap();
        let rung = |name: &str| match name {
            "match" => Some(field.masks.len() + 1),
            name => field.masks.iter().position(|mask| MaskKind::parse(name) == Some(*mask)).map(|at| at + 1),
        };
        let nothing = field.masks.len() + 2;
        let (mut best, mut cap) = (nothing, 0);
        for policy in policies.policies() {
            let alone = PolicySet::from_policies([policy.clone()]).unwrap();
            let response = Authorizer::new().is_authorized(&request, &alone, &entities);
            if response.diagnostics().errors().next().is_some() {
                return None;
            }
            let satisfied = response.diagnostics().reason().next().is_some();
            assert_eq!(satisfied && policy.effect() == Effect::Permit, response.decision() == Decision::Allow);
            match (satisfied, policy.effect()) {
                (false, _) => {}
                (true, Effect::Permit) => {
                    best = best.min(policy.annotation("mask").map_or(Some(0), rung).unwrap_or(nothing))
                }
                (true, Effect::Forbid) => {
                    let at = policy
                        .annotation("at_most")
                        .map_or(nothing, |name| rung(name).unwrap_or(field.masks.len() + 1));
                    cap = cap.max(at);
                }
            }
        }
        Some(best.max(cap))
    };
    operation.record.fields.iter().map(ask).collect()
}

#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) province: Option<&'static str>,
    pub(super) minor: Option<bool>,
    pub(super) deceased: bool,
}

impl Record {
    pub(super) fn json(&self) -> String {
        let province = self.province.map_or("null".to_owned(), |code| format!("\"{code}\""));
        let born = self.minor.map_or("\"unknown\"", |minor| if minor { "\"2020-05-05\"" } else { "\"1987-03-14\"" });
        let died = if self.deceased { "\"2025-05-05\"" } else { "null" };
        HOA.replace("\"province_code\":\"001\"", &format!("\"province_code\":{province}"))
            .replace("\"1987-03-14\"", born)
            .replace("\"date_of_death\":null", &format!("\"date_of_death\":{died}"))
    }
}

pub(crate) fn policy_text() -> impl Strategy<Value = String> {
    let principal = prop_oneof![
        Just(""),
        Just(" in Sector::\"tax\""),
        Just(" in Level::\"province\""),
        Just(" in Agency::\"hue\""),
        Just(" == System::\"tax/etax\""),
        Just(" is System in Sector::\"local\""),
    ];
    let action = prop_oneof![
        Just(" in Action::\"with-province\""),
        Just(" == Action::\"citizen.read\""),
        Just(" in [Action::\"citizen.read\", Action::\"citizen.lookup\"]"),
        Just(" == Action::\"citizen.lookup\""),
    ];
    let resource = prop_oneof![
        3 => Just(""),
        1 => Just(" in Group::\"identity\""),
        1 => Just(" == Field::\"Citizen.date_of_birth\""),
        1 => Just(" in Field::\"Citizen.permanent_residence\""),
        1 => Just(" in Class::\"sensitive\""),
        1 => Just(" in Group::\"civil\""),
    ];
    let conjunct = prop_oneof![
        3 => Just("context.purpose == Purpose::\"assessment\""),
        1 => Just("context.env.hour < 12"),
        1 => Just("context.env.claimed_user"),
        1 => Just("context.record.minor"),
        1 => Just("context.record.deceased"),
        1 => Just("(principal has province && context.record.province == principal.province)"),
        1 => Just("context.env.hour + 9223372036854775800 > 0"),
        1 => Just("resource in Group::\"identity\""),
        1 => Just("principal.sector == \"tax\""),
        1 => Just("!(context.record.province == \"001\" || context.env.hour > 20)"),
    ];
    let condition = (any::<bool>(), prop::collection::vec(conjunct, 1..3))
        .prop_map(|(when, all)| format!(" {} {{ {} }}", if when { "when" } else { "unless" }, all.join(" && ")));
    let force = prop_oneof![
        4 => Just(("", "permit")),
        1 => Just(("@mask(\"year\") ", "permit")),
        1 => Just(("@mask(\"month\") ", "permit")),
        1 => Just(("@mask(\"exists\") ", "permit")),
        1 => Just(("@mask(\"match\") ", "permit")),
        1 => Just(("", "forbid")),
        1 => Just(("@at_most(\"year\") ", "forbid")),
        1 => Just(("@at_most(\"exists\") ", "forbid")),
        1 => Just(("@at_most(\"match\") ", "forbid")),
    ];
    (force, principal, action, resource, prop::collection::vec(condition, 0..3)).prop_map(
        |((annotation, effect), principal, action, resource, conditions)| {
            format!(
                "{annotation}{effect}(principal{principal}, action{action}, resource{resource}){};\n",
                conditions.concat()
            )
        },
    )
}

/// Single-field scopes refuse masks that the field does not have; the oracle has nothing to say about what is refused.
pub(crate) fn loads(text: &str) -> bool {
    !(text.contains("== Field::\"Citizen.date_of_birth\"") && text.contains("\"exists\""))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn tables_decide_as_the_plain_authorizer_does_policy_by_policy(
        texts in prop::collection::vec(policy_text().prop_filter("loads", |text| loads(text)), 1..8),
        who in prop::sample::select(vec!["tax/etax", "tax/portal", "hanoi/desk", "hue/desk", "mobi/kyc"]),
        why in prop::sample::select(vec!["assessment", "residence"]),
        hour in 0i8..24,
        claimed_user in any::<bool>(),
        province in prop::sample::select(vec![Some("001"), Some("046"), None]),
        minor in prop::sample::select(vec![Some(true), Some(false), None]),
        deceased in any::<bool>(),
    ) {
        // The number is always shown, so that an answer shows something wherever it is not refused whole.
        let text: String = texts.iter().enumerate().map(|(at, text)| policy(&format!("p{at}"), text)).collect();
        let world = match World::load(&text) {
            Ok(world) => world,
            Err(problems) => return Err(TestCaseError::fail(show(&problems))),
        };
        let (env, record) = (Env { hour, claimed_user, ..ten() }, Record { province, minor, deceased });
        let expected = oracle(&text, who, "citizen.read", why, &env, &record);
        let fields = &world.contracts.operation("citizen.read").unwrap().record.fields;
        let on = |wanted: &dyn Fn(usize, &Field) -> bool| -> FieldSet {
            let rungs = fields.iter().zip(&expected);
            rungs.filter(|(field, rung)| rung.is_some_and(|rung| wanted(rung, field))).map(|(field, _)| field.index).collect()
        };
        let revealed = on(&|rung, _| rung == 0);
        // A birth date that is none has no month and no year: mistyped, not masked.
        let masked = on(&|rung, field| {
            (1..=field.masks.len()).contains(&rung) && !(minor.is_none() && field.path == ["date_of_birth"])
        });
        let usable = expected[0].is_some_and(|rung| rung <= fields[0].masks.len() + 1);
        match world.decide(who, "citizen.read", why, &[], env) {
            Err(Denial::Nothing) => prop_assert!(revealed.is_empty() && masked.is_empty(), "{revealed:?} {masked:?}"),
            Err(Denial::Parameter { .. }) => prop_assert!(!usable),
            Err(other) => return Err(TestCaseError::fail(format!("{other:?}"))),
            Ok(permit) => {
                let widest = permit.widest();
                prop_assert_eq!(widest.union(revealed).union(masked), widest);
                match open(permit, &record.json()) {
                    Ok(answer) => {
                        prop_assert!(usable);
                        prop_assert_eq!(answer.tally().revealed, revealed);
                        prop_assert_eq!(answer.tally().masked, masked);
                    }
                    Err(Unopened::NoMatch(Hidden::Record, _)) => {
                        prop_assert!(!usable || (revealed.is_empty() && masked.is_empty()), "{revealed:?} {masked:?}");
                    }
                    Err(other) => return Err(TestCaseError::fail(format!("{other:?}"))),
                }
            }
        }
    }
}
