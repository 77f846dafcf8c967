//! JSON Schema, as far as records and parameters need it: references and types.

use std::collections::BTreeSet;

use crate::contract::Kind;
use crate::document::{Node, Sheet, Span, Table, Value};

/// The component schemas of one document.
pub(super) struct Schemas<'d> {
    components: Option<&'d Table>,
    used: BTreeSet<&'d str>,
}

/// A schema with its references followed. What stands beside a `$ref` goes before what it refers to.
pub(super) struct Resolved<'d> {
    layers: Vec<&'d Table>,
    /// Where the schema stands that the references lead to, or where they are written.
    pub(super) span: &'d Span,
    /// The names of the component schemas that were followed.
    pub(super) names: Vec<&'d str>,
}

/// The type of a schema.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Type {
    Scalar(Kind),
    Object,
    Array,
}

impl<'d> Schemas<'d> {
    /// `components` is the document's `components.schemas`.
    pub(super) fn new(components: Option<&'d Table>) -> Self {
        Self { components, used: BTreeSet::new() }
    }

    /// The component schema of that name.
    pub(super) fn component(&mut self, name: &str) -> Option<&'d crate::document::Entry> {
        let entry = self.components?.entry(name)?;
        self.used.insert(&entry.key);
        Some(entry)
    }

    /// The component schema of that name as it is written, without counting as used and without following references.
    pub(super) fn peek(&self, name: &str) -> Option<&'d Table> {
        self.components?.node(name)?.as_table()
    }

    /// The name of the component schema that a `$ref` leads to.
    pub(super) fn referred(&self, reference: &'d Node) -> Option<&'d str> {
        reference.as_text()?.strip_prefix(COMPONENTS)
    }

    pub(super) fn names(&self) -> Vec<&'d str> {
        self.components.map(|components| components.keys().collect()).unwrap_or_default()
    }

    /// The component schemas that nothing led to.
    pub(super) fn unused(&self) -> impl Iterator<Item = &'d crate::document::Entry> {
        let entries = self.components.map(|components| components.entries.as_slice()).unwrap_or_default();
        entries.iter().filter(|entry| !self.used.contains(entry.key.as_str()))
    }

    /// Follows `$ref`. `within` are the component schemas that contain this one; to come back to one of them is an error.
    pub(super) fn resolve(&mut self, sheet: &mut Sheet<'_>, node: &'d Node, within: &[&str]) -> Option<Resolved<'d>> {
        let mut resolved = Resolved { layers: Vec::new(), span: &node.span, names: Vec::new() };
        let mut node = node;
        loop {
            let table = sheet.table(node, "a schema")?;
            resolved.layers.push(table);
            let Some(reference) = table.node("$ref") else {
                return Some(resolved);
            };
            let target = sheet.text(reference, "`$ref`")?;
            check_siblings(sheet, table);
            let Some(name) = target.strip_prefix(COMPONENTS) else {
                let message = format!("`{target}` cannot be resolved");
                let help = format!("only references within the document are followed: `{COMPONENTS}<name>`");
                sheet.push(sheet.error("bad-ref", &reference.span, message).help(help));
                return None;
            };
            let Some(entry) = self.component(name) else {
                let problem = sheet.error("bad-ref", &reference.span, format!("there is no schema `{name}`"));
                sheet.push(problem.suggest(name, self.names()));
                return None;
            };
            if within.contains(&name) || resolved.names.contains(&name) {
                let message = format!("the schema `{name}` contains itself");
                let help = "a record must end somewhere: its fields are decided one by one";
                sheet.push(sheet.error("recursive-ref", &reference.span, message).help(help));
                return None;
            }
            resolved.names.push(&entry.key);
            node = &entry.node;
        }
    }
}

