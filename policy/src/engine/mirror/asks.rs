//! What policies ask about, read from their text: what need not be told apart, and which records are worth trying.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cedar::Rule;
use crate::contract::Operation;
use crate::directory::System;
use crate::engine::Engine;
use crate::permit::Env;

/// What the policies that may bear on a request ask about. It is never too little.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    env: BTreeSet<String>,
    pub(super) record: BTreeSet<String>,
    /// Every text that stands in them.
    pub(super) texts: BTreeSet<String>,
    /// Whether they ask about a text in another way than whether it is one of `texts`.
    pub(super) open: bool,
}

/// What each policy of an engine asks about, by its position.
#[derive(Debug)]
pub(super) struct ByRule(Vec<Asks>);

impl ByRule {
    pub(super) fn of(engine: &Engine) -> Self {
        let read = |policy: &cedar_policy::Policy| {
            let mut asks = Asks::default();
            match policy.to_json() {
                Ok(json) => asks.read(&json),
                // What cannot be read may ask about anything.
                Err(_) => asks.anything(),
            }
            if asks.record.is_empty() {
                asks.texts.clear();
            }
            asks
        };
        Self(engine.rules.iter().map(|rule| read(&rule.policy)).collect())
    }

    pub(super) fn of_request(&self, engine: &Engine, system: &System, operation: &Operation) -> Asks {
        let (principal, lineages) = (engine.stands_for(system), engine.lineages(operation));
        let takes = |rule: &Rule| {
            principal.is_none_or(|principal| rule.scope.takes_principal(principal))
                && lineages.is_none_or(|(action, _)| rule.scope.takes_action(action))
        };
        let mut all = Asks::default();
        for (rule, asks) in engine.rules.iter().zip(&self.0) {
            if takes(rule) {
                all.join(asks);
            }
        }
        all.texts.extend(system.agency.province.clone());
        all
    }
}

impl Asks {
    /// The same circumstances, as far as the policies can tell them apart: what they do not ask about is the same in all.
    #[must_use]
    pub fn reduce(&self, env: &Env) -> Env {
        let by_hour = self.about("hour") || self.about("minute_of_day");
        Env {
            date: match (self.about("today"), self.about("weekday")) {
                (true, _) => env.date,
                (false, true) => some_day(env.date.weekday()),
                (false, false) => SOME_DAY,
            },
            hour: if by_hour { env.hour } else { 0 },
            minute: if self.about("minute_of_day") { env.minute } else { 0 },
            source: if self.about("source") { env.source.to_canonical() } else { NOWHERE },
            claimed_assurance: env.claimed_assurance.clone().filter(|_| self.about("claimed_assurance")),
            claimed_user: env.claimed_user && self.about("claimed_user"),
            claimed_case: env.claimed_case && self.about("claimed_case"),
        }
    }

    /// Whether they ask about that attribute of `context.env`.
    pub fn about(&self, attribute: &str) -> bool {
        self.open_env() || self.env.contains(attribute)
    }

