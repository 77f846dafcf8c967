//! `popgate policy replay`: yesterday's requests against tomorrow's bundle.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use popgate_policy::bundle::{Bundle, Digest};
use popgate_policy::engine::mirror::Mirror;

use crate::app::bundle_store::Store;
use crate::app::config::Config;
use crate::audit::{AuditKey, read};
use crate::cli::unnamed;
use crate::clock::Clock;
use crate::custody;
use crate::replay::{Before, Replay, Wanted};

/// Ask a candidate bundle what it would have made of the requests of an audit log
///
/// Of each request the log has who asked what for what purpose, from where and when, and what was shown; of the returned record it has
/// nothing. Where the candidate's answer hangs on the record, every kind of record that policies can tell apart and that fits what was
/// shown is tried; where they do not agree, the request is counted as "depends on the record". Plugins, suspensions and sealed persons
/// are not replayed: where they took something away then, a field may be counted as shown more.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  popgate policy replay --config /etc/popgate/gateway.toml --bundle ./candidate --since 2026-11-20T00:00:00+07:00
  popgate policy replay --audit /var/lib/popgate/audit --bundle ./candidate --against /etc/popgate/bundle
  popgate policy replay --audit ./audit --bundle ./candidate --agency bank-a --audit-key keys/audit.key --json

Exit codes: 0 every request would be answered the same, 1 some would not or may not, or something cannot be read, 2 usage")]
pub struct Args {
    /// The log's folder (`[audit] dir`); the one that the configuration names if not given
    #[arg(long, value_name = "DIR")]
    audit: Option<PathBuf>,
    /// The candidate: its folder, or the digest of a bundle that was in force
    #[arg(long, value_name = "DIR")]
    bundle: String,
    /// Compare with what this bundle (folder or digest) would have made of the requests, and not with what the records say
    #[arg(long, value_name = "DIR")]
    against: Option<String>,
    /// Take the log's folder, the state folder and the time zone from this gateway.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The state folder with the bundles that were in force (`[state] dir`); beside the log if not given
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The audit key: policies may ask what the agency claims, which is sealed
    #[arg(long, value_name = "FILE")]
    audit_key: Option<PathBuf>,
    /// The time zone in which policies read the hour, such as Asia/Ho_Chi_Minh (the default)
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Only requests since then, such as 2026-11-21T00:00:00+07:00
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Only requests before then
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Only requests of this agency
    #[arg(long, value_name = "ID")]
    agency: Option<String>,
    /// How many requests to name of each difference
    #[arg(long, value_name = "N", default_value_t = 3)]
    examples: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand. What it finds goes to `out`.
///
/// # Errors
/// If a bundle has errors, the log cannot be read or is damaged, or `out` cannot be written.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, Box<dyn Error>> {
    let config = args.config.as_deref().map(Config::read).transpose()?;
    let Some(dir) = args.audit.clone().or_else(|| config.as_ref().map(|config| config.audit.dir.clone())) else {
        return Ok(unnamed_log());
    };
    let beside = || dir.parent().unwrap_or(Path::new("")).join("state");
    let state = args.state.clone().or_else(|| config.as_ref().map(|config| config.state.clone()));
    let store = Store::new(&state.unwrap_or_else(beside));
    let zone = args.zone.as_deref().or_else(|| config.as_ref().map(|config| config.time_zone.as_str()));
    let clock = Clock::system(zone.unwrap_or("Asia/Ho_Chi_Minh"))?;
    let key = args.audit_key.as_deref().map(custody::symmetric_key).transpose()?.map(AuditKey::new);
    let candidate = mirror(&args.bundle, &store)?;
    let mut find = |digest: &Digest| kept(digest, &store).ok();
    let mut agencies = agencies(&candidate);
    let before = match &args.against {
        Some(named) => {
            let against = mirror(named, &store)?;
            agencies.extend(self::agencies(&against));
            Before::Bundle(Arc::new(against))
        }
        None => Before::Records(&mut find),
    };
    let wanted = Wanted { since: args.since, until: args.until, agency: args.agency.clone() };
    let mut entries = read::once(&dir, key.as_ref(), args.since)?;
    let mut replay = Replay::new(candidate, before, clock, wanted, args.examples);
    let progress = progress(entries.bytes());
    let mut taken = 0u64;
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(damage) => {
                progress.finish_and_clear();
                return Err(damage.into());
            }
        };
        if args.until.is_some_and(|until| entry.at >= until) && replay.is_idle() {
            break;
        }
        replay.take(entry);
        taken += 1;
        if taken.is_multiple_of(EACH) {
            progress.set_position(entries.read());
        }
    }
    progress.finish_and_clear();
    let report = replay.end();
    // One that the log has was enrolled then: that the candidate has it no more is a finding.
    if let Some(agency) = args.agency.as_ref().filter(|_| report.total.requests == 0)
        && !agencies.contains(agency)
    {
        return Err(super::unknown("agency", agency, agencies.iter().map(String::as_str)));
    }
    if args.json {
        writeln!(out, "{}", report.json())?;
    } else {
        report.write(out)?;
    }
    Ok(if report.is_same() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn unnamed_log() -> ExitCode {
    unnamed("the log's folder with --audit, or a configuration with --config")
}

/// A bundle by its folder, or by the digest under which it is kept.
fn mirror(named: &str, store: &Store) -> Result<Mirror, Box<dyn Error>> {
    match named.parse::<Digest>() {
        Ok(digest) => kept(&digest, store),
        Err(_) => Ok(Mirror::of(super::load(Path::new(named))?)),
    }
}

fn agencies(mirror: &Mirror) -> BTreeSet<String> {
    mirror.bundle().directory().agencies().map(|agency| agency.id.as_str().to_owned()).collect()
}

fn kept(digest: &Digest, store: &Store) -> Result<Mirror, Box<dyn Error>> {
    let bundle = Bundle::load_to_ask(&store.load(digest)?.source)
        .map_err(|_| format!("bundle {digest} is kept, and this version of popgate does not accept it"))?;
    Ok(Mirror::of(bundle))
}

/// On a terminal alone.
fn progress(bytes: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let progress = ProgressBar::new(bytes);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} left") {
        progress.set_style(style);
    }
    progress
}

/// Records between two looks at the bar.
const EACH: u64 = 4096;
