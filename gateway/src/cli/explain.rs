//! `popgate explain`: why one request was answered as it was.

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use popgate_policy::model::DisclosureId;
use serde_json::Value;

use super::node::{NodeArgs, NodeError};
use super::unnamed;
use crate::app::bundle_store::Store;
use crate::app::config::Config;
use crate::app::trace;
use crate::audit::AuditKey;
use crate::clock::Clock;
use crate::custody;

/// Explain one request: who asked what for what, and which rule showed or withheld each field
///
/// Reads the audit record of the request and the bundle that was in force then, which a node keeps while a record names it. Without the
/// audit key nothing of a person is read.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  popgate explain 3f0c8a51d2b94e7c8f1d6a0b5c4e2d10 --config /etc/popgate/gateway.toml
  popgate explain 3f0c8a51d2b94e7c8f1d6a0b5c4e2d10 --audit /var/lib/popgate/audit --field Citizen.phone
  popgate explain 3f0c8a51d2b94e7c8f1d6a0b5c4e2d10 --node https://gateway-1:9443 --cert me.pem --key me.key --ca site.pem

Over --node it needs the role auditor.
Exit codes: 0 explained, 1 there is no such request, or not all of it could be explained, 2 usage")]
pub struct Args {
    /// `Gateway-Request-Id` of the answer: 32 hex digits
    #[arg(value_name = "REQUEST-ID", value_parser = request_id)]
    id: DisclosureId,
    /// The log's folder (`[audit] dir`)
    #[arg(long, value_name = "DIR", conflicts_with = "node")]
    audit: Option<PathBuf>,
    /// Take the log's folder, the state folder and the time zone from this gateway.toml
    #[arg(long, value_name = "FILE", conflicts_with = "node")]
    config: Option<PathBuf>,
    /// The state folder with the bundles that were in force (`[state] dir`); beside the log if not given
    #[arg(long, value_name = "DIR", conflicts_with = "node")]
    state: Option<PathBuf>,
    /// The audit key: policies may ask what the agency claimed, which is sealed
    #[arg(long, value_name = "FILE", conflicts_with = "node")]
    audit_key: Option<PathBuf>,
    /// The time zone in which policies read the hour (Asia/Ho_Chi_Minh, if nothing says otherwise)
    #[arg(long, value_name = "ZONE", conflicts_with = "node")]
    zone: Option<String>,
    /// Only this field, or the fields below it, with every policy in whose scope it is
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: NodeArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// If the log cannot be read, the node gives no answer, or `out` cannot be written.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, Box<dyn Error>> {
    let traced = if args.audit.is_some() || args.config.is_some() {
        beside(args)?
    } else {
        match args.remote.node()? {
            None => {
                return Ok(unnamed(
                    "the log's folder with --audit, a configuration with --config, or a node with --node",
                ));
            }
            Some(node) => match node.get(&format!("/explain/{}", args.id)) {
                Ok(reply) => Some(reply.json()),
                Err(NodeError::Refused { status: 404, code, .. }) if code == "unknown_request" => None,
                Err(error) => return Err(error.into()),
            },
        }
    };
    let Some(mut traced) = traced else {
        return Err(format!("the log has no request {}", args.id).into());
    };
    if let Some(wanted) = &args.field {
        keep(&mut traced, wanted)?;
    }
    if args.json {
        writeln!(out, "{traced}")?;
    } else {
        write(&traced, args.field.is_some(), out)?;
    }
    let explained = traced.get("unexplained").is_none_or(Value::is_null);
    Ok(if explained { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn beside(args: &Args) -> Result<Option<Value>, Box<dyn Error>> {
    let config = args.config.as_deref().map(Config::read).transpose()?;
    let dir = args.audit.clone().or_else(|| config.as_ref().map(|config| config.audit.dir.clone())).unwrap_or_default();
    let beside = || dir.parent().unwrap_or(Path::new("")).join("state");
    let state = args.state.clone().or_else(|| config.as_ref().map(|config| config.state.clone()));
    let store = Store::new(&state.unwrap_or_else(beside));
    let zone = args.zone.as_deref().or_else(|| config.as_ref().map(|config| config.time_zone.as_str()));
    let clock = Clock::system(zone.unwrap_or("Asia/Ho_Chi_Minh"))?;
    let key = args.audit_key.as_deref().map(custody::symmetric_key).transpose()?.map(AuditKey::new);
    let traced = trace::find(&dir, key.as_ref(), args.id, &|| false)?;
    Ok(traced.map(|traced| serde_json::to_value(traced.explain(&store, &clock))).transpose()?)
}

/// Leaves one field, or those below an object.
fn keep(traced: &mut Value, wanted: &str) -> Result<(), String> {
    let Some(fields) = traced.get_mut("fields").and_then(Value::as_array_mut) else { return Ok(()) };
    let had = !fields.is_empty();
    fields.retain(|field| {
        let rest = text(field, "field").strip_prefix(wanted);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    if had && fields.is_empty() {
        return Err(format!("the operation's answer has no field `{wanted}`"));
    }
    Ok(())
}

fn write(traced: &Value, in_full: bool, out: &mut dyn Write) -> io::Result<()> {
    let by = match traced.get("exchange").and_then(Value::as_str) {
        Some(exchange) => format!(" by {exchange}"),
        None => String::new(),
    };
    writeln!(out, "request   {} at {}", text(traced, "request_id"), text(traced, "at"))?;
    writeln!(out, "who       {}{by} from {}", text(traced, "system"), text(traced, "source"))?;
    writeln!(out, "what      {} for {}", text(traced, "operation"), text(traced, "purpose"))?;
    writeln!(out, "outcome   {}", text(traced, "outcome"))?;
    match traced.get("persons").and_then(Value::as_u64) {
        None | Some(0) => {}
        Some(persons) => writeln!(out, "persons   {persons} whom the answer named, each with records of their own")?,
    }
    writeln!(out, "bundle    {}", text(traced, "bundle"))?;
    let suspended: Vec<&str> = list(traced, "suspended").filter_map(Value::as_str).collect();
    if !suspended.is_empty() {
        writeln!(out, "suspended {}", suspended.join(", "))?;
    }
    let gates: Vec<String> = list(traced, "gates").map(gate).collect();
    if !gates.is_empty() {
        writeln!(out, "gates     {}", gates.join(", "))?;
    }
    for field in list(traced, "fields") {
        write_field(field, in_full, out)?;
    }
    for note in list(traced, "notes").filter_map(Value::as_str) {
        writeln!(out, "note: {note}")?;
    }
    match traced.get("unexplained").and_then(Value::as_str) {
        Some(why) => writeln!(out, "not explained: {why}"),
        None => Ok(()),
    }
}

fn gate(gate: &Value) -> String {
    let said = match (gate.get("agreed").and_then(Value::as_bool), gate.get("code").and_then(Value::as_str)) {
        (Some(true), _) => "agreed".to_owned(),
        (Some(false), Some(code)) => format!("REFUSED ({code})"),
        (Some(false), None) => "REFUSED".to_owned(),
        (None, _) => "not asked".to_owned(),
    };
    format!("{} {said}", text(gate, "gate"))
}

fn write_field(field: &Value, in_full: bool, out: &mut dyn Write) -> io::Result<()> {
    let waits = field.get("waits_for_record").and_then(Value::as_bool) == Some(true);
    let most = if waits { "at most " } else { "" };
    let line = format!("{most}{}: {}", text(field, "treatment"), text(field, "because"));
    writeln!(out, "\n{:<13} {}\n              {line}", text(field, "shown"), text(field, "field"))?;
    // Where nothing decides, the nearest permit says what was missing.
    let permits = |policy: &&Value| text(policy, "effect").starts_with("permits");
    let lacks = text(field, "because") == "no permit applies";
    let nearest = list(field, "policies").find(permits).filter(|_| lacks);
    for policy in list(field, "policies") {
        let decides = policy.get("decides").and_then(Value::as_bool) == Some(true);
        if !(in_full || decides || nearest.is_some_and(|nearest| std::ptr::eq(nearest, policy))) {
            continue;
        }
        let state = match text(policy, "state") {
            "true" => "applies",
            "false" => "does not apply",
            "waits-for-record" => "waits for the record",
            "failed" => "FAILED",
            _ => "not asked",
        };
        let place =
            format!("{}:{}", text(policy, "file"), policy.get("line").and_then(Value::as_u64).unwrap_or_default());
        writeln!(out, "              {} ({place}) {}: {state}", text(policy, "policy"), text(policy, "effect"))?;
        for condition in list(policy, "conditions") {
            let stops = condition.get("stops").and_then(Value::as_bool) == Some(true);
            if stops || (in_full && text(condition, "is") != "not-asked") {
                writeln!(
                    out,
                    "                {} is {}: {}",
                    text(condition, "kind"),
                    text(condition, "is"),
                    one_line(text(condition, "text"), in_full)
                )?;
            }
        }
    }
    Ok(())
}

/// Cedar writes conditions over several lines; long lists are cut short unless all is wanted.
fn one_line(text: &str, in_full: bool) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let end = line.char_indices().nth(MOST_CHARACTERS).map(|(at, _)| at);
    match end.and_then(|end| line.get(..end)).filter(|_| !in_full) {
        Some(start) => format!("{start} ..."),
        None => line,
    }
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or("-")
}

fn list<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn request_id(typed: &str) -> Result<DisclosureId, String> {
    let digits = typed.len() == 32 && typed.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parsed = u128::from_str_radix(typed, 16).ok().filter(|_| digits);
    parsed
        .map(DisclosureId::from_random)
        .ok_or_else(|| "a request id is 32 hex digits, as in `Gateway-Request-Id`".to_owned())
}

const MOST_CHARACTERS: usize = 120;
