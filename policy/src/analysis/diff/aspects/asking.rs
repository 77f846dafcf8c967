//! How freely an operation may be asked: which parameters a request must have, and what their values may be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use serde_json::Value;

use super::{Direction, Found, direction};
use crate::contract::{Operation, ParamIx, Role};

impl Found {
    /// Of the parameters of both contracts.
    pub(super) fn asking(&mut self, name: &impl Display, old: &Operation, new: &Operation) {
        for (at, parameter) in new.parameters.iter().enumerate() {
            let known = old.parameters.iter().position(|known| known.name == parameter.name);
            let Some((was, before)) = known.and_then(|was| Some((was, old.parameters.get(was)?))) else { continue };
            if before.required != parameter.required {
                let (direction, verb) = match parameter.required {
                    true => (Direction::Narrows, "now requires"),
                    false => (Direction::Widens, "no longer requires"),
                };
                self.say(direction, format!("operation `{name}` {verb} `{}`", parameter.name));
            }
            let what = format!("`{}`", parameter.name);
            self.demanded(name, &what, &demands(old, ParamIx(was)), &demands(new, ParamIx(at)));
        }
        let [before, after] = [old, new].map(|operation| operation.checks.of_body().into_iter().collect());
        self.demanded(name, "a body", &before, &after);
        self.pushdown(name, old, new);
        self.musts(name, old, new);
    }

    fn demanded(&mut self, name: &impl Display, what: &str, old: &Demands, new: &Demands) {
        for keyword in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
            let (before, after) = (old.get(keyword), new.get(keyword));
            let (wider, narrower) = compared(keyword, before, after);
            if wider || narrower {
                let words = |value: Option<&Value>| match value {
                    None => "none".to_owned(),
                    Some(Value::String(text)) => format!("`{text}`"),
                    Some(value) => value.to_string(),
                };
                let said =
                    format!("operation `{name}` bounds {what} by `{keyword}` {} (was {})", words(after), words(before));
                self.say(direction(wider, narrower), said);
            }
        }
    }

    /// A record that lacks what it must have is shown to nobody.
    fn musts(&mut self, name: &impl Display, old: &Operation, new: &Operation) {
        let (before, after) = (old.must_have(), new.must_have());
        for (direction, verb, fewer, more) in [
            (Direction::Narrows, "now refuses", &before, &after),
            (Direction::Widens, "no longer refuses", &after, &before),
        ] {
            let others: Vec<String> = more.difference(fewer).map(|member| format!("`{member}`")).collect();
            if !others.is_empty() {
                self.say(direction, format!("operation `{name}` {verb} a record without {}", others.join(", ")));
            }
        }
    }

    /// What is counted depends on it, and which persons a request is about that leaves the parameter out.
    fn pushdown(&mut self, name: &impl Display, old: &Operation, new: &Operation) {
        let words = |operation: &Operation| {
            let Some(pushdown) = &operation.pushdown else { return "nothing".to_owned() };
            let attribute = operation.record.attributes.get(pushdown.attribute).map(|known| known.name.as_str());
            let parameter = operation.parameters.get(pushdown.parameter.0).map(|known| known.name.as_str());
            format!("`record.{}` through `{}`", attribute.unwrap_or_default(), parameter.unwrap_or_default())
        };
        let (before, after) = (words(old), words(new));
        if before != after {
            let said = format!("operation `{name}` has its register filter by {after} (was {before})");
            self.say(Direction::Both, said);
        }
    }
}

/// What a value must be, by the contract's keywords.
type Demands = BTreeMap<String, Value>;

fn demands(operation: &Operation, at: ParamIx) -> Demands {
    let Some(parameter) = operation.parameters.get(at.0) else { return Demands::new() };
    let mut demands: Demands = operation.checks.of_parameter(parameter, at).into_iter().collect();
    // The reader's own say these better: whether `null` stands for nothing, and how long what says nothing may be.
    demands.insert("type".to_owned(), format!("{:?}", parameter.kind).to_lowercase().into());
    demands.insert("maxLength".to_owned(), parameter.max_length.into());
    demands.retain(|keyword, value| match keyword.as_str() {
        "format" => !matches!(value.as_str(), Some("date" | "int32" | "int64")),
        // Nothing may be empty.
        "minLength" => value.as_u64() != Some(1),
        _ => true,
    });
    demands.remove("pattern");
    // The values of an `enum` are a pattern to the reader.
    if let Some(pattern) = parameter.pattern.as_ref().filter(|_| !demands.contains_key("enum")) {
        let pattern = pattern.as_str();
        let shown = pattern.strip_prefix(r"\A(?:").and_then(|rest| rest.strip_suffix(r")\z"));
        demands.insert("pattern".to_owned(), shown.unwrap_or(pattern).into());
    }
    if let Role::Limit(most) = parameter.role {
        demands.insert("maximum".to_owned(), most.into());
    }
    demands
}

/// Whether more can be asked, and whether less. What cannot be compared is both.
fn compared(keyword: &str, before: Option<&Value>, after: Option<&Value>) -> (bool, bool) {
    let (Some(before), Some(after)) = (before, after) else { return (before.is_some(), after.is_some()) };
    if before == after {
        return (false, false);
    }
    match keyword {
        "enum" => {
            let among = |some: &Value, all: &Value| {
                let (some, all) = (some.as_array(), all.as_array());
                some.zip(all).is_some_and(|(some, all)| some.iter().all(|one| all.contains(one)))
            };
            (!among(after, before), !among(before, after))
        }
        _ if LEAST.contains(&keyword) || MOST.contains(&keyword) => match (before.as_f64(), after.as_f64()) {
            (Some(before), Some(after)) => {
                ((after > before) == MOST.contains(&keyword), (after < before) == MOST.contains(&keyword))
            }
            _ => (true, true),
        },
        _ => (true, true),
    }
}

/// Keywords of which a smaller number lets more through.
const LEAST: [&str; 5] = ["minLength", "minimum", "exclusiveMinimum", "minItems", "minProperties"];
/// Keywords of which a greater number lets more through.
const MOST: [&str; 5] = ["maxLength", "maximum", "exclusiveMaximum", "maxItems", "maxProperties"];
