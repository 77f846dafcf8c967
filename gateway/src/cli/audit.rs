//! `popgate audit`: verifies and shows the log, beside the gateway that writes it or without one, or from a node that runs.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jiff::Timestamp;

use super::node::{Node, NodeArgs, encoded};
use super::unnamed;
use crate::audit::AuditKey;
use crate::audit::read;
use crate::custody;
use crate::records::{self, About, Form, Wanted};

/// Check and read the audit log
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  popgate audit verify /var/lib/popgate/audit
  popgate audit show --node https://gateway-1:9443 --cert me.pem --key me.key --ca site.pem --since 2026-11-21T00:00:00Z

Exit codes: 0 the log is whole, 1 it is damaged or cannot be read, 2 usage")]
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
    ///
    /// Without the audit key, tags stand for persons. The key never leaves a node: with --node and --reason the node opens what
    /// is sealed, and records who asked for it and why.
    Show(Show),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  popgate audit verify /var/lib/popgate/audit
  popgate audit verify --node https://gateway-1:9443 --cert me.pem --key me.key --ca site.pem

Over --node it needs the role auditor. Exit codes: 0 whole, 1 damaged or no answer, 2 usage")]
struct Verify {
    /// The log's folder (`[audit] dir` in gateway.toml)
    dir: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: NodeArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  popgate audit show /var/lib/popgate/audit --system tax/etax --limit 20
  popgate audit show /var/lib/popgate/audit --audit-key /etc/popgate/keys/audit.key --json
  popgate audit show --node https://gateway-1:9443 --cert me.pem --key me.key --ca site.pem --reason \"request 2026/117\"

Over --node it needs the role auditor. Exit codes: 0 whole, 1 damaged or no answer, 2 usage")]
struct Show {
    /// The log's folder (`[audit] dir` in gateway.toml)
    dir: Option<PathBuf>,
    /// With DIR: the audit key (`[keys] audit`; also --key): shows whom records are about and what agencies claimed
    #[arg(long, value_name = "FILE", requires = "dir")]
    audit_key: Option<PathBuf>,
    /// Print only the newest N records
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print only records since then, such as 2026-11-21T08:00:00+07:00
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Print only records before then
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Print only records of that system (`agency/system`), or of all systems of that agency
    #[arg(long, value_name = "ID")]
    system: Option<String>,
    /// Print only records of requests for that purpose
    #[arg(long, value_name = "ID")]
    purpose: Option<String>,
    /// Print only records about that person: a tag of 32 hex digits; with the key, or with --reason, also a number
    #[arg(long, value_name = "TAG")]
    subject: Option<String>,
    /// With --node: open what is sealed, for this reason; it is recorded, and must name no person
    #[arg(long, value_name = "TEXT", conflicts_with = "dir")]
    reason: Option<String>,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: NodeArgs,
}

/// Runs the subcommand. What it finds out, also damage, goes to `out`.
///
/// # Errors
/// If the node gives no answer, or `out` cannot be written.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, Box<dyn Error>> {
    let good = match &args.command {
        Command::Verify(Verify { dir: Some(dir), json, .. }) => {
            records::write_verified(&read::verify(dir), form(*json), out)?
        }
        Command::Verify(args) => match args.remote.node()? {
            Some(node) => relay(&node, "/audit/verify", form(args.json), None, out)?,
            None => return Ok(unnamed("the log's folder, or a node with --node")),
        },
        Command::Show(args) => match &args.dir {
            Some(dir) => show(dir, args, out)?,
            None => match args.remote.node()? {
                Some(node) => relay(&node, &target(args), form(args.json), args.reason.as_deref(), out)?,
                None => return Ok(unnamed("the log's folder, or a node with --node")),
            },
        },
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(dir: &Path, args: &Show, out: &mut dyn Write) -> Result<bool, Box<dyn Error>> {
    let file = args.audit_key.as_deref().or(args.remote.key.as_deref());
    let key = file.map(custody::symmetric_key).transpose()?.map(AuditKey::new);
    let subject = match args.subject.as_deref().map(About::parse) {
        Some(about) => {
            Some(about.tag(key.as_ref()).ok_or("--subject is no tag of 32 hex digits: a number needs --audit-key")?)
        }
        None => None,
    };
    let Show { since, until, limit, .. } = *args;
    let (system, purpose) = (args.system.clone(), args.purpose.as_deref().map(Into::into));
    let wanted = Wanted { since, until, system, purpose, subject, limit };
    let form = form(args.json);
    let good = match read::entries(dir, key.as_ref()) {
        Ok(entries) => records::write(entries, &wanted, form, out)?,
        Err(damage) => records::write(std::iter::once(Err(damage)), &wanted, form, out)?,
    };
    Ok(good)
}

/// What to ask a node for.
fn target(args: &Show) -> String {
    let parts = [
        ("since", args.since.map(|since| since.to_string())),
        ("until", args.until.map(|until| until.to_string())),
        ("system", args.system.clone()),
        ("purpose", args.purpose.clone()),
        ("subject", args.subject.clone()),
        ("limit", args.limit.map(|limit| limit.to_string())),
    ];
    let parts = parts.iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded(value.as_deref()?))));
    let query = parts.collect::<Vec<_>>().join("&");
    if query.is_empty() { "/audit/entries".to_owned() } else { format!("/audit/entries?{query}") }
}

/// Passes on what the node says; whether it told of no damage.
fn relay(
    node: &Node,
    path: &str,
    form: Form,
    reason: Option<&str>,
    out: &mut dyn Write,
) -> Result<bool, Box<dyn Error>> {
    let accept = match form {
        Form::Json => "application/x-ndjson",
        Form::Text => "text/plain",
    };
    let reason = reason.map(encoded);
    let mut headers = vec![("accept", accept)];
    headers.extend(reason.as_deref().map(|reason| ("gateway-reason", reason)));
    let mut last = Last::default();
    let mut failed = None;
    node.stream(path, &headers, &mut |piece| {
        last.seen(piece);
        failed = out.write_all(piece).err();
        failed.is_none()
    })?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(!records::is_damage(&String::from_utf8_lossy(&last.0))),
    }
}

/// The line that stood last, as far as it tells of damage.
#[derive(Default)]
struct Last(Vec<u8>);

impl Last {
    fn seen(&mut self, piece: &[u8]) {
        for byte in piece {
            if self.0.last() == Some(&b'\n') {
                self.0.clear();
            }
            if self.0.len() < ENOUGH || *byte == b'\n' {
                self.0.push(*byte);
            }
        }
    }
}

fn form(json: bool) -> Form {
    if json { Form::Json } else { Form::Text }
}

/// What of a line tells of damage stands at its start.
const ENOUGH: usize = 64;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use clap::{CommandFactory as _, Parser};
    use popgate_policy::bundle::Digest;
    use popgate_policy::contract::{ObjectShape, RecordSchema};
    use popgate_policy::model::{DisclosureId, FieldIx, FieldSet, OperationId, Personal, PurposeId, SystemId};
    use serde_json::{Value, json};

    use super::*;
    use crate::audit::{Audit, Claimed, Intent, Options, Outcome, PurposeSource, Shown};
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
            exchange: None,
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
