//! `popgate serve`: runs a node.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use popgate_policy::problem::Problem;

use super::{colours, failed, report};
use crate::app::config::Config;
use crate::app::logs::{self, Format, Verbosity};
use crate::app::node::ReloadError;
use crate::app::{self, StartError};

/// Run a node until SIGTERM or SIGINT
///
/// SIGHUP, and any change of the files that it was started with, reloads bundle, certificates and revocation lists; what is
/// wrong is refused and logged, and the last good version stays. After SIGTERM it takes no new requests and lets those in
/// flight end.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  popgate serve --config gateway.toml
  POPGATE_LOG=warn popgate serve

Exit codes: 0 drained after a signal, 1 could not start, 2 usage")]
pub struct Args {
    /// The node's configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/popgate/gateway.toml")]
    config: PathBuf,
    /// How much is logged: off, error, warn, info (a line a refusal), debug (a line a request), trace; the default is POPGATE_LOG, or info
    #[arg(long, value_name = "LEVEL")]
    log: Option<Verbosity>,
    /// How: json (one object a line), text, or auto: text at a terminal, else json
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    log_format: Format,
}

/// Runs the subcommand until the node is stopped.
pub fn run(args: &Args) -> ExitCode {
    let verbosity = match args.log.map_or_else(verbosity_of_environment, Ok) {
        Ok(verbosity) => verbosity,
        Err(error) => {
            failed(&error);
            return ExitCode::from(USAGE);
        }
    };
    let config = match Config::read(&args.config) {
        Ok(config) => config,
        Err(errors) => return refused(&errors.problems),
    };
    let _logs = match logs::init(args.log_format, verbosity) {
        Ok(logs) => logs,
        Err(error) => return failed(&error),
    };
    match app::serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // From here on standard error holds log lines.
            if let StartError::Load(ReloadError::Bundle { problems, .. }) = &error {
                for problem in problems {
                    tracing::error!(%problem, "bundle refused");
                }
            }
            tracing::error!(%error, "the node cannot start");
            ExitCode::FAILURE
        }
    }
}

fn verbosity_of_environment() -> io::Result<Verbosity> {
    match std::env::var("POPGATE_LOG") {
        Err(_) => Ok(Verbosity::INFO),
        Ok(level) => level.parse().map_err(|known| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("POPGATE_LOG `{level}` is not {known}"))
        }),
    }
}

/// Shows on standard error what is wrong with the files.
fn refused(problems: &[Problem]) -> ExitCode {
    let mut out = io::stderr().lock();
    let colour = colours(&out);
    let shown = report::write(problems, colour, &mut out);
    if let (Ok(()), Some(summary)) = (shown, report::summary(problems)) {
        // If nobody can be told, the exit code still says it.
        let _ = io::Write::write_all(&mut out, format!("{summary}\n").as_bytes());
    }
    ExitCode::FAILURE
}

const USAGE: u8 = 2;
