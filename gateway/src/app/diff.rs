//! What a reload changed, in words.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use popgate_policy::bundle::{Bundle, Source};
use popgate_policy::contract::{
    Answer, Field, Location, Operation, ParamIx, Parameter, Role, Segment, UpstreamTemplate,
};
use popgate_policy::directory::{Agency, Exchange, Identity, Limits, Priority, Purpose, Rate, System, Volume};
use popgate_policy::model::FieldIx;

mod statements;

/// How much is in a bundle.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    /// OpenAPI documents.
    pub contracts: usize,
    /// Operations.
    pub operations: usize,
    /// Agencies.
    pub agencies: usize,
    /// Systems of all agencies.
    pub systems: usize,
    /// Purposes, valid or not.
    pub purposes: usize,
    /// Cedar statements.
    pub policies: usize,
}

impl Counts {
    /// Counts what an accepted bundle holds.
    pub fn of(source: &Source, bundle: &Bundle) -> Self {
        Self {
            contracts: source.files.keys().filter(|path| path.ends_with(".openapi.yaml")).count(),
            operations: bundle.contracts().operations().len(),
            agencies: bundle.directory().agencies().count(),
            systems: bundle.directory().systems().len(),
            purposes: bundle.directory().purposes().count(),
            policies: statements::by_id(source).len(),
        }
    }
}

/// What is different in `new`, one sentence each: operations, fields, agencies, systems, purposes, policies. Empty if
/// nothing is that a request could notice.
///
/// Each side is a bundle and the files that it was loaded from.
pub fn changes(old: (&Source, &Bundle), new: (&Source, &Bundle)) -> Vec<String> {
    let mut said = Vec::new();
    contracts(old.1, new.1, &mut said);
    agencies(old.1, new.1, &mut said);
    systems(old.1, new.1, &mut said);
    exchanges(old.1, new.1, &mut said);
    purposes(old.1, new.1, &mut said);
    policies(old.0, new.0, &mut said);
    said
}

/// Of [`changes`] what is about a field: its contract, the policies that name it or its group, and these.
pub fn of_field(
    old: (&Source, &Bundle),
    new: (&Source, &Bundle),
    field: &str,
    because: &BTreeSet<String>,
) -> Vec<String> {
    let mut said = Vec::new();
    contracts(old.1, new.1, &mut said);
    let own = format!("field `{field}`");
    said.retain(|sentence| sentence.starts_with(&own));
    let naming: BTreeSet<String> = [old, new].into_iter().flat_map(|side| ids_naming(side, field)).collect();
    let mut of_policies = Vec::new();
    policies(old.0, new.0, &mut of_policies);
    let is_about = |sentence: &String| {
        let id = sentence.split('`').nth(1).unwrap_or_default();
        naming.contains(id) || because.contains(id)
    };
    said.extend(of_policies.into_iter().filter(is_about));
    said
}

/// The policies of a bundle that name a field or its group, one sentence each.
pub fn naming(bundle: (&Source, &Bundle), field: &str) -> Vec<String> {
    let statements = statements::by_id(bundle.0);
    let file = |id: &str| statements.get(id).map_or("", |statement| statement.file);
    ids_naming(bundle, field).map(|id| format!("policy `{id}` names it, in {}", file(&id))).collect()
}

fn ids_naming((source, bundle): (&Source, &Bundle), field: &str) -> impl Iterator<Item = String> {
    let group = bundle.contracts().fields().find(|known| known.name.as_str() == field).map(|known| &known.group);
    let group = group.map(|group| format!("Group::\"{group}\""));
    let own = format!("Field::\"{field}\"");
    let names = move |text: &str| text.contains(&own) || group.as_ref().is_some_and(|group| text.contains(group));
    let statements = statements::by_id(source).into_iter().filter(|(_, statement)| names(&statement.text));
    statements.map(|(id, _)| id).collect::<Vec<_>>().into_iter()
}

fn policies(old: &Source, new: &Source, said: &mut Vec<String>) {
    let (old, new) = (statements::by_id(old), statements::by_id(new));
    compare("policy", &old, &new, said, |old, new| {
        let mut parts = Vec::new();
        if old.text != new.text {
            parts.push(edit(&old.text, &new.text));
        }
        if old.file != new.file {
            parts.push(format!("moved from {} to {}", old.file, new.file));
        }
        parts
    });
}