impl<'d> Resolved<'d> {
    pub(super) fn node(&self, key: &str) -> Option<&'d Node> {
        self.layers.iter().find_map(|layer| layer.node(key))
    }

    pub(super) fn properties(&self, sheet: &mut Sheet<'_>) -> &'d [crate::document::Entry] {
        let table = self.node("properties").and_then(|node| sheet.table(node, "`properties`"));
        table.map(|table| table.entries.as_slice()).unwrap_or_default()
    }

    /// Reports keys that are no schema keywords, keywords that would change the shape in a way that is not read here, and
    /// extensions that have no meaning on `place`.
    pub(super) fn check(&self, sheet: &mut Sheet<'_>, place: &str, allowed: &[&str]) {
        for layer in &self.layers {
            super::extension::check_place(sheet, layer, place, allowed);
            for entry in &layer.entries {
                let key = entry.key.as_str();
                if UNSUPPORTED.contains(&key) {
                    let message = format!("`{key}` is not supported in contracts");
                    let help = "write the object's properties out, so that each field can be granted by itself";
                    sheet.push(sheet.error("unsupported-keyword", &entry.at, message).help(help));
                } else if key == "additionalProperties" && entry.node.value != Value::Bool(false) {
                    let message = "`additionalProperties` can only be `false`";
                    let help = "what is not declared is never disclosed; declare each property";
                    sheet.push(sheet.error("additional-properties", &entry.at, message).help(help));
                } else if !key.starts_with("x-") && !KEYWORDS.contains(&key) {
                    let message = format!("unknown schema keyword `{key}`");
                    sheet.push(sheet.error("unknown-key", &entry.at, message).suggest(key, KEYWORDS.iter().copied()));
                }
            }
        }
    }

    /// The type; `place` is what the message calls the schema.
    pub(super) fn kind(&self, sheet: &mut Sheet<'_>, place: &str) -> Option<Type> {
        let Some(node) = self.node("type") else {
            let problem = sheet.error("missing-type", self.span, format!("{place} has no `type`"));
            sheet.push(problem.help(format!("one of {}", TYPES.map(|(name, _)| format!("`{name}`")).join(", "))));
            return None;
        };
        let node = match &node.value {
            Value::List(items) => {
                let mut others =
                    items.iter().filter(|item| item.as_text() != Some("null") && item.value != Value::Null);
                match (others.next(), others.next()) {
                    (Some(only), None) => only,
                    _ => {
                        let message = format!("{place} must have one type (and perhaps 'null')");
                        sheet.push(sheet.error("unknown-type", &node.span, message));
                        return None;
                    }
                }
            }
            _ => node,
        };
        let kind = sheet.choice(node, "`type`", "unknown-type", &TYPES)?;
        match self.node("format") {
            Some(format) if format.as_text() == Some("date") => {
                if kind != Type::Scalar(Kind::String) {
                    sheet.push(sheet.error("bad-format", &format.span, "`format: date` needs `type: string`"));
                }
                Some(Type::Scalar(Kind::Date))
            }
            _ => Some(kind),
        }
    }
}

fn check_siblings(sheet: &mut Sheet<'_>, table: &Table) {
    for entry in &table.entries {
        let key = entry.key.as_str();
        if !key.starts_with("x-") && !BESIDE_REF.contains(&key) {
            let message = format!("`{key}` cannot stand beside `$ref`");
            let help = "only `x-gateway-*` keys and descriptions may; write the schema out instead";
            sheet.push(sheet.error("ref-sibling", &entry.at, message).help(help));
        }
    }
}

/// Where component schemas are.
const COMPONENTS: &str = "#/components/schemas/";

const TYPES: [(&str, Type); 6] = [
    ("string", Type::Scalar(Kind::String)),
    ("integer", Type::Scalar(Kind::Integer)),
    ("number", Type::Scalar(Kind::Number)),
    ("boolean", Type::Scalar(Kind::Boolean)),
    ("object", Type::Object),
    ("array", Type::Array),
];

const BESIDE_REF: &[&str] = &["$ref", "description", "title", "example", "examples", "deprecated", "$comment"];

/// Keywords under which the same JSON could have several shapes.
const UNSUPPORTED: &[&str] = &[
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "discriminator",
    "patternProperties",
    "propertyNames",
    "dependentSchemas",
    "prefixItems",
    "contains",
    "unevaluatedProperties",
    "unevaluatedItems",
    "$dynamicRef",
    "nullable",
];

/// Keywords that are read, or that change nothing about what is disclosed.
const KEYWORDS: &[&str] = &[
    "$ref",
    "$comment",
    "type",
    "properties",
    "required",
    "items",
    "additionalProperties",
    "title",
    "description",
    "default",
    "deprecated",
    "example",
    "examples",
    "readOnly",
    "writeOnly",
    "externalDocs",
    "enum",
    "const",
    "format",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "contentEncoding",
    "contentMediaType",
];
