//! `popgate policy`: what policies do, before they go live.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use popgate_policy::bundle::Bundle;
use popgate_policy::problem::Problem;

use super::unnamed;
use crate::app::bundle_files;
use crate::app::config::Config;

pub mod diff;
pub mod explain;
pub mod history;
mod prove;
pub mod replay;
pub mod test;
pub mod who;

/// See what policies do, before they go live
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Diff(diff::Args),
    Explain(explain::Args),
    History(history::Args),
    Replay(replay::Args),
    Test(test::Args),
    Who(who::Args),
}

/// Runs the subcommand. What it finds goes to `out`.
///
/// # Errors
/// If something cannot be read, or `out` cannot be written.
pub fn run(args: &Args, colour: bool, out: &mut dyn Write) -> Result<ExitCode, Box<dyn Error>> {
    match &args.command {
        Command::Diff(args) => diff::run(args, colour, out),
        Command::Explain(args) => explain::run(args, colour, out),
        Command::History(args) => history::run(args, out),
        Command::Replay(args) => replay::run(args, out),
        Command::Test(args) => test::run(args, colour, out),
        Command::Who(args) => who::run(args, colour, out),
    }
}

/// Where the bundle is.
#[derive(Debug, clap::Args)]
struct Place {
    /// The bundle's folder
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// A node's configuration: the bundle that it names
    #[arg(long, value_name = "FILE", conflicts_with = "bundle")]
    config: Option<PathBuf>,
}

/// A bundle, and the time zone of its site.
type Placed = (Arc<Bundle>, String);

impl Place {
    /// The bundle and the time zone of its site; `None` if nothing names a bundle.
    fn load(&self) -> Result<Option<Placed>, Box<dyn Error>> {
        let (dir, zone) = match (&self.bundle, &self.config) {
            (Some(dir), _) => (dir.clone(), ZONE.to_owned()),
            (None, Some(file)) => {
                let config = Config::read(file)?;
                (config.bundle, config.time_zone)
            }
            (None, None) => return Ok(None),
        };
        Ok(Some((load(&dir)?, zone)))
    }

    fn nowhere() -> ExitCode {
        unnamed("a bundle with --bundle, or a configuration with --config")
    }
}

fn load(dir: &Path) -> Result<Arc<Bundle>, Box<dyn Error>> {
    let name = dir.display();
    let source = bundle_files::read(dir).map_err(|error| format!("the bundle in `{name}`: {error}"))?;
    let loaded = Bundle::load_to_ask(&source);
    Ok(loaded.map_err(|_| format!("the bundle in `{name}` has errors: `popgate check {name}` shows them"))?)
}

/// That a bundle has nothing of that name, and what may be meant.
fn unknown<'a>(kind: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Box<dyn Error> {
    let help = Problem::error("", "", "").suggest(name, known).help;
    let help = help.map(|help| format!("; {help}")).unwrap_or_default();
    format!("the bundle has no {kind} `{name}`{help}").into()
}

/// As configurations have it that do not say.
const ZONE: &str = "Asia/Ho_Chi_Minh";
