//! `popgate plugin`: what plugins read, written so that they can read it.

use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use popgate_plugins::keyed::Keyed;
use popgate_plugins::kinds::opt_out::{Entry, List};
use popgate_plugins::{Configured, Files as _};

use super::keyed::{Alone, numbers, replace, wrong};
use super::report::plural;
use crate::app::config::Config;
use crate::app::plugins::SiteFiles;

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
            let mut kept = Kept::open(plugin, true)?;
            let numbers = numbers(input)?;
            let changed = numbers.iter().filter(|number| kept.list.add(&kept.keyed, number, purposes)).count();
            kept.write(&format!("{} of {} put on it", changed, plural(numbers.len(), "person")), out)?;
        }
        Change::Remove { plugin } => {
            let mut kept = Kept::open(plugin, true)?;
            let numbers = numbers(input)?;
            let changed = numbers.iter().filter(|number| kept.list.remove(&kept.keyed, number)).count();
            kept.write(&format!("{} of {} taken from it", changed, plural(numbers.len(), "person")), out)?;
        }
        Change::Find { plugin } => {
            let kept = Kept::open(plugin, false)?;
            for number in numbers(input)? {
                writeln!(out, "{}", kept.list.entry(&kept.keyed, &number).map_or("no".into(), said))?;
            }
        }
        Change::List { plugin } => {
            for (tag, entry) in Kept::open(plugin, false)?.list.iter() {
                writeln!(out, "{tag} {}", said(entry))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A list as it is kept.
struct Kept {
    file: PathBuf,
    keyed: Keyed,
    list: List,
    /// Whoever writes it is alone with it.
    _alone: Option<Alone>,
}

impl Kept {
    fn open(which: &Which, to_write: bool) -> io::Result<Self> {
        let config = Config::read(&which.config).map_err(wrong)?;
        let with_list = |plugin: &&Configured| {
            let named = which.plugin.as_deref().is_none_or(|name| name == &*plugin.name);
            named && plugin.blueprint.keyed_list().is_some()
        };
        let found: Vec<&Configured> = config.plugins.iter().filter(with_list).collect();
        let lists = found.as_slice();
        let [plugin] = lists else {
            let names: Vec<&str> = lists.iter().map(|plugin| &*plugin.name).collect();
            let config = which.config.display();
            return Err(wrong(match lists {
                [] => format!("`{config}` has no such plugin with a list of persons"),
                _ => format!("`{config}` has several plugins with lists: say --plugin, one of {}", names.join(", ")),
            }));
        };
        let Some(kept) = plugin.blueprint.keyed_list() else { return Err(wrong("the plugin has no list")) };
        let keyed = Keyed::new(&SiteFiles.key(kept.key).map_err(wrong)?);
        let alone = if to_write { Some(Alone::with(kept.list)?) } else { None };
        let list = if !to_write || kept.list.exists() {
            let text = SiteFiles.text(kept.list).map_err(wrong)?;
            List::parse(&text, &keyed).map_err(|error| wrong(format!("`{}`: {error}", kept.list.display())))?
        } else {
            List::default()
        };
        Ok(Self { file: kept.list.to_owned(), keyed, list, _alone: alone })
    }

    fn write(&self, done: &str, out: &mut dyn Write) -> io::Result<()> {
        replace(&self.file, &self.list.to_text(&self.keyed))?;
        writeln!(out, "{}: {done}; {} on it now", self.file.display(), plural(self.list.len(), "person"))
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
