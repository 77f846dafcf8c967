//! Bundles as people read them.

use std::io::{self, Write};

use popgate_policy::analysis::{Change, Diff, Direction, Verdict};
use serde_json::Value;

use crate::cli::report::plural;
use crate::manifest::Manifest;

/// What a manifest says.
pub(super) fn manifest(manifest: &Manifest, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "version  {}", manifest.version)?;
    writeln!(out, "bundle   {}, {}", manifest.bundle, plural(manifest.files.len(), "file"))?;
    let follows = manifest.follows.map_or_else(|| "none".to_owned(), |digest| digest.to_string());
    writeln!(out, "follows  {follows}")?;
    writeln!(out, "built    {} by {}", manifest.built, manifest.by)?;
    writeln!(out, "note     {}", manifest.note)?;
    if let Some(why) = &manifest.allow_widening {
        writeln!(out, "widens   sensitive fields: {why}")?;
    }
    Ok(())
}

/// What a bundle changes.
pub(super) fn change(diff: &Diff, out: &mut dyn Write) -> io::Result<()> {
    let verdict = match diff.verdict {
        Verdict::Equal => "nobody sees anything else",
        Verdict::Narrows => "it only narrows",
        Verdict::Widens => "it widens",
        Verdict::Undecided => "nobody was found to see more, and that is not proved",
    };
    writeln!(out, "change   {verdict}")?;
    for change in diff.changes.iter().chain(&diff.unsure) {
        writeln!(out, "  {}", line(change))?;
    }
    for aspect in &diff.aspects {
        writeln!(out, "  {} {}", sign(aspect.direction), aspect.said)?;
    }
    Ok(())
}

/// One change of what is shown: `+ 3 telecom agencies: Citizen.phone masked (last3) → revealed for e-kyc (citizen.lookup)`.
pub(in crate::cli) fn line(change: &Change) -> String {
    let listed = |all: &std::collections::BTreeSet<String>| all.iter().cloned().collect::<Vec<_>>().join(", ");
    format!(
        "{} {}: {} {} → {} for {} ({})",
        sign(change.direction),
        change.whom,
        listed(&change.fields),
        change.before,
        change.after,
        listed(&change.purposes),
        listed(&change.operations),
    )
}

fn sign(direction: Direction) -> &'static str {
    match direction {
        Direction::Widens => "+",
        Direction::Narrows => "-",
        Direction::Both => "±",
        Direction::None => "?",
    }
}

/// What a node has done.
pub(super) fn done(told: &Value, tail: &str, out: &mut dyn Write) -> io::Result<()> {
    let changes = told.get("changes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let mut count = 0;
    for change in changes {
        writeln!(out, "{change}")?;
        count += 1;
    }
    let part = |name: &str| told.pointer(&format!("/in_force/{name}"));
    let digest = part("digest").and_then(Value::as_str).unwrap_or("-");
    let version = part("version").and_then(Value::as_u64).map(|it| format!(" version {it}")).unwrap_or_default();
    let what = if count == 0 { "nothing changed: " } else { "" };
    if let Some(entry) = told.get("in_force") {
        widened(entry, "", out)?;
    }
    writeln!(out, "{what}bundle {digest}{version} is {tail}")
}

/// What came into force, the newest first.
pub(super) fn list(told: &Value, out: &mut dyn Write) -> io::Result<()> {
    let entries: Vec<&Value> = told.get("bundles").and_then(Value::as_array).into_iter().flatten().collect();
    if entries.is_empty() {
        return writeln!(out, "no bundle was in force yet");
    }
    for entry in entries.iter().rev() {
        let part = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        let is = |name: &str| entry.get(name).and_then(Value::as_bool).unwrap_or_default();
        let version = entry.get("version").and_then(Value::as_u64).map_or_else(|| "-".to_owned(), |it| it.to_string());
        let mark = if is("in_force") { "*" } else { " " };
        let gone = if is("kept") { "" } else { "  (no longer kept)" };
        let digest = part("digest").get(..SHORT).unwrap_or_default();
        let how = match part("by") {
            "unknown" => part("how").to_owned(),
            by => format!("{} by {by}", part("how")),
        };
        writeln!(out, "{mark} {version:>5}  {digest}  {}  {how}{gone}", part("at"))?;
        let names = entry.get("signed_by").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let names = names.collect::<Vec<_>>().join(", ");
        if !names.is_empty() {
            writeln!(out, "         signed by {names}")?;
        }
        if !part("why").is_empty() {
            writeln!(out, "         {}", part("why"))?;
        }
        if !part("allow_widening").is_empty() && part("how") != "rollback" {
            writeln!(out, "         sensitive fields were widened: {}", part("allow_widening"))?;
        }
        widened(entry, "         ", out)?;
    }
    Ok(())
}

/// Of a rollback, the sensitive fields of which it shows more again.
fn widened(entry: &Value, indent: &str, out: &mut dyn Write) -> io::Result<()> {
    let fields = entry.get("widened").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    match fields.collect::<Vec<_>>().as_slice() {
        [] => Ok(()),
        fields => writeln!(out, "{indent}shows more again of the sensitive {}", fields.join(", ")),
    }
}

/// Digits of a digest that people tell apart.
const SHORT: usize = 12;
