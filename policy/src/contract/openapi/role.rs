//! What a parameter is for: asking, a page's size, a page's place, an order; and which of them a register can filter by.

use regex::Regex;

use crate::contract::{
    Derive, Kind, ObjectShape, ParamIx, Parameter, Pushdown, RecordSchema, Role, Shape, UpstreamTemplate,
};
use crate::document::{Node, Sheet, Span, Table, Value};
use crate::model::FieldIx;

use super::binding;
use super::parameter::{self, Constraints, Draft};
use super::record::strings;
use super::schema::Resolved;

/// The extensions of a parameter. They stand beside its name, or in the schema of a property of the body.
#[derive(Clone, Copy)]
pub(super) struct Extensions<'d> {
    pub(super) field: Option<&'d Node>,
    pub(super) role: Option<&'d Node>,
    pub(super) sort: Option<&'d Node>,
}

/// A parameter whose role is to be read.
#[derive(Clone, Copy)]
pub(super) struct Named<'d> {
    pub(super) name: &'d str,
    pub(super) at: &'d Span,
    pub(super) required: bool,
}

/// The role as it is typed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Typed {
    Asks,
    Limit,
    Cursor,
    Sort,
}

/// Reads what a parameter is for and the field that it is bound to, and what follows from that for its value.
pub(super) fn read<'d>(
    sheet: &mut Sheet<'_>,
    extensions: Extensions<'d>,
    named: Named<'d>,
    schema: &Resolved<'d>,
    record: Option<&RecordSchema>,
) -> Option<(Role, FieldIx, Constraints)> {
    let Named { name, at, .. } = named;
    let typed = typed(sheet, extensions, name)?;
    if typed == Typed::Asks {
        let field = parameter::field(sheet, extensions.field, name, at, record);
        return Some((Role::Asks, field, parameter::value(sheet, schema, name, false)?));
    }
    if let Some(node) = extensions.field {
        let message = format!("the parameter `{name}` says nothing about one field: it is {}", described(typed));
        sheet.push(sheet.error("role-unfit", &node.span, message).help("remove `x-gateway-field`"));
    }
    let mut value = parameter::value(sheet, schema, name, typed == Typed::Limit)?;
    let wanted = if typed == Typed::Limit { Kind::Integer } else { Kind::String };
    if value.kind != wanted {
        let a = if typed == Typed::Limit { "an integer" } else { "a string" };
        let message = format!("the parameter `{name}` must be {a}: it is {}", described(typed));
        sheet.push(sheet.error("role-unfit", schema.span, message));
        return None;
    }
    let role = match typed {
        Typed::Asks => Role::Asks,
        Typed::Limit => Role::Limit(most(sheet, schema, named)?),
        Typed::Cursor => {
            cursor(sheet, schema, named);
            value = Constraints { kind: Kind::String, pattern: Regex::new(CURSOR).ok(), max_length: CURSOR_LENGTH };
            Role::Cursor
        }
        Typed::Sort => Role::Sort(sort(sheet, schema, extensions.sort?, named, record)?),
    };
    Some((role, record.map_or(FieldIx(0), |record| record.subject), value))
}

fn typed(sheet: &mut Sheet<'_>, extensions: Extensions<'_>, name: &str) -> Option<Typed> {
    match (extensions.role, extensions.sort) {
        (None, None) => Some(Typed::Asks),
        (None, Some(_)) => Some(Typed::Sort),
        (Some(node), None) => {
            let known = [("limit", Typed::Limit), ("cursor", Typed::Cursor)];
            sheet.choice(node, &format!("the role of the parameter `{name}`"), "bad-role", &known)
        }
        (Some(node), Some(_)) => {
            let message = format!("the parameter `{name}` cannot be an order and have `x-gateway-role` too");
            sheet.push(sheet.error("bad-role", &node.span, message).help("remove one of the two"));
            None
        }
    }
}

/// `maximum`, beside `minimum: 1`.
fn most(sheet: &mut Sheet<'_>, schema: &Resolved<'_>, named: Named<'_>) -> Option<u32> {
    let mut bound = |key: &str, from: i64, to: i64| {
        let number = match schema.node(key).map(|node| &node.value) {
            Some(Value::Integer(number)) => Some(*number).filter(|number| (from..=to).contains(number)),
            _ => None,
        };
        if number.is_none() {
            let at = schema.node(key).map_or(named.at, |node| &node.span);
            let must_be = if from == to { from.to_string() } else { format!("a number from {from} to {to}") };
            let message = format!("`{key}` of the page size `{}` must be {must_be}", named.name);
            let help = format!("such as `minimum: 1, maximum: {USUAL_PAGE}`; both are enforced");
            sheet.push(sheet.error("bad-limit", at, message).help(help));
        }
        number
    };
    let (_, most) = (bound("minimum", 1, 1)?, bound("maximum", 1, LARGEST_PAGE)?);
    u32::try_from(most).ok()
}

