//! `popgate policy who`: who can ever see a field.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use popgate_policy::analysis::{Access, who};
use popgate_policy::contract::{Class, Contracts, Field};

use super::{Place, unknown};
use crate::cli::report::{BOLD, paint, plural};

/// List everybody who can ever see a field
///
/// Every agency, operation and purpose, clear, masked or matched, and under which conditions: from the tables that answer requests, on any
/// day, from anywhere, of any record. Break-glass purposes are listed for everybody to whom an order could lend them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  popgate policy who --field Citizen.religion --bundle /etc/popgate/bundle
  popgate policy who --field Citizen.permanent_residence --config /etc/popgate/gateway.toml
  popgate policy who --group contact --bundle ./bundle
  popgate policy who --class sensitive --bundle ./bundle --json

A name of an object means all of its fields. Exit codes: 0 listed (also that it is nobody), 1 not, 2 usage")]
pub struct Args {
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    place: Place,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Wanted {
    /// A field, such as Citizen.religion
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    /// The fields of a group, such as contact
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// The fields of a class: basic or sensitive
    #[arg(long, value_name = "CLASS", value_parser = ["basic", "sensitive"])]
    class: Option<String>,
}

/// Runs the subcommand.
///
/// # Errors
/// If there is no such field, no bundle, or `out` cannot be written.
pub fn run(args: &Args, colour: bool, out: &mut dyn Write) -> Result<ExitCode, Box<dyn Error>> {
    let Some((bundle, _)) = args.place.load()? else { return Ok(Place::nowhere()) };
    args.wanted.check(bundle.contracts())?;
    let found = who(&bundle, &|field| args.wanted.holds(field));
    if args.json {
        let fields: BTreeSet<&str> = bundle
            .contracts()
            .fields()
            .filter(|field| args.wanted.holds(field))
            .map(|field| field.name.as_str())
            .collect();
        let digest = bundle.digest().to_string();
        writeln!(out, "{}", serde_json::json!({ "bundle": digest, "fields": fields, "access": found }))?;
    } else {
        write(&found, colour, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Wanted {
    fn holds(&self, field: &Field) -> bool {
        let is = |name: &str| {
            let rest = field.name.as_str().strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.field.as_deref().is_some_and(is)
            || self.group.as_deref().is_some_and(|group| field.group.as_str() == group)
            || self.class.as_deref().is_some_and(|class| (class == "sensitive") == (field.class == Class::Sensitive))
    }

    fn check(&self, contracts: &Contracts) -> Result<(), Box<dyn Error>> {
        if self.class.is_some() || contracts.fields().any(|field| self.holds(field)) {
            return Ok(());
        }
        Err(match (&self.field, &self.group) {
            (Some(name), _) => unknown("field", name, contracts.fields().map(|field| field.name.as_str())),
            (None, group) => unknown(
                "group",
                group.as_deref().unwrap_or_default(),
                contracts.fields().map(|field| field.group.as_str()),
            ),
        })
    }
}

fn write(found: &[Access], colour: bool, out: &mut dyn Write) -> io::Result<()> {
    for access in found {
        let list = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let (shown, unsure) = if access.shown.is_nothing() {
            (format!("{} as far as was tried", access.shown), "whether it is ever shown is not known")
        } else {
            (access.shown.to_string(), "the conditions may not be all")
        };
        writeln!(out, "{}", paint(&access.whom, BOLD, colour))?;
        writeln!(out, "  {}: {shown}", list(&access.fields))?;
        writeln!(out, "  in {} for {}", list(&access.operations), list(&access.purposes))?;
        let policies = access.policies.iter().map(|policy| format!("{} ({})", policy.policy, policy.place));
        writeln!(out, "  by {}", policies.collect::<Vec<_>>().join(", "))?;
        for why in &access.unsure {
            writeln!(out, "  {unsure}: {why}")?;
        }
    }
    let (open, known): (Vec<&Access>, Vec<&Access>) = found.iter().partition(|access| access.shown.is_nothing());
    let systems = |all: &[&Access]| all.iter().flat_map(|access| access.systems.clone()).collect::<BTreeSet<String>>();
    let (known, open) = (systems(&known), &systems(&open) - &systems(&known));
    let nobody = if open.is_empty() { "nobody can ever see it" } else { "nobody is known to see it" };
    if known.is_empty() {
        writeln!(out, "{nobody}")?;
    }
    let agencies: BTreeSet<&str> = known.iter().filter_map(|system| system.split('/').next()).collect();
    let exact = found.iter().all(|access| access.unsure.is_empty());
    let exact = if exact { "exact" } else { "not exact: some conditions compare with more than literals" };
    let open = match open.len() {
        0 => String::new(),
        count => format!(", and perhaps {}", plural(count, "other system")),
    };
    writeln!(out, "{}, {}{open}; {exact}", plural(agencies.len(), "agency"), plural(known.len(), "system"))
}
