//! What a solver has to show for "nobody sees more": about all requests that the schema allows, and any directory.
//!
//! A field gets at least some rung of its ladder where a permit of that rung or a better one is satisfied and no stricter forbid is. For
//! each rung this is a set of policies that Cedar itself could decide; that the new one implies the old one is what is to be shown.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::Serialize;
use serde_json::Value;

use super::scopes::{Numbering, Scopes};
use super::unknown::{conjuncts, disjuncts};
use super::words::treatment_words;
use crate::bundle::Bundle;
use crate::cedar::{Force, Lineage, Rule, schema_text, uid};
use crate::contract::Field;
use crate::directory::Directory;
use crate::engine::{Ladder, hides};
use crate::model::{MaskKind, OperationId, Treatment};

/// All that is to be shown.
#[derive(Clone, Debug, Serialize)]
pub struct Obligations {
    /// The Cedar schema that the policies are about: the new bundle's.
    #[serde(skip)]
    pub schema: String,
    /// What no comparison of texts settles.
    pub open: Vec<Obligation>,
    /// How many are settled, because the very same policies decide.
    pub settled: usize,
    /// What the proof does not speak of.
    pub beyond: Vec<String>,
    /// The fields of which one contract's order of masks does not settle what the other's policies give. `beyond` names them. Nothing is
    /// proven unless there is none.
    pub unordered: BTreeSet<String>,
}

/// One thing that is to be shown: whatever `new` allows, `old` allows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Obligation {
    /// The operation; the Cedar action.
    pub operation: String,
    /// What a field gets at least, such as `masked (year)`.
    pub least: String,
    /// The fields that have such a ladder.
    pub fields: Vec<String>,
    /// Policies in Cedar's syntax.
    #[serde(skip)]
    pub old: Vec<String>,
    /// Policies in Cedar's syntax; they allow nothing about other fields.
    #[serde(skip)]
    pub new: Vec<String>,
}

/// What must be shown for the new bundle to show nobody more than the old one.
pub fn obligations(old: &Bundle, new: &Bundle) -> Obligations {
    let mut numbering = Numbering::default();
    let scopes = [Scopes::of(old, &mut numbering), Scopes::of(new, &mut numbering)];
    let [old_scopes, new_scopes] = &scopes;
    let mut settled = 0;
    let mut unordered = BTreeSet::new();
    let mut open: BTreeMap<(OperationId, Least, Vec<u32>, Vec<u32>), Obligation> = BTreeMap::new();
    for operation in new.contracts().operations() {
        let Some((action, lineages)) = new.engine().lineages(operation) else { continue };
        let old_operation = old.contracts().operation(operation.id.as_str());
        let old_action = old_operation.and_then(|operation| Some(old.engine().lineages(operation)?.0));
        for (field, lineage) in operation.record.fields.iter().zip(lineages) {
            let before = old_action.map(|action| about(old, action, lineage)).unwrap_or_default();
            let after = about(new, action, lineage);
            let known = old_operation.and_then(|operation| operation.record.field_named(field.name.as_str()));
            if known.is_some_and(|known| !ordered(known, field, &before, &after)) {
                unordered.insert(field.name.to_string());
            }
            let ladder = Ladder::of(field);
            let masks = field.masks.iter().map(|mask| Treatment::Mask(*mask));
            for least in std::iter::once(Treatment::Reveal).chain(masks).chain([Treatment::Match]) {
                let [before, after] = [&before, &after].map(|rules| at_least(rules, &ladder, least));
                let (old_ids, new_ids) = (ids(old_scopes, &before), ids(new_scopes, &after));
                let forbids = |rules: &[Placed<'_>], scopes: &Scopes<'_>| {
                    ids(scopes, &rules.iter().filter(|(_, rule)| !permits(rule)).copied().collect::<Vec<_>>())
                };
                // Where every forbid is still there, what an old permit gives was given before.
                let new_forbids = forbids(&after, new_scopes);
                let kept = forbids(&before, old_scopes).iter().all(|forbid| new_forbids.contains(forbid));
                let is_old = |at: usize| new_scopes.wording(at).is_some_and(|identity| old_ids.contains(&identity));
                let after: Vec<Placed<'_>> =
                    after.into_iter().filter(|(at, rule)| !(kept && permits(rule) && is_old(*at))).collect();
                if !after.iter().any(|(_, rule)| permits(rule)) {
                    settled += 1;
                    continue;
                }
                let key = (operation.id.clone(), Least(treatment_words(least)), old_ids, new_ids);
                let obligation = open.entry(key).or_insert_with(|| Obligation {
                    operation: operation.id.to_string(),
                    least: treatment_words(least),
                    fields: Vec::new(),
                    old: texts(&before),
                    new: texts(&after),
                });
                obligation.fields.push(field.name.to_string());
            }
        }
    }
    let only = |obligation: Obligation| {
        let fields: Vec<String> = obligation.fields.iter().map(|field| format!("Field::{field:?}")).collect();
        let others =
            format!("forbid (principal, action, resource) unless {{ [{}].contains(resource) }};", fields.join(", "));
        Obligation { new: [obligation.new, vec![others]].concat(), ..obligation }
    };
    Obligations {
        schema: schema_text(new.contracts()),
        open: open.into_values().map(only).collect(),
        settled,
        beyond: beyond(old, new).into_iter().chain(unordered.iter().map(|field| beyond_order(field))).collect(),
        unordered,
    }
}

/// A treatment by its words, which have an order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Least(String);

type Placed<'a> = (usize, &'a Rule);

