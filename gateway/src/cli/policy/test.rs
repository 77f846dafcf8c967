//! `popgate policy test`: the cases beside a bundle, and which policies they exercise.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use popgate_policy::analysis::{Idle, idle};
use popgate_policy::bundle::Bundle;
use popgate_policy::cases::{Cases, Coverage, End, Exercised, Failure, Report, Tried, Voice, Why};
use popgate_policy::engine::PolicyInfo;
use popgate_policy::model::Treatment;
use serde_json::{Value, json};

use crate::admin::ProblemStatus;
use crate::app::bundle_files;
use crate::cli::report::{self, BOLD, GREEN, RED, YELLOW, paint, plural};

/// Try a bundle's cases: who asks what, for what purpose, when, and gets which fields
///
/// Cases are tables in `cases/*.toml` of the bundle's folder, no part of the bundle itself. For each that goes in another
/// way than it says, every field that is different is printed, with the policies that decided it.
///
/// A policy is exercised by a case if it would be enough for what a field gets that the case looks at: a permit gives as
/// much as the field gets, a forbid leaves as little, where a permit gives more. Only cases that pass count. A policy is
/// needed by a case that would not pass without it. Of policies that no case exercises or needs is said, where it can be
/// told, why they do nothing: nobody asks, they contradict themselves, or others do the same.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A case, in cases/tax.toml:
  [debt-is-collected-by-day]
  system    = \"tax/inspection\"        or agency = \"tax\", or sector = \"tax\": all their systems get the same
  operation = \"citizen.lookup\"
  purpose   = \"tax-debt\"
  at        = \"2026-11-23T10:00\"      local time; if not said, that Monday at ten
  from      = \"10.20.0.5\"             if not said, the first address of the system's first network
  user      = true                    user, case, assurance = \"high\": if not said, as the purpose requires
  record    = { province = \"001\", minor = false, deceased = false }
                                      if not said, false, and the province of the agency; missing = [\"minor\"]
  whatever_is_permitted = true        as if everything were permitted: tries what the forbids leave
  asks      = [\"phone\"]               parameters that the request has beside those that it must have
  reveal    = [\"identity\", \"residence\"]
  mask      = { \"Citizen.phone\" = \"last3\" }
  match     = [\"Citizen.religion\"]
  withhold  = [\"Citizen.old_id\"]      fields, or all below a field, or groups; the nearer name wins
  rest      = \"any\"                   of other fields; \"withhold\" if not said
  errors    = [\"Citizen.phone\"]       fields that are withheld because a policy fails
Instead of fields: refused = true (403, the register is not asked), unknown = true (404, as for nobody).

Examples:
  popgate policy test deploy/bundle
  popgate policy test deploy/bundle --case debt-is-collected-by-day
  popgate policy test deploy/bundle --coverage
  popgate policy test deploy/bundle --require-coverage 100 --json

Exit codes: 0 every case passed, and the coverage is as required; 1 not so, or the bundle or a case has a mistake; 2 usage")]
pub struct Args {
    /// The bundle's folder
    #[arg(value_name = "BUNDLE")]
    dir: PathBuf,
    /// Try this case alone
    #[arg(long, value_name = "NAME")]
    case: Option<String>,
    /// Print for each policy how many cases exercise it
    #[arg(long, conflicts_with = "case")]
    coverage: bool,
    /// Fail if the cases exercise fewer policies, in hundredths
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100), conflicts_with = "case")]
    require_coverage: Option<u8>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand. What it finds goes to `out`.
///
/// # Errors
/// If the folder cannot be read, there is no such case, or `out` cannot be written.
pub fn run(args: &Args, colour: bool, out: &mut dyn Write) -> Result<ExitCode, Box<dyn Error>> {
    let (source, written) = (bundle_files::read(&args.dir)?, bundle_files::read_cases(&args.dir)?);
    let loaded = Bundle::load_to_ask(&source).and_then(|bundle| {
        let cases = Cases::load(&written, &bundle)?;
        Ok((bundle, cases))
    });
    let (bundle, cases) = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => {
            if args.json {
                let problems: Vec<_> = problems.iter().map(ProblemStatus::from).collect();
                writeln!(out, "{}", json!({ "ok": false, "problems": problems }))?;
            } else {
                report::write(&problems, colour, out)?;
                let summary = report::summary(&problems).unwrap_or_default();
                writeln!(out, "{}", paint(&summary, RED, colour))?;
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    if cases.is_empty() {
        return Err(format!("`{}` has no cases; `popgate policy test --help` shows one", args.dir.display()).into());
    }
    if let Some(name) = &args.case
        && !cases.iter().any(|case| case.name == *name)
    {
        return Err(format!("there is no case `{name}` in `{}`", args.dir.join("cases").display()).into());
    }
    let report = cases.run(&bundle, args.case.as_deref());
    let required = usize::from(args.require_coverage.unwrap_or_default());
    let covered = report.coverage.percent() >= required;
    let idle = if args.case.is_none() { all_idle(&bundle, &report.coverage) } else { BTreeMap::new() };
    if args.json {
        writeln!(out, "{}", as_json(&report, args.case.is_none().then_some(&idle), covered))?;
    } else {
        write(&report, args, covered, &idle, colour, out)?;
    }
    Ok(if report.passed() && covered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Why policies do nothing, by their ids: of those that no case exercises, and of the permits that no case needs. That a forbid is there
/// although nothing is permitted yet is as it should be.
fn all_idle(bundle: &Bundle, coverage: &Coverage<'_>) -> BTreeMap<String, Idle> {
    let suspect = |it: &&Exercised<'_>| it.by.is_empty() || (it.policy.permits && it.needed_by.is_empty());
    let suspects = coverage.policies.iter().filter(suspect).map(|it| it.policy.id.clone());
    suspects.filter_map(|id| Some((id.clone(), idle(bundle, &id)?))).collect()
}

fn write(
    report: &Report<'_>,
    args: &Args,
    covered: bool,
    idle: &BTreeMap<String, Idle>,
    colour: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    for tried in report.tried.iter().filter(|tried| !tried.failures.is_empty()) {
        write_failed(tried, colour, out)?;
    }
    let failed = report.tried.iter().filter(|tried| !tried.failures.is_empty()).count();
    let mut names: Vec<&str> = report.tried.iter().map(|tried| tried.case.name.as_str()).collect();
    names.dedup();
    let tried = format!("{}, asked by {}", plural(names.len(), "case"), plural(report.tried.len(), "system"));
    match failed {
        0 => writeln!(out, "{}: {tried}", paint("all as expected", GREEN, colour))?,
        _ => writeln!(out, "{}: {tried}", paint(&format!("{failed} not as expected"), RED, colour))?,
    }
    if args.case.is_some() {
        return Ok(());
    }
    let coverage = &report.coverage;
    let (some, all) = (coverage.exercised(), coverage.policies.len());
    let said = format!("coverage: {} % ({some} of {})", coverage.percent(), plural(all, "policy"));
    let tint = if some == all { GREEN } else { YELLOW };
    writeln!(out, "{}", paint(&said, if covered { tint } else { RED }, colour))?;
    if args.coverage {
        write_policies(coverage, colour, out)?;
    }
    let unexercised = coverage.policies.iter().filter(|it| it.by.is_empty());
    for Exercised { policy, .. } in unexercised.filter(|_| !covered || all - some <= MOST_LISTED) {
        writeln!(out, "  no case exercises {}", named(policy))?;
    }
    for Exercised { policy, .. } in &coverage.policies {
        if let Some(idle) = idle.get(&policy.id) {
            writeln!(out, "  {} {}: {idle}", named(policy), paint("does nothing", YELLOW, colour))?;
        }
    }
    Ok(())
}

fn write_failed(tried: &Tried<'_>, colour: bool, out: &mut dyn Write) -> io::Result<()> {
    let case = tried.case;
    let name = paint(&case.name, BOLD, colour);
    writeln!(out, "{name} ({}:{}), {}", case.file, case.line, tried.system)?;
    if let End::Refused(why) = &tried.end {
        writeln!(out, "  refused: {why}")?;
    } else if tried.end == End::Unknown {
        writeln!(
            out,
            "  answered as unknown: of this record nothing may be shown, or nothing that the request asks about"
        )?;
    }
    // Fields of which the same is to be said are told together.
    let mut rest = tried.failures.as_slice();
    while let Some(first) = rest.first() {
        let alike = rest.iter().take_while(|other| same(first, other)).count();
        let (together, after) = rest.split_at(alike);
        rest = after;
        write_failures(first, &together.iter().filter_map(field).collect::<Vec<_>>(), tried, out)?;
    }
    writeln!(out)
}

/// What is to be said of some fields.
fn write_failures(failure: &Failure<'_>, fields: &[&str], tried: &Tried<'_>, out: &mut dyn Write) -> io::Result<()> {
    let shown: Vec<&str> = fields.iter().take(MOST_FIELDS).copied().collect();
    let more =
        if fields.len() > shown.len() { format!(" and {} more", fields.len() - shown.len()) } else { String::new() };
    let fields = format!("{}{more}", shown.join(", "));
    let policies = match failure {
        Failure::End { expected } => return writeln!(out, "  expected {expected}, got {}", tried.end.as_str()),
        Failure::Field { expected, got, policies, .. } => {
            writeln!(out, "  {fields}: expected {}, got {}", told(*expected), told(*got))?;
            policies
        }
        Failure::Error { expected: false, policies, .. } => {
            writeln!(out, "  {fields}: a policy failed")?;
            policies
        }
        Failure::Error { expected: true, policies, .. } => {
            writeln!(out, "  {fields}: expected that a policy fails, and none did")?;
            policies
        }
    };
    // What the policies say is not why, where another gate refused.
    let asked = !matches!(&tried.end, End::Refused(why) if !matches!(why, Why::Nothing | Why::Parameter(_)));
    for (voice, policy) in policies.iter().filter(|_| asked) {
        let said = match (voice, policy.permits) {
            (Voice::Satisfied, true) => "permits",
            (Voice::Satisfied, false) => "forbids",
            (Voice::Silent, _) => "would permit, but its conditions do not hold",
            (Voice::Failed, _) => "failed",
        };
        writeln!(out, "      {}: {said}", named(policy))?;
    }
    Ok(())
}

/// Whether the same is to be said of both.
fn same(one: &Failure<'_>, other: &Failure<'_>) -> bool {
    match (one, other) {
        (
            Failure::Field { expected, got, policies, .. },
            Failure::Field { expected: others_expected, got: others_got, policies: others, .. },
        ) => expected == others_expected && got == others_got && policies == others,
        (
            Failure::Error { expected, policies, .. },
            Failure::Error { expected: others_expected, policies: others, .. },
        ) => expected == others_expected && policies == others,
        (one, other) => std::ptr::eq(one, other),
    }
}

fn field<'f>(failure: &'f Failure<'_>) -> Option<&'f str> {
    match failure {
        Failure::End { .. } => None,
        Failure::Field { field, .. } | Failure::Error { field, .. } => Some(field.as_str()),
    }
}

fn write_policies(coverage: &Coverage<'_>, colour: bool, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", paint("  cases  of them need it", BOLD, colour))?;
    for Exercised { policy, by, needed_by } in &coverage.policies {
        let line = format!("{:>7}  {:>15}  {}", by.len(), needed_by.len(), named(policy));
        writeln!(out, "{}", if by.is_empty() { paint(&line, YELLOW, colour) } else { line })?;
    }
    Ok(())
}

/// `tax-debtor-by-day (policies/tax.cedar:60)`.
fn named(policy: &PolicyInfo) -> String {
    format!("{} ({}:{})", policy.id, policy.file, policy.line)
}

fn told(treatment: Treatment) -> String {
    match treatment {
        Treatment::Reveal => "reveal".to_owned(),
        Treatment::Mask(mask) => format!("mask {}", mask.as_str()),
        Treatment::Match => "match".to_owned(),
        Treatment::Withhold => "withhold".to_owned(),
    }
}

fn as_json(report: &Report<'_>, idle: Option<&BTreeMap<String, Idle>>, covered: bool) -> Value {
    let policies = |policies: &[(Voice, &PolicyInfo)]| -> Vec<Value> {
        let one = |(voice, policy): &(Voice, &PolicyInfo)| {
            let voice = match voice {
                Voice::Satisfied => "satisfied",
                Voice::Silent => "not satisfied",
                Voice::Failed => "failed",
            };
            json!({ "id": policy.id, "file": &*policy.file, "line": policy.line, "permits": policy.permits, "said": voice })
        };
        policies.iter().map(one).collect()
    };
    let failure = |failure: &Failure<'_>| match failure {
        Failure::End { expected } => json!({ "expected": expected }),
        Failure::Field { field, expected, got, policies: by } => {
            json!({ "field": field.as_str(), "expected": told(*expected), "got": told(*got), "policies": policies(by) })
        }
        Failure::Error { field, expected, policies: by } => {
            json!({ "field": field.as_str(), "error_expected": expected, "policies": policies(by) })
        }
    };
    let tried = |tried: &Tried<'_>| {
        let why = match &tried.end {
            End::Refused(why) => Some(why.to_string()),
            End::Unknown | End::Answered => None,
        };
        json!({
            "case": tried.case.name,
            "file": &*tried.case.file,
            "line": tried.case.line,
            "system": tried.system.as_str(),
            "passed": tried.failures.is_empty(),
            "end": tried.end.as_str(),
            "refused_because": why,
            "failures": tried.failures.iter().map(failure).collect::<Vec<_>>(),
        })
    };
    let exercised = |it: &Exercised<'_>, idle: &BTreeMap<String, Idle>| {
        let names = |cases: &[&popgate_policy::cases::Case]| -> Vec<String> {
            cases.iter().map(|case| case.name.clone()).collect()
        };
        json!({
            "id": it.policy.id,
            "file": &*it.policy.file,
            "line": it.policy.line,
            "cases": names(&it.by),
            "needed_by": names(&it.needed_by),
            "idle": idle.get(&it.policy.id),
        })
    };
    let coverage = idle.map(|idle| {
        let coverage = &report.coverage;
        json!({
            "percent": coverage.percent(),
            "exercised": coverage.exercised(),
            "policies": coverage.policies.iter().map(|it| exercised(it, idle)).collect::<Vec<_>>(),
        })
    });
    json!({
        "ok": report.passed() && covered,
        "tried": report.tried.iter().map(tried).collect::<Vec<_>>(),
        "coverage": coverage,
    })
}

/// The most fields that are named at once.
const MOST_FIELDS: usize = 8;
/// The most policies that are listed without being asked for.
const MOST_LISTED: usize = 20;
