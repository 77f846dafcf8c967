//! What JSON Schema says of a request's parameters.
//!
//! The strict reader decides what is passed on, and knows flat strings, dates, integers and Booleans with a length and a pattern. A
//! validator made of the contract's own schema adds what it does not know (bounds, formats, shapes), and finds all mistakes of a
//! request that is refused. It is asked on success only where it could still find something.

use std::fmt;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Value, json};

use crate::contract::{ArgumentError, Kind, Location, Operation, ParamIx, Parameter, Written};
use crate::model::Personal;

mod collect;

#[cfg(test)]
mod tests;

/// One thing that is wrong with a request. It names places and requirements of the contract, never a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// Where.
    pub place: Place,
    /// What must be, such as `must be a date such as 2001-12-31`.
    pub detail: String,
}

/// Where a mistake is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// In the body: a JSON pointer (RFC 6901). Of what the contract does not declare, the object that holds it.
    Body(String),
    /// In the path or the query: the parameter's name.
    Parameter(String),
    /// In the query as a whole.
    Query,
}

/// The validators of one operation.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    body: Option<Check>,
    /// Of parameters of path and query.
    parameters: Vec<(ParamIx, Check)>,
}

struct Check {
    validator: Validator,
    /// What it was made of.
    schema: Value,
    /// Whether it may refuse what the strict reader accepts.
    beyond: bool,
}

impl Checks {
    /// Compiles the schemas of an operation.
    pub(crate) fn compile(written: &Written, operation: &Operation) -> Result<Self, String> {
        let mut parameters = Vec::new();
        for described in written.parameters(operation) {
            let name = described.get("name").and_then(Value::as_str).unwrap_or_default();
            let known = |it: &Parameter| it.location != Location::Body && it.name == name;
            let at = operation.parameters.iter().position(known);
            if let (Some(at), Some(schema)) = (at, described.get("schema")) {
                parameters.push((ParamIx(at), Check::compile(written, schema, None)?));
            }
        }
        let content = written.operation(operation).and_then(|it| it.get("requestBody")?.get("content")?.as_object());
        let media = content.and_then(|content| content.values().next()).and_then(|media| media.get("schema"));
        // What the gateway fills in itself may be left out, whatever the contract says.
        let filled = operation.pushdown.as_ref().and_then(|pushdown| operation.parameters.get(pushdown.parameter.0));
        let filled = filled.map(|parameter| parameter.name.as_str());
        let body = media.map(|schema| Check::compile(written, schema, filled)).transpose()?;
        Ok(Self { body, parameters })
    }

    /// What the schema demands of one parameter's value, by keyword.
    pub(crate) fn of_parameter(&self, parameter: &Parameter, at: ParamIx) -> Map<String, Value> {
        let schema = match parameter.location {
            Location::Body => self.body.as_ref().and_then(|body| body.schema.get("properties")?.get(&parameter.name)),
            Location::Path | Location::Query => {
                self.parameters.iter().find(|(known, _)| *known == at).map(|(_, check)| &check.schema)
            }
        };
        schema.and_then(Value::as_object).cloned().unwrap_or_default()
    }

    /// What the schema demands of a body beside its members.
    pub(crate) fn of_body(&self) -> Map<String, Value> {
        let mut schema = self.body.as_ref().and_then(|body| body.schema.as_object()).cloned().unwrap_or_default();
        schema.retain(|keyword, _| {
            !matches!(keyword.as_str(), "type" | "properties" | "required" | "additionalProperties")
        });
        schema
    }