/// The policies that may be about an operation and a field of the new contract: those left out are not, whoever asks.
fn about<'a>(bundle: &'a Bundle, action: &Lineage, field: &Lineage) -> Vec<Placed<'a>> {
    let about = |rule: &Rule| {
        rule.scope.takes_action(action) && rule.scope.takes_resource(field) && !is_about_others(&rule.conditions, field)
    };
    bundle.engine().rules().iter().enumerate().filter(|(_, rule)| about(rule)).collect()
}

/// Whether a condition says that the policy is about other fields.
fn is_about_others(conditions: &Value, field: &Lineage) -> bool {
    let all = conditions.as_array().map(Vec::as_slice).unwrap_or_default();
    let whens = all.iter().filter(|condition| condition.get("kind").is_some_and(|kind| kind == "when"));
    let bodies = whens.filter_map(|condition| condition.get("body"));
    bodies.flat_map(conjuncts).any(|conjunct| of_resource(conjunct, field) == Some(false))
}

/// What an expression comes to that asks only which field it is; `None` for any other.
fn of_resource(body: &Value, field: &Lineage) -> Option<bool> {
    if let Some(within) = body.get("in") {
        if within.get("left")?.get("Var")? != "resource" {
            return None;
        }
        let right = within.get("right")?;
        let named = right.get("Set").and_then(Value::as_array).map_or_else(|| vec![right], |set| set.iter().collect());
        let named = named.into_iter().map(|entity| {
            let entity = entity.get("Value")?.get("__entity")?;
            uid(entity.get("type")?.as_str()?, entity.get("id")?.as_str()?).ok()
        });
        let named: Vec<_> = named.collect::<Option<_>>()?;
        return Some(field.all().any(|within| named.contains(within)));
    }
    let alternatives = disjuncts(body);
    if alternatives.len() < 2 {
        return None;
    }
    let all: Vec<bool> = alternatives.into_iter().map(|one| of_resource(one, field)).collect::<Option<_>>()?;
    Some(all.contains(&true))
}

