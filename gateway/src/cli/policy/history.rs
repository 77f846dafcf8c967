//! `popgate policy history`: how what is shown of a field came about, bundle by bundle.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use popgate_policy::analysis::{Because, Change, diff};
use popgate_policy::bundle::{Bundle, Source};
use popgate_policy::problem::Problem;
use serde::Serialize;

use crate::app::bundle_store::{Entry, How, Kept, Store};
use crate::app::bundles::{BundleEntry, BundlesStatus};
use crate::app::diff as words;
use crate::cli::bundle::text;
use crate::cli::node::Node;
use crate::cli::suspend::Place;

/// Show how what is shown of a field came about: which bundle changed it, who had signed that, and why
///
/// Of the bundles that were in force on a node and are still kept: those that a record names, and the last ones.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  popgate policy history Citizen.phone
  popgate policy history Citizen.religion --config /etc/popgate/gateway.toml --json
  popgate policy history Citizen.phone --node https://gateway-1:9443 --cert me.pem --key me.key --ca site.pem

Exit codes: 0 shown, 1 no bundle has such a field or none can be read, 2 usage")]
pub struct Args {
    /// A field, such as Citizen.phone
    field: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

type Failed = Box<dyn Error>;

/// A bundle that came into force, and what it did to the field.
#[derive(Debug, Serialize)]
struct Step {
    #[serde(flatten)]
    entry: Entry,
    /// What more, less or otherwise is shown; `None` where there is nothing to compare with.
    changes: Option<Vec<Change>>,
    /// What is otherwise in contracts and policies.
    texts: Vec<String>,
    /// Why nothing is known of it.
    unknown: Option<String>,
}

/// Runs the subcommand.
///
/// # Errors
/// If the bundles cannot be read, none has such a field, or `out` cannot be written.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, Failed> {
    let shelf = match args.place.node()? {
        Some(node) => Shelf::Node(node),
        None => {
            let config = args.place.config()?;
            Shelf::Store(Store::new(&config.state), config.signing.required)
        }
    };
    let (mut steps, mut known, mut before) = (Vec::new(), BTreeSet::new(), None);
    for BundleEntry { entry, kept, .. } in shelf.entries()? {
        let read = if kept { shelf.read(&entry) } else { Err("it is no longer kept".to_owned()) };
        let (source, bundle) = match read {
            Ok(read) => read,
            Err(why) => {
                steps.push(Step { entry, changes: None, texts: Vec::new(), unknown: Some(why) });
                continue;
            }
        };
        known.extend(bundle.contracts().fields().map(|field| field.name.to_string()));
        steps.extend(Step::of(entry, before.as_ref(), (&source, &bundle), &args.field));
        before = Some((source, bundle));
    }
    if !known.contains(&args.field) {
        let message = format!("no bundle that is kept here has a field `{}`", args.field);
        let problem = Problem::error("unknown-field", "", message);
        let problem = problem.suggest(&args.field, known.iter().map(String::as_str));
        return Err([Some(problem.message), problem.help].into_iter().flatten().collect::<Vec<_>>().join("; ").into());
    }
    if args.json {
        writeln!(out, "{}", serde_json::json!({ "field": args.field, "steps": steps }))?;
    } else {
        steps.iter().try_for_each(|step| step.write(out))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Step {
    /// `None` if the bundle did nothing to the field.
    fn of(entry: Entry, old: Option<&(Source, Arc<Bundle>)>, new: (&Source, &Bundle), field: &str) -> Option<Self> {
        let Some((source, bundle)) = old else {
            let texts = words::naming(new, field);
            return Some(Self { entry, changes: None, texts, unknown: None });
        };
        let change = diff(bundle, new.1);
        let changes: Vec<Change> =
            change.changes.into_iter().chain(change.unsure).filter(|change| change.fields.contains(field)).collect();
        let because: BTreeSet<String> = changes
            .iter()
            .flat_map(|change| &change.because)
            .filter_map(|because| match because {
                Because::Changed { policy, .. } | Because::Came { policy, .. } | Because::Gone { policy, .. } => {
                    Some(policy.clone())
                }
                _ => None,
            })
            .collect();
        let texts = words::of_field((source, bundle), new, field, &because);
        let changes = Some(changes).filter(|changes| !changes.is_empty() || !texts.is_empty())?;
        Some(Self { entry, changes: Some(changes), texts, unknown: None })
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Entry { digest, version, at, how, by, why, signed_by, allow_widening, .. } = &self.entry;
        let digest = digest.to_string();
        let digest = digest.get(..12).unwrap_or_default();
        let name = version.map_or_else(|| "no version".to_owned(), |version| format!("version {version}"));
        let by = if by == "unknown" { String::new() } else { format!(" by {by}") };
        writeln!(out, "{name}  {digest}  {at}  {}{by}", how.as_str())?;
        if !signed_by.is_empty() {
            writeln!(out, "  signed by {}", signed_by.join(", "))?;
        }
        if !why.is_empty() {
            writeln!(out, "  why: {why}")?;
        }
        if let Some(why) = allow_widening.as_ref().filter(|_| *how != How::Rollback) {
            writeln!(out, "  why sensitive fields were widened: {why}")?;
        }
        match (&self.unknown, &self.changes) {
            (Some(why), _) => writeln!(out, "  what it did is not known: {why}")?,
            (None, None) => writeln!(out, "  the first bundle that is known")?,
            (None, Some(changes)) if changes.is_empty() => writeln!(out, "  nobody sees anything else of it")?,
            (None, Some(changes)) => {
                changes.iter().try_for_each(|change| writeln!(out, "  {}", text::line(change)))?;
            }
        }
        self.texts.iter().try_for_each(|text| writeln!(out, "  {text}"))
    }
}

/// Where the bundles are.
enum Shelf {
    Node(Node),
    Store(Store, bool),
}

impl Shelf {
    fn entries(&self) -> Result<Vec<BundleEntry>, Failed> {
        Ok(match self {
            Self::Node(node) => serde_json::from_value::<BundlesStatus>(node.get("/bundles")?.json())?.bundles,
            Self::Store(store, required) => BundlesStatus::of(&store.history()?, store, *required).bundles,
        })
    }

    fn read(&self, entry: &Entry) -> Result<(Source, Arc<Bundle>), String> {
        let kept = match self {
            Self::Node(node) => {
                let told = node.get(&format!("/bundles/{}", entry.digest)).map_err(|error| error.to_string())?;
                serde_json::from_value::<Kept>(told.json()).map_err(|error| error.to_string())?
            }
            Self::Store(store, _) => store.load(&entry.digest).map_err(|error| error.to_string())?,
        };
        let bundle = Bundle::load_to_ask(&kept.source).map_err(|_| "this popgate finds errors in it".to_owned())?;
        Ok((kept.source, bundle))
    }
}
