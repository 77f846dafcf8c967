//! Changes of bundles whose meaning is known beforehand.

use std::sync::Arc;

use super::*;
use crate::bundle::Bundle;
use crate::engine::fixture::{World, contracts, directory, policy};

mod contracts;
mod masks;
mod random;
mod told;

pub(super) fn bundle(policies: &[(&str, &str)]) -> Arc<Bundle> {
    let text: String = policies.iter().map(|(id, rest)| policy(id, rest)).collect();
    of(World::new(&text), &text)
}

fn of(world: World, text: &str) -> Arc<Bundle> {
    Bundle::of_parts(text, world.contracts, world.directory, world.engine)
}

/// The changes in short: `direction whom | operations | purposes | fields | before -> after`.
fn said(diff: &Diff) -> Vec<String> {
    let list = |names: &std::collections::BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(" ");
    let change = |change: &Change| {
        let Change { direction, whom, operations, purposes, fields, before, after, .. } = change;
        format!(
            "{direction:?} {whom} | {} | {} | {} | {before} -> {after}",
            list(operations),
            list(purposes),
            list(fields)
        )
    };
    diff.changes.iter().map(change).collect()
}

const PHONE: &str = "permit(principal in Sector::\"telecom\", action == Action::\"citizen.read\", resource == Field::\"Citizen.phone\")";

#[test]
fn another_text_of_the_same_meaning_is_equal() {
    let old = bundle(&[
        ("a", &format!("{PHONE} when {{ context.env.hour >= 7 && context.env.hour < 18 }};")),
        ("b", "permit(principal in Agency::\"tax\", action, resource in Group::\"identity\");"),
    ]);
    let new = bundle(&[
        ("other", &format!("{PHONE} unless {{ context.env.minute_of_day < 420 || context.env.hour > 17 }};")),
        ("b", "permit(principal in Sector::\"tax\", action, resource in Group::\"identity\");"),
    ]);
    let found = diff(&old, &new);
    assert_eq!((found.verdict, found.same_files), (Verdict::Equal, false), "{:?}", said(&found));
    assert!(found.changes.is_empty() && found.unsure.is_empty());
    assert!(diff(&old, &old).same_files);
}

#[test]
fn a_mask_that_goes_widens_and_one_that_comes_narrows() {
    let masked = bundle(&[("a", &format!("@mask(\"last3\") {PHONE};"))]);
    let clear = bundle(&[("a", &format!("{PHONE};"))]);
    let found = diff(&masked, &clear);
    assert_eq!(found.verdict, Verdict::Widens);
    assert_eq!(
        said(&found),
        [
            "Widens mobi | citizen.read | assessment residence subscriber treatment | Citizen.phone | masked (last3) -> revealed"
        ]
    );
    let changed = Because::Changed { policy: "a".into(), place: "policies/test.cedar:1".into() };
    assert_eq!(found.changes[0].because.iter().collect::<Vec<_>>(), [&changed]);
    assert_eq!(diff(&clear, &masked).verdict, Verdict::Narrows);
}

