//! Parameters: of the path, the query and the body alike.

use regex::{Regex, RegexBuilder};

use crate::contract::{Kind, Location, Parameter, RecordSchema, Role};
use crate::document::{Entry, Node, Sheet, Span, Table, Value};
use crate::model::FieldIx;

use super::record::strings;
use super::role::{self, Extensions, Named};
use super::schema::{Resolved, Schemas, Type};
use super::{content, extension};

/// A parameter and where it stands.
pub(super) struct Draft<'d> {
    pub(super) parameter: Parameter,
    pub(super) at: &'d Span,
}

/// Reads a list of OpenAPI parameter objects; `None` if one of them could not be read.
pub(super) fn read_list<'d>(
    sheet: &mut Sheet<'_>,
    schemas: &mut Schemas<'d>,
    shared: Option<&'d Table>,
    node: &'d Node,
    record: Option<&RecordSchema>,
) -> Option<Vec<Draft<'d>>> {
    let items = sheet.list(node, "`parameters`")?;
    let read: Vec<_> = items.iter().map(|item| read(sheet, schemas, shared, item, record)).collect();
    read.into_iter().collect()
}

fn read<'d>(
    sheet: &mut Sheet<'_>,
    schemas: &mut Schemas<'d>,
    shared: Option<&'d Table>,
    node: &'d Node,
    record: Option<&RecordSchema>,
) -> Option<Draft<'d>> {
    let mut node = node;
    let mut table = sheet.table(node, "a parameter")?;
    if let Some(reference) = table.node("$ref") {
        let typed = sheet.text(reference, "`$ref`")?;
        let target = typed.strip_prefix("#/components/parameters/").and_then(|name| shared?.node(name));
        let Some(target) = target else {
            let message = format!("`{typed}` cannot be resolved");
            let help = "only `#/components/parameters/<name>` is followed here";
            sheet.push(sheet.error("bad-ref", &reference.span, message).help(help));
            return None;
        };
        node = target;
        table = sheet.table(node, "a parameter")?;
    }
    sheet.check_keys(table, "a parameter", KEYS);
    extension::check_place(sheet, table, "a parameter", extension::PARAMETER);
    let name_node = sheet.required(table, &node.span, "a parameter", "name")?;
    let name = sheet.text(name_node, "`name`")?;
    let place = sheet.required(table, &node.span, &format!("the parameter `{name}`"), "in")?;
    let place_name = sheet.text(place, "`in`")?;
    let location = match place_name {
        "path" => Location::Path,
        "query" => Location::Query,
        "header" | "cookie" => {
            let message = format!("the parameter `{name}` travels in a {place_name}: headers do not cross the gateway");
            let help = "make it a `path` or `query` parameter, or a property of the body";
            sheet.push(sheet.error("parameter-place", &place.span, message).help(help));
            return None;
        }
        other => {
            let problem = sheet.error("parameter-place", &place.span, format!("a parameter cannot be in `{other}`"));
            sheet.push(problem.suggest(other, ["path", "query"]));
            return None;
        }
    };
    let required = table.node("required").is_some_and(|node| node.value == Value::Bool(true));
    if location == Location::Path && !required {
        let message = format!("the path parameter `{name}` must be `required: true`");
        sheet.push(sheet.error("path-optional", &name_node.span, message));
    }
    let extensions = Extensions {
        field: table.node("x-gateway-field"),
        role: table.node("x-gateway-role"),
        sort: table.node("x-gateway-sort"),
    };
    let schema = sheet.required(table, &name_node.span, &format!("the parameter `{name}`"), "schema")?;
    let schema = schemas.resolve(sheet, schema, &[])?;
    schema.check(sheet, &format!("the schema of the parameter `{name}`"), &[]);
    let required = required || location == Location::Path;
    let read = role::read(sheet, extensions, Named { name, at: &name_node.span, required }, &schema, record)?;
    Some(Draft { parameter: made(name, location, required, read), at: &name_node.span })
}

