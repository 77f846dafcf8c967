//! `popgate policy`: what policies do, before they go live.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

pub mod test;

/// See what policies do, before they go live
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Test(test::Args),
}

/// Runs the subcommand. What it finds goes to `out`.
///
/// # Errors
/// If something cannot be read, or `out` cannot be written.
pub fn run(args: &Args, colour: bool, out: &mut dyn Write) -> Result<ExitCode, Box<dyn Error>> {
    match &args.command {
        Command::Test(args) => test::run(args, colour, out),
    }
}