#[test]
fn a_condition_is_told_in_words_before_and_after() {
    let condition = |condition: &str| bundle(&[("a", &format!("{PHONE} when {{ {condition} }};"))]);
    let words = |old: &str, new: &str| {
        let found = diff(&condition(old), &condition(new));
        let [change] = found.changes.as_slice() else { panic!("{:?}", said(&found)) };
        (change.direction, change.before.to_string(), change.after.to_string())
    };
    let revealed = |when: &str| format!("revealed ({when})");
    assert_eq!(
        words("context.env.hour >= 7 && context.env.hour < 18", "true"),
        (Direction::Widens, revealed("07:00-18:00"), "revealed".into())
    );
    assert_eq!(
        words(
            "context.env.hour < 6 || context.env.minute_of_day >= 1290",
            "context.env.hour >= 6 && context.env.hour < 22"
        ),
        (Direction::Both, revealed("21:30-06:00"), revealed("06:00-22:00"))
    );
    assert_eq!(
        words("context.env.claimed_user && context.env.claimed_case", "context.env.claimed_user"),
        (Direction::Widens, revealed("an end user is named and a case is named"), revealed("an end user is named"))
    );
    assert_eq!(
        words(
            "context.env.source.isInRange(ip(\"10.0.0.0/8\")) || context.env.source.isInRange(ip(\"fd00::/8\"))",
            "context.env.source.isInRange(ip(\"10.2.0.0/16\"))"
        ),
        (Direction::Narrows, revealed("from 10.0.0.0/8 or fd00::/8"), revealed("from 10.2.0.0/16"))
    );
    assert_eq!(
        words(
            "context.env.source.isInRange(ip(\"10.2.0.0/16\"))",
            "context.env.source.isInRange(ip(\"10.0.0.0/8\")) && !context.env.source.isInRange(ip(\"10.2.0.0/16\"))"
        ),
        (Direction::Both, revealed("from 10.2.0.0/16"), revealed("from 10.0.0.0/8 but not 10.2.0.0/16"))
    );
    assert_eq!(
        words(
            "context.env has claimed_assurance && context.env.claimed_assurance == \"high\"",
            "context.env has claimed_assurance && [\"high\", \"substantial\"].contains(context.env.claimed_assurance)"
        ),
        (
            Direction::Widens,
            revealed("claimed assurance is `high`"),
            revealed("claimed assurance is `high` or `substantial`")
        )
    );
    assert_eq!(
        words("context.env.weekday <= 5", "context.env.weekday <= 5 && context.env.today < datetime(\"2027-01-01\")"),
        (Direction::Narrows, revealed("Mon-Fri"), revealed("Mon-Fri until 2026-12-31"))
    );
    assert_eq!(
        words("!context.record.minor", "!context.record.minor || context.env.hour == 9"),
        (
            Direction::Widens,
            revealed("not record.minor"),
            revealed("not record.minor; or 09:00-10:00 and record.minor is known")
        )
    );
}

#[test]
fn the_validity_of_a_policy_is_a_condition_like_another() {
    let until = |day: &str| bundle(&[("a", &format!("@valid_until(\"{day}\") {PHONE};"))]);
    let found = diff(&until("2026-12-31"), &until("2027-12-31"));
    assert_eq!(found.verdict, Verdict::Widens);
    assert_eq!(found.changes[0].before.to_string(), "revealed (until 2026-12-31)");
    assert_eq!(found.changes[0].after.to_string(), "revealed (until 2027-12-31)");
}

#[test]
fn a_province_is_compared_with_the_agencys_own() {
    let own =
        "permit(principal in Level::\"province\", action == Action::\"citizen.read\", resource in Group::\"contact\")
               when { principal has province && context.record.province == principal.province };";
    let any =
        "permit(principal in Level::\"province\", action == Action::\"citizen.read\", resource in Group::\"contact\");";
    let found = diff(&bundle(&[("a", own)]), &bundle(&[("a", any)]));
    assert_eq!(found.verdict, Verdict::Widens);
    let [change] = found.changes.as_slice() else { panic!("{:?}", said(&found)) };
    assert_eq!(change.whom, "2 local agencies");
    assert_eq!(change.before.to_string(), "revealed (record.province is the agency's own province)");
}

#[test]
fn what_an_answer_cannot_hold_is_no_difference() {
    // Answers of yes or no, about fields that a parameter claims.
    let verify = |mask: &str, field: &str| {
        bundle(&[(
            "a",
            &format!(
                "{mask} permit(principal in Sector::\"telecom\", action == Action::\"citizen.verify\", resource == Field::\"{field}\");"
            ),
        )])
    };
    assert_eq!(
        diff(&verify("@mask(\"match\")", "Citizen.phone"), &verify("", "Citizen.phone")).verdict,
        Verdict::Equal
    );
    let nothing =
        bundle(&[("other", "permit(principal, action == Action::\"line.read\", resource == Field::\"Line.id\");")]);
    let with = |text: &str| {
        bundle(&[
            ("other", "permit(principal, action == Action::\"line.read\", resource == Field::\"Line.id\");"),
            ("a", text),
        ])
    };
    let religion = "permit(principal, action == Action::\"citizen.verify\", resource == Field::\"Citizen.religion\");";
    assert_eq!(diff(&nothing, &with(religion)).verdict, Verdict::Equal);
    let phone = "permit(principal, action == Action::\"citizen.verify\", resource == Field::\"Citizen.phone\");";
    assert_eq!(diff(&nothing, &with(phone)).verdict, Verdict::Widens);
}

