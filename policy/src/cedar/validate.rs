//! What is wrong with policies that parse: names that nothing has, types, masks that a field does not allow, and policies
//! that do nothing.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use cedar_policy::{
    ActionConstraint, EntityUid, PolicySet, ResourceConstraint, ValidationError, ValidationMode, ValidationWarning,
    Validator,
};
use miette::Diagnostic;

use crate::bundle::Source;
use crate::cedar::text::Statement;
use crate::cedar::{Force, Lineage, Model, Rule, uid};
use crate::condition::Expr;
use crate::contract::{Contracts, Field};
use crate::directory::Directory;
use crate::engine::Ladder;
use crate::model::Treatment;
use crate::problem::{Problem, nearest};

/// Reports entity literals that name nothing. Of kinds in `unsure` only those that are close to a known name: the file
/// that would declare others is itself broken. True if a name was wrong.
pub(crate) fn known_ids(
    rule: &Rule,
    statement: &Statement,
    source: &Source,
    model: &Model,
    unsure: &[&str],
    problems: &mut Vec<Problem>,
) -> bool {
    let before = problems.len();
    let text = text_of(rule, source);
    for literal in statement.literals(text) {
        let Ok(uid) = format!("{}::{}", literal.kind, literal.id).parse::<EntityUid>() else { continue };
        let id = uid.id().unescaped();
        let problem = match model.known.get(literal.kind) {
            Some(known) if known.contains(id) => continue,
            Some(known)
                if unsure.contains(&literal.kind) && nearest(id, known.iter().map(String::as_str)).is_none() =>
            {
                continue;
            }
            Some(known) => {
                Problem::error(code_for(literal.kind), &rule.file, format!("unknown {} `{id}`", noun(literal.kind)))
                    .suggest(id, known.iter().map(String::as_str))
            }
            None if literal.kind == "Env" || literal.kind.ends_with("Record") => Problem::error(
                "unnameable",
                &rule.file,
                format!("`{}` has no ids that a policy can name", literal.kind),
            )
            .help("use `context.env` and `context.record`"),
            // Cedar's validator knows which types there are.
            None => continue,
        };
        problems.push(problem.at(text, literal.span));
    }
    problems.len() > before
}

/// Validates against the schema, strictly. Rules in `misnamed` have been reported already: what Cedar says of their
/// names is left out. Those that are right and still worth a second look are returned.
pub(crate) fn validate<'r>(
    rules: impl Iterator<Item = &'r Rule>,
    misnamed: &BTreeSet<String>,
    source: &Source,
    model: &Model,
    problems: &mut Vec<Problem>,
) -> BTreeSet<String> {
    let by_id: HashMap<&str, &Rule> = rules.map(|rule| (rule.id.as_str(), rule)).collect();
    let mut doubtful = BTreeSet::new();
    let Ok(policies) = PolicySet::from_policies(by_id.values().map(|rule| rule.written.clone())) else {
        return doubtful;
    };
    let result = Validator::new(model.schema.clone()).validate(&policies, ValidationMode::Strict);
    let mut seen = BTreeSet::new();
    let mut report = |id: &str, make: &dyn Fn(&Rule) -> Problem, diagnostic: &dyn Diagnostic| {
        let Some(rule) = by_id.get(id) else { return };
        let label = diagnostic.labels().and_then(|mut labels| labels.next());
        let span = label.map_or_else(
            || rule.span.clone(),
            |label| rule.span.start + label.offset()..rule.span.start + label.offset() + label.len(),
        );
        let problem = make(rule);
        let help = diagnostic.help().map(|help| help.to_string());
        let problem = help.into_iter().fold(problem, Problem::help).at(text_of(rule, source), span);
        if seen.insert((rule.id.clone(), problem.at, problem.message.clone())) {
            problems.push(problem);
        }
    };
    let mut wrong = misnamed.clone();
    for error in result.validation_errors() {
        let id = error.policy_id().to_string();
        let follows =
            matches!(error, ValidationError::UnrecognizedActionId(_) | ValidationError::InvalidActionApplication(_));
        if !(follows && misnamed.contains(&id)) {
            report(&id, &|rule| Problem::error(error_code(error), &rule.file, error.to_string()), error);
        }
        wrong.insert(id);
    }
    // That a policy with a mistake is never true says nothing more.
    for warning in result.validation_warnings() {
        let id = warning.policy_id().to_string();
        if !wrong.contains(&id) {
            report(&id, &|rule| Problem::warning(warning_code(warning), &rule.file, warning.to_string()), warning);
            doubtful.insert(id);
        }
    }
    doubtful
}