    /// Refuses what the strict reader accepted and the schema does not.
    pub(super) fn beyond(
        &self,
        operation: &Operation,
        body: &[u8],
        values: &[Option<Personal<String>>],
    ) -> Result<(), ArgumentError> {
        let refused = |mistake: Mistake| {
            let name = match mistake.place {
                Place::Body(pointer) => pointer.trim_start_matches('/').to_owned(),
                Place::Parameter(name) => name,
                Place::Query => String::new(),
            };
            ArgumentError::Invalid { name, reason: format!("it {}", mistake.detail) }
        };
        for (at, check) in self.parameters.iter().filter(|(_, check)| check.beyond) {
            let (Some(parameter), Some(Some(value))) = (operation.parameters.get(at.0), values.get(at.0)) else {
                continue;
            };
            let place = Place::Parameter(parameter.name.clone());
            if let Some(detail) = check.details(&of_text(parameter.kind, value.expose())).into_iter().next() {
                return Err(refused(Mistake { place, detail }));
            }
        }
        if let Some(check) = self.body.as_ref().filter(|check| check.beyond) {
            let value = operation.body_value(body).ok_or(ArgumentError::Body)?;
            if let Some(mistake) = check.mistakes(operation, &value).into_iter().next() {
                return Err(refused(mistake));
            }
        }
        Ok(())
    }
}

impl Check {
    fn compile(written: &Written, schema: &Value, filled: Option<&str>) -> Result<Self, String> {
        let mut beyond = false;
        let mut schema = self_contained(written, schema, true, &mut beyond).ok_or("a reference leads nowhere")?;
        if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|name| name.as_str() != filled || filled.is_none());
        }
        let validator = jsonschema::draft202012::options()
            .should_validate_formats(true)
            // Linear in the length of the value, whatever the pattern.
            .with_pattern_options(PatternOptions::regex())
            .build(&schema)
            // Of the schema: nobody's data.
            .map_err(|error| error.to_string())?;
        Ok(Self { validator, schema, beyond })
    }

    /// Every mistake of a body.
    fn mistakes(&self, operation: &Operation, body: &Value) -> Vec<Mistake> {
        let errors = self.validator.iter_errors(body).take(MOST_MISTAKES);
        errors
            .map(|error| {
                let at = error.instance_path.as_str();
                match &error.kind {
                    ValidationErrorKind::Required { property } => Mistake {
                        place: Place::Body(format!("{at}/{}", escaped(property.as_str().unwrap_or_default()))),
                        detail: "is missing".to_owned(),
                    },
                    // The names themselves are the client's, and may hold anything.
                    ValidationErrorKind::AdditionalProperties { .. } => {
                        Mistake { place: Place::Body(at.to_owned()), detail: operation.undeclared_members() }
                    }
                    kind => Mistake { place: Place::Body(at.to_owned()), detail: requirement(kind) },
                }
            })
            .collect()
    }

    /// Every mistake of one value.
    fn details(&self, value: &Value) -> Vec<String> {
        self.validator.iter_errors(value).take(MOST_MISTAKES).map(|error| requirement(&error.kind)).collect()
    }
}

impl Operation {
    /// The body as the validator reads it: what may be left out may be `null` as well.
    fn body_value(&self, body: &[u8]) -> Option<Value> {
        let mut value: Value = serde_json::from_slice(body).ok()?;
        if let Some(members) = value.as_object_mut() {
            let optional = |name: &str| {
                self.parameters.iter().any(|it| it.location == Location::Body && it.name == name && !it.required)
            };
            members.retain(|name, value| !(value.is_null() && optional(name)));
        }
        Some(value)
    }

    fn undeclared_members(&self) -> String {
        let declared = self.parameters.iter().filter(|known| known.location == Location::Body);
        let declared: Vec<&str> = declared.map(|known| known.name.as_str()).collect();
        format!("must have no member but those that are declared: {}", declared.join(", "))
    }
}

