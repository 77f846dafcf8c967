//! The command line: one file a subcommand.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};

use crate::clock::Clock;

pub mod agency;
pub mod audit;
pub mod break_glass;
pub mod bundle;
pub mod cache;
pub mod check;
pub mod explain;
pub mod harvest;
mod keyed;
pub mod node;
pub mod pki;
pub mod plugin;
pub mod policy;
pub mod purge;
mod report;
pub mod seal;
pub mod serve;
pub mod status;
pub mod suspend;
pub mod top;

/// The gateway in front of a country's population database
///
/// Every query of an agency goes through it; it decides which fields of whose record leave, and keeps durable proof.
#[derive(Debug, Parser)]
#[command(name = "popgate", version, arg_required_else_help = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Serve(serve::Args),
    Check(check::Args),
    Audit(audit::Args),
    Explain(explain::Args),
    Status(status::Args),
    Top(top::Args),
    Agency(agency::AgencyArgs),
    Purpose(agency::PurposeArgs),
    Operation(agency::OperationArgs),
    Suspend(suspend::SuspendArgs),
    Resume(suspend::ResumeArgs),
    Suspensions(suspend::ListArgs),
    Cache(cache::Args),
    Purge(purge::Args),
    Harvest(harvest::Args),
    BreakGlass(break_glass::Args),
    Bundle(bundle::Args),
    Pki(pki::Args),
    Policy(policy::Args),
    Plugin(plugin::Args),
    Seal(seal::Args),
    Completions(Completions),
}

/// Print a shell's completion script
///
/// Such as `popgate completions bash > /etc/bash_completion.d/popgate`
#[derive(Debug, clap::Args)]
struct Completions {
    /// Which shell
    shell: clap_complete::Shell,
}

/// Runs the command that the process was started with. Mistakes of usage end the process here, with 2.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let out = &mut io::stdout().lock();
    let result = match cli.command {
        // Not with the lock: a node runs until it is stopped.
        Command::Serve(args) => return serve::run(&args),
        Command::Check(args) => ended(check::run(&args, colours(&io::stdout()), out)),
        Command::Audit(args) => ended(audit::run(&args, out)),
        Command::Explain(args) => ended(explain::run(&args, out)),
        Command::Status(args) => ended(status::run(&args, colours(&io::stdout()), out)),
        Command::Top(args) => run_switch(|clock| top::run(&args, clock, out)),
        Command::Agency(args) => run_switch(|clock| agency::agency(&args, clock, out)),
        Command::Purpose(args) => run_switch(|clock| agency::purpose(&args, clock, out)),
        Command::Operation(args) => run_switch(|clock| agency::operation(&args, clock, out)),
        Command::Suspend(args) => run_switch(|clock| suspend::suspend(&args, clock, out)),
        Command::Resume(args) => run_switch(|clock| suspend::resume(&args, clock, out)),
        Command::Suspensions(args) => run_switch(|clock| suspend::list(&args, clock, out)),
        Command::Cache(args) => ended(cache::run(&args, out)),
        Command::Purge(args) => ended(purge::run(&args, &mut io::stdin().lock(), out)),
        Command::Harvest(args) => ended(harvest::run(&args, out)),
        Command::BreakGlass(args) => run_switch(|clock| break_glass::run(&args, clock, &mut io::stdin().lock(), out)),
        Command::Bundle(args) => run_switch(|clock| bundle::run(&args, clock, &mut io::stdin().lock(), out)),
        Command::Pki(args) => run_pki(args, out),
        Command::Policy(args) => ended(policy::run(&args, colours(&io::stdout()), out)),
        Command::Plugin(args) => plugin::run(&args, &mut io::stdin().lock(), out),
        Command::Seal(args) => seal::run(&args, &mut io::stdin().lock(), out),
        Command::Completions(args) => {
            // Into memory first: the generator panics if its output cannot be written.
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "popgate", &mut script);
            out.write_all(&script).map(|()| ExitCode::SUCCESS)
        }
    };
    match result.and_then(|code| out.flush().map(|()| code)) {
        Ok(code) => code,
        // Whoever reads our output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn run_pki(args: pki::Args, out: &mut dyn Write) -> io::Result<ExitCode> {
    let clock = Clock::system("UTC").map_err(io::Error::other)?;
    match pki::run(args, &clock, out) {
        Ok(code) => Ok(code),
        Err(error) => Ok(failed(&error)),
    }
}

fn run_switch(run: impl FnOnce(&Clock) -> Result<ExitCode, Box<dyn std::error::Error>>) -> io::Result<ExitCode> {
    let clock = Clock::system("UTC").map_err(io::Error::other)?;
    ended(run(&clock))
}

/// What cannot be written ends the process in its own way; everything else is said.
fn ended(ended: Result<ExitCode, Box<dyn std::error::Error>>) -> io::Result<ExitCode> {
    ended.or_else(|error| match error.downcast::<io::Error>() {
        Ok(error) => Err(*error),
        Err(error) => Ok(failed(&*error)),
    })
}

/// Says on standard error why nothing came of it.
fn failed(error: &dyn std::error::Error) -> ExitCode {
    // If nobody can be told, the exit code still says it.
    let _ = writeln!(io::stderr(), "error: {error}");
    ExitCode::FAILURE
}

/// Says on standard error that a command was not told what to look at: a mistake of usage.
fn unnamed(what: &str) -> ExitCode {
    let _ =
        writeln!(io::stderr(), "error: name {what} (POPGATE_NODE and ~/.config/popgate/node.toml can name the node)");
    ExitCode::from(USAGE)
}

/// Whether to write colours: to terminals only, and not if `NO_COLOR` is set.
fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

const USAGE: u8 = 2;
const AFTER_HELP: &str = "\
Examples:
  popgate check /etc/popgate/bundle
  popgate serve --config /etc/popgate/gateway.toml
  popgate suspend agency bank-a --reason INC-77 --for 2h
  popgate audit verify /var/lib/popgate/audit

Exit codes:
  0  done, nothing wrong was found
  1  something is wrong: with a bundle, a configuration, the log, or the run itself
  2  the command line was not understood";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_gives_examples_and_exit_codes() {
        let help = Cli::command().render_long_help().to_string();
        for part in
            ["Examples:", "Exit codes:", "serve", "check", "audit", "pki", "plugin", "purge", "seal", "completions"]
        {
            assert!(help.contains(part), "{part} in {help}");
        }
    }

    #[test]
    fn a_misspelt_subcommand_is_a_mistake_of_usage() {
        let error = Cli::try_parse_from(["popgate", "chek", "dir"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("check"), "{error}");
    }
}
