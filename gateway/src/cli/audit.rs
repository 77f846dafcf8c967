//! `popgate audit`: verifies and shows the log, beside the gateway that writes it or without one.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jiff::Timestamp;
use popgate_policy::model::{FieldSet, Personal};
use serde_json::{Value, json};

use crate::audit::read::{self, Report};
use crate::audit::{Action, AuditKey, Claimed, Damage, Ended, Entry, PurposeSource, Schema, Shown, Unsealed, What};
use crate::custody;

/// Check and read the audit log
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check every hash of the log, and that nothing is missing in between; exits with 1 and the place if something is wrong
    ///
    /// Needs no key and no pause: the gateway may go on writing. Keep the head that it prints elsewhere: a log that still
    /// contains it was not rewritten before that point.
    Verify(Verify),
    /// Print the log's records, one a line, the oldest first
    Show(Show),
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// The log's folder (`[audit] dir` in gateway.toml)
    dir: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The log's folder (`[audit] dir` in gateway.toml)
    dir: PathBuf,
    /// The audit key (`[keys] audit`): shows whom records are about and what agencies claimed, else tags stand for persons
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Print only the newest N records
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print only records since then, such as 2026-11-21T08:00:00+07:00
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand. What it finds out, also damage, goes to `out`.
///
/// # Errors
/// If `out` cannot be written.
pub fn run(args: &Args, out: &mut dyn Write) -> io::Result<ExitCode> {
    let good = match &args.command {
        Command::Verify(args) => verify(args, out)?,
        Command::Show(args) => show(args, out)?,
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn verify(args: &Verify, out: &mut dyn Write) -> io::Result<bool> {
    match read::verify(&args.dir) {
        Ok(report) if args.json => writeln!(out, "{}", report_json(&report))?,
        Ok(report) => {
            writeln!(out, "{report}")?;
            for torn in &report.torn {
                writeln!(out, "warning: {torn}: a stopped or failed write left them")?;
            }
        }
        Err(damage) => {
            write_damage(&damage, args.json, out)?;
            return Ok(false);
        }
    }
    Ok(true)
}

fn show(args: &Show, out: &mut dyn Write) -> io::Result<bool> {
    let key = match args.key.as_deref().map(custody::symmetric_key).transpose() {
        Ok(key) => key.map(AuditKey::new),
        Err(error) => {
            writeln!(out, "error: {error}")?;
            return Ok(false);
        }
    };
    show_entries(&args.dir, key.as_ref(), args, out)
}

fn show_entries(dir: &Path, key: Option<&AuditKey>, args: &Show, out: &mut dyn Write) -> io::Result<bool> {
    let print = |entry: &Entry, out: &mut dyn Write| {
        if args.json { writeln!(out, "{}", entry_json(entry)) } else { writeln!(out, "{}", line(entry)) }
    };
    let entries = match read::entries(dir, key) {
        Ok(entries) => entries,
        Err(damage) => {
            write_damage(&damage, args.json, out)?;
            return Ok(false);
        }
    };
    let mut newest = VecDeque::new();
    let mut damage = None;
    for entry in entries {
        let entry = match entry {
            Ok(entry) if args.since.is_some_and(|since| entry.at < since) => continue,
            Ok(entry) => entry,
            Err(found) => {
                damage = Some(found);
                break;
            }
        };
        match args.limit {
            None => print(&entry, out)?,
            Some(limit) => {
                newest.push_back(entry);
                if newest.len() > limit {
                    newest.pop_front();
                }
            }
        }
    }
    newest.iter().try_for_each(|entry| print(entry, out))?;
    match damage {
        None => Ok(true),
        Some(damage) => write_damage(&damage, args.json, out).map(|()| false),
    }
}

fn write_damage(damage: &Damage, json: bool, out: &mut dyn Write) -> io::Result<()> {
    if json {
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
                "intent  {} {} {} for {}{assigned} about {subject} from {}{}; {seen} {}",
                intent.disclosure,
                intent.system,
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
                "refused {} {} {}{}{} from {}{}: {}",
                refused.disclosure,
                refused.system,
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
    let Claimed { user, case, assurance, request_id } = claimed;
    let all = [("user", user), ("case", case), ("assurance", assurance), ("request_id", request_id)];
    all.into_iter().filter_map(|(name, value)| value.as_ref().map(|value| (name, value)))
}

fn entry_json(entry: &Entry) -> Value {
    let mut value = match &entry.what {
        What::Intent(intent) => json!({
            "record": "intent",
            "disclosure": intent.disclosure.to_string(),
            "system": &*intent.system,
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
            "system": &*refused.system,
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use clap::{CommandFactory as _, Parser};
    use popgate_policy::bundle::Digest;
    use popgate_policy::contract::{ObjectShape, RecordSchema};
    use popgate_policy::model::{DisclosureId, FieldIx, OperationId, PurposeId, SystemId};

    use super::*;
    use crate::audit::{Audit, Intent, Options, Outcome};
    use crate::clock::Clock;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    /// What `popgate audit ...` prints, and whether it succeeds.
    fn audit(arguments: &[&str]) -> (bool, String) {
        let cli = Cli::try_parse_from([&["audit"], arguments].concat()).unwrap();
        let mut out = Vec::new();
        let code = run(&cli.args, &mut out).unwrap();
        (format!("{code:?}") == format!("{:?}", ExitCode::SUCCESS), String::from_utf8(out).unwrap())
    }

    /// A log with one closed and one open disclosure, and its key's file.
    fn log() -> tempfile::TempDir {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::system("UTC").unwrap();
        let options = Options { min_free_bytes: 0, ..Options::default() };
        let (audit, _) = Audit::open(&dir.path().join("log"), options, AuditKey::new([5; 32]), clock).unwrap();
        let record = RecordSchema {
            name: "Citizen".to_owned(),
            fields: Vec::new(),
            shape: ObjectShape::default(),
            subject: FieldIx(0),
            attributes: Vec::new(),
            references: Vec::new(),
        };
        let intent = Intent {
            disclosure: DisclosureId::from_random(0xabc),
            system: SystemId::new("tax/etax"),
            operation: OperationId::new("citizen.read"),
            purpose: PurposeId::new("assessment"),
            purpose_source: PurposeSource::Header,
            subject: Some(Personal::new("001087000123".to_owned())),
            record: Arc::new(record),
            fields: FieldSet::EMPTY,
            bundle: Digest([7; 32]),
            claimed: Claimed { case: Some(Personal::new("CASE-1".to_owned())), ..Claimed::default() },
            source: [10, 20, 0, 7].into(),
        };
        let (_, closed) = audit.intend(intent.clone()).unwrap();
        closed.close(Outcome::Complete(Shown::default()));
        let (_, open) = audit.intend(intent).unwrap();
        audit.close();
        drop(open);
        let key = dir.path().join("audit.key");
        std::fs::write(&key, "05".repeat(32)).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        dir
    }

    fn path(dir: &tempfile::TempDir, name: &str) -> String {
        dir.path().join(name).to_str().unwrap().to_owned()
    }

    #[test]
    fn the_arguments_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn verify_says_what_the_log_holds_and_where_it_is_broken() {
        let dir = log();
        let (good, said) = audit(&["verify", &path(&dir, "log")]);
        assert!(
            good && said
                .starts_with("2 intents, 1 closings, 1 open, 0 refusals, 1 segments, chain whole: verified, head ")
        );
        let (_, said) = audit(&["verify", &path(&dir, "log"), "--json"]);
        let report: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((&report["verified"], &report["closed"]), (&json!(true), &json!(true)));

        let file = dir.path().join("log/0000000001.log");
        let whole = std::fs::read(&file).unwrap();
        let mut bad = whole.clone();
        bad[120] ^= 1;
        std::fs::write(&file, bad).unwrap();
        let (good, said) = audit(&["verify", &path(&dir, "log")]);
        assert_eq!((good, said.as_str()), (false, "error: hash mismatch in the batch at byte 0 of 0000000001.log\n"));

        std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
        let (good, said) = audit(&["verify", &path(&dir, "log")]);
        assert!(good && said.contains("warning: torn tail: 43 bytes after byte "), "{said}");
        assert!(!audit(&["verify", &path(&dir, "nowhere")]).0);
    }

    #[test]
    fn show_names_persons_only_to_those_who_hold_the_key() {
        let dir = log();
        let (good, said) = audit(&["show", &path(&dir, "log")]);
        assert!(good && !said.contains("001087000123") && !said.contains("CASE-1"), "{said}");
        let lines: Vec<_> = said.lines().collect();
        assert!(lines[0].contains("tax/etax citizen.read for assessment about subject#"), "{said}");
        assert!(
            lines[0].contains("may see") && lines[1].contains("closing") && lines[2].contains("possibly seen"),
            "{said}"
        );

        let (good, said) =
            audit(&["show", &path(&dir, "log"), "--key", &path(&dir, "audit.key"), "--limit", "1", "--json"]);
        let entry: Value = serde_json::from_str(&said).unwrap();
        assert!(good);
        assert_eq!((&entry["subject"], &entry["case"]), (&json!("001087000123"), &json!("CASE-1")));
        assert_eq!((&entry["seen"], &entry["seq"]), (&json!("possibly seen"), &json!(3)));
        assert_eq!(audit(&["show", &path(&dir, "log"), "--since", "2999-01-01T00:00:00Z"]), (true, String::new()));
    }
}