/// The part of a statement that differs, with a few words around it dropped: `@mask("year")` removed, and so on.
fn edit(old: &str, new: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (old.split(' ').collect(), new.split(' ').collect());
    let start = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let rest = a.len().min(b.len()) - start;
    let end = a.iter().rev().zip(b.iter().rev()).take(rest).take_while(|(x, y)| x == y).count();
    let middle = |words: &[&str]| words.get(start..words.len() - end).unwrap_or_default().join(" ");
    match (middle(&a), middle(&b)) {
        (gone, come) if come.is_empty() => format!("`{}` removed", short(&gone)),
        (gone, come) if gone.is_empty() => format!("`{}` added", short(&come)),
        (gone, come) => format!("`{}` became `{}`", short(&gone), short(&come)),
    }
}

fn contracts(old: &Bundle, new: &Bundle, said: &mut Vec<String>) {
    let operations = |bundle: &'_ Bundle| -> BTreeMap<String, Vec<(&'static str, String)>> {
        let all = bundle.contracts().operations().iter();
        all.map(|operation| (operation.id.to_string(), describe_operation(operation))).collect()
    };
    compare("operation", &operations(old), &operations(new), said, |old, new| aspects(old, new));
    let fields = |bundle: &'_ Bundle| -> BTreeMap<String, Vec<(&'static str, String)>> {
        bundle.contracts().fields().map(|field| (field.name.to_string(), describe_field(field))).collect()
    };
    compare("field", &fields(old), &fields(new), said, |old, new| aspects(old, new));
}

fn describe_operation(operation: &Operation) -> Vec<(&'static str, String)> {
    let name = |at: ParamIx| operation.parameters.get(at.0).map_or("", |parameter| parameter.name.as_str());
    let field = |at: FieldIx| operation.record.field(at).map_or("", |field| field.name.as_str());
    let parameters: Vec<String> = operation
        .parameters
        .iter()
        .map(|parameter| {
            let required = if parameter.required { ", required" } else { "" };
            let pattern = parameter.pattern.as_ref().map_or("", |pattern| pattern.as_str());
            let role = match &parameter.role {
                Role::Asks => field(parameter.field).to_owned(),
                Role::Limit(most) => format!("limit 1 to {most}"),
                Role::Cursor => "cursor".to_owned(),
                Role::Sort(orders) => {
                    let orders = orders.iter().map(|(value, of)| format!("{value}: {}", field(*of)));
                    format!("sort {}", orders.collect::<Vec<_>>().join(", "))
                }
            };
            format!("{} ({role}{required}, {} {pattern})", qualified(parameter), parameter.max_length)
        })
        .collect();
    let guard: Vec<&str> = operation.guard.iter().map(|parameter| name(*parameter)).collect();
    let pushdown = operation.pushdown.as_ref().map_or_else(String::new, |pushdown| {
        let attribute = operation.record.attributes.get(pushdown.attribute);
        format!("{} by {}", attribute.map_or("", |attribute| attribute.name.as_str()), name(pushdown.parameter))
    });
    let answer = match &operation.answer {
        Answer::Record => "record".to_owned(),
        Answer::Match => "match".to_owned(),
        Answer::List(list) => {
            let cursor = list.cursor.map_or_else(String::new, |cursor| format!(", cursor {}", field(cursor)));
            format!("list {}.{}{cursor}", list.page.name, list.records)
        }
        Answer::Whole(whole) => {
            let upstream = template(operation, &whole.upstream);
            format!("whole {} as {} up to {} from {upstream}", field(whole.field), whole.media_type, whole.most_bytes)
        }
    };
    vec![
        ("route", format!("{} {}", operation.method.as_str(), operation.template)),
        ("upstream", template(operation, &operation.upstream)),
        ("answer", answer),
        ("bulk", if operation.bulk { "lines" } else { "" }.to_owned()),
        ("subject", operation.subject.map_or("", name).to_owned()),
        ("guard", guard.join(", ")),
        ("parameters", parameters.join("; ")),
        ("pushdown", pushdown),
        ("cache", format!("{:?}", operation.cache)),
        ("priority", operation.priority.map_or("", Priority::as_str).to_owned()),
        ("longest body", operation.max_body.map_or(String::new(), |most| most.to_string())),
        ("end", operation.lifecycle.as_ref().map_or(String::new(), |lifecycle| format!("{lifecycle:?}"))),
    ]
}