/// Whether the new contract's ladder tells of both bundles' policies what they give.
fn ordered(old: &Field, new: &Field, before: &[Placed<'_>], after: &[Placed<'_>]) -> bool {
    let [before, after] = [before, after].map(|rules| -> HashSet<MaskKind> {
        let masks = rules.iter().filter_map(|(_, rule)| match rule.force {
            Force::Permit(Treatment::Mask(mask)) | Force::Cap(Treatment::Mask(mask)) => Some(mask),
            _ => None,
        });
        masks.filter(|mask| old.masks.contains(mask) || new.masks.contains(mask)).collect()
    });
    // Only a mask that the old contract did not allow gives more by the same policy.
    let given = |mask: &MaskKind| old.masks.contains(mask) || !new.masks.contains(mask);
    let alike = |mask: &MaskKind, other: &MaskKind| {
        mask == other || hides([Some(old), Some(new)], Treatment::Mask(*mask), Treatment::Mask(*other)).is_some()
    };
    before.iter().all(|mask| given(mask) && after.iter().all(|other| alike(mask, other)))
}

fn permits(rule: &Rule) -> bool {
    matches!(rule.force, Force::Permit(_))
}

/// Those that decide whether a field gets at least that.
fn at_least<'a>(rules: &[Placed<'a>], ladder: &Ladder, least: Treatment) -> Vec<Placed<'a>> {
    let Some(rung) = ladder.rank(least) else { return Vec::new() };
    let matters = |rule: &Rule| match rule.force {
        Force::Permit(treatment) => ladder.rank(treatment).is_some_and(|rank| rank <= rung),
        Force::Forbid => true,
        Force::Cap(treatment) => ladder.cap(treatment) > rung,
    };
    rules.iter().filter(|(_, rule)| matters(rule)).copied().collect()
}

/// What they do matters here by effect alone: a mask that is enough permits, a cap that is strict enough forbids.
fn ids(scopes: &Scopes<'_>, rules: &[Placed<'_>]) -> Vec<u32> {
    let mut ids: Vec<u32> = rules.iter().filter_map(|(at, _)| scopes.wording(*at)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The policies in Cedar's syntax, without annotations.
fn texts(rules: &[Placed<'_>]) -> Vec<String> {
    let text = |rule: &Rule| {
        let mut json = rule.policy.to_json().ok()?;
        json.as_object_mut()?.remove("annotations");
        cedar_policy::Policy::from_json(None, json).ok()?.to_cedar()
    };
    // What cannot be written cannot be read either: the obligation is not shown.
    rules.iter().map(|(_, rule)| text(rule).unwrap_or_else(|| format!("`{}` cannot be written", rule.id))).collect()
}

/// What differs beside the policies, and what the solver does not know of.
fn beyond(old: &Bundle, new: &Bundle) -> Vec<String> {
    let mut beyond =
        vec!["records without an attribute that a policy asks for, and other ways in which policies fail".to_owned()];
    let entities = |bundle: &Bundle| {
        let all = bundle.engine().model().entities.iter().map(|entity| {
            let mut within: Vec<String> =
                Lineage::of(entity.uid(), &bundle.engine().model().entities).all().map(ToString::to_string).collect();
            within.sort_unstable();
            (entity.uid().to_string(), within)
        });
        all.collect::<BTreeMap<_, _>>()
    };
    if entities(old) != entities(new) || schema_text(old.contracts()) != schema_text(new.contracts()) {
        beyond.push(
            "contracts and agencies, which changed too: the policies alone are compared, under the new schema"
                .to_owned(),
        );
    }
    let enrolled = |directory: &Directory| {
        let systems = directory.systems().iter().map(|system| (system.id.clone(), system.purposes.clone()));
        systems.collect::<BTreeMap<_, _>>()
    };
    if enrolled(old.directory()) != enrolled(new.directory()) {
        beyond.push("who is enrolled for which purpose, which changed too".to_owned());
    }
    beyond
}

fn beyond_order(field: &str) -> String {
    format!(
        "what is masked of `{field}`: the contracts do not order its masks alike, so none of them says which one shows more"
    )
}