/// Reads the properties of a JSON body; `None` if one of them could not be read.
pub(super) fn read_body<'d>(
    sheet: &mut Sheet<'_>,
    schemas: &mut Schemas<'d>,
    node: &'d Node,
    record: Option<&RecordSchema>,
) -> Option<Vec<Draft<'d>>> {
    let schema = content::json(sheet, node, "`requestBody`")?;
    let body = schemas.resolve(sheet, schema, &[])?;
    body.check(sheet, "the body", &[]);
    if body.kind(sheet, "the body").is_some_and(|kind| kind != Type::Object) {
        sheet.push(sheet.error("bad-body", body.span, "the body must be an object"));
        return None;
    }
    let properties = body.properties(sheet);
    if properties.is_empty() {
        sheet.push(sheet.error("bad-body", body.span, "the body declares no properties"));
    }
    let required = strings(body.node("required"));
    super::record::check_required(sheet, &body, properties);
    let read: Vec<_> = properties.iter().map(|entry| property(sheet, schemas, entry, &required, record)).collect();
    read.into_iter().collect()
}

fn property<'d>(
    sheet: &mut Sheet<'_>,
    schemas: &mut Schemas<'d>,
    entry: &'d Entry,
    required: &[&str],
    record: Option<&RecordSchema>,
) -> Option<Draft<'d>> {
    let name = entry.key.as_str();
    let schema = schemas.resolve(sheet, &entry.node, &[])?;
    schema.check(sheet, &format!("the property `{name}` of the body"), extension::PARAMETER);
    let extensions = Extensions {
        field: schema.node("x-gateway-field"),
        role: schema.node("x-gateway-role"),
        sort: schema.node("x-gateway-sort"),
    };
    let required = required.contains(&name);
    let read = role::read(sheet, extensions, Named { name, at: &entry.at, required }, &schema, record)?;
    Some(Draft { parameter: made(name, Location::Body, required, read), at: &entry.at })
}

/// The field that a parameter is bound to. Where that is wrong, it is reported and any field will do: the bundle is refused.
pub(super) fn field(
    sheet: &mut Sheet<'_>,
    node: Option<&Node>,
    name: &str,
    at: &Span,
    record: Option<&RecordSchema>,
) -> FieldIx {
    let Some(node) = node else {
        let problem = sheet.error("missing-field", at, format!("the parameter `{name}` is bound to no field"));
        sheet.push(problem.help("add `x-gateway-field`: asking about a value discloses something of a field too"));
        return FieldIx(0);
    };
    let (Some(typed), Some(record)) = (sheet.text(node, "`x-gateway-field`"), record) else { return FieldIx(0) };
    match record.field_named(typed) {
        Some(field) if field.whole => {
            let message = format!("the parameter `{name}` cannot ask about the whole field `{typed}`");
            let problem = sheet.error("whole-unfit", &node.span, message);
            sheet.push(problem.help("no value can be compared with it"));
            field.index
        }
        Some(field) => field.index,
        None => {
            let problem = sheet.error("unknown-field", &node.span, format!("there is no field `{typed}`"));
            sheet.push(problem.suggest(typed, record.fields.iter().map(|field| field.name.as_str())));
            FieldIx(0)
        }
    }
}

/// What a parameter's value must be.
pub(super) struct Constraints {
    pub(super) kind: Kind,
    pub(super) pattern: Option<Regex>,
    pub(super) max_length: usize,
}

fn made(name: &str, location: Location, required: bool, read: (Role, FieldIx, Constraints)) -> Parameter {
    let (role, field, Constraints { kind, pattern, max_length }) = read;
    Parameter { name: name.to_owned(), location, role, field, required, kind, pattern, max_length }
}