/// A cursor's form is the gateway's own, whatever the register's are like.
fn cursor(sheet: &mut Sheet<'_>, schema: &Resolved<'_>, named: Named<'_>) {
    let name = named.name;
    if named.required {
        let message = format!("the cursor `{name}` is required, and the first page has none");
        sheet.push(sheet.error("role-unfit", named.at, message).help("make it optional"));
    }
    let other = ["pattern", "enum", "maxLength"].into_iter().find_map(|key| {
        let node = schema.node(key)?;
        let ours = match &node.value {
            Value::Integer(length) => key == "maxLength" && usize::try_from(*length) == Ok(CURSOR_LENGTH),
            Value::Text(pattern) => key == "pattern" && pattern == CURSOR_TYPED,
            _ => false,
        };
        (!ours).then_some((key, node))
    });
    if let Some((key, node)) = other {
        let message = format!("`{key}` cannot restrict the cursor `{name}`: its form is the gateway's");
        let help = format!("leave it out, or write `maxLength: {CURSOR_LENGTH}` and `pattern: '{CURSOR_TYPED}'`");
        sheet.push(sheet.error("role-unfit", &node.span, message).help(help));
    }
}

/// Each value of the `enum` with the field whose order it is.
fn sort(
    sheet: &mut Sheet<'_>,
    schema: &Resolved<'_>,
    node: &Node,
    named: Named<'_>,
    record: Option<&RecordSchema>,
) -> Option<Vec<(String, FieldIx)>> {
    let name = named.name;
    let table = sheet.table(node, "`x-gateway-sort`")?;
    let Some(listed) = schema.node("enum") else {
        let problem = sheet.error("bad-sort", named.at, format!("the order `{name}` lists no `enum`"));
        sheet.push(problem.help("add `enum` with the keys of `x-gateway-sort`"));
        return None;
    };
    let values = strings(Some(listed));
    for (value, item) in sheet.texts(listed, "`enum`") {
        if table.node(value).is_none() {
            let message = format!("the order `{value}` tells about no field");
            let problem = sheet.error("bad-sort", &item.span, message);
            sheet.push(problem.help(format!("add `{value}` with its field to `x-gateway-sort`: positions disclose")));
        }
    }
    let mut orders = Vec::new();
    for entry in &table.entries {
        if !values.contains(&entry.key.as_str()) {
            let problem = sheet.error("bad-sort", &entry.at, format!("`{}` is no value of `{name}`", entry.key));
            sheet.push(problem.suggest(&entry.key, values.iter().copied()));
        }
        let (Some(typed), Some(record)) = (sheet.text(&entry.node, "each field of `x-gateway-sort`"), record) else {
            continue;
        };
        // The leaves of the envelope are named after it, as the merged record is.
        let own = |name: &str| !name.strip_prefix(&record.name).is_some_and(|rest| rest.starts_with('.'));
        match record.field_named(typed).filter(|field| own(field.name.as_str())) {
            Some(field) if field.whole || field.array || !is_single(&record.shape, field.index) => {
                let message = format!("records cannot be in the order of `{typed}`: it is no single value");
                sheet.push(sheet.error("bad-sort", &entry.node.span, message));
            }
            Some(field) => orders.push((entry.key.clone(), field.index)),
            None => {
                let problem =
                    sheet.error("unknown-field", &entry.node.span, format!("a record has no field `{typed}`"));
                let known = record.fields.iter().map(|field| field.name.as_str()).filter(|name| own(name));
                sheet.push(problem.suggest(typed, known));
            }
        }
    }
    Some(orders)
}

/// Whether a record has one of that leaf at most.
fn is_single(shape: &ObjectShape, field: FieldIx) -> bool {
    shape.members().any(|(_, member)| match member {
        Shape::Leaf(leaf) => *leaf == field,
        Shape::Object(object) => is_single(object, field),
        Shape::Array(_) => false,
    })
}

/// Reports roles where there are no pages, a role that two parameters have, and parameters that the register is not told: each of a list's
/// asks, turns or orders, and would do nothing.
pub(super) fn check(sheet: &mut Sheet<'_>, drafts: &[Draft<'_>], list: bool, upstream: Option<&UpstreamTemplate>) {
    let mut seen: Vec<std::mem::Discriminant<Role>> = Vec::new();
    for (at, draft) in drafts.iter().enumerate() {
        let (name, role) = (&draft.parameter.name, &draft.parameter.role);
        if !list && *role != Role::Asks {
            let message = format!("the parameter `{name}` is {}, and the operation answers no list", called(role));
            let problem = sheet.error("role-unfit", draft.at, message);
            sheet.push(problem.help("lists have `x-gateway-answer: list`"));
            continue;
        }
        if *role != Role::Asks && seen.contains(&std::mem::discriminant(role)) {
            let message = format!("the parameter `{name}` is {}, and so is another one", called(role));
            sheet.push(sheet.error("duplicate-role", draft.at, message).help("an operation has one of each role"));
            continue;
        }
        seen.push(std::mem::discriminant(role));
        if list && upstream.is_some_and(|upstream| !upstream.names(ParamIx(at))) {
            let message = format!("the register is not told the parameter `{name}`: it would have no effect");
            let problem = sheet.error("unused-parameter", draft.at, message);
            let qualified = binding::qualified(&draft.parameter);
            sheet.push(problem.help(format!("add it to `x-gateway-upstream`, such as `{name}={{{qualified}}}`")));
        }
    }
}

