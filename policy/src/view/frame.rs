//! What stands around the operations of a view: title, tags, security, refusals.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::bundle::Bundle;
use crate::contract::Written;
use crate::directory::System;
use crate::model::PurposeId;

use super::Refusable;
use super::components::Components;
use super::offer::Offer;
use super::operation;

/// The whole document.
pub(super) fn document(bundle: &Bundle, system: &System, purposes: &[PurposeId], refusals: &[Refusable]) -> Value {
    let contracts = bundle.contracts();
    let offers: Vec<Offer<'_>> =
        contracts.operations().iter().filter_map(|operation| Offer::of(bundle, system, purposes, operation)).collect();
    let mut sources: Vec<&Written> = Vec::new();
    for offer in &offers {
        if !sources.iter().any(|known| std::ptr::eq(*known, offer.written)) {
            sources.push(offer.written);
        }
    }
    let mut components = Components::default();
    let problem = components.reference("Problem", "Gateway", problem());
    let (mut paths, mut used) = (Map::new(), BTreeSet::new());
    for offer in &offers {
        let Some(object) = operation::object(offer, &offers, system, refusals, &mut components) else { continue };
        let tags = object.get("tags").and_then(Value::as_array).into_iter().flatten();
        used.extend(tags.filter_map(Value::as_str).map(str::to_owned));
        let path = paths.entry(&*offer.operation.template).or_insert_with(|| Value::Object(Map::new()));
        if let Some(path) = path.as_object_mut() {
            path.insert(offer.operation.method.as_str().to_ascii_lowercase(), Value::Object(object));
        }
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": info(&sources),
        "servers": [{ "url": "/" }],
        "security": [{ "mutualTLS": [] }],
    });
    let mut parts = json!({
        "securitySchemes": {
            "mutualTLS": { "type": "mutualTLS", "description": "The client certificate of your enrolled system." },
        },
        "headers": described_headers(),
        "responses": refused(refusals, &problem),
    });
    if let Some(document) = document.as_object_mut() {
        let tags = tags(&sources, &used);
        if !tags.is_empty() {
            document.insert("tags".to_owned(), Value::Array(tags));
        }
        document.insert("paths".to_owned(), Value::Object(paths));
    }
    if let (Some(document), Some(parts)) = (document.as_object_mut(), parts.as_object_mut()) {
        document.insert("components".to_owned(), Value::Object(std::mem::take(parts)));
    }
    let schemas = components.settle(&mut document);
    if let Some(parts) = document.get_mut("components").and_then(Value::as_object_mut) {
        parts.insert("schemas".to_owned(), Value::Object(schemas));
    }
    document
}

/// The statuses of refusals, ascending.
pub(super) fn statuses<'r>(refusals: impl Iterator<Item = &'r Refusable>) -> BTreeSet<u16> {
    refusals.map(|refusal| refusal.status).collect()
}

/// References to the headers that an answer has.
pub(super) fn headers(names: &[&str]) -> Value {
    let reference = |name: &&str| ((*name).to_owned(), json!({ "$ref": format!("#/components/headers/{name}") }));
    Value::Object(names.iter().map(reference).collect())
}

/// One contract's own words, or those of several together.
fn info(sources: &[&Written]) -> Value {
    let infos: Vec<&Map<String, Value>> =
        sources.iter().filter_map(|written| written.part("info")?.as_object()).collect();
    let text = |info: &Map<String, Value>, key: &str| match info.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let mut made = Map::new();
    if let [only] = infos.as_slice() {
        for (key, value) in only.iter().filter(|(key, _)| INFO.contains(&key.as_str())) {
            made.insert(key.clone(), value.clone());
        }
        made.insert("title".to_owned(), text(only, "title").into());
        made.insert("version".to_owned(), text(only, "version").into());
        return Value::Object(made);
    }
    let named: Vec<String> = infos
        .iter()
        .map(|info| format!("{} {}", text(info, "title"), text(info, "version")).trim().to_owned())
        .collect();
    let described = infos.iter().zip(&named).map(|(info, name)| format!("# {name}\n\n{}", text(info, "description")));
    let described: Vec<String> = described.collect();
    made.insert("title".to_owned(), "What you may ask through the gateway".into());
    made.insert("version".to_owned(), if named.is_empty() { "none".into() } else { named.join(", ").into() });
    if !described.is_empty() {
        made.insert("description".to_owned(), described.join("\n\n").into());
    }
    Value::Object(made)
}

