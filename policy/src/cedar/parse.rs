//! Policies as read from `policies/*.cedar`, each with its place, its force and when it can be evaluated.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use cedar_policy::{Effect, Policy, PolicyId};
use miette::Diagnostic;
use serde_json::{Value, json};

use crate::bundle::Source;
use crate::cedar::scope::Scope;
use crate::cedar::speaks::Speaks;
use crate::cedar::text::{Annotation, Statement, statements};
use crate::cedar::{ANNOTATIONS, MATCH};
use crate::condition::Expr;
use crate::model::{MaskKind, Treatment};
use crate::problem::Problem;

/// One policy.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// `@id`; also the Cedar policy id.
    pub(crate) id: String,
    /// `@basis`.
    pub(crate) basis: String,
    /// The file, relative to the bundle's root.
    pub(crate) file: Arc<str>,
    /// Its place in the file.
    pub(crate) span: Range<usize>,
    /// What it does where it is satisfied.
    pub(crate) force: Force,
    /// The policy, as it is evaluated: outside its validity nothing of it is.
    pub(crate) policy: Policy,
    /// The policy as it is written, with its places in the text.
    pub(crate) written: Policy,
    /// When it is in force.
    pub(crate) validity: Validity,
    /// Whom, which operations and which fields it is about.
    pub(crate) scope: Scope,
    /// What else must hold.
    pub(crate) condition: Arc<Expr>,
    /// What must be known to evaluate it; `None` if system, operation and purpose are enough.
    pub(crate) phase: Option<Phase>,
    /// Whether its conditions speak of `resource`: its outcome may differ between fields that are all in its scope.
    pub(crate) by_resource: bool,
    /// Its conditions in Cedar's JSON form, to compare policies.
    pub(crate) conditions: Arc<Value>,
}

/// From which to which local day something is in force, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Validity {
    /// The first day; `None` if it always was.
    pub from: Option<jiff::civil::Date>,
    /// The last day; `None` if it does not end.
    pub until: Option<jiff::civil::Date>,
}

/// What a policy does where it is satisfied.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Force {
    /// Gives at least this.
    Permit(Treatment),
    /// Withholds.
    Forbid,
    /// Gives at most this.
    Cap(Treatment),
}

impl Force {
    /// Whether it names how a field is shown.
    pub(crate) fn is_masked(self) -> bool {
        matches!(self, Self::Permit(Treatment::Mask(_) | Treatment::Match) | Self::Cap(_))
    }
}

/// When a policy can be evaluated at the earliest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Phase {
    /// With the request's circumstances (`context.env`).
    Env,
    /// With the returned record (`context.record`).
    Record,
}

/// A policy as read, and where it stands.
pub(crate) struct Read {
    pub(crate) rule: Rule,
    pub(crate) statement: Statement,
    /// Whether its text stood in the bundle before.
    pub(crate) known: bool,
}

/// Reads every policy; one that has a mistake is left out, and the mistake goes to `problems`. Those whose text is in `before`, files
/// and what was read of them, are not read again.
pub(crate) fn parse(source: &Source, before: Option<(&Source, &[Rule])>, problems: &mut Vec<Problem>) -> Vec<Read> {
    let known: HashMap<&str, &Rule> = before
        .into_iter()
        .flat_map(|(source, rules)| rules.iter().filter_map(|rule| Some((rule.text(source)?, rule))))
        .collect();
    let mut rules = Vec::new();
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    for (file, text) in source.files.iter().filter(|(path, _)| path.starts_with("policies/")) {
        if !file.ends_with(".cedar") {
            let problem = Problem::error("unknown-file", file, format!("`{file}` is not a policy file"));
            problems.push(problem.help("policies are named `policies/<sector or theme>.cedar`"));
            continue;
        }
        let name: Arc<str> = Arc::from(file.as_str());
        for statement in statements(text) {
            let before = text.get(statement.span.clone()).and_then(|text| known.get(text));
            let mut reader = Reader { file: &name, text, statement: &statement, problems };
            let rule = match before {
                Some(rule) => reader.again(rule, &mut ids),
                None => reader.rule(&mut ids),
            };
            if let Some(rule) = rule {
                rules.push(Read { rule, statement, known: before.is_some() });
            }
        }
    }
    rules
}

/// Reads one policy.
struct Reader<'a> {
    file: &'a Arc<str>,
    text: &'a str,
    statement: &'a Statement,
    problems: &'a mut Vec<Problem>,
}

impl Rule {
    /// Its text in the files that it was read from.
    pub(crate) fn text<'s>(&self, source: &'s Source) -> Option<&'s str> {
        source.files.get(&*self.file)?.get(self.span.clone())
    }
}

