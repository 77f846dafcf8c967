//! How an operation is carried out: `x-gateway-upstream` and `x-gateway-cache`.

use std::time::Duration;

use crate::contract::{
    CacheRule, CacheScope, Class, Field, Location, Method, ParamIx, Parameter, RecordSchema, Segment, UpstreamTemplate,
};
use crate::document::{Node, Sheet, Value};
use crate::model::RegisterId;

use super::operation::How;

/// Reads `population GET /persons/{path.id}` or `population GET /persons?born={body.date_of_birth}`; `what` is what messages call it.
pub(super) fn upstream(
    sheet: &mut Sheet<'_>,
    node: &Node,
    what: &str,
    register: Option<&str>,
    parameters: &[Parameter],
) -> Option<UpstreamTemplate> {
    let typed = sheet.text(node, what)?;
    let parts: Vec<&str> = typed.split(' ').collect();
    let [typed_register, method, target] = parts[..] else {
        let message = format!("{what} must be a register, a method and a path, each one space apart");
        sheet
            .push(sheet.error("bad-upstream", &node.span, message).help("such as `population GET /persons/{path.id}`"));
        return None;
    };
    if let Some(register) = register.filter(|register| *register != typed_register) {
        let message = format!("the register `{typed_register}` is not this contract's");
        let problem = sheet.error("unknown-register", &sheet.part(node, typed_register), message);
        sheet.push(problem.help(format!("`x-gateway-register` says `{register}`")));
    }
    if method != "GET" {
        let problem = sheet.error("bad-upstream", &sheet.part(node, method), format!("a read cannot use `{method}`"));
        sheet.push(problem.help("use `GET`"));
    }
    let (path, pairs) = match target.split_once('?') {
        Some((path, pairs)) => (path, Some(pairs)),
        None => (target, None),
    };
    let segments = segments(sheet, node, path, parameters);
    let query = pairs.map_or(Some(Vec::new()), |pairs| query(sheet, node, pairs, parameters));
    let (segments, query) = (segments?, query?);
    Some(UpstreamTemplate { register: RegisterId::new(typed_register), method: Method::Get, segments, query })
}

/// Reads `born={body.date_of_birth}&sex={body.sex}`: all of a value is one parameter, so that its absence leaves out the pair.
fn query(sheet: &mut Sheet<'_>, node: &Node, typed: &str, parameters: &[Parameter]) -> Option<Vec<(String, ParamIx)>> {
    let mut query: Vec<(String, ParamIx)> = Vec::new();
    for pair in typed.split('&') {
        let read = pair
            .split_once('=')
            .and_then(|(name, value)| Some((name, value.strip_prefix('{')?.strip_suffix('}')?)))
            .filter(|(name, inner)| is_query_name(name) && !inner.contains(['{', '}']));
        let Some((name, inner)) = read else {
            let problem = sheet.error(
                "bad-upstream",
                &sheet.part(node, pair),
                format!("`{pair}` cannot stand in an upstream query"),
            );
            sheet.push(problem.help("a name and one parameter: `born={body.date_of_birth}`, pairs joined by `&`"));
            return None;
        };
        if query.iter().any(|(known, _)| known == name) {
            let message = format!("the upstream query has `{name}` twice");
            sheet.push(sheet.error("bad-upstream", &sheet.part(node, pair), message));
        }
        query.push((name.to_owned(), reference(sheet, node, inner, parameters)?));
    }
    Some(query)
}

fn is_query_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|char| char.is_ascii_alphanumeric() || "-._~".contains(char))
}

fn segments(sheet: &mut Sheet<'_>, node: &Node, path: &str, parameters: &[Parameter]) -> Option<Vec<Segment>> {
    if !path.starts_with('/') {
        return bad_path(sheet, node, path, format!("the upstream path `{path}` does not begin with `/`"));
    }
    if path.split('/').skip(1).any(|segment| matches!(segment, "" | "." | "..")) {
        return bad_path(sheet, node, path, format!("the upstream path `{path}` has an empty or a dot segment"));
    }
    let mut segments = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        let (literal, more) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
        if !literal.chars().all(|char| char.is_ascii_alphanumeric() || "/-._~".contains(char)) {
            return bad_path(sheet, node, literal, format!("`{literal}` cannot stand in an upstream path"));
        }
        if !literal.is_empty() {
            segments.push(Segment::Literal(literal.to_owned()));
        }
        let Some(open) = more.strip_prefix('{') else { break };
        let Some((inner, after)) = open.split_once('}') else {
            return bad_path(sheet, node, more, "a `{` of the upstream path is not closed".to_owned());
        };
        segments.push(Segment::Parameter(segment(sheet, node, inner, parameters)?));
        rest = after;
    }
    Some(segments)
}

fn bad_path<T>(sheet: &mut Sheet<'_>, node: &Node, part: &str, message: String) -> Option<T> {
    let problem = sheet.error("bad-upstream", &sheet.part(node, part), message);
    sheet.push(problem.help("such as `population GET /persons/{path.id}`"));
    None
}

fn segment(sheet: &mut Sheet<'_>, node: &Node, typed: &str, parameters: &[Parameter]) -> Option<ParamIx> {
    let index = reference(sheet, node, typed, parameters)?;
    if parameters.get(index.0).is_some_and(|parameter| !parameter.required) {
        let message = format!("the upstream path needs `{typed}`, which is optional");
        sheet.push(sheet.error("upstream-optional", &sheet.part(node, typed), message).help("make it required"));
    }
    Some(index)
}

