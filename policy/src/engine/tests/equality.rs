//! Promise: what is compiled decides as Cedar's own authorizer does, policy by policy and field by field, whatever contracts, directory,
//! policies, circumstances and records are.
//!
//! `POPGATE_COMPARISONS` asks for more than the 100,000 fields that are compared by default, `POPGATE_SEED` for one world again.

use std::collections::{HashMap, HashSet};

use cedar_policy::{Authorizer, Context, Effect, Entities, Entity, PolicySet, Request, RestrictedExpression};

use super::super::{Engine, Fact, Ladder};
use crate::bundle::{Bundle, Source};
use crate::cedar::{Rule, entity, record_type, uid};
use crate::contract::{Field, Operation};
use crate::directory::{Purpose, System};
use crate::model::{MaskKind, Treatment};
use crate::permit::Env;
use dice::Dice;

mod dice;
mod policies;
mod world;

#[test]
#[expect(clippy::print_stderr, reason = "how much was compared is what one runs it for")]
fn compiled_policies_decide_as_the_plain_authorizer_does() {
    let wanted: usize = std::env::var("POPGATE_COMPARISONS").map_or(100_000, |text| text.parse().unwrap());
    let only: Option<u64> = std::env::var("POPGATE_SEED").ok().map(|text| text.parse().unwrap());
    let (mut compared, mut seed, mut failing, mut shown) = (0, only.unwrap_or(1), 0, 0);
    while compared < wanted {
        let mut dice = Dice::new(seed);
        let source = world::source(&mut dice);
        let loaded = Bundle::load(&source).unwrap_or_else(|problems| panic!("seed {seed}: {problems:#?}"));
        let mut ask = |bundle: &Bundle, source: &Source, dice: &mut Dice| {
            for _ in 0..POINTS {
                let point = Point::random(bundle, dice);
                if let Err(wrong) = point.compare(bundle, &mut compared, &mut failing, &mut shown) {
                    let fewer = fewest(source, &point);
                    panic!("seed {seed}: {wrong}\n{point:#?}\n{fewer}");
                }
            }
        };
        ask(&loaded.bundle, &source, &mut dice);
        // What is kept of the bundle before makes no difference.
        let edited = world::edited(&source, &mut dice);
        let after = Bundle::load_after(&edited, (&source, &loaded.bundle)).unwrap();
        let anew = Bundle::load(&edited).unwrap();
        assert_eq!(after.warnings, anew.warnings, "seed {seed}");
        ask(&after.bundle, &edited, &mut dice);
        seed += 1;
        if only.is_some() {
            break;
        }
    }
    eprintln!("{compared} fields compared in {seed} worlds: {shown} shown, {failing} withheld by a policy that failed");
    assert!(only.is_some() || (failing > compared / 100 && shown > compared / 10), "the worlds say too little");
}

#[test]
fn an_agency_that_moved_is_not_decided_by_its_old_table() {
    let mut source = world::source(&mut Dice::new(1));
    let agency = |province: &str| {
        format!(
            "name = {{ vi = \"a0\", en = \"a0\" }}\nsector = \"tax\"\nlevel = \"province\"\nprovince = \"{province}\"\n\
             purposes = [\"assessment\"]\n[systems.s0]\nidentity = \"spiffe://gov.vn/a0/s0\"\n\
             limits = {{ rate = \"1/s\", burst = 1, concurrent = 1 }}\n"
        )
    };
    // A set with something late in it has no form of its own: it is left to Cedar, with the caller in it.
    let policies = r#"
        @id("all") @basis("Law") permit(principal, action, resource);
        @id("home") @basis("Law") forbid(principal, action, resource)
        unless { principal has province && [context.record.province].contains(principal.province) };
    "#;
    source.files.insert("policies/all.cedar".into(), policies.into());
    source.files.insert("agencies/a0.toml".into(), agency("001"));
    let before = Bundle::load(&source).unwrap().bundle;
    let mut moved = source.clone();
    moved.files.insert("agencies/a0.toml".into(), agency("046"));
    let compare = |bundle: &Bundle, province: &str| {
        let mut point = Point::random(bundle, &mut Dice::new(1));
        (point.system, point.purpose) = ("a0/s0".into(), "assessment".into());
        let (_, operation, _) = point.parts(bundle);
        let at = operation.record.attributes.iter().position(|attribute| attribute.name == "province").unwrap();
        point.facts[at] = Some(Said::Text(province.into()));
        let mut shown = 0;
        point.compare(bundle, &mut 0, &mut 0, &mut shown).unwrap();
        shown
    };
    assert!(compare(&before, "001") > 0 && compare(&before, "046") == 0);
    let after = Bundle::load_after(&moved, (&source, &before)).unwrap().bundle;
    assert!(compare(&after, "001") == 0 && compare(&after, "046") > 0);
}

