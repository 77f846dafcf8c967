//! `popgate policy diff`: what a new bundle shows to whom that the old one does not, and the other way round.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use popgate_policy::analysis::{Because, Change, Diff, Direction, Verdict, diff};

use super::load;
use super::prove::{Proof, prove};
use crate::cli::report::{BOLD, GREEN, RED, YELLOW, paint};

/// Tell what a change of a bundle alters: who sees more, who sees less, and when
///
/// What is compared is what requests get, not the texts: policies, contracts and the directory of agencies alike. Every class of
/// circumstances and of records that the conditions can tell apart is tried. What is compared otherwise than with literals (patterns, sums) is
/// tried at some values only: with --prove, a solver (cvc5) shows for every possible request that the policies do not widen, or names one
/// that gets more.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  popgate policy diff /etc/popgate/bundle ./candidate
  popgate policy diff ./old ./new --json
  popgate policy diff ./old ./new --prove          with cvc5 (Debian's package `cvc5`, or as CVC5 names it)
  popgate policy diff ./old ./new --allow-widening \"INC-77: blood type for rescue, decided on 2026-11-30\"

Rates, caches and documentation are not compared: they do not decide what is shown.

Exit codes:
  0  equal: nobody sees anything else, whatever the texts say
  1  something could not be read, or a sensitive field widens without --allow-widening
  2  the command line was not understood
  3  narrows: some see less, and nobody sees more
  4  widens: somebody sees more
  5  undecided: nobody was found to see more, but the comparison is not exact")]
pub struct Args {
    /// The old bundle's folder
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The new bundle's folder
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Let sensitive fields widen, for this reason; it is part of the JSON output
    #[arg(long, value_name = "REASON", value_parser = reason)]
    allow_widening: Option<String>,
    /// Have cvc5 prove that the policies do not widen, or find a request that gets more
    #[arg(long)]
    prove: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// If a bundle has errors, a sensitive field widens without a reason, or `out` cannot be written.
pub fn run(args: &Args, colour: bool, out: &mut dyn Write) -> Result<ExitCode, Box<dyn Error>> {
    let (old, new) = (load(&args.old)?, load(&args.new)?);
    let found = diff(&old, &new);
    // Without a solver, everything else is told all the same.
    let proof = args.prove.then(|| prove(&old, &new).map_err(|error| error.to_string()));
    if args.json {
        let report = Report {
            old: old.digest().to_string(),
            new: new.digest().to_string(),
            allow_widening: args.allow_widening.as_deref(),
            proof: proof.as_ref().and_then(|proof| proof.as_ref().ok()),
            not_proven: proof.as_ref().and_then(|proof| proof.as_ref().err()),
            diff: &found,
        };
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        write(&found, colour, out)?;
        match &proof {
            Some(Ok(proof)) => write_proof(proof, out)?,
            Some(Err(message)) => writeln!(out, "not proven: {message}")?,
            None => {}
        }
    }
    if !found.sensitive.is_empty() && args.allow_widening.is_none() {
        let fields = found.sensitive.iter().map(|field| format!("`{field}`")).collect::<Vec<_>>().join(", ");
        out.flush()?;
        return Err(format!(
            "more is shown of sensitive fields: {fields}; if that is meant, say why with --allow-widening"
        )
        .into());
    }
    Ok(ExitCode::from(match found.verdict {
        Verdict::Equal => 0,
        Verdict::Narrows => 3,
        Verdict::Widens => 4,
        Verdict::Undecided => 5,
    }))
}

#[derive(serde::Serialize)]
struct Report<'a> {
    old: String,
    new: String,
    allow_widening: Option<&'a str>,
    proof: Option<&'a Proof>,
    not_proven: Option<&'a String>,
    #[serde(flatten)]
    diff: &'a Diff,
}

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() { Err("say why".to_owned()) } else { Ok(text.to_owned()) }
}

