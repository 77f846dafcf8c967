//! `popgate harvest`: whom the harvest guard of a node has tripped for.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use serde_json::Value;

use super::node::{NodeArgs, encoded};
use super::unnamed;
use crate::suspend::Kind;

/// Show whom the harvest guard of a node has tripped for, or end it
///
/// It watches how many different persons each system and agency asks about, whether their numbers follow each other, how often nobody is
/// found, and what is usual. `[harvest]` of gateway.toml and `limits` of agencies' files say what is too much.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  popgate harvest list --node https://gateway-1:9443 --cert me.pem --key me.key --ca site.pem
  popgate harvest pardon system tax/etax --reason \"yearly settlement, INC-81\" --node https://gateway-1:9443

Exit codes: 0 done, 1 not, 2 usage")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List who is tripped, or near
    List(List),
    /// End the trips of a system or agency; what led to them is forgotten
    Pardon(Pardon),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: NodeArgs,
}

#[derive(Debug, clap::Args)]
struct Pardon {
    /// agency or system
    kind: Kind,
    /// Its id in the bundle: tax, tax/etax
    id: String,
    /// Why, for operators and auditors; it must name no person
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    remote: NodeArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// If the node gives no answer, or `out` cannot be written.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, Box<dyn Error>> {
    match &args.command {
        Command::List(list) => {
            let Some(node) = list.remote.node()? else { return Ok(unnamed("the node with --node")) };
            let told = node.get("/harvest")?.json();
            if list.json {
                writeln!(out, "{told}")?;
            } else {
                write(&told, out)?;
            }
        }
        Command::Pardon(pardon) => {
            let Some(node) = pardon.remote.node()? else { return Ok(unnamed("the node with --node")) };
            let (kind, id, reason) = (pardon.kind.as_str(), encoded(&pardon.id), encoded(&pardon.reason));
            node.delete(&format!("/harvest/{kind}/{id}?reason={reason}"))?;
            writeln!(out, "{kind} {}: its trips are ended on {node}", pardon.id)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn write(told: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    let tripped = told.get("tripped").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if tripped.is_empty() {
        return writeln!(out, "the harvest guard has tripped for nobody");
    }
    for party in tripped {
        let text = |name: &str| party.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
        let number = |name: &str| party.get(name).and_then(Value::as_f64).unwrap_or_default();
        let rules = party.get("tripped").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        writeln!(out, "{}  {}", text("party"), rules.collect::<Vec<_>>().join(", "))?;
        writeln!(
            out,
            "  about {} persons in an hour and {} in a day, {} a hundred numbers, {} % found nobody",
            number("persons_per_hour"),
            number("persons_per_day"),
            number("density"),
            number("miss_percent"),
        )?;
        if let Some(usual) = party.get("usual").and_then(Value::as_f64) {
            writeln!(out, "  usual in this hour: {usual}")?;
        }
    }
    Ok(())
}