impl Reader<'_> {
    /// A policy that was read before, at the place where it stands now.
    fn again(&mut self, rule: &Rule, ids: &mut BTreeMap<String, String>) -> Option<Rule> {
        let before = self.problems.len();
        self.take_id(&rule.id, ids);
        let (file, span) = (Arc::clone(self.file), self.statement.span.clone());
        (self.problems.len() == before).then(|| Rule { file, span, ..rule.clone() })
    }

    /// Ids name one policy each.
    fn take_id(&mut self, id: &str, ids: &mut BTreeMap<String, String>) {
        let place = Problem::error("", self.file, "").at(self.text, self.statement.span.clone()).at;
        let place = place.map_or_else(|| self.file.to_string(), |(line, _)| format!("{}:{line}", self.file));
        if let Some(first) = ids.get(id) {
            let problem = Problem::error("duplicate-id", self.file, format!("policy id `{id}` is used twice"))
                .help(format!("the first is at {first}"));
            let annotations = self.statement.annotations(self.text);
            self.problem(problem, place_of(&annotations, "id").unwrap_or_else(|| self.statement.span.clone()));
        } else {
            ids.insert(id.to_owned(), place);
        }
    }

    fn rule(&mut self, ids: &mut BTreeMap<String, String>) -> Option<Rule> {
        let before = self.problems.len();
        if let Some(slot) = self.statement.slot() {
            let message = "a template is not a policy: nothing fills its slot";
            self.problem(Problem::error("template", self.file, message).help("write the entity instead"), slot);
            return None;
        }
        if let Some(deep) = self.statement.too_deep(self.text) {
            let message = "the policy is too deep: too many brackets within each other, or too many operators";
            self.problem(Problem::error("policy-depth", self.file, message).help("split it into several"), deep);
            return None;
        }
        let text = self.text.get(self.statement.span.clone()).unwrap_or_default();
        let parsed = Policy::parse(None, text);
        if let Err(errors) = &parsed {
            for error in errors.iter() {
                self.syntax(error);
            }
        }
        let annotations = self.statement.annotations(self.text);
        for annotation in annotations.iter().filter(|annotation| !ANNOTATIONS.contains(&annotation.name)) {
            let message = format!("unknown annotation `@{}`", annotation.name);
            let problem = Problem::error("unknown-annotation", self.file, message);
            self.problem(problem.suggest(annotation.name, ANNOTATIONS), annotation.span.clone());
        }
        let policy = parsed.ok()?;
        let id = self.text_of(&policy, "id", "missing-id", "every policy needs an `@id` that audit records can name");
        let basis =
            self.text_of(&policy, "basis", "missing-basis", "every policy needs a `@basis`: its law and article");
        let force = self.force(&policy, &annotations);
        let validity = self.validity(&policy, &annotations);
        if let Some(id) = &id {
            self.take_id(id, ids);
        }
        if self.problems.len() > before {
            return None;
        }
        let (id, force) = (id?, force?);
        let written = policy.new_id(PolicyId::new(&id));
        let Some(policy) = timed(&written, validity) else {
            self.problem(
                Problem::error("bad-validity", self.file, "the validity cannot be put before the conditions"),
                self.head(),
            );
            return None;
        };
        let conditions = policy.to_json().ok().and_then(|mut json| Some(json.get_mut("conditions")?.take()));
        let conditions = conditions.unwrap_or_default();
        if Speaks::of(&conditions).probes_record {
            let problem = Problem::error("record-has", self.file, "`has` cannot ask about the returned record");
            let help = "use the attribute: on a record without it the policy fails, and its fields are withheld";
            self.problem(problem.help(help), self.head());
            return None;
        }
        let condition = Expr::read(&conditions);
        Some(Rule {
            scope: Scope::of(&policy),
            policy,
            written,
            validity,
            phase: condition.phase(),
            by_resource: condition.asks_for_resource(),
            condition: Arc::new(condition),
            conditions: Arc::new(conditions),
            basis: basis?,
            file: Arc::clone(self.file),
            span: self.statement.span.clone(),
            force,
            id,
        })
    }

    /// A required annotation's value.
    fn text_of(&mut self, policy: &Policy, name: &str, code: &'static str, message: &str) -> Option<String> {
        let value = policy.annotation(name).map(str::trim).filter(|value| !value.is_empty());
        if value.is_none() {
            let help = format!("add `@{name}(\"...\")` before the policy");
            self.problem(Problem::error(code, self.file, message).help(help), self.head());
        }
        value.map(str::to_owned)
    }

    fn force(&mut self, policy: &Policy, annotations: &[Annotation<'_>]) -> Option<Force> {
        let (own, other, other_help) = match policy.effect() {
            Effect::Permit => ("mask", "at_most", "a permit is weakened by `@mask(\"...\")`"),
            Effect::Forbid => ("at_most", "mask", "a forbid is weakened by `@at_most(\"...\")`"),
        };
        let span = |name| place_of(annotations, name).unwrap_or_else(|| self.statement.span.clone());
        if policy.annotation(other).is_some() {
            let effect = if policy.effect() == Effect::Permit { "permit" } else { "forbid" };
            let problem = Problem::error("misplaced-annotation", self.file, format!("`@{other}` on a {effect}"));
            let span = span(other);
            self.problem(problem.help(other_help), span);
            return None;
        }
        let Some(name) = policy.annotation(own) else {
            return Some(if own == "mask" { Force::Permit(Treatment::Reveal) } else { Force::Forbid });
        };
        let Some(treatment) = treatment_named(name) else {
            let known = MaskKind::ALL.iter().map(|mask| mask.as_str()).chain([MATCH]);
            let problem =
                Problem::error("unknown-mask", self.file, format!("unknown mask `{name}`")).suggest(name, known);
            let span = span(own);
            self.problem(problem, span);
            return None;
        };
        Some(if own == "mask" { Force::Permit(treatment) } else { Force::Cap(treatment) })
    }

    /// `@valid_from` and `@valid_until`; mistakes are told.
    fn validity(&mut self, policy: &Policy, annotations: &[Annotation<'_>]) -> Validity {
        let mut day = |name: &str| {
            let text = policy.annotation(name)?.trim().to_owned();
            let day = text.parse::<jiff::civil::Date>().ok().filter(|day| day.year() > 0);
            if day.is_none() {
                let problem = Problem::error("bad-validity", self.file, format!("`@{name}(\"{text}\")` is no date"));
                let at = place_of(annotations, name).unwrap_or_else(|| self.statement.span.clone());
                self.problem(problem.help("write a day, such as `2027-12-31`; the last day is included"), at);
            }
            day
        };
        let validity = Validity { from: day("valid_from"), until: day("valid_until") };
        if let (Some(from), Some(until)) = (validity.from, validity.until)
            && until < from
        {
            let message = format!("the policy ends on {until}, before it begins on {from}");
            let at = place_of(annotations, "valid_until").unwrap_or_else(|| self.statement.span.clone());
            let help = "`@valid_until` is the last day, `@valid_from` the first";
            self.problem(Problem::error("bad-validity", self.file, message).help(help), at);
        }
        validity
    }

    fn syntax(&mut self, error: &dyn Diagnostic) {
        let start = self.statement.span.start;
        let label = error.labels().and_then(|mut labels| labels.next());
        let span = label.as_ref().map_or_else(
            || self.statement.span.clone(),
            |label| start + label.offset()..start + label.offset() + label.len(),
        );
        let expected = label.as_ref().and_then(|label| label.label()).map(str::to_owned);
        let span = if span.is_empty() { self.line_to(span.start) } else { span };
        let problem = Problem::error("policy-syntax", self.file, error.to_string());
        let help = error.help().map(|help| help.to_string()).or(expected);
        self.problem(help.into_iter().fold(problem, Problem::help), span);
    }

    /// The line up to a place, for what is missing there.
    fn line_to(&self, end: usize) -> Range<usize> {
        let before = self.text.get(..end).unwrap_or_default();
        before.rfind('\n').map_or(0, |at| at + 1)..end
    }

    /// The first line of the policy.
    fn head(&self) -> Range<usize> {
        let span = &self.statement.span;
        let text = self.text.get(span.clone()).unwrap_or_default();
        span.start..span.start + text.find('\n').unwrap_or(text.len())
    }

    fn problem(&mut self, problem: Problem, span: Range<usize>) {
        self.problems.push(problem.at(self.text, span));
    }
}

/// The treatment of that name in `@mask` and `@at_most`.
fn treatment_named(name: &str) -> Option<Treatment> {
    if name == MATCH { Some(Treatment::Match) } else { MaskKind::parse(name).map(Treatment::Mask) }
}

fn place_of(annotations: &[Annotation<'_>], name: &str) -> Option<Range<usize>> {
    let annotation = annotations.iter().find(|annotation| annotation.name == name)?;
    Some(annotation.span.start..annotation.value.as_ref().map_or(annotation.span.end, |value| value.end + 1))
}

/// The policy with its validity as its first condition: on other days it is false, and what else it says is not evaluated.
fn timed(policy: &Policy, validity: Validity) -> Option<Policy> {
    let day = |operator: &str, day: Option<jiff::civil::Date>| {
        let env = json!({ ".": { "left": { "Var": "context" }, "attr": "env" } });
        let today = json!({ ".": { "left": env, "attr": "today" } });
        let right = json!({ "datetime": [{ "Value": day?.to_string() }] });
        Some(json!({ "kind": "when", "body": { operator: { "left": today, "right": right } } }))
    };
    let bounds: Vec<Value> = [day(">=", validity.from), day("<=", validity.until)].into_iter().flatten().collect();
    if bounds.is_empty() {
        return Some(policy.clone());
    }
    let mut json = policy.to_json().ok()?;
    json.get_mut("conditions")?.as_array_mut()?.splice(..0, bounds);
    Policy::from_json(Some(policy.id().clone()), json).ok()
}