#[test]
fn sensitive_fields_that_widen_are_named() {
    let all = |group: &str| {
        bundle(&[
            ("a", &format!("{PHONE};")),
            (
                "b",
                &format!(
                    "permit(principal in Agency::\"tax\", action == Action::\"citizen.read\", resource in Group::\"{group}\");"
                ),
            ),
        ])
    };
    assert_eq!(diff(&all("civil"), &all("belief")).sensitive, ["Citizen.religion"]);
    assert_eq!(diff(&all("belief"), &all("civil")).sensitive, Vec::<String>::new());
}

#[test]
fn a_comparison_that_is_not_exact_says_so() {
    let like = |pattern: &str| {
        bundle(&[(
            "a",
            &format!(
                "{PHONE} when {{ context.env has claimed_assurance && context.env.claimed_assurance like \"{pattern}\" }};"
            ),
        )])
    };
    // One text was found that gets less; whether another gets more is not known.
    let found = diff(&like("high*"), &like("high-*"));
    assert_eq!(
        (found.verdict, found.changes[0].direction),
        (Verdict::Undecided, Direction::Narrows),
        "{:?}",
        said(&found)
    );
    assert_eq!(found.changes[0].unsure.iter().collect::<Vec<_>>(), ["`claimed_assurance` is compared with a pattern"]);
    assert_eq!(diff(&like("high-*"), &like("high*")).verdict, Verdict::Widens);
    // Nothing that was tried tells these apart.
    let found = diff(&like("h*"), &like("h**"));
    assert_eq!(
        (found.verdict, found.changes.len(), found.unsure.len()),
        (Verdict::Undecided, 0, 1),
        "{:?}",
        said(&found)
    );
    let unchanged = diff(
        &like("*h*"),
        &bundle(&[(
            "renamed",
            &format!(
                "{PHONE} when {{ context.env has claimed_assurance && context.env.claimed_assurance like \"*h*\" }};"
            ),
        )]),
    );
    assert_eq!(unchanged.verdict, Verdict::Equal, "the same policy is the same");
}

#[test]
fn a_field_that_joins_a_group_widens() {
    let text = policy(
        "a",
        "permit(principal in Agency::\"tax\", action == Action::\"line.read\", resource in Group::\"identity\");",
    );
    let old = of(World::new(&text), &text);
    let mut regrouped = contracts();
    regroup(&mut regrouped, "Line.phone", "identity");
    let new = of(World::with(regrouped, directory(), &text).unwrap(), "regrouped");
    let found = diff(&old, &new);
    assert_eq!(found.verdict, Verdict::Widens);
    assert_eq!(
        said(&found),
        ["Widens tax | line.read | assessment residence subscriber treatment | Line.phone | withheld -> revealed"]
    );
}

