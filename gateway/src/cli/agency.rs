//! `popgate agency`, `popgate purpose` and `popgate operation`: who is enrolled, for what, and what each may do; from a bundle, or
//! from a node that runs.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use jiff::civil::Date;
use popgate_policy::bundle::Bundle;
use popgate_policy::problem::Problem;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::node::{Node, NodeArgs, encoded};
use super::unnamed;
use crate::app::bundle_files;
use crate::app::config::Config;
use crate::clock::Clock;
use crate::listing::{self, AgencyLine, AgencySheet, OperationLine, PurposeLine};

mod text;

/// List the agencies, and what each may do
#[derive(Debug, clap::Args)]
pub struct AgencyArgs {
    #[command(subcommand)]
    command: AgencyCommand,
}

#[derive(Debug, clap::Subcommand)]
enum AgencyCommand {
    /// List the enrolled agencies
    List(ListArgs),
    /// Show an agency: its systems with identities, networks and limits, its purposes, and what each system may do
    ///
    /// The counts of fields are the most that an answer can hold: those behind a condition on the request or on the returned
    /// record are counted, and said.
    Show(ShowArgs),
}

/// List the purposes
#[derive(Debug, clap::Args)]
pub struct PurposeArgs {
    #[command(subcommand)]
    command: PurposeCommand,
}

#[derive(Debug, clap::Subcommand)]
enum PurposeCommand {
    /// List the enrolled purposes with their basis, what they require and how long they are valid
    List(ListArgs),
}

/// List the operations
#[derive(Debug, clap::Args)]
pub struct OperationArgs {
    #[command(subcommand)]
    command: OperationCommand,
}