fn write(found: &Diff, colour: bool, out: &mut dyn Write) -> io::Result<()> {
    for change in found.changes.iter().chain(&found.unsure) {
        write_change(change, colour, out)?;
    }
    for aspect in &found.aspects {
        writeln!(out, "{} {}", label(aspect.direction, colour), aspect.said)?;
    }
    let count = |wanted: Direction| {
        let changes = found.changes.iter().map(|change| change.direction);
        changes
            .chain(found.aspects.iter().map(|aspect| aspect.direction))
            .filter(|direction| *direction == wanted)
            .count()
    };
    let ways = [
        (Direction::Widens, "widens", "widen"),
        (Direction::Both, "goes both ways", "go both ways"),
        (Direction::Narrows, "narrows", "narrow"),
    ];
    let said = ways.into_iter().filter_map(|(direction, one, several)| match count(direction) {
        0 => None,
        1 => Some(format!("1 change {one}")),
        many => Some(format!("{many} changes {several}")),
    });
    let said = said.collect::<Vec<_>>().join(", ");
    let (verdict, colour_of) = match (found.verdict, found.same_files) {
        (Verdict::Equal, true) => ("equal: the files are the same".to_owned(), GREEN),
        (Verdict::Equal, false) => ("equal: the texts differ, what is shown does not".to_owned(), GREEN),
        (Verdict::Narrows, _) => (format!("narrows: {said}"), GREEN),
        (Verdict::Widens, _) => (format!("widens: {said}"), RED),
        (Verdict::Undecided, _) => (["undecided", said.as_str()].join(if said.is_empty() { "" } else { ": " }), YELLOW),
    };
    let exact = found.unsure.is_empty() && found.changes.iter().all(|change| change.unsure.is_empty());
    let exact = if exact {
        "exact: every class of circumstances and records was compared"
    } else {
        "exact for conditions that compare with literals, not proven for the rest"
    };
    writeln!(out, "{}\n{exact}", paint(&verdict, colour_of, colour))
}

fn write_proof(proof: &Proof, out: &mut dyn Write) -> io::Result<()> {
    let all = proof.shown + proof.settled;
    if proof.proven {
        writeln!(
            out,
            "proven: the policies widen nothing, for every possible request ({all} implications, {} by the solver)",
            proof.shown
        )?;
    } else {
        let more = match proof.counterexamples.len() + proof.open.len() {
            0 => "and some masks cannot be compared".to_owned(),
            count => format!("of {count} the policies may give more"),
        };
        writeln!(out, "not proven: {all} shown, {more}")?;
    }
    for counterexample in &proof.counterexamples {
        writeln!(
            out,
            "  a request for {} that is now given at least {}:",
            counterexample.operation, counterexample.least
        )?;
        for line in &counterexample.request {
            writeln!(out, "      {line}")?;
        }
    }
    for open in &proof.open {
        writeln!(out, "  open: {open}")?;
    }
    for beyond in &proof.beyond {
        writeln!(out, "  not spoken of: {beyond}")?;
    }
    Ok(())
}

fn write_change(change: &Change, colour: bool, out: &mut dyn Write) -> io::Result<()> {
    let list = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let sensitive = if change.sensitive { " (sensitive)" } else { "" };
    let fields = paint(&list(&change.fields), BOLD, colour);
    writeln!(out, "{} {}: {fields}{sensitive}", label(change.direction, colour), change.whom)?;
    let (before, after) = (&change.before, &change.after);
    match change.direction {
        Direction::None => writeln!(out, "         {before}, before and after as far as was tried")?,
        _ => writeln!(out, "         {before} → {after}")?,
    }
    writeln!(out, "         in {} for {}", list(&change.operations), list(&change.purposes))?;
    for because in &change.because {
        writeln!(out, "         because {}", because_words(because))?;
    }
    for unsure in &change.unsure {
        writeln!(out, "         not exact: {unsure}")?;
    }
    Ok(())
}

fn label(direction: Direction, colour: bool) -> String {
    match direction {
        Direction::Widens => paint("widens  ", RED, colour),
        Direction::Both => paint("changes ", RED, colour),
        Direction::Narrows => paint("narrows ", GREEN, colour),
        Direction::None => paint("notes   ", YELLOW, colour),
    }
}

fn because_words(because: &Because) -> String {
    match because {
        Because::Changed { policy, place } => format!("policy `{policy}` changed ({place})"),
        Because::Came { policy, place } => format!("policy `{policy}` bears on it now ({place})"),
        Because::Gone { policy, place } => format!("policy `{policy}` bears on it no more (was {place})"),
        Because::Enrolment => "the purpose may be used in one of the bundles only".to_owned(),
        Because::Operation => "the operation is in one of the bundles only".to_owned(),
        Because::Meaning => "contract or directory changed under the same policies".to_owned(),
    }
}