/// Reports a cursor that one half of the operation has: a parameter, or a leaf of the envelope. `answer` is where the operation says that
/// it answers a list.
pub(super) fn check_cursor(
    sheet: &mut Sheet<'_>,
    drafts: &[Draft<'_>],
    record: &RecordSchema,
    leaf: Option<FieldIx>,
    answer: &Span,
) {
    let parameter = drafts.iter().find(|draft| draft.parameter.role == Role::Cursor);
    match (parameter, leaf.and_then(|leaf| record.field(leaf))) {
        (Some(draft), None) => {
            let name = &draft.parameter.name;
            let message =
                format!("`{name}` turns pages, and no leaf of `{}` holds the next page's cursor", record.name);
            let problem = sheet.error("cursor-half", draft.at, message);
            sheet.push(problem.help("add `x-gateway-role: cursor` to that leaf"));
        }
        (None, Some(leaf)) => {
            let message = format!("`{}` holds the next page's cursor, and no parameter takes it", leaf.name);
            let problem = sheet.error("cursor-half", answer, message);
            sheet.push(problem.help("add a parameter with `x-gateway-role: cursor`"));
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
}

/// Reads `x-gateway-pushdown: { province: body.province_code }`.
pub(super) fn pushdown(
    sheet: &mut Sheet<'_>,
    table: &Table,
    list: bool,
    record: Option<&RecordSchema>,
    parameters: &[Parameter],
) -> Option<Pushdown> {
    let node = table.node("x-gateway-pushdown")?;
    if !list {
        let problem = sheet.error("bad-pushdown", &node.span, "`x-gateway-pushdown` needs a list that can be filtered");
        sheet.push(problem.help("lists have `x-gateway-answer: list`"));
        return None;
    }
    let entries = &sheet.table(node, "`x-gateway-pushdown`")?.entries;
    let [entry] = &entries[..] else {
        let message = "`x-gateway-pushdown` must name one attribute and its parameter";
        sheet.push(sheet.error("bad-pushdown", &node.span, message).help("such as `{ province: body.province_code }`"));
        return None;
    };
    let typed = sheet.text(&entry.node, "the parameter of `x-gateway-pushdown`")?;
    let record = record?;
    let name = entry.key.as_str();
    let Some(index) = record.attributes.iter().position(|attribute| attribute.name == name) else {
        let problem = sheet.error("unknown-attribute", &entry.at, format!("the record has no attribute `{name}`"));
        sheet.push(problem.suggest(name, record.attributes.iter().map(|attribute| attribute.name.as_str())));
        return None;
    };
    let reference = binding::reference(sheet, &entry.node, typed, parameters)?;
    let (attribute, parameter) = (record.attributes.get(index)?, parameters.get(reference.0)?);
    if attribute.derive != Derive::Value {
        let message = format!("the attribute `{name}` cannot be pushed down: it is no value of the record");
        let help = "a register filters by values; what is derived from them is worked out here";
        sheet.push(sheet.error("bad-pushdown", &entry.at, message).help(help));
    } else if parameter.role != Role::Asks || parameter.field != attribute.from {
        let wanted = record.field(attribute.from).map(|field| field.name.as_str()).unwrap_or_default();
        let message = format!("`{typed}` does not filter by the attribute `{name}`");
        let problem = sheet.error("bad-pushdown", &entry.node.span, message);
        sheet.push(problem.help(format!("bind it with `x-gateway-field: {wanted}`")));
    }
    Some(Pushdown { attribute: index, parameter: reference })
}

fn described(typed: Typed) -> &'static str {
    match typed {
        Typed::Asks => "a question",
        Typed::Limit => "a page size",
        Typed::Cursor => "a cursor",
        Typed::Sort => "an order",
    }
}

fn called(role: &Role) -> &'static str {
    match role {
        Role::Asks => described(Typed::Asks),
        Role::Limit(_) => described(Typed::Limit),
        Role::Cursor => described(Typed::Cursor),
        Role::Sort(_) => described(Typed::Sort),
    }
}

/// base64url without padding (RFC 4648, section 5).
const CURSOR: &str = r"\A(?:^[A-Za-z0-9_-]+$)\z";
/// The same as contracts write it.
const CURSOR_TYPED: &str = "^[A-Za-z0-9_-]+$";
/// The longest cursor, in characters.
const CURSOR_LENGTH: usize = 512;
/// A page size that most registers have.
const USUAL_PAGE: i64 = 100;
/// The largest page that a contract may allow: a list is read whole.
const LARGEST_PAGE: i64 = 1000;
