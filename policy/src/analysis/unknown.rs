//! What conditions ask of that is not known when policies are compiled, and what they compare it with.
//!
//! Values that no condition can tell apart are one class. Where every comparison is with a literal, or the whole domain is small, the classes
//! are all there are, and deciding one value of each decides everything. What is compared otherwise is named in [`Uses::unsure`].

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use jiff::civil::Date;
use serde_json::Value;

/// One thing that a decision may depend on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Axis {
    /// The local day, and so the weekday.
    Day,
    /// The local minute, and so the hour.
    Minute,
    /// Where the connection comes from.
    Source,
    /// `Gateway-Assurance`.
    Assurance,
    /// Whether an end user is named.
    User,
    /// Whether a case is named.
    Case,
    /// An attribute of the returned record.
    Record(String),
}

/// What some conditions ask of, and the literals that they compare it with.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct Uses {
    pub(super) axes: BTreeSet<Axis>,
    /// Minutes of the day at which an answer may change.
    pub(super) minutes: BTreeSet<i64>,
    /// Days from which on an answer may be another.
    pub(super) days: BTreeSet<Date>,
    /// Whether each weekday is a class of its own.
    pub(super) weekdays: bool,
    pub(super) networks: BTreeSet<IpNet>,
    /// Whether it matters which version of IP it is.
    pub(super) families: bool,
    pub(super) texts: BTreeMap<Axis, BTreeSet<String>>,
    /// Texts that are compared with one of the principal's own attributes (`province`).
    pub(super) own: BTreeSet<(Axis, String)>,
    /// Record attributes that are used as a whole. That is all the same for one that is true or false.
    pub(super) free: BTreeSet<String>,
    /// Why the classes may not be all there are.
    pub(super) unsure: BTreeSet<String>,
}

impl Uses {
    /// What the conditions of one policy ask (Cedar's JSON form).
    pub(super) fn of(conditions: &Value) -> Self {
        let mut uses = Self::default();
        uses.walk(conditions);
        uses
    }

    /// Adds what others ask.
    pub(super) fn add(&mut self, other: &Self) {
        self.axes.extend(other.axes.iter().cloned());
        self.minutes.extend(&other.minutes);
        self.days.extend(&other.days);
        self.weekdays |= other.weekdays;
        self.networks.extend(&other.networks);
        self.families |= other.families;
        for (axis, texts) in &other.texts {
            self.texts.entry(axis.clone()).or_default().extend(texts.iter().cloned());
        }
        self.own.extend(other.own.iter().cloned());
        self.free.extend(other.free.iter().cloned());
        self.unsure.extend(other.unsure.iter().cloned());
    }

    /// Whether anything waits for the returned record.
    pub(super) fn asks_record(&self) -> bool {
        self.axes.iter().any(|axis| matches!(axis, Axis::Record(_)))
    }

