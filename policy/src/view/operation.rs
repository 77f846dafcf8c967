//! One operation of a view.

use serde_json::{Map, Value, json};

use crate::contract::{Answer, Lifecycle, Location, ParamIx, Parameter};
use crate::directory::{Purpose, Requirement, System};

use super::Refusable;
use super::components::{Components, capitalised};
use super::example;
use super::frame;
use super::leaf::describe;
use super::offer::Offer;
use super::record::Shaper;

/// The operation object.
pub(super) fn object(
    offer: &Offer<'_>,
    offers: &[Offer<'_>],
    system: &System,
    refusals: &[Refusable],
    components: &mut Components,
) -> Option<Map<String, Value>> {
    let written = offer.written.operation(offer.operation)?;
    let mut object = Map::new();
    let mut names = vec!["Gateway-Request-Id", "Gateway-View"];
    let said = written.get("description").and_then(Value::as_str);
    let mut described = Map::new();
    describe(
        &mut described,
        said,
        offer.operation.lifecycle.as_ref().map(|it| ending(it, offers, &mut names)).as_deref(),
    );
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put("operationId", offer.operation.id.as_str().into());
    for key in ["tags", "summary", "description", "externalDocs"] {
        if let Some(value) = described.get(key).or(written.get(key)) {
            put(key, value.clone());
        }
    }
    if offer.operation.lifecycle.is_some() {
        put("deprecated", true.into());
    }
    put("x-ratelimit", rate_limit(offer, system));
    let mut parameters = headers(offer, system);
    parameters.extend(offer.written.parameters(offer.operation).into_iter().filter_map(|it| parameter(offer, it)));
    put("parameters", Value::Array(parameters));
    let body = written.get("requestBody").and_then(|body| request_body(offer, body, components));
    let has_body = body.is_some();
    if let Some(body) = body {
        put("requestBody", body);
    }
    let mut responses = Map::new();
    responses.insert("200".to_owned(), answer(offer, written.get("responses")?.get("200")?, &names, components));
    for status in frame::statuses(refusals.iter().filter(|refusal| has_body || !refusal.of_bodies)) {
        responses.insert(status.to_string(), json!({ "$ref": format!("#/components/responses/Refused{status}") }));
    }
    put("responses", Value::Object(responses));
    Some(object)
}

/// How often the caller may use an operation: `requests` in `seconds`, `burst` at once, `concurrent` in flight over all operations;
/// and all that bounds it, by the names that `RateLimit-Policy` has.
fn rate_limit(offer: &Offer<'_>, system: &System) -> Value {
    let limits = &system.limits;
    let mut said = Map::new();
    if let Some(rate) = limits.of(offer.operation.id.as_str()) {
        said.insert("requests".to_owned(), rate.count.get().into());
        said.insert("seconds".to_owned(), rate.per.as_secs().into());
        said.insert("burst".to_owned(), rate.burst.get().into());
    }
    if let Some(concurrent) = limits.concurrent {
        said.insert("concurrent".to_owned(), concurrent.get().into());
    }
    let mut policies: Vec<Value> = Vec::new();
    let of = |purpose| system.bounds(offer.operation.id.as_str(), purpose);
    for bound in of(None) {
        policies.push(bound.to_json(None));
    }
    for (purpose, _) in &offer.grants {
        let of_purpose = of(Some(&purpose.id)).into_iter().filter(|bound| bound.name.ends_with("purpose"));
        policies.extend(of_purpose.map(|bound| bound.to_json(Some(purpose.id.as_str()))));
    }
    said.insert("policies".to_owned(), policies.into());
    Value::Object(said)
}

/// The gateway's own request headers.
fn headers(offer: &Offer<'_>, system: &System) -> Vec<Value> {
    let purposes: Vec<&Purpose> = offer.grants.iter().map(|(purpose, _)| *purpose).collect();
    let mut said = vec!["What the data is for.".to_owned()];
    if let [only] = system.purposes.as_slice() {
        said.push(format!("It may be left out: you are enrolled for `{only}` alone."));
    }
    said.push(purposes.iter().map(|purpose| purpose_line(purpose)).collect::<Vec<_>>().join("\n"));
    let ids: Vec<&str> = purposes.iter().map(|purpose| purpose.id.as_str()).collect();
    let mut headers = vec![json!({
        "name": "Gateway-Purpose",
        "in": "header",
        "required": system.purposes.len() != 1,
        "description": said.join("\n\n"),
        "schema": { "type": "string", "enum": ids },
    })];
    for (name, requirement, what) in [
        ("Gateway-Case", Requirement::Case, "The case that the request belongs to."),
        ("Gateway-User", Requirement::User, "The end user on whose behalf you ask."),
        ("Gateway-Assurance", Requirement::Assurance, "The level of assurance of the end user's identity."),
    ] {
        let needed: Vec<String> = purposes
            .iter()
            .filter(|purpose| purpose.requires.contains(&requirement))
            .map(|purpose| format!("`{}`", purpose.id))
            .collect();
        let always = needed.len() == purposes.len();
        let description = if needed.is_empty() || always {
            what.to_owned()
        } else {
            format!("{what} Required for {}.", needed.join(", "))
        };
        headers.push(json!({
            "name": name,
            "in": "header",
            "required": always,
            "description": description,
            "schema": { "type": "string", "pattern": CLAIM },
        }));
    }
    headers
}

fn purpose_line(purpose: &Purpose) -> String {
    let name = purpose.name.get("en").map(String::as_str).unwrap_or_default();
    let from = purpose.valid_from.map(|day| format!(", from {day}")).unwrap_or_default();
    let until = purpose.valid_until.map(|day| format!(", until {day}")).unwrap_or_default();
    format!("- `{}`: {name} ({}{from}{until})", purpose.id, purpose.basis)
}

/// A parameter of path or query; `None` if the caller may not use it.
fn parameter(offer: &Offer<'_>, written: &Map<String, Value>) -> Option<Value> {
    let (name, place) = (written.get("name")?.as_str()?, written.get("in")?.as_str()?);
    let location = if place == "path" { Location::Path } else { Location::Query };
    let at = position(offer, location, name)?;
    let mut object = Map::from_iter([("name".to_owned(), Value::from(name)), ("in".to_owned(), Value::from(place))]);
    object.insert("required".to_owned(), offer.requires(at).into());
    if let Some(deprecated) = written.get("deprecated") {
        object.insert("deprecated".to_owned(), deprecated.clone());
    }
    describe(&mut object, written.get("description").and_then(Value::as_str), offer.usage(at).as_deref());
    object.insert("schema".to_owned(), Value::Object(constraints(offer, at, written.get("schema")?)?));
    example::each(written, &mut object, &|value| Some(value.clone()));
    Some(Value::Object(object))
}

/// The schema of a parameter's value.
fn constraints(offer: &Offer<'_>, at: ParamIx, schema: &Value) -> Option<Map<String, Value>> {
    let mut schema = offer.written.resolve(schema)?.keywords();
    if let Some(orders) = offer.orders(at) {
        schema.insert("enum".to_owned(), orders.into());
    }
    Some(schema)
}

/// The position of a parameter that the caller may use.
fn position(offer: &Offer<'_>, location: Location, name: &str) -> Option<ParamIx> {
    let is = |known: &Parameter| known.location == location && known.name == name;
    let at = ParamIx(offer.operation.parameters.iter().position(is)?);
    offer.allows(at).then_some(at)
}

fn request_body(offer: &Offer<'_>, written: &Value, components: &mut Components) -> Option<Value> {
    let mut content = Map::new();
    for (kind, media) in written.get("content")?.as_object()? {
        let schema = offer.written.schema(media)?;
        let mut keywords = schema.keywords();
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for (name, property) in schema.properties() {
            let Some(at) = position(offer, Location::Body, name) else { continue };
            let mut constraints = constraints(offer, at, property)?;
            let said = constraints.shift_remove("description");
            describe(&mut constraints, said.as_ref().and_then(Value::as_str), offer.usage(at).as_deref());
            if offer.requires(at) {
                required.push(Value::from(name.as_str()));
            }
            properties.insert(name.clone(), Value::Object(constraints));
        }
        let keep = |value: &Value| -> Option<Value> {
            let kept = value.as_object()?.iter().filter(|(name, _)| position(offer, Location::Body, name).is_some());
            Some(Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect()))
        };
        let mut shown = Map::new();
        example::each(&keywords, &mut shown, &keep);
        for key in ["default", "const", "minProperties", "maxProperties", "example", "examples", "required"] {
            keywords.shift_remove(key);
        }
        keywords.extend(shown);
        keywords.insert("properties".to_owned(), Value::Object(properties));
        if !required.is_empty() {
            keywords.insert("required".to_owned(), Value::Array(required));
        }
        keywords.insert("additionalProperties".to_owned(), false.into());
        let user = capitalised(offer.operation.id.as_str());
        let keywords = match schema.name {
            Some(name) => components.reference(name, &user, Value::Object(keywords)),
            None => keywords,
        };
        let mut object = Map::from_iter([("schema".to_owned(), Value::Object(keywords))]);
        if let Some(media) = media.as_object() {
            example::each(media, &mut object, &keep);
        }
        content.insert(kind.clone(), Value::Object(object));
    }
    let mut body = Map::from_iter([("required".to_owned(), Value::Bool(true))]);
    let most = offer.operation.max_body.map(|most| format!("At most {most} bytes."));
    describe(&mut body, written.get("description").and_then(Value::as_str), most.as_deref());
    body.insert("content".to_owned(), Value::Object(content));
    Some(Value::Object(body))
}