/// An upstream template as contracts write it.
fn template(operation: &Operation, upstream: &UpstreamTemplate) -> String {
    let parameter = |at: &ParamIx| operation.parameters.get(at.0).map_or_else(String::new, qualified);
    let path = upstream.segments.iter().map(|segment| match segment {
        Segment::Literal(text) => text.clone(),
        Segment::Parameter(at) => format!("{{{}}}", parameter(at)),
    });
    let pairs: Vec<String> = upstream.query.iter().map(|(name, at)| format!("{name}={{{}}}", parameter(at))).collect();
    let query = if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
    format!("{} {} {}{query}", upstream.register, upstream.method.as_str(), path.collect::<String>())
}

fn qualified(parameter: &Parameter) -> String {
    let location = match parameter.location {
        Location::Path => "path",
        Location::Query => "query",
        Location::Body => "body",
    };
    format!("{location}.{}", parameter.name)
}

fn describe_field(field: &Field) -> Vec<(&'static str, String)> {
    let masks: Vec<&str> = field.masks.iter().map(|mask| mask.as_str()).collect();
    let implies: Vec<&str> = field.implies.iter().map(|name| name.as_str()).collect();
    vec![
        ("group", field.group.to_string()),
        ("class", format!("{:?}", field.class).to_lowercase()),
        ("masks", masks.join(", ")),
        ("implies", implies.join(", ")),
        ("type", format!("{:?}{}", field.kind, if field.array { " array" } else { "" }).to_lowercase()),
        ("compare", format!("{:?}", field.compare).to_lowercase()),
        ("given", if field.whole { "by itself" } else { "in the record" }.to_owned()),
    ]
}

fn agencies(old: &Bundle, new: &Bundle, said: &mut Vec<String>) {
    let all = |bundle: &Bundle| -> BTreeMap<String, Vec<(&'static str, String)>> {
        bundle.directory().agencies().map(|agency| (agency.id.to_string(), describe_agency(agency))).collect()
    };
    compare("agency", &all(old), &all(new), said, |old, new| aspects(old, new));
}

fn describe_agency(agency: &Agency) -> Vec<(&'static str, String)> {
    let mut said = vec![
        ("name", agency.name.values().map(String::as_str).collect::<Vec<_>>().join(" / ")),
        ("sector", agency.sector.clone()),
        ("level", agency.level.clone()),
        ("province", agency.province.clone().unwrap_or_default()),
        ("purposes", listed(&agency.purposes)),
    ];
    said.extend(describe_limits(&agency.limits));
    said
}

fn systems(old: &Bundle, new: &Bundle, said: &mut Vec<String>) {
    let all = |bundle: &Bundle| -> BTreeMap<String, Vec<(&'static str, String)>> {
        bundle.directory().systems().iter().map(|system| (system.id.to_string(), describe_system(system))).collect()
    };
    compare("system", &all(old), &all(new), said, |old, new| aspects(old, new));
}

fn exchanges(old: &Bundle, new: &Bundle, said: &mut Vec<String>) {
    let all = |bundle: &Bundle| -> BTreeMap<String, Vec<(&'static str, String)>> {
        let exchanges = bundle.directory().exchanges().iter();
        exchanges.map(|exchange| (exchange.id.to_string(), describe_exchange(exchange))).collect()
    };
    compare("exchange server", &all(old), &all(new), said, |old, new| aspects(old, new));
}

fn describe_exchange(exchange: &Exchange) -> Vec<(&'static str, String)> {
    vec![
        ("identity", identities(&exchange.identities)),
        ("networks", listed(&exchange.networks)),
        ("members", listed(&exchange.members)),
        ("min_tls", format!("{:?}", exchange.min_tls)),
    ]
}