/// The tags that some operation has, each once.
fn tags(sources: &[&Written], used: &BTreeSet<String>) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    let mut kept = Vec::new();
    for tag in sources.iter().filter_map(|written| written.part("tags")?.as_array()).flatten() {
        let (Some(tag), Some(name)) = (tag.as_object(), tag.get("name").and_then(Value::as_str)) else { continue };
        if used.contains(name) && seen.insert(name) {
            let own = tag.iter().filter(|(key, _)| !key.starts_with("x-"));
            kept.push(Value::Object(own.map(|(key, value)| (key.clone(), value.clone())).collect()));
        }
    }
    kept
}

/// One response a status: what its codes mean.
fn refused(refusals: &[Refusable], problem: &Map<String, Value>) -> Value {
    let responses = statuses(refusals.iter()).into_iter().map(|status| {
        let meant: Vec<&Refusable> = refusals.iter().filter(|refusal| refusal.status == status).collect();
        let lines: Vec<String> =
            meant.iter().map(|refusal| format!("- `{}`: {}", refusal.code, refusal.title)).collect();
        let codes: Vec<&str> = meant.iter().map(|refusal| refusal.code).collect();
        let mut names = vec!["Gateway-Request-Id", "Gateway-View"];
        if matches!(status, 429 | 503 | 504) {
            names.push("Retry-After");
        }
        let response = json!({
            "description": format!("Refused; by `code`:\n\n{}", lines.join("\n")),
            "headers": headers(&names),
            "content": { "application/problem+json": { "schema": problem } },
            "x-refusal-codes": codes,
        });
        (format!("Refused{status}"), response)
    });
    Value::Object(responses.collect())
}

fn problem() -> Value {
    json!({
        "type": "object",
        "description": "An answer that is not data (RFC 9457): why, and what to do.",
        "required": ["type", "title", "status", "code", "detail"],
        "properties": {
            "type": { "type": "string", "format": "uri-reference" },
            "title": { "type": "string", "description": "What the code means." },
            "status": { "type": "integer", "minimum": 400, "maximum": 599 },
            "code": { "type": "string", "description": "Stable; what a program should look at. There may be new ones." },
            "detail": { "type": "string", "description": "What to do." },
            "errors": {
                "type": "array",
                "description": "With `parameter_invalid`: every mistake that was found, at most 20.",
                "items": {
                    "type": "object",
                    "required": ["detail"],
                    "properties": {
                        "pointer": { "type": "string", "format": "json-pointer", "description": "Where in the body." },
                        "parameter": { "type": "string", "description": "Which parameter of path or query." },
                        "detail": { "type": "string", "description": "What must be." },
                    },
                },
            },
        },
    })
}

fn described_headers() -> Value {
    json!({
        "Gateway-Request-Id": {
            "description": "The gateway's own name for this request: what to report.",
            "schema": { "type": "string", "pattern": "^[0-9a-f]{32}$" },
        },
        "Gateway-View": {
            "description": "The digest of your view, this document for all of your purposes. Fetch it again when it changes. For moments after \
                            a change it is left out.",
            "schema": { "type": "string", "pattern": "^[0-9a-f]{32}$" },
        },
        "Deprecation": {
            "description": "Since when the operation is deprecated: `@` and seconds since 1970 (RFC 9745).",
            "schema": { "type": "string", "pattern": "^@-?[0-9]+$" },
        },
        "Sunset": {
            "description": "When the operation ends (RFC 8594).",
            "schema": { "type": "string" },
        },
        "Link": {
            "description": "Where its successor stands in your view: `rel=\"successor-version\"`.",
            "schema": { "type": "string" },
        },
        "Retry-After": {
            "description": "Seconds to wait before the request is sent again.",
            "schema": { "type": "integer", "minimum": 0 },
        },
    })
}

/// Members of OpenAPI's info object that stay as they are.
const INFO: [&str; 7] = ["title", "summary", "description", "termsOfService", "contact", "license", "version"];
