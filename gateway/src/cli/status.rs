//! `popgate status`: whether a node serves, and what is in force on it.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::node::{NodeArgs, NodeError};
use super::report::{GREEN, RED, YELLOW, paint, plural};
use super::unnamed;

/// Show whether a node serves, and what is in force on it
///
/// Needs any role; what is in force needs the role viewer.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  popgate status --node https://gateway-1:9443 --cert me.pem --key me.key --ca site.pem
  POPGATE_NODE=https://gateway-1:9443 popgate status --json

Exit codes: 0 the node is ready, 1 it is not, or gives no answer, 2 usage")]
pub struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: NodeArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// If the node gives no answer, or `out` cannot be written.
pub fn run(args: &Args, colour: bool, out: &mut dyn Write) -> Result<ExitCode, Box<dyn Error>> {
    let Some(node) = args.remote.node()? else { return Ok(unnamed("the node with --node")) };
    let readiness = node.readiness()?.json();
    let is_ready = readiness.get("ready").and_then(Value::as_bool).unwrap_or(false);
    let (status, unseen) = match node.get("/bundle") {
        Ok(reply) => (reply.json(), None),
        Err(NodeError::Refused { status: 403, detail, .. }) => (Value::Null, Some(detail)),
        Err(error) => return Err(error.into()),
    };
    if args.json {
        let reasons = readiness.get("reasons").cloned().unwrap_or_default();
        let told = json!({ "node": node.to_string(), "ready": is_ready, "reasons": reasons, "status": status });
        writeln!(out, "{told}")?;
    } else {
        let ready = if is_ready { paint("ready", GREEN, colour) } else { paint("not ready", RED, colour) };
        writeln!(out, "{node}  {ready}")?;
        for reason in texts(&readiness, "reasons") {
            writeln!(out, "  {reason}")?;
        }
        match &unseen {
            Some(detail) => writeln!(out, "what is in force is not shown: {detail}")?,
            None => write(&status, colour, out)?,
        }
    }
    Ok(if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn write(status: &Value, colour: bool, out: &mut dyn Write) -> io::Result<()> {
    let part = |pointer: &str| status.pointer(pointer);
    let text = |pointer: &str| part(pointer).and_then(Value::as_str).unwrap_or("-").to_owned();
    let count = |pointer: &str| part(pointer).and_then(Value::as_array).map_or(0, Vec::len);
    let number = |pointer: &str| part(pointer).and_then(Value::as_u64).unwrap_or_default();
    writeln!(out, "bundle       {} since {}", text("/bundle/digest"), text("/bundle/loaded"))?;
    if let Some(version) = status.pointer("/bundle/version").and_then(Value::as_u64) {
        let people = status.pointer("/bundle/signed_by").and_then(Value::as_array).into_iter().flatten();
        let people: Vec<&str> = people.filter_map(Value::as_str).collect();
        let signed = if people.is_empty() { String::new() } else { format!(", signed by {}", people.join(", ")) };
        writeln!(out, "             version {version}{signed}")?;
    }
    let listed = ["contract", "operation", "agency", "system", "purpose", "policy"];
    let listed = listed.map(|one| {
        let many = one.strip_suffix('y').map_or_else(|| format!("{one}s"), |stem| format!("{stem}ies"));
        plural(usize::try_from(number(&format!("/bundle/counts/{many}"))).unwrap_or(usize::MAX), one)
    });
    writeln!(out, "             {}", listed.join(", "))?;
    match count("/bundle/warnings") {
        0 => {}
        warnings => writeln!(out, "             {}, see `popgate check --node`", plural(warnings, "warning"))?,
    }
    match count("/bundle_refused") {
        0 => {}
        _ => {
            let refused = paint("the last bundle was refused", RED, colour);
            writeln!(out, "             {refused}: see `popgate check --node`")?;
        }
    }
    if part("/shadow").is_some_and(|shadow| !shadow.is_null()) {
        match part("/shadow/digest").and_then(Value::as_str) {
            None => writeln!(out, "shadow       no candidate in {}", text("/shadow/path"))?,
            Some(digest) => {
                writeln!(out, "shadow       {digest} since {}", text("/shadow/since"))?;
                let (compared, differing) = (number("/shadow/compared"), number("/shadow/differing"));
                let requests = plural(usize::try_from(compared).unwrap_or(usize::MAX), "request");
                writeln!(out, "             {requests} compared, {differing} differ: see {}", text("/shadow/log"))?;
            }
        }
        if count("/shadow/problems") > 0 {
            let refused = paint("the candidate in its folder was refused", RED, colour);
            writeln!(out, "             {refused}: see `popgate check {}`", text("/shadow/path"))?;
        }
    }
    writeln!(out, "certificates generation {}", number("/trust/generation"))?;
    for warning in part("/trust").map(|trust| texts(trust, "warnings")).into_iter().flatten() {
        writeln!(out, "             {}: {warning}", paint("warning", YELLOW, colour))?;
    }
    if let Some(refused) = part("/trust/refused").and_then(Value::as_str) {
        writeln!(out, "             {}: {refused}", paint("the last files were refused", RED, colour))?;
    }
    registers(status, colour, out)?;
    let suspended = part("/suspensions/suspended").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let word = |entry: &Value, name: &str| entry.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let named: Vec<String> =
        suspended.iter().map(|entry| format!("{} {}", word(entry, "kind"), word(entry, "id"))).collect();
    let named = if named.is_empty() { "nothing".to_owned() } else { paint(&named.join(", "), YELLOW, colour) };
    writeln!(out, "suspended    {named}")?;
    if let Some(nodes) = part("/share/nodes").and_then(Value::as_u64) {
        let nodes = plural(usize::try_from(nodes).unwrap_or(usize::MAX), "node");
        let state = match part("/share/alone_for_seconds").and_then(Value::as_u64) {
            None => format!("limits hold over {nodes}"),
            Some(seconds) => paint(&format!("on its own share for {seconds} s ({})", text("/share/why")), RED, colour),
        };
        writeln!(out, "shared       {state}")?;
    }
    if part("/changes").is_some_and(Value::is_object) {
        let state = match part("/changes/away_for_seconds").and_then(Value::as_u64) {
            None => "heard over NATS".to_owned(),
            Some(seconds) => paint(&format!("not heard for {seconds} s ({})", text("/changes/why")), RED, colour),
        };
        writeln!(out, "changes      {state}")?;
    }
    let tripped = part("/harvest").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !tripped.is_empty() {
        let parties: Vec<String> = tripped.iter().map(|party| word(party, "party")).collect();
        let parties = paint(&parties.join(", "), YELLOW, colour);
        writeln!(out, "harvest      {parties}: see `popgate harvest list`")?;
    }
    let orders = part("/break_glass/orders").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for order in orders.iter().filter(|order| word(order, "stage") != "reviewed") {
        let said = match word(order, "stage").as_str() {
            "in_force" if order.get("lends") == Some(&Value::Bool(true)) => paint("LENT", RED, colour),
            "in_force" => "not lent: see `popgate break-glass list`".to_owned(),
            "waiting" => format!("lent from {}", word(order, "from")),
            _ => paint("to be reviewed", YELLOW, colour),
        };
        let (id, purpose, until) = (word(order, "id"), word(order, "purpose"), word(order, "until"));
        writeln!(out, "break-glass  {id}: {purpose} until {until}, {said}")?;
    }
    match count("/break_glass/problems") {
        0 => Ok(()),
        problems => {
            let refused = paint(&plural(problems, "problem"), RED, colour);
            writeln!(out, "break-glass  {refused} with orders: see `popgate break-glass list`")
        }
    }
}

/// A line a register that is well, and one more for each target that is not.
fn registers(status: &Value, colour: bool, out: &mut dyn Write) -> io::Result<()> {
    let listed = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let word = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    for register in listed(status, "registers") {
        let targets = listed(&register, "targets");
        let (well, ill): (Vec<&Value>, Vec<&Value>) =
            targets.iter().partition(|target| word(target, "standing") == "in");
        let open = match register.get("open") {
            Some(Value::Bool(true)) => paint(", nearly everything fails: it is not asked", RED, colour),
            _ => String::new(),
        };
        let count = format!("{} of {} up{open}", well.len(), plural(targets.len(), "target"));
        writeln!(out, "register     {}: {count}", word(&register, "id"))?;
        for target in ill {
            let standing = paint(&word(target, "standing"), YELLOW, colour);
            writeln!(out, "             {} is {standing}", word(target, "target"))?;
        }
    }
    Ok(())
}

fn texts<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a str> {
    value.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}