/// Finds the parameter that `path.id`, `query.id` or `body.id` names.
pub(super) fn reference(sheet: &mut Sheet<'_>, node: &Node, typed: &str, parameters: &[Parameter]) -> Option<ParamIx> {
    let found = parameters.iter().position(|parameter| qualified(parameter) == typed);
    if found.is_none() {
        let known: Vec<String> = parameters.iter().map(qualified).collect();
        let problem =
            sheet.error("unknown-parameter", &sheet.part(node, typed), format!("there is no parameter `{typed}`"));
        sheet.push(problem.suggest(typed, known.iter().map(String::as_str)));
    }
    found.map(ParamIx)
}

/// A parameter's name with its place, as templates write it.
pub(super) fn qualified(parameter: &Parameter) -> String {
    let place = match parameter.location {
        Location::Path => "path",
        Location::Query => "query",
        Location::Body => "body",
    };
    format!("{place}.{}", parameter.name)
}

/// Reads `x-gateway-cache`: a scope, or a table of scope and times. Where the contract says nothing, a record with a sensitive field
/// is not stored, nor is a list or a whole field, and any other is shared for as long as the register says, at most a minute.
pub(super) fn cache(sheet: &mut Sheet<'_>, node: Option<&Node>, how: How, record: Option<&RecordSchema>) -> CacheRule {
    // A whole field is stored only where it is what is answered.
    let stored = |field: &&Field| !field.whole || how == How::Whole;
    let mut fields = record.into_iter().flat_map(|record| &record.fields);
    let sensitive = fields.any(|field| stored(&field) && field.class == Class::Sensitive);
    let Some(node) = node else {
        let kept = matches!(how, How::Record | How::Match) && !sensitive;
        let scope = if kept { CacheScope::Shared } else { CacheScope::Off };
        return CacheRule { scope, ..UNSAID };
    };
    let rule = match &node.value {
        Value::Table(table) => {
            let place = "`x-gateway-cache`";
            sheet.check_keys(table, place, &["scope", "fresh", "stale-if-error", "stale-while-revalidate", "no-match"]);
            let scope = sheet.required(table, &node.span, place, "scope").and_then(|node| scope(sheet, node));
            let mut time = |key: &str| table.node(key).and_then(|node| duration(sheet, node, &format!("`{key}`")));
            let (fresh, stale_if_error) = (time("fresh"), time("stale-if-error"));
            let (stale_while_revalidate, no_match) = (time("stale-while-revalidate"), time("no-match"));
            if let Some(node) = table.node("no-match").filter(|_| no_match.is_some_and(|time| time > LONGEST_NO_MATCH))
            {
                let message = format!("`no-match` is longer than {} s", LONGEST_NO_MATCH.as_secs());
                let problem = sheet.error("bad-cache", &node.span, message);
                sheet.push(problem.help("who is registered meanwhile would be unknown for so long"));
            }
            CacheRule {
                scope: scope.unwrap_or(CacheScope::Off),
                fresh: fresh.unwrap_or(UNSAID.fresh),
                stale_if_error: stale_if_error.unwrap_or_default(),
                stale_while_revalidate: stale_while_revalidate.unwrap_or_default(),
                no_match: no_match.unwrap_or_default().min(LONGEST_NO_MATCH),
            }
        }
        _ => CacheRule { scope: scope(sheet, node).unwrap_or(CacheScope::Off), ..UNSAID },
    };
    if sensitive && rule.scope != CacheScope::Off {
        let name = record.map(|record| record.name.as_str()).unwrap_or_default();
        let message = format!("`{name}` has sensitive fields, and the contract lets it be stored");
        let problem = sheet.warning("cache-sensitive", &node.span, message);
        sheet.push(problem.help("`x-gateway-cache: off` keeps it out of memory"));
    }
    rule
}

fn scope(sheet: &mut Sheet<'_>, node: &Node) -> Option<CacheScope> {
    let known = [("shared", CacheScope::Shared), ("agency", CacheScope::Agency), ("off", CacheScope::Off)];
    sheet.choice(node, "the scope of `x-gateway-cache`", "bad-cache", &known)
}

fn duration(sheet: &mut Sheet<'_>, node: &Node, what: &str) -> Option<Duration> {
    let typed = sheet.text(node, what)?;
    let parsed = typed
        .char_indices()
        .find(|(_, char)| !char.is_ascii_digit())
        .and_then(|(at, _)| typed.split_at_checked(at))
        .and_then(|(count, unit)| {
            let unit = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 3600,
                "d" => 86_400,
                _ => return None,
            };
            count.parse::<u64>().ok()?.checked_mul(unit)
        })
        .filter(|seconds| *seconds <= LONGEST);
    if parsed.is_none() {
        let problem = sheet.error("bad-duration", &node.span, format!("{what} cannot be `{typed}`"));
        sheet.push(problem.help("a whole number and a unit, at most 30 days: `90s`, `10m`, `12h`, `1d`"));
    }
    parsed.map(Duration::from_secs)
}

/// What holds where the contract does not say.
const UNSAID: CacheRule = CacheRule {
    scope: CacheScope::Off,
    fresh: Duration::from_secs(60),
    stale_if_error: Duration::ZERO,
    stale_while_revalidate: Duration::ZERO,
    no_match: Duration::ZERO,
};
/// Whoever is registered must be known soon.
const LONGEST_NO_MATCH: Duration = Duration::from_secs(60);
/// 30 days, in seconds.
const LONGEST: u64 = 30 * 86_400;