/// A schema without references, whose patterns match whole values, and with what the strict reader demands of any string.
fn self_contained(written: &Written, schema: &Value, root: bool, beyond: &mut bool) -> Option<Value> {
    let resolved = written.resolve(schema)?;
    let mut made = Map::new();
    for (key, value) in resolved.keywords() {
        match (key.as_str(), &value) {
            ("properties", Value::Object(properties)) => {
                *beyond |= !root;
                let inner = properties
                    .iter()
                    .map(|(name, inner)| Some((name.clone(), self_contained(written, inner, false, beyond)?)));
                made.insert(key, Value::Object(inner.collect::<Option<Map<_, _>>>()?));
            }
            ("items", items) => {
                *beyond = true;
                made.insert(key, self_contained(written, items, false, beyond)?);
            }
            ("pattern", Value::String(pattern)) => {
                made.insert(key, format!("{WHOLE_BEGIN}{pattern}{WHOLE_END}").into());
            }
            ("type" | "enum" | "required" | "maxLength", _) => {
                made.insert(key, value);
            }
            ("format", format) => {
                *beyond |= !matches!(format.as_str(), Some("date" | "int32" | "int64"));
                made.insert(key, value);
            }
            ("minLength", length) => {
                *beyond |= length.as_u64().is_some_and(|length| length > 1);
                made.insert(key, value);
            }
            (keyword, _) if BEYOND.contains(&keyword) => {
                *beyond = true;
                made.insert(key, value);
            }
            _ => {}
        }
    }
    if made.contains_key("properties") {
        made.insert("additionalProperties".to_owned(), false.into());
    }
    if made.get("type").is_some_and(|kind| kind == "string") && !made.contains_key("minLength") {
        made.insert("minLength".to_owned(), json!(1));
    }
    Some(Value::Object(made))
}

/// What a keyword demands, in the contract's own terms.
fn requirement(kind: &ValidationErrorKind) -> String {
    use ValidationErrorKind as K;
    match kind {
        K::Type { kind: TypeKind::Single(kind) } => format!("must be of type {kind}"),
        K::Type { kind: TypeKind::Multiple(kinds) } => {
            let kinds: Vec<String> = kinds.iter().map(|kind| kind.to_string()).collect();
            format!("must be of one of the types {}", kinds.join(", "))
        }
        K::Enum { options } => {
            let options: Vec<String> = options.as_array().into_iter().flatten().map(plain).collect();
            format!("must be one of {}", options.join(", "))
        }
        K::Constant { expected_value } => format!("must be {}", plain(expected_value)),
        K::Format { format } => match format.as_str() {
            "date" => "must be a date such as 2001-12-31".to_owned(),
            "date-time" => "must be a time such as 2001-12-31T23:59:59Z".to_owned(),
            "email" | "idn-email" => "must be an e-mail address".to_owned(),
            format => format!("must have the format {format}"),
        },
        K::Pattern { pattern } => {
            let shown = pattern.strip_prefix(WHOLE_BEGIN).and_then(|rest| rest.strip_suffix(WHOLE_END));
            format!("must match {}", shown.unwrap_or(pattern))
        }
        K::MinLength { limit: 1 } => "must not be empty".to_owned(),
        K::MinLength { limit } => format!("must have at least {limit} characters"),
        K::MaxLength { limit } => format!("must have at most {limit} characters"),
        K::Minimum { limit } => format!("must be at least {limit}"),
        K::Maximum { limit } => format!("must be at most {limit}"),
        K::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        K::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        K::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        K::MinItems { limit } => format!("must have at least {limit} elements"),
        K::MaxItems { limit } => format!("must have at most {limit} elements"),
        K::UniqueItems => "must have no element twice".to_owned(),
        K::Required { .. } => "is missing a member".to_owned(),
        _ => "must be as the contract says".to_owned(),
    }
}

/// A value that came as text, as JSON.
fn of_text(kind: Kind, text: &str) -> Value {
    let parsed = match kind {
        Kind::Integer => text.parse::<i64>().ok().map(Value::from),
        Kind::Boolean => text.parse::<bool>().ok().map(Value::from),
        Kind::String | Kind::Date | Kind::Number => None,
    };
    parsed.unwrap_or_else(|| text.into())
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A name as one part of a JSON pointer (RFC 6901, section 3).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("beyond", &self.beyond).finish_non_exhaustive()
    }
}

/// The most mistakes of one request that are told.
const MOST_MISTAKES: usize = 20;

/// JSON Schema's patterns match anywhere in a value; a contract's match all of it.
const WHOLE_BEGIN: &str = "^(?:";
const WHOLE_END: &str = ")$";

/// Keywords that the strict reader does not know.
const BEYOND: [&str; 11] = [
    "const",
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
];
