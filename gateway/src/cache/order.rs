//! What is to be forgotten: the orders of operators, and what registers tell of their changes, as both are sent.
//!
//! Whom an order is about MUST NOT reach a log, a metric or an error text. An error names the member and its place, never its
//! value.

use std::fmt;
use std::time::Duration;

use popgate_caching::mark::TAG_BYTES;
use popgate_policy::model::{Personal, RegisterId};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;

use crate::audit::{AuditKey, Unavailable};
use crate::suspend::{MOST_REASON, is_plain};

#[cfg(test)]
mod tests;

/// What an operator or a register wants forgotten.
#[derive(Clone, PartialEq, Eq)]
pub enum What {
    /// Whatever is stored about a person, of every register.
    Subject(Personal<String>),
    /// What a register gave a tag.
    Tag {
        /// Which register.
        register: RegisterId,
        /// The tag.
        tag: String,
    },
    /// What a register answered to one `GET`.
    Request {
        /// Which register.
        register: RegisterId,
        /// Path and query, as the register was asked.
        target: Personal<String>,
    },
    /// Whatever a register answered.
    Register(RegisterId),
    /// Everything.
    All,
}

/// An operator's order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// What.
    pub what: What,
    /// Whether it may stay, and must be validated before it is served again.
    pub soft: bool,
    /// Why. It stands in the audit log without a seal: it MUST NOT name a person.
    pub reason: String,
}

/// What a register tells of its changes.
#[derive(Clone, PartialEq, Eq)]
pub struct Changes {
    /// Whose records changed.
    pub subjects: Vec<Personal<String>>,
    /// Which of the register's own tags.
    pub tags: Vec<String>,
    /// As in an order.
    pub soft: bool,
}

/// How a purge went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Purged {
    /// Whether every other node knows. `None`: there are no others. `Some(false)`: what tells them does not answer; they hear
    /// of it when it does.
    pub everywhere: Option<bool>,
    /// How long it took.
    pub took: Duration,
}

/// Why nothing was purged.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// It is no JSON object.
    #[error("{0}")]
    Json(String),
    /// A member is not as it must be.
    #[error("`{member}` {wrong}")]
    Member {
        /// Which; of a list also the place, from 0.
        member: String,
        /// What is wrong with it, and what would be right. Never what was sent.
        wrong: String,
    },
    /// There is no such register.
    #[error("`{member}` is none of this gateway's registers: {known}")]
    Register {
        /// The member.
        member: &'static str,
        /// Those that there are.
        known: String,
    },
    /// A purge that is not recorded is not carried out.
    #[error("it cannot be recorded: {0}")]
    Unrecorded(#[from] Unavailable),
    /// The node goes.
    #[error("the node ends")]
    Ending,
}

impl What {
    /// Its kind, as it is counted and as the command line names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Subject(_) => "subject",
            Self::Tag { .. } => "tag",
            Self::Request { .. } => "request",
            Self::Register(_) => "register",
            Self::All => "all",
        }
    }

    /// As the audit log names it: persons, and what may hold a person's number, by keyed tag; not at all without the key.
    pub fn named(&self, key: impl FnOnce() -> Option<AuditKey>) -> String {
        let keyed = |name: String, hidden: &str| match key() {
            Some(key) => format!("{name}#{}", key.tag(hidden)),
            None => name,
        };
        match self {
            Self::Subject(number) => keyed("subject".to_owned(), number.expose()),
            Self::Tag { register, tag } if digits(tag) < FEWEST_DIGITS => format!("tag {register}/{tag}"),
            Self::Tag { register, tag } => keyed(format!("tag {register}"), tag),
            Self::Request { register, target } => keyed(format!("request {register}"), target.expose()),
            Self::Register(register) => format!("register {register}"),
            Self::All => "all".to_owned(),
        }
    }

    /// What of it may be a person's number.
    fn numbers(&self) -> impl Iterator<Item = String> {
        let (number, parts) = match self {
            Self::Subject(number) => (Some(number.expose()), None),
            Self::Tag { tag, .. } => (None, Some(tag)),
            Self::Request { target, .. } => (None, Some(target.expose())),
            Self::Register(_) | Self::All => (None, None),
        };
        let parts =
            parts.into_iter().flat_map(|text| text.split(|letter: char| !letter.is_alphanumeric() && letter != '-'));
        let parts = parts.filter(|part| digits(part) >= FEWEST_DIGITS);
        number.map(String::as_str).into_iter().chain(parts).map(squeezed).filter(|number| !number.is_empty())
    }
}