    fn walk(&mut self, value: &Value) {
        if let Some(asked) = Asked::of(value) {
            self.free(&asked);
            return;
        }
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.walk(item)),
            Value::Object(members) => members.iter().for_each(|(key, member)| self.node(key, member)),
            _ => {}
        }
    }

    fn node(&mut self, key: &str, member: &Value) {
        let sides = || Some((member.get("left")?, member.get("right")?));
        match key {
            "==" | "!=" | "<" | "<=" | ">" | ">=" if let Some((left, right)) = sides() => {
                match (Asked::of(left), Asked::of(right)) {
                    (Some(asked), None) => self.compared(&asked, right),
                    (None, Some(asked)) => self.compared(&asked, left),
                    _ => self.walk(member),
                }
            }
            "contains" if let Some((set, sought)) = sides() => match (Asked::of(sought), elements(set)) {
                (Some(asked), Some(elements)) => elements.iter().for_each(|element| self.compared(&asked, element)),
                _ => self.walk(member),
            },
            "has" if is_part(member.get("left"), "env") => {
                self.axes
                    .extend(Asked::named("env", member.get("attr").and_then(Value::as_str)).map(|asked| asked.axis()));
            }
            "like" if let Some(asked) = member.get("left").and_then(Asked::of) => {
                self.axes.insert(asked.axis());
                self.unsure.insert(format!("`{}` is compared with a pattern", asked.name()));
                self.texts.entry(asked.axis()).or_default().insert(sample(member.get("pattern")));
            }
            "isInRange" | "isIpv4" | "isIpv6" | "isLoopback" | "isMulticast" => self.network(key, member),
            "is" if is_part(member.get("left"), "env") || is_part(member.get("left"), "record") => {}
            "." if is_context(member.get("left")) => match member.get("attr").and_then(Value::as_str) {
                Some("purpose") => {}
                _ => self.whole(),
            },
            "Var" if member == "context" => self.whole(),
            _ => self.walk(member),
        }
    }

    fn network(&mut self, key: &str, arguments: &Value) {
        let source = arguments.get(0).and_then(Asked::of).filter(|asked| *asked == Asked::Source);
        let ranges = arguments.as_array().and_then(|all| all.iter().skip(1).map(ip).collect::<Option<Vec<_>>>());
        let of_kind = |nets: [&'static str; 2]| nets.into_iter().filter_map(|net| net.parse::<IpNet>().ok());
        match (source, key, ranges) {
            (Some(_), "isInRange", Some(ranges)) => self.networks.extend(ranges),
            (Some(_), "isIpv4" | "isIpv6", _) => self.families = true,
            (Some(_), "isLoopback", _) => self.networks.extend(of_kind(["127.0.0.0/8", "::1/128"])),
            (Some(_), "isMulticast", _) => self.networks.extend(of_kind(["224.0.0.0/4", "ff00::/8"])),
            _ => return self.walk(arguments),
        }
        self.axes.insert(Axis::Source);
    }

    fn compared(&mut self, asked: &Asked, with: &Value) {
        let number = with.get("Value").and_then(Value::as_i64);
        match (asked, number) {
            (Asked::Hour, Some(hour)) => {
                self.minutes.extend([hour.saturating_mul(60), hour.saturating_add(1).saturating_mul(60)])
            }
            (Asked::MinuteOfDay, Some(minute)) => self.minutes.extend([minute, minute.saturating_add(1)]),
            (Asked::Weekday, Some(_)) => self.weekdays = true,
            (Asked::Today, None) => match date(with) {
                Some(date) => self.days.extend(std::iter::once(date).chain(date.tomorrow().ok())),
                None => return self.freely(asked, with),
            },
            (Asked::Source, None) => match ip(with) {
                Some(address) => self.networks.extend([address]),
                None => return self.freely(asked, with),
            },
            (Asked::Assurance | Asked::Record(_), None) => {
                if let Some(text) = with.get("Value").and_then(Value::as_str) {
                    self.texts.entry(asked.axis()).or_default().insert(text.to_owned());
                } else if let Some(attribute) = of_principal(with) {
                    self.own.insert((asked.axis(), attribute.to_owned()));
                } else {
                    return self.freely(asked, with);
                }
            }
            _ => return self.freely(asked, with),
        }
        self.axes.insert(asked.axis());
    }

    fn freely(&mut self, asked: &Asked, with: &Value) {
        self.free(asked);
        self.walk(with);
    }

    /// Something is used otherwise than to be compared with literals.
    fn free(&mut self, asked: &Asked) {
        self.axes.insert(asked.axis());
        match asked {
            Asked::Hour => self.minutes.extend((0..24).map(|hour| hour * 60)),
            Asked::MinuteOfDay => self.minutes.extend(0..1440),
            Asked::Weekday => self.weekdays = true,
            Asked::User | Asked::Case => {}
            Asked::Record(name) => self.free.extend([name.clone()]),
            Asked::Today | Asked::Source | Asked::Assurance => {
                self.unsure.insert(format!("`{}` is not compared with a literal", asked.name()));
            }
        }
    }

    fn whole(&mut self) {
        self.unsure.insert("`context` is used as a whole".to_owned());
    }
}

/// An attribute of `context.env` or `context.record`.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Asked {
    Today,
    Weekday,
    Hour,
    MinuteOfDay,
    Source,
    Assurance,
    User,
    Case,
    Record(String),
}

