//! Why a field is shown or not: what each policy says of it, condition by condition, as Cedar itself evaluates it.
//!
//! What is decided comes from the tables that answer requests; the reasons are evaluated beside them, from the text. Should the two ever
//! disagree, the explanation says so ([`Explanation::disagreements`]): that is a bug of this program.

use cedar_policy::Effect;
use serde::Serialize;

use super::seat::Seat;
use super::words::treatment_words;
use crate::bundle::Bundle;
use crate::cedar::{Force, Rule};
use crate::contract::{Derive, Field, Operation};
use crate::directory::{Purpose, System};
use crate::engine::{Fact, Ladder, Trial};
use crate::model::{FieldSet, Treatment};
use crate::permit::Env;

mod evaluate;

use evaluate::{Cedar, Said};

/// What is to be explained.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The bundle that decides.
    pub bundle: &'a Bundle,
    /// Who asks.
    pub system: &'a System,
    /// What.
    pub operation: &'a Operation,
    /// What for.
    pub purpose: &'a Purpose,
    /// In which circumstances.
    pub env: &'a Env,
    /// What the returned record says, by position in its schema's attributes; `None` if no record is at hand.
    pub record: Option<&'a [Option<Fact<'a>>]>,
}

/// What a caller gets of each field, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Explanation {
    /// Each field that was asked about.
    pub fields: Vec<FieldExplained>,
    /// Where table and text do not agree: never, but for a bug of this program.
    pub disagreements: Vec<String>,
}

/// What a caller gets of a field, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FieldExplained {
    /// Its full name.
    pub field: String,
    /// `revealed`, `masked (year)`, `matched` or `withheld`; at most that, if it waits for the record.
    pub treatment: String,
    /// Whether that depends on the record, of which nothing is known.
    pub waits_for_record: bool,
    /// Whether it is withheld because a policy failed.
    pub failed: bool,
    /// What an answer holds of it, where that is less: an operation that answers yes or no shows nothing.
    pub answered: String,
    /// In one sentence.
    pub because: String,
    /// Every policy in whose scope it is.
    pub policies: Vec<PolicyExplained>,
}

/// What one policy says of a field.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PolicyExplained {
    /// `@id`.
    pub policy: String,
    /// The file.
    pub file: String,
    /// The line on which it begins.
    pub line: usize,
    /// What it does where it is satisfied, such as `permits, masked (year)`.
    pub effect: String,
    /// Whether it is.
    pub state: Answer,
    /// Whether it made the treatment what it is.
    pub decides: bool,
    /// Its conditions, in the order in which they are asked.
    pub conditions: Vec<ConditionExplained>,
}

/// One condition of a policy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ConditionExplained {
    /// `when` or `unless`.
    pub kind: &'static str,
    /// As Cedar writes it.
    pub text: String,
    /// What it is.
    pub is: Answer,
    /// Whether the policy does not apply because of it.
    pub stops: bool,
}

/// What comes of evaluating something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It is.
    True,
    /// It is not.
    False,
    /// It failed.
    Failed,
    /// It depends on the record, of which nothing is known.
    WaitsForRecord,
    /// Another condition had settled it, and it cannot be evaluated by itself.
    NotAsked,
}

/// Explains what the caller gets of some fields; `None` if caller, operation or purpose are not of the bundle.
pub fn explain(situation: &Situation<'_>, fields: FieldSet) -> Option<Explanation> {
    let Situation { bundle, system, operation, purpose, env, .. } = *situation;
    let trial = bundle.trial(system, operation, &purpose.id, env)?;
    let (action, lineages) = bundle.engine().lineages(operation)?;
    let principal = bundle.engine().stands_for(system)?;
    let cedar = Cedar::new(situation)?;
    let mut explanation = Explanation { fields: Vec::new(), disagreements: Vec::new() };
    for (field, lineage) in
        operation.record.fields.iter().zip(lineages).filter(|(field, _)| fields.contains(field.index))
    {
        let rules = bundle.engine().rules().iter().zip(bundle.engine().policies());
        let in_scope = rules.filter(|(rule, _)| {
            rule.scope.takes_principal(principal)
                && rule.scope.takes_action(action)
                && rule.scope.takes_resource(lineage)
        });
        let said: Vec<(&Rule, PolicyExplained)> = in_scope
            .map(|(rule, policy)| {
                let Said { state, conditions } = cedar.said(rule, &lineage.uid);
                let explained = PolicyExplained {
                    policy: policy.id.clone(),
                    file: policy.file.to_string(),
                    line: policy.line,
                    effect: effect(rule),
                    state,
                    decides: false,
                    conditions,
                };
                (rule, explained)
            })
            .collect();
        let judged = Judged::of(field, &said);
        let decided = Decided::of(situation, &trial, field, judged.waits);
        explanation.disagreements.extend(judged.disagrees(field, decided));
        explanation.fields.push(explained(situation, field, &judged, decided, said));
    }
    Some(explanation)
}

/// What the table says of a field.
#[derive(Clone, Copy)]
struct Decided {
    treatment: Treatment,
    failed: bool,
}

impl Decided {
    fn of(situation: &Situation<'_>, trial: &Trial, field: &Field, waits: bool) -> Self {
        // Where no policy looks at the record, any record does.
        let any: Vec<Option<Fact<'_>>> = situation
            .operation
            .record
            .attributes
            .iter()
            .map(|attribute| Some(if attribute.derive == Derive::Value { Fact::Text("") } else { Fact::Truth(false) }))
            .collect();
        match situation.record {
            None if waits => Self { treatment: trial.most(field.index), failed: trial.errors().contains(field.index) },
            record => {
                let decided = trial.of(record.unwrap_or(&any));
                Self { treatment: decided.treatment(field.index), failed: decided.errors().contains(field.index) }
            }
        }
    }
}

