//! Records of the audit log as people and as programs read them, and which of them somebody wants: the same beside the log and
//! from a node that runs.

use std::collections::{HashSet, VecDeque};
use std::io::{self, Write};

use jiff::Timestamp;
use popgate_policy::model::{FieldSet, Personal};
use serde_json::{Value, json};

use crate::audit::read::Report;
use crate::audit::{
    Action, AuditKey, Claimed, Damage, Ended, Entry, PurposeSource, Schema, Shown, SubjectTag, Unsealed, What,
};

/// How records are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// A JSON object a line.
    Json,
    /// A sentence a line.
    Text,
}

/// Which records are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only since then.
    pub since: Option<Timestamp>,
    /// Only before then.
    pub until: Option<Timestamp>,
    /// Only of this `agency/system`, or of all systems of this agency.
    pub system: Option<String>,
    /// Only for this purpose.
    pub purpose: Option<Box<str>>,
    /// Only about this person.
    pub subject: Option<SubjectTag>,
    /// Only the newest.
    pub limit: Option<usize>,
}

/// Whom records are wanted about.
#[derive(Clone, Debug)]
pub enum About {
    /// Whoever has this tag.
    Tag(SubjectTag),
    /// A person, by number.
    Number(Personal<String>),
}

impl About {
    /// What an operator typed: a tag of 32 hex digits, as the log shows it; else a number.
    pub fn parse(typed: &str) -> Self {
        match tag(typed) {
            Some(tag) => Self::Tag(tag),
            None => Self::Number(Personal::new(typed.to_owned())),
        }
    }

    /// The tag; `None` if the key is needed for it, and not there.
    pub fn tag(&self, key: Option<&AuditKey>) -> Option<SubjectTag> {
        match self {
            Self::Tag(tag) => Some(*tag),
            Self::Number(number) => Some(key?.tag(number.expose())),
        }
    }
}

/// Writes the wanted records, and at the end the damage, if there is one; `false` then. What is written so far is as it was
/// recorded. Holds no more than the newest that are wanted.
///
/// # Errors
/// If `out` cannot be written.
pub fn write(
    entries: impl Iterator<Item = Result<Entry, Damage>>,
    wanted: &Wanted,
    form: Form,
    out: &mut dyn Write,
) -> io::Result<bool> {
    let mut sieve = Sieve { wanted, mine: HashSet::new() };
    let mut newest = VecDeque::new();
    let mut damage = None;
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(found) => {
                damage = Some(found);
                break;
            }
        };
        if !sieve.passes(&entry) {
            continue;
        }
        match wanted.limit {
            None => write_entry(&entry, form, out)?,
            Some(limit) => {
                newest.push_back(entry);
                if newest.len() > limit {
                    newest.pop_front();
                }
            }
        }
    }
    newest.iter().try_for_each(|entry| write_entry(entry, form, out))?;
    match damage {
        None => Ok(true),
        Some(damage) => write_damage(&damage, form, out).map(|()| false),
    }
}