/// `bounded`: whether `minimum` and `maximum` are read elsewhere.
pub(super) fn value(sheet: &mut Sheet<'_>, schema: &Resolved<'_>, name: &str, bounded: bool) -> Option<Constraints> {
    let place = format!("the parameter `{name}`");
    let kind = match schema.kind(sheet, &place)? {
        Type::Scalar(kind @ (Kind::String | Kind::Date | Kind::Integer | Kind::Boolean)) => kind,
        _ => {
            let message = format!("{place} must be a string, an integer or a boolean");
            sheet.push(sheet.error("parameter-type", schema.span, message));
            return None;
        }
    };
    for keyword in NOT_ENFORCED.into_iter().filter(|keyword| !bounded || !matches!(*keyword, "minimum" | "maximum")) {
        if let Some(node) = schema.node(keyword) {
            let message = format!("`{keyword}` is not enforced for {place}");
            sheet.push(sheet.error("unsupported-keyword", &node.span, message).help("say it as a `pattern`"));
        }
    }
    if let Some((typed, node)) = schema.node("format").and_then(|node| Some((sheet.text(node, "`format`")?, node)))
        && !FORMATS.contains(&typed)
    {
        let problem =
            sheet.error("bad-format", &node.span, format!("the format `{typed}` is not enforced for {place}"));
        sheet.push(problem.suggest(typed, FORMATS));
    }
    let pattern = schema.node("pattern").and_then(|node| pattern(sheet, node));
    let choices = schema.node("enum").and_then(|node| choices(sheet, node, pattern.as_ref()));
    Some(Constraints { kind, pattern: choices.or(pattern), max_length: max_length(sheet, schema) })
}

fn max_length(sheet: &mut Sheet<'_>, schema: &Resolved<'_>) -> usize {
    let Some(node) = schema.node("maxLength") else { return DEFAULT_LENGTH };
    match node.value {
        Value::Integer(length) if (1..=LONGEST).contains(&length) => usize::try_from(length).unwrap_or(DEFAULT_LENGTH),
        _ => {
            sheet.push(sheet.error(
                "bad-length",
                &node.span,
                format!("`maxLength` must be a number from 1 to {LONGEST}"),
            ));
            DEFAULT_LENGTH
        }
    }
}

/// JSON Schema's patterns are not anchored; ours match the whole value, whether they say so or not.
fn pattern(sheet: &mut Sheet<'_>, node: &Node) -> Option<Regex> {
    let typed = sheet.text(node, "`pattern`")?;
    for (class, instead) in [("\\d", "[0-9]"), ("\\w", "[A-Za-z0-9_]")] {
        if typed.contains(class) {
            let message = format!("`{class}` would match digits of every script");
            sheet.push(sheet.error("bad-pattern", &node.span, message).help(format!("write `{instead}`")));
            return None;
        }
    }
    match whole(typed) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            let message = format!("the pattern `{typed}` cannot be read: {reason}");
            sheet.push(sheet.error("bad-pattern", &node.span, message));
            None
        }
    }
}

/// An `enum` as a pattern.
fn choices(sheet: &mut Sheet<'_>, node: &Node, pattern: Option<&Regex>) -> Option<Regex> {
    let mut choices = Vec::new();
    for (typed, item) in sheet.texts(node, "`enum`") {
        if pattern.is_some_and(|pattern| !pattern.is_match(typed)) {
            sheet.push(sheet.error("bad-enum", &item.span, format!("`{typed}` does not match the `pattern`")));
        }
        choices.push(regex::escape(typed));
    }
    if choices.is_empty() {
        sheet.push(sheet.error("bad-enum", &node.span, "`enum` lists no string"));
    }
    whole(&choices.join("|")).ok()
}

fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    // Each is compiled alone first, so that `a)|(b` cannot escape the group.
    Regex::new(pattern)?;
    RegexBuilder::new(&format!(r"\A(?:{pattern})\z")).size_limit(PATTERN_SIZE).build()
}

const KEYS: &[&str] = &["name", "in", "required", "description", "schema", "example", "examples", "deprecated"];

/// Constraints that a reader of the contract would rely on, and that are not checked here.
const NOT_ENFORCED: [&str; 2] = ["contentEncoding", "contentMediaType"];

/// The formats that are checked; `int32` and `int64` say nothing that the type does not.
const FORMATS: [&str; 14] = [
    "date",
    "date-time",
    "time",
    "duration",
    "email",
    "idn-email",
    "hostname",
    "idn-hostname",
    "ipv4",
    "ipv6",
    "uri",
    "uuid",
    "int32",
    "int64",
];

/// `maxLength` where the contract does not say.
const DEFAULT_LENGTH: usize = 256;
/// The longest that a contract may allow.
const LONGEST: i64 = 4096;
/// Memory of a compiled pattern, in bytes.
const PATTERN_SIZE: usize = 1 << 20;
