//! The demonstration's binary.

use std::error::Error;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use popgate::app::logs::{self, Format, Verbosity};
use popgate_demo::deployment::{Deployment, Options};
use popgate_demo::print::{self, Colour};
use popgate_demo::{register, scenario, tour};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The reference deployment of popgate in one process: PKI, synthetic registers, gateway. All data is synthetic.
///
/// Runs the scenario, prints what happened, and stays up for you to try until Ctrl-C.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: Demo,
}

#[derive(Subcommand)]
enum Command {
    Register(register::cli::Args),
}

#[derive(clap::Args)]
struct Demo {
    /// Exit after the scenario: 0 if every step went as it must
    #[arg(long)]
    once: bool,
    /// Keep everything that is made in this folder, which must be empty or missing
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Read the population from a throw-away PostgreSQL, not from functions: needs Debian's package postgresql
    #[arg(long)]
    postgres: bool,
    /// Walk further after the scenario: households, searches, lists, portraits, other registers, the kill switch
    #[arg(long)]
    tour: bool,
    /// The agencies' port; 0 takes a free one
    #[arg(long, default_value_t = 8443)]
    port: u16,
}

fn main() -> ExitCode {
    let result = match Cli::parse() {
        Cli { command: Some(Command::Register(args)), .. } => register::cli::run(args).map_err(Into::into),
        Cli { command: None, demo } => run(&demo),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&*error);
            ExitCode::FAILURE
        }
    }
}

fn run(demo: &Demo) -> Result<(), Box<dyn Error>> {
    let mut _logs = if demo.once { Some(logs::init(Format::Text, "error".parse()?)?) } else { None };
    let kept;
    let temporary;
    let dir = match &demo.dir {
        Some(dir) => {
            if std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
                return Err(format!("`{}` is not empty; give another folder to --dir", dir.display()).into());
            }
            kept = dir.clone();
            &kept
        }
        None => {
            temporary = tempfile::Builder::new().prefix("popgate-demo-").tempdir()?;
            &temporary.path().to_owned()
        }
    };
    let colour = if io::stdout().is_terminal() { Colour::On } else { Colour::Off };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let port = if demo.once { 0 } else { demo.port };
        let deployment = Deployment::start(dir, &Options { port, postgres: demo.postgres, ..Options::default() })?;
        let found = scenario::run(&deployment).await?;
        print(&print::report(&found, colour))?;
        if demo.tour {
            print(&tour::text(&tour::run(&deployment).await?))?;
        }
        if !demo.once {
            print(&print::now_you(&deployment, colour)?)?;
            if let Some(postgres) = &deployment.others.postgres {
                print(&format!("The population is read from PostgreSQL: psql '{}'\n", postgres.url()))?;
            }
            print("Ctrl-C ends it. From here on you read the gateway's log: reloads, refusals.\n")?;
            // Only now: the scenario is refused often, and on purpose.
            _logs = Some(logs::init(Format::Text, Verbosity::INFO)?);
            tokio::signal::ctrl_c().await?;
        }
        deployment.gateway.drain().await;
        Ok(())
    })
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[expect(clippy::print_stderr, reason = "the last word of a command line program")]
fn report(error: &dyn Error) {
    eprintln!("popgate-demo: {error}");
}
