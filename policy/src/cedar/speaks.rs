//! What an expression asks about, read off Cedar's JSON form.

use serde_json::Value;

use crate::cedar::Phase;

/// What an expression in Cedar's JSON form speaks of.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Speaks {
    env: bool,
    record: bool,
    pub(crate) resource: bool,
    /// Asks whether the record has an attribute. A forbid that does would not fail on a record without it, but be false.
    pub(crate) probes_record: bool,
}

impl Speaks {
    /// What cannot be told apart from more.
    pub(crate) const EVERYTHING: Self = Self { env: true, record: true, resource: true, probes_record: true };

    pub(crate) fn of(value: &Value) -> Self {
        let mut mentions = Self::default();
        mentions.walk(value);
        mentions
    }

    /// When it can be evaluated at the earliest.
    pub(crate) fn phase(&self) -> Option<Phase> {
        if self.record { Some(Phase::Record) } else { self.env.then_some(Phase::Env) }
    }

    fn walk(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.walk(item)),
            Value::Object(members) => {
                for (key, member) in members {
                    self.probes_record |= key == "has" && asks_of_record(member);
                    match (key.as_str(), member) {
                        ("Var", Value::String(name)) => self.variable(name),
                        ("." | "has", access) if is_context(access.get("left")) => {
                            match access.get("attr").and_then(Value::as_str) {
                                Some("purpose") => {}
                                Some("env") => self.env = true,
                                _ => self.record = true,
                            }
                        }
                        _ => self.walk(member),
                    }
                }
            }
            _ => {}
        }
    }

    fn variable(&mut self, name: &str) {
        match name {
            // The context as a whole: whatever is in it may matter.
            "context" => (self.env, self.record) = (true, true),
            "resource" => self.resource = true,
            _ => {}
        }
    }
}

/// Whether the left side of a `has` is the record, or may be: `context has record.minor` names it on the right.
fn asks_of_record(has: &Value) -> bool {
    let left = has.get("left");
    if is_context(left) {
        return has.pointer("/attr/0").and_then(Value::as_str) == Some("record");
    }
    left.is_some_and(|left| Speaks::of(left).record)
}

fn is_context(value: Option<&Value>) -> bool {
    value.and_then(|value| value.get("Var")).and_then(Value::as_str) == Some("context")
}
