//! `popgate check --node`: what a node found in the bundle that it was offered last.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::write_bundle;
use crate::app::diff::Counts;
use crate::cli::node::Node;
use crate::cli::report::{RED, Told, YELLOW, paint, summary_told, write_told};

/// The same findings as beside the bundle, as far as they are about the bundle alone.
pub(super) fn run(node: &Node, json: bool, colour: bool, out: &mut dyn Write) -> Result<ExitCode, Box<dyn Error>> {
    let status = node.get("/bundle")?.json();
    let part = |pointer: &str| status.pointer(pointer).filter(|value| !value.is_null());
    let listed = |pointer: &str| part(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let refused = listed("/bundle_refused");
    let is_refused = !refused.is_empty();
    let found = if is_refused { refused } else { listed("/bundle/warnings") };
    if json {
        let bundle =
            part("/bundle").map(|bundle| json!({ "digest": bundle.get("digest"), "counts": bundle.get("counts") }));
        // Of a refused bundle nothing is known; the one in force is another.
        let bundle = bundle.filter(|_| !is_refused);
        writeln!(out, "{}", json!({ "ok": !is_refused, "problems": found, "bundle": bundle }))?;
    } else {
        let told = found.iter().cloned().map(serde_json::from_value).collect::<Result<Vec<Told>, _>>()?;
        write_told(&told, colour, out)?;
        if let Some(summary) = summary_told(&told) {
            writeln!(out, "{}", paint(&summary, if is_refused { RED } else { YELLOW }, colour))?;
        }
        let digest = part("/bundle/digest").and_then(Value::as_str).unwrap_or("-");
        match part("/bundle/counts") {
            Some(counts) if !is_refused => {
                let counts: Counts = serde_json::from_value(counts.clone())?;
                write_bundle(digest, &counts, colour, out)?;
            }
            _ => writeln!(out, "the last bundle was refused; {digest} stays in force")?,
        }
    }
    Ok(if is_refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