/// Checks masks against what the fields allow, and finds masked permits that can never win.
pub(crate) fn lint(
    rules: &[Rule],
    source: &Source,
    contracts: &Contracts,
    directory: &Directory,
    model: &Model,
    problems: &mut Vec<Problem>,
) {
    let lineage = |kind: &str, id: &str| uid(kind, id).ok().map(|uid| Lineage::of(uid, &model.entities));
    let fields: Vec<(&Field, Lineage)> =
        contracts.fields().filter_map(|field| Some((field, lineage("Field", field.name.as_str())?))).collect();
    let systems: Vec<Lineage> =
        directory.systems().iter().filter_map(|system| lineage("System", system.id.as_str())).collect();
    let actions: Vec<Lineage> =
        contracts.operations().iter().filter_map(|operation| lineage("Action", operation.id.as_str())).collect();
    for rule in rules.iter().filter(|rule| rule.force.is_masked()) {
        let reach = Reach::of(rule, &systems, &actions, &fields);
        mask_fits(rule, &reach, source, problems);
        let wins = |other: &&Rule| {
            shows_more(other.force, rule.force, &reach.fields)
                && (other.condition == rule.condition || *other.condition == Expr::TRUE)
                && Reach::of(other, &systems, &actions, &fields).covers(&reach)
        };
        if let Some(winner) = rules.iter().find(wins) {
            let message = format!("permit `{}` can never win: `{}` shows more wherever it applies", rule.id, winner.id);
            let problem = Problem::warning("mask-never-wins", &rule.file, message);
            problems.push(
                problem
                    .help("delete one of the two, or narrow the other")
                    .at(text_of(rule, source), head(rule, source)),
            );
        }
    }
}

/// Whom, which operations and which fields a policy's scope takes in.
struct Reach<'a> {
    systems: Vec<bool>,
    actions: Vec<bool>,
    fields: Vec<&'a Field>,
}