/// Writes what a whole log holds, or its damage; `false` then.
///
/// # Errors
/// If `out` cannot be written.
pub fn write_verified(verified: &Result<Report, Damage>, form: Form, out: &mut dyn Write) -> io::Result<bool> {
    match (verified, form) {
        (Ok(report), Form::Json) => writeln!(out, "{}", report_json(report))?,
        (Ok(report), Form::Text) => {
            writeln!(out, "{report}")?;
            for torn in &report.torn {
                writeln!(out, "warning: {torn}: a stopped or failed write left them")?;
            }
        }
        (Err(damage), form) => {
            write_damage(damage, form, out)?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a line that [`fn@write`] or [`write_verified`] wrote tells of damage.
pub fn is_damage(line: &str) -> bool {
    line.starts_with("error: ") || line.starts_with("{\"verified\":false")
}

/// Lets through what is wanted.
struct Sieve<'a> {
    wanted: &'a Wanted,
    /// Intents that are wanted and whose closing, which names neither system nor person, is still to come.
    mine: HashSet<u64>,
}

impl Sieve<'_> {
    fn passes(&mut self, entry: &Entry) -> bool {
        let Wanted { since, until, .. } = self.wanted;
        let is_of_them = self.is_of_them(entry);
        is_of_them && since.is_none_or(|since| entry.at >= since) && until.is_none_or(|until| entry.at < until)
    }

    fn is_of_them(&mut self, entry: &Entry) -> bool {
        let Wanted { system, purpose, subject, .. } = self.wanted;
        if system.is_none() && purpose.is_none() && subject.is_none() {
            return true;
        }
        match &entry.what {
            What::Intent(intent) => {
                let is_wanted = self.is_by(Some(&intent.system), intent.exchange.as_deref())
                    && self.is_for(Some(&intent.purpose))
                    && self.is_about(intent.tag);
                if is_wanted && intent.closed {
                    self.mine.insert(entry.seq);
                }
                is_wanted
            }
            What::Closing(closing) => self.mine.remove(&closing.intent),
            What::Refused(refused) => {
                self.is_by(refused.system.as_deref(), refused.exchange.as_deref())
                    && self.is_for(refused.purpose.as_deref())
                    && self.is_about(refused.tag)
            }
            What::Action(_) => false,
        }
    }

    /// Whether that system asked, or that exchange server spoke for it.
    fn is_by(&self, system: Option<&str>, exchange: Option<&str>) -> bool {
        let Some(wanted) = self.wanted.system.as_deref() else { return true };
        let rest = |id: &str| id.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        [system, exchange].into_iter().flatten().any(rest)
    }

    fn is_for(&self, purpose: Option<&str>) -> bool {
        self.wanted.purpose.as_deref().is_none_or(|wanted| purpose == Some(wanted))
    }

    fn is_about(&self, tag: Option<SubjectTag>) -> bool {
        self.wanted.subject.is_none_or(|wanted| tag == Some(wanted))
    }
}

fn write_entry(entry: &Entry, form: Form, out: &mut dyn Write) -> io::Result<()> {
    match form {
        Form::Json => writeln!(out, "{}", entry_json(entry)),
        Form::Text => writeln!(out, "{}", line(entry)),
    }
}

fn tag(typed: &str) -> Option<SubjectTag> {
    if typed.len() != 32 || !typed.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(typed, 16).ok().map(|tag| SubjectTag(tag.to_be_bytes()))
}

fn write_damage(damage: &Damage, form: Form, out: &mut dyn Write) -> io::Result<()> {
    if form == Form::Json {
        let Damage { segment, offset, wrong } = damage;
        let found = json!({ "verified": false, "segment": segment, "offset": offset, "wrong": wrong.to_string() });
        writeln!(out, "{found}")
    } else {
        writeln!(out, "error: {damage}")
    }
}

fn report_json(report: &Report) -> Value {
    let torn = report.torn.iter();
    let torn = torn.map(|torn| json!({ "segment": torn.segment, "offset": torn.offset, "bytes": torn.bytes }));
    json!({
        "verified": true,
        "intents": report.intents,
        "closings": report.closings,
        "open": report.open,
        "refusals": report.refusals,
        "actions": report.actions,
        "segments": report.segments,
        "head": report.head_hex(),
        "closed": report.closed,
        "torn": torn.collect::<Vec<_>>(),
    })
}

/// One record as a person reads it.
fn line(entry: &Entry) -> String {
    let Entry { seq, at, what } = entry;
    let what = match what {
        What::Intent(intent) => {
            let subject = subject(intent.sealed.as_ref())
                .or_else(|| intent.tag.map(|tag| short_tag(&tag.to_string())))
                .unwrap_or_else(|| "nobody yet".to_owned());
            let assigned = if intent.purpose_source == PurposeSource::Default { " (its only one)" } else { "" };
            let seen = if intent.closed { "may see" } else { "possibly seen:" };
            format!(
                "intent  {} {}{} {} for {}{assigned} about {subject} from {}{}; {seen} {}",
                intent.disclosure,
                intent.system,
                by(intent.exchange.as_deref()),
                intent.operation,
                intent.purpose,
                intent.source,
                claims(intent.sealed.as_ref()),
                names(Some(&intent.schema), intent.fields),
            )
        }
        What::Closing(closing) => {
            let disclosure = closing.disclosure.map_or_else(|| format!("of #{}", closing.intent), |id| id.to_string());
            format!("closing {disclosure} {}", ended(&closing.outcome, closing.schema.as_deref()))
        }
        What::Refused(refused) => {
            let tag = || refused.tag.map(|tag| short_tag(&tag.to_string()));
            let about = subject(refused.sealed.as_ref()).or_else(tag).map(|who| format!(" about {who}"));
            format!(
                "refused {} {}{} {}{}{} from {}{}: {}",
                refused.disclosure,
                refused.system.as_deref().unwrap_or("-"),
                by(refused.exchange.as_deref()),
                refused.operation.as_deref().unwrap_or("-"),
                refused.purpose.as_deref().map(|purpose| format!(" for {purpose}")).unwrap_or_default(),
                about.unwrap_or_default(),
                refused.source,
                claims(refused.sealed.as_ref()),
                refused.code,
            )
        }
        What::Action(action) => action_line(action),
    };
    format!("{at:.6} #{seq} {what}")
}

/// Who spoke for the system.
fn by(exchange: Option<&str>) -> String {
    exchange.map(|exchange| format!(" by {exchange}")).unwrap_or_default()
}

/// What an operator typed is shown as such, on one line.
fn action_line(action: &Action) -> String {
    let Action { by, what, target, reason, until } = action;
    let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
    let reason = if reason.is_empty() { String::new() } else { format!(": {}", reason.escape_debug()) };
    format!("action  {} by {}{until}{reason}", format_args!("{what} {}", target.escape_debug()), by.escape_debug())
}

fn ended(outcome: &Ended, schema: Option<&Schema>) -> String {
    match outcome {
        Ended::Complete(shown) => format!("complete: {}", shown_line(*shown, schema)),
        Ended::Partial(shown) => format!("partial, perhaps all of: {}", shown_line(*shown, schema)),
        Ended::NoMatch(reason) => format!("no match ({})", reason.as_str()),
        Ended::Refused(code) => format!("refused: {code}"),
        Ended::Aborted => "aborted: nothing shown".to_owned(),
    }
}

fn shown_line(shown: Shown, schema: Option<&Schema>) -> String {
    let parts = [("revealed", shown.revealed), ("masked", shown.masked), ("matched", shown.matched)];
    let parts = parts.into_iter().filter(|(_, set)| !set.is_empty());
    let parts: Vec<_> = parts.map(|(how, set)| format!("{how} {}", names(schema, set))).collect();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join("; ") }
}