/// One question, by names, so that it can be put to a smaller bundle.
#[derive(Debug)]
struct Point {
    system: String,
    operation: String,
    purpose: String,
    env: Env,
    facts: Vec<Option<Said>>,
}

/// What a record says of itself.
#[derive(Clone, Debug)]
enum Said {
    Text(String),
    Truth(bool),
}

impl Said {
    fn fact(&self) -> Fact<'_> {
        match self {
            Self::Text(text) => Fact::Text(text),
            Self::Truth(truth) => Fact::Truth(*truth),
        }
    }
}

impl Point {
    fn random(bundle: &Bundle, dice: &mut Dice) -> Self {
        let operation = dice.of(bundle.contracts().operations());
        let purposes: Vec<&Purpose> = bundle.directory().purposes().map(|purpose| &**purpose).collect();
        let fact = |dice: &mut Dice, text: bool| {
            (!dice.one_in(6)).then(|| match text {
                true => Said::Text(world::text(dice)),
                false => Said::Truth(dice.one_in(2)),
            })
        };
        let attributes = &operation.record.attributes;
        Self {
            system: dice.of(bundle.directory().systems()).id.to_string(),
            operation: operation.id.to_string(),
            purpose: dice.of(&purposes).id.to_string(),
            env: Env {
                date: jiff::civil::date(2026, 11, 18).saturating_add(jiff::Span::new().days(dice.below(9))),
                hour: i8::try_from(dice.below(24)).unwrap(),
                minute: i8::try_from(dice.below(60)).unwrap(),
                source: dice.of(&world::ADDRESSES).parse().unwrap(),
                claimed_assurance: (!dice.one_in(3)).then(|| (*dice.of(&world::LEVELS)).to_owned()),
                claimed_user: dice.one_in(2),
                claimed_case: dice.one_in(2),
            },
            facts: attributes
                .iter()
                .map(|attribute| fact(dice, matches!(attribute.derive, crate::contract::Derive::Value)))
                .collect(),
        }
    }

    fn parts<'b>(&self, bundle: &'b Bundle) -> (&'b System, &'b Operation, &'b Purpose) {
        let system = bundle.directory().systems().iter().find(|system| system.id.as_str() == self.system).unwrap();
        (
            system,
            bundle.contracts().operation(&self.operation).unwrap(),
            bundle.directory().purpose(&self.purpose).unwrap(),
        )
    }

    fn compare(
        &self,
        bundle: &Bundle,
        compared: &mut usize,
        failing: &mut usize,
        shown: &mut usize,
    ) -> Result<(), String> {
        let (system, operation, purpose) = self.parts(bundle);
        let trial = bundle.trial(system, operation, &purpose.id, &self.env).unwrap();
        let facts: Vec<Option<Fact<'_>>> = self.facts.iter().map(|said| said.as_ref().map(Said::fact)).collect();
        let decided = trial.of(&facts);
        let oracle = Oracle::new(bundle.engine(), self, operation);
        for field in &operation.record.fields {
            *compared += 1;
            let (got, ladder) = (decided.treatment(field.index), Ladder::of(field));
            let said_to_fail = decided.errors().contains(field.index);
            let expected = oracle.field(field);
            match expected {
                Some(expected) if got != expected => {
                    return Err(format!("{}: {got:?}, and Cedar says {expected:?}", field.name));
                }
                Some(_) if said_to_fail => return Err(format!("{}: no policy fails for it", field.name)),
                None if got != Treatment::Withhold => {
                    return Err(format!("{}: {got:?}, and a policy fails", field.name));
                }
                _ => {}
            }
            if ladder.rank(got) < ladder.rank(trial.most(field.index)) {
                return Err(format!("{}: {got:?} is more than was to be expected before the record", field.name));
            }
            *failing += usize::from(expected.is_none());
            *shown += usize::from(expected.is_some_and(|it| it != Treatment::Withhold));
        }
        Ok(())
    }
}

/// The policies that are needed to see the difference, and what they say.
fn fewest(source: &Source, point: &Point) -> String {
    let mut policies: Vec<String> =
        source.files["policies/all.cedar"].split_inclusive(";\n").map(str::to_owned).collect();
    let differs = |policies: &[String]| {
        let mut source = source.clone();
        source.files.insert("policies/all.cedar".into(), policies.concat());
        Bundle::load(&source).is_ok_and(|loaded| point.compare(&loaded.bundle, &mut 0, &mut 0, &mut 0).is_err())
    };
    let mut at = 0;
    while at < policies.len() {
        let mut fewer = policies.clone();
        fewer.remove(at);
        if differs(&fewer) { policies = fewer } else { at += 1 }
    }
    policies.concat()
}

