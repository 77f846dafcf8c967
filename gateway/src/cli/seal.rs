//! `popgate seal`: the list of sealed persons.

use std::fmt::Display;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use popgate_plugins::keyed::Keyed;
use popgate_plugins::keyed::sealed::Sealed;

use super::keyed::{Kept, Tags, numbers, wrong};
use super::report::plural;
use crate::app::config::{self, Config};

/// Keep the list of sealed persons
///
/// A sealed person (a protected witness, an undercover officer) is answered as unknown to every system but those listed. Persons' numbers
/// are read from standard input, one a line: command lines are seen by others and kept in histories. The list holds keyed tags, no
/// numbers. It is replaced whole; a running gateway takes it up by itself.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  popgate seal add --config gateway.toml < numbers                     against everybody
  popgate seal add --config gateway.toml --seen-by courts --seen-by justice/registry < numbers
  popgate seal add --config gateway.toml < /dev/null                   begin an empty list
  popgate seal list --config gateway.toml

Exit codes: 0 done, 1 nothing was changed, because something is wrong")]
pub struct Args {
    #[command(subcommand)]
    change: Change,
}

#[derive(Debug, clap::Subcommand)]
enum Change {
    /// Seal the persons; makes the list if there is none. Who was sealed already is seen by these from now on, and by nobody else
    Add {
        #[command(flatten)]
        site: Site,
        /// An agency, or a system (`agency/system`), that may see them all the same; may be given several times
        #[arg(long = "seen-by", value_name = "NAME")]
        seen_by: Vec<String>,
    },
    /// Unseal the persons
    Remove {
        #[command(flatten)]
        site: Site,
    },
    /// Say of each person, in the order of the input, whether and for whom there is an exception
    Find {
        #[command(flatten)]
        site: Site,
    },
    /// Print the list: a tag a line, with who may see the person
    List {
        #[command(flatten)]
        site: Site,
    },
}

#[derive(Debug, clap::Args)]
struct Site {
    /// The gateway.toml with `[sealed]`
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs the subcommand; persons' numbers come from `input`.
///
/// # Errors
/// If something is wrong with the configuration, the list or the input: nothing was changed then. Also if `out` cannot be written.
pub fn run(args: &Args, input: &mut dyn BufRead, out: &mut dyn Write) -> io::Result<ExitCode> {
    match &args.change {
        Change::Add { site, seen_by } => {
            if let Some(odd) = seen_by.iter().find(|name| !is_caller(name)) {
                return Err(wrong(format!("`{odd}` is neither an agency's id nor a system's (`agency/system`)")));
            }
            let mut kept = open(site, true)?;
            let numbers = numbers(input)?;
            let changed = numbers.iter().filter(|number| kept.list.add(&kept.keyed, number, seen_by)).count();
            kept.write(&format!("{} of {} sealed", changed, plural(numbers.len(), "person")), out)?;
        }
        Change::Remove { site } => {
            let mut kept = open(site, true)?;
            let numbers = numbers(input)?;
            let changed = numbers.iter().filter(|number| kept.list.remove(&kept.keyed, number)).count();
            kept.write(&format!("{} of {} unsealed", changed, plural(numbers.len(), "person")), out)?;
        }
        Change::Find { site } => {
            let kept = open(site, false)?;
            for number in numbers(input)? {
                writeln!(out, "{}", kept.list.seen_by(&kept.keyed, &number).map_or("no".into(), said))?;
            }
        }
        Change::List { site } => {
            for (tag, seen_by) in open(site, false)?.list.iter() {
                writeln!(out, "{tag} {}", said(seen_by))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Tags for Sealed {
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

fn open(site: &Site, to_write: bool) -> io::Result<Kept<Sealed>> {
    match Config::read(&site.config).map_err(wrong)?.sealed {
        Some(config::Sealed { list, key }) => Kept::open(&list, &key, to_write),
        None => {
            let config = site.config.display();
            Err(wrong(format!("`{config}` names no list of sealed persons; add `[sealed]` with `list = \"...\"`")))
        }
    }
}

fn said(seen_by: &[String]) -> String {
    if seen_by.is_empty() { "sealed".into() } else { format!("sealed, seen by {}", seen_by.join(" ")) }
}

/// An agency's id, or a system's with its agency's in front of it.
fn is_caller(text: &str) -> bool {
    let is_id = |id: &str| {
        !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    match text.split_once('/') {
        Some((agency, system)) => is_id(agency) && is_id(system),
        None => is_id(text),
    }
}