/// Until when a deprecated operation is there, and what to use then, if that is the caller's to use. Adds the headers that say so.
fn ending(lifecycle: &Lifecycle, offers: &[Offer<'_>], names: &mut Vec<&'static str>) -> String {
    let mut said = format!("Deprecated since {}", lifecycle.deprecated);
    names.push("Deprecation");
    if let Some(day) = lifecycle.sunset {
        said.push_str(&format!("; it ends on {day}"));
        names.push("Sunset");
    }
    let successor = lifecycle.successor.as_ref().filter(|id| offers.iter().any(|offer| offer.operation.id == **id));
    if let Some(successor) = successor {
        said.push_str(&format!("; use `{successor}`"));
        names.push("Link");
    }
    said + "."
}

fn answer(offer: &Offer<'_>, written: &Value, names: &[&str], components: &mut Components) -> Value {
    let mut content = Map::new();
    for (kind, media) in written.get("content").and_then(Value::as_object).into_iter().flatten() {
        content.insert(kind.clone(), Value::Object(answered(offer, media, components)));
    }
    let said = written.get("description").cloned().unwrap_or_else(|| "The answer.".into());
    json!({ "description": said, "headers": frame::headers(names), "content": content })
}

/// What an answer holds under one media type.
fn answered(offer: &Offer<'_>, media: &Value, components: &mut Components) -> Map<String, Value> {
    let operation = offer.operation;
    let shape = match &operation.answer {
        Answer::Record => &operation.record.shape,
        Answer::List(list) => &list.page.shape,
        Answer::Match => return verdicts(offer, media, components),
        Answer::Whole(_) => {
            let schema = offer.written.schema(media).map(|schema| schema.keywords());
            return schema.map(|schema| ("schema".to_owned(), Value::Object(schema))).into_iter().collect();
        }
    };
    let mut object = Map::new();
    if let Some(schema) = offer.written.schema(media) {
        let shaped = Shaper { offer, components }.object(&schema, shape, &mut Vec::new());
        object.extend(shaped.map(|shaped| ("schema".to_owned(), shaped.schema)));
    }
    if let Some(media) = media.as_object() {
        example::each(media, &mut object, &|value| example::record(value, shape, offer));
    }
    object
}

/// Yes or no for each claim that may be made.
fn verdicts(offer: &Offer<'_>, media: &Value, components: &mut Components) -> Map<String, Value> {
    let mut object = Map::new();
    let Some(schema) = offer.written.schema(media) else { return object };
    let claim = |name: &str| {
        let is = |at: &ParamIx| offer.operation.parameters.get(at.0).is_some_and(|known| known.name == name);
        offer.operation.claims().find(is).filter(|at| offer.allows(*at))
    };
    let keep = |value: &Value| -> Option<Value> {
        let kept = value.as_object()?.iter().filter(|(name, _)| claim(name).is_some());
        Some(Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect()))
    };
    let mut keywords = schema.keywords();
    let (mut properties, mut required, mut shown) = (Map::new(), Vec::new(), Map::new());
    for (name, property) in schema.properties() {
        let (Some(at), Some(verdict)) = (claim(name), offer.written.resolve(property)) else { continue };
        if schema.requires(name) && offer.answers_surely(at) {
            required.push(Value::from(name.as_str()));
        }
        properties.insert(name.clone(), Value::Object(verdict.keywords()));
    }
    example::each(&keywords, &mut shown, &keep);
    for key in ["required", "default", "const", "minProperties", "maxProperties", "example", "examples"] {
        keywords.shift_remove(key);
    }
    keywords.extend(shown);
    keywords.insert("properties".to_owned(), Value::Object(properties));
    if !required.is_empty() {
        keywords.insert("required".to_owned(), Value::Array(required));
    }
    let user = capitalised(offer.operation.id.as_str());
    let keywords = match schema.name {
        Some(name) => components.reference(name, &user, Value::Object(keywords)),
        None => keywords,
    };
    object.insert("schema".to_owned(), Value::Object(keywords));
    if let Some(media) = media.as_object() {
        example::each(media, &mut object, &keep);
    }
    object
}

/// What the gateway takes in a header of its own.
const CLAIM: &str = "^[A-Za-z0-9._:/@+=-]{1,128}$";