#[test]
fn enrolments_and_agencies_are_compared_too() {
    let text = policy("a", &format!("{PHONE};"));
    let old = of(World::new(&text), &text);
    let changed = |change: &dyn Fn(&mut crate::directory::Directory)| {
        let mut directory = directory();
        change(&mut directory);
        let new = of(World::with(contracts(), directory, &text).unwrap(), "changed");
        (diff(&old, &new), diff(&new, &old))
    };
    // The clinic becomes a telecom.
    let (found, back) = changed(&|directory| {
        let at = directory.systems.len() - 1;
        let mut system = (*directory.systems[at]).clone();
        let mut agency = (*system.agency).clone();
        agency.sector = "telecom".into();
        system.agency = Arc::new(agency);
        directory.agencies.insert(system.agency.id.clone(), Arc::clone(&system.agency));
        directory.systems[at] = Arc::new(system);
    });
    assert_eq!((found.verdict, back.verdict), (Verdict::Widens, Verdict::Narrows));
    assert!(said(&found)[0].starts_with("Widens clinic | citizen.read"), "{:?}", said(&found));
    // A telecom loses a purpose.
    let (found, back) = changed(&|directory| {
        let at = directory.systems.iter().position(|system| system.id.as_str() == "mobi/kyc").unwrap();
        let mut system = (*directory.systems[at]).clone();
        system.purposes.retain(|purpose| purpose.as_str() != "treatment");
        directory.systems[at] = Arc::new(system);
    });
    assert_eq!((found.verdict, back.verdict), (Verdict::Narrows, Verdict::Widens));
    assert_eq!(said(&found), ["Narrows mobi | citizen.read | treatment | Citizen.phone | revealed -> withheld"]);
    assert_eq!(found.changes[0].because.iter().collect::<Vec<_>>(), [&Because::Enrolment]);
    // Networks, certificates, requirements.
    let (found, back) = changed(&|directory| {
        let mut system = (*directory.systems[0]).clone();
        system.networks = vec!["10.0.0.0/8".parse().unwrap()];
        directory.systems[0] = Arc::new(system);
    });
    assert_eq!((found.verdict, back.verdict), (Verdict::Narrows, Verdict::Widens));
    assert_eq!(found.aspects[0].said, "system `tax/etax` may come from 10.0.0.0/8 (was anywhere)");
    let (found, _) = changed(&|directory| {
        let purpose = directory.purposes.values().next().unwrap();
        let mut purpose = (**purpose).clone();
        purpose.requires = vec![crate::directory::Requirement::Case];
        directory.purposes.insert(purpose.id.clone(), Arc::new(purpose));
    });
    assert_eq!(
        (found.verdict, found.aspects[0].said.as_str()),
        (Verdict::Narrows, "purpose `assessment` now requires `case`")
    );
}

#[test]
fn only_what_the_policies_say_otherwise_is_left_to_a_solver() {
    let masked = bundle(&[
        ("a", &format!("@mask(\"last3\") {PHONE};")),
        ("b", "forbid(principal, action, resource in Group::\"civil\");"),
    ]);
    let clear =
        bundle(&[("z", "forbid(principal, action, resource in Group::\"civil\");"), ("a", &format!("{PHONE};"))]);
    let least = |wanted: &Obligations| {
        wanted.open.iter().map(|one| (one.operation.clone(), one.least.clone())).collect::<Vec<_>>()
    };
    let wider = obligations(&masked, &clear);
    // A mask was given before, by the same words; and the forbid is about other fields.
    assert_eq!(least(&wider), [("citizen.read".to_owned(), "revealed".to_owned())], "{wider:?}");
    assert!(wider.settled > 0 && wider.open[0].fields == ["Citizen.phone"]);
    assert_eq!(
        (wider.open[0].old.len(), wider.open[0].new.len()),
        (0, 2),
        "the permit, and that others are not asked about"
    );
    assert_eq!(wider.beyond.len(), 1, "neither contracts nor agencies changed: {:?}", wider.beyond);
    assert!(least(&obligations(&clear, &clear)).is_empty());
    // Where nothing is permitted, nothing is to be shown.
    let nothing = bundle(&[("b", "forbid(principal, action, resource in Group::\"civil\");")]);
    assert!(least(&obligations(&clear, &nothing)).is_empty());
    assert!(!least(&obligations(&nothing, &clear)).is_empty());
}

pub(super) fn regroup(contracts: &mut crate::contract::Contracts, field: &str, group: &str) {
    for operation in &mut contracts.operations {
        let mut changed = crate::contract::RecordSchema::clone(&operation.record);
        for known in changed.fields.iter_mut().filter(|known| known.name.as_str() == field) {
            known.group = crate::model::GroupId::new(group);
        }
        let record = Arc::new(changed);
        Arc::get_mut(operation).unwrap().record = record;
    }
    contracts.records = contracts.operations.iter().map(|operation| Arc::clone(&operation.record)).collect();
}