fn identities(identities: &[Identity]) -> String {
    let identity = |identity: &Identity| match identity {
        Identity::Uri(text) | Identity::Subject(text) => text.clone(),
        Identity::Pin(pin) => format!("pin:sha256:{pin}"),
    };
    identities.iter().map(identity).collect::<Vec<_>>().join(", ")
}

fn describe_system(system: &System) -> Vec<(&'static str, String)> {
    let mut said = vec![
        ("identity", identities(&system.identities)),
        ("networks", listed(&system.networks)),
        ("purposes", listed(&system.purposes)),
    ];
    said.extend(describe_limits(&system.limits));
    said.extend([
        ("priority", system.priority.map_or("", Priority::as_str).to_owned()),
        ("min_tls", format!("{:?}", system.min_tls)),
        ("xroad", system.xroad.as_ref().map(ToString::to_string).unwrap_or_default()),
    ]);
    said
}

fn describe_limits(limits: &Limits) -> Vec<(&'static str, String)> {
    let rate = |rate: &Rate| format!("{} per {:?} burst {}", rate.count, rate.per, rate.burst);
    let named = |rates: Vec<(&str, &Rate)>| {
        rates.into_iter().map(|(name, it)| format!("{name} {}", rate(it))).collect::<Vec<_>>().join(", ")
    };
    let count = |count: Option<NonZeroU32>| count.map_or_else(String::new, |count| count.to_string());
    let volume = |it: Volume| format!("{} per {:?} burst {}", it.bytes, it.per, it.burst);
    let soft = |soft: &Limits| {
        let said = describe_limits(soft).into_iter().filter(|(_, said)| !said.is_empty());
        said.map(|(what, said)| format!("{what} {said}")).collect::<Vec<_>>().join(", ")
    };
    vec![
        ("rate", limits.each.as_ref().map_or_else(String::new, rate)),
        ("operation rates", named(limits.operations.iter().map(|(name, it)| (name.as_str(), it)).collect())),
        ("total rate", limits.total.as_ref().map_or_else(String::new, rate)),
        ("purpose rates", named(limits.purposes.iter().map(|(name, it)| (name.as_str(), it)).collect())),
        ("concurrent", count(limits.concurrent)),
        ("connections", count(limits.connections)),
        ("per_day", count(limits.per_day)),
        ("per_month", count(limits.per_month)),
        ("bytes", limits.bytes.map_or_else(String::new, volume)),
        ("persons_per_hour", count(limits.persons_per_hour)),
        ("persons_per_day", count(limits.persons_per_day)),
        ("soft limits", limits.soft.as_deref().map_or_else(String::new, soft)),
    ]
}

fn purposes(old: &Bundle, new: &Bundle, said: &mut Vec<String>) {
    let all = |bundle: &Bundle| -> BTreeMap<String, Vec<(&'static str, String)>> {
        bundle.directory().purposes().map(|purpose| (purpose.id.to_string(), describe_purpose(purpose))).collect()
    };
    compare("purpose", &all(old), &all(new), said, |old, new| aspects(old, new));
}

fn describe_purpose(purpose: &Purpose) -> Vec<(&'static str, String)> {
    let day = |day: Option<jiff::civil::Date>| day.map_or_else(String::new, |day| day.to_string());
    vec![
        ("name", purpose.name.values().map(String::as_str).collect::<Vec<_>>().join(" / ")),
        ("basis", purpose.basis.clone()),
        ("requires", format!("{:?}", purpose.requires).to_lowercase()),
        ("valid_from", day(purpose.valid_from)),
        ("valid_until", day(purpose.valid_until)),
        ("break_glass", if purpose.break_glass { "yes" } else { "" }.to_owned()),
    ]
}

/// Says what was added, removed and changed.
fn compare<T>(
    what: &str,
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
    said: &mut Vec<String>,
    difference: impl Fn(&T, &T) -> Vec<String>,
) {
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        said.push(format!("{what} `{name}` removed"));
    }
    for (name, after) in new {
        match old.get(name) {
            None => said.push(format!("{what} `{name}` added")),
            Some(before) => {
                let parts = difference(before, after);
                if !parts.is_empty() {
                    said.push(format!("{what} `{name}`: {}", parts.join("; ")));
                }
            }
        }
    }
}