/// Cedar's own authorizer, asked about each policy alone.
struct Oracle<'b> {
    rules: Vec<(&'b Rule, PolicySet)>,
    entities: Entities,
    ask: Box<dyn Fn(&Field) -> Request + 'b>,
}

impl<'b> Oracle<'b> {
    fn new(engine: &'b Engine, point: &'b Point, operation: &'b Operation) -> Self {
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let env = &point.env;
        let minutes = i64::from(env.hour) * 60 + i64::from(env.minute);
        let mut circumstances = HashMap::from(
            [
                ("today", RestrictedExpression::new_datetime(env.date.to_string())),
                ("weekday", RestrictedExpression::new_long(env.date.weekday().to_monday_one_offset().into())),
                ("hour", RestrictedExpression::new_long(env.hour.into())),
                ("minute_of_day", RestrictedExpression::new_long(minutes)),
                ("source", RestrictedExpression::new_ip(env.source.to_string())),
                ("claimed_user", RestrictedExpression::new_bool(env.claimed_user)),
                ("claimed_case", RestrictedExpression::new_bool(env.claimed_case)),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        circumstances.extend(env.claimed_assurance.as_deref().map(|said| ("claimed_assurance".to_owned(), text(said))));
        let attributes = operation.record.attributes.iter().zip(&point.facts).filter_map(|(attribute, said)| {
            let value = match said.as_ref()? {
                Said::Text(said) => text(said),
                Said::Truth(truth) => RestrictedExpression::new_bool(*truth),
            };
            Some((attribute.name.clone(), value))
        });
        let (now, it) = (uid("Env", "now").unwrap(), uid(&record_type(&operation.record), "it").unwrap());
        let made: [Entity; 2] = [
            entity(now.clone(), circumstances, HashSet::new()).unwrap(),
            entity(it.clone(), attributes.collect(), HashSet::new()).unwrap(),
        ];
        let in_force = |rule: &&Rule| {
            rule.validity.from.is_none_or(|day| day <= env.date)
                && rule.validity.until.is_none_or(|day| env.date <= day)
        };
        let alone = |rule: &'b Rule| (rule, PolicySet::from_policies([rule.written.clone()]).unwrap());
        let ask = move |field: &Field| {
            let context =
                [("purpose", uid("Purpose", &point.purpose).unwrap()), ("env", now.clone()), ("record", it.clone())];
            let context = context.map(|(name, uid)| (name.to_owned(), RestrictedExpression::new_entity_uid(uid)));
            Request::new(
                uid("System", &point.system).unwrap(),
                uid("Action", &point.operation).unwrap(),
                uid("Field", field.name.as_str()).unwrap(),
                Context::from_pairs(context).unwrap(),
                None,
            )
            .unwrap()
        };
        Self {
            rules: engine.rules.iter().filter(in_force).map(alone).collect(),
            entities: engine.model.entities.clone().add_entities(made, None).unwrap(),
            ask: Box::new(ask),
        }
    }

    /// What the field gets by the design's words; `None` if a policy fails.
    fn field(&self, field: &Field) -> Option<Treatment> {
        let rungs: Vec<Treatment> = std::iter::once(Treatment::Reveal)
            .chain(field.masks.iter().map(|mask| Treatment::Mask(*mask)))
            .chain([Treatment::Match, Treatment::Withhold])
            .collect();
        let (nothing, least) = (rungs.len() - 1, rungs.len() - 2);
        let rung = |name: &str| match name {
            "match" => Some(least),
            name => rungs.iter().position(|it| MaskKind::parse(name).is_some_and(|mask| *it == Treatment::Mask(mask))),
        };
        let request = (self.ask)(field);
        let (mut best, mut cap) = (nothing, 0);
        for (rule, policies) in &self.rules {
            let response = Authorizer::new().is_authorized(&request, policies, &self.entities);
            if response.diagnostics().errors().next().is_some() {
                return None;
            }
            if response.diagnostics().reason().next().is_none() {
                continue;
            }
            match rule.written.effect() {
                Effect::Permit => {
                    best = best.min(rule.written.annotation("mask").map_or(Some(0), rung).unwrap_or(nothing));
                }
                Effect::Forbid => {
                    let most = rule.written.annotation("at_most");
                    cap = cap.max(most.map_or(nothing, |name| rung(name).unwrap_or(least)));
                }
            }
        }
        Some(rungs[best.max(cap)])
    }
}

/// Questions put to each world.
const POINTS: usize = 30;
