//! `popgate plugin`: what plugins read, written so that they can read it.

use std::fmt::Display;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use popgate_plugins::keyed::Keyed;
use popgate_plugins::kinds::opt_out::{Entry, List};

use super::keyed::{Kept, Tags, numbers, wrong};
use super::report::plural;
use crate::app::config::Config;

/// Keep what plugins read
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Keep the list of persons who have opted out
    ///
    /// Persons' numbers are read from standard input, one a line: command lines are seen by others and kept in histories. The list
    /// holds keyed tags, no numbers. It is replaced whole; a running gateway takes it up by itself.
    #[command(after_help = "\
Examples:
  popgate plugin opt-out add --config gateway.toml < numbers          of everything
  popgate plugin opt-out add --config gateway.toml --purpose marketing < numbers
  popgate plugin opt-out add --config gateway.toml < /dev/null         begin an empty list
  popgate plugin opt-out list --config gateway.toml

Exit codes: 0 done, 1 nothing was changed, because something is wrong")]
    OptOut {
        #[command(subcommand)]
        change: Change,
    },
}

#[derive(Debug, clap::Subcommand)]
enum Change {
    /// Put the persons on the list; makes it if there is none
    Add {
        #[command(flatten)]
        plugin: Which,
        /// Only this purpose, which may be given several times; every purpose that the plugin applies to if not given
        #[arg(long = "purpose", value_name = "PURPOSE")]
        purposes: Vec<String>,
    },
    /// Take the persons from the list
    Remove {
        #[command(flatten)]
        plugin: Which,
    },
    /// Say of each person, in the order of the input, what the person has opted out of
    Find {
        #[command(flatten)]
        plugin: Which,
    },
    /// Print the list: a tag a line, with its purposes
    List {
        #[command(flatten)]
        plugin: Which,
    },
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The gateway.toml with the plugin's table
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The plugin's name, if there are several of the kind
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,
}

/// Runs the subcommand; persons' numbers come from `input`.
///
/// # Errors
/// If something is wrong with the configuration, the list or the input: nothing was changed then. Also if `out` cannot be written.
pub fn run(args: &Args, input: &mut dyn BufRead, out: &mut dyn Write) -> io::Result<ExitCode> {
    let Command::OptOut { change } = &args.command;
    match change {
        Change::Add { plugin, purposes } => {
            if let Some(odd) = purposes.iter().find(|purpose| !is_purpose(purpose)) {
                return Err(wrong(format!("`{odd}` is not a purpose's id")));
            }
            let mut kept = open(plugin, true)?;
            let numbers = numbers(input)?;
            let changed = numbers.iter().filter(|number| kept.list.add(&kept.keyed, number, purposes)).count();
            kept.write(&format!("{} of {} put on it", changed, plural(numbers.len(), "person")), out)?;
        }
        Change::Remove { plugin } => {
            let mut kept = open(plugin, true)?;
            let numbers = numbers(input)?;
            let changed = numbers.iter().filter(|number| kept.list.remove(&kept.keyed, number)).count();
            kept.write(&format!("{} of {} taken from it", changed, plural(numbers.len(), "person")), out)?;
        }
        Change::Find { plugin } => {
            let kept = open(plugin, false)?;
            for number in numbers(input)? {
                writeln!(out, "{}", kept.list.entry(&kept.keyed, &number).map_or("no".into(), said))?;
            }
        }
        Change::List { plugin } => {
            for (tag, entry) in open(plugin, false)?.list.iter() {
                writeln!(out, "{tag} {}", said(entry))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Tags for List {
    fn parse(text: &str, keyed: &Keyed) -> Result<Self, impl Display> {
        Self::parse(text, keyed)
    }

    fn to_text(&self, keyed: &Keyed) -> String {
        self.to_text(keyed)
    }

    fn persons(&self) -> usize {
        self.len()
    }
}

fn open(which: &Which, to_write: bool) -> io::Result<Kept<List>> {
    let config = Config::read(&which.config).map_err(wrong)?;
    let named = config.plugins.iter().filter(|plugin| which.plugin.as_deref().is_none_or(|name| name == &*plugin.name));
    let lists: Vec<_> = named.filter_map(|plugin| Some((plugin, plugin.blueprint.keyed_list()?))).collect();
    match lists.as_slice() {
        [(_, kept)] => Kept::open(kept.list, kept.key, to_write),
        [] => Err(wrong(format!("`{}` has no such plugin with a list of persons", which.config.display()))),
        several => {
            let names: Vec<&str> = several.iter().map(|(plugin, _)| &*plugin.name).collect();
            let config = which.config.display();
            Err(wrong(format!("`{config}` has several plugins with lists: say --plugin, one of {}", names.join(", "))))
        }
    }
}

fn said(entry: &Entry) -> String {
    match entry {
        Entry::Everything => "everything".into(),
        Entry::Purposes(purposes) => purposes.join(" "),
    }
}

fn is_purpose(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
