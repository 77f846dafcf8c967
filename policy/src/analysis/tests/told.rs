//! What is told of one caller, and of one field.

use super::*;
use crate::engine::Fact;
use crate::engine::fixture::ten;
use crate::model::FieldIx;
use crate::permit::Env;

fn asked(bundle: &Bundle, who: &str, env: &Env, record: Option<&[Option<Fact<'_>>]>, field: u16) -> FieldExplained {
    let system = bundle.directory().systems().iter().find(|system| system.id.as_str() == who).unwrap();
    let situation = Situation {
        bundle,
        system,
        operation: bundle.contracts().operation("citizen.read").unwrap(),
        purpose: bundle.directory().purpose("assessment").unwrap(),
        env,
        record,
    };
    let mut explanation = explain(&situation, [FieldIx(field)].into_iter().collect()).unwrap();
    assert_eq!(explanation.disagreements, Vec::<String>::new());
    explanation.fields.remove(0)
}

/// `id state decides; each condition: what it is, and ! if it stops the policy`.
fn policies(field: &FieldExplained) -> Vec<String> {
    let condition = |condition: &ConditionExplained| {
        let ConditionExplained { kind, text, is, stops } = condition;
        format!("{}{kind} {text}: {is:?}", if *stops { "!" } else { "" })
    };
    let policy = |policy: &PolicyExplained| {
        let conditions: Vec<String> = policy.conditions.iter().map(condition).collect();
        let decides = if policy.decides { "*" } else { "" };
        format!(
            "{decides}{}:{} {} {:?} [{}]",
            policy.policy,
            policy.line,
            policy.effect,
            policy.state,
            conditions.join("; ")
        )
    };
    field.policies.iter().map(policy).collect()
}

const BIRTH: u16 = 2;

fn birth() -> Arc<Bundle> {
    bundle(&[
        (
            "all",
            "permit(principal in Agency::\"tax\", action, resource in Group::\"identity\") when { context.purpose == Purpose::\"assessment\" && context.env.hour >= 7 };",
        ),
        (
            "minors",
            "@at_most(\"year\") forbid(principal, action in Action::\"with-minor\", resource == Field::\"Citizen.date_of_birth\") when { context.record.minor } unless { principal in Sector::\"health\" || context.env.claimed_user };",
        ),
    ])
}

#[test]
fn the_condition_that_was_false_is_told() {
    let early = Env { hour: 6, ..ten() };
    let field = asked(&birth(), "tax/etax", &early, None, BIRTH);
    assert_eq!(
        (field.treatment.as_str(), field.because.as_str(), field.waits_for_record),
        ("withheld", "no permit applies", false)
    );
    assert!(
        policies(&field).contains(
            &"all:1 permits False [when context.purpose == Purpose::\"assessment\": True; !when context.env.hour >= 7: False]".to_owned()
        ),
        "{:?}",
        policies(&field)
    );
}

#[test]
fn without_a_record_what_waits_for_it_is_told() {
    let field = asked(&birth(), "tax/etax", &ten(), None, BIRTH);
    assert_eq!((field.treatment.as_str(), field.waits_for_record), ("revealed", true));
    assert_eq!(field.because, "the record decides, by `minors`");
    let waits = "*minors:3 allows at most masked (year) WaitsForRecord [when context.record.minor: WaitsForRecord; \
                 unless principal in Sector::\"health\": False; unless context.env.claimed_user: False]";
    assert!(policies(&field).contains(&waits.to_owned()), "{:?}", policies(&field));
    let user = Env { claimed_user: true, ..ten() };
    let settled = asked(&birth(), "tax/etax", &user, Some(&[None, Some(Fact::Truth(true)), None]), BIRTH);
    assert_eq!((settled.treatment.as_str(), settled.because.as_str()), ("revealed", "decided by `all`"));
}

#[test]
fn a_record_settles_it() {
    let record = |minor| [Some(Fact::Text("001")), minor, Some(Fact::Truth(false))];
    let of = |minor: Option<Fact<'static>>| asked(&birth(), "tax/etax", &ten(), Some(&record(minor)), BIRTH);
    let child = of(Some(Fact::Truth(true)));
    assert_eq!((child.treatment.as_str(), child.because.as_str()), ("masked (year)", "decided by `minors`"));
    assert_eq!(of(Some(Fact::Truth(false))).treatment, "revealed");
    let unknown = of(None);
    assert_eq!((unknown.treatment.as_str(), unknown.failed), ("withheld", true));
    assert_eq!(unknown.because, "withheld because `minors` failed");
}

#[test]
fn who_can_see_a_field_is_told_with_the_conditions() {
    let bundle = bundle(&[
        (
            "phone",
            "permit(principal in Sector::\"telecom\", action == Action::\"citizen.read\", resource == Field::\"Citizen.phone\") when { context.purpose == Purpose::\"subscriber\" && context.env.hour < 18 };",
        ),
        (
            "hint",
            "@mask(\"last3\") permit(principal in Sector::\"local\", action == Action::\"citizen.read\", resource == Field::\"Citizen.phone\") when { context.purpose == Purpose::\"residence\" };",
        ),
        (
            "dead",
            "forbid(principal, action == Action::\"citizen.read\", resource in Group::\"contact\") when { context.record.deceased };",
        ),
        ("elsewhere", "permit(principal, action == Action::\"citizen.read\", resource in Group::\"civil\");"),
        (
            "none",
            "permit(principal in Sector::\"health\", action == Action::\"citizen.read\", resource == Field::\"Citizen.phone\") when { context.purpose != context.purpose };",
        ),
    ]);
    let found = who(&bundle, &|field| field.name.as_str() == "Citizen.phone");
    let said: Vec<String> = found
        .iter()
        .map(|access| {
            let policies: Vec<&str> = access.policies.iter().map(|policy| policy.policy.as_str()).collect();
            let purposes: Vec<&str> = access.purposes.iter().map(String::as_str).collect();
            format!("{} for {}: {} by {}", access.whom, purposes.join(" "), access.shown, policies.join(" "))
        })
        .collect();
    assert_eq!(
        said,
        [
            "2 local agencies for residence: masked (last3) (not record.deceased) by dead hint",
            "mobi for subscriber: revealed (00:00-18:00 and not record.deceased) by dead phone",
        ]
    );
    assert!(found.iter().all(|access| access.unsure.is_empty()));
}

#[test]
fn who_may_see_a_field_is_not_nobody_where_that_is_not_known() {
    let like = |more: &str| {
        bundle(&[(
            "odd",
            &format!(
                "{PHONE} when {{ context.env has claimed_assurance && context.env.claimed_assurance like \"high*\" {more} }};"
            ),
        )])
    };
    let phone = |bundle: &Bundle| who(bundle, &|field| field.name.as_str() == "Citizen.phone");
    // Some text is as both say, and none that was tried.
    let found = phone(&like("&& context.env.claimed_assurance like \"*-2\""));
    let [access] = found.as_slice() else { panic!("{found:?}") };
    assert!(access.shown.is_nothing() && access.systems.contains("mobi/kyc"), "{access:?}");
    assert_eq!(access.unsure.iter().collect::<Vec<_>>(), ["`claimed_assurance` is compared with a pattern"]);
    assert!(access.policies.iter().any(|policy| policy.policy == "odd"));
    // What can be neither shown nor asked about is known never to be.
    let unasked = bundle(&[(
        "odd",
        "permit(principal, action == Action::\"citizen.verify\", resource == Field::\"Citizen.religion\") \
         when { context.env has claimed_assurance && context.env.claimed_assurance like \"h*\" };",
    )]);
    assert!(who(&unasked, &|field| field.name.as_str() == "Citizen.religion").is_empty());
}