/// What the policies come to by their texts.
struct Judged {
    ladder: Ladder,
    treatment: Treatment,
    waits: bool,
    permitted: bool,
}

impl Judged {
    fn of(field: &Field, said: &[(&Rule, PolicyExplained)]) -> Self {
        let ladder = Ladder::of(field);
        let is = |answer: Answer| said.iter().filter(move |(_, policy)| policy.state == answer).map(|(rule, _)| rule);
        let failed = is(Answer::Failed).next().is_some();
        let permits = |rule: &&&Rule| matches!(rule.force, Force::Permit(_));
        let hoped = is(Answer::WaitsForRecord).filter(permits);
        let standing =
            is(Answer::True).chain(hoped).fold(ladder.start(), |standing, rule| ladder.apply(standing, rule.force));
        // One through a mask that the contract does not allow gives nothing.
        let gives = |rule: &Rule| match rule.force {
            Force::Permit(treatment) => treatment != Treatment::Withhold && ladder.rank(treatment).is_some(),
            Force::Forbid | Force::Cap(_) => false,
        };
        let permitted = is(Answer::True).any(|rule| gives(rule));
        let most = if failed { Treatment::Withhold } else { ladder.treatment(standing) };
        let waits = most != Treatment::Withhold && is(Answer::WaitsForRecord).next().is_some();
        Self { treatment: most, ladder, waits, permitted }
    }

    /// The table may hope for more than comes of it, as long as the record is not known.
    fn disagrees(&self, field: &Field, decided: Decided) -> Option<String> {
        let rank = |treatment| self.ladder.rank(treatment);
        let agrees = if self.waits {
            rank(decided.treatment) <= rank(self.treatment)
        } else {
            decided.treatment == self.treatment
        };
        (!agrees).then(|| {
            let (table, text) = (treatment_words(decided.treatment), treatment_words(self.treatment));
            format!("`{}` is {table} by the tables, and {text} by the policies' texts", field.name)
        })
    }

    /// Whether a satisfied policy made it what it is.
    fn is_decided_by(&self, rule: &Rule, treatment: Treatment) -> bool {
        let rank = self.ladder.rank(treatment);
        match rule.force {
            Force::Permit(gives) => treatment != Treatment::Withhold && self.ladder.rank(gives) == rank,
            // Where nothing is permitted nothing is taken either.
            Force::Forbid => self.permitted && treatment == Treatment::Withhold,
            Force::Cap(most) => self.permitted && Some(self.ladder.cap(most)) == rank,
        }
    }
}

fn explained(
    situation: &Situation<'_>,
    field: &Field,
    judged: &Judged,
    decided: Decided,
    said: Vec<(&Rule, PolicyExplained)>,
) -> FieldExplained {
    let Situation { bundle, system, operation, purpose, .. } = *situation;
    let mut policies: Vec<PolicyExplained> = said
        .into_iter()
        .map(|(rule, policy)| {
            let decides = match policy.state {
                Answer::Failed => true,
                Answer::True => !decided.failed && judged.is_decided_by(rule, decided.treatment),
                Answer::WaitsForRecord => judged.waits,
                Answer::False | Answer::NotAsked => false,
            };
            PolicyExplained { decides, ..policy }
        })
        .collect();
    // Who decides comes first; who is nearest to it before the others.
    policies.sort_by_key(|policy| {
        (
            !policy.decides,
            policy.state != Answer::True,
            policy.conditions.iter().position(|one| one.stops).map(std::cmp::Reverse),
        )
    });
    let named = |answer: Answer| {
        let of = policies.iter().filter(|policy| policy.decides && policy.state == answer);
        of.map(|policy| format!("`{}`", policy.policy)).collect::<Vec<_>>().join(", ")
    };
    let because = if decided.failed {
        format!("withheld because {} failed", named(Answer::Failed))
    } else if judged.waits {
        format!("the record decides, by {}", named(Answer::WaitsForRecord))
    } else if !judged.permitted {
        let applies =
            |policy: &PolicyExplained| policy.state == Answer::True && policy.effect.starts_with("permits, masked");
        match policies.iter().any(applies) {
            true => "no permit gives anything of it: the contract allows none of their masks".to_owned(),
            false => "no permit applies".to_owned(),
        }
    } else {
        format!("decided by {}", named(Answer::True))
    };
    let answered = Seat { bundle, system, operation, purpose }.answered(field, decided.treatment);
    FieldExplained {
        field: field.name.to_string(),
        treatment: treatment_words(decided.treatment),
        waits_for_record: judged.waits,
        failed: decided.failed,
        answered: treatment_words(answered),
        because,
        policies,
    }
}

fn effect(rule: &Rule) -> String {
    match (rule.force, rule.policy.effect()) {
        (Force::Permit(Treatment::Reveal), _) => "permits".to_owned(),
        (Force::Permit(Treatment::Withhold), _) => "permits, suspended".to_owned(),
        (Force::Permit(treatment), _) => format!("permits, {}", treatment_words(treatment)),
        (Force::Cap(treatment), _) => format!("allows at most {}", treatment_words(treatment)),
        (Force::Forbid, Effect::Forbid | Effect::Permit) => "forbids".to_owned(),
    }
}
