//! A contract as it is written: the JSON of its document, for what is derived from it (views, the schemas of request bodies).

use serde_json::{Map, Value};

use crate::contract::{Method, Operation};
use crate::document;

/// One document. What is asked of it has been checked by the loader; what is not there all the same is passed over.
#[derive(Debug)]
pub(crate) struct Written(Value);

/// A schema with its references followed. What stands beside a `$ref` goes before what it refers to.
#[derive(Clone, Debug)]
pub(crate) struct Resolved<'w> {
    layers: Vec<&'w Map<String, Value>>,
    /// The component schema that it is, if it is one by reference.
    pub(crate) name: Option<&'w str>,
}

impl Written {
    /// A document that has been read without an error.
    pub(crate) fn new(text: &str) -> Self {
        Self(document::yaml_to_json(text))
    }

    /// A member of the document.
    pub(crate) fn part(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The operation as it is written.
    pub(crate) fn operation(&self, operation: &Operation) -> Option<&Map<String, Value>> {
        let method = match operation.method {
            Method::Get => "get",
            Method::Post => "post",
        };
        self.path(operation)?.get(method)?.as_object()
    }

    /// The parameters of the operation and of its path, references followed.
    pub(crate) fn parameters(&self, operation: &Operation) -> Vec<&Map<String, Value>> {
        let shared = self.path(operation).and_then(|path| path.get("parameters"));
        let own = self.operation(operation).and_then(|operation| operation.get("parameters"));
        let listed = shared.into_iter().chain(own).filter_map(Value::as_array).flatten();
        listed.filter_map(|parameter| self.follow(parameter, "parameters")?.as_object()).collect()
    }

    /// The schema of what a request or a response holds under one media type.
    pub(crate) fn schema<'w>(&'w self, media: &'w Value) -> Option<Resolved<'w>> {
        self.resolve(media.get("schema")?)
    }

    /// Follows `$ref`.
    pub(crate) fn resolve<'w>(&'w self, schema: &'w Value) -> Option<Resolved<'w>> {
        let mut resolved = Resolved { layers: Vec::new(), name: None };
        let mut schema = schema;
        // The loader refuses references in a circle.
        for _ in 0..MOST_LAYERS {
            let layer = schema.as_object()?;
            resolved.layers.push(layer);
            let Some(target) = layer.get("$ref").and_then(Value::as_str) else { return Some(resolved) };
            let (name, component) = self.component("schemas", target)?;
            resolved.name = resolved.name.or(Some(name));
            schema = component;
        }
        None
    }

    /// The component that a reference leads to, or the value itself if it is none.
    fn follow<'w>(&'w self, value: &'w Value, kind: &str) -> Option<&'w Value> {
        match value.get("$ref").and_then(Value::as_str) {
            Some(target) => Some(self.component(kind, target)?.1),
            None => Some(value),
        }
    }

    fn component(&self, kind: &str, target: &str) -> Option<(&str, &Value)> {
        let name = target.strip_prefix("#/components/")?.strip_prefix(kind)?.strip_prefix('/')?;
        let (name, component) = self.0.get("components")?.get(kind)?.as_object()?.get_key_value(name)?;
        Some((name, component))
    }

    fn path(&self, operation: &Operation) -> Option<&Value> {
        self.0.get("paths")?.get(&*operation.template)
    }
}

impl<'w> Resolved<'w> {
    /// A keyword of the schema.
    pub(crate) fn keyword(&self, key: &str) -> Option<&'w Value> {
        self.layers.iter().find_map(|layer| layer.get(key))
    }

    /// A keyword that stands beside the reference; `None` if there is no reference.
    pub(crate) fn beside(&self, key: &str) -> Option<&'w Value> {
        self.layers.first().filter(|_| self.name.is_some())?.get(key)
    }

    /// A keyword of what the reference leads to.
    pub(crate) fn referred(&self, key: &str) -> Option<&'w Value> {
        self.layers.iter().skip(usize::from(self.name.is_some())).find_map(|layer| layer.get(key))
    }

    /// The properties, in the document's order.
    pub(crate) fn properties(&self) -> impl Iterator<Item = (&'w String, &'w Value)> + use<'w> {
        self.keyword("properties").and_then(Value::as_object).into_iter().flatten()
    }

    /// Whether `required` lists that property.
    pub(crate) fn requires(&self, property: &str) -> bool {
        let listed = self.keyword("required").and_then(Value::as_array);
        listed.is_some_and(|listed| listed.iter().any(|name| name.as_str() == Some(property)))
    }

    /// Whether the value may be `null`.
    pub(crate) fn nullable(&self) -> bool {
        let types = self.keyword("type").and_then(Value::as_array);
        types.is_some_and(|types| types.iter().any(is_null_type))
    }

    /// The keywords that may be shown to anybody: no references, no extensions (theirs tell what is behind the gateway), no comments.
    pub(crate) fn keywords(&self) -> Map<String, Value> {
        let mut keywords = Map::new();
        for (key, value) in self.layers.iter().copied().flatten() {
            if key != "$ref" && key != "$comment" && !key.starts_with("x-") && !keywords.contains_key(key) {
                keywords.insert(key.clone(), if key == "type" { types(value) } else { value.clone() });
            }
        }
        keywords
    }
}

/// YAML's `null` in a list of types is meant as the name of the type.
fn types(value: &Value) -> Value {
    let Some(types) = value.as_array() else { return value.clone() };
    let named = types.iter().map(|name| if is_null_type(name) { Value::from("null") } else { name.clone() });
    Value::Array(named.collect())
}

fn is_null_type(name: &Value) -> bool {
    name.is_null() || name.as_str() == Some("null")
}

const MOST_LAYERS: usize = 64;