fn aspects(old: &Vec<(&'static str, String)>, new: &[(&'static str, String)]) -> Vec<String> {
    let shown = |text: &str| if text.is_empty() { "nothing".to_owned() } else { format!("`{}`", short(text)) };
    let pairs = old.iter().zip(new).filter(|((_, before), (_, after))| before != after);
    pairs.map(|((name, before), (_, after))| format!("{name} was {}, is {}", shown(before), shown(after))).collect()
}

fn listed<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

fn short(text: &str) -> String {
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain("...".chars()).collect()
}

/// The longest text that is quoted in a sentence, in characters.
const SHOWN: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source { files: [("policies/a.cedar".to_owned(), text.to_owned())].into() }
    }

    fn said(old: &str, new: &str) -> Vec<String> {
        let mut said = Vec::new();
        policies(&source(old), &source(new), &mut said);
        said
    }

    /// What is said of the reference bundle after an edit of its contract.
    fn said_of_contract(old: &str, new: &str) -> Vec<String> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/bundle");
        let before = crate::app::bundle_files::read(&folder).unwrap();
        let mut after = before.clone();
        let text = after.files.get_mut("contracts/population.openapi.yaml").unwrap();
        assert_eq!(text.matches(old).count(), 1, "{old}");
        *text = text.replace(old, new);
        let bundle = |source: &Source| Bundle::load(source).unwrap().bundle;
        changes((&before, &bundle(&before)), (&after, &bundle(&after)))
    }

    #[test]
    fn what_changed_of_a_list_and_of_a_whole_field_is_said_in_the_contracts_own_words() {
        let said = said_of_contract("      x-gateway-pushdown: { province: body.province_code }\n", "");
        assert_eq!(said, ["operation `citizen.search`: pushdown was `province by province_code`, is nothing"]);
        let said = said_of_contract("maxLength: 1048576", "maxLength: 65536");
        let was = "whole Citizen.portrait as image/jpeg up to 1048576 from population GET /persons/{path.id}/portrait";
        let is = was.replace("1048576", "65536");
        assert_eq!(said, [format!("operation `citizen.portrait`: answer was `{was}`, is `{is}`")]);
        let said = said_of_contract("?date_of_birth={body.date_of_birth}", "?born={body.date_of_birth}");
        let [said] = &said[..] else { panic!("{said:?}") };
        assert!(
            said.starts_with("operation `citizen.search`: upstream was `population GET /persons?date_of_birth={body.")
        );
        // A field that several records have is one field.
        let said = said_of_contract(
            "enum: [single, married, divorced, widowed]\n          x-gateway-group: civil",
            "x-gateway-group: identity",
        );
        assert_eq!(said, ["field `Citizen.marital_status`: group was `civil`, is `identity`"]);
    }

    const MASKED: &str =
        "@id(\"telecom-year-only\") @basis(\"art. 1\") @mask(\"year\")\npermit (principal, action, resource);";

    #[test]
    fn a_removed_mask_is_said_in_words() {
        let clear = MASKED.replace("@mask(\"year\")", "");
        assert_eq!(said(MASKED, &clear), ["policy `telecom-year-only`: `@mask(\"year\")` removed"]);
        assert_eq!(said(&clear, MASKED), ["policy `telecom-year-only`: `@mask(\"year\")` added"]);
    }

    #[test]
    fn layout_and_comments_are_no_change() {
        let other = MASKED.replace("principal, action", "principal,\n    action // everyone\n ");
        assert_eq!(said(MASKED, &other), Vec::<String>::new());
    }

    #[test]
    fn added_removed_and_edited_policies_are_told_apart() {
        let other = "@id(\"b\") @basis(\"x\") forbid (principal, action, resource);";
        let edited = MASKED.replace("\"year\"", "\"month\"");
        assert_eq!(said(MASKED, other), ["policy `telecom-year-only` removed", "policy `b` added"]);
        let edit = "policy `telecom-year-only`: `@mask(\"year\")` became `@mask(\"month\")`";
        assert_eq!(said(MASKED, &edited), [edit]);
    }
}