impl<'a> Reach<'a> {
    fn of(rule: &Rule, systems: &[Lineage], actions: &[Lineage], fields: &[(&'a Field, Lineage)]) -> Self {
        let scope = &rule.scope;
        Self {
            systems: systems.iter().map(|system| scope.takes_principal(system)).collect(),
            actions: actions.iter().map(|action| scope.takes_action(action)).collect(),
            fields: fields
                .iter()
                .filter(|(_, lineage)| scope.takes_resource(lineage))
                .map(|(field, _)| *field)
                .collect(),
        }
    }

    fn covers(&self, other: &Self) -> bool {
        let within = |mine: &[bool], theirs: &[bool]| {
            theirs.contains(&true) && mine.iter().zip(theirs).all(|(mine, theirs)| *mine || !*theirs)
        };
        within(&self.systems, &other.systems)
            && within(&self.actions, &other.actions)
            && !other.fields.is_empty()
            && other.fields.iter().all(|field| self.fields.iter().any(|mine| mine.name == field.name))
    }
}

/// Whether a permit shows more than another on each of the fields that the other gives anything of.
fn shows_more(force: Force, than: Force, fields: &[&Field]) -> bool {
    let (Force::Permit(more), Force::Permit(less)) = (force, than) else { return false };
    fields.iter().all(|field| {
        let ladder = Ladder::of(field);
        match (ladder.rank(more), ladder.rank(less)) {
            (Some(more), Some(less)) => more < less,
            (_, None) => true,
            (None, Some(_)) => false,
        }
    }) && fields.iter().any(|field| Ladder::of(field).rank(less).is_some())
}

fn mask_fits(rule: &Rule, reach: &Reach<'_>, source: &Source, problems: &mut Vec<Problem>) {
    let (Force::Permit(Treatment::Mask(mask)) | Force::Cap(Treatment::Mask(mask))) = rule.force else { return };
    let unfit: Vec<&&Field> = reach.fields.iter().filter(|field| !field.masks.contains(&mask)).collect();
    let Some(first) = unfit.first() else { return };
    let name = mask.as_str();
    let allowed = |field: &Field| {
        let allowed: Vec<String> = field.masks.iter().map(|mask| format!("`{}`", mask.as_str())).collect();
        match allowed.as_slice() {
            [] => format!("`{}` allows only `match`", field.name),
            _ => format!("`{}` allows {}, `match`", field.name, allowed.join(", ")),
        }
    };
    let problem = if names_one_field(rule) && reach.fields.len() == 1 {
        Problem::error("mask-not-allowed", &rule.file, format!("mask `{name}` is not allowed for `{}`", first.name))
            .help(allowed(first))
    } else if unfit.len() == reach.fields.len() {
        Problem::warning("mask-not-allowed", &rule.file, format!("no field in this scope allows mask `{name}`"))
            .help(allowed(first))
    } else if rule.by_resource {
        return;
    } else {
        let names: Vec<String> = unfit.iter().take(8).map(|field| format!("`{}`", field.name)).collect();
        let more = if unfit.len() > names.len() { ", ..." } else { "" };
        let effect = match rule.force {
            Force::Permit(_) => "gives nothing of",
            Force::Forbid | Force::Cap(_) => "leaves only `match` of",
        };
        let message = format!("mask `{name}` {effect} {}{more}, whose contract does not list it", names.join(", "));
        Problem::warning("mask-skips-field", &rule.file, message).help("name the fields that it is for")
    };
    problems.push(problem.at(text_of(rule, source), head(rule, source)));
}

fn names_one_field(rule: &Rule) -> bool {
    match rule.policy.resource_constraint() {
        ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => {
            uid.type_name().basename() == "Field"
        }
        ResourceConstraint::Any | ResourceConstraint::Is(_) => false,
    }
}

/// The attributes whose `with-<attribute>` groups a policy's action scope names.
pub(crate) fn relied_on(rule: &Rule) -> Vec<String> {
    let ActionConstraint::In(uids) = rule.policy.action_constraint() else { return Vec::new() };
    uids.iter().filter_map(|uid| Some(uid.id().unescaped().strip_prefix("with-")?.to_owned())).collect()
}

fn text_of<'a>(rule: &Rule, source: &'a Source) -> &'a str {
    source.files.get(&*rule.file).map(String::as_str).unwrap_or_default()
}

/// The place of a policy's first line.
pub(crate) fn head(rule: &Rule, source: &Source) -> Range<usize> {
    let text = text_of(rule, source).get(rule.span.clone()).unwrap_or_default();
    rule.span.start..rule.span.start + text.find('\n').unwrap_or(text.len())
}

fn noun(kind: &str) -> String {
    kind.to_lowercase()
}

fn code_for(kind: &str) -> &'static str {
    match kind {
        "Action" => "unknown-action",
        "Agency" => "unknown-agency",
        "Class" => "unknown-class",
        "Field" => "unknown-field",
        "Group" => "unknown-group",
        "Level" => "unknown-level",
        "Purpose" => "unknown-purpose",
        "Register" => "unknown-register",
        "Sector" => "unknown-sector",
        "System" => "unknown-system",
        _ => "unknown-entity",
    }
}

fn error_code(error: &ValidationError) -> &'static str {
    match error {
        ValidationError::UnrecognizedEntityType(_) => "unknown-type",
        ValidationError::UnrecognizedActionId(_) => "unknown-action",
        ValidationError::InvalidActionApplication(_) => "impossible-scope",
        ValidationError::UnsafeAttributeAccess(_) => "unknown-attribute",
        ValidationError::UnsafeOptionalAttributeAccess(_) => "optional-attribute",
        ValidationError::UndefinedFunction(_) => "unknown-function",
        _ => "policy-type",
    }
}

fn warning_code(warning: &ValidationWarning) -> &'static str {
    match warning {
        ValidationWarning::ImpossiblePolicy(_) => "impossible-policy",
        ValidationWarning::InvalidActionApplication(_) => "impossible-scope",
        _ => "policy-text",
    }
}