/// Tags may hold numbers too: only the kind is told.
impl fmt::Debug for What {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "What({})", self.kind())
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subjects, tags, soft } = self;
        write!(formatter, "Changes({} subjects, {} tags, soft: {soft})", subjects.len(), tags.len())
    }
}

impl Order {
    /// Reads `{"subject"}`, `{"register", "tag"}`, `{"register", "target"}`, `{"register"}` or `{"all": true}`, each with
    /// `"reason"` and, if wanted, `"soft"`. `known` are the registers of the configuration.
    ///
    /// # Errors
    /// What is wrong with it, without what was sent.
    pub fn parse<'a>(body: &[u8], known: impl Iterator<Item = &'a RegisterId>) -> Result<Self, OrderError> {
        let mut members = Members::parse(body, &["subject", "register", "tag", "target", "all", "soft", "reason"])?;
        let subject = members.text("subject")?;
        let register = members.text("register")?;
        let (tag, target) = (members.text("tag")?, members.text("target")?);
        let all = members.switch("all")?;
        let soft = members.switch("soft")?.unwrap_or(false);
        let reason =
            members.text("reason")?.ok_or_else(|| wrong("reason", "is missing: say why, and name no person"))?;
        let register = register.map(|id| find(&id, known)).transpose()?;
        let what = match (subject, register, tag, target, all) {
            (Some(number), None, None, None, None) => What::Subject(subject_of("subject", number)?),
            (None, Some(register), Some(tag), None, None) => What::Tag { register, tag: tag_of("tag", tag)? },
            (None, Some(register), None, Some(target), None) => {
                What::Request { register, target: target_of("target", target)? }
            }
            (None, Some(register), None, None, None) => What::Register(register),
            (None, None, None, None, Some(true)) => What::All,
            (None, None, None, None, Some(false)) => return Err(wrong("all", "is false: nothing is named to purge")),
            (None, None, Some(_), None, None) => return Err(wrong("tag", TAG_ALONE)),
            (None, None, None, Some(_), None) => return Err(wrong("target", TARGET_ALONE)),
            _ => return Err(OrderError::Json(ONE_OF.to_owned())),
        };
        check_reason(&reason, &what)?;
        Ok(Self { what, soft, reason })
    }
}

impl Changes {
    /// Reads `{"subjects": [...], "tags": [...]}`, either of which may be left out, and, if wanted, `"soft"`. All are taken, or
    /// none.
    ///
    /// # Errors
    /// What is wrong with it, without what was sent.
    pub fn parse(body: &[u8]) -> Result<Self, OrderError> {
        let mut members = Members::parse(body, &["subjects", "tags", "soft"])?;
        let subjects = members.texts("subjects")?.into_iter().enumerate();
        let subjects =
            subjects.map(|(at, number)| subject_of(&format!("subjects[{at}]"), number)).collect::<Result<_, _>>()?;
        let tags = members.texts("tags")?.into_iter().enumerate();
        let tags = tags.map(|(at, tag)| tag_of(&format!("tags[{at}]"), tag)).collect::<Result<_, _>>()?;
        let changes = Self { subjects, tags, soft: members.switch("soft")?.unwrap_or(false) };
        if changes.subjects.is_empty() && changes.tags.is_empty() {
            return Err(OrderError::Json("nothing changed: name it in `subjects` or `tags`".to_owned()));
        }
        Ok(changes)
    }

    /// What is to be purged; the tags are those of the register that tells.
    pub fn into_whats(self, register: &RegisterId) -> Vec<What> {
        let tag = |tag| What::Tag { register: register.clone(), tag };
        self.subjects.into_iter().map(What::Subject).chain(self.tags.into_iter().map(tag)).collect()
    }
}

/// The members of an object. Each that is asked for is taken out.
struct Members(Vec<(String, Value)>);

impl Members {
    fn parse(body: &[u8], known: &[&str]) -> Result<Self, OrderError> {
        let listed = || known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let members: Self = serde_json::from_slice(body).map_err(|error| {
            // Of what is not JSON at all only the place is told; of what is another value the text would hold it.
            let place = format!("line {} column {}", error.line(), error.column());
            OrderError::Json(if error.is_data() {
                format!("send a JSON object with {}", listed())
            } else {
                format!("this is not JSON, from {place} on")
            })
        })?;
        for (at, (name, _)) in members.0.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let is_word = name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
                let name =
                    if is_word && !name.is_empty() { format!("`{name}`") } else { format!("the member at {at}") };
                return Err(OrderError::Json(format!("{name} is not known; there are {}", listed())));
            }
            if members.0.iter().take(at).any(|(before, _)| before == name) {
                return Err(wrong(name, "stands there twice"));
            }
        }
        Ok(members)
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(member, _)| member == name)?;
        Some(self.0.swap_remove(at).1)
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, OrderError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(name, "must be a text in quotes")),
        }
    }

    fn switch(&mut self, name: &str) -> Result<Option<bool>, OrderError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(switch)) => Ok(Some(switch)),
            Some(_) => Err(wrong(name, "must be true or false")),
        }
    }

    fn texts(&mut self, name: &str) -> Result<Vec<String>, OrderError> {
        let values = match self.take(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(values)) => values,
            Some(_) => return Err(wrong(name, "must be a list of texts")),
        };
        if values.len() > MOST_CHANGES {
            return Err(wrong(name, &format!("names more than {MOST_CHANGES}: send the rest in another request")));
        }
        let text = |(at, value)| match value {
            Value::String(text) => Ok(text),
            _ => Err(wrong(&format!("{name}[{at}]"), "must be a text in quotes")),
        };
        values.into_iter().enumerate().map(text).collect()
    }
}

