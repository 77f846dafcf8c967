//! `popgate cache`: what a node has stored, and how it is used.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::Value;

use super::node::NodeArgs;
use super::unnamed;

/// Show what a node has stored, and how it is used
///
/// Needs the role viewer, sre or approver. `popgate purge` has it forget something.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  popgate cache --node https://gateway-1:9443 --cert me.pem --key me.key --ca site.pem
  POPGATE_NODE=https://gateway-1:9443 popgate cache --json

Exit codes: 0 shown, 1 not, 2 usage")]
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
pub fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, Box<dyn Error>> {
    let Some(node) = args.remote.node()? else { return Ok(unnamed("the node with --node")) };
    let told = node.get("/cache")?.json();
    if args.json {
        writeln!(out, "{told}")?
    } else {
        write(&told, out)?
    }
    Ok(ExitCode::SUCCESS)
}

/// A line a member; those of an object within it follow each other.
fn write(told: &Value, out: &mut dyn Write) -> io::Result<()> {
    let words = |name: &str| name.replace('_', " ");
    for (name, value) in told.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        let text = match value {
            Value::Object(parts) => {
                let parts = parts.iter().filter(|(_, value)| !value.is_null());
                parts.map(|(name, value)| format!("{} {}", shown(value), words(name))).collect::<Vec<_>>().join(", ")
            }
            value => shown(value),
        };
        writeln!(out, "{:15} {text}", words(name))?;
    }
    Ok(())
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_known_is_shown_a_line_each() {
        let told = json!({ "entries": 3, "nodes": null, "capacity_bytes": 1024, "requests": { "hit": 2, "miss": 1 } });
        let mut out = Vec::new();
        write(&told, &mut out).unwrap();
        let shown = String::from_utf8(out).unwrap();
        let mut lines: Vec<&str> = shown.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["capacity bytes  1024", "entries         3", "requests        2 hit, 1 miss"]);
    }
}