fn names(schema: Option<&Schema>, set: FieldSet) -> String {
    match schema {
        Some(schema) => schema.names(set).collect::<Vec<_>>().join(", "),
        None => format!("{} fields", set.len()),
    }
}

fn subject(sealed: Option<&Unsealed>) -> Option<String> {
    sealed?.subject.as_ref().map(|subject| subject.expose().clone())
}

fn short_tag(tag: &str) -> String {
    format!("subject#{}…", tag.get(..8).unwrap_or(tag))
}

fn claims(sealed: Option<&Unsealed>) -> String {
    let Some(sealed) = sealed else { return String::new() };
    claimed(&sealed.claimed).map(|(name, value)| format!(" {name}={}", value.expose().escape_debug())).collect()
}

fn claimed(claimed: &Claimed) -> impl Iterator<Item = (&'static str, &Personal<String>)> {
    let Claimed { user, case, assurance, request_id, represented, client } = claimed;
    let all = [
        ("user", user),
        ("case", case),
        ("assurance", assurance),
        ("request_id", request_id),
        ("represented", represented),
        ("client", client),
    ];
    all.into_iter().filter_map(|(name, value)| value.as_ref().map(|value| (name, value)))
}

fn entry_json(entry: &Entry) -> Value {
    let mut value = match &entry.what {
        What::Intent(intent) => json!({
            "record": "intent",
            "disclosure": intent.disclosure.to_string(),
            "system": &*intent.system,
            "exchange": intent.exchange.as_deref(),
            "operation": &*intent.operation,
            "purpose": &*intent.purpose,
            "purpose_source": match intent.purpose_source { PurposeSource::Header => "header", PurposeSource::Default => "default" },
            "bundle": intent.schema.bundle.to_string(),
            "fields": full_names(Some(&intent.schema), intent.fields),
            "subject_tag": intent.tag.map(|tag| tag.to_string()),
            "source": intent.source.to_string(),
            "seen": if intent.closed { "see closing" } else { "possibly seen" },
        }),
        What::Closing(closing) => json!({
            "record": "closing",
            "intent": closing.intent,
            "disclosure": closing.disclosure.map(|id| id.to_string()),
            "outcome": outcome_json(&closing.outcome, closing.schema.as_deref()),
        }),
        What::Refused(refused) => json!({
            "record": "refused",
            "disclosure": refused.disclosure.to_string(),
            "system": refused.system.as_deref(),
            "exchange": refused.exchange.as_deref(),
            "operation": refused.operation.as_deref(),
            "purpose": refused.purpose.as_deref(),
            "code": &*refused.code,
            "subject_tag": refused.tag.map(|tag| tag.to_string()),
            "source": refused.source.to_string(),
        }),
        What::Action(action) => json!({
            "record": "action",
            "by": action.by,
            "action": action.what,
            "target": action.target,
            "reason": action.reason,
            "until": action.until,
        }),
    };
    let sealed = match &entry.what {
        What::Intent(intent) => intent.sealed.as_ref(),
        What::Refused(refused) => refused.sealed.as_ref(),
        What::Closing(_) | What::Action(_) => None,
    };
    if let Some(object) = value.as_object_mut() {
        object.insert("seq".to_owned(), entry.seq.into());
        object.insert("at".to_owned(), format!("{:.6}", entry.at).into());
        if let Some(subject) = subject(sealed) {
            object.insert("subject".to_owned(), subject.into());
        }
        for (name, value) in sealed.into_iter().flat_map(|sealed| claimed(&sealed.claimed)) {
            object.insert(name.to_owned(), value.expose().clone().into());
        }
    }
    value
}

fn outcome_json(outcome: &Ended, schema: Option<&Schema>) -> Value {
    let shown = |how: &str, shown: &Shown| {
        json!({
            "how": how,
            "revealed": full_names(schema, shown.revealed),
            "masked": full_names(schema, shown.masked),
            "matched": full_names(schema, shown.matched),
        })
    };
    match outcome {
        Ended::Complete(fields) => shown("complete", fields),
        Ended::Partial(fields) => shown("partial", fields),
        Ended::NoMatch(reason) => json!({ "how": "no_match", "reason": reason.as_str() }),
        Ended::Refused(code) => json!({ "how": "refused", "code": &**code }),
        Ended::Aborted => json!({ "how": "aborted" }),
    }
}

fn full_names(schema: Option<&Schema>, set: FieldSet) -> Vec<String> {
    let name = |at: u16| schema.and_then(|schema| schema.fields.get(usize::from(at)).cloned());
    set.iter().map(|at| name(at.0).unwrap_or_else(|| at.0.to_string())).collect()
}
