//! The comparison against brute force: random pairs of policies, every point of a grid that is finer than any of their conditions.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::engine::Fact;
use crate::engine::fixture::{show, ten};
use crate::engine::tests::oracle::{loads, policy_text};
use crate::model::Treatment;
use crate::permit::Env;

fn grid() -> Vec<(Env, [Option<Fact<'static>>; 3])> {
    let mut points = Vec::new();
    for hour in [0, 7, 8, 11, 12, 20, 21] {
        for claimed_user in [true, false] {
            for province in [Some("001"), Some("046"), Some("079"), None] {
                for minor in [Some(true), Some(false), None] {
                    for deceased in [Some(true), Some(false), None] {
                        let facts = [province.map(Fact::Text), minor.map(Fact::Truth), deceased.map(Fact::Truth)];
                        points.push((Env { hour, claimed_user, ..ten() }, facts));
                    }
                }
            }
        }
    }
    points
}

fn rank(field: &crate::contract::Field, treatment: Treatment) -> usize {
    crate::engine::Ladder::of(field).rank(treatment).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_comparison_says_what_brute_force_finds(
        texts in prop::collection::vec(policy_text().prop_filter("loads", |text| loads(text)), 2..6),
        drop in any::<prop::sample::Index>(),
        other in policy_text().prop_filter("loads", |text| loads(text)),
        who in prop::sample::select(vec!["tax/etax", "hanoi/desk", "hue/desk", "mobi/kyc"]),
        why in prop::sample::select(vec!["assessment", "residence"]),
        what in prop::sample::select(vec!["citizen.read", "citizen.lookup"]),
    ) {
        let load = |texts: &[String]| -> Result<Arc<Bundle>, TestCaseError> {
            let text: String = texts.iter().enumerate().map(|(at, text)| policy(&format!("p{at}"), text)).collect();
            let world = World::load(&text).map_err(|problems| TestCaseError::fail(show(&problems)))?;
            Ok(of(world, &text))
        };
        let mut changed = texts.clone();
        let at = drop.index(changed.len());
        changed[at] = other;
        let (old, new) = (load(&texts)?, load(&changed)?);
        let found = diff(&old, &new);
        prop_assert!(found.changes.iter().chain(&found.unsure).all(|change| change.unsure.is_empty()), "all of this is exact");
        let operation = old.contracts().operation(what).unwrap();
        let purpose = &old.directory().purpose(why).unwrap().id;
        let system = old.directory().systems().iter().find(|system| system.id.as_str() == who).unwrap();
        let mut brute = vec![(false, false); operation.record.fields.len()];
        for (env, facts) in grid() {
            let decided = [&old, &new].map(|bundle| bundle.trial(system, operation, purpose, &env).unwrap().of(&facts));
            for (field, brute) in operation.record.fields.iter().zip(&mut brute) {
                // A match without a parameter that asks is nothing.
                let asked = operation.parameters.iter().any(|parameter| parameter.field == field.index);
                let shown = |treatment| if treatment == Treatment::Match && !asked { Treatment::Withhold } else { treatment };
                let [before, after] = decided.each_ref().map(|decided| rank(field, shown(decided.treatment(field.index))));
                brute.0 |= after < before;
                brute.1 |= after > before;
            }
        }
        for (field, brute) in operation.record.fields.iter().zip(brute) {
            let about = found.changes.iter().filter(|change| {
                change.systems.contains(who) && change.operations.contains(what) && change.purposes.contains(why)
                    && change.fields.contains(field.name.as_str())
            });
            let said = about.fold((false, false), |said, change| {
                let (wider, narrower) = match change.direction {
                    Direction::Widens => (true, false),
                    Direction::Narrows => (false, true),
                    Direction::Both => (true, true),
                    Direction::None => (false, false),
                };
                (said.0 | wider, said.1 | narrower)
            });
            prop_assert_eq!(said, brute, "{}", field.name);
        }
        let any_wider = found.changes.iter().any(|change| change.direction != Direction::Narrows);
        prop_assert_eq!(found.verdict == Verdict::Widens, any_wider);
    }
    #[test]
    fn tables_and_explanations_agree(
        texts in prop::collection::vec(policy_text().prop_filter("loads", |text| loads(text)), 1..6),
        who in prop::sample::select(vec!["tax/etax", "hanoi/desk", "hue/desk", "mobi/kyc"]),
        why in prop::sample::select(vec!["assessment", "residence"]),
        what in prop::sample::select(vec!["citizen.read", "citizen.lookup"]),
        points in prop::collection::vec(prop::sample::select(grid()), 1..6),
    ) {
        let text: String = texts.iter().enumerate().map(|(at, text)| policy(&format!("p{at}"), text)).collect();
        let world = World::load(&text).map_err(|problems| TestCaseError::fail(show(&problems)))?;
        let bundle = of(world, &text);
        let operation = bundle.contracts().operation(what).unwrap();
        let purpose = bundle.directory().purpose(why).unwrap();
        let system = bundle.directory().systems().iter().find(|system| system.id.as_str() == who).unwrap();
        let all = operation.record.fields.iter().map(|field| field.index).collect();
        for (env, facts) in &points {
            for record in [None, Some(&facts[..])] {
                let situation = Situation { bundle: &bundle, system, operation, purpose, env, record };
                let explanation = explain(&situation, all).unwrap();
                prop_assert_eq!(&explanation.disagreements, &Vec::<String>::new());
                for field in &explanation.fields {
                    let decides = field.policies.iter().any(|policy| policy.decides);
                    prop_assert!(decides || field.because.starts_with("no permit "), "{field:?}");
                }
            }
        }
    }
}