#[derive(Debug, clap::Subcommand)]
enum OperationCommand {
    /// List the operations of the contracts
    List(ListArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct ListArgs {
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct ShowArgs {
    /// The agency's id, such as tax
    id: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
struct Place {
    /// The bundle's folder
    #[arg(long, value_name = "DIR", conflicts_with = "node")]
    bundle: Option<PathBuf>,
    /// A node's configuration: the bundle that it names
    #[arg(long, value_name = "FILE", conflicts_with_all = ["node", "bundle"])]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: NodeArgs,
}

type Failed = Box<dyn Error>;

/// Where the answer comes from.
enum Source {
    Bundle(Box<Here>),
    Node(Box<Node>),
}

/// A bundle that was loaded here, and the day.
struct Here {
    bundle: std::sync::Arc<Bundle>,
    today: Date,
}

/// Runs `popgate agency`.
///
/// # Errors
/// If there is no such agency, no bundle or no answer, or `out` cannot be written.
pub fn agency(args: &AgencyArgs, clock: &Clock, out: &mut dyn Write) -> Result<ExitCode, Failed> {
    match &args.command {
        AgencyCommand::List(ListArgs { place }) => {
            let Some(source) = place.source(clock)? else { return Ok(place.nowhere()) };
            let lines: Vec<AgencyLine> = source.list("/agencies", |here| listing::agencies(&here.bundle))?;
            place.write(&lines, |lines, out| text::agencies(lines, out), out)
        }
        AgencyCommand::Show(ShowArgs { id, place }) => {
            let Some(source) = place.source(clock)? else { return Ok(place.nowhere()) };
            let sheet: AgencySheet = match &source {
                Source::Bundle(here) => {
                    listing::agency(&here.bundle, id, here.today).ok_or_else(|| unknown(&here.bundle, id))?
                }
                Source::Node(node) => read(node, &format!("/agencies/{}", encoded(id)))?,
            };
            place.write(&sheet, |sheet, out| text::agency(sheet, out), out)
        }
    }
}

/// Runs `popgate purpose`.
///
/// # Errors
/// If there is no bundle or no answer, or `out` cannot be written.
pub fn purpose(args: &PurposeArgs, clock: &Clock, out: &mut dyn Write) -> Result<ExitCode, Failed> {
    let PurposeCommand::List(ListArgs { place }) = &args.command;
    let Some(source) = place.source(clock)? else { return Ok(place.nowhere()) };
    let lines: Vec<PurposeLine> = source.list("/purposes", |here| listing::purposes(&here.bundle, here.today))?;
    place.write(&lines, |lines, out| text::purposes(lines, out), out)
}

/// Runs `popgate operation`.
///
/// # Errors
/// If there is no bundle or no answer, or `out` cannot be written.
pub fn operation(args: &OperationArgs, clock: &Clock, out: &mut dyn Write) -> Result<ExitCode, Failed> {
    let OperationCommand::List(ListArgs { place }) = &args.command;
    let Some(source) = place.source(clock)? else { return Ok(place.nowhere()) };
    let lines: Vec<OperationLine> = source.list("/operations", |here| listing::operations(&here.bundle))?;
    place.write(&lines, |lines, out| text::operations(lines, out), out)
}

impl Place {
    /// A bundle or a configuration that is named goes before a node that only the environment names.
    fn source(&self, clock: &Clock) -> Result<Option<Source>, Failed> {
        let (dir, clock) = match (&self.bundle, &self.config) {
            (Some(dir), _) => (dir.clone(), clock.clone()),
            (None, Some(file)) => {
                let config = Config::read(file)?;
                (config.bundle, Clock::system(&config.time_zone)?)
            }
            (None, None) => return Ok(self.remote.node()?.map(|node| Source::Node(Box::new(node)))),
        };
        let name = dir.display();
        let source = bundle_files::read(&dir).map_err(|error| format!("the bundle in `{name}`: {error}"))?;
        let loaded = Bundle::load(&source)
            .map_err(|_| format!("the bundle in `{name}` has errors: `popgate check {name}` shows them"))?;
        let here = Here { bundle: loaded.bundle, today: clock.local().date() };
        Ok(Some(Source::Bundle(Box::new(here))))
    }

    fn nowhere(&self) -> ExitCode {
        unnamed("a bundle with --bundle, a configuration with --config, or a node with --node")
    }

    fn write<T: Serialize>(
        &self,
        what: &T,
        text: impl Fn(&T, &mut dyn Write) -> std::io::Result<()>,
        out: &mut dyn Write,
    ) -> Result<ExitCode, Failed> {
        if self.json {
            writeln!(out, "{}", serde_json::to_string(what)?)?;
        } else {
            text(what, out)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Source {
    fn list<T: DeserializeOwned>(&self, path: &str, here: impl Fn(&Here) -> T) -> Result<T, Failed> {
        match self {
            Self::Bundle(bundle) => Ok(here(bundle)),
            Self::Node(node) => read(node, path),
        }
    }
}

fn read<T: DeserializeOwned>(node: &Node, path: &str) -> Result<T, Failed> {
    let reply = node.get(path)?;
    Ok(serde_json::from_str(&reply.body)
        .map_err(|error| format!("{node} answers `{path}` in another form: {error}"))?)
}

fn unknown(bundle: &Bundle, id: &str) -> String {
    let known: Vec<&str> = bundle.directory().agencies().map(|agency| agency.id.as_str()).collect();
    let help = Problem::error("", "", "").suggest(id, known).help;
    let help = help.map(|help| format!("; {help}")).unwrap_or_default();
    format!("the bundle has no agency `{id}`{help}")
}

const EXAMPLES: &str = "\
Examples:
  popgate agency list --bundle /etc/popgate/bundle
  popgate agency show tax --config /etc/popgate/gateway.toml
  popgate agency show tax --node https://gateway-1:9443 --cert me.pem --key me.key --ca site.pem --json
  popgate purpose list --bundle /etc/popgate/bundle
  popgate operation list --bundle /etc/popgate/bundle

Over --node it needs one of the roles viewer, author, approver, auditor. Exit codes: 0 listed, 1 not, 2 usage";