impl Asked {
    /// `context.env.hour` and the like.
    fn of(value: &Value) -> Option<Self> {
        if let Some(day) = value.get("toDate") {
            return Self::of(day.get(0)?).filter(|asked| *asked == Self::Today);
        }
        let access = value.get(".")?;
        let part = access.get("left")?.get(".")?;
        if !is_context(part.get("left")) {
            return None;
        }
        Self::named(part.get("attr")?.as_str()?, access.get("attr").and_then(Value::as_str))
    }

    fn named(part: &str, attribute: Option<&str>) -> Option<Self> {
        Some(match (part, attribute?) {
            ("env", "today") => Self::Today,
            ("env", "weekday") => Self::Weekday,
            ("env", "hour") => Self::Hour,
            ("env", "minute_of_day") => Self::MinuteOfDay,
            ("env", "source") => Self::Source,
            ("env", "claimed_assurance") => Self::Assurance,
            ("env", "claimed_user") => Self::User,
            ("env", "claimed_case") => Self::Case,
            ("record", name) => Self::Record(name.to_owned()),
            _ => return None,
        })
    }

    fn axis(&self) -> Axis {
        match self {
            Self::Today | Self::Weekday => Axis::Day,
            Self::Hour | Self::MinuteOfDay => Axis::Minute,
            Self::Source => Axis::Source,
            Self::Assurance => Axis::Assurance,
            Self::User => Axis::User,
            Self::Case => Axis::Case,
            Self::Record(name) => Axis::Record(name.clone()),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Today => "today".to_owned(),
            Self::Weekday => "weekday".to_owned(),
            Self::Hour => "hour".to_owned(),
            Self::MinuteOfDay => "minute_of_day".to_owned(),
            Self::Source => "source".to_owned(),
            Self::Assurance => "claimed_assurance".to_owned(),
            Self::User => "claimed_user".to_owned(),
            Self::Case => "claimed_case".to_owned(),
            Self::Record(name) => format!("record.{name}"),
        }
    }
}

/// The parts of an expression that `&&` joins, in their order.
pub(super) fn conjuncts(body: &Value) -> Vec<&Value> {
    parts(body, "&&")
}

/// The parts of an expression that `||` joins, in their order.
pub(super) fn disjuncts(body: &Value) -> Vec<&Value> {
    parts(body, "||")
}

fn parts<'a>(body: &'a Value, operator: &str) -> Vec<&'a Value> {
    let sides = body.get(operator).and_then(|sides| Some((sides.get("left")?, sides.get("right")?)));
    match sides {
        Some((left, right)) => [parts(left, operator), parts(right, operator)].concat(),
        None => vec![body],
    }
}

fn elements(set: &Value) -> Option<&Vec<Value>> {
    set.get("Set").and_then(Value::as_array)
}

fn is_context(value: Option<&Value>) -> bool {
    value.and_then(|value| value.get("Var")).is_some_and(|name| name == "context")
}

/// Whether the value is `context.env`, `context.record` or `context.purpose`.
fn is_part(value: Option<&Value>, part: &str) -> bool {
    let access = value.and_then(|value| value.get("."));
    access.is_some_and(|access| is_context(access.get("left")) && access.get("attr").is_some_and(|name| name == part))
}

/// The attribute of `principal.province` and the like.
fn of_principal(value: &Value) -> Option<&str> {
    let access = value.get(".")?;
    (access.get("left")?.get("Var")? == "principal").then(|| access.get("attr")?.as_str())?
}

fn ip(value: &Value) -> Option<IpNet> {
    let text = value.get("ip")?.get(0)?.get("Value")?.as_str()?;
    text.parse::<IpNet>().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from)).map(|net| net.trunc())
}

/// The day of `datetime("2027-12-31")`; a time of day or a zone is more than a day can be compared with.
fn date(value: &Value) -> Option<Date> {
    let text = value.get("datetime")?.get(0)?.get("Value")?.as_str()?;
    (text.len() == 10).then(|| text.parse().ok())?
}

/// A text that a pattern matches.
fn sample(pattern: Option<&Value>) -> String {
    let parts = pattern.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let literal = |part: &Value| part.get("Literal").and_then(Value::as_str).map(str::to_owned);
    parts.iter().filter_map(literal).collect()
}