    /// What either asks about.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.join(other);
        both
    }

    fn open_env(&self) -> bool {
        self.env.contains(ANY)
    }

    pub(super) fn join(&mut self, other: &Self) {
        self.env.extend(other.env.iter().cloned());
        self.record.extend(other.record.iter().cloned());
        self.texts.extend(other.texts.iter().cloned());
        self.open |= other.open;
    }

    fn anything(&mut self) {
        self.env.insert(ANY.to_owned());
        self.open = true;
    }

    /// Reads a policy in Cedar's JSON form.
    fn read(&mut self, json: &Value) {
        if late(json).is_some() {
            // Passed on as a whole.
            self.anything();
            return;
        }
        match json {
            Value::Object(members) => {
                for (name, value) in members {
                    match (name.as_str(), value) {
                        ("." | "has", Value::Object(access)) => {
                            let attribute = access.get("attr").and_then(Value::as_str);
                            match (access.get("left").and_then(late), attribute) {
                                (Some(ENV), Some(attribute)) => {
                                    self.env.insert(attribute.to_owned());
                                }
                                (Some(_), Some(attribute)) => {
                                    self.record.insert(attribute.to_owned());
                                }
                                _ => self.read(value),
                            }
                        }
                        ("Value", Value::String(text)) => {
                            self.texts.insert(text.clone());
                        }
                        ("Value", _) => self.texts_in(value),
                        // A pattern, or an order: other texts than those that stand there make a difference.
                        ("like" | "<" | "<=" | ">" | ">=", _) => {
                            self.open |= speaks_of_record(value);
                            self.read(value);
                        }
                        // `ip(...)` and the like.
                        (_, Value::Array(_)) if speaks_of_record(value) && !OPERATORS.contains(&name.as_str()) => {
                            self.open = true;
                            self.read(value);
                        }
                        _ => self.read(value),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| self.read(value)),
            _ => {}
        }
    }

    fn texts_in(&mut self, value: &Value) {
        match value {
            Value::String(text) => {
                self.texts.insert(text.clone());
            }
            Value::Array(values) => values.iter().for_each(|value| self.texts_in(value)),
            // An entity is no text.
            _ => {}
        }
    }
}

/// Whether an expression is `context.env` or `context.record`, and which.
fn late(json: &Value) -> Option<&str> {
    let access = json.get(".")?;
    let of_context = access.get("left")?.get("Var")?.as_str()? == "context";
    let attribute = access.get("attr")?.as_str()?;
    (of_context && [ENV, RECORD].contains(&attribute)).then_some(attribute)
}

fn speaks_of_record(json: &Value) -> bool {
    if late(json) == Some(RECORD) {
        return true;
    }
    match json {
        Value::Object(members) => members.values().any(speaks_of_record),
        Value::Array(values) => values.iter().any(speaks_of_record),
        _ => false,
    }
}

/// A day with that weekday.
fn some_day(weekday: jiff::civil::Weekday) -> jiff::civil::Date {
    let days = i64::from(weekday.to_monday_zero_offset());
    SOME_DAY.checked_add(jiff::SignedDuration::from_hours(24 * days)).unwrap_or(SOME_DAY)
}

const ENV: &str = "env";
const RECORD: &str = "record";
/// Stands for every attribute.
const ANY: &str = "*";
/// What has a list of expressions for its value, beside calls of functions.
const OPERATORS: [&str; 4] = ["conditions", "Set", "Record", "annotations"];
/// A Monday.
const SOME_DAY: jiff::civil::Date = jiff::civil::date(2001, 1, 1);
const NOWHERE: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(conditions: &str) -> Asks {
        let policy = format!("permit (principal, action, resource) {conditions};");
        let mut asks = Asks::default();
        asks.read(&policy.parse::<cedar_policy::Policy>().unwrap().to_json().unwrap());
        asks
    }

    fn names(set: &BTreeSet<String>) -> Vec<&str> {
        set.iter().map(String::as_str).collect()
    }

    #[test]
    fn what_a_policy_asks_about_is_found_wherever_it_stands() {
        let asks = read(
            r#"when { context.env has claimed_assurance && context.env.claimed_assurance == "high" }
               unless { ["001", "079"].contains(context.record.province) || context.env.source.isInRange(ip("10.0.0.0/8")) }
               when { if context.record.minor then context.env.hour < 6 else true }"#,
        );
        assert_eq!(names(&asks.env), ["claimed_assurance", "hour", "source"]);
        assert_eq!(names(&asks.record), ["minor", "province"]);
        for text in ["001", "079", "high"] {
            assert!(asks.texts.contains(text), "{text} in {:?}", asks.texts);
        }
        assert!(!asks.open);
        assert!(read(r#"when { context.record.province like "0*" }"#).open);
        assert!(read(r"when { ip(context.record.address).isLoopback() }").open);
    }

    #[test]
    fn what_is_passed_on_as_a_whole_may_be_asked_anything() {
        let asks = read("when { context.env == context.env }");
        assert!(asks.about("hour") && asks.about("source") && asks.open);
    }

    #[test]
    fn circumstances_that_nobody_asks_about_are_the_same() {
        let env = |hour, day| Env { hour, date: jiff::civil::date(2026, 11, day), ..crate::engine::fixture::ten() };
        let asks = read("when { context.env.hour < 6 }");
        assert_eq!(asks.reduce(&env(5, 20)), asks.reduce(&env(5, 21)));
        assert_ne!(asks.reduce(&env(5, 20)), asks.reduce(&env(6, 20)));
        let asks = read("when { context.env.weekday == 7 }");
        assert_eq!(asks.reduce(&env(5, 1)), asks.reduce(&env(6, 8)), "two Sundays");
        assert_ne!(asks.reduce(&env(5, 1)), asks.reduce(&env(5, 2)));
        assert_eq!(asks.reduce(&env(5, 1)).date.weekday(), jiff::civil::Weekday::Sunday);
    }
}