/// Not by way of a map of JSON: that would keep the last of two members of one name, and lose the other without a word.
impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

fn find<'a>(id: &str, known: impl Iterator<Item = &'a RegisterId>) -> Result<RegisterId, OrderError> {
    let known: Vec<&RegisterId> = known.collect();
    // What was typed is not repeated: who mixed up two members sent a number here.
    let unknown = || {
        let known: Vec<String> = known.iter().map(|register| format!("`{register}`")).collect();
        OrderError::Register { member: "register", known: known.join(", ") }
    };
    known.iter().find(|register| register.as_str() == id).map(|register| (*register).clone()).ok_or_else(unknown)
}

fn subject_of(member: &str, number: String) -> Result<Personal<String>, OrderError> {
    let fits = !number.is_empty()
        && number.len() <= MOST_SUBJECT
        && number.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !fits {
        return Err(wrong(member, "is not one person's number: letters, digits and hyphens, at most 64"));
    }
    Ok(Personal::new(number))
}

/// Registers write several tags between spaces or commas: one that holds them could never be found.
fn tag_of(member: &str, tag: String) -> Result<String, OrderError> {
    let fits = !tag.is_empty()
        && tag.len() <= TAG_BYTES
        && !tag.chars().any(|letter| letter.is_control() || letter.is_whitespace() || letter == ',');
    if !fits {
        return Err(wrong(member, &format!("is not one tag: at most {TAG_BYTES} bytes, without spaces and commas")));
    }
    Ok(tag)
}

fn target_of(member: &str, target: String) -> Result<Personal<String>, OrderError> {
    let fits = target.starts_with('/')
        && target.len() <= MOST_TARGET
        && !target.contains('#')
        && target.parse::<http::uri::PathAndQuery>().is_ok();
    if !fits {
        return Err(wrong(member, "is not what a register is asked for: a path that begins with `/`, and its query"));
    }
    Ok(Personal::new(target))
}

fn check_reason(reason: &str, what: &What) -> Result<(), OrderError> {
    is_plain(reason, MOST_REASON).map_err(|is| wrong("reason", &format!("{is}; at most {MOST_REASON} characters")))?;
    let is_long = reason.split(|letter: char| !letter.is_ascii_digit()).any(|run| run.len() >= LONG_NUMBER);
    let plain = squeezed(reason);
    if is_long || what.numbers().any(|number| plain.contains(&number)) {
        return Err(wrong("reason", "must name no person, and holds what may be a number; name a ticket"));
    }
    Ok(())
}

/// Without what people put between digits.
fn squeezed(text: &str) -> String {
    text.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn digits(text: &str) -> usize {
    text.chars().filter(|letter| letter.is_numeric()).count()
}

fn wrong(member: &str, wrong: &str) -> OrderError {
    OrderError::Member { member: member.to_owned(), wrong: wrong.to_owned() }
}

const ONE_OF: &str =
    "name one thing to purge: `subject`; `register` with `tag` or with `target`; `register` alone; or `all`";
const TAG_ALONE: &str = "needs the `register` whose tag it is";
const TARGET_ALONE: &str = "needs the `register` that is asked for it";
/// How many subjects, and how many tags, one message of a register may name.
pub const MOST_CHANGES: usize = 1000;
/// How long an order or a message may be: the most subjects and tags, and some space between them.
pub const MOST_BYTES: usize = 512 << 10;
/// Longer than any number of a person.
const MOST_SUBJECT: usize = 64;
const MOST_TARGET: usize = 8 << 10;
/// A text with fewer digits holds no person's number.
const FEWEST_DIGITS: usize = 6;
/// As many digits in a row are taken for a person's number.
const LONG_NUMBER: usize = 9;
